"""Briefs: the few campaigns gathered from the offer plan, and that no plan or brief ever breaks a rule."""

from __future__ import annotations

from datetime import date
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.measurement.power import smallest_detectable_effect
from segmentation_assets.merchandising.briefs import build_briefs
from segmentation_assets.merchandising.offer_plan import most_offers, plan_offers
from segmentation_assets.merchandising.plan import RATE_DAYS, TABLE_TYPES, CampaignSpec
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model
from segmentation_assets_tests.merchandising.campaign_frames import catalogue, match, matched, members_of

AS_OF = date(2024, 6, 30)
SPEC = CampaignSpec()
GROUPS = pl.DataFrame(
    {"stage_segment_id": ["S0", "S1", "S2", "S3"], "name": ["Never bought", "Active", "Loyal", "Lapsing"],
     "stage_group": ["never_bought", "active", "loyal", "lapsing"]}
)  # fmt: skip
STAGES = {"active": "S1", "loyal": "S2", "lapsing": "S3"}
TASTES = {"T0": "Unknown", "T1": "Coffee", "T2": "Garden"}


def crowd(group: str = "loyal", taste: str = "T1", customers: int = 400) -> list[Any]:
    """Members with activities from 4 down: every second one can be reached, three of four are known adults."""
    return [
        (taste, group, place % 4 != 0, place % 2 == 1, round(4 - 4 * place / customers, 9))
        for place in range(customers)
    ]


def offer(product: str, members: pl.DataFrame, *, group: str = "loyal", theta: float = 0.2, **values: Any) -> Any:
    """A match with its expected buyers and their interval, at the discount of its stage group."""
    row = match(
        product, theta, members,
        **{"stage_group": group, "stage_segment_ids": STAGES[group], "discount_share": SPEC.discount(group)} | values,
    )  # fmt: skip
    expected = float(values.pop("expected", 30.0))
    return row | {"expected_buyers": expected, "low": 0.7 * expected, "high": 1.3 * expected}


def briefs_of(
    rows: list[Any], members: pl.DataFrame, promotable: pl.DataFrame, spec: CampaignSpec = SPEC
) -> pl.DataFrame:
    plan = plan_offers(matched(*rows), members, promotable, spec=spec)
    return build_briefs(
        plan.frame, matched(*rows), promotable, members, GROUPS, taste_names=TASTES, spec=spec, as_of=AS_OF
    )


def test_a_brief_says_what_to_whom_until_when_and_what_it_brings() -> None:
    people = members_of(*crowd())
    rows = [offer("P0", people, theta=0.3, activity_floor=2.0), offer("P1", people, theta=0.2, activity_floor=1.0)]
    promotable = catalogue({"name": "Mill"}, {"name": "Pot"})
    plan = plan_offers(matched(*rows), people, promotable, spec=SPEC)
    brief = briefs_of(rows, people, promotable).row(0, named=True)
    assert list(brief) == list(TABLE_TYPES["campaigns/briefs"])
    assert brief["brief_id"] == "20240630-T1-loyal" and brief["name"] == "Early access · Coffee"
    assert brief["offer"] == "Early access to Mill and Pot at the usual price until 14 July 2024."
    assert brief["product_ids"] == "P0,P1"
    # The audience reaches down to the lowest floor of its products.
    assert brief["activity_floor"] == 1.0
    above = people.filter(pl.col("expected_products") >= 1.0)
    assert brief["audience_customers"] == above.height
    assert brief["reachable_customers"] == above.filter("is_reachable").height
    assert (
        brief["audience"]
        == "150 reachable of 301 customers in Loyal with the taste Coffee who are expected to buy most."
    )
    assert brief["expected_buyers"] == pytest.approx(plan.frame["expected_buyers"].sum(), abs=1e-6)
    assert brief["expected_margin_amount"] == pytest.approx(plan.margin_amount, abs=1e-3)
    assert brief["starts_on"] == date(2024, 7, 1) and brief["valid_until"] == date(2024, 7, 14)
    # A tenth held out, at most a tenth of the margin.
    assert brief["control_customers"] == 15
    assert brief["control_cost_amount"] == pytest.approx(0.1 * brief["expected_margin_amount"], abs=1e-4)
    assert brief["smallest_detectable_effect"] == pytest.approx(
        smallest_detectable_effect(150, brief["expected_buyers"] / 150, 0.1), abs=1e-8
    )


