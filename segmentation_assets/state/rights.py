"""People's rights in the state store: who is forgotten, who is not profiled, and what was done about it.

What belongs here: typed reads and writes of `forgotten`, `profiling_opt_outs` and `audit_entries`, and what a person's
wish changes in the tables of sends, events and suppressions; each function is one transaction. What does not: making
hashes, contact details and files (`delivery.rights`), and the clock: times are handed in, naive UTC.

A forgotten customer's rows keep their campaign, arm and times, so that a measured result stays what it was; the
customer is the keyed hash from then on.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from sqlalchemy import CursorResult, Delete, Update, delete, func, select, text, update
from sqlalchemy.orm import Session

from segmentation_assets.state.models import (
    AuditEntry,
    Forgotten,
    ProfilingOptOut,
    Send,
    SendEvent,
    Suppression,
)
from segmentation_assets.state.store import StateStore

#: Where a suppression comes from. An address that another customer has too suppresses, and rejects nobody's rows.
FORGET, FORGET_SHARED = "forget", "forget_shared"
FORGOTTEN, OPTED_OUT = "forgotten", "opted_out"
_CHUNK = 500


@dataclass(frozen=True)
class ForgottenHashes:
    """Keyed hashes of everybody who is forgotten: of ids, and of addresses that were theirs alone."""

    customers: frozenset[str]
    addresses: frozenset[str]


@dataclass(frozen=True)
class ForgottenState:
    """When a customer was forgotten, and when that was done to the end (None: it was interrupted)."""

    since: dt.datetime
    finished_at: dt.datetime | None


@dataclass(frozen=True)
class AuditRecord:
    """One thing done: by whom, to whom, when."""

    action: str
    subject: str
    person: str
    detail: Mapping[str, Any]
    happened_at: dt.datetime


def forgotten_hashes(store: StateStore) -> ForgottenHashes:
    """What every load rejects."""
    with store.session() as session:
        rows = session.execute(select(Forgotten.customer_hash, Forgotten.address_hash)).all()
        further = session.scalars(
            select(Suppression.address_hash).where(Suppression.kind == FORGOTTEN, Suppression.source == FORGET)
        )
        addresses = {row.address_hash for row in rows} | set(further)
    return ForgottenHashes(frozenset(row.customer_hash for row in rows), frozenset(addresses - {""}))


def forgotten_state(store: StateStore, customer_hash: str) -> ForgottenState | None:
    """Since when a customer is forgotten, None for who is not."""
    with store.session() as session:
        row = session.get(Forgotten, customer_hash)
        if row is None:
            return None
        done = session.scalars(select(AuditEntry).where(AuditEntry.action == FORGET).order_by(AuditEntry.id))
        finished = next(
            (
                entry.happened_at
                for entry in done
                if customer_hash in (entry.subject, entry.detail.get("source_id_hash"))
            ),
            None,
        )
        return ForgottenState(row.forgotten_at, finished)


def begin_forgetting(
    store: StateStore,
    customer_id: str,
    customer_hashes: Sequence[str],
    own_addresses: Sequence[str],
    shared_addresses: Sequence[str],
    *,
    now: dt.datetime,
) -> int:
    """From now on every load rejects the customer, and nothing waiting is sent to them; returns the sends stopped.

    `customer_hashes`: of the customer's id, first, and of the source's own id where that is another. The addresses are
    keyed hashes; `shared_addresses` are of other customers too. Twice is the same as once.
    """
    with store.session(write=True) as session:
        for place, customer_hash in enumerate(dict.fromkeys(customer_hashes)):
            row = session.get(Forgotten, customer_hash)
            if row is None:
                row = Forgotten(customer_hash=customer_hash, address_hash="", forgotten_at=now)
                session.add(row)
            if place == 0 and own_addresses and not row.address_hash:
                row.address_hash = own_addresses[0]
        for source, addresses in ((FORGET, own_addresses), (FORGET_SHARED, shared_addresses)):
            for address_hash in addresses:
                _suppress(session, address_hash, customer_hashes[0], source, now)
        session.flush()
        return _stop_sends(session, [customer_id, customer_hashes[0]], FORGOTTEN, now)


def send_ids_of(store: StateStore, customer_ids: Collection[str]) -> list[str]:
    """The ids of all sends of these customers (ids, or the hashes that took their place), sorted."""
    with store.session() as session:
        return sorted(session.scalars(select(Send.send_id).where(Send.customer_id.in_(list(customer_ids)))))


def campaigns_of(store: StateStore, send_ids: Collection[str]) -> list[str]:
    """The campaigns of these sends, sorted."""
    with store.session() as session:
        query = select(Send.campaign_id).where(Send.send_id.in_(list(send_ids))).distinct()
        return sorted(session.scalars(query))


def replace_customer(store: StateStore, customer_id: str, customer_hash: str) -> dict[str, int]:
    """Put the hash in the customer's place wherever the store names them; returns the rows changed, by table.

    What a mail server replied may name the address, so it goes; products, segments and time zone describe the person.
    In SQLite what was there before is overwritten, and its log of changes goes when the last process closes the file.
    """
    with store.session(write=True) as session:
        if session.connection().dialect.name == "sqlite":
            session.execute(text("pragma secure_delete = on"))
        sends = _rows(
            session,
            update(Send)
            .where(Send.customer_id.in_([customer_id, customer_hash]))
            .values(
                customer_id=customer_hash,
                smtp_reply="",
                timezone="",
                product_ids="",
                taste_segment_id="",
                stage_segment_id="",
            ),
        )
        events = _rows(
            session, update(SendEvent).where(SendEvent.customer_id == customer_id).values(customer_id=customer_hash)
        )
        held = {
            (row.address_hash, row.kind)
            for row in session.scalars(select(Suppression).where(Suppression.customer_id == customer_hash))
        }
        suppressions = 0
        for row in session.scalars(select(Suppression).where(Suppression.customer_id == customer_id)).all():
            suppressions += 1
            if (row.address_hash, row.kind) in held:
                session.delete(row)
            else:
                row.customer_id = customer_hash
        opt_outs = _rows(session, delete(ProfilingOptOut).where(ProfilingOptOut.customer_id == customer_id))
        audits = _rows(
            session, update(AuditEntry).where(AuditEntry.subject == customer_id).values(subject=customer_hash)
        )
    return {
        "sends": sends, "events": events, "suppressions": suppressions, "opt_outs": opt_outs, "audit_entries": audits,
    }  # fmt: skip


def finish_forgetting(
    store: StateStore, customer_hash: str, *, person: str, detail: Mapping[str, Any], now: dt.datetime
) -> None:
    """Record that it was done to the end; under the hash alone. `detail` may hold that of a source's own id."""
    add_audit_entry(store, FORGET, customer_hash, person=person, detail=detail, now=now)


