"""The embedded writer of marketing strategies, and the finished table of them.

What belongs here: what to achieve with a segment, how, how often, at which price, by which figure it is judged and
what can go wrong, by the segment's situation and facts. What does not: profiles (`profile_writer`), the task a model
is given (`tasks.strategy`), and the discount of an offer, which the campaign settings decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl

from segmentation_assets.language.answer_facts import MANY_FATIGUED, NOTABLE_CLICKS, clear_gap
from segmentation_assets.language.answers import Answer
from segmentation_assets.language.facts import FactBook
from segmentation_assets.language.profile_writer import (
    Edits,
    Page,
    beside,
    finished_texts,
    frame_of,
    has_own_goods,
    matched,
    unplaced_edits,
)
from segmentation_assets.language.segment_facts import SegmentFacts
from segmentation_assets.language.task import Outcome

#: At which price to approach a segment. A small thanks is a courtesy without a price: early access, a sample, a card.
OfferStance = Literal["full price", "small thanks", "reduction"]
FULL_PRICE: OfferStance = "full price"
SMALL_THANKS: OfferStance = "small thanks"
REDUCTION: OfferStance = "reduction"
_STANCES: tuple[str, ...] = (FULL_PRICE, SMALL_THANKS, REDUCTION)

#: Columns of profiles.strategies and their DuckDB types, in order.
STRATEGY_TYPES: dict[str, str] = {
    "axis": "VARCHAR", "segment_id": "VARCHAR", "goal": "VARCHAR", "approach": "VARCHAR", "cadence": "VARCHAR",
    "offer_stance": "VARCHAR", "measure": "VARCHAR", "risk": "VARCHAR", "written_by": "VARCHAR",
    "is_degraded": "BOOLEAN", "edited_fields": "VARCHAR", "edited_at": "TIMESTAMP",
}  # fmt: skip

#: What the columns mean that the raw contract does not describe.
STRATEGY_NOTES: dict[str, str] = {
    "goal": "What to achieve with the segment.",
    "approach": "How to achieve it.",
    "cadence": "How often to write, and when to stop.",
    "offer_stance": "Full price, a small thanks (a courtesy without a price), or a reduction.",
    "measure": "The figure by which success is judged.",
    "risk": "What can go wrong.",
    "written_by": "Who wrote the texts.",
    "is_degraded": "True when the embedded writer stood in for a model that failed.",
    "edited_fields": "Columns whose text a person wrote, separated by commas; empty when none.",
    "edited_at": "When a person last wrote one of them (UTC); null when none.",
}


class StrategyAnswer(Answer):
    """A strategy for one segment; `offer_stance` is one of `stance_options`."""

    goal: str
    approach: str
    cadence: str
    offer_stance: OfferStance
    measure: str
    risk: str


def stance_options(segment: SegmentFacts) -> tuple[OfferStance, ...]:
    """The stances that do not contradict the planned offer; the embedded writer takes the first.

    Customers who buy at full price anyway are never offered a reduction, and none is announced where the plan has an
    offer without one.
    """
    discount = segment.book.number("offer_discount", -1.0)
    match segment.situation:
        case "loyal":
            return (SMALL_THANKS, FULL_PRICE)
        case "taste":
            # Whether to reduce is a question of stage; a plan with a reduction is for the stages it names.
            return (FULL_PRICE, SMALL_THANKS, REDUCTION) if discount > 0 else (FULL_PRICE, SMALL_THANKS)
        case "active":
            return (FULL_PRICE, SMALL_THANKS, REDUCTION) if discount > 0 else (FULL_PRICE, SMALL_THANKS)
        case "unknown" | "unknown_taste":
            return (SMALL_THANKS, FULL_PRICE, REDUCTION) if discount > 0 else (SMALL_THANKS, FULL_PRICE)
    if discount > 0:
        return (REDUCTION, SMALL_THANKS)
    return (SMALL_THANKS, FULL_PRICE) if discount == 0 else (SMALL_THANKS, FULL_PRICE, REDUCTION)


def _goal(segment: SegmentFacts) -> str:
    page, book = Page(segment.book), segment.book
    if segment.customers == 0:
        return "None while the segment is empty."
    if segment.is_small:
        return "No goal of its own: so few customers are served together with a neighbouring segment."
    match segment.situation:
        case "loyal":
            page.first(
                *beside(
                    segment,
                    "Hold on to the customers behind {{revenue_share}} of the revenue, and show them more of the "
                    "range.",
                    "Lose none of the {{customers}} regulars who carry {{revenue_share}} of the revenue.",
                ),
                "Hold on to the regulars, and sell them more of the range.",
            )
        case "active":
            page.first(
                *beside(
                    segment,
                    "Make regulars of customers who bought {{recency}} ago and come back of their own accord.",
                    "Bring the next order forward: the typical customer last bought {{recency}} ago.",
                ),
                "Make regulars of customers who already come back of their own accord.",
            )
        case "new":
            page.first(
                *beside(
                    segment,
                    "Win the next order while the shop is fresh in mind, {{recency}} after the last.",
                    "Lead {{customers}} newcomers from a first purchase to a habit.",
                ),
            )
        case "lapsing":
            page.first(
                *beside(
                    segment,
                    "Bring back as many as answer of the {{reachable}} customers in reach, before {{recency}} of "
                    "silence become a farewell.",
                    "Wake those who still care: the last order is {{recency}} back, {{recency_gap|longer}} than usual "
                    "here.",
                ),
                "Bring back those who still care before the habit is lost.",
            )
        case "lapsed":
            page.first(
                *beside(
                    segment,
                    "Find out at small cost which of the {{reachable}} customers in reach are not lost, and let the "
                    "others go.",
                    "Spend little, and learn whether anyone answers after {{recency}}.",
                ),
            )
        case "never_bought":
            page.say("Turn a registration into a first order, for as many of {{customers}} people as show an interest.")
        case "taste":
            lean = book.number("revenue_lean", 0.0)
            if lean >= 0.05:
                page.first(
                    *beside(
                        segment,
                        "Stay the shop they think of for {{category1}}: {{revenue_share}} of the revenue hangs on it.",
                        "Guard {{revenue_share}} of the revenue by being good at {{category1}}.",
                    )
                )
            else:
                page.first(
                    *beside(
                        segment,
                        "Let {{category1}} lead to {{category2}}, which already fills {{category2_share}} of their "
                        "lines.",
                        "Be the address for {{category1}}, and sell {{category2}} along with it.",
                        "Turn a liking for {{category1}} into fuller baskets, with {{category2}} as the companion.",
                    ),
                    "Be the address for {{category1}}.",
                )
    if not page.text():
        page.say("Learn what these {{customers}} customers answer to before much is spent on them.")
    return page.text()


def _without_goods(book: FactBook) -> FactBook:
    return FactBook(tuple(fact for fact in book if not fact.key.startswith("category")), book.currency)


def _approach(segment: SegmentFacts) -> str:
    book = segment.book
    # Goods that do not set a stage apart are left to the taste.
    page = Page(book if has_own_goods(segment) else _without_goods(book))
    if segment.customers == 0 or segment.is_small:
        return "Nothing of its own."
    match segment.situation:
        case "loyal":
            page.first(
                *beside(
                    segment,
                    "Show them new {{category1}} before it is on the front page, and say that regulars see it early.",
                    "Treat them as the people who know the shop: news of {{category1}}, a word of thanks, no shouting.",
                ),
                "Show them what is new before it is on the front page, and say that regulars see it early.",
            )
        case "active":
            page.first(
                *beside(
                    segment,
                    "Suggest {{category2}} to go with {{category1}}, shortly before the next order is due.",
                    "Write when the next order is about due, with {{category1}} and what goes with it.",
                ),
                "Write when the next order is about due, with something that goes with the last.",
            )
        case "new":
            page.first(
                *beside(
                    segment,
                    "Thank them, help with what they bought, then suggest a single next thing from {{category1}}.",
                    "Welcome, then advice, then {{category1}}: a short series with a thing to do in each letter.",
                ),
                "Thank them, help with what they bought, then suggest a single next thing.",
            )
        case "lapsing":
            page.first(
                *beside(
                    segment,
                    "Remind them with what is new in {{category1}}; keep the offer for a part of them, so that its "
                    "worth can be seen.",
                    "A letter that says what has changed, led by {{category1}}, then an offer to those who open it and "
                    "do not buy.",
                ),
                "Remind them with what is new; keep the offer for a part of them, so that its worth can be seen.",
            )
        case "lapsed":
            page.first(
                *beside(
                    segment,
                    "A single letter with a good reason to return, from {{category1}} if they are to recognise "
                    "themselves; then silence.",
                    "Ask plainly whether they still want to hear from the shop, with {{category1}} as the reminder.",
                ),
                "A single letter with a good reason to return; then silence.",
            )
        case "never_bought":
            page.say("Make the start easy: what the shop is known for, how an order works, a small welcome.")
        case "taste":
            page.first(
                *beside(
                    segment,
                    "Open every letter with {{category1}} and put {{category2}} next to it; the stage segment says who "
                    "gets it when.",
                    "News and advice on {{category1}}, with {{category2}} in the same picture.",
                    "Write about {{category1}} as somebody who uses it, and end with {{category2}}.",
                ),
                "News and advice on {{category1}}; the stage segment says who gets it when.",
            )
        case "unknown_taste":
            page.say("Show the breadth of the shop and let the clicks say what they like.")
    if not page.text():
        page.say("Write to a part of them, look at the answers, and only then to the rest.")
    page.say(
        "The link belongs on {{channel1}}, where {{channel1_share}} of their lines are bought.",
        when=book.number("channel1_share", 0) >= 0.6,
    )
    page.say(
        "They answer reductions ({{discount}} of the price saved so far), so show prices openly.",
        when=segment.situation in {"lapsing", "lapsed"} and book.number("discount_gap", 0) >= 0.02,
    )
    return page.text()


def _cadence(segment: SegmentFacts) -> str:
    page, book = Page(segment.book), segment.book
    if segment.customers == 0 or segment.is_small:
        return "None of its own."
    if segment.reachable_customers == 0:
        return "Nothing by e-mail until consent is there."
    match segment.situation:
        case "loyal" | "active":
            if book.number("pause", 0) >= 7:
                page.first(
                    *beside(
                        segment,
                        "In their own rhythm: they order about every {{pause}}, so write shortly before that.",
                        "A letter every {{pause}} or so, the time that lies between their orders.",
                    )
                )
            else:
                page.say("With each piece of real news, and not oftener than monthly.")
        case "new":
            page.say(
                "A few letters in the first weeks, with days of quiet between them; then the rhythm of the others."
            )
        case "lapsing":
            page.first(
                *beside(
                    segment,
                    "A reminder now, another after some weeks; whoever stays silent is left in peace for a season.",
                    "Monthly at most, and not at all once the reminder and the offer have gone unanswered.",
                )
            )
        case "lapsed":
            page.say("At most a letter each season; after the next that stays unanswered, stop.")
        case "never_bought":
            page.say("A short welcome series, then seldom; stop when nothing is opened.")
        case "taste":
            page.first(
                *beside(
                    segment,
                    "Whenever there is something new in {{category1}}; how often a customer hears of it depends on the "
                    "stage.",
                    "Monthly, with the stage deciding who is left out.",
                    "When the range in {{category1}} changes, not by the calendar.",
                ),
                "Monthly, with the stage deciding who is left out.",
            )
    if not page.text():
        page.say("Monthly, until their answers say more.")
    page.say(
        "Earlier campaigns were answered by {{response}}, {{response_gap|fewer}} than usual: leave some out.",
        when=not book.has("clicked") and book.number("response_gap", 0) <= -0.02,
    )
    page.say(
        "{{clicked}} of those written to clicked in the last year, {{clicked_gap|fewer}} than usual: leave some out.",
        when=clear_gap(book, "clicked", NOTABLE_CLICKS) < 0,
    )
    page.say(
        "{{fatigued}} of those written to have had many messages in a row without a click: pause for them.",
        when=book.number("fatigued", 0) >= MANY_FATIGUED,
    )
    return page.text()


def _measure(segment: SegmentFacts) -> str:
    page, book = Page(segment.book), segment.book
    if segment.customers == 0:
        return "Nothing to measure."
    if segment.is_small:
        return "With {{customers}} customers no effect could be told from chance."
    match segment.situation:
        case "loyal":
            page.first(
                *beside(
                    segment,
                    "Revenue per customer against a control group, at a basket of no worse than today's {{basket}}.",
                    "Whether they still order every {{pause}}, beside a control group that gets nothing.",
                ),
                "Their share of revenue, {{revenue_share}} today.",
            )
        case "active":
            page.first(
                *beside(
                    segment,
                    "Orders per customer, {{orders}} so far for the typical one, beside a control group.",
                    "The pause between orders, {{pause}} today, beside that of a control group.",
                ),
            )
        case "new":
            page.first(
                *beside(
                    segment,
                    "Of {{customers}} customers, those who order again, beside a control group that gets no series.",
                    "The share of these {{customers}} customers who order again, against those left out.",
                )
            )
        case "lapsing" | "lapsed":
            page.first(
                *beside(
                    segment,
                    "Orders from the {{reachable}} in reach, minus those that a control group places unasked.",
                    "Margin after the offer, per customer written to; some of the {{reachable}} in reach are left out "
                    "to compare.",
                )
            )
        case "never_bought":
            page.say("First orders among the {{reachable}} in reach, beside a control group.")
        case "taste":
            page.first(
                *beside(
                    segment,
                    "Revenue from {{category1}} and {{category2}} per customer, beside a control group; {{category2}} "
                    "holds {{category2_share}} of their lines today.",
                    "What {{category2}} holds of their lines, {{category2_share}} today, beside a control group.",
                ),
                "Orders in {{category1}} from the {{reachable}} in reach, beside a control group.",
            )
    if not page.text():
        page.say("Orders from the {{reachable}} in reach, beside a control group.")
    page.say(
        "Few are in reach by e-mail, so the answer takes time.",
        when=book.number("reachable", 0) < 200 and segment.reachable_customers > 0,
    )
    return page.text()


def _risk(segment: SegmentFacts) -> str:
    page, book = Page(segment.book), segment.book
    if segment.customers == 0 or segment.is_small:
        return "Reading a pattern into a handful of people."
    match segment.situation:
        case "loyal":
            page.first(
                *beside(
                    segment,
                    "Reductions would teach them to wait for what they now buy at full price.",
                    "Writing too often: they buy anyway, and every needless letter costs goodwill.",
                )
            )
        case "active":
            page.say("To take credit for orders that would have come anyway: only the control group can tell.")
        case "new":
            page.first(
                *beside(
                    segment,
                    "Too much, too soon: whoever unsubscribes now is lost for good.",
                    "A welcome reduction draws bargain hunters who do not come again.",
                )
            )
        case "lapsing":
            page.first(
                *beside(
                    segment,
                    "Paying for the return of people who would have come back unasked.",
                    "A reduction for silence teaches silence.",
                )
            )
        case "lapsed":
            page.say("Old addresses: complaints and bounces harm the delivery of every other letter.")
        case "never_bought":
            page.say("They may only have wanted the newsletter; pressing them costs the permission to write.")
        case "taste":
            page.first(
                *beside(
                    segment,
                    "Seeing only {{category1}} in them: a taste is a leaning and not a fence.",
                    "The same shelf in every letter; even a clear taste tires of it.",
                    "An empty shelf: with {{category1}} out of stock the letter has nothing to say.",
                ),
                "A taste is a leaning and not a fence.",
            )
        case "unknown_taste":
            page.say("Guessing a taste from too little, and then never showing anything else.")
    if not page.text():
        page.say("Too little is known of them: a large campaign would be a large guess.")
    page.say(
        "They send back {{returns}} of what they order, {{returns_gap|more}} than usual: count returns before success.",
        when=book.number("returns_gap", 0) >= 0.02,
    )
    return page.text()


_FIELDS = {"goal": _goal, "approach": _approach, "cadence": _cadence, "measure": _measure, "risk": _risk}


def strategy_answer(segment: SegmentFacts) -> StrategyAnswer:
    """The embedded writer's strategy for a segment, as templates."""
    texts = {column: write(segment) for column, write in _FIELDS.items()}
    return StrategyAnswer(offer_stance=stance_options(segment)[0], **texts)


