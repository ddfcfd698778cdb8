"""The next best products: what each component says, the rules no score outweighs, the fit, and the checks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.merchandising import next_best
from segmentation_assets.merchandising.next_best import (
    BOUGHT_BEFORE,
    COMPONENTS,
    EQUAL_WEIGHTS,
    GOES_WITH,
    IN_CATEGORIES,
    IN_SEGMENT,
    IN_TASTE,
    OWN_COUNTS,
    POPULAR,
    POPULAR_NOW,
    REPURCHASABLE_SHARE,
    RULES,
    History,
    fit_weights,
    learn_demand,
    rank_products,
    recommend,
)
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model


def history(
    pairs: list[tuple[Any, ...]], customers: int, products: int, taste: Any = None, category: Any = None
) -> History:
    """Pairs are (customer, product, days, age_days, returned); the last three may be left out."""
    full = sorted((*pair, *(1, 10, False)[len(pair) - 2 :]) for pair in pairs)
    who, what, days, age, back = [
        np.array([row[i] for row in full], dtype=bool if i == 4 else np.int64) for i in range(5)
    ]
    return History(
        customers, products, who, what, days, age, back,
        np.zeros(customers, np.int64) if taste is None else np.asarray(taste),
        np.zeros(products, np.int64) if category is None else np.asarray(category),
    )  # fmt: skip


def suggested(found: History, weights: dict[str, float], **given_: Any) -> pl.DataFrame:
    """`recommend` where everything is allowed unless said otherwise."""
    rules: dict[str, Any] = {
        "allowed": np.ones(found.products, bool), "is_age_restricted": np.zeros(found.products, bool),
        "is_adult": np.zeros(found.customers, bool), "rest_days": 0,
    }  # fmt: skip
    return recommend(found, weights, **{**rules, **given_})


def products_of(frame: pl.DataFrame, customer: int) -> list[int]:
    return frame.filter(pl.col("customer") == customer)["product"].to_list()


# --- histories -------------------------------------------------------------------------------------------------------


def test_a_history_that_contradicts_itself_is_refused() -> None:
    good: dict[str, Any] = {
        "customers": 2, "products": 2, "customer": np.array([0, 1]), "product": np.array([0, 1]),
        "days": np.array([1, 1]), "age_days": np.array([0, 0]), "returned": np.array([False, False]),
        "taste": np.zeros(2, int), "category": np.zeros(2, int),
    }  # fmt: skip
    History(**good)
    for changed, said in [
        ({"days": np.array([1])}, "one entry per pair"),
        ({"taste": np.zeros(3, int)}, "one entry per customer"),
        ({"days": np.array([0, 1])}, "days at 1"),
        ({"product": np.array([0, 2])}, "beyond the number"),
        ({"customer": np.array([1, 0])}, "sorted by customer and product"),
        ({"customer": np.array([1, 1]), "product": np.array([1, 1])}, "each there once"),
    ]:
        with pytest.raises(ValueError, match=said):
            History(**{**good, **changed})


def test_some_customers_are_taken_in_the_order_given() -> None:
    part = history([(0, 1), (0, 2), (2, 0)], 3, 3, taste=[1, 0, 2]).taken(np.array([2, 1, 0]))
    assert part.customer.tolist() == [0, 2, 2] and part.product.tolist() == [0, 1, 2]
    assert part.taste.tolist() == [2, 0, 1]


# --- the components --------------------------------------------------------------------------------------------------


def test_what_was_bought_often_lately_and_is_bought_again_comes_first() -> None:
    # Products 0 and 1 are bought again by everyone else, 2 by nobody.
    others = [(c, p, 2 if p < 2 else 1, 10, False) for c in range(1, 60) for p in range(3)]
    found = history([(0, 0, 1, 400, False), (0, 1, 1, 5, False), (0, 2, 1, 5, False), *others], 60, 4)
    frame = suggested(found, {BOUGHT_BEFORE: 1.0})
    assert products_of(frame, 0) == [1, 0, 2]
    assert frame.filter(pl.col("customer") == 0)["is_repurchase"].all()
    assert set(frame.filter(pl.col("customer") == 0)["basis"]) == {BOUGHT_BEFORE}


def test_the_repurchase_share_of_a_product_leans_on_its_categorys() -> None:
    # Category 0: 40 of 80 buyers of product 0 came back. Product 1 has one buyer, who did not; category 1 nobody.
    pairs = [(c, 0, 1 + c % 2, 10, False) for c in range(80)] + [(0, 1), *((c, 2) for c in range(80))]
    demand = learn_demand(history(pairs, 80, 4, category=[0, 0, 1, -1]))
    shares = demand.repurchase
    assert shares[0] == pytest.approx(0.5, abs=0.03) and 0.35 < shares[1] < shares[0]
    assert shares[2] < REPURCHASABLE_SHARE < shares[1]
    assert shares[3] == pytest.approx(40 / 161)
    assert demand.repurchasable.tolist() == [True, True, False, True]


def test_each_taste_gets_what_is_in_demand_there_and_an_unknown_taste_what_is_in_demand_overall() -> None:
    pairs = [(c, 0 if c < 800 else 1) for c in range(1100)]
    found = history(pairs, 1103, 3, taste=[1] * 800 + [2] * 300 + [2, 1, 0])
    frame = suggested(found, {IN_TASTE: 1.0})
    assert products_of(frame, 1100) == [1, 0] and products_of(frame, 1101) == [0, 1] == products_of(frame, 1102)
    assert not frame.filter(pl.col("customer") >= 1100)["is_repurchase"].any()


def test_a_product_nobody_buys_any_more_is_in_less_demand() -> None:
    pairs = [(c, 0, 1, 300, False) for c in range(10)] + [(c, 1) for c in range(10, 15)]
    frame = suggested(history(pairs, 16, 3), {IN_TASTE: 1.0})
    assert products_of(frame, 15) == [1, 0]


def test_neighbours_are_the_shrunken_cosine_of_sarwar_with_rows_that_sum_to_one() -> None:
    rng = np.random.default_rng(3)
    bought = rng.random((200, 12)) < np.linspace(0.05, 0.4, 12)
    found = history([(int(c), int(p)) for c, p in zip(*np.nonzero(bought), strict=True)], 200, 12)
    length = np.sqrt(np.maximum(bought.sum(axis=1, keepdims=True), 1))
    close = (bought / length).T @ (bought / length)
    root = np.sqrt(bought.sum(axis=0) + 10.0)
    close = close / root[:, None] / root[None, :]
    np.fill_diagonal(close, 0)
    expected = close / close.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(learn_demand(found).neighbours.toarray(), expected, rtol=1e-5)


def test_only_the_fifty_closest_neighbours_are_kept() -> None:
    pairs = [(c, p) for c in range(30) for p in range(80) if (c * p) % 7 != 1]
    neighbours = learn_demand(history(pairs, 30, 80)).neighbours
    assert np.diff(neighbours.indptr).max() == 50 and not neighbours.diagonal().any()


def test_one_shared_buyer_makes_no_neighbour() -> None:
    # Products 2 and 3 share their only buyer; product 0 and 1 share half of a hundred.
    pairs = [(c, 0) for c in range(100)] + [(c, 1) for c in range(50, 150)] + [(150, 2), (150, 3), (150, 0)]
    found = history([*pairs, (151, 0)], 152, 4)
    assert products_of(suggested(found, {GOES_WITH: 1.0}), 151)[0] == 1
    # A plain cosine would put 3 beside 2 at 1 and 1 beside 0 at a half.
    neighbours = learn_demand(found).neighbours
    assert neighbours[0, 1] > 0.9 and neighbours[0, 3] < 0.05


def test_own_categories_count_by_the_customers_share_of_them() -> None:
    # Everyone else buys category 0; the last customer bought category 1 only.
    pairs = [(c, c % 3) for c in range(60)] + [(60 + c, 3 + c % 2) for c in range(10)] + [(70, 5)]
    found = history(pairs, 71, 6, category=[0, 0, 0, 1, 1, 1])
    frame = suggested(found, {IN_CATEGORIES: 1.0}, allowed=np.array([True] * 5 + [False]))
    assert products_of(frame, 0)[:3] == [0, 1, 2]
    fresh = 0.5 ** (10 / 365)
    share = fresh / (fresh + 3.0)  # one purchase, ten days old, against a prior of three
    demand = learn_demand(found)
    scores = dict(frame.filter(pl.col("customer") == 70).select("product", "score").iter_rows())
    overall = demand.popular[demand.tastes]
    expected = share * demand.in_category[3] + (1 - share) * overall[3] + 0.001 * overall[3]
    assert scores[3] == pytest.approx(expected, rel=1e-5)


def test_own_counts_go_by_days_then_by_the_most_recent_and_are_filled_up() -> None:
    pairs = [(0, 0, 1, 5, False), (0, 1, 3, 90, False), (0, 2, 1, 4, False), *((c, 3) for c in range(1, 9))]
    frame = suggested(history(pairs, 9, 5), {OWN_COUNTS: 0.9, POPULAR: 0.1})
    assert products_of(frame, 0) == [1, 2, 0, 3]
    assert frame.filter(pl.col("customer") == 0)["basis"].to_list() == [OWN_COUNTS] * 3 + [POPULAR]


def test_the_simple_rules_can_be_used_alone() -> None:
    pairs = [(c, 0, 1, 100, False) for c in range(9)] + [(c, 1, 1, 5, False) for c in range(9, 14)]
    found = history([*pairs, (14, 2)], 17, 4, taste=[1] * 9 + [0] * 5 + [2] + [2, 0])
    assert products_of(suggested(found, {POPULAR: 1.0}), 15)[0] == 0
    assert products_of(suggested(found, {POPULAR_NOW: 1.0}), 15)[0] == 1
    assert products_of(suggested(found, {IN_SEGMENT: 1.0}), 15)[0] == 2
    assert products_of(suggested(found, {IN_SEGMENT: 1.0}), 16)[0] == 1


def test_weights_that_cannot_be_meant_are_refused() -> None:
    found = history([(0, 0)], 1, 1)
    for weights in ({"magic": 1.0}, {IN_TASTE: -1.0}, {IN_TASTE: 0.0}, {}):
        with pytest.raises(ValueError, match="eights"):
            suggested(found, weights)


# --- the rules -------------------------------------------------------------------------------------------------------


def test_nothing_that_was_sent_back_is_suggested() -> None:
    found = history([(0, 0, 5, 100, True), (1, 0), (2, 1), (2, 0)], 3, 2)
    frame = suggested(found, dict(EQUAL_WEIGHTS), sent_back=(np.array([1]), np.array([1])))
    assert products_of(frame, 0) == [1] and products_of(frame, 1) == [0] and len(products_of(frame, 2)) == 2


def test_what_was_just_bought_rests_unless_people_buy_it_again_and_again() -> None:
    others = [(c, p, 2 if p == 0 else 1, 40, False) for c in range(2, 80) for p in range(2)]
    found = history([(0, 0, 1, 29, False), (0, 1, 1, 29, False), (1, 1, 1, 30, False), *others], 80, 2, category=[0, 1])
    frame = suggested(found, dict(EQUAL_WEIGHTS), rest_days=30)
    assert products_of(frame, 0) == [0]
    assert 1 in products_of(frame, 1)


def test_age_restricted_products_are_for_known_adults_and_minors_get_nothing() -> None:
    found = history([(c, p) for c in range(4) for p in range(3)], 4, 3)
    frame = suggested(
        found, dict(EQUAL_WEIGHTS), is_age_restricted=np.array([True, False, False]),
        is_adult=np.array([True, False, False, True]), may_be_offered=np.array([True, True, False, True]),
        allowed=np.array([True, True, False]),
    )  # fmt: skip
    assert [sorted(products_of(frame, customer)) for customer in range(4)] == [[0, 1], [1], [], [0, 1]]


def test_customers_without_a_history_get_products_and_ties_go_to_the_lower_code() -> None:
    found = history([(c, p) for c in range(3) for p in range(9)], 5, 9)
    frame = suggested(found, dict(EQUAL_WEIGHTS))
    assert products_of(frame, 4) == [0, 1, 2, 3, 4]
    assert frame.filter(pl.col("customer") == 4)["rank"].to_list() == [1, 2, 3, 4, 5]


def test_ties_beyond_what_is_fetched_at_first_go_to_the_lower_code_too() -> None:
    found = history([(c, p) for c in range(3) for p in range(150)], 4, 150)
    assert products_of(suggested(found, {POPULAR: 1.0}), 3) == [0, 1, 2, 3, 4]


def test_who_has_used_up_the_list_of_the_popular_gets_others() -> None:
    # 300 products; customer 0 bought all of the 250 most popular of them yesterday and lets them rest.
    pairs = [(c, p) for c in range(1, 6) for p in range(300) if p < 250 or c == 1]
    found = history([(0, p, 1, 1, False) for p in range(250)] + pairs, 6, 300)
    frame = suggested(found, {IN_TASTE: 1.0}, rest_days=30)
    assert products_of(frame, 0) == [250, 251, 252, 253, 254]


def test_without_products_or_purchases_the_table_is_empty_with_its_columns() -> None:
    empty = history([], 3, 2)
    columns = ["customer", "rank", "product", "score", "is_repurchase", "basis"]
    assert suggested(empty, dict(EQUAL_WEIGHTS)).is_empty()
    assert suggested(empty, dict(EQUAL_WEIGHTS)).columns == columns
    nothing = suggested(history([(0, 0)], 1, 2), dict(EQUAL_WEIGHTS), allowed=np.array([False, False]))
    assert nothing.is_empty() and nothing.columns == columns
    assert suggested(history([], 0, 0), dict(EQUAL_WEIGHTS)).is_empty()


@st.composite
def shops(draw: st.DrawFn) -> dict[str, Any]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    customers, products = draw(st.integers(1, 25)), draw(st.integers(1, 20))
    bought = rng.random((customers, products)) < rng.choice([0.0, 0.1, 0.5, 1.0])
    pairs = [
        (int(c), int(p), int(rng.integers(1, 4)), int(rng.integers(0, 200)), bool(rng.random() < 0.2))
        for c, p in zip(*np.nonzero(bought), strict=True)
    ]
    found = history(pairs, customers, products, rng.integers(0, 3, customers), rng.integers(-1, 3, products))
    weights = dict(zip(COMPONENTS, rng.dirichlet(np.ones(4)) * (rng.random(4) < 0.7), strict=True))
    if not sum(weights.values()):
        weights = {str(rng.choice(RULES)): 1.0}
    back = rng.random((customers, products)) < 0.05
    return {
        "found": found, "weights": weights, "allowed": rng.random(products) < 0.7,
        "is_age_restricted": rng.random(products) < 0.3, "is_adult": rng.random(customers) < 0.5,
        "may_be_offered": rng.random(customers) < 0.9, "rest_days": int(rng.integers(0, 100)),
        "sent_back": np.nonzero(back), "top": draw(st.integers(1, 6)),
    }  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(shops())
def test_no_suggestion_breaks_a_rule_and_none_is_missing(shop: dict[str, Any]) -> None:
    found: History = shop.pop("found")
    weights, top = shop["weights"], shop["top"]
    demand = learn_demand(found)
    frame = recommend(found, **shop)
    assert frame.equals(recommend(found, **shop, threads=2))

    may = np.outer(shop["may_be_offered"], shop["allowed"])
    may &= shop["is_adult"][:, None] | ~shop["is_age_restricted"][None, :]
    may[shop["sent_back"]] = False
    may[found.customer[found.returned], found.product[found.returned]] = False
    rests = (found.age_days < shop["rest_days"]) & (demand.repurchase < REPURCHASABLE_SHARE)[found.product]
    may[found.customer[rests], found.product[rests]] = False
    owned = np.zeros(may.shape, bool)
    owned[found.customer, found.product] = True

    row, product = frame["customer"].to_numpy(), frame["product"].to_numpy()
    assert may[row, product].all()
    assert (owned[row, product] == frame["is_repurchase"].to_numpy()).all()
    assert not frame.select("customer", "product").is_duplicated().any()
    parts = _by_hand(found, demand, weights)
    score = np.where(may, np.sum(list(parts.values()), axis=0), 0.0)
    for customer in range(found.customers):
        mine = frame.filter(pl.col("customer") == customer)
        assert mine["rank"].to_list() == list(range(1, mine.height + 1))
        assert mine.height == min(top, int((score[customer] > 0).sum()))
        # The scores are the best there are; float32 may order near-ties its own way.
        best = np.sort(score[customer])[::-1][: mine.height]
        np.testing.assert_allclose(mine["score"].to_numpy(), best, rtol=1e-4, atol=1e-8)
        at = score[customer, mine["product"].to_numpy()]
        np.testing.assert_allclose(mine["score"].to_numpy(), at, rtol=1e-4, atol=1e-8)
        for item, basis in mine.select("product", "basis").iter_rows():
            assert parts[basis][customer, item] >= max(part[customer, item] for part in parts.values()) - 1e-5


def _by_hand(found: History, demand: next_best.Demand, weights: dict[str, float]) -> dict[str, Any]:
    """Every component for every pair, densely: the formulas once more, without sparse blocks."""
    shape = (found.customers, found.products)
    fresh, days, own = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    fresh[found.customer, found.product] = 0.5 ** (found.age_days / 365)
    days[found.customer, found.product] = found.days
    own = fresh * days / np.maximum((fresh * days).sum(axis=1, keepdims=True), 1e-12) * demand.repurchase
    items = fresh / np.maximum(fresh.sum(axis=1, keepdims=True), 1e-12)
    counted = np.zeros(shape)
    for customer in range(found.customers):
        mine = np.flatnonzero(found.customer == customer)
        order = sorted(mine, key=lambda i: (-found.days[i], found.age_days[i], found.product[i]))
        for place, i in enumerate(order):
            counted[customer, found.product[i]] = found.products + 1 - place
    member = found.category[:, None] == np.arange(demand.categories)[None, :]
    amounts = fresh @ member
    total = amounts.sum(axis=1, keepdims=True) + 3.0
    overall, ever, now = demand.popular[demand.tastes : demand.tastes + 3]
    categories = (amounts / total) @ member.T * demand.in_category + 3.0 / total * overall
    parts = {
        IN_TASTE: max(weights.get(IN_TASTE, 0.0), 0.001) * demand.popular[found.taste],
        BOUGHT_BEFORE: weights.get(BOUGHT_BEFORE, 0.0) * own,
        GOES_WITH: weights.get(GOES_WITH, 0.0) * (items @ demand.neighbours.toarray()),
        IN_CATEGORIES: weights.get(IN_CATEGORIES, 0.0) * categories,
        POPULAR: weights.get(POPULAR, 0.0) * np.broadcast_to(ever, shape),
        POPULAR_NOW: weights.get(POPULAR_NOW, 0.0) * np.broadcast_to(now, shape),
        IN_SEGMENT: weights.get(IN_SEGMENT, 0.0) * demand.popular[demand.tastes + 3 + found.taste],
        OWN_COUNTS: weights.get(OWN_COUNTS, 0.0) * counted,
    }
    return {name: part for name, part in parts.items() if part.any()}


def test_blocks_of_customers_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    pairs = [(int(c), int(p)) for c, p in zip(*np.nonzero(rng.random((40, 15)) < 0.2), strict=True)]
    found = history(pairs, 40, 15, rng.integers(0, 3, 40), rng.integers(0, 4, 15))
    whole = suggested(found, dict(EQUAL_WEIGHTS))
    monkeypatch.setattr(next_best, "_BLOCK", 7)
    assert suggested(found, dict(EQUAL_WEIGHTS)).equals(whole)


# --- the fit ---------------------------------------------------------------------------------------------------------


def planted(seed: int, *, again: float, customers: int = 800) -> tuple[History, tuple[Any, Any]]:
    """Customers who buy, with chance `again`, one of their own products once more, else a popular product."""
    rng = np.random.default_rng(seed)
    products = 60
    chance = 1.0 / (np.arange(products) + 3.0)
    chance /= chance.sum()
    pairs: dict[tuple[int, int], list[int]] = {}
    for customer in range(customers):
        mine: list[int] = []
        for age in sorted(rng.integers(0, 400, 6), reverse=True):
            repeats = bool(mine) and rng.random() < again
            item = int(rng.choice(mine)) if repeats else int(rng.choice(products, p=chance))
            mine.append(item)
            pairs.setdefault((customer, item), []).append(int(age))
    rows = [(*pair, len(set(ages)), min(ages), False) for pair, ages in pairs.items()]
    found = history(rows, customers, products, rng.integers(0, 4, customers), rng.integers(0, 5, products))
    later = set()
    for customer in range(customers):
        own = found.product[found.starts[customer] : found.starts[customer + 1]]
        for _ in range(2):
            later.add((customer, int(rng.choice(own)) if rng.random() < again else int(rng.choice(products, p=chance))))
    bought = np.array(sorted(later))
    return found, (bought[:, 0], bought[:, 1])


def test_the_fit_finds_that_customers_buy_their_own_products_again() -> None:
    found, bought = planted(1, again=0.8)
    weights = fit_weights(found, bought, seed=0)
    assert list(weights) == list(COMPONENTS) and sum(weights.values()) == pytest.approx(1)
    assert weights[BOUGHT_BEFORE] > 0.3


def test_where_everyone_buys_what_is_popular_the_simplest_component_is_enough() -> None:
    simple = 0
    for seed in range(4):
        found, bought = planted(seed, again=0.0)
        simple += fit_weights(found, bought, seed=0)[IN_TASTE] >= 0.5
    assert simple >= 3


def test_the_fit_is_the_same_for_the_same_seed_any_threads_and_any_order_of_purchases() -> None:
    found, (customer, product) = planted(2, again=0.4, customers=300)
    weights = fit_weights(found, (customer, product), seed=5)
    mixed = np.random.default_rng(0).permutation(len(customer))
    assert fit_weights(found, (customer[mixed], product[mixed]), seed=5, threads=2) == weights


def test_too_few_customers_give_equal_weights() -> None:
    found, (customer, product) = planted(2, again=0.4, customers=150)
    few = customer < 99
    assert fit_weights(found, (customer[few], product[few]), seed=0) == dict(EQUAL_WEIGHTS)


def test_a_ranking_of_new_products_holds_none_the_customer_had_bought() -> None:
    found, _ = planted(3, again=0.5, customers=200)
    demand = learn_demand(found)
    chosen = np.array([3, 50, 199])
    ranked = rank_products(found, dict(EQUAL_WEIGHTS), chosen, is_new_only=True, demand=demand)
    assert ranked.shape == (3, 10) and (ranked >= 0).all()
    for customer, products in zip(chosen, ranked, strict=True):
        assert not set(products) & set(found.product[found.customer == customer])
    everything = rank_products(found, {BOUGHT_BEFORE: 1.0}, chosen, is_new_only=False, demand=demand)
    assert set(found.product[found.customer == 3]) <= set(everything[0])


# --- the checks ------------------------------------------------------------------------------------------------------

GOOD = """
create schema segments; create schema clean; create schema campaigns; create schema features;
create table segments.customer_segments as select * from (values ('C1'), ('C2'), ('C3')) t(customer_id);
create table features.reachability as select * from (values
    ('C1', true, false), ('C2', false, false), ('C3', false, true)) t(customer_id, is_adult, is_minor);