def test_the_interval_scales_with_the_planned_part_and_never_below_chance() -> None:
    people = members_of(*crowd(customers=2000))
    wide, narrow = (
        briefs_of(
            [offer("P0", people) | {"expected_buyers": 400.0, "low": 400.0 - half, "high": 400.0 + half}],
            people, catalogue({}),
        ).row(0, named=True)
        for half in (200.0, 0.0)
    )  # fmt: skip
    buyers, margin = narrow["expected_buyers"], narrow["expected_margin_amount"]
    z = 1.6448536269514722
    assert narrow["high_margin_amount"] - margin == pytest.approx(10 * z * np.sqrt(buyers), rel=1e-6)
    beyond = (buyers / 400) ** 2 * ((200 / z) ** 2 - 400)
    assert wide["high_margin_amount"] - margin == pytest.approx(10 * z * np.sqrt(buyers + beyond), rel=1e-6)


def test_a_product_under_a_quarter_of_the_best_and_the_seventh_one_stay_out() -> None:
    people = members_of(*crowd())
    rows = [offer(f"P{place}", people, theta=0.2 - 0.01 * place) for place in range(8)]
    weak = [offer("P0", people, theta=0.2), offer("P1", people, theta=0.04)]
    products = catalogue(*[{}] * 8)
    roomy = CampaignSpec(offers_per_customer=8)
    assert briefs_of(rows, people, products, roomy)["product_ids"][0] == "P0,P1,P2,P3,P4,P5"
    assert briefs_of(weak, people, products)["product_ids"].to_list() == ["P0"]
    two = CampaignSpec(offers_per_customer=2)
    assert briefs_of(rows, people, products, two)["product_ids"][0] == "P0,P1"


def test_age_restricted_products_have_a_brief_of_their_own_and_the_cap_holds_over_both() -> None:
    people = members_of(*crowd())
    rows = [
        offer("P0", people, theta=0.3, is_adults_only=True), offer("P1", people, theta=0.29),
        offer("P2", people, theta=0.28, is_adults_only=True), offer("P3", people, theta=0.02),
    ]  # fmt: skip
    products = catalogue({"is_age_restricted": True}, {}, {"is_age_restricted": True}, {})
    briefs = briefs_of(rows, people, products, CampaignSpec(offers_per_customer=3))
    listed = dict(briefs.select("brief_id", "product_ids").iter_rows())
    assert listed == {"20240630-T1-loyal": "P1", "20240630-T1-loyal-adults": "P0,P2"}
    adults = briefs.filter(pl.col("brief_id").str.ends_with("-adults")).row(0, named=True)
    assert adults["audience_customers"] == people["is_adult"].sum() == 300
    assert "known adults" in adults["audience"] and adults["name"] == "Early access · Coffee (adults)"


def test_another_discount_chosen_for_a_product_makes_a_brief_of_its_own() -> None:
    people = members_of(*crowd(), *crowd("lapsing"))
    rows = [
        offer("P0", people), offer("P1", people, discount_share=0.125),
        offer("P0", people, group="lapsing"),
    ]  # fmt: skip
    briefs = briefs_of(rows, people, catalogue({}, {"name": "Pot"}))
    own = {row["brief_id"]: row for row in briefs.iter_rows(named=True)}
    assert set(own) == {"20240630-T1-loyal", "20240630-T1-loyal-at-12_5-off", "20240630-T1-lapsing"}
    chosen = own["20240630-T1-loyal-at-12_5-off"]
    assert chosen["offer"] == "12% off Pot until 14 July 2024." and chosen["name"] == "Thank you · Coffee at 12.5% off"
    assert "full price" not in chosen["objective"] and "full price" in own["20240630-T1-loyal"]["objective"]
    assert own["20240630-T1-lapsing"]["discount_share"] == 0.15


