"""Campaigns and approvals in the state store: typed reads and writes, and which status may follow which.

What belongs here: keeping what a person decided, and reading it back. What does not: whether a campaign may be
approved or sent (`delivery.approval`), its messages (the outbox), and the clock: times are handed in, naive UTC.

Functions that take a `Session` are steps of the caller's transaction; those that take a `StateStore` are one of their
own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from segmentation_assets.state import models
from segmentation_assets.state.store import StateStore

Status = Literal["approved", "rejected", "voided", "sending", "sent", "cancelled"]
Decision = Literal["approved", "rejected", "voided"]

#: What may follow a status. A campaign that began to be sent is never approved again.
TRANSITIONS: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {
        "approved": frozenset({"approved", "rejected", "voided", "sending", "cancelled"}),
        "rejected": frozenset({"approved", "rejected"}),
        "voided": frozenset({"approved", "rejected", "voided"}),
        "sending": frozenset({"sending", "sent", "cancelled"}),
        "sent": frozenset[Status](),
        "cancelled": frozenset[Status](),
    }
)
_TOLD: Mapping[Status, str] = {
    "approved": "is approved and not sent yet",
    "rejected": "was rejected",
    "voided": "lost its approval, because it changed",
    "sending": "is being sent",
    "sent": "was sent",
    "cancelled": "was cancelled",
}
_WANTED: Mapping[Status, str] = {
    "approved": "approved",
    "rejected": "rejected",
    "voided": "voided",
    "sending": "sent",
    "sent": "called sent",
    "cancelled": "cancelled",
}


class CampaignStateError(ValueError):
    """A campaign is not there, or cannot become what was asked; the message says why."""


@dataclass(frozen=True)
class CampaignRecord:
    """A campaign as it was approved. `content`, `digests` and `counts` are JSON-able; times are naive UTC."""

    campaign_id: str
    name: str
    status: Status
    content: Mapping[str, Any]
    digests: Mapping[str, str]
    counts: Mapping[str, Any]
    primary_metric: str
    window_days: int
    control_share: float
    is_aa: bool
    is_scheduled: bool
    starts_at: dt.datetime
    not_after: dt.datetime
    created_at: dt.datetime


@dataclass(frozen=True)
class ApprovalRecord:
    """One decision about a campaign. `approval_id` grows with time; the newest decision is in force."""

    approval_id: int
    campaign_id: str
    decision: Decision
    person: str
    reason: str
    digests: Mapping[str, str]
    decided_at: dt.datetime
    expires_at: dt.datetime | None = None


def get_campaign(store: StateStore, campaign_id: str) -> CampaignRecord | None:
    """The campaign, None where nobody ever approved it."""
    with store.session() as session:
        return read_campaign(session, campaign_id)


def list_campaigns(store: StateStore, status: Status | None = None) -> list[CampaignRecord]:
    """All campaigns, or those of one status, sorted by id."""
    with store.session() as session:
        query = select(models.Campaign)
        if status is not None:
            query = query.where(models.Campaign.status == status)
        # Sorted here: engines sort text differently.
        return sorted(map(_campaign, session.scalars(query)), key=lambda record: record.campaign_id)


def newest_approval(store: StateStore, campaign_id: str) -> ApprovalRecord | None:
    """The decision in force, None where nobody decided."""
    with store.session() as session:
        return read_newest_approval(session, campaign_id)


def sending_until(store: StateStore, campaign_id: str) -> dt.datetime | None:
    """When the approval under which a campaign is being sent ends; None where it is not being sent (any more)."""
    with store.session() as session:
        status = session.scalar(select(models.Campaign.status).where(models.Campaign.campaign_id == campaign_id))
        newest = _newest(session, campaign_id)
        if status != "sending" or newest is None or newest.decision != "approved":
            return None
        return newest.expires_at or newest.decided_at


def newest_approvals(store: StateStore) -> dict[str, ApprovalRecord]:
    """The decision in force of every campaign that has one, by campaign id."""
    with store.session() as session:
        rows = session.scalars(select(models.Approval).order_by(models.Approval.id))
        return {row.campaign_id: _approval(row) for row in rows}  # the newest of a campaign comes last


def list_approvals(store: StateStore, campaign_id: str) -> list[ApprovalRecord]:
    """Every decision about the campaign, oldest first."""
    with store.session() as session:
        query = select(models.Approval).where(models.Approval.campaign_id == campaign_id)
        return [_approval(row) for row in session.scalars(query.order_by(models.Approval.id))]


def set_status(
    store: StateStore, campaign_id: str, status: Status, *, digests: Mapping[str, str] | None = None
) -> CampaignRecord:
    """Give the campaign a status that may follow its present one; returns it. See `change_status` for refusals."""
    with store.session(write=True) as session:
        return change_status(session, campaign_id, status, digests=digests)


def change_status(
    session: Session, campaign_id: str, status: Status, *, digests: Mapping[str, str] | None = None
) -> CampaignRecord:
    """The same as a step of a transaction that holds the write lock.

    With `digests`, the campaign must be approved with just these: who checked an approval a moment ago is sure to start
    what was checked. CampaignStateError where the campaign is not there, changed meanwhile, or cannot become `status`.
    """
    row = session.get(models.Campaign, campaign_id)
    if row is None:
        raise CampaignStateError(
            f"There is no campaign {campaign_id}: nobody approved it. `segmentation drafts list` shows what there is."
        )
    if digests is not None and dict(row.digests) != dict(digests):
        raise CampaignStateError(
            f"Campaign {campaign_id} was approved anew meanwhile, with other content. Begin again."
        )
    refuse_transition(campaign_id, _status(row.status), status)
    row.status = status
    session.flush()
    return _campaign(row)


def refuse_transition(campaign_id: str, before: Status, after: Status) -> None:
    """CampaignStateError where a campaign cannot go from `before` to `after`."""
    if after not in TRANSITIONS[before]:
        remedy = "" if TRANSITIONS[before] else " A new brief is needed: `segmentation run` plans it."
        if before == "sending":
            remedy = f" `segmentation drafts reject {campaign_id} --why ...` stops it."
        raise CampaignStateError(f"Campaign {campaign_id} {_TOLD[before]}, so it cannot be {_WANTED[after]}.{remedy}")


def read_campaign(session: Session, campaign_id: str) -> CampaignRecord | None:
    """The campaign within a transaction, None where nobody ever approved it."""
    row = session.get(models.Campaign, campaign_id)
    return None if row is None else _campaign(row)


def read_newest_approval(session: Session, campaign_id: str) -> ApprovalRecord | None:
    """The decision in force within a transaction, None where nobody decided."""
    row = _newest(session, campaign_id)
    return None if row is None else _approval(row)


def put_campaign(session: Session, record: CampaignRecord) -> None:
    """Keep the campaign, in the place of the one before. CampaignStateError where its status cannot follow."""
    before = session.get(models.Campaign, record.campaign_id)
    if before is not None:
        refuse_transition(record.campaign_id, _status(before.status), record.status)
    session.merge(
        models.Campaign(
            campaign_id=record.campaign_id, name=record.name, status=record.status, content=dict(record.content),
            digests=dict(record.digests), counts=dict(record.counts), primary_metric=record.primary_metric,
            window_days=record.window_days, control_share=record.control_share, is_aa=record.is_aa,
            is_scheduled=record.is_scheduled, starts_at=record.starts_at, not_after=record.not_after,
            created_at=record.created_at,
        )
    )  # fmt: skip
    session.flush()


def add_approval(
    session: Session,
    campaign_id: str,
    decision: Decision,
    *,
    person: str,
    reason: str = "",
    digests: Mapping[str, str],
    decided_at: dt.datetime,
    expires_at: dt.datetime | None = None,
) -> ApprovalRecord:
    """Record a decision; it is in force from now on."""
    row = models.Approval(
        campaign_id=campaign_id, decision=decision, person=person, reason=reason, digests=dict(digests),
        decided_at=decided_at, expires_at=expires_at,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return _approval(row)


def renew_approval(session: Session, approval_id: int, expires_at: dt.datetime) -> ApprovalRecord:
    """Let an approval hold until `expires_at`; it stays the same approval. CampaignStateError for an unknown id."""
    row = session.get(models.Approval, approval_id)
    if row is None:
        raise CampaignStateError(f"There is no approval {approval_id}.")
    row.expires_at = expires_at
    session.flush()
    return _approval(row)


def add_audit(
    session: Session, action: str, subject: str, *, person: str, detail: Mapping[str, Any], happened_at: dt.datetime
) -> None:
    """Record who did what, for good. `detail` is JSON-able and holds no address."""
    session.add(
        models.AuditEntry(
            action=action, subject=subject, person=person, detail=dict(detail), happened_at=happened_at
        )
    )  # fmt: skip
    session.flush()


def _newest(session: Session, campaign_id: str) -> models.Approval | None:
    query = select(models.Approval).where(models.Approval.campaign_id == campaign_id)
    return session.scalar(query.order_by(models.Approval.id.desc()).limit(1))


def _status(text: str) -> Status:
    return next(known for known in get_args(Status) if known == text)


def _campaign(row: models.Campaign) -> CampaignRecord:
    return CampaignRecord(
        campaign_id=row.campaign_id, name=row.name, status=_status(row.status), content=row.content,
        digests=row.digests, counts=row.counts, primary_metric=row.primary_metric, window_days=row.window_days,
        control_share=row.control_share, is_aa=row.is_aa, is_scheduled=row.is_scheduled, starts_at=row.starts_at,
        not_after=row.not_after, created_at=row.created_at,
    )  # fmt: skip


def _approval(row: models.Approval) -> ApprovalRecord:
    decision: Decision = next(known for known in get_args(Decision) if known == row.decision)
    return ApprovalRecord(
        row.id, row.campaign_id, decision, row.person, row.reason, row.digests, row.decided_at, row.expires_at
    )
