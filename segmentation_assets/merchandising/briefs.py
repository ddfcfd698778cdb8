"""The few campaigns a person can decide on: the offer plan gathered by audience.

What belongs here: choosing audiences and their one to six products, the offer, its dates, what can be expected and
shown, and what the control group costs. What does not: who is offered what (`offer_plan`), copy and layout
(`messaging`), approval and sending.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segmentation_assets.language.facts import clean_name
from segmentation_assets.language.rendering import count, day, share
from segmentation_assets.measurement.power import smallest_detectable_effect
from segmentation_assets.merchandising.plan import (
    RATE_DAYS,
    UNKNOWN_TASTE,
    CampaignSpec,
    empty_table,
    table_schema,
)
from segmentation_assets.merchandising.promotable import spare_stock

Floats: TypeAlias = NDArray[np.float64]

_TABLE = "campaigns/briefs"
_AUDIENCE = ["taste_segment_id", "stage_group"]
_Z90 = 1.6448536269514722  # two-sided 90%
#: A product under this part of the best one's margin would only make the e-mail longer.
_LEAST_OF_BEST = 0.25

#: Objective and the first words of the campaign's name, by stage group.
OBJECTIVES: dict[str, tuple[str, str]] = {
    "loyal": ("Thank loyal customers with early access at full price, and keep their margin.", "Early access"),
    "active": ("Bring the next order forward while the habit is alive.", "Next order"),
    "new": ("Win the second order, which makes a buyer a customer.", "Second order"),
    "lapsing": ("Win back customers who are overdue, before the habit is lost.", "Win back"),
    "lapsed": ("Give customers who left long ago a strong reason to try again.", "Come back"),
    "never_bought": ("Win the first order from people who signed up and have not bought.", "First order"),
    "unknown": ("Learn what this audience answers to.", "Try"),
}
#: The same for loyal customers where somebody chose to give them a discount.
_LOYAL_AT_A_DISCOUNT = ("Thank loyal customers with an offer of their own.", "Thank you")


def _spoken(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def build_briefs(
    plan: pl.DataFrame,
    matches: pl.DataFrame,
    promotable: pl.DataFrame,
    members: pl.DataFrame,
    groups: pl.DataFrame,
    *,
    taste_names: Mapping[str, str],
    spec: CampaignSpec,
    as_of: date,
) -> pl.DataFrame:
    """`campaigns.briefs`: at most `spec.max_briefs` campaigns, the best of each stage group before a second of any.

    `plan` is campaigns.offer_plan, `matches` campaigns.product_segment_matches, `promotable`
    campaigns.promotable_products, `members` campaigns.audience_members, `groups` the result of `stage_groups`;
    `taste_names` maps taste_segment_id to its name.

    The planned products of a taste and stage group with the highest expected margin, at most
    `spec.offers_per_customer` of them, are divided into briefs: age-restricted products stand in briefs of their own,
    for known adults only, and so do products at another discount. A customer is of one taste and stage group, so all
    briefs together never offer anybody more. Within a brief each product brings at least a quarter of the best one's
    margin, and there are at most `spec.products_per_brief`.

    The audience of a brief are the members with the lowest `activity_floor` of its products or more; it needs
    `spec.minimum_cell` reachable ones. An e-mail shows all its products to all of them, so a product is left out
    where what they all are expected to buy would exceed its spare stock, all briefs together.

    Buyers and margin are those of the plan: of the customers for whom a product is among the best, so they err on the
    side of caution. The interval scales each match's predictive variance to the planned part (the Poisson part with
    the expected buyers, the rest with their square, as in a negative binomial) and adds the products up as if they
    were independent. Empty without a plan.
    """
    if plan.is_empty() or spec.max_briefs == 0:
        return empty_table(_TABLE)
    offered = _offered(plan, matches, promotable)
    activity = _activity(members, offered.select(_AUDIENCE).unique().sort(_AUDIENCE))
    stage_names = dict(zip(groups["stage_segment_id"], groups["name"], strict=True))
    spare = dict(promotable.select("product_id", spare_stock()).drop_nulls().iter_rows())
    drafts: list[_Draft] = []
    for key, part in offered.group_by(_AUDIENCE, maintain_order=True):
        drafts += _drafts(part, activity[(str(key[0]), str(key[1]))], spare, spec)
    # Each brief held alone; now they share the stock, the first of them first.
    left, kept = dict(spare), list[_Draft]()
    for draft in _in_turns(drafts):
        held = _within_stock(draft, left, spec)
        if len(kept) < spec.max_briefs and held is not None and _is_worth_it(held, spec):
            for product, wanted in zip(held.products["product_id"], held.demand(spec), strict=True):
                if product in left:
                    left[product] -= wanted
            kept.append(held)
    rows = [_row(draft, (taste_names, stage_names), spec, as_of) for draft in kept]
    return pl.DataFrame(rows, schema=table_schema(_TABLE)).sort(
        "expected_margin_amount", "brief_id", descending=[True, False]
    )


def _offered(plan: pl.DataFrame, matches: pl.DataFrame, promotable: pl.DataFrame) -> pl.DataFrame:
    """One row per planned product and audience, the best of each audience first, with its match and its margin."""
    planned = plan.group_by("product_id", *_AUDIENCE).agg(
        pl.col("expected_buyers").sum().round(9).alias("buyers"),
        pl.col("expected_margin_amount").cast(pl.Float64).sum().round(4).alias("margin_amount"),
    )
    return (
        planned.join(
            matches.select(
                "product_id", *_AUDIENCE, "stage_segment_ids", "activity_floor", "discount_share", "score",
                "expected_buyers", "low", "high",
            ),
            on=["product_id", *_AUDIENCE],
        )
        .join(
            promotable.filter(pl.col("is_promotable") & ~pl.col("is_sensitive")).select(
                "product_id", "name", "is_age_restricted", pl.col("list_price", "unit_cost").cast(pl.Float64)
            ),
            on="product_id",
        )
        .with_columns(unit_margin=pl.col("list_price") * (1 - pl.col("discount_share")) - pl.col("unit_cost"))
        .filter(pl.col("margin_amount") > 0)
        .sort(*_AUDIENCE, "margin_amount", "product_id", descending=[False, False, True, False])
    )  # fmt: skip


@dataclass(frozen=True)
class _People:
    """Activity of an audience, rising: of all its members and of those who can be reached, and the sum from each on."""

    everyone: Floats
    reachable: Floats
    everyone_sums: Floats
    reachable_sums: Floats

    @classmethod
    def of(cls, part: pl.DataFrame) -> _People:
        everyone = np.sort(part["expected_products"].to_numpy())
        reachable = np.sort(part.filter("is_reachable")["expected_products"].to_numpy())

        def sums(values: Floats) -> Floats:
            return np.concatenate([np.cumsum(values[::-1])[::-1], [0.0]])

        return cls(everyone, reachable, sums(everyone), sums(reachable))

    def counts(self, floor: float) -> tuple[int, int]:
        """Members, and reachable members, with at least this activity."""
        return (
            len(self.everyone) - int(np.searchsorted(self.everyone, floor)),
            len(self.reachable) - int(np.searchsorted(self.reachable, floor)),
        )

    def mean(self, floor: float) -> float:
        """Mean activity of the members at or above the floor; 0 without any."""
        size = self.counts(floor)[0]
        return float(self.everyone_sums[len(self.everyone) - size]) / size if size else 0.0

    def reached(self, floor: float) -> float:
        """Activity of the reachable members at or above the floor, summed."""
        return float(self.reachable_sums[int(np.searchsorted(self.reachable, floor))])


def _activity(members: pl.DataFrame, audiences: pl.DataFrame) -> dict[tuple[str, str], tuple[_People, _People]]:
    """By taste and stage group: everyone, and the known adults."""
    wanted = members.select(
        *_AUDIENCE, "is_adult", "is_reachable", pl.col("expected_products").cast(pl.Float64)
    ).join(audiences, on=_AUDIENCE, how="semi")  # fmt: skip
    parts = {(str(t), str(g)): part for (t, g), part in wanted.group_by(_AUDIENCE)}
    nobody = wanted.clear()
    return {
        (taste, group): (
            _People.of(parts.get((taste, group), nobody)),
            _People.of(parts.get((taste, group), nobody).filter("is_adult")),
        )
        for taste, group in audiences.iter_rows()
    }


@dataclass(frozen=True)
class _Draft:
    """A brief in the making: its products, the best first, all of one discount and one rule of age."""

    products: pl.DataFrame
    people: _People

    @property
    def group(self) -> str:
        return str(self.products["stage_group"][0])

    @property
    def discount(self) -> float:
        return float(self.products["discount_share"][0])

    @property
    def is_adults_only(self) -> bool:
        return bool(self.products["is_age_restricted"][0])

    @property
    def floor(self) -> float:
        return float(self.products["activity_floor"].min())  # type: ignore[arg-type]  # a column of floats

    @property
    def margin_amount(self) -> float:
        return round(float(self.products["margin_amount"].sum()), 4)

    @property
    def reachable(self) -> int:
        return self.people.counts(self.floor)[1]

    @property
    def key(self) -> tuple[str, str, bool, float]:
        return (str(self.products["taste_segment_id"][0]), self.group, self.is_adults_only, self.discount)

    def demand(self, spec: CampaignSpec) -> list[float]:
        """Units of each product that the whole audience is expected to buy while the offer runs."""
        bought = self.people.reached(self.floor) * spec.valid_days / RATE_DAYS
        return [
            score / mean * bought if (mean := self.people.mean(floor)) > 0 else 0.0
            for score, floor in self.products.select("score", "activity_floor").iter_rows()
        ]


def _drafts(
    part: pl.DataFrame, people: tuple[_People, _People], spare: Mapping[str, float], spec: CampaignSpec
) -> list[_Draft]:
    """The briefs of one taste and stage group, each within stock by itself and worth sending."""
    found = []
    # Whom a product alone would be bought out by, a brief with more of it would too: it takes nobody's place.
    holds = [
        _within_stock(_Draft(part[place : place + 1], people[int(is_restricted)]), spare, spec) is not None
        for place, is_restricted in enumerate(part["is_age_restricted"])
    ]
    best = part.filter(pl.Series(holds, dtype=pl.Boolean)).head(spec.offers_per_customer)
    for (is_restricted, _), own in best.group_by("is_age_restricted", "discount_share", maintain_order=True):
        margins = own["margin_amount"]
        strong = own.filter(margins >= _LEAST_OF_BEST * margins[0]).head(spec.products_per_brief)
        draft = _within_stock(_Draft(strong, people[1] if is_restricted else people[0]), spare, spec)
        if draft is not None and _is_worth_it(draft, spec):
            found.append(draft)
    return found


def _is_worth_it(draft: _Draft, spec: CampaignSpec) -> bool:
    return draft.reachable >= max(spec.minimum_cell, 1) and draft.margin_amount > 0


def _within_stock(draft: _Draft, spare: Mapping[str, float], spec: CampaignSpec) -> _Draft | None:
    """The brief with those of its products that its audience cannot be expected to buy out; None without any.

    Leaving a product out can only raise the floor and so lower the demand for the others.
    """
    holds = [
        product not in spare or wanted <= spare[product]
        for product, wanted in zip(draft.products["product_id"], draft.demand(spec), strict=True)
    ]
    return replace(draft, products=draft.products.filter(pl.Series(holds))) if any(holds) else None


def _in_turns(drafts: list[_Draft]) -> list[_Draft]:
    """The best of each stage group before a second of any, then by margin; ties by the brief's key."""
    by_margin = sorted(drafts, key=lambda draft: (-draft.margin_amount, draft.key))
    turns: dict[str, int] = {}
    ranked = []
    for draft in by_margin:
        turns[draft.group] = turns.get(draft.group, -1) + 1
        ranked.append((turns[draft.group], draft))
    return [draft for _, draft in sorted(ranked, key=lambda item: item[0])]


