#!/usr/bin/env python
"""What the evidence says of data whose structure is known: none, or planted.

`python benchmarks/structure.py [--draws N] [--families a,b] [--processes N] [--seed N] [--table FILE.csv]` prints, for
families of draws without structure, how often the verdict is `natural`; for planted clusters, how often the chosen k is
the planted one and how near the agreement comes to that of a classifier that knows the parameters; and which k are
stable on one-piece skewed data of two sizes. Draws of a family differ in everything their seed decides: rows, columns,
skew, correlation. Nothing here is read by the package.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import norm
from sklearn.metrics import adjusted_rand_score

from segmentation_assets.segmentation.choose import choose_k, verdict_of
from segmentation_assets.segmentation.evidence import gather_evidence
from segmentation_assets.segmentation.kmeans import Array, Labels, fit_kmeans
from segmentation_assets.segmentation.matrix import build_matrix
from segmentation_assets.segmentation.nulls import Redraw, count_redraw
from segmentation_assets.segmentation.preprocess import fit_transform
from segmentation_assets.segmentation.spec import TASTE, AxisSpec

#: An axis of numbers as the evidence sees it: the floors of the package, two segments or more.
SPEC = AxisSpec(axis="stage", title="Stage", prefix="S", outside_name="Outside", k_min=2, k_max=12)
#: Sizes by share of draws: mostly small, because there chance looks most like structure.
_SIZES = (1_000,) * 6 + (2_000,) * 5 + (5_000,) * 2 + (10_000,) * 2 + (100_000,)
PLANTED_FLOOR = 0.95
NEAREST_PAIR = 0.8


@dataclass(frozen=True)
class Draw:
    """One draw: the matrix that is clustered, how counts are redrawn, and what was planted (None: nothing)."""

    values: Array
    redraw: Redraw | None = None
    truth: Labels | None = None
    bayes: float = float("nan")
    k: int = 1


def scaled(values: Array) -> Array:
    """Columns centred and of unit variance, as the pipeline of an axis makes them."""
    return np.ascontiguousarray((values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-12))


def _size(rng: np.random.Generator) -> int:
    return int(rng.choice(_SIZES))


def _correlations(rng: np.random.Generator, d: int, strength: float) -> Array:
    """A random correlation matrix: some common factors of the given strength and own noise."""
    loadings = rng.normal(size=(d, max(1, d // 3))) * strength
    covariance = loadings @ loadings.T + np.eye(d)
    spread = np.sqrt(np.diag(covariance))
    out: Array = covariance / np.outer(spread, spread)
    return out


def uniform(rng: np.random.Generator) -> Draw:
    """A box."""
    return Draw(scaled(rng.uniform(size=(_size(rng), int(rng.integers(2, 11))))))


def gaussian_cloud(rng: np.random.Generator) -> Draw:
    """One normal cloud, correlated or not."""
    d = int(rng.integers(2, 11))
    return Draw(scaled(rng.multivariate_normal(np.zeros(d), _correlations(rng, d, rng.uniform(0, 1.5)), _size(rng))))


def mixed_uniform(rng: np.random.Generator) -> Draw:
    """Independent columns of other shapes: flat, triangular, skewed, half with a mass at zero."""
    n, d = _size(rng), int(rng.integers(3, 11))
    columns = []
    for _ in range(d):
        kind = rng.integers(5)
        if kind == 0:
            column = rng.uniform(size=n)
        elif kind == 1:
            column = rng.triangular(0, rng.uniform(0.1, 0.9), 1, n)
        elif kind == 2:
            column = rng.beta(rng.uniform(0.8, 2), rng.uniform(2, 6), n)
        elif kind == 3:
            column = np.where(rng.random(n) < rng.uniform(0.2, 0.8), 0.0, np.sqrt(rng.uniform(size=n)))
        else:
            column = rng.exponential(size=n) ** rng.uniform(0.5, 1.2)
        columns.append(column)
    return Draw(scaled(np.column_stack(columns)))


def skewed_copula(rng: np.random.Generator) -> Draw:
    """Days, counts, money and shares as they look after the logs of the pipeline: correlated, skewed, one piece."""
    n, d = _size(rng), int(rng.integers(4, 10))
    latent = rng.multivariate_normal(np.zeros(d), _correlations(rng, d, rng.uniform(0.5, 1.5)), n)
    levels = norm.cdf(latent)
    columns = []
    for place in range(d):
        kind, level = rng.integers(5), levels[:, place]
        if kind == 0:  # days, exponential on the log scale: skewed to the left
            column = np.log1p(-np.log1p(-np.minimum(level, 1 - 1e-12)) * rng.uniform(30, 200))
        elif kind == 1:  # orders, mostly one or two
            column = np.log1p(1 + np.floor(np.exp(latent[:, place] * rng.uniform(0.7, 1.2))))
        elif kind == 2:  # money
            column = latent[:, place] + 0.3 * np.maximum(latent[:, place], 0) ** 1.5
        elif kind == 3:  # tenure, bounded
            column = np.sqrt(level ** rng.uniform(0.5, 2))
        else:  # a share with many zeros
            column = np.sqrt(np.maximum(level - rng.uniform(0.2, 0.7), 0))
        columns.append(column)
    return Draw(scaled(np.column_stack(columns)))


def sparse_counts(rng: np.random.Generator) -> Draw:
    """Few order lines per customer, all drawn from one taste."""
    return _counts(rng, float("inf"))


def leaning_counts(rng: np.random.Generator) -> Draw:
    """Few order lines per customer, and customers who lean each their own way (Dirichlet), without groups."""
    return _counts(rng, float(np.exp(rng.uniform(np.log(4), np.log(60)))))


def _counts(rng: np.random.Generator, concentration: float) -> Draw:
    n, values = min(_size(rng), 20_000), int(rng.integers(5, 16))
    overall = rng.dirichlet(np.full(values, rng.uniform(1, 8)))
    mean = rng.uniform(4, 25)
    lines = np.maximum(3, rng.negative_binomial(2, 2 / (2 + mean), n))
    chances = overall
    if np.isfinite(concentration):
        weights = rng.gamma(np.maximum(overall * concentration, 1e-3), size=(n, values)) + 1e-12
        chances = weights / weights.sum(axis=1, keepdims=True)
    counts = rng.multinomial(lines, chances)
    ids = np.array([f"C{number:06d}" for number in range(n)])
    row, column = np.nonzero(counts)
    shares = pl.DataFrame(
        {
            "customer_id": ids[row],
            "dimension": ["category"] * len(row),
            "value": np.array([f"Category {number:02d}" for number in range(values)])[column],
            "line_count": counts[row, column],
        }
    )
    customers = pl.DataFrame({"customer_id": ids, "is_buyer": [True] * n, "order_count": lines.astype(float)})
    matrix = build_matrix(customers, shares, TASTE)
    pipeline, found, _ = fit_transform(matrix, TASTE)
    return Draw(found, count_redraw(matrix, pipeline))


def permuted_real(rng: np.random.Generator, table: Path | None) -> Draw:
    """Columns of a real table, each permuted on its own: real margins, nothing joining them."""
    if table is None:
        raise SystemExit("permuted_real needs --table FILE.csv: a table of customers with numeric columns.")
    found = _real_columns(table)
    d = int(rng.integers(3, min(10, found.shape[1]) + 1))
    chosen = found[:, rng.choice(found.shape[1], d, replace=False)]
    n = min(_size(rng), 10_000)
    rows = (
        rng.integers(0, len(chosen), (n, d))
        if n > len(chosen)
        else rng.permuted(np.tile(np.arange(len(chosen))[:, None], (1, d)), axis=0)[:n]
    )
    return Draw(scaled(np.take_along_axis(chosen, rows, axis=0)))


def _real_columns(table: Path) -> Array:
    separator = max(";\t,", key=table.read_bytes()[:2000].decode("utf-8", "replace").count)
    frame = pl.read_csv(table, separator=separator, infer_schema_length=None, ignore_errors=True)
    columns = []
    for name in frame.columns:
        if not frame[name].dtype.is_numeric():
            continue
        values = frame[name].cast(pl.Float64).fill_null(strategy="mean").to_numpy()
        # An id and a constant are no features of a customer.
        if len(np.unique(values)) < 3 or len(np.unique(values)) == len(values):
            continue
        skew = ((values - values.mean()) ** 3).mean() / values.std() ** 3
        columns.append(np.log1p(values) if values.min() >= 0 and skew > 1 else values)
    return np.column_stack(columns)


def planted(rng: np.random.Generator, *, equal: bool = True, apart: bool = True) -> Draw:
    """3 to 8 round normal clusters, just far enough apart for a Bayes agreement (ARI) of .95 to .99.

    Places are random; with `apart` no two are nearer than NEAREST_PAIR of the mean distance to the nearest, so that
    the confusion of the Bayes classifier is not that of one pair of clusters that have all but merged. With `equal`
    sizes and spreads are equal, else the smallest holds 5 % and spreads go from .8 to 1.25. Dimensions are 3 to 10.
    The Bayes classifier knows places, spreads and sizes.
    """
    k, d = int(rng.integers(3, 9)), int(rng.integers(3, 11))
    n = int(rng.choice((1_000, 2_000, 2_000, 5_000)))
    shares = np.full(k, 1 / k)
    if not equal:
        shares = np.concatenate([[0.05], 0.05 + (0.95 - 0.05 * k + 0.05) * rng.dirichlet(np.full(k - 1, 3.0))])
        shares /= shares.sum()
    spreads = np.ones(k) if equal else rng.uniform(0.8, 1.25, k)
    directions = rng.normal(size=(k, d))
    while apart and _nearest_pair(directions) < NEAREST_PAIR:
        directions = rng.normal(size=(k, d))
    noise = rng.normal(size=(n, d))
    truth = rng.choice(k, n, p=shares)
    wanted = rng.uniform(PLANTED_FLOOR, 0.99)
    low, high = 0.0, 60.0
    for _ in range(25):
        middle = (low + high) / 2
        values = middle * directions[truth] + spreads[truth, None] * noise
        too_far = _bayes_agreement(values, truth, middle * directions, spreads, shares) > wanted
        low, high = (low, middle) if too_far else (middle, high)
    values = high * directions[truth] + spreads[truth, None] * noise
    return Draw(scaled(values), None, truth, _bayes_agreement(values, truth, high * directions, spreads, shares), k)


def _nearest_pair(places: Array) -> float:
    """The distance of the nearest two places, as a share of the mean distance of a place to its nearest."""
    distances = np.sqrt(((places[:, None] - places[None]) ** 2).sum(axis=2))
    nearest = np.where(np.eye(len(places), dtype=bool), np.inf, distances).min(axis=1)
    return float(nearest.min() / nearest.mean())


def _bayes_agreement(values: Array, truth: Labels, centres: Array, spreads: Array, shares: Array) -> float:
    """Agreement of the classifier that knows all parameters with the planted clusters."""
    squares = ((values[:, None, :] - centres[None]) ** 2).sum(axis=2)
    scores = np.log(shares) - values.shape[1] * np.log(spreads) - squares / (2 * spreads**2)
    return float(adjusted_rand_score(truth, scores.argmax(axis=1)))


STRUCTURELESS: dict[str, Callable[[np.random.Generator], Draw]] = {
    "uniform": uniform,
    "gaussian": gaussian_cloud,
    "mixed_uniform": mixed_uniform,
    "skewed_copula": skewed_copula,
    "sparse_counts": sparse_counts,
    "leaning_counts": leaning_counts,
}
PLANTED: dict[str, dict[str, bool]] = {
    "planted_equal": {},
    "planted_anywhere": {"apart": False},
    "planted_unequal": {"equal": False},
}
FAMILIES = (*STRUCTURELESS, "permuted_real", *PLANTED)


def judge(task: tuple[str, int, int, Path | None]) -> dict[str, object]:
    """Draw, gather, choose: one row of what was planted and what was found."""
    family, seed, number, table = task
    rng = np.random.default_rng(np.random.SeedSequence([seed, FAMILIES.index(family), number]))
    if family == "permuted_real":
        draw = permuted_real(rng, table)
    elif family in PLANTED:
        draw = planted(rng, **PLANTED[family])
    else:
        draw = STRUCTURELESS[family](rng)
    spec = dataclasses.replace(SPEC, seed=number)
    evidence = gather_evidence(draw.values, spec, redraw=draw.redraw)
    choice = choose_k(evidence, spec)
    row: dict[str, object] = {
        "family": family, "number": number, "rows": len(draw.values), "columns": draw.values.shape[1],
        "planted_k": draw.k, "k": choice.k, "verdict": choice.verdict,
        "any_natural": _is_any_natural(evidence),
        "excess": float((evidence["silhouette"] - evidence["null_silhouette"])[choice.k - 1] or 0.0),
        "z": float(evidence["silhouette_z"][choice.k - 1] or 0.0),
        "bayes": draw.bayes, "agreement": float("nan"),
    }  # fmt: skip
    if draw.truth is not None:
        row["agreement"] = float(adjusted_rand_score(draw.truth, fit_kmeans(draw.values, choice.k, spec.seed).labels))
    return row | {"evidence": evidence.to_dicts()}


def _is_any_natural(evidence: pl.DataFrame) -> bool:
    return any(verdict_of(row) == "natural" for row in evidence.filter(pl.col("k") > 1).iter_rows(named=True))


def one_piece(seed: int, sizes: Sequence[int] = (1_000, 100_000), draws: int = 24) -> pl.DataFrame:
    """Which k are admissible on the same one-piece skewed cloud at each size, over some draws."""
    rows = []
    for number in range(draws):
        for n in sizes:
            rng = np.random.default_rng(np.random.SeedSequence([seed, 99, number]))
            levels = rng.multivariate_normal(np.zeros(4), _correlations(rng, 4, 1.0), n)
            values = scaled(np.column_stack([np.log1p(np.exp(1.2 * column)) for column in levels.T]))
            evidence = gather_evidence(values, dataclasses.replace(SPEC, k_max=10, seed=number))
            stable = evidence.filter(pl.col("stability") >= SPEC.stability_floor)["k"].to_list()
            rows.append(
                {
                    "draw": number,
                    "rows": n,
                    "admissible": evidence.filter("is_admissible")["k"].to_list(),
                    "stable": stable,
                }
            )
    return pl.DataFrame(rows)


def describe_one_piece(found: pl.DataFrame) -> str:
    """In how many draws each k was stable, by size: without a difference, size certifies nothing."""
    by_size = {
        int(n): [int(k) for row in found.filter(pl.col("rows") == n)["stable"] for k in row]
        for n in found["rows"].unique(maintain_order=True)
    }
    draws = found["draw"].n_unique()
    ks = sorted({k for values in by_size.values() for k in values})
    lines = [
        f"one piece, {draws} draws: in how many each k is stable",
        f"{'rows':>9} " + "".join(f"{k:>6}" for k in ks),
    ]
    for n, values in by_size.items():
        counts = "".join(f"{values.count(k):>6}" for k in ks)
        lines.append(f"{n:>9,} {counts}   {len(values) / draws:.2f} of them on average")
    return "\n".join(lines)


def describe(results: pl.DataFrame) -> str:
    """The table of one line per family."""
    heads = ("natural", "any k", "reprod.", "constr.", "k right", "ARI", "Bayes", "within .05")
    lines = [f"{'family':<16} {'draws':>6}" + "".join(f"{head:>11}" for head in heads)]
    for family in map(str, results["family"].unique(maintain_order=True)):
        group = results.filter(pl.col("family") == family)
        verdicts = group["verdict"]
        counts: list[object] = [
            (verdicts == "natural").sum(),
            group["any_natural"].sum(),
            (verdicts == "reproducible").sum(),
            (verdicts == "constructive").sum(),
        ]
        if family in PLANTED:
            near = int((group["agreement"] >= group["bayes"] - 0.05).sum())
            means = [f"{group[name].to_numpy().mean():.3f}" for name in ("agreement", "bayes")]
            counts += [(group["k"] == group["planted_k"]).sum(), *means, near]
        lines.append(f"{family:<16} {group.height:>6}" + "".join(str(count).rjust(11) for count in counts))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw and print."""
    parser = argparse.ArgumentParser(description="What the evidence says of data whose structure is known.")
    parser.add_argument("--draws", type=int, default=100, help="draws per family")
    parser.add_argument("--families", default=",".join(FAMILIES), help="families by name, comma separated")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=2_024)
    parser.add_argument("--table", type=Path, help="CSV of real customers for permuted_real")
    parser.add_argument("--one-piece", action="store_true", help="also which k are stable at 1,000 and 100,000 rows")
    parser.add_argument("--out", type=Path, help="write one row per draw to this parquet file")
    options = parser.parse_args(arguments)
    families = [name for name in options.families.split(",") if name]
    unknown = sorted(set(families) - set(FAMILIES))
    if unknown:
        parser.error(f"unknown family {', '.join(unknown)}; known are {', '.join(FAMILIES)}")
    found = []
    with ProcessPoolExecutor(options.processes) as pool:
        for family in families:
            tasks = [(family, options.seed, number, options.table) for number in range(options.draws)]
            found.append(pl.DataFrame(list(pool.map(judge, tasks)), infer_schema_length=None))
            lines = describe(found[-1]).splitlines()
            print("\n".join(lines[len(found) > 1 :]), flush=True)
    results = pl.concat(found, how="vertical_relaxed")
    if options.out:
        results.write_parquet(options.out)
    if options.one_piece:
        print(describe_one_piece(one_piece(options.seed)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
