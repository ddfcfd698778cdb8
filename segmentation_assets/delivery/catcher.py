"""A mail server of one's own on 127.0.0.1 that keeps each message as a file: for demonstrations and tests.

It forwards nothing and listens on the loopback alone, without TLS or login.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segmentation_assets.delivery.transports import write_whole

if TYPE_CHECKING:
    from aiosmtpd.controller import Controller
    from aiosmtpd.smtp import SMTP, Envelope, Session

DEFAULT_PORT = 1025


class CatcherError(ValueError):
    """The catcher cannot listen there; the message says why."""


class KeepMessages:
    """What the server does with a message: FOLDER/TIME-RANDOM.eml, whole, before it is acknowledged."""

    def __init__(self, folder: Path, on_message: Callable[[int], None] | None = None) -> None:
        self.folder = folder
        self.count = 0
        self._on_message = on_message
        self._lock = threading.Lock()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Keep the message, then acknowledge it; 452 where the disk is full."""
        content = envelope.content or b""
        raw = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        recipients = ", ".join(envelope.rcpt_tos)
        head = f"X-Envelope-From: {envelope.mail_from}\r\nX-Envelope-To: {recipients}\r\n".encode("utf-8", "replace")
        try:
            write_whole(self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.eml", head + raw)
        except OSError:
            return "452 4.3.1 The disk of the catcher is full"
        with self._lock:
            self.count += 1
            count = self.count
        if self._on_message is not None:
            self._on_message(count)
        return "250 2.0.0 Kept"


def start_catcher(
    folder: Path, host: str = "127.0.0.1", port: int = DEFAULT_PORT, on_message: Callable[[int], None] | None = None
) -> tuple[Controller, KeepMessages]:
    """Listen in a thread of its own; `controller.stop()` ends it. Messages are kept in `folder` (mode 0700).

    CatcherError for an address that is not of the loopback, a port that is in use, and a folder that is not there to
    be written.
    """
    from aiosmtpd.controller import Controller

    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise CatcherError(f"The catcher listens on this machine alone, and {host} is not of it. Use 127.0.0.1.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise CatcherError(f"The catcher cannot keep messages in {folder} ({error.strerror}).") from None
    handler = KeepMessages(folder, on_message)
    options: dict[str, Any] = {"ident": "catcher", "data_size_limit": 10_000_000}
    controller = Controller(handler, hostname=host, port=port, **options)
    try:
        with socket.create_server((host, port)):  # asked first, because the controller waits for seconds to find out
            pass
        controller.start()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)  # its own words repeat the address
        raise CatcherError(
            f"The catcher cannot listen on {host}:{port} ({why}). Give another --port, and set delivery.smtp_port to "
            "it."
        ) from None
    return controller, handler
