"""The facts of every segment, gathered from the segment tables: what a writer of profiles may say.

What belongs here: which figure becomes which fact, about whom, and which names may be used at all. What does not:
sentences (`profile_writer`), and any reading of customers: only aggregated frames come in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from segmentation_assets.language.answer_facts import COUNTS, answer_facts, effect_facts
from segmentation_assets.language.facts import (
    MINIMUM_CELL,
    DeltaUnit,
    Fact,
    FactBook,
    FactKind,
    clean_name,
    is_few,
    withheld_sizes,
)
from segmentation_assets.language.grounding import mentions_of_people

#: Segments outside the clustering.
OUTSIDE = ("S0", "T0")


@dataclass(frozen=True)
class Driver:
    """A feature that sets a segment apart; `strength` is the standardised difference to the overall mean."""

    feature: str
    strength: float


@dataclass(frozen=True)
class Offer:
    """What a segment can be offered; `product` is empty when nothing is known to fit."""

    product: str = ""
    discount_share: float = 0.0


@dataclass(frozen=True)
class SegmentFacts:
    """All that a writer may know of one segment.

    `situation` is the stage group (loyal, active, new, lapsing, lapsed, never_bought, unknown) or `taste`.
    `categories` are the names that set the segment's baskets apart, strongest first. `customers` and
    `reachable_customers` are counts; `revenue_share` is None when the source has no money.
    """

    axis: str
    segment_id: str
    name: str
    situation: str
    customers: int
    reachable_customers: int
    revenue_share: float | None
    book: FactBook
    drivers: tuple[Driver, ...] = ()
    categories: tuple[str, ...] = ()
    verdict: str = ""
    one_feature: str = ""
    is_first_run: bool = True
    is_small: bool = False
    turn: int = 0
    missing: frozenset[str] = field(default_factory=frozenset)

    @property
    def subject(self) -> str:
        """The subject of this segment's own facts."""
        return f"{self.axis} {self.segment_id}"


def is_sensitive(text: str, terms: Sequence[str]) -> bool:
    """Whether `text` holds one of the sensitive `terms` as whole words, or names a protected or sensitive subject."""
    words = [re.escape(" ".join(term.lower().split())) for term in terms if term.strip()]
    if words and re.search(rf"(?:^|\W)(?:{'|'.join(words)})(?:$|\W)", text.lower()):
        return True
    # A category called "Men's shoes" is the shop's own word for goods; only sensitive subjects are kept out here.
    return any(finding.rule == "sensitive_subject" for finding in mentions_of_people(text))


