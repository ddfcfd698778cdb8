"""Groups of stages that want the same approach: loyal, active, new, lapsing, lapsed, never bought.

What belongs here: the rule that names the group of a stage segment from its own facts. What does not: the discount
of a group (`plan`), and the segments themselves.
"""

from __future__ import annotations

import polars as pl

#: Beyond this a customer is long gone in most shops, whatever the shop's own rhythm.
LONG_GONE_DAYS = 365.0
_NEVER_BOUGHT = "S0"


def _overall(metrics: pl.DataFrame | None, metric: str) -> float | None:
    if metrics is None or metrics.is_empty():
        return None
    values = metrics.filter((pl.col("axis") == "stage") & (pl.col("metric") == metric))["overall_median"].drop_nulls()
    return float(values[0]) if len(values) else None


def _typical(frame: pl.DataFrame, column: str) -> float | None:
    """Median over customers when only the segments' medians are known: the customer-weighted median segment."""
    known = frame.filter(pl.col(column).is_not_null() & (pl.col("customers") > 0)).sort(column, "segment_id")
    if known.is_empty():
        return None
    reached = known["customers"].cum_sum() * 2 >= known["customers"].sum()
    return float(known.filter(reached)[column][0])


def stage_groups(summary: pl.DataFrame, metrics: pl.DataFrame | None = None) -> pl.DataFrame:
    """One row per stage segment: stage_segment_id, name, stage_group; sorted by id.

    `summary` is `segments.segment_summary`, `metrics` is `segments.segment_metrics` (its overall medians are exact;
    without it the customer-weighted median segment stands in). The rule, first hit wins:
    S0 is never_bought, unless its customers have orders (then the stage axis was not split, S0 holds everyone, and it
    is active); no recency is unknown; recency of 1.5 times the shop's median or more is lapsing, and lapsed
    when also beyond a year; a tenure under half the shop's median, or a single order bought recently, is new; 1.5
    times the shop's median of orders or of spend is loyal; the rest is active.
    """
    stages = summary.filter(pl.col("axis") == "stage").with_columns(
        pl.col("median_recency_days").cast(pl.Float64),
        pl.col("median_order_count").cast(pl.Float64),
        pl.col("median_monetary_amount").cast(pl.Float64),
    )
    clustered = stages.filter(pl.col("segment_id") != _NEVER_BOUGHT)
    recency = _overall(metrics, "recency_days") or _typical(clustered, "median_recency_days")
    orders = _overall(metrics, "order_count") or _typical(clustered, "median_order_count")
    spend = _overall(metrics, "monetary_amount") or _typical(clustered, "median_monetary_amount")
    tenure = _overall(metrics, "tenure_days")
    own_tenure = (
        metrics.filter((pl.col("axis") == "stage") & (pl.col("metric") == "tenure_days")).select(
            "segment_id", pl.col("median").cast(pl.Float64).alias("tenure")
        )
        if metrics is not None and not metrics.is_empty()
        else pl.DataFrame(schema={"segment_id": pl.String(), "tenure": pl.Float64()})
    )
    own_recency, own_orders = pl.col("median_recency_days"), pl.col("median_order_count")
    is_gone = own_recency >= 1.5 * max(recency or 0.0, 1.0)
    is_young = (pl.col("tenure") < 0.5 * (tenure or 0.0)).fill_null(value=False)
    is_single = (own_orders <= 1).fill_null(value=False) & pl.lit(value=(orders or 0.0) > 1)
    buys_much = (own_orders >= 1.5 * (orders or float("inf"))) | (
        pl.col("median_monetary_amount") >= 1.5 * (spend or float("inf"))
    )
    return (
        stages.join(own_tenure, on="segment_id", how="left")
        .with_columns(
            stage_group=pl.when(pl.col("segment_id") == _NEVER_BOUGHT)
            .then(
                pl.when((own_orders > 0).fill_null(value=False))
                .then(pl.lit("active"))
                .otherwise(pl.lit("never_bought"))
            )
            .when(own_recency.is_null())
            .then(pl.lit("unknown"))
            .when(is_gone & (own_recency >= LONG_GONE_DAYS))
            .then(pl.lit("lapsed"))
            .when(is_gone)
            .then(pl.lit("lapsing"))
            .when(is_young | is_single)
            .then(pl.lit("new"))
            .when(buys_much.fill_null(value=False))
            .then(pl.lit("loyal"))
            .otherwise(pl.lit("active"))
        )
        .select(pl.col("segment_id").alias("stage_segment_id"), "name", "stage_group")
        .sort("stage_segment_id")
    )