def strategies_frame(
    segments: Sequence[SegmentFacts], outcomes: Sequence[Outcome[StrategyAnswer]], edits: Edits | None = None
) -> tuple[pl.DataFrame, list[str]]:
    """`profiles.strategies`, one row per segment in the order given, and the edits that were set aside.

    `outcomes` are in the order of `segments`; ValueError when the two are not of one length. Texts are scanned and
    edits applied as of `profile_writer.finished_texts`.
    """
    matched(segments, outcomes)
    rows: list[Mapping[str, object]] = []
    set_aside = unplaced_edits("Strategy", segments, edits or {})
    for segment, outcome in zip(segments, outcomes, strict=True):
        own_edits = (edits or {}).get((segment.axis, segment.segment_id), {})
        stance = own_edits.get("offer_stance", (FULL_PRICE, None))[0]
        if stance not in _STANCES:
            own_edits = {column: edit for column, edit in own_edits.items() if column != "offer_stance"}
            set_aside.append(
                f"Strategy of {segment.subject}: the edit of 'offer_stance' is set aside, {stance!r} is none of "
                f"{', '.join(_STANCES)}."
            )
        finished = finished_texts("Strategy", outcome.answer.model_dump(), segment, own_edits)
        set_aside += finished.set_aside
        rows.append(
            {
                "axis": segment.axis,
                "segment_id": segment.segment_id,
                **finished.texts,
                # A value to select by and no sentence: it keeps its spelling.
                "offer_stance": finished.texts["offer_stance"].lower(),
                "written_by": outcome.written_by,
                "is_degraded": outcome.is_degraded,
                "edited_fields": finished.edited_fields,
                "edited_at": finished.edited_at,
            }
        )
    return frame_of(rows, STRATEGY_TYPES), set_aside
