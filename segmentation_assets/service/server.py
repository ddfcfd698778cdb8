"""The service of a HOME: its stores opened, its socket bound, its processes started and stopped.

What belongs here: everything between a folder and a running server. What does not: the command (`cli_serve`) and the
application (`app`).
"""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from segmentation_assets.delivery.clock import Clock, open_clock, system_clock
from segmentation_assets.delivery.keys import open_key
from segmentation_assets.delivery.spool import SpoolWriter
from segmentation_assets.delivery.webhooks import CertificateLoader
from segmentation_assets.segmentation.spec import AxisSpec, spec_from_settings
from segmentation_assets.service.app import make_app
from segmentation_assets.service.parts import Parts, Service, ServiceConfigError, ServiceSecrets
from segmentation_assets.service.published import PublishedReader
from segmentation_assets.settings import Home, Settings, axis_settings, load_settings
from segmentation_assets.sources.choice import SYNTHETIC, describe_source
from segmentation_assets.state.store import StateStore, open_state
from segmentation_assets.state.values import get_value

_AXES = ("stage", "taste")
_SPEC_KEYS = {"features": "numeric", "categories": "categorical", "shares": "share_dimensions"}
_WORLD_OFFSET = "world_clock_offset_seconds"
_CLOCK_SECONDS = 0.5
_PEM = re.compile(r"/(SimpleNotificationService-[0-9A-Za-z]{1,64}\.pem)")
#: Where a person lays SNS's certificates, in HOME.
CERTIFICATES = "certificates"


def app_of_home(folder: Path, trusted_proxies: tuple[str, ...] = ()) -> FastAPI:
    """The application over the stores of a HOME, which are closed when it ends.

    Raises SettingsError, KeyMismatchError, ServiceConfigError or SpoolError with a sentence.
    """
    home = Home(folder)
    settings = load_settings(home)
    secrets = ServiceSecrets.from_environment(os.environ)
    with ExitStack() as stack:
        store = stack.enter_context(open_state(home.state))
        key = open_key(home.secret_key, store)
        published = PublishedReader(home.published)
        stack.callback(published.close)
        spool = SpoolWriter(home.spool)
        stack.callback(spool.close)
        parts = Parts(
            store=store,
            key=key,
            spool=spool,
            clock=home_clock(store, settings),
            published=published,
            specs={axis: _spec(settings, axis) for axis in _AXES},
            shop_name=settings.sender.shop_name,
            secrets=secrets,
            trusted_proxies=trusted_proxies,
            certificate=certificates_in(home.path / CERTIFICATES),
        )
        Service(parts)  # says what is wrong with the proxies before anything listens
        closing = stack.pop_all()
    return make_app(parts, closing.close)


def home_clock(store: StateStore, settings: Settings, machine: Clock = system_clock) -> Clock:
    """The time of this HOME, also where the demonstration world's goes on by leaps while the service runs."""
    if settings.source.name != SYNTHETIC:
        return machine
    open_clock(store, SYNTHETIC, settings.synthetic.as_of, machine)  # begins the world's clock, if nobody has yet
    return _LeapingClock(store, machine)


class _LeapingClock:
    """Reads how far ahead the demonstration world is, at most twice a second."""

    def __init__(self, store: StateStore, machine: Clock) -> None:
        self._store = store
        self._machine = machine
        self._offset = timedelta()
        self._read_at = float("-inf")

    def __call__(self) -> datetime:
        if time.monotonic() - self._read_at > _CLOCK_SECONDS:
            self._offset = timedelta(seconds=get_value(self._store, _WORLD_OFFSET) or 0.0)
            self._read_at = time.monotonic()
        return self._machine() + self._offset


def certificates_in(folder: Path) -> CertificateLoader:
    """Hands out the certificates that a person laid into `folder`, by the file name in their address."""

    def load(url: str) -> bytes | None:
        found = _PEM.fullmatch(urlsplit(url).path)
        path = folder / found[1] if found else None
        return path.read_bytes() if path is not None and path.is_file() else None

    return load


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there. ServiceConfigError where it cannot."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError:
        raise ServiceConfigError(f"{host!r} is no address of this machine. Give another with --host.") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)  # bound alone would not do: two may bind, one may listen
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            words = f"Port {port} of {host} is taken by another program. Stop it there, or give another with --port."
        elif error.errno == errno.EACCES:
            words = f"Port {port} may not be opened by this user. Give one above 1023 with --port."
        else:
            words = f"{host} port {port} cannot be opened ({error.strerror}). Give others with --host and --port."
        raise ServiceConfigError(words) from None
    return listener


def serve(folder: Path, listener: socket.socket, *, workers: int = 1, trusted_proxies: tuple[str, ...] = ()) -> None:
    """Answer until the process is told to end (SIGINT, SIGTERM); requests in flight are answered first."""
    # A partial of names: it can be handed to processes that start afresh.
    config = uvicorn.Config(
        partial(app_of_home, folder, trusted_proxies), factory=True, workers=workers, **_quiet(),
    )  # fmt: skip
    # When it has ended uvicorn raises the signal that ended it once more: that is heard by nobody then.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if workers > 1:
            Multiprocess(config, sockets=[listener]).run()
        else:
            uvicorn.Server(config).run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        listener.close()


def _quiet() -> dict[str, Any]:
    """No access log, because paths hold tokens; no banner; X-Forwarded-For is ours to judge."""
    return {
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "log_level": "warning",
        "timeout_keep_alive": 10,
        "timeout_graceful_shutdown": 10,
        "ws": "none",
        # A worker that is still importing on a busy machine is no hung one.
        "timeout_worker_healthcheck": 60,
    }


def _spec(settings: Settings, axis: str) -> AxisSpec:
    """The axis as the settings and the source make it: who is outside the clustering."""
    wishes = axis_settings(settings, axis, describe_source(settings).axes.get(axis, {}))
    given = {_SPEC_KEYS.get(name, name): value for name, value in wishes.items()}
    return spec_from_settings(axis, given)


def app_check(folder: Path, trusted_proxies: tuple[str, ...] = ()) -> str:
    """Open and close everything once, so that a mistake is told before anything listens; what is on, in words."""
    app = app_of_home(folder, trusted_proxies)
    service: Service = app.state.service
    providers = ", ".join(service.parts.secrets.providers) or "none"
    is_on = f"on, with {len(service.parts.secrets.api_keys)} keys" if service.has_api_keys else "off (no key is set)"
    app.state.close()
    return f"Reports of mail providers: {providers}. Data API: {is_on}; its description is under /api/docs."
