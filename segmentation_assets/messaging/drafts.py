"""Drafts: two variants of an e-mail for every brief, linted before anyone sees them.

What belongs here: the facts of a brief's e-mail, the order in which it is written, judged and mended, people's edits,
and the tables of drafts and of their facts. What does not: words (`copywriter`), tasks (`copy_task`, `critique`),
layout and rules, which have their own modules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Protocol, TypeVar

import polars as pl
from pydantic import BaseModel

from segmentation_assets.language.answer_facts import COUNTS, added_up, answer_facts
from segmentation_assets.language.facts import MINIMUM_CELL, Fact, FactBook, FactKind, clean_name
from segmentation_assets.language.grounding import Finding, pressure_and_claims, ungrounded
from segmentation_assets.language.rendering import forms_of, render, render_fact
from segmentation_assets.language.segment_facts import is_sensitive
from segmentation_assets.language.task import EMBEDDED, Outcome, Task
from segmentation_assets.messaging.copy_task import (
    BriefFacts,
    EmailAnswer,
    can_render,
    draft_of,
    email_task,
    length_finding,
)
from segmentation_assets.messaging.copywriter import COPY_FIELDS, VARIANTS, Copy
from segmentation_assets.messaging.critique import CritiqueAnswer, critique_task
from segmentation_assets.messaging.layout import PLAIN_BRAND, Brand
from segmentation_assets.messaging.lint import lint_draft
from segmentation_assets.messaging.merge_fields import LINKS, merge_fields

A = TypeVar("A", bound=BaseModel)

#: People's edits in force: draft_id -> field -> (template, when it was written, naive UTC).
Edits = Mapping[str, Mapping[str, tuple[str, datetime]]]

#: Columns of campaigns.email_drafts and their DuckDB types, in order.
DRAFT_TYPES: dict[str, str] = {
    "draft_id": "VARCHAR", "brief_id": "VARCHAR", "variant": "VARCHAR", "taste_segment_id": "VARCHAR",
    "stage_segment_ids": "VARCHAR", "product_ids": "VARCHAR", "discount_share": "DOUBLE", "valid_until": "DATE",
    "call_to_action": "VARCHAR", "audience_customers": "BIGINT", "subject": "VARCHAR", "preheader": "VARCHAR",
    "body_text": "VARCHAR", "body_html": "VARCHAR", "status": "VARCHAR", "written_by": "VARCHAR",
    "is_degraded": "BOOLEAN", "critique": "VARCHAR", "edited_fields": "VARCHAR", "edited_at": "TIMESTAMP",
}  # fmt: skip

#: What the columns mean that the raw contract does not describe.
DRAFT_NOTES: dict[str, str] = {
    "draft_id": "The draft: its brief and its variant.",
    "brief_id": "The brief the draft was written for.",
    "stage_segment_ids": "Stage segments of the audience, comma separated.",
    "product_ids": "Products of the brief, comma separated.",
    "variant": "A or B: two ways to say the same offer.",
    "discount_share": "Discount on the list price; that of the brief.",
    "valid_until": "Last day of the offer.",
    "call_to_action": "The words on the button.",
    "audience_customers": "Customers of the audience.",
    "subject": "Subject line.",
    "preheader": "What a mail program shows behind the subject.",
    "body_text": "The message as plain text, with [[merge fields]] open.",
    "body_html": "The same message as HTML, with [[merge fields]] open.",
    "status": "Always draft here: a person approves.",
    "written_by": "The model that wrote the words, or embedded: the writer inside this project.",
    "is_degraded": "Whether a model was to write it and the embedded writer did.",
    "critique": "What a critic said of the words as they were written: a verdict, what to mend, what is good.",
    "edited_fields": "The fields that a person rewrote, comma separated; empty when nobody did.",
    "edited_at": "When the newest of those edits was made (UTC).",
}

#: Columns of campaigns.draft_facts and their DuckDB types, in order.
DRAFT_FACT_TYPES: dict[str, str] = {
    "brief_id": "VARCHAR", "key": "VARCHAR", "kind": "VARCHAR", "value": "VARCHAR", "number": "DOUBLE",
    "value_on": "DATE", "currency": "VARCHAR", "renderings": "VARCHAR",
}  # fmt: skip

#: What the columns of campaigns.draft_facts mean.
DRAFT_FACT_NOTES: dict[str, str] = {
    "brief_id": "The brief whose drafts may say it.",
    "key": "The name by which a template calls the fact: {{key}}.",
    "kind": "What it is: money, share, name or date.",
    "value": "The value as it is written in a text.",
    "number": "The value as a number; null for names and dates.",
    "value_on": "The value as a date; null for all else.",
    "currency": "Currency of the brief's amounts (ISO 4217).",
    "renderings": "Every way in which it may stand in a text, joined by ' | '.",
}

_BRIEF_COLUMNS = (
    "brief_id", "taste_segment_id", "stage_segment_ids", "product_ids", "discount_share", "valid_until",
    "audience_customers",
)  # fmt: skip
_AFTER_GROUP = re.compile(r"(?:-at-[0-9_]+-off)?(?:-adults)?$")
_POLARS = {
    "BIGINT": pl.Int64(), "DOUBLE": pl.Float64(), "DATE": pl.Date(), "BOOLEAN": pl.Boolean(),
    "TIMESTAMP": pl.Datetime("us"),
}  # fmt: skip


def _schema(types: Mapping[str, str]) -> dict[str, pl.DataType]:
    return {column: _POLARS.get(sql_type, pl.String()) for column, sql_type in types.items()}


class DraftError(ValueError):
    """A draft breaks a rule; the message names the draft and every finding."""

    def __init__(self, draft_id: str, findings: Sequence[Finding]) -> None:
        super().__init__(f"Draft {draft_id}: " + "; ".join(f"{f.rule}: {f.detail}" for f in findings))
        self.findings = list(findings)


class Ask(Protocol):
    """Somebody who answers tasks, in their order: a desk, or `ask_embedded`."""

    def __call__(self, tasks: Sequence[Task[A]]) -> list[Outcome[A]]:
        """An outcome for each task."""
        ...


def ask_embedded(tasks: Sequence[Task[A]]) -> list[Outcome[A]]:
    """The embedded writer's answers: no model, no ledger."""
    return [Outcome(task.fallback()) for task in tasks]


