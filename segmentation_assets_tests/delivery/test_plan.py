"""Every customer is in the plan with a decision and the first reason for it, and the draws depend on nothing else."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.delivery.keys import SecretKey
from segmentation_assets.delivery.plan import (
    REASONS,
    PlanSpec,
    audience_digest,
    audiences,
    campaign_plans,
    draw,
    plan_reasons,
    plan_sends,
)
from segmentation_assets.delivery.tables import table_schema
from segmentation_assets_tests.delivery.plan_world import (
    GOOD,
    KEY,
    START,
    campaign,
    campaigns,
    crowd,
    customers,
    spec,
)

ONE = campaigns(campaign("one"))


def reason_of(row: dict[str, Any], offers: pl.DataFrame = ONE, **settings_: Any) -> str:
    (found,) = plan_sends(customers(row), offers, spec(**settings_))["reason"]
    return str(found)


# --- reasons --------------------------------------------------------------------------------------------------------

#: What decides, in the order in which it does.
FAULTS: dict[str, dict[str, Any]] = {
    "opted_out": {"is_opted_out": True},
    "no_campaign": {"taste_segment_id": "T9"},
    "unsubscribed": {"has_unsubscribed": True},
    "no_consent": {"has_consent": False},
    "suppressed_complaint": {"suppressed_as": "complaint"},
    "minor": {"is_minor": True},
    "needs_smtputf8": {"needs_smtputf8": True},
    "no_valid_address": {"has_valid_email": False},
    "shared_address": {"is_email_shared": True},
    "frequency_cap": {"messages_in_cap": 1},
    "unresponsive": {"messages_since_click": 8, "last_message_on": START - dt.timedelta(days=1)},
    "no_offer": {"is_adult": False},
}
RESTRICTED = campaigns(campaign("one", is_age_restricted=True))


def test_the_faults_of_these_tests_stand_in_the_order_of_the_reasons() -> None:
    order = [reason.removesuffix("_") for reason in REASONS]
    named = [reason.split("_complaint")[0] for reason in FAULTS]
    assert named == [reason for reason in order if reason in named]


@pytest.mark.parametrize("reason", FAULTS)
def test_each_fault_alone_excludes_with_its_reason(reason: str) -> None:
    assert reason_of({}, RESTRICTED) == "send"
    assert reason_of(FAULTS[reason], RESTRICTED) == reason


@settings(max_examples=60, deadline=None)
@given(chosen=st.sets(st.sampled_from(list(FAULTS)), min_size=1))
def test_of_several_faults_the_first_is_the_reason(chosen: set[str]) -> None:
    row: dict[str, Any] = {}
    for reason in chosen:
        row |= FAULTS[reason]
    assert reason_of(row, RESTRICTED) == next(reason for reason in FAULTS if reason in chosen)


def test_an_unknown_age_that_counts_as_minor_says_so() -> None:
    assert reason_of({"is_minor": True, "is_age_known": False}) == "age_unknown"


def test_what_is_not_known_of_a_customer_is_not_taken_for_granted() -> None:
    nothing = dict.fromkeys(GOOD) | {name: GOOD[name] for name in ("taste_segment_id", "stage_segment_id")}
    row = nothing | {"expected_products": 3.0}
    assert reason_of(row) == "no_consent"
    assert reason_of(row | {"has_consent": True}) == "no_valid_address"
    assert reason_of(row | {"has_consent": True, "has_valid_email": True}) == "send"
    # Age-restricted goods need a known adult.
    assert reason_of(row | {"has_consent": True, "has_valid_email": True}, RESTRICTED) == "no_offer"


def test_a_customer_at_the_cap_gets_nothing_and_one_below_it_does() -> None:
    assert reason_of({"messages_in_cap": 2}, cap_messages=3) == "send"
    assert reason_of({"messages_in_cap": 3}, cap_messages=3) == "frequency_cap"


def test_planning_again_while_a_campaign_is_sent_decides_the_same() -> None:
    # The send of this very campaign does not count against it; one of another campaign of this plan does.
    own = {"present_campaign_id": "one", "present_messages": 1}
    assert reason_of(own) == "send"
    assert reason_of(own | {"present_messages": 2}) == "frequency_cap"
    assert reason_of(own | {"present_campaign_id": "gone"}) == "frequency_cap"


@pytest.mark.parametrize(("days_ago", "reason"), [(89, "unresponsive"), (90, "send"), (91, "send")])
def test_an_address_that_does_not_answer_rests_until_the_days_are_over(days_ago: int, reason: str) -> None:
    row = {"messages_since_click": 8, "last_message_on": START - dt.timedelta(days=days_ago)}
    assert reason_of(row) == reason
    assert reason_of(row | {"messages_since_click": 7}) == "send"


def test_no_permitted_hour_before_the_end_is_a_reason() -> None:
    a_day = campaigns(campaign("one", starts_on=START, valid_until=START))
    # For Samoa (UTC+13) the shop's day begins at 13:00 and the recipient's ends at 11:00 UTC.
    assert reason_of({"timezone": "Pacific/Apia"}, a_day, quiet_from_hour=12, quiet_to_hour=8) == "quiet_hours"
    assert reason_of({"timezone": "Pacific/Apia"}, a_day) == "send"
    assert reason_of({}, a_day) == "send"


def test_without_the_key_nobody_is_drawn_and_the_sentence_says_why() -> None:
    without = spec(key=None, why_no_key="The secret key is gone.")
    plan = plan_sends(crowd(3), ONE, without)
    assert plan["reason"].unique().to_list() == ["no_key"]
    (row,) = plan_reasons(plan, without).to_dicts()
    assert row["sentence"] == (
        "3 customers: nobody can be drawn or recognised without the secret key. The secret key is gone."
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"timezone": "Mars/Olympus"}, "delivery.timezone is 'Mars/Olympus', which is no time zone. Write one like "
         "Europe/Berlin or UTC."),
        ({"control_share": 1.0}, "campaigns.control_share is 1; it must be at least 0 and below 1 (0.10 is ten "
         "percent)."),
        ({"hold_out_share": -0.1}, "delivery.hold_out_share is -0.1; it must be at least 0 and below 1 (0.10 is ten "
         "percent)."),
        ({"quiet_from_hour": 24}, "delivery.quiet_from_hour is 24; hours are 0 to 23."),
        ({"cap_messages": 0}, "delivery.cap_messages and delivery.rest_after_messages must be at least 1."),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as refused:
        spec(**values)
    assert str(refused.value) == message


def test_a_customer_who_stands_twice_is_refused() -> None:
    with pytest.raises(ValueError) as refused:
        plan_sends(customers({"customer_id": "C1"}, {"customer_id": "C1"}), ONE, spec())
    assert str(refused.value) == (
        "2 rows of customers have no customer_id or one that stands twice: hand in one row for each."
    )
    with pytest.raises(ValueError, match=r"^The frame of customers lacks timezone\.$"):
        plan_sends(customers({}).drop("timezone"), ONE, spec())


def test_the_key_is_in_no_representation() -> None:
    assert "SecretKey" not in repr(spec()) and str(bytes(range(32))) not in repr(spec())


# --- audiences ------------------------------------------------------------------------------------------------------


def test_an_audience_are_the_members_of_taste_and_stages_with_the_activity_or_more() -> None:
    people = customers(
        {}, {"expected_products": 1.0}, {"expected_products": 0.999}, {"stage_segment_id": "S2"},
        {"stage_segment_id": "S12"}, {"taste_segment_id": None}, {"is_adult": False},
    )  # fmt: skip
    assert audiences(people, ONE)["customer_id"].to_list() == ["C0", "C1", "C3", "C6"]
    adults = campaigns(campaign("one", is_adults_only=True))
    assert audiences(people, adults)["customer_id"].to_list() == ["C0", "C1", "C3"]


def test_who_is_in_two_audiences_gets_the_campaign_worth_more_and_is_counted_elsewhere_in_the_other() -> None:
    offers = campaigns(
        campaign("big", expected_margin_amount=500.0, reachable_customers=1000),
        campaign("dear", expected_margin_amount=90.0, reachable_customers=100, activity_floor=2.0),
    )
    people = customers({}, {"expected_products": 1.5})
    plan = plan_sends(people, offers, spec())
    assert plan["campaign_id"].to_list() == ["dear", "big"]
    told = campaign_plans(plan, people, offers, spec())
    assert told.select("campaign_id", "audience_customers", "elsewhere_customers").rows() == [
        ("big", 1, 1), ("dear", 1, 0)
    ]  # fmt: skip


def test_who_has_a_send_of_a_campaign_stays_in_it() -> None:
    offers = campaigns(campaign("big"), campaign("dear", expected_margin_amount=9000.0))
    assert plan_sends(customers({"present_campaign_id": "big", "present_messages": 1}), offers, spec())[
        "campaign_id"
    ].to_list() == ["big"]


def test_without_any_campaign_everybody_is_in_the_plan_all_the_same() -> None:
    nobody = campaigns()
    plan = plan_sends(crowd(5), nobody, spec())
    assert (plan.height, plan["reason"].unique().to_list()) == (5, ["no_campaign"])
    (row,) = plan_reasons(plan, spec(), why_no_campaign="No campaign is proposed (campaigns.briefs is empty).").rows()
    assert row == (
        None, "excluded", "no_campaign",
        "5 customers: in no campaign's audience. No campaign is proposed (campaigns.briefs is empty).", 5,
    )  # fmt: skip
    assert campaign_plans(plan, crowd(5), nobody, spec()).is_empty()


def test_an_empty_shop_has_an_empty_plan_with_its_columns() -> None:
    plan = plan_sends(customers(), ONE, spec())
    assert plan.schema == pl.Schema(table_schema("delivery/plan")) and plan.is_empty()
    assert plan_reasons(plan, spec()).schema == pl.Schema(table_schema("delivery/plan_reasons"))
    (row,) = campaign_plans(plan, customers(), ONE, spec()).to_dicts()
    assert (row["audience_customers"], row["sentence"]) == (
        0, "Nobody is written to; delivery.plan_reasons says why."
    )  # fmt: skip


# --- draws ----------------------------------------------------------------------------------------------------------


def test_a_draw_is_uniform_and_the_same_again() -> None:
    ids = pl.Series([f"C{place}" for place in range(20_000)])
    drawn = draw(KEY, "control\x1fone", ids)
    assert drawn.equals(draw(KEY, "control\x1fone", ids))
    assert drawn.min() >= 0 and drawn.max() < 1  # type: ignore[operator]  # a column of floats
    # Four standard errors of a uniform mean, and of a share of a tenth.
    assert abs(float(drawn.mean()) - 0.5) < 4 * (1 / 12 / 20_000) ** 0.5  # type: ignore[arg-type]
    assert abs(int((drawn < 0.1).sum()) - 2000) < 4 * (20_000 * 0.09) ** 0.5


def test_control_and_variant_are_independent_of_each_other_and_of_other_campaigns() -> None:
    people, offers = crowd(20_000), campaigns(campaign("one"))
    first = plan_sends(people, offers, spec(control_share=0.3))
    other = plan_sends(people, campaigns(campaign("two")), spec(control_share=0.3))
    both = first.join(other, on="customer_id", suffix="_other")
    in_both = both.filter((pl.col("decision") == "control") & (pl.col("decision_other") == "control")).height
    assert abs(in_both - 20_000 * 0.09) < 4 * (20_000 * 0.09 * 0.91) ** 0.5
    sent = both.filter((pl.col("variant") != "") & (pl.col("variant_other") != ""))
    same = sent.filter(pl.col("variant") == pl.col("variant_other")).height
    assert abs(same - sent.height / 2) < 4 * (sent.height / 4) ** 0.5
    subject_a = first.filter(pl.col("decision") == "send")["variant"].eq("A").sum()
    drawn = first.filter(pl.col("decision") == "send").height
    assert abs(subject_a - drawn / 2) < 4 * (drawn / 4) ** 0.5


def test_the_hold_out_is_the_same_in_every_campaign_and_another_under_another_key() -> None:
    people = crowd(3000)
    held = [
        set(plan_sends(people, campaigns(campaign(name)), spec(hold_out_share=0.1, key=key))
            .filter(pl.col("decision") == "hold_out")["customer_id"])
        for name, key in (("one", KEY), ("two", KEY), ("one", SecretKey(b"k" * 32)))
    ]  # fmt: skip
    assert held[0] == held[1] and 200 < len(held[0]) < 400
    assert len(held[0] & held[2]) < 80


def test_who_may_not_be_written_to_is_in_no_group_that_is_compared() -> None:
    people = crowd(400, has_consent=False)
    assert plan_sends(people, ONE, spec(control_share=0.5, hold_out_share=0.5))["decision"].unique().to_list() == [
        "excluded"
    ]


# --- when and what --------------------------------------------------------------------------------------------------


def test_a_message_leaves_within_the_campaign_and_outside_the_recipients_quiet_hours() -> None:
    zones = ["Europe/Berlin", "America/New_York", "Pacific/Apia", "nowhere", None]
    plan = plan_sends(customers(*({"timezone": zone} for zone in zones)), ONE, spec())
    assert plan.select("timezone", "not_before", "not_after").rows() == [
        # 08:00 in Berlin; its last day ends at 22:00 UTC.
        ("Europe/Berlin", dt.datetime(2026, 7, 1, 6), dt.datetime(2026, 7, 14, 22)),
        # 08:00 in New York; the shop's last day ends before the recipient's.
        ("America/New_York", dt.datetime(2026, 7, 1, 12), dt.datetime(2026, 7, 15)),
        # The shop's day begins at 13:00 in Samoa.
        ("Pacific/Apia", dt.datetime(2026, 7, 1), dt.datetime(2026, 7, 14, 11)),
        ("UTC", dt.datetime(2026, 7, 1, 8), dt.datetime(2026, 7, 15)),
        ("UTC", dt.datetime(2026, 7, 1, 8), dt.datetime(2026, 7, 15)),
    ]


def test_own_products_are_the_three_best_that_the_campaign_does_not_show() -> None:
    people = customers({}, {"next_products": ["P2", "P1"]}, {"next_products": None}, {"has_consent": False})
    assert plan_sends(people, ONE, spec())["product_ids"].to_list() == ["P7,P8,P9", "", "", ""]


# --- what it shows --------------------------------------------------------------------------------------------------


def test_the_reasons_say_their_figures() -> None:
    people = customers({}, {}, {"messages_in_cap": 1}, FAULTS["unresponsive"], {"suppressed_as": "hard_bounce"})
    plan = plan_sends(people, ONE, spec())
    told = dict(plan_reasons(plan, spec()).select("reason", "sentence").rows())
    a = plan["variant"].eq("A").sum()
    assert told == {
        "suppressed_hard_bounce": "1 customer: not written to any more, since: their address does not exist.",
        "frequency_cap": "1 customer: in 1 or more campaigns within 7 days already (written to, left out at random, or "
        "not reached): the cap.",
        "unresponsive": "1 customer: 8 or more messages in a row without a click, the last one less than 90 days "
        "before: rested.",
        "send": f"2 customers: written to, {a} with subject A and {2 - a} with subject B.",
    }


def test_a_plan_that_can_show_no_plausible_effect_warns() -> None:
    people, wanted = crowd(200), spec(control_share=0.1)
    plan = plan_sends(people, ONE, wanted)
    (row,) = campaign_plans(plan, people, ONE, wanted).to_dicts()
    sent, control = row["send_customers"], row["control_customers"]
    assert (sent + control, row["base_rate"]) == (200, 0.130641765)  # 1 - exp(-0.14)
    assert row["detectable_lift"] > 1
    assert row["sentence"].startswith(f"{sent} are written to and {control} left out. 13.06% are expected to buy")
    assert "No campaign's effect is that large: by itself it will show nothing." in row["sentence"]
    assert row["control_cost_amount"] == round(0.5 * control, 4)
    assert row["audience_digest"] == audience_digest(plan)


def test_a_plan_keeps_the_segments_of_its_day_and_the_share_held_out() -> None:
    people = customers({}, {"stage_segment_id": "S2"}, {"taste_segment_id": None, "stage_segment_id": None})
    wanted = spec(hold_out_share=0.05)
    plan = plan_sends(people, ONE, wanted)
    assert plan.select("taste_segment_id", "stage_segment_id").rows() == [("T1", "S1"), ("T1", "S2"), (None, None)]
    assert campaign_plans(plan, people, ONE, wanted)["hold_out_share"].to_list() == [0.05]


def test_a_large_plan_says_what_it_finds_without_a_warning() -> None:
    people, wanted = crowd(20_000), spec(control_share=0.1)
    (row,) = campaign_plans(plan_sends(people, ONE, wanted), people, ONE, wanted).to_dicts()
    assert row["detectable_lift"] < 0.3
    assert "No campaign's effect" not in row["sentence"]


def test_without_a_control_group_or_a_forecast_nothing_is_claimed() -> None:
    people = crowd(50)
    (row,) = campaign_plans(plan_sends(people, ONE, spec()), people, ONE, spec()).to_dicts()
    assert row["smallest_detectable_effect"] is None
    assert row["sentence"] == "50 are written to and nobody is left out, so what the campaign causes cannot be seen."
    quiet = crowd(50, expected_daily_orders=0.0)
    wanted = spec(control_share=0.2)
    (row,) = campaign_plans(plan_sends(quiet, ONE, wanted), quiet, ONE, wanted).to_dicts()
    assert row["sentence"].endswith("How many buy anyway cannot be forecast, so what can be found cannot be said.")


def test_orders_that_cannot_be_forecast_follow_the_products_of_those_that_can() -> None:
    # Two products of 90 days go with one order of 90 days.
    people = customers(
        {"expected_products": 2.0, "expected_daily_orders": 1 / 90},
        {"expected_products": 2.0, "expected_daily_orders": None},
    )
    (row,) = campaign_plans(plan_sends(people, ONE, spec()), people, ONE, spec()).to_dicts()
    assert row["base_rate"] == pytest.approx(0.144, abs=0.001)  # 1 - exp(-14 / 90), for both


def test_the_digest_changes_with_any_decision_and_not_with_the_order_of_the_rows() -> None:
    plan = plan_sends(crowd(20), ONE, spec(control_share=0.3))
    assert audience_digest(plan.reverse()) == audience_digest(plan)
    changed = plan.with_columns(
        decision=pl.when(pl.col("customer_id") == "C00003").then(pl.lit("excluded")).otherwise("decision")
    )
    assert audience_digest(changed) != audience_digest(plan)


# --- properties -----------------------------------------------------------------------------------------------------

_PERSON = st.fixed_dictionaries(
    {
        "taste_segment_id": st.sampled_from(["T1", "T2", None]),
        "stage_segment_id": st.sampled_from(["S1", "S2", "S3"]),
        "expected_products": st.sampled_from([0.5, 1.0, 2.0, 5.0]),
        "has_consent": st.booleans(),
        "suppressed_as": st.sampled_from([None, None, "unsubscribe"]),
        "is_adult": st.booleans(),
        "has_valid_email": st.booleans(),
        "messages_in_cap": st.integers(0, 2),
        "timezone": st.sampled_from(["Europe/Berlin", "UTC", "nonsense", None]),
    }
)
_OFFER = st.fixed_dictionaries(
    {
        "taste_segment_id": st.sampled_from(["T1", "T2"]),
        "stage_segment_ids": st.sampled_from(["S1", "S1,S2", "S3"]),
        "activity_floor": st.sampled_from([0.5, 2.0]),
        "expected_margin_amount": st.sampled_from([10.0, 20.0]),
        "is_adults_only": st.booleans(),
        "is_age_restricted": st.booleans(),
    }
)
_PEOPLE = st.lists(_PERSON, max_size=25).map(lambda rows: customers(*rows))
_OFFERS = st.lists(_OFFER, max_size=4).map(
    lambda rows: campaigns(*(campaign(f"K{place}", **row) for place, row in enumerate(rows)))
)


def _spec() -> PlanSpec:
    return spec(control_share=0.4, hold_out_share=0.2, cap_messages=2)


@settings(max_examples=60, deadline=None)
@given(people=_PEOPLE, offers=_OFFERS)
def test_every_customer_has_one_row_and_all_counts_reconcile(people: pl.DataFrame, offers: pl.DataFrame) -> None:
    plan = plan_sends(people, offers, _spec())
    assert plan["customer_id"].to_list() == sorted(people["customer_id"].to_list())
    assert plan_reasons(plan, _spec())["customers"].sum() == people.height
    told = campaign_plans(plan, people, offers, _spec())
    parts = [f"{name}_customers" for name in ("send", "control", "hold_out", "excluded")]
    assert told.select(pl.sum_horizontal(parts) == pl.col("audience_customers")).to_series().all()
    assert told["audience_customers"].sum() == plan["campaign_id"].count()
    assert (told["elsewhere_customers"] >= 0).all()


@settings(max_examples=40, deadline=None)
@given(people=_PEOPLE, offers=_OFFERS, seed=st.integers(0, 9))
def test_the_plan_depends_neither_on_the_order_of_rows_nor_on_having_been_made(
    people: pl.DataFrame, offers: pl.DataFrame, seed: int
) -> None:
    plan = plan_sends(people, offers, _spec())
    mixed = plan_sends(people.sample(fraction=1, shuffle=True, seed=seed), offers.reverse(), _spec())
    assert mixed.equals(plan)
    # Sending makes sends: whoever is drawn then has one, and the plan stays as it is.
    sent = plan.filter(pl.col("decision") != "excluded").select("customer_id", sent_in="campaign_id")
    after = people.join(sent, on="customer_id", how="left").with_columns(
        present_campaign_id="sent_in", present_messages=pl.col("sent_in").is_not_null().cast(pl.Int64)
    )
    assert plan_sends(after, offers, _spec()).equals(plan)


@settings(max_examples=40, deadline=None)
@given(people=_PEOPLE, offers=_OFFERS, more=_OFFER)
def test_another_campaign_changes_nobodys_arm_in_the_campaigns_there_are(
    people: pl.DataFrame, offers: pl.DataFrame, more: dict[str, Any]
) -> None:
    before = plan_sends(people, offers, _spec())
    with_more = pl.concat([offers, campaigns(campaign("more", **more))])
    after = plan_sends(people, with_more, _spec())
    same = before.join(after, on=["customer_id", "campaign_id"], suffix="_after")
    # Who is in the same campaign still is in the same group; nobody moves between the campaigns there were.
    assert (same["decision"] == same["decision_after"]).all() and (same["variant"] == same["variant_after"]).all()
    moved = before.join(after, on="customer_id", suffix="_after").filter(
        pl.col("campaign_id").ne_missing(pl.col("campaign_id_after"))
    )
    assert moved["campaign_id_after"].eq("more").all()
