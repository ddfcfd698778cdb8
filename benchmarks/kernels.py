#!/usr/bin/env python
"""Seconds, inertia and memory of the kernels under every segment, beside scikit-learn's in the same process.

`python benchmarks/kernels.py --rows 1000000 [--columns N] [--k-max N] [--best N] [--silhouettes 10000 50000]` makes
two matrices, one with planted clusters and one skewed and correlated without any, and prints for each: K-means for
every k (inertia, the best known, the ratio of the two, seconds) beside one start of scikit-learn's K-means on all
rows, and the exact silhouette of one labelling beside scikit-learn's. The best known is the lowest of ours, of the
timed start, and of `--best` further full fits of scikit-learn's with a start of their own each. Everything uses all
cores.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from segmentation_assets.segmentation.kmeans import Array, Labels, fit_kmeans, sweep
from segmentation_assets.segmentation.silhouette import silhouettes

Found = TypeVar("Found")


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds, all cores together."""

    seconds: float
    cpu_seconds: float


def timed(work: Callable[[], Found]) -> tuple[Found, Cost]:
    """What `work` gives, and what it cost."""
    began, began_cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, Cost(time.perf_counter() - began, time.process_time() - began_cpu)


def planted(rows: int, columns: int, seed: int) -> Array:
    """Six overlapping clusters of unequal size."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0]))
    shares = np.arange(1, 7) / 21
    centres = rng.normal(scale=1.3, size=(6, columns))
    return centres[rng.choice(6, rows, p=shares)] + rng.normal(size=(rows, columns))


def one_piece(rows: int, columns: int, seed: int) -> Array:
    """One correlated cloud, every third column skewed, to unit variance: as logged customer features look."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    values = rng.normal(size=(rows, columns)) @ (np.eye(columns) + 0.4 * rng.normal(size=(columns, columns)))
    values[:, ::3] = np.exp(0.5 * values[:, ::3])
    return np.asarray((values - values.mean(axis=0)) / values.std(axis=0))


def peak_mb() -> float:
    """Peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def show_sweep(name: str, values: Array, k_max: int, best_of: int, seed: int) -> None:
    """Print the sweep over k beside scikit-learn's single starts."""
    ks = range(1, k_max + 1)
    before = peak_mb()
    fits, ours = timed(lambda: sweep(values, ks, seed))
    after = peak_mb()
    print(f"\n{name}, {len(values):,} rows x {values.shape[1]} columns, k = 1 to {k_max}")
    print("  k         inertia      best known   ratio    one start    ratio   its seconds   its CPU s")
    theirs = Cost(0.0, 0.0)
    for fit in fits:
        single, cost = timed(lambda k=fit.k: KMeans(k, n_init=1, random_state=seed).fit(values).inertia_)
        theirs = Cost(theirs.seconds + cost.seconds, theirs.cpu_seconds + cost.cpu_seconds)
        further = [KMeans(fit.k, n_init=1, random_state=seed + 1 + at).fit(values).inertia_ for at in range(best_of)]
        best = min([fit.inertia, single, *further])
        print(
            f"{fit.k:>3} {fit.inertia:>15,.1f} {best:>15,.1f} {fit.inertia / best:>7.4f} {single:>12,.0f} "
            f"{single / best:>8.4f} {cost.seconds:>13.2f} {cost.cpu_seconds:>11.2f}",
            flush=True,
        )
    print(f"the sweep, all k together      {ours.seconds:8.2f} s {ours.cpu_seconds:8.2f} s of CPU")
    print(f"scikit-learn, one start per k  {theirs.seconds:8.2f} s {theirs.cpu_seconds:8.2f} s of CPU")
    print(
        f"times faster                   {theirs.seconds / ours.seconds:8.1f}   "
        f"{theirs.cpu_seconds / ours.cpu_seconds:8.1f}"
    )
    print(f"peak memory                    {before:,.0f} MB before the sweep, {after:,.0f} MB after it")


def show_silhouette(values: Array, labels: Labels) -> None:
    """Print the exact silhouette of one labelling beside scikit-learn's."""
    (mine,), ours = timed(lambda: silhouettes(values, [labels]))
    other, theirs = timed(lambda: float(silhouette_score(values, labels)))
    print(
        f"{len(values):>9,} {mine:>10.7f} {other:>12.7f} {abs(mine - other):>10.1e} {ours.seconds:>8.2f} "
        f"{theirs.seconds:>12.2f} {theirs.seconds / ours.seconds:>7.1f} {ours.cpu_seconds:>8.2f} "
        f"{theirs.cpu_seconds:>12.2f} {theirs.cpu_seconds / ours.cpu_seconds:>7.1f}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code is always 0, the reader judges."""
    parser = argparse.ArgumentParser(description="K-means and silhouettes beside scikit-learn's.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the sweep over k")
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--k-max", type=int, default=12, help="largest number of clusters of the sweep")
    parser.add_argument("--best", type=int, default=0, help="further full fits that the best known is taken from")
    parser.add_argument("--silhouettes", type=int, nargs="*", default=[10_000, 50_000], help="rows; none to leave out")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    worlds = (("planted clusters", planted), ("one skewed piece", one_piece))
    for name, make in worlds if options.rows else ():
        show_sweep(name, make(options.rows, options.columns, options.seed), options.k_max, options.best, options.seed)
    for name, make in worlds if options.silhouettes else ():
        print(f"\nexact silhouette of one labelling (k = 6), {name}")
        print("     rows       here scikit-learn  difference     s  scikit-learn   times    CPU s scikit-learn   times")
        for rows in options.silhouettes:
            values = make(rows, options.columns, options.seed)
            show_silhouette(values, fit_kmeans(values, 6, options.seed).labels)
    print(f"\npeak memory in all {peak_mb():,.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
