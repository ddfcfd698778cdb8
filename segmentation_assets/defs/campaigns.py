"""Stage campaigns, the words: which few campaigns, for whom and why, and their e-mails."""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from segmentation_assets.defs.language import open_desk, set_aside_told, told
from segmentation_assets.defs.merchandising import campaign_spec, declare, groups_of, read
from segmentation_assets.language.task import EMBEDDED, Outcome, Task
from segmentation_assets.language.tasks.match import (
    MATCH_CHOICE_NOTES,
    MATCH_CHOICE_TYPES,
    MatchQuestion,
    match_candidates,
    match_choices_frame,
    match_task,
    matches_to_choose,
)
from segmentation_assets.merchandising.briefs import build_briefs
from segmentation_assets.merchandising.plan import STAGE_GROUPS
from segmentation_assets.messaging.drafts import (
    DRAFT_FACT_NOTES,
    DRAFT_FACT_TYPES,
    DRAFT_NOTES,
    DRAFT_TYPES,
    brief_facts_of,
    draft_facts_frame,
    write_drafts,
)
from segmentation_assets.messaging.layout import Brand, read_layout
from segmentation_assets.orchestration.table_steps import Computed, TableDeclaration, computed_tables
from segmentation_assets.orchestration.warehouse import Warehouse, source_row
from segmentation_assets.settings import SenderSettings
from segmentation_assets.state.edits import edited_drafts
from segmentation_assets.state.store import open_state

#: People read these on Mondays.
WEEKLY = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=9), warn_window=dt.timedelta(days=8))
_PYTHON = frozenset({"duckdb", "python"})
_DRAFTED_FROM = ("campaigns/briefs", "campaigns/promotable_products", "results/segment_engagement", "raw/source")


def brand_of(sender: SenderSettings) -> Brand:
    """How messages look, by the settings; the shop's own layout is read from its file."""
    return Brand(sender.accent_colour, read_layout(Path(sender.layout).expanduser()) if sender.layout else "")


@computed_tables(
    "campaigns",
    declare(
        "campaigns/briefs",
        "A handful of campaigns a person can approve: audience, products, offer, dates, expected margin, what a "
        "control group costs and the smallest effect it could show.\n\nGrain: brief_id",
        (
            "campaigns/offer_plan",
            "campaigns/product_segment_matches",
            "campaigns/promotable_products",
            "campaigns/audience_members",
            "segments/segment_summary",
            "segments/segment_metrics",
            "raw/source",
        ),
    ),
)
def briefs(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """Gather the planned offers into campaigns."""
    with warehouse.get_connection(read_only=True) as con:
        frame = build_briefs(
            read(con, "campaigns.offer_plan"),
            read(con, "campaigns.product_segment_matches"),
            read(con, "campaigns.promotable_products"),
            read(con, "campaigns.audience_members"),
            groups_of(con),
            taste_names=dict(con.execute("select segment_id, name from segments.taste_model").fetchall()),
            spec=campaign_spec(warehouse.settings),
            as_of=source_row(con)[0],
        )
    return Computed(frame)


@computed_tables(
    "campaigns",
    TableDeclaration(
        "campaigns/match_choices",
        "The audience chosen for each product worth asking about, and why; the matches with the highest expected "
        "margin, where there is more than one audience to choose from.\n\nGrain: product_id",
        types=MATCH_CHOICE_TYPES,
        texts=MATCH_CHOICE_NOTES,
        deps=(
            "campaigns/product_segment_matches",
            "campaigns/promotable_products",
            "segments/stage_model",
            "segments/taste_model",
            "raw/source",
        ),
        kinds=_PYTHON,
    ),
)
def match_choices(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """Choose among the scored candidates of a product, with the reason."""
    with warehouse.get_connection(read_only=True) as con:
        matches = read(con, "campaigns.product_segment_matches")
        products = dict(con.execute("select product_id, name from campaigns.promotable_products").fetchall())
        names = dict(
            con.execute(
                "select segment_id, name from segments.stage_model union all select segment_id, name "
                "from segments.taste_model"
            ).fetchall()
        )
        currency = source_row(con)[1]
    questions = [
        MatchQuestion(
            product_id, products.get(product_id) or "", match_candidates(matches, product_id), names, currency
        )
        for product_id in matches_to_choose(matches)
    ]
    with open_desk(context, warehouse, "match") as desk:
        outcomes = desk.ask([match_task(question) for question in questions])
    return Computed(match_choices_frame(questions, outcomes), told(outcomes))


@computed_tables(
    "campaigns",
    TableDeclaration(
        "campaigns/email_drafts",
        "Two e-mail drafts per brief, as text and HTML, with merge fields open, and what a critic says of each. "
        "Nothing is sent from here: a person approves.\n\nGrain: draft_id",
        types=DRAFT_TYPES,
        texts=DRAFT_NOTES,
        deps=_DRAFTED_FROM,
        kinds=_PYTHON,
        freshness=WEEKLY,
    ),
    TableDeclaration(
        "campaigns/draft_facts",
        "Every fact that the drafts of a brief may state, with all the ways to write it.\n\nGrain: brief_id, key",
        types=DRAFT_FACT_TYPES,
        texts=DRAFT_FACT_NOTES,
        deps=_DRAFTED_FROM,
        kinds=_PYTHON,
    ),
    name="campaigns__email_drafts",
)
def email_drafts(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Mapping[str, Computed]:
    """Write, judge, lay out and lint two variants of every brief; what a person wrote stands."""
    with warehouse.get_connection(read_only=True) as con:
        facts = brief_facts_of(
            read(con, "campaigns.briefs"),
            read(con, "campaigns.promotable_products"),
            stage_groups=STAGE_GROUPS,
            currency=source_row(con)[1],
            sensitive_categories=warehouse.settings.privacy.sensitive_categories,
            brand=brand_of(warehouse.settings.sender),
            engagement=read(con, "results.segment_engagement"),
            minimum_cell=warehouse.settings.privacy.minimum_cell,
        )
    with open_state(warehouse.place.state) as state:
        edits = edited_drafts(state)
    with open_desk(context, warehouse, "email") as writer, open_desk(context, warehouse, "critique") as critic:

        def ask(tasks: Sequence[Task[Any]]) -> list[Outcome[Any]]:
            return (critic if tasks and tasks[0].name == "critique" else writer).ask(tasks)

        frame, set_aside = write_drafts(facts, ask, edits)
    for sentence in set_aside:
        context.log.warning(sentence)
    texts = [
        f"### {row['draft_id']}\n**{row['subject']}**  \n*{row['preheader']}*\n\n```\n{row['body_text']}\n```\n\n"
        f"Critic: {row['critique']}"
        for row in frame.iter_rows(named=True)
    ]
    return {
        "campaigns/draft_facts": Computed(draft_facts_frame(facts)),
        "campaigns/email_drafts": Computed(
            frame,
            {
                "drafts": dg.MetadataValue.md("\n\n".join(texts) or "No brief, so no draft."),
                "written_by": ", ".join(sorted(set(frame["written_by"]))) or EMBEDDED,
                "degraded_items": int(frame["is_degraded"].sum()) if frame.height else 0,
                **set_aside_told(set_aside),
            },
        ),
    }
