"""Stage value: rule groups by recency, frequency and money, and what each customer is expected to buy and spend."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import duckdb
import polars as pl

from segmentation_assets.lifetime.lifetime import estimate_lifetime
from segmentation_assets.lifetime.rfm import RFM_GROUPS
from segmentation_assets.orchestration import plots
from segmentation_assets.orchestration.table_steps import Computed, TableDeclaration, computed_tables, sql_table
from segmentation_assets.orchestration.warehouse import Warehouse, source_row

_TEXTS = {
    "horizon_days": "Days after the as-of date that the estimates are for.",
    "expected_orders": "Expected number of days with a purchase within the horizon (two orders of one day count once); "
    "null without an estimate.",
    "expected_amount": "Expected money within the horizon after discounts, in the source's currency; null without an "
    "estimate.",
    "active_probability": "Probability that the customer still buys here at all, 0 to 1; null where a single purchase "
    "day says nothing.",
    "heuristic_orders": "The rule to beat: as many repeat purchase days as in the horizon's length before the as-of "
    "date.",
    "heuristic_amount": "The rule to beat: the money of those repeat purchase days, in the source's currency.",
    "method": "Models behind the estimate: BG/NBD for orders, Gamma-Gamma for amounts; none without an estimate.",
    "reason": "Why there is no expected amount, with the numbers; null where there is one.",
    "parameter": "Parameter of a model, figure of the holdout or gate.",
    "value": "Its value; a gate is 1 when open and 0 when closed, null is a parameter that was not fitted.",
    "text": "What it is, or why it is so, with the numbers.",
}
_PARENTS = ("features/order_lines", "features/customer_features", "raw/source")


def _group_plot(con: duckdb.DuckDBPyConnection) -> Mapping[str, Any]:
    counted = dict(con.execute("select rfm_group, count(*) from value.customer_rfm group by rfm_group").fetchall())
    buyers = sum(counted.get(group, 0) for group in RFM_GROUPS)
    if not buyers:
        return {}
    return {
        "plot": plots.bars(
            list(RFM_GROUPS),
            [counted.get(group, 0) / buyers for group in RFM_GROUPS],
            title="Buyers by RFM group",
            unit="share of buyers",
            caption=f"{buyers:,} buyers by RFM group.",
            is_share=True,
        )
    }


customer_rfm = sql_table("value/customer_rfm", "value", describe=_group_plot)


@computed_tables(
    "value",
    TableDeclaration(
        "value/customer_lifetime",
        "What each customer is expected to buy and spend within the horizon, by BG/NBD and Gamma-Gamma, beside the "
        "same as before. Where the data cannot support an estimate it is null, with the reason.\n\nGrain: customer_id",
        types={
            "customer_id": "VARCHAR", "horizon_days": "BIGINT", "expected_orders": "DOUBLE",
            "expected_amount": "DECIMAL(18,4)", "active_probability": "DOUBLE", "heuristic_orders": "DOUBLE",
            "heuristic_amount": "DECIMAL(18,4)", "method": "VARCHAR", "reason": "VARCHAR",
        },
        texts=_TEXTS,
        deps=_PARENTS,
    ),
    TableDeclaration(
        "value/lifetime_model",
        "The models behind customer_lifetime: gates, parameters (time in weeks), and how a calibration on the earlier "
        "part of the history did on the later part beside the same count as before.\n\nGrain: parameter",
        types={"parameter": "VARCHAR", "value": "DOUBLE", "text": "VARCHAR"},
        texts=_TEXTS,
        deps=_PARENTS,
    ),
    name="value__lifetime",
)  # fmt: skip
def lifetime(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Mapping[str, Computed]:
    """Fit on the whole history, judge on its last part, estimate everyone."""
    with warehouse.get_connection(read_only=True) as con:
        as_of, _ = source_row(con)
        purchases = con.sql(
            "select customer_id, ordered_on, cast(sum(net_amount) as double) as net_amount "
            "from features.order_lines where customer_id in (select customer_id from features.customer_features) "
            "group by customer_id, ordered_on"
        ).pl()
        customers = con.sql("select customer_id from features.customer_features").pl()["customer_id"]
    found = estimate_lifetime(purchases, customers, as_of, warehouse.settings.lifetime.horizon_days)
    context.log.info(found.reason)
    told = dict(found.model.select("parameter", "text").iter_rows())
    figures = found.model.filter(pl.col("parameter").str.starts_with("holdout_") & pl.col("value").is_not_null())
    rows = "\n".join(f"| {name} | {value:,.4f} | {text} |" for name, value, text in figures.iter_rows())
    return {
        "value/customer_lifetime": Computed(
            found.customers,
            {
                "has_estimates": found.is_on,
                "reason": found.reason,
                "expected_orders": float(found.customers["expected_orders"].sum() or 0.0),
                "expected_amount": float(found.customers["expected_amount"].sum() or 0.0),
            },
        ),
        "value/lifetime_model": Computed(
            found.model,
            {
                "verdict": told["holdout_gate"],
                "holdout": dg.MetadataValue.md(f"| figure | value | what it is |\n|---|---|---|\n{rows}"),
            },
        ),
    }
