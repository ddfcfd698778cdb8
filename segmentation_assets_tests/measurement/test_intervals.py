"""Intervals: Newcombe's published figures, what always holds, and the coverage that was promised."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.measurement.intervals import (
    AmountSums,
    bootstrap_difference,
    difference_of_means,
    difference_of_proportions,
    hall_difference,
    newcombe,
    newcombe_p_greater,
    wald_difference,
    wilson,
    z_of,
)

Z = 1.959963984540054


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int, int, int]:
    treated, control = draw(st.integers(1, 400)), draw(st.integers(1, 400))
    return draw(st.integers(0, treated)), treated, draw(st.integers(0, control)), control


@pytest.mark.parametrize(
    ("data", "low", "high"),
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
        ((0, 10, 0, 10), -0.2775, 0.2775),
        ((10, 10, 0, 20), 0.6791, 1.0),
        ((10, 10, 0, 10), 0.6075, 1.0),
    ],
)
def test_method_10_gives_the_figures_of_newcombes_paper(
    data: tuple[int, int, int, int], low: float, high: float
) -> None:
    # Newcombe (1998), Statistics in Medicine 17:873, table II, examples (a) to (h).
    found = newcombe(*data)
    assert (round(float(found[0]), 4), round(float(found[1]), 4)) == (low, high)


def test_wilsons_interval_of_81_in_263_is_that_of_newcombes_first_paper() -> None:
    # Newcombe (1998), Statistics in Medicine 17:857, table I: .2553 to .3662; 0 of 20: 0 to .1611.
    assert [round(float(bound), 4) for bound in wilson(81, 263, Z)] == [0.2553, 0.3662]
    assert [round(float(bound), 4) for bound in wilson(0, 20, Z)] == [0.0, 0.1611]
    assert [round(float(bound), 4) for bound in wilson(29, 29, Z)] == [0.8830, 1.0]


@given(counts())
@settings(max_examples=30, deadline=None)
def test_an_interval_holds_its_estimate_and_stays_within_what_a_difference_can_be(
    data: tuple[int, int, int, int],
) -> None:
    estimate = difference_of_proportions(*data)
    assert -1 <= estimate.low <= estimate.effect <= estimate.high <= 1
    if estimate.relative_low is not None:
        assert estimate.relative_effect is not None
        assert -1 <= estimate.relative_low <= estimate.relative_effect + 1e-12
    if estimate.relative_high is not None:
        assert estimate.relative_effect is not None
        assert estimate.relative_effect <= estimate.relative_high + 1e-12


@given(counts())
@settings(max_examples=30, deadline=None)
def test_swapping_the_groups_turns_the_interval_round(data: tuple[int, int, int, int]) -> None:
    one, swapped = difference_of_proportions(*data), difference_of_proportions(*data[2:], *data[:2])
    assert (one.low, one.high) == pytest.approx((-swapped.high, -swapped.low), abs=1e-12)
    assert one.p_greater == pytest.approx(1 - swapped.p_greater, abs=1e-9)


@given(counts(), st.integers(2, 50))
@settings(max_examples=30, deadline=None)
def test_more_customers_at_the_same_rates_give_a_shorter_interval(data: tuple[int, int, int, int], times: int) -> None:
    low, high = newcombe(*data)
    more_low, more_high = newcombe(*(times * value for value in data))
    assert more_high - more_low < high - low


@given(counts())
@settings(max_examples=30, deadline=None)
def test_p_value_and_both_intervals_agree_on_whether_there_is_a_difference(data: tuple[int, int, int, int]) -> None:
    estimate = difference_of_proportions(*data)
    if abs(estimate.p_value - 0.05) < 1e-6:
        return
    is_shown = estimate.low > 1e-12 or estimate.high < -1e-12
    assert (estimate.p_value < 0.05) == is_shown
    assert (estimate.p_greater < 0.025) == (estimate.low > 1e-12)
    if estimate.relative_low is not None and estimate.low > 1e-9:
        assert estimate.relative_low > 0
    if estimate.relative_high is not None and estimate.high < -1e-9:
        assert estimate.relative_high < 0


def test_nobody_bought_says_how_large_an_effect_can_hide_and_no_ratio() -> None:
    estimate = difference_of_proportions(0, 1_000, 0, 1_000)
    assert (estimate.effect, estimate.p_value) == (0.0, 1.0)
    assert estimate.low == pytest.approx(-0.00383, abs=1e-5)
    assert estimate.high == pytest.approx(0.00383, abs=1e-5)
    assert estimate.relative_effect is None
    # Wald is certain instead.
    assert [float(bound) for bound in wald_difference(0, 1_000, 0, 1_000)] == [0.0, 0.0]


def test_a_customer_in_each_group_and_all_buying_are_no_certainty() -> None:
    one = difference_of_proportions(1, 1, 0, 1)
    assert one.low < 0 < one.effect == one.high == 1.0
    everybody = difference_of_proportions(50, 50, 20, 20)
    assert everybody.effect == 0
    assert everybody.low == pytest.approx(-0.0714, abs=1e-4)
    assert everybody.high == pytest.approx(0.1611, abs=1e-4)


def test_more_buyers_than_customers_and_a_confidence_of_95_are_refused() -> None:
    message = "A proportion needs at least one customer, and between none and all of them as successes."
    for successes, customers in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match=message):
            wilson(successes, customers, Z)
    with pytest.raises(
        ValueError, match=r"The confidence 95 must lie between 0 and 1, 0\.95 for an interval of 95 %\."
    ):
        z_of(95)


def test_amounts_that_are_no_numbers_or_too_many_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^3 amounts of 2 customers: hand in one amount per customer\.$"):
        AmountSums.of([1.0, 2.0, 3.0], 2)
    with pytest.raises(ValueError, match=r"^An amount is not a finite number: clean it, or leave the customer at 0\.$"):
        AmountSums.of([1.0, math.nan], 2)


def test_sums_give_mean_variance_and_skewness_of_all_customers_zeros_included() -> None:
    amounts = np.array([0, 0, 0, 5, 1, 9.5])
    sums = AmountSums.of(amounts, 10)
    everybody = np.concatenate([amounts, np.zeros(4)])
    centred = everybody - everybody.mean()
    assert sums.mean == pytest.approx(everybody.mean())
    assert sums.variance == pytest.approx(everybody.var(ddof=1))
    assert float(sums.skewness) == pytest.approx((centred**3).mean() / everybody.std() ** 3)
    assert (sums.buyers, float(AmountSums.of(np.zeros(3), 3).skewness)) == (3, 0.0)


def test_the_order_of_customers_changes_no_digit() -> None:
    amounts = np.random.default_rng(1).lognormal(3, 1, 5_000)
    assert AmountSums.of(amounts, 9_000) == AmountSums.of(amounts[::-1], 9_000)


def test_groups_of_one_size_get_students_interval_and_a_small_control_one_that_leans_down() -> None:
    rng = np.random.default_rng(2)
    amounts = [rng.lognormal(0, 1, 400) for _ in range(2)]
    same = difference_of_means(AmountSums.of(amounts[0], 5_000), AmountSums.of(amounts[1], 5_000))
    half = Z * same.standard_error
    assert (same.low, same.high) == pytest.approx((same.effect - half, same.effect + half))
    small = difference_of_means(AmountSums.of(amounts[0], 5_000), AmountSums.of(amounts[1][:40], 500))
    # The mean of few skewed amounts is more often far too low than far too high, so the difference too high.
    assert small.effect - small.low > small.high - small.effect


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1), st.floats(0.2, 3))
@settings(max_examples=40, deadline=None)
def test_means_too_hold_their_estimate_turn_round_and_agree_with_their_p_value(
    buyers: int, others: int, seed: int, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    one, zero = (
        AmountSums.of(rng.lognormal(0, spread, number), number * times) for number, times in ((buyers, 3), (others, 5))
    )
    estimate, swapped = difference_of_means(one, zero), difference_of_means(zero, one)
    assert estimate.low <= estimate.effect <= estimate.high
    assert (estimate.low, estimate.high) == pytest.approx((-swapped.high, -swapped.low))
    if estimate.p_value > 1e-9 and abs(estimate.p_value - 0.05) > 1e-6 and abs(estimate.effect) > 1e-9:
        assert (estimate.p_value < 0.05) == (estimate.low > 0 or estimate.high < 0)


def test_means_without_any_spread_are_an_interval_of_no_width() -> None:
    estimate = difference_of_means(AmountSums.of([], 10), AmountSums.of([], 1))
    assert (estimate.effect, estimate.low, estimate.high, estimate.p_value) == (0, 0, 0, 1)


def test_the_bootstrap_is_seeded_does_not_mind_chunks_and_agrees_with_halls_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(3)
    one, zero = rng.lognormal(0, 0.8, 900), rng.lognormal(0, 0.8, 700)
    low, high = bootstrap_difference(one, 30_000, zero, 30_000, seed=1)
    assert (low, high) == bootstrap_difference(one, 30_000, zero, 30_000, seed=1)
    assert (low, high) != bootstrap_difference(one, 30_000, zero, 30_000, seed=2)
    ends = hall_difference(AmountSums.of(one, 30_000), AmountSums.of(zero, 30_000), Z)
    assert (low, high) == pytest.approx((float(ends[0]), float(ends[1])), abs=0.1 * (high - low))
    monkeypatch.setattr("segmentation_assets.measurement.intervals._CHUNK", 10_000)
    chunked = bootstrap_difference(one, 30_000, zero, 30_000, seed=1)
    assert chunked == pytest.approx((low, high), abs=0.1 * (high - low))
    assert bootstrap_difference([], 10, [], 10, seed=1) == (0.0, 0.0)


def test_arrays_of_campaigns_give_what_single_ones_give() -> None:
    data = np.array([[56, 70, 48, 80], [9, 10, 3, 10], [0, 10, 0, 20]]).T
    low, high = newcombe(*data)
    greater = newcombe_p_greater(*data)
    for place, column in enumerate(data.T.tolist()):
        single = difference_of_proportions(*column)
        assert (low[place], high[place], greater[place]) == (single.low, single.high, single.p_greater)
