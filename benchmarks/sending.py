"""Sending under fire, and how fast it is.

    python benchmarks/sending.py kills --kills 100 --sends 10000
    python benchmarks/sending.py speed --sends 4000 [--smtp-sink /usr/sbin/smtp-sink]

`kills`: dispatchers send to a real SMTP server in a process of its own, which writes down what it accepted before it
says so; they are killed with SIGKILL at random moments. Afterwards: nobody got two, nobody who was to get one is
missing without being uncertain, nobody who may not get one did, totals reconcile. `speed`: messages a second with 1,
2 and 4 connections against Postfix's smtp-sink (or a server of our own where it is not installed), and where the time
goes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segmentation_assets.delivery.campaign import send_id
from segmentation_assets.delivery.dispatcher import Contact, Dispatcher, Gate, Limits
from segmentation_assets.delivery.transports import Letter, SmtpServer, SmtpTransport
from segmentation_assets.messaging.content import Recipient
from segmentation_assets.state.outbox import NewSend, QueuedSend

CAMPAIGN = "20260701-T1-loyal"
#: The world's noon is 21:00 in Tokyo, where it is quiet then.
NOON = dt.datetime(2026, 7, 1, 12, 0)
GROUPS = ("plain", "suppressed", "control", "quiet", "no_consent", "double")


# --- the server --------------------------------------------------------------------------------------------------


async def _serve(port: int, accepted: Path | None, slowness: float) -> None:
    """A small SMTP server. It writes the id of a message to `accepted` before it acknowledges it."""
    log = os.open(accepted, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if accepted else None
    draw = random.Random(port)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            writer.write(b"220 sink\r\n")
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    writer.write(b"354 go on\r\n")
                    content = await reader.readuntil(b"\r\n.\r\n")
                    if slowness:
                        await asyncio.sleep(draw.random() * slowness)
                    if log is not None:
                        name = content.partition(b"Message-ID: <")[2].partition(b"@")[0]
                        os.write(log, name + b"\n")
                    if slowness:
                        await asyncio.sleep(draw.random() * slowness)
                    writer.write(b"250 2.0.0 taken\r\n")
                elif verb == b"QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                else:
                    writer.write(b"250 sink\r\n")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", port, limit=2**22)
    async with server:
        await server.serve_forever()


@contextlib.contextmanager
def _process(arguments: Sequence[str], port: int, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """A server in a process of its own, until it listens."""
    process = subprocess.Popen(arguments, env={**os.environ, **(environment or {})}, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.1):
                break
            time.sleep(0.05)
        else:
            raise RuntimeError("The server did not begin to listen.")
        yield
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- the campaign ------------------------------------------------------------------------------------------------


def group_of(number: int) -> str:
    """Nine in ten customers are plain; the others are of the groups who may get nothing, or share an address."""
    return GROUPS[1 + number // 10 % (len(GROUPS) - 1)] if number % 10 == 9 else "plain"


def customer(number: int) -> str:
    return f"C{number:07d}"


def address(number: int) -> str:
    return f"customer{number - 1 if group_of(number) == 'double' else number}@example.com"


def fill(home: Path, sends: int) -> None:
    """An approved campaign with all its customers in the outbox, and some who must not be written to."""
    from segmentation_assets.state.models import Approval, Campaign, Suppression
    from segmentation_assets.state.outbox import fill_sends
    from segmentation_assets.state.store import open_state

    end = NOON + dt.timedelta(days=7)
    with open_state(home / "state.sqlite") as store:
        with store.session(write=True) as session:
            session.add(
                Campaign(
                    campaign_id=CAMPAIGN, name="Benchmark", status="approved", content={}, digests={}, counts={},
                    primary_metric="buyers", window_days=14, control_share=0.1, is_aa=False, is_scheduled=False,
                    starts_at=NOON, not_after=end, created_at=NOON,
                )
            )  # fmt: skip
            session.add(
                Approval(
                    campaign_id=CAMPAIGN, decision="approved", person="Benchmark", reason="", digests={},
                    decided_at=NOON, expires_at=end,
                )
            )  # fmt: skip
            for number in range(sends):
                if group_of(number) == "suppressed":
                    is_by_address = number % 20 == 9
                    session.add(
                        Suppression(
                            address_hash=_hashed(address(number)) if is_by_address else "",
                            customer_id="" if is_by_address else customer(number), kind="unsubscribe",
                            source="benchmark", campaign_id="", created_at=NOON,
                        )
                    )  # fmt: skip
        fill_sends(
            store, CAMPAIGN,
            (
                NewSend(
                    send_id(CAMPAIGN, customer(number)), customer(number),
                    "control" if group_of(number) == "control" else "treated", "A",
                    "Asia/Tokyo" if group_of(number) == "quiet" else "UTC", "", NOON, end,
                )
                for number in range(sends)
            ),
            now=NOON,
        )  # fmt: skip


def _hashed(text: str) -> str:
    return f"h-{text}"


def _contacts(ids: Sequence[str]) -> Mapping[str, Contact]:
    numbers = {one: int(one[1:]) for one in ids}
    return {
        one: Contact(address(number), "Ann", has_consent=group_of(number) != "no_consent")
        for one, number in numbers.items()
    }


def _build(row: QueuedSend, recipient: Recipient) -> Letter:
    text = (
        f"From: news@shop.example\r\nTo: {recipient.address}\r\nSubject: Hello\r\nMessage-ID: <{row.send_id}@x>\r\n\r\n"
        + "Some words of a message.\r\n" * 40
    )
    return Letter(row.send_id, "news@shop.example", recipient.address, text.encode())


def _dispatcher(store: Any, home: Path, port: int, began: float, **changed: Any) -> Dispatcher:
    limits = {"connections": 2, "messages_per_second": 10_000.0, "batch": 100, "breaker_failures": 1000}
    limits |= changed.pop("limits", {})
    options: dict[str, Any] = {
        "transport": lambda: SmtpTransport(SmtpServer("127.0.0.1", port, "none")), "build": _build,
        "read_contacts": _contacts, "gate": Gate(str, _hashed, frozenset({"example.com"})), "limits": Limits(**limits),
        "clock": lambda: NOON + dt.timedelta(seconds=time.time() - began),
    } | changed  # fmt: skip
    return Dispatcher(store, CAMPAIGN, home / "journal", **options)


def _work(home: Path, port: int, began: float) -> None:
    """The process that is killed."""
    from segmentation_assets.state.store import open_state

    with open_state(home / "state.sqlite") as store:
        _dispatcher(store, home, port, began).run()


# --- kills -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Killed:
    """What was found after the kills; `wrong` is empty when all is well."""

    kills: int
    seconds: float
    counts: Mapping[str, int]
    accepted: int
    uncertain_accepted: int
    wrong: tuple[str, ...]


def run_kills(kills: int, sends: int, seed: int, workers: int = 2, folder: Path | None = None) -> Killed:
    """Send `sends` messages with `workers` dispatchers at a time, killing one of them `kills` times."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        home, accepted, port = Path(scratch), Path(scratch) / "accepted", _free_port()
        fill(home, sends)
        accepted.touch()
        began = time.time()
        me = [sys.executable, str(Path(__file__).resolve())]
        command = [*me, "work", str(home), str(port), str(began)]
        per_life = max(1.0, 0.7 * sends / (kills + 1))  # so that messages are left for the last kill
        with _process([*me, "serve", str(port), str(accepted), "0.002"], port):
            living: list[subprocess.Popen[bytes]] = []
            done = 0
            while done < kills:
                living = [process for process in living if process.poll() is None]
                while len(living) < workers:
                    living.append(subprocess.Popen(command))
                if draw.random() < 0.1:  # while it starts, folds or claims
                    time.sleep(draw.random())
                else:
                    _wait_for(accepted, draw.random() * 2 * per_life, living, draw)
                victim = living.pop(draw.randrange(len(living)))
                victim.send_signal(signal.SIGKILL)
                # One that had ended by itself was not killed.
                done += victim.wait() == -signal.SIGKILL
            for process in living:
                process.wait()
            subprocess.run(command, check=True)
        return _judge(home, accepted, sends, done, time.time() - began)


