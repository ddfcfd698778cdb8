"""The embedded writer of segment profiles, and the finished tables of profiles and of their facts.

What belongs here: the choice of sentences by what a segment's facts say, and the table made of answers, whoever wrote
them, and of what people wrote over them. What does not: figures (every one comes in by `{{key}}`), facts themselves
(`segment_facts`) and the task a model is given (`tasks.profile`). Each sentence states the facts it needs; a sentence
whose facts are missing is left out, and where that would leave nothing the profile says plainly what is not known.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from segmentation_assets.language.answer_facts import MANY_FATIGUED, NOTABLE_CLICKS, NOTABLE_REFUSALS, clear_gap
from segmentation_assets.language.answers import Answer
from segmentation_assets.language.facts import FactBook, FactKind
from segmentation_assets.language.grounding import Finding, ungrounded
from segmentation_assets.language.rendering import PLACEHOLDER, forms_of, render, render_fact
from segmentation_assets.language.segment_facts import Driver, SegmentFacts
from segmentation_assets.language.task import Outcome

#: What a person wrote: (axis, segment_id) -> column -> the text as a template, and when it was written (naive UTC).
Edits = Mapping[tuple[str, str], Mapping[str, tuple[str, dt.datetime]]]

#: Columns of profiles.segment_profiles and their DuckDB types, in order.
PROFILE_TYPES: dict[str, str] = {
    "axis": "VARCHAR", "segment_id": "VARCHAR", "name": "VARCHAR", "who": "VARCHAR", "what": "VARCHAR",
    "how": "VARCHAR", "objective": "VARCHAR", "message": "VARCHAR", "channel": "VARCHAR", "resonance": "VARCHAR",
    "do_not": "VARCHAR", "confidence_sentence": "VARCHAR", "customers": "BIGINT", "reachable_customers": "BIGINT",
    "revenue_share": "DOUBLE", "change_since_last": "VARCHAR", "top_categories": "VARCHAR", "best_offer": "VARCHAR",
    "written_by": "VARCHAR", "is_degraded": "BOOLEAN", "edited_fields": "VARCHAR", "edited_at": "TIMESTAMP",
}  # fmt: skip

#: What the columns mean that the raw contract does not describe.
PROFILE_NOTES: dict[str, str] = {
    "who": "Who these customers are, in figures of the warehouse.",
    "what": "What they want: categories, price, discounts, season.",
    "how": "How to reach them, and when.",
    "objective": "What a campaign to them should aim at.",
    "message": "What the campaign should say to them.",
    "channel": "The channel the data support, otherwise e-mail.",
    "resonance": "Why that message should find an ear, from the data.",
    "do_not": "What to leave alone.",
    "confidence_sentence": "How far the segment can be trusted: structure, stability, size.",
    "change_since_last": "What moved since the run before.",
    "top_categories": "Categories that set the segment's baskets apart, strongest first.",
    "best_offer": "The offer that suits the segment.",
    "written_by": "Who wrote the texts.",
    "is_degraded": "True when the embedded writer stood in for a model that failed.",
    "edited_fields": "Columns whose text a person wrote, separated by commas; empty when none.",
    "edited_at": "When a person last wrote one of them (UTC); null when none.",
}

#: Columns of profiles.profile_facts: what the texts of a segment may state, one row per fact.
PROFILE_FACT_TYPES: dict[str, str] = {
    "axis": "VARCHAR", "segment_id": "VARCHAR", "key": "VARCHAR", "kind": "VARCHAR", "value": "VARCHAR",
    "number": "DOUBLE", "unit": "VARCHAR", "of": "BIGINT", "customers": "BIGINT", "numerator": "BIGINT",
    "subject": "VARCHAR", "currency": "VARCHAR", "renderings": "VARCHAR",
}  # fmt: skip

PROFILE_FACT_NOTES: dict[str, str] = {
    "key": "Name of the fact: a text states it as {{key}}.",
    "kind": "What the value is: money, share, days, count, rank, delta, name, text or date.",
    "value": "The value as a text writes it.",
    "number": "The value as a number (0.12 is twelve percent); null for names and texts.",
    "unit": "What a delta counts: relative, points, days, count or money; null for other kinds.",
    "of": "How many were ranked; null unless the fact is a rank.",
    "customers": "How many people the value describes.",
    "numerator": "How many of them it counts, where it counts people.",
    "subject": "What the value is about: the segment, or the shop.",
    "currency": "Currency in which money is written (ISO 4217).",
    "renderings": "Every way in which a text can write the value, separated by ' | '.",
}

_WORDLIKE = frozenset({FactKind.NAME, FactKind.TEXT, FactKind.DATE})


class ProfileAnswer(Answer):
    """The written part of a profile; `channel` is one of `channel_options`."""

    who: str
    what: str
    how: str
    objective: str
    message: str
    channel: str
    resonance: str
    do_not: str


class GroundingError(ValueError):
    """A text says something that its facts do not."""

    def __init__(self, where: str, findings: list[Finding]) -> None:
        rules = "; ".join(f"{finding.rule}: {finding.detail}" for finding in findings)
        super().__init__(f"{where}: {rules}")
        self.findings = findings


#: What a driver says of people, when it is high and when it is low; an empty phrase is not said.
_HABITS: dict[str, tuple[str, str]] = {
    "recency_days": ("have stayed away for long", "bought recently"),
    "order_count": ("order often", "order seldom"),
    "monetary_amount": ("have spent a lot over time", "have spent little so far"),
    "average_order_amount": ("fill large baskets", "keep their baskets small"),
    "tenure_days": ("have been customers for long", "joined not long ago"),
    "days_between_orders": ("leave long pauses between orders", "come back quickly"),
    "days_between_orders_deviation": ("come at irregular times", "keep a steady rhythm"),
    "return_share": ("send back much of what they order", "hardly send anything back"),
    "discount_share": ("wait for reductions", "pay the full price"),
    "coupon_order_share": ("use coupons", "order without coupons"),
    "campaign_order_share": ("order while campaigns run", "order regardless of campaigns"),
    "campaign_response_share": ("answer campaigns", "stay silent when campaigns reach them"),
    "price_level": ("choose the dearer items of a category", "choose the inexpensive items of a category"),
    "category_count": ("shop across many categories", "stay with few categories"),
    "favourite_category_share": ("are set on a favourite category", "spread their purchases over categories"),
    "favourite_brand_share": ("are faithful to a brand", "change between brands"),
    "weekend_share": ("shop at weekends", "shop on weekdays"),
    "spring_share": ("buy in spring", ""),
    "summer_share": ("buy in summer", ""),
    "autumn_share": ("buy in autumn", ""),
    "winter_share": ("buy in winter", ""),
    "week_of_month_1_share": ("buy early in the month", ""),
    "week_of_month_4_share": ("buy late in the month", ""),
    "event_count": ("browse a lot", "browse little"),
    "view_count": ("look at many products", "look at few products"),
    "wishlist_count": ("keep wish lists", ""),
    "add_to_cart_count": ("fill carts", ""),
    "events_last_90_days": ("have been browsing lately", "have not browsed lately"),
    "orders_last_90_days": ("ordered in recent weeks", "have not ordered in recent weeks"),
    "loyalty_points": ("collect loyalty points", ""),
}
_CLEAR = 0.3  # standardised difference below which a driver is not worth a word


class Page:
    """Collects the sentences of one field whose facts are there."""

    def __init__(self, book: FactBook) -> None:
        self._book = book
        self._sentences: list[str] = []

    def say(self, sentence: str, *, when: bool = True) -> bool:
        """Add `sentence` when `when` holds and every fact it names exists; returns whether it was added."""
        named = [match[1] for match in PLACEHOLDER.finditer(sentence)]
        if not when or not sentence or not all(key in self._book for key in named):
            return False
        self._sentences.append(sentence)
        return True

    def first(self, *sentences: str) -> None:
        """Add the first of `sentences` whose facts exist."""
        for sentence in sentences:
            if self.say(sentence):
                return

    def text(self) -> str:
        """The sentences as one paragraph."""
        return " ".join(self._sentences)


def _joined(phrases: list[str]) -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def habits_of(drivers: tuple[Driver, ...], leave_out: frozenset[str] = frozenset(), most: int = 3) -> list[str]:
    """What the drivers of a segment say its customers do ("order often"), the strongest first, at most `most`."""
    said = []
    for driver in drivers:
        phrases = _HABITS.get(driver.feature)
        if phrases is None or driver.feature in leave_out or abs(driver.strength) < _CLEAR:
            continue
        if phrase := phrases[0] if driver.strength > 0 else phrases[1]:
            said.append(phrase)
    return said[:most]


def turn(segment: SegmentFacts, *variants: str) -> str:
    """A different wording for a second segment in the same situation."""
    return variants[segment.turn % len(variants)]


def beside(segment: SegmentFacts, *variants: str) -> tuple[str, ...]:
    """`variants`, beginning with another one than the segment before and after on the same axis has."""
    digits = "".join(letter for letter in segment.segment_id if letter.isdigit())
    start = int(digits or 0) % len(variants)
    return (*variants[start:], *variants[:start])


_STAGE_OPENINGS: dict[str, tuple[str, ...]] = {
    "loyal": (
        "The steady core: {{customers}} customers, {{customer_share}} of all, who bring {{revenue_share}} of the "
        "revenue.",
        "{{customers}} regulars ({{customer_share}} of customers) stand for {{revenue_share}} of the revenue.",
    ),
    "active": (
        "{{customers}} customers, {{customer_share}} of all, who are in the habit of buying; they bring "
        "{{revenue_share}} of the revenue.",
        "A working relationship: {{customers}} customers ({{customer_share}}) with {{revenue_share}} of the revenue.",
    ),
    "new": (
        "{{customers}} customers at the start ({{customer_share}} of all); so far they bring {{revenue_share}} "
        "of the revenue.",
        "Newcomers: {{customers}} customers, {{customer_share}} of all, with {{revenue_share}} of the revenue so far.",
    ),
    "lapsing": (
        "{{customers}} customers, {{customer_share}} of all, who are overdue; their past orders made "
        "{{revenue_share}} of the revenue.",
        "Slipping away: {{customers}} customers ({{customer_share}}) whose orders made {{revenue_share}} of the "
        "revenue.",
    ),
    "lapsed": (
        "{{customers}} former customers, {{customer_share}} of all, who once brought {{revenue_share}} of the revenue.",
        "Long gone: {{customers}} customers ({{customer_share}}) behind {{revenue_share}} of all revenue so far.",
    ),
    "never_bought": ("{{customers}} people signed up and never bought: {{customer_share}} of all customers.",),
    "unknown": ("{{customers}} customers, {{customer_share}} of all; when they bought is not in the data.",),
    "taste": (
        "{{customers}} customers, {{customer_share}} of all, united by what they put in the basket.",
        "{{customers}} customers ({{customer_share}}) who shop with the same eye.",
        "A taste shared by {{customers}} customers, {{customer_share}} of all.",
        "Held together by the shelf and not by the calendar: {{customers}} customers, {{customer_share}} of all.",
    ),
    "unknown_taste": (
        "{{customers}} customers, {{customer_share}} of all, bought too little, or nothing, to show a taste.",
    ),
}


def has_own_goods(segment: SegmentFacts) -> bool:
    """Whether goods set the segment apart: a taste's always do, a stage's where their share is off the shop's."""
    gap = segment.book.number("category1_gap", 1.0)
    return segment.book.has("category1") and (segment.situation == "taste" or gap >= 0.01)


