"""Typed facts: the only way a figure or a name from the data enters a text.

What belongs here: the fact, the book of facts a text may use, the cleaning of names that come from the data, and
the floor under which a fact stays at home. What does not: how a value is written (`rendering`) and whether a text
keeps to its facts (`grounding`).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from enum import StrEnum

#: Fewest people a fact may be about when it leaves this machine (numerator and complement alike).
MINIMUM_CELL = 50

#: The subject of facts about the whole shop; texts about any segment may use them.
SHOP = "shop"


class FactKind(StrEnum):
    """What a value is, and therefore how it is written and which claims it can carry."""

    MONEY = "money"
    SHARE = "share"
    DAYS = "days"
    COUNT = "count"
    RANK = "rank"
    DELTA = "delta"
    NAME = "name"
    TEXT = "text"
    DATE = "date"


class DeltaUnit(StrEnum):
    """What a delta counts: a relative difference, percentage points, days, a number of things, or money."""

    RELATIVE = "relative"
    POINTS = "points"
    DAYS = "days"
    COUNT = "count"
    MONEY = "money"


FactValue = float | int | Decimal | str | date

_KEY = re.compile(r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$")
_WORDS = frozenset({FactKind.NAME, FactKind.TEXT})


class FactError(ValueError):
    """A fact that cannot be what it says it is."""


@dataclass(frozen=True)
class Fact:
    """One value with its kind, the subject it is about and the number of people behind it.

    `value` is a number for money, share (0.12 is twelve percent), days, count and delta (signed); the position
    (1 is first) for rank, out of `of`; text for name and text; a date for date. `customers` is how many people
    the figure describes, None when it is not about people. `unit` is the unit of a delta. `numerator` is how many of
    `customers` a count or a share of people counts, None where it counts no people. `stays`: never to be sent, because
    of what it would tell together with other facts.
    """

    key: str
    kind: FactKind
    value: FactValue
    subject: str = SHOP
    customers: int | None = None
    unit: DeltaUnit = DeltaUnit.RELATIVE
    of: int | None = None
    numerator: int | None = None
    stays: bool = False

    def __post_init__(self) -> None:
        """Refuse a value of another kind: FactError names the fact."""
        if not _KEY.match(self.key):
            raise FactError(f"Fact key {self.key!r}: use lower-case words joined by dots or underscores.")
        value = self.value
        if self.kind in _WORDS:
            good = isinstance(value, str) and bool(value.strip())
        elif self.kind is FactKind.DATE:
            good = isinstance(value, date)
        elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            good = math.isfinite(value)
            if self.kind is FactKind.RANK:
                good = self.of is not None and 1 <= value <= self.of
        else:
            good = False
        if not good:
            raise FactError(f"Fact {self.key}: {self.value!r} is no {self.kind.value}.")
        if self.numerator is not None and (self.customers is None or not 0 <= self.numerator <= self.customers):
            raise FactError(f"Fact {self.key}: it counts {self.numerator} of {self.customers} customers.")

    @property
    def number(self) -> float:
        """The value as a number; FactError for names, texts and dates."""
        if isinstance(self.value, str | date):
            raise FactError(f"Fact {self.key} is a {self.kind.value}, not a number.")
        return float(self.value)


@dataclass(frozen=True)
class FactBook:
    """The facts one text may use, by key, and the currency (ISO 4217) in which its money is written."""

    facts: tuple[Fact, ...] = ()
    currency: str = "EUR"
    _by_key: Mapping[str, Fact] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index by key; FactError when a key is given twice."""
        by_key: dict[str, Fact] = {}
        for fact in self.facts:
            if fact.key in by_key:
                raise FactError(f"Fact {fact.key} is given twice; a key means one value.")
            by_key[fact.key] = fact
        object.__setattr__(self, "_by_key", by_key)

    def __contains__(self, key: object) -> bool:
        """Whether the book has a fact of this key."""
        return key in self._by_key

    def __iter__(self) -> Iterator[Fact]:
        """The facts in the order given."""
        return iter(self.facts)

    def __len__(self) -> int:
        """How many facts there are."""
        return len(self.facts)

    def get(self, key: str) -> Fact | None:
        """The fact of this key, or None."""
        return self._by_key.get(key)

    def number(self, key: str, default: float = math.nan) -> float:
        """The number behind `key`; `default` when there is no such fact."""
        fact = self._by_key.get(key)
        return default if fact is None else fact.number

    def text(self, key: str, default: str = "") -> str:
        """The words behind `key`; `default` when there is no such fact."""
        fact = self._by_key.get(key)
        return default if fact is None else str(fact.value)

    def has(self, *keys: str) -> bool:
        """Whether all of `keys` are here."""
        return all(key in self._by_key for key in keys)

    def extended(self, facts: Iterable[Fact]) -> FactBook:
        """This book and further facts."""
        return FactBook((*self.facts, *facts), self.currency)

    def sendable(self, minimum_cell: int = MINIMUM_CELL, all_customers: int | None = None) -> FactBook:
        """The facts that may leave this machine, names made harmless once more.

        About people, each of these must be nobody or at least `minimum_cell`: the group, the numerator, the rest of
        the group, a difference of counts and, with `all_customers`, the customers outside the group, whom the
        difference to the shop's total would describe.
        """
        leaving = (_for_sending(fact) for fact in self.facts if _may_leave(fact, minimum_cell, all_customers))
        return FactBook(tuple(fact for fact in leaving if fact is not None), self.currency)


