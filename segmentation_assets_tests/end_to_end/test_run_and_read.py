"""`segmentation run`, `status` and `sql`: what a newcomer types first, what it prints, and honest exit codes."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest


def test_a_run_ends_with_exit_code_0_and_a_summary_a_person_can_read(finished: Path) -> None:
    printed = (finished / "stdout.txt").read_text(encoding="utf-8")
    words = " ".join(printed.split())
    assert (finished / "code.txt").read_text(encoding="utf-8") == "0"
    assert "the synthetic world, 400 customers, seed 42" in words
    assert "✓ raw" in words
    assert "✓ published" in words
    assert "Done in " in words
    assert " raw = " in words
    assert " rejected; " in words
    assert "Never bought" in words
    assert "Monday brief" in words
    assert str(finished / "home" / "published.duckdb") in printed  # on one line: a path that wraps cannot be copied
    assert str(finished / "home" / "brief.html") in printed
    assert "Next: " in words


def test_a_run_says_nothing_on_stderr_when_all_went_well(finished: Path) -> None:
    assert (finished / "stderr.txt").read_text(encoding="utf-8") == ""


def test_the_four_stores_are_there_and_no_scratch_file_is(finished: Path) -> None:
    home = finished / "home"
    names = {path.name for path in home.iterdir()}
    assert {"warehouse.duckdb", "published.duckdb", "people.duckdb", "state.sqlite", "brief.html"} <= names
    assert not [name for name in names if name.endswith((".tmp", ".wal")) or name in ("staging", "spill")]
    assert list((home / "locks").iterdir()) == []


def test_status_says_how_the_last_run_went_and_what_is_there(quick: Any, home: Path) -> None:
    ended = quick("status", "--home", home)
    assert ended.code == 0
    assert "success in " in ended.words
    assert "A synthetic shop with 400 customers" in ended.words
    assert "Never bought" in ended.words


def test_status_of_nothing_is_exit_code_1_and_says_what_makes_it(quick: Any, tmp_path: Path) -> None:
    ended = quick("status", "--home", tmp_path / "empty")
    assert ended.code == 1
    assert ended.words == f"Nothing is published in {tmp_path / 'empty'} yet. `segmentation run` makes it."
    assert not (tmp_path / "empty").exists()


def test_sql_prints_a_table_csv_and_json_of_the_same_rows(quick: Any, finished: Path) -> None:
    query = "select axis, segment_id, customers from segments.segment_summary order by all limit 3"
    home = ("--home", finished / "home")
    table = quick("sql", query, *home)
    assert table.code == 0
    assert "segment_id" in table.out
    assert "3 rows" in table.out
    as_csv = list(csv.DictReader(io.StringIO(quick("sql", query, "--format", "csv", *home).out)))
    as_json = json.loads(quick("sql", query, "--format", "json", *home).out)
    assert len(as_csv) == 3
    assert as_csv == [{name: str(value) for name, value in row.items()} for row in as_json]


@pytest.mark.parametrize(
    "expression",
    [
        "interval 3 day", "1::hugeint", "uuid()", "map {'a': 1}", "[1, 2]", "{'a': [1]}", "null", "date '1850-01-01'",
        "1.10::decimal(18,4)", "'a\"b,c'", "'[red]x[/red]'", "'nan'::double", "time '10:00'", "'{\"a\": 1}'::json",
        "timestamp '2024-01-01 10:00:00'", "encode('blob')", "true",
    ],
)  # fmt: skip
def test_sql_prints_every_type_in_every_format(quick: Any, finished: Path, expression: str) -> None:
    for how in ("table", "csv", "json"):
        ended = quick("sql", f"select {expression} as v", "--format", how, "--home", finished / "home")
        assert ended.code == 0, ended.words
        if how == "json":
            json.loads(ended.out, parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))
        if "red" in expression and how == "table":
            assert "[red]x[/red]" in ended.out


def test_sql_with_two_columns_of_one_name_prints_both(quick: Any, finished: Path) -> None:
    ended = quick("sql", "select 1 as a, 2 as a", "--format", "csv", "--home", finished / "home")
    assert ended.code == 0, ended.words
    assert "1,2" in ended.out


def test_sql_of_money_keeps_its_digits_in_json(quick: Any, finished: Path) -> None:
    ended = quick("sql", "select 1234567.8900::decimal(18,4) as a", "--format", "json", "--home", finished / "home")
    assert "1234567.8900" in ended.out or "1234567.89" in ended.out


def test_sql_on_nothing_is_a_sentence_and_exit_code_2(quick: Any, tmp_path: Path) -> None:
    ended = quick("sql", "select 1", "--home", tmp_path / "empty")
    assert ended.code == 2
    empty = tmp_path / "empty"
    assert ended.words == f"Nothing is published in {empty} yet. `segmentation run --home {empty}` makes it."


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("selec 1", "syntax error"),
        ("select * from features.customer_featurs", "customer_features"),
        ("select nothing_like_it from features.customer_features", "nothing_like_it"),
        ("select 'x'::integer", "Could not convert"),
        ("", "empty"),
        ("/* only a remark */", "empty"),
        ("from con", "con does not exist"),
    ],
)
def test_a_wrong_query_is_a_sentence_and_exit_code_2(quick: Any, finished: Path, query: str, told: str) -> None:
    ended = quick("sql", query, "--home", finished / "home")
    assert ended.code == 2
    assert told in ended.words
    assert ended.out == ""


@pytest.mark.parametrize(
    "query",
    [
        "create table features.mine as select 1 as a",
        "drop table segments.customer_segments",
        "delete from segments.customer_segments",
        "update profiles.segment_profiles set name = 'x'",
    ],
)
def test_sql_cannot_write(quick: Any, finished: Path, query: str, read: Any) -> None:
    published = finished / "home" / "published.duckdb"
    before = published.stat().st_mtime_ns
    ended = quick("sql", query, "--home", finished / "home")
    assert ended.code == 2
    assert "read-only" in ended.words
    assert published.stat().st_mtime_ns == before
    assert read.one(published, "select count(*) from segments.customer_segments") > 0


def test_sql_answers_while_a_run_holds_the_warehouse(quick: Any, home: Path) -> None:
    hold = (
        f"import duckdb, sys; con = duckdb.connect({str(home / 'warehouse.duckdb')!r}); print(1, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        ended = quick("sql", "select count(*) as n from clean.customers", "--format", "csv", "--home", home)
        status = quick("status", "--home", home)
        holder.communicate(b"\n")
    assert ended.code == 0
    assert status.code == 0


def test_a_selection_runs_only_what_it_names(quick: Any, home: Path, read: Any) -> None:
    ended = quick("run", "--select", 'key:"features/spend_by_value"', "--home", home)
    assert ended.code == 0, ended.words
    assert "✓ features/spend_by_value" in ended.words
    assert ended.words.count("✓") == 1


def test_a_selection_in_a_new_home_ends_well_and_says_what_is_not_published(quick: Any, tmp_path: Path) -> None:
    ended = quick("run", "--customers", 50, "--select", "group:raw", "--home", tmp_path / "new")
    assert ended.code == 0, ended.words
    assert "The published copy is not there yet" in ended.words
    assert "Warning" not in ended.words


@pytest.mark.parametrize(
    ("select", "told"),
    [("group:nothing", "names no asset"), ("key:((", "is not understood"), ("colour:red", "is not understood")],
)
def test_a_selection_nobody_understands_is_a_sentence(quick: Any, home: Path, select: str, told: str) -> None:
    ended = quick("run", "--select", select, "--home", home)
    assert ended.code == 2
    assert told in ended.words
    assert "\x1b" not in ended.words


def test_a_job_that_is_not_there_names_those_that_are(quick: Any, home: Path) -> None:
    ended = quick("run", "--job", "refresh_all", "--home", home)
    assert ended.code == 2
    assert "There is no job 'refresh_all'. Jobs: full_refresh, recluster, refit, assign, campaigns." in ended.words


def test_what_needs_a_table_that_is_not_there_says_what_to_do(quick: Any, tmp_path: Path) -> None:
    ended = quick("run", "--select", 'key:"features/order_lines"', "--home", tmp_path / "new")
    assert ended.code == 1
    assert "There is no database at" in ended.words


def test_every_table_and_column_of_the_published_copy_has_a_comment(finished: Path, read: Any) -> None:
    published = finished / "home" / "published.duckdb"
    without = "from {}() where not internal and comment is null and schema_name <> 'main'"
    assert read(published, "select schema_name, table_name " + without.format("duckdb_tables")) == []
    assert read(published, "select schema_name, table_name, column_name " + without.format("duckdb_columns")) == []


def test_every_raw_row_is_clean_or_rejected_in_every_table(finished: Path, read: Any) -> None:
    home = finished / "home"
    rows = read(home / "warehouse.duckdb", "from quality.row_accounting order by all")
    assert len(rows) == 19
    for table, raw, clean, rejected, _ in rows:
        assert raw == clean + rejected, table
        if table == "contacts":
            people = home / "people.duckdb"
            counts = [
                read.one(people, f"select count(*) from {name}")
                for name in ("raw_contacts", "contacts", "rejected_contacts")
            ]
        else:
            warehouse = home / "warehouse.duckdb"
            counts = [
                read.one(warehouse, f"select count(*) from raw.{table}"),
                read.one(warehouse, f"select count(*) from clean.{table}"),
                read.one(warehouse, f"select count(*) from quality.rejected_rows where table_name = '{table}'"),
            ]
        assert counts == [raw, clean, rejected], table


def test_the_published_copy_is_the_warehouse_without_free_text(finished: Path, read: Any) -> None:
    home = finished / "home"
    assert read.tables(home / "published.duckdb") == read.tables(home / "warehouse.duckdb")
    columns = {
        row[0]
        for row in read(
            home / "published.duckdb", "select column_name from duckdb_columns() where table_name = 'reviews'"
        )
    }
    assert "body" not in columns
    assert "rating" in columns


def test_an_analyst_s_open_shell_keeps_its_copy_and_a_new_one_sees_the_new(
    quick: Any, home: Path, read: Callable[..., Any]
) -> None:
    """An open shell neither blocks the run nor is disturbed by it."""
    open_shell = (
        f"import duckdb; con = duckdb.connect({str(home / 'published.duckdb')!r}, read_only=True)\n"
        "print(con.execute('select count(*) from clean.customers').fetchone()[0], flush=True)\n"
        "input()\n"
        "print(con.execute('select count(*) from clean.customers').fetchone()[0], flush=True)\n"
    )
    before = (home / "published.duckdb").stat().st_ino
    with subprocess.Popen(
        [sys.executable, "-c", open_shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout is not None
        first = shell.stdout.readline()
        ended = quick("run", "--select", 'key:"published"', "--home", home)
        assert ended.code == 0, ended.words
        second, _ = shell.communicate("\n")
    assert first == second
    assert (home / "published.duckdb").stat().st_ino != before
    assert duckdb.connect(str(home / "published.duckdb"), read_only=True).execute("select 1").fetchall() == [(1,)]
