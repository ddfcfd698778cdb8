"""One block of customers: who they are, what is planted in them, and the tables that describe them.

`Traits` are arrays of planted truth, one entry per customer of the block, and never leave the answer key. The
frames are what a source would give. Every frame carries `_customer`, the number of the customer within the block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from segmentation_assets.sources.synthetic.assortment import CATEGORIES, CATEGORY_NAMES
from segmentation_assets.sources.synthetic.catalogue import PRICE_TIERS
from segmentation_assets.sources.synthetic.personas import (
    ADHERENCE,
    LAPSED,
    ONE_TIMERS,
    PERSONA_NAMES,
    PERSONAS,
    SHARED_TASTE,
    TASTE_NAMES,
    TASTES,
    WINDOW_SHOPPERS,
)
from segmentation_assets.sources.synthetic.settings import (
    BLOCK,
    HISTORY_DAYS,
    SECONDS_PER_DAY,
    Floats,
    Ints,
    Mask,
    Topic,
    WorldSettings,
)
from segmentation_assets.sources.synthetic.vocabulary import (
    LANGUAGES,
    MAIL_DOMAINS,
    PHONE_BLOCKS,
    TOWNS,
    People,
    draw,
    draw_by_row,
    moments,
    null_where,
    numbered,
    pick,
)

CHANNELS = ("web", "app", "store", "phone")
_CHANNEL_WEIGHTS = (0.44, 0.27, 0.24, 0.05)
_ACQUISITION = ("organic_search", "paid_search", "social", "referral", "store", "email", "marketplace")
_ACQUISITION_WEIGHTS = (0.27, 0.2, 0.17, 0.13, 0.11, 0.06, 0.06)
_EDUCATION = ("primary", "secondary", "bachelor", "master", "doctorate")
_EMPLOYMENT = ("employed", "self_employed", "student", "retired", "homemaker", "unemployed")
_MARITAL = ("single", "married", "partnered", "divorced", "widowed")
_OCCUPATIONS = ("engineer", "teacher", "nurse", "sales manager", "accountant", "software developer", "craftsperson",
                "civil servant", "designer", "chef", "driver", "researcher", "consultant", "farmer")  # fmt: skip
_INDUSTRIES = ("manufacturing", "education", "health care", "retail", "finance", "information technology",
               "construction", "public administration", "hospitality", "logistics", "agriculture")  # fmt: skip
_TIERS = ("bronze", "silver", "gold", "platinum")


@dataclass(frozen=True)
class Traits:
    """Planted truth of a block, one entry per customer. Days count from the world's first day."""

    persona: Ints
    taste: Ints
    adherence: Ints  # how closely the customer keeps to the taste, an index of ADHERENCE
    price_tier: Ints
    start_day: Ints
    end_day: Ints
    rate: Floats  # orders per year while active, before scaling
    discount_sensitivity: Floats
    channel: Ints
    town: Ints
    birth_year: Ints  # 0 is unknown
    signed_up: Ints  # seconds since 1970
    has_consent: Mask


def draw_traits(settings: WorldSettings, rng: np.random.Generator, size: int = BLOCK) -> Traits:
    """Planted truth for `size` customers."""
    persona = draw(rng, [p.share for p in PERSONAS], size)
    taste = draw(rng, [t.share for t in TASTES], size)
    price_tier = draw_by_row(rng, np.array([p.tiers for p in PERSONAS]), persona)
    last = HISTORY_DAYS - 1
    # More customers join each year than the year before.
    start = np.floor(last * np.sqrt(rng.random(size) * 0.97 + 0.03 * rng.random(size))).astype(np.int64)
    churn = np.array([p.churn_per_year for p in PERSONAS])[persona]
    life = np.floor(rng.exponential(1.0, size) * 365 / np.maximum(churn, 1e-6)).clip(0, 10 * HISTORY_DAYS)
    # Lapsed customers came long enough ago to be gone for at least seven months.
    is_lapsed = persona == LAPSED
    start = np.where(is_lapsed, np.floor((last - 330) * rng.random(size)), start).astype(np.int64)
    end = np.minimum(start + life.astype(np.int64) + 20, last)
    end = np.where(is_lapsed, np.minimum(end, last - 210), end)
    gamma = rng.gamma(2.5, 0.4, size)
    sensitivity = np.array([p.discount_share for p in PERSONAS])[persona]
    sensitivity = (sensitivity * np.exp(rng.normal(0, 0.25, size))).clip(0, 0.9)
    age = np.round(18 + 62 * rng.beta(2.0, 2.6, size)).astype(np.int64)
    is_minor = rng.random(size) < 0.004
    age = np.where(is_minor, rng.integers(14, 18, size), age)
    birth_year = np.where(rng.random(size) < 0.07, 0, settings.as_of.year - age)
    second = rng.integers(6 * 3_600, 22 * 3_600, size)
    return Traits(
        persona=persona,
        taste=taste,
        adherence=draw(rng, [share for share, _ in ADHERENCE], size),
        price_tier=price_tier,
        start_day=start,
        end_day=end,
        rate=np.array([p.orders_per_year for p in PERSONAS])[persona] * gamma,
        discount_sensitivity=sensitivity,
        channel=draw(rng, _CHANNEL_WEIGHTS, size),
        town=draw(rng, [t.weight for t in TOWNS], size),
        birth_year=birth_year,
        signed_up=settings.first_second + start * SECONDS_PER_DAY + second,
        has_consent=rng.random(size) < 0.7,
    )


