"""Stage features: sold lines, one row per customer, correlations and spend."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import polars as pl

from segmentation_assets.merchandising.promotable import in_categories
from segmentation_assets.orchestration import plots
from segmentation_assets.orchestration.table_steps import (
    Computed,
    TableDeclaration,
    computed_tables,
    sql_table,
)
from segmentation_assets.orchestration.warehouse import Warehouse
from segmentation_assets.segmentation.correlations import rank_correlations
from segmentation_assets.state.rights import opt_outs
from segmentation_assets.state.store import open_state

#: Numeric features whose correlations are shown, and how many customers they are computed on.
_CORRELATED = (
    "recency_days", "order_count", "monetary_amount", "average_order_amount", "tenure_days", "days_between_orders",
    "return_share", "discount_share", "coupon_order_share", "campaign_order_share", "price_level", "category_count",
    "favourite_category_share", "favourite_brand_share", "weekend_share", "orders_last_90_days", "event_count",
    "days_since_event", "campaign_response_share", "education_rank", "household_income", "kids", "teens",
    "loyalty_points", "discount_sensitivity", "luxury_score",
)  # fmt: skip
_CORRELATED_CUSTOMERS = 20_000
#: Larger matrices than this are not readable.
_SHOWN_FEATURES = 18


def _spend_plots(con: duckdb.DuckDBPyConnection) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for dimension in ("category", "channel"):
        rows = con.execute(
            "select value, net_share from features.spend_by_value where dimension = $dimension "
            "order by net_amount desc, value limit 20",
            {"dimension": dimension},
        ).fetchall()
        found[f"{dimension}_plot"] = plots.bars(
            [row[0] for row in rows],
            [row[1] or 0.0 for row in rows],
            title=f"Spend by {dimension}",
            unit="share of net spend",
            caption=f"Share of net spend by {dimension}, the largest twenty.",
            is_share=True,
        )
    return found


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


@computed_tables(
    "features",
    TableDeclaration(
        "features/age_rule",
        "How the settings want customers of unknown age to be treated, in one row.\n\nGrain: one row",
        types={"unknown_age_is_minor": "BOOLEAN"},
        texts={"unknown_age_is_minor": "True when a customer without a birth year counts as a minor."},
        deps=["clean/customers"],
    ),
)
def age_rule(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """The setting, where SQL can read it."""
    return Computed(pl.DataFrame({"unknown_age_is_minor": [warehouse.settings.privacy.unknown_age_is_minor]}))


@computed_tables(
    "features",
    TableDeclaration(
        "features/profiling_opt_outs",
        "Customers who do not want to be profiled, as the state store holds them (`segmentation opt-out`). They are in "
        "the clean tables and in the shop's own totals, and in no features, segments, audiences or suggestions.\n\n"
        "Grain: customer_id",
        types={"customer_id": "VARCHAR", "opted_out_at": "TIMESTAMP"},
        texts={"opted_out_at": "Since when (UTC)."},
        deps=["raw/source"],
    ),
)
def profiling_opt_outs(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """Copy what the state store knows, so that SQL can leave them out."""
    with open_state(warehouse.place.state) as store:
        found = opt_outs(store)
    return Computed(found, {"customers": found.height})


order_lines = sql_table("features/order_lines", "features")
customer_shares = sql_table("features/customer_shares", "features")
reachability = sql_table("features/reachability", "features")
customer_features = sql_table("features/customer_features", "features")
spend_by_value = sql_table("features/spend_by_value", "features", describe=_spend_plots)


@computed_tables(
    "features",
    TableDeclaration(
        "features/feature_correlations",
        "How strongly each pair of numeric customer features moves together: Spearman's rank correlation over a fixed "
        f"sample of at most {_CORRELATED_CUSTOMERS:,} customers (the smallest MD5 of the id), for each pair over those "
        "who have both. Pairs with too few such customers, and features that never vary, have no row.\n\n"
        "Grain: feature_a, feature_b",
        types={"feature_a": "VARCHAR", "feature_b": "VARCHAR", "correlation": "DOUBLE", "customers": "BIGINT"},
        texts={
            "feature_a": "The first feature of the pair, by name.",
            "feature_b": "The second feature of the pair, by name.",
            "correlation": "Spearman's rank correlation, -1 to 1.",
            "customers": "Sampled customers who have both features.",
        },
        deps=["features/customer_features"],
    ),
)
def feature_correlations(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """Rank correlations of the numeric features."""
    with warehouse.get_connection(read_only=True) as con:
        sample = con.sql(
            f"select {', '.join(_CORRELATED)} from features.customer_features "
            f"order by md5(customer_id), customer_id limit {_CORRELATED_CUSTOMERS}"
        ).pl()
    found = rank_correlations(sample, _CORRELATED)
    return Computed(found, {} if found.is_empty() else {"plot": _correlation_plot(found)})


def _correlation_plot(found: pl.DataFrame) -> dg.MarkdownMetadataValue:
    # The most entangled features are the ones a reader looks for; all of them would be unreadable.
    strength: dict[str, float] = {}
    for a, b, value, _ in found.iter_rows():
        for name in (a, b):
            strength[name] = max(strength.get(name, 0.0), abs(value))
    names = sorted(sorted(strength, key=lambda name: (-strength[name], name))[:_SHOWN_FEATURES])
    place = {name: index for index, name in enumerate(names)}
    grid = np.full((len(names), len(names)), np.nan)
    for a, b, value, _ in found.iter_rows():
        if a in place and b in place:
            grid[place[a], place[b]] = grid[place[b], place[a]] = value
    return plots.heat_map(
        grid,
        names,
        names,
        title="Rank correlation of customer features",
        caption="The features most correlated with another one; the table holds all pairs.",
        limit=1.0,
    )
