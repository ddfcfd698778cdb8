"""The kernels every figure about segments rests on: K-means over many k, silhouettes, and one-pass indices."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_samples, silhouette_score
from threadpoolctl import threadpool_limits

from segmentation_assets.segmentation.indices import calinski_harabasz, davies_bouldin
from segmentation_assets.segmentation.kmeans import (
    KMeansFit,
    distinct_rows,
    fit_kmeans,
    middle_and_scale,
    one_thread,
    predict,
    sweep,
)
from segmentation_assets.segmentation.silhouette import sampled_silhouettes, silhouette_widths, silhouettes


def one_piece(n: int, d: int = 8, seed: int = 0) -> np.ndarray:
    """Correlated columns, some of them skewed, and no clusters."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, d)) @ (np.eye(d) + 0.4 * rng.normal(size=(d, d)))
    values[:, ::3] = np.exp(0.5 * values[:, ::3])
    return (values - values.mean(axis=0)) / values.std(axis=0)


def planted(n: int, k: int, d: int = 6, seed: int = 0, apart: float = 1.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    return rng.normal(scale=apart, size=(k, d))[labels] + rng.normal(size=(n, d)), labels


def same(left: KMeansFit, right: KMeansFit) -> bool:
    return (
        np.array_equal(left.centroids, right.centroids)
        and np.array_equal(left.labels, right.labels)
        and left.inertia == right.inertia
    )


# K-means


@pytest.mark.parametrize("n", [700, 26_000])
def test_a_sweep_is_the_same_for_any_number_of_threads(n: int) -> None:
    values = one_piece(n)
    ks = [1, 3, 7]
    with threadpool_limits(2):
        first = sweep(values, ks, seed=1, threads=1)
        second = sweep(values, ks, seed=1, threads=3)
    with threadpool_limits(1):
        third = sweep(values, ks, seed=1)
    assert all(same(a, b) and same(a, c) for a, b, c in zip(first, second, third, strict=True))


@pytest.mark.parametrize("n", [900, 6_000])
def test_what_a_k_gets_does_not_depend_on_the_other_k(n: int) -> None:
    values = one_piece(n)
    together = sweep(values, [9, 2, 5], seed=3)
    assert [fit.k for fit in together] == [9, 2, 5]
    assert same(together[2], fit_kmeans(values, 5, seed=3))
    assert same(together[0], sweep(values, [8, 9], seed=3)[1])


def test_inertia_is_within_one_percent_of_the_best_of_many_full_fits() -> None:
    for values in (one_piece(1_500), planted(1_500, 6)[0]):
        for fit in sweep(values, [3, 6, 10], seed=2):
            with one_thread():  # so little work is not worth a second thread
                best = KMeans(fit.k, n_init=8, random_state=0).fit(values).inertia_
            assert fit.inertia <= 1.01 * best


@pytest.mark.slow
def test_inertia_from_samples_is_within_one_percent_of_full_fits_on_all_rows() -> None:
    values = one_piece(40_000)
    for fit in sweep(values, [4, 8, 12], seed=2):
        with one_thread():
            best = KMeans(fit.k, n_init=4, random_state=0).fit(values).inertia_
        assert fit.inertia <= 1.01 * best


@pytest.mark.parametrize("n", [500, 21_000])
def test_labels_centroids_and_inertia_belong_to_each_other(n: int) -> None:
    values = one_piece(n, seed=4)
    for fit in sweep(values, [1, 2, 6], seed=5):
        labels, distance, _ = predict(values, fit.centroids)
        assert np.array_equal(labels, fit.labels)
        assert fit.inertia == pytest.approx((distance**2).sum(), rel=1e-12)
        assert np.bincount(fit.labels, minlength=fit.k).min() > 0
        means = np.array([values[fit.labels == label].mean(axis=0) for label in range(fit.k)])
        assert np.abs(means - fit.centroids).max() < 0.05  # the descent has arrived
        rounded = [tuple(row) for row in np.round(fit.centroids, 9)]
        assert rounded == sorted(rounded)


def test_a_far_origin_and_another_unit_change_nothing_but_the_unit() -> None:
    values, _ = planted(3_000, 5, apart=3.0)
    near = fit_kmeans(values, 5, seed=1)
    far = fit_kmeans(values * 2.0**20 + 2.0**33, 5, seed=1)
    assert np.array_equal(near.labels, far.labels)
    assert far.inertia == pytest.approx(near.inertia * 2.0**40, rel=1e-6)
    huge = fit_kmeans(values * 1e120, 5, seed=1)
    assert np.array_equal(near.labels, huge.labels)


def test_an_outlier_of_a_million_deviations_does_not_blind_the_rest() -> None:
    values, labels = planted(3_000, 2, apart=8.0)
    values[0] = 1e6
    fit = fit_kmeans(values, 3, seed=1)
    assert sorted(np.bincount(fit.labels)) == sorted([1, *np.bincount(labels[1:])])


def test_tied_rows_go_to_the_first_of_equally_near_centroids() -> None:
    labels, distance, margin = predict(np.array([[1.0], [0.0], [3.0]]), np.array([[0.0], [2.0]]))
    assert labels.tolist() == [0, 0, 1]
    assert distance.tolist() == [1.0, 0.0, 1.0]
    assert margin.tolist() == [0.0, 2.0, 2.0]


@pytest.mark.parametrize("n", [40, 30_000])
def test_as_many_clusters_as_distinct_rows_puts_each_kind_in_its_own(n: int) -> None:
    kinds = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0001], [5.0, 2.0], [9.0, 9.0]])
    which = np.r_[np.arange(5), np.random.default_rng(0).integers(0, 2, n - 5)]  # three kinds occur once only
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = fit_kmeans(kinds[which], 5, seed=1)
    assert fit.inertia == pytest.approx(0, abs=1e-12)
    assert len({(kind, label) for kind, label in zip(which, fit.labels, strict=True)}) == 5