def _who(segment: SegmentFacts) -> str:
    page, book = Page(segment.book), segment.book
    if segment.customers == 0:
        return "Nobody is in this segment at present."
    if segment.is_small:
        page.say("A small group of {{customers}} customers, under the {{minimum_cell}} that a description needs.")
        page.say("What they buy leans to {{category1}}.", when=segment.situation != "unknown_taste")
        return page.text()
    page.first(
        turn(segment, *_STAGE_OPENINGS[segment.situation]),
        "{{customers}} customers, {{customer_share}} of all.",
        "{{customers}} customers.",
    )
    is_bought = segment.situation not in {"never_bought", "unknown", "unknown_taste"}
    if segment.situation == "taste":
        page.first(
            turn(
                segment,
                "{{category1}} makes up {{category1_share}} of what they buy, {{category1_gap|above}} the shop's own "
                "share.",
                "{{category1}} takes {{category1_share}} of their order lines, {{category1_gap|above}} its place in "
                "the shop.",
                "Of all they buy, {{category1_share}} is {{category1}}: {{category1_gap|above}} the shop's own share.",
                "Look into their baskets and {{category1_share}} of the lines are {{category1}}, "
                "{{category1_gap|above}} the shop as a whole.",
            ),
            "What they buy leans to {{category1}}.",
        )
        page.say(
            turn(
                segment,
                "They bring {{revenue_share}} of the revenue.",
                "Their orders make {{revenue_share}} of the revenue.",
                "In money they stand for {{revenue_share}} of the revenue.",
                "{{revenue_share}} of the revenue is theirs.",
            )
        )
    elif is_bought:
        # A median is said as "typical": "half of them" would be a figure in words.
        page.first(
            "The typical customer ordered {{orders|times}}, spent {{spend}} in all and last bought {{recency}} ago.",
            "The typical customer spent {{spend}} in all and last bought {{recency}} ago.",
            "The typical customer ordered {{orders|times}} and spent {{spend}} in all.",
            "The typical customer spent {{spend}} in all.",
        )
    page.say(
        "Their share of revenue is {{revenue_lean|above}} their share of customers.",
        when=abs(book.number("revenue_lean", 0.0)) >= 0.05 and (is_bought or segment.situation == "unknown"),
    )
    habits = habits_of(
        segment.drivers, frozenset({"recency_days", "order_count"}) if book.has("orders", "recency") else frozenset()
    )
    if habits:
        page.first(
            *beside(
                segment,
                f"Compared with the shop as a whole they {_joined(habits)}.",
                f"What marks them beside that: they {_joined(habits)}.",
                f"Beside other customers they {_joined(habits)}.",
            )
        )
    return page.text()


