"""The dispatcher: takes what is due from the outbox, looks once more whether it may be sent, and sends it once.

What belongs here: the order of claiming, checking, journalling, sending and recording, over several connections. What
does not: the rows (`state.outbox`), the journal's file (`journal`), the dialogue (`transports`), building a message
(`messaging`). Everything it meets is handed in: clock, sleep, transports, builder, who reads addresses.

At most once: a message is journalled as intended before it is sent, and what came of it after. A process that is
killed leaves its journal; whoever comes next folds it (`fold_journals`): what was never begun is sent then, what was
begun and not concluded is uncertain, and a person decides.
"""

from __future__ import annotations

import datetime as dt
import os
import queue
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from segmentation_assets.delivery.clock import Clock
from segmentation_assets.delivery.journal import Journal, JournalError, Write, fold_journals, open_journal
from segmentation_assets.delivery.quiet_hours import is_quiet, next_permitted
from segmentation_assets.delivery.rate import CircuitBreaker, TokenBucket, back_off_seconds
from segmentation_assets.delivery.transports import (
    Accepted,
    ConnectError,
    Deferred,
    Dropped,
    Letter,
    Refused,
    Result,
    Transport,
    TransportError,
    Uncertain,
)
from segmentation_assets.messaging.content import Recipient
from segmentation_assets.state.campaigns import sending_until
from segmentation_assets.state.outbox import (
    Cap,
    Outcome,
    QueuedSend,
    admit,
    claim_batch,
    claims_of,
    count_statuses,
    expire_waiting,
    finish_campaign,
    next_due,
    record_outcomes,
)
from segmentation_assets.state.store import StateStore

if TYPE_CHECKING:
    from segmentation_assets.settings import DeliverySettings

#: A batch is what is sent in about this time, so that what was looked up for it is fresh.
_BATCH_SECONDS = 5.0
_SMALLEST_BATCH, _LARGEST_BATCH = 20, 1000
_LONGEST_PAUSE_SECONDS = 10.0
_TRIES_FOR_CONTACTS = 10
#: Where a slow server holds a batch up, what was looked up for it is looked up again after this time: who refuses, and
#: a campaign that is stopped, are heeded that soon, messages in flight apart.
_FRESH_SECONDS = 15.0


class ContactsBusyError(RuntimeError):
    """Contact details cannot be read now, because a run holds them."""


@dataclass(frozen=True)
class Contact:
    """A customer's contact details and consent as they are now; `address` as it is kept in `people.contacts`."""

    address: str | None = field(repr=False)
    first_name: str | None = field(default=None, repr=False)
    language: str | None = None
    has_consent: bool = True
    has_unsubscribed: bool = False


#: Contact details by customer id; who is gone is not there. ContactsBusyError where another process holds them.
ReadContacts = Callable[[Sequence[str]], Mapping[str, Contact]]
#: A message for a recipient. ValueError where it cannot be built.
Build = Callable[[QueuedSend, Recipient], Letter]


@dataclass(frozen=True)
class Gate:
    """The last look at an address before a message is built.

    `normalise` gives an address in ASCII or raises a ValueError whose `reason`, if it has one, says what is wrong;
    `hash_address` is the keyed hash; `allowed_domains` are the only ones written to, None for all (production).
    """

    normalise: Callable[[str], str]
    hash_address: Callable[[str], str]
    allowed_domains: Collection[str] | None = ()

    def address(self, contact: Contact | None) -> tuple[str, str]:
        """The address and an empty reason, or an empty address and why this customer is not written to."""
        if contact is None:
            return "", "no_contact"
        if contact.has_unsubscribed:
            return "", "unsubscribed"
        if not contact.has_consent:
            return "", "no_consent"
        if not contact.address:
            return "", "no_valid_address"
        try:
            address = self.normalise(contact.address)
        except ValueError as error:
            return "", str(getattr(error, "reason", "no_valid_address"))
        domain = address.rpartition("@")[2].lower()
        if self.allowed_domains is not None and domain not in self.allowed_domains:
            return "", "domain_not_allowed"
        return address, ""


