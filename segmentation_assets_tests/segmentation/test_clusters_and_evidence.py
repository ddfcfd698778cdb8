"""K-means, the evidence for k, and the rule that chooses."""

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

from segmentation_assets.segmentation.choose import choose_k, elbow_of
from segmentation_assets.segmentation.evidence import EVIDENCE_SCHEMA, gather_evidence, silhouettes
from segmentation_assets.segmentation.fingerprint import fingerprint
from segmentation_assets.segmentation.fit import fit_axis, prepare
from segmentation_assets.segmentation.kmeans import distinct_rows, fit_kmeans, predict
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
    assert evidence["k"].to_list() == list(range(1, 11))
    assert evidence["inertia"].is_sorted(descending=True)
    choice = choose_k(evidence, STAGE)
    assert (choice.k, choice.verdict) == (5, "reproducible")
    assert "5 segments: silhouette" in choice.reason
    labels = fit_axis(prepared, choice.k).clusters.labels
    assert adjusted_rand_score(position, labels) > 0.95
    assert evidence.filter(pl.col("k") == 2)["fails"][0].startswith("fewer than the 3 segments asked for")
    assert gather_evidence(prepared.values, STAGE).equals(evidence)


@pytest.mark.parametrize("seed", [0, 4])
def test_tastes_are_found_nearly_as_well_as_by_one_who_knows_them(taste_world: Callable, seed: int) -> None:
    world = taste_world(seed)
    prepared = prepare(world.customers, world.shares, TASTE)
    labels = fit_axis(prepared, 6).clusters.labels
    ceiling = adjusted_rand_score(world.taste, world.bayes)
    assert adjusted_rand_score(world.taste, labels) >= 0.9 * ceiling


def test_the_chosen_number_of_tastes_is_near_the_planted_one(taste_world: Callable) -> None:
    world = taste_world(0)
    choice = choose_k(gather_evidence(prepare(world.customers, world.shares, TASTE).values, TASTE), TASTE)
    assert abs(choice.k - 6) <= 1


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


def test_without_an_admissible_k_the_cut_is_constructive_and_says_what_failed() -> None:
    noise = np.random.default_rng(0).normal(size=(600, 8))
    strict = dataclasses.replace(STAGE, stability_floor=1.01)
    choice = choose_k(gather_evidence(noise, strict), strict)
    assert choice.verdict == "constructive"
    assert choice.k >= 3
    assert "is below 1.01" in choice.reason


def test_an_axis_that_is_off_has_no_evidence_and_a_choice_of_zero() -> None:
    evidence = gather_evidence(np.zeros((0, 0)), TASTE)
    assert evidence.is_empty()
    assert dict(evidence.schema) == EVIDENCE_SCHEMA
    choice = choose_k(evidence, TASTE, "No lines.")
    assert (choice.k, choice.verdict, choice.reason, choice.chosen_by) == (0, "off", "No lines.", "rule")
    assert choice.frame().height == 1


def test_the_elbow_is_where_inertia_leaves_the_line_of_structureless_data() -> None:
    ks = np.arange(1, 11)
    smooth = 1000.0 * ks**-0.3
    bent = smooth * np.where(ks >= 4, 0.5, 1.0)
    assert elbow_of(ks, bent) == 4
    assert elbow_of(ks[:2], bent[:2]) == 2


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


def test_where_no_k_keeps_every_floor_one_with_segments_of_two_people_is_not_taken() -> None:
    rows = [
        (1, 100.0, None, None, None, 1.0, 92, False, "fewer"),
        (3, 60.0, 0.2, 0.1, 0.60, 0.10, 9, False, "stability 0.60 is below 0.75"),
        (8, 20.0, 0.3, 0.1, 0.74, 0.022, 2, False, "smallest segment has 2 customers, fewer than 5"),
    ]
    choice = choose_k(pl.DataFrame(rows, schema=EVIDENCE_SCHEMA, orient="row"), STAGE)
    assert (choice.k, choice.verdict) == (3, "constructive")
    assert "stability 0.60 is below 0.75" in choice.reason