def is_few(people: int, minimum_cell: int) -> bool:
    """Whether a number of people is too small to be told: fewer than `minimum_cell` and not nobody."""
    return people != 0 and people < minimum_cell


def withheld_sizes(sizes: Sequence[int], minimum_cell: int = MINIMUM_CELL) -> bool:
    """Whether the `sizes` of groups that add up to a known total must all stay.

    The groups that are too small to be told could be had together as the total less the others; where they hold
    fewer than `minimum_cell` people together, that difference would describe them.
    """
    return is_few(sum(size for size in sizes if is_few(size, minimum_cell)), minimum_cell)


def _may_leave(fact: Fact, minimum_cell: int, all_customers: int | None) -> bool:
    if fact.stays:
        return False
    if fact.customers is None:
        return True
    people = [fact.customers]
    if fact.numerator is not None:
        people += [fact.numerator, fact.customers - fact.numerator]
    if fact.kind is FactKind.DELTA and fact.unit is DeltaUnit.COUNT:
        people.append(round(abs(fact.number)))
    if all_customers is not None:
        people.append(all_customers - fact.customers)
    return not any(is_few(number, minimum_cell) for number in people)


def _for_sending(fact: Fact) -> Fact | None:
    """The fact with its name made harmless, whoever made it; None when nothing of the name is left."""
    if fact.kind not in _WORDS:
        return fact
    name = clean_name(str(fact.value), longest=80 if fact.kind is FactKind.NAME else 300)
    return replace(fact, value=name) if name else None


_MARKUP = re.compile(r"[{}\[\]<>|`\\]+")
_URL = re.compile(
    r"(?i)\b(?:[a-z][a-z+.-]*://|www\.|(?:mailto|javascript|data):(?=\S))\S+|\b(?:[a-z0-9-]+\.)+[a-z]{2,}/\S*"
)
_ADDRESS = re.compile(r"\S*@\S*")


def clean_name(text: str | None, longest: int = 80) -> str:
    """A product, brand, category or segment name made harmless for text: one line, no markup, links or addresses.

    Returns an empty string when nothing is left. Longer names are cut at a word with an ellipsis.
    """
    if not text:
        return ""
    # NFC, not NFKC: "½" or "²" in a product's name is the shop's own spelling.
    plain = unicodedata.normalize("NFC", text)
    plain = "".join(" " if unicodedata.category(c) in {"Cc", "Cf", "Zl", "Zp", "Cs"} else c for c in plain)
    plain = _ADDRESS.sub(" ", _URL.sub(" ", _MARKUP.sub(" ", plain)))
    plain = " ".join(plain.split())
    if len(plain) > longest:
        plain = plain[: longest - 1].rsplit(" ", 1)[0].rstrip(" ,;:-") + "…"
    return plain
