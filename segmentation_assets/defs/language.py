"""Stage language: the desk that steps ask, and the ledger of its calls as tables."""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import dagster as dg
import polars as pl

from segmentation_assets.language.desk import Desk
from segmentation_assets.language.privacy_wall import KnownValues, PrivacyWall
from segmentation_assets.language.providers.choice import (
    REPLAY,
    ProviderChoice,
    choose_provider,
    shown_url,
)
from segmentation_assets.language.providers.openai_server import OpenAIServer
from segmentation_assets.language.providers.probe import (
    Capabilities,
    choose_model,
    models_of,
    probe,
    usual_capabilities,
)
from segmentation_assets.language.task import (
    EMBEDDED,
    LanguageConfigurationError,
    OutageError,
    Outcome,
    Policy,
    Price,
)
from segmentation_assets.orchestration.table_steps import Computed, TableDeclaration, computed_tables
from segmentation_assets.orchestration.warehouse import Warehouse
from segmentation_assets.settings import Home, LanguageSettings
from segmentation_assets.sources.personal_values import known_personal_values
from segmentation_assets.state.ledger import MODEL_CALL_SCHEMA, StateLedger, calls_frame, run_totals
from segmentation_assets.state.store import open_state
from segmentation_assets.warehouse.connection import Engine, connect

_CALL_NOTES = {
    "call_id": "Number of the call in the order they were made.",
    "run_id": "Run of Dagster that asked.",
    "called_at": "When, UTC.",
    "task": "Kind of task.",
    "item": "What the task was about.",
    "turn": "0 is the first request; each later one sends an answer back with what is wrong with it.",
    "attempt": "0 is the first attempt; each later one follows an outage.",
    "status": "How it ended: accepted, rejected, malformed, truncated or empty where a reply came; an outage; or not "
    "asked (blocked, over_budget, out_of_time, given_up).",
    "is_cache_hit": "The same request had an answer already: nothing was asked, and it cost nothing.",
    "provider": "openai or openai_compatible.",
    "model_asked": "Model that was asked for.",
    "model_answered": "Model that the server says answered.",
    "input_tokens": "Tokens sent.",
    "output_tokens": "Tokens received.",
    "is_estimated": "Tokens are our estimate: the server did not say.",
    "cost_amount": "US dollars by language.prices; null without a price.",
    "latency_seconds": "Seconds from request to reply.",
    "request_key": "Hash of everything that makes the request what it is.",
    "prompt_version": "Version of the prompt file.",
    "answer_version": "Version of the answer's form.",
    "messages": "What was sent, as JSON.",
    "answer": "What came back.",
    "error": "What was wrong.",
}
_SPENDING_SCHEMA: dict[str, Any] = {
    "run_id": pl.String, "calls": pl.Int64, "tokens": pl.Int64, "cost_amount": pl.Decimal(18, 6),
    "calls_limit": pl.Int64, "tokens_limit": pl.Int64, "cost_limit_amount": pl.Decimal(18, 6),
}  # fmt: skip
_SPENDING_NOTES = {
    "run_id": "Run of Dagster that asked.",
    "calls": "Calls that went out.",
    "tokens": "Tokens sent and received; estimates where the server did not say.",
    "cost_amount": "US dollars by language.prices.",
    "calls_limit": "Most calls allowed to the newest run; null for earlier ones.",
    "tokens_limit": "Most tokens allowed to the newest run; null for earlier ones.",
    "cost_limit_amount": "Most US dollars allowed to the newest run; null for earlier ones and without a limit.",
}
_SQL_TYPES: dict[Any, str] = {
    pl.String: "VARCHAR", pl.Int64: "BIGINT", pl.Boolean: "BOOLEAN", pl.Float64: "DOUBLE",
}  # fmt: skip


def policy_of(settings: LanguageSettings, minimum_cell: int, model: str = "") -> Policy:
    """The settings as the desk takes them."""
    price = settings.prices.get(model)
    return Policy(
        minimum_cell=minimum_cell,
        call_seconds=settings.call_seconds,
        asset_seconds=settings.asset_seconds,
        calls_per_run=settings.calls_per_run,
        tokens_per_run=settings.tokens_per_run,
        cost_per_run=settings.cost_per_run,
        price=Price(price.input, price.output) if price else None,
        concurrency=settings.concurrency,
        retries=settings.retries,
        longest_wait_seconds=settings.longest_wait_seconds,
        repairs=settings.repairs,
        on_outage=settings.on_outage,
    )


