"""Swapping a staged source into the warehouse: raw tables as the source gave them, contacts kept apart.

A source, mapped or synthetic, first stages parquet files (`staging/TABLE/part-00000.parquet`, parts in order of
their names); `load_raw` then replaces the raw tables by them. Cleaning and typing come later and elsewhere; making
the files is the source's own business. The staging folder holds personal data: only its owner may enter it, and it
is gone when loading ends, however it ends.

Rows of people who asked to be forgotten are not loaded: raw tables never hold them. How many there were is kept in
raw.source, so that cleaning can account for every row the source gave.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb

from segmentation_assets.sources.contract import CONTRACT, WAREHOUSE_TABLES, Table
from segmentation_assets.sources.description import SourceDescription, SourceError
from segmentation_assets.sources.forgotten import ForgottenPeople, ForgottenRows, StagedTable, find_forgotten
from segmentation_assets.sources.people_file import remove_restored
from segmentation_assets.warehouse.connection import Engine, connect, literal, quote, transaction
from segmentation_assets.warehouse.tables import comment, create_from_query

#: Where surrogate customer ids are kept for sources whose own ids are personal.
CUSTOMER_IDS = "people.customer_ids"
RAW_CONTACTS = "people.raw_contacts"
RAW_SOURCE = "raw.source"

_SOURCE_COLUMNS = {
    "source": "Name of the source.",
    "title": "What the source is, in words.",
    "as_of": "The last day the data cover, inclusive; today, for every figure.",
    "currency": "ISO 4217 code of every amount.",
    "customer_id_is_personal": "True when the source's own ids are personal and surrogate ids stand in for them.",
    "provided_tables": "Names of the contract tables the source gives, comma separated.",
    "forgotten_rows": "Rows by table that were not loaded, because they are of people who asked to be forgotten.",
}
_WHITESPACE = " \t\r\n\f\v\u00a0"


def prepare_staging(staging: Path) -> None:
    """Make `staging` an empty folder that only its owner may enter; what a killed run left there goes."""
    clear_staging(staging)
    staging.mkdir(parents=True, mode=0o700)
    staging.chmod(0o700)  # mkdir's mode is cut by the umask


def clear_staging(staging: Path) -> None:
    """Remove the staging folder and everything in it."""
    if staging.exists():
        shutil.rmtree(staging)


def file_literal(path: Path) -> str:
    """`path` as a SQL text that DuckDB takes for this one file, whatever glob characters its folders contain."""
    return literal(re.sub(r"([*?\[])", r"[\1]", str(path)))


def staged_parts(staging: Path, table: str) -> list[Path]:
    """The parquet parts of a contract table, in order; none when the source does not give the table."""
    return sorted((staging / table).glob("*.parquet"))


def provided_tables(staging: Path) -> tuple[str, ...]:
    """The contract tables that are staged, parents before children."""
    return tuple(name for name in CONTRACT if staged_parts(staging, name))


def require_tables(provided: Iterable[str], where: str) -> None:
    """Refuse a source without customers, or with neither orders and their lines nor customer attributes."""
    given = set(provided)
    if "customers" not in given:
        raise SourceError(f"{where} gives no table customers, which every source needs. Add customers.sql.")
    if "customer_attributes" in given or {"orders", "order_items"} <= given:
        return
    lacking = " and ".join(name for name in ("orders", "order_items") if name not in given)
    raise SourceError(
        f"{where} gives neither orders with order_items nor customer_attributes, so there is nothing to segment "
        f"by. Add {lacking} (one SELECT each), or customer_attributes with one row per customer."
    )


def require_customers(staging: Path, where: str) -> None:
    """Refuse a source whose customers table is there but empty."""
    with _scratch() as con:
        parts = staged_parts(staging, "customers")
        if con.execute(f"select exists (from {_read(parts)})").fetchall()[0][0]:
            return
    raise SourceError(
        f"{where}: customers has no rows, so there is nobody to segment. Check the file its SELECT reads and any "
        "WHERE in it. The warehouse was not changed."
    )


def with_as_of(description: SourceDescription, staging: Path) -> SourceDescription:
    """The description with its as-of date: its own, else the newest order date, else the newest sign-up."""
    if description.as_of is not None:
        return description
    for table, column in (("orders", "ordered_at"), ("customers", "signed_up_at")):
        newest = _newest(staging, table, column)
        if newest is not None:
            return replace(description, as_of=newest)
    raise SourceError(
        f"The source {description.name} has no as-of date and no readable orders.ordered_at or "
        "customers.signed_up_at to take it from. Write as_of = YYYY-MM-DD in its source.toml."
    )


def load_raw(
    staging: Path,
    description: SourceDescription,
    warehouse_path: Path,
    people_path: Path,
    engine: Engine | None = None,
    *,
    forgotten: ForgottenPeople | None = None,
) -> dict[str, int]:
    """Replace every raw table by what is staged, and remove the staging folder. Returns rows per contract table.

    A table the source lacks is written empty, a column it lacks as null text; rows keep the source's order. All
    warehouse tables change in one transaction or none does.

    The people database is written first, in a transaction of its own, because one transaction can write to one
    database only. Should the process die between the two, people knows contacts and surrogate ids of customers the
    warehouse has not heard of yet; nothing reads contacts but through the warehouse's customers, and the next load
    finds the same ids. The other order could leave surrogate ids in the warehouse that no map explains.

    With `forgotten`, no row of these people is loaded, and a restored people database that still has them is written
    anew without them first.

    Raises SourceError when the staged tables are not a source, before anything is written.
    """
    try:
        require_tables(provided_tables(staging), f"The source {description.name}")
        require_customers(staging, f"The source {description.name}")
        described = with_as_of(description, staging)
        if forgotten is not None:
            remove_restored(people_path, forgotten, engine)
        with connect(warehouse_path, people=people_path, engine=engine) as con:
            theirs = _forgotten_rows(con, staging, described, forgotten)
            queries = {
                name: _query(con, CONTRACT[name], staging, described, theirs.conditions.get(name)) for name in CONTRACT
            }
            with transaction(con):
                if described.customer_id_is_personal:
                    _extend_customer_ids(con, staging, bool(theirs.conditions))
                rows = {"contacts": _load_table(con, RAW_CONTACTS, CONTRACT["contacts"], queries["contacts"])}
            with transaction(con):
                for name in WAREHOUSE_TABLES:
                    rows[name] = _load_table(con, f"raw.{name}", CONTRACT[name], queries[name])
                _write_source(con, described, provided_tables(staging), theirs.counts)
        return {name: rows[name] for name in CONTRACT}
    finally:
        clear_staging(staging)


def _scratch() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(":memory:", config={"python_enable_replacements": "false"})


def _read(parts: list[Path]) -> str:
    """The FROM item that reads staged parts in order."""
    files = ", ".join(file_literal(part) for part in parts)
    # Without hive_partitioning=false a HOME such as /data/shop=1 would add a column.
    return f"read_parquet([{files}], union_by_name=true, hive_partitioning=false)"


def _columns(con: duckdb.DuckDBPyConnection, parts: list[Path]) -> list[str]:
    """Names of the staged columns, in order."""
    return [row[0] for row in con.execute(f"describe select * from {_read(parts)}").fetchall()]


def _newest(staging: Path, table: str, column: str) -> date | None:
    parts = staged_parts(staging, table)
    with _scratch() as con:
        if not parts or column not in {name.lower() for name in _columns(con, parts)}:
            return None
        query = f"select max(try_cast({quote(column)}::varchar as timestamp))::date from {_read(parts)}"
        newest: date | None = con.execute(query).fetchall()[0][0]
        return newest


def _trimmed(column: str) -> str:
    """The source id without surrounding white space: that is its identity. Blank is no id."""
    return f"nullif(trim({column}::varchar, {literal(_WHITESPACE)}), '')"


def _forgotten_rows(
    con: duckdb.DuckDBPyConnection, staging: Path, description: SourceDescription, forgotten: ForgottenPeople | None
) -> ForgottenRows:
    """Which staged rows are of forgotten people; nothing is looked at where nobody is forgotten."""
    if forgotten is None:
        return ForgottenRows({}, {})
    staged = {}
    for name in provided_tables(staging):
        relation = _read(staged_parts(staging, name))
        described = con.execute(f"describe select * from {relation}").fetchall()
        staged[name] = StagedTable(
            relation,
            {str(row[0]).lower(): str(row[1]) for row in described},
            {str(row[0]).lower(): str(row[0]) for row in described},
        )
    return find_forgotten(con, staged, forgotten, customer_id_is_personal=description.customer_id_is_personal)


def _extend_customer_ids(con: duckdb.DuckDBPyConnection, staging: Path, has_forgotten: bool = False) -> None:
    """Give every source id that has none yet the next surrogate id, in the order of the source ids.

    Ids come from every staged table, for a child row without a known customer names a person too. A forgotten
    customer's id gets none.
    """
    but_forgotten = "and source_id not in (from temp.forgotten_customers)" if has_forgotten else ""
    con.execute(f"create table if not exists {CUSTOMER_IDS} (customer_id varchar not null, source_id varchar not null)")
    found = " union ".join(
        f"select {_trimmed(quote('customer_id'))} as source_id from {_read(staged_parts(staging, name))}"
        for name in provided_tables(staging)
        if _has_customer_id(con, staging, name)
    )
    con.execute(
        f"""
        insert into {CUSTOMER_IDS}
        select format('C{{:05d}}', taken.newest + row_number() over (order by source_id)), source_id
        from ({found}) as found
        cross join (select coalesce(max(substr(customer_id, 2)::bigint), 0) as newest from {CUSTOMER_IDS}) as taken
        where source_id is not null
        and not exists (from {CUSTOMER_IDS} as known where known.source_id = found.source_id)
        {but_forgotten}
        order by source_id
        """
    )
    comment(
        con,
        CUSTOMER_IDS,
        "One row per customer of a source whose own ids are personal: the surrogate id used everywhere else.",
        {"customer_id": "The surrogate id.", "source_id": "The source's own id, trimmed; personal."},
    )


def _has_customer_id(con: duckdb.DuckDBPyConnection, staging: Path, name: str) -> bool:
    return "customer_id" in {column.lower() for column in _columns(con, staged_parts(staging, name))}


def _load_table(con: duckdb.DuckDBPyConnection, target: str, table: Table, query: str) -> int:
    """Replace one raw table; returns its rows."""
    rows = create_from_query(con, target, query)
    described = {column.name: column.description for column in table.columns}
    comment(con, target, f"{table.description} As the source gave it, before cleaning.", described)
    return rows


def _null(column: str) -> str:
    return f"null::varchar as {quote(column)}"


def _query(
    con: duckdb.DuckDBPyConnection,
    table: Table,
    staging: Path,
    description: SourceDescription,
    forgotten: str | None = None,
) -> str:
    """SELECT of a raw table: the contract's columns in order, then, where the table is open, the source's own.

    Rows for which `forgotten` (a predicate on `staged._staged_row`) holds are left out.
    """
    parts = staged_parts(staging, table.name)
    if not parts:
        return f"select {', '.join(_null(column) for column in table.column_names)} where false"
    source, staged = _read(parts), _columns(con, parts)
    by_name = {name.lower(): name for name in staged}
    further = [name for name in staged if name.lower() not in table.column_names]
    if further and not table.is_open:
        raise SourceError(f"The source {description.name} gives {table.name} the unknown columns {further}.")
    is_mapped = description.customer_id_is_personal and "customer_id" in by_name
    columns = []
    for name in table.column_names:
        if name not in by_name:
            columns.append(_null(name))
        elif name == "customer_id" and is_mapped:
            columns.append("known.customer_id as customer_id")
        else:
            columns.append(f"staged.{quote(by_name[name])} as {quote(name)}")
    columns += [f"staged.{quote(name)}" for name in further]
    if not is_mapped and forgotten is None:
        return f"select {', '.join(columns)} from {source} as staged"
    # A join does not promise the order of its rows, so they are numbered before it.
    numbered = f"(select *, row_number() over () as _staged_row from {source})"
    kept = f"where not ({forgotten}) " if forgotten is not None else ""
    if not is_mapped:
        return f"select {', '.join(columns)} from {numbered} as staged {kept}"
    return (
        f"select {', '.join(columns)} from {numbered} as staged "
        f"left join {CUSTOMER_IDS} as known on known.source_id = {_trimmed('staged.customer_id')} "
        f"{kept}order by staged._staged_row"
    )


def _write_source(
    con: duckdb.DuckDBPyConnection,
    description: SourceDescription,
    tables: tuple[str, ...],
    forgotten: Mapping[str, int],
) -> None:
    query = (
        "select $source::varchar as source, $title::varchar as title, $as_of::date as as_of, "
        "$currency::varchar as currency, $is_personal::boolean as customer_id_is_personal, "
        "$tables::varchar as provided_tables, "
        "map($names::varchar[], $counts::bigint[]) as forgotten_rows"
    )
    parameters = {
        "source": description.name, "title": description.title, "as_of": description.as_of,
        "currency": description.currency, "is_personal": description.customer_id_is_personal,
        "tables": ",".join(tables), "names": list(forgotten), "counts": list(forgotten.values()),
    }  # fmt: skip
    create_from_query(con, RAW_SOURCE, query, parameters)
    comment(con, RAW_SOURCE, "One row: where the raw tables came from.", _SOURCE_COLUMNS)
