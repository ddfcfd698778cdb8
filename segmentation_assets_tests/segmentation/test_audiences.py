"""Audiences are rules a person can read, found where the numbers show them and nowhere else."""

from __future__ import annotations

import time
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.segmentation.audiences import (
    FEATURES,
    QUESTIONS,
    SAME_PEOPLE,
    SMALLEST_LIFT,
    Audience,
    AudienceRule,
    Condition,
    audience_members,
    audience_rules,
    candidate_audiences,
    members_of,
    rounded_threshold,
)

CELL = 50


def shop(size: int, seed: int = 0, segments: int = 5) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Customers whose features have nothing to do with their segments, of two axes."""
    random = np.random.default_rng(np.random.SeedSequence([seed, size]))
    columns: dict[str, Any] = {"customer_id": [f"C{n:07d}" for n in range(size)]}
    for feature, unit in FEATURES.items():
        if unit == "share":
            values = random.beta(0.6, 1.8, size)
        elif unit == "ratio":
            values = random.lognormal(0, 0.4, size)
        elif unit == "count":
            values = random.geometric(0.25, size).astype(float)
        else:
            values = random.exponential(200, size)
        columns[feature] = np.where(random.random(size) < 0.05, np.nan, values)
    customers = pl.DataFrame(columns).fill_nan(None)
    places = [
        pl.DataFrame(
            {
                "customer_id": columns["customer_id"],
                "axis": axis,
                "segment_id": [f"{letter}{code}" for code in random.integers(0, segments + 1, size)],
            }
        )
        for axis, letter in (("stage", "S"), ("taste", "T"))
    ]
    return customers, pl.concat(places)


def with_habit(customers: pl.DataFrame, segments: pl.DataFrame, segment_id: str, share: float = 0.4) -> pl.DataFrame:
    """Every customer discounts little, but `share` of one segment discounts a lot."""
    chosen = segments.filter(pl.col("segment_id") == segment_id)["customer_id"]
    dear = set(chosen.head(int(len(chosen) * share)))
    rest = np.random.default_rng(np.random.SeedSequence([5])).uniform(0, 0.2, customers.height)
    return customers.with_columns(
        discount_share=pl.when(pl.col("customer_id").is_in(list(dear))).then(0.6).otherwise(pl.Series(rest))
    )


CUSTOMERS, SEGMENTS = shop(6_000)
HABIT = with_habit(CUSTOMERS, SEGMENTS, "T2")


def test_a_habit_planted_in_a_segment_is_found_there_and_only_there() -> None:
    found = candidate_audiences(HABIT, SEGMENTS, CELL)
    assert {audience.segment_id for audience in found} == {"T2"}
    best = found[0]
    assert best.audience_id == "T2-deal-seekers"
    assert best.rule.sql == "discount_share >= 0.2"
    assert best.key == "taste T2: discount_share >= 0.2"
    own = SEGMENTS.filter(pl.col("segment_id") == "T2").height
    assert (best.customers, best.segment_customers, best.shop_customers) == (int(0.4 * own), own, 6_000)
    assert best.segment_share == pytest.approx(best.customers / own, abs=1e-6)
    assert best.others_share == 0.0
    assert best.lift == pytest.approx(best.segment_share / best.shop_share, rel=1e-4)


def test_features_that_have_nothing_to_do_with_the_segments_name_almost_nobody() -> None:
    tried = named = 0
    for seed in range(8):
        customers, segments = shop(4_000, seed)
        found = candidate_audiences(customers, segments, CELL)
        named += len({audience.segment_id for audience in found})
        tried += segments["segment_id"].n_unique()
    assert tried == 96
    assert named <= 0.05 * tried


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([5, 50, 200]), st.floats(0.05, 0.9))
def test_every_audience_keeps_what_is_promised_of_it(seed: int, cell: int, share: float) -> None:
    customers, segments = shop(1_500, seed, segments=3)
    customers = with_habit(customers, segments, "S1", share)
    found = candidate_audiences(customers, segments, cell)
    for audience in found:
        assert audience.customers >= cell
        assert audience.segment_customers - audience.customers >= cell
        assert audience.segment_share < SAME_PEOPLE
        assert audience.segment_share >= SMALLEST_LIFT * audience.shop_share - 1e-5
        assert audience.segment_share >= SMALLEST_LIFT * audience.others_share - 1e-5
        assert len(members_of(customers, segments, audience)) == audience.customers
    members = audience_members(customers, segments, found)
    for left in found:
        for right in found:
            if left.segment_id != right.segment_id or left == right:
                continue
            one, two = (
                set(members.filter(pl.col("audience_id") == a.audience_id)["customer_id"]) for a in (left, right)
            )
            assert len(one & two) < SAME_PEOPLE * len(one | two)
            assert not one <= two or len(two - one) >= cell
    assert len({audience.audience_id for audience in found}) == len(found)


def test_the_rule_in_sql_gives_the_same_customers() -> None:
    customers = HABIT.with_columns(pl.col("average_order_amount", "monetary_amount").cast(pl.Decimal(18, 4)))
    # Every rule of the library, and the edge of a threshold that no binary number hits exactly.
    customers = customers.with_columns(
        weekend_share=pl.when(pl.int_range(pl.len()) % 7 == 0).then(pl.lit(0.35)).otherwise(pl.col("weekend_share"))
    )
    rules = [*audience_rules(customers), AudienceRule("edge", "Edge", (Condition("weekend_share", ">=", 0.35),))]
    assert len(rules) > len(QUESTIONS)
    with duckdb.connect() as con:
        con.execute("create schema features")
        con.register("given", customers.to_arrow())
        con.register("placed", SEGMENTS.to_arrow())
        con.execute("create table features.customer_features as select * from given")
        for rule in rules:
            audience = Audience("taste", "T2", rule, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0)
            expected = con.execute(
                f"select customer_id from features.customer_features where {rule.sql} and customer_id in "
                "(select customer_id from placed where segment_id = 'T2') order by customer_id"
            ).fetchall()
            assert members_of(customers, SEGMENTS, audience).to_list() == [row[0] for row in expected], rule.sql


def test_the_same_shop_gives_the_same_audiences_in_any_order_of_rows() -> None:
    first = candidate_audiences(HABIT, SEGMENTS, CELL)
    shuffled = candidate_audiences(HABIT.sample(fraction=1, shuffle=True, seed=3), SEGMENTS.reverse(), CELL)
    assert first == shuffled


def test_a_rule_of_two_conditions_must_hold_among_those_who_meet_the_second() -> None:
    """T1 orders more often, and weekends are as common there as anywhere: weekend shopping is no audience of it."""
    t1 = SEGMENTS.filter(pl.col("segment_id") == "T1")["customer_id"].to_list()
    more = CUSTOMERS.with_columns(
        order_count=pl.when(pl.col("customer_id").is_in(t1)).then(pl.col("order_count") + 6).otherwise(1.0)
    )
    narrowing = {audience.rule.question for audience in candidate_audiences(more, SEGMENTS, CELL, 20)}
    assert not narrowing & {"weekend", "spring", "summer", "autumn", "winter", "start-of-month"}


def test_a_trait_of_nearly_the_whole_segment_is_no_audience_inside_it() -> None:
    everyone = with_habit(CUSTOMERS, SEGMENTS, "T2", share=0.7)
    found = {audience.audience_id for audience in candidate_audiences(everyone, SEGMENTS, CELL)}
    assert "T2-deal-seekers" not in found


def test_known_tastes_are_not_compared_with_who_never_showed_one() -> None:
    """T0 has no discounts at all; beside it every taste would stand out."""
    t0 = SEGMENTS.filter(pl.col("segment_id") == "T0")["customer_id"].to_list()
    split = CUSTOMERS.with_columns(
        discount_share=pl.when(pl.col("customer_id").is_in(t0)).then(0.0).otherwise(pl.col("discount_share"))
    )
    taste = SEGMENTS.filter(pl.col("axis") == "taste")
    assert {a.segment_id for a in candidate_audiences(split, taste, CELL)} <= {"T0"}


def test_columns_that_are_missing_or_empty_drop_their_questions() -> None:
    bare = CUSTOMERS.select(
        "customer_id",
        "recency_days",
        pl.lit(None, pl.Float64).alias("discount_share"),
        pl.lit("a").alias("order_count"),
    )
    assert {condition.feature for rule in audience_rules(bare) for condition in rule.conditions} == {"recency_days"}
    nothing = CUSTOMERS.select("customer_id")
    assert audience_rules(nothing) == []
    assert candidate_audiences(nothing, SEGMENTS, CELL) == []
    assert candidate_audiences(CUSTOMERS, SEGMENTS.clear(), CELL) == []


def test_a_value_that_is_no_number_meets_no_rule() -> None:
    first = candidate_audiences(HABIT, SEGMENTS, CELL)[0]
    broken = HABIT.with_columns(
        discount_share=pl.when(pl.int_range(pl.len()) % 2 == 0).then(float("nan")).otherwise("discount_share")
    )
    found = candidate_audiences(broken, SEGMENTS, CELL)[0]
    assert found.rule.question == first.rule.question
    assert found.customers == len(members_of(broken, SEGMENTS, found)) < first.customers


def test_customers_without_features_are_counted_in_their_segment_and_meet_no_rule() -> None:
    found = candidate_audiences(HABIT, SEGMENTS, CELL)[0]
    strangers = pl.DataFrame({"customer_id": ["X1", "X2"], "axis": "taste", "segment_id": "T2"})
    more = candidate_audiences(HABIT, pl.concat([SEGMENTS, strangers]), CELL)[0]
    assert (more.customers, more.segment_customers) == (found.customers, found.segment_customers + 2)


@pytest.mark.parametrize(
    ("value", "unit", "operator", "threshold"),
    [
        (0.123, "share", ">=", 0.10), (0.0, "share", "<=", 0.05), (1.0, "share", ">=", 0.75),
        (61.25, "days", "<=", 60), (484.0, "days", ">=", 480), (3.0, "days", "<=", 30),
        (136.729, "money", ">=", 140), (7.94, "money", "<=", 7.9), (1_579.9, "money", ">=", 1_600),
        (2.4, "count", ">=", 2), (0.2, "count", ">=", 1), (597.5, "count", ">=", 600),
        (2.099, "ratio", ">=", 2.1), (0.443, "ratio", "<=", 0.45),
        (1.01, "ratio", ">=", None), (0.99, "ratio", "<=", None), (0.0, "money", ">=", None),
        (0.0, "count", "<=", None), (float("nan"), "days", ">=", None), (0.0001, "money", "<=", None),
    ],
)  # fmt: skip
def test_thresholds_are_numbers_a_person_would_choose(
    value: float, unit: Any, operator: Any, threshold: float | None
) -> None:
    assert rounded_threshold(value, unit, operator) == threshold


def test_protected_attributes_and_demographics_make_no_audience() -> None:
    words = {word for feature in FEATURES for word in feature.split("_")}
    assert not words & {
        "gender",
        "age",
        "birth",
        "marital",
        "education",
        "income",
        "kids",
        "teens",
        "country",
        "region",
    }
    for column in ("gender", "age", "marital_status", "household_income"):
        with pytest.raises(ValueError, match=f"No audience may be made by '{column}': rules use what customers do"):
            Condition(column, ">=", 1)


def test_every_question_asks_of_known_features_and_is_asked_once() -> None:
    assert len({question.key for question in QUESTIONS}) == len(QUESTIONS)
    assert len({question.title for question in QUESTIONS}) == len(QUESTIONS)
    assert {measure.feature for question in QUESTIONS for measure in question.measures} <= set(FEATURES)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Condition("recency_days", ">", 30), "Operator '>' on recency_days: use '>=' or '<='."),
        (
            lambda: Condition("recency_days", ">=", float("inf")),
            "The threshold of recency_days is inf; it must be a number.",
        ),
        (
            lambda: AudienceRule("x", "X", (Condition("recency_days", ">=", 30), Condition("recency_days", "<=", 90))),
            "Rule x: one condition, or two on different columns, and not 'recency_days >= 30 and recency_days <= 90'.",
        ),
        (lambda: AudienceRule("x", "X", ()), "Rule x: one condition, or two on different columns, and not ''."),
        (
            lambda: candidate_audiences(CUSTOMERS, SEGMENTS, 0),
            "minimum_cell is 0; an audience has at least 1 customer.",
        ),
        (
            lambda: candidate_audiences(CUSTOMERS, SEGMENTS.drop("axis"), CELL),
            "The segments of customers have no column ['axis']; they need customer_id, axis and segment_id.",
        ),
        (
            lambda: candidate_audiences(CUSTOMERS.drop("customer_id"), SEGMENTS, CELL),
            "The features have no column customer_id; audiences need features.customer_features.",
        ),
        (
            lambda: candidate_audiences(pl.concat([CUSTOMERS, CUSTOMERS.head(1)]), SEGMENTS, CELL),
            "The features must have one row per customer_id: a customer counted twice would be two.",
        ),
        (
            lambda: candidate_audiences(CUSTOMERS, pl.concat([SEGMENTS, SEGMENTS.head(1)]), CELL),
            "The segments must have one row per customer_id and axis: a customer is in one segment each.",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_counted_is_refused_in_a_sentence(make: Any, message: str) -> None:
    with pytest.raises(ValueError) as refused:
        make()
    assert str(refused.value) == message


def test_a_small_rest_between_two_audiences_is_not_told_apart() -> None:
    """Two rules of which one lies within the other and leaves 30 people: their counts would describe the 30."""
    segments = SEGMENTS.filter(pl.col("axis") == "taste")
    own = segments.filter(pl.col("segment_id") == "T3")["customer_id"].to_list()
    narrow, wide = own[:45], own[:80]
    nested = CUSTOMERS.select(
        "customer_id",
        coupon_order_share=pl.when(pl.col("customer_id").is_in(wide)).then(0.9).otherwise(0.0),
        return_share=pl.when(pl.col("customer_id").is_in(narrow)).then(0.9).otherwise(0.0),
        order_count=pl.lit(5.0),
        campaign_order_share=pl.when(pl.col("customer_id").is_in(narrow)).then(0.9).otherwise(0.0),
    )
    kept = candidate_audiences(nested, segments, 40)
    assert [audience.rule.question for audience in kept if audience.segment_id == "T3"] == ["coupon-users"]


@pytest.mark.slow
def test_a_million_customers_take_seconds() -> None:
    customers, segments = shop(1_000_000, segments=15)
    began = time.process_time()
    candidate_audiences(customers, segments, CELL)
    assert time.process_time() - began < 30
