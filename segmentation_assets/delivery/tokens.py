"""Tokens of links, pixels and refusals: short, signed, and good for one purpose alone.

What belongs here: making and reading tokens. What does not: what a token allows (`service`).
A token is kind (1 byte), send id (16), link number (2) and the first 12 bytes of an HMAC-SHA256 over them, in URL-safe
base64 without padding: 42 characters.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import overload

from segmentation_assets.delivery.keys import SecretKey
from segmentation_assets.messaging.content import MessageUrls

_MAC_BYTES = 12
_BODY_BYTES = 1 + 16 + 2
TOKEN_LENGTH = 42
_SHAPE = re.compile(rf"[A-Za-z0-9_-]{{{TOKEN_LENGTH}}}")


class TokenKind(IntEnum):
    """What a token is for."""

    OPEN = 1
    CLICK = 2
    UNSUBSCRIBE = 3


@dataclass(frozen=True)
class Token:
    """A token that was read and is genuine."""

    kind: TokenKind
    send_id: str
    link: int = 0


class TokenSigner:
    """Makes and reads the tokens of one HOME."""

    def __init__(self, key: SecretKey) -> None:
        self._key = key.derive("tokens")

    def make(self, kind: TokenKind, send_id: str, link: int = 0) -> str:
        """The token, 42 characters of the URL-safe alphabet. ValueError for no uuid or a link outside 0 to 65535."""
        if not 0 <= link <= 0xFFFF:
            raise ValueError(f"A link has a number of 0 to 65535; this one is {link}.")
        body = bytes([kind]) + uuid.UUID(send_id).bytes + link.to_bytes(2, "big")
        return base64.urlsafe_b64encode(body + self._mac(body)).rstrip(b"=").decode()

    def read(self, text: str, kind: TokenKind) -> Token | None:
        """The token's content; None for anything that this key did not sign for this very purpose."""
        if not _SHAPE.fullmatch(text):
            return None
        try:
            raw = base64.b64decode(text + "==", altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        body, mac = raw[:_BODY_BYTES], raw[_BODY_BYTES:]
        # Two texts can stand for the same bytes, because the last character has bits to spare: only one is genuine.
        is_canonical = base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == text
        if not hmac.compare_digest(mac, self._mac(body)) or body[0] != kind or not is_canonical:
            return None
        return Token(kind, str(uuid.UUID(bytes=body[1:17])), int.from_bytes(body[17:], "big"))

    def _mac(self, body: bytes) -> bytes:
        return hmac.new(self._key, body, hashlib.sha256).digest()[:_MAC_BYTES]


@dataclass(frozen=True)
class _Links(Sequence[str]):
    """The links of a message by number, each signed when it is asked for."""

    signer: TokenSigner
    base: str
    send_id: str
    known: int

    def __len__(self) -> int:
        return self.known

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> tuple[str, ...]: ...
    def __getitem__(self, number: int | slice) -> str | tuple[str, ...]:
        if isinstance(number, slice):
            return tuple(self[each] for each in range(*number.indices(self.known)))
        if not 0 <= number < self.known:
            raise IndexError(f"The message has links 0 to {self.known - 1}; there is no {number}.")
        return f"{self.base}/c/{self.signer.make(TokenKind.CLICK, self.send_id, number)}"


def message_urls(signer: TokenSigner, public_url: str, send_id: str, links: int) -> MessageUrls:
    """Where the pixel, `links` numbered links and the unsubscribe page of a send are.

    A link is signed when it is asked for: a campaign may know hundreds, of which a message shows a few.
    """
    base = public_url.rstrip("/")
    return MessageUrls(
        pixel=f"{base}/o/{signer.make(TokenKind.OPEN, send_id)}.gif",
        links=_Links(signer, base, send_id, links),
        unsubscribe=f"{base}/u/{signer.make(TokenKind.UNSUBSCRIBE, send_id)}",
    )
