"""A step writes its tables in one transaction: a blocking rule rolls them back and stays on record."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from segmentation_assets.orchestration import table_steps
from segmentation_assets.orchestration.checks import Rule, blocking_sentence, evaluate, rules_of
from segmentation_assets.orchestration.table_steps import Computed, TableDeclaration, computed_tables
from segmentation_assets.orchestration.warehouse import Warehouse
from segmentation_assets.settings import Home
from segmentation_assets.warehouse import sql_models
from segmentation_assets.warehouse.connection import connect
from segmentation_assets.warehouse.sql_models import SqlModelError

NO_NEGATIVES = Rule(
    "no_negatives", "business", "Amounts are not negative.", "select a from x.t where a < 0",
    is_blocking=True, remedy="Look at the source.",
)  # fmt: skip
FEW_ZEROS = Rule("few_zeros", "contract", "Zeros are rare.", "select a from x.t where a = 0", is_error=False)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path).ensure()
    with connect(home.warehouse) as con:
        con.execute("create schema raw")
        con.execute(f"create table raw.source as select date '{date(2026, 6, 30)}' as as_of, 'EUR' as currency")
    return home


def materialise(home: Home, *values: float, downstream: bool = False) -> dg.ExecuteInProcessResult:
    declared = TableDeclaration(
        "x/t", "Numbers.", types={"a": "DOUBLE"}, texts={"a": "A number."}, rules=[NO_NEGATIVES, FEW_ZEROS]
    )

    @computed_tables("features", declared)
    def numbers(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
        return Computed(pl.DataFrame({"a": list(values)}), {"note": "kept"})

    @dg.asset(key=["x", "after"], deps=[dg.AssetKey(["x", "t"])])
    def after() -> None:
        pass

    return dg.materialize(
        [numbers, after],
        instance=dg.DagsterInstance.ephemeral(),
        resources={"warehouse": Warehouse.at(home)},
        raise_on_error=False,
    )


def rows(home: Home) -> list[tuple[float]]:
    with connect(home.warehouse, read_only=True) as con:
        return con.execute("from x.t order by a").fetchall()


def test_a_table_is_written_with_row_count_columns_and_comments(home: Home) -> None:
    result = materialise(home, 1.0, 2.0)
    assert result.success
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey(["x", "t"])]
    metadata = event.step_materialization_data.materialization.metadata
    assert metadata["dagster/row_count"].value == 2
    assert metadata["note"].value == "kept"
    (column,) = metadata["dagster/column_schema"].value.columns
    assert (column.name, column.type, column.description) == ("a", "DOUBLE", "A number.")
    assert rows(home) == [(1.0,), (2.0,)]


def test_a_blocking_rule_rolls_the_table_back_and_both_result_and_failure_are_recorded(home: Home) -> None:
    assert materialise(home, 1.0).success
    result = materialise(home, 2.0, -1.0)
    assert not result.success
    assert rows(home) == [(1.0,)]
    (check,) = [c for c in result.get_asset_check_evaluations() if c.check_name == "business"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    failure = result.failure_data_for_node("x__t")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.description == (
        'x.t was not replaced, because rows break a blocking rule: no_negatives (1 rows, for example {"a": -1.0}). '
        "Look at the source."
    )
    assert not [e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey(["x", "after"])]


def test_a_column_that_another_version_had_is_a_sentence_and_leaves_the_table_before(home: Home) -> None:
    assert materialise(home, 1.0).success

    @computed_tables("features", TableDeclaration("x/t", "Numbers.", types={"a": "DOUBLE"}))
    def wrong(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
        with warehouse.get_connection(read_only=True) as con:
            return Computed(con.sql("select b from x.t").pl())

    resources = {"warehouse": Warehouse.at(home)}
    result = dg.materialize([wrong], instance=dg.DagsterInstance.ephemeral(), resources=resources, raise_on_error=False)
    failure = result.failure_data_for_node("x__t")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.description == (
        'x/t reads what is not in this HOME (Binder Error: Referenced column "b" not found in FROM clause!). Its '
        "tables were made by another version, or not yet: run `segmentation run` once, which makes all of them, and "
        "then this again."
    )
    assert rows(home) == [(1.0,)]


def test_a_warning_lets_the_table_and_what_follows_through(home: Home) -> None:
    result = materialise(home, 0.0)
    assert result.success
    (check,) = [c for c in result.get_asset_check_evaluations() if c.check_name == "contract"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == "few_zeros: 1. Zeros are rare."
    assert rows(home) == [(0.0,)]


def test_a_step_that_raises_leaves_the_table_before(home: Home) -> None:
    assert materialise(home, 1.0).success

    @computed_tables("features", TableDeclaration("x/t", "Numbers.", types={"a": "DOUBLE"}))
    def wrong(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
        return Computed(pl.DataFrame({"b": [1.0]}))

    result = dg.materialize(
        [wrong],
        instance=dg.DagsterInstance.ephemeral(),
        resources={"warehouse": Warehouse.at(home)},
        raise_on_error=False,
    )
    assert not result.success
    assert rows(home) == [(1.0,)]


def test_without_a_loaded_source_the_failure_says_what_to_do(tmp_path: Path) -> None:
    home = Home(tmp_path / "empty").ensure()
    result = materialise(home, 1.0)
    failure = result.failure_data_for_node("x__t")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert "No source is loaded: materialise the raw tables first" in str(failure.user_failure_data.description)


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("-- What.\n", "the header needs `group: contract|references|business`"),
        ("-- What.\n-- group: contract\n-- severity: warning\n-- blocking: yes\n", "only an error can block"),
        ("-- What.\n-- group: other\n-- severity: error\n-- blocking: no\n", "the header needs `group:"),
    ],
)
def test_a_check_file_with_a_wrong_header_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str, sentence: str
) -> None:
    folder = tmp_path / "checks" / "x" / "t"
    folder.mkdir(parents=True)
    (folder / "rule.sql").write_text(header + "select 1 as a\n", encoding="utf-8")
    monkeypatch.setattr("segmentation_assets.orchestration.checks.SQL_ROOT", tmp_path)
    rules_of.cache_clear()
    with pytest.raises(SqlModelError) as caught:
        rules_of("x/t")
    assert f"sql/checks/x/t/rule.sql: {sentence}" in str(caught.value)
    rules_of.cache_clear()


def test_every_check_file_of_the_project_is_read() -> None:
    folders = sorted({path.parent for path in (sql_models.SQL_ROOT / "checks").rglob("*.sql")})
    assert len(folders) > 10
    for folder in folders:
        assert rules_of(f"{folder.parent.name}/{folder.name}")


def test_the_column_dictionary_knows_contract_and_model_columns() -> None:
    texts = table_steps.column_dictionary()
    assert texts["customer_id"].startswith("The customer")
    assert "net_amount" in texts


def test_a_rule_reports_how_many_rows_and_a_sample(home: Home) -> None:
    with connect(home.warehouse) as con:
        con.execute("create schema x; create table x.t as select -i as a from range(1, 101) t(i)")
        (outcome,) = evaluate(con, [NO_NEGATIVES], date(2026, 6, 30))
    assert outcome.broken == 100
    assert len(outcome.sample) == 5
    assert blocking_sentence("x/t", [outcome]) is not None
