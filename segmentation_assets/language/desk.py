"""The desk: takes tasks, has them answered within the limits of a run, and writes every call into the ledger.

What belongs here: when to ask, whether to ask again, what counts as answered, and when the embedded writer takes an
item. What does not: the wire (`providers`), what is asked and checked (`tasks`), and where calls are kept
(`state.ledger`).

The order of one request: an answer that the ledger has already is the answer (and is checked again, for checks change);
then the privacy wall, the deadlines and the budget are asked; then the row is opened with its estimate, the provider is
asked, and the row is closed with what came back. All decisions are made in one thread between two awaits, so that
calls in flight cannot pass a limit together.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Decimal
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from segmentation_assets.language.grounding import Finding
from segmentation_assets.language.messages import messages_of
from segmentation_assets.language.providers.wire import json_schema_of, parse_answer
from segmentation_assets.language.task import (
    ANSWERED,
    EMBEDDED,
    Call,
    CallStatus,
    LanguageConfigurationError,
    Ledger,
    OutageError,
    Outcome,
    Policy,
    PrivacyWallError,
    Provider,
    Reply,
    Request,
    Task,
)

A = TypeVar("A", bound=BaseModel)
Messages = tuple[Mapping[str, str], ...]

#: No answer came, for a reason that is the server's.
OUTAGES: frozenset[CallStatus] = frozenset(
    {"timeout", "unreachable", "server_error", "rate_limited", "bad_reply", "out_of_time", "given_up"}
)
#: Outages after which the server may have worked, and bill: they keep their estimate.
_PERHAPS_BILLED: frozenset[CallStatus] = frozenset({"timeout", "bad_reply"})

#: A token of English or of JSON is rarely shorter, so that an estimate by this is rarely too low.
_BYTES_PER_TOKEN = 3
#: A provider that does not keep its deadline is cut this much later.
_GRACE_SECONDS = 0.25
_FIRST_WAIT_SECONDS = 0.5
_MICRO = Decimal("0.000001")
_LONGEST_REPLY_SHOWN = 4000
_MOST_FINDINGS_SHOWN = 8
_LONGEST_ERROR = 2000
#: What looks like a link, an e-mail or a number to call; a model's invention too must not stop at the privacy wall.
_CONTACT = re.compile(r"(?i)\b(?:https?://|www\.)[^\s\"<>]+|[^\s\"<>]*@[^\s\"<>]*|\+?\d[\d\s()/.–-]{5,}\d")


class LanguageOutageError(RuntimeError):
    """No answer came, and the settings say that the run is to fail then."""

    def __init__(self, task: str, item: str, status: str, problem: str) -> None:
        super().__init__(
            f"{task} of {item}: no answer ({status}). {problem} Answers received so far are kept and cost nothing "
            f'again: run again when the server answers, or set language.on_outage = "embedded".'
        )
        self.item = item
        self.status = status


class EmbeddedWriterError(RuntimeError):
    """The embedded writer broke the rules of its task, which is a mistake in this program."""


@dataclass(frozen=True)
class _Form:
    """An answer type as it goes over the wire, and the version that names it in the ledger."""

    name: str
    schema: Mapping[str, Any]
    version: str
    text: str


@dataclass(frozen=True)
class _Judged(Generic[A]):
    """A reply after parsing and checking: `answer` is None unless it is accepted."""

    status: CallStatus
    answer: A | None
    findings: Sequence[Finding]


@dataclass
class _Sitting:
    """What the tasks of one `ask` share."""

    deadline: float
    slots: asyncio.Semaphore
    outages: int = 0
    has_given_up: bool = False
    is_over: bool = False
    running: Sequence[asyncio.Task[Any]] = ()
    settled: dict[str, Call] = field(default_factory=dict)
    locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    def stop(self) -> None:
        """Cancel what is under way, once: a second time would interrupt how it gives back its connection."""
        if not self.is_over:
            self.is_over = True
            for each in self.running:
                if each is not asyncio.current_task():
                    each.cancel()


class Desk:
    """Has tasks answered by `provider`, by the recorded calls of an earlier run, or by the embedded writer.

    Without a provider the embedded writer answers all. With `is_replay` no provider is asked whatever happens, and
    nothing is written: the last recorded call of each request decides, where `replay_of` is the name and the model of
    the provider that was asked then. `all_customers`: how many customers there are, so that what is left outside a
    group is not sent either. `wall` is shown every text before it goes out, and returns a reason to hold it back.
    `on_event` is told, in sentences, what happens. With `is_server_down` every request is given up before it is made.
    `sleep` waits between attempts. The provider is closed at the end of each `ask`, and opens its connections anew at
    the next, which has an event loop of its own.

    ValueError for a combination that cannot work.
    """

    def __init__(
        self,
        provider: Provider | None,
        ledger: Ledger | None,
        policy: Policy,
        run_id: str,
        *,
        all_customers: int | None = None,
        is_replay: bool = False,
        replay_of: tuple[str, str] | None = None,
        wall: Callable[[bytes], str | None] | None = None,
        on_event: Callable[[str], None] | None = None,
        is_server_down: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if is_replay and replay_of is None:
            raise ValueError("A replay needs replay_of: the provider's name and the model of the run it repeats.")
        if ledger is None and (is_replay or provider is not None):
            raise ValueError("A desk that asks or replays needs a ledger; without one only the embedded writer works.")
        self._provider = None if is_replay else provider
        self._asks_nobody = provider is None and not is_replay
        self._name, self._model = replay_of if is_replay and replay_of else _name_and_model(provider)
        self._is_replay = is_replay
        self._book = ledger
        self._policy = policy
        self._run_id = run_id
        self._all_customers = all_customers
        self._wall = wall
        self._on_event = on_event
        self._is_server_down = is_server_down
        self._sleep = sleep

    def ask(self, tasks: Sequence[Task[A]]) -> list[Outcome[A]]:
        """An outcome for each task, in the order of the tasks.

        LanguageConfigurationError when the provider cannot work as it is set, or when a replay meets a request that
        was never asked; LanguageOutageError when no answer comes and the policy says to fail then;
        EmbeddedWriterError for a mistake of the embedded writer. Any of them ends the whole at once: other calls are
        cancelled, and their rows stay `sent`.
        """
        if self._asks_nobody:
            return [Outcome(_fallback(task)) for task in tasks]
        return asyncio.run(self._all(tasks)) if tasks else []

    # -- one sitting ----------------------------------------------------------------------------------------------

    async def _all(self, tasks: Sequence[Task[A]]) -> list[Outcome[A]]:
        sitting = _Sitting(
            deadline=_now() + self._policy.asset_seconds,
            slots=asyncio.Semaphore(max(1, self._policy.concurrency)),
            has_given_up=self._is_server_down,
        )
        running = [asyncio.create_task(self._one(task, sitting)) for task in tasks]
        sitting.running = running
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
            for each in running:
                if each.done() and not each.cancelled() and (error := each.exception()) is not None:
                    raise error
            return [each.result() for each in running]
        finally:
            sitting.stop()
            await asyncio.gather(*running, return_exceptions=True)
            if self._provider is not None:
                await self._provider.close()

    async def _one(self, task: Task[A], sitting: _Sitting) -> Outcome[A]:
        is_done = False
        try:
            if self._stays_here(task.customers):
                outcome = Outcome(_fallback(task))
            else:
                async with sitting.slots:
                    outcome = await self._turns(task, sitting)
            is_done = True
            return outcome
        finally:
            # Here and not by whoever waits for all: the slot that is free now would start another call before that.
            if not is_done:
                sitting.stop()

    async def _turns(self, task: Task[A], sitting: _Sitting) -> Outcome[A]:
        """Ask, and send back what is wrong, until an answer is accepted or the embedded writer takes the task."""
        form = _form(task.answer_type)
        messages: Messages = messages_of(task, self._policy.minimum_cell, self._all_customers)
        keys: tuple[str, ...] = ()
        turn = 0
        while True:
            question = self._question(task, form, messages, turn)
            keys = (*keys, question.request_key)
            call, judged = await self._settle(task, form, question, sitting)
            if judged is None:
                if call.status in OUTAGES and self._policy.on_outage == "fail":
                    raise LanguageOutageError(task.name, task.item, call.status, call.error)
                return self._degraded(task, call.status, call.error, keys)
            if judged.answer is not None:
                return Outcome(judged.answer, self._model, status=judged.status, calls=keys)
            if turn >= self._policy.repairs:
                return self._degraded(task, judged.status, _listed(judged.findings), keys)
            messages = (*messages, *_repair(call.answer, judged.findings))
            turn += 1

    def _stays_here(self, customers: int | None) -> bool:
        """Whether the group, or what is left outside it, is too small for anything about it to be sent."""
        if customers is None:
            return False
        rest = 0 if self._all_customers is None else self._all_customers - customers
        return customers < self._policy.minimum_cell or (rest != 0 and rest < self._policy.minimum_cell)

    def _degraded(self, task: Task[A], status: str, problem: str, keys: tuple[str, ...]) -> Outcome[A]:
        self._tell(task, f"left to the embedded writer ({status}). {problem}")
        return Outcome(_fallback(task), is_degraded=True, status=status, problem=problem, calls=keys)

    def _question(self, task: Task[A], form: _Form, messages: Messages, turn: int) -> Call:
        """The row of a request as it is opened: with its key and its estimate."""
        identity = (task.name, task.prompt.version, form.version, self._name, self._model, messages, task.output_tokens)
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        input_tokens = _tokens("".join(message["content"] for message in messages) + form.text)
        return Call(
            request_key=key, run_id=self._run_id, task=task.name, item=task.item,
            prompt_version=task.prompt.version, answer_version=form.version, provider=self._name,
            model_asked=self._model, turn=turn, attempt=0, status="sent", messages=messages,
            input_tokens=input_tokens, output_tokens=task.output_tokens, is_estimated=True,
            cost_amount=self._cost(input_tokens, task.output_tokens),
        )  # fmt: skip

    # -- one request ----------------------------------------------------------------------------------------------

    async def _settle(
        self, task: Task[A], form: _Form, question: Call, sitting: _Sitting
    ) -> tuple[Call, _Judged[A] | None]:
        """The call that decides about a request, and its reply after checking; None without a reply."""
        key = question.request_key
        if self._is_replay:
            recorded = self._ledger.last_call(key)
            if recorded is None:
                raise LanguageConfigurationError(
                    f"{task.name} of {task.item} was never asked: a replay needs the run it repeats. "
                    f"Run with a provider first."
                )
            return recorded, _judged_again(task, recorded)
        # Two tasks with the same request at the same time: the second waits for the first, and shares how it ended.
        async with sitting.locks.setdefault(key, asyncio.Lock()):
            known = sitting.settled.get(key)
            if known is None:
                known = self._ledger.last_call(key)
                if known is None or known.status not in ANSWERED:
                    call, judged = await self._serve(task, form, question, sitting)
                    sitting.settled[key] = call
                    return call, judged
        judged = _judged_again(task, known)
        status, error = (known.status, known.error) if judged is None else (judged.status, _listed(judged.findings))
        hit = replace(
            _unmade(question, status, error), answer=known.answer, model_answered=known.model_answered,
            is_cache_hit=True,
        )  # fmt: skip
        self._ledger.open_call(hit)
        return hit, judged

    async def _serve(
        self, task: Task[A], form: _Form, question: Call, sitting: _Sitting
    ) -> tuple[Call, _Judged[A] | None]:
        """Ask, and ask again after outages that may pass, within all limits."""
        reason = self._held_back(question, form)
        if reason is not None:
            return self._decided(_unmade(question, "blocked", reason)), None
        for attempt in range(self._policy.retries + 1):
            refusal = self._refusal(question, sitting)
            if refusal is not None:
                return self._decided(replace(_unmade(question, *refusal), attempt=attempt)), None
            call, judged, outage = await self._attempt(task, form, replace(question, attempt=attempt), sitting)
            if outage is None:
                return call, judged
            wait = self._wait_seconds(outage, attempt, sitting)
            if wait is None:
                break
            self._tell(task, f"{outage.status}, asked again in {wait:g} s.")
            await self._sleep(wait)
        sitting.outages += 1
        if sitting.outages >= self._policy.outages_to_give_up:
            sitting.has_given_up = True
        return call, None

    async def _attempt(
        self, task: Task[A], form: _Form, opened: Call, sitting: _Sitting
    ) -> tuple[Call, _Judged[A] | None, OutageError | None]:
        """One call: the row is opened, the provider asked, the row closed."""
        assert self._provider is not None  # noqa: S101 - a replay does not come here; narrows the type
        seconds = min(self._policy.call_seconds, sitting.deadline - _now())
        request = Request(opened.messages, form.name, form.schema, task.output_tokens, seconds)
        call_id = self._ledger.open_call(opened)
        started = _now()

        def close(call: Call) -> Call:
            closed = replace(call, latency_seconds=round(_now() - started, 6), call_id=call_id)
            self._ledger.close_call(call_id, closed)
            return closed

        try:
            async with asyncio.timeout(seconds + _GRACE_SECONDS):
                reply = await self._provider.ask(request)
        except OutageError as error:
            outage = error
        except TimeoutError:
            setting = "call_seconds" if seconds >= self._policy.call_seconds else "asset_seconds"
            outage = OutageError("timeout", f"No answer within {round(seconds, 2):g} seconds (language.{setting}).")
        except PrivacyWallError as error:
            return close(_unmade(opened, "blocked", str(error))), None, None
        except LanguageConfigurationError as error:
            close(_unmade(opened, "server_error", str(error)))
            raise
        else:
            sitting.outages = 0
            return *self._received(task, opened, reply, close), None
        ended = opened if outage.status in _PERHAPS_BILLED else _unmade(opened, outage.status, "")
        return close(replace(ended, status=outage.status, error=_plain(str(outage))[:_LONGEST_ERROR])), None, outage

    def _received(
        self, task: Task[A], opened: Call, reply: Reply, close: Callable[[Call], Call]
    ) -> tuple[Call, _Judged[A]]:
        """Close the row of a call that was answered."""
        text = _plain(reply.text)
        input_tokens, is_input_known = _counted(reply.input_tokens, opened.input_tokens)
        output_tokens, is_output_known = _counted(reply.output_tokens, _tokens(text))
        call = replace(
            opened, answer=text, model_answered=_plain(reply.model), input_tokens=input_tokens,
            output_tokens=output_tokens, is_estimated=not (is_input_known and is_output_known),
            cost_amount=self._cost(input_tokens, output_tokens),
        )  # fmt: skip
        # Closed even when the check breaks: an answer that was paid for is there when the check is mended.
        judged: _Judged[A] = _Judged("rejected", None, [Finding("unchecked", "The check of this task broke.")])
        try:
            judged = _judge(task, text, is_truncated=reply.is_truncated)
        finally:
            call = close(replace(call, status=judged.status, error=_listed(judged.findings)))
        return call, judged

    # -- limits ---------------------------------------------------------------------------------------------------

    def _held_back(self, question: Call, form: _Form) -> str | None:
        """Why the wall holds this request back; None lets it go."""
        if self._wall is None:
            return None
        # Unescaped, one text after the other: a line break written as \n would hide where a word begins.
        return self._wall(
            "\n".join([*(message["content"] for message in question.messages), form.text]).encode("utf-8", "replace")
        )

    def _refusal(self, question: Call, sitting: _Sitting) -> tuple[CallStatus, str] | None:
        """Why this call is not made: status and reason; None lets it go."""
        policy = self._policy
        if sitting.has_given_up:
            return "given_up", f"The server failed for {sitting.outages} tasks in a row and is not asked any more."
        if sitting.deadline - _now() <= 0:
            return "out_of_time", f"The {policy.asset_seconds:g} seconds for all calls (language.asset_seconds) are up."
        if policy.cost_per_run is not None and policy.price is None and self._name == "openai" and policy.cost_per_run:
            raise LanguageConfigurationError(
                f"The run may cost {policy.cost_per_run} US dollars (language.cost_per_run), and the price of "
                f"{self._model} is not known. Set input, output (US dollars per million tokens) and as_of in "
                f'[language.prices."{self._model}"].'
            )
        spent = self._ledger.spent(self._run_id)
        tokens, cost = question.input_tokens + question.output_tokens, question.cost_amount or Decimal(0)
        if spent.calls + 1 > policy.calls_per_run:
            return "over_budget", f"The {policy.calls_per_run} calls of a run (language.calls_per_run) are made."
        if spent.tokens + tokens > policy.tokens_per_run:
            return "over_budget", (
                f"{spent.tokens} tokens are used and this call may need {tokens}: more than the "
                f"{policy.tokens_per_run} of a run (language.tokens_per_run)."
            )
        limit = policy.cost_per_run
        if limit is not None and (limit == 0 or spent.cost_amount + cost > limit):
            return "over_budget", (
                f"{spent.cost_amount} US dollars are spent and this call may cost {cost}: more than the {limit} of a "
                f"run (language.cost_per_run)."
            )
        return None

    def _wait_seconds(self, outage: OutageError, attempt: int, sitting: _Sitting) -> float | None:
        """How long to wait before the next attempt; None when there is to be none."""
        if not outage.is_retryable or attempt >= self._policy.retries or sitting.has_given_up:
            return None
        longest = self._policy.longest_wait_seconds
        asked = outage.retry_after
        if asked is None or not asked >= 0:  # not a number is no wish either
            wait = min(_FIRST_WAIT_SECONDS * 2**attempt, longest)
        elif asked <= longest:
            wait = asked
        else:
            return None  # sooner than the server allows would only be refused again
        return wait if _now() + wait < sitting.deadline else None

    def _cost(self, input_tokens: int, output_tokens: int) -> Decimal | None:
        """US dollars, to the millionth and never rounded down; None without a price."""
        price = self._policy.price
        if price is None:
            return None
        per_million = price.input_amount * input_tokens + price.output_amount * output_tokens
        return (per_million / 1_000_000).quantize(_MICRO, rounding=ROUND_CEILING)

    # -- small things ---------------------------------------------------------------------------------------------

    @property
    def _ledger(self) -> Ledger:
        assert self._book is not None  # noqa: S101 - refused when the desk was made; narrows the type
        return self._book

    def _decided(self, call: Call) -> Call:
        return replace(call, call_id=self._ledger.open_call(call))

    def _tell(self, task: Task[A], sentence: str) -> None:
        if self._on_event is not None:
            self._on_event(f"{task.name} of {task.item}: {sentence}")


def _now() -> float:
    """Seconds of a clock that only goes forward, for deadlines and latencies."""
    return asyncio.get_running_loop().time()


def _name_and_model(provider: Provider | None) -> tuple[str, str]:
    return (EMBEDDED, EMBEDDED) if provider is None else (provider.name, provider.model)


def _form(answer_type: type[BaseModel]) -> _Form:
    schema = json_schema_of(answer_type)
    text = json.dumps(schema, sort_keys=True, ensure_ascii=False)
    name = re.sub(r"[^A-Za-z0-9_-]", "_", answer_type.__name__)[:64]
    return _Form(name, schema, hashlib.sha256(text.encode()).hexdigest()[:12], text)


def _fallback(task: Task[A]) -> A:
    """The embedded writer's answer, checked like any other. EmbeddedWriterError names item and findings."""
    answer = task.fallback()
    findings = task.check(answer)
    if findings:
        raise EmbeddedWriterError(
            f"{task.name} of {task.item}: the embedded writer's answer breaks its rules: {_listed(findings)}"
        )
    return answer


