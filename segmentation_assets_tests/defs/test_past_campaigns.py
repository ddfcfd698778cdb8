"""Campaigns as the warehouse holds them: windows, arms, outcomes and engagement, of the hand-made shop."""

from __future__ import annotations

import datetime as dt
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from segmentation_assets.settings import PROJECT_ROOT
from segmentation_assets.sources.synthetic.settings import WorldSettings
from segmentation_assets_tests.defs.results_world import build, fill, make_tables


@pytest.fixture
def shop() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:", config={"threads": 1}) as con:
        make_tables(con)
        fill(con)
        build(con)
        yield con


def _rows(con: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    return con.execute(query).fetchall()


def test_windows_begin_with_the_campaign_and_past_ones_end_with_their_last_day(shop: duckdb.DuckDBPyConnection) -> None:
    assert _rows(shop, "select campaign_id, origin, started_at, window_ends_at, elapsed_share, is_experiment "
                       "from results.measured_campaigns order by campaign_id") == [
        ("K1", "past", dt.datetime(2026, 5, 1), dt.datetime(2026, 5, 11), 1.0, True),
        ("K2", "past", dt.datetime(2026, 5, 20), dt.datetime(2026, 6, 3), 1.0, False),  # nobody was left out
        ("summer", "sent", dt.datetime(2026, 7, 1, 9), dt.datetime(2026, 7, 15, 9), 1.0, True),
    ]  # fmt: skip


def test_arms_are_as_assigned_and_orders_count_in_the_window_only(shop: duckdb.DuckDBPyConnection) -> None:
    assert _rows(shop, "select customer_id, arm, is_buyer, order_count, net_amount::double, margin_amount::double, "
                       "lines_without_cost from results.campaign_customers where campaign_id = 'summer'") == [
        ("ann", "treated", True, 2, 60.0, 18.0, 1),  # 20 - 2 * 4 and 10 - 4; nobody knows what the tea pot cost
        ("ben", "treated", False, 0, 0.0, 0.0, 0),  # bounced
        ("cem", "treated", False, 0, 0.0, 0.0, 0),  # never left
        ("dot", "treated", False, 0, 0.0, 0.0, 0),  # an hour after the window
        ("eva", "control", True, 1, 10.0, 6.0, 0),
        ("fay", "control", False, 0, 0.0, 0.0, 0),  # an hour before the window
        ("gus", "hold_out", True, 1, 10.0, 6.0, 0),
    ]  # fmt: skip


def test_an_order_counts_from_the_first_moment_of_the_window_to_the_one_before_its_end(
    shop: duckdb.DuckDBPyConnection,
) -> None:
    shop.execute("insert into features.order_lines values "
                 "('M1', 'Q1', 'ben', 'P1', timestamp '2026-07-01 09:00', 1, 10), "
                 "('M2', 'Q2', 'cem', 'P1', timestamp '2026-07-15 09:00', 1, 10), "
                 "('M3', 'Q3', 'fay', 'P1', timestamp '2026-07-01 09:00', 1, 10), "
                 "('M4', 'Q4', 'eva', 'P1', timestamp '2026-07-15 09:00', 1, 10)")  # fmt: skip
    build(shop)
    found = dict(_rows(shop, "select customer_id, order_count from results.campaign_customers "
                             "where campaign_id = 'summer'"))  # fmt: skip
    assert (found["ben"], found["cem"], found["fay"], found["eva"]) == (1, 0, 1, 1)
    assert dict(_rows(shop, "select customer_id, recency_before from results.campaign_customers "
                            "where campaign_id = 'summer'"))["cem"] == "no order before"  # fmt: skip


def test_segments_are_those_of_the_plan_and_todays_stand_beside_them(shop: duckdb.DuckDBPyConnection) -> None:
    query = (
        "select customer_id, taste_segment_id, stage_segment_id, taste_segment_id_today "
        "from results.campaign_customers where customer_id in ('eva', 'fay') and campaign_id = '{}'"
    )
    assert _rows(shop, query.format("summer")) == [("eva", "T1", "S1", "T1"), ("fay", "T1", "S2", "T2")]
    assert _rows(shop, query.format("K1")) == [("eva", None, None, "T1")]
    shop.execute(
        "update delivery.sends set taste_segment_id = '', stage_segment_id = ''"
    )  # begun before they were kept
    build(shop)
    assert _rows(shop, query.format("summer")) == [("eva", None, None, "T1"), ("fay", None, None, "T2")]


def test_a_campaign_keeps_what_it_was_planned_with(shop: duckdb.DuckDBPyConnection) -> None:
    query = "select control_share, hold_out_share, primary_metric from results.measured_campaigns order by campaign_id"
    assert _rows(shop, query) == [(None, None, None), (None, None, None), (0.25, 0.25, "buyers")]
    shop.execute("update delivery.campaigns set control_share = 0, hold_out_share = null")
    build(shop)
    assert _rows(shop, query)[2] == (None, None, "buyers")


def test_a_message_of_which_nobody_knows_whether_it_left_counts_as_left(shop: duckdb.DuckDBPyConnection) -> None:
    shop.execute("update delivery.sends set status = 'uncertain' where customer_id = 'cem'")
    build(shop)
    assert _rows(shop, "select sent_customers from results.measured_campaigns where campaign_id = 'summer'") == [(4,)]


def test_a_robots_click_is_no_sign_that_a_bounced_message_arrived(shop: duckdb.DuckDBPyConnection) -> None:
    shop.execute("insert into delivery.events values ('e8', 's-ben', 'summer', 'ben', 'click', "
                 "timestamp '2026-07-01 09:01', 0, 'link', 'GET', 'security_scanner', 'n9')")  # fmt: skip
    build(shop)
    assert _rows(shop, "select is_delivered, is_bounced from results.campaign_customers where campaign_id = 'summer' "
                       "and customer_id = 'ben'") == [(False, True)]  # fmt: skip


def test_what_became_of_messages_is_told_without_robots(shop: duckdb.DuckDBPyConnection) -> None:
    assert _rows(shop, "select customer_id, is_delivered, is_opened, is_clicked, is_unsubscribed, is_bounced, variant, "
                       "product_id from results.campaign_customers where campaign_id = 'summer'") == [
        ("ann", True, True, True, False, False, "A", "P2"),  # a click is an open, though no pixel was fetched
        ("ben", False, False, False, False, True, "B", "P1"),
        ("cem", False, False, False, False, False, "A", "P1"),
        ("dot", True, False, False, True, False, "B", "P1"),  # a script clicked; the click by hand came too late
        ("eva", False, False, False, False, False, None, "P2"),
        ("fay", False, False, False, False, False, None, "P1"),
        ("gus", False, False, False, False, False, None, "P1"),
    ]  # fmt: skip


def test_a_past_campaign_knows_its_responses_and_not_what_was_delivered(shop: duckdb.DuckDBPyConnection) -> None:
    assert _rows(shop, "select customer_id, arm, is_buyer, is_clicked, is_opened, is_unsubscribed, is_delivered, "
                       "is_bounced from results.campaign_customers where campaign_id = 'K1'") == [
        ("ann", "treated", False, True, True, False, None, None),
        ("ben", "control", True, False, False, False, None, None),  # an hour before the last day's midnight
        ("eva", "treated", False, False, False, True, None, None),  # the open came after the window
    ]  # fmt: skip


def test_recency_is_that_of_the_day_the_campaign_began(shop: duckdb.DuckDBPyConnection) -> None:
    found = dict(
        _rows(shop, "select campaign_id || ' ' || customer_id, recency_before from results.campaign_customers")
    )
    assert found["summer ann"] == "no order before"
    assert found["summer ben"] == "ordered in the 90 days before"
    assert found["K1 ben"] == "ordered over a year before"
    assert found["summer fay"] == "ordered in the 90 days before"
    assert found["summer ann"] == "no order before"  # she bought in the window alone
    for days, words in ((90, "ordered in the 90 days before"), (91, "ordered 91 to 365 days before"),
                        (365, "ordered 91 to 365 days before"), (366, "ordered over a year before")):  # fmt: skip
        shop.execute("update features.order_lines set ordered_at = timestamp '2026-07-01 08:00' - to_days(?) "
                     "where customer_id = 'fay'", [days])  # fmt: skip
        build(shop)
        assert _rows(shop, "select recency_before from results.campaign_customers where campaign_id = 'summer' "
                           "and customer_id = 'fay'") == [(words,)]  # fmt: skip


def test_without_any_cost_the_margin_is_not_known(shop: duckdb.DuckDBPyConnection) -> None:
    shop.execute("update clean.products set unit_cost = null")
    build(shop)
    assert _rows(shop, "select count(margin_amount) from results.campaign_customers") == [(0,)]


def test_a_running_window_says_how_much_of_it_the_data_cover(shop: duckdb.DuckDBPyConnection) -> None:
    build(shop, dt.date(2026, 7, 7))  # to midnight of the 8th: 6 days and 15 hours of 14 days
    assert _rows(shop, "select elapsed_share from results.measured_campaigns where campaign_id = 'summer'") == [
        (round(159 / 336, 6),)
    ]


def test_what_the_source_tells_later_of_a_campaign_sent_from_here_makes_no_second_one(
    shop: duckdb.DuckDBPyConnection,
) -> None:
    shop.execute("insert into clean.campaigns (campaign_id, starts_on) values ('summer', date '2026-07-01')")
    shop.execute("insert into clean.campaign_contacts values ('summer', 'ann', 'treated', timestamp '2026-07-01')")
    shop.execute("insert into clean.campaign_responses (response_id, campaign_id, customer_id, kind, occurred_at) "
                 "values ('R8', 'summer', 'ben', 'click', timestamp '2026-07-02 09:00')")  # fmt: skip
    build(shop)
    assert _rows(shop, "select origin from results.measured_campaigns where campaign_id = 'summer'") == [("sent",)]
    assert _rows(shop, "select count(*) from results.campaign_customers where campaign_id = 'summer'") == [(7,)]
    assert _rows(shop, "select messages_last_90_days, messages_since_click from features.engagement "
                       "where customer_id = 'ann'") == [(1, 0)]  # fmt: skip
    # The provider's clicks of it count robots; what was heard here does not.
    assert _rows(shop, "select days_since_click from features.engagement where customer_id = 'ben'") == [(None,)]


def test_the_hold_out_counts_from_the_first_campaign_to_the_end_of_the_last(shop: duckdb.DuckDBPyConnection) -> None:
    rows = _rows(shop, "select customer_id, arm, order_count from results.hold_out_customers")
    assert rows == [("ann", "treated", 2), ("ben", "treated", 0), ("cem", "treated", 0), ("dot", "treated", 0),
                    ("eva", "treated", 1), ("fay", "treated", 0), ("gus", "hold_out", 1)]  # fmt: skip
    shop.execute("delete from delivery.sends where arm = 'hold_out'")
    build(shop)
    assert _rows(shop, "select * from results.hold_out_customers") == []


def test_a_hold_out_that_began_later_counts_from_its_first_campaign(shop: duckdb.DuckDBPyConnection) -> None:
    # gus was written to in summer, when nobody was held out; everybody else of summer has nobody beside them.
    shop.execute("update delivery.campaigns set hold_out_share = 0")
    shop.execute("update delivery.sends set arm = 'treated', variant = 'A', status = 'sent' where customer_id = 'gus'")
    shop.execute("insert into delivery.campaigns values ('late', 'Late', 'sent', 'buyers', 14, 0.25, false, "
                 "timestamp '2026-07-16 09:00', timestamp '2026-07-18 20:00', 'P1', null)")  # fmt: skip
    shop.execute("insert into delivery.sends values "
                 "('l-gus', 'late', 'gus', 'hold_out', '', 'ghost', '', timestamp '2026-07-16 09:00', 0, null, "
                 "'', '', ''), ('l-hal', 'late', 'hal', 'treated', 'A', 'sent', '', timestamp '2026-07-16 09:00', 1, "
                 "250, '', '', '')"
                 )  # fmt: skip
    build(shop)
    begun = dt.datetime(2026, 7, 16, 9)
    assert _rows(shop, "select customer_id, arm, entered_at, order_count from results.hold_out_customers") == [
        ("gus", "hold_out", begun, 1), ("hal", "treated", begun, 0)
    ]  # fmt: skip


_MORE = (
    "insert into delivery.campaigns values ('{0}', 'More', 'sent', 'buyers', 14, 0.25, {1}, timestamp '{2} 09:00', "
    "timestamp '2026-12-31 20:00', 'P1', 0.25); insert into delivery.sends values "
    "('{0}-gus', '{0}', 'gus', '{3}', '', 'ghost', '', timestamp '{2} 09:00', 0, null, '', '', ''), "
    "('{0}-hal', '{0}', 'hal', 'hold_out', '', 'ghost', '', timestamp '{2} 09:00', 0, null, '', '', ''), "
    "('{0}-ann', '{0}', 'ann', 'treated', 'A', 'sent', '', timestamp '{2} 09:00', 1, 250, '', '', '')"
)


def test_a_customer_counts_in_the_arm_and_from_the_start_of_their_first_campaign(
    shop: duckdb.DuckDBPyConnection,
) -> None:
    shop.execute(_MORE.format("late", "false", "2026-07-16", "treated"))
    build(shop)
    found = {row[0]: row[1:] for row in _rows(
        shop, "select customer_id, arm, entered_at, order_count, hold_out_share from results.hold_out_customers"
    )}  # fmt: skip
    begun, later = dt.datetime(2026, 7, 1, 9), dt.datetime(2026, 7, 16, 9)
    assert found["gus"] == ("hold_out", begun, 2, 0.25)  # the period goes on to the end of the later campaign
    assert found["ann"] == ("treated", begun, 2, 0.25)
    assert found["hal"] == ("hold_out", later, 0, 0.25)


@pytest.mark.parametrize(("is_aa", "day"), [("true", "2026-07-16"), ("false", "2026-08-05")])
def test_trials_and_campaigns_to_come_neither_bring_customers_nor_make_the_period_longer(
    shop: duckdb.DuckDBPyConnection, is_aa: str, day: str
) -> None:
    before = _rows(shop, "from results.hold_out_customers")
    shop.execute(_MORE.format("more", is_aa, day, "hold_out"))
    shop.execute("insert into features.order_lines values "
                 "('M1', 'Q1', 'gus', 'P1', timestamp '2026-07-31 12:00', 1, 10)")  # fmt: skip
    build(shop)
    assert _rows(shop, "from results.hold_out_customers") == before


def test_a_small_campaign_counts_also_where_chance_held_nobody_out(shop: duckdb.DuckDBPyConnection) -> None:
    shop.execute(_MORE.format("small", "false", "2026-07-02", "treated"))
    shop.execute("update delivery.sends set arm = 'treated' where campaign_id = 'small'")
    build(shop)
    query = "select arm, entered_at from results.hold_out_customers where customer_id = 'hal'"
    assert _rows(shop, query) == [("treated", dt.datetime(2026, 7, 2, 9))]
    shop.execute("update delivery.campaigns set hold_out_share = null")  # not kept: then it may have had no hold-out
    build(shop)
    assert _rows(shop, query) == []


def test_a_campaign_begun_late_is_measured_from_then_for_both_arms(shop: duckdb.DuckDBPyConnection) -> None:
    # Planned for 1 July, put into the outbox on 14 July: ann's order of the 3rd is no answer, dot's of the 15th may be.
    shop.execute("update delivery.sends set finished_at = timestamp '2026-07-14 10:00'")
    build(shop)
    assert _rows(shop, "select started_at, window_ends_at from results.measured_campaigns "
                       "where campaign_id = 'summer'") == [
        (dt.datetime(2026, 7, 14, 10), dt.datetime(2026, 7, 28, 10))
    ]  # fmt: skip
    assert _rows(shop, "select customer_id, order_count from results.campaign_customers "
                       "where campaign_id = 'summer' and is_buyer") == [("ann", 1), ("dot", 1), ("gus", 1)]  # fmt: skip


def test_a_message_that_somebody_refused_or_reported_has_arrived(shop: duckdb.DuckDBPyConnection) -> None:
    shop.execute("insert into delivery.events values ('e8', 's-dot', 'summer', 'dot', 'soft_bounce', "
                 "timestamp '2026-07-01 09:02', null, 'postmark', '', '', ''), ('e9', 's-dot', 'summer', 'dot', "
                 "'complaint', timestamp '2026-07-03 09:02', null, 'postmark', '', '', '')")  # fmt: skip
    build(shop)
    assert _rows(shop, "select is_delivered, is_bounced, is_complained from results.campaign_customers "
                       "where campaign_id = 'summer' and customer_id = 'dot'") == [(True, False, True)]  # fmt: skip


def test_a_refusal_of_nobody_known_leaves_everybody_elses_known(shop: duckdb.DuckDBPyConnection) -> None:
    shop.execute("insert into clean.campaign_responses (response_id, campaign_id, customer_id, kind) "
                 "values ('R9', 'K1', null, 'unsubscribe')")  # fmt: skip
    build(shop)
    assert _rows(shop, "select count(*) from features.engagement where is_unsubscribed is null") == [(0,)]


def test_engagement_counts_messages_and_clicks_by_hand_for_every_customer(shop: duckdb.DuckDBPyConnection) -> None:
    assert _rows(shop, "select * exclude (clicks_last_365_days) from features.engagement") == [
        # messages and clicks of 90 days, days since the last of each, messages since the click, fatigued, refused
        ("ann", 1, 1, 30, 29, 0, False, False),
        ("ben", 1, 0, 30, None, 1, True, False),  # the shop rests after one message without a click, for 60 days
        ("cem", 1, 0, 72, None, 1, False, False),  # a past one, undated, counts from its first day; this one failed
        ("dot", 1, 1, 30, 1, 0, False, True),
        ("eva", 0, 0, 91, None, 1, False, True),
        ("fay", 0, 0, None, None, 0, False, False),
        ("gus", 0, 0, None, None, 0, False, False),
        ("hal", 0, 0, None, None, 0, False, False),
    ]
    assert _rows(shop, "select clicks_last_365_days from features.engagement where customer_id = 'ann'") == [(2,)]


@pytest.mark.parametrize(("messages", "days", "is_fatigued"), [(1, 31, True), (2, 31, False), (1, 30, False)])
def test_fatigue_is_the_rule_by_which_an_address_is_rested(
    shop: duckdb.DuckDBPyConnection, messages: int, days: int, is_fatigued: bool
) -> None:
    # ben's one message without a click left 30 days ago.
    shop.execute(f"update delivery.send_rules set rest_after_messages = {messages}, rest_days = {days}")
    build(shop)
    assert _rows(shop, "select is_fatigued from features.engagement where customer_id = 'ben'") == [(is_fatigued,)]


_COUNTS = (
    "segment_id, customers, written_to_customers, written_to_last_90_days_customers, messages_last_90_days, "
    "written_to_last_365_days_customers, clicked_last_365_days_customers, fatigued_customers, unsubscribed_customers"
)
_SHARES = "written_to_share, messages_per_customer, clicked_share, fatigued_share, unsubscribed_share"


def test_segments_say_how_many_were_written_to_and_what_these_did(shop: duckdb.DuckDBPyConnection) -> None:
    assert _rows(shop, f"select {_COUNTS} from results.segment_engagement") == [
        ("S0", 1, 0, 0, 0, 0, 0, 0, 0),  # hal
        ("S1", 3, 3, 2, 2, 3, 2, 0, 2),  # ann, dot and eva: eva's message is 91 days old
        ("S2", 4, 2, 2, 2, 2, 0, 1, 0),  # ben and cem; fay and gus were left out and got none
        ("S3", 0, 0, 0, 0, 0, 0, 0, 0),
        ("T0", 1, 0, 0, 0, 0, 0, 0, 0),
        ("T1", 5, 5, 4, 4, 5, 2, 1, 2),
        ("T2", 2, 0, 0, 0, 0, 0, 0, 0),
    ]


def test_a_share_is_of_those_written_to_and_there_is_none_where_nobody_was(shop: duckdb.DuckDBPyConnection) -> None:
    found = {row[0]: row[1:] for row in _rows(shop, f"select segment_id, {_SHARES} from results.segment_engagement")}
    assert found["S1"] == (0.666667, 1.0, 0.666667, 0.0, 0.666667)
    assert found["S2"] == (0.5, 1.0, 0.0, 0.5, 0.0)
    assert found["T2"] == (0.0, None, None, None, None)  # two customers and no message: nothing is known of clicks
    assert found["S3"] == (None, None, None, None, None)  # no customer at all
    overall = ", ".join(f"overall_{column}" for column in _SHARES.split(", "))
    assert _rows(shop, f"select distinct {overall} from results.segment_engagement") == [(0.5, 1.0, 0.4, 0.2, 0.4)]


def test_a_shop_that_knows_of_no_message_has_no_share_and_no_nought(shop: duckdb.DuckDBPyConnection) -> None:
    shop.execute("delete from delivery.sends; delete from clean.campaign_contacts")
    build(shop)
    none = (None,) * 5
    assert _rows(shop, f"select distinct {_SHARES} from results.segment_engagement") == [none]
    assert _rows(shop, "select sum(written_to_customers), sum(customers) from results.segment_engagement") == [(0, 16)]


def test_engagement_knows_nothing_after_the_as_of_date(shop: duckdb.DuckDBPyConnection) -> None:
    build(shop, dt.date(2026, 5, 1))
    assert _rows(shop, "select customer_id, messages_last_90_days, clicks_last_90_days, is_unsubscribed "
                       "from features.engagement where messages_last_90_days > 0 or is_unsubscribed") == [
        ("ann", 1, 1, False), ("eva", 1, 0, False)
    ]  # fmt: skip


def test_engagement_looks_back_90_and_365_days_and_at_people_alone(shop: duckdb.DuckDBPyConnection) -> None:
    query = (
        "select messages_last_90_days, clicks_last_90_days, clicks_last_365_days, messages_since_click "
        "from features.engagement where customer_id = '{}'"
    )
    build(shop, dt.date(2026, 9, 28))  # the 90th day is 1 July
    assert _rows(shop, query.format("ann")) == [(1, 1, 2, 0)]
    build(shop, dt.date(2026, 9, 29))
    assert _rows(shop, query.format("ann")) == [(0, 1, 2, 0)]
    build(shop, dt.date(2027, 7, 1))  # the 365th day is 2 July 2026
    assert _rows(shop, query.format("ann")) == [(0, 0, 1, 0)]
    build(shop, dt.date(2027, 7, 2))
    assert _rows(shop, query.format("ann")) == [(0, 0, 0, 0)]
    shop.execute("delete from delivery.events where event_id = 'e5'")  # the click by hand: the script's is left
    build(shop)
    assert _rows(shop, query.format("dot")) == [(1, 0, 0, 1)]
    # A message sent in the very moment of the click is no further one.
    shop.execute("update delivery.sends set finished_at = timestamp '2026-07-02 10:00' where customer_id = 'ann'")
    build(shop)
    assert _rows(shop, query.format("ann")) == [(1, 1, 2, 0)]


def test_who_may_not_be_profiled_has_no_engagement_and_ghosts_are_no_messages(shop: duckdb.DuckDBPyConnection) -> None:
    shop.execute("update features.reachability set is_opted_out = true where customer_id = 'ann'")
    build(shop)
    query = "select messages_last_90_days from features.engagement where customer_id = '{}'"
    assert _rows(shop, query.format("ann")) == []
    assert _rows(shop, query.format("fay")) == [(0,)]
    shop.execute("delete from clean.campaign_contacts where arm = 'treated'")
    build(shop)  # whom a past campaign left out got no message of it
    assert _rows(shop, "select days_since_message from features.engagement where customer_id = 'ben'") == [(30,)]


def test_a_shop_without_any_campaign_has_empty_results(shop: duckdb.DuckDBPyConnection) -> None:
    for table in ("delivery.sends", "delivery.events", "delivery.campaigns", "clean.campaign_contacts",
                  "clean.campaign_responses", "clean.campaigns"):  # fmt: skip
        shop.execute(f"delete from {table}")
    build(shop)
    assert _rows(shop, "select count(*) from results.campaign_customers") == [(0,)]
    assert _rows(shop, "select count(*), max(messages_since_click) from features.engagement") == [(8, 0)]


@pytest.mark.slow
def test_intervals_of_past_campaigns_hold_the_planted_effect(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location(
        "past_campaigns_benchmark", PROJECT_ROOT / "benchmarks" / "past_campaigns.py"
    )
    assert spec is not None and spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = benchmark
    spec.loader.exec_module(benchmark)
    worlds = [
        benchmark.measured_world(WorldSettings(10_000, seed, dirt_share=0.0), tmp_path / str(seed))[0]
        for seed in (1, 2)
    ]
    rows = pl.concat(worlds).filter(metric="buyers")
    holds = rows.filter((pl.col("low") <= pl.col("planted")) & (pl.col("planted") <= pl.col("high")))
    assert rows.height == 24 and holds.height >= 20  # of 24 intervals of 95 %, under 20 would be 1 in 100
