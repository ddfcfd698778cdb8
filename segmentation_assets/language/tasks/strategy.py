"""The marketing strategy of a segment: goal, approach, cadence, price stance, measure and risk.

What belongs here: the task and what each text must hold to. What does not: the embedded writer and the table
(`strategy_writer`), and campaigns, which have their own plan.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import create_model

from segmentation_assets.language.facts import FactKind
from segmentation_assets.language.grounding import Finding, text_findings
from segmentation_assets.language.prompt_files import load_prompt
from segmentation_assets.language.rendering import PLACEHOLDER
from segmentation_assets.language.segment_facts import SegmentFacts
from segmentation_assets.language.strategy_writer import StrategyAnswer, stance_options, strategy_answer
from segmentation_assets.language.task import Task
from segmentation_assets.language.tasks.profile import copied_example, facts_to_tell, segment_blocks

#: Most characters of each text.
LONGEST: dict[str, int] = {"goal": 400, "approach": 700, "cadence": 500, "measure": 500, "risk": 500}


def strategy_task(segment: SegmentFacts) -> Task[StrategyAnswer]:
    """Ask for the strategy of `segment`. One under the minimum cell is not sent: the embedded writer answers."""
    options, prompt = stance_options(segment), load_prompt("strategy")
    one_of: Any = Literal[options]
    is_told = segment.customers > 0 and any(
        not fact.stays for fact in facts_to_tell(segment) if fact.kind is not FactKind.NAME
    )
    answer_type = create_model("StrategyAnswer", __base__=StrategyAnswer, offer_stance=(one_of, ...))

    def check(answer: StrategyAnswer) -> list[Finding]:
        found: list[Finding] = []
        texts = answer.model_dump()
        for field, longest in LONGEST.items():
            found += text_findings(field, texts[field], segment.book, segment.subject, longest=longest, shortest=8)
            found += copied_example(field, texts[field], prompt)
        if answer.offer_stance not in options:
            found.append(
                Finding(
                    "wrong_choice",
                    f"offer_stance: {answer.offer_stance!r} contradicts the planned offer or the way these customers "
                    f"buy; choose one of {', '.join(options)}.",
                )
            )
        if is_told and not PLACEHOLDER.search(answer.measure):
            found.append(
                Finding("no_figure", "measure: name the fact by which success is judged, such as {{reachable}}.")
            )
        return found

    return Task(
        name="strategy",
        item=segment.subject,
        prompt=prompt,
        blocks=segment_blocks(segment),
        answer_type=answer_type,
        check=check,
        fallback=lambda: answer_type(**strategy_answer(segment).model_dump()),
        customers=segment.customers,
    )