def gather_segment_facts(
    summary: pl.DataFrame,
    metrics: pl.DataFrame,
    drivers: pl.DataFrame,
    mix: pl.DataFrame,
    *,
    situations: Mapping[str, str],
    verdicts: Mapping[str, str] | None = None,
    one_features: Mapping[str, str] | None = None,
    stabilities: Mapping[str, float] | None = None,
    offers: Mapping[tuple[str, str], Offer] | None = None,
    previous: pl.DataFrame | None = None,
    engagement: pl.DataFrame | None = None,
    campaigns: pl.DataFrame | None = None,
    currency: str = "EUR",
    minimum_cell: int = MINIMUM_CELL,
    sensitive_categories: Sequence[str] = (),
) -> list[SegmentFacts]:
    """One `SegmentFacts` per row of `summary`, sorted by axis and id.

    `summary` segments.segment_summary; `metrics` segments.segment_metrics; `drivers` segments.segment_drivers;
    `mix` profiles.segment_mix (all but `summary` may be empty). `situations`: stage group by stage segment id.
    `verdicts`, `one_features` (only where one feature alone makes the segments) and `stabilities`: by axis, from
    AXIS_choice and AXIS_evidence. `offers`: by (axis, segment_id).
    `previous`: segment_summary of the run before, None at the first. `engagement` results.segment_engagement and
    `campaigns` results.segment_campaigns: how earlier messages were answered and what the newest measured campaign
    caused, None where there is nothing of the kind. Segments under `minimum_cell` customers get
    facts of their size and the names of their categories only.

    Facts that must not be sent say so: their numerator is given, or `stays` where a small group could be had from
    several facts together (the sizes of an axis, the size before a change, the people behind a share of lines). A
    column `known_customers` of `metrics` says how many customers a mean or median is over.
    """
    rows = summary.sort("axis", "segment_id").to_dicts()
    before = {(row["axis"], row["segment_id"]): row for row in (previous.to_dicts() if previous is not None else [])}
    measured = _nested(metrics, "metric")
    leading = _drivers(drivers)
    shares = _mix(mix, sensitive_categories)
    told_apart = _told_apart(rows, minimum_cell)
    answered = _answered(engagement)
    measured_in = _newest_campaigns(campaigns)
    shop_before = {axis: sum(_people(row) for (a, _), row in before.items() if a == axis) for axis, _ in before}
    turns: dict[tuple[str, str], int] = {}
    gathered = []
    for row in rows:
        axis, segment_id = row["axis"], row["segment_id"]
        place = (axis, segment_id)
        situation = situations.get(segment_id, "unknown") if axis == "stage" else "taste"
        if segment_id in OUTSIDE:
            # S0 holds everyone when the stage axis was not split; then its group says so.
            situation = situations.get(segment_id, "never_bought") if axis == "stage" else "unknown_taste"
        turn = turns[axis, situation] = turns.get((axis, situation), -1) + 1
        customers = int(row["customers"] or 0)
        is_small = customers < minimum_cell
        peers = [r for r in rows if r["axis"] == axis and r["segment_id"] not in OUTSIDE and (r["customers"] or 0) > 0]
        facts = _size_facts(row, peers, customers)
        own_mix = shares.get(place, {})
        own_drivers = leading.get(place, ())
        categories = tuple(value.name for value in own_mix.get("category", ())) or tuple(
            name
            for driver in own_drivers
            if "=" in driver.feature and driver.strength >= 0.3
            for name in [clean_name(driver.feature.partition("=")[2].replace("_", " "))]
            if name and not name.startswith("(") and not is_sensitive(name, sensitive_categories)
        )
        facts += _name_facts(own_mix, categories, minimum_cell, with_figures=not is_small)
        if not is_small:
            facts += _behaviour_facts(row, measured.get(place, {}), peers)
            if stabilities and (stability := stabilities.get(axis)) is not None and math.isfinite(stability):
                facts.append(("stability", FactKind.SHARE, max(0.0, min(1.0, stability)), {}))
        facts += _offer_facts((offers or {}).get(place), sensitive_categories)
        facts += _change_facts(row, before.get(place), shop_before.get(axis, 0), minimum_cell)
        facts.append(("minimum_cell", FactKind.COUNT, minimum_cell, {}))
        subject = f"{axis} {segment_id}"
        book = FactBook(
            tuple(
                Fact(
                    key,
                    kind,
                    value,
                    subject=subject,
                    **{"customers": customers, **extra, "stays": extra.get("stays", False) or key in told_apart[axis]},
                )
                for key, kind, value, extra in facts
            ),
            currency,
        )
        if not is_small:
            if place in answered:
                groups = [counts for (other, _), counts in answered.items() if other == axis]
                book = book.extended(answer_facts(answered[place], groups, subject, minimum_cell))
            if place in measured_in:
                book = book.extended(effect_facts(measured_in[place], subject, minimum_cell))
        gathered.append(
            SegmentFacts(
                axis=axis,
                segment_id=segment_id,
                name=_name(row["name"], axis, segment_id, categories, sensitive_categories),
                situation=situation,
                customers=customers,
                reachable_customers=int(row["reachable_customers"] or 0),
                revenue_share=_number(row["revenue_share"]),
                book=book,
                drivers=own_drivers,
                categories=categories,
                verdict=(verdicts or {}).get(axis, ""),
                one_feature=(one_features or {}).get(axis, ""),
                is_first_run=previous is None,
                is_small=is_small,
                turn=turn,
                missing=_missing(row, own_mix, categories),
            )
        )
    return gathered


_Loose = tuple[str, FactKind, float | int | str, dict[str, Any]]


def _number(value: object) -> float | None:
    if value is None:
        return None
    number = float(str(value))
    return number if math.isfinite(number) else None


def _people(row: Mapping[str, object], column: str = "customers") -> int:
    return int(str(row[column] or 0))


#: Facts whose values of all segments of an axis add up to the shop's, or give those that do.
_ADDITIVE = frozenset({
    "customers", "customer_share", "customers_change", "reachable", "unreachable", "reachable_share", "revenue",
    "revenue_share", "revenue_lean", "revenue_share_change",
})  # fmt: skip
_REACHABLE = frozenset({"reachable", "unreachable", "reachable_share"})


