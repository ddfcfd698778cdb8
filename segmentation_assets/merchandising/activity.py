"""How many products each customer is expected to buy, whatever the products, and the audience members in that order.

What belongs here: learning activity from one window and applying it to where customers stand later, and ranking the
customers who may be addressed. What does not: which product (`shares`), whom it suits best (`matching`), and counting
(`sql/campaigns/customer_activity.sql`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from segmentation_assets.merchandising.plan import empty_table, table_schema

Floats = NDArray[np.float64]

#: What is known of a customer when a window begins (columns of campaigns.customer_activity).
ACTIVITY_FEATURES = (
    "recency_days", "order_count", "orders_last_90_days", "orders_last_365_days", "product_count",
    "products_last_90_days", "products_last_365_days", "line_count", "tenure_days", "signup_days",
)  # fmt: skip

_MEMBERS = "campaigns/audience_members"
#: Beyond this more customers teach nothing that ten counts could use, and the fit stays at a second or two.
_LEARNED_CUSTOMERS = 100_000
#: Below this a boosting would learn the few customers by heart.
_FEWEST_CUSTOMERS = 200
#: Without any window to learn from, who bought nothing lately still buys a little.
_QUIET_PRODUCTS = 0.05


@dataclass(frozen=True)
class ActivityModel:
    """What a window taught. `learned` is what made the forecast: boosting, mean or recent.

    `constant` is the mean number of products per customer, `customers` how many it was learned on, `regressor` the
    fitted boosting (None for the others).
    """

    learned: str
    constant: float
    customers: int
    regressor: Any = None


def fit_activity(then: pl.DataFrame, seed: int) -> ActivityModel:
    """Learn the number of products of a window from where customers stood when it began.

    `then` holds the rows of campaigns.customer_activity of one past window, one per customer, in any order, with
    `products_next`. A gradient boosting of trees for counts (Poisson deviance; Friedman 2001, Greedy function
    approximation; histograms as in LightGBM, Ke et al. 2017), on at most 100,000 customers drawn by `seed`. Below 200
    customers, or without a purchase, everyone gets the mean. Without any row nothing was learned, and
    `expected_products` falls back on the recent past.
    """
    if then.is_empty():
        return ActivityModel("recent", 0.0, 0)
    # In the order of the ids, so that the draw and the sums do not depend on the order of the rows.
    then = then.sort("customer_id")
    outcome = then["products_next"].cast(pl.Float64).to_numpy()
    if np.isnan(outcome).any():
        raise ValueError("products_next is unknown for some customers: activity is learned on a past window only.")
    mean = float(outcome.mean())
    if then.height < _FEWEST_CUSTOMERS or mean == 0:
        return ActivityModel("mean", mean, then.height)
    from sklearn.ensemble import HistGradientBoostingRegressor  # slow to import, and not every step needs it

    rng = np.random.default_rng(np.random.SeedSequence([seed, 53]))
    drawn = np.sort(rng.permutation(then.height)[:_LEARNED_CUSTOMERS])
    regressor = HistGradientBoostingRegressor(
        loss="poisson",
        max_iter=100,
        learning_rate=0.05,
        max_leaf_nodes=7,
        min_samples_leaf=int(np.clip(len(drawn) // 80, 15, 100)),
        early_stopping=False,
        random_state=seed,
    )
    # A hundred small trees: where other work shares the cores, several threads mostly wait for each other.
    with _threads().limit(limits=1, user_api="openmp"):
        regressor.fit(_features(then)[drawn], outcome[drawn])
    return ActivityModel("boosting", mean, len(drawn), regressor)


@lru_cache(maxsize=1)
def _threads() -> ThreadpoolController:
    """The thread pools of the process, once all are loaded."""
    return ThreadpoolController()


def expected_products(model: ActivityModel, now: pl.DataFrame) -> Floats:
    """Different products each customer of `now` is expected to buy in the 90 days to come, (customers,), rounded.

    `now` holds rows of campaigns.customer_activity; the result is in their order. A model that learned nothing takes
    the products of the last 90 days and a little for everyone.
    """
    if model.learned == "recent":
        return np.asarray(now["products_last_90_days"].cast(pl.Float64).to_numpy() + _QUIET_PRODUCTS).round(9)
    if model.regressor is None or now.is_empty():
        return np.full(now.height, round(model.constant, 9))
    return np.asarray(model.regressor.predict(_features(now)), dtype=np.float64).round(9)


def audience_members(
    now: pl.DataFrame, reachability: pl.DataFrame, groups: pl.DataFrame, expected: Floats
) -> pl.DataFrame:
    """`campaigns.audience_members`: everyone who may be in an audience, with the place by activity.

    `now` holds the rows of campaigns.customer_activity of today and `expected` (customers,) their expected products;
    `reachability` is features.reachability, `groups` the result of `stage_groups` (a stage it does not name is
    `unknown`). Known minors are left out; who is missing in `reachability` cannot be reached and is no known adult.
    Sorted by taste, stage group, is_adult and place.
    """
    if len(expected) != now.height:
        raise ValueError(f"{len(expected):,} forecasts for {now.height:,} customers: hand in one for each row.")
    if now.is_empty():
        return empty_table(_MEMBERS)
    cell = ["taste_segment_id", "stage_group", "is_adult"]
    order = {
        "is_reachable": True, "expected_products": True, "orders_last_90_days": True, "customer_id": False,
    }  # fmt: skip
    return (
        now.select("customer_id", "taste_segment_id", "stage_segment_id", "orders_last_90_days")
        .with_columns(pl.Series("expected_products", expected).round(9))
        .join(reachability.select("customer_id", "is_minor", "is_reachable", "is_adult"), on="customer_id", how="left")
        .with_columns(pl.col("is_minor", "is_reachable", "is_adult").fill_null(value=False))
        .filter(~pl.col("is_minor"))
        .join(groups.select("stage_segment_id", "stage_group"), on="stage_segment_id", how="left")
        .with_columns(pl.col("stage_group").fill_null("unknown"))
        .sort([*cell, *order], descending=[*[False] * len(cell), *order.values()])
        .with_columns(activity_rank=pl.int_range(pl.len()).over(cell))
        .select(pl.col(name).cast(dtype) for name, dtype in table_schema(_MEMBERS).items())
    )


def _features(rows: pl.DataFrame) -> Floats:
    """(customers, features); unknown is NaN, which the trees send to the side that fits better."""
    return np.asarray(rows.select(pl.col(name).cast(pl.Float64).fill_null(np.nan) for name in ACTIVITY_FEATURES))
