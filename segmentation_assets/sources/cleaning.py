"""Cleaning: raw tables to clean ones, with every raw row accounted for.

For each table, raw rows = clean rows + rejected rows. A rejected row keeps its values and the first rule it broke; a
repaired cell is recorded with its value before and after. Rows of people who asked to be forgotten were never loaded:
they are counted as raw and as rejected by the rule `forgotten`, one rejection each, without a key and without values.
Here belongs the running of it: what a rule says and how a
value is read is in `cleaning_rules.py`, hand-written rules are the files of `sql/clean/TABLE/RULE.sql`.

A hand-written rule is one SELECT that returns the column `_row_id` of the rows that break it. It reads `temp.TABLE`
(all raw rows of its own or an earlier table of the contract, each value already in its declared type) and
`clean.TABLE` of earlier tables. Its header describes it, and `-- detail: ...` is the sentence written beside
the rejection.

All functions run inside the caller's transaction and start none. `clean_warehouse` writes to the warehouse only,
`clean_contacts` to the people database only: DuckDB allows one attached database to be written per transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date

import duckdb

from segmentation_assets.sources.cleaning_rules import (
    ROW,
    RULE_PRIORITY,
    Reading,
    Rule,
    all_columns,
    column_rules,
    read_column,
    read_directly,
    read_nothing,
    reads_directly,
    shown,
    spelling_query,
)
from segmentation_assets.sources.contract import CONTRACT, WAREHOUSE_TABLES, Column, Kind, Table
from segmentation_assets.warehouse.connection import literal, quote
from segmentation_assets.warehouse.sql_models import SQL_ROOT, SqlModel, SqlModelError, load_model
from segmentation_assets.warehouse.tables import columns_of, count_rows, create_from_query, ensure_schema, has_table

_PARENTS = frozenset(parent for table in CONTRACT.values() for parent in table.parents)

#: Temporary tables of the cleaning of one table: rows that break a rule (one row per rule), rows that are flagged in
#: any way, cells to repair, the verdict per rejected row, and what is made of a step.
_SCRATCH = ("rejected_keys", "broken", "flagged", "mended", "judged", "fixed")

REJECTED_COLUMNS = "table_name VARCHAR, row_key VARCHAR, rule VARCHAR, detail VARCHAR, row_json VARCHAR"
#: The rule of rows that loading left out, and all that is said of one.
FORGOTTEN = "forgotten"
_FORGOTTEN_SAYS = "Of a person who asked to be forgotten; nothing of the row is kept."
REPAIR_COLUMNS = "table_name VARCHAR, row_key VARCHAR, column_name VARCHAR, rule VARCHAR, before VARCHAR, after VARCHAR"


@dataclass(frozen=True)
class TableCounts:
    """What became of the rows of one table; `repaired_rows` are clean rows with at least one repaired cell."""

    raw_rows: int
    clean_rows: int
    rejected_rows: int
    repaired_rows: int


@dataclass(frozen=True)
class _Places:
    """Where the tables of one database are: the warehouse's or the people database's."""

    raw: str
    clean: str
    rejected: str
    repairs: str
    repairs_name_table: bool


def clean_warehouse(con: duckdb.DuckDBPyConnection, as_of: date, currency: str) -> dict[str, TableCounts]:
    """Make clean.* of all warehouse tables, quality.rejected_rows and quality.repairs from raw.*.

    Runs inside the caller's transaction; no personal data is needed. `as_of` is the last day of the data, `currency`
    the source's ISO code. Returns the counts by table. ValueError when raw.source or a raw table is missing or lacks
    a column of the contract.
    """
    if not has_table(con, "raw/source"):
        raise ValueError("raw.source is missing: load a source before cleaning.")
    row = con.execute("select coalesce(provided_tables, '') from raw.source").fetchone()
    provided = {name.strip() for name in (row[0] if row else "").split(",")}
    ensure_schema(con, "clean/customers")
    _fresh(con, "quality/rejected_rows", REJECTED_COLUMNS)
    _fresh(con, "quality/repairs", REPAIR_COLUMNS)
    counts: dict[str, TableCounts] = {}
    with _scratch(con):
        for name in WAREHOUSE_TABLES:
            table = CONTRACT[name]
            unchecked = {p for p in table.parents if p not in provided and _is_empty(con, f"raw/{p}")}
            places = _Places(f"raw.{name}", f"clean.{name}", "quality.rejected_rows", "quality.repairs", True)
            found = _clean_table(con, table, places, as_of=as_of, currency=currency, unchecked=unchecked)
            counts[name] = _with_forgotten(con, name, places.rejected, found)
    return counts


def clean_contacts(con: duckdb.DuckDBPyConnection, as_of: date) -> TableCounts:
    """Make people.contacts, people.rejected_contacts and people.contact_repairs from people.raw_contacts.

    Runs inside the caller's transaction on a connection with people attached, after `clean_warehouse`; reads
    clean.customers and raw.customers, writes the people database only. Malformed addresses become null.
    """
    _fresh(con, "people/rejected_contacts", REJECTED_COLUMNS)
    _fresh(con, "people/contact_repairs", REPAIR_COLUMNS.removeprefix("table_name VARCHAR, "))
    places = _Places(
        "people.raw_contacts", "people.contacts", "people.rejected_contacts", "people.contact_repairs", False
    )
    with _scratch(con):
        # The ids of customers whose row was rejected tell `parent_rejected` from `orphan`.
        customers = CONTRACT["customers"]
        types = {row[0]: str(row[1]) for row in con.execute("describe raw.customers").fetchall()}
        key = read_column(customers.column("customer_id"), types["customer_id"]).value
        con.execute(
            f"insert into temp.rejected_keys select distinct 'customers', {key} from raw.customers r "
            f"anti join clean.customers c on c.customer_id = {key} where {key} is not null"
        )
        found = _clean_table(con, CONTRACT["contacts"], places, as_of=as_of, currency=None, unchecked=set())
        return _with_forgotten(con, "contacts", places.rejected, found)


def write_contact_flags(con: duckdb.DuckDBPyConnection) -> int:
    """Make clean.contact_flags (booleans per customer, no personal data) from the cleaned contacts.

    Runs inside a transaction of its own, after the one around `clean_contacts`: it writes to the warehouse and only
    reads the people database. An address of two customers is kept for both and flagged. Returns the number of rows.
    """
    return create_from_query(
        con,
        "clean/contact_flags",
        "with malformed as (select row_key from people.contact_repairs where rule = 'malformed_email'), "
        "shared as (select email from people.contacts where email is not null group by email having count(*) > 1) "
        "select c.customer_id, c.email is not null or m.row_key is not null as has_email, "
        "c.email is not null as has_valid_email, s.email is not null as is_email_shared "
        "from people.contacts c left join malformed m on m.row_key = c.customer_id "
        "left join shared s on s.email = c.email order by c.customer_id",
    )


def write_row_accounting(con: duckdb.DuckDBPyConnection, counts: Mapping[str, TableCounts]) -> int:
    """Make quality.row_accounting with one row per contract table, contacts included (counts only).

    Runs inside the caller's transaction. ValueError when `counts` lacks a table or the rows of one do not add up.
    """
    lacking = [name for name in CONTRACT if name not in counts]
    if lacking:
        raise ValueError(f"Row accounting needs the counts of every contract table; missing: {', '.join(lacking)}.")
    for name in CONTRACT:
        seen = counts[name]
        if seen.raw_rows != seen.clean_rows + seen.rejected_rows:
            raise ValueError(
                f"{name}: {seen.raw_rows} raw rows are not {seen.clean_rows} clean and {seen.rejected_rows} rejected."
            )
    values = ", ".join(
        f"({literal(name)}, {seen.raw_rows}, {seen.clean_rows}, {seen.rejected_rows}, {seen.repaired_rows})"
        for name, seen in ((name, counts[name]) for name in CONTRACT)
    )
    return create_from_query(
        con,
        "quality/row_accounting",
        "select table_name, raw_rows::BIGINT as raw_rows, clean_rows::BIGINT as clean_rows, "
        "rejected_rows::BIGINT as rejected_rows, repaired_rows::BIGINT as repaired_rows from (values "
        f"{values}) as counted(table_name, raw_rows, clean_rows, rejected_rows, repaired_rows)",
    )


def hand_written_rules(table: str) -> list[SqlModel]:
    """The rules in `sql/clean/TABLE/`, by name. SqlModelError when one lacks its `detail:` line."""
    models = []
    for path in sorted((SQL_ROOT / "clean" / table).glob("*.sql")):
        model = load_model(path)
        if "detail" not in model.facts:
            raise SqlModelError(f"sql/clean/{table}/{path.name}: the header needs a line `-- detail: a sentence`.")
        models.append(model)
    return models


def _with_forgotten(con: duckdb.DuckDBPyConnection, name: str, rejected: str, found: TableCounts) -> TableCounts:
    """The counts with the rows that loading left out, which are put on record as rejected: their number and no more."""
    if not has_table(con, "raw/source") or "forgotten_rows" not in dict(columns_of(con, "raw/source")):
        return found  # loaded by an earlier version
    rows = con.execute("select coalesce(forgotten_rows[$name], 0) from raw.source", {"name": name}).fetchall()
    left_out = int(rows[0][0])
    if not left_out:
        return found
    con.execute(
        f"insert into {rejected} select {literal(name)}, '', {literal(FORGOTTEN)}, {literal(_FORGOTTEN_SAYS)}, '{{}}' "
        f"from range({left_out})"
    )
    return replace(found, raw_rows=found.raw_rows + left_out, rejected_rows=found.rejected_rows + left_out)


@contextmanager
def _scratch(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Temporary relations of one cleaning; dropped at its end (a rollback of the caller drops them too)."""
    con.execute("create or replace temp table rejected_keys (table_name VARCHAR, key VARCHAR)")
    yield
    for name, kind in con.execute(
        "select table_name, 'table' from duckdb_tables() where database_name = 'temp' union all "
        "select view_name, 'view' from duckdb_views() where database_name = 'temp' and not internal"
    ).fetchall():
        if (
            name in CONTRACT
            or name in ("rejected_keys", "broken", "flagged", "mended", "judged", "fixed")
            or name.startswith("spelling_")
        ):
            con.execute(f"drop {kind} temp.{quote(name)}")


