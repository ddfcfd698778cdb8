"""Applying a frozen model to any customers: segment, distance and margin. Nothing is fitted here."""

from __future__ import annotations

import numpy as np
import polars as pl

from segmentation_assets.segmentation.kmeans import predict
from segmentation_assets.segmentation.matrix import FeatureMatrix, matrix_for_layout
from segmentation_assets.segmentation.model import FrozenModel, wanted_features
from segmentation_assets.segmentation.preprocess import import_pipeline, transform
from segmentation_assets.segmentation.spec import AxisSpec

ASSIGNMENT_SCHEMA: dict[str, type[pl.DataType]] = {
    "customer_id": pl.String,
    "segment_id": pl.String,
    "distance": pl.Float64,
    "margin": pl.Float64,
    "version": pl.Int64,
}


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


def assign(model: FrozenModel, customers: pl.DataFrame, shares: pl.DataFrame | None, spec: AxisSpec) -> pl.DataFrame:
    """Every customer with its segment by the frozen model (ASSIGNMENT_SCHEMA), sorted by customer_id.

    distance: to the own centroid, in the units of the matrix. margin: how much further the second nearest centroid
    is, null with one segment. Customers outside the clustering take the outside id with neither.
    """
    matrix = model_matrix(model, customers, shares, spec)
    pipeline, _ = import_pipeline(model.preprocessing)
    labels, distance, margin = predict(transform(pipeline, matrix.inputs), model.centroid_array)
    inside = pl.DataFrame(
        {
            "customer_id": matrix.included_ids,
            "segment_id": pl.Series(list(model.segment_ids), dtype=pl.String).gather(labels),
            "distance": pl.Series(np.round(distance, 6)),
            "margin": pl.Series(np.round(margin, 6)).fill_nan(None),
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
            "version": [0] * len(ids),
        },
        schema=ASSIGNMENT_SCHEMA,
    )