def provider_choice(settings: LanguageSettings) -> ProviderChoice:
    """Who answers by these settings; dg.Failure with the sentence when that cannot work."""
    try:
        return choose_provider(
            settings.provider, settings.model, settings.base_url, settings.key_variable, dict(os.environ)
        )
    except LanguageConfigurationError as error:
        raise dg.Failure(str(error), allow_retries=False) from None


@contextmanager
def open_desk(context: dg.AssetExecutionContext, warehouse: Warehouse, task: str) -> Iterator[Desk]:
    """The desk for tasks of one kind: by the settings a model, a recorded run, or the embedded writer.

    Where a model is asked, the personal values of the shop are read once a run, to be looked for in what goes out.
    A wrong setting and, by setting, an outage end the step with a sentence.
    """
    settings = warehouse.settings.language
    choice = provider_choice(settings)
    minimum_cell = warehouse.settings.privacy.minimum_cell
    if choice.name == EMBEDDED or task not in settings.tasks:
        yield Desk(None, None, policy_of(settings, minimum_cell), context.run.run_id)
        return
    try:
        with open_state(warehouse.place.state) as state:
            yield _desk(context, warehouse, choice, StateLedger(state), task)
    except LanguageConfigurationError as error:
        raise dg.Failure(str(error), allow_retries=False) from None


def _desk(
    context: dg.AssetExecutionContext, warehouse: Warehouse, choice: ProviderChoice, ledger: StateLedger, task: str
) -> Desk:
    """The desk of a model, or of a recorded run."""
    settings, minimum_cell = warehouse.settings.language, warehouse.settings.privacy.minimum_cell
    run_id = context.run.run_id
    with warehouse.get_connection(read_only=True) as con:
        all_customers = int(con.execute("select count(*) from clean.customers").fetchall()[0][0])
    if choice.name == REPLAY:
        recorded = ledger.last_provider()
        if recorded is None:  # the embedded writer did all, and does it again
            return Desk(None, None, policy_of(settings, minimum_cell), run_id)
        return Desk(
            None, ledger, policy_of(settings, minimum_cell, recorded[1]), run_id,
            all_customers=all_customers, is_replay=True, replay_of=recorded, on_event=context.log.warning,
        )  # fmt: skip
    wall = _wall(warehouse)
    model, capabilities = asyncio.run(_server(choice, ledger, wall, settings.call_seconds))
    context.log.info(f"{task}: {model} at {shown_url(choice.base_url)} is asked. {choice.reason}")
    provider = OpenAIServer(
        choice.name, model, choice.base_url, _key(choice), capabilities, wall=wall, key_variable=choice.key_variable
    )  # fmt: skip
    return Desk(
        provider, ledger, policy_of(settings, minimum_cell, model), run_id,
        all_customers=all_customers, wall=wall, on_event=context.log.warning,
        is_server_down=_is_down(choice, ledger, run_id),
    )  # fmt: skip


def _key(choice: ProviderChoice) -> str:
    return os.environ.get(choice.key_variable, "").strip() if choice.key_variable else ""


#: A server that was given up in this run is asked once more, this briefly, before the next step gives it up too.
_SECOND_CHANCE_SECONDS = 5.0


def _is_down(choice: ProviderChoice, ledger: StateLedger, run_id: str) -> bool:
    """Whether an earlier step of this run gave the server up, and it still does not answer."""
    if all(call.status != "given_up" for call in ledger.all_calls(run_id)):
        return False
    try:
        asyncio.run(
            models_of(
                choice.base_url, _key(choice), key_variable=choice.key_variable, seconds=_SECOND_CHANCE_SECONDS
            )
        )  # fmt: skip
    except OutageError:
        return True
    return False


