"""Headers of a message as bytes: our own serialiser, because the standard library's spoils marketing mail.

What belongs here: encoding, folding and refusing. What does not: which headers a message has (`message`).

`EmailMessage` with `policy.SMTP` folds a List-Unsubscribe address beyond about 76 characters into encoded words, which
are illegal there, and the one-click button vanishes. So only Subject and display names are encoded (RFC 2047);
everything else is ASCII, validated, and written as it is.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime

#: Longest line without its CRLF, in bytes (RFC 5322, 2.1.1).
LONGEST_LINE = 998
#: Longest encoded word (RFC 2047, 2).
LONGEST_WORD = 75
#: Lines are folded from here on (RFC 5322, 2.1.1).
FOLD_AT = 78

#: Control characters, line separators, lone surrogates, and characters that turn the direction of writing.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NAME = re.compile(r"[!-9;-~]{1,60}")
_PRINTABLE = re.compile(r"[ -~]*")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_MESSAGE_ID = re.compile(r"<[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.-]+>")
_REST = r"(?::[0-9]{1,5})?(?:[/?#][!#-;=?-Z\[\]_a-z~]*)?"
_HTTPS = re.compile(r"https://[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?" + _REST)
#: An address without TLS is fine where only this machine can be meant.
_LOOPBACK = re.compile(r"http://(?:127\.0\.0\.1|localhost|\[::1\])" + _REST)

_CALLED = {"\r": "a carriage return", "\n": "a line feed", "\0": "a NUL"}


class HeaderError(ValueError):
    """A value cannot stand in a header. The message names the header and the character, never the value."""


def checked(name: str, value: str) -> str:
    """`value`, when it may stand in the header `name` at all. HeaderError otherwise."""
    if not _NAME.fullmatch(name):
        raise HeaderError("The name of a header is printable ASCII without a colon.")
    if found := _FORBIDDEN.search(value):
        character = found[0]
        called = _CALLED.get(character) or unicodedata.name(character, "a control character").lower()
        raise HeaderError(
            f"The header {name} holds {called} (U+{ord(character):04X}) at place {found.start() + 1}: a header is a "
            "single line without control characters, lone surrogates or marks of direction."
        )
    return value


def plain_header(name: str, value: str) -> bytes:
    """A header of printable ASCII, written whole on one line. HeaderError for anything else, or above 998 bytes."""
    if not _PRINTABLE.fullmatch(checked(name, value)):
        raise HeaderError(f"The header {name} holds a character that is not ASCII: it is written as it is.")
    line = f"{name}: {value.strip()}"
    if len(line) > LONGEST_LINE:
        raise HeaderError(f"The header {name} has {len(line):,} bytes; at most {LONGEST_LINE} fit on a line.")
    return line.encode("ascii") + b"\r\n"


def text_header(name: str, value: str) -> bytes:
    """A header of free text (Subject): as it is when it is short ASCII, in encoded words of at most 75 else."""
    value = " ".join(checked(name, value).split())
    # "=?" in plain ASCII would be read as an encoded word that nobody wrote.
    if value.isascii() and "=?" not in value and len(name) + 2 + len(value) <= FOLD_AT:
        return f"{name}: {value}\r\n".encode("ascii")
    return f"{name}: {_encoded(value, len(name) + 2)}\r\n".encode("ascii")


def mailbox_header(name: str, display_name: str, address: str) -> bytes:
    """A header with one mailbox (From, Reply-To, To). `address` is ASCII with its domain in IDNA."""
    shown = " ".join(checked(name, display_name).split())
    if not _ADDRESS.fullmatch(checked(name, address)):
        raise HeaderError(f"The header {name} needs one ASCII address such as news@shop.example, its domain in IDNA.")
    if not shown:
        return plain_header(name, address)
    if not shown.isascii() or "=?" in shown:
        shown = _encoded(shown, len(name) + 2)
    elif not _ATOMS.fullmatch(shown):
        shown = '"' + shown.replace("\\", "\\\\").replace('"', '\\"') + '"'
    last = shown.rsplit("\r\n", 1)[-1]
    before = len(name) + 2 if "\r\n" not in shown else 0
    gap = " " if before + len(last) + len(address) + 3 <= FOLD_AT else "\r\n "
    return f"{name}: {shown}{gap}<{address}>\r\n".encode("ascii")


def url_header(name: str, url: str) -> bytes:
    """A header with one address of the web in angle brackets, whole however long it is."""
    return plain_header(name, f"<{web_address(name, url)}>")


def web_address(where: str, url: str) -> str:
    """`url`, when it is an absolute https address in ASCII (http on this machine alone). HeaderError otherwise."""
    if _HTTPS.fullmatch(url) or _LOOPBACK.fullmatch(url):
        return url
    checked(where, url)
    if url.startswith("http:"):
        raise HeaderError(f"{where} needs an https address: http is for this machine alone.")
    raise HeaderError(f"{where} needs an absolute https address in ASCII, without spaces, quotes or angle brackets.")


def is_loopback(url: str) -> bool:
    """Whether `url` is http on this machine: good for a trial, and of no use to anybody else."""
    return _LOOPBACK.fullmatch(url) is not None


def message_id_header(message_id: str) -> bytes:
    """The header Message-ID; angle brackets are added where they are missing."""
    wanted = message_id if message_id.startswith("<") else f"<{message_id}>"
    if not _MESSAGE_ID.fullmatch(checked("Message-ID", wanted)):
        raise HeaderError("A Message-ID is <unique-text@domain> in ASCII.")
    return plain_header("Message-ID", wanted)


def date_header(date: datetime) -> bytes:
    """The header Date; a naive `date` is UTC."""
    aware = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    return f"Date: {format_datetime(aware)}\r\n".encode("ascii")


def _encoded(value: str, before: int) -> str:
    """Encoded words, folded; `before` characters stand on the first line already."""
    header = Header(value, "utf-8", maxlinelen=LONGEST_WORD, header_name="x" * max(before - 2, 0))
    return header.encode(linesep="\r\n")
