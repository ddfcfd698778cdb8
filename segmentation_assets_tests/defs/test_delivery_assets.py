"""From the state store and the campaign tables to the plan, in a HOME of a few customers: real stores, real steps."""

from __future__ import annotations

import datetime as dt
import sqlite3
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest

from segmentation_assets.defs import delivery
from segmentation_assets.delivery.keys import SecretKey, open_key
from segmentation_assets.delivery.tables import TABLE_TYPES
from segmentation_assets.orchestration.warehouse import Warehouse
from segmentation_assets.settings import Home
from segmentation_assets.state.models import Campaign, Send, SendEvent, Suppression
from segmentation_assets.state.store import open_state
from segmentation_assets.warehouse.connection import connect
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model

NOW = dt.datetime(2026, 6, 28, 9)
BRIEF = "20260630-T1-active"
MIRRORS = ("campaigns", "sends", "events", "suppressions")

#: Ann, Ben, Cid, Dot, Eve and Fay are in the audience; Gil is not.
SHOP = f"""
create schema raw; create schema clean; create schema features; create schema campaigns; create schema value;
create schema quality; create schema delivery;
create table raw.source as select 'shop' as source, date '2026-06-30' as as_of, 'EUR' as currency;
create table clean.customers as select unnest(['ann', 'ben', 'cid', 'dot', 'eve', 'fay', 'gil']) as customer_id,
    'Europe/Berlin' as timezone;
create table features.reachability as select customer_id, false as is_opted_out,
    true as has_consent, customer_id <> 'fay' as has_valid_email,
    false as is_email_shared, false as has_unsubscribed, false as is_minor, true as is_age_known, true as is_adult,
    customer_id <> 'fay' as is_reachable from clean.customers;
create table campaigns.audience_members as select customer_id, 'T1' as taste_segment_id, 'S1' as stage_segment_id,
    true as is_adult, true as is_reachable, if(customer_id = 'gil', 0.5, 2.0)::double as expected_products
    from clean.customers;
create table campaigns.briefs as select '{BRIEF}' as brief_id, 'Next order' as name, 'T1' as taste_segment_id,
    'S1' as stage_segment_ids, 1.0::double as activity_floor, 'P1,P2' as product_ids, date '2026-07-01' as starts_on,
    date '2026-07-14' as valid_until, 6 as audience_customers, 5 as reachable_customers,
    50::decimal(18, 4) as expected_margin_amount;
create table campaigns.promotable_products as select 'P' || i as product_id, true as is_promotable,
    false as is_age_restricted from range(8) t(i);
create table campaigns.next_best_products as select customer_id, i as rank, 'P' || i as product_id
    from clean.customers cross join range(1, 6) t(i);
create table value.customer_lifetime as select customer_id, 90 as horizon_days, 0.9::double as expected_orders
    from clean.customers;
create table quality.capabilities as select 'matching' as capability, true as is_on, '' as reason;
create table delivery.labelled_events (event_id varchar, send_id varchar, campaign_id varchar, customer_id varchar,
    kind varchar, occurred_at timestamp, is_robot boolean);
"""
PEOPLE = """
create table people.contacts as select * from (values
    ('ann', 'ann@example.com'), ('ben', 'ben@bücher.example'), ('cid', 'ben@xn--bcher-kva.example'),
    ('dot', 'dot@example.org'), ('eve', 'eve@example.com'), ('gil', 'gil@bücher.example')) t(customer_id, email);
create table people.contact_repairs as select 'fay' as row_key, 'email' as column_name, 'malformed_email' as rule,
    'fäy@example.com' as before, null::varchar as after;
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("SEGMENTATION_SECRET_KEY", raising=False)
    monkeypatch.setenv("SEGMENTATION_CAMPAIGNS__CONTROL_SHARE", "0.000001")
    home = Home(tmp_path / "home").ensure()
    with connect(home.warehouse, people=home.people) as con:
        con.execute(SHOP)
        con.execute(PEOPLE)
    return home


def materialise(home: Home, *assets: dg.AssetsDefinition) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        list(assets) or [delivery.mirrors, delivery.contact_history, delivery.plan],
        instance=dg.DagsterInstance.ephemeral(),
        resources={"warehouse": Warehouse.at(home)},
        raise_on_error=False,
    )


def rows(home: Home, query: str) -> list[tuple[Any, ...]]:
    with connect(home.warehouse, read_only=True) as con:
        return con.execute(query).fetchall()


def change(home: Home, statement: str) -> None:
    with connect(home.warehouse) as con:
        con.execute(statement)


def remember(home: Home, *records: Any) -> None:
    with open_state(home.state) as store, store.session(write=True) as session:
        session.add_all(records)


def key_of(home: Home) -> SecretKey:
    with open_state(home.state) as store:
        return open_key(home.secret_key, store)


def a_campaign(campaign_id: str, **values: Any) -> Campaign:
    told = {
        "name": "Name", "status": "sent", "content": {"products": {"P1": {}, "P2": {}}}, "digests": {}, "counts": {},
        "primary_metric": "buyers", "window_days": 14, "control_share": 0.1, "is_aa": False, "is_scheduled": False,
        "starts_at": NOW, "not_after": NOW + dt.timedelta(days=14), "created_at": NOW,
    } | values  # fmt: skip
    return Campaign(campaign_id=campaign_id, **told)


def a_send(send_id: str, customer_id: str, campaign_id: str = "old", **values: Any) -> Send:
    told = {
        "arm": "treated", "variant": "A", "status": "sent", "reason": "", "timezone": "UTC", "product_ids": "",
        "tries": 1, "next_try_at": NOW, "not_after": NOW, "claimed_by": "", "finished_at": NOW, "smtp_code": 250,
        "smtp_reply": "", "address_hash": "h",
    } | values  # fmt: skip
    return Send(send_id=send_id, campaign_id=campaign_id, customer_id=customer_id, **told)


def ghost(send_id: str, customer_id: str, campaign_id: str = "old", **values: Any) -> Send:
    told = {"arm": "control", "variant": "", "status": "ghost", "tries": 0, "smtp_code": None} | values
    return a_send(send_id, customer_id, campaign_id, **told)


def an_event(event_id: str, send_id: str, customer_id: str, kind: str, at: dt.datetime) -> SendEvent:
    return SendEvent(
        event_id=event_id, send_id=send_id, campaign_id="old", customer_id=customer_id, kind=kind, occurred_at=at,
        link=None, source="link", method="GET", user_agent="browser_mobile", network="n",
    )  # fmt: skip


# --- the mirrors ----------------------------------------------------------------------------------------------------


def test_without_any_campaign_the_mirrors_are_empty_tables_with_their_columns(home: Home) -> None:
    assert materialise(home, delivery.mirrors).success
    for name in MIRRORS:
        columns = [row[:2] for row in rows(home, f"describe delivery.{name}")]
        assert columns == list(TABLE_TYPES[f"delivery/{name}"].items())
        assert rows(home, f"select count(*) from delivery.{name}") == [(0,)]
    assert rows(home, "select cap_messages, cap_days, timezone from delivery.send_rules") == [(1, 7, "UTC")]


def test_the_mirrors_hold_what_the_state_store_holds_and_no_hash_of_an_address(home: Home) -> None:
    remember(
        home, a_campaign("old", counts={"product_ids": ["P1"], "hold_out_share": 0.05}), a_campaign("older"),
        a_send("s2", "ben"),
        ghost("s1", "ann"), an_event("e1", "s2", "ben", "click", NOW),
        Suppression(address_hash="hash-of-dot", customer_id="dot", kind="complaint", source="webhook",
                    campaign_id="old", created_at=NOW),
        Suppression(address_hash="other-hash", customer_id="dot", kind="complaint", source="webhook",
                    campaign_id="old", created_at=NOW - dt.timedelta(days=1)),
        Suppression(address_hash="hash-of-nobody", customer_id="", kind="manual", source="cli", campaign_id="",
                    created_at=NOW),
    )  # fmt: skip
    result = materialise(home, delivery.mirrors)
    assert result.success and all(check.passed for check in result.get_asset_check_evaluations())
    assert rows(home, "select campaign_id, product_ids, hold_out_share from delivery.campaigns") == [
        ("old", "P1", 0.05), ("older", "P1,P2", None)
    ]  # fmt: skip
    assert rows(home, "select send_id, arm, status, finished_at, smtp_code from delivery.sends") == [
        ("s1", "control", "ghost", NOW, None), ("s2", "treated", "sent", NOW, 250)
    ]  # fmt: skip
    assert rows(home, "select event_id, kind, link from delivery.events") == [("e1", "click", None)]
    assert rows(home, "from delivery.suppressions") == [("dot", "complaint", NOW - dt.timedelta(days=1))]
    everything = "".join(str(rows(home, f"from delivery.{name}")) for name in MIRRORS)
    assert "hash-of" not in everything and "'h'" not in everything


@pytest.mark.slow
def test_what_is_wrong_in_the_state_store_is_shown_and_does_not_stop_the_run(home: Home) -> None:
    remember(home, a_campaign("old"), a_send("s1", "ann", arm="control"))
    result = materialise(home, delivery.mirrors)
    assert result.success
    (broken,) = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert (broken.asset_key.path[-1], broken.check_name) == ("sends", "business")
    assert broken.description == (
        "who_is_left_out_gets_nothing: 1. Control group and hold-out are ghosts alone: none was sent, has a subject "
        "arm or waits to be sent. A treated customer is a ghost in a trial only, in which nobody is written to. stop "
        "sending, and judge the campaign by intention to treat: its groups are no longer what was drawn."
    )


# --- what was sent before -------------------------------------------------------------------------------------------


def _history(**tables: pl.DataFrame) -> list[tuple[Any, ...]]:
    """delivery.contact_history of hand-made tables, as of 30 June; the cap is 1 message within 7 days."""
    con = duckdb.connect()
    con.execute("create schema delivery; create schema campaigns")
    con.execute(f"create table campaigns.briefs as select '{BRIEF}' as brief_id")
    con.execute("create table delivery.send_rules as select 7 as cap_days")
    if (briefs := tables.pop("briefs", None)) is not None:
        con.register("_briefs", briefs.to_arrow())
        con.execute("create or replace table campaigns.briefs as from _briefs")
    for name, frame in tables.items():
        con.register("_frame", frame.to_arrow())
        con.execute(f"create table delivery.{name} as from _frame")
    model = load_model(SQL_ROOT / "delivery" / "contact_history.sql")
    return con.execute(model.query, {"as_of": dt.date(2026, 6, 30)}).fetchall()


def _sends(*told: tuple[str, str, str, dt.datetime | None]) -> pl.DataFrame:
    schema = {
        "customer_id": pl.String(), "campaign_id": pl.String(), "status": pl.String(), "finished_at": pl.Datetime("us"),
    }  # fmt: skip
    return pl.DataFrame(list(told), schema=schema, orient="row")


def _clicks(*told: tuple[str, dt.datetime, bool]) -> pl.DataFrame:
    schema = {"customer_id": pl.String(), "occurred_at": pl.Datetime("us"), "is_robot": pl.Boolean()}
    return pl.DataFrame(list(told), schema=schema, orient="row").with_columns(kind=pl.lit("click"))


OLD = pl.DataFrame(
    {"campaign_id": ["old"], "starts_at": [NOW], "not_after": [dt.datetime(2026, 7, 10)], "status": ["sending"]}
)


@pytest.mark.parametrize(
    ("status", "finished_at", "counts"),
    [
        ("sent", dt.datetime(2026, 6, 25, 0, 0), 1),  # the seventh day before the campaign's first
        ("sent", dt.datetime(2026, 6, 24, 23, 59), 0),
        ("sent", dt.datetime(2026, 7, 3), 1),  # the shop's data may be older than its campaigns
        ("ghost", NOW, 1),
        ("uncertain", NOW, 1),
        ("pending", None, 1),  # about to leave: it counts from its campaign's start
        ("claimed", None, 1),
    ],
)
def test_the_cap_counts_messages_and_ghosts_of_its_days(
    status: str, finished_at: dt.datetime | None, counts: int
) -> None:
    ((_, in_cap, *_),) = _history(
        campaigns=OLD, sends=_sends(("ann", "old", status, finished_at)), labelled_events=_clicks()
    )
    assert in_cap == counts


@pytest.mark.parametrize("status", ["pending", "claimed"])
def test_a_message_of_a_long_campaign_that_still_waits_counts_for_the_cap(status: str) -> None:
    sends = _sends(("ann", "old", status, None))
    long_begun = OLD.with_columns(starts_at=pl.lit(dt.datetime(2026, 6, 20)))
    stopped = long_begun.with_columns(status=pl.lit("cancelled"))
    over = long_begun.with_columns(not_after=pl.lit(dt.datetime(2026, 7, 1)))
    for campaigns, counts in ((long_begun, 1), (stopped, 0), (over, 0)):
        ((_, in_cap, *_),) = _history(campaigns=campaigns, sends=sends, labelled_events=_clicks())
        assert in_cap == counts


@pytest.mark.parametrize(
    ("status", "finished_at", "counts"),
    [
        ("failed", dt.datetime(2026, 6, 25), 1), ("failed", dt.datetime(2026, 6, 24, 23, 59), 0),
        ("skipped", dt.datetime(2026, 6, 25), 1), ("skipped", dt.datetime(2026, 6, 24, 23, 59), 0),
        ("expired", NOW, 0),  # its campaign began on 20 June, and so did the ghosts beside it
    ],
)  # fmt: skip
def test_what_reached_nobody_counts_for_the_cap_as_a_control_does_and_is_no_message(
    status: str, finished_at: dt.datetime, counts: int
) -> None:
    begun = OLD.with_columns(starts_at=pl.lit(dt.datetime(2026, 6, 20)))
    ((_, in_cap, last, in_a_row, *_),) = _history(
        campaigns=begun, sends=_sends(("ann", "old", status, finished_at)), labelled_events=_clicks()
    )
    assert (in_cap, last, in_a_row) == (counts, None, 0)


def test_of_two_places_in_the_present_plan_the_one_with_a_message_is_named() -> None:
    sends = _sends(("ann", BRIEF, "sent", NOW), ("ann", "Z", "skipped", NOW))
    briefs = pl.DataFrame({"brief_id": [BRIEF, "Z"]})
    ((*_, present, messages),) = _history(campaigns=OLD, sends=sends, labelled_events=_clicks(), briefs=briefs)
    assert (present, messages) == (BRIEF, 2)
    ((*_, present, messages),) = _history(
        campaigns=OLD, sends=_sends(("ann", BRIEF, "failed", NOW)), labelled_events=_clicks()
    )
    assert (present, messages) == (BRIEF, 1)


def test_messages_in_a_row_are_counted_since_the_last_click_by_hand() -> None:
    days = [dt.datetime(2026, month, 1, 9) for month in (1, 2, 3, 4)]
    sends = _sends(*(("ann", f"old{place}", "sent", day) for place, day in enumerate(days)),
                   ("ann", "old9", "ghost", dt.datetime(2026, 5, 1)))  # fmt: skip
    by_hand, robot = ("ann", days[1] + dt.timedelta(hours=1), False), ("ann", days[3] + dt.timedelta(hours=1), True)
    for clicks, in_a_row in (((), 4), ((robot,), 4), ((by_hand, robot), 2)):
        ((_, _, last, found, *_),) = _history(campaigns=OLD, sends=sends, labelled_events=_clicks(*clicks))
        assert (last, found) == (days[3], in_a_row)


def test_campaigns_of_the_present_plan_are_kept_apart() -> None:
    sends = _sends(("ann", BRIEF, "sent", NOW), ("ben", BRIEF, "ghost", NOW), ("ben", "old", "sent", NOW))
    assert _history(campaigns=OLD, sends=sends, labelled_events=_clicks()) == [
        ("ann", 0, None, 0, None, BRIEF, 1), ("ben", 1, NOW, 1, None, BRIEF, 1)
    ]  # fmt: skip


# --- the plan -------------------------------------------------------------------------------------------------------

PLAN = "select customer_id, decision, reason from delivery.plan"


def test_every_customer_is_planned_and_one_address_in_two_scripts_is_shared(home: Home) -> None:
    result = materialise(home)
    assert result.success and all(check.passed for check in result.get_asset_check_evaluations())
    assert rows(home, PLAN) == [
        ("ann", "send", "send"), ("ben", "excluded", "shared_address"), ("cid", "excluded", "shared_address"),
        ("dot", "send", "send"), ("eve", "send", "send"), ("fay", "excluded", "needs_smtputf8"),
        ("gil", "excluded", "no_campaign"),
    ]  # fmt: skip
    assert rows(home, "select timezone, not_before, not_after, product_ids from delivery.plan limit 1") == [
        ("Europe/Berlin", dt.datetime(2026, 7, 1, 6), dt.datetime(2026, 7, 14, 22), "P3,P4,P5")
    ]
    assert rows(home, "select audience_customers, send_customers, excluded_customers, elsewhere_customers "
                      "from delivery.campaign_plans") == [(6, 3, 3, 0)]  # fmt: skip
    assert rows(home, "select sum(customers) from delivery.plan_reasons") == [(7,)]
    (told,) = [m for m in result.asset_materializations_for_node("delivery__plan") if m.asset_key.path[-1] == "plan"]
    table = str(told.metadata["who_and_why"].value)
    assert "| Next order | excluded | 2 | 2 customers: another customer has the same address" in table
    assert "data:image/png" in str(told.metadata["who_and_why_plot"].value)
    assert told.metadata["send_customers"].value == 3


@pytest.mark.slow
def test_planning_twice_gives_the_same_plan(home: Home) -> None:
    queries = ("from delivery.plan", "from delivery.campaign_plans", "from delivery.plan_reasons")
    assert materialise(home).success
    before = [rows(home, query) for query in queries]
    assert materialise(home).success
    assert [rows(home, query) for query in queries] == before


def test_who_unsubscribed_or_bounced_since_is_left_out_by_id_and_by_address(home: Home) -> None:
    remember(
        home,
        Suppression(address_hash="", customer_id="ann", kind="unsubscribe", source="page", campaign_id="",
                    created_at=NOW),
        # The row of another customer, who had the address before: the id is not dot's.
        Suppression(address_hash=key_of(home).hash_address("dot@example.org"), customer_id="someone", kind="complaint",
                    source="webhook", campaign_id="", created_at=NOW),
    )  # fmt: skip
    assert materialise(home).success
    found = dict(row[::2] for row in rows(home, PLAN))
    assert (found["ann"], found["dot"], found["eve"]) == ("suppressed_unsubscribe", "suppressed_complaint", "send")


@pytest.mark.slow
def test_who_had_a_message_or_a_ghost_of_one_within_the_cap_gets_no_other(home: Home) -> None:
    remember(home, a_campaign("old"), a_send("s1", "ann"), ghost("s2", "dot"))
    result = materialise(home)
    assert result.success and all(check.passed for check in result.get_asset_check_evaluations())
    found = dict(row[::2] for row in rows(home, PLAN))
    assert (found["ann"], found["dot"], found["eve"]) == ("frequency_cap", "frequency_cap", "send")


@pytest.mark.slow
def test_the_plan_of_a_campaign_that_is_being_sent_stays_as_it_was_approved(home: Home) -> None:
    assert materialise(home).success
    digest = "select audience_digest from delivery.campaign_plans"
    before = rows(home, digest)
    remember(home, a_campaign(BRIEF, status="sending"), a_send("s1", "ann", BRIEF))
    assert materialise(home).success
    assert rows(home, digest) == before


@pytest.mark.slow
def test_without_the_key_of_this_home_nobody_is_written_to_and_the_run_goes_on(home: Home) -> None:
    assert materialise(home).success
    home.secret_key.unlink()
    result = materialise(home)
    assert result.success
    found = dict(row[::2] for row in rows(home, PLAN))
    assert (found["ann"], found["gil"]) == ("no_key", "no_campaign")
    assert rows(home, "select sentence from delivery.plan_reasons where reason = 'no_key'") == [
        ("3 customers: nobody can be drawn or recognised without the secret key. The secret key is gone: secret.key is "
         "not in HOME and SEGMENTATION_SECRET_KEY is not set. Bring it back from a backup: without it nobody can be "
         "recognised who unsubscribed, so nothing is sent.",)
    ]  # fmt: skip


@pytest.mark.slow
def test_a_source_without_contacts_and_consent_has_a_plan_in_which_nobody_is_written_to(home: Home) -> None:
    home.people.unlink()
    change(home, "update features.reachability set has_consent = false, has_valid_email = false, is_reachable = false")
    assert materialise(home).success
    assert rows(home, "select distinct decision, reason from delivery.plan order by all") == [
        ("excluded", "no_campaign"), ("excluded", "no_consent")
    ]  # fmt: skip


@pytest.mark.slow
def test_without_a_brief_everybody_is_in_the_plan_and_the_reason_says_why(home: Home) -> None:
    change(home, "delete from campaigns.briefs; update quality.capabilities set is_on = false, reason = 'no products.'")
    result = materialise(home)
    assert result.success and all(check.passed for check in result.get_asset_check_evaluations())
    assert rows(home, "select reason, customers, sentence from delivery.plan_reasons") == [
        ("no_campaign", 7, "7 customers: in no campaign's audience. No campaign is proposed: no products.")
    ]
    assert rows(home, "select count(*) from delivery.campaign_plans") == [(0,)]


@pytest.mark.slow
def test_a_plan_that_reaches_somebody_without_consent_is_not_written(home: Home) -> None:
    assert materialise(home).success
    before = rows(home, "from delivery.plan")
    # The flags contradict each other: planning goes by the parts, the check by the whole.
    change(home, "update features.reachability set is_reachable = false where customer_id = 'eve'")
    result = materialise(home, delivery.plan)
    assert not result.success
    (broken,) = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert "only_the_reachable_are_written_to: 1." in str(broken.description)
    assert rows(home, "from delivery.plan") == before


def test_a_time_zone_of_the_shop_that_is_none_ends_in_a_sentence(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMENTATION_DELIVERY__TIMEZONE", "Mars/Olympus")
    result = materialise(home, delivery.mirrors)
    assert not result.success
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert (
        "Nothing can be planned with these settings: delivery.timezone is 'Mars/Olympus', which is no time zone. Write "
        "one like Europe/Berlin or UTC." in str(failed.event_specific_data)
    )


@pytest.mark.slow
def test_no_address_is_in_the_warehouse_the_state_store_or_what_the_run_says(home: Home, caplog: Any) -> None:
    result = materialise(home)
    said = caplog.text + "".join(str(event) for event in result.all_events)
    tables = [f"delivery.{row[0]}" for row in rows(home, "select table_name from duckdb_tables() "
                                                         "where schema_name = 'delivery'")]  # fmt: skip
    said += "".join(str(rows(home, f"from {table}")) for table in tables)
    with sqlite3.connect(home.state) as state:
        said += "\n".join(state.iterdump())
    for word in ("@example", "bücher", "xn--", "fäy"):
        assert word not in said
