"""The second wall: personal data is found in outgoing bytes however it is spelled, and our own texts pass."""

from __future__ import annotations

import html
import json
import string
import unicodedata
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import segmentation_assets.language
from segmentation_assets.language.facts import DeltaUnit, Fact, FactBook, FactKind
from segmentation_assets.language.privacy_wall import LONGEST_RUN, KnownValues, PrivacyWall
from segmentation_assets.language.rendering import every_rendering
from segmentation_assets.sources.synthetic import WorldSettings, stage_world
from segmentation_assets.sources.synthetic.vocabulary import make_people

EMAIL = "The message holds an e-mail address."
PHONE = "The message holds a telephone number."
IBAN = "The message holds an IBAN."
KNOWN_NAME = "The message holds the name of a customer."
KNOWN_EMAIL = "The message holds the e-mail address of a customer."
KNOWN_PHONE = "The message holds the telephone number of a customer."
KNOWN_STREET = "The message holds the street of a customer."
REASONS = {EMAIL, PHONE, IBAN, KNOWN_NAME, KNOWN_EMAIL, KNOWN_PHONE, KNOWN_STREET}


def as_json(text: str) -> bytes:
    """The body of a request that holds `text`, escapes for everything beyond ASCII."""
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": f"Some\n{text}\nmore"}]}).encode()


def as_escapes(text: str) -> bytes:
    return b'{"content": "' + "".join(f"\\u{ord(c):04x}" if ord(c) < 65_536 else c for c in text).encode() + b'"}'


ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "plain": lambda text: f"Some\n{text}\nmore".encode(),
    "json": as_json,
    "json in json": lambda text: json.dumps(as_json(text).decode()).encode(),
    "escapes": as_escapes,
    "percent": lambda text: f"https://shop.example/?q={quote(text)}&v=2".encode(),
    "html": lambda text: (
        "".join(c if c.isalnum() else f"&#{ord(c)};" for c in html.escape(text, False)).encode()
        if not set(text) & set("&<>")
        else html.escape(text).encode()
    ),
    "upper case": lambda text: text.upper().encode(),
    "parted letters": lambda text: unicodedata.normalize("NFD", text).encode(),
    "full width": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text).encode(),
    "invisible": lambda text: "\u200b".join(text).encode(),
}


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=list(ENCODINGS))
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ann.lee@example.com", EMAIL),
        ("o'hara+news@mail.example.co.uk", EMAIL),
        ("jörg@bücher.example", EMAIL),
        ("ann . lee @ example . com", EMAIL),
        ("ann(at)example.com", EMAIL),
        ("ann [at] example [dot] com", EMAIL),
        ("ann at example dot com", EMAIL),
        ("+49 30 23125 123", PHONE),
        ("0049 (0)30/23125-123", PHONE),
        ("030 23125123", PHONE),
        ("01.23.45.67.89", PHONE),
        ("(555) 123-4567", PHONE),
        ("555-0123456", PHONE),
        ("5550123", PHONE),
        ("0 1 7 1 2 3 4 5 6", PHONE),
        ("DE89370400440532013000", IBAN),
        ("GB82 WEST 1234 5698 7654 32", IBAN),
        ("FR14-2004-1010-0505-0001-3M02-606", IBAN),
    ],
)
def test_the_form_is_found_in_every_encoding(text: str, reason: str, encoding: Callable[[str], bytes]) -> None:
    assert PrivacyWall()(encoding(text)) == reason


