"""What tests of several folders need."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

SCALE = Path(__file__).resolve().parents[1] / "benchmarks" / "scale.py"
ONE_THREAD = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
#: Python runs a file of this name on its path when it starts.
NO_CONNECTIONS = """import socket


def refuse(self, address, *rest):
    raise OSError(f"a connection to {address} was tried")


socket.socket.connect = refuse
socket.socket.connect_ex = refuse
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test first, so that at the end no process works on it while the others have nothing left."""
    items.sort(key=lambda item: item.path.name != "test_interruptions.py")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT interrupts, here and in processes started from here; a shell's background job starts with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Make a folder once per test session, whichever worker asks first.

    With TEST_HOMES, a folder that outlives the session, once for all sessions that are given it: only for sessions on
    the same state of the code, as those of `.ci/run` are.
    """
    own = tmp_path_factory.getbasetemp()
    base = own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own
    base = Path(os.environ.get("TEST_HOMES") or base)

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder, done = base / name, base / f"{name}.done"
        with FileLock(base / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def one_thread(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The folder of a whole run in one thread, 400 customers (`home`), that the benchmark of scale measured.

    In its process every attempt to connect is an error, and there is no key of a language model. What the benchmark
    wrote and printed is in `scale.json` and `stdout.txt`.
    """

    def fill(folder: Path) -> None:
        (folder / "sitecustomize.py").write_text(NO_CONNECTIONS, encoding="utf-8")
        others = ("SEGMENTATION_", "DAGSTER_", "OPENAI_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        path = os.pathsep.join([str(folder), *filter(None, [kept.get("PYTHONPATH")])])
        done = subprocess.run(
            [sys.executable, str(SCALE), "--customers", "400", "--threads", "1",
             "--home", str(folder / "home"), "--json", str(folder / "scale.json")],
            capture_output=True,
            text=True,
            check=False,
            env={**kept, **ONE_THREAD, "PYTHONPATH": path},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "stdout.txt").write_text(done.stdout, encoding="utf-8")

    return once("one-thread", fill)
