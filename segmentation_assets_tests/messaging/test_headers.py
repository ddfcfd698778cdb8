"""What the serialiser of headers promises: nothing is broken, nothing is smuggled in."""

from __future__ import annotations

import email
import email.policy
import re
from datetime import UTC, datetime, timedelta, timezone
from email.header import decode_header, make_header
from email.utils import parseaddr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.messaging.headers import (
    HeaderError,
    date_header,
    is_loopback,
    mailbox_header,
    message_id_header,
    plain_header,
    text_header,
    url_header,
    web_address,
)

NOTE = ": a header is a single line without control characters, lone surrogates or marks of direction."
FORBIDDEN = {
    "\r": "a carriage return (U+000D)", "\n": "a line feed (U+000A)", "\0": "a NUL (U+0000)",
    "\x85": "a control character (U+0085)", "\u2028": "line separator (U+2028)",
    "\u2029": "paragraph separator (U+2029)", "\ud800": "a control character (U+D800)",
    "\u202e": "right-to-left override (U+202E)",
    "\u2066": "left-to-right isolate (U+2066)", "\u200f": "right-to-left mark (U+200F)",
    "\u061c": "arabic letter mark (U+061C)", "\x7f": "a control character (U+007F)",
}  # fmt: skip
WRITABLE = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=150)


@pytest.mark.parametrize("character", FORBIDDEN, ids=lambda character: f"U+{ord(character):04X}")
def test_a_value_that_is_no_single_line_is_refused_in_every_header(character: str) -> None:
    value = f"ab{character}Bcc: x@example.com"
    for make in (
        lambda: text_header("Subject", value),
        lambda: plain_header("Subject", value),
        lambda: mailbox_header("Subject", value, "news@shop.example"),
        lambda: mailbox_header("Subject", "", value),
        lambda: url_header("Subject", f"https://shop.example/{value}"),
    ):
        with pytest.raises(HeaderError) as error:
            make()
        assert re.sub(r"at place \d+", "at place 3", str(error.value)) == (
            f"The header Subject holds {FORBIDDEN[character]} at place 3{NOTE}"
        )
        assert "example" not in str(error.value)


@settings(max_examples=150, deadline=None)
@given(WRITABLE)
def test_any_subject_can_be_read_back_from_short_lines_of_ascii(subject: str) -> None:
    raw = text_header("Subject", subject)
    assert raw.isascii() and raw.endswith(b"\r\n") and raw.count(b"\n") == raw.count(b"\r\n")
    assert all(len(line) <= 78 for line in raw.split(b"\r\n"))
    assert all(len(word) <= 75 for word in re.findall(rb"=\?\S+\?=", raw))
    parsed = email.message_from_bytes(raw + b"\r\n", policy=email.policy.default)
    assert parsed.keys() == ["Subject"]
    assert parsed["Subject"] == " ".join(subject.split()) and not parsed["Subject"].defects


@settings(max_examples=100, deadline=None)
@given(WRITABLE)
def test_any_display_name_can_be_read_back(name: str) -> None:
    raw = mailbox_header("From", name, "news@shop.example")
    parsed = email.message_from_bytes(raw + b"\r\n", policy=email.policy.default)
    assert parsed.keys() == ["From"] and not parsed["From"].defects
    assert [address.addr_spec for address in parsed["From"].addresses] == ["news@shop.example"]
    # The parser keeps the blank between two encoded words of a phrase (RFC 2047, 6.2, drops it), so this part is read
    # with the older one.
    raw_name = parseaddr(raw.decode().partition(": ")[2].replace("\r\n", ""))[0]
    assert str(make_header(decode_header(raw_name))) == " ".join(name.split())


def test_plain_ascii_is_written_as_it_is() -> None:
    assert text_header("Subject", "Back in stock") == b"Subject: Back in stock\r\n"
    assert mailbox_header("From", "Shop", "a@b.example") == b"From: Shop <a@b.example>\r\n"
    assert mailbox_header("From", 'Co. "X", Ltd', "a@b.example") == b'From: "Co. \\"X\\", Ltd" <a@b.example>\r\n'
    assert mailbox_header("To", "", "a@b.example") == b"To: a@b.example\r\n"


