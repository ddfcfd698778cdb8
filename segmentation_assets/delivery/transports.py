"""How a built message leaves: as a file, or over SMTP; and what the other side said.

What belongs here: connections, the dialogue and its results. What does not: who is written to and when
(`delivery.dispatcher`), and what is in a message (`messaging`).

The SMTP dialogue is driven command by command, because it matters when a connection breaks: before the content was
sent the server cannot have accepted the message (`Dropped`, it is tried again); after that nobody knows (`Uncertain`).
"""

from __future__ import annotations

import os
import re
import smtplib
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

ENV_PASSWORD = "SEGMENTATION_SMTP_PASSWORD"  # noqa: S105 - the name of a variable
_CRLF = b"\r\n"
_ENHANCED = re.compile(r"^\s*([245]\.\d{1,3}\.\d{1,3})(?!\d)")
_ADDRESS = re.compile(r"<?[^\s<>@]+@[^\s<>@]+>?")
_REPLY_CHARACTERS = 200
Stage = Literal["connect", "mail", "rcpt", "data"]
#: 5.1.x that is about the sender's address, or no failure: no reason never to write to the recipient again (RFC 3463).
_NOT_THE_RECIPIENT = frozenset({"5.1.5", "5.1.7", "5.1.8", "5.1.9"})


class TransportError(RuntimeError):
    """Nothing can be sent as it is set up: wrong password, bad certificate, folder that cannot be written."""


class ConnectError(RuntimeError):
    """The server cannot be reached now; no message was begun."""


@dataclass(frozen=True)
class Letter:
    """A built message with its envelope. Neither addresses nor content show in a representation."""

    send_id: str
    sender: str = field(repr=False)
    recipient: str = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Accepted:
    """The server took the message over."""

    code: int = 250
    reply: str = ""


@dataclass(frozen=True)
class Deferred:
    """Not now (4xx): the same message may be tried again."""

    code: int
    stage: Stage
    reply: str = ""


@dataclass(frozen=True)
class Refused:
    """Never (5xx)."""

    code: int
    stage: Stage
    enhanced: str = ""
    reply: str = ""

    @property
    def is_hard_bounce(self) -> bool:
        """Whether the recipient's address is the reason: a 5.1.x that is not about the sender (RFC 3463)."""
        return self.stage != "mail" and is_dead_address(self.enhanced)


def is_dead_address(enhanced: str) -> bool:
    """Whether an enhanced status (RFC 3463) blames the recipient's address: a 5.1.x that is not about the sender."""
    return enhanced.startswith("5.1.") and enhanced not in _NOT_THE_RECIPIENT


def enhanced_status(reply: str) -> str:
    """The enhanced status that a reply begins with, such as 5.1.1; empty where it begins with none."""
    found = _ENHANCED.match(reply)
    return found.group(1) if found else ""


@dataclass(frozen=True)
class Dropped:
    """The connection broke before the content was sent: the server cannot have the message."""

    reply: str = ""


@dataclass(frozen=True)
class Uncertain:
    """The connection broke after the content was begun: the server may have the message."""

    reply: str = ""


Result = Accepted | Deferred | Refused | Dropped | Uncertain


class Transport(Protocol):
    """One way out, used by one thread at a time."""

    def ready(self) -> None:
        """Be ready for the next message. ConnectError where that may pass, TransportError where it will not."""

    def send(self, letter: Letter) -> Result:
        """Hand over one message, once."""

    def close(self) -> None:
        """Let go of the connection."""