def _fresh(con: duckdb.DuckDBPyConnection, table: str, columns: str) -> None:
    ensure_schema(con, table)
    con.execute(f"create or replace table {table.replace('/', '.')} ({columns})")


def _is_empty(con: duckdb.DuckDBPyConnection, table: str) -> bool:
    return count_rows(con, table) == 0


def _number(con: duckdb.DuckDBPyConnection, query: str) -> int:
    return int(con.execute(query).fetchall()[0][0])


@dataclass
class _Job:
    """One table being cleaned.

    `base` is the FROM clause of the raw table with the spellings that change, `values` the SQL of each value in it.
    """

    con: duckdb.DuckDBPyConnection
    table: Table
    places: _Places
    currency: str | None
    raw_columns: list[tuple[str, str]]
    columns: tuple[Column, ...]
    base: str
    joins: str = ""
    readings: Sequence[Reading] = ()
    raw_rows: int = 0
    rejected: int = 0
    values: dict[str, str] = field(default_factory=dict)

    @property
    def relation(self) -> str:
        """Every raw row with its values read as declared types."""
        return f"temp.{quote(self.table.name)}"

    def base_of(self, rows: str) -> str:
        """`base` for the rows whose `row_id` is in the table `rows` only: nothing is read of the others."""
        few = f"(select r.rowid as rowid, r.* from {self.places.raw} r semi join {rows} f on f.row_id = r.rowid)"
        return f"{_with_steps(few, self.readings, has_rowid=True)} r{self.joins}"


