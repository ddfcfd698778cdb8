"""Who moved from which segment to which, with the money they stand for.

Used twice: between two frozen versions on today's customers (what a new fit changes), and by one version between two
days (what the customers did). Customers and money add up to both sides. Ids on the two sides are taken as they are:
whether an id still means the same segment is `identity`.
"""

from __future__ import annotations

import datetime as dt

import polars as pl

#: Where customers come from who were not there before, and where those go who are gone.
NEW_ID = "(new)"
GONE_ID = "(gone)"
_MONEY = pl.Decimal(38, 4)

MOVES_SCHEMA: dict[str, type[pl.DataType] | pl.DataType] = {
    "axis": pl.String,
    "from_version": pl.Int64,
    "to_version": pl.Int64,
    "from_as_of": pl.Date,
    "to_as_of": pl.Date,
    "from_segment_id": pl.String,
    "to_segment_id": pl.String,
    "customers": pl.Int64,
    "revenue_amount": _MONEY,
    "customer_share": pl.Float64,
}


def segment_moves(
    axis: str,
    left: pl.DataFrame,
    right: pl.DataFrame,
    money: pl.DataFrame,
    *,
    from_version: int,
    to_version: int,
    from_as_of: dt.date,
    to_as_of: dt.date,
) -> pl.DataFrame:
    """Customers and their money by segment before and after (MOVES_SCHEMA), stayers included, by from and to.

    `left`, `right`: customer_id and segment_id, one row per customer, before and after. `money`: customer_id and
    monetary_amount, one row per customer; who is not in it, or has null, stands for nothing. revenue_amount is the
    exact decimal sum. customer_share is the share of the from segment's customers. Customers on the right only come
    from NEW_ID, those on the left only go to GONE_ID. ValueError when a customer occurs twice or without a segment.
    """
    before = _one_segment_each(left, axis, "before", "from_segment_id")
    after = _one_segment_each(right, axis, "after", "to_segment_id")
    amounts = _one_amount_each(money, axis)
    moves = (
        before.join(after, on="customer_id", how="full", coalesce=True)
        .join(amounts, on="customer_id", how="left")
        .with_columns(
            pl.col("from_segment_id").fill_null(NEW_ID),
            pl.col("to_segment_id").fill_null(GONE_ID),
            pl.col("monetary_amount").fill_null(pl.lit(0, dtype=_MONEY)),
        )
        .group_by("from_segment_id", "to_segment_id")
        .agg(
            pl.len().cast(pl.Int64).alias("customers"),
            pl.col("monetary_amount").sum().cast(_MONEY).alias("revenue_amount"),
        )
    )
    return (
        moves.with_columns(
            pl.lit(axis).alias("axis"),
            pl.lit(from_version, dtype=pl.Int64).alias("from_version"),
            pl.lit(to_version, dtype=pl.Int64).alias("to_version"),
            pl.lit(from_as_of, dtype=pl.Date).alias("from_as_of"),
            pl.lit(to_as_of, dtype=pl.Date).alias("to_as_of"),
            (pl.col("customers") / pl.col("customers").sum().over("from_segment_id")).round(6).alias("customer_share"),
        )
        .sort(*_by_id("from_segment_id", NEW_ID), *_by_id("to_segment_id", GONE_ID))
        .select(pl.col(name).cast(kind) for name, kind in MOVES_SCHEMA.items())
    )


def _by_id(column: str, last: str) -> tuple[pl.Expr, ...]:
    """S2 before S10, and what is no segment at the end."""
    return pl.col(column) == last, pl.col(column).str.len_chars(), pl.col(column)


def _one_segment_each(frame: pl.DataFrame, axis: str, side: str, name: str) -> pl.DataFrame:
    table = frame.select(pl.col("customer_id").cast(pl.String), pl.col("segment_id").cast(pl.String).alias(name))
    _refuse_repeated(table, axis, f"the assignments {side}")
    if table[name].null_count():
        raise ValueError(
            f"Axis {axis}: {table[name].null_count()} customers of the assignments {side} have no segment_id; "
            "customers outside the clustering have an id too. Materialise the assignments again."
        )
    return table


def _one_amount_each(money: pl.DataFrame, axis: str) -> pl.DataFrame:
    table = money.select(pl.col("customer_id").cast(pl.String), pl.col("monetary_amount").cast(_MONEY))
    _refuse_repeated(table, axis, "the money")
    return table


def _refuse_repeated(table: pl.DataFrame, axis: str, what: str) -> None:
    ids = table["customer_id"]
    if ids.null_count() or ids.n_unique() != len(ids):
        repeated = len(ids) - ids.n_unique()
        raise ValueError(
            f"Axis {axis}: {what} must have one row per customer_id, none of them null; "
            f"{repeated} rows are repeated and {ids.null_count()} have no id."
        )
