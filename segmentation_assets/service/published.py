"""Reading the published copy: rows as plain values, a new copy noticed when it is swapped in.

What belongs here: opening, swapping, and one page of a table. What does not: what is shown of which table (`api`).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from segmentation_assets.warehouse.connection import (
    Engine,
    WarehouseBusyError,
    WarehouseMissingError,
    connect,
    quote,
    quote_name,
)

_ENGINE = Engine(threads=2, memory_limit="1GB", wait_seconds=1.0)


class UnavailableError(RuntimeError):
    """The published copy cannot be read now, or does not have the table."""


@dataclass
class _Opened:
    stamp: tuple[int, int, int]
    stack: ExitStack
    con: duckdb.DuckDBPyConnection
    readers: int = 0
    is_old: bool = False


@dataclass(frozen=True)
class Page:
    """Some rows of a table in its order, of how many, and the data's as-of date."""

    items: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    as_of: str = ""


class PublishedReader:
    """The published copy, opened once and anew when another file stands in its place. Safe in several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._opened: _Opened | None = None

    def close(self) -> None:
        """Close it, as soon as nobody reads."""
        with self._guard:
            if self._opened is not None:
                self._retire(self._opened)
                self._opened = None

    def page(
        self,
        table: str,
        columns: Sequence[str],
        where: Mapping[str, str | None],
        order: Sequence[str],
        *,
        limit: int,
        offset: int,
    ) -> Page:
        """Rows of `schema.table` with `columns` (null where the copy lacks one), those that equal `where` (None: any).

        UnavailableError where there is no copy, it cannot be read, or it does not have the table or an `order` column.
        """
        with self._cursor() as con:
            schema, name = table.split(".")
            has = {
                row[0]
                for row in con.execute(
                    "select column_name from duckdb_columns() where database_name = 'warehouse' "
                    "and schema_name = $schema and table_name = $name",
                    {"schema": schema, "name": name},
                ).fetchall()
            }
            if not {*order, *where} <= has:
                raise UnavailableError(f"The published copy has no {table} yet. `segmentation run` makes it.")
            given = {column: value for column, value in where.items() if value is not None}
            condition = " and ".join(f"{quote(column)} = ${column}" for column in given) or "true"
            chosen = ", ".join(
                quote(column) if column in has else f"null as {quote(column)}" for column in dict.fromkeys(columns)
            )
            source = f"from {quote_name(table)} where {condition}"
            total = con.execute(f"select count(*) {source}", given).fetchall()[0][0]
            query = (
                f"select {chosen} {source} order by {', '.join(map(quote, order))} "
                f"limit {int(limit)} offset {int(offset)}"
            )
            found = con.execute(query, given)
            names = [part[0] for part in found.description or ()]
            items = [dict(zip(names, map(_plain, row), strict=True)) for row in found.fetchall()]
            as_of = con.execute("select as_of from raw.source").fetchall()
        return Page(items, int(total), str(as_of[0][0]) if as_of else "")

    def model_version(self, axis: str) -> int | None:
        """The version of the axis's model that the copy's segments are of; None where it says none."""
        page = self.page(f"segments.{axis}_model", ["version"], {}, ["version"], limit=1, offset=0)
        return int(page.items[0]["version"]) if page.items else None

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            opened = self._take()
        except WarehouseMissingError:
            raise UnavailableError("Nothing is published yet. `segmentation run` makes it.") from None
        except (WarehouseBusyError, duckdb.Error, OSError):
            raise UnavailableError(
                "The published copy cannot be opened now. Try again in a minute; if that does not help, "
                "`segmentation run` makes a new one."
            ) from None
        try:
            with opened.con.cursor() as cursor:
                cursor.execute("use warehouse")
                yield cursor
        except duckdb.Error:
            raise UnavailableError(
                "The published copy could not be read. If trying again does not help, `segmentation run` renews it."
            ) from None
        finally:
            with self._guard:
                opened.readers -= 1
                if opened.is_old and not opened.readers:
                    opened.stack.close()

    def _take(self) -> _Opened:
        with self._guard:
            try:
                found = self._path.stat()
            except FileNotFoundError:
                raise WarehouseMissingError from None
            stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
            if self._opened is None or self._opened.stamp != stamp:
                stack = ExitStack()
                con = stack.enter_context(connect(self._path, read_only=True, engine=_ENGINE))
                if self._opened is not None:
                    self._retire(self._opened)
                self._opened = _Opened(stamp, stack, con)
            self._opened.readers += 1
            return self._opened

    def _retire(self, opened: _Opened) -> None:
        opened.is_old = True
        if not opened.readers:
            opened.stack.close()


def _plain(value: Any) -> Any:
    """JSON knows no number that is none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