def test_the_best_brief_of_each_stage_group_comes_before_a_second_of_any() -> None:
    people = members_of(*crowd(), *crowd(taste="T2"), *crowd("lapsing"))
    rows = [
        offer("P0", people, theta=0.3), offer("P0", people, theta=0.2, taste_segment_id="T2"),
        offer("P0", people, group="lapsing", theta=0.05),
    ]  # fmt: skip
    briefs = briefs_of(rows, people, catalogue({}), CampaignSpec(max_briefs=2))
    assert briefs["brief_id"].to_list() == ["20240630-T1-loyal", "20240630-T1-lapsing"]
    assert briefs_of(rows, people, catalogue({}), CampaignSpec(max_briefs=0)).is_empty()
    assert briefs_of(rows, people, catalogue({}))["brief_id"].to_list()[1] == "20240630-T2-loyal"


def test_an_audience_with_too_few_who_can_be_reached_has_no_brief() -> None:
    few, enough = members_of(*crowd(customers=98)), members_of(*crowd(customers=100))
    assert briefs_of([offer("P0", few)], few, catalogue({})).is_empty()
    assert briefs_of([offer("P0", enough)], enough, catalogue({}))["reachable_customers"].to_list() == [50]


def test_what_the_whole_audience_would_buy_out_is_left_out_of_the_brief() -> None:
    people = members_of(*crowd())
    rows = [offer("P0", people, theta=0.3, activity_floor=3.0), offer("P1", people, theta=0.25)]
    roomy, scarce = (briefs_of(rows, people, catalogue({"stock_quantity": stock}, {})) for stock in (400.0, 15.0))
    assert roomy["product_ids"].to_list() == ["P1,P0"]
    assert scarce["product_ids"].to_list() == ["P1"]  # shown to everybody, P0 would sell more than ten units


def test_briefs_share_the_stock_and_the_better_one_has_it() -> None:
    people = members_of(*crowd(), *crowd(taste="T2"))
    rows = [
        offer("P0", people, theta=0.3), offer("P0", people, theta=0.2, taste_segment_id="T2"),
        offer("P1", people, theta=0.1, taste_segment_id="T2"),
    ]  # fmt: skip
    demand = 0.3 * float(people.filter("is_reachable", pl.col("taste_segment_id") == "T1")["expected_products"].sum())
    stock = 5 + 1.2 * demand * SPEC.valid_days / RATE_DAYS
    briefs = briefs_of(rows, people, catalogue({"stock_quantity": stock}, {}))
    assert dict(briefs.select("brief_id", "product_ids").iter_rows()) == {
        "20240630-T1-loyal": "P0", "20240630-T2-loyal": "P1",
    }  # fmt: skip


def test_without_a_plan_there_is_no_brief_but_the_columns() -> None:
    people = members_of(*crowd())
    nothing = briefs_of([], people, catalogue({}))
    assert nothing.is_empty() and nothing.columns == list(TABLE_TYPES["campaigns/briefs"])


def test_the_order_of_rows_and_decimals_of_the_warehouse_change_nothing() -> None:
    people = members_of(*crowd(), *crowd("lapsing"))
    rows = [offer(f"P{place}", people, group=group) for place in range(4) for group in ("loyal", "lapsing")]
    promotable = catalogue(*[{"stock_quantity": 200.0, "unit_cost": 10.0 + place} for place in range(4)])
    stored = promotable.with_columns(
        pl.col("list_price", "unit_cost").cast(pl.Decimal(18, 4)),
        pl.col("stock_quantity", "safety_stock").cast(pl.Decimal(18, 3)),
    )
    first = briefs_of(rows, people, promotable)
    assert briefs_of(rows[::-1], people.sample(fraction=1, shuffle=True, seed=3), stored.reverse()).equals(first)
    plan = plan_offers(matched(*rows), people, stored, spec=SPEC).frame.with_columns(
        pl.col("expected_margin_amount").cast(pl.Decimal(18, 4))
    )
    assert build_briefs(
        plan, matched(*rows), stored, people, GROUPS.reverse(), taste_names=TASTES, spec=SPEC, as_of=AS_OF
    ).equals(first)


