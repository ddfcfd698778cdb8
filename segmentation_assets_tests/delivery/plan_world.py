"""Builders of the small frames that the tests of the plan work on."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl

from segmentation_assets.delivery.keys import SecretKey
from segmentation_assets.delivery.plan import CAMPAIGN_COLUMNS, CUSTOMER_COLUMNS, PlanSpec

START, END = dt.date(2026, 7, 1), dt.date(2026, 7, 14)
KEY = SecretKey(bytes(range(32)))

#: A customer who may be written to, in the audience of `campaign("one")`.
GOOD: dict[str, Any] = {
    "timezone": "Europe/Berlin", "has_consent": True, "has_unsubscribed": False, "suppressed_as": None,
    "is_minor": False, "is_age_known": True, "is_adult": True, "has_valid_email": True, "needs_smtputf8": False,
    "is_email_shared": False, "taste_segment_id": "T1", "stage_segment_id": "S1", "expected_products": 3.0,
    "expected_daily_orders": 0.01, "messages_in_cap": 0, "messages_since_click": 0, "last_message_on": None,
    "present_campaign_id": None, "present_messages": 0, "next_products": ["P1", "P7", "P8", "P9", "P10"],
}  # fmt: skip


def customers(*rows: dict[str, Any]) -> pl.DataFrame:
    """One row per dictionary: a good customer (C0, C1, ...) but for what is named."""
    told = [{"customer_id": f"C{place}"} | GOOD | row for place, row in enumerate(rows)]
    return pl.DataFrame(told, schema=dict(CUSTOMER_COLUMNS))


def crowd(count: int, **values: Any) -> pl.DataFrame:
    """Many customers who are alike."""
    return customers(*({"customer_id": f"C{place:05d}", **values} for place in range(count)))


def campaign(campaign_id: str, **values: Any) -> dict[str, Any]:
    """A campaign for taste T1 in stage S1 with an activity of 1 or more."""
    return {
        "campaign_id": campaign_id, "name": f"Campaign {campaign_id}", "taste_segment_id": "T1",
        "stage_segment_ids": "S1,S2", "activity_floor": 1.0, "product_ids": "P1,P2", "starts_on": START,
        "valid_until": END, "reachable_customers": 100, "expected_margin_amount": 50.0, "is_adults_only": False,
        "is_age_restricted": False,
    } | values  # fmt: skip


def campaigns(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=dict(CAMPAIGN_COLUMNS))


def spec(**values: Any) -> PlanSpec:
    """The usual settings, without a control group unless one is asked for."""
    told: dict[str, Any] = {"key": KEY, "control_share": 0.0, "timezone": "UTC"} | values
    return PlanSpec(**told)
