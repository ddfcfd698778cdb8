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
from segmentation_assets.orchestration.warehouse import Warehouse
from segmentation_assets.settings import Home
from segmentation_assets.state.store import open_state
from segmentation_assets.state.values import get_value
from segmentation_assets.warehouse.connection import connect
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model
from segmentation_assets_tests.defs.results_world import AS_OF, build, fill, make_tables

CHECKS = SQL_ROOT / "checks"
ASSETS = (
    results.measurement_rules, results.labelled_events, results.engagement, results.measured_campaigns,
    results.campaign_customers, results.hold_out_customers, results.measured,
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
        "update features.engagement set messages_since_click = 3 where customer_id = 'hal'",
        [("ann",), ("hal",)],
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
        "update results.segment_results set p_holm = p_value / 2 - 0.1 where dimension = 'taste'",
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
            names = ("results.campaign_customers", "results.measured_campaigns", "features.engagement")
            tables.append([con.execute(f"from {name}").fetchall() for name in names])
    assert tables[0] == tables[1]
