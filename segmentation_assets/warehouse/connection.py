"""Opening DuckDB files: one writer at a time, a bounded wait, and a message that names who holds the file."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psutil

#: Files are written so that DuckDB 1.5 clients can read them too (analysts' tools lag behind the engine).
STORAGE_VERSION = "v1.5.0"

_HOLDER = re.compile(r"\(PID (\d+)\)")
_POLL_SECONDS = 0.1


class WarehouseBusyError(RuntimeError):
    """Another process holds the database file and did not let go within the wait."""


class WarehouseMissingError(RuntimeError):
    """The database file is not there yet."""


@dataclass(frozen=True)
class Engine:
    """Limits of the engine. 0 threads means all cores; an empty memory limit means DuckDB's own default."""

    threads: int = 0
    memory_limit: str = ""
    wait_seconds: float = 30.0

    def config(self) -> dict[str, str | bool | int | float | list[str]]:
        """The DuckDB configuration these limits mean."""
        config: dict[str, str | bool | int | float | list[str]] = {}
        if self.threads:
            config["threads"] = self.threads
        if self.memory_limit:
            config["memory_limit"] = self.memory_limit
        return config


def quote(identifier: str) -> str:
    """`identifier` as a quoted SQL identifier."""
    return '"' + identifier.replace('"', '""') + '"'


def quote_name(name: str) -> str:
    """A dotted or slashed table name with every part quoted: `clean/orders` becomes `"clean"."orders"`."""
    return ".".join(quote(part) for part in re.split(r"[./]", name))


def literal(text: str) -> str:
    """`text` as a SQL string literal."""
    return "'" + str(text).replace("'", "''") + "'"


def _holder(message: str) -> str:
    """Who holds the file, in words, from DuckDB's own message."""
    found = _HOLDER.search(message)
    if not found:
        return "another process"
    pid = int(found.group(1))
    try:
        words = [part for part in psutil.Process(pid).cmdline() if not part.startswith("-")][:3]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return f"process {pid}"
    return f"process {pid} ({' '.join(Path(word).name for word in words)})"


def attach(con: duckdb.DuckDBPyConnection, path: Path, name: str, *, read_only: bool, wait_seconds: float) -> None:
    """Attach the database file at `path` as `name`, waiting up to `wait_seconds` for another process.

    Raises WarehouseMissingError when it should be read and is not there, WarehouseBusyError when the wait is over.
    """
    if read_only and not path.exists():
        raise WarehouseMissingError(f"There is no database at {path}. `segmentation run` makes it.")
    options = "READ_ONLY" if read_only else f"STORAGE_VERSION '{STORAGE_VERSION}'"
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            con.execute(f"attach {literal(str(path))} as {quote(name)} ({options})")
            return
        except duckdb.IOException as error:
            message = str(error)
            if "lock" not in message.lower():
                raise
            if time.monotonic() >= deadline:
                raise WarehouseBusyError(
                    f"{path.name} is held open by {_holder(message)}, which did not let go within "
                    f"{wait_seconds:g} s. Close it there (analysts: open published.duckdb, never "
                    f"{path.name}) and run again; nothing was changed."
                ) from None
            time.sleep(_POLL_SECONDS)


@contextmanager
def connect(
    path: Path, *, read_only: bool = False, people: Path | None = None, engine: Engine | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the database at `path` as the default catalog; close it whatever happens.

    With `people`, that database is attached too, so `people.contacts` resolves; without it no statement can see
    personal data. One transaction may write to one of the two only.
    """
    engine = engine or Engine()
    con = duckdb.connect(":memory:", config=engine.config())
    try:
        con.execute("set TimeZone = 'UTC'")
        # What does not fit in memory is spilled beside the database, never into the current directory.
        con.execute(f"set temp_directory = {literal(str(path.parent / 'spill'))}")
        attach(con, path, "warehouse", read_only=read_only, wait_seconds=engine.wait_seconds)
        con.execute("use warehouse")
        if people is not None:
            is_new = not people.exists()
            attach(con, people, "people", read_only=read_only, wait_seconds=engine.wait_seconds)
            if is_new:
                people.chmod(0o600)  # contact details are their owner's to read
        yield con
    finally:
        con.close()


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Everything inside is written or nothing is."""
    con.execute("begin")
    try:
        yield
    except BaseException:  # Ctrl-C too is rolled back, and goes on after that
        con.execute("rollback")
        raise
    con.execute("commit")
