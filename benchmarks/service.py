"""How fast the service answers under a steady load, and whether everything it answered was kept.

`python benchmarks/service.py [--rate 500] [--seconds 20] [--workers 1]` makes a HOME with a campaign of 20,000 sends in
a temporary folder, starts `segmentation serve` on it in one process and a client in another, and prints the
percentiles of the time to answer, errors, and the events kept after folding. The client is open-loop: a request is due
at its moment whether or not the ones before were answered, and its time counts from that moment, so a server that
stalls is not asked less. The mix: 55 % pixels, 35 % clicks, 5 % refusals, 5 % forged tokens, each of another send.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from segmentation_assets.delivery.campaign import send_id
from segmentation_assets.delivery.events import fold_spool
from segmentation_assets.delivery.keys import open_key
from segmentation_assets.delivery.tokens import TokenKind, TokenSigner
from segmentation_assets.settings import Home
from segmentation_assets.state.store import open_state
from segmentation_assets_tests.service.world import add_campaign

SENDS = 20_000
_SERVE = "from segmentation_assets.cli_serve import serve_app\nif __name__ == '__main__': serve_app()"
_FORM = "List-Unsubscribe=One-Click"


def requests_for(signer: TokenSigner, count: int, seed: int = 1) -> list[str]:
    """`count` raw requests of the mix."""
    draw = random.Random(seed)
    made = []
    for number in range(count):
        send = send_id("bench", f"C{number % SENDS}")
        kind = draw.random()
        if kind < 0.55:
            line = f"GET /o/{signer.make(TokenKind.OPEN, send)}.gif"
        elif kind < 0.90:
            line = f"GET /c/{signer.make(TokenKind.CLICK, send)}"
        elif kind < 0.95:
            line = f"POST /u/{signer.make(TokenKind.UNSUBSCRIBE, send)}"
        else:
            line = f"GET /c/{signer.make(TokenKind.OPEN, send)}"
        body = _FORM if line.startswith("POST") else ""
        form = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n" if body else ""
        made.append(f"{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Mozilla/5.0\r\n{form}\r\n{body}")
    return made


async def _ask(pool: asyncio.LifoQueue[tuple[asyncio.StreamReader, asyncio.StreamWriter]], port: int, text: str) -> int:
    try:
        reader, writer = pool.get_nowait()
    except asyncio.QueueEmpty:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text.encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    if length:
        await reader.readexactly(int(length[1]))
    pool.put_nowait((reader, writer))
    return int(head[9:12])


async def _load(port: int, texts: list[str], rate: float) -> dict[str, object]:
    pool: asyncio.LifoQueue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.LifoQueue()
    times: list[float] = []
    statuses: dict[str, int] = {}

    async def one(text: str, due: float) -> None:
        try:
            status = str(await _ask(pool, port, text))
        except (OSError, asyncio.IncompleteReadError) as error:
            status = type(error).__name__
        times.append(time.perf_counter() - due)
        statuses[status] = statuses.get(status, 0) + 1

    begin = time.perf_counter() + 0.2
    tasks = []
    for number, text in enumerate(texts):
        due = begin + number / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(text, due)))
    await asyncio.gather(*tasks)
    return {"times": times, "statuses": statuses}


def _client(port: int, path: Path, rate: float) -> None:
    """The client's process: requests from a file, figures to standard output."""
    told = asyncio.run(_load(port, json.loads(path.read_text()), rate))
    print(json.dumps(told))


def measure(rate: float, seconds: float, workers: int) -> None:
    """One run, printed."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        with open_state(home.state) as store:
            add_campaign(store, "bench", ("https://shop.example/",), [f"C{number}" for number in range(SENDS)])
            signer = TokenSigner(open_key(home.secret_key, store))
        texts = requests_for(signer, int(rate * seconds))
        path = Path(folder) / "requests.json"
        path.write_text(json.dumps(texts))
        command = [sys.executable, "-c", _SERVE, "--home", folder, "--port", "0", "--workers", str(workers)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            found = re.search(r":(\d+)/", server.stdout.readline() if server.stdout else "")
            if found is None:
                sys.exit("The service did not start.")
            asyncio.run(_load(int(found[1]), texts[:1], 1.0))  # until it answers
            load = os.getloadavg()[0]
            client = [sys.executable, __file__, "--client", found[1], "--requests", str(path), "--rate", str(rate)]
            before = psutil.Process(server.pid).cpu_times()
            told = json.loads(subprocess.run(client, capture_output=True, text=True, check=True).stdout)
            after = psutil.Process(server.pid).cpu_times()
        finally:
            server.terminate()
            server.wait(30)
        with open_state(home.state) as store:
            began = time.perf_counter()
            report = fold_spool(home.spool, store)
            folding = time.perf_counter() - began
    times = sorted(told["times"])
    p50, p99, p999 = (times[min(len(times) - 1, int(len(times) * share))] * 1000 for share in (0.5, 0.99, 0.999))
    print(f"{rate:g} requests a second for {seconds:g} s, {workers} worker(s), machine's load before {load:.1f}")
    print(f"p50 {p50:.1f} ms   p99 {p99:.1f} ms   p99.9 {p999:.1f} ms   longest {times[-1] * 1000:.1f} ms")
    used = after.user + after.system - before.user - before.system
    print(f"processor time of the service's first process: {used:.1f} s of {seconds:g} s")
    print(f"answers by status: {told['statuses']}   of {len(texts):,} asked")
    genuine = sum(count for status, count in told["statuses"].items() if status in ("200", "302"))
    print(f"events answered {genuine:,} (and one before), kept {report.lines:,}")
    print(f"folded in {folding:.1f} s: {report.sentence}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--client", type=int)
    parser.add_argument("--requests", type=Path)
    given = parser.parse_args()
    if given.client:
        _client(given.client, given.requests, given.rate)
    else:
        measure(given.rate, given.seconds, given.workers)
