"""Lint: what a draft must not be, each rule with its finding.

What belongs here: rules on the finished draft (text, HTML and the two together). What does not: repairing it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from html.parser import HTMLParser

from segmentation_assets.language.facts import FactBook, FactKind
from segmentation_assets.language.grounding import (
    Finding,
    mentions_of_people,
    pressure_and_claims,
    ungrounded_rendered,
    without_facts,
)
from segmentation_assets.language.rendering import render_fact
from segmentation_assets.messaging.merge_fields import (
    IN_ONE_LINE,
    LINKS,
    MERGE_FIELD,
    MERGE_FIELDS,
    NEEDS_FALLBACK,
    merge_fields,
)

SHORTEST_SUBJECT = 5
LONGEST_SUBJECT = 78
#: Gmail clips a message beyond this.
LARGEST_HTML_BYTES = 102_000

_PLACEHOLDER = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{\{|\}\}|\$\{[^}]*\}|%%\w+%%")
_URL = re.compile(r"(?i)\bhttps?://[^\s\"'<>)\]]+")
_MAIL = re.compile(r"[^\s<>\"']+@[^\s<>\"']+\.\w+")
_WITH_LINKS = LINKS | {"next_products"}
_NUMBER = re.compile(r"\d[\d.,]*\d|\d")


@dataclass(frozen=True)
class Draft:
    """One draft as it stands in campaigns.email_drafts; merge fields are open, facts are written."""

    subject: str
    preheader: str
    body_text: str
    body_html: str
    call_to_action: str = ""
    draft_id: str = ""
    brief_id: str = ""
    variant: str = "A"
    valid_until: date | None = None


class _Reader(HTMLParser):
    """Visible text, links, struck texts and the few structural facts of an HTML body."""

    _HIDDEN = frozenset({"style", "script", "title", "head"})
    _BREAKS = frozenset({"p", "td", "tr", "br", "div", "li", "h1", "h2", "h3"})
    _VOID = frozenset({"br", "meta", "img", "hr", "link", "input"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text: list[str] = []
        self.links: list[str] = []
        self.struck: list[str] = []
        self.title = ""
        self.language = ""
        self.images_without_alt = 0
        self.has_dark_mode = False
        self._open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        style = given.get("style", "").replace(" ", "").lower()
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "img" and "alt" not in given:
            self.images_without_alt += 1
        if tag == "html":
            self.language = given.get("lang", "")
        if tag == "meta" and given.get("name") == "color-scheme":
            self.has_dark_mode = True
        if tag in self._BREAKS:
            self.text.append("\n")
        if tag not in self._VOID:
            self._open.append((tag, tag in {"s", "del", "strike"} or "line-through" in style))

    def handle_endtag(self, tag: str) -> None:
        for place in range(len(self._open) - 1, -1, -1):
            if self._open[place][0] == tag:
                del self._open[place:]
                break

    def handle_data(self, data: str) -> None:
        tags = {tag for tag, _ in self._open}
        if "title" in tags:
            self.title += data
        if tags & self._HIDDEN:
            return
        if any(is_struck for _, is_struck in self._open) and data.strip():
            self.struck.append(data.strip())
        self.text.append(data)


def read_html(html: str) -> _Reader:
    """The parsed body."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader


def _links_in_text(text: str) -> set[str]:
    # The block of a recipient's own products brings its links along, so both parts must hold it too.
    return set(_URL.findall(text)) | {f"[[{name}]]" for name, _ in merge_fields(text) if name in _WITH_LINKS}


def lint_draft(draft: Draft, facts: FactBook) -> list[Finding]:
    """Everything wrong with `draft`, in the order of its fields; an empty list means a person may be asked.

    `facts` are those the copy was written from: every figure must be a rendering of one of them, urgency must state
    the fact valid_until in the same field, and a struck price must be a fact list_price.
    """
    reader = read_html(draft.body_html)
    visible = "".join(reader.text)
    fields = {
        "subject": draft.subject,
        "preheader": draft.preheader,
        "call_to_action": draft.call_to_action,
        "body_text": draft.body_text,
        "body_html": visible,
    }
    found: list[Finding] = []
    if not SHORTEST_SUBJECT <= len(draft.subject) <= LONGEST_SUBJECT:
        found.append(
            Finding(
                "subject_length",
                f"The subject has {len(draft.subject)} characters; keep it between {SHORTEST_SUBJECT} and "
                f"{LONGEST_SUBJECT}.",
            )
        )
    if "\n" in draft.subject or "\r" in draft.subject:
        found.append(Finding("subject_length", "The subject must be a single line."))
    for name, text in fields.items():
        found += [Finding(finding.rule, f"{name}: {finding.detail}") for finding in _lint_field(text, facts)]
    found += _lint_merge_fields(fields, draft.body_html)
    found += _lint_structure(draft, reader)
    found += _lint_struck(reader, facts)
    found += _lint_pair(draft, reader, visible)
    return list(dict.fromkeys(found))


