"""One block's orders and order lines: when, where, what, at what price.

Orders of a customer follow an inhomogeneous Poisson process over the active days, the days weighted by season and
weekday. What is on a line is drawn either fresh, from the customer's taste, or, with REPEAT_SHARE, from memory: a
line of an earlier order comes to mind (each equally likely) and its product is bought again with the re-buy
probability of its category; otherwise the line is drawn fresh after all. That makes the probability of each line
given those before it a sum of two known terms, so a Bayes classifier of tastes is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from segmentation_assets.sources.synthetic.assortment import CATEGORIES
from segmentation_assets.sources.synthetic.campaigns import Campaigns, Reach, expected_extra_orders
from segmentation_assets.sources.synthetic.catalogue import PRICE_TIERS, Catalogue, period_of
from segmentation_assets.sources.synthetic.customers import (
    CHANNELS,
    Block,
    Traits,
    buys_again,
    draw_traits,
    is_buyer,
)
from segmentation_assets.sources.synthetic.personas import ADHERENCE, PERSONAS, REPEAT_SHARE, category_probabilities
from segmentation_assets.sources.synthetic.settings import (
    HISTORY_DAYS,
    SECONDS_PER_DAY,
    Floats,
    Ints,
    Topic,
    WorldSettings,
    calendar,
)
from segmentation_assets.sources.synthetic.vocabulary import draw, draw_by_row, moments, null_where, pick

_CALIBRATION_CUSTOMERS = 20_000
_STATUSES = ("completed", "shipped", "processing", "cancelled", "returned")
COMPLETED, SHIPPED, PROCESSING, CANCELLED, RETURNED = range(5)
STORE = CHANNELS.index("store")
PHONE = CHANNELS.index("phone")
_MONTH_FACTORS = np.array([0.92, 0.88, 0.96, 0.98, 1.0, 0.95, 0.9, 0.88, 0.97, 1.02, 1.22, 1.38])
_WEEKDAY_FACTORS = np.array([1.0, 0.95, 0.95, 1.0, 1.08, 1.12, 0.98])
#: Share of orders by hour of the day: web and app, store, telephone.
_HOURS = np.array(
    [
        [8, 4, 2, 1, 1, 2, 6, 14, 20, 24, 27, 29, 34, 31, 27, 26, 27, 31, 40, 55, 66, 60, 40, 18],
        [0, 0, 0, 0, 0, 0, 0, 0, 2, 20, 40, 50, 48, 42, 44, 50, 60, 66, 55, 28, 2, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 2, 14, 40, 48, 40, 28, 36, 42, 40, 34, 20, 4, 0, 0, 0, 0, 0],
    ],
    dtype=np.float64,
)
_HOURS_OF_CHANNEL = np.array([0, 0, 1, 2])
_DEPTHS = np.array([0.05, 0.1, 0.15, 0.2, 0.3])
_WELCOME = "WELCOME10"


@dataclass(frozen=True)
class Market:
    """What all blocks of a world share: made once."""

    catalogue: Catalogue
    campaigns: Campaigns
    day_weights: Floats  # cumulated; entry d is the weight of all days before d
    day_months: Ints
    category_table: Floats  # (tastes * adherences * 12 months, categories)
    product_stack: Floats  # cumulated shares of products, see `_stack`
    rate_scale: float


@dataclass(frozen=True)
class Orders:
    """Orders and lines of a block as arrays; lines are in the order of orders, orders by customer and time."""

    customer: Ints
    second: Ints
    channel: Ints
    status: Ints
    campaign: Ints  # the campaign that caused the order, -1 for none
    ids: pl.Series
    amount: Floats
    line_order: Ints
    line_product: Ints
    line_quantity: Ints
    line_ids: pl.Series
    orders_frame: pl.DataFrame
    lines_frame: pl.DataFrame


def make_market(settings: WorldSettings, catalogue: Catalogue, campaigns: Campaigns) -> Market:
    """The calendar, the tables to draw from, and the scale that gives the asked-for lines per customer."""
    cumulated = np.concatenate([[0.0], np.cumsum(_day_weights(settings, HISTORY_DAYS))])
    probabilities = category_probabilities(settings)
    return Market(
        catalogue=catalogue,
        campaigns=campaigns,
        day_weights=cumulated,
        day_months=settings.day_months,
        category_table=probabilities.reshape(-1, probabilities.shape[3]),
        product_stack=_stack(catalogue),
        rate_scale=_calibrate(settings, campaigns, cumulated),
    )


def _day_weights(settings: WorldSettings, days: int) -> Floats:
    """Weight of each of the world's first `days` days by season and weekday; 1 on average over its history."""
    months, weekdays = calendar(settings, days)
    weights = _MONTH_FACTORS[months - 1] * _WEEKDAY_FACTORS[weekdays]
    scaled: Floats = weights / weights[:HISTORY_DAYS].mean()
    return scaled


