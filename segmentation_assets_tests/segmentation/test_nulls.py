"""Null draws: what each keeps of a matrix, and what it breaks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.segmentation.fit import prepare
from segmentation_assets.segmentation.kmeans import fit_kmeans, one_thread
from segmentation_assets.segmentation.nulls import UnimodalCopula, copula, count_redraw, gaussian, permuted
from segmentation_assets.segmentation.preprocess import transform
from segmentation_assets.segmentation.silhouette import silhouettes
from segmentation_assets.segmentation.small_kmeans import cluster_many, small_silhouettes
from segmentation_assets.segmentation.spec import TASTE, NumericFeature


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed]))


def skewed(n: int = 3_000) -> np.ndarray:
    """Correlated, skewed columns, the last one mostly zeros."""
    normal = rng_of(1).multivariate_normal(np.zeros(4), 0.6 * np.ones((4, 4)) + 0.4 * np.eye(4), n)
    normal[:, 1] = np.exp(normal[:, 1])
    normal[:, 3] = np.maximum(normal[:, 3] - 0.3, 0.0)
    return normal


def modes(column: np.ndarray, bins: int = 24) -> int:
    """Peaks of a coarse, smoothed histogram that stand a fifth above the valley on either side."""
    heights = np.convolve(np.histogram(column, bins=bins)[0].astype(float), np.ones(3) / 3, mode="same")
    found, low, high, is_rising = 0, np.inf, 0.0, True
    for height in heights:
        if is_rising:
            high = max(high, height)
            if height < 0.8 * high:
                found, is_rising, low = found + 1, False, height
        else:
            low = min(low, height)
            if height > 1.25 * low + 0.02 * len(column) / bins:
                is_rising, high = True, height
    return found + is_rising


def test_permuted_columns_keep_their_margins_and_nothing_that_joins_them() -> None:
    values = skewed()
    drawn = permuted(values, rng_of(2))
    assert np.array_equal(np.sort(drawn, axis=0), np.sort(values, axis=0))
    assert abs(np.corrcoef(drawn, rowvar=False) - np.eye(4)).max() < 0.08


def test_the_gaussian_keeps_means_and_covariances_only() -> None:
    values = skewed()
    drawn = gaussian(values, rng_of(2))
    assert np.allclose(drawn.mean(axis=0), values.mean(axis=0), atol=0.15)
    assert np.allclose(np.corrcoef(drawn, rowvar=False), np.corrcoef(values, rowvar=False), atol=0.08)
    assert (drawn[:, 3] < 0).any()


def test_the_copula_keeps_correlations_skew_and_the_mass_at_zero() -> None:
    values = skewed()
    drawn = copula(values, rng_of(2))
    assert np.allclose(np.corrcoef(drawn, rowvar=False), np.corrcoef(values, rowvar=False), atol=0.08)
    assert (drawn[:, 3] == 0).mean() == pytest.approx((values[:, 3] == 0).mean(), abs=0.03)
    for share in (0.1, 0.5, 0.9):
        assert np.allclose(np.quantile(drawn, share, axis=0), np.quantile(values, share, axis=0), atol=0.2)


def test_the_copula_fills_the_valley_between_two_modes() -> None:
    rng = rng_of(3)
    values = np.column_stack([rng.choice([-3.0, 3.0], 4_000) + rng.normal(size=4_000), rng.normal(size=4_000)])
    drawn = copula(values, rng_of(4))
    assert (modes(values[:, 0]), modes(drawn[:, 0])) == (2, 1)
    assert drawn[:, 0].std() == pytest.approx(values[:, 0].std(), rel=0.1)


def test_columns_with_two_values_are_drawn_as_they_stand_together() -> None:
    rng = rng_of(5)
    one_hot = np.eye(3)[rng.choice(3, 2_000, p=[0.6, 0.3, 0.1])]
    number = rng.normal(size=2_000) + 1.5 * one_hot[:, 0]
    drawn = copula(np.column_stack([number, one_hot]), rng_of(6))
    assert np.array_equal(drawn[:, 1:].sum(axis=1), np.ones(2_000))
    assert drawn[:, 1].mean() == pytest.approx(0.6, abs=0.04)
    assert np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1] == pytest.approx(
        np.corrcoef(number, one_hot[:, 0])[0, 1], abs=0.06
    )


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 60),
    kinds=st.lists(st.sampled_from(["normal", "constant", "binary", "counts", "zeros"]), min_size=1, max_size=5),
)
def test_every_null_draw_is_finite_and_inside_the_range_of_the_data(seed: int, n: int, kinds: list[str]) -> None:
    rng = rng_of(seed)
    make = {
        "normal": lambda: rng.normal(size=n),
        "constant": lambda: np.full(n, 2.0),
        "binary": lambda: rng.integers(0, 2, n).astype(float),
        "counts": lambda: rng.poisson(2, n).astype(float),
        "zeros": lambda: np.where(rng.random(n) < 0.8, 0.0, rng.random(n)),
    }
    values = np.column_stack([make[kind]() for kind in kinds])
    for null in (permuted, copula):
        drawn = null(values, rng_of(seed + 1))
        assert drawn.shape == values.shape
        assert (drawn >= values.min(axis=0)).all()
        assert (drawn <= values.max(axis=0)).all()
    assert np.isfinite(gaussian(values, rng_of(seed + 1))).all()


def test_a_draw_depends_on_its_generator_only() -> None:
    null = UnimodalCopula(skewed())
    assert np.array_equal(null.draw(rng_of(1), 50), null.draw(rng_of(1), 50))
    assert not np.array_equal(null.draw(rng_of(1), 50), null.draw(rng_of(2), 50))


def test_redrawn_counts_keep_totals_and_overall_shares_and_lose_the_tastes(taste_world: Callable) -> None:
    world = taste_world(3)
    prepared = prepare(world.customers, world.shares, TASTE)
    redraw = count_redraw(prepared.matrix, prepared.pipeline)
    assert redraw is not None
    rows = np.arange(1_000)
    drawn = redraw(rng_of(1), rows)
    assert drawn.shape == (1_000, prepared.values.shape[1])
    assert drawn.mean(axis=0) == pytest.approx(prepared.values[rows].mean(axis=0), abs=0.25)
    # A customer's lines limit which shares are possible: with all lines on one value, the highest is the same.
    counts = prepared.matrix.inputs[rows].to_numpy()
    totals = counts.sum(axis=1)
    highest = pl.DataFrame(
        np.eye(counts.shape[1])[np.zeros(1_000, int)] * totals[:, None], schema=prepared.matrix.inputs.columns
    )
    assert (drawn[:, 0] <= transform(prepared.pipeline, highest)[:, 0] + 1e-9).all()
    spread = [
        fit_kmeans(matrix, 6, 1).inertia / fit_kmeans(matrix, 1, 1).inertia for matrix in (prepared.values[rows], drawn)
    ]
    assert spread[0] < spread[1] - 0.1


def test_numbers_beside_shares_are_redrawn_by_the_copula(taste_world: Callable) -> None:
    world = taste_world(3, n=600)
    spec = dataclasses.replace(TASTE, numeric=(NumericFeature("price_level"),))
    level = rng_of(1).choice([0.0, 10.0], 600) + rng_of(2).normal(size=600)
    prepared = prepare(world.customers.with_columns(price_level=level), world.shares, spec)
    redraw = count_redraw(prepared.matrix, prepared.pipeline)
    assert redraw is not None
    place = prepared.names.index("price_level")
    drawn = np.vstack([redraw(rng_of(seed), np.arange(600)) for seed in range(4)])
    assert (modes(prepared.values[:, place]), modes(drawn[:, place])) == (2, 1)


def test_amounts_are_redrawn_in_whole_units_rounded_up() -> None:
    rng = rng_of(1)
    spec = dataclasses.replace(TASTE, share_dimensions=(), share_columns=("wine", "fish"), buyers_only=False)
    customers = pl.DataFrame(
        {
            "customer_id": [f"C{n:03d}" for n in range(200)],
            "wine": rng.exponential(0.6, 200),
            "fish": rng.exponential(0.3, 200),
        }
    )
    prepared = prepare(customers, None, spec)
    redraw = count_redraw(prepared.matrix, prepared.pipeline)
    assert redraw is not None
    units = prepared.matrix.inputs.sum_horizontal().to_numpy()
    assert (units % 1 > 0).any()
    for customer in (3, 7):
        drawn = np.vstack([redraw(rng_of(seed), np.array([customer])) for seed in range(300)])
        # With m whole units on two columns there are m + 1 outcomes.
        assert 2 <= len(np.unique(np.round(drawn, 9), axis=0)) <= np.ceil(units[customer]) + 1


def test_an_axis_without_shares_has_no_counts_to_redraw(stage_world: Callable) -> None:
    customers, _ = stage_world(1, n=200)
    prepared = prepare(
        customers, None, dataclasses.replace(TASTE, share_dimensions=(), numeric=(NumericFeature("order_count"),))
    )
    assert count_redraw(prepared.matrix, prepared.pipeline) is None
    assert count_redraw(prepared.matrix, None) is None


def test_small_fits_at_once_are_as_good_as_one_by_one() -> None:
    rng = rng_of(7)
    samples = rng.normal(size=(5, 500, 4)) + 3 * rng.integers(0, 3, (5, 500, 1)) + 1_000
    with one_thread():
        labels, inertia = cluster_many(samples, [1, 3, 5], rng_of(8))
    for place, k in enumerate((1, 3, 5)):
        best = np.array([fit_kmeans(sample, k, 1).inertia for sample in samples])
        assert (inertia[place] <= best * 1.02).all()
        assert (inertia[place] >= best * 0.999).all()
    assert labels.shape == (3, 5, 500)
    assert [len(np.unique(own)) for own in labels[:, 0]] == [1, 3, 5]


def test_small_silhouettes_are_right_to_four_digits_far_from_the_origin() -> None:
    values = rng_of(9).normal(size=(700, 5)) + 1_000
    labels = np.stack([rng_of(10).integers(0, k, 700) for k in (2, 7)])
    labels[1, 0] = 6
    with one_thread():
        assert small_silhouettes(values, labels, [2, 7]) == pytest.approx(silhouettes(values, list(labels)), abs=1e-4)


def test_samples_with_fewer_distinct_rows_than_clusters_leave_clusters_empty() -> None:
    samples = np.repeat(np.array([[[0.0, 0.0], [4.0, 4.0]]]), 20, axis=1)
    with one_thread():
        labels, inertia = cluster_many(samples, [2, 4], rng_of(1))
        assert small_silhouettes(samples[0], labels[:, 0], [2, 4])[0] == pytest.approx(1.0)
    assert inertia == pytest.approx(0.0, abs=1e-6)
    assert len(np.unique(labels[1])) == 2
