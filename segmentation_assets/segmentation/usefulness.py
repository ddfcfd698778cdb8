"""What segments are worth out of time: how much of what came next they tell, beside the simplest rules.

What belongs here: scoring groupings of customers, made on an earlier day, by what those customers did after it, with
intervals, and the sentence that says who wins. What does not: going back to that day (`warehouse.as_of`), making the
segments, and predicting for each customer (`lifetime.forecast`).

Every grouping is treated alike, clusters and rules: what a group does next is learned from one half of the customers
and judged on the other half, both ways round, so that many small groups cannot win by remembering their members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata

from segmentation_assets.segmentation.kmeans import one_thread

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

SEGMENTS = "segments"
OVERALL = "overall shares"

USEFULNESS_SCHEMA: dict[str, type[pl.DataType]] = {
    "method": pl.String,
    "metric": pl.String,
    "estimate": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}

#: Below these numbers an interval is wider than any difference it could show.
FEWEST_CUSTOMERS = 100
FEWEST_BUYERS = 30
#: Spend is capped at this quantile of those who bought, learned from the other half: one order must not decide.
CAP_QUANTILE = 0.99
#: A group's shares of next categories are drawn toward the overall ones with the weight of this many customers.
PRIOR_CUSTOMERS = 20.0
#: Rarer categories than the first so many are judged as one.
_CATEGORIES = 100
_OTHER = "(other)"
#: Resamples, and parcels of customers that are drawn: with more customers than parcels each parcel holds several.
DRAWS = 500
_PARCELS = 1_000
_INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class Usefulness:
    """`frame` (USEFULNESS_SCHEMA); without enough to judge by it is empty and `reason` says which number is short.

    A method `A minus B` holds the difference of two methods over the same customers and resamples. `customers` were
    judged.
    """

    frame: pl.DataFrame
    reason: str = ""
    customers: int = 0


@dataclass(frozen=True)
class Verdict:
    """Whether the segments are clearly better than every rule, and the sentence that says so or does not."""

    is_better: bool
    sentence: str


@dataclass(frozen=True)
class Metric:
    """A figure of sums over customers: `terms` (n, m) are added up and `figure` turns (..., m) sums into it (...)."""

    name: str
    terms: Array
    figure: Callable[[Array], Array]


def mean_metric(name: str, values: Array) -> Metric:
    """The mean of `values` (n,)."""
    return Metric(name, np.column_stack([values, np.ones(len(values))]), _ratio)


def root_mean_metric(name: str, values: Array) -> Metric:
    """The root of the mean of `values` (n,), which are squares."""
    return Metric(name, np.column_stack([values, np.ones(len(values))]), lambda sums: np.sqrt(_ratio(sums)))


def ratio_metric(name: str, above: Array, below: Array) -> Metric:
    """The sum of `above` over the sum of `below` (n,); NaN where that is 0."""
    return Metric(name, np.column_stack([above, below]), _ratio)


def explained_metric(name: str, actual: Array, predicted: Array, reference: Array) -> Metric:
    """R2 out of sample (n,): 1 minus squared errors of `predicted` over those of `reference` (Campbell, Thompson 2008).

    With the mean of the learning half as the reference it is 0 for who only knows that mean, and negative for worse.
    """
    return Metric(
        name,
        np.column_stack([(actual - predicted) ** 2, (actual - reference) ** 2]),
        lambda sums: 1.0 - _ratio(sums),
    )


def correlation_metric(name: str, first: Array, second: Array) -> Metric:
    """Pearson's correlation of (n,) and (n,); 0 where one of the two does not vary. Of ranks it is Spearman's."""
    a, b = first - first.mean(), second - second.mean()
    return Metric(name, np.column_stack([a, b, a * a, b * b, a * b, np.ones(len(a))]), _correlation)


def judge(
    metrics: Mapping[str, Sequence[Metric]], seed: int, *, minus: Mapping[str, Sequence[str]] | None = None
) -> pl.DataFrame:
    """Estimates with 95 % bootstrap intervals (USEFULNESS_SCHEMA), in the order given; rounded to 6 digits.

    `metrics`: by method, each over the same n customers in the same order. `minus` names, by method, those it is
    compared with: rows `A minus B` for every metric both have. All figures are taken from the same resamples, so a
    difference is known better than its two sides. Customers are dealt at random to at most 1,000 parcels and parcels
    are drawn with replacement (Efron 1979); up to 1,000 customers that is the ordinary bootstrap. What the learning
    half taught is held fixed. Figures that are not defined (no sum to divide by) have no row.
    """
    rows: list[tuple[str, str, float, float, float]] = []
    found: dict[str, dict[str, tuple[float, Array]]] = {}
    resample: _Resample | None = None
    for method, several in metrics.items():
        for metric in several:
            resample = resample or _Resample.of(len(metric.terms), seed)
            found.setdefault(method, {})[metric.name] = resample.figures(metric)
    for method, figures in found.items():
        rows += [(method, name, *_interval(*figure)) for name, figure in figures.items()]
    for method, others in (minus or {}).items():
        for other in others:
            for name, (estimate, draws) in found[method].items():
                if name in found[other]:
                    away, away_draws = found[other][name]
                    rows.append((f"{method} minus {other}", name, *_interval(estimate - away, draws - away_draws)))
    return pl.DataFrame([row for row in rows if np.isfinite(row[2])], schema=USEFULNESS_SCHEMA, orient="row")


def spend_usefulness(
    outcomes: pl.DataFrame, segments: pl.DataFrame, rules: Mapping[str, pl.DataFrame], seed: int
) -> Usefulness:
    """How well each grouping tells the spend that followed.

    `outcomes`: customer_id, next_amount. `segments` and each of `rules` (by the name readers see): customer_id and one
    column of group names, as they were before that spend; null is in no group. Judged are the customers whom every
    grouping has. Metrics:

    `spend_r2`: R2 of the group means out of sample, spend capped at the 99th percentile of those who bought in the
    learning half (a handful of large orders otherwise decides, and differently each quarter). `log_spend_r2`: the same
    of log(1 + spend), nearly whether somebody buys at all. `spend_rank_correlation`: Spearman's correlation of the
    group means with the spend, within each half.
    """
    table, methods = _grouped(outcomes.select("customer_id", "next_amount"), segments, rules)
    table = table.filter(pl.col("next_amount").is_not_null())
    spend = table["next_amount"].cast(pl.Float64).to_numpy()
    buyers = int((spend > 0).sum())
    if table.height < FEWEST_CUSTOMERS or buyers < FEWEST_BUYERS:
        return Usefulness(
            pl.DataFrame(schema=USEFULNESS_SCHEMA),
            f"{table.height:,} customers could be judged, of whom {buyers:,} bought in the window after the cut-off; "
            f"at least {FEWEST_CUSTOMERS} and {FEWEST_BUYERS} are needed.",
            table.height,
        )
    half = _halves(table.height, seed)
    metrics: dict[str, list[Metric]] = {}
    for method in methods:
        groups = _codes(table[method])
        capped, predicted, reference = spend.copy(), np.zeros(len(spend)), np.zeros(len(spend))
        logged, log_predicted, log_reference = np.log1p(np.maximum(spend, 0.0)), predicted.copy(), reference.copy()
        ranks, predicted_ranks = predicted.copy(), predicted.copy()
        for judged in (half, ~half):
            cap = spending_cap(spend[~judged])
            capped[judged] = np.minimum(spend[judged], cap)
            learned = np.minimum(spend[~judged], cap)
            predicted[judged] = _group_means(groups[~judged], learned, groups[judged])
            reference[judged] = learned.mean()
            log_predicted[judged] = _group_means(groups[~judged], logged[~judged], groups[judged])
            log_reference[judged] = logged[~judged].mean()
            # Ranks within a half: the two halves learned different means, which says nothing about customers.
            ranks[judged], predicted_ranks[judged] = _ranks(spend[judged]), _ranks(predicted[judged])
        metrics[method] = [
            explained_metric("spend_r2", capped, predicted, reference),
            explained_metric("log_spend_r2", logged, log_predicted, log_reference),
            correlation_metric("spend_rank_correlation", predicted_ranks, ranks),
        ]
    return Usefulness(judge(metrics, seed, minus={SEGMENTS: list(rules)}), "", table.height)


def category_usefulness(
    outcomes: pl.DataFrame, segments: pl.DataFrame, rules: Mapping[str, pl.DataFrame], seed: int
) -> Usefulness:
    """How well each grouping tells the category a customer buys next, beside the overall shares.

    `outcomes`: customer_id, next_category (null when nothing was bought: such customers are not judged). `segments` and
    `rules` as in `spend_usefulness`; `favourite_categories` makes the usual rule. What a group buys next are its shares
    in the learning half, drawn toward the overall shares with the weight of 20 customers; `overall shares` is the rule
    with one group. Metrics: `category_accuracy`, how often the likeliest category is the one (ties by name), and
    `category_log_loss` in nats, lower is better.
    """
    known = outcomes.select("customer_id", "next_category").filter(pl.col("next_category").is_not_null())
    table, methods = _grouped(known, segments, rules)
    kinds = table["next_category"].n_unique()
    if table.height < FEWEST_CUSTOMERS or kinds < 2:
        return Usefulness(
            pl.DataFrame(schema=USEFULNESS_SCHEMA),
            f"{table.height:,} customers could be judged by what they bought in the window after the cut-off, and "
            f"the number of its known categories is {kinds:,}; at least {FEWEST_CUSTOMERS} customers and 2 categories "
            f"are needed.",
            table.height,
        )
    counts = table["next_category"].value_counts().sort(["count", "next_category"], descending=[True, False])
    common = counts["next_category"].head(_CATEGORIES).to_list()
    category = _codes(pl.Series([name if name in set(common) else _OTHER for name in table["next_category"]]))
    width = int(category.max()) + 1
    half = _halves(table.height, seed)
    metrics: dict[str, list[Metric]] = {}
    one_group = np.zeros(table.height, dtype=np.int64)
    for method, groups in {**{method: _codes(table[method]) for method in methods}, OVERALL: one_group}.items():
        is_right, loss = np.zeros(table.height), np.zeros(table.height)
        for judged in (half, ~half):
            shares = _group_shares(groups[~judged], category[~judged], int(groups.max()) + 1, width)
            own = groups[judged]
            is_right[judged] = shares.argmax(axis=1)[own] == category[judged]
            loss[judged] = -np.log(shares[own, category[judged]])
        metrics[method] = [mean_metric("category_accuracy", is_right), mean_metric("category_log_loss", loss)]
    return Usefulness(judge(metrics, seed, minus={SEGMENTS: [*rules, OVERALL]}), "", table.height)


def favourite_categories(shares: pl.DataFrame) -> pl.DataFrame:
    """The known category each customer bought most lines of, then most money, then by name: customer_id, favourite.

    `shares`: customer_id, dimension, value, line_count, net_amount, as of the cut-off. Customers without a line of a
    known category have no row.
    """
    return (
        shares.filter((pl.col("dimension") == "category") & (pl.col("value") != "unknown"))
        .sort(["customer_id", "line_count", "net_amount", "value"], descending=[False, True, True, False])
        .group_by("customer_id", maintain_order=True)
        .agg(favourite=pl.col("value").first())
    )


#: Of each metric: how it is called in a sentence, and whether more of it is better.
_WORDS = {
    "spend_r2": ("the share of the next spend explained", True),
    "log_spend_r2": ("the share of log spend explained", True),
    "spend_rank_correlation": ("the rank correlation with the next spend", True),
    "category_accuracy": ("the share of next categories told right", True),
    "category_log_loss": ("the log-loss of the next category", False),
    "accuracy": ("the share of segments told right", True),
    "log_loss": ("the log-loss of the segment", False),
}
#: What decides, first found first: the money itself, and the whole of what a method says about categories.
_DECIDING = ("spend_r2", "category_log_loss", "log_loss")


def verdict(frame: pl.DataFrame, reason: str = "", method: str = SEGMENTS) -> Verdict:
    """Whether `method` beats every rule it is compared with, in one sentence with the numbers.

    `frame` (USEFULNESS_SCHEMA) comes from `judge`. One metric decides: `spend_r2`, else the log-loss. A difference
    from a rule counts when its whole interval is on one side. Better is to win against every rule and to lose to none
    by any other metric, which the sentence then names; to lose to one rule is a defeat; else the two cannot be told
    apart, which for segments means that the simpler rule would do. An empty frame gives `reason`.
    """
    gaps = _gaps(frame, method)
    metric = next((name for name in _DECIDING if any(gap.metric == name for gap in gaps)), None)
    if metric is None:
        return Verdict(False, f"It cannot be judged: {reason or 'there is nothing to judge by.'}")
    deciding = [gap for gap in gaps if gap.metric == metric]
    lost = [gap for gap in deciding if gap.high < 0]
    beaten = [gap for gap in deciding if gap.low > 0]
    # The rule to name is the strongest one: of those that win if any does, else of those that are not beaten.
    shown = lost or [gap for gap in deciding if gap not in beaten] or beaten
    gap = min(shown, key=lambda gap: (gap.advantage, gap.rule))
    numbers = f"{gap.words(method)} ({gap.difference})"
    if lost:
        return Verdict(False, f"The {method} lost to the {gap.rule}: {numbers}.")
    if shown is not beaten:
        return Verdict(False, f"The {method} could not be told apart from the {gap.rule}: {numbers}.")
    other = min((gap for gap in gaps if gap.high < 0), key=lambda gap: (gap.metric, gap.advantage), default=None)
    if other is not None:
        return Verdict(
            False, f"The {method} told more than the {gap.rule} in one way and less in another: {numbers}, but "
            f"{other.words(method)}."
        )  # fmt: skip
    return Verdict(True, f"The {method} told more than the {gap.rule}: {numbers}.")


@dataclass(frozen=True)
class _Gap:
    """The advantage of a method over a rule by one metric, turned so that more is better."""

    rule: str
    metric: str
    own: float
    theirs: float
    advantage: float
    low: float
    high: float
    difference: str

    def words(self, method: str) -> str:
        return f"{_WORDS[self.metric][0]} is {self.own:.3f} for the {method} and {self.theirs:.3f} for the {self.rule}"


def _gaps(frame: pl.DataFrame, method: str) -> list[_Gap]:
    """Every comparison of `method` in the frame."""
    values = {(row["method"], row["metric"]): row["estimate"] for row in frame.iter_rows(named=True)}
    start = f"{method} minus "
    found = []
    for row in frame.filter(pl.col("method").str.starts_with(start)).iter_rows(named=True):
        rule, metric = row["method"].removeprefix(start), row["metric"]
        sign = 1.0 if _WORDS[metric][1] else -1.0
        low, high = sorted((sign * row["low"], sign * row["high"]))
        difference = f"difference {row['estimate']:+.3f}, 95 % interval {row['low']:+.3f} to {row['high']:+.3f}"
        own, theirs = values[method, metric], values[rule, metric]
        found.append(_Gap(rule, metric, own, theirs, sign * row["estimate"], low, high, difference))
    return found


def spending_cap(spend: Array) -> float:
    """The amount above which spend (n,) is capped: the 99th percentile of what those who bought spent; else no cap."""
    bought = spend[spend > 0]
    return float(np.quantile(bought, CAP_QUANTILE)) if len(bought) else float("inf")


def _label_column(frame: pl.DataFrame) -> str:
    others = [name for name in frame.columns if name != "customer_id"]
    if len(others) != 1:
        raise ValueError(f"A grouping is customer_id and one column of names; found {', '.join(frame.columns)}.")
    return others[0]


def _grouped(
    outcomes: pl.DataFrame, segments: pl.DataFrame, rules: Mapping[str, pl.DataFrame]
) -> tuple[pl.DataFrame, list[str]]:
    """The outcomes of the customers every grouping has, a column of names per grouping; sorted by customer_id."""
    if taken := {SEGMENTS, OVERALL} & set(rules):
        raise ValueError(f"A rule must not be called {', '.join(sorted(taken))}: that name has its own row.")
    table = outcomes.with_columns(pl.col("customer_id").cast(pl.String))
    groupings = {SEGMENTS: segments, **rules}
    for method, frame in groupings.items():
        label = _label_column(frame)
        named = frame.select(pl.col("customer_id", label).cast(pl.String)).rename({label: method}).drop_nulls()
        if named["customer_id"].n_unique() != named.height:
            raise ValueError(f"{method}: a customer is in two groups; a grouping has one row per customer.")
        table = table.join(named, on="customer_id", how="inner")
    return table.sort("customer_id"), list(groupings)


def _codes(names: pl.Series) -> Labels:
    return np.unique(names.to_numpy().astype(str), return_inverse=True)[1].astype(np.int64)


def _halves(n: int, seed: int) -> NDArray[np.bool_]:
    """A random half of n rows."""
    order = np.random.default_rng(np.random.SeedSequence([seed, 41])).permutation(n)
    return order < n // 2


def _group_means(groups: Labels, values: Array, asked: Labels) -> Array:
    """The mean of `values` in the group of each row of `asked`; the mean of all where the group was not seen."""
    width = int(max(groups.max(initial=-1), asked.max(initial=-1))) + 1
    count = np.bincount(groups, minlength=width)
    total = np.bincount(groups, weights=values, minlength=width)
    means = np.where(count > 0, total / np.maximum(count, 1), values.mean())
    return np.asarray(means[asked])


def _group_shares(groups: Labels, category: Labels, height: int, width: int) -> Array:
    """(height, width) shares of categories by group, drawn toward the overall ones; no share is 0."""
    overall = (np.bincount(category, minlength=width) + 1.0) / (len(category) + width)
    counts = np.bincount(groups * width + category, minlength=height * width).reshape(height, width)
    return np.asarray(
        (counts + PRIOR_CUSTOMERS * overall) / (counts.sum(axis=1, keepdims=True) + PRIOR_CUSTOMERS), dtype=np.float64
    )


def _ranks(values: Array) -> Array:
    return np.asarray(rankdata(values) / max(len(values), 1))


def _ratio(sums: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], np.nan))


def _correlation(sums: Array) -> Array:
    a, b, aa, bb, ab, n = np.moveaxis(sums, -1, 0)
    together = ab - a * b / n
    spread = np.maximum(aa - a * a / n, 0.0) * np.maximum(bb - b * b / n, 0.0)
    # What is left of rounding in a column that does not vary is no correlation.
    varies = spread > 1e-18 * np.maximum(n, 1.0) ** 2
    return np.asarray(np.divide(together, np.sqrt(spread), out=np.zeros_like(together), where=varies))


@dataclass(frozen=True)
class _Resample:
    """`parcel` of each customer (n,), and how often each parcel is drawn (DRAWS, parcels)."""

    parcel: Labels
    times: Array

    @classmethod
    def of(cls, n: int, seed: int) -> _Resample:
        rng = np.random.default_rng(np.random.SeedSequence([seed, 43]))
        parcels = min(n, _PARCELS)
        parcel = rng.permutation(n) % parcels
        times = rng.multinomial(parcels, np.full(parcels, 1.0 / parcels), size=DRAWS)
        return cls(parcel.astype(np.int64), times.astype(np.float64))

    def figures(self, metric: Metric) -> tuple[float, Array]:
        """The figure over all customers, and over each resample (DRAWS,)."""
        parcels = self.times.shape[1]
        sums = np.column_stack(
            [np.bincount(self.parcel, weights=column, minlength=parcels) for column in metric.terms.T]
        )
        with one_thread():
            return float(metric.figure(sums.sum(axis=0))), metric.figure(self.times @ sums)


def _interval(estimate: float, draws: Array) -> tuple[float, float, float]:
    known = draws[np.isfinite(draws)]
    low, high = np.quantile(known, _INTERVAL) if len(known) else (np.nan, np.nan)
    return round(estimate, 6), round(float(low), 6), round(float(high), 6)
