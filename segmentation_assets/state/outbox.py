"""The outbox in the state store: filling it, claiming what is due, recording what became of it.

What belongs here: reads and writes of the table `sends`, each one transaction, and what they touch with it
(suppressions of hard bounces, the status of the campaign, the audit row of a person's decision). What does not: the
journal (`delivery.journal`), and whether and how a message is sent (`delivery.dispatcher`).
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeVar

from sqlalchemy import ColumnElement, bindparam, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from segmentation_assets.state.campaigns import change_status
from segmentation_assets.state.models import Approval, AuditEntry, Base, Campaign, Send, SendEvent, Suppression
from segmentation_assets.state.rights import opted_out_among
from segmentation_assets.state.store import StateStore

T = TypeVar("T")
Decision = Literal["sent", "failed", "retry"]
#: Rows of one INSERT ... executemany: large enough to be fast, small enough to stay in memory.
_CHUNK = 50_000
#: Memory for pages while the outbox is filled.
_CACHE_KIB = 262_144
_SEND_EVENTS = uuid.UUID("b1f6e1a5-5d55-4a43-9a3c-0f3c4bb8c2ad")


class OutboxError(ValueError):
    """What was asked of the outbox cannot be done; the message says why."""


@dataclass(frozen=True, slots=True)
class NewSend:
    """A row to fill in. Treated rows wait for `next_try_at`; the others are ghosts, finished at once.

    The segments are those of the plan, empty where the customer had none.
    """

    send_id: str
    customer_id: str
    arm: str
    variant: str
    timezone: str
    product_ids: str
    next_try_at: dt.datetime
    not_after: dt.datetime
    taste_segment_id: str = ""
    stage_segment_id: str = ""


@dataclass(frozen=True, slots=True)
class QueuedSend:
    """A claimed row: what a dispatcher needs to know of it. `tries` counts those already made."""

    send_id: str
    customer_id: str
    variant: str
    timezone: str
    product_ids: tuple[str, ...]
    tries: int
    not_after: dt.datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a claimed row. `status` pending gives it back, due at `next_try_at` (unchanged where None)."""

    send_id: str
    status: str
    tries: int
    reason: str = ""
    next_try_at: dt.datetime | None = None
    finished_at: dt.datetime | None = None
    smtp_code: int | None = None
    smtp_reply: str = ""
    is_hard_bounce: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A row that a worker holds: how many tries were recorded, and when it is due."""

    send_id: str
    tries: int


@dataclass(frozen=True, slots=True)
class UncertainSend:
    """A message that may or may not have arrived; a person decides."""

    send_id: str
    campaign_id: str
    customer_id: str
    reason: str
    tries: int
    smtp_code: int | None
    smtp_reply: str
    finished_at: dt.datetime | None


def fill_sends(
    store: StateStore,
    campaign_id: str,
    rows: Iterable[NewSend],
    *,
    now: dt.datetime,
    is_aa: bool = False,
    digests: Mapping[str, str] | None = None,
) -> int:
    """Put the customers of a campaign into the outbox and mark it as sending, all or nothing; returns the rows added.

    A row that is there already stays as it is. Rows of an arm other than treated, and all rows with `is_aa`, are
    ghosts, finished `now`: they count for caps and are never sent. CampaignStateError where the campaign is not
    approved, or was approved meanwhile with other `digests`.
    """
    with store.session(write=True) as session:
        change_status(session, campaign_id, "sending", digests=digests)
        return insert_sends(session, campaign_id, rows, now=now, is_aa=is_aa)


def insert_sends(
    session: Session, campaign_id: str, rows: Iterable[NewSend], *, now: dt.datetime, is_aa: bool = False
) -> int:
    """`fill_sends` inside a transaction of the caller's, without touching the campaign."""
    columns = {column.key: bindparam(column.key, type_=column.type) for column in Send.__table__.columns}
    connection = session.connection()
    if (
        connection.dialect.name == "sqlite"
    ):  # of this connection alone; the usual 2 MB would spill index pages all along
        connection.exec_driver_sql(f"pragma cache_size = -{_CACHE_KIB}")
    statement = _insert_or_ignore(session, Send).values(columns).compile(dialect=connection.dialect)
    # Compiled once and bound by hand: SQLAlchemy's way from a mapping to parameters costs as much as the inserts.
    names = statement.positiontup or list(columns)
    to_text = Send.next_try_at.type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
    moments: dict[dt.datetime | None, Any] = {None: None}

    def moment(at: dt.datetime | None) -> Any:
        if at not in moments:
            moments[at] = to_text(at) if to_text else at
        return moments[at]

    added = 0
    # Sorted, so that neighbours in the primary key are inserted together: it is a hash.
    for chunk in _chunks(rows, _CHUNK):
        filled = [_filled(row, campaign_id, now, is_aa, moment) for row in sorted(chunk, key=lambda one: one.send_id)]
        values: Any = [tuple(one[name] for name in names) for one in filled] if statement.positional else filled
        added += _rows(connection.exec_driver_sql(str(statement), values))
    return added