@dataclass(frozen=True)
class Block:
    """One block of customers of a world."""

    settings: WorldSettings
    number: int
    ids: pl.Series
    traits: Traits

    def stream(self, topic: Topic) -> np.random.Generator:
        """The block's random numbers of one topic."""
        return self.settings.stream(topic, self.number)


def draw_block(settings: WorldSettings, number: int) -> Block:
    """The customers of block `number`; always BLOCK of them, however many are asked for."""
    rng = settings.stream(Topic.CUSTOMERS, number)
    return Block(settings, number, customer_ids(number), draw_traits(settings, rng))


def is_buyer(traits: Traits) -> Mask:
    """Customers who buy at all."""
    return traits.persona != WINDOW_SHOPPERS


def buys_again(traits: Traits) -> Mask:
    """Customers who may buy a second time of their own accord."""
    return is_buyer(traits) & (traits.persona != ONE_TIMERS)


def customer_ids(block: int) -> pl.Series:
    """Ids of the customers of a block."""
    return numbered("C", block * BLOCK + 1 + np.arange(BLOCK), 7)


def customers_frame(block: Block) -> pl.DataFrame:
    """The raw table `customers` of a block."""
    settings, ids, traits = block.settings, block.ids, block.traits
    rng = block.stream(Topic.PROFILES)
    size = len(ids)
    gender = draw(rng, (0.5, 0.44, 0.02, 0.04), size)
    consent_at = np.where(
        rng.random(size) < 0.8,
        traits.signed_up,
        np.minimum(traits.signed_up + rng.integers(0, 300 * SECONDS_PER_DAY, size), settings.last_second),
    )
    consent = pl.Series(traits.has_consent)
    # Consent was not recorded for everyone in early times.
    is_unrecorded = ~traits.has_consent & (rng.random(size) < 0.1)
    return pl.DataFrame(
        {
            "customer_id": ids,
            "gender": pick(("female", "male", "other", "unknown"), gender),
            "birth_year": null_where(pl.Series(traits.birth_year, dtype=pl.Int64), traits.birth_year == 0),
            "city": pick([t.city for t in TOWNS], traits.town),
            "region": pick([t.region for t in TOWNS], traits.town),
            "country": pick([t.country for t in TOWNS], traits.town),
            "timezone": pick([t.timezone for t in TOWNS], traits.town),
            "signed_up_at": moments(traits.signed_up),
            "acquisition_channel": pick(_ACQUISITION, draw(rng, _ACQUISITION_WEIGHTS, size)),
            "email_consent": null_where(consent, is_unrecorded),
            "email_consent_at": null_where(moments(consent_at), ~traits.has_consent),
            "_customer": np.arange(size),
        }
    )


