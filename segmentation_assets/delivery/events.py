"""Events of messages: their ids, what is kept of who caused them, and folding the spool into the state store.

What belongs here: ids of events, families of user agents, keyed hashes of networks, and `fold_spool`. What does not:
the form of the spool (`spool`), inserting (`state.events`), reports of providers (`webhooks`), telling robots apart
(`delivery/labelled_events`).

Of who asked, only the family of the program and a keyed hash of the network are kept: never a whole user agent, never
an address of the internet.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import ipaddress
import os
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from segmentation_assets.delivery.keys import SecretKey
from segmentation_assets.delivery.spool import ENDING, encode_line, read_lines
from segmentation_assets.state.events import SUPPRESSING, MessageEvent, record_events
from segmentation_assets.state.store import StateStore

#: Namespace of ids of events that are told more than once; changing it would count them again.
EVENTS = uuid.UUID("0d0c9a52-7c1b-4c3e-9a58-21b6b1a7f0c4")
#: Refusals of sends that the state store does not know (a restored backup): kept until it does.
UNMATCHED = "unmatched.kept"
#: Most of them that are kept: a provider's account that another program sends with too reports its bounces for ever.
MOST_UNMATCHED = 20_000
_TORN = ".torn"
_OFFSET = ".offset"
_BATCH = 5_000
_FOLD_SECONDS = 120.0

#: Families of user agents, the first that fits: its name, and words of which one is in the lower-case user agent.
_FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("google_image_proxy", ("googleimageproxy", "ggpht.com")),
    ("yahoo_proxy", ("yahoomailproxy", "yahoocachesystem")),
    ("outlook_scanner", ("bingpreview", "skypeuripreview", "microsoft-exchange", "safelinks", "ms-office scanner")),
    (
        "security_scanner",
        ("barracuda", "mimecast", "proofpoint", "fireeye", "symantec", "trendmicro", "forcepoint", "cloudmark"),
    ),
    (
        "script",
        (
            "bot", "crawl", "spider", "preview", "headless", "phantomjs", "curl", "wget", "python", "java/", "go-http",
            "okhttp", "libwww", "ruby", "node", "axios", "httpclient", "scan",
        ),
    ),
    ("mail_client", ("microsoft outlook", "ms-office", "msoffice", "thunderbird", "applemail")),
    ("browser_mobile", ("iphone", "ipad", "android", "mobile")),
    ("browser_desktop", ("windows nt", "macintosh", "x11", "cros")),
)  # fmt: skip
#: Apple's mail privacy proxy gives no more than this.
_APPLE = "mozilla/5.0"
#: Every family that `user_agent_family` can name.
USER_AGENT_FAMILIES = ("none", "apple_mail_proxy", *(name for name, _ in _FAMILIES), "unknown")


class FoldError(RuntimeError):
    """The spool cannot be folded now; nothing of it is lost."""


@dataclass(frozen=True)
class FoldReport:
    """What folding did.

    `lines`: events read; of them `inserted` were new, `repeated` known before, and `unknown` of sends the state store
    does not know (their refusals are kept and tried again). `suppressed`: new suppressions. `removed`: files that are
    done. `let_go`: the oldest refusals of unknown sends, beyond the most that are kept. `torn`: last lines that a
    killed writer did not finish and nobody was answered for. `damaged`: lines in the middle that do not match their
    checksum, as `FILE line N`; their files are set aside as FILE.torn.
    """

    files: int = 0
    removed: int = 0
    lines: int = 0
    inserted: int = 0
    repeated: int = 0
    suppressed: int = 0
    unknown: int = 0
    let_go: int = 0
    torn: int = 0
    damaged: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The same in words."""
        if not self.files and not self.lines:
            return "No event waits in the spool."
        told = (
            f"{self.lines:,} events in {self.files:,} files of the spool: {self.inserted:,} new, {self.repeated:,} "
            f"known before, {self.unknown:,} of unknown sends; {self.suppressed:,} new suppressions; "
            f"{self.removed:,} files done."
        )
        if self.let_go:
            told += f" The {self.let_go:,} oldest refusals of unknown sends are not kept any longer."
        if self.torn:
            told += f" {self.torn:,} last lines of killed writers were unfinished and never answered."
        if self.damaged:
            told += f" Damaged, and lost unless a person can read them: {', '.join(self.damaged)}."
        return told


def new_event_id() -> str:
    """The id of an event that is told once, when it is written."""
    return str(uuid.uuid4())


def event_id_of(*parts: str) -> str:
    """The id of an event that may be told again: the same parts, the same id."""
    return str(uuid.uuid5(EVENTS, "\x1f".join(parts)))


def refusal(send_id: str, at: dt.datetime, source: str, *, user_agent: str = "", network: str = "") -> MessageEvent:
    """An unsubscribe by the recipient's own hand; there is one of a send, however often it is asked for."""
    return MessageEvent(
        event_id_of("unsubscribe", send_id), send_id, "unsubscribe", at, source,
        method="POST", user_agent=user_agent, network=network,
    )  # fmt: skip


def user_agent_family(user_agent: str) -> str:
    """The family of a program by what it says of itself, one of USER_AGENT_FAMILIES. Programs may lie."""
    words = " ".join(user_agent[:1000].lower().split())
    if not words:
        return "none"
    if words == _APPLE:
        return "apple_mail_proxy"
    return next((name for name, signs in _FAMILIES if any(sign in words for sign in signs)), "unknown")


