"""The residual scan: does a text say anything that its facts do not?

What belongs here: the rules on what may stand outside a placeholder (no digit, no number word, no direction or rank
without a fact of that kind), on what may stand beside one (units and subject matter), urgency and claims, mentions of
people's protected attributes, and the length and language of a field. What does not: the vocabulary of the facts
(`cues`), and the layout rules of an e-mail (`messaging.lint`).

The scan is deliberately a list of words and not a model: its verdict can be read, tested and repeated. A text with
placeholders and a rendered one are judged by the same rules; in a rendered one a figure can be any of the facts that
are written so, and is wrong only when none of them fits its place.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from segmentation_assets.language.cues import (
    BOUNDARY,
    CHANGE_WORDS,
    SHOP_LEFT,
    SHOP_RIGHT,
    SHOP_WORDS,
    TOPIC_FRAMES,
    TOPICS,
    UNIT_FRAMES,
    family_of,
    group_of,
    is_change,
    is_shop_wide,
    stem_of,
    topic_of,
    writing_class,
)
from segmentation_assets.language.facts import SHOP, Fact, FactBook, FactKind
from segmentation_assets.language.rendering import PLACEHOLDER, UnknownFactError, find_renderings, forms_of, render


@dataclass(frozen=True, order=True)
class Finding:
    """One thing a text must not say. `rule` is stable and short, `detail` is for the person who mends it."""

    rule: str
    detail: str


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile(r"(?i)(?<![\w'’-])(?:" + "|".join(alternatives) + r")(?![\w’'-])")


# "One" and "first" and "second" are left to idiom: "one of them", "at first", "second thoughts" are no figures; nor is
# the "two" between which something lies.
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_UNITS = "(?<!between )two|three|four|five|six|seven|eight|nine|ten"
_NUMBER_WORDS = re.compile(
    r"(?i)(?<![\w'’])(?:" + "|".join((
        f"(?:{_TENS})(?:-\\w+)?", f"(?:{_UNITS})(?:fold)?", "eleven", "twelve", "thirteen", "fourteen", "fifteen",
        "sixteen", "seventeen", "eighteen", "nineteen", "zero",
        "(?:third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth)s?(?! parties| party)",
        "second[ -](?:largest|highest|biggest|most|best|lowest|smallest|place)", "hundreds?", "thousands?", "millions?",
        "billions?", "dozens?", "a couple of", "half", "halves", "quarters? of", "three[ -]quarters", "a quarter",
        "twice", "thrice", "double[ds]?", "doubling", "triple[ds]?", "quadruple[ds]?", "percent", "per cent",
        "(?:ordered|bought|purchased|shopped|only|just) once", "once (?:a|per|every)",
        "one (?:in|out of|customer|order|day|week|month|year|hundred|thousand|percent)",
        "one-(?:third|half|quarter|fifth|tenth)", "(?:hundred|thousand|many)fold",
    )) + r")(?![\w'’])"
)  # fmt: skip

# "See below" and "taken off above" point at the page; "make up", "sign up by" are verbs.
_ON_PAGE = "(?<!see )(?<!off )(?<!shown )(?<!listed )(?<!link )(?<!items )(?<!picks )(?<!range )(?<!offer )"
_NO_VERB = "".join(
    f"(?<!{verb} )"
    for verb in ("make", "makes", "made", "add", "adds", "sum", "sums", "end", "ends", "pick", "picks", "sign",
                 "signed", "take", "takes", "come", "comes", "set", "give", "gives", "keep", "look", "put",
    "write", "it", "cut",
                 "break", "slow", "wind", "bring", "brings")
)  # fmt: skip
_UPWARD = _words(
    f"{_ON_PAGE}above", "higher", "more than", "more often", "more frequent(?:ly)?", "more likely", "over-?represented",
    "growing", "grew", "grows", "grown", "rising", "rose", "risen", "increas(?:e|es|ed|ing)", "exceed(?:s|ed|ing)?",
    "outperforms?", "outspends?", "surpass(?:es|ed)?", "greater", "larger", "bigger", "faster than", "longer than",
    "gain(?:ed|ing|s)", "climb(?:ed|ing|s)", "soar(?:ed|ing|s)", "surg(?:ed|ing|es)",
    "(?:is|are|was|went|go|goes) up",
    f"{_NO_VERB}up (?:from|by|on|◆|compared)", "ahead of", "over-?average",
)  # fmt: skip
_DOWNWARD = _words(
    f"{_ON_PAGE}below", "lower", "less than", "less often", "less frequent(?:ly)?", "less likely", "fewer",
    "under-?represented", "shrinking", "shrank", "shrinks", "shrunk", "falling", "fell", "fallen",
    "declin(?:e|es|ed|ing)",
    "decreas(?:e|es|ed|ing)", "dropp(?:ed|ing)", "smaller", "slower than", "shorter than", "plung(?:ed|ing|es)",
    "(?:is|are|was|went|goes) down", f"{_NO_VERB}down (?:by|on|◆|compared)", "lags?", "lagging", "lost customers",
    "trails? behind", "falls? (?:short|behind)",
)  # fmt: skip
_TOP = _words(
    "highest", "largest", "biggest", "greatest", "best-?selling", "number one", "no\\. one", "ranks? first",
    "the most (?:active|valuable|loyal|frequent|recent|important|popular|engaged|profitable)", "top-ranked",
    "top customers?", "leads? all", "most of all", "fastest-growing", "most popular", "most valuable",
    "top (?:segment|group|spenders?)", "first place", "comes? first", "richest",
)  # fmt: skip
_BOTTOM = _words(
    "lowest", "smallest", "the least (?:active|valuable|loyal|frequent|recent|important|popular|engaged|profitable)",
    "ranks? last", "comes? last", "last place", "fewest of all", "poorest",
)  # fmt: skip
_AVERAGE = _words("(?:above|below|than) (?:the )?average", "twice the average", "(?:above|below)-average")

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

# Digits of any script, and the signs that are figures without being digits: ½, ², ①, Ⅳ.
_DIGIT = re.compile(r"\d[\d.,:/%-]*|[\u00bc-\u00be\u00b2\u00b3\u00b9\u2070-\u2089\u2150-\u218b\u2460-\u249b]+")
_SHOUTING = re.compile(r"(?<!\w)[A-Z]{5,}(?!\w)|(?<!\w)[A-Z]{3,}(?: [A-Z]{2,})+(?!\w)")
_UNFILLED = re.compile(
    r"\{\{|\}\}|\{%|%\}|\$\{|<<|>>|(?i:\b(?:todo|tbd|lorem ipsum|xxx+|placeholder|insert \w+ here)\b)"
)
_LINK = re.compile(r"(?i)\b(?:https?://|www\.)\S*|\b[\w-]+\.(?:com|net|org|io|shop)\b")
_MAIL = re.compile(r"\S+@\S+")
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|\n+")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
#: What joins a figure to the name whose share it is.
_THEN_NAME = re.compile(r"(?i)(?: of [\w ]{0,25})? (?:is|are|goes to|go to|comes? from|comes? through) ")
_NAME_THEN = re.compile(
    r"(?i)^ (?:takes|makes up|makes|accounts for|stands for) ◆|^ \(◆(?:\)| of (?:their |the )?(?:order )?lines)"
)
_KINDS = {
    FactKind.MONEY: "money", FactKind.SHARE: "a share", FactKind.DAYS: "a number of days", FactKind.COUNT: "a count",
    FactKind.RANK: "a rank", FactKind.DELTA: "a difference", FactKind.NAME: "a name", FactKind.TEXT: "a text",
    FactKind.DATE: "a date",
}  # fmt: skip
_MARK = "\u25c6"  # stands where a fact stood


@dataclass(frozen=True)
class _Candidate:
    """A fact and the form in which it would stand here."""

    fact: Fact
    form: str | None

    @property
    def letter(self) -> str:
        return writing_class(self.fact, self.form)


@dataclass(frozen=True)
class _Slot:
    """A place where a fact stands: as it is written there, and the facts it can be (one in placeholder text)."""

    written: str
    candidates: tuple[_Candidate, ...]

    @property
    def is_name(self) -> bool:
        return any(one.fact.kind in {FactKind.NAME, FactKind.TEXT} for one in self.candidates)


@dataclass(frozen=True)
class _Marked:
    """A text with a mark for every slot, and the slots in order."""

    text: str
    slots: tuple[_Slot, ...]

    def by_sentence(self) -> list[_Marked]:
        parts, start = [], 0
        for sentence in sentences(self.text):
            end = start + sentence.count(_MARK)
            parts.append(_Marked(sentence, self.slots[start:end]))
            start = end
        return parts


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


def spoken_figures(text: str) -> list[str]:
    """Every figure in `text`, in digits or in words."""
    return _hits(_DIGIT, text) + _hits(_NUMBER_WORDS, text)


def _figures(text: str) -> list[Finding]:
    return [
        Finding("digit", f"{hit!r} is not from a fact: name the fact with {{{{key}}}}.") for hit in _hits(_DIGIT, text)
    ] + [
        Finding("number_word", f"{hit!r} is a figure in words: name a fact instead.")
        for hit in _hits(_NUMBER_WORDS, text)
    ]


def _marked_template(template: str, facts: FactBook) -> _Marked:
    slots: list[_Slot] = []

    def mark(match: re.Match[str]) -> str:
        fact = facts.get(match[1])
        form = match[2] or None
        is_known = fact is not None and (form is None or form in forms_of(fact.kind))
        slots.append(_Slot(match[0], (_Candidate(fact, form),) if fact is not None and is_known else ()))
        return _MARK

    return _Marked(PLACEHOLDER.sub(mark, template.replace(_MARK, " ")), tuple(slots))


def _marked_rendering(text: str, facts: FactBook) -> _Marked:
    text = text.replace(_MARK, " ")
    parts, slots, end = [], [], 0
    for span in find_renderings(text, facts):
        parts += [text[end : span.start], _MARK]
        candidates = tuple(_Candidate(fact, form) for fact, form in span.candidates)
        slots.append(_Slot(text[span.start : span.end], candidates))
        end = span.end
    return _Marked("".join([*parts, text[end:]]), tuple(slots))


def _directions(marked: _Marked) -> list[Finding]:
    """Direction and rank words of one sentence that no fact named in the same sentence carries."""
    sentence = marked.text
    marks = [match.start() for match in re.finditer(_MARK, sentence)]
    # A rendering that can also be no delta carries no direction of its own, so it proves nothing on its own either.
    deltas = {
        place: [one for one in slot.candidates if one.fact.kind is FactKind.DELTA]
        for place, slot in zip(marks, marked.slots, strict=True)
    }
    known = [one.fact.number for ones in deltas.values() for one in ones]
    found = []
    for pattern, sign in ((_UPWARD, 1), (_DOWNWARD, -1)):
        for match in pattern.finditer(sentence):
            hit = match[0].strip()
            if not known:
                found.append(
                    Finding("direction_without_fact", f"{hit!r}: a direction needs a delta fact in its sentence.")
                )
                continue
            beside = _beside(match, sentence, deltas)
            if not any(number * sign > 0 for number in (beside or known)):
                found.append(Finding("wrong_direction", f"{hit!r}: the delta in this sentence says the opposite."))
    if not known:
        found += [
            Finding("direction_without_fact", f"{hit!r}: a comparison needs a delta fact in its sentence.")
            for hit in _hits(_AVERAGE, sentence)
        ]
    ranks = [one.fact for slot in marked.slots for one in slot.candidates if one.fact.kind is FactKind.RANK]
    for pattern, is_top in ((_TOP, True), (_BOTTOM, False)):
        for hit in _hits(pattern, sentence):
            if not ranks:
                found.append(Finding("rank_without_fact", f"{hit!r}: a rank needs a rank fact in its sentence."))
            elif not any(rank.number == (1 if is_top else rank.of) for rank in ranks):
                found.append(Finding("wrong_rank", f"{hit!r}: the rank in this sentence is another."))
    return found


def _beside(match: re.Match[str], sentence: str, deltas: dict[int, list[_Candidate]]) -> list[float]:
    """The deltas that a direction word touches ("◆ above", "up by ◆"), which then decide alone."""
    touching = []
    for place, ones in deltas.items():
        before, after = sentence[place + 1 : match.start()], sentence[match.end() : place]
        touches = (place < match.start() and re.fullmatch(r"[ (]*", before)) or (
            place >= match.end() and re.fullmatch(r"(?: by| of|,)?[ (]*", after)
        )
        if ones and (touches or match.start() <= place < match.end()):
            touching += [one.fact.number for one in ones]
    return touching


def _places(marked: _Marked) -> list[Finding]:
    """Slots of one sentence whose neighbouring words speak of another unit or another subject matter."""
    found = []
    marks = [match.start() for match in re.finditer(_MARK, marked.text)]
    for number, slot in enumerate(marked.slots):
        start = marks[number - 1] + 1 if number else 0
        end = marks[number + 1] if number + 1 < len(marks) else len(marked.text)
        place = _Place(marked, number, marked.text[start : marks[number]], marked.text[marks[number] + 1 : end])
        verdicts = [place.judge(candidate) for candidate in slot.candidates]
        if verdicts and all(verdict is not None for verdict in verdicts):
            found += [verdict for verdict in verdicts[:1] if verdict is not None]
    return found


#: A comparison further from its figure than this speaks for itself.
_NEAR = 60


def _belonging(marked: _Marked) -> list[Finding]:
    """Figures of one sentence that stand beside another as if they belonged to it, and do not.

    A comparison right after a figure ("◆ of their orders, ◆ more than usual") is that figure's own, unless words of its
    own subject are there; a share in brackets after "◆ of ◆" is that of one of the two; and the price before, that of
    the same goods. Keys alone decide this, whatever the words.
    """
    marks = [match.start() for match in re.finditer(_MARK, marked.text)]
    found = []
    for here in range(1, len(marked.slots)):
        slot, before = marked.slots[here], marked.slots[here - 1]
        if not slot.candidates or not before.candidates:
            continue
        between = marked.text[marks[here - 1] + 1 : marks[here]]
        end = marks[here + 1] if here + 1 < len(marks) else len(marked.text)
        words = between + BOUNDARY.split(marked.text[marks[here] + 1 : end])[0]
        others = [before.candidates]
        if between == " (" and here > 1 and marked.text[marks[here - 2] + 1 : marks[here - 1]] == " of ":
            others.append(marked.slots[here - 2].candidates)
            is_wrong = all(one.fact.kind is FactKind.SHARE and _is_alien(one.fact, others) for one in slot.candidates)
        elif len(between) > _NEAR or re.search(r"[.!?;]", between):
            continue
        else:
            is_wrong = all(_is_misplaced(one.fact, before.candidates, words) for one in slot.candidates)
        if is_wrong:
            beside = before.candidates[0].fact.key
            found.append(
                Finding("wrong_key", f"{slot.written} is {slot.candidates[0].fact.key}; it stands as if of {beside}.")
            )
    return found


def _is_alien(fact: Fact, others: Sequence[Sequence[_Candidate]]) -> bool:
    """Whether a share in brackets is of neither of the two counts before it."""
    topic = topic_of(fact.key)
    near = [topic_of(one.fact.key) for candidates in others for one in candidates]
    return topic is not None and None not in near and topic not in near


def _is_misplaced(fact: Fact, before: Sequence[_Candidate], words: str) -> bool:
    """Whether a comparison, or a price before, is that of another figure than the one it follows."""
    if stem_of(fact.key).startswith("list_price") or stem_of(fact.key).startswith("price"):
        pair = {family_of(one.fact.key) for one in before if one.fact.kind is FactKind.MONEY}
        return None not in pair and bool(pair) and family_of(fact.key) not in pair and family_of(fact.key) is not None
    topic = topic_of(fact.key)
    if not fact.key.endswith(("_gap", "_shop")) or topic is None or topic.own.search(words):
        return False
    bases = [one.fact for one in before]
    if any(base.key.endswith(("_gap", "_shop", "_lean", "_change")) or topic_of(base.key) is None for base in bases):
        return False
    return all(_BASE.sub("", stem_of(base.key)) != _BASE.sub("", stem_of(fact.key)) for base in bases)


_BASE = re.compile(r"_(?:gap|shop|share)$")


@dataclass(frozen=True)
class _Place:
    """One slot in its sentence, with the words up to the slots on either side."""

    sentence: _Marked
    number: int
    left: str
    right: str

    def judge(self, one: _Candidate) -> Finding | None:
        """What is wrong with the fact in this place; None when nothing is."""
        written = self.sentence.slots[self.number].written
        for frame in UNIT_FRAMES:
            # A delta with its sign ("+12%") is a difference and no share, so it stands only where differences do.
            is_signed = one.fact.kind is FactKind.DELTA and not one.form and "V" not in frame.allowed
            is_allowed = one.letter in frame.allowed and not (is_signed and frame.says != "a direction")
            if not is_allowed and frame.matches(self.left, self.right):
                kind = _KINDS[one.fact.kind]
                return Finding("wrong_unit", f"{written} is {kind}; the words beside it say {frame.says}.")
        if said := self._other_subject(one):
            return Finding("wrong_key", f"{written} is {one.fact.key}; the words beside it speak of {said}.")
        return None

    def _other_subject(self, one: _Candidate) -> str:
        """The subject matter that the words around the slot speak of, when it is not the fact's own."""
        fact = one.fact
        if fact.kind in {FactKind.NAME, FactKind.TEXT, FactKind.DATE}:
            return ""
        if said := self._other_name(fact):
            return said
        topic = topic_of(fact.key)
        if topic is None:
            return ""
        clause, text = self._clause(), self.sentence.text
        if is_shop_wide(fact.key):
            if not SHOP_WORDS.search(clause) and not (SHOP_WORDS.search(text) and self._has_counterpart(fact)):
                return "the segment, not of the shop"
        elif fact.kind is not FactKind.DELTA and self._is_shop_s(fact):
            return "the shop as a whole"
        if is_change(fact.key) and not CHANGE_WORDS.search(text):
            return "something else than a change since the last run"
        if topic.name == "list_price" and self._is_other_price(clause):
            return "the price to pay"
        settled = False
        for frame in TOPIC_FRAMES:
            if one.letter in frame.judged and frame.matches(self.left, self.right):
                if topic.name in frame.topics:
                    settled |= frame.is_decisive
                # People who can be reached are customers too, but then the sentence must say so; and "of orders" goes
                # with whatever else the clause is about.
                elif self._is_said_elsewhere(fact, topic.name, frame.topics):
                    settled = True
                elif not (topic.is_required and topic.own.search(text)) and not (
                    (topic.name == "basket" or not frame.is_decisive) and topic.own.search(clause)
                ):
                    return " or ".join(sorted(frame.topics))
        if settled:
            return ""
        # A figure that stands alone (a struck price, a cell) has no words that could say anything else.
        if topic.is_required and len(_WORD.findall(text)) >= 3 and not topic.own.search(text):
            return "something else: it needs words of its own subject"
        return self._by_words(topic.name, fact, clause) or self._by_words(topic.name, fact, text)

    def _by_words(self, own: str, fact: Fact, words: str) -> str:
        if TOPICS[own].own.search(words) or self._names_family(fact):
            return ""
        others = [
            topic.name
            for topic in TOPICS.values()
            if topic.other is not None and group_of(fact) in topic.groups and topic.other.search(words)
        ]
        return " or ".join(others)

    def _clause(self) -> str:
        """The words that belong to this slot: up to the next slot of a figure, comma or conjunction."""
        left, right = BOUNDARY.split(self.left)[-1], BOUNDARY.split(self.right)[0]
        return f"{left}{_MARK}{right}"

    def _is_shop_s(self, fact: Fact) -> bool:
        """Whether the words around say that this is the shop's own figure, where the fact is a segment's."""
        topic = topic_of(fact.key)
        if fact.subject == SHOP or topic is None or "delta" not in topic.groups:
            return False
        if topic.name in {"customers", "revenue"}:
            return False
        clause = self._clause()
        left, _, right = clause.partition(_MARK)
        return SHOP_LEFT.search(left) is not None or SHOP_RIGHT.search(right) is not None

    def _has_counterpart(self, fact: Fact) -> bool:
        """Whether the segment's own figure stands in the sentence beside the shop's."""
        wanted = fact.key.removesuffix("_shop")
        return any(one.fact.key == wanted for slot in self.sentence.slots for one in slot.candidates)

    def _is_said_elsewhere(self, fact: Fact, own: str, topics: frozenset[str]) -> bool:
        """Whether another slot holds what the frame speaks of: "1,900 of the 3,412 customers can be reached"."""
        return own == "customers" and any(
            (topic := topic_of(one.fact.key)) is not None and topic.name in topics - {"customers"}
            for place, slot in enumerate(self.sentence.slots)
            if place != self.number
            for one in slot.candidates
            if one.fact.kind is fact.kind
        )

    def _is_other_price(self, clause: str) -> bool:
        """Whether a list price stands where nothing says that it is the price before."""
        return _WORD.search(clause) is not None and not TOPICS["list_price"].own.search(clause)

    def _names_family(self, fact: Fact) -> bool:
        family = family_of(fact.key)
        return family is not None and any(
            named is not None and named[0] == family[0]
            for slot in self.sentence.slots
            if slot.is_name
            for named in [family_of(slot.candidates[0].fact.key)]
        )

    def _named_share(self, fact: Fact) -> str:
        """The name whose share must stand here ("◆ are {{category2}}"), where the fact is no share of a name."""
        if topic_of(fact.key) is None:
            return ""
        slots = self.sentence.slots
        after = slots[self.number + 1] if self.number + 1 < len(slots) and _THEN_NAME.fullmatch(self.right) else None
        before = (
            slots[self.number - 1] if self.number and _NAME_THEN.search(f"{self.left}{_MARK}{self.right}") else None
        )
        for slot in (after, before):
            for one in slot.candidates if slot is not None and slot.is_name else ():
                named = family_of(one.fact.key)
                if named is not None and named[0] in {"category", "brand", "channel"}:
                    return "".join(named)
        return ""

    def _other_name(self, fact: Fact) -> str:
        """The name beside which a figure stands that belongs to another name (`category1_share` beside category2)."""
        family = family_of(fact.key)
        if family is None:
            return self._named_share(fact)
        marks = [match.start() for match in re.finditer(_MARK, self.sentence.text)]
        near: list[tuple[int, frozenset[tuple[str, str]]]] = []
        for place, slot in zip(marks, self.sentence.slots, strict=True):
            named = frozenset(
                own
                for one in slot.candidates
                if one.fact.kind is FactKind.NAME and (own := family_of(one.fact.key)) is not None
            )
            if named:
                near.append((abs(place - marks[self.number]), named))
        same = [(distance, named) for distance, named in near if any(name == family[0] for name, _ in named)]
        if not near:
            return ""
        if not same:
            # A price may stand beside the category of the goods.
            others = sorted({name for _, named in near for name, _ in named})
            return "" if family[0] == "product" else " or ".join(others)
        nearest = min(distance for distance, _ in same)
        if any(family in named for distance, named in same if distance <= nearest + 3):
            return ""
        return " or ".join(sorted({f"{name}{index}" for distance, named in same for name, index in named}))


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
    marked = _marked_template(template, facts)
    residual = marked.text
    found += [
        Finding("unfilled_placeholder", f"{hit!r} is left over from a form.") for hit in _hits(_UNFILLED, residual)
    ]
    found += _statements(marked)
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