_PRODUCT = st.fixed_dictionaries(
    {
        "is_promotable": st.sampled_from([True] * 3 + [False]), "is_sensitive": st.sampled_from([False] * 4 + [True]),
        "is_age_restricted": st.booleans(), "list_price": st.sampled_from([5.0, 30.0, 90.0]),
        "unit_cost": st.sampled_from([0.0, 4.0, 20.0, 80.0]),
        "stock_quantity": st.sampled_from([None, 5.5, 9.0, 15.0, 40.0, 500.0]),
    }
)  # fmt: skip
_OFFER = st.tuples(
    st.integers(0, 5), st.sampled_from(["T1", "T2"]), st.sampled_from(list(STAGES)), st.sampled_from([0.01, 0.1, 0.4]),
    st.sampled_from([0.0, 1.0, 2.5, 3.9]), st.sampled_from([None, 0.0, 0.3]),
)  # fmt: skip
PEOPLE = members_of(*[person for group in STAGES for taste in ("T1", "T2") for person in crowd(group, taste, 160)])


@settings(max_examples=60, deadline=None)
@given(
    products=st.lists(_PRODUCT, min_size=6, max_size=6),
    offers=st.lists(_OFFER, min_size=1, max_size=20, unique_by=lambda drawn: drawn[:3]),
    floor=st.sampled_from([0.0, 0.1, 0.5]),
    cap=st.integers(1, 4),
)
def test_no_plan_and_no_brief_ever_breaks_stock_margin_activity_age_sensitivity_or_cap(
    products: list[dict[str, Any]], offers: list[Any], floor: float, cap: int
) -> None:
    spec = CampaignSpec(offers_per_customer=cap, margin_floor_share=floor, products_per_brief=3, max_briefs=4)
    promotable = catalogue(*[product | {"margin_floor_share": floor} for product in products])
    rows = [
        offer(
            f"P{place}", PEOPLE, group=group, theta=theta, taste_segment_id=taste, activity_floor=least,
            is_adults_only=bool(products[place]["is_age_restricted"]),
            **({} if discount is None else {"discount_share": discount}),
        )
        for place, taste, group, theta, least, discount in offers
    ]  # fmt: skip
    matches = matched(*rows)
    plan = plan_offers(matches, PEOPLE, promotable, spec=spec).frame
    briefs = build_briefs(plan, matches, promotable, PEOPLE, GROUPS, taste_names=TASTES, spec=spec, as_of=AS_OF)
    keys = ["taste_segment_id", "stage_group"]
    sent = (
        briefs.with_columns(
            pl.col("product_ids").str.split(","),
            pl.col("stage_segment_ids").replace_strict({v: k for k, v in STAGES.items()}).alias("stage_group"),
            is_for_adults=pl.col("brief_id").str.ends_with("-adults"),
        )
        .select("brief_id", *keys, "discount_share", "activity_floor", "is_for_adults", product_id="product_ids")
        .explode("product_id")
    )
    known = promotable.drop("discount_share", "name")
    price = pl.col("list_price") * (1 - pl.col("discount_share"))
    theta = pl.DataFrame(
        [(f"P{place}", taste, group, theta) for place, taste, group, theta, *_ in offers],
        schema=["product_id", *keys, "theta"], orient="row",
    )  # fmt: skip
    for told in (plan.join(matches.select("product_id", *keys, "discount_share"), on=["product_id", *keys]), sent):
        priced = told.join(known, on="product_id")
        assert priced.height == told.height
        assert priced["is_promotable"].all() and not priced["is_sensitive"].any()
        assert priced.filter(price - pl.col("unit_cost") < pl.col("margin_floor_share") * price - 1e-9).is_empty()
    # Age: by person in the plan, by audience in the briefs.
    assert plan.join(known, on="product_id").filter(pl.col("is_age_restricted") & ~pl.col("is_adult")).is_empty()
    assert sent.join(known, on="product_id").filter(pl.col("is_age_restricted") != pl.col("is_for_adults")).is_empty()
    # Activity: nobody in the plan is under the floor of the match, or cannot be reached.
    planned = (
        plan.join(PEOPLE.drop("stage_segment_id"), on=[*keys, "is_adult"])
        .filter(pl.col("activity_rank").is_between("from_rank", pl.col("to_rank") - 1))
        .join(matches.select("product_id", *keys, "activity_floor"), on=["product_id", *keys])
    )
    assert (planned["expected_products"] >= planned["activity_floor"]).all() and planned["is_reachable"].all()
    # Cap: per customer, in the plan and over all briefs together.
    emailed = (
        sent.join(PEOPLE.filter("is_reachable"), on=keys)
        .filter(pl.col("expected_products") >= pl.col("activity_floor"))
        .filter(pl.col("is_adult") | ~pl.col("is_for_adults"))
    )
    assert most_offers(plan) <= cap
    for given_to in (planned, emailed):
        assert given_to.group_by("customer_id").len().filter(pl.col("len") > cap).is_empty()
        assert given_to.unique(["customer_id", "product_id"]).height == given_to.height
        # Stock: what they all are expected to buy in the days of the offer.
        bought = (
            given_to.join(theta, on=["product_id", *keys])
            .group_by("product_id")
            .agg(units=(pl.col("theta") * pl.col("expected_products")).sum() * spec.valid_days / RATE_DAYS)
            .join(known, on="product_id")
        )
        assert bought.filter(pl.col("units") > pl.col("stock_quantity") - pl.col("safety_stock") + 1e-6).is_empty()
    assert briefs.height <= spec.max_briefs and (briefs["reachable_customers"] >= spec.minimum_cell).all()
    assert (briefs["low_margin_amount"] <= briefs["expected_margin_amount"]).all()
    assert (briefs["product_ids"].str.split(",").list.len() <= spec.products_per_brief).all()
    assert briefs["brief_id"].is_unique().all() and briefs["name"].is_unique().all()


