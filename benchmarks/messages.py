#!/usr/bin/env python
"""Messages built a second on one core, where the time goes, and what a DKIM signature adds.

`python benchmarks/messages.py [--messages 5000] [--signed 200] [--key-bits 2048]` lays out one draft with six products,
builds it for recipients with names, languages and three products of their own each, and prints the rate beside the
standard library's `EmailMessage` with the same parts. Rates are per second of CPU, the best of three rounds: what else
the machine does is left out. Shares are from a profile of another round.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import format_datetime

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from segmentation_assets.language.facts import Fact, FactBook, FactKind
from segmentation_assets.messaging.content import (
    CampaignContent,
    MessageUrls,
    ProductLine,
    Recipient,
    SenderIdentity,
    Variant,
)
from segmentation_assets.messaging.copywriter import write_copy
from segmentation_assets.messaging.dkim_signing import DkimSigner
from segmentation_assets.messaging.layout import lay_out
from segmentation_assets.messaging.message import MessageBuilder
from segmentation_assets.messaging.message_lint import lint_message

NOW = datetime(2026, 7, 1, 9, 30)
PLACES = 6
OWN = 3
NAMES = ("Anna", "Zoë", "Владимир", None, "O'Neil", "李小龙", "Ann Lena", "محمد")
LANGUAGES = ("en", "de", "fr", None, "es", "uk")
#: Functions whose time, with all they call, is one line of the table.
STAGES = {
    "encode_body": "body to quoted-printable or base64", "blocks": "the recipient's own products",
    "fill": "filling in merge fields", "text_header": "Subject", "mailbox_header": "To",
    "url_header": "List-Unsubscribe", "web_address": "addresses checked", "date_header": "Date",
    "message_id_header": "Message-ID", "clean_name": "names cleaned", "signature": "DKIM",
}  # fmt: skip


def campaign() -> CampaignContent:
    """One draft by the embedded writer, six products in it and thirty that recipients may own."""
    facts = []
    for place in range(1, PLACES + 1):
        facts.append(Fact(f"product{place}", FactKind.NAME, f"Fire Bowl No {place}, sand"))
        facts.append(Fact(f"price{place}", FactKind.MONEY, 10.0 * place))
    facts += [Fact("discount", FactKind.SHARE, 0.15), Fact("valid_until", FactKind.DATE, date(2026, 7, 14))]
    book = FactBook(tuple(facts), "EUR")
    laid = lay_out(write_copy("lapsing", "A", book), book)
    said = Variant("A", "B1-A", laid.subject, laid.preheader, laid.body_text, laid.body_html, laid.call_to_action)
    products = {
        f"P{number}": ProductLine(f"P{number}", f"Salt & Pepper mill {number}", "€12.00", number)
        for number in range(1, 37)
    }
    sender = SenderIdentity(
        "Grünspan & Co", "Grünspan & Co", "news@shop.example", "", "", "Grünspan & Co, 1 Example Street, Exampletown",
        "https://mail.shop.example",
    )  # fmt: skip
    links = tuple(f"https://shop.example/p/{number}" for number in range(37))
    return CampaignContent("20260701-T1-lapsing", "Lapsing", "en", sender, (said,), links, products, date(2026, 7, 14))


def recipient(number: int) -> Recipient:
    """Recipient number so-and-so."""
    own = tuple(f"P{PLACES + 1 + (number + step) % 30}" for step in range(OWN))
    return Recipient(
        f"customer{number}@example.com", NAMES[number % len(NAMES)], LANGUAGES[number % len(LANGUAGES)], own
    )


def addresses() -> MessageUrls:
    """Addresses as long as the service's; signing them is the sender's work, not the message's."""
    token = "AbCd0123456789_-" * 2 + "AbCd012345"
    base = "https://mail.shop.example"
    return MessageUrls(
        f"{base}/o/{token}.gif", tuple(f"{base}/c/{token[:-2]}{number:02}" for number in range(37)), f"{base}/u/{token}"
    )


def rate(work: Callable[[int], object], messages: int) -> float:
    """Calls a second of CPU, the best of three rounds."""
    best = 0.0
    for _ in range(3):
        started = time.process_time()
        for number in range(messages):
            work(number)
        best = max(best, messages / (time.process_time() - started))
    return best


def with_the_standard_library(raw: bytes) -> Callable[[int], object]:
    """Builds the same message through EmailMessage: the parts are given, only the MIME is made."""
    parsed = message_from_bytes(raw, policy=policy.SMTP)
    text, html = (part.get_content() for part in parsed.iter_parts())

    def work(number: int) -> object:
        message = EmailMessage(policy=policy.SMTP)
        for name in ("From", "Reply-To", "Subject", "List-Unsubscribe", "List-Unsubscribe-Post", "List-ID"):
            message[name] = str(parsed[name])
        message["To"] = f"customer{number}@example.com"
        message["Date"] = format_datetime(NOW.replace(tzinfo=UTC))
        message["Message-ID"] = f"<{number}@shop.example>"
        message.set_content(text)
        message.add_alternative(html, subtype="html")
        return message.as_bytes()

    return work


def shares(work: Callable[[int], object], messages: int) -> list[tuple[str, float]]:
    """Share of the time by stage, from a profile; what is left is the putting together."""
    profile = cProfile.Profile()
    profile.enable()
    for number in range(messages):
        work(number)
    profile.disable()
    stats = pstats.Stats(profile)
    total = stats.total_tt  # type: ignore[attr-defined]  # pstats has no types for it
    found = [
        (STAGES[name], spent / total)
        for (path, _, name), (_, _, _, spent, _) in stats.stats.items()  # type: ignore[attr-defined]
        if name in STAGES and "/messaging/" in path.replace("\\", "/")
    ]
    return sorted(found, key=lambda stage: -stage[1])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=5_000, help="messages of a round")
    parser.add_argument("--signed", type=int, default=200, help="signed messages of a round")
    parser.add_argument("--key-bits", type=int, default=2_048, help="bits of the DKIM key")
    asked = parser.parse_args()
    content, urls = campaign(), addresses()
    started = time.process_time()
    builder = MessageBuilder(content, "A")
    print(f"CSS inlined and texts split once: {1000 * (time.process_time() - started):.1f} ms")

    def build(number: int) -> bytes:
        return builder.build(recipient(number), urls, message_id=f"<{number}@shop.example>", date=NOW)

    raw = build(0)
    print(f"one message: {len(raw):,} bytes; findings: {lint_message(raw, content.sender) or 'none'}")
    print(f"built by hand:       {rate(build, asked.messages):>8,.0f} messages a second of CPU")
    slow = rate(with_the_standard_library(raw), max(asked.messages // 20, 1))
    print(f"with EmailMessage:   {slow:>8,.0f} messages a second of CPU (MIME alone, nothing personal)")
    print("where the time goes (profile):")
    for stage, share in shares(build, max(asked.messages // 5, 1)):
        print(f"  {stage:<40}{100 * share:>5.1f} %")
    key = rsa.generate_private_key(public_exponent=65537, key_size=asked.key_bits).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    signing = MessageBuilder(content, "A", DkimSigner("shop.example", "mail2026", key))

    def sign(number: int) -> bytes:
        return signing.build(recipient(number), urls, message_id=f"<{number}@shop.example>", date=NOW)

    print(f"with DKIM, {asked.key_bits} bits: {rate(sign, asked.signed):>6,.0f} messages a second of CPU")
    started = time.process_time()
    for _ in range(50):
        lint_message(raw, content.sender)
    print(f"lint of one message: {1000 * (time.process_time() - started) / 50:.1f} ms")


if __name__ == "__main__":
    main()
