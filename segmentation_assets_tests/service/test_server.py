"""The real server: another process, killed under load, and the command that starts it."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from segmentation_assets.delivery.campaign import send_id
from segmentation_assets.delivery.clock import let_time_pass
from segmentation_assets.delivery.events import fold_spool
from segmentation_assets.delivery.keys import open_key
from segmentation_assets.delivery.tokens import TokenKind, TokenSigner
from segmentation_assets.service.parts import ServiceConfigError
from segmentation_assets.service.server import bind, certificates_in, home_clock
from segmentation_assets.settings import Home, load_settings
from segmentation_assets.state.models import SendEvent
from segmentation_assets.state.store import open_state
from segmentation_assets_tests.service.world import CUSTOMERS, add_campaign

SERVE = "from segmentation_assets.cli_serve import serve_app; serve_app()"


def make_home(folder: Path) -> TokenSigner:
    """A HOME with a campaign that was sent; no run is needed to answer for it."""
    home = Home(folder)
    with open_state(home.state) as store:
        add_campaign(store, "summer", ("https://shop.example/offers",))
        return TokenSigner(open_key(home.secret_key, store))


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command in another process, and its port."""
    names = ("SEGMENTATION_SETTINGS", "SEGMENTATION_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in names} | {"COLUMNS": "200"}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, "--home", str(folder), "--port", "0", *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert found, line + process.stdout.read()
        yield process, int(found[1])
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)


def wait_for(port: int) -> None:
    """Until it answers; the socket listens before the workers are there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()


def click_on(port: int, paths: list[str], answered: list[str]) -> None:
    """Ask for each path over one connection, until the server goes; note what was answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        for path in paths:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            if answer.status in (200, 302):
                answered.append(path)
    except (OSError, http.client.HTTPException):
        return


def is_living(process: int) -> bool:
    """Whether a process is there and no zombie."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False).stdout
    return told.strip()[:1] not in {"", "Z"}


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_killed_under_load_loses_no_event_that_it_answered(tmp_path: Path, workers: str) -> None:
    signer = make_home(tmp_path)
    answered: list[list[str]] = [[] for _ in range(8)]
    with serving(tmp_path, "--workers", workers) as (process, port):
        wait_for(port)
        threads = [
            threading.Thread(
                target=click_on,
                args=(port, [f"/c/{signer.make(TokenKind.CLICK, send_id('summer', CUSTOMERS[n]))}"] * 100_000, told),
            )
            for n, told in enumerate(answered)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while sum(map(len, answered)) < 1_000 and time.monotonic() < deadline:
            time.sleep(0.02)
        children = subprocess.run(
            ["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True, check=False
        ).stdout.split()
        for victim in [process.pid, *map(int, children)]:
            os.kill(victim, signal.SIGKILL)
        for thread in threads:
            thread.join(30)
        # A killed process holds its files until it is gone, and the children are not ours to wait for.
        process.wait(30)
        while any(is_living(int(child)) for child in children) and time.monotonic() < deadline + 60:
            time.sleep(0.02)
    home = Home(tmp_path)
    total = sum(map(len, answered))
    assert total >= 1_000
    with open_state(home.state) as store:
        report = fold_spool(home.spool, store)
        with store.session() as session:
            kept = session.query(SendEvent.customer_id).all()
    by_customer = {customer: sum(row[0] == customer for row in kept) for customer in CUSTOMERS[:8]}
    for customer, told in zip(CUSTOMERS, answered, strict=False):
        # One more than was answered may be kept: its answer was on the way.
        assert len(told) <= by_customer[customer] <= len(told) + 1
    assert report.damaged == ()
    assert not list(home.spool.glob("*.jsonl"))


@pytest.mark.slow
def test_five_thousand_forged_tokens_are_refused_by_the_real_server(tmp_path: Path) -> None:
    signer = make_home(tmp_path)
    genuine = signer.make(TokenKind.CLICK, send_id("summer", "C1"))
    with serving(tmp_path) as (process, port):
        wait_for(port)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for number in range(5_000):
            connection.request("GET", f"/c/{genuine[:34]}{number:08}")
            answer = connection.getresponse()
            assert (answer.status, b"Location" in answer.read()) == (404, False)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    with open_state(Home(tmp_path).state) as store:
        assert fold_spool(Home(tmp_path).spool, store).lines == 0


@pytest.mark.slow
def test_the_command_ends_cleanly_and_writes_no_token_or_address(tmp_path: Path) -> None:
    signer = make_home(tmp_path)
    token = signer.make(TokenKind.UNSUBSCRIBE, send_id("summer", "C1"))
    with serving(tmp_path) as (process, port):
        wait_for(port)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        form = {"content-type": "application/x-www-form-urlencoded"}
        connection.request("POST", f"/u/{token}", "List-Unsubscribe=One-Click", form)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        assert answer.getheader("server") is None
        with socket.create_connection(("127.0.0.1", port)) as raw:  # nonsense, as scanners send it
            raw.sendall(f"GET /c/{token}\r\nX: \x00\xff HTTP/9\r\n\r\n".encode("latin-1"))
            raw.recv(1000)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        told = process.stdout.read()
        assert process.wait(30) == 0
    assert told.splitlines()[-1] == "The service has ended; everything it answered is kept."
    assert token not in told
    assert "127.0.0.1:" not in told
    written = b"".join(path.read_bytes() for path in Home(tmp_path).spool.glob("*.jsonl"))
    assert json.loads(written.splitlines()[0])["event"]["kind"] == "unsubscribe"
    assert token.encode() not in written
    assert b"127.0.0.1" not in written


def test_a_port_that_is_taken_is_a_sentence() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceConfigError) as refused:
            bind("127.0.0.1", port)
    assert str(refused.value) == (
        f"Port {port} of 127.0.0.1 is taken by another program. Stop it there, or give another with --port."
    )


def test_a_host_that_is_none_is_a_sentence() -> None:
    with pytest.raises(ServiceConfigError, match=r"^'no such host\.' is no address of this machine\. Give another"):
        bind("no such host.", 0)


def test_the_clock_follows_the_demonstration_world_when_days_pass(tmp_path: Path) -> None:
    with open_state(tmp_path / "state.sqlite") as store:
        settings = load_settings(Home(tmp_path))
        machine = [dt.datetime(2026, 11, 22, 12)]
        clock = home_clock(store, settings, lambda: machine[0])
        before = clock()
        assert before.date() == settings.synthetic.as_of + dt.timedelta(days=1)
        let_time_pass(store, dt.timedelta(days=3))
        time.sleep(0.6)
        assert clock() - before == dt.timedelta(days=3)


def test_only_the_name_of_a_certificate_is_taken_from_its_address(tmp_path: Path) -> None:
    (tmp_path / "SimpleNotificationService-0a.pem").write_bytes(b"pem")
    load = certificates_in(tmp_path)
    assert load("https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem") == b"pem"
    assert load("https://sns.eu-west-1.amazonaws.com/../SimpleNotificationService-0a.pem") is None
    assert load("https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0b.pem") is None
