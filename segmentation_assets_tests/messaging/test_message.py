"""What a built message is: correct bytes, the same for all but what is a recipient's own, whatever their name is."""

from __future__ import annotations

import email
import email.policy
import re
import time
from dataclasses import replace
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.messaging.content import MessageUrls, Recipient, Variant
from segmentation_assets.messaging.headers import HeaderError
from segmentation_assets.messaging.message import MessageBuilder, MessageError, encode_body
from segmentation_assets.messaging.message_lint import hostile_recipients, lint_message
from segmentation_assets.messaging.personalise import GREETINGS, clean_name, clean_text
from segmentation_assets_tests.messaging.message_samples import (
    MESSAGE_ID,
    NOW,
    PRODUCTS,
    SENDER,
    built,
    content,
    urls,
    variant,
)

ANNA = Recipient("anna@example.com", "Anna")


def _read(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def _parts(raw: bytes) -> tuple[str, str]:
    text, html = _read(raw).iter_parts()
    assert isinstance(text, EmailMessage) and isinstance(html, EmailMessage)
    return text.get_content().replace("\r\n", "\n"), html.get_content().replace("\r\n", "\n")


def test_the_headers_of_a_message_are_those_of_marketing_mail() -> None:
    message = _read(built())
    assert dict(message.items()) == {
        "From": "Grünspan & Co <news@shop.example>", "Reply-To": "hello@shop.example", "To": "anna@example.com",
        "Subject": "First look: Fire Bowl, sand", "MIME-Version": "1.0",
        "Date": "Wed, 01 Jul 2026 09:30:00 +0000", "Message-ID": MESSAGE_ID,
        "List-Unsubscribe": f"<{urls().unsubscribe}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "List-ID": "<news.shop.example>", "Feedback-ID": "20260630-T3-loyal:A:campaign:shop-example-ma",
        "X-Campaign": "20260630-T3-loyal", "X-PM-Metadata-send_id": MESSAGE_ID[1:37],
        "X-SMTPAPI": f'{{"unique_args": {{"send_id": "{MESSAGE_ID[1:37]}"}}}}',
        "Content-Type": message["Content-Type"],
    }  # fmt: skip
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


def test_the_text_of_a_message_holds_all_that_a_reader_needs() -> None:
    links = urls().links
    assert _parts(built())[0] == (
        "Hello Anna,\n\n"
        "You know our shop well, so you get to see this early.\n\n"
        f"- Fire Bowl, sand: €110.00\n  {links[1]}\n- Hand Mill: €90.00\n  {links[2]}\n\n"
        "15% off until 14 July 2026.\n\n"
        f"Take a first look: {links[0]}\n\n"
        "Just pick what you like.\n\nBest wishes,\nGrünspan & Co\n\n-- \n"
        "You get this e-mail because you agreed to news from Grünspan & Co.\n"
        f"Unsubscribe: {urls().unsubscribe}\n"
        "Grünspan & Co, 1 Example Street, 00000 Exampletown\n"
    )


def test_a_message_passes_its_lint() -> None:
    assert lint_message(built(), SENDER) == lint_message(built()) == []


def test_the_same_message_is_the_same_bytes() -> None:
    assert built() == built()


def test_a_recipient_s_own_products_stand_in_both_parts_with_their_links() -> None:
    text, html = _parts(built(Recipient("a@example.com", "Anna", None, ("P7", "no such", "P1", "P7", "P8"))))
    links = urls().links
    assert f'{links[0]}\n\nAlso for you:\n- Salt & Pepper "mill": €12.00\n  {links[3]}\n- Stock Pot <large>: ' in text
    assert f"€45.00\n  {links[4]}\n\nJust pick" in text
    assert text.count("Fire Bowl") == 1  # P1 is in the message already
    assert "Also for you</p>" in html and f'href="{links[3]}"' in html
    assert "Salt &amp; Pepper &#34;mill&#34;" in html and "Stock Pot &lt;large&gt;" in html


def test_at_most_three_of_the_recipient_s_own_products_are_shown() -> None:
    text, _ = _parts(built(Recipient("a@example.com", None, None, ("P7", "P8", "P9", "P10"))))
    assert "Bad Bcc: x@example.com" in text and "Parasol" not in text


def test_without_own_products_no_heading_is_left() -> None:
    for part in _parts(built(Recipient("a@example.com", "Anna", None, ("no such",)))):
        assert "Also for you" not in part and "[[" not in part
    assert "\n\n\n" not in _parts(built())[0]


@pytest.mark.parametrize(
    ("name", "language", "line"),
    [
        ("Anna", None, "Hello Anna,"), ("Anna", "de", "Hallo Anna,"), ("Anna", "fr", "Bonjour Anna,"),
        ("Anna", "de-AT", "Hallo Anna,"), ("Anna", "xx", "Hello Anna,"), ("Anna", "deutsch", "Hello Anna,"),
        (None, "de", "Hello there,"), ("", None, "Hello there,"), ("Anna", "", "Hello Anna,"),
    ],
)  # fmt: skip
def test_the_greeting_is_in_the_recipient_s_language_where_name_and_language_are_known(
    name: str | None, language: str | None, line: str
) -> None:
    text, html = _parts(built(Recipient("a@example.com", name, language)))
    assert text.startswith(line)
    assert line in re.sub(r"</?span[^>]*>", "", html)
    assert ('<span lang="' in html) == (line.split(maxsplit=1)[0] != "Hello")


def test_the_campaign_s_own_language_greets_where_nothing_is_known() -> None:
    campaign = content(variant(language="fr"), language="fr")
    raw = MessageBuilder(campaign, "A").build(ANNA, urls(), message_id=MESSAGE_ID, date=NOW)
    assert _parts(raw)[0].startswith("Bonjour Anna,")
    assert len(GREETINGS) >= 12 and all(re.fullmatch("[a-z]{2}", code) for code in GREETINGS)


@pytest.mark.parametrize(
    "recipient",
    hostile_recipients(PRODUCTS),
    ids=lambda recipient: ascii((recipient.first_name, recipient.language, recipient.product_ids))[:40],
)  # fmt: skip
def test_no_hostile_recipient_changes_the_shape_of_a_message(recipient: Recipient) -> None:
    raw, plain = built(recipient), built(replace(ANNA, product_ids=recipient.product_ids))
    assert lint_message(raw, SENDER) == []
    assert _read(raw).keys() == _read(plain).keys()
    spans = re.compile(r"</?span[^>]*>")
    tags = re.compile(r"<[^>]*>")
    one, other = (tags.findall(spans.sub("", _parts(message)[1])) for message in (raw, plain))
    assert one == other


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200), st.text(max_size=10))
def test_no_name_at_all_changes_the_shape_of_a_message(name: str, language: str) -> None:
    raw = built(Recipient("anna@example.com", name, language))
    assert lint_message(raw, SENDER) == []
    assert _read(raw).keys() == _read(built()).keys()


