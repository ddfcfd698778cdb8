"""Labelled traffic of one campaign, and how well `delivery/labelled_events` tells people from machines in it.

People open through image proxies, mail programs and browsers, click once, twice by accident, or two links in a moment.
Machines scan all links in a burst, follow a single link, ask with HEAD, fetch images when the message arrives, or come
through residential networks. What is drawn, and from which distributions, is `Traffic`; nothing of it knows the rules'
thresholds. Printed: precision, recall and F1 of human clicks, the share of human opens through a proxy that is kept,
and the same for two baselines: every event is human, and an event is a robot's when it comes soon after sending, with
the delay that does best on the very data it is judged on.

    .venv/bin/python benchmarks/robots.py
    .venv/bin/python benchmarks/robots.py --recipients 400000 --seeds 1    # about a million events, timed
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import duckdb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from segmentation_assets.delivery.tables import TABLE_TYPES
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model
from segmentation_assets.warehouse.tables import create_from_frame, create_from_query

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]

_START = np.datetime64("2026-07-01T09:00:00", "us")
#: How people read: through which proxy the pixel is fetched (empty: by the program itself), share, program of a click.
_READERS = (
    ("google_image_proxy", 0.40), ("yahoo_proxy", 0.06), ("apple_mail_proxy", 0.30), ("mail_client", 0.10),
    ("browser_desktop", 0.14),
)  # fmt: skip
_READER_NAMES = tuple(name for name, _ in _READERS)
_APPLE, _GOOGLE = _READER_NAMES.index("apple_mail_proxy"), _READER_NAMES.index("google_image_proxy")
#: Delays (seconds) judged for the baseline; the best on each data set counts.
_DELAYS = (5, 10, 30, 60, 120, 300, 900, 3600)


@dataclass(frozen=True)
class Traffic:
    """What is drawn. Shares are of recipients unless said otherwise; medians are of lognormals, in seconds."""

    recipients: int = 20_000
    links: int = 5
    messages_per_second: float = 20.0
    # People.
    open_share: float = 0.30
    open_median: float = 5_400.0
    open_sigma: float = 1.9
    reopen_share: float = 0.30  # of those who open
    blocked_share: float = 0.30  # of readers without a proxy: they see no images, so no pixel is fetched
    click_share: float = 0.14  # of those who read
    click_median: float = 15.0  # after opening
    click_sigma: float = 1.2
    second_link_share: float = 0.20  # of those who click
    second_link_median: float = 20.0
    quick_pair_share: float = 0.05  # of those who click: another link 0.5 to 3 s later
    double_click_share: float = 0.08  # of clicks: the same link again 0.1 to 0.5 s later
    carrier_share: float = 0.40  # of people: on a mobile carrier's network with many others
    carrier_networks: int = 30
    # Machines.
    apple_prefetch_share: float = 0.85  # of readers with Apple's proxy: fetched on arrival, whether read or not
    apple_late_share: float = 0.0  # of these: fetched when the phone next wakes (median 40 minutes)
    google_prefetch_share: float = 0.0  # of readers with Google's proxy
    burst_share: float = 0.08  # scanners that follow all links within 0.1 to 0.9 s
    single_share: float = 0.05  # scanners that follow one link
    gateway_share: float = 0.02  # all links within 0.9 s, each from another residential network
    slow_share: float = 0.0  # scanners that follow all links, one every 1 to 4 s
    hidden_share: float = 0.0  # one link, as a browser, from a residential network: like a person without images
    scan_median: float = 43.0
    scan_sigma: float = 1.5
    pixel_share: float = 0.5  # of scans: the pixel is loaded in between
    head_share: float = 0.3  # of scans: a HEAD of the first link before
    scanner_networks: int = 25
    is_whole_seconds: bool = False


#: Everything that makes it harder at once.
HARD = Traffic(
    messages_per_second=400.0, blocked_share=0.6, quick_pair_share=0.10, carrier_share=0.6, carrier_networks=8,
    apple_late_share=0.3, google_prefetch_share=0.03, slow_share=0.02, hidden_share=0.01, scanner_networks=60,
    is_whole_seconds=True,
)  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """Sends and events as the mirrors hold them; `is_human` (events,) is the truth, in the order of `events`."""

    sends: pl.DataFrame
    events: pl.DataFrame
    is_human: Mask


@dataclass
class _Rows:
    """Columns of events, gathered piece by piece."""

    recipient: list[Ints]
    seconds: list[Floats]
    link: list[Ints]  # -1: the pixel
    agent: list[NDArray[np.str_]]
    network: list[NDArray[np.str_]]
    is_head: list[Mask]
    is_human: list[Mask]

    def add(
        self,
        recipient: Ints,
        seconds: Floats,
        link: Ints | int,
        agent: Sequence[str] | NDArray[np.str_],
        network: NDArray[np.str_],
        *,
        is_human: bool,
        is_head: bool = False,
    ) -> None:
        size = len(recipient)
        self.recipient.append(recipient)
        self.seconds.append(seconds)
        self.link.append(np.broadcast_to(np.asarray(link, dtype=np.int64), (size,)))
        self.agent.append(np.broadcast_to(np.asarray(agent, dtype=np.str_), (size,)))
        self.network.append(network)
        self.is_human.append(np.full(size, is_human))
        self.is_head.append(np.full(size, is_head))


def draw(traffic: Traffic, seed: int) -> Drawn:
    """One campaign's sends and events, with who caused each."""
    rng = np.random.default_rng(seed)
    size = traffic.recipients
    sent = np.arange(size) / traffic.messages_per_second
    rows = _Rows([], [], [], [], [], [], [])
    reader = rng.choice(len(_READERS), size, p=[share for _, share in _READERS])
    _people(traffic, rng, sent, reader, rows)
    _prefetchers(traffic, rng, sent, reader, rows)
    _scanners(traffic, rng, sent, rows)
    return _frames(traffic, rng, sent, rows)