KNOWN = KnownValues.of([
    "Anna Jensen", "Jørgen Müller-Lüdenscheidt", "Łukasz Żak", "Hauptstraße 12", "12 Elm Lane", "ann@example.com",
    "+49 30 23125 123", "Σωκράτης Παπαδόπουλος", "Ana Maria de la Cruz y Santos Ruiz de Alba",
])  # fmt: skip


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=list(ENCODINGS))
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Anna Jensen", KNOWN_NAME),
        ("anna   JENSEN", KNOWN_NAME),
        ("Anna-Jensen", KNOWN_NAME),
        ("anna_jensen", KNOWN_NAME),
        ("“Anna Jensen’s mug”", KNOWN_NAME),
        ("Jorgen Müller-Lüdenscheidt", KNOWN_NAME),
        ("jørgen muller ludenscheidt", KNOWN_NAME),
        ("Lukasz Zak", KNOWN_NAME),
        ("Σωκράτης Παπαδόπουλος", KNOWN_NAME),
        ("Ana Maria de la Cruz y Santos Ruiz de Alba", KNOWN_NAME),
        ("Hauptstrasse 12", KNOWN_STREET),
        ("Hauptstraße, 12", KNOWN_STREET),
        ("12 elm lane", KNOWN_STREET),
        ("ann at example com", KNOWN_EMAIL),
        ("ann example com", KNOWN_EMAIL),
        ("49_30_23125_123", KNOWN_PHONE),
        ("tel4930_23125_123", KNOWN_PHONE),
    ],
)
def test_a_known_value_is_found_in_every_encoding(text: str, reason: str, encoding: Callable[[str], bytes]) -> None:
    assert PrivacyWall(KNOWN)(encoding(text)) == reason
    # Without the knowledge the same bytes pass: it is the value that is found and not the form.
    assert PrivacyWall()(encoding(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "1,234,567 customers of 12,345,678 spent €1,234,567.89 and $12,345.67",
        "€410.00 11 times, 41.50 18 days, 12.5% 100% 2,100 3,400 900",
        "from 2024-07-14 to 2024-08-14, at 2024-07-14T12:30:00.123456+02:00",
        "14 July 2024 210 customers",
        '{"temperature": 0.123456789, "top_p": 1e-7, "silhouette": 12.3456789, "max_tokens": 120000}',
        "gpt-5-mini-2025-08-07 claude-3-5-sonnet-20241022 @cf/meta/llama-3.1-8b",
        "@cf/meta/llama-3.1-8b",
        "Ana Maria Ruiz and Ana Maria de la Cruz y Santos Lopez",
        "Host: 127.0.0.1:11434 192.168.178.120:8080",
        "x-request-id: 12345678-1234-1234-1234-123456789012",
        "AsyncOpenAI/Python 3.54.0, 3.11.15, Linux 5.15.0",
        "Mug @ home, look at home.Then go, a pot dot paint",
        "DE88 is a size, AB12 CD34 EF56",
        "{{customers}} and {{spend|exact}} of {{category1}}",
        "{\\n  2024-07-14\\n}",
        "",
    ],
)
def test_our_figures_and_the_words_of_the_protocol_pass(text: str) -> None:
    wall = PrivacyWall(KNOWN)
    assert [wall(encode(text)) for encode in (str.encode, as_json, ENCODINGS["json in json"])] == [None] * 3


@pytest.mark.parametrize(
    "value", ["Rose", "Jensen", "110", "555 12", "Markt", "Q7 12", "A 1", "J. R.", "", " ", "@", "C00017"]
)
def test_what_is_too_short_or_too_common_is_no_known_value(value: str) -> None:
    assert len(KnownValues.of([value])) == 0


def test_values_are_known_once_and_nulls_are_nothing() -> None:
    column = pl.Series(["Ann Lee", None, "ann  LEE", "Ánn Lee"])
    assert len(KnownValues.of_frame(column, pl.Series(["+1 555 0123456", "15550123456"]))) == 2
    assert len(KnownValues.of_frame(pl.Series([None, None], dtype=pl.String))) == 0
    assert len(KnownValues.of_frame()) == len(KnownValues()) == 0
    assert PrivacyWall(KnownValues())(b"Ann Lee") is None


@given(
    first=st.text("abcdefghijklmnopqrstuvwxyzäöüéèñçøåß", min_size=2, max_size=12),
    last=st.text("abcdefghijklmnopqrstuvwxyzäöüéèñçøåß", min_size=3, max_size=12),
    encoding=st.sampled_from(sorted(ENCODINGS)),
)
@settings(max_examples=60, deadline=None)
def test_any_name_is_found_and_the_reason_says_nothing_of_it(first: str, last: str, encoding: str) -> None:
    reason = PrivacyWall(KnownValues.of([f"{first.title()} {last.title()}"]))(ENCODINGS[encoding](f"{first} {last}"))
    assert reason == KNOWN_NAME


