"""Past and coming campaigns, and what each one truly does to whom.

Campaigns depend on the seed only. Who is in which arm, and who responds, is drawn per block of customers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl

from segmentation_assets.sources.synthetic.customers import Block, Traits
from segmentation_assets.sources.synthetic.personas import PERSONA_NAMES, PERSONAS
from segmentation_assets.sources.synthetic.settings import (
    HISTORY_DAYS,
    SECONDS_PER_DAY,
    Floats,
    Ints,
    Mask,
    Topic,
    WorldSettings,
)
from segmentation_assets.sources.synthetic.vocabulary import moments, null_where, pick

PAST_CAMPAIGNS = 12
COMING_CAMPAIGNS = 2

_NAMES = {
    1: "New Year, New Habits", 2: "Valentine's Picks", 3: "Spring Clean Savings", 4: "Garden Opening",
    5: "Coffee Weeks",
    6: "Summer Table", 7: "Mid-year Thank You", 8: "Late Summer Outdoors", 9: "Back to Routine", 10: "Autumn Cellar",
    11: "Black Week", 12: "Gifts for Everyone",
}  # fmt: skip


@dataclass(frozen=True)
class Campaigns:
    """`frame` is the raw table; arrays are per past campaign, `effects` (campaigns x personas) probabilities."""

    frame: pl.DataFrame
    starts: Ints
    days: Ints
    reach: Floats
    control_share: Floats
    discount: Floats
    is_email: Mask
    coupons: tuple[str, ...]
    effects: Floats

    def effects_frame(self) -> pl.DataFrame:
        """The answer key's page on campaigns: one row per campaign and persona."""
        past, personas = self.effects.shape
        return pl.DataFrame(
            {
                "campaign_id": self.frame["campaign_id"][:past].gather(np.repeat(np.arange(past), personas)),
                "persona": list(PERSONA_NAMES) * past,
                "true_effect": np.round(self.effects.ravel(), 6),
                "control_share": np.repeat(np.round(self.control_share, 6), personas),
            }
        )


def make_campaigns(settings: WorldSettings) -> Campaigns:
    """Twelve campaigns over the last two and a half years and two that start after the as-of date."""
    rng = settings.stream(Topic.CAMPAIGNS)
    past = PAST_CAMPAIGNS
    starts = HISTORY_DAYS - 1 - np.linspace(880, 45, past).astype(np.int64) + rng.integers(-12, 13, past)
    days = rng.integers(7, 15, past)
    is_email = np.arange(past) % 6 != 4
    strength = np.exp(rng.normal(0, 0.2, past))
    middle = np.array([persona.campaign_effect for persona in PERSONAS])
    discount = rng.choice([0.1, 0.15, 0.2], past)
    coming = np.array([12, 47])[:COMING_CAMPAIGNS] + HISTORY_DAYS - 1
    all_starts = np.concatenate([starts, coming])
    all_days = np.concatenate([days, np.full(COMING_CAMPAIGNS, 10)])
    first_days = [settings.first_day + timedelta(days=int(day)) for day in all_starts]
    frame = pl.DataFrame(
        {
            "campaign_id": [f"K{n + 1:03d}" for n in range(len(all_starts))],
            "name": [f"{_NAMES[day.month]} {day.year}" for day in first_days],
            "channel": ["email" if e else "app_push" for e in is_email] + ["email"] * COMING_CAMPAIGNS,
            # Text, as planning sheets often are.
            "starts_on": [day.isoformat() for day in first_days],
            "ends_on": [
                (day + timedelta(days=int(n) - 1)).isoformat() for day, n in zip(first_days, all_days, strict=True)
            ],
            "budget": np.round(rng.uniform(800, 9_000, len(all_starts)) / 50) * 50.0,
        }
    )
    return Campaigns(
        frame=frame,
        starts=starts,
        days=days,
        reach=rng.uniform(0.3, 0.6, past),
        control_share=rng.uniform(0.1, 0.2, past),
        discount=discount,
        is_email=is_email,
        coupons=tuple(f"K{n + 1:02d}SAVE{round(share * 100)}" for n, share in enumerate(discount)),
        effects=(strength[:, None] * middle[None, :]).clip(0, 0.5),
    )


@dataclass(frozen=True)
class Reach:
    """Who of a block was chosen, treated, and moved; each (customers x past campaigns)."""

    is_chosen: Mask
    is_treated: Mask
    is_moved: Mask  # makes one extra order because of the campaign
    contacted: Ints  # seconds since 1970


def draw_reach(block: Block, campaigns: Campaigns) -> Reach:
    """Arms at random among those who consented and had signed up; the effect works on the treated only."""
    rng = block.stream(Topic.REACH)
    traits, settings = block.traits, block.settings
    shape = (len(block.ids), len(campaigns.starts))
    is_known = traits.start_day[:, None] < campaigns.starts[None, :]
    is_chosen = is_known & traits.has_consent[:, None] & (rng.random(shape) < campaigns.reach)
    is_treated = is_chosen & (rng.random(shape) >= campaigns.control_share)
    is_moved = is_treated & (rng.random(shape) < campaigns.effects.T[traits.persona])
    hour = rng.integers(6 * 3_600, 9 * 3_600, shape)
    return Reach(
        is_chosen=is_chosen,
        is_treated=is_treated,
        is_moved=is_moved,
        contacted=settings.first_second + campaigns.starts[None, :] * SECONDS_PER_DAY + hour,
    )


def expected_extra_orders(traits: Traits, campaigns: Campaigns) -> Floats:
    """Orders each customer is expected to make because of campaigns; shape (customers,)."""
    is_known = traits.start_day[:, None] < campaigns.starts[None, :]
    chance = campaigns.reach * (1 - campaigns.control_share) * campaigns.effects.T[traits.persona]
    expected: Floats = (is_known * traits.has_consent[:, None] * chance).sum(axis=1)
    return expected


def contacts_made_frame(block: Block, campaigns: Campaigns, reach: Reach) -> pl.DataFrame:
    """The raw table `campaign_contacts` of a block."""
    customer, campaign = np.nonzero(reach.is_chosen)
    is_treated = reach.is_treated[customer, campaign]
    return pl.DataFrame(
        {
            "campaign_id": campaigns.frame["campaign_id"].gather(campaign),
            "customer_id": block.ids.gather(customer),
            "arm": pick(("control", "treated"), is_treated.astype(np.int64)),
            "contacted_at": null_where(moments(reach.contacted[customer, campaign]), ~is_treated),
            "_customer": customer,
        }
    )
