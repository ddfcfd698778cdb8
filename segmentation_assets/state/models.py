"""The tables of the state store, as SQLAlchemy models.

Only declarations; queries are in `store.py`, the way from one version to the next in `migrations/`. Types are those
that SQLite and PostgreSQL share: text, integers, dates and JSON. Money is text, because SQLite has no decimal.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, CheckConstraint, Date, DateTime, ForeignKeyConstraint, Index, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

#: Constraint names are fixed so that a later migration can name what it changes in every engine.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """All tables of the state store."""

    metadata = MetaData(naming_convention=NAMING)


class SegmentModel(Base):
    """A frozen model of one axis: enough to assign any customer without fitting again."""

    __tablename__ = "segment_models"
    __table_args__ = (UniqueConstraint("axis", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    axis: Mapped[str]
    version: Mapped[int]
    fingerprint: Mapped[str]
    algorithm: Mapped[str]
    k: Mapped[int]
    seed: Mapped[int]
    customers_at_fit: Mapped[int]
    features: Mapped[Any] = mapped_column(JSON)
    preprocessing: Mapped[Any] = mapped_column(JSON)
    centroids: Mapped[Any] = mapped_column(JSON)
    clusterer: Mapped[Any] = mapped_column(JSON(none_as_null=True), nullable=True)
    reference: Mapped[Any] = mapped_column(JSON(none_as_null=True), nullable=True)
    as_of: Mapped[dt.date] = mapped_column(Date)
    created_by_run: Mapped[str]


class SegmentIdentity(Base):
    """A segment's id and name over time. An id that ended is never given to another segment."""

    __tablename__ = "segment_identities"
    __table_args__ = (
        UniqueConstraint("axis", "segment_id"),
        CheckConstraint("status in ('alive', 'ended')", name="status"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    axis: Mapped[str]
    segment_id: Mapped[str]
    name: Mapped[str]
    first_version: Mapped[int]
    last_version: Mapped[int]
    status: Mapped[str]


class SegmentVersion(Base):
    """Which cluster of a model version carries which segment id, and how many customers it had at the fit."""

    __tablename__ = "segment_versions"
    __table_args__ = (
        UniqueConstraint("axis", "version", "segment_id"),
        UniqueConstraint("axis", "version", "cluster_index"),
        ForeignKeyConstraint(["axis", "version"], ["segment_models.axis", "segment_models.version"]),
        ForeignKeyConstraint(["axis", "segment_id"], ["segment_identities.axis", "segment_identities.segment_id"]),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    axis: Mapped[str]
    version: Mapped[int]
    segment_id: Mapped[str]
    cluster_index: Mapped[int]
    customers: Mapped[int]


class IdentityEvent(Base):
    """A birth, death, split, merge or rename of a segment, with the numbers that made it one."""

    __tablename__ = "identity_events"
    __table_args__ = (
        CheckConstraint("kind in ('birth', 'death', 'split', 'merge', 'rename')", name="kind"),
        ForeignKeyConstraint(["axis", "version"], ["segment_models.axis", "segment_models.version"]),
        Index(None, "axis", "version"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    axis: Mapped[str]
    version: Mapped[int]
    kind: Mapped[str]
    segment_id: Mapped[str]
    detail: Mapped[Any] = mapped_column(JSON)


class RunSnapshot(Base):
    """The size and worth of each segment after a run, so that the next run can say what moved."""

    __tablename__ = "run_snapshots"
    __table_args__ = (UniqueConstraint("run_key", "axis", "segment_id"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    run_key: Mapped[str]
    as_of: Mapped[dt.date] = mapped_column(Date)
    source_fingerprint: Mapped[str]
    axis: Mapped[str]
    segment_id: Mapped[str]
    name: Mapped[str]
    customers: Mapped[int]
    reachable_customers: Mapped[int]
    revenue_amount: Mapped[str]


class ModelCall(Base):
    """One attempt to have a model answer, or the decision not to ask; see `language.task.Call`."""

    __tablename__ = "model_calls"
    __table_args__ = (Index(None, "request_key"), Index(None, "run_id"))

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    request_key: Mapped[str]
    run_id: Mapped[str]
    task: Mapped[str]
    item: Mapped[str]
    prompt_version: Mapped[str]
    answer_version: Mapped[str]
    provider: Mapped[str]
    model_asked: Mapped[str]
    model_answered: Mapped[str]
    turn: Mapped[int]
    attempt: Mapped[int]
    status: Mapped[str]
    messages: Mapped[Any] = mapped_column(JSON)
    answer: Mapped[str]
    error: Mapped[str]
    input_tokens: Mapped[int]
    output_tokens: Mapped[int]
    is_estimated: Mapped[bool]
    cost_amount: Mapped[str | None]
    latency_seconds: Mapped[float]
    is_cache_hit: Mapped[bool]
    called_at: Mapped[dt.datetime] = mapped_column(DateTime)


class LanguageServer(Base):
    """What a server and model were found to be capable of, so that it is asked only once."""

    __tablename__ = "language_servers"
    __table_args__ = (UniqueConstraint("base_url", "model"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    base_url: Mapped[str]
    model: Mapped[str]
    capabilities: Mapped[Any] = mapped_column(JSON)
    probed_at: Mapped[dt.datetime] = mapped_column(DateTime)


class Edit(Base):
    """A text that a person wrote in the place of a writer's. The newest of an item's field is in force, if active."""

    __tablename__ = "edits"
    __table_args__ = (
        CheckConstraint("kind in ('name', 'profile', 'strategy', 'draft')", name="kind"),
        Index(None, "kind", "item", "field"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    kind: Mapped[str]
    item: Mapped[str]
    field: Mapped[str]
    template: Mapped[str]
    typed: Mapped[str]
    is_active: Mapped[bool]
    edited_at: Mapped[dt.datetime] = mapped_column(DateTime)


class ProductChoice(Base):
    """A product that a marketer chose to be offered. The active row of a product is in force; null is the plan's."""

    __tablename__ = "product_choices"
    __table_args__ = (
        CheckConstraint("discount_share >= 0 and discount_share < 1", name="discount_share"),
        CheckConstraint("audience_customers >= 1", name="audience_customers"),
        Index(None, "product_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    product_id: Mapped[str]
    discount_share: Mapped[float | None]
    audience_customers: Mapped[int | None]
    is_active: Mapped[bool]
    chosen_at: Mapped[dt.datetime] = mapped_column(DateTime)
