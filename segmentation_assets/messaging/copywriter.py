"""The embedded writer of e-mail copy: two variants per campaign, by audience and offer, without a model.

What belongs here: the words, as templates over facts. What does not: layout, footer and links (`layout`), and the
name of a segment, which is the shop's own note and never shown to a customer.
"""

from __future__ import annotations

from dataclasses import dataclass

from segmentation_assets.language.facts import FactBook
from segmentation_assets.language.rendering import PLACEHOLDER, render

#: Longest subject that phones show whole.
LONGEST_SUBJECT = 60


@dataclass(frozen=True)
class Copy:
    """The words of one variant as templates: subject, preheader, opening, offer, closing and call to action."""

    subject: str
    preheader: str
    opening: str
    offer: str
    closing: str
    call_to_action: str


@dataclass(frozen=True)
class _Words:
    """Candidates in order of preference; the first whose facts exist (and whose subject is short enough) is used."""

    subjects: tuple[str, ...]
    preheaders: tuple[str, ...]
    openings: tuple[str, ...]
    closings: tuple[str, ...]
    call_to_action: str


_WORDS: dict[str, tuple[_Words, _Words]] = {
    "loyal": (
        _Words(
            ("A first look: {{product1}}", "A first look at {{category}}", "A first look, for our regulars"),
            ("Set aside for regulars until {{valid_until|short}}.",),
            (
                "You know your {{category}}, so you get to see this early.",
                "You know our shop well, so you get to see this early.",
            ),
            ("No code to enter and nothing to collect. It is yours to see early, until {{valid_until}}.",),
            "Take a first look",
        ),
        _Words(
            ("For our regulars: picked from {{category}}", "For our regulars: a personal pick"),
            ("{{product1}}, with our thanks.", "With our thanks."),
            (
                "Thank you for coming back to us. As a regular you get early access to what we picked in {{category}}.",
                "Thank you for coming back to us. As a regular you get early access to what we picked.",
            ),
            ("Early access runs until {{valid_until}}. Take your time.",),
            "See our picks",
        ),
    ),
    "active": (
        _Words(
            ("{{product1}}: a good next pick", "A good next pick from {{category}}", "A good next pick"),
            ("Chosen to go with what you have.",),
            (
                "If {{category}} is on your list again, this is where we would start.",
                "Planning your next order? This is where we would start.",
            ),
            ("See whether it suits you. We are glad to help with the choice.",),
            "See the pick",
        ),
        _Words(
            ("Time for your next {{category}}?", "Time for your next order?"),
            ("{{product1}} and what goes with it.", "Our picks for your next order."),
            (
                "You may be running low, or simply ready for something else. Here is what we picked in {{category}}.",
                "You may be ready for something else. Here is what we picked.",
            ),
            ("Prefer something different? The whole range is a click away.",),
            "Plan your next order",
        ),
    ),
    "new": (
        _Words(
            ("A good second choice: {{product1}}", "A good second choice"),
            ("Glad you found us. Here is where many go next.",),
            (
                "Glad you found us. If you enjoyed your order, {{product1}} is a natural next step.",
                "Glad you found us. If you enjoyed your order, here is a natural next step.",
            ),
            ("Questions about your order? Just reply to this e-mail.",),
            "See what is next",
        ),
        _Words(
            ("{{discount}} off, as a welcome", "Welcome. Here is what we would show you next"),
            ("A small thank-you for your order.",),
            ("Thank you for giving us a try. To make the next visit easy, we put these together for you.",),
            ("Not for you? Have a look around; there is more where this came from.",),
            "Use your welcome",
        ),
    ),
    "lapsing": (
        _Words(
            (
                "It has been a while: {{discount}} off {{category}}",
                "It has been a while: {{discount}} off",
                "It has been a while",
            ),
            ("A welcome back until {{valid_until|short}}.",),
            (
                "We have not seen you for a while. Should {{category}} still be your thing, this may be a good moment.",
                "We have not seen you for a while. This may be a good moment to look in.",
            ),
            ("Something we should have done better? Reply and tell us.",),
            "Come back and look",
        ),
        _Words(
            ("We kept this in mind for you: {{product1}}", "We kept something in mind for you"),
            ("{{discount}} off until {{valid_until|short}}.", "Worth a look until {{valid_until|short}}."),
            (
                "People who choose {{category}} tend to like these, and we thought of you.",
                "We thought of you when we picked these.",
            ),
            ("If now is not the time, that is fine too. We will not write often.",),
            "See what we kept",
        ),
    ),
    "lapsed": (
        _Words(
            ("{{discount}} off, to say welcome back", "Welcome back"),
            ("Good until {{valid_until|short}}, on the items inside.",),
            ("It has been a long time, and we would like to see you again. To make it worth your while:",),
            ("If you would rather not hear from us, the link below takes care of it, no questions asked.",),
            "Claim your welcome",
        ),
        _Words(
            ("Worth another look? {{product1}}", "Worth another look?"),
            ("{{discount}} off, with our compliments.", "With our compliments."),
            (
                "Much has changed since you were here. In {{category}}, this is what we would show you today.",
                "Much has changed since you were here. This is what we would show you today.",
            ),
            ("Tell us what you miss, and we will try to find it.",),
            "Have another look",
        ),
    ),
    "never_bought": (
        _Words(
            ("An easy way to start: {{product1}}", "An easy way to start"),
            ("Picked for a first order.",),
            ("You signed up and have not ordered yet. If choosing is the hard part, start here.",),
            ("Have a question before you order? Reply to this e-mail.",),
            "Start here",
        ),
        _Words(
            ("{{discount}} off to try {{product1}}", "{{discount}} off to try us", "Curious? Try us"),
            ("Good until {{valid_until|short}}.",),
            ("Still looking around? This is what people often begin with, and what we are proud of.",),
            ("No pressure from our side: look around as long as you like.",),
            "Try it",
        ),
    ),
    "unknown": (
        _Words(
            ("Picked from our range: {{product1}}", "Picked from our range"),
            ("What we would show you today.",),
            ("If you came into the shop today, this is what we would show you.",),
            ("Tell us what you like and we will get better at this.",),
            "See the selection",
        ),
        _Words(
            ("Would you like {{category}}?", "Would you like these?"),
            ("A small selection until {{valid_until|short}}.",),
            ("We put together a small selection and would like to know what you think.",),
            ("Not your thing? Reply and tell us what is.",),
            "Have a look",
        ),
    ),
}


