"""The task of judging a draft before a person reads it, and the embedded critic.

What belongs here: whether copy is worth sending (clear, short, about the reader). What does not: whether it may be
sent at all, which `lint` and `copy_task` decide.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from segmentation_assets.language.answers import Answer
from segmentation_assets.language.facts import FactBook
from segmentation_assets.language.grounding import Finding, sentences, text_findings
from segmentation_assets.language.prompt_files import load_prompt
from segmentation_assets.language.rendering import PLACEHOLDER, render
from segmentation_assets.language.task import FactsBlock, NotesBlock, Task
from segmentation_assets.messaging.copy_task import READERS, BriefFacts, EmailAnswer
from segmentation_assets.messaging.copywriter import COPY_FIELDS, PHONE_SUBJECT, VARIANTS, Copy, names_goods

MOST_PROBLEMS = 3
LONGEST_PROBLEM = 160
LONGEST_STRENGTH = 160
#: Longest opening, in sentences: what is read before the products.
MOST_OPENING_SENTENCES = 3
#: Longest sentence, in words; the usual bound of plain-language guides.
MOST_WORDS = 25
#: Least Flesch reading ease; "plain English" begins at 60 (Flesch, The Art of Plain Talk).
LEAST_READING_EASE = 60.0

_VAGUE_BUTTONS = frozenset(
    {
        "click", "click here", "click now", "here", "go", "more", "read more", "see more", "learn more",
        "find out more", "discover", "discover more", "discover now", "submit", "ok", "open", "shop", "shop now",
        "buy now", "order now", "continue", "next", "yes", "get started", "get it now", "check it out",
    }
)  # fmt: skip
_COMMON = frozenset(
    {
        "a", "an", "the", "and", "or", "of", "for", "to", "in", "on", "at", "by", "with", "from", "is", "are", "it",
        "this", "that", "these", "those", "you", "your", "we", "our", "us", "be", "not", "so", "if", "as", "here",
        "there", "what",
    }
)  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_OF_US = frozenset({"we", "us", "our", "ours"})
_OF_YOU = frozenset({"you", "your", "yours"})


class CritiqueAnswer(Answer):
    """What an editor says of a draft; the texts are templates."""

    verdict: Literal["send", "rewrite"]
    problems: tuple[str, ...]
    strength: str


def critique_task(brief: BriefFacts, answer: EmailAnswer, variant: str) -> Task[CritiqueAnswer]:
    """The task of judging variant A or B of an accepted `answer` for `brief`."""
    copy = answer.variant(variant)
    other = answer.variant(VARIANTS[1] if variant == VARIANTS[0] else VARIANTS[0])
    parts = tuple(f"{name}: {getattr(copy, name)}" for name in COPY_FIELDS)
    beside = (f"subject: {other.subject}", f"call_to_action: {other.call_to_action}")
    return Task(
        name="critique",
        item=f"draft {brief.draft_id(variant)}",
        prompt=load_prompt("critique"),
        blocks=(
            FactsBlock("Facts of the offer", brief.book),
            NotesBlock("Who reads it", (READERS.get(brief.stage_group, READERS["unknown"]),)),
            NotesBlock("The draft", parts),
            NotesBlock("The other variant of the test", beside),
        ),
        answer_type=CritiqueAnswer,
        check=lambda critique: critique_findings(critique, brief.book),
        fallback=lambda: embedded_critique(copy, other, brief.book),
        customers=brief.audience_customers,
        output_tokens=500,
    )


def critique_findings(critique: CritiqueAnswer, facts: FactBook) -> list[Finding]:
    """Everything wrong with a critique; an empty list accepts it."""
    found: list[Finding] = []
    if len(critique.problems) > MOST_PROBLEMS:
        found.append(
            Finding("too_many", f"problems: {len(critique.problems):,} of them; keep the {MOST_PROBLEMS} gravest.")
        )
    if critique.verdict == "rewrite" and not critique.problems:
        found.append(Finding("no_reason", "problems: the verdict is rewrite, so say what to mend."))
    for place, problem in enumerate(critique.problems[:MOST_PROBLEMS], start=1):
        found += text_findings(f"problem {place}", " ".join(problem.split()), facts, None, longest=LONGEST_PROBLEM)
    strength = " ".join(critique.strength.split())
    return found + text_findings("strength", strength, facts, None, longest=LONGEST_STRENGTH)


def embedded_critique(copy: Copy, other: Copy, facts: FactBook) -> CritiqueAnswer:
    """The embedded critic's reading of `copy` beside the `other` variant: the gravest problems by rule."""
    problems = [advice for is_broken, advice in _RULES if is_broken(copy, other, facts)][:MOST_PROBLEMS]
    strength = next(praise for is_so, praise in _STRENGTHS if is_so(copy))
    return CritiqueAnswer(verdict="rewrite" if problems else "send", problems=tuple(problems), strength=strength)


