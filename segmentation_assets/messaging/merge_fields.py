"""Merge fields: what may be filled in per recipient, in the syntax `[[name]]` or `[[name|fallback]]`.

What belongs here: the allow-list and the syntax, which cannot be mistaken for a fact's `{{key}}`. What does not:
filling them in, which happens when a message is built for a person.
"""

from __future__ import annotations

import re

#: Every merge field a draft may hold, and what stands there later.
MERGE_FIELDS: dict[str, str] = {
    "first_name": "the recipient's first name; always with a fallback",
    "shop_name": "the name of the shop",
    "campaign_url": "the page of the offer",
    "unsubscribe_url": "the recipient's own page to unsubscribe",
    "postal_address": "the postal address of the shop",
}

#: Fields that may be empty for a recipient and therefore need a fallback.
NEEDS_FALLBACK = frozenset({"first_name"})

#: Fields that are links.
LINKS = frozenset({"campaign_url", "unsubscribe_url"})

MERGE_FIELD = re.compile(r"\[\[\s*([^\[\]|]*?)\s*(?:\|([^\[\]|]*))?\]\]")


def merge_fields(text: str) -> list[tuple[str, str | None]]:
    """Name and fallback of every merge field in `text`, in order."""
    return [(match[1], match[2]) for match in MERGE_FIELD.finditer(text)]