def _filled(
    row: NewSend, campaign_id: str, now: dt.datetime, is_aa: bool, moment: Callable[[dt.datetime | None], Any]
) -> dict[str, Any]:
    is_ghost = is_aa or row.arm != "treated"
    return {
        "send_id": row.send_id, "campaign_id": campaign_id, "customer_id": row.customer_id, "arm": row.arm,
        "variant": "" if is_ghost else row.variant, "status": "ghost" if is_ghost else "pending", "reason": "",
        "timezone": row.timezone, "product_ids": row.product_ids, "taste_segment_id": row.taste_segment_id,
        "stage_segment_id": row.stage_segment_id, "tries": 0,
        "next_try_at": moment(row.next_try_at), "not_after": moment(row.not_after), "claimed_by": "",
        "finished_at": moment(now) if is_ghost else None, "smtp_code": None, "smtp_reply": "", "address_hash": "",
    }  # fmt: skip


def claim_batch(
    store: StateStore, campaign_id: str, worker: str, limit: int, now: dt.datetime
) -> tuple[list[QueuedSend], int]:
    """Take up to `limit` rows that are due, for this worker alone; and expire those whose time is over.

    One transaction under the write lock: two workers never get the same row. Returns the rows and how many expired.
    """
    # Without a second key the index gives the order; sorting a million rows for each batch would take seconds.
    due = (
        select(
            Send.send_id, Send.customer_id, Send.variant, Send.timezone, Send.product_ids, Send.tries, Send.not_after,
        )
        .where(_waiting(campaign_id), Send.arm == "treated", Send.next_try_at <= now)
        .order_by(Send.next_try_at)
        .limit(limit)
        .with_for_update(skip_locked=True)  # PostgreSQL; SQLite holds the write lock
    )  # fmt: skip
    with store.session(write=True) as session:
        found = session.execute(due).all()
        expired = 0
        # Expiring reads every row that waits, so it is done when a late one is met and at the end, not for each batch.
        if not found or any(row.not_after <= now for row in found):
            expired = _expire(session, campaign_id, now, "too_late", Send.not_after <= now)
            found = session.execute(due).all() if found else []
        rows = [
            QueuedSend(
                send_id=row.send_id, customer_id=row.customer_id, variant=row.variant, timezone=row.timezone,
                product_ids=tuple(filter(None, row.product_ids.split(","))), tries=row.tries, not_after=row.not_after,
            )
            for row in found
        ]  # fmt: skip
        if rows:
            session.execute(
                update(Send)
                .where(Send.send_id.in_([row.send_id for row in rows]))
                .values(status="claimed", claimed_by=worker)
            )
        return rows, expired


def expire_waiting(store: StateStore, campaign_id: str, now: dt.datetime) -> tuple[int, int]:
    """End what waits of a campaign whose approval is over: late rows as too_late, the others as approval_over.

    Returns how many of each. Rows that a worker holds are its own to conclude or to give back.
    """
    with store.session(write=True) as session:
        late = _expire(session, campaign_id, now, "too_late", Send.not_after <= now)
        return late, _expire(session, campaign_id, now, "approval_over", Send.not_after > now)


