"""All algorithms on the same matrix, side by side, in figures that mean the same for each of them.

A comparison, not a choice: which algorithm clusters an axis is a setting. No clock is read here: what an algorithm
costs is shown by the benchmarks.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segmentation_assets.segmentation.algorithms.base import (
    AlgorithmUnavailableError,
    Clusterer,
    ClusteringError,
    cluster_means,
)
from segmentation_assets.segmentation.algorithms.registry import ALGORITHMS, make_clusterer
from segmentation_assets.segmentation.kmeans import Array, Labels, one_thread
from segmentation_assets.segmentation.silhouette import silhouettes

#: Rows the expensive algorithms are fitted on here; chosen for their own sake they take more.
FIT_ROWS = 2_000
SILHOUETTE_ROWS = 2_000
STABILITY_ROWS = 1_000
STABILITY_DRAWS = 3

COMPARISON_SCHEMA: dict[str, type[pl.DataType]] = {
    "algorithm": pl.String,
    "k_asked": pl.Int64,
    "k_found": pl.Int64,
    "inertia": pl.Float64,
    "silhouette": pl.Float64,
    "stability": pl.Float64,
    "smallest_share": pl.Float64,
    "agreement": pl.Float64,
    "remark": pl.String,
}


def compare_algorithms(
    values: Array,
    names: Sequence[str],
    k: int,
    seed: int,
    *,
    algorithms: Sequence[str] = tuple(ALGORITHMS),
    present: Labels | None = None,
) -> pl.DataFrame:
    """One row per algorithm with k clusters asked for on the matrix (n, d) with column `names` (COMPARISON_SCHEMA).

    inertia: sum of squared distances of all rows to the mean of their cluster, in the matrix itself whatever the
    algorithm clustered: the common cost, least by construction for K-means. silhouette: mean width on a sample of
    SILHOUETTE_ROWS (Rousseeuw 1987). stability: mean over clusters and draws of the Jaccard similarity with the most
    similar cluster found on a draw without replacement (Hennig 2007, subsetting: copies of a row would look dense to
    HDBSCAN) of half the rows, STABILITY_ROWS at most. agreement: adjusted Rand index with `present`, the labels the
    axis has now. Nulls where a figure means nothing (one cluster, no present labels) or the algorithm could not run;
    `remark` says why, or on how many rows it was fitted.

    UnknownAlgorithmError for a name that is none. No rows give an empty table.
    """
    tried = [make_clusterer(name, k, seed, columns=names, fit_rows=FIT_ROWS) for name in algorithms]
    n = len(values)
    if n == 0:
        return pl.DataFrame(schema=COMPARISON_SCHEMA)
    # Around the pool, because the limit is the process's: set inside, one thread would lift it for the other.
    with one_thread(), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        outcomes = list(pool.map(lambda clusterer: _outcome(values, clusterer, k, seed), tried))
    rng = np.random.default_rng(np.random.SeedSequence([seed, 2]))
    rows = np.arange(n) if n <= SILHOUETTE_ROWS else np.sort(rng.choice(n, SILHOUETTE_ROWS, replace=False))
    several = [place for place, (clusterer, _) in enumerate(outcomes) if clusterer and clusterer.n_clusters_ > 1]
    widths = silhouettes(values[rows], [tried[place].labels_[rows] for place in several]) if several else []
    silhouette: dict[int, float] = dict(zip(several, widths, strict=True))
    records = []
    for place, (clusterer, found) in enumerate(outcomes):
        record: dict[str, Any] = {"algorithm": algorithms[place], "k_asked": k, **found}
        if clusterer is not None:
            record["silhouette"] = _rounded(silhouette.get(place))
            record["agreement"] = _rounded(_agreement(clusterer.labels_, present))
        records.append(record)
    return pl.DataFrame(records, schema=COMPARISON_SCHEMA)


def _outcome(values: Array, clusterer: Clusterer, k: int, seed: int) -> tuple[Clusterer | None, dict[str, Any]]:
    """The fitted clusterer and its figures, or None and the reason."""
    try:
        clusterer.fit(values)
    except (ClusteringError, AlgorithmUnavailableError) as reason:
        return None, {"remark": str(reason)}
    labels, found = clusterer.labels_, clusterer.n_clusters_
    means, counts = cluster_means(values, labels, found)
    figures = {
        "k_found": found,
        "inertia": _rounded(float(((values - means[labels]) ** 2).sum())),
        "stability": _rounded(_stability(values, clusterer, k, seed) if found > 1 else None),
        "smallest_share": _rounded(float(counts.min()) / len(values)),
        "remark": clusterer.remark_,
    }
    return clusterer, figures


def _stability(values: Array, clusterer: Clusterer, k: int, seed: int) -> float:
    """Mean Jaccard over clusters and draws; a cluster that a draw misses, or a draw that cannot be clustered, is 0."""
    found = clusterer.n_clusters_
    size = min(STABILITY_ROWS, len(values) // 2)
    similar: list[NDArray[np.float64]] = []
    for draw in range(STABILITY_DRAWS):
        # The same draws for every algorithm.
        rng = np.random.default_rng(np.random.SeedSequence([seed, k, draw]))
        rows = np.sort(rng.choice(len(values), size, replace=False))
        try:
            again = clusterer.settled(int(rng.integers(2**31))).fit(values[rows])
        except ClusteringError:
            similar.append(np.zeros(found))
            continue
        similar.append(_most_similar(clusterer.labels_[rows], again.labels_, found, again.n_clusters_))
    return float(np.mean(similar))


def _most_similar(left: Labels, right: Labels, k_left: int, k_right: int) -> NDArray[np.float64]:
    """(k_left,) Jaccard similarity of each cluster on the left with the most similar one on the right."""
    both = np.bincount(left * k_right + right, minlength=k_left * k_right).reshape(k_left, k_right)
    either = both.sum(axis=1, keepdims=True) + both.sum(axis=0) - both
    return np.asarray((both / np.maximum(either, 1)).max(axis=1))


def _agreement(labels: Labels, present: Labels | None) -> float | None:
    from sklearn.metrics import adjusted_rand_score

    return None if present is None else float(adjusted_rand_score(present, labels))


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 6)
