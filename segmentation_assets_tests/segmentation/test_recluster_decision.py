"""Growth past the threshold requests one re-clustering; every skip says its numbers."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from segmentation_assets.segmentation.recluster import (
    MOST_ATTEMPTS,
    Attempt,
    campaigns_to_prepare,
    decide_recluster,
)


def test_growth_past_the_threshold_requests() -> None:
    decision = decide_recluster(11_500, 10_000, 0.10)
    assert decision.is_requested
    assert decision.reason == (
        "11,500 customers against 10,000 at the last fit (+15.0%); the threshold is +10.0%: re-clustering, attempt 1."
    )


def test_below_the_threshold_the_skip_says_its_numbers() -> None:
    decision = decide_recluster(10_999, 10_000, 0.10)
    assert not decision.is_requested
    assert decision.reason == (
        "10,999 customers against 10,000 at the last fit (+10.0%); the threshold is +10.0%: no re-clustering."
    )


def test_one_in_flight_is_not_doubled() -> None:
    decision = decide_recluster(11_500, 10_000, 0.10, [Attempt("a", "failed"), Attempt("b", "in flight")])
    assert not decision.is_requested
    assert "run b is already on it" in decision.reason


def test_a_failed_request_is_made_again_three_times_and_then_names_the_run() -> None:
    failed = [Attempt(name, "failed") for name in "abc"]
    assert [decide_recluster(11_500, 10_000, 0.1, failed[:n]).attempt for n in range(4)] == [1, 2, 3, 0]
    assert "3 requests failed, the last in run c" in decide_recluster(11_500, 10_000, 0.1, failed).reason


def test_nothing_materialised_and_nothing_fitted_are_said() -> None:
    assert decide_recluster(None, None, 0.1).reason == "No customers are materialised yet."
    assert "No model is fitted yet (5 customers)" in decide_recluster(5, None, 0.1).reason


@given(
    now=st.integers(0, 10_000_000),
    fit=st.integers(1, 10_000_000),
    threshold=st.floats(0, 1),
    outcomes=st.lists(st.sampled_from(["ok", "failed", "in flight"]), max_size=6),
)
def test_a_request_is_never_made_twice_nor_below_the_threshold(
    now: int, fit: int, threshold: float, outcomes: list[str]
) -> None:
    attempts = [Attempt(str(place), outcome) for place, outcome in enumerate(outcomes)]
    decision = decide_recluster(now, fit, threshold, attempts)
    assert decision.reason
    if decision.is_requested:
        assert now / fit - 1 >= threshold
        assert outcomes == ["failed"] * len(outcomes)
        assert decision.attempt == len(outcomes) + 1 <= MOST_ATTEMPTS


def test_campaigns_are_prepared_within_the_lead_and_not_after_their_start() -> None:
    starts = [
        ("late", date(2026, 7, 9)),
        ("due", date(2026, 7, 8)),
        ("today", date(2026, 7, 1)),
        ("over", date(2026, 6, 30)),
    ]
    assert campaigns_to_prepare(starts, date(2026, 7, 1), 7) == [("today", date(2026, 7, 1)), ("due", date(2026, 7, 8))]


def test_drift_is_a_reason_below_the_growth_threshold_and_is_told() -> None:
    decision = decide_recluster(1_010, 1_000, 0.1, drift="Recency has shifted.")
    assert decision.is_requested
    assert decision.reason == (
        "1,010 customers against 1,000 at the last fit (+1.0%); the threshold is +10.0%. Recency has shifted: "
        "re-clustering, attempt 1."
    )
