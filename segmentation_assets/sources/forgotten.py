"""People who asked to be forgotten, recognised in what a source gives by keyed hashes alone.

What belongs here: which staged rows are theirs, in the table of customers and in every table that leads to it. What
does not: the hashes and the key (`delivery.rights` hands them in), and the removal of what was loaded before
(`people_file`).

A row is theirs when its customer is, and a customer is by the hash of the id, or by the hash of an address among the
contacts: who comes back under another id is recognised too. Rows of orders lead to lines, returns and payments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import duckdb

from segmentation_assets.sources.cleaning_rules import read_column, trimmed
from segmentation_assets.sources.contract import CONTRACT, Column
from segmentation_assets.warehouse.connection import quote

#: Hashes of values that are handed in; None for what has no hash (an address no server would take).
Hashes = Callable[[Sequence[str]], Sequence[str | None]]

_CUSTOMERS = "customers"
#: DuckDB hands out rows, and Python hashes them, this many at a time.
_CHUNK = 200_000


@dataclass(frozen=True)
class ForgottenPeople:
    """Keyed hashes of forgotten customers' ids and addresses, and how to hash what a source gives."""

    customers: frozenset[str] = field(repr=False)
    addresses: frozenset[str] = field(repr=False)
    hash_customers: Hashes = field(repr=False)
    hash_addresses: Hashes = field(repr=False)

    def ids_among(self, ids: Iterable[str]) -> list[str]:
        """Those of the ids that are of forgotten customers, in their order."""
        return _matching(ids, self.customers, self.hash_customers)

    def addresses_among(self, addresses: Iterable[str]) -> list[str]:
        """Those of the addresses (trimmed, in lower case) that are of forgotten customers, in their order."""
        return _matching(addresses, self.addresses, self.hash_addresses)


@dataclass(frozen=True)
class StagedTable:
    """A staged table: what to read it FROM, and the DuckDB types of its columns by lower-case name."""

    relation: str
    types: Mapping[str, str]
    names: Mapping[str, str]


@dataclass(frozen=True)
class ForgottenRows:
    """What is theirs: how many rows of each table, and a predicate on `staged._staged_row` (from 1) true of them.

    The predicate reads a bit per row: so the other rows stay in their order without a join and without sorting.
    """

    conditions: Mapping[str, str]
    counts: Mapping[str, int]


def canonical_id(column: Column, staged: StagedTable, *, is_source_id: bool = False) -> str:
    """The id in a column of `r` as cleaning will read it; a source's own personal id is its trimmed text."""
    name = staged.names[column.name]
    if is_source_id:
        return f"nullif({trimmed(f'r.{quote(name)}::VARCHAR')}, '')"
    own = f"r.{quote(name)}"
    value = read_column(column, staged.types[column.name]).value.replace(f"r.{quote(column.name)}", own)
    if staged.types[column.name] != "VARCHAR":
        return value
    # Most ids have nothing to trim; telling that by their ends is many times cheaper than by a pattern.
    is_plain = f"strlen({own}) = length({own}) and unicode({own}) > 32 and unicode(right({own}, 1)) > 32"
    return f"case when {is_plain} and length({own}) > 4 then {own} else {value} end"


def address_text(column: str) -> str:
    """An address as text without white space around it, in lower case: what is converted and hashed."""
    return f"lower({trimmed(f'{column}::VARCHAR')})"