def contacts_frame(block: Block, people: People) -> pl.DataFrame:
    """The raw table `contacts` of a block: the only place with personal values."""
    ids, traits = block.ids, block.traits
    rng = block.stream(Topic.CONTACTS)
    size = len(ids)
    first = rng.integers(0, len(people.first), size)
    last = rng.integers(0, len(people.last), size)
    number = pl.Series(block.number * BLOCK + 1 + np.arange(size)).cast(pl.String)
    email = (
        pick(people.first_mail, first)
        + "."
        + pick(people.last_mail, last)
        + number
        + "@"
        + pick(MAIL_DOMAINS, rng.integers(0, len(MAIL_DOMAINS), size))
    )
    phone = pick(PHONE_BLOCKS, rng.integers(0, len(PHONE_BLOCKS), size)) + numbered("", rng.integers(0, 1_000, size), 3)
    year = np.maximum(traits.birth_year, 1901) - 1970
    born = year.astype("datetime64[Y]").astype("datetime64[D]") + rng.integers(0, 365, size)
    birth_date = pl.Series(born.astype(np.int64)).cast(pl.Int32).cast(pl.Date).dt.to_string("%Y-%m-%d")
    house = pl.Series(rng.integers(1, 180, size)).cast(pl.String)
    language = pick([LANGUAGES[t.country] for t in TOWNS], traits.town)
    return pl.DataFrame(
        {
            "customer_id": ids,
            "email": null_where(email, rng.random(size) < 0.02),
            "first_name": people.first.gather(first),
            "last_name": people.last.gather(last),
            "phone": null_where(phone, rng.random(size) < 0.25),
            "birth_date": null_where(birth_date, (traits.birth_year == 0) | (rng.random(size) < 0.2)),
            "street": pick(people.streets, rng.integers(0, len(people.streets), size)) + " " + house,
            "postal_code": numbered("", rng.integers(1_000, 99_999, size), 5),
            # Many never said which language they wish to be written to in.
            "language": null_where(language, rng.random(size) < 0.4),
            "_customer": np.arange(size),
        }
    )


def household_frames(block: Block) -> dict[str, pl.DataFrame]:
    """The raw tables `demographics`, `preferences` and `loyalty_memberships` of a block: noisy and partly missing."""
    rng = block.stream(Topic.HOUSEHOLDS)
    return {
        "demographics": _demographics(block, rng),
        "preferences": _preferences(block, rng),
        "loyalty_memberships": _loyalty(block, rng),
    }


def _demographics(block: Block, rng: np.random.Generator) -> pl.DataFrame:
    settings, ids, traits = block.settings, block.ids, block.traits
    size = len(ids)
    age = np.where(traits.birth_year == 0, 45, settings.as_of.year - traits.birth_year)
    education = draw(rng, (0.06, 0.38, 0.31, 0.21, 0.04), size)
    education = np.where(age < 22, np.minimum(education, 1), education)
    life_stage = np.where(age < 24, 0, np.where(age > 66, 2, 1))
    employment = draw_by_row(
        rng,
        np.array([[0.3, 0.02, 0.63, 0, 0, 0.05], [0.72, 0.13, 0.02, 0.01, 0.07, 0.05], [0.08, 0.05, 0, 0.85, 0.02, 0]]),
        life_stage,
    )
    marital = draw_by_row(
        rng, np.array([[0.8, 0.02, 0.18, 0, 0], [0.3, 0.4, 0.18, 0.1, 0.02], [0.1, 0.52, 0.06, 0.14, 0.18]]), life_stage
    )
    works = employment <= 1
    level = np.array([24_000, 33_000, 46_000, 57_000, 68_000])[education] * np.where(works, 1.0, 0.65)
    premium = np.array([0.85, 1.0, 1.3])[traits.price_tier]
    income = np.round(level * premium * np.exp(rng.normal(0, 0.35, size)), -2)
    is_parent_age = (age >= 25) & (age <= 50)
    kids = np.where(is_parent_age, rng.poisson(0.55, size), 0).clip(0, 5)
    teens = np.where((age >= 36) & (age <= 60), rng.poisson(0.4, size), 0).clip(0, 4)
    frame = pl.DataFrame(
        {
            "customer_id": ids,
            "education": null_where(pick(_EDUCATION, education), rng.random(size) < 0.1),
            "marital_status": null_where(pick(_MARITAL, marital), rng.random(size) < 0.12),
            "employment_status": null_where(pick(_EMPLOYMENT, employment), rng.random(size) < 0.1),
            "occupation": null_where(
                pick(_OCCUPATIONS, rng.integers(0, len(_OCCUPATIONS), size)), ~works | (rng.random(size) < 0.2)
            ),
            "industry": null_where(
                pick(_INDUSTRIES, rng.integers(0, len(_INDUSTRIES), size)), ~works | (rng.random(size) < 0.2)
            ),
            "household_income": null_where(pl.Series(income), rng.random(size) < 0.2),
            "kids": null_where(pl.Series(kids), rng.random(size) < 0.08),
            "teens": null_where(pl.Series(teens), rng.random(size) < 0.08),
            "_customer": np.arange(size),
        }
    )
    return frame.filter(pl.Series(rng.random(size) < 0.85))


