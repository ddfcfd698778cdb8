"""K-means that gives the same answer on any machine setting, from a hundred rows to a million.

Many starts on a small sample, the best few polished on a larger one, the best of those on all rows: one start on all
rows is both slower and worse. Starts and numbers of clusters share their work: all starts of one k move in one matrix
product, and the first k centres of a k-means++ chain are the k-means++ start for that k. Linear algebra runs on one
thread, and threads take fixed blocks whose sums are added in the order of the blocks, because sums added in another
order differ in the last bits. Evidence for k and the meaning of clusters are elsewhere.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
#: The built-in `map`, or that of a pool: either gives results in the order of what it was given.
Mapper = Callable[..., Iterable[Any]]

STARTS = 10
_START_ROWS = 5_000
_SAMPLE_ROWS = 20_000
_POLISHED = 3
#: Relative fall of inertia below which a start has shown which valley it is in; the polish goes to the bottom.
_ROUGH = 2e-3
_POLISH = 1e-5
_BOTTOM = 1e-6
#: On all of many rows a further fall by less than this costs seconds and moves the centroids by nothing one can use.
_WHOLE = 3e-5
_ITERATIONS = 100
#: Candidates for the next centre in each step of k-means++; the one that lowers the inertia most is taken.
_TRIALS = 4
#: Numbers in a table of centroids by rows: it stays in the cache, and is large enough that threads seldom wait for
#: the interpreter.
_BLOCK_NUMBERS = 200_000
_BLOCK_ROWS = (2_048, 32_768)
#: Rows whose coordinates agree to this many digits are the same customer to a clustering.
_DIGITS = 9


@dataclass(frozen=True)
class KMeansFit:
    """Centroids (k, d), labels (n,) and the sum of squared distances of all rows to their centroids."""

    centroids: Array
    labels: Labels
    inertia: float

    @property
    def k(self) -> int:
        """Number of clusters."""
        return len(self.centroids)


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # finding the libraries takes 5 ms, and an evidence table asks a hundred times


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, linear algebra and K-means use one thread, so sums are added in a fixed order."""
    with _controller().limit(limits=1), warnings.catch_warnings():
        # Fewer distinct rows in a sample than clusters is an expected answer here, not an accident to report.
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


@contextmanager
def in_order(threads: int | None = None) -> Iterator[Mapper]:
    """A `map` over `threads` threads (all cores if None), results in order; linear algebra on one thread each.

    What is mapped must not depend on the number of threads, and must not itself map over the same threads.
    """
    workers = threads or os.cpu_count() or 1
    with one_thread():
        if workers == 1:
            yield map
            return
        with ThreadPoolExecutor(workers) as pool:
            yield pool.map


def distinct_rows(values: Array, at_most: int) -> int:
    """Number of distinct rows of (n, d), counted no further than `at_most`."""
    n, columns = values.shape
    if n == 0 or at_most <= 0:
        return 0
    few = values if n <= 1000 else values[: 8 * at_most]  # a few rows nearly always show as many as are asked for
    found = len(np.unique(np.round(few, _DIGITS), axis=0))
    if found >= at_most or len(few) == n:
        return min(found, at_most)
    # Rows with different projections are different, but for rounding: of those, what differs is counted exactly.
    direction = np.random.default_rng(0).normal(size=columns)
    _, places = np.unique(np.round((values - values[0]) @ direction, _DIGITS), return_index=True)
    return min(len(np.unique(np.round(values[places[: 64 * at_most]], _DIGITS), axis=0)), at_most)


def require_finite(values: Array) -> None:
    """ValueError when (n, d) holds NaN or infinity, saying how many in which columns, counted from 0."""
    if np.isfinite(values).all():
        return
    wrong = (~np.isfinite(values)).sum(axis=0)
    places = ", ".join(f"{count} in column {place}" for place, count in enumerate(wrong) if count)
    raise ValueError(
        f"{int(wrong.sum())} of {values.size} values are not finite (NaN or infinity): {places} (columns counted "
        "from 0). Fill or remove them before clustering."
    )


