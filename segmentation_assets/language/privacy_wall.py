"""The second wall: every outgoing byte is read for personal data before the socket opens.

What belongs here: what an e-mail address, a telephone number, an IBAN and a known personal value look like in bytes,
however they are spelled, and the memory of known values. What does not: reading the values from a database (that is
`sources.personal_values`; this room opens nothing) and what may be a fact at all (`facts`, the first wall).

Known values are kept as salted 64-bit hashes in one sorted array, in memory only: a look-up needs no more, and the
array tells nobody a name. A single word is no known value: "Rose" is a customer's name and a colour.
"""

from __future__ import annotations

import calendar
import html
import re
import secrets
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import polars as pl

#: Runs of up to this many words are looked up; of a longer value the first so many words are known.
LONGEST_RUN = 8
#: Digits below which a number is no telephone number.
FEWEST_DIGITS = 7

_Hashes = npt.NDArray[np.uint64]


class _Kind(IntEnum):
    """What a known value is; kept in the two lowest bits of its hash."""

    EMAIL = 0
    PHONE = 1
    NAME = 2
    STREET = 3


_KIND_BITS = np.uint64(3)
_OF_A_CUSTOMER = {
    _Kind.EMAIL: "The message holds the e-mail address of a customer.",
    _Kind.PHONE: "The message holds the telephone number of a customer.",
    _Kind.NAME: "The message holds the name of a customer.",
    _Kind.STREET: "The message holds the street of a customer.",
}

#: Letters that have no accent to take off and are still written in two ways.
_SPELLINGS = {
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i", "ħ": "h", "ς": "σ",
}  # fmt: skip


def _folded(texts: pl.Series) -> pl.Series:
    """Words of `texts` in lower case without accents, joined by single spaces; the same for values and messages."""
    words = (
        pl.col("text")
        .str.normalize("NFKD")
        .str.to_lowercase()
        # Marks are accents; format characters are invisible and would part a word for the program alone.
        .str.replace_all(r"[\p{M}\p{Cf}]+", "")
        .str.replace_many(list(_SPELLINGS), list(_SPELLINGS.values()))
        .str.replace_all(r"[^\p{L}\p{N}]+", " ")
        .str.strip_chars(" ")
    )
    return texts.alias("text").to_frame().select_seq(words).to_series()


def _first_words(folded: pl.Series) -> pl.Series:
    words = r"[^ ]+"
    return folded.str.extract(rf"^({words}(?: {words}){{0,{LONGEST_RUN - 1}}})", 1)


def _hashed(texts: pl.Series, kind: _Kind, salt: int) -> _Hashes:
    hashes = texts.drop_nulls().hash(salt).to_numpy()
    return (hashes & ~_KIND_BITS) | np.uint64(kind)


def _sorted(parts: list[_Hashes]) -> _Hashes:
    """All of `parts` once, in order; `parts` is emptied so that nothing is held twice."""
    hashes = np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)
    parts.clear()
    hashes.sort()
    return hashes[np.concatenate(([True], hashes[1:] != hashes[:-1]))] if hashes.size else hashes


def _is_in(sought: _Hashes, hashes: _Hashes) -> npt.NDArray[np.bool_]:
    """Which of `sought` are in `hashes`, which are in order and at least one."""
    place = np.minimum(np.searchsorted(hashes, sought), hashes.size - 1)
    return np.asarray(hashes[place] == sought)


def _hashes_of(values: pl.Series, salt: int) -> tuple[_Hashes, _Hashes]:
    """The hashes of a batch of values, each by what it looks like, and those of their first words.

    What looks like nothing personal is left out.
    """
    values = values.drop_nulls().cast(pl.String)
    has_at = values.str.contains("@", literal=True)
    is_number = values.str.contains(r"^[\s+()\d./\-–]+$") & ~has_at
    digits = values.filter(is_number).str.replace_all(r"\D", "")
    phones = digits.filter(digits.str.len_chars() >= FEWEST_DIGITS)
    words = _folded(values.filter(~is_number))
    has_at = has_at.filter(~is_number)
    has_digit = words.str.contains(r"\d")
    # Two or more words; a name has two of at least two letters, for "J. R." and "so, so" are too little.
    is_more = words.str.contains(" ", literal=True)
    is_name = words.str.contains(r"\p{L}\p{L}.* .*\p{L}\p{L}|[\p{Han}\p{Hangul}\p{Hiragana}\p{Katakana}] ")
    is_long = words.str.len_chars() >= 5
    emails = words.filter(has_at & is_more)
    names = words.filter(~has_at & ~has_digit & is_more & is_name)
    # "Q7 12" is an address in one town and an article in every shop.
    streets = words.filter(~has_at & has_digit & is_more & is_long & words.str.contains(r"\p{L}\p{L}\p{L}"))
    hashes = [
        _hashed(_first_words(emails), _Kind.EMAIL, salt),
        _hashed(phones, _Kind.PHONE, salt),
        _hashed(_first_words(names), _Kind.NAME, salt),
        _hashed(_first_words(streets), _Kind.STREET, salt),
    ]
    starts = pl.concat([emails, names, streets]).str.extract(r"^([^ ]+)", 1)
    return np.concatenate(hashes), _sorted([starts.hash(salt).to_numpy()])


