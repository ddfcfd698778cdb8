"""The offer plan: the best offers under the cap and the stock, beside what an exact solver finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from segmentation_assets.merchandising.offer_plan import OfferPlan, most_offers, plan_offers
from segmentation_assets.merchandising.plan import TABLE_TYPES, CampaignSpec, table_schema
from segmentation_assets_tests.merchandising.campaign_frames import CELL, catalogue, match, matched, members_of

SPEC = CampaignSpec(offers_per_customer=2, valid_days=90)


def intervals(plan: OfferPlan) -> list[tuple[str, bool, int, int]]:
    return plan.frame.select("product_id", "is_adult", "from_rank", "to_rank").rows()


def some(number: int, *, taste: str = "T1", is_adult: bool = True, is_reachable: bool = True) -> list[Any]:
    """Members of the active stage with falling activity: 1, 1/2, 1/3..."""
    return [(taste, "active", is_adult, is_reachable, 1 / (place + 1)) for place in range(number)]


def test_each_customer_gets_the_best_of_the_offers_open_to_him() -> None:
    people = members_of(*some(10))
    rows = [
        match("P0", 0.3, people, activity_floor=0.5),  # the two most active alone
        match("P1", 0.2, people),
        match("P2", 0.1, people),
    ]
    plan = plan_offers(matched(*rows), people, catalogue({}, {}, {}), spec=SPEC)
    assert intervals(plan) == [("P0", True, 0, 2), ("P1", True, 0, 10), ("P2", True, 2, 10)]
    assert plan.frame.columns == list(TABLE_TYPES["campaigns/offer_plan"])
    assert plan.frame["customers"].to_list() == [2, 10, 8]
    # Everyone's activity times theta times a margin of 10, over 90 of 90 days.
    activity = np.array([1 / (place + 1) for place in range(10)])
    expected = 10 * (0.3 * activity[:2].sum() + 0.2 * activity.sum() + 0.1 * activity[2:].sum())
    assert plan.margin_amount == pytest.approx(expected, abs=1e-4)
    assert plan.frame["expected_buyers"].to_list()[0] == pytest.approx(0.3 * activity[:2].sum())
    assert plan.gap_share == 0 and plan.bound_amount == plan.margin_amount


def test_the_margin_after_the_discount_decides_and_not_the_rate() -> None:
    people = members_of(*some(4))
    rows = [match("P0", 0.3, people, discount_share=0.2), match("P1", 0.2, people)]
    plan = plan_offers(
        matched(*rows), people, catalogue({}, {}), spec=CampaignSpec(offers_per_customer=1, valid_days=90)
    )
    assert plan.frame["product_id"].to_list() == ["P1"]  # 0.2 * 10 is more than 0.3 * 4


def test_only_the_days_of_the_offer_count() -> None:
    people = members_of(*some(4))
    whole, half = (
        plan_offers(
            matched(match("P0", 0.3, people)), people, catalogue({}),
            spec=CampaignSpec(valid_days=days),
        ).margin_amount
        for days in (90, 45)
    )  # fmt: skip
    assert half == pytest.approx(whole / 2, abs=1e-4)


def test_who_cannot_be_reached_counts_in_the_rate_and_is_offered_nothing() -> None:
    people = members_of(*some(5), *some(95, is_reachable=False))
    plan = plan_offers(matched(match("P0", 0.3, people)), people, catalogue({}), spec=SPEC)
    assert intervals(plan) == [("P0", True, 0, 5)]
    assert plan.frame["expected_buyers"][0] == pytest.approx(0.3 * sum(1 / (i + 1) for i in range(5)))


def test_age_restricted_products_go_to_known_adults_alone() -> None:
    people = members_of(*some(6), *some(4, is_adult=False))
    rows = [match("P0", 0.3, people, is_adults_only=True), match("P1", 0.1, people)]
    plan = plan_offers(matched(*rows), people, catalogue({"is_age_restricted": True}, {}), spec=SPEC)
    assert intervals(plan) == [("P0", True, 0, 6), ("P1", False, 0, 4), ("P1", True, 0, 6)]


def test_stock_ends_an_offer_at_the_most_active_whoever_is_a_known_adult() -> None:
    people = members_of(*some(50), *some(50, is_adult=False))
    stock = catalogue({"stock_quantity": 6.0})  # one unit above the safety level
    plan = plan_offers(matched(match("P0", 0.3, people)), people, stock, spec=SPEC)
    # 0.3 * 2 * (1 + 1/2) units are 0.9; a third step of 0.2 does not fit.
    assert intervals(plan) == [("P0", False, 0, 2), ("P0", True, 0, 2)]
    assert plan.frame["expected_buyers"].sum() == pytest.approx(0.9)
    assert 0 < plan.gap_share < 0.11  # what is left of the unit, and no more


def test_of_equally_active_customers_each_side_gets_its_share_of_a_scarce_product() -> None:
    people = members_of(
        *[("T1", "active", True, True, 1.0)] * 60, *[("T1", "active", False, True, 1.0)] * 30
    )  # fmt: skip
    stock = catalogue({"stock_quantity": 8.05})
    plan = plan_offers(matched(match("P0", 0.1, people)), people, stock, spec=SPEC)
    assert intervals(plan) == [("P0", False, 0, 10), ("P0", True, 0, 20)]


def test_who_lost_a_scarce_product_gets_the_next_best_one() -> None:
    people = members_of(*some(10))
    rows = [match("P0", 0.3, people), match("P1", 0.1, people)]
    one = CampaignSpec(offers_per_customer=1, valid_days=90)
    plan = plan_offers(matched(*rows), people, catalogue({"stock_quantity": 5.5}, {}), spec=one)
    assert intervals(plan) == [("P0", True, 0, 2), ("P1", True, 2, 10)]


@pytest.mark.parametrize(
    "change",
    [
        {"is_promotable": False}, {"is_sensitive": True}, {"stock_quantity": 5.0}, {"stock_quantity": -3.0},
        {"unit_cost": 30.0}, {"unit_cost": 28.0}, {"unit_cost": None},
    ],
)  # fmt: skip
def test_what_may_not_be_offered_is_in_no_plan_even_if_it_was_matched(change: dict[str, Any]) -> None:
    people = members_of(*some(10))
    plan = plan_offers(matched(match("P0", 0.3, people)), people, catalogue(change), spec=SPEC)
    assert plan.frame.is_empty() and plan.frame.columns == list(TABLE_TYPES["campaigns/offer_plan"])
    assert (plan.margin_amount, plan.bound_amount, plan.gap_share) == (0.0, 0.0, 0.0)


def test_a_product_below_its_floor_at_the_discount_of_the_match_is_not_offered() -> None:
    people = members_of(*some(10))
    thin = matched(match("P0", 0.3, people, discount_share=0.3), match("P1", 0.3, people, discount_share=0.2))
    plan = plan_offers(thin, people, catalogue({}, {}), spec=SPEC)
    assert plan.frame["product_id"].to_list() == ["P1"]


def test_nothing_matched_nobody_reachable_or_nobody_active_is_an_empty_plan() -> None:
    people = members_of(*some(10))
    row = matched(match("P0", 0.3, people))
    far = matched(match("P0", 0.3, people) | {"activity_floor": 2.0})
    unreachable = members_of(*some(10, is_reachable=False))
    idle = members_of(*[("T1", "active", True, True, 0.0)] * 5)
    for matches, members in (
        (matched(), people),
        (row, people.clear()),
        (row, unreachable),
        (far, people),
        (row, idle),
    ):
        assert plan_offers(matches, members, catalogue({}), spec=SPEC).frame.is_empty()


@pytest.mark.parametrize(
    "change",
    [
        pl.col("activity_rank").reverse().alias("activity_rank"),
        (pl.col("activity_rank") + 1).alias("activity_rank"),
        (pl.col("activity_rank") > 0).alias("is_reachable"),
    ],
)
def test_members_out_of_order_are_refused(change: pl.Expr) -> None:
    people = members_of(*some(3))
    with pytest.raises(ValueError, match=r"in taste T1, stage group active, is_adult true, activity_rank [0-9] is out"):
        plan_offers(matched(match("P0", 0.3, people)), people.with_columns(change), catalogue({}), spec=SPEC)


def test_the_most_offers_of_any_customer_are_counted() -> None:
    rows = [("P0", True, 0, 5), ("P1", True, 5, 9), ("P2", True, 4, 6), ("P3", False, 4, 5)]
    frame = pl.DataFrame(
        [(product, "T1", "active", "S1", *rest, 0, 0.0, 0.0, 6) for product, *rest in rows],
        schema=table_schema("campaigns/offer_plan"), orient="row",
    )  # fmt: skip
    assert most_offers(frame) == 2
    assert most_offers(pl.concat([frame, frame])) == 4
    assert most_offers(frame.clear()) == 0


# --- beside an exact solver ------------------------------------------------------------------------------------------

_PERSON = st.tuples(
    st.sampled_from(["T1", "T2"]), st.just("active"), st.booleans(), st.booleans(),
    st.sampled_from([0.1, 0.25, 0.5, 0.5, 1.0, 2.0]),
)  # fmt: skip
_PRODUCT = st.fixed_dictionaries(
    {
        "is_age_restricted": st.booleans(), "stock_quantity": st.sampled_from([None, 5.3, 6.0, 7.5, 50.0]),
        "unit_cost": st.sampled_from([5.0, 15.0, 22.0, 25.0, 31.0]),
    }
)  # fmt: skip
_MATCH = st.tuples(
    st.integers(0, 3), st.sampled_from(["T1", "T2"]), st.sampled_from([0.1, 0.2, 0.5, 0.9]),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from([0.0, 0.1, 0.2]),
)  # fmt: skip


def _case(people: Sequence[Any], products: Sequence[Any], links: Sequence[Any]) -> tuple[pl.DataFrame, ...]:
    members, promotable = members_of(*people), catalogue(*products)
    rows = [
        match(
            f"P{product}", theta, members, taste_segment_id=taste, activity_floor=floor, discount_share=discount,
            is_adults_only=bool(products[product]["is_age_restricted"]),
        )
        for product, taste, theta, floor, discount in links
    ]  # fmt: skip
    return matched(*rows), members, promotable


def _pairs(matches: pl.DataFrame, members: pl.DataFrame, promotable: pl.DataFrame) -> pl.DataFrame:
    """Every offer that may be made to a customer, with its units and its margin, worked out one by one."""
    price = pl.col("list_price") * (1 - pl.col("discount_share"))
    audience = matches.join(promotable.drop("discount_share"), on="product_id").join(
        members, on=["taste_segment_id", "stage_group"]
    )
    audience = audience.filter(
        (pl.col("expected_products") >= pl.col("activity_floor")) & (pl.col("is_adult") | ~pl.col("is_age_restricted"))
    )
    mean = pl.col("expected_products").mean().over("product_id", "taste_segment_id")
    return (
        audience.with_columns(
            units=pl.col("score") / mean * pl.col("expected_products"), margin=price - pl.col("unit_cost"), price=price
        )
        .filter(
            "is_reachable",
            pl.col("margin") > 0,
            pl.col("margin") >= pl.col("margin_floor_share") * pl.col("price") - 1e-9,
        )
        .with_columns(value=pl.col("units") * pl.col("margin"))
        .sort("customer_id", "product_id")
    )


def _best(pairs: pl.DataFrame, cap: int) -> float:
    """The highest margin there is, by mixed-integer programming."""
    if pairs.is_empty():
        return 0.0
    limits = []
    for part in pairs.with_row_index("place").partition_by("customer_id"):
        row = np.zeros(pairs.height)
        row[part["place"]] = 1
        limits.append(LinearConstraint(row, ub=cap))
    for part in pairs.with_row_index("place").partition_by("product_id"):
        if part["stock_quantity"][0] is not None:
            row = np.zeros(pairs.height)
            row[part["place"]] = part["units"]
            limits.append(LinearConstraint(row, ub=part["stock_quantity"][0] - part["safety_stock"][0]))
    found = milp(-pairs["value"].to_numpy(), constraints=limits, integrality=1, bounds=Bounds(0, 1))
    assert found.success
    return -float(found.fun)


def _offers(plan: OfferPlan, members: pl.DataFrame) -> pl.DataFrame:
    """The plan, customer by customer."""
    return members.join(plan.frame.drop("stage_segment_ids"), on=CELL).filter(
        pl.col("activity_rank").is_between("from_rank", pl.col("to_rank") - 1)
    )


@settings(max_examples=60, deadline=None)
@given(
    people=st.lists(_PERSON, min_size=1, max_size=12),
    products=st.lists(_PRODUCT, min_size=4, max_size=4),
    links=st.lists(_MATCH, min_size=1, max_size=8, unique_by=lambda link: link[:2]),
    cap=st.integers(1, 3),
)
def test_no_plan_is_better_than_the_bound_and_none_where_stock_does_not_bind(
    people: list[Any], products: list[Any], links: list[Any], cap: int
) -> None:
    matches, members, promotable = _case(people, products, links)
    spec = CampaignSpec(offers_per_customer=cap, valid_days=90)
    plan = plan_offers(matches, members, promotable, spec=spec)
    pairs = _pairs(matches, members, promotable)
    best = _best(pairs, cap)
    assert plan.margin_amount <= best + 1e-3 and best <= plan.bound_amount + 1e-3
    assert most_offers(plan.frame) <= cap and (plan.frame["offers_limit"] == cap).all()
    unlimited = promotable.with_columns(pl.lit(None, dtype=pl.Float64()).alias("stock_quantity"))
    free = plan_offers(matches, members, unlimited, spec=spec)
    assert free.margin_amount == pytest.approx(_best(_pairs(matches, members, unlimited), cap), abs=1e-3)
    assert free.gap_share == 0
    # What was offered may be offered, to each at most `cap` products, within stock.
    offered = _offers(plan, members)
    assert most_offers(plan.frame) <= cap
    assert (offered.group_by("customer_id").len()["len"] <= cap).all() and offered["is_reachable"].all()
    allowed = offered.join(pairs, on=["customer_id", "product_id"])
    assert allowed.height == offered.height == offered.unique(["customer_id", "product_id"]).height
    assert allowed["value"].sum() == pytest.approx(plan.margin_amount, abs=1e-3)
    sold = allowed.group_by("product_id").agg(pl.col("units").sum(), pl.col("stock_quantity").first())
    assert (sold["units"] <= sold["stock_quantity"].fill_null(float("inf")) - 5 + 1e-6).all()


def test_prices_on_stock_bring_the_bound_and_the_plan_near_the_optimum() -> None:
    rng = np.random.default_rng(4)
    people = members_of(
        *[(f"T{rng.integers(1, 4)}", "active", bool(rng.random() < 0.8), True, float(a)) for a in rng.gamma(1, 1, 600)]
    )
    products = catalogue(
        *[
            {"stock_quantity": 5 + float(rng.integers(3, 30)), "unit_cost": float(rng.integers(5, 25))}
            for _ in range(20)
        ]
    )
    rows = [
        match(
            f"P{p}", float(rng.uniform(0.02, 0.4)), people, taste_segment_id=t, activity_floor=float(rng.uniform(0, 1))
        )
        for p in range(20)
        for t in ("T1", "T2", "T3")
    ]
    plan = plan_offers(matched(*rows), people, products, spec=SPEC)
    again = plan_offers(matched(*rows[::-1]), people.reverse(), products.reverse(), spec=SPEC)
    assert again.frame.equals(plan.frame)
    # Stock for half of the demand and less: without prices the bound would be twice the margin.
    assert 0 < plan.gap_share < 0.1
    assert plan.margin_amount <= plan.bound_amount
