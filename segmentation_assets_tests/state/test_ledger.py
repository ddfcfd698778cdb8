"""The ledger keeps every call, adds up what a run used, and remembers what servers can do."""

from __future__ import annotations

import dataclasses
import datetime as dt
import multiprocessing
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from segmentation_assets.language.task import Call, CallStatus, Ledger, Spent
from segmentation_assets.state import StateStore, open_state
from segmentation_assets.state.ledger import MODEL_CALL_SCHEMA, RunTotal, StateLedger, calls_frame, run_totals

NOON = dt.datetime(2026, 5, 4, 12, 0, 0)


def a_call(status: CallStatus = "sent", **changes: Any) -> Call:
    call = Call(
        request_key="k1", run_id="r1", task="profile", item="taste T1", prompt_version="1-abcd", answer_version="ef01",
        provider="openai", model_asked="m1", turn=0, attempt=0, status=status,
        messages=({"role": "user", "content": "Ein Satz über „Käse“."},), input_tokens=100, output_tokens=50,
        is_estimated=True, cost_amount=Decimal("0.000125"),
    )  # fmt: skip
    return dataclasses.replace(call, **changes)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    with open_state(tmp_path / "state.sqlite") as opened:
        yield opened


@pytest.fixture
def ledger(store: StateStore) -> StateLedger:
    return StateLedger(store, now=lambda: NOON)


def test_a_call_comes_back_as_it_was_written(ledger: StateLedger) -> None:
    keeps_the_protocol: Ledger = ledger
    ended = a_call("accepted", model_answered="m1-2026", answer='{"a": "é"}', error="", latency_seconds=1.25)
    call_id = keeps_the_protocol.open_call(ended)
    assert ledger.last_call("k1") == dataclasses.replace(ended, call_id=call_id)


def test_the_last_call_of_a_request_is_the_newest_that_ended(ledger: StateLedger) -> None:
    assert ledger.last_call("k1") is None
    first = ledger.open_call(a_call())
    assert ledger.last_call("k1") is None  # still sent
    second = ledger.open_call(a_call(attempt=1, run_id="r2"))
    ledger.close_call(second, a_call("timeout", attempt=1, run_id="r2"))
    ledger.open_call(a_call(attempt=2))
    ledger.open_call(a_call("accepted", request_key="k2"))
    last = ledger.last_call("k1")
    assert last is not None
    assert (last.call_id, last.status, last.run_id) == (second, "timeout", "r2")
    ledger.close_call(first, a_call("accepted"))
    last = ledger.last_call("k1")
    assert last is not None
    assert last.status == "timeout"  # newest by when it was opened


def test_what_a_run_used_counts_open_calls_and_leaves_out_hits_and_calls_not_made(ledger: StateLedger) -> None:
    assert ledger.spent("r1") == Spent()
    ledger.open_call(a_call("sent"))
    ledger.open_call(a_call("accepted", cost_amount=Decimal("0.000001")))
    ledger.open_call(a_call("timeout", cost_amount=None))
    ledger.open_call(a_call("accepted", is_cache_hit=True))
    ledger.open_call(a_call("accepted", run_id="r2", cost_amount=Decimal("0.1")))
    not_made: tuple[CallStatus, ...] = ("blocked", "over_budget", "out_of_time", "given_up")
    for status in not_made:
        ledger.open_call(a_call(status, input_tokens=0, output_tokens=0, cost_amount=Decimal(0)))
    assert ledger.spent("r1") == Spent(calls=3, tokens=450, cost_amount=Decimal("0.000126"))
    assert ledger.spent("r2") == Spent(calls=1, tokens=150, cost_amount=Decimal("0.1"))


def test_the_totals_of_runs_add_up_to_the_ledger(ledger: StateLedger, store: StateStore) -> None:
    for number in range(10):
        ledger.open_call(a_call("accepted", run_id=f"r{number % 2}", cost_amount=Decimal("0.100001") + number))
    ledger.open_call(a_call("accepted", run_id="r2", is_cache_hit=True))
    assert run_totals(store) == [
        RunTotal("r0", 5, 750, Decimal("20.500005")),
        RunTotal("r1", 5, 750, Decimal("25.500005")),
        RunTotal("r2", 0, 0, Decimal(0)),
    ]
    made = calls_frame(store).filter(~pl.col("is_cache_hit"))
    assert [call.cost_amount for call in ledger.all_calls("r1")][:1] == [Decimal("1.100001")]
    assert len(ledger.all_calls()) == 11
    assert made["cost_amount"].sum() == sum(total.cost_amount for total in run_totals(store))


