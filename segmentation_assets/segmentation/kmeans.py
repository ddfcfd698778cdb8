"""K-means that gives the same answer on any machine setting, from a hundred rows to a million.

Many starts on a small sample, the best few polished on a larger one, the best of those on all rows: one start on all
rows is both slower and worse. Everything runs on one thread, because partial sums added in another order differ in
the last bits. Evidence for k and the meaning of clusters are elsewhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

STARTS = 10
_START_ROWS = 5_000
_SAMPLE_ROWS = 20_000
_POLISHED = 2
#: A start only has to show which valley it is in; the polish goes to the bottom of the best ones.
_ROUGH = 2e-3
_BLOCK_ROWS = 65_536
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


def distinct_rows(values: Array, at_most: int) -> int:
    """Number of distinct rows of (n, d), counted no further than `at_most`."""
    head = len(np.unique(np.round(values[:1000], _DIGITS), axis=0)) if len(values) else 0
    if head >= at_most or len(values) <= 1000:
        return min(head, at_most)
    direction = np.random.default_rng(0).normal(size=values.shape[1])
    return min(len(np.unique(np.round(values @ direction, _DIGITS))), at_most)


def fit_kmeans(values: Array, k: int, seed: int, *, starts: int = STARTS) -> KMeansFit:
    """K-means with `k` clusters on (n, d), best of `starts` k-means++ starts; ties and order are deterministic.

    ValueError when there are fewer distinct rows than clusters. Clusters are sorted by their centroids.
    """
    if k < 1 or distinct_rows(values, k) < k:
        raise ValueError(f"{k} clusters need {k} distinct rows; there are {distinct_rows(values, max(k, 1))}.")
    with one_thread():
        if k == 1:
            centre = values.mean(axis=0, keepdims=True)
            return KMeansFit(centre, np.zeros(len(values), dtype=np.int64), float(((values - centre) ** 2).sum()))
        rng = np.random.default_rng(np.random.SeedSequence([seed, k]))
        order = rng.permutation(len(values)) if len(values) > _START_ROWS else np.arange(len(values))
        few, many = values[np.sort(order[:_START_ROWS])], values[np.sort(order[:_SAMPLE_ROWS])]
        if distinct_rows(few, k) < k:  # a rare kind of row was not drawn: look at everything
            few = many = values
        tried = [_lloyd(few, k, "k-means++", int(rng.integers(2**31)), _ROUGH) for _ in range(starts)]
        tried.sort(key=lambda model: float(model.inertia_))
        tried = [_lloyd(many, k, model.cluster_centers_) for model in tried[:_POLISHED]]
        tried.sort(key=lambda model: float(model.inertia_))
        best = tried[0]
        if len(values) > len(many):
            best = _lloyd(values, k, best.cluster_centers_)
    order = np.lexsort(np.round(best.cluster_centers_, _DIGITS).T[::-1])
    place = np.empty(k, dtype=np.int64)
    place[order] = np.arange(k)
    return KMeansFit(np.asarray(best.cluster_centers_[order]), place[best.labels_], float(best.inertia_))


def _lloyd(values: Array, k: int, init: str | Array, seed: int = 0, tolerance: float = 1e-4) -> KMeans:
    return KMeans(k, init=init, n_init=1, max_iter=100, tol=tolerance, random_state=seed, algorithm="lloyd").fit(values)


def predict(values: Array, centroids: Array) -> tuple[Labels, Array, Array]:
    """Nearest centroid of each row of (n, d): labels, distance to it, and margin.

    The margin is the distance to the second nearest centroid minus the distance to the nearest, NaN with one
    centroid. Works in blocks, so memory does not grow with k times n.
    """
    n, k = len(values), len(centroids)
    labels, distance, margin = np.zeros(n, dtype=np.int64), np.zeros(n), np.full(n, np.nan)
    squares = (centroids**2).sum(axis=1)
    with one_thread():
        for start in range(0, n, _BLOCK_ROWS):
            block = values[start : start + _BLOCK_ROWS]
            scores = squares - 2 * block @ centroids.T
            nearest = scores.argmin(axis=1)
            labels[start : start + len(block)] = nearest
            own = np.sqrt(((block - centroids[nearest]) ** 2).sum(axis=1))
            distance[start : start + len(block)] = own
            if k > 1:
                scores[np.arange(len(block)), nearest] = np.inf
                second = scores.argmin(axis=1)
                other = np.sqrt(((block - centroids[second]) ** 2).sum(axis=1))
                margin[start : start + len(block)] = np.maximum(other - own, 0.0)
    return labels, distance, margin
