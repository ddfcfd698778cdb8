"""Writing the values of facts into a text: units, precision, currency and direction words.

What belongs here: the syntax `{{key}}` and `{{key|form}}` and how each kind of value is written. What does not:
judging the text around the placeholders (`grounding`).

A form says in which words a delta or a rank is written, so that direction is by reference too:
`{{spend.delta|above}}` becomes "38% above" or "38% below" by the fact's own sign, and
`{{spend.rank|highest}}` becomes "highest of 6", "2nd highest of 6" or "lowest of 6".
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

from segmentation_assets.language.facts import DeltaUnit, Fact, FactBook, FactKind

#: Possessive, because a model may send a flood of spaces, and a pattern that tries all ways to share them never ends.
PLACEHOLDER = re.compile(r"\{\{\s*+([^{}|\s]*+)\s*+(?:\|\s*+([^{}|\s]*+)\s*+)?+\}\}")

_SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥", "INR": "₹", "KRW": "₩", "BRL": "R$"}
_NO_CENTS = frozenset({"JPY", "KRW", "VND", "CLP", "ISK", "HUF"})

#: Words for a positive and a negative delta, by form.
DELTA_FORMS: dict[str, tuple[str, str]] = {
    "more": ("{} more", "{} less"),
    "fewer": ("{} more", "{} fewer"),
    "above": ("{} above", "{} below"),
    "higher": ("{} higher", "{} lower"),
    "longer": ("{} longer", "{} shorter"),
    "later": ("{} later", "{} sooner"),
    "up": ("up {}", "down {}"),
    "grew": ("grew by {}", "shrank by {}"),
    "size": ("{}", "{}"),
}

#: The word at rank 1 and the word at the last rank, by form.
RANK_FORMS: dict[str, tuple[str, str]] = {
    "highest": ("highest", "lowest"),
    "largest": ("largest", "smallest"),
    "most": ("most", "least"),
    "longest": ("longest", "shortest"),
}

_PLAIN_FORMS: dict[FactKind, frozenset[str]] = {
    FactKind.MONEY: frozenset({"exact"}),
    FactKind.DATE: frozenset({"short"}),
    FactKind.NAME: frozenset({"lower"}),
    FactKind.COUNT: frozenset({"times"}),
}


class UnknownFactError(KeyError):
    """A template names a fact or a form that does not exist."""


def forms_of(kind: FactKind) -> frozenset[str]:
    """The forms that a placeholder for a fact of this kind may ask for."""
    if kind is FactKind.DELTA:
        return frozenset(DELTA_FORMS)
    if kind is FactKind.RANK:
        return frozenset(RANK_FORMS)
    return _PLAIN_FORMS.get(kind, frozenset())


def money(value: float, currency: str, exact: bool = False) -> str:
    """`value` in `currency`: cents below 1,000 or when `exact`; the ISO code where there is no common symbol."""
    cents = 0 if currency in _NO_CENTS or (abs(value) >= 1000 and not exact) else 2
    sign, digits = ("-" if value < 0 else ""), f"{abs(value):,.{cents}f}"
    symbol = _SYMBOLS.get(currency)
    return f"{sign}{symbol}{digits}" if symbol else f"{sign}{currency} {digits}"


def share(value: float) -> str:
    """A share as percent: one decimal below ten percent, and never "0.0%" for something that is not zero."""
    percent = value * 100
    if 0 < abs(percent) < 0.1:
        return "under 0.1%"
    if abs(percent) >= 9.95 or round(percent, 1) == round(percent):
        return f"{percent:,.0f}%"
    return f"{percent:,.1f}%"


def count(value: float) -> str:
    """A count with thousands separators; a median of 2.5 keeps its half."""
    rounded = round(value, 1)
    return f"{rounded:,.0f}" if rounded == round(rounded) or abs(rounded) >= 100 else f"{rounded:,.1f}"


def days(value: float) -> str:
    """Whole days in words."""
    whole = round(value)
    return f"{whole:,} day" if abs(whole) == 1 else f"{whole:,} days"


def ordinal(value: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th."""
    ending = "th" if value % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return f"{value}{ending}"


def day(value: date, short: bool = False) -> str:
    """A date as people write it: 14 July 2024, or 14 July."""
    written = f"{value.day} {calendar.month_name[value.month]}"
    return written if short else f"{written} {value.year}"


def _points(value: float) -> str:
    points = round(value * 100, 1)
    written = f"{points:,.0f}" if points == round(points) else f"{points:,.1f}"
    return f"{written} percentage point{'' if points == 1 else 's'}"


_DELTA_SIZES: dict[DeltaUnit, Callable[[float], str]] = {
    DeltaUnit.RELATIVE: share,
    DeltaUnit.POINTS: _points,
    DeltaUnit.DAYS: days,
    DeltaUnit.COUNT: count,
}


def _delta(fact: Fact, form: str | None, currency: str) -> str:
    size = abs(fact.number)
    written = money(size, currency) if fact.unit is DeltaUnit.MONEY else _DELTA_SIZES[fact.unit](size)
    if form is None:
        return f"{'-' if fact.number < 0 else '+'}{written}"
    more, less = DELTA_FORMS[form]
    return (less if fact.number < 0 else more).format(written)


_TIMES: Mapping[float, str] = {1: "once", 2: "twice"}


