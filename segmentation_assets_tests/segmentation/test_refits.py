"""A new fit keeps what is as good as before, comes back after an excursion, and declares what really changed."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.segmentation.assign import apply_model, assign
from segmentation_assets.segmentation.fit import IdentifiedAxis, fit_axis, identify, prepare, with_version
from segmentation_assets.segmentation.identity import match_segments, refit_or_keep, rename_events
from segmentation_assets.segmentation.kmeans import fit_kmeans, predict
from segmentation_assets.segmentation.model import FrozenModel
from segmentation_assets.segmentation.spec import STAGE


@pytest.fixture(scope="module")
def refits() -> ModuleType:
    """The benchmark of re-fits, whose worlds and measurements the tests use at a small size."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "identity.py"
    spec = importlib.util.spec_from_file_location("identity_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def blobs(seed: int, centres: np.ndarray, n: int = 900) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(np.random.SeedSequence([seed, 7]))
    label = rng.integers(0, len(centres), n)
    return centres[label] + rng.normal(size=(n, centres.shape[1])), label


# -- hysteresis of the ids --------------------------------------------------------------------------------------------


def test_an_id_stays_with_its_segment_unless_another_is_clearly_better() -> None:
    ids, before = ["S1", "S2"], np.diag([100.0, 100.0])
    for share, order in ((45.0, ("S1", "S2")), (30.0, ("S2", "S1"))):
        shared = np.array([[share, 100 - share], [100 - share, share]])
        held = match_segments("S", np.ones(2), old_ids=ids, shared=shared, earlier_ids=ids, earlier_shared=before)
        assert held.segment_ids == order
        assert match_segments("S", np.ones(2), old_ids=ids, shared=shared).segment_ids == ("S2", "S1")


def test_a_borderline_match_counts_when_the_version_before_supports_it() -> None:
    ids = ["S1", "S2"]
    shared = np.array([[40.0, 30.0], [60.0, 300.0]])  # cluster 0 shares 40 of 130 with S1, less than a third
    alone = match_segments("S", np.ones(2), old_ids=ids, shared=shared)
    assert alone.segment_ids == ("S3", "S2")
    support = np.array([[80.0, 5.0], [10.0, 330.0]])
    held = match_segments("S", np.ones(2), old_ids=ids, shared=shared, earlier_ids=ids, earlier_shared=support)
    assert held.segment_ids == ("S1", "S2")
    less = np.array([[20.0, 50.0], [80.0, 280.0]])  # below a quarter no memory helps
    gone = match_segments("S", np.ones(2), old_ids=ids, shared=less, earlier_ids=ids, earlier_shared=support)
    assert gone.segment_ids == ("S3", "S2")


def test_ids_come_back_after_a_fit_in_between() -> None:
    # Two cuts of the same four quarters: left and right, top and bottom. Against the cut in between it is a draw.
    draw = np.full((2, 2), 50.0)
    before = np.array([[0.0, 100.0], [100.0, 0.0]])
    for order, shared_before in ((("S1", "S2"), before[:, ::-1]), (("S2", "S1"), before)):
        found = match_segments(
            "S", np.ones(2), old_ids=["S1", "S2"], shared=draw, earlier_ids=["S1", "S2"], earlier_shared=shared_before
        )  # fmt: skip
        assert found.segment_ids == order
        assert found.agreement == 0.5


def test_what_ended_since_the_version_before_gives_nobody_its_id() -> None:
    shared = np.array([[90.0, 10.0]])
    found = match_segments(
        "S", np.array([1.0, 2.0]), old_ids=["S1"], shared=shared, highest_number=4,
        earlier_ids=["S4", "S1"], earlier_shared=np.array([[0.0, 10.0], [90.0, 0.0]]),
    )  # fmt: skip
    assert found.segment_ids == ("S1", "S5")


def test_a_splinter_is_a_split_and_a_swallowed_rest_a_merge() -> None:
    split = match_segments("S", np.ones(3), old_ids=["S1", "S2"], shared=np.array([[90.0, 0, 10], [0, 100.0, 0]]))
    assert [event.kind for event in split.events] == ["birth", "split"]
    assert split.events[1].detail == {"customers": 100, "into": {"S1": 90, "S3": 10}}
    merge = match_segments("S", np.ones(2), old_ids=["S1", "S2", "S3"], shared=np.array([[90.0, 0], [0, 90], [10, 0]]))
    assert [event.kind for event in merge.events] == ["death", "merge"]
    assert merge.events[1].detail == {"customers": 100, "of": {"S1": 90, "S3": 10}}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_every_id_lives_is_born_or_dies_and_is_given_once(seed: int, old: int, new: int, remembers: bool) -> None:
    rng = np.random.default_rng(seed)
    shared = rng.integers(0, 100, (old, new)).astype(float) * (rng.random((old, new)) < 0.6)
    ids = [f"S{number}" for number in rng.choice(np.arange(1, 20), old, replace=False)]
    found = match_segments(
        "S", rng.random(new), old_ids=ids, shared=shared, distances=rng.random((old, new)), highest_number=20,
        earlier_ids=ids if remembers else (), earlier_shared=rng.permuted(shared, axis=1) if remembers else None,
    )  # fmt: skip
    assert len(set(found.segment_ids)) == new
    born = {event.segment_id for event in found.events if event.kind == "birth"}
    dead = {event.segment_id for event in found.events if event.kind == "death"}
    assert born == set(found.segment_ids) - set(ids)
    assert dead == set(ids) - set(found.segment_ids)
    assert all(int(segment_id[1:]) > 20 for segment_id in born)
    assert found.agreement is None or 0 <= found.agreement <= 1


def test_a_merge_that_moved_its_customers_is_told_by_where_they_were() -> None:
    # S1 and S2 came together where S3 is: by place, S3 is split and the others are empty.
    shared = np.array([[0.0, 0.0], [0.0, 0.0], [200.0, 90.0]])
    moved = np.array([[100.0, 0.0], [100.0, 0.0], [0.0, 90.0]])
    ids = ["S1", "S2", "S3"]
    found = match_segments("S", np.ones(2), old_ids=ids, shared=shared, moved=moved)
    merge = next(event for event in found.events if event.kind == "merge")
    assert merge.segment_id == "S3"
    assert merge.detail == {"customers": 200, "of": {"S1": 100, "S2": 100}}
    assert not any(
        event.kind == "merge" for event in match_segments("S", np.ones(2), old_ids=ids, shared=shared).events
    )
    # Customers who move between segments that stay what they are split and merge nothing.
    stay = np.diag([100.0, 100.0])
    assert (
        match_segments("S", np.ones(2), old_ids=ids[:2], shared=stay, moved=np.array([[40.0, 60], [0, 60]])).events
        == ()
    )


def test_a_rename_is_an_event_with_both_names() -> None:
    events = rename_events({"S10": "Old", "S2": "Same", "S1": "Gone"}, {"S10": "New", "S2": "Same", "S3": "Born"})
    assert [(event.kind, event.segment_id, event.detail) for event in events] == [
        ("rename", "S10", {"before": "Old", "after": "New"})
    ]


# -- the cut ----------------------------------------------------------------------------------------------------------


def test_a_cut_as_good_as_the_new_fits_is_kept() -> None:
    values = np.random.default_rng(3).normal(size=(2_000, 3))  # one piece: many cuts are equally good
    first, free = fit_kmeans(values[:1_500], 5, 1), fit_kmeans(values, 5, 2)
    kept = refit_or_keep(values, free, first.centroids)
    assert kept.cut in {"kept", "warm"}
    assert kept.clusters.inertia <= 1.02 * free.inertia
    assert kept.excess == pytest.approx(max(0.0, kept.clusters.inertia / free.inertia - 1))
    labels, distance, _ = predict(values, kept.clusters.centroids)
    assert np.array_equal(labels, kept.clusters.labels)  # labels and centroids are of one model
    assert (distance**2).sum() == pytest.approx(kept.clusters.inertia)
    if kept.cut == "kept":
        assert np.array_equal(kept.clusters.centroids, first.centroids)


def test_a_cut_that_moved_is_followed_no_further_than_needed() -> None:
    centres = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    values, _ = blobs(1, centres)
    free = fit_kmeans(values, 3, 1)
    followed = refit_or_keep(values, free, free.centroids + 0.25)
    assert followed.cut == "warm"
    assert 0.01 < followed.excess <= 0.02


def test_a_cut_far_from_todays_customers_is_not_followed() -> None:
    centres = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    values, _ = blobs(1, centres)
    free = fit_kmeans(values, 3, 1)
    assert refit_or_keep(values, free, free.centroids + 1.5).cut == "new"


def test_a_cut_that_explains_less_gives_way_to_the_new_fit() -> None:
    before, _ = blobs(1, np.array([[0.0, 0.0], [9.0, 0.0], [4.5, 30.0]]))
    centroids = fit_kmeans(before, 3, 1).centroids
    after, _ = blobs(1, np.array([[4.5, 0.0], [4.5, 24.0], [4.5, 36.0]]))
    free = fit_kmeans(after, 3, 1)
    assert refit_or_keep(after, free, centroids) == dataclasses.replace(
        refit_or_keep(after, free, centroids), clusters=free, cut="new", excess=0.0
    )


def test_segments_without_customers_or_of_another_number_give_way() -> None:
    values, _ = blobs(2, np.array([[0.0, 0.0], [8.0, 0.0]]))
    free = fit_kmeans(values, 2, 1)
    far = np.vstack([free.centroids[0], [900.0, 900.0]])
    unknown = np.vstack([free.centroids[0], [np.nan, np.nan]])
    for centroids in (far, unknown, np.vstack([free.centroids, [[4.0, 4.0]]])):
        assert refit_or_keep(values, free, centroids).clusters is free
    with pytest.raises(ValueError, match="The centroids in use have 3 columns and the matrix 2"):
        refit_or_keep(values, free, np.zeros((2, 3)))


def test_identical_customers_keep_their_single_segment() -> None:
    values = np.ones((50, 2))
    kept = refit_or_keep(values, fit_kmeans(values, 1, 1), np.ones((1, 2)))
    assert (kept.cut, kept.excess) == ("kept", 0.0)


# -- through prepare, fit and identify --------------------------------------------------------------------------------


def first_fit(stage_world: Callable, n: int = 1200) -> tuple[pl.DataFrame, IdentifiedAxis]:
    customers, _ = stage_world(1, n=n)
    return customers, identify(fit_axis(prepare(customers, None, STAGE), 5), customers, None)


def test_a_second_fit_keeps_the_places_of_the_first_in_original_units(stage_world: Callable) -> None:
    customers, first = first_fit(stage_world)
    assert (first.cut, first.agreement) == ("new", None)
    model = with_version(first.model, 1)
    fewer = customers.filter(pl.int_range(pl.len()) % 4 > 0)
    spec = dataclasses.replace(STAGE, seed=5)
    second = identify(fit_axis(prepare(fewer, None, spec), 5), fewer, None, previous=model, earlier=model)
    assert second.cut == "kept"
    assert second.agreement is not None
    assert second.agreement > 0.99
    assert second.model.centroids != first.model.centroids  # the same places, in the scale of today's matrix
    ids = assign(second.model, fewer, None, STAGE)["segment_id"]
    assert (ids == assign(model, fewer, None, STAGE)["segment_id"]).mean() > 0.99


def test_another_feature_list_still_matches_on_the_customers(stage_world: Callable) -> None:
    customers, first = first_fit(stage_world)
    spec = dataclasses.replace(STAGE, numeric=STAGE.numeric[:5])
    second = identify(fit_axis(prepare(customers, None, spec), 5), customers, None, previous=first.model)
    assert set(second.model.segment_ids) & set(first.model.segment_ids)
    assert second.agreement is not None


def test_the_frozen_reference_comes_back_from_json_and_marks_one_in_a_hundred(stage_world: Callable) -> None:
    customers, first = first_fit(stage_world)
    stored = json.loads(json.dumps(first.model.as_dict()))
    model = FrozenModel.from_dict(stored, first.model.segment_ids)
    assert model == first.model
    assigned = assign(model, customers, None, STAGE)
    inside = assigned.filter(pl.col("segment_id") != "S0")
    assert 0 < inside["is_misfit"].sum() <= 0.01 * inside.height + 5
    assert assigned.filter(pl.col("segment_id") == "S0")["is_misfit"].null_count() == 20
    older = {name: value for name, value in stored.items() if name not in {"clusterer", "reference"}}
    for values in (older, older | {"clusterer": None, "reference": None}):
        plain = FrozenModel.from_dict(values, first.model.segment_ids)
        assert (plain.clusterer, plain.reference) == (None, {})
        without = assign(plain, customers, None, STAGE)
        assert without["is_misfit"].null_count() == without.height
        assert without.drop("is_misfit").equals(assigned.drop("is_misfit"))


def test_a_model_with_a_clusterer_assigns_by_it_and_its_margins_may_be_negative(stage_world: Callable) -> None:
    from segmentation_assets.segmentation.algorithms.registry import make_clusterer

    customers, first = first_fit(stage_world, n=600)
    prepared = prepare(customers, None, STAGE)
    # A long group and a round one beside its middle: ends of the long one lie nearer to the other's mean.
    rng = np.random.default_rng(4)
    values = 0.3 * rng.normal(size=(600, prepared.values.shape[1]))
    values[:300, 0] *= 20
    values[300:] += 2.5 * np.eye(values.shape[1])[1] + 4 * np.eye(values.shape[1])[0]
    mixture = make_clusterer("mixture", 2, 1).fit(values)
    labels = mixture.predict(values)
    centres = np.array([values[labels == cluster].mean(axis=0) for cluster in range(labels.max() + 1)])
    model = dataclasses.replace(
        first.model, k=len(centres), centroids=centres.tolist(), clusterer=json.loads(json.dumps(mixture.to_dict())),
        segment_ids=tuple(f"S{number + 1}" for number in range(len(centres))), reference={},
    )  # fmt: skip
    found, distance, margin = apply_model(model, values)
    assert np.array_equal(found, labels)
    assert np.allclose(distance, np.linalg.norm(values - centres[labels], axis=1))
    nearest, _, _ = predict(values, centres)
    assert np.array_equal(margin < 0, nearest != labels)
    assert (margin < 0).any()
    alone = dataclasses.replace(model, centroids=centres[:1].tolist(), clusterer=make_clusterer("kmeans", 1, 1).fit(
        values).to_dict())  # fmt: skip
    assert np.isnan(apply_model(alone, values)[2]).all()
    again = identify(fit_axis(prepared, 3), customers, None, previous=model)
    assert again.cut == "new"  # a cut that nearest centroids do not draw is not kept by nearest centroids


# -- months, splits and merges ----------------------------------------------------------------------------------------


def check_months(months: object, number: int) -> None:
    assert len(months.kept) == number  # type: ignore[attr-defined]  # the benchmark's Months
    assert min(months.kept) >= 0.92  # type: ignore[attr-defined]
    assert months.unexplained == months.silent == 0  # type: ignore[attr-defined]


def test_refits_keep_the_ids_of_the_frozen_model(refits: ModuleType) -> None:
    check_months(refits.monthly_refits(3, 600, 4, months=3), 3)


@pytest.mark.slow
def test_twelve_refits_keep_the_ids_of_the_frozen_model(refits: ModuleType) -> None:
    check_months(refits.monthly_refits(3, 1200, 4), 12)


@pytest.mark.parametrize("kind", ["split", "merge", "both"])
def test_planted_splits_and_merges_are_declared(refits: ModuleType, kind: str) -> None:
    assert refits.declared_changes(kind, range(4), 700) == (4, 0)


@pytest.mark.parametrize("family", ["planted", "one piece", "tastes"])
def test_nothing_is_declared_where_nothing_changed(refits: ModuleType, family: str) -> None:
    assert refits.false_alarms(family, range(3), 700) == (0, 0)


@pytest.mark.slow
def test_the_benchmark_prints_its_targets_and_fails_when_one_is_missed(
    refits: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ["--shops", "1", "--draws", "2", "--customers", "1200"]
    assert refits.main(small) == 0
    printed = capsys.readouterr().out
    assert "Planted split  declared in 2 of 2" in printed
    assert "Ids that changed hands or names without an event: 0" in printed
    assert "All targets are met." in printed
    monkeypatch.setattr(refits, "is_declared", lambda *_: False)
    assert refits.main(small) == 1
    assert "Missed: planted split, planted merge, planted both" in capsys.readouterr().out