async def _server(
    choice: ProviderChoice, ledger: StateLedger, wall: PrivacyWall, seconds: float
) -> tuple[str, Capabilities]:
    """The model to ask for and what its server can do, asked once per server and then remembered.

    A server that does not answer now is taken at its usual: the desk finds out, and writes it down.
    """
    key = _key(choice)
    try:
        model = choice.model or choose_model(
            "", await models_of(choice.base_url, key, key_variable=choice.key_variable, wall=wall, seconds=seconds)
        )
        known = Capabilities.from_json(ledger.capabilities(choice.base_url, model) or {})
        if known is not None:
            return model, known
        found = await probe(
            choice.base_url, model, key, key_variable=choice.key_variable, wall=wall, seconds=2 * seconds
        )
    except OutageError:
        return choice.model or "unknown", usual_capabilities(choice.base_url)
    ledger.remember_capabilities(choice.base_url, model, found.to_json())
    return model, found


def _wall(warehouse: Warehouse) -> PrivacyWall:
    """The second wall, with the personal values of this shop."""
    people = warehouse.place.people
    return PrivacyWall(_known_values(warehouse.place, people.stat().st_mtime_ns, warehouse.settings.engine_limits()))


@lru_cache(maxsize=1)
def _known_values(place: Home, changed_at: int, engine: Engine) -> KnownValues:
    """Hashes of what must not leave; kept for the run, because every step that asks a model needs them."""
    with connect(place.warehouse, read_only=True, people=place.people, engine=engine) as con:
        return known_personal_values(con)


def told(outcomes: Sequence[Outcome[Any]]) -> dict[str, Any]:
    """Who wrote, as metadata of an asset."""
    writers = sorted({outcome.written_by for outcome in outcomes})
    problems = [f"- {outcome.status}: {outcome.problem}" for outcome in outcomes if outcome.is_degraded]
    return {
        "written_by": ", ".join(writers) or EMBEDDED,
        "degraded_items": len(problems),
        **({"problems": dg.MetadataValue.md("\n".join(problems[:20]))} if problems else {}),
    }


def set_aside_told(sentences: Sequence[str]) -> dict[str, Any]:
    """Edits that could not be applied, as metadata of an asset."""
    return {"edits_set_aside": dg.MetadataValue.md("\n".join(f"- {line}" for line in sentences))} if sentences else {}


_ASKED = (
    "segments/stage_model", "segments/taste_model", "segments/stage_choice", "segments/taste_choice",
    "profiles/segment_profiles", "profiles/audiences", "campaigns/match_choices", "campaigns/email_drafts",
)  # fmt: skip


@computed_tables(
    "language",
    TableDeclaration(
        "language/model_calls",
        "The ledger: every call of a language model, and every decision not to make one. Empty where the embedded "
        "writer did all.\n\nGrain: call_id",
        types={name: _SQL_TYPES.get(kind, "DECIMAL(18,6)") for name, kind in MODEL_CALL_SCHEMA.items()}
        | {"called_at": "TIMESTAMP"},
        texts=_CALL_NOTES,
        deps=_ASKED,
    ),
    TableDeclaration(
        "language/run_spending",
        "What each run used of its calls, tokens and money.\n\nGrain: run_id",
        types={name: _SQL_TYPES.get(kind, "DECIMAL(18,6)") for name, kind in _SPENDING_SCHEMA.items()},
        texts=_SPENDING_NOTES,
        deps=_ASKED,
    ),
    name="language__ledger",
)
def ledger(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Mapping[str, Computed]:
    """A copy of the ledger in the state store."""
    settings = warehouse.settings.language
    with open_state(warehouse.place.state) as state:
        calls, totals = calls_frame(state), run_totals(state)
    limits = (settings.calls_per_run, settings.tokens_per_run, settings.cost_per_run)
    rows = [
        (total.run_id, total.calls, total.tokens, total.cost_amount, *(limits if total is totals[-1] else (None,) * 3))
        for total in totals
    ]
    spending = pl.DataFrame(rows, schema=_SPENDING_SCHEMA, orient="row")
    own = [total for total in totals if total.run_id == context.run.run_id]
    facts = {"calls_of_this_run": own[0].calls, "cost_of_this_run": f"{own[0].cost_amount} USD"} if own else {}
    return {"language/model_calls": Computed(calls, facts), "language/run_spending": Computed(spending)}
