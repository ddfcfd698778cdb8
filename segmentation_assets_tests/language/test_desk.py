"""The desk asks within limits, writes every call down, and always has an answer.

Providers here are scripts in this process; the wire is tested beside the providers. The ledger is the real one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import itertools
import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.language.answers import Answer
from segmentation_assets.language.desk import Desk, EmbeddedWriterError, LanguageOutageError
from segmentation_assets.language.grounding import Finding
from segmentation_assets.language.task import (
    EMBEDDED,
    Call,
    CallStatus,
    LanguageConfigurationError,
    NotesBlock,
    OutageError,
    Outcome,
    Policy,
    Price,
    PrivacyWallError,
    Prompt,
    Reply,
    Request,
    Task,
)
from segmentation_assets.state import StateStore, open_state
from segmentation_assets.state.ledger import StateLedger

PROMPT = Prompt("profile", "1-abcd1234", "You write.", "Write one line.")
RUNS = (f"run-{number}" for number in itertools.count(1))
#: One US dollar a thousand tokens: figures that are easy to add.
PRICE = Price(Decimal(1000), Decimal(1000))
POLICY = Policy(retries=0, repairs=0, call_seconds=5, asset_seconds=30)


class Line(Answer):
    """One line of text."""

    text: str


def check(answer: Line) -> list[Finding]:
    return [Finding("bad_word", f"text: {word!r}.") for word in answer.text.split() if word.startswith("bad")]


def a_task(item: str = "taste T1", **changes: Any) -> Task[Line]:
    task = Task(
        name="profile", item=item, prompt=PROMPT, blocks=(NotesBlock("About", (item,)),), answer_type=Line,
        check=check, fallback=lambda: Line(text=f"embedded {item}"), output_tokens=100,
    )  # fmt: skip
    return dataclasses.replace(task, **changes)


def line(text: str) -> str:
    return json.dumps({"text": text})


def reply(text: str, **changes: Any) -> Reply:
    return dataclasses.replace(Reply(line(text), "m1-2026", 40, 10), **changes)


def item_of(request: Request) -> str:
    return request.messages[1]["content"].rsplit("- ", 1)[1]


Step = Reply | BaseException
Script = Callable[[Request], Step | Awaitable[Step]]


class Scripted:
    """A provider that answers as its script says, and counts."""

    model = "m1"

    def __init__(self, script: Script | Step, name: str = "scripted") -> None:
        self.name = name
        self.script = script
        self.requests: list[Request] = []
        self.in_flight = self.most_in_flight = self.closed = 0

    async def ask(self, request: Request) -> Reply:
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            step: Any = self.script(request) if callable(self.script) else self.script
            if inspect.isawaitable(step):
                step = await step
        finally:
            self.in_flight -= 1
        if isinstance(step, BaseException):
            raise step
        return step

    async def close(self) -> None:
        self.closed += 1


class Waits:
    """Waiting that takes no time and is remembered."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture(scope="module")
def store() -> Iterator[StateStore]:
    # Every row is two disk syncs: in memory where the machine has such a folder.
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        open_state(Path(folder) / "state.sqlite") as opened,
    ):
        yield opened


@pytest.fixture
def run() -> str:
    return next(RUNS)


@pytest.fixture
def about(run: str) -> Callable[[int], list[Task[Line]]]:
    """Tasks about things that no other test asked about, so that the ledger does not know the answers."""
    return lambda count: [a_task(f"{run} thing {number}") for number in range(count)]


@pytest.fixture
def ledger(store: StateStore) -> StateLedger:
    return StateLedger(store)


def rows(ledger: StateLedger, run: str) -> list[Call]:
    return ledger.all_calls(run)


def statuses(ledger: StateLedger, run: str) -> list[str]:
    return [call.status for call in rows(ledger, run)]


def desk(provider: Scripted, ledger: StateLedger, run: str, policy: Policy = POLICY, **changes: Any) -> Desk:
    return Desk(provider, ledger, policy, run, **{"sleep": Waits(), **changes})


# -- who answers ------------------------------------------------------------------------------------------------------


def test_without_a_provider_the_embedded_writer_answers_and_nothing_is_degraded() -> None:
    outcomes = Desk(None, None, POLICY, "r").ask([a_task("a"), a_task("b")])
    assert outcomes == [Outcome(Line(text="embedded a")), Outcome(Line(text="embedded b"))]
    assert outcomes[0].written_by == EMBEDDED
    assert not outcomes[0].is_degraded


def test_outcomes_come_in_the_order_of_the_tasks_with_no_more_calls_at_once_than_allowed(
    ledger: StateLedger, run: str, about: Callable[[int], list[Task[Line]]]
) -> None:
    tasks = about(10)

    async def later_ones_first(request: Request) -> Reply:
        await asyncio.sleep(0.01 * (10 - int(item_of(request).rsplit(" ", 1)[1])))
        return reply(f"model {item_of(request)}")

    provider = Scripted(later_ones_first)
    outcomes = desk(provider, ledger, run, dataclasses.replace(POLICY, concurrency=3)).ask(tasks)
    assert [outcome.answer.text for outcome in outcomes] == [f"model {task.item}" for task in tasks]
    assert {(outcome.written_by, outcome.is_degraded, outcome.status) for outcome in outcomes} == {
        ("m1", False, "accepted")
    }
    assert provider.most_in_flight == 3
    assert provider.closed == 1
    first = rows(ledger, run)[0]
    assert (first.provider, first.model_asked, first.model_answered) == ("scripted", "m1", "m1-2026")
    assert (first.input_tokens, first.output_tokens, first.is_estimated) == (40, 10, False)
    assert json.loads(first.answer) == {"text": f"model {tasks[0].item}"}


