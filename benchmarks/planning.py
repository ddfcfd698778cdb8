#!/usr/bin/env python
"""Seconds to plan a message for each of a million recipients, and where they go.

`python benchmarks/planning.py [--customers 1000000] [--campaigns 5]`

Everybody is in the audience of a campaign and nine of ten may be written to, which is the most work there is: a draw is
a keyed hash of each customer who is left. Measured are the functions of `delivery.plan` as the graph calls them, and
the addresses in ASCII with their hashes. Reading and writing tables is the warehouse's and is not in here. CPU seconds
stand beside the wall's: on a machine that others use too, they are the figure to look at.
"""

from __future__ import annotations

import argparse
import datetime as dt
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from segmentation_assets.delivery.keys import SecretKey
from segmentation_assets.delivery.plan import (
    CAMPAIGN_COLUMNS,
    CUSTOMER_COLUMNS,
    PlanSpec,
    audience_digest,
    audiences,
    campaign_plans,
    draw,
    plan_reasons,
    plan_sends,
)
from segmentation_assets.delivery.plan_addresses import ascii_forms, suppressed_by_address

_ZONES = ["Europe/Berlin", "Europe/Paris", "America/New_York", "Asia/Tokyo", "nowhere", None]


def world(customers: int, offers: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Customers and campaigns as `plan_sends` takes them."""
    rng = np.random.default_rng(seed)
    taste = rng.integers(0, offers, customers)
    some = rng.random(customers)
    people = pl.DataFrame(
        {
            "customer_id": [f"C{place:08d}" for place in range(customers)],
            "timezone": np.array(_ZONES, dtype=object)[rng.integers(0, len(_ZONES), customers)].tolist(),
            "has_consent": some > 0.05, "has_unsubscribed": some > 0.99, "suppressed_as": None,
            "is_opted_out": (some > 0.94) & (some < 0.95),
            "is_minor": False, "is_age_known": True, "is_adult": True, "has_valid_email": some < 0.97,
            "needs_smtputf8": False, "is_email_shared": (some > 0.95) & (some < 0.96),
            "taste_segment_id": [f"T{number}" for number in taste], "stage_segment_id": "S1",
            "expected_products": rng.gamma(2.0, 1.0, customers) + 1.0,
            "expected_daily_orders": rng.gamma(2.0, 0.002, customers), "messages_in_cap": 0,
            "messages_since_click": rng.integers(0, 7, customers), "last_message_on": dt.date(2026, 6, 1),
            "present_campaign_id": None, "present_messages": 0,
            "next_products": [[f"P{(place + step) % 400}" for step in range(5)] for place in range(customers)],
        },
        schema=dict(CUSTOMER_COLUMNS), strict=False,
    )  # fmt: skip
    rows = [
        {
            "campaign_id": f"20260630-T{number}-active", "name": f"Next order {number}",
            "taste_segment_id": f"T{number}", "stage_segment_ids": "S1,S2", "activity_floor": 1.0,
            "product_ids": ",".join(f"P{number * 6 + step}" for step in range(6)), "starts_on": dt.date(2026, 7, 1),
            "valid_until": dt.date(2026, 7, 14), "reachable_customers": customers // offers,
            "expected_margin_amount": 1000.0, "is_adults_only": False, "is_age_restricted": False,
        }
        for number in range(offers)
    ]  # fmt: skip
    return people, pl.DataFrame(rows, schema=dict(CAMPAIGN_COLUMNS))


def timed(name: str, step: Callable[[], Any]) -> Any:
    """Run a step and print what it cost."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(
        f"{name:58s} {time.perf_counter() - wall:7.2f} s {time.process_time() - cpu:7.2f} s CPU   peak {peak:5.2f} GB",
        flush=True,
    )
    return result


def main() -> None:
    """Plan, and print where the time goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--campaigns", type=int, default=5)
    parser.add_argument("--seed", type=int, default=42)
    given = parser.parse_args()
    key = SecretKey(bytes(range(32)))
    spec = PlanSpec(key=key, control_share=0.1, hold_out_share=0.02, timezone="Europe/Berlin")
    people, offers = world(given.customers, given.campaigns, given.seed)
    print(f"{given.customers:,} customers, {given.campaigns} campaigns")
    begun, begun_cpu = time.perf_counter(), time.process_time()
    timed("audiences (before addresses are read)", lambda: audiences(people, offers))
    plan = timed("plan_sends, all of it", lambda: plan_sends(people, offers, spec))
    plans = timed("campaign_plans, digests included", lambda: campaign_plans(plan, people, offers, spec))
    timed("plan_reasons", lambda: plan_reasons(plan, spec))
    print(f"{'plan in all':58s} {time.perf_counter() - begun:7.2f} s {time.process_time() - begun_cpu:7.2f} s CPU")
    print("within: ")
    timed("  one draw for each customer", lambda: draw(key, "control\x1fone", people["customer_id"]))
    timed("  the digest of the whole plan", lambda: audience_digest(plan))
    contacts = people.select("customer_id", email=pl.format("{}@shop{}.example.com", "customer_id", "stage_segment_id"))
    forms = timed("beside it: addresses in ASCII", lambda: ascii_forms(contacts))
    timed("beside it: their hashes against a list", lambda: suppressed_by_address(forms, {"x": "manual"}, key))
    print(plan.group_by("decision").len().sort("decision"))
    print(plans.select("campaign_id", "send_customers", "control_customers", "detectable_lift"))


if __name__ == "__main__":
    main()
