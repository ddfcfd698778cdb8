"""Lint of a finished message: what its bytes must hold and must not, each rule with its finding.

What belongs here: rules on the bytes as a mail server gets them, and sample recipients that try to break them. What
does not: rules on the copy (`lint`), building (`message`), and repairing.
"""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from html.parser import HTMLParser
from types import MappingProxyType
from typing import Literal

from segmentation_assets.messaging.content import Recipient, SenderIdentity

#: Longest line without its CRLF (RFC 5322), longest encoded word (RFC 2047), and where Gmail clips HTML, in bytes.
LONGEST_LINE, LONGEST_WORD, LARGEST_HTML_BYTES = 998, 75, 102_000
#: Least contrast of letters and their ground (WCAG 2.1, success criterion 1.4.3).
LEAST_CONTRAST = 4.5
_MOST_SHOWN = 60


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `rule` is stable and short; an `error` blocks approval, a `warning` is shown."""

    rule: str
    severity: Literal["error", "warning"]
    detail: str


# ---------------------------------------------------------------------------------------------------- colours

_NAMED = MappingProxyType(
    {"white": (255, 255, 255), "black": (0, 0, 0), "red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255),
     "gray": (128, 128, 128), "grey": (128, 128, 128), "silver": (192, 192, 192), "yellow": (255, 255, 0)}
)  # fmt: skip
_HEX = re.compile(r"#(?:[0-9a-f]{6}|[0-9a-f]{3})")
_RGB = re.compile(r"rgb\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)")
Rgb = tuple[int, int, int]


def colour_of(css: str) -> Rgb | None:
    """Red, green and blue of a CSS colour: #rgb, #rrggbb, rgb() or a common name; None for anything else."""
    css = css.lower().replace("!important", "").strip()
    if css in _NAMED:
        return _NAMED[css]
    if match := _RGB.fullmatch(css):
        red, green, blue = (min(int(part), 255) for part in match.groups())
        return red, green, blue
    if not _HEX.fullmatch(css):
        return None
    digits = css[1:] if len(css) == 7 else "".join(2 * digit for digit in css[1:])
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def _luminance(colour: Rgb) -> float:
    parts = [value / 255 for value in colour]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast_of(one: Rgb, other: Rgb) -> float:
    """Contrast ratio, 1 to 21, by the relative luminance of WCAG 2.1."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two CSS colours. ValueError for what is no colour."""
    first, second = colour_of(one), colour_of(other)
    if first is None or second is None:
        raise ValueError("A colour is # and three or six hexadecimal digits, rgb(), or a common name.")
    return contrast_of(first, second)


# ------------------------------------------------------------------------------------------------------- HTML

_VOID = frozenset({"br", "meta", "img", "hr", "link", "input", "base", "area", "col", "source", "wbr", "embed"})
_UNSEEN = frozenset({"style", "script", "title", "head"})
_BREAKS = frozenset({"p", "td", "tr", "br", "div", "li", "h1", "h2", "h3", "table", "body"})
_ACTIVE = frozenset({"script", "form", "iframe", "object", "embed", "input", "button", "textarea", "select", "base"})
_ADDRESSES = frozenset({"href", "src", "action", "background", "formaction", "poster", "data", "srcset"})
_CSS_URL = re.compile(r"(?i)url\(\s*['\"]?([^'\")]*)")
_DARK = re.compile(r"(?is)@media[^{]*prefers-color-scheme:\s*dark[^{]*\{((?:[^{}]*\{[^{}]*\})*)\s*\}")
_RULE = re.compile(r"\.([A-Za-z0-9_-]+)\s*\{([^{}]*)\}")
_HIDDEN = re.compile(r"(?i)display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?:px)?\s*(?:;|$)")


def _declarations(style: str) -> dict[str, str]:
    pairs = (part.partition(":") for part in style.split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs if value.strip()}


@dataclass(frozen=True)
class _Open:
    tag: str
    ink: Rgb | None
    ground: Rgb | None
    is_hidden: bool
    href: str | None


