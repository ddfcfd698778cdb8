"""The journal of a worker: what it was about to send and what came of it, kept where a killed process leaves it.

What belongs here: writing and locking a worker's file, and folding the files of dead workers into the outbox. What
does not: the outbox itself (`state.outbox`), and sending.

A journal is HOME/journal/WORKER.jsonl: a header, then for each message an `intent` before it is sent and an `outcome`
after. A line counts when it is whole: its checksum fits and it ends with a line break. The file is locked for as long
as its worker lives; the operating system frees the lock however the process dies. Between checkpoints it only grows;
a checkpoint empties it of what is in the outbox already.

Folding, for each row that a dead worker holds, by the try it was about to make:
- an outcome: that is what became of it;
- an intent alone: it may have been sent, so it is `uncertain`;
- nothing: it was never begun, so it waits again. After a restart of the machine the file may lack what was written to
  it, so then it is `uncertain`; likewise where a damaged line may be about it, or the file is gone.
"""

from __future__ import annotations

import datetime as dt
import errno
import fcntl
import json
import os
import re
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from segmentation_assets.state.outbox import Claim, Outcome, claiming_workers, claims_of, record_outcomes
from segmentation_assets.state.store import StateStore

_CHECKSUM = ',"sum":"'
_SEND_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: A journal that is larger than this is emptied at the next checkpoint.
_CHECKPOINT_BYTES = 1_000_000
#: Writes to an open file; handed in by tests that let the disk be full.
Write = Callable[[int, bytes], int]


class JournalError(RuntimeError):
    """The journal cannot be written, so nothing more may be sent."""


@dataclass(frozen=True)
class FoldReport:
    """What folding found: files folded, rows by what became of them, and what a person should know."""

    files: int = 0
    rows: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def boot_id() -> str:
    """What tells one start of this machine from another."""
    if _BOOT_ID.exists():
        return _BOOT_ID.read_text("ascii").strip()
    import psutil

    return f"{psutil.boot_time():.0f}"


class Journal:
    """The journal of one worker, open and locked. Threads of the worker share it."""

    def __init__(self, path: Path, descriptor: int, worker: str, write: Write) -> None:
        self.path = path
        self.worker = worker
        self._descriptor = descriptor
        self._write_bytes = write
        self._lock = threading.Lock()
        self._is_closed = False
        self._header_size = os.fstat(descriptor).st_size

    def intend(self, send_id: str, tried: int, at: dt.datetime) -> None:
        """Keep that the message is about to be sent for the `tried`th time. JournalError: it must not be sent then."""
        self._append({"kind": "intent", "send_id": send_id, "try": tried, "at": at.isoformat()})

    def conclude(self, outcome: Outcome) -> None:
        """Keep what came of a message. JournalError: it stays an intent, so it is uncertain."""
        told = {key: value for key, value in asdict(outcome).items() if value not in (None, "", False)}
        told["try"] = told.pop("tries")
        for name in ("next_try_at", "finished_at"):
            if name in told:
                told[name] = told[name].isoformat()
        self._append({"kind": "outcome", **told})

    def checkpoint(self) -> None:
        """Everything told so far is in the outbox: a journal that has grown large is emptied."""
        with self._lock:
            if os.fstat(self._descriptor).st_size > _CHECKPOINT_BYTES:
                os.ftruncate(self._descriptor, self._header_size)

    def close(self, *, is_folded: bool) -> None:
        """Free the lock; with `is_folded`, when the worker holds no row any more, the file is removed."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            if is_folded:
                self.path.unlink(missing_ok=True)
            os.close(self._descriptor)

    def _append(self, record: Mapping[str, Any]) -> None:
        line = _line(record)
        with self._lock:
            before = os.fstat(self._descriptor).st_size
            try:
                written = self._write_bytes(self._descriptor, line)
                if written != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                if os.fstat(self._descriptor).st_size != before:
                    os.ftruncate(self._descriptor, before)  # half a line would damage the one after it
                raise JournalError(
                    f"The journal {self.path.name} in HOME cannot be written ({error.strerror}), so sending stopped. "
                    "Free some space and send again: what was sent is not sent twice."
                ) from None


@contextmanager
def open_journal(folder: Path, worker: str, campaign_id: str, *, write: Write = os.write) -> Iterator[Journal]:
    """Begin a worker's journal, locked while it is open. It stays for folding unless it was closed as folded."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{worker}.jsonl"
    draft = folder / f".{worker}.new"
    # Locked before it gets its name: nobody takes a file for that of a dead worker that is just being begun.
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    journal: Journal | None = None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        header = {"kind": "header", "worker": worker, "campaign_id": campaign_id, "boot": boot_id()}
        line = _line(header)
        try:
            if write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise JournalError(
                f"The journal {path.name} in HOME cannot be begun ({error.strerror}), so nothing was sent. Free some "
                "space and send again."
            ) from None
        draft.rename(path)
        _sync_folder(folder)
        journal = Journal(path, descriptor, worker, write)
        yield journal
    finally:
        if journal is None:
            os.close(descriptor)
        else:
            journal.close(is_folded=False)


