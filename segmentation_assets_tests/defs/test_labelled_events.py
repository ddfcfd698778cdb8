"""Robots told from people: each rule on the events it is about, and all of them on labelled traffic."""

from __future__ import annotations

import datetime as dt
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType

import duckdb
import pytest

from segmentation_assets.delivery.tables import TABLE_TYPES
from segmentation_assets.settings import PROJECT_ROOT
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model
from segmentation_assets.warehouse.tables import create_from_query

SENT = dt.datetime(2026, 7, 1, 9)
Event = tuple[str, str, float, int | None, str, str]  # message, kind, seconds after sending, link, program, network
_PHONE, _DESK = "browser_mobile", "browser_desktop"


@pytest.fixture(scope="module")
def robots() -> ModuleType:
    spec = importlib.util.spec_from_file_location("robots_benchmark", PROJECT_ROOT / "benchmarks" / "robots.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _labels(events: Sequence[Event], *, method: str = "GET", source: str = "link") -> list[str | None]:
    """The rule of each event, None for people."""
    with duckdb.connect(":memory:", config={"threads": 1}) as con:
        con.execute("create schema delivery")
        for name in ("sends", "events"):
            columns = ", ".join(f"{column} {kind}" for column, kind in TABLE_TYPES[f"delivery/{name}"].items())
            con.execute(f"create table delivery.{name} ({columns})")
        for message in sorted({event[0] for event in events}):
            con.execute(
                "insert into delivery.sends values (?, 'k', ?, 'treated', 'A', 'sent', '', ?, 1, 250, '', '', '')",
                [message, message, SENT],
            )
        for number, (message, kind, seconds, link, agent, network) in enumerate(events):
            con.execute(
                "insert into delivery.events values (?, ?, 'k', ?, ?, ?, ?, ?, ?, ?, ?)",
                [f"{number:04d}", message, message, kind, SENT + dt.timedelta(seconds=seconds), link, source, method,
                 agent, network],
            )  # fmt: skip
        create_from_query(con, "delivery/labelled_events", load_model(SQL_ROOT / "delivery/labelled_events.sql").query)
        rows = con.execute("select is_robot, robot_rule from delivery.labelled_events order by event_id").fetchall()
    assert all(is_robot == (rule is not None) for is_robot, rule in rows)
    return [rule for _, rule in rows]


def test_a_person_who_opens_and_clicks_is_a_person_however_soon_after_sending() -> None:
    events = [("m", "open", 3, None, "google_image_proxy", "g"), ("m", "click", 9, 0, _PHONE, "home")]
    assert _labels(events) == [None, None]


@pytest.mark.parametrize("agent", ["outlook_scanner", "security_scanner", "script", "none"])
def test_a_program_that_owns_up_is_a_robot(agent: str) -> None:
    assert _labels([("m", "click", 500, 0, agent, "n")]) == ["scanner_agent"]


def test_a_report_of_a_provider_without_a_program_is_no_robot() -> None:
    assert _labels([("m", "click", 500, 0, "none", "")], source="sendgrid") == [None]


def test_head_counts_as_nothing_a_person_does() -> None:
    assert _labels([("m", "click", 500, 0, _PHONE, "n")], method="HEAD") == ["head_request"]


def test_an_image_proxy_follows_no_link() -> None:
    assert _labels([("m", "click", 500, 0, "apple_mail_proxy", "n")]) == ["proxy_click"]


def test_different_links_of_a_message_within_a_second_are_a_burst_from_whatever_network() -> None:
    events = [("m", "click", 60.0, 0, _DESK, "home-1"), ("m", "click", 60.9, 1, _PHONE, "home-2")]
    assert _labels(events) == ["link_burst", "link_burst"]


def test_links_of_two_messages_within_a_second_are_no_burst() -> None:
    assert _labels([("m", "click", 60.0, 0, _DESK, "a"), ("o", "click", 60.1, 1, _DESK, "b")]) == [None, None]


def test_a_double_click_and_two_links_three_seconds_apart_stay_a_persons() -> None:
    events = [("m", "click", at, link, _PHONE, "home") for at, link in ((60.0, 0), (60.2, 0), (63.0, 1))]
    assert _labels(events) == [None, None, None]


def test_reports_in_whole_seconds_one_second_apart_are_no_burst() -> None:
    assert _labels([("m", "click", 60, 0, _PHONE, "h"), ("m", "click", 61, 1, _PHONE, "h")]) == [None, None]


def test_four_links_in_half_a_minute_are_a_sweep() -> None:
    events = [("m", "click", 60.0 + 6 * link, link, _DESK, "n") for link in range(4)]
    assert _labels(events) == ["link_sweep"] * 4
    assert _labels([("m", "click", 60.0 + 20 * link, link, _DESK, "n") for link in range(4)]) == [None] * 4


def test_link_and_pixel_from_one_network_within_a_second_are_a_scanners() -> None:
    events = [("m", "open", 60.0, None, _DESK, "n"), ("m", "click", 60.4, 0, _DESK, "n")]
    assert _labels(events) == ["with_pixel", "with_pixel"]
    reader = [("m", "open", 60.0, None, _DESK, "n"), ("m", "click", 64.0, 0, _DESK, "n")]
    assert _labels(reader) == [None, None]


def test_a_network_that_clicks_unopened_messages_of_many_is_a_scanners() -> None:
    people = [(f"p{i}", kind, at, 0 if kind == "click" else None, _PHONE, f"home-{i}")
              for i in range(12) for kind, at in (("open", 900.0 + 40 * i), ("click", 920.0 + 40 * i))]  # fmt: skip
    scanner = [(f"m{i}", "click", 60.0 + 40 * i, 0, _DESK, "gateway") for i in range(6)]
    assert _labels([*people, *scanner]) == [None] * 24 + ["scanner_network"] * 6


def test_a_network_of_many_people_who_opened_first_stays_theirs() -> None:
    carrier = [(f"p{i}", kind, at, 0 if kind == "click" else None, _PHONE, "carrier")
               for i in range(20) for kind, at in (("open", 900.0 + i), ("click", 903.5 + i))]  # fmt: skip
    assert _labels(carrier) == [None] * 40


def test_who_opened_first_stays_a_person_behind_a_scanners_network() -> None:
    people = [(f"q{i}", "open", 900.0 + i, None, _PHONE, f"h{i}") for i in range(30)]
    scans = [(f"m{i}", "click", 60.0 + 40 * i, 0, _DESK, "office") for i in range(20)]
    reader = [("m0", "open", 4_000.0, None, _DESK, "office"), ("m0", "click", 4_010.0, 0, _DESK, "office")]
    labels = _labels([*people, *scans, *reader])
    assert labels[30:50] == ["scanner_network"] * 20
    assert labels[-2:] == [None, None]


def test_where_nothing_is_opened_only_a_crowd_at_one_moment_gives_a_scanner_away() -> None:
    spread = [(f"m{i}", "click", 60.0 + 40 * i, 0, _DESK, "n") for i in range(12)]
    assert _labels(spread) == [None] * 12
    assert _labels([(f"m{i}", "click", 60.0 + i, 0, _DESK, "n") for i in range(6)]) == ["scanner_network"] * 6


def test_a_proxy_that_fetches_most_messages_on_arrival_prefetches_and_later_opens_are_peoples() -> None:
    apple = [(f"m{i}", "open", 10.0 + i, None, "apple_mail_proxy", "a") for i in range(30)]
    apple += [("m3", "open", 5_000.0, None, "apple_mail_proxy", "a")]
    assert _labels(apple) == ["prefetch"] * 30 + [None]


def test_opens_through_a_proxy_on_behalf_of_people_stay_also_the_quick_ones() -> None:
    google = [(f"m{i}", "open", 10.0 + 300 * i, None, "google_image_proxy", "g") for i in range(30)]
    assert _labels(google) == [None] * 30


def test_a_lone_open_on_arrival_is_apples_prefetch_and_googles_reader() -> None:
    assert _labels([("m", "open", 5.0, None, "apple_mail_proxy", "a")]) == ["prefetch"]
    assert _labels([("m", "open", 5.0, None, "google_image_proxy", "g")]) == [None]


def test_the_pixel_beside_a_robots_click_is_the_robots() -> None:
    events = [
        ("m", "open", 65.0, None, _DESK, "n"),
        ("m", "click", 60.0, 0, _DESK, "n"),
        ("m", "click", 60.5, 1, _DESK, "n"),
    ]
    assert _labels(events)[0] == "scanner_open"


def test_who_refuses_is_heard_whoever_asks() -> None:
    assert _labels([("m", "unsubscribe", 1.0, None, "script", "n")]) == [None]


def test_people_are_told_from_machines_in_labelled_traffic(robots: ModuleType) -> None:
    found, labels, _ = robots.compare(replace(robots.Traffic(), recipients=6_000), seed=11)
    assert found["rules"].f1 >= 0.95 > found["delay rule, best of 8"].f1 > found["every event is human"].f1
    assert found["rules"].proxy_opens_kept >= 0.95
    assert labels.height > 6_000


def test_labels_depend_neither_on_the_order_of_events_nor_on_threads(robots: ModuleType) -> None:
    drawn = robots.draw(replace(robots.HARD, recipients=800), seed=3)
    first, _ = robots.label(drawn, threads=1)
    turned, _ = robots.label(replace(drawn, events=drawn.events.reverse(), sends=drawn.sends.reverse()), threads=2)
    assert first.equals(turned)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_target_holds_on_every_draw(robots: ModuleType, seed: int) -> None:
    rules = robots.compare(robots.Traffic(), seed)[0]["rules"]
    assert rules.f1 >= 0.95 and rules.proxy_opens_kept >= 0.95


@pytest.mark.slow
def test_a_flood_of_requests_for_one_message_is_a_machine_s() -> None:
    """Nobody needs more than one message to send them; compared pair by pair they would stop every run."""
    with duckdb.connect(":memory:", config={"threads": 1}) as con:
        con.execute("create schema delivery")
        for name in ("sends", "events"):
            columns = ", ".join(f"{column} {kind}" for column, kind in TABLE_TYPES[f"delivery/{name}"].items())
            con.execute(f"create table delivery.{name} ({columns})")
        con.execute(
            "insert into delivery.sends values ('m', 'k', 'm', 'treated', 'A', 'sent', '', ?, 1, 250, '', '', '')",
            [SENT],
        )
        for kind in ("open", "click"):
            con.execute(
                "insert into delivery.events select $kind || n, 'm', 'k', 'm', $kind, $sent + to_milliseconds(n * 10), "
                "n % 3, 'link', 'GET', 'browser_mobile', 'home' from range(30_000) as t(n)",
                {"kind": kind, "sent": SENT},
            )
        create_from_query(con, "delivery/labelled_events", load_model(SQL_ROOT / "delivery/labelled_events.sql").query)
        assert con.execute("select count(*) from delivery.labelled_events where is_robot").fetchall() == [(60_000,)]
