"""Rank correlations against SciPy's, pair by pair."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from segmentation_assets.segmentation.correlations import CORRELATION_SCHEMA, rank_correlations


def test_one_swap_in_twelve_ranks() -> None:
    """Order counts 1 to 12; income grows with them but for one swap, so rho = 1 - 6 * 2 / (12 * 143)."""
    orders = list(range(1, 13))
    income = [{4: 5, 5: 4}.get(i, i) ** 3 for i in orders]
    frame = pl.DataFrame({"order_count": orders, "household_income": income, "kids": [7] * 12})
    found = rank_correlations(frame, frame.columns)
    assert found.rows() == [("household_income", "order_count", 0.993007, 12)]  # kids never vary: no row


def test_pairs_with_ties_agree_with_scipy_and_with_gaps_are_over_those_who_have_both() -> None:
    rng = np.random.default_rng(3)
    values = np.round(rng.normal(size=(400, 3)) @ rng.normal(size=(3, 4)), 1)
    frame = pl.DataFrame(values, schema=list("abcd"))
    whole = {(a, b): rho for a, b, rho, _ in rank_correlations(frame, list("dcba")).iter_rows()}
    assert len(whole) == 6
    for (a, b), rho in whole.items():
        assert rho == pytest.approx(spearmanr(frame[a], frame[b]).statistic, abs=1e-6)
    gaps = frame.with_columns(a=pl.when(pl.int_range(400) < 7).then(None).otherwise(pl.col("a")))
    assert {(a, n) for a, _, _, n in rank_correlations(gaps, list("abcd")).iter_rows()} == {
        ("a", 393), ("b", 400), ("c", 400)
    }  # fmt: skip
    few = gaps.with_columns(a=pl.when(pl.int_range(400) < 391).then(None).otherwise(pl.col("a")))
    assert rank_correlations(few, list("abcd"))["feature_a"].to_list() == ["b", "b", "c"]


def test_rows_in_another_order_give_the_same_figures() -> None:
    rng = np.random.default_rng(5)
    frame = pl.DataFrame(np.round(rng.gamma(1.0, 3.0, size=(5000, 5)), 2), schema=list("abcde"))
    assert rank_correlations(frame, frame.columns).equals(
        rank_correlations(frame.sample(fraction=1, shuffle=True, seed=1), frame.columns)
    )


def test_no_customers_give_no_rows() -> None:
    empty = pl.DataFrame(schema={"a": pl.Float64, "b": pl.Float64})
    found = rank_correlations(empty, ["a", "b"])
    assert found.is_empty()
    assert dict(found.schema) == {name: dtype() for name, dtype in CORRELATION_SCHEMA.items()}
