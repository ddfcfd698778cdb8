"""What a server can do, asked once: the form of answers, the names of parameters, the models it serves.

What belongs here: the questions. What does not: remembering the answers, which is the caller's, and asking for real
(`openai_server`).

Servers differ: models that reason refuse `max_tokens` and `temperature`, some servers read only `max_tokens`, some
answer a JSON schema with HTTP 500, and some take it and ignore it. So it is tried out, on a question whose answer is
JSON only where the schema is obeyed.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from segmentation_assets.language.answers import Answer
from segmentation_assets.language.providers.attempt import (
    Capabilities,
    RefusedRequestError,
    Server,
    ServerFailureError,
    UnknownModelError,
    attempt,
    problem_of_connection,
    problem_of_status,
    timed_out,
    usual_capabilities,
)
from segmentation_assets.language.providers.guarded_transport import Wall, guarded_client
from segmentation_assets.language.providers.wire import json_schema_of, parse_answer
from segmentation_assets.language.task import LanguageConfigurationError, OutageError, Reply, Request

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["Capabilities", "choose_model", "models_of", "probe", "usual_capabilities", "with_models_served"]

#: Room for a model that thinks before it answers.
_PROBE_TOKENS = 300
#: Most models named in a message.
_MOST_NAMED = 20


class ProbeAnswer(Answer):
    """Short whatever the model: one of two words."""

    colour: Literal["blue", "green"]


async def probe(
    base_url: str,
    model: str,
    key: str = "",
    *,
    key_variable: str = "",
    wall: Wall | None = None,
    seconds: float = 30.0,
) -> Capabilities:
    """What `model` at `base_url` can do; `seconds` is the deadline of all questions together (at most six).

    OutageError when the server does not answer, LanguageConfigurationError when it never will.
    """
    server = Server(base_url, key, key_variable)
    client = guarded_client(base_url, key, wall)
    deadline = asyncio.get_running_loop().time() + seconds
    try:
        return await _probe(client, server, model, deadline)
    except UnknownModelError as error:
        raise await with_models_served(error, client, server, model, _left(deadline)) from None
    finally:
        await client.close()


async def _probe(client: AsyncOpenAI, server: Server, model: str, deadline: float) -> Capabilities:
    # A model that takes a temperature is asked for its likeliest words: whether it does is worth a question.
    can = replace(usual_capabilities(server.base_url), takes_temperature=True)
    changed: set[str] = set()
    while True:
        try:
            reply = await attempt(client, server, model, _question(can, _left(deadline)), can)
        except RefusedRequestError as error:
            adapted = _adapted(can, error.server_message, changed)
            if adapted is None:
                raise
            can = adapted
            continue
        except ServerFailureError as error:
            # 500 and 501 to a form of answer are how some servers say that they do not know it; 502 and more are not.
            if error.code not in {500, 501} or can.mode == "text":
                raise
            can = _weaker(can)
            continue
        if can.mode == "text" or _obeyed(reply, can):
            return can
        can = _weaker(can)


def _adapted(can: Capabilities, said: str, changed: set[str]) -> Capabilities | None:
    """Capabilities without what the server refused; None when there is nothing left to give up.

    `changed`: parameters given up so far, each once.
    """
    named = re.search(r"(?i)max_(?:completion_)?tokens|temperature", said)
    parameter = "temperature" if named and named.group().lower() == "temperature" else "limit"
    if named and parameter not in changed:
        changed.add(parameter)
        if parameter == "temperature":
            return replace(can, takes_temperature=False)
        if can.limit_name == "max_tokens":
            return replace(can, limit_name="max_completion_tokens")
        return replace(can, limit_name="max_tokens")
    return None if can.mode == "text" else _weaker(can)


def _weaker(can: Capabilities) -> Capabilities:
    return replace(can, mode="json_object" if can.mode == "json_schema" else "text")


def _question(can: Capabilities, seconds: float) -> Request:
    # Without the word JSON where the schema alone must do it; with it where the protocol demands the word.
    asked = "Which colour has the sky on a clear day?" + ("" if can.mode == "json_schema" else " Answer in JSON.")
    return Request(
        messages=({"role": "system", "content": "You answer briefly."}, {"role": "user", "content": asked}),
        schema_name="ProbeAnswer",
        schema=json_schema_of(ProbeAnswer),
        output_tokens=_PROBE_TOKENS,
        seconds=seconds,
    )


def _obeyed(reply: Reply, can: Capabilities) -> bool:
    """Whether the reply has the form asked for; a reply that thinking used up took the form without a complaint."""
    if not reply.text.strip():
        return True
    if can.mode == "json_schema":
        return parse_answer(reply.text, ProbeAnswer)[0] is not None
    try:
        return isinstance(json.loads(reply.text), dict)
    except (ValueError, RecursionError):
        return False


async def models_of(
    base_url: str, key: str = "", *, key_variable: str = "", wall: Wall | None = None, seconds: float = 5.0
) -> list[str]:
    """Ids of the models served, sorted. OutageError or LanguageConfigurationError when the server does not say."""
    client = guarded_client(base_url, key, wall)
    try:
        return await _models(client, Server(base_url, key, key_variable), seconds)
    finally:
        await client.close()


async def _models(client: AsyncOpenAI, server: Server, seconds: float) -> list[str]:
    import openai

    try:
        async with asyncio.timeout(seconds):
            raw = await client.models.with_raw_response.list()
            body = raw.http_response.content
    except TimeoutError:
        raise timed_out(server, seconds) from None
    except openai.APIStatusError as error:
        raise problem_of_status(error.response, server, "") from None
    except openai.APIConnectionError as error:
        raise problem_of_connection(error.__cause__, server) from None
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    served = content.get("data") if isinstance(content, dict) else None
    if not isinstance(served, list):
        raise OutageError("bad_reply", f"{server.address} answered with no list of models.")
    ids = (item.get("id") for item in served if isinstance(item, dict))
    return sorted({model for model in ids if isinstance(model, str) and model})


async def with_models_served(
    error: UnknownModelError, client: AsyncOpenAI, server: Server, model: str, seconds: float
) -> LanguageConfigurationError:
    """The error with the models that the server does serve, where it says so within `seconds`."""
    try:
        served = await _models(client, server, seconds)
    except (OutageError, LanguageConfigurationError):
        return error
    if not served or model in served:
        return error
    return LanguageConfigurationError(
        f'language.model: {server.address} does not serve "{model}". Set one of those it serves: {_named(served)}.'
    )


def choose_model(wanted: str, served: Sequence[str]) -> str:
    """The model asked for, or the only one served. LanguageConfigurationError naming those served otherwise.

    A model that was asked for is taken at its word: servers know further names for what they list.
    """
    if wanted:
        return wanted
    if len(served) == 1:
        return served[0]
    if not served:
        raise LanguageConfigurationError("language.model is empty and the server lists no models: set its name.")
    raise LanguageConfigurationError(
        f"language.model is empty and the server has {len(served)} models: set one of {_named(served)}."
    )


def _named(served: Sequence[str]) -> str:
    names = ", ".join("".join(c for c in model[:80] if c.isprintable()) for model in served[:_MOST_NAMED])
    return names + (f" and {len(served) - _MOST_NAMED} more" if len(served) > _MOST_NAMED else "")


def _left(deadline: float) -> float:
    return max(0.0, deadline - asyncio.get_running_loop().time())