def test_a_replay_finds_who_was_asked_last(ledger: StateLedger) -> None:
    assert ledger.last_provider() is None
    ledger.open_call(a_call("accepted"))
    ledger.open_call(a_call("over_budget", provider="openai_compatible", model_asked="m2"))
    assert ledger.last_provider() == ("openai_compatible", "m2")


def test_the_ledger_as_a_table_has_its_columns_even_when_it_is_empty(ledger: StateLedger, store: StateStore) -> None:
    assert dict(calls_frame(store).schema) == MODEL_CALL_SCHEMA
    ledger.open_call(a_call("rejected", error="unknown_key: text: {{x}}", cost_amount=None))
    ledger.open_call(a_call("accepted"))
    frame = calls_frame(store)
    assert dict(frame.schema) == MODEL_CALL_SCHEMA
    assert frame["call_id"].to_list() == [1, 2]
    assert frame["called_at"].to_list() == [NOON, NOON]
    assert frame["cost_amount"].to_list() == [None, Decimal("0.000125")]
    assert frame["messages"][0] == '[{"role": "user", "content": "Ein Satz über „Käse“."}]'


def test_closing_keeps_the_time_a_call_was_opened_at(store: StateStore) -> None:
    times = iter([NOON, NOON + dt.timedelta(hours=1)])
    ledger = StateLedger(store, now=lambda: next(times))
    call_id = ledger.open_call(a_call())
    ledger.close_call(call_id, a_call("accepted"))
    assert calls_frame(store)["called_at"].to_list() == [NOON]
    assert calls_frame(store)["status"].to_list() == ["accepted"]


def test_the_time_of_a_call_is_utc_without_a_zone(store: StateStore) -> None:
    before = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    StateLedger(store).open_call(a_call())
    written = calls_frame(store)["called_at"][0]
    assert before <= written <= dt.datetime.now(dt.UTC).replace(tzinfo=None)


def test_a_call_that_was_never_opened_cannot_be_closed(ledger: StateLedger) -> None:
    with pytest.raises(LookupError) as caught:
        ledger.close_call(7, a_call("accepted"))
    assert str(caught.value) == (
        "model_calls has no row 7 to close. It was opened in another state store, or the row was removed meanwhile; "
        "run again with the same home."
    )


def test_what_a_server_can_do_is_remembered_without_user_and_password(ledger: StateLedger, store: StateStore) -> None:
    address = "https://anna:s3cret@Models.example:8080/v1/?key=abc#x"
    assert ledger.capabilities(address, "m1") is None
    ledger.remember_capabilities(address, "m1", {"mode": "json_object"})
    ledger.remember_capabilities("https://models.example:8080/v1", "m1", {"mode": "json_schema"})
    assert ledger.capabilities(address, "m1") == {"mode": "json_schema"}
    assert ledger.capabilities(address, "m2") is None
    stored = b"".join(part.read_bytes() for part in store.path.parent.glob("state.sqlite*"))
    assert b"models.example:8080/v1" in stored
    assert not any(word in stored for word in (b"anna", b"s3cret", b"key=abc"))


def write_from_a_process(path: Path, number: int) -> None:
    with open_state(path) as state:
        ledger = StateLedger(state)
        for turn in range(8):
            call = a_call(run_id=f"r{number}", turn=turn)
            ledger.close_call(ledger.open_call(call), dataclasses.replace(call, status="accepted"))


@pytest.mark.slow
def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write_from_a_process, args=(path, number)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    with open_state(path) as state:
        assert sorted((total.run_id, total.calls) for total in run_totals(state)) == [("r0", 8), ("r1", 8)]
        assert {call.status for call in StateLedger(state).all_calls()} == {"accepted"}
