"""The benchmarks of matching measure what they say: nobody beats an oracle, and who knows as much reaches it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

ROOT = Path(__file__).resolve().parents[2]
CUSTOMERS = 400


@pytest.fixture(scope="module")
def matching() -> ModuleType:
    spec = importlib.util.spec_from_file_location("matching_benchmark", ROOT / "benchmarks" / "matching.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _world() -> tuple[pl.DataFrame, np.ndarray]:
    """Two tastes, of which the second buys the product, and an activity that everybody can see."""
    rng = np.random.default_rng(3)
    activity = rng.gamma(1.5, 1.0, CUSTOMERS).round(9)
    taste = rng.integers(1, 3, CUSTOMERS)
    members = pl.DataFrame(
        {
            "customer_id": [f"C{i:03d}" for i in range(CUSTOMERS)],
            "taste_segment_id": np.array(["T0", "T1", "T2"])[taste],
            "stage_group": ["loyal"] * CUSTOMERS,
            "is_adult": [True] * CUSTOMERS,
            "expected_products": activity,
        }
    )
    return members, np.where(taste == 2, 0.2, 0.02)


def _matches(members: pl.DataFrame, taste: str, floor: float) -> pl.DataFrame:
    own = members.filter((pl.col("taste_segment_id") == taste) & (pl.col("expected_products") >= floor))
    return pl.DataFrame(
        {
            "product_id": ["P1"], "stage_group": ["loyal"], "taste_segment_id": [taste], "activity_floor": [floor],
            "audience_customers": [own.height],
        }
    )  # fmt: skip


def test_the_right_taste_reaches_the_oracle_and_the_wrong_one_does_not(matching: ModuleType) -> None:
    members, leaning = _world()
    truth = matching.Planted(
        members["customer_id"].to_list(),
        ["P1"],
        leaning[:, None],
        leaning[:, None],
        *[members["expected_products"].to_numpy()] * 2,
    )
    right = matching.oracle_lift(_matches(members, "T2", 2.0), members, truth)
    assert right.matches == pytest.approx(right.oracle) == pytest.approx(right.individual_oracle)
    assert right.matches == pytest.approx(right.taste_oracle)
    assert right.matches > right.most_active > 1
    wrong = matching.oracle_lift(_matches(members, "T1", 2.0), members, truth)
    assert wrong.matches < 0.2 * wrong.oracle and wrong.matches < wrong.most_active


def test_goods_for_adults_are_held_to_an_oracle_among_adults(matching: ModuleType) -> None:
    members, leaning = _world()
    members = members.with_columns(is_adult=pl.int_range(pl.len()) % 2 == 0)
    truth = matching.Planted(
        members["customer_id"].to_list(),
        ["P1"],
        leaning[:, None],
        leaning[:, None],
        *[members["expected_products"].to_numpy()] * 2,
    )
    adults = members.filter("is_adult")
    found = matching.oracle_lift(_matches(adults, "T2", 2.0), members, truth)
    assert found.customers == _matches(adults, "T2", 2.0)["audience_customers"][0]
    assert found.matches == pytest.approx(found.oracle)


def test_a_home_without_an_answer_key_is_a_sentence_and_exit_code_1(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "matching.py", tmp_path], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "has no answer key: only a synthetic world that was run has one." in ended.stderr


@pytest.mark.slow
def test_the_whole_of_matching_is_timed_step_by_step() -> None:
    ended = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "merchandising_scale.py", "--customers", "3000", "--products", "120"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    for step in ("affinity.product_affinity", "matching.match_products", "offer_plan.plan_offers",
                 "next_best.recommend", "all but the world"):  # fmt: skip
        assert step in ended.stdout
