"""What a source says of itself: `source.toml` read and checked, and where a source's folder is.

A source is a folder with one SELECT per contract table and a `source.toml`. This module reads the second and knows
nothing of the first; it opens no data file. Running the SELECTs is `mapped`, writing what they gave is `loading`.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

#: The file every source folder holds.
SOURCE_FILE = "source.toml"

#: The two axes a source may say something about.
AXES = ("stage", "taste")

_KNOWN_KEYS = (
    "title", "as_of", "currency", "customer_id_is_personal", "files", "inputs", "attach", "axes", "attributes",
)  # fmt: skip
_CURRENCY = re.compile(r"[A-Z]{3}")
_ALIAS = re.compile(r"[a-z][a-z0-9_]*")


class SourceError(ValueError):
    """A source cannot be read; the message says what is wrong, in which file, and what to do."""


@dataclass(frozen=True)
class SourceDescription:
    """A source as later steps see it.

    `as_of` is the last day the data cover, inclusive; None means the newest order date found, else the newest
    sign-up. `axes` holds what the source says of each axis, as written; the settings judge it. `protected` and
    `free_text` name columns of customer_attributes. `files` maps a file of the data folder to its encoding, `inputs`
    a name to the files it may stand for (first found wins), `attach` a name to a DuckDB file.
    """

    name: str
    title: str
    currency: str
    as_of: date | None = None
    customer_id_is_personal: bool = False
    axes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    provided_tables: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    free_text: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attach: Mapping[str, str] = field(default_factory=dict)


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean ...?` for the known name closest to `name`, or nothing when none is close."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), sorted(by_lower), n=1, cutoff=0.6)
    return f" Did you mean {by_lower[found[0]]}?" if found else ""


def find_source(name_or_path: str, sql_root: Path) -> Path:
    """The folder of a source: a name in `sql_root/sources`, or a path to any folder that holds a source.toml.

    A path is taken from the current directory, as a shell would. Raises SourceError listing the known names.
    """
    sources = sql_root / "sources"
    known = sorted(path.parent.name for path in sources.glob(f"*/{SOURCE_FILE}"))
    if name_or_path in known:
        return sources / name_or_path
    folder = Path(name_or_path).expanduser()
    if (folder / SOURCE_FILE).is_file():
        return folder.resolve()
    if folder.is_dir():
        raise SourceError(
            f"The source folder {folder.resolve()} has no {SOURCE_FILE}. Add one with at least a title and a "
            'currency, for example: title = "My shop" and currency = "EUR".'
        )
    raise SourceError(
        f"There is no source {name_or_path!r}: it is neither a known name nor a folder with a {SOURCE_FILE}."
        f"{nearest(name_or_path, known)} Known names: synthetic, {', '.join(known) or 'none in ' + str(sources)}."
    )


def read_description(folder: Path) -> SourceDescription:
    """Read and check `folder/source.toml`. Raises SourceError naming the file, the key and what is expected."""
    path = folder / SOURCE_FILE
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SourceError(f"The source folder {folder} has no {SOURCE_FILE}.") from None
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: not UTF-8 at byte {error.start}. Save the file as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise SourceError(f"{path}: not valid TOML: {error}.") from None
    _refuse_unknown(content, _KNOWN_KEYS, path, "")
    attributes = _table(content, "attributes", path)
    _refuse_unknown(attributes, ("protected", "free_text"), path, "attributes.")
    return SourceDescription(
        name=folder.resolve().name,
        title=_text(content, "title", path, example="My shop"),
        currency=_currency(content, path),
        as_of=_as_of(content, path),
        customer_id_is_personal=_flag(content, "customer_id_is_personal", path),
        axes=_axes(content, path),
        protected=_names(attributes, "protected", path, "attributes."),
        free_text=_names(attributes, "free_text", path, "attributes."),
        files=_files(content, path),
        inputs=_inputs(content, path),
        attach=_attach(content, path),
    )


def _refuse_unknown(table: Mapping[str, Any], known: Iterable[str], path: Path, prefix: str) -> None:
    known = tuple(known)
    for key in table:
        if key not in known:
            raise SourceError(
                f"{path}: unknown key {prefix}{key}.{nearest(key, known)} Known keys: {', '.join(known)}."
            )


def _table(content: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise SourceError(f"{path}: {key} must be a table, written [{key}].")
    return value


def _text(content: Mapping[str, Any], key: str, path: Path, *, example: str) -> str:
    value = content.get(key)
    if not isinstance(value, str) or not value.strip():
        raise SourceError(f'{path}: {key} is missing or not a text. Write for example {key} = "{example}".')
    return value.strip()


def _currency(content: Mapping[str, Any], path: Path) -> str:
    value = _text(content, "currency", path, example="EUR")
    if not _CURRENCY.fullmatch(value):
        raise SourceError(
            f'{path}: currency = "{value}" is not an ISO 4217 code of three capital letters, such as "EUR".'
        )
    return value


def _as_of(content: Mapping[str, Any], path: Path) -> date | None:
    value = content.get("as_of")
    if isinstance(value, datetime):
        return value.date()
    if value is None or isinstance(value, date):
        return value
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise SourceError(f"{path}: as_of = {value!r} is not a date. Write as_of = 2005-05-31, or leave it out.")


def _flag(content: Mapping[str, Any], key: str, path: Path) -> bool:
    value = content.get(key, False)
    if not isinstance(value, bool):
        raise SourceError(f"{path}: {key} = {value!r} must be true or false.")
    return value


def _names(table: Mapping[str, Any], key: str, path: Path, prefix: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise SourceError(f'{path}: {prefix}{key} must be a list of names, such as ["one", "two"].')
    return tuple(value)


def _axes(content: Mapping[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    axes = _table(content, "axes", path)
    _refuse_unknown(axes, AXES, path, "axes.")
    return {axis: _table(axes, axis, path) for axis in axes}


def _files(content: Mapping[str, Any], path: Path) -> dict[str, str]:
    files = {}
    for name, options in _table(content, "files", path).items():
        if not isinstance(options, dict):
            raise SourceError(f'{path}: files."{name}" must be a table, such as {{encoding = "cp1252"}}.')
        _refuse_unknown(options, ("encoding",), path, f'files."{name}".')
        encoding = _text(options, "encoding", path, example="cp1252")
        try:
            b"known?".decode(encoding)
        except UnicodeError:
            pass  # the encoding is known; these bytes are none of its
        except LookupError:
            raise SourceError(
                f'{path}: files."{name}" has the unknown encoding "{encoding}". '
                "Usual ones are utf-8, cp1252, latin-1, cp850 and utf-16."
            ) from None
        files[name] = encoding
    return files


def _inputs(content: Mapping[str, Any], path: Path) -> dict[str, tuple[str, ...]]:
    inputs = {}
    table = _table(content, "inputs", path)
    for name, value in table.items():
        if not _ALIAS.fullmatch(name):
            raise SourceError(f"{path}: the input {name!r} must be named in lower case letters, digits and _.")
        inputs[name] = (value,) if isinstance(value, str) and value else _names(table, name, path, "inputs.")
        if not inputs[name]:
            raise SourceError(f"{path}: inputs.{name} names no file.")
    return inputs


def _attach(content: Mapping[str, Any], path: Path) -> dict[str, str]:
    table = _table(content, "attach", path)
    for name, value in table.items():
        if not _ALIAS.fullmatch(name) or name in ("memory", "system", "temp", "main"):
            raise SourceError(f"{path}: a database cannot be attached as {name!r}; use another lower case name.")
        if not isinstance(value, str) or not value:
            raise SourceError(f'{path}: attach.{name} must be a DuckDB file, such as "shop.duckdb".')
    return dict(table)
