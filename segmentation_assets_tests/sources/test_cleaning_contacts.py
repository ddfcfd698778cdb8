"""Cleaning contact details: in the people database only, with booleans for the warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb
import pytest

from segmentation_assets.sources.cleaning import TableCounts, clean_contacts, clean_warehouse, write_contact_flags
from segmentation_assets.sources.contract import CONTRACT, WAREHOUSE_TABLES
from segmentation_assets.sources.contract_checks import contract_check_query, reference_check_query
from segmentation_assets.warehouse.connection import connect, transaction
from segmentation_assets.warehouse.sql_models import SQL_ROOT

AS_OF = date(2025, 6, 30)
CHECK = (SQL_ROOT / "checks" / "clean" / "contact_flags" / "one_row_per_customer.sql").read_text("utf-8")


@pytest.fixture
def con(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Both databases as files: customers C1 to C9, and C10 whose row is rejected."""
    with connect(tmp_path / "warehouse.duckdb", people=tmp_path / "people.duckdb") as made:
        made.execute("create schema raw")
        for name in WAREHOUSE_TABLES:
            columns = ", ".join(f"{column} VARCHAR" for column in CONTRACT[name].column_names)
            made.execute(f"create table raw.{name} ({columns})")
        made.execute("create table raw.source as select 'customers,contacts' as provided_tables")
        made.execute("insert into raw.customers (customer_id) select 'C' || i from range(1, 10) as numbers(i)")
        made.execute("insert into raw.customers (customer_id, birth_year) values ('C10', '1850')")
        columns = ", ".join(f"{column} VARCHAR" for column in CONTRACT["contacts"].column_names)
        made.execute(f"create table people.raw_contacts ({columns})")
        with transaction(made):
            clean_warehouse(made, AS_OF, "USD")
        yield made


def give(con: duckdb.DuckDBPyConnection, *rows: tuple[str | None, str | None]) -> TableCounts:
    con.execute("delete from people.raw_contacts")
    con.executemany("insert into people.raw_contacts (customer_id, email) values (?, ?)", [list(row) for row in rows])
    with transaction(con):
        counts = clean_contacts(con, AS_OF)
    with transaction(con):
        write_contact_flags(con)
    return counts


EMAILS = [
    ("ann@example.com", "ann@example.com", None),
    (" ann@example.com\u00a0", "ann@example.com", "trimmed"),
    ("Ann.O'Hara+news@Example.COM", "ann.o'hara+news@example.com", "case"),
    ("ann@bücher.example", "ann@bücher.example", None),
    ("ann@xn--bcher-kva.example", "ann@xn--bcher-kva.example", None),
    ("a" * 64 + "@example.com", "a" * 64 + "@example.com", None),
    ("a" * 65 + "@example.com", None, "malformed_email"),
    ("a@" + "b." * 124 + "example", None, "malformed_email"),
    ("a@" + "b" * 64 + ".com", None, "malformed_email"),
    ("ann..lee@example.com", None, "malformed_email"),
    (".ann@example.com", None, "malformed_email"),
    ("ann@example", None, "malformed_email"),
    ("ann@-example.com", None, "malformed_email"),
    ("ann@example.c", None, "malformed_email"),
    ("ann@@example.com", None, "malformed_email"),
    ("ann lee@example.com", None, "malformed_email"),
    ("ann@example.com\nbcc:all@example.com", None, "malformed_email"),
    ("jörg@example.com", None, "malformed_email"),
    ("not an address", None, "malformed_email"),
    ("  ", None, "empty_to_null"),
]


