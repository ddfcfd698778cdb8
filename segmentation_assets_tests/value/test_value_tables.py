"""RFM groups by hand and by rule, the lifetime tables as a step writes them, and their checks."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation_assets.defs import value
from segmentation_assets.lifetime.rfm import NEVER_BOUGHT, RFM_GROUPS, RFM_RULES, UNKNOWN, rfm_group
from segmentation_assets.orchestration.warehouse import Warehouse
from segmentation_assets.settings import PROJECT_ROOT, Home
from segmentation_assets.warehouse.connection import connect
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model, load_models
from segmentation_assets.warehouse.tables import create_from_query, describe

AS_OF = date(2026, 6, 30)
CHECKS = SQL_ROOT / "checks" / "value"
_FEATURES = (
    "create schema if not exists features; create or replace table features.customer_features (customer_id VARCHAR, "
    "is_buyer BOOLEAN, never_bought BOOLEAN, recency_days DOUBLE, order_count BIGINT, monetary_amount DECIMAL(18,4))"
)

Row = tuple[str, bool, bool, float | None, int, float | None]


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:", config={"threads": 1}) as made:
        yield made


def _rfm(con: duckdb.DuckDBPyConnection, rows: list[Row]) -> dict[str, dict[str, object]]:
    """The table of these customers, by customer."""
    con.execute(_FEATURES)
    if rows:
        con.executemany("insert into features.customer_features values (?, ?, ?, ?, ?, ?)", rows)
    create_from_query(con, "value/customer_rfm", load_model(SQL_ROOT / "value" / "customer_rfm.sql").query)
    return {row["customer_id"]: row for row in con.sql("from value.customer_rfm").pl().rows(named=True)}


def _buyer(name: str, recency: float | None, orders: int, money: float | None) -> Row:
    return name, True, False, recency, orders, money


# --- the rule ----------------------------------------------------------------------------------------------------


def test_every_cell_of_the_rule_table_is_one_of_eleven_groups_and_none_is_unused() -> None:
    assert sorted(RFM_RULES) == [1, 2, 3, 4, 5]
    assert {group for row in RFM_RULES.values() for group in row} == set(RFM_GROUPS)
    assert len(RFM_GROUPS) == 11


def test_rule_table_is_the_one_the_model_tells() -> None:
    text = load_model(SQL_ROOT / "value" / "customer_rfm.sql").description
    for recency, row in RFM_RULES.items():
        assert f"recency {recency} is {', '.join(row)}" in text


def test_sql_puts_every_cell_into_the_group_of_the_rule_table(con: duckdb.DuckDBPyConnection) -> None:
    # 125 buyers, one of each triple: every value is held by 25, so each quintile is the value itself.
    triples = [(r, f, m) for r in range(1, 6) for f in range(1, 6) for m in range(1, 6)]
    found = _rfm(con, [_buyer(f"{r}{f}{m}", 500 - 100 * r, f, 10 * m) for r, f, m in triples])
    for r, f, m in triples:
        row = found[f"{r}{f}{m}"]
        assert (row["recency_quintile"], row["frequency_quintile"], row["monetary_quintile"]) == (r, f, m)
        assert row["worth_quintile"] == (f + m) // 2
        assert row["rfm_group"] == rfm_group(r, f, m)


def test_quintiles_are_fifths_of_the_buyers_and_ties_take_their_lowest_place(con: duckdb.DuckDBPyConnection) -> None:
    orders = [1, 1, 1, 1, 1, 2, 2, 3, 4, 9]
    found = _rfm(con, [_buyer(f"c{n}", 10 * n, count, n + 1) for n, count in enumerate(orders)])
    column = {
        name: [found[f"c{n}"][f"{name}_quintile"] for n in range(10)] for name in ("recency", "frequency", "monetary")
    }
    assert column["monetary"] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert column["recency"] == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1]  # the fewest days are the best
    # Half of them ordered once: nobody is worse, so they are 1; five of ten are worse than who ordered twice.
    assert column["frequency"] == [1, 1, 1, 1, 1, 3, 3, 4, 5, 5]


def test_who_never_bought_and_whose_figures_are_unknown_are_in_no_group(con: duckdb.DuckDBPyConnection) -> None:
    found = _rfm(
        con,
        [
            ("never", False, True, None, 0, 0),
            _buyer("no day", None, 3, 30),
            _buyer("no money", 5, 3, None),
            _buyer("no count", 5, 0, 30),
            _buyer("known", 5, 3, 30),
            _buyer("longer ago", 9, 3, 30),
        ],
    )
    assert {name: row["rfm_group"] for name, row in found.items()} == {
        "never": NEVER_BOUGHT, "no day": UNKNOWN, "no money": UNKNOWN, "no count": UNKNOWN, "known": "Hibernating",
        "longer ago": "Lost",
    }  # fmt: skip
    assert [found["never"][f"{name}_quintile"] for name in ("recency", "frequency", "monetary", "worth")] == [None] * 4
    # Unknown values are not counted: of four known days one is further back, of four amounts none is smaller.
    assert [found["known"][f"{name}_quintile"] for name in ("recency", "frequency", "monetary")] == [2, 1, 1]


def test_no_customers_make_an_empty_table_with_its_columns(con: duckdb.DuckDBPyConnection) -> None:
    assert _rfm(con, []) == {}
    assert [column.name for column in describe(con, "value/customer_rfm")] == [
        "customer_id", "recency_quintile", "frequency_quintile", "monetary_quintile", "worth_quintile", "rfm_group"
    ]  # fmt: skip


@given(
    rows=st.lists(
        st.tuples(st.booleans(), st.none() | st.integers(0, 30), st.integers(0, 6), st.none() | st.integers(0, 50)),
        max_size=30,
    )
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_checks_hold_for_any_customers(
    con: duckdb.DuckDBPyConnection, rows: list[tuple[bool, int | None, int, int | None]]
) -> None:
    made: list[Row] = [
        _buyer(f"c{n}", *figures) if is_buyer else (f"c{n}", False, True, None, 0, 0)
        for n, (is_buyer, *figures) in enumerate(rows)
    ]
    assert len(_rfm(con, made)) == len(rows)
    for path in sorted((CHECKS / "customer_rfm").glob("*.sql")):
        assert con.execute(load_model(path).query).fetchall() == [], path.name


def test_every_column_of_the_rule_groups_has_a_description(con: duckdb.DuckDBPyConnection) -> None:
    _rfm(con, [])
    for model in load_models("value"):
        assert {column.name for column in describe(con, model.name)} - {"customer_id"} == set(model.columns)


# --- the step ----------------------------------------------------------------------------------------------------


def _home(folder: Path, lines: pl.DataFrame, customers: list[str]) -> Home:
    home = Home(folder).ensure()
    with connect(home.warehouse) as con:
        con.execute("create schema raw")
        con.execute(f"create table raw.source as select date '{AS_OF}' as as_of, 'EUR' as currency")
        con.execute(_FEATURES)
        con.register("_lines", lines.to_arrow())
        con.register("_ids", pl.DataFrame({"customer_id": customers}).to_arrow())
        con.execute(
            "create table features.order_lines as select customer_id, ordered_on::date as ordered_on, "
            "net_amount::decimal(18,4) as net_amount from _lines"
        )
        con.execute(
            "insert into features.customer_features select c.customer_id, count(l.ordered_on) > 0, "
            f"count(l.ordered_on) = 0, date_diff('day', max(l.ordered_on), date '{AS_OF}'), count(l.ordered_on), "
            "coalesce(sum(l.net_amount), 0) from _ids c left join features.order_lines l on "
            "l.customer_id = c.customer_id group by c.customer_id"
        )
    return home


def _materialise(home: Home) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [value.customer_rfm, value.lifetime],
        instance=dg.DagsterInstance.ephemeral(),
        resources={"warehouse": Warehouse.at(home)},
    )


def _shop_lines() -> pl.DataFrame:
    """Purchases of 400 drawn buyers in two lines each; b000 came on the fewest days, b399 on the most."""
    spec = importlib.util.spec_from_file_location("value_benchmark", PROJECT_ROOT / "benchmarks" / "lifetime.py")
    assert spec is not None and spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    drawn: pl.DataFrame = benchmark.draw_purchases(400, 2)
    days = drawn.group_by("customer_id").agg(days=pl.col("ordered_on").n_unique()).sort("days", "customer_id")
    names = days.select("customer_id", name=pl.format("b{}", pl.int_range(pl.len()).cast(pl.String).str.zfill(3)))
    named = drawn.join(names, on="customer_id").select("ordered_on", "net_amount", customer_id="name")
    return pl.concat([named, named.with_columns(pl.lit(1.25).alias("net_amount"))])


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, dg.ExecuteInProcessResult]:
    lines = _shop_lines()
    home = _home(tmp_path_factory.mktemp("value"), lines, [*lines["customer_id"].unique().sort(), "nobody"])
    return home, _materialise(home)


@pytest.fixture
def shop(_made: tuple[Home, dg.ExecuteInProcessResult]) -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse with all three tables; whatever a test changes is rolled back."""
    with connect(_made[0].warehouse) as con:
        con.execute("begin")
        yield con
        con.execute("rollback")