def _spread(products: pl.DataFrame) -> float:
    """Half the width of the 90% interval of the margin."""
    expected, planned = products["expected_buyers"].to_numpy(), products["buyers"].to_numpy()
    variance = ((products["high"] - products["low"]).to_numpy() / (2 * _Z90)) ** 2
    part = np.divide(planned, expected, out=np.ones_like(planned), where=expected > 0)
    # Never under the Poisson variance: an interval of whole buyers can have no width where few are expected.
    beyond = np.maximum(variance - expected, 0.0)
    deviation = np.sqrt(planned + part**2 * beyond) * products["unit_margin"].to_numpy()
    return _Z90 * float(np.sqrt(np.sum(deviation**2)))


def _row(
    draft: _Draft, names: tuple[Mapping[str, str], Mapping[str, str]], spec: CampaignSpec, as_of: date
) -> dict[str, object]:
    products, group, discount = draft.products, draft.group, draft.discount
    taste_id, stage_ids = products["taste_segment_id"][0], products["stage_segment_ids"][0]
    taste_names, stage_names = names
    taste = clean_name(taste_names.get(taste_id)) or taste_id
    stages = _spoken([clean_name(stage_names.get(stage)) or stage for stage in stage_ids.split(",")])
    valid_until = as_of + timedelta(days=spec.valid_days)
    buyers, expected, spread = float(products["buyers"].sum()), draft.margin_amount, _spread(products)
    audience, reachable = draft.people.counts(draft.floor)
    who = "known adults" if draft.is_adults_only else "customers"
    taste_words = "whose taste is not known yet" if taste_id == UNKNOWN_TASTE else f"with the taste {taste}"
    listed = _spoken(products["name"].to_list())
    until = day(valid_until)
    offer = (
        f"{share(discount)} off {listed} until {until}."
        if discount > 0
        else f"Early access to {listed} at the usual price until {until}."
        if group == "loyal"
        else f"{listed} at the usual price until {until}."
    )
    objective, words = _LOYAL_AT_A_DISCOUNT if group == "loyal" and discount > 0 else OBJECTIVES[group]
    # The plan's own discount goes without saying; one that was chosen makes a brief of its own.
    is_own = abs(discount - spec.discount(group)) < 1e-9
    percent = f"{100 * discount:.6g}"
    of_price = "" if is_own else f"-at-{percent.replace('.', '_')}-off"
    price_words = "" if is_own else f" at {percent}% off"
    adults = "-adults" if draft.is_adults_only else ""
    most = " who are expected to buy most" if audience < len(draft.people.everyone) else ""
    taste_part = "" if taste_id == UNKNOWN_TASTE else f" · {taste}"
    return {
        "brief_id": f"{as_of:%Y%m%d}-{taste_id}-{group.replace('_', '-')}{of_price}{adults}",
        "name": f"{words}{taste_part}{price_words}{' (adults)' if draft.is_adults_only else ''}",
        "objective": objective,
        "audience": f"{count(reachable)} reachable of {count(audience)} {who} in {stages} {taste_words}{most}.",
        "taste_segment_id": taste_id,
        "stage_segment_ids": stage_ids,
        "activity_floor": draft.floor,
        "product_ids": ",".join(products["product_id"].to_list()),
        "offer": offer,
        "discount_share": discount,
        "starts_on": as_of + timedelta(days=1),
        "valid_until": valid_until,
        "audience_customers": audience,
        "reachable_customers": reachable,
        "expected_buyers": round(buyers, 6),
        "expected_margin_amount": expected,
        "low_margin_amount": round(max(expected - spread, 0.0), 4),
        "high_margin_amount": round(expected + spread, 4),
        "control_customers": round(spec.control_share * reachable),
        "control_cost_amount": round(expected * spec.control_share, 4),
        "smallest_detectable_effect": smallest_detectable_effect(
            reachable, min(buyers / max(reachable, 1), 1.0), spec.control_share
        ),
    }