def lengthened(market: Market, settings: WorldSettings, days: int) -> Market:
    """The market with a calendar of `days` days: those after the world's own keep its last prices."""
    cumulated = np.concatenate([[0.0], np.cumsum(_day_weights(settings, days))])
    return replace(market, day_weights=cumulated, day_months=calendar(settings, days)[0])


def _stack(catalogue: Catalogue) -> Floats:
    """Cumulated shares such that one search finds a product.

    For row r = period * tiers + tier, category c and u in [0, 1) the product is the place of r * categories + c + u,
    less r * products.
    """
    choice = catalogue.choice.reshape(-1, catalogue.choice.shape[2])
    stack = np.empty_like(choice)
    for number in range(len(CATEGORIES)):
        own = np.flatnonzero(catalogue.category == number)
        cumulated = np.cumsum(choice[:, own], axis=1)
        stack[:, own] = number + cumulated / cumulated[:, -1:]
    rows = np.arange(len(stack))[:, None] * len(CATEGORIES)
    stacked: Floats = (stack + rows).ravel()
    return stacked


def _active_weight(traits: Traits, day_weights: Floats) -> Floats:
    weight: Floats = day_weights[traits.end_day + 1] - day_weights[traits.start_day]
    return weight


def _calibrate(settings: WorldSettings, campaigns: Campaigns, day_weights: Floats) -> float:
    """The factor on all order rates under which customers have `lines_per_customer` lines on average."""
    traits = draw_traits(settings, settings.stream(Topic.CALIBRATION), _CALIBRATION_CUSTOMERS)
    basket = np.array([p.lines_per_order for p in PERSONAS])[traits.persona]
    given = basket * (is_buyer(traits) + expected_extra_orders(traits, campaigns))
    free = basket * buys_again(traits) * traits.rate * _active_weight(traits, day_weights) / 365
    return float(max((settings.lines_per_customer - given.mean()) / free.mean(), 0.02))


def fresh_products(market: Market, rng: np.random.Generator, traits: Traits, customer: Ints, day: Ints) -> Ints:
    """A product for each (customer, day), drawn from the customer's taste, the month and what is on sale."""
    leaning = traits.taste[customer] * len(ADHERENCE) + traits.adherence[customer]
    rows = leaning * 12 + market.day_months[day] - 1
    category = draw_by_row(rng, market.category_table, rows)
    shelf = period_of(day) * len(PRICE_TIERS) + traits.price_tier[customer]
    place = shelf * len(CATEGORIES) + category + rng.random(len(customer))
    products = len(market.catalogue.category)
    found: Ints = np.searchsorted(market.product_stack, place, side="right") - shelf * products
    return found.clip(0, products - 1)


def make_orders(block: Block, market: Market, reach: Reach) -> Orders:
    """Orders and lines of a block."""
    settings, traits = block.settings, block.traits
    rng = block.stream(Topic.ORDERS)
    customer, day, campaign = _order_days(block, market, reach, rng)
    channel, second = draw_moments(settings, traits, rng, customer=customer, day=day)
    # Nobody orders before signing up, or because of a message that has not come yet.
    second = np.maximum(second, traits.signed_up[customer] + rng.integers(60, 3_000, len(customer)))
    reached = np.where(campaign >= 0, reach.contacted[customer, campaign] + 1_800, 0)
    second = np.maximum(second, reached)
    by_time = np.lexsort((second, customer))
    customer, day, campaign, channel, second = (a[by_time] for a in (customer, day, campaign, channel, second))
    first_of_customer = np.searchsorted(customer, np.arange(len(block.ids)))
    sequence = np.arange(len(customer)) - first_of_customer[customer]
    ids = _order_ids(block, customer, sequence)
    status = draw_statuses(settings.last_second, rng, channel, second)
    coupon_share = rng.random(len(customer))
    has_coupon = (campaign >= 0) & (coupon_share < 0.6)
    is_welcome = (sequence == 0) & (campaign < 0) & (coupon_share < 0.22)
    coupons = (*market.campaigns.coupons, _WELCOME)
    coupon = np.where(has_coupon, campaign, np.where(is_welcome, len(coupons) - 1, -1))
    orders_frame = orders_table(
        block, market, customer=customer, ids=ids, channel=channel, second=second, status=status,
        coupon=pick(coupons, coupon),
    )  # fmt: skip

    rng = block.stream(Topic.LINES)
    lines = draw_line_counts(traits, rng, customer)
    product = _line_products(block, market, rng, customer=customer, day=day, sequence=sequence, lines=lines)
    coupon_discount = np.concatenate([market.campaigns.discount, [0.1, 0.0]])[coupon]
    sold = price_lines(
        market, traits, block.stream(Topic.MONEY), customer=customer, day=day, ids=ids, lines=lines, product=product,
        coupon_discount=coupon_discount,
    )  # fmt: skip
    return Orders(
        customer=customer,
        second=second,
        channel=channel,
        status=status,
        campaign=campaign,
        ids=ids,
        amount=sold.amount,
        line_order=sold.order,
        line_product=product,
        line_quantity=sold.quantity,
        line_ids=sold.ids,
        orders_frame=orders_frame,
        lines_frame=sold.frame,
    )


