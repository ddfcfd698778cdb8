"""One attempt at one request: its arguments out, its reply in, and what went wrong in our words.

What belongs here: the OpenAI protocol as servers really speak it. What does not: trying again (`language.desk`),
finding out what a server can do (`probe`), and reading the answer in a reply (`wire`).

No message made here holds a key, a prompt or a body: of what a server says, only the text of an error that refuses a
parameter is kept, shortened, with the key and the lines of the prompt masked.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

import httpx2

from segmentation_assets.language.providers.guarded_transport import shown_address
from segmentation_assets.language.task import LanguageConfigurationError, OutageError, Reply, Request

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Mode = Literal["json_schema", "json_object", "text"]
LimitName = Literal["max_completion_tokens", "max_tokens"]

#: Most characters of a server's own message in ours.
_LONGEST_SERVER_MESSAGE = 200
#: Lines of a prompt shorter than this are words that an error may use by itself.
_SHORTEST_MASKED_LINE = 12
#: A wait that is no wait any more: seconds of a day.
_LONGEST_RETRY_AFTER = 86_400.0

#: What servers say of one prompt that they do not take; the next may be fine, so it is no mistake of the settings.
_ITEM_REFUSED = re.compile(
    r"(?i)context[ _-]?(?:length|size|window)|exceed_context|too (?:long|large)|content[_ ](?:filter|policy)"
)
_MODEL_UNKNOWN = re.compile(r"(?i)model[_ ]not[_ ]found|model\b.{0,80}\b(?:not found|does not exist|not exist|unknown)")
#: 429 for which no wait helps.
_OUT_OF_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})


@dataclass(frozen=True)
class Capabilities:
    """What a server and model can do: how an answer's form is asked for, and which parameters they take."""

    mode: Mode = "json_schema"
    limit_name: LimitName = "max_tokens"
    takes_temperature: bool = True

    def to_json(self) -> dict[str, Any]:
        """As plain data, to be remembered."""
        return {"mode": self.mode, "limit_name": self.limit_name, "takes_temperature": self.takes_temperature}

    @staticmethod
    def from_json(remembered: Mapping[str, Any]) -> Capabilities | None:
        """What was remembered; None when it is of another version, and so to be probed again."""
        modes: tuple[Mode, ...] = get_args(Mode)
        limit_names: tuple[LimitName, ...] = get_args(LimitName)
        mode = next((mode for mode in modes if mode == remembered.get("mode")), None)
        limit_name = next((name for name in limit_names if name == remembered.get("limit_name")), None)
        takes_temperature = remembered.get("takes_temperature")
        if mode is None or limit_name is None or not isinstance(takes_temperature, bool):
            return None
        return Capabilities(mode, limit_name, takes_temperature)


def usual_capabilities(base_url: str) -> Capabilities:
    """What to take a server for that could not be probed: at OpenAI the parameters that every model takes."""
    if httpx2.URL(base_url).host.endswith(".openai.com"):
        return Capabilities("json_schema", "max_completion_tokens", takes_temperature=False)
    # The older name: servers that know only that one ignore the other, and never stop.
    return Capabilities("json_schema", "max_tokens", takes_temperature=True)


@dataclass(frozen=True)
class Server:
    """Where a request goes, for messages: the address, the key to mask and the variable it came from."""

    base_url: str
    key: str = ""
    key_variable: str = ""

    @property
    def address(self) -> str:
        """The address without user info."""
        return shown_address(self.base_url)


class RefusedRequestError(LanguageConfigurationError):
    """The server refuses a parameter; `server_message` says which, masked and shortened."""

    def __init__(self, message: str, server_message: str) -> None:
        super().__init__(message)
        self.server_message = server_message


class UnknownModelError(LanguageConfigurationError):
    """The server does not know the model, or the path."""


class ServerFailureError(OutageError):
    """HTTP 5xx: `code` tells a server that fails from one that cannot do what it is asked."""

    def __init__(self, message: str, code: int, retry_after: float | None) -> None:
        super().__init__("server_error", message, is_retryable=code != 501, retry_after=retry_after)
        self.code = code


