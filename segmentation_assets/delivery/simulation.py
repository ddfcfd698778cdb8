"""The simulated audience at work: it opens the catcher's messages, asks the running service, and lets days pass.

What belongs here: reading messages as a mail program does, real HTTP requests at a human's and at a machine's pace, and
the order in which a simulation happens. What does not: who does what and who buys, which the synthetic world decides
(handed in as `World`), and the command (`cli_simulate`).

Requests go to this machine alone. On Linux each comes from a loopback network of its own (127.x.y.0/24), so the service
sees homes, carriers, proxies and scanners apart; where such addresses cannot be used, all come from one.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import errno
import hashlib
import hmac
import ipaddress
import json
import os
import re
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email import policy
from email.parser import BytesParser
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import polars as pl

from segmentation_assets.delivery.clock import MORNING, Clock, let_time_pass, open_clock
from segmentation_assets.delivery.events import FoldReport, fold_spool
from segmentation_assets.delivery.webhooks import SECRET_NAMES
from segmentation_assets.settings import Home, Settings
from segmentation_assets.state.delivery_tables import read_delivery_tables
from segmentation_assets.state.store import StateStore

INBOX = "inbox"
#: People who begin to read in a second, and the fewest seconds in which everybody does.
MESSAGES_PER_SECOND = 25.0
FEWEST_SECONDS = 12.0
#: Machines look when a message arrives, people mostly much later. Of that time this much is kept: a person's click
#: within half a minute of a scan of the same message cannot be told from the scan.
AFTER_A_SCAN = 35.0
_MACHINE_SHARE = 0.3  # of the time in which people begin: machines look in its first part
_OPEN_CONNECTIONS = 100
_SCANS_AT_ONCE = 3
_ANSWER_SECONDS = 30.0
_MESSAGE_ID = re.compile(r"<?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})@")
_ONE_CLICK = b"List-Unsubscribe=One-Click"
_FORM = "application/x-www-form-urlencoded"

_AGENTS: Mapping[str, str] = {
    "google_image_proxy": "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
    "yahoo_proxy": "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
    "apple_mail_proxy": "Mozilla/5.0",
    "mail_client": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.0",
    "browser": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "mobile": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile/15E148",
    "scanner": "Mozilla/5.0 (compatible; Barracuda Sentinel; +https://scanner.example)",
}
_PROXIES = ("google_image_proxy", "yahoo_proxy", "apple_mail_proxy")


class SimulationError(ValueError):
    """The audience cannot play; the message says why and what to do."""


class Lived(Protocol):
    """What came of the days that passed."""

    @property
    def as_of(self) -> dt.date:
        """The last of them."""

    @property
    def orders(self) -> int:
        """Orders in them."""

    @property
    def caused_orders(self) -> int:
        """Those a message caused."""


class World(Protocol):
    """Who reacts how and who buys: the synthetic world, see `sources.synthetic.continuation.SimulatedWorld`."""

    @property
    def as_of(self) -> dt.date:
        """The last day that has been lived."""

    @property
    def last_day(self) -> dt.date:
        """The last day that can be."""

    def played(self) -> frozenset[str]:
        """Ids of the messages that were answered before."""

    def react(self, campaign_id: str, customer_ids: Iterable[str], seed: int) -> pl.DataFrame:
        """What customers do with a message."""

    def live(self, until: dt.date, sends: pl.DataFrame, seed: int) -> Lived:
        """Let the days until then happen."""


@dataclass(frozen=True)
class CaughtMessage:
    """A message as a mail program sees it: its send, its pixel, its distinct links, its one-click address."""

    send_id: str
    pixel: str
    links: tuple[str, ...]
    unsubscribe: str


@dataclass(frozen=True)
class Simulated:
    """What a simulation did. `did` counts what people and machines did, `unreported` bounces and complaints untold."""

    messages: int
    unknown: int
    did: Mapping[str, int]
    requests: int
    refused: int
    unreported: int
    folded: FoldReport
    as_of: dt.date
    orders: int
    caused_orders: int


# --- messages ----------------------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """The pixel and the links of a message's HTML part."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "img" and found.get("src"):
            self.pictures.append(found["src"] or "")
        elif tag == "a" and found.get("href"):
            self.links.append(found["href"] or "")