def _rank(fact: Fact, form: str | None) -> str:
    position, of = int(fact.number), int(fact.of or 1)
    if form is None:
        return f"{ordinal(position)} of {of}"
    first, last = RANK_FORMS[form]
    if position == 1:
        return f"{first} of {of}"
    return f"{last} of {of}" if position == of else f"{ordinal(position)} {first} of {of}"


def render_fact(fact: Fact, currency: str, form: str | None = None) -> str:
    """The value of one fact as text. UnknownFactError when its kind has no such form."""
    form = form or None
    if form is not None and form not in forms_of(fact.kind):
        raise UnknownFactError(f"Fact {fact.key} is a {fact.kind.value}; it has no form {form!r}.")
    match fact.kind:
        case FactKind.MONEY:
            return money(fact.number, currency, exact=form == "exact")
        case FactKind.SHARE:
            return share(fact.number)
        case FactKind.DAYS:
            return days(fact.number)
        case FactKind.COUNT if form == "times":
            return _TIMES.get(fact.number) or f"{count(fact.number)} times"
        case FactKind.COUNT:
            return count(fact.number)
        case FactKind.RANK:
            return _rank(fact, form)
        case FactKind.DELTA:
            return _delta(fact, form, currency)
        case FactKind.DATE:
            return day(fact.value, short=form == "short") if isinstance(fact.value, date) else str(fact.value)
        case FactKind.NAME if form == "lower":
            return str(fact.value).lower()
        case _:
            return str(fact.value)


def render(text: str, facts: FactBook, currency: str | None = None) -> str:
    """`text` with every `{{key}}` replaced by its fact. UnknownFactError when a key or a form does not exist."""

    def fill(found: re.Match[str]) -> str:
        fact = facts.get(found[1])
        if fact is None:
            raise UnknownFactError(f"The text names the fact {found[1]!r}, and there is none of that key.")
        return render_fact(fact, currency or facts.currency, found[2])

    return PLACEHOLDER.sub(fill, text)


def every_rendering(facts: FactBook) -> list[str]:
    """Every way in which the facts can stand in a rendered text, longest first."""
    written = {
        render_fact(fact, facts.currency, form) for fact in facts for form in (None, *sorted(forms_of(fact.kind)))
    }
    return sorted(written, key=lambda words: (-len(words), words))


@dataclass(frozen=True)
class Span:
    """A stretch of a rendered text that is the rendering of one or more facts, as (fact, form)."""

    start: int
    end: int
    candidates: tuple[tuple[Fact, str | None], ...]


def renderings_of(facts: FactBook) -> dict[str, tuple[tuple[Fact, str | None], ...]]:
    """Every rendering and the facts and forms that are written so, plain forms first, in the order of the book."""
    written: dict[str, list[tuple[Fact, str | None]]] = {}
    for fact in facts:
        seen = set()
        for form in (None, *sorted(forms_of(fact.kind))):
            words = render_fact(fact, facts.currency, form)
            # A delta keeps each of its forms: "size" says no direction, where another form with the same words does.
            if words not in seen:
                written.setdefault(words, []).append((fact, form))
                seen.add(words)
    return {words: tuple(pairs) for words, pairs in written.items()}


_BOUGHT = re.compile(r"(?i)\b(?:ordered|bought|purchased|shopped|placed an order)(?: only| just)? $")

#: "Makes up 29%" holds the share 29% and no "up 29%".
_VERB_UP = re.compile(r"(?i)\b(?:mak(?:es?|ing)|made|adds?|adding|sums?|tak(?:es?|ing)|brings?|comes?|ends?) $")


def find_renderings(text: str, facts: FactBook) -> list[Span]:
    """Where facts stand in a rendered text: longest renderings first, never overlapping, in the order of the text.

    A rendering counts with its first letter in upper case too (the start of a sentence), and not inside a longer
    word or figure: the count 412 does not stand in "3,412" nor in "412%". "Once" counts after a verb of buying only.
    """
    spans: list[Span] = []
    taken = bytearray(len(text))
    written = renderings_of(facts)
    for words in sorted(written, key=lambda words: (-len(words), words)):
        if not any(letter.isalnum() for letter in words):
            continue
        for spelling in dict.fromkeys((words, words[:1].upper() + words[1:])):
            start = text.find(spelling)
            while start >= 0:
                end = start + len(spelling)
                is_free = not any(taken[start:end]) and _stands_alone(text, start, end)
                if words == "once":
                    is_free = is_free and _BOUGHT.search(text[:start]) is not None
                elif words.startswith(("up ", "down ")):
                    is_free = is_free and _VERB_UP.search(text[:start]) is None
                if is_free:
                    spans.append(Span(start, end, written[words]))
                    taken[start:end] = b"\x01" * (end - start)
                start = text.find(spelling, start + 1)
    return sorted(spans, key=lambda span: span.start)


def _stands_alone(text: str, start: int, end: int) -> bool:
    before, after = text[:start][-2:], text[end : end + 2]
    if _is_word(text[start]) and before and _is_word(before[-1]):
        return False
    if _is_word(text[end - 1]) and after and _is_word(after[0]):
        return False
    if text[start].isdigit() and re.search(r"\d[.,:/-]$|[€$£¥₹₩+]$|(?<![\w ])-$", before):
        return False
    return not (text[end - 1].isdigit() and re.match(r"[.,:/-]\d|%| %", after))


def _is_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"
