"""What the service is made of, and what it is told by the environment.

What belongs here: the parts handed to the routes, the secrets' names, the link registry and the rate limit. What does
not: routes. Everything is opened by the caller (`server`) and handed in.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import hmac
import ipaddress
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from segmentation_assets.delivery.clock import Clock, system_clock
from segmentation_assets.delivery.events import network_hash, user_agent_family
from segmentation_assets.delivery.keys import SecretKey
from segmentation_assets.delivery.spool import SpoolError, SpoolWriter
from segmentation_assets.delivery.tokens import TokenSigner
from segmentation_assets.delivery.webhooks import SECRET_NAMES, CertificateLoader, Provider, WebhookReader
from segmentation_assets.segmentation.spec import AxisSpec
from segmentation_assets.service.published import PublishedReader
from segmentation_assets.state.events import MessageEvent, campaigns_of, links_of
from segmentation_assets.state.store import StateStore

ENV_API_KEYS = "SEGMENTATION_API_KEYS"
#: Every variable that the service reads; none of them is a setting.
SECRET_VARIABLES = (ENV_API_KEYS, *SECRET_NAMES.values())
#: Most customers that are assigned in one request.
MOST_ROWS = 1_000
_SHORTEST_KEY = 20
_MOST_SENDS = 200_000
_GATHER_SECONDS = 0.01
_Links = dict[str, tuple[str, ...]]

logger = logging.getLogger("segmentation.service")


class ServiceConfigError(ValueError):
    """The service cannot start as it is told to."""


@dataclass(frozen=True)
class ServiceSecrets:
    """Secrets of the environment; they never show themselves."""

    api_keys: tuple[str, ...] = field(default=(), repr=False)
    providers: Mapping[Provider, str] = field(default_factory=dict, repr=False)

    @staticmethod
    def from_environment(environment: Mapping[str, str]) -> ServiceSecrets:
        """The secrets that are set. ServiceConfigError for an API key that could be guessed."""
        keys = tuple(key.strip() for key in environment.get(ENV_API_KEYS, "").split(",") if key.strip())
        if any(len(key) < _SHORTEST_KEY for key in keys):
            raise ServiceConfigError(
                f"{ENV_API_KEYS} holds a key of fewer than {_SHORTEST_KEY} characters. "
                "`python -c 'import secrets; print(secrets.token_urlsafe(32))'` makes a good one."
            )
        providers = {
            provider: environment[name].strip()
            for provider, name in SECRET_NAMES.items()
            if environment.get(name, "").strip()
        }
        return ServiceSecrets(keys, providers)


@dataclass(frozen=True)
class Parts:
    """Everything the routes use.

    `clock` stamps events (naive UTC, the home's own time); `machine` is the time of signatures. `specs`: the axes as
    the settings make them, for assigning. `trusted_proxies`: networks whose X-Forwarded-For is believed.
    """

    store: StateStore
    key: SecretKey
    spool: SpoolWriter
    clock: Clock
    published: PublishedReader
    specs: Mapping[str, AxisSpec]
    shop_name: str
    secrets: ServiceSecrets = field(default_factory=ServiceSecrets)
    trusted_proxies: Sequence[str] = ()
    certificate: CertificateLoader = lambda _: None
    machine: Clock = system_clock
    api_rate: float = 20.0
    api_burst: int = 40


class Service:
    """The parts at work: tokens read, links looked up, events kept."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.signer = TokenSigner(parts.key)
        self.links = LinkRegistry(parts.store)
        self.limits = RateLimits(parts.api_rate, parts.api_burst)
        self.webhooks = WebhookReader(parts.secrets.providers, parts.key, parts.machine, parts.certificate)
        self.lost = 0
        self._proxies = tuple(_network(text) for text in parts.trusted_proxies)
        self._api_keys = tuple(hashlib.sha256(key.encode()).digest() for key in parts.secrets.api_keys)

    def keep(self, events: Sequence[MessageEvent]) -> None:
        """Write events to the spool. SpoolError where that fails; then none of them is kept."""
        self.parts.spool.append([event.to_json() for event in events])

    def keep_if_possible(self, event: MessageEvent) -> None:
        """Write an event whose answer does not depend on it: a reader gets their page from a full disk too."""
        try:
            self.keep([event])
        except SpoolError as error:
            self.lost += 1
            if self.lost.bit_count() == 1:  # the 1st, 2nd, 4th, 8th: a full disk must not fill the log
                logger.error("%s Opens and clicks not kept so far: %d.", error, self.lost)

    def who(self, peer: str, headers: Headers) -> tuple[str, str]:
        """Family of the user agent and keyed hash of the network of whoever asks."""
        # A proxy may add a header of its own below one that the client wrote: all of them are one list.
        address = self._client(peer, ",".join(headers.getlist("x-forwarded-for")))
        return user_agent_family(headers.get("user-agent", "")), network_hash(self.parts.key, address)

    def _client(self, peer: str, forwarded: str) -> str:
        """The nearest address that is no trusted proxy: what stands further left anybody could have written."""
        hops = [peer, *reversed([hop.strip() for hop in forwarded.split(",") if hop.strip()])]
        for hop in hops[:-1]:
            if not self._is_trusted(hop):
                return hop
        return hops[-1]

    def _is_trusted(self, hop: str) -> bool:
        try:
            address = ipaddress.ip_address(hop)
        except ValueError:
            return False
        return any(address.version == network.version and address in network for network in self._proxies)

    @property
    def has_api_keys(self) -> bool:
        """Whether anybody can be let into the data API."""
        return bool(self._api_keys)

    def api_key(self, offered: str) -> int | None:
        """The number of the key that was offered, None for none of ours. All are compared, each in constant time."""
        digest = hashlib.sha256(offered.encode("utf-8", "surrogateescape")).digest()
        same = [hmac.compare_digest(digest, key) for key in self._api_keys]
        return same.index(True) if True in same else None


class LinkRegistry:
    """Where links lead: the registry of the campaign that a send belongs to, frozen when it was approved.

    A look into the state store costs milliseconds, so the sends that are asked for within `_GATHER_SECONDS` are looked
    up together: under load each costs a fraction. To be used in one event loop.
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._campaigns: OrderedDict[str, str] = OrderedDict()
        self._links: dict[str, tuple[str, ...]] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def target(self, send_id: str, link: int) -> str | None:
        """The target of a send's link; None where there is no such send or link, or it is no https address.

        SQLAlchemyError where the state store cannot be read.
        """
        if send_id not in self._campaigns:
            waiting = self._waiting.get(send_id)
            if waiting is None:
                waiting = self._waiting[send_id] = asyncio.get_running_loop().create_future()
                if self._task is None or self._task.done():
                    self._task = asyncio.create_task(self._look_up())
            await asyncio.shield(waiting)
        links = self._links.get(self._campaigns.get(send_id, ""), ())
        return safe_target(links[link]) if link < len(links) else None

    async def _look_up(self) -> None:
        while self._waiting:
            await asyncio.sleep(_GATHER_SECONDS)
            asked, self._waiting = self._waiting, {}
            try:
                campaigns, links = await run_in_threadpool(self._read, tuple(asked), frozenset(self._links))
            except SQLAlchemyError as error:
                for waiting in asked.values():
                    waiting.set_exception(error)
                continue
            self._links |= links
            self._campaigns |= campaigns
            for waiting in asked.values():
                waiting.set_result(None)
            while len(self._campaigns) > _MOST_SENDS:
                self._campaigns.popitem(last=False)

    def _read(self, send_ids: tuple[str, ...], known: frozenset[str]) -> tuple[dict[str, str], _Links]:
        campaigns = campaigns_of(self._store, send_ids)
        links = {campaign: links_of(self._store, campaign) for campaign in set(campaigns.values()) - known}
        return campaigns, {campaign: found for campaign, found in links.items() if found is not None}


def safe_target(url: str) -> str | None:
    """The address as it may stand in a Location header; None for one that is not https to a host, or hides one."""
    if any(not character.isprintable() or character in ' \\"<>' for character in url):
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    if parts.scheme != "https" or not parts.hostname or parts.username is not None or not parts.netloc.isascii():
        return None
    return quote(url, safe="%/:=&?~#+!$,;'@()*[]")


class RateLimits:
    """A token bucket per key: `rate` requests a second on average, `burst` at once."""

    def __init__(self, rate: float, burst: int, seconds: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._seconds = seconds
        self._guard = threading.Lock()
        self._filled: dict[int, tuple[float, float]] = {}

    def wait(self, key: int) -> float:
        """0 where a request of this key may pass (it is counted), else the seconds to wait."""
        now = self._seconds()
        with self._guard:
            left, since = self._filled.get(key, (float(self._burst), now))
            left = min(float(self._burst), left + (now - since) * self._rate)
            if left < 1:
                self._filled[key] = (left, now)
                return (1 - left) / self._rate
            self._filled[key] = (left - 1, now)
            return 0.0


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ServiceConfigError(
            f"{text!r} is no address or network of a proxy. Give one like 10.0.0.0/8 or 192.0.2.7."
        ) from None


def utc(moment: dt.datetime) -> str:
    """A naive UTC time for readers."""
    return moment.isoformat(timespec="seconds") + "Z"