def test_a_grid_full_of_ties_is_clustered_without_an_empty_cluster() -> None:
    grid = np.array([[i, j] for i in range(8) for j in range(8)], dtype=float).repeat(5, axis=0)
    for fit in sweep(grid, range(1, 13), seed=0):
        assert np.bincount(fit.labels, minlength=fit.k).min() > 0


def test_one_column_is_cut_into_its_pieces() -> None:
    values = np.concatenate([np.linspace(0, 1, 50), np.linspace(10, 11, 50), np.linspace(30, 31, 50)])[:, None]
    fit = fit_kmeans(values, 3, seed=0)
    assert fit.labels.tolist() == [0] * 50 + [1] * 50 + [2] * 50
    assert fit.centroids[:, 0] == pytest.approx([0.5, 10.5, 30.5])


def test_one_row_is_one_cluster() -> None:
    fit = fit_kmeans(np.array([[3.0, 4.0]]), 1, seed=0)
    assert (fit.centroids.tolist(), fit.labels.tolist(), fit.inertia) == ([[3.0, 4.0]], [0], 0.0)


@pytest.mark.parametrize(
    ("values", "k", "sentence"),
    [
        (np.zeros((0, 2)), 1, "1 clusters need 1 distinct rows; there are 0."),
        (np.zeros((1, 2)), 2, "2 clusters need 2 distinct rows; there are 1."),
        (np.full((5_000, 3), 1e8 + 0.1), 2, "2 clusters need 2 distinct rows; there are 1."),
        (np.arange(6.0).reshape(3, 2), 4, "4 clusters need 4 distinct rows; there are 3."),
        (np.arange(6.0).reshape(3, 2), 0, "The number of clusters must be at least 1; 0 was given."),
    ],
)
def test_a_number_of_clusters_that_the_rows_do_not_allow_is_refused_with_the_numbers(
    values: np.ndarray, k: int, sentence: str
) -> None:
    with pytest.raises(ValueError, match="clusters") as caught:
        fit_kmeans(values, k, seed=0)
    assert str(caught.value) == sentence


NOT_FINITE = (
    "3 of 20 values are not finite (NaN or infinity): 2 in column 1, 1 in column 3 (columns counted from 0). "
    "Fill or remove them before clustering."
)


@pytest.mark.parametrize(
    "use",
    [
        lambda values, labels: fit_kmeans(values, 2, seed=0),
        lambda values, labels: sweep(values, [1], seed=0),
        lambda values, labels: silhouettes(values, [labels]),
        lambda values, labels: sampled_silhouettes(values, [labels], 3, seed=0),
        calinski_harabasz,
        davies_bouldin,
    ],
)
def test_values_that_are_not_finite_are_refused_by_column(use) -> None:  # type: ignore[no-untyped-def]
    values = np.arange(20.0).reshape(5, 4)
    values[0, 1], values[3, 1], values[4, 3] = np.nan, np.inf, -np.inf
    with pytest.raises(ValueError, match="not finite") as caught:
        use(values, np.array([0, 1, 0, 1, 0]))
    assert str(caught.value) == NOT_FINITE