def test_no_tasks_make_no_call(ledger: StateLedger, run: str) -> None:
    provider = Scripted(reply("fine"))
    assert desk(provider, ledger, run).ask([]) == []
    assert provider.requests == []


@pytest.mark.parametrize(
    ("customers", "is_sent"), [(49, False), (50, True), (951, False), (950, True), (1000, True), (None, True)]
)
def test_a_group_too_small_to_be_sent_is_written_here_without_being_degraded(
    ledger: StateLedger, run: str, customers: int | None, is_sent: bool
) -> None:
    provider = Scripted(reply("model"))
    task = a_task(f"{run} {customers}", customers=customers)
    [outcome] = desk(provider, ledger, run, all_customers=1000).ask([task])
    assert len(provider.requests) == len(rows(ledger, run)) == int(is_sent)
    assert outcome.written_by == ("m1" if is_sent else EMBEDDED)
    assert outcome.status == ("accepted" if is_sent else "")
    assert not outcome.is_degraded


def test_a_mistake_of_the_embedded_writer_is_an_error_and_no_answer(ledger: StateLedger, run: str) -> None:
    task = a_task(run, fallback=lambda: Line(text="a bad line"))
    message = f"profile of {run}: the embedded writer's answer breaks its rules: bad_word: text: 'bad'."
    with pytest.raises(EmbeddedWriterError) as alone:
        Desk(None, None, POLICY, run).ask([task])
    assert str(alone.value) == message
    with pytest.raises(EmbeddedWriterError) as after_an_outage:
        desk(Scripted(OutageError("timeout", "Slow.")), ledger, run).ask([task])
    assert str(after_an_outage.value) == message


def test_a_desk_that_could_not_work_is_refused(ledger: StateLedger) -> None:
    with pytest.raises(ValueError) as no_ledger:
        Desk(Scripted(reply("x")), None, POLICY, "r")
    assert str(no_ledger.value) == (
        "A desk that asks or replays needs a ledger; without one only the embedded writer works."
    )
    with pytest.raises(ValueError) as no_name:
        Desk(None, ledger, POLICY, "r", is_replay=True)
    assert str(no_name.value) == ("A replay needs replay_of: the provider's name and the model of the run it repeats.")


# -- the ledger -------------------------------------------------------------------------------------------------------


def test_a_call_is_written_with_its_estimate_before_it_is_made(ledger: StateLedger, run: str) -> None:
    seen: list[Call] = []

    def look(request: Request) -> Reply:
        seen.extend(rows(ledger, run))
        return reply("fine")

    desk(Scripted(look), ledger, run, dataclasses.replace(POLICY, price=PRICE)).ask([a_task(run)])
    [opened] = seen
    assert (opened.status, opened.is_estimated, opened.output_tokens) == ("sent", True, 100)
    assert opened.input_tokens > len("You write.Write one line.") / 3
    assert opened.cost_amount == Decimal(opened.input_tokens + 100) / 1000
    [closed] = rows(ledger, run)
    assert (closed.call_id, closed.status, closed.cost_amount) == (opened.call_id, "accepted", Decimal("0.05"))


def test_a_request_answered_before_is_not_made_again(ledger: StateLedger, run: str) -> None:
    provider = Scripted(reply("fine"))
    [first] = desk(provider, ledger, run).ask([a_task(run)])
    again = next(RUNS)
    [second] = desk(provider, ledger, again).ask([a_task(run)])
    assert first == second
    assert len(provider.requests) == 1
    [hit] = rows(ledger, again)
    assert (hit.status, hit.is_cache_hit, hit.answer) == ("accepted", True, line("fine"))
    assert (hit.input_tokens, hit.output_tokens, hit.cost_amount) == (0, 0, Decimal(0))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "strategy"},
        {"prompt": dataclasses.replace(PROMPT, version="2-abcd1234")},
        {"prompt": dataclasses.replace(PROMPT, system="You write well.")},
        {"output_tokens": 101},
        {"blocks": (NotesBlock("About", ("another",)),)},
        {"answer_type": type("Other", (Line,), {"__annotations__": {"more": str}})},
    ],
)
def test_another_request_is_another_call(ledger: StateLedger, run: str, changes: dict[str, Any]) -> None:
    provider = Scripted(Reply(json.dumps({"text": "fine", "more": ""}), "m1"))
    desk(provider, ledger, run).ask([a_task(run)])
    desk(provider, ledger, run).ask([a_task(run, **changes)])
    assert len(provider.requests) == 2
    desk(Scripted(reply("fine"), name="another"), ledger, run).ask([a_task(run)])
    assert len({call.request_key for call in rows(ledger, run)}) == 3


def test_a_recorded_answer_is_judged_by_the_checks_of_today(ledger: StateLedger, run: str) -> None:
    provider = Scripted(reply("fine"))
    desk(provider, ledger, run).ask([a_task(run)])
    stricter = a_task(run, check=lambda answer: [Finding("new_rule", "text: no.")] if answer.text == "fine" else [])
    provider.script = reply("better")
    [outcome] = desk(provider, ledger, run, dataclasses.replace(POLICY, repairs=1)).ask([stricter])
    assert outcome.answer.text == "better"
    assert [(call.status, call.is_cache_hit, call.turn) for call in rows(ledger, run)] == [
        ("accepted", False, 0), ("rejected", True, 0), ("accepted", False, 1),
    ]  # fmt: skip


