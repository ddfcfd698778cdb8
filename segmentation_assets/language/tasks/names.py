"""Names for the new segments of an axis, all in one answer so that they differ from each other.

What belongs here: what a namer is told of a segment, and what a name must hold to. What does not: the names of the
rule (`segmentation.naming`), which stand wherever no model names a segment. A segment that lives on keeps its name and
is not asked about; one under the minimum cell keeps the rule's name too: whoever calls leaves it out
(`gather_naming_facts` does).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from pydantic import create_model

from segmentation_assets.language.answers import Answer
from segmentation_assets.language.facts import MINIMUM_CELL, DeltaUnit, Fact, FactBook, FactKind, clean_name
from segmentation_assets.language.grounding import Finding, mentions_of_people, ungrounded
from segmentation_assets.language.prompt_files import load_prompt
from segmentation_assets.language.segment_facts import is_sensitive
from segmentation_assets.language.task import ChoicesBlock, FactsBlock, NotesBlock, Task
from segmentation_assets.language.tasks.profile import EXAMPLE

SHORTEST_NAME, LONGEST_NAME = 3, 40
#: Names in use that are sent along; the check knows all of them.
_TAKEN_SENT = 30
_FEATURES_SENT = 6


@dataclass(frozen=True)
class NamingFacts:
    """A segment that needs a name: its size, what sets it apart, and the rule's name, which stands where none is given.

    NAME facts of the book are the goods that a name may mention.
    """

    segment_id: str
    customers: int
    book: FactBook
    fallback: str


class SegmentName(Answer):
    """The name of one segment."""

    segment_id: str
    name: str


class NamesAnswer(Answer):
    """One name for each segment asked about."""

    names: list[SegmentName]


#: feature -> key, kind, unit of its difference; any other number is compared by its relation to the shop's.
_FEATURES: dict[str, tuple[str, FactKind, DeltaUnit]] = {
    "recency_days": ("recency", FactKind.DAYS, DeltaUnit.DAYS),
    "order_count": ("orders", FactKind.COUNT, DeltaUnit.RELATIVE),
    "monetary_amount": ("spend", FactKind.MONEY, DeltaUnit.RELATIVE),
    "average_order_amount": ("basket", FactKind.MONEY, DeltaUnit.RELATIVE),
    "tenure_days": ("tenure", FactKind.DAYS, DeltaUnit.DAYS),
    "days_between_orders": ("pause", FactKind.DAYS, DeltaUnit.DAYS),
}


def gather_naming_facts(
    axis: str,
    facts: pl.DataFrame,
    names: Mapping[str, str],
    *,
    labels: Mapping[str, str] | None = None,
    currency: str = "EUR",
    minimum_cell: int = MINIMUM_CELL,
    sensitive_categories: Sequence[str] = (),
) -> list[NamingFacts]:
    """What sets each segment of `names` (id -> the rule's name) apart, in that order; small segments are left out.

    `facts` is as of `segmentation.facts.segment_facts`: axis, segment_id, fact, value, overall. `labels`: the words
    for a column whose name is no word for readers. Sensitive and protected values are no facts.
    """
    found = []
    for segment_id, name in names.items():
        rows = {
            row["fact"]: (row["value"], row["overall"])
            for row in facts.filter(pl.col("segment_id") == segment_id).to_dicts()
        }
        customers = int(rows.get("customers", (0, 0))[0])
        if customers < minimum_cell:
            continue
        subject = f"{axis} {segment_id}"
        kept = {"customers": Fact("customers", FactKind.COUNT, customers, subject=subject, customers=customers)}
        for key, kind, value, unit in [
            *_goods(rows, labels or {}, sensitive_categories),
            *_differences(rows, labels or {}),
        ]:
            # Two columns of a source may come to one key: the one that differs more is told.
            kept.setdefault(key, Fact(key, kind, value, subject=subject, customers=customers, unit=unit))
        found.append(NamingFacts(segment_id, customers, FactBook(tuple(kept.values()), currency), name))
    return found


_Loose = tuple[str, FactKind, float | str, DeltaUnit]


def _goods(
    rows: Mapping[str, tuple[float | None, float | None]], labels: Mapping[str, str], sensitive: Sequence[str]
) -> list[_Loose]:
    """Up to three values bought in another measure than the shop's, the largest gap first."""
    more = []
    for fact, (value, overall) in rows.items():
        if not fact.startswith("share_of_lines ") or value is None or overall is None:
            continue
        item = fact.removeprefix("share_of_lines ").split("=", 1)[-1]
        name = clean_name(labels.get(item, item))
        if name and not name.startswith("(") and value > overall and not is_sensitive(name, sensitive):
            more.append((value - overall, name, value))
    more.sort(key=lambda one: (-round(one[0], 6), one[1]))
    facts: list[_Loose] = []
    for place, (gap, name, value) in enumerate(more[:3], start=1):
        facts += [
            (f"category{place}", FactKind.NAME, name, DeltaUnit.RELATIVE),
            (f"category{place}_share", FactKind.SHARE, value, DeltaUnit.RELATIVE),
            (f"category{place}_gap", FactKind.DELTA, gap, DeltaUnit.POINTS),
        ]
    return facts


def _differences(rows: Mapping[str, tuple[float | None, float | None]], labels: Mapping[str, str]) -> list[_Loose]:
    """The features whose median (mean for shares) is furthest from the shop's, with the difference."""
    gaps: list[tuple[float, str, FactKind, float, float, DeltaUnit]] = []
    for fact, (value, overall) in rows.items():
        statistic, _, feature = fact.partition("_")
        is_share = feature.endswith("_share")
        if statistic != ("mean" if is_share else "median") or value is None or overall is None:
            continue
        if not (math.isfinite(value) and math.isfinite(overall)) or abs(overall) < 1e-6:
            continue
        if is_share:
            key, kind, unit = feature.removesuffix("_share"), FactKind.SHARE, DeltaUnit.POINTS
        else:
            key, kind, unit = _FEATURES.get(feature, (_key(labels.get(feature, feature)), FactKind.COUNT, _RELATIVE))
        relative = value / overall - 1
        gap = relative if unit is _RELATIVE else value - overall
        if key and abs(relative) >= 0.1:
            gaps.append((abs(relative), key, kind, value, gap, unit))
    gaps.sort(key=lambda one: (-round(one[0], 6), one[1]))
    facts: list[_Loose] = []
    for _, key, kind, value, gap, unit in gaps[:_FEATURES_SENT]:
        facts += [(key, kind, value, unit), (f"{key}_gap", FactKind.DELTA, gap, unit)]
    return facts


_RELATIVE = DeltaUnit.RELATIVE


def _key(label: str) -> str:
    """A column of the source's own as the key of a fact; empty where no key can be made of it."""
    key = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
    return key if key[:1].isalpha() and key not in {"customers"} and not key.startswith("category") else ""


def names_task(
    axis_title: str,
    segments: Sequence[NamingFacts],
    taken: Collection[str],
    reserved: Collection[str],
    *,
    vocabulary: Collection[str] = (),
) -> Task[NamesAnswer]:
    """Ask for a name for each of `segments`.

    `taken`: names in use anywhere (the other axis, segments that live on or ended). `reserved`: names that mean
    something else, such as those of the RFM groups. `vocabulary`: further names of goods in the shop, which no segment
    may be called by unless it is one of its own. The rule's name of a segment is always accepted for it. ValueError
    when there is no segment, an id is given twice, or the rule's names are not free and different.
    """
    if not segments:
        raise ValueError(f"{axis_title}: no segment needs a name.")
    by_id = {segment.segment_id: segment for segment in segments}
    used = {name.casefold(): "is taken by another segment" for name in taken}
    used |= {name.casefold(): "is reserved" for name in reserved}
    fallbacks = [segment.fallback.casefold() for segment in segments]
    if len(by_id) != len(segments) or len(set(fallbacks)) != len(segments) or used.keys() & set(fallbacks):
        raise ValueError(
            f"{axis_title}: ids and the rule's names must be free and given once; look at what was handed in."
        )
    goods = _stems([*(_names(segment.book) for segment in segments), tuple(vocabulary), _COMMON_GOODS])
    prompt = load_prompt("names")
    example = prompt.user.partition(EXAMPLE)[2].casefold()
    one_of: Any = Literal[tuple(by_id)]
    name_type = create_model("SegmentName", __base__=SegmentName, segment_id=(one_of, ...))
    names_type: Any = list[name_type]
    answer_type = create_model("NamesAnswer", __base__=NamesAnswer, names=(names_type, ...))

    def check(answer: NamesAnswer) -> list[Finding]:
        found = _wrong_ids([item.segment_id for item in answer.names], list(by_id))
        repeated = Counter(_folded(item.name) for item in answer.names)
        for item in answer.names:
            segment = by_id.get(item.segment_id)
            if segment is None:
                continue
            where = f"name of {item.segment_id}"
            folded = _folded(item.name)
            if repeated[folded] > 1:
                found.append(Finding("name_twice", f"{where}: {item.name[:60]!r} is given twice; names must differ."))
            if folded in used:
                found.append(Finding("name_taken", f"{where}: {item.name[:60]!r} {used[folded]}; find another."))
            if f'"{folded}"' in example and item.name != segment.fallback:
                found.append(Finding("copied_example", f"{where}: {item.name[:60]!r} is the example's; find another."))
            # The rule's own name may be a category's in the shop's spelling ("Books 2 Go"), and it stands as it is.
            if item.name != segment.fallback:
                found += [
                    Finding(finding.rule, f"{where}: {finding.detail}")
                    for finding in _wrong_words(item.name, segment.book, goods)
                ]
        return list(dict.fromkeys(found))

    in_use = [clean_name(name, LONGEST_NAME) for name in taken]
    sent = tuple(
        Fact(f"taken{place}", FactKind.NAME, name)
        for place, name in enumerate(sorted({name for name in in_use if name})[:_TAKEN_SENT], start=1)
    )
    return Task(
        name="names",
        item=axis_title,
        prompt=prompt,
        blocks=(
            ChoicesBlock("Segments to name", {segment.segment_id: segment.book for segment in segments}),
            FactsBlock("Names in use, not to be given again", FactBook(sent)),
            NotesBlock("Names that mean something else, not to be given", tuple(sorted(reserved))),
        ),
        answer_type=answer_type,
        check=check,
        fallback=lambda: answer_type(
            names=[name_type(segment_id=segment.segment_id, name=segment.fallback) for segment in segments]
        ),
        # The smallest decides: were one of them under the minimum cell, nothing would be sent.
        customers=min(segment.customers for segment in segments),
        output_tokens=80 + 40 * len(segments),
    )


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()


def _wrong_ids(given: Sequence[str], asked: Sequence[str]) -> list[Finding]:
    found = []
    if missing := [segment_id for segment_id in asked if segment_id not in given]:
        found.append(Finding("missing_name", f"names: there is none for {', '.join(missing)}."))
    if unknown := sorted({segment_id for segment_id in given if segment_id not in asked}):
        found.append(Finding("unknown_segment", f"names: {', '.join(unknown)[:80]} was not asked for."))
    if twice := [segment_id for segment_id in asked if given.count(segment_id) > 1]:
        found.append(Finding("segment_twice", f"names: {', '.join(twice)} is named twice; give one name each."))
    return found


_NOT_WORDS = re.compile(r"[^\w &\-'’,·]|_")
_SUPERLATIVES = re.compile(
    r"(?i)(?<!\w)(?:best|top|most|least|greatest|biggest|largest|smallest|highest|lowest|finest|richest|poorest|keenest|"
    r"newest|oldest|loyalest|dearest|cheapest|happiest|busiest|number one|premier|ultimate)(?!\w)"
)


def _wrong_words(name: str, book: FactBook, goods: frozenset[str]) -> list[Finding]:
    found = []
    if not SHORTEST_NAME <= len(name) <= LONGEST_NAME:
        found.append(Finding("length", f"{len(name)} characters; a name has {SHORTEST_NAME} to {LONGEST_NAME}."))
    if strange := sorted(set(_NOT_WORDS.findall(name))):
        found.append(
            Finding(
                "not_words", f"{''.join(strange)[:20]!r} is no part of a name: use words, spaces and & - ' , · only."
            )
        )
    # A name has no facts to lean on, so figures, directions and ranks are findings whatever the segment's facts say.
    found += [finding for finding in ungrounded(name, FactBook()) if finding not in mentions_of_people(name)]
    found += mentions_of_people(name)
    found += [
        Finding("superlative", f"{hit!r}: a name outlives the ranking it was true of.")
        for hit in dict.fromkeys(_SUPERLATIVES.findall(name))
    ]
    own = _stems([_names(book)])
    for word in _words_of(name):
        if _is_named(word, goods) and not _is_named(word, own):
            known = ", ".join(_names(book)) or "none"
            found.append(
                Finding("not_their_goods", f"{word!r} is not what sets these customers apart (their goods: {known}).")
            )
    return found


#: Goods that people buy, and that a namer thinks of: a segment is called by them only when they are its own.
_COMMON_GOODS = (
    "lamps", "lighting",
    "coffee", "tea", "wine", "beer", "spirits", "whisky", "chocolate", "sweets", "candy", "snacks", "food", "gourmet",
    "bread", "cheese", "fruit", "vegetables", "meat", "fish", "books", "games", "toys", "music", "films", "movies",
    "electronics", "gadgets", "phones", "computers", "cameras", "audio", "fashion", "clothes", "clothing", "apparel",
    "shoes", "sneakers", "bags", "jewellery", "jewelry", "watches", "beauty", "cosmetics", "makeup", "skincare",
    "perfume", "fragrance", "fitness", "sport", "outdoor", "camping", "bikes", "cycling", "running", "yoga", "garden",
    "plants", "flowers", "tools", "hardware", "furniture", "kitchen", "cookware", "dining", "bedding", "decor", "home",
    "pets", "dogs", "cats", "stationery", "crafts", "automotive", "cars", "travel", "luggage", "grocery", "organic",
)  # fmt: skip
_EMPTY_WORDS = frozenset({
    "and", "for", "the", "with", "of", "more", "other", "others", "general", "new", "all", "any", "living", "life",
    "care", "items", "goods", "things", "products", "accessories", "misc", "various", "small", "large", "big",
})  # fmt: skip


def _names(book: FactBook) -> tuple[str, ...]:
    return tuple(str(fact.value) for fact in book if fact.kind is FactKind.NAME)


def _words_of(text: str) -> list[str]:
    return [word for word in re.findall(r"[^\W\d_]+", text.casefold()) if len(word) > 2]


def _stem(word: str) -> str:
    for ending in ("ies", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word.removesuffix("y") if len(word) > 4 else word


def _stems(names: Sequence[Collection[str]]) -> frozenset[str]:
    return frozenset(
        _stem(word) for group in names for name in group for word in _words_of(name) if word not in _EMPTY_WORDS
    )


def _is_named(word: str, stems: frozenset[str]) -> bool:
    """Whether `word` is one of `stems`, in the plural or the head of a longer word: gardeners, sportswear."""
    own = _stem(word)
    return own in stems or any(len(stem) >= 4 and own.startswith(stem) for stem in stems)
