"""A folder of SELECTs over a user's own files becomes the raw tables, whole, in order, with contacts apart."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation_assets.sources.contract import CONTRACT, WAREHOUSE_TABLES
from segmentation_assets.sources.description import (
    SourceDescription,
    SourceError,
    find_source,
    read_description,
)
from segmentation_assets.sources.loading import load_raw
from segmentation_assets.sources.mapped import stage_mapped, transcode_file
from segmentation_assets.warehouse.connection import Engine, connect
from segmentation_assets.warehouse.sql_models import SQL_ROOT

TOML = 'title = "A corner shop"\ncurrency = "EUR"\n'
CUSTOMERS = "select id as customer_id, town as city from read_csv('people.csv', header = true, all_varchar = true)"
CONTACTS = "select id as customer_id, mail as email from read_csv('people.csv', header = true, all_varchar = true)"
ORDERS = """select no as order_id, who as customer_id, day as ordered_at, 'completed' as status
from read_csv('sales.csv', header = true, all_varchar = true)"""
ORDER_ITEMS = """select no || '-1' as order_item_id, no as order_id, 1 as quantity, money as line_amount
from read_csv('sales.csv', header = true, all_varchar = true)"""
PEOPLE = "id,town,mail\nb,Bern,bea@example.com\na,Arles,ann@example.com\n"
SALES = "no,who,day,money\n2,a,2024-03-02,10.50\n1,b,2024-02-01,3.20\n3,a,2024-03-05,7\n"

#: A source somebody writes in ten minutes: two files, four SELECTs, two lines of description.
OWN_TABLES = {
    "source.toml": TOML,
    "customers.sql": CUSTOMERS,
    "contacts.sql": CONTACTS,
    "orders.sql": ORDERS,
    "order_items.sql": ORDER_ITEMS,
    "people.csv": PEOPLE,
    "sales.csv": SALES,
}


def write(folder: Path, files: Mapping[str, str | bytes | None]) -> Path:
    """A folder with these files; None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if content is not None:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def stage(source: Path, home: Path, data: Path | None = None, **options: Mapping[str, str]) -> SourceDescription:
    return stage_mapped(source, data, home / "staging", **options)


def load(source: Path, home: Path, data: Path | None = None, **options: Mapping[str, str]) -> dict[str, int]:
    """Stage and load as a run does."""
    described = stage(source, home, data, **options)
    return load_raw(home / "staging", described, home / "warehouse.duckdb", home / "people.duckdb", Engine(threads=1))


def rows(home: Path, query: str) -> list[tuple]:
    with connect(home / "warehouse.duckdb", people=home / "people.duckdb") as con:
        return con.execute(query).fetchall()


