"""The back-test of the next best products: what is measured, that it is honest, and what the verdict says."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from segmentation_assets.merchandising import product_backtest
from segmentation_assets.merchandising.next_best import (
    BOUGHT_BEFORE,
    COMPONENTS,
    EQUAL_WEIGHTS,
    IN_SEGMENT,
    OWN_COUNTS,
    POPULAR,
    POPULAR_NOW,
    RULES,
    History,
    learn_demand,
    rank_products,
)
from segmentation_assets.merchandising.plan import TABLE_TYPES, table_schema
from segmentation_assets.merchandising.product_backtest import (
    ALL_ITEMS,
    BLEND,
    HIT_RATE,
    NDCG,
    NEW_ITEMS,
    ProductBacktest,
    backtest_products,
    product_verdict,
    verdict_weights,
    weights_table,
)

PRODUCTS = 80
Bought = tuple[Any, Any]


@cache
def shop(
    seed: int, *, lean: float, again: float, customers: int = 900
) -> tuple[tuple[History, Bought], tuple[History, Bought]]:
    """Windows 2 and 1 of a shop: customers buy goods of their kind, one of six, `lean` times as often, and with
    chance `again` something they had before. A taste segment holds customers of two kinds.
    """
    rng = np.random.default_rng(seed)
    likes, kind = rng.integers(0, 6, customers), rng.integers(0, 6, PRODUCTS)
    taste = 1 + likes // 2
    weight = np.where(likes[:, None] == kind[None, :], lean, 1.0) / (np.arange(PRODUCTS) + 5.0)
    weight /= weight.sum(axis=1, keepdims=True)
    lines: list[tuple[int, int, int]] = []
    for customer in range(customers):
        mine: list[int] = []
        for back in sorted(rng.integers(0, 700, 12), reverse=True):
            repeats = bool(mine) and rng.random() < again
            mine.append(int(rng.choice(mine)) if repeats else int(rng.choice(PRODUCTS, p=weight[customer])))
            lines.append((customer, mine[-1], int(back)))
    frame = pl.DataFrame(lines, schema=["c", "p", "back"], orient="row")

    def window(ago: int) -> tuple[History, Bought]:
        begin = 90 * ago
        before = frame.filter(pl.col("back") >= begin).group_by("c", "p")
        known = before.agg(pl.len().alias("days"), (pl.col("back").min() - begin).alias("age")).sort("c", "p")
        later = frame.filter((pl.col("back") < begin) & (pl.col("back") >= begin - 90)).select("c", "p").unique()
        who, what, days, age = (known[name].to_numpy() for name in known.columns)
        history = History(customers, PRODUCTS, who, what, days, age, np.zeros(known.height, bool), taste, kind)
        return history, (later["c"].to_numpy(), later["p"].to_numpy())

    return window(2), window(1)


@cache
def judged(seed: int, *, lean: float, again: float) -> ProductBacktest:
    then2, then1 = shop(seed, lean=lean, again=again)
    return backtest_products(*then2, *then1, seed=1)


def figure(table: pl.DataFrame, method: str, scope: str, metric: str) -> dict[str, float]:
    return table.row(
        by_predicate=(pl.col("method") == method) & (pl.col("scope") == scope) & (pl.col("metric") == metric),
        named=True,
    )


def test_where_customers_have_tastes_and_habits_the_blend_beats_every_rule() -> None:
    found = judged(1, lean=12.0, again=0.3)
    method, is_better, sentence = product_verdict(found.table)
    assert (method, is_better) == (BLEND, True)
    assert sentence.startswith("The next best products beat every simple rule: over all purchases NDCG at 10 is 0.")
    assert "over products new to the customer NDCG at 10 is 0." in sentence and "95% interval +0." in sentence


def test_where_everyone_buys_what_is_popular_the_blend_does_not_win() -> None:
    for seed in (1, 2):
        found = judged(seed, lean=1.0, again=0.0)
        method, is_better, sentence = product_verdict(found.table)
        assert method in RULES and not is_better
        assert f"The rule '{method}' is used." in sentence and "beat" not in sentence


def test_every_method_and_every_difference_has_both_metrics_in_both_scopes() -> None:
    table = judged(1, lean=12.0, again=0.3).table
    assert table.columns == list(TABLE_TYPES["campaigns/match_backtest"])
    methods = [BLEND, *RULES, *(f"{BLEND} minus {rule}" for rule in RULES)]
    wanted = {(method, scope, metric) for method in methods for scope in (ALL_ITEMS, NEW_ITEMS)
              for metric in (HIT_RATE, NDCG)}  # fmt: skip
    assert set(table.select("method", "scope", "metric").rows()) == wanted and table.height == len(wanted)
    assert (table["low"] <= table["estimate"]).all() and (table["estimate"] <= table["high"]).all()
    for scope, metric in ((ALL_ITEMS, HIT_RATE), (NEW_ITEMS, NDCG)):
        own = figure(table, BLEND, scope, metric)
        for rule in RULES:
            other, gap = figure(table, rule, scope, metric), figure(table, f"{BLEND} minus {rule}", scope, metric)
            assert gap["estimate"] == pytest.approx(own["estimate"] - other["estimate"], abs=1e-8)
            # Both were judged on the same customers: a difference is known better than two independent figures.
            width = (own["high"] - own["low"]) ** 2 + (other["high"] - other["low"]) ** 2
            assert gap["high"] - gap["low"] < np.sqrt(width)


def test_the_figures_are_those_of_the_formulas_by_hand() -> None:
    found = judged(1, lean=12.0, again=0.3)
    _, (history, (customer, product)) = shop(1, lean=12.0, again=0.3)
    demand, everyone = learn_demand(history), np.unique(customer)
    owned = set(zip(history.customer.tolist(), history.product.tolist(), strict=True))
    for scope in (ALL_ITEMS, NEW_ITEMS):
        ranked = rank_products(history, found.weights, everyone, is_new_only=scope == NEW_ITEMS, demand=demand)
        gains, hits = [], []
        for who, products in zip(everyone.tolist(), ranked.tolist(), strict=True):
            bought = {int(item) for item in product[customer == who]}
            if scope == NEW_ITEMS:
                bought = {item for item in bought if (who, item) not in owned}
            if not bought:
                continue
            got = sum(1 / np.log2(place + 2) for place, item in enumerate(products) if item in bought)
            gains.append(got / sum(1 / np.log2(place + 2) for place in range(min(len(bought), 10))))
            hits.append(bool(bought & set(products)))
        assert figure(found.table, BLEND, scope, NDCG)["estimate"] == pytest.approx(np.mean(gains), abs=1e-8)
        assert figure(found.table, BLEND, scope, HIT_RATE)["estimate"] == pytest.approx(np.mean(hits), abs=1e-8)


def test_the_weights_do_not_see_the_days_they_are_judged_on() -> None:
    then2, (history1, (customer, product)) = shop(1, lean=12.0, again=0.3)
    other = backtest_products(*then2, history1, (customer, (product + 7) % PRODUCTS), seed=1)
    found = judged(1, lean=12.0, again=0.3)
    assert other.weights == found.weights and not other.table.equals(found.table)
    assert list(found.weights) == list(COMPONENTS)


def test_the_same_seed_gives_the_same_table_on_any_number_of_threads() -> None:
    then2, then1 = shop(1, lean=12.0, again=0.3)
    found = judged(1, lean=12.0, again=0.3)
    again = backtest_products(*then2, *then1, seed=1, threads=2)
    assert again.table.equals(found.table)
    other = backtest_products(*then2, *then1, seed=2).table
    assert other.filter(pl.col("metric") == NDCG)["low"].to_list() != found.table.filter(
        pl.col("metric") == NDCG
    )["low"].to_list()  # fmt: skip


def test_at_most_so_many_customers_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    then2, then1 = shop(1, lean=12.0, again=0.3)
    monkeypatch.setattr(product_backtest, "JUDGED_CUSTOMERS", 150)
    few = backtest_products(*then2, *then1, seed=1)
    whole = figure(judged(1, lean=12.0, again=0.3).table, BLEND, ALL_ITEMS, NDCG)
    part = figure(few.table, BLEND, ALL_ITEMS, NDCG)
    assert part["high"] - part["low"] > 1.5 * (whole["high"] - whole["low"])


def test_too_little_data_is_said_with_its_numbers() -> None:
    (history2, (customer, product)), then1 = shop(1, lean=12.0, again=0.3)
    few = np.isin(customer, np.unique(customer)[:99])
    found = backtest_products(history2, (customer[few], product[few]), *then1, seed=1)
    assert found.table.is_empty() and found.table.schema == table_schema("campaigns/match_backtest")
    assert found.reason == "only 99 customers bought in the earlier period; 100 are needed."
    assert found.weights == EQUAL_WEIGHTS
    method, is_better, sentence = product_verdict(found.table, found.reason)
    assert (method, is_better) == (BLEND, False)
    assert sentence == (
        "It cannot be judged: only 99 customers bought in the earlier period; 100 are needed. The blend is used "
        "unproven, each reason with equal weight."
    )
    nothing = np.zeros(0, np.int64)
    empty = History(900, PRODUCTS, nothing, nothing, nothing, nothing, nothing > 0, history2.taste, history2.category)
    found = backtest_products(empty, (customer, product), *then1, seed=1)
    assert found.reason == "nobody had bought anything before the earlier period."


def test_a_shop_where_nothing_new_is_bought_is_judged_on_all_items_alone() -> None:
    (history2, bought2), (history1, _) = shop(1, lean=12.0, again=0.3)
    own = (history1.customer, history1.product)
    found = backtest_products(history2, bought2, history1, own, seed=1)
    assert set(found.table["scope"]) == {ALL_ITEMS}
    assert product_verdict(found.table)[2].count("NDCG at 10") == 1


# --- the verdict -----------------------------------------------------------------------------------------------------


def _table(gaps: dict[tuple[str, str], tuple[float, float]], ndcg: dict[tuple[str, str], float]) -> pl.DataFrame:
    """A back-test with the intervals of differences given, all others clearly above 0; plus rows of another topic."""
    rows: list[tuple[str, str, str, float, float, float]] = [
        ("matches", "product to audience, all purchases, best 20%", "lift", 3.0, 2.0, 4.0)
    ]
    for scope in (ALL_ITEMS, NEW_ITEMS):
        for method in (BLEND, *RULES):
            value = ndcg.get((method, scope), 0.2 if method == BLEND else 0.1)
            rows.append((method, scope, NDCG, value, value - 0.01, value + 0.01))
        for rule in RULES:
            low, high = gaps.get((rule, scope), (0.05, 0.15))
            rows.append((f"{BLEND} minus {rule}", scope, NDCG, (low + high) / 2, low, high))
    return pl.DataFrame(rows, schema=table_schema("campaigns/match_backtest"), orient="row")


def test_a_win_over_every_rule_in_both_scopes_is_better() -> None:
    method, is_better, sentence = product_verdict(_table({}, {(OWN_COUNTS, ALL_ITEMS): 0.15}))
    assert (method, is_better) == (BLEND, True)
    assert sentence == (
        "The next best products beat every simple rule: over all purchases NDCG at 10 is 0.200 against 0.150 for 'own "
        "counts' (difference +0.100, 95% interval +0.050 to +0.150); over products new to the customer NDCG at 10 is "
        "0.200 against 0.100 for 'popular overall' (difference +0.100, 95% interval +0.050 to +0.150)."
    )


def test_a_loss_to_any_rule_in_any_scope_is_said_plainly_and_the_best_rule_is_used() -> None:
    ndcg = {(IN_SEGMENT, ALL_ITEMS): 0.18, (OWN_COUNTS, ALL_ITEMS): 0.25, (IN_SEGMENT, NEW_ITEMS): 0.16}
    method, is_better, sentence = product_verdict(_table({(OWN_COUNTS, ALL_ITEMS): (-0.06, -0.04)}, ndcg))
    assert (method, is_better) == (OWN_COUNTS, False)
    assert sentence == (
        "The next best products lost to the rule 'own counts': over all purchases NDCG at 10 is 0.200 against 0.250 "
        "for 'own counts' (difference -0.050, 95% interval -0.060 to -0.040). The rule 'own counts' is used."
    )


def test_an_interval_that_holds_zero_is_no_win() -> None:
    for rule in RULES:
        for scope in (ALL_ITEMS, NEW_ITEMS):
            _, is_better, sentence = product_verdict(_table({(rule, scope): (0.0, 0.02)}, {}))
            assert not is_better and f"could not be told apart from the rule '{rule}'" in sentence


def test_of_equal_rules_the_simplest_is_used() -> None:
    assert product_verdict(_table({(OWN_COUNTS, NEW_ITEMS): (-0.1, 0.1)}, {}))[0] == POPULAR


def test_what_is_used_is_what_was_judged() -> None:
    fitted = {BOUGHT_BEFORE: 1.0}
    assert verdict_weights(BLEND, fitted) == fitted
    assert verdict_weights(POPULAR_NOW, fitted) == {POPULAR_NOW: 1.0}
    assert verdict_weights(OWN_COUNTS, fitted) == {OWN_COUNTS: 0.9, POPULAR: 0.1}
    for method in (BLEND, *RULES):
        assert sum(verdict_weights(method, EQUAL_WEIGHTS).values()) == pytest.approx(1.0)


def test_the_weights_are_a_table_with_the_heaviest_first() -> None:
    table = weights_table({"a": 0.2, "c": 0.4, "b": 0.4})
    assert table.rows() == [("b", 0.4), ("c", 0.4), ("a", 0.2)]
    assert table.schema == table_schema("campaigns/next_best_weights")