def middle_and_scale(values: Array) -> tuple[Array, float]:
    """Column means of (n, d), and a power of two just above the largest deviation from them (1 if there is none).

    Around its middle a matrix loses no digits to where its origin is; divided by the scale, which is exact, its
    squares fit into single precision.
    """
    middle: Array = values.mean(axis=0)
    spread = float(max((values.max(axis=0) - middle).max(), (middle - values.min(axis=0)).max()))
    return middle, float(2.0 ** np.frexp(spread)[1]) if spread > 0 else 1.0


def fit_kmeans(values: Array, k: int, seed: int, *, starts: int = STARTS, threads: int | None = None) -> KMeansFit:
    """K-means with `k` clusters on (n, d); the same as `sweep` gives for that k.

    ValueError when there are fewer distinct rows than clusters, or values that are not finite.
    """
    return sweep(values, [k], seed, starts=starts, threads=threads)[0]


def sweep(
    values: Array, ks: Sequence[int], seed: int, *, starts: int = STARTS, threads: int | None = None
) -> list[KMeansFit]:
    """K-means on (n, d) for each number of clusters in `ks`, in that order.

    Lloyd's algorithm (Lloyd 1982) from the best of `starts` greedy k-means++ starts (Arthur and Vassilvitskii 2007)
    and of the starts its neighbours suggest: a cluster of the best k - 1 split, two clusters of the best k + 1
    merged, and both at once in the best k. Clusters are sorted by their centroids; every row has the label of its
    nearest centroid. What a k gets depends neither on the other `ks` nor on `threads` (all cores if None).
    ValueError when k is below 1 or above the number of distinct rows, or when values are not finite.
    """
    _require(values, ks)
    with in_order(threads) as each:
        return _sweep(values, ks, seed, starts, each)


def predict(values: Array, centroids: Array) -> tuple[Labels, Array, Array]:
    """Nearest centroid of each row of (n, d): labels, distance to it, and margin.

    The margin is the distance to the second nearest centroid minus the distance to the nearest, NaN with one
    centroid. Works in blocks, so memory does not grow with k times n.
    """
    with one_thread():
        labels, distance, second = _nearest(values, centroids, with_second=True, each=map)
    return labels, distance, np.maximum(second - distance, 0.0) if len(centroids) > 1 else np.full(len(values), np.nan)


def _require(values: Array, ks: Sequence[int]) -> None:
    require_finite(values)
    for k in ks:
        if k < 1:
            raise ValueError(f"The number of clusters must be at least 1; {k} was given.")
    distinct = distinct_rows(values, max(ks, default=1))
    for k in ks:
        if distinct < k:
            raise ValueError(f"{k} clusters need {k} distinct rows; there are {distinct}.")


