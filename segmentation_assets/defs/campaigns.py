"""Stage campaigns: what may be offered, to whom, and in which words."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import polars as pl

from segmentation_assets.defs.language import open_desk, set_aside_told, told
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
from segmentation_assets.merchandising.matching import match_products
from segmentation_assets.merchandising.plan import COLUMN_NOTES, STAGE_GROUPS, TABLE_TYPES, CampaignSpec
from segmentation_assets.merchandising.promotable import promotable_products
from segmentation_assets.merchandising.stage_groups import stage_groups
from segmentation_assets.messaging.drafts import (
    DRAFT_FACT_NOTES,
    DRAFT_FACT_TYPES,
    DRAFT_NOTES,
    DRAFT_TYPES,
    brief_facts_of,
    draft_facts_frame,
    write_drafts,
)
from segmentation_assets.orchestration import plots
from segmentation_assets.orchestration.table_steps import Computed, TableDeclaration, computed_tables, sql_table
from segmentation_assets.orchestration.warehouse import Warehouse, source_row
from segmentation_assets.settings import Settings
from segmentation_assets.state.edits import edited_drafts
from segmentation_assets.state.store import open_state

#: People read these on Mondays.
WEEKLY = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=9), warn_window=dt.timedelta(days=8))
_PYTHON = frozenset({"duckdb", "python"})
_DRAFTED_FROM = ("campaigns/briefs", "campaigns/promotable_products", "raw/source")


def campaign_spec(settings: Settings) -> CampaignSpec:
    """The settings as merchandising takes them."""
    campaigns, privacy = settings.campaigns, settings.privacy
    return CampaignSpec(
        margin_floor_share=campaigns.margin_floor_share,
        safety_stock=campaigns.safety_stock,
        cover_days=campaigns.cover_days,
        products_per_brief=campaigns.products_per_brief,
        max_briefs=campaigns.max_briefs,
        valid_days=campaigns.valid_days,
        base_discount_share=campaigns.discount_share,
        discount_by_stage_group=campaigns.discounts.model_dump(),
        control_share=campaigns.control_share,
        minimum_cell=privacy.minimum_cell,
        sensitive_categories=tuple(privacy.sensitive_categories),
        age_restricted_categories=tuple(privacy.age_restricted_categories),
    )


def _read(con: duckdb.DuckDBPyConnection, table: str) -> pl.DataFrame:
    return con.sql(f"from {table}").pl()


def _is_on(con: duckdb.DuckDBPyConnection, capability: str) -> bool:
    rows = con.execute(
        "select is_on from quality.capabilities where capability = $capability", {"capability": capability}
    ).fetchall()
    return bool(rows and rows[0][0])


def groups_of(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The stage group of every stage segment."""
    return stage_groups(_read(con, "segments.segment_summary"), _read(con, "segments.segment_metrics"))


def _declare(key: str, description: str, deps: tuple[str, ...]) -> TableDeclaration:
    return TableDeclaration(key, description, types=TABLE_TYPES[key], texts=COLUMN_NOTES[key], deps=deps, kinds=_PYTHON)


def _affinity_plot(con: duckdb.DuckDBPyConnection) -> Mapping[str, Any]:
    rows = con.execute(
        "select a.value, a.taste_segment_id, m.name, a.shrunken_lift from campaigns.product_affinity a "
        "join segments.taste_model m on m.segment_id = a.taste_segment_id where a.dimension = 'category' order by 1, 2"
    ).fetchall()
    if not rows:
        return {}
    values = sorted({row[0] for row in rows})[:30]
    segments = sorted({(row[1], row[2]) for row in rows})
    grid = np.full((len(values), len(segments)), np.nan)
    place = {value: index for index, value in enumerate(values)}
    for value, segment, name, lift in rows:
        if value in place and lift:
            grid[place[value], segments.index((segment, name))] = np.log2(max(lift, 1e-3))
    return {
        "plot": plots.heat_map(
            grid,
            values,
            [f"{segment} {name}" for segment, name in segments],
            title="Affinity of tastes with categories",
            caption="Shrunken lift on a log scale: +1 is twice as many buyers as in all known tastes, -1 half as many.",
            limit=2.0,
        )
    }


