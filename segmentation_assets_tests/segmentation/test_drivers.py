"""What sets segments apart: shares of separation that add up, and short rules that hold on unseen customers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from segmentation_assets.segmentation.drivers import (
    DRIVER_SCHEMA,
    EVERYONE,
    NO_RULE,
    RULE_SCHEMA,
    segment_drivers,
    segment_rules,
    separation_shares,
)
from segmentation_assets.segmentation.matrix import OTHER, FeatureMatrix, build_matrix
from segmentation_assets.segmentation.preprocess import fit_transform
from segmentation_assets.segmentation.spec import STAGE, TASTE, AxisSpec, NumericFeature

SPEC = dataclasses.replace(
    STAGE,
    numeric=(
        NumericFeature("recency_days", "none", "Recency", "days"),
        NumericFeature("order_count", "none", "Order count", "count"),
        NumericFeature("monetary_amount", "none", "Spend", "amount"),
        NumericFeature("return_share", "none", "Return share", "share"),
    ),
)


def made(frame: pl.DataFrame, spec: AxisSpec = SPEC) -> tuple[FeatureMatrix, np.ndarray, tuple[str, ...]]:
    """Matrix, clustered values and column names of customers, in the order of the frame."""
    matrix = build_matrix(
        frame.with_columns(customer_id=pl.int_range(pl.len()).cast(pl.String).str.zfill(6)), None, spec
    )
    _, values, names = fit_transform(matrix, spec)
    return matrix, values, names


def shop(n: int = 3_000, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "recency_days": rng.integers(1, 400, n),
            "order_count": rng.integers(1, 15, n),
            "monetary_amount": rng.lognormal(5, 1, n),
            "return_share": np.where(rng.random(n) < 0.6, 0.0, rng.uniform(0.05, 0.9, n)),
        }
    )


def rule_of(frame: pl.DataFrame, is_inside: pl.Series, spec: AxisSpec = SPEC) -> dict[str, object]:
    """The rule of the segment of the rows where `is_inside`."""
    matrix, values, names = made(frame, spec)
    ids = pl.Series(np.where(is_inside.to_numpy(), "S1", "S2"))
    return segment_rules(matrix, values, names, ids, spec, seed=1).row(0, named=True)


# -- shares of separation ---------------------------------------------------------------------------------------------


def test_the_shares_of_separation_of_a_segment_add_up_to_one(stage_world: Callable) -> None:
    customers, position = stage_world(1, n=600)
    matrix = build_matrix(customers, None, STAGE)
    _, values, names = fit_transform(matrix, STAGE)
    found = segment_drivers(matrix, values, names, pl.Series([f"S{number + 1}" for number in position]), STAGE)
    assert dict(found.schema) == DRIVER_SCHEMA
    sums = found.group_by("segment_id").agg(pl.col("separation_share").sum())
    assert sums["separation_share"].to_list() == pytest.approx([1.0] * 5, abs=1e-5)
    assert found["separation_share"].is_between(0, 1).all()


def test_a_share_of_separation_is_the_features_part_of_the_squared_distance() -> None:
    values = np.array([[0.0, 0.0], [0.0, 0.0], [6.0, 2.0], [6.0, 2.0]])
    shares = separation_shares(values, np.array([0, 0, 1, 1]), 3)
    assert shares[0] == pytest.approx([0.9, 0.1])  # 3 and 1 from the centre of all: 9 and 1 of 10
    assert shares[1] == pytest.approx([0.9, 0.1])
    assert shares[2].tolist() == [0.0, 0.0]  # an empty cluster
    assert separation_shares(values, np.zeros(4, dtype=np.int64), 1).tolist() == [[0.0, 0.0]]  # nothing to set apart


# -- rules ------------------------------------------------------------------------------------------------------------


def test_a_planted_rule_is_found_in_original_units_and_holds_on_unseen_customers() -> None:
    frame = shop()
    found = rule_of(frame, (frame["recency_days"] < 45) & (frame["order_count"] >= 6))
    assert found["rule"] in (
        "Recency below 45 days and order count at least 6",
        "Order count at least 6 and recency below 45 days",
    )
    assert found["precision"] == found["recall"] == found["faithfulness"] == 1.0
    assert found["customers"] == frame.filter((pl.col("recency_days") < 45) & (pl.col("order_count") >= 6)).height


def test_a_range_of_one_feature_is_one_condition() -> None:
    frame = shop()
    found = rule_of(frame, frame["recency_days"].is_between(100, 199))
    assert found["rule"] == "Recency at least 100 days and below 200 days"
    assert found["faithfulness"] == 1.0


def test_one_whole_number_is_said_exactly() -> None:
    frame = shop()
    assert rule_of(frame, frame["order_count"] == 1)["rule"] == "Order count exactly 1"
    assert rule_of(frame, frame["order_count"] == 7)["rule"] == "Order count exactly 7"


def test_money_is_a_number_and_a_share_a_percentage() -> None:
    frame = shop(6_000)
    spend = str(rule_of(frame, frame["monetary_amount"] >= 1_200)["rule"])
    assert re.fullmatch(r"Spend at least 1,[12]\d\d", spend)
    returns = str(rule_of(frame, frame["return_share"] >= 0.5)["rule"])
    assert returns == "Return share at least 50 %"


def test_none_at_all_is_said_so() -> None:
    frame = shop()
    assert rule_of(frame, frame["return_share"] == 0)["rule"] == "No return share"
    assert rule_of(frame, frame["return_share"] > 0)["rule"] == "Return share above 0 %"


def test_categories_and_unknown_values_are_said_in_words() -> None:
    rng = np.random.default_rng(5)
    frame = shop().with_columns(
        tier=pl.Series(rng.choice(["gold", "silver", "bronze"], 3_000)),
        monetary_amount=pl.when(pl.col("order_count") < 4).then(None).otherwise(pl.col("monetary_amount")),
    )
    spec = dataclasses.replace(SPEC, categorical=("tier",))
    assert rule_of(frame, frame["tier"] == "gold", spec)["rule"] == "Tier is gold"
    assert rule_of(frame, frame["tier"] != "gold", spec)["rule"] == "Tier is not gold"
    unknown = rule_of(frame.drop("order_count"), frame["monetary_amount"].is_null(), spec)
    assert unknown["rule"] == "Spend is unknown"


def test_the_rarer_values_of_a_category_are_counted_as_other() -> None:
    rng = np.random.default_rng(5)
    names = np.where(rng.random(3_000) < 0.2, [f"rare {number}" for number in range(3_000)], "common")
    frame = shop().with_columns(town=pl.Series(names))
    spec = dataclasses.replace(SPEC, categorical=("town",))
    matrix, values, columns = made(frame, spec)
    ids = pl.Series(np.where(names == "common", "S1", "S2"))
    drivers = segment_drivers(matrix, values, columns, ids, spec)
    rare = drivers.filter((pl.col("feature") == f"town={OTHER}") & (pl.col("segment_id") == "S2")).row(0, named=True)
    assert (rare["segment_mean"], rare["overall_mean"]) == (1.0, pytest.approx((names != "common").mean(), abs=1e-6))
    assert rule_of(frame, frame["town"] != "common", spec)["rule"] in ("Town is a rarer one", "Town is not common")


def test_shares_of_lines_are_told_as_percentages(taste_world: Callable) -> None:
    world = taste_world(1, n=2_000)
    matrix = build_matrix(world.customers, world.shares, TASTE)
    _, values, names = fit_transform(matrix, TASTE)
    ids = pl.Series([f"T{number + 1}" for number in world.taste])
    rules = segment_rules(matrix, values, names, ids, TASTE, seed=1)
    assert dict(rules.schema) == RULE_SCHEMA
    assert rules["segment_id"].to_list() == [f"T{number}" for number in range(1, 7)]
    condition = (
        r"[Ss]hare of Category \d\d (at least|below) [\d.]+ %( and below [\d.]+ %)?|[Nn]o share of Category \d\d"
    )
    for rule in rules["rule"]:
        assert all(re.fullmatch(condition, part) for part in re.split(r", (?=[sn])| and (?=[sn])", rule)), rule
    assert rules["faithfulness"].min() > 0.7
    assert rules["customers"].sum() == 2_000


def test_a_rule_has_three_conditions_at_most_and_no_idle_one() -> None:
    rng = np.random.default_rng(2)
    frame = shop()
    matrix, values, names = made(frame)
    noisy = (frame["recency_days"].to_numpy() < 80) ^ (rng.random(3_000) < 0.1)
    rule = segment_rules(matrix, values, names, pl.Series(np.where(noisy, "S1", "S2")), SPEC, seed=1).row(0, named=True)
    assert re.fullmatch(r"Recency below \d+ days", rule["rule"])  # the noise earns no further condition
    assert rule["faithfulness"] == pytest.approx(0.87, abs=0.05)


def test_segments_that_no_feature_tells_apart_get_no_rule() -> None:
    frame = pl.DataFrame({"recency_days": [10] * 40 + [20] * 40, "order_count": [1, 2] * 40})
    matrix, values, names = made(frame)
    mixed = pl.Series(["S1", "S1", "S2", "S2"] * 20)  # each combination has as many of one as of the other
    found = segment_rules(matrix, values, names, mixed, SPEC, seed=1)
    assert found.drop("customers").rows() == [
        ("stage", "S1", NO_RULE, None, None, None),
        ("stage", "S2", NO_RULE, None, None, None),
    ]


def test_one_segment_is_everyone_and_tiny_segments_have_no_figures() -> None:
    frame = shop(60)
    matrix, values, names = made(frame)
    alone = segment_rules(matrix, values, names, pl.Series(["S1"] * 60), SPEC, seed=1)
    assert alone.rows() == [("stage", "S1", EVERYONE, None, None, None, 60)]
    few = segment_rules(matrix, values, names, pl.Series(["S1"] * 2 + ["S2"] * 58), SPEC, seed=1)
    assert few["customers"].to_list() == [2, 58]
    assert few["recall"][0] is None  # two customers: none is held out


def test_rules_are_the_same_every_time_and_for_a_sample_of_many() -> None:
    frame = shop(30_000)
    matrix, values, names = made(frame)
    ids = pl.Series(np.where(frame["recency_days"] < 120, "S2", "S10"))
    first = segment_rules(matrix, values, names, ids, SPEC, seed=1)
    assert segment_rules(matrix, values, names, ids, SPEC, seed=1).equals(first)
    assert first["segment_id"].to_list() == ["S2", "S10"]
    assert first["rule"].to_list() == ["Recency below 120 days", "Recency at least 120 days"]
    assert first["customers"].sum() == 30_000


def test_ids_that_do_not_belong_to_the_matrix_are_refused() -> None:
    matrix, values, names = made(shop(60))
    with pytest.raises(ValueError, match="one segment id per row") as caught:
        segment_rules(matrix, values, names, pl.Series(["S1"] * 3), SPEC, seed=1)
    assert str(caught.value) == (
        "Axis stage: rules need one segment id per row of the matrix; there are 3 ids, 60 rows of the matrix and 60 "
        "of its inputs."
    )