def _what(segment: SegmentFacts) -> str:
    page, book = Page(segment.book), segment.book
    if segment.situation == "unknown_taste":
        return "Their taste is not known yet: offer what the shop is known for and let the next order tell."
    if segment.situation == "never_bought":
        if not page.say("They have bought nothing yet; what they look at is {{category1}}."):
            page.say("They have bought nothing yet, so what they want is an open question.")
        return page.text()
    if segment.is_small:
        page.first("Mostly {{category1}} and {{category2}}.", "Mostly {{category1}}.", "Too few people to say.")
        return page.text()
    if segment.situation == "taste":
        page.first(
            turn(
                segment,
                "Beside {{category1}} they reach for {{category2}} ({{category2_share}} of their lines) and "
                "{{category3}}.",
                "{{category2}} goes into the same basket ({{category2_share}} of their lines), and so does "
                "{{category3}}.",
                "With {{category1}} come {{category2}}, {{category2_share}} of their lines, and some {{category3}}.",
                "After {{category1}} it is {{category2}} they want ({{category2_share}} of their lines), then "
                "{{category3}}.",
            ),
            "Beside {{category1}} they reach for {{category2}} ({{category2_share}} of their lines).",
            "{{category1}}, and little that stands out beside it.",
        )
    elif has_own_goods(segment):
        page.first(
            *beside(
                segment,
                "Their baskets lean to {{category1}} ({{category1_share}} of lines) and {{category2}}.",
                "{{category1}} and {{category2}} stand out in what they buy; {{category1}} makes "
                "{{category1_share}} of their lines.",
                "What tells their baskets apart is {{category1}}, {{category1_share}} of lines, and {{category2}}.",
            ),
            "Their baskets lean to {{category1}}.",
        )
    elif book.has("category1"):
        page.first(
            *beside(
                segment,
                "What they buy is what everybody buys here: choose the goods by their taste segment.",
                "No goods set them apart; let their taste segment say what to show.",
                "Their baskets look like the shop's own, so the taste segment chooses the goods.",
            )
        )
    page.say(
        "{{brand1}} is the brand they buy, with {{brand1_share}} of their lines.",
        when=book.number("brand1_share", 0) >= 0.15,
    )
    if abs(book.number("basket_gap", 0)) >= 0.1:
        page.first(
            *beside(
                segment,
                "An order comes to {{basket}}, {{basket_gap|above}} the shop's usual basket.",
                "They spend {{basket}} an order, {{basket_gap|above}} what an order in this shop usually brings.",
            )
        )
    if abs(book.number("price_level_gap", 0)) >= 0.05:
        page.first(
            *beside(
                segment,
                "They pick items priced {{price_level_gap|above}} the shop's usual level.",
                "Within a category they take items priced {{price_level_gap|above}} the usual level.",
            )
        )
    discount_gap = book.number("discount_gap", 0)
    page.say(
        "Price matters: {{discount}} of their money was saved by reductions, {{discount_gap|above}} the shop's figure.",
        when=discount_gap >= 0.02,
    )
    page.say(
        "Reductions play a small part: {{discount}} of the price, {{discount_gap|above}} the shop's figure.",
        when=discount_gap <= -0.02,
    )
    page.say(
        "They come with a coupon for {{coupon}} of their orders, {{coupon_gap|above}} the shop's figure.",
        when=abs(book.number("coupon_gap", 0)) >= 0.05,
    )
    season = max(("spring", "summer", "autumn", "winter"), key=lambda name: book.number(f"{name}_gap", -1.0))
    page.say(
        f"Their season is {season}: {{{{{season}}}}} of their orders fall in it, {{{{{season}_gap|more}}}} than usual.",
        when=book.number(f"{season}_gap", 0) >= 0.05,
    )
    if not page.text():
        page.say(
            "What they buy is not in the data, so this segment says when and how to approach, not with what."
            if "categories" in segment.missing
            else "Their baskets look like those of the shop as a whole: choose the product by their taste segment."
        )
    return page.text()


