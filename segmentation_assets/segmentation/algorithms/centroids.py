"""Clusters around a centre: K-means on all columns, and K-Prototypes for columns that are categories.

The fitting is done elsewhere (`segmentation.kmeans`, `kprototypes`); here both take the clustered matrix and speak the
common interface.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from segmentation_assets.segmentation.algorithms.base import Clusterer, ClusteringError
from segmentation_assets.segmentation.algorithms.kprototypes import KPrototypes
from segmentation_assets.segmentation.kmeans import Array, Labels, fit_kmeans, predict


class KMeansClusterer(Clusterer):
    """K-means (Lloyd 1982, seeded after Arthur and Vassilvitskii 2007): `cluster_centers_` are its centroids."""

    algorithm: ClassVar[str] = "kmeans"

    def _learn(self, values: Array) -> None:
        self._centroids = fit_kmeans(values, self.n_clusters, self.random_state).centroids

    def _assign(self, values: Array) -> Labels:
        return predict(values, self._centroids)[0]

    def _centres(self, values: Array, raw: Labels) -> tuple[Array, NDArray[np.int64]]:
        return self._centroids, np.arange(len(self._centroids))

    def _state(self) -> dict[str, Any]:
        return {}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._centroids = self.cluster_centers_


@dataclass(frozen=True)
class CategoryBlock:
    """The one-hot columns of one category: their `places` in the matrix, and `cuts` above which a column is on."""

    name: str
    places: tuple[int, ...]
    cuts: tuple[float, ...]

    def codes(self, values: Array) -> NDArray[np.int64]:
        """(n,) which column of the block is on."""
        return (values[:, self.places] - np.array(self.cuts)).argmax(axis=1).astype(np.int64)


def category_blocks(values: Array, columns: Sequence[str]) -> list[CategoryBlock]:
    """The one-hot blocks among the columns of (n, d), found by name and by what they hold.

    Columns named `name=value` with one name are a block; it is one-hot when in each row exactly one of its columns is
    at the higher of its two values. Blocks of shares, which are named alike, are not.
    """
    named: dict[str, list[int]] = {}
    for place, column in enumerate(columns):
        name, equals, _ = column.partition("=")
        if equals:
            named.setdefault(name, []).append(place)
    blocks = []
    for name, places in named.items():
        part = values[:, places]
        low, high = part.min(axis=0), part.max(axis=0)
        gap = float((high - low).max())
        if gap <= 0:
            continue
        # A level that no row of the fit has stays at its low value; the levels of a block share one scale.
        cuts = low + gap / 2
        is_on = part > cuts
        settled = np.isclose(part, np.where(is_on, high, low), rtol=0, atol=1e-9 * max(gap, 1.0)).all()
        if settled and (is_on.sum(axis=1) == 1).all():
            blocks.append(CategoryBlock(name, tuple(places), tuple(cuts.tolist())))
    return blocks


class PrototypesClusterer(Clusterer):
    """K-Prototypes (Huang 1998) on the clustered matrix: one-hot blocks are read back as categories.

    Needs `columns`, the names of the matrix columns. Shares and indicators of unknown values stay numbers. A matrix
    without categories is clustered by K-means, which is what is left.
    """

    algorithm: ClassVar[str] = "kprototypes"

    def _learn(self, values: Array) -> None:
        if self.columns is None or len(self.columns) != values.shape[1]:
            raise ClusteringError(
                f"kprototypes tells categories from numbers by the column names; give the {values.shape[1]} names in "
                f"`columns` ({0 if self.columns is None else len(self.columns)} given)."
            )
        self._blocks = category_blocks(values, self.columns)
        if not self._blocks:
            self._centroids = fit_kmeans(values, self.n_clusters, self.random_state).centroids
            self.remark_ = "no column is a category: the same as kmeans"
            return
        coded = self._coded(values)
        first = coded.shape[1] - len(self._blocks)
        self._model = KPrototypes(
            self.n_clusters,
            categorical_features=list(range(first, coded.shape[1])),
            random_state=self.random_state,
        ).fit(coded)

    def _assign(self, values: Array) -> Labels:
        if not self._blocks:
            return predict(values, self._centroids)[0]
        return np.asarray(self._model.predict(self._coded(values)), dtype=np.int64)

    def _coded(self, values: Array) -> Array:
        """The numbers, then one column of codes per block."""
        inside = {place for block in self._blocks for place in block.places}
        numbers = [place for place in range(values.shape[1]) if place not in inside]
        return np.column_stack([values[:, numbers], *(block.codes(values) for block in self._blocks)])

    def _state(self) -> dict[str, Any]:
        if not self._blocks:
            return {"blocks": [], "centroids": self._centroids.tolist()}
        blocks = [{"name": b.name, "places": list(b.places), "cuts": list(b.cuts)} for b in self._blocks]
        return {"blocks": blocks, "model": self._model.to_dict()}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._blocks = [CategoryBlock(b["name"], tuple(b["places"]), tuple(b["cuts"])) for b in state["blocks"]]
        if self._blocks:
            self._model = KPrototypes.from_dict(state["model"])
        else:
            self._centroids = np.array(state["centroids"])