def _clean_table(
    con: duckdb.DuckDBPyConnection,
    table: Table,
    places: _Places,
    *,
    as_of: date,
    currency: str | None,
    unchecked: set[str],
) -> TableCounts:
    """Clean one table. `unchecked` are parents the source does not give at all: links to them are kept as they are."""
    raw_columns = _raw_columns(con, table, places)
    job = _Job(con, table, places, currency, raw_columns, all_columns(table, raw_columns), base=f"{places.raw} r")
    if _is_empty(con, places.raw):
        nulls = ", ".join(f"null::{column.sql_type} as {quote(column.name)}" for column in job.columns)
        create_from_query(con, places.clean, f"select {nulls} limit 0")
        return TableCounts(0, 0, 0, 0)
    readings = _readings(job)
    rules = column_rules(table, readings, as_of, currency)
    con.execute("create or replace temp table broken (row_id BIGINT, code INTEGER)")
    verdicts = _Verdicts(con)
    readings = _judge_columns(job, verdicts, rules, readings)
    # The rules were worded on the full readings; from here on a column without repairs is read in the cheaper way.
    job.values = {reading.column.name: reading.value for reading in readings}
    selected = ", ".join(f"{job.values[column.name]} as {quote(column.name)}" for column in job.columns)
    con.execute(
        f"create or replace temp view {quote(table.name)} as select r.rowid as {ROW}, {selected} from {job.base}"
    )
    for column in job.columns:
        if column.references and column.references not in unchecked:
            _judge_reference(verdicts, table, column)
    for model in hand_written_rules(table.name):
        code = verdicts.code(len(RULE_PRIORITY), model.path.stem, literal(model.facts["detail"]))
        parameters = {"as_of": as_of} if model.needs_as_of else {}
        con.execute(f"insert into temp.broken select {ROW}, {code} from ({model.query}\n)", parameters)
    _judge_duplicates(verdicts, table)

    con.execute(
        "create or replace temp table judged as select row_id, min(code) as code, count(distinct code) - 1 as others "
        "from temp.broken group by row_id"
    )
    job.rejected = _number(con, "select count(*) from temp.judged")
    _write_clean(job)
    _write_rejected(job, verdicts)
    repaired = _write_repairs(job, readings)
    return TableCounts(job.raw_rows, count_rows(con, places.clean), job.rejected, repaired)


