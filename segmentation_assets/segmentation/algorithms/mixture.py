"""A mixture of Gaussians: clusters that may be elongated, tilted and of unequal width.

Fitted by scikit-learn, applied by the few lines of `_assign`, so that a frozen model needs neither pickles nor the
version of scikit-learn that fitted it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np

from segmentation_assets.segmentation.algorithms.base import Clusterer, cluster_means, drawn_rows
from segmentation_assets.segmentation.kmeans import Array, Labels, fit_kmeans

Covariance = Literal["auto", "full", "diag"]

_FIT_ROWS = 100_000
_START_ROWS = 5_000
#: A start only has to show which valley it is in.
_START_STEPS = 20
#: Starts of the K-means that gives a cut.
_CUTS = 4
_STEPS = 200
#: Variance added to every column, as a share of the mean variance: a cluster may be flat, not infinitely thin.
_RIDGE = 1e-3
_BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class _Start:
    """Where expectation maximisation begins: weights (k,), means (k, d), precisions (k, d, d) or (k, d)."""

    weights: Array
    means: Array
    precisions: Array


class MixtureClusterer(Clusterer):
    """Gaussian mixture by expectation maximisation (Dempster, Laird, Rubin 1977); a row takes its likeliest component.

    `covariance` "auto" takes full covariances where each cluster can expect d (d + 1) rows of a start's sample, twice
    the numbers in one, and diagonal ones below that, which `remark_` says. The likelier of two starts on a sample, from
    K-means on the rows and on the whitened rows, is polished on at most `fit_rows` rows.
    """

    algorithm: ClassVar[str] = "mixture"

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        random_state: int = 0,
        columns: Sequence[str] | None = None,
        fit_rows: int = _FIT_ROWS,
        covariance: Covariance = "auto",
    ) -> None:
        super().__init__(n_clusters, random_state=random_state, columns=columns)
        self.fit_rows = fit_rows
        self.covariance = covariance

    def settled(self, random_state: int) -> Self:
        """As fitted, with the kind of covariances that the number of rows decided."""
        again = super().settled(random_state)
        return again.set_params(covariance="diag" if self._covariances.ndim == 2 else "full")

    def _learn(self, values: Array) -> None:
        from sklearn.mixture import GaussianMixture

        k = self.n_clusters
        many = values[drawn_rows(values, self.fit_rows, k, self.random_state)]
        few = many[drawn_rows(many, _START_ROWS, k, self.random_state)]
        n, d = many.shape
        kind = self.covariance
        if kind == "auto":
            kind = "full" if len(few) >= k * d * (d + 1) else "diag"
        ridge = _RIDGE * max(float(many.var(axis=0).mean()), 1e-12)

        def from_start(start: _Start, rows: Array, steps: int) -> GaussianMixture:
            return GaussianMixture(
                k, covariance_type=kind, reg_covar=ridge, max_iter=steps, random_state=0,
                weights_init=start.weights, means_init=start.means, precisions_init=start.precisions,
            ).fit(rows)  # fmt: skip

        # Two different cuts: the first ends well where clusters are round, the second where they lie side by side
        # along a direction in which all are long.
        seed = self.random_state
        cuts = [fit_kmeans(rows, k, seed, starts=_CUTS).labels for rows in (few, _whitened(few, ridge))]
        tried = [from_start(_start(few, labels, k, kind, ridge), few, _START_STEPS) for labels in cuts]
        top = max(tried, key=lambda model: float(model.lower_bound_))
        best = from_start(_Start(top.weights_, top.means_, top.precisions_), many, _STEPS)
        self._weights, self._means, self._covariances = best.weights_, best.means_, best.covariances_
        remarks = [f"fitted on a sample of {n:,} rows"] if n < len(values) else []
        if kind == "diag" and self.covariance == "auto":
            remarks.append(f"diagonal covariances: {k} full ones of {d} columns need {k * d * (d + 1):,} rows")
        self.remark_ = "; ".join(remarks)

    def _assign(self, values: Array) -> Labels:
        labels = np.empty(len(values), dtype=np.int64)
        if self._covariances.ndim == 2:
            whitening = [np.diag(1 / np.sqrt(variances)) for variances in self._covariances]
        else:
            whitening = [np.linalg.inv(np.linalg.cholesky(covariance)).T for covariance in self._covariances]
        # The common constant of the densities is left out: only their order matters.
        heights = np.log(np.maximum(self._weights, np.finfo(float).tiny))
        heights += [np.log(np.diag(white)).sum() for white in whitening]
        for start in range(0, len(values), _BLOCK_ROWS):
            block = values[start : start + _BLOCK_ROWS]
            densities = np.column_stack(
                [
                    height - 0.5 * (((block - mean) @ white) ** 2).sum(axis=1)
                    for height, mean, white in zip(heights, self._means, whitening, strict=True)
                ]
            )
            labels[start : start + len(block)] = densities.argmax(axis=1)
        return labels

    def _state(self) -> dict[str, Any]:
        return {
            "weights": self._weights.tolist(),
            "means": self._means.tolist(),
            "covariances": self._covariances.tolist(),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._weights, self._means = np.array(state["weights"]), np.array(state["means"])
        self._covariances = np.array(state["covariances"])


def _start(rows: Array, labels: Labels, k: int, kind: Covariance, ridge: float) -> _Start:
    """The mixture that clusters of rows (n, d) amount to."""
    means, counts = cluster_means(rows, labels, k)
    parts = [rows[labels == cluster] - means[cluster] for cluster in range(k)]
    if kind == "diag":
        precisions = np.array([1 / ((part**2).mean(axis=0) + ridge) for part in parts])
    else:
        flat = ridge * np.eye(rows.shape[1])
        precisions = np.array([np.linalg.inv(part.T @ part / len(part) + flat) for part in parts])
    return _Start(counts / len(rows), means, precisions)


def _whitened(rows: Array, ridge: float) -> Array:
    """Rows (n, d) with variance 1 in every direction, so that a long direction counts no more than a short one."""
    centred = rows - rows.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred / len(rows))
    return np.asarray(centred @ (axes / np.sqrt(np.maximum(variances, 0.0) + ridge)))
