"""The one-feature guard: bands of one feature are named, structure of several is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import segmentation_assets
from segmentation_assets.segmentation.guard import ACCURACY_FLOOR, Guard, one_feature
from segmentation_assets.segmentation.kmeans import fit_kmeans

LOOK = Path(segmentation_assets.__file__).parents[2] / "shared" / "data" / "thelook_segments.csv"


def blobs(seed: int, k: int, dimensions: int, spread: float, n: int = 3_000) -> np.ndarray:
    """Equal round blobs at random places."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(k, dimensions)) * spread
    return centres[np.arange(n) % k] + rng.normal(size=(n, dimensions))


@pytest.mark.data
@pytest.mark.skipif(not LOOK.exists(), reason=f"needs the public data file {LOOK.name}")
def test_a_published_segmentation_that_is_bands_of_spend_is_recognised() -> None:
    look = pl.read_csv(LOOK)
    names = ["count_orders", "average_spend", "return_ratio"]
    unscaled = look.select(names).to_numpy().astype(float)
    published = one_feature(unscaled, names, look["segment_id"].to_numpy(), seed=1)
    assert (published.feature, published.is_binning) == ("average_spend", True)
    for k in (3, 5, 8):
        again = one_feature(unscaled, names, fit_kmeans(unscaled, k, seed=1).labels, seed=1)
        assert again.feature == "average_spend"
        assert again.accuracy > 0.99
    scaled = np.column_stack([np.log1p(unscaled[:, 0]), np.log1p(unscaled[:, 1]), np.sqrt(unscaled[:, 2])])
    scaled = (scaled - scaled.mean(axis=0)) / scaled.std(axis=0)
    assert one_feature(scaled, names, fit_kmeans(scaled, 5, seed=1).labels, seed=1).feature is None


def test_a_structure_of_two_features_is_no_false_alarm() -> None:
    rng = np.random.default_rng(0)
    corners = np.array([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0]])
    values = corners[np.arange(4_000) % 4] + rng.normal(0, 0.3, (4_000, 2))
    found = one_feature(values, ["a", "b"], fit_kmeans(values, 4, seed=1).labels, seed=1)
    assert found.feature is None
    assert found.accuracy == pytest.approx(0.5, abs=0.03)  # each feature sees two of the four


@pytest.mark.parametrize("k", [2, 3, 5, 8])
@pytest.mark.parametrize("spread", [1.5, 4.0])
def test_equal_blobs_in_five_dimensions_are_no_false_alarm(k: int, spread: float) -> None:
    for seed in range(3):
        values = blobs(seed, k, 5, spread)
        found = one_feature(values, list("abcde"), fit_kmeans(values, k, seed=1).labels, seed=1)
        assert found.feature is None, f"seed {seed}: {found}"


def test_bands_of_one_feature_among_others_are_named() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(2_000, 6))
    bands = np.digitize(values[:, 4], [-1.0, -0.2, 0.5, 1.3])
    found = one_feature(values, list("abcdef"), bands, seed=1)
    assert found == Guard("e", found.accuracy, True, "e", 10)
    assert found.accuracy >= ACCURACY_FLOOR
    # the middle and the two ends of a feature are bands of it too
    ends = (np.abs(values[:, 2]) > 1).astype(int)
    assert one_feature(values, list("abcdef"), ends, seed=1).feature == "c"


def test_a_copy_of_the_feature_does_not_excuse_it() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(1_500, 3))
    values[:, 1] = 5 * values[:, 0] + 1
    found = one_feature(values, list("abc"), np.digitize(values[:, 0], [-0.5, 0.5]), seed=1)
    assert found.feature == "a"


def test_the_columns_of_a_category_are_one_feature_and_shares_are_several() -> None:
    rng = np.random.default_rng(1)
    tier = rng.integers(0, 4, 1_200)
    hot = (np.eye(4)[tier] - 0.25) * 1.7
    values = np.column_stack([rng.normal(size=1_200), hot])
    names = ["recency_days", *(f"tier={value}" for value in "abcd")]
    found = one_feature(values, names, tier, seed=1)
    assert found.feature == "tier"
    assert found.accuracy == 1.0

    counts = rng.multinomial(20, np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1]])[tier % 3])
    roots = np.sqrt(counts / 20)
    shares = [f"category={value}" for value in "abcd"]
    found = one_feature(roots, shares, tier % 3, seed=1)
    assert found.feature is None
    assert found.nearest in shares