def _statements(marked: _Marked) -> list[Finding]:
    """Figures outside the slots, and what the sentences around the slots claim."""
    found = _figures(marked.text)
    for sentence in marked.by_sentence():
        found += _directions(sentence)
        found += _places(sentence)
        found += _belonging(sentence)
    return found


def without_facts(text: str, facts: FactBook) -> str:
    """A rendered text with every rendering of a fact taken out (longest first); what is left is the writer's own."""
    return _marked_rendering(text, facts).text


def ungrounded_rendered(text: str, facts: FactBook, subject: str | None = None) -> list[Finding]:
    """Everything that a rendered text says in figures and its facts do not.

    Every stretch that is a rendering of a fact is taken for it (longest first); digits and number words that are left,
    and words beside a figure that fit none of the facts written so, are findings. With `subject`, a figure that is
    only another subject's is one too. Weaker than `ungrounded`, because a rendering can be several facts': use it on
    text whose template is gone (a person's edit, a stored draft).
    """
    marked = _marked_rendering(text, facts)
    found = []
    if subject is not None:
        found = [
            Finding("wrong_subject", f"{slot.written!r} is about {slot.candidates[0].fact.subject}, not {subject}.")
            for slot in marked.slots
            if all(one.fact.subject not in {subject, SHOP} for one in slot.candidates)
        ]
    return list(dict.fromkeys(found + _statements(marked)))