@given(
    kinds=st.integers(1, 12),
    n=st.integers(1_001, 1_400),
    offset=st.sampled_from([0.0, -3.0, 1e6, 1e9]),
    most=st.integers(1, 14),
)
@settings(max_examples=40, deadline=None)
def test_distinct_rows_are_counted_up_to_the_number_asked_for(kinds: int, n: int, offset: float, most: int) -> None:
    rng = np.random.default_rng(kinds)
    rows = rng.integers(0, 3, (kinds, 3)) + np.arange(kinds)[:, None] * 4 + offset
    which = np.r_[np.zeros(n, dtype=int), np.arange(kinds)]  # the rare kinds stand at the end
    assert distinct_rows(rows[which], most) == min(kinds, most)


def test_the_scale_is_an_exact_power_of_two_above_the_largest_deviation() -> None:
    middle, scale = middle_and_scale(np.array([[0.0, 5.0], [10.0, 5.0]]))
    assert (middle.tolist(), scale) == ([5.0, 5.0], 8.0)
    assert middle_and_scale(np.full((3, 2), 7.0))[1] == 1.0


# Silhouettes


@given(
    n=st.integers(2, 60),
    k=st.integers(1, 6),
    seed=st.integers(0, 1000),
    repeated=st.booleans(),
    offset=st.sampled_from([0.0, 100.0]),
)
@settings(max_examples=60, deadline=None)
def test_every_width_is_what_its_definition_says(n: int, k: int, seed: int, repeated: bool, offset: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 3)) + offset
    if repeated:
        values = values[rng.integers(0, max(n // 4, 1), n)]
    labels = rng.integers(0, k, n)
    away = np.sqrt(((values[:, None] - values) ** 2).sum(axis=2))
    expected = np.zeros(n)
    for row in range(n):
        own = (labels == labels[row]) & (np.arange(n) != row)
        others = [away[row, labels == label].mean() for label in set(labels.tolist()) - {labels[row]}]
        if own.any() and others:
            a, b = away[row, own].mean(), min(others)
            expected[row] = (b - a) / max(a, b) if max(a, b) > 0 else 0.0
    assert silhouette_widths(values, [labels])[0] == pytest.approx(expected, abs=1e-5)


def test_silhouettes_of_several_labellings_equal_one_by_one_figures_to_six_digits() -> None:
    values = one_piece(3_100)
    labelings = [fit.labels for fit in sweep(values, [2, 5, 11], seed=0)]
    expected = [silhouette_score(values, labels) for labels in labelings]
    assert silhouettes(values, labelings) == pytest.approx(expected, abs=5e-7)
    # The rows keep their widths across the edges of bands and tiles.
    assert silhouette_widths(values, labelings)[1] == pytest.approx(silhouette_samples(values, labelings[1]), abs=1e-5)


@pytest.mark.parametrize("bad", ["far", "repeated", "outlier", "column"])
def test_silhouettes_hold_to_six_digits_on_bad_data(bad: str) -> None:
    values, labels = planted(2_600, 4)
    around = values
    if bad == "far":  # the reference is taken near the origin: far from it the reference itself loses digits
        values = values + 2.0**20
        around = values - 2.0**20
    elif bad == "repeated":
        around = values = values[np.random.default_rng(0).integers(0, 40, len(values))]
    elif bad == "outlier":
        values[5] = 1e4
    else:
        around = values = values[:, :1].copy()
    assert silhouettes(values, [labels])[0] == pytest.approx(silhouette_score(around, labels), abs=1e-6)


def test_silhouettes_do_not_depend_on_the_number_of_threads() -> None:
    values, labels = planted(4_500, 4)
    with threadpool_limits(2):
        assert silhouettes(values, [labels], threads=1) == silhouettes(values, [labels], threads=3)
        assert sampled_silhouettes(values, [labels], 2_500, 0, threads=1) == sampled_silhouettes(
            values, [labels], 2_500, 0, threads=2
        )


def test_where_there_is_nothing_to_compare_the_silhouette_is_zero() -> None:
    values = np.random.default_rng(0).normal(size=(6, 2))
    assert silhouettes(values, [np.zeros(6, dtype=np.int64)]) == [0.0]
    assert silhouettes(values, [np.arange(6)]) == [0.0]
    assert silhouettes(values[:1], [np.zeros(1, dtype=np.int64)]) == [0.0]
    assert silhouettes(np.zeros((0, 2)), [np.zeros(0, dtype=np.int64)]) == [0.0]
    assert silhouettes(np.ones((6, 2)), [np.array([0, 0, 0, 1, 1, 1])]) == [0.0]
    assert silhouettes(values, []) == []


def test_labels_without_members_between_others_are_no_clusters() -> None:
    values, labels = planted(200, 3)
    assert silhouettes(values, [labels * 2 + 1]) == pytest.approx(silhouettes(values, [labels]), abs=1e-12)


def test_up_to_the_rows_asked_for_silhouettes_are_exact_with_error_zero() -> None:
    values, labels = planted(300, 3)
    assert sampled_silhouettes(values, [labels], 300, seed=0) == (silhouettes(values, [labels]), [0.0])


def test_the_error_of_a_sampled_silhouette_is_the_spread_of_repeated_samples() -> None:
    values = one_piece(6_000, seed=1)
    labelings = [fit.labels for fit in sweep(values, [3, 7], seed=0)]
    drawn = [sampled_silhouettes(values, labelings, 400, seed) for seed in range(80)]
    means = np.array([mean for mean, _ in drawn])
    errors = np.array([error for _, error in drawn]).mean(axis=0)
    assert errors == pytest.approx(means.std(axis=0, ddof=1), rel=0.25)
    assert np.abs(means.mean(axis=0) - silhouettes(values, labelings)).max() < 0.01
    assert drawn[0] == sampled_silhouettes(values, labelings, 400, 0)


def test_a_sampled_silhouette_of_one_cluster_is_zero_without_error() -> None:
    values = np.random.default_rng(0).normal(size=(50, 2))
    assert sampled_silhouettes(values, [np.zeros(50, dtype=np.int64)], 20, seed=0) == ([0.0], [0.0])
    assert sampled_silhouettes(values, [], 20, seed=0) == ([], [])


def test_labels_of_another_length_are_refused() -> None:
    values = np.zeros((5, 2))
    short = np.zeros(4, dtype=np.int64)
    for use in (silhouettes, silhouette_widths):
        with pytest.raises(ValueError, match=r"^Labelling 1 has 4 labels for 5 rows\.$"):
            use(values, [np.zeros(5, dtype=np.int64), short])
    with pytest.raises(ValueError, match=r"^Labelling 0 has 4 labels for 5 rows\.$"):
        sampled_silhouettes(values, [short], 3, seed=0)
    for index in (calinski_harabasz, davies_bouldin):
        with pytest.raises(ValueError, match=r"^4 labels were given for 5 rows\.$"):
            index(values, short)


def test_a_sample_of_one_row_has_no_silhouette() -> None:
    with pytest.raises(ValueError, match=r"^A silhouette needs at least 2 rows to be sampled; 1 were asked for\.$"):
        sampled_silhouettes(np.zeros((5, 2)), [np.zeros(5, dtype=np.int64)], 1, seed=0)


# Indices


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_indices_equal_the_library_to_six_digits_for_any_labels(offset: float) -> None:
    values, labels = planted(9_000, 5)
    values = values + offset
    for given_labels in (labels, np.random.default_rng(0).integers(0, 3, len(values))):
        assert calinski_harabasz(values, given_labels) == pytest.approx(
            calinski_harabasz_score(values, given_labels), rel=1e-6
        )
        assert davies_bouldin(values, given_labels) == pytest.approx(
            davies_bouldin_score(values, given_labels), rel=1e-6
        )


def test_inertia_and_centroids_of_a_fit_give_the_same_indices_without_another_pass() -> None:
    values, _ = planted(2_000, 4, apart=4.0)
    fit = fit_kmeans(values, 4, seed=0)
    assert calinski_harabasz(values, fit.labels, fit.inertia) == pytest.approx(
        calinski_harabasz_score(values, fit.labels), rel=1e-6
    )
    assert davies_bouldin(values, fit.labels, fit.centroids) == pytest.approx(
        davies_bouldin_score(values, fit.labels), rel=1e-6
    )


def test_indices_of_one_cluster_are_not_numbers() -> None:
    values = np.random.default_rng(0).normal(size=(10, 2))
    one = np.zeros(10, dtype=np.int64)
    assert np.isnan(calinski_harabasz(values, one))
    assert np.isnan(davies_bouldin(values, one))
    assert np.isnan(calinski_harabasz(values, np.arange(10)))  # no degree of freedom is left within
    assert np.isnan(davies_bouldin(values[:1], one[:1]))


def test_indices_at_their_limits() -> None:
    labels = np.array([0, 0, 1, 1])
    apart = np.array([[0.0], [0.0], [4.0], [4.0]])
    assert calinski_harabasz(apart, labels) == np.inf
    assert davies_bouldin(apart, labels) == 0.0
    crossed = np.array([[-1.0], [1.0], [-2.0], [2.0]])
    assert davies_bouldin(crossed, labels) == np.inf  # both centroids are at 0
    assert davies_bouldin(np.array([[0.0], [2.0], [9.0], [11.0]]), labels * 3) == pytest.approx(2 / 9)
