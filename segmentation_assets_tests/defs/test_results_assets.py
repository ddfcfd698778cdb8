"""The stage as Dagster runs it on the hand-made shop; every check passes there and names the rows that break it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from segmentation_assets.defs import results
from segmentation_assets.orchestration.checks import blocking_sentence, evaluate, rules_of
from segmentation_assets.orchestration.checks import results as check_results
from segmentation_assets.orchestration.warehouse import Warehouse
from segmentation_assets.settings import Home
from segmentation_assets.state.store import open_state
from segmentation_assets.state.values import get_value
from segmentation_assets.warehouse.connection import connect
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model
from segmentation_assets.warehouse.tables import create_from_query
from segmentation_assets_tests.defs.results_world import AS_OF, build, fill, make_tables

CHECKS = SQL_ROOT / "checks"
ASSETS = (
    results.measurement_rules, results.labelled_events, results.engagement, results.measured_campaigns,
    results.campaign_customers, results.hold_out_customers, results.measured, results.segment_engagement,
    results.segment_campaigns,
)  # fmt: skip
_PLACES = ("results/*/*.sql", "features/engagement/*.sql", "delivery/labelled_events/*.sql")

#: For each check what is done to the sound tables, and the keys of the rows it must then name.
BROKEN: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "delivery/labelled_events/every_event_once": (
        "insert into delivery.labelled_events select * from delivery.labelled_events where event_id = 'e1'; "
        "delete from delivery.labelled_events where event_id = 'e3'",
        [("e1",), ("e3",)],
    ),
    "delivery/labelled_events/robots_have_a_rule": (
        "update delivery.labelled_events set is_robot = true where event_id = 'e1'; "
        "update delivery.labelled_events set is_robot = true, robot_rule = 'script' where event_id = 'e4'",
        [("e1",), ("e4",)],
    ),
    "features/engagement/one_row_per_customer": (
        "insert into features.engagement select * from features.engagement where customer_id = 'ann'; "
        "delete from features.engagement where customer_id = 'hal'",
        [("ann",), ("hal",)],
    ),
    "features/engagement/counts_are_consistent": (
        "update features.engagement set days_since_click = -1 where customer_id = 'ann'; "
        "update features.engagement set messages_since_click = 3 where customer_id = 'hal'; "
        "update features.engagement set is_fatigued = true where customer_id = 'dot'",
        [("ann",), ("dot",), ("hal",)],
    ),
    "results/measurement_rules/one_row": ("delete from results.measurement_rules", [(0, 0)]),
    "results/measured_campaigns/one_row_per_campaign": (
        "update results.measured_campaigns set window_ends_at = started_at where campaign_id = 'K1'",
        [("K1",)],
    ),
    "results/campaign_customers/one_row_per_campaign_and_customer": (
        "insert into results.campaign_customers select * from results.campaign_customers where customer_id = 'fay'",
        [("summer", "fay")],
    ),
    "results/campaign_customers/everybody_assigned_counts": (
        "delete from results.campaign_customers where campaign_id = 'summer' and is_bounced",
        [("summer",)],
    ),
    "results/campaign_customers/money_conserved": (
        "update results.campaign_customers set net_amount = 61 where customer_id = 'ann' and campaign_id = 'summer'",
        [("summer",)],
    ),
    "results/campaign_customers/outcomes_fit": (
        "update results.campaign_customers set is_clicked = true where campaign_id = 'summer' and customer_id = 'cem'; "
        "update results.campaign_customers set is_buyer = true where campaign_id = 'summer' and customer_id = 'fay'",
        [("summer", "cem"), ("summer", "fay")],
    ),
    "results/hold_out_customers/one_row_per_customer": (
        "insert into results.hold_out_customers select * from results.hold_out_customers where customer_id = 'gus'",
        [("gus",)],
    ),
    "results/campaign_results/intervals_hold_the_effect": (
        "update results.campaign_results set low = 0.9 where campaign_id = 'summer' and metric = 'buyers'",
        [("summer", "treated", "buyers")],
    ),
    "results/campaign_results/effects_have_a_control": (
        "update results.campaign_results set treated_customers = 3 where campaign_id = 'summer' and metric = 'buyers'",
        [("summer", "buyers")],
    ),
    "results/campaign_results/no_margin_without_buyers": (
        "update results.campaign_results set effect = treated_value - control_value "
        "where campaign_id = 'summer' and metric = 'margin'",
        [("summer", "treated", 1.0)],
    ),
    "results/segment_results/intervals_hold_the_effect": (
        "update results.segment_results set p_holm = p_value / 2 - 0.1 "
        "where dimension = 'taste' and campaign_id = 'summer'",
        [("summer", "taste", "(other)")],
    ),
    "results/segment_results/levels_are_parts": (
        "update results.segment_results set control_customers = 9 where campaign_id = 'summer' and dimension = 'taste'",
        [("summer", "taste")],
    ),
    "results/pooled_results/intervals_hold_the_effect": (
        "update results.pooled_results set high = low - 1 "
        "where method = 'fixed' and metric = 'buyers' and scope = 'all'",
        [("all", "buyers", "fixed")],
    ),
    "results/segment_engagement/every_segment_once": (
        "delete from results.segment_engagement where segment_id = 'S0'; "
        "insert into results.segment_engagement select * from results.segment_engagement where segment_id = 'T2'; "
        "update results.segment_engagement set customers = 3 where segment_id = 'S2'",
        [("stage", "S0"), ("stage", "S2"), ("taste", "T2")],
    ),
    "results/segment_engagement/customers_add_up": (
        "update results.segment_engagement set unsubscribed_customers = 1 where segment_id = 'S1'",
        [("stage",)],
    ),
    "results/segment_engagement/shares_are_of_somebody": (
        "update results.segment_engagement set clicked_share = 0 where segment_id = 'T0'; "
        "update results.segment_engagement set fatigued_customers = 4 where segment_id = 'S1'",
        [("stage", "S1"), ("taste", "T0")],
    ),
    "results/segment_campaigns/one_row_per_campaign": (
        "update results.segment_campaigns set is_newest = false",
        [("summer", "T1")],
    ),
    "results/segment_campaigns/only_what_was_caused": (
        "update results.campaign_results set is_experiment = false where campaign_id = 'summer'",
        [("summer", "T1")],
    ),
    "results/campaign_verdicts/one_row_per_campaign": (
        "delete from results.campaign_verdicts where campaign_id = 'K2'",
        [("K2",)],
    ),
    "results/campaign_verdicts/nothing_is_claimed_without_a_control": (
        "update results.campaign_verdicts set decision = 'repeat' where campaign_id = 'K2'",
        [("K2",)],
    ),
}  # fmt: skip


def _home(folder: Path) -> Warehouse:
    home = Home(folder).ensure()
    with connect(home.warehouse) as con:
        make_tables(con)
        fill(con)
    return Warehouse.at(home)


def _run(warehouse: Warehouse, assets: Sequence[dg.AssetsDefinition] = ASSETS) -> dg.ExecuteInProcessResult:
    return dg.materialize(assets, resources={"warehouse": warehouse}, instance=dg.DagsterInstance.ephemeral())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Warehouse, dg.ExecuteInProcessResult]:
    warehouse = _home(tmp_path_factory.mktemp("shop"))
    return warehouse, _run(warehouse)


@pytest.fixture
def con(made: tuple[Warehouse, dg.ExecuteInProcessResult], tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    copy = tmp_path / "copy.duckdb"
    shutil.copyfile(made[0].place.warehouse, copy)
    with connect(copy) as opened:
        yield opened


def _metadata(result: dg.ExecuteInProcessResult, table: str) -> dict[str, Any]:
    events = result.asset_materializations_for_node("results__measured")
    found = next(event for event in events if event.asset_key == dg.AssetKey(["results", table]))
    return {name: value.value for name, value in found.metadata.items()}


def test_every_table_of_the_stage_is_written_and_every_check_passes(
    made: tuple[Warehouse, dg.ExecuteInProcessResult],
) -> None:
    result = made[1]
    assert result.success
    evaluations = result.get_asset_check_evaluations()
    assert len(evaluations) >= 12
    assert [evaluation.asset_key for evaluation in evaluations if not evaluation.passed] == []


def test_verdicts_and_effects_are_told_as_tables_and_plots(
    made: tuple[Warehouse, dg.ExecuteInProcessResult],
) -> None:
    told = _metadata(made[1], "campaign_results")
    assert told["campaigns"] == 3
    assert "| Summer | 4 | 2 | 25.00% | 50.00% | -25.00 |" in told["buyers"]
    assert told["effects_plot"].startswith("![") and told["funnel_plot"].startswith("![")
    verdicts = _metadata(made[1], "campaign_verdicts")["verdicts"]
    assert "| May | no control | Of 1 customers nobody was left out" in verdicts
    assert "A message left to 3 of 4 treated; all of them count." in verdicts


def test_the_tables_hold_every_campaign_and_levels_in_words(con: duckdb.DuckDBPyConnection) -> None:
    assert con.execute(
        "select campaign_id, metric, treated_customers, control_customers, is_experiment from results.campaign_results "
        "where is_primary order by campaign_id"
    ).fetchall() == [("K1", "buyers", 2, 1, True), ("K2", "buyers", 1, 0, False), ("summer", "buyers", 4, 2, True)]
    assert con.execute(
        "select campaigns, treated_customers from results.pooled_results where scope = 'all' and metric = 'buyers' "
        "and method = 'fixed'"
    ).fetchall() == [(2, 6)]
    assert con.execute("select count(*) from results.pooled_results where method = 'hold_out'").fetchall()[0][0] > 0


def test_every_check_of_this_stage_is_shown_failing() -> None:
    files = [path for place in _PLACES for path in CHECKS.glob(place)]
    assert sorted(BROKEN) == sorted(str(path.relative_to(CHECKS).with_suffix("")) for path in files)


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_check_names_exactly_the_rows_that_break_it(con: duckdb.DuckDBPyConnection, name: str) -> None:
    check = load_model(CHECKS / f"{name}.sql")
    assert con.execute(check.query).fetchall() == []
    damage, keys = BROKEN[name]
    con.execute(damage)
    assert [row[: len(keys[0])] for row in con.execute(check.query).fetchall()] == keys


#: What a person reads where a table is not replaced, by the check that is broken.
_REFUSALS = {
    "results/segment_engagement/every_segment_once": (
        "results.segment_engagement was not replaced, because rows break a blocking rule: every_segment_once (3 rows, "
        'for example {"axis": "stage", "segment_id": "S0", "copies": 0, "summary_customers": 1, "customers": null}; '
        '{"axis": "stage", "segment_id": "S2", "copies": 1, "summary_customers": 4, "customers": 3}). Materialise '
        "segments/segment_summary and features/engagement on the same data; a customer is missing in one."
    ),
    "results/segment_engagement/shares_are_of_somebody": (
        "results.segment_engagement was not replaced, because rows break a blocking rule: shares_are_of_somebody "
        '(2 rows, for example {"axis": "stage", "segment_id": "S1", "written_to_customers": 3, '
        '"written_to_last_365_days_customers": 3, "clicked_share": 0.666667, "fatigued_share": 0.0, '
        '"unsubscribed_share": 0.666667, "messages_per_customer": 1.0}; {"axis": "taste", "segment_id": "T0", '
        '"written_to_customers": 0, "written_to_last_365_days_customers": 0, "clicked_share": 0.0, '
        '"fatigued_share": null, "unsubscribed_share": null, "messages_per_customer": null}). Look in '
        "sql/results/segment_engagement.sql for a share without nullif, or a count without its condition."
    ),
    "results/segment_campaigns/one_row_per_campaign": (
        "results.segment_campaigns was not replaced, because rows break a blocking rule: one_row_per_campaign (1 rows, "
        'for example {"campaign_id": "summer", "segment_id": "T1", "what": "newest campaigns of the segment", '
        '"found": 0}). Look for a second primary row of the campaign in results.campaign_results.'
    ),
    "results/segment_campaigns/only_what_was_caused": (
        "results.segment_campaigns was not replaced, because rows break a blocking rule: only_what_was_caused (1 rows, "
        'for example {"campaign_id": "summer", "segment_id": "T1", "effect": -0.25, "campaign_effect": null}). '
        "Materialise results/campaign_results and results/segment_campaigns together; exploratory rows have no place "
        "here."
    ),
}


@pytest.mark.parametrize("name", sorted(_REFUSALS))
def test_a_broken_table_of_a_segments_answers_is_refused_in_a_sentence(
    con: duckdb.DuckDBPyConnection, name: str
) -> None:
    table = name.rpartition("/")[0]
    con.execute(BROKEN[name][0])
    outcomes = evaluate(con, [rule for rule in rules_of(table) if rule.name == name.rpartition("/")[2]], AS_OF)
    assert blocking_sentence(table, outcomes) == _REFUSALS[name]


def test_counts_that_do_not_add_up_are_told_and_do_not_block(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(BROKEN["results/segment_engagement/customers_add_up"][0])
    table = "results/segment_engagement"
    outcomes = evaluate(con, rules_of(table), AS_OF)
    assert blocking_sentence(table, outcomes) is None
    (told,) = [found.description for found in check_results(table, outcomes) if not found.passed]
    assert told == (
        "customers_add_up: 1. The counts of an axis add up to those of all customers: nobody who was written to is "
        "lost or counted twice. Materialise features/engagement, then results/segment_engagement; look for customers "
        "without a segment."
    )


def test_a_segment_is_told_of_the_campaign_that_was_nearly_all_its_own(con: duckdb.DuckDBPyConnection) -> None:
    found = "select campaign_id, axis, segment_id, segment_share, treated_customers, control_customers, "
    found += "treated_buyers, control_buyers, effect, is_newest from results.segment_campaigns"
    # gus is left out of everything and no part of the campaign; K1 was not sent from here.
    assert con.execute(found).fetchall() == [("summer", "taste", "T1", 1.0, 4, 2, 1, 1, -0.25, True)]
    # One of six was of another taste when it was planned; where fay is today does not matter.
    con.execute("update results.campaign_customers set taste_segment_id = 'T2' where customer_id = 'ben'")
    create_from_query(con, "results/segment_campaigns", load_model(SQL_ROOT / "results/segment_campaigns.sql").query)
    assert con.execute(found).fetchall() == [("summer", "taste", "T1", 0.833333, 4, 2, 1, 1, -0.25, True)]


@pytest.mark.parametrize(
    "change",
    [
        "update results.campaign_results set is_experiment = false",
        "update results.campaign_results set is_early_look = true",
        "update results.campaign_results set is_aa = true",
        "update results.campaign_results set is_primary = (metric = 'orders')",
        "update results.campaign_results set effect = null",
        "update results.campaign_results set origin = 'past'",
        "update results.campaign_customers set taste_segment_id = 'T2' where customer_id in ('ben', 'fay')",
        "update results.campaign_customers set taste_segment_id = null where customer_id in ('ben', 'fay')",
        "update results.campaign_customers set taste_segment_id = 'T0'",
    ],
)
def test_a_result_that_claims_no_cause_for_the_segment_is_not_told(con: duckdb.DuckDBPyConnection, change: str) -> None:
    con.execute(change)
    create_from_query(con, "results/segment_campaigns", load_model(SQL_ROOT / "results/segment_campaigns.sql").query)
    assert con.execute("select count(*) from results.segment_campaigns").fetchall() == [(0,)]


def test_of_several_campaigns_of_a_segment_the_last_to_end_is_the_newest(con: duckdb.DuckDBPyConnection) -> None:
    for table, later in (
        ("campaign_customers", ""), ("campaign_results", ", -0.5 as effect"),
        ("campaign_verdicts", ", window_ends_at + interval 1 day as window_ends_at"),
    ):  # fmt: skip
        con.execute(
            f"insert into results.{table} by name select * replace ('autumn' as campaign_id{later}) "
            f"from results.{table} where campaign_id = 'summer'"
        )
    create_from_query(con, "results/segment_campaigns", load_model(SQL_ROOT / "results/segment_campaigns.sql").query)
    newest = "select campaign_id, effect from results.segment_campaigns where is_newest"
    assert con.execute(newest).fetchall() == [("autumn", -0.5)]


def test_a_campaign_in_its_window_is_noted_as_read_early_once_a_day(tmp_path: Path) -> None:
    warehouse = _home(tmp_path)
    with connect(warehouse.place.warehouse) as con:
        con.execute("update raw.source set as_of = date '2026-07-07'")
        con.execute("delete from features.order_lines where ordered_at >= timestamp '2026-07-08'")
        con.execute("delete from delivery.events where event_id = 'e5'")
    _run(warehouse)
    _run(warehouse, (results.measured,))
    with open_state(warehouse.place.state) as store:
        assert get_value(store, "early_looks") == {"summer": ["2026-07-07"]}
    with connect(warehouse.place.warehouse) as con:
        assert con.execute(
            "select is_early_look, early_looks from results.campaign_verdicts where campaign_id = 'summer'"
        ).fetchall() == [(True, 1)]


def test_without_campaigns_every_table_is_empty_with_its_columns(tmp_path: Path) -> None:
    home = Home(tmp_path).ensure()
    with connect(home.warehouse) as con:
        make_tables(con)
        con.execute("create table raw.source as select date '2026-07-31' as as_of, 'EUR' as currency")
        con.execute(
            "create table features.reachability as select customer_id, false as is_opted_out from clean.customers"
        )
    assert _run(Warehouse.at(home)).success
    with connect(home.warehouse) as con:
        for table in ("campaign_results", "segment_results", "pooled_results", "campaign_verdicts"):
            assert con.execute(f"select count(*) from results.{table}").fetchall() == [(0,)]


def test_the_analysts_question_has_the_columns_it_promises_and_the_newest_campaign_first(
    con: duckdb.DuckDBPyConnection,
) -> None:
    model = load_model(SQL_ROOT / "analyst" / "campaign_effects.sql")
    answer = con.execute(model.query)
    assert [column[0] for column in answer.description or ()] == list(model.columns)
    rows = answer.fetchall()
    assert [row[0] for row in rows] == ["summer", "K2", "K1"]
    assert rows[0][4:9] == (4, 2, 0.25, 0.5, -0.25)


def test_the_same_shop_gives_the_same_tables_whatever_the_order_of_rows_and_threads() -> None:
    tables = []
    for threads, turn in ((1, ""), (2, " order by 1 desc")):
        with duckdb.connect(":memory:", config={"threads": threads}) as con:
            make_tables(con)
            fill(con)
            for name in ("delivery.sends", "delivery.events", "features.order_lines", "clean.campaign_contacts"):
                con.execute(f"create or replace table {name} as select * from {name}{turn}")
            build(con, AS_OF)
            names = ("results.campaign_customers", "results.measured_campaigns", "features.engagement",
                     "results.segment_engagement")  # fmt: skip
            tables.append([con.execute(f"from {name}").fetchall() for name in names])
    assert tables[0] == tables[1]
