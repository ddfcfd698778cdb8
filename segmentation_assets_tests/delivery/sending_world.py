"""A small campaign to send, a clock that obeys, and a real mail server on the loopback that misbehaves as told."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlalchemy import delete

from segmentation_assets.delivery.campaign import send_id
from segmentation_assets.delivery.dispatcher import Contact, Dispatcher, Gate, Limits
from segmentation_assets.delivery.transports import Letter, SmtpServer, SmtpTransport
from segmentation_assets.messaging.content import Recipient
from segmentation_assets.state.models import Approval, AuditEntry, Campaign, Send, SendEvent, Suppression
from segmentation_assets.state.outbox import NewSend, QueuedSend, fill_sends
from segmentation_assets.state.store import StateStore

CAMPAIGN = "20260701-T1-loyal"
NOON = dt.datetime(2026, 7, 1, 12, 0)


class FakeClock:
    """Time that passes when somebody sleeps, and only then."""

    def __init__(self, now: dt.datetime = NOON) -> None:
        self.now = now
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def __call__(self) -> dt.datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.now += dt.timedelta(seconds=seconds)

    def monotonic(self) -> float:
        return (self.now - NOON).total_seconds()


def customer(number: int) -> str:
    return f"C{number:05d}"


def address(number: int) -> str:
    return f"customer{number}@example.com"


def id_of(number: int) -> str:
    return send_id(CAMPAIGN, customer(number))


def hashed(text: str) -> str:
    return f"hash of {text}"


def empty(store: StateStore) -> None:
    """Take everything out again: a store of its own for each test would be migrated and compiled for each."""
    with store.session(write=True) as session:
        for table in (Send, SendEvent, Suppression, Campaign, Approval, AuditEntry):
            session.execute(delete(table))


def approve(store: StateStore, campaign_id: str = CAMPAIGN, **changed: Any) -> None:
    """A campaign that somebody approved, and the approval."""
    values: dict[str, Any] = {
        "campaign_id": campaign_id, "name": "Summer", "status": "approved", "content": {}, "digests": {"content": "d"},
        "counts": {}, "primary_metric": "buyers", "window_days": 14, "control_share": 0.1, "is_aa": False,
        "is_scheduled": False, "starts_at": NOON, "not_after": NOON + dt.timedelta(days=7), "created_at": NOON,
    } | changed  # fmt: skip
    with store.session(write=True) as session:
        session.add(Campaign(**values))
        session.add(
            Approval(
                campaign_id=campaign_id, decision="approved", person="Test", reason="", digests={"content": "d"},
                decided_at=NOON, expires_at=NOON + dt.timedelta(days=7),
            )
        )  # fmt: skip


def row(number: int, arm: str = "treated", **changed: Any) -> NewSend:
    values: dict[str, Any] = {
        "send_id": id_of(number), "customer_id": customer(number), "arm": arm, "variant": "A", "timezone": "UTC",
        "product_ids": "P1,P2", "next_try_at": NOON, "not_after": NOON + dt.timedelta(days=7),
    } | changed  # fmt: skip
    return NewSend(**values)


def begin(store: StateStore, rows: Sequence[NewSend] | int) -> None:
    """An approved campaign whose rows are in the outbox."""
    approve(store)
    fill_sends(store, CAMPAIGN, rows if not isinstance(rows, int) else [row(n) for n in range(rows)], now=NOON)


def read_contacts(ids: Sequence[str]) -> Mapping[str, Contact]:
    return {one: Contact(address(int(one[1:])), f"First{int(one[1:])}") for one in ids}


def build(queued: QueuedSend, recipient: Recipient) -> Letter:
    text = (
        f"From: news@shop.example\r\nTo: {recipient.address}\r\nMessage-ID: <{queued.send_id}@shop.example>\r\n"
        "\r\nHi\r\n"
    )
    return Letter(queued.send_id, "news@shop.example", recipient.address, text.encode())


GATE = Gate(str, hashed, frozenset({"example.com"}))


def dispatcher(
    store: StateStore, home: Path, server: MailServer | None, clock: FakeClock | None = None, **changed: Any
) -> Dispatcher:
    """A dispatcher of the campaign over real SMTP to `server`."""
    clock = clock or FakeClock()
    limits = {
        "messages_per_second": 10_000.0,
        "connections": 1,
        "quiet_from_hour": 0,
        "quiet_to_hour": 0,
    } | changed.pop("limits", {})
    options: dict[str, Any] = {
        "transport": (lambda: SmtpTransport(server.here())) if server else None, "build": build, "gate": GATE,
        "read_contacts": read_contacts, "clock": clock, "sleep": clock.sleep, "monotonic": clock.monotonic,
        "limits": Limits(**limits),
    } | changed  # fmt: skip
    return Dispatcher(store, CAMPAIGN, home / "journal", **options)


class _Misbehaving(SMTP):
    """aiosmtpd's server that can also break off: before the content was read, or after it was taken."""

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        envelope: Any = self.envelope
        action = self.event_handler.server.next_action(envelope.rcpt_tos[0] if envelope else "", "data")
        if action == "hang up before":
            self.transport.abort()
            return
        if action == "cut":
            await self.push("354 Go on")
            self.transport.abort()
            return
        if action == "silence":
            await self.push("354 Go on")
            await asyncio.sleep(30)
            return
        if envelope:  # of this message alone: several connections share the handler
            envelope.scripted = action
        await super().smtp_DATA(arg)