def _blocks(n: int, width: int) -> list[slice]:
    """Slices of nearly equal length that cover n rows, by the number of numbers for each row; by nothing else."""
    least, most = _BLOCK_ROWS
    count = max(-(-n // min(max(_BLOCK_NUMBERS // max(width, 1), least), most)), 1)
    edges = np.linspace(0, n, count + 1).astype(int)
    return [slice(int(first), int(last)) for first, last in pairwise(edges)]


def _nearest(
    values: Array, centroids: Array, *, with_second: bool = False, each: Mapper
) -> tuple[Labels, Array, Array]:
    """Label and distance of the nearest centroid of each row, and the distance to the second nearest if wanted."""
    n, k = len(values), len(centroids)
    labels, distance, second = np.zeros(n, dtype=np.int64), np.zeros(n), np.zeros(n if with_second else 0)
    middle = centroids.mean(axis=0)  # far from the origin, squares would swallow the differences
    around = centroids - middle
    squares = (around**2).sum(axis=1)[:, None]

    def place(rows: slice) -> None:
        block = values[rows] - middle
        if k > 1:
            scores = squares - 2 * (around @ block.T)
            labels[rows] = _first_smallest(scores)
            if with_second:
                scores[labels[rows], np.arange(len(block))] = np.inf
                second[rows] = _lengths(block - around[_first_smallest(scores)])
        distance[rows] = _lengths(block - around[labels[rows]])

    list(each(place, _blocks(n, max(k, values.shape[1]))))
    return labels, distance, second


def _first_smallest(scores: Array) -> Labels:
    """Row number of the first smallest score in each column of (k, n)."""
    chosen = scores == scores.min(axis=0)
    # One product gives the numbers where nothing is tied: several times faster than argmin along short columns.
    if np.count_nonzero(chosen) == scores.shape[1]:
        return np.rint(np.arange(len(scores), dtype=float) @ chosen.astype(float)).astype(np.int64)
    return scores.argmin(axis=0)


def _lengths(rows: Array) -> Array:
    return np.sqrt(np.einsum("ij,ij->i", rows, rows))


def _sweep(values: Array, ks: Sequence[int], seed: int, starts: int, each: Mapper) -> list[KMeansFit]:
    n = len(values)
    middle, scale = middle_and_scale(values)
    wanted = [k for k in sorted(set(ks)) if k > 1]
    found: dict[int, KMeansFit] = {}
    if 1 in ks:
        found[1] = _finished(values, middle[None], each)
    if wanted:
        rng = np.random.default_rng(np.random.SeedSequence([seed, n]))
        order = rng.permutation(n) if n > _START_ROWS else np.arange(n)
        few = values[np.sort(order[:_START_ROWS])]
        ample = distinct_rows(few, wanted[-1] + 1)
        some = _points(few, middle, scale)
        tried = _tried(some, [k for k in wanted if k <= ample], ample, starts=starts, seed=seed, each=each)
        many = dict.fromkeys(tried, _points(values[np.sort(order[:_SAMPLE_ROWS])], middle, scale))
        scarce = [k for k in wanted if k > ample]
        if scarce:  # a rare kind of row was not drawn: look at everything
            some, ample = _points(values, middle, scale), distinct_rows(values, wanted[-1] + 1)
            tried |= _tried(some, scarce, ample, starts=starts, seed=seed, each=each)
            many |= dict.fromkeys(scarce, some)
        polished = each(lambda k: _lloyd(many[k], tried[k][:_POLISHED], _POLISH, map), wanted)
        best = {k: centres[[inertias.argmin()]] for k, (centres, inertias) in zip(wanted, polished, strict=True)}
        if n > _SAMPLE_ROWS:
            whole = _points(values, middle, scale)
            for k in wanted:
                best[k], inertia = _lloyd(whole, best[k], _WHOLE, each)
                fit = _finished(values, best[k][0] * scale + middle, each)
                if abs(float(inertia[0]) * scale**2 - fit.inertia) <= _WHOLE * fit.inertia and _all_used(fit):
                    found[k] = fit
            del whole
        # Few rows, or rows so close for their spread that single precision does not tell them apart.
        unsettled = [k for k in wanted if k not in found]
        exact = _points(values if unsettled else values[:0], middle, scale, np.float64)
        for k in unsettled:
            centres, _ = _lloyd(exact, best[k], _BOTTOM if n <= _SAMPLE_ROWS else _WHOLE, each)
            found[k] = _finished(values, centres[0] * scale + middle, each)
    return [found[k] for k in ks]


def _finished(values: Array, centroids: Array, each: Mapper) -> KMeansFit:
    order = np.lexsort(np.round(centroids, _DIGITS).T[::-1])
    centroids = np.ascontiguousarray(centroids[order])
    labels, distance, _ = _nearest(values, centroids, each=each)
    return KMeansFit(centroids, labels, float(distance @ distance))


def _all_used(fit: KMeansFit) -> bool:
    return bool(np.bincount(fit.labels, minlength=fit.k).min() > 0)


def _points(values: Array, middle: Array, scale: float, kind: type[np.floating[Any]] = np.float32) -> Floats:
    """The rows around the middle, scaled, with a last column of ones: products then carry squares and counts along."""
    points = np.empty((len(values), values.shape[1] + 1), dtype=kind)
    for rows in _blocks(len(values), values.shape[1]):
        points[rows, :-1] = (values[rows] - middle) / scale
    points[:, -1] = 1.0
    return points


def _tried(
    points: Floats, ks: Sequence[int], distinct: int, *, starts: int, seed: int, each: Mapper
) -> dict[int, Array]:
    """For each k the centres (tries, k, d) of all its starts after a rough descent, the lowest inertia first.

    `distinct` is the number of distinct rows, counted to one more than the largest k.
    """
    near = sorted({k + step for k in ks for step in (-1, 0, 1) if k + step <= distinct})
    if not near:
        return {}
    chains = _plus_plus(points, near[-1], starts, np.random.default_rng(np.random.SeedSequence([seed, len(points)])))
    first = dict(zip(near, each(lambda k: _lloyd(points, chains[:, :k], _ROUGH, map), near), strict=True))
    lowest = {k: centres[inertias.argmin()] for k, (centres, inertias) in first.items()}

    def with_neighbours(k: int) -> Array:
        suggested = [_split(points, _merged(points, lowest[k])), _split(points, lowest[k - 1])]
        if k + 1 in lowest:
            suggested.append(_merged(points, lowest[k + 1]))
        centres, inertias = _lloyd(points, np.array(suggested), _ROUGH, map)
        order = np.concatenate([first[k][1], inertias]).argsort(kind="stable")
        return np.concatenate([first[k][0], centres])[order]

    return dict(zip(ks, each(with_neighbours, ks), strict=True))


def _plus_plus(points: Floats, k: int, starts: int, rng: np.random.Generator) -> Array:
    """Greedy k-means++ centres (starts, k, d), chosen one after the other: the first j of a start are one for j."""
    n = len(points)
    rows = points[:, :-1]
    squares = np.einsum("ij,ij->i", rows, rows)

    def distances(chosen: NDArray[np.int64]) -> Floats:
        found = squares - 2 * (rows[chosen] @ rows.T)
        found += squares[chosen][:, None]
        # What is left between a row and itself by rounding would be drawn again and again where rows are repeated.
        found[found < 4e-7 * (squares + squares[chosen][:, None])] = 0.0
        return found

    picks = np.empty((starts, k), dtype=np.int64)
    picks[:, 0] = rng.integers(n, size=starts)
    closest = distances(picks[:, 0])
    for step in range(1, k):
        drawn = rng.random((starts, _TRIALS))
        sums = np.cumsum(closest, axis=1, dtype=np.float64)
        trials = np.array([np.searchsorted(total, u * total[-1]) for total, u in zip(sums, drawn, strict=True)])
        np.minimum(trials, n - 1, out=trials)
        left = distances(trials.ravel()).reshape(starts, _TRIALS, n)
        np.minimum(left, closest[:, None], out=left)
        better = left.sum(axis=2).argmin(axis=1)
        picks[:, step] = trials[np.arange(starts), better]
        closest = left[np.arange(starts), better]
    return rows[picks].astype(np.float64)


def _scored(centres: Array) -> Array:
    """Centres (..., k, d) as (..., k, d + 1): times a row with a one at its end, |c|^2 - 2 c x."""
    return np.concatenate([-2 * centres, (centres**2).sum(axis=-1, keepdims=True)], axis=-1)


def _lloyd(points: Floats, centres: Array, tolerance: float, each: Mapper) -> tuple[Array, Array]:
    """Lloyd's iterations of all starts (starts, k, d) together: their centres, and inertia at these centres.

    A start is left alone when an iteration lowers its inertia by less than `tolerance` of it (or by less than
    rounding lets one see). A cluster without rows is moved to the row farthest from all centres.
    """
    starts, k, d = centres.shape
    blocks = _blocks(len(points), starts * k)
    total = sum(float(np.vdot(points[rows, :-1], points[rows, :-1])) for rows in blocks)
    seen = float(np.finfo(points.dtype).eps) * total
    centres, inertia = np.array(centres, dtype=np.float64), np.full(starts, np.inf)
    active = np.arange(starts)
    for _ in range(_ITERATIONS):
        scored = _scored(centres[active]).astype(points.dtype).reshape(-1, d + 1)
        sums = np.zeros((len(active), k, d + 1))
        below = np.zeros(len(active))
        for part, lowest in each(lambda rows, scored=scored: _assigned(points[rows], scored, k), blocks):
            sums += part
            below += lowest
        now, counts = below + total, sums[:, :, -1]
        empty = (counts == 0).any(axis=1)
        going = empty | (inertia[active] - now > tolerance * now + seen)
        inertia[active] = now
        moved = np.divide(sums[:, :, :-1], counts[:, :, None], out=centres[active], where=counts[:, :, None] > 0)
        for start in np.flatnonzero(empty):
            moved[start] = _reseated(points, moved[start], counts[start] == 0)
            inertia[active[start]] = np.inf  # it rises or falls by a jump: no sign of having arrived
        active = active[going]
        if not len(active):
            break
        centres[active] = moved[going]
    return centres, inertia


def _assigned(block: Floats, scored: Floats, k: int) -> tuple[Array, Array]:
    """Sums and counts (starts, k, d + 1) of the block's rows by nearest centre, and the sums of the lowest scores."""
    scores = (scored @ block.T).reshape(-1, k, len(block))
    lowest = scores.min(axis=1)
    # As numbers rather than booleans: the product with them is the sums and, by the column of ones, the counts.
    chosen = np.empty_like(scores)
    np.equal(scores, lowest[:, None], out=chosen)
    sums = np.matmul(chosen, block)
    if (sums[:, :, -1].sum(axis=1) != len(block)).any():  # ties go to the first
        np.equal(np.arange(k)[:, None], scores.argmin(axis=1)[:, None], out=chosen)
        sums = np.matmul(chosen, block)
    return sums.astype(np.float64), lowest.sum(axis=1, dtype=np.float64)


def _reseated(points: Floats, centres: Array, empty: NDArray[np.bool_]) -> Array:
    """The centres with each empty one moved to the row farthest from all others, one after the other."""
    rows = points[:, :-1]
    away = np.min([((rows - centre) ** 2).sum(axis=1) for centre in centres[~empty]], axis=0)
    for place in np.flatnonzero(empty):
        centres[place] = rows[away.argmax()]
        away = np.minimum(away, ((rows - centres[place]) ** 2).sum(axis=1))
    return centres


def _split(points: Floats, centres: Array) -> Array:
    """The cluster that holds most of the inertia cut across its longest direction: centres (k + 1, d)."""
    labels, distance, _ = _nearest(points[:, :-1].astype(np.float64), centres, each=map)
    within = np.bincount(labels, weights=distance**2, minlength=len(centres))
    place = int(within.argmax())
    rows = points[labels == place, :-1] - centres[place]
    length, direction = np.linalg.eigh(rows.T @ rows / max(len(rows), 1))
    step = np.sqrt(max(length[-1], 0.0)) * direction[:, -1]
    return np.concatenate([np.delete(centres, place, axis=0), [centres[place] - step, centres[place] + step]])


def _merged(points: Floats, centres: Array) -> Array:
    """The two clusters whose union costs least (Ward 1963) made one: centres (k - 1, d)."""
    labels, _, _ = _nearest(points[:, :-1].astype(np.float64), centres, each=map)
    sizes = np.bincount(labels, minlength=len(centres)).astype(float)
    gaps = ((centres[:, None] - centres) ** 2).sum(axis=2)
    cost = gaps * np.outer(sizes, sizes) / np.maximum(sizes[:, None] + sizes, 1.0)
    cost[np.tril_indices(len(centres))] = np.inf
    one, other = np.unravel_index(cost.argmin(), cost.shape)
    weight = sizes[[one, other]] / max(sizes[one] + sizes[other], 1.0)
    return np.concatenate([np.delete(centres, [one, other], axis=0), (weight @ centres[[one, other]])[None]])
