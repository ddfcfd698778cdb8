"""What every command of the command line uses: the option of the stores, the two consoles, and how things are said.

What belongs here: what commands of more than one module ask or print alike. What does not: a command, anything that is
decided, and an import that makes `segmentation --help` slow to start.
"""

from __future__ import annotations

import datetime as dt
import os
import shlex
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from segmentation_assets.settings import Home, SettingsError, find_default_home
from segmentation_assets.warehouse.connection import WarehouseBusyError, WarehouseMissingError

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Folder of the stores; else SEGMENTATION_HOME, else data/.")
]
out = Console(highlight=False)
# Errors name paths, and a path that is broken over two lines cannot be copied.
err = Console(stderr=True, highlight=False, soft_wrap=True)

_MOST_LISTED = 12


@contextmanager
def sentences() -> Iterator[None]:
    """Turn what a user can mend into one sentence and exit code 2."""
    try:
        yield
    except (WarehouseBusyError, WarehouseMissingError, ValueError) as error:  # wrong settings are a ValueError too
        err.print(f"[red]{escape(str(error))}[/red]")
        raise typer.Exit(2) from None


def require_published(place: Home) -> None:
    """SettingsError where nothing was published yet."""
    if not place.published.exists():
        raise SettingsError(f"Nothing is published in {place.path} yet. `segmentation run` makes it.")


def utc_now() -> dt.datetime:
    """The time now as the state store keeps it: UTC without a zone, in whole seconds."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)


def at_home(place: Home) -> str:
    """What a command that is told to the user needs to find the same stores: ` --home FOLDER`, or nothing."""
    return "" if place == find_default_home() else f" --home {shlex.quote(str(place.path))}"


def say_next(place: Home, command: str, when: str) -> None:
    """Tell the command that brings what was done into the tables."""
    out.print(f"{when} `segmentation {command}{at_home(place)}`.", markup=False, soft_wrap=True)


def listed(names: Collection[str]) -> str:
    """The first names and how many more there are; `none` where there are none."""
    if not names:
        return "none"
    more = f" and {len(names) - _MOST_LISTED:,} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(list(names)[:_MOST_LISTED]) + more


def wide_console() -> Console:
    """Where tables are printed: into a pipe or a file a row stays one line, however wide, unless COLUMNS is set."""
    is_bounded = out.is_terminal or os.environ.get("COLUMNS")
    return Console(highlight=False, width=None if is_bounded else 10_000)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> None:
    """Print rows of text under their header; the columns named in `right` are of numbers."""
    table = Table(box=None, header_style="bold")
    for name in header:
        table.add_column(name, justify="right" if name in right else "left")
    for row in rows:
        table.add_row(*map(escape, row))
    wide_console().print(table)
