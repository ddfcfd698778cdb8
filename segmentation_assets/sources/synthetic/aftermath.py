"""What follows orders and campaigns in one block: payments, returns, events on the site, reviews, responses."""

from __future__ import annotations

import numpy as np
import polars as pl

from segmentation_assets.sources.synthetic.campaigns import Reach
from segmentation_assets.sources.synthetic.customers import Block
from segmentation_assets.sources.synthetic.orders import (
    CANCELLED,
    COMPLETED,
    PHONE,
    RETURNED,
    STORE,
    Market,
    Orders,
    fresh_products,
)
from segmentation_assets.sources.synthetic.personas import PERSONAS
from segmentation_assets.sources.synthetic.settings import HISTORY_DAYS, SECONDS_PER_DAY, Floats, Ints, Topic
from segmentation_assets.sources.synthetic.vocabulary import (
    RETURN_REASONS,
    REVIEW_CLOSINGS,
    REVIEW_DETAILS,
    REVIEW_OPENINGS,
    draw,
    draw_by_row,
    moments,
    null_where,
    numbered,
    pick,
)

_METHODS = ("credit_card", "paypal", "invoice", "cash", "gift_card", "bank_transfer")
_METHODS_ONLINE = [0.4, 0.33, 0.17, 0.0, 0.04, 0.06]
_METHODS_STORE = [0.58, 0.0, 0.0, 0.36, 0.06, 0.0]
_METHODS_PHONE = [0.3, 0.0, 0.6, 0.0, 0.0, 0.1]
_INVOICE = _METHODS.index("invoice")
_VIEW, _SEARCH, _CART, _WISHLIST, _PURCHASE = range(5)
_ACTIONS = ("view", "search", "add_to_cart", "wishlist", "purchase")
_PAGES = ("product", "search", "cart", "category", "home", "checkout")
_SOURCES = ("direct", "search_engine", "email", "social", "referral", "affiliate")
_BROWSING_PER_CUSTOMER = 3.0
_KINDS = ("open", "click", "conversion", "unsubscribe", "complaint")


def payments_frame(block: Block, orders: Orders) -> tuple[pl.DataFrame, Ints]:
    """The raw table `payments` and the place of each one's order in `orders`.

    One for each order that was not cancelled, unless an invoice is still open.
    """
    return payments_of(
        block.stream(Topic.PAYMENTS), block.settings.last_second, customer=orders.customer, second=orders.second,
        channel=orders.channel, status=orders.status, ids=orders.ids, amount=orders.amount,
    )  # fmt: skip


def payments_of(
    rng: np.random.Generator,
    last_second: int,
    *,
    customer: Ints,
    second: Ints,
    channel: Ints,
    status: Ints,
    ids: pl.Series,
    amount: Floats,
) -> tuple[pl.DataFrame, Ints]:
    """The payments, made up to `last_second`, of orders given as arrays, and the place of each one's order."""
    size = len(customer)
    kind = np.where(channel == STORE, 1, np.where(channel == PHONE, 2, 0))
    method = draw_by_row(rng, np.array([_METHODS_ONLINE, _METHODS_STORE, _METHODS_PHONE]), kind)
    delay = np.where(method == _INVOICE, rng.integers(2, 20, size) * SECONDS_PER_DAY, rng.integers(20, 600, size))
    paid = second + np.where(kind == 1, 0, delay)
    kept = np.flatnonzero((status != CANCELLED) & (paid <= last_second))
    paid_ids = ids.gather(kept)
    frame = pl.DataFrame(
        {
            "payment_id": paid_ids.str.replace("O", "Y", literal=True),
            "order_id": paid_ids,
            "method": pick(_METHODS, method[kept]),
            "amount": amount[kept],
            "paid_at": moments(paid[kept]),
            "_customer": customer[kept],
        }
    )
    return frame, kept


def returns_frame(block: Block, orders: Orders) -> tuple[pl.DataFrame, Ints]:
    """The raw table `returns` and the place of each one's line in `orders`.

    Whole returned orders, and single lines of completed ones by persona.
    """
    rng = block.stream(Topic.RETURNS)
    size = len(orders.line_order)
    customer = orders.customer[orders.line_order]
    status = orders.status[orders.line_order]
    share = np.array([p.return_share for p in PERSONAS])[block.traits.persona[customer]]
    comes_back = (status == RETURNED) | ((status == COMPLETED) & (rng.random(size) < share))
    returned = orders.second[orders.line_order] + rng.integers(4 * SECONDS_PER_DAY, 24 * SECONDS_PER_DAY, size)
    part = 1 + np.floor(rng.random(size) * orders.line_quantity).astype(np.int64)
    quantity = np.where((status == RETURNED) | (rng.random(size) < 0.6), orders.line_quantity, part)
    reason = rng.integers(0, len(RETURN_REASONS), size)
    kept = np.flatnonzero(comes_back & (returned <= block.settings.last_second))
    ids = orders.line_ids.gather(kept)
    frame = pl.DataFrame(
        {
            "return_id": ids.str.replace("O", "T", literal=True),
            "order_item_id": ids,
            "returned_at": moments(returned[kept]),
            "quantity": np.minimum(quantity, orders.line_quantity)[kept],
            "reason": pick(RETURN_REASONS, reason[kept]),
            "_customer": customer[kept],
        }
    )
    return frame, kept


