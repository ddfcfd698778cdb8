"""Merge fields: what may be filled in per recipient, in the syntax `[[name]]` or `[[name|fallback]]`.

What belongs here: the allow-list and the syntax, which cannot be mistaken for a fact's `{{key}}`. What does not:
filling them in, which happens when a message is built for a person.
"""

from __future__ import annotations

import re

#: Products that a layout may link: `[[product_url_1]]` to `[[product_url_6]]`, by their place in the brief.
PRODUCT_PLACES = 6
PRODUCT_URLS: tuple[str, ...] = tuple(f"product_url_{place}" for place in range(1, PRODUCT_PLACES + 1))

#: Every merge field a draft may hold, and what stands there later.
MERGE_FIELDS: dict[str, str] = {
    "first_name": "the recipient's first name; always with a fallback",
    "greeting": "the word of greeting in the recipient's language; always with a fallback",
    "shop_name": "the name of the shop",
    "campaign_url": "the page of the offer",
    **{name: f"the page of product {place} of the brief" for place, name in enumerate(PRODUCT_URLS, start=1)},
    "next_products": "the recipient's own next best products; nothing where there are none",
    "pixel_url": "the picture that tells that the message was opened; in HTML only",
    "unsubscribe_url": "the recipient's own page to unsubscribe",
    "postal_address": "the postal address of the shop",
}

#: Fields that may be empty for a recipient and therefore need a fallback, with the one that is shown as an example.
NEEDS_FALLBACK: dict[str, str] = {"first_name": "there", "greeting": "Hello"}

#: Fields that are links, and so must stand in both parts of a message.
LINKS = frozenset({"campaign_url", "unsubscribe_url", *PRODUCT_URLS})

#: Fields that may stand in a line of its own: subject, preheader and the words on the button.
IN_ONE_LINE = frozenset({"first_name", "shop_name"})

MERGE_FIELD = re.compile(r"\[\[\s*([^\[\]|]*?)\s*(?:\|([^\[\]|]*))?\]\]")


def merge_fields(text: str) -> list[tuple[str, str | None]]:
    """Name and fallback of every merge field in `text`, in order."""
    return [(match[1], match[2]) for match in MERGE_FIELD.finditer(text)]
