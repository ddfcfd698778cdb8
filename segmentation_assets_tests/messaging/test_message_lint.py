"""What may not be in a finished message: each rule is shown failing with its exact words."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from segmentation_assets.messaging.message_lint import (
    Finding,
    colour_of,
    contrast,
    hostile_recipients,
    lint_message,
)
from segmentation_assets_tests.messaging.message_samples import MESSAGE_ID, SENDER, built, urls

HEAD = (
    "From: Shop <news@shop.example>", "To: anna@example.com", "Subject: Hello", f"Message-ID: {MESSAGE_ID}",
    "Date: Wed, 01 Jul 2026 09:30:00 +0000", "MIME-Version: 1.0", f"List-Unsubscribe: <{urls().unsubscribe}>",
    "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
)  # fmt: skip
POSTAL = "Shop, 1 Example Street, Exampletown"
OFFER = urls().links[0]
TEXT = (
    f"Hello,\n\nnow 15% off.\n\nSee: {OFFER}\n\n-- \nYou get this because you agreed.\n"
    f"Unsubscribe: {urls().unsubscribe}\n{POSTAL}\n"
)
HTML = (
    '<!doctype html>\n<html lang="en"><head><meta name="color-scheme" content="light dark"><title>Hello</title>\n'
    "<style>\n@media (prefers-color-scheme: dark) { .ink { color: #ffffff !important; } .page { background-color: "
    '#000000 !important; } }\n</style></head>\n<body class="page" style="background-color:#ffffff">\n'
    '<p class="ink" style="color:#1f2933">Hello,</p><p class="ink" style="color:#1f2933">now 15% off.</p>\n'
    f'<p><a class="ink" style="color:#1f2933" href="{OFFER}">See</a></p>\n'
    '<p class="ink" style="color:#1f2933">You get this because you agreed.</p>\n'
    f'<p><a class="ink" style="color:#1f2933" href="{urls().unsubscribe}">Unsubscribe</a></p>\n'
    f'<p class="ink" style="color:#1f2933">{POSTAL}</p>\n'
    f'<img src="{urls().pixel}" alt=""></body></html>\n'
)


def _raw(head: tuple[str, ...] = HEAD, text: str = TEXT, html: str = HTML) -> bytes:
    """A message of these parts, without any check on the way."""

    def part(kind: str, body: str) -> str:
        return f"--b\nContent-Type: text/{kind}; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{body}\n"

    parts = part("plain", text) + part("html", html) + "--b--\n"
    lines = "\n".join([*head, 'Content-Type: multipart/alternative; boundary="b"', "", parts])
    return lines.replace("\n", "\r\n").encode("utf-8", "surrogatepass")


def _without(name: str) -> tuple[str, ...]:
    return tuple(line for line in HEAD if not line.startswith(f"{name}:"))


def _in_html(old: str, new: str) -> bytes:
    assert old in HTML
    return _raw(html=HTML.replace(old, new, 1))


def _in_text(old: str, new: str) -> bytes:
    assert old in TEXT
    return _raw(text=TEXT.replace(old, new, 1))


def _findings(raw: bytes, **known: object) -> list[tuple[str, str, str]]:
    return [(found.rule, found.severity, found.detail) for found in lint_message(raw, **known)]  # type: ignore[arg-type]


def test_a_correct_message_has_no_finding() -> None:
    assert lint_message(_raw()) == []
    assert lint_message(_raw(), replace(SENDER, postal_address=POSTAL)) == []


ONCE = "There are {} headers {}; there must be one."
ONE_URL = "List-Unsubscribe must be one https address in angle brackets."
POSTED = "List-Unsubscribe-Post must be List-Unsubscribe=One-Click (RFC 8058)."
ENCODED = "=?utf-8?q?=3Chttps=3A//mail.shop.example/u/x=3E?="
ALTERNATIVE = "A message is multipart/alternative with text/plain first and text/html second."
NOT_UTF8 = "The part {} is not UTF-8: a lone surrogate, or bytes cut."

CASES: list[tuple[Callable[[], bytes], str, str]] = [
    *((lambda name=name: _raw(_without(name)), "header_count", ONCE.format(0, name))
      for name in ("From", "To", "Subject", "Date", "Message-ID")),
    *((lambda line=line: _raw((*HEAD, line)), "header_count", ONCE.format(2, line.partition(":")[0]))
      for line in HEAD[:5]),
    (lambda: _raw(_without("List-Unsubscribe")), "list_unsubscribe", ONE_URL),
    (lambda: _raw((*HEAD, HEAD[6])), "list_unsubscribe", ONE_URL),
    (lambda: _raw((*_without("List-Unsubscribe"), HEAD[7], "List-Unsubscribe: <mailto:x@shop.example>")),
     "list_unsubscribe", ONE_URL),
    (lambda: _raw((*_without("List-Unsubscribe"), HEAD[7], "List-Unsubscribe: <http://shop.example/u/x>")),
     "list_unsubscribe", ONE_URL),
    (lambda: _raw((*_without("List-Unsubscribe"), HEAD[7], f"List-Unsubscribe: {ENCODED}")),
     "list_unsubscribe", "List-Unsubscribe is in encoded words; no program reads it so."),
    (lambda: _raw(_without("List-Unsubscribe-Post")), "one_click", POSTED),
    (lambda: _raw((*_without("List-Unsubscribe-Post"), "List-Unsubscribe-Post: yes")), "one_click", POSTED),
    (lambda: _raw().replace(b"multipart/alternative", b"multipart/mixed"), "parts", ALTERNATIVE),
    (lambda: _raw().replace(b"text/plain", b"text/html"), "parts", ALTERNATIVE),
    (lambda: b"".join(f"{line}\r\n".encode() for line in HEAD) + b"\r\nplain text", "parts", ALTERNATIVE),
    (lambda: _raw().replace(b"\r\n--b--", b""), "defects",
     "The parsed message has the defect CloseBoundaryNotFoundDefect."),
    (lambda: _raw((*_without("Date"), "Date: yesterday")), "defects",
     "The parsed message has the defect InvalidDateDefect."),
    (lambda: _in_text("now", "n\0w"), "bytes", "The message holds a NUL byte."),
    (lambda: _raw().replace(b"Hello,\r\n", b"Hello,\n", 1), "bytes",
     "A line ends in a lone CR or LF; lines end in CRLF."),
    (lambda: _raw(("X-Name: Zoë", *HEAD)), "bytes", "The headers hold bytes that are not ASCII."),
    (lambda: _in_text("now", "n" * 1000), "line_length", "Line 17 has 1,009 bytes; at most 998."),
    (lambda: _raw((*_without("Subject"), f"Subject: =?utf-8?b?{base64.b64encode(b'x' * 60).decode()}?=")),
     "encoded_word", "An encoded word has 92 characters; at most 75."),
    (lambda: _in_text("now", "n\ud800w"), "charset", NOT_UTF8.format("text/plain")),
    (lambda: _in_html("now", "n\ud800w"), "charset", NOT_UTF8.format("text/html")),
    (lambda: _in_html("now", "n&#xD83D;w"), "charset", "The HTML refers to a lone surrogate."),
    (lambda: _in_html("now", "n&#55357;w"), "charset", "The HTML refers to a lone surrogate."),
    (lambda: _in_text(OFFER, f"{OFFER}x"), "link_mismatch", "2 link(s) stand in one part and not in the other."),
    (lambda: _in_text("15%", "25%"), "figure_mismatch", "Only one part says the figures: 15, 25."),
    (lambda: _in_html("</body>", "x " * 60_000 + "</body>"), "html_size",
     f"The HTML has {120_000 + len(HTML) + HTML.count(chr(10)):,} bytes; mail programs cut it at 102,000."),
    (lambda: _in_html(' lang="en"', ""), "html_structure", "The HTML names no language: <html lang=...>."),
    (lambda: _in_html("<title>Hello", "<title> "), "html_structure", "The HTML has no title."),
    (lambda: _in_html(' alt=""', ""), "html_structure", "1 image(s) without alt text."),
    (lambda: _in_html('<meta name="color-scheme" content="light dark">', ""), "dark_mode",
     "The HTML has no colours for dark mode, or no meta color-scheme."),
    (lambda: _in_html("prefers-color-scheme", "print"), "dark_mode",
     "The HTML has no colours for dark mode, or no meta color-scheme."),
    (lambda: _in_html('style="color:#1f2933">Hello', 'style="color:#888">Hello'), "contrast",
     "'Hello,': #888888 on #ffffff has a contrast of 3.54; at least 4.5."),
    (lambda: _in_html('style="background-color:#ffffff"', 'style="background: rgb(31, 41, 51)"'), "contrast",
     "'Hello,': #1f2933 on #1f2933 has a contrast of 1.00; at least 4.5."),
    (lambda: _in_html(".ink { color: #ffffff", ".ink { color: #333333"), "contrast",
     "'Hello,' in dark mode: #333333 on #000000 has a contrast of 1.66; at least 4.5."),
    (lambda: _in_text(POSTAL, ""), "postal_address", "The postal address does not stand at the end of both parts."),
    (lambda: _in_html(POSTAL, ""), "postal_address", "The postal address does not stand at the end of both parts."),
    (lambda: _in_text("You get this because you agreed.", "Bye."), "why",
     "Both parts must say why the reader gets this: You get this because ..."),
    (lambda: _in_html("You get this because you agreed.", "Bye."), "why",
     "Both parts must say why the reader gets this: You get this because ..."),
    (lambda: _in_html(">Unsubscribe<", "><"), "unsubscribe_visible",
     "The link to unsubscribe must be visible in both parts."),
    (lambda: _in_html(">Unsubscribe<", '><span style="display: none">Unsubscribe</span><'), "unsubscribe_visible",
     "The link to unsubscribe must be visible in both parts."),
    (lambda: _in_text(urls().unsubscribe, ""), "unsubscribe_visible",
     "The link to unsubscribe must be visible in both parts."),
    (lambda: _in_html(OFFER, "javascript:alert(1)"), "link",
     "<a href> is a link of the kind javascript:; only https may be used."),
    (lambda: _in_html(OFFER, " jAva\tscript:alert(1)"), "link",
     "<a href> is a link of the kind javascript:; only https may be used."),
    (lambda: _in_html(OFFER, "data:text/html,x"), "link",
     "<a href> is a link of the kind data:; only https may be used."),
    (lambda: _in_html(OFFER, "http://shop.example/"), "link",
     "<a href> is a link of the kind http:; only https may be used."),
    (lambda: _in_html(OFFER, "/offers"), "link", "<a href> is not an absolute https address."),
    (lambda: _in_html(urls().pixel, "http://shop.example/o"), "link",
     "<img src> is a link of the kind http:; only https may be used."),
    (lambda: _in_html("<style>\n", "<style>\n.x { background: url('http://shop.example/x') }\n"), "link",
     "<style> is a link of the kind http:; only https may be used."),
    (lambda: _in_html("<p>", '<p style="background:url(//shop.example/x)">'), "link",
     "<p style> is not an absolute https address."),
    (lambda: _in_text(OFFER, "http://shop.example/"), "link",
     "the text is a link of the kind http:; only https may be used."),
    *((lambda tag=tag: _in_html("<p>", f"<{tag}></{tag}><p>"), "active_content",
       f"The HTML holds <{tag}>: no scripts, forms or frames in a message.")
      for tag in ("script", "form", "iframe", "object", "button")),
    (lambda: _in_html("<p>", '<p onclick="x()">'), "active_content",
     "The HTML holds onclick=: no scripts, forms or frames in a message."),
    (lambda: _in_html("<title>", '<meta http-equiv="refresh" content="0"><title>'), "active_content",
     "The HTML holds <meta refresh>: no scripts, forms or frames in a message."),
    *((lambda hit=hit: _in_text("now", f"now {hit}"), "open_field",
       f"The text holds {hit!r}: a merge field or template was left open.")
      for hit in ("[[", "]]", "{{", "}}", "{%", "%}", "${", "%%NAME%%")),
    (lambda: _in_html("now", "[[first_name|there]]"), "open_field",
     "The HTML holds '[[': a merge field or template was left open."),
    (lambda: _raw((*_without("Subject"), "Subject: Hi {{ name }}")), "open_field",
     "The subject holds '{{': a merge field or template was left open."),
    (lambda: _in_text("now", "now \u202ewon"), "control_character",
     "The text holds a control character or mark of direction."),
    (lambda: _in_html("now", "now \x07"), "control_character",
     "The HTML holds a control character or mark of direction."),
]  # fmt: skip


@pytest.mark.parametrize(("make", "rule", "said"), CASES, ids=[f"{rule}-{n}" for n, (_, rule, _) in enumerate(CASES)])
def test_each_fault_is_an_error_in_its_own_words(make: Callable[[], bytes], rule: str, said: str) -> None:
    assert (rule, "error", said) in _findings(make())


def test_every_rule_is_shown_failing() -> None:
    shown = {rule for _, rule, _ in CASES} | {"local_link"}
    source = __import__("inspect").getsource(__import__(lint_message.__module__, fromlist=["x"]))
    assert set(re.findall(r'Finding\(\s*"([a-z_0-9]+)"', source)) == shown


def test_a_service_on_this_machine_is_a_warning() -> None:
    raw = _raw(tuple(line.replace("https://mail.shop.example", "http://127.0.0.1:8080") for line in HEAD),
               TEXT.replace("https://mail.shop.example", "http://127.0.0.1:8080"),
               HTML.replace("https://mail.shop.example", "http://127.0.0.1:8080"))  # fmt: skip
    assert _findings(raw) == [
        ("list_unsubscribe", "warning",
         "List-Unsubscribe leads to this machine alone: set [delivery] public_url."),
        ("local_link", "warning", "<a href> leads to this machine alone: set [delivery] public_url."),
        ("local_link", "warning", "<img src> leads to this machine alone: set [delivery] public_url."),
        ("local_link", "warning", "the text leads to this machine alone: set [delivery] public_url."),
    ]  # fmt: skip


def test_the_postal_address_is_the_sender_s_own() -> None:
    assert [found.rule for found in lint_message(_raw(), SENDER)] == ["postal_address"]


def test_a_long_list_unsubscribe_folded_by_the_standard_library_is_noticed() -> None:
    url = "https://mail.shop.example/u/" + "a" * 172
    raw = built().replace(f"<{urls().unsubscribe}>".encode(), b"=?utf-8?q?=3Chttps=3A//mail?=\r\n =?utf-8?q?x=3E?=")
    assert Finding(
        "list_unsubscribe", "error", "List-Unsubscribe is in encoded words; no program reads it so."
    ) in lint_message(raw)  # fmt: skip
    assert lint_message(built().replace(urls().unsubscribe.encode(), url.encode())) != []


def test_colours_are_read_in_the_forms_that_mail_is_written_in() -> None:
    assert colour_of("#FFF") == colour_of("white") == colour_of("rgb(255, 255,255)") == (255, 255, 255)
    assert colour_of("#0b5d4b !important") == (11, 93, 75)
    assert colour_of("var(--x)") is colour_of("#12") is colour_of("hsl(1,2%,3%)") is None
    assert contrast("#000", "#fff") == pytest.approx(21) and contrast("#777777", "#ffffff") == pytest.approx(
        4.478, abs=1e-3
    )
    with pytest.raises(ValueError, match=r"^A colour is # and three or six hexadecimal digits, rgb\(\), or a common"):
        contrast("reddish", "#fff")


def test_the_hostile_recipients_hold_every_trick_that_is_known() -> None:
    everyone = hostile_recipients(("P1", "P2", "P3", "P4"))
    names = "\n".join(recipient.first_name or "" for recipient in everyone)
    for trick in (
        "\r\n",
        "\0",
        "\ud800",
        "\u202e",
        "<script>",
        "n" * 300,
        "[[",
        "{{",
        "{%",
        "😀",
        '"',
        "'",
        "https://",
    ):
        assert trick in names
    assert {None, ""} <= {recipient.first_name for recipient in everyone}
    assert any("@xn--" in recipient.address for recipient in everyone)
    assert {"P1", "P4"} <= {product for recipient in everyone for product in recipient.product_ids}