def refusal(tmp_path: Path, changes: Mapping[str, str | bytes | None], **options: Mapping[str, str]) -> str:
    """The sentence a changed copy of the little source is refused with; nothing may be left behind."""
    source = write(tmp_path / "shop", {**OWN_TABLES, **changes})
    with pytest.raises(SourceError) as caught:
        load(source, tmp_path, **options)
    assert not (tmp_path / "staging").exists()
    assert not (tmp_path / "warehouse.duckdb").exists()
    return str(caught.value)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the little shop loaded; tests only read it."""
    home = tmp_path_factory.mktemp("loaded")
    load(write(home / "shop", OWN_TABLES), home)
    return home


# --- bringing one's own tables ---


def test_a_folder_anywhere_is_a_source(tmp_path: Path) -> None:
    source = write(tmp_path / "my shop, Ltd. [2024]*'s", OWN_TABLES)
    counts = load(find_source(str(source), SQL_ROOT), tmp_path)
    assert counts["customers"] == 2
    assert counts["orders"] == counts["order_items"] == 3
    assert set(counts) == set(CONTRACT)
    assert rows(tmp_path, "from raw.source") == [
        ("my shop, Ltd. [2024]*'s", "A corner shop", date(2024, 3, 5), "EUR", False,
         "customers,contacts,orders,order_items", {}),
    ]  # fmt: skip


def test_rows_keep_the_order_of_the_source(loaded: Path) -> None:
    assert rows(loaded, "select order_id from raw.orders order by rowid") == [("2",), ("1",), ("3",)]
    assert rows(loaded, "select customer_id from raw.customers order by rowid") == [("b",), ("a",)]


def test_every_raw_table_is_there_with_the_columns_of_the_contract(loaded: Path) -> None:
    query = """select table_name, list(column_name order by column_index) from duckdb_columns()
        where schema_name = 'raw' and table_name <> 'source' group by all"""
    assert dict(rows(loaded, query)) == {name: list(CONTRACT[name].column_names) for name in WAREHOUSE_TABLES}
    assert rows(loaded, "select distinct gender, typeof(gender) from raw.customers") == [(None, "VARCHAR")]
    assert rows(loaded, "select count(*) from raw.products") == [(0,)]


def test_contacts_are_in_the_people_database_only(loaded: Path) -> None:
    assert rows(loaded, "select email from people.raw_contacts order by rowid") == [
        ("bea@example.com",),
        ("ann@example.com",),
    ]
    with connect(loaded / "warehouse.duckdb", read_only=True) as con:
        tables = con.execute("select schema_name || '.' || table_name from duckdb_tables()").fetchall()
        assert {name for (name,) in tables} == {f"raw.{name}" for name in WAREHOUSE_TABLES} | {"raw.source"}
        for (name,) in tables:
            assert con.execute(f"select count(*) from {name} as t where t::varchar like '%@%'").fetchall() == [(0,)]


def test_raw_tables_and_columns_are_commented(loaded: Path) -> None:
    query = """select count(*) from duckdb_columns() where comment is null and not internal
    and (schema_name = 'raw' or database_name = 'people')"""
    assert rows(loaded, query) == [(0,)]
    query = "select count(*) from duckdb_tables() where comment is null and not internal"
    assert rows(loaded, query) == [(0,)]


def test_a_second_load_replaces_the_first_and_drops_what_is_no_longer_given(tmp_path: Path) -> None:
    source = write(tmp_path / "shop", OWN_TABLES)
    load(source, tmp_path)
    (source / "contacts.sql").unlink()
    write(source, {"people.csv": "id,town,mail\nz,Zug,zoe@example.com\n"})
    assert load(source, tmp_path)["contacts"] == 0
    assert rows(tmp_path, "select customer_id from raw.customers") == [("z",)]
    assert rows(tmp_path, "select count(*) from people.raw_contacts") == [(0,)]


def test_a_failed_load_leaves_what_was_there(tmp_path: Path) -> None:
    source = write(tmp_path / "shop", OWN_TABLES)
    load(source, tmp_path)
    write(source, {"people.csv": "id,town,mail\nz,Zug,zoe@example.com\n"})
    described = stage(source, tmp_path)
    (tmp_path / "staging" / "orders" / "part-00000.parquet").write_bytes(b"PAR1 cut short by a full disk")
    with pytest.raises(duckdb.Error):
        load_raw(tmp_path / "staging", described, tmp_path / "warehouse.duckdb", tmp_path / "people.duckdb")
    assert rows(tmp_path, "select customer_id from raw.customers order by 1") == [("a",), ("b",)]
    assert not (tmp_path / "staging").exists()


def test_a_load_that_dies_halfway_leaves_every_raw_table_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "shop", OWN_TABLES)
    load(source, tmp_path)
    write(source, {"people.csv": "id,town,mail\nz,Zug,zoe@example.com\n"})

    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("segmentation_assets.sources.loading._write_source", full_disk)
    with pytest.raises(OSError, match="No space left"):
        load(source, tmp_path)
    assert rows(tmp_path, "select customer_id from raw.customers order by 1") == [("a",), ("b",)]
    assert not (tmp_path / "staging").exists()


def test_one_customer_is_enough(tmp_path: Path) -> None:
    changes = {"people.csv": "id,town,mail\na,Arles,ann@example.com\n", "sales.csv": "no,who,day,money\n"}
    source = write(tmp_path / "shop", {**OWN_TABLES, **changes, "source.toml": TOML + "as_of = 2024-01-01\n"})
    counts = load(source, tmp_path)
    assert (counts["customers"], counts["orders"]) == (1, 0)


def test_parts_are_read_in_order_of_their_names(tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    for table, columns in {"customers": "'c' || part || i as customer_id", "customer_attributes":
                           "'c' || part || i as customer_id, i as shoe_size"}.items():  # fmt: skip
        (staging / table).mkdir(parents=True)
        for part in (2, 0, 1):
            query = f"select {columns.replace('part', str(part))} from range(3) as t(i)"
            duckdb.sql(query).write_parquet(str(staging / table / f"part-{part:05d}.parquet"))
    described = SourceDescription(name="parts", title="Parts", currency="EUR", as_of=date(2024, 1, 1))
    load_raw(staging, described, tmp_path / "warehouse.duckdb", tmp_path / "people.duckdb")
    found = [row[0] for row in rows(tmp_path, "select customer_id from raw.customers order by rowid")]
    assert found == sorted(found)
    assert len(found) == 9
    assert rows(tmp_path, "select max(shoe_size) from raw.customer_attributes") == [(2,)]


def test_customer_attributes_take_further_columns_and_need_no_orders(tmp_path: Path) -> None:
    attributes = "select id as customer_id, 3 as order_count, length(town) as town_length, town from 'x'"
    source = write(
        tmp_path / "shop",
        {
            **OWN_TABLES,
            "orders.sql": None,
            "order_items.sql": None,
            "source.toml": TOML + "as_of = 2024-01-01\n",
            "customer_attributes.sql": attributes.replace("'x'", "read_csv('people.csv')"),
        },
    )
    load(source, tmp_path)
    columns = [row[0] for row in rows(tmp_path, "describe raw.customer_attributes")]
    assert columns == [*CONTRACT["customer_attributes"].column_names, "town_length", "town"]


def test_a_duckdb_file_can_be_attached(tmp_path: Path) -> None:
    source = write(tmp_path / "shop", OWN_TABLES)
    with duckdb.connect(str(source / "till.duckdb")) as con:
        con.execute("create table guests as select 'g1' as id")
    write(source, {"source.toml": TOML + '[attach]\ntill = "till.duckdb"\n'})
    write(source, {"customers.sql": "select id as customer_id from till.guests"})
    load(source, tmp_path)
    assert rows(tmp_path, "select customer_id from raw.customers") == [("g1",)]


def test_a_file_of_the_same_name_in_the_current_directory_is_not_taken_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "shop", OWN_TABLES)
    write(tmp_path / "elsewhere", {"people.csv": "id,town,mail\nwrong,X,x@example.com\n"})
    monkeypatch.chdir(tmp_path / "elsewhere")
    load(source, tmp_path)
    assert rows(tmp_path, "select count(*) from raw.customers where customer_id = 'wrong'") == [(0,)]


def test_lists_and_patterns_of_files_are_read_in_order(tmp_path: Path) -> None:
    orders = ORDERS.replace("'sales.csv'", "'sales_*.csv'")
    items = ORDER_ITEMS.replace("'sales.csv'", "['sales_2.csv', 'sales_1.csv']")
    header, *lines = SALES.splitlines()
    write(tmp_path / "shop", {"sales_1.csv": f"{header}\n{lines[0]}\n", "sales_2.csv": f"{header}\n{lines[1]}\n"})
    load(write(tmp_path / "shop", {**OWN_TABLES, "orders.sql": orders, "order_items.sql": items}), tmp_path)
    assert rows(tmp_path, "select order_id from raw.orders order by rowid") == [("2",), ("1",)]
    assert rows(tmp_path, "select order_id from raw.order_items order by rowid") == [("1",), ("2",)]


def test_a_trailing_semicolon_and_comments_are_no_second_statement(tmp_path: Path) -> None:
    source = write(tmp_path / "shop", {**OWN_TABLES, "customers.sql": f"-- who?\n{CUSTOMERS}; -- ; all of them\n"})
    assert load(source, tmp_path)["customers"] == 2


def test_the_staging_folder_is_private_and_goes_away(tmp_path: Path) -> None:
    write(tmp_path / "staging", {"left_by_a_killed_run.parquet": "x"})
    described = stage(write(tmp_path / "shop", OWN_TABLES), tmp_path)
    assert stat.S_IMODE((tmp_path / "staging").stat().st_mode) == 0o700
    assert not (tmp_path / "staging" / "left_by_a_killed_run.parquet").exists()
    load_raw(tmp_path / "staging", described, tmp_path / "warehouse.duckdb", tmp_path / "people.duckdb")
    assert not (tmp_path / "staging").exists()


def test_the_as_of_date_is_the_newest_sign_up_where_nothing_was_ordered(tmp_path: Path) -> None:
    customers = "select id as customer_id, '2023-05-0' || length(id) as signed_up_at from read_csv('people.csv')"
    source = write(tmp_path / "shop", {**OWN_TABLES, "customers.sql": customers, "sales.csv": "no,who,day,money\n"})
    assert stage(source, tmp_path).as_of == date(2023, 5, 1)


# --- ids ---


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ids=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=300),
        min_size=1,
        max_size=12,
        unique=True,
    )
)
def test_any_text_is_an_id(ids: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("ids")
    with duckdb.connect() as con:
        con.execute("create table t (id varchar)")
        con.executemany("insert into t values (?)", [[text] for text in ids])
        con.execute(f"copy t to '{home}/people.parquet'")
    files = {
        "source.toml": TOML + "as_of = 2024-01-01\n",
        "customers.sql": "select id as customer_id from read_parquet('people.parquet')",
        "customer_attributes.sql": "select id as customer_id, 1 as x from read_parquet('people.parquet')",
    }
    load(write(home, files), home)
    assert [row[0] for row in rows(home, "select customer_id from raw.customers order by rowid")] == ids


PERSONAL = {**OWN_TABLES, "source.toml": TOML + "customer_id_is_personal = true\n"}


def test_personal_ids_become_surrogates_in_every_table(tmp_path: Path) -> None:
    people = PEOPLE.replace("b,Bern", '"Bea O\'Hara ",Bern').replace("a,Arles", "Ann Ames,Arles")
    sales = "no,who,day,money\n1, Ann Ames,2024-03-02,1\n2,Bea O'Hara,2024-03-03,1\n3,Nobody Known,2024-03-04,1\n"
    load(write(tmp_path / "shop", {**PERSONAL, "people.csv": people, "sales.csv": sales}), tmp_path)
    assert rows(tmp_path, "from people.customer_ids order by 1") == [
        ("C00001", "Ann Ames"),
        ("C00002", "Bea O'Hara"),
        ("C00003", "Nobody Known"),
    ]
    assert rows(tmp_path, "select customer_id from raw.customers order by rowid") == [("C00002",), ("C00001",)]
    assert [row[0] for row in rows(tmp_path, "select customer_id from raw.orders order by rowid")] == [
        "C00001",
        "C00002",
        "C00003",
    ]
    assert rows(tmp_path, "select customer_id, email from people.raw_contacts order by rowid") == [
        ("C00002", "bea@example.com"),
        ("C00001", "ann@example.com"),
    ]
    with connect(tmp_path / "warehouse.duckdb", read_only=True) as con:
        for name in WAREHOUSE_TABLES:
            query = f"select count(*) from raw.{name} as t where t::varchar similar to '.*(Ames|Hara|Nobody).*'"
            assert con.execute(query).fetchall() == [(0,)]


@settings(max_examples=4, deadline=None)
@given(groups=st.lists(st.sets(st.integers(0, 30), min_size=1), min_size=2, max_size=3))
def test_a_customer_keeps_the_surrogate_id_whatever_comes_later(
    groups: list[set[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("surrogates")
    described = SourceDescription("names", "Names", "EUR", date(2024, 1, 1), customer_id_is_personal=True)
    known: dict[str, str] = {}
    for group in groups:
        for table, further in (("customers", ""), ("customer_attributes", ", 1 as shoe_size")):
            (home / "staging" / table).mkdir(parents=True)
            names = duckdb.sql(f"select 'Name ' || unnest({sorted(group)}) as customer_id{further}")
            names.write_parquet(str(home / "staging" / table / "part-00000.parquet"))
        load_raw(home / "staging", described, home / "warehouse.duckdb", home / "people.duckdb")
        now = {source: surrogate for surrogate, source in rows(home, "from people.customer_ids")}
        assert known.items() <= now.items()
        added = sorted(now.keys() - known.keys())
        assert [now[name] for name in added] == [f"C{len(known) + i + 1:05d}" for i in range(len(added))]
        assert len(set(now.values())) == len(now)
        known = now
    assert set(known) == {f"Name {number}" for number in set.union(*groups)}


def test_a_row_without_a_customer_stays_without_one(tmp_path: Path) -> None:
    sales = "no,who,day,money\n1,,2024-03-02,1\n2,  ,2024-03-03,1\n"
    load(write(tmp_path / "shop", {**PERSONAL, "sales.csv": sales}), tmp_path)
    assert rows(tmp_path, "select customer_id from raw.orders") == [(None,), (None,)]


# --- encodings and inputs ---


def test_a_file_in_cp1252_is_read_as_declared(tmp_path: Path) -> None:
    files = '[files]\n"people.csv" = {encoding = "cp1252"}\n'
    people = "id,town,mail\nß,Genève €,x@example.com\n".encode("cp1252")
    load(write(tmp_path / "shop", {**OWN_TABLES, "source.toml": TOML + files, "people.csv": people}), tmp_path)
    assert rows(tmp_path, "select customer_id, city from raw.customers") == [("ß", "Genève €")]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(codec="cp1252"), max_size=40),
    encoding=st.sampled_from(["cp1252", "utf-16", "utf-8-sig", "gb18030"]),
)
def test_transcoding_keeps_every_character_across_blocks(
    text: str, encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segmentation_assets.sources.mapped._BLOCK", 3)
    (tmp_path / "original").write_bytes(text.encode(encoding))
    transcode_file(tmp_path / "original", tmp_path / "copy", encoding, "source.toml")
    assert (tmp_path / "copy").read_bytes() == text.encode()


def test_an_encoding_may_be_declared_for_an_input_or_a_pattern(tmp_path: Path) -> None:
    changes = {
        "source.toml": TOML + '[inputs]\nguests = "people.csv"\n[files]\nguests = {encoding = "cp1252"}\n'
        '"sal*.csv" = {encoding = "utf-16"}\n',
        "customers.sql": "select id as customer_id from read_csv(getvariable('guests'), header = true)",
        "people.csv": "id,town,mail\nGenève,x,y\n".encode("cp1252"),
        "sales.csv": SALES.encode("utf-16"),
    }
    assert load(write(tmp_path / "shop", {**OWN_TABLES, **changes}), tmp_path)["orders"] == 3
    assert rows(tmp_path, "select customer_id from raw.customers") == [("Genève",)]


def test_a_byte_the_encoding_does_not_know_is_named_with_its_line(tmp_path: Path) -> None:
    files = '[files]\n"people.csv" = {encoding = "cp1252"}\n'
    message = refusal(
        tmp_path, {"source.toml": TOML + files, "people.csv": b"id,town,mail\na,\x81,secret@example.com\n"}
    )
    assert "people.csv, line 2: the byte 0x81 at offset 15 is not valid in cp1252" in message
    assert "secret" not in message


def test_an_undeclared_encoding_says_how_to_declare_it(tmp_path: Path) -> None:
    message = refusal(tmp_path, {"people.csv": "id,town,mail\na,Genève,x@example.com\n".encode("cp1252")})
    assert "people.csv" in message
    assert "not UTF-8" in message
    assert 'encoding = "cp1252"' in message
    assert "example.com" not in message


def test_the_first_input_that_is_there_wins_unless_another_is_asked_for(tmp_path: Path) -> None:
    changes = {
        "source.toml": TOML + '[inputs]\nguests = ["nowhere.csv", "people.csv", "other.csv"]\n',
        "customers.sql": "select id as customer_id from read_csv(getvariable('guests'))",
        "other.csv": "id\nx\n",
    }
    source = write(tmp_path / "shop", {**OWN_TABLES, **changes})
    load(source, tmp_path)
    assert rows(tmp_path, "select count(*) from raw.customers") == [(2,)]
    load(source, tmp_path, inputs={"guests": "other.csv"})
    assert rows(tmp_path, "select customer_id from raw.customers") == [("x",)]
    with pytest.raises(SourceError, match=r"no input gests. Did you mean guests"):
        stage(source, tmp_path, inputs={"gests": "other.csv"})
    with pytest.raises(SourceError, match=r"no file othr.csv in .* Did you mean other.csv"):
        stage(source, tmp_path, inputs={"guests": "othr.csv"})


# --- what is refused, and how it is said ---


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"people.csv": None}, ["customers.sql, line 1", "no file people.csv in", "--data DIR"]),
        ({"people.csv": None, "peoples.csv": "id\n"}, ["Did you mean peoples.csv?"]),
        ({"people.csv": "id,town,mail\n"}, ["customers has no rows"]),
        ({"people.csv": ""}, ["customers.sql, line 1", "id", "header = true"]),
        ({"customers.sql": None}, ["no table customers"]),
        ({"orders.sql": None}, ["nothing to segment by", "Add orders "]),
        ({"order_items.sql": None, "orders.sql": None}, ["orders and order_items", "customer_attributes"]),
        ({"ordres.sql": ORDERS}, ["ordres is not a table", "Did you mean orders?"]),
        ({"orders.sql": ORDERS + ")"}, ["orders.sql, line 2", "syntax error", "Expected one SELECT"]),
        ({"orders.sql": "select\n  no,\n  (who\nfrom x"}, ["orders.sql, line 4", "from", "Expected one SELECT"]),
        ({"orders.sql": "select 'no"}, ["orders.sql", "unterminated", "Expected one SELECT"]),
        ({"orders.sql": ""}, ["orders.sql", "found 0 statement", "one SELECT"]),
        ({"orders.sql": f"{ORDERS}; {ORDERS}"}, ["orders.sql", "found 2 statement", "one SELECT"]),
        ({"orders.sql": "create table orders as select 1"}, ["orders.sql", "one SELECT", "may not write"]),
        ({"orders.sql": f"copy ({ORDERS}) to 'x.csv'"}, ["orders.sql", "one SELECT", "may not write"]),
        ({"orders.sql": ORDERS.replace("no as order_id", "\nnumber as order_id")}, ["orders.sql, line 2", "number"]),
        ({"orders.sql": ORDERS.replace("as ordered_at", "as orderd_at")}, ["no column orderd_at", "mean ordered_at?"]),
        ({"orders.sql": ORDERS.replace("no as order_id, ", "")}, ["no column order_id", "requires"]),
        ({"orders.sql": ORDERS.replace("day as ordered_at,", "")}, ["no column ordered_at", "requires"]),
        ({"orders.sql": ORDERS.replace("'completed'", "1 as STATUS, 2")}, ["2 columns are called", "AS"]),
        ({"orders.sql": ORDERS.replace("'completed'", "[1, 2]")}, ["column status is a INTEGER[]"]),
        ({"orders.sql": ORDERS.replace("read_csv(", "read_cvs(")}, ["orders.sql, line 2", "read_csv"]),
        ({"orders.sql": ORDERS.replace("all_varchar", "al_varchar")}, ["orders.sql, line 2", "all_varchar"]),
        ({"orders.sql": ORDERS.replace("'sales.csv'", "'sales' || '.csv'")}, ["orders.sql, line 2", "as a text"]),
        ({"orders.sql": ORDERS.replace("'sales.csv'", "getvariable('s')")}, ["orders.sql, line 2", "[inputs] s ="]),
        ({"orders.sql": "select 1 as order_id from 'sales.csv'"}, ["orders.sql", "Write read_csv('sales.csv')"]),
        ({"orders.sql": 'select 1 as order_id from "sales.csv"'}, ["orders.sql", "Write read_csv('sales.csv')"]),
        ({"orders.sql": "select *\nfrom sales"}, ["orders.sql, line 2", "sales does not exist", "read_csv"]),
        ({"orders.sql": "select *\nfrom read_parquet('sales.csv')"}, ["orders.sql, line 2", "Parquet"]),
        ({"orders.sql": b"select '\xe9' as order_id"}, ["orders.sql", "not UTF-8 at byte 8"]),
        ({"source.toml": TOML + '[files]\n"sale.csv" = {encoding = "cp1252"}'}, ["[files]: there", "mean sales.csv?"]),
        ({"source.toml": TOML + '[attributes]\nprotected = ["faith"]'}, ["attributes.protected", "no column faith"]),
        ({"customer_attributes.sql": CONTACTS}, ["email is a contact detail", "contacts.sql"]),
        ({"sales.csv": "no,who,day,money\n"}, ["as_of = YYYY-MM-DD"]),
        ({"source.toml": None}, ["has no source.toml"]),
        ({"source.toml": "title = 'x'\ncurency = 'EUR'"}, ["unknown key curency", "Did you mean currency?"]),
        ({"source.toml": "title = 'x'\ncurrency = 'Euro'"}, ["ISO 4217"]),
        ({"source.toml": "title = 'x'"}, ["currency is missing"]),
        ({"source.toml": "title = 'x"}, ["source.toml: not valid TOML"]),
        ({"source.toml": TOML + "as_of = '5 May'"}, ["as_of = '5 May' is not a date"]),
        ({"source.toml": TOML + "customer_id_is_personal = 'yes'"}, ["must be true or false"]),
        ({"source.toml": TOML + "[axes.tast]\nis_on = false"}, ["unknown key axes.tast", "Did you mean taste?"]),
        ({"source.toml": TOML + '[files]\n"a.csv" = {encodng = "x"}'}, ["encodng", "Did you mean encoding?"]),
        ({"source.toml": TOML + '[files]\n"a.csv" = {encoding = "cp12522"}'}, ["unknown encoding", "cp1252"]),
        ({"source.toml": TOML + '[inputs]\ncampaign = "gone.csv"'}, ["input campaign", "gone.csv", "--input"]),
        ({"source.toml": TOML + '[attach]\ntill = "gone.duckdb"'}, ["attach.till", "no file gone.duckdb"]),
        ({"source.toml": TOML + '[attach]\ntill = "sales.csv"'}, ["attach.till", "cannot be opened as a DuckDB"]),
    ],
)
def test_a_mistake_is_named_with_its_place_and_the_way_out(
    tmp_path: Path, changes: Mapping[str, str | bytes | None], expected: list[str]
) -> None:
    message = refusal(tmp_path, changes)
    for part in expected:
        assert part in message, message


def test_a_missing_data_folder_is_named(tmp_path: Path) -> None:
    source = write(tmp_path / "shop", OWN_TABLES)
    with pytest.raises(SourceError, match=r"data folder .*nowhere does not exist.*--data DIR"):
        stage(source, tmp_path, tmp_path / "nowhere")


def test_an_unknown_source_lists_the_known_ones() -> None:
    with pytest.raises(SourceError, match=r"Did you mean cdnow.*cdnow, marketing_campaign, sales_data_sample"):
        find_source("cdnwo", SQL_ROOT)


def test_a_folder_without_a_description_is_told_to_add_one(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"has no source.toml. Add one"):
        find_source(str(tmp_path), SQL_ROOT)


@pytest.mark.parametrize(
    "column",
    [
        "mail::integer",
        "strptime(mail, '%Y')::varchar",
        "phone::integer",
        "(mail || ' ''\"x')::date",
        "error(mail)",
        "mail::date",
        "mail::boolean",
        "regexp_matches(mail, '(' || mail)",
        "phone::bigint * 1000000000000",
    ],
)
def test_no_message_repeats_a_value_of_the_data(tmp_path: Path, column: str) -> None:
    contacts = (
        f"select id as customer_id,\n{column} as phone from read_csv('people.csv', header = true, all_varchar = true)"
    )
    people = 'id,town,mail,phone\na,"secret ""town",secret\'s@example.com,21255578180\n'
    message = refusal(tmp_path, {"contacts.sql": contacts, "people.csv": people})
    assert "contacts.sql" in message
    for value in ("secret", "example.com", "2125557818"):
        assert value not in message


BROKEN_LINES = ["a,b", "secret,x,secret@example.com,1,2", 'a,"secret,secret@example.com']


@pytest.mark.parametrize("line", BROKEN_LINES)
@pytest.mark.parametrize(
    ("lines_before", "place"), [(1, "people.csv: its lines"), (30_000, "people.csv, line 30002: ")]
)
def test_a_broken_csv_line_is_named_and_not_repeated(tmp_path: Path, line: str, lines_before: int, place: str) -> None:
    customers = """select id as customer_id from read_csv('people.csv', header = true, delim = ',', quote = '"',
        columns = {'id': 'varchar', 'town': 'varchar', 'mail': 'varchar'})"""
    people = "id,town,mail\n" + "a,b,c\n" * lines_before + line + "\n"
    message = refusal(tmp_path, {"customers.sql": customers, "people.csv": people})
    assert place in message
    assert "secret" not in message


def test_a_mapping_cannot_read_a_variable_of_the_program(tmp_path: Path) -> None:
    assert "people does not exist" in refusal(tmp_path, {"orders.sql": "select 1 as order_id from people"})


def test_reading_a_source_leaves_nothing_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    load(write(tmp_path / "shop", OWN_TABLES), tmp_path)
    assert os.listdir(tmp_path / "here") == []  # noqa: PTH208 - a plain listing says it best


def test_every_shipped_description_is_valid() -> None:
    names = [path.parent.name for path in sorted(SQL_ROOT.glob("sources/*/source.toml"))]
    assert names == ["cdnow", "marketing_campaign", "sales_data_sample", "thelook_segments"]
    for name in names:
        assert read_description(find_source(name, SQL_ROOT)).title