def events_frame(block: Block, market: Market, orders: Orders) -> pl.DataFrame:
    """The raw table `product_events`: looking and putting aside before buying online, and looking without buying."""
    rng = block.stream(Topic.EVENTS)
    settings, traits = block.settings, block.traits
    online = np.flatnonzero(orders.channel[orders.line_order] < STORE)
    customer = orders.customer[orders.line_order[online]]
    bought = orders.second[orders.line_order[online]]
    product = orders.line_product[online]
    steps: list[tuple[Ints, Ints, Ints, Ints]] = []
    for step, share, hours in ((_VIEW, 0.65, 48.0), (_CART, 0.3, 2.0), (_PURCHASE, 0.2, 0.0)):
        taken = rng.random(len(online)) < share
        ahead = (rng.exponential(1.0, len(online)) * hours * 3_600).astype(np.int64)
        second = np.maximum(bought - ahead, traits.signed_up[customer])
        steps.append((customer[taken], second[taken], product[taken], np.full(int(taken.sum()), step, dtype=np.int64)))

    looking = np.repeat(np.arange(len(block.ids)), rng.poisson(_BROWSING_PER_CUSTOMER, len(block.ids)))
    span = (traits.end_day - traits.start_day + 1)[looking]
    day = (traits.start_day[looking] + np.floor(rng.random(len(looking)) * span).astype(np.int64)).clip(
        0, HISTORY_DAYS - 1
    )
    second = settings.first_second + day * SECONDS_PER_DAY + rng.integers(6 * 3_600, 23 * 3_600, len(looking))
    second = np.maximum(second, traits.signed_up[looking])
    action = draw(rng, (0.66, 0.16, 0.08, 0.1), len(looking))
    seen = np.where(action == _SEARCH, -1, fresh_products(market, rng, traits, looking, day))
    steps.append((looking, second, seen, action))

    customer, second, product, action = (np.concatenate(parts) for parts in zip(*steps, strict=True))
    by_time = np.lexsort((action, product, second, customer))
    customer, second, product, action = (a[by_time] for a in (customer, second, product, action))
    size = len(customer)
    sequence = np.arange(size) - np.searchsorted(customer, np.arange(len(block.ids)))[customer]
    own = block.ids.str.replace("C", "E", literal=True) + "-"
    ordinals = numbered("", np.arange(1, (int(sequence.max()) if size else 0) + 2), 4)
    page = np.where(
        action == _SEARCH,
        1,
        np.where(action == _CART, 2, np.where(action == _PURCHASE, 5, rng.integers(0, 2, size) * 3)),
    )
    dwell = np.round(np.exp(rng.normal(3.3, 0.9, size)), 1).clip(1, 3_600)
    return pl.DataFrame(
        {
            "event_id": own.gather(customer) + ordinals.gather(sequence),
            "customer_id": block.ids.gather(customer),
            "product_id": pick(market.catalogue.product_ids, product),
            "occurred_at": moments(second),
            "action": pick(_ACTIONS, action),
            "page": pick(_PAGES, page),
            "click_source": pick(_SOURCES, draw(rng, (0.38, 0.26, 0.14, 0.12, 0.06, 0.04), size)),
            "dwell_seconds": null_where(pl.Series(dwell), rng.random(size) < 0.05),
            "_customer": customer,
        }
    )