def _how(segment: SegmentFacts) -> str:
    page, book = Page(segment.book), segment.book
    if segment.customers == 0:
        return "Nobody to reach."
    if segment.reachable_customers == 0:
        page.say("E-mail reaches nobody here: no consent, or no usable address, is known.")
    elif segment.is_small:
        page.say("E-mail reaches {{reachable}} of {{customers}}.")
    else:
        page.first(
            *beside(
                segment,
                "E-mail reaches {{reachable}} of {{customers}} ({{reachable_share}}).",
                "{{reachable}} of them, {{reachable_share}}, can be reached by e-mail.",
                "By e-mail you reach {{reachable_share}} of these customers: {{reachable}} people.",
            ),
            "E-mail reaches {{reachable}} of {{customers}}.",
        )
        page.say(
            "Ask the other {{unreachable}} for consent at their next visit.",
            when=book.number("reachable_share", 1) < 0.5,
        )
    if segment.is_small:
        return page.text()
    if book.number("channel1_share", 0) >= 0.4:
        page.first(
            *beside(
                segment,
                "{{channel1_share}} of what they buy comes through {{channel1}}; lead the link there.",
                "Let the link lead to {{channel1}}, where {{channel1_share}} of what they buy is bought.",
                "They are at home on {{channel1}} ({{channel1_share}} of their lines): point the link there.",
            )
        )
    weekend = book.number("weekend_gap", 0)
    page.say(
        "They shop at weekends ({{weekend}} of orders, {{weekend_gap|more}} than usual): send on Friday.",
        when=weekend >= 0.05,
    )
    page.say(
        "They shop on weekdays (weekends hold {{weekend}} of orders, {{weekend_gap|fewer}} than usual): send "
        "early in the week.",
        when=weekend <= -0.05,
    )
    _say_answers(page, segment)
    page.say(
        "They come back after about {{pause}}; write a few days before.",
        when=segment.situation in {"loyal", "active"} and book.number("pause", 0) >= 7,
    )
    return page.text()


def _say_answers(page: Page, segment: SegmentFacts) -> None:
    """How earlier messages were answered, and what the newest measured campaign caused."""
    book = segment.book
    if book.has("clicked"):
        if clear_gap(book, "clicked", NOTABLE_CLICKS):
            page.first(
                *beside(
                    segment,
                    "Of those written to in the last year {{clicked}} clicked a message, beside {{clicked_shop}} of "
                    "all customers written to.",
                    "Of those written to in the last year {{clicked}} clicked, {{clicked_gap|more}} than usual.",
                )
            )
        else:
            page.say("{{clicked}} of those written to clicked a message in the last year, much as everybody does here.")
    else:  # responses hold opens, which machines make too: they are told where no click is
        response = book.number("response_gap", 0)
        page.say(
            "They answered {{response}} of earlier campaigns, {{response_gap|more}} than usual.", when=response >= 0.02
        )
        page.say(
            "Earlier campaigns left them cold ({{response}} answered): write seldom and only with news.",
            when=response <= -0.02,
        )
    page.say(
        "{{fatigued}} of those written to have had many messages in a row without a click: let them rest.",
        when=book.number("fatigued", 0) >= MANY_FATIGUED,
    )
    page.say(
        "Of those ever written to {{unsubscribed}} unsubscribed, {{unsubscribed_gap|more}} than usual: ask less of "
        "them.",
        when=clear_gap(book, "unsubscribed", NOTABLE_REFUSALS) > 0,
    )
    page.say(_effect_sentence(book))


