"""Internal indices of a clustering that need one pass over the rows: Calinski-Harabasz and Davies-Bouldin.

Silhouettes, which need all pairs of rows, are in `silhouette`; what an index says about a number of clusters is in
`evidence`.
"""

from __future__ import annotations

import numpy as np

from segmentation_assets.segmentation.kmeans import Array, Labels, one_thread, require_finite

_BLOCK_ROWS = 8_192


def calinski_harabasz(values: Array, labels: Labels, inertia: float | None = None) -> float:
    """Calinski-Harabasz index (Calinski and Harabasz 1974) of a labelling of (n, d); higher is better.

    Variance between the clusters over that within, each by its degrees of freedom. `inertia` is the sum of squared
    distances of the rows to their centroids, where it is known; without it, it is taken about the clusters' means.
    Infinity when every row lies on its centroid, NaN with one cluster, or with as many clusters as rows. ValueError
    for labels of another length and values not finite.
    """
    sizes = _sizes(values, labels)
    n, k = len(values), int((sizes > 0).sum())
    if k < 2 or k >= n:
        return float("nan")
    with one_thread():
        middle = values.mean(axis=0)
        within = inertia if inertia is not None else _inertia(values, labels, _means(values, labels, sizes))
        total = _inertia(values, np.zeros(n, dtype=np.int64), middle[None])
    if within <= 0:
        return float("inf")
    return float((total - within) / within * (n - k) / (k - 1))


def davies_bouldin(values: Array, labels: Labels, centroids: Array | None = None) -> float:
    """Davies-Bouldin index (Davies and Bouldin 1979) of a labelling of (n, d); lower is better.

    Mean over the clusters of the worst ratio of two clusters' mean distances to their centroids to the distance
    between the centroids. `centroids` (k, d) stand in the order of the labels; without them, the clusters' means are
    taken. Clusters without rows are left out. Infinity when two clusters with spread share one centroid, NaN with
    one cluster. ValueError for labels of another length and values not finite.
    """
    sizes = _sizes(values, labels)
    used = sizes > 0
    if used.sum() < 2:
        return float("nan")
    with one_thread():
        centres = _means(values, labels, sizes) if centroids is None else centroids
        spread = np.zeros(len(sizes))
        for first in range(0, len(values), _BLOCK_ROWS):
            own = labels[first : first + _BLOCK_ROWS]
            away = values[first : first + _BLOCK_ROWS] - centres[own]
            spread += np.bincount(own, weights=np.sqrt(np.einsum("ij,ij->i", away, away)), minlength=len(sizes))
    spread = spread[used] / sizes[used]
    centres = centres[: len(sizes)][used]
    apart = np.sqrt(((centres[:, None] - centres) ** 2).sum(axis=2))
    both = spread[:, None] + spread
    ratio = np.divide(both, apart, out=np.where(both > 0, np.inf, 0.0), where=apart > 0)
    np.fill_diagonal(ratio, 0.0)
    return float(ratio.max(axis=1).mean())


def _sizes(values: Array, labels: Labels) -> Labels:
    if len(labels) != len(values):
        raise ValueError(f"{len(labels)} labels were given for {len(values)} rows.")
    require_finite(values)
    return np.bincount(labels)


def _means(values: Array, labels: Labels, sizes: Labels) -> Array:
    """Mean of each cluster's rows (k, d); zeros for a cluster without rows."""
    # Around the middle of all rows, so that a far origin costs no digits.
    middle = values.mean(axis=0)
    sums = np.zeros((len(sizes), values.shape[1]))
    for first in range(0, len(values), _BLOCK_ROWS):
        own = labels[first : first + _BLOCK_ROWS]
        members = (own == np.arange(len(sizes))[:, None]).astype(float)
        sums += members @ (values[first : first + _BLOCK_ROWS] - middle)
    return np.asarray(middle + sums / np.maximum(sizes, 1)[:, None])


def _inertia(values: Array, labels: Labels, centres: Array) -> float:
    total = 0.0
    for first in range(0, len(values), _BLOCK_ROWS):
        away = values[first : first + _BLOCK_ROWS] - centres[labels[first : first + _BLOCK_ROWS]]
        total += float(np.einsum("ij,ij->", away, away))
    return total