def _raw_columns(con: duckdb.DuckDBPyConnection, table: Table, places: _Places) -> list[tuple[str, str]]:
    try:
        # `describe` is ten times faster than the catalog's tables, and there are many tables.
        found = [(str(row[0]), str(row[1])) for row in con.execute(f"describe {places.raw}").fetchall()]
    except duckdb.CatalogException:
        raise ValueError(
            f"{places.raw} is missing: every table of the contract is loaded, if need be with no rows."
        ) from None
    names = [name for name, _ in found]
    lacking = [name for name in table.column_names if name not in names]
    if lacking:
        raise ValueError(f"{places.raw} lacks {', '.join(lacking)}: a column the source has not is loaded as nulls.")
    reserved = [name for name in names if name.lower() in ("rowid", ROW)]
    if reserved:
        raise ValueError(f"{places.raw} has a column {reserved[0]}, a reserved name: give it another in the mapping.")
    return found


def _readings(job: _Job) -> list[Reading]:
    """How each column is read; sets `job.base` to the raw table with the steps of the readings and the spellings.

    One cheap pass tells which columns are null throughout and which texts need a cast only: most of them.
    """
    table, types, con = job.table, dict(job.raw_columns), job.con
    asked = [reads_directly(column, types[column.name]) for column in job.columns]
    looks = ", ".join(
        f"count(r.{quote(column.name)}), {'1' if direct is None else f'count_if(not coalesce({direct}, false))'}"
        for column, direct in zip(job.columns, asked, strict=True)
    )
    seen = con.execute(f"select {looks} from {job.places.raw} r").fetchall()[0]
    readings, joins = [], ""
    for slot, column in enumerate(job.columns):
        given, indirect = seen[2 * slot], seen[2 * slot + 1]
        raw_type, spelling = types[column.name], None
        if not given:
            readings.append(read_nothing(column))
            continue
        if asked[slot] is not None and not indirect:
            readings.append(read_directly(column, raw_type))
            continue
        if column.kind is Kind.CATEGORY:
            only = job.currency if (table.name, column.name) == ("orders", "currency") else None
            name = f"spelling_{table.name}_{slot}"
            query = spelling_query(column, job.places.raw, raw_type, only)
            con.execute(f"create or replace temp table {name} as {query}")
            if not _is_empty(con, f"temp.{name}"):
                spelling = f"s{slot}"
                joins += f" left join temp.{name} {spelling} on {spelling}.before = r.{quote(column.name)}::VARCHAR"
        is_declared = column.name in table.column_names
        readings.append(read_column(column, raw_type, spelling, is_declared=is_declared, slot=slot))
    job.base, job.joins, job.readings = f"{_with_steps(job.places.raw, readings)} r{joins}", joins, readings
    return readings


def _with_steps(relation: str, readings: Sequence[Reading], *, has_rowid: bool = False) -> str:
    """A relation with the raw table's columns as a subquery in which the steps of the readings are columns too."""
    row = "" if has_rowid else "r.rowid as rowid, "
    for level in range(max((len(reading.steps) for reading in readings), default=0)):
        steps = [step for reading in readings if level < len(reading.steps) for step in reading.steps[level]]
        named = ", ".join(f"{expression} as {quote(name)}" for name, expression in steps)
        relation = f"(select {row}r.*, {named} from {relation} r)"
        row = ""
    return relation


