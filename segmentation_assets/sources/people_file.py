"""The file of contact details, written anew without some people: DuckDB keeps what was deleted in pages it may reuse.

What belongs here: finding whose rows are in the file, and the copy that takes its place. What does not: who is
forgotten and why (`forgotten`, `delivery.rights`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from segmentation_assets.sources.cleaning_rules import trimmed
from segmentation_assets.sources.forgotten import ForgottenPeople, address_text
from segmentation_assets.warehouse.connection import Engine, attach, literal, quote

#: Tables of the file that hold contact details, and the column that names the customer.
_OWNERS = {
    "raw_contacts": "customer_id", "contacts": "customer_id", "rejected_contacts": "row_key",
    "contact_repairs": "row_key",
}  # fmt: skip
#: Surrogate ids of sources whose own ids are personal. The surrogate stays, so that it is never given again.
_CUSTOMER_IDS = "customer_ids"
_FOLDER = "people.rewrite"
#: A value of a rejected row.
_JSON = "(row_json::json ->> '{}')"


class PeopleFileError(RuntimeError):
    """The file could not be written anew; it is as it was."""


def owners_in(people: Path, engine: Engine | None = None) -> list[str]:
    """Every id that a row of the file names: of customers, and of sources whose ids are personal. Sorted."""
    with _opened(people, engine, read_only=True) as con:
        tables = _tables(con)
        queries = [f"select {_id(column)} as id from people.{name}" for name, column in _in(tables)]
        if _CUSTOMER_IDS in tables:
            queries.append(f"select {_id('source_id')} as id from people.{_CUSTOMER_IDS}")
        if not queries:
            return []
        rows = con.execute(f"select id from ({' union '.join(queries)}) where id <> '' order by id").fetchall()
        return [row[0] for row in rows]


def remove_restored(people: Path, forgotten: ForgottenPeople, engine: Engine | None = None) -> int:
    """Take forgotten people out of a file that still has them, a restored backup for example; returns their ids."""
    if not people.exists():
        return 0
    found = forgotten.ids_among(owners_in(people, engine))
    if not found:
        return 0
    rewrite_without(people, surrogates_of(people, found, engine), (), engine)
    return len(found)


def surrogates_of(people: Path, ids: Collection[str], engine: Engine | None = None) -> list[str]:
    """The customer ids among `ids`, where a source's own id stands for the surrogate that the file gives it."""
    with _opened(people, engine, read_only=True) as con:
        if _CUSTOMER_IDS not in _tables(con):
            return sorted(ids)
        rows = con.execute(
            f"select customer_id from people.{_CUSTOMER_IDS} where {_id('source_id')} in (select unnest(?::varchar[]))",
            [list(ids)],
        ).fetchall()
        return sorted({*ids, *(row[0] for row in rows)})


