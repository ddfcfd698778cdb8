"""What becomes of addresses: ASCII for the mail server, or a reason; never the address in an error."""

from __future__ import annotations

import time

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given, settings
from hypothesis import strategies as st

from segmentation_assets.messaging.address import (
    AddressError,
    AddressProblem,
    ascii_address,
    ascii_addresses,
    convert_address,
)

NOT_ASCII = (
    AddressProblem.NEEDS_SMTPUTF8,
    "The part before the @ is not ASCII; only servers with SMTPUTF8 would take it.",
)
INVALID = (AddressProblem.NO_VALID_ADDRESS, "This is not an e-mail address that a server would take.")


@pytest.mark.parametrize(
    ("email", "wanted"),
    [
        ("anna@example.com", "anna@example.com"), (" Anna.B+x@Example.COM ", "Anna.B+x@example.com"),
        ("anna@bücher.example", "anna@xn--bcher-kva.example"), ("o'neil@example.org", "o'neil@example.org"),
        ("anna@mail.test", "anna@mail.test"), ("Postmaster@example.com", "postmaster@example.com"),
        (f"{'a' * 64}@example.com", f"{'a' * 64}@example.com"),
    ],
)  # fmt: skip
def test_an_address_becomes_what_a_server_takes(email: str, wanted: str) -> None:
    assert ascii_address(email) == wanted


@pytest.mark.parametrize(
    ("email", "problem"),
    [
        ("zoë@example.com", NOT_ASCII), ("李@例子.example", NOT_ASCII),
        ("", INVALID), ("anna", INVALID), ("anna@", INVALID), ("@example.com", INVALID), ("a b@example.com", INVALID),
        ("anna@localhost", INVALID), ("anna@host.invalid", INVALID), ("anna@example", INVALID),
        ("anna@-a.example.com", INVALID), ("anna@[127.0.0.1]", INVALID), ("anna..b@example.com", INVALID),
        (".anna@example.com", INVALID), ("anna@example..com", INVALID), ("Anna <anna@example.com>", INVALID),
        ("anna@example.com\r\nBcc: x@example.com", INVALID), ("anna@exa\0mple.com", INVALID),
        ("anna@example.com, b@example.com", INVALID), (f"{'a' * 65}@example.com", INVALID),
        (f"a@{'.'.join(['b' * 60] * 5)}.com", INVALID), ("a@\ud800.example", INVALID), ("\ud800@b.example", INVALID),
        ("a@\u202eb.example", INVALID), ('"a b"@example.com', INVALID),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_written_to_says_why_and_is_not_told(
    email: str, problem: tuple[AddressProblem, str]
) -> None:
    with pytest.raises(AddressError) as error:
        ascii_address(email)
    assert (error.value.reason, str(error.value)) == problem


def _library(email: str) -> str | None:
    """email-validator's own verdict, with the limit of the local part that it has as an option."""
    try:
        return validate_email(email, check_deliverability=False, test_environment=True, strict=True).ascii_email
    except EmailNotValidError:
        return None


LOCAL = st.one_of(
    st.text("abAB01._+-'!", min_size=1, max_size=70),
    st.sampled_from(["postmaster", "Abuse", "é", "a b", "a@b", '"a"', "a" * 64, "a" * 65]),
)
LABEL = st.one_of(st.text("abAB01-ü", min_size=1, max_size=64), st.sampled_from(["xn--bcher-kva", "例子", "-", "a_b"]))
DOMAIN = st.builds(
    ".".join, st.lists(LABEL, min_size=1, max_size=6).map(lambda labels: [*labels, "com"])
) | st.sampled_from(["example.com", "localhost", "a.test", "a..com", "a.com.", "[1.2.3.4]", "a b.com"])


@settings(max_examples=250, deadline=None)
@given(LOCAL, DOMAIN)
@example("a" * 64, f"{'ü' * 50}.{'b' * 60}.{'c' * 60}.example.com")
@example("a", f"{'b' * 63}.{'c' * 63}.{'d' * 63}.{'e' * 57}.com")
@example("abc", f"{'b' * 63}.{'c' * 63}.{'d' * 63}.{'e' * 53}.com")
def test_the_short_way_and_the_library_agree_on_every_address(local: str, domain: str) -> None:
    email = f"{local}@{domain}".strip()
    mine = convert_address(email)
    assert (None if isinstance(mine, AddressProblem) else mine) == _library(email)


def test_many_addresses_keep_their_order_and_have_an_address_or_a_reason() -> None:
    addresses, reasons = ascii_addresses(["a@example.com", None, "é@example.com", "b@bücher.example", "nothing"])
    assert addresses == ["a@example.com", None, None, "b@xn--bcher-kva.example", None]
    assert reasons == [None, "no_valid_address", "needs_smtputf8", None, "no_valid_address"]


def test_a_million_addresses_take_seconds() -> None:
    emails = [f"customer{number}@mail{number % 300}.example.com" for number in range(20_000)]
    started = time.process_time()
    addresses, _ = ascii_addresses(emails)
    assert addresses == emails
    assert (time.process_time() - started) * 50 < 20
