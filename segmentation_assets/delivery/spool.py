"""The spool: what the service heard, appended to files that outlive the process that wrote them.

What belongs here: the form of a line, writing, rotating, and reading whole lines back. What does not: what an event
means and where it goes (`delivery.events`).

One file per writing process, one line per event, with a checksum. A line is handed to the operating system before the
answer is given, so killing the process loses nothing that was answered; a power cut may lose the last seconds, since
files are synced only when they are rotated or closed. A writer holds a lock on its file as long as it lives: a file
that can be locked has lost its writer and gets no further line.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import threading
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENDING = ".jsonl"
ROTATE_BYTES = 8_000_000
_LINE = re.compile(rb'\{"crc":"([0-9a-f]{8})","event":(\{.*\})\}')


class SpoolError(RuntimeError):
    """An event could not be kept; nothing may be answered as if it were."""


@dataclass(frozen=True)
class SpoolContent:
    """What a stretch of a file holds.

    `events` are the contents of its whole lines. `damaged` are the numbers (from 1) of lines that end and do not match
    their checksum. `has_torn_end` says that the last line does not end. `whole_bytes` is where the last ended line
    ends, from the start of the stretch.
    """

    events: tuple[Mapping[str, Any], ...]
    damaged: tuple[int, ...]
    has_torn_end: bool
    whole_bytes: int


def encode_line(event: Mapping[str, Any]) -> bytes:
    """The line of a JSON-able event, its newline included."""
    body = json.dumps(event, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode("ascii")
    return b'{"crc":"%08x","event":%b}\n' % (zlib.crc32(body), body)


def read_lines(data: bytes) -> SpoolContent:
    """The whole lines of a stretch that begins at a line's start."""
    lines = data.split(b"\n")
    torn = lines.pop()
    events: list[Mapping[str, Any]] = []
    damaged: list[int] = []
    for number, line in enumerate(lines, start=1):
        found = _LINE.fullmatch(line)
        if found and int(found[1], 16) == zlib.crc32(found[2]):
            events.append(json.loads(found[2]))
        elif line:  # an empty line is what a writer put after a line it could not finish
            damaged.append(number)
    return SpoolContent(tuple(events), tuple(damaged), bool(torn), len(data) - len(torn))


class SpoolWriter:
    """Appends events to a file of its own in `folder`; safe to use from several threads of one process."""

    def __init__(self, folder: Path, *, rotate_bytes: int = ROTATE_BYTES) -> None:
        """Make the folder and the first file. SpoolError where that is not possible."""
        self._folder = folder
        self._rotate_bytes = rotate_bytes
        self._guard = threading.Lock()
        self._size = 0
        self._is_torn = False
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = self._open()
        except OSError as error:
            raise _failed(error) from None

    def append(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Keep all of `events` or, raising SpoolError, none of them. After it returns they survive a kill -9."""
        data = b"".join(map(encode_line, events))
        with self._guard:
            try:
                if self._size and self._size + len(data) > self._rotate_bytes:
                    self._rotate()
                self._write(data)
            except OSError as error:
                raise _failed(error) from None

    def close(self) -> None:
        """Sync and let go of the file; it can be folded away then. Closing twice is the same as once."""
        with self._guard:
            if self._file >= 0:
                os.fsync(self._file)
                os.close(self._file)
                self._file = -1

    def _open(self) -> int:
        name = f"{os.getpid()}-{secrets.token_hex(6)}"
        draft = self._folder / f".{name}.new"
        file = os.open(draft, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        # Locked before it has its name: whoever folds never sees a living writer's file without its lock.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.rename(self._folder / f"{name}{ENDING}")
        return file

    def _rotate(self) -> None:
        file = self._open()
        os.fsync(self._file)
        os.close(self._file)
        self._file, self._size, self._is_torn = file, 0, False

    def _write(self, data: bytes) -> None:
        wanted = b"\n" + data if self._is_torn else data
        written = 0
        try:
            while written < len(wanted):
                written += os.write(self._file, wanted[written:])
        except OSError:
            self._take_back(written)
            raise
        self._size += written
        self._is_torn = False

    def _take_back(self, written: int) -> None:
        """A full disk may have taken half a line: cut it off, or else see to it that the next line starts anew."""
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            self._size += written
            self._is_torn = self._is_torn or written > 0


def _failed(error: OSError) -> SpoolError:
    return SpoolError(
        f"An event could not be kept, because HOME/spool cannot be written ({error.strerror}). "
        "Make room on the disk, or mend the folder's rights; the sender of the event is told to try again."
    )
