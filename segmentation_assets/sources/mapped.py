"""Mapped sources: a user's own files become contract tables through one SELECT per table.

A source folder holds `TABLE.sql` files and a `source.toml` (see `description`). This module checks the SELECTs
before any of them runs, finds the files they name, turns encodings DuckDB cannot read into UTF-8, runs the SELECTs
in a database of their own that cannot see the warehouse, and stages the results as parquet. Replacing the
warehouse's tables is `loading`; judging rows is cleaning.

Messages never repeat a value of the data: a file that cannot be read may be a file of people.
"""

from __future__ import annotations

import codecs
import errno
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
from sqlglot import TokenType, exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token

from segmentation_assets.sources.contract import CONTRACT, Table
from segmentation_assets.sources.description import (
    SOURCE_FILE,
    SourceDescription,
    SourceError,
    nearest,
    read_description,
)
from segmentation_assets.sources.loading import (
    clear_staging,
    file_literal,
    prepare_staging,
    require_customers,
    require_tables,
    with_as_of,
)
from segmentation_assets.warehouse.connection import Engine, WarehouseBusyError, attach, literal, quote
from segmentation_assets.warehouse.sql_models import SqlModelError, parse_select

_BLOCK = 1 << 20
_READER = re.compile(r"(read_\w+|parquet_\w+|sniff_csv|glob)", re.IGNORECASE)
_BARE_FILE = re.compile(r"(\.(csv|tsv|txt|parquet|json|ndjson|jsonl)(\.gz|\.zst)?$)|[*/]", re.IGNORECASE)
_URL = re.compile(r"[a-z0-9]+://", re.IGNORECASE)
#: Types as the engine names them in its messages.
_TYPE = (
    r"(?:U?(?:TINY|SMALL|BIG|HUGE)?INT(?:EGER)?\d*|BOOL(?:EAN)?|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)|DATE|TIME|"
    r"TIMESTAMP(?:_\w+)?|INTERVAL|UUID|BLOB)(?:\[\])?"
)
_GLOB = re.compile(r"[*?\[]")
_NESTED = re.compile(r"(\[\d*\]$)|^(STRUCT|MAP|UNION)\b")

#: Columns that are contact details under any of their usual names; they may not hide among the open attributes.
_CONTACT_DETAILS = frozenset(column.name for column in CONTRACT["contacts"].columns if column.is_personal) | {
    "e_mail",
    "mail",
    "email_address",
    "phone_number",
    "mobile",
    "full_name",
    "surname",
    "address",
    "zip_code",
}


@dataclass(frozen=True)
class _Select:
    """One mapping as written: the SELECT of a contract table, its tokens and where it stands."""

    table: Table
    path: Path
    text: str
    tokens: tuple[Token, ...]

    def at(self, line: int | None = None) -> str:
        """The place an error message opens with."""
        return f"{self.path}, line {line}" if line else str(self.path)


@dataclass(frozen=True)
class _Files:
    """The files a mapping may name: those in the data folder, some of them in a UTF-8 copy."""

    folder: Path
    copies: Mapping[Path, Path]
    inputs: Mapping[str, Path]

    def find(self, name: str, where: str) -> list[Path]:
        """The files a text in a mapping means, sorted; SourceError when there is none."""
        if _GLOB.search(name) and not (self.folder / name).exists():
            found = sorted(path for path in _glob(self.folder, name) if path.is_file())
        else:
            path = self.folder / Path(name).expanduser()
            found = [path] if path.is_file() else []
        if not found:
            raise SourceError(f"{where}: {_missing(name, self.folder)}")
        return [self.copies.get(path.resolve(), path) for path in found]


