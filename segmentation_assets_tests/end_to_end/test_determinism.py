"""Same source, same seed, same settings: the same tables, whatever the threads; growth is growth."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def _versions(home: Path) -> list[tuple[str, int]]:
    with sqlite3.connect(home / "state.sqlite") as state:
        return [(str(a), int(v)) for a, v in state.execute("select axis, version from segment_models order by 1, 2")]


@pytest.mark.slow
def test_a_run_in_a_fresh_home_and_in_one_thread_gives_identical_tables(
    finished: Path, one_thread: Path, read: Any
) -> None:
    """The other run is of the command line, in as many threads as there are cores."""
    for database in ("published.duckdb", "warehouse.duckdb", "people.duckdb"):
        mine = read.fingerprints(finished / "home" / database)
        theirs = read.fingerprints(one_thread / "home" / database)
        assert list(mine) == list(theirs)
        assert [table for table in mine if mine[table] != theirs[table]] == []
    for page in ("brief.txt", "brief.html"):
        mine_text, their_text = (
            (folder / "home" / page).read_text(encoding="utf-8") for folder in (finished, one_thread)
        )
        assert mine_text == their_text.replace(str(one_thread), str(finished))


@pytest.mark.slow
def test_a_run_without_a_key_opens_no_connection(one_thread: Path, read: Any) -> None:
    """Every attempt would have failed that run."""
    writers = "select distinct written_by from profiles.segment_profiles"
    assert read(one_thread / "home" / "published.duckdb", writers) == [("embedded",)]
    told = subprocess.run(
        [sys.executable, "-c", "import socket; socket.create_connection(('127.0.0.1', 9))"],
        env={**os.environ, "PYTHONPATH": str(one_thread)}, capture_output=True, text=True, check=False,
    ).stderr  # fmt: skip
    assert "a connection to ('127.0.0.1', 9) was tried" in told


def test_fitting_again_on_unchanged_tables_makes_no_new_version(quick: Any, home: Path, read: Any) -> None:
    """That a whole second run changes nothing either is with the language models, where one is a replay."""
    before = read.fingerprints(home / "warehouse.duckdb")
    ended = quick("run", "--select", 'key:"segments/stage_model" or key:"segments/taste_model"', "--home", home)
    assert ended.code == 0, ended.words
    assert _versions(home) == [("stage", 1), ("taste", 1)]
    assert read.fingerprints(home / "warehouse.duckdb") == before


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
