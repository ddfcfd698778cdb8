"""What goes into an axis, what is left out and why, and that the preprocessing freezes exactly."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.segmentation.fit import prepare
from segmentation_assets.segmentation.matrix import OTHER, build_matrix, matrix_for_layout
from segmentation_assets.segmentation.preprocess import (
    ShareColumns,
    column_names,
    export_pipeline,
    fit_transform,
    import_pipeline,
    shrinkage_strength,
    transform,
)
from segmentation_assets.segmentation.spec import STAGE, TASTE, AxisSpecError, NumericFeature, spec_from_settings


def test_customers_who_never_bought_stay_outside_the_stage_axis(stage_world: Callable) -> None:
    customers, _ = stage_world(1, n=200, never=20)
    matrix = build_matrix(customers.sample(fraction=1, shuffle=True, seed=3), None, STAGE)
    assert len(matrix.customer_ids) == 220
    assert matrix.customer_ids.is_sorted()
    assert matrix.included.sum() == 200
    assert matrix.inputs.height == 200
    assert "customer_id" not in matrix.layout.columns


def test_average_and_total_spend_are_not_counted_twice(stage_world: Callable) -> None:
    customers, _ = stage_world(1, n=100)
    assert "monetary_amount" not in build_matrix(customers, None, STAGE).layout.numeric
    without_average = customers.with_columns(pl.lit(None).alias("average_order_amount"))
    matrix = build_matrix(without_average, None, STAGE)
    assert "monetary_amount" in matrix.layout.numeric
    reasons = {item.name: item.reason for item in matrix.left_out}
    assert "no value is known for any of 100 customers" in reasons["average_order_amount"]


def test_every_feature_left_out_has_its_reason() -> None:
    customers = pl.DataFrame(
        {
            "customer_id": ["a", "b", "c"],
            "is_buyer": [True] * 3,
            "recency_days": [1.0, 2.0, float("inf")],
            "order_count": [2, 2, 2],
            "average_order_amount": [None, None, 3.0],
            "monetary_amount": [-5.0, 2.0, 3.0],
            "tenure_days": [None, None, None],
        }
    )
    matrix = build_matrix(customers, None, STAGE)
    reasons = {item.name: item.reason for item in matrix.left_out}
    assert matrix.layout.numeric == ("recency_days",)
    assert matrix.inputs["recency_days"].to_list() == [1.0, 2.0, None]
    assert reasons["order_count"] == "the same (2) for every customer"
    assert reasons["average_order_amount"].startswith("known for 1 of 3 customers only")
    assert "negative values (lowest -5)" in reasons["monetary_amount"]
    assert reasons["discount_share"] == "the column is not in the customer table"


@pytest.mark.parametrize(
    ("customers", "reason"),
    [
        (pl.DataFrame(schema={"customer_id": pl.String, "is_buyer": pl.Boolean}), "There are no customers."),
        (pl.DataFrame({"customer_id": ["a", "b"], "is_buyer": [False, False]}), "None of the 2 customers has bought"),
        (pl.DataFrame({"customer_id": ["a", "b"], "is_buyer": [True, True]}), "No feature is left: recency_days:"),
    ],
)
def test_an_impossible_axis_is_off_with_a_reason_not_an_error(customers: pl.DataFrame, reason: str) -> None:
    prepared = prepare(customers, None, STAGE)
    assert prepared.off_reason is not None
    assert prepared.off_reason.startswith(reason)
    assert len(prepared.values) == 0


def test_a_taste_axis_without_lines_is_off_whatever_else_is_known(stage_world: Callable) -> None:
    customers, _ = stage_world(1, n=50)
    spec = spec_from_settings("taste", {"numeric": ["tenure_days"]})
    assert "no order line has a known category" in str(prepare(customers, None, spec).off_reason)
    assert "switched off" in str(prepare(customers, None, dataclasses.replace(TASTE, is_on=False)).off_reason)


def test_customers_with_too_few_known_lines_have_no_taste() -> None:
    customers = pl.DataFrame({"customer_id": ["a", "b", "c"], "is_buyer": [True] * 3})
    shares = pl.DataFrame(
        {
            "customer_id": ["a", "a", "b", "b", "c"],
            "dimension": ["category"] * 5,
            "value": ["Tea", "Coffee", "Tea", "unknown", "Coffee"],
            "line_count": [1, 2, 2, 9, 5],
        }
    )
    matrix = build_matrix(customers, shares, TASTE)
    assert matrix.included_ids.to_list() == ["a", "c"]
    assert matrix.inputs.to_dicts() == [
        {"category=Coffee": 2.0, "category=Tea": 1.0},
        {"category=Coffee": 5.0, "category=Tea": 0.0},
    ]
    with_products = shares.with_columns(pl.lit(1).alias("product_count"))
    counted = build_matrix(customers, with_products, TASTE)
    assert counted.inputs["category=Tea"].to_list() == [1.0, 0.0]  # distinct products, once they are known
    assert counted.included_ids.to_list() == ["a", "c"]  # the floor is still on lines


def test_rare_values_are_counted_together() -> None:
    shares = pl.DataFrame(
        {
            "customer_id": ["a"] * 4,
            "dimension": ["category"] * 4,
            "value": ["w", "x", "y", "z"],
            "line_count": [9, 8, 2, 1],
        }
    )
    spec = dataclasses.replace(TASTE, maximum_share_values=2)
    matrix = build_matrix(pl.DataFrame({"customer_id": ["a"]}), shares, spec)
    assert matrix.inputs.row(0, named=True) == {"category=w": 9.0, "category=x": 8.0, f"category={OTHER}": 3.0}


def test_amounts_per_category_stand_in_for_lines() -> None:
    customers = pl.DataFrame(
        {
            "customer_id": ["a", "b", "c"], "is_buyer": [True] * 3, "order_count": [4, 8, 2],
            "wine": [100.0, 0.0, 0.0], "fish": [300.0, 50.0, 0.0], "empty": [0.0, 0.0, 0.0],
        }
    )  # fmt: skip
    spec = spec_from_settings("taste", {"share_columns": ["wine", "fish", "empty"], "share_dimensions": []})
    matrix = build_matrix(customers, None, spec)
    assert matrix.inputs["amounts=wine"].to_list() == [1.0, 0.0]
    assert matrix.inputs["amounts=fish"].to_list() == [3.0, 8.0]
    assert matrix.included_ids.to_list() == ["a", "b"]  # c spent nothing
    assert [item.name for item in matrix.left_out] == ["empty"]


def test_two_rows_of_one_customer_are_refused() -> None:
    with pytest.raises(ValueError, match="one row per customer_id"):
        build_matrix(pl.DataFrame({"customer_id": ["a", "a"]}), None, STAGE)


def test_settings_of_an_axis_are_checked() -> None:
    with pytest.raises(AxisSpecError, match="unknown setting k_maximum"):
        spec_from_settings("stage", {"k_maximum": 4})
    with pytest.raises(AxisSpecError, match="transform 'sqare'"):
        spec_from_settings("stage", {"numeric": [{"name": "recency_days", "transform": "sqare"}]})
    with pytest.raises(AxisSpecError, match="used twice"):
        spec_from_settings("stage", {"numeric": ["recency_days", "recency_days"]})
    with pytest.raises(AxisSpecError, match="k_max is '9'; give a value like 12"):
        spec_from_settings("stage", {"k_max": "9"})
    with pytest.raises(AxisSpecError, match="leave no k to try"):
        spec_from_settings("stage", {"k_max": 2})
    with pytest.raises(AxisSpecError, match="no axis 'mood'"):
        spec_from_settings("mood", {})
    kept = spec_from_settings("stage", {"numeric": ["recency_days", "household_income"]}).numeric
    assert [feature.transform for feature in kept] == ["log", "none"]


def every_kind(n: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(seed)
    ids = [f"c{number:04d}" for number in range(n)]
    customers = pl.DataFrame(
        {
            "customer_id": ids,
            "is_buyer": [True] * n,
            "recency_days": rng.exponential(90, n),
            "order_count": np.where(rng.random(n) < 0.2, np.nan, rng.poisson(3, n)),
            "balance": rng.normal(0, 1000, n),
            "discount_share": rng.choice([0.0, 0.0, 0.3], n),
            "tier": rng.choice(["gold", "silver", "o'neil"], n),
        }
    )
    shares = pl.DataFrame(
        {"customer_id": np.repeat(ids, 3), "dimension": ["category"] * 3 * n, "value": ["Tea", "Ko\u0144", "=x"] * n,
         "line_count": rng.poisson(3, 3 * n) + 1}
    )  # fmt: skip
    return customers, shares


EVERYTHING = dataclasses.replace(
    TASTE,
    numeric=(
        NumericFeature("recency_days", "log"),
        NumericFeature("order_count", "rank"),
        NumericFeature("balance", "asinh"),
        NumericFeature("discount_share", "sqrt", weight=0.5),
    ),
    categorical=("tier",),
    minimum_lines=3,
)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(5, 60))
def test_frozen_preprocessing_gives_identical_floats(seed: int, n: int) -> None:
    customers, shares = every_kind(n, seed)
    matrix = build_matrix(customers, shares, EVERYTHING)
    pipeline, values, names = fit_transform(matrix, EVERYTHING)
    again, layout = import_pipeline(json.loads(json.dumps(export_pipeline(pipeline, matrix.layout))))
    assert layout == matrix.layout
    assert column_names(again) == names
    assert np.array_equal(transform(again, matrix.inputs), values)
    assert np.isfinite(values).all()
    assert np.allclose(values.mean(axis=0), 0, atol=1e-9)


def test_new_rows_with_unknown_values_are_transformed() -> None:
    customers, shares = every_kind(50, 1)
    matrix = build_matrix(customers, shares, EVERYTHING)
    pipeline, _, names = fit_transform(matrix, EVERYTHING)
    new = pl.DataFrame(
        {"customer_id": ["n"], "is_buyer": [True], "recency_days": [None], "order_count": [1e9], "balance": [0.0],
         "discount_share": [0.0], "tier": ["platinum"]}
    )  # fmt: skip
    new_shares = pl.DataFrame(
        {"customer_id": ["n", "n"], "dimension": ["category"] * 2, "value": ["Tea", "Never seen"], "line_count": [4, 4]}
    )
    inputs = matrix_for_layout(new, new_shares, EVERYTHING, matrix.layout).inputs
    row = dict(zip(names, transform(pipeline, inputs)[0], strict=True))
    assert np.isfinite(list(row.values())).all()
    assert inputs["category=Tea"].to_list() == [4.0]
    assert "order_count is missing" in names
    assert transform(pipeline, inputs.clear()).shape == (0, len(names))


def test_shrinkage_is_strong_where_customers_are_alike_and_weak_where_they_differ() -> None:
    rng = np.random.default_rng(5)
    alike = rng.multinomial(12, [0.5, 0.3, 0.2], 4000).astype(float)
    for true in (2.0, 8.0):
        shares = rng.dirichlet(np.array([0.5, 0.3, 0.2]) * true, 4000)
        assert shrinkage_strength(rng.multinomial(12, shares).astype(float)) == pytest.approx(true, rel=0.15)
    assert shrinkage_strength(alike) > 100


def test_few_lines_are_pulled_toward_the_overall_shares() -> None:
    rng = np.random.default_rng(5)
    counts = rng.multinomial(12, rng.dirichlet([2, 2, 2], 500)).astype(float)
    frame = pl.DataFrame(counts, schema=["a", "b", "c"])

    class Block:
        columns = ("a", "b", "c")

    columns = ShareColumns(Block()).fit(frame)  # type: ignore[arg-type]  # only the names are used
    one, many = columns.transform(pl.DataFrame({"a": [1.0, 30.0], "b": [0.0, 0.0], "c": [0.0, 0.0]}))
    assert np.linalg.norm(one) < np.linalg.norm(many)
