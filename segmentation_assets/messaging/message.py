"""A message for one recipient, as bytes.

What belongs here: the order of the parts, their encodings and the headers a marketing message has. What does not:
judging it (`message_lint`), who gets it and when (`delivery`).

What is the same for all recipients is done once: CSS is inlined, text and HTML are split at their merge fields. The
bytes are put together by hand, because the standard library's `EmailMessage` makes a few hundred a second.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re
from datetime import datetime

import css_inline

from segmentation_assets.messaging.content import CampaignContent, MessageUrls, Recipient, Variant
from segmentation_assets.messaging.dkim_signing import DkimSigner
from segmentation_assets.messaging.headers import (
    LONGEST_LINE,
    HeaderError,
    date_header,
    mailbox_header,
    message_id_header,
    plain_header,
    text_header,
    url_header,
    web_address,
)
from segmentation_assets.messaging.merge_fields import IN_ONE_LINE, LINKS, MERGE_FIELDS, NEEDS_FALLBACK, PRODUCT_URLS
from segmentation_assets.messaging.personalise import (
    NextProducts,
    clean_name,
    clean_text,
    escaped,
    greeting_word,
    split_at_fields,
)

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LINE_END = re.compile("[\r\n]")
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9_-]+")
#: Bytes of a body that become one line of 76 in base64.
_BASE64_BYTES = 57
_LONG_LINE = re.compile(rb"[^\n]{%d}" % (LONGEST_LINE + 1))


class MessageError(ValueError):
    """A message cannot be built of this content; the sentence says which part of it and why."""


class MessageBuilder:
    """Builds the messages of one campaign and subject arm; each message of its own, in any order, by any thread."""

    def __init__(self, content: CampaignContent, variant: str, signer: DkimSigner | None = None) -> None:
        """MessageError where the content does not make a message: no such arm, a field or a link that there is not."""
        self.content, self.variant, self._signer = content, _variant(content, variant), signer
        said, sender = self.variant, content.sender
        for name in ("subject", "preheader", "body_text", "body_html"):
            _check_field(name, getattr(said, name), len(content.links))
        shop, postal = clean_text(sender.shop_name, 80), clean_text(sender.postal_address, 200)
        if not shop or not postal:
            raise MessageError("A message needs the shop's name and its postal address: set both under [sender].")
        text = said.body_text.replace("\r\n", "\n").replace("\r", "\n")
        self._text = split_at_fields(text, {"shop_name": shop, "postal_address": postal})
        self._html = split_at_fields(
            _inlined(said.body_html), {"shop_name": escaped(shop), "postal_address": escaped(postal)}
        )
        self._subject = split_at_fields(said.subject, {"shop_name": shop})
        open_fields = self._text.names | self._html.names
        self._places = tuple((name, place) for place, name in enumerate(PRODUCT_URLS, start=1) if name in open_fields)
        self._next = NextProducts(content.products, (place for _, place in self._places))
        if "next_products" in open_fields and (
            over := [n for n in self._next.links if not 0 <= n < len(content.links)]
        ):
            raise MessageError(f"A product has link {min(over)}, and the campaign has {len(content.links)} links.")
        self._has_own_subject = bool(self._subject.fields)
        self._constant = self._constant_headers()

    def build(self, recipient: Recipient, urls: MessageUrls, *, message_id: str, date: datetime) -> bytes:
        """The message, with CRLF. `date` is naive UTC; `message_id` with or without its angle brackets.

        HeaderError when the address, an address of `urls` or `message_id` cannot stand in a message; it names the
        header and not the value.
        """
        first_name = clean_name(recipient.first_name)
        # "Hallo there" would be neither language: without a name, the greeting stays in the campaign's own.
        word = greeting_word(recipient.language) if first_name else ""
        values = {"first_name": first_name, "greeting": word}
        in_html = {"first_name": escaped(first_name), "greeting": self._greeting_in_html(word, recipient.language)}
        links = [("campaign_url", urls.links[0]), ("unsubscribe_url", urls.unsubscribe), ("pixel_url", urls.pixel)]
        links += [(name, urls.links[place]) for name, place in self._places]
        for name, url in links:
            values[name] = web_address(name, url)
            in_html[name] = escaped(url)
        values["next_products"], in_html["next_products"] = self._next.blocks(recipient.product_ids, urls)
        subject = self._subject.fill(values) if self._has_own_subject else ""
        first = [
            mailbox_header("To", "", recipient.address),
            text_header("Subject", subject) if subject else b"",
            date_header(date),
            message_id_header(message_id),
            url_header("List-Unsubscribe", urls.unsubscribe),
            *_provider_headers(message_id),
        ]
        boundary = b"=_" + hashlib.blake2b(message_id.encode(), digest_size=15).hexdigest().encode()
        message = b"".join(
            [
                self._constant, *first,
                b'Content-Type: multipart/alternative;\r\n boundary="', boundary, b'"\r\n\r\n--', boundary, b"\r\n",
                _part(b"plain", self._text.fill(values)),
                b"\r\n--", boundary, b"\r\n",
                _part(b"html", self._html.fill(in_html)),
                b"\r\n--", boundary, b"--\r\n",
            ]
        )  # fmt: skip
        return self._signer.signature(message) + message if self._signer else message

    def _greeting_in_html(self, word: str, language: str | None) -> str:
        """The word of greeting, with its language where it is not the message's own, for those who hear it read."""
        if not word or language is None or language[:2].lower() == self.content.language[:2].lower():
            return word
        return f'<span lang="{language[:2].lower()}">{word}</span>'

    def _constant_headers(self) -> bytes:
        sender = self.content.sender
        campaign = _NOT_IN_AN_ID.sub("-", self.content.campaign_id)[:60].strip("-") or "campaign"
        domain = sender.address.rpartition("@")[2]
        # The last field is who sends, 5 to 15 characters, always the same (Gmail's Feedback-ID).
        sender_id = f"{_NOT_IN_AN_ID.sub('', domain.replace('.', '-'))}-mail"[:15]
        headers = [
            mailbox_header("From", clean_text(sender.from_name or sender.shop_name, 80), sender.address),
            mailbox_header("Reply-To", "", sender.reply_to or sender.address),
            b"" if self._has_own_subject else text_header("Subject", self._subject.fill({})),
            plain_header("MIME-Version", "1.0"),
            plain_header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            plain_header("List-ID", f"<news.{domain}>"),
            plain_header("Feedback-ID", f"{campaign}:{self.variant.variant}:campaign:{sender_id}"),
            plain_header("X-Campaign", campaign),
        ]
        return b"".join(headers)