def read_message(raw: bytes, public_url: str) -> CaughtMessage | None:
    """A caught message by the standard library's parser; None where it is none of a campaign's.

    SimulationError where its links do not lead to `public_url`.
    """
    message = BytesParser(policy=policy.default).parsebytes(raw)
    found = _MESSAGE_ID.match(str(message["Message-ID"] or "").strip())
    body = message.get_body(("html",))
    refusal = re.search(r"<(https?://[^>]+)>", str(message["List-Unsubscribe"] or ""))
    if found is None or body is None or refusal is None:
        return None
    page = _Page()
    page.feed(body.get_content())
    base = public_url.rstrip("/")
    pixel = next((url for url in page.pictures if url.startswith(f"{base}/o/")), "")
    links = tuple(dict.fromkeys(url for url in page.links if url.startswith(f"{base}/c/")))
    if not refusal[1].startswith(f"{base}/u/") or not pixel:
        parts = urlsplit(refusal[1])
        raise SimulationError(
            f"The caught messages lead to {parts.scheme}://{parts.netloc}, and delivery.public_url is {base}. Set it "
            "to where they lead, or empty HOME/inbox and send again."
        )
    return CaughtMessage(found[1], pixel, links, refusal[1])


def read_inbox(folder: Path, public_url: str) -> dict[str, CaughtMessage]:
    """The catcher's messages by send id; of one that was caught twice the first."""
    caught: dict[str, CaughtMessage] = {}
    for path in sorted(folder.glob("*.eml")):
        message = read_message(path.read_bytes(), public_url)
        if message is not None:
            caught.setdefault(message.send_id, message)
    return caught


# --- requests ----------------------------------------------------------------------------------------------------


def require_loopback(public_url: str) -> tuple[str, int]:
    """Host and port of the service. SimulationError where it is not on this machine, or not reached by http."""
    try:
        parts = urlsplit(public_url)
        host, port = parts.hostname or "", parts.port or 80
        is_here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = False
    if not is_here or parts.scheme != "http":
        raise SimulationError(
            f"delivery.public_url is {public_url}: the simulated audience asks this machine alone, by http. Set it to "
            "http://127.0.0.1:8080, and approve and send again."
        )
    return host, port