def test_addresses_are_repaired_or_made_null_and_both_recorded(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("delete from clean.customers")
    con.execute("insert into clean.customers (customer_id) select 'N' || i from range(100) as numbers(i)")
    counts = give(con, *((f"N{number}", before) for number, (before, _, _) in enumerate(EMAILS)))
    found = con.execute(
        "select c.email, r.rule, r.before from people.contacts c left join people.contact_repairs r "
        "on r.row_key = c.customer_id and r.column_name = 'email' order by c.customer_id[2:]::INTEGER"
    ).fetchall()
    expected = [(after, rule, before if rule else None) for before, after, rule in EMAILS]
    assert found == expected
    assert counts == TableCounts(len(EMAILS), len(EMAILS), 0, sum(1 for case in EMAILS if case[2]))


def test_flags_say_what_the_warehouse_may_know(con: duckdb.DuckDBPyConnection) -> None:
    give(
        con,
        ("C1", "a@example.com"),
        ("C2", "A@example.com "),
        ("C3", "nonsense"),
        ("C4", None),
        ("C5", "e@example.com"),
    )
    flags = con.execute("select * from clean.contact_flags order by customer_id").fetchall()
    assert flags == [
        ("C1", True, True, True), ("C2", True, True, True), ("C3", True, False, False),
        ("C4", False, False, False), ("C5", True, True, False),
    ]  # fmt: skip
    assert con.execute(CHECK).fetchall() == []
    con.execute("insert into clean.contact_flags values ('C9', false, true, false)")
    assert con.execute(CHECK).fetchall() == [("C9",)]


def test_a_contact_of_nobody_of_a_rejected_customer_or_given_twice_is_rejected(con: duckdb.DuckDBPyConnection) -> None:
    counts = give(con, ("C1", "a@example.com"), ("C1", "b@example.com"), ("C10", None), ("C99", None), (None, None))
    assert counts == TableCounts(5, 1, 4, 0)
    rejected = con.execute("select table_name, row_key, rule, detail from people.rejected_contacts").fetchall()
    assert rejected == [
        ("contacts", "C1", "duplicate_key", "customer_id 'C1' was given before; the first valid row is kept."),
        ("contacts", "C10", "parent_rejected", "customer_id 'C10' is in customers, but its row there was rejected."),
        ("contacts", "C99", "orphan", "customer_id 'C99' is not in customers."),
        ("contacts", "row 5", "missing_key", "customer_id is empty, and it is part of the key."),
    ]


def test_an_e_mail_column_of_nulls_is_no_address_for_anybody(con: duckdb.DuckDBPyConnection) -> None:
    counts = give(con, *((f"C{number}", None) for number in range(1, 10)))
    assert counts == TableCounts(9, 9, 0, 0)
    assert con.execute(
        "select count(*), count_if(has_email or has_valid_email) from clean.contact_flags"
    ).fetchall() == [(9, 0)]


def test_a_birth_date_after_the_as_of_date_is_impossible(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("insert into people.raw_contacts (customer_id, birth_date) values ('C1', '2030-01-01')")
    with transaction(con):
        clean_contacts(con, AS_OF)
    assert con.execute("select rule, detail from people.rejected_contacts").fetchall() == [
        ("after_as_of", "birth_date '2030-01-01' is after 2025-06-30, the as-of date.")
    ]


def test_cleaned_contacts_pass_the_contract_s_checks(con: duckdb.DuckDBPyConnection) -> None:
    give(con, ("C1", "a@example.com"), ("C1", None), ("C99", None))
    assert con.execute(contract_check_query("contacts"), {"as_of": AS_OF}).fetchall() == []
    assert con.execute(str(reference_check_query("contacts"))).fetchall() == []


def test_no_address_reaches_the_warehouse(con: duckdb.DuckDBPyConnection) -> None:
    give(con, ("C1", "canary@example.com"), ("C99", "canary@example.com"), ("C2", " canary@example.com"))
    texts = con.execute(
        "select schema_name, table_name, column_name from duckdb_columns() "
        "where database_name = 'warehouse' and data_type = 'VARCHAR'"
    ).fetchall()
    holding = [
        place for place in texts
        if con.execute(
            f'select count(*) from warehouse."{place[0]}"."{place[1]}" where contains("{place[2]}", \'canary\')'
        ).fetchall() != [(0,)]
    ]  # fmt: skip
    assert holding == []
    found = con.execute("select count(*) from people.contacts where contains(email, 'canary')").fetchall()
    assert found == [(2,)]