create table clean.products as select * from (values ('P1', true), ('P2', true), ('P3', null)) t(product_id, is_active);
create table campaigns.promotable_products as select * from (values
    ('P1', 50.0, 10.0, false, false, true, ''), ('P2', null, 10.0, true, false, true, ''),
    ('P3', 50.0, 10.0, false, false, true, '')
) t(product_id, stock_quantity, safety_stock, is_age_restricted, is_sensitive, is_promotable, reason);
create table features.order_lines as select * from (values
    ('L1', 'C1', 'P1', date '2024-06-01'), ('L2', 'C2', 'P2', date '2024-06-01')
) t(order_item_id, customer_id, product_id, ordered_on);
create table clean.returns as select * from (values ('L2', timestamp '2024-06-10')) t(order_item_id, returned_at);
create table clean.orders as select * from (values ('O9', 'C3', 'returned', timestamp '2024-06-10'))
    t(order_id, customer_id, status, ordered_at);
create table clean.order_items as select * from (values ('O9', 'P1')) t(order_id, product_id);
create table campaigns.next_best_products as select * from (values
    ('C1', 1, 'P1', 0.5, true, 'bought before'), ('C1', 2, 'P2', 0.2, false, 'popular overall'),
    ('C1', 3, 'P3', 0.2, false, 'popular overall'), ('C2', 1, 'P1', 0.1, false, 'popular overall')
) t(customer_id, rank, product_id, score, is_repurchase, basis);
create table campaigns.next_best_weights as select * from (values ('bought before', 0.4::double), ('b', 0.6))
    t(component, weight);
