"""A mixture of Gaussians: clusters that may be elongated, tilted and of unequal width.

Fitted by scikit-learn, applied by the few lines of `_assign`, so that a frozen model needs neither pickles nor the
version of scikit-learn that fitted it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np

from segmentation_assets.segmentation.algorithms.base import Clusterer, drawn_rows
from segmentation_assets.segmentation.kmeans import Array, Labels

Covariance = Literal["auto", "full", "diag"]

#: Starts from K-means clusters end well where clusters are round, starts from single rows where they are not.
_STARTS = ("kmeans", "kmeans", "k-means++")
_FIT_ROWS = 100_000
_START_ROWS = 5_000
#: A start only has to show which valley it is in.
_START_STEPS = 15
_STEPS = 200
#: Variance added to every column, as a share of the mean variance: a cluster may be flat, not infinitely thin.
_RIDGE = 1e-3
_BLOCK_ROWS = 65_536


class MixtureClusterer(Clusterer):
    """Gaussian mixture by expectation maximisation (Dempster, Laird, Rubin 1977); a row takes its likeliest component.

    `covariance` "auto" takes full covariances where each cluster can expect d (d + 1) rows of a start's sample, twice
    the numbers in one, and diagonal ones below that, which `remark_` says. Best likelihood of three starts on a sample,
    polished on at most `fit_rows` rows.
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
        rng = np.random.default_rng(np.random.SeedSequence([self.random_state, k]))
        tried = [
            GaussianMixture(
                k, covariance_type=kind, reg_covar=ridge, init_params=start, max_iter=_START_STEPS,
                random_state=int(rng.integers(2**31)),
            ).fit(few)
            for start in _STARTS
        ]  # fmt: skip
        likeliest = max(tried, key=lambda model: float(model.lower_bound_))
        best = GaussianMixture(
            k, covariance_type=kind, reg_covar=ridge, max_iter=_STEPS, random_state=0,
            weights_init=likeliest.weights_, means_init=likeliest.means_, precisions_init=likeliest.precisions_,
        ).fit(many)  # fmt: skip
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
