"""A frozen model: all that is needed to assign a customer without fitting again, as JSON-able values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from segmentation_assets.segmentation.kmeans import Array
from segmentation_assets.segmentation.spec import AxisSpec


@dataclass(frozen=True)
class FrozenModel:
    """Preprocessing and centroids of one version of an axis.

    `features`: the features in a reader's words. `preprocessing`: what `preprocess.export_pipeline` wrote, and
    `wanted`, the features the settings asked for at the fit. `centroids`: (k, d) in the space of the matrix.
    `segment_ids`: the id of each cluster by index. `clusterer`: how customers are assigned when the nearest centroid
    is not the answer, as `algorithms.registry.thaw` reads it; None for K-means. `reference`: what the customers of
    the fit looked like, as `drift.reference_of` wrote it; empty for a model of a version that kept none. `version` 0
    means not registered yet.
    """

    axis: str
    version: int
    fingerprint: str
    algorithm: str
    k: int
    seed: int
    customers_at_fit: int
    features: list[str]
    preprocessing: dict[str, Any]
    centroids: list[list[float]]
    segment_ids: tuple[str, ...] = ()
    clusterer: dict[str, Any] | None = None
    reference: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able fields, without the segment ids, which are stored per version."""
        values = asdict(self)
        del values["segment_ids"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], segment_ids: tuple[str, ...]) -> FrozenModel:
        """The model from a mapping with (at least) the fields of `as_dict`.

        `clusterer` and `reference` may be absent or None: models of earlier versions have neither.
        """
        optional = {name: values[name] for name in ("clusterer", "reference") if values.get(name) is not None}
        needed = {item.name for item in fields(cls)} - {"segment_ids", "clusterer", "reference"}
        return cls(**{name: values[name] for name in needed}, **optional, segment_ids=segment_ids)

    @property
    def centroid_array(self) -> Array:
        """(k, d) floats."""
        return np.array(self.centroids, dtype=np.float64)


def wanted_features(spec: AxisSpec) -> list[str]:
    """The features an axis asks for, whether or not a source can carry them."""
    return [
        *(feature.name for feature in spec.numeric),
        *spec.categorical,
        *spec.share_columns,
        *(f"{dimension} shares" for dimension in spec.share_dimensions),
    ]
