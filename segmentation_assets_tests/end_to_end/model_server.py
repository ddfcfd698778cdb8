"""A model server of the OpenAI protocol on 127.0.0.1 that keeps every byte it receives, and a model that answers well.

What it says is scripted; the HTTP is real. A fault may take the place of the answer.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "scripted-1"
Fault = Callable[[BaseHTTPRequestHandler, dict[str, Any]], bool]

#: Neutral, and not what the rule would say.
NAMES = ("Quiet corner", "Calm harbour", "Blue door", "North window", "Far meadow", "Old bridge", "Long table",
         "Open yard", "Round hall", "Green hill", "Warm evening", "Tall tower")  # fmt: skip


@dataclass
class ModelServer:
    """What a test sees of the server: what came in, and where it is."""

    base_url: str
    received: list[bytes] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    fault: Fault | None = None

    def asked(self) -> list[dict[str, Any]]:
        """The requests that were tasks, without the probe."""
        return [body for body in self.requests if task_of(body) not in {"ProbeAnswer", ""}]


def task_of(body: dict[str, Any]) -> str:
    """The name of the answer's form that a request asks for."""
    return str(body.get("response_format", {}).get("json_schema", {}).get("name", ""))


@contextmanager
def model_server(fault: Fault | None = None) -> Iterator[ModelServer]:
    """Serve until the block ends; afterwards nobody listens there."""
    state = ModelServer("", fault=fault)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            state.received.append(f"{self.requestline}\n{self.headers}".encode())
            self.reply({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            state.received.append(f"{self.requestline}\n{self.headers}".encode() + content)
            body = json.loads(content)
            state.requests.append(body)
            if state.fault is not None and state.fault(self, body):
                return
            text = answer(body)
            self.reply(
                {
                    "id": "x", "object": "chat.completion", "created": 0, "model": MODEL,
                    "choices": [
                        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
                    ],
                    "usage": {"prompt_tokens": len(content) // 4, "completion_tokens": len(text) // 4,
                              "total_tokens": (len(content) + len(text)) // 4},
                }
            )  # fmt: skip

        def reply(self, content: dict[str, Any]) -> None:
            payload = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(body: dict[str, Any]) -> str:
    """A good answer to a request of this project, made from the request alone."""
    schema = body["response_format"]["json_schema"]["schema"]
    prompt = body["messages"][1]["content"]
    listed = set(re.findall(r"\{\{([a-z0-9_.]+)\}\}: ", prompt))
    match task_of(body):
        case "ProbeAnswer":
            found: Any = {"colour": "blue"}
        case "ChooseKAnswer":
            found = {"k": _options(schema, "k")[-1], "reason": "These groups came back with {{stability}} agreement."}
        case "NamesAnswer":
            ids = schema["properties"]["names"]["items"]["properties"]["segment_id"]["enum"]
            start = 6 if str(ids[0]).startswith("T") else 0
            found = {"names": [{"segment_id": i, "name": NAMES[start + place]} for place, i in enumerate(ids)]}
        case "ProfileAnswer":
            reach = "E-mail reaches {{reachable}} of them." if "reachable" in listed else "E-mail reaches them."
            found = {
                "who": "These are {{customers}} customers who know what they want.", "what": "They want good things.",
                "how": reach, "objective": "Give them a good reason for the next visit.",
                "message": "Here is something that we think you will like.", "channel": _options(schema, "channel")[0],
                "resonance": "They know the shop and read what it writes.", "do_not": "Do not write to them too often.",
            }  # fmt: skip
        case "StrategyAnswer":
            found = {
                "goal": "Keep them with us.", "approach": "Write about what they like, and listen to what they say.",
                "cadence": "Write now and then.", "offer_stance": _options(schema, "offer_stance")[0],
                "measure": "Look at how many of the {{customers}} customers order.", "risk": "They may not read it.",
            }  # fmt: skip
        case "MatchAnswer":
            found = {"choice": "c1", "reason": "We expect a margin of {{c1.margin}} from these customers."}
        case "CritiqueAnswer":
            found = {"verdict": "send", "problems": [], "strength": "It is clear and short."}
        case "EmailAnswer":
            found = {"a": _copy(listed, "Something new for you"), "b": _copy(listed, "A choice made with care")}
        case "AudiencesAnswer":
            rule = re.search(r'\{\{a1\.rule\}\}: "([^"]*?) at (least|most) ', prompt)
            subject, bound = (rule[1], rule[2]) if rule else ("orders", "least")
            found = {
                "audiences": [
                    {
                        "choice": "a1", "name": "A kind of their own",
                        "description": f"These {{{{a1.customers}}}} customers have {subject} of at {bound} "
                        "{{a1.threshold}}.",
                    }
                ]
            }  # fmt: skip
        case _:
            found = {}
    return json.dumps(found)


def _options(schema: dict[str, Any], name: str) -> list[Any]:
    return list(schema["properties"][name]["enum"])


def _copy(listed: set[str], subject: str) -> dict[str, str]:
    until = (
        "{{discount}} off until {{valid_until}}, already taken off the prices you see."
        if "discount" in listed
        else "You can have them at the usual price until {{valid_until}}."
    )
    return {
        "subject": subject, "preheader": "Have a look when you like.",
        "opening": "You may like {{product1}}, and we chose it for you."
        if "new" in subject
        else "We thought of you when we saw {{product1}}, and of what you like.",
        "offer": until if "new" in subject else f"For you: {until[0].lower()}{until[1:]}",
        "closing": "Tell us what you think of it." if "new" in subject else "Write to us when you have a question.",
        "call_to_action": "See what is new" if "new" in subject else "See our choice",
    }  # fmt: skip
