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

#: Days of a window: purchase rates are those of one, counted from where customers stood when it began
#: (in `sql/campaigns/customer_activity.sql` and `window_purchases.sql`).
RATE_DAYS = 90

#: The segment of customers whose taste is not known.
UNKNOWN_TASTE = "T0"

#: How a match can be scored; the back-test says which (campaigns.match_verdicts).
BY_TASTE, BY_ACTIVITY, BY_PAST_RATE, BY_CHANCE = "taste and activity", "most active", "past rate", "random"


def _default_discounts() -> Mapping[str, float]:
    # Loyal customers buy anyway: a discount would only cost margin. Those gone longest need the strongest reason.
    return MappingProxyType({"loyal": 0.0, "new": 0.10, "lapsing": 0.15, "lapsed": 0.20, "never_bought": 0.10})


@dataclass(frozen=True)
class ProductFilters:
    """Which products are wanted; a product must pass every filter that is set (all of them, not any of them).

    `minimum_stock` units above the safety level; `minimum_cover_days` days that the stock lasts at the recent rate of
    sale (a product that does not sell lasts for ever); `minimum_margin_share` margin over price after the discount;
    `minimum_price` and `maximum_price` bounds of the list price; `categories` and `brands` names, in any case, of
    which the product needs one each; `ageing_days` days without a sale, with stock left. None and empty do not filter.
    """

    minimum_stock: float | None = None
    minimum_cover_days: float | None = None
    minimum_margin_share: float | None = None
    minimum_price: float | None = None
    maximum_price: float | None = None
    categories: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    ageing_days: int | None = None