def reviews_frame(block: Block, market: Market, orders: Orders) -> pl.DataFrame:
    """The raw table `reviews`: a few lines get one, some with words."""
    rng = block.stream(Topic.REVIEWS)
    size = len(orders.line_order)
    reviewed = orders.second[orders.line_order] + rng.integers(5 * SECONDS_PER_DAY, 60 * SECONDS_PER_DAY, size)
    is_written = (rng.random(size) < 0.045) & (orders.status[orders.line_order] == COMPLETED)
    kept = np.flatnonzero(is_written & (reviewed <= block.settings.last_second))
    rating = 1 + draw(rng, (0.06, 0.07, 0.13, 0.28, 0.46), len(kept))
    opening = _phrase(rng, REVIEW_OPENINGS, rating)
    detail = null_where(_phrase(rng, REVIEW_DETAILS, rating), rng.random(len(kept)) < 0.25)
    closing = pick(REVIEW_CLOSINGS, rng.integers(0, len(REVIEW_CLOSINGS), len(kept)))
    body = (opening + (" " + detail).fill_null("") + (" " + closing).fill_null("")).alias("body")
    customer = orders.customer[orders.line_order[kept]]
    return pl.DataFrame(
        {
            "review_id": orders.line_ids.gather(kept).str.replace("O", "V", literal=True),
            "customer_id": block.ids.gather(customer),
            "product_id": market.catalogue.product_ids.gather(orders.line_product[kept]),
            "rating": rating,
            "body": null_where(body, rng.random(len(kept)) < 0.3),
            "reviewed_at": moments(reviewed[kept]),
            "_customer": customer,
        }
    )


def _phrase(rng: np.random.Generator, phrases: dict[int, tuple[str, ...]], rating: Ints) -> pl.Series:
    """One phrase for each rating."""
    words = [word for stars in sorted(phrases) for word in phrases[stars]]
    counts = np.array([len(phrases[stars]) for stars in sorted(phrases)])
    begin = np.cumsum(counts) - counts
    return pick(words, begin[rating - 1] + np.floor(rng.random(len(rating)) * counts[rating - 1]).astype(np.int64))


def responses_frame(block: Block, market: Market, orders: Orders, reach: Reach) -> pl.DataFrame:
    """The raw table `campaign_responses`.

    Those a campaign moved opened, clicked and bought. Others open and click too, and some orders made anyway are
    counted as conversions: a shop's attribution overstates what its campaigns did.
    """
    rng = block.stream(Topic.RESPONSES)
    settings, campaigns = block.settings, market.campaigns
    shape = reach.is_treated.shape
    ends = settings.first_second + (campaigns.starts + campaigns.days) * SECONDS_PER_DAY
    bought = np.full(shape, -1, dtype=np.int64)  # the order that counts as conversion
    for number in range(shape[1]):
        inside = (orders.second >= reach.contacted[orders.customer, number]) & (orders.second < ends[number])
        claimed = np.flatnonzero(inside & (orders.campaign < 0) & reach.is_treated[orders.customer, number])
        claimed = claimed[rng.random(len(claimed)) < 0.35]
        bought[orders.customer[claimed], number] = claimed
        caused = np.flatnonzero(orders.campaign == number)
        bought[orders.customer[caused], number] = caused
    converts = bought >= 0
    clicks = converts | (reach.is_treated & (rng.random(shape) < 0.05))
    opens = clicks | (reach.is_treated & (rng.random(shape) < 0.24))
    leaves = reach.is_treated & (rng.random(shape) < 0.004)
    complains = reach.is_treated & (rng.random(shape) < 0.0005)
    after = rng.random((len(_KINDS), *shape))
    parts: list[tuple[Ints, Ints, Ints, Ints]] = []
    for kind, mask in enumerate((opens, clicks, converts, leaves, complains)):
        customer, campaign = np.nonzero(mask)
        begin = reach.contacted[customer, campaign]
        order = bought[customer, campaign]
        # Opening and clicking come before the order; without one, within three days.
        until = np.where(
            order >= 0, orders.second[order.clip(0)] if len(orders.second) else 0, begin + 3 * SECONDS_PER_DAY
        )
        place = after[kind, customer, campaign] * (0.5 if kind == 0 else 0.4) + (0.5 if kind else 0.0)
        second = begin + ((until - begin) * place).astype(np.int64)
        second = np.where(kind == _KINDS.index("conversion"), until, second)
        parts.append((customer, campaign, np.full(len(customer), kind), np.minimum(second, settings.last_second)))
    customer, campaign, kinds, second = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    by_customer = np.lexsort((kinds, campaign, customer))
    customer, campaign, kinds, second = (a[by_customer] for a in (customer, campaign, kinds, second))
    order = bought[customer, campaign]
    amount = orders.amount[order.clip(0)] if len(orders.amount) else np.zeros(len(order))
    own = block.ids.str.replace("C", "A", literal=True) + "-"
    return pl.DataFrame(
        {
            "response_id": own.gather(customer)
            + campaigns.frame["campaign_id"].gather(campaign)
            + pick(("-o", "-c", "-b", "-u", "-s"), kinds),
            "campaign_id": campaigns.frame["campaign_id"].gather(campaign),
            "customer_id": block.ids.gather(customer),
            "kind": pick(_KINDS, kinds),
            "occurred_at": moments(second),
            "amount": null_where(pl.Series(amount), kinds != _KINDS.index("conversion")),
            "_customer": customer,
        }
    )