@dataclass
class _Page(HTMLParser):
    """What a reader sees of an HTML part, with the colours it is seen in; `dark` overrides colours by class."""

    dark: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = self.language = self.css = ""
        self.text: list[str] = []
        self.addresses: list[tuple[str, str]] = []
        self.links: dict[str, str] = {}
        self.active: list[str] = []
        self.images_without_alt = 0
        self.has_dark_mode = False
        self.faint: dict[tuple[Rgb, Rgb], str] = {}
        self._stack: list[_Open] = [_Open("", (0, 0, 0), (255, 255, 255), False, None)]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        top = self._stack[-1]
        if tag in _ACTIVE:
            self.active.append(f"<{tag}>")
        self.active += [f"{name}=" for name in given if name.startswith("on")]
        if tag == "meta" and given.get("http-equiv", "").lower() == "refresh":
            self.active.append("<meta refresh>")
        self.addresses += [(f"<{tag} {name}>", given[name]) for name in _ADDRESSES if name in given]
        self.addresses += [(f"<{tag} style>", url) for url in _CSS_URL.findall(given.get("style", ""))]
        if tag == "html":
            self.language = given.get("lang", "")
        if tag == "img" and "alt" not in given:
            self.images_without_alt += 1
        if tag == "meta" and given.get("name") == "color-scheme" and "dark" in given.get("content", ""):
            self.has_dark_mode = True
        if tag in _BREAKS:
            self.text.append("\n")
        if tag in _VOID:
            return
        style = _declarations(given.get("style", ""))
        for name in given.get("class", "").split():
            style.update(self.dark.get(name, {}))
        ink, ground = top.ink, top.ground
        if "color" in style:
            ink = colour_of(style["color"])
        if background := style.get("background-color") or style.get("background") or given.get("bgcolor"):
            ground = ground if background.strip().lower() == "transparent" else colour_of(background)
        is_hidden = top.is_hidden or "hidden" in given or bool(_HIDDEN.search(given.get("style", "")))
        href = given.get("href", "") if tag == "a" else top.href
        self._stack.append(_Open(tag, ink, ground, is_hidden, href))

    def handle_endtag(self, tag: str) -> None:
        for place in range(len(self._stack) - 1, 0, -1):
            if self._stack[place].tag == tag:
                del self._stack[place:]
                break
        if tag in _BREAKS:
            self.text.append("\n")

    def handle_data(self, data: str) -> None:
        tags = {opened.tag for opened in self._stack}
        if "title" in tags:
            self.title += data
        if "style" in tags:
            self.css += data
        top = self._stack[-1]
        if tags & _UNSEEN:
            return
        self.text.append(data if not top.is_hidden else "")
        if top.is_hidden or not data.strip():
            return
        if top.href is not None:
            self.links[top.href] = self.links.get(top.href, "") + data.strip()
        if top.ink and top.ground and contrast_of(top.ink, top.ground) < LEAST_CONTRAST:
            self.faint.setdefault((top.ink, top.ground), data.strip())


def _page(html: str, dark: Mapping[str, Mapping[str, str]] | None = None) -> _Page:
    page = _Page(dark or {})
    page.feed(html)
    page.close()
    return page


# ----------------------------------------------------------------------------------------------------- message


@dataclass(frozen=True)
class _Message:
    """A message taken apart: its bytes, the parsed form, its two texts and the HTML as seen."""

    raw: bytes
    head: bytes
    parsed: EmailMessage
    text: str
    html: str
    page: _Page
    sender: SenderIdentity | None

    @property
    def unsubscribe_url(self) -> str:
        found = _raw_headers(self.head, b"List-Unsubscribe")
        match = _ONE_URL.fullmatch(found[0].strip()) if len(found) == 1 else None
        return match[1].decode("ascii") if match else ""


_ONE_URL = re.compile(rb"<(https?://[!#-;=?-~]+)>")
_ONCE = ("From", "To", "Subject", "Date", "Message-ID")
_WORDS = re.compile(rb"=\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=")
_TEMPLATE = re.compile(r"\[\[|\]\]|\{\{|\}\}|\{%|%\}|\$\{|%%\w+%%")
_URL = re.compile(r"(?i)\bhttps?://[^\s<>\"')\]]+")
_NUMBER = re.compile(r"\d[\d.,]*\d|\d")
_SURROGATE_REFERENCE = re.compile(
    r"(?i)&#(?:x0*d[89a-f][0-9a-f]{2}|0*5(?:529[6-9]|5[3-9]\d\d|6\d{3}|7[0-2]\d\d|73[0-3]\d|734[0-3]));?"
)
_ODD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_LOOPBACK = re.compile(r"http://(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?(?:[/?#]|$)")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
#: "You get this because ..." in the languages a layout may be written in.
_WHY = re.compile(
    r"(?i)\b(?:because|weil|parce que|car vous|porque|perché|poiché|omdat|ponieważ|eftersom|fordi|koska|protože|"
    r"çünkü|deoarece|pentru că|тому що|оскільки|επειδή)(?!\w)"
)
_LEAST_POSTAL = 10


