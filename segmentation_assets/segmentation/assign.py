"""Applying a frozen model to any customers: segment, distance, margin, misfits. Nothing is fitted here."""

from __future__ import annotations

import numpy as np
import polars as pl

from segmentation_assets.segmentation.drift import misfits
from segmentation_assets.segmentation.kmeans import Array, Labels, predict
from segmentation_assets.segmentation.matrix import FeatureMatrix, matrix_for_layout
from segmentation_assets.segmentation.model import FrozenModel, wanted_features
from segmentation_assets.segmentation.preprocess import import_pipeline, transform
from segmentation_assets.segmentation.spec import AxisSpec

ASSIGNMENT_SCHEMA: dict[str, type[pl.DataType]] = {
    "customer_id": pl.String,
    "segment_id": pl.String,
    "distance": pl.Float64,
    "margin": pl.Float64,
    "is_misfit": pl.Boolean,
    "version": pl.Int64,
}

_BLOCK_ROWS = 65_536


class FeatureMismatchError(ValueError):
    """A frozen model and the features of today do not fit together."""


def model_matrix(
    model: FrozenModel, customers: pl.DataFrame, shares: pl.DataFrame | None, spec: AxisSpec
) -> FeatureMatrix:
    """The inputs of `model` for these customers. Raises FeatureMismatchError naming every mismatch and the remedy."""
    _, layout = import_pipeline(model.preprocessing)
    matrix = matrix_for_layout(customers, shares, spec, layout)
    wrong = [f"{item.name} is used by the model, but {item.reason}" for item in matrix.left_out]
    absent = {item.name for item in matrix.left_out}
    wrong += [
        f"{name} is used by the model, but no customer has a value of it"
        for name in layout.numeric
        if name not in absent and matrix.inputs.height and matrix.inputs[name].null_count() == matrix.inputs.height
    ]
    then, now = model.preprocessing.get("wanted", []), wanted_features(spec)
    wrong += [
        f"{name} is asked for by the settings, but the model was fitted without it" for name in now if name not in then
    ]
    wrong += [f"{name} is used by the model, but the settings no longer name it" for name in then if name not in now]
    if wrong:
        raise FeatureMismatchError(
            f"The frozen model of axis {model.axis}, version {model.version}, does not fit today's features: "
            + "; ".join(wrong)
            + f". Fit it again (materialise segments/{model.axis}_model), or put the features back."
        )
    return matrix


def apply_model(model: FrozenModel, values: Array) -> tuple[Labels, Array, Array]:
    """Cluster index, distance and margin of each row of (n, d), the matrix of `model_matrix` transformed.

    The cluster is the thawed clusterer's where the model has one, else that of the nearest centroid. distance: to
    the own centroid. margin: distance to the nearest other centroid minus the own, NaN with one segment. Below 0
    the customer lies nearer to another segment's centre, which only a clusterer with other borders than the nearest
    centroid allows.
    """
    centroids = model.centroid_array
    if model.clusterer is None:
        return predict(values, centroids)
    from segmentation_assets.segmentation.algorithms.registry import thaw

    labels = np.asarray(thaw(model.clusterer).predict(values), dtype=np.int64)
    distance, margin = np.zeros(len(values)), np.full(len(values), np.nan)
    for start in range(0, len(values), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        here = np.arange(len(labels[block]))
        to_all = np.column_stack([np.sqrt(((values[block] - centre) ** 2).sum(axis=1)) for centre in centroids])
        distance[block] = to_all[here, labels[block]]
        to_all[here, labels[block]] = np.inf
        if len(centroids) > 1:
            margin[block] = to_all.min(axis=1) - distance[block]
    return labels, distance, margin


def assign(model: FrozenModel, customers: pl.DataFrame, shares: pl.DataFrame | None, spec: AxisSpec) -> pl.DataFrame:
    """Every customer with its segment by the frozen model (ASSIGNMENT_SCHEMA), sorted by customer_id.

    distance: to the own centroid, in the units of the matrix. margin: how much further the nearest other centroid
    is, null with one segment (see `apply_model`). is_misfit: the distance is above the 99th percentile of the
    segment's customers at the fit; null when the model does not know it. Customers outside the clustering take the
    outside id with none of the three.
    """
    matrix = model_matrix(model, customers, shares, spec)
    pipeline, _ = import_pipeline(model.preprocessing)
    labels, distance, margin = apply_model(model, transform(pipeline, matrix.inputs))
    segment_ids = pl.Series("segment_id", list(model.segment_ids), dtype=pl.String).gather(labels)
    inside = pl.DataFrame(
        {
            "customer_id": matrix.included_ids,
            "segment_id": segment_ids,
            "distance": pl.Series(np.round(distance, 6)),
            "margin": pl.Series(np.round(margin, 6)).fill_nan(None),
            "is_misfit": misfits(model.reference, segment_ids, distance),
        }
    )
    outside = assign_outside(matrix.customer_ids.filter(~pl.Series(matrix.included, dtype=pl.Boolean)), spec)
    everyone = pl.concat([inside, outside.drop("version")]).sort("customer_id")
    return everyone.with_columns(pl.lit(model.version, dtype=pl.Int64).alias("version")).select(list(ASSIGNMENT_SCHEMA))


def assign_outside(customer_ids: pl.Series, spec: AxisSpec) -> pl.DataFrame:
    """Every customer outside the clustering: the assignments of an axis that is off (version 0)."""
    ids = customer_ids.cast(pl.String).sort()
    return pl.DataFrame(
        {
            "customer_id": ids,
            "segment_id": [spec.outside_id] * len(ids),
            "distance": [None] * len(ids),
            "margin": [None] * len(ids),
            "is_misfit": [None] * len(ids),
            "version": [0] * len(ids),
        },
        schema=ASSIGNMENT_SCHEMA,
    )