async def attempt(
    client: AsyncOpenAI, server: Server, model: str, request: Request, capabilities: Capabilities
) -> Reply:
    """One HTTP request, ended after `request.seconds` whatever the server does.

    Raises OutageError, LanguageConfigurationError (RefusedRequestError, UnknownModelError) or PrivacyWallError.
    """
    import openai

    try:
        # The SDK's own timeout is per socket operation: a server that drips would hold the call for ever.
        async with asyncio.timeout(request.seconds):
            raw = await client.chat.completions.with_raw_response.create(
                **request_arguments(model, request, capabilities)
            )
            body = raw.http_response.content
    except TimeoutError:
        raise timed_out(server, request.seconds) from None
    except openai.APIStatusError as error:
        raise problem_of_status(
            error.response, server, model, (message["content"] for message in request.messages)
        ) from None
    except openai.APIConnectionError as error:
        raise problem_of_connection(error.__cause__, server) from None
    return reply_of(body, server, model)


# --- out ---


def request_arguments(model: str, request: Request, capabilities: Capabilities) -> dict[str, Any]:
    """Arguments of `chat.completions.create`; where the server takes no schema, the messages say it in words."""
    messages = [dict(message) for message in request.messages]
    arguments: dict[str, Any] = {"model": model, capabilities.limit_name: request.output_tokens}
    if capabilities.takes_temperature:
        arguments["temperature"] = 0
    if capabilities.mode == "json_schema":
        name = re.sub(r"[^A-Za-z0-9_-]", "_", request.schema_name)[:64] or "answer"
        form = {"name": name, "schema": dict(request.schema), "strict": True}
        arguments["response_format"] = {"type": "json_schema", "json_schema": form}
    else:
        if capabilities.mode == "json_object":
            arguments["response_format"] = {"type": "json_object"}
        schema = json.dumps(request.schema, ensure_ascii=False)
        said = f"Answer with one JSON object of this JSON schema, and with nothing else:\n{schema}"
        if messages and messages[0]["role"] == "system":
            messages[0]["content"] += f"\n\n{said}"
        else:
            messages.insert(0, {"role": "system", "content": said})
    return arguments | {"messages": messages}


# --- back ---


def reply_of(body: bytes, server: Server, model: str) -> Reply:
    """The reply in a body; no choice at all is an empty text. OutageError for what is not the protocol."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        kind = "a web page" if body.lstrip()[:1] == b"<" else "something that is no JSON"
        raise OutageError("bad_reply", f"{server.address} answered with {kind}.") from None
    choices = content.get("choices") if isinstance(content, dict) else None
    if not isinstance(choices, list):
        raise OutageError("bad_reply", f"{server.address} answered with JSON that is no chat completion.")
    first = choices[0] if choices else {"message": {"content": None}}
    message = first.get("message") if isinstance(first, dict) else None
    text = _text_of(message.get("content")) if isinstance(message, dict) else None
    if text is None:
        raise OutageError("bad_reply", f"{server.address} answered with a choice that holds no message.")
    usage = content.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    answered = content.get("model")
    return Reply(
        text=text,
        model=answered if isinstance(answered, str) and answered else model,
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        is_truncated=first.get("finish_reason") == "length",
    )


def _text_of(content: object) -> str | None:
    """The text of a message: a text, no text (a refusal), or a list of parts; None for anything else."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


# --- what went wrong ---


def timed_out(server: Server, seconds: float) -> OutageError:
    """The deadline passed."""
    return OutageError("timeout", f"{server.address} did not answer within {seconds:g} s.")


def problem_of_connection(cause: BaseException | None, server: Server) -> OutageError:
    """A request without a response: nobody there, or somebody who does not speak HTTP to the end."""
    if isinstance(cause, (httpx2.ProtocolError, httpx2.ReadError, httpx2.DecodingError)):
        return OutageError("bad_reply", f"{server.address} broke off its reply or does not speak HTTP.")
    return OutageError("unreachable", f"{server.address} cannot be reached.")