def _preferences(block: Block, rng: np.random.Generator) -> pl.DataFrame:
    settings, ids, traits = block.settings, block.ids, block.traits
    size = len(ids)
    focus = np.array([[taste.focus.get(name, 0.0) for name in CATEGORY_NAMES] for taste in TASTES])
    own = draw_by_row(rng, focus, traits.taste)
    anyone = draw(rng, [c.weight for c in CATEGORIES], size)
    says_own = (rng.random(size) < 0.5) & settings.has_taste
    category = np.where(says_own, own, anyone)
    brand_names = sorted({brand for c in CATEGORIES for brand in c.brands})
    brands = np.array([[float(b in c.brands) for b in brand_names] for c in CATEGORIES])
    tier = np.where(rng.random(size) < 0.7, traits.price_tier, rng.integers(0, 3, size))
    luxury = (np.array([0.2, 0.45, 0.75])[traits.price_tier] + rng.normal(0, 0.15, size)).clip(0, 1)
    sensitivity = (traits.discount_sensitivity + rng.normal(0, 0.15, size)).clip(0, 1)
    channel = np.where(rng.random(size) < 0.6, 0, rng.integers(0, 4, size))
    frame = pl.DataFrame(
        {
            "customer_id": ids,
            "favourite_category": null_where(pick(CATEGORY_NAMES, category), rng.random(size) < 0.3),
            "favourite_brand": null_where(
                pick(brand_names, draw_by_row(rng, brands, category)), rng.random(size) < 0.4
            ),
            "price_tier": null_where(pick(PRICE_TIERS, tier), rng.random(size) < 0.15),
            "discount_sensitivity": null_where(pl.Series(np.round(sensitivity, 3)), rng.random(size) < 0.2),
            "luxury_score": null_where(pl.Series(np.round(luxury, 3)), rng.random(size) < 0.2),
            "preferred_channel": null_where(
                pick(("email", "app_push", "sms", "post"), channel), rng.random(size) < 0.2
            ),
            "_customer": np.arange(size),
        }
    )
    return frame.filter(pl.Series(rng.random(size) < 0.7))


def _loyalty(block: Block, rng: np.random.Generator) -> pl.DataFrame:
    settings, ids, traits = block.settings, block.ids, block.traits
    size = len(ids)
    share = np.array([p.loyalty_share for p in PERSONAS])[traits.persona]
    years = (traits.end_day - traits.start_day) / 365
    points = np.round(traits.rate * years * rng.gamma(4.0, 20.0, size) + rng.integers(0, 80, size))
    tier = np.searchsorted([250, 900, 2_500], points, side="right")
    joined = np.minimum(traits.start_day + rng.integers(0, 200, size), HISTORY_DAYS - 1)
    day = settings.first_second // SECONDS_PER_DAY + joined
    frame = pl.DataFrame(
        {
            "customer_id": ids,
            "tier": pick(_TIERS, tier),
            "points": points.astype(np.int64),
            # Text, as the export of a bought-in programme often is.
            "joined_on": pl.Series(day).cast(pl.Int32).cast(pl.Date).dt.to_string("%Y-%m-%d"),
            "_customer": np.arange(size),
        }
    )
    return frame.filter(pl.Series(rng.random(size) < share))


def personas_frame(block: Block) -> pl.DataFrame:
    """The answer key's page on personas: one row per customer."""
    settings, ids, traits = block.settings, block.ids, block.traits
    first = settings.first_second // SECONDS_PER_DAY
    return pl.DataFrame(
        {
            "customer_id": ids,
            "persona": pick(PERSONA_NAMES, traits.persona),
            "price_tier": pick(PRICE_TIERS, traits.price_tier),
            "orders_per_year": np.round(traits.rate, 6),
            "discount_sensitivity": np.round(traits.discount_sensitivity, 6),
            "active_from": pl.Series(first + traits.start_day).cast(pl.Int32).cast(pl.Date),
            "active_until": pl.Series(first + traits.end_day).cast(pl.Int32).cast(pl.Date),
            "has_left": traits.end_day < HISTORY_DAYS - 1,
        }
    )


def tastes_frame(block: Block) -> pl.DataFrame:
    """The answer key's page on tastes: one row per customer."""
    settings, ids, traits = block.settings, block.ids, block.traits
    taste = pick(TASTE_NAMES, traits.taste) if settings.has_taste else pick([SHARED_TASTE], traits.taste * 0)
    kept = np.array([focus_share for _, focus_share in ADHERENCE])[traits.adherence]
    return pl.DataFrame({"customer_id": ids, "taste": taste, "adherence": kept})
