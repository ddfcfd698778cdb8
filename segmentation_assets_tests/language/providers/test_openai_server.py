"""A provider over real HTTP: each way a server can fail ends in its status, within the deadline."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from segmentation_assets.language.providers.attempt import Capabilities, RefusedRequestError
from segmentation_assets.language.providers.openai_server import OpenAIServer
from segmentation_assets.language.task import LanguageConfigurationError, OutageError, PrivacyWallError, Reply, Request
from segmentation_assets_tests.language.providers.broken_servers import (
    Behaviour,
    BrokenServer,
    completion,
    drip,
    hang_up,
    http,
    in_turn,
    pour,
    sends,
    silence,
)

Start = Callable[[Behaviour], BrokenServer]

SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string"}},
    "required": ["colour"],
    "additionalProperties": False,
}
PROMPT = "Customers of the segment Lapsing Coffee, in words."
DEADLINE = 0.3


def request(seconds: float = DEADLINE, content: str = PROMPT) -> Request:
    messages = ({"role": "system", "content": "You write."}, {"role": "user", "content": content})
    return Request(messages, "ColourAnswer", SCHEMA, output_tokens=50, seconds=seconds)


def ask(base_url: str, wanted: Request | None = None, **options: Any) -> Reply:
    provider = OpenAIServer("openai_compatible", "asked-model", base_url, **options)

    async def once() -> Reply:
        try:
            return await provider.ask(wanted or request())
        finally:
            await provider.close()

    return asyncio.run(once())


def outage(base_url: str, **options: Any) -> OutageError:
    begun = time.monotonic()
    with pytest.raises(OutageError) as raised:
        ask(base_url, **options)
    assert time.monotonic() - begun < 2
    return raised.value


# --- replies ---


def test_reply_carries_text_model_and_tokens(broken_server: Start) -> None:
    server = broken_server(sends(http(completion('{"colour": "blue"}'))))
    assert ask(server.base_url) == Reply('{"colour": "blue"}', "answering-model", 11, 7)


def test_usage_that_is_missing_is_none_and_not_zero(broken_server: Start) -> None:
    server = broken_server(
        sends(
            http(completion("{}", usage=None)),
            http(completion("{}", usage={"prompt_tokens": -1, "completion_tokens": "7"})),
            http(completion("{}", usage="much", model=None)),
        )
    )
    assert ask(server.base_url) == Reply("{}", "answering-model", None, None)
    assert ask(server.base_url) == Reply("{}", "answering-model", None, None)
    assert ask(server.base_url) == Reply("{}", "asked-model", None, None)


@pytest.mark.parametrize(
    "body",
    [
        completion("", choices=[]),
        completion(None),
        completion("x", choices=[{"message": {"role": "assistant", "refusal": "No."}, "finish_reason": "stop"}]),
    ],
    ids=["no choice", "null", "refusal"],
)
def test_no_choice_and_no_content_are_an_empty_text(broken_server: Start, body: str) -> None:
    assert ask(broken_server(sends(http(body))).base_url).text == ""


def test_text_in_parts_is_put_together(broken_server: Start) -> None:
    parts = [{"type": "text", "text": '{"colour":'}, {"type": "text", "text": ' "blue"}'}, {"type": "image"}]
    choices = [{"message": {"content": parts}, "finish_reason": "stop"}]
    assert ask(broken_server(sends(http(completion("", choices=choices)))).base_url).text == '{"colour": "blue"}'


def test_reply_at_the_limit_of_tokens_is_truncated(broken_server: Start) -> None:
    choices = [{"message": {"content": '{"colour": "bl'}, "finish_reason": "length"}]
    reply = ask(broken_server(sends(http(completion("", choices=choices)))).base_url)
    assert (reply.text, reply.is_truncated) == ('{"colour": "bl', True)


def test_fenced_reply_and_one_of_another_shape_arrive_as_they_are(broken_server: Start) -> None:
    texts = ['```json\n{"colour": "blue"}\n```', '{"color": "blue"}', "[1, 2]"]
    server = broken_server(sends(*(http(completion(text)) for text in texts)))
    assert [ask(server.base_url).text for _ in texts] == texts


def test_one_provider_is_asked_in_one_loop_after_another(broken_server: Start) -> None:
    server = broken_server(sends(http(completion("{}"))))
    provider = OpenAIServer("openai_compatible", "m", server.base_url)

    async def once() -> Reply:
        try:
            return await provider.ask(request())
        finally:
            await provider.close()

    assert [asyncio.run(once()).text for _ in range(2)] == ["{}", "{}"]
    # Without closing too: a connection of a loop that has ended is not used again.
    assert [asyncio.run(provider.ask(request())).text for _ in range(2)] == ["{}", "{}"]


# --- what is sent ---


def test_schema_goes_as_a_strict_response_format(broken_server: Start) -> None:
    server = broken_server(sends(http(completion("{}"))))
    ask(server.base_url, capabilities=Capabilities("json_schema", "max_completion_tokens", False))
    assert server.bodies == [
        {
            "model": "asked-model",
            "max_completion_tokens": 50,
            "messages": [{"role": "system", "content": "You write."}, {"role": "user", "content": PROMPT}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "ColourAnswer", "schema": SCHEMA, "strict": True},
            },
        }
    ]


@pytest.mark.parametrize(("mode", "response_format"), [("json_object", {"type": "json_object"}), ("text", None)])
def test_server_that_takes_no_schema_is_told_in_words(
    broken_server: Start, mode: Any, response_format: dict[str, str] | None
) -> None:
    server = broken_server(sends(http(completion("{}"))))
    ask(server.base_url, capabilities=Capabilities(mode, "max_tokens", True))
    (body,) = server.bodies
    assert body.get("response_format") == response_format
    assert (body["max_tokens"], body["temperature"]) == (50, 0)
    system, user = body["messages"]
    assert system["content"] == (
        "You write.\n\nAnswer with one JSON object of this JSON schema, and with nothing else:\n" + json.dumps(SCHEMA)
    )
    assert user == {"role": "user", "content": PROMPT}


def test_schema_in_words_makes_a_system_message_where_there_is_none(broken_server: Start) -> None:
    server = broken_server(sends(http(completion("{}"))))
    wanted = Request(({"role": "user", "content": PROMPT},), "odd name!", SCHEMA, 50, DEADLINE)
    ask(server.base_url, wanted, capabilities=Capabilities("text"))
    ask(server.base_url, wanted, capabilities=Capabilities("json_schema"))
    in_words, by_schema = server.bodies
    assert [message["role"] for message in in_words["messages"]] == ["system", "user"]
    assert by_schema["response_format"]["json_schema"]["name"] == "odd_name_"


def test_wall_stands_before_the_provider_too(broken_server: Start) -> None:
    server = broken_server(sends(http(completion("{}"))))
    with pytest.raises(PrivacyWallError, match="A name was about to leave"):
        ask(server.base_url, wall=lambda outgoing: "A name was about to leave." if b"Lapsing" in outgoing else None)
    assert server.connections == 0


# --- outages ---


def test_server_that_refuses_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    failed = outage(f"http://127.0.0.1:{port}/v1")
    assert (failed.status, failed.is_retryable) == ("unreachable", True)
    assert str(failed) == f"http://127.0.0.1:{port}/v1 cannot be reached."


def test_name_that_nobody_has_is_unreachable() -> None:
    with pytest.raises(OutageError) as raised:
        ask("http://models.shop.invalid/v1", request(seconds=1.5))
    assert raised.value.status in {"unreachable", "timeout"}


@pytest.mark.parametrize("behaviour", [silence, drip, pour], ids=["hangs", "drips", "pours"])
def test_server_that_never_ends_is_cut_at_the_deadline(broken_server: Start, behaviour: Behaviour) -> None:
    server = broken_server(behaviour)
    failed = outage(server.base_url)
    if behaviour is pour:
        assert failed.status in {"timeout", "bad_reply"}
    else:
        assert (failed.status, failed.is_retryable) == ("timeout", True)
        assert str(failed) == f"{server.base_url} did not answer within 0.3 s."
    assert server.connections == 1


def test_reply_without_an_end_is_cut_at_two_megabytes(broken_server: Start) -> None:
    server = broken_server(sends(http(b"{" + b" " * 2_000_000)))
    with pytest.raises(OutageError) as raised:
        ask(server.base_url, request(seconds=1.5))
    assert raised.value.status == "bad_reply"
    assert str(raised.value) == "The reply is longer than 2,000,000 bytes."


@pytest.mark.parametrize(
    ("response", "what"),
    [
        (http("<!doctype html><title>Log in</title>", kind="text/html"), "answered with a web page."),
        (http('{"choices": [{"mess'), "answered with something that is no JSON."),
        (http(b"\xff\xfe\x00garbage\x00"), "answered with something that is no JSON."),
        (http("[" * 100_000), "answered with something that is no JSON."),
        (http('data: {"choices": []}\n\ndata: [DONE]\n\n', kind="text/event-stream"),
         "answered with something that is no JSON."),
        (http(""), "answered with something that is no JSON."),
        (http('{"response": "blue"}'), "answered with JSON that is no chat completion."),
        (http('{"error": {"message": "no"}}'), "answered with JSON that is no chat completion."),
        (http('["choices"]'), "answered with JSON that is no chat completion."),
        (http('{"choices": ["blue"]}'), "answered with a choice that holds no message."),
        (http('{"choices": [{"text": "blue"}]}'), "answered with a choice that holds no message."),
        (http('{"choices": [{"message": {"content": 42}}]}'), "answered with a choice that holds no message."),
        (http(completion("{}"))[:-40], "broke off its reply or does not speak HTTP."),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "broke off its reply or does not speak HTTP."),
    ],
    ids=["html", "broken", "bytes", "deep", "stream", "nothing", "ollama", "error", "list", "text choice", "completion",
         "number", "truncated", "ssh"],
)  # fmt: skip
def test_reply_that_is_not_the_protocol_is_a_bad_reply(broken_server: Start, response: bytes, what: str) -> None:
    server = broken_server(sends(response))
    failed = outage(server.base_url)
    assert (failed.status, failed.is_retryable) == ("bad_reply", True)
    assert str(failed) == f"{server.base_url} {what}"
    assert server.connections == 1


def test_server_that_hangs_up_is_a_bad_reply(broken_server: Start) -> None:
    assert outage(broken_server(hang_up).base_url).status == "bad_reply"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry_After": "7"}, 7.0),
        ({"Retry_After": "0.5"}, 0.5),
        ({"Retry_After_Ms": "250", "Retry_After": "9"}, 0.25),
        ({"Retry_After": "Sun, 22 Nov 2026 06:00:30 GMT", "Date": "Sun, 22 Nov 2026 06:00:00 GMT"}, 30.0),
        ({"Retry_After": "Sun, 22 Nov 2026 05:00:00 GMT", "Date": "Sun, 22 Nov 2026 06:00:00 GMT"}, 0.0),
        ({"Retry_After": "Sun, 22 Nov 2026 06:00:30 GMT"}, None),
        ({"Retry_After": "-5"}, 0.0),
        ({"Retry_After": "1e400"}, 86_400.0),
        ({"Retry_After": "99999999999999999999"}, 86_400.0),
        ({"Retry_After": "Fri, 31 Dec 9999 23:59:59 GMT", "Date": "Sun, 22 Nov 2026 06:00:00 GMT"}, 86_400.0),
        ({"Retry_After": "nan"}, None),
        ({"Retry_After": "soon"}, None),
    ],
)
def test_rate_limit_says_how_long_to_wait(broken_server: Start, headers: dict[str, str], seconds: float | None) -> None:
    server = broken_server(sends(http('{"error": {"message": "slow down"}}', "429 Too Many Requests", **headers)))
    failed = outage(server.base_url)
    assert (failed.status, failed.is_retryable, failed.retry_after) == ("rate_limited", True, seconds)
    assert str(failed) == f"{server.base_url} asks for fewer requests (HTTP 429)."
    assert server.connections == 1


def test_account_without_credit_is_not_worth_a_retry(broken_server: Start) -> None:
    body = '{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'
    failed = outage(broken_server(sends(http(body, "429 Too Many Requests"))).base_url)
    assert (failed.status, failed.is_retryable) == ("rate_limited", False)
    assert str(failed).endswith("says that the account has no credit left.")


@pytest.mark.parametrize(
    ("status", "is_retryable"),
    [("500 Internal Server Error", True), ("503 Service Unavailable", True), ("501 Not Implemented", False),
     ("408 Request Timeout", True)],
)  # fmt: skip
def test_server_that_fails_is_a_server_error(broken_server: Start, status: str, is_retryable: bool) -> None:
    server = broken_server(sends(http("<h1>Traceback: secret body</h1>", status, "text/html")))
    failed = outage(server.base_url)
    assert (failed.status, failed.is_retryable) == ("server_error", is_retryable)
    assert "secret body" not in str(failed)
    assert server.connections == 1


@pytest.mark.parametrize(
    "response",
    [
        http('{"error": {"message": "the request exceeds the available context size"}}', "400 Bad Request"),
        http('{"error": {"message": "x", "code": "context_length_exceeded"}}', "400 Bad Request"),
        http('{"error": {"message": "x", "code": "content_filter"}}', "400 Bad Request"),
        http("", "413 Content Too Large"),
    ],
    ids=["llama.cpp", "openai", "filter", "413"],
)
def test_prompt_that_is_refused_ends_its_item_and_not_the_run(broken_server: Start, response: bytes) -> None:
    server = broken_server(sends(response))
    failed = outage(server.base_url)
    assert (failed.status, failed.is_retryable) == ("bad_reply", False)
    assert str(failed) == f"{server.base_url} does not take this prompt: too long, or filtered."


def test_redirect_is_a_bad_reply_that_says_what_to_set(broken_server: Start) -> None:
    other = broken_server(sends(http(completion("{}"))))
    server = broken_server(sends(http("", "308 Permanent Redirect", Location=f"{other.base_url}/chat/completions")))
    failed = outage(server.base_url, key="sk-secret")
    assert (failed.status, failed.is_retryable) == ("bad_reply", False)
    assert str(failed) == (
        f"{server.base_url} sends requests on to another address (HTTP 308), which are not followed: set "
        "language.base_url to the address that answers itself."
    )
    assert other.connections == 0


# --- mistakes of the settings ---


@pytest.mark.parametrize(
    ("status", "options", "said"),
    [
        ("401 Unauthorized", {"key": "sk-wrong", "key_variable": "OPENAI_API_KEY"},
         "does not accept the key (HTTP 401): set the environment variable OPENAI_API_KEY to a key of this server."),
        ("403 Forbidden", {"key": "sk-wrong"},
         "does not accept the key (HTTP 403): set the environment variable of its key to a valid one."),
        ("401 Unauthorized", {},
         "does not accept requests without a key (HTTP 401): set its key in an environment variable, and "
         "language.key_variable to that variable's name."),
    ],
)  # fmt: skip
def test_key_that_is_not_accepted_names_the_variable_to_set(
    broken_server: Start, status: str, options: dict[str, str], said: str
) -> None:
    server = broken_server(sends(http('{"error": {"message": "Incorrect API key provided: sk-wrong"}}', status)))
    with pytest.raises(LanguageConfigurationError) as refused:
        ask(server.base_url, **options)
    assert str(refused.value) == f"{server.base_url} {said}"
    assert server.connections == 1


def test_unknown_model_names_those_served(broken_server: Start) -> None:
    missing = http('{"error": {"message": "model \\"asked-model\\" not found"}}', "404 Not Found")
    served = http(json.dumps({"data": [{"id": "qwen3"}, {"id": "gemma3"}, {"id": 7}, "x"]}))
    server = broken_server(sends(missing, served))
    with pytest.raises(LanguageConfigurationError) as refused:
        ask(server.base_url)
    assert str(refused.value) == (
        f'language.model: {server.base_url} does not serve "asked-model". Set one of those it serves: gemma3, qwen3.'
    )


@pytest.mark.parametrize("after", [http("", "404 Not Found"), http("[]"), http('{"data": []}')])
def test_address_that_is_no_api_says_what_to_check(broken_server: Start, after: bytes) -> None:
    server = broken_server(sends(http("Not here", "404 Not Found", "text/plain"), after))
    with pytest.raises(LanguageConfigurationError) as refused:
        ask(server.base_url)
    assert str(refused.value) == (
        f'{server.base_url} does not know the model "asked-model", or is no OpenAI-compatible address (HTTP 404): '
        "check language.model, and language.base_url, which usually ends in /v1."
    )


def test_looking_for_models_stays_within_the_deadline(broken_server: Start) -> None:
    server = broken_server(in_turn(sends(http("", "404 Not Found")), silence))
    begun = time.monotonic()
    with pytest.raises(LanguageConfigurationError, match="does not know the model"):
        ask(server.base_url)
    assert time.monotonic() - begun < 2


def test_refused_parameter_is_said_in_the_servers_words_without_key_or_prompt(broken_server: Start) -> None:
    said = f"Unsupported value for sk-own-key-1234567890: {PROMPT}\nand\x00" + " many words" * 50
    server = broken_server(sends(http(json.dumps({"error": {"message": said}}), "400 Bad Request")))
    with pytest.raises(RefusedRequestError) as refused:
        ask(server.base_url, key="sk-own-key-1234567890")
    assert refused.value.server_message.startswith("Unsupported value for ***: *** and many words many")
    assert len(refused.value.server_message) == 200
    assert str(refused.value) == (
        f'{server.base_url} refuses the request of model "asked-model" (HTTP 400): "{refused.value.server_message}". '
        "Set language.model to a model that takes chat completions, or language.provider to another server."
    )


def test_refusal_without_words_is_a_whole_sentence(broken_server: Start) -> None:
    server = broken_server(sends(http("", "422 Unprocessable Content")))
    with pytest.raises(RefusedRequestError) as refused:
        ask(server.base_url)
    assert str(refused.value) == (
        f'{server.base_url} refuses the request of model "asked-model" (HTTP 422). '
        "Set language.model to a model that takes chat completions, or language.provider to another server."
    )


def test_user_info_of_an_address_is_in_no_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert str(outage(f"http://marta:hunter2@127.0.0.1:{port}/v1")) == f"http://127.0.0.1:{port}/v1 cannot be reached."


@pytest.mark.parametrize(
    "response",
    [
        http(completion('{"colour": "secret-answer"}')),
        http('{"error": {"message": "secret-answer"}}', "500 Internal Server Error"),
        http('{"error": {"message": "secret-answer"}}', "401 Unauthorized"),
        http("secret-answer"),
    ],
)
def test_no_key_prompt_or_body_is_logged_or_chained(
    broken_server: Start, response: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = broken_server(sends(response))
    chained: BaseException | None = None
    try:
        ask(server.base_url, key="sk-own-key")
    except (OutageError, LanguageConfigurationError) as error:
        chained = error
        assert error.__suppress_context__
        assert error.__cause__ is None
    for secret in ("sk-own-key", "Lapsing Coffee", "secret-answer"):
        assert secret not in caplog.text
        assert secret not in str(chained)


# --- a whole mock of OpenAI ---


class Desk:
    """The least a caller does: wait as asked, and retry what is worth it."""

    def __init__(self, base_url: str, retries: int = 3) -> None:
        self.provider = OpenAIServer("openai", "gpt-4o-mini", base_url, "sk-any")
        self.retries = retries

    def ask(self, content: str) -> Reply | str:
        async def attempts() -> Reply | str:
            for attempt in range(self.retries):
                try:
                    return await self.provider.ask(request(1.5, content))
                except OutageError as error:
                    if not error.is_retryable or attempt == self.retries - 1:
                        return error.status
                    await asyncio.sleep(error.retry_after or 0.05 * 2**attempt)
            return "never"

        async def close_after() -> Reply | str:
            try:
                return await attempts()
            finally:
                await self.provider.close()

        return asyncio.run(close_after())


def test_mock_of_openai_finds_a_resilient_client(llmock: Any) -> None:
    desk = Desk(llmock.base_url())
    llmock.reply('{"colour": "blue"}')
    reply = desk.ask("a first prompt")
    assert isinstance(reply, Reply)
    assert reply.text == '{"colour": "blue"}'
    assert reply.input_tokens is not None
    llmock.rate_limit(retry_after=0.1)
    assert isinstance(desk.ask("rate limited"), Reply)
    llmock.fail(500)
    assert isinstance(desk.ask("failed once"), Reply)
    llmock.fail(503, times=3, retry_after=0.1)
    assert desk.ask("down") == "server_error"
    llmock.context_overflow()
    assert desk.ask("too long") == "bad_reply"
    llmock.assert_resilient(strict=True)
    assert [record.status for record in llmock.requests] == [200, 429, 200, 500, 200, 503, 503, 503, 400]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_mock_of_openai_sees_no_retry_of_what_cannot_succeed(llmock: Any, status: int) -> None:
    llmock.fail(status)
    with pytest.raises(LanguageConfigurationError):
        Desk(llmock.base_url()).ask(f"fails with {status}")
    llmock.assert_resilient(strict=True)


def test_mock_of_openai_that_is_slow_is_cut_at_the_deadline(llmock: Any) -> None:
    llmock.delay(1.0)
    assert outage(llmock.base_url()).status == "timeout"