@settings(max_examples=25, deadline=None)
@given(st.text(min_size=1, max_size=120))
def test_no_product_s_name_changes_the_shape_of_a_message(name: str) -> None:
    products = {**PRODUCTS, "P7": replace(PRODUCTS["P7"], name=name)}
    raw = built(Recipient("anna@example.com", "Anna", None, ("P7",)), products=products)
    errors = [finding for finding in lint_message(raw, SENDER) if finding.severity == "error"]
    assert [finding.rule for finding in errors if finding.rule not in {"link", "link_mismatch"}] == []


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (None, ""), ("", ""), (" \t ", ""), ("Anna", "Anna"), ("  Anna  Lena ", "Anna Lena"), ("Zoe\u0308", "Zoë"),
        ("Ann\r\nBcc: x", "Ann Bcc: x"), ("A\0nn", "A nn"), ("\u202eAnn", "Ann"), ("\ud800", ""), ("Ann\udfff", "Ann"),
        ("[[first_name]]", "first_name"), ("{{ x }}", "x"), ("${x}", "$x"), ("%%x%%", "%x%"), ("<b>", "<b>"),
        ("www.example.com", ""), ("http://x", ""), ("ann@example.com", ""), ("example.com", ""), ("J. R.", "J. R."),
        ("😀", ""), ("12", ""), ("می‌خواهم", "می‌خواهم"), ("n" * 300, "n" * 60), ("e\u0301" * 300, "é" * 60),
        ("x" + "a\u0323\u0301" * 300, "x" + "ạ́" * 29),
    ],
)  # fmt: skip
def test_a_name_is_cleaned_or_there_is_none(name: str | None, shown: str) -> None:
    assert clean_name(name) == shown


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=100))
def test_a_cleaned_text_is_one_line_without_templates(text: str) -> None:
    cleaned = clean_text(text, 60)
    assert len(cleaned) <= 60 and cleaned == cleaned.strip()
    assert cleaned.encode().decode() == cleaned
    assert not re.search(r"[\[\]{}\n\r\0\u202e\ud800-\udfff]", cleaned)
    assert clean_text(cleaned, 60) == cleaned