def test_a_number_and_its_missing_indicator_are_one_feature() -> None:
    rng = np.random.default_rng(2)
    income = rng.normal(size=2_000)
    unknown = rng.random(2_000) < 0.3
    values = np.column_stack([np.where(unknown, 0.0, income), unknown, rng.normal(size=2_000)])
    labels = np.where(unknown, 2, income > 0)
    names = ["household_income", "household_income is missing", "recency_days"]
    assert one_feature(values, names, labels, seed=1).feature == "household_income"


def test_one_segment_of_nearly_everybody_is_not_reproduced_by_always_naming_it() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(size=(3_000, 2))
    labels = (rng.random(3_000) < 0.03).astype(int)
    found = one_feature(values, ["a", "b"], labels, seed=1)
    assert found.accuracy > ACCURACY_FLOOR
    assert not found.is_binning


def test_where_there_is_nothing_to_reproduce_nothing_is_named() -> None:
    values = np.random.default_rng(0).normal(size=(50, 2))
    alone = one_feature(values, ["a", "b"], np.zeros(50, dtype=np.int64), seed=1)
    assert (alone.feature, alone.nearest, alone.is_binning) == (None, None, False)
    assert np.isnan(alone.accuracy)
    assert (
        alone.sentence("A") == "There are no two segments, or no feature that varies, so nothing could be reproduced."
    )
    same = one_feature(np.ones((50, 2)), ["a", "b"], np.arange(50) % 2, seed=1)
    assert same.feature is None
    assert one_feature(np.zeros((0, 2)), ["a", "b"], np.zeros(0, dtype=np.int64), seed=1).feature is None


def test_segments_of_a_few_customers_are_judged_all_the_same() -> None:
    values = np.array([[0.0, 1.0], [0.1, 5.0], [9.0, 2.0]])
    assert 0 <= one_feature(values, ["a", "b"], np.array([0, 0, 1]), seed=1).accuracy <= 1
    rng = np.random.default_rng(0)
    many = rng.normal(size=(500, 2))
    labels = (many[:, 0] > 0).astype(np.int64)
    labels[:1] = 7  # a segment of one customer
    assert one_feature(many, ["a", "b"], labels, seed=1).feature == "a"


def test_the_same_seed_gives_the_same_answer_and_the_order_of_rows_may_change() -> None:
    values = blobs(1, 4, 3, 1.0, n=6_000)
    labels = fit_kmeans(values, 4, seed=1).labels
    first = one_feature(values, list("abc"), labels, seed=5)
    assert one_feature(values, list("abc"), labels, seed=5) == first
    turned = one_feature(values[::-1], list("abc"), labels[::-1], seed=5)
    assert turned.nearest == first.nearest
    assert turned.accuracy == pytest.approx(first.accuracy, abs=0.03)


def test_the_sentence_names_the_feature_and_its_figures() -> None:
    bands = Guard("average_spend", 0.9987, True, "average_spend", 10)
    assert bands.sentence("Average spend") == (
        "Average spend alone reproduces the segments: a tree on it with at most 10 leaves puts 99.9 % of held-out "
        "customers into their segment. They are bands of Average spend."
    )
    none = Guard(None, 0.41, False, "recency_days", 12)
    assert none.sentence("Recency") == (
        "No feature alone reproduces the segments; Recency comes closest: a tree on it with at most 12 leaves puts "
        "41 % of held-out customers into their segment."
    )


def test_names_and_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="name per column") as caught:
        one_feature(np.zeros((4, 2)), ["a"], np.zeros(4, dtype=np.int64), seed=1)
    assert str(caught.value) == (
        "The guard needs a name per column and a label per row: values are (4, 2), with 1 names and 4 labels."
    )
