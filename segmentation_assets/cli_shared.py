"""What every command of the command line uses: the option of the stores, the two consoles, and how things are said.

What belongs here: what commands of more than one module ask or print alike. What does not: a command, anything that is
decided, and an import that makes `segmentation --help` slow to start.
"""

from __future__ import annotations

import datetime as dt
import errno
import getpass
import os
import shlex
import sys
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
#: What a folder or a disk refuses, which a person can mend.
_REFUSED_FILES = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EIO})
#: As the shell says it of a program that Ctrl-C ended.
INTERRUPTED = 128 + 2


@contextmanager
def sentences() -> Iterator[None]:
    """Turn what a user can mend into one sentence and exit code 2, and Ctrl-C into one and exit code 130."""
    try:
        yield
    except (WarehouseBusyError, WarehouseMissingError, ValueError) as error:  # wrong settings are a ValueError too
        raise _ended(str(error)) from None
    except _state_errors() as error:
        raise _ended(_state_sentence(error)) from None
    except OSError as error:
        if error.errno not in _REFUSED_FILES or not error.filename:
            raise
        raise _ended(
            f"{error.filename} cannot be read or written ({error.strerror}). Give this user the right to, make room on "
            "the disk, or use another HOME with --home."
        ) from None
    except KeyboardInterrupt:
        raise _ended("Ended by Ctrl-C.", INTERRUPTED) from None


def _ended(sentence: str, code: int = 2) -> typer.Exit:
    err.print(sentence, style="red", markup=False)
    return typer.Exit(code)


def _state_errors() -> tuple[type[Exception], ...]:
    """What opening and using the state store may raise. A command that did not open it does not import it for this."""
    if "sqlalchemy" not in sys.modules:
        return ()
    from sqlalchemy.exc import DatabaseError

    from segmentation_assets.state.store import NewerStateError

    return (DatabaseError, NewerStateError)


def _state_sentence(error: Exception) -> str:
    """What a person is told of an error of the state store. Raises it again where it is a mistake of the program."""
    from sqlalchemy.exc import DatabaseError, OperationalError

    if not isinstance(error, DatabaseError):
        return str(error)
    if type(error) not in (DatabaseError, OperationalError):  # a broken rule of the tables is nobody's to mend here
        raise error
    return (
        f"The state store, state.sqlite in HOME, cannot be used ({error.orig}). What was recorded there stays. Look "
        "whether this user may write to that folder, whether its disk is full, and whether the file is whole."
    )


def require_published(place: Home) -> None:
    """SettingsError where nothing was published yet."""
    if not place.published.exists():
        raise SettingsError(f"Nothing is published in {place.path} yet. `segmentation run{at_home(place)}` makes it.")


def acting_person(by: str | None, what: str) -> str:
    """Who acts: the name given with --by, else that of the account. `what` names the act, as in `Who approves`.

    SettingsError where the account has no name, ApprovalError (a ValueError too) for a name that cannot be kept.
    """
    from segmentation_assets.delivery.approval import LONGEST_PERSON, checked_text

    if by is None:
        try:
            by = getpass.getuser()
        except (OSError, KeyError, ImportError):  # an account without a name: KeyError until Python 3.12, OSError after
            raise SettingsError("Your account on this machine has no name. Say who you are with --by NAME.") from None
    return checked_text(by, what, LONGEST_PERSON)


def one_campaign(given: str, ids: Collection[str]) -> str:
    """The id that is given, or the only one that begins so. SettingsError where there is none, or more than one."""
    known = sorted(set(ids))
    if given in known:
        return given
    found = [campaign_id for campaign_id in known if given and campaign_id.startswith(given)]
    if len(found) == 1:
        return found[0]
    if found:
        raise SettingsError(f"{given!r} is the beginning of {len(found)} campaigns: {listed(found)}. Give more of it.")
    raise SettingsError(f"There is no campaign {given!r}; there are {listed(known)}.")


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
