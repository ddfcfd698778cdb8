"""K-Prototypes: Huang's cost, a low one, the same one everywhere, and sentences for rows that cannot be clustered."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from threadpoolctl import threadpool_limits

from segmentation_assets.segmentation.algorithms.kprototypes import KPrototypes, cost_of, sweep


def planted(
    n: int, k: int = 4, seed: int = 0, *, apart: float = 2.0, purity: float = 0.7
) -> tuple[np.ndarray, np.ndarray]:
    """(n, 8) rows of four numbers and four category codes, and the kind of each."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, n, k]))
    kind = rng.integers(0, k, n)
    numbers = rng.normal(0, apart, (k, 4))[kind] + rng.normal(size=(n, 4))
    codes = np.where(rng.random((n, 4)) < purity, rng.integers(0, 5, (k, 4))[kind], rng.integers(0, 5, (n, 4)))
    return np.hstack([numbers, codes]), kind


CATEGORICAL = [4, 5, 6, 7]


def cost_by_hand(X: np.ndarray, model: KPrototypes) -> float:
    """The cost as the definition has it, row by row."""
    numbers, codes = X[:, :4], X[:, 4:]
    total = 0.0
    for row, category, label in zip(numbers, codes, model.labels_, strict=True):
        total += ((row - model.cluster_centroids_[label]) ** 2).sum()
        total += model.gamma_ * (category != model.cluster_modes_[label]).sum()
    return total


def test_the_cost_is_squared_distance_plus_gamma_times_mismatches() -> None:
    X, _ = planted(300)
    model = KPrototypes(4, categorical_features=CATEGORICAL, random_state=0).fit(X)
    assert model.cost_ == pytest.approx(cost_by_hand(X, model), rel=1e-12)


def test_planted_kinds_are_found() -> None:
    X, kind = planted(2_000, apart=4.0)
    model = KPrototypes(4, categorical_features=CATEGORICAL, random_state=0)
    assert adjusted_rand_score(kind, model.fit_predict(X)) > 0.95


def test_categories_tell_apart_what_numbers_cannot() -> None:
    X, kind = planted(2_000, apart=0.0, purity=0.9)
    with_codes = KPrototypes(4, categorical_features=CATEGORICAL, gamma=3.0, random_state=0).fit(X)
    without = KPrototypes(4, random_state=0).fit(X[:, :4])
    assert adjusted_rand_score(kind, with_codes.labels_) > 0.8
    assert adjusted_rand_score(kind, without.labels_) < 0.05


def test_numbers_alone_are_k_means_and_no_worse_than_scikit_learn_with_as_many_starts() -> None:
    X, _ = planted(3_000, 6, apart=0.8)
    ours = KPrototypes(6, random_state=0).fit(X[:, :4])
    with threadpool_limits(1):
        theirs = KMeans(6, n_init=10, random_state=0, tol=0).fit(X[:, :4])
    assert ours.cost_ <= theirs.inertia_ * (1 + 1e-6)
    means = np.array([X[ours.labels_ == label, :4].mean(axis=0) for label in range(6)])
    assert np.allclose(ours.cluster_centroids_, means)


def test_gamma_by_rule_is_half_the_mean_standard_deviation_of_the_numbers() -> None:
    X, _ = planted(200)
    model = KPrototypes(2, categorical_features=CATEGORICAL, random_state=0).fit(X)
    assert model.gamma_ == pytest.approx(X[:, :4].std(axis=0).mean() / 2)
    constant = X.copy()
    constant[:, :4] = 3.0
    assert KPrototypes(2, categorical_features=CATEGORICAL, random_state=0).fit(constant).gamma_ == 1.0
    assert KPrototypes(2, categorical_features=CATEGORICAL, gamma=0.25, random_state=0).fit(X).gamma_ == 0.25


def test_of_equally_frequent_categories_the_smallest_code_is_the_mode() -> None:
    model = KPrototypes(1, categorical_features=[0], random_state=0).fit(np.array([[7.0], [3.0], [7.0], [3.0], [9.0]]))
    assert model.cluster_modes_.tolist() == [[3]]
    assert model.cost_ == 3.0


