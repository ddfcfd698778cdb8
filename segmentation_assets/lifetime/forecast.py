"""What each customer will spend in the next 90 days, by whichever candidate foretold the last 90 days best.

What belongs here: features known on a day to the spend of the 90 days after it, the candidates, their validation one
window later, and the simplest rule beside them, "the same as in the last 90 days". What does not: the tables of
earlier days (`warehouse.as_of`), expected purchases by a model of buying behaviour (`lifetime`), and any claim that
an offer changes the spend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, RegressorMixin, clone

from segmentation_assets.segmentation.kmeans import one_thread
from segmentation_assets.segmentation.usefulness import (
    Metric,
    correlation_metric,
    judge,
    mean_metric,
    ratio_metric,
    root_mean_metric,
    spending_cap,
)

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Array = NDArray[np.float64]

#: The window of the forecast. The features count orders and money of the last 90 days, and so does the baseline.
HORIZON_DAYS = 90
BASELINE = "same as last 90 days"
ENSEMBLE = "voting ensemble"

FORECAST_SCHEMA: dict[str, type[pl.DataType]] = {
    "customer_id": pl.String,
    "horizon_days": pl.Int64,
    "forecast_amount": pl.Float64,
    "baseline_amount": pl.Float64,
    "method": pl.String,
}
CANDIDATE_SCHEMA: dict[str, type[pl.DataType]] = {
    "method": pl.String,
    "metric": pl.String,
    "estimate": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "is_chosen": pl.Boolean,
}

#: Numbers known on the day itself, on the log scale: amounts, counts and days. Loyalty points and stated preferences
#: are not among them, for the source does not say what they were on an earlier day; nor are protected attributes.
_NUMBERS = (
    "recency_days", "order_count", "monetary_amount", "average_order_amount", "tenure_days", "days_between_orders",
    "days_between_orders_deviation", "orders_last_90_days", "monetary_last_90_days", "discount_share", "return_share",
    "coupon_order_share", "campaign_order_count", "price_level", "category_count", "event_count",
    "add_to_cart_count", "wishlist_count", "events_last_90_days", "days_since_event", "campaign_open_count",
    "campaign_click_count",
)  # fmt: skip
_CATEGORIES = ("favourite_channel", "acquisition_channel", "country")

FEWEST_CUSTOMERS = 100
FEWEST_BUYERS = 30
#: More rows teach the candidates nothing that shows in the validation; support vectors cost more with every row.
_LEARNED_ROWS = 50_000
_SUPPORT_ROWS = 5_000
_LANDMARKS = 100
#: Of the Gaussian kernel, for about as many scaled columns as 1 / gamma.
_KERNEL_GAMMA = 0.02
_DECIDES = "capped_rmse"


class SpendRegressor(RegressorMixin, BaseEstimator):
    """A regressor of amounts of 0 or more, whose forecasts add up to what was spent in the data it learned from.

    `regressor` is any scikit-learn regressor; with `on_roots` it learns the square root of the amount, with `rows` at
    most so many rows, drawn by `seed`. What it forecasts is cut at 0, squared again, and multiplied by one factor.
    """

    def __init__(self, regressor: Any, *, on_roots: bool = False, rows: int | None = None, seed: int = 0) -> None:
        self.regressor = regressor
        self.on_roots = on_roots
        self.rows = rows
        self.seed = seed

    def fit(self, X: Array, y: Array) -> SpendRegressor:
        """Learn from X (n, d) and amounts y (n,)."""
        order = np.random.default_rng(np.random.SeedSequence([self.seed, 53])).permutation(len(y))
        drawn = np.sort(order[: self.rows])
        self.regressor_ = clone(self.regressor).fit(X[drawn], np.sqrt(y[drawn]) if self.on_roots else y[drawn])
        self.ceiling_ = float(y.max(initial=0.0))
        found = self._amounts(X).sum()
        self.factor_ = float(y.sum() / found) if found > 0 else 0.0
        return self

    def predict(self, X: Array) -> Array:
        """Amounts (n,)."""
        return np.asarray(self._amounts(X) * self.factor_)

    def _amounts(self, X: Array) -> Array:
        raw = np.maximum(self.regressor_.predict(X), 0.0)
        # A line rises without end: nobody is expected to spend more than anybody ever did.
        return np.minimum(raw**2 if self.on_roots else raw, self.ceiling_)


@dataclass(frozen=True)
class Window:
    """A day and what followed: `customers` are the features as of its end, `outcomes` has customer_id, next_amount."""

    customers: pl.DataFrame
    outcomes: pl.DataFrame


@dataclass(frozen=True)
class SpendForecast:
    """`customers` (FORECAST_SCHEMA), `candidates` (CANDIDATE_SCHEMA), the winner, and a sentence with the numbers.

    Without enough to learn from both tables are empty, `method` is empty and the sentence says which number is short.
    """

    customers: pl.DataFrame
    candidates: pl.DataFrame
    method: str
    sentence: str


def forecast_spend(learn: Window, validate: Window, today: pl.DataFrame, seed: int) -> SpendForecast:
    """Spend of the next 90 days of every customer in `today`.

    `learn` stands two windows before today, `validate` one. The candidates learn on `learn` and are judged on
    `validate`, whose outcomes they have not seen; the one with the lowest `capped_rmse` wins, the baseline among
    them, and the winner, learned again on `validate`, forecasts from `today`. The frames need customer_id and any of
    the features above; ValueError when customer_id or monetary_last_90_days is missing.

    Candidates, on the same columns (amounts, counts and days on the log scale, scaled; categories one-hot): ridge
    regression and support-vector regression (on at most 5,000 customers, its Gaussian kernel approximated by 100
    landmarks after Williams and Seeger 2001), both of the square root of the spend (on logs, where 0 is far from any
    amount, errors at the top are blown up: capped RMSE was 142 and 147 against 132 and 134 on a simulated shop);
    gradient boosting with Poisson loss; and the mean of the three. Each is scaled so that the total of the data it
    learned from is met (the idea of Duan's smearing, 1983).

    Metrics: `mae`; `rmse`; `capped_rmse`, both sides capped at the 99th percentile of the buyers' spend in the
    learning window, which decides because the squared error asks for the expected spend (the absolute error asks for
    the median, which is 0 where most buy nothing) and one huge order must not; `rank_correlation` (Spearman);
    `total_ratio`, forecast over actual money. Intervals by bootstrap over customers.
    """
    for name, frame in (("learn", learn.customers), ("validate", validate.customers), ("today", today)):
        if missing := [column for column in ("customer_id", "monetary_last_90_days") if column not in frame.columns]:
            raise ValueError(f"The customers of {name} have no column {', '.join(missing)}.")
    first, second = _joined(learn), _joined(validate)
    columns = _usable(first, second, today)
    if reason := _too_little(first, "first") or _too_little(second, "second") or _tells_nothing(columns):
        empty = pl.DataFrame(schema=FORECAST_SCHEMA), pl.DataFrame(schema=CANDIDATE_SCHEMA)
        return SpendForecast(*empty, "", reason)
    with one_thread():
        fitted = _fit(first, columns, seed)
        candidates = {BASELINE: _baseline(second), **_predict(fitted, second, columns)}
        cap = spending_cap(first["next_amount"].to_numpy())
        frame, chosen = _judged(candidates, second["next_amount"].to_numpy(), cap, seed)
        ahead = today.sort("customer_id")
        baseline = _baseline(ahead)
        forecast = baseline
        if chosen != BASELINE:
            forecast = _predict(_fit(second, columns, seed, only=chosen), ahead, columns)[chosen]
    customers = pl.DataFrame(
        {
            "customer_id": ahead["customer_id"].cast(pl.String),
            "horizon_days": pl.repeat(HORIZON_DAYS, ahead.height, dtype=pl.Int64, eager=True),
            "forecast_amount": np.round(forecast, 2),
            "baseline_amount": np.round(baseline, 2),
            "method": pl.repeat(chosen, ahead.height, dtype=pl.String, eager=True),
        },
        schema=FORECAST_SCHEMA,
    )
    return SpendForecast(customers, frame, chosen, _sentence(frame, chosen, second.height))


def _joined(window: Window) -> pl.DataFrame:
    spend = window.outcomes.select("customer_id", pl.col("next_amount").cast(pl.Float64))
    return window.customers.join(spend, on="customer_id", how="inner").sort("customer_id")


def _too_little(table: pl.DataFrame, which: str) -> str:
    buyers = int((table["next_amount"] > 0).sum())
    if table.height >= FEWEST_CUSTOMERS and buyers >= FEWEST_BUYERS:
        return ""
    return (
        f"No forecast: of {table.height:,} customers known before the {which} window of {HORIZON_DAYS} days, "
        f"{buyers:,} spent something in it; at least {FEWEST_CUSTOMERS} and {FEWEST_BUYERS} are needed."
    )


def _tells_nothing(columns: tuple[list[str], list[str]]) -> str:
    return "" if any(columns) else "No forecast: every feature is the same for all customers, or unknown."


def _usable(*frames: pl.DataFrame) -> tuple[list[str], list[str]]:
    """Numbers and categories that every frame has, and that are known and vary in those learned from."""

    def varies(name: str) -> bool:
        return all(frame[name].drop_nulls().n_unique() > 1 for frame in frames[:-1])

    present = [name for name in (*_NUMBERS, *_CATEGORIES) if all(name in frame.columns for frame in frames)]
    kept = [name for name in present if varies(name)]
    return [name for name in kept if name in _NUMBERS], [name for name in kept if name in _CATEGORIES]


def _inputs(frame: pl.DataFrame, columns: tuple[Sequence[str], Sequence[str]]) -> pl.DataFrame:
    numbers, categories = columns
    return frame.select(
        # What is negative (an event of a later clock, a correction) counts as none: a log takes no more.
        *(pl.col(name).cast(pl.Float64).clip(0.0).fill_null(float("nan")).log1p() for name in numbers),
        *(pl.col(name).cast(pl.String).fill_null("unknown") for name in categories),
    )


def _fit(table: pl.DataFrame, columns: tuple[list[str], list[str]], seed: int, *, only: str = ENSEMBLE) -> Pipeline:
    """The pipeline of all candidates, or of one, learned on (a sample of) the customers of one window."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 47]))
    drawn = np.sort(rng.permutation(table.height)[:_LEARNED_ROWS])
    sample = table[drawn]
    return _pipeline(columns, len(drawn), seed, only).fit(
        _inputs(sample, columns), sample["next_amount"].clip(0.0).to_numpy()
    )


def _pipeline(columns: tuple[list[str], list[str]], rows: int, seed: int, only: str) -> Pipeline:
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingRegressor, VotingRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.svm import LinearSVR

    numbers, categories = columns
    steps: list[Any] = [
        ("numbers", make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), numbers),
        (
            "categories",
            OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=0.01, sparse_output=False),
            categories,
        ),
    ]
    support = make_pipeline(
        Nystroem(gamma=_KERNEL_GAMMA, n_components=min(_LANDMARKS, rows), random_state=seed),
        LinearSVR(loss="squared_epsilon_insensitive", dual=False, epsilon=0.1),
    )
    boosting = HistGradientBoostingRegressor(
        loss="poisson", max_iter=50, learning_rate=0.12, max_leaf_nodes=15, min_samples_leaf=40, early_stopping=False,
        random_state=seed,
    )  # fmt: skip
    members = [
        ("ridge", SpendRegressor(Ridge(alpha=10.0), on_roots=True)),
        ("support vectors", SpendRegressor(support, on_roots=True, rows=_SUPPORT_ROWS, seed=seed)),
        ("gradient boosting", SpendRegressor(boosting)),
    ]
    return make_pipeline(
        ColumnTransformer([step for step in steps if step[2]], sparse_threshold=0.0),
        VotingRegressor([member for member in members if only in (ENSEMBLE, member[0])]),
    )


