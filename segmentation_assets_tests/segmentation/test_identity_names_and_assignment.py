"""Ids and names that survive, frozen models that assign or refuse, and what is told about a segment."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.segmentation.assign import FeatureMismatchError, assign, assign_outside
from segmentation_assets.segmentation.drivers import segment_drivers, sentence
from segmentation_assets.segmentation.facts import segment_facts
from segmentation_assets.segmentation.fit import (
    IdentifiedAxis,
    Prepared,
    fit_axis,
    identify,
    model_frame,
    prepare,
    with_version,
)
from segmentation_assets.segmentation.identity import match_segments
from segmentation_assets.segmentation.kmeans import predict
from segmentation_assets.segmentation.model import FrozenModel
from segmentation_assets.segmentation.naming import RESERVED_NAMES
from segmentation_assets.segmentation.spec import STAGE, TASTE
from segmentation_assets.state import EventRecord, IdentityRecord, ModelRecord, open_state


def identified(customers: pl.DataFrame, k: int = 5, **more: object) -> tuple[Prepared, IdentifiedAxis]:
    prepared = prepare(customers, None, STAGE)
    return prepared, identify(fit_axis(prepared, k), customers, None, **more)  # type: ignore[arg-type]  # test options


def kinds(events: object) -> list[str]:
    return [event.kind for event in events]  # type: ignore[attr-defined]  # a tuple of events


# -- identity ---------------------------------------------------------------------------------------------------------


def test_first_ids_are_numbered_by_the_ordering_score() -> None:
    matching = match_segments("S", np.array([5.0, 30.0, 10.0]))
    assert matching.segment_ids == ("S3", "S1", "S2")
    assert kinds(matching.events) == ["birth"] * 3


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(5)), st.integers(0, 1000))
def test_the_order_of_clusters_never_changes_who_is_who(order: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    shared = np.diag(rng.integers(50, 500, 5).astype(float)) + rng.integers(0, 10, (5, 5)).astype(float)
    distances = rng.random((5, 5)) + 3 * (1 - np.eye(5))
    old_ids = [f"S{number}" for number in (1, 2, 4, 7, 9)]
    ordering = rng.random(5)
    plain = match_segments("S", ordering, old_ids=old_ids, shared=shared, distances=distances, highest_number=9)
    mixed = match_segments(
        "S", ordering[order], old_ids=old_ids, shared=shared[:, order], distances=distances[:, order], highest_number=9
    )
    assert mixed.segment_ids == tuple(plain.segment_ids[place] for place in order)
    assert plain.segment_ids == tuple(old_ids)
    assert plain.events == mixed.events == ()


def test_a_split_is_declared_and_the_larger_part_keeps_the_id() -> None:
    shared = np.array([[100.0, 0, 0], [0, 260.0, 140.0]])
    matching = match_segments("S", np.ones(3), old_ids=["S1", "S2"], shared=shared, highest_number=6)
    assert matching.segment_ids == ("S1", "S2", "S7")  # never an id that was used before, though S3 looks free
    split = next(event for event in matching.events if event.kind == "split")
    assert split.segment_id == "S2"
    assert split.detail == {"customers": 400, "into": {"S2": 260, "S7": 140}}
    assert kinds(matching.events) == ["birth", "split"]


def test_a_merge_is_declared_with_the_death_of_what_it_swallowed() -> None:
    shared = np.array([[100.0, 0], [0, 260.0], [0, 140.0]])
    matching = match_segments("T", np.ones(2), old_ids=["T1", "T2", "T3"], shared=shared, highest_number=3)
    assert matching.segment_ids == ("T1", "T2")
    assert kinds(matching.events) == ["death", "merge"]
    assert matching.events[0].detail == {"customers": 140, "customers_to": {"T2": 140}}
    assert matching.events[1].detail == {"customers": 400, "of": {"T2": 260, "T3": 140}}


def test_clusters_that_share_too_little_are_new_segments() -> None:
    shared = np.array([[30.0, 70.0], [40.0, 60.0], [40.0, 60.0]])
    matching = match_segments("S", np.ones(2), old_ids=["S1", "S2", "S3"], shared=shared, highest_number=3)
    assert not matching.survivors
    assert matching.segment_ids == ("S4", "S5")
    apart = match_segments("S", np.array([1.0, 2.0]), old_ids=["S1", "S2"], shared=np.zeros((2, 2)), highest_number=2)
    assert apart.segment_ids == ("S4", "S3")
    assert kinds(apart.events) == ["birth", "birth", "death", "death"]


def test_a_new_fit_on_more_customers_keeps_ids_and_names(stage_world: Callable) -> None:
    customers, _ = stage_world(1, n=1200)
    _, first = identified(customers.filter(pl.int_range(pl.len()) % 5 > 0))
    names = {segment.segment_id: segment.name for segment in first.segments}
    _, second = identified(
        customers, previous=with_version(first.model, 1), names=names, ever_used=[*names, "S9"]
    )  # fmt: skip
    assert {segment.segment_id: segment.name for segment in second.segments} == names
    assert second.events == ()


def test_one_more_cluster_is_a_birth_with_the_next_free_number(stage_world: Callable) -> None:
    customers, _ = stage_world(1, n=1200)
    _, first = identified(customers, k=4)
    names = {segment.segment_id: segment.name for segment in first.segments}
    _, second = identified(customers, k=5, previous=first.model, names=names, ever_used=[*names, "S9"])
    born = [segment for segment in second.segments if segment.segment_id not in names]
    assert [segment.segment_id for segment in born] == ["S10"]
    assert "birth" in kinds(second.events)
    assert born[0].name not in names.values()
    kept = {segment.segment_id: segment.name for segment in second.segments if segment.segment_id in names}
    assert kept == {segment_id: names[segment_id] for segment_id in kept}


# -- names ------------------------------------------------------------------------------------------------------------


def test_names_are_unique_readable_and_never_those_of_rfm_groups(stage_world: Callable) -> None:
    customers, position = stage_world(1, n=1200)
    prepared, axis = identified(customers, taken_names=["Long gone"])
    names = [segment.name for segment in axis.segments]
    assert len(set(names)) == len(names)
    assert not {name.casefold() for name in names} & RESERVED_NAMES
    assert "Long gone" not in names
    labels = fit_axis(prepared, 5).clusters.labels
    by_position = {
        int(np.bincount(position[labels == segment.cluster_index]).argmax()): segment.name for segment in axis.segments
    }
    assert by_position[2] == "New and curious"
    assert "bargain" in by_position[4]
    assert "big" in by_position[3]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 500))
def test_names_stay_unique_with_many_segments_of_any_shape(seed: int) -> None:
    rng = np.random.default_rng(seed)
    customers = pl.DataFrame(
        {
            "customer_id": [f"c{number}" for number in range(60)],
            "is_buyer": [True] * 60,
            "recency_days": rng.exponential(100, 60),
            "order_count": rng.integers(1, 9, 60),
        }
    )
    _, axis = identified(customers, k=10)
    names = [segment.name.casefold() for segment in axis.segments]
    assert len(set(names)) == 10
    assert all(names)


def test_tastes_are_named_after_what_they_buy_more_of(taste_world: Callable) -> None:
    world = taste_world(0, n=1500)
    prepared = prepare(world.customers, world.shares, TASTE)
    axis = identify(fit_axis(prepared, 6), world.customers, world.shares)
    assert len({segment.name for segment in axis.segments}) == 6
    ids = pl.Series(list(axis.model.segment_ids)).gather(fit_axis(prepared, 6).clusters.labels)
    facts = segment_facts(prepared.matrix, ids, TASTE)
    for segment in axis.segments:
        first = segment.name.removeprefix("Mostly ").split(" & ")[0].split(",")[0]
        lift = facts.filter(
            (pl.col("segment_id") == segment.segment_id) & (pl.col("fact") == f"lift category={first}")
        )["value"]
        assert lift[0] > 1.2


def test_a_name_claims_nothing_that_is_not_so() -> None:
    rng = np.random.default_rng(2)
    often = rng.random(400) < 0.5
    customers = pl.DataFrame(
        {
            "customer_id": [f"c{number:03d}" for number in range(400)],
            "is_buyer": [True] * 400,
            "order_count": np.where(often, rng.integers(8, 12, 400), rng.integers(1, 3, 400)),
            "average_order_amount": rng.lognormal(3, 0.1, 400),
            "return_share": rng.random(400) * 0.1,
        }
    )
    _, axis = identified(customers, k=2)  # nothing is known of recency or tenure, and baskets are alike
    assert sorted(segment.name for segment in axis.segments) == ["Frequent buyers", "Occasional buyers"]


def test_one_segment_of_everyone_has_a_name() -> None:
    customers = pl.DataFrame({"customer_id": ["a"], "is_buyer": [True], "recency_days": [3.0]})
    _, axis = identified(customers, k=1)
    assert axis.segments[0].name == "Everyone"
    assert axis.segments[0].segment_id == "S1"


# -- assignment -------------------------------------------------------------------------------------------------------


def test_a_frozen_model_assigns_every_customer_exactly_as_the_fit_did(stage_world: Callable) -> None:
    customers, _ = stage_world(1, n=600, never=7)
    prepared, axis = identified(customers)
    through_json = FrozenModel.from_dict(json.loads(json.dumps(axis.model.as_dict())), axis.model.segment_ids)
    assigned = assign(with_version(through_json, 3), customers, None, STAGE)
    assert assigned["customer_id"].to_list() == sorted(customers["customer_id"].to_list())
    assert assigned["version"].unique().to_list() == [3]
    fitted = pl.Series(list(axis.model.segment_ids)).gather(fit_axis(prepared, 5).clusters.labels)
    inside = assigned.filter(pl.col("segment_id") != "S0")
    assert inside["segment_id"].to_list() == fitted.to_list()
    assert inside.null_count().sum_horizontal()[0] == 0
    outside = assigned.filter(pl.col("segment_id") == "S0")
    assert outside.height == 7
    assert outside["distance"].null_count() == 7
    counts = {segment.segment_id: segment.customers for segment in axis.segments}
    assert dict(inside["segment_id"].value_counts().iter_rows()) == counts


def test_assigning_in_blocks_is_assigning_one_by_one() -> None:
    rng = np.random.default_rng(0)
    values, centroids = rng.normal(size=(70_000, 3)), rng.normal(size=(4, 3))
    labels, distance, _ = predict(values, centroids)
    few = np.array([0, 65_535, 65_536, 69_999])
    again, near, _ = predict(values[few], centroids)
    assert np.array_equal(labels[few], again)
    assert np.allclose(distance[few], near)


def test_a_model_older_than_the_feature_list_is_refused_with_every_mismatch(stage_world: Callable) -> None:
    customers, _ = stage_world(1, n=300)
    _, axis = identified(customers)
    model = with_version(axis.model, 2)
    fewer = dataclasses.replace(STAGE, numeric=STAGE.numeric[1:], categorical=("tier",))
    with pytest.raises(FeatureMismatchError) as refused:
        assign(model, customers.drop("discount_share").with_columns(pl.lit(None).alias("return_share")), None, fewer)
    message = str(refused.value)
    assert "version 2" in message
    assert "discount_share is used by the model, but the column is not in the customer table" in message
    assert "return_share is used by the model, but no customer has a value of it" in message
    assert "tier is asked for by the settings, but the model was fitted without it" in message
    assert "recency_days is used by the model, but the settings no longer name it" in message
    assert "materialise segments/stage_model" in message


def test_an_axis_that_is_off_puts_everyone_outside_and_has_no_model_rows() -> None:
    off = assign_outside(pl.Series(["b", "a"]), TASTE)
    assert off.select("customer_id", "segment_id", "version").rows() == [("a", "T0", 0), ("b", "T0", 0)]
    assert model_frame(None).is_empty()
    assert "segment_customers" in model_frame(None).columns


# -- what is told -----------------------------------------------------------------------------------------------------


def test_drivers_speak_in_original_units(stage_world: Callable) -> None:
    customers, _ = stage_world(1, n=800)
    prepared, axis = identified(customers)
    ids = pl.Series(list(axis.model.segment_ids)).gather(fit_axis(prepared, 5).clusters.labels)
    drivers = segment_drivers(prepared.matrix, prepared.values, prepared.names, ids, STAGE)
    assert drivers.height == 5 * len(prepared.names)
    first = drivers.filter(pl.col("rank") == 1)
    assert first["segment_id"].to_list() == ["S1", "S2", "S3", "S4", "S5"]
    assert (first["standardised_difference"].abs() > 1).all()
    known = prepared.matrix.inputs["recency_days"]
    row = drivers.filter((pl.col("segment_id") == "S1") & (pl.col("feature") == "recency_days")).row(0, named=True)
    assert row["overall_mean"] == pytest.approx(known.mean(), abs=1e-6)
    assert row["segment_mean"] == pytest.approx(known.filter(ids == "S1").mean(), abs=1e-6)
    assert (
        sentence("Recency", "days", -1.2, 12, 180) == "Recency is far below the rest: 12 days against 180 days overall."
    )
    assert "like the rest" in sentence("Return share", "share", -0.2, 0.055, 0.054)  # never "below: 5.5 against 5.4"
    slight = sentence("Return share", "share", 0.2, 0.05, 0.031)
    assert slight == "Return share is slightly above the rest: 5.0 % against 3.1 % overall."


def test_facts_hold_medians_shares_and_lifts(taste_world: Callable) -> None:
    world = taste_world(1, n=600)
    prepared = prepare(world.customers, world.shares, TASTE)
    ids = pl.Series(["T1", "T2"] * 300)
    facts = segment_facts(prepared.matrix, ids, TASTE)
    shares = facts.filter(pl.col("fact").str.starts_with("share_of_lines ") & (pl.col("segment_id") == "T1"))
    assert shares["value"].sum() == pytest.approx(1, abs=1e-4)
    assert facts.filter(pl.col("fact") == "customers")["value"].to_list() == [300, 300]


# -- the whole way, with the state store ------------------------------------------------------------------------------


def test_an_unchanged_second_run_makes_no_new_version(stage_world: Callable, tmp_path: Path) -> None:
    customers, _ = stage_world(1, n=500)

    def run(table: pl.DataFrame, run_id: str) -> tuple[int, list[str]]:
        prepared = prepare(table, None, STAGE)
        with open_state(tmp_path / "state.sqlite") as state:
            latest = state.latest_model("stage")
            if latest is not None and latest.fingerprint == prepared.fingerprint(5):
                return latest.version, [row.name for row in state.segments_of("stage", latest.version)]
            living = state.segments_of("stage", latest.version) if latest else []
            previous = (
                FrozenModel.from_dict(dataclasses.asdict(latest), tuple(row.segment_id for row in living))
                if latest
                else None
            )
            axis = identify(
                fit_axis(prepared, 5), table, None, previous=previous,
                names={row.segment_id: row.name for row in living},
                ever_used=[row.segment_id for row in state.identities("stage")],
                taken_names=[row.name for row in state.identities() if row.axis != "stage" or row.status == "ended"],
            )  # fmt: skip
            record = axis.model.as_dict() | {"as_of": dt.date(2026, 1, 1), "created_by_run": run_id}
            stored = state.register_model(
                ModelRecord(**record),
                [
                    IdentityRecord("stage", s.segment_id, s.name, cluster_index=s.cluster_index, customers=s.customers)
                    for s in axis.segments
                ],
                [EventRecord("stage", event.kind, event.segment_id, event.detail) for event in axis.events],
            )
            return stored.version, [segment.name for segment in axis.segments]

    first, names = run(customers, "r1")
    again, names_again = run(customers.sample(fraction=1, shuffle=True, seed=1), "r2")
    assert (first, again) == (1, 1)
    assert names_again == names
    version, names_later = run(customers.filter(pl.int_range(pl.len()) % 9 > 0), "r3")
    assert version == 2
    assert sorted(names_later) == sorted(names)