@dataclass
class Asker:
    """Makes requests to the service, each on a connection of its own."""

    host: str
    port: int
    requests: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    _has_networks: bool = True
    _open: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_OPEN_CONNECTIONS))

    async def ask(
        self, method: str, url: str, agent: str, network: str, *, body: bytes = b"", content_type: str = _FORM
    ) -> int:
        """The status of the answer. SimulationError where the service does not answer."""
        parts = urlsplit(url)
        if (parts.hostname, parts.port or 80) != (self.host, self.port):
            raise SimulationError(f"A link leads to {parts.netloc}, which is not the service. Nothing was asked there.")
        head = [f"{method} {parts.path or '/'} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
        head += [f"User-Agent: {agent}", "Accept: */*"]
        if method == "POST":
            head += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
        request = "\r\n".join([*head, "", ""]).encode("ascii") + body
        try:
            async with self._open:
                status = await asyncio.wait_for(self._exchange(request, network), _ANSWER_SECONDS)
        except (OSError, ValueError, IndexError, asyncio.IncompleteReadError, TimeoutError):
            raise SimulationError(
                f"The service at http://{self.host}:{self.port} stopped answering. Start it again (`segmentation "
                "serve`), then simulate again: no day has passed."
            ) from None
        self.requests += 1
        self.answers[status] += 1
        return status

    async def _exchange(self, request: bytes, network: str) -> int:
        reader, writer = await self._connect(network)
        try:
            writer.write(request)
            await writer.drain()
            first = await reader.readline()
            while await reader.read(65_536):
                pass
            return int(first.split(b" ", 2)[1])
        finally:
            writer.close()

    async def _connect(self, network: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._has_networks and self.host == "127.0.0.1":
            try:
                return await asyncio.open_connection(self.host, self.port, local_addr=(network, 0))
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EINVAL, errno.EPERM):
                    raise
                self._has_networks = False
        return await asyncio.open_connection(self.host, self.port)


def network_of(kind: str, number: int) -> str:
    """An address of the loopback in the network of a `kind`: home, carrier, proxy, scanner or provider."""
    if kind == "home":
        return f"127.{64 + number // 250 % 180}.{number % 250}.{1 + number % 200}"
    places = {"carrier": (1, 30), "google_image_proxy": (2, 4), "yahoo_proxy": (3, 2), "apple_mail_proxy": (4, 4)}
    second, many = places.get(kind, (5 if kind == "scanner" else 6, 5))
    return f"127.{second}.{number % many}.{1 + number % 250}"


# --- people and machines -----------------------------------------------------------------------------------------

Reaction = Mapping[str, Any]
Sleep = Callable[[float], Awaitable[None]]
Report = Callable[[str, str], Coroutine[Any, Any, None]]


@dataclass
class Audience:
    """Plays reactions (rows of `audience.REACTIONS` of the synthetic world) to messages.

    `seconds`: the time in which everybody begins to read. `report` tells the service of a bounce or complaint by
    (kind, send id); None leaves it out.
    """

    asker: Asker
    seconds: float
    report: Report | None = None
    sleep: Sleep = asyncio.sleep
    did: Counter[str] = field(default_factory=Counter)
    unreported: int = 0
    # Few scans at a time, or the links of one message would not come at once.
    _scans: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_SCANS_AT_ONCE))

    async def play(self, messages: Iterable[tuple[CaughtMessage, Reaction]]) -> None:
        """Everybody at once, each at their own pace. SimulationError where the service stops answering."""
        try:
            async with asyncio.TaskGroup() as group:
                for message, reaction in messages:
                    if reaction["bounce"]:
                        self.did[f"{reaction['bounce']} bounce"] += 1
                        group.create_task(self._tell(f"{reaction['bounce']}_bounce", message, reaction["place"]))
                        continue
                    if reaction["machine"] or reaction["is_prefetched"]:
                        group.create_task(self._machines(message, reaction))
                    if reaction["is_reading"] or reaction["leaves_by"] or reaction["is_complaining"]:
                        group.create_task(self._person(message, reaction))
        except ExceptionGroup as group_error:
            raise next(_leaves(group_error)) from None

    async def _machines(self, message: CaughtMessage, reaction: Reaction) -> None:
        # Machines look when a message arrives: early, and all of them.
        await self.sleep(reaction["haste"] * self.seconds * _MACHINE_SHARE)
        number = _number(message.send_id)
        if reaction["is_prefetched"]:
            self.did["prefetched by a proxy"] += 1
            await self._get(message.pixel, "apple_mail_proxy", network_of("apple_mail_proxy", number))
        if not reaction["machine"] or not message.links:
            return
        self.did["scanned"] += 1
        network = network_of("scanner", number)
        agent = "scanner" if number % 5 < 2 else "browser"  # most do not say what they are
        if reaction["machine"] == "single_scanner":
            await self._get(message.links[number % len(message.links)], agent, network)
            return
        async with self._scans:
            if reaction["machine"] == "head_scanner":
                await self.asker.ask("HEAD", message.links[0], _AGENTS[agent], network)
            urls = (*message.links, message.unsubscribe, *([message.pixel] if number % 2 else []))
            await asyncio.gather(*(self._get(url, agent, network) for url in urls))

    async def _person(self, message: CaughtMessage, reaction: Reaction) -> None:
        begin = reaction["place"] * self.seconds
        if reaction["machine"]:
            begin = max(begin, reaction["haste"] * self.seconds * _MACHINE_SHARE + AFTER_A_SCAN)
        await self.sleep(begin)
        number = _number(message.send_id)
        is_mobile = number % 20 < 11
        own = network_of("carrier", number) if is_mobile and number % 3 else network_of("home", number)
        if reaction["is_reading"]:
            self.did["read"] += 1
            reader = str(reaction["reader"])
            # Apple's proxy has the picture already.
            if not reaction["hides_pictures"] and not reaction["is_prefetched"]:
                network = network_of(reader, number) if reader in _PROXIES else own
                await self._get(message.pixel, reader, network)
        if reaction["is_clicking"] and message.links:
            self.did["clicked"] += 1
            agent = "mobile" if is_mobile else "browser"
            first = 0 if number % 100 < 55 else number % len(message.links)
            await self.sleep(2.5 + 6 * reaction["haste"])
            await self._get(message.links[first], agent, own)
            if reaction["is_clicking_twice"] and len(message.links) > 1:
                await self.sleep(4 + 6 * reaction["haste"])
                await self._get(message.links[(first + 1) % len(message.links)], agent, own)
        if reaction["leaves_by"]:
            self.did["unsubscribed"] += 1
            await self.sleep(2.0)
            await self._leave(message, str(reaction["leaves_by"]), own, number)
        if reaction["is_complaining"]:
            self.did["complained"] += 1
            await self._tell("complaint", message, 0.0)

    async def _leave(self, message: CaughtMessage, by: str, own: str, number: int) -> None:
        if by == "page":
            await self._get(message.unsubscribe, "browser", own)
            await self.sleep(2.0)
            await self.asker.ask("POST", message.unsubscribe, _AGENTS["browser"], own, body=b"unsubscribe=yes")
            return
        network = network_of("provider", number)
        await self.asker.ask("POST", message.unsubscribe, _AGENTS["mail_client"], network, body=_ONE_CLICK)

    async def _tell(self, kind: str, message: CaughtMessage, place: float) -> None:
        await self.sleep(place * self.seconds)
        if self.report is None:
            self.unreported += 1
        else:
            await self.report(kind, message.send_id)

    async def _get(self, url: str, agent: str, network: str) -> None:
        await self.asker.ask("GET", url, _AGENTS[agent], network)


