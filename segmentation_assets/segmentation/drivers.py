"""What sets each segment apart, per feature, in the units a reader knows.

Differences are measured on the matrix that was clustered and told in original units; names are `naming`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segmentation_assets.segmentation.kmeans import Array, Labels
from segmentation_assets.segmentation.matrix import FeatureMatrix
from segmentation_assets.segmentation.spec import AxisSpec

DRIVER_SCHEMA: dict[str, type[pl.DataType]] = {
    "axis": pl.String,
    "segment_id": pl.String,
    "rank": pl.Int64,
    "feature": pl.String,
    "segment_mean": pl.Float64,
    "overall_mean": pl.Float64,
    "standardised_difference": pl.Float64,
    "sentence": pl.String,
}


def standardised_differences(values: Array, labels: Labels, k: int) -> Array:
    """(k, d): mean of each column in each segment minus the mean of all, in standard deviations of the column."""
    deviation = values.std(axis=0)
    means = np.zeros((k, values.shape[1]))
    for cluster in range(k):
        means[cluster] = values[labels == cluster].mean(axis=0) if (labels == cluster).any() else values.mean(axis=0)
    difference = means - values.mean(axis=0)
    return np.divide(difference, deviation, out=np.zeros_like(difference), where=deviation > 1e-12)


def segment_drivers(
    matrix: FeatureMatrix, values: Array, names: Sequence[str], segment_ids: pl.Series, spec: AxisSpec
) -> pl.DataFrame:
    """Every feature of every segment, the strongest first (DRIVER_SCHEMA).

    `matrix` and `values` (n, d) with column `names`: the inputs and the matrix that was clustered. `segment_ids`: n
    ids. Means are in original units: of the known values, of shares of lines, or the share of customers for a
    category. Sentences quote medians where a mean would speak for the largest customers only.
    """
    found = sorted(segment_ids.unique().to_list(), key=by_number)
    labels = segment_ids.replace_strict(found, list(range(len(found))), return_dtype=pl.Int64).to_numpy()
    differences = standardised_differences(values, labels, len(found))
    originals = [original_units(matrix, name, spec) for name in names]
    records: list[tuple[object, ...]] = []
    for cluster, segment_id in enumerate(found):
        inside = labels == cluster
        order = sorted(range(len(names)), key=lambda column: (-abs(round(differences[cluster, column], 6)), column))
        for rank, column in enumerate(order, start=1):
            label, unit, raw = originals[column]
            difference = float(differences[cluster, column])
            mean, overall = known_mean(raw[inside]), known_mean(raw)
            here, there = _quoted(raw, inside, unit, difference)
            records.append(
                (
                    spec.axis, segment_id, rank, names[column], rounded(mean), rounded(overall), rounded(difference),
                    sentence(label, unit, difference, here, there),
                )
            )  # fmt: skip
    return pl.DataFrame(records, schema=DRIVER_SCHEMA, orient="row")


def _quoted(raw: Array, inside: NDArray[np.bool_], unit: str, difference: float) -> tuple[float, float]:
    """The pair of figures a sentence quotes: medians (means for shares), or the others when only they bear it out.

    Differences are measured on the transformed scale, where a mean in original units may point the other way.
    """
    medians = known_median(raw[inside]), known_median(raw)
    means = known_mean(raw[inside]), known_mean(raw)
    first, second = (means, medians) if unit == "share" else (medians, means)
    for here, there in (first, second):
        if (here - there) * difference > 0:
            return here, there
    return first


def original_units(matrix: FeatureMatrix, name: str, spec: AxisSpec) -> tuple[str, str, Array]:
    """Label, unit and the n values in original units behind one column of the clustered matrix."""
    inputs = matrix.inputs
    if name in matrix.layout.numeric:
        unit = next((feature.unit for feature in spec.numeric if feature.name == name), "")
        return spec.label(name), unit, inputs[name].fill_null(float("nan")).to_numpy()
    if name.endswith(" is missing"):
        column = name.removesuffix(" is missing")
        return f"{spec.label(column)} unknown", "share", inputs[column].is_null().cast(pl.Float64).to_numpy()
    for block in matrix.layout.shares:
        if name in block.columns:
            counts = inputs.select(block.columns).to_numpy()
            total = counts.sum(axis=1)
            own = inputs[name].to_numpy()
            label = spec.label(name.split("=", 1)[1]) if block.dimension == "amounts" else name.split("=", 1)[1]
            return f"Share of {label}", "share", np.divide(own, total, out=np.zeros(len(own)), where=total > 0)
    column, value = name.split("=", 1)
    return f"{spec.label(column)}: {value}", "share", (inputs[column] == value).cast(pl.Float64).to_numpy()


def sentence(label: str, unit: str, difference: float, here: float, there: float) -> str:
    """One sentence on one feature of one segment, in original units.

    `difference` in standard deviations decides the words, unless the two figures quoted point the other way.
    """
    size = abs(difference) if (here - there) * difference > 0 else 0.0
    side = "below" if difference < 0 else "above"
    if size >= 1:
        where = f"far {side} the rest"
    elif size >= 0.4:
        where = f"{side} the rest"
    elif size >= 0.15:
        where = f"slightly {side} the rest"
    else:
        where = "like the rest"
    return f"{label} is {where}: {_quantity(here, unit)} against {_quantity(there, unit)} overall."


def _quantity(value: float, unit: str) -> str:
    if np.isnan(value):
        return "unknown"
    if unit == "share":
        return f"{100 * value:.0f} %" if value >= 0.0995 or value == 0 else f"{100 * value:.1f} %"
    if unit == "days":
        return f"{value:,.0f} days"
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:,.2f}"


def by_number(segment_id: str) -> tuple[int, str]:
    """Sort key: S2 before S10."""
    return len(segment_id), segment_id


def known_mean(values: Array) -> float:
    """Mean of the known values, NaN when none is known."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def known_median(values: Array) -> float:
    """Median of the known values, NaN when none is known."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def rounded(value: float) -> float | None:
    """Six digits, null for NaN."""
    return None if np.isnan(value) else round(value, 6)