def _predict(fitted: Pipeline, table: pl.DataFrame, columns: tuple[list[str], list[str]]) -> dict[str, Array]:
    """Amounts (n,) by candidate, the ensemble last."""
    transformed = fitted[:-1].transform(_inputs(table, columns))
    vote = fitted[-1]
    amounts = vote.transform(transformed)  # one column per member: the ensemble need not predict again
    found = {name: amounts[:, place] for place, (name, _) in enumerate(vote.estimators)}
    return {**found, ENSEMBLE: amounts.mean(axis=1)}


def _baseline(table: pl.DataFrame) -> Array:
    return np.asarray(table["monetary_last_90_days"].cast(pl.Float64).fill_null(0.0).to_numpy())


def _judged(candidates: dict[str, Array], actual: Array, cap: float, seed: int) -> tuple[pl.DataFrame, str]:
    """The table of candidates (CANDIDATE_SCHEMA) and the name of the winner; of equals, the first."""
    metrics: dict[str, list[Metric]] = {}
    for method, forecast in candidates.items():
        error = forecast - actual
        capped = np.minimum(forecast, cap) - np.minimum(actual, cap)
        metrics[method] = [
            mean_metric("mae", np.abs(error)),
            root_mean_metric("rmse", error**2),
            root_mean_metric(_DECIDES, capped**2),
            correlation_metric("rank_correlation", rankdata(forecast) / len(error), rankdata(actual) / len(error)),
            ratio_metric("total_ratio", forecast, actual),
        ]
    others = [method for method in candidates if method != BASELINE]
    frame = judge(metrics, seed, minus={method: [BASELINE] for method in others})
    deciding = frame.filter((pl.col("metric") == _DECIDES) & pl.col("method").is_in(list(candidates)))
    chosen = str(deciding["method"][int(deciding["estimate"].arg_min() or 0)])
    return frame.with_columns(is_chosen=pl.col("method") == chosen).cast(CANDIDATE_SCHEMA), chosen  # type: ignore[arg-type]