def test_what_looks_like_an_encoded_word_is_encoded() -> None:
    assert text_header("Subject", "=?utf-8?q?hello?=").startswith(b"Subject: =?utf-8?")
    assert mailbox_header("From", "=?utf-8?q?hello?=", "a@b.example").startswith(b"From: =?utf-8?")


def test_an_unsubscribe_address_of_200_characters_stays_whole() -> None:
    url = "https://mail.shop.example/u/" + "a" * 172
    assert len(url) == 200
    assert url_header("List-Unsubscribe", url) == f"List-Unsubscribe: <{url}>\r\n".encode()


def test_a_line_beyond_998_bytes_is_refused() -> None:
    assert len(plain_header("X-A", "b" * 993)) == 1000
    with pytest.raises(HeaderError, match=r"^The header X-A has 999 bytes; at most 998 fit on a line\.$"):
        plain_header("X-A", "b" * 994)


def test_headers_that_are_written_as_they_are_take_ascii_alone() -> None:
    with pytest.raises(HeaderError, match=r"^The header X-A holds a character that is not ASCII: it is written as it"):
        plain_header("X-A", "é")
    with pytest.raises(HeaderError, match=r"^The name of a header is printable ASCII without a colon\.$"):
        plain_header("X A", "b")


@pytest.mark.parametrize("address", ["", "anna", "anna@", "ann a@b.example", "é@b.example", "a@bücher.example",
                                     "a@b.example, c@d.example", "<a@b.example>", "a@b@c.example"])  # fmt: skip
def test_a_mailbox_has_one_ascii_address(address: str) -> None:
    with pytest.raises(HeaderError) as error:
        mailbox_header("To", "", address)
    assert str(error.value) == ("The header To needs one ASCII address such as news@shop.example, its domain in IDNA.")


@pytest.mark.parametrize("url", ["", "/u/x", "javascript:alert(1)", "data:text/html,x", "https://", "https://a b",
                                 "https://shop.example/<x>", 'https://shop.example/"x', "https://user@shop.example/",
                                 "https://bücher.example/", "https://shop.example:99999999/"])  # fmt: skip
def test_an_address_of_the_web_is_absolute_https(url: str) -> None:
    with pytest.raises(HeaderError) as error:
        web_address("pixel_url", url)
    assert str(error.value) == (
        "pixel_url needs an absolute https address in ASCII, without spaces, quotes or angle brackets."
    )


def test_http_is_for_this_machine_alone() -> None:
    for url in ("http://127.0.0.1:8080/u/x", "http://localhost/u/x", "http://[::1]:8080/"):
        assert web_address("x", url) == url and is_loopback(url)
    assert not is_loopback("https://127.0.0.1/")
    for url in ("http://shop.example/", "http://127.0.0.1.shop.example/", "http://localhost@shop.example/"):
        with pytest.raises(HeaderError, match=r"^x needs an https address: http is for this machine alone\.$"):
            web_address("x", url)


def test_a_message_id_gets_its_brackets() -> None:
    assert message_id_header("a.b@shop.example") == message_id_header("<a.b@shop.example>")
    for wrong in ("a b@shop.example", "<a@b", "a", "é@shop.example"):
        with pytest.raises(HeaderError, match=r"^A Message-ID is <unique-text@domain> in ASCII\.$"):
            message_id_header(wrong)


def test_dates_are_utc() -> None:
    east = datetime(2026, 7, 1, 11, 30, tzinfo=timezone(timedelta(hours=2)))
    wanted = b"Date: Wed, 01 Jul 2026 09:30:00 +0000\r\n"
    assert date_header(datetime(2026, 7, 1, 9, 30)) == date_header(east) == wanted
    assert date_header(datetime(2026, 7, 1, 9, 30, tzinfo=UTC)) == wanted
