"""A published copy and a state store as a run leaves them, small: two campaigns, their drafts, and who is in the plan.

The drafts are written and laid out by the project's own writer. The customers are numbers; nobody is real.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from segmentation_assets.delivery.plan import audience_digest
from segmentation_assets.delivery.tables import TABLE_TYPES
from segmentation_assets.messaging.copy_task import email_task
from segmentation_assets.messaging.drafts import (
    DRAFT_FACT_TYPES,
    DRAFT_TYPES,
    ask_embedded,
    brief_facts_of,
    draft_facts_frame,
    drafts_frame,
)
from segmentation_assets.settings import Settings
from segmentation_assets.warehouse.tables import create_from_frame

AS_OF = dt.date(2026, 6, 30)
NOW = dt.datetime(2026, 7, 1, 10, 0)
VALID_UNTIL = dt.date(2026, 7, 14)
LOYAL = "20260630-T1-loyal"
LAPSED = "20260630-T2-lapsed"
#: id, name, list price, of a sensitive category
PRODUCTS: tuple[tuple[str, str, float | None, bool], ...] = (
    ("P1", "House Espresso", 20.0, False),
    ("P2", "Day Pack", 40.0, False),
    ("P3", "Tea Pot", 30.0, False),
    ("P4", "Lamp", 51.99, False),
    ("P5", "Herbal Remedy", 12.0, True),
    ("P6", "Gift", None, False),
)
#: decision, subject arm, own products, of customers C01, C02, ...
PLAN: tuple[tuple[str, str | None, str], ...] = (
    ("send", "A", "P3,P4"), ("send", "B", "P4"), ("send", "A", ""), ("send", "B", "P3"), ("send", "A", "P4"),
    ("send", "B", ""), ("control", None, ""), ("hold_out", None, ""), ("excluded", None, ""), ("excluded", None, ""),
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """What is published; each test changes what it is about."""

    products: tuple[tuple[str, str, float | None, bool], ...] = PRODUCTS
    plan: tuple[tuple[str, str | None, str], ...] = PLAN
    product_ids: str = "P1,P2"
    discount_share: float = 0.1
    valid_until: dt.date = VALID_UNTIL
    is_degraded: bool = False
    edits: Mapping[str, Mapping[str, tuple[str, dt.datetime]]] = field(default_factory=dict)
    subjects: Mapping[str, str] = field(default_factory=dict)
    extra_body: str = ""
    has_plan: bool = True
    not_after: dt.datetime = dt.datetime(2026, 7, 15)
    drops: Sequence[str] = ()


def publish(folder: Path, world: World = World()) -> Path:
    """Write HOME/published.duckdb; returns its path."""
    path = folder / "published.duckdb"
    path.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(path)) as con:
        fill(con, world)
    return path


@contextmanager
def published(world: World = World()) -> Iterator[duckdb.DuckDBPyConnection]:
    """The same in memory."""
    with duckdb.connect() as con:
        fill(con, world)
        yield con


def fill(con: duckdb.DuckDBPyConnection, world: World) -> None:
    """Make the tables that approving reads."""
    promotable = pl.DataFrame(
        world.products, schema={"product_id": pl.String, "name": pl.String, "list_price": pl.Float64,
                                "is_sensitive": pl.Boolean}, orient="row",
    ).with_columns(category=pl.lit("Home"))  # fmt: skip
    briefs = pl.DataFrame(
        [
            {
                "brief_id": brief_id, "name": name, "taste_segment_id": "T1", "stage_segment_ids": "S1",
                "product_ids": world.product_ids, "discount_share": world.discount_share,
                "valid_until": world.valid_until, "audience_customers": len(world.plan),
                "expected_margin_amount": 363.5,
            }
            for brief_id, name in ((LOYAL, "Early access · Home"), (LAPSED, "Welcome back · Home"))
        ]
    )  # fmt: skip
    facts = brief_facts_of(briefs, promotable, stage_groups=("loyal", "lapsed"), currency="EUR")
    answers = [
        replace(outcome, is_degraded=world.is_degraded) for outcome in ask_embedded(list(map(email_task, facts)))
    ]
    drafts, _ = drafts_frame(facts, answers, edits=world.edits)
    for draft_id, subject in world.subjects.items():
        is_it = pl.col("draft_id") == draft_id
        drafts = drafts.with_columns(subject=pl.when(is_it).then(pl.lit(subject)).otherwise("subject"))
    drafts = drafts.with_columns(body_text=pl.col("body_text") + world.extra_body)
    con.execute("create schema raw")
    con.execute(f"create table raw.source as select 'synthetic' as source, date '{AS_OF}' as as_of, 'EUR' as currency")
    create_from_frame(con, "campaigns/promotable_products", promotable)
    create_from_frame(con, "campaigns/briefs", briefs)
    create_from_frame(con, "campaigns/email_drafts", drafts, DRAFT_TYPES)
    create_from_frame(con, "campaigns/draft_facts", draft_facts_frame(facts), DRAFT_FACT_TYPES)
    for table, frame in plan_tables(world).items():
        if table not in world.drops:
            create_from_frame(con, table, frame, TABLE_TYPES[table])


def plan_tables(world: World) -> dict[str, pl.DataFrame]:
    """delivery.plan, campaign_plans and plan_reasons: the plan's customers in LOYAL, one more in no campaign."""
    rows: list[dict[str, Any]] = [
        {
            "customer_id": f"C{number:02}", "campaign_id": LOYAL, "decision": decision,
            "reason": "no_consent" if decision == "excluded" else decision, "variant": variant, "product_ids": own,
            "timezone": "UTC", "not_before": NOW, "not_after": world.not_after, "taste_segment_id": "T1",
            "stage_segment_id": "S1",
        }
        for number, (decision, variant, own) in enumerate(world.plan, start=1)
        if world.has_plan
    ]  # fmt: skip
    others = [{**dict.fromkeys(TABLE_TYPES["delivery/plan"]), "customer_id": "C99", "decision": "excluded",
               "reason": "no_campaign"}]  # fmt: skip
    plan = _frame("delivery/plan", rows + others)
    decisions = ("send", "control", "hold_out", "excluded")
    counts = {name: sum(row["decision"] == name for row in rows) for name in decisions}
    bound = audience_digest(plan.filter(pl.col("campaign_id") == LOYAL))
    plans = [
        {
            **dict.fromkeys(TABLE_TYPES["delivery/campaign_plans"]), "campaign_id": LOYAL, "name": "Early access",
            "starts_at": dt.datetime(2026, 7, 1), "not_after": world.not_after, "audience_customers": len(rows),
            **{f"{name}_customers": number for name, number in counts.items()}, "elsewhere_customers": 2,
            "control_share": 0.1, "base_rate": 0.02, "smallest_detectable_effect": 0.05, "detectable_lift": 2.5,
            "control_cost_amount": 36.35, "audience_digest": bound,
            "sentence": f"{counts['send']} are written to and {counts['control']} left out.", "hold_out_share": 0.05,
        }
    ]  # fmt: skip
    reasons = [
        {
            "campaign_id": LOYAL, "decision": name, "reason": "no_consent" if name == "excluded" else name,
            "sentence": f"Why {name}.", "customers": number,
        }
        for name, number in counts.items()
    ]  # fmt: skip
    reasons += [{"campaign_id": None, "decision": "excluded", "reason": "no_campaign", "sentence": "No offer fits.",
                 "customers": 1}]  # fmt: skip
    return {
        "delivery/plan": plan,
        "delivery/campaign_plans": _frame("delivery/campaign_plans", plans if world.has_plan else []),
        "delivery/plan_reasons": _frame("delivery/plan_reasons", reasons),
    }


def settings(**sections: Mapping[str, Any]) -> Settings:
    """Settings of a shop; sections win over it."""
    told: dict[str, Any] = {"sender": {"shop_name": "Nordlys", "address": "news@shop.example"}}
    for name, values in sections.items():
        told[name] = {**told.get(name, {}), **values}
    return Settings(**told)


def _frame(table: str, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    types = {"VARCHAR": pl.String(), "BIGINT": pl.Int64(), "DOUBLE": pl.Float64(), "TIMESTAMP": pl.Datetime("us"),
             "BOOLEAN": pl.Boolean(), "DECIMAL(18,4)": pl.Float64()}  # fmt: skip
    return pl.DataFrame(rows, schema={column: types[kind] for column, kind in TABLE_TYPES[table].items()}, orient="row")
