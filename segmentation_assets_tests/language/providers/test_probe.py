"""What a server can do is found out once, with as few questions as its quirks allow."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.language.providers.attempt import RefusedRequestError
from segmentation_assets.language.providers.probe import (
    Capabilities,
    choose_model,
    models_of,
    probe,
    usual_capabilities,
)
from segmentation_assets.language.task import LanguageConfigurationError, OutageError, PrivacyWallError
from segmentation_assets_tests.language.providers.broken_servers import (
    Behaviour,
    BrokenServer,
    completion,
    drip,
    http,
    sends,
    silence,
)

Start = Callable[[Behaviour], BrokenServer]
BLUE = http(completion('{"colour": "blue"}'))
PROSE = http(completion("The sky is blue."))


def refusal(message: str, status: str = "400 Bad Request") -> bytes:
    return http(json.dumps({"error": {"message": message}}), status)


def quirky(start: Start, answer: Callable[[Mapping[str, Any]], bytes]) -> BrokenServer:
    """A server whose response depends on the body asked."""

    def behave(connection: socket.socket, _stop: threading.Event) -> None:
        connection.sendall(answer(server.bodies[-1]))

    server = start(behave)
    return server


def form_of(body: Mapping[str, Any]) -> str:
    return body.get("response_format", {"type": "text"})["type"]


def run(server: BrokenServer, seconds: float = 1.5, **options: Any) -> Capabilities:
    return asyncio.run(probe(server.base_url, "m", seconds=seconds, **options))


def test_server_that_obeys_a_schema_is_asked_once(broken_server: Start) -> None:
    server = broken_server(sends(BLUE))
    assert run(server) == Capabilities("json_schema", "max_tokens", True)
    assert [form_of(body) for body in server.bodies] == ["json_schema"]
    assert "json" not in json.dumps(server.bodies[0]["messages"]).lower()


def test_reasoning_model_is_asked_by_its_own_parameters(broken_server: Start) -> None:
    def answer(body: Mapping[str, Any]) -> bytes:
        if "max_tokens" in body:
            return refusal("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        if "temperature" in body:
            return refusal("Unsupported value: 'temperature' does not support 0 with this model.")
        return BLUE

    server = quirky(broken_server, answer)
    assert run(server) == Capabilities("json_schema", "max_completion_tokens", False)
    assert server.connections == 3


@pytest.mark.parametrize(
    "unwilling",
    [
        refusal("'response_format.type' must be 'json_object' or 'text'"),
        refusal("schema", "422 Unprocessable Content"),
        http("Internal Server Error", "500 Internal Server Error", "text/plain"),
        http("", "501 Not Implemented"),
        PROSE,
    ],
    ids=["400", "422", "500", "501", "ignores it"],
)
def test_server_without_schemas_is_asked_for_an_object(broken_server: Start, unwilling: bytes) -> None:
    server = quirky(broken_server, lambda body: unwilling if form_of(body) == "json_schema" else BLUE)
    assert run(server) == Capabilities("json_object", "max_tokens", True)
    assert [form_of(body) for body in server.bodies] == ["json_schema", "json_object"]
    assert "JSON" in server.bodies[1]["messages"][-1]["content"]


@pytest.mark.parametrize("unwilling", [refusal("response_format"), PROSE], ids=["refuses", "ignores"])
def test_server_without_any_form_is_asked_in_words(broken_server: Start, unwilling: bytes) -> None:
    server = quirky(broken_server, lambda body: PROSE if form_of(body) == "text" else unwilling)
    assert run(server) == Capabilities("text", "max_tokens", True)
    assert server.connections == 3


def test_model_that_thought_its_tokens_away_took_the_schema(broken_server: Start) -> None:
    empty = http(completion("", choices=[{"message": {"content": ""}, "finish_reason": "length"}]))
    assert run(broken_server(sends(empty))).mode == "json_schema"


def test_server_that_refuses_everything_ends_after_six_questions_with_its_words(broken_server: Start) -> None:
    said = iter(["max_tokens", "temperature", "max_tokens", "temperature", "no", "no", "no", "no", "no"])
    server = quirky(broken_server, lambda body: refusal(f"Not this {next(said)}."))
    with pytest.raises(RefusedRequestError, match=r'"Not this no\."'):
        run(server)
    assert server.connections <= 6


@pytest.mark.parametrize(
    ("behaviour", "status", "questions"),
    [
        (sends(http("", "503 Service Unavailable")), "server_error", 1),
        # A 500 may mean that a form of answer is not known: each weaker one is tried, once.
        (sends(http("", "500 Internal Server Error")), "server_error", 3),
        (sends(http("", "429 Too Many Requests", Retry_After="5")), "rate_limited", 1),
        (sends(http("<html>")), "bad_reply", 1),
        (silence, "timeout", 1),
        (drip, "timeout", 1),
    ],
    ids=["503", "500", "429", "html", "hangs", "drips"],
)
def test_probe_of_a_server_that_is_down_is_an_outage_within_the_deadline(
    broken_server: Start, behaviour: Behaviour, status: str, questions: int
) -> None:
    server = broken_server(behaviour)
    begun = time.monotonic()
    with pytest.raises(OutageError) as raised:
        run(server, seconds=0.4)
    assert raised.value.status == status
    assert time.monotonic() - begun < 2
    assert server.connections == questions


def test_wrong_key_ends_the_probe_at_once(broken_server: Start) -> None:
    server = broken_server(sends(http("", "401 Unauthorized")))
    with pytest.raises(LanguageConfigurationError, match="environment variable LOCAL_KEY"):
        run(server, key="sk-wrong", key_variable="LOCAL_KEY")
    assert server.connections == 1


def test_probe_of_an_unknown_model_names_those_served(broken_server: Start) -> None:
    served = http('{"data": [{"id": "llama3.2:latest"}]}')
    server = broken_server(sends(refusal("model 'm' not found", "404 Not Found"), served))
    with pytest.raises(LanguageConfigurationError) as refused:
        run(server)
    assert str(refused.value) == (
        f'language.model: {server.base_url} does not serve "m". Set one of those it serves: llama3.2:latest.'
    )


def test_wall_stands_before_the_probe(broken_server: Start) -> None:
    server = broken_server(sends(BLUE))
    with pytest.raises(PrivacyWallError, match="stopped"):
        run(server, wall=lambda _: "stopped")
    with pytest.raises(PrivacyWallError, match="stopped"):
        asyncio.run(models_of(server.base_url, wall=lambda _: "stopped"))
    assert server.connections == 0


def test_mock_of_openai_is_probed_without_a_retry(llmock: Any) -> None:
    assert asyncio.run(probe(llmock.base_url(), "gpt-4o-mini", "sk-any")).mode == "json_schema"
    llmock.assert_resilient(strict=True)
    assert "gpt-4o-mini" in asyncio.run(models_of(llmock.base_url(), "sk-any"))


def test_server_that_could_not_be_probed_is_taken_at_its_usual() -> None:
    assert usual_capabilities("https://api.openai.com/v1") == Capabilities(
        "json_schema", "max_completion_tokens", False
    )
    for elsewhere in ("http://127.0.0.1:11434/v1", "https://openai.com.evil.org/v1", "https://notopenai.com/v1"):
        assert usual_capabilities(elsewhere) == Capabilities("json_schema", "max_tokens", True)


# --- models ---


def test_models_are_listed_sorted_and_what_is_no_model_is_left_out(broken_server: Start) -> None:
    content = {"object": "list", "data": [{"id": "qwen3"}, {"id": "gemma3"}, {"id": "qwen3"}, {"id": ""}, {}, 3]}
    server = broken_server(sends(http(json.dumps(content))))
    assert asyncio.run(models_of(server.base_url, "sk-own")) == ["gemma3", "qwen3"]
    assert server.received[0].startswith(b"GET /v1/models ")
    assert b"Bearer sk-own" in server.received[0]


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        (silence, "timeout"),
        (sends(http("[]")), "bad_reply"),
        (sends(http("[" * 100_000)), "bad_reply"),
        (sends(http("<html>")), "bad_reply"),
        (sends(http("", "502 Bad Gateway")), "server_error"),
        (sends(b""), "bad_reply"),
    ],
    ids=["hangs", "list", "deep", "html", "502", "nothing"],
)
def test_server_that_lists_no_models_is_an_outage(broken_server: Start, behaviour: Behaviour, status: str) -> None:
    server = broken_server(behaviour)
    with pytest.raises(OutageError) as raised:
        asyncio.run(models_of(server.base_url, seconds=0.3))
    assert raised.value.status == status


def test_model_is_the_one_asked_for_or_the_only_one() -> None:
    assert choose_model("llama3", ["llama3:latest", "qwen3"]) == "llama3"
    assert choose_model("", ["qwen3"]) == "qwen3"


def test_choice_among_several_models_is_left_to_the_settings() -> None:
    with pytest.raises(LanguageConfigurationError) as refused:
        choose_model("", ["a", "b\x1b[31m"])
    assert str(refused.value) == "language.model is empty and the server has 2 models: set one of a, b[31m."
    with pytest.raises(LanguageConfigurationError) as refused:
        choose_model("", [f"m{number:02d}" for number in range(25)])
    assert str(refused.value).endswith("m18, m19 and 5 more.")
    with pytest.raises(LanguageConfigurationError) as refused:
        choose_model("", [])
    assert str(refused.value) == "language.model is empty and the server lists no models: set its name."


# --- remembering ---

_CAPABILITIES = st.builds(
    Capabilities,
    st.sampled_from(["json_schema", "json_object", "text"]),
    st.sampled_from(["max_completion_tokens", "max_tokens"]),
    st.booleans(),
)


@settings(deadline=None)
@given(_CAPABILITIES)
def test_what_was_probed_can_be_remembered(capabilities: Capabilities) -> None:
    assert Capabilities.from_json(json.loads(json.dumps(capabilities.to_json()))) == capabilities


@pytest.mark.parametrize(
    "remembered",
    [{}, {"mode": "grammar", "limit_name": "max_tokens", "takes_temperature": True},
     {"mode": "text", "limit_name": "n_predict", "takes_temperature": True},
     {"mode": "text", "limit_name": "max_tokens", "takes_temperature": "yes"}, {"mode": ["text"]}],
)  # fmt: skip
def test_what_another_version_remembered_is_probed_again(remembered: dict[str, Any]) -> None:
    assert Capabilities.from_json(remembered) is None