def test_plan_and_briefs_pass_their_own_checks_as_they_are_stored() -> None:
    rng = np.random.default_rng(11)
    products = [
        {"stock_quantity": 5 + float(rng.integers(1, 60)), "list_price": float(rng.integers(10, 60)), "unit_cost": 7.0,
         "is_age_restricted": place % 4 == 0} for place in range(12)
    ]  # fmt: skip
    rows = [
        offer(
            f"P{place}", PEOPLE, group=group, taste_segment_id=taste, theta=float(rng.uniform(0.01, 0.3)),
            activity_floor=float(rng.choice(PEOPLE["expected_products"].to_numpy())),
            is_adults_only=bool(products[place]["is_age_restricted"]),
        )
        for place in range(12) for group in STAGES for taste in ("T1", "T2")
    ]  # fmt: skip
    promotable, matches = catalogue(*products), matched(*rows)
    plan = plan_offers(matches, PEOPLE, promotable, spec=SPEC).frame
    briefs = build_briefs(plan, matches, promotable, PEOPLE, GROUPS, taste_names=TASTES, spec=SPEC, as_of=AS_OF)
    assert briefs.height == SPEC.max_briefs and plan["to_rank"].n_unique() > 10
    tables = {
        "campaigns/offer_plan": plan, "campaigns/briefs": briefs, "campaigns/promotable_products": promotable,
        "campaigns/product_segment_matches": matches, "campaigns/audience_members": PEOPLE,
    }  # fmt: skip
    with duckdb.connect() as con:
        con.execute("create schema campaigns; create schema segments")
        con.execute(
            "create table segments.segment_summary as select * from (values ('taste', 'T1'), ('taste', 'T2'), "
            "('stage', 'S1'), ('stage', 'S2'), ('stage', 'S3')) t(axis, segment_id)"
        )
        for name, frame in tables.items():
            con.register("frame", frame.to_arrow())
            columns = ", ".join(f"cast({column} as {kind}) as {column}" for column, kind in TABLE_TYPES[name].items())
            con.execute(f"create table {name.replace('/', '.')} as select {columns} from frame")
        for table in ("offer_plan", "briefs"):
            for path in sorted((SQL_ROOT / "checks" / "campaigns" / table).glob("*.sql")):
                model = load_model(path)
                assert con.execute(model.query, {"as_of": AS_OF} if model.needs_as_of else {}).fetchall() == [], path


def test_the_cap_counts_what_is_planned_for_adults_and_for_the_others_together() -> None:
    # Every second one is a known adult, and all can be reached: the plan has P0 for adults and P1 for the others.
    people = members_of(*[("T1", "loyal", place % 2 == 0, True, 2.0) for place in range(200)])
    rows = [offer("P0", people, theta=0.3, is_adults_only=True), offer("P1", people, theta=0.29)]
    one = CampaignSpec(offers_per_customer=1)
    # A mail with P1 goes to everybody, so adults would get both.
    briefs = briefs_of(rows, people, catalogue({"is_age_restricted": True}, {}), one)
    assert briefs["product_ids"].to_list() == ["P0"]
