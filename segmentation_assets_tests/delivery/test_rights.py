"""A customer who asks to be forgotten is: in files, in the state store, and in every load that comes after."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from segmentation_assets.delivery.campaign import send_id
from segmentation_assets.delivery.keys import KeyMismatchError, open_key
from segmentation_assets.delivery.rights import RightsError, forgotten_people, hash_addresses, opt_out
from segmentation_assets.settings import Home
from segmentation_assets.sources.people_file import rewrite_without
from segmentation_assets.state import rights
from segmentation_assets.state.models import AuditEntry, Forgotten, Send, SendEvent, Suppression
from segmentation_assets.state.store import open_state
from segmentation_assets.warehouse.connection import WarehouseBusyError
from segmentation_assets_tests.delivery.rights_world import ENGINE, NOW, SECRETS, SOURCE, Shop, bytes_of, make_shop

LATER = NOW + dt.timedelta(days=3)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rights")
    make_shop(folder)
    return folder


@pytest.fixture
def shop(built: Path, tmp_path: Path) -> Shop:
    """A copy of the loaded shop."""
    shutil.copytree(built, tmp_path / "copy")
    return Shop(Home(tmp_path / "copy" / "home"), tmp_path / "copy" / "source")


def keep_sends(shop: Shop, *sends: tuple[str, str, str, str]) -> None:
    """(campaign, customer, status, arm) in the outbox, with an event of each that was sent."""
    with open_state(shop.home.state) as store, store.session(write=True) as session:
        for campaign_id, customer_id, status, arm in sends:
            one = send_id(campaign_id, customer_id)
            is_done = status not in ("pending", "claimed")
            session.add(
                Send(
                    send_id=one, campaign_id=campaign_id, customer_id=customer_id, arm=arm, variant="A", status=status,
                    reason="", timezone="Europe/Zurich", product_ids="P1", tries=1 if status == "sent" else 0,
                    next_try_at=NOW, not_after=LATER, claimed_by="", finished_at=NOW if is_done else None,
                    smtp_code=250 if status == "sent" else None,
                    smtp_reply=f"2.0.0 queued for {customer_id}@example.com", address_hash="", taste_segment_id="T1",
                    stage_segment_id="S1",
                )
            )  # fmt: skip
            if status == "sent":
                session.add(
                    SendEvent(
                        event_id=f"e-{one}", send_id=one, campaign_id=campaign_id, customer_id=customer_id,
                        kind="click", occurred_at=NOW, link=1, source="link", method="GET", user_agent="", network="",
                    )
                )  # fmt: skip


# --- contact details ---


def test_contact_details_are_gone_from_the_bytes_of_the_file_and_of_everything_beside_it(shop: Shop) -> None:
    before = bytes_of(shop.home, of_people=True).lower()
    for secret in SECRETS:
        assert secret.lower() in before, "the search would find it"
    shop.home.staging.mkdir()
    (shop.home.staging / "contacts.parquet").write_bytes(SECRETS[0])
    report = shop.forget("p2")
    after = bytes_of(shop.home, of_people=True).lower()
    for secret in SECRETS:
        assert secret.lower() not in after
    assert not shop.home.staging.exists()
    assert report.contact_rows == 4  # the raw row, the clean one, two repairs: of the id and of the address
    assert not (shop.home.path / "people.duckdb.wal").exists()
    assert shop.home.people.stat().st_mode & 0o777 == 0o600


def test_other_customers_keep_their_details_comments_and_order(shop: Shop) -> None:
    def others() -> list[object]:
        return [
            shop.rows(f"select * from people.{name} where {column} not in ('p2', ' p2 ') order by rowid")
            for name, column in (
                ("raw_contacts", "customer_id"), ("contacts", "customer_id"), ("rejected_contacts", "row_key"),
                ("contact_repairs", "row_key"),
            )
        ]  # fmt: skip

    def described() -> list[object]:
        query = "select table_name, column_name, data_type, is_nullable, comment from duckdb_columns()"
        return shop.rows(f"{query} where database_name = 'people' order by all")

    before, columns = others(), described()
    shop.forget("p2")
    assert others() == before
    assert described() == columns
    assert any(column[-1] for column in columns)  # type: ignore[index]


def test_nothing_is_printed_or_kept_of_whom_it_was(shop: Shop) -> None:
    report = shop.forget("p2")
    for words in (report.sentence, repr(report)):
        assert "p2" not in words
        assert "nora" not in words.lower()
    state = shop.home.state.read_bytes()
    assert b"uillfeather" not in state
    assert b'"p2"' not in state


def test_an_unknown_customer_is_a_sentence_and_changes_nothing(shop: Shop) -> None:
    before = shop.home.people.read_bytes()
    with pytest.raises(RightsError) as caught:
        shop.forget("nobody@example.com")
    assert str(caught.value) == (
        "There is no such customer: neither the warehouse nor the contact details know the id. Ids are those of "
        "features.customer_features, or the source's own."
    )
    assert shop.home.people.read_bytes() == before


def test_twice_says_when_it_was_done_and_leaves_one_entry(shop: Shop) -> None:
    shop.forget("p2")
    shop.load()
    again = shop.forget("p2", LATER)
    assert again.sentence == "This customer was forgotten on 2026-07-01; nothing of theirs was left."
    with open_state(shop.home.state) as store:
        entries = rights.audit_entries(store)
    assert [(entry.action, entry.person) for entry in entries] == [("forget", "tester")]


def test_another_programs_open_file_is_a_sentence_and_calling_again_finishes(shop: Shop) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", f"import duckdb, sys; c = duckdb.connect({str(shop.home.people)!r}); "
         "print('open', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(WarehouseBusyError, match=r"people\.duckdb is held open by process \d+"):
            shop.forget("p2")
    finally:
        holder.communicate("")
    report = shop.forget("p2", LATER)
    assert report.finished_before is None
    assert SECRETS[0] not in bytes_of(shop.home, of_people=True).lower()


@pytest.mark.parametrize(
    "moment",
    [
        "swap",
        pytest.param("replace_customer", marks=pytest.mark.slow),
        pytest.param("rewrite_without", marks=pytest.mark.slow),
        pytest.param("finish_forgetting", marks=pytest.mark.slow),
    ],
)
def test_a_killed_forget_is_finished_by_calling_it_again(shop: Shop, moment: str) -> None:
    code = (
        "import os, signal, sys, datetime as dt\n"
        "from pathlib import Path\n"
        "from segmentation_assets.settings import Home\n"
        "from segmentation_assets.delivery import rights\n"
        "from segmentation_assets.state.store import open_state\n"
        "def die(*a, **k): os.kill(os.getpid(), signal.SIGKILL)\n"
        f"moment = {moment!r}\n"
        "if moment == 'swap':\n"
        "    Path.replace = die\n"
        "elif moment == 'rewrite_without':\n"
        "    rights.rewrite_without = die\n"
        "else:\n"
        "    setattr(rights.rights, moment, die)\n"
        f"home = Home(Path({str(shop.home.path)!r}))\n"
        "with open_state(home.state) as store:\n"
        f"    rights.forget(home, store, 'p2', person='tester', now={NOW!r}.replace(), engine=None)\n"
    ).replace("datetime.datetime", "dt.datetime")
    keep_sends(shop, ("K1", "p2", "sent", "treated"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with open_state(shop.home.state) as store:
        key = open_key(shop.home.secret_key, store)
        state = rights.forgotten_state(store, key.hash_customer("p2"))
        assert state is not None
        assert state.finished_at is None
    report = shop.forget("p2", LATER)
    assert report.since == NOW
    assert not (shop.home.path / "people.rewrite").exists()
    for secret in SECRETS:
        assert secret.lower() not in bytes_of(shop.home, of_people=True).lower()
    with open_state(shop.home.state) as store:
        state = rights.forgotten_state(store, key.hash_customer("p2"))
        assert state is not None
        assert state.finished_at == LATER
        assert rights.send_ids_of(store, ["p2"]) == []


def test_the_swap_is_atomic(shop: Shop) -> None:
    before = shop.home.people.read_bytes()

    def die() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rewrite_without(shop.home.people, ["p2"], [], ENGINE, before_swap=die)
    with duckdb.connect(str(shop.home.people), read_only=True) as con:
        assert con.execute("select count(*) from contacts where customer_id = 'p2'").fetchall() == [(1,)]
    assert len(shop.home.people.read_bytes()) == len(before)


def test_a_reader_of_the_published_copy_is_not_disturbed(shop: Shop) -> None:
    shutil.copy(shop.home.warehouse, shop.home.published)
    with duckdb.connect(str(shop.home.published), read_only=True) as reader:
        shop.forget("p2")
        assert reader.execute("select count(*) from clean.customers").fetchall() == [(4,)]


# --- every later load ---


def test_later_loads_leave_out_all_rows_that_lead_to_them_and_account_for_them(shop: Shop) -> None:
    before = shop.accounting()
    assert before["orders"] == (5, 5, 0)
    shop.forget("p2")
    shop.load()
    assert shop.accounting() == {
        "customers": (5, 3, 2),  # one is a duplicate, one is forgotten
        "contacts": (5, 3, 2),
        "orders": (5, 3, 2),
        "order_items": (5, 3, 2),
        "returns": (2, 1, 1),
        "reviews": (2, 1, 1),
    }
    assert shop.rows("select table_name, row_key, rule, detail, row_json from quality.rejected_rows "
                     "where rule = 'forgotten' and table_name = 'orders'") == [
        ("orders", "", "forgotten", "Of a person who asked to be forgotten; nothing of the row is kept.", "{}"),
    ] * 2  # fmt: skip
    assert shop.rows("select order_id from raw.orders order by rowid") == [("1",), ("3",), ("5",)]
    assert shop.rows("select forgotten_rows['orders'] from raw.source") == [(2,)]


@pytest.mark.slow
def test_the_next_copy_has_no_row_and_no_value_of_theirs_in_any_table(shop: Shop) -> None:
    shop.forget("p2")
    shop.load()
    tables = shop.rows("select database_name, schema_name, table_name from duckdb_tables()")
    assert len(tables) > 30
    for database, schema, name in tables:
        for row in shop.rows(f'select t::varchar from "{database}"."{schema}"."{name}" as t'):
            assert not re.search(r"\bp2\b|[Qq]uillfeather|Zebrawood|\b2-1\b|\b4-r\b", str(row[0])), (name, row)


def test_nobody_forgotten_means_nothing_is_hashed(shop: Shop) -> None:
    shop.home.secret_key.unlink(missing_ok=True)
    with open_state(shop.home.state) as store:
        assert forgotten_people(store, shop.home.secret_key) is None
    shop.load()
    assert not shop.home.secret_key.exists()
    assert shop.accounting()["orders"] == (5, 5, 0)


@pytest.mark.slow
def test_a_load_without_the_key_refuses_where_somebody_is_forgotten(shop: Shop) -> None:
    shop.forget("p2")
    shop.home.secret_key.unlink()
    with pytest.raises(KeyMismatchError, match="The secret key is gone"):
        shop.load()
    assert shop.accounting()["orders"] == (5, 5, 0)


@pytest.mark.slow
def test_a_restored_backup_of_the_contact_details_loses_them_again_with_the_next_load(shop: Shop) -> None:
    backup = shop.home.people.read_bytes()
    shop.forget("p2")
    shop.home.people.write_bytes(backup)
    assert SECRETS[0] in bytes_of(shop.home, of_people=True).lower()
    shop.load()
    for secret in SECRETS:
        assert secret.lower() not in bytes_of(shop.home, of_people=True).lower()


def test_the_address_under_another_id_is_recognised(shop: Shop) -> None:
    shop.forget("p2")
    moved = SOURCE["people.csv"].replace(" p2 ", "n77").replace(" Nora.Quill", "NORA.quill")
    shop.change(people_csv=moved, sales_csv=SOURCE["sales.csv"].replace("p2", "n77"))
    shop.load()
    assert shop.rows("select customer_id from clean.customers order by all") == [("p1",), ("p3",), ("p4",)]
    assert shop.rows("select order_id from clean.orders order by all") == [("1",), ("3",), ("5",)]
    assert SECRETS[0] not in bytes_of(shop.home, of_people=True).lower()


@pytest.mark.slow
def test_who_shares_the_address_stays_and_the_address_is_suppressed(shop: Shop) -> None:
    report = shop.forget("p1")
    assert report.shares_address
    assert "Another customer has the same address and stays" in report.sentence
    shop.load()
    assert shop.rows("select customer_id, email from people.contacts order by all") == [
        ("p2", "nora.quillfeather@example.com"), ("p3", "cleo@example.com"), ("p4", "ann@example.com"),
    ]  # fmt: skip
    with open_state(shop.home.state) as store:
        key = open_key(shop.home.secret_key, store)
        with store.session() as session:
            kept = session.scalars(select(Suppression.address_hash).where(Suppression.kind == "forgotten")).all()
    assert kept == [key.hash_address("ann@example.com")]


@pytest.mark.slow
def test_personal_ids_go_with_their_surrogate_and_the_surrogate_is_not_given_again(tmp_path: Path) -> None:
    toml = SOURCE["source.toml"] + "customer_id_is_personal = true\n"
    people, sales = SOURCE["people.csv"].replace(" p2 ", "Nora Quillfeather"), SOURCE["sales.csv"]
    shop = make_shop(
        tmp_path,
        {"source.toml": toml, "people.csv": people, "sales.csv": sales.replace("p2", "Nora Quillfeather"),
         "said.csv": SOURCE["said.csv"].replace("p2", "Nora Quillfeather")},
    )  # fmt: skip
    (surrogate,) = shop.rows("select customer_id from people.customer_ids where source_id like 'Nora%'")[0]
    assert surrogate == "C00001"
    shop.forget("Nora Quillfeather")
    assert b"uillfeather" not in bytes_of(shop.home, of_people=True)
    shop.change(people_csv=people + "zz,Bonn,true,zoe@example.com,Zoe,Zinn,9 Elm Street\n")
    shop.load()
    assert b"uillfeather" not in bytes_of(shop.home, of_people=True)
    found = dict(shop.rows("select source_id, customer_id from people.customer_ids"))
    assert found == {"": "C00001", "p1": "C00002", "p3": "C00003", "p4": "C00004", "zz": "C00005"}
    assert shop.accounting()["orders"] == (5, 3, 2)
    assert "was forgotten on" in shop.forget("C00001", LATER).sentence
    assert "was forgotten on" in shop.forget("Nora Quillfeather", LATER).sentence


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.sampled_from(["p1", "p2", "p3", "p4"])))
def test_raw_rows_are_clean_and_rejected_ones_whoever_is_forgotten(
    built: Path, tmp_path_factory: pytest.TempPathFactory, gone: set[str]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    shutil.copytree(built, folder / "copy")
    shop = Shop(Home(folder / "copy" / "home"), folder / "copy" / "source")
    for customer in sorted(gone):
        shop.forget(customer)
    if gone == {"p1", "p2", "p3", "p4"}:
        return  # cleaning has nobody left; the load itself is the source's business
    shop.load()
    for raw, clean, rejected in shop.accounting().values():
        assert raw == clean + rejected
    assert shop.accounting()["orders"][0] == 5
    left = {row[0] for row in shop.rows("select customer_id from clean.customers")}
    # Who shared an address was recognised by it only once the other was forgotten too.
    assert left == {"p1", "p2", "p3", "p4"} - gone


# --- the state store ---


def test_sends_and_events_keep_campaign_and_arm_under_a_hash(shop: Shop) -> None:
    keep_sends(shop, ("K1", "p2", "sent", "treated"), ("K2", "p2", "ghost", "control"), ("K1", "p1", "sent", "treated"))
    with open_state(shop.home.state) as store:
        with store.session(write=True) as session:
            session.add(
                Suppression(address_hash="h", customer_id="p2", kind="unsubscribe", source="page", campaign_id="K1",
                            created_at=NOW)
            )  # fmt: skip
        rights.set_opt_out(store, "p2", is_active=True, person="tester", now=NOW)
    report = shop.forget("p2")
    assert report.rows == {"sends": 2, "events": 1, "suppressions": 1, "opt_outs": 1, "audit_entries": 1}
    with open_state(shop.home.state) as store:
        key = open_key(shop.home.secret_key, store)
        hashed = key.hash_customer("p2")
        with store.session() as session:
            sends = session.scalars(select(Send).order_by(Send.campaign_id, Send.status, Send.customer_id)).all()
            assert {(s.campaign_id, s.customer_id, s.arm, s.status, s.smtp_reply, s.timezone) for s in sends} == {
                ("K1", "p1", "treated", "sent", "2.0.0 queued for p1@example.com", "Europe/Zurich"),
                ("K1", hashed, "treated", "sent", "", ""),
                ("K2", hashed, "control", "ghost", "", ""),
            }
            assert {(s.customer_id, s.product_ids, s.taste_segment_id, s.stage_segment_id) for s in sends} == {
                ("p1", "P1", "T1", "S1"), (hashed, "", "", "")
            }  # fmt: skip
            assert {event.customer_id for event in session.scalars(select(SendEvent))} == {"p1", hashed}
            kept = {(s.address_hash, s.customer_id, s.kind) for s in session.scalars(select(Suppression))}
            own = hash_addresses(key, ["nora.quillfeather@example.com"])[0]
            assert kept == {("h", hashed, "unsubscribe"), (own, hashed, "forgotten")}
            assert [row.customer_hash for row in session.scalars(select(Forgotten))] == [hashed]
            assert {row.subject for row in session.scalars(select(AuditEntry))} == {hashed}


def test_a_message_that_waits_is_not_sent_any_more(shop: Shop) -> None:
    keep_sends(shop, ("K1", "p2", "pending", "treated"), ("K1", "p1", "pending", "treated"))
    assert shop.forget("p2").sends_stopped == 1
    with open_state(shop.home.state) as store, store.session() as session:
        found = {(s.status, s.reason, s.finished_at) for s in session.scalars(select(Send))}
    assert found == {("skipped", "forgotten", NOW), ("pending", "", None)}


def test_messages_journals_and_spools_of_theirs_are_gone_and_others_stay(shop: Shop) -> None:
    home = shop.home
    keep_sends(shop, ("K1", "p2", "sent", "treated"))
    own, other = send_id("K1", "p2"), send_id("K1", "p1")
    messages = {
        home.outbox / "K1" / f"{own}.eml": b"To: someone\n\nbody",
        home.outbox / "K1" / f"{other}.eml": b"To: ann@example.com\n\nnora.quillfeather@example.com in a body",
        home.path / "inbox" / "1.eml": b"X-Envelope-To: Nora.Quillfeather@example.com\r\nTo: x\r\n\r\nbody",
        home.path / "inbox" / "2.eml": b"X-Envelope-To: not-nora.quillfeather@example.com\r\n\r\nbody",
        home.path / "inbox" / "3.eml": b"To: nora.quillfeather@example.com.au\r\n\r\nbody",
        home.journal / "w1.damaged": f'{{"send_id":"{own}"}}\n{{"send_id":"{other}"}}\n'.encode(),
        home.spool / "9.torn": f'{{"send_id":"{other}"}}\n{{"send_id":"{own}"\n'.encode(),
    }
    for path, content in messages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    report = shop.forget("p2")
    assert report.files == 4
    left = {path.name for path in messages if path.exists()}
    assert left == {f"{other}.eml", "2.eml", "3.eml", "w1.damaged", "9.torn"}
    assert (home.journal / "w1.damaged").read_text() == f'{{"send_id":"{other}"}}\n'
    assert own.encode() not in (home.spool / "9.torn").read_bytes()


# --- profiling ---


def test_opting_out_and_back_is_told_and_audited_and_stops_what_waits(shop: Shop) -> None:
    keep_sends(shop, ("K1", "p2", "pending", "treated"))

    def ask(*, undo: bool = False) -> str:
        with open_state(shop.home.state) as store:
            return opt_out(shop.home, store, "p2", person="tester", now=NOW, undo=undo, engine=ENGINE)

    assert ask(undo=True) == "This customer is not opted out."
    assert ask() == (
        "This customer is not profiled any more, and no campaign is chosen for them. 1 waiting messages were stopped."
    )
    assert ask() == "This customer is opted out of profiling already."
    with open_state(shop.home.state) as store:
        assert rights.opt_outs(store).rows() == [("p2", NOW)]
        with store.session() as session:
            assert rights.opted_out_among(session, ["p1", "p2"]) == {"p2"}
            assert [(s.status, s.reason) for s in session.scalars(select(Send))] == [("skipped", "opted_out")]
    assert ask(undo=True) == "This customer is profiled again. Messages that were stopped stay stopped."
    with open_state(shop.home.state) as store:
        assert rights.opt_outs(store).is_empty()
        assert [entry.action for entry in rights.audit_entries(store)] == ["opt_in", "opt_out"]


def test_an_id_that_is_no_text_is_nobodys(shop: Shop) -> None:
    given = "C\udcff"  # bytes that are no UTF-8, as a terminal hands them over
    with open_state(shop.home.state) as store, pytest.raises(RightsError, match="There is no such customer"):
        opt_out(shop.home, store, given, person="tester", now=NOW, engine=ENGINE)


def test_nobody_unknown_can_opt_out(shop: Shop) -> None:
    with open_state(shop.home.state) as store, pytest.raises(RightsError, match="There is no such customer"):
        opt_out(shop.home, store, "p99", person="tester", now=NOW, engine=ENGINE)


# --- the command ---


def test_forget_waits_for_a_run_with_a_sentence(shop: Shop) -> None:
    import typer
    from filelock import FileLock
    from typer.testing import CliRunner

    from segmentation_assets import cli_rights
    from segmentation_assets.orchestration import run_lock

    app = typer.Typer()
    cli_rights.add_commands(app)
    shop.home.lock.with_suffix(".json").write_text('{"run_id": "0123456789", "pid": 4711}', encoding="utf-8")
    lock = FileLock(shop.home.lock)
    lock.acquire()
    with pytest.MonkeyPatch.context() as patch:  # a run ends after minutes; here the wait does
        hold = run_lock.hold_run_lock
        patch.setattr(run_lock, "_SAY_EVERY_SECONDS", 0.05)
        patch.setattr(run_lock, "hold_run_lock", lambda home, run_id, say: hold(home, run_id, say, 0.2))
        refused = CliRunner().invoke(app, ["forget", "p2", "--yes", "--home", str(shop.home.path)])
    assert refused.exit_code == 2
    words = " ".join(refused.output.split())
    assert f"Waiting for run 01234567 (process 4711), which is working on {shop.home.path}." in words
    assert "has been working on" in words
    lock.release()
    done = CliRunner().invoke(app, ["forget", "p2", "--yes", "--by", "tester", "--home", str(shop.home.path)])
    assert done.exit_code == 0, done.output
    told = " ".join(done.output.split())
    assert told.startswith("This customer is forgotten: 4 rows of contact details and 0 files are removed;")
    assert "hold rows under the id until `segmentation run" in told
    assert "p2" not in told
    unasked = CliRunner().invoke(app, ["forget", "p1", "--home", str(shop.home.path)])
    assert unasked.exit_code == 2
    assert "Say --yes where nobody can be asked." in unasked.output
    listed = CliRunner().invoke(app, ["audit", "--home", str(shop.home.path)])
    assert "tester" in listed.output
