"""What earlier runs left: segment sizes and worth, so that a page can say what moved."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from decimal import Decimal

import duckdb
import polars as pl

from segmentation_assets.orchestration.warehouse import Warehouse, source_row
from segmentation_assets.state.store import SnapshotRecord, open_state


@dataclass(frozen=True)
class Previous:
    """The segments as the last run on other data left them; both None at the first run."""

    frame: pl.DataFrame | None = None
    as_of: dt.date | None = None


def source_fingerprint(con: duckdb.DuckDBPyConnection) -> str:
    """A hash of what the source gave: as-of date and rows per table. The same data give the same hash."""
    rows = con.execute("from quality.row_accounting order by table_name").fetchall()
    return hashlib.sha256(repr((source_row(con), rows)).encode()).hexdigest()


def previous_summary(warehouse: Warehouse, con: duckdb.DuckDBPyConnection) -> Previous:
    """Segments of the newest snapshot of other data, with the columns that segments.segment_summary has too."""
    with open_state(warehouse.place.state) as state:
        snapshot = state.last_snapshot(other_than_source=source_fingerprint(con))
    if snapshot is None:
        return Previous()
    rows = [
        {
            "axis": row.axis,
            "segment_id": row.segment_id,
            "name": row.name,
            "customers": row.customers,
            "reachable_customers": row.reachable_customers,
            "revenue_amount": row.revenue_amount,
        }
        for row in snapshot.segments
    ]
    frame = pl.DataFrame(rows).with_columns(pl.col("revenue_amount").cast(pl.Decimal(38, 4)))
    total = pl.col("revenue_amount").cast(pl.Float64)
    of_axis = total.sum().over("axis")
    share = pl.when(of_axis > 0).then(total / of_axis).round(9)
    return Previous(frame.with_columns(revenue_share=share), snapshot.as_of)


def remember_summary(warehouse: Warehouse, con: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Keep this run's segments for the next run to compare with."""
    rows = con.execute(
        "select axis, segment_id, name, customers, reachable_customers, coalesce(revenue_amount, 0) "
        "from segments.segment_summary order by axis, segment_id"
    ).fetchall()
    records = [
        SnapshotRecord(axis, segment_id, name, customers, reachable, Decimal(revenue))
        for axis, segment_id, name, customers, reachable, revenue in rows
    ]
    with open_state(warehouse.place.state) as state:
        state.save_snapshot(run_id, source_row(con)[0], source_fingerprint(con), records)