def test_the_same_request_twice_at_once_is_made_once_and_ends_the_same(ledger: StateLedger, run: str) -> None:
    ends: Iterator[Step] = iter([reply("fine"), OutageError("unreachable", "Refused."), reply("fine")])

    async def slowly(request: Request) -> Step:
        await asyncio.sleep(0.01)
        return next(ends)

    provider = Scripted(slowly)
    same = [a_task(run), dataclasses.replace(a_task(run), item="taste T2")]
    outcomes = desk(provider, ledger, run).ask(same)
    assert [outcome.answer.text for outcome in outcomes] == ["fine", "fine"]
    failing = [dataclasses.replace(task, output_tokens=50) for task in same]
    outcomes = desk(provider, ledger, run).ask(failing)
    assert [outcome.status for outcome in outcomes] == ["unreachable", "unreachable"]
    assert len(provider.requests) == 2
    assert [(call.item, call.status, call.is_cache_hit) for call in rows(ledger, run)] == [
        (run, "accepted", False), ("taste T2", "accepted", True),
        (run, "unreachable", False), ("taste T2", "unreachable", True),
    ]  # fmt: skip


def test_a_failed_request_is_made_again_by_a_later_run(ledger: StateLedger, run: str) -> None:
    provider = Scripted(OutageError("unreachable", "Refused."))
    [outcome] = desk(provider, ledger, run).ask([a_task(run)])
    assert outcome.is_degraded
    provider.script = reply("fine")
    [outcome] = desk(provider, ledger, next(RUNS)).ask([a_task(run)])
    assert outcome == Outcome(Line(text="fine"), "m1", status="accepted", calls=outcome.calls)


class DyingLedger(StateLedger):
    """Breaks when the second answer is to be written."""

    closed = 0

    def close_call(self, call_id: int, call: Call) -> None:
        self.closed += 1
        if self.closed == 2:
            raise OSError("disk full")
        super().close_call(call_id, call)


def test_a_run_that_broke_between_answer_and_write_pays_only_for_what_is_not_written(
    store: StateStore, run: str, about: Callable[[int], list[Task[Line]]]
) -> None:
    tasks, one_at_a_time = about(3), dataclasses.replace(POLICY, concurrency=1, price=PRICE)
    provider = Scripted(reply("fine"))
    with pytest.raises(OSError, match="disk full"):
        desk(provider, DyingLedger(store), run, one_at_a_time).ask(tasks)
    assert provider.closed == 1
    ledger = StateLedger(store)
    assert statuses(ledger, run) == ["accepted", "sent"]
    lost = rows(ledger, run)[1]
    assert ledger.spent(run).cost_amount == Decimal("0.05") + (lost.cost_amount or 0)
    assert ledger.spent(run).tokens == 50 + lost.input_tokens + 100
    desk(provider, ledger, run, one_at_a_time).ask(tasks)
    assert [item_of(request) for request in provider.requests] == [
        tasks[0].item, tasks[1].item, tasks[1].item, tasks[2].item,
    ]  # fmt: skip


def die_after_the_second_answer(path: Path) -> None:
    class Killed(StateLedger):
        def close_call(self, call_id: int, call: Call) -> None:
            if call.item == "thing 1":
                os._exit(9)
            super().close_call(call_id, call)

    with open_state(path) as state:
        one_at_a_time = dataclasses.replace(POLICY, concurrency=1)
        tasks = [a_task(f"thing {number}") for number in range(3)]
        Desk(Scripted(reply("fine")), Killed(state), one_at_a_time, "r1").ask(tasks)


def test_a_process_killed_between_answer_and_write_is_resumed(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=die_after_the_second_answer, args=(tmp_path / "state.sqlite",)
    )
    process.start()
    process.join(60)
    assert process.exitcode == 9
    with open_state(tmp_path / "state.sqlite") as state:
        provider = Scripted(reply("fine"))
        outcomes = desk(provider, StateLedger(state), "r1").ask([a_task(f"thing {number}") for number in range(3)])
        assert [item_of(request) for request in provider.requests] == ["thing 1", "thing 2"]
        assert {outcome.status for outcome in outcomes} == {"accepted"}
        assert StateLedger(state).spent("r1").calls == 4


def test_an_answer_is_kept_when_the_check_breaks(ledger: StateLedger, run: str) -> None:
    def broken(answer: Line) -> list[Finding]:
        raise ZeroDivisionError

    provider = Scripted(reply("fine"))
    with pytest.raises(ZeroDivisionError):
        desk(provider, ledger, run).ask([a_task(run, check=broken)])
    assert statuses(ledger, run) == ["rejected"]
    [outcome] = desk(provider, ledger, run).ask([a_task(run)])
    assert outcome.answer.text == "fine"
    assert len(provider.requests) == 1


def test_usage_that_the_server_does_not_say_is_estimated_and_marked(ledger: StateLedger, run: str) -> None:
    desk(Scripted(Reply(line("x" * 90), "", None, -1)), ledger, run, dataclasses.replace(POLICY, price=PRICE)).ask(
        [a_task(run)]
    )
    [call] = rows(ledger, run)
    assert call.is_estimated
    assert call.output_tokens == 34  # 102 characters
    assert call.cost_amount == Decimal(call.input_tokens + 34) / 1000


