"""The choice of the number of segments of an axis, among those that the evidence admits.

What belongs here: which figures of the evidence become facts, and what a reason must hold to. What does not: the
evidence and the rule that decides where no model does (`segmentation`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import create_model

from segmentation_assets.language.answers import Answer
from segmentation_assets.language.facts import Fact, FactBook, FactKind
from segmentation_assets.language.grounding import Finding, text_findings
from segmentation_assets.language.prompt_files import load_prompt
from segmentation_assets.language.rendering import PLACEHOLDER
from segmentation_assets.language.task import ChoicesBlock, NotesBlock, Task
from segmentation_assets.language.tasks.profile import copied_example

#: Characters of a reason.
LONGEST_REASON = 400


class ChooseKAnswer(Answer):
    """A number of segments, and the reason in one or two sentences whose figures are facts of that number."""

    k: int
    reason: str


def choice_facts(rows: Sequence[Mapping[str, Any]]) -> dict[int, FactBook]:
    """The facts of each admissible k, in the order of k.

    `rows` are rows of AXIS_evidence: k, and where they are known stability (0 to 1), silhouette and null_silhouette,
    smallest_share and smallest_customers. A silhouette has no unit that a reader would know, so it becomes a rank:
    how far it stands above that of data without structure, among the candidates.
    """
    ordered = sorted(rows, key=lambda row: int(row["k"]))
    stability = {int(row["k"]): _known(row, "stability") for row in ordered}
    above = {
        int(row["k"]): None if silhouette is None else silhouette - (_known(row, "null_silhouette") or 0.0)
        for row in ordered
        for silhouette in [_known(row, "silhouette")]
    }
    books = {}
    for row in ordered:
        k, subject = int(row["k"]), f"{int(row['k'])} segments"
        facts = [Fact("segments", FactKind.COUNT, k, subject=subject)]
        if (agreement := stability[k]) is not None:
            facts.append(Fact("stability", FactKind.SHARE, max(0.0, min(1.0, agreement)), subject=subject))
        for key, values in (("stability_rank", stability), ("separation_rank", above)):
            known = [value for value in values.values() if value is not None]
            if (own := values[k]) is not None and len(known) > 1:
                rank = 1 + sum(other > own for other in known)
                facts.append(Fact(key, FactKind.RANK, rank, subject=subject, of=len(known)))
        smallest, share = _known(row, "smallest_customers"), _known(row, "smallest_share")
        people = None if smallest is None else int(smallest)
        if people is not None:
            facts.append(Fact("smallest_customers", FactKind.COUNT, people, subject=subject, customers=people))
            # Without the count nobody can say how many people the share is about, so it is not a fact either.
            if share is not None:
                facts.append(Fact("smallest_share", FactKind.SHARE, share, subject=subject, customers=people))
        books[k] = FactBook(tuple(facts))
    return books


def _known(row: Mapping[str, Any], column: str) -> float | None:
    value = row.get(column)
    return None if value is None or not math.isfinite(float(value)) else float(value)


def choose_k_task(axis_title: str, rows: Sequence[Mapping[str, Any]], rule_k: int) -> Task[ChooseKAnswer]:
    """Ask for a k among the admissible `rows` (as of `choice_facts`); `rule_k` is what the rule takes.

    The answer's schema lists the admissible k, so no other can be given. Render the reason with
    `choice_facts(rows)[answer.k]`. ValueError when there is no admissible k, one is given twice, or `rule_k` is none.
    """
    books = choice_facts(rows)
    if not books:
        raise ValueError(f"{axis_title}: no number of segments is admissible, so there is nothing to choose.")
    if len(books) != len(rows):
        raise ValueError(f"{axis_title}: a number of segments has several rows of evidence; give one row each.")
    admissible = ", ".join(map(str, books))
    if rule_k not in books:
        raise ValueError(
            f"{axis_title}: the rule's {rule_k} is not admissible ({admissible} are); ask only where it is."
        )
    prompt = load_prompt("choose_k")
    one_of: Any = Literal[tuple(books)]
    answer_type = create_model("ChooseKAnswer", __base__=ChooseKAnswer, k=(one_of, ...))

    def check(answer: ChooseKAnswer) -> list[Finding]:
        if answer.k not in books:
            return [Finding("wrong_choice", f"k: {answer.k} is not admissible; choose one of {admissible}.")]
        facts = books[answer.k]
        found = text_findings("reason", answer.reason, facts, None, longest=LONGEST_REASON, shortest=20)
        found += copied_example("reason", answer.reason, prompt)
        named = {match[1] for match in PLACEHOLDER.finditer(answer.reason)} - {"segments"}
        if len(facts) > 1 and not named:
            found.append(
                Finding(
                    "no_reason", f"reason: name a fact of the {answer.k} that speaks for it, such as {{{{stability}}}}."
                )
            )
        return found

    return Task(
        name="choose_k",
        item=axis_title,
        prompt=prompt,
        blocks=(
            ChoicesBlock("Numbers of segments to choose from", {str(k): book for k, book in books.items()}),
            NotesBlock("Beside this", (f"The fixed rule of the program takes {rule_k}.",)),
        ),
        answer_type=answer_type,
        check=check,
        fallback=lambda: answer_type(k=rule_k, reason=_reason(books[rule_k])),
        output_tokens=300,
    )


def _reason(facts: FactBook) -> str:
    """The embedded writer's reason: what is known of the candidate, in the order of its weight."""
    said = []
    if facts.has("stability"):
        rank = ", {{stability_rank}} candidates" if facts.has("stability_rank") else ""
        said.append(
            "Resampled customers give these {{segments}} segments again with an agreement of {{stability}}" + rank + "."
        )
    if facts.has("separation_rank"):
        said.append("By how far they stand apart beyond chance they come {{separation_rank}}.")
    if facts.has("smallest_share"):
        said.append("Each of them holds at least {{smallest_share}} of the customers.")
    elif facts.has("smallest_customers"):
        said.append("Each of them holds at least {{smallest_customers}} customers.")
    return (
        " ".join(said) or "The evidence says nothing for or against these {{segments}} segments beside their being few."
    )