def test_an_empty_cluster_takes_the_row_that_lies_farthest() -> None:
    X = np.array([[0.0, 0], [0.2, 0], [0.4, 0], [9.0, 0]])
    # Both prototypes are the same, so the second of them gets no row at first.
    start = (np.array([[0.0], [0.0]]), np.array([[0], [0]]))
    model = KPrototypes(2, categorical_features=[1], init=start).fit(X)
    assert model.labels_.tolist() == [0, 0, 0, 1]
    assert model.cluster_centroids_[:, 0].tolist() == pytest.approx([0.2, 9.0])


def test_a_single_categorical_column_is_clustered_by_its_levels() -> None:
    codes = np.repeat([4.0, 0.0, 2.0], [50, 30, 20])[:, None]
    model = KPrototypes(3, categorical_features=[0], random_state=0).fit(codes)
    assert model.cost_ == 0.0
    assert sorted(model.cluster_modes_[:, 0].tolist()) == [0, 2, 4]
    assert model.cluster_centroids_.shape == (3, 0)
    # A level that the fit did not see is equally far from all, and the first of equals has it.
    labels, distance, margin = model.measure([[8.0]])
    assert (labels.tolist(), distance.tolist()) == ([0], [1.0])
    assert margin[0] == pytest.approx(0.0, abs=1e-9)


def test_a_single_numeric_column_is_clustered() -> None:
    values = np.repeat([1.0, 5.0, 9.0], 40)[:, None] + np.linspace(0, 0.5, 120)[:, None]
    model = KPrototypes(3, random_state=0).fit(values)
    assert np.bincount(model.labels_).tolist() == [40, 40, 40]
    assert model.cluster_modes_.shape == (3, 0)


def test_a_category_with_ten_thousand_levels_is_one_column_like_any_other() -> None:
    X, kind = planted(12_000, apart=4.0)
    rng = np.random.default_rng(5)
    X = np.column_stack([X, rng.permutation(12_000) % 10_000])
    model = KPrototypes(4, categorical_features=[*CATEGORICAL, 8], n_init=3, random_state=0).fit(X)
    assert adjusted_rand_score(kind, model.labels_) > 0.95
    assert model.predict(X[:50]).tolist() == model.labels_[:50].tolist()


def test_predicting_the_rows_of_the_fit_gives_its_labels() -> None:
    X, _ = planted(9_000, apart=0.7)
    model = KPrototypes(5, categorical_features=CATEGORICAL, n_init=2, random_state=3).fit(X)
    assert np.array_equal(model.predict(X), model.labels_)
    assert np.array_equal(model.predict(X[17:20]), model.labels_[17:20])
    assert model.predict(X[:0]).shape == (0,)


def test_distance_is_the_root_of_a_rows_cost_and_margin_is_what_the_second_nearest_is_farther() -> None:
    X, _ = planted(200)
    model = KPrototypes(4, categorical_features=CATEGORICAL, random_state=0).fit(X)
    labels, distance, margin = model.measure(X)
    squares = ((X[:, None, :4] - model.cluster_centroids_[None]) ** 2).sum(axis=2)
    every = np.sqrt(squares + model.gamma_ * (X[:, None, 4:] != model.cluster_modes_[None]).sum(axis=2))
    assert np.array_equal(labels, every.argmin(axis=1))
    ordered = np.sort(every, axis=1)
    assert np.allclose(distance, ordered[:, 0])
    assert np.allclose(margin, ordered[:, 1] - ordered[:, 0], atol=1e-6)
    alone = KPrototypes(1, categorical_features=CATEGORICAL, random_state=0).fit(X)
    assert np.isnan(alone.measure(X)[2]).all()