def stage_mapped(
    source_folder: Path,
    data: Path | None,
    staging: Path,
    *,
    inputs: Mapping[str, str] | None = None,
    engine: Engine | None = None,
) -> SourceDescription:
    """Run every mapping of `source_folder` over the files in `data` and stage the results.

    `data` is the folder with the source's files; None means they lie in the source folder itself. `inputs` chooses
    files for the names declared under `[inputs]` (a name in `data`, or an absolute path). `staging` is emptied
    first, and removed when anything fails. Returns the description with its tables and its as-of date.

    Raises SourceError, a sentence or two for the person who wrote the mapping.
    """
    source_folder = source_folder.resolve()
    description = read_description(source_folder)
    selects = _read_selects(source_folder)
    folder = (data or source_folder).expanduser().resolve()
    if not folder.is_dir():
        raise SourceError(f"The data folder {folder} does not exist. Say where the files are with --data DIR.")
    try:
        prepare_staging(staging)
        chosen = _choose_inputs(description, source_folder, folder, inputs or {})
        files = _Files(folder, _transcode(description, source_folder, folder, chosen, staging), chosen)
        with _engine(engine or Engine(), staging) as con:
            _attach_databases(con, description, source_folder, folder)
            for name, path in chosen.items():
                con.execute(f"set variable {quote(name)} = {file_literal(files.copies.get(path, path))}")
            queries = [_with_files(select, files) for select in selects]
            columns = {
                select.table.name: _check_columns(con, select, query)
                for select, query in zip(selects, queries, strict=True)
            }
            _check_flags(description, columns.get("customer_attributes", set()), source_folder)
            for select, query in zip(selects, queries, strict=True):
                _stage(con, select, query, staging)
        shutil.rmtree(staging / "_utf8", ignore_errors=True)  # a second copy of the files is not needed any more
        require_customers(staging, str(source_folder / "customers.sql"))
        provided = tuple(select.table.name for select in selects)
        return with_as_of(replace(description, provided_tables=provided), staging)
    except OSError as error:
        clear_staging(staging)
        if error.errno == errno.ENOSPC:
            raise SourceError(_disk_full(staging)) from None
        raise
    except BaseException:  # Ctrl-C too: staged contact details may not stay behind; it goes on after that
        clear_staging(staging)
        raise


# --- the mappings as written -------------------------------------------------------------------------------------


def _read_selects(folder: Path) -> list[_Select]:
    """Every mapping of the folder, parents before children, each known to be one SELECT of a contract table."""
    paths = {path.stem: path for path in sorted(folder.glob("*.sql"))}
    for name, path in paths.items():
        if name not in CONTRACT:
            raise SourceError(
                f"{path}: {name} is not a table of the raw contract.{nearest(name, CONTRACT)} "
                f"A mapping is named after its table: {', '.join(CONTRACT)}."
            )
    require_tables(paths, f"The source folder {folder}")
    with duckdb.connect(":memory:") as parser:
        parser.execute("set errors_as_json = true")
        return [_read_select(parser, CONTRACT[name], paths[name]) for name in CONTRACT if name in paths]


def _read_select(parser: duckdb.DuckDBPyConnection, table: Table, path: Path) -> _Select:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: not UTF-8 at byte {error.start}. Save the file as UTF-8.") from None
    expected = f"Expected one SELECT whose columns are named as in the contract's table {table.name}."
    try:
        parser.extract_statements(text)
    except duckdb.ParserException as error:
        told = _Told(error)
        raise SourceError(f"{path}{_line(told, text)}: {told.message}{_hint(text)}. {expected}") from None
    try:
        tokens = DuckDB().tokenize(text)
        while tokens and tokens[-1].token_type is TokenType.SEMICOLON:
            end = tokens.pop()
            text = f"{text[: end.start]} {text[end.end + 1 :]}"
        query = parse_select(text, str(path))
    except (SqlModelError, TokenError) as error:
        raise SourceError(f"{str(error).rstrip('.')}. {expected} A mapping may not write.") from None
    _refuse_bare_files(query, path)
    return _Select(table, path, text, tuple(tokens))


def _hint(text: str) -> str:
    """What a second parser expected at the same place, when it can say so."""
    try:
        parse_select(text, "")
    except SqlModelError as error:
        found = re.search(r"(?i)\bexpect\w* (\S+)$", str(error))
        return f" (a {found[1]} is missing)" if found else ""
    return ""


