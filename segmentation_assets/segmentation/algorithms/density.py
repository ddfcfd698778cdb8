"""HDBSCAN: clusters as dense regions with thin space between them, as many as there are.

The one algorithm here that may answer with another number of clusters than asked for, or with none. Customers cannot
be left over, so noise is labelled by its neighbours; how much noise there was is in `remark_`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from segmentation_assets.segmentation.algorithms.base import Clusterer, drawn_rows
from segmentation_assets.segmentation.algorithms.neighbours import Neighbours
from segmentation_assets.segmentation.kmeans import Array, Labels

_FIT_ROWS = 10_000
#: Rows on which the smallest cluster size is tried out, before the one fit on all of the sample.
_TRIAL_ROWS = 2_500
#: Smallest cluster, as a share of the rows: the grid, from coarse to fine.
_SHARES = (0.1, 0.05, 0.02, 0.01)
_SMALLEST_CLUSTER = 5
#: Neighbours within which a row counts as dense: fixed, so that the grid changes the cut and not the landscape.
_DENSE = 10
_VOTES = 5


class DensityClusterer(Clusterer):
    """HDBSCAN (Campello, Moulavi, Sander 2013) on at most `fit_rows` rows.

    `n_clusters` is a target only. `smallest_share`, the size of the smallest cluster as a share of the rows, is taken
    from a small grid unless it is given: the one whose number of clusters is nearest to the target, the coarsest among
    equals. Noise and all other rows take the label that most of their five nearest clustered rows have. Where no dense
    region is found, all rows are one cluster.
    """

    algorithm: ClassVar[str] = "hdbscan"

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        random_state: int = 0,
        columns: Sequence[str] | None = None,
        fit_rows: int = _FIT_ROWS,
        smallest_share: float | None = None,
    ) -> None:
        super().__init__(n_clusters, random_state=random_state, columns=columns)
        self.fit_rows = fit_rows
        self.smallest_share = smallest_share

    def settled(self, random_state: int) -> Self:
        """As fitted, with the smallest cluster size that the grid gave."""
        return super().settled(random_state).set_params(smallest_share=self._share)

    def _learn(self, values: Array) -> None:
        rows = values[drawn_rows(values, self.fit_rows, self.n_clusters, self.random_state)]
        labels = self._regions(rows)
        dense = labels >= 0
        remarks = [f"fitted on a sample of {len(rows):,} rows"] if len(rows) < len(values) else []
        if not dense.any():
            # One row is enough to give everybody the same label.
            self._neighbours = Neighbours(rows[:1], np.zeros(1, dtype=np.int64), votes=1)
            remarks.append("no dense region is set apart from the rest: one cluster")
        else:
            self._neighbours = Neighbours(rows[dense], labels[dense], votes=_VOTES)
            if not dense.all():
                remarks.append(f"{1 - dense.mean():.0%} of its rows are noise, labelled by their neighbours")
        self.remark_ = "; ".join(remarks)

    def _regions(self, rows: Array) -> Labels:
        """HDBSCAN labels of the rows (n, d) with the share that is set, or the best of the grid; noise is -1."""
        self._share = self.smallest_share or _SHARES[0]
        if self.n_clusters == 1:
            return np.full(len(rows), -1, dtype=np.int64)
        if self.smallest_share is not None:
            return _dense_regions(rows, self._share)
        trial = rows[drawn_rows(rows, _TRIAL_ROWS, self.n_clusters, self.random_state)]
        nearest, labels = np.inf, np.full(len(trial), -1, dtype=np.int64)
        for share in _SHARES:
            found = _dense_regions(trial, share)
            missed = abs(int(found.max()) + 1 - self.n_clusters)
            if missed < nearest:
                nearest, self._share, labels = missed, share, found
            if missed == 0:
                break
        return labels if len(trial) == len(rows) else _dense_regions(rows, self._share)

    def _assign(self, values: Array) -> Labels:
        return self._neighbours.label(values)

    def _state(self) -> dict[str, Any]:
        return self._neighbours.to_dict()

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._neighbours = Neighbours.from_dict(state)


def _dense_regions(rows: Array, share: float) -> Labels:
    """HDBSCAN labels of (n, d), noise as -1; all noise where there are too few rows for two clusters."""
    from sklearn.cluster import HDBSCAN

    size = max(_SMALLEST_CLUSTER, round(share * len(rows)))
    if len(rows) < 2 * size:
        return np.full(len(rows), -1, dtype=np.int64)
    model = HDBSCAN(min_cluster_size=size, min_samples=min(_DENSE, len(rows) - 1), copy=True)
    return np.asarray(model.fit(rows).labels_, dtype=np.int64)
