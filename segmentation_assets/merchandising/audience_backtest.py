"""Product to audience on days held back: do matched customers buy more than as many chosen by the simplest rules?

What belongs here: matching as it would have been done 90 days ago, judged by what was bought since, and the verdict.
What does not: making today's matches (`matching`), reading tables, and the back-test of each customer's products
(`product_backtest`).

Everything is learned on window 2 (the days 180 to 91 ago) and judged on window 1 (the last 90 days): the activity, the
shares, the past rates, and where customers stood when window 1 began. Known minors and goods for adults only are not
told apart here: the question is who buys, not who may be addressed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segmentation_assets.merchandising.activity import expected_products, fit_activity
from segmentation_assets.merchandising.matching import (
    Crowd,
    best_counts,
    filled_cells,
    stated_size,
    taste_codes,
)
from segmentation_assets.merchandising.plan import (
    BY_ACTIVITY,
    BY_CHANCE,
    BY_PAST_RATE,
    BY_TASTE,
    CampaignSpec,
    empty_table,
    table_schema,
)
from segmentation_assets.merchandising.resampling import Resamples, interval
from segmentation_assets.merchandising.shares import PurchaseShares

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: What is judged, as the table names it, and the method each stands for. Baselines from the simplest on.
MATCHES = "matches"
BASELINES: Mapping[str, str] = {"most active": BY_ACTIVITY, "past rate": BY_PAST_RATE, "random": BY_CHANCE}
_METHODS = (MATCHES, *BASELINES)

#: Sizes that are judged beside the stated one.
_SMALL_SHARES = (0.01, 0.05)
_ALL, _FIRST = "all purchases", "first purchases"
#: Below this the interval says nothing that a person could use.
FEWEST_PURCHASES = 100

_TABLE = "campaigns/match_backtest"
_CELL = ["taste_segment_id", "stage_segment_id"]


def scope(purchases: str, share: float, *, within_groups: bool = False) -> str:
    """How the table names a question: which purchases, which size, and among whom it is chosen."""
    among = " within stage groups" if within_groups else ""
    return f"product to audience, {purchases}, best {share * 100:g}%{among}"


def backtest_audiences(
    then2: pl.DataFrame,
    then1: pl.DataFrame,
    events: pl.DataFrame,
    shares: PurchaseShares,
    *,
    rates: pl.DataFrame,
    groups: pl.DataFrame,
    spec: CampaignSpec,
    seed: int,
) -> pl.DataFrame:
    """Rows of `campaigns.match_backtest`: lift of each method over chance, and matches minus each baseline.

    `then2` and `then1` are the rows of campaigns.customer_activity of windows 2 and 1; `shares` and `rates` (the result
    of `past_rates`) were learned on window 2; `events` has one row per customer and product bought in window 1
    (customer_id, product_id, is_first); `groups` is the result of `stage_groups`.

    A purchase counts for a method when the customer is in the audience it would have chosen for the product: matches
    those with the highest expected_products times theta, `most active` those with the highest expected_products, `past
    rate` the segments (taste by stage) with the highest purchase rate of the product in window 2, and of the last one
    a part; `random` any. All audiences of a product have the same size. Lift is purchases found over those that as many
    customers taken at random would bring, over all products together. Scopes: sizes of 1%, 5% and the stated share of
    all customers, and the stated share within stage groups, where audiences are made as for the real matches (no
    part under the smallest cell); for all purchases and for first ones.

    Intervals: 95% percentile bootstrap over customers in 200 random lots, 1,000 resamples (Efron and Tibshirani 1993,
    An Introduction to the Bootstrap, chapters 8 and 13), audiences kept as they are. Purchases of products that the
    shares do not hold, or of customers not in `then1`, are left aside. Empty, with its columns, below 100 purchases or
    without a past to learn from.
    """
    then1 = then1.sort("customer_id")
    located = _located(events, then1, shares)
    if located.height < FEWEST_PURCHASES or then2.is_empty():
        return empty_table(_TABLE)
    activity = expected_products(fit_activity(then2, seed), then1)
    people = _People.of(then1, activity, shares, groups)
    bought = _Bought(
        located["customer"].to_numpy().astype(np.int64),
        located["product"].to_numpy().astype(np.int64),
        located["is_first"].to_numpy().astype(bool),
    )
    past = _past(rates, shares, people)
    lots = Resamples.of(then1.height, seed, stream=59)

    rows: list[dict[str, object]] = []
    everyone = np.zeros(then1.height, dtype=np.int64)
    for share in sorted({*_SMALL_SHARES, spec.audience_share}):
        found = _found(people, bought, shares, past, group=everyone, share=share, minimum_cell=0)
        for kind, chosen in ((_ALL, np.ones_like(bought.is_first)), (_FIRST, bought.is_first)):
            rows += _rows(scope(kind, share), found[chosen], bought.customer[chosen], lots)
    found = _found(
        people, bought, shares, past, group=people.group, share=spec.audience_share, minimum_cell=spec.minimum_cell
    )
    for kind, chosen in ((_ALL, np.ones_like(bought.is_first)), (_FIRST, bought.is_first)):
        rows += _rows(
            scope(kind, spec.audience_share, within_groups=True), found[chosen], bought.customer[chosen], lots
        )
    return pl.DataFrame(rows, schema=table_schema(_TABLE), orient="row")


class AudienceVerdict(NamedTuple):
    """The method to match by (as plan.py names it), whether it is proven better, and the finding in words."""

    method: str
    is_better: bool
    sentence: str


def audience_verdict(backtest: pl.DataFrame, spec: CampaignSpec, unjudged: str = "") -> AudienceVerdict:
    """What the back-test says of matching: within stage groups, at the stated size, by intervals only.

    Matching is better when the 95% interval of its difference to every baseline lies above 0, on all purchases and on
    first ones. Otherwise a baseline is used: the one that finds most on all purchases among those clearly ahead of
    matching, else the simplest that matching does not clearly beat. `unjudged` says why nothing could be judged; then,
    and without a figure within stage groups, taste is used because its lifts are shrunk to 1 where the data say
    nothing, and the sentence says that nothing is proven.
    """
    figures = _figures(backtest, spec)
    if unjudged or figures is None:
        few = f"fewer than {FEWEST_PURCHASES} purchases are known of the days held back"
        small = f"no group of stages has an audience of {spec.minimum_cell} customers, below which none is made"
        reason = unjudged.rstrip(".") or (few if backtest.is_empty() else small)
        return AudienceVerdict(
            BY_TASTE,
            False,
            f"It cannot be judged: {reason}. Customers are matched by taste and activity, and nothing is proven.",
        )
    kinds = [kind for kind in (_ALL, _FIRST) if (kind, MATCHES) in figures]
    gaps = {name: [figures[kind, f"{MATCHES} minus {name}"] for kind in kinds] for name in BASELINES}
    unbeaten = [name for name, pair in gaps.items() if not all(gap.low > 0 for gap in pair)]
    size = f"at the best {spec.audience_share * 100:g}% of each stage group"
    loses, used, best = "", "", ""
    if unbeaten:
        ahead = [name for name in unbeaten if gaps[name][0].high < 0]
        best = max(ahead, key=lambda name: figures[_ALL, name].estimate) if ahead else unbeaten[0]
        loses = "loses against" if ahead else "adds nothing sure over"
        used = f" {_USED[best]}"

    def told(kind: str) -> tuple[str, str]:
        own, rules = str(figures[kind, MATCHES]), {name: f"{figures[kind, name].estimate:.2f}" for name in BASELINES}
        return own, rules[best] if best else f"{rules['most active']} and {rules['past rate']}"

    (own, others), finds = told(_ALL), "they find" if best else "against"
    found = f"{own} times as many purchases as chance, {finds} {others}; too few were first ones to judge these"
    if _FIRST in kinds:
        first, first_others = told(_FIRST)
        if not best:
            rules = {name: f"{figures[_FIRST, name].estimate:.2f} for {_WORDS[name]}" for name in BASELINES}
            first_others = f"{rules['most active']} and {rules['past rate']}"
        found = (
            f"{first} times as many first purchases as chance, {finds} {first_others}; of all purchases {own}, "
            f"{'they' if best else 'against'} {others}"
        )
    if not best:
        return AudienceVerdict(BY_TASTE, True, f"Matching by taste and activity is better: {size} it finds {found}.")
    sentence = f"Matching by taste {loses} {_WORDS[best]}: {size} it finds {found}.{used}"
    return AudienceVerdict(BASELINES[best], False, sentence)


_WORDS = {
    "most active": "the most active customers",
    "past rate": "the segments with the highest past purchase rate",
    "random": "customers taken at random",
}
_USED = {
    "most active": "The most active are used.",
    "past rate": "The segments with the highest past rate are used.",
    "random": "Everyone is used.",
}


@dataclass(frozen=True)
class _Figure:
    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:.2f} ({self.low:.2f} to {self.high:.2f})"


def _figures(backtest: pl.DataFrame, spec: CampaignSpec) -> dict[tuple[str, str], _Figure] | None:
    """Figures within stage groups by kind of purchases and method; None when one of them is missing."""
    kinds = {scope(kind, spec.audience_share, within_groups=True): kind for kind in (_ALL, _FIRST)}
    found = {
        (kinds[row["scope"]], row["method"]): _Figure(row["estimate"], row["low"], row["high"])
        for row in backtest.filter(pl.col("scope").is_in(list(kinds)), pl.col("metric") == "lift").iter_rows(named=True)
    }
    methods = (*_METHODS, *(f"{MATCHES} minus {name}" for name in BASELINES))
    return found if all((_ALL, method) in found for method in methods) else None


@dataclass(frozen=True)
class _People:
    """Customers as window 1 began, sorted by id: column of the shares, group, cell and expected products."""

    taste: Ints
    group: Ints
    cell: Ints
    activity: Floats
    cells: pl.DataFrame

    @staticmethod
    def of(then: pl.DataFrame, activity: Floats, shares: PurchaseShares, groups: pl.DataFrame) -> _People:
        cells = then.select(_CELL).unique().sort(_CELL).with_row_index("cell")
        located = (
            then.select(_CELL)
            .join(cells, on=_CELL, how="left", maintain_order="left")
            .join(
                groups.select("stage_segment_id", "stage_group"),
                on="stage_segment_id",
                how="left",
                maintain_order="left",
            )
            .with_columns(pl.col("stage_group").fill_null("unknown").rank("dense").alias("group"))
        )
        return _People(
            taste_codes(located["taste_segment_id"], shares.taste_ids).to_numpy(),
            located["group"].to_numpy().astype(np.int64) - 1,
            located["cell"].to_numpy().astype(np.int64),
            activity,
            cells,
        )


@dataclass(frozen=True)
class _Bought:
    """Purchases of window 1: row of the customer, row of the product in the shares, never bought before."""

    customer: Ints
    product: Ints
    is_first: Bools


def _located(events: pl.DataFrame, then: pl.DataFrame, shares: PurchaseShares) -> pl.DataFrame:
    products = pl.DataFrame({"product_id": list(shares.product_ids)}, schema={"product_id": pl.String})
    return (
        events.select("customer_id", "product_id", "is_first")
        .unique(["customer_id", "product_id"], keep="first", maintain_order=True)
        .join(then.select("customer_id").with_row_index("customer"), on="customer_id")
        .join(products.with_row_index("product"), on="product_id")
        .sort("customer", "product")
    )


def _past(rates: pl.DataFrame, shares: PurchaseShares, people: _People) -> Floats:
    """Past purchase rates, (products, cells); 0 where nobody bought."""
    products = pl.DataFrame({"product_id": list(shares.product_ids)}, schema={"product_id": pl.String})
    seen = rates.join(products.with_row_index("product"), on="product_id").join(people.cells, on=_CELL)
    found = np.zeros((len(shares.product_ids), people.cells.height))
    found[seen["product"].to_numpy(), seen["cell"].to_numpy()] = seen.select(
        pl.col("buyers") / pl.col("customers").clip(lower_bound=1)
    ).to_series()
    return found


def _found(
    people: _People,
    bought: _Bought,
    shares: PurchaseShares,
    past: Floats,
    *,
    group: Ints,
    share: float,
    minimum_cell: int,
) -> Floats:
    """How far each method found each purchase, (purchases, methods): 1 when the customer is in the audience.

    Audiences are chosen within each group of `group` (customers,). A `minimum_cell` above 0 makes them as the real
    matches are: no part below it. The last method is chance: the part of the group that the audience is.
    """
    weights = np.zeros((len(bought.customer), len(_METHODS)))
    products, place_of = np.unique(bought.product, return_inverse=True)
    event_group = group[bought.customer]
    for code in np.unique(group):
        inside = np.flatnonzero(group == code)
        events = np.flatnonzero(event_group == code)
        if not len(events):
            continue
        who, what = bought.customer[events], place_of[events]
        crowd = Crowd.of(people.taste[inside], people.activity[inside])
        theta = shares.mean[np.ix_(products, crowd.tastes)]
        n = len(inside)
        wanted = np.full(len(products), stated_size(n, share, min(max(minimum_cell, 1), n)))
        counts = best_counts(theta, crowd, wanted, max(minimum_cell, 1))
        size = counts.sum(axis=1)
        floor = crowd.floors(counts)[what, np.searchsorted(crowd.tastes, people.taste[who])]
        weights[events, 0] = people.activity[who] >= floor
        weights[events, 1] = _most_active(people.activity[who], crowd, size[what])
        cells, cell_of = np.unique(people.cell[inside], return_inverse=True)
        taken = filled_cells(past[np.ix_(products, cells)], size, np.bincount(cell_of).astype(np.int64))
        weights[events, 2] = taken[what, np.searchsorted(cells, people.cell[who])]
        weights[events, 3] = size[what] / n
    return weights


def _most_active(activity: Floats, crowd: Crowd, size: Ints) -> Floats:
    """1 above the edge of the `size` most active, 0 below it, and of those at the edge the part that still fits."""
    edge, part = crowd.edge(size)
    return np.where(size > 0, np.where(activity > edge, 1.0, np.where(activity == edge, part, 0.0)), 0.0)


def _rows(name: str, found: Floats, customer: Ints, lots: Resamples) -> list[dict[str, object]]:
    """Lift of each method and of the differences, with intervals, over purchases (n, methods) of customers (n,)."""
    if len(customer) < FEWEST_PURCHASES:
        return []
    # The last column is what chance would find: the lift of anything is its ratio to it.
    total = found.sum(axis=0)
    resampled = np.stack([lots.sums(column, customer) for column in found.T], axis=1)
    if total[-1] <= 0:
        return []
    estimates = total / total[-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        samples = resampled / resampled[:, [-1]]
    samples = samples[np.isfinite(samples).all(axis=1)]
    lifts = {method: (estimates[place], samples[:, place]) for place, method in enumerate(_METHODS)}
    for baseline in BASELINES:
        lifts[f"{MATCHES} minus {baseline}"] = (
            lifts[MATCHES][0] - lifts[baseline][0],
            lifts[MATCHES][1] - lifts[baseline][1],
        )
    rows: list[dict[str, object]] = []
    for method, (estimate, values) in lifts.items():
        low, high = interval(values)
        rows.append(
            {
                "method": method, "scope": name, "metric": "lift", "estimate": round(float(estimate), 9),
                "low": round(float(min(low, estimate)), 9), "high": round(float(max(high, estimate)), 9),
            }
        )  # fmt: skip
    return rows
