"""All algorithms on the same matrix."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_score
from threadpoolctl import threadpool_limits

from segmentation_assets.segmentation.algorithms.registry import ALGORITHMS, UnknownAlgorithmError, make_clusterer
from segmentation_assets.segmentation.comparison import COMPARISON_SCHEMA, FIT_ROWS, compare_algorithms
from segmentation_assets.segmentation.fit import prepare
from segmentation_assets.segmentation.spec import STAGE

NAMES = ("a", "b", "c", "d")
QUICK = ("kmeans", "mixture", "ward", "pca_kmeans")


def blobs(n: int, spread: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    return np.array([[0, 0, 0, 0], [3, 0, 3, 0], [0, 3, 0, 3.0]])[labels] + rng.normal(0, spread, (n, 4)), labels


@pytest.fixture(autouse=True)
def _without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)


def test_every_algorithm_has_its_row_and_one_that_cannot_run_says_why() -> None:
    values, planted = blobs(500)
    compared = compare_algorithms(values, NAMES, 3, 1, present=planted)
    assert dict(compared.schema) == COMPARISON_SCHEMA
    assert compared["algorithm"].to_list() == list(ALGORITHMS)
    *others, absent = compared.rows(named=True)
    assert all(row["k_found"] == 3 and row["agreement"] > 0.98 and row["stability"] > 0.95 for row in others)
    assert absent == {
        **dict.fromkeys(COMPARISON_SCHEMA),
        "algorithm": "autoencoder_kmeans",
        "k_asked": 3,
        "remark": (
            "The autoencoder is trained by PyTorch, which is not installed; install it with "
            "pip install -e '.[autoencoder]', or choose another algorithm."
        ),
    }


def test_the_figures_are_what_their_names_say() -> None:
    values, planted = blobs(400, spread=1.2)
    (row,) = compare_algorithms(values, NAMES, 3, 1, algorithms=["mixture"], present=planted).rows(named=True)
    labels = make_clusterer("mixture", 3, 1).fit(values).labels_
    within = [((part - part.mean(axis=0)) ** 2).sum() for part in (values[labels == label] for label in range(3))]
    assert row["inertia"] == pytest.approx(sum(within), abs=1e-5)
    assert row["silhouette"] == pytest.approx(silhouette_score(values, labels), abs=1e-6)
    assert row["agreement"] == pytest.approx(adjusted_rand_score(planted, labels), abs=1e-6)
    assert row["smallest_share"] == pytest.approx(np.bincount(labels).min() / 400, abs=1e-6)


def test_kmeans_has_the_least_inertia() -> None:
    values, _ = blobs(1_500, spread=1.5)
    inertia = compare_algorithms(values, NAMES, 4, 1, algorithms=QUICK)["inertia"].to_list()
    assert all(inertia[0] <= other for other in inertia[1:])


def test_clusters_that_do_not_come_back_are_unstable() -> None:
    noise = np.random.default_rng(0).normal(size=(800, 4))
    planted, _ = blobs(800)
    stable = [
        compare_algorithms(values, NAMES, 3, 1, algorithms=["ward"])["stability"][0] for values in (planted, noise)
    ]
    assert stable[0] > 0.98
    assert stable[1] < 0.75


def test_the_comparison_is_the_same_twice_and_on_any_number_of_threads() -> None:
    values, planted = blobs(700, spread=1.2)
    with threadpool_limits(1):
        one = compare_algorithms(values, NAMES, 3, 1, present=planted)
    with threadpool_limits(2):
        two = compare_algorithms(values, NAMES, 3, 1, present=planted)
    assert one.equals(two)


def test_one_algorithm_alone_has_the_figures_it_has_among_the_others() -> None:
    values, _ = blobs(600, spread=1.2)
    among = compare_algorithms(values, NAMES, 3, 1, algorithms=QUICK)
    assert compare_algorithms(values, NAMES, 3, 1, algorithms=["ward"]).equals(
        among.filter(pl.col("algorithm") == "ward")
    )


def test_expensive_algorithms_are_fitted_on_a_sample_and_say_so() -> None:
    values, _ = blobs(FIT_ROWS + 500)
    remarks = compare_algorithms(values, NAMES, 3, 1, algorithms=["kmeans", "ward"])["remark"].to_list()
    assert remarks == ["", "fitted on a sample of 2,000 rows, the others by their nearest neighbour in it"]


def test_one_cluster_has_no_silhouette_and_no_stability() -> None:
    (row,) = compare_algorithms(blobs(300)[0], NAMES, 1, 1, algorithms=["kmeans"]).rows(named=True)
    assert (row["k_found"], row["silhouette"], row["stability"], row["smallest_share"]) == (1, None, None, 1.0)
    assert row["agreement"] is None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.ones((300, 4)), "3 clusters need 3 distinct rows; there are 1 among 300 rows. Ask for fewer clusters."),
        (np.eye(4)[:2], "3 clusters need 3 distinct rows; there are 2 among 2 rows. Ask for fewer clusters."),
        (
            np.where(np.arange(40).reshape(10, 4) == 9, np.nan, np.arange(40.0).reshape(10, 4)),
            "Column 'b' holds 1 values that are NaN or infinite, the first in row 3; fill them before clustering.",
        ),
    ],
)
def test_rows_nobody_can_cluster_give_the_reason_in_every_row(values: np.ndarray, reason: str) -> None:
    compared = compare_algorithms(values, NAMES, 3, 1)
    assert compared["remark"].to_list() == [reason] * len(ALGORITHMS)
    assert compared["k_found"].null_count() == len(ALGORITHMS)


def test_barely_enough_rows_are_compared_without_an_accident() -> None:
    values = np.array([[0.0, 0, 0, 0], [5, 0, 0, 0], [0, 5, 0, 0], [0, 0.1, 0, 0]])
    compared = compare_algorithms(values, NAMES, 3, 1, algorithms=["kmeans", "ward", "hdbscan"])
    assert compared["k_found"].to_list() == [3, 3, 1]
    assert compared["stability"].to_list() == [0.0, 0.0, None]


def test_no_rows_give_the_columns_and_an_unknown_name_the_list() -> None:
    assert compare_algorithms(np.zeros((0, 4)), NAMES, 3, 1).equals(pl.DataFrame(schema=COMPARISON_SCHEMA))
    with pytest.raises(UnknownAlgorithmError, match="There is no algorithm 'em'; choose one of kmeans, "):
        compare_algorithms(np.zeros((0, 4)), NAMES, 3, 1, algorithms=["em"])


def test_the_axis_of_a_shop_is_compared_beside_its_own_labels(stage_world: Callable) -> None:
    customers, position = stage_world(1, n=900)
    prepared = prepare(customers, None, STAGE)
    compared = compare_algorithms(prepared.values, prepared.names, 5, STAGE.seed, algorithms=QUICK, present=position)
    assert compared["agreement"].min() > 0.5
    assert compared["agreement"][0] > 0.9