def _raw_headers(head: bytes, name: bytes) -> list[bytes]:
    """The values of a header as they stand in the bytes, folds included."""
    return [
        match[1]
        for match in re.finditer(rb"(?im)^" + re.escape(name) + rb":((?:[^\r\n]*)(?:\r?\n[ \t][^\r\n]*)*)", head)
    ]


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "...")


def _is_sound(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def lint_message(raw: bytes, sender: SenderIdentity | None = None) -> list[Finding]:
    """Everything wrong with a finished message, in a fixed order; without an error it may be sent.

    `raw` are the bytes as they would go out (CRLF). With `sender`, the postal address must be that sender's own;
    without, the footer must hold some line that could be one.
    """
    head = raw.partition(b"\r\n\r\n")[0] + b"\r\n"
    parsed = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)  # noqa: S101  # the default policy makes no other
    found = [*_bytes_findings(raw), *_header_findings(head, parsed)]
    leaves = [part for part in parsed.walk() if not part.is_multipart()]
    kinds = [part.get_content_type() for part in leaves]
    if parsed.get_content_type() != "multipart/alternative" or kinds != ["text/plain", "text/html"]:
        found.append(
            Finding("parts", "error", "A message is multipart/alternative with text/plain first and text/html second.")
        )
        return list(dict.fromkeys(found))
    bodies = [bytes(part.get_payload(decode=True) or b"") for part in leaves]
    for kind, part, body in zip(kinds, leaves, bodies, strict=True):
        if (part.get_content_charset() or "us-ascii") not in {"utf-8", "us-ascii"} or not _is_sound(body):
            found.append(Finding("charset", "error", f"The part {kind} is not UTF-8: a lone surrogate, or bytes cut."))
    text, html = (body.decode("utf-8", "replace") for body in bodies)
    message = _Message(raw, head, parsed, text, html, _page(html), sender)
    for rule in _RULES:
        found += rule(message)
    return list(dict.fromkeys(found))


def _bytes_findings(raw: bytes) -> Iterator[Finding]:
    if b"\0" in raw:
        yield Finding("bytes", "error", "The message holds a NUL byte.")
    if re.search(rb"(?<!\r)\n|\r(?!\n)", raw):
        yield Finding("bytes", "error", "A line ends in a lone CR or LF; lines end in CRLF.")
    for number, line in enumerate(raw.split(b"\r\n"), start=1):
        if len(line) > LONGEST_LINE:
            yield Finding("line_length", "error", f"Line {number} has {len(line):,} bytes; at most {LONGEST_LINE}.")
    if not raw.partition(b"\r\n\r\n")[0].isascii():
        yield Finding("bytes", "error", "The headers hold bytes that are not ASCII.")


def _header_findings(head: bytes, parsed: EmailMessage) -> Iterator[Finding]:
    defects = [defect for part in parsed.walk() for defect in part.defects]
    for part in parsed.walk():
        defects += [defect for value in part.values() for defect in getattr(value, "defects", ())]
    for name in dict.fromkeys(type(defect).__name__ for defect in defects):
        yield Finding("defects", "error", f"The parsed message has the defect {name}.")
    for name in _ONCE:
        if (count := len(_raw_headers(head, name.encode()))) != 1:
            yield Finding("header_count", "error", f"There are {count} headers {name}; there must be one.")
    for word in _WORDS.findall(head):
        if len(word) > LONGEST_WORD:
            yield Finding(
                "encoded_word", "error", f"An encoded word has {len(word)} characters; at most {LONGEST_WORD}."
            )
    urls = _raw_headers(head, b"List-Unsubscribe")
    one = _ONE_URL.fullmatch(urls[0].strip()) if len(urls) == 1 else None
    if any(b"=?" in url for url in urls):
        yield Finding("list_unsubscribe", "error", "List-Unsubscribe is in encoded words; no program reads it so.")
    elif one is None or not (one[1].startswith(b"https:") or _LOOPBACK.match(one[1].decode("ascii"))):
        yield Finding("list_unsubscribe", "error", "List-Unsubscribe must be one https address in angle brackets.")
    elif one[1].startswith(b"http:"):
        yield Finding(
            "list_unsubscribe", "warning", "List-Unsubscribe leads to this machine alone: set [delivery] public_url."
        )
    if [value.strip() for value in _raw_headers(head, b"List-Unsubscribe-Post")] != [b"List-Unsubscribe=One-Click"]:
        yield Finding("one_click", "error", "List-Unsubscribe-Post must be List-Unsubscribe=One-Click (RFC 8058).")


