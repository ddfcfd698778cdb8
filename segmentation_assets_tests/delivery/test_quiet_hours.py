"""Quiet hours are kept by the recipient's own clock, over midnight and through changes to and from summer time."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.delivery.quiet_hours import begin_of_day, is_quiet, is_zone, next_permitted, zone_or

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "Australia/Lord_Howe")


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("moment", "zone", "is_it"),
    [
        ("2026-07-01 18:59", "Europe/Berlin", False),  # 20:59
        ("2026-07-01 19:00", "Europe/Berlin", True),  # 21:00
        ("2026-07-02 05:59", "Europe/Berlin", True),  # 07:59
        ("2026-07-02 06:00", "Europe/Berlin", False),  # 08:00
        ("2026-01-01 06:30", "Europe/Berlin", True),  # in winter 07:30
        ("2026-07-01 12:00", "Asia/Kathmandu", False),  # 17:45
        ("2026-07-01 15:15", "Asia/Kathmandu", True),  # 21:00
        ("2026-07-01 22:00", "America/New_York", False),  # 18:00
    ],
)
def test_quiet_hours_are_those_of_the_recipients_clock_over_midnight(moment: str, zone: str, is_it: bool) -> None:
    assert is_quiet(utc(moment), zone, 21, 8) is is_it


@pytest.mark.parametrize(("hour", "is_it"), [(11, False), (12, True), (13, True), (14, False)])
def test_quiet_hours_within_a_day_end_before_the_second_hour(hour: int, is_it: bool) -> None:
    assert is_quiet(dt.datetime(2026, 7, 1, hour, 59), "UTC", 12, 14) is is_it


def test_equal_hours_mean_that_there_are_none() -> None:
    assert not any(is_quiet(dt.datetime(2026, 7, 1, hour), "UTC", 9, 9) for hour in range(24))


@pytest.mark.parametrize("name", [None, "", "Mars/Olympus", "Europe", "../etc/passwd", "a\0b", "x" * 5000])
def test_an_unknown_time_zone_counts_as_the_shops(name: str | None) -> None:
    assert not is_zone(name)
    assert zone_or(name, "Europe/Berlin") == "Europe/Berlin"
    assert is_quiet(utc("2026-07-01 19:30"), name, 21, 8, shop="Europe/Berlin")
    assert not is_quiet(utc("2026-07-01 19:30"), name, 21, 8)


@pytest.mark.parametrize(
    ("at", "zone", "hours", "expected"),
    [
        ("2026-07-01 12:00", "Europe/Berlin", (21, 8), "2026-07-01 12:00"),
        ("2026-07-01 19:07:31", "Europe/Berlin", (21, 8), "2026-07-02 06:00"),
        # The night in which the clocks go forward is an hour shorter, the one in which they go back an hour longer.
        ("2026-03-28 21:00", "Europe/Berlin", (21, 8), "2026-03-29 06:00"),
        ("2026-10-24 20:00", "Europe/Berlin", (21, 8), "2026-10-25 07:00"),
        # 02:00 does not exist on that day: the first hour after it is permitted.
        ("2026-03-28 23:00", "Europe/Berlin", (21, 2), "2026-03-29 01:00"),
        # Only the hour that the clocks skip is permitted: the next day has it.
        ("2026-03-29 00:30", "Europe/Berlin", (3, 2), "2026-03-30 00:00"),
    ],
)
def test_the_first_permitted_moment_knows_summer_time(
    at: str, zone: str, hours: tuple[int, int], expected: str
) -> None:
    assert next_permitted(utc(at), zone, *hours) == utc(expected)


@settings(max_examples=80, deadline=None)
@given(
    at=st.datetimes(dt.datetime(2025, 1, 1), dt.datetime(2027, 12, 31)),
    zone=st.sampled_from(ZONES),
    from_hour=st.integers(0, 23),
    to_hour=st.integers(0, 23),
)
def test_the_first_permitted_moment_is_not_quiet_and_every_quarter_before_it_is(
    at: dt.datetime, zone: str, from_hour: int, to_hour: int
) -> None:
    found = next_permitted(at, zone, from_hour, to_hour)
    assert found >= at and not is_quiet(found, zone, from_hour, to_hour)
    moment = at
    while moment < found:
        assert is_quiet(moment, zone, from_hour, to_hour)
        moment += dt.timedelta(minutes=15)


def test_a_day_begins_by_the_recipients_clock() -> None:
    assert begin_of_day(dt.date(2026, 7, 1), "Europe/Berlin") == utc("2026-06-30 22:00")
    assert begin_of_day(dt.date(2026, 7, 1), "America/New_York") == utc("2026-07-01 04:00")
    assert begin_of_day(dt.date(2026, 7, 1), "nowhere", shop="Europe/Berlin") == utc("2026-06-30 22:00")
