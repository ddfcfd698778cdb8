"""The embedded writer of e-mail copy: two variants per campaign, by audience and offer, without a model.

What belongs here: the words, as templates over facts. What does not: layout, footer and links (`layout`), and the
name of a segment, which is the shop's own note and never shown to a customer.

The words claim nothing that no table knows: not that something is new, liked by others or set aside for somebody.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from segmentation_assets.language.facts import FactBook
from segmentation_assets.language.rendering import PLACEHOLDER, render

VARIANTS = ("A", "B")

#: Longest subject that a phone shows whole, in characters; common phones cut between 40 and 50.
PHONE_SUBJECT = 45
#: Longest preheader that is of any use, in characters.
LONGEST_PREHEADER = 110


@dataclass(frozen=True)
class Copy:
    """The words of one variant as templates: subject, preheader, opening, offer, closing and call to action."""

    subject: str
    preheader: str
    opening: str
    offer: str
    closing: str
    call_to_action: str


#: The parts of a copy, in the order in which they are read.
COPY_FIELDS: tuple[str, ...] = tuple(field.name for field in fields(Copy))


@dataclass(frozen=True)
class _Words:
    """Candidates in order of preference; the first whose facts exist, and that fits what is chosen already, is used."""

    subjects: tuple[str, ...]
    preheaders: tuple[str, ...]
    openings: tuple[str, ...]
    closing: str
    call_to_action: str


_WORDS: dict[str, tuple[_Words, _Words]] = {
    "loyal": (
        _Words(
            ("First look: {{product1}}", "An early look at {{category}}", "An early look, for you"),
            ("For our regulars first, until {{valid_until|short}}.", "For our regulars first: {{product1}}.",
             "For our regulars first."),
            ("You know your way around {{category}}, so you get to see this early.",
             "You know our shop well, so you get to see this early."),
            "No code to enter and nothing to collect: just pick what you like.",
            "Take a first look",
        ),
        _Words(
            ("Picks from {{category}}, for you", "Picked early, for you"),
            ("With thanks: {{product1}}.",),
            ("Thank you for coming back to us. It means you get early access to what we picked in {{category}}.",
             "Thank you for coming back to us. It means you get early access to what we picked."),
            "There is no rush. Take your time, and tell us if you are looking for something else.",
            "See your picks",
        ),
    ),
    "active": (
        _Words(
            ("{{product1}}: a good next pick", "A good next pick from {{category}}", "A good next pick"),
            ("For when you are looking around.", "For when you are looking around: {{product1}}."),
            ("If {{category}} is on your list again, this is where we would start.",
             "Planning your next order? This is where we would start."),
            "Not sure what suits you? We are glad to help you choose.",
            "See what we picked",
        ),
        _Words(
            ("Anything from {{category}} next?", "What is next on your list?"),
            ("If you could use an idea: {{product1}}.",),
            ("You have your next order in mind already? Good. If not, see what we picked in {{category}}.",
             "You have your next order in mind already? Good. If not, see what we picked."),
            "Prefer something else? The whole range is a click away.",
            "Plan your next order",
        ),
    ),
    "new": (
        _Words(
            ("Where to go next: {{product1}}", "Where to go next"),
            ("Glad you found us. Here is a tip.", "Our tip: {{product1}}."),
            ("Glad you found us. If you enjoyed your order, this is where we would go next: {{product1}}.",),
            "Questions about your order? Just reply to this e-mail.",
            "See what is next",
        ),
        _Words(
            ("{{discount}} off, as a welcome", "Welcome. May we show you something?"),
            ("A good place to look: {{product1}}.",),
            ("Thank you for giving us a try. To make your next visit easy, we picked a little ahead for you.",),
            "Not for you? There is more where this came from.",
            "Have a look around",
        ),
    ),
    "lapsing": (
        _Words(
            ("It has been a while: {{discount}} off for you", "It has been a while"),
            ("Have a look at {{product1}}, until {{valid_until|short}}.", "Have a look at {{product1}}."),
            ("We have not seen you for a while. Should {{category}} still be your thing, this may be a good moment.",
             "We have not seen you for a while. If you feel like a look around, this may be a good moment."),
            "Was something not as you expected? Reply and tell us.",
            "Come back and look",
        ),
        _Words(
            ("Perhaps for you: {{product1}}", "Something you may like"),
            ("{{discount}} off until {{valid_until|short}}.", "Worth a look until {{valid_until|short}}.",
             "Worth a look until {{valid_until|short}}: {{product1}}.", "Worth a look: {{product1}}.", "Worth a look."),
            ("If you still like {{category}}, this is what we would show you first.",
             "If you came by today, this is what we would show you first."),
            "If now is not the time for you, that is fine too.",
            "See what we picked",
        ),
    ),
    "lapsed": (
        _Words(
            ("{{discount}} off, to say welcome back", "Welcome back"),
            ("Start with {{product1}}, until {{valid_until|short}}.", "Start with {{product1}}."),
            ("It has been a long time, and you would be very welcome. Here is what we would show you:",),
            "If you would rather not hear from us, the link at the end takes care of it, no questions asked.",
            "Come and see",
        ),
        _Words(
            ("Worth another look? {{product1}}", "Worth another look?"),
            ("{{discount}} off until {{valid_until|short}}.", "Yours to see until {{valid_until|short}}.",
             "If you care to see it: {{product1}}.", "If you care to see it."),
            ("You have not been here for a long time. In {{category}}, this is where you could start today.",
             "You have not been here for a long time. This is where you could start today."),
            "Looking for something else? Reply and tell us what you miss.",
            "Have another look",
        ),
    ),
    "never_bought": (
        _Words(
            ("An easy way to start: {{product1}}", "An easy way to start"),
            ("Picked for a first order.", "Picked for a first order: {{product1}}."),
            ("You signed up and have not ordered yet. If choosing is the hard part, start here.",),
            "Have a question before you order? Reply to this e-mail.",
            "Start here",
        ),
        _Words(
            ("{{discount}} off to try {{product1}}", "{{discount}} off your first pick", "Curious? Have a look around"),
            ("Good until {{valid_until|short}}.", "A good place to begin: {{product1}}.", "A good place to begin."),
            ("Still looking around? If you want to try us out, this is where we would begin.",),
            "No pressure from our side: take all the time you need.",
            "Find your first pick",
        ),
    ),
    "unknown": (
        _Words(
            ("{{product1}}, picked from our range", "Picked from our range"),
            ("Something for you to look at.", "For you to look at: {{product1}}."),
            ("If you came into the shop today, this is what we would show you.",),
            "Tell us what you like: just reply to this e-mail.",
            "See the selection",
        ),
        _Words(
            ("Something from {{category}}?", "Something for you?"),
            ("Have a look at {{product1}}, until {{valid_until|short}}.", "Have a look at {{product1}}."),
            ("We picked this with care. You decide whether it is any good for you.",),
            "Not your thing? Reply and tell us what is.",
            "Have a look",
        ),
    ),
}  # fmt: skip


#: The closing of A and B where many have stopped clicking: whoever has had enough leaves by the link, and does not
#: report the letter as spam.
_TIRED_CLOSINGS = (
    "If you would rather not hear from us, the link at the end takes care of it, no questions asked.",
    "Enough for now? The link at the end stops these letters to you, no questions asked.",
)


def _keys(template: str) -> set[str]:
    return {match[1] for match in PLACEHOLDER.finditer(template)}


def _fitting(candidates: tuple[str, ...], facts: FactBook, longest: int | None = None) -> list[str]:
    return [
        template
        for template in candidates
        if facts.has(*_keys(template)) and (longest is None or len(render(template, facts)) <= longest)
    ]


def names_goods(template: str) -> bool:
    """Whether a template says what it is about: a product or the category."""
    return any(key == "category" or key.startswith("product") for key in _keys(template))


def write_copy(stage_group: str, variant: str, facts: FactBook, *, is_tired: bool = False) -> Copy:
    """The copy of variant A or B for a stage group; `is_tired`: many of its readers have stopped clicking.

    `facts` holds product1 .. product6, their prices, category (when all products share it), valid_until, and
    discount when there is one. Subject and preheader stand side by side in an inbox: together they name the goods, and
    the second repeats no fact of the first.
    """
    words = _WORDS.get(stage_group, _WORDS["unknown"])[0 if variant == "A" else 1]
    subject = _fitting(words.subjects, facts, PHONE_SUBJECT)[0]
    preheaders = _fitting(words.preheaders, facts, LONGEST_PREHEADER)
    beside = [
        preheader
        for preheader in preheaders
        if not _keys(preheader) & _keys(subject) and (names_goods(subject) or names_goods(preheader))
    ]
    return Copy(
        subject=subject,
        preheader=(beside or preheaders[-1:])[0],
        opening=_fitting(words.openings, facts)[0],
        offer=_offer(stage_group, variant, facts),
        closing=_TIRED_CLOSINGS[VARIANTS.index(variant)] if is_tired else words.closing,
        call_to_action=words.call_to_action,
    )


def _offer(stage_group: str, variant: str, facts: FactBook) -> str:
    several = "product2" in facts
    until = " until {{valid_until}}" if "valid_until" in facts else ""
    if "discount" in facts:
        if variant == "A":
            prices = "The prices you see include" if several else "The price you see includes"
            return f"{prices} your {{{{discount}}}} off,{until or ' as long as the offer runs'}."
        if several:
            return f"{{{{discount}}}} off each of these{until}. The prices shown include it."
        return f"{{{{discount}}}} off{until}. The price shown includes it."
    if stage_group == "loyal":
        if variant == "A":
            return f"Early access to {'these' if several else 'it'}{until}, at the usual price."
        return f"At the usual price{until and ','}{until}: seeing {'them' if several else 'it'} early is our thank-you."
    if variant == "A":
        return f"{'These are' if several else 'It is'} yours at the usual price."
    return "Everything here is at the usual price." if several else "At the usual price, and yours if you like it."
