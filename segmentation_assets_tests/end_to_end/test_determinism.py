"""Same source, same seed, same settings: the same tables, whatever the threads; growth is growth."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

ONE_THREAD = {
    "SEGMENTATION_ENGINE__THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def _versions(home: Path) -> list[tuple[str, int]]:
    with sqlite3.connect(home / "state.sqlite") as state:
        return [(str(a), int(v)) for a, v in state.execute("select axis, version from segment_models order by 1, 2")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["again", "one_thread"])
def test_a_second_run_in_a_fresh_home_gives_identical_tables(
    name: str, finished: Path, once: Any, cli_once: Any, read: Any
) -> None:
    env = ONE_THREAD if name == "one_thread" else {}
    other = once(f"fresh-{name}", cli_once("--customers", 400, env=env))
    for database in ("published.duckdb", "warehouse.duckdb", "people.duckdb"):
        mine = read.fingerprints(finished / "home" / database)
        theirs = read.fingerprints(other / "home" / database)
        assert list(mine) == list(theirs)
        assert [table for table in mine if mine[table] != theirs[table]] == []
    for page in ("brief.txt", "brief.html"):
        mine_text, their_text = ((folder / "home" / page).read_text(encoding="utf-8") for folder in (finished, other))
        assert mine_text == their_text.replace(str(other), str(finished))


def test_fitting_again_on_unchanged_tables_makes_no_new_version(quick: Any, home: Path, read: Any) -> None:
    before = read.fingerprints(home / "warehouse.duckdb")
    ended = quick("run", "--select", 'key:"segments/stage_model" or key:"segments/taste_model"', "--home", home)
    assert ended.code == 0, ended.words
    assert _versions(home) == [("stage", 1), ("taste", 1)]
    assert read.fingerprints(home / "warehouse.duckdb") == before


@pytest.mark.slow
def test_an_unchanged_second_run_changes_nothing_and_makes_no_new_version(cli: Any, home: Path, read: Any) -> None:
    before = read.fingerprints(home / "published.duckdb")
    ended = cli("run", "--home", home)
    assert ended.code == 0, ended.words
    assert _versions(home) == [("stage", 1), ("taste", 1)]
    after = read.fingerprints(home / "published.duckdb")
    assert [table for table in before if before[table] != after.get(table)] == []


@pytest.mark.slow
def test_growth_keeps_the_first_customers_and_the_ids_of_the_segments(cli: Any, home: Path, read: Any) -> None:
    warehouse = home / "warehouse.duckdb"
    first = "select * from raw.{} where customer_id in (select customer_id from raw.customers limit {}) order by all"
    held = {
        name: read(warehouse, first.format(name, 400))
        for name in ("customers", "orders", "demographics", "preferences")
    }
    names = dict(read(warehouse, "select segment_id, name from segments.segment_summary"))
    ended = cli("run", "--customers", 470, "--home", home)
    assert ended.code == 0, ended.words
    for name, rows in held.items():
        now = set(map(str, read(warehouse, f"select * from raw.{name}")))
        assert {str(row) for row in rows} <= now, name
    assert read.one(warehouse, "select count(distinct trim(customer_id)) from raw.customers") > 400
    now_names = dict(read(warehouse, "select segment_id, name from segments.segment_summary"))
    assert {"S0", "T0"} <= set(now_names)
    kept = [segment for segment in names if segment in now_names]
    assert len(kept) >= len(names) // 2
    assert all(version <= 2 for _, version in _versions(home))


@pytest.mark.slow
def test_assigning_leaves_models_and_the_segments_of_unchanged_customers_as_they_are(
    cli: Any, home: Path, read: Any
) -> None:
    query = "select customer_id, segment_id, version from segments.stage_assignments order by all"
    before = set(read(home / "warehouse.duckdb", query))
    ended = cli("run", "--job", "assign", "--customers", 420, "--home", home)
    assert ended.code == 0, ended.words
    assert _versions(home) == [("stage", 1), ("taste", 1)]
    after = set(read(home / "warehouse.duckdb", query))
    assert {row[2] for row in after} == {1}
    assert len(before & after) >= 0.95 * len(before)