def _told_apart(rows: Sequence[Mapping[str, object]], minimum_cell: int) -> dict[str, frozenset[str]]:
    """Keys that stay on each axis, for they would tell a small group as the shop's total less the other segments."""
    staying = {}
    for axis in {str(row["axis"]) for row in rows}:
        sizes = [(_people(row), _people(row, "reachable_customers")) for row in rows if row["axis"] == axis]
        if withheld_sizes([size for size, _ in sizes], minimum_cell):
            staying[axis] = _ADDITIVE
        # The other axis tells how many are reachable in all, so this holds for them by themselves too.
        elif withheld_sizes([reachable for _, reachable in sizes], minimum_cell) or withheld_sizes(
            [size - reachable for size, reachable in sizes], minimum_cell
        ):
            staying[axis] = _REACHABLE
        else:
            staying[axis] = frozenset()
    return staying


def _nested(frame: pl.DataFrame, key: str) -> dict[tuple[str, str], dict[str, dict[str, float | None]]]:
    nested: dict[tuple[str, str], dict[str, dict[str, float | None]]] = {}
    for row in frame.to_dicts():
        values = {
            name: _number(row.get(name))
            for name in ("mean", "median", "overall_mean", "overall_median", "known_customers")
        }
        nested.setdefault((row["axis"], row["segment_id"]), {})[row[key]] = values
    return nested


def _answered(frame: pl.DataFrame | None) -> dict[tuple[str, str], dict[str, int]]:
    rows = frame.to_dicts() if frame is not None else []
    return {(row["axis"], row["segment_id"]): {name: _people(row, name) for name in COUNTS} for row in rows}


def _newest_campaigns(frame: pl.DataFrame | None) -> dict[tuple[str, str], dict[str, object]]:
    rows = frame.filter("is_newest").to_dicts() if frame is not None else []
    return {(row["axis"], row["segment_id"]): row for row in rows}


def _drivers(frame: pl.DataFrame) -> dict[tuple[str, str], tuple[Driver, ...]]:
    found: dict[tuple[str, str], list[Driver]] = {}
    for row in frame.sort("axis", "segment_id", "rank").to_dicts() if frame.height else []:
        strength = _number(row["standardised_difference"])
        if strength is not None:
            found.setdefault((row["axis"], row["segment_id"]), []).append(Driver(row["feature"], strength))
    return {place: tuple(drivers) for place, drivers in found.items()}


@dataclass(frozen=True)
class _Value:
    """A category, brand or channel: its share of the segment's lines and of the shop's, and the people behind it.

    `others` is how many customers at least have a line of another value, None when there is no other.
    """

    name: str
    own: float
    overall: float
    customers: int
    others: int | None


_Mix = dict[tuple[str, str], dict[str, list[_Value]]]


def _mix(frame: pl.DataFrame, sensitive_categories: Sequence[str]) -> _Mix:
    """Names, own share and overall share per segment and dimension: what is both frequent and special first."""
    found: _Mix = {}
    if frame.is_empty():
        return found
    place = ["axis", "segment_id", "dimension"]
    # Read before the small values go, for they are other lines too: the most customers that any other value has.
    ranked = frame.with_columns(
        _first=pl.col("customers").max().over(place),
        _second=pl.col("customers").sort(descending=True, nulls_last=True).slice(1, 1).first().over(place),
        _is_first=pl.col("customers").rank("ordinal", descending=True).over(place) == 1,
    ).with_columns(others=pl.when("_is_first").then("_second").otherwise("_first"))
    ordered = (
        ranked.filter((pl.col("line_share") >= 0.03) & (pl.col("value") != "(other)"))
        # Special and frequent at once: the share times the logarithm of how far it is from the shop's own.
        .with_columns(
            weight=pl.when(pl.col("dimension") == "category")
            .then(pl.col("line_share") * (pl.col("line_share") / pl.col("overall_share")).log())
            .otherwise(pl.col("line_share"))
        )
        .sort(
            ["axis", "segment_id", "dimension", "weight", "line_share", "value"],
            descending=[False, False, False, True, True, False],
        )
    )
    for row in ordered.to_dicts():
        name = clean_name(row["value"])
        if not name or is_sensitive(name, sensitive_categories):
            continue
        kept = found.setdefault((row["axis"], row["segment_id"]), {}).setdefault(row["dimension"], [])
        if len(kept) < 3:
            kept.append(
                _Value(name, float(row["line_share"]), float(row["overall_share"]), _people(row), row["others"])
            )
    return found


