"""The task of writing an e-mail: what a brief lets a writer know, the form of the answer, and how it is checked.

What belongs here: the typed brief, the request, and the rules on copy that only a template can break (what may not be
said to whom, lengths, two variants that differ). What does not: the embedded words (`copywriter`), the rules on the
finished draft (`lint`), and the table (`drafts`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

from segmentation_assets.language.answer_facts import MANY_FATIGUED, NOTABLE_CLICKS, NOTABLE_REFUSALS, clear_gap
from segmentation_assets.language.answers import Answer
from segmentation_assets.language.facts import FactBook
from segmentation_assets.language.grounding import Finding, text_findings
from segmentation_assets.language.prompt_files import load_prompt
from segmentation_assets.language.rendering import PLACEHOLDER, forms_of, render
from segmentation_assets.language.task import FactsBlock, NotesBlock, Task
from segmentation_assets.messaging.copywriter import COPY_FIELDS, VARIANTS, Copy, write_copy
from segmentation_assets.messaging.layout import PLAIN_BRAND, Brand, Laid, lay_out
from segmentation_assets.messaging.lint import Draft, lint_draft

#: Fewest and most characters of each part, as the reader sees it.
LENGTHS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "subject": (5, 60),
        "preheader": (1, 110),
        "opening": (1, 400),
        "offer": (1, 240),
        "closing": (1, 200),
        "call_to_action": (2, 30),
    }
)


class EmailVariant(Answer):
    """The words of one variant, as templates."""

    subject: str
    preheader: str
    opening: str
    offer: str
    closing: str
    call_to_action: str

    def as_copy(self) -> Copy:
        """The words in the form that the layout takes; white space is made single spaces, as mail programs show it."""
        return Copy(**{name: " ".join(getattr(self, name).split()) for name in COPY_FIELDS})


class EmailAnswer(Answer):
    """Both variants of an e-mail."""

    a: EmailVariant
    b: EmailVariant

    def variant(self, name: str) -> Copy:
        """The words of variant A or B."""
        return (self.a if name == "A" else self.b).as_copy()


@dataclass(frozen=True)
class BriefFacts:
    """All that a writer of e-mails may know of a brief, and what its drafts carry over from it.

    `stage_group` is one of the planner's groups (loyal, active, new, lapsing, lapsed, never_bought, unknown). `book`
    holds product1.., list_price1.., price1.., discount where there is one, category and valid_until. `answers` are the
    facts of `language.answer_facts` on its stages that may be sent, empty where there are none: they steer how to
    write and are no part of `book`, because a letter does not tell its reader what is known of readers.
    `audience_customers` counts people. Names of segments are no part of it: they are never shown to a customer.
    """

    brief_id: str
    stage_group: str
    book: FactBook
    taste_segment_id: str
    stage_segment_ids: str
    product_ids: str
    discount_share: float
    valid_until: date
    audience_customers: int
    language: str = "en"
    brand: Brand = PLAIN_BRAND
    answers: FactBook = field(default_factory=FactBook)

    @property
    def is_tired(self) -> bool:
        """Whether so many of them had messages without a click that a letter should make leaving easy."""
        return self.answers.number("fatigued", 0.0) >= MANY_FATIGUED

    def draft_id(self, variant: str) -> str:
        """The id of a variant's draft."""
        return f"{self.brief_id}-{variant}"


#: Who reads it, in words that say nothing of a person and none of the names the shop uses inside.
READERS: Mapping[str, str] = MappingProxyType(
    {
        "loyal": "People who buy here often and did so lately. They know the shop well.",
        "active": "People who have bought here lately and now and then before.",
        "new": "People who placed an order here for the first time not long ago.",
        "lapsing": "People who used to buy here and have not been back for a while.",
        "lapsed": "People who bought here long ago and have not been back.",
        "never_bought": "People who signed up for news and have not ordered yet.",
        "unknown": "People who agreed to news from the shop; little is known of them.",
    }
)