def test_a_fit_is_the_same_for_one_seed_whatever_the_number_of_threads() -> None:
    X, _ = planted(7_000, apart=0.6)
    fits = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            fits.append(KPrototypes(5, categorical_features=CATEGORICAL, n_init=2, random_state=4).fit(X))
    one, two = fits
    assert np.array_equal(one.cluster_centroids_, two.cluster_centroids_)
    assert np.array_equal(one.cluster_modes_, two.cluster_modes_)
    assert np.array_equal(one.labels_, two.labels_)
    assert one.cost_ == two.cost_


@pytest.mark.parametrize(("apart", "purity"), [(1.0, 0.6), (0.0, 0.0)])
def test_starts_on_a_sample_reach_what_starts_on_all_rows_reach(apart: float, purity: float) -> None:
    X, _ = planted(25_000, 6, apart=apart, purity=purity)
    ours = KPrototypes(6, categorical_features=CATEGORICAL, n_init=4, random_state=1).fit(X)
    rng = np.random.default_rng(0)
    best = np.inf
    for _ in range(4):
        rows = X[rng.choice(len(X), 6, replace=False)]
        start = KPrototypes(6, categorical_features=CATEGORICAL, gamma=ours.gamma_, init=(rows[:, :4], rows[:, 4:]))
        best = min(best, start.fit(X).cost_)
    assert ours.cost_ <= best * 1.003


def test_rows_that_a_sample_misses_still_get_their_cluster() -> None:
    # Three rows in 25,000 are of a kind of their own; there are only three kinds of rows.
    X = np.zeros((25_000, 2))
    X[:6_000, 0] = 1.0
    X[[5, 700, 9_000], 1] = 1.0
    X[[5, 700, 9_000], 0] = 50.0
    model = KPrototypes(3, categorical_features=[1], n_init=2, random_state=0).fit(X)
    assert model.cost_ == pytest.approx(0.0, abs=1e-12)
    assert sorted(np.bincount(model.labels_).tolist()) == [3, 5_998, 18_999]


def test_a_sweep_is_a_fit_for_each_k_and_costs_never_rise_with_k() -> None:
    X, _ = planted(1_500, apart=0.8)
    ks = [3, 1, 2, 4, 5, 6]
    models = sweep(X, ks, categorical_features=CATEGORICAL, n_init=3, random_state=0)
    assert [len(model.cluster_centroids_) for model in models] == ks
    assert [model.n_clusters for model in models] == ks
    by_k = [model.cost_ for model in sorted(models, key=lambda model: model.n_clusters)]
    assert by_k == sorted(by_k, reverse=True)
    for model in models:
        alone = KPrototypes(model.n_clusters, categorical_features=CATEGORICAL, n_init=3, random_state=0).fit(X)
        assert model.cost_ <= alone.cost_ * 1.005
        assert np.array_equal(model.predict(X), model.labels_)
    assert sweep(X, []) == []


def test_a_frozen_model_assigns_alike_to_the_last_bit() -> None:
    X, _ = planted(400)
    model = KPrototypes(4, categorical_features=CATEGORICAL, random_state=0).fit(X)
    again = KPrototypes.from_dict(json.loads(json.dumps(model.to_dict())))
    fresh, _ = planted(500, seed=9)
    for ours, theirs in zip(model.measure(fresh), again.measure(fresh), strict=True):
        assert np.array_equal(ours, theirs)
    assert again.to_dict() == model.to_dict()


def test_a_frozen_model_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("The frozen prototypes have format 7, this version reads 1; fit")):
        KPrototypes.from_dict({"format": 7})


FRAME = pl.DataFrame(
    {
        "spend": [1.0, 1.2, 0.9, 8.0, 8.1, 7.7],
        "channel": ["shop", "shop", None, "web", "web", "web"],
        "is_member": [True, True, True, False, False, None],
    }
)


def kinds_of(frame: pl.DataFrame, kind: str) -> Any:
    """The frame as it is, or as pandas holds it, which the project does without."""
    if kind == "polars":
        return frame
    pandas = pytest.importorskip("pandas", reason="pandas comes with the extra bench")
    return pandas.DataFrame(frame.to_dict(as_series=False))