@dataclass(frozen=True)
class Limits:
    """How fast, how often and when. `patience_seconds`: how long to wait for the next message that is due later."""

    connections: int = 2
    messages_per_second: float = 20.0
    tries: int = 5
    breaker_failures: int = 10
    quiet_from_hour: int = 21
    quiet_to_hour: int = 8
    timezone: str = "UTC"
    cap: Cap | None = None
    patience_seconds: float = 900.0
    pause_seconds: float = 0.5
    batch: int | None = None

    @staticmethod
    def of(settings: DeliverySettings) -> Limits:
        """The limits that the settings name."""
        return Limits(
            connections=settings.connections, messages_per_second=settings.messages_per_second, tries=settings.tries,
            breaker_failures=settings.breaker_failures, quiet_from_hour=settings.quiet_from_hour,
            quiet_to_hour=settings.quiet_to_hour, timezone=settings.timezone,
            cap=Cap(settings.cap_messages, settings.cap_days),
        )  # fmt: skip

    @property
    def batch_size(self) -> int:
        """Rows claimed at once."""
        if self.batch is not None:
            return self.batch
        return int(min(_LARGEST_BATCH, max(_SMALLEST_BATCH, self.messages_per_second * _BATCH_SECONDS)))


@dataclass(frozen=True)
class Dispatched:
    """How dispatching ended.

    `counts`: the campaign's rows by status, all workers; `here`: what this one concluded, by status; `next_at`: when
    what waits is due (naive UTC); `sentence`: why it stopped before its end; `notes`: what a person should know.
    """

    counts: Mapping[str, int]
    here: Mapping[str, int]
    is_finished: bool
    next_at: dt.datetime | None = None
    sentence: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Ready:
    """A row that may be sent, as of `looked_at` (of the monotonic clock)."""

    row: QueuedSend
    recipient: Recipient
    looked_at: float