_MANNERS: Mapping[str, str] = MappingProxyType(
    {
        "loyal": "Thank them for coming back; they get to see these early. Do not treat them as missed.",
        "active": "Help with the next order. Do not say that you missed them.",
        "new": "Make a second order easy. Do not call them regulars, and do not say that it has been a while.",
        "lapsing": "Be glad to see them again, without reproach. Do not call them regulars.",
        "lapsed": "Make it easy to come back, and as easy to say no. Do not call them regulars.",
        "never_bought": "Make a start easy. Do not thank them for an order and do not welcome them back: they were no "
        "customers yet.",
        "unknown": "Assume nothing about what they bought or when.",
    }
)


def _said(*alternatives: str) -> re.Pattern[str]:
    return re.compile(r"(?i)(?<![\w-])(?:" + "|".join(alternatives) + r")(?![\w-])")


#: The shop's words for groups of people, which have no place in a letter to one of them.
_OUR_WORDS = _said(
    "segments?", "segmentation", "audiences?", "laps(?:e|ed|es|ing)", "churn(?:ed|ing|s)?", "dormant", "cohorts?",
    "target groups?", "stage groups?", "customer groups?", "never[- ]bought", "win-?back", "re-?activat\\w+",
    "(?:our|your) (?:customer )?(?:data|profile|scores?)", "inactive customers?", "merge fields?", "placeholders?",
)  # fmt: skip
#: What tells a reader that somebody counts what they do with messages.
_WATCHED = _said(
    "(?:open(?:ed)?|click(?:ed)?(?: on)?|answer(?:ed)?|ignored?|read) (?:any of )?(?:our|my|these|the|any|all)"
    "(?: (?:last|earlier|recent|previous|other))* (?:e-?mails?|messages?|letters?|newsletters?|mails?|links?)",
    "(?:our|my)(?: (?:last|earlier|recent|previous|other|many))+ (?:e-?mails?|messages?|letters?|newsletters?|mails?)",
    "(?:too )?many (?:e-?mails?|messages?|letters?|newsletters?) from us",
)
_DISCOUNT_WORDS = _said(
    "discount(?:s|ed)?", "reduc(?:ed|tions?)", "savings?", "save (?:money|on|up to|big)", "you save", "bargains?",
    "vouchers?", "coupons?", "(?:promo|promotional|voucher|discount) codes?", "sales? prices?", "on sale",
    "(?:big|summer|winter|spring|autumn|clearance) sale", "cheaper", "price cuts?", "cut prices?", "marked down",
    "special (?:prices?|offers?|deals?)", "(?:great|good|best|exclusive) deals?", "(?:money|prices?|something) off",
    "off (?:the|your|each|every|all) \\w+", "taken off", "at a lower price",
)  # fmt: skip
_DISCOUNT_ON_FACT = re.compile(r"(?i)\}\}\s+off(?!\w)")
_FREE = _said(
    "(?:a |your )?free (?:shipping|delivery|gifts?|returns?|samples?|trials?)", "for free", "free of charge",
    "your gift", "on the house", "money[- ]back", "next[- ]day delivery",
)  # fmt: skip
_PAST_ORDERS = (
    "thank(?:s| you) for (?:your|the|an) (?:\\w+ )?(?:orders?|purchases?|loyalty|custom)", "since (?:your|you) last",
    "your (?:last|recent|previous|latest) (?:orders?|purchases?|visits?)",
)  # fmt: skip
_RETURNING = ("welcome back", "com(?:e|ing) back to us", "see you again", "(?:buy|order|shop) again")
_UNTRUE: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "loyal": _said(
            "haven[’']t seen you", "have not seen you", "been a (?:long )?(?:while|time)", "miss(?:ed)? you",
            "first order", "new here",
        ),
        "active": _said(
            "haven[’']t seen you", "have not seen you", "been a (?:long )?(?:while|time)", "miss(?:ed)? you",
            "first order", "new here",
        ),
        "new": _said("regulars?", "welcome back", "been a (?:long )?(?:while|time)", "miss(?:ed)? you", "as always"),
        "lapsing": _said("regulars?", "regular customers?", "first order", "as always", "new here"),
        "lapsed": _said("regulars?", "regular customers?", "first order", "as always", "new here"),
        "never_bought": _said(
            *_RETURNING, *_PAST_ORDERS, "regulars?", "been a (?:long )?(?:while|time)", "miss(?:ed)? you", "as always",
        ),
        "unknown": _said(
            *_RETURNING, *_PAST_ORDERS, "regulars?", "been a (?:long )?(?:while|time)", "miss(?:ed)? you",
            "first order", "as always",
        ),
    }
)  # fmt: skip