def _refuse_bare_files(query: exp.Query, path: Path) -> None:
    """`from 'orders.csv'` would look in the current directory first, so files are named inside read_csv(...)."""
    for table in query.find_all(exp.Table):
        name = table.name if isinstance(table.this, exp.Identifier | exp.Literal) else ""
        if name and not table.db and _BARE_FILE.search(name):
            reader = "read_parquet" if name.lower().endswith(".parquet") else "read_csv"
            raise SourceError(f"{path}: FROM {name!r} does not say how to read the file. Write {reader}('{name}').")


def _with_files(select: _Select, files: _Files) -> str:
    """The query with every file name replaced by the files it means; its lines stay its lines."""
    pieces, copied = [], 0
    tokens = select.tokens
    for index, token in enumerate(tokens):
        if not _READER.fullmatch(token.text) or token.token_type is TokenType.STRING:
            continue
        if index + 1 < len(tokens) and tokens[index + 1].token_type is TokenType.L_PAREN:
            names = _file_names(tokens[index + 2 :], select, files)
            if not names:
                continue
            found = [path for name in names for path in _found(name.text, select.at(name.line), files)]
            pieces += [select.text[copied : names[0].start], ", ".join(found)]
            copied = names[-1].end + 1
            if tokens[index + 2].token_type is not TokenType.L_BRACKET:
                pieces[-1] = f"[{pieces[-1]}]" if len(found) > 1 else pieces[-1]
    return "".join([*pieces, select.text[copied:]]).rstrip()


def _found(name: str, where: str, files: _Files) -> list[str]:
    if _URL.match(name):
        return [literal(name)]
    return [file_literal(path) for path in files.find(name, where)]


def _file_names(tokens: tuple[Token, ...], select: _Select, files: _Files) -> list[Token]:
    """The text tokens that name files at the start of a reader's arguments; none for getvariable('input')."""
    kinds = [token.token_type for token in tokens[:4]]
    line = tokens[0].line
    if tokens[0].text.lower() == "getvariable" and kinds[1:4] == [
        TokenType.L_PAREN, TokenType.STRING, TokenType.R_PAREN,
    ]:  # fmt: skip
        alias = tokens[2].text
        if alias in files.inputs:
            return []
        raise SourceError(
            f"{select.at(line)}: {alias} is not one of the inputs of {SOURCE_FILE}.{nearest(alias, files.inputs)} "
            f'Declare it there: [inputs] {alias} = "file.csv".'
        )
    if kinds[:1] == [TokenType.STRING] and kinds[1] in (TokenType.COMMA, TokenType.R_PAREN):
        return [tokens[0]]
    if kinds[:1] == [TokenType.L_BRACKET]:
        names = []
        for token in tokens[1:]:
            if token.token_type is TokenType.STRING:
                names.append(token)
            elif token.token_type is TokenType.R_BRACKET and names:
                return names
            elif token.token_type is not TokenType.COMMA:
                break
    raise SourceError(
        f"{select.at(line)}: a file is named as a text, such as read_csv('orders.csv'), as a list of texts, or as "
        f"getvariable('name') for one of the inputs of {SOURCE_FILE}."
    )


# --- files -------------------------------------------------------------------------------------------------------


def _glob(folder: Path, pattern: str) -> Iterator[Path]:
    path = Path(pattern).expanduser()
    if path.is_absolute():
        return Path(path.anchor).glob(str(path.relative_to(path.anchor)))
    return folder.glob(pattern)


def _missing(name: str, folder: Path) -> str:
    """That a file is not there, where it was looked for, and what to do."""
    present = [path.name for path in sorted(folder.iterdir()) if path.is_file()]
    return (
        f"there is no file {name} in {folder}.{nearest(name, present)} "
        "Say where the source's files are with --data DIR."
    )


