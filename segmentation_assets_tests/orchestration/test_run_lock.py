"""One run at a time; the second says for whom it waits; a killed run is noticed and recorded as failed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from segmentation_assets.orchestration.run_lock import RunLockError, fail_killed_runs, hold_run_lock, is_alive
from segmentation_assets.settings import Home

HOLD = """
import sys
from pathlib import Path
from segmentation_assets.orchestration.run_lock import hold_run_lock
from segmentation_assets.settings import Home
with hold_run_lock(Home(Path(sys.argv[1])), sys.argv[2], print):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path).ensure()


@pytest.fixture
def holder(home: Home) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home.path), "11111111-aaaa"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "held"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_waits_and_says_for_whom(home: Home, holder: subprocess.Popen[str]) -> None:
    said: list[str] = []
    with pytest.raises(RunLockError) as caught, hold_run_lock(home, "22222222", said.append, wait_seconds=0.5):
        pass
    assert f"run 11111111 (process {holder.pid}) has been working on {home.path}" in str(caught.value)


def test_the_second_run_goes_on_when_the_first_is_done(home: Home) -> None:
    order: list[str] = []
    inside, finish = threading.Event(), threading.Event()

    def first() -> None:
        with hold_run_lock(home, "first", print):
            inside.set()
            finish.wait(10)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)
    threading.Timer(0.3, finish.set).start()
    with hold_run_lock(home, "second", print, wait_seconds=20):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_a_killed_run_frees_the_lock_at_once(home: Home, holder: subprocess.Popen[str]) -> None:
    assert is_alive(home, "11111111-aaaa")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not is_alive(home, "11111111-aaaa")
    with hold_run_lock(home, "second", print, wait_seconds=5):
        pass


def started(instance: dg.DagsterInstance) -> str:
    @dg.op
    def nothing() -> None:
        pass

    @dg.job
    def work() -> None:
        nothing()

    run = instance.create_run_for_job(work)
    instance.report_run_starting(run) if hasattr(instance, "report_run_starting") else None
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, "work"), run.run_id)
    return run.run_id


def test_a_run_recorded_as_started_whose_process_is_gone_is_marked_failed(home: Home) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        dead, alive = started(instance), started(instance)
        (home.path / "locks").mkdir()
        (home.path / "locks" / f"{dead}.lock").touch()  # left behind by the process that died
        with hold_run_lock(home, alive, print):
            assert fail_killed_runs(instance, home) == [dead]
        run = instance.get_run_by_id(dead)
        assert run is not None
        assert run.status == dg.DagsterRunStatus.FAILURE
        other = instance.get_run_by_id(alive)
        assert other is not None
        assert other.status == dg.DagsterRunStatus.STARTED


def test_a_run_that_waits_for_the_lock_is_alive(home: Home, holder: subprocess.Popen[str]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        waiting = started(instance)
        thread = threading.Thread(target=_wait_in_vain, args=(home, waiting))
        thread.start()
        time.sleep(0.3)
        assert fail_killed_runs(instance, home) == []
        thread.join()


def _wait_in_vain(home: Home, run_id: str) -> None:
    with pytest.raises(RunLockError), hold_run_lock(home, run_id, print, wait_seconds=1.0):
        pass


def test_a_run_that_has_only_just_started_is_left_alone(home: Home) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        started(instance)
        assert fail_killed_runs(instance, home) == []