def _size_facts(row: Mapping[str, object], peers: list[dict[str, object]], customers: int) -> list[_Loose]:
    reachable = _people(row, "reachable_customers")
    unreachable = max(customers - reachable, 0)
    all_of_them, some = {"numerator": customers}, {"numerator": min(reachable, customers)}
    facts: list[_Loose] = [
        ("customers", FactKind.COUNT, customers, all_of_them),
        ("reachable", FactKind.COUNT, reachable, some),
        ("unreachable", FactKind.COUNT, unreachable, {"numerator": unreachable}),
    ]
    if (share := _number(row["customer_share"])) is not None:
        facts.append(("customer_share", FactKind.SHARE, share, all_of_them))
    if customers:
        facts.append(("reachable_share", FactKind.SHARE, reachable / customers, some))
    if len(peers) > 1 and any(peer["segment_id"] == row["segment_id"] for peer in peers):
        larger = sum(int(str(peer["customers"])) > customers for peer in peers)
        facts.append(("size_rank", FactKind.RANK, larger + 1, {"of": len(peers)}))
    return facts


def _name_facts(
    mix: Mapping[str, list[_Value]], categories: tuple[str, ...], minimum_cell: int, *, with_figures: bool
) -> list[_Loose]:
    few_buy = {value.name for value in mix.get("category", ()) if is_few(value.customers, minimum_cell)}
    facts: list[_Loose] = [
        (f"category{place}", FactKind.NAME, name, {"stays": name in few_buy})
        for place, name in enumerate(categories[:3], start=1)
    ]
    for dimension in ("category", "brand", "channel"):
        for place, value in enumerate(mix.get(dimension, ())[:3], start=1):
            is_of_few = is_few(value.customers, minimum_cell)
            if dimension != "category":
                facts.append((f"{dimension}{place}", FactKind.NAME, value.name, {"stays": is_of_few}))
            if with_figures:
                # A share of lines tells of those who have such lines, and of those who have other lines.
                stays = is_of_few or (value.others is not None and is_few(value.others, minimum_cell))
                gap = {"unit": DeltaUnit.POINTS, "stays": stays}
                facts.append((f"{dimension}{place}_share", FactKind.SHARE, value.own, {"stays": stays}))
                facts.append((f"{dimension}{place}_gap", FactKind.DELTA, value.own - value.overall, gap))
    return facts


#: metric -> (key, kind, statistic, unit of the gap to the shop)
_METRICS: dict[str, tuple[str, FactKind, str, DeltaUnit]] = {
    "recency_days": ("recency", FactKind.DAYS, "median", DeltaUnit.DAYS),
    "order_count": ("orders", FactKind.COUNT, "median", DeltaUnit.RELATIVE),
    "monetary_amount": ("spend", FactKind.MONEY, "median", DeltaUnit.RELATIVE),
    "average_order_amount": ("basket", FactKind.MONEY, "mean", DeltaUnit.RELATIVE),
    "tenure_days": ("tenure", FactKind.DAYS, "median", DeltaUnit.DAYS),
    "days_between_orders": ("pause", FactKind.DAYS, "median", DeltaUnit.DAYS),
    "discount_share": ("discount", FactKind.SHARE, "mean", DeltaUnit.POINTS),
    "coupon_order_share": ("coupon", FactKind.SHARE, "mean", DeltaUnit.POINTS),
    "return_share": ("returns", FactKind.SHARE, "mean", DeltaUnit.POINTS),
    "weekend_share": ("weekend", FactKind.SHARE, "mean", DeltaUnit.POINTS),
    "campaign_response_share": ("response", FactKind.SHARE, "mean", DeltaUnit.POINTS),
    "price_level": ("price_level", FactKind.SHARE, "mean", DeltaUnit.RELATIVE),
    "events_last_90_days": ("events", FactKind.COUNT, "mean", DeltaUnit.RELATIVE),
    "spring_share": ("spring", FactKind.SHARE, "mean", DeltaUnit.POINTS),
    "summer_share": ("summer", FactKind.SHARE, "mean", DeltaUnit.POINTS),
    "autumn_share": ("autumn", FactKind.SHARE, "mean", DeltaUnit.POINTS),
    "winter_share": ("winter", FactKind.SHARE, "mean", DeltaUnit.POINTS),
}

