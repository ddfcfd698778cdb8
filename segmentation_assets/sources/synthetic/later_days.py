"""Days after the world's first today: people go on buying as before, and some buy because of a message.

What belongs here: drawing orders, their lines and payments for whole blocks of customers. What does not: who is moved
by a message (`audience`), and files (`continuation`).

Customers who were still there on the first today go on ordering at their rate, by season and weekday, until they leave
at the rate of their persona. Nobody new joins, nothing is returned, and prices stay. Ordinary life is drawn from
streams of its own: it is the same whoever is written to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from segmentation_assets.sources.synthetic.aftermath import payments_of
from segmentation_assets.sources.synthetic.assortment import CATEGORIES
from segmentation_assets.sources.synthetic.customers import CHANNELS, Block, buys_again
from segmentation_assets.sources.synthetic.orders import (
    CANCELLED,
    PROCESSING,
    STORE,
    Market,
    Orders,
    draw_line_counts,
    draw_moments,
    draw_statuses,
    fresh_products,
    orders_table,
    price_lines,
)
from segmentation_assets.sources.synthetic.personas import PERSONAS, REPEAT_SHARE
from segmentation_assets.sources.synthetic.settings import (
    BLOCK,
    HISTORY_DAYS,
    SECONDS_PER_DAY,
    Floats,
    Ints,
    Mask,
    Topic,
    WorldSettings,
)
from segmentation_assets.sources.synthetic.vocabulary import pick

#: The tables that go on.
TABLES = ("orders", "order_items", "payments")
#: Days after the message within which those it moved buy.
DAYS_TO_BUY = 10
_SECONDS_TO_BUY = 1_800
_CANCELLED_SHARE = 0.03


@dataclass(frozen=True)
class Span:
    """Days that are lived through together: `first` and `last` count from the world's first day, both inclusive."""

    first: int
    last: int
    seed: int

    def stream(self, block: int, *part: int) -> np.random.Generator:
        """Random numbers of a part of these days in a block."""
        key = (int(Topic.LATER_DAYS), block, self.first, *part)
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))

    def last_second(self, settings: WorldSettings) -> int:
        """The last second of these days, since 1970."""
        return settings.first_second + (self.last + 1) * SECONDS_PER_DAY - 1


@dataclass(frozen=True)
class Moved:
    """Customers of a block whom a message moves to one extra order each, and when it reached them (since 1970)."""

    customer: Ints
    reached: Ints


@dataclass(frozen=True)
class LaterDays:
    """`tables` by name, each row with `_customer`, the number within the block.

    `sale_chance` and `has_sale` (customers,): the chance of an ordinary order that counts as a sale in these days, and
    whether there is one.
    """

    tables: dict[str, pl.DataFrame]
    sale_chance: Floats
    has_sale: Mask


@dataclass(frozen=True)
class _Drawn:
    """Orders of one kind, sorted by customer and time, before they have ids."""

    customer: Ints
    day: Ints
    channel: Ints
    second: Ints
    status: Ints


def draw_later_days(block: Block, market: Market, past: Orders, span: Span, moved: Moved | None = None) -> LaterDays:
    """What a block of customers orders in the days of `span`.

    `market` is `lengthened` to the end of these days; `past` are the block's orders of the history, from which lines
    are remembered. An order that a message caused is never cancelled, so each one counts.
    """
    usual, mean = _ordinary(block, market, span)
    caused = _caused(block, span, moved or Moved(np.zeros(0, np.int64), np.zeros(0, np.int64)))
    number = _number_on_day((usual, caused))
    parts = []
    for kind, (drawn, ordinal) in enumerate(zip((usual, caused), number, strict=True), start=1):
        parts.append(_sold(block, market, past, span, drawn=drawn, ordinal=ordinal, kind=kind))
    tables = {
        table: pl.concat([part[table] for part in parts]).sort("_customer", *_SORTED_BY[table]) for table in TABLES
    }
    share_online = np.where(block.traits.channel != STORE, 1.0, 0.2)
    has_sale = np.zeros(BLOCK, dtype=np.bool_)
    has_sale[usual.customer[usual.status != CANCELLED]] = True
    return LaterDays(tables, 1 - np.exp(-mean * (1 - _CANCELLED_SHARE * share_online)), has_sale)


_SORTED_BY = {"orders": ("ordered_at", "order_id"), "order_items": ("order_item_id",), "payments": ("payment_id",)}


def _ordinary(block: Block, market: Market, span: Span) -> tuple[_Drawn, Floats]:
    """Orders of their own accord, and how many each customer was expected to make."""
    settings, traits = block.settings, block.traits
    # Leaving has no memory, so how long somebody stays is drawn once, from the world's own seed.
    stay = settings.stream(Topic.LATER_DAYS, block.number).exponential(1.0, BLOCK) * 365
    churn = np.array([p.churn_per_year for p in PERSONAS])[traits.persona]
    stay_days = np.minimum(stay / np.maximum(churn, 1e-6), 1e6).astype(np.int64)
    is_there = (traits.end_day >= HISTORY_DAYS - 1) & buys_again(traits)
    last = np.minimum(HISTORY_DAYS - 1 + stay_days, span.last)
    begin = market.day_weights[span.first]
    weight = np.where(is_there & (last >= span.first), market.day_weights[last + 1] - begin, 0.0)
    mean = traits.rate * market.rate_scale * weight / 365
    rng = span.stream(block.number, 0)
    customer = np.repeat(np.arange(BLOCK), rng.poisson(mean))
    place = begin + rng.random(len(customer)) * weight[customer]
    day = (np.searchsorted(market.day_weights, place, side="right") - 1).clip(span.first, span.last)
    channel, second = draw_moments(settings, traits, rng, customer=customer, day=day)
    status = draw_statuses(span.last_second(settings), rng, channel, second)
    return _by_time(_Drawn(customer, day, channel, second, status)), mean