def mailgun_report(asker: Asker, secret: str, clock: Clock, machine: Clock) -> Report:
    """What reports a bounce or complaint to the service as Mailgun does, signed with `secret`.

    The event is of the world's time, the signature of the machine's. SimulationError where the service refuses it.
    """
    told: Mapping[str, Mapping[str, Any]] = {
        "hard_bounce": {"event": "failed", "severity": "permanent", "delivery-status": {"enhanced-code": "5.1.1"}},
        "soft_bounce": {"event": "failed", "severity": "temporary"},
        "complaint": {"event": "complained"},
    }

    async def report(kind: str, send_id: str) -> None:
        stamp = str(int(_seconds(machine())))
        token = uuid.uuid4().hex
        signature = hmac.new(secret.encode(), f"{stamp}{token}".encode(), hashlib.sha256).hexdigest()
        event = {
            **told[kind], "id": f"simulated-{kind}-{send_id}", "timestamp": _seconds(clock()),
            "user-variables": {"send_id": send_id},
        }  # fmt: skip
        body = {"signature": {"timestamp": stamp, "token": token, "signature": signature}, "event-data": event}
        url = f"http://{asker.host}:{asker.port}/webhooks/mailgun"
        status = await asker.ask(
            "POST", url, "mailgun/treq-17.6.0", network_of("provider", 0), body=json.dumps(body).encode(),
            content_type="application/json",
        )  # fmt: skip
        if status != 200:
            why = "does not expect reports of Mailgun" if status == 404 else f"refused a report of Mailgun ({status})"
            raise SimulationError(
                f"The service {why}. Start it with the same {SECRET_NAMES['mailgun']} as this command, or unset it "
                "here to leave bounces and complaints out."
            )

    return report


# --- the whole ---------------------------------------------------------------------------------------------------