def _expire(session: Session, campaign_id: str, now: dt.datetime, reason: str, which: ColumnElement[bool]) -> int:
    return _rows(
        session.execute(
            update(Send)
            .where(Send.campaign_id == campaign_id, Send.status == "pending", which)
            .values(status="expired", reason=reason, finished_at=now)
        )
    )


@dataclass(frozen=True)
class Cap:
    """At most `messages` to a customer within `days` calendar days (UTC).

    A place in a campaign counts, whatever came of it: the message, the ghost of who was left out, and what failed, was
    skipped or came too late. Otherwise other campaigns would write to the treated and not to their controls.
    """

    messages: int
    days: int


def admit(
    store: StateStore,
    campaign_id: str,
    candidates: Sequence[tuple[QueuedSend, str]],
    now: dt.datetime,
    cap: Cap | None = None,
) -> dict[str, str]:
    """Which of the claimed rows (with the keyed hash of their address) may not be sent, by send id with the reason.

    Reasons: suppressed_KIND for a customer or an address that is suppressed; opted_out for a customer who does not want
    to be profiled since; frequency_cap where other campaigns reached the cap since the plan; duplicate_address where
    another customer of the campaign has the address. The hashes of the others are kept with their rows in the same
    transaction, so of two workers one alone gets an address, and of two campaigns one alone a customer.
    """
    if not candidates:
        return {}
    ids = [row.send_id for row, _ in candidates]
    hashes = list({address_hash for _, address_hash in candidates})
    with store.session(write=True) as session:
        kinds = suppressed_kinds(session, [row.customer_id for row, _ in candidates], hashes)
        opted_out = opted_out_among(session, [row.customer_id for row, _ in candidates])
        capped = _capped(session, campaign_id, [row.customer_id for row, _ in candidates], now, cap)
        used = set(
            session.scalars(
                select(Send.address_hash).where(
                    Send.campaign_id == campaign_id, Send.address_hash.in_(hashes), Send.send_id.not_in(ids),
                    Send.status != "skipped",
                )
            )
        )  # fmt: skip
        refused: dict[str, str] = {}
        kept: list[dict[str, str]] = []
        # A row that was tried before keeps its address; else the first of the batch gets it.
        for row, address_hash in sorted(candidates, key=lambda pair: -pair[0].tries):
            kind = kinds.get(("customer", row.customer_id)) or kinds.get(("address", address_hash))
            if kind:
                refused[row.send_id] = f"suppressed_{kind}"
            elif row.customer_id in opted_out:
                refused[row.send_id] = "opted_out"
            elif row.customer_id in capped:
                refused[row.send_id] = "frequency_cap"
            elif address_hash in used:
                refused[row.send_id] = "duplicate_address"
            else:
                used.add(address_hash)
                kept.append({"b_send_id": row.send_id, "b_hash": address_hash})
        if kept:
            session.connection().execute(
                update(Send).where(Send.send_id == bindparam("b_send_id")).values(address_hash=bindparam("b_hash")),
                kept,
            )
        return refused


def _capped(
    session: Session, campaign_id: str, customer_ids: Collection[str], now: dt.datetime, cap: Cap | None
) -> set[str]:
    """Customers who had a place in other campaigns as often as the cap permits, or are just being written to."""
    if cap is None:
        return set()
    first_day = dt.datetime.combine(now.date() - dt.timedelta(days=cap.days - 1), dt.time())
    is_done = Send.status.in_(("sent", "uncertain", "ghost", "failed")) & (Send.finished_at >= first_day)
    # Of two campaigns at once the second skips a customer for the first one's sake: both counting would stop both.
    is_skipped = (Send.status == "skipped") & (Send.reason != "frequency_cap") & (Send.finished_at >= first_day)
    # It expires when its campaign ends, and counts from when it was due, as a message or a ghost would.
    is_expired = (Send.status == "expired") & (Send.next_try_at >= first_day)
    is_admitted = (Send.status == "claimed") & (Send.address_hash != "")  # by another campaign's worker, just now
    found: set[str] = set()
    for few in _chunks(sorted(set(customer_ids)), 500):
        query = (
            select(Send.customer_id)
            .where(Send.customer_id.in_(few), Send.campaign_id != campaign_id)
            .where(is_done | is_skipped | is_expired | is_admitted)
            .group_by(Send.customer_id)
            .having(func.count() >= cap.messages)
        )
        found.update(session.scalars(query))
    return found