def _pair(message: _Message) -> Iterator[Finding]:
    in_text = set(_URL.findall(message.text))
    in_html = {address for where, address in message.page.addresses if where == "<a href>"}
    if in_text != in_html:
        yield Finding(
            "link_mismatch", "error", f"{len(in_text ^ in_html)} link(s) stand in one part and not in the other."
        )
    seen = "".join(message.page.text)
    odd = set(_NUMBER.findall(_URL.sub(" ", message.text))) ^ set(_NUMBER.findall(_URL.sub(" ", seen)))
    if odd:
        yield Finding("figure_mismatch", "error", f"Only one part says the figures: {', '.join(sorted(odd)[:5])}.")


def _structure(message: _Message) -> Iterator[Finding]:
    page = message.page
    size = len(message.html.encode("utf-8", "replace"))
    if size > LARGEST_HTML_BYTES:
        yield Finding("html_size", "error", f"The HTML has {size:,} bytes; mail programs cut it at 102,000.")
    if not page.language:
        yield Finding("html_structure", "error", "The HTML names no language: <html lang=...>.")
    if not page.title.strip():
        yield Finding("html_structure", "error", "The HTML has no title.")
    if page.images_without_alt:
        yield Finding("html_structure", "error", f"{page.images_without_alt} image(s) without alt text.")
    if not page.has_dark_mode or not _DARK.search(page.css):
        yield Finding("dark_mode", "error", "The HTML has no colours for dark mode, or no meta color-scheme.")


def _contrasts(message: _Message) -> Iterator[Finding]:
    dark: dict[str, dict[str, str]] = {}
    for block in _DARK.findall(message.page.css):
        for name, style in _RULE.findall(block):
            dark.setdefault(name, {}).update(_declarations(style))
    modes = {"": message.page, " in dark mode": _page(message.html, dark) if dark else message.page}
    for mode, page in modes.items():
        for (ink, ground), sample in page.faint.items():
            yield Finding(
                "contrast", "error",
                f"{_shown(sample)}{mode}: #{bytes(ink).hex()} on #{bytes(ground).hex()} has a contrast of "
                f"{contrast_of(ink, ground):.2f}; at least {LEAST_CONTRAST}.",
            )  # fmt: skip


def _footer(message: _Message) -> Iterator[Finding]:
    seen = "".join(message.page.text)
    words = " ".join(seen.split())
    lines = [" ".join(line.split()) for line in message.text.splitlines()]
    lines = [line for line in lines if line]
    if message.sender is not None:
        postal = " ".join(message.sender.postal_address.split())
        has_postal = postal in " ".join(lines) and postal in words
    else:
        below = lines[lines.index("--") + 1 :] if "--" in lines else lines[-6:]
        own = [line for line in below if not _URL.search(line) and not _WHY.search(line)]
        has_postal = any(len(line) >= _LEAST_POSTAL and line in words for line in own)
    if not has_postal:
        yield Finding("postal_address", "error", "The postal address does not stand at the end of both parts.")
    if not _WHY.search(" ".join(lines)) or not _WHY.search(words):
        yield Finding("why", "error", "Both parts must say why the reader gets this: You get this because ...")
    url = message.unsubscribe_url
    if url and (url not in message.text or not message.page.links.get(url)):
        yield Finding("unsubscribe_visible", "error", "The link to unsubscribe must be visible in both parts.")