def _people(traffic: Traffic, rng: np.random.Generator, sent: Floats, reader: Ints, rows: _Rows) -> None:
    reads = np.flatnonzero(rng.random(len(sent)) < traffic.open_share)
    read_at = sent[reads] + _delays(rng, traffic.open_median, traffic.open_sigma, len(reads))
    is_carrier = rng.random(len(sent)) < traffic.carrier_share
    weight = 1 / np.arange(1, traffic.carrier_networks + 1)
    carrier = rng.choice(traffic.carrier_networks, len(sent), p=weight / weight.sum())
    own = np.where(is_carrier, _named("carrier", carrier), _named("home", rng.integers(0, 2 * len(sent), len(sent))))
    names = np.array(_READER_NAMES)
    of_reader = reader[reads]
    is_proxied = of_reader <= _APPLE
    network = np.where(is_proxied, _proxy_network(rng, names[of_reader], len(reads)), own[reads])
    # Apple's proxy has most messages already, and shows them without asking again.
    is_fetched = np.where(
        of_reader == _APPLE,
        rng.random(len(reads)) >= traffic.apple_prefetch_share * 0.9,
        is_proxied | (rng.random(len(reads)) >= traffic.blocked_share),
    )
    seen = np.flatnonzero(is_fetched)
    rows.add(reads[seen], read_at[seen], -1, names[of_reader[seen]], network[seen], is_human=True)
    again = seen[rng.random(len(seen)) < traffic.reopen_share]
    later = read_at[again] + _delays(rng, 20_000.0, 1.5, len(again))
    rows.add(reads[again], later, -1, names[of_reader[again]], network[again], is_human=True)

    clicker = np.flatnonzero(rng.random(len(reads)) < traffic.click_share)
    who, when = reads[clicker], read_at[clicker] + _delays(rng, traffic.click_median, traffic.click_sigma, len(clicker))
    agent = np.where(rng.random(len(who)) < 0.55, "browser_mobile", "browser_desktop")
    # Mostly the main link, else a product's.
    link = np.where(rng.random(len(who)) < 0.55, 0, rng.integers(1, traffic.links, len(who)))
    rows.add(who, when, link, agent, own[who], is_human=True)
    for share, gap in (
        (traffic.second_link_share, _delays(rng, traffic.second_link_median, 1.0, len(who))),
        (traffic.quick_pair_share, rng.uniform(0.5, 3.0, len(who))),
    ):
        more = np.flatnonzero(rng.random(len(who)) < share)
        other = (link[more] + rng.integers(1, traffic.links, len(more))) % traffic.links
        rows.add(who[more], when[more] + gap[more], other, agent[more], own[who[more]], is_human=True)
    twice = np.flatnonzero(rng.random(len(who)) < traffic.double_click_share)
    rows.add(
        who[twice], when[twice] + rng.uniform(0.1, 0.5, len(twice)), link[twice], agent[twice], own[who[twice]],
        is_human=True,
    )  # fmt: skip


