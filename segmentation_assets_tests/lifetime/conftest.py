"""Customers drawn from planted parameters, and the public CDNOW sample where its file is there."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from segmentation_assets.settings import PROJECT_ROOT

DATA = PROJECT_ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def benchmark() -> ModuleType:
    """`benchmarks/lifetime.py`, whose draws and figures these tests share."""
    spec = importlib.util.spec_from_file_location("lifetime_benchmark", PROJECT_ROOT / "benchmarks" / "lifetime.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


Draw = Callable[..., pl.DataFrame]


@pytest.fixture(scope="session")
def draw(benchmark: ModuleType) -> Draw:
    """Purchases of customers who do exactly what the models assume."""
    found: Draw = benchmark.draw_purchases
    return found


@pytest.fixture(scope="session")
def cdnow(benchmark: ModuleType) -> pl.DataFrame:
    """The CDNOW purchases; skipped with the reason where the file is absent."""
    path: Path = DATA / "cdnow_sample.txt"
    if not path.exists():
        pytest.skip(f"The public data files are not there ({DATA}).")
    found: pl.DataFrame = benchmark.read_cdnow(path)
    return found
