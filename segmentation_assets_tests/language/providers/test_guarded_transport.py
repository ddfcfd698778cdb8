"""Nothing reaches a socket before the wall has seen it, and a key reaches its own server only."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable

import httpx2
import openai
import pytest

from segmentation_assets.language.providers.guarded_transport import (
    GuardedTransport,
    guarded_client,
    is_this_machine,
    shown_address,
)
from segmentation_assets.language.task import LanguageConfigurationError, OutageError, PrivacyWallError
from segmentation_assets_tests.language.providers.broken_servers import (
    Behaviour,
    BrokenServer,
    completion,
    http,
    sends,
)

Start = Callable[[Behaviour], BrokenServer]
GOOD = http(completion("{}"))


def ask(client: openai.AsyncOpenAI, content: str = "Hello") -> None:
    async def once() -> None:
        async with client:
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": content}])

    asyncio.run(once())


def test_wall_sees_url_headers_and_body_before_they_leave_and_never_the_key(broken_server: Start) -> None:
    server, seen = broken_server(sends(GOOD)), []

    def wall(outgoing: bytes) -> str | None:
        assert server.received == []
        seen.append(outgoing)
        return None

    ask(guarded_client(server.base_url, "sk-secret", wall), "Grüße an alle")
    (shown,) = seen
    assert shown.startswith(f"POST {server.base_url}/chat/completions\n".encode())
    assert b"user-agent: " in shown
    assert "Grüße an alle".encode() in shown
    assert b"sk-secret" not in shown
    sent_headers = {line.split(b":")[0].lower() for line in server.received[0].split(b"\r\n\r\n")[0].splitlines()[1:]}
    shown_headers = {line.split(b":")[0] for line in shown.split(b"\n\n")[0].splitlines()[1:]}
    assert sent_headers == shown_headers | {b"authorization"}


def test_what_the_wall_stops_never_opens_a_connection(broken_server: Start) -> None:
    server = broken_server(sends(GOOD))

    def wall(outgoing: bytes) -> str | None:
        return "An e-mail address was about to leave." if b"canary@example.org" in outgoing else None

    with pytest.raises(PrivacyWallError) as blocked:
        ask(guarded_client(server.base_url, "", wall), "write to canary@example.org")
    assert str(blocked.value) == "An e-mail address was about to leave."
    assert (server.connections, server.received) == (0, [])
    ask(guarded_client(server.base_url, "", wall), "write to nobody")
    assert server.connections == 1


def test_key_goes_in_one_header_and_without_a_key_there_is_none(
    broken_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-of-admin")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-openai")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-of-openai")
    server = broken_server(sends(GOOD))
    ask(guarded_client(server.base_url, "", None))
    assert b"uthorization" not in server.received[0]
    ask(guarded_client(server.base_url, "sk-own\n", None))
    assert server.received[1].lower().count(b"authorization: bearer sk-own\r\n") == 1
    for received in server.received:
        for foreign in (b"of-openai", b"of-admin", b"stainless", b"linux"):
            assert foreign not in received.lower()


def test_request_to_another_server_is_not_sent(broken_server: Start) -> None:
    own, other = broken_server(sends(GOOD)), broken_server(sends(GOOD))

    async def stray() -> None:
        transport = GuardedTransport(httpx2.AsyncHTTPTransport(), None, base_url=own.base_url, key="sk-secret")
        async with httpx2.AsyncClient(transport=transport) as client:
            await client.get(other.base_url)

    with pytest.raises(PrivacyWallError) as stopped:
        asyncio.run(stray())
    assert str(stopped.value) == "A request to another server than language.base_url was about to leave."
    assert other.connections == 0


def test_redirect_is_not_followed(broken_server: Start) -> None:
    other = broken_server(sends(GOOD))
    server = broken_server(sends(http("", "307 Temporary Redirect", Location=f"{other.base_url}/chat/completions")))
    with pytest.raises(openai.APIStatusError):
        ask(guarded_client(server.base_url, "sk-secret", None))
    assert (server.connections, other.connections) == (1, 0)


def test_compressed_reply_is_refused_before_it_can_unfold(broken_server: Start) -> None:
    server = broken_server(sends(http(gzip.compress(b" " * 10_000_000), Content_Encoding="gzip")))
    with pytest.raises(OutageError) as refused:
        ask(guarded_client(server.base_url, "", None))
    assert refused.value.status == "bad_reply"
    assert str(refused.value) == "The server compressed its reply, which was not asked for."
    assert b"accept-encoding: identity" in server.received[0].lower()


def test_proxy_of_the_environment_is_ignored_for_this_machine_and_used_for_others(
    broken_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, server = broken_server(sends(GOOD)), broken_server(sends(GOOD))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    ask(guarded_client(server.base_url, "", None))
    assert (server.connections, proxy.connections) == (1, 0)
    ask(guarded_client("http://models.shop.invalid/v1", "", None))
    assert proxy.received[0].startswith(b"POST http://models.shop.invalid/v1/chat/completions ")
    monkeypatch.setenv("no_proxy", "models.shop.invalid")
    with pytest.raises(openai.APIConnectionError):
        ask(guarded_client("http://models.shop.invalid/v1", "", None))


def test_proxy_that_is_none_is_a_mistake_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "gopher://127.0.0.1:70")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(LanguageConfigurationError) as refused:
        guarded_client("http://user:secret@models.shop.invalid/v1", "", None)
    assert str(refused.value) == (
        "The proxy of the environment cannot be used for http://models.shop.invalid/v1: set NO_PROXY to its host, "
        "or HTTPS_PROXY to an http address."
    )


@pytest.mark.parametrize("base_url", ["", "127.0.0.1:11434/v1", "ftp://127.0.0.1/v1", "http://", "http://host:port/v1"])
def test_address_that_is_none_is_a_mistake_of_the_settings(base_url: str) -> None:
    with pytest.raises(LanguageConfigurationError) as refused:
        guarded_client(base_url, "", None)
    assert str(refused.value) == (
        "language.base_url is no address of a server: set one such as http://127.0.0.1:11434/v1."
    )


@pytest.mark.parametrize("key", ["two keys", "kéy", "line\nbreak"])
def test_key_that_is_none_is_a_mistake_of_the_settings(key: str) -> None:
    with pytest.raises(LanguageConfigurationError) as refused:
        guarded_client("http://127.0.0.1/v1", key, None)
    assert str(refused.value) == (
        "The key holds a space, a line break or a letter that no key has: check the environment variable it is in."
    )


def test_only_loopback_is_this_machine() -> None:
    assert [host for host in ("localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]") if not is_this_machine(host)] == []
    assert [host for host in ("10.0.0.1", "localhost.evil.org", "127.0.0.1.nip.io", "") if is_this_machine(host)] == []


def test_address_is_shown_without_its_secrets() -> None:
    assert shown_address("https://user:secret@host.org:8443/v1?token=abc#x") == "https://host.org:8443/v1"
    assert shown_address("http://[::1]:80/v1") == "http://[::1]/v1"
    assert shown_address("http://host:port/v1") == "this address"
