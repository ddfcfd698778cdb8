"""Publishing: a consistent read-only copy of the closed warehouse, swapped in atomically.

The copy is made by a child process: opening and closing the database file in a process that also opens it through
DuckDB would drop that process's lock (POSIX locks belong to the process), and a second writer could get in.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from segmentation_assets.warehouse.connection import Engine, connect, literal, quote, quote_name

_COPY = """
import os, shutil, sys
source, scratch = sys.argv[1:3]
with open(source, "rb") as reader, open(scratch, "wb") as writer:
    shutil.copyfileobj(reader, writer, 16 * 1024 * 1024)
    writer.flush()
    os.fsync(writer.fileno())
"""


class PublishError(RuntimeError):
    """The copy could not be made; the one before is as it was."""


def publish(
    warehouse: Path,
    published: Path,
    *,
    engine: Engine | None = None,
    hidden_columns: Mapping[str, Sequence[str]] | None = None,
    hidden_json: Mapping[str, Sequence[str]] | None = None,
) -> int:
    """Copy `warehouse` to `published` and swap it in; returns its size in bytes.

    `hidden_columns` (columns by table) are dropped from the copy, and the keys in `hidden_json` (by value of
    `quality.rejected_rows.table_name`) are taken out of rejected rows' JSON there: free text may name people.
    A reader of the file before keeps what it has; a new reader sees the new one. Raises PublishError.
    """
    with connect(warehouse, engine=engine) as con:
        con.execute("checkpoint warehouse")
    if warehouse.with_suffix(".duckdb.wal").exists():
        raise PublishError(
            f"{warehouse.name} has changes that are not in the file yet: another process has it open. "
            "Close it there and run again; the published copy is as it was."
        )
    scratch = published.with_suffix(".tmp")
    scratch_log = scratch.with_name(scratch.name + ".wal")
    try:
        # What a run killed at this point left: its log belongs to another copy and would keep this one from opening.
        scratch.unlink(missing_ok=True)
        scratch_log.unlink(missing_ok=True)
        done = subprocess.run(  # noqa: S603 - our own interpreter and code; only the two paths vary
            [sys.executable, "-I", "-c", _COPY, str(warehouse), str(scratch)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise PublishError(
                f"The copy to {published.name} failed ({last}). Is the disk full? The one before is as it was."
            )
        _hide(scratch, engine, hidden_columns or {}, hidden_json or {})
        scratch.replace(published)
    finally:
        scratch.unlink(missing_ok=True)
        scratch_log.unlink(missing_ok=True)
    return published.stat().st_size


def _hide(
    copy: Path,
    engine: Engine | None,
    hidden_columns: Mapping[str, Sequence[str]],
    hidden_json: Mapping[str, Sequence[str]],
) -> None:
    """Take free text out of the copy: no query finds it there (bytes of dropped columns may stay in the file)."""
    with connect(copy, engine=engine) as con:
        present = {
            (f"{schema}/{table}", column)
            for schema, table, column in con.execute(
                "select schema_name, table_name, column_name from duckdb_columns() where database_name = 'warehouse'"
            ).fetchall()
        }
        for table, columns in sorted(hidden_columns.items()):
            for column in columns:
                if (table, column) in present:
                    con.execute(f"alter table {quote_name(table)} drop column {quote(column)}")
        if ("quality/rejected_rows", "row_json") in present:
            for table, keys in sorted(hidden_json.items()):
                patch = "{" + ", ".join(f'"{key}": null' for key in keys) + "}"
                con.execute(
                    "update quality.rejected_rows set row_json = json_merge_patch(row_json::json, "
                    f"{literal(patch)}::json)::varchar where table_name = {literal(table)}"
                )
        con.execute("checkpoint warehouse")