def _choose_inputs(
    description: SourceDescription, source_folder: Path, folder: Path, overrides: Mapping[str, str]
) -> dict[str, Path]:
    """The file each input stands for: the one asked for, else the first of its list that is there."""
    for name in overrides:
        if name not in description.inputs:
            known = ", ".join(description.inputs) or "none"
            raise SourceError(
                f"The source {description.name} has no input {name}.{nearest(name, description.inputs)} "
                f"Its inputs: {known}."
            )
    chosen = {}
    for name, candidates in description.inputs.items():
        asked = (overrides[name],) if name in overrides else candidates
        there = [folder / Path(candidate).expanduser() for candidate in asked]
        found = next((path for path in there if path.is_file()), None)
        if found is None:
            raise SourceError(
                f"{source_folder / SOURCE_FILE}, input {name}: "
                f"{_missing(' or '.join(asked), folder)} Or name another file with --input {name}=FILE."
            )
        chosen[name] = found.resolve()
    return chosen


def _transcode(
    description: SourceDescription, source_folder: Path, folder: Path, chosen: Mapping[str, Path], staging: Path
) -> dict[Path, Path]:
    """UTF-8 copies, inside the staging folder, of the files declared in another encoding; by original.

    DuckDB reads utf-8, utf-16 and latin-1 without an extension. A name under [files] is a file of the data folder,
    a pattern, or the name of an input; it may be missing only when it is one of several files of an input.
    """
    copies: dict[Path, Path] = {}
    for name, encoding in description.files.items():
        if codecs.lookup(encoding).name == "utf-8":
            continue
        originals = [chosen[name]] if name in chosen else [path.resolve() for path in sorted(_glob(folder, name))]
        if not originals and not any(name in candidates for candidates in description.inputs.values()):
            raise SourceError(f"{source_folder / SOURCE_FILE}, [files]: {_missing(name, folder)}")
        for original in originals:
            copy = staging / "_utf8" / str(len(copies)) / original.name
            copy.parent.mkdir(parents=True)
            transcode_file(original, copy, encoding, f"{source_folder / SOURCE_FILE} under [files]")
            copies[original] = copy
    return copies


def transcode_file(original: Path, copy: Path, encoding: str, declared_in: str) -> None:
    """Write `original`, which is in `encoding`, to `copy` in UTF-8, block by block; a byte-order mark is dropped.

    Raises SourceError naming file, line and byte where the bytes are not in that encoding.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    bytes_read = newlines = 0
    is_first = True
    with original.open("rb") as source, copy.open("wb") as target:
        while True:
            block = source.read(_BLOCK)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                kept_back = len(error.object) - len(block)  # bytes of a character that began in the block before
                line = newlines + error.object[: error.start].count(b"\n") + 1
                raise SourceError(
                    f"{original}, line {line}: the byte 0x{error.object[error.start]:02X} at offset "
                    f"{bytes_read - kept_back + error.start} is not valid in {encoding}. "
                    f"Declare the file's real encoding in {declared_in}."
                ) from None
            target.write((text.removeprefix("\ufeff") if is_first else text).encode("utf-8"))
            is_first = is_first and not text
            if not block:
                return
            bytes_read += len(block)
            newlines += block.count(b"\n")


# --- running -----------------------------------------------------------------------------------------------------


@contextmanager
def _engine(engine: Engine, staging: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory that sees files and what the source attaches, never the warehouse."""
    con = duckdb.connect(":memory:", config=engine.config())
    try:
        con.execute("set TimeZone = 'UTC'")
        con.execute("set errors_as_json = true")
        con.execute("set python_enable_replacements = false")  # FROM x must not find a Python variable x
        con.execute("set autoinstall_known_extensions = false")  # nothing is fetched
        con.execute(f"set temp_directory = {literal(str(staging / '_spill'))}")
        yield con
    finally:
        con.close()