def _none() -> _Hashes:
    return np.empty(0, dtype=np.uint64)


@dataclass(frozen=True)
class KnownValues:
    """Personal values that are known, as sorted salted hashes. The salt is of this process and never written.

    `starts` are the hashes of first words: a text is looked up where a value can begin and nowhere else.
    """

    hashes: _Hashes = field(default_factory=_none, repr=False)
    starts: _Hashes = field(default_factory=_none, repr=False)
    salt: int = field(default=0, repr=False)

    @classmethod
    def of(cls, values: Iterable[str]) -> KnownValues:
        """E-mail addresses, telephone numbers (from seven digits), full names and streets with a number.

        What a value is shows in its form. Single words, and numbers below seven digits, are left out.
        """
        return cls.of_frame(pl.Series(list(values), dtype=pl.String))

    @classmethod
    def of_frame(cls, *columns: pl.Series) -> KnownValues:
        """As `of`, for columns of texts of any lengths; nulls are left out."""
        return cls.of_batches(columns)

    @classmethod
    def of_batches(cls, batches: Iterable[pl.Series]) -> KnownValues:
        """As `of_frame`, holding one batch at a time beside the hashes."""
        salt = secrets.randbits(64)
        hashes: list[_Hashes] = []
        starts: list[_Hashes] = []
        for batch in batches:
            of_values, of_first_words = _hashes_of(batch, salt)
            hashes.append(of_values)
            starts.append(of_first_words)
        return cls(_sorted(hashes), _sorted(starts), salt)

    def __len__(self) -> int:
        """How many different values are known."""
        return int(self.hashes.size)

    def phone_in(self, digits: Sequence[str]) -> str | None:
        """What is known when one of `digits` is a telephone number, in a sentence; or None."""
        return self._among(list(digits), (_Kind.PHONE,))

    def value_in(self, words: Sequence[str], *, emails_only: bool = False) -> str | None:
        """What is known when a run of 2 to `LONGEST_RUN` of the folded `words` is a value, in a sentence; or None."""
        if not self.starts.size or len(words) < 2:
            return None
        different = list(set(words))
        begins = _is_in(pl.Series(different, dtype=pl.String).hash(self.salt).to_numpy(), self.starts)
        first = {word for word, is_first in zip(different, begins, strict=True) if is_first}
        runs = {
            " ".join(words[start : start + length])
            for start, word in enumerate(words)
            if word in first
            for length in range(2, min(LONGEST_RUN, len(words) - start) + 1)
        }
        return self._among(list(runs), (_Kind.EMAIL,) if emails_only else (_Kind.EMAIL, _Kind.NAME, _Kind.STREET))

    def _among(self, texts: list[str], kinds: tuple[_Kind, ...]) -> str | None:
        if not self.hashes.size or not texts:
            return None
        hashes = np.sort(pl.Series(texts, dtype=pl.String).hash(self.salt).to_numpy() & ~_KIND_BITS)
        for kind in kinds:
            if bool(_is_in(hashes | np.uint64(kind), self.hashes).any()):
                return _OF_A_CUSTOMER[kind]
        return None


_JSON_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([\s\S]))")
_JSON_WHITE = {"n": "\n", "t": "\t", "r": "\r", "b": " ", "f": " "}


def _json_character(found: re.Match[str]) -> str:
    code = found[1] or found[2]
    return chr(int(code, 16)) if code else _JSON_WHITE.get(found[3], found[3])