def network_hash(key: SecretKey, address: str) -> str:
    """Keyed hash of the network of an internet address, IPv4 /24 or IPv6 /48; empty for what is no address."""
    try:
        parsed = ipaddress.ip_address(address.strip().split("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    prefix = 24 if parsed.version == 4 else 48
    network = ipaddress.ip_network(f"{parsed}/{prefix}", strict=False)
    return key.hashed("network", [str(network)])[0]


def fold_spool(folder: Path, store: StateStore) -> FoldReport:
    """Move what is in the spool into the state store: events once each, and the suppressions they cause.

    May run at any time, also while the service writes and beside another one (they wait for each other). A file goes
    when its writer is gone and all of it was read from the start; until then only what is new is read, and where that
    begins need not be trusted: the same event twice is one. FoldError where another one folds for too long.
    """
    if not folder.is_dir():
        return FoldReport()
    try:
        with FileLock(folder / "fold.lock", timeout=_FOLD_SECONDS):
            return _fold(folder, store)
    except Timeout:
        raise FoldError(
            f"Another process has been folding the spool for over {_FOLD_SECONDS:g} s. Try again when it is done."
        ) from None


@dataclass
class _Tally:
    files: int = 0
    removed: int = 0
    lines: int = 0
    inserted: int = 0
    repeated: int = 0
    suppressed: int = 0
    let_go: int = 0
    torn: int = 0


def _fold(folder: Path, store: StateStore) -> FoldReport:
    tally = _Tally()
    damaged: list[str] = []
    waiting = _read_unmatched(folder)
    unknown: dict[str, MessageEvent] = {event.event_id: event for event in _record(store, list(waiting), tally)}
    opens = 0
    for path in sorted(folder.glob(f"*{ENDING}")):
        with path.open("rb") as file:
            is_left = _is_left(file.fileno())
            start = 0 if is_left else _start(path)
            file.seek(start)
            content = read_lines(file.read())
            events, strange = _events(content.events)
            tally.files += 1
            tally.lines += len(events)
            for event in _record(store, events, tally):
                if event.kind in SUPPRESSING:
                    unknown[event.event_id] = event
                else:
                    opens += 1
            faults = [f"{path.name} line {number}" for number in content.damaged]
            faults += [f"{path.name}: {strange} lines of an unknown kind"] if strange else []
            if not is_left:
                if content.whole_bytes:
                    _sidecar(path).write_text(str(start + content.whole_bytes), "ascii")
                continue
            damaged += faults
            tally.torn += content.has_torn_end
            tally.removed += 1
            tally.let_go += _let_go(unknown)
            _keep_unmatched(folder, unknown.values())  # before the file that holds them goes
            _sidecar(path).unlink(missing_ok=True)
            if faults:
                path.rename(path.with_suffix(_TORN))
            else:
                path.unlink()
    tally.let_go += _let_go(unknown)
    _keep_unmatched(folder, unknown.values())
    return FoldReport(
        tally.files, tally.removed, tally.lines, tally.inserted, tally.repeated, tally.suppressed,
        opens + len(unknown) + tally.let_go, tally.let_go, tally.torn, tuple(damaged),
    )  # fmt: skip


def _record(store: StateStore, events: Sequence[MessageEvent], tally: _Tally) -> list[MessageEvent]:
    """Insert in batches, so that nobody else waits long for the write lock; the events of unknown sends."""
    unknown: list[MessageEvent] = []
    for first in range(0, len(events), _BATCH):
        done = record_events(store, events[first : first + _BATCH])
        tally.inserted += done.inserted
        tally.repeated += done.repeated
        tally.suppressed += done.suppressed
        unknown += done.unknown
    return unknown


def _events(lines: Iterable[Any]) -> tuple[list[MessageEvent], int]:
    """The events of whole lines, and how many lines hold something else (a newer version's, say)."""
    events: list[MessageEvent] = []
    strange = 0
    for line in lines:
        try:
            events.append(MessageEvent.from_json(line))
        except (KeyError, TypeError, ValueError):
            strange += 1
    return events, strange


def _is_left(file: int) -> bool:
    """Whether the file has lost its writer: then it can be locked, and nobody writes to it again."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sidecar(path: Path) -> Path:
    return path.with_suffix(_OFFSET)


def _start(path: Path) -> int:
    """Where a living writer's file is new, if what is noted can be true: at the start of a line."""
    try:
        start = int(_sidecar(path).read_text("ascii"))
    except (FileNotFoundError, ValueError):
        return 0
    if not 0 < start <= path.stat().st_size:
        return 0
    with path.open("rb") as file:
        file.seek(start - 1)
        return start if file.read(1) == b"\n" else 0


def _read_unmatched(folder: Path) -> list[MessageEvent]:
    path = folder / UNMATCHED
    return _events(read_lines(path.read_bytes()).events)[0] if path.exists() else []


def _let_go(unknown: dict[str, MessageEvent]) -> int:
    """Take out the oldest beyond the most that are kept, bounces before refusals by hand; returns how many."""
    surplus = len(unknown) - MOST_UNMATCHED
    if surplus <= 0:
        return 0
    order = sorted(unknown.values(), key=lambda one: (one.kind != "hard_bounce", one.occurred_at, one.event_id))
    for event in order[:surplus]:
        del unknown[event.event_id]
    return surplus


def _keep_unmatched(folder: Path, events: Iterable[MessageEvent]) -> None:
    """Write them anew, whole or not at all; no file where there are none."""
    path = folder / UNMATCHED
    data = b"".join(encode_line(event.to_json()) for event in sorted(events, key=lambda event: event.event_id))
    if not data:
        path.unlink(missing_ok=True)
        return
    if path.exists() and path.read_bytes() == data:
        return
    draft = path.with_suffix(".tmp")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