def simulate(
    place: Home,
    settings: Settings,
    store: StateStore,
    world: World,
    *,
    days: int,
    seed: int,
    machine: Clock,
    seconds: float | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Simulated:
    """Play the audience of every caught message that was not played yet, then let `days` days pass.

    `seconds` is the time in which people begin to read; a 25th of a second for each message when not given.
    SimulationError for any other source, without new messages, and where the service does not answer; until the days
    pass everything can be done again.
    """
    if settings.source.name != "synthetic":
        raise SimulationError(
            f"This HOME holds the source {settings.source.name!r}. Only the synthetic world has a simulated audience; "
            "people of a real source answer themselves."
        )
    host, port = require_loopback(settings.delivery.public_url)
    clock = _caught_up(store, settings, world.as_of, machine)
    inbox = place.path / INBOX
    known_before = world.played()
    base = settings.delivery.public_url
    caught = {name: message for name, message in read_inbox(inbox, base).items() if name not in known_before}
    if not caught:
        raise SimulationError(
            f"There is no message in {inbox} that was not answered yet. `segmentation catcher`, then `segmentation "
            "send CAMPAIGN --live` with delivery.transport = catcher, bring some."
        )
    now = clock()
    sends = _sends(store, caught, now)
    known = sends.filter("is_caught")
    if not known.height:
        raise SimulationError(
            f"None of the {len(caught):,} messages in {inbox} was sent from this HOME. Empty the folder and send again."
        )
    until = max(world.as_of, now.date() - dt.timedelta(days=1)) + dt.timedelta(days=days)
    if until > world.last_day:
        raise SimulationError(
            f"The synthetic world goes on until {world.last_day} at most, and {days} more days lead to {until}. "
            "Simulate fewer, or begin anew in another HOME."
        )
    reactions = pl.concat(
        world.react(str(campaign), mine["customer_id"], seed).join(mine, on="customer_id")
        for (campaign,), mine in known.group_by("campaign_id", maintain_order=True)
    )
    asker = Asker(host, port)
    span = max(FEWEST_SECONDS, reactions.height / MESSAGES_PER_SECOND) if seconds is None else seconds
    secret = os.environ.get(SECRET_NAMES["mailgun"], "").strip()
    audience = Audience(asker, span, mailgun_report(asker, secret, clock, machine) if secret else None)
    takes = max(span, span * _MACHINE_SHARE + AFTER_A_SCAN) + 15
    tell(f"{reactions.height:,} messages are answered, for about {takes:.0f} s")
    asyncio.run(_play(audience, [(caught[row["send_id"]], row) for row in reactions.iter_rows(named=True)]))
    folded = fold_spool(place.spool, store)
    tell(f"the days until {until} pass")
    lived = world.live(until, sends, seed)
    let_time_pass(store, dt.timedelta(days=days))
    refused = sum(count for status, count in asker.answers.items() if status >= 400)
    return Simulated(
        reactions.height, len(caught) - known.height, dict(audience.did), asker.requests, refused, audience.unreported,
        folded, lived.as_of, lived.orders, lived.caused_orders,
    )  # fmt: skip


async def _play(audience: Audience, messages: list[tuple[CaughtMessage, Reaction]]) -> None:
    asker = audience.asker
    base = f"http://{asker.host}:{asker.port}"
    try:
        reader, writer = await asyncio.open_connection(asker.host, asker.port)
        writer.close()
        del reader
    except OSError:
        raise SimulationError(
            f"Nothing answers at {base}. Start `segmentation serve` with the same --home and the port of "
            "delivery.public_url, and simulate again."
        ) from None
    first = next((message for message, _ in messages if message.links), None)
    # HEAD is no event, and tells whether the service knows the links.
    if first and await asker.ask("HEAD", first.links[0], _AGENTS["browser"], network_of("home", 0)) != 302:
        raise SimulationError(
            f"The service at {base} does not know the links of these messages: it serves another HOME. Start "
            "`segmentation serve` with this one's --home."
        )
    await audience.play(messages)


def _sends(store: StateStore, caught: Mapping[str, CaughtMessage], now: dt.datetime) -> pl.DataFrame:
    """Everybody in the campaigns of the caught messages (the columns of the synthetic world's SENDS)."""
    sends = read_delivery_tables(store).sends
    is_caught = pl.col("send_id").is_in(list(caught))
    return (
        sends.with_columns(is_caught=is_caught)
        .filter(pl.col("is_caught").any().over("campaign_id"))
        .with_columns(reached_at=pl.when("is_caught").then(pl.col("finished_at").fill_null(now)))
        .select(
            "send_id", "campaign_id", "customer_id", "arm", "is_caught", pl.col("reached_at").cast(pl.Datetime("us"))
        )
    )


def _caught_up(store: StateStore, settings: Settings, as_of: dt.date, machine: Clock) -> Clock:
    """The world's clock, not behind its days: a simulation that was killed at its very end left it standing."""
    clock = open_clock(store, settings.source.name, settings.synthetic.as_of, machine)
    morning = dt.datetime.combine(as_of + dt.timedelta(days=1), MORNING)
    behind = morning - clock()
    if behind > dt.timedelta(seconds=1):
        let_time_pass(store, behind)
        return open_clock(store, settings.source.name, settings.synthetic.as_of, machine)
    return clock


def _number(send_id: str) -> int:
    return int(send_id[:8], 16)


def _seconds(moment: dt.datetime) -> float:
    return moment.replace(tzinfo=dt.UTC).timestamp()


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