def email_task(brief: BriefFacts, problems: tuple[str, ...] = ()) -> Task[EmailAnswer]:
    """The task of writing both variants for `brief`. `problems`: what a critic asks to be mended, in its own words."""
    limits = " ".join(f"{name}: {low} to {high} characters." for name, (low, high) in LENGTHS.items())
    blocks = (
        FactsBlock("Facts of the offer", brief.book),
        NotesBlock("Who reads it", (READERS.get(brief.stage_group, READERS["unknown"]),)),
        NotesBlock("How to speak to them", tuple(_must_not(brief))),
        NotesBlock("How they answered earlier messages, which is not to be mentioned", tuple(_answered(brief))),
        NotesBlock("Lengths, with the facts put in", (limits,)),
        NotesBlock("What an editor wants mended in the last version", problems),
    )
    return Task(
        name="email",
        item=f"brief {brief.brief_id}",
        prompt=load_prompt("email"),
        blocks=blocks,
        answer_type=EmailAnswer,
        check=lambda answer: email_findings(answer, brief),
        fallback=lambda: embedded_email(brief),
        customers=brief.audience_customers,
        output_tokens=1_400,
    )


def _must_not(brief: BriefFacts) -> Iterator[str]:
    yield _MANNERS.get(brief.stage_group, _MANNERS["unknown"])
    if "discount" in brief.book:
        yield "The discount is real and on every product listed. Offer nothing beside it."
    else:
        yield "There is no discount: use no word of reduction, saving, voucher, gift or special price."


def _answered(brief: BriefFacts) -> Iterator[str]:
    """What the answers to earlier messages ask of the words. Without figures: none of them has a place in a letter."""
    gap = clear_gap(brief.answers, "clicked", NOTABLE_CLICKS)
    if gap > 0:
        yield "They click messages more often than customers here do: come straight to the goods."
    elif gap < 0:
        yield "They click messages less often than customers here do: begin with a single plain reason to look."
    if brief.is_tired:
        yield "Many of them had many messages in a row without a click: be brief, and make it easy to say no."
    if clear_gap(brief.answers, "unsubscribed", NOTABLE_REFUSALS) > 0:
        yield "They unsubscribe more readily than customers here do: write without any pressure."


def embedded_email(brief: BriefFacts) -> EmailAnswer:
    """Both variants in the embedded writer's words."""
    a, b = (
        EmailVariant(**{name: getattr(copy, name) for name in COPY_FIELDS})
        for copy in (
            write_copy(brief.stage_group, variant, brief.book, is_tired=brief.is_tired) for variant in VARIANTS
        )
    )
    return EmailAnswer(a=a, b=b)


def draft_of(brief: BriefFacts, variant: str, copy: Copy) -> tuple[Draft, Laid]:
    """The laid-out draft of a variant. UnknownFactError when a template names a fact that there is not."""
    laid = lay_out(copy, brief.book, brief.language, brief.brand)
    draft = Draft(
        subject=laid.subject,
        preheader=laid.preheader,
        body_text=laid.body_text,
        body_html=laid.body_html,
        call_to_action=laid.call_to_action,
        draft_id=brief.draft_id(variant),
        brief_id=brief.brief_id,
        variant=variant,
        valid_until=brief.valid_until,
    )
    return draft, laid


def can_render(template: str, facts: FactBook) -> bool:
    """Whether every placeholder of `template` has its fact and its form."""
    for match in PLACEHOLDER.finditer(template):
        fact = facts.get(match[1])
        if fact is None or (match[2] and match[2] not in forms_of(fact.kind)):
            return False
    return True


def length_finding(name: str, template: str, facts: FactBook, where: str) -> Finding | None:
    """The finding on the length of a part with its facts put in; None when it fits. The template must render."""
    shortest, longest = LENGTHS[name]
    length = len(" ".join(render(template, facts).split()))
    if shortest <= length <= longest:
        return None
    return Finding(
        "length", f"{where}: {length} characters with the facts put in; keep it between {shortest} and {longest}."
    )


#: Findings after which there is nothing to lay out: no fact to put in, no text, or far too much of it.
_UNFIT = frozenset({"unknown_fact", "unknown_form", "empty", "too_long"})