def test_money_is_rounded_up_so_that_a_sum_never_says_too_little(ledger: StateLedger, run: str) -> None:
    policy = dataclasses.replace(POLICY, price=Price(Decimal("0.05"), Decimal("0.4")))
    desk(Scripted(reply("fine", input_tokens=11, output_tokens=2)), ledger, run, policy).ask([a_task(run)])
    assert [call.cost_amount for call in rows(ledger, run)] == [Decimal("0.000002")]  # 1.35 millionths


def test_text_that_no_database_takes_is_stored_without_its_broken_characters(ledger: StateLedger, run: str) -> None:
    [outcome] = desk(Scripted(Reply("\ud800\x00" + line("fine"), "m\udfff")), ledger, run).ask([a_task(run)])
    assert outcome.answer.text == "fine"
    [call] = rows(ledger, run)
    assert (call.answer, call.model_answered) == ("?" + line("fine"), "m?")


# -- answers that are not accepted ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (Reply("", "m1"), "empty"),
        (Reply("  \n", "m1", is_truncated=True), "empty"),
        (Reply("I would rather not.", "m1"), "malformed"),
        (Reply('{"words": "x"}', "m1"), "malformed"),
        (Reply('{"text": "a long', "m1", is_truncated=True), "truncated"),
        (reply("bad"), "rejected"),
    ],
)
def test_a_wrong_answer_is_sent_back_and_then_left_to_the_embedded_writer(
    ledger: StateLedger, run: str, wrong: Reply, status: str
) -> None:
    provider = Scripted(wrong)
    policy = dataclasses.replace(POLICY, repairs=2)
    [outcome] = desk(provider, ledger, run, policy).ask([a_task(run)])
    assert (outcome.answer.text, outcome.written_by) == (f"embedded {run}", EMBEDDED)
    assert (outcome.is_degraded, outcome.status) == (True, status)
    assert [(call.status, call.turn) for call in rows(ledger, run)] == [(status, 0), (status, 1), (status, 2)]
    assert all(call.error for call in rows(ledger, run))
    assert outcome.problem == rows(ledger, run)[-1].error
    assert outcome.calls == tuple(call.request_key for call in rows(ledger, run))
    desk(provider, ledger, next(RUNS), policy).ask([a_task(run)])
    assert len(provider.requests) == 3  # wrong answers too are not asked for again


def test_a_repaired_answer_is_the_models(ledger: StateLedger, run: str) -> None:
    provider = Scripted(lambda request: reply("bad words" if len(request.messages) == 2 else "mended"))
    [outcome] = desk(provider, ledger, run, dataclasses.replace(POLICY, repairs=2)).ask([a_task(run)])
    assert (outcome.answer.text, outcome.written_by, outcome.is_degraded) == ("mended", "m1", False)
    system, user, answered, mend = provider.requests[1].messages
    assert (system["role"], user["role"]) == ("system", "user")
    assert answered == {"role": "assistant", "content": line("bad words")}
    assert mend == {
        "role": "user",
        "content": "This answer was not accepted. Mend what is listed, keep the rest, and answer with the whole JSON "
        "object again:\n- bad_word: text: 'bad'.",
    }


def test_what_is_sent_back_is_short_and_holds_no_contact_that_the_model_invented(ledger: StateLedger, run: str) -> None:
    contacts = "anna@example.com +49 30 1234567 https://shop.example/x"
    provider = Scripted(reply(f"bad1 bad:{contacts} " + " ".join(f"bad{n}" for n in range(2000))))
    desk(provider, ledger, run, dataclasses.replace(POLICY, repairs=1)).ask([a_task(run)])
    answered, mend = (message["content"] for message in provider.requests[1].messages[2:])
    assert len(answered) == 4000
    assert "[left out] [left out] [left out]" in answered
    assert mend.count("\n- ") == 8
    assert not any(part in answered + mend for part in ("anna", "1234567", "shop.example"))


def test_an_empty_answer_is_sent_back_as_such(ledger: StateLedger, run: str) -> None:
    provider = Scripted(Reply("", "m1"))
    desk(provider, ledger, run, dataclasses.replace(POLICY, repairs=1)).ask([a_task(run)])
    assert [message["content"] for message in provider.requests[1].messages[2:]] == [
        "(empty)",
        "This answer was not accepted. Mend what is listed, keep the rest, and answer with the whole JSON object "
        "again:\n- empty: The answer was empty.",
    ]


# -- outages ----------------------------------------------------------------------------------------------------------


def test_an_outage_is_tried_again_after_longer_and_longer_waits(ledger: StateLedger, run: str) -> None:
    waits, told = Waits(), list[str]()
    provider = Scripted(OutageError("server_error", "HTTP 503."))
    policy = dataclasses.replace(POLICY, retries=3, price=PRICE)
    [outcome] = desk(provider, ledger, run, policy, sleep=waits, on_event=told.append).ask([a_task(run)])
    assert waits.seconds == [0.5, 1, 2]
    assert (outcome.answer.text, outcome.is_degraded) == (f"embedded {run}", True)
    assert (outcome.status, outcome.problem) == ("server_error", "HTTP 503.")
    assert [(call.status, call.attempt, call.cost_amount) for call in rows(ledger, run)] == [
        ("server_error", attempt, Decimal(0)) for attempt in range(4)
    ]
    assert len(set(outcome.calls)) == len({call.request_key for call in rows(ledger, run)}) == 1
    assert told == [
        f"profile of {run}: server_error, asked again in 0.5 s.",
        f"profile of {run}: server_error, asked again in 1 s.",
        f"profile of {run}: server_error, asked again in 2 s.",
        f"profile of {run}: left to the embedded writer (server_error). HTTP 503.",
    ]


