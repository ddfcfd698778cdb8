"""Product to audience: expected buyers and margin of each candidate, beside the simplest rule at equal size.

What belongs here: estimates over product, taste and group of stages from aggregated counts. What does not: counting
(`sql/campaigns/`), choosing the few campaigns a person sees (`briefs`), and any claim that an e-mail causes a
purchase: these are recent purchase rates, and only a control group shows lift.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.stats import gamma, nbinom

from segmentation_assets.merchandising.plan import RATE_DAYS, STAGE_GROUPS, CampaignSpec, empty_table, table_schema

_TABLE = "campaigns/product_segment_matches"
_UNKNOWN_TASTE = "T0"
_AUDIENCE = ["taste_segment_id", "stage_group"]


def audiences(sizes: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """Taste segment times group of stages, with its stage segments as a comma list and its counts.

    `sizes` is campaigns.audience_sizes, `groups` comes from `stage_groups`. Sorted by taste and group.
    """
    return (
        sizes.join(groups.select("stage_segment_id", "stage_group"), on="stage_segment_id", how="left")
        .with_columns(pl.col("stage_group").fill_null("unknown"))
        .group_by(_AUDIENCE)
        .agg(
            pl.col("stage_segment_id").sort().str.join(",").alias("stage_segment_ids"),
            pl.col(
                "customers", "reachable_customers", "adult_customers", "adult_reachable_customers", "observed_customers"
            ).sum(),
        )
        .sort(_AUDIENCE)
    )


def match_products(
    promotable: pl.DataFrame,
    affinity: pl.DataFrame,
    sizes: pl.DataFrame,
    purchases: pl.DataFrame,
    groups: pl.DataFrame,
    *,
    spec: CampaignSpec,
) -> pl.DataFrame:
    """`campaigns.product_segment_matches`: the best audiences of each product and the best products of each audience.

    Inputs: campaigns.promotable_products, campaigns.product_affinity, campaigns.audience_sizes,
    campaigns.audience_purchases, and the result of `stage_groups`.

    Rate: of customers who stood 90 days ago where the audience stands today, how many bought the product since; an
    audience's own last 90 days would only repeat how it was defined. Gamma-Poisson: the prior mean of a cell is the
    product's rate among all such customers of the stage group times its shrunken lift in the taste segment, worth
    `spec.prior_customers` customers; the data are the cell's own buyers and customers (Clayton and Kaldor 1987).
    `score` is the posterior mean. `expected_buyers` scales it to the reachable customers and the offer's days; `low`
    and `high` are the 90% prediction interval (negative binomial). Each buyer is counted with one unit.

    `baseline_score` is the product's own 90-day rate among the most active customers, whatever their taste: stage
    segments in the order of their recent purchases per customer, filled up to the audience's size.

    Empty, with its columns, without products, without a known taste, or when every audience is under
    `spec.minimum_cell` customers.
    """
    wanted = promotable.filter(pl.col("is_promotable") & ~pl.col("is_sensitive")).sort("product_id")
    tastes = sizes.filter(pl.col("taste_segment_id") != _UNKNOWN_TASTE)
    if wanted.is_empty() or tastes.is_empty():
        return empty_table(_TABLE)
    people = audiences(sizes, groups)
    rates = _stage_rates(wanted["product_id"], sizes, purchases)
    frame = _candidates(wanted, people, affinity, purchases, groups, spec=spec)
    if frame.is_empty():
        return empty_table(_TABLE)
    frame = _with_baseline(frame, rates)
    frame = _with_estimates(frame, spec)
    frame = _best(frame, spec)
    if frame.is_empty():
        return empty_table(_TABLE)
    frame = _with_interval(frame)
    return (
        _with_reason(frame)
        .select(pl.col(name).cast(dtype) for name, dtype in table_schema(_TABLE).items())
        .sort("product_id", "taste_segment_id", "stage_segment_ids")
    )


def _candidates(
    wanted: pl.DataFrame,
    people: pl.DataFrame,
    affinity: pl.DataFrame,
    purchases: pl.DataFrame,
    groups: pl.DataFrame,
    *,
    spec: CampaignSpec,
) -> pl.DataFrame:
    """Every promotable product with every audience that may get it, with counts, prior and margin."""
    located = purchases.join(
        groups.select("stage_segment_id", "stage_group"), on="stage_segment_id", how="left"
    ).with_columns(pl.col("stage_group").fill_null("unknown"))
    own = located.group_by("product_id", *_AUDIENCE).agg(pl.col("recent_buyers").sum())
    by_group = located.group_by("product_id", "stage_group").agg(pl.col("recent_buyers").sum().alias("group_buyers"))
    group_sizes = people.group_by("stage_group").agg(pl.col("observed_customers").sum().alias("group_customers"))
    lifts = affinity.filter(pl.col("dimension") == "product").select(
        pl.col("value").alias("product_id"), "taste_segment_id", pl.col("shrunken_lift").alias("product_lift")
    )
    category_lifts = affinity.filter(pl.col("dimension") == "category").select(
        pl.col("value").alias("category"), "taste_segment_id", pl.col("shrunken_lift").alias("category_lift")
    )
    discounts = pl.DataFrame(
        {"stage_group": list(STAGE_GROUPS), "group_discount": [spec.discount(group) for group in STAGE_GROUPS]}
    )
    return (
        wanted.select(
            "product_id", "category", "is_age_restricted",
            # From the warehouse money and quantities come as decimals.
            pl.col("list_price", "unit_cost", "discount_share").cast(pl.Float64),
            (pl.col("stock_quantity").cast(pl.Float64) - pl.col("safety_stock").cast(pl.Float64)).alias("spare_stock"),
        )
        .join(people, how="cross")
        # Of those whose taste is unknown only the never-buyers are an audience: their question is the first order.
        .filter((pl.col("taste_segment_id") != _UNKNOWN_TASTE) | (pl.col("stage_group") == "never_bought"))
        .join(discounts, on="stage_group", how="left")
        .filter(pl.col("group_discount") <= pl.col("discount_share"))
        .with_columns(
            audience_customers=pl.when("is_age_restricted").then("adult_customers").otherwise("customers"),
            reachable_customers=pl.when("is_age_restricted")
            .then("adult_reachable_customers")
            .otherwise("reachable_customers"),
        )
        .filter(pl.col("audience_customers") >= max(spec.minimum_cell, 1))
        .join(own, on=["product_id", *_AUDIENCE], how="left")
        .join(by_group, on=["product_id", "stage_group"], how="left")
        .join(group_sizes, on="stage_group", how="left")
        .join(lifts, on=["product_id", "taste_segment_id"], how="left")
        .join(category_lifts, on=["category", "taste_segment_id"], how="left")
        .with_columns(
            pl.col("recent_buyers", "group_buyers").fill_null(0),
            # A product without history takes its category's lift.
            lift=pl.coalesce("product_lift", "category_lift", pl.lit(1.0)),
            margin=pl.col("list_price") * (1 - pl.col("group_discount")) - pl.col("unit_cost"),
        )
        .sort("product_id", *_AUDIENCE)
    )  # fmt: skip


def _stage_rates(
    product_ids: pl.Series, sizes: pl.DataFrame, purchases: pl.DataFrame
) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """Stage segments by activity, their reachable customers, and 90-day rates (products by stages)."""
    stages = (
        sizes.group_by("stage_segment_id")
        .agg(pl.col("observed_customers", "reachable_customers", "customers").sum())
        .join(
            purchases.group_by("stage_segment_id").agg(pl.col("recent_buyers").sum()),
            on="stage_segment_id",
            how="left",
        )
        .with_columns(
            activity=(pl.col("recent_buyers").fill_null(0) / pl.col("observed_customers").clip(lower_bound=1)).round(9)
        )
        .sort(["activity", "stage_segment_id"], descending=[True, False])
        .with_row_index("stage_index")
    )
    products = pl.DataFrame({"product_id": product_ids}).with_row_index("product_index")
    cells = (
        purchases.group_by("product_id", "stage_segment_id")
        .agg(pl.col("recent_buyers").sum())
        .join(products, on="product_id")
        .join(stages.select("stage_segment_id", "stage_index", "observed_customers"), on="stage_segment_id")
    )
    rates = np.zeros((products.height, stages.height))
    rates[cells["product_index"].to_numpy(), cells["stage_index"].to_numpy()] = cells[
        "recent_buyers"
    ].to_numpy() / np.maximum(cells["observed_customers"].to_numpy(), 1)
    return products, rates, stages["customers"].to_numpy()


def _with_baseline(frame: pl.DataFrame, rates: tuple[pl.DataFrame, np.ndarray, np.ndarray]) -> pl.DataFrame:
    """The rate of the most active customers at the audience's own size, filled stage by stage."""
    products, by_stage, capacity = rates
    ends = np.cumsum(capacity)
    starts = ends - capacity
    size = frame["audience_customers"].to_numpy()
    row = frame.join(products, on="product_id", how="left", maintain_order="left")["product_index"].to_numpy()
    baseline = np.zeros(frame.height)
    for stage in range(len(capacity)):  # a handful of stages, never customers
        taken = np.clip(np.minimum(size, ends[stage]) - starts[stage], 0, None)
        baseline += taken / np.maximum(size, 1) * by_stage[row, stage]
    return frame.with_columns(pl.Series("baseline_score", baseline).round(9))