def _prefetchers(traffic: Traffic, rng: np.random.Generator, sent: Floats, reader: Ints, rows: _Rows) -> None:
    for family, place, share in (
        ("apple_mail_proxy", _APPLE, traffic.apple_prefetch_share),
        ("google_image_proxy", _GOOGLE, traffic.google_prefetch_share),
    ):
        who = np.flatnonzero((reader == place) & (rng.random(len(sent)) < share))
        is_late = (rng.random(len(who)) < traffic.apple_late_share) & (place == _APPLE)
        delay = np.where(is_late, _delays(rng, 2_400.0, 1.0, len(who)), _delays(rng, 20.0, 0.8, len(who)))
        network = _proxy_network(rng, np.full(len(who), family), len(who))
        rows.add(who, sent[who] + delay, -1, np.full(len(who), family), network, is_human=False)


def _scanners(traffic: Traffic, rng: np.random.Generator, sent: Floats, rows: _Rows) -> None:
    # A recipient sits behind one of them or none.
    kinds = (
        ("burst", traffic.burst_share), ("single", traffic.single_share), ("gateway", traffic.gateway_share),
        ("slow", traffic.slow_share), ("hidden", traffic.hidden_share),
    )  # fmt: skip
    shares = np.array([share for _, share in kinds])
    kind_of = rng.choice(len(kinds) + 1, len(sent), p=[*shares, 1 - shares.sum()])
    for place, (kind, _) in enumerate(kinds):
        who = np.flatnonzero(kind_of == place)
        size = len(who)
        begins = sent[who] + _delays(rng, traffic.scan_median, traffic.scan_sigma, size)
        honest = {"burst": 0.4, "single": 0.5}.get(kind, 0.0)
        names = np.where(
            rng.random(size) < honest,
            rng.choice(["outlook_scanner", "security_scanner", "script"], size),
            rng.choice(["browser_desktop", "browser_mobile"], size, p=[0.8, 0.2]),
        )
        mine = _named(f"scanner-{kind}", rng.integers(0, traffic.scanner_networks, size))
        is_residential = kind in ("gateway", "hidden")
        links = [rng.integers(0, traffic.links, size)] if kind in ("single", "hidden") else [
            np.full(size, link) for link in range(traffic.links)
        ]  # fmt: skip
        span = rng.uniform(0.1, 0.9, size)
        offset = np.zeros(size)
        for number, link in enumerate(links):
            if kind == "slow":
                offset = offset + (rng.uniform(1.0, 4.0, size) if number else 0.0)
            elif len(links) > 1:
                offset = span * number / (len(links) - 1)
            network = _named("home", rng.integers(0, 2 * len(sent), size)) if is_residential else mine
            rows.add(who, begins + offset, link, names, network, is_human=False)
        if kind == "hidden":
            continue
        pixel = np.flatnonzero(rng.random(size) < traffic.pixel_share)
        rows.add(
            who[pixel], begins[pixel] + rng.uniform(0, 0.9, len(pixel)), -1, names[pixel], mine[pixel], is_human=False
        )
        head = np.flatnonzero(rng.random(size) < traffic.head_share)
        rows.add(
            who[head], begins[head] - rng.uniform(0.1, 3.0, len(head)), links[0][head], names[head], mine[head],
            is_human=False, is_head=True,
        )  # fmt: skip


