"""Limits: how fast, how long a message waits, and when to stop."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.delivery.rate import LONGEST_BACK_OFF_SECONDS, CircuitBreaker, TokenBucket, back_off_seconds


def test_the_bucket_gives_so_many_a_second() -> None:
    now = 0.0
    bucket = TokenBucket(4, lambda: now)
    waits = []
    for _ in range(9):
        wait = bucket.take()
        waits.append(wait)
        now += wait
    assert now == pytest.approx(2.0)
    assert waits[0] == 0


def test_a_pause_is_not_made_up_for() -> None:
    now = 0.0
    bucket = TokenBucket(2, lambda: now)
    bucket.take()
    now = 100.0
    assert [bucket.take(), bucket.take()] == [0.0, 0.5]


@settings(max_examples=50, deadline=None)
@given(st.uuids(), st.integers(1, 9))
def test_back_off_is_exponential_with_the_same_jitter_for_the_same_message(send_id: object, tried: int) -> None:
    seconds = back_off_seconds(str(send_id), tried)
    assert seconds == back_off_seconds(str(send_id), tried)
    exact = min(LONGEST_BACK_OFF_SECONDS, 60 * 4 ** (tried - 1))
    assert 0.75 * exact <= seconds <= 1.25 * exact


def test_messages_deferred_together_do_not_come_back_together() -> None:
    waits = {round(back_off_seconds(f"send {number}", 1)) for number in range(100)}
    assert len(waits) > 20


def test_the_breaker_opens_after_failures_in_a_row_and_stays_open() -> None:
    breaker = CircuitBreaker(3)
    assert [breaker.failed("a"), breaker.failed("b")] == [False, False]
    breaker.succeeded()
    assert [breaker.failed("c"), breaker.failed("d"), breaker.failed("e")] == [False, False, True]
    breaker.succeeded()
    assert breaker.is_open
    assert breaker.sentence.startswith("Sending stopped after 3 failures in a row; the last: e.")
