#!/usr/bin/env python
"""K-Prototypes beside the packages `kmodes` and `fasterkmodes`: cost and CPU seconds on the same rows.

`python benchmarks/kprototypes.py [--part million kmodes sweep faster] [--starts N] [--rows N ...] [--json FILE]`. The
rows are planted: 10 numbers of unit variance and 8 categories of 5 levels, 8 kinds of customers that lie apart
(`clear`), overlap (`blurred`) or do not exist (`none`). Costs of both sides are computed from their labels by one
function, with the same gamma. CPU seconds are those of this process, all threads together.

Parts: `million` is this project alone with ten starts, and peak memory; `kmodes` one k with the same number of starts
on both sides; `sweep` k from 1 to 10 with the same number of starts (a line for k shows a tenth of our total); `faster`
is `fasterkmodes` with its one start beside our ten. Its distance is not squared, so its goal differs a little; its C
code is compiled before the clock starts.

The peers are needed only here: `pip install -e '.[bench]'`, or `pip install kmodes fasterkmodes appdirs` (and a C
compiler for the second).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation_assets.segmentation.algorithms.kprototypes import KPrototypes, cost_of, sweep

NUMBERS, CATEGORIES, LEVELS, KINDS = 10, 8, 5, 8
CATEGORICAL = list(range(NUMBERS, NUMBERS + CATEGORIES))
#: How far apart the means of the kinds lie, and how often a customer has the category of its kind.
SHAPES = {"clear": (1.5, 0.6), "blurred": (0.7, 0.4), "none": (0.0, 0.0)}
PARTS = ("million", "kmodes", "sweep", "faster")
ROWS = {"million": (1_000_000,), "kmodes": (1_000, 5_000, 20_000), "sweep": (1_000,), "faster": (100_000, 1_000_000)}
MISSING = "{name} is not installed, so its part is left out: pip install kmodes fasterkmodes appdirs"


@dataclass(frozen=True)
class Line:
    """One comparison: our cost and CPU seconds beside the peer's (None: the peer was not run, `remark` says why)."""

    part: str
    rows: int
    shape: str
    k: str
    starts: int
    cost: float
    cpu_seconds: float
    peer_cost: float | None = None
    peer_cpu_seconds: float | None = None
    remark: str = ""

    def text(self) -> str:
        """The line of the table that is printed."""
        ours = f"{self.part:8} {self.rows:9,} {self.shape:8} {self.k:>5} {self.starts:6} {self.cost:14.2f}"
        ours += f" {self.cpu_seconds:8.2f}"
        if self.peer_cost is None or self.peer_cpu_seconds is None:
            return f"{ours}   {self.remark}"
        cost, times = self.cost / self.peer_cost - 1, self.peer_cpu_seconds / self.cpu_seconds
        return f"{ours} {self.peer_cost:14.2f} {self.peer_cpu_seconds:8.2f} {cost:+10.4%} {times:7.1f}x  {self.remark}"


HEADER = (
    f"{'part':8} {'rows':>9} {'kinds':8} {'k':>5} {'starts':>6} {'our cost':>14} {'our CPU':>8} "
    f"{'peer cost':>14} {'peer CPU':>8} {'cost':>10} {'CPU':>8}"
)


def planted_rows(n: int, shape: str, seed: int) -> NDArray[np.float64]:
    """(n, 18): numbers, then category codes, with the kinds of `shape`."""
    apart, purity = SHAPES[shape]
    rng = np.random.default_rng(np.random.SeedSequence([seed, n, list(SHAPES).index(shape)]))
    kind = rng.integers(0, KINDS, n)
    numbers = rng.normal(0, apart, (KINDS, NUMBERS))[kind] + rng.normal(size=(n, NUMBERS))
    own = rng.integers(0, LEVELS, (KINDS, CATEGORIES))[kind]
    codes = np.where(rng.random((n, CATEGORIES)) < purity, own, rng.integers(0, LEVELS, (n, CATEGORIES)))
    return np.hstack([(numbers - numbers.mean(axis=0)) / numbers.std(axis=0), codes])


