"""The messages of a request: the words of a prompt file and the typed blocks of a task, and nothing else.

Facts under the minimum cell stay here: they are not listed, and a text cannot name what it was not given.
"""

from __future__ import annotations

from collections.abc import Mapping

from segmentation_assets.language.facts import Fact, FactBook, FactKind
from segmentation_assets.language.rendering import render_fact
from segmentation_assets.language.task import Block, ChoicesBlock, FactsBlock, Task


def messages_of(task: Task, minimum_cell: int, all_customers: int | None = None) -> tuple[Mapping[str, str], ...]:
    """System and user message. `all_customers`: as of `FactBook.sendable`."""
    parts = [task.prompt.user, *(_block(block, minimum_cell, all_customers) for block in task.blocks)]
    return (
        {"role": "system", "content": task.prompt.system},
        {"role": "user", "content": "\n\n".join(part for part in parts if part)},
    )


def _block(block: Block, minimum_cell: int, all_customers: int | None) -> str:
    if isinstance(block, FactsBlock):
        lines = _fact_lines(block.facts.sendable(minimum_cell, all_customers))
    elif isinstance(block, ChoicesBlock):
        lines = []
        for choice, facts in block.choices.items():
            lines.append(f"- {choice}:")
            lines += [f"  {line}" for line in _fact_lines(facts.sendable(minimum_cell, all_customers))]
    else:
        lines = [f"- {note}" for note in block.notes]
    return "\n".join([f"## {block.title}", *lines]) if lines else ""


def _fact_lines(facts: FactBook) -> list[str]:
    return [_fact_line(fact, facts.currency) for fact in facts]


#: Forms worth the room in a prompt; a text may use all of `forms_of`.
_TOLD: Mapping[FactKind, tuple[str, ...]] = {
    FactKind.DELTA: ("above", "more", "up"),
    FactKind.RANK: ("highest", "largest"),
    FactKind.DATE: ("short",),
}


def _fact_line(fact: Fact, currency: str) -> str:
    value = render_fact(fact, currency)
    if fact.kind in {FactKind.NAME, FactKind.TEXT}:
        value = '"' + value.replace('"', "'") + '"'
    forms = ", ".join(f"|{form}" for form in _TOLD.get(fact.kind, ()))
    return f"- {{{{{fact.key}}}}}: {value} ({fact.kind.value}{f'; forms {forms}' if forms else ''})"
