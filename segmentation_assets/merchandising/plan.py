"""The campaign plan: the settings and the declared columns every function of this room works with.

What belongs here: the settings as one frozen value, and the columns and types of the tables this room writes. What
does not: reading settings from files, and any computation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import polars as pl

#: Groups of stages that want a different approach, in the order in which they are planned.
STAGE_GROUPS = ("loyal", "active", "new", "lapsing", "lapsed", "never_bought", "unknown")

#: Days over which the recent purchase rate is counted (in `sql/campaigns/audience_purchases.sql`).
RATE_DAYS = 90


def _default_discounts() -> Mapping[str, float]:
    # Loyal customers buy anyway: a discount would only cost margin. Those gone longest need the strongest reason.
    return MappingProxyType({"loyal": 0.0, "new": 0.10, "lapsing": 0.15, "lapsed": 0.20, "never_bought": 0.10})


@dataclass(frozen=True)
class CampaignSpec:
    """Settings of matching and briefs.

    Shares are fractions (0.10 is ten percent). `discount_by_stage_group` overrides `base_discount_share` for the
    stage groups it names. `assumed_cost_share` is the purchase cost as a share of the list price where the source
    gives none; None means that such products cannot be promoted. Categories are matched as whole words, in any
    case, against category and subcategory.
    """

    margin_floor_share: float = 0.10
    safety_stock: float = 5.0
    cover_days: float = 14.0
    products_per_brief: int = 6
    max_briefs: int = 5
    valid_days: int = 14
    base_discount_share: float = 0.05
    discount_by_stage_group: Mapping[str, float] = field(default_factory=_default_discounts)
    assumed_cost_share: float | None = None
    minimum_cell: int = 50
    control_share: float = 0.10
    prior_customers: float = 200.0
    audiences_per_product: int = 3
    products_per_audience: int = 20
    sensitive_categories: tuple[str, ...] = (
        "pregnancy", "maternity", "health", "sexuality", "sexual wellness", "faith", "religion", "gambling",
    )  # fmt: skip
    age_restricted_categories: tuple[str, ...] = (
        "alcohol", "wine", "beer", "spirits", "tobacco", "cigars", "vaping", "knives",
    )  # fmt: skip

    def __post_init__(self) -> None:
        """ValueError with the setting's name when a value cannot be meant."""
        shares = {
            "margin_floor_share": self.margin_floor_share,
            "base_discount_share": self.base_discount_share,
            **{f"discount_by_stage_group[{group}]": share for group, share in self.discount_by_stage_group.items()},
        }
        for name, share in shares.items():
            if not 0 <= share < 1:
                raise ValueError(f"{name} is {share:g}; it must be at least 0 and below 1 (0.10 is ten percent).")
        if unknown := sorted(set(self.discount_by_stage_group) - set(STAGE_GROUPS)):
            raise ValueError(f"discount_by_stage_group names {unknown}; known groups are {list(STAGE_GROUPS)}.")
        if not 1 <= self.products_per_brief <= 6:
            raise ValueError(f"products_per_brief is {self.products_per_brief}; a brief holds one to six products.")
        if self.valid_days < 1 or self.max_briefs < 0:
            raise ValueError("valid_days must be at least 1 and max_briefs at least 0.")
        if not 0 < self.control_share < 1:
            raise ValueError(f"control_share is {self.control_share:g}; it must lie between 0 and 1.")

    def discount(self, stage_group: str) -> float:
        """The discount offered to a group of stages, as a share of the list price."""
        return self.discount_by_stage_group.get(stage_group, self.base_discount_share)

    @property
    def discounts(self) -> tuple[float, ...]:
        """Every discount this plan can offer, smallest first."""
        return tuple(sorted({self.discount(group) for group in STAGE_GROUPS}))