def _with_estimates(frame: pl.DataFrame, spec: CampaignSpec) -> pl.DataFrame:
    prior_mean = (pl.col("group_buyers") / pl.col("group_customers").clip(lower_bound=1) * pl.col("lift")).clip(
        upper_bound=1.0
    )
    frame = frame.with_columns(
        shape=pl.col("recent_buyers") + spec.prior_customers * prior_mean,
        scale=pl.col("observed_customers") + spec.prior_customers,
        exposure=pl.col("reachable_customers") * (spec.valid_days / RATE_DAYS),
    ).with_columns(score=(pl.col("shape") / pl.col("scale")).round(9))
    return frame.with_columns(expected_buyers=pl.col("score") * pl.col("exposure")).with_columns(
        expected_margin_amount=(pl.col("expected_buyers") * pl.col("margin")).round(4)
    )


def _best(frame: pl.DataFrame, spec: CampaignSpec) -> pl.DataFrame:
    """The best audiences of each product and the best products of each audience, by expected margin, then score.

    A product whose spare stock could not serve the buyers it would find is not offered to that audience.
    """
    order = ["expected_margin_amount", "score", "product_id", *_AUDIENCE]
    descending = [True, True, False, False, False]
    ranked = (
        frame.filter(
            (pl.col("shape") > 0)
            & (pl.col("spare_stock").is_null() | (pl.col("spare_stock") >= pl.col("expected_buyers")))
        )
        .sort(order, descending=descending)
        .with_columns(
            product_rank=pl.int_range(pl.len()).over("product_id"),
            audience_rank=pl.int_range(pl.len()).over(_AUDIENCE),
        )
    )
    return ranked.filter(
        (pl.col("product_rank") < spec.audiences_per_product) | (pl.col("audience_rank") < spec.products_per_audience)
    )


