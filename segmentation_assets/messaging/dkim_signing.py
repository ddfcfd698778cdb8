"""DKIM: the signature of the shop's domain over a message (RFC 6376), made with dkimpy's
canonical forms.

What belongs here: reading the key and signing. What does not: publishing the public key in the DNS, which the shop's
administrator does. The key is never part of an error's text.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import dkim  # type: ignore[import-untyped]
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from dkim.canonicalization import CanonicalizationPolicy  # type: ignore[import-untyped]

#: Headers that are signed. RFC 8058 asks for both List-Unsubscribe headers; From twice keeps a second one out.
SIGNED_HEADERS: tuple[str, ...] = (
    "From", "From", "To", "Reply-To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type",
    "List-Unsubscribe", "List-Unsubscribe-Post", "List-ID", "Feedback-ID",
)  # fmt: skip
_SIGNED = tuple(name.lower().encode() for name in SIGNED_HEADERS)
#: Least bits of an RSA key (RFC 8301, 3.2).
LEAST_KEY_BITS = 1024
_LARGEST_KEY_FILE = 20_000
_NO_KEY = "The DKIM key is no private RSA key in PEM (-----BEGIN PRIVATE KEY-----): mend [sender] dkim_key_file."
_DOMAIN = re.compile(r"(?=.{4,253}$)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9-]{2,63}")
_SELECTOR = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


class DkimError(ValueError):
    """A message cannot be signed; the sentence says what to mend and never holds the key."""


class DkimSigner:
    """Signs messages for one domain and selector, rsa-sha256, relaxed/relaxed."""

    def __init__(self, domain: str, selector: str, private_key_pem: bytes | str) -> None:
        """`private_key_pem` is an RSA key, PKCS#1 or PKCS#8, without a password. DkimError when it is not."""
        if not _DOMAIN.fullmatch(domain):
            raise DkimError("The DKIM domain is a domain name in ASCII, as in shop.example: mend [sender] dkim_domain.")
        if not _SELECTOR.fullmatch(selector):
            raise DkimError(
                "The DKIM selector is the name before ._domainkey in the DNS, as in mail2026: mend [sender] "
                "dkim_selector."
            )
        self.domain, self.selector = domain, selector
        pem = private_key_pem.encode("utf-8", "replace") if isinstance(private_key_pem, str) else private_key_pem
        pem = pem.replace(b"\r\n", b"\n").strip() + b"\n"
        if b"ENCRYPTED" in pem:
            raise DkimError("The DKIM key has a password: store it without one, readable by its owner alone.")
        if b"PUBLIC KEY" in pem:
            raise DkimError("The DKIM key is the public one: that belongs into the DNS, the private one here.")
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise DkimError(_NO_KEY) from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise DkimError(_NO_KEY)
        if key.key_size < LEAST_KEY_BITS:
            raise DkimError(
                f"The DKIM key has {key.key_size} bits; receivers refuse fewer than {LEAST_KEY_BITS}: use 2048."
            )
        self._key = key
        self._policy = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")

    @staticmethod
    def from_file(domain: str, selector: str, path: Path) -> DkimSigner:
        """A signer with the key of a file. DkimError when the file is missing, unreadable or no key."""
        try:
            with path.open("rb") as file:
                pem = file.read(_LARGEST_KEY_FILE)
        except OSError as error:
            raise DkimError(
                f"The DKIM key file {path} cannot be read ({error.strerror}): mend [sender] dkim_key_file."
            ) from None
        return DkimSigner(domain, selector, pem)

    def signature(self, message: bytes) -> bytes:
        """The header DKIM-Signature of `message` (CRLF), to be put before it.

        Without the tag t=: it would be the machine's clock, and the same message is to give the same bytes.
        """
        headers, body = dkim.rfc822_parse(message)
        there = {name.lower() for name, _ in headers}
        signed = [name for name in _SIGNED if name in there]
        body_hash = base64.b64encode(hashlib.sha256(self._policy.canonicalize_body(body)).digest())
        tags = b"v=1; a=rsa-sha256; c=relaxed/relaxed; d=%b; q=dns/txt;\r\n s=%b;\r\n h=%b;\r\n bh=%b;\r\n b=" % (
            self.domain.encode(), self.selector.encode(), b":\r\n  ".join(_in_lines(signed)), body_hash,
        )  # fmt: skip
        hashed = hashlib.sha256()
        own = (b"DKIM-Signature", b" " + tags)
        dkim.hash_headers(hashed, self._policy, self._policy.canonicalize_headers(headers), signed, own, {})
        # dkimpy's own arithmetic takes 7 ms a message in Python; the same signature by OpenSSL takes under 1 ms.
        made = base64.b64encode(self._key.sign(hashed.digest(), padding.PKCS1v15(), Prehashed(hashes.SHA256())))
        chunks = [made[place : place + 72] for place in range(0, len(made), 72)]
        return b"DKIM-Signature: " + tags + b"\r\n  ".join(chunks) + b"\r\n"


def _in_lines(names: list[bytes]) -> list[bytes]:
    """The names joined by colons, five to a line."""
    return [b":".join(names[place : place + 5]) for place in range(0, len(names), 5)]