def fold_journals(folder: Path, store: StateStore, campaign_id: str, now: dt.datetime) -> FoldReport:
    """Fold the journals of dead workers, of any campaign, into the outbox; and rows of this campaign without one.

    Journals of living workers are left alone. Folding twice, or from two processes at once, is the same as once: only
    rows that the dead worker still holds are written, and its file is removed after that.
    """
    total: Counter[str] = Counter()
    problems: list[str] = []
    files = 0
    for path in sorted(folder.glob("*.jsonl")):
        with _taken(path) as content:
            if content is None:
                continue
            read = _read(content, path.stem)
            claims = claims_of(store, read.campaign_id or campaign_id, read.worker)
            outcomes, doubtful = _judge(read, claims, now)
            record_outcomes(store, read.campaign_id or campaign_id, read.worker, outcomes)
            total.update(outcome.status for outcome in outcomes)
            files += 1
            if read.damaged:
                lines = ", ".join(str(number) for number, _ in read.damaged[:5])
                kept = path.with_suffix(".damaged")
                problems.append(
                    f"The journal {path.name} is damaged in line {lines}: {doubtful:,} "
                    f"{'message' if doubtful == 1 else 'messages'} it may be about are uncertain now "
                    f"(`segmentation outbox uncertain list`). The file is kept as {kept.name}."
                )
                path.rename(kept)
            else:
                path.unlink()
    for worker in claiming_workers(store, campaign_id):
        # The outbox was asked first: whoever claims has a file, and removes it only when it holds nothing more.
        if worker and (folder / f"{worker}.jsonl").exists():
            continue
        lost = [
            Outcome(claim.send_id, "uncertain", claim.tries + 1, reason="journal_lost", finished_at=now)
            for claim in claims_of(store, campaign_id, worker)
        ]
        if changed := record_outcomes(store, campaign_id, worker, lost):
            total["uncertain"] += changed
            problems.append(
                f"A sender's journal is gone, so {changed:,} {'message' if changed == 1 else 'messages'} it held are "
                "uncertain now (`segmentation outbox uncertain list`)."
            )
    return FoldReport(files, dict(total), tuple(problems))


@dataclass
class _Read:
    """What a journal says: `damaged` are lines by number with the send ids that can be made out in them."""

    worker: str
    campaign_id: str = ""
    boot: str = ""
    intents: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    outcomes: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    damaged: list[tuple[int, set[str]]] = field(default_factory=list)


@contextmanager
def _taken(path: Path) -> Iterator[bytes | None]:
    """The content of a journal whose worker is gone, locked meanwhile; None where it lives or the file is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    with os.fdopen(descriptor, "rb") as file:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        # Another process may have folded and removed it between opening and locking.
        yield file.read() if path.exists() else None


def _line(record: Mapping[str, Any]) -> bytes:
    """The record as a line of JSON whose last field is the checksum (CRC-32) of everything before it."""
    body = json.dumps(record, separators=(",", ":"))[:-1]
    return f'{body}{_CHECKSUM}{zlib.crc32(body.encode()):08x}"}}\n'.encode()


def _parse(line: bytes) -> dict[str, Any] | None:
    """The record of a whole line; None for a damaged one."""
    body, mark, rest = line.rpartition(_CHECKSUM.encode())
    if not mark or rest != f'{zlib.crc32(body):08x}"}}'.encode():
        return None
    record: dict[str, Any] = json.loads(body + b"}")
    return record


def _read(content: bytes, worker: str) -> _Read:
    *lines, _ = content.split(b"\n")  # what follows the last line break was never wholly written
    read = _Read(worker)
    for number, line in enumerate(lines, start=1):
        record = _parse(line)
        if record is None:
            read.damaged.append((number, set(_SEND_ID.findall(line.decode("ascii", "replace")))))
        elif record["kind"] == "header":
            read.campaign_id, read.boot = record["campaign_id"], record["boot"]
        else:
            of_kind = read.intents if record["kind"] == "intent" else read.outcomes
            of_kind[record["send_id"], record["try"]] = record
    return read


def _judge(read: _Read, claims: Sequence[Claim], now: dt.datetime) -> tuple[list[Outcome], int]:
    """What became of the rows the worker holds, and of how many a damaged line makes that doubtful."""
    known = {claim.send_id for claim in claims} | {send_id for send_id, _ in (*read.intents, *read.outcomes)}
    named = set().union(*(ids for _, ids in read.damaged))
    # A damaged line in which no send can be made out may be about any of them.
    is_any_doubtful = any(not ids & known for _, ids in read.damaged)
    is_same_boot = read.boot == boot_id()
    outcomes: list[Outcome] = []
    doubtful = 0
    for claim in claims:
        attempt = (claim.send_id, claim.tries + 1)
        told, intent = read.outcomes.get(attempt), read.intents.get(attempt)
        if told is not None:
            outcomes.append(_outcome(told))
            continue
        is_doubtful = claim.send_id in named or is_any_doubtful
        reason = ""
        if is_doubtful:
            reason = "journal_damaged"
        elif intent is not None:
            reason = "worker_died"
        elif not is_same_boot:
            reason = "machine_restarted"
        doubtful += is_doubtful
        if not reason:
            outcomes.append(Outcome(claim.send_id, "pending", claim.tries))
            continue
        at = dt.datetime.fromisoformat(intent["at"]) if intent is not None else now
        outcomes.append(Outcome(claim.send_id, "uncertain", claim.tries + 1, reason=reason, finished_at=at))
    return outcomes, doubtful


def _outcome(told: Mapping[str, Any]) -> Outcome:
    def moment(name: str) -> dt.datetime | None:
        return dt.datetime.fromisoformat(told[name]) if name in told else None

    return Outcome(
        send_id=told["send_id"], status=told["status"], tries=told["try"], reason=told.get("reason", ""),
        next_try_at=moment("next_try_at"), finished_at=moment("finished_at"), smtp_code=told.get("smtp_code"),
        smtp_reply=told.get("smtp_reply", ""), is_hard_bounce=told.get("is_hard_bounce", False),
    )  # fmt: skip


def _sync_folder(folder: Path) -> None:
    """Make the file's name as durable as its content."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
