"""Settings: defaults, segmentation.toml, what an earlier run recorded in HOME, environment, flags - later ones win.

Everything a user may set is declared here once, with its limits; a wrong key or value ends in a sentence that says
where it was set and what is expected. Also here: where things are in HOME. Nothing else reads the environment.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    JsonConfigSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as PydanticSettingsError

from segmentation_assets.warehouse.connection import Engine

PROJECT_ROOT = Path(__file__).resolve().parents[1]
ENV_PREFIX = "SEGMENTATION_"
#: Variables with that prefix that are not settings: where HOME and the settings file are, and the secrets, which are
#: read where they are used and never become part of the settings.
ENV_HOME = "SEGMENTATION_HOME"
ENV_FILE = "SEGMENTATION_SETTINGS"
ENV_SECRETS = frozenset(
    f"{ENV_PREFIX}{name}"
    for name in (
        "SECRET_KEY", "SMTP_PASSWORD", "API_KEYS", "SENDGRID_KEY", "POSTMARK_SECRET", "MAILGUN_KEY", "SES_TOPIC",
    )
)  # fmt: skip

Share = Annotated[float, Field(ge=0, le=1)]

_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def _domain(text: str) -> str:
    """A domain as it stands after the @, in small letters. ValueError for anything else: it would fit no address."""
    domain = text.strip().lower()
    if not _DOMAIN.fullmatch(domain):
        raise ValueError("must be a domain such as example.com, without @ or *, in ASCII (xn--)")
    return domain


Domain = Annotated[str, AfterValidator(_domain)]


class SettingsError(ValueError):
    """A setting is wrong; the message says which, where it was set and what is expected."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceSettings(_Section):
    """Which tables the graph starts from."""

    name: str = Field("synthetic", description="synthetic, a folder of sql/sources, or a path to such a folder.")
    data: str = Field("", description="Folder with the files a mapped source reads.")
    inputs: dict[str, str] = Field(
        default_factory=dict,
        description="A mapped source's input files by the alias its source.toml gives them.",
    )


class SyntheticSettings(_Section):
    """The synthetic world."""

    customers: int = Field(10_000, ge=1, le=20_000_000, description="Customers in the world.")
    as_of: date = Field(date(2026, 6, 30), description="The world's today.")
    dirt_share: Share = Field(0.01, description="Share of rows with a planted fault in each table.")
    lines_per_customer: float = Field(10.0, gt=0, le=1000, description="Mean order lines per customer.")
    has_taste: bool = Field(True, description="False: all customers share one taste.")


class EngineSettings(_Section):
    """Limits of the database engine."""

    threads: int = Field(0, ge=0, description="Threads DuckDB may use; 0 is all cores.")
    memory_limit: str = Field("", description='DuckDB memory limit such as "4GB"; empty is DuckDB\'s default.')
    wait_seconds: float = Field(30.0, ge=0, description="How long to wait for a database another process holds.")


class PrivacySettings(_Section):
    """Floors and lists that keep people out of what must not hold them."""

    minimum_cell: int = Field(50, ge=1, description="No figure on fewer people than this leaves the warehouse.")
    unknown_age_is_minor: bool = Field(False, description="Treat customers without a birth year as minors.")
    sensitive_categories: list[str] = Field(
        default_factory=lambda: [
            "Pregnancy",
            "Maternity",
            "Health",
            "Sexuality",
            "Sexual wellness",
            "Faith",
            "Religion",
            "Gambling",
        ],
        description="Categories or subcategories that never enter taste, names, copy or an offer.",
    )
    age_restricted_categories: list[str] = Field(
        default_factory=lambda: ["Alcohol", "Wine", "Beer", "Spirits", "Tobacco", "Cigars", "Vaping", "Knives"],
        description="Categories offered to known adults only.",
    )


class FeatureSettings(_Section):
    """One numeric feature of an axis."""

    name: str
    transform: Literal["log", "sqrt", "rank", "asinh", "none"] = "none"
    title: str = Field("", description="What a reader sees; the name, when empty.")
    unit: Literal["", "days", "amount", "share", "count"] = ""
    weight: float = Field(1.0, gt=0, le=10, description="Weight of the scaled column.")


Algorithm = Literal["kmeans", "kprototypes", "mixture", "ward", "hdbscan", "pca_kmeans", "autoencoder_kmeans"]


