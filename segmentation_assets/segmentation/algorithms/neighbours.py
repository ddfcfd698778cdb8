"""Labels by nearest neighbours: how a clustering of a sample is extended to all rows and to new ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from segmentation_assets.segmentation.kmeans import Array, Labels

_BLOCK_ROWS = 65_536


class Neighbours:
    """Labelled rows (m, d) that vote on others.

    The `votes` nearest rows vote; ties go to the label whose row is nearest. A row that is itself among them keeps
    its label, so assigning the rows of the fit again changes nothing.
    """

    def __init__(self, rows: Array, labels: Labels, votes: int) -> None:
        self.rows, self.labels, self.votes = rows, labels, min(votes, len(rows))
        self._tree: Any = None

    def label(self, values: Array) -> Labels:
        """Label of each row of (n, d)."""
        from scipy.spatial import cKDTree

        if self._tree is None:
            self._tree = cKDTree(self.rows)
        found = np.empty(len(values), dtype=np.int64)
        for start in range(0, len(values), _BLOCK_ROWS):
            block = values[start : start + _BLOCK_ROWS]
            # Each row is looked up on its own, so the number of workers changes no label.
            distance, place = self._tree.query(block, k=list(range(1, self.votes + 1)), workers=-1)
            votes = self.labels[place]
            agreeing = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
            winner = np.where(distance[:, 0] == 0, 0, agreeing.argmax(axis=1))
            found[start : start + len(block)] = votes[np.arange(len(block)), winner]
        return found

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values with exact floats."""
        return {"rows": self.rows.tolist(), "labels": self.labels.tolist(), "votes": self.votes}

    @classmethod
    def from_dict(cls, frozen: Mapping[str, Any]) -> Self:
        """Undo `to_dict`."""
        labels = np.array(frozen["labels"], dtype=np.int64)
        return cls(np.array(frozen["rows"], dtype=np.float64), labels, frozen["votes"])
