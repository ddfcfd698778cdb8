"""Many small K-means fits at once, and their silhouettes: what nulls and bootstrap draws need by the hundred.

A fit on a thousand rows takes a library longer to prepare than to make, so samples of one size are clustered together
as one stack, in single precision after centring. The fit that is kept, on all rows and in double precision, is
`kmeans`; what the fits here are compared for is `evidence`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation_assets.segmentation.kmeans import Array, Labels

Single = NDArray[np.float32]

STARTS = 3
#: Iterations after which the best start of each sample is known well enough to follow it alone.
_ROUGH_ITERATIONS = 6
_ITERATIONS = 60
#: A fit has settled when its centres move less than this share of the mean variance of a column.
_TOLERANCE = 1e-4
#: Candidates looked at for each further starting centre (greedy k-means++).
_CANDIDATES = 3
#: Stacked problems; more than this leave the processor's cache.
_STACK = 12
_BLOCK_ROWS = 256


def cluster_many(
    samples: Array,
    ks: Sequence[int],
    rng: np.random.Generator,
    *,
    starts: int = STARTS,
    guesses: Sequence[Array] | None = None,
) -> tuple[Labels, Array]:
    """K-means of every sample with every number of clusters.

    `samples` (m, n, d): m samples of n rows. Returns labels (len(ks), m, n) and sums of squared distances
    (len(ks), m), the best of `starts` greedy k-means++ starts (Arthur and Vassilvitskii 2007) and, where there are
    `guesses`, of one from those centres (k, d) for each of `ks`. The starting centres of a smaller k are the first
    ones of a larger k: k-means++ draws them one after another. A sample with fewer distinct rows than clusters leaves
    clusters empty. Call under `one_thread`, or sums depend on the machine.
    """
    count, n, _ = samples.shape
    labels = np.zeros((len(ks), count, n), dtype=np.int64)
    inertia = np.zeros((len(ks), count))
    each = max(1, _STACK // starts)
    for first in range(0, count, each):
        span = slice(first, min(first + each, count))
        labels[:, span], inertia[:, span] = _cluster_stack(samples[span], ks, rng, starts, guesses)
    return labels, inertia


def _cluster_stack(
    samples: Array, ks: Sequence[int], rng: np.random.Generator, starts: int, guesses: Sequence[Array] | None
) -> tuple[Labels, Array]:
    count, n, _ = samples.shape
    middle = samples.mean(axis=1, keepdims=True)
    centred = samples - middle
    total = (centred**2).sum(axis=(1, 2))
    scale = np.sqrt(total / max(centred[0].size, 1))
    scale[scale == 0] = 1.0
    each = starts + (guesses is not None)
    rows = np.repeat((centred / scale[:, None, None]).astype(np.float32), each, axis=0)
    squares = (rows**2).sum(axis=2)
    columns = np.ascontiguousarray(rows.transpose(0, 2, 1))
    seeds = _seed_centres(rows, columns, squares, max(ks), rng)
    labels = np.zeros((len(ks), count, n), dtype=np.int64)
    inertia = np.zeros((len(ks), count))
    for place, k in enumerate(ks):
        if k == 1:
            inertia[place] = total
            continue
        start = seeds[:, :k].copy()
        if guesses is not None:
            start[starts::each] = (guesses[place] - middle) / scale[:, None, None]
        centres = _lloyd(rows, columns, start, _ROUGH_ITERATIONS)
        within = _distances(centres, columns, squares).min(axis=1).sum(axis=1)
        best = within.reshape(count, each).argmin(axis=1) + each * np.arange(count)
        centres = _lloyd(rows[best], columns[best], centres[best], _ITERATIONS)
        final = _distances(centres, columns[best], squares[best])
        labels[place] = final.argmin(axis=1)
        inertia[place] = final.min(axis=1).sum(axis=1, dtype=np.float64) * scale**2
    return labels, inertia


def _seed_centres(rows: Single, columns: Single, squares: Single, k: int, rng: np.random.Generator) -> Single:
    """Greedy k-means++ centres (stack, k, d)."""
    stack, n, _ = rows.shape
    here = np.arange(stack)
    chosen = rng.integers(0, n, stack)
    centres = np.empty((stack, k, rows.shape[2]), dtype=np.float32)
    centres[:, 0] = rows[here, chosen]
    nearest = _distances(centres[:, :1], columns, squares)[:, 0]
    for place in range(1, k):
        mass = np.cumsum(nearest, axis=1, dtype=np.float64)
        aims = rng.random((stack, _CANDIDATES)) * mass[:, -1:]
        drawn = np.stack([np.searchsorted(mass[item], aims[item]) for item in range(stack)]).clip(max=n - 1)
        candidates = np.minimum(_distances(rows[here[:, None], drawn], columns, squares), nearest[:, None])
        best = candidates.sum(axis=2).argmin(axis=1)
        nearest = candidates[here, best]
        centres[:, place] = rows[here, drawn[here, best]]
    return centres


def _distances(centres: Single, columns: Single, squares: Single) -> Single:
    """Squared distances (stack, centres, n)."""
    out: Single = (-2 * centres) @ columns
    out += (centres**2).sum(axis=2)[:, :, None]
    out += squares[:, None, :]
    return np.maximum(out, 0, out=out)


def _lloyd(rows: Single, columns: Single, seeds: Single, iterations: int) -> Single:
    """Centres (stack, k, d) after Lloyd's iterations; a problem that has settled leaves the stack.

    A row equally near to two centres counts for both while they move; a centre without rows stays where it is.
    """
    centres = seeds.copy()
    settled = _TOLERANCE * rows.var(axis=1).mean(axis=1)
    active = np.arange(len(rows))
    some_rows, some_columns, some = rows, columns, centres
    for _ in range(iterations):
        scores = (-2 * some) @ some_columns
        scores += (some**2).sum(axis=2)[:, :, None]
        is_own: Any = (scores == scores.min(axis=1, keepdims=True)).astype(np.float32)
        sizes = is_own.sum(axis=2)[:, :, None]
        moved = np.where(sizes > 0, (is_own @ some_rows) / np.maximum(sizes, 1), some)
        still = ((moved - some) ** 2).sum(axis=(1, 2)) > settled[active]
        centres[active] = moved
        if not still.any():
            break
        some = moved
        if still.sum() < 0.75 * len(active):
            active = active[still]
            some_rows, some_columns, some = rows[active], columns[active], moved[still]
    return centres


def small_silhouettes(values: Array, labels: Labels, ks: Sequence[int]) -> Array:
    """Mean silhouette width (Rousseeuw 1987) of each labelling in `labels` (len(ks), n) of one sample (n, d).

    In single precision, to about four digits: for draws whose spread is larger than that. A customer alone in its
    cluster counts 0, and so does a labelling with one cluster. Call under `one_thread`.
    """
    n = len(values)
    centred = (values - values.mean(axis=0)).astype(np.float32)
    squares = (centred**2).sum(axis=1)
    starts = np.concatenate([[0], np.cumsum(ks)]).astype(int)
    members = np.zeros((n, starts[-1]), dtype=np.float32)
    everyone = np.arange(n)
    for own, start in zip(labels, starts, strict=False):
        members[everyone, start + own] = 1
    sizes = members.sum(axis=0)
    totals = np.zeros(len(ks))
    for first in range(0, n, _BLOCK_ROWS):
        block = centred[first : first + _BLOCK_ROWS]
        distances = squares[first : first + len(block), None] + squares - 2 * block @ centred.T
        np.sqrt(np.maximum(distances, 0, out=distances), out=distances)
        here = np.arange(len(block))
        distances[here, first + here] = 0
        sums = distances @ members
        for place, own in enumerate(labels[:, first : first + len(block)]):
            span = slice(starts[place], starts[place + 1])
            size, total = sizes[span], sums[:, span]
            within = total[here, own] / np.maximum(size[own] - 1, 1)
            mean = np.where(size > 0, total / np.maximum(size, 1), np.inf)
            mean[here, own] = np.inf
            other = mean.min(axis=1)
            is_usable = (size[own] > 1) & np.isfinite(other) & (np.maximum(other, within) > 0)
            totals[place] += ((other - within)[is_usable] / np.maximum(other, within)[is_usable]).sum(dtype=np.float64)
    out: Array = totals / n
    return out