class _Handler:
    def __init__(self, server: MailServer) -> None:
        self.server = server

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        action = self.server.next_action("*", "mail")
        if action is None:
            envelope.mail_from = address
        return action or "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        action = self.server.next_action(address, "rcpt")
        if action is None:
            envelope.rcpt_tos.append(address)
            return "250 2.1.5 OK"
        if action.startswith("421"):
            asyncio.get_running_loop().call_later(0.05, server.transport.close)
        return action

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        action: str | None = getattr(envelope, "scripted", None)
        if action is not None and action != "lost":
            return action
        self.server.accepted.append((envelope.rcpt_tos[0], bytes(envelope.content or b"")))
        if action == "lost":  # it has the message, and the acknowledgement never arrives
            server.transport.abort()
        return "250 2.0.0 Taken"


class _Controller(Controller):
    def factory(self) -> SMTP:
        return _Misbehaving(self.handler, ident="test", **self.SMTP_kwargs)


class MailServer:
    """`tell(address, stage, action, ...)` scripts what happens to its next messages; then it is well again."""

    def __init__(self) -> None:
        self.accepted: list[tuple[str, bytes]] = []
        self._script: dict[tuple[str, str], list[str]] = {}
        self._lock = threading.Lock()
        self.port = 0

    def tell(self, who: str, stage: str, *actions: str) -> None:
        self._script[who, stage] = list(actions)

    def next_action(self, who: str, stage: str) -> str | None:
        with self._lock:
            waiting = self._script.get((who, stage)) or self._script.get(("*", stage))
            return waiting.pop(0) if waiting else None

    def forget(self) -> None:
        self.accepted.clear()
        self._script.clear()

    @property
    def recipients(self) -> list[str]:
        return sorted(who for who, _ in self.accepted)

    def here(self, **changed: Any) -> SmtpServer:
        values: dict[str, Any] = {"command_seconds": 5.0, "final_seconds": 5.0} | changed
        return SmtpServer("127.0.0.1", self.port, "none", ehlo_name="shop.example", **values)


@contextmanager
def mail_server(**options: Any) -> Iterator[MailServer]:
    server = MailServer()
    controller = _Controller(_Handler(server), hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    server.port = controller.port
    try:
        yield server
    finally:
        controller.stop()


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def after(steps: int, then: Callable[[], object]) -> Callable[..., None]:
    """A function that calls `then` the `steps`th time it is called."""
    calls = iter(range(1, 1_000_000))

    def count(*_: object, **__: object) -> None:
        if next(calls) == steps:
            then()

    return count