class AxisSettings(_Section):
    """One axis of the segmentation. What is not set here comes from the source, else from the defaults."""

    is_on: bool | None = Field(None, description="False switches the axis off.")
    features: list[FeatureSettings | str] | None = Field(
        None, description="Numeric features; a name, or {name, transform, title, unit, weight}."
    )
    categories: list[str] | None = Field(None, description="Categorical features, one-hot encoded.")
    shares: list[Literal["category", "brand", "channel"]] | None = Field(
        None, description="Shares of a customer's order lines by these dimensions."
    )
    share_columns: list[str] | None = Field(
        None, description="Amount columns of customer_attributes whose shares describe taste."
    )
    minimum_lines: int | None = Field(None, ge=1, description="Order lines below which taste is unknown.")
    algorithm: Algorithm | None = Field(None, description="Clustering algorithm.")
    k_min: int | None = Field(None, ge=1, le=50, description="Smallest number of segments tried.")
    k_max: int | None = Field(None, ge=1, le=50, description="Largest number of segments tried.")


class SegmentSettings(_Section):
    """What a segment must be."""

    share_floor: Share = Field(0.02, description="Smallest share of customers a segment may have.")
    minimum_customers: int = Field(5, ge=1, description="Fewest customers a segment may have.")
    stability_floor: Share = Field(0.75, description="Smallest bootstrap Jaccard a segment may have.")
    stage_by: Literal["clusters", "rfm"] = Field(
        "clusters", description="What stage segments are: clusters, or the RFM groups, for where those tell more."
    )
    drift_index: float = Field(
        0.25, gt=0, le=10, description="Population stability index from which a feature counts as shifted."
    )
    drift_share: Share = Field(0.05, description="Change of a segment's share of customers that counts as drift.")
    drift_misfits: Share = Field(0.02, description="Share of misfits above the expected one that counts as drift.")
    stage: AxisSettings = Field(default=AxisSettings(), description="Whether and when to approach.")
    taste: AxisSettings = Field(default=AxisSettings(), description="What to offer.")


class LifetimeSettings(_Section):
    """How far ahead customers are judged."""

    horizon_days: int = Field(90, ge=7, le=730, description="Days ahead that value and spend are expected for.")


class DiscountSettings(_Section):
    """Discounts by group of stages; a group that is not named gets campaigns.discount_share."""

    loyal: Share = Field(0.0, description="Loyal customers buy anyway: a discount would only cost margin.")
    new: Share = 0.10
    lapsing: Share = 0.15
    lapsed: Share = 0.20
    never_bought: Share = 0.10


class ProductFilterSettings(_Section):
    """Which products are wanted: a product must pass every filter that is set (all of them, not any of them)."""

    minimum_stock: float | None = Field(None, ge=0, description="High stock: units above the safety level.")
    minimum_cover_days: float | None = Field(None, ge=0, description="High stock: days it lasts at the recent rate.")
    minimum_margin_share: float | None = Field(
        None, ge=0, lt=1, description="High margin: margin after the discount, as share of price."
    )
    minimum_price: float | None = Field(None, ge=0, description="Lowest list price.")
    maximum_price: float | None = Field(None, ge=0, description="Highest list price.")
    categories: list[str] = Field(default_factory=list, description="Categories, of which the product needs one.")
    brands: list[str] = Field(default_factory=list, description="Brands, of which the product needs one.")
    ageing_days: int | None = Field(None, ge=1, description="Ageing stock: days without a sale.")


class CampaignSettings(_Section):
    """What may be offered, to whom and for how long."""

    margin_floor_share: Share = Field(0.10, description="Smallest margin after the discount, as share of price.")
    safety_stock: float = Field(5, ge=0, description="Units kept back when stock is counted.")
    cover_days: float = Field(14, ge=0, description="Days of ordinary sales kept back beside it.")
    discount_share: Share = Field(0.05, description="Ordinary discount.")
    discounts: DiscountSettings = DiscountSettings()
    control_share: Share = Field(0.10, description="Share of an audience held out, to see what an e-mail causes.")
    products_per_brief: int = Field(6, ge=1, le=6, description="Products in one campaign.")
    max_briefs: int = Field(5, ge=1, le=20, description="Campaigns proposed at once.")
    valid_days: int = Field(14, ge=1, le=90, description="Days an offer is valid.")
    audience_share: float = Field(
        0.20, gt=0, le=1, description="Stated size: share of each group of stages a product is matched with."
    )
    offers_per_customer: int = Field(6, ge=1, le=50, description="Most products a customer is offered in that time.")
    rest_days: int = Field(30, ge=0, le=365, description="Days after a purchase in which it is not suggested again.")
    filters: ProductFilterSettings = ProductFilterSettings()