class Dispatcher:
    """Sends one campaign's outbox. Several may run at once, in this process or others; none sends what another has."""

    def __init__(
        self,
        store: StateStore,
        campaign_id: str,
        journals: Path,
        *,
        transport: Callable[[], Transport],
        build: Build,
        read_contacts: ReadContacts,
        gate: Gate,
        limits: Limits,
        clock: Clock,
        sleep: Callable[[float], object] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        refresh: Callable[[], object] | None = None,
        tell: Callable[[Mapping[str, int]], None] | None = None,
        most: int | None = None,
        write: Write = os.write,
    ) -> None:
        """`refresh` folds refusals that were not folded yet, before each batch; `most` ends after that many messages.

        `sleep` waits that many seconds (by default it wakes when `stop` is called); `write` writes the journal's bytes.
        """
        self.worker = uuid.uuid4().hex
        self._store, self._campaign_id, self._journals = store, campaign_id, journals
        self._make_transport, self._build, self._read_contacts = transport, build, read_contacts
        self._gate, self._limits, self._clock = gate, limits, clock
        self._stop = threading.Event()
        self._sleep = sleep or self._stop.wait
        self._monotonic = monotonic
        self._until = dt.datetime.min
        self._batch_ends = threading.Event()
        self._looking = threading.Lock()
        self._bucket = TokenBucket(limits.messages_per_second, monotonic)
        self._breaker = CircuitBreaker(limits.breaker_failures)
        self._refresh, self._tell, self._most, self._write = refresh, tell, most, write
        self._transports: dict[int, Transport] = {}
        self._here: Counter[str] = Counter()
        self._begun: set[str] = set()
        self._tried = 0
        self._outcomes: list[Outcome] = []
        self._sentence = ""
        self._notes: list[str] = []

    def stop(self) -> None:
        """End after the messages in flight; what was not begun waits in the outbox. Safe from a signal handler."""
        self._stop.set()

    def run(self) -> Dispatched:
        """Send what is due and what becomes due within the patience; returns how it ended.

        JournalError where no journal can be begun; ContactsBusyError where contact details cannot be read. Whatever
        ends it, what was sent is recorded and what was not begun is given back.
        """
        self._fold()
        with (
            open_journal(self._journals, self.worker, self._campaign_id, write=self._write) as journal,
            ThreadPoolExecutor(self._limits.connections, thread_name_prefix="connection") as pool,
        ):
            try:
                while not self._stop.is_set() and self._left() > 0:
                    if not self._batch(journal, pool) and not self._wait():
                        break
            finally:
                for transport in self._transports.values():
                    transport.close()
                held = claims_of(self._store, self._campaign_id, self.worker)
                journal.close(is_folded=not held)
        if held:  # a message that was begun and not concluded: its journal says so
            self._fold()
        is_finished = finish_campaign(self._store, self._campaign_id)
        return Dispatched(
            counts=count_statuses(self._store, self._campaign_id), here=dict(self._here), is_finished=is_finished,
            next_at=next_due(self._store, self._campaign_id), sentence=self._sentence or self._breaker.sentence,
            notes=tuple(self._notes),
        )  # fmt: skip

    def _left(self) -> int:
        """How many more messages may be begun."""
        if self._most is None:
            return self._limits.batch_size
        return self._most - self._tried

    def _fold(self) -> None:
        report = fold_journals(self._journals, self._store, self._campaign_id, self._clock())
        self._notes.extend(report.problems)

    def _wait(self) -> bool:
        """Wait for what is due next; False where nothing is within the patience."""
        self._fold()
        due = next_due(self._store, self._campaign_id)
        if due is None:
            return False
        seconds = (due - self._clock()).total_seconds()
        if seconds > self._limits.patience_seconds:
            return False
        self._pause(max(seconds, 0.01))
        return not self._stop.is_set()

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self._sleep(seconds)

    # -- one batch ------------------------------------------------------------------------------------------------

    def _batch(self, journal: Journal, pool: ThreadPoolExecutor) -> bool:
        """Claim, check, send and record one batch; False where nothing was due."""
        if self._refresh is not None:
            self._refresh()
        if not self._is_permitted():
            self._stop.set()
            return False
        size = min(self._limits.batch_size, self._left())
        rows, expired = claim_batch(self._store, self._campaign_id, self.worker, size, self._clock())
        self._here["expired"] += expired
        if not rows:
            return False
        self._begun.clear()
        self._batch_ends.clear()
        self._outcomes = []
        futures: list[Future[None]] = []
        try:
            ready: queue.SimpleQueue[_Ready] = queue.SimpleQueue()
            for item in self._prepare(rows):
                ready.put(item)
            workers = min(self._limits.connections, max(1, ready.qsize()))
            futures = [pool.submit(self._drain, number, ready, journal) for number in range(workers)]
            wait(futures)
        finally:
            if any(not future.done() for future in futures):  # the wait was interrupted: end after those in flight
                self._stop.set()
                wait(futures)
            self._record(rows)
        for future in futures:
            future.result()
        journal.checkpoint()
        if self._tell is not None:
            self._tell(dict(self._here))
        return True

    def _is_permitted(self) -> bool:
        """Whether the campaign is being sent still. Where its approval is over, what waits is ended, and said why."""
        until = sending_until(self._store, self._campaign_id)
        if until is None:
            return False
        self._until = until
        now = self._clock()
        if now < until:
            return True
        late, others = expire_waiting(self._store, self._campaign_id, now)
        self._here["expired"] += late + others
        if others:
            self._sentence = (
                f"The approval of campaign {self._campaign_id} held until {until:%Y-%m-%d %H:%M} UTC, so {others:,} "
                f"{'message that waited is' if others == 1 else 'messages that waited are'} not sent any more."
            )
        return False

    def _record(self, rows: Sequence[QueuedSend]) -> None:
        """Write the outcomes; what was not begun waits again; what was begun without an outcome stays for the fold."""
        self._tried += len(self._begun)
        concluded = {outcome.send_id for outcome in self._outcomes}
        given_back = [
            Outcome(row.send_id, "pending", row.tries)
            for row in rows
            if row.send_id not in concluded and row.send_id not in self._begun
        ]
        record_outcomes(self._store, self._campaign_id, self.worker, [*self._outcomes, *given_back])
        self._here.update(outcome.status for outcome in self._outcomes if outcome.status != "pending")
        self._here["deferred"] += sum(outcome.status == "pending" for outcome in self._outcomes)

    def _prepare(self, rows: Sequence[QueuedSend]) -> list[_Ready]:
        """Look at consent, address and suppression as they are now; who is left out is concluded as skipped."""
        looked_at = self._monotonic()
        contacts = self._contacts([row.customer_id for row in rows])
        candidates: list[tuple[QueuedSend, str]] = []
        addresses: dict[str, str] = {}
        for row in rows:
            address, reason = self._gate.address(contacts.get(row.customer_id))
            if reason:
                self._skip(row, reason)
                continue
            addresses[row.send_id] = address
            candidates.append((row, self._gate.hash_address(address)))
        refused = admit(self._store, self._campaign_id, candidates, self._clock(), self._limits.cap)
        ready = []
        for row, _ in candidates:
            if reason := refused.get(row.send_id, ""):
                self._skip(row, reason)
                continue
            contact = contacts[row.customer_id]
            recipient = Recipient(addresses[row.send_id], contact.first_name, contact.language, row.product_ids)
            ready.append(_Ready(row, recipient, looked_at))
        return ready

    def _look_again(self, item: _Ready, ready: queue.SimpleQueue[_Ready]) -> _Ready | None:
        """The item after another look at it and at all that is left of the batch; None where it may not be sent."""
        rows = [item.row]
        with self._looking:
            while True:
                try:
                    rows.append(ready.get_nowait().row)
                except queue.Empty:
                    break
            if self._refresh is not None:
                self._refresh()
            if sending_until(self._store, self._campaign_id) is None:
                self._batch_ends.set()
                return None
            fresh = self._prepare(rows)
            own = next((one for one in fresh if one.row.send_id == item.row.send_id), None)
            for one in fresh:
                if one is not own:
                    ready.put(one)
        return own

    def _next(self, ready: queue.SimpleQueue[_Ready]) -> _Ready | None:
        """The next of the batch, None where none is left; waits for who looks at the batch again."""
        with self._looking:
            try:
                return ready.get_nowait()
            except queue.Empty:
                return None

    def _contacts(self, customer_ids: Sequence[str]) -> Mapping[str, Contact]:
        """Contact details, waiting for a run that holds the database; ContactsBusyError when that takes too long."""
        for _ in range(_TRIES_FOR_CONTACTS - 1):
            try:
                return self._read_contacts(customer_ids)
            except ContactsBusyError:
                if self._stop.is_set():
                    raise
                self._pause(1.0)
        return self._read_contacts(customer_ids)

    def _skip(self, row: QueuedSend, reason: str) -> None:
        self._outcomes.append(Outcome(row.send_id, "skipped", row.tries, reason, finished_at=self._clock()))

    # -- one connection -------------------------------------------------------------------------------------------

    def _drain(self, number: int, ready: queue.SimpleQueue[_Ready], journal: Journal) -> None:
        """Send from the queue over connection `number` until it is empty or sending stops."""
        transport = self._transports.get(number)
        if transport is None:
            transport = self._transports[number] = self._make_transport()
        while not self._stop.is_set() and not self._batch_ends.is_set():
            item = self._next(ready)
            if item is None:
                return
            try:
                outcome = self._send_one(transport, item, ready, journal)
            except (TransportError, JournalError) as error:  # nothing further can be sent
                self._sentence = str(error)
                self._stop.set()
                return
            if outcome is not None:
                self._outcomes.append(outcome)

    def _send_one(
        self, transport: Transport, item: _Ready, ready: queue.SimpleQueue[_Ready], journal: Journal
    ) -> Outcome | None:
        """What became of a message; None where it was not begun."""
        row = item.row
        self._pause(self._bucket.take())
        if not self._connected(transport):
            return None
        # Checked at the very moment of sending: the waits above may have been long.
        if self._monotonic() - item.looked_at > _FRESH_SECONDS:
            again = self._look_again(item, ready)
            if again is None:
                return None
            item = again
        now = self._clock()
        if now >= self._until:
            self._batch_ends.set()
            return None
        if now >= row.not_after:
            return Outcome(row.send_id, "expired", row.tries, "too_late", finished_at=now)
        limits = self._limits
        hours = (limits.quiet_from_hour, limits.quiet_to_hour)
        if is_quiet(now, row.timezone, *hours, shop=limits.timezone):
            then = next_permitted(now, row.timezone, *hours, shop=limits.timezone)
            if then >= row.not_after:
                return Outcome(row.send_id, "expired", row.tries, "quiet_hours", finished_at=now)
            return Outcome(row.send_id, "pending", row.tries, "quiet_hours", next_try_at=then)
        try:
            letter = self._build(row, item.recipient)
        except ValueError:  # its words may hold the recipient's own
            return Outcome(row.send_id, "failed", row.tries, "not_built", finished_at=now)
        journal.intend(row.send_id, row.tries + 1, now)
        self._begun.add(row.send_id)
        try:
            result = transport.send(letter)
        except TransportError as error:  # a file could not be written, so nothing left
            self._sentence = str(error)
            self._stop.set()
            result = Dropped()
        outcome = self._judge(row, result, self._clock())
        try:
            journal.conclude(outcome)
        except JournalError as error:
            self._sentence = str(error)
            self._stop.set()
            # The journal alone outlives this process, and it says no more than that the message was begun.
            outcome = replace(
                outcome, status="uncertain", reason="journal_not_written", next_try_at=None, finished_at=now,
                is_hard_bounce=False,
            )  # fmt: skip
        self._heed(transport, result)
        return outcome

    def _connected(self, transport: Transport) -> bool:
        """Whether the transport is ready; tries again with pauses until the breaker opens or sending stops."""
        pause = self._limits.pause_seconds
        while not self._stop.is_set():
            try:
                transport.ready()
                return True
            except ConnectError as error:
                if self._breaker.failed(str(error)):
                    self._stop.set()
                    return False
            self._pause(pause)
            pause = min(_LONGEST_PAUSE_SECONDS, 2 * pause)
        return False

    def _judge(self, row: QueuedSend, result: Result, now: dt.datetime) -> Outcome:
        """What a result means for the row."""
        tried = row.tries + 1
        base = Outcome(row.send_id, "sent", tried, smtp_reply=result.reply, finished_at=now)
        if isinstance(result, Accepted):
            return replace(base, smtp_code=result.code)
        if isinstance(result, Uncertain):
            return replace(base, status="uncertain", reason="no_answer")
        if isinstance(result, Refused):
            is_hard = result.is_hard_bounce
            reason = "hard_bounce" if is_hard else "refused"
            return replace(base, status="failed", reason=reason, smtp_code=result.code, is_hard_bounce=is_hard)
        base = replace(
            base, smtp_code=result.code if isinstance(result, Deferred) else None,
            reason="deferred" if isinstance(result, Deferred) else "connection_dropped",
        )  # fmt: skip
        if tried >= self._limits.tries:
            return replace(base, status="failed", reason=f"{base.reason}_too_often")
        again = now + dt.timedelta(seconds=back_off_seconds(row.send_id, tried))
        if again >= row.not_after:
            return replace(base, status="expired", reason="no_time_left")
        return replace(base, status="pending", next_try_at=again, finished_at=None)

    def _heed(self, transport: Transport, result: Result) -> None:
        """Count what the server, not a recipient, refused; and give it a pause where it broke off."""
        if isinstance(result, Accepted):
            self._breaker.succeeded()
            return
        what = _told(result)
        if not what:
            return
        if self._breaker.failed(what):
            self._stop.set()
        elif isinstance(result, Dropped | Uncertain) or (isinstance(result, Deferred) and result.code == 421):
            transport.close()
            self._pause(self._limits.pause_seconds)


def _told(result: Result) -> str:
    """What to tell of a failure of the server; empty where it answered about one recipient, as greylisting does."""
    if isinstance(result, Uncertain):
        return result.reply or "no answer to a message"
    if isinstance(result, Dropped):
        return result.reply or "the connection was closed"
    if isinstance(result, Deferred | Refused):
        is_policy = isinstance(result, Refused) and result.enhanced.startswith("5.7.")
        if result.stage != "rcpt" or result.code == 421 or is_policy:
            return f"{result.code} {result.reply}".strip()
    return ""