class EmlTransport:
    """Messages as files: FOLDER/SEND_ID.eml, whole or not at all, readable by their owner alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ready(self) -> None:
        """Make the folder. TransportError where that is not possible."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)  # messages hold names and addresses
        except OSError as error:
            raise TransportError(f"The folder {self.folder} cannot be written ({error.strerror}).") from None

    def send(self, letter: Letter) -> Result:
        """Write the file; what was there under its name is replaced. TransportError where it cannot be written."""
        try:
            write_whole(self.folder / f"{letter.send_id}.eml", letter.content)
        except OSError as error:
            raise TransportError(
                f"The message {letter.send_id}.eml cannot be written to {self.folder} ({error.strerror})."
            ) from None
        return Accepted()

    def close(self) -> None:
        """Nothing is held."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all (mode 0600). OSError where it cannot be."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


@dataclass(frozen=True)
class SmtpServer:
    """Where and how to connect. `final_seconds` is the wait for the answer to the content (RFC 5321: 10 minutes)."""

    host: str
    port: int
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password: str = field(default="", repr=False)
    ehlo_name: str = "localhost"
    connect_seconds: float = 30.0
    command_seconds: float = 60.0
    final_seconds: float = 600.0
    context: ssl.SSLContext | None = field(default=None, repr=False)


class SmtpTransport:
    """One connection to a mail server, reused for many messages and opened again when it was dropped."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._smtp: smtplib.SMTP | None = None

    def ready(self) -> None:
        """Connect, secure and log in, unless that was done.

        ConnectError where the server cannot be reached or does not answer; TransportError where it cannot be trusted
        or does not trust us, which no waiting mends.
        """
        if self._smtp is None:
            self._smtp = _connect(self._server)

    def send(self, letter: Letter) -> Result:
        """MAIL, RCPT, DATA and the content, each answered before the next."""
        smtp = self._smtp
        if smtp is None:
            raise RuntimeError("SmtpTransport.send needs ready() before it.")
        stage: Stage = "mail"
        try:
            code, reply = smtp.docmd("MAIL", f"FROM:<{letter.sender}>")
            if code == 250:
                stage = "rcpt"
                code, reply = smtp.docmd("RCPT", f"TO:<{letter.recipient}>")
            if stage == "rcpt" and code in (250, 251):
                stage = "data"
                code, reply = smtp.docmd("DATA")
                if code == 354:
                    return self._send_content(smtp, letter)
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            return Dropped(_why(error))
        return self._not_accepted(smtp, code, reply, stage, letter)

    def _send_content(self, smtp: smtplib.SMTP, letter: Letter) -> Result:
        content = re.sub(rb"(?m)^\.", b"..", letter.content)
        if not content.endswith(_CRLF):
            content += _CRLF
        try:
            if smtp.sock is not None:
                smtp.sock.settimeout(self._server.final_seconds)
            smtp.send(content + b"." + _CRLF)
            code, reply = smtp.getreply()
            if smtp.sock is not None:
                smtp.sock.settimeout(self._server.command_seconds)
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            return Uncertain(_why(error))
        if 200 <= code < 300:
            return Accepted(code, clean_reply(reply, letter.recipient))
        if not 400 <= code < 600:  # no answer a mail server gives: whatever it means, it is no refusal
            self.close()
            return Uncertain(clean_reply(reply, letter.recipient))
        return self._not_accepted(smtp, code, reply, "data", letter)

    def _not_accepted(self, smtp: smtplib.SMTP, code: int, reply: bytes, stage: Stage, letter: Letter) -> Result:
        words = clean_reply(reply, letter.recipient)
        if code == 421 or not 400 <= code < 600:
            self.close()  # 421: the server is about to close; anything else: we do not understand each other
        else:
            try:
                if smtp.docmd("RSET")[0] != 250:
                    self.close()
            except (OSError, smtplib.SMTPException):
                self.close()
        if 500 <= code < 600:
            return Refused(code, stage, enhanced_status(words), words)
        if 400 <= code < 500:
            return Deferred(code, stage, words)
        return Dropped(words)

    def close(self) -> None:
        """Say goodbye if the server still listens; errors do not matter any more."""
        smtp, self._smtp = self._smtp, None
        if smtp is None:
            return
        try:
            if smtp.sock is not None:
                smtp.sock.settimeout(1.0)
            smtp.quit()
        except (OSError, smtplib.SMTPException):
            smtp.close()


