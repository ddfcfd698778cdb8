"""The few campaigns a person can decide on: the best matches gathered by audience.

What belongs here: choosing audiences and their one to six products, the offer, its dates, and what can be expected
and shown. What does not: copy and layout (`messaging`), approval and sending.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from segmentation_assets.language.facts import clean_name
from segmentation_assets.language.rendering import count, day, share
from segmentation_assets.merchandising.plan import CampaignSpec, empty_table, table_schema
from segmentation_assets.merchandising.power import smallest_detectable_effect

_TABLE = "campaigns/briefs"
_Z90 = 1.6448536269514722  # two-sided 90%

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


def _spoken(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def build_briefs(
    matches: pl.DataFrame,
    promotable: pl.DataFrame,
    groups: pl.DataFrame,
    taste_names: dict[str, str],
    *,
    spec: CampaignSpec,
    as_of: date,
) -> pl.DataFrame:
    """`campaigns.briefs`: at most `spec.max_briefs` campaigns, the best of each stage group before a second of any.

    `matches` is campaigns.product_segment_matches, `promotable` campaigns.promotable_products, `groups` the result
    of `stage_groups`; `taste_names` maps taste_segment_id to its name. An audience needs `spec.minimum_cell`
    reachable customers. Products of a brief are those with the highest expected margin, each at least a quarter of
    the best one's; age-restricted products stand in briefs of their own, for known adults only. The interval of the
    margin adds the buyers' predictive variances over products, as if they were independent. Empty without matches.
    """
    if matches.is_empty() or spec.max_briefs == 0:
        return empty_table(_TABLE)
    group_of = _group_of_stage_ids(groups)
    named = (
        matches.join(
            promotable.select(
                "product_id", "name", "is_age_restricted", pl.col("list_price").cast(pl.Float64),
                pl.col("unit_cost").cast(pl.Float64),
            ),
            on="product_id",
        )
        .with_columns(
            pl.col("stage_segment_ids").replace_strict(group_of, default="unknown").alias("stage_group"),
            pl.col("expected_margin_amount").cast(pl.Float64),
        )
        .filter((pl.col("reachable_customers") >= spec.minimum_cell) & (pl.col("expected_margin_amount") > 0))
    )  # fmt: skip
    stage_names = dict(zip(groups["stage_segment_id"], groups["name"], strict=True))
    plans = [
        _plan(
            part, group=str(group), is_adult_only=bool(adult), names=(taste_names, stage_names), spec=spec, as_of=as_of
        )
        for (_, group, adult), part in sorted(
            named.group_by("taste_segment_id", "stage_group", "is_age_restricted", maintain_order=True),
            key=lambda item: tuple(map(str, item[0])),
        )
    ]
    if not plans:
        return empty_table(_TABLE)
    frame = pl.DataFrame(plans, schema={**table_schema(_TABLE), "stage_group": pl.String()})
    order = ["expected_margin_amount", "brief_id"]
    return (
        frame.sort(order, descending=[True, False])
        .with_columns(turn=pl.int_range(pl.len()).over("stage_group"))
        .sort("turn", *order, descending=[False, True, False])
        .head(spec.max_briefs)
        .sort(order, descending=[True, False])
        .select(*table_schema(_TABLE))
    )


def _group_of_stage_ids(groups: pl.DataFrame) -> dict[str, str]:
    """The stage group of each comma list of stage segments that an audience can have."""
    # An audience lists those stages of its group that its taste really has, so any sublist of a group can occur.
    found: dict[str, str] = {}
    for group, part in groups.sort("stage_segment_id").group_by("stage_group", maintain_order=True):
        ids = part["stage_segment_id"].to_list()
        for chosen in range(1, 2 ** len(ids)):
            found[",".join(name for place, name in enumerate(ids) if chosen >> place & 1)] = str(group[0])
    return found


def _plan(
    part: pl.DataFrame,
    *,
    group: str,
    is_adult_only: bool,
    names: tuple[dict[str, str], dict[str, str]],
    spec: CampaignSpec,
    as_of: date,
) -> dict[str, object]:
    ranked = part.sort(["expected_margin_amount", "product_id"], descending=[True, False])
    best = ranked["expected_margin_amount"][0]
    chosen = ranked.filter(pl.col("expected_margin_amount") >= 0.25 * best).head(spec.products_per_brief)
    taste_id, stage_ids = chosen["taste_segment_id"][0], chosen["stage_segment_ids"][0]
    taste_names, stage_names = names
    taste = clean_name(taste_names.get(taste_id)) or taste_id
    stages = _spoken([clean_name(stage_names.get(stage)) or stage for stage in stage_ids.split(",")])
    discount = spec.discount(group)
    valid_until = as_of + timedelta(days=spec.valid_days)
    buyers = float(chosen["expected_buyers"].sum())
    margin = (chosen["list_price"] * (1 - discount) - chosen["unit_cost"]).to_numpy()
    # The predictive deviation of each product's buyers from its 90% interval, in units of margin.
    deviation = (chosen["high"] - chosen["low"]).to_numpy() / (2 * _Z90) * margin
    spread = _Z90 * float(np.sqrt(np.sum(deviation**2)))
    expected = float(chosen["expected_margin_amount"].sum())
    audience, reachable = int(chosen["audience_customers"][0]), int(chosen["reachable_customers"][0])
    who = "known adults" if is_adult_only else "customers"
    taste_words = "whose taste is not known yet" if taste_id == "T0" else f"with the taste {taste}"
    products = _spoken(chosen["name"].to_list())
    until = day(valid_until)
    offer = (
        f"{share(discount)} off {products} until {until}."
        if discount > 0
        else f"Early access to {products} at the usual price until {until}."
        if group == "loyal"
        else f"{products} at the usual price until {until}."
    )
    objective, words = OBJECTIVES[group]
    adults = "-adults" if is_adult_only else ""
    return {
        "brief_id": f"{as_of:%Y%m%d}-{taste_id}-{group.replace('_', '-')}{adults}",
        "name": f"{words}{'' if taste_id == 'T0' else f' · {taste}'}{' (adults)' if is_adult_only else ''}",
        "objective": objective,
        "audience": f"{count(reachable)} reachable of {count(audience)} {who} in {stages} {taste_words}.",
        "taste_segment_id": taste_id,
        "stage_segment_ids": stage_ids,
        "product_ids": ",".join(chosen["product_id"].to_list()),
        "offer": offer,
        "discount_share": discount,
        "starts_on": as_of + timedelta(days=1),
        "valid_until": valid_until,
        "audience_customers": audience,
        "reachable_customers": reachable,
        "expected_buyers": round(buyers, 6),
        "expected_margin_amount": round(expected, 4),
        "low_margin_amount": round(max(expected - spread, 0.0), 4),
        "high_margin_amount": round(expected + spread, 4),
        "smallest_detectable_effect": smallest_detectable_effect(
            reachable, min(buyers / max(reachable, 1), 1.0), spec.control_share
        ),
        "stage_group": group,
    }
