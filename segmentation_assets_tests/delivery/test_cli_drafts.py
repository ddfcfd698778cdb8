"""`segmentation drafts` and `segmentation plan`: a person sees what would be sent to whom, and says yes or no."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import pty
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer
from typer.testing import CliRunner

from segmentation_assets import cli_drafts
from segmentation_assets.cli_drafts import drafts_app
from segmentation_assets.delivery import approval
from segmentation_assets.delivery.clock import let_time_pass
from segmentation_assets.messaging.content import CampaignContent
from segmentation_assets.state import campaigns, models
from segmentation_assets.state.store import open_state
from segmentation_assets_tests.delivery.campaign_world import LAPSED, LOYAL, World, publish

Said = Callable[..., tuple[int, str]]

plan_app = typer.Typer()
plan_app.command("plan")(cli_drafts.plan)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with open_state(folder / "state.sqlite"):
        publish(folder)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("SEGMENTATION_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SEGMENTATION_SETTINGS", str(tmp_path / "segmentation.toml"))
    (tmp_path / "segmentation.toml").write_text('[sender]\nshop_name = "Nordlys"\naddress = "news@shop.example"\n')
    return Path(shutil.copytree(made, tmp_path / "home"))


def said(app: typer.Typer, *words: str, home: Path) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "300"}).invoke(app, [*words, "--home", str(home)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join((result.stdout + " " + result.stderr).split())


@pytest.fixture
def drafts(place: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    """`segmentation drafts ...` on that HOME: exit code and everything said, on one line."""
    # What messages are checked for has tests of its own, and takes a while.
    monkeypatch.setattr(approval, "message_findings", lambda content: [])
    return lambda *words: said(drafts_app, *words, home=place)


def listed(place: Path) -> dict[str, dict[str, Any]]:
    result = CliRunner().invoke(drafts_app, ["list", "--json", "--home", str(place)])
    return {row["campaign_id"]: row for row in json.loads(result.stdout)}


# --- list --------------------------------------------------------------------------------------------------------


def test_the_list_says_of_each_campaign_what_it_is_and_what_it_may_earn(drafts: Said) -> None:
    code, words = drafts("list")
    assert code == 0
    assert words == (
        "campaign name status audience written to expected margin "
        f"{LOYAL} Early access · Home draft 10 6 €363.50 "
        f"{LAPSED} Welcome back · Home draft 10 €363.50 "
        "`segmentation drafts show ID` shows one; the beginning of an id is enough."
    )


def test_the_list_follows_a_campaign_through_its_life(drafts: Said, place: Path) -> None:
    assert listed(place)[LOYAL]["status"] == "draft"
    drafts("approve", LOYAL, "--yes", "--by", "Ada")
    row = listed(place)[LOYAL]
    assert (row["status"], row["person"], row["is_planned"]) == ("approved", "Ada", True)
    assert row["told"].startswith("approved until 2026-07-08 ")
    publish(place, World(discount_share=0.2))
    assert (listed(place)[LOYAL]["status"], listed(place)[LOYAL]["told"]) == (
        "changed",
        "changed since Ada approved it",
    )
    publish(place)
    assert listed(place)[LOYAL]["status"] == "approved"
    with open_state(place / "state.sqlite") as store:
        let_time_pass(store, dt.timedelta(days=8))
        assert listed(place)[LOYAL]["status"] == "expired"
        for status in ("sending", "sent"):
            campaigns.set_status(store, LOYAL, "sending" if status == "sending" else "sent")
            assert listed(place)[LOYAL]["told"] == status


def test_a_campaign_that_is_not_planned_any_more_stays_in_the_list(drafts: Said, place: Path) -> None:
    drafts("approve", LOYAL, "--yes", "--by", "Ada")
    with duckdb.connect(str(place / "published.duckdb")) as con:
        for table in ("campaigns.briefs", "campaigns.email_drafts"):
            con.execute(f"delete from {table} where brief_id = '{LOYAL}'")
    row = listed(place)[LOYAL]
    assert (row["is_planned"], row["status"], row["send_customers"]) == (False, "changed", 6)


def test_a_look_at_the_list_does_not_start_the_clock_of_the_demonstration(drafts: Said, place: Path) -> None:
    drafts("list")
    with open_state(place / "state.sqlite") as store, pytest.raises(ValueError, match="once it was started"):
        let_time_pass(store, dt.timedelta(days=1))


# --- show --------------------------------------------------------------------------------------------------------


def test_a_person_sees_everything_that_is_approved(drafts: Said) -> None:
    code, words = drafts("show", "20260630-T1")
    assert code == 0
    for part in (
        f"{LOYAL} · Early access · Home Status: draft From: Nordlys <news@shop.example>, answers to news@shop.example",
        "Postal address: Our shop, 1 Example Street, 00000 Exampletown Valid until: 2026-07-14",
        "Subject arm A Subject: First look: House Espresso Preheader: For our regulars first, until 14 July.",
        "Subject arm B Subject: Picks from Home, for you",
        "- House Espresso: €18.00",
        "price1 €18.00",
        "0 the offer https://shop.example/offers 1 House Espresso https://shop.example/products/P1",
        "10 customers: 6 are written to, 1 are left out at random (control), 1 are left out of all campaigns, 2 may "
        "not or should not be written to. 2 more would fit, and are in another campaign's audience: one message each.",
        "excluded no_consent 2 Why excluded.",
        "May leave from 2026-07-01 00:00 UTC to 2026-07-15 00:00 UTC, outside the recipients' quiet hours. "
        "6 are written to and 1 left out. The control group costs at most €36.35 of expected margin.",
        "- local_service: delivery.public_url is an address of this machine: good for a trial, reached by nobody else.",
        "Nothing stands in the way of approving it.",
    ):
        assert part in words


def test_what_stands_in_the_way_is_shown(drafts: Said) -> None:
    code, words = drafts("show", LAPSED)
    assert code == 0
    assert f"- must be mended: no_plan: Campaign {LAPSED} has no plan. `segmentation run` makes it." in words
    assert "Nothing stands in the way" not in words


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("20260630", f"'20260630' is the beginning of 2 campaigns: {LOYAL}, {LAPSED}. Give more of it."),
        ("nothing", f"There is no campaign 'nothing'; there are {LOYAL}, {LAPSED}."),
        ("", f"There is no campaign ''; there are {LOYAL}, {LAPSED}."),
    ],
)
def test_an_id_that_is_not_one_is_refused(drafts: Said, given: str, sentence: str) -> None:
    assert drafts("show", given) == (2, sentence)


def test_a_home_of_an_older_version_is_told_to_run(drafts: Said, place: Path) -> None:
    publish(place, World(drops=("delivery/plan", "delivery/campaign_plans", "delivery/plan_reasons")))
    for words in (("list",), ("show", LOYAL), ("approve", LOYAL, "--yes"), ("reject", LOYAL, "--why", "No.")):
        assert drafts(*words) == (
            2,
            "The published copy does not hold delivery.plan, delivery.campaign_plans, delivery.plan_reasons as "
            "campaigns need it: it was made before campaigns could be sent. `segmentation run` renews it.",
        )


def test_who_has_no_name_is_told_before_anything_is_shown(drafts: Said) -> None:
    for words in (("approve", LOYAL, "--yes", "--by", ""), ("reject", LOYAL, "--why", "No.", "--by", " ")):
        code, told = drafts(*words)
        assert code == 2 and told.endswith("is empty: say it in words.") and "Subject" not in told


@pytest.mark.parametrize(("status", "told"), [("sending", "is being sent"), ("sent", "was sent")])
def test_a_campaign_that_was_begun_is_not_shown_as_if_it_could_be_approved(
    drafts: Said, place: Path, status: str, told: str
) -> None:
    drafts("approve", LOYAL, "--yes", "--by", "Ada")
    with open_state(place / "state.sqlite") as store, store.session(write=True) as session:
        session.get_one(models.Campaign, LOYAL).status = status
    _, shown = drafts("show", LOYAL)
    assert shown.endswith(f"It cannot be approved any more: it {told}.") and "Nothing stands in the way" not in shown
    code, refused = drafts("approve", LOYAL, "--yes")
    assert code == 2 and refused.startswith(f"Campaign {LOYAL} {told}, so it cannot be approved.")


def test_a_key_that_cannot_sign_stands_in_the_way_of_approving(
    drafts: Said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEGMENTATION_SENDER__DKIM_DOMAIN", "shop.example")
    monkeypatch.setenv("SEGMENTATION_SENDER__DKIM_KEY_FILE", str(tmp_path / "dkim.pem"))
    code, told = drafts("approve", LOYAL, "--yes")
    assert code == 2
    assert told.endswith(
        "- dkim: sender.dkim_key_file cannot be read (No such file or directory), so nothing was sent."
    )


def test_a_state_store_that_cannot_be_used_is_a_sentence(drafts: Said, place: Path) -> None:
    for beside in place.glob("state.sqlite*"):
        beside.unlink()
    (place / "state.sqlite").write_bytes(b"no database, whoever wrote it" * 100)
    code, told = drafts("list")
    assert code == 2
    assert told.startswith("The state store, state.sqlite in HOME, cannot be used (file is not a database).")
    (place / "state.sqlite").unlink()
    (place / "state.sqlite").mkdir()  # as a folder without permission: the database cannot be opened
    code, told = drafts("list")
    assert code == 2 and "cannot be used (unable to open database file)" in told


def test_a_state_store_of_a_newer_version_is_a_sentence(drafts: Said, place: Path) -> None:
    with contextlib.closing(sqlite3.connect(place / "state.sqlite")) as con, con:
        con.execute("update alembic_version set version_num = '9999'")
    code, told = drafts("list")
    assert code == 2 and "is at revision 9999" in told


def test_a_home_without_anything_is_told_to_run(tmp_path: Path) -> None:
    assert said(drafts_app, "list", home=tmp_path) == (
        2, f"Nothing is published in {tmp_path} yet. `segmentation run --home {tmp_path}` makes it.",
    )  # fmt: skip


def test_the_preview_is_the_message_of_a_made_up_recipient(drafts: Said, tmp_path: Path) -> None:
    path = tmp_path / "preview.html"
    assert drafts("show", LOYAL, "--html", str(path), "--variant", "B")[0] == 0
    html = path.read_text("utf-8")
    assert "Hello Alex" in html
    assert "Nordlys" in html
    assert "[[" not in html
    code, words = drafts("show", LOYAL, "--html", str(path), "--variant", "C")
    assert (code, words.endswith("There is no subject arm 'C'; there are A, B.")) == (2, True)


def test_a_preview_that_cannot_be_written_says_why(drafts: Said, tmp_path: Path) -> None:
    code, words = drafts("show", LOYAL, "--html", str(tmp_path / "missing" / "x.html"))
    assert code == 2
    assert words.endswith("cannot be written (No such file or directory). Give another file with --html.")


# --- approve -----------------------------------------------------------------------------------------------------


def test_an_approval_says_until_when_and_what_is_next(drafts: Said, place: Path) -> None:
    code, words = drafts("approve", LOYAL, "--yes", "--by", "Ada", "--schedule")
    assert code == 0
    assert "Ada approved 20260630-T1-loyal until 2026-07-08 " in words
    assert "Any change of content, links, audience or sender voids it." in words
    assert "It may start by itself from 2026-07-01 00:00 UTC." in words
    assert f"A dry run is `segmentation send {LOYAL} --home {place}`." in words
    with open_state(place / "state.sqlite") as store:
        record = campaigns.get_campaign(store, LOYAL)
    assert record is not None
    assert record.is_scheduled
    assert CampaignContent.from_json(record.content).variants[0].subject == "First look: House Espresso"


def test_without_a_terminal_and_without_yes_nothing_is_approved(drafts: Said, place: Path) -> None:
    assert drafts("approve", LOYAL, "--by", "Ada") == (
        2, "Nobody is here to ask: this is no terminal. Approve with --yes after `segmentation drafts show`.",
    )  # fmt: skip
    assert listed(place)[LOYAL]["status"] == "draft"


def test_a_campaign_that_must_be_mended_is_refused_with_every_reason(drafts: Said, place: Path) -> None:
    publish(place, World(is_degraded=True, plan=(("control", None, ""),)))
    code, words = drafts("approve", LOYAL, "--yes")
    assert code == 2
    assert f"Campaign {LOYAL} cannot be approved: - no_recipients: Nobody would be written to" in words
    assert f"- degraded: {LOYAL}-A, {LOYAL}-B: a model was to write it" in words
    publish(place, World(is_degraded=True))
    assert drafts("approve", LOYAL, "--yes", "--accept-degraded")[0] == 0


def test_the_account_approves_where_no_name_is_given(
    drafts: Said, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "cleo")
    drafts("approve", LOYAL, "--yes", "--aa")
    row = listed(place)[LOYAL]
    assert row["person"] == "cleo"
    assert row["told"].endswith("by cleo, A/A trial")


_ASKED = """
from segmentation_assets.delivery import approval
approval.message_findings = lambda content: []
from segmentation_assets_tests.delivery import campaign_world
from segmentation_assets.cli_drafts import drafts_app
drafts_app()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "status"), [("y\n", "approved"), ("\n", "draft")])
def test_at_a_terminal_a_person_is_asked_and_only_yes_is_yes(place: Path, answer: str, status: str) -> None:
    ours, theirs = pty.openpty()
    try:
        running = subprocess.Popen(
            [sys.executable, "-c", _ASKED, "approve", LOYAL, "--by", "Ada", "--home", str(place)],
            stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        os.write(ours, answer.encode())
        told, wrong = running.communicate(timeout=120)
    finally:
        os.close(ours)
        os.close(theirs)
    assert "Approve this as Ada? [y/N]" in told, wrong
    assert listed(place)[LOYAL]["status"] == status


# --- reject ------------------------------------------------------------------------------------------------------


def test_a_rejection_is_in_the_list_with_who_and_why(drafts: Said, place: Path) -> None:
    assert drafts("reject", LOYAL, "--why", "Too dear.", "--by", "Ben") == (0, f"Ben rejected {LOYAL}: Too dear.")
    assert listed(place)[LOYAL]["told"] == "rejected by Ben: Too dear."
    assert drafts("reject", LOYAL, "--why", " ", "--by", "Ben") == (
        2, "Why it is rejected is empty: say it in words.",
    )  # fmt: skip


def test_a_campaign_that_is_being_sent_is_stopped_even_when_it_is_not_planned_any_more(
    drafts: Said, place: Path
) -> None:
    drafts("approve", LOYAL, "--yes", "--by", "Ada")
    with open_state(place / "state.sqlite") as store:
        campaigns.set_status(store, LOYAL, "sending")
    with duckdb.connect(str(place / "published.duckdb")) as con:
        con.execute("delete from campaigns.briefs")
    assert drafts("reject", "20260630-T1", "--why", "Stop.", "--by", "Ben")[0] == 0
    assert listed(place)[LOYAL]["status"] == "cancelled"


# --- plan --------------------------------------------------------------------------------------------------------


def test_the_plan_says_who_is_written_to_and_who_not_and_why(place: Path) -> None:
    code, words = said(plan_app, home=place)
    assert code == 0
    assert words.startswith(f"Audience of {LOYAL} 10 customers: 6 are written to, 1 are left out at random (control)")
    assert words.endswith("In no campaign: decision reason customers excluded no_campaign 1 No offer fits.")


def test_the_plan_as_json_reconciles(place: Path) -> None:
    result = CliRunner().invoke(plan_app, ["--json", "--home", str(place)])
    told = json.loads(result.stdout)
    (row,) = told["campaigns"]
    reasons = [reason for reason in told["reasons"] if reason["campaign_id"] == LOYAL]
    assert sum(reason["customers"] for reason in reasons) == row["audience_customers"] == 10
    assert (row["starts_at"], row["control_cost_amount"]) == ("2026-07-01T00:00:00", 36.35)
    assert [reason["customers"] for reason in told["reasons"] if reason["campaign_id"] is None] == [1]


def test_the_plan_of_one_campaign_is_that_one_alone(place: Path) -> None:
    code, words = said(plan_app, LOYAL, home=place)
    assert code == 0
    assert "In no campaign" not in words
    assert said(plan_app, LAPSED, home=place) == (2, f"There is no campaign '{LAPSED}'; there are {LOYAL}.")


def test_a_plan_without_campaigns_says_so(place: Path) -> None:
    publish(place, World(has_plan=False))
    code, words = said(plan_app, home=place)
    assert code == 0
    assert words.startswith("No campaign is planned, so nobody would be written to. In no campaign:")
