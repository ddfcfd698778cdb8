"""Before and around the result: power, the sample-ratio check, and looking early."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.measurement.intervals import newcombe
from segmentation_assets.measurement.looks import Look
from segmentation_assets.measurement.power import (
    needed_customers,
    needed_for_precision,
    power_of,
    smallest_detectable_difference,
    smallest_detectable_effect,
    smallest_detectable_lift,
)
from segmentation_assets.measurement.sample_ratio import sample_ratio


def test_the_smallest_detectable_effect_matches_published_planning_figures() -> None:
    # Base rate .57 %, 10 % held out: 10,000 customers detect a lift of 123 %, a million one of 12 %.
    assert smallest_detectable_lift(10_000, 0.0057) == pytest.approx(1.23, abs=0.01)
    assert smallest_detectable_lift(1_000_000, 0.0057) == pytest.approx(0.123, abs=0.001)
    assert smallest_detectable_effect(10_000, 0.0057) == pytest.approx(1.23 * 0.0057, abs=1e-4)
    assert smallest_detectable_effect(5, 0.01) is None
    assert smallest_detectable_lift(10_000, 0.0) is None
    assert smallest_detectable_effect(20, 0.9) is None  # not even everybody buying would be enough
    assert smallest_detectable_difference(9_000, 1_000, 20.0) == pytest.approx(2.8016 * 20 / 30, abs=1e-3)
    assert smallest_detectable_difference(9_000, 0, 20.0) is None


def test_a_text_books_sample_size_for_two_rates() -> None:
    # 5 % against 10 %, two groups of equal size, 80 % power, two-sided 5 %: 435 in each, uncorrected (Fleiss).
    assert needed_customers(0.05, 0.05, control_share=0.5) == pytest.approx(2 * 435, abs=2)
    assert needed_customers(1e-9, 0.05) is None
    with pytest.raises(ValueError, match="must lie between 0 and 1, and the effect must not be 0: hand in rates"):
        needed_customers(0.0, 0.05)


@given(st.floats(0.005, 0.3), st.floats(0.05, 1.0), st.sampled_from([0.1, 0.3, 0.5]))
@settings(max_examples=50, deadline=None)
def test_the_needed_customers_have_the_power_and_one_fewer_has_not(rate: float, lift: float, share: float) -> None:
    customers = needed_customers(rate * lift, rate, share)
    assert customers is not None
    assert power_of(customers, rate, rate * lift, share) >= 0.8 > power_of(customers - 1, rate, rate * lift, share)


def test_the_power_is_how_often_the_interval_finds_the_effect() -> None:
    rng = np.random.default_rng(1)
    low, _ = newcombe(rng.binomial(18_000, 0.026, 4_000), 18_000, rng.binomial(2_000, 0.02, 4_000), 2_000)
    assert float((low > 0).mean()) == pytest.approx(power_of(20_000, 0.02, 0.006), abs=0.06)


def test_a_fourfold_number_of_customers_halves_what_can_be_seen() -> None:
    assert needed_for_precision(1_000, 0.01, 0.0140079) == pytest.approx(4_000, abs=2)
    assert needed_for_precision(1_000, 0.01, 0.0) is None
    assert needed_for_precision(1_000, 0.0, 0.1) is None


def test_a_fair_assignment_is_no_alarm_and_a_lost_tenth_of_the_control_is_one() -> None:
    shares = {"treated": 0.9, "control": 0.1}
    fair = sample_ratio({"treated": 9_020, "control": 980}, shares)
    assert (fair.is_alarm, round(fair.chi_square, 3), round(fair.p_value, 3)) == (False, 0.444, 0.505)
    assert (
        fair.sentence == "Customers per group: 980 control (1,000 expected), 9,020 treated (9,000 expected); p = 0.5."
    )
    lost = sample_ratio({"treated": 9_000, "control": 880}, shares)
    assert lost.is_alarm
    assert lost.sentence.endswith(
        "That is not chance: the groups were not made as planned, so no lift is read. Check the assignment."
    )


def test_three_groups_are_checked_together_and_small_ones_exactly() -> None:
    assert sample_ratio({"A": 500, "B": 380, "control": 100}, {"A": 0.45, "B": 0.45, "control": 0.1}).is_alarm
    # 4.5 expected and 13 found: chi-square says p = .00004, the exact test .0006; 12 found is no alarm.
    small = sample_ratio({"treated": 138, "control": 12}, {"treated": 0.97, "control": 0.03})
    assert small.chi_square > 10.83  # the chi-square test would alarm
    assert not small.is_alarm
    assert sample_ratio({"treated": 135, "control": 15}, {"treated": 0.97, "control": 0.03}).is_alarm
    assert not sample_ratio({"treated": 0, "control": 0}, {"treated": 0.9, "control": 0.1}).is_alarm
    assert not sample_ratio({"treated": 10}, {"treated": 1.0}).is_alarm


def test_shares_of_other_groups_or_of_nothing_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^Counts are of \['a'\], shares of \['b'\]: give each group a share above 0\.$"
    ):
        sample_ratio({"a": 1}, {"b": 1.0})
    with pytest.raises(ValueError, match="give each group a share above 0"):
        sample_ratio({"a": 1, "b": 2}, {"a": 1.0, "b": 0.0})


def test_one_reading_at_the_end_costs_nothing_and_looking_early_does() -> None:
    assert (Look().z(), Look().label) == (pytest.approx(1.95996, abs=1e-5), "")
    assert Look(3).z() == pytest.approx(2.2414, abs=1e-4)
    assert Look(1, 0.25).z() == pytest.approx(2 * 2.2414, abs=1e-4)
    assert Look(1, 0.25).label.startswith("Early look 1, at 25% of the window")
    assert Look(1).label.startswith("Read once before the window ended")


def test_brownian_motion_crosses_the_boundary_at_most_once_in_twenty() -> None:
    rng = np.random.default_rng(2)
    steps = 200
    path = np.cumsum(rng.standard_normal((4_000, steps)) / np.sqrt(steps), axis=1)
    share = np.arange(1, steps + 1) / steps
    boundary = np.array([Look(1, float(value)).z() for value in share]) * np.sqrt(share)
    assert float((np.abs(path) > boundary).any(axis=1).mean()) < 0.055
    assert float((np.abs(path) > 1.96 * np.sqrt(share)).any(axis=1).mean()) > 0.3  # read daily as if once


def test_a_look_that_cannot_be_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^The window is elapsed to a share of 1\.2; it must be above 0, at most 1\.$"
    ):
        Look(1, 1.2)
    with pytest.raises(ValueError, match=r"^A look before the window has ended is early look 1 or later\.$"):
        Look(0, 0.5)
