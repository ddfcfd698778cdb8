"""The whole loop on several seeds: approve, send by SMTP, answer over HTTP, let days pass, measure.

Each seed starts from a copy of one finished HOME; who is written to and who is left out is drawn anew by it. It goes
through the real commands, a real SMTP server and the real service. Printed: of all campaigns, how many 95 %
intervals of the buying rate hold the planted effect; human clicks that were planted and that were found; and the time.

The planted effect of a campaign is what the treated customers are expected to gain: for each whom the message reached,
the chance of being moved times that of not buying anyway.

    .venv/bin/python benchmarks/campaign_loop.py --seeds 20
    .venv/bin/python benchmarks/campaign_loop.py --seeds 2 --customers 1500
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl
import typer
from typer.testing import CliRunner

from segmentation_assets.cli import app
from segmentation_assets.cli_simulate import simulate
from segmentation_assets.delivery.catcher import start_catcher
from segmentation_assets.sources.synthetic.answer_key import read_answer

COMMAND = Path(sys.executable).with_name("segmentation")
#: What the measured result needs; the rest of the graph would only take time.
MEASURED = (
    'group:raw or group:clean or key:"features/order_lines" or key:"delivery/campaigns" or key:"delivery/sends" or '
    'key:"delivery/events" or key:"delivery/suppressions" or key:"delivery/labelled_events" or group:results'
)
PLANNED = 'key:"delivery/plan" or key:"delivery/campaign_plans" or key:"delivery/plan_reasons" or key:"published"'
SETTINGS = {
    "SEGMENTATION_CAMPAIGNS__AUDIENCE_SHARE": "0.8",
    "SEGMENTATION_CAMPAIGNS__CONTROL_SHARE": "0.3",
    "SEGMENTATION_DELIVERY__TRANSPORT": "catcher",
    "SEGMENTATION_DELIVERY__MESSAGES_PER_SECOND": "200",
    "SEGMENTATION_SENDER__SHOP_NAME": "Example Shop",
    "SEGMENTATION_SENDER__POSTAL_ADDRESS": "Example Shop, 1 Example Street, 00000 Exampletown",
    "SEGMENTATION_MAILGUN_KEY": "key-of-a-benchmark",
}

playing = typer.Typer()
playing.command()(simulate)


@dataclass(frozen=True)
class Measured:
    """One campaign of one seed: its interval, the planted effect, and clicks planted and found."""

    seed: int
    campaign_id: str
    treated: int
    control: int
    planted: float
    effect: float
    low: float
    high: float
    clicks_planted: int
    clicks_found: int


def call(runner: typer.Typer, *words: object) -> str:
    """Run a command in this process; SystemExit with what it printed when it fails."""
    result = CliRunner().invoke(runner, [str(word) for word in words])
    for name in ("SEGMENTATION_HOME", "DAGSTER_HOME"):
        os.environ.pop(name, None)
    if result.exit_code != 0:
        raise SystemExit(f"{' '.join(map(str, words))} ended with {result.exit_code}:\n{result.output[-3000:]}")
    return result.output


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(home: Path) -> Iterator[None]:
    """The catcher and the service of a HOME."""
    catcher, _ = start_catcher(home / "inbox", port=int(os.environ["SEGMENTATION_DELIVERY__SMTP_PORT"]))
    url = os.environ["SEGMENTATION_DELIVERY__PUBLIC_URL"]
    words = [str(COMMAND), "serve", "--port", url.rpartition(":")[2], "--home", str(home)]
    service = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not _answers(int(url.rpartition(":")[2])):
            if time.monotonic() > deadline or service.poll() is not None:
                raise SystemExit("The service did not start.")
            time.sleep(0.2)
        yield
    finally:
        service.terminate()
        service.wait(30)
        catcher.stop()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def loop(base: Path, home: Path, seed: int) -> list[Measured]:
    """One seed, from the plan to the result."""
    shutil.copytree(base, home)
    os.environ["SEGMENTATION_DELIVERY__SMTP_PORT"] = str(free_port())
    os.environ["SEGMENTATION_DELIVERY__PUBLIC_URL"] = f"http://127.0.0.1:{free_port()}"
    # The plan draws by the settings' seed; the world keeps its own, because its tables are not made anew.
    os.environ["SEGMENTATION_SEED"] = str(1_000 + seed)
    call(app, "run", "--home", home, "--select", PLANNED)
    del os.environ["SEGMENTATION_SEED"]
    with duckdb.connect(str(home / "published.duckdb"), read_only=True) as con:
        rows = con.execute(
            "select campaign_id from delivery.campaign_plans where send_customers > 0 order by 1"
        ).fetchall()
    campaigns = [row[0] for row in rows]
    for campaign in campaigns:
        call(app, "drafts", "approve", campaign, "--yes", "--by", "benchmark", "--accept-degraded", "--home", home)
    with running(home):
        for campaign in campaigns:
            call(app, "send", campaign, "--live", "--home", home)
        call(playing, "--home", home, "--seed", seed)
    call(app, "run", "--home", home, "--select", MEASURED)
    return _measured(home, seed)


def _measured(home: Path, seed: int) -> list[Measured]:
    truth = read_answer(home / "answer_key", "simulated_effects")
    gain = pl.col("planted_effect") * (1 - pl.col("ordinary_chance"))
    reached = pl.col("is_caught") & (pl.col("bounce") == "")
    planted = (
        truth.filter(pl.col("arm") == "treated")
        .group_by("campaign_id")
        .agg(planted=pl.when(reached).then(gain).otherwise(0.0).mean(), clicks=pl.col("is_clicking").sum())
    )
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as con:
        found = con.sql(
            "select r.campaign_id, r.treated_customers, r.control_customers, r.effect, r.low, r.high, "
            "(select count(*) from results.campaign_customers as c where c.campaign_id = r.campaign_id "
            "and c.is_clicked) as found "
            "from results.campaign_results as r where r.metric = 'buyers' and r.origin = 'sent'"
        ).pl()
    rows = found.join(planted, on="campaign_id").sort("campaign_id").iter_rows(named=True)
    return [
        Measured(
            seed, row["campaign_id"], row["treated_customers"], row["control_customers"], row["planted"],
            row["effect"], row["low"], row["high"], row["clicks"], row["found"],
        )
        for row in rows
        if row["low"] is not None
    ]  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="The whole loop on several seeds.")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="The first seed.")
    parser.add_argument("--customers", type=int, default=3_000)
    parser.add_argument("--base", type=Path, help="A HOME that was run with these settings; made when not given.")
    given = parser.parse_args()
    os.environ.update(SETTINGS)
    everything: list[Measured] = []
    with tempfile.TemporaryDirectory() as scratch:
        base = given.base
        if base is None:
            base = Path(scratch) / "base"
            call(app, "run", "--customers", given.customers, "--home", base)
        for seed in range(given.first, given.first + given.seeds):
            begun = time.monotonic()
            home = Path(scratch) / f"seed{seed}"
            done = loop(base, home, seed)
            shutil.rmtree(home)
            everything += done
            held = sum(one.low <= one.planted <= one.high for one in done)
            print(f"seed {seed}: {held} of {len(done)} intervals hold it, {time.monotonic() - begun:.0f} s", flush=True)
    held = sum(one.low <= one.planted <= one.high for one in everything)
    planted, found = (sum(getattr(one, f"clicks_{name}") for one in everything) for name in ("planted", "found"))
    print(f"{held} of {len(everything)} intervals hold the planted effect ({held / max(len(everything), 1):.1%})")
    size = sum(one.treated for one in everything)
    gained = sum(one.planted * one.treated for one in everything) / max(size, 1)
    measured = sum(one.effect * one.treated for one in everything) / max(size, 1)
    print(f"planted {gained:.4f}, measured {measured:.4f} on average over {size:,} treated")
    print(f"clicked by people: {planted} planted, {found} found")
    print(pl.DataFrame([vars(one) for one in everything]).write_csv())


if __name__ == "__main__":
    main()
