"""Audiences inside segments: rules a person can read, whose customers are counted.

What belongs here: the library of questions about what customers do, thresholds a person would choose, and the test
that a rule holds clearly more often inside a segment than outside. What does not: names and sentences
(`language.tasks.audiences`). Protected attributes and demographics have no question, and a rule over a column without
one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Literal

import numpy as np
import polars as pl
from scipy.stats import norm

Operator = Literal[">=", "<="]
#: What a threshold counts. A ratio is to what is usual, which is 1.
Unit = Literal["share", "days", "money", "count", "ratio"]

#: The columns of features.customer_features that a rule may use. A closed list: what people do, never who they are.
FEATURES: Mapping[str, Unit] = MappingProxyType(
    {
        "recency_days": "days", "order_count": "count", "monetary_amount": "money", "average_order_amount": "money",
        "tenure_days": "days", "days_between_orders": "days", "return_share": "share", "discount_share": "share",
        "coupon_order_share": "share", "campaign_order_share": "share", "price_level": "ratio",
        "category_count": "count", "favourite_category_share": "share", "favourite_brand_share": "share",
        "spring_share": "share", "summer_share": "share", "autumn_share": "share", "winter_share": "share",
        "week_of_month_1_share": "share", "week_of_month_2_share": "share", "week_of_month_3_share": "share",
        "week_of_month_4_share": "share", "weekend_share": "share", "add_to_cart_count": "count",
        "wishlist_count": "count", "events_last_90_days": "count", "campaigns_received": "count",
        "campaign_response_share": "share", "loyalty_points": "count",
    }
)  # fmt: skip

#: The probability that any rule at all is kept where features and segments have nothing to do with each other. Each
#: test gets an equal part of it (Bonferroni), so the bound on z grows with the number of rules and segments tried.
FAMILY_ERROR = 0.05
#: The share in a segment over the share in the shop, and over the share in the other segments.
SMALLEST_LIFT = 1.25
#: Customers in both over customers in either (Jaccard): from here on two groups are nearly the same people.
SAME_PEOPLE = 0.6

#: Segments outside the clustering; the others are not compared with them, or every buyer would stand out.
_OUTSIDE = ("S0", "T0")


@dataclass(frozen=True)
class Condition:
    """A column of features.customer_features at or beyond a threshold; who has no value does not meet it."""

    feature: str
    operator: Operator
    threshold: float

    def __post_init__(self) -> None:
        """ValueError for a column outside FEATURES, another operator, or a threshold that is no number."""
        if self.feature not in FEATURES:
            raise ValueError(
                f"No audience may be made by {self.feature!r}: rules use what customers do, which are {list(FEATURES)}."
            )
        if self.operator not in {">=", "<="}:
            raise ValueError(f"Operator {self.operator!r} on {self.feature}: use '>=' or '<='.")
        if not np.isfinite(self.threshold):
            raise ValueError(f"The threshold of {self.feature} is {self.threshold}; it must be a number.")

    @property
    def unit(self) -> Unit:
        """What the threshold counts."""
        return FEATURES[self.feature]

    @property
    def sql(self) -> str:
        """The condition in SQL: `discount_share >= 0.25`."""
        number = f"{self.threshold:.2f}".rstrip("0").rstrip(".")
        return f"{self.feature} {self.operator} {number}"


@dataclass(frozen=True)
class AudienceRule:
    """One condition, or two that must both hold: the first is what the rule says, the second narrows of whom.

    `question` is the key of the question it answers, `title` a name for those who meet it.
    """

    question: str
    title: str
    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        """ValueError for none or more than two conditions, or two on one column."""
        columns = {condition.feature for condition in self.conditions}
        if not 1 <= len(self.conditions) <= 2 or len(columns) != len(self.conditions):
            raise ValueError(f"Rule {self.question}: one condition, or two on different columns, and not {self.sql!r}.")

    @property
    def sql(self) -> str:
        """The rule in SQL, over the columns of features.customer_features."""
        return " and ".join(condition.sql for condition in self.conditions)


@dataclass(frozen=True)
class Audience:
    """Those of a segment who meet a rule, beside the shop.

    `customers` of the segment's `segment_customers` meet it, and `shop_members` of the axis's `shop_customers`.
    Shares are fractions, rounded to 6 digits; `others_share` is that of the other segments. `lift` is segment_share
    over shop_share, `z` the standardised difference of segment_share and others_share (pooled, as of two independent
    shares; for a rule of two conditions the smaller of that and the same among those who meet the second one).
    """

    axis: str
    segment_id: str
    rule: AudienceRule
    customers: int
    segment_customers: int
    shop_members: int
    shop_customers: int
    segment_share: float
    shop_share: float
    others_share: float
    lift: float
    z: float

    @property
    def audience_id(self) -> str:
        """The same in every run that asks the same question of the segment, wherever the threshold moves."""
        return f"{self.segment_id}-{self.rule.question}"

    @property
    def key(self) -> str:
        """Axis, segment and rule as text: changes with the rule."""
        return f"{self.axis} {self.segment_id}: {self.rule.sql}"


@dataclass(frozen=True)
class Measure:
    """A condition whose thresholds are quantiles of the shop, or one fixed number."""

    feature: str
    operator: Operator
    quantiles: tuple[float, ...] = ()
    fixed: float | None = None


@dataclass(frozen=True)
class Question:
    """Something worth knowing of a customer, with the name of those who answer yes."""

    key: str
    title: str
    measures: tuple[Measure, ...]


def _ask(key: str, title: str, first: Measure, second: Measure | None = None) -> Question:
    return Question(key, title, (first,) if second is None else (first, second))


def _high(feature: str, *quantiles: float) -> Measure:
    return Measure(feature, ">=", quantiles)


def _low(feature: str, *quantiles: float) -> Measure:
    return Measure(feature, "<=", quantiles)


# A share of one or two orders is mostly chance: habits in time and brand are asked of those who ordered more often.
_SOME = Measure("order_count", ">=", fixed=2)
_MORE = Measure("order_count", ">=", fixed=3)

#: The questions, in the order in which ties are resolved.
QUESTIONS: tuple[Question, ...] = (
    _ask("deal-seekers", "Deal seekers", _high("discount_share", 0.75, 0.9)),
    _ask("recent-deal-seekers", "Recent deal seekers", _high("discount_share", 0.75),
         Measure("recency_days", "<=", fixed=60)),
    _ask("full-price", "Full-price buyers", _low("discount_share", 0.25), _SOME),
    _ask("coupon-users", "Coupon users", _high("coupon_order_share", 0.8, 0.9)),
    _ask("returners", "Habitual returners", _high("return_share", 0.9), _SOME),
    _ask("keepers", "Keepers", _low("return_share", 0.25), _MORE),
    _ask("weekend", "Weekend shoppers", _high("weekend_share", 0.75, 0.9), _MORE),
    _ask("weekday", "Weekday shoppers", _low("weekend_share", 0.25), _MORE),
    _ask("spring", "Spring buyers", _high("spring_share", 0.75, 0.9), _SOME),
    _ask("summer", "Summer buyers", _high("summer_share", 0.75, 0.9), _SOME),
    _ask("autumn", "Autumn buyers", _high("autumn_share", 0.75, 0.9), _SOME),
    _ask("winter", "Winter buyers", _high("winter_share", 0.75, 0.9), _SOME),
    _ask("start-of-month", "Start-of-month buyers", _high("week_of_month_1_share", 0.75, 0.9), _SOME),
    _ask("second-week", "Early mid-month buyers", _high("week_of_month_2_share", 0.75, 0.9), _SOME),
    _ask("third-week", "Late mid-month buyers", _high("week_of_month_3_share", 0.75, 0.9), _SOME),
    _ask("fourth-week", "End-of-month buyers", _high("week_of_month_4_share", 0.75, 0.9), _SOME),
    _ask("premium", "Premium shoppers", _high("price_level", 0.75, 0.9)),
    _ask("thrifty", "Thrifty shoppers", _low("price_level", 0.1, 0.25)),
    _ask("category-devotees", "Category devotees", _high("favourite_category_share", 0.75, 0.9), _MORE),
    _ask("explorers", "Explorers", _high("category_count", 0.75, 0.9)),
    _ask("brand-faithful", "Brand faithful", _high("favourite_brand_share", 0.75, 0.9), _MORE),
    _ask("brand-switchers", "Brand switchers", _low("favourite_brand_share", 0.25), _MORE),
    _ask("responders", "Campaign responders", _high("campaign_response_share", 0.75, 0.9),
         Measure("campaigns_received", ">=", fixed=2)),
    _ask("silent", "Silent on campaigns", _low("campaign_response_share", 0.1),
         Measure("campaigns_received", ">=", fixed=2)),
    _ask("campaign-buyers", "Campaign buyers", _high("campaign_order_share", 0.9)),
    _ask("browsers", "Active browsers", _high("events_last_90_days", 0.75, 0.9)),
    _ask("window-shoppers", "Window shoppers", _high("events_last_90_days", 0.75),
         Measure("recency_days", ">=", fixed=90)),
    _ask("wish-lists", "Wish-list writers", _high("wishlist_count", 0.9)),
    _ask("cart-fillers", "Cart fillers", _high("add_to_cart_count", 0.9)),
    _ask("big-baskets", "Big baskets", _high("average_order_amount", 0.75, 0.9)),
    _ask("small-baskets", "Small baskets", _low("average_order_amount", 0.1, 0.25)),
    _ask("big-spenders", "Big spenders", _high("monetary_amount", 0.9)),
    _ask("just-bought", "Fresh from a purchase", _low("recency_days", 0.1, 0.25)),
    _ask("quiet-regulars", "Regulars gone quiet", _high("recency_days", 0.5, 0.75), _MORE),
    _ask("gone-quiet", "Gone quiet", _high("recency_days", 0.75, 0.9)),
    _ask("newcomers", "Newcomers", _low("tenure_days", 0.1, 0.25)),
    _ask("long-standing", "Long-standing customers", _high("tenure_days", 0.75, 0.9)),
    _ask("frequent", "Frequent orderers", _high("order_count", 0.75, 0.9)),
    _ask("first-order", "Recent first-timers", Measure("order_count", "<=", fixed=1),
         Measure("recency_days", "<=", fixed=90)),
    _ask("quick-rhythm", "Quick to reorder", _low("days_between_orders", 0.1, 0.25)),
    _ask("slow-rhythm", "Unhurried reorderers", _high("days_between_orders", 0.75, 0.9)),
    _ask("point-collectors", "Point collectors", _high("loyalty_points", 0.9)),
)  # fmt: skip


def rounded_threshold(value: float, unit: Unit, operator: Operator) -> float | None:
    """The number a person would choose near `value`, or None when none there says anything.

    Shares in steps of 0.05 between 0.05 and 0.75, days in steps of 30 from 30, money and counts above 99 to two
    significant digits, small counts whole, ratios to the usual in steps of 0.05 on their own side of 1.
    """
    if not np.isfinite(value):
        return None
    if unit == "share":
        # A habit is a habit at three quarters: a higher bar would only find those who ordered a single time.
        return round(float(np.clip(round(value / 0.05), 1, 15)) * 0.05, 2)
    if unit == "days":
        return float(max(round(value / 30), 1) * 30)
    if unit == "ratio":
        number = round(round(value / 0.05) * 0.05, 2)
        return number if (number > 1 if operator == ">=" else 0 < number < 1) else None
    if value <= 0:
        return None
    if unit == "count" and value < 100:
        return float(max(round(value), 1))
    digits = 1 - int(np.floor(np.log10(value)))
    number = round(value, digits)
    return float(number) if number >= 0.01 else None


def audience_rules(customers: pl.DataFrame, minimum_cell: int = 50) -> list[AudienceRule]:
    """The questions as rules over `customers` (features.customer_features): thresholds from the shop's quantiles.

    Columns may be missing or null: their questions fall away, and so does a question whose column is known of fewer
    than `minimum_cell` customers. Each rule once, in the order of QUESTIONS.
    """
    return _rules(_columns(customers), minimum_cell)


def candidate_audiences(
    customers: pl.DataFrame, segments: pl.DataFrame, minimum_cell: int, most_per_segment: int = 3
) -> list[Audience]:
    """The audiences that the numbers show inside each segment, the clearest first, sorted by axis and segment.

    `customers`: features.customer_features, one row per customer_id. `segments`: customer_id, axis, segment_id, one
    row per customer and axis; who is not in `customers` is counted in the segment and meets no rule. A rule is kept
    as an audience of a segment when
    - at least `minimum_cell` customers of the segment meet it, and as many do not;
    - its share there exceeds that of the other segments (outside segments, "S0" and "T0", only count as others for
      each other) by a z above the one-sided normal bound at FAMILY_ERROR over the number of rules times segments
      tried (Bonferroni), and by a factor of SMALLEST_LIFT, which must hold against the whole shop too;
    - with two conditions, the same is so among those who meet the second one, or it would only repeat that one;
    - it is not nearly the same people as the segment itself or as an audience already kept (Jaccard below
      SAME_PEOPLE), holds no audience within another that leaves a rest of 1 to `minimum_cell` - 1 people, and its
      question is not kept already.
    ValueError when customer ids repeat, a column is missing, or `minimum_cell` is under 1.
    """
    _refuse(customers, segments, minimum_cell)
    columns = _columns(customers)
    rules = _rules(columns, minimum_cell)
    places = _places(customers, segments)
    tried = len(rules) * sum(len(place.ids) for place in places)
    if not tried:
        return []
    bound = float(norm.isf(FAMILY_ERROR / tried))
    met = {rule: _meets(columns, rule.conditions) for rule in rules}
    narrowed = {
        condition: _meets(columns, (condition,)) for condition in {r.conditions[1] for r in rules if r.conditions[1:]}
    }
    found: list[Audience] = []
    for place in places:
        candidates: list[list[Audience]] = [[] for _ in place.ids]
        counts_within = {condition: place.count(mask) for condition, mask in narrowed.items()}
        for rule in rules:
            counts = place.count(met[rule])
            within = counts_within[rule.conditions[1]] if rule.conditions[1:] else None
            for position in _clear(place, counts, within, minimum_cell, bound):
                candidates[position].append(_audience(place, position, rule, counts, within))
        for position, here in enumerate(candidates):
            rows = place.rows(position) if here else np.empty(0, dtype=np.intp)
            # Sorting is stable: the order of the questions resolves ties.
            here.sort(key=lambda audience: -audience.z)
            found += _distinct(here, {a.rule: met[a.rule][rows] for a in here}, minimum_cell, most_per_segment)
    return found


def members_of(customers: pl.DataFrame, segments: pl.DataFrame, audience: Audience) -> pl.Series:
    """The ids of the customers of `audience`, sorted; inputs as of `candidate_audiences`."""
    return audience_members(customers, segments, [audience])["customer_id"]


def audience_members(customers: pl.DataFrame, segments: pl.DataFrame, audiences: Sequence[Audience]) -> pl.DataFrame:
    """audience_id and customer_id of each of `audiences`, sorted by both; inputs as of `candidate_audiences`."""
    schema = {"audience_id": pl.String(), "customer_id": pl.String()}
    parts = []
    for audience in audiences:
        own = segments.lazy().filter((pl.col("axis") == audience.axis) & (pl.col("segment_id") == audience.segment_id))
        meets = []
        for condition in audience.rule.conditions:
            # As in counting: not-a-number is unknown and meets nothing.
            value = pl.col(condition.feature).cast(pl.Float64).fill_nan(None)
            meets.append(value >= condition.threshold if condition.operator == ">=" else value <= condition.threshold)
        parts.append(
            customers.lazy()
            .filter(*meets)
            .join(own, on="customer_id", how="semi")
            .select(pl.lit(audience.audience_id).alias("audience_id"), pl.col("customer_id").cast(pl.String))
        )
    if not parts:
        return pl.DataFrame(schema=schema)
    return pl.concat(parts).collect().sort("audience_id", "customer_id")


def _refuse(customers: pl.DataFrame, segments: pl.DataFrame, minimum_cell: int) -> None:
    if minimum_cell < 1:
        raise ValueError(f"minimum_cell is {minimum_cell}; an audience has at least 1 customer.")
    if missing := {"customer_id", "axis", "segment_id"} - set(segments.columns):
        raise ValueError(f"The segments of customers have no column {sorted(missing)}; they need customer_id, axis and "
                         "segment_id.")  # fmt: skip
    if "customer_id" not in customers.columns:
        raise ValueError("The features have no column customer_id; audiences need features.customer_features.")
    if customers["customer_id"].n_unique() != customers.height:
        raise ValueError("The features must have one row per customer_id: a customer counted twice would be two.")
    if segments.select("customer_id", "axis").n_unique() != segments.height:
        raise ValueError("The segments must have one row per customer_id and axis: a customer is in one segment each.")


def _columns(customers: pl.DataFrame) -> dict[str, np.ndarray]:
    """The features that are there, as float64 with NaN where unknown."""
    return {
        feature: customers[feature].cast(pl.Float64).to_numpy()
        for feature in FEATURES
        if feature in customers.columns and customers.schema[feature].is_numeric()
    }


def _rules(columns: Mapping[str, np.ndarray], minimum_cell: int) -> list[AudienceRule]:
    known = {feature: values[~np.isnan(values)] for feature, values in columns.items()}
    wanted: dict[str, set[float]] = {}
    for measure in (m for question in QUESTIONS for m in question.measures):
        wanted.setdefault(measure.feature, set()).update(measure.quantiles)
    quantiles: dict[tuple[str, float], float] = {}
    for feature, values in known.items():
        at = sorted(wanted.get(feature, ()))
        if len(values) >= minimum_cell and at:
            quantiles |= {(feature, q): float(v) for q, v in zip(at, np.quantile(values, at), strict=True)}
    rules: dict[tuple[Condition, ...], AudienceRule] = {}
    for question in QUESTIONS:
        options: list[list[Condition]] = []
        for measure in question.measures:
            if len(known.get(measure.feature, ())) < minimum_cell:
                options.append([])
                continue
            numbers: list[float | None] = [measure.fixed] if measure.fixed is not None else [
                rounded_threshold(quantiles[measure.feature, q], FEATURES[measure.feature], measure.operator)
                for q in measure.quantiles
            ]  # fmt: skip
            options.append([Condition(measure.feature, measure.operator, n) for n in numbers if n is not None])
        for conditions in product(*options):
            rules.setdefault(conditions, AudienceRule(question.key, question.title, conditions))
    return list(rules.values())


def _meets(columns: Mapping[str, np.ndarray], conditions: Sequence[Condition]) -> np.ndarray:
    """Which rows meet all of `conditions`; an unknown value (NaN) meets none."""
    masks = [
        columns[c.feature] >= c.threshold if c.operator == ">=" else columns[c.feature] <= c.threshold
        for c in conditions
    ]
    return masks[0] if len(masks) == 1 else masks[0] & masks[1]


@dataclass(frozen=True)
class _Place:
    """One axis: its segments, their customers, and the segment of each row of the features (-1 is none)."""

    axis: str
    ids: tuple[str, ...]
    sizes: np.ndarray
    codes: np.ndarray

    @property
    def is_outside(self) -> np.ndarray:
        return np.array([segment_id in _OUTSIDE for segment_id in self.ids])

    def count(self, mask: np.ndarray) -> np.ndarray:
        """Customers by segment among the rows of `mask`."""
        return np.bincount(self.codes[mask] + 1, minlength=len(self.ids) + 1)[1:]

    def rows(self, position: int) -> np.ndarray:
        return np.flatnonzero(self.codes == position)

    def others(self, counts: np.ndarray) -> np.ndarray:
        """For each segment the sum of `counts` over the segments it is compared with."""
        clustered = np.where(self.is_outside, 0, counts)
        return np.where(self.is_outside, counts.sum() - counts, clustered.sum() - clustered)


def _places(customers: pl.DataFrame, segments: pl.DataFrame) -> list[_Place]:
    index = customers.select(pl.col("customer_id").cast(pl.String)).with_row_index("row")
    given = segments.select(pl.col("customer_id", "axis", "segment_id").cast(pl.String)).drop_nulls("segment_id")
    places = []
    for axis in sorted(given["axis"].unique().to_list()):
        own = given.filter(pl.col("axis") == axis)
        # S2 before S10.
        ids = sorted(own["segment_id"].unique().to_list(), key=lambda segment_id: (len(segment_id), segment_id))
        order = pl.DataFrame({"segment_id": ids, "code": range(len(ids))}, schema_overrides={"code": pl.Int64})
        coded = own.join(order, on="segment_id")
        sizes = np.bincount(coded["code"].to_numpy(), minlength=len(ids))
        codes = np.full(customers.height, -1, dtype=np.int64)
        located = coded.join(index, on="customer_id")
        codes[located["row"].to_numpy()] = located["code"].to_numpy()
        places.append(_Place(axis, tuple(ids), sizes, codes))
    return places


def _z(members: np.ndarray, sizes: np.ndarray, other_members: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Standardised difference of two independent shares with a pooled variance; 0 where there is none."""
    n, m = np.maximum(sizes, 1), np.maximum(others, 1)
    pooled = (members + other_members) / (n + m)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    difference = np.where((sizes > 0) & (others > 0), members / n - other_members / m, 0.0)
    return np.divide(difference, spread, out=np.zeros_like(difference), where=spread > 0)