#: DuckDB types of the tables of this room, in column order.
TABLE_TYPES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "campaigns/promotable_products": {
            "product_id": "VARCHAR", "name": "VARCHAR", "brand": "VARCHAR", "category": "VARCHAR",
            "list_price": "DECIMAL(18,4)", "unit_cost": "DECIMAL(18,4)", "stock_quantity": "DECIMAL(18,3)",
            "safety_stock": "DECIMAL(18,3)", "discount_share": "DOUBLE", "offer_price": "DECIMAL(18,4)",
            "margin_amount": "DECIMAL(18,4)", "margin_share": "DOUBLE", "margin_floor_share": "DOUBLE",
            "is_age_restricted": "BOOLEAN", "is_sensitive": "BOOLEAN", "is_promotable": "BOOLEAN", "reason": "VARCHAR",
        },
        "campaigns/product_segment_matches": {
            "product_id": "VARCHAR", "taste_segment_id": "VARCHAR", "stage_segment_ids": "VARCHAR",
            "audience_customers": "BIGINT", "reachable_customers": "BIGINT", "score": "DOUBLE",
            "baseline_score": "DOUBLE", "expected_buyers": "DOUBLE", "low": "DOUBLE", "high": "DOUBLE",
            "expected_margin_amount": "DECIMAL(18,4)", "beats_baseline": "BOOLEAN", "reason": "VARCHAR",
        },
        "campaigns/briefs": {
            "brief_id": "VARCHAR", "name": "VARCHAR", "objective": "VARCHAR", "audience": "VARCHAR",
            "taste_segment_id": "VARCHAR", "stage_segment_ids": "VARCHAR", "product_ids": "VARCHAR",
            "offer": "VARCHAR", "discount_share": "DOUBLE", "starts_on": "DATE", "valid_until": "DATE",
            "audience_customers": "BIGINT", "reachable_customers": "BIGINT", "expected_buyers": "DOUBLE",
            "expected_margin_amount": "DECIMAL(18,4)", "low_margin_amount": "DECIMAL(18,4)",
            "high_margin_amount": "DECIMAL(18,4)", "smallest_detectable_effect": "DOUBLE",
        },
    }
)  # fmt: skip

#: What the columns mean that the raw contract does not describe.
COLUMN_NOTES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "campaigns/promotable_products": {
            "stock_quantity": "Units on stock over all stores; null when the source has no inventory.",
            "safety_stock": "Units kept back: the set minimum plus the set days of cover at the recent rate of sale.",
            "discount_share": "The largest discount of the plan that keeps the margin above the floor.",
            "offer_price": "List price less that discount, per unit.",
            "margin_amount": "Offer price less purchase cost, per unit.",
            "margin_share": "Margin over offer price.",
            "margin_floor_share": "The least margin share an offer may have.",
            "is_age_restricted": "Only for known adults.",
            "is_sensitive": "In a sensitive category: never promoted.",
            "is_promotable": "True when the product may be offered.",
            "reason": "Why the product may or may not be offered.",
        },
        "campaigns/product_segment_matches": {
            "stage_segment_ids": "Stage segments of the audience, comma separated.",
            "audience_customers": "Customers of the audience (known adults only for age-restricted products).",
            "reachable_customers": "Those of them with consent and a valid address.",
            "score": "Estimated share of the audience that buys the product within 90 days (not caused by an e-mail).",
            "baseline_score": "The same share among the most active customers, whatever their taste, at equal size.",
            "expected_buyers": "Reachable customers expected to buy within the offer's days at the recent rate.",
            "low": "Lower end of the 90% prediction interval of the buyers.",
            "high": "Upper end of the 90% prediction interval of the buyers.",
            "expected_margin_amount": "Expected buyers times the margin of a unit after the offered discount.",
            "beats_baseline": "True when the lower end of the score's 90% interval is above the baseline score.",
            "reason": "What speaks for this audience, or against it, in words.",
        },
        "campaigns/briefs": {
            "brief_id": "The brief: start day, taste and stage group.",
            "objective": "What the campaign is for.",
            "audience": "Whom it addresses, in words.",
            "stage_segment_ids": "Stage segments of the audience, comma separated.",
            "product_ids": "One to six products, comma separated, the best first.",
            "audience_customers": "Customers of the audience.",
            "expected_buyers": "Purchases expected of the reachable within the offer's days, at the recent rate.",
            "expected_margin_amount": "Those purchases times the margin of a unit after the discount.",
            "offer": "The offer in words.",
            "discount_share": "Discount on the list price; it differs by stage group.",
            "valid_until": "Last day of the offer.",
            "low_margin_amount": "Lower end of the 90% interval of the expected margin.",
            "high_margin_amount": "Upper end of the 90% interval of the expected margin.",
            "smallest_detectable_effect": "Smallest difference in the share of buyers (absolute) that the campaign can "
            "show with its control group at 5% significance and 80% power.",
        },
    }
)

_POLARS: dict[str, pl.DataType] = {
    "VARCHAR": pl.String(), "DOUBLE": pl.Float64(), "BIGINT": pl.Int64(), "BOOLEAN": pl.Boolean(), "DATE": pl.Date(),
}  # fmt: skip


def table_schema(table: str, types: Mapping[str, Mapping[str, str]] = TABLE_TYPES) -> dict[str, pl.DataType]:
    """Polars types of a table's columns, in order; decimals are computed as floats and cast when written."""
    return {name: _POLARS.get(sql_type, pl.Float64()) for name, sql_type in types[table].items()}


def empty_table(table: str, types: Mapping[str, Mapping[str, str]] = TABLE_TYPES) -> pl.DataFrame:
    """The table with its columns and no rows: what is written when the data cannot support it."""
    return pl.DataFrame(schema=table_schema(table, types))