def _attach_databases(
    con: duckdb.DuckDBPyConnection, description: SourceDescription, source_folder: Path, folder: Path
) -> None:
    for name, file in description.attach.items():
        where = f"{source_folder / SOURCE_FILE}, attach.{name}"
        path = folder / Path(file).expanduser()
        if not path.is_file():
            raise SourceError(f"{where}: {_missing(file, folder)}")
        try:
            attach(con, path, name, read_only=True, wait_seconds=1)
        except WarehouseBusyError:
            raise SourceError(
                f"{where}: {path} is held open for writing by another process. Close it there and run again."
            ) from None
        except duckdb.Error as error:
            told = _Told(error).message
            raise SourceError(f"{where}: {path} cannot be opened as a DuckDB database: {told}.") from None


def _check_columns(con: duckdb.DuckDBPyConnection, select: _Select, query: str) -> set[str]:
    """Refuse result columns the contract does not know, lacking ones it requires, and two of one name.

    Returns the names of the columns in lower case.
    """
    found = {}
    rows = _run(con, "describe ", query, "", select)
    counts = Counter(str(row[0]).lower() for row in rows)
    table = select.table
    for name, sql_type in ((str(row[0]), str(row[1])) for row in rows):
        found[name.lower()] = sql_type
        place = select.at(_line_of_name(select, name))
        if counts[name.lower()] > 1:
            raise SourceError(f"{place}: {counts[name.lower()]} columns are called {name}. Name each with AS.")
        if name.lower() not in table.column_names and not table.is_open:
            raise SourceError(
                f"{place}: the contract's table {table.name} has no column {name}."
                f"{nearest(name, table.column_names)} Its columns: {', '.join(table.column_names)}."
            )
        if table.is_open and name.lower() in _CONTACT_DETAILS:
            raise SourceError(
                f"{place}: {name} is a contact detail and may not be an attribute. Give it in contacts.sql "
                f"({', '.join(CONTRACT['contacts'].column_names)}); it is then kept apart from the warehouse."
            )
        if _NESTED.search(sql_type):
            raise SourceError(f"{place}: column {name} is a {sql_type}. A column holds one plain value per row.")
    for column in table.columns:
        if (column.is_key or column.is_required) and column.name not in found:
            raise SourceError(
                f"{select.path}: there is no column {column.name}, which {table.name} requires "
                f"({column.description.rstrip('.')}).{nearest(column.name, found)} Add `... as {column.name}`."
            )
    return set(found)


def _check_flags(description: SourceDescription, attributes: set[str], source_folder: Path) -> None:
    """A flag on a column that is not there is a typing error that would leave the real column unflagged."""
    for key, names in (("protected", description.protected), ("free_text", description.free_text)):
        for name in names:
            if name.lower() not in attributes:
                raise SourceError(
                    f"{source_folder / SOURCE_FILE}, attributes.{key}: customer_attributes.sql gives no column {name}."
                    f"{nearest(name, attributes)}"
                )


def _line_of_name(select: _Select, name: str) -> int | None:
    """The last line on which a column's name is written; None when it comes from a `*`."""
    lines = [token.line for token in select.tokens if token.text.lower() == name.lower()]
    return lines[-1] if lines else None


def _stage(con: duckdb.DuckDBPyConnection, select: _Select, query: str, staging: Path) -> None:
    folder = staging / select.table.name
    folder.mkdir()
    target = literal(str(folder / "part-00000.parquet"))
    _run(con, "copy (", query, f"\n) to {target} (format parquet)", select)


def _run(
    con: duckdb.DuckDBPyConnection, before: str, query: str, after: str, select: _Select
) -> list[tuple[object, ...]]:
    try:
        return con.execute(before + query + after).fetchall()
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        raise SourceError(_in_words(error, before + query, select)) from None


# --- what the engine says, in words ------------------------------------------------------------------------------


class _Told:
    """DuckDB's own account of an error: its kind, its message on one line, the position in the statement."""

    def __init__(self, error: duckdb.Error) -> None:
        text = str(error)
        try:
            told = json.loads(text[text.index("{") :])
        except ValueError:
            told = {}
        self.kind = str(told.get("exception_type", ""))
        self.whole = str(told.get("exception_message", text))
        self.message = " ".join(self.whole.split()).rstrip(".")
        self.position = int(told["position"]) if "position" in told else None


