"""Stages campaigns and profiles: what may be offered, to whom, in which words, and who the segments are."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import polars as pl

from segmentation_assets.defs.axes import AXES
from segmentation_assets.defs.history import previous_summary
from segmentation_assets.language.profile_writer import PROFILE_NOTES, PROFILE_TYPES, write_profiles
from segmentation_assets.language.segment_facts import Offer, gather_segment_facts
from segmentation_assets.merchandising.briefs import build_briefs
from segmentation_assets.merchandising.matching import match_products
from segmentation_assets.merchandising.plan import COLUMN_NOTES, STAGE_GROUPS, TABLE_TYPES, CampaignSpec
from segmentation_assets.merchandising.promotable import promotable_products
from segmentation_assets.merchandising.stage_groups import stage_groups
from segmentation_assets.messaging.drafts import DRAFT_NOTES, DRAFT_TYPES, build_drafts
from segmentation_assets.orchestration import plots
from segmentation_assets.orchestration.table_steps import Computed, TableDeclaration, computed_tables, sql_table
from segmentation_assets.orchestration.warehouse import Warehouse, source_row
from segmentation_assets.settings import Settings

#: People read these on Mondays.
WEEKLY = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(days=9), warn_window=dt.timedelta(days=8))
_PYTHON = frozenset({"duckdb", "python"})


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


def _groups(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
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


segment_mix = sql_table("profiles/segment_mix", "profiles")
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
            _groups(con),
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
            _groups(con),
            dict(con.execute("select segment_id, name from segments.taste_model").fetchall()),
            spec=campaign_spec(warehouse.settings),
            as_of=source_row(con)[0],
        )
    return Computed(frame)


@computed_tables(
    "profiles",
    TableDeclaration(
        "profiles/segment_profiles",
        "Who each segment is, what it wants, how to reach it, what to offer and what not to do; every figure is the "
        "warehouse's own.\n\nGrain: axis, segment_id",
        types=PROFILE_TYPES,
        texts=PROFILE_NOTES,
        deps=(
            "segments/segment_summary",
            "segments/segment_metrics",
            "segments/segment_drivers",
            "profiles/segment_mix",
            "campaigns/briefs",
            "campaigns/promotable_products",
            "segments/stage_choice",
            "segments/taste_choice",
            "segments/stage_evidence",
            "segments/taste_evidence",
            "quality/row_accounting",
            "raw/source",
        ),
        freshness=WEEKLY,
    ),
)
def segment_profiles(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """Gather the facts of each segment and write its profile."""
    settings = warehouse.settings
    with warehouse.get_connection(read_only=True) as con:
        summary = _read(con, "segments.segment_summary")
        verdicts, stabilities, one_features = {}, {}, {}
        for axis in AXES:
            k, verdicts[axis], one_feature = con.execute(
                f"select k, verdict, one_feature from segments.{axis}_choice"
            ).fetchall()[0]
            if one_feature is not None:
                one_features[axis] = one_feature
            found = con.execute(f"select stability from segments.{axis}_evidence where k = {int(k)}").fetchall()
            if found and found[0][0] is not None:
                stabilities[axis] = float(found[0][0])
        facts = gather_segment_facts(
            summary,
            _read(con, "segments.segment_metrics"),
            _read(con, "segments.segment_drivers"),
            _read(con, "profiles.segment_mix"),
            situations=dict(_groups(con).select("stage_segment_id", "stage_group").iter_rows()),
            verdicts=verdicts,
            one_features=one_features,
            stabilities=stabilities,
            offers=_offers(_read(con, "campaigns.briefs"), _read(con, "campaigns.promotable_products")),
            previous=previous_summary(warehouse, con).frame,
            currency=source_row(con)[1],
            minimum_cell=settings.privacy.minimum_cell,
            sensitive_categories=settings.privacy.sensitive_categories,
        )
    frame = write_profiles(facts)
    return Computed(frame, {"profiles": dg.MetadataValue.md(_profiles_to_read(frame))})


def _offers(planned: pl.DataFrame, products: pl.DataFrame) -> dict[tuple[str, str], Offer]:
    """The best planned offer of each segment: that of the first brief that speaks to it."""
    names = dict(products.select("product_id", "name").iter_rows()) if products.height else {}
    offers: dict[tuple[str, str], Offer] = {}
    for row in planned.iter_rows(named=True):
        offer = Offer(names.get(row["product_ids"].split(",")[0]) or "", row["discount_share"])
        offers.setdefault(("taste", row["taste_segment_id"]), offer)
        for stage in row["stage_segment_ids"].split(","):
            offers.setdefault(("stage", stage), offer)
    return offers


def _profiles_to_read(frame: pl.DataFrame) -> str:
    parts = []
    for row in frame.filter(pl.col("customers") > 0).iter_rows(named=True):
        parts.append(
            f"### {row['segment_id']} · {row['name']}\n{row['customers']:,} customers, "
            f"{row['reachable_customers']:,} reachable\n\n**Who.** {row['who']}\n\n**What.** {row['what']}\n\n"
            f"**How.** {row['how']}\n\n**Message.** {row['message']}\n\n**Not.** {row['do_not']}\n\n"
            f"*{row['confidence_sentence']}*"
        )
    return "\n\n".join(parts)


@computed_tables(
    "campaigns",
    TableDeclaration(
        "campaigns/email_drafts",
        "Two e-mail drafts per brief, as text and HTML, with merge fields open. Nothing is sent from here: a person "
        "approves.\n\nGrain: draft_id",
        types=DRAFT_TYPES,
        texts=DRAFT_NOTES,
        deps=("campaigns/briefs", "campaigns/promotable_products", "raw/source"),
        freshness=WEEKLY,
    ),
)
def email_drafts(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """Write, lay out and lint two variants of every brief."""
    with warehouse.get_connection(read_only=True) as con:
        frame = build_drafts(
            _read(con, "campaigns.briefs"),
            _read(con, "campaigns.promotable_products"),
            stage_groups=STAGE_GROUPS,
            currency=source_row(con)[1],
            sensitive_categories=warehouse.settings.privacy.sensitive_categories,
        )
    texts = [
        f"### {row['draft_id']}\n**{row['subject']}**  \n*{row['preheader']}*\n\n```\n{row['body_text']}\n```"
        for row in frame.iter_rows(named=True)
    ]
    return Computed(frame, {"drafts": dg.MetadataValue.md("\n\n".join(texts) or "No brief, so no draft.")})