def _wait_for(accepted: Path, messages: float, living: Sequence[subprocess.Popen[bytes]], draw: random.Random) -> None:
    """Until the server has accepted that many more, or nobody sends; and a moment more, to hit any place in a send."""
    target = accepted.stat().st_size + 37 * messages
    while accepted.stat().st_size < target and any(process.poll() is None for process in living):
        time.sleep(0.001)
    time.sleep(draw.random() * 0.01)


def _judge(home: Path, accepted: Path, sends: int, kills: int, seconds: float) -> Killed:
    from sqlalchemy import select

    from segmentation_assets.state.models import Send
    from segmentation_assets.state.store import open_state

    with open_state(home / "state.sqlite") as store, store.session() as session:
        rows = {one.send_id: one for one in session.execute(select(Send.send_id, Send.status, Send.customer_id))}
    numbers = {name: int(row.customer_id[1:]) for name, row in rows.items()}
    taken = Counter(accepted.read_text("ascii").split())
    wrong = []

    def check(what: str, found: object) -> None:
        if found:
            wrong.append(f"{what}: {found}")

    check("accepted twice", [name for name, times in taken.items() if times > 1][:5])
    check("unknown to the outbox", [name for name in taken if name not in rows][:5])
    forbidden = {"suppressed", "control", "quiet", "no_consent"}
    check("accepted for somebody who may get nothing", [name for name in taken if group_of(numbers[name]) in forbidden])
    check(
        "recorded as sent and not accepted", [n for n, row in rows.items() if row.status == "sent" and n not in taken]
    )
    check(
        "accepted and neither sent nor uncertain",
        [name for name in taken if rows[name].status not in ("sent", "uncertain")][:5],
    )
    statuses = {
        "plain": {"sent", "uncertain", "skipped"}, "suppressed": {"skipped"}, "control": {"ghost"},
        "quiet": {"pending"}, "no_consent": {"skipped"}, "double": {"sent", "uncertain", "skipped"},
    }  # fmt: skip
    check(
        "status that its group cannot have",
        [(name, row.status) for name, row in rows.items() if row.status not in statuses[group_of(numbers[name])]][:5],
    )
    for number in range(sends):  # of the two customers with one address one is written to, the other is not
        if group_of(number) == "double":
            pair = [rows[send_id(CAMPAIGN, customer(one))].status for one in (number - 1, number)]
            check(f"pair {number}", [] if sorted(pair)[1] != sorted(pair)[0] and "skipped" in pair else pair)
    check("plain and skipped without sharing an address", [
        name for name, row in rows.items()
        if row.status == "skipped" and group_of(numbers[name]) == "plain" and group_of(numbers[name] + 1) != "double"
    ])  # fmt: skip
    counts = Counter(row.status for row in rows.values())
    check("totals", [] if sum(counts.values()) == sends else dict(counts))
    check("journals left", [path.name for path in (home / "journal").glob("*.jsonl")])
    doubtful = [name for name, row in rows.items() if row.status == "uncertain"]
    return Killed(kills, seconds, dict(counts), len(taken), sum(name in taken for name in doubtful), tuple(wrong))