def cost_of_labels(rows: NDArray[np.float64], labels: NDArray[Any], gamma: float) -> float:
    """The one cost by which both sides are judged."""
    return cost_of(rows[:, :NUMBERS], rows[:, NUMBERS:].astype(np.int64), np.asarray(labels), gamma)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` returns, and the CPU seconds of this process meanwhile."""
    before = time.process_time()
    return work(), time.process_time() - before


def peer(module: str, name: str) -> Any:
    """A class of a peer, or None with a sentence when it is not installed."""
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        print(MISSING.format(name=module.split(".", maxsplit=1)[0]), f"({error})", file=sys.stderr)
        return None


def run_million(n: int, shape: str, seed: int, starts: int) -> list[Line]:
    """This project alone."""
    rows = planted_rows(n, shape, seed)
    model = KPrototypes(KINDS, categorical_features=CATEGORICAL, n_init=starts, random_state=seed)
    _, cpu = timed(lambda: model.fit(rows))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        Line("million", n, shape, str(KINDS), starts, model.cost_, cpu, remark=f"peak memory {peak:,.0f} MB so far")
    ]


def run_kmodes(n: int, shape: str, seed: int, starts: int) -> list[Line]:
    """One k, the same rows, gamma and number of starts."""
    rows = planted_rows(n, shape, seed)
    model = KPrototypes(KINDS, categorical_features=CATEGORICAL, n_init=starts, random_state=seed)
    _, cpu = timed(lambda: model.fit(rows))
    cost = cost_of_labels(rows, model.labels_, model.gamma_)
    other = peer("kmodes.kprototypes", "KPrototypes")
    if other is None:
        return [Line("kmodes", n, shape, str(KINDS), starts, cost, cpu, remark="no peer")]
    theirs = other(KINDS, gamma=model.gamma_, n_init=starts, random_state=seed)
    labels, peer_cpu = timed(lambda: theirs.fit_predict(rows, categorical=CATEGORICAL))
    peer_cost = cost_of_labels(rows, labels, model.gamma_)
    return [Line("kmodes", n, shape, str(KINDS), starts, cost, cpu, peer_cost, peer_cpu)]


def run_sweep(n: int, shape: str, seed: int, starts: int) -> list[Line]:
    """Every k from 1 to 10; the last line has the totals."""
    rows = planted_rows(n, shape, seed)
    ks = range(1, 11)
    models, cpu = timed(lambda: sweep(rows, ks, categorical_features=CATEGORICAL, n_init=starts, random_state=seed))
    gamma = models[0].gamma_
    costs = [cost_of_labels(rows, model.labels_, gamma) for model in models]
    other = peer("kmodes.kprototypes", "KPrototypes")
    if other is None:
        return [Line("sweep", n, shape, "1-10", starts, sum(costs), cpu, remark="no peer")]
    lines, peer_costs, peer_cpus = [], [], []
    for k, cost in zip(ks, costs, strict=True):
        theirs = other(k, gamma=gamma, n_init=starts, random_state=seed)
        # The default seeding of the peer (Cao) needs two clusters; one cluster is the same however it is seeded.
        theirs.init = "Cao" if k > 1 else "random"
        labels, peer_cpu = timed(lambda theirs=theirs: theirs.fit_predict(rows, categorical=CATEGORICAL))
        peer_costs.append(cost_of_labels(rows, labels, gamma))
        peer_cpus.append(peer_cpu)
        lines.append(Line("sweep", n, shape, str(k), starts, cost, cpu / len(ks), peer_costs[-1], peer_cpu))
    worst = max(ours / theirs for ours, theirs in zip(costs, peer_costs, strict=True)) - 1
    total = Line("sweep", n, shape, "1-10", starts, sum(costs), cpu, sum(peer_costs), sum(peer_cpus))
    return [*lines, Line(**(asdict(total) | {"remark": f"worst k {worst:+.4%}"}))]


def run_faster(n: int, shape: str, seed: int, starts: int) -> list[Line]:
    """`fasterkmodes` with one start (its default) beside ours with `starts`."""
    rows = planted_rows(n, shape, seed)
    model = KPrototypes(KINDS, categorical_features=CATEGORICAL, n_init=starts, random_state=seed)
    _, cpu = timed(lambda: model.fit(rows))
    cost = cost_of_labels(rows, model.labels_, model.gamma_)
    other = peer("FasterKModes", "FasterKPrototypes")
    if other is None:
        return [Line("faster", n, shape, str(KINDS), starts, cost, cpu, remark="no peer")]

    def fit(part: NDArray[np.float64]) -> Any:
        theirs = other(n_clusters=KINDS, n_init=1, random_state=seed, gamma=model.gamma_, print_log=False)
        with contextlib.redirect_stdout(io.StringIO()):
            theirs.fit(np.ascontiguousarray(part), categorical=CATEGORICAL)
        return theirs

    fit(rows[:1000])  # its C code is compiled at the first fit
    theirs, peer_cpu = timed(lambda: fit(rows))
    peer_cost = cost_of_labels(rows, theirs.predict(np.ascontiguousarray(rows)), model.gamma_)
    remark = "peer: one start, distances not squared"
    return [Line("faster", n, shape, str(KINDS), starts, cost, cpu, peer_cost, peer_cpu, remark)]


RUN = {"million": run_million, "kmodes": run_kmodes, "sweep": run_sweep, "faster": run_faster}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen parts and print a line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rows", nargs="+", type=int, help="rows instead of those each part has")
    parser.add_argument("--shape", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write every line here too")
    given = parser.parse_args(arguments)
    KPrototypes(2, random_state=0).fit(np.random.default_rng(0).normal(size=(100, 2)))  # libraries are found once
    lines: list[Line] = []
    print(HEADER)
    for part in given.part:
        for n in given.rows or ROWS[part]:
            for shape in given.shape:
                for line in RUN[part](n, shape, given.seed, given.starts):
                    print(line.text(), flush=True)
                    lines.append(line)
    if given.json:
        given.json.write_text(json.dumps([asdict(line) for line in lines], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
