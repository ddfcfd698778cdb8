"""The back-test of audiences: it finds what is planted, says no where nothing is, and the verdict follows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import duckdb
import numpy as np
import polars as pl
import pytest
from threadpoolctl import threadpool_limits

from segmentation_assets.merchandising.activity import ACTIVITY_FEATURES, expected_products, fit_activity
from segmentation_assets.merchandising.audience_backtest import (
    BASELINES,
    AudienceVerdict,
    audience_verdict,
    backtest_audiences,
    scope,
)
from segmentation_assets.merchandising.matching import past_rates
from segmentation_assets.merchandising.plan import (
    BY_ACTIVITY,
    BY_PAST_RATE,
    BY_TASTE,
    TABLE_TYPES,
    CampaignSpec,
)
from segmentation_assets.merchandising.shares import PurchaseShares, learn_shares
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model

SPEC = CampaignSpec()
PRODUCTS = 24
GROUPS = pl.DataFrame({"stage_segment_id": ["S1", "S2"], "name": ["a", "b"], "stage_group": ["loyal", "lapsing"]})
CATALOGUE = pl.DataFrame(
    {
        "product_id": [f"P{i:02d}" for i in range(PRODUCTS)],
        "category": [f"K{i % 3}" for i in range(PRODUCTS)],
        "brand": ["Nordlys"] * PRODUCTS,
        "price_band": ["middle"] * PRODUCTS,
    }
)


class World(NamedTuple):
    """What `backtest_audiences` takes of a shop."""

    then2: pl.DataFrame
    then1: pl.DataFrame
    events: pl.DataFrame
    shares: PurchaseShares
    rates: pl.DataFrame

    def judged(self, spec: CampaignSpec = SPEC, seed: int = 0) -> pl.DataFrame:
        return backtest_audiences(
            self.then2, self.then1, self.events, self.shares, rates=self.rates, groups=GROUPS, spec=spec, seed=seed
        )


def _world(seed: int = 1, *, taste_says: float = 5.0, activity_shows: bool = True, customers: int = 2400) -> World:
    """Three tastes, each buying the products of its category `taste_says` times as often; loyal customers buy more."""
    rng = np.random.default_rng(seed)
    taste, is_loyal = rng.integers(0, 4, customers), rng.random(customers) < 0.4
    rate = rng.gamma(0.8, np.where(is_loyal, 3.0, 0.8)) if activity_shows else np.full(customers, 1.5)
    # Taste 0 is not known: these customers buy too little to tell.
    rate = np.where((taste == 0) & activity_shows, rate * 0.2, rate)
    leaning = np.ones((4, PRODUCTS))
    for code in (1, 2, 3):
        leaning[code, np.arange(PRODUCTS) % 3 == code - 1] = taste_says
    probability = leaning / leaning.sum(axis=1, keepdims=True)
    ids = np.array([f"C{i:05d}" for i in range(customers)])

    def window(windows_ago: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        bought = rng.random((customers, PRODUCTS)) < 1 - np.exp(-rate[:, None] * probability[taste])
        who, what = np.nonzero(bought)
        features = {name: rng.poisson(rate * 4) for name in ACTIVITY_FEATURES}
        then = pl.DataFrame(
            {
                "windows_ago": np.full(customers, windows_ago),
                "customer_id": ids,
                "taste_segment_id": np.array(["T0", "T1", "T2", "T3"])[taste],
                "stage_segment_id": np.where(is_loyal, "S1", "S2"),
                **features,
                "products_next": bought.sum(axis=1),
            }
        )
        events = pl.DataFrame(
            {
                "customer_id": ids[who],
                "product_id": CATALOGUE["product_id"].to_numpy()[what],
                "is_first": rng.random(len(who)) < 0.7,
            }
        )
        return then, events

    then2, events2 = window(2)
    then1, events1 = window(1)
    purchases = (
        events2.join(then2, on="customer_id")
        .group_by("product_id", "taste_segment_id", "stage_segment_id")
        .agg(pl.len().cast(pl.Int64).alias("buyers"), pl.col("is_first").sum().cast(pl.Int64).alias("first_buyers"))
    )
    shares = learn_shares(purchases, CATALOGUE, ["T0", "T1", "T2", "T3"])
    return World(then2, then1, events1, shares, past_rates(purchases, then2))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small fits are slower on many threads than on one."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def world() -> World:
    return _world()


@pytest.fixture(scope="module")
def judged(world: World) -> pl.DataFrame:
    return world.judged()


def _figure(backtest: pl.DataFrame, method: str, where: str) -> dict[str, float]:
    return backtest.row(by_predicate=(pl.col("method") == method) & (pl.col("scope") == where), named=True)


WITHIN = scope("first purchases", SPEC.audience_share, within_groups=True)
WITHIN_ALL = scope("all purchases", SPEC.audience_share, within_groups=True)


def test_every_method_is_judged_on_every_question(judged: pl.DataFrame) -> None:
    assert judged.columns == list(TABLE_TYPES["campaigns/match_backtest"])
    scopes = {
        f"product to audience, {kind}, best {size}"
        for kind in ("all purchases", "first purchases")
        for size in ("1%", "5%", "20%", "20% within stage groups")
    }
    methods = {"matches", *BASELINES, *(f"matches minus {name}" for name in BASELINES)}
    assert set(judged.select("scope", "method").iter_rows()) == {(where, name) for where in scopes for name in methods}
    assert set(judged["metric"]) == {"lift"}
    assert (judged["low"] <= judged["estimate"]).all() and (judged["estimate"] <= judged["high"]).all()


def test_the_stated_size_is_judged_once_when_it_is_one_of_the_small_ones(world: World) -> None:
    scopes = world.judged(CampaignSpec(audience_share=0.05))["scope"]
    assert scopes.n_unique() == 6 and len(scopes) == 6 * 7


def test_planted_taste_is_found_and_proven(judged: pl.DataFrame) -> None:
    assert _figure(judged, "matches minus most active", WITHIN)["low"] > 0.2
    verdict = audience_verdict(judged, SPEC)
    assert (verdict.method, verdict.is_better) == (BY_TASTE, True)
    matched, active = _figure(judged, "matches", WITHIN), _figure(judged, "most active", WITHIN)
    assert verdict.sentence.startswith(
        "Matching by taste and activity is better: at the best 20% of each stage group it finds "
        f"{matched['estimate']:.2f} ({matched['low']:.2f} to {matched['high']:.2f}) times as many first purchases as "
        f"chance, against {active['estimate']:.2f} for the most active customers and "
    )


def test_chance_finds_as_much_as_chance(judged: pl.DataFrame) -> None:
    random = judged.filter(pl.col("method") == "random")
    assert random["estimate"].to_list() == pytest.approx([1.0] * 8)


@pytest.mark.parametrize("seed", range(3))
def test_without_taste_matching_is_never_called_better(seed: int) -> None:
    verdict = audience_verdict(_world(seed, taste_says=1.0, customers=900).judged(), SPEC)
    assert not verdict.is_better and verdict.method == BY_ACTIVITY
    assert verdict.sentence.endswith("The most active are used.")


def test_without_any_difference_between_customers_nothing_is_called_better() -> None:
    verdict = audience_verdict(_world(3, taste_says=1.0, activity_shows=False, customers=900).judged(), SPEC)
    assert not verdict.is_better


def test_lift_is_purchases_found_over_those_of_as_many_at_random(world: World, judged: pl.DataFrame) -> None:
    """The most active of all, counted by hand."""
    activity = expected_products(fit_activity(world.then2, 0), world.then1)
    size = round(0.2 * len(activity))
    order = np.argsort(-activity, kind="stable")
    assert activity[order[size - 1]] > activity[order[size]]  # no tie at the edge
    chosen = set(world.then1["customer_id"].to_numpy()[order[:size]])
    found = sum(customer in chosen for customer in world.events["customer_id"])
    lift = found / (world.events.height * size / len(activity))
    assert _figure(judged, "most active", scope("all purchases", 0.2))["estimate"] == pytest.approx(lift)


def test_matches_of_all_customers_are_those_with_the_highest_scores(world: World, judged: pl.DataFrame) -> None:
    activity = expected_products(fit_activity(world.then2, 0), world.then1)
    codes = {name: place for place, name in enumerate(world.shares.taste_ids)}
    taste = np.array([codes[name] for name in world.then1["taste_segment_id"]])
    place = {customer: row for row, customer in enumerate(world.then1["customer_id"])}
    size = round(0.2 * len(activity))
    found = 0
    for code, product in enumerate(world.shares.product_ids):
        score = activity * world.shares.mean[code, taste]
        chosen = np.zeros(len(score), dtype=bool)
        chosen[np.argsort(-score, kind="stable")[:size]] = True
        bought = world.events.filter(pl.col("product_id") == product)["customer_id"]
        found += int(chosen[[place[customer] for customer in bought]].sum())
    lift = found / (world.events.height * size / len(activity))
    assert _figure(judged, "matches", scope("all purchases", 0.2))["estimate"] == pytest.approx(lift, rel=0.003)


def test_it_does_not_depend_on_the_order_of_rows(world: World, judged: pl.DataFrame) -> None:
    shuffled = World(
        world.then2.sample(fraction=1.0, shuffle=True, seed=2), world.then1.reverse(),
        world.events.sample(fraction=1.0, shuffle=True, seed=3), world.shares, world.rates.reverse(),
    )  # fmt: skip
    assert shuffled.judged().equals(judged)


def test_another_seed_moves_the_intervals_only_a_little(world: World, judged: pl.DataFrame) -> None:
    other = world.judged(seed=9)
    assert not other.equals(judged)
    both = _figure(judged, "matches", WITHIN), _figure(other, "matches", WITHIN)
    assert both[0]["low"] == pytest.approx(both[1]["low"], abs=0.15)


def test_with_too_little_to_judge_the_table_is_empty_and_nothing_is_claimed(world: World) -> None:
    for poor in (
        world._replace(events=world.events.head(99)),
        world._replace(then2=world.then2.clear()),
        world._replace(then1=world.then1.clear()),
    ):
        found = poor.judged()
        assert found.is_empty() and found.columns == list(TABLE_TYPES["campaigns/match_backtest"])
    verdict = audience_verdict(found, SPEC)
    assert (verdict.method, verdict.is_better) == (BY_TASTE, False)
    assert verdict.sentence == (
        "It cannot be judged: fewer than 100 purchases are known of the days held back. Customers are matched by taste "
        "and activity, and nothing is proven."
    )


def test_where_no_stage_group_is_large_enough_for_an_audience_that_is_the_reason(judged: pl.DataFrame) -> None:
    verdict = audience_verdict(judged.filter(~pl.col("scope").str.contains("within stage groups")), SPEC)
    assert (verdict.method, verdict.is_better) == (BY_TASTE, False)
    assert verdict.sentence == (
        f"It cannot be judged: no group of stages has an audience of {SPEC.minimum_cell} customers, below which none "
        "is made. Customers are matched by taste and activity, and nothing is proven."
    )


def test_the_reason_why_nothing_is_judged_is_told(judged: pl.DataFrame) -> None:
    verdict = audience_verdict(judged, SPEC, "orders begin 120 days ago, and 270 are needed.")
    assert verdict.method == BY_TASTE and not verdict.is_better
    assert verdict.sentence.startswith("It cannot be judged: orders begin 120 days ago, and 270 are needed. Customers")


def _figures(gaps: dict[str, tuple[float, float]], lifts: dict[str, float]) -> pl.DataFrame:
    """A back-test with these lifts and intervals of `matches minus X` on all and first purchases alike."""
    rows = [
        (method, where, "lift", value, value - 0.1, value + 0.1)
        for where in (WITHIN, WITHIN_ALL)
        for method, value in lifts.items()
    ] + [
        (f"matches minus {name}", where, "lift", sum(gap) / 2, *gap)
        for where in (WITHIN, WITHIN_ALL)
        for name, gap in gaps.items()
    ]
    return pl.DataFrame(rows, schema=list(TABLE_TYPES["campaigns/match_backtest"]), orient="row")


LIFTS = {"matches": 3.02, "most active": 3.01, "past rate": 2.0, "random": 1.0}


def test_a_lead_within_chance_leaves_the_most_active_in_use() -> None:
    gaps = {"most active": (-0.1, 0.12), "past rate": (0.9, 1.1), "random": (1.9, 2.1)}
    verdict = audience_verdict(_figures(gaps, LIFTS), SPEC)
    assert verdict == AudienceVerdict(
        BY_ACTIVITY,
        False,
        "Matching by taste adds nothing sure over the most active customers: at the best 20% of each stage group it "
        "finds 3.02 (2.92 to 3.12) times as many first purchases as chance, they find 3.01; of all purchases 3.02 "
        "(2.92 to 3.12), they 3.01. The most active are used.",
    )


def test_a_rule_that_is_clearly_ahead_is_used_and_the_loss_is_told() -> None:
    gaps = {"most active": (-0.1, 0.12), "past rate": (-1.1, -0.9), "random": (1.9, 2.1)}
    verdict = audience_verdict(_figures(gaps, {**LIFTS, "past rate": 4.02}), SPEC)
    assert (verdict.method, verdict.is_better) == (BY_PAST_RATE, False)
    assert verdict.sentence.startswith("Matching by taste loses against the segments with the highest past purchase")
    assert verdict.sentence.endswith("The segments with the highest past rate are used.")


def test_a_rule_that_matching_clearly_beats_is_not_used_instead_of_it() -> None:
    gaps = {"most active": (0.4, 0.6), "past rate": (-0.1, 0.1), "random": (1.9, 2.1)}
    assert audience_verdict(_figures(gaps, LIFTS), SPEC).method == BY_PAST_RATE


def test_a_lead_on_all_purchases_alone_is_no_win() -> None:
    good = {"most active": (0.4, 0.6), "past rate": (0.9, 1.1), "random": (1.9, 2.1)}
    figures = _figures(good, LIFTS)
    assert audience_verdict(figures, SPEC).is_better
    on_first = (pl.col("scope") == WITHIN) & (pl.col("method") == "matches minus most active")
    worse = figures.with_columns(low=pl.when(on_first).then(0.0).otherwise(pl.col("low")))
    assert audience_verdict(worse, SPEC)[:2] == (BY_ACTIVITY, False)


# --- checks


@pytest.fixture(scope="module")
def warehouse(judged: pl.DataFrame) -> Iterator[duckdb.DuckDBPyConnection]:
    con = duckdb.connect()
    con.execute("create schema campaigns")
    con.register("judged", judged.to_arrow())
    con.execute("create table campaigns.match_backtest as from judged")
    con.execute(
        "insert into campaigns.match_backtest values "
        "('next best products minus own counts', 'customer to product, all items', 'ndcg_at_10', 0.1, 0.05, 0.15)"
    )
    con.execute(
        "create table campaigns.match_verdicts as select * from (values "
        "('product_to_audience', 'taste and activity', true, 'Better.'), "
        "('customer_to_product', 'next best products', true, 'Better.')) t(topic, method, is_better, sentence)"
    )
    yield con
    con.close()


_BACKTEST, _VERDICTS = "update campaigns.match_backtest set", "update campaigns.match_verdicts set"
_GAP = "where method = 'matches minus most active' and scope like '%first purchases% within stage groups'"
FAULTS: dict[str, list[str]] = {
    "match_backtest/intervals_hold_the_estimate": [
        "insert into campaigns.match_backtest from campaigns.match_backtest limit 1",
        f"{_BACKTEST} low = estimate + 0.1",
        f"{_BACKTEST} high = null",
        f"{_BACKTEST} estimate = 'nan'",
        f"{_BACKTEST} low = -0.1 where method = 'matches'",
    ],
    "match_verdicts/one_row_per_topic": [
        f"{_VERDICTS} topic = 'product_to_audience'",
        f"{_VERDICTS} topic = 'weather'",
        f"{_VERDICTS} sentence = ' '",
        f"{_VERDICTS} method = null",
        f"{_VERDICTS} is_better = null",
    ],
    "match_verdicts/no_loss_is_presented_as_a_win": [
        f"{_BACKTEST} low = 0 {_GAP}",
        f"{_BACKTEST} low = -0.2 where method = 'next best products minus own counts'",
        f"{_VERDICTS} method = 'most active'",
        "delete from campaigns.match_backtest",
        "delete from campaigns.match_backtest where method like 'next best%'",
    ],
}


def _offending(con: duckdb.DuckDBPyConnection, check: str) -> list[tuple[object, ...]]:
    return con.execute(load_model(SQL_ROOT / "checks" / "campaigns" / f"{check}.sql").query).fetchall()


def test_every_check_of_these_tables_is_shown_failing() -> None:
    checks = {
        f"{path.parent.name}/{path.stem}"
        for table in ("match_backtest", "match_verdicts")
        for path in (SQL_ROOT / "checks" / "campaigns" / table).glob("*.sql")
    }
    assert checks == set(FAULTS)


@pytest.mark.parametrize("check", sorted(FAULTS))
def test_good_tables_pass(warehouse: duckdb.DuckDBPyConnection, check: str) -> None:
    assert _offending(warehouse, check) == []


def test_an_unproven_verdict_needs_no_evidence(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.execute("begin")
    try:
        warehouse.execute("delete from campaigns.match_backtest")
        warehouse.execute(f"{_VERDICTS} is_better = false")
        assert _offending(warehouse, "match_verdicts/no_loss_is_presented_as_a_win") == []
    finally:
        warehouse.execute("rollback")


@pytest.mark.parametrize(("check", "fault"), [(check, fault) for check, faults in FAULTS.items() for fault in faults])
def test_a_fault_is_found(warehouse: duckdb.DuckDBPyConnection, check: str, fault: str) -> None:
    warehouse.execute("begin")
    try:
        warehouse.execute(fault)
        assert _offending(warehouse, check), fault
    finally:
        warehouse.execute("rollback")


def test_a_lead_of_a_rule_within_chance_does_not_put_it_before_a_simpler_one() -> None:
    gaps = {"most active": (-0.2, 0.1), "past rate": (-0.4, 0.1), "random": (1.9, 2.1)}
    verdict = audience_verdict(_figures(gaps, {**LIFTS, "past rate": 3.2}), SPEC)
    assert verdict.method == BY_ACTIVITY and "adds nothing sure over the most active" in verdict.sentence


def test_first_purchases_are_judged_apart_within_stage_groups_too(world: World) -> None:
    leaning = pl.col("product_id").str.slice(1).cast(pl.Int64) % 3 + 1
    own = world.then1.select("customer_id", "taste_segment_id")
    # Whatever a customer's taste leans to was bought before; only the rest is new.
    events = world.events.join(own, on="customer_id").with_columns(
        is_first=pl.col("taste_segment_id") != pl.lit("T") + leaning.cast(pl.String)
    )
    judged = world._replace(events=events).judged()
    for first, every in ((WITHIN, WITHIN_ALL), (scope("first purchases", 0.2), scope("all purchases", 0.2))):
        assert _figure(judged, "matches", first)["estimate"] < 0.7 * _figure(judged, "matches", every)["estimate"]


def test_the_interval_is_of_customers_and_holds_95_in_100(world: World) -> None:
    """Who buys ten products tells no more of chance than who buys one: the lots are of customers."""
    buyers = world.then1["customer_id"].sort().to_list()[::4]
    widths = []
    for products in (1, 10):
        events = pl.DataFrame(
            [(customer, f"P{place:02d}", False) for customer in buyers for place in range(products)],
            schema=["customer_id", "product_id", "is_first"], orient="row",
        )  # fmt: skip
        row = _figure(world._replace(events=events).judged(), "most active", scope("all purchases", 0.2))
        widths.append(row["high"] - row["low"])
    found = 0.2 * row["estimate"]
    assert widths[1] == pytest.approx(widths[0], rel=0.15)
    assert widths[0] == pytest.approx(2 * 1.96 * np.sqrt(found * (1 - found) / len(buyers)) / 0.2, rel=0.15)


def test_within_stage_groups_no_part_under_the_smallest_cell_finds_anything(world: World) -> None:
    few = world.then1.filter(pl.col("taste_segment_id") == "T3")["customer_id"].sort().to_list()[:40]
    then1 = world.then1.filter((pl.col("taste_segment_id") != "T3") | pl.col("customer_id").is_in(few))
    events = (
        pl.DataFrame({"customer_id": few}).join(CATALOGUE.select("product_id"), how="cross").with_columns(is_first=True)
    )
    judged = world._replace(then1=then1, events=events).judged(replace(SPEC, minimum_cell=41))
    assert _figure(judged, "matches", WITHIN_ALL)["estimate"] == 0
    assert _figure(judged, "matches", scope("all purchases", 0.2))["estimate"] > 0


def test_a_purchase_counts_once_however_often_it_is_listed(world: World) -> None:
    doubled = pl.concat([world.events, world.events.filter(pl.col("product_id") < "P12")])
    assert world._replace(events=doubled).judged().equals(world.judged())


def test_a_shop_where_nothing_new_is_bought_is_judged_on_all_purchases_alone(world: World) -> None:
    judged = world._replace(events=world.events.with_columns(is_first=pl.lit(value=False))).judged()
    verdict = audience_verdict(judged, SPEC)
    assert verdict.is_better and "no group of stages" not in verdict.sentence