@dataclass(frozen=True)
class CampaignSpec:
    """Settings of matching and briefs.

    `audience_share` is the stated size: of each group of stages, the share of customers that suits a product best.
    `offers_per_customer` caps the products a customer is offered in a campaign period of `valid_days`. A product
    bought within `rest_days` is nobody's next product unless people buy it again and again.

    Shares are fractions (0.10 is ten percent). `discount_by_stage_group` overrides `base_discount_share` for the
    stage groups it names. Categories are matched as whole words, in any case, against category and subcategory.
    """

    margin_floor_share: float = 0.10
    safety_stock: float = 5.0
    cover_days: float = 14.0
    products_per_brief: int = 6
    max_briefs: int = 5
    valid_days: int = 14
    base_discount_share: float = 0.05
    discount_by_stage_group: Mapping[str, float] = field(default_factory=_default_discounts)
    minimum_cell: int = 50
    control_share: float = 0.10
    audience_share: float = 0.20
    audiences_per_product: int = 40
    products_per_audience: int = 20
    offers_per_customer: int = 6
    rest_days: int = 30
    filters: ProductFilters = ProductFilters()
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
        if not 0 < self.audience_share <= 1:
            raise ValueError(f"audience_share is {self.audience_share:g}; it must be above 0 and at most 1.")
        if self.offers_per_customer < 1 or self.rest_days < 0:
            raise ValueError("offers_per_customer must be at least 1 and rest_days at least 0.")
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
        "campaigns/product_choices": {
            "product_id": "VARCHAR", "discount_share": "DOUBLE", "audience_customers": "BIGINT", "chosen_in": "VARCHAR",
        },
        "campaigns/promotable_products": {
            "product_id": "VARCHAR", "name": "VARCHAR", "brand": "VARCHAR", "category": "VARCHAR",
            "list_price": "DECIMAL(18,4)", "unit_cost": "DECIMAL(18,4)", "stock_quantity": "DECIMAL(18,3)",
            "safety_stock": "DECIMAL(18,3)", "cover_days": "DOUBLE", "days_since_sale": "BIGINT",
            "units_last_90_days": "DECIMAL(18,3)", "discount_share": "DOUBLE", "offer_price": "DECIMAL(18,4)",
            "full_margin_amount": "DECIMAL(18,4)", "margin_amount": "DECIMAL(18,4)", "margin_share": "DOUBLE",
            "margin_floor_share": "DOUBLE", "profit_before_amount": "DECIMAL(18,4)",
            "profit_after_amount": "DECIMAL(18,4)", "break_even_uplift": "DOUBLE", "is_age_restricted": "BOOLEAN",
            "is_sensitive": "BOOLEAN", "is_chosen": "BOOLEAN", "is_promotable": "BOOLEAN", "reason": "VARCHAR",
        },
        "campaigns/product_affinity": {
            "dimension": "VARCHAR", "value": "VARCHAR", "axis": "VARCHAR", "segment_id": "VARCHAR", "buyers": "BIGINT",
            "segment_customers": "BIGINT", "purchase_rate": "DOUBLE", "base_rate": "DOUBLE", "lift": "DOUBLE",
            "shrunken_lift": "DOUBLE", "low": "DOUBLE", "high": "DOUBLE", "recent_lift": "DOUBLE",
            "held_out_lift": "DOUBLE", "first_purchases": "BIGINT", "repeat_purchases": "BIGINT",
            "repeat_share": "DOUBLE", "is_borrowed": "BOOLEAN",
        },
        "campaigns/audience_members": {
            "customer_id": "VARCHAR", "taste_segment_id": "VARCHAR", "stage_segment_id": "VARCHAR",
            "stage_group": "VARCHAR", "is_reachable": "BOOLEAN", "is_adult": "BOOLEAN", "expected_products": "DOUBLE",
            "activity_rank": "BIGINT",
        },
        "campaigns/match_backtest": {
            "method": "VARCHAR", "scope": "VARCHAR", "metric": "VARCHAR", "estimate": "DOUBLE", "low": "DOUBLE",
            "high": "DOUBLE",
        },
        "campaigns/match_verdicts": {
            "topic": "VARCHAR", "method": "VARCHAR", "is_better": "BOOLEAN", "sentence": "VARCHAR",
        },
        "campaigns/next_best_weights": {"component": "VARCHAR", "weight": "DOUBLE"},
        "campaigns/product_segment_matches": {
            "product_id": "VARCHAR", "taste_segment_id": "VARCHAR", "stage_group": "VARCHAR",
            "stage_segment_ids": "VARCHAR", "audience_customers": "BIGINT", "reachable_customers": "BIGINT",
            "activity_floor": "DOUBLE", "discount_share": "DOUBLE", "score": "DOUBLE", "matched_customers": "BIGINT",
            "matched_score": "DOUBLE", "baseline_score": "DOUBLE", "past_rate_score": "DOUBLE",
            "random_score": "DOUBLE", "expected_buyers": "DOUBLE", "low": "DOUBLE", "high": "DOUBLE",
            "expected_margin_amount": "DECIMAL(18,4)", "beats_baseline": "BOOLEAN", "scored_by": "VARCHAR",
            "reason": "VARCHAR",
        },
        "campaigns/offer_plan": {
            "product_id": "VARCHAR", "taste_segment_id": "VARCHAR", "stage_group": "VARCHAR",
            "stage_segment_ids": "VARCHAR", "is_adult": "BOOLEAN", "from_rank": "BIGINT", "to_rank": "BIGINT",
            "customers": "BIGINT", "expected_buyers": "DOUBLE", "expected_margin_amount": "DECIMAL(18,4)",
            "offers_limit": "BIGINT",
        },
        "campaigns/next_best_products": {
            "customer_id": "VARCHAR", "rank": "BIGINT", "product_id": "VARCHAR", "score": "DOUBLE",
            "is_repurchase": "BOOLEAN", "basis": "VARCHAR",
        },
        "campaigns/briefs": {
            "brief_id": "VARCHAR", "name": "VARCHAR", "objective": "VARCHAR", "audience": "VARCHAR",
            "taste_segment_id": "VARCHAR", "stage_segment_ids": "VARCHAR", "activity_floor": "DOUBLE",
            "product_ids": "VARCHAR", "offer": "VARCHAR", "discount_share": "DOUBLE", "starts_on": "DATE",
            "valid_until": "DATE", "audience_customers": "BIGINT", "reachable_customers": "BIGINT",
            "expected_buyers": "DOUBLE", "expected_margin_amount": "DECIMAL(18,4)",
            "low_margin_amount": "DECIMAL(18,4)", "high_margin_amount": "DECIMAL(18,4)",
            "control_customers": "BIGINT", "control_cost_amount": "DECIMAL(18,4)",
            "smallest_detectable_effect": "DOUBLE",
        },
    }
)  # fmt: skip

