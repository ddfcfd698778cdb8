"""What holds for every request: how large it may be, how long it may take to arrive, and the headers of every answer.

What belongs here: ASGI middleware. What does not: anything that knows a route's meaning.
"""

from __future__ import annotations

import asyncio
import json

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SMALL_BODY = 64 * 1024
LARGE_BODY = 1024 * 1024
_LARGE_PATHS = ("/webhooks/", "/api/")
_BODY_SECONDS = 15.0
#: Headers of every answer, unless a route says otherwise.
SECURITY_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-robots-tag": "noindex, nofollow",
}


class Guard:
    """Reads a body up to its limit before the route sees it, and sets the security headers of every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; what is no HTTP passes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, guarded)
            return
        is_large = scope["path"].startswith(_LARGE_PATHS)
        limit = LARGE_BODY if is_large else SMALL_BODY
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                body = await _read(scope, receive, limit)
        except TimeoutError:
            words = f"The request took longer than {_BODY_SECONDS:g} seconds to arrive."
            await _refuse(scope, guarded, 408, words)
            return
        if body is None:
            await _refuse(scope, guarded, 413, f"The request is larger than {limit // 1024:,} kB, the most taken here.")
            return
        left = [body]

        async def replayed() -> Message:
            if left:
                return {"type": "http.request", "body": left.pop(), "more_body": False}
            return await receive()

        await self._app(scope, replayed, guarded)


async def _read(scope: Scope, receive: Receive, limit: int) -> bytes | None:
    """The whole body; None where it is larger than `limit` says or turns out to be."""
    told = Headers(scope=scope).get("content-length", "")
    if told.isascii() and told.isdigit() and int(told) > limit:
        return None
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)  # the client has gone; the route finds what there is
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if not message.get("more_body", False):
            return bytes(body)


async def _refuse(scope: Scope, send: Send, status: int, words: str) -> None:
    is_json = scope["path"].startswith(_LARGE_PATHS)
    body = json.dumps({"detail": words}).encode() if is_json else f"{words}\n".encode()
    kind = b"application/json" if is_json else b"text/plain; charset=utf-8"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