def _usable(template: str, facts: FactBook) -> bool:
    return all(match[1] in facts for match in PLACEHOLDER.finditer(template))


def _first(candidates: tuple[str, ...], facts: FactBook, longest: int | None = None) -> str:
    for template in candidates:
        if _usable(template, facts) and (longest is None or len(render(template, facts)) <= longest):
            return template
    raise ValueError(f"None of the copy {candidates!r} fits the facts at hand; the last must need none.")


def write_copy(stage_group: str, variant: str, facts: FactBook) -> Copy:
    """The copy of variant A or B for a stage group.

    `facts` holds product1 .. product6, their prices, category (of the first product), valid_until, and discount when
    there is one. The last candidate of each part needs no optional fact.
    """
    words = _WORDS.get(stage_group, _WORDS["unknown"])[0 if variant == "A" else 1]
    several = "product2" in facts
    if "discount" in facts:
        what = "each of these" if several else "it"
        offer = f"{{{{discount}}}} off {what} until {{{{valid_until}}}}, already taken off above."
    elif stage_group == "loyal":
        offer = f"Early access to {'these' if several else 'it'} at the usual price."
    else:
        offer = f"{'These are' if several else 'It is'} yours at the usual price."
    return Copy(
        subject=_first(words.subjects, facts, LONGEST_SUBJECT),
        preheader=_first(words.preheaders, facts, 110),
        opening=_first(words.openings, facts),
        offer=offer,
        closing=_first(words.closings, facts),
        call_to_action=words.call_to_action,
    )