@pytest.mark.parametrize(
    ("outage", "waited"),
    [
        (OutageError("rate_limited", "HTTP 429.", retry_after=3), [3, 3]),
        (OutageError("rate_limited", "HTTP 429.", retry_after=0), [0, 0]),
        (OutageError("rate_limited", "HTTP 429.", retry_after=4), [4, 4]),
        (OutageError("rate_limited", "HTTP 429.", retry_after=4.5), []),  # longer than we are ready to wait
        (OutageError("rate_limited", "HTTP 429.", retry_after=float("nan")), [0.5, 1]),
        (OutageError("rate_limited", "HTTP 429.", retry_after=-5), [0.5, 1]),
        (OutageError("rate_limited", "HTTP 429."), [0.5, 1]),
        (OutageError("bad_reply", "HTML.", is_retryable=False), []),
    ],
)
def test_the_server_says_how_long_to_wait(
    ledger: StateLedger, run: str, outage: OutageError, waited: list[float]
) -> None:
    waits = Waits()
    policy = dataclasses.replace(POLICY, retries=2, longest_wait_seconds=4)
    [outcome] = desk(Scripted(outage), ledger, run, policy, sleep=waits).ask([a_task(run)])
    assert outcome.status == outage.status
    assert waits.seconds == waited
    assert len(rows(ledger, run)) == len(waited) + 1


def test_a_wait_past_the_deadline_is_not_begun(ledger: StateLedger, run: str) -> None:
    waits = Waits()
    outage = OutageError("rate_limited", "HTTP 429.", retry_after=20)
    policy = dataclasses.replace(POLICY, retries=2, asset_seconds=10)
    [outcome] = desk(Scripted(outage), ledger, run, policy, sleep=waits).ask([a_task(run)])
    assert (outcome.status, waits.seconds) == ("rate_limited", [])


def test_an_answer_after_an_outage_is_an_answer(ledger: StateLedger, run: str) -> None:
    steps: Iterator[Step] = iter([OutageError("timeout", "Slow."), reply("fine")])
    policy = dataclasses.replace(POLICY, retries=1)
    [outcome] = desk(Scripted(lambda request: next(steps)), ledger, run, policy).ask([a_task(run)])
    assert (outcome.answer.text, outcome.is_degraded) == ("fine", False)
    assert [(call.status, call.attempt) for call in rows(ledger, run)] == [("timeout", 0), ("accepted", 1)]


def test_a_server_that_failed_for_several_tasks_in_a_row_is_not_asked_for_the_rest(
    ledger: StateLedger, run: str, about: Callable[[int], list[Task[Line]]]
) -> None:
    tasks = about(9)
    one_at_a_time = dataclasses.replace(POLICY, concurrency=1, outages_to_give_up=3)
    fails = {tasks[number].item for number in (0, 1, 3, 4, 5, 6)}
    provider = Scripted(
        lambda request: OutageError("unreachable", "Refused.") if item_of(request) in fails else reply("fine")
    )
    desk(provider, ledger, next(RUNS), one_at_a_time).ask(tasks[8:])  # known before
    outcomes = desk(provider, ledger, run, one_at_a_time).ask(tasks)
    assert [outcome.status for outcome in outcomes] == [
        "unreachable", "unreachable", "accepted", "unreachable", "unreachable", "unreachable", "given_up", "given_up",
        "accepted",
    ]  # fmt: skip
    assert len(provider.requests) == 1 + 6
    assert outcomes[6].problem == "The server failed for 3 tasks in a row and is not asked any more."


def test_a_call_that_hangs_is_cut_at_its_deadline_even_when_the_provider_does_not(
    ledger: StateLedger, run: str
) -> None:
    async def hang(request: Request) -> Step:
        assert request.seconds == pytest.approx(0.05)
        await asyncio.sleep(60)
        raise AssertionError

    started = time.monotonic()
    policy = dataclasses.replace(POLICY, call_seconds=0.05, price=PRICE)
    [outcome] = desk(Scripted(hang), ledger, run, policy).ask([a_task(run)])
    assert time.monotonic() - started < 2
    assert (outcome.status, outcome.is_degraded) == ("timeout", True)
    assert outcome.problem == "No answer within 0.05 seconds (language.call_seconds)."
    [call] = rows(ledger, run)
    assert call.is_estimated  # the server may have worked, and bill
    assert call.cost_amount == Decimal(call.input_tokens + 100) / 1000
    assert 0.05 <= call.latency_seconds < 2


def test_after_the_deadline_of_the_asset_nothing_more_is_asked(
    ledger: StateLedger, run: str, about: Callable[[int], list[Task[Line]]]
) -> None:
    async def hang(request: Request) -> Step:
        await asyncio.sleep(request.seconds)
        return OutageError("timeout", "Slow.")

    provider = Scripted(hang)
    policy = dataclasses.replace(POLICY, asset_seconds=0.2, concurrency=2, retries=5, outages_to_give_up=99)
    started = time.monotonic()
    outcomes = desk(provider, ledger, run, policy, sleep=asyncio.sleep).ask(about(20))
    assert time.monotonic() - started < 2
    assert len(provider.requests) == 2
    assert [outcome.status for outcome in outcomes] == ["timeout"] * 2 + ["out_of_time"] * 18
    assert outcomes[5].problem == "The 0.2 seconds for all calls (language.asset_seconds) are up."


