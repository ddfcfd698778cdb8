"""Facts about each segment in original units, for whoever names or describes it. Numbers only, no words."""

from __future__ import annotations

import numpy as np
import polars as pl

from segmentation_assets.segmentation.drivers import by_number, known_mean, known_median, rounded
from segmentation_assets.segmentation.matrix import FeatureMatrix
from segmentation_assets.segmentation.spec import AxisSpec

FACT_SCHEMA: dict[str, type[pl.DataType]] = {
    "axis": pl.String,
    "segment_id": pl.String,
    "fact": pl.String,
    "value": pl.Float64,
    "overall": pl.Float64,
}


def segment_facts(matrix: FeatureMatrix, segment_ids: pl.Series, spec: AxisSpec) -> pl.DataFrame:
    """Facts per segment (FACT_SCHEMA), of the clustered customers.

    `customers`; `median_NAME` and `mean_NAME` of each numeric feature; `share_of_customers COLUMN=VALUE` of each
    category; `share_of_lines DIMENSION=VALUE` (each customer's share, averaged) and its `lift` over all customers.
    `segment_ids`: the ids of the n rows of `matrix.inputs`.
    """
    found = sorted(segment_ids.unique().to_list(), key=by_number)
    inputs, layout = matrix.inputs, matrix.layout
    records: list[tuple[object, ...]] = []
    masks = {segment_id: (segment_ids == segment_id).to_numpy() for segment_id in found}
    numeric = {name: inputs[name].fill_null(float("nan")).to_numpy() for name in layout.numeric}
    categories = {
        f"{name}={value}": (inputs[name] == value).to_numpy().astype(float)
        for name in layout.categorical
        for value in sorted(inputs[name].unique().to_list())
    }
    shares: dict[str, np.ndarray] = {}
    for block in layout.shares:
        counts = inputs.select(block.columns).to_numpy().astype(float)
        total = counts.sum(axis=1, keepdims=True)
        share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
        shares |= {column: share[:, place] for place, column in enumerate(block.columns)}
    for segment_id, mask in masks.items():

        def add(fact: str, value: float, overall: float, segment_id: str = segment_id) -> None:
            records.append((spec.axis, segment_id, fact, rounded(value), rounded(overall)))

        add("customers", float(mask.sum()), float(len(mask)))
        for name, values in numeric.items():
            add(f"median_{name}", known_median(values[mask]), known_median(values))
            add(f"mean_{name}", known_mean(values[mask]), known_mean(values))
        for name, values in categories.items():
            add(f"share_of_customers {name}", known_mean(values[mask]), known_mean(values))
        for name, values in shares.items():
            here, overall = known_mean(values[mask]), known_mean(values)
            add(f"share_of_lines {name}", here, overall)
            add(f"lift {name}", here / overall if overall > 0 else float("nan"), 1.0)
    return pl.DataFrame(records, schema=FACT_SCHEMA, orient="row")
