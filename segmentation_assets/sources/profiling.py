"""The data profile: what an analyst's first three notebooks would print about each column, as one table.

Few passes per table: one for counts, moments and quantiles, one for outliers, one for frequent values. Columns that
are personal, protected or free text, and texts the contract does not declare, get counts only; so do ids. A frequent
value is named only when at least `SMALLEST_GROUP` rows have it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import polars as pl

from segmentation_assets.sources.contract import CONTRACT, Kind
from segmentation_assets.warehouse.connection import quote, quote_name
from segmentation_assets.warehouse.tables import count_rows, describe

SMALLEST_GROUP = 50
FREQUENT_VALUES = 5
#: Beyond this many rows quantiles come from every k-th row and distinct counts of text are estimated (HyperLogLog).
EXACT_ROWS = 1_000_000
#: A value this many interquartile ranges beyond a quartile is an outlier (Tukey's "far out").
OUTLIER_RANGES = 3.0
QUANTILES = {"p01": 0.01, "p25": 0.25, "p50": 0.50, "p75": 0.75, "p99": 0.99}

PROFILE_TYPES: dict[str, str] = {
    "table_name": "VARCHAR", "column_name": "VARCHAR", "sql_type": "VARCHAR", "row_count": "BIGINT",
    "null_count": "BIGINT", "null_share": "DOUBLE", "distinct_count": "BIGINT", "minimum": "VARCHAR",
    "maximum": "VARCHAR", "mean": "DOUBLE", "deviation": "DOUBLE", "p01": "DOUBLE", "p25": "DOUBLE",
    "p50": "DOUBLE", "p75": "DOUBLE", "p99": "DOUBLE", "outlier_count": "BIGINT", "top_values": "VARCHAR",
}  # fmt: skip

PROFILE_COLUMNS: dict[str, str] = {
    "table_name": "The table.",
    "column_name": "The column.",
    "row_count": "Rows of the table.",
    "null_count": "Rows without a value.",
    "p01": "1 % of the values are at or below this one.",
    "p25": "Lower quartile.",
    "p50": "Median.",
    "p75": "Upper quartile.",
    "p99": "99 % of the values are at or below this one.",
    "sql_type": "DuckDB type of the column.",
    "null_share": "Share of rows without a value.",
    "distinct_count": "Different values; an estimate for texts of tables with more than a million rows.",
    "minimum": "Smallest value of numbers and dates; empty for ids, texts and protected columns.",
    "maximum": "Largest value of numbers and dates; empty for ids, texts and protected columns.",
    "deviation": "Standard deviation.",
    "outlier_count": "Values more than three interquartile ranges beyond a quartile: extreme, kept and flagged.",
    "top_values": "JSON of the most frequent values of a category and their rows, each with at least 50 rows.",
}

_POLARS = {"VARCHAR": pl.String, "BIGINT": pl.Int64, "DOUBLE": pl.Float64}
_NUMBERS = (Kind.INTEGER, Kind.NUMBER, Kind.QUANTITY, Kind.MONEY, Kind.SHARE, Kind.YEAR)


@dataclass(frozen=True)
class _Profiled:
    """A column and what may be told about it."""

    name: str
    sql_type: str
    is_number: bool = False
    is_time: bool = False
    is_category: bool = False
    is_key: bool = False


def profile_tables(con: duckdb.DuckDBPyConnection, tables: Sequence[str]) -> pl.DataFrame:
    """One row per column of `tables` (`clean/orders` or `clean.orders`), in their order, with `PROFILE_TYPES`.

    ValueError for a table of the people database: personal data is not profiled.
    """
    rows: list[dict[str, Any]] = []
    for table in tables:
        schema, name = table.replace("/", ".").split(".")
        if schema == "people":
            raise ValueError(f"{table} holds personal data and is not profiled.")
        columns = [_profiled(name, facts.name, facts.sql_type) for facts in describe(con, table)]
        rows += _profile_table(con, table, columns)
    frame = pl.DataFrame(rows, schema={key: _POLARS[sql_type] for key, sql_type in PROFILE_TYPES.items()})
    # Sums of floats differ in the last digits with the number of threads.
    return frame.with_columns(pl.col("mean", "deviation", "null_share").round_sig_figs(9))


def _profiled(table: str, name: str, sql_type: str) -> _Profiled:
    contract = CONTRACT.get(table)
    if contract is not None and name in contract.column_names:
        column = contract.column(name)
        if column.is_personal or column.is_protected or column.is_free_text or column.kind in (Kind.ID, Kind.TEXT):
            return _Profiled(name, sql_type, is_key=contract.key == (name,))
        return _Profiled(
            name,
            sql_type,
            is_number=column.kind in _NUMBERS,
            is_time=column.kind in (Kind.DATE, Kind.TIMESTAMP),
            is_category=column.kind in (Kind.CATEGORY, Kind.BOOLEAN),
        )
    # Undeclared texts could be anything: counts only.
    is_number = sql_type in ("DOUBLE", "BIGINT", "INTEGER") or sql_type.startswith("DECIMAL")
    return _Profiled(name, sql_type, is_number=is_number, is_category=sql_type == "BOOLEAN")


def _profile_table(con: duckdb.DuckDBPyConnection, table: str, columns: Sequence[_Profiled]) -> list[dict[str, Any]]:
    name = quote_name(table)
    rows = count_rows(con, table)
    found: list[dict[str, Any]] = [
        {"table_name": table.replace("/", "."), "column_name": c.name, "sql_type": c.sql_type, "row_count": rows}
        for c in columns
    ]
    if rows == 0:
        return [{**row, "null_count": 0, "distinct_count": 0} for row in found]
    aggregates: list[str] = []
    places: list[tuple[int, str]] = []

    def ask(place: int, key: str, expression: str) -> None:
        places.append((place, key))
        aggregates.append(expression)

    step = -(-rows // EXACT_ROWS)
    sampled = f" filter (where rowid % {step} = 0)" if step > 1 else ""
    for place, column in enumerate(columns):
        x = quote(column.name)
        ask(place, "null_count", f"count_if({x} is null)")
        if column.is_key:
            ask(place, "distinct_count", "count(*)")
        elif step > 1 and column.sql_type == "VARCHAR":
            ask(place, "distinct_count", f"approx_count_distinct({x})")
        else:
            ask(place, "distinct_count", f"count(distinct {x})")
        if column.is_number or column.is_time:
            ask(place, "minimum", f"min({x})::VARCHAR")
            ask(place, "maximum", f"max({x})::VARCHAR")
        if column.is_number:
            ask(place, "mean", f"favg({x}::DOUBLE)")
            ask(place, "deviation", f"stddev_samp({x}::DOUBLE)")
            shares = ", ".join(str(share) for share in QUANTILES.values())
            ask(place, "quantiles", f"quantile_disc({x}::DOUBLE, [{shares}]){sampled}")
    values = con.execute(f"select {', '.join(aggregates)} from {name}").fetchall()[0]
    for (place, key), value in zip(places, values, strict=True):
        if key == "quantiles":
            found[place].update(zip(QUANTILES, value or [None] * len(QUANTILES), strict=True))
        else:
            found[place][key] = value
    for row in found:
        row["null_share"] = row["null_count"] / rows
    _add_outliers(con, name, columns, found)
    _add_frequent_values(con, name, columns, found)
    return found


def _add_outliers(
    con: duckdb.DuckDBPyConnection, name: str, columns: Sequence[_Profiled], found: list[dict[str, Any]]
) -> None:
    asked: list[tuple[int, str]] = []
    for place, column in enumerate(columns):
        row = found[place]
        if column.is_number and row.get("p25") is not None:
            reach = OUTLIER_RANGES * (row["p75"] - row["p25"])
            x = f"{quote(column.name)}::DOUBLE"
            low, high = row["p25"] - reach, row["p75"] + reach
            asked.append((place, f"count_if({x} < {low!r} or {x} > {high!r})"))
    if asked:
        values = con.execute(f"select {', '.join(part for _, part in asked)} from {name}").fetchall()[0]
        for (place, _), value in zip(asked, values, strict=True):
            found[place]["outlier_count"] = value


def _add_frequent_values(
    con: duckdb.DuckDBPyConnection, name: str, columns: Sequence[_Profiled], found: list[dict[str, Any]]
) -> None:
    parts = [
        f"(select {place} as place, {quote(column.name)}::VARCHAR as value, count(*) as n from {name} "
        f"where {quote(column.name)} is not null group by {quote(column.name)} "
        f"having count(*) >= {SMALLEST_GROUP} order by n desc, value limit {FREQUENT_VALUES})"
        for place, column in enumerate(columns)
        if column.is_category
    ]
    if not parts:
        return
    tops: dict[int, dict[str, int]] = {}
    for place, value, n in con.execute(f"{' union all '.join(parts)} order by 1, n desc, value").fetchall():
        tops.setdefault(place, {})[value] = n
    for place, top in tops.items():
        found[place]["top_values"] = json.dumps(top, ensure_ascii=False)
