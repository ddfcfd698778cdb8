"""Drafts: two variants of an e-mail for every brief, linted before anyone sees them.

What belongs here: the facts of a brief's e-mail and the table of drafts. What does not: words (`copywriter`), layout
and rules, which have their own modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from segmentation_assets.language.facts import Fact, FactBook, FactKind, clean_name
from segmentation_assets.language.grounding import Finding, pressure_and_claims
from segmentation_assets.language.segment_facts import is_sensitive
from segmentation_assets.messaging.copywriter import write_copy
from segmentation_assets.messaging.layout import lay_out
from segmentation_assets.messaging.lint import Draft, lint_draft

VARIANTS = ("A", "B")

#: Columns of campaigns.email_drafts and their DuckDB types, in order.
DRAFT_TYPES: dict[str, str] = {
    "draft_id": "VARCHAR", "brief_id": "VARCHAR", "variant": "VARCHAR", "taste_segment_id": "VARCHAR",
    "stage_segment_ids": "VARCHAR", "product_ids": "VARCHAR", "discount_share": "DOUBLE", "valid_until": "DATE",
    "call_to_action": "VARCHAR", "audience_customers": "BIGINT", "subject": "VARCHAR", "preheader": "VARCHAR",
    "body_text": "VARCHAR", "body_html": "VARCHAR", "status": "VARCHAR",
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
}


class DraftError(ValueError):
    """A draft breaks a rule; the message names the draft and every finding."""

    def __init__(self, draft_id: str, findings: Sequence[Finding]) -> None:
        super().__init__(f"Draft {draft_id}: " + "; ".join(f"{f.rule}: {f.detail}" for f in findings))
        self.findings = list(findings)


def stage_group_of(brief_id: str, stage_groups: Sequence[str]) -> str:
    """The stage group a brief was planned for, from its id (`20240630-T2-never-bought`); `unknown` otherwise."""
    tail = brief_id.split("-", 2)[-1].removesuffix("-adults").replace("-", "_")
    return tail if tail in stage_groups else "unknown"


def brief_facts(
    brief: dict[str, object], products: Sequence[dict[str, object]], currency: str, sensitive: Sequence[str]
) -> FactBook:
    """The facts an e-mail may use: product names and prices, the discount, the end date, the goods' category."""
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
    category = clean_name(str(products[0]["category"] or ""), 30)
    is_loud = bool(pressure_and_claims(category, has_end_date=False, has_stock=False))
    if category and category != "unknown" and not is_loud and not is_sensitive(category, sensitive):
        facts.append(Fact("category", FactKind.NAME, category))
    until = brief["valid_until"]
    if isinstance(until, date):
        facts.append(Fact("valid_until", FactKind.DATE, until))
    return FactBook(tuple(facts), currency)


def build_drafts(
    briefs: pl.DataFrame,
    promotable: pl.DataFrame,
    *,
    stage_groups: Sequence[str],
    currency: str,
    sensitive_categories: Sequence[str] = (),
    language: str = "en",
) -> pl.DataFrame:
    """`campaigns.email_drafts`: variants A and B of every brief, in the order of the briefs.

    `briefs` is campaigns.briefs, `promotable` campaigns.promotable_products, `stage_groups` the known groups.
    DraftError when a draft breaks a rule of `lint_draft`: nothing unfit is written.
    """
    types = {"BIGINT": pl.Int64(), "DOUBLE": pl.Float64(), "DATE": pl.Date()}
    schema = {column: types.get(sql_type, pl.String()) for column, sql_type in DRAFT_TYPES.items()}
    known = {row["product_id"]: row for row in promotable.to_dicts()}
    rows = []
    for brief in briefs.to_dicts():
        products = [known[product_id] for product_id in brief["product_ids"].split(",")]
        facts = brief_facts(brief, products, currency, sensitive_categories)
        group = stage_group_of(brief["brief_id"], stage_groups)
        for variant in VARIANTS:
            draft_id = f"{brief['brief_id']}-{variant}"
            laid = lay_out(write_copy(group, variant, facts), facts, language)
            draft = Draft(
                subject=laid.subject,
                preheader=laid.preheader,
                body_text=laid.body_text,
                body_html=laid.body_html,
                call_to_action=laid.call_to_action,
                draft_id=draft_id,
                brief_id=brief["brief_id"],
                variant=variant,
                valid_until=brief["valid_until"],
            )
            if findings := lint_draft(draft, facts):
                raise DraftError(draft_id, findings)
            rows.append(
                {
                    **{
                        name: brief[name]
                        for name in (
                            "brief_id", "taste_segment_id", "stage_segment_ids", "product_ids", "discount_share",
                            "valid_until", "audience_customers",
                        )
                    },
                    "draft_id": draft_id,
                    "variant": variant,
                    "call_to_action": laid.call_to_action,
                    "subject": laid.subject,
                    "preheader": laid.preheader,
                    "body_text": laid.body_text,
                    "body_html": laid.body_html,
                    "status": "draft",
                }
            )  # fmt: skip
    return pl.DataFrame(rows, schema=schema)