def _body(copy: Copy) -> str:
    """Opening, offer and closing, each fact as a plain word: its name is the shop's, not the writer's."""
    return " ".join(PLACEHOLDER.sub("it", part) for part in (copy.opening, copy.offer, copy.closing))


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def syllables(word: str) -> int:
    """Syllables of an English word, by its groups of vowels; a silent e at the end does not count ("make", "makes")."""
    groups = len(re.findall(r"[aeiouy]+", word.lower()))
    if groups > 1 and re.search(r"[^aeiouyl]e$|[^aeiouylcghsxz]es$", word.lower()):
        groups -= 1
    return max(groups, 1)


def reading_ease(text: str) -> float:
    """Flesch reading ease: 206.835 - 1.015 words per sentence - 84.6 syllables per word; 100 for no words.

    Source: R. Flesch, A new readability yardstick, Journal of Applied Psychology 32 (1948).
    """
    words = _words(text)
    if not words:
        return 100.0
    count = max(len([part for part in sentences(text) if _words(part)]), 1)
    return 206.835 - 1.015 * len(words) / count - 84.6 * sum(map(syllables, words)) / len(words)


def _tokens(template: str) -> set[str]:
    """The words that carry meaning, and the facts, of a line."""
    keys = {match[1] for match in PLACEHOLDER.finditer(template)} - {"valid_until"}
    return keys | (set(_words(PLACEHOLDER.sub(" ", template))) - _COMMON)


def _is_cut_on_phones(copy: Copy, other: Copy, facts: FactBook) -> bool:
    return len(render(copy.subject, facts)) > PHONE_SUBJECT


def _names_nothing(copy: Copy, other: Copy, facts: FactBook) -> bool:
    return not any(names_goods(part) for part in (copy.subject, copy.preheader, copy.opening, copy.offer))


def _preheader_repeats(copy: Copy, other: Copy, facts: FactBook) -> bool:
    subject, preheader = _tokens(copy.subject), _tokens(copy.preheader)
    return bool(preheader) and 2 * len(subject & preheader) > len(preheader)


def _has_vague_button(copy: Copy, other: Copy, facts: FactBook) -> bool:
    return " ".join(_words(copy.call_to_action)) in _VAGUE_BUTTONS


def _has_same_button(copy: Copy, other: Copy, facts: FactBook) -> bool:
    return _words(copy.call_to_action) == _words(other.call_to_action)


def _has_long_opening(copy: Copy, other: Copy, facts: FactBook) -> bool:
    return len(sentences(copy.opening)) > MOST_OPENING_SENTENCES


def _has_long_sentence(copy: Copy, other: Copy, facts: FactBook) -> bool:
    return any(len(_words(sentence)) > MOST_WORDS for sentence in sentences(_body(copy)))


def _is_hard_to_read(copy: Copy, other: Copy, facts: FactBook) -> bool:
    return reading_ease(_body(copy)) < LEAST_READING_EASE


def _is_about_us(copy: Copy, other: Copy, facts: FactBook) -> bool:
    words = _words(" ".join(PLACEHOLDER.sub(" ", getattr(copy, name)) for name in COPY_FIELDS))
    return sum(word in _OF_US for word in words) > sum(word in _OF_YOU for word in words)


_RULES: tuple[tuple[Callable[[Copy, Copy, FactBook], bool], str], ...] = (
    (
        _names_nothing,
        "The reader cannot tell what it is about before the list: name a product or the category in the subject or the "
        "opening.",
    ),
    (_is_cut_on_phones, "A phone cuts the subject off: begin with the point and drop the rest."),
    (_preheader_repeats, "The preheader says the subject again: use it for a reason to open."),
    (_has_vague_button, "The button does not say what happens after the click: name what is to be seen there."),
    (_has_same_button, "Both variants have the same button: give this variant its own."),
    (_has_long_opening, "The opening keeps the reader waiting: come to the point within a few short sentences."),
    (_has_long_sentence, "A sentence is too long to read in passing: split it."),
    (_is_hard_to_read, "The words are heavy for a letter: write short, everyday words."),
    (_is_about_us, "It speaks of the shop before the reader: say what is in it for them."),
)

_STRENGTHS: tuple[tuple[Callable[[Copy], bool], str], ...] = (
    (lambda copy: "{{product" in copy.subject, "The subject shows the product at a glance."),
    (lambda copy: "{{discount" in copy.subject, "The subject comes straight to the discount."),
    (lambda copy: "{{category" in copy.subject, "The subject says what kind of goods it is about."),
    (lambda copy: "{{product" in copy.preheader, "The preheader names the product, so the subject can be a greeting."),
    (lambda copy: "valid_until" in copy.offer, "The offer says plainly until when it holds."),
    (lambda copy: len(sentences(copy.opening)) == 1, "The opening is brief and comes to the point."),
    (lambda copy: True, "The prices stand in a list of their own, easy to take in."),
)
