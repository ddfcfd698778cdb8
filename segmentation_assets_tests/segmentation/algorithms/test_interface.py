"""What every algorithm promises: scikit-learn's conventions, the same answer everywhere, frozen without pickles."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from segmentation_assets.segmentation.algorithms.base import Clusterer, ClusteringError, cluster_means, drawn_rows
from segmentation_assets.segmentation.algorithms.centroids import KMeansClusterer
from segmentation_assets.segmentation.algorithms.registry import (
    ALGORITHMS,
    UnknownAlgorithmError,
    make_clusterer,
    samples,
    thaw,
)
from segmentation_assets.segmentation.kmeans import distinct_rows, predict

COLUMNS = ("recency_days", "order_count", "basket", "tenure_days")
#: All that need no optional package; the autoencoder is tested beside its network.
NAMES = [name for name in ALGORITHMS if name != "autoencoder_kmeans"]


def blobs(n: int = 400, k: int = 3, seed: int = 0, spread: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    corners = 4 * np.array([[0, 0, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [1, 1, 0, 0], [0, 0, 1, 1]], dtype=float)
    return corners[labels] + rng.normal(0, spread, (n, 4)), labels


def made(name: str, k: int = 3, **settings: int) -> Clusterer:
    return make_clusterer(name, k, 7, columns=COLUMNS, **settings)


@pytest.mark.parametrize("name", NAMES)
def test_planted_groups_are_found_and_predicted(name: str) -> None:
    values, planted = blobs()
    model = made(name).fit(values)
    assert model.n_clusters_ == 3
    assert model.labels_.dtype == np.int64
    assert adjusted_rand_score(planted, model.labels_) > 0.98
    assert np.array_equal(model.predict(values), model.labels_)
    fresh, theirs = blobs(seed=1)
    assert adjusted_rand_score(theirs, model.predict(fresh)) > 0.98


@pytest.mark.parametrize("name", NAMES)
def test_clusters_are_sorted_by_their_mean_rows(name: str) -> None:
    values, _ = blobs(spread=1.0)
    model = made(name).fit(values)
    means, counts = cluster_means(values, model.labels_, model.n_clusters_)
    assert counts.min() > 0
    assert np.allclose(model.cluster_centers_, means, atol=1e-6)
    assert np.array_equal(np.lexsort(np.round(means, 9).T[::-1]), np.arange(len(means)))


@pytest.mark.parametrize("name", NAMES)
def test_a_thawed_model_assigns_to_the_last_bit_as_the_fitted_one(name: str) -> None:
    values, _ = blobs(spread=1.5)
    model = made(name).fit(values)
    thawed = thaw(json.loads(json.dumps(model.to_dict())))
    fresh, _ = blobs(seed=2, spread=1.5)
    for ours, theirs in zip(thawed.measure(fresh), model.measure(fresh), strict=True):
        assert np.array_equal(ours, theirs, equal_nan=True)
    assert thawed.to_dict() == model.to_dict()
    assert (thawed.remark_, thawed.n_clusters_) == (model.remark_, model.n_clusters_)


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_threads_changes_nothing(name: str) -> None:
    values, _ = blobs(600, spread=1.5)
    with threadpool_limits(1):
        one = made(name).fit(values).to_dict()
    with threadpool_limits(2):
        two = made(name).fit(values).to_dict()
    assert one == two


@pytest.mark.parametrize("name", NAMES)
def test_clones_and_pipelines_work_as_in_scikit_learn(name: str) -> None:
    values, planted = blobs()
    model = made(name)
    copied = clone(model)
    assert copied.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        copied.predict(values)
    labels = make_pipeline(PCA(2), model.set_params(columns=COLUMNS[:2])).fit_predict(values)
    assert adjusted_rand_score(planted, labels) > 0.95


@pytest.mark.parametrize("name", list(ALGORITHMS))
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 4)), "3 clusters need 3 distinct rows; there are 1 among 2 rows. Ask for fewer clusters."),
        (np.ones((90, 4)), "3 clusters need 3 distinct rows; there are 1 among 90 rows. Ask for fewer clusters."),
        (np.zeros((0, 4)), "3 clusters need 3 distinct rows; there are 0 among 0 rows. Ask for fewer clusters."),
        (np.zeros(4), "Rows to cluster are a table of at least one column; this has the shape (4,)."),
        (np.zeros((4, 0)), "Rows to cluster are a table of at least one column; this has the shape (4, 0)."),
    ],
)
def test_rows_that_cannot_be_clustered_are_refused(name: str, values: np.ndarray, message: str) -> None:
    with pytest.raises(ClusteringError) as refusal:
        made(name).fit(values)
    assert str(refusal.value) == message


@pytest.mark.parametrize("name", list(ALGORITHMS))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused_by_column_and_row(name: str, bad: float) -> None:
    values, _ = blobs()
    values[[16, 30], 2] = bad
    with pytest.raises(ClusteringError) as refusal:
        made(name).fit(values)
    assert str(refusal.value) == (
        "Column 'basket' holds 2 values that are NaN or infinite, the first in row 17; fill them before clustering."
    )


def test_without_names_a_bad_column_is_named_by_its_number() -> None:
    with pytest.raises(ClusteringError, match=r"^Column number 2 holds 1 values that are NaN or infinite"):
        KMeansClusterer(1).fit([[0.0, np.nan], [1.0, 1.0]])


def test_fewer_than_one_cluster_is_refused() -> None:
    with pytest.raises(ClusteringError, match=r"n_clusters is 0; ask for 1 cluster or more\."):
        KMeansClusterer(0).fit(blobs()[0])


@pytest.mark.parametrize("name", NAMES)
def test_one_column_is_enough(name: str) -> None:
    values, planted = blobs(k=2)
    model = make_clusterer(name, 2, 7, columns=["spend"]).fit(values[:, :1])
    assert adjusted_rand_score(planted, model.labels_) > 0.98


@pytest.mark.parametrize("name", NAMES)
def test_constant_columns_and_many_copies_of_few_rows_are_no_accident(name: str) -> None:
    kinds = np.array([[0.0, 0.0, 5.0], [3.0, 0.0, 5.0], [0.0, 4.0, 5.0]])
    values = np.repeat(kinds, 40, axis=0)
    model = make_clusterer(name, 3, 7, columns=COLUMNS[:3]).fit(values)
    assert [len(set(model.labels_[start : start + 40])) for start in (0, 40, 80)] == [1, 1, 1]
    assert model.n_clusters_ == 3


@pytest.mark.parametrize("name", NAMES)
def test_one_cluster_holds_everybody_and_has_no_margin(name: str) -> None:
    values, _ = blobs()
    labels, distance, margin = made(name, 1).fit(values).measure(values)
    assert not labels.any()
    assert np.allclose(distance, np.linalg.norm(values - values.mean(axis=0), axis=1))
    assert np.isnan(margin).all()


@pytest.mark.parametrize("name", NAMES)
def test_new_rows_need_the_columns_of_the_fit_and_may_be_none(name: str) -> None:
    model = made(name).fit(blobs()[0])
    assert model.predict(np.zeros((0, 4))).shape == (0,)
    with pytest.raises(ClusteringError) as refusal:
        model.predict(np.zeros((5, 3)))
    assert str(refusal.value) == (
        f"The {name} model was fitted on 4 columns; these rows have 3. Assign rows with the columns of the fit."
    )


def test_distance_and_margin_of_kmeans_are_those_of_its_centroids() -> None:
    values, _ = blobs(spread=1.5)
    model = made("kmeans").fit(values)
    for ours, theirs in zip(model.measure(values), predict(values, model.cluster_centers_), strict=True):
        assert np.allclose(ours, theirs)


def test_an_unknown_algorithm_is_refused_with_the_list() -> None:
    with pytest.raises(UnknownAlgorithmError) as refusal:
        make_clusterer("dbscan", 3, 1)
    assert str(refusal.value) == (
        "There is no algorithm 'dbscan'; choose one of kmeans, kprototypes, mixture, ward, hdbscan, pca_kmeans, "
        "autoencoder_kmeans."
    )


def test_a_frozen_model_of_another_format_or_kind_is_refused() -> None:
    frozen = made("kmeans").fit(blobs()[0]).to_dict()
    with pytest.raises(ValueError, match=r"have format 99, this version reads 1; fit the model again\."):
        thaw({**frozen, "format": 99})
    with pytest.raises(ValueError, match="are of 'ward', not of 'kmeans'"):
        KMeansClusterer.from_dict({**frozen, "algorithm": "ward"})


def test_every_algorithm_has_a_sentence_and_says_whether_it_samples() -> None:
    assert all(sentence.endswith(".") for sentence in ALGORITHMS.values())
    assert [name for name in ALGORITHMS if samples(name)] == ["mixture", "ward", "hdbscan", "autoencoder_kmeans"]


@pytest.mark.parametrize("name", ["mixture", "ward", "hdbscan"])
def test_beyond_its_limit_an_algorithm_says_on_how_many_rows_it_was_fitted(name: str) -> None:
    values, planted = blobs(900)
    model = made(name, fit_rows=300).fit(values)
    assert model.remark_.startswith("fitted on a sample of 300 rows")
    assert adjusted_rand_score(planted, model.labels_) > 0.98
    assert "sample" not in made(name, fit_rows=900).fit(values).remark_


class _Thirds(Clusterer):
    """Cluster numbers 0, 1, 2 by thirds of the first column, of which a fit may not meet all."""

    algorithm = "thirds"

    def _learn(self, values: np.ndarray) -> None:
        pass

    def _assign(self, values: np.ndarray) -> np.ndarray:
        return np.digitize(values[:, 0], [1.0, 2.0]).astype(np.int64)


@pytest.mark.parametrize(("fitted", "stray", "expected"), [([0.5, 2.9], 1.2, 0), ([0.5, 1.5], 2.5, 1)])
def test_a_number_no_row_of_the_fit_had_goes_to_the_nearest_mean(
    fitted: list[float], stray: float, expected: int
) -> None:
    model = _Thirds(2).fit(np.array(fitted)[:, None])
    assert model.n_clusters_ == 2
    assert model.predict([[stray]]).tolist() == [expected]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 60), st.integers(1, 4), st.integers(0, 5))
def test_a_draw_of_rows_holds_as_many_kinds_as_are_needed(n: int, most: int, k: int, seed: int) -> None:
    values = np.zeros((n, 2))
    values[: min(3, n), 0] = np.arange(1, min(3, n) + 1)
    k = min(k, distinct_rows(values, 4))
    rows = drawn_rows(values, most, k, seed)
    assert distinct_rows(values[rows], k) == k
    assert np.array_equal(rows, np.unique(rows))
    assert len(rows) <= max(min(n, most) + 4, k)
    assert np.array_equal(rows, drawn_rows(values, most, k, seed))
