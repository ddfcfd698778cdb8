"""What a campaign says: the frozen content, its links and its sender.

What belongs here: the values that building, approving, sending and tracking messages share. What does not: storing
them (`state`), and building messages of them (`message`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

#: Link 0 of every campaign is the page of the offer. Links 1 to 6 are the products of the brief by their place (the
#: merge field `[[product_url_1]]` is link 1); those that only recipients' own products need follow.
OFFER_LINK = 0


@dataclass(frozen=True)
class Variant:
    """One subject arm as approved: facts written, merge fields open."""

    variant: str
    draft_id: str
    subject: str
    preheader: str
    body_text: str
    body_html: str
    call_to_action: str


@dataclass(frozen=True)
class ProductLine:
    """A product as a message may show it. `price` is written out with its currency; `link` is its link number."""

    product_id: str
    name: str
    price: str
    link: int


@dataclass(frozen=True)
class SenderIdentity:
    """Who writes, as readers see it; part of what is approved."""

    shop_name: str
    from_name: str
    address: str
    reply_to: str
    bounce_address: str
    postal_address: str
    public_url: str


@dataclass(frozen=True)
class CampaignContent:
    """Everything of a campaign that is the same for all its recipients.

    `links` are the absolute https targets by number (0 is the offer's page); `products` are those a message may name:
    the brief's and the recipients' own next best ones. `valid_until` is the last day of the offer.
    """

    campaign_id: str
    name: str
    language: str
    sender: SenderIdentity
    variants: tuple[Variant, ...]
    links: tuple[str, ...]
    products: Mapping[str, ProductLine] = field(default_factory=dict)
    valid_until: dt.date | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-able values; `from_json` turns them back."""
        told = asdict(self)
        told["valid_until"] = self.valid_until.isoformat() if self.valid_until else None
        return told

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> CampaignContent:
        """The content as it was stored. KeyError or TypeError where a field is missing."""
        return CampaignContent(
            campaign_id=told["campaign_id"],
            name=told["name"],
            language=told["language"],
            sender=SenderIdentity(**told["sender"]),
            variants=tuple(Variant(**row) for row in told["variants"]),
            links=tuple(told["links"]),
            products={key: ProductLine(**row) for key, row in told["products"].items()},
            valid_until=dt.date.fromisoformat(told["valid_until"]) if told["valid_until"] else None,
        )


@dataclass(frozen=True)
class MessageUrls:
    """The addresses of one message at the service: its pixel, its links by number, its page to unsubscribe.

    A message looks up only the links it shows: with a catalogue of many products, `links` may sign each on demand.
    """

    pixel: str
    links: Sequence[str]
    unsubscribe: str


@dataclass(frozen=True)
class Recipient:
    """Who a message is for. `address` is ASCII (domains in IDNA); `language` is an ISO 639-1 code, where known.

    `product_ids` are the recipient's own next best products, the best first.
    """

    address: str
    first_name: str | None = None
    language: str | None = None
    product_ids: tuple[str, ...] = ()
