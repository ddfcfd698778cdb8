"""The interface of all clusterings: scikit-learn's conventions, and a frozen form without pickles.

What every algorithm shares is here (checking rows, the order of clusters, distances, freezing). How labels are found
is in the modules beside it, and which algorithm to take is the caller's choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import check_is_fitted

from segmentation_assets.segmentation.kmeans import Array, Labels, distinct_rows, one_thread, predict

FORMAT = 1
#: Rows whose coordinates agree to this many digits are the same row, as in K-means.
_DIGITS = 9


class ClusteringError(ValueError):
    """These rows cannot be clustered this way; the message says what is wrong with them."""


class AlgorithmUnavailableError(ImportError):
    """The algorithm needs a package that is not installed; the message says how to install it."""


class Clusterer(ClusterMixin, BaseEstimator):
    """One way to divide (n, d) rows into clusters and to assign further rows without fitting again.

    `n_clusters`: how many to look for. `random_state`: an integer; the same one gives the same clusters whatever the
    number of threads. `columns`: the names of the d columns, for messages (and to find categories where an algorithm
    treats them apart).

    Learned: `labels_` (n,) int64, always what `predict` says of the same rows; `n_clusters_`, the number of clusters
    that hold a row, which may differ from the number asked for; `cluster_centers_` (n_clusters_, d), the mean rows;
    `remark_`, a sentence on what was done for size or lack of rows, or ''. Clusters are sorted by their mean rows, so
    equal divisions have equal labels.

    Subclasses give `_learn`, `_assign`, `_state`, `_restore`, with cluster numbers of their own.
    """

    algorithm: ClassVar[str]

    def __init__(self, n_clusters: int = 8, *, random_state: int = 0, columns: Sequence[str] | None = None) -> None:
        self.n_clusters = n_clusters
        self.random_state = random_state
        self.columns = columns

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Cluster the rows of X (n, d).

        ClusteringError: not a table of numbers, NaN or infinity (the column is named), or fewer distinct rows than
        clusters. AlgorithmUnavailableError: a package is missing.
        """
        values = self._rows(X)
        if self.n_clusters < 1:
            raise ClusteringError(f"n_clusters is {self.n_clusters}; ask for 1 cluster or more.")
        distinct = distinct_rows(values, self.n_clusters)
        if distinct < self.n_clusters:
            raise ClusteringError(
                f"{self.n_clusters} clusters need {self.n_clusters} distinct rows; there are {distinct} "
                f"among {len(values)} rows. Ask for fewer clusters."
            )
        self.n_features_in_ = values.shape[1]
        self.remark_ = ""
        with one_thread():
            self._learn(values)
            raw = self._assign(values)
            self.cluster_centers_, self._place = self._centres(values, raw)
            self.labels_: Labels = self._renumber(values, raw)
        self.n_clusters_ = len(self.cluster_centers_)
        return self

    def predict(self, X: ArrayLike) -> Labels:
        """The cluster of each row of X (n, d): int64 in [0, n_clusters_)."""
        check_is_fitted(self, "cluster_centers_")
        values = self._rows(X)
        if values.shape[1] != self.n_features_in_:
            raise ClusteringError(
                f"The {self.algorithm} model was fitted on {self.n_features_in_} columns; "
                f"these rows have {values.shape[1]}. Assign rows with the columns of the fit."
            )
        if not len(values):
            return np.zeros(0, dtype=np.int64)
        with one_thread():
            return self._renumber(values, self._assign(values))

    def measure(self, X: ArrayLike) -> tuple[Labels, Array, Array]:
        """Label of each row of X (n, d), its distance to the mean row of its cluster, and the margin.

        The margin is the distance to the nearest other mean row minus that distance, NaN with one cluster. Negative
        where the algorithm's idea of a cluster is not the nearest mean: it is how far its shape departs from a ball.
        """
        labels = self.predict(X)
        values = np.asarray(X, dtype=np.float64)
        distance, margin = np.zeros(len(values)), np.full(len(values), np.nan)
        with one_thread():
            for cluster, centre in enumerate(self.cluster_centers_):
                inside = labels == cluster
                rows = values[inside]
                distance[inside] = np.sqrt(((rows - centre) ** 2).sum(axis=1))
                others = np.delete(self.cluster_centers_, cluster, axis=0)
                if len(others) and len(rows):
                    margin[inside] = predict(rows, others)[1] - distance[inside]
        return labels, distance, margin

    def settled(self, random_state: int) -> Self:
        """An unfitted clusterer with these settings, those that the fit chose for itself taken over as they are.

        For draws that ask whether the clusters come back: a draw that also chose anew would answer two questions.
        """
        return type(self)(**{**self.get_params(deep=False), "random_state": random_state})

    def to_dict(self) -> dict[str, Any]:
        """All that was learned, as JSON-able values; Python's JSON keeps every bit of a float."""
        check_is_fitted(self, "cluster_centers_")
        parameters = self.get_params(deep=False)
        if self.columns is not None:
            parameters["columns"] = list(self.columns)
        return {
            "format": FORMAT,
            "algorithm": self.algorithm,
            "parameters": parameters,
            "columns_at_fit": self.n_features_in_,
            "centres": self.cluster_centers_.tolist(),
            "place": self._place.tolist(),
            "remark": self.remark_,
            "state": self._state(),
        }

    @classmethod
    def from_dict(cls, frozen: Mapping[str, Any]) -> Self:
        """The fitted clusterer (without `labels_`) from what `to_dict` wrote. ValueError for another format or kind."""
        if frozen.get("format") != FORMAT:
            raise ValueError(
                f"The frozen clusters have format {frozen.get('format')!r}, this version reads {FORMAT}; "
                f"fit the model again."
            )
        if frozen["algorithm"] != cls.algorithm:
            raise ValueError(f"The frozen clusters are of {frozen['algorithm']!r}, not of {cls.algorithm!r}.")
        model = cls(**frozen["parameters"])
        model.n_features_in_ = int(frozen["columns_at_fit"])
        model.cluster_centers_ = np.array(frozen["centres"], dtype=np.float64)
        model._place = np.array(frozen["place"], dtype=np.int64)
        model.n_clusters_ = len(model.cluster_centers_)
        model.remark_ = frozen["remark"]
        model._restore(frozen["state"])
        return model

    def _learn(self, values: Array) -> None:
        """Learn from checked rows with at least `n_clusters` distinct ones."""
        raise NotImplementedError

    def _assign(self, values: Array) -> Labels:
        """The cluster of each checked row, in the algorithm's own numbering."""
        raise NotImplementedError

    def _state(self) -> dict[str, Any]:
        """What `_assign` needs, as JSON-able values."""
        raise NotImplementedError

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Undo `_state`."""
        raise NotImplementedError

    def _centres(self, values: Array, raw: Labels) -> tuple[Array, NDArray[np.int64]]:
        """Mean row of each cluster that holds one, sorted, and the place of each own number among them (or -1)."""
        means, counts = cluster_means(values, raw, int(raw.max()) + 1)
        held = np.flatnonzero(counts)
        order = held[np.lexsort(np.round(means[held], _DIGITS).T[::-1])]
        place = np.full(len(counts), -1, dtype=np.int64)
        place[order] = np.arange(len(order))
        return means[order], place

    def _renumber(self, values: Array, raw: Labels) -> Labels:
        """Labels in sorted order. A number no row of the fit had is no cluster: its rows go to the nearest mean."""
        labels: Labels = np.where(raw < len(self._place), self._place[np.minimum(raw, len(self._place) - 1)], -1)
        stray = labels < 0
        if stray.any():
            labels[stray] = predict(values[stray], self.cluster_centers_)[0]
        return labels

    def _rows(self, X: ArrayLike) -> Array:
        """X as finite floats (n, d), or a sentence on why it is not that."""
        values = np.ascontiguousarray(X, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] == 0:
            raise ClusteringError(
                f"Rows to cluster are a table of at least one column; this has the shape {values.shape}."
            )
        finite = np.isfinite(values)
        if not finite.all():
            place = int(np.flatnonzero(~finite.all(axis=0))[0])
            bad = np.flatnonzero(~finite[:, place])
            named = self.columns is not None and len(self.columns) == values.shape[1]
            name = repr(self.columns[place]) if named and self.columns else f"number {place + 1}"
            raise ClusteringError(
                f"Column {name} holds {len(bad)} values that are NaN or infinite, the first in row {bad[0] + 1}; "
                f"fill them before clustering."
            )
        return values


def cluster_means(values: Array, labels: Labels, k: int) -> tuple[Array, NDArray[np.int64]]:
    """Mean row of each of k clusters, (k, d), zero where a cluster has no row, and the number of rows of each, (k,)."""
    counts = np.bincount(labels, minlength=k)
    sums = np.column_stack([np.bincount(labels, weights=column, minlength=k) for column in values.T])
    return sums / np.maximum(counts, 1)[:, None], counts


def drawn_rows(values: Array, most: int, k: int, seed: int) -> NDArray[np.int64]:
    """Places of at most `most` rows of (n, d) drawn without replacement, ascending, with at least k distinct ones.

    (n, d) must have k distinct rows. Where the draw misses the rare kinds, one row of each kind of the matrix joins it.
    """
    n = len(values)
    if n <= most:
        return np.arange(n)
    rng = np.random.default_rng(np.random.SeedSequence([seed, n, most]))
    rows = np.sort(rng.choice(n, most, replace=False))
    if distinct_rows(values[rows], k) >= k:
        return rows
    _, first = np.unique(np.round(values, _DIGITS), axis=0, return_index=True)
    return np.union1d(rows, first[: max(most, k)])
