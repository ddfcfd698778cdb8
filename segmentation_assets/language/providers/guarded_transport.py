"""The last wall before the socket: what leaves, where to, and how much may come back.

What belongs here: the transport that shows every outgoing byte to the privacy wall, sends a key to its own server only
and nothing to any other, and the client that is built on it. What does not: what is personal (`privacy_wall`), and
what is asked (`attempt`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING
from urllib.request import getproxies, proxy_bypass

import httpx2

from segmentation_assets.language.task import LanguageConfigurationError, OutageError, PrivacyWallError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

#: Why these bytes may not leave; None when they may.
Wall = Callable[[bytes], str | None]

#: All headers that leave, with the key. The SDK would add the machine's platform, and the organisation and further
#: headers of OPENAI_* variables, whoever the server is.
_SENT_HEADERS = ("host", "accept", "content-type", "content-length", "user-agent", "connection")
#: A reply of a few thousand tokens is some 20 kB; what is longer is no reply.
LONGEST_REPLY_BYTES = 2_000_000


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Shows each request to `wall` before `inner` sees it.

    inner: the transport with the sockets. wall: returns the reason to block in words, or None; no wall, no check.
    base_url: of the one server that requests may go to. key: sent to it as bearer token; empty sends none.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, wall: Wall | None, *, base_url: str, key: str = "") -> None:
        self._inner = inner
        self._wall = wall
        self._origin = _origin(httpx2.URL(base_url))
        self._key = key

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response; PrivacyWallError when the wall, or another server than the own, forbids the request."""
        if _origin(request.url) != self._origin:
            raise PrivacyWallError("A request to another server than language.base_url was about to leave.")
        body = await request.aread()
        headers = [(name, value) for name in _SENT_HEADERS if (value := request.headers.get(name)) is not None]
        # A compressed reply could be small on the way and unbounded in memory.
        headers.append(("accept-encoding", "identity"))
        if self._wall is not None:
            head = "".join(f"{name}: {value}\n" for name, value in headers)
            shown = f"{request.method} {request.url}\n{head}\n".encode() + body
            if (reason := self._wall(shown)) is not None:
                raise PrivacyWallError(reason)
        if self._key:
            headers.append(("authorization", f"Bearer {self._key}"))
        guarded = httpx2.Request(
            request.method, request.url, headers=headers, content=body, extensions=request.extensions
        )
        response = await self._inner.handle_async_request(guarded)
        if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
            await response.aclose()
            raise OutageError("bad_reply", "The server compressed its reply, which was not asked for.")
        response.stream = _BoundedStream(response.stream)
        return response

    async def aclose(self) -> None:
        """Close the sockets."""
        await self._inner.aclose()


class _BoundedStream(httpx2.AsyncByteStream):
    """The stream of a reply, cut where no reply is that long."""

    def __init__(self, inner: httpx2.AsyncByteStream | httpx2.SyncByteStream) -> None:
        if not isinstance(inner, httpx2.AsyncByteStream):
            raise TypeError("An asynchronous transport answered with a synchronous stream.")
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        async for chunk in self._inner:
            received += len(chunk)
            if received > LONGEST_REPLY_BYTES:
                raise OutageError("bad_reply", f"The reply is longer than {LONGEST_REPLY_BYTES:,} bytes.")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


def guarded_client(base_url: str, key: str, wall: Wall | None) -> AsyncOpenAI:
    """A client of one server: no retries, no redirects, no deadline of its own (`asyncio.timeout` is the caller's).

    LanguageConfigurationError for an address or a key that cannot be one.
    """
    from openai import AsyncOpenAI

    url = _checked_url(base_url)
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise LanguageConfigurationError(
            "The key holds a space, a line break or a letter that no key has: check the environment variable it is in."
        )
    try:
        inner = httpx2.AsyncHTTPTransport(proxy=_proxy_of(url), trust_env=not is_this_machine(url.host))
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        raise LanguageConfigurationError(
            f"The proxy of the environment cannot be used for {shown_address(base_url)}: set NO_PROXY to its host, "
            "or HTTPS_PROXY to an http address."
        ) from error
    transport = GuardedTransport(inner, wall, base_url=base_url, key=key)
    http_client = httpx2.AsyncClient(transport=transport, follow_redirects=False, timeout=None, trust_env=False)
    # The transport sets the key itself; given none here, the SDK would take OPENAI_API_KEY for whatever server.
    return AsyncOpenAI(api_key="none", base_url=base_url, max_retries=0, timeout=None, http_client=http_client)


def is_this_machine(host: str) -> bool:
    """Whether a host is the machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def shown_address(base_url: str) -> str:
    """A server's address for a message: without user, password, query and fragment."""
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL:
        return "this address"
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}{f':{url.port}' if url.port else ''}{url.path}"


def _checked_url(base_url: str) -> httpx2.URL:
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL:
        url = httpx2.URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise LanguageConfigurationError(
            "language.base_url is no address of a server: set one such as http://127.0.0.1:11434/v1."
        )
    return url


def _proxy_of(url: httpx2.URL) -> str | None:
    """The environment's proxy for a server; none for this machine, where a proxy could not reach it."""
    if is_this_machine(url.host) or proxy_bypass(url.host):
        return None
    proxies = getproxies()
    return proxies.get(url.scheme) or proxies.get("all")


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