def test_a_run_that_is_to_fail_without_answers_says_what_and_why(
    ledger: StateLedger, run: str, about: Callable[[int], list[Task[Line]]]
) -> None:
    async def only_the_first_fails(request: Request) -> Step:
        if item_of(request).endswith("thing 0"):
            await asyncio.sleep(0.01)
            return OutageError("rate_limited", "HTTP 429.")
        await asyncio.sleep(60)
        raise AssertionError

    provider = Scripted(only_the_first_fails)
    with pytest.raises(LanguageOutageError) as caught:
        desk(provider, ledger, run, dataclasses.replace(POLICY, on_outage="fail")).ask(about(2))
    assert str(caught.value) == (
        f"profile of {run} thing 0: no answer (rate_limited). HTTP 429. Answers received so far are kept and cost "
        f'nothing again: run again when the server answers, or set language.on_outage = "embedded".'
    )
    assert statuses(ledger, run) == ["rate_limited", "sent"]
    assert (provider.in_flight, provider.closed) == (0, 1)


def test_a_wrong_answer_is_no_outage(ledger: StateLedger, run: str) -> None:
    policy = dataclasses.replace(POLICY, on_outage="fail")
    [outcome] = desk(Scripted(reply("bad")), ledger, run, policy).ask([a_task(run)])
    assert (outcome.status, outcome.is_degraded) == ("rejected", True)


def test_a_wrong_setting_ends_all_at_once(
    ledger: StateLedger, run: str, about: Callable[[int], list[Task[Line]]]
) -> None:
    async def refuse(request: Request) -> Step:
        if item_of(request).endswith("thing 1"):
            return LanguageConfigurationError("The key in OPENAI_API_KEY was refused.")
        await asyncio.sleep(60)
        raise AssertionError

    provider = Scripted(refuse)
    started = time.monotonic()
    with pytest.raises(LanguageConfigurationError, match=r"^The key in OPENAI_API_KEY was refused\.$"):
        desk(provider, ledger, run, dataclasses.replace(POLICY, concurrency=2, retries=3)).ask(about(50))
    assert time.monotonic() - started < 2
    assert len(provider.requests) == 2
    assert statuses(ledger, run) == ["sent", "server_error"]
    assert rows(ledger, run)[1].cost_amount == Decimal(0)
    assert (provider.in_flight, provider.closed) == (0, 1)


def test_what_is_cancelled_can_finish_giving_back_its_connection(
    ledger: StateLedger, run: str, about: Callable[[int], list[Task[Line]]]
) -> None:
    given_back: list[str] = []

    async def refuse(request: Request) -> Step:
        if item_of(request).endswith("thing 0"):
            await asyncio.sleep(0.01)
            return LanguageConfigurationError("No.")
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            given_back.append(item_of(request))
        raise AssertionError

    with pytest.raises(LanguageConfigurationError):
        desk(Scripted(refuse), ledger, run).ask(about(3))
    assert given_back == [f"{run} thing 1", f"{run} thing 2"]


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_leaves_calls_marked_as_sent_and_gives_back_connections(
    ledger: StateLedger, run: str, about: Callable[[int], list[Task[Line]]]
) -> None:
    async def interrupt(request: Request) -> Step:
        if item_of(request).endswith("thing 2"):
            os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)
        raise AssertionError

    provider = Scripted(interrupt)
    with pytest.raises(KeyboardInterrupt):
        desk(provider, ledger, run).ask(about(3))
    assert statuses(ledger, run) == ["sent"] * 3
    assert (provider.in_flight, provider.closed) == (0, 1)


# -- the wall ---------------------------------------------------------------------------------------------------------


def no_anna(outgoing: bytes) -> str | None:
    return "A known first name." if b"\nAnna" in outgoing else None


def test_what_the_wall_holds_back_is_neither_sent_nor_written_down(ledger: StateLedger, run: str) -> None:
    provider = Scripted(reply("fine"))
    leaking = a_task(run, prompt=dataclasses.replace(PROMPT, user="Write to\nAnna."))
    outcomes = desk(provider, ledger, run, dataclasses.replace(POLICY, on_outage="fail"), wall=no_anna).ask(
        [leaking, a_task(f"{run} b")]
    )
    assert [(outcome.status, outcome.is_degraded) for outcome in outcomes] == [("blocked", True), ("accepted", False)]
    assert outcomes[0].problem == "A known first name."
    assert len(provider.requests) == 1
    blocked = next(call for call in rows(ledger, run) if call.status == "blocked")
    assert blocked.messages == ()
    assert "Anna" not in repr(blocked)


def test_the_wall_sees_the_form_of_the_answer_and_the_repair_turns(ledger: StateLedger, run: str) -> None:
    seen: list[bytes] = []

    def second_is_held_back(outgoing: bytes) -> str | None:
        seen.append(outgoing)
        return "A telephone number." if len(seen) == 2 else None

    provider = Scripted(reply("bad"))
    [outcome] = desk(
        provider, ledger, run, dataclasses.replace(POLICY, repairs=1), wall=second_is_held_back
    ).ask([a_task(run)])  # fmt: skip
    assert (outcome.status, len(provider.requests)) == ("blocked", 1)
    assert b'"required": ["text"]' in seen[0]
    assert line("bad").encode() in seen[1]