def rewrite_without(
    people: Path,
    customer_ids: Collection[str],
    addresses: Collection[str],
    engine: Engine | None = None,
    *,
    before_swap: Callable[[], None] | None = None,
) -> int:
    """Write the file anew without these customers and put it in the old one's place; returns the rows left out.

    Rows without a customer go by their address (`addresses`, trimmed and in lower case). The old file is untouched
    until the new one is whole and on the disk; killed before that, nothing changed, and what was begun is removed by
    the next call. Waits for readers; WarehouseBusyError when one does not let go. `before_swap` is for tests.
    """
    folder = people.with_name(_FOLDER)
    shutil.rmtree(folder, ignore_errors=True)
    if not people.exists():
        return 0
    folder.mkdir(mode=0o700)
    draft = folder / people.name
    try:
        left_out = _copy(people, draft, customer_ids, addresses, engine)
        draft.chmod(0o600)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        log = people.with_name(people.name + ".wal")
        if log.exists():
            raise PeopleFileError(
                f"{people.name} has changes that are not in the file yet, so it was not written anew. Close it in "
                "other programs and begin again; nothing was lost."
            )
        if before_swap is not None:
            before_swap()
        draft.replace(people)
        _sync(people.parent)
        return left_out
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy(
    people: Path, draft: Path, customer_ids: Collection[str], addresses: Collection[str], engine: Engine | None
) -> int:
    left_out = 0
    with _opened(people, engine, read_only=False) as con:
        attach(con, draft, "fresh", read_only=False, wait_seconds=0)
        con.execute("create temp table gone as select unnest(?::varchar[]) as id", [list(customer_ids)])
        con.execute("create temp table gone_addresses as select unnest(?::varchar[]) as address", [list(addresses)])
        for name, table_comment in sorted(_tables(con).items()):
            columns = con.execute(
                "select column_name, data_type, is_nullable, comment from duckdb_columns() "
                "where database_name = 'people' and table_name = ? order by column_index",
                [name],
            ).fetchall()
            declared = ", ".join(
                f"{quote(column)} {kind}{'' if nullable else ' not null'}" for column, kind, nullable, _ in columns
            )
            con.execute(f"create table fresh.{quote(name)} ({declared})")
            names = [column for column, *_ in columns]
            con.execute(f"insert into fresh.{quote(name)} {_kept(name, names)}")
            counts = [_count(con, f"{place}.{quote(name)}") for place in ("people", "fresh")]
            left_out += counts[0] - counts[1]
            if table_comment is not None:
                con.execute(f"comment on table fresh.{quote(name)} is {literal(table_comment)}")
            for column, _, _, text in columns:
                if text is not None:
                    con.execute(f"comment on column fresh.{quote(name)}.{quote(column)} is {literal(text)}")
        con.execute("checkpoint fresh")
        con.execute("checkpoint people")
    return left_out


def _kept(name: str, columns: list[str]) -> str:
    """SELECT of the rows that stay, in their order."""
    listed = ", ".join(map(quote, columns))
    if name == _CUSTOMER_IDS:
        blank = "case when customer_id in (from temp.gone) then '' else source_id end as source_id"
        listed = ", ".join(blank if column == "source_id" else quote(column) for column in columns)
        return f"select {listed} from people.{name} order by rowid"
    if name not in _OWNERS:
        return f"select {listed} from people.{quote(name)} order by rowid"
    owner = _OWNERS[name]
    theirs = f"coalesce({_id(owner)} in (from temp.gone), false)"
    if name == "raw_contacts" and "email" in columns:
        theirs += (
            f" or ({_id(owner)} is null and coalesce({address_text('email')} in (from temp.gone_addresses), false))"
        )
    if name == "rejected_contacts":
        email, given_id = address_text(_JSON.format("email")), _id(_JSON.format("customer_id"))
        theirs += f" or (starts_with(row_key, 'row ') and coalesce({email} in (from temp.gone_addresses), false))"
        theirs += f" or coalesce({given_id} in (from temp.gone), false)"
    return f"select {listed} from people.{name} where not ({theirs}) order by rowid"


@contextmanager
def _opened(people: Path, engine: Engine | None, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection of its own, with the file attached as `people`."""
    engine = engine or Engine()
    con = duckdb.connect(":memory:", config=engine.config())
    try:
        con.execute(f"set temp_directory = {literal(str(people.parent / 'spill'))}")
        attach(con, people, "people", read_only=read_only, wait_seconds=engine.wait_seconds)
        yield con
    finally:
        con.close()


def _tables(con: duckdb.DuckDBPyConnection) -> dict[str, str | None]:
    return dict(
        con.execute("select table_name, comment from duckdb_tables() where database_name = 'people'").fetchall()
    )


def _in(tables: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, column) for name, column in _OWNERS.items() if name in set(tables)]


def _id(column: str) -> str:
    """An id as text without white space around it; a number that passed through a float has no decimals."""
    text = trimmed(f"{column}::varchar")
    whole = f"regexp_replace({text}, '^(\\d+)\\.0$', '\\1')"
    return f"nullif(case when typeof({column}) = 'VARCHAR' then {text} else {whole} end, '')"


def _count(con: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(con.execute(f"select count(*) from {table}").fetchall()[0][0])


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
