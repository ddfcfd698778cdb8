"""Every check on the plan and on the mirrors: silent on good tables, and each fault is found in the rows that have it.

The tables are written by hand from the declared columns, so that a check reads what the warehouse holds. The checks of
delivery.labelled_events are shown failing beside the rules that make it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from segmentation_assets.delivery.tables import TABLE_TYPES
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model

AS_OF = dt.date(2026, 6, 30)
CHECKS = sorted(
    f"{path.parent.name}/{path.stem}"
    for path in (SQL_ROOT / "checks" / "delivery").glob("*/*.sql")
    if path.parent.name != "labelled_events"
)

GOOD = """
create schema clean; create schema features; create schema campaigns; create schema delivery;
create table clean.customers as select 'C' || i as customer_id from range(40) t(i);
create table features.reachability as select customer_id, customer_id <> 'C39' as is_reachable, true as is_adult
    from clean.customers;
create table campaigns.briefs as select 'K' as brief_id, 'T1' as taste_segment_id, 'S1,S2' as stage_segment_ids,
    1.0::double as activity_floor, 'P1,P2' as product_ids, 31 as audience_customers;
create table campaigns.audience_members as select customer_id, 'T1' as taste_segment_id, 'S1' as stage_segment_id,
    true as is_adult, if(row_number() over (order by customer_id) <= 30 or customer_id = 'C39', 2.0, 0.5)::double
    as expected_products from (select * from clean.customers where customer_id <> 'C39' order by customer_id)
    union all select 'C39', 'T1', 'S2', true, 1.0;
create table campaigns.promotable_products as select 'P' || i as product_id, i <> 9 as is_promotable,
    i = 8 as is_age_restricted from range(10) t(i);
insert into delivery.send_rules values (1, 7, 8, 90, 21, 8, 'UTC', 0.1, 0.0);
insert into delivery.plan select c.customer_id, if(m.expected_products >= 1, 'K', null),
    case when c.customer_id = 'C39' or m.expected_products < 1 then 'excluded'
        when c.customer_id in ('C1', 'C10') then 'control' else 'send' end as decision, null, '', 'Europe/Berlin',
    null, null, '', m.taste_segment_id, m.stage_segment_id
    from clean.customers c join campaigns.audience_members m using (customer_id);
update delivery.plan set
    reason = if(decision = 'excluded', if(campaign_id is null, 'no_campaign', 'no_consent'), decision),
    variant = if(decision = 'send', 'A', ''), product_ids = if(decision = 'excluded', '', 'P3,P4,P5'),
    not_before = if(decision = 'excluded', null, timestamp '2026-07-01 06:00'),
    not_after = if(decision = 'excluded', null, timestamp '2026-07-14 22:00');
insert into delivery.campaign_plans select 'K', 'Name', timestamp '2026-07-01', timestamp '2026-07-15', 31, 28, 2, 0, 1,
    0, 0.1, 0.05, 0.2, 4.0, 1.5, repeat('a', 64), 'Nothing can be found.', 0.0;
insert into delivery.plan_reasons select campaign_id, decision, reason, 'A sentence.', count(*) from delivery.plan
    group by all;
create table delivery.contact_history as select 'C2' as customer_id, 0 as messages_in_cap,
    timestamp '2026-06-01 09:00' as last_message_at, 1 as messages_since_click, null::timestamp as last_click_at,
    'K' as present_campaign_id, 1 as present_messages;
insert into delivery.campaigns values
    ('K', 'Name', 'sending', 'buyers', 14, 0.1, false, timestamp '2026-07-01', timestamp '2026-07-15', 'P1,P2', 0.0),
    ('A', 'Trial', 'sent', 'buyers', 14, 0.5, true, timestamp '2026-05-01', timestamp '2026-05-15', 'P1', 0.0);
insert into delivery.sends values
    ('s1', 'K', 'C2', 'treated', 'A', 'sent', '', timestamp '2026-07-01 09:00', 1, 250, '', 'T1', 'S1'),
    ('s2', 'K', 'C1', 'control', '', 'ghost', '', timestamp '2026-07-01 09:00', 0, null, '', 'T1', 'S1'),
    ('s3', 'K', 'C3', 'treated', 'B', 'pending', '', null, 0, null, '', 'T1', 'S1'),
    ('s4', 'K', 'C4', 'treated', 'A', 'failed', 'refused', timestamp '2026-07-01 09:01', 1, 550, '', 'T1', 'S1'),
    ('s5', 'A', 'C5', 'treated', 'A', 'ghost', '', timestamp '2026-05-01 09:00', 0, null, '', 'T1', 'S1'),
    ('s6', 'A', 'C2', 'hold_out', '', 'ghost', '', timestamp '2026-05-01 09:00', 0, null, '', 'T1', 'S1');