def suppressed_kinds(
    session: Session, customer_ids: Collection[str], address_hashes: Collection[str]
) -> dict[tuple[str, str], str]:
    """Why those of the customers and addresses are suppressed that are, by ("customer" | "address", value)."""
    found: dict[tuple[str, str], str] = {}
    for what, column, values in (
        ("customer", Suppression.customer_id, customer_ids),
        ("address", Suppression.address_hash, address_hashes),
    ):
        for chunk in _chunks(filter(None, values), 500):
            rows = session.execute(select(column, Suppression.kind).where(column.in_(chunk)).order_by(Suppression.id))
            for value, kind in rows:
                found.setdefault((what, value), kind)
    return found


def record_outcomes(store: StateStore, campaign_id: str, worker: str, outcomes: Sequence[Outcome]) -> int:
    """Write what became of rows that `worker` holds; rows it does not hold (any more) stay as they are.

    A hard bounce suppresses the customer and the address in the same transaction. Returns the rows changed.
    """
    if not outcomes:
        return 0
    with store.session(write=True) as session:
        held: ColumnElement[bool] = (Send.send_id == bindparam("b_send_id")) & (Send.claimed_by == worker)
        statement = (
            update(Send)
            .where(held, Send.status == "claimed")
            .values(
                status=bindparam("b_status"), reason=bindparam("b_reason"), tries=bindparam("b_tries"),
                next_try_at=func.coalesce(bindparam("b_next", type_=Send.next_try_at.type), Send.next_try_at),
                finished_at=bindparam("b_finished"), smtp_code=bindparam("b_code"), smtp_reply=bindparam("b_reply"),
                claimed_by="",
            )
        )  # fmt: skip
        changed = _rows(
            session.connection().execute(
                statement,
                [
                    {
                        "b_send_id": one.send_id, "b_status": one.status, "b_reason": one.reason,
                        "b_tries": one.tries, "b_next": one.next_try_at, "b_finished": one.finished_at,
                        "b_code": one.smtp_code, "b_reply": one.smtp_reply,
                    }
                    for one in outcomes
                ],
            )
        )  # fmt: skip
        bounced = {one.send_id: one.finished_at for one in outcomes if one.is_hard_bounce}
        if bounced:
            _suppress_bounced(session, campaign_id, bounced)
        return changed


def _suppress_bounced(session: Session, campaign_id: str, bounced: Mapping[str, dt.datetime | None]) -> None:
    rows = session.execute(
        select(Send.send_id, Send.customer_id, Send.address_hash).where(
            Send.send_id.in_(list(bounced)), Send.status == "failed"
        )
    ).all()
    for row in rows:
        session.execute(
            _insert_or_ignore(session, Suppression).values(
                address_hash=row.address_hash, customer_id=row.customer_id, kind="hard_bounce", source="smtp",
                campaign_id=campaign_id, created_at=bounced[row.send_id],
            )
        )  # fmt: skip
        session.execute(
            _insert_or_ignore(session, SendEvent).values(
                event_id=str(uuid.uuid5(_SEND_EVENTS, f"hard_bounce\x1f{row.send_id}")), send_id=row.send_id,
                campaign_id=campaign_id, customer_id=row.customer_id, kind="hard_bounce",
                occurred_at=bounced[row.send_id], link=None, source="smtp", method="", user_agent="", network="",
            )
        )  # fmt: skip


