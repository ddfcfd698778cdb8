"""The simulated audience at work: what it reads in messages, how fast people and machines ask, and when it refuses."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from segmentation_assets.delivery.campaign import send_id
from segmentation_assets.delivery.clock import system_clock
from segmentation_assets.delivery.keys import open_key
from segmentation_assets.delivery.simulation import (
    Asker,
    Audience,
    CaughtMessage,
    SimulationError,
    mailgun_report,
    network_of,
    read_inbox,
    read_message,
    require_loopback,
    simulate,
)
from segmentation_assets.delivery.webhooks import WebhookReader
from segmentation_assets.settings import Home, Settings
from segmentation_assets.sources.choice import simulated_world
from segmentation_assets.state.store import StateStore, open_state
from segmentation_assets_tests.service.world import add_campaign

SEND = send_id("demo", "C0000001")


@dataclass(frozen=True)
class Request:
    """What the server was asked, and when."""

    at: float
    peer: str
    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """A real HTTP server on 127.0.0.1 that answers every request with `status` and keeps it."""

    status: int = 302
    port: int = 0
    heard: list[Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at = time.monotonic()
        try:
            line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        except asyncio.IncompleteReadError:  # connected, and asked nothing
            writer.close()
            return
        headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines if one)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        peer = writer.get_extra_info("peername")[0]
        self.heard.append(Request(at, peer, line.removesuffix(" HTTP/1.1"), headers, body))
        writer.write(f"HTTP/1.1 {self.status} Said\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    loop = asyncio.new_event_loop()
    listening = loop.run_until_complete(asyncio.start_server(made.answer, "127.0.0.1", 0))
    made.port = listening.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield made
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    listening.close()
    loop.close()


def message(base: str, links: int = 5) -> CaughtMessage:
    return CaughtMessage(SEND, f"{base}/o/p.gif", tuple(f"{base}/c/{n}" for n in range(links)), f"{base}/u/t")


def eml(base: str = "http://127.0.0.1:8080", send: str = SEND) -> bytes:
    """A message as a builder might write it, with a long one-click address and a link that stands twice."""
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "Shop <news@shop.example>", "anna@example.com", "Grüße"
    made["Message-ID"] = f"<{send}@shop.example>"
    made["List-Unsubscribe"] = f"<{base}/u/{'t' * 42}>"
    made.set_content("Hello")
    made.add_alternative(
        f'<p><a href="{base}/c/one">A</a> <a href="{base}/c/two&amp;x">B</a> <a href="{base}/c/one">C</a>'
        f'<a href="{base}/u/{"t" * 42}">leave</a><a href="https://other.example/c/x">D</a>'
        f'<img src="{base}/o/pixel.gif" alt=""></p>',
        subtype="html",
    )
    return b"X-Envelope-To: anna@example.com\r\n" + made.as_bytes()


def reaction(**changes: Any) -> dict[str, Any]:
    return {
        "bounce": "", "machine": "", "is_prefetched": False, "is_reading": False, "is_clicking": False,
        "is_clicking_twice": False, "reader": "browser", "hides_pictures": False, "leaves_by": "",
        "is_complaining": False, "place": 0.0, "haste": 0.0,
    } | changes  # fmt: skip


def play(
    server: Server, *reactions: dict[str, Any], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> Audience:
    audience = Audience(Asker("127.0.0.1", server.port), 0.0, sleep=sleep)
    asyncio.run(audience.play([(message(server.url), one) for one in reactions]))
    return audience


def test_a_message_is_read_as_a_mail_program_reads_it() -> None:
    base = "http://127.0.0.1:8080"
    assert read_message(eml(), base + "/") == CaughtMessage(
        SEND, f"{base}/o/pixel.gif", (f"{base}/c/one", f"{base}/c/two&x"), f"{base}/u/{'t' * 42}"
    )


@pytest.mark.parametrize("raw", [b"", b"Subject: x\r\n\r\nHello", b"\xff\xfe\x00", b"Message-ID: <a@b>\r\n\r\n"])
def test_what_is_no_message_of_a_campaign_is_passed_over(raw: bytes) -> None:
    assert read_message(raw, "http://127.0.0.1:8080") is None


def test_of_a_message_that_was_caught_twice_the_first_counts(tmp_path: Path) -> None:
    (tmp_path / "1.eml").write_bytes(eml())
    (tmp_path / "2.eml").write_bytes(eml())
    (tmp_path / "3.txt").write_bytes(eml(send=send_id("demo", "other")))
    assert list(read_inbox(tmp_path, "http://127.0.0.1:8080")) == [SEND]


def test_messages_that_lead_elsewhere_are_refused() -> None:
    with pytest.raises(SimulationError) as refused:
        read_message(eml("https://mail.shop.example"), "http://127.0.0.1:8080")
    assert str(refused.value) == (
        "The caught messages lead to https://mail.shop.example, and delivery.public_url is http://127.0.0.1:8080. Set "
        "it to where they lead, or empty HOME/inbox and send again."
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:8080",
        "http://mail.shop.example",
        "http://192.0.2.7:8080",
        "http://127.0.0.1.example",
        "",
        "x",
    ],
)
def test_no_other_machine_is_ever_asked(url: str) -> None:
    with pytest.raises(SimulationError, match="the simulated audience asks this machine alone, by http"):
        require_loopback(url)


def test_a_link_to_another_port_is_not_followed(server: Server) -> None:
    asker = Asker("127.0.0.1", server.port)
    with pytest.raises(SimulationError, match=r"^A link leads to 127\.0\.0\.1:1, which is not the service\."):
        asyncio.run(asker.ask("GET", "http://127.0.0.1:1/c/x", "a", "127.0.0.1"))
    assert not server.heard


def test_a_scanner_follows_every_link_at_once_and_its_get_of_the_way_out_is_no_post(server: Server) -> None:
    play(server, reaction(machine="link_scanner"))
    clicks = [one for one in server.heard if " /c/" in one.line]
    assert sorted(one.line for one in clicks) == [f"GET /c/{n}" for n in range(5)]
    assert max(one.at for one in clicks) - min(one.at for one in clicks) < 1.0
    assert "GET /u/t" in {one.line for one in server.heard}
    assert not any(one.line.startswith("POST") for one in server.heard)


def test_a_careful_scanner_asks_with_head_first_and_another_follows_one_link(server: Server) -> None:
    play(server, reaction(machine="head_scanner"))
    assert server.heard[0].line == "HEAD /c/0"
    server.heard.clear()
    play(server, reaction(machine="single_scanner"))
    assert len(server.heard) == 1


def test_a_person_takes_seconds_between_opening_and_each_link(server: Server) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    audience = play(server, reaction(is_reading=True, is_clicking=True, is_clicking_twice=True, place=0.5), sleep=sleep)
    assert [one.line.split("/")[1] for one in server.heard] == ["o", "c", "c"]
    assert len({one.line for one in server.heard}) == 3
    assert slept[0] == 0.0  # of no time at all
    assert min(slept[1:]) >= 2.5
    assert audience.did == {"read": 1, "clicked": 1}


def test_a_person_behind_a_scanner_comes_long_enough_after_it_to_be_told_apart(server: Server) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    play(server, reaction(machine="single_scanner", is_reading=True, is_clicking=True), sleep=sleep)
    assert sum(slept) > 30


def test_pictures_come_through_the_readers_proxy_and_links_from_the_readers_own_network(server: Server) -> None:
    async def sleep(_: float) -> None:
        return

    play(server, reaction(is_reading=True, is_clicking=True, reader="google_image_proxy"), sleep=sleep)
    pixel, link = server.heard
    assert "GoogleImageProxy" in pixel.headers["user-agent"]
    assert "GoogleImageProxy" not in link.headers["user-agent"]
    assert pixel.peer != link.peer or pixel.peer == "127.0.0.1"  # where the system knows no other loopback address


@pytest.mark.parametrize("changes", [{"hides_pictures": True}, {"reader": "apple_mail_proxy", "is_prefetched": True}])
def test_who_sees_no_pictures_or_has_them_already_fetches_none_when_reading(
    server: Server, changes: dict[str, Any]
) -> None:
    play(server, reaction(is_reading=True, **changes))
    assert len(server.heard) == (1 if "is_prefetched" in changes else 0)


@pytest.mark.parametrize(
    ("by", "lines", "body"),
    [
        ("one_click", ["POST /u/t"], b"List-Unsubscribe=One-Click"),
        ("page", ["GET /u/t", "POST /u/t"], b"unsubscribe=yes"),
    ],
)
def test_people_leave_by_one_click_or_by_the_page(server: Server, by: str, lines: list[str], body: bytes) -> None:
    async def sleep(_: float) -> None:
        return

    play(server, reaction(leaves_by=by), sleep=sleep)
    assert [one.line for one in server.heard] == lines
    assert server.heard[-1].body == body


def test_a_message_that_bounced_is_seen_by_nobody(server: Server) -> None:
    audience = play(server, reaction(bounce="hard", is_reading=True, is_clicking=True, machine="link_scanner"))
    assert not server.heard
    assert audience.unreported == 1


@pytest.mark.parametrize("kind", ["hard_bounce", "soft_bounce", "complaint"])
def test_reports_are_such_as_mailgun_signs(server: Server, tmp_path: Path, kind: str) -> None:
    server.status = 200
    world_time = dt.datetime(2026, 7, 1, 9, 30)
    report = mailgun_report(Asker("127.0.0.1", server.port), "a-key", lambda: world_time, system_clock)
    asyncio.run(report(kind, SEND))
    heard = server.heard[0]
    assert heard.line == "POST /webhooks/mailgun"
    with open_state(tmp_path / "state.sqlite") as store:
        reader = WebhookReader({"mailgun": "a-key"}, open_key(tmp_path / "secret.key", store), system_clock)
        events = reader.read("mailgun", heard.headers, heard.body).events
    assert [(one.send_id, one.kind, one.occurred_at) for one in events] == [(SEND, kind, world_time)]


@pytest.mark.parametrize(
    ("status", "why"),
    [(404, "does not expect reports of Mailgun"), (401, "refused a report of Mailgun (401)")],
)
def test_a_service_that_takes_no_reports_is_told_how_to(server: Server, status: int, why: str) -> None:
    server.status = status
    report = mailgun_report(Asker("127.0.0.1", server.port), "a-key", system_clock, system_clock)
    with pytest.raises(SimulationError) as refused:
        asyncio.run(report("complaint", SEND))
    assert str(refused.value) == (
        f"The service {why}. Start it with the same SEGMENTATION_MAILGUN_KEY as this command, or unset it here to "
        "leave bounces and complaints out."
    )


def test_homes_carriers_proxies_and_scanners_are_networks_apart() -> None:
    kinds = ("home", "carrier", "google_image_proxy", "yahoo_proxy", "apple_mail_proxy", "scanner", "provider")
    networks = {kind: {network_of(kind, n).rpartition(".")[0] for n in range(40_000)} for kind in kinds}
    assert sum(len(found) for found in networks.values()) == len(set().union(*networks.values()))
    assert len(networks["home"]) > 10_000
    assert all(each.startswith("127.") for found in networks.values() for each in found)


# --- the whole, refusing ---------------------------------------------------------------------------------------------


class Case:
    """A HOME whose service is at `port`."""

    def __init__(self, folder: Path, store: StateStore, port: int, source: str = "synthetic") -> None:
        self.place = Home(folder)
        self.store = store
        self.settings = Settings.model_validate(
            {
                "source": {"name": source}, "synthetic": {"customers": 20},
                "delivery": {"public_url": f"http://127.0.0.1:{port}"},
            }
        )  # fmt: skip

    def catch(self, send: str = SEND) -> None:
        inbox = self.place.path / "inbox"
        inbox.mkdir(exist_ok=True)
        (inbox / f"{send}.eml").write_bytes(eml(self.settings.delivery.public_url, send))

    def simulate(self, days: int = 14) -> Any:
        world = simulated_world(Settings.model_validate({"synthetic": {"customers": 20}}), self.place)
        return simulate(
            self.place, self.settings, self.store, world, days=days, seed=1, machine=system_clock, seconds=0.0
        )


@pytest.fixture
def case(tmp_path: Path, server: Server) -> Iterator[Case]:
    with open_state(tmp_path / "state.sqlite") as store:
        add_campaign(store, "demo", (), ("C0000001", "C0000002"))
        yield Case(tmp_path, store, server.port)


def test_another_source_has_no_simulated_audience(tmp_path: Path) -> None:
    with open_state(tmp_path / "state.sqlite") as store, pytest.raises(SimulationError) as refused:
        Case(tmp_path, store, 8080, "my_shop").simulate()
    assert str(refused.value) == (
        "This HOME holds the source 'my_shop'. Only the synthetic world has a simulated audience; people of a real "
        "source answer themselves."
    )


def test_without_caught_messages_nobody_answers_and_no_day_passes(case: Case) -> None:
    with pytest.raises(SimulationError, match=r"^There is no message in .*inbox that was not answered yet\."):
        case.simulate()
    assert not case.place.simulated.exists()


def test_messages_of_another_home_are_refused(case: Case) -> None:
    case.catch(send_id("strange", "C0000001"))
    with pytest.raises(SimulationError, match=r"^None of the 1 messages in .*inbox was sent from this HOME\."):
        case.simulate()


def test_a_service_that_does_not_answer_is_named(case: Case) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    silent = Case(case.place.path, case.store, port)
    silent.catch()
    with pytest.raises(SimulationError) as refused:
        silent.simulate()
    assert str(refused.value) == (
        f"Nothing answers at http://127.0.0.1:{port}. Start `segmentation serve` with the same --home and the port of "
        "delivery.public_url, and simulate again."
    )
    assert not case.place.simulated.exists()


def test_the_service_of_another_home_is_told_by_its_answer_to_the_first_link(case: Case, server: Server) -> None:
    server.status = 404
    case.catch()
    with pytest.raises(SimulationError, match="does not know the links of these messages: it serves another HOME"):
        case.simulate()
    assert [one.line for one in server.heard] == ["HEAD /c/one"]


def test_more_days_than_the_world_has_are_refused(case: Case) -> None:
    case.catch()
    with pytest.raises(SimulationError, match=r"^The synthetic world goes on until 2028-06-29 at most, and 800 more"):
        case.simulate(days=800)


def test_a_message_is_answered_once_and_the_clock_keeps_up_with_the_days(case: Case) -> None:
    case.catch()
    done = case.simulate()
    assert (done.messages, done.as_of) == (1, dt.date(2026, 7, 14))
    assert set(pl.read_parquet(case.place.simulated / "played-0001.parquet")["send_id"]) == {SEND}
    with pytest.raises(SimulationError, match="that was not answered yet"):
        case.simulate()
    case.catch(send_id("demo", "C0000002"))
    assert case.simulate(days=3).as_of == dt.date(2026, 7, 17)