def email_findings(answer: EmailAnswer, brief: BriefFacts) -> list[Finding]:
    """Everything wrong with both variants, in order; an empty list accepts the answer."""
    found: list[Finding] = []
    rendered: list[dict[str, str]] = []
    for variant, words in zip(VARIANTS, (answer.a, answer.b), strict=True):
        said = list(_variant_findings(words, brief, variant))
        found += said
        copy = answer.variant(variant)
        if not any(finding.rule in _UNFIT for finding in said):
            rendered.append({name: _bare(render(text, brief.book)) for name, text in vars(copy).items()})
            found += [
                Finding(finding.rule, f"variant {variant}, {finding.detail}")
                for finding in lint_draft(draft_of(brief, variant, copy)[0], brief.book)
                if finding.rule != "subject_length"  # LENGTHS is stricter and speaks of the same
            ]
    if len(rendered) == len(VARIANTS):
        a, b = rendered
        found += [
            Finding("same_variants", f"Both variants have the same {name}: say it from another side.")
            for name in ("subject", "opening")
            if a[name] == b[name]
        ]
    return list(dict.fromkeys(found))


def _bare(text: str) -> str:
    """The words alone: what is left to differ in when case and punctuation are taken away."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def _variant_findings(words: EmailVariant, brief: BriefFacts, variant: str) -> Iterator[Finding]:
    facts = brief.book
    for name in COPY_FIELDS:
        raw, where = getattr(words, name), f"variant {variant}, {name}"
        shortest, longest = LENGTHS[name]
        text = " ".join(raw.split())
        yield from text_findings(where, text, facts, None, longest=longest, shortest=shortest)
        text = text[: 4 * longest + 400]  # a flood is found by its length; the rest of it is not worth reading
        if "\n" in raw or "\r" in raw:
            yield Finding("line_break", f"{where}: write it on a single line; the layout makes paragraphs.")
        for hit in dict.fromkeys(re.findall(r"\[\[.*?\]\]|\[\[|\]\]", text)):
            yield Finding("merge_field", f"{where}: {hit!r}: the greeting, names and links are set by the layout.")
        yield from _wording(text, where, brief)
    if "discount" in facts:
        named = {match[1] for match in PLACEHOLDER.finditer(words.offer[: LENGTHS["offer"][1] * 4])}
        for key in ("discount", "valid_until"):
            if key in facts and key not in named:
                yield Finding("offer_incomplete", f"variant {variant}, offer: it must say {{{{{key}}}}}.")


def _wording(text: str, where: str, brief: BriefFacts) -> Iterator[Finding]:
    own = PLACEHOLDER.sub("\u25c6", text)
    for hit in _hits(_OUR_WORDS, own):
        yield Finding("our_own_words", f"{where}: {hit!r} is a word of ours for groups of people; speak to the reader.")
    for hit in _hits(_WATCHED, own):
        yield Finding(
            "watched_reader", f"{where}: {hit!r}: what readers did with earlier messages is not told to them."
        )
    for hit in _hits(_FREE, own):
        yield Finding("unsupported_offer", f"{where}: {hit!r} is not part of this offer.")
    if "discount" not in brief.book:
        hits = [*_hits(_DISCOUNT_WORDS, own), *(["off"] if _DISCOUNT_ON_FACT.search(text) else [])]
        for hit in hits:
            yield Finding("discount_without_fact", f"{where}: {hit!r}: there is no discount in this offer.")
    else:
        # Beside a lower one, a list price reads as what was asked before, and that would have to be shown.
        for key in dict.fromkeys(match[1] for match in PLACEHOLDER.finditer(text)):
            if key.startswith("list_price"):
                yield Finding(
                    "earlier_price", f"{where}: {{{{{key}}}}} would read as an earlier price; say {{{{discount}}}}."
                )
    for hit in _hits(_UNTRUE.get(brief.stage_group, _UNTRUE["unknown"]), own):
        yield Finding("untrue_of_reader", f"{where}: {hit!r} is not true of the people who read this.")


def _hits(pattern: re.Pattern[str], text: str) -> list[str]:
    return list(dict.fromkeys(match[0] for match in pattern.finditer(text)))
