"""K-Prototypes on the clustered matrix: which columns are categories, and what they count."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from segmentation_assets.segmentation.algorithms.base import ClusteringError
from segmentation_assets.segmentation.algorithms.centroids import category_blocks
from segmentation_assets.segmentation.algorithms.registry import make_clusterer

NAMES = ("spend", "city=Bonn", "city=Oslo", "city=(other)", "category=Tea", "category=Cake", "spend is missing")


def matrix(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Numbers, a one-hot city as the pipeline scales it (nobody elsewhere), shares, an indicator; the city codes."""
    rng = np.random.default_rng(seed)
    city = rng.integers(0, 2, n)
    hot = np.eye(3)[city]
    shares = np.sqrt(rng.dirichlet([2.0, 3.0], n))
    return np.column_stack(
        [rng.normal(0, 1, n), (hot - hot.mean(axis=0)) * 1.4, shares - shares.mean(axis=0), rng.random(n) < 0.1]
    ), city


def test_one_hot_columns_are_categories_and_shares_are_not() -> None:
    values, city = matrix()
    (block,) = category_blocks(values, NAMES)
    assert (block.name, block.places) == ("city", (1, 2, 3))
    assert np.array_equal(block.codes(values), city)


def test_a_level_first_seen_after_the_fit_has_its_own_code() -> None:
    values, _ = matrix()
    (block,) = category_blocks(values, NAMES)
    elsewhere = values[:1].copy()
    elsewhere[0, 1:4] = (np.array([0, 0, 1.0]) - [0.5, 0.5, 0]) * 1.4
    assert block.codes(elsewhere).tolist() == [2]


def test_a_block_that_never_varies_and_columns_without_a_value_are_numbers() -> None:
    values = np.column_stack([np.arange(4.0), np.zeros(4), np.zeros(4)])
    assert category_blocks(values, ("spend", "city=Bonn", "city=Oslo")) == []
    assert category_blocks(values, ("spend", "orders", "returns")) == []


def test_two_columns_that_are_both_on_are_no_category() -> None:
    values = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert category_blocks(values, ("city=Bonn", "city=Oslo")) == []


def test_prototypes_find_groups_that_differ_by_category() -> None:
    rng = np.random.default_rng(1)
    n = 600
    group = rng.integers(0, 3, n)
    codes = np.where(rng.random((n, 4)) < 0.9, group[:, None], rng.integers(0, 3, (n, 4)))
    hot = np.concatenate([np.eye(3)[codes[:, column]] for column in range(4)], axis=1)
    names = [f"c{column}={value}" for column in range(4) for value in range(3)]
    values = np.column_stack([rng.normal(0, 0.3, n), (hot - hot.mean(axis=0)) * 1.2])
    model = make_clusterer("kprototypes", 3, 1, columns=["spend", *names]).fit(values)
    assert adjusted_rand_score(group, model.labels_) > 0.95
    assert model.remark_ == ""
    frozen = model.to_dict()
    assert [block["name"] for block in frozen["state"]["blocks"]] == ["c0", "c1", "c2", "c3"]
    assert np.array_equal(type(model).from_dict(frozen).predict(values), model.labels_)


def test_categories_alone_can_be_clustered() -> None:
    codes = np.random.default_rng(2).integers(0, 3, 200)
    model = make_clusterer("kprototypes", 3, 1, columns=["a=1", "a=2", "a=3"]).fit(np.eye(3)[codes])
    assert adjusted_rand_score(codes, model.labels_) == 1


def test_without_categories_prototypes_are_kmeans_and_say_so() -> None:
    values = np.random.default_rng(3).normal(size=(300, 3))
    ours = make_clusterer("kprototypes", 4, 5, columns=["a", "b", "c"]).fit(values)
    theirs = make_clusterer("kmeans", 4, 5).fit(values)
    assert ours.remark_ == "no column is a category: the same as kmeans"
    assert np.array_equal(ours.labels_, theirs.labels_)


@pytest.mark.parametrize(("columns", "given"), [(None, 0), (["a"], 1)])
def test_prototypes_without_column_names_are_refused(columns: list[str] | None, given: int) -> None:
    with pytest.raises(ClusteringError) as refusal:
        make_clusterer("kprototypes", 2, 1, columns=columns).fit(np.random.default_rng(0).normal(size=(9, 3)))
    assert str(refusal.value) == (
        f"kprototypes tells categories from numbers by the column names; give the 3 names in `columns` ({given} given)."
    )
