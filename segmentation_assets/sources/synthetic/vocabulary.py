"""Words the world is told in: names, streets, towns, phrases, and how arrays pick from them.

Faker is asked once per world; arrays of indices do the rest. Nothing here knows of customers or products.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from segmentation_assets.sources.synthetic.settings import Floats, Ints, Topic, WorldSettings

_LOCALES = ("de_DE", "nl_NL", "fr_FR", "it_IT", "es_ES", "en_IE")


@dataclass(frozen=True)
class Town:
    """A town with its weight: the share of customers who live there, before scaling."""

    city: str
    region: str
    country: str
    timezone: str
    weight: float
    has_store: bool = False


TOWNS = (
    Town("Berlin", "Berlin", "Germany", "Europe/Berlin", 9.0, True),
    Town("Hamburg", "Hamburg", "Germany", "Europe/Berlin", 6.0, True),
    Town("Munich", "Bavaria", "Germany", "Europe/Berlin", 6.0, True),
    Town("Nuremberg", "Bavaria", "Germany", "Europe/Berlin", 2.0),
    Town("Augsburg", "Bavaria", "Germany", "Europe/Berlin", 1.2),
    Town("Cologne", "North Rhine-Westphalia", "Germany", "Europe/Berlin", 5.0, True),
    Town("Düsseldorf", "North Rhine-Westphalia", "Germany", "Europe/Berlin", 3.0),
    Town("Dortmund", "North Rhine-Westphalia", "Germany", "Europe/Berlin", 2.0),
    Town("Frankfurt am Main", "Hesse", "Germany", "Europe/Berlin", 4.0, True),
    Town("Leipzig", "Saxony", "Germany", "Europe/Berlin", 2.5),
    Town("Dresden", "Saxony", "Germany", "Europe/Berlin", 2.0),
    Town("Stuttgart", "Baden-Württemberg", "Germany", "Europe/Berlin", 3.0),
    Town("Freiburg", "Baden-Württemberg", "Germany", "Europe/Berlin", 1.2),
    Town("Vienna", "Vienna", "Austria", "Europe/Vienna", 5.0, True),
    Town("Graz", "Styria", "Austria", "Europe/Vienna", 1.5),
    Town("Salzburg", "Salzburg", "Austria", "Europe/Vienna", 1.0),
    Town("Amsterdam", "North Holland", "Netherlands", "Europe/Amsterdam", 5.0, True),
    Town("Haarlem", "North Holland", "Netherlands", "Europe/Amsterdam", 1.2),
    Town("Rotterdam", "South Holland", "Netherlands", "Europe/Amsterdam", 3.0, True),
    Town("The Hague", "South Holland", "Netherlands", "Europe/Amsterdam", 2.0),
    Town("Utrecht", "Utrecht", "Netherlands", "Europe/Amsterdam", 2.0),
    Town("Brussels", "Brussels-Capital", "Belgium", "Europe/Brussels", 3.0, True),
    Town("Antwerp", "Flanders", "Belgium", "Europe/Brussels", 2.0),
    Town("Ghent", "Flanders", "Belgium", "Europe/Brussels", 1.4),
    Town("Paris", "Île-de-France", "France", "Europe/Paris", 7.0, True),
    Town("Lyon", "Auvergne-Rhône-Alpes", "France", "Europe/Paris", 3.0),
    Town("Lille", "Hauts-de-France", "France", "Europe/Paris", 1.5),
    Town("Strasbourg", "Grand Est", "France", "Europe/Paris", 1.5),
    Town("Milan", "Lombardy", "Italy", "Europe/Rome", 4.0, True),
    Town("Turin", "Piedmont", "Italy", "Europe/Rome", 1.8),
    Town("Bologna", "Emilia-Romagna", "Italy", "Europe/Rome", 1.4),
    Town("Madrid", "Community of Madrid", "Spain", "Europe/Madrid", 4.0, True),
    Town("Valencia", "Valencian Community", "Spain", "Europe/Madrid", 1.6),
    Town("Las Palmas", "Canary Islands", "Spain", "Atlantic/Canary", 0.8),
    Town("Lisbon", "Lisbon", "Portugal", "Europe/Lisbon", 2.0),
    Town("Porto", "North", "Portugal", "Europe/Lisbon", 1.2),
    Town("Funchal", "Madeira", "Portugal", "Atlantic/Madeira", 0.4),
    Town("Dublin", "Leinster", "Ireland", "Europe/Dublin", 2.4, True),
    Town("Cork", "Munster", "Ireland", "Europe/Dublin", 1.0),
    Town("Helsinki", "Uusimaa", "Finland", "Europe/Helsinki", 1.2),
)

#: What customers speak (ISO 639-1), by country; one language for each, which is enough for a greeting.
LANGUAGES = {
    "Germany": "de", "Austria": "de", "Netherlands": "nl", "Belgium": "nl", "France": "fr", "Italy": "it",
    "Spain": "es", "Portugal": "pt", "Ireland": "en", "Finland": "fi",
}  # fmt: skip

#: Number blocks that no telephone company hands out (regulators keep them for film and print); three digits follow.
PHONE_BLOCKS = ("+49 30 23125 ", "+49 69 90009 ", "+49 40 66969 ", "+49 89 99998 ", "+44 7700 900", "+44 1632 960")
MAIL_DOMAINS = ("example.com", "example.org", "example.net")

REVIEW_OPENINGS: dict[int, tuple[str, ...]] = {
    1: ("Very disappointed.", "Not what I ordered.", "Broke within a week.", "I want my money back.",
        "The picture promised more.", "Never again."),
    2: ("Expected more for the price.", "Below average.", "It works, barely.", "Not convinced.",
        "The old version was better."),
    3: ("It is all right.", "Does what it should, no more.", "Mixed feelings.", "Fine for the price.",
        "Good idea, average finish."),
    4: ("Very good.", "Happy with it.", "Nearly perfect.", "Would buy again.", "Better than I expected.",
        "A solid choice."),
    5: ("Excellent!", "Love it.", "My third one already.", "Perfect gift.", "Best I have had so far.",
        "Exactly as described.", "Worth every cent."),
}  # fmt: skip
REVIEW_DETAILS: dict[int, tuple[str, ...]] = {
    1: ("The box arrived damaged.", "It smelled odd and I sent it back.", "The size on the page is wrong.",
        "Support took nine days to answer.", "Parts were missing."),
    2: ("The material feels cheap.", "Delivery took two weeks.", "Smaller than it looks.",
        "Hard to open and easy to spill."),
    3: ("Packaging could use less plastic.", "The colour is a little different.", "Delivery was on time.",
        "My partner likes it more than I do."),
    4: ("Arrived in two days.", "Good quality, careful packaging.", "Only the lid could close better.",
        "We use it nearly every day."),
    5: ("Arrived the next day, well packed.", "The whole family likes it.", "Have recommended it to friends.",
        "Looks even better than in the photo.", "We order it every month."),
}  # fmt: skip
REVIEW_CLOSINGS = (None, None, "Thank you!", "Ordered in the app.", "Bought it for my sister.", "Second order.",
                   "Let us see how long it lasts.")  # fmt: skip
RETURN_REASONS = ("Too small", "Too large", "Arrived damaged", "Not as described", "Changed my mind", "Wrong item sent",
                  "Found it cheaper elsewhere", "Quality not as expected", "Arrived too late", None)  # fmt: skip


@dataclass(frozen=True)
class People:
    """Vocabularies of personal values. `first_mail` and `last_mail` are the names as mail addresses write them."""

    first: pl.Series
    last: pl.Series
    first_mail: pl.Series
    last_mail: pl.Series
    streets: pl.Series


def _mailable(names: Sequence[str]) -> list[str]:
    """Names in lower-case ASCII letters only."""
    folded = (unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode() for name in names)
    return ["".join(letter for letter in name.lower() if letter.isalpha()) or "mail" for name in folded]


def make_people(settings: WorldSettings) -> People:
    """First names, last names and street names of six languages, from Faker under the world's seed."""
    from faker import Faker

    # Loading every provider of every language would take longer than making ten thousand customers.
    faker = Faker(list(_LOCALES), providers=["faker.providers.person", "faker.providers.address"])
    faker.seed_instance(int(settings.stream(Topic.VOCABULARY).integers(2**31)))
    first = sorted({faker.first_name() for _ in range(700)})
    last = sorted({faker.last_name() for _ in range(1_200)})
    streets = sorted({faker.street_name() for _ in range(700)})
    return People(
        first=pl.Series(first, dtype=pl.String),
        last=pl.Series(last, dtype=pl.String),
        first_mail=pl.Series(_mailable(first), dtype=pl.String),
        last_mail=pl.Series(_mailable(last), dtype=pl.String),
        streets=pl.Series(streets, dtype=pl.String),
    )


