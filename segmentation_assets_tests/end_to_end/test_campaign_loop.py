"""From a draft to a measured result without a real inbox: real mail, real requests, an audience whose mind is known.

One loop is played once, on a small clean world; the tests ask what came of it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from segmentation_assets.cli import app
from segmentation_assets.cli_simulate import simulate
from segmentation_assets.delivery.simulation import CaughtMessage, read_inbox
from segmentation_assets.sources.synthetic.answer_key import read_answer

pytestmark = pytest.mark.slow

COMMAND = Path(sys.executable).with_name("segmentation")
CUSTOMERS = 1_500
Fill = Callable[..., Callable[[Path], None]]
SETTINGS = {
    "SEGMENTATION_SYNTHETIC__DIRT_SHARE": "0",  # so that what was planted is what is found, to the last buyer
    "SEGMENTATION_CAMPAIGNS__AUDIENCE_SHARE": "0.8",
    "SEGMENTATION_CAMPAIGNS__CONTROL_SHARE": "0.3",
    "SEGMENTATION_DELIVERY__TRANSPORT": "catcher",
    "SEGMENTATION_DELIVERY__MESSAGES_PER_SECOND": "1000",
    "SEGMENTATION_SENDER__SHOP_NAME": "Example Shop",
    "SEGMENTATION_SENDER__POSTAL_ADDRESS": "Example Shop, 1 Example Street, 00000 Exampletown",
    "SEGMENTATION_MAILGUN_KEY": "key-of-a-test",
}


@dataclass(frozen=True)
class Played:
    """The HOME after the loop, the published copy from before it, and the customer who left by one click."""

    home: Path
    before: Path
    left: str

    def truth(self) -> pl.DataFrame:
        return read_answer(self.home / "answer_key", "simulated_effects")

    def ask(self, query: str) -> pl.DataFrame:
        with duckdb.connect(str(self.home / "published.duckdb"), read_only=True) as con:
            return con.sql(query).pl()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"nothing listens on port {port}"
            time.sleep(0.1)


def _leave(message: CaughtMessage, port: int) -> None:
    """Unsubscribe by one click, as a mail program does."""
    body = "List-Unsubscribe=One-Click"
    path = message.unsubscribe.partition(f":{port}")[2]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nUser-Agent: Thunderbird\r\n\r\n{body}".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def _play(folder: Path, finish: Fill) -> None:
    """The loop as README tells it; `home`, `before.duckdb` and `left.txt` are its outcome."""
    mail, web = _free_port(), _free_port()
    env = SETTINGS | {
        "SEGMENTATION_DELIVERY__SMTP_PORT": str(mail),
        "SEGMENTATION_DELIVERY__PUBLIC_URL": f"http://127.0.0.1:{web}",
    }
    home = folder / "home"
    finish("--customers", CUSTOMERS, env=env)(folder)
    shutil.copy(home / "published.duckdb", folder / "before.duckdb")
    with duckdb.connect(str(home / "published.duckdb"), read_only=True) as con:
        rows = con.execute("select campaign_id from delivery.campaign_plans where send_customers > 0").fetchall()
    assert rows, "no campaign is planned, so there is nothing to play"
    for (campaign,) in rows:
        words = ("drafts", "approve", campaign, "--yes", "--by", "Anna", "--accept-degraded", "--home", home)
        _called(app, *words, env=env)
    started = [
        subprocess.Popen(
            [str(COMMAND), command, "--port", str(port), "--home", str(home)],
            env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for command, port in (("catcher", mail), ("serve", web))
    ]  # fmt: skip
    try:
        _wait(mail)
        _wait(web)
        for (campaign,) in rows:
            _called(app, "send", campaign, "--live", "--home", home, env=env)
        caught = read_inbox(home / "inbox", f"http://127.0.0.1:{web}")
        first = caught[min(caught)]
        _leave(first, web)
        (folder / "left.txt").write_text(first.send_id, encoding="utf-8")
        told = _called(_playing(), "--home", home, env=env)
        (folder / "simulated.txt").write_text(told, encoding="utf-8")
    finally:
        for process in started:
            process.terminate()
            process.wait(30)
    finish("--job", "assign", env=env)(folder)  # the next days' customers, in the segments that are there


def _playing() -> typer.Typer:
    command = typer.Typer()
    command.command()(simulate)
    return command


def _called(command: typer.Typer, *words: object, env: dict[str, str]) -> str:
    ended = CliRunner().invoke(command, [str(word) for word in words], env=env)
    assert ended.exit_code == 0, ended.output
    return ended.output


@pytest.fixture(scope="session")
def played(once: Callable[[str, Callable[[Path], None]], Path], quick_once: Fill) -> Played:
    folder = once("campaign_loop", lambda folder: _play(folder, quick_once))
    send = (folder / "left.txt").read_text(encoding="utf-8")
    home = folder / "home"
    with duckdb.connect(str(home / "published.duckdb"), read_only=True) as con:
        row = con.execute("select customer_id from delivery.sends where send_id = ?", [send]).fetchall()[0]
    return Played(home, folder / "before.duckdb", row[0])


def test_buyers_of_both_arms_are_those_who_were_simulated(played: Played) -> None:
    truth = played.truth()
    orders = pl.read_parquet(played.home / "simulated" / "orders-0001.parquet").filter(pl.col("status") != "cancelled")
    found = played.ask(
        "select r.*, c.started_at, c.window_ends_at from results.campaign_results as r "
        "inner join results.measured_campaigns as c on c.campaign_id = r.campaign_id "
        "where r.origin = 'sent' and r.metric = 'buyers' order by r.campaign_id"
    )
    assert found.height == truth["campaign_id"].n_unique() > 0
    assert found["is_experiment"].all()
    assert not found["is_early_look"].any()
    for row in found.iter_rows(named=True):
        buyers = orders.filter(pl.col("ordered_at").is_between(row["started_at"], row["window_ends_at"], closed="left"))
        mine = truth.filter(pl.col("campaign_id") == row["campaign_id"]).with_columns(
            buys=pl.col("customer_id").is_in(buyers["customer_id"].to_list())
        )
        for arm in ("treated", "control"):
            of_arm = mine.filter(pl.col("arm") == arm)
            assert row[f"{arm}_customers"] == of_arm.height > 0
            assert row[f"{arm}_value"] == pytest.approx(of_arm["buys"].mean(), abs=1e-6)


def test_human_clicks_are_near_the_planted_number_and_scanners_are_labelled(played: Played) -> None:
    truth = played.truth()
    clicked = played.ask(
        "select campaign_id, customer_id from results.campaign_customers where origin = 'sent' and is_clicked"
    )
    planted = truth.filter("is_clicking").select("campaign_id", "customer_id")
    both = planted.join(clicked, on=["campaign_id", "customer_id"], how="semi").height
    assert planted.height >= 5
    assert both >= 0.8 * planted.height
    assert both >= 0.8 * clicked.height
    scanned = played.ask(
        "select is_robot, count(*) as clicks from delivery.labelled_events where kind = 'click' group by 1"
    )
    assert dict(scanned.iter_rows())[True] > planted.height
    # A person behind a scanner clicks too; the others' messages were clicked by nobody, or by a machine alone.
    machines = truth.filter((pl.col("machine") != "") & ~pl.col("is_clicking"))
    taken = machines.join(clicked, on=["campaign_id", "customer_id"], how="semi").height
    assert taken <= 0.2 * max(machines.height, 5)


def test_bounces_are_reported_and_whoever_left_is_not_written_to_again(played: Played) -> None:
    bounced = played.truth().filter(pl.col("bounce") != "")
    reported = played.ask(
        "select distinct customer_id from delivery.events where kind in ('hard_bounce', 'soft_bounce')"
    )
    assert set(reported["customer_id"]) == set(bounced["customer_id"])
    suppressed = set(played.ask("select customer_id from delivery.suppressions")["customer_id"])
    assert played.left in suppressed
    plan = played.ask("select customer_id, decision from delivery.plan")
    assert plan.height == CUSTOMERS
    written_to = set(plan.filter(pl.col("decision") == "send")["customer_id"])
    assert not suppressed & written_to


def test_the_world_went_on_and_kept_every_old_row(played: Played) -> None:
    as_of = played.ask("select as_of from raw.source").item()
    assert as_of.isoformat() == "2026-07-15"
    with duckdb.connect(str(played.home / "published.duckdb"), read_only=True) as con:
        con.execute(f"attach '{played.before}' as before (read_only)")
        for table in ("customers", "products", "orders", "order_items", "payments", "returns", "product_events"):
            lost = con.execute(
                f"select count(*) from (from before.clean.{table} except all from clean.{table})"
            ).fetchall()[0][0]
            assert lost == 0, table
        new = con.execute("select count(*) from (from clean.orders except all from before.clean.orders)").fetchall()
    assert new[0][0] > 0
    assert played.ask("select count(*) from quality.rejected_rows").item() == 0


def test_what_people_did_is_in_the_next_profiles(played: Played) -> None:
    own = "from delivery.sends where status in ('sent', 'uncertain')"
    written = played.ask(f"select count(distinct customer_id) {own}").item()
    taste = played.ask("select * from results.segment_engagement where axis = 'taste'")
    assert taste["written_to_last_90_days_customers"].sum() >= written > 0
    clickers = played.ask(
        "select count(distinct customer_id) from delivery.labelled_events where kind = 'click' and not is_robot"
    ).item()
    assert taste["clicked_last_365_days_customers"].sum() >= clickers > 0
    told = played.ask(
        "select e.axis, e.segment_id, e.clicked_share, f.number, f.value, p.how from results.segment_engagement as e "
        "inner join profiles.profile_facts as f on f.axis = e.axis and f.segment_id = e.segment_id "
        "and f.key = 'clicked' "
        "inner join profiles.segment_profiles as p on p.axis = e.axis and p.segment_id = e.segment_id"
    )
    assert told.height > 0
    for row in told.iter_rows(named=True):
        assert row["number"] == pytest.approx(row["clicked_share"], abs=1e-6)
        assert row["value"] in row["how"], row["segment_id"]
    untold = played.ask(
        "select e.written_to_last_365_days_customers as customers, f.number from results.segment_engagement as e "
        "left join profiles.profile_facts as f on f.axis = e.axis and f.segment_id = e.segment_id "
        "and f.key = 'clicked' where f.number is null"
    )
    assert (untold["customers"] < 50).all()


def test_a_measured_campaign_is_told_of_its_taste_with_its_own_interval(played: Played) -> None:
    found = played.ask(
        "select s.*, r.effect as campaign_effect, r.low as campaign_low, r.high as campaign_high "
        "from results.segment_campaigns as s inner join results.campaign_results as r "
        "on r.campaign_id = s.campaign_id and r.metric = 'buyers'"
    )
    # On this small world most campaigns are for T0, which is told of none: whoever buys leaves it.
    assert "T0" not in found["segment_id"]
    assert (found["effect"] == found["campaign_effect"]).all() and (found["low"] == found["campaign_low"]).all()
    for row in found.filter("is_newest").iter_rows(named=True):
        facts = dict(
            played.ask(
                f"select key, number from profiles.profile_facts where axis = 'taste' "
                f"and segment_id = '{row['segment_id']}' and key like 'effect%'"
            ).iter_rows()
        )
        if min(row["treated_customers"], row["control_customers"]) < 50:
            assert facts == {}
            continue
        assert facts == {
            "effect": pytest.approx(row["effect"], abs=1e-6), "effect_low": pytest.approx(row["low"], abs=1e-6),
            "effect_high": pytest.approx(row["high"], abs=1e-6),
        }  # fmt: skip


def test_a_second_simulation_has_nothing_to_answer(played: Played, tmp_path: Path) -> None:
    home = Path(shutil.copytree(played.home, tmp_path / "home"))
    settings = {"SEGMENTATION_SYNTHETIC__DIRT_SHARE": "0"}
    web = next(iter((home / "inbox").glob("*.eml"))).read_bytes().partition(b"<http://127.0.0.1:")[2].partition(b"/")[0]
    settings["SEGMENTATION_DELIVERY__PUBLIC_URL"] = f"http://127.0.0.1:{web.decode()}"
    done = CliRunner().invoke(_playing(), ["--home", str(home)], env=settings)
    assert done.exit_code == 2
    assert "that was not answered yet" in " ".join(done.output.split())
