"""Campaigns, sends, events and suppressions of the state store as frames, for their mirrors in the warehouse.

What belongs here: reading these four tables whole, in one transaction and in chunks. What does not: writing them
(`state.campaigns`, `state.outbox`, `state.events`), and what the warehouse makes of them. Hashes of addresses, what a
server replied and who holds a claim stay in the state store: analysts need none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from sqlalchemy import Executable, func, select
from sqlalchemy.orm import Session

from segmentation_assets.state.models import Campaign, Send, SendEvent, Suppression
from segmentation_assets.state.store import StateStore

#: Rows read at a time: a chunk of sends is some tens of megabytes of Python objects before it is columns.
_CHUNK = 100_000

_TEXT, _MOMENT, _NUMBER = pl.String(), pl.Datetime("us"), pl.Int64()


@dataclass(frozen=True)
class DeliveryTables:
    """The four tables as of one moment, sorted by their keys; times are naive UTC."""

    campaigns: pl.DataFrame
    sends: pl.DataFrame
    events: pl.DataFrame
    suppressions: pl.DataFrame


def read_delivery_tables(store: StateStore) -> DeliveryTables:
    """Read them in one transaction, so that no event is without its send. Empty tables keep their columns."""
    with store.session() as session:
        return DeliveryTables(
            campaigns=_campaigns(session), sends=_sends(session), events=_events(session),
            suppressions=_suppressions(session),
        )  # fmt: skip


def suppressed_address_hashes(store: StateStore) -> dict[str, str]:
    """Kind of the suppression by keyed hash of the address; of several the first by kind, in alphabetical order."""
    with store.session() as session:
        rows = session.execute(
            select(Suppression.address_hash, func.min(Suppression.kind))
            .where(Suppression.address_hash != "")
            .group_by(Suppression.address_hash)
        )
        return {row[0]: row[1] for row in rows}


def _campaigns(session: Session) -> pl.DataFrame:
    schema: dict[str, pl.DataType] = {
        "campaign_id": _TEXT, "name": _TEXT, "status": _TEXT, "primary_metric": _TEXT, "window_days": _NUMBER,
        "control_share": pl.Float64(), "is_aa": pl.Boolean(), "starts_at": _MOMENT, "not_after": _MOMENT,
        "product_ids": _TEXT, "hold_out_share": pl.Float64(),
    }  # fmt: skip
    rows = [
        (
            row.campaign_id, row.name, row.status, row.primary_metric, row.window_days, row.control_share, row.is_aa,
            row.starts_at, row.not_after, ",".join(_products(row.content, row.counts)), _hold_out_share(row.counts),
        )
        for row in session.scalars(select(Campaign).order_by(Campaign.campaign_id))
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def _products(content: Any, counts: Any) -> list[str]:
    """The campaign's own products; where they were not kept apart, all that its messages may name."""
    own = counts.get("product_ids") if isinstance(counts, Mapping) else None
    if own is None:
        own = content.get("products", {}) if isinstance(content, Mapping) else {}
    return [str(product_id) for product_id in own]


def _hold_out_share(counts: Any) -> float | None:
    """The share drawn for the hold-out; None for campaigns that were approved before it was kept."""
    share = counts.get("hold_out_share") if isinstance(counts, Mapping) else None
    return None if share is None else float(share)


def _sends(session: Session) -> pl.DataFrame:
    query = select(
        Send.send_id, Send.campaign_id, Send.customer_id, Send.arm, Send.variant, Send.status, Send.reason,
        Send.finished_at, Send.tries, Send.smtp_code, Send.product_ids, Send.taste_segment_id, Send.stage_segment_id,
    )  # fmt: skip
    schema: dict[str, pl.DataType] = {
        "send_id": _TEXT, "campaign_id": _TEXT, "customer_id": _TEXT, "arm": _TEXT, "variant": _TEXT, "status": _TEXT,
        "reason": _TEXT, "finished_at": _MOMENT, "tries": _NUMBER, "smtp_code": _NUMBER, "product_ids": _TEXT,
        "taste_segment_id": _TEXT, "stage_segment_id": _TEXT,
    }  # fmt: skip
    return _frame(session, query, schema, "campaign_id", "customer_id")


def _events(session: Session) -> pl.DataFrame:
    query = select(
        SendEvent.event_id, SendEvent.send_id, SendEvent.campaign_id, SendEvent.customer_id, SendEvent.kind,
        SendEvent.occurred_at, SendEvent.link, SendEvent.source, SendEvent.method, SendEvent.user_agent,
        SendEvent.network,
    )  # fmt: skip
    schema: dict[str, pl.DataType] = {
        "event_id": _TEXT, "send_id": _TEXT, "campaign_id": _TEXT, "customer_id": _TEXT, "kind": _TEXT,
        "occurred_at": _MOMENT, "link": _NUMBER, "source": _TEXT, "method": _TEXT, "user_agent": _TEXT,
        "network": _TEXT,
    }  # fmt: skip
    return _frame(session, query, schema, "occurred_at", "event_id")


def _suppressions(session: Session) -> pl.DataFrame:
    """One row per customer and kind, with the first day; an address nobody's customer_id stands with has no row."""
    query = (
        select(Suppression.customer_id, Suppression.kind, func.min(Suppression.created_at))
        .where(Suppression.customer_id != "")
        .group_by(Suppression.customer_id, Suppression.kind)
    )
    schema: dict[str, pl.DataType] = {"customer_id": _TEXT, "kind": _TEXT, "created_at": _MOMENT}
    return _frame(session, query, schema, "customer_id", "kind")


def _frame(session: Session, query: Executable, schema: Mapping[str, pl.DataType], *order: str) -> pl.DataFrame:
    """The rows of a query, chunk by chunk into columns: a list of all rows would hold every value as an object."""
    result = session.execute(query, execution_options={"stream_results": True, "yield_per": _CHUNK})
    chunks = [pl.DataFrame(schema=schema)]
    for rows in result.partitions(_CHUNK):
        # Column by column: a list of one type is read without looking at each row.
        columns = zip(*rows, strict=True)
        chunks.append(
            pl.DataFrame(
                [
                    pl.Series(name, values, dtype=dtype)
                    for (name, dtype), values in zip(schema.items(), columns, strict=True)
                ]
            )
        )
    return pl.concat(chunks, rechunk=True).sort(*order)
