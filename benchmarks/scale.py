#!/usr/bin/env python
"""Seconds and peak memory of every step of the whole graph, on a synthetic world of a chosen size.

`python benchmarks/scale.py --customers 100000 [--home DIR] [--threads N] [--json FILE]` runs the job `full_refresh` in
this process and in a fresh HOME, the way the command line does, history and all, and prints a table. Memory is
resident memory of this process and its children, looked at every 50 ms; a peak between two looks is missed. CPU
seconds stand beside wall seconds: where they are far apart, the step waited, for the disk or for a busy machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segmentation_assets.orchestration.execution import StepProgress
    from segmentation_assets.settings import Home

MEGABYTE = 1024 * 1024
SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class StepCost:
    """One step: its stage (group), wall and CPU seconds, peak resident memory, memory at its start, rows it wrote."""

    step: str
    group: str
    seconds: float
    cpu_seconds: float
    peak_mb: float
    start_mb: float
    rows: int
    is_ok: bool = True

    @property
    def rows_per_second(self) -> float:
        """Rows written per second; 0 for a step that writes none."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class StageCost:
    """All steps of one group together."""

    group: str
    steps: int
    seconds: float
    cpu_seconds: float
    peak_mb: float
    rows: int


@dataclass
class ScaleReport:
    """What one run of the graph cost.

    `start_seconds` is everything before the run (imports, definitions); `seconds` the run itself, `cpu_seconds` what
    it used on all cores; `between_seconds` the part of it that no step accounts for (events written, steps planned).
    `files` are bytes by name.
    """

    customers: int
    threads: int
    is_ok: bool = False
    start_seconds: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    steps: list[StepCost] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)

    @property
    def between_seconds(self) -> float:
        """Seconds of the run outside its steps."""
        return max(self.seconds - sum(step.seconds for step in self.steps), 0.0)

    @property
    def stages(self) -> list[StageCost]:
        """Cost by group, in the order in which groups first ran."""
        found = []
        for group in dict.fromkeys(step.group for step in self.steps):
            steps = [step for step in self.steps if step.group == group]
            found.append(
                StageCost(
                    group,
                    len(steps),
                    sum(step.seconds for step in steps),
                    sum(step.cpu_seconds for step in steps),
                    max(step.peak_mb for step in steps),
                    sum(step.rows for step in steps),
                )
            )
        return found

    def as_dict(self) -> dict[str, Any]:
        """The report for a JSON file."""
        stages = [dataclasses.asdict(stage) for stage in self.stages]
        return dataclasses.asdict(self) | {"stages": stages, "between_seconds": self.between_seconds}


def cpu_seconds() -> float:
    """CPU seconds of this process and its ended children so far, all cores together."""
    return sum(os.times()[:4])


class MemorySampler:
    """A thread that looks at resident memory (this process and its children) every 50 ms and keeps the maximum."""

    def __init__(self, every_seconds: float = SAMPLE_SECONDS) -> None:
        import psutil

        self._psutil = psutil
        self._process = psutil.Process()
        self._every = every_seconds
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-sampler", daemon=True)
        self._peak = 0.0
        self.highest = 0.0

    def __enter__(self) -> MemorySampler:
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def restart(self) -> float:
        """Forget the maximum; returns the memory now, in MB."""
        with self._lock:
            self._peak = 0.0
            return self._look_now()

    def peak(self) -> float:
        """The maximum since the last restart, in MB."""
        self._look()
        with self._lock:
            return self._peak

    def _look(self) -> float:
        # Looking and keeping in one: a look from before a restart must not be kept after it.
        with self._lock:
            return self._look_now()

    def _look_now(self) -> float:
        total = self._process.memory_info().rss
        for child in self._process.children(recursive=True):
            try:
                total += child.memory_info().rss
            except self._psutil.NoSuchProcess:  # it ended between being listed and being asked
                continue
        now = float(total) / MEGABYTE
        self._peak = max(self._peak, now)
        self.highest = max(self.highest, now)
        return now

    def _watch(self) -> None:
        while not self._over.wait(self._every):
            self._look()


class StepWatcher:
    """Turns progress of a run into costs of its steps."""

    def __init__(self, sampler: MemorySampler, group_of: Mapping[str, str]) -> None:
        self.sampler = sampler
        self.group_of = group_of
        self.steps: list[StepCost] = []
        self._start_mb = 0.0
        self._start_cpu = 0.0

    def __call__(self, progress: StepProgress) -> None:
        if progress.seconds is None:
            self._start_mb = self.sampler.restart()
            self._start_cpu = cpu_seconds()
            return
        self.steps.append(
            StepCost(
                step=progress.step,
                group=self.group_of.get(progress.step, "other"),
                seconds=progress.seconds,
                cpu_seconds=cpu_seconds() - self._start_cpu,
                peak_mb=self.sampler.peak(),
                start_mb=self._start_mb,
                rows=sum(max(rows, 0) for rows in progress.tables.values()),
                is_ok=progress.is_ok,
            )
        )


def groups_by_step() -> dict[str, str]:
    """The group of each step of the graph. A step that writes several groups is shown under its commonest."""
    from segmentation_assets.definitions import defs

    found: dict[str, str] = {}
    for asset in defs().resolve_asset_graph().assets_defs:
        if asset.is_executable and asset.keys:
            groups = sorted(asset.group_names_by_key.values())
            found[asset.node_def.name] = max(groups, key=groups.count)
    return found


