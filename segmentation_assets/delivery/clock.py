"""What time it is for a campaign: the machine's clock, or that of the demonstration world.

The synthetic world has a today of its own. Its campaigns start on the next morning, and time goes on from there as
fast as outside; the simulated audience can let days pass. Results are never computed from a clock, only stamped by it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from segmentation_assets.state.store import StateStore
from segmentation_assets.state.values import get_value, put_value, put_value_once

#: Returns the time as naive UTC.
Clock = Callable[[], dt.datetime]
_OFFSET = "world_clock_offset_seconds"
#: When the demonstration world's first campaign day begins.
MORNING = dt.time(9, 0)


def system_clock() -> dt.datetime:
    """The machine's time, naive UTC."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def open_clock(store: StateStore, source: str, as_of: dt.date, machine: Clock = system_clock) -> Clock:
    """The clock of this HOME: the machine's, or for the synthetic world its own, begun on the morning after `as_of`."""
    if source != "synthetic":
        return machine
    begin = dt.datetime.combine(as_of + dt.timedelta(days=1), MORNING)
    offset = dt.timedelta(seconds=put_value_once(store, _OFFSET, (begin - machine()).total_seconds()))
    return lambda: machine() + offset


def let_time_pass(store: StateStore, span: dt.timedelta) -> None:
    """Move the demonstration world's clock forward. ValueError backwards, or before it was ever read."""
    offset = get_value(store, _OFFSET)
    if offset is None or span < dt.timedelta(0):
        raise ValueError("The clock of the demonstration world goes forward only, and only once it was started.")
    put_value(store, _OFFSET, offset + span.total_seconds())