def stage_group_of(brief_id: str, stage_groups: Sequence[str]) -> str:
    """The stage group a brief was planned for, from its id (`20240630-T2-never-bought`); `unknown` otherwise.

    Behind the group may stand a discount that was chosen for its products, and that it is for adults
    (`20240630-T2-loyal-at-12_5-off-adults`).
    """
    tail = _AFTER_GROUP.sub("", brief_id.split("-", 2)[-1]).replace("-", "_")
    return tail if tail in stage_groups else "unknown"


def brief_facts(
    brief: dict[str, object], products: Sequence[dict[str, object]], currency: str, sensitive: Sequence[str]
) -> FactBook:
    """The facts an e-mail may use: product names and prices, the discount, the end date, the category of all goods."""
    discount = float(str(brief["discount_share"]))
    facts = []
    for place, product in enumerate(products, start=1):
        name = clean_name(str(product["name"]), 60) or str(product["product_id"])
        price = float(str(product["list_price"]))
        facts.append(Fact(f"product{place}", FactKind.NAME, name))
        facts.append(Fact(f"list_price{place}", FactKind.MONEY, round(price, 2)))
        facts.append(Fact(f"price{place}", FactKind.MONEY, round(price * (1 - discount), 2)))
    if discount > 0:
        facts.append(Fact("discount", FactKind.SHARE, discount))
    # A letter "from Garden" with a stock pot in it would not be true: only a category of all of them may be named.
    categories = {str(product["category"] or "") for product in products}
    category = clean_name(categories.pop(), 30) if len(categories) == 1 else ""
    is_loud = bool(pressure_and_claims(category, has_end_date=False, has_stock=False))
    if category and category != "unknown" and not is_loud and not is_sensitive(category, sensitive):
        facts.append(Fact("category", FactKind.NAME, category))
    until = brief["valid_until"]
    if isinstance(until, date):
        facts.append(Fact("valid_until", FactKind.DATE, until))
    return FactBook(tuple(facts), currency)