def claims_of(store: StateStore, campaign_id: str, worker: str) -> list[Claim]:
    """The rows that a worker holds."""
    with store.session() as session:
        rows = session.execute(
            select(Send.send_id, Send.tries)
            .where(Send.campaign_id == campaign_id, Send.status == "claimed", Send.claimed_by == worker)
            .order_by(Send.send_id)
        )
        return [Claim(row.send_id, row.tries) for row in rows]


def claiming_workers(store: StateStore, campaign_id: str) -> list[str]:
    """The workers that hold rows of a campaign, alive or not."""
    with store.session() as session:
        return list(
            session.scalars(
                select(Send.claimed_by)
                .where(Send.campaign_id == campaign_id, Send.status == "claimed")
                .distinct()
                .order_by(Send.claimed_by)
            )
        )


def next_due(store: StateStore, campaign_id: str) -> dt.datetime | None:
    """When the next waiting row is due; None where none waits, or the campaign is not being sent (any more)."""
    with store.session() as session:
        return session.scalar(select(func.min(Send.next_try_at)).where(_waiting(campaign_id)))


def count_statuses(store: StateStore, campaign_id: str) -> dict[str, int]:
    """Rows of a campaign by status; a status without rows is not there."""
    return dict(sum((Counter({key[0]: n}) for key, n in count_reasons(store, campaign_id).items()), Counter[str]()))


def count_reasons(store: StateStore, campaign_id: str) -> dict[tuple[str, str], int]:
    """Rows of a campaign by status and reason."""
    with store.session() as session:
        rows = session.execute(
            select(Send.status, Send.reason, func.count())
            .where(Send.campaign_id == campaign_id)
            .group_by(Send.status, Send.reason)
            .order_by(Send.status, Send.reason)
        )
        return {(status, reason): number for status, reason, number in rows}


def finish_campaign(store: StateStore, campaign_id: str) -> bool:
    """Mark a campaign as sent when none of its rows waits or is held; returns whether it is sent now."""
    with store.session(write=True) as session:
        is_open = session.scalar(
            select(Send.send_id)
            .where(Send.campaign_id == campaign_id, or_(Send.status == "pending", Send.status == "claimed"))
            .limit(1)
        )
        if is_open is not None:
            return False
        campaign = session.get(Campaign, campaign_id)
        if campaign is None or campaign.status not in ("sending", "sent"):
            return False
        campaign.status = "sent"
        return True


def uncertain_sends(store: StateStore, campaign_id: str | None = None, limit: int = 1000) -> list[UncertainSend]:
    """The messages of one campaign, or of all, of which nobody knows whether they arrived; the newest first."""
    query = select(Send).where(Send.status == "uncertain").order_by(Send.finished_at.desc(), Send.send_id).limit(limit)
    if campaign_id is not None:
        query = query.where(Send.campaign_id == campaign_id)
    else:  # named one by one, so that the index is used
        query = query.where(Send.campaign_id.in_(select(Campaign.campaign_id)))
    with store.session() as session:
        return [
            UncertainSend(
                send_id=row.send_id, campaign_id=row.campaign_id, customer_id=row.customer_id, reason=row.reason,
                tries=row.tries, smtp_code=row.smtp_code, smtp_reply=row.smtp_reply, finished_at=row.finished_at,
            )
            for row in session.scalars(query)
        ]  # fmt: skip


