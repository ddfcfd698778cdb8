"""Stage features: sold lines, one row per customer, correlations and spend."""

from collections.abc import Mapping
from typing import Any

import duckdb
import numpy as np

from segmentation_assets.orchestration import plots
from segmentation_assets.orchestration.table_steps import Describe, sql_table


def _spend_plot(dimension: str) -> Describe:
    def describe(con: duckdb.DuckDBPyConnection) -> Mapping[str, Any]:
        rows = con.execute(
            f"select {dimension}, net_share from features.spend_by_{dimension} order by net_amount desc, 1 limit 20"
        ).fetchall()
        caption = f"Share of net spend by {dimension}, the largest twenty."
        return {
            "plot": plots.bars(
                [row[0] for row in rows],
                [row[1] or 0.0 for row in rows],
                title=f"Spend by {dimension}",
                unit="share of net spend",
                caption=caption,
                is_share=True,
            )
        }

    return describe


def _correlation_plot(con: duckdb.DuckDBPyConnection) -> Mapping[str, Any]:
    rows = con.execute(
        "select feature_a, feature_b, correlation from features.feature_correlations order by feature_a, feature_b"
    ).fetchall()
    if not rows:
        return {}
    # The most entangled features are the ones a reader looks for; all of them would be unreadable.
    strength: dict[str, float] = {}
    for a, b, value in rows:
        for name in (a, b):
            strength[name] = max(strength.get(name, 0.0), abs(value or 0.0))
    names = sorted(sorted(strength, key=lambda name: (-strength[name], name))[:18])
    place = {name: index for index, name in enumerate(names)}
    grid = np.full((len(names), len(names)), np.nan)
    for a, b, value in rows:
        if a in place and b in place and value is not None:
            grid[place[a], place[b]] = grid[place[b], place[a]] = value
    return {
        "plot": plots.heat_map(
            grid,
            names,
            names,
            title="Rank correlation of customer features",
            caption="The features most correlated with another one; the table holds all pairs.",
            limit=1.0,
        )
    }


order_lines = sql_table("features/order_lines", "features")
customer_shares = sql_table("features/customer_shares", "features")
reachability = sql_table("features/reachability", "features")
customer_features = sql_table("features/customer_features", "features")
feature_correlations = sql_table("features/feature_correlations", "features", describe=_correlation_plot)
spend_by_category = sql_table("features/spend_by_category", "features", describe=_spend_plot("category"))
spend_by_channel = sql_table("features/spend_by_channel", "features", describe=_spend_plot("channel"))