def _frames(traffic: Traffic, rng: np.random.Generator, sent: Floats, rows: _Rows) -> Drawn:
    order = rng.permutation(sum(len(part) for part in rows.recipient))  # ids must not tell who is who
    recipient, link = np.concatenate(rows.recipient)[order], np.concatenate(rows.link)[order]
    agent, network = np.concatenate(rows.agent)[order], np.concatenate(rows.network)[order]
    is_head, is_human = np.concatenate(rows.is_head)[order], np.concatenate(rows.is_human)[order]
    seconds = np.concatenate(rows.seconds)[order]
    if traffic.is_whole_seconds:
        seconds = np.floor(seconds)
    is_open = link < 0
    size = len(recipient)
    sends = pl.DataFrame(
        {
            "send_id": _named("s", np.arange(len(sent))), "campaign_id": ["summer"] * len(sent),
            "customer_id": _named("c", np.arange(len(sent))), "arm": ["treated"] * len(sent),
            "variant": np.where(np.arange(len(sent)) % 2 == 0, "A", "B"), "status": ["sent"] * len(sent),
            "reason": [""] * len(sent), "finished_at": _moments(sent), "tries": [1] * len(sent),
            "smtp_code": [250] * len(sent), "product_ids": [""] * len(sent), "taste_segment_id": [""] * len(sent),
            "stage_segment_id": [""] * len(sent),
        }
    )  # fmt: skip
    events = pl.DataFrame(
        {
            "event_id": [f"e{number:08d}" for number in range(size)], "send_id": _named("s", recipient),
            "campaign_id": ["summer"] * size, "customer_id": _named("c", recipient),
            "kind": np.where(is_open, "open", "click"), "occurred_at": _moments(seconds),
            "link": pl.Series(link).replace({-1: None}), "source": np.where(is_open, "pixel", "link"),
            "method": np.where(is_head, "HEAD", "GET"), "user_agent": agent, "network": network,
        }
    )  # fmt: skip
    return Drawn(sends, events, is_human)


def _delays(rng: np.random.Generator, median: float, sigma: float, size: int) -> Floats:
    return median * np.exp(rng.normal(0, sigma, size))


def _named(prefix: str, numbers: Ints) -> NDArray[np.str_]:
    return np.char.add(f"{prefix}-", numbers.astype(np.str_))


def _proxy_network(rng: np.random.Generator, family: NDArray[np.str_], size: int) -> NDArray[np.str_]:
    return np.char.add(np.char.add(family, "-"), rng.integers(0, 30, size).astype(np.str_))


def _moments(seconds: Floats) -> NDArray[np.datetime64]:
    found: NDArray[np.datetime64] = _START + (seconds * 1e6).astype(np.int64).astype("timedelta64[us]")
    return found


def label(drawn: Drawn, threads: int | None = None) -> tuple[pl.DataFrame, float]:
    """event_id, is_robot and robot_rule of every event in its order, and the seconds the model took."""
    with duckdb.connect(":memory:", config={"threads": threads} if threads else {}) as con:
        create_from_frame(con, "delivery/sends", drawn.sends, TABLE_TYPES["delivery/sends"])
        create_from_frame(con, "delivery/events", drawn.events, TABLE_TYPES["delivery/events"])
        begin = time.perf_counter()
        create_from_query(
            con, "delivery/labelled_events", load_model(SQL_ROOT / "delivery" / "labelled_events.sql").query
        )
        seconds = time.perf_counter() - begin
        found = con.sql("select event_id, is_robot, robot_rule from delivery.labelled_events order by event_id").pl()
    return found, seconds


@dataclass(frozen=True)
class Score:
    """How a rule did: human clicks, and human and machine opens through a proxy."""

    precision: float
    recall: float
    f1: float
    proxy_opens_kept: float
    machine_opens_found: float