def _word_set(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


_ENGLISH = _word_set(
    "a about after all also an and any are as at be been before best but buy by can come customers do each every for",
    "from get give had has have here how if in into is it its keep last like look make many may more most new no not",
    "now of off on one or order other our out over own people see segment send share shop show so some such take tell",
    "than that the their them then there these they this those through time to too until up us use was way we welcome",
    "were what when where which while who will with write you your",
)
_FOREIGN = _word_set(
    "der die das und ist nicht mit für von den dem ein eine einen sie wir ihr auf aus werden sind kunden",
    "le la les des une est et pas pour dans avec sur vous nous qui que ils elles leur leurs du au aux cette",
    "el los las una y es con por para su sus que del muy más nuestros clientes ustedes",
    "il gli della delle che per con sono una nel questo e di non più clienti",
    "het een van zijn met voor niet deze klanten wij ze naar ook worden",
    "o os um uma não com em seus nossos da do para mais são dos",
) - _word_set("a do are the die in on an de")
_LEAST_WORDS = 6


def _not_english(text: str) -> bool:
    """Whether the writer's own words are in another script or have another language's function words."""
    letters = [letter for letter in text if letter.isalpha()]
    strange = sum(ord(letter) > 0x24F for letter in letters)
    if strange > max(2, len(letters) // 10):
        return True
    words = [word.lower() for word in _WORD.findall(text)]
    if len(words) < _LEAST_WORDS:
        return False
    english, foreign = sum(word in _ENGLISH for word in words), sum(word in _FOREIGN for word in words)
    return foreign > english or (len(words) >= 2 * _LEAST_WORDS and english * 12 < len(words))


def _repeats(text: str) -> str:
    """What `text` says over and over, shortened; empty when it does not."""
    words = [word.lower() for word in _WORD.findall(text.replace(_MARK, " x "))]
    for place in range(len(words) - 4):
        if len(set(words[place : place + 5])) == 1:
            return words[place]
    said = Counter(" ".join(_WORD.findall(sentence.lower())) for sentence in sentences(text))
    for sentence, times in said.most_common(1):
        if times >= 3 and len(sentence.split()) >= 3:
            return sentence[:60]
    threes = Counter(zip(words, words[1:], words[2:], strict=False))
    if len(words) >= 40 and len(threes) * 2 < len(words):
        return " ".join(threes.most_common(1)[0][0])
    return ""


def text_findings(
    where: str, text: str, facts: FactBook, subject: str | None, *, longest: int, shortest: int = 1
) -> list[Finding]:
    """Everything wrong with one text field of an answer; every detail begins with `where`.

    `longest` and `shortest` are characters of the text as it will be read, with its facts written out (of the template
    itself when a placeholder is unknown). Beside `ungrounded`: length, repetition, and another language than English.
    """
    try:
        length = len(render(text, facts).strip())
    except UnknownFactError:
        length = len(text.strip())
    found: list[Finding] = []
    if length == 0:
        found.append(Finding("empty", "there is no text."))
    elif length < shortest:
        found.append(Finding("too_short", f"{length} characters; write at least {shortest}."))
    if length > longest:
        found.append(Finding("too_long", f"{length:,} characters; keep it under {longest:,}."))
    # A flood is cut before it is read: the rules below say no more about its rest.
    text = text[: 4 * longest + 400]
    residual = PLACEHOLDER.sub(_MARK, text)
    if repeated := _repeats(residual):
        found.append(Finding("repetition", f"{repeated!r} again and again: say it a single time."))
    if _not_english(residual.replace(_MARK, " ")):
        found.append(Finding("not_english", "write in English."))
    found += ungrounded(text, facts, subject)
    return [Finding(finding.rule, f"{where}: {finding.detail}") for finding in dict.fromkeys(found)]
