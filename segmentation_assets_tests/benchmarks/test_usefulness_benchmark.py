"""The benchmark of usefulness says what is missing instead of making a home of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_home_without_a_run_is_a_sentence_and_exit_code_1(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "usefulness.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"There is no warehouse in {tmp_path}: run `segmentation run --home {tmp_path}` first.\n"
    assert list(tmp_path.iterdir()) == []
