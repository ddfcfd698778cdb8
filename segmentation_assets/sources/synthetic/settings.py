"""What a world is made from, its calendar, and its streams of random numbers.

A world is made in blocks of `BLOCK` customers. Every random number comes from a stream named by the seed, the block
and a topic, never from one that knows how many customers were asked for: so the first n customers and everything
about them stay the same when more are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import IntEnum

import numpy as np
import numpy.typing as npt

#: Customers per block. Part of a world's identity: another number makes another world.
BLOCK = 5_000
#: Days of history up to and including the as-of date: about four years.
HISTORY_DAYS = 1_461
#: Prices and the products on sale change from one period to the next.
PERIOD_DAYS = 91
PERIODS = HISTORY_DAYS // PERIOD_DAYS + 1
SECONDS_PER_DAY = 86_400

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Topic(IntEnum):
    """Streams of random numbers; the number is part of a world's identity, so new ones go to the end."""

    PRODUCTS = 0
    STORES = 1
    INVENTORY = 2
    CAMPAIGNS = 3
    VOCABULARY = 4
    CALIBRATION = 5
    CUSTOMERS = 6
    CONTACTS = 7
    HOUSEHOLDS = 8
    REACH = 9
    ORDERS = 10
    LINES = 11
    MONEY = 12
    RETURNS = 13
    EVENTS = 14
    REVIEWS = 15
    RESPONSES = 16
    DIRT = 17
    PROFILES = 18
    PAYMENTS = 19
    LATER_DAYS = 20
    AUDIENCE = 21


@dataclass(frozen=True)
class WorldSettings:
    """A world. Two worlds with equal settings are equal, row by row.

    `customers` how many; `as_of` the last day of the data; `dirt_share` the share of each table's rows that get a
    planted fault (0 is a clean world); `lines_per_customer` the mean number of order lines over all customers;
    with `has_taste` False every customer draws from one and the same taste. ValueError for impossible values.
    """

    customers: int = 10_000
    seed: int = 42
    as_of: date = date(2026, 6, 30)
    dirt_share: float = 0.01
    lines_per_customer: float = 10.0
    has_taste: bool = True
    currency: str = "EUR"

    def __post_init__(self) -> None:
        if self.customers < 0:
            raise ValueError(f"A world cannot have {self.customers} customers: ask for 0 or more.")
        if self.seed < 0:
            raise ValueError(f"The seed {self.seed} is negative: use 0 or a positive whole number.")
        if not 0 <= self.dirt_share <= 0.5:
            raise ValueError(f"dirt_share is {self.dirt_share}: it is a share of rows between 0 and 0.5.")
        if not 0.5 <= self.lines_per_customer <= 200:
            raise ValueError(f"lines_per_customer is {self.lines_per_customer}: use 0.5 to 200.")

    @property
    def first_day(self) -> date:
        """The first day anything can happen on: day 0 of the world."""
        return self.as_of - timedelta(days=HISTORY_DAYS - 1)

    @property
    def blocks(self) -> int:
        """Blocks the world is made in; an empty world still has one, for its columns."""
        return max(1, -(-self.customers // BLOCK))

    @property
    def day_months(self) -> Ints:
        """Calendar month (1 to 12) of each day of the world; shape (HISTORY_DAYS,)."""
        return calendar(self, HISTORY_DAYS)[0]

    @property
    def first_second(self) -> int:
        """Midnight of day 0 in seconds since 1970."""
        return (self.first_day - date(1970, 1, 1)).days * SECONDS_PER_DAY

    @property
    def last_second(self) -> int:
        """The last second of the as-of date in seconds since 1970."""
        return self.first_second + HISTORY_DAYS * SECONDS_PER_DAY - 1

    @property
    def midnight(self) -> datetime:
        """The first moment of the as-of date."""
        return datetime(self.as_of.year, self.as_of.month, self.as_of.day)

    def stream(self, topic: Topic, block: int | None = None) -> np.random.Generator:
        """Random numbers of one topic: of a block, or without one of what all blocks share."""
        place = (int(topic),) if block is None else (int(topic), block)
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=place))


def calendar(settings: WorldSettings, days: int) -> tuple[Ints, Ints]:
    """Calendar month (1 to 12) and weekday (0 is Monday) of the world's first `days` days; each of shape (days,)."""
    dates = np.datetime64(settings.first_day, "D") + np.arange(days)
    return dates.astype("datetime64[M]").astype(np.int64) % 12 + 1, (dates.astype(np.int64) + 3) % 7