def _effect_sentence(book: FactBook) -> str:
    """What the newest campaign measured among them caused, in words of what its interval allows; empty for none."""
    if not book.has("effect", "effect_low", "effect_high"):
        return ""
    start, span = "The last campaign measured among them", "an interval from {{effect_low}} to {{effect_high}}"
    if book.number("effect_low") > 0:
        return f"{start} worked: {{{{effect|more}}}} bought than of those left out at random, with {span}."
    if book.number("effect_high") < 0:
        return f"{start} did harm: {{{{effect|fewer}}}} bought than of those left out at random, with {span}."
    return f"{start} against those left out at random shows no clear effect: {{{{effect}}}}, with {span}."


_OBJECTIVES: dict[str, tuple[str, ...]] = {
    "loyal": (
        "Keep them and their margin: recognition before reductions.",
        "Deepen the habit: more of the range, at full price.",
    ),
    "active": (
        "Bring the next order forward, and turn habit into loyalty.",
        "Widen the basket with something new beside what they buy.",
    ),
    "new": ("Win the second order.", "Turn a first purchase into a habit."),
    "lapsing": (
        "Win them back before the habit is lost.",
        "Find out what would bring them back, with a time-limited offer to a part of them.",
    ),
    "lapsed": (
        "Try a single strong reason to return, then let them rest.",
        "Learn cheaply whether any of them will return.",
    ),
    "never_bought": ("Win the first order.",),
    "unknown": ("Learn how they answer before spending on them.",),
    "unknown_taste": ("Learn their taste with a broad first offer.",),
}


def _objective(segment: SegmentFacts) -> str:
    if segment.customers == 0:
        return "None while the segment is empty."
    book = segment.book
    if segment.situation != "taste":
        if segment.situation == "lapsing" and book.has("spend") and book.number("spend_gap", 0) >= 0.25:
            return turn(
                segment,
                "Win back good customers before they are lost: each spent {{spend}}, {{spend_gap|above}} the shop's "
                "typical customer.",
                "Do not let these go: with {{spend}} each they spent {{spend_gap|more}} than is typical in this shop.",
            )
        return turn(segment, *_OBJECTIVES[segment.situation])
    if book.number("revenue_lean", 0) >= 0.05 and book.has("category1"):
        return turn(
            segment,
            "Protect a taste that pays: be the place for {{category1}}.",
            "Keep these customers from looking for {{category1}} elsewhere: their baskets carry the shop.",
            "Look after the buyers of {{category1}}: what they spend is worth the care.",
        )
    if book.has("category1", "category2"):
        return turn(
            segment,
            "Sell {{category2}} to those who come for {{category1}}.",
            "Grow from {{category1}} into {{category2}}.",
            "Be the first choice for {{category1}}, and show {{category2}} beside it.",
            "Make the {{category1}} customer a {{category2}} customer too.",
        )
    return (
        "Be the first choice for {{category1}}." if book.has("category1") else "Use this taste to choose the product."
    )


def _message(segment: SegmentFacts) -> str:
    book, situation = segment.book, segment.situation
    leads = "{{category1}}" if has_own_goods(segment) else ""
    match situation:
        case "loyal":
            subject = f"new in {leads}" if leads else "our news"
            return f"You see it first: {subject}, set aside for regulars."
        case "active":
            if leads and book.has("pause"):
                return f"It is about time for the next {leads}: here is what goes with it."
            return f"New in {leads}, chosen to go with what you have." if leads else "New, to go with what you have."
        case "new":
            return f"Glad you found us. What others pick next in {leads}." if leads else "Glad you found us. What next?"
        case "lapsing":
            news = (
                f"What is new in {leads}, and a welcome back on it." if leads else "Here is what is new, and a welcome."
            )
            return f"It has been a while. {news}"
        case "lapsed":
            return turn(
                segment,
                "A lot has changed since your last visit. Have a look, with a welcome back on your next order.",
                "We have not seen you for a long time. If you would like to come back, here is a reason to.",
            )
        case "never_bought":
            return "Still looking around? Here is an easy way to start."
        case "unknown_taste":
            return "Tell us what you like: a tour of what the shop is known for."
        case "taste":
            if book.has("category1", "category2"):
                return turn(
                    segment,
                    "For people who care about {{category1}}: the pick of it, and the {{category2}} to go with it.",
                    "{{category1}}, chosen well, with {{category2}} beside it.",
                    "New for your {{category1}} shelf, and a look at {{category2}}.",
                    "We know our {{category1}}: here is what we would choose, and the {{category2}} that suits it.",
                )
            return (
                "The pick of {{category1}}, chosen for you."
                if book.has("category1")
                else "A choice made for your taste."
            )
    return "Here is what the shop is known for; tell us what suits you."