class SenderSettings(_Section):
    """Who writes: names, addresses and looks of every message. What a reader sees must be true."""

    shop_name: str = Field(
        "Our shop", min_length=1, max_length=80, description="The shop's name, as customers know it."
    )
    from_name: str = Field("", max_length=80, description="Name beside the address; the shop's name, when empty.")
    address: str = Field("news@shop.example", description="Address the messages come from.")
    reply_to: str = Field("", description="Where answers go; the address, when empty.")
    bounce_address: str = Field("", description="Where bounces go (envelope sender); the address, when empty.")
    postal_address: str = Field(
        "Our shop, 1 Example Street, 00000 Exampletown", min_length=10, max_length=200,
        description="Postal address in the footer; the law asks for it in most places.",
    )  # fmt: skip
    campaign_url: str = Field("https://shop.example/offers", description="Where the button leads.")
    product_url: str = Field(
        "https://shop.example/products/{product_id}", description="Where a product leads; {product_id} is filled in."
    )
    accent_colour: str = Field("#0b5d4b", pattern="^#[0-9a-fA-F]{6}$", description="Colour of the button.")
    layout: str = Field("", description="Path of the shop's own layout (Jinja2); the built-in one, when empty.")
    dkim_domain: str = Field("", description="Domain that signs (DKIM); empty does not sign.")
    dkim_selector: str = Field("", description="Selector of the DKIM key.")
    dkim_key_file: str = Field("", description="File with the private DKIM key (PEM).")


class DeliverySettings(_Section):
    """How messages leave, when, how many and to whom. The password is SEGMENTATION_SMTP_PASSWORD, never here."""

    transport: Literal["file", "catcher", "smtp"] = Field(
        "file", description="file: .eml files in HOME; catcher: a local server on 127.0.0.1; smtp: a mail server."
    )
    smtp_host: str = Field("127.0.0.1", description="Mail server.")
    smtp_port: int = Field(587, ge=1, le=65_535, description="Port of the mail server; 1025 is usual for a catcher.")
    smtp_security: Literal["starttls", "tls", "none"] = Field("starttls", description="How the connection is secured.")
    smtp_user: str = Field("", description="User of the mail server; empty does not log in.")
    is_production: bool = Field(False, description="False: only allowed_domains are ever written to.")
    allowed_domains: list[Domain] = Field(
        default_factory=lambda: ["example.com", "example.org", "example.net"],
        description="Domains that may be written to outside production.",
    )
    connections: int = Field(2, ge=1, le=16, description="Connections kept open to the server.")
    messages_per_second: float = Field(20, gt=0, le=10_000, description="Most messages a second, all connections.")
    tries: int = Field(5, ge=1, le=10, description="Tries of a message the server defers.")
    breaker_failures: int = Field(10, ge=1, le=1000, description="Failures in a row after which sending stops.")
    approval_days: int = Field(7, ge=1, le=60, description="Days an approval holds.")
    quiet_from_hour: int = Field(21, ge=0, le=23, description="First quiet hour, in the recipient's time zone.")
    quiet_to_hour: int = Field(8, ge=0, le=23, description="First hour after the quiet ones.")
    timezone: str = Field("UTC", description="Time zone of recipients whose own is not known.")
    cap_messages: int = Field(1, ge=1, le=100, description="Most messages to a customer within cap_days.")
    cap_days: int = Field(7, ge=1, le=365, description="Days the cap counts back; ghost sends of controls count too.")
    rest_after_messages: int = Field(
        8, ge=1, le=1000, description="Messages in a row without a human click after which an address is rested."
    )
    rest_days: int = Field(90, ge=1, le=3650, description="Days an unresponsive address is rested.")
    hold_out_share: float = Field(
        0.0, ge=0, lt=1, description="Share of all customers who never get a campaign: what all campaigns earn."
    )
    public_url: str = Field("http://127.0.0.1:8080", description="Address under which recipients reach the service.")


class MeasurementSettings(_Section):
    """How a campaign is judged. The metric is fixed when a person approves."""

    primary_metric: Literal["buyers", "margin", "orders"] = Field(
        "buyers", description="What the campaign is judged by: customers who bought, margin or orders per customer."
    )
    window_days: int = Field(14, ge=1, le=180, description="Days after the start in which orders count.")


class PriceSettings(_Section):
    """What a model costs, in US dollars per million tokens."""

    input: Decimal = Field(ge=0, description="Tokens sent.")
    output: Decimal = Field(ge=0, description="Tokens received.")
    as_of: date = Field(description="When this was the price.")