def _measured(place: _Place, counts: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """z against the other segments, and whether the share exceeds theirs by SMALLEST_LIFT; both by segment."""
    others, other_sizes = place.others(counts), place.others(sizes)
    enough = counts * np.maximum(other_sizes, 1) >= SMALLEST_LIFT * others * np.maximum(sizes, 1)
    return _z(counts, sizes, others, other_sizes), enough


def _clear(place: _Place, counts: np.ndarray, within: np.ndarray | None, minimum_cell: int, bound: float) -> list[int]:
    """Positions of the segments in which a rule with these counts shows an audience."""
    z, is_more = _measured(place, counts, place.sizes)
    lift_holds = counts * place.sizes.sum() >= SMALLEST_LIFT * counts.sum() * place.sizes
    keep = (counts >= minimum_cell) & (place.sizes - counts >= minimum_cell) & (z > bound) & is_more & lift_holds
    # Jaccard with the segment itself is the share in it.
    keep &= counts < SAME_PEOPLE * place.sizes
    if within is not None:
        narrow_z, is_more_within = _measured(place, counts, within)
        keep &= (narrow_z > bound) & is_more_within
    return [int(position) for position in np.flatnonzero(keep)]


def _audience(
    place: _Place, position: int, rule: AudienceRule, counts: np.ndarray, within: np.ndarray | None
) -> Audience:
    customers, size = int(counts[position]), int(place.sizes[position])
    members, shop = int(counts.sum()), int(place.sizes.sum())
    others, other_size = int(place.others(counts)[position]), int(place.others(place.sizes)[position])
    z = float(_measured(place, counts, place.sizes)[0][position])
    if within is not None:
        z = min(z, float(_measured(place, counts, within)[0][position]))
    return Audience(
        axis=place.axis,
        segment_id=place.ids[position],
        rule=rule,
        customers=customers,
        segment_customers=size,
        shop_members=members,
        shop_customers=shop,
        segment_share=round(customers / size, 6),
        shop_share=round(members / shop, 6),
        others_share=round(others / other_size, 6),
        lift=round(customers * shop / (size * members), 6),
        z=round(z, 6),
    )


def _distinct(
    candidates: Sequence[Audience], masks: Mapping[AudienceRule, np.ndarray], minimum_cell: int, most: int
) -> list[Audience]:
    """The first of `candidates` that are other questions about other people than those before them."""
    kept: list[Audience] = []
    for audience in candidates:
        if len(kept) >= most:
            break
        if all(
            audience.rule.question != other.rule.question
            and _are_different(masks[audience.rule], masks[other.rule], minimum_cell)
            for other in kept
        ):
            kept.append(audience)
    return kept


def _are_different(left: np.ndarray, right: np.ndarray, minimum_cell: int) -> bool:
    both = int(np.count_nonzero(left & right))
    only_left, only_right = int(np.count_nonzero(left)) - both, int(np.count_nonzero(right)) - both
    if both >= SAME_PEOPLE * (both + only_left + only_right):
        return False
    # Where one lies within the other, their counts tell how many are left: too few would be known apart.
    is_nested = not only_left or not only_right
    return not is_nested or max(only_left, only_right) >= minimum_cell
