"""Same source, same seed, same settings: the same tables, whatever the threads; growth is growth."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest


def _versions(home: Path) -> list[tuple[str, int]]:
    with sqlite3.connect(home / "state.sqlite") as state:
        return [(str(a), int(v)) for a, v in state.execute("select axis, version from segment_models order by 1, 2")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["offline", "one_thread"])
def test_a_second_run_in_a_fresh_home_gives_identical_tables(
    name: str, finished: Path, request: pytest.FixtureRequest, read: Any
) -> None:
    other: Path = request.getfixturevalue(name)
    for database in ("published.duckdb", "warehouse.duckdb", "people.duckdb"):
        mine = read.fingerprints(finished / "home" / database)
        theirs = read.fingerprints(other / "home" / database)
        assert list(mine) == list(theirs)
        assert [table for table in mine if mine[table] != theirs[table]] == []
    for page in ("brief.txt", "brief.html"):
        mine_text, their_text = ((folder / "home" / page).read_text(encoding="utf-8") for folder in (finished, other))
        assert mine_text == their_text.replace(str(other), str(finished))


@pytest.mark.slow
def test_a_run_without_a_key_opens_no_connection(offline: Path, read: Any) -> None:
    """`offline` is a run that every attempt would have failed."""
    assert read(offline / "home" / "published.duckdb", "select distinct written_by from profiles.segment_profiles") == [
        ("embedded",)
    ]


def test_fitting_again_on_unchanged_tables_makes_no_new_version(quick: Any, home: Path, read: Any) -> None:
    before = read.fingerprints(home / "warehouse.duckdb")
    ended = quick("run", "--select", 'key:"segments/stage_model" or key:"segments/taste_model"', "--home", home)
    assert ended.code == 0, ended.words
    assert _versions(home) == [("stage", 1), ("taste", 1)]
    assert read.fingerprints(home / "warehouse.duckdb") == before


@pytest.mark.slow
def test_an_unchanged_second_run_changes_nothing_and_makes_no_new_version(quick: Any, home: Path, read: Any) -> None:
    before = read.fingerprints(home / "published.duckdb")
    ended = quick("run", "--home", home)
    assert ended.code == 0, ended.words
    assert _versions(home) == [("stage", 1), ("taste", 1)]
    after = read.fingerprints(home / "published.duckdb")
    assert [table for table in before if before[table] != after.get(table)] == []


@pytest.mark.slow
def test_growth_keeps_the_first_customers(finished: Path, grown: Path, read: Any) -> None:
    """That the segments keep their ids as well is with the interruptions, where a whole run follows growth."""
    before, after = (folder / "home" / "warehouse.duckdb" for folder in (finished, grown))
    first = "select * from raw.{} where customer_id in (select customer_id from raw.customers limit {}) order by all"
    for name in ("customers", "orders", "demographics", "preferences"):
        now = set(map(str, read(after, f"select * from raw.{name}")))
        assert {str(row) for row in read(before, first.format(name, 400))} <= now, name
    assert read.one(after, "select count(distinct trim(customer_id)) from raw.customers") > 400


@pytest.mark.slow
def test_assigning_leaves_models_and_the_segments_of_unchanged_customers_as_they_are(
    finished: Path, grown: Path, read: Any
) -> None:
    query = "select customer_id, segment_id, version from segments.stage_assignments order by all"
    before, after = (set(read(folder / "home" / "warehouse.duckdb", query)) for folder in (finished, grown))
    assert _versions(grown / "home") == [("stage", 1), ("taste", 1)]
    assert len(after) > len(before)
    assert {row[2] for row in after} == {1}
    assert len(before & after) >= 0.95 * len(before)