insert into delivery.events values
    ('e1', 's1', 'K', 'C2', 'open', timestamp '2026-07-01 10:00', null, 'pixel', 'GET', 'browser_mobile', 'n1'),
    ('e2', 's1', 'K', 'C2', 'click', timestamp '2026-07-01 10:01', 1, 'link', 'GET', 'browser_mobile', 'n1');
insert into delivery.suppressions values ('C39', 'complaint', timestamp '2026-05-02 10:00');
"""

PLAN, SENDS, PLANS = "update delivery.plan set", "update delivery.sends set", "update delivery.campaign_plans set"
#: check -> (statement that breaks it, keys of the rows it must then name), several of them.
FAULTS: dict[str, list[tuple[str, list[Any]]]] = {
    "plan/one_row_per_customer": [
        ("delete from delivery.plan where customer_id = 'C7'", ["C7"]),
        ("insert into delivery.plan select * from delivery.plan where customer_id = 'C7'", ["C7"]),
        (f"{PLAN} customer_id = 'nobody' where customer_id = 'C7'", ["C7", "nobody"]),
    ],
    "plan/decisions_fit_reasons": [
        (f"{PLAN} decision = 'maybe', reason = 'maybe' where customer_id = 'C2'", ["C2"]),
        (f"{PLAN} decision = null where customer_id = 'C2'", ["C2"]),
        (f"{PLAN} reason = 'no_consent' where customer_id = 'C2'", ["C2"]),
        (f"{PLAN} reason = '' where customer_id = 'C39'", ["C39"]),
        (f"{PLAN} reason = 'no_campaign' where customer_id = 'C39'", ["C39"]),
        (f"{PLAN} variant = '' where customer_id = 'C2'", ["C2"]),
        (f"{PLAN} variant = 'A' where customer_id = 'C1'", ["C1"]),
        (f"{PLAN} not_before = not_after where customer_id = 'C1'", ["C1"]),
        (f"{PLAN} not_after = null where customer_id = 'C2'", ["C2"]),
    ],
    "plan/audience_is_the_briefs": [
        (f"{PLAN} campaign_id = null where customer_id = 'C2'", ["C2"]),
        (f"{PLAN} campaign_id = 'other' where customer_id = 'C2'", ["C2"]),
        ("update campaigns.audience_members set expected_products = 0.9 where customer_id = 'C2'", ["C2"]),
        ("update campaigns.audience_members set taste_segment_id = 'T2' where customer_id = 'C2'", ["C2"]),
        ("update campaigns.audience_members set stage_segment_id = 'S9' where customer_id = 'C2'", ["C2"]),
    ],
    "plan/only_the_reachable_are_written_to": [
        ("update features.reachability set is_reachable = false where customer_id = 'C2'", ["C2"]),
        ("delete from features.reachability where customer_id = 'C1'", ["C1"]),
        ("insert into delivery.suppressions values ('C1', 'unsubscribe', now()::timestamp)", ["C1"]),
        ("insert into delivery.suppressions values ('C2', 'manual', now()::timestamp)", ["C2"]),
    ],
    "plan/no_customer_over_the_cap": [
        ("update delivery.contact_history set messages_in_cap = 1", ["C2"]),
        ("update delivery.contact_history set messages_in_cap = 1, customer_id = 'C1'", ["C1"]),
    ],
    "plan/quiet_hours_are_kept": [
        (f"{PLAN} not_before = timestamp '2026-07-01 05:59' where customer_id = 'C2'", ["C2"]),
        (f"{PLAN} not_before = timestamp '2026-07-01 19:00' where customer_id = 'C2'", ["C2"]),
        (f"{PLAN} timezone = 'America/New_York' where customer_id = 'C2'", ["C2"]),
    ],
    "plan/products_may_be_offered": [
        (f"{PLAN} product_ids = 'P9' where customer_id = 'C2'", ["C2"]),
        (f"{PLAN} product_ids = 'gone' where customer_id = 'C2'", ["C2"]),
        (f"{PLAN} product_ids = 'P1' where customer_id = 'C2'", ["C2"]),
        (f"{PLAN} product_ids = 'P3,P3' where customer_id = 'C2'", ["C2"]),
        (f"{PLAN} product_ids = 'P3,P4,P5,P6' where customer_id = 'C2'", ["C2"]),
        (
            f"{PLAN} product_ids = 'P8' where customer_id in ('C1', 'C2'); "
            "update features.reachability set is_adult = customer_id = 'C1'",
            ["C2"],
        ),
        (
            "update campaigns.promotable_products set is_age_restricted = true where product_id = 'P1'; "
            "update features.reachability set is_adult = customer_id <> 'C2'",
            ["C2"],
        ),
    ],
    "campaign_plans/one_row_per_campaign": [
        ("delete from delivery.campaign_plans", ["K"]),
        ("insert into delivery.campaign_plans select * from delivery.campaign_plans", ["K"]),
        ("delete from campaigns.briefs", ["K"]),
        (f"{PLANS} base_rate = 1.1", ["K"]),
        (f"{PLANS} control_cost_amount = -1", ["K"]),
        (f"{PLANS} not_after = starts_at", ["K"]),
        (f"{PLANS} sentence = ''", ["K"]),
        (f"{PLANS} audience_digest = 'short'", ["K"]),
    ],
    "campaign_plans/counts_reconcile": [
        (f"{PLANS} send_customers = 27", ["K"]),
        (f"{PLANS} elsewhere_customers = 1", ["K"]),
        ("update campaigns.briefs set audience_customers = 30", ["K"]),
        (f"{PLAN} decision = 'control' where customer_id = 'C2'", ["K"]),
        ("delete from delivery.plan where customer_id = 'C2'", ["K"]),
    ],
    "campaign_plans/control_share_within_chance": [
        (f"{PLANS} control_customers = 140, send_customers = 860, control_share = 0.1 where true; "
         f"{PLANS} control_customers = 165, send_customers = 835", ["K"]),
        (f"{PLANS} control_customers = 0, send_customers = 1000", ["K"]),
        (f"{PLANS} control_customers = 1, send_customers = 9, control_share = 0.0", ["K"]),
        (f"{PLANS} control_customers = 10, send_customers = 0", ["K"]),
    ],
    "plan_reasons/counts_reconcile": [
        ("update delivery.plan_reasons set customers = customers + 1 where reason = 'send'", ["K"]),
        ("delete from delivery.plan_reasons where reason = 'no_campaign'", [None]),
        ("update delivery.plan_reasons set sentence = '' where reason = 'control'", ["K"]),
        ("insert into delivery.plan_reasons values ('K', 'excluded', 'minor', 'More.', 1)", ["K"]),
    ],
    "sends/one_row_per_campaign_and_customer": [
        ("insert into delivery.sends select * replace ('s9' as send_id) from delivery.sends where send_id = 's1'",
         ["K", "K"]),
        (f"{SENDS} send_id = 's2' where send_id = 's1'", ["K", "K"]),
        (f"{SENDS} arm = 'both' where send_id = 's1'", ["K"]),
        (f"{SENDS} status = 'gone' where send_id = 's1'", ["K"]),
        (f"{SENDS} tries = -1 where send_id = 's1'", ["K"]),
    ],
    "sends/statuses_fit_times": [
        (f"{SENDS} finished_at = null where send_id = 's1'", ["s1"]),
        (f"{SENDS} finished_at = now()::timestamp where send_id = 's3'", ["s3"]),
        (f"{SENDS} tries = 0 where send_id = 's1'", ["s1"]),
        (f"{SENDS} smtp_code = 550 where send_id = 's1'", ["s1"]),
        (f"{SENDS} tries = 1 where send_id = 's2'", ["s2"]),
        (f"{SENDS} smtp_code = 250 where send_id = 's2'", ["s2"]),
    ],
    "sends/campaigns_exist": [("delete from delivery.campaigns where campaign_id = 'A'", ["s5", "s6"])],
    "sends/who_is_left_out_gets_nothing": [
        (f"{SENDS} status = 'sent' where send_id = 's2'", ["s2"]),
        (f"{SENDS} status = 'pending' where send_id = 's6'", ["s6"]),
        (f"{SENDS} variant = 'A' where send_id = 's2'", ["s2"]),
        (f"{SENDS} arm = 'control' where send_id = 's1'", ["s1"]),
        (f"{SENDS} status = 'ghost' where send_id = 's1'", ["s1"]),
        (f"{SENDS} status = 'sent' where send_id = 's5'", ["s5"]),
    ],
    "sends/no_customer_over_the_cap": [
        (f"{SENDS} finished_at = timestamp '2026-06-25 23:00' where send_id = 's6'", ["C2"]),
        (f"{SENDS} status = 'uncertain', customer_id = 'C1', finished_at = timestamp '2026-07-03' "
         "where send_id = 's4'", ["C1"]),
    ],
    "events/one_row_per_event": [
        ("update delivery.events set event_id = 'e1'", ["e1", "e1"]),
        ("update delivery.events set kind = 'look' where event_id = 'e1'", ["e1"]),
        ("update delivery.events set occurred_at = null where event_id = 'e1'", ["e1"]),
    ],
    "events/events_belong_to_sends": [
        ("update delivery.events set send_id = 'lost' where event_id = 'e1'", ["e1"]),
        ("update delivery.events set customer_id = 'C3' where event_id = 'e2'", ["e2"]),
        ("update delivery.events set campaign_id = 'A' where event_id = 'e2'", ["e2"]),
    ],
    "events/nobody_answers_what_was_not_sent": [
        ("update delivery.events set send_id = 's2' where event_id = 'e1'", ["e1"]),
        (f"{SENDS} status = 'expired' where send_id = 's1'", ["e1", "e2"]),
    ],
    "suppressions/one_row_per_customer_and_kind": [
        ("insert into delivery.suppressions select * from delivery.suppressions", ["C39", "C39"]),
        ("update delivery.suppressions set kind = 'mood'", ["C39"]),
        ("update delivery.suppressions set created_at = null", ["C39"]),
        ("update delivery.suppressions set customer_id = ''", [""]),
    ],
    "campaigns/one_row_per_campaign": [
        ("update delivery.campaigns set campaign_id = 'K'", ["K", "K"]),
        ("update delivery.campaigns set status = 'draft' where campaign_id = 'A'", ["A"]),
        ("update delivery.campaigns set primary_metric = null where campaign_id = 'A'", ["A"]),
        ("update delivery.campaigns set window_days = 0 where campaign_id = 'A'", ["A"]),
        ("update delivery.campaigns set control_share = 1 where campaign_id = 'A'", ["A"]),
        ("update delivery.campaigns set not_after = starts_at where campaign_id = 'A'", ["A"]),
    ],
    "contact_history/one_row_per_customer": [
        ("insert into delivery.contact_history select * from delivery.contact_history", ["C2", "C2"]),
        ("update delivery.contact_history set last_message_at = null", ["C2"]),
        ("update delivery.contact_history set present_campaign_id = null", ["C2"]),
        ("update delivery.contact_history set messages_in_cap = -1", ["C2"]),
    ],
    "send_rules/one_row": [
        ("insert into delivery.send_rules select * from delivery.send_rules", [2]),
        ("delete from delivery.send_rules", [0]),
        ("update delivery.send_rules set cap_messages = null", [1]),
        ("update delivery.send_rules set quiet_from_hour = 24", [1]),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    con = duckdb.connect()
    con.execute("set threads = 1")
    first, _, rest = GOOD.partition("create table clean.customers")
    con.execute(first)
    for table, types in TABLE_TYPES.items():
        columns = ", ".join(f"{name} {sql_type}" for name, sql_type in types.items())
        con.execute(f"create table {table.replace('/', '.')} ({columns})")
    con.execute("create table clean.customers" + rest)
    yield con
    con.close()


def _offending(con: duckdb.DuckDBPyConnection, check: str) -> list[Any]:
    """First column of the offending rows, sorted."""
    model = load_model(SQL_ROOT / "checks" / "delivery" / f"{check}.sql")
    rows = con.execute(model.query, {"as_of": AS_OF} if model.needs_as_of else {}).fetchall()
    return sorted((row[0] for row in rows), key=str)


@pytest.mark.parametrize("check", CHECKS)
def test_a_sound_plan_and_sound_mirrors_break_no_rule(warehouse: duckdb.DuckDBPyConnection, check: str) -> None:
    assert _offending(warehouse, check) == []


@pytest.mark.parametrize(
    ("check", "place"), [(check, place) for check, faults in FAULTS.items() for place in range(len(faults))]
)
def test_each_fault_is_found_in_the_rows_that_have_it(
    warehouse: duckdb.DuckDBPyConnection, check: str, place: int
) -> None:
    statement, expected = FAULTS[check][place]
    warehouse.execute("begin")
    try:
        warehouse.execute(statement)
        assert _offending(warehouse, check) == expected
    finally:
        warehouse.execute("rollback")


def test_every_check_is_shown_failing() -> None:
    assert sorted(FAULTS) == CHECKS


def test_a_control_group_that_chance_may_make_raises_no_alarm(warehouse: duckdb.DuckDBPyConnection) -> None:
    check = "campaign_plans/control_share_within_chance"
    for control, drawn in ((0, 10), (5, 10), (140, 1000), (60, 1000), (100_000, 1_000_000)):
        warehouse.execute("begin")
        try:
            warehouse.execute(f"{PLANS} control_customers = {control}, send_customers = {drawn - control}")
            assert _offending(warehouse, check) == [], (control, drawn)
        finally:
            warehouse.execute("rollback")


def test_messages_a_whole_cap_apart_and_equal_quiet_hours_are_no_fault(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.execute("begin")
    try:
        # Weekly messages on the same day of the week are seven days apart.
        warehouse.execute(f"{SENDS} finished_at = timestamp '2026-06-24 10:00' where send_id = 's6'")
        assert _offending(warehouse, "sends/no_customer_over_the_cap") == []
        warehouse.execute(f"{PLAN} not_before = timestamp '2026-07-01 01:00' where customer_id = 'C2'")
        warehouse.execute("update delivery.send_rules set quiet_from_hour = 8")
        assert _offending(warehouse, "plan/quiet_hours_are_kept") == []
    finally:
        warehouse.execute("rollback")