def test_what_the_transport_holds_back_is_blocked_and_costs_nothing(ledger: StateLedger, run: str) -> None:
    provider = Scripted(PrivacyWallError("An e-mail address."))
    policy = dataclasses.replace(POLICY, price=PRICE, retries=2)
    [outcome] = desk(provider, ledger, run, policy).ask([a_task(run)])
    assert (outcome.status, outcome.problem, outcome.is_degraded) == ("blocked", "An e-mail address.", True)
    [call] = rows(ledger, run)
    assert (call.messages, call.cost_amount, call.input_tokens) == ((), Decimal(0), 0)
    assert ledger.spent(run).calls == 0


# -- budgets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ({"calls_per_run": 0}, "The 0 calls of a run (language.calls_per_run) are made."),
        (
            {"tokens_per_run": 0},
            "0 tokens are used and this call may need {tokens}: more than the 0 of a run (language.tokens_per_run).",
        ),
        (
            {"cost_per_run": Decimal(0)},
            "0 US dollars are spent and this call may cost 0: more than the 0 of a run (language.cost_per_run).",
        ),
        (
            {"cost_per_run": Decimal("0.1"), "price": PRICE},
            "0 US dollars are spent and this call may cost {cost}: more than the 0.1 of a run (language.cost_per_run).",
        ),
    ],
)
def test_a_budget_of_nothing_makes_no_call(ledger: StateLedger, run: str, limits: dict[str, Any], problem: str) -> None:
    provider = Scripted(reply("fine"))
    measure = next(RUNS)
    desk(Scripted(OutageError("timeout", "Slow.")), ledger, measure, dataclasses.replace(POLICY, price=PRICE)).ask(
        [a_task(run)]
    )
    [estimate] = rows(ledger, measure)
    [outcome] = desk(provider, ledger, run, dataclasses.replace(POLICY, **limits)).ask([a_task(run)])
    assert provider.requests == []
    assert (outcome.status, outcome.is_degraded) == ("over_budget", True)
    assert outcome.problem == problem.format(
        tokens=estimate.input_tokens + estimate.output_tokens, cost=estimate.cost_amount
    )
    assert statuses(ledger, run) == ["over_budget"]
    assert ledger.spent(run).calls == 0


def test_the_budget_is_the_runs_and_not_the_desks(
    ledger: StateLedger, run: str, about: Callable[[int], list[Task[Line]]]
) -> None:
    provider, policy = Scripted(reply("fine")), dataclasses.replace(POLICY, calls_per_run=3)
    tasks = about(4)
    first = desk(provider, ledger, run, policy).ask(tasks[:2])
    second = desk(provider, ledger, run, policy).ask(tasks[2:])
    assert [outcome.status for outcome in first + second] == ["accepted"] * 3 + ["over_budget"]
    [other_run] = desk(provider, ledger, next(RUNS), policy).ask(tasks[3:])
    assert other_run.status == "accepted"


def test_a_limit_of_money_needs_a_price_where_calls_cost_money(ledger: StateLedger, run: str) -> None:
    policy = dataclasses.replace(POLICY, cost_per_run=Decimal(2))
    provider = Scripted(reply("fine"), name="openai")
    with pytest.raises(LanguageConfigurationError) as caught:
        desk(provider, ledger, run, policy).ask([a_task(run)])
    assert str(caught.value) == (
        "The run may cost 2 US dollars (language.cost_per_run), and the price of m1 is not known. Set input, output "
        '(US dollars per million tokens) and as_of in [language.prices."m1"].'
    )
    assert (provider.requests, rows(ledger, run)) == ([], [])
    provider.name = "openai_compatible"  # a server of one's own costs nothing
    [outcome] = desk(provider, ledger, run, policy).ask([a_task(run)])
    assert outcome.status == "accepted"
    assert rows(ledger, run)[0].cost_amount is None


KINDS: tuple[CallStatus, ...] = ("timeout", "unreachable", "server_error", "rate_limited", "bad_reply")
#: What a reply of the budget test may cost at most: the estimate is at least this.
MOST_INPUT, MOST_OUTPUT = 30, 100


@settings(max_examples=25, deadline=None)
@given(
    ends=st.lists(
        st.tuples(
            st.sampled_from(["fine", "bad", "not json", "timeout", "bad_reply", "rate_limited"]),
            st.none() | st.integers(0, MOST_INPUT),
            st.integers(0, MOST_OUTPUT),
            st.integers(0, 4),
        ),
        min_size=1,
        max_size=6,
    ),
    concurrency=st.integers(1, 4),
    limits=st.tuples(st.integers(0, 10), st.integers(0, 2000), st.none() | st.decimals(0, 2, places=3)),
)
def test_a_run_never_passes_a_limit_whatever_calls_cost_and_however_many_are_in_flight(
    store: StateStore,
    ends: list[tuple[str, int | None, int, int]],
    concurrency: int,
    limits: tuple[int, int, Decimal | None],
) -> None:
    calls, tokens, cost = limits
    run, ledger = next(RUNS), StateLedger(store)
    policy = dataclasses.replace(
        POLICY, concurrency=concurrency, calls_per_run=calls, tokens_per_run=tokens, cost_per_run=cost, price=PRICE,
        retries=1, repairs=1,
    )  # fmt: skip
    seen = []

    def within_limits() -> None:
        spent = ledger.spent(run)
        seen.append(spent)
        assert spent.calls <= calls
        assert spent.tokens <= tokens
        assert cost is None or spent.cost_amount <= cost

    async def script(request: Request) -> Step:
        within_limits()
        user = request.messages[1]["content"]
        kind, input_tokens, output_tokens, turns = ends[int(user.rsplit(" ", 1)[1])]
        for _ in range(turns):
            await asyncio.sleep(0)
        for status in KINDS:
            if kind == status:
                return OutageError(status, "No.")
        return Reply("nonsense" if kind == "not json" else line(kind), "m1", input_tokens, output_tokens)

    tasks = [a_task(f"{run} thing {number}") for number in range(len(ends))]
    outcomes = desk(Scripted(script), ledger, run, policy).ask(tasks)
    within_limits()
    assert len(outcomes) == len(tasks)
    assert all(outcome.is_degraded == (outcome.status != "accepted") for outcome in outcomes)
    made = [call for call in rows(ledger, run) if not call.is_cache_hit]
    assert ledger.spent(run).cost_amount == sum(call.cost_amount or Decimal(0) for call in made)
    assert ledger.spent(run).calls == len(seen) - 1  # each call that went out, and no other