@pytest.mark.parametrize("kind", ["polars", "pandas"])
def test_text_columns_of_a_frame_are_coded_and_null_is_a_level_of_its_own(kind: str) -> None:
    frame = kinds_of(FRAME, kind)
    model = KPrototypes(2, random_state=0).fit(frame)
    assert model.categorical_features_ == (1, 2)
    assert model.vocabulary_[0] == ("shop", "web", None)
    assert model.labels_.tolist() == [0, 0, 0, 1, 1, 1]
    assert [model.vocabulary_[0][mode] for mode in model.cluster_modes_[:, 0]] == ["shop", "web"]
    again = KPrototypes.from_dict(json.loads(json.dumps(model.to_dict())))
    assert again.predict(frame).tolist() == model.labels_.tolist()
    # Only the unknown channel of the third row is not the mode of its cluster.
    assert model.cost_ == pytest.approx(
        sum(np.var(part) * 3 for part in ([1.0, 1.2, 0.9], [8.0, 8.1, 7.7])) + 2 * model.gamma_
    )


def test_a_level_that_the_fit_did_not_see_mismatches_every_mode() -> None:
    model = KPrototypes(2, gamma=1.0, random_state=0).fit(FRAME.drop("is_member"))
    new = pl.DataFrame({"spend": [model.cluster_centroids_[0, 0]] * 2, "channel": ["shop", "fax"]})
    labels, distance, _ = model.measure(new)
    assert labels.tolist() == [0, 0]
    assert distance.tolist() == pytest.approx([0.0, 1.0], abs=1e-9)
    never = KPrototypes(2, random_state=0).fit(FRAME.head(2).vstack(FRAME.tail(2)).select("spend", "channel"))
    assert never.vocabulary_ == (("shop", "web"),)
    assert never.predict(new.with_columns(channel=pl.lit(None, pl.String))).tolist() == [0, 0]


def test_a_column_without_any_known_level_is_one_level() -> None:
    frame = FRAME.with_columns(channel=pl.lit(None, pl.String))
    model = KPrototypes(2, random_state=0).fit(frame)
    assert model.vocabulary_[0] == (None,)
    assert model.labels_.tolist() == [0, 0, 0, 1, 1, 1]


def test_numeric_columns_of_a_frame_are_categories_when_they_are_named() -> None:
    frame = FRAME.with_columns(store=pl.Series([1, 1, 1, 2, 2, 2]))
    model = KPrototypes(2, categorical_features=["channel", "is_member", "store"], random_state=0).fit(frame)
    assert model.vocabulary_[2] == ("1", "2")
    message = "Column 'channel' holds String, which is no number; name it among categorical_features or leave it out."
    with pytest.raises(ValueError, match=re.escape(message)):
        KPrototypes(2, categorical_features=["store"], random_state=0).fit(frame)


def test_a_model_of_a_frame_refuses_an_array_and_one_of_an_array_a_frame() -> None:
    X, _ = planted(50)
    of_frame = KPrototypes(2, random_state=0).fit(FRAME)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=r"fitted on a frame; give a frame with the same"):
        of_frame.predict(X[:, :3])
    of_array = KPrototypes(2, categorical_features=CATEGORICAL, random_state=0).fit(X)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=r"fitted on an array of codes; give an array"):
        of_array.predict(pl.DataFrame(X))


def test_it_keeps_the_conventions_of_scikit_learn() -> None:
    failed = [
        f"{check['check_name']}: {check['exception']}"
        for check in check_estimator(KPrototypes(n_init=2), on_skip=None, on_fail=None)
        if check["status"] == "failed"
    ]
    assert failed == []


