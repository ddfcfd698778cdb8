"""kill -9 at any moment of a run: the published copy opens, no table is half written, and the next run succeeds.

TEST_KILLS sets the number of kills of the long test (default 30).
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MORE = 460
STATUSES = "select status, count(*) from runs group by status"
#: What differs between two runs on the same data, and is no figure.
Facts = dict[str, tuple[int, str]]


def _statuses(home: Path) -> dict[str, int]:
    with sqlite3.connect(home / "dagster" / "history" / "runs.db") as history:
        return {str(status): int(count) for status, count in history.execute(STATUSES)}


def _kill_after(cli: Any, seconds: float, *words: object, ready: Path | None = None) -> bool:
    """Start a run, end it with SIGKILL `seconds` after it took the lock; whether it was still running."""
    before = ready.stat().st_mtime_ns if ready is not None and ready.exists() else 0
    run = cli.start(*words)
    deadline = time.monotonic() + 120
    while ready is not None and run.poll() is None and time.monotonic() < deadline:
        if ready.exists() and ready.stat().st_mtime_ns != before:
            break
        time.sleep(0.02)
    try:
        run.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        run.send_signal(signal.SIGKILL)
        run.communicate()
        return True
    run.communicate()
    return False


def _interrupt(cli: Any, quick: Any, read: Any, home: Path, moments: list[float], *words: object) -> int:
    """Kill a run at each moment, let the next one finish, and compare what each kill left with before and after.

    Returns how many runs were killed in the middle.
    """
    names = ("warehouse.duckdb", "published.duckdb")
    old = {name: read.fingerprints(home / name) for name in names}
    left: list[dict[str, Facts]] = []
    killed, recorded = 0, sum(_statuses(home).values())
    for seconds in moments:
        killed += _kill_after(cli, seconds, "run", *words, "--home", home, ready=home / "run.json")
        left.append({name: read.fingerprints(home / name) for name in names})
    done = quick("run", *words, "--home", home)
    assert done.code == 0, done.words
    new = {name: read.fingerprints(home / name) for name in names}
    for moment, found in zip(moments, left, strict=True):
        assert found["published.duckdb"] in (old["published.duckdb"], new["published.duckdb"])
        for table, facts in found["warehouse.duckdb"].items():
            whole = (old["warehouse.duckdb"].get(table), new["warehouse.duckdb"].get(table))
            assert facts in whole, f"killed after {moment:.2f} s: {table} is neither the old nor the new one"
        for lost in old["warehouse.duckdb"].keys() - found["warehouse.duckdb"].keys():
            pytest.fail(f"killed after {moment:.2f} s: {lost} is gone")
    statuses = _statuses(home)
    assert set(statuses) <= {"SUCCESS", "FAILURE"}
    assert sum(statuses.values()) == recorded + len(moments) + 1
    assert statuses.get("FAILURE", 0) >= killed - 2  # one killed while it prints its summary has succeeded
    scratch = [path.name for path in home.iterdir() if ".tmp" in path.name or path.name in ("staging", "spill")]
    assert scratch == []
    return killed


@pytest.mark.slow
def test_after_kill_9_at_random_moments_everything_is_whole_and_the_next_run_succeeds(
    cli: Any, quick: Any, finished: Path, home: Path, read: Any
) -> None:
    """From one finished state (400 customers) toward another (460): no table is ever anything between.

    The first two kills come while the raw tables are loaded and cleaned, where one step writes many tables; the others
    at a random moment of each of as many equal parts of a whole run.
    """
    count = int(os.environ.get("TEST_KILLS", "30"))
    names_of = "select segment_id, name from segments.segment_summary"
    length = float((finished / "seconds.txt").read_text(encoding="utf-8"))
    random = np.random.default_rng(11)
    parts = (np.arange(count) + random.uniform(size=count)) * length / count
    moments = [*random.uniform(0.2, 3.0, size=2).tolist(), *parts.tolist()]
    killed = _interrupt(cli, quick, read, home, moments, "--customers", MORE)
    assert killed >= 2 + count // 2, f"only {killed} of {count + 2} runs were still running when the kill came"
    # That last one was a whole run on more customers: the segments keep their ids.
    names, now_names = (dict(read(folder / "warehouse.duckdb", names_of)) for folder in (finished / "home", home))
    assert {"S0", "T0"} <= set(now_names)
    assert len([segment for segment in names if segment in now_names]) >= len(names) // 2
    with sqlite3.connect(home / "state.sqlite") as state:
        assert state.execute("select max(version) from segment_models").fetchall()[0][0] <= 2


def test_a_copy_that_was_cut_off_by_a_kill_does_not_spoil_the_next_one(quick: Any, home: Path, read: Any) -> None:
    """A kill while free text is taken out of the copy leaves a scratch file and its log; both are of no use."""
    before = read.fingerprints(home / "published.duckdb")
    leave = (
        "import duckdb, os, shutil\n"
        f"shutil.copyfile({str(home / 'published.duckdb')!r}, {str(home / 'published.tmp')!r})\n"
        f"con = duckdb.connect({str(home / 'published.tmp')!r}, config={{'checkpoint_threshold': '1TB'}})\n"
        "con.execute('update segments.segment_summary set name = 1')\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", leave], check=False)
    assert (home / "published.tmp.wal").exists()
    ended = quick("run", "--select", 'key:"published"', "--home", home)
    assert ended.code == 0, ended.words
    assert read.fingerprints(home / "published.duckdb") == before
    assert not [path.name for path in home.iterdir() if ".tmp" in path.name]


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_a_run_with_a_sentence_and_an_exit_code(cli: Any, home: Path, read: Any) -> None:
    before = read.fingerprints(home / "published.duckdb")
    select = 'group:raw or group:clean or key:"published"'  # a run that went on to its end would publish
    run = cli.start("run", "--customers", MORE, "--select", select, "--home", home)
    deadline = time.monotonic() + 120
    told = (home / "run.json").read_text(encoding="utf-8")
    while (home / "run.json").read_text(encoding="utf-8") == told and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode not in (0, None)
    assert "Traceback" not in out + err
    assert "interrupt" in (out + err).lower()
    assert read.fingerprints(home / "published.duckdb") == before
    assert not {"STARTED", "NOT_STARTED"} & set(_statuses(home))
