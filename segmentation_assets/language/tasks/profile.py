"""The profile of a segment: the eight texts that a marketer reads first.

What belongs here: what a writer is told of a segment, and what each text must hold to. What does not: the embedded
writer and the table (`profile_writer`), and facts (`segment_facts`). How sure the segment is, what moved since the last
run and the best offer are the program's own sentences and nobody's to write.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import create_model

from segmentation_assets.language.facts import DeltaUnit, FactBook, FactKind
from segmentation_assets.language.grounding import Finding, text_findings
from segmentation_assets.language.profile_writer import (
    ProfileAnswer,
    channel_options,
    habits_of,
    has_own_goods,
    profile_answer,
)
from segmentation_assets.language.prompt_files import load_prompt
from segmentation_assets.language.rendering import PLACEHOLDER
from segmentation_assets.language.segment_facts import SegmentFacts
from segmentation_assets.language.task import Block, FactsBlock, NotesBlock, Prompt, Task

#: The words after which a prompt shows the form by an example.
EXAMPLE = "An example of the form"

#: Most characters of each text. A profile is a page, not a report.
LONGEST: dict[str, int] = {
    "who": 900, "what": 1000, "how": 900, "objective": 300, "message": 300, "resonance": 500, "do_not": 500,
}  # fmt: skip

#: What a situation means, for a writer.
SITUATIONS: dict[str, str] = {
    "loyal": "They buy often or spend much, and have bought lately: the regulars.",
    "active": "They are in the habit of buying here.",
    "new": "They have bought for the first time not long ago.",
    "lapsing": "They bought before and are overdue.",
    "lapsed": "They bought before and have been gone for very long.",
    "never_bought": "They signed up and never bought.",
    "unknown": "When they bought is not known.",
    "taste": "They are grouped by what they buy; when to write and at which price is a question of another division.",
    "unknown_taste": "They bought too little, or nothing, to show a taste.",
}

#: Always told when known, in this order; what else is told depends on how far it is from the shop's.
_CORE = (
    "customers", "customer_share", "size_rank", "reachable", "reachable_share", "revenue_share", "revenue_lean",
    "revenue_rank", "orders", "spend", "recency", "basket", "pause", "category1", "category1_share", "category2",
    "category2_share", "category3", "brand1", "brand1_share", "channel1", "channel1_share",
)  # fmt: skip
_NAMED = ("category2", "category3", "brand", "channel")
#: A difference to the shop that is worth a line, by its unit.
_NOTABLE = {DeltaUnit.RELATIVE: 0.1, DeltaUnit.POINTS: 0.02, DeltaUnit.DAYS: 7.0}
_MOST_FACTS = 32


def facts_to_tell(segment: SegmentFacts) -> FactBook:
    """The facts that set the segment apart, at most 32: a short list is read, a long one is copied from at random.

    A writer may use any fact of the segment's book; one that is not told cannot be known.
    """
    book = segment.book
    offer = [key for key in ("offer_product", "offer_discount") if key in book]
    keys = [key for key in _CORE if key in book]
    if book.number("effect_low", 0.0) > 0 or book.number("effect_high", 0.0) < 0:
        # An effect that may be chance is left out: nothing would keep a writer from calling it one.
        keys += ["effect", "effect_low", "effect_high"]
    notable = []
    for fact in book:
        if fact.kind is not FactKind.DELTA or fact.key.startswith(_NAMED) or not fact.key.endswith("_gap"):
            continue
        weight = abs(fact.number) / _NOTABLE.get(fact.unit, 1.0)
        if weight >= 1:
            notable.append((weight, fact.key))
    for _, key in sorted(notable, key=lambda one: (-round(one[0], 6), one[1])):
        stem = key.removesuffix("_gap")
        keys += [stem, key] if stem in book else [key]
    # The first category of a stage is only the one that differs most, however little that is.
    known = [key for key in dict.fromkeys(keys) if has_own_goods(segment) or not key.startswith("category")]
    chosen = frozenset([*offer, *known][:_MOST_FACTS])
    return FactBook(tuple(fact for fact in book if fact.key in chosen), book.currency)


def segment_blocks(segment: SegmentFacts) -> tuple[Block, ...]:
    """What a writer is told of a segment: its facts, its situation and its habits, each in its own words of ours."""
    notes = [SITUATIONS[segment.situation]]
    if not segment.is_small:
        notes += [f"Beside other customers they {habit}." for habit in habits_of(segment.drivers, most=4)]
    return FactsBlock("Facts of this segment", facts_to_tell(segment)), NotesBlock("What is known of it", tuple(notes))


def copied_example(where: str, text: str, prompt: Prompt) -> list[Finding]:
    """Six words in a row that are the prompt's example and not the segment: what small models answer with."""
    words = _words(text)
    example = " ".join(_words(prompt.user.partition(EXAMPLE)[2]))
    for start in range(len(words) - 5):
        run = " ".join(words[start : start + 6])
        if f" {run} " in f" {example} ":
            return [Finding("copied_example", f"{where}: {run!r} is the example's; write about what is listed.")]
    return []


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _for_customers(book: FactBook) -> set[str]:
    """Facts that a customer may read: names of goods, and the offer."""
    return {fact.key for fact in book if fact.kind is FactKind.NAME or fact.key.startswith("offer_")}


def _names_size(text: str) -> bool:
    return any(match[1] in {"customers", "customer_share"} for match in PLACEHOLDER.finditer(text))


def profile_task(segment: SegmentFacts) -> Task[ProfileAnswer]:
    """Ask for the profile of `segment`. One under the minimum cell is not sent: the embedded writer describes it."""
    options, prompt = channel_options(segment), load_prompt("profile")
    one_of: Any = Literal[options]
    # Where small groups could be told apart by the sizes, these are not sent, and a writer cannot name them.
    is_size_told = segment.customers > 0 and any(
        not fact.stays for fact in segment.book if fact.key in {"customers", "customer_share"}
    )
    answer_type = create_model("ProfileAnswer", __base__=ProfileAnswer, channel=(one_of, ...))

    def check(answer: ProfileAnswer) -> list[Finding]:
        found: list[Finding] = []
        texts = answer.model_dump()
        for field, longest in LONGEST.items():
            found += text_findings(field, texts[field], segment.book, segment.subject, longest=longest, shortest=8)
            found += copied_example(field, texts[field], prompt)
        if answer.channel not in options:
            found.append(Finding("wrong_choice", f"channel: choose one of {'; '.join(options)}."))
        if is_size_told and not _names_size(answer.who):
            found.append(Finding("no_size", "who: say how many they are, with {{customers}} or {{customer_share}}."))
        told = sorted({match[1] for match in PLACEHOLDER.finditer(answer.message)} - _for_customers(segment.book))
        if told:
            found.append(
                Finding("figure_in_message", f"message: {', '.join(told)[:80]} is for the team and not for a customer.")
            )
        return found

    return Task(
        name="profile",
        item=segment.subject,
        prompt=prompt,
        blocks=segment_blocks(segment),
        answer_type=answer_type,
        check=check,
        fallback=lambda: answer_type(**profile_answer(segment).model_dump()),
        customers=segment.customers,
    )
