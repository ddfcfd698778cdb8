"""The Gaussian mixture: shapes K-means cannot see, and an assignment of its own."""

from __future__ import annotations

import numpy as np
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score

from segmentation_assets.segmentation.algorithms.mixture import MixtureClusterer
from segmentation_assets.segmentation.kmeans import fit_kmeans


def slabs(n: int = 1_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two long thin tilted groups side by side."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 2, n)
    along, across = rng.normal(0, 3, n), rng.normal(0, 0.3, n) + 2.5 * group
    return np.column_stack([along + across, along - across]), group


def test_long_tilted_groups_are_told_apart_where_kmeans_cuts_across() -> None:
    values, group = slabs()
    assert adjusted_rand_score(group, MixtureClusterer(2).fit(values).labels_) > 0.98
    assert adjusted_rand_score(group, fit_kmeans(values, 2, 0).labels) < 0.3


def test_a_row_takes_the_component_under_which_it_is_likeliest() -> None:
    values, _ = slabs()
    values = values + np.random.default_rng(1).normal(0, 1, values.shape)
    model = MixtureClusterer(3, random_state=2).fit(values)
    state = model.to_dict()["state"]
    densities = np.column_stack(
        [
            np.log(weight) + multivariate_normal(mean, covariance).logpdf(values)
            for weight, mean, covariance in zip(state["weights"], state["means"], state["covariances"], strict=True)
        ]
    )
    assert np.array_equal(np.array(model.to_dict()["place"])[densities.argmax(axis=1)], model.labels_)


def test_few_rows_get_diagonal_covariances_and_the_remark_says_so() -> None:
    values = np.random.default_rng(0).normal(size=(100, 8))
    values[50:, 0] += 9
    model = MixtureClusterer(2).fit(values)
    assert model.remark_ == "diagonal covariances: 2 full ones of 8 columns need 144 rows"
    assert adjusted_rand_score(np.arange(100) >= 50, model.labels_) == 1
    thawed = MixtureClusterer.from_dict(model.to_dict())
    assert np.array_equal(thawed.predict(values), model.labels_)


def test_a_draw_keeps_the_kind_of_covariances_of_the_whole() -> None:
    values, _ = slabs(400)
    model = MixtureClusterer(2).fit(values)
    again = model.settled(9)
    assert (again.covariance, again.random_state) == ("full", 9)
    few = again.fit(values[:10])
    assert np.array(few.to_dict()["state"]["covariances"]).shape == (2, 2, 2)
    assert few.remark_ == ""
