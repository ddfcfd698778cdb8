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


class StateValue(Base):
    """A single value that has to be kept: the fingerprint of the secret key, the clock of a demonstration."""

    __tablename__ = "state_values"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[Any] = mapped_column(JSON)


class Campaign(Base):
    """A campaign as a person approved it: everything that is sent, frozen. `campaign_id` is the brief's id."""

    __tablename__ = "campaigns"
    __table_args__ = (
        CheckConstraint("status in ('approved', 'rejected', 'voided', 'sending', 'sent', 'cancelled')", name="status"),
    )

    campaign_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    status: Mapped[str]
    content: Mapped[Any] = mapped_column(JSON)
    digests: Mapped[Any] = mapped_column(JSON)
    counts: Mapped[Any] = mapped_column(JSON)
    primary_metric: Mapped[str]
    window_days: Mapped[int]
    control_share: Mapped[float]
    is_aa: Mapped[bool]
    is_scheduled: Mapped[bool]
    starts_at: Mapped[dt.datetime] = mapped_column(DateTime)
    not_after: Mapped[dt.datetime] = mapped_column(DateTime)
    created_at: Mapped[dt.datetime] = mapped_column(DateTime)


class Approval(Base):
    """One decision of a person about a campaign, or its end; the newest is in force."""

    __tablename__ = "approvals"
    __table_args__ = (
        CheckConstraint("decision in ('approved', 'rejected', 'voided')", name="decision"),
        Index(None, "campaign_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    campaign_id: Mapped[str]
    decision: Mapped[str]
    person: Mapped[str]
    reason: Mapped[str]
    digests: Mapped[Any] = mapped_column(JSON)
    decided_at: Mapped[dt.datetime] = mapped_column(DateTime)
    expires_at: Mapped[dt.datetime | None] = mapped_column(DateTime, nullable=True)


class Send(Base):
    """One customer of a started campaign: a message, or the ghost of one for those who are left out.

    The outbox and its history in one. Times are naive UTC. `send_id` is made of campaign and customer, so planning
    twice cannot send twice.
    """

    __tablename__ = "sends"
    __table_args__ = (
        UniqueConstraint("campaign_id", "customer_id"),
        CheckConstraint("arm in ('treated', 'control', 'hold_out')", name="arm"),
        CheckConstraint(
            "status in ('pending', 'claimed', 'sent', 'failed', 'uncertain', 'expired', 'skipped', 'ghost')",
            name="status",
        ),
        Index(None, "campaign_id", "status", "next_try_at"),
        Index(None, "campaign_id", "address_hash"),
        Index(None, "customer_id"),
    )

    send_id: Mapped[str] = mapped_column(primary_key=True)
    campaign_id: Mapped[str]
    customer_id: Mapped[str]
    arm: Mapped[str]
    variant: Mapped[str]
    status: Mapped[str]
    reason: Mapped[str]
    timezone: Mapped[str]
    product_ids: Mapped[str]
    taste_segment_id: Mapped[str] = mapped_column(server_default="")
    stage_segment_id: Mapped[str] = mapped_column(server_default="")
    tries: Mapped[int]
    next_try_at: Mapped[dt.datetime] = mapped_column(DateTime)
    not_after: Mapped[dt.datetime] = mapped_column(DateTime)
    claimed_by: Mapped[str]
    finished_at: Mapped[dt.datetime | None] = mapped_column(DateTime, nullable=True)
    smtp_code: Mapped[int | None]
    smtp_reply: Mapped[str]
    address_hash: Mapped[str]


class SendEvent(Base):
    """What happened to a message: raw, robots included. `event_id` is made of the event, so twice is once."""

    __tablename__ = "send_events"
    __table_args__ = (
        CheckConstraint(
            "kind in ('delivered', 'open', 'click', 'unsubscribe', 'complaint', 'hard_bounce', 'soft_bounce')",
            name="kind",
        ),
        Index(None, "send_id"),
        Index(None, "campaign_id"),
    )

    event_id: Mapped[str] = mapped_column(primary_key=True)
    send_id: Mapped[str]
    campaign_id: Mapped[str]
    customer_id: Mapped[str]
    kind: Mapped[str]
    occurred_at: Mapped[dt.datetime] = mapped_column(DateTime)
    link: Mapped[int | None]
    source: Mapped[str]
    method: Mapped[str]
    user_agent: Mapped[str]
    network: Mapped[str]


class Suppression(Base):
    """An address or a customer who is not written to any more. Kept when everything else about them goes."""

    __tablename__ = "suppressions"
    __table_args__ = (
        CheckConstraint("kind in ('unsubscribe', 'complaint', 'hard_bounce', 'forgotten', 'manual')", name="kind"),
        UniqueConstraint("address_hash", "customer_id", "kind"),
        Index(None, "customer_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    address_hash: Mapped[str]
    customer_id: Mapped[str]
    kind: Mapped[str]
    source: Mapped[str]
    campaign_id: Mapped[str]
    created_at: Mapped[dt.datetime] = mapped_column(DateTime)


class Forgotten(Base):
    """A customer who asked to be forgotten: keyed hashes alone, which every later load rejects."""

    __tablename__ = "forgotten"

    customer_hash: Mapped[str] = mapped_column(primary_key=True)
    address_hash: Mapped[str]
    forgotten_at: Mapped[dt.datetime] = mapped_column(DateTime)


class ProfilingOptOut(Base):
    """A customer who does not want to be profiled; active until taken back."""

    __tablename__ = "profiling_opt_outs"

    customer_id: Mapped[str] = mapped_column(primary_key=True)
    is_active: Mapped[bool]
    changed_at: Mapped[dt.datetime] = mapped_column(DateTime)


class AuditEntry(Base):
    """Who did what to whom and when, where a person's rights or a decision about sending are touched."""

    __tablename__ = "audit_entries"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    action: Mapped[str]
    subject: Mapped[str]
    person: Mapped[str]
    detail: Mapped[Any] = mapped_column(JSON)
    happened_at: Mapped[dt.datetime] = mapped_column(DateTime)