def pick(words: Sequence[str | None] | pl.Series, index: Ints) -> pl.Series:
    """`words` at `index`; an index of -1 is null. Shape and order are those of `index`."""
    vocabulary = words if isinstance(words, pl.Series) else pl.Series(words, dtype=pl.String)
    if len(index) and int(index.min()) < 0:
        vocabulary = pl.concat([vocabulary, pl.Series(vocabulary.name, [None], dtype=pl.String)])
        index = np.where(index < 0, len(vocabulary) - 1, index)
    return vocabulary.gather(index)


def draw(rng: np.random.Generator, weights: Sequence[float] | Floats, size: int) -> Ints:
    """`size` indices drawn in proportion to `weights`."""
    cumulated = np.cumsum(np.asarray(weights, dtype=np.float64))
    return np.searchsorted(cumulated / cumulated[-1], rng.random(size), side="right").clip(0, len(cumulated) - 1)


def draw_by_row(rng: np.random.Generator, table: Floats, rows: Ints) -> Ints:
    """For each entry of `rows` an index drawn in proportion to that row of `table` (rows x choices)."""
    cumulated = np.cumsum(table, axis=1)
    cumulated = cumulated / cumulated[:, -1:]
    stacked = (cumulated + np.arange(len(table))[:, None]).ravel()
    found = np.searchsorted(stacked, rows + rng.random(len(rows)), side="right")
    return (found - rows * table.shape[1]).clip(0, table.shape[1] - 1)


def numbered(prefix: str, numbers: Ints, width: int) -> pl.Series:
    """Ids: `prefix` and the number with leading zeros."""
    return (prefix + pl.Series(numbers, dtype=pl.Int64).cast(pl.String).str.zfill(width)).alias("id")


def moments(seconds: Ints) -> pl.Series:
    """Seconds since 1970 as naive timestamps with microseconds."""
    return (pl.Series(seconds, dtype=pl.Int64) * 1_000_000).cast(pl.Datetime("us"))


def null_where(values: pl.Series, mask: np.typing.NDArray[np.bool_]) -> pl.Series:
    """`values` with null where `mask` is true."""
    return values.zip_with(pl.Series(~mask), pl.Series([None], dtype=values.dtype).new_from_index(0, len(values)))