def mark_uncertain(
    store: StateStore, send_ids: Sequence[str], decision: Decision, *, person: str, now: dt.datetime
) -> int:
    """A person's decision about uncertain messages: they count as sent, as failed, or are sent again (retry).

    All or none, each with an audit row. OutboxError where one is not there or not uncertain, or where it is too late
    to send it again. A campaign that was through is sending again after a retry.
    """
    ids = list(dict.fromkeys(send_ids))
    with store.session(write=True) as session:
        rows = {
            row.send_id: row
            for chunk in _chunks(ids, 500)
            for row in session.scalars(select(Send).where(Send.send_id.in_(chunk)))
        }
        wrong = [
            f"{send_id} is {rows[send_id].status if send_id in rows else 'not in the outbox'}"
            for send_id in ids
            if send_id not in rows or rows[send_id].status != "uncertain"
        ]
        if wrong:
            more = f" and {len(wrong) - 5:,} more" if len(wrong) > 5 else ""
            raise OutboxError(
                f"Only uncertain messages can be marked: {'; '.join(wrong[:5])}{more}. Nothing was changed."
            )
        late = [row for row in rows.values() if decision == "retry" and row.not_after <= now]
        if late:
            raise OutboxError(
                f"{late[0].send_id} was to leave before {late[0].not_after:%Y-%m-%d %H:%M} (UTC), so it is not sent "
                "again. Mark it as sent or failed; nothing was changed."
            )
        if decision == "retry" and (
            over := _without_approval(session, {row.campaign_id for row in rows.values()}, now)
        ):
            raise OutboxError(
                f"The approval of campaign {over[0]} is over, so nothing of it is sent again. Mark its messages as "
                "sent or failed; nothing was changed."
            )
        if decision == "retry" and (stopped := _stopped(session, {row.campaign_id for row in rows.values()})):
            raise OutboxError(
                f"Campaign {stopped[0]} was stopped, so nothing of it is sent again. Mark its messages as sent or "
                "failed; nothing was changed."
            )
        for row in rows.values():
            was = {"reason": row.reason, "smtp_code": row.smtp_code, "tries": row.tries}
            if decision == "retry":
                row.status, row.reason, row.next_try_at, row.finished_at = "pending", "marked_retry", now, None
            else:
                row.status, row.reason = decision, f"marked_{decision}"
                row.finished_at = row.finished_at or now
            session.add(
                AuditEntry(
                    action=f"uncertain_marked_{decision}", subject=row.send_id, person=person,
                    detail={"campaign_id": row.campaign_id, "customer_id": row.customer_id, **was}, happened_at=now,
                )
            )  # fmt: skip
        if decision == "retry":
            session.execute(
                update(Campaign)
                .where(Campaign.campaign_id.in_({row.campaign_id for row in rows.values()}), Campaign.status == "sent")
                .values(status="sending")
            )
        return len(rows)


def _stopped(session: Session, campaign_ids: Collection[str]) -> list[str]:
    """Those of the campaigns that a person cancelled."""
    query = select(Campaign.campaign_id).where(Campaign.campaign_id.in_(campaign_ids), Campaign.status == "cancelled")
    return list(session.scalars(query.order_by(Campaign.campaign_id)))


def _without_approval(session: Session, campaign_ids: Collection[str], now: dt.datetime) -> list[str]:
    """Those of the campaigns whose newest approval has ended."""
    newest = select(func.max(Approval.id)).where(Approval.campaign_id.in_(campaign_ids)).group_by(Approval.campaign_id)
    query = select(Approval.campaign_id).where(
        Approval.id.in_(newest), Approval.decision == "approved", Approval.expires_at <= now
    )
    return list(session.scalars(query.order_by(Approval.campaign_id)))


def _waiting(campaign_id: str) -> ColumnElement[bool]:
    """Rows that wait, of a campaign that is being sent: one that a person cancelled goes no further."""
    is_sending = select(Campaign.campaign_id).where(Campaign.campaign_id == campaign_id, Campaign.status == "sending")
    return (Send.campaign_id == campaign_id) & (Send.status == "pending") & is_sending.exists()


def _chunks(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """The values in lists of at most `size` (itertools.batched is of Python 3.12)."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _insert_or_ignore(session: Session, model: type[Base]) -> Any:
    """INSERT that leaves a row alone which is there already, in the words of this engine."""
    engine = session.get_bind().dialect.name
    insert = postgresql.insert if engine == "postgresql" else sqlite.insert
    return insert(model).on_conflict_do_nothing()


def _rows(result: Any) -> int:
    """How many rows a statement changed."""
    return max(int(result.rowcount), 0)
