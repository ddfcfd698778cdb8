"""Quiet hours: when nobody is written to, in the recipient's own time zone.

What belongs here: whether a moment is quiet for somebody, and the first one after it that is not. What does not: who is
written to (`plan`), and waiting until then (`dispatcher`).
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from zoneinfo import ZoneInfo

#: Every time zone in use is a whole number of quarter hours from UTC, so hours begin at quarter hours everywhere.
_STEP = dt.timedelta(minutes=15)
#: A day has a permitted hour; where the clocks skip it (summer time), the next day has one.
_SEARCH = dt.timedelta(days=3)


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, no legal name, or a folder of the time zone database
        return None


def is_zone(name: str | None) -> bool:
    """Whether `name` is a time zone of the IANA database, such as Europe/Berlin."""
    return bool(name) and _zone(str(name)) is not None


def zone_or(name: str | None, shop: str) -> str:
    """`name` where it is a time zone, else the shop's."""
    return str(name) if is_zone(name) else shop


def is_quiet(now_utc: dt.datetime, timezone: str | None, from_hour: int, to_hour: int, *, shop: str = "UTC") -> bool:
    """Whether the naive UTC moment lies in the quiet hours of somebody in `timezone`.

    Quiet are the hours from `from_hour` until before `to_hour` (0 to 23) by the recipient's clock, over midnight where
    the first is later than the second; equal hours mean that there are none. An unknown zone counts as the shop's.
    """
    if from_hour == to_hour:
        return False
    hour = _local(now_utc, zone_or(timezone, shop)).hour
    if from_hour < to_hour:
        return from_hour <= hour < to_hour
    return hour >= from_hour or hour < to_hour


def next_permitted(
    at_utc: dt.datetime, timezone: str | None, from_hour: int, to_hour: int, *, shop: str = "UTC"
) -> dt.datetime:
    """The first moment from the naive UTC `at_utc` on that is not quiet (see `is_quiet`), naive UTC.

    Walks by quarter hours, so that a change to or from summer time within the quiet hours needs no rule of its own.
    """
    moment, end = at_utc, at_utc + _SEARCH
    while moment < end and is_quiet(moment, timezone, from_hour, to_hour, shop=shop):
        begun = moment.replace(minute=moment.minute - moment.minute % 15, second=0, microsecond=0)
        moment = begun + _STEP
    return moment


def begin_of_day(day: dt.date, timezone: str | None, *, shop: str = "UTC") -> dt.datetime:
    """When `day` begins for somebody in `timezone`, naive UTC. An unknown zone counts as the shop's."""
    zone = ZoneInfo(zone_or(timezone, shop))
    begin = dt.datetime.combine(day, dt.time(0), tzinfo=zone)
    return begin.astimezone(dt.UTC).replace(tzinfo=None)


def _local(now_utc: dt.datetime, zone: str) -> dt.datetime:
    return now_utc.replace(tzinfo=dt.UTC).astimezone(ZoneInfo(zone))