def test_it_works_in_a_pipeline_and_can_be_cloned() -> None:
    X, kind = planted(600, apart=4.0)
    scaled = ColumnTransformer([("scale", StandardScaler(), [0, 1, 2, 3])], remainder="passthrough")
    model = KPrototypes(4, categorical_features=CATEGORICAL, random_state=0)
    pipeline = Pipeline([("columns", scaled), ("clusters", model)])
    assert adjusted_rand_score(kind, pipeline.fit_predict(X)) > 0.9
    twin = clone(pipeline).fit(X)
    assert np.array_equal(twin.predict(X), pipeline.predict(X))
    assert pipeline.named_steps["clusters"].n_features_in_ == 8


def bad(**changes: float) -> np.ndarray:
    X, _ = planted(20)
    for place, value in changes.items():
        row, column = (int(part) for part in place[1:].split("_"))
        X[row, column] = value
    return X


@pytest.mark.parametrize(
    ("X", "k", "message"),
    [
        (planted(5)[0], 6, "6 clusters need 6 distinct rows; there are 5 among 5 rows (n_samples=5). Ask for fewer"),
        (np.repeat(planted(3)[0], 400, axis=0), 4, "4 clusters need 4 distinct rows; there are 3 among 1200 rows"),
        (np.ones((50, 8)), 2, "2 clusters need 2 distinct rows; there are 1 among 50 rows"),
        (bad(r4_1=np.nan), 2, "Column number 1 holds 1 values that are NaN, null or inf, the first in row 5; fill"),
        (bad(r0_3=np.inf, r2_3=-np.inf), 2, "Column number 3 holds 2 values that are NaN, null or inf, the first in"),
        (bad(r2_5=-1.0), 2, "Column number 5 is a category and holds -1 in row 3; codes are whole numbers from 0."),
        (bad(r2_5=1.5), 2, "Column number 5 is a category and holds 1.5 in row 3; codes are whole numbers from 0."),
        (bad(r7_6=np.nan), 2, "Column number 6 is a category and holds nan in row 8; codes are whole numbers from 0."),
        (
            bad(r1_0=1e200),
            2,
            "Column number 0 holds numbers beyond 1e+150, whose squares are too large; scale the columns",
        ),
    ],
)
def test_rows_that_cannot_be_clustered_are_refused_with_their_place(X: np.ndarray, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        KPrototypes(k, categorical_features=CATEGORICAL, random_state=0).fit(X)


def test_identical_rows_are_one_cluster_that_costs_nothing() -> None:
    model = KPrototypes(1, categorical_features=CATEGORICAL, random_state=0).fit(np.ones((50, 8)))
    assert model.cost_ == 0.0
    assert model.labels_.tolist() == [0] * 50


@pytest.mark.parametrize("kind", ["polars", "pandas"])
def test_unknown_numbers_of_a_frame_are_refused_by_name(kind: str) -> None:
    frame = FRAME.with_columns(spend=pl.Series([1.0, None, 0.9, 8.0, float("nan"), 7.7]))
    message = (
        "Column 'spend' holds 2 values that are NaN, null or inf, the first in row 2; fill them before clustering."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        KPrototypes(2, random_state=0).fit(kinds_of(frame, kind))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_clusters": 0}, "n_clusters is 0; it must be a whole number of 1 or more."),
        ({"n_clusters": 2.5}, "n_clusters is 2.5; it must be a whole number of 1 or more."),
        ({"n_init": 0}, "n_init is 0; it must be a whole number of 1 or more."),
        ({"max_iter": -1}, "max_iter is -1; it must be a whole number of 1 or more."),
        ({"tol": -0.1}, "tol is -0.1; it must be a number of 0 or more."),
        ({"gamma": 0}, "gamma is 0; it must be 'auto' or a number above 0."),
        ({"gamma": "half"}, "gamma is 'half'; it must be 'auto' or a number above 0."),
        ({"categorical_features": [8]}, "categorical_features has 8, which is no column; there are columns 0 to 7."),
        ({"categorical_features": [4, 4]}, "categorical_features names a column twice: [4, 4]."),
        (
            {"n_clusters": 2, "init": (np.zeros((3, 4)), np.zeros((3, 4)))},
            "init has centroids of shape (3, 4) and modes of shape (3, 4); 2 clusters of these columns need (2, 4) and",
        ),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(parameters: dict[str, Any], message: str) -> None:
    X, _ = planted(60)
    with pytest.raises(ValueError, match=re.escape(message)):
        KPrototypes(**({"categorical_features": CATEGORICAL} | parameters)).fit(X)


@st.composite
def mixed_rows(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """Small rows with many ties (halves and few levels), a number of clusters they can have, and a seed."""
    n = draw(st.integers(2, 40))
    numbers = draw(st.lists(st.lists(st.integers(-4, 4), min_size=2, max_size=2), min_size=n, max_size=n))
    codes = draw(st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=2), min_size=n, max_size=n))
    X = np.hstack([np.array(numbers, dtype=float) / 2, np.array(codes, dtype=float)])
    k = draw(st.integers(1, min(5, len(np.unique(X, axis=0)))))
    return X, k, draw(st.integers(0, 1000))


@settings(deadline=None, max_examples=40)
@given(mixed_rows())
def test_cost_never_rises_and_is_that_of_labels_and_prototypes(case: tuple[np.ndarray, int, int]) -> None:
    X, k, seed = case
    rng = np.random.default_rng(seed)
    start = X[rng.integers(0, len(X), k)]  # rows may repeat: clusters that empty are part of the case
    models = [
        KPrototypes(k, categorical_features=[2, 3], gamma=0.7, n_init=2, random_state=seed),
        KPrototypes(k, categorical_features=[2, 3], gamma=0.7, init=(start[:, :2], start[:, 2:])),
    ]
    for model in models:
        model.fit(X)
        assert all(after <= before + 1e-9 for before, after in zip(model.costs_, model.costs_[1:], strict=False))
        own = ((X[:, :2] - model.cluster_centroids_[model.labels_]) ** 2).sum()
        own += 0.7 * (X[:, 2:] != model.cluster_modes_[model.labels_]).sum()
        assert model.cost_ == pytest.approx(own, rel=1e-9, abs=1e-9)
        assert model.cost_ <= model.costs_[-1] + 1e-9
        assert cost_of(X[:, :2], X[:, 2:].astype(np.int64), model.labels_, 0.7) <= model.cost_ + 1e-9
        assert np.array_equal(model.predict(X), model.labels_)
        assert set(model.labels_) <= set(range(k))


@settings(deadline=None, max_examples=40)
@given(mixed_rows())
def test_the_order_of_rows_does_not_change_the_cost(case: tuple[np.ndarray, int, int]) -> None:
    X, k, seed = case
    rng = np.random.default_rng(seed)
    start = X[rng.integers(0, len(X), k)]
    order = rng.permutation(len(X))
    model = KPrototypes(k, categorical_features=[2, 3], gamma=0.7, init=(start[:, :2], start[:, 2:]))
    shuffled = clone(model).fit(X[order])
    model.fit(X)
    assert shuffled.cost_ == pytest.approx(model.cost_, rel=1e-9, abs=1e-9)
    assert np.array_equal(shuffled.labels_, model.labels_[order])


@pytest.mark.slow
def test_many_rows_and_many_levels_keep_the_labels_of_a_plain_descent() -> None:
    X, kind = planted(200_000, 8, apart=0.8)
    X = np.column_stack([X, np.random.default_rng(1).integers(0, 300, len(X))])
    model = KPrototypes(8, categorical_features=[*CATEGORICAL, 8], n_init=4, random_state=0).fit(X)
    bayes_like = cost_of(X[:, :4], X[:, 4:].astype(np.int64), kind, model.gamma_)
    assert model.cost_ <= bayes_like
    # Assigning every row to its nearest prototype from scratch changes nothing: skipping rows was safe.
    squares = ((X[:, None, :4] - model.cluster_centroids_[None]) ** 2).sum(axis=2)
    every = squares + model.gamma_ * (X[:, None, 4:] != model.cluster_modes_[None]).sum(axis=2)
    assert (every.argmin(axis=1) != model.labels_).mean() < 1e-6