def _provider_headers(message_id: str) -> tuple[bytes, bytes]:
    """What makes Postmark and SendGrid name the send in their reports: they take these headers out again.

    Postmark's reports have no Message-ID of ours, and SendGrid's of complaints, unsubscribes, opens and clicks neither.
    """
    send_id = message_id.strip("<>").partition("@")[0]
    told = json.dumps({"unique_args": {"send_id": send_id}})
    return plain_header("X-PM-Metadata-send_id", send_id), plain_header("X-SMTPAPI", told)


def _variant(content: CampaignContent, wanted: str) -> Variant:
    found = next((variant for variant in content.variants if variant.variant == wanted), None)
    if found is None:
        there = ", ".join(variant.variant for variant in content.variants) or "none"
        raise MessageError(f"Campaign {content.campaign_id} has no variant {wanted!r}; there are {there}.")
    return found


def _check_field(name: str, text: str, links: int) -> None:
    is_one_line = name in {"subject", "preheader"}
    if found := _CONTROLS.search(text) or (_LINE_END.search(text) if is_one_line else None):
        raise MessageError(f"The {name} holds the character U+{ord(found[0]):04X}, which no message may hold.")
    slots = split_at_fields(text, {})
    for _, field, fallback in slots.fields:
        if field not in MERGE_FIELDS:
            raise MessageError(f"The {name} holds [[{field}]], which is no merge field.")
        if field in NEEDS_FALLBACK and not fallback.strip():
            raise MessageError(f"The {name} holds [[{field}]] without a fallback.")
        if is_one_line and field not in IN_ONE_LINE:
            raise MessageError(f"The {name} may not hold [[{field}]].")
        if field in PRODUCT_URLS and PRODUCT_URLS.index(field) + 1 >= links:
            raise MessageError(f"The {name} holds [[{field}]], and the campaign has {links} links.")
        if field in LINKS and links < 1:
            raise MessageError(f"The {name} holds [[{field}]], and the campaign has no links.")


def _inlined(html: str) -> str:
    """The HTML with its CSS in style attributes as well; rules for dark mode work in the head alone."""
    inliner = css_inline.CSSInliner(keep_style_tags=True, load_remote_stylesheets=False)
    try:
        inlined = str(inliner.inline(html))
    except (css_inline.InlineError, ValueError) as error:
        raise MessageError(f"The CSS of body_html cannot be inlined: {error}") from None
    # Mail programs show the page in quirks mode without it.
    return inlined if inlined.lower().startswith("<!doctype") else f"<!DOCTYPE html>\n{inlined}"


def _part(subtype: bytes, text: str) -> bytes:
    """One part of the message: its headers and its body in the shortest legal encoding."""
    body = text.replace("\n", "\r\n").encode("utf-8")
    encoding, encoded = encode_body(body)
    return (
        b"Content-Type: text/" + subtype + b"; charset=utf-8\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n"
    ) + encoded


def encode_body(body: bytes) -> tuple[bytes, bytes]:
    """The name of the encoding and the encoded `body` (lines end in CRLF): 7bit, quoted-printable or base64.

    7bit where it is legal (ASCII, no line beyond 998 bytes), else the shorter of the other two (RFC 2045, 6).
    """
    if body.isascii() and not _LONG_LINE.search(body):
        return b"7bit", body
    quoted = binascii.b2a_qp(body, istext=True)
    if len(quoted) <= 4 * -(-len(body) // 3) * 78 // 76:
        return b"quoted-printable", quoted
    lines = (
        binascii.b2a_base64(body[place : place + _BASE64_BYTES], newline=False)
        for place in range(0, len(body), _BASE64_BYTES)
    )
    return b"base64", b"\r\n".join(lines)


__all__ = ["HeaderError", "MessageBuilder", "MessageError", "encode_body"]