def _without_surrogates(text: str) -> str:
    """Pairs of escaped surrogates become the character they stand for; a lone one becomes a question mark."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


#: An escape that stands for white space or a mark; as it is spelled it would glue a letter to the word behind it.
_GLUE = re.compile(r"\\+[nrtbf\"'/]")
#: Characters without a width, which part a word for a program alone.
_INVISIBLE = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]+")
_DEEPEST = 4  # escapes of escapes that are undone


def _readings(outgoing: bytes) -> Iterator[str]:
    """The bytes as text, as they stand and with one more layer of escapes (JSON, percent, HTML) undone each time."""
    text = outgoing.decode("utf-8", "replace")
    for _ in range(_DEEPEST):
        yield text
        plain = _JSON_ESCAPE.sub(_json_character, text) if "\\" in text else text
        plain = _without_surrogates(plain) if plain != text else plain
        plain = html.unescape(plain) if "&" in plain else plain
        plain = unquote(plain) if "%" in plain else plain
        if plain == text:
            return
        text = plain


_AT = r"(?:@|[(\[{<]\s*(?:at|@)\s*[)\]}>])"
_DOT = r"(?:\.|[(\[{<]\s*(?:dot|\.)\s*[)\]}>])"
_EMAIL = re.compile(
    # An address as it is, whatever its domain; or taken apart by spaces or in words, with the dot of a domain.
    rf"[^\s@\"'<>,;:()]@[\w\[]|[\w.+%'-]\s{{0,3}}{_AT}\s{{0,3}}[\w-]+(?:\s{{0,2}}{_DOT}\s{{0,2}}[\w-]+)*"
    rf"\s{{0,2}}{_DOT}\s{{0,2}}[a-z]{{2,}}|\w\s+at\s+[\w-]+(?:\s+dot\s+[\w-]+)*\s+dot\s+[a-z]{{2,}}\b",
    re.IGNORECASE,
)
_IBAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?(?![A-Za-z0-9])"
)

#: Figures that are no telephone number, as this project and the protocol write them; they are taken out first.
_FIGURES = re.compile(
    r"(?<![\w.+-])(?:"
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # an id of a request
    r"|\d{4}-[01]\d-[0-3]\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"  # an ISO date
    rf"|\d{{1,2}} (?:{'|'.join(calendar.month_name[1:])})(?: \d{{4}})?"  # a date in words
    r"|-?\d{1,3}(?:,\d{3})+(?:\.\d+)?"  # an amount with thousands commas
    r"|-?(?!0\d)\d{1,6}\.\d{1,2}"  # an amount with cents
    r"|-?\d{1,2}\.\d+(?:e[+-]?\d+)?"  # a number of a JSON body
    r"|(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?::\d{1,5})?"  # the address of a server
    r")(?![\w.]*\d)(?!-\d)"
    r"|(?<=[a-z]-)(?:\d{4}-[01]\d-[0-3]\d|20\d\d[01]\d[0-3]\d)(?!\d)",  # the date in the name of a model
    re.IGNORECASE,
)
_SEPARATOR = r"[ \t./()\-–‑·]"
_PHONE = re.compile(
    rf"(?<![\w.])(?:\+{_SEPARATOR}{{0,2}})?\(?\d(?:{_SEPARATOR}{{0,3}}\d){{{FEWEST_DIGITS - 1},}}(?!\w)"
)
#: Digits that other marks may part: only looked up among the known numbers.
_DIGITS = re.compile(rf"\d(?:[^\w\n]{{0,3}}_?\d){{{FEWEST_DIGITS - 1},}}")
_SPOKEN = frozenset({"at", "dot"})


def _is_iban(text: str) -> bool:
    """Whether the check digits of ISO 13616 hold (ISO 7064, modulo 97)."""
    plain = re.sub(r"[ -]", "", text).upper()
    if not 15 <= len(plain) <= 34:
        return False
    moved = plain[4:] + plain[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


class PrivacyWall:
    """Reads outgoing bytes and says why they must stay, or None. Called before anything is sent."""

    def __init__(self, known: KnownValues | None = None) -> None:
        """`known`: personal values that must not leave in any spelling; without, only forms are looked for."""
        self._known = KnownValues() if known is None else known

    def __call__(self, outgoing: bytes) -> str | None:
        """The kind of personal data found, in a sentence that holds nothing of it; None when there is none."""
        plain = ""
        for text in _readings(outgoing):
            plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", _GLUE.sub(" ", text)))
            if _EMAIL.search(plain):
                return "The message holds an e-mail address."
        # An escape that still stands there would be digits and letters of its own: the rest needs the last reading.
        return self._in_plain(plain)

    def _in_plain(self, plain: str) -> str | None:
        if any(_is_iban(match[0]) for match in _IBAN.finditer(plain)):
            return "The message holds an IBAN."
        numbers = _FIGURES.sub(" | ", plain)
        if _PHONE.search(numbers):
            return "The message holds a telephone number."
        if not len(self._known):
            return None
        digits = [re.sub(r"\D", "", match[0]) for match in _DIGITS.finditer(numbers)]
        words = _folded(pl.Series([plain]))[0].split(" ")
        # "ann at example dot com" is the address with two words between.
        spoken = [word for word in words if word not in _SPOKEN]
        return (
            self._known.phone_in(digits)
            or self._known.value_in(words)
            or (self._known.value_in(spoken, emails_only=True) if len(spoken) < len(words) else None)
        )