def set_opt_out(
    store: StateStore, customer_id: str, *, is_active: bool, person: str, now: dt.datetime
) -> tuple[bool, int]:
    """Take a customer out of profiling, or back in; returns whether that changed anything, and the sends stopped.

    What waits in the outbox for a customer who opts out is skipped; it is not taken up again when they come back.
    """
    with store.session(write=True) as session:
        row = session.get(ProfilingOptOut, customer_id)
        if (row.is_active if row is not None else False) == is_active:
            return False, 0
        if row is None:
            session.add(ProfilingOptOut(customer_id=customer_id, is_active=is_active, changed_at=now))
        else:
            row.is_active, row.changed_at = is_active, now
        stopped = _stop_sends(session, [customer_id], OPTED_OUT, now) if is_active else 0
        session.add(
            AuditEntry(
                action="opt_out" if is_active else "opt_in", subject=customer_id, person=person,
                detail={"sends_stopped": stopped}, happened_at=now,
            )
        )  # fmt: skip
        return True, stopped


def opt_outs(store: StateStore) -> pl.DataFrame:
    """Customers who are not profiled, sorted: customer_id, opted_out_at."""
    with store.session() as session:
        rows = session.execute(
            select(ProfilingOptOut.customer_id, ProfilingOptOut.changed_at).where(ProfilingOptOut.is_active)
        ).all()
    schema = {"customer_id": pl.String(), "opted_out_at": pl.Datetime("us")}
    return pl.DataFrame([tuple(row) for row in rows], schema=schema, orient="row").sort("customer_id")


def suppressed_customers(store: StateStore) -> pl.DataFrame:
    """Customers who are not written to any more, sorted: customer_id, suppressed_as (of several the first by name)."""
    with store.session() as session:
        rows = session.execute(
            select(Suppression.customer_id, func.min(Suppression.kind))
            .where(Suppression.customer_id != "")
            .group_by(Suppression.customer_id)
        ).all()
    schema = {"customer_id": pl.String(), "suppressed_as": pl.String()}
    return pl.DataFrame([tuple(row) for row in rows], schema=schema, orient="row").sort("customer_id")


def opted_out_among(session: Session, customer_ids: Collection[str]) -> set[str]:
    """Those of the customers who are not profiled, within the caller's transaction."""
    ids, found = list(customer_ids), set[str]()
    for first in range(0, len(ids), _CHUNK):
        found |= set(
            session.scalars(
                select(ProfilingOptOut.customer_id).where(
                    ProfilingOptOut.is_active, ProfilingOptOut.customer_id.in_(ids[first : first + _CHUNK])
                )
            )
        )
    return found


def add_audit_entry(
    store: StateStore, action: str, subject: str, *, person: str, detail: Mapping[str, Any], now: dt.datetime
) -> None:
    """Record who did what, for good. `detail` is JSON-able and holds no address."""
    with store.session(write=True) as session:
        session.add(
            AuditEntry(action=action, subject=subject, person=person, detail=dict(detail), happened_at=now)
        )  # fmt: skip


def audit_entries(store: StateStore, most: int = 50) -> list[AuditRecord]:
    """The newest entries, the newest first."""
    with store.session() as session:
        query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(most)
        return [
            AuditRecord(row.action, row.subject, row.person, dict(row.detail), row.happened_at)
            for row in session.scalars(query)
        ]


def _suppress(session: Session, address_hash: str, customer_hash: str, source: str, now: dt.datetime) -> None:
    known = session.scalar(
        select(Suppression.id).where(
            Suppression.address_hash == address_hash,
            Suppression.customer_id == customer_hash,
            Suppression.kind == FORGOTTEN,
        )
    )
    if known is None:
        session.add(
            Suppression(
                address_hash=address_hash, customer_id=customer_hash, kind=FORGOTTEN, source=source, campaign_id="",
                created_at=now,
            )
        )  # fmt: skip


def _stop_sends(session: Session, customer_ids: Sequence[str], reason: str, now: dt.datetime) -> int:
    """Skip what waits for a customer. What a worker holds at this moment is its own to finish."""
    return _rows(
        session,
        update(Send)
        .where(Send.customer_id.in_(list(customer_ids)), Send.status == "pending")
        .values(status="skipped", reason=reason, finished_at=now),
    )


def _rows(session: Session, statement: Update | Delete) -> int:
    result = session.execute(statement, execution_options={"synchronize_session": False})
    assert isinstance(result, CursorResult)  # noqa: S101 - narrows the type
    return int(result.rowcount)
