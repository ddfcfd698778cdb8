"""The secret key of a HOME: tokens, address hashes and draws are made with keys derived from it.

What belongs here: making, reading and deriving keys, keyed hashes, and the key that signs messages (DKIM). What does
not: what is hashed and signed, and why.
The key is in HOME/secret.key (mode 0600) or in SEGMENTATION_SECRET_KEY; the state store holds its fingerprint alone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from segmentation_assets.settings import Settings, SettingsError
from segmentation_assets.state.store import StateStore
from segmentation_assets.state.values import get_value, put_value_once

if TYPE_CHECKING:
    from segmentation_assets.messaging.dkim_signing import DkimSigner

ENV_KEY = "SEGMENTATION_SECRET_KEY"
KEY_BYTES = 32
_FINGERPRINT = "secret_key_fingerprint"


class KeyMismatchError(ValueError):
    """The key is not the one this HOME's tokens and hashes were made with, or it cannot be used."""


@dataclass(frozen=True)
class SecretKey:
    """The key; it never shows itself in a representation, a message or a log."""

    _key: bytes = field(repr=False)

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose; keys of two purposes tell nothing about each other (HMAC-SHA256)."""
        return hmac.new(self._key, purpose.encode(), hashlib.sha256).digest()

    def hashed(self, purpose: str, values: Iterable[str]) -> list[str]:
        """Keyed hash of each value, 32 hexadecimal characters: the same value and purpose give the same hash."""
        key = self.derive(purpose)
        return [
            hashlib.blake2b(value.encode("utf-8", "surrogatepass"), key=key, digest_size=16).hexdigest()
            for value in values
        ]

    def hash_address(self, address: str) -> str:
        """Keyed hash of a normalised e-mail address."""
        return self.hashed("address", [address])[0]

    def hash_customer(self, customer_id: str) -> str:
        """Keyed hash of a customer's id, for those who are forgotten."""
        return self.hashed("customer", [customer_id])[0]

    def for_samples(self) -> SecretKey:
        """A key whose tokens are good for nothing: messages to look at must not click or unsubscribe for anybody."""
        return SecretKey(self.derive("samples"))

    @property
    def fingerprint(self) -> str:
        """What is stored to know the key again; it tells nothing about the key."""
        return self.derive("fingerprint").hex()[:32]


def open_key(path: Path, store: StateStore, *, create: bool = True) -> SecretKey:
    """The key of this HOME: of the environment, else of `path`, else (with `create`) a new one written there.

    KeyMismatchError where its fingerprint is not the stored one: a restored backup, or another key. Hashes made with
    it would not know those who refused, so nothing may be sent.
    """
    given = os.environ.get(ENV_KEY, "").strip()
    known = get_value(store, _FINGERPRINT)
    if given:
        key = _read(given, ENV_KEY)
    elif path.exists():
        if path.stat().st_mode & 0o077:
            raise KeyMismatchError(
                f"{path.name} in HOME can be read by others on this machine. `chmod 600` it, and think about a new key."
            )
        key = _read(path.read_text("ascii", "replace"), path.name)
    elif known is not None or not create:
        raise KeyMismatchError(
            f"The secret key is gone: {path.name} is not in HOME and {ENV_KEY} is not set. Bring it back from a "
            "backup: without it nobody can be recognised who unsubscribed, so nothing is sent."
        )
    else:
        key = _create(path)
    stored = put_value_once(store, _FINGERPRINT, key.fingerprint)
    if stored != key.fingerprint:
        raise KeyMismatchError(
            "The secret key is not the one this HOME was begun with, so nobody would be recognised who unsubscribed, "
            f"and nothing is sent. Bring back the {path.name} (or {ENV_KEY}) that belongs to this state store."
        )
    return key


def _read(text: str, where: str) -> SecretKey:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyMismatchError(f"{where} holds no key: {KEY_BYTES} bytes in base64 are expected.")
    return SecretKey(key)


def _create(path: Path) -> SecretKey:
    """Write a new key with mode 0600; where another process was faster, its key is read."""
    text = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)  # fails where the file is there already, unlike a rename
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return _read(path.read_text("ascii"), path.name)


def dkim_signer(settings: Settings) -> DkimSigner | None:
    """The signer the settings name; None where they name none. SettingsError where the key cannot be read."""
    sender = settings.sender
    if not sender.dkim_domain:
        return None
    from segmentation_assets.messaging.dkim_signing import DkimSigner

    try:
        pem = Path(sender.dkim_key_file).expanduser().read_bytes()
    except OSError as error:
        raise SettingsError(f"sender.dkim_key_file cannot be read ({error.strerror}), so nothing was sent.") from None
    return DkimSigner(sender.dkim_domain, sender.dkim_selector, pem)
