"""From the text a person typed back to a template: figures and names of facts become placeholders again.

What belongs here: the choice of the fact behind each figure. What does not: finding figures (`rendering`) and judging
the template that comes out (`grounding.ungrounded`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from segmentation_assets.language.cues import topic_of, writing_class
from segmentation_assets.language.facts import Fact, FactBook, FactKind
from segmentation_assets.language.grounding import Finding, sentences, spoken_figures, ungrounded
from segmentation_assets.language.rendering import (
    PLACEHOLDER,
    Span,
    find_renderings,
    forms_of,
    render_fact,
)

_Choice = tuple[Fact, str | None]
_HERE = "\ue000"  # a character of private use: stands where the figure stood
_MISFITS = {"wrong_key", "wrong_unit", "wrong_direction"}
#: How many of the nearest facts a finding names.
_NEAREST = 3


def to_template(text: str, facts: FactBook, hint: str = "") -> tuple[str, list[Finding]]:
    """`text` with every figure and name that is a fact's put back as `{{key}}` or `{{key|form}}`, and what is no fact.

    `hint` is the template that `text` came from: where several facts are written alike, its key wins, in the order in
    which it names them; else the fact that its neighbouring words allow; else the first of the book, with the finding
    `ambiguous_figure` when the values differ behind the same writing. A figure that is no fact stays as typed and is
    the finding `unknown_figure`, with the nearest facts. Placeholders that were typed stay as they are.

    The template renders to `text` again: `render(to_template(text, facts)[0], facts) == text`.
    """
    typed = [match.span() for match in PLACEHOLDER.finditer(text)]
    spans = [
        span
        for span in find_renderings(text, facts)
        if _is_worth_it(text[span.start : span.end], span)
        and not any(start < span.end and span.start < end for start, end in typed)
    ]
    hinted = _hinted(hint, facts)
    findings: list[Finding] = []
    parts, end = [], 0
    for span in spans:
        written = text[span.start : span.end]
        exact = [choice for choice in span.candidates if render_fact(choice[0], facts.currency, choice[1]) == written]
        if not exact:
            # "Under 0.1%" at the start of a sentence: the fact itself is written in lower case.
            continue
        choice = _from_hint(hinted, written, exact)
        if choice is None:
            fitting = _fitting(text, span, exact, facts)
            choice = fitting[0]
            if len({_value(fact) for fact, _ in fitting}) > 1:
                keys = ", ".join(f"{{{{{key}}}}}" for key in dict.fromkeys(fact.key for fact, _ in fitting))
                findings.append(
                    Finding("ambiguous_figure", f"{written!r} can be {keys}; {_placeholder(choice)} was taken.")
                )
        parts += [text[end : span.start], _placeholder(choice)]
        end = span.end
    template = "".join([*parts, text[end:]])
    findings += [
        Finding("unknown_fact", f"{match[0]}: there is no such fact.")
        for match in PLACEHOLDER.finditer(text)
        if match[1] not in facts
    ]
    findings += [
        Finding("unknown_figure", f"{figure!r} is no fact here; {_nearest(figure, facts)}")
        for figure in spoken_figures(PLACEHOLDER.sub(" ", template))
    ]
    return template, list(dict.fromkeys(findings))


def _is_worth_it(written: str, span: Span) -> bool:
    """Figures and names; a text fact is prose, and putting it back would tie a sentence to it."""
    return any(letter.isdigit() for letter in written) or any(
        fact.kind is FactKind.NAME or form == "times" for fact, form in span.candidates
    )


def _placeholder(choice: _Choice) -> str:
    fact, form = choice
    return f"{{{{{fact.key}|{form}}}}}" if form else f"{{{{{fact.key}}}}}"


def _hinted(hint: str, facts: FactBook) -> list[tuple[str, _Choice]]:
    """Rendering, fact and form of every placeholder of the hint, in its order."""
    found = []
    for match in PLACEHOLDER.finditer(hint):
        fact, form = facts.get(match[1]), match[2] or None
        if fact is None or (form is not None and form not in forms_of(fact.kind)):
            continue
        found.append((render_fact(fact, facts.currency, form), (fact, form)))
    return found


def _from_hint(hinted: list[tuple[str, _Choice]], written: str, exact: Sequence[_Choice]) -> _Choice | None:
    """The hint's next placeholder that is written so; the last of them serves again when the text says it once more."""
    keys = {fact.key for fact, _ in exact}
    places = [place for place, (words, (fact, _)) in enumerate(hinted) if words == written and fact.key in keys]
    if not places:
        return None
    choice = hinted[places[0]][1]
    if len(places) > 1:
        del hinted[places[0]]
    return choice


def _fitting(text: str, span: Span, exact: Sequence[_Choice], facts: FactBook) -> list[_Choice]:
    """The candidates that fit the words around the figure: those whose own words are near, else those not refused."""
    if len(exact) == 1:
        return list(exact)
    marked = f"{text[: span.start]}{_HERE}{text[span.end :]}"
    sentence = next(part for part in sentences(marked) if _HERE in part)
    allowed = [
        choice
        for choice in exact
        if not {finding.rule for finding in ungrounded(sentence.replace(_HERE, _placeholder(choice)), facts)} & _MISFITS
    ] or list(exact)
    near = [
        choice for choice in allowed if (topic := topic_of(choice[0].key)) is not None and topic.own.search(sentence)
    ]
    # A plain fact before the bare size of a delta: "12%" is a share when it can be one.
    return sorted(near or allowed, key=lambda choice: writing_class(*choice).islower())


def _value(fact: Fact) -> str | float:
    """What two facts that are written alike must share to be one and the same; a delta's size has no sign."""
    words = {FactKind.NAME, FactKind.TEXT, FactKind.DATE}
    return str(fact.value) if fact.kind in words else round(abs(fact.number), 9)


def _nearest(figure: str, facts: FactBook) -> str:
    """The facts whose values are nearest to `figure`, for the person who typed it."""
    digits = re.sub(r"[^\d.]", "", figure.replace(",", "")).strip(".")
    numbers = [fact for fact in facts if fact.kind not in {FactKind.NAME, FactKind.TEXT, FactKind.DATE}]
    if not numbers:
        return "there are no facts of figures."
    if digits and digits.count(".") <= 1:
        value = float(digits)

        def distance(fact: Fact) -> float:
            number = abs(fact.number) * (100 if fact.kind in {FactKind.SHARE, FactKind.DELTA} else 1)
            return abs(number - value) / max(number, value, 1.0)

        numbers = sorted(numbers, key=distance)
    named = ", ".join(f"{{{{{fact.key}}}}} = {render_fact(fact, facts.currency)}" for fact in numbers[:_NEAREST])
    return f"the nearest facts are {named}."