def test_a_name_in_the_subject_is_encoded_and_never_a_header() -> None:
    said = replace(variant(), subject="For you, [[first_name|there]]")
    builder = MessageBuilder(content(said), "A")
    for name, subject in (("Zoë", "For you, Zoë"), ("x\r\nBcc: y", "For you, x Bcc: y"), (None, "For you, there")):
        raw = builder.build(Recipient("a@example.com", name), urls(), message_id=MESSAGE_ID, date=NOW)
        assert _read(raw)["Subject"] == subject and _read(raw)["Bcc"] is None


@pytest.mark.parametrize("address", ["anna", "a@example.com\r\nBcc: b@example.com", "zoë@example.com", "a@\ud800.com"])
def test_an_address_that_is_not_ascii_is_refused_without_being_told(address: str) -> None:
    with pytest.raises(HeaderError) as error:
        built(Recipient(address, "Anna"))
    assert "a@" not in str(error.value) and "anna" not in str(error.value) and "zoë" not in str(error.value)


@pytest.mark.parametrize("url", ["http://mail.shop.example/u/x", "javascript:alert(1)", "https://x\r\nBcc: y", ""])
def test_no_message_leaves_with_a_link_that_is_not_https(url: str) -> None:
    builder = MessageBuilder(content(), "A")
    good = urls()
    for wrong in (
        replace(good, unsubscribe=url),
        replace(good, pixel=url),
        MessageUrls(good.pixel, (url, *good.links[1:]), good.unsubscribe),
    ):
        with pytest.raises(HeaderError):
            builder.build(ANNA, wrong, message_id=MESSAGE_ID, date=NOW)


def test_the_unsubscribe_address_of_200_characters_stays_whole_in_the_raw_bytes() -> None:
    url = "https://mail.shop.example/u/" + "a" * 172
    builder = MessageBuilder(content(), "A")
    raw = builder.build(ANNA, replace(urls(), unsubscribe=url), message_id=MESSAGE_ID, date=NOW)
    assert f"\r\nList-Unsubscribe: <{url}>\r\n".encode() in raw
    assert lint_message(raw, SENDER) == []


def _said(**changes: str) -> Variant:
    return replace(variant(), **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"body_text": "[[birth_date]]"}, "The body_text holds [[birth_date]], which is no merge field."),
        ({"body_text": "[[first_name]]"}, "The body_text holds [[first_name]] without a fallback."),
        ({"body_text": "[[greeting| ]]"}, "The body_text holds [[greeting]] without a fallback."),
        ({"subject": "[[next_products]]"}, "The subject may not hold [[next_products]]."),
        ({"subject": "a\r\nBcc: x@example.com"}, "The subject holds the character U+000D, which no message may hold."),
        ({"body_html": "a\ud800"}, "The body_html holds the character U+D800, which no message may hold."),
        ({"body_text": "a\0"}, "The body_text holds the character U+0000, which no message may hold."),
    ],
)  # fmt: skip
def test_content_that_makes_no_message_is_refused_with_the_reason(changes: dict[str, str], said: str) -> None:
    with pytest.raises(MessageError) as error:
        MessageBuilder(content(_said(**changes)), "A")
    assert str(error.value) == said