def _lint_field(text: str, facts: FactBook) -> list[Finding]:
    found = [
        Finding("unresolved_placeholder", f"{hit!r} was not filled in.")
        for hit in dict.fromkeys(_PLACEHOLDER.findall(text))
    ]
    plain = MERGE_FIELD.sub(" ", _PLACEHOLDER.sub(" ", text))
    end = facts.get("valid_until")
    says_end = end is not None and any(render_fact(end, facts.currency, form) in plain for form in (None, "short"))
    says_stock = any(
        fact.key.startswith("stock") and fact.kind is FactKind.COUNT and render_fact(fact, facts.currency) in plain
        for fact in facts
    )
    own = without_facts(plain, facts)
    found += pressure_and_claims(own, has_end_date=says_end, has_stock=says_stock)
    found += mentions_of_people(own)
    found += ungrounded_rendered(_URL.sub(" ", plain), facts)
    found += [Finding("address", f"{hit!r}: no addresses in a draft.") for hit in dict.fromkeys(_MAIL.findall(plain))]
    return found


def _lint_merge_fields(fields: dict[str, str], html: str) -> list[Finding]:
    found = []
    for name, fallback in dict.fromkeys(field for text in (*fields.values(), html) for field in merge_fields(text)):
        if name not in MERGE_FIELDS:
            found.append(Finding("unknown_merge_field", f"[[{name}]]: known are {', '.join(sorted(MERGE_FIELDS))}."))
        elif name in NEEDS_FALLBACK and not (fallback or "").strip():
            found.append(
                Finding("missing_fallback", f"[[{name}]] needs a fallback: [[{name}|{NEEDS_FALLBACK[name]}]].")
            )
    for name in ("subject", "preheader", "call_to_action"):
        found += [
            Finding("misplaced_merge_field", f"{name}: [[{field}]] has no place in a line of its own.")
            for field, _ in dict.fromkeys(merge_fields(fields[name]))
            if field in MERGE_FIELDS and field not in IN_ONE_LINE
        ]
    if "[[pixel_url]]" in fields["body_text"] or "[[pixel_url]]" in fields["body_html"]:
        found.append(Finding("misplaced_merge_field", "[[pixel_url]] is the address of an image in HTML, not a text."))
    for name, text in (("body_text", fields["body_text"]), ("body_html", html)):
        for field in ("next_products", "pixel_url"):
            if (count := text.count(f"[[{field}]]")) > 1:
                found.append(
                    Finding("misplaced_merge_field", f"{name}: [[{field}]] stands {count} times; once at most.")
                )
    for name in ("body_text", "body_html"):
        text = fields[name] if name == "body_text" else html
        if "[[unsubscribe_url]]" not in text:
            found.append(Finding("missing_unsubscribe", f"{name} has no [[unsubscribe_url]]."))
        if "[[postal_address]]" not in text:
            found.append(Finding("missing_postal_address", f"{name} has no [[postal_address]]."))
    return found


def _lint_structure(draft: Draft, reader: _Reader) -> list[Finding]:
    found = []
    size = len(draft.body_html.encode())
    if size > LARGEST_HTML_BYTES:
        found.append(Finding("html_size", f"The HTML has {size:,} bytes; mail programs cut it at 102,000."))
    if not reader.language:
        found.append(Finding("html_structure", "The HTML names no language: <html lang=...>."))
    if not reader.title.strip():
        found.append(Finding("html_structure", "The HTML has no title."))
    if not reader.has_dark_mode:
        found.append(Finding("html_structure", "The HTML has no color-scheme for dark mode."))
    if reader.images_without_alt:
        found.append(Finding("html_structure", f"{reader.images_without_alt} image(s) without alt text."))
    if draft.preheader and draft.preheader not in "".join(reader.text):
        found.append(Finding("html_structure", "The HTML does not hold the preheader."))
    if re.search(r"(?i)<script|javascript:|\son\w+=", draft.body_html):
        found.append(Finding("html_structure", "The HTML holds a script."))
    return found


def _lint_struck(reader: _Reader, facts: FactBook) -> list[Finding]:
    allowed = {
        render_fact(fact, facts.currency, form)
        for fact in facts
        if fact.kind is FactKind.MONEY and fact.key.startswith("list_price")
        for form in (None, "exact")
    }
    return [
        Finding("struck_price", f"{text!r} is struck through and is no known list price.")
        for text in reader.struck
        if text not in allowed
    ]


def _figures(text: str) -> list[str]:
    """The figures of a text; the number in [[product_url_1]] is none."""
    return _NUMBER.findall(MERGE_FIELD.sub(" ", text))


def _lint_pair(draft: Draft, reader: _Reader, visible: str) -> list[Finding]:
    found = []
    in_text, in_html = _links_in_text(draft.body_text), set(reader.links)
    if "[[next_products]]" in visible:
        in_html.add("[[next_products]]")
    if in_text != in_html:
        odd = ", ".join(sorted(in_text ^ in_html))
        found.append(Finding("link_mismatch", f"Text and HTML do not have the same links: {odd}."))
    preheaderless = visible.replace(draft.preheader, " ", 1) if draft.preheader else visible
    odd_numbers = set(_figures(draft.body_text)) ^ set(_figures(preheaderless))
    if odd_numbers:
        found.append(
            Finding("fact_mismatch", f"Text and HTML do not say the same figures: {', '.join(sorted(odd_numbers))}.")
        )
    return found
