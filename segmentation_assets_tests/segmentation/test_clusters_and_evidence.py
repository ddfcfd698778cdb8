"""K-means and the evidence for k."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from threadpoolctl import threadpool_limits

from segmentation_assets.segmentation.choose import choose_k
from segmentation_assets.segmentation.evidence import (
    EVIDENCE_SCHEMA,
    NULL_ROWS,
    STABILITY_ROWS,
    adjusted_rand,
    gather_evidence,
    overlap,
)
from segmentation_assets.segmentation.fingerprint import fingerprint
from segmentation_assets.segmentation.fit import fit_axis, prepare
from segmentation_assets.segmentation.kmeans import distinct_rows, fit_kmeans, predict
from segmentation_assets.segmentation.nulls import count_redraw
from segmentation_assets.segmentation.silhouette import silhouettes
from segmentation_assets.segmentation.spec import STAGE, TASTE


def blobs(n: int, k: int, seed: int = 0, spread: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    return rng.uniform(-4, 4, (k, 4))[labels] + rng.normal(0, spread, (n, 4)), labels


def test_a_fit_does_not_depend_on_the_number_of_threads() -> None:
    values, _ = blobs(6_000, 5)
    with threadpool_limits(1):
        one = fit_kmeans(values, 5, seed=1)
    with threadpool_limits(2):
        two = fit_kmeans(values, 5, seed=1)
    assert np.array_equal(one.centroids, two.centroids)
    assert np.array_equal(one.labels, two.labels)
    assert one.inertia == two.inertia


def test_inertia_is_as_low_as_many_full_starts_reach() -> None:
    values, _ = blobs(5_500, 6, spread=1.5)
    for k in (4, 9):
        best = KMeans(k, n_init=5, random_state=0).fit(values).inertia_
        assert fit_kmeans(values, k, seed=1).inertia <= best * 1.01


def test_prediction_agrees_with_the_fit_and_gives_distance_and_margin() -> None:
    values, _ = blobs(500, 3)
    fit = fit_kmeans(values, 3, seed=1)
    labels, distance, margin = predict(values, fit.centroids)
    assert np.array_equal(labels, fit.labels)
    every = np.sort(np.linalg.norm(values[:, None] - fit.centroids[None], axis=2), axis=1)
    assert np.allclose(distance, every[:, 0])
    assert np.allclose(margin, every[:, 1] - every[:, 0])
    assert np.isnan(predict(values, fit.centroids[:1])[2]).all()


def test_more_clusters_than_distinct_rows_are_refused() -> None:
    values = np.repeat([[0.0, 1.0], [1.0, 0.0]], 2000, axis=0)
    assert distinct_rows(values, 10) == 2
    with pytest.raises(ValueError, match="3 clusters need 3 distinct rows; there are 2"):
        fit_kmeans(values, 3, seed=1)


def test_blocked_silhouettes_are_exact() -> None:
    values, labels = blobs(1_300, 4, spread=1.5)
    other = np.random.default_rng(1).integers(0, 7, 1_300)
    ours = silhouettes(values, [labels, other])
    assert ours == pytest.approx([silhouette_score(values, labels), silhouette_score(values, other)], abs=1e-6)


def test_evidence_finds_planted_positions(stage_world: Callable) -> None:
    customers, position = stage_world(1, n=1500)
    prepared = prepare(customers, None, STAGE)
    evidence = gather_evidence(prepared.values, STAGE)
    assert dict(evidence.schema) == EVIDENCE_SCHEMA
    assert evidence["k"].to_list() == list(range(1, STAGE.k_max + 1))
    assert evidence["inertia"].is_sorted(descending=True)
    choice = choose_k(evidence, STAGE)
    assert (choice.k, choice.verdict) == (5, "natural")
    assert "Silhouette 0." in choice.reason
    labels = fit_axis(prepared, choice.k).clusters.labels
    assert adjusted_rand_score(position, labels) > 0.95
    assert evidence.filter(pl.col("k") == 2)["fails"][0].startswith("fewer than the 3 segments asked for")


@pytest.mark.parametrize("seed", [0, 4])
def test_tastes_are_found_nearly_as_well_as_by_one_who_knows_them(taste_world: Callable, seed: int) -> None:
    world = taste_world(seed)
    prepared = prepare(world.customers, world.shares, TASTE)
    labels = fit_axis(prepared, 6).clusters.labels
    ceiling = adjusted_rand_score(world.taste, world.bayes)
    assert adjusted_rand_score(world.taste, labels) >= 0.9 * ceiling


def test_the_chosen_number_of_tastes_is_near_the_planted_one(taste_world: Callable) -> None:
    world = taste_world(0)
    prepared = prepare(world.customers, world.shares, TASTE)
    redraw = count_redraw(prepared.matrix, prepared.pipeline)
    evidence = gather_evidence(prepared.values, TASTE, names=prepared.names, redraw=redraw)
    choice = choose_k(evidence, TASTE)
    assert (choice.k, choice.verdict) == (6, "natural")
    assert set(evidence["null_name"].drop_nulls()) <= {"counts", "copula", "gaussian"}


def test_activity_does_not_look_like_taste(taste_world: Callable) -> None:
    world = taste_world(2, n=2000, lines=(5, 60))
    lines = world.customers["order_count"].to_numpy()
    labels = fit_axis(prepare(world.customers, world.shares, TASTE), 6).clusters.labels
    means = np.array([lines[labels == cluster].mean() for cluster in range(6)])
    assert means.std() < 0.2 * lines.std()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((1, 2)), "too few customers to divide: 1"),
        (np.array([[0.0, 1.0], [1.0, 0.0]]), "too few customers to divide: 2"),
        (np.zeros((300, 2)), "all 300 customers are alike"),
    ],
)
def test_with_nothing_to_divide_there_is_one_segment(values: np.ndarray, words: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evidence = gather_evidence(values, STAGE)
        choice = choose_k(evidence, STAGE)
    assert evidence["k"].to_list() == [1]
    assert (choice.k, choice.verdict) == (1, "constructive")
    assert words in choice.reason


def test_few_distinct_rows_limit_k_without_warnings() -> None:
    values = np.repeat(np.array([[0.0, 0.0], [1.0, 3.0], [5.0, 1.0]]), 40, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evidence = gather_evidence(values, TASTE)
    assert evidence["k"].to_list() == [1, 2, 3]
    assert choose_k(evidence, TASTE).k == 3


def test_the_fingerprint_changes_with_what_matters_only() -> None:
    values, _ = blobs(100, 3)
    first = fingerprint(values, ["a", "b", "c", "d"], STAGE, 3)
    assert fingerprint(values + 1e-9, ["a", "b", "c", "d"], STAGE, 3) == first
    moved = values.copy()
    moved[7, 1] += 1e-3
    assert fingerprint(moved, ["a", "b", "c", "d"], STAGE, 3) != first
    assert fingerprint(values, ["a", "b", "c", "e"], STAGE, 3) != first
    assert fingerprint(values, ["a", "b", "c", "d"], STAGE, 4) != first
    assert fingerprint(values, ["a", "b", "c", "d"], dataclasses.replace(STAGE, seed=1), 3) != first


SMALL = dataclasses.replace(STAGE, k_min=2, k_max=4)


def test_a_cloud_is_not_above_its_nulls_and_planted_groups_are() -> None:
    cloud = np.random.default_rng(3).multivariate_normal(np.zeros(3), np.eye(3) * 0.5 + 0.5, 800)
    apart, _ = blobs(800, 3, seed=5)
    for values, is_planted in ((cloud, False), (apart, True)):
        evidence = gather_evidence(values, SMALL).filter(pl.col("k") == 3)
        excess = evidence["silhouette"][0] - evidence["null_silhouette"][0]
        assert (evidence["silhouette_z"][0] > 4) == is_planted
        assert (excess > 0.05) == is_planted


def test_the_first_row_has_inertia_and_gap_only() -> None:
    values, _ = blobs(300, 3)
    first = gather_evidence(values, SMALL).row(0, named=True)
    known = {name for name, value in first.items() if value is not None}
    assert known == {
        "k", "inertia", "gap", "gap_error", "smallest_share", "smallest_customers", "is_admissible", "fails",
    }  # fmt: skip
    assert first["inertia"] == pytest.approx(((values - values.mean(axis=0)) ** 2).sum())


def test_evidence_does_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    values, _ = blobs(1_200, 3)
    found = []
    for threads in (1, 3):
        monkeypatch.setattr("os.cpu_count", lambda threads=threads: threads)
        with threadpool_limits(threads):
            found.append(gather_evidence(values, SMALL))
    assert found[0].equals(found[1])


def test_what_is_compared_has_a_fixed_size_whatever_the_number_of_customers() -> None:
    seen: list[int] = []

    def halves(values: np.ndarray, k: int, seed: int) -> np.ndarray:
        seen.append(len(values))
        return (values[:, 0] > np.median(values[:, 0])).astype(np.int64)

    values, _ = blobs(6_000, 3)
    gather_evidence(values, dataclasses.replace(SMALL, k_max=2), cluster=halves)
    assert set(seen) == {6_000, NULL_ROWS, STABILITY_ROWS}


def test_another_algorithm_clusters_data_nulls_and_draws_alike() -> None:
    def by_first_column(values: np.ndarray, k: int, seed: int) -> np.ndarray:
        return np.searchsorted(np.quantile(values[:, 0], np.arange(1, k) / k), values[:, 0]).astype(np.int64)

    values = np.random.default_rng(1).normal(size=(600, 3))
    evidence = gather_evidence(values, SMALL, names=["spend", "b", "c"], cluster=by_first_column)
    second = evidence.row(1, named=True)
    assert second["smallest_customers"] == 300
    assert second["stability"] > 0.8
    assert second["one_feature"] == "spend"
    assert second["one_feature_accuracy"] > 0.95
    assert abs(second["silhouette"] - second["null_silhouette"]) < 0.02


def test_an_algorithm_that_labels_outside_its_clusters_is_refused() -> None:
    values, _ = blobs(100, 3)
    with pytest.raises(ValueError, match=r"gave 100 labels from -1 to -1 for 100 customers and k = 2"):
        gather_evidence(values, SMALL, cluster=lambda rows, k, seed: np.full(len(rows), -1))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_by_column(bad: float) -> None:
    values, _ = blobs(50, 3)
    values[3, 1] = values[4, 1] = values[5, 2] = bad
    words = "3 values of the matrix are missing or infinite, in money (2), column 3 (1); fill or leave them out"
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
        gather_evidence(values, SMALL, names=["days", "money"])


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=(400, 1)),
        np.column_stack([np.random.default_rng(0).normal(size=400), np.arange(400) == 7]),
        np.column_stack([np.random.default_rng(0).normal(size=400), np.ones(400)]),
        np.random.default_rng(0).integers(0, 2, (400, 2)).astype(float),
        np.random.default_rng(0).normal(size=(11, 2)),
    ],
    ids=["one column", "constant in most draws", "constant", "two-valued columns", "few customers"],
)
def test_poor_matrices_have_evidence_without_warnings_and_are_never_natural(values: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evidence = gather_evidence(values.astype(float), SMALL)
        choice = choose_k(evidence, SMALL)
    floats = evidence.select(pl.selectors.float()).fill_null(0.0).to_numpy()
    assert np.isfinite(floats).all()
    assert choice.verdict in {"reproducible", "constructive"}


def test_stability_of_a_cloud_does_not_grow_with_the_customers() -> None:
    def stable(n: int) -> np.ndarray:
        normal = np.random.default_rng(8).multivariate_normal(np.zeros(3), np.eye(3) * 0.6 + 0.4, n)
        return gather_evidence(np.log1p(np.exp(normal)), SMALL)["stability"].drop_nulls().to_numpy()

    assert abs(stable(3_000) - stable(30_000)).max() < 0.15


def test_the_adjusted_rand_index_is_the_known_one() -> None:
    rng = np.random.default_rng(4)
    left, right = rng.integers(0, 4, 300), rng.integers(0, 3, 300)
    right = np.where(rng.random(300) < 0.5, left % 3, right)
    assert adjusted_rand(overlap(left, right, 4, 3)) == pytest.approx(adjusted_rand_score(left, right))
    assert adjusted_rand(np.array([[9.0]])) == 1.0