def test_links_and_arms_that_there_are_not_are_named() -> None:
    with pytest.raises(MessageError) as error:
        MessageBuilder(content(), "C")
    assert str(error.value) == "Campaign 20260630-T3-loyal has no variant 'C'; there are A."
    with pytest.raises(MessageError) as error:
        MessageBuilder(content(links=("https://shop.example/",)), "A")
    assert str(error.value) == "The body_text holds [[product_url_1]], and the campaign has 1 links."
    with pytest.raises(MessageError) as error:
        MessageBuilder(content(links=("https://shop.example/",) * 4), "A")
    assert str(error.value) == "A product has link 4, and the campaign has 4 links."
    with pytest.raises(MessageError) as error:
        MessageBuilder(content(sender=replace(SENDER, postal_address=" ")), "A")
    assert str(error.value) == "A message needs the shop's name and its postal address: set both under [sender]."


def test_a_draft_of_an_older_layout_is_still_built() -> None:
    old = _said(
        body_text="Hello [[first_name|there]],\n\n[[campaign_url]]\n\n-- \nYou get this because you agreed.\n"
        "Unsubscribe: [[unsubscribe_url]]\n[[postal_address]]\n",
        body_html="<html><p>[[first_name|there]] <a href='[[campaign_url]]'>x</a> <a href='[[unsubscribe_url]]'>y</a>"
        "[[postal_address]]</p></html>",
    )
    raw = MessageBuilder(content(old), "A").build(ANNA, urls(), message_id=MESSAGE_ID, date=NOW)
    text, html = _parts(raw)
    assert text.startswith("Hello Anna,") and "[[" not in text + html and html.startswith("<!DOCTYPE html>")


def test_css_is_inlined_and_dark_mode_stays() -> None:
    html = "<html><head><style>p { color: #111111 } @media (prefers-color-scheme: dark) { p { color: #fff } }</style>"
    html += "</head><body><p>x [[unsubscribe_url]]</p></body></html>"
    raw = MessageBuilder(content(_said(body_html=html)), "A").build(ANNA, urls(), message_id=MESSAGE_ID, date=NOW)
    assert '<p style="color: #111111;' in _parts(raw)[1] and "prefers-color-scheme: dark" in _parts(raw)[1]


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r"), max_size=400))
def test_a_body_is_encoded_in_lines_that_servers_take(text: str) -> None:
    body = text.replace("\n", "\r\n").encode()
    encoding, encoded = encode_body(body)
    message = email.message_from_bytes(
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n" + encoded
    )
    assert message.get_payload(decode=True) == body
    assert encoded.isascii() and all(len(line) <= 998 for line in encoded.split(b"\r\n"))


def test_the_shortest_legal_encoding_is_taken() -> None:
    assert encode_body(b"plain\r\n")[0] == b"7bit"
    assert encode_body(b"x" * 998)[0] == b"7bit"
    assert encode_body(b"x" * 999)[0] == b"quoted-printable"
    assert encode_body("Grüße, viele davon, und sonst ASCII".encode())[0] == b"quoted-printable"
    assert encode_body("こんにちは".encode() * 20)[0] == b"base64"


def test_thousands_of_messages_are_built_in_a_second() -> None:
    builder, addresses = MessageBuilder(content(), "A"), urls()
    someone = Recipient("anna@example.com", "Zoë", "de", ("P7", "P8", "P9"))
    rates = []
    for _ in range(3):
        started = time.process_time()
        for _ in range(300):
            builder.build(someone, addresses, message_id=MESSAGE_ID, date=NOW)
        rates.append(300 / (time.process_time() - started))
    assert max(rates) >= 2_700
