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

from segmentation_assets.language.facts import MINIMUM_CELL, DeltaUnit, Fact, FactBook, FactKind, clean_name
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
    currency: str = "EUR",
    minimum_cell: int = MINIMUM_CELL,
    sensitive_categories: Sequence[str] = (),
) -> list[SegmentFacts]:
    """One `SegmentFacts` per row of `summary`, sorted by axis and id.

    `summary` segments.segment_summary; `metrics` segments.segment_metrics; `drivers` segments.segment_drivers;
    `mix` profiles.segment_mix (all but `summary` may be empty). `situations`: stage group by stage segment id.
    `verdicts`, `one_features` (only where one feature alone makes the segments) and `stabilities`: by axis, from
    AXIS_choice and AXIS_evidence. `offers`: by (axis, segment_id).
    `previous`: segment_summary of the run before, None at the first. Segments under `minimum_cell` customers get
    facts of their size and the names of their categories only.
    """
    rows = summary.sort("axis", "segment_id").to_dicts()
    before = {(row["axis"], row["segment_id"]): row for row in (previous.to_dicts() if previous is not None else [])}
    measured = _nested(metrics, "metric")
    leading = _drivers(drivers)
    shares = _mix(mix, sensitive_categories)
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
        categories = tuple(name for name, *_ in own_mix.get("category", ())) or tuple(
            name
            for driver in own_drivers
            if "=" in driver.feature and driver.strength >= 0.3
            for name in [clean_name(driver.feature.partition("=")[2].replace("_", " "))]
            if name and not name.startswith("(") and not is_sensitive(name, sensitive_categories)
        )
        facts += _name_facts(own_mix, categories, with_figures=not is_small)
        if not is_small:
            facts += _behaviour_facts(row, measured.get(place, {}), peers)
            if stabilities and (stability := stabilities.get(axis)) is not None and math.isfinite(stability):
                facts.append(("stability", FactKind.SHARE, max(0.0, min(1.0, stability)), {}))
        facts += _offer_facts((offers or {}).get(place), sensitive_categories)
        facts += _change_facts(row, before.get(place))
        facts.append(("minimum_cell", FactKind.COUNT, minimum_cell, {}))
        subject = f"{axis} {segment_id}"
        book = FactBook(
            tuple(
                Fact(key, kind, value, subject=subject, customers=customers, **extra)
                for key, kind, value, extra in facts
            ),
            currency,
        )
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


def _nested(frame: pl.DataFrame, key: str) -> dict[tuple[str, str], dict[str, dict[str, float | None]]]:
    nested: dict[tuple[str, str], dict[str, dict[str, float | None]]] = {}
    for row in frame.to_dicts():
        values = {name: _number(row[name]) for name in ("mean", "median", "overall_mean", "overall_median")}
        nested.setdefault((row["axis"], row["segment_id"]), {})[row[key]] = values
    return nested


def _drivers(frame: pl.DataFrame) -> dict[tuple[str, str], tuple[Driver, ...]]:
    found: dict[tuple[str, str], list[Driver]] = {}
    for row in frame.sort("axis", "segment_id", "rank").to_dicts() if frame.height else []:
        strength = _number(row["standardised_difference"])
        if strength is not None:
            found.setdefault((row["axis"], row["segment_id"]), []).append(Driver(row["feature"], strength))
    return {place: tuple(drivers) for place, drivers in found.items()}


_Mix = dict[tuple[str, str], dict[str, list[tuple[str, float, float]]]]


def _mix(frame: pl.DataFrame, sensitive_categories: Sequence[str]) -> _Mix:
    """Names, own share and overall share per segment and dimension: what is both frequent and special first."""
    found: _Mix = {}
    if frame.is_empty():
        return found
    ordered = (
        frame.filter((pl.col("line_share") >= 0.03) & (pl.col("value") != "(other)"))
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
            kept.append((name, float(row["line_share"]), float(row["overall_share"])))
    return found


def _size_facts(row: Mapping[str, object], peers: list[dict[str, object]], customers: int) -> list[_Loose]:
    reachable = int(str(row["reachable_customers"] or 0))
    facts: list[_Loose] = [
        ("customers", FactKind.COUNT, customers, {}),
        ("reachable", FactKind.COUNT, reachable, {}),
        ("unreachable", FactKind.COUNT, max(customers - reachable, 0), {}),
    ]
    if (share := _number(row["customer_share"])) is not None:
        facts.append(("customer_share", FactKind.SHARE, share, {}))
    if customers:
        facts.append(("reachable_share", FactKind.SHARE, reachable / customers, {}))
    if len(peers) > 1 and any(peer["segment_id"] == row["segment_id"] for peer in peers):
        larger = sum(int(str(peer["customers"])) > customers for peer in peers)
        facts.append(("size_rank", FactKind.RANK, larger + 1, {"of": len(peers)}))
    return facts


def _name_facts(
    mix: Mapping[str, list[tuple[str, float, float]]], categories: tuple[str, ...], *, with_figures: bool
) -> list[_Loose]:
    facts: list[_Loose] = [
        (f"category{place}", FactKind.NAME, name, {}) for place, name in enumerate(categories[:3], start=1)
    ]
    for dimension in ("category", "brand", "channel"):
        for place, (name, own, overall) in enumerate(mix.get(dimension, ())[:3], start=1):
            if dimension != "category":
                facts.append((f"{dimension}{place}", FactKind.NAME, name, {}))
            if with_figures:
                facts.append((f"{dimension}{place}_share", FactKind.SHARE, own, {}))
                facts.append((f"{dimension}{place}_gap", FactKind.DELTA, own - overall, {"unit": DeltaUnit.POINTS}))
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
        facts.append((key, kind, own, {}))
        overall = values.get(f"overall_{statistic}")
        if overall is None:
            continue
        facts.append((f"{key}_shop", kind, overall, {}))
        if unit is DeltaUnit.RELATIVE:
            if overall > 1e-6:
                facts.append((f"{key}_gap", FactKind.DELTA, own / overall - 1, {"unit": unit}))
        else:
            facts.append((f"{key}_gap", FactKind.DELTA, own - overall, {"unit": unit}))
    return facts


def _offer_facts(offer: Offer | None, sensitive_categories: Sequence[str]) -> list[_Loose]:
    if offer is None:
        return []
    facts: list[_Loose] = [("offer_discount", FactKind.SHARE, offer.discount_share, {})]
    product = clean_name(offer.product)
    if product and not is_sensitive(product, sensitive_categories):
        facts.append(("offer_product", FactKind.NAME, product, {}))
    return facts


def _change_facts(row: Mapping[str, object], before: Mapping[str, object] | None) -> list[_Loose]:
    if before is None:
        return []
    change = int(str(row["customers"] or 0)) - int(str(before["customers"] or 0))
    facts: list[_Loose] = [("customers_change", FactKind.DELTA, change, {"unit": DeltaUnit.COUNT})]
    now, then = _number(row["revenue_share"]), _number(before["revenue_share"])
    if now is not None and then is not None:
        facts.append(("revenue_share_change", FactKind.DELTA, now - then, {"unit": DeltaUnit.POINTS}))
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
