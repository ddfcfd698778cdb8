"""Drift says what shifted since the fit, in numbers and words, and takes chance for chance."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.segmentation.drift import (
    DRIFT_SCHEMA,
    DriftThresholds,
    drift,
    flagged,
    has_drifted,
    misfits,
    reference_of,
)

NAMES = ("recency_days", "order_count", "discount_share", "discount_share is missing")
CENTRES = np.array([[-1.5, 1.0, 0.0, 0.0], [1.5, -0.5, 0.0, 0.0], [0.5, 1.5, 0.0, 0.0]])


def shop(seed: int, n: int, shares: tuple[float, float, float] = (0.5, 0.3, 0.2), shift: float = 0.0) -> tuple:
    """A matrix with a continuous, a shifted, a half-zero and a rare 0/1 column; segment ids; distances."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, n]))
    label = rng.choice(3, n, p=shares)
    values = CENTRES[label] + rng.normal(size=(n, 4)) * 0.5
    values[:, 1] += shift
    values[:, 2] = np.where(rng.random(n) < 0.6, -0.7, rng.gamma(2.0, 1.0, n))
    values[:, 3] = np.where(rng.random(n) < 0.03, 5.0, -0.15)
    distances = np.sqrt(((values - CENTRES[label]) ** 2).sum(axis=1))
    return values, NAMES, pl.Series(["S1", "S2", "S3"]).gather(label), distances


def test_the_same_customers_show_no_drift_at_all() -> None:
    then = shop(0, 4000)
    frame = drift(json.loads(json.dumps(reference_of(*then))), *then)
    assert dict(frame.schema) == DRIFT_SCHEMA
    assert frame["kind"].to_list() == ["feature"] * 4 + ["segment"] * 3 + ["misfit"]
    assert frame.filter(pl.col("kind") != "misfit")["shift"].abs().max() == 0
    misfit = frame.row(-1, named=True)
    assert (misfit["reference_value"], misfit["is_beyond_chance"]) == (0.01, False)
    assert misfit["current_value"] == pytest.approx(0.01, abs=0.001)
    is_so, sentence = has_drifted(frame)
    assert not is_so
    assert sentence.startswith("Customers are like those of the fit: the largest stability index is 0.00 (limit 0.25)")


@pytest.mark.parametrize(("at_fit", "now"), [(5000, 300), (300, 300), (300, 40), (60, 2000)])
def test_few_customers_of_the_same_kind_raise_no_alarm(at_fit: int, now: int) -> None:
    alarms = 0
    for draw in range(100):
        frame = drift(reference_of(*shop(2 * draw, at_fit)), *shop(2 * draw + 1, now))
        alarms += has_drifted(frame, DriftThresholds(feature=0.1, segment=0.01, misfit=0.001))[0]
    assert alarms <= 5


def test_a_shifted_feature_is_named_with_its_index_and_direction() -> None:
    reference = reference_of(*shop(1, 4000))
    frame = drift(reference, *shop(2, 4000, shift=0.6))
    row = frame.filter(pl.col("name") == "order_count").row(0, named=True)
    assert row["shift"] > 0.25
    assert row["is_beyond_chance"]
    assert row["current_value"] - row["reference_value"] == pytest.approx(0.6, abs=0.05)
    assert row["statement"] == (
        f"order_count has shifted: population stability index {row['shift']:.2f}, higher on average than at the fit."
    )
    slight = drift(reference, *shop(2, 4000, shift=-0.25)).filter(pl.col("name") == "order_count")
    assert "order_count is shifting: population stability index 0.1" in slight["statement"][0]
    assert "lower on average than at the fit" in slight["statement"][0]
    stable = frame.filter(pl.col("name") == "recency_days")["statement"][0]
    assert stable == "recency_days is stable: population stability index 0.00."
    is_so, sentence = has_drifted(frame)
    assert is_so
    assert sentence.startswith("Customers differ from those of the fit. order_count has shifted")


def test_a_rare_indicator_that_becomes_common_is_seen() -> None:
    values, names, ids, distances = shop(4, 3000)
    reference = reference_of(values, names, ids, distances)
    now = values.copy()
    now[::4, 3] = 5.0
    row = drift(reference, now, names, ids, distances).filter(pl.col("name") == names[3]).row(0, named=True)
    assert row["shift"] > 0.25
    common = reference_of(-values, names, ids, distances)  # the common value is now the largest
    mirrored = drift(common, -now, names, ids, distances).filter(pl.col("name") == names[3])
    assert mirrored["shift"][0] == pytest.approx(row["shift"], abs=1e-6)


def test_the_index_of_two_bins_is_that_of_the_formula() -> None:
    then, now = np.repeat([0.0, 1.0], [600, 400]), np.repeat([0.0, 1.0], [300, 700])
    ids = ["S1"] * 1000
    reference = reference_of(then[:, None], ["x"], ids, np.ones(1000))
    found = drift(reference, now[:, None], ["x"], ids, np.ones(1000))["shift"][0]
    old, new = np.array([600.5, 400.5]) / 1001, np.array([300.5, 700.5]) / 1001
    assert found == pytest.approx(((new - old) * np.log(new / old)).sum() - 2 / 1000, abs=1e-6)