product_sales = sql_table("campaigns/product_sales", "campaigns")
past_audiences = sql_table("campaigns/past_audiences", "campaigns")
audience_sizes = sql_table("campaigns/audience_sizes", "campaigns")
audience_purchases = sql_table("campaigns/audience_purchases", "campaigns")
product_affinity = sql_table("campaigns/product_affinity", "campaigns", describe=_affinity_plot)


@computed_tables(
    "campaigns",
    _declare(
        "campaigns/promotable_products",
        "Every product with whether it may be offered: in stock, active, not sensitive, and with a margin above the "
        "floor after the discount; each other one keeps its reason.\n\nGrain: product_id",
        ("clean/products", "clean/inventory", "campaigns/product_sales", "quality/capabilities", "raw/source"),
    ),
)
def promotable(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """Stock, margin, activity and sensitivity of the catalogue."""
    with warehouse.get_connection(read_only=True) as con:
        as_of, _ = source_row(con)
        frame = promotable_products(
            _read(con, "clean.products"),
            _read(con, "clean.inventory") if _is_on(con, "inventory") else None,
            _read(con, "campaigns.product_sales"),
            campaign_spec(warehouse.settings),
            as_of,
        )
    return Computed(frame, {"promotable_products": int(frame["is_promotable"].sum()) if frame.height else 0})


@computed_tables(
    "campaigns",
    _declare(
        "campaigns/product_segment_matches",
        "The best audiences of each product: a taste segment crossed with a group of stages, with expected buyers, "
        "margin and the rule it must beat (the most active customers, at equal size).\n\n"
        "Grain: product_id, taste_segment_id, stage_segment_ids",
        (
            "campaigns/promotable_products",
            "campaigns/product_affinity",
            "campaigns/audience_sizes",
            "campaigns/audience_purchases",
            "segments/segment_summary",
            "segments/segment_metrics",
        ),
    ),
)
def product_segment_matches(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """Match by taste affinity and recent purchase rates."""
    with warehouse.get_connection(read_only=True) as con:
        frame = match_products(
            _read(con, "campaigns.promotable_products"),
            _read(con, "campaigns.product_affinity"),
            _read(con, "campaigns.audience_sizes"),
            _read(con, "campaigns.audience_purchases"),
            groups_of(con),
            spec=campaign_spec(warehouse.settings),
        )
    if frame.is_empty():
        return Computed(frame)
    best = frame.sort("expected_margin_amount", "product_id", descending=[True, False]).head(15)
    lines = ["| product | audience | reachable | expected margin | beats baseline |", "|---|---|--:|--:|---|"]
    lines += [
        f"| {row['product_id']} | {row['taste_segment_id']} × {row['stage_segment_ids']} | "
        f"{row['reachable_customers']:,} | {row['expected_margin_amount']:,.2f} | {row['beats_baseline']} |"
        for row in best.iter_rows(named=True)
    ]
    return Computed(frame, {"best_matches": dg.MetadataValue.md("\n".join(lines))})


@computed_tables(
    "campaigns",
    _declare(
        "campaigns/briefs",
        "A handful of campaigns a person can approve: audience, products, offer, dates, expected margin and the "
        "smallest effect its control group could show.\n\nGrain: brief_id",
        (
            "campaigns/product_segment_matches",
            "campaigns/promotable_products",
            "segments/segment_summary",
            "segments/segment_metrics",
            "raw/source",
        ),
    ),
)
def briefs(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """Gather the best matches into campaigns."""
    with warehouse.get_connection(read_only=True) as con:
        frame = build_briefs(
            _read(con, "campaigns.product_segment_matches"),
            _read(con, "campaigns.promotable_products"),
            groups_of(con),
            dict(con.execute("select segment_id, name from segments.taste_model").fetchall()),
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
        matches = _read(con, "campaigns.product_segment_matches")
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
            _read(con, "campaigns.briefs"),
            _read(con, "campaigns.promotable_products"),
            stage_groups=STAGE_GROUPS,
            currency=source_row(con)[1],
            sensitive_categories=warehouse.settings.privacy.sensitive_categories,
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
