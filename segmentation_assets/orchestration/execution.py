"""Running a job of this project in the current process, with its history kept in HOME."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import sqlite3
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from segmentation_assets.orchestration.run_lock import PROCESS_TAG, this_process
from segmentation_assets.settings import ENV_HOME, PROJECT_ROOT, Home

_DISK_FULL = re.compile(r"no space left on device|file too large|disk quota exceeded", re.IGNORECASE)
INSTANCE_TEMPLATE = PROJECT_ROOT / ".dagster" / "home" / "dagster.yaml"


@dataclass(frozen=True)
class StepProgress:
    """A step began (`seconds` is None) or ended, or a run that waits says for whom (`message`)."""

    step: str
    tables: Mapping[str, int] = field(default_factory=dict)
    seconds: float | None = None
    is_ok: bool = True
    message: str = ""


@dataclass
class RunOutcome:
    """How a run ended. `failures` and `warnings` are sentences by step or table."""

    run_id: str
    is_ok: bool = False
    seconds: float = 0.0
    seconds_by_step: dict[str, float] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)


def prepare_home(home: Home) -> None:
    """Make HOME and its DAGSTER_HOME, and point this process and its children at them."""
    home.ensure()
    home.dagster.mkdir(exist_ok=True)
    configuration = home.dagster / "dagster.yaml"
    if not configuration.exists():
        shutil.copyfile(INSTANCE_TEMPLATE, configuration)
    os.environ[ENV_HOME] = str(home.path)
    os.environ["DAGSTER_HOME"] = str(home.dagster)


def execute_job(
    home: Home,
    job_name: str,
    load: Callable[[], dg.Definitions],
    *,
    select: str | None = None,
    on_progress: Callable[[StepProgress], None] | None = None,
    tags: Mapping[str, str] | None = None,
) -> RunOutcome:
    """Materialise the assets of a job, or those of them that `select` names, and tell of each step.

    `load` gives the definitions; it is called when HOME is prepared, for they are those of a HOME. ValueError when
    the selection is not understood or names nothing.
    """
    prepare_home(home)
    definitions = load()
    job = definitions.resolve_job_def(job_name)
    keys = None
    if select:
        keys = _resolve(definitions, select)
    with dg.DagsterInstance.get() as instance, _history_kept_open(home) as keep_open:
        outcome = RunOutcome(run_id=str(uuid.uuid4()))
        watcher = _Watcher(outcome, on_progress or (lambda progress: None), keep_open)
        instance.add_event_listener(outcome.run_id, watcher)
        began = time.perf_counter()
        result = job.execute_in_process(
            instance=instance,
            run_id=outcome.run_id,
            raise_on_error=False,
            asset_selection=keys,
            tags={**(tags or {}), PROCESS_TAG: this_process()},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        outcome.seconds = time.perf_counter() - began
        outcome.is_ok = result.success
        if not result.success and not outcome.failures:
            record = instance.get_run_record_by_id(outcome.run_id)
            outcome.failures.append(
                ("the run", watcher.last_error or f"ended as {record and record.dagster_run.status}")
            )
    return outcome


@contextmanager
def _history_kept_open(home: Home) -> Iterator[Callable[[], None]]:
    """One idle connection on each of Dagster's SQLite files, and a function that takes up files made since.

    Dagster opens a connection for every event, and the last one to close checkpoints and syncs the file: without an
    idle one beside it that is a disk sync for each of some hundred events of a run. Nothing is lost when the process
    dies: the write-ahead log is there.
    """
    held: dict[Path, sqlite3.Connection] = {}

    def keep_open() -> None:
        for path in sorted(home.dagster.rglob("*.db")):
            if path not in held:
                held[path] = sqlite3.connect(path, check_same_thread=False)
                held[path].execute("select count(*) from sqlite_master").fetchall()

    keep_open()
    try:
        yield keep_open
    finally:
        for connection in held.values():
            connection.close()


def last_run(home: Home) -> str:
    """One line on the newest run in this HOME's history, or nothing."""
    if not home.dagster.exists():
        return ""
    prepare_home(home)
    with dg.DagsterInstance.get() as instance:
        records = instance.get_run_records(limit=1)
    if not records:
        return ""
    record = records[0]
    words = f"Last run {record.dagster_run.run_id[:8]}: {record.dagster_run.status.value.lower()}"
    if record.start_time and record.end_time:
        words += f" in {record.end_time - record.start_time:.1f} s"
    if record.end_time:
        words += f", ended {dt.datetime.fromtimestamp(record.end_time, dt.UTC):%Y-%m-%d %H:%M} UTC"
    return words + "."


