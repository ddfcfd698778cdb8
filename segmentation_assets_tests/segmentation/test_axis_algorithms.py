"""An axis by another algorithm than K-means: evidence, fit, freezing and assignment all use it."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from segmentation_assets.segmentation.assign import assign
from segmentation_assets.segmentation.choose import choose_k
from segmentation_assets.segmentation.fit import evidence_of, fit_axis, identify, prepare
from segmentation_assets.segmentation.model import FrozenModel
from segmentation_assets.segmentation.spec import AxisSpecError, spec_from_settings


@pytest.mark.parametrize("algorithm", ["mixture", "ward", "hdbscan", "pca_kmeans", "kprototypes"])
def test_an_axis_can_be_made_by_every_algorithm(stage_world: Callable, algorithm: str) -> None:
    customers, _ = stage_world(3, n=160)
    spec = spec_from_settings("stage", {"algorithm": algorithm, "k_max": 3, "k_min": 2})
    prepared = prepare(customers, None, spec)
    evidence = evidence_of(prepared)
    assert evidence["k"].to_list() == [1, 2, 3]
    chosen = choose_k(evidence, spec)
    assert chosen.k in (2, 3)
    fitted = fit_axis(prepared, chosen.k)
    identified = identify(fitted, customers, None)
    # As it comes back from the state store: through JSON.
    stored = json.loads(json.dumps(identified.model.as_dict()))
    frozen = FrozenModel.from_dict(stored, identified.model.segment_ids)
    found = assign(frozen, customers, None, spec)
    inside = dict(found.select("customer_id", "segment_id").iter_rows())
    ids = np.array(frozen.segment_ids)[fitted.clusters.labels]
    assert [inside[customer] for customer in prepared.matrix.included_ids] == ids.tolist()


def test_a_number_of_clusters_that_the_algorithm_does_not_find_is_not_admissible(stage_world: Callable) -> None:
    customers, _ = stage_world(3, n=160)
    spec = spec_from_settings("stage", {"algorithm": "hdbscan", "k_max": 4, "k_min": 2})
    evidence = evidence_of(prepare(customers, None, spec))
    missed = evidence.filter((evidence["k"] > 1) & (evidence["smallest_customers"] == 0))
    assert not missed["is_admissible"].any()
    assert all("smallest share 0.000" in why for why in missed["fails"])


def test_an_algorithm_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(AxisSpecError, match=r"algorithm 'kmeanz' is unknown; known: kmeans, kprototypes"):
        spec_from_settings("stage", {"algorithm": "kmeanz"})


def test_settings_and_registry_know_the_same_algorithms() -> None:
    from typing import get_args

    from segmentation_assets.segmentation.algorithms.registry import ALGORITHMS
    from segmentation_assets.segmentation.spec import ALGORITHM_NAMES
    from segmentation_assets.settings import Algorithm

    assert set(ALGORITHMS) == set(ALGORITHM_NAMES) == set(get_args(Algorithm))
