"""A server of the OpenAI protocol as a provider: OpenAI itself, Ollama, vLLM, llama.cpp, LM Studio.

What belongs here: one request, one HTTP attempt. What does not: retries and budgets (`language.desk`), and which
server to take (`choice`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from segmentation_assets.language.providers.attempt import (
    Capabilities,
    Server,
    UnknownModelError,
    attempt,
    usual_capabilities,
)
from segmentation_assets.language.providers.guarded_transport import Wall, guarded_client
from segmentation_assets.language.providers.probe import with_models_served
from segmentation_assets.language.task import Reply, Request

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class OpenAIServer:
    """A `task.Provider` over HTTP.

    name: of the provider in the ledger. model: asked for by this name. base_url: with its path, usually /v1. key:
    sent to this server only; empty sends none. capabilities: of `probe`; None for the usual ones. wall: sees every
    outgoing byte; None for no wall. key_variable: the environment variable of the key, for messages.
    """

    def __init__(
        self,
        name: str,
        model: str,
        base_url: str,
        key: str = "",
        capabilities: Capabilities | None = None,
        *,
        wall: Wall | None = None,
        key_variable: str = "",
    ) -> None:
        self.name = name
        self.model = model
        self._server = Server(base_url, key, key_variable)
        self._capabilities = capabilities
        self._wall = wall
        self._client: AsyncOpenAI | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def ask(self, request: Request) -> Reply:
        """One HTTP attempt within `request.seconds`; no choice, or a refusal, is a reply with an empty text.

        OutageError, LanguageConfigurationError or PrivacyWallError otherwise.
        """
        client = self._open()
        capabilities = self._capabilities or usual_capabilities(self._server.base_url)
        deadline = asyncio.get_running_loop().time() + request.seconds
        try:
            return await attempt(client, self._server, self.model, request, capabilities)
        except UnknownModelError as error:
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            raise await with_models_served(error, client, self._server, self.model, left) from None

    async def close(self) -> None:
        """Give back connections; asked again, it opens new ones."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.close()

    def _open(self) -> AsyncOpenAI:
        """The client of the running loop: connections cannot outlive the loop they were made in."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client = guarded_client(self._server.base_url, self._server.key, self._wall)
            self._loop = loop
        return self._client