def _caused(block: Block, span: Span, moved: Moved) -> _Drawn:
    """One order of each customer whom a message moved, soon after it came."""
    settings = block.settings
    rng = span.stream(block.number, 1)
    # Drawn for the whole block: on which day somebody orders does not depend on who else was moved.
    later = np.floor(rng.random(BLOCK) * min(DAYS_TO_BUY, span.last - span.first + 1)).astype(np.int64)
    everyone = np.arange(BLOCK)
    reached = np.full(BLOCK, settings.first_second + span.first * SECONDS_PER_DAY)
    reached[moved.customer] = moved.reached
    day = ((reached - settings.first_second) // SECONDS_PER_DAY + later).clip(span.first, span.last)
    channel, second = draw_moments(settings, block.traits, rng, customer=everyone, day=day)
    second = np.minimum(np.maximum(second, reached + _SECONDS_TO_BUY), span.last_second(settings))
    status = draw_statuses(span.last_second(settings), rng, channel, second)
    status = np.where(status == CANCELLED, PROCESSING, status)
    who = moved.customer
    return _by_time(_Drawn(who, day[who], channel[who], second[who], status[who]))


def _by_time(drawn: _Drawn) -> _Drawn:
    order = np.lexsort((drawn.second, drawn.customer))
    return _Drawn(*(values[order] for values in vars(drawn).values()))


def _number_on_day(kinds: Sequence[_Drawn]) -> list[Ints]:
    """The number, from 1, of each order among those of its customer and day; the first kind comes first."""
    customer = np.concatenate([drawn.customer for drawn in kinds])
    day = np.concatenate([drawn.day for drawn in kinds])
    order = np.lexsort((np.arange(len(day)), day, customer))
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = (np.diff(customer[order]) != 0) | (np.diff(day[order]) != 0)
    begin = np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))
    number = np.empty(len(order), dtype=np.int64)
    number[order] = np.arange(len(order)) - begin + 1
    return np.split(number, np.cumsum([len(drawn.customer) for drawn in kinds])[:-1])


def _sold(
    block: Block, market: Market, past: Orders, span: Span, *, drawn: _Drawn, ordinal: Ints, kind: int
) -> dict[str, pl.DataFrame]:
    """The tables of orders of one kind. Their ids hold the day and a letter, so no earlier id can be met again."""
    customer = drawn.customer
    own = block.ids.str.replace("C", "O", literal=True).gather(customer)
    ids = own + "-D" + pl.Series(drawn.day).cast(pl.String) + "-" + pl.Series(ordinal).cast(pl.String)
    rng = span.stream(block.number, 2, kind)
    lines = draw_line_counts(block.traits, rng, customer)
    product = _products(block, market, rng, past, customer=np.repeat(customer, lines), day=np.repeat(drawn.day, lines))
    sold = price_lines(
        market, block.traits, rng, customer=customer, day=drawn.day, ids=ids, lines=lines, product=product,
        coupon_discount=np.zeros(len(customer)),
    )  # fmt: skip
    orders = orders_table(
        block, market, customer=customer, ids=ids, channel=drawn.channel, second=drawn.second, status=drawn.status,
        coupon=pick(CHANNELS, np.full(len(customer), -1)),
    )  # fmt: skip
    payments, _ = payments_of(
        rng, span.last_second(block.settings), customer=customer, second=drawn.second, channel=drawn.channel,
        status=drawn.status, ids=ids, amount=sold.amount,
    )  # fmt: skip
    return {"orders": orders, "order_items": sold.frame, "payments": payments}


def _products(
    block: Block, market: Market, rng: np.random.Generator, past: Orders, *, customer: Ints, day: Ints
) -> Ints:
    """The product of each line: fresh, or from memory of the history's lines, as in `orders`."""
    product = fresh_products(market, rng, block.traits, customer, day)
    remembered_by = past.customer[past.line_order]
    known = np.bincount(remembered_by, minlength=BLOCK)[customer]
    begin = np.searchsorted(remembered_by, customer)
    remembers = (rng.random(len(customer)) < REPEAT_SHARE) & (known > 0)
    luck, resolve = rng.random(len(customer)), rng.random(len(customer))
    at = np.flatnonzero(remembers)
    memory = past.line_product[begin[at] + np.floor(luck[at] * known[at]).astype(np.int64)]
    rebuy = np.array([c.rebuy for c in CATEGORIES])[market.catalogue.category[memory]]
    buys = resolve[at] < rebuy
    product[at[buys]] = memory[buys]
    return product
