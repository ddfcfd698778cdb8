"""A small campaign for the tests of messages."""

from __future__ import annotations

import datetime as dt
from datetime import date, datetime
from functools import cache

from segmentation_assets.language.facts import Fact, FactBook, FactKind
from segmentation_assets.messaging.content import (
    CampaignContent,
    MessageUrls,
    ProductLine,
    Recipient,
    SenderIdentity,
    Variant,
)
from segmentation_assets.messaging.copywriter import Copy
from segmentation_assets.messaging.layout import PLAIN_BRAND, Brand, lay_out
from segmentation_assets.messaging.message import MessageBuilder

NOW = datetime(2026, 7, 1, 9, 30)
MESSAGE_ID = "<0f8fad5b-d9cb-469f-a165-70867728950e@shop.example>"
SENDER = SenderIdentity(
    shop_name="Grünspan & Co",
    from_name="Grünspan & Co",
    address="news@shop.example",
    reply_to="hello@shop.example",
    bounce_address="bounces@shop.example",
    postal_address="Grünspan & Co, 1 Example Street, 00000 Exampletown",
    public_url="https://mail.shop.example",
)
TOKEN = "AbCd0123456789_-" * 2 + "AbCd012345"  # as long as a real one
COPY = Copy(
    subject="First look: {{product1}}",
    preheader="For you, until {{valid_until|short}}.",
    opening="You know our shop well, so you get to see this early.",
    offer="{{discount}} off until {{valid_until}}.",
    closing="Just pick what you like.",
    call_to_action="Take a first look",
)
PRODUCTS = {
    "P1": ProductLine("P1", "Fire Bowl, sand", "€110.00", 1),
    "P2": ProductLine("P2", "Hand Mill", "€90.00", 2),
    "P7": ProductLine("P7", 'Salt & Pepper "mill"', "€12.00", 3),
    "P8": ProductLine("P8", "Stock Pot <large>", "€45.00", 4),
    "P9": ProductLine("P9", "Bad\r\nBcc: x@example.com [[first_name]] {{ x }} \u202e" + "long " * 40, "€1.00", 5),
    "P10": ProductLine("P10", "Parasol", "€30.00", 6),
}


def facts(*names: str) -> FactBook:
    """Two products, a discount and an end."""
    found = []
    for place, (name, price) in enumerate(
        zip(names or ("Fire Bowl, sand", "Hand Mill"), (110.0, 90.0), strict=True), start=1
    ):
        found += [
            Fact(f"product{place}", FactKind.NAME, name),
            Fact(f"price{place}", FactKind.MONEY, price),
        ]
    found += [Fact("discount", FactKind.SHARE, 0.15), Fact("valid_until", FactKind.DATE, date(2026, 7, 14))]
    return FactBook(tuple(found), "EUR")


def variant(copy: Copy = COPY, brand: Brand = PLAIN_BRAND, language: str = "en", name: str = "A") -> Variant:
    """A draft as approved."""
    laid = lay_out(copy, facts(), language, brand)
    return Variant(name, f"B1-{name}", laid.subject, laid.preheader, laid.body_text, laid.body_html,
                   laid.call_to_action)  # fmt: skip


def content(*variants: Variant, **changes: object) -> CampaignContent:
    """The campaign, with other variants or other fields."""
    given: dict[str, object] = {
        "campaign_id": "20260630-T3-loyal", "name": "Loyal", "language": "en", "sender": SENDER,
        "variants": variants or (variant(),),
        "links": tuple(f"https://shop.example/p/{number}" for number in range(7)),
        "products": PRODUCTS, "valid_until": dt.date(2026, 7, 14),
    }  # fmt: skip
    return CampaignContent(**{**given, **changes})  # type: ignore[arg-type]


def urls(base: str = "https://mail.shop.example") -> MessageUrls:
    """Addresses as the service would make them."""
    return MessageUrls(
        pixel=f"{base}/o/{TOKEN}.gif",
        links=tuple(f"{base}/c/{TOKEN[:-1]}{number}" for number in range(7)),
        unsubscribe=f"{base}/u/{TOKEN}",
    )


@cache
def _builder() -> MessageBuilder:
    return MessageBuilder(content(), "A")


def built(recipient: Recipient | None = None, **changes: object) -> bytes:
    """A message of the campaign, or of one with other fields."""
    builder = MessageBuilder(content(**changes), "A") if changes else _builder()  # type: ignore[arg-type]
    return builder.build(recipient or Recipient("anna@example.com", "Anna"), urls(), message_id=MESSAGE_ID, date=NOW)