def brief_facts_of(
    briefs: pl.DataFrame,
    promotable: pl.DataFrame,
    *,
    stage_groups: Sequence[str],
    currency: str,
    sensitive_categories: Sequence[str] = (),
    language: str = "en",
    brand: Brand = PLAIN_BRAND,
    engagement: pl.DataFrame | None = None,
    minimum_cell: int = MINIMUM_CELL,
) -> list[BriefFacts]:
    """What a writer may know of every brief, in their order.

    `briefs` is campaigns.briefs, `promotable` campaigns.promotable_products, `stage_groups` the known groups;
    `engagement` results.segment_engagement, None where nothing is known of earlier messages.
    ValueError when a brief names a product that `promotable` does not hold.
    """
    known = {row["product_id"]: row for row in promotable.to_dicts()}
    stages = {
        row["segment_id"]: {name: int(row[name]) for name in COUNTS}
        for row in (engagement.to_dicts() if engagement is not None else [])
        if row["axis"] == "stage"
    }
    found = []
    for brief in briefs.to_dicts():
        ids = brief["product_ids"].split(",")
        if missing := [product_id for product_id in ids if product_id not in known]:
            raise ValueError(
                f"Brief {brief['brief_id']} offers {', '.join(missing)}, and campaigns.promotable_products has no such "
                "product: materialise both together."
            )
        products = [known[product_id] for product_id in ids]
        found.append(
            BriefFacts(
                **{name: brief[name] for name in _BRIEF_COLUMNS},
                stage_group=stage_group_of(brief["brief_id"], stage_groups),
                book=brief_facts(brief, products, currency, sensitive_categories),
                language=language,
                brand=brand,
                answers=_answers_of(brief["stage_segment_ids"].split(","), stages, minimum_cell),
            )
        )
    return found


def _answers_of(segment_ids: Sequence[str], stages: Mapping[str, Mapping[str, int]], minimum_cell: int) -> FactBook:
    """How the stages of a brief together answered messages, as far as it may be sent; no facts where one is missing.

    By stage and not by taste: the stage says how to approach, and how often people were written to goes with it.
    """
    if not stages or not set(segment_ids) <= set(stages):
        return FactBook()
    own = added_up([stages[segment_id] for segment_id in segment_ids])
    rest = [counts for segment_id, counts in stages.items() if segment_id not in segment_ids]
    facts = answer_facts(own, [own, *rest], "audience", minimum_cell)
    return FactBook(facts).sendable(minimum_cell, added_up([own, *rest])["customers"])


def critique_tasks(briefs: Sequence[BriefFacts], answers: Sequence[Outcome[EmailAnswer]]) -> list[Task[CritiqueAnswer]]:
    """The tasks of judging each answer: variants A and B of the first brief, then of the next."""
    return [
        critique_task(brief, outcome.answer, variant)
        for brief, outcome in zip(briefs, answers, strict=True)
        for variant in VARIANTS
    ]


@dataclass(frozen=True)
class Rewrite:
    """A brief to be written once more: its place among the briefs, and the task with what is to be mended."""

    place: int
    task: Task[EmailAnswer]


def rewrites(
    briefs: Sequence[BriefFacts], answers: Sequence[Outcome[EmailAnswer]], critiques: Sequence[Outcome[CritiqueAnswer]]
) -> list[Rewrite]:
    """The briefs whose copy a critic wants written anew, with the critic's words in the task.

    Only what a model wrote: the embedded writer says the same however often it is asked. `critiques` are as of
    `critique_tasks`.
    """
    found = []
    for place, (brief, outcome) in enumerate(zip(briefs, answers, strict=True)):
        pair = critiques[2 * place : 2 * place + 2]
        problems = tuple(
            f"Variant {variant.lower()}: {problem}"
            for variant, critique in zip(VARIANTS, pair, strict=True)
            if critique.answer.verdict == "rewrite"
            for problem in critique.answer.problems
        )
        if problems and outcome.written_by != EMBEDDED:
            found.append(Rewrite(place, email_task(brief, problems)))
    return found


