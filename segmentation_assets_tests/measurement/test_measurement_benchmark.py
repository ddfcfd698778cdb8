"""The benchmark of the measurement core runs, and its promises hold in a few thousand simulations."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measurement_benchmark", ROOT / "benchmarks" / "measurement.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_buying_rates_are_covered_exactly_as_often_as_promised(benchmark: ModuleType) -> None:
    for treated, p, control, q in ((9_000, 0.005, 1_000, 0.005), (9_000, 0.024, 1_000, 0.02), (500, 0.2, 500, 0.2)):
        covered, above = benchmark._exact(benchmark.newcombe, treated, p, control, q)
        assert 0.94 < covered < 0.96
        assert above < 0.032
    wald, _ = benchmark._exact(benchmark.wald_difference, 2_700, 0.0057, 300, 0.0057)
    assert wald < 0.90


def test_every_table_of_the_benchmark_is_printed(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["measurement.py", "--simulations", "5", "--only", "looks"])
    benchmark.main()
    assert "1.96 at every look" in capsys.readouterr().out
    for name in ("aa", "ratios", "pools", "families", "shrunken", "seconds"):
        assert list(benchmark.TABLES[name](3, 1)), name


@pytest.mark.slow
def test_2000_simulations_keep_every_promise(benchmark: ModuleType) -> None:
    for line in benchmark.proportions(2_000, 1):
        if line["customers"] >= 10_000:
            assert 94 <= float(line["exactly"]) <= 96, line
            assert float(line["false lift"]) <= 3.2, line
    for line in benchmark.margins(2_000, 1):
        if line["control buyers"] >= 300:
            assert 93.5 <= float(line["no lift: Hall"]) <= 97.2, line
            assert float(line["false lift"]) <= 3.2, line
    for line in benchmark.same_on_both_sides(2_000, 1):
        assert 3.5 <= float(line["buyers differ"]) <= 6.5, line
    for line in benchmark.families(2_000, 1):
        assert float(line["Fisher's p, Holm"]) <= 5.5, line