def _judge(task: Task[A], text: str, *, is_truncated: bool) -> _Judged[A]:
    if not text.strip():
        return _Judged("empty", None, [Finding("empty", "The answer was empty.")])
    answer, findings = parse_answer(text, task.answer_type)
    if answer is None:
        if is_truncated:
            ended = f"The answer ended at the limit of {task.output_tokens} tokens: write less."
            return _Judged("truncated", None, [Finding("truncated", ended)])
        return _Judged("malformed", None, findings)
    findings = task.check(answer)
    return _Judged("rejected", None, findings) if findings else _Judged("accepted", answer, [])


def _judged_again(task: Task[A], call: Call) -> _Judged[A] | None:
    """A recorded reply under today's checks; None where there is no reply."""
    if call.status not in ANSWERED:
        return None
    return _judge(task, call.answer, is_truncated=call.status == "truncated")


def _repair(reply: str, findings: Sequence[Finding]) -> Messages:
    """The turn that sends a reply back with what is wrong with it."""
    listed = "\n".join(f"- {finding.rule}: {finding.detail}" for finding in findings[:_MOST_FINDINGS_SHOWN])
    return (
        # Some servers refuse a turn without words.
        {"role": "assistant", "content": _CONTACT.sub("[left out]", reply)[:_LONGEST_REPLY_SHOWN].strip() or "(empty)"},
        {
            "role": "user",
            "content": "This answer was not accepted. Mend what is listed, keep the rest, and answer with the whole "
            f"JSON object again:\n{_CONTACT.sub('[left out]', listed)}",
        },
    )


def _unmade(call: Call, status: CallStatus, error: str) -> Call:
    """`call` as one that was not made, or not worked on: it costs nothing."""
    return replace(
        call, status=status, error=_plain(error)[:_LONGEST_ERROR], input_tokens=0, output_tokens=0, is_estimated=False,
        cost_amount=Decimal(0),
        # What the wall holds back is not written down either.
        messages=() if status == "blocked" else call.messages,
    )  # fmt: skip


def _listed(findings: Sequence[Finding]) -> str:
    return _plain("; ".join(f"{finding.rule}: {finding.detail}" for finding in findings))[:_LONGEST_ERROR]


def _tokens(text: str) -> int:
    """How many tokens `text` has at most, by experience."""
    return math.ceil(len(text.encode("utf-8", "replace")) / _BYTES_PER_TOKEN)


def _counted(said: int | None, estimate: int) -> tuple[int, bool]:
    """The server's count where it is one, else the estimate; and whether it is the server's."""
    return (said, True) if said is not None and said >= 0 else (estimate, False)


def _plain(text: str) -> str:
    """Without halves of characters and without NUL, which databases refuse."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "")