# -- replay -----------------------------------------------------------------------------------------------------------


def replay_of(
    ledger: StateLedger, run: str, policy: Policy = POLICY, provider: Scripted | None = None, **changes: Any
) -> Desk:
    return Desk(provider, ledger, policy, run, is_replay=True, replay_of=("scripted", "m1"), **changes)


@settings(max_examples=25, deadline=None)
@given(
    ends=st.lists(st.sampled_from(["fine", "bad", "repaired", "not json", "", "blocked", *KINDS]), max_size=8),
    concurrency=st.integers(1, 4),
    calls=st.integers(0, 20),
)
def test_a_replay_has_the_same_outcomes_and_asks_and_writes_nothing(
    store: StateStore, ends: list[str], concurrency: int, calls: int
) -> None:
    run, ledger = next(RUNS), StateLedger(store)
    policy = dataclasses.replace(POLICY, concurrency=concurrency, calls_per_run=calls, retries=1, repairs=1)

    def script(request: Request) -> Step:
        kind = ends[int(request.messages[1]["content"].rsplit(" ", 1)[1])]
        for status in KINDS:
            if kind == status:
                return OutageError(status, f"Attempt {len(provider.requests)}.")
        if kind == "repaired":
            return reply("bad" if len(request.messages) == 2 else "fine")
        if kind == "blocked":
            return PrivacyWallError("No.")
        return Reply(line(kind) if kind in {"fine", "bad"} else kind, "m1")

    provider = Scripted(script)
    tasks = [a_task(f"{run} thing {number}") for number in range(len(ends))]
    outcomes = desk(provider, ledger, run, policy).ask(tasks)
    asked, repeated = len(provider.requests), next(RUNS)
    assert replay_of(ledger, repeated, policy, provider).ask(tasks) == outcomes
    assert (rows(ledger, repeated), len(provider.requests)) == ([], asked)


def test_a_replay_of_a_run_that_gave_up_or_ran_out_of_time_has_the_same_outcomes(
    ledger: StateLedger, run: str, about: Callable[[int], list[Task[Line]]]
) -> None:
    policy = dataclasses.replace(POLICY, concurrency=1, outages_to_give_up=1)
    given_up = desk(Scripted(OutageError("timeout", "Slow.")), ledger, run, policy).ask(about(3))
    assert [outcome.status for outcome in given_up] == ["timeout", "given_up", "given_up"]
    assert replay_of(ledger, run, policy).ask(about(3)) == given_up
    with pytest.raises(LanguageOutageError, match=r"thing 0: no answer \(timeout\)"):
        replay_of(ledger, run, dataclasses.replace(policy, on_outage="fail")).ask(about(3))

    async def slow(request: Request) -> Step:
        await asyncio.sleep(0.06)
        return reply("fine")

    late = [dataclasses.replace(task, output_tokens=50) for task in about(3)]
    policy = dataclasses.replace(POLICY, concurrency=1, asset_seconds=0.05)
    out_of_time = desk(Scripted(slow), ledger, run, policy).ask(late)
    assert [outcome.status for outcome in out_of_time] == ["accepted", "out_of_time", "out_of_time"]
    assert replay_of(ledger, run, policy).ask(late) == out_of_time


def test_a_replay_of_what_was_never_asked_says_so(ledger: StateLedger, run: str) -> None:
    with pytest.raises(LanguageConfigurationError) as caught:
        replay_of(ledger, run).ask([a_task(run)])
    assert str(caught.value) == (
        f"profile of {run} was never asked: a replay needs the run it repeats. Run with a provider first."
    )


# -- size -------------------------------------------------------------------------------------------------------------


def test_two_hundred_tasks_are_two_hundred_calls_in_order(
    ledger: StateLedger, run: str, about: Callable[[int], list[Task[Line]]]
) -> None:
    provider, tasks = Scripted(lambda request: reply(f"model {item_of(request)}")), about(200)
    outcomes = desk(provider, ledger, run).ask(tasks)
    assert len(provider.requests) == 200
    assert [outcome.answer.text for outcome in outcomes] == [f"model {task.item}" for task in tasks]
    assert ledger.spent(run).calls == 200


def test_a_server_known_to_be_down_is_asked_for_nothing(tmp_path: Path) -> None:
    provider = Scripted(reply("fine"))
    with open_state(tmp_path / "state.sqlite") as state:
        ledger = StateLedger(state)
        (outcome,) = Desk(provider, ledger, POLICY, "run", is_server_down=True).ask([a_task()])
        assert [call.status for call in ledger.all_calls()] == ["given_up"]
    assert (outcome.is_degraded, provider.requests) == (True, [])