def test_the_step_writes_estimates_and_their_model_with_every_check_holding(
    _made: tuple[Home, dg.ExecuteInProcessResult], shop: duckdb.DuckDBPyConnection
) -> None:
    result = _made[1]
    assert result.success
    assert {check.passed for check in result.get_asset_check_evaluations()} == {True}
    rows = shop.execute(
        "select count(*), count(expected_orders), count(expected_amount), count(heuristic_orders), "
        "min(horizon_days), max(horizon_days) from value.customer_lifetime"
    ).fetchall()
    assert rows == [(401, 400, 400, 400, 90, 90)]
    names = [name for (name,) in shop.execute("select parameter from value.lifetime_model where value > 0").fetchall()]
    assert {"r", "alpha", "a", "b", "p", "q", "v", "window_days"} <= set(names)
    (event,) = [
        e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey(["value", "lifetime_model"])
    ]
    metadata = event.step_materialization_data.materialization.metadata
    assert "held out for" in str(metadata["verdict"].value)
    assert "holdout_error_heuristic" in str(metadata["holdout"].value)


def test_every_column_of_the_lifetime_tables_is_described(shop: duckdb.DuckDBPyConnection) -> None:
    for table in ("value/customer_rfm", "value/customer_lifetime", "value/lifetime_model"):
        assert [column.name for column in describe(shop, table) if not column.comment] == [], table