TaskName = Literal["choose_k", "names", "profile", "strategy", "audiences", "match", "email", "critique"]


class LanguageSettings(_Section):
    """Who chooses and writes, and within which limits. The key is read from the environment, never from here."""

    provider: Literal["auto", "embedded", "openai", "openai_compatible", "replay"] = Field(
        "auto", description="auto is openai when OPENAI_API_KEY is set, else embedded (no model)."
    )
    model: str = Field("", description="Model; empty is gpt-5-mini at OpenAI, the only one served elsewhere.")
    base_url: str = Field("", description="Address of an OpenAI-compatible server, such as http://127.0.0.1:11434/v1.")
    key_variable: str = Field(
        "", description="Environment variable with the key of that server; empty sends none. OpenAI: OPENAI_API_KEY."
    )
    tasks: list[TaskName] = Field(
        default_factory=lambda: list(get_args(TaskName)), description="What the model does; the rest is embedded."
    )
    call_seconds: float = Field(60, gt=0, le=3600, description="Deadline of a call.")
    asset_seconds: float = Field(600, gt=0, le=36_000, description="Deadline of all calls of an asset.")
    calls_per_run: int = Field(400, ge=0, description="Most calls of a run.")
    tokens_per_run: int = Field(600_000, ge=0, description="Most tokens of a run, sent and received.")
    cost_per_run: Decimal | None = Field(Decimal(2), ge=0, description="Most money of a run, in US dollars.")
    concurrency: int = Field(4, ge=1, le=64, description="Calls at the same time.")
    retries: int = Field(2, ge=0, le=10, description="Further attempts when a server fails.")
    longest_wait_seconds: float = Field(30, ge=0, description="Longest wait that a server's Retry-After may ask for.")
    repairs: int = Field(2, ge=0, le=5, description="How often a wrong answer is sent back with what is wrong.")
    on_outage: Literal["embedded", "fail"] = Field(
        "embedded", description="When no answer comes: the embedded writer, marked degraded, or a failed run."
    )
    prices: dict[str, PriceSettings] = Field(
        # OpenAI's list prices of the day these models came out.
        default_factory=lambda: {
            name: PriceSettings(input=Decimal(sent), output=Decimal(received), as_of=date(2025, 8, 7))
            for name, sent, received in (
                ("gpt-5", "1.25", "10.00"),
                ("gpt-5-mini", "0.25", "2.00"),
                ("gpt-5-nano", "0.05", "0.40"),
            )
        },
        description="Prices by model.",
    )


class AutomationSettings(_Section):
    """When runs are requested without a person."""

    growth_threshold: Share = Field(0.10, description="Growth of customers that requests a re-clustering.")
    recluster_on_drift: bool = Field(False, description="Whether drift requests a re-clustering too.")
    campaign_lead_days: int = Field(7, ge=0, le=90, description="Days before a campaign a refresh is requested.")
    assign_cron: str = Field("0 5 * * *", description="When customers are assigned by the frozen model.")


class Settings(BaseSettings):
    """All settings of a run. Lists of keys with their meaning: segmentation.toml."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=ENV_PREFIX, env_nested_delimiter="__", env_ignore_empty=True
    )

    seed: int = Field(42, ge=0, lt=2**32, description="Seed of everything random.")
    source: SourceSettings = SourceSettings()
    synthetic: SyntheticSettings = SyntheticSettings()
    engine: EngineSettings = EngineSettings()
    privacy: PrivacySettings = PrivacySettings()
    segments: SegmentSettings = SegmentSettings()
    lifetime: LifetimeSettings = LifetimeSettings()
    campaigns: CampaignSettings = CampaignSettings()
    sender: SenderSettings = SenderSettings()
    delivery: DeliverySettings = DeliverySettings()
    measurement: MeasurementSettings = MeasurementSettings()
    language: LanguageSettings = LanguageSettings()
    automation: AutomationSettings = AutomationSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load_settings` merged: it reads the layers one by one, to say where a mistake was made."""
        return (init_settings,)

    def engine_limits(self) -> Engine:
        """The engine's limits as the warehouse takes them."""
        return Engine(self.engine.threads, self.engine.memory_limit, self.engine.wait_seconds)


