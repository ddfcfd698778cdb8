"""The projection: three components of the matrix or of an embedding, from all rows, shown on a repeatable sample."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from segmentation_assets.segmentation.projection import PROJECTION_POINTS, PROJECTION_SCHEMA, project


def cloud(n: int = 5_000) -> tuple[np.ndarray, pl.Series]:
    values = np.random.default_rng(0).normal(size=(n, 5)) * [4, 3, 2, 1, 0.5]
    return values, pl.Series([f"S{number % 3 + 1}" for number in range(n)])


def test_three_components_carry_their_part_of_the_variance_in_order() -> None:
    values, ids = cloud()
    shown = project("stage", values, ids, seed=1)
    assert dict(shown.points.schema) == PROJECTION_SCHEMA
    assert shown.points.height == PROJECTION_POINTS
    total = 16 + 9 + 4 + 1 + 0.25
    assert shown.explained == pytest.approx((16 / total, 9 / total, 4 / total), abs=0.02)
    spreads = shown.points.select(pl.col("x", "y", "z").std()).row(0)
    assert spreads == pytest.approx((4, 3, 2), rel=0.05)


def test_points_are_a_repeatable_sample_without_customer_ids() -> None:
    values, ids = cloud()
    first = project("stage", values, ids, seed=1)
    assert project("stage", values, ids, seed=1).points.equals(first.points)
    assert not project("stage", values, ids, seed=2).points["x"].equals(first.points["x"])
    assert first.points["point"].to_list() == list(range(1, PROJECTION_POINTS + 1))
    assert "customer_id" not in first.points.columns


def test_an_embedding_is_shown_for_the_same_customers() -> None:
    values, ids = cloud()
    embedding = values[:, 4:] * 10 + 3
    shown = project("stage", values, ids, seed=1, embedding=embedding)
    assert shown.explained == (1.0, 0.0, 0.0)
    assert shown.points.select("y", "z").to_numpy().any() is np.False_
    assert shown.points["segment_id"].equals(project("stage", values, ids, seed=1).points["segment_id"])
    full = project("stage", values, ids, seed=1, embedding=values)
    assert full.points.equals(project("stage", values, ids, seed=1).points)


def test_fewer_columns_than_components_leave_zeros() -> None:
    values, ids = cloud(100)
    two = project("taste", values[:, :2], ids, seed=1)
    assert two.points["z"].abs().max() == 0
    assert sum(two.explained) == pytest.approx(1)
    one = project("taste", values[:, :1], ids, seed=1)
    assert (one.points["y"].abs().max(), one.explained) == (0, (1.0, 0.0, 0.0))
    alike = project("taste", np.ones((10, 4)), ids[:10], seed=1)
    assert alike.explained == (0.0, 0.0, 0.0)
    nobody = project("taste", np.zeros((0, 4)), ids.clear(), seed=1)
    assert nobody.points.is_empty()
    assert dict(nobody.points.schema) == PROJECTION_SCHEMA


def test_rows_that_do_not_belong_together_are_refused() -> None:
    values, ids = cloud(10)
    with pytest.raises(ValueError, match="a projection needs") as caught:
        project("stage", values, ids, seed=1, embedding=values[:4])
    assert str(caught.value) == (
        "Axis stage: a projection needs one segment id and one embedded row per row of the matrix; there are 10 rows, "
        "10 ids and 4 rows to show."
    )
