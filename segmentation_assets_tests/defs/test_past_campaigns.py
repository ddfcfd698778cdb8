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
    build(shop)
    assert _rows(shop, "select origin from results.measured_campaigns where campaign_id = 'summer'") == [("sent",)]
    assert _rows(shop, "select count(*) from results.campaign_customers where campaign_id = 'summer'") == [(7,)]
    assert _rows(shop, "select messages_since_click from features.engagement where customer_id = 'ann'") == [(0,)]


def test_the_hold_out_counts_from_the_first_campaign_to_the_end_of_the_last(shop: duckdb.DuckDBPyConnection) -> None:
    rows = _rows(shop, "select customer_id, arm, order_count from results.hold_out_customers")
    assert rows == [("ann", "treated", 2), ("ben", "treated", 0), ("cem", "treated", 0), ("dot", "treated", 0),
                    ("eva", "treated", 1), ("fay", "treated", 0), ("gus", "hold_out", 1)]  # fmt: skip
    shop.execute("delete from delivery.sends where arm = 'hold_out'")
    build(shop)
    assert _rows(shop, "select * from results.hold_out_customers") == []


def test_a_hold_out_that_began_later_counts_from_its_first_campaign(shop: duckdb.DuckDBPyConnection) -> None:
    # gus was written to in summer, when nobody was held out; everybody else of summer has nobody beside them.
    shop.execute("update delivery.sends set arm = 'treated', variant = 'A', status = 'sent' where customer_id = 'gus'")
    shop.execute("insert into delivery.campaigns values ('late', 'Late', 'sent', 'buyers', 14, 0.25, false, "
                 "timestamp '2026-07-16 09:00', timestamp '2026-07-18 20:00', 'P1')")  # fmt: skip
    shop.execute("insert into delivery.sends values "
                 "('l-gus', 'late', 'gus', 'hold_out', '', 'ghost', '', timestamp '2026-07-16 09:00', 0, null, ''), "
                 "('l-hal', 'late', 'hal', 'treated', 'A', 'sent', '', timestamp '2026-07-16 09:00', 1, 250, '')"
                 )  # fmt: skip
    build(shop)
    begun = dt.datetime(2026, 7, 16, 9)
    assert _rows(shop, "select customer_id, arm, entered_at, order_count from results.hold_out_customers") == [
        ("gus", "hold_out", begun, 1), ("hal", "treated", begun, 0)
    ]  # fmt: skip


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
        # messages and clicks of 90 days, days since the last of each, messages since the click, refused
        ("ann", 1, 1, 30, 29, 0, False),
        ("ben", 1, 0, 30, None, 1, False),
        ("cem", 1, 0, 72, None, 1, False),  # the past one is undated and counts from its first day; this one failed
        ("dot", 1, 1, 30, 1, 0, True),
        ("eva", 0, 0, 91, None, 1, True),
        ("fay", 0, 0, None, None, 0, False),
        ("gus", 0, 0, None, None, 0, False),
        ("hal", 0, 0, None, None, 0, False),
    ]
    assert _rows(shop, "select clicks_last_365_days from features.engagement where customer_id = 'ann'") == [(2,)]


def test_engagement_knows_nothing_after_the_as_of_date(shop: duckdb.DuckDBPyConnection) -> None:
    build(shop, dt.date(2026, 5, 1))
    assert _rows(shop, "select customer_id, messages_last_90_days, clicks_last_90_days, is_unsubscribed "
                       "from features.engagement where messages_last_90_days > 0 or is_unsubscribed") == [
        ("ann", 1, 1, False), ("eva", 1, 0, False)
    ]  # fmt: skip


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
