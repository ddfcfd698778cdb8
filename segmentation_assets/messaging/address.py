"""Addresses as a mail server takes them: ASCII, domains in IDNA.

What belongs here: judging and converting an address. What does not: looking anything up in the network, and who may
be written to (`delivery`). An address is never part of an error's text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache

from email_validator import EmailNotValidError, validate_email
from email_validator.rfc_constants import CASE_INSENSITIVE_MAILBOX_NAMES


class AddressProblem(StrEnum):
    """Why an address cannot be written to."""

    NEEDS_SMTPUTF8 = "needs_smtputf8"
    NO_VALID_ADDRESS = "no_valid_address"


_SENTENCES = {
    AddressProblem.NEEDS_SMTPUTF8: "The part before the @ is not ASCII; only servers with SMTPUTF8 would take it.",
    AddressProblem.NO_VALID_ADDRESS: "This is not an e-mail address that a server would take.",
}

_LONGEST_ADDRESS, _LONGEST_LOCAL_PART = 254, 64
#: A dot-atom as email-validator takes it without options (RFC 5322, 3.2.3).
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+(?:\.[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+)*")
#: Domains whose verdict is kept.
_MOST_DOMAINS = 200_000


class AddressError(ValueError):
    """An address cannot be written to; `reason` says why, and the address is not told."""

    def __init__(self, reason: AddressProblem) -> None:
        super().__init__(_SENTENCES[reason])
        self.reason = reason


def _asked(email: str) -> str | AddressProblem:
    """email-validator's verdict, without a look into the DNS. Domains kept for tests and examples are taken."""
    try:
        result = validate_email(email, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return AddressProblem.NO_VALID_ADDRESS
    if result.ascii_email is None:
        return AddressProblem.NEEDS_SMTPUTF8
    # The library lets longer local parts pass; servers do not have to (RFC 5321, 4.5.3.1.1).
    if len(result.ascii_email) > _LONGEST_ADDRESS or result.ascii_email.rindex("@") > _LONGEST_LOCAL_PART:
        return AddressProblem.NO_VALID_ADDRESS
    return result.ascii_email


@lru_cache(maxsize=_MOST_DOMAINS)
def _ascii_domain(domain: str) -> str | None:
    """The domain in ASCII; None for one that cannot be written to. Millions of addresses have thousands of domains."""
    verdict = _asked(f"a@{domain}")
    return None if isinstance(verdict, AddressProblem) else verdict[2:]


def convert_address(email: str | None) -> str | AddressProblem:
    """The address in ASCII, or why there is none. White space around it is no part of it."""
    if email is None:
        return AddressProblem.NO_VALID_ADDRESS
    email = email.strip()
    local, at, domain = email.rpartition("@")
    is_plain = at and len(local) <= _LONGEST_LOCAL_PART and _LOCAL_PART.fullmatch(local)
    # What is too long before IDNA changes its length is rare, and the library has a word on it.
    if not is_plain or len(email) > _LONGEST_ADDRESS or local.lower() in CASE_INSENSITIVE_MAILBOX_NAMES:
        return _asked(email)
    ascii_domain = _ascii_domain(domain)
    if ascii_domain is None or len(local) + 1 + len(ascii_domain) > _LONGEST_ADDRESS:
        return AddressProblem.NO_VALID_ADDRESS
    return f"{local}@{ascii_domain}"


def ascii_address(email: str) -> str:
    """`email` as it is given to a mail server. AddressError with its `reason` when it cannot be."""
    converted = convert_address(email)
    if isinstance(converted, AddressProblem):
        raise AddressError(converted)
    return converted


def ascii_addresses(emails: Iterable[str | None]) -> tuple[list[str | None], list[str | None]]:
    """For each of `emails`: the address in ASCII or None, and the reason (`AddressProblem`) or None."""
    addresses: list[str | None] = []
    reasons: list[str | None] = []
    for email in emails:
        converted = convert_address(email)
        if isinstance(converted, AddressProblem):
            addresses.append(None)
            reasons.append(converted.value)
        else:
            addresses.append(converted)
            reasons.append(None)
    return addresses, reasons