"""
NEXT = "update campaigns.next_best_products set"
#: rule -> statements that break it
FAULTS: dict[str, list[str]] = {
    "next_best_products/five_ranked_products_each": [
        f"{NEXT} rank = 3 where rank = 2", f"{NEXT} rank = rank + 1", f"{NEXT} rank = null", f"{NEXT} score = null",
        f"{NEXT} product_id = 'P1'", f"{NEXT} score = 0", f"{NEXT} score = 0.6 where rank = 2", f"{NEXT} basis = ' '",
        f"{NEXT} is_repurchase = null",
        "insert into campaigns.next_best_products select 'C3', i, 'P' || i, 0.1, false, 'x' from range(1, 7) t(i)",
    ],
    "next_best_products/customers_and_products_exist": [
        f"{NEXT} customer_id = 'C9' where customer_id = 'C2'", f"{NEXT} product_id = 'P9' where rank = 3",
    ],
    "next_best_products/products_may_be_offered": [
        "update campaigns.promotable_products set is_promotable = false where product_id = 'P2'",
        "update campaigns.promotable_products set is_sensitive = true where product_id = 'P2'",
        "update campaigns.promotable_products set stock_quantity = 10 where product_id = 'P3'",
        "update clean.products set is_active = false where product_id = 'P1'",
        "delete from campaigns.promotable_products where product_id = 'P3'",
    ],
    "next_best_products/known_adults_only": [
        "update features.reachability set is_adult = null", "delete from features.reachability",
        f"{NEXT} product_id = 'P2' where customer_id = 'C2'",
        "insert into campaigns.next_best_products values ('C3', 1, 'P3', 0.1, false, 'x')",
    ],
    "next_best_products/nothing_sent_back": [
        "insert into clean.returns values ('L1', timestamp '2024-06-30 09:00:00')",
        "insert into clean.returns values ('L1', null)",
        f"{NEXT} customer_id = 'C3' where customer_id = 'C2'",
    ],
    "next_best_products/repurchases_were_bought": [
        f"{NEXT} is_repurchase = false where rank = 1", f"{NEXT} is_repurchase = true where rank = 2",
    ],
    "next_best_weights/weights_are_shares": [
        "update campaigns.next_best_weights set weight = weight / 2",
        "update campaigns.next_best_weights set weight = null",
        "update campaigns.next_best_weights set component = 'b'",
        "update campaigns.next_best_weights set component = ''",
        "update campaigns.next_best_weights set weight = if(component = 'b', -1, 2)",
        "update campaigns.next_best_weights set weight = 'nan'::double",
    ],
}  # fmt: skip
CHECKS = sorted(FAULTS)


@pytest.fixture(scope="module")
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    con = duckdb.connect()
    con.execute(GOOD)
    yield con
    con.close()


def _offending(con: duckdb.DuckDBPyConnection, check: str) -> list[tuple[object, ...]]:
    model = load_model(SQL_ROOT / "checks" / "campaigns" / f"{check}.sql")
    return con.execute(model.query, {"as_of": "2024-06-30"} if model.needs_as_of else {}).fetchall()


def test_every_check_of_the_next_best_products_has_faults_and_a_full_header() -> None:
    folder = SQL_ROOT / "checks" / "campaigns"
    files = {f"{path.parent.name}/{path.stem}" for path in folder.glob("next_best_*/*.sql")}
    assert files == set(FAULTS)
    for check in CHECKS:
        facts = load_model(folder / f"{check}.sql").facts
        assert facts["group"] in {"contract", "references", "business"}
        assert facts["severity"] == "error" and facts["blocking"] == "yes" and facts["remedy"]


@pytest.mark.parametrize("check", CHECKS)
def test_good_tables_pass(warehouse: duckdb.DuckDBPyConnection, check: str) -> None:
    assert _offending(warehouse, check) == []


@pytest.mark.parametrize(("check", "fault"), [(check, fault) for check in CHECKS for fault in FAULTS[check]])
def test_a_fault_is_found(warehouse: duckdb.DuckDBPyConnection, check: str, fault: str) -> None:
    warehouse.execute("begin")
    try:
        warehouse.execute(fault)
        assert _offending(warehouse, check), fault
    finally:
        warehouse.execute("rollback")


def test_a_second_look_refuses_what_that_very_customer_sent_back() -> None:
    # Customer 1 has used up the list of the popular; customer 0 has not, and sent nothing back.
    others = [(c, p) for c in range(3, 8) for p in range(300) if p < 250 or c == 3]
    pairs = [(1, p, 1, 1, False) for p in range(250)] + others
    found = history(pairs, 8, 300)
    sent_back = (np.array([1, 1]), np.array([250, 251]))
    frame = suggested(found, {IN_TASTE: 1.0}, rest_days=30, sent_back=sent_back)
    assert products_of(frame, 0) == [0, 1, 2, 3, 4]
    assert products_of(frame, 1) == [252, 253, 254, 255, 256]


def test_an_unknown_taste_is_no_taste_of_its_own() -> None:
    # Customers of unknown taste bought product 1 more than all others do; that says nothing of the next unknown one.
    pairs = [(c, 0) for c in range(1000)] + [(c, 1) for c in range(1000, 1600)]
    found = history(pairs, 1601, 2, taste=[1] * 1000 + [0] * 601)
    assert products_of(suggested(found, {IN_TASTE: 1.0}), 1600) == [0, 1]
