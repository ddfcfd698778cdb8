"""The ledger of calls of language models, and what servers were found to be capable of.

What belongs here: writing and reading the tables `model_calls` and `language_servers`, and the ledger as a frame for
its copy in the warehouse. What does not: whether to call at all, limits and prices (`language.desk`). A call is
written before the socket opens and again when it ended, each in a transaction of its own, so that a process killed
between the two leaves a row that says `sent`. Rows hold prompts made of typed facts; nothing personal enters one.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import polars as pl
from sqlalchemy import Select, select

from segmentation_assets.language.task import Call, CallStatus, Spent
from segmentation_assets.state.models import LanguageServer, ModelCall
from segmentation_assets.state.store import StateStore

#: The ledger as a table: one row per attempt to have a model answer, or decision not to ask.
MODEL_CALL_SCHEMA: dict[str, type[pl.DataType] | pl.DataType] = {
    "call_id": pl.Int64,
    "run_id": pl.String,
    "called_at": pl.Datetime("us"),
    "task": pl.String,
    "item": pl.String,
    "turn": pl.Int64,
    "attempt": pl.Int64,
    "status": pl.String,
    "is_cache_hit": pl.Boolean,
    "provider": pl.String,
    "model_asked": pl.String,
    "model_answered": pl.String,
    "input_tokens": pl.Int64,
    "output_tokens": pl.Int64,
    "is_estimated": pl.Boolean,
    "cost_amount": pl.Decimal(18, 6),
    "latency_seconds": pl.Float64,
    "request_key": pl.String,
    "prompt_version": pl.String,
    "answer_version": pl.String,
    "messages": pl.String,
    "answer": pl.String,
    "error": pl.String,
}

#: Rows of decisions not to ask; every other row went out, unless it is a cache hit.
_NOT_MADE = frozenset({"blocked", "over_budget", "out_of_time", "given_up"})


@dataclass(frozen=True)
class RunTotal:
    """What one run used: calls that went out, tokens in and out, and US dollars."""

    run_id: str
    calls: int
    tokens: int
    cost_amount: Decimal


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


class StateLedger:
    """The ledger in the state store. Many processes may write at once: each write is one short transaction.

    `now` gives the time a call is opened at, as naive UTC.
    """

    def __init__(self, store: StateStore, now: Callable[[], dt.datetime] = _utc_now) -> None:
        self._store = store
        self._now = now

    def open_call(self, call: Call) -> int:
        """Write `call` as a new row, with the time; returns its id."""
        with self._store.session(write=True) as session:
            row = ModelCall(**_columns(call), called_at=self._now())
            session.add(row)
            session.flush()
            return row.id

    def close_call(self, call_id: int, call: Call) -> None:
        """Replace row `call_id` by how the call ended; the time it was opened at stays. LookupError without a row."""
        with self._store.session(write=True) as session:
            row = session.get(ModelCall, call_id)
            if row is None:
                raise LookupError(
                    f"model_calls has no row {call_id} to close. It was opened in another state store, or the row was "
                    f"removed meanwhile; run again with the same home."
                )
            for name, value in _columns(call).items():
                setattr(row, name, value)

    def last_call(self, request_key: str) -> Call | None:
        """The newest call of this request that ended, of any run; None when there is none."""
        with self._store.session() as session:
            row = session.scalar(
                select(ModelCall)
                .where(ModelCall.request_key == request_key, ModelCall.status != "sent")
                .order_by(ModelCall.id.desc())
                .limit(1)
            )
            return _call(row) if row else None

    def spent(self, run_id: str) -> Spent:
        """What this run used; a call still `sent` counts by its estimate, a cache hit not at all."""
        total = _totals(self._store, run_id).get(run_id)
        return Spent(total.calls, total.tokens, total.cost_amount) if total else Spent()

    def last_provider(self) -> tuple[str, str] | None:
        """Name and model of the provider of the newest call, which a replay repeats; None when there was none."""
        with self._store.session() as session:
            row = session.scalar(select(ModelCall).order_by(ModelCall.id.desc()).limit(1))
            return (row.provider, row.model_asked) if row else None

    def all_calls(self, run_id: str | None = None) -> list[Call]:
        """Every row, or those of one run, oldest first."""
        query = select(ModelCall).order_by(ModelCall.id)
        if run_id is not None:
            query = query.where(ModelCall.run_id == run_id)
        with self._store.session() as session:
            return [_call(row) for row in session.scalars(query)]

    def capabilities(self, base_url: str, model: str) -> dict[str, Any] | None:
        """What the server at `base_url` was found to be capable of with `model`; None when it was not probed yet."""
        with self._store.session() as session:
            row = session.scalar(_server(base_url, model))
            return dict(row.capabilities) if row else None

    def remember_capabilities(self, base_url: str, model: str, capabilities: Mapping[str, Any]) -> None:
        """Keep what was found, in the place of what was found earlier. User, password and query are not stored."""
        with self._store.session(write=True) as session:
            row = session.scalar(_server(base_url, model))
            if row is None:
                row = LanguageServer(base_url=_without_user(base_url), model=model)
                session.add(row)
            row.capabilities = dict(capabilities)
            row.probed_at = self._now()


def calls_frame(store: StateStore) -> pl.DataFrame:
    """The ledger as a table (MODEL_CALL_SCHEMA), by call id; `messages` as JSON text, money in US dollars."""
    with store.session() as session:
        rows = [
            {
                **{name: getattr(row, name) for name in MODEL_CALL_SCHEMA if name != "call_id"},
                "call_id": row.id,
                "cost_amount": None if row.cost_amount is None else Decimal(row.cost_amount),
                "messages": json.dumps(row.messages, ensure_ascii=False),
            }
            for row in session.scalars(select(ModelCall).order_by(ModelCall.id))
        ]
    return pl.DataFrame(rows, schema=MODEL_CALL_SCHEMA, orient="row")


def run_totals(store: StateStore) -> list[RunTotal]:
    """What each run used, in order of its first row."""
    return list(_totals(store).values())


def _totals(store: StateStore, run_id: str | None = None) -> dict[str, RunTotal]:
    query = select(
        ModelCall.run_id, ModelCall.status, ModelCall.is_cache_hit, ModelCall.input_tokens, ModelCall.output_tokens,
        ModelCall.cost_amount,
    ).order_by(ModelCall.id)  # fmt: skip
    if run_id is not None:
        query = query.where(ModelCall.run_id == run_id)
    totals: dict[str, RunTotal] = {}
    with store.session() as session:
        for row in session.execute(query):
            total = totals.setdefault(row.run_id, RunTotal(row.run_id, 0, 0, Decimal(0)))
            if not row.is_cache_hit:
                totals[row.run_id] = RunTotal(
                    row.run_id,
                    total.calls + (row.status not in _NOT_MADE),
                    total.tokens + row.input_tokens + row.output_tokens,
                    total.cost_amount + Decimal(row.cost_amount or 0),
                )
    return totals


def _columns(call: Call) -> dict[str, Any]:
    return {
        "request_key": call.request_key, "run_id": call.run_id, "task": call.task, "item": call.item,
        "prompt_version": call.prompt_version, "answer_version": call.answer_version, "provider": call.provider,
        "model_asked": call.model_asked, "model_answered": call.model_answered, "turn": call.turn,
        "attempt": call.attempt, "status": call.status, "messages": [dict(message) for message in call.messages],
        "answer": call.answer, "error": call.error, "input_tokens": call.input_tokens,
        "output_tokens": call.output_tokens, "is_estimated": call.is_estimated,
        "cost_amount": None if call.cost_amount is None else format(call.cost_amount, "f"),
        "latency_seconds": call.latency_seconds, "is_cache_hit": call.is_cache_hit,
    }  # fmt: skip


def _call(row: ModelCall) -> Call:
    return Call(
        request_key=row.request_key, run_id=row.run_id, task=row.task, item=row.item,
        prompt_version=row.prompt_version, answer_version=row.answer_version, provider=row.provider,
        model_asked=row.model_asked, turn=row.turn, attempt=row.attempt, status=cast(CallStatus, row.status),
        messages=tuple(row.messages), model_answered=row.model_answered, answer=row.answer, error=row.error,
        input_tokens=row.input_tokens, output_tokens=row.output_tokens, is_estimated=row.is_estimated,
        cost_amount=None if row.cost_amount is None else Decimal(row.cost_amount),
        latency_seconds=row.latency_seconds, is_cache_hit=row.is_cache_hit, call_id=row.id,
    )  # fmt: skip


def _server(base_url: str, model: str) -> Select[LanguageServer]:
    return select(LanguageServer).where(
        LanguageServer.base_url == _without_user(base_url), LanguageServer.model == model
    )


def _without_user(base_url: str) -> str:
    """The address without what may be a secret (user, password, query, fragment) and without a last slash."""
    parts = urlsplit(base_url.strip())
    host = parts.netloc.rpartition("@")[2].lower()
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