def channel_options(segment: SegmentFacts) -> tuple[str, ...]:
    """The channels that the data support, as templates; the embedded writer takes the first."""
    book = segment.book
    if segment.reachable_customers == 0:
        consent = "E-mail, once consent is there."
        if book.has("channel1") and not segment.is_small:
            return ("{{channel1}}: e-mail reaches nobody here.", consent)
        return (consent,)
    mail, led = "E-mail", "E-mail, leading to {{channel1}}"
    share = 0.0 if segment.is_small or not book.has("channel1") else book.number("channel1_share", 0)
    if share >= 0.6:
        return (led, mail)
    return (mail, led) if share >= 0.4 else (mail,)


def _channel(segment: SegmentFacts) -> str:
    return channel_options(segment)[0]


def _resonance(segment: SegmentFacts) -> str:
    page, book, situation = Page(segment.book), segment.book, segment.situation
    if segment.is_small:
        return "Too few people to say from figures."
    if situation == "taste":
        page.first(
            turn(
                segment,
                "They already choose {{category1}} for {{category1_share}} of their lines ({{category1_gap|more}} "
                "than the shop): the subject is theirs, and news about it is not noise.",
                "Nobody has to talk them into {{category1}}: it is {{category1_share}} of their lines already.",
                "With {{category1_share}} of their lines in {{category1}}, they will want to know what is new there.",
                "Their own baskets ask for it: {{category1_share}} of the lines are {{category1}}, and "
                "{{category2}} fits beside.",
            ),
            "{{category1}} is what sets them apart, so news about it is not noise.",
        )
    elif situation in {"lapsing", "lapsed"}:
        if book.number("orders", 0) >= 2:
            page.first(
                turn(
                    segment,
                    "They knew the shop well enough to order {{orders|times}}; {{recency}} of silence is "
                    "{{recency_gap|longer}} than usual.",
                    "Having ordered {{orders|times}}, they need no introduction; they have been silent for "
                    "{{recency}}, {{recency_gap|longer}} than usual.",
                ),
            )
        if not page.text():
            page.say("They have bought before, and the silence is {{recency_gap|longer}} than usual.")
        page.say(
            "Reductions moved them before ({{discount}} of the price saved).",
            when=book.number("discount_gap", 0) >= 0.02,
        )
    elif situation == "loyal":
        page.first(
            turn(
                segment,
                "They order anyway ({{orders|times}} so far), so being first counts for them, not the price.",
                "Somebody who has ordered {{orders|times}} wants to be treated as a regular, not as a target.",
            ),
            "They buy anyway, so being first counts for them, not the price.",
        )
    elif situation == "new":
        page.first(
            turn(
                segment,
                "They last bought {{recency}} ago: the shop is fresh in mind.",
                "The parcel is hardly unpacked, {{recency}} after the last order: a good tip is welcome now.",
            ),
            "The shop is fresh in their mind.",
        )
    elif situation == "active":
        page.first(
            "They come back about every {{pause}}, so a note just before that meets a need.",
            "They bought {{recency}} ago and are used to buying here.",
        )
    elif situation == "never_bought":
        page.first(
            "They looked at products {{events|times}} on average in recent weeks: interest is there.",
            "They gave their address, so they wanted to hear something.",
        )
    if not page.text():
        page.say("Nothing in the data says why they would answer: treat the first campaign as a test.")
    return page.text()


def _do_not(segment: SegmentFacts) -> str:
    page, book, situation = Page(segment.book), segment.book, segment.situation
    if segment.is_small:
        return "Do not plan a campaign for so few: reach them together with a neighbouring segment."
    rules = {
        "loyal": turn(
            segment,
            "Do not discount what they buy at full price.",
            "Do not spoil the habit with reductions nobody asked for.",
        ),
        "active": "Do not train them to wait for reductions.",
        "new": "Do not flood them in their first weeks: a single good suggestion is enough.",
        "lapsing": turn(
            segment,
            "Do not repeat the offer when it goes unanswered; ask why instead.",
            "Do not reward the silence: a reduction goes to a part of them, and a control group shows if it helps.",
        ),
        "lapsed": turn(
            segment,
            "Do not keep writing to those who stay silent: it harms delivery for everyone else.",
            "Do not pretend that nothing happened, and do not try again and again.",
        ),
        "never_bought": "Do not write as if they knew the shop, and do not chase them for long.",
        "unknown": "Do not read a stage of life into these customers: the data do not show it.",
        "taste": turn(
            segment,
            "Do not read a stage of life into a taste: choose timing and discount by the stage segment.",
            "Do not let the taste decide on the price: who is due for an offer, the stage segment says.",
            "Do not send to all of them on the same day: some have only just bought, others not for long.",
            "Do not show the same shelf every time: even a clear taste wants news.",
        ),
        "unknown_taste": "Do not guess a taste for them.",
    }
    page.say(rules[situation])
    page.say(
        "They send back {{returns}} of what they buy, {{returns_gap|more}} than usual: do not push sizes or "
        "quantities.",
        when=book.number("returns_gap", 0) >= 0.02,
    )
    page.say(
        "With {{discount}} saved on the usual price they have learned to wait: do not offer more of the same.",
        when=situation == "active" and book.number("discount_gap", 0) >= 0.02,
    )
    return page.text()


