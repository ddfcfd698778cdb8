"""Events of messages, and who is not written to any more, in the state store.

What belongs here: inserting events once, suppressing, and asking who is suppressed. What does not: hearing of events
(`service`), the spool between (`delivery.events`), and telling robots apart (SQL).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeVar, get_args

from sqlalchemy import Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from segmentation_assets.state.models import Base, Campaign, Send, SendEvent, Suppression
from segmentation_assets.state.store import StateStore

EventKind = Literal["delivered", "open", "click", "unsubscribe", "complaint", "hard_bounce", "soft_bounce"]
SuppressionKind = Literal["unsubscribe", "complaint", "hard_bounce", "forgotten", "manual"]
EVENT_KINDS: tuple[EventKind, ...] = get_args(EventKind)
SUPPRESSION_KINDS: tuple[SuppressionKind, ...] = get_args(SuppressionKind)
#: After one of these the customer is not written to any more.
SUPPRESSING: frozenset[str] = frozenset({"unsubscribe", "complaint", "hard_bounce"})

#: Below the fewest parameters a statement may have in any engine.
_CHUNK = 500
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class MessageEvent:
    """Something that happened to a message. `event_id` is made of the event, so that twice is once; times naive UTC."""

    event_id: str
    send_id: str
    kind: EventKind
    occurred_at: dt.datetime
    source: str
    link: int | None = None
    method: str = ""
    user_agent: str = ""
    network: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON-able values; `from_json` turns them back."""
        return vars(self) | {"occurred_at": self.occurred_at.isoformat()}

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> MessageEvent:
        """The event again. KeyError, TypeError or ValueError where it is none."""
        if told["kind"] not in EVENT_KINDS:
            raise ValueError(f"{told['kind']!r} is no kind of event; there are {', '.join(EVENT_KINDS)}.")
        values = {**told, "occurred_at": dt.datetime.fromisoformat(told["occurred_at"])}
        return MessageEvent(**values)


@dataclass(frozen=True)
class Recorded:
    """What became of a batch: new events, those known before, new suppressions, and those of no known send."""

    inserted: int
    repeated: int
    suppressed: int
    unknown: tuple[MessageEvent, ...]


@dataclass(frozen=True)
class Suppressed:
    """Those of a batch who are not written to: customer ids, and address hashes."""

    customers: frozenset[str]
    addresses: frozenset[str]


def record_events(store: StateStore, events: Sequence[MessageEvent]) -> Recorded:
    """Insert `events` and the suppressions they cause, in one transaction; an event that is there already stays.

    An unsubscribe, a complaint or a hard bounce suppresses the customer of the send and, where it is known, the
    address the send went to. Events of sends that the store does not know are not inserted but handed back.
    """
    with store.session(write=True) as session:
        sends = _sends(session, {event.send_id for event in events})
        known = [event for event in events if event.send_id in sends]
        rows = [
            vars(event)
            | {"campaign_id": sends[event.send_id].campaign_id, "customer_id": sends[event.send_id].customer_id}
            for event in known
        ]
        refusals = [
            {
                "address_hash": sends[event.send_id].address_hash,
                "customer_id": sends[event.send_id].customer_id,
                "kind": event.kind,
                "source": event.source,
                "campaign_id": sends[event.send_id].campaign_id,
                "created_at": event.occurred_at,
            }
            for event in known
            if event.kind in SUPPRESSING
        ]
        inserted = _insert_new(session, SendEvent, rows)
        return Recorded(
            inserted=inserted,
            repeated=len(known) - inserted,
            suppressed=_insert_new(session, Suppression, refusals),
            unknown=tuple(event for event in events if event.send_id not in sends),
        )


def suppress(
    store: StateStore,
    kind: SuppressionKind,
    *,
    at: dt.datetime,
    source: str,
    customer_id: str = "",
    address_hash: str = "",
    campaign_id: str = "",
) -> bool:
    """See to it that a customer, an address (its keyed hash) or both are not written to; False where it was so.

    ValueError for an unknown kind, or where neither is named.
    """
    if kind not in SUPPRESSION_KINDS:
        raise ValueError(f"{kind!r} is no kind of suppression; there are {', '.join(SUPPRESSION_KINDS)}.")
    if not customer_id and not address_hash:
        raise ValueError("A suppression names a customer or the hash of an address; neither was given.")
    row = {
        "address_hash": address_hash, "customer_id": customer_id, "kind": kind, "source": source,
        "campaign_id": campaign_id, "created_at": at,
    }  # fmt: skip
    with store.session(write=True) as session:
        return _insert_new(session, Suppression, [row]) > 0


def suppressed_of(
    store: StateStore, customer_ids: Collection[str] = (), address_hashes: Collection[str] = ()
) -> Suppressed:
    """Those of these customers and address hashes who are suppressed, for whatever reason. Empty strings never are."""
    with store.session() as session:
        customers = {
            found
            for chunk in _chunks(sorted(set(customer_ids) - {""}))
            for found in session.scalars(select(Suppression.customer_id).where(Suppression.customer_id.in_(chunk)))
        }
        addresses = {
            found
            for chunk in _chunks(sorted(set(address_hashes) - {""}))
            for found in session.scalars(select(Suppression.address_hash).where(Suppression.address_hash.in_(chunk)))
        }
    return Suppressed(frozenset(customers), frozenset(addresses))


def campaigns_of(store: StateStore, send_ids: Iterable[str]) -> dict[str, str]:
    """The campaign of each of these sends that the store knows."""
    with store.session() as session:
        return {send_id: sent.campaign_id for send_id, sent in _sends(session, set(send_ids)).items()}


def links_of(store: StateStore, campaign_id: str) -> tuple[str, ...] | None:
    """The link registry of a campaign as it was approved, None where there is no such campaign."""
    with store.session() as session:
        content = session.scalar(select(Campaign.content).where(Campaign.campaign_id == campaign_id))
    return None if content is None else tuple(map(str, content.get("links", ())))


@dataclass(frozen=True)
class _Sent:
    campaign_id: str
    customer_id: str
    address_hash: str


def _sends(session: Session, send_ids: Iterable[str]) -> dict[str, _Sent]:
    columns = (Send.send_id, Send.campaign_id, Send.customer_id, Send.address_hash)
    return {
        row.send_id: _Sent(row.campaign_id, row.customer_id, row.address_hash)
        for chunk in _chunks(sorted(send_ids))
        for row in session.execute(select(*columns).where(Send.send_id.in_(chunk)))
    }


def _insert_new(session: Session, model: type[Base], rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows that break no unique constraint; how many those were."""
    if not rows:
        return 0
    table = model.__table__
    assert isinstance(table, Table)  # noqa: S101 - narrows the type
    connection = session.connection()
    engine = postgresql if connection.dialect.name == "postgresql" else sqlite
    return int(connection.execute(engine.insert(table).on_conflict_do_nothing(), list(rows)).rowcount)


def _chunks(values: Iterable[_Value]) -> Iterator[list[_Value]]:
    rest = iter(values)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