#: summary column -> metric, for sources whose metrics are not there
_FROM_SUMMARY = {
    "median_recency_days": "recency_days",
    "median_order_count": "order_count",
    "median_monetary_amount": "monetary_amount",
    "mean_average_order_amount": "average_order_amount",
}


def _behaviour_facts(
    row: Mapping[str, object], metrics: Mapping[str, dict[str, float | None]], peers: list[dict[str, object]]
) -> list[_Loose]:
    facts: list[_Loose] = []
    if (revenue := _number(row["revenue_amount"])) is not None and revenue > 0:
        facts.append(("revenue", FactKind.MONEY, revenue, {}))
        share, customer_share = _number(row["revenue_share"]), _number(row["customer_share"])
        if share is not None:
            facts.append(("revenue_share", FactKind.SHARE, share, {}))
            if customer_share is not None:
                gap = share - customer_share
                facts.append(("revenue_lean", FactKind.DELTA, gap, {"unit": DeltaUnit.POINTS}))
        if len(peers) > 1 and any(peer["segment_id"] == row["segment_id"] for peer in peers):
            richer = sum((_number(peer["revenue_amount"]) or 0) > revenue for peer in peers)
            facts.append(("revenue_rank", FactKind.RANK, richer + 1, {"of": len(peers)}))
    given = {metric: _number(row[column]) for column, metric in _FROM_SUMMARY.items()}
    for metric, (key, kind, statistic, unit) in _METRICS.items():
        values = metrics.get(metric, {})
        # The summary's figure wins: the profile must repeat what the table beside it says.
        own = given.get(metric) if given.get(metric) is not None else values.get(statistic)
        if own is None:
            continue
        known = values.get("known_customers")
        behind: dict[str, Any] = {} if known is None else {"customers": int(known)}
        facts.append((key, kind, own, behind))
        overall = values.get(f"overall_{statistic}")
        if overall is None:
            continue
        facts.append((f"{key}_shop", kind, overall, behind))
        if unit is DeltaUnit.RELATIVE:
            if overall > 1e-6:
                facts.append((f"{key}_gap", FactKind.DELTA, own / overall - 1, {"unit": unit, **behind}))
        else:
            facts.append((f"{key}_gap", FactKind.DELTA, own - overall, {"unit": unit, **behind}))
    return facts


def _offer_facts(offer: Offer | None, sensitive_categories: Sequence[str]) -> list[_Loose]:
    if offer is None:
        return []
    facts: list[_Loose] = [("offer_discount", FactKind.SHARE, offer.discount_share, {})]
    product = clean_name(offer.product)
    if product and not is_sensitive(product, sensitive_categories):
        facts.append(("offer_product", FactKind.NAME, product, {}))
    return facts


def _change_facts(
    row: Mapping[str, object], before: Mapping[str, object] | None, shop_before: int, minimum_cell: int
) -> list[_Loose]:
    if before is None:
        return []
    size_before = _people(before)
    # The size before is the size now less the change.
    stays = is_few(size_before, minimum_cell) or is_few(shop_before - size_before, minimum_cell)
    change = _people(row) - size_before
    facts: list[_Loose] = [("customers_change", FactKind.DELTA, change, {"unit": DeltaUnit.COUNT, "stays": stays})]
    now, then = _number(row["revenue_share"]), _number(before["revenue_share"])
    if now is not None and then is not None:
        facts.append(("revenue_share_change", FactKind.DELTA, now - then, {"unit": DeltaUnit.POINTS, "stays": stays}))
    return facts


def _name(
    given: object, axis: str, segment_id: str, categories: tuple[str, ...], sensitive_categories: Sequence[str]
) -> str:
    """The segment's registered name, so that every table and label agree; a plain one only when it cannot be shown."""
    name = clean_name(str(given)) if given else ""
    if name and not is_sensitive(name, sensitive_categories):
        return name
    return f"{categories[0]} ({segment_id})" if categories else f"{axis.capitalize()} {segment_id}"


def _missing(row: Mapping[str, object], mix: Mapping[str, object], categories: tuple[str, ...]) -> frozenset[str]:
    lacking = set()
    if not (_number(row["revenue_amount"]) or 0) > 0:
        lacking.add("money")
    if row["median_recency_days"] is None:
        lacking.add("recency")
    if not categories and not mix.get("category"):
        lacking.add("categories")
    return frozenset(lacking)
