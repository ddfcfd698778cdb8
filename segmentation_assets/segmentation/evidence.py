"""Evidence for each number of clusters, on exactly the matrix that is clustered.

What the numbers are is here; what follows from them is `choose`. None of them alone certifies a segmentation:
silhouettes stand beside those of a null that keeps each column and breaks what joins them, and stability is measured
on draws of a fixed size, because with enough rows any cut is repeated.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from segmentation_assets.segmentation.kmeans import Array, KMeansFit, Labels, distinct_rows, fit_kmeans, one_thread
from segmentation_assets.segmentation.spec import AxisSpec

#: Rows on which silhouettes are exact; above, that many rows are drawn (the figure moves by about .002).
SILHOUETTE_ROWS = 5_000
STABILITY_ROWS = 2_000
STABILITY_DRAWS = 8
_NULL_STARTS = 3
_DRAW_STARTS = 3
_BLOCK_ROWS = 512

Given = TypeVar("Given")
Found = TypeVar("Found")

EVIDENCE_SCHEMA: dict[str, type[pl.DataType]] = {
    "k": pl.Int64,
    "inertia": pl.Float64,
    "silhouette": pl.Float64,
    "null_silhouette": pl.Float64,
    "stability": pl.Float64,
    "smallest_share": pl.Float64,
    "smallest_customers": pl.Int64,
    "is_admissible": pl.Boolean,
    "fails": pl.String,
}


def empty_evidence() -> pl.DataFrame:
    """The evidence of an axis that is off: its columns and no rows."""
    return pl.DataFrame(schema=EVIDENCE_SCHEMA)


def gather_evidence(values: Array, spec: AxisSpec) -> pl.DataFrame:
    """Evidence for k from 1 to `spec.k_max` on the matrix (n, d), one row per k.

    inertia: sum of squared distances of all rows. silhouette: mean silhouette width (Rousseeuw 1987), exact up to
    SILHOUETTE_ROWS rows. null_silhouette: the same for columns permuted independently and clustered with the same
    k. stability: the smallest, over clusters, mean bootstrap Jaccard (Hennig 2007) over draws of STABILITY_ROWS.
    smallest_share: share of the customers in the smallest cluster. `fails` says in words what is not admissible.
    k stops where the customers do: k times `minimum_customers`, or the number of distinct rows.
    """
    n = len(values)
    if n == 0:
        return empty_evidence()
    distinct = distinct_rows(values, spec.k_max + 1)
    largest = max(1, min(spec.k_max, distinct, n // spec.minimum_customers))
    fits = _each(lambda k: fit_kmeans(values, k, spec.seed), range(1, largest + 1))
    several = fits[1:]
    real: list[float] = []
    null: list[float] = []
    stable: list[float] = []
    if several:
        rows = _drawn_rows(n, SILHOUETTE_ROWS, spec.seed)
        real = silhouettes(values[rows], [fit.labels[rows] for fit in several])
        shuffled = permuted(values[rows], spec.seed)
        null_labels = _each(lambda k: _null_labels(shuffled, k, spec.seed), range(2, largest + 1))
        null = silhouettes(shuffled, null_labels)
        stable = _each(lambda fit: min(stability(values, fit, spec.seed)), several)
    whole = (1, round(fits[0].inertia, 6), None, None, None, 1.0, n, False, _why_no_split(n, distinct, spec))
    records = [whole] + [
        _record(fit, spec, real[place], null[place], stable[place]) for place, fit in enumerate(several)
    ]
    return pl.DataFrame(records, schema=EVIDENCE_SCHEMA, orient="row")


def _each(work: Callable[[Given], Found], items: Iterable[Given]) -> list[Found]:
    """`work` done for each item, on all cores: what one k gives does not depend on the others, nor on their order."""
    with one_thread(), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(work, items))


def _null_labels(shuffled: Array, k: int, seed: int) -> Labels:
    if distinct_rows(shuffled, k) < k:
        return np.zeros(len(shuffled), dtype=np.int64)
    return fit_kmeans(shuffled, k, seed, starts=_NULL_STARTS).labels


def _why_no_split(n: int, distinct: int, spec: AxisSpec) -> str:
    """Why there is nothing to divide, or '' when there is."""
    if n < 2 * spec.minimum_customers:
        return (
            f"too few customers to divide: {n}, and two segments of at least {spec.minimum_customers} need "
            f"{2 * spec.minimum_customers}"
        )
    if distinct < 2:
        return f"all {n} customers are alike in every feature"
    return "one segment divides nothing"


def _record(
    fit: KMeansFit, spec: AxisSpec, silhouette: float, null_silhouette: float, stable: float
) -> tuple[object, ...]:
    n, k = len(fit.labels), fit.k
    smallest = int(np.bincount(fit.labels, minlength=k).min())
    share = smallest / n
    failed = []
    if k < spec.k_min:
        failed.append(f"fewer than the {spec.k_min} segments asked for")
    if share < spec.share_floor:
        failed.append(f"smallest share {share:.3f} is below {spec.share_floor:g}")
    if smallest < spec.minimum_customers:
        failed.append(f"smallest segment has {smallest} customers, fewer than {spec.minimum_customers}")
    if stable < spec.stability_floor:
        failed.append(f"stability {stable:.2f} is below {spec.stability_floor:g}")
    figures = (round(figure, 6) for figure in (fit.inertia, silhouette, null_silhouette, stable, share))
    return (k, *figures, smallest, not failed, "; ".join(failed))


def silhouettes(values: Array, labelings: Sequence[Labels]) -> list[float]:
    """Mean silhouette width of each labelling of the rows of (n, d), in one pass over the distances.

    Exact; memory is a block of rows times n. A labelling with one cluster has silhouette 0.
    """
    n = len(values)
    widths = [int(labels.max()) + 1 if n else 0 for labels in labelings]
    members = np.zeros((n, sum(widths)))
    starts = np.concatenate([[0], np.cumsum(widths)]).astype(int)
    for labels, start in zip(labelings, starts, strict=False):
        members[np.arange(n), start + labels] = 1.0
    counts = members.sum(axis=0)
    totals = np.zeros(len(labelings))
    squares = (values**2).sum(axis=1)
    with one_thread():
        for first in range(0, n, _BLOCK_ROWS):
            block = values[first : first + _BLOCK_ROWS]
            distances = squares[first : first + len(block), None] + squares - 2 * block @ values.T
            np.maximum(distances, 0.0, out=distances)
            np.sqrt(distances, out=distances)
            here = np.arange(len(block))
            distances[here, first + here] = 0.0
            sums = distances @ members
            for place, labels in enumerate(labelings):
                own = labels[first : first + len(block)]
                span = slice(starts[place], starts[place + 1])
                size, total = counts[span], sums[:, span]
                mean = np.divide(total, size, out=np.full_like(total, np.inf), where=size > 0)
                mean[here, own] = np.inf
                other = mean.min(axis=1)
                within = total[here, own] / np.maximum(size[own] - 1, 1)
                largest = np.maximum(other, within)
                usable = (size[own] > 1) & np.isfinite(other) & (largest > 0)
                width = np.zeros(len(block))
                width[usable] = (other[usable] - within[usable]) / largest[usable]
                totals[place] += width.sum()
    return [float(total / n) for total in totals] if n else [0.0] * len(labelings)


def permuted(values: Array, seed: int) -> Array:
    """The matrix with each column permuted on its own: the same marginals, nothing joining them."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    return np.ascontiguousarray(rng.permuted(values, axis=0))


