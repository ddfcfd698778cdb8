"""One run at a time on a HOME, and runs whose process died are noticed.

A run holds two file locks for as long as it lives: its own (`locks/RUN_ID.lock`, so others can tell that it is alive,
waiting or not) and the one that lets it write (`run.lock`). The operating system frees both when a process dies,
however it dies.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil
from filelock import FileLock, Timeout

from segmentation_assets.settings import Home

_SAY_EVERY_SECONDS = 10.0
#: A run is recorded as started a moment before it takes its lock.
_GRACE_SECONDS = 60.0
#: On a run that a process of this machine executes itself: which one, so that its death is known at once.
PROCESS_TAG = "segmentation/process"


class RunLockError(RuntimeError):
    """Another run did not finish within the wait."""


def _lock_file(home: Home, run_id: str) -> Path:
    return home.path / "locks" / f"{run_id}.lock"


def _holder(home: Home) -> str:
    try:
        told = json.loads(home.lock.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "another run"
    return f"run {str(told.get('run_id', '?'))[:8]} (process {told.get('pid', '?')})"


@contextmanager
def hold_run_lock(home: Home, run_id: str, say: Callable[[str], None], wait_seconds: float = 3600.0) -> Iterator[None]:
    """Wait for the run lock of `home`, telling through `say` for whom, and hold it.

    Raises RunLockError when the wait is over; nothing was read or written then.
    """
    own = _lock_file(home, run_id)
    own.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(own, timeout=0):
        lock = FileLock(home.lock)
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                lock.acquire(timeout=min(_SAY_EVERY_SECONDS, max(0.0, deadline - time.monotonic())))
                break
            except Timeout:
                if time.monotonic() >= deadline:
                    raise RunLockError(
                        f"{_holder(home)} has been working on {home.path} for more than {wait_seconds:g} s. "
                        "Wait for it or end it, then run again; nothing was changed."
                    ) from None
                say(f"Waiting for {_holder(home)}, which is working on {home.path}.")
        try:
            home.lock.with_suffix(".json").write_text(
                json.dumps({"run_id": run_id, "pid": os.getpid()}), encoding="utf-8"
            )
            yield
        finally:
            lock.release()
    own.unlink(missing_ok=True)


def is_alive(home: Home, run_id: str) -> bool:
    """Whether the process of a run is there, working or waiting for the lock."""
    path = _lock_file(home, run_id)
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def this_process() -> str:
    """This process as `PROCESS_TAG` holds it: its number and, as numbers are used again, when it began."""
    return f"{os.getpid()} {psutil.Process().create_time():.0f}"


def _is_process_there(told: str) -> bool:
    pid, _, began = told.partition(" ")
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(began)) < 2
    except (psutil.NoSuchProcess, ValueError):
        return False


def fail_killed_runs(instance: dg.DagsterInstance, home: Home, own_run_id: str | None = None) -> list[str]:
    """Mark every run as failed that is recorded as begun and whose process is gone; returns their ids."""
    killed = []
    begun = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.NOT_STARTED]
    for record in instance.get_run_records(dg.RunsFilter(statuses=begun)):
        run = record.dagster_run
        if run.run_id == own_run_id or is_alive(home, run.run_id):
            continue
        process = run.tags.get(PROCESS_TAG)
        if process is not None:
            if _is_process_there(process):
                continue
        elif run.status != dg.DagsterRunStatus.STARTED:
            continue  # it waits for whoever launches it
        else:
            began = record.start_time or record.create_timestamp.timestamp()
            is_fresh = time.time() - began < _GRACE_SECONDS
            if is_fresh and not _lock_file(home, run.run_id).exists():
                continue
        instance.report_run_failed(
            run, "The process of this run is gone: it was killed. Tables it had not finished are as they were."
        )
        _lock_file(home, run.run_id).unlink(missing_ok=True)
        killed.append(run.run_id)
    return killed
