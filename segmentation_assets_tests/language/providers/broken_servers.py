"""Real HTTP servers on 127.0.0.1, each as broken as a test wants it: real sockets, the standard library only."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

#: What a server does with a connection, once it has read the request.
Behaviour = Callable[[socket.socket, threading.Event], None]


def http(body: bytes | str, status: str = "200 OK", kind: str = "application/json", **headers: str) -> bytes:
    """A whole HTTP response; names of headers with `_` for `-`."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n").encode() + content


def completion(text: str | None, **changes: Any) -> str:
    """A chat completion as OpenAI sends it, with `changes` to its top level; None leaves a key out."""
    content = {
        "id": "c1",
        "object": "chat.completion",
        "model": "answering-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    } | changes
    return json.dumps({key: value for key, value in content.items() if value is not None})


def sends(*responses: bytes) -> Behaviour:
    """Send one response per connection, in turn; the last one again and again."""

    def send(response: bytes) -> Behaviour:
        return lambda connection, _stop: connection.sendall(response)

    return in_turn(*map(send, responses))


@dataclass
class BrokenServer:
    """A server on a free port; `received` holds every request's bytes, headers and body."""

    behaviour: Behaviour
    received: list[bytes] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def bodies(self) -> list[Mapping[str, Any]]:
        """What was asked, as JSON; requests without a body left out."""
        return [json.loads(body) for request in self.received if (body := request.partition(b"\r\n\r\n")[2])]

    def stop(self) -> None:
        self._stop.set()
        # Closing a listener does not wake a thread that waits in it; a connection does.
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        for thread in self._threads:
            thread.join(timeout=2)
        self._listener.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            connection, _ = self._listener.accept()
            if self._stop.is_set():
                connection.close()
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # A client that gave up is what many of these tests are about.
        with connection, suppress(OSError):
            connection.settimeout(2)
            self.received.append(_read_request(connection))
            self.behaviour(connection, self._stop)


def _read_request(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        chunk = connection.recv(65536)
        if not chunk:
            return request
        request += chunk
    head, _, body = request.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < int(lengths[0] if lengths else 0):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """One behaviour per connection, in turn; the last one again and again."""
    queue = list(behaviours)

    def behave(connection: socket.socket, stop: threading.Event) -> None:
        (queue.pop(0) if len(queue) > 1 else queue[0])(connection, stop)

    return behave


def silence(_connection: socket.socket, stop: threading.Event) -> None:
    """Take the request and say nothing."""
    stop.wait(5)


def drip(connection: socket.socket, stop: threading.Event) -> None:
    """Begin a good response, and send a byte of it a second."""
    for byte in http(completion("{}")):
        connection.sendall(bytes([byte]))
        if stop.wait(1):
            return


def hang_up(connection: socket.socket, _stop: threading.Event) -> None:
    """Close without a word."""
    connection.shutdown(socket.SHUT_RDWR)


def pour(connection: socket.socket, stop: threading.Event) -> None:
    """Send for ever what was announced as a reply."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while not stop.is_set():
        connection.sendall(b'{"garbage": ' * 5000)