def stability(values: Array, fit: KMeansFit, seed: int, *, draws: int = STABILITY_DRAWS) -> list[float]:
    """Mean bootstrap Jaccard of each cluster of `fit` (Hennig 2007), over draws of at most STABILITY_ROWS rows.

    Each draw takes rows with replacement, is clustered anew with the same k, and each old cluster is compared with
    its most similar new one on the distinct rows drawn. A cluster that a draw misses counts 0 for it.
    """
    with one_thread():
        found = np.array([_jaccard_of_draw(values, fit, seed, draw) for draw in range(draws)])
    return [float(mean) for mean in found.mean(axis=0)]


def _jaccard_of_draw(values: Array, fit: KMeansFit, seed: int, draw: int) -> Array:
    k, n = fit.k, len(values)
    rng = np.random.default_rng(np.random.SeedSequence([seed, k, draw]))
    rows = np.sort(rng.integers(0, n, min(n, STABILITY_ROWS)))
    sample = values[rows]
    if distinct_rows(sample, k) < k:
        return np.zeros(k)
    # One call for all starts: on so few rows checking the input takes as long as clustering it.
    again = KMeans(k, n_init=_DRAW_STARTS, max_iter=100, random_state=int(rng.integers(2**31))).fit(sample)
    _, first = np.unique(rows, return_index=True)
    most_similar: Array = jaccard(overlap(fit.labels[rows[first]], again.labels_[first].astype(np.int64), k, k)).max(
        axis=1
    )
    return most_similar


def overlap(left: Labels, right: Labels, rows: int, columns: int) -> NDArray[np.float64]:
    """How many items carry label i on the left and j on the right, as (rows, columns)."""
    return np.bincount(left * columns + right, minlength=rows * columns).reshape(rows, columns).astype(float)


def jaccard(counts: Array) -> Array:
    """Jaccard similarity of each row set with each column set from their overlap counts."""
    union = counts.sum(axis=1, keepdims=True) + counts.sum(axis=0, keepdims=True) - counts
    return np.divide(counts, union, out=np.zeros_like(counts), where=union > 0)


def _drawn_rows(n: int, most: int, seed: int) -> NDArray[np.int64]:
    if n <= most:
        return np.arange(n)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 2]))
    return np.sort(rng.choice(n, most, replace=False))
