"""What differs from one recipient to the next: names made safe, greetings, and their own products.

What belongs here: cleaning names, splitting a text at its merge fields once, and the pieces that fill it. What does
not: headers and bytes (`headers`, `message`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from markupsafe import escape

from segmentation_assets.messaging.content import MessageUrls, ProductLine
from segmentation_assets.messaging.merge_fields import MERGE_FIELD

#: Longest name shown, in characters.
LONGEST_NAME = 60
LONGEST_PRODUCT_NAME = 80
#: Most of the recipient's own products that are shown.
MOST_NEXT_PRODUCTS = 3
NEXT_HEADING = "Also for you"

#: The word of greeting by language (ISO 639-1), as one writes it before a first name.
GREETINGS: Mapping[str, str] = MappingProxyType(
    {
        "en": "Hello", "de": "Hallo", "fr": "Bonjour", "es": "Hola", "it": "Ciao", "pt": "Olá", "nl": "Hallo",
        "pl": "Cześć", "sv": "Hej", "da": "Hej", "nb": "Hei", "fi": "Hei", "cs": "Ahoj", "tr": "Merhaba",
        "ro": "Bună", "uk": "Вітаємо", "el": "Γεια σας",
    }
)  # fmt: skip

#: Joiners that some scripts cannot be written without.
_KEPT = frozenset("\u200c\u200d")
_BRACKETS = str.maketrans("", "", "[]{}")
#: What mail programs would turn into a link, and what no name holds.
_LINK_LIKE = re.compile(r"://|@|(?i:\bwww\.)|\w\.\w{2,}")
_PERCENTS = re.compile(r"%{2,}|\$(?=\{)")


def clean_text(text: str, longest: int) -> str:
    """`text` in one line: NFC, without control, direction and private characters and without brackets of templates.

    Cut at `longest` characters, never between a letter and its accent.
    """
    if text.isalpha() and len(text) <= longest:
        return unicodedata.normalize("NFC", text)
    kept = "".join(
        character if character in _KEPT or unicodedata.category(character)[0] != "C" else " "
        for character in text[: 8 * longest]
    )
    kept = _PERCENTS.sub("%", unicodedata.normalize("NFC", kept.translate(_BRACKETS)))
    kept = " ".join(kept.split())
    if len(kept) <= longest:
        return kept
    end = longest
    while end > 0 and (unicodedata.combining(kept[end]) or kept[end] in _KEPT or kept[end - 1] in _KEPT):
        end -= 1
    return kept[:end].rstrip()


def clean_name(name: str | None) -> str:
    """A first name as it may be shown; empty when there is none: no letter, or something that reads as a link."""
    if not name:
        return ""
    if name.isalpha() and len(name) <= LONGEST_NAME:
        return unicodedata.normalize("NFC", name)
    cleaned = clean_text(name, LONGEST_NAME)
    if _LINK_LIKE.search(cleaned) or not any(character.isalpha() for character in cleaned):
        return ""
    return cleaned


def escaped(text: str) -> str:
    """`text` as it stands in HTML, in a text or in a quoted attribute."""
    return str(escape(text))


def greeting_word(language: str | None) -> str:
    """The word of greeting of `language` (`de` or `de-AT`); empty where it is not known."""
    return GREETINGS.get(language[:2].lower(), "") if language and language[2:3] in {"", "-", "_"} else ""


@dataclass(frozen=True)
class Slots:
    """A text split at its merge fields: `parts` with gaps, `fields` (place in parts, name, fallback)."""

    parts: tuple[str, ...]
    fields: tuple[tuple[int, str, str], ...]

    @property
    def names(self) -> frozenset[str]:
        """The fields that are open."""
        return frozenset(name for _, name, _ in self.fields)

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with `values` by field in the gaps; the fallback where a value is empty.

        A value is never read for merge fields of its own. KeyError for a field without a value.
        """
        parts = list(self.parts)
        for place, name, fallback in self.fields:
            parts[place] = values[name] or fallback
        return "".join(parts)


def split_at_fields(text: str, constants: Mapping[str, str]) -> Slots:
    """`text` split at its merge fields; `constants` are filled in at once."""
    parts: list[str] = []
    fields: list[tuple[int, str, str]] = []
    grown: list[str] = []
    end = 0
    for match in MERGE_FIELD.finditer(text):
        grown.append(text[end : match.start()])
        end = match.end()
        name, fallback = match[1], match[2] or ""
        if name in constants:
            grown.append(constants[name])
            continue
        parts.append("".join(grown))
        grown = []
        fields.append((len(parts), name, fallback))
        parts.append("")
    grown.append(text[end:])
    parts.append("".join(grown))
    return Slots(tuple(parts), tuple(fields))


class NextProducts:
    """The block of a recipient's own next best products, as lines of text and as HTML."""

    def __init__(self, products: Mapping[str, ProductLine], shown_links: Iterable[int] = ()) -> None:
        """`products` are those a message may name by id; those of `shown_links` stand in the message already."""
        shown = frozenset(shown_links)
        self._lines: dict[str, tuple[int, str, str, str]] = {}
        for product_id, product in products.items():
            name = clean_text(product.name, LONGEST_PRODUCT_NAME)
            if product.link in shown or not name:
                continue
            price = clean_text(product.price, LONGEST_PRODUCT_NAME)
            line = f"- {name}: {price}" if price else f"- {name}"
            self._lines[product_id] = (product.link, line, escaped(name), escaped(price))

    @property
    def links(self) -> frozenset[int]:
        """The numbers of the links that a block may need."""
        return frozenset(link for link, *_ in self._lines.values())

    def blocks(self, product_ids: tuple[str, ...], urls: MessageUrls) -> tuple[str, str]:
        """The block as text and as HTML; both empty where none of `product_ids` may be shown."""
        chosen = [self._lines[product_id] for product_id in dict.fromkeys(product_ids) if product_id in self._lines]
        if not chosen:
            return "", ""
        lines = ["", f"{NEXT_HEADING}:"]
        rows = []
        for link, line, name, price in chosen[:MOST_NEXT_PRODUCTS]:
            lines += [line, f"  {urls.links[link]}"]
            rows.append(_ROW.format(url=escaped(urls.links[link]), name=name, price=price))
        return "\n".join([*lines, ""]), _BLOCK.format(heading=NEXT_HEADING, rows="".join(rows))


_BLOCK = (
    '<p class="ink" style="margin:26px 0 8px;font-size:16px;line-height:22px;font-weight:600;color:#1f2933;">'
    '{heading}</p>\n<table role="presentation" style="width:100%;border-collapse:collapse;"><tbody>\n{rows}</tbody>'
    "</table>"
)
_ROW = (
    '<tr>\n<td class="ink line" style="padding:12px 0;border-top:1px solid #dfe3e0;font-size:16px;line-height:22px;'
    'color:#1f2933;"><a class="ink" href="{url}" style="color:#1f2933;text-decoration:underline;">{name}</a></td>\n'
    '<td class="ink line" style="padding:12px 0 12px 16px;border-top:1px solid #dfe3e0;font-size:16px;line-height:22px;'
    'text-align:right;white-space:nowrap;color:#1f2933;">{price}</td>\n</tr>\n'
)