# --- speed -------------------------------------------------------------------------------------------------------


class _Stopwatch:
    """Seconds by what they were spent on, summed over threads."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._lock = threading.Lock()

    def timed(self, what: str, function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                with self._lock:
                    self.seconds[what] += time.perf_counter() - began

        return call


def _real_builder(clock: Any) -> Any:
    """Real messages of a campaign, with tokens; the plain ones where the builder cannot be imported."""
    try:
        from segmentation_assets.delivery.keys import SecretKey
        from segmentation_assets.delivery.outbox import message_builder
        from segmentation_assets.messaging.content import CampaignContent, SenderIdentity, Variant

        sender = SenderIdentity(
            "Our shop", "Our shop", "news@shop.example", "news@shop.example", "bounce@shop.example",
            "Our shop, 1 Example Street, 00000 Exampletown", "https://mail.shop.example",
        )  # fmt: skip
        text = (
            "[[greeting|Hello]] [[first_name|there]],\n\n" + "Some words of an offer.\n" * 20 + "[[unsubscribe_url]]\n"
        )
        html = (
            '<!doctype html><html lang="en"><head><title>Offer</title><style>p{color:#222}</style></head><body>'
            "<p>[[greeting|Hello]] [[first_name|there]],</p>" + "<p>Some words of an offer.</p>" * 40
            + '<p><a href="[[unsubscribe_url]]">Unsubscribe</a></p></body></html>'
        )  # fmt: skip
        variant = Variant("A", "d", "An offer", "For you", text, html, "See it")
        content = CampaignContent(CAMPAIGN, "Benchmark", "en", sender, (variant,), ("https://shop.example/offers",))
        return message_builder(content, SecretKey(bytes(32)), clock), "real messages"
    except ImportError:
        return _build, "plain messages"


def run_speed(sends: int, sink: str | None) -> None:
    """Messages a second with 1, 2 and 4 connections, and the share of a message's time by what it went into."""
    from segmentation_assets.delivery import dispatcher as module
    from segmentation_assets.delivery.journal import Journal
    from segmentation_assets.state.store import open_state

    binary = sink or shutil.which("smtp-sink") or "/usr/sbin/smtp-sink"
    has_sink = Path(binary).exists()
    began = time.time()
    clock = lambda: NOON + dt.timedelta(seconds=time.time() - began)  # noqa: E731
    build, what = _real_builder(clock)
    print(f"{sends:,} sends, {what}, server: {'smtp-sink' if has_sink else 'our own asyncio server'}")
    for connections in (1, 2, 4):
        port = _free_port()
        ours = [sys.executable, str(Path(__file__).resolve()), "serve", str(port), "", "0"]
        libraries = {"LD_LIBRARY_PATH": str(Path(binary).parents[1] / "lib" / "postfix")}
        server = [binary, "-u", "nobody", f"127.0.0.1:{port}", "100"] if has_sink else ours
        watch = _Stopwatch()
        with tempfile.TemporaryDirectory() as scratch, _process(server, port, libraries if has_sink else None):
            home = Path(scratch)
            fill(home, sends)
            with open_state(home / "state.sqlite") as store, contextlib.ExitStack() as patches:
                _patched(patches, watch, module, Journal)
                ours_now = _dispatcher(
                    store, home, port, began, build=watch.timed("build", build),
                    limits={"connections": connections, "batch": None},
                )  # fmt: skip
                start, cpu = time.perf_counter(), time.process_time()
                done = ours_now.run()
                seconds, used = time.perf_counter() - start, time.process_time() - cpu
        sent = done.counts["sent"]
        parts = ", ".join(f"{name} {1e3 * spent / sent:.2f}" for name, spent in watch.seconds.most_common())
        print(
            f"{connections} connections: {sent / seconds:7,.0f} messages/s ({sent:,} in {seconds:.1f} s, "
            f"{used / seconds:.0%} of a core); ms a message: {parts}"
        )


