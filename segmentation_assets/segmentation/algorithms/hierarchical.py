"""Ward's hierarchical clustering: merges that cost least variance, cut where k clusters are left.

Its memory and time grow with the square of the rows, so it is fitted on a sample and extended by nearest neighbour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from segmentation_assets.segmentation.algorithms.base import Clusterer, drawn_rows
from segmentation_assets.segmentation.algorithms.neighbours import Neighbours
from segmentation_assets.segmentation.kmeans import Array, Labels

_FIT_ROWS = 5_000


class WardClusterer(Clusterer):
    """Agglomerative clustering with Ward's criterion (Ward 1963) on at most `fit_rows` rows.

    Every other row takes the label of its nearest fitted row.
    """

    algorithm: ClassVar[str] = "ward"

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        random_state: int = 0,
        columns: Sequence[str] | None = None,
        fit_rows: int = _FIT_ROWS,
    ) -> None:
        super().__init__(n_clusters, random_state=random_state, columns=columns)
        self.fit_rows = fit_rows

    def _learn(self, values: Array) -> None:
        from sklearn.cluster import AgglomerativeClustering

        rows = values[drawn_rows(values, self.fit_rows, self.n_clusters, self.random_state)]
        labels = np.zeros(len(rows), dtype=np.int64)
        if self.n_clusters > 1:
            tree = AgglomerativeClustering(self.n_clusters, linkage="ward").fit(rows)
            labels = tree.labels_.astype(np.int64)
        self._neighbours = Neighbours(rows, labels, votes=1)
        if len(rows) < len(values):
            self.remark_ = f"fitted on a sample of {len(rows):,} rows, the others by their nearest neighbour in it"

    def _assign(self, values: Array) -> Labels:
        return self._neighbours.label(values)

    def _state(self) -> dict[str, Any]:
        return self._neighbours.to_dict()

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._neighbours = Neighbours.from_dict(state)