def _links(message: _Message) -> Iterator[Finding]:
    page = message.page
    places = [*page.addresses, *(("<style>", url) for url in _CSS_URL.findall(page.css))]
    places += [("the text", url) for url in re.findall(r"(?i)\b(?:http|javascript|data|vbscript):\S+", message.text)]
    for where, address in dict.fromkeys(places):
        scheme = _SCHEME.match("".join(address.split()))
        name = scheme[1].lower() if scheme else ""
        if name in {"https", "mailto"}:
            continue
        if name == "http" and _LOOPBACK.match(address):
            yield Finding("local_link", "warning", f"{where} leads to this machine alone: set [delivery] public_url.")
        elif name:
            yield Finding("link", "error", f"{where} is a link of the kind {name}:; only https may be used.")
        else:
            yield Finding("link", "error", f"{where} is not an absolute https address.")
    for what in dict.fromkeys(page.active):
        yield Finding("active_content", "error", f"The HTML holds {what}: no scripts, forms or frames in a message.")


def _open_fields(message: _Message) -> Iterator[Finding]:
    parts = {"subject": str(message.parsed["Subject"] or ""), "text": message.text, "HTML": message.html}
    for name, text in parts.items():
        for hit in dict.fromkeys(_TEMPLATE.findall(_without_css(text))):
            yield Finding("open_field", "error", f"The {name} holds {hit!r}: a merge field or template was left open.")
        if _ODD.search(text):
            yield Finding("control_character", "error", f"The {name} holds a control character or mark of direction.")
    if _SURROGATE_REFERENCE.search(message.html):
        yield Finding("charset", "error", "The HTML refers to a lone surrogate.")


def _without_css(text: str) -> str:
    """`text` without style sheets, in which "}}" closes a media query."""
    return re.sub(r"(?is)<style.*?</style>", "", text)


_RULES: tuple[Callable[[_Message], Iterator[Finding]], ...] = (
    _pair, _structure, _contrasts, _footer, _links, _open_fields,
)  # fmt: skip


def hostile_recipients(product_ids: Iterable[str] = ()) -> list[Recipient]:
    """Sample recipients who try to break a message; every one must get a message without an error.

    `product_ids` are the campaign's: each is somebody's own, three at a time, so that every product is shown once.
    """
    at = "sample@example.com"
    names: tuple[str | None, ...] = (
        "Ann", None, "", "   ", "Ann\r\nBcc: other@example.com", "Ann\0Other", "Ann\ud800\udfffX", "\ud83d",
        "\u202eevil\u202c", "\u200f\u200e", "\u2066Ann\u2069", "Ann\u0085\u2028\u2029Other",
        "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "<!--", "</title></style><b>", "&lt;b&gt;&amp;",
        "n" * 300, "é" * 300, "e\u0301" * 300, "a " * 150, "[[unsubscribe_url]]", "[[first_name|x]]", "[[", "]]",
        "{{ 7 * 7 }}", "{% for a in b %}", "${x}", "%%name%%", "$[[{{{x}}}", "=?utf-8?q?x?=", "=?", "😀", "Ann 😀",
        "👩‍👩‍👧 Ann", "O'Neil", 'Ann "the" Other', "Ann\\", "Zoë", "李小龙", "محمد", "שרה", "می‌خواهم", "Владимир",
        "www.example.com", "https://example.com/x", "other@example.com", ".", "--", "-- \r\n", "=20", "%s %d {0}",
        "\ufeffAnn", "A\u00adnn", "\U000e0041nn", "Ann\t Other",
    )  # fmt: skip
    recipients = [Recipient(at, name) for name in names]
    recipients += [Recipient(at, "Ann", language) for language in ("de", "DE-at", "xx", "", '"><b>', "\r\n", "el")]
    recipients += [Recipient(at, None, "de"), Recipient("sample@xn--bcher-kva.example", "Ann")]
    recipients += [Recipient(f"{'a' * 64}@{'b' * 60}.example.com", "Ann")]
    recipients += [Recipient(at, "Ann", None, ids) for ids in (("",), ("no such", "\r\n"), ("x",) * 50)]
    known = tuple(product_ids)
    recipients += [Recipient(at, "Ann", None, known[place : place + 3]) for place in range(0, len(known), 3)]
    return recipients
