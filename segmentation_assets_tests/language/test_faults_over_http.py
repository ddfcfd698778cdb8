"""Every fault of a server, through the whole desk over real HTTP: a recorded status, the embedded writer, no hang."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from segmentation_assets.language.desk import Desk
from segmentation_assets.language.privacy_wall import PrivacyWall
from segmentation_assets.language.providers.openai_server import OpenAIServer
from segmentation_assets.language.segment_facts import SegmentFacts
from segmentation_assets.language.task import LanguageConfigurationError, Outcome, Policy
from segmentation_assets.language.tasks.profile import profile_task
from segmentation_assets.state.ledger import StateLedger
from segmentation_assets.state.store import open_state
from segmentation_assets_tests.language.providers.broken_servers import (
    Behaviour,
    BrokenServer,
    completion,
    drip,
    hang_up,
    http,
    pour,
    sends,
    silence,
)
from segmentation_assets_tests.language.test_profile_writer import _gather

POLICY = Policy(retries=1, repairs=1, call_seconds=0.4, asset_seconds=3, longest_wait_seconds=0.1, outages_to_give_up=2)
FLOOD = "They buy a lot and they like it. " * 2_000
GOOD = {
    "who": "These are {{customers}} customers who know what they want.", "what": "They want good things.",
    "how": "E-mail reaches {{reachable}} of them.", "objective": "Give them a reason for the next visit.",
    "message": "Here is something that we think you will like.", "channel": "E-mail",
    "resonance": "They know the shop and read what it writes.", "do_not": "Do not write to them too often.",
}  # fmt: skip


def says(**changes: str) -> Behaviour:
    """A server that answers in time and well but for `changes`."""
    return sends(http(completion(json.dumps(GOOD | changes))))


def segment() -> SegmentFacts:
    return next(found for found in _gather() if found.segment_id == "S1")


@contextmanager
def _asked(base_url: str, folder: Path, policy: Policy = POLICY) -> Iterator[tuple[Outcome, list[str]]]:
    with open_state(folder / "state.sqlite") as state:
        ledger, wall = StateLedger(state), PrivacyWall()
        provider = OpenAIServer("openai_compatible", "m", base_url, wall=wall)
        (outcome,) = Desk(provider, ledger, policy, "run", wall=wall).ask([profile_task(segment())])
        yield outcome, [call.status for call in ledger.all_calls()]


@pytest.mark.parametrize(
    ("behaviour", "statuses"),
    [
        (silence, {"timeout"}), (drip, {"timeout"}), (pour, {"timeout", "bad_reply"}), (hang_up, {"bad_reply"}),
        (sends(http("<html>Log in</html>", kind="text/html")), {"bad_reply"}),
        (sends(http('{"choices": [{"mess')), {"bad_reply"}),
        (sends(http(b"\xff\xfe\x00garbage\x00")), {"bad_reply"}),
        (sends(http('data: {"choices": []}\n\n', kind="text/event-stream")), {"bad_reply"}),
        (sends(http("{}", "429 Too Many Requests")), {"rate_limited"}),
        (sends(http("{}", "429 Too Many Requests", Retry_After="0")), {"rate_limited"}),
        (sends(http("{}", "429 Too Many Requests", Retry_After="9999")), {"rate_limited"}),
        (sends(http("{}", "500 Internal Server Error")), {"server_error"}),
        (sends(http(completion("", choices=[]))), {"empty"}),
        (sends(http(completion('{"colour": "blue"}'))), {"malformed"}),
        (sends(http(completion("I would rather not."))), {"malformed"}),
        (says(who="They are 412 customers of the shop, {{customers}}."), {"rejected"}),
        (says(who="They are four hundred customers, {{customers}}."), {"rejected"}),
        (says(who="These are {{nobody_knows}} customers, of {{customers}}."), {"rejected"}),
        (says(message="Look at https://evil.example/now for more."), {"rejected"}),
        (says(message="<script>alert('x')</script> for you."), {"rejected"}),
        (says(what="Sie kaufen gerne Kaffee und Tee und trinken ihn am liebsten warm."), {"rejected"}),
        (says(what=FLOOD), {"rejected"}),
        (says(channel="Pigeon"), {"malformed"}),
    ],
)  # fmt: skip
def test_every_fault_ends_in_a_recorded_status_and_the_embedded_writer(
    behaviour: Behaviour, statuses: set[str], tmp_path: Path
) -> None:
    server = BrokenServer(behaviour)
    started = time.monotonic()
    try:
        with _asked(server.base_url, tmp_path) as (outcome, recorded):
            assert set(recorded) <= statuses
            assert recorded
            assert outcome.is_degraded
            assert outcome.written_by == "embedded"
            assert outcome.problem
            assert not profile_task(segment()).check(outcome.answer)
    finally:
        server.stop()
    assert time.monotonic() - started < 10


def test_a_server_that_refuses_connections_is_unreachable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with _asked(f"http://127.0.0.1:{port}/v1", tmp_path) as (outcome, recorded):
        assert set(recorded) == {"unreachable"}
        assert outcome.is_degraded


@pytest.mark.parametrize(
    "good",
    [
        says(),
        sends(http(completion("```json\n" + json.dumps(GOOD) + "\n```"))),
        sends(http(completion(json.dumps(GOOD), usage=None))),
        sends(http("{}", "503 Service Unavailable"), http(completion(json.dumps(GOOD)))),
        sends(http(completion(json.dumps(GOOD | {"who": "412 people."}))), http(completion(json.dumps(GOOD)))),
    ],
    ids=["good", "fenced", "usage missing", "after an outage", "after a repair"],
)
def test_a_good_answer_is_taken_however_it_comes(good: Callable[..., None], tmp_path: Path) -> None:
    server = BrokenServer(good)
    try:
        with _asked(server.base_url, tmp_path) as (outcome, recorded):
            assert recorded[-1] == "accepted"
            assert (outcome.written_by, outcome.is_degraded) == ("m", False)
            assert outcome.answer.who == GOOD["who"]
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("response", "told"),
    [
        (http('{"error": {"message": "no"}}', "401 Unauthorized"), "key"),
        (http('{"error": {"message": "model m does not exist"}}', "404 Not Found"), "language.model"),
    ],
)
def test_a_wrong_setting_ends_at_once_and_names_what_to_set(response: bytes, told: str, tmp_path: Path) -> None:
    server = BrokenServer(sends(response))
    try:
        with pytest.raises(LanguageConfigurationError, match=told), _asked(server.base_url, tmp_path):
            pass
    finally:
        server.stop()