@dataclass(frozen=True)
class Home:
    """The folder all stores of one shop live in."""

    path: Path

    @property
    def warehouse(self) -> Path:
        """Everything that can be recomputed."""
        return self.path / "warehouse.duckdb"

    @property
    def published(self) -> Path:
        """The read-only copy people query."""
        return self.path / "published.duckdb"

    @property
    def people(self) -> Path:
        """Contact details."""
        return self.path / "people.duckdb"

    @property
    def state(self) -> Path:
        """What cannot be recomputed."""
        return self.path / "state.sqlite"

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME of this shop."""
        return self.path / "dagster"

    @property
    def lock(self) -> Path:
        """Held by the run that writes."""
        return self.path / "run.lock"

    @property
    def staging(self) -> Path:
        """Where a source's tables wait to be swapped in; gone when no run is loading."""
        return self.path / "staging"

    @property
    def answer_key(self) -> Path:
        """What the synthetic world planted. Written by the world, read by benchmarks, by no asset."""
        return self.path / "answer_key"

    @property
    def brief(self) -> Path:
        """The Monday brief."""
        return self.path / "brief.html"

    @property
    def brief_text(self) -> Path:
        """The same in short, for the terminal."""
        return self.path / "brief.txt"

    @property
    def secret_key(self) -> Path:
        """The key of tokens and hashes (mode 0600); the environment may hold it instead."""
        return self.path / "secret.key"

    @property
    def outbox(self) -> Path:
        """Messages written as files instead of being sent."""
        return self.path / "outbox"

    @property
    def inbox(self) -> Path:
        """Messages that the local catcher caught."""
        return self.path / "inbox"

    @property
    def journal(self) -> Path:
        """What each sender was about to do and did; folded into the state store."""
        return self.path / "journal"

    @property
    def spool(self) -> Path:
        """Opens, clicks and refusals as the service wrote them; folded into the state store."""
        return self.path / "spool"

    @property
    def simulated(self) -> Path:
        """What the simulated audience did after the synthetic world's first today."""
        return self.path / "simulated"

    def projection(self, axis: str) -> Path:
        """An axis's customers in three dimensions, a page to turn and look at."""
        return self.path / f"projection_{axis}.html"

    @property
    def recorded(self) -> Path:
        """The flags of the run that made this HOME, for the UI, the sensors and later runs."""
        return self.path / "run_settings.json"

    def ensure(self) -> Home:
        """Make the folder; SettingsError when that is not possible."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"HOME {self.path} cannot be made ({error.strerror}). Give another with --home."
            ) from None
        return self


def find_home(flag: Path | None = None) -> Home:
    """HOME: the flag, else SEGMENTATION_HOME, else `data/` beside the settings file; always absolute."""
    chosen = flag or (Path(os.environ[ENV_HOME]) if os.environ.get(ENV_HOME) else None)
    return Home(chosen.expanduser().resolve()) if chosen else find_default_home()


def find_default_home() -> Home:
    """HOME when neither flag nor environment names one."""
    return Home((settings_file().parent / "data").resolve())


def settings_file() -> Path:
    """The settings file: SEGMENTATION_SETTINGS, else segmentation.toml at the project's top."""
    given = os.environ.get(ENV_FILE)
    return Path(given).expanduser().resolve() if given else PROJECT_ROOT / "segmentation.toml"


