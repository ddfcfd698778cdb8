"""Tasks as data: what a model is asked, on which facts, for which type of answer, and who answers when it cannot.

What belongs here: the types that tasks, providers and the desk share. What does not: asking (`desk`), the wire
(`providers`), and what each task says (`tasks`). A request is made of a prompt file and typed blocks only, so no text
from the data enters one except as a fact; names, addresses and rows of customers have no type here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel

from segmentation_assets.language.facts import FactBook
from segmentation_assets.language.grounding import Finding

A = TypeVar("A", bound=BaseModel)

#: Who writes when no model does.
EMBEDDED = "embedded"


@dataclass(frozen=True)
class Prompt:
    """A prompt file: `system` says who answers and by which rules, `user` asks; `version` changes with the words."""

    name: str
    version: str
    system: str
    user: str


@dataclass(frozen=True)
class FactsBlock:
    """Facts a text may use, sent as lines of `key: value`."""

    title: str
    facts: FactBook


@dataclass(frozen=True)
class ChoicesBlock:
    """What may be chosen, by ids of our own making (k, c1, a2), each with its facts."""

    title: str
    choices: Mapping[str, FactBook]


@dataclass(frozen=True)
class NotesBlock:
    """Sentences of this project, or of an earlier answer of a model; never text from the data."""

    title: str
    notes: tuple[str, ...]


Block = FactsBlock | ChoicesBlock | NotesBlock


@dataclass(frozen=True)
class Task(Generic[A]):
    """One thing to be answered.

    `name` is the kind of task and `item` what it is about ("taste T1"), for the ledger and for messages. `check`
    returns everything wrong with an answer; an empty list accepts it. `fallback` is the embedded writer's answer,
    which must pass `check` too. `customers`: how many people it is about; under the minimum cell it is not sent and
    the embedded writer answers, which is no degradation. None where it is about no group of people.
    """

    name: str
    item: str
    prompt: Prompt
    blocks: tuple[Block, ...]
    answer_type: type[A]
    check: Callable[[A], list[Finding]]
    fallback: Callable[[], A]
    customers: int | None = None
    output_tokens: int = 1200


#: How an attempt, or the decision to make none, ended.
#: accepted, rejected: a reply arrived and passed or did not pass the checks. malformed: a reply that is no JSON of the
#: type asked for. truncated, empty: as they say. sent: asked, and the process ended before the reply was stored.
#: timeout, unreachable, server_error, rate_limited, bad_reply (not the protocol): outages. blocked: the privacy wall.
#: over_budget, out_of_time, given_up (the server failed too often): not asked.
CallStatus = Literal[
    "sent", "accepted", "rejected", "malformed", "truncated", "empty", "timeout", "unreachable", "server_error",
    "rate_limited", "bad_reply", "blocked", "over_budget", "out_of_time", "given_up",
]  # fmt: skip
#: A reply is there: asked again, the same request has the same answer.
ANSWERED: frozenset[str] = frozenset({"accepted", "rejected", "malformed", "truncated", "empty"})


@dataclass(frozen=True)
class Request:
    """What goes over the wire: messages of `role` and `content`, the JSON schema of the answer, and the deadline."""

    messages: tuple[Mapping[str, str], ...]
    schema_name: str
    schema: Mapping[str, Any]
    output_tokens: int
    seconds: float


@dataclass(frozen=True)
class Reply:
    """What came back. Token counts are None where the server does not say; `is_truncated` at the limit of tokens."""

    text: str
    model: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    is_truncated: bool = False


class OutageError(RuntimeError):
    """The server did not answer usefully. `status` is a CallStatus; `retry_after` seconds, when the server says."""

    def __init__(
        self, status: CallStatus, message: str, *, is_retryable: bool = True, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status: CallStatus = status
        self.is_retryable = is_retryable
        self.retry_after = retry_after


class LanguageConfigurationError(ValueError):
    """The provider cannot work as it is set: the message says which setting, and what to set."""


class PrivacyWallError(RuntimeError):
    """Something personal was about to leave; the message names the kind of thing and never the thing."""


class Provider(Protocol):
    """Somebody who answers one request once; retries, ledger and limits are the desk's."""

    name: str
    model: str

    async def ask(self, request: Request) -> Reply:
        """The reply; OutageError, LanguageConfigurationError or PrivacyWallError otherwise."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


@dataclass(frozen=True)
class Call:
    """A row of the ledger: one attempt, or the decision to make none. Tokens and cost may be estimates."""

    request_key: str
    run_id: str
    task: str
    item: str
    prompt_version: str
    answer_version: str
    provider: str
    model_asked: str
    turn: int
    attempt: int
    status: CallStatus
    messages: tuple[Mapping[str, str], ...] = ()
    model_answered: str = ""
    answer: str = ""
    error: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    is_estimated: bool = False
    cost_amount: Decimal | None = None
    latency_seconds: float = 0.0
    is_cache_hit: bool = False
    call_id: int = 0


@dataclass(frozen=True)
class Spent:
    """What a run has used so far: calls that went out, tokens, money."""

    calls: int = 0
    tokens: int = 0
    cost_amount: Decimal = Decimal(0)


class Ledger(Protocol):
    """Where calls are written, each in a transaction of its own."""

    def open_call(self, call: Call) -> int:
        """Write a call, `sent` with its estimated cost or one that is not made; returns its id."""
        ...

    def close_call(self, call_id: int, call: Call) -> None:
        """Replace it by how it ended."""
        ...

    def last_call(self, request_key: str) -> Call | None:
        """The newest call of this request that ended (not `sent`), with its answer; None when there is none."""
        ...

    def spent(self, run_id: str) -> Spent:
        """What this run has used; a call still `sent` counts by its estimate, a cache hit not at all."""
        ...


@dataclass(frozen=True)
class Price:
    """Money per million tokens, in US dollars."""

    input_amount: Decimal
    output_amount: Decimal


@dataclass(frozen=True)
class Policy:
    """The limits of a run. `cost_per_run` in US dollars, None for no limit; a limit of 0 makes no call at all."""

    minimum_cell: int = 50
    call_seconds: float = 60.0
    asset_seconds: float = 600.0
    calls_per_run: int = 400
    tokens_per_run: int = 600_000
    cost_per_run: Decimal | None = None
    price: Price | None = None
    concurrency: int = 4
    retries: int = 2
    longest_wait_seconds: float = 30.0
    repairs: int = 2
    outages_to_give_up: int = 3
    on_outage: Literal["embedded", "fail"] = "embedded"


@dataclass(frozen=True)
class Outcome(Generic[A]):
    """An answer that passed its checks, and who wrote it.

    `written_by` is the model's name or `embedded`. `is_degraded`: a model was to write and the embedded writer did.
    `status` of the last call, empty where none was to be made; `problem` says why it is degraded.
    """

    answer: A
    written_by: str = EMBEDDED
    is_degraded: bool = False
    status: str = ""
    problem: str = ""
    calls: tuple[str, ...] = field(default=())
