"""K-means on principal components."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from segmentation_assets.segmentation.algorithms.base import ClusteringError
from segmentation_assets.segmentation.algorithms.embedding import ComponentsClusterer


def stretched(n: int = 400) -> np.ndarray:
    """Five independent columns with variances of about 8, 4, 2, .1 and .1."""
    return np.random.default_rng(0).normal(size=(n, 5)) * np.sqrt([8, 4, 2, 0.1, 0.1])


def test_as_many_components_are_kept_as_carry_nine_tenths_of_the_variance() -> None:
    values = stretched()
    model = ComponentsClusterer(3).fit(values)
    ratios = np.cumsum(PCA().fit(values).explained_variance_ratio_)
    assert model.embed(values).shape == (400, 3)
    assert ratios[1] < 0.9 <= ratios[2]
    assert model.explained_ == pytest.approx(ratios[2])
    assert model.remark_ == f"3 of 5 components, {ratios[2]:.0%} of the variance"


def test_coordinates_are_those_of_principal_components_but_for_the_sign() -> None:
    values = stretched()
    ours, theirs = ComponentsClusterer(2, n_components=2).fit(values).embed(values), PCA(2).fit_transform(values)
    assert np.allclose(np.abs(ours), np.abs(theirs))


def test_all_of_the_variance_keeps_all_components_that_have_any() -> None:
    values = stretched()
    doubled = np.column_stack([values, values[:, 0]])
    assert ComponentsClusterer(2, variance=1.0).fit(doubled).embed(doubled).shape == (400, 5)


def test_rows_that_the_embedding_folds_into_one_are_refused() -> None:
    values = np.zeros((60, 2))
    values[:, 0] = np.repeat([0.0, 100.0], 30)
    values[:, 1] = np.tile([0.0, 1e-3], 30)
    with pytest.raises(ClusteringError) as refusal:
        ComponentsClusterer(3).fit(values)
    assert str(refusal.value) == (
        "3 clusters need 3 distinct rows; the embedding of pca_kmeans leaves 2 of them. "
        "Ask for fewer clusters or cluster without the embedding."
    )