def test_a_segment_that_grew_and_one_that_is_new_are_told() -> None:
    reference = reference_of(*shop(1, 4000))
    values, names, ids, distances = shop(2, 4000, shares=(0.3, 0.5, 0.2))
    ids = pl.Series(["S10" if number == 0 else segment for number, segment in enumerate(ids)])
    frame = drift(reference, values, names, ids, distances)
    segments = frame.filter(pl.col("kind") == "segment")
    assert segments["name"].to_list() == ["S1", "S2", "S3", "S10"]
    assert segments["shift"].sum() == pytest.approx(0, abs=1e-5)
    grown = segments.row(1, named=True)
    assert grown["shift"] == pytest.approx(0.2, abs=0.03)
    assert grown["statement"] == (
        f"S2 holds {grown['current_value']:.1%} of the customers, {grown['reference_value']:.1%} at the fit."
    )
    assert segments["reference_value"][3] == 0
    assert has_drifted(frame)[0]
    assert not has_drifted(frame, DriftThresholds(feature=9, segment=0.5, misfit=1))[0]


def test_a_row_is_drift_beyond_chance_and_from_its_threshold_on() -> None:
    rows = [
        ("feature", "at the limit", 0.25, True), ("feature", "below it", 0.24, True), ("feature", "chance", 0.9, False),
        ("segment", "S1", -0.06, True), ("segment", "S2", 0.04, True),
        ("misfit", "fewer", -0.5, True), ("misfit", "more", 0.03, True),
    ]  # fmt: skip
    frame = pl.DataFrame(
        [(kind, name, 0.0, 0.0, shift, is_real, "") for kind, name, shift, is_real in rows],
        schema=DRIFT_SCHEMA, orient="row",
    )  # fmt: skip
    found = flagged(frame, DriftThresholds(feature=0.25, segment=0.05, misfit=0.02))
    assert found.columns == [*DRIFT_SCHEMA, "is_drift"]
    assert found.filter("is_drift")["name"].to_list() == ["at the limit", "S1", "more"]


def test_customers_that_fit_no_segment_are_misfits() -> None:
    reference = reference_of(*shop(1, 4000))
    values, names, ids, distances = shop(2, 4000)
    distances[::10] *= 20
    row = drift(reference, values, names, ids, distances).row(-1, named=True)
    assert row["kind"] == "misfit"
    assert row["current_value"] > 0.08
    assert row["is_beyond_chance"]
    assert "lie further out than 99 % of their segment did at the fit; 1.0% is expected." in row["statement"]
    flags = misfits(reference, pl.Series(["S1", "S1", "S9"]), np.array([0.0, 1e9, 1e9]))
    assert flags.to_list() == [False, True, None]
    assert misfits({}, pl.Series(["S1"]), np.array([1.0])).to_list() == [None]


def test_few_customers_then_expect_more_misfits_now() -> None:
    values, names, _, distances = shop(1, 30)
    reference = reference_of(values, names, ["S1"] * 30, distances)
    row = drift(reference, values, names, ["S1"] * 30, distances).row(-1, named=True)
    assert row["reference_value"] == pytest.approx(1 / 31, abs=1e-6)  # one further customer in 31 is the furthest


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]) | st.floats(-5, 5, width=32), min_size=1, max_size=200))
def test_bins_hold_everybody_and_are_ten_at_most(column: list[float]) -> None:
    values = np.array(column)[:, None]
    reference = reference_of(values, ["x"], ["S1"] * len(column), np.zeros(len(column)))
    feature = reference["features"][0]
    assert len(feature["shares"]) == len(feature["cuts"]) + 1 <= 10
    assert sum(feature["shares"]) == pytest.approx(1, abs=1e-6)
    assert feature["cuts"] == sorted(set(feature["cuts"]))
    assert json.loads(json.dumps(reference)) == reference
    again = drift(reference, values + 1e-12, ["x"], ["S1"] * len(column), np.zeros(len(column)))
    assert again["shift"].max() == 0  # the last bits of a float are no drift


def test_nothing_to_compare_is_said_and_is_no_drift() -> None:
    then = shop(1, 100)
    nobody = (np.zeros((0, 4)), NAMES, pl.Series([], dtype=pl.String), np.zeros(0))
    for frame in (drift({}, *then), drift(reference_of(*then), *nobody)):
        assert frame.is_empty()
        assert has_drifted(frame) == (
            False, "There is nothing to compare: nobody is clustered, or the model keeps no picture of its fit.",
        )  # fmt: skip


def test_other_columns_and_unknown_values_are_refused_by_name() -> None:
    values, names, ids, distances = shop(1, 100)
    reference = reference_of(values, names, ids, distances)
    with pytest.raises(ValueError, match=r"columns a, order_count, .*; the model was fitted on recency_days, order"):
        drift(reference, values, ("a", *names[1:]), ids, distances)
    with pytest.raises(ValueError, match="The matrix is 100 by 4, with 4 names, 100 segment ids and 99 distances"):
        drift(reference, values, names, ids, distances[1:])
    values[3, 1] = np.nan
    with pytest.raises(ValueError, match="order_count contain values that are not finite numbers"):
        reference_of(values, names, ids, distances)
