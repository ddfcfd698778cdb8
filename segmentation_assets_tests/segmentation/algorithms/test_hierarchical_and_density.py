"""Ward and HDBSCAN: fitted on a sample, extended to everybody."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import HDBSCAN, AgglomerativeClustering
from sklearn.datasets import make_moons
from sklearn.metrics import adjusted_rand_score

from segmentation_assets.segmentation.algorithms.density import DensityClusterer
from segmentation_assets.segmentation.algorithms.hierarchical import WardClusterer


def test_ward_on_all_rows_is_wards_tree() -> None:
    values = np.random.default_rng(0).normal(size=(300, 3))
    theirs = AgglomerativeClustering(5, linkage="ward").fit(values).labels_
    assert adjusted_rand_score(WardClusterer(5).fit(values).labels_, theirs) == 1


def test_rows_outside_wards_sample_take_the_nearest_rows_label() -> None:
    values = np.random.default_rng(0).normal(size=(500, 2))
    model = WardClusterer(3, fit_rows=100).fit(values)
    state = model.to_dict()["state"]
    rows, labels = np.array(state["rows"]), np.array(model.to_dict()["place"])[state["labels"]]
    nearest = np.linalg.norm(values[:, None] - rows[None], axis=2).argmin(axis=1)
    assert len(rows) == 100
    assert np.array_equal(model.labels_, labels[nearest])
    assert model.remark_ == "fitted on a sample of 100 rows, the others by their nearest neighbour in it"


def test_density_follows_half_moons() -> None:
    values, planted = make_moons(600, noise=0.05, random_state=0)
    assert adjusted_rand_score(planted, DensityClusterer(2).fit(values).labels_) > 0.98


def test_noise_takes_the_label_of_its_neighbours_and_the_remark_counts_it() -> None:
    values, _ = make_moons(600, noise=0.05, random_state=0)
    values = np.concatenate([values, np.random.default_rng(0).uniform(-2, 3, (60, 2))])
    model = DensityClusterer(2, smallest_share=0.1).fit(values)
    noise = HDBSCAN(min_cluster_size=66, min_samples=10, copy=True).fit(values).labels_ < 0
    assert noise.mean() > 0.02
    assert model.remark_ == f"{noise.mean():.0%} of its rows are noise, labelled by their neighbours"
    assert set(model.labels_) == {0, 1}


def test_without_dense_regions_there_is_one_cluster() -> None:
    values = np.random.default_rng(0).normal(size=(400, 3))
    model = DensityClusterer(5, smallest_share=0.3).fit(values)
    assert model.n_clusters_ == 1
    assert model.remark_ == "no dense region is set apart from the rest: one cluster"
    assert not model.predict(values).any()


def test_too_few_rows_for_two_dense_regions_are_one_cluster() -> None:
    assert DensityClusterer(2).fit(np.arange(8.0)[:, None]).n_clusters_ == 1


def test_the_number_asked_for_is_a_target_and_chooses_the_smallest_cluster() -> None:
    rng = np.random.default_rng(0)
    near = rng.choice(4, 800, p=[0.4, 0.4, 0.12, 0.08])
    values = np.array([[0, 0], [9, 0], [0, 9], [9, 9]])[near] + rng.normal(0, 0.5, (800, 2))
    model = DensityClusterer(4).fit(values)
    assert model.n_clusters_ == 4
    assert model.settled(3).smallest_share == 0.05
    assert DensityClusterer(4, smallest_share=0.3).fit(values).n_clusters_ == 2


def test_asking_for_more_clusters_than_there_are_finds_those_there_are() -> None:
    values, planted = make_moons(500, noise=0.04, random_state=1)
    model = DensityClusterer(9).fit(values)
    assert adjusted_rand_score(planted, model.labels_) > 0.98
