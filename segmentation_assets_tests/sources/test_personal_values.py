"""What the wall learns of people: every contact detail that could stand in a text, and nothing that is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from segmentation_assets.language.privacy_wall import PrivacyWall
from segmentation_assets.sources import personal_values
from segmentation_assets.sources.personal_values import known_personal_values
from segmentation_assets.warehouse.connection import connect

COLUMNS = "customer_id varchar, email varchar, first_name varchar, last_name varchar, phone varchar, street varchar"
RAW = [
    ("C1", " Ann.Lee@Example.com", "Ann Marie", "O'Lee", "+49 30 23125 123", "Hauptstraße 12"),
    ("C2", None, "Søren", "Ångström", None, "12 Elm Lane"),
    ("C3", "broken at example.org", "Rose", None, "110", "Markt"),
    ("C4", None, None, None, None, None),
]


@pytest.fixture
def con(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A warehouse with people attached: raw contacts, and clean ones of which a row was changed by hand."""
    with connect(tmp_path / "warehouse.duckdb", people=tmp_path / "people.duckdb") as made:
        made.execute(f"create table people.raw_contacts ({COLUMNS})")
        made.executemany("insert into people.raw_contacts values (?, ?, ?, ?, ?, ?)", [list(row) for row in RAW])
        made.execute("create table people.contacts as from people.raw_contacts where customer_id in ('C1', 'C2')")
        made.execute("update people.contacts set last_name = 'Dahl' where customer_id = 'C2'")
        yield made


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("for ann lee example com", "e-mail address"),
        ("Broken at example.org", "e-mail address"),
        ("49_30_23125_123", "telephone number"),
        ("Ann Marie O'Lee likes tea", "name"),
        ("O’LEE, ANN MARIE", "name"),
        ("Ann O'Lee", "name"),
        ("soren angstrom", "name"),
        ("Soren Dahl", "name"),
        ("near hauptstrasse 12", "street"),
        ("12, Elm-Lane", "street"),
    ],
)
def test_every_form_of_a_contact_detail_is_known(con: duckdb.DuckDBPyConnection, text: str, kind: str) -> None:
    assert PrivacyWall(known_personal_values(con))(text.encode()) == f"The message holds the {kind} of a customer."


@pytest.mark.parametrize("text", ["Rose and Markt", "call 110", "Ann Marie", "Lee", "Hauptstraße", "Ångström"])
def test_single_words_and_short_numbers_are_no_personal_values(con: duckdb.DuckDBPyConnection, text: str) -> None:
    # "Ann Marie" is two first names of one person: a name needs its family name.
    assert PrivacyWall(known_personal_values(con))(text.encode()) is None


def test_source_ids_that_are_personal_are_known_too(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("create table people.customer_ids as select 'C00001' as customer_id, 'Grace Hopper' as source_id")
    assert PrivacyWall(known_personal_values(con))(b"Grace Hopper") == "The message holds the name of a customer."


def test_the_batch_size_changes_nothing(con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = known_personal_values(con)
    monkeypatch.setattr(personal_values, "BATCH_ROWS", 1)
    assert len(known_personal_values(con)) == len(at_once) == 12


def test_rows_that_cleaning_left_alone_are_read_once(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = sum(len(column) for column in personal_values._batches(con))
    assert read == (len(RAW) + 1) * 6


def test_a_source_without_contacts_has_no_known_values(tmp_path: Path) -> None:
    with connect(tmp_path / "warehouse.duckdb", people=tmp_path / "people.duckdb") as con:
        assert len(known_personal_values(con)) == 0


def test_without_the_people_database_it_is_refused_and_not_taken_for_empty(tmp_path: Path) -> None:
    with connect(tmp_path / "warehouse.duckdb") as con, pytest.raises(ValueError) as refused:
        known_personal_values(con)
    assert str(refused.value) == (
        "The people database is not attached, so no personal value is known: open the warehouse with_people."
    )


def test_nothing_readable_is_kept(con: duckdb.DuckDBPyConnection) -> None:
    known = known_personal_values(con)
    assert (known.hashes.dtype, known.starts.dtype) == ("uint64", "uint64")
    again = known_personal_values(con)
    assert known.salt != again.salt
    assert not set(known.hashes.tolist()) & set(again.hashes.tolist())
    assert repr(known) == "KnownValues()"