_WINDOW = f"the {RATE_DAYS} days"
#: What the columns mean that the raw contract does not describe.
COLUMN_NOTES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "campaigns/product_choices": {
            "discount_share": "Discount chosen with the product; null leaves it to the plan.",
            "audience_customers": "Size of audience chosen with the product; null leaves it to the plan.",
            "chosen_in": "Where the choice was made: state (`segmentation products choose`) or run (the run's config).",
        },
        "campaigns/promotable_products": {
            "stock_quantity": "Units on stock over all stores; null when the source has no inventory.",
            "safety_stock": "Units kept back: the set minimum plus the set days of cover at the recent rate of sale.",
            "cover_days": "Days the stock lasts at the rate of sale of the last 90 days; null without stock or sales.",
            "days_since_sale": "Days since the product was last sold; null when it never was.",
            "units_last_90_days": "Units sold in the 90 days up to the as-of date.",
            "discount_share": "The discount chosen for it, else the largest of the plan that keeps the margin above "
            "the floor.",
            "offer_price": "List price less that discount, per unit.",
            "full_margin_amount": "List price less purchase cost, per unit: the margin before the discount.",
            "margin_amount": "Offer price less purchase cost, per unit: the margin after the discount.",
            "margin_share": "Margin after the discount over offer price.",
            "margin_floor_share": "The least margin share an offer may have.",
            "profit_before_amount": "Units of the last 90 days times the margin before the discount.",
            "profit_after_amount": "The same units times the margin after the discount.",
            "break_even_uplift": "How many more units must sell, relative, for the discount to earn as much as none: "
            "margin before over margin after, less one. Null when nothing is earned after the discount.",
            "is_age_restricted": "Only for known adults.",
            "is_sensitive": "In a sensitive category: never promoted.",
            "is_chosen": "Whether a marketer chose the product.",
            "is_promotable": "True when the product may be offered.",
            "reason": "Why the product may or may not be offered.",
        },
        "campaigns/product_affinity": {
            "dimension": "product, category, brand or price_band (of the category's prices).",
            "value": "product_id, or the name of the category, brand or price band.",
            "axis": "stage or taste.",
            "buyers": "Customers of the segment who ever bought it.",
            "segment_customers": "Customers of the segment.",
            "purchase_rate": "Buyers over customers of the segment.",
            "base_rate": "Buyers over customers, all segments of the axis with a buyer together.",
            "lift": "Purchase rate over base rate.",
            "shrunken_lift": "The lift after empirical-Bayes shrinkage: of products toward what category, brand and "
            "price band let expect, of the others toward 1.",
            "low": "Lower end of the 90% interval of the shrunken lift.",
            "high": "Upper end of the 90% interval of the shrunken lift.",
            "recent_lift": "The shrunken lift when a buyer counts half for every 180 days since the last purchase.",
            "held_out_lift": "The lift that matching uses: shrunken, of the products bought in the last 90 days by "
            "where customers stood when these began, so that no segment is measured by the purchases it was made of. "
            "Null for stages, and where the history is too short.",
            "first_purchases": "First purchases by customers of the segment: one per buyer.",
            "repeat_purchases": "Further days on which these buyers bought it again.",
            "repeat_share": "Share of the buyers who bought it on another day again.",
            "is_borrowed": "True when nobody bought the product yet, so that all of it comes from category, brand and "
            "price band.",
        },
        "campaigns/audience_members": {
            "taste_segment_id": "Taste segment; T0 when the taste is not known.",
            "stage_group": "Group of stages that wants the same approach.",
            "is_adult": "Known to be an adult. Known minors are not in this table.",
            "expected_products": f"Different products the customer is expected to buy in {RATE_DAYS} days.",
            "activity_rank": "Place within taste, stage group and is_adult, from 0: who can be reached first, then by "
            "expected products.",
        },
        "campaigns/match_backtest": {
            "method": "What was judged; `A minus B` is the difference of two over the same customers.",
            "scope": "Which question, which purchases and which size of audience.",
            "metric": "lift: purchases of the chosen over those of as many customers taken at random. hit_rate_at_10: "
            "share of customers with a purchase among the first ten. ndcg_at_10: the same with weight on the first.",
            "estimate": f"The figure over {_WINDOW} held back.",
            "low": "Lower end of its 95% bootstrap interval.",
            "high": "Upper end of its 95% bootstrap interval.",
        },
        "campaigns/match_verdicts": {
            "topic": "product_to_audience or customer_to_product.",
            "method": "The method that is used, by what it did on days it had not seen.",
            "is_better": "True when matching is clearly better than every simple rule, by its interval.",
            "sentence": "The finding with its numbers.",
        },
        "campaigns/next_best_weights": {
            "component": "What a product is suggested for.",
            "weight": "Its weight in the blend, fitted on an earlier period; they sum to 1.",
        },
        "campaigns/product_segment_matches": {
            "stage_group": "Group of stages the audience is of.",
            "stage_segment_ids": "Stage segments of that group, comma separated.",
            "audience_customers": "Customers of the audience: those of taste and stage group expected to buy at "
            "least activity_floor products (known adults only for age-restricted products).",
            "reachable_customers": "Those of them with consent and a valid address.",
            "activity_floor": "Fewest expected products of a member (campaigns.audience_members).",
            "discount_share": "Discount offered to this group of stages.",
            "score": f"Purchases of the product to be expected in {RATE_DAYS} days per customer of the audience, at "
            "most 1 (not caused by an e-mail).",
            "matched_customers": "Customers of the stage group matched with the product, all tastes together and with "
            "parts that stock or margin leave out: the stated size at which the rules are compared.",
            "matched_score": "The same share among all of them.",
            "baseline_score": "The same share among as many of the most active customers of the stage group.",
            "past_rate_score": "The same share among as many customers of the stage group from the segments with the "
            "highest past purchase rate of the product.",
            "random_score": "The same share among as many customers of the stage group taken at random.",
            "expected_buyers": "Reachable customers expected to buy within the offer's days at the recent rate.",
            "low": "Lower end of the 90% prediction interval of the buyers.",
            "high": "Upper end of the 90% prediction interval of the buyers.",
            "expected_margin_amount": "Expected buyers times the margin of a unit after the offered discount.",
            "beats_baseline": "True when the lower end of the 90% interval of matched_score is above every baseline, "
            "and the back-test found matching better than these rules.",
            "scored_by": "The method the back-test chose.",
            "reason": "What speaks for this audience, or against it, in words.",
        },
        "campaigns/offer_plan": {
            "stage_group": "Group of stages the audience is of.",
            "stage_segment_ids": "Stage segments of that group, comma separated.",
            "is_adult": "Whether these are the known adults of the audience or the others.",
            "from_rank": "First activity_rank that is offered the product (campaigns.audience_members).",
            "to_rank": "The rank after the last one.",
            "customers": "Customers offered the product here; all of them can be reached.",
            "expected_buyers": "Those of them expected to buy within the offer's days at the recent rate.",
            "expected_margin_amount": "Expected buyers times the margin of a unit after the offered discount.",
            "offers_limit": "Most products a customer may be offered in the campaign period "
            "(campaigns.offers_per_customer); the same in each row.",
        },
        "campaigns/next_best_products": {
            "rank": "1 is the best.",
            "score": "Weighted sum of the blend's components; it orders the products of one customer, no more.",
            "is_repurchase": "Whether the customer bought the product before.",
            "basis": "What speaks for it most.",
        },
        "campaigns/briefs": {
            "brief_id": "The brief: start day, taste and stage group; and a chosen discount, and adults where only "
            "known adults are meant.",
            "objective": "What the campaign is for.",
            "audience": "Whom it addresses, in words.",
            "stage_segment_ids": "Stage segments of the audience, comma separated.",
            "activity_floor": "Fewest expected products of a member (campaigns.audience_members).",
            "product_ids": "One to six products, comma separated, the best first.",
            "audience_customers": "Customers of the audience.",
            "expected_buyers": "Purchases expected of those for whom the plan has the product, within the offer's days "
            "and at the recent rate.",
            "expected_margin_amount": "Those purchases times the margin of a unit after the discount.",
            "offer": "The offer in words.",
            "discount_share": "Discount on the list price; it differs by stage group.",
            "valid_until": "Last day of the offer.",
            "low_margin_amount": "Lower end of the 90% interval of the expected margin.",
            "high_margin_amount": "Upper end of the 90% interval of the expected margin.",
            "control_customers": "Customers held out, so that the effect can be measured.",
            "control_cost_amount": "Margin that these would bring if everything expected were caused by the e-mail: "
            "the most that holding them out can cost.",
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
