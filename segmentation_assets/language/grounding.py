"""The residual scan: does a text say anything that its facts do not?

What belongs here: the rules on what may stand outside a placeholder (no digit, no number word, no direction or rank
without a fact of that kind), urgency and claims, and mentions of people's protected attributes. What does not: the
layout rules of an e-mail (`messaging.lint`).

The scan is deliberately a list of words and not a model: its verdict can be read, tested and repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from segmentation_assets.language.facts import SHOP, Fact, FactBook, FactKind
from segmentation_assets.language.rendering import PLACEHOLDER, every_rendering, forms_of


@dataclass(frozen=True, order=True)
class Finding:
    """One thing a text must not say. `rule` is stable and short, `detail` is for the person who mends it."""

    rule: str
    detail: str


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile(r"(?i)(?<![\w'’-])(?:" + "|".join(alternatives) + r")(?![\w’'-])")


# "One" and "first" and "second" are left to idiom: "one of them", "at first", "second thoughts" are no figures.
_NUMBER_WORDS = _words(
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty", "thirty", "forty", "fifty",
    "sixty", "seventy", "eighty", "ninety", "(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)-\\w+",
    "hundreds?", "thousands?", "millions?", "billions?", "dozens?", "a couple of", "half", "halves", "a third of",
    "(?:two|three)[ -](?:thirds|quarters|fifths)", "a quarter of", "a fifth of", "a tenth of", "quarter of the",
    "twice", "thrice", "double[ds]?", "doubling", "triple[ds]?", "quadruple[ds]?", "percent", "per cent",
    "one (?:in|out of|customer|order|day|week|month|year|hundred|thousand|percent)",
    "one-(?:third|half|quarter|fifth|tenth)", "\\w+fold",
)  # fmt: skip

_UPWARD = _words(
    "above", "higher", "more than", "more often", "more likely", "over-?represented", "growing", "grew", "grows",
    "rising", "rose", "increas(?:e|es|ed|ing)", "exceeds?", "outperforms?", "greater", "larger", "bigger",
    "faster than", "longer than", "gain(?:ed|ing|s)", "climb(?:ed|ing|s)",
)  # fmt: skip
_DOWNWARD = _words(
    "below", "lower", "less than", "less often", "less likely", "fewer", "under-?represented", "shrinking",
    "shrank", "shrinks", "falling", "fell", "declin(?:e|es|ed|ing)", "decreas(?:e|es|ed|ing)", "dropp(?:ed|ing)",
    "smaller", "slower than", "shorter than",
)  # fmt: skip
_TOP = _words(
    "highest", "largest", "biggest", "greatest", "best-?selling", "number one", "no\\. one", "ranks? first",
    "the most (?:active|valuable|loyal|frequent|recent|important|popular|engaged|profitable)", "top-ranked",
    "top customers?", "leads? all", "most of all", "fastest-growing", "most popular", "most valuable",
)  # fmt: skip
_BOTTOM = _words(
    "lowest", "smallest", "the least (?:active|valuable|loyal|frequent|recent|important|popular|engaged|profitable)",
    "ranks? last", "fewest of all",
)  # fmt: skip
_AVERAGE = _words("(?:above|below|than) (?:the )?average", "twice the average")

#: Pressure that needs a real end date stated in the same text.
_TIME_URGENCY = _words(
    "hurry", "flash sale", "last chance", "act (?:now|fast)", "ends? (?:soon|today|tonight|tomorrow)", "final hours",
    "don[’']t miss(?: out)?", "limited time(?: only)?", "today only", "time is running out", "before it[’']s too late",
    "final call", "expires? soon", "running out", "now or never", "urgent", "last day",
)  # fmt: skip
#: Pressure that needs real stock stated in the same text.
_STOCK_URGENCY = re.compile(
    r"(?i)(?<!\w)(?:only (?:\S+ ){0,2}?left|while (?:stocks?|supplies) lasts?|almost gone|nearly gone|selling fast|"
    r"going fast|almost sold out|nearly sold out|few left|last (?:items|pieces|ones))(?!\w)"
)
_BANNED = _words(
    "guarantee[ds]?", "guaranteeing", "risk-?free", "no risk", "miracle", "cures?", "cheapest", "lowest prices?",
    "best prices?(?: ever)?", "world[’']s best", "you(?: have|[’']ve) (?:won|been (?:specially )?selected)", "winner",
    "free money", "no strings attached", "once in a lifetime", "unbeatable", "scientifically proven",
    "clinically proven", "100 ?% free", "too good to be true", "no obligation", "all our customers love",
)  # fmt: skip
_PROTECTED = _words(
    "women", "woman", "men", "ladies", "gentlemen", "females?", "males?", "girls?", "boys?", "gender", "seniors",
    "elderly", "pensioners", "retirees", "millennials?", "boomers?", "gen[ -]?z", "teenagers?", "young people",
    "middle-aged", "married", "unmarried", "divorced", "widow(?:ed|s|ers)?", "bachelors", "newlyweds?", "mothers",
    "mums?", "moms?", "fathers", "dads?", "housewi(?:fe|ves)", "ethnic\\w*", "immigrants?", "nationality",
)  # fmt: skip
_SENSITIVE = _words(
    "pregnan\\w*", "maternity", "fertility", "expecting a baby", "sexual\\w*", "gay", "lesbian", "transgender",
    "gambl\\w*", "casinos?", "betting", "religio\\w*", "church", "mosque", "synagogue", "muslims?", "christians?",
    "jewish", "hindus?", "illness\\w*", "disease\\w*", "diagnos\\w*", "disab(?:led|ility|ilities)", "medication\\w*",
    "diabet\\w*", "depression", "cancer", "addict\\w*", "obes\\w*",
)  # fmt: skip

_DIGIT = re.compile(r"\d[\d.,:/%-]*")
_SHOUTING = re.compile(r"(?<!\w)[A-Z]{5,}(?!\w)|(?<!\w)[A-Z]{3,}(?: [A-Z]{2,})+(?!\w)")
_UNFILLED = re.compile(
    r"\{\{|\}\}|\{%|%\}|\$\{|<<|>>|(?i:\b(?:todo|tbd|lorem ipsum|xxx+|placeholder|insert \w+ here)\b)"
)
_LINK = re.compile(r"(?i)\b(?:https?://|www\.)\S*|\b[\w-]+\.(?:com|net|org|io|shop)\b")
_MAIL = re.compile(r"\S+@\S+")
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|\n+")
_MARK = "\u25c6"  # stands where a fact stood


def sentences(text: str) -> list[str]:
    """The sentences of `text`, split at full stops followed by white space and at line breaks."""
    return [part for part in _SENTENCE.split(text) if part.strip()]


def pressure_and_claims(text: str, *, has_end_date: bool, has_stock: bool) -> list[Finding]:
    """Urgency without an end date or stock in the same text, claims nobody can keep, and shouting."""
    found = []
    if not has_end_date:
        found += [
            Finding("unsupported_urgency", f"{hit!r}: say until when instead, from the fact valid_until.")
            for hit in _hits(_TIME_URGENCY, text)
        ]
    if not has_stock:
        found += [
            Finding("unsupported_urgency", f"{hit!r}: scarcity needs the fact of the real stock.")
            for hit in _hits(_STOCK_URGENCY, text)
        ]
    found += [Finding("banned_claim", f"{hit!r}: nobody can keep this promise.") for hit in _hits(_BANNED, text)]
    found += [Finding("shouting", f"{hit!r}: write it in lower case.") for hit in _hits(_SHOUTING, text)]
    if "!!" in text:
        found.append(Finding("shouting", "'!!': use at most a single exclamation mark."))
    return found


def mentions_of_people(text: str) -> list[Finding]:
    """Protected attributes (gender, age, marital status, origin) and sensitive subjects named in `text`."""
    return [
        Finding("protected_attribute", f"{hit!r}: describe what people buy, not who they are.")
        for hit in _hits(_PROTECTED, text)
    ] + [
        Finding("sensitive_subject", f"{hit!r}: sensitive subjects stay out of names and copy.")
        for hit in _hits(_SENSITIVE, text)
    ]


def _hits(pattern: re.Pattern[str], text: str) -> list[str]:
    return list(dict.fromkeys(match[0].strip() for match in pattern.finditer(text)))


def _figures(text: str) -> list[Finding]:
    return [
        Finding("digit", f"{hit!r} is not from a fact: name the fact with {{{{key}}}}.") for hit in _hits(_DIGIT, text)
    ] + [
        Finding("number_word", f"{hit!r} is a figure in words: name a fact instead.")
        for hit in _hits(_NUMBER_WORDS, text)
    ]


def _directions(sentence: str, facts: Iterable[Fact]) -> list[Finding]:
    """Direction and rank words of one sentence that no fact named in the same sentence carries."""
    deltas = [fact.number for fact in facts if fact.kind is FactKind.DELTA]
    ranks = [fact for fact in facts if fact.kind is FactKind.RANK]
    found = []
    for pattern, sign in ((_UPWARD, 1), (_DOWNWARD, -1)):
        for hit in _hits(pattern, sentence):
            if not deltas:
                found.append(
                    Finding("direction_without_fact", f"{hit!r}: a direction needs a delta fact in its sentence.")
                )
            elif not any(delta * sign > 0 for delta in deltas):
                found.append(Finding("wrong_direction", f"{hit!r}: the delta in this sentence says the opposite."))
    if not deltas:
        found += [
            Finding("direction_without_fact", f"{hit!r}: a comparison needs a delta fact in its sentence.")
            for hit in _hits(_AVERAGE, sentence)
        ]
    for pattern, is_top in ((_TOP, True), (_BOTTOM, False)):
        for hit in _hits(pattern, sentence):
            if not ranks:
                found.append(Finding("rank_without_fact", f"{hit!r}: a rank needs a rank fact in its sentence."))
            elif not any(rank.number == (1 if is_top else rank.of) for rank in ranks):
                found.append(Finding("wrong_rank", f"{hit!r}: the rank in this sentence is another."))
    return found


def ungrounded(template: str, facts: FactBook, subject: str | None = None) -> list[Finding]:
    """Everything in `template` that is not grounded in `facts`; an empty list means it may be rendered.

    With `subject`, a fact about another subject (another segment) is a finding too; facts about the shop are
    always allowed. Source: the rule "numbers by reference"; the words are this project's own list.
    """
    found: list[Finding] = []
    for match in PLACEHOLDER.finditer(template):
        key, form = match[1], match[2]
        fact = facts.get(key)
        if fact is None:
            found.append(Finding("unknown_fact", f"{{{{{key}}}}}: there is no such fact."))
            continue
        if form and form not in forms_of(fact.kind):
            found.append(Finding("unknown_form", f"{{{{{key}|{form}}}}}: a {fact.kind.value} has no such form."))
        if subject is not None and fact.subject not in {subject, SHOP}:
            found.append(Finding("wrong_subject", f"{{{{{key}}}}} is about {fact.subject}, not {subject}."))
    residual = PLACEHOLDER.sub(_MARK, template)
    found += [
        Finding("unfilled_placeholder", f"{hit!r} is left over from a form.") for hit in _hits(_UNFILLED, residual)
    ]
    found += _figures(residual)
    for sentence in sentences(template):
        named = [facts.get(match[1]) for match in PLACEHOLDER.finditer(sentence)]
        found += _directions(PLACEHOLDER.sub(_MARK, sentence), [fact for fact in named if fact is not None])
    used = {match[1] for match in PLACEHOLDER.finditer(template)}
    found += pressure_and_claims(
        residual,
        has_end_date="valid_until" in used and "valid_until" in facts,
        has_stock=any(key.startswith("stock") and key in facts for key in used),
    )
    found += mentions_of_people(residual)
    found += [Finding("link", f"{hit!r}: links are set by the layout.") for hit in _hits(_LINK, residual)]
    found += [Finding("address", f"{hit!r}: no addresses in text.") for hit in _hits(_MAIL, residual)]
    if "<" in residual or ">" in residual:
        found.append(Finding("markup", "angle brackets: text is plain, the layout is ours."))
    return list(dict.fromkeys(found))


def without_facts(text: str, facts: FactBook) -> str:
    """A rendered text with every rendering of a fact taken out (longest first); what is left is the writer's own."""
    for words in every_rendering(facts):
        if any(character.isalnum() for character in words):
            text = re.sub(rf"(?<!\w){re.escape(words)}(?!\w)", _MARK, text)
    return text


def ungrounded_rendered(text: str, facts: FactBook) -> list[Finding]:
    """Digits and number words in a rendered text that are no rendering of one of its facts.

    Weaker than `ungrounded`, because a rendering cannot say which fact it came from: use it on text whose template
    is gone (a person's edit, a stored draft).
    """
    return list(dict.fromkeys(_figures(without_facts(text, facts))))