class _Verdicts:
    """Numbers the rules so that the smaller number is the rule of higher priority, and keeps their sentences."""

    _STEP = 10_000

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        self.rules: dict[int, tuple[str, str]] = {}

    def code(self, priority: int, name: str, detail: str) -> int:
        """A number for a rule of that priority; later ones of the same priority come after."""
        code = priority * self._STEP + sum(1 for known in self.rules if known // self._STEP == priority)
        self.rules[code] = (name, detail)
        return code

    def code_of(self, name: str, detail: str) -> int:
        """The number of a generated rule."""
        return self.code(RULE_PRIORITY.index(name), name, detail)


def _judge_columns(job: _Job, verdicts: _Verdicts, rules: Sequence[Rule], readings: Sequence[Reading]) -> list[Reading]:
    """One pass over the raw table: rows that break a rule go to temp.broken, rows with a repair to temp.mended.

    Returns the readings; those of columns in which nothing is repaired in their cheaper form.
    """
    con = job.con
    job.raw_rows = count_rows(con, job.places.raw)
    codes = [f"case when {rule.broken} then {verdicts.code_of(rule.name, rule.detail)} end" for rule in rules]
    repairs = {place: reading.is_repaired for place, reading in enumerate(readings) if reading.is_repaired is not None}
    places = [f"case when {is_repaired} then {place} end" for place, is_repaired in repairs.items()]
    anywhere = " or ".join(f"({predicate})" for predicate in [*(rule.broken for rule in rules), *repairs.values()])
    con.execute(
        f"create or replace temp table flagged as select r.rowid as row_id, [{', '.join(codes)}]::INTEGER[] as codes, "
        f"[{', '.join(places)}]::INTEGER[] as places from {job.base} where {anywhere or 'false'}"
    )
    con.execute(
        "insert into temp.broken select row_id, code from "
        "(select row_id, unnest(codes) as code from temp.flagged) where code is not null"
    )
    con.execute(
        "create or replace temp table mended as select row_id, place from "
        "(select row_id, unnest(places) as place from temp.flagged) where place is not null"
    )
    mended = {place for (place,) in con.execute("select distinct place from temp.mended").fetchall()}
    return [
        reading if place in mended or place not in repairs else reading.without_repairs()
        for place, reading in enumerate(readings)
    ]


def _judge_reference(verdicts: _Verdicts, table: Table, column: Column) -> None:
    parent = CONTRACT[str(column.references)]
    (parent_key,) = parent.key
    said = f"{literal(column.name + ' ')} || {shown(f'r.{quote(column.name)}::VARCHAR')}"
    orphan = verdicts.code_of("orphan", f"{said} || {literal(f' is not in {parent.name}.')}")
    rejected = verdicts.code_of(
        "parent_rejected", f"{said} || {literal(f' is in {parent.name}, but its row there was rejected.')}"
    )
    own = f"t.{quote(column.name)}"
    verdicts.con.execute(
        f"insert into temp.broken select lost.row_id, case when k.key is null then {orphan} else {rejected} end "
        f"from (select t.{ROW} as row_id, {own} as link from temp.{quote(table.name)} t "
        f"anti join clean.{parent.name} p on p.{quote(parent_key)} = {own} where {own} is not null) lost "
        f"left join (select distinct key from temp.rejected_keys where table_name = {literal(parent.name)}) k "
        "on k.key = lost.link"
    )


def _judge_duplicates(verdicts: _Verdicts, table: Table) -> None:
    """A row whose key an earlier row has is a duplicate, unless it is the first valid row of that key."""
    con, relation = verdicts.con, f"temp.{quote(table.name)}"
    keys = ", ".join(quote(name) for name in table.key)
    # Grouping a hash is several times cheaper than grouping text; equal hashes of different keys are sorted out below.
    con.execute(
        f"create or replace temp table fixed as select hash({keys}) as h from {relation} group by h having count(*) > 1"
    )
    if _is_empty(con, "temp.fixed"):
        return
    said = " || ' and ' || ".join(
        f"{literal(name + ' ')} || {shown(f'r.{quote(name)}::VARCHAR')}" for name in table.key
    )
    verb = "was" if len(table.key) == 1 else "were"
    code = verdicts.code_of(
        "duplicate_key", f"{said} || {literal(f' {verb} given before; the first valid row is kept.')}"
    )
    present = " and ".join(f"{quote(name)} is not null" for name in table.key)
    con.execute(
        f"insert into temp.broken "
        f"with suspects as (select {ROW} as row_id, {keys} from {relation} "
        f"where hash({keys}) in (select h from temp.fixed) and {present}), "
        f"firsts as (select {keys}, min(row_id) as first_row, min(row_id) filter (where row_id not in "
        f"(select row_id from temp.broken)) as kept_row from suspects group by {keys}) "
        f"select row_id, {code} from suspects join firsts using ({keys}) "
        "where row_id > first_row and row_id is distinct from kept_row"
    )


def _write_clean(job: _Job) -> None:
    kept = ", ".join(f"t.{quote(c.name)}::{c.sql_type} as {quote(c.name)}" for c in job.columns)
    query = f"select {kept} from {job.relation} t"
    if " join " in job.base:
        # A join gives up the source's order, and the tables must not depend on the number of threads.
        query += f" anti join temp.judged j on j.row_id = t.{ROW} order by t.{ROW}"
    elif job.rejected:
        # One bit per row keeps the order without a join and without sorting: half the time on ten million rows.
        job.con.execute(
            f"set variable rejected_rows = (select bitstring_agg(row_id, 0, {job.raw_rows - 1}) from temp.judged)"
        )
        query += f" where get_bit(getvariable('rejected_rows'), t.{ROW}::INTEGER) = 0"
    create_from_query(job.con, job.places.clean, query)
    job.con.execute("reset variable rejected_rows")


def _write_rejected(job: _Job, verdicts: _Verdicts) -> None:
    con, table, places = job.con, job.table, job.places
    if not job.rejected:
        return
    used = [code for (code,) in con.execute("select distinct code from temp.judged order by code").fetchall()]
    names = " ".join(f"when {code} then {literal(verdicts.rules[code][0])}" for code in used)
    details = " ".join(f"when {code} then {verdicts.rules[code][1]}" for code in used)
    key = " || '|' || ".join(f"({job.values[name]})" for name in table.key)
    # JSON knows no NaN: such a number is written as text.
    cells = ", ".join(
        f"{quote(name)} := "
        + (
            f"case when isfinite(r.{quote(name)}) then to_json(r.{quote(name)}) "
            f"else to_json(r.{quote(name)}::VARCHAR) end"
            if sql_type in ("FLOAT", "DOUBLE")
            else f"r.{quote(name)}"
        )
        for name, sql_type in job.raw_columns
    )
    con.execute(
        f"insert into {places.rejected} select {literal(table.name)}, "
        f"coalesce({key}, 'row ' || (j.row_id + 1)), "
        f"case j.code {names} end, (case j.code {details} end) || "
        "case when j.others = 0 then '' when j.others = 1 then ' The row breaks 1 other rule.' "
        "else ' The row breaks ' || j.others || ' other rules.' end, "
        f"to_json(struct_pack({cells}))::VARCHAR "
        f"from {job.base_of('temp.judged')} join temp.judged j on j.row_id = r.rowid order by j.row_id"
    )
    if table.name in _PARENTS:
        # A key of which one row was kept (the others were its duplicates) is not a rejected key.
        con.execute(
            f"insert into temp.rejected_keys with lost as (select distinct {key} as key "
            f"from {job.base_of('temp.judged')} where {key} is not null) "
            f"select {literal(table.name)}, key from lost where key not in (select c.{quote(table.key[0])} "
            f"from {places.clean} c semi join lost on lost.key = c.{quote(table.key[0])})"
        )


def _write_repairs(job: _Job, readings: Sequence[Reading]) -> int:
    """Record each repaired cell of the rows that were kept; returns how many rows those are."""
    con, table, places = job.con, job.table, job.places
    repairing = {place: reading for place, reading in enumerate(readings) if reading.is_repaired is not None}
    if not repairing:
        return 0
    key = " || '|' || ".join(f"({job.values[name]})" for name in table.key)

    def by_place(told: Callable[[Reading], str]) -> str:
        return f"case m.place {' '.join(f'when {place} then {told(r)}' for place, r in repairing.items())} end"

    con.execute(
        f"create or replace temp table fixed as select m.row_id, {key} as key, m.place, "
        f"{by_place(lambda r: literal(r.column.name))} as column_name, {by_place(lambda r: r.repair_rule)} as rule, "
        f"{by_place(lambda r: r.text)} as before, {by_place(lambda r: f'({r.repaired_text})::VARCHAR')} as after "
        f"from {job.base_of('temp.mended')} join temp.mended m on m.row_id = r.rowid "
        "anti join temp.judged j on j.row_id = r.rowid"
    )
    name = f"{literal(table.name)}, " if places.repairs_name_table else ""
    con.execute(
        f"insert into {places.repairs} select {name}key, column_name, rule, before, after from temp.fixed "
        "order by row_id, place"
    )
    return _number(con, "select count(distinct row_id) from temp.fixed")
