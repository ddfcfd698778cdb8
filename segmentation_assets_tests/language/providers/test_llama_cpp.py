"""The same provider against a real llama.cpp server with a small real model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Literal

import pytest

from segmentation_assets.language.answers import Answer
from segmentation_assets.language.providers.openai_server import OpenAIServer
from segmentation_assets.language.providers.probe import Capabilities, choose_model, models_of, probe
from segmentation_assets.language.providers.wire import json_schema_of, parse_answer
from segmentation_assets.language.task import OutageError, Reply, Request
from segmentation_assets_tests.language.providers.smollm2_server import MODEL, smollm2_server

pytestmark = pytest.mark.slow


class SegmentName(Answer):
    segment_id: Literal["T1", "T2"]
    name: str


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with smollm2_server() as url:
        yield url


def request(seconds: float) -> Request:
    asked = "Segment T2 buys coffee beans and filters. Give its segment_id and a short name of two words."
    return Request(({"role": "user", "content": asked},), "SegmentName", json_schema_of(SegmentName), 80, seconds)


def ask(base_url: str, capabilities: Capabilities, seconds: float = 30) -> Reply:
    async def once() -> Reply:
        provider = OpenAIServer("openai_compatible", MODEL, base_url, "", capabilities)
        try:
            return await provider.ask(request(seconds))
        finally:
            await provider.close()

    return asyncio.run(once())


def test_only_model_served_is_found_and_obeys_a_schema(base_url: str) -> None:
    model = choose_model("", asyncio.run(models_of(base_url)))
    assert model == MODEL
    capabilities = asyncio.run(probe(base_url, model))
    assert capabilities == Capabilities("json_schema", "max_tokens", True)
    reply = ask(base_url, capabilities)
    assert reply.model == MODEL
    assert reply.input_tokens
    assert reply.output_tokens
    answer, findings = parse_answer(reply.text, SegmentName)
    assert answer is not None, findings
    assert answer.segment_id in {"T1", "T2"}


def test_same_request_has_the_same_answer(base_url: str) -> None:
    first, second = (ask(base_url, Capabilities()).text for _ in range(2))
    assert first == second


def test_real_model_is_cut_at_the_deadline_and_serves_the_next_request(base_url: str) -> None:
    with pytest.raises(OutageError) as raised:
        ask(base_url, Capabilities("text"), seconds=0.2)
    assert raised.value.status == "timeout"
    assert parse_answer(ask(base_url, Capabilities()).text, SegmentName)[0] is not None