def score(drawn: Drawn, said_human: Mask) -> Score:
    """Compare with the truth. Machine opens are those of any kind."""
    kind, agent = drawn.events["kind"].to_numpy(), drawn.events["user_agent"].to_numpy().astype(np.str_)
    is_click, human = kind == "click", drawn.is_human
    hits = int((is_click & human & said_human).sum())
    precision = hits / max(int((is_click & said_human).sum()), 1)
    recall = hits / max(int((is_click & human).sum()), 1)
    is_proxied = (kind == "open") & np.char.endswith(agent, "_proxy")
    machine_opens = (kind == "open") & ~human
    return Score(
        precision, recall, 2 * precision * recall / max(precision + recall, 1e-12),
        float(said_human[is_proxied & human].mean()), float((~said_human[machine_opens]).mean()),
    )  # fmt: skip


def soon_after_sending(drawn: Drawn, seconds: int) -> Mask:
    """What the delay rule takes for human: events later than `seconds` after their message was sent."""
    sent = drawn.events.join(
        drawn.sends.select("send_id", "finished_at"), on="send_id", how="left", maintain_order="left"
    )
    after = (sent["occurred_at"] - sent["finished_at"]).dt.total_microseconds().to_numpy()
    later: Mask = after > seconds * 1_000_000
    return later


def compare(traffic: Traffic, seed: int) -> tuple[dict[str, Score], pl.DataFrame, float]:
    """Scores of the rules and of both baselines, the labels with the truth, and the model's seconds."""
    drawn = draw(traffic, seed)
    labels, seconds = label(drawn)
    found = {"rules": score(drawn, ~labels["is_robot"].to_numpy())}
    found["every event is human"] = score(drawn, np.ones(len(drawn.is_human), dtype=np.bool_))
    by_delay = {delay: score(drawn, soon_after_sending(drawn, delay)) for delay in _DELAYS}
    best = max(by_delay, key=lambda delay: by_delay[delay].f1)
    found["delay rule, best of 8"] = by_delay[best]
    told = labels.with_columns(is_human=pl.Series(drawn.is_human), kind=drawn.events["kind"])
    return found, told, seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipients", type=int, default=20_000, help="Messages sent (20000).")
    parser.add_argument("--seeds", type=int, default=5, help="Draws of each mix (5).")
    parser.add_argument("--rules", action="store_true", help="Also print events by rule and truth.")
    parser.add_argument("--json", type=Path, help="Write all figures to this file.")
    given = parser.parse_args(arguments)
    kept: list[dict[str, object]] = []
    print(
        "| traffic | labels | F1 of human clicks, worst | precision | recall | proxy opens kept, worst "
        "| machine opens found |"
    )
    print("|---|---|---:|---:|---:|---:|---:|")
    for name, traffic in (("usual", Traffic()), ("harder", HARD)):
        runs = [compare(replace(traffic, recipients=given.recipients), seed) for seed in range(given.seeds)]
        for method in runs[0][0]:
            scores = [run[0][method] for run in runs]
            mean = {field: float(np.mean([getattr(s, field) for s in scores])) for field in Score.__annotations__}
            worst = (min(s.f1 for s in scores), min(s.proxy_opens_kept for s in scores))
            print(
                f"| {name} | {method} | {mean['f1']:.3f}, {worst[0]:.3f} | {mean['precision']:.3f} "
                f"| {mean['recall']:.3f} | {mean['proxy_opens_kept']:.1%}, {worst[1]:.1%} "
                f"| {mean['machine_opens_found']:.1%} |"
            )
            kept.append({"traffic": name, "labels": method, "worst_f1": worst[0], "worst_kept": worst[1]} | mean)
        events = runs[0][1].height
        print(f"\n{name}: {events:,} events, labelled in {np.mean([run[2] for run in runs]):.2f} s.\n", file=sys.stderr)
        if given.rules:
            table = pl.concat([run[1] for run in runs]).group_by("kind", "robot_rule", "is_human").len()
            with pl.Config(tbl_rows=60):
                print(table.sort("kind", "robot_rule", "is_human", nulls_last=True))
    if given.json:
        given.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
