"""Audiences inside a segment: a model chooses among the candidates, names them and says who they are.

What belongs here: the task, the embedded names and sentences, and the tables of what was chosen. What does not: finding
and counting audiences (`segmentation.audiences`); a name can only be given to a rule whose customers are counted. The
words of a rule are held against it by lists of words, so that a verdict can be read and repeated.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import polars as pl
from pydantic import create_model

from segmentation_assets.language.answers import Answer
from segmentation_assets.language.facts import (
    MINIMUM_CELL,
    SHOP,
    DeltaUnit,
    Fact,
    FactBook,
    FactKind,
    clean_name,
    is_few,
)
from segmentation_assets.language.grounding import Finding, sentences, text_findings
from segmentation_assets.language.prompt_files import load_prompt
from segmentation_assets.language.rendering import PLACEHOLDER, render, render_fact
from segmentation_assets.language.task import EMBEDDED, ChoicesBlock, FactsBlock, Outcome, Task
from segmentation_assets.segmentation.audiences import Audience, Condition, Unit

#: Columns of profiles.audiences and their DuckDB types, in order.
AUDIENCE_TYPES: dict[str, str] = {
    "audience_id": "VARCHAR", "axis": "VARCHAR", "segment_id": "VARCHAR", "name": "VARCHAR", "rule": "VARCHAR",
    "description": "VARCHAR", "customers": "BIGINT", "segment_share": "DOUBLE", "shop_share": "DOUBLE",
    "written_by": "VARCHAR", "is_degraded": "BOOLEAN",
}  # fmt: skip
#: Columns of profiles.audience_members and their DuckDB types, in order.
MEMBER_TYPES: dict[str, str] = {"audience_id": "VARCHAR", "customer_id": "VARCHAR"}

#: What the columns mean that the raw contract does not describe.
AUDIENCE_NOTES: dict[str, str] = {
    "audience_id": "Segment and question; the same in every run, also where the threshold of the rule moves.",
    "name": "What these people are called, with the name of their segment behind it.",
    "rule": "Condition over features.customer_features that the customers of the segment meet.",
    "description": "Who they are, in figures of the warehouse.",
    "customers": "Customers of the segment who meet the rule: the rows of profiles.audience_members.",
    "segment_share": "Those over all customers of the segment.",
    "shop_share": "The share of all customers who meet the rule.",
    "written_by": "Who gave the name and wrote the description.",
    "is_degraded": "True when the embedded writer stood in for a model that failed.",
}

#: Letters of a name, and lengths in characters.
SHORTEST_NAME, LONGEST_NAME = 3, 40
SHORTEST_DESCRIPTION, LONGEST_DESCRIPTION = 20, 320
OUTPUT_TOKENS = 700


class NamedAudience(Answer):
    """A candidate that was chosen, by its id, with its name and who is in it."""

    choice: str
    name: str
    description: str


class AudiencesAnswer(Answer):
    """The candidates chosen in a segment, at least one; `choice` is an enum of the ids of the request."""

    audiences: list[NamedAudience]


@dataclass(frozen=True)
class AudienceQuestion:
    """The candidates of one segment. `minimum_cell`: as of `FactBook.sendable`."""

    segment_name: str
    candidates: tuple[Audience, ...]
    currency: str = "EUR"
    minimum_cell: int = MINIMUM_CELL

    def __post_init__(self) -> None:
        """ValueError when there are no candidates or they are of several segments."""
        if not self.candidates:
            raise ValueError(f"Segment {self.segment_name!r} has no candidates; there is nothing to ask.")
        if len({(audience.axis, audience.segment_id) for audience in self.candidates}) > 1:
            raise ValueError(f"The candidates of {self.segment_name!r} are of several segments; ask for each apart.")

    @property
    def subject(self) -> str:
        """The segment, as the subject of facts is written."""
        return f"{self.candidates[0].axis} {self.candidates[0].segment_id}"

    @property
    def by_id(self) -> dict[str, Audience]:
        """The candidates by the ids of the request: a1, a2..."""
        return {f"a{place}": audience for place, audience in enumerate(self.candidates, start=1)}


def audiences_task(question: AudienceQuestion) -> Task[AudiencesAnswer]:
    """The task of choosing, naming and describing the audiences of one segment."""
    segment, books = segment_facts_of(question), candidate_facts(question)
    answer_type = _answer_type(tuple(books))
    return Task(
        name="audiences",
        item=question.subject,
        prompt=load_prompt("audiences"),
        blocks=(FactsBlock("The segment", segment), ChoicesBlock("The candidates", books)),
        answer_type=answer_type,
        check=lambda answer: audience_findings(question, answer),
        fallback=lambda: answer_type.model_validate(
            {"audiences": [_embedded(question, choice).model_dump() for choice in books]}
        ),
        customers=question.candidates[0].segment_customers,
        output_tokens=OUTPUT_TOKENS,
    )


@lru_cache(maxsize=64)
def _answer_type(choices: tuple[str, ...]) -> type[AudiencesAnswer]:
    """The answer with an enum of these ids: a server that keeps to the schema cannot name another."""
    # Types made at run time have no static type.
    choice: Any = Literal[choices]
    fields: dict[str, Any] = {"choice": (choice, ...)}
    named: Any = create_model("NamedAudience", __base__=NamedAudience, **fields)
    fields = {"audiences": (list[named], ...)}
    return create_model("AudiencesAnswer", __base__=AudiencesAnswer, **fields)


# --- facts ---------------------------------------------------------------------------------------------------------

_KINDS: Mapping[Unit, FactKind] = {
    "share": FactKind.SHARE, "days": FactKind.DAYS, "money": FactKind.MONEY, "count": FactKind.COUNT,
    "ratio": FactKind.DELTA,
}  # fmt: skip

#: What a feature measures, short enough that two with their thresholds fit the longest text of a fact.
_MEASURES: Mapping[str, str] = {
    "recency_days": "last order ago", "order_count": "orders", "monetary_amount": "money spent",
    "average_order_amount": "money per order", "tenure_days": "time as a customer",
    "days_between_orders": "time between orders", "return_share": "share sent back", "discount_share": "discount share",
    "coupon_order_share": "orders with a coupon", "campaign_order_share": "orders during campaigns",
    "price_level": "prices paid", "category_count": "categories bought",
    "favourite_category_share": "share of favourite category", "favourite_brand_share": "share of favourite brand",
    "spring_share": "share bought in spring", "summer_share": "share bought in summer",
    "autumn_share": "share bought in autumn", "winter_share": "share bought in winter",
    "week_of_month_1_share": "share bought at the start of a month",
    "week_of_month_2_share": "share bought just before mid-month",
    "week_of_month_3_share": "share bought just after mid-month",
    "week_of_month_4_share": "share bought at the end of a month", "weekend_share": "share bought at weekends",
    "add_to_cart_count": "products put into the cart", "wishlist_count": "products on wish lists",
    "events_last_90_days": "recent actions on site and app", "campaigns_received": "campaigns received",
    "campaign_response_share": "campaigns answered", "loyalty_points": "loyalty points",
}  # fmt: skip


def segment_facts_of(question: AudienceQuestion) -> FactBook:
    """Name and size of the segment; texts about any of its candidates may use them."""
    size = question.candidates[0].segment_customers
    facts = [Fact("segment_customers", FactKind.COUNT, size, subject=SHOP, customers=size)]
    if name := clean_name(question.segment_name):
        facts.insert(0, Fact("segment", FactKind.NAME, name, subject=SHOP, customers=size))
    return FactBook(tuple(facts), question.currency)


def candidate_facts(question: AudienceQuestion) -> dict[str, FactBook]:
    """The facts of each candidate by its id; keys begin with the id, and the subject is the candidate.

    `customers`, `share` (of the segment), `shop_share`, `share_gap` (points above the shop), `lift` (relative),
    `threshold` and `threshold2` of the rule's conditions, and the `rule` in words.
    """
    return {
        choice: FactBook(tuple(_facts(question, choice, audience)), question.currency)
        for choice, audience in question.by_id.items()
    }


def _facts(question: AudienceQuestion, choice: str, audience: Audience) -> list[Fact]:
    subject, cell = f"{question.subject} {choice}", question.minimum_cell
    inside: dict[str, Any] = {
        "subject": subject, "customers": audience.segment_customers, "numerator": audience.customers,
    }  # fmt: skip
    # The shop's figures less the segment's tell of those who meet the rule elsewhere: as few must not be told apart.
    elsewhere = audience.shop_members - audience.customers
    not_elsewhere = audience.shop_customers - audience.segment_customers - elsewhere
    shop: dict[str, Any] = {
        "subject": subject, "customers": audience.shop_customers, "numerator": audience.shop_members,
        "stays": is_few(elsewhere, cell) or is_few(not_elsewhere, cell),
    }  # fmt: skip
    thresholds = [_threshold(condition) for condition in audience.rule.conditions]
    rule = ", ".join(
        _in_words(condition, kind, value, question.currency)
        for condition, (kind, value) in zip(audience.rule.conditions, thresholds, strict=True)
    )
    facts = [
        Fact(f"{choice}.rule", FactKind.TEXT, rule, subject=subject),
        Fact(f"{choice}.customers", FactKind.COUNT, audience.customers, **inside),
        Fact(f"{choice}.share", FactKind.SHARE, audience.segment_share, **inside),
        Fact(f"{choice}.shop_share", FactKind.SHARE, audience.shop_share, **shop),
        Fact(f"{choice}.lift", FactKind.DELTA, round(audience.lift - 1, 6), **shop),
    ]
    gap = round(audience.segment_share - audience.shop_share, 6)
    if gap >= 0.0005:  # below, it would be written as no points at all
        facts.append(Fact(f"{choice}.share_gap", FactKind.DELTA, gap, unit=DeltaUnit.POINTS, **shop))
    facts += [
        Fact(f"{choice}.threshold{'' if place == 1 else place}", kind, value, subject=subject)
        for place, (kind, value) in enumerate(thresholds, start=1)
    ]
    return facts


def _threshold(condition: Condition) -> tuple[FactKind, float]:
    kind = _KINDS[condition.unit]
    # A ratio of 1.25 to the usual is said as a quarter above it.
    return kind, round(condition.threshold - 1, 6) if kind is FactKind.DELTA else condition.threshold


def _in_words(condition: Condition, kind: FactKind, value: float, currency: str) -> str:
    fact = Fact("threshold", kind, value)
    if kind is FactKind.DELTA:
        return f"{_MEASURES[condition.feature]} at least {render_fact(fact, currency, 'above')} the usual"
    bound = "at least" if condition.operator == ">=" else "at most"
    return f"{_MEASURES[condition.feature]} {bound} {render_fact(fact, currency)}"


# --- the embedded writer --------------------------------------------------------------------------------------------

_OFTEN = "have placed {u} or more orders and "

#: What the customers of each question do; {t} is the threshold of the rule and {u} that of its second condition.
_DOING: Mapping[str, str] = {
    "deal-seekers": "save at least {t} of the list price through discounts",
    "recent-deal-seekers": "save at least {t} of the list price through discounts and last ordered within {u}",
    "full-price": _OFTEN + "save at most {t} of the list price through discounts",
    "coupon-users": "use a coupon for at least {t} of their orders",
    "returners": _OFTEN + "send back at least {t} of what they buy",
    "keepers": _OFTEN + "send back at most {t} of what they buy",
    "weekend": _OFTEN + "buy at least {t} of their items at weekends",
    "weekday": _OFTEN + "buy at most {t} of their items at weekends",
    "spring": _OFTEN + "buy at least {t} of their items in spring",
    "summer": _OFTEN + "buy at least {t} of their items in summer",
    "autumn": _OFTEN + "buy at least {t} of their items in autumn",
    "winter": _OFTEN + "buy at least {t} of their items in winter",
    "start-of-month": _OFTEN + "buy at least {t} of their items in the opening week of a month",
    "second-week": _OFTEN + "buy at least {t} of their items shortly before the middle of a month",
    "third-week": _OFTEN + "buy at least {t} of their items shortly after the middle of a month",
    "fourth-week": _OFTEN + "buy at least {t} of their items towards the end of a month",
    "premium": "pay prices at least {t|above} the usual for what they choose",
    "thrifty": "pay prices at least {t|above} the usual for what they choose",
    "category-devotees": _OFTEN + "buy at least {t} of their items in a favourite category",
    "explorers": "have bought from {t} or more categories",
    "brand-faithful": _OFTEN + "buy at least {t} of their items from a favourite brand",
    "brand-switchers": _OFTEN + "buy at most {t} of their items from any brand they favour",
    "responders": "have received {u} or more campaigns and answered at least {t} of them",
    "silent": "have received {u} or more campaigns and answered at most {t} of them",
    "campaign-buyers": "place at least {t} of their orders while a campaign reaches them",
    "browsers": "have done {t} or more things on the site or in the app of late",
    "window-shoppers": "have done {t} or more things on the site or in the app of late, and last ordered at least {u} "
    "ago",
    "wish-lists": "have put {t} or more products on a wish list",
    "cart-fillers": "have put something into the cart at least {t|times}",
    "big-baskets": "spend at least {t} an order",
    "small-baskets": "spend at most {t} an order",
    "big-spenders": "have spent at least {t} in all",
    "just-bought": "last ordered at most {t} ago",
    "quiet-regulars": "have placed {u} or more orders, but last ordered at least {t} ago",
    "gone-quiet": "last ordered at least {t} ago",
    "newcomers": "joined at most {t} ago",
    "long-standing": "have been customers for at least {t}",
    "frequent": "have placed {t} or more orders",
    "first-order": "have ordered at most {t|times}, and at most {u} ago",
    "quick-rhythm": "leave at most {t} between orders",
    "slow-rhythm": "leave at least {t} between orders",
    "point-collectors": "hold {t} or more loyalty points",
}

#: How the size is told around what they do; the neighbours of a segment read differently.
_FRAMES = (
    "{customers} customers, {share} of the segment, {doing}. That is {lift|more} common here than in the shop as a "
    "whole.",
    "{share} of the segment, or {customers} customers, {doing}; in the whole shop it is {shop_share}.",
    "These {customers} customers {doing}. They make up {share} of the segment, {share_gap|above} the shop as a whole.",
)
_SLOT = re.compile(r"\{(\w+)(\|\w+)?\}")


def _embedded(question: AudienceQuestion, choice: str) -> NamedAudience:
    audience = question.by_id[choice]
    doing = _filled(_DOING[audience.rule.question], choice, {"t": "threshold", "u": "threshold2"})
    turn = (zlib.crc32(question.subject.encode()) + list(question.by_id).index(choice)) % len(_FRAMES)
    if f"{choice}.share_gap" not in candidate_facts(question)[choice] and "share_gap" in _FRAMES[turn]:
        turn = 0
    description = _filled(_FRAMES[turn].replace("{doing}", "\0"), choice, {}).replace("\0", doing)
    return NamedAudience(choice=choice, name=audience.rule.title, description=description)


def _filled(frame: str, choice: str, keys: Mapping[str, str]) -> str:
    return _SLOT.sub(lambda slot: "{{" + f"{choice}.{keys.get(slot[1], slot[1])}{slot[2] or ''}" + "}}", frame)


# --- what is true of a rule -----------------------------------------------------------------------------------------


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile(r"(?i)(?<![\w'’-])(?:" + "|".join(alternatives) + r")(?![\w’'-])")


#: Words that are about what a feature measures, by subject; the features of which they may be said.
_SUBJECTS: Mapping[str, tuple[re.Pattern[str], frozenset[str]]] = {
    "discounts": (
        _words(r"discount\w*", r"deals?", r"deal[ -]\w+", r"reductions?", r"reduced", r"bargain\w*", r"on sale",
               r"full[ -]price"),
        frozenset({"discount_share"}),
    ),
    "coupons": (_words(r"coupons?", r"vouchers?", r"promo(?:tion)? codes?"), frozenset({"coupon_order_share"})),
    "returns": (
        _words(r"sen(?:d|ds|ding|t)(?: \w+)?[ -]back", r"refund\w*", r"returners?", r"keepers?", r"returned",
               r"returns? (?:goods|items|orders|purchases|products)"),
        frozenset({"return_share"}),
    ),
    "weekends": (
        _words(r"weekends?", r"weekend[ -]\w+", r"weekdays?", r"weekday[ -]\w+", r"saturdays?", r"sundays?",
               r"working days?"),
        frozenset({"weekend_share"}),
    ),
    "spring": (_words(r"spring(?:time)?"), frozenset({"spring_share"})),
    "summer": (_words(r"summers?(?:time)?"), frozenset({"summer_share"})),
    "autumn": (_words(r"autumn"), frozenset({"autumn_share"})),
    "winter": (_words(r"winters?(?:time)?"), frozenset({"winter_share"})),
    "the start of a month": (
        _words(r"(?:start|beginning|opening)[ -](?:week )?of[ -](?:the |a |each )?month", r"early in the month",
               r"opening week"),
        frozenset({"week_of_month_1_share"}),
    ),
    "the middle of a month": (
        _words(r"mid-month", r"middle of (?:the|a|each) month"),
        frozenset({"week_of_month_2_share", "week_of_month_3_share"}),
    ),
    "the end of a month": (
        _words(r"end[ -]of[ -](?:the |a |each )?month", r"late in the month", r"payday\w*"),
        frozenset({"week_of_month_4_share"}),
    ),
    "prices": (
        _words(r"premium", r"luxur\w+", r"upmarket", r"upscale", r"thrifty", r"cheap\w*", r"inexpensive", r"expensive",
               r"dearer", r"low-priced", r"high-priced", r"price level", r"budget\w*"),
        frozenset({"price_level"}),
    ),
    "categories": (
        _words(r"categor(?:y|ies)", r"explor\w+"), frozenset({"favourite_category_share", "category_count"}),
    ),
    "brands": (_words(r"brands?", r"brand[ -]\w+"), frozenset({"favourite_brand_share"})),
    "campaigns": (
        _words(r"campaigns?", r"responders?"),
        frozenset({"campaign_response_share", "campaigns_received", "campaign_order_share"}),
    ),
    "browsing": (
        _words(r"brows\w+", r"visit\w*", r"on the site", r"in the app", r"window[ -]shop\w*", r"click\w*"),
        frozenset({"events_last_90_days"}),
    ),
    "wish lists": (_words(r"wish[ -]?lists?"), frozenset({"wishlist_count"})),
    "carts": (_words(r"carts?"), frozenset({"add_to_cart_count"})),
    "spending": (
        _words(r"spen(?:d|ds|t|ding|ders?)", r"baskets?"), frozenset({"monetary_amount", "average_order_amount"}),
    ),
    "loyalty points": (_words(r"loyalty points?", r"points?"), frozenset({"loyalty_points"})),
    "the last order": (
        _words(r"recent(?:ly)?", r"lately", r"of late", r"last (?:ordered|bought|orders?|purchases?)",
               r"(?:gone|went|stayed) quiet", r"stay(?:ed|ing)? away", r"lapsed", r"dormant", r"inactive",
               r"just bought", r"fresh from"),
        frozenset({"recency_days", "events_last_90_days"}),
    ),
    "time as a customer": (
        _words(r"newcomers?", r"new customers?", r"joined", r"signed up", r"long-standing", r"long-time", r"veterans?",
               r"became customers", r"been customers"),
        frozenset({"tenure_days"}),
    ),
    "pauses between orders": (
        _words(r"between orders", r"rhythm", r"reorder\w*", r"pauses?"), frozenset({"days_between_orders"}),
    ),
    "the number of orders": (
        _words(r"regulars?", r"one-time", r"single orders?", r"first orders?", r"repeat \w+",
               r"frequent (?:buyers?|customers?|orderers?|shoppers?)", r"orders? (?:often|seldom|rarely)"),
        frozenset({"order_count"}),
    ),
}  # fmt: skip

#: Words that say much, or little, of a feature in particular.
_LEANINGS: Mapping[str, tuple[re.Pattern[str], re.Pattern[str]]] = {
    "discount_share": (_words(r"deal[ -](?:seekers?|hunters?)", r"bargain \w+"), _words(r"full[ -]price")),
    "return_share": (_words(r"returners?"), _words(r"keepers?", r"keeps? (?:what|everything)")),
    "weekend_share": (
        _words(r"weekend (?:shoppers?|buyers?|customers?)"), _words(r"weekdays?", r"weekday \w+", r"working days?"),
    ),
    "price_level": (
        _words(r"premium", r"luxur\w+", r"upmarket", r"upscale", r"expensive", r"dearer", r"high-priced"),
        _words(r"thrifty", r"cheap\w*", r"inexpensive", r"low-priced", r"budget\w*"),
    ),
    "favourite_category_share": (_words(r"devot\w+", r"faithful", r"loyal"), _words(r"explor\w+", r"switch\w+")),
    "category_count": (_words(r"explor\w+", r"variety"), _words(r"devot\w+", r"faithful")),
    "favourite_brand_share": (_words(r"devot\w+", r"faithful", r"loyal"), _words(r"switch\w+", r"any brand")),
    "campaign_response_share": (
        _words(r"responders?", r"responsive"), _words(r"silent", r"unresponsive", r"ignor\w+", r"unanswered"),
    ),
    "recency_days": (
        _words(r"quiet", r"lapsed", r"long ago", r"stay(?:ed|ing)? away", r"dormant", r"inactive", r"absent"),
        _words(r"recent(?:ly)?", r"lately", r"of late", r"fresh", r"just bought", r"active"),
    ),
    "events_last_90_days": (_words(r"active", r"lately", r"of late", r"recent(?:ly)?"), _words(r"inactive")),
    "tenure_days": (
        _words(r"long-standing", r"long-time", r"veterans?", r"established"),
        _words(r"newcomers?", r"new", r"newly", r"recent(?:ly)?"),
    ),
    "days_between_orders": (
        _words(r"slow\w*", r"unhurried", r"long pauses?", r"patient"), _words(r"quick\w*", r"fast", r"short pauses?"),
    ),
    "order_count": (
        _words(r"frequent\w*", r"regulars?", r"repeat"), _words(r"one-time", r"single orders?", r"first orders?"),
    ),
    "average_order_amount": (_words(r"big", r"large", r"full"), _words(r"small", r"little", r"modest")),
    "monetary_amount": (_words(r"big", r"large"), _words(r"small", r"little", r"modest")),
}  # fmt: skip

_MUCH = _words(
    r"often", r"mostly", r"mainly", r"frequent(?:ly)?", r"heav(?:y|ily)", r"many", r"a lot", r"always",
    r"strong(?:ly)?", r"big", r"large", r"high", r"keen(?:ly)?", r"eager(?:ly)?", r"love", r"prefer",
)  # fmt: skip
_LITTLE = _words(
    r"rarely", r"seldom", r"hardly", r"barely", r"scarcely", r"never", r"not", r"don[’']t", r"without", r"avoid\w*",
    r"few", r"little", r"low", r"small", r"ignor\w+",
)  # fmt: skip
#: A long time since, or between, orders is said with words of little: these go by their own words alone.
_TURNED = frozenset({"recency_days", "days_between_orders"})

# Longer alternatives come first: "no more than" is at most.
_BOUND = re.compile(
    r"(?i)\b(?:(?P<down>at most|no more than|not more than|no longer than|up to|under|below|less than|fewer than|"
    r"within|(?:a )?maximum of)|(?P<up>at least|no less than|no fewer than|not less than|not fewer than|from|over|"
    r"above|more than|longer than|beyond|(?:a )?minimum of|upwards of))\b"
)
_BOUND_AFTER = re.compile(
    r"(?i)^\s+(?:or|and)\s+(?:(?P<down>less|fewer|below|under|shorter)|(?P<up>more|above|over|longer|higher|up))\b"
)
_NAME = re.compile(r"[^\W\d_](?:[^\W\d_]|[ &'’,-])*")


def audience_findings(question: AudienceQuestion, answer: AudiencesAnswer) -> list[Finding]:
    """Everything wrong with `answer`: choices, names, and descriptions that their own rule does not bear out."""
    candidates, books = question.by_id, candidate_facts(question)
    facts = segment_facts_of(question).extended(fact for book in books.values() for fact in book)
    found: list[Finding] = []
    if not answer.audiences:
        found.append(Finding("no_audience", "audiences: choose at least one of the candidates."))
    seen: set[str] = set()
    names: dict[str, str] = {}
    for named in answer.audiences:
        if named.choice not in candidates:
            found.append(Finding("unknown_choice", f"{named.choice}: choose among {', '.join(candidates)}."))
            continue
        if named.choice in seen:
            found.append(Finding("repeated_choice", f"{named.choice}: it is chosen more than once; name it once."))
        seen.add(named.choice)
        other = names.setdefault(named.name.casefold(), named.choice)
        if other != named.choice:
            found.append(Finding("repeated_name", f"{named.choice} name: {named.name!r} is the name of {other} too."))
        audience = candidates[named.choice]
        found += _name_findings(f"{named.choice} name", named.name, audience)
        found += _description_findings(question, named, audience, facts)
    return list(dict.fromkeys(found))


def _name_findings(where: str, name: str, audience: Audience) -> list[Finding]:
    found = text_findings(where, name, FactBook(), None, longest=LONGEST_NAME, shortest=SHORTEST_NAME)
    if not _NAME.fullmatch(name):
        found.append(Finding("name_form", f"{where}: use letters, spaces, & - ' and commas only."))
    return found + _truth_findings(where, name, audience, name_only=True)


def _description_findings(
    question: AudienceQuestion, named: NamedAudience, audience: Audience, facts: FactBook
) -> list[Finding]:
    where, text, choice = f"{named.choice} description", named.description, named.choice
    found = text_findings(
        where, text, facts, f"{question.subject} {choice}", longest=LONGEST_DESCRIPTION, shortest=SHORTEST_DESCRIPTION
    )
    used = {match[1] for match in PLACEHOLDER.finditer(text)}
    if not used & {f"{choice}.threshold", f"{choice}.rule"}:
        found.append(Finding("rule_unsaid", f"{where}: say the rule with {{{{{choice}.threshold}}}}."))
    found += _bound_findings(where, text, choice, audience)
    for key, whole, wrong in (
        ("share", "the segment", r"(?:all|every|the (?:whole |entire )?shop|our) ?"),
        ("shop_share", "all customers of the shop", r"(?:the|this) (?:whole |entire )?(?:segment|group)"),
    ):
        if re.search(rf"(?i)\{{\{{{choice}\.{key}\}}\}} of (?:{wrong})", text):
            found.append(Finding("wrong_whole", f"{where}: {{{{{choice}.{key}}}}} is a share of {whole}."))
    return found + _truth_findings(where, text, audience)


def _bound_findings(where: str, text: str, choice: str, audience: Audience) -> list[Finding]:
    """Thresholds said without a bound, or with that of the other direction."""
    keys = {
        f"{choice}.threshold{'' if place == 1 else place}": condition
        for place, condition in enumerate(audience.rule.conditions, start=1)
    }
    found = []
    for sentence in sentences(text):
        start = 0
        for match in PLACEHOLDER.finditer(sentence):
            before, after, start = sentence[start : match.start()], sentence[match.end() :], match.end()
            condition = keys.get(match[1])
            if condition is None:
                continue
            # What is below the usual carries its direction in its sign: at least so far below.
            is_up = condition.operator == ">=" or condition.unit == "ratio"
            bounds = [*_BOUND.finditer(before)][-1:]
            bound = _BOUND_AFTER.search(after) or (bounds[0] if bounds else None)
            right = "at least" if is_up else "at most"
            if bound is None:
                found.append(Finding("bound_unsaid", f"{where}: {match[0]} is a bound; write {right!r} before it."))
            elif (bound["up"] is not None) is not is_up:
                found.append(
                    Finding(
                        "wrong_direction",
                        f"{where}: {bound[0].strip()!r} at {match[0]}; the rule is {condition.sql}: {right}.",
                    )
                )
    return found


def _truth_findings(where: str, text: str, audience: Audience, *, name_only: bool = False) -> list[Finding]:
    """Words on what the rule does not measure, and words that say the opposite of it."""
    conditions = audience.rule.conditions
    own = {condition.feature for condition in conditions}
    residual = PLACEHOLDER.sub("\u25c6", text)
    found = []
    for subject, (pattern, features) in _SUBJECTS.items():
        if features & own:
            continue
        for hit in _hits(pattern, residual):
            # A word that may be about several things is right when one of them is the rule's.
            if not any(other & own and p.search(hit) for p, other in _SUBJECTS.values()):
                found.append(
                    Finding("other_subject", f"{where}: {hit!r} is about {subject}; the rule is {audience.rule.sql}.")
                )
    for condition in conditions:
        for hit in _opposite_leanings(condition, residual):
            if not any(hit in _own_leanings(other, residual) for other in conditions):
                found.append(
                    Finding("wrong_direction", f"{where}: {hit!r} says the opposite of the rule {condition.sql}.")
                )
    for sentence in sentences(text):
        found += _amount_findings(where, sentence, conditions, name_only=name_only)
    return found


def _hits(pattern: re.Pattern[str], text: str) -> list[str]:
    return list(dict.fromkeys(match[0] for match in pattern.finditer(text)))


def _own_leanings(condition: Condition, text: str) -> list[str]:
    leanings = _LEANINGS.get(condition.feature)
    return [] if leanings is None else _hits(leanings[0 if condition.operator == ">=" else 1], text)


def _opposite_leanings(condition: Condition, text: str) -> list[str]:
    leanings = _LEANINGS.get(condition.feature)
    return [] if leanings is None else _hits(leanings[1 if condition.operator == ">=" else 0], text)


def _is_about(condition: Condition, text: str) -> bool:
    return any(condition.feature in features and pattern.search(text) for pattern, features in _SUBJECTS.values())


def _amount_findings(where: str, sentence: str, conditions: Sequence[Condition], *, name_only: bool) -> list[Finding]:
    """Words of much where the rule says little, the other way round, and a subject of little said without a bound."""
    residual = PLACEHOLDER.sub("\u25c6", sentence)
    about = [condition for condition in conditions if _is_about(condition, residual)]
    # A sentence that is about no condition in particular is read as about the first, which is what the rule says.
    condition = about[0] if about else conditions[0]
    is_much = condition.operator == ">="
    found = []
    if condition.feature not in _TURNED:
        allowed = [hit for other in conditions for hit in _own_leanings(other, residual)]
        for hit in _hits(_LITTLE if is_much else _MUCH, residual):
            if not any(hit in leaning for leaning in allowed):
                found.append(
                    Finding("wrong_direction", f"{where}: {hit!r} says the opposite of the rule {condition.sql}.")
                )
    # Prices paid far below the usual are told by the sign of their placeholder.
    if about and not is_much and condition.unit != "ratio":
        is_bounded = any(bound["down"] for bound in _BOUND.finditer(residual)) or re.search(
            r"(?i)\u25c6 or (?:less|fewer|below|under)\b", residual
        )
        if (
            not (is_bounded and not name_only)
            and not _LITTLE.search(residual)
            and not _own_leanings(condition, residual)
        ):
            found.append(
                Finding("wrong_direction", f"{where}: {sentence!r} reads as much of it; the rule is {condition.sql}.")
            )
    return found


# --- tables --------------------------------------------------------------------------------------------------------


def audiences_frames(
    questions: Sequence[AudienceQuestion],
    outcomes: Sequence[Outcome[AudiencesAnswer]],
    members: pl.DataFrame,
    *,
    taken: Collection[str] = (),
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """profiles.audiences (AUDIENCE_TYPES) and profiles.audience_members (MEMBER_TYPES), sorted by their ids.

    `outcomes`: one per question, in the same order. `members`: `segmentation.audiences.audience_members` of all the
    candidates. Candidates that were not chosen keep their embedded name. A name carries the segment's behind it, so it
    can be told from that of the same question in another segment; one of `taken` (names of segments) gets its id too.
    ValueError when the members of an audience are not as many as it counts.
    """
    counted = dict(members.group_by("audience_id").len().iter_rows())
    used = {name.casefold() for name in taken}
    rows: list[dict[str, Any]] = []
    for question, outcome in zip(questions, outcomes, strict=True):
        facts = segment_facts_of(question).extended(f for book in candidate_facts(question).values() for f in book)
        chosen = {named.choice: named for named in outcome.answer.audiences}
        for choice, audience in question.by_id.items():
            named = chosen.get(choice)
            written = named or _embedded(question, choice)
            saved = counted.get(audience.audience_id, 0)
            if saved != audience.customers:
                raise ValueError(
                    f"Audience {audience.audience_id} counts {audience.customers} customers and {saved} are saved: "
                    "its members must come from the features and segments it was found in."
                )
            name = f"{written.name} · {clean_name(question.segment_name) or audience.segment_id}"
            if name.casefold() in used:
                name = f"{name} ({audience.audience_id})"
            used.add(name.casefold())
            rows.append(
                {
                    "audience_id": audience.audience_id,
                    "axis": audience.axis,
                    "segment_id": audience.segment_id,
                    "name": name,
                    "rule": audience.rule.sql,
                    "description": render(written.description, facts),
                    "customers": audience.customers,
                    "segment_share": audience.segment_share,
                    "shop_share": audience.shop_share,
                    "written_by": EMBEDDED if named is None else outcome.written_by,
                    "is_degraded": outcome.is_degraded,
                }
            )
    polars = {"VARCHAR": pl.String(), "BIGINT": pl.Int64(), "DOUBLE": pl.Float64(), "BOOLEAN": pl.Boolean()}
    frame = pl.DataFrame(rows, schema={name: polars[kind] for name, kind in AUDIENCE_TYPES.items()})
    own = members.filter(pl.col("audience_id").is_in(frame["audience_id"].to_list()))
    return frame.sort("audience_id"), own.select(*MEMBER_TYPES).sort(*MEMBER_TYPES)