def problem_of_status(
    response: httpx2.Response, server: Server, model: str, contents: Iterable[str] = ()
) -> OutageError | LanguageConfigurationError:
    """What an HTTP status other than 2xx means. `contents`: of the messages sent, to be masked in what comes back."""
    code = response.status_code
    said, error_code = _said_by(response)
    if code in {401, 403}:
        return _key_problem(server, code)
    if code == 404 or (code == 400 and _MODEL_UNKNOWN.search(f"{error_code} {said}")):
        return UnknownModelError(
            f'{server.address} does not know the model "{model}", or is no OpenAI-compatible address (HTTP {code}): '
            "check language.model, and language.base_url, which usually ends in /v1."
        )
    if code in {402, 429}:
        if code == 402 or error_code in _OUT_OF_CREDIT:
            return OutageError(
                "rate_limited", f"{server.address} says that the account has no credit left.", is_retryable=False
            )
        return OutageError(
            "rate_limited", f"{server.address} asks for fewer requests (HTTP 429).", retry_after=retry_after(response)
        )
    if code >= 500:
        return ServerFailureError(f"{server.address} failed (HTTP {code}).", code, retry_after(response))
    if code < 400:
        return OutageError(
            "bad_reply",
            f"{server.address} sends requests on to another address (HTTP {code}), which are not followed: set "
            "language.base_url to the address that answers itself.",
            is_retryable=False,
        )
    if code in {408, 409, 425}:
        return OutageError("server_error", f"{server.address} was not ready (HTTP {code}).")
    if code == 413 or _ITEM_REFUSED.search(f"{error_code} {said}"):
        return OutageError(
            "bad_reply", f"{server.address} does not take this prompt: too long, or filtered.", is_retryable=False
        )
    masked = _masked(said, server.key, contents)
    return RefusedRequestError(
        f'{server.address} refuses the request of model "{model}" (HTTP {code})'
        + (f': "{masked}". ' if masked else ". ")
        + "Set language.model to a model that takes chat completions, or language.provider to another server.",
        masked,
    )


def _key_problem(server: Server, code: int) -> LanguageConfigurationError:
    if server.key and server.key_variable:
        remedy = f"set the environment variable {server.key_variable} to a key of this server"
    elif server.key:
        remedy = "set the environment variable of its key to a valid one"
    else:
        remedy = "set its key in an environment variable, and language.key_variable to that variable's name"
    return LanguageConfigurationError(
        f"{server.address} does not accept {'the key' if server.key else 'requests without a key'} "
        f"(HTTP {code}): {remedy}."
    )


def _said_by(response: httpx2.Response) -> tuple[str, str]:
    """Message and code of an error in the protocol's form; empty where it has another."""
    try:
        content = json.loads(response.content)
    except (ValueError, RecursionError):
        return "", ""
    error = content.get("error", content) if isinstance(content, dict) else None
    if isinstance(error, str):
        return error, ""
    if not isinstance(error, dict):
        return "", ""
    message = error.get("message", error.get("detail", ""))
    code = error.get("code") or error.get("type") or ""
    return message if isinstance(message, str) else "", code if isinstance(code, str) else ""


def _masked(said: str, key: str, contents: Iterable[str]) -> str:
    """A server's message on one line, shortened; the key and any line of the prompt in it are replaced by `***`."""
    secrets = {key} if key else set()
    for content in contents:
        secrets |= {line.strip() for line in content.splitlines() if len(line.strip()) >= _SHORTEST_MASKED_LINE}
    for secret in sorted(secrets, key=lambda secret: (-len(secret), secret)):
        said = said.replace(secret, "***")
    # Servers show a wrong key with stars in it.
    said = re.sub(r"\bsk-[\w*-]+", "***", said)
    line = " ".join("".join(character if character.isprintable() else " " for character in said).split())
    return line if len(line) <= _LONGEST_SERVER_MESSAGE else line[: _LONGEST_SERVER_MESSAGE - 1] + "…"


def retry_after(response: httpx2.Response) -> float | None:
    """Seconds to wait, from `Retry-After` as seconds or as a date (RFC 9110, 10.2.3); None when it says nothing.

    A date counts from the server's own `Date`, so that the clocks need not agree. Never more than a day.
    """
    for header, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(response.headers.get(header, "")) / divisor
        except ValueError:
            continue
        return None if math.isnan(seconds) else min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)
    try:
        until = parsedate_to_datetime(response.headers.get("retry-after", ""))
        now = parsedate_to_datetime(response.headers.get("date", ""))
        seconds = (until - now).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)
