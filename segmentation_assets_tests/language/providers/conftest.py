"""Fixtures of the tests over real HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from segmentation_assets_tests.language.providers.broken_servers import Behaviour, BrokenServer


@pytest.fixture
def broken_server() -> Iterator[Callable[[Behaviour], BrokenServer]]:
    """Start servers that behave as told; all are stopped after the test."""
    servers: list[BrokenServer] = []

    def start(behaviour: Behaviour) -> BrokenServer:
        servers.append(BrokenServer(behaviour))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
