"""Stage profiles: who the segments are, what to do about them, and the audiences inside them."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import duckdb
import polars as pl

from segmentation_assets.defs.axes import AXES
from segmentation_assets.defs.campaigns import WEEKLY
from segmentation_assets.defs.history import previous_summary
from segmentation_assets.defs.language import open_desk, set_aside_told, told
from segmentation_assets.defs.merchandising import groups_of
from segmentation_assets.language.profile_writer import (
    PROFILE_FACT_NOTES,
    PROFILE_FACT_TYPES,
    PROFILE_NOTES,
    PROFILE_TYPES,
    facts_frame,
    profiles_frame,
)
from segmentation_assets.language.segment_facts import Offer, SegmentFacts, gather_segment_facts
from segmentation_assets.language.strategy_writer import STRATEGY_NOTES, STRATEGY_TYPES, strategies_frame
from segmentation_assets.language.tasks.audiences import (
    AUDIENCE_NOTES,
    AUDIENCE_TYPES,
    MEMBER_TYPES,
    AudienceQuestion,
    audiences_frames,
    audiences_task,
)
from segmentation_assets.language.tasks.profile import profile_task
from segmentation_assets.language.tasks.strategy import strategy_task
from segmentation_assets.orchestration.table_steps import Computed, TableDeclaration, computed_tables, sql_table
from segmentation_assets.orchestration.warehouse import Warehouse, source_row
from segmentation_assets.segmentation.audiences import FEATURES, audience_members, candidate_audiences
from segmentation_assets.state.edits import edited_segments
from segmentation_assets.state.store import open_state
from segmentation_assets.warehouse.as_of import read_table

_PYTHON = frozenset({"duckdb", "python"})
_WRITTEN_FROM = (
    "segments/segment_summary", "segments/segment_metrics", "segments/segment_drivers", "profiles/segment_mix",
    "campaigns/briefs", "campaigns/promotable_products", "segments/stage_choice", "segments/taste_choice",
    "segments/stage_evidence", "segments/taste_evidence", "quality/row_accounting", "raw/source",
    # How earlier messages were answered: the results are of what was sent, and read nothing that is written here.
    "results/segment_engagement", "results/segment_campaigns",
)  # fmt: skip

segment_mix = sql_table("profiles/segment_mix", "profiles")


def _facts(warehouse: Warehouse) -> list[SegmentFacts]:
    """All that a writer may know of each segment."""
    privacy = warehouse.settings.privacy
    with warehouse.get_connection(read_only=True) as con:

        def read(table: str) -> pl.DataFrame:
            return con.sql(f"from {table}").pl()

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
        return gather_segment_facts(
            read("segments.segment_summary"),
            read("segments.segment_metrics"),
            read("segments.segment_drivers"),
            read("profiles.segment_mix"),
            situations=dict(groups_of(con).select("stage_segment_id", "stage_group").iter_rows()),
            verdicts=verdicts,
            one_features=one_features,
            stabilities=stabilities,
            offers=_offers(read("campaigns.briefs"), read("campaigns.promotable_products")),
            previous=previous_summary(warehouse, con).frame,
            engagement=read("results.segment_engagement"),
            campaigns=read("results.segment_campaigns"),
            currency=source_row(con)[1],
            minimum_cell=privacy.minimum_cell,
            sensitive_categories=privacy.sensitive_categories,
        )


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


@computed_tables(
    "profiles",
    TableDeclaration(
        "profiles/profile_facts",
        "Every fact that the texts on a segment may state, with all the ways to write it.\n\n"
        "Grain: axis, segment_id, key",
        types=PROFILE_FACT_TYPES,
        texts=PROFILE_FACT_NOTES,
        deps=_WRITTEN_FROM,
        kinds=_PYTHON,
    ),
    TableDeclaration(
        "profiles/segment_profiles",
        "Who each segment is, what it wants, how to reach it, what to offer and what not to do; every figure is the "
        "warehouse's own.\n\nGrain: axis, segment_id",
        types=PROFILE_TYPES,
        texts=PROFILE_NOTES,
        deps=_WRITTEN_FROM,
        kinds=_PYTHON,
        freshness=WEEKLY,
    ),
    TableDeclaration(
        "profiles/strategies",
        "What to achieve with each segment, how, how often and at which price, and by which figure to judge it.\n\n"
        "Grain: axis, segment_id",
        types=STRATEGY_TYPES,
        texts=STRATEGY_NOTES,
        deps=_WRITTEN_FROM,
        kinds=_PYTHON,
    ),
    name="profiles__segment_profiles",
)
def segment_profiles(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Mapping[str, Computed]:
    """Gather the facts of each segment; have its profile and strategy written; what a person wrote stands."""
    segments = _facts(warehouse)
    with open_state(warehouse.place.state) as state:
        profile_edits, strategy_edits = edited_segments(state, "profile"), edited_segments(state, "strategy")
    with open_desk(context, warehouse, "profile") as desk:
        written = desk.ask([profile_task(segment) for segment in segments])
    with open_desk(context, warehouse, "strategy") as desk:
        planned = desk.ask([strategy_task(segment) for segment in segments])
    profiles, aside = profiles_frame(segments, written, profile_edits)
    strategies, also_aside = strategies_frame(segments, planned, strategy_edits)
    for sentence in (*aside, *also_aside):
        context.log.warning(sentence)
    return {
        "profiles/profile_facts": Computed(facts_frame(segments)),
        "profiles/segment_profiles": Computed(
            profiles,
            {
                "profiles": dg.MetadataValue.md(_profiles_to_read(profiles)), **told(written), **set_aside_told(aside),
            },
        ),
        "profiles/strategies": Computed(
            strategies,
            {
                "strategies": dg.MetadataValue.md(_strategies_to_read(strategies, profiles)),
                **told(planned),
                **set_aside_told(also_aside),
            },
        ),
    }  # fmt: skip


def _by(row: Mapping[str, Any]) -> str:
    edited = ""
    if row["edited_fields"]:
        edited = f"; {row['edited_fields']} edited by a person, {row['edited_at']:%Y-%m-%d %H:%M} UTC"
    return f"Written by {row['written_by']}{edited}."


def _profiles_to_read(frame: pl.DataFrame) -> str:
    parts = []
    for row in frame.filter(pl.col("customers") > 0).iter_rows(named=True):
        parts.append(
            f"### {row['segment_id']} · {row['name']}\n{row['customers']:,} customers, "
            f"{row['reachable_customers']:,} reachable\n\n**Who.** {row['who']}\n\n**What.** {row['what']}\n\n"
            f"**How.** {row['how']}\n\n**Message.** {row['message']}\n\n**Not.** {row['do_not']}\n\n"
            f"*{row['confidence_sentence']} {_by(row)}*"
        )
    return "\n\n".join(parts)


def _strategies_to_read(frame: pl.DataFrame, profiles: pl.DataFrame) -> str:
    named = frame.join(profiles.select("axis", "segment_id", "name"), on=["axis", "segment_id"], maintain_order="left")
    return "\n\n".join(
        f"### {row['segment_id']} · {row['name']}\n**Goal.** {row['goal']}\n\n**Approach.** {row['approach']}\n\n"
        f"**Cadence.** {row['cadence']}\n\n**Offer.** {row['offer_stance']}\n\n**Measure.** {row['measure']}\n\n"
        f"**Risk.** {row['risk']}\n\n*{_by(row)}*"
        for row in named.iter_rows(named=True)
    )


def _membership(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    return con.sql(
        "select customer_id, 'stage' as axis, stage_segment_id as segment_id from segments.customer_segments "
        "union all select customer_id, 'taste', taste_segment_id from segments.customer_segments"
    ).pl()


_FOUND_IN = ("features/customer_features", "segments/customer_segments", "segments/segment_summary", "raw/source")


@computed_tables(
    "profiles",
    TableDeclaration(
        "profiles/audience_members",
        "Who is in each audience.\n\nGrain: audience_id, customer_id",
        types=MEMBER_TYPES,
        texts=AUDIENCE_NOTES,
        deps=_FOUND_IN,
        kinds=_PYTHON,
    ),
    TableDeclaration(
        "profiles/audiences",
        "Named groups inside a segment, each a rule over features that the numbers show to be special to it; its "
        "members are counted and saved.\n\nGrain: audience_id",
        types=AUDIENCE_TYPES,
        texts=AUDIENCE_NOTES,
        deps=_FOUND_IN,
        kinds=_PYTHON,
    ),
    name="profiles__audiences",
)
def audiences(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Mapping[str, Computed]:
    """Find candidates inside each segment, and have them chosen among, named and described."""
    minimum_cell = warehouse.settings.privacy.minimum_cell
    with warehouse.get_connection(read_only=True) as con:
        customers = read_table(con, "features/customer_features", ["customer_id", *FEATURES])
        membership = _membership(con)
        names = {
            (axis, segment_id): name
            for axis, segment_id, name in con.execute(
                "select axis, segment_id, name from segments.segment_summary"
            ).fetchall()
        }
        currency = source_row(con)[1]
    found = candidate_audiences(customers, membership, minimum_cell)
    questions = [
        AudienceQuestion(
            names[place], tuple(a for a in found if (a.axis, a.segment_id) == place), currency, minimum_cell
        )
        for place in sorted({(a.axis, a.segment_id) for a in found})
    ]
    with open_desk(context, warehouse, "audiences") as desk:
        outcomes = desk.ask([audiences_task(question) for question in questions])
    table, members = audiences_frames(
        questions, outcomes, audience_members(customers, membership, found), taken=names.values()
    )
    lines = ["| audience | customers | of the segment | rule |", "|---|--:|--:|---|"] + [
        f"| {row['name']} | {row['customers']:,} | {row['segment_share']:.0%} | `{row['rule']}` |"
        for row in table.iter_rows(named=True)
    ]
    return {
        "profiles/audiences": Computed(table, {"audiences": dg.MetadataValue.md("\n".join(lines)), **told(outcomes)}),
        "profiles/audience_members": Computed(members),
    }
