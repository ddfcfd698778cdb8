"""From an approved campaign to a mailbox: the commands, the job, the sensor, and processes that are killed."""

from __future__ import annotations

import datetime as dt
import email
import importlib.util
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from email import policy
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
import typer
from filelock import FileLock
from typer.testing import CliRunner, Result

from segmentation_assets import cli_send
from segmentation_assets.delivery.approval import approve, propose
from segmentation_assets.delivery.clock import let_time_pass, open_clock
from segmentation_assets.delivery.dispatcher import Dispatcher
from segmentation_assets.delivery.keys import open_key
from segmentation_assets.delivery.spool import SpoolWriter
from segmentation_assets.delivery.tokens import TOKEN_LENGTH, TokenKind, TokenSigner
from segmentation_assets.settings import PROJECT_ROOT, Home, load_settings
from segmentation_assets.state.models import Campaign, Suppression
from segmentation_assets.state.outbox import Outcome, claim_batch, count_reasons, count_statuses, record_outcomes
from segmentation_assets.state.store import StateStore, open_state
from segmentation_assets.warehouse.connection import connect
from segmentation_assets_tests.delivery import campaign_world as published
from segmentation_assets_tests.delivery.sending_world import MailServer, mail_server

LOYAL = published.LOYAL
app = typer.Typer()
app.command("send")(cli_send.send)
app.add_typer(cli_send.outbox_app, name="outbox")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HOME with a published campaign, contact details and an empty state store; copied for each test."""
    folder = tmp_path_factory.mktemp("shop")
    with duckdb.connect(str(published.publish(folder))) as con:
        con.execute("create schema features")
        con.execute(
            "create table features.reachability as select format('C{:02}', n) as customer_id, n <> 3 as has_consent, "
            "false as has_unsubscribed from range(1, 11) as t(n)"
        )
    with duckdb.connect(str(folder / "people.duckdb")) as con:
        con.execute(
            "create table contacts as select format('C{:02}', n) as customer_id, "
            "format('customer{}@example.com', n) as email, case when n = 1 then 'Zoë <b>' end as first_name, "
            "case when n = 1 then 'de-AT' end as language "
            "from range(1, 11) as t(n)"
        )
    with open_state(folder / "state.sqlite") as store:
        open_key(folder / "secret.key", store)
    return folder


@pytest.fixture
def home(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    import shutil

    place = Home(tmp_path / "home")
    shutil.copytree(shop, place.path)
    (tmp_path / "segmentation.toml").write_text(
        '[sender]\nshop_name = "Nordlys"\naddress = "news@shop.example"\n'
        '[delivery]\ntransport = "catcher"\nsmtp_port = 1\nmessages_per_second = 1000.0\nquiet_from_hour = 21\n'
    )
    monkeypatch.setenv("SEGMENTATION_SETTINGS", str(tmp_path / "segmentation.toml"))
    monkeypatch.setenv("SEGMENTATION_HOME", str(place.path))
    monkeypatch.setenv("COLUMNS", "400")
    return place


@pytest.fixture
def server(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    with mail_server() as started:
        monkeypatch.setenv("SEGMENTATION_DELIVERY__SMTP_PORT", str(started.port))
        yield started


@pytest.fixture
def store(home: Home) -> Iterator[StateStore]:
    with open_state(home.state) as opened:
        yield opened


def approved(home: Home, store: StateStore, **options: Any) -> None:
    """Approved in the morning; it is the first campaign day at 10:30 then."""
    clock = open_clock(store, "synthetic", published.AS_OF)
    let_time_pass(store, dt.timedelta(minutes=90))
    settings = load_settings(home)
    with connect(home.published, read_only=True) as con:
        proposal = propose(con, store, LOYAL, settings)
    approve(store, proposal, settings, person="Ada", now=clock(), check=lambda content: [], **options)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_a_dry_run_is_the_default_and_sends_nothing(home: Home, store: StateStore, server: MailServer) -> None:
    told = run("send", LOYAL[:12])
    assert told.exit_code == 0, told.output
    assert "10 customers in its audience, 6 to be written to." in told.output
    assert "Why control." in told.output
    assert "no consent (any more)" in told.output
    assert f"5 messages were written to {home.outbox / LOYAL}; nothing was sent." in told.output
    files = sorted((home.outbox / LOYAL).iterdir())
    message = email.message_from_bytes(files[0].read_bytes(), policy=policy.default)
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert (len(files), server.accepted, count_statuses(store, LOYAL)) == (5, [], {})
    assert "@example.com" not in told.output


def test_a_dry_run_says_what_is_next_as_far_as_the_campaign_has_come(
    home: Home, store: StateStore, server: MailServer
) -> None:
    live = f"`segmentation send {LOYAL} --live --home {home.path}`"
    assert f"Next: `segmentation drafts approve {LOYAL} --home {home.path}`, then {live}." in run("send", LOYAL).output
    approved(home, store)
    told = run("send", LOYAL).output
    assert f"It is approved. Next: {live}." in told and "drafts approve" not in told
    assert run("send", LOYAL, "--live", "--limit", "2").exit_code == 0
    assert f"It is being sent already: {live} goes on." in run("send", LOYAL).output
    assert run("send", LOYAL, "--live").exit_code == 0
    assert f"Campaign {LOYAL} was sent, so nothing more of it is sent." in run("send", LOYAL).output


@pytest.mark.parametrize("options", [(), ("--live",)])
def test_no_campaign_named_is_not_the_only_one(
    home: Home, store: StateStore, server: MailServer, options: tuple[str, ...]
) -> None:
    with duckdb.connect(str(home.published)) as con:
        con.execute(f"delete from delivery.campaign_plans where campaign_id <> '{LOYAL}'")
    approved(home, store)
    told = run("send", "", *options)  # as "$CAMPAIGN" is, where the variable was not set
    assert told.exit_code == 2 and "There is no campaign ''" in told.output
    assert server.accepted == []


def test_ctrl_c_ends_after_the_message_in_flight_with_exit_code_130_and_says_how_to_go_on(
    home: Home, store: StateStore, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved(home, store)
    monkeypatch.setenv("SEGMENTATION_DELIVERY__CONNECTIONS", "1")
    take, stop, stopped = server.next_action, Dispatcher.stop, threading.Event()

    def noted(dispatcher: Dispatcher) -> None:
        stop(dispatcher)
        stopped.set()

    def interrupted(who: str, stage: str) -> str | None:
        if stage == "data" and len(server.accepted) == 1:
            os.kill(os.getpid(), signal.SIGINT)
            assert stopped.wait(30)
        return take(who, stage)

    monkeypatch.setattr(Dispatcher, "stop", noted)
    monkeypatch.setattr(server, "next_action", interrupted)
    told = run("send", LOYAL, "--live")
    assert told.exit_code == 130, told.output
    assert "Ended after the messages in flight." in told.output
    counts = count_statuses(store, LOYAL)
    assert (counts["sent"], counts["pending"] + counts.get("skipped", 0), counts["ghost"]) == (2, 4, 2)
    assert f"`segmentation send {LOYAL} --live --home {home.path}` goes on." in told.output


def test_links_of_a_dry_run_are_good_for_nothing(home: Home, store: StateStore) -> None:
    assert run("send", LOYAL).exit_code == 0
    signer = TokenSigner(open_key(home.secret_key, store))
    for file in (home.outbox / LOYAL).iterdir():
        message = email.message_from_bytes(file.read_bytes(), policy=policy.default)
        token = message["List-Unsubscribe"].strip("<>").rpartition("/")[2]
        assert len(token) == TOKEN_LENGTH
        assert signer.read(token, TokenKind.UNSUBSCRIBE) is None  # who looks must not unsubscribe a customer


def test_who_told_the_language_is_greeted_in_it(home: Home, store: StateStore) -> None:
    assert run("send", LOYAL).exit_code == 0
    messages = [
        email.message_from_bytes(file.read_bytes(), policy=policy.default) for file in (home.outbox / LOYAL).iterdir()
    ]
    texts = {m["To"]: m.get_body(("plain",)).get_content() for m in messages if m["To"]}
    assert {to for to, text in texts.items() if "Hallo Zoë" in text} == {"customer1@example.com"}


def test_without_an_approval_nothing_is_sent(home: Home, store: StateStore, server: MailServer) -> None:
    told = run("send", LOYAL, "--live")
    assert told.exit_code == 2
    assert f"Nobody has approved campaign {LOYAL}." in told.output
    assert (server.accepted, count_statuses(store, LOYAL)) == ([], {})


def test_an_approved_campaign_is_sent_and_its_totals_reconcile(
    home: Home, store: StateStore, server: MailServer
) -> None:
    approved(home, store)
    told = run("send", LOYAL, "--live")
    assert told.exit_code == 0, told.output
    assert (
        "8 planned = 5 sent + 0 failed + 0 uncertain + 0 expired + 1 skipped + 2 ghost + 0 pending + 0 claimed"
    ) in told.output
    assert f"Campaign {LOYAL} is sent." in told.output
    assert server.recipients == [f"customer{n}@example.com" for n in (1, 2, 4, 5, 6)]
    ids = {email.message_from_bytes(content)["Message-ID"] for _, content in server.accepted}
    assert len(ids) == 5
    again = run("send", LOYAL, "--live")
    assert again.exit_code == 2
    assert "was sent, so nothing more of it is sent." in again.output
    assert len(server.accepted) == 5


def test_a_state_store_restored_from_before_the_start_sends_nothing_a_second_time(
    home: Home, store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    approved(home, store)
    with sqlite3.connect(home.state) as now, sqlite3.connect(tmp_path / "backup.sqlite") as backup:
        now.backup(backup)
    assert run("send", LOYAL, "--live").exit_code == 0
    with sqlite3.connect(tmp_path / "backup.sqlite") as backup, sqlite3.connect(home.state) as now:
        backup.backup(now)
    told = run("send", LOYAL, "--live")
    assert told.exit_code == 2
    assert (
        f"Campaign {LOYAL} was begun in this HOME before, and the state store does not know it: the store is an older "
        "copy. Sending would write to people twice. Bring back the newer state.sqlite. Only when you are sure that "
        "nobody was written to, take its line out of journal/begun_campaigns in HOME."
    ) in told.output
    assert len(server.accepted) == 5


def test_an_edit_after_the_approval_is_refused_and_voids_it(home: Home, store: StateStore, server: MailServer) -> None:
    approved(home, store)
    with duckdb.connect(str(home.published)) as con:
        con.execute("update campaigns.email_drafts set subject = subject || '!'")
    told = run("send", LOYAL, "--live")
    assert told.exit_code == 2
    assert "changed since is its content" in told.output
    assert (server.accepted, count_statuses(store, LOYAL)) == ([], {})
    with store.session() as session:
        assert session.get_one(Campaign, LOYAL).status == "voided"


def test_a_refusal_that_lies_in_the_spool_is_honoured(home: Home, store: StateStore, server: MailServer) -> None:
    from segmentation_assets.delivery.campaign import send_id
    from segmentation_assets.delivery.events import refusal

    approved(home, store)
    told = run("send", LOYAL, "--live", "--limit", "2")
    assert told.exit_code == 0, told.output
    assert "2 sent" in told.output
    left = next(number for number in (1, 2, 4, 5, 6) if f"customer{number}@example.com" not in server.recipients)
    spool = SpoolWriter(home.spool)
    spool.append([refusal(send_id(LOYAL, f"C{left:02}"), dt.datetime(2026, 7, 1, 10, 40), "page").to_json()])
    spool.close()
    told = run("send", LOYAL, "--live")
    assert told.exit_code == 0, told.output
    assert count_reasons(store, LOYAL)["skipped", "suppressed_unsubscribe"] == 1
    assert f"customer{left}@example.com" not in server.recipients
    assert len(server.accepted) == 4
    with store.session() as session:
        assert session.query(Suppression).one().customer_id == f"C{left:02}"


def test_a_server_that_is_down_is_told_and_the_messages_wait(
    home: Home, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGMENTATION_DELIVERY__BREAKER_FAILURES", "2")
    approved(home, store)
    told = run("send", LOYAL, "--live")
    assert told.exit_code == 1
    assert "Sending stopped after 2 failures in a row; the last: 127.0.0.1:1 cannot be reached" in told.output
    assert "5 pending" in told.output or "6 pending" in told.output


def test_what_waits_when_the_approval_ends_is_not_sent_by_the_next_call_which_closes_the_campaign(
    home: Home, store: StateStore, server: MailServer
) -> None:
    approved(home, store)
    assert run("send", LOYAL, "--live", "--limit", "2").exit_code == 0
    let_time_pass(store, dt.timedelta(days=7))
    told = run("send", LOYAL, "--live")
    assert told.exit_code == 2
    assert "What was not sent by then is not sent any more." in told.output
    assert len(server.accepted) == 2
    counts = count_statuses(store, LOYAL)
    assert (counts["sent"], "pending" in counts) == (2, False)
    assert count_reasons(store, LOYAL)["expired", "approval_over"] == counts["expired"]
    again = run("send", LOYAL, "--live")
    assert f"Campaign {LOYAL} was sent, so nothing more of it is sent." in again.output
    assert len(server.accepted) == 2


def test_a_campaign_nobody_knows_is_told(home: Home) -> None:
    told = run("send", "nothing")
    assert told.exit_code == 2
    assert f"There is no campaign 'nothing'; there are {LOYAL}." in told.output


def test_a_person_sees_and_decides_what_is_uncertain(home: Home, store: StateStore, server: MailServer) -> None:
    approved(home, store)
    server.tell("customer4@example.com", "data", "lost")
    assert "1 uncertain" in run("send", LOYAL, "--live").output
    listed = run("outbox", "uncertain", "list")
    assert "C04" in listed.output
    assert "the server did not say whether it took the message" in listed.output
    marked = run("outbox", "uncertain", "mark", "sent", "--campaign", LOYAL, "--by", "Ada")
    assert marked.output == "1 uncertain message count as sent now, says Ada.\n"
    status = run("outbox", "status")
    assert " ".join(status.output.split()).endswith(f"{LOYAL} sent 8 5 0 0 0 1 2 0 0")
    assert run("outbox", "uncertain", "list").output == "No message is uncertain.\n"


def test_what_a_killed_sender_left_is_in_the_status(home: Home, store: StateStore, server: MailServer) -> None:
    approved(home, store)
    assert run("send", LOYAL, "--live", "--limit", "1").exit_code == 0
    rows, _ = claim_batch(store, LOYAL, "a worker without a journal", 2, dt.datetime(2026, 7, 1, 10, 45))
    assert len(rows) == 2
    status = run("outbox", "status")
    assert "A sender's journal is gone, so 2 messages it held are uncertain now" in status.output
    assert count_statuses(store, LOYAL)["uncertain"] == 2
    assert record_outcomes(store, LOYAL, "a worker without a journal", [Outcome(rows[0].send_id, "sent", 1)]) == 0


# --- Dagster ---------------------------------------------------------------------------------------------------------


def test_the_job_sends_while_another_run_holds_the_run_lock(home: Home, store: StateStore, server: MailServer) -> None:
    from segmentation_assets.defs.sending import send_campaign

    approved(home, store)
    with FileLock(home.lock):
        result = send_campaign.execute_in_process(
            run_config={"ops": {"send_due_messages": {"config": {"campaign_id": LOYAL}}}}
        )
    assert result.success
    assert len(server.accepted) == 5
    assert list((home.path / "locks").iterdir()) == []


def test_the_job_fails_with_the_sentence_where_nobody_approved(home: Home, server: MailServer) -> None:
    from segmentation_assets.defs.sending import send_campaign

    with pytest.raises(dg.Failure, match=f"Nobody has approved campaign {LOYAL}"):
        send_campaign.execute_in_process(run_config={"ops": {"send_due_messages": {"config": {"campaign_id": LOYAL}}}})


def sense(instance: dg.DagsterInstance) -> Any:
    from segmentation_assets.defs.sending import approved_campaigns_sensor

    return approved_campaigns_sensor(dg.build_sensor_context(instance=instance))


def test_the_sensor_asks_for_scheduled_campaigns_alone_and_says_its_numbers(
    home: Home, store: StateStore, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert sense(instance).skip_message == "No campaign is approved to be sent by itself."
        approved(home, store, is_scheduled=True)
        (request,) = sense(instance).run_requests
        assert request.tags["segmentation/send"] == f"{LOYAL}/1"
        assert request.run_key == f"send-{LOYAL}-1-1"
        assert request.run_config == {"ops": {"send_due_messages": {"config": {"campaign_id": LOYAL}}}}
        monkeypatch.setenv("SEGMENTATION_DELIVERY__TRANSPORT", "file")
        assert sense(instance).skip_message == (
            'delivery.transport is "file": nothing is sent by itself. Set it to "smtp".'
        )


def test_a_failed_request_is_made_again_three_times_and_then_names_the_run(
    home: Home, store: StateStore, server: MailServer
) -> None:
    from segmentation_assets.defs.sending import send_campaign

    approved(home, store, is_scheduled=True)
    with dg.DagsterInstance.ephemeral() as instance:
        for attempt in (1, 2, 3):
            (request,) = sense(instance).run_requests
            assert request.run_key == f"send-{LOYAL}-1-{attempt}"
            run = instance.create_run_for_job(
                send_campaign, run_config=request.run_config, status=dg.DagsterRunStatus.FAILURE, tags=request.tags
            )
        assert (
            f"3 requests in a row failed, the last in run {run.run_id}. Mend its cause, then "
            f"`segmentation send {LOYAL} --live`."
        ) in sense(instance).skip_message


# --- killed processes ------------------------------------------------------------------------------------------------


def benchmark() -> Any:
    spec = importlib.util.spec_from_file_location("sending_benchmark", PROJECT_ROOT / "benchmarks" / "sending.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_process_killed_between_the_acknowledgement_and_the_outcome_leaves_it_uncertain(tmp_path: Path) -> None:
    """A real process, killed with SIGKILL by itself when the server has said 250 and before that was journalled."""
    import subprocess
    import time

    sending = benchmark()
    sending.fill(tmp_path, 8)
    program = (
        "import os, signal, sys\n"
        "from segmentation_assets.delivery.journal import Journal\n"
        "calls = iter(range(99))\n"
        "kept = Journal.conclude\n"
        "def conclude(self, outcome):\n"
        "    if next(calls) == 3:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    kept(self, outcome)\n"
        "Journal.conclude = conclude\n"
        f"sys.path.insert(0, {str(PROJECT_ROOT / 'benchmarks')!r})\n"
        "import pathlib, sending\n"
        "from segmentation_assets.state.store import open_state\n"
        f"home = pathlib.Path({str(tmp_path)!r})\n"
        "with open_state(home / 'state.sqlite') as store:\n"
        f"    sending._dispatcher(store, home, int(sys.argv[1]), {time.time()!r}, limits={{'connections': 1}}).run()\n"
    )
    with mail_server() as server:
        killed = subprocess.run([sys.executable, "-c", program, str(server.port)], check=False)
        assert killed.returncode == -9
        assert len(server.accepted) == 4
        with open_state(tmp_path / "state.sqlite") as store:
            done = sending._dispatcher(store, tmp_path, server.port, time.time()).run()
        assert len(server.accepted) == len(set(server.recipients)) == 8
    assert done.counts == {"sent": 7, "uncertain": 1}
    assert done.is_finished


@pytest.mark.slow
def test_ten_random_kills_in_a_thousand_sends_lose_nothing_and_send_nothing_twice(tmp_path: Path) -> None:
    found = benchmark().run_kills(kills=10, sends=1000, seed=3, folder=tmp_path)
    assert found.wrong == ()
    assert found.kills == 10
    assert 0 < found.counts["uncertain"] <= 4 * 10