def _patched(patches: contextlib.ExitStack, watch: _Stopwatch, module: Any, journal: type) -> None:
    from unittest.mock import patch

    for what, owner, name in (
        ("claim", module, "claim_batch"), ("admit", module, "admit"), ("record", module, "record_outcomes"),
        ("journal", journal, "_append"), ("smtp", SmtpTransport, "send"),
    ):  # fmt: skip
        patches.enter_context(patch.object(owner, name, watch.timed(what, getattr(owner, name))))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kills", "speed", "work", "serve"))
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--sends", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--smtp-sink", default=None, help="Path of Postfix's smtp-sink.")
    given = parser.parse_args()
    if given.what == "work":
        home, port, began = given.rest
        _work(Path(home), int(port), float(began))
    elif given.what == "serve":
        port, accepted, slowness = given.rest
        asyncio.run(_serve(int(port), Path(accepted) if accepted else None, float(slowness)))
    elif given.what == "speed":
        run_speed(given.sends, given.smtp_sink)
    else:
        found = run_kills(given.kills, given.sends, given.seed, given.workers)
        print(f"{found.kills:,} kills in {given.sends:,} sends, {found.seconds:.0f} s, seed {given.seed}")
        print(f"{found.accepted:,} accepted by the server; rows: {dict(sorted(found.counts.items()))}")
        print(f"uncertain and accepted: {found.uncertain_accepted} of {found.counts.get('uncertain', 0)}")
        print(
            "\n".join(found.wrong) if found.wrong else "No duplicate, none lost, none to whom it may not; all adds up."
        )
        sys.exit(bool(found.wrong))


if __name__ == "__main__":
    main()