def _line(told: _Told, statement: str) -> str:
    """`, line N` of the file for a position in the statement, or nothing when the engine gave none."""
    if told.position is None:
        return ""
    return f", line {statement.encode()[: told.position].count(10) + 1}"


def _in_words(error: duckdb.Error, statement: str, select: _Select) -> str:
    """One sentence for an error of the engine, without any value of the data."""
    told = _Told(error)
    if "no space left" in told.message.lower():
        return _disk_full(select.path)
    if isinstance(error, duckdb.OutOfMemoryException):
        return f"{select.path}: the engine ran out of memory. Raise its memory limit in segmentation.toml."
    place = f"{select.path}{_line(told, statement)}"
    if told.kind in ("Binder", "Catalog", "Parser", "Syntax", "Not implemented"):
        hint = ""
        if told.kind == "Catalog" and "Table" in told.message:
            hint = " A mapping reads files, such as read_csv('orders.csv'), or an attached database."
        elif '"column0"' in told.message:
            hint = " If the first line of the file holds the names of its columns, add header = true to read_csv."
        return f"{place}: {told.message}.{hint}"
    file = re.search(r"^\s*file = (.+)$|^Error when sniffing file \"(.+)\"", told.whole, re.MULTILINE)
    row = re.search(r"CSV Error on Line: (\d+)", told.whole)
    if row or file:
        name = Path(file[1] or file[2]).name if file else "the file"
        return f"{place}: {name}{f', line {row[1]}' if row else ''}: {_csv_problem(told.whole)}"
    return f"{place}: {_data_problem(told)}"


def _csv_problem(message: str) -> str:
    """What is wrong with a CSV file, told without its content."""
    if found := re.search(r'Error when converting column "(.*?)"', message):
        kind = re.findall(r"to '([A-Z][A-Z0-9_(), ]*)'\n", message)
        return (
            f"the column {found[1]} holds a text that is no {kind[-1] if kind else 'value of its type'}. Correct it, "
            "or read the file with all_varchar = true: cleaning then rejects the row and says why."
        )
    if "Invalid unicode" in message or "not utf-8" in message:
        return f'it is not UTF-8. Declare its encoding in {SOURCE_FILE}: [files] "NAME" = {{encoding = "cp1252"}}.'
    if found := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message):
        return f"expected {found[1]} columns and found {found[2]}. Check delimiter and quotes there."
    if "unterminated quote" in message:
        return "a quoted text does not end. Check the quotes there, or give read_csv its quote and escape."
    return "its lines do not agree on one delimiter, quote and number of columns. Correct it, or tell read_csv these."


def _data_problem(told: _Told) -> str:
    """What stopped the engine at a value of the data, told without the value.

    Built from what is known to be no value, never from the message with something cut out: a value may be anywhere.
    """
    if re.search(r"magic bytes|Parquet file", told.message):
        return "the file is no Parquet file, or is cut short."
    if told.message.startswith("More than one row returned by a subquery"):
        return "a subquery used as a value gives more than one row."
    column = re.search(r" when casting from source column (\w+)$", told.message)
    kind = re.search(rf" (?:to|destination type) ({_TYPE})(?: when casting from source column \w+)?$", told.message)
    moment = re.match(r"(?:invalid )?(date|timestamp|time) field ", told.message)
    wanted = kind[1] if kind else moment[1] if moment else ""
    if not wanted and told.message.startswith("Could not parse string"):
        wanted = "date of the given format"
    what = f"a value{f' of column {column[1]}' if column else ''}"
    problem = f"is no {wanted}" if wanted else f"cannot be worked with ({told.kind.lower() or 'engine'} error)"
    return (
        f"{what} {problem}. Correct the data, or leave the column as text: cleaning then rejects the row and says why."
    )


def _disk_full(path: Path) -> str:
    return f"The disk that holds {path.parent} is full. Free some space and run again; the warehouse is as it was."