def measure(home: Home, customers: int, *, threads: int = 0) -> ScaleReport:
    """Run the whole graph in `home`, which must hold no run yet, and say what it cost.

    `threads` limits DuckDB; 0 is all cores. ValueError when `home` is in use.
    """
    from segmentation_assets.definitions import defs
    from segmentation_assets.orchestration.execution import execute_job
    from segmentation_assets.settings import load_settings, record_flags

    if home.warehouse.exists() or home.state.exists():
        raise ValueError(f"{home.path} holds a run already; a benchmark needs a fresh folder.")
    flags = {"source": {"name": "synthetic"}, "synthetic": {"customers": customers}, "engine": {"threads": threads}}
    load_settings(home, flags)
    home.ensure()
    record_flags(home, flags)
    report = ScaleReport(customers, threads)
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    with MemorySampler() as sampler:
        from segmentation_assets.orchestration.execution import prepare_home

        prepare_home(home)
        watcher = StepWatcher(sampler, groups_by_step())
        began = cpu_seconds()
        outcome = execute_job(home, "full_refresh", defs, on_progress=watcher)
        report.cpu_seconds = cpu_seconds() - began
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # exact, but without children
    report.steps, report.seconds, report.is_ok = watcher.steps, outcome.seconds, outcome.is_ok
    report.peak_mb = max(sampler.highest, own)
    report.failures = outcome.failures
    report.files = file_sizes(home.path)
    return report


def file_sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file and each sub-folder of `folder`, the largest first; nothing that is empty."""
    sizes = {
        entry.name + ("/" if entry.is_dir() else ""): sum(
            item.stat().st_size for item in ([entry] if entry.is_file() else entry.rglob("*")) if item.is_file()
        )
        for entry in folder.iterdir()
    }
    return {name: size for name, size in sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0])) if size}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under their header, the first to the left, the others to the right."""
    widths = [max(len(row[place]) for row in [header, *rows]) for place in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in cells).rstrip()
        for cells in (list(enumerate(zip(row, widths, strict=True))) for row in [header, *rows])
    )


def _rate(rows: int, seconds: float) -> str:
    return f"{rows / seconds:,.0f}" if rows and seconds > 0 else ""


def describe(report: ScaleReport) -> str:
    """The report as a person reads it in a terminal."""
    steps = [
        (
            f"{step.step.replace('__', '/')}{'' if step.is_ok else ' (failed)'}",
            step.group,
            f"{step.seconds:.2f}",
            f"{step.cpu_seconds:.2f}",
            f"{step.peak_mb:,.0f}",
            f"{step.peak_mb - step.start_mb:+,.0f}",
            f"{step.rows:,}",
            _rate(step.rows, step.seconds),
        )
        for step in report.steps
    ]
    stages = [
        (
            stage.group,
            str(stage.steps),
            f"{stage.seconds:.2f}",
            f"{stage.cpu_seconds:.2f}",
            f"{stage.peak_mb:,.0f}",
            f"{stage.rows:,}",
            _rate(stage.rows, stage.seconds),
        )
        for stage in report.stages
    ]
    lines = [
        f"{report.customers:,} customers, {report.threads or 'all'} threads",
        "",
        table(("step", "stage", "seconds", "CPU s", "peak MB", "added MB", "rows written", "rows/s"), steps),
        "",
        table(("stage", "steps", "seconds", "CPU s", "peak MB", "rows written", "rows/s"), stages),
        "",
        f"before the run (imports, definitions)  {report.start_seconds:8.2f} s",
        f"the run                                {report.seconds:8.2f} s, {report.cpu_seconds:.2f} s of CPU",
        f"  of it between steps                  {report.between_seconds:8.2f} s",
        f"in all                                 {report.start_seconds + report.seconds:8.2f} s",
        f"peak memory                            {report.peak_mb:8,.0f} MB",
        "",
        *(f"{name:<28} {size / MEGABYTE:10,.1f} MB" for name, size in report.files.items()),
    ]
    lines += [f"FAILED {where}: {sentence}" for where, sentence in report.failures]
    return "\n".join(lines)


def seconds_since_start() -> float:
    """Seconds since this process was started, interpreter and imports included."""
    import psutil

    return time.time() - float(psutil.Process().create_time())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one run and print it; the exit code is 1 when the run failed."""
    parser = argparse.ArgumentParser(description="What a run of the whole graph costs, step by step.")
    parser.add_argument("--customers", type=int, default=10_000, help="customers in the synthetic world")
    parser.add_argument("--home", type=Path, help="a fresh folder, kept; else a temporary one, removed at the end")
    parser.add_argument("--threads", type=int, default=0, help="threads of DuckDB and polars; 0 is all cores")
    parser.add_argument("--json", type=Path, help="also write the report to this file")
    options = parser.parse_args(arguments)
    if options.threads:
        os.environ["POLARS_MAX_THREADS"] = str(options.threads)  # read when polars is imported, which is below
    from segmentation_assets.settings import Home

    place = options.home or Path(tempfile.mkdtemp(prefix="segmentation_scale_"))
    try:
        report = measure(Home(place.resolve()), options.customers, threads=options.threads)
        report.start_seconds = max(seconds_since_start() - report.seconds, 0.0)
    finally:
        if options.home is None:
            shutil.rmtree(place, ignore_errors=True)
    print(describe(report))
    if options.json:
        options.json.write_text(json.dumps(report.as_dict(), indent=1) + "\n", encoding="utf-8")
    return 0 if report.is_ok else 1


if __name__ == "__main__":
    sys.exit(main())