def draw_moments(
    settings: WorldSettings, traits: Traits, rng: np.random.Generator, *, customer: Ints, day: Ints
) -> tuple[Ints, Ints]:
    """Channel and moment (seconds since 1970) of orders on their days."""
    size = len(customer)
    channel = np.where(rng.random(size) < 0.8, traits.channel[customer], rng.integers(0, 2, size))
    hour = draw_by_row(rng, _HOURS, _HOURS_OF_CHANNEL[channel])
    second = settings.first_second + day * SECONDS_PER_DAY + hour * 3_600 + rng.integers(0, 3_600, size)
    return channel, second


def orders_table(
    block: Block,
    market: Market,
    *,
    customer: Ints,
    ids: pl.Series,
    channel: Ints,
    second: Ints,
    status: Ints,
    coupon: pl.Series,
) -> pl.DataFrame:
    """The raw table `orders` of a block's orders."""
    store = market.catalogue.store_ids.gather(market.catalogue.store_of_town[block.traits.town[customer]])
    return pl.DataFrame(
        {
            "order_id": ids,
            "customer_id": block.ids.gather(customer),
            "store_id": null_where(store, channel != STORE),
            "channel": pick(CHANNELS, channel),
            "ordered_at": moments(second),
            "status": pick(_STATUSES, status),
            "currency": pl.Series([block.settings.currency]).new_from_index(0, len(customer)),
            "coupon_code": coupon,
            "_customer": customer,
        }
    )


def draw_line_counts(traits: Traits, rng: np.random.Generator, customer: Ints) -> Ints:
    """Lines of each order, by the customer's persona."""
    basket = np.array([p.lines_per_order for p in PERSONAS])[traits.persona[customer]]
    lines: Ints = 1 + rng.poisson(np.maximum(basket - 1, 0))
    return lines


@dataclass(frozen=True)
class SoldLines:
    """Lines of orders as arrays and as the raw table `order_items`; `amount` is per order."""

    order: Ints
    quantity: Ints
    ids: pl.Series
    frame: pl.DataFrame
    amount: Floats


def price_lines(
    market: Market,
    traits: Traits,
    rng: np.random.Generator,
    *,
    customer: Ints,
    day: Ints,
    ids: pl.Series,
    lines: Ints,
    product: Ints,
    coupon_discount: Floats,
) -> SoldLines:
    """Quantities, prices and discounts of the lines of orders; `product` is per line, all others per order."""
    line_order = np.repeat(np.arange(len(customer)), lines)
    units = np.array([c.units for c in CATEGORIES])[market.catalogue.category[product]]
    quantity = 1 + rng.poisson(units - 1)
    price = market.catalogue.prices[product, period_of(day)[line_order]]
    is_reduced = rng.random(len(product)) < traits.discount_sensitivity[customer[line_order]]
    depth = np.where(is_reduced, _DEPTHS[draw(rng, (0.15, 0.3, 0.25, 0.2, 0.1), len(product))], 0.0)
    depth = np.maximum(depth, coupon_discount[line_order])
    discount = np.round(quantity * price * depth, 2)
    ordinal = np.arange(len(product)) - np.repeat(np.cumsum(lines) - lines, lines)
    line_ids = ids.gather(line_order) + pl.Series([f"-{n + 1:02d}" for n in range(100)]).gather(ordinal.clip(0, 99))
    frame = pl.DataFrame(
        {
            "order_item_id": line_ids,
            "order_id": ids.gather(line_order),
            "product_id": market.catalogue.product_ids.gather(product),
            "quantity": quantity,
            "unit_price": price,
            "discount_amount": discount,
            "line_amount": pl.Series([None], dtype=pl.Float64).new_from_index(0, len(product)),
            "_customer": customer[line_order],
        }
    )
    amount = np.bincount(line_order, weights=quantity * price - discount, minlength=len(customer))
    amount = amount.astype(np.float64)  # of no line at all it would be whole numbers
    return SoldLines(line_order, quantity, line_ids, frame, np.round(amount, 2))