def load_settings(home: Home, flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings in force for `home`. `flags` is nested like the TOML file; None values are not set.

    Raises SettingsError with one sentence for each mistake.
    """
    path = settings_file()
    if not path.exists() and os.environ.get(ENV_FILE):
        raise SettingsError(f"{ENV_FILE} names {path}, and there is no such file.")
    layers = [
        (path.name, _read_file(path, TomlConfigSettingsSource)),
        (f"{home.recorded.name} (recorded by an earlier run)", _read_recorded(home)),
        ("the environment", _read_environment()),
        ("the command line", _without_none(flags or {})),
    ]
    merged: dict[str, Any] = {}
    for where, layer in layers:
        _validate(layer, where)
        merged = merge(merged, layer)
    return _validate(merged, "the settings")


def axis_settings(settings: Settings, axis: str, of_source: Mapping[str, Any]) -> dict[str, Any]:
    """What is set of an axis: by the source (`of_source`, its source.toml) and, winning, by the settings.

    Raises SettingsError when the source sets something that is no setting of an axis.
    """
    try:
        source = AxisSettings.model_validate(dict(of_source))
    except ValidationError as error:
        sentences = " ".join(_sentence(dict(problem), ("segments", axis)) for problem in error.errors())
        raise SettingsError(f"In the source's source.toml: {sentences}") from None
    own: AxisSettings = getattr(settings.segments, axis)
    return {**source.model_dump(exclude_none=True), **own.model_dump(exclude_none=True)}


def record_flags(home: Home, flags: Mapping[str, Any]) -> None:
    """Remember the flags of a run, on top of those remembered before; written whole or not at all.

    Flags of another source (one that was never loaded, else `refuse_other_source`) are not carried over.
    """
    recorded, given = _read_recorded(home), _without_none(flags)
    asked = given.get("source", {}).get("name")
    if asked and asked != recorded.get("source", {}).get("name"):
        recorded.pop("source", None)
    recorded = merge(recorded, given)
    scratch = home.recorded.with_suffix(".tmp")
    scratch.write_text(json.dumps(recorded, indent=1, sort_keys=True, default=str) + "\n", encoding="utf-8")
    scratch.replace(home.recorded)


def refuse_other_source(home: Home, settings: Settings) -> None:
    """SettingsError when this HOME was made from another source: its tables, ids and segments would not fit.

    A source that was asked for and never loaded holds nothing.
    """
    held = _read_recorded(home).get("source", {}).get("name")
    if held and held != settings.source.name and home.warehouse.exists():
        raise SettingsError(
            f"{home.path} holds the source {held!r}, and {settings.source.name!r} was asked for. "
            f"Give the new source a home of its own (--home FOLDER), or delete {home.path} to begin again."
        )


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with everything `top` sets, section by section."""
    merged = dict(base)
    for key, value in top.items():
        held = merged.get(key)
        merged[key] = merge(held, value) if isinstance(held, Mapping) and isinstance(value, Mapping) else value
    return merged


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            if inner := _without_none(value):
                kept[key] = inner
        elif value is not None:
            kept[key] = value
    return kept


def _read_file(path: Path, reader: type[TomlConfigSettingsSource] | type[JsonConfigSettingsSource]) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return dict(reader(Settings, path)())
    except ValueError as error:
        raise SettingsError(f"{path} cannot be read: {error}.") from None


def _read_recorded(home: Home) -> dict[str, Any]:
    return _read_file(home.recorded, JsonConfigSettingsSource)


def _read_environment() -> dict[str, Any]:
    """SEGMENTATION_SECTION__KEY=value; a name that starts so and is no setting is a mistake, not a stranger."""
    known = set(Settings.model_fields)
    for name in sorted(os.environ):
        if name.startswith(ENV_PREFIX) and name not in {ENV_HOME, ENV_FILE} | ENV_SECRETS:
            if any("\ud800" <= character <= "\udfff" for character in os.environ[name]):
                raise SettingsError(f"In the environment: {name} holds bytes that are no text in UTF-8. Set it anew.")
            section = name.removeprefix(ENV_PREFIX).lower().split("__")[0]
            if section not in known:
                _validate({section: None}, f"the environment ({name})")
    try:
        return dict(EnvSettingsSource(Settings)())
    except PydanticSettingsError as error:
        # Lists and tables are JSON there. The library names the section alone; the text it could not read is its cause.
        text = getattr(error.__cause__, "doc", None)
        named = [name for name in sorted(os.environ) if name.startswith(ENV_PREFIX) and os.environ[name] == text]
        raise SettingsError(
            f"In the environment: {' or '.join(named) or error} must be JSON, for example "
            """'["example.com", "example.org"]' for a list."""
        ) from None


def _validate(values: Mapping[str, Any], where: str) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        sentences = [_sentence(dict(problem)) for problem in error.errors()]
        raise SettingsError(f"In {where}: " + " ".join(sentences)) from None


def _sentence(problem: dict[str, Any], inside: tuple[str, ...] = ()) -> str:
    path = [*inside, *(str(part) for part in problem["loc"])]
    name = ".".join(path)
    if problem["type"] == "extra_forbidden":
        known = _known_keys(path[:-1])
        near = difflib.get_close_matches(path[-1], known, n=1)
        hint = f" Did you mean {near[0]}?" if near else f" Known keys there: {', '.join(known)}."
        return f"{name} is not a setting.{hint}"
    message = str(problem["msg"]).removeprefix("Value error, ").replace("Input should be", "must be").rstrip(".")
    return f"{name} {message} (given: {problem.get('input')!r})."


def _known_keys(path: list[str]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in path:
        inner = model.model_fields[part].annotation if part in model.model_fields else None
        candidates = (inner, *get_args(inner))
        nested = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not nested:
            break
        model = nested[0]
    return sorted(model.model_fields)
