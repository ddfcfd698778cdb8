"""Whether the next best products beat simpler rules: judged on the last period, learned on the one before.

What belongs here: the rankings of the simple rules, hit rate and NDCG with their intervals, and the verdict that says
which method is used. What does not: the blend and its weights (`next_best`), and the rules of an offer: both sides
rank the whole catalogue, because what is judged is the order, not the catalogue's exclusions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segmentation_assets.merchandising.next_best import (
    EQUAL_WEIGHTS,
    LIST_LENGTH,
    OWN_COUNTS,
    POPULAR,
    RULES,
    Floats,
    History,
    Ints,
    fit_weights,
    ideal_gain,
    learn_demand,
    pairs_of,
    rank_products,
    sampled,
)
from segmentation_assets.merchandising.plan import empty_table, table_schema
from segmentation_assets.merchandising.resampling import Resamples, interval

BLEND = "next best products"

ALL_ITEMS, NEW_ITEMS = "customer to product, all items", "customer to product, new items"
HIT_RATE, NDCG = "hit_rate_at_10", "ndcg_at_10"

JUDGED_CUSTOMERS, FEWEST_CUSTOMERS = 20_000, 100
_TABLE = "campaigns/match_backtest"
#: So little that it orders only what is left over.
_FILLING = 0.1
_SCOPES = ((ALL_ITEMS, False), (NEW_ITEMS, True))


@dataclass(frozen=True)
class ProductBacktest:
    """`table` in the columns of campaigns.match_backtest, `weights` fitted on the earlier period, and `reason`: why the
    table is empty, else ''.
    """

    table: pl.DataFrame
    weights: Mapping[str, float]
    reason: str = ""


def backtest_products(
    history2: History,
    bought2: tuple[Ints, Ints],
    history1: History,
    bought1: tuple[Ints, Ints],
    seed: int,
    *,
    threads: int = 1,
) -> ProductBacktest:
    """Hit rate and NDCG at 10 of the blend and of four simple rules on window 1, and the differences.

    `history2` and `history1` end where windows 2 and 1 begin; `bought2` and `bought1` are the customer and product
    codes of the pairs bought in them. The weights are fitted on window 2 and never see window 1.

    Judged is a seeded sample of at most 20,000 customers who bought in window 1. The list of a customer has ten
    products. hit_rate_at_10: share of customers with at least one purchase on it. ndcg_at_10: discounted cumulative
    gain with binary relevance over that of a perfect list (Jarvelin and Kekalainen 2002). "All items": every purchase;
    "new items": products the customer had never bought, and what was bought before is taken out of every ranking.

    The rules: products by buyers ever, by buyers of the last 30 days, by buyers ever of the customer's own taste
    segment, and the customer's own products by days bought (then the most recent), filled up with the most popular.
    Intervals: 95% percentile bootstrap, 1,000 resamples of 200 seeded buckets of customers (Efron and Tibshirani
    1993), the same for all methods, so that a difference is known better than its two sides.

    Empty, with the reason, when fewer than 100 customers bought in one of the windows, or nobody had bought before.
    """
    for name, history, bought in (("the earlier", history2, bought2), ("the last", history1, bought1)):
        buyers = len(np.unique(bought[0]))
        reason = ""
        if buyers < FEWEST_CUSTOMERS:
            reason = f"only {buyers} customers bought in {name} period; {FEWEST_CUSTOMERS} are needed."
        elif not len(history.customer):
            reason = f"nobody had bought anything before {name} period."
        if reason:
            return ProductBacktest(empty_table(_TABLE), dict(EQUAL_WEIGHTS), reason)
    weights = fit_weights(history2, bought2, seed, threads=threads)
    customer, product = pairs_of(*bought1, sample := sampled(np.unique(bought1[0]), JUDGED_CUSTOMERS, seed))
    part = history1.taken(sample)
    is_new = ~np.isin(customer * np.int64(part.products) + product, part.key)
    demand = learn_demand(history1, threads)
    rows: list[tuple[str, str, str, float, float, float]] = []
    for scope, is_new_only in _SCOPES:
        asked = is_new if is_new_only else np.ones(len(customer), bool)
        lists = {
            method: rank_products(
                history1, verdict_weights(method, weights), sample, is_new_only=is_new_only, demand=demand,
                threads=threads,
            )
            for method in (BLEND, *RULES)
        }  # fmt: skip
        rows += _judged(lists, (customer[asked], product[asked]), len(sample), scope=scope, seed=seed)
    table = pl.DataFrame(rows, schema=table_schema(_TABLE), orient="row")
    return ProductBacktest(table, weights)


def _judged(
    lists: Mapping[str, NDArray[np.int64]], pairs: tuple[Ints, Ints], n: int, *, scope: str, seed: int
) -> list[tuple[str, str, str, float, float, float]]:
    """Rows of the table: both metrics of every method, and of the blend minus every rule, over n customers."""
    customer, product = pairs
    hits = np.bincount(customer, minlength=n)
    bought = hits > 0
    if not bought.any():
        return []
    ideal = ideal_gain(hits)
    discount = 1.0 / np.log2(np.arange(2, LIST_LENGTH + 2))
    figures: dict[tuple[str, str], tuple[float, Floats]] = {}
    lots = Resamples.of(judged := int(bought.sum()), seed, stream=67)
    sizes = lots.sums(np.ones(judged))
    for method, codes in lists.items():
        found = codes[customer] == product[:, None]
        gain = np.bincount(customer, weights=found @ discount, minlength=n)[bought] / ideal[bought]
        hit = np.bincount(customer, weights=found.any(axis=1), minlength=n)[bought] > 0
        for metric, values in ((HIT_RATE, hit.astype(np.float64)), (NDCG, gain)):
            figures[method, metric] = float(values.mean()), lots.sums(values) / sizes
    rows = [_row(method, scope, metric, *figure) for (method, metric), figure in figures.items()]
    for rule in RULES:
        for metric in (HIT_RATE, NDCG):
            (own, own_draws), (other, draws) = figures[BLEND, metric], figures[rule, metric]
            rows.append(_row(f"{BLEND} minus {rule}", scope, metric, own - other, own_draws - draws))
    return rows


def _row(
    method: str, scope: str, metric: str, estimate: float, draws: Floats
) -> tuple[str, str, str, float, float, float]:
    low, high = interval(draws)
    return method, scope, metric, round(estimate, 9), round(low, 9), round(high, 9)


def product_verdict(table: pl.DataFrame, reason: str = "") -> tuple[str, bool, str]:
    """(method, is_better, sentence): what is used for a customer's next products, and what it did.

    `table` (campaigns.match_backtest; rows of other scopes do not matter) and `reason` come from `backtest_products`.
    The blend is better when the whole interval of its NDCG minus that of every rule is above 0, over all items and over
    new ones; a scope without purchases decides nothing. Otherwise the rule with the highest NDCG, both scopes together,
    is used, the simplest of equals. Without a back-test the blend is used, unproven, with is_better False.
    """
    rows = table.filter((pl.col("metric") == NDCG) & pl.col("scope").is_in([ALL_ITEMS, NEW_ITEMS]))
    figure = {(row["method"], row["scope"]): row for row in rows.iter_rows(named=True)}
    scopes = [scope for scope, _ in _SCOPES if (BLEND, scope) in figure]
    if not scopes:
        why = reason or "there is nothing to judge by."
        return BLEND, False, f"It cannot be judged: {why} The blend is used unproven, each reason with equal weight."
    gaps = {(rule, scope): figure[f"{BLEND} minus {rule}", scope] for rule in RULES for scope in scopes}
    open_gaps = {place: gap for place, gap in gaps.items() if gap["low"] <= 0}
    if not open_gaps:
        words = []
        for scope in scopes:
            rule = max(RULES, key=lambda name: figure[name, scope]["estimate"])
            words.append(f"{_words(scope)} {_against(figure, gaps, rule, scope)}")
        return BLEND, True, f"The next best products beat every simple rule: {'; '.join(words)}."
    rule = max(RULES, key=lambda name: sum(figure[name, scope]["estimate"] for scope in scopes))
    # Named is where the blend did worst; that need not be against the rule that is used.
    worst, scope = min(open_gaps, key=lambda place: (open_gaps[place]["estimate"], place))
    lost = open_gaps[worst, scope]["high"] < 0
    how = "lost to" if lost else "could not be told apart from"
    return rule, False, (
        f"The next best products {how} the rule '{worst}': {_words(scope)} {_against(figure, gaps, worst, scope)}. "
        f"The rule '{rule}' is used."
    )  # fmt: skip


def _words(scope: str) -> str:
    return {ALL_ITEMS: "over all purchases", NEW_ITEMS: "over products new to the customer"}[scope]


def _against(
    figure: Mapping[tuple[str, str], Mapping[str, float]], gaps: Mapping[tuple[str, str], Mapping[str, float]],
    rule: str, scope: str,
) -> str:  # fmt: skip
    own, other, gap = figure[BLEND, scope], figure[rule, scope], gaps[rule, scope]
    return (
        f"NDCG at 10 is {own['estimate']:.3f} against {other['estimate']:.3f} for '{rule}' (difference "
        f"{gap['estimate']:+.3f}, 95% interval {gap['low']:+.3f} to {gap['high']:+.3f})"
    )


def verdict_weights(method: str, fitted: Mapping[str, float]) -> dict[str, float]:
    """Weights for `recommend` by the method of the verdict: the fitted ones for the blend, else the rule alone.

    A customer's own products are too few for a list: that rule is filled up with the most popular.
    """
    if method == BLEND:
        return dict(fitted)
    return {OWN_COUNTS: 1.0 - _FILLING, POPULAR: _FILLING} if method == OWN_COUNTS else {method: 1.0}


def weights_table(weights: Mapping[str, float]) -> pl.DataFrame:
    """campaigns.next_best_weights: every component with a weight, the heaviest first."""
    rows = sorted(((name, round(float(weight), 9)) for name, weight in weights.items()), key=lambda row: (-row[1], row))
    return pl.DataFrame(rows, schema=table_schema("campaigns/next_best_weights"), orient="row")
