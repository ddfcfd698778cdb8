"""Giving new customers their segment by the frozen model, from features that a caller hands in.

What belongs here: checking what was handed in, and applying the model. What does not: fitting, reading tables, HTTP.
The model's own columns and vocabulary decide what must be given, never today's settings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from segmentation_assets.segmentation.assign import ASSIGNMENT_SCHEMA, apply_model, assign_outside
from segmentation_assets.segmentation.drift import misfits
from segmentation_assets.segmentation.matrix import InputLayout, matrix_for_layout
from segmentation_assets.segmentation.model import FrozenModel
from segmentation_assets.segmentation.preprocess import import_pipeline, transform
from segmentation_assets.segmentation.spec import AxisSpec
from segmentation_assets.service.parts import MOST_ROWS

#: The dimension of a model made of amounts per category: its values are columns of the customer.
_AMOUNTS = "amounts"
#: Tells a buyer from a visitor where the model itself does not use it.
_ALWAYS = "order_count"
_LISTED = 8


class AssignError(ValueError):
    """What was handed in does not fit the model; the sentence says where."""


@dataclass(frozen=True)
class NewCustomer:
    """One row: `features` by column (null: unknown); `shares`: (lines, different products) by dimension and value.

    Lines say whether a customer's taste is known, products what it is: buying a favourite again tells nothing new.
    """

    customer_id: str
    features: Mapping[str, float | str | None] = field(default_factory=dict)
    shares: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)


def wanted(layout: InputLayout) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Numeric features, categories and share dimensions that a model asks for."""
    amounts = tuple(value for block in layout.shares if block.dimension == _AMOUNTS for value in block.values)
    dimensions = tuple(block.dimension for block in layout.shares if block.dimension != _AMOUNTS)
    return (*layout.numeric, *amounts), layout.categorical, dimensions


def assign_new(model: FrozenModel, spec: AxisSpec, rows: Sequence[NewCustomer]) -> pl.DataFrame:
    """The segment of each row (ASSIGNMENT_SCHEMA), sorted by customer_id; see `segmentation.assign.assign`.

    Every feature of the model must be named, unknown ones as null; `order_count` may be given beside them. AssignError
    for one that is missing, is not the model's, has the wrong type, or for a customer given twice.
    """
    _, layout = import_pipeline(model.preprocessing)
    numeric, categorical, dimensions = wanted(layout)
    if not 0 < len(rows) <= MOST_ROWS:
        raise AssignError(f"Give 1 to {MOST_ROWS:,} customers at once; these are {len(rows):,}.")
    if len({row.customer_id for row in rows}) < len(rows):
        raise AssignError("A customer is given twice. Give each customer_id once.")
    for number, row in enumerate(rows):
        _check(f"customers.{number}", model.axis, row, numeric=numeric, categorical=categorical, dimensions=dimensions)
    named = (*numeric, *(() if _ALWAYS in numeric else (_ALWAYS,)))
    given = [name for name in named if any(name in row.features for row in rows)]
    customers = pl.DataFrame(
        [
            pl.Series("customer_id", [row.customer_id for row in rows], dtype=pl.String),
            *(pl.Series(name, [_float(row.features.get(name)) for row in rows], dtype=pl.Float64) for name in given),
            *(pl.Series(name, [row.features[name] for row in rows], dtype=pl.String) for name in categorical),
        ]
    )
    if _ALWAYS in customers.columns:  # an unknown count is no reason to call a customer a visitor
        customers = customers.with_columns(is_buyer=pl.col(_ALWAYS).fill_null(1) > 0)
    lines = [
        (row.customer_id, dimension, value, float(count), float(products))
        for row in rows
        for dimension, counts in row.shares.items()
        for value, (count, products) in counts.items()
    ]
    schema = {"customer_id": pl.String, "dimension": pl.String, "value": pl.String, "line_count": pl.Float64}
    schema["product_count"] = pl.Float64
    return _applied(model, spec, layout, customers, pl.DataFrame(lines, schema=schema, orient="row"))


def _applied(
    model: FrozenModel, spec: AxisSpec, layout: InputLayout, customers: pl.DataFrame, shares: pl.DataFrame
) -> pl.DataFrame:
    matrix = matrix_for_layout(customers, shares, spec, layout)
    outside = assign_outside(matrix.customer_ids.filter(~pl.Series(matrix.included, dtype=pl.Boolean)), spec)
    parts = [outside.drop("version")]
    if matrix.included.any():
        pipeline, _ = import_pipeline(model.preprocessing)
        labels, distance, margin = apply_model(model, transform(pipeline, matrix.inputs))
        segment_ids = pl.Series("segment_id", list(model.segment_ids), dtype=pl.String).gather(labels)
        parts.append(
            pl.DataFrame(
                {
                    "customer_id": matrix.included_ids,
                    "segment_id": segment_ids,
                    "distance": pl.Series(np.round(distance, 6)),
                    "margin": pl.Series(np.round(margin, 6)).fill_nan(None),
                    "is_misfit": misfits(model.reference, segment_ids, distance),
                }
            )
        )
    version = pl.lit(model.version, dtype=pl.Int64).alias("version")
    return pl.concat(parts).sort("customer_id").with_columns(version).select(list(ASSIGNMENT_SCHEMA))


def _check(
    where: str, axis: str, row: NewCustomer, *, numeric: Sequence[str], categorical: Sequence[str],
    dimensions: Sequence[str],
) -> None:  # fmt: skip
    asked = (*numeric, *categorical)
    if missing := [name for name in asked if name not in row.features]:
        raise AssignError(
            f"{where}.features lacks {_listed(missing)}, which the model of the {axis} axis uses. "
            "Give null for what is not known."
        )
    if strange := [name for name in row.features if name not in asked and name != _ALWAYS]:
        raise AssignError(
            f"{where}.features has {_listed(strange)}, which the model of the {axis} axis does not use. "
            f"It uses {', '.join(asked) or 'no features, only shares'}."
        )
    if missing := [name for name in dimensions if name not in row.shares]:
        raise AssignError(
            f"{where}.shares lacks {_listed(missing)}: the customer's order lines by {missing[0]}, {{}} for none."
        )
    if strange := [name for name in row.shares if name not in dimensions]:
        raise AssignError(
            f"{where}.shares has {_listed(strange)}, which the model of the {axis} axis does not use. "
            f"It uses {', '.join(dimensions) or 'none'}."
        )
    for name, value in row.features.items():
        if name in categorical:
            if not isinstance(value, str | None):
                raise AssignError(f"{where}.features.{name} must be text or null.")
        elif isinstance(value, str | bool) or (value is not None and not _is_finite(value)):
            raise AssignError(f"{where}.features.{name} must be a finite number or null.")
    for dimension, counts in row.shares.items():
        if not all(_is_finite(count) and count >= 0 for pair in counts.values() for count in pair):
            raise AssignError(f"{where}.shares.{dimension} must hold numbers of order lines, 0 or more.")


def _is_finite(value: float) -> bool:
    return abs(value) < 1e15 and math.isfinite(value)


def _float(value: float | str | None) -> float | None:
    return None if value is None else float(value)


def _listed(names: Sequence[str]) -> str:
    """What callers wrote is shown short, and never as more than it is."""
    shown = [repr(name[:40]) for name in names[:_LISTED]]
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(shown) + more
