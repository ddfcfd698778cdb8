"""One writer at a time, a bounded wait, and the personal data behind a wall."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from segmentation_assets.warehouse.connection import (
    Engine,
    WarehouseBusyError,
    WarehouseMissingError,
    connect,
    quote_name,
    transaction,
)

HOLD = """
import sys, duckdb
con = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
"""


@contextmanager
def held_by_another_process(path: Path) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline().strip() == "held"
    try:
        yield process.pid
    finally:
        process.communicate("\n")


def test_a_busy_file_ends_in_a_sentence_that_names_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with connect(path):
        pass
    with (
        held_by_another_process(path) as pid,
        pytest.raises(WarehouseBusyError) as caught,
        connect(path, engine=Engine(wait_seconds=0.3)),
    ):
        pass
    assert f"warehouse.duckdb is held open by process {pid}" in str(caught.value)
    assert "nothing was changed" in str(caught.value)


def test_waiting_succeeds_when_the_holder_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with connect(path) as con:
        con.execute("create table t as select 1 as a")
    with held_by_another_process(path):
        pass
    with connect(path, engine=Engine(wait_seconds=5)) as con:
        assert con.execute("from t").fetchall() == [(1,)]


def test_reading_what_is_not_there_says_how_to_make_it(tmp_path: Path) -> None:
    with (
        pytest.raises(WarehouseMissingError, match="`segmentation run` makes it"),
        connect(tmp_path / "none.duckdb", read_only=True),
    ):
        pass


def test_an_exception_closes_the_connection(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with pytest.raises(ZeroDivisionError), connect(path):
        raise ZeroDivisionError
    with held_by_another_process(path):
        pass


def test_people_cannot_be_seen_unless_attached(tmp_path: Path) -> None:
    warehouse, people = tmp_path / "warehouse.duckdb", tmp_path / "people.duckdb"
    with connect(warehouse, people=people) as con:
        con.execute("create table people.contacts as select 'C1' as customer_id, 'a@example.com' as email")
    with connect(warehouse) as con, pytest.raises(duckdb.CatalogException):
        con.execute("from people.contacts")
    with connect(warehouse, people=people, read_only=True) as con:
        assert con.execute("select count(*) from people.contacts").fetchall() == [(1,)]


def test_a_transaction_that_raises_leaves_the_old_table_whole(tmp_path: Path) -> None:
    with connect(tmp_path / "warehouse.duckdb") as con:
        con.execute("create table t as select 1 as a")
        with pytest.raises(RuntimeError), transaction(con):
            con.execute("create or replace table t as select 2 as a, 3 as b")
            raise RuntimeError
        assert con.execute("from t").fetchall() == [(1,)]


@pytest.mark.parametrize("name", ['a"b', "ünï", "select", "x" * 200, "a;drop table t"])
def test_quoted_names_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    with connect(tmp_path / "warehouse.duckdb") as con:
        con.execute(f"create table {quote_name(name)} as select 1 as a")
        assert con.execute("select table_name from duckdb_tables()").fetchall() == [(name,)]