def _resolve(definitions: dg.Definitions, select: str) -> list[dg.AssetKey]:
    try:
        with warnings.catch_warnings():
            # Dagster's own parser calls what it marks as beta; whoever types a selection cannot mend that.
            warnings.simplefilter("ignore", dg.BetaWarning)
            # A step that writes its tables together runs for all of them or not at all.
            selection = dg.AssetSelection.from_string(select).required_multi_asset_neighbors()
        keys = selection.resolve(definitions.resolve_asset_graph())
    except dg.DagsterError as error:
        raise ValueError(f"The selection {select!r} is not understood: {str(error).splitlines()[0]}") from None
    if not keys:
        raise ValueError(
            f'The selection {select!r} names no asset. Examples: group:features, key:"clean/orders"+, '
            'key:"segments/taste_model".'
        )
    return sorted(keys)


class _Watcher:
    """Turns Dagster's events of one run into progress and sentences."""

    def __init__(
        self, outcome: RunOutcome, tell: Callable[[StepProgress], None], keep_open: Callable[[], None]
    ) -> None:
        self.outcome = outcome
        self.tell = tell
        self.keep_open = keep_open
        self.began: dict[str, float] = {}
        self.tables: dict[str, dict[str, int]] = {}
        self.last_error = ""

    def __call__(self, entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None:
            if entry.user_message.startswith("Waiting for "):  # run_lock.hold_run_lock
                self.tell(StepProgress("", message=entry.user_message))
            return
        step = event.step_key or ""
        kind = event.event_type
        if kind == dg.DagsterEventType.STEP_START:
            if not self.began:
                self.keep_open()  # the run's own file is there by now
            self.began[step] = time.perf_counter()
            self.tell(StepProgress(step))
        elif kind == dg.DagsterEventType.ASSET_MATERIALIZATION:
            materialization = event.step_materialization_data.materialization
            rows = materialization.metadata.get("dagster/row_count")
            key = "/".join(materialization.asset_key.path)
            self.tables.setdefault(step, {})[key] = int(rows.value) if rows is not None else -1  # type: ignore[arg-type]
        elif kind == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed:
                place = "/".join(check.asset_key.path)
                sentence = f"check {check.check_name}: {check.description or 'failed'}"
                if check.severity == dg.AssetCheckSeverity.WARN:
                    self.outcome.warnings.append((place, sentence))
                else:
                    self.outcome.failures.append((place, sentence))
        elif kind == dg.DagsterEventType.STEP_FAILURE:
            self.outcome.failures.append((step.replace("__", "/"), _sentence(event.step_failure_data)))
            self._end(step, is_ok=False)
        elif kind == dg.DagsterEventType.STEP_SUCCESS:
            self._end(step, is_ok=True)
        elif kind == dg.DagsterEventType.RUN_FAILURE:
            data = event.job_failure_data
            if data.error is not None:
                self.last_error = _innermost(data.error)

    def _end(self, step: str, *, is_ok: bool) -> None:
        seconds = time.perf_counter() - self.began.get(step, time.perf_counter())
        self.outcome.seconds_by_step[step] = seconds
        self.tell(StepProgress(step, self.tables.get(step, {}), seconds, is_ok))


def _sentence(data: object) -> str:
    user = getattr(data, "user_failure_data", None)
    if user is not None and user.description:
        return str(user.description)
    error = getattr(data, "error", None)
    return _innermost(error) if error is not None else "failed without a message"


def _innermost(error: object) -> str:
    """The message of the first cause: without the name of its class, and in words where the disk is full."""
    while getattr(error, "cause", None) is not None:
        error = error.cause  # type: ignore[attr-defined]
    message = str(getattr(error, "message", error)).strip()
    if _DISK_FULL.search(message):
        return (
            f"The disk is full, or a file may not grow further. Free some space and run again; what was there is as "
            f"it was. ({message})"
        )
    head, _, rest = message.partition(": ")
    return rest if head.startswith(("segmentation_assets.", "_duckdb.")) and rest else message