def _connect(server: SmtpServer) -> smtplib.SMTP:
    where = f"{server.host}:{server.port}"
    context = server.context or ssl.create_default_context()
    smtp: smtplib.SMTP | None = None
    try:
        # The host goes to the constructor: that is the name the certificate is checked against.
        if server.security == "tls":
            smtp = smtplib.SMTP_SSL(
                server.host, server.port, local_hostname=server.ehlo_name, timeout=server.connect_seconds,
                context=context,
            )  # fmt: skip
        else:
            smtp = smtplib.SMTP(
                server.host, server.port, local_hostname=server.ehlo_name, timeout=server.connect_seconds
            )
        smtp.ehlo_or_helo_if_needed()
        if server.security == "starttls":
            if not smtp.has_extn("starttls"):
                raise TransportError(
                    f"The mail server {where} does not offer STARTTLS, so nothing was sent. Set delivery.smtp_security "
                    'to "tls" if it listens with TLS there.'
                )
            smtp.starttls(context=context)
            smtp.ehlo_or_helo_if_needed()
        if server.user:
            _log_in(smtp, server, where)
        if smtp.sock is not None:
            smtp.sock.settimeout(server.command_seconds)
    except ssl.SSLCertVerificationError as error:
        _shut(smtp)
        raise TransportError(
            f"The certificate of the mail server {where} cannot be trusted ({error.verify_message}), so nothing was "
            "sent."
        ) from None
    except (OSError, smtplib.SMTPException) as error:
        _shut(smtp)
        raise ConnectError(f"{where} cannot be reached ({_why(error)})") from None
    except (TransportError, ConnectError):
        _shut(smtp)
        raise
    return smtp


def _log_in(smtp: smtplib.SMTP, server: SmtpServer, where: str) -> None:
    if server.security == "none":
        raise TransportError(
            "A password is never sent over a connection that is not secured. Set delivery.smtp_security to starttls "
            "or tls, or leave delivery.smtp_user empty."
        )
    if not server.password:
        raise TransportError(f"delivery.smtp_user is set and {ENV_PASSWORD} is not. Set both, or neither.")
    try:
        smtp.login(server.user, server.password)
    except smtplib.SMTPAuthenticationError as error:
        if 400 <= error.smtp_code < 500:
            raise ConnectError(f"{where} cannot check the password now ({error.smtp_code})") from None
        raise TransportError(
            f"The mail server {where} refused the user or the password ({error.smtp_code}). Check delivery.smtp_user "
            f"and {ENV_PASSWORD}; nothing was sent."
        ) from None
    except smtplib.SMTPNotSupportedError:
        raise TransportError(
            f"The mail server {where} offers no way to log in. Leave delivery.smtp_user empty."
        ) from None


def _shut(smtp: smtplib.SMTP | None) -> None:
    if smtp is not None:
        smtp.close()


def _why(error: Exception) -> str:
    """A connection's end in words, without the server's own (which may name an address)."""
    if isinstance(error, TimeoutError) or "timed out" in str(error):
        return "no answer in time"
    if isinstance(error, smtplib.SMTPServerDisconnected | ConnectionError):
        return "the connection was closed" if not isinstance(error, ConnectionRefusedError) else "connection refused"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"it answered {error.smtp_code}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


def clean_reply(reply: bytes | str, recipient: str = "") -> str:
    """A server's reply as it may be kept: one line of at most 200 characters, without addresses."""
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    text = "".join(character if character.isprintable() else " " for character in text)
    text = _ADDRESS.sub("ADDRESS", text)
    local = recipient.rpartition("@")[0]
    if len(local) > 2:  # some servers name the mailbox without its domain
        text = re.sub(rf"(?<!\w){re.escape(local)}(?!\w)", "ADDRESS", text, flags=re.IGNORECASE)
    return " ".join(text.split())[:_REPLY_CHARACTERS]