def _order_days(block: Block, market: Market, reach: Reach, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Customer, day and causing campaign of each order, in no order yet."""
    traits = block.traits
    buyers = np.flatnonzero(is_buyer(traits))
    wait = np.floor(rng.exponential(8.0, len(block.ids))).astype(np.int64)
    first_day = np.minimum(traits.start_day + wait, traits.end_day)[buyers]
    weight = _active_weight(traits, market.day_weights)
    mean = np.where(buys_again(traits), traits.rate * market.rate_scale * weight / 365, 0.0)
    again = np.repeat(np.arange(len(block.ids)), rng.poisson(mean))
    place = market.day_weights[traits.start_day[again]] + rng.random(len(again)) * weight[again]
    again_day = (np.searchsorted(market.day_weights, place, side="right") - 1).clip(0, HISTORY_DAYS - 1)
    moved, campaign = np.nonzero(reach.is_moved)
    campaigns = market.campaigns
    moved_day = campaigns.starts[campaign] + np.floor(rng.random(len(moved)) * campaigns.days[campaign]).astype(
        np.int64
    )
    return (
        np.concatenate([buyers, again, moved]),
        np.concatenate([first_day, again_day, moved_day]),
        np.concatenate([np.full(len(buyers) + len(again), -1), campaign]),
    )


def _order_ids(block: Block, customer: Ints, sequence: Ints) -> pl.Series:
    own = block.ids.str.replace("C", "O", literal=True) + "-"
    highest = int(sequence.max()) + 1 if len(sequence) else 0
    return own.gather(customer) + pl.Series([f"{n + 1:03d}" for n in range(highest)], dtype=pl.String).gather(sequence)


def draw_statuses(last_second: int, rng: np.random.Generator, channel: Ints, second: Ints) -> Ints:
    """Recent orders are still under way; of the older ones some were cancelled or came back whole."""
    age_days = (last_second - second) / SECONDS_PER_DAY
    luck = rng.random(len(second))
    under_way = np.where(age_days < 2, PROCESSING, np.where(age_days < 3 + 5 * luck, SHIPPED, COMPLETED))
    status = np.where(channel == STORE, COMPLETED, under_way)
    fate = rng.random(len(second))
    status = np.where((fate < 0.02) & (age_days > 25), RETURNED, status)
    return np.where((fate > 0.97) & (channel != STORE), CANCELLED, status)


def _line_products(
    block: Block, market: Market, rng: np.random.Generator, *, customer: Ints, day: Ints, sequence: Ints, lines: Ints
) -> Ints:
    """The product of each line, fresh or from memory. Loops over the n-th orders of all customers at once."""
    line_customer = np.repeat(customer, lines)
    product = fresh_products(market, rng, block.traits, line_customer, np.repeat(day, lines))
    first_line = np.cumsum(lines) - lines  # of each order
    customer_first = first_line[np.searchsorted(customer, np.arange(len(block.ids))).clip(0, max(len(lines) - 1, 0))]
    start = customer_first[line_customer]  # first line of the line's customer
    earlier = np.repeat(first_line, lines) - start  # lines of the customer in earlier orders
    remembers = (rng.random(len(product)) < REPEAT_SHARE) & (earlier > 0)
    memory = start + np.floor(rng.random(len(product)) * earlier).astype(np.int64)
    resolve = rng.random(len(product))
    rebuy = np.array([c.rebuy for c in CATEGORIES])[market.catalogue.category]
    trying = np.flatnonzero(remembers)
    line_sequence = np.repeat(sequence, lines)[trying]
    trying = trying[np.argsort(line_sequence, kind="stable")]
    bounds = np.cumsum(np.bincount(line_sequence)) if len(trying) else np.array([], dtype=np.int64)
    begin = 0
    for end in bounds:
        now = trying[begin:end]
        remembered = product[memory[now]]
        buys = resolve[now] < rebuy[remembered]
        product[now[buys]] = remembered[buys]
        begin = end
    return product