def test_a_source_without_order_lines_has_rule_groups_and_no_estimate(tmp_path: Path) -> None:
    none = pl.DataFrame(schema={"customer_id": pl.String, "ordered_on": pl.Date, "net_amount": pl.Float64})
    home = _home(tmp_path, none, ["a", "b"])
    with connect(home.warehouse) as con:
        con.execute(
            "update features.customer_features set is_buyer = true, never_bought = false, recency_days = 3, "
            "order_count = 2, monetary_amount = 20"
        )
    assert _materialise(home).success
    with connect(home.warehouse, read_only=True) as con:
        assert con.execute("select count(*) from value.customer_rfm where rfm_group = 'Lost'").fetchall() == [(2,)]
        rows = con.execute(
            "select distinct expected_orders, expected_amount, active_probability, method, reason "
            "from value.customer_lifetime"
        ).fetchall()
        assert rows == [(None, None, None, "none", "No purchase day is known of this customer.")]
        ((reason,),) = con.execute("select text from value.lifetime_model where parameter = 'orders_gate'").fetchall()
        assert reason.startswith("No estimate, too few buyers, ")


# --- the checks --------------------------------------------------------------------------------------------------

# For each check: what is done to the sound shop, and the keys of the rows it must then name.
BROKEN: dict[str, tuple[str, list[tuple[str, ...]]]] = {
    **{
        f"{table}/one_row_per_customer": (
            f"insert into value.{table} select * from value.{table} where customer_id = 'b007'; "
            f"delete from value.{table} where customer_id = 'nobody'; "
            f"update value.{table} set customer_id = 'zoe' where customer_id = 'b009'",
            [("b007",), ("b009",), ("nobody",), ("zoe",)],
        )
        for table in ("customer_rfm", "customer_lifetime")
    },
    "customer_rfm/buyers_have_a_group": (
        "update value.customer_rfm set rfm_group = 'Never bought' where customer_id = 'b007'; "
        "update value.customer_rfm set rfm_group = 'Loyal' where customer_id = 'nobody'; "
        "update value.customer_rfm set rfm_group = 'Whales' where customer_id = 'b009'; "
        "update value.customer_rfm set rfm_group = null where customer_id = 'b011'; "
        "update value.customer_rfm set rfm_group = 'Unknown' where customer_id = 'b013'",
        [("b007",), ("b009",), ("b011",), ("b013",), ("nobody",)],
    ),
    "customer_rfm/quintiles_follow_the_values": (
        "update value.customer_rfm set recency_quintile = 6 where customer_id = 'b001'; "
        "update value.customer_rfm set frequency_quintile = 4 where customer_id = 'b399'",
        # b398 came on fewer days than b399, or on as many, and has the higher quintile.
        [("b001", "recency"), ("b398", "frequency")],
    ),
    "customer_lifetime/estimates_are_possible": (
        "update value.customer_lifetime set expected_orders = -1 where customer_id = 'b001'; "
        "update value.customer_lifetime set active_probability = 1.5 where customer_id = 'b002'; "
        "update value.customer_lifetime set active_probability = 1 where customer_id = 'b003'; "
        "update value.customer_lifetime set active_probability = null where customer_id = 'b390'; "
        "update value.customer_lifetime set expected_orders = null where customer_id = 'b391'; "
        "update value.customer_lifetime set reason = null where customer_id = 'nobody'; "
        "update value.customer_lifetime set expected_orders = 'inf'::double where customer_id = 'b392'",
        [("b001",), ("b002",), ("b003",), ("b390",), ("b391",), ("b392",), ("nobody",)],
    ),
    "lifetime_model/each_parameter_once": (
        "insert into value.lifetime_model select * from value.lifetime_model where parameter = 'r'; "
        "update value.lifetime_model set value = null, text = null where parameter = 'alpha'",
        [("alpha",), ("r",)],
    ),
    "lifetime_model/estimates_have_a_fit": (
        "delete from value.lifetime_model where parameter = 'a'; "
        "update value.lifetime_model set value = 0.9 where parameter = 'q'",
        [("a",), ("q",)],
    ),
}


def _broken_rows(con: duckdb.DuckDBPyConnection, name: str) -> list[tuple[object, ...]]:
    return con.execute(load_model(CHECKS / f"{name}.sql").query).fetchall()


def test_the_checks_of_these_tables_are_shown_failing() -> None:
    tables = ("customer_rfm", "customer_lifetime", "lifetime_model")
    files = {
        str(path.relative_to(CHECKS).with_suffix("")) for table in tables for path in (CHECKS / table).glob("*.sql")
    }
    assert set(BROKEN) == files


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_value_check_names_exactly_the_rows_that_break_it(shop: duckdb.DuckDBPyConnection, name: str) -> None:
    assert _broken_rows(shop, name) == []
    damage, keys = BROKEN[name]
    shop.execute(damage)
    assert [row[: len(keys[0])] for row in _broken_rows(shop, name)] == keys


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_value_check_says_what_it_protects_and_what_to_do(name: str) -> None:
    check = load_model(CHECKS / f"{name}.sql")
    assert check.facts["group"] in ("contract", "business")
    assert (check.facts["severity"], check.facts["blocking"]) == ("error", "yes")
    assert check.facts["remedy"].endswith(".")
    assert check.description.endswith(".")
