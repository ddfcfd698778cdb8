"""The benchmark of the residual scan measures what it says, and the scan keeps its promise on a small draw."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from segmentation_assets.language.rendering import render

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("grounding_benchmark", ROOT / "benchmarks" / "grounding.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_most_injected_errors_are_caught_and_correct_texts_pass(benchmark: ModuleType) -> None:
    result = benchmark.measure(benchmark.correct_texts(60, seed=11), 140, seed=11)
    assert result.texts == 60
    assert sum(of for _, of in result.caught.values()) == 140
    # A draw of twenty per class: the promise of each class is kept, or not, by the whole benchmark.
    assert result.share() >= 0.96
    assert all(result.share(kind) >= 0.8 for kind in benchmark.CLASSES)
    assert max(result.false_alarms.values()) <= 1


def test_every_injected_text_differs_from_the_correct_one_in_its_form(benchmark: ModuleType) -> None:
    texts = benchmark.correct_texts(40, seed=12)
    seen = set()
    for injection in benchmark.injected(texts, 56, seed=12):
        right = injection.text.template
        right = right if injection.form == "placeholders" else render(right, injection.text.book)
        assert injection.bad != right
        seen.add((injection.kind, injection.form))
    assert seen == {(kind, form) for kind in benchmark.CLASSES for form in benchmark.FORMS}


def test_a_scan_that_finds_nothing_would_show_in_the_result(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "alarms", lambda *given: [])
    result = benchmark.measure(benchmark.correct_texts(20, seed=13), 28, seed=13)
    assert result.share() == 0
    assert len(result.missed) == 28
    assert "0 of 2" in benchmark.report("blind", result)


def test_the_same_seed_gives_the_same_texts_and_errors(benchmark: ModuleType) -> None:
    first, second = (
        [injection.bad for injection in benchmark.injected(benchmark.correct_texts(20, seed=14), 20, seed=14)]
        for _ in range(2)
    )
    assert first == second


def test_the_held_out_wordings_are_none_of_the_others(benchmark: ModuleType) -> None:
    at_hand = {one.template for one in benchmark.SEGMENT_PARAPHRASES + benchmark.MAIL_PARAPHRASES}
    held_out = {one.template for one in benchmark.HELD_OUT_SEGMENT_PARAPHRASES + benchmark.HELD_OUT_MAIL_PARAPHRASES}
    assert not at_hand & held_out
    assert {text.template for text in benchmark.correct_texts(30, seed=15, held_out=True)} <= held_out
