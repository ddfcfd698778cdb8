"""What is planted in people: personas of value, tastes, and the rates that follow from them.

Personas decide whether, how often and at what price somebody buys; tastes decide what. The two are drawn
independently of each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segmentation_assets.sources.synthetic.assortment import CATEGORIES, CATEGORY_NAMES
from segmentation_assets.sources.synthetic.settings import Floats, WorldSettings


@dataclass(frozen=True)
class Persona:
    """One way of being a customer.

    `orders_per_year` while active, before scaling to the world's lines per customer; `lines_per_order` a mean;
    `tiers` how likely the customer leans to budget, middle and premium goods; `discount_share` how often a line is
    discounted; `return_share` of lines; `churn_per_year` the rate of leaving for good; `campaign_effect` the
    middle probability of one extra order when treated by a campaign; `loyalty_share` in the programme.
    """

    name: str
    share: float
    orders_per_year: float
    lines_per_order: float
    tiers: tuple[float, float, float]
    discount_share: float
    return_share: float
    churn_per_year: float
    campaign_effect: float
    loyalty_share: float


PERSONAS: tuple[Persona, ...] = (
    Persona("champions", 0.08, 17.0, 3.2, (0.10, 0.30, 0.60), 0.12, 0.03, 0.05, 0.020, 0.85),
    Persona("regulars", 0.24, 4.6, 2.6, (0.25, 0.50, 0.25), 0.18, 0.04, 0.12, 0.050, 0.60),
    Persona("bargain_hunters", 0.18, 4.0, 2.9, (0.75, 0.22, 0.03), 0.60, 0.09, 0.20, 0.090, 0.45),
    Persona("occasional", 0.18, 1.9, 2.2, (0.30, 0.50, 0.20), 0.20, 0.05, 0.15, 0.040, 0.20),
    Persona("one_timers", 0.13, 0.0, 2.0, (0.40, 0.45, 0.15), 0.25, 0.07, 0.00, 0.008, 0.05),
    Persona("lapsed", 0.14, 5.0, 2.5, (0.30, 0.45, 0.25), 0.25, 0.06, 1.60, 0.025, 0.35),
    Persona("window_shoppers", 0.06, 0.0, 0.0, (0.40, 0.40, 0.20), 0.0, 0.0, 0.0, 0.0, 0.02),
)
PERSONA_NAMES = tuple(persona.name for persona in PERSONAS)
ONE_TIMERS = PERSONA_NAMES.index("one_timers")
LAPSED = PERSONA_NAMES.index("lapsed")
WINDOW_SHOPPERS = PERSONA_NAMES.index("window_shoppers")


@dataclass(frozen=True)
class Taste:
    """A taste: its share of customers and how its own lines spread over categories."""

    name: str
    share: float
    focus: dict[str, float]


#: Tastes overlap: nobody's categories are theirs alone, as in any shop.
TASTES: tuple[Taste, ...] = (
    Taste("coffee_and_table", 0.18, {"Coffee & Tea": 0.50, "Gourmet Food": 0.25, "Kitchen & Dining": 0.25}),
    Taste("wine_and_food", 0.16, {"Wine & Spirits": 0.50, "Gourmet Food": 0.28, "Books & Games": 0.22}),
    Taste("home_and_garden", 0.17, {"Home & Living": 0.40, "Garden": 0.38, "Kitchen & Dining": 0.22}),
    Taste("care_and_beauty", 0.17, {"Beauty": 0.48, "Health & Wellness": 0.30, "Home & Living": 0.22}),
    Taste("outdoor_and_fitness", 0.16, {"Sports & Outdoor": 0.52, "Health & Wellness": 0.26, "Electronics": 0.22}),
    Taste("tech_pets_and_play", 0.16, {"Electronics": 0.34, "Books & Games": 0.30, "Pets": 0.36}),
)  # fmt: skip
TASTE_NAMES = tuple(taste.name for taste in TASTES)
#: The name in the answer key of a world without tastes.
SHARED_TASTE = "shared"

#: How closely customers keep to their taste: (share of customers, share of fresh lines drawn from the taste's own
#: categories; the others follow everyone's). Some people buy mostly for others.
ADHERENCE: tuple[tuple[float, float], ...] = ((0.8, 0.6), (0.2, 0.1))
#: Share of lines for which the customer first thinks of something bought in an earlier order.
REPEAT_SHARE = 0.2


def category_probabilities(settings: WorldSettings) -> Floats:
    """Probability of each category for a fresh line: shape (tastes, adherences, 12 months, categories).

    A fresh line follows the taste's own categories with the customer's adherence and everyone's distribution
    otherwise, both times the category's factor of the month; the last axis sums to one. Without tastes every row is
    the mean of the tastes.
    """
    everyone = np.array([category.weight for category in CATEGORIES])
    everyone = everyone / everyone.sum()
    focus = np.array([[taste.focus.get(name, 0.0) for name in CATEGORY_NAMES] for taste in TASTES])
    focus = focus / focus.sum(axis=1, keepdims=True)
    if not settings.has_taste:
        share = np.array([taste.share for taste in TASTES])
        focus = np.repeat((share @ focus / share.sum())[None, :], len(TASTES), axis=0)
    own = np.array([focus_share for _, focus_share in ADHERENCE])[None, :, None]
    if not settings.has_taste:
        own = np.full_like(own, sum(share * focus_share for share, focus_share in ADHERENCE))
    mixed = own * focus[:, None, :] + (1 - own) * everyone
    season = np.array([category.season for category in CATEGORIES]).T
    shaped = mixed[:, :, None, :] * season[None, None, :, :]
    return shaped / shaped.sum(axis=3, keepdims=True)
