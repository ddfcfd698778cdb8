"""What a signature promises: a verifier that knows the key accepts the message, and nothing that was changed."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from segmentation_assets.messaging.content import Recipient
from segmentation_assets.messaging.dkim_signing import SIGNED_HEADERS, DkimError, DkimSigner
from segmentation_assets.messaging.message import MessageBuilder
from segmentation_assets.messaging.message_lint import lint_message
from segmentation_assets_tests.messaging.message_samples import MESSAGE_ID, NOW, SENDER, content, urls

NO_KEY = "The DKIM key is no private RSA key in PEM (-----BEGIN PRIVATE KEY-----): mend [sender] dkim_key_file."


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, form: str = "PKCS8", password: bytes = b"") -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8 if form == "PKCS8" else serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption(),
    )


def _small_pem() -> bytes:
    """A key too short to be made by a library (PKCS#1, RFC 8017, A.1.2): of the primes 2^127 - 1 and 2^107 - 1."""
    p, q, e = 2**127 - 1, 2**107 - 1, 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    body = b""
    for number in (0, p * q, e, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p)):
        octets = number.to_bytes(number.bit_length() // 8 + 1, "big")
        body += bytes([2, len(octets)]) + octets
    encoded = base64.encodebytes(b"\x30\x81" + bytes([len(body)]) + body)
    return b"-----BEGIN RSA PRIVATE KEY-----\n" + encoded + b"-----END RSA PRIVATE KEY-----\n"


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _record(name: bytes, timeout: int = 5) -> bytes:
    """The DNS as the shop's administrator would fill it."""
    if name != b"mail2026._domainkey.shop.example.":
        return b""
    public = _key().public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    return b"v=DKIM1; k=rsa; p=" + b"".join(public.splitlines()[1:-1])


def _signed(name: str = "Zoë", form: str = "PKCS8") -> bytes:
    signer = DkimSigner("shop.example", "mail2026", _pem(_key(), form))
    return MessageBuilder(content(), "A", signer).build(
        Recipient("anna@example.com", name), urls(), message_id=MESSAGE_ID, date=NOW
    )


@pytest.mark.parametrize("form", ["PKCS8", "PKCS1"])
def test_a_signed_message_is_accepted_by_a_verifier_that_knows_the_key(form: str) -> None:
    raw = _signed(form=form)
    assert raw.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=shop.example;")
    assert dkim.verify(raw, dnsfunc=_record)
    assert lint_message(raw, SENDER) == []
    assert raw == _signed(form=form)


def test_relaxed_means_that_blanks_and_folds_may_change_on_the_way() -> None:
    raw = _signed().replace(b"\r\nSubject: First look", b"\r\nSubject:  First\r\n look")
    assert dkim.verify(raw, dnsfunc=_record)


@pytest.mark.parametrize("header", sorted({*SIGNED_HEADERS} - {"Content-Type"}))
def test_a_signed_header_that_was_changed_is_noticed(header: str) -> None:
    raw = _signed()
    value = raw.partition(f"\r\n{header}: ".encode())[2].partition(b"\r\n")[0]
    assert value
    assert not dkim.verify(raw.replace(b": " + value, b": x" + value), dnsfunc=_record)


def test_a_changed_body_a_second_from_and_another_key_are_noticed() -> None:
    raw = _signed()
    assert not dkim.verify(raw.replace(b"Fire Bowl", b"Fire Pit", 3), dnsfunc=_record)
    head, _, rest = raw.partition(b"\r\nFrom: ")
    assert not dkim.verify(head + b"\r\nFrom: x@evil.example\r\nFrom: " + rest, dnsfunc=_record)
    # Signed once more than it is there, so that no verifier takes another one for it (RFC 6376, section 8.15).
    signed = raw.partition(b"h=")[2].partition(b";")[0].lower().replace(b" ", b"").replace(b"\r\n", b"").split(b":")
    assert signed.count(b"from") == 2
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    signer = DkimSigner("shop.example", "mail2026", _pem(other))
    forged = MessageBuilder(content(), "A", signer).build(
        Recipient("anna@example.com", "Zoë"), urls(), message_id=MESSAGE_ID, date=NOW
    )
    assert not dkim.verify(forged, dnsfunc=_record)


def test_a_key_file_is_read_with_either_line_ending(tmp_path: Path) -> None:
    path = tmp_path / "dkim.pem"
    path.write_bytes(_pem(_key()).replace(b"\n", b"\r\n"))
    assert DkimSigner.from_file("shop.example", "mail2026", path).selector == "mail2026"


def test_a_wrong_key_is_a_sentence_and_never_shown(tmp_path: Path) -> None:
    public = _key().public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    small = "The DKIM key has 234 bits; receivers refuse fewer than 1024: use 2048."
    cases = [
        (b"", NO_KEY), (b"nonsense", NO_KEY), (b"-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----", NO_KEY),
        (b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----", NO_KEY),
        (_pem(ec.generate_private_key(ec.SECP256R1())), NO_KEY),
        (public, "The DKIM key is the public one: that belongs into the DNS, the private one here."),
        (_pem(_key(), password=b"x"),
         "The DKIM key has a password: store it without one, readable by its owner alone."),
        (_small_pem(), small),
    ]  # fmt: skip
    for pem, said in cases:
        with pytest.raises(DkimError) as error:
            DkimSigner("shop.example", "mail2026", pem)
        assert str(error.value) == said
    missing = tmp_path / "none.pem"
    with pytest.raises(DkimError) as error:
        DkimSigner.from_file("shop.example", "mail2026", missing)
    assert str(error.value) == (
        f"The DKIM key file {missing} cannot be read (No such file or directory): mend [sender] dkim_key_file."
    )


def test_domain_and_selector_are_names() -> None:
    for domain in ("", "shop", "shop.example; x", "bücher.example"):
        with pytest.raises(DkimError, match=r"^The DKIM domain is a domain name in ASCII, as in shop\.example: mend"):
            DkimSigner(domain, "mail2026", _pem(_key()))
    for selector in ("", "a b", "a;b"):
        with pytest.raises(DkimError, match=r"^The DKIM selector is the name before \._domainkey in the DNS, as in"):
            DkimSigner("shop.example", selector, _pem(_key()))