def write_drafts(briefs: Sequence[BriefFacts], ask: Ask, edits: Edits | None = None) -> tuple[pl.DataFrame, list[str]]:
    """Ask for the copy and a critique of it, for new copy once where a critic wants it, and make the table.

    New copy takes the place of the old when a model wrote it to the end; it is judged in its turn and kept whatever is
    said of it, because a person reads it next. Returns what `drafts_frame` does.
    """
    answers = ask([email_task(brief) for brief in briefs])
    critiques = ask(critique_tasks(briefs, answers))
    wanted = rewrites(briefs, answers, critiques)
    new = ask([rewrite.task for rewrite in wanted]) if wanted else []
    better = {
        rewrite.place: outcome
        for rewrite, outcome in zip(wanted, new, strict=True)
        if not outcome.is_degraded and outcome.written_by != EMBEDDED
    }
    if better:
        places = sorted(better)
        answers = [better.get(place, outcome) for place, outcome in enumerate(answers)]
        again = ask(critique_tasks([briefs[place] for place in places], [answers[place] for place in places]))
        critiques = list(critiques)
        for number, place in enumerate(places):
            critiques[2 * place : 2 * place + 2] = again[2 * number : 2 * number + 2]
    return drafts_frame(briefs, answers, critiques, edits)


def draft_templates(outcome: Outcome[EmailAnswer], variant: str) -> dict[str, str]:
    """The template of each field of a variant: what a person's edit starts from."""
    return dict(vars(outcome.answer.variant(variant)))


def drafts_frame(
    briefs: Sequence[BriefFacts],
    answers: Sequence[Outcome[EmailAnswer]],
    critiques: Sequence[Outcome[CritiqueAnswer]] = (),
    edits: Edits | None = None,
) -> tuple[pl.DataFrame, list[str]]:
    """`campaigns.email_drafts`, variants A and B of every brief in their order, and the edits that were set aside.

    `answers` are one per brief, `critiques` two per brief or none. An edit takes the place of the writer's words and
    is checked like them; one that no longer passes, or names a fact that is gone, is set aside with a sentence that
    says which draft, which field and why. DraftError when a writer's own draft breaks a rule of `lint_draft`: nothing
    unfit is written. ValueError when the lists do not fit each other.
    """
    if critiques and len(critiques) != 2 * len(briefs):
        raise ValueError(f"{len(critiques)} critiques for {len(briefs)} briefs: give two per brief, or none.")
    edits = edits or {}
    rows: list[dict[str, object]] = []
    set_aside: list[str] = []
    for place, (brief, outcome) in enumerate(zip(briefs, answers, strict=True)):
        copies = {variant: outcome.answer.variant(variant) for variant in VARIANTS}
        for variant, copy in copies.items():
            if findings := lint_draft(draft_of(brief, variant, copy)[0], brief.book):
                raise DraftError(brief.draft_id(variant), findings)
        applied: dict[str, dict[str, datetime]] = {variant: {} for variant in VARIANTS}
        for variant in VARIANTS:
            for name, (template, edited_at) in sorted(edits.get(brief.draft_id(variant), {}).items()):
                edited, reason = _edited(brief, variant, copies, name, template)
                if reason:
                    set_aside.append(f"The edit of draft {brief.draft_id(variant)}, {name}, is set aside: {reason}")
                else:
                    copies[variant] = edited
                    applied[variant][name] = edited_at
        for number, variant in enumerate(VARIANTS):
            critique = critiques[2 * place + number].answer if critiques else None
            rows.append(
                _row(brief, variant, copies[variant], outcome)
                | {
                    "critique": _critique_text(critique, brief.book, is_edited=bool(applied[variant])),
                    "edited_fields": ",".join(name for name in COPY_FIELDS if name in applied[variant]),
                    "edited_at": max(applied[variant].values(), default=None),
                }
            )
    there = {brief.draft_id(variant) for brief in briefs for variant in VARIANTS}
    if over := sorted(set(edits) - there):
        named = ", ".join(over[:3]) + (", ..." if len(over) > 3 else "")
        set_aside.append(f"Edits of drafts that are not planned any more are kept and not used: {named}.")
    return pl.DataFrame(rows, schema=_schema(DRAFT_TYPES)), set_aside