_VERDICTS = {
    "natural": "The data show groups of this kind of their own accord",
    "reproducible": "The cut can be repeated, though the data also hold customers in between",
    "constructive": "This is a useful cut through a continuum, not a group that exists of itself",
}


def _confidence(segment: SegmentFacts) -> str:
    page, book = Page(segment.book), segment.book
    if segment.customers == 0:
        return "Nothing to be sure of: the segment is empty."
    if segment.situation in {"never_bought", "unknown_taste"}:
        return "Certain: this is a rule about the data, not an estimate."
    if segment.is_small:
        return "Weak: {{customers}} customers are too few to describe reliably."
    if segment.one_feature:
        # Every digit of a page is a figure of the warehouse's, so a name that holds one is not written out.
        name = segment.one_feature.rpartition("=")[2].replace("_", " ")
        page.say(
            f"It is a band of {name} alone: that feature by itself tells who is in it."
            if not any(letter.isdigit() for letter in name)
            else "It is a band of one feature alone, which the choice of the segments names."
        )
    verdict = _VERDICTS.get(segment.verdict)
    stability = book.number("stability", -1.0)
    if verdict and stability >= 0:
        if stability >= 0.75:
            page.first(
                *beside(
                    segment,
                    f"{verdict}; found again on resampled customers with an agreement of {{{{stability}}}}.",
                    f"{verdict}. Resampled customers give it again, with an agreement of {{{{stability}}}}.",
                )
            )
        else:
            page.say(
                f"{verdict}; but resampled customers give another cut (agreement of {{{{stability}}}}): treat its "
                "edges as soft."
            )
    elif verdict:
        page.say(f"{verdict}.")
    if segment.customers >= 500:
        page.first(
            *beside(
                segment,
                "It holds {{customers}} customers, enough for its figures to be steady.",
                "With {{customers}} customers its figures are steady.",
                "Its figures rest on {{customers}} customers.",
            )
        )
    page.say("With {{customers}} customers its shares are rough.", when=segment.customers < 500)
    return page.text()


def _change(segment: SegmentFacts) -> str:
    page, book = Page(segment.book), segment.book
    if segment.is_first_run:
        return "First run: nothing to compare with yet."
    if not book.has("customers_change"):
        return "New since the last run."
    if book.number("customers_change") == 0:
        page.say("As many customers as in the last run.")
    else:
        page.say("{{customers_change|more}} customers than in the last run.")
    page.say(
        "Its share of revenue went {{revenue_share_change|up}}.",
        when=not segment.is_small and abs(book.number("revenue_share_change", 0)) >= 0.001,
    )
    return page.text()


def _best_offer(segment: SegmentFacts) -> str:
    book = segment.book
    discount, has_product = book.number("offer_discount", -1.0), book.has("offer_product")
    if segment.customers == 0:
        return "None while the segment is empty."
    if segment.situation == "loyal":
        return (
            "Early access to {{offer_product}}, at full price."
            if has_product
            else "Early access and recognition, at full price."
        )
    if discount > 0:
        return "{{offer_discount}} off {{offer_product}}." if has_product else "{{offer_discount}} off the next order."
    if has_product:
        return "{{offer_product}}, at the usual price."
    if segment.situation == "taste":
        return (
            "News from {{category1}}; the discount follows the stage."
            if book.has("category1")
            else "By stage: no product stands out."
        )
    return "No product is known to fit: write with news, not with an offer."


_FIELDS = {
    "who": _who, "what": _what, "how": _how, "objective": _objective, "message": _message, "channel": _channel,
    "resonance": _resonance, "do_not": _do_not, "confidence_sentence": _confidence, "change_since_last": _change,
    "best_offer": _best_offer,
}  # fmt: skip


def profile_templates(segment: SegmentFacts) -> dict[str, str]:
    """The texts of one profile with their placeholders, by column."""
    return {column: write(segment) for column, write in _FIELDS.items()}


def profile_answer(segment: SegmentFacts) -> ProfileAnswer:
    """The embedded writer's answer: the eight written fields, as templates."""
    return ProfileAnswer(**{column: _FIELDS[column](segment) for column in ProfileAnswer.model_fields})


@dataclass(frozen=True)
class Finished:
    """Texts as they stand in the table, which of them a person wrote and when, and the edits that no longer hold."""

    texts: dict[str, str]
    edited_fields: str
    edited_at: dt.datetime | None
    set_aside: tuple[str, ...]


def finished_texts(
    what: str, templates: Mapping[str, str], segment: SegmentFacts, edits: Mapping[str, tuple[str, dt.datetime]]
) -> Finished:
    """Render `templates` (by column) for `segment`, and over them what a person wrote.

    Every text is scanned before it is rendered: GroundingError names the segment, the column and the rule when a
    writer's text says more than its facts. An edit that does (its facts are gone, or moved so that its words are no
    longer so) or whose column is none of `templates` is set aside with a sentence, and the writer's text stands.
    `what` names the kind of text for these sentences.
    """
    where = f"{what} of {segment.subject}"
    texts: dict[str, str] = {}
    for column, template in templates.items():
        if findings := ungrounded(template, segment.book, segment.subject):
            raise GroundingError(f"{where}, {column}", findings)
        rendered = render(template, segment.book)
        texts[column] = rendered[:1].upper() + rendered[1:]
    set_aside, edited = [], []
    for column, (template, _) in edits.items():
        if column not in templates:
            set_aside.append(
                f"{where}: the edit of {column!r} is set aside, there is no such text; there are "
                f"{', '.join(templates)}."
            )
        elif findings := ungrounded(template, segment.book, segment.subject):
            reasons = " ".join(finding.detail for finding in findings)
            set_aside.append(f"{where}: the edit of {column!r} is set aside until it is written anew: {reasons}")
        else:
            # As the person wrote it: no capital is forced on it.
            texts[column] = render(template, segment.book)
            edited.append(column)
    return Finished(
        texts,
        ",".join(column for column in templates if column in edited),
        max((edits[column][1] for column in edited), default=None),
        tuple(set_aside),
    )


