"""Which customers and which columns an axis is made of, in original units.

Selecting is done here, with a reason for each thing left out; transforming and scaling is `preprocess`, so that what
is selected and what is computed can each be frozen. Customer ids are carried beside the inputs and never in them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segmentation_assets.segmentation.hygiene import UNKNOWN, LeftOut, as_float, as_text, kept_numeric, refusals
from segmentation_assets.segmentation.spec import AxisSpec

#: Values beyond the vocabulary of a share dimension are counted together under this name.
OTHER = "(other)"
_SHARE_COLUMNS = "amounts"
_DIMENSION_SCHEMA = {"customer_id": pl.String, "value": pl.String, "lines": pl.Float64, "count": pl.Float64}


@dataclass(frozen=True)
class ShareBlock:
    """The count columns of one dimension; `values` is its vocabulary, `columns` their names in the inputs."""

    dimension: str
    values: tuple[str, ...]
    has_other: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the count columns in `FeatureMatrix.inputs`."""
        values = (*self.values, OTHER) if self.has_other else self.values
        return tuple(f"{self.dimension}={value}" for value in values)


@dataclass(frozen=True)
class InputLayout:
    """The columns of `FeatureMatrix.inputs` by kind, in order: the feature list of a frozen model."""

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    shares: tuple[ShareBlock, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All input columns in order."""
        return (*self.numeric, *self.categorical, *(c for block in self.shares for c in block.columns))

    @property
    def features(self) -> list[str]:
        """What a reader calls the features: columns, and one name per share dimension."""
        return [*self.numeric, *self.categorical, *(f"{block.dimension} shares" for block in self.shares)]


@dataclass(frozen=True)
class FeatureMatrix:
    """The inputs of an axis in original units.

    `customer_ids`: all customers, sorted, length N. `included`: N booleans, who is clustered. `inputs`: the n
    included customers in the same order, numeric columns as Float64 (null when unknown), categories as text,
    shares as counts. `line_counts`: n known lines (0 on an axis without shares). `left_out`: features this source
    cannot carry. `off_reason`: why the axis cannot be built at all, None when it can.
    """

    axis: str
    customer_ids: pl.Series
    included: NDArray[np.bool_]
    inputs: pl.DataFrame
    layout: InputLayout
    left_out: tuple[LeftOut, ...] = ()
    off_reason: str | None = None

    @property
    def is_on(self) -> bool:
        """Whether the axis can be built from this source."""
        return self.off_reason is None

    @property
    def included_ids(self) -> pl.Series:
        """The ids of the rows of `inputs`."""
        return self.customer_ids.filter(pl.Series(self.included))


def build_matrix(
    customers: pl.DataFrame, shares: pl.DataFrame | None, spec: AxisSpec, protected: Collection[str] = ()
) -> FeatureMatrix:
    """Select the customers and the features of an axis.

    `customers`: one row per customer with customer_id and the feature columns (any numeric type, decimals
    included). `shares`: customer_id, dimension, value and line_count, and product_count where it is known; the
    count of distinct products is used when given, because repeat purchases of a favourite say nothing new about
    taste (in simulations they cost a quarter of the agreement with planted tastes). `protected`: columns the source
    flags as protected. Columns that may not be clustered are left out with their reason (`hygiene.refusals`).
    ValueError when customer_id is missing, null or repeated; AxisSpecError when the spec asks for a protected
    attribute. An axis this source cannot carry is returned with `off_reason`, never raised.
    """
    customers = _sorted_customers(customers, spec)
    ids = customers["customer_id"]
    if not spec.is_on:
        return _off(spec, ids, (), "The axis is switched off in the settings.")
    if customers.is_empty():
        return _off(spec, ids, (), "There are no customers.")
    included = _buyers(customers) if spec.buyers_only else np.ones(len(ids), dtype=bool)
    if not included.any():
        return _off(spec, ids, (), f"None of the {len(ids)} customers has bought anything.")

    left_out: list[LeftOut] = []
    blocks: list[ShareBlock] = []
    counts: list[pl.DataFrame] = []
    wants_shares = bool(spec.share_dimensions or spec.share_columns)
    if wants_shares:
        lines = np.zeros(len(ids))
        for dimension in spec.share_dimensions:
            block, table, reason = _vocabulary(shares, dimension, spec)
            if block is None or table is None:
                left_out.append(LeftOut(f"{dimension} shares", reason))
                continue
            frame, known = _spread(table, block, ids)
            blocks.append(block)
            counts.append(frame)
            lines = np.maximum(lines, known)
        if spec.share_columns:
            block, amounts, reason = _amount_block(customers, spec, left_out)
            if block is None or amounts is None:
                left_out.append(LeftOut(f"{_SHARE_COLUMNS} shares", reason))
            else:
                blocks.append(block)
                counts.append(amounts)
                has_amount = amounts.sum_horizontal().to_numpy() > 0
                lines = np.where(has_amount, np.maximum(lines, spec.minimum_lines), lines)
        if blocks:
            enough = included & (lines >= spec.minimum_lines)
            if not enough.any():
                return _off(
                    spec, ids, tuple(left_out),
                    f"None of the {int(included.sum())} buyers has at least {spec.minimum_lines} lines of a known "
                    f"{' or '.join(block.dimension for block in blocks)}.",
                )  # fmt: skip
            included = enough

    keep = pl.Series(included)
    chosen = customers.filter(keep)
    refused = refusals(chosen, spec, protected)
    left_out.extend(refused)
    names = {item.name for item in refused}
    numeric = pl.DataFrame([as_float(chosen, name) for name in kept_numeric(spec, names)])
    categorical = pl.DataFrame([as_text(chosen, name) for name in spec.categorical if name not in names])
    parts = [numeric, categorical, *(frame.filter(keep) for frame in counts)]
    if wants_shares and not blocks:  # other features may accompany shares but do not make a taste
        return _off(spec, ids, tuple(left_out), _reasons(left_out))
    filled = [part for part in parts if part.width]
    inputs = pl.concat(filled, how="horizontal") if filled else pl.DataFrame()
    layout = InputLayout(tuple(numeric.columns), tuple(categorical.columns), tuple(blocks))
    if not layout.columns:
        return _off(spec, ids, tuple(left_out), _reasons(left_out))
    return FeatureMatrix(spec.axis, ids, included, inputs, layout, tuple(left_out))


def matrix_for_layout(
    customers: pl.DataFrame, shares: pl.DataFrame | None, spec: AxisSpec, layout: InputLayout
) -> FeatureMatrix:
    """The inputs a frozen model asks for: its columns and vocabulary, whatever this source would select today.

    Columns this source lacks are null and reported in `left_out`; values outside the vocabulary count as `(other)`,
    or, when the model has none, are not counted. Never off.
    """
    customers = _sorted_customers(customers, spec)
    ids = customers["customer_id"]
    included = _buyers(customers) if spec.buyers_only else np.ones(len(ids), dtype=bool)
    left_out = [
        LeftOut(name, "the column is not in the customer table")
        for name in (*layout.numeric, *layout.categorical)
        if name not in customers.columns
    ]
    counts: list[pl.DataFrame] = []
    lines = np.zeros(len(ids))
    for block in layout.shares:
        if block.dimension == _SHARE_COLUMNS:
            missing = [value for value in block.values if value not in customers.columns]
            left_out.extend(LeftOut(name, "the column is not in the customer table") for name in missing)
            frame = _amount_counts(customers.with_columns(pl.lit(None).alias(name) for name in missing), block)
            known = np.where(frame.sum_horizontal().to_numpy() > 0, float(spec.minimum_lines), 0.0)
        else:
            table = _dimension(shares, block.dimension)
            if table is None:
                left_out.append(LeftOut(f"{block.dimension} shares", "no customer has a share of it"))
                table = pl.DataFrame(schema=_DIMENSION_SCHEMA)
            frame, known = _spread(table, block, ids)
        counts.append(frame)
        lines = np.maximum(lines, known)
    if layout.shares:
        included = included & (lines >= spec.minimum_lines)
    keep = pl.Series(included, dtype=pl.Boolean)
    chosen = customers.filter(keep)
    absent = [pl.lit(None).alias(item.name) for item in left_out if item.name in layout.columns]
    chosen = chosen.with_columns(absent)
    columns = [as_float(chosen, name) for name in layout.numeric]
    columns += [as_text(chosen, name) for name in layout.categorical]
    parts = [pl.DataFrame(columns)] if columns else []
    inputs = pl.concat([*parts, *(frame.filter(keep) for frame in counts)], how="horizontal")
    return FeatureMatrix(spec.axis, ids, included, inputs, layout, tuple(left_out))


def _reasons(left_out: list[LeftOut]) -> str:
    if not left_out:
        return "The axis names no features."
    return "No feature is left: " + "; ".join(f"{item.name}: {item.reason}" for item in left_out) + "."


def _off(spec: AxisSpec, ids: pl.Series, left_out: tuple[LeftOut, ...], reason: str) -> FeatureMatrix:
    return FeatureMatrix(
        spec.axis, ids, np.zeros(len(ids), dtype=bool), pl.DataFrame(), InputLayout(), left_out, reason
    )


def _sorted_customers(customers: pl.DataFrame, spec: AxisSpec) -> pl.DataFrame:
    if "customer_id" not in customers.columns:
        raise ValueError(f"Axis {spec.axis}: the customer table has no column customer_id.")
    ids = customers["customer_id"].cast(pl.String)
    if ids.null_count() or ids.n_unique() != len(ids):
        raise ValueError(f"Axis {spec.axis}: the customer table must have one row per customer_id, none of them null.")
    return customers.with_columns(ids).sort("customer_id")


def _buyers(customers: pl.DataFrame) -> NDArray[np.bool_]:
    if "is_buyer" in customers.columns:
        return np.asarray(customers["is_buyer"].cast(pl.Boolean).fill_null(value=False).to_numpy(), dtype=bool)
    if "order_count" in customers.columns:
        return np.asarray((customers["order_count"].cast(pl.Float64).fill_null(0) > 0).to_numpy(), dtype=bool)
    return np.ones(customers.height, dtype=bool)


def _dimension(shares: pl.DataFrame | None, dimension: str) -> pl.DataFrame | None:
    """customer_id, value, lines, count of the known values of a dimension; None when there are none."""
    if shares is None or shares.is_empty():
        return None
    count = "product_count" if "product_count" in shares.columns else "line_count"
    table = (
        shares.lazy()
        .filter((pl.col("dimension") == dimension) & pl.col("value").is_not_null() & (pl.col("value") != UNKNOWN))
        .select(
            pl.col("customer_id").cast(pl.String),
            pl.col("value").cast(pl.String),
            pl.col("line_count").cast(pl.Float64).alias("lines"),
            pl.coalesce(pl.col(count), pl.col("line_count")).cast(pl.Float64).alias("count"),
        )
        .collect()
    )
    return None if table.is_empty() else table


def _vocabulary(
    shares: pl.DataFrame | None, dimension: str, spec: AxisSpec
) -> tuple[ShareBlock | None, pl.DataFrame | None, str]:
    table = _dimension(shares, dimension)
    if table is None:
        return None, None, f"no order line has a known {dimension}"
    totals = table.group_by("value").agg(pl.col("count").sum()).sort(["count", "value"], descending=[True, False])
    if totals.height < 2:
        return None, None, f"every line has the same {dimension} ({totals['value'][0]})"
    values = totals["value"].head(spec.maximum_share_values).sort().to_list()
    return ShareBlock(dimension, tuple(values), totals.height > len(values)), table, ""


def _spread(table: pl.DataFrame, block: ShareBlock, ids: pl.Series) -> tuple[pl.DataFrame, NDArray[np.float64]]:
    """Counts (N rows, one column per value of the block) and known lines (N)."""
    rows = (
        table.lazy()
        .join(
            pl.LazyFrame({"customer_id": ids, "row": np.arange(len(ids), dtype=np.int64)}),
            on="customer_id",
            how="inner",
        )
        .join(
            pl.LazyFrame({"value": list(block.values), "column": np.arange(len(block.values), dtype=np.int64)}),
            on="value",
            how="left",
        )
        .with_columns(pl.col("column").fill_null(len(block.values)))
        .select("row", "column", "lines", "count")
        .collect()
    )
    row, column = rows["row"].to_numpy(), rows["column"].to_numpy()
    width = len(block.columns)
    in_vocabulary = column < width  # without an "(other)" column, new values are not counted
    lines = np.bincount(row, weights=rows["lines"].to_numpy(), minlength=len(ids))
    cells = np.bincount(
        row[in_vocabulary] * width + column[in_vocabulary],
        weights=rows["count"].to_numpy()[in_vocabulary],
        minlength=len(ids) * width,
    ).reshape(len(ids), width)
    frame = pl.DataFrame({name: cells[:, place] for place, name in enumerate(block.columns)})
    return frame, np.asarray(lines, dtype=np.float64)


def _amount_block(
    customers: pl.DataFrame, spec: AxisSpec, left_out: list[LeftOut]
) -> tuple[ShareBlock | None, pl.DataFrame | None, str]:
    present: list[str] = []
    for name in spec.share_columns:
        if name not in customers.columns:
            left_out.append(LeftOut(name, "the column is not in the customer table"))
        elif not (customers[name].cast(pl.Float64, strict=False).fill_null(0) > 0).any():
            left_out.append(LeftOut(name, "no customer has an amount in it"))
        else:
            present.append(name)
    if len(present) < 2:
        return None, None, "fewer than two of its columns have amounts"
    block = ShareBlock(_SHARE_COLUMNS, tuple(present), has_other=False)
    return block, _amount_counts(customers, block), ""


def _amount_counts(customers: pl.DataFrame, block: ShareBlock) -> pl.DataFrame:
    """Amounts as counts: each customer's shares of amount times the orders behind them (ten when not known).

    Amounts have no sampling unit of their own; the number of orders says how much a customer's shares can be
    trusted, which is all that the shrinkage needs.
    """
    amounts = np.column_stack(
        [customers[name].cast(pl.Float64, strict=False).fill_null(0).clip(0).to_numpy() for name in block.values]
    )
    total = amounts.sum(axis=1, keepdims=True)
    orders = np.full(customers.height, 10.0)
    if "order_count" in customers.columns:
        given = customers["order_count"].cast(pl.Float64).fill_null(10.0).to_numpy()
        orders = np.where(given > 0, given, 10.0)
    counts = np.divide(amounts, total, out=np.zeros_like(amounts), where=total > 0) * orders[:, None]
    return pl.DataFrame({name: counts[:, place] for place, name in enumerate(block.columns)})