def _edited(brief: BriefFacts, variant: str, copies: Mapping[str, Copy], name: str, template: str) -> tuple[Copy, str]:
    """The copy of a variant with one field rewritten, or the copy as it was and the reason why not."""
    copy, facts = copies[variant], brief.book
    if name not in COPY_FIELDS:
        return copy, f"a draft has no such field; there are {', '.join(COPY_FIELDS)}."
    template = " ".join(template.split())
    findings = ungrounded(template, facts)
    if not findings and can_render(template, facts):
        new = replace(copy, **{name: template})
        if length := length_finding(name, template, facts, name):
            findings.append(length)
        findings += [
            Finding("merge_field", f"[[{field}]] is set by the layout.")
            for field, _ in merge_fields(template)
            if field in LINKS
        ]
        findings += lint_draft(draft_of(brief, variant, new)[0], facts)
        others = [render(copies[other].subject, facts) for other in VARIANTS if other != variant]
        if name == "subject" and render(template, facts) in others:
            findings.append(Finding("same_variants", "the other variant has this subject."))
        if not findings:
            return new, ""
    return copy, " ".join(finding.detail for finding in dict.fromkeys(findings))


def _row(brief: BriefFacts, variant: str, copy: Copy, outcome: Outcome[EmailAnswer]) -> dict[str, object]:
    draft, laid = draft_of(brief, variant, copy)
    return {
        **{name: getattr(brief, name) for name in _BRIEF_COLUMNS},
        "draft_id": draft.draft_id,
        "variant": variant,
        "call_to_action": laid.call_to_action,
        "subject": laid.subject,
        "preheader": laid.preheader,
        "body_text": laid.body_text,
        "body_html": laid.body_html,
        "status": "draft",
        "written_by": outcome.written_by,
        "is_degraded": outcome.is_degraded,
    }


def _critique_text(critique: CritiqueAnswer | None, facts: FactBook, *, is_edited: bool) -> str:
    if critique is None:
        return ""
    verdict = "Ready to be read by a person." if critique.verdict == "send" else "Better written anew."
    before = ["Before a person's edit:"] if is_edited else []
    said = [*before, verdict, critique.strength, *critique.problems]
    return render(" ".join(said), facts)


def draft_facts_frame(briefs: Sequence[BriefFacts]) -> pl.DataFrame:
    """`campaigns.draft_facts`: every fact that the drafts of a brief may state, with all its renderings."""
    rows = [
        {
            "brief_id": brief.brief_id,
            "key": fact.key,
            "kind": fact.kind.value,
            "value": render_fact(fact, brief.book.currency),
            "number": None if isinstance(fact.value, str | date) else round(fact.number, 6),
            "value_on": fact.value if isinstance(fact.value, date) else None,
            "currency": brief.book.currency,
            "renderings": " | ".join(
                dict.fromkeys(
                    render_fact(fact, brief.book.currency, form) for form in (None, *sorted(forms_of(fact.kind)))
                )
            ),
        }
        for brief in briefs
        for fact in brief.book
    ]
    return pl.DataFrame(rows, schema=_schema(DRAFT_FACT_TYPES))


def build_drafts(
    briefs: pl.DataFrame,
    promotable: pl.DataFrame,
    *,
    stage_groups: Sequence[str],
    currency: str,
    sensitive_categories: Sequence[str] = (),
    language: str = "en",
) -> pl.DataFrame:
    """`campaigns.email_drafts` by the embedded writer alone; parameters as of `brief_facts_of`."""
    facts = brief_facts_of(
        briefs,
        promotable,
        stage_groups=stage_groups,
        currency=currency,
        sensitive_categories=sensitive_categories,
        language=language,
    )
    return write_drafts(facts, ask_embedded)[0]
