"""K-means in an embedding: principal components, or the code layer of an autoencoder.

What an embedding is for is here: fewer columns before clustering, and coordinates to draw. The networks themselves
are in `autoencoder`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from segmentation_assets.segmentation.algorithms.autoencoder import FIT_ROWS, Autoencoder
from segmentation_assets.segmentation.algorithms.base import Clusterer, ClusteringError
from segmentation_assets.segmentation.kmeans import Array, Labels, distinct_rows, fit_kmeans, one_thread, predict


class EmbeddedKMeans(Clusterer):
    """K-means on `embed(X)`. Subclasses learn the embedding and give its columns."""

    def embed(self, X: Array) -> Array:
        """Coordinates (n, m) of the rows (n, d) in the embedding that was learned."""
        raise NotImplementedError

    def _learn_embedding(self, values: Array) -> None:
        raise NotImplementedError

    def _learn(self, values: Array) -> None:
        self._learn_embedding(values)
        embedded = self.embed(values)
        distinct = distinct_rows(embedded, self.n_clusters)
        if distinct < self.n_clusters:
            raise ClusteringError(
                f"{self.n_clusters} clusters need {self.n_clusters} distinct rows; the embedding of {self.algorithm} "
                f"leaves {distinct} of them. Ask for fewer clusters or cluster without the embedding."
            )
        self._centroids = fit_kmeans(embedded, self.n_clusters, self.random_state).centroids

    def _assign(self, values: Array) -> Labels:
        return predict(self.embed(values), self._centroids)[0]


class ComponentsClusterer(EmbeddedKMeans):
    """K-means on the principal components (Pearson 1901) that carry `variance` of the variance.

    `n_components`: so many components instead, whatever they carry.
    Learned: `explained_`, the share of the variance that they carry.
    """

    algorithm: ClassVar[str] = "pca_kmeans"

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        random_state: int = 0,
        columns: Sequence[str] | None = None,
        variance: float = 0.9,
        n_components: int | None = None,
    ) -> None:
        super().__init__(n_clusters, random_state=random_state, columns=columns)
        self.variance = variance
        self.n_components = n_components

    def embed(self, X: Array) -> Array:
        """Coordinates (n, m) on the components, the one with the most variance first."""
        with one_thread():
            return np.asarray((np.asarray(X, dtype=np.float64) - self._mean) @ self._loadings)

    def _learn_embedding(self, values: Array) -> None:
        self._mean = values.mean(axis=0)
        centred = values - self._mean
        variances, axes = np.linalg.eigh(centred.T @ centred / len(values))
        order = np.argsort(-variances, kind="stable")
        share = np.cumsum(np.maximum(variances[order], 0.0)) / max(float(variances.sum()), 1e-300)
        # A hair below the share asked for, or rounding would take one component more.
        kept = order[: self.n_components or int(np.searchsorted(share, self.variance - 1e-9)) + 1]
        loadings = axes[:, kept]
        # A component has no sign of its own: its largest loading is made positive.
        turned = loadings[np.abs(loadings).argmax(axis=0), np.arange(len(kept))] < 0
        self._loadings = loadings * np.where(turned, -1.0, 1.0)
        self.explained_ = float(share[len(kept) - 1])
        self.remark_ = f"{len(kept)} of {len(order)} components, {self.explained_:.0%} of the variance"

    def _state(self) -> dict[str, Any]:
        return {
            "mean": self._mean.tolist(),
            "loadings": self._loadings.tolist(),
            "centroids": self._centroids.tolist(),
            "explained": self.explained_,
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._mean, self._loadings = np.array(state["mean"]), np.array(state["loadings"])
        self._centroids, self.explained_ = np.array(state["centroids"]), state["explained"]


class AutoencoderClusterer(EmbeddedKMeans):
    """K-means on the code of an `autoencoder.Autoencoder`, trained on the same matrix.

    Training needs PyTorch; assigning rows with a fitted or thawed model does not. `n_components` None takes a third of
    the columns, at least two. `fit_rows`: rows the network is trained on at most.
    """

    algorithm: ClassVar[str] = "autoencoder_kmeans"

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        random_state: int = 0,
        columns: Sequence[str] | None = None,
        n_components: int | None = None,
        variational: bool = False,
        fit_rows: int = FIT_ROWS,
    ) -> None:
        super().__init__(n_clusters, random_state=random_state, columns=columns)
        self.n_components = n_components
        self.variational = variational
        self.fit_rows = fit_rows

    def embed(self, X: Array) -> Array:
        """Code (n, m) of the rows (n, d)."""
        return self._encoder.transform(X)

    def _learn_embedding(self, values: Array) -> None:
        self._encoder = Autoencoder(
            self.n_components,
            variational=self.variational,
            fit_rows=self.fit_rows,
            random_state=self.random_state,
        ).fit(values)
        remarks = [f"fitted on a sample of {self.fit_rows:,} rows"] if len(values) > self.fit_rows else []
        remarks.append(
            f"a code of {self._encoder.n_components_} for {values.shape[1]} columns rebuilds "
            f"{self._encoder.explained_:.0%} of the variance of unseen rows"
        )
        self.remark_ = "; ".join(remarks)

    def _state(self) -> dict[str, Any]:
        return {"encoder": self._encoder.to_dict(), "centroids": self._centroids.tolist()}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._encoder, self._centroids = Autoencoder.from_dict(state["encoder"]), np.array(state["centroids"])
