"""A list for another sender names those who may be written to, and says of everybody else why not."""

from __future__ import annotations

import csv
import datetime as dt
import errno
import hashlib
import os
from pathlib import Path

import duckdb
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from segmentation_assets import cli_rights
from segmentation_assets.delivery.keys import open_key
from segmentation_assets.delivery.recipient_list import REASONS, RecipientList, _safe, decide_recipients, write_list
from segmentation_assets.delivery.rights import RightsError
from segmentation_assets.settings import Home
from segmentation_assets.state import rights
from segmentation_assets.state.models import Forgotten, Suppression
from segmentation_assets.state.store import open_state

NOW = dt.datetime(2026, 7, 1, 9, 0)
#: customer, consent, unsubscribed, minor, valid address, shared, decision, reason, variant, address, first name
PEOPLE = [
    ("c01", True, False, False, True, False, "send", "send", "A", "ann@example.com", "Ann"),
    ("c02", True, False, False, True, False, "send", "send", "B", "+plus@example.com", "=HYPERLINK(1)"),
    ("c03", False, False, False, True, False, "excluded", "no_consent", "", "bob@example.com", "Bob"),
    ("c04", False, True, False, True, False, "excluded", "unsubscribed", "", "cle@example.com", "Cleo"),
    ("c05", True, False, True, True, False, "excluded", "minor", "", "dan@example.com", "Dan"),
    ("c06", True, False, False, False, False, "excluded", "no_valid_address", "", None, "Eve"),
    ("c07", True, False, False, True, True, "excluded", "shared_address", "", "fay@example.com", "Fay"),
    ("c08", True, False, False, True, False, "control", "control", "", "gus@example.com", "Gus"),
    ("c09", True, False, False, True, False, "hold_out", "hold_out", "", "hal@example.com", "Hal"),
    ("c10", True, False, False, True, False, "excluded", "frequency_cap", "", "ida@example.com", "Ida"),
    ("c11", True, False, False, True, False, "send", "send", "A", "jan@example.com", "Jan"),
    ("c12", True, False, False, True, False, "send", "send", "A", "kim@example.com", "Kim"),
    ("c13", True, False, False, True, False, "send", "send", "A", "leo@example.com", "Leo"),
    ("c14", True, False, False, True, False, "send", "send", "B", "moe@example.com", "Moe"),
]  # fmt: skip
EXPECTED = {
    "c03": "no_consent", "c04": "unsubscribed", "c05": "minor", "c06": "no_valid_address", "c07": "shared_address",
    "c08": "control", "c09": "hold_out", "c10": "frequency_cap", "c11": "suppressed_complaint",
    "c12": "suppressed_hard_bounce", "c13": "opted_out",
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A published plan of fourteen customers; one complained, bounced, opted out or was forgotten since."""
    place = Home(tmp_path / "home")
    place.ensure()
    with duckdb.connect(str(place.published)) as con:
        con.execute("create schema features; create schema segments; create schema delivery")
        con.execute(
            "create table features.reachability (customer_id VARCHAR, has_consent BOOLEAN, has_unsubscribed BOOLEAN, "
            "is_minor BOOLEAN, has_valid_email BOOLEAN, is_email_shared BOOLEAN);"
            "create table segments.customer_segments (customer_id VARCHAR, stage_segment_id VARCHAR, "
            "taste_segment_id VARCHAR);"
            "create table segments.segment_summary as select unnest(['S1', 'T1', 'T2']) as segment_id;"
            "create table delivery.plan (customer_id VARCHAR, campaign_id VARCHAR, decision VARCHAR, reason VARCHAR, "
            "variant VARCHAR)"
        )
        for row in PEOPLE:
            con.execute("insert into features.reachability values (?, ?, ?, ?, ?, ?)", row[:6])
            con.execute("insert into segments.customer_segments values (?, 'S1', 'T1')", row[:1])
            con.execute("insert into delivery.plan values (?, 'K1', ?, ?, ?)", (row[0], *row[6:9]))
        con.execute("insert into segments.customer_segments values ('c15', 'S1', 'T2')")
        con.execute("insert into features.reachability values ('c15', true, false, false, true, false)")
        con.execute("insert into delivery.plan values ('c15', null, 'excluded', 'no_campaign', '')")
    with duckdb.connect(str(place.people)) as con:
        con.execute("create table contacts (customer_id VARCHAR, email VARCHAR, first_name VARCHAR)")
        con.executemany("insert into contacts values (?, ?, ?)", [(row[0], row[9], row[10]) for row in PEOPLE])
        con.execute("insert into contacts values ('c15', 'nia@example.com', 'Nia')")
    place.warehouse.touch()
    with open_state(place.state) as store:
        key = open_key(place.secret_key, store)
        bounced = key.hash_address("kim@example.com")
        with store.session(write=True) as session:
            for address_hash, customer_id, kind in (("", "c11", "complaint"), (bounced, "", "hard_bounce")):
                session.add(
                    Suppression(address_hash=address_hash, customer_id=customer_id, kind=kind, source="test",
                                campaign_id="", created_at=NOW)
                )  # fmt: skip
            session.add(Forgotten(customer_hash=key.hash_customer("c14"), address_hash="", forgotten_at=NOW))
        rights.set_opt_out(store, "c13", is_active=True, person="tester", now=NOW)
    return place


def decide(home: Home, audience: str, *, include_addresses: bool = False) -> RecipientList:
    with open_state(home.state) as store:
        return decide_recipients(home, store, audience, include_addresses=include_addresses)


def test_a_briefs_list_and_its_exclusions_are_the_audience_of_the_plan(home: Home) -> None:
    found = decide(home, "K1")
    assert found.recipients.rows() == [("c01", "K1", "A"), ("c02", "K1", "B")]
    assert {row[0]: row[2] for row in found.excluded.iter_rows()} == EXPECTED
    everybody = {row[0] for row in PEOPLE} - {"c14"}  # forgotten: not even an exclusion
    assert set(found.recipients["customer_id"]) | set(found.excluded["customer_id"]) == everybody
    assert not set(found.recipients["customer_id"]) & set(found.excluded["customer_id"])


def test_every_reason_is_shown_and_has_words() -> None:
    families = {
        reason.split("_")[0] + "_" if reason.startswith("suppressed") else reason for reason in EXPECTED.values()
    }
    assert families - {"frequency_cap"} <= set(REASONS)


def test_a_segments_list_leaves_the_plans_groups_out_and_needs_no_campaign(home: Home) -> None:
    found = decide(home, "S1")
    assert found.recipients.rows() == [("c01", "K1", "A"), ("c02", "K1", "B"), ("c10", "", ""), ("c15", "", "")]
    assert {row[0]: row[2] for row in found.excluded.iter_rows()} == {
        customer: reason for customer, reason in EXPECTED.items() if customer != "c10"
    }
    assert decide(home, "T2").recipients["customer_id"].to_list() == ["c15"]


def test_a_suppressed_address_is_known_in_whatever_case_it_is_written(home: Home) -> None:
    with duckdb.connect(str(home.people)) as con:
        con.execute("update contacts set email = 'KIM@Example.com' where customer_id = 'c12'")
    found = decide(home, "K1")
    assert ("c12", "K1", "suppressed_hard_bounce") in found.excluded.rows()


def test_one_address_in_two_scripts_is_shared_whatever_the_copy_says(home: Home) -> None:
    with duckdb.connect(str(home.people)) as con:
        con.execute("update contacts set email = 'ann@bücher.example' where customer_id = 'c01'")
        con.execute("update contacts set email = 'ann@xn--bcher-kva.example' where customer_id = 'c02'")
    found = decide(home, "K1", include_addresses=True)
    assert found.recipients.height == 0
    reasons = {row[0]: row[2] for row in found.excluded.iter_rows()}
    assert (reasons["c01"], reasons["c02"]) == ("shared_address", "shared_address")


def test_an_unknown_audience_is_a_sentence(home: Home) -> None:
    with pytest.raises(RightsError) as caught:
        decide(home, "T9")
    assert str(caught.value) == "'T9' is no audience: planned are K1; segments are S1, T1, T2."


def test_addresses_are_written_only_where_they_are_asked_for(home: Home, tmp_path: Path) -> None:
    write_list(decide(home, "K1"), tmp_path / "plain.csv")
    write_list(decide(home, "K1", include_addresses=True), tmp_path / "full.csv")
    plain, full = (tmp_path / "plain.csv").read_text(), (tmp_path / "full.csv").read_text()
    assert "@" not in plain
    assert plain == "customer_id,campaign_id,variant\nc01,K1,A\nc02,K1,B\n"
    assert "ann@example.com" in full
    for name in ("plain.csv.excluded.csv", "full.csv.excluded.csv"):
        assert "@" not in (tmp_path / name).read_text()
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "full.csv").stat().st_mode & 0o777 == 0o600


def test_no_cell_is_a_formula(home: Home, tmp_path: Path) -> None:
    write_list(decide(home, "K1", include_addresses=True), tmp_path / "list.csv")
    with (tmp_path / "list.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[2] == ["c02", "K1", "B", "'+plus@example.com", "'=HYPERLINK(1)"]


def test_a_formula_behind_spaces_is_one_too() -> None:
    assert [_safe(cell) for cell in (" =1+1", "\n-1", "a=1", "")] == ["' =1+1", "'\n-1", "a=1", ""]


@given(st.text())
def test_a_cell_never_begins_like_a_formula_and_keeps_its_text(cell: str) -> None:
    safe = _safe(cell)
    assert not safe.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert safe in (cell, f"'{cell}")


def test_a_file_that_is_there_is_kept_unless_forced(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    (tmp_path / "list.csv.excluded.csv").write_text("mine")
    with pytest.raises(RightsError) as caught:
        write_list(decide(home, "K1"), path)
    assert str(caught.value) == (f"{path}.excluded.csv is there already; nothing was written. --force overwrites.")
    assert not path.exists()
    assert (tmp_path / "list.csv.excluded.csv").read_text() == "mine"
    write_list(decide(home, "K1"), path, force=True)
    assert path.exists()
    assert not list(tmp_path.glob(".list*"))


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_list_that_is_cut_off_while_it_is_written_leaves_nothing_behind(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    def cut(_: int) -> None:
        raise fault

    found = decide(home, "K1", include_addresses=True)
    folder = tmp_path / "lists"
    folder.mkdir()
    monkeypatch.setattr(os, "fsync", cut)
    with pytest.raises((RightsError, KeyboardInterrupt)) as caught:
        write_list(found, folder / "list.csv")
    if isinstance(fault, OSError):
        assert str(caught.value) == (
            f"The list cannot be written to {folder / 'list.csv'} (No space left on device). Choose another --file."
        )
    assert list(folder.iterdir()) == []


def test_a_list_that_somebody_made_meanwhile_is_kept(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    with pytest.raises(RightsError) as caught:
        write_list(decide(home, "K1"), path, before_names=lambda _: path.write_bytes(b"mine") and None)
    assert str(caught.value) == f"{path} is there already; nothing was written. --force overwrites."
    assert path.read_text() == "mine"
    assert [one.name for one in tmp_path.iterdir() if "list" in one.name] == ["list.csv"]


def test_the_command_writes_both_files_and_an_audit_row_with_count_and_digest(home: Home, tmp_path: Path) -> None:
    app = typer.Typer()
    cli_rights.add_commands(app)
    path = tmp_path / "list.csv"
    done = CliRunner().invoke(
        app, ["export", "K1", "--file", str(path), "--include-addresses", "--by", "tester", "--home", str(home.path)]
    )
    assert done.exit_code == 0, done.output
    assert "2 of 13 customers of K1 may be written to" in done.output
    assert "- 1 not: opted_out" in done.output
    assert "example.com" not in done.output
    with open_state(home.state) as store:
        entry = rights.audit_entries(store)[0]
    assert (entry.action, entry.subject, entry.person) == ("export", "K1", "tester")
    assert entry.detail == {
        "recipients": 2, "excluded": 11, "has_addresses": True,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }  # fmt: skip
    again = CliRunner().invoke(app, ["export", "K1", "--file", str(path), "--home", str(home.path)])
    assert again.exit_code == 2
    assert "there already" in " ".join(again.output.split())


def test_without_the_key_no_list_is_made_where_an_address_is_suppressed(home: Home) -> None:
    home.secret_key.unlink()
    with pytest.raises(ValueError, match="The secret key is gone"):
        decide(home, "K1")
