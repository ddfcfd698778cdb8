"""Writing a table whole: declared types, comments on table and columns, one transaction around it by the caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import polars as pl

from segmentation_assets.warehouse.connection import literal, quote, quote_name

Parameters = Mapping[str, object]


@dataclass(frozen=True)
class ColumnFacts:
    """A column as it is in the database."""

    name: str
    sql_type: str
    comment: str


def ensure_schema(con: duckdb.DuckDBPyConnection, table: str) -> None:
    """Make the schema of a warehouse table (`clean/orders` or `clean.orders`) unless it is there."""
    schema = table.replace("/", ".").split(".")[0]
    if schema != "people":  # a catalog of its own, whose tables sit in its main schema
        con.execute(f"create schema if not exists {quote(schema)}")


def has_table(con: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether `schema.table` (or `people.table`) exists on this connection."""
    schema, name = table.replace("/", ".").split(".")
    return bool(
        con.execute(
            "select count(*) from duckdb_tables() where table_name = $name and "
            "((database_name = 'people' and $schema = 'people') "
            " or (database_name <> 'people' and schema_name = $schema))",
            {"schema": schema, "name": name},
        ).fetchall()[0][0]
    )


def create_from_query(
    con: duckdb.DuckDBPyConnection, table: str, query: str, parameters: Parameters | None = None
) -> int:
    """Replace `table` by the rows of `query`; returns the number of rows."""
    ensure_schema(con, table)
    con.execute(f"create or replace table {quote_name(table)} as {query}", parameters or {})
    return count_rows(con, table)


def create_from_frame(
    con: duckdb.DuckDBPyConnection, table: str, frame: pl.DataFrame, types: Mapping[str, str] | None = None
) -> int:
    """Replace `table` by `frame`, casting to `types` (DuckDB types by column; required for each column).

    An all-null polars column has no type of its own, so every column is cast. With `types` the columns and their
    order are those of `types`: ValueError when the frame lacks or adds one. Returns the number of rows.
    """
    if types is None:
        types = {name: _sql_type(dtype) for name, dtype in frame.schema.items()}
    if set(types) != set(frame.columns):
        lacking, extra = sorted(set(types) - set(frame.columns)), sorted(set(frame.columns) - set(types))
        raise ValueError(f"{table}: the frame lacks {lacking} and has undeclared {extra}.")
    ensure_schema(con, table)
    columns = ", ".join(f"{quote(name)}::{sql_type} as {quote(name)}" for name, sql_type in types.items())
    con.register("_frame", frame.to_arrow())
    try:
        con.execute(f"create or replace table {quote_name(table)} as select {columns} from _frame")
    finally:
        con.unregister("_frame")
    return frame.height


_POLARS_TYPES: dict[type[pl.DataType], str] = {
    pl.String: "VARCHAR", pl.Boolean: "BOOLEAN", pl.Float64: "DOUBLE", pl.Float32: "DOUBLE",
    pl.Int64: "BIGINT", pl.Int32: "BIGINT", pl.Int16: "BIGINT", pl.Int8: "BIGINT",
    pl.UInt64: "BIGINT", pl.UInt32: "BIGINT", pl.UInt16: "BIGINT", pl.UInt8: "BIGINT",
    pl.Date: "DATE", pl.Datetime: "TIMESTAMP",
}  # fmt: skip


def _sql_type(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Decimal):
        return f"DECIMAL({dtype.precision or 38},{dtype.scale})"
    if isinstance(dtype, pl.List):
        inner = dtype.inner
        return f"{_sql_type(inner if isinstance(inner, pl.DataType) else inner())}[]"
    for known, sql_type in _POLARS_TYPES.items():
        if isinstance(dtype, known):
            return sql_type
    raise ValueError(f"A column of polars type {dtype} needs a declared DuckDB type.")


def count_rows(con: duckdb.DuckDBPyConnection, table: str) -> int:
    """Rows of `table`."""
    return int(con.execute(f"select count(*) from {quote_name(table)}").fetchall()[0][0])


def comment(
    con: duckdb.DuckDBPyConnection, table: str, description: str, columns: Mapping[str, str] | None = None
) -> None:
    """Comment on `table` and on those of its columns that `columns` describes; others keep none."""
    con.execute(f"comment on table {quote_name(table)} is {literal(description)}")
    present = {name for name, _ in columns_of(con, table)}
    for name, text in (columns or {}).items():
        if name in present:
            con.execute(f"comment on column {quote_name(table)}.{quote(name)} is {literal(text)}")


def columns_of(con: duckdb.DuckDBPyConnection, table: str) -> list[tuple[str, str]]:
    """Name and type of each column of `table`, in order; ten times cheaper than `describe`, without comments."""
    return [(row[0], row[1]) for row in con.execute(f"describe {quote_name(table)}").fetchall()]


def describe(con: duckdb.DuckDBPyConnection, table: str) -> Sequence[ColumnFacts]:
    """The columns of `table` in order, with type and comment."""
    schema, name = table.replace("/", ".").split(".")
    rows = con.execute(
        "select column_name, data_type, coalesce(comment, '') from duckdb_columns() where table_name = $name "
        "and ((database_name = 'people' and $schema = 'people') "
        "  or (database_name <> 'people' and schema_name = $schema)) order by column_index",
        {"schema": schema, "name": name},
    ).fetchall()
    return [ColumnFacts(*row) for row in rows]