def _sentence(frame: pl.DataFrame, chosen: str, customers: int) -> str:
    def figure(method: str, metric: str = _DECIDES) -> dict[str, Any]:
        return frame.row(by_predicate=(pl.col("method") == method) & (pl.col("metric") == metric), named=True)

    if chosen == BASELINE:
        second = (
            frame.filter((pl.col("metric") == _DECIDES) & ~pl.col("method").str.contains(" minus ", literal=True))
            .filter(pl.col("method") != BASELINE)
            .sort("estimate", "method")
            .row(0, named=True)
        )
        return (
            f"No candidate beats '{BASELINE}', which is published: on {customers:,} customers of the last "
            f"{HORIZON_DAYS} days its error (capped RMSE) was {figure(BASELINE)['estimate']:,.2f}, that of the best "
            f"candidate ({second['method']}) {second['estimate']:,.2f}."
        )
    gap = figure(f"{chosen} minus {BASELINE}")
    clearly = "beats" if gap["high"] < 0 else "is ahead of, but cannot be told apart from,"
    return (
        f"The {chosen} {clearly} '{BASELINE}': on {customers:,} customers of the last {HORIZON_DAYS} days its error "
        f"(capped RMSE) was {figure(chosen)['estimate']:,.2f} against {figure(BASELINE)['estimate']:,.2f} "
        f"(difference {gap['estimate']:+,.2f}, 95 % interval {gap['low']:+,.2f} to {gap['high']:+,.2f}); rank "
        f"correlation {figure(chosen, 'rank_correlation')['estimate']:.3f} against "
        f"{figure(BASELINE, 'rank_correlation')['estimate']:.3f}."
    )