def _with_interval(frame: pl.DataFrame) -> pl.DataFrame:
    shape, scale = frame["shape"].to_numpy(), frame["scale"].to_numpy()
    exposure = frame["exposure"].to_numpy()
    success = scale / (scale + exposure)
    low = np.where(exposure > 0, nbinom.ppf(0.05, shape, success), 0.0)
    high = np.where(exposure > 0, nbinom.ppf(0.95, shape, success), 0.0)
    lowest_rate = gamma.ppf(0.05, shape) / scale
    expected = frame["expected_buyers"].to_numpy()
    return frame.with_columns(
        pl.Series("low", np.minimum(low, expected)).round(6),
        pl.Series("high", np.maximum(high, expected)).round(6),
        pl.Series("beats_baseline", lowest_rate > frame["baseline_score"].to_numpy()),
        pl.col("expected_buyers").round(6),
    )


def _with_reason(frame: pl.DataFrame) -> pl.DataFrame:
    def percent(column: str) -> pl.Expr:
        return (pl.col(column) * 100).round(2).cast(pl.String) + pl.lit("%")

    taste = (
        pl.when(pl.col("taste_segment_id") == _UNKNOWN_TASTE)
        .then(pl.lit("Their taste is not known yet."))
        .when(pl.col("lift") >= 1.05)
        .then(pl.format("Customers of this taste buy it {} times as often as all customers.", pl.col("lift").round(2)))
        .when(pl.col("lift") <= 0.95)
        .then(
            pl.format(
                "Customers of this taste buy it only {} times as often as all customers.", pl.col("lift").round(2)
            )
        )
        .otherwise(pl.lit("This taste buys it about as often as all customers do."))
    )
    contest = (
        pl.when("beats_baseline")
        .then(
            pl.format(
                "About {} of them buy it in {} days, against {} of the most active customers at equal size.",
                percent("score"), pl.lit(RATE_DAYS), percent("baseline_score"),
            )
        )
        .when(pl.col("score") > pl.col("baseline_score"))
        .then(
            pl.format(
                "About {} of them buy it in {} days, against {} of the most active at equal size: too close to call.",
                percent("score"), pl.lit(RATE_DAYS), percent("baseline_score"),
            )
        )
        .otherwise(
            pl.format(
                "The most active customers buy it as often or more at equal size ({} against {} in {} days): choose "
                "this audience for its objective, not for its rate.",
                percent("baseline_score"), percent("score"), pl.lit(RATE_DAYS),
            )
        )
    )  # fmt: skip
    return frame.with_columns(reason=pl.format("{} {}", taste, contest))
