"""Clusterings by name: the way in for settings, the comparison and frozen models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segmentation_assets.segmentation.algorithms.base import Clusterer
from segmentation_assets.segmentation.algorithms.centroids import KMeansClusterer, PrototypesClusterer
from segmentation_assets.segmentation.algorithms.density import DensityClusterer
from segmentation_assets.segmentation.algorithms.embedding import AutoencoderClusterer, ComponentsClusterer
from segmentation_assets.segmentation.algorithms.hierarchical import WardClusterer
from segmentation_assets.segmentation.algorithms.mixture import MixtureClusterer

#: Each algorithm and what it is, in one sentence for settings and documents.
ALGORITHMS: dict[str, str] = {
    "kmeans": "Round clusters of similar width around a mean customer; the default.",
    "kprototypes": "K-means for numbers and categories together: a category counts as equal or not equal.",
    "mixture": "A mixture of Gaussians: clusters may be elongated, tilted and of unequal width.",
    "ward": "Hierarchical merging at the least cost in variance, on a sample of 5,000 customers at most.",
    "hdbscan": "Dense regions with thin space between them, as many as there are, on a sample of 10,000 at most.",
    "pca_kmeans": "K-means on the principal components that carry 90 % of the variance.",
    "autoencoder_kmeans": "K-means on the code of a small neural network; training needs the extra `autoencoder`.",
}

_CLASSES: dict[str, type[Clusterer]] = {
    kind.algorithm: kind
    for kind in (
        KMeansClusterer,
        PrototypesClusterer,
        MixtureClusterer,
        WardClusterer,
        DensityClusterer,
        ComponentsClusterer,
        AutoencoderClusterer,
    )
}


class UnknownAlgorithmError(ValueError):
    """No clustering has this name; the message lists those there are."""


def make_clusterer(
    name: str,
    n_clusters: int,
    random_state: int,
    *,
    columns: Sequence[str] | None = None,
    fit_rows: int | None = None,
) -> Clusterer:
    """The unfitted clusterer called `name`.

    `columns`: names of the matrix columns; kprototypes needs them, the others use them in messages. `fit_rows`: most
    rows to fit on, for the algorithms that work on a sample (None: their own limit). UnknownAlgorithmError otherwise.
    """
    kind = _kind(name)
    limit = {"fit_rows": fit_rows} if fit_rows is not None and samples(name) else {}
    return kind(n_clusters, random_state=random_state, columns=columns, **limit)


def samples(name: str) -> bool:
    """Whether the algorithm called `name` is fitted on a sample of limited size and extended to the other rows."""
    return "fit_rows" in _kind(name)().get_params()


def thaw(frozen: Mapping[str, Any]) -> Clusterer:
    """The fitted clusterer from what its `to_dict` wrote, whatever its kind."""
    return _kind(frozen["algorithm"]).from_dict(frozen)


def _kind(name: str) -> type[Clusterer]:
    if name not in _CLASSES:
        raise UnknownAlgorithmError(f"There is no algorithm {name!r}; choose one of {', '.join(ALGORITHMS)}.")
    return _CLASSES[name]