def find_forgotten(
    con: duckdb.DuckDBPyConnection,
    staged: Mapping[str, StagedTable],
    people: ForgottenPeople,
    *,
    customer_id_is_personal: bool,
) -> ForgottenRows:
    """The staged rows of forgotten people, by table in the order of the contract. Makes temporary tables on `con`.

    A million ids and as many addresses take some seconds.
    """
    customers = set(people.ids_among(_customer_ids(con, staged, customer_id_is_personal)))
    addresses: list[str] = []
    contacts = staged.get("contacts")
    if contacts is not None and "email" in contacts.names and people.addresses:
        email = address_text(f"r.{quote(contacts.names['email'])}")
        found = con.execute(f"select distinct {email} from {contacts.relation} r where {email} <> ''").fetchall()
        addresses = people.addresses_among(row[0] for row in found)
        if addresses:
            _keep(con, "forgotten_addresses", addresses)
            owner = canonical_id(
                CONTRACT["contacts"].column("customer_id"), contacts, is_source_id=customer_id_is_personal
            )
            owners = con.execute(
                f"select distinct {owner} from {contacts.relation} r where {email} in (from temp.forgotten_addresses)"
            ).fetchall()
            customers |= {row[0] for row in owners if row[0] is not None}
    _keep(con, "forgotten_customers", sorted(customers))
    if not customers and not addresses:
        return ForgottenRows({}, {})
    return _rows_of(con, staged, customer_id_is_personal, has_addresses=bool(addresses))


def _rows_of(
    con: duckdb.DuckDBPyConnection, staged: Mapping[str, StagedTable], is_personal: bool, *, has_addresses: bool
) -> ForgottenRows:
    conditions: dict[str, str] = {}
    counts: dict[str, int] = {}
    leading = {_CUSTOMERS}
    for name, table in CONTRACT.items():
        if name not in staged:
            continue
        given = staged[name]
        own: list[str] = []
        for column in table.columns:
            parent = _CUSTOMERS if column.name == "customer_id" else column.references
            if parent not in leading or column.name not in given.names:
                continue
            key = canonical_id(column, given, is_source_id=is_personal and column.name == "customer_id")
            own.append(f"coalesce({key} in (from temp.forgotten_{parent}), false)")
        if name == "contacts" and has_addresses:
            email = address_text(f"r.{quote(given.names['email'])}")
            own.append(f"coalesce({email} in (from temp.forgotten_addresses), false)")
        if not own:
            continue
        condition = f"({' or '.join(own)})"
        con.execute(
            "create or replace temp table forgotten_places as select _staged_row as place from "
            f"(select *, row_number() over () as _staged_row from {given.relation}) as r where {condition}"
        )
        count, total = con.execute(
            f"select (select count(*) from temp.forgotten_places), (select count(*) from {given.relation})"
        ).fetchall()[0]
        if not count:
            continue
        con.execute(
            f"set variable forgotten_{name} = (select bitstring_agg(place, 1, {total}) from temp.forgotten_places)"
        )
        conditions[name] = f"get_bit(getvariable('forgotten_{name}'), (staged._staged_row - 1)::INTEGER) = 1"
        counts[name] = int(count)
        if name != _CUSTOMERS and len(table.key) == 1:
            key = canonical_id(table.column(table.key[0]), given)
            found = f"select distinct {key} as key from {given.relation} r where {condition} and {key} is not null"
            con.execute(f"create or replace temp table forgotten_{name} as {found}")
            leading.add(name)
    return ForgottenRows(conditions, counts)


def _customer_ids(
    con: duckdb.DuckDBPyConnection, staged: Mapping[str, StagedTable], is_personal: bool
) -> Iterable[str]:
    """Every id of a customer that any staged table names: a row without a known customer names a person too."""
    queries = []
    for name, given in staged.items():
        if "customer_id" in given.names and "customer_id" in CONTRACT[name].column_names:
            key = canonical_id(CONTRACT[name].column("customer_id"), given, is_source_id=is_personal)
            queries.append(f"select {key} as key from {given.relation} r")
    if not queries:
        return
    rows = con.cursor().execute(f"select key from ({' union '.join(queries)}) where key is not null")
    while chunk := rows.fetchmany(_CHUNK):
        for (key,) in chunk:
            yield key


def _keep(con: duckdb.DuckDBPyConnection, table: str, values: Sequence[str]) -> None:
    con.execute(f"create or replace temp table {table} as select unnest(?::varchar[]) as key", [list(values)])


def _matching(values: Iterable[str], known: frozenset[str], hashed: Hashes) -> list[str]:
    given = list(values)
    if not known or not given:
        return []
    return [value for value, made in zip(given, hashed(given), strict=True) if made is not None and made in known]