def unplaced_edits(what: str, segments: Sequence[SegmentFacts], edits: Edits) -> list[str]:
    """A sentence for each edited segment that is not among `segments`."""
    here = {(segment.axis, segment.segment_id) for segment in segments}
    return [
        f"{what} of {axis} {segment_id}: the edit of {', '.join(map(repr, columns))} is set aside, there is no such "
        "segment now."
        for (axis, segment_id), columns in sorted(edits.items(), key=lambda edit: edit[0])
        if (axis, segment_id) not in here
    ]


def matched(segments: Sequence[SegmentFacts], outcomes: Sequence[object]) -> None:
    """ValueError unless there is one outcome for each segment: they are matched by place."""
    if len(segments) != len(outcomes):
        raise ValueError(f"There are {len(segments)} segments and {len(outcomes)} outcomes; give one for each.")


def frame_of(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str]) -> pl.DataFrame:
    """`rows` with the DuckDB types of `columns`, in their order."""
    types: dict[str, pl.DataType] = {
        "BIGINT": pl.Int64(), "DOUBLE": pl.Float64(), "BOOLEAN": pl.Boolean(), "TIMESTAMP": pl.Datetime("us"),
    }  # fmt: skip
    return pl.DataFrame(rows, schema={column: types.get(name, pl.String()) for column, name in columns.items()})


def profiles_frame(
    segments: Sequence[SegmentFacts], outcomes: Sequence[Outcome[ProfileAnswer]], edits: Edits | None = None
) -> tuple[pl.DataFrame, list[str]]:
    """`profiles.segment_profiles`, one row per segment in the order given, and the edits that were set aside.

    `outcomes` are in the order of `segments`. Names are unique: a repeated one gets the segment's id behind it.
    Errors as of `finished_texts`; ValueError when the two are not of one length.
    """
    matched(segments, outcomes)
    rows, seen, set_aside = [], set(), unplaced_edits("Profile", segments, edits or {})
    for segment, outcome in zip(segments, outcomes, strict=True):
        # The order of the columns in the table.
        written = outcome.answer.model_dump()
        templates = {c: written[c] if c in written else write(segment) for c, write in _FIELDS.items()}
        own_edits = (edits or {}).get((segment.axis, segment.segment_id), {})
        finished = finished_texts("Profile", templates, segment, own_edits)
        set_aside += finished.set_aside
        name = segment.name
        if name.casefold() in seen:
            name = f"{name} ({segment.segment_id})"
        seen.add(name.casefold())
        rows.append(
            {
                "axis": segment.axis,
                "segment_id": segment.segment_id,
                "name": name,
                **finished.texts,
                "customers": segment.customers,
                "reachable_customers": segment.reachable_customers,
                "revenue_share": segment.revenue_share,
                "top_categories": ", ".join(segment.categories[:3]) or "unknown",
                "written_by": outcome.written_by,
                "is_degraded": outcome.is_degraded,
                "edited_fields": finished.edited_fields,
                "edited_at": finished.edited_at,
            }
        )
    return frame_of(rows, PROFILE_TYPES), set_aside


def write_profiles(segments: Sequence[SegmentFacts]) -> pl.DataFrame:
    """`profiles.segment_profiles` by the embedded writer alone, as of `profiles_frame`."""
    return profiles_frame(segments, [Outcome(profile_answer(segment)) for segment in segments])[0]


def facts_frame(segments: Sequence[SegmentFacts]) -> pl.DataFrame:
    """`profiles.profile_facts`: every fact of every segment, in the order given.

    Grain: axis, segment_id, key. A figure in a profile or a strategy that is none of its segment's `renderings` is
    not the warehouse's.
    """
    rows: list[dict[str, object]] = []
    for segment in segments:
        currency = segment.book.currency
        for fact in segment.book:
            ways = dict.fromkeys(render_fact(fact, currency, form) for form in (None, *sorted(forms_of(fact.kind))))
            rows.append(
                {
                    "axis": segment.axis,
                    "segment_id": segment.segment_id,
                    "key": fact.key,
                    "kind": fact.kind.value,
                    "value": render_fact(fact, currency),
                    "number": None if fact.kind in _WORDLIKE else round(fact.number, 6),
                    "unit": fact.unit.value if fact.kind is FactKind.DELTA else None,
                    "of": fact.of,
                    "customers": fact.customers,
                    "numerator": fact.numerator,
                    "subject": fact.subject,
                    "currency": currency,
                    "renderings": " | ".join(ways),
                }
            )
    return frame_of(rows, PROFILE_FACT_TYPES)
