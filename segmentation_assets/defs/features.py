"""Stage features: sold lines, one row per customer, correlations and spend."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import duckdb
import numpy as np

from segmentation_assets.merchandising.promotable import in_categories
from segmentation_assets.orchestration import plots
from segmentation_assets.orchestration.table_steps import (
    Computed,
    Describe,
    TableDeclaration,
    computed_tables,
    sql_table,
)
from segmentation_assets.orchestration.warehouse import Warehouse


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


@computed_tables(
    "features",
    TableDeclaration(
        "features/product_guards",
        "Products that are sensitive or age-restricted, by the categories the settings name.\n\nGrain: product_id",
        types={"product_id": "VARCHAR", "is_sensitive": "BOOLEAN", "is_age_restricted": "BOOLEAN"},
        texts={
            "is_sensitive": "In a sensitive category: never in taste, names, copy or an offer.",
            "is_age_restricted": "Offered to known adults only.",
        },
        deps=["clean/products"],
    ),
)
def product_guards(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """Match the settings' categories against each product's category and subcategory."""
    privacy = warehouse.settings.privacy
    with warehouse.get_connection(read_only=True) as con:
        products = con.sql("select product_id, category, subcategory from clean.products order by product_id").pl()
    return Computed(
        products.select(
            "product_id",
            is_sensitive=in_categories(tuple(privacy.sensitive_categories)),
            is_age_restricted=in_categories(tuple(privacy.age_restricted_categories)),
        )
    )


order_lines = sql_table("features/order_lines", "features")
customer_shares = sql_table("features/customer_shares", "features")
reachability = sql_table("features/reachability", "features")
customer_features = sql_table("features/customer_features", "features")
feature_correlations = sql_table("features/feature_correlations", "features", describe=_correlation_plot)
spend_by_category = sql_table("features/spend_by_category", "features", describe=_spend_plot("category"))
spend_by_channel = sql_table("features/spend_by_channel", "features", describe=_spend_plot("channel"))