@given(outgoing=st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_read_and_a_reason_is_one_of_ours(outgoing: bytes) -> None:
    assert PrivacyWall(KNOWN)(outgoing) in REASONS | {None}


BOOKS = st.builds(
    lambda money, share, days, count, delta, name: FactBook((
        Fact("spend", FactKind.MONEY, money), Fact("part", FactKind.SHARE, share), Fact("pause", FactKind.DAYS, days),
        Fact("customers", FactKind.COUNT, count), Fact("change", FactKind.DELTA, delta, unit=DeltaUnit.MONEY),
        Fact("lean", FactKind.DELTA, share, unit=DeltaUnit.POINTS), Fact("category1", FactKind.NAME, name),
    )),
    st.floats(0, 1e12), st.floats(-1, 1), st.integers(0, 100_000), st.integers(0, 10**10), st.floats(-1e12, 1e12),
    st.sampled_from(["Coffee", "Garden", "Cable 1.5m/2m", "Kit 24 x 330 ml"]),
)  # fmt: skip


@given(book=BOOKS)
@settings(max_examples=60, deadline=None)
def test_whatever_its_value_a_rendered_figure_is_never_taken_for_personal_data(book: FactBook) -> None:
    text = "\n".join(f"- {written} (fact)" for written in every_rendering(book))
    assert PrivacyWall(KNOWN)(as_json(text)) is None


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Contacts and products of a synthetic shop."""
    home = tmp_path_factory.mktemp("world")
    stage_world(WorldSettings(customers=3_000, dirt_share=0.02), home / "raw", home / "answers")
    contacts, products = (
        pl.read_parquet(sorted((home / "raw" / name).glob("part-*.parquet"))) for name in ("contacts", "products")
    )
    return contacts, products


def known_of(contacts: pl.DataFrame) -> KnownValues:
    names = contacts.select(
        full=pl.concat_str("first_name", "last_name", separator=" "),
        reversed=pl.concat_str("last_name", "first_name", separator=" "),
    )
    return KnownValues.of_frame(*contacts.select("email", "phone", "street"), *names)


def test_the_prompts_and_the_goods_of_the_synthetic_shop_pass_with_all_its_customers_known(
    world: tuple[pl.DataFrame, pl.DataFrame],
) -> None:
    contacts, products = world
    wall = PrivacyWall(known_of(contacts))
    # The wall works: each of fifty customers is found.
    assert {wall(f"{row['first_name']} {row['last_name']}".encode()) for row in contacts.head(50).to_dicts()} <= {
        KNOWN_NAME, EMAIL,
    }  # fmt: skip
    prompts = sorted((Path(segmentation_assets.language.__file__).parent / "prompts").glob("*.md"))
    assert prompts
    for prompt in prompts:
        assert wall(as_json(prompt.read_text("utf-8"))) is None, prompt.name
    for column in ("name", "brand", "category", "subcategory"):
        values = products[column].drop_nulls().unique().sort().to_list()
        for start in range(0, len(values), 200):
            text = "\n".join(f'- {{{{product}}}}: "{value}" (name)' for value in values[start : start + 200])
            assert wall(as_json(text)) is None, column


def test_random_words_are_no_known_values() -> None:
    rng = np.random.default_rng(np.random.SeedSequence([4, 1]))
    letters = np.array(list(string.ascii_lowercase))

    def words(number: int) -> list[str]:
        return ["".join(rng.choice(letters, size)) for size in rng.integers(2, 8, number)]

    known = KnownValues.of(" ".join(pair) for pair in zip(words(6_000), words(6_000), strict=True))
    # By chance alone a text of this size is stopped in runs * values / 2**62 of all cases: below one in a million
    # even with twenty-five million values.
    assert 1_700 * LONGEST_RUN * 25_000_000 / 2**62 < 1e-6
    vocabulary = [word for word in words(1_000) if len(word) > 4]
    wall = PrivacyWall(known)
    assert [wall(" ".join(rng.choice(vocabulary, 1_700)).encode()) for _ in range(5)] == [None] * 5


CanaryList = list[tuple[str, str]]


def canaries(number: int) -> CanaryList:
    """(kind, text) of invented people in equal parts: name, e-mail, phone, address, and free text with one inside."""
    rng = np.random.default_rng(np.random.SeedSequence([4, 2]))
    people = make_people(WorldSettings())
    phones = ("+49 30 {} {}", "0{}/{}", "+44-{}-{}", "({}) {}", "0{}.{}")
    texts = ("Please call {} about the parcel.", "gift for {}, do not ring", "{} complained twice", "Re: {}")
    made: CanaryList = []
    for place in range(number // 5):
        first, last = (str(rng.choice(names.to_numpy())) for names in (people.first, people.last))
        name = f"{first} {last}"
        email = f"{first}.{last}{place}@canary.example".replace(" ", "")
        phone = phones[place % len(phones)].format(rng.integers(100, 999), rng.integers(10_000, 999_999))
        street = f"{rng.choice(people.streets.to_numpy())} {rng.integers(1, 300)}"
        inside = (name, email, phone, street)[place % 4]
        made += [("name", name), ("email", email), ("phone", phone), ("street", street)]
        made.append(("text", str(rng.choice(texts)).format(inside)))
    return made


def blocked(wall: PrivacyWall, planted: CanaryList, encodings_each: int) -> tuple[int, CanaryList]:
    """How many messages were made, each canary in so many encodings in turn, and the canaries that passed."""
    encodings = list(ENCODINGS.values())
    passed, messages = [], 0
    for place, (kind, text) in enumerate(planted):
        for turn in range(encodings_each):
            messages += 1
            # Five kinds in a row: the step of the turn carries every kind through every encoding.
            if wall(encodings[(place // 5 + turn) % len(encodings)](text)) is None:
                passed.append((kind, text))
    return messages, passed


def wall_of(planted: CanaryList) -> PrivacyWall:
    return PrivacyWall(KnownValues.of(text for kind, text in planted if kind != "text"))


def test_every_canary_is_stopped_in_every_encoding() -> None:
    planted = canaries(150)
    assert blocked(wall_of(planted), planted, len(ENCODINGS)) == (1_500, [])


@pytest.mark.slow
def test_ten_thousand_canaries_are_stopped() -> None:
    planted = canaries(10_000)
    assert blocked(wall_of(planted), planted, 2) == (20_000, [])


def test_a_message_of_ours_passes_and_the_same_message_with_one_canary_does_not() -> None:
    planted = canaries(1_000)
    wall = wall_of(planted)
    ours = (Path(segmentation_assets.language.__file__).parent / "prompts" / "rules.md").read_text("utf-8")
    found = [wall(as_json(f"{ours}\n{text}")) for _, text in planted[::10]]
    assert set(found) <= REASONS
    assert wall(as_json(ours)) is None
