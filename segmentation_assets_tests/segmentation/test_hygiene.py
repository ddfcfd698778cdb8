"""What may not enter a clustering: refused by name, with the figures that say why; and what only looks like it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import segmentation_assets
from segmentation_assets.segmentation import hygiene
from segmentation_assets.segmentation.hygiene import is_protected, leak, refusals, refuse_protected, same_features
from segmentation_assets.segmentation.matrix import build_matrix
from segmentation_assets.segmentation.preprocess import fit_transform
from segmentation_assets.segmentation.spec import STAGE, TASTE, AxisSpec, AxisSpecError, NumericFeature
from segmentation_assets.warehouse.sql_models import SQL_ROOT

LOOK = Path(segmentation_assets.__file__).parents[2] / "shared" / "data" / "thelook_segments.csv"


def spec_of(*numeric: str, categorical: tuple[str, ...] = ()) -> AxisSpec:
    return dataclasses.replace(STAGE, numeric=tuple(map(NumericFeature, numeric)), categorical=categorical)


def reasons(frame: pl.DataFrame, *numeric: str, categorical: tuple[str, ...] = ()) -> dict[str, str]:
    return {item.name: item.reason for item in refusals(frame, spec_of(*numeric, categorical=categorical))}


# -- ids --------------------------------------------------------------------------------------------------------------


def test_whole_numbers_that_never_repeat_are_ids_whatever_they_are_called() -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "running": np.arange(1, 1_001),
            "with_gaps": np.sort(rng.permutation(5_000)[:1_000]),
            "hashed": rng.permutation(2**40 // 2**20)[:1_000] * 2**20,
            "share_of_place": np.arange(1_000) / 1_000,
        }
    )
    found = {name: reasons(frame, name).get(name) for name in frame.columns}
    assert found["running"] == "an id: 1000 different values for 1000 customers, evenly spaced"
    assert str(found["with_gaps"]).startswith("an id: 1000 different values for 1000 customers, whole numbers between ")
    assert "whole numbers spread evenly between" in str(found["hashed"])
    assert found["share_of_place"] == "an id: 1000 different values for 1000 customers, evenly spaced"


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(60, 3_000))
def test_a_measurement_is_no_id_even_when_all_its_values_differ(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "spend": rng.lognormal(4, 1, n),  # continuous: all values differ
            "spend_in_cents": np.round(100 * rng.lognormal(4, 1, n)),
            "level": rng.uniform(0, 1, n),
            "tenure_days": rng.integers(0, 3_000, n),
            "income": np.round(rng.normal(50_000, 15_000, n)),
            "made_up_income": rng.integers(20_000, 150_000, n),
        }
    )
    assert {name for name in frame.columns if reasons(frame, name)} == set()


def test_an_id_is_known_by_its_name_however_few_customers_there_are() -> None:
    frame = pl.DataFrame({"store_id": [1, 1, 2], "userId": [5.0, 6.0, 9.0], "ID": [1, 2, 4], "paid": [1, 5, 2]})
    assert reasons(frame, "store_id", "userId", "ID", "paid") == dict.fromkeys(
        ["store_id", "userId", "ID"], "an id, by its name"
    )


def test_texts_that_nearly_all_differ_are_ids() -> None:
    frame = pl.DataFrame({"hobby": [f"hobby {number}" for number in range(100)], "tier": ["a", "b"] * 50})
    assert reasons(frame, categorical=("hobby", "tier")) == {"hobby": "an id: 100 different values for 100 customers"}


@pytest.mark.data
@pytest.mark.skipif(not LOOK.exists(), reason=f"needs the public data file {LOOK.name}")
def test_the_number_of_a_real_customer_is_an_id_and_the_average_spend_is_not() -> None:
    look = pl.read_csv(LOOK).rename({"user_id": "number"})
    found = reasons(look, "number", "count_orders", "average_spend", "return_ratio", "segment_id")
    assert found == {
        "number": "an id: 50490 different values for 50490 customers, whole numbers between 1 and 99998",
        "segment_id": "the result of another segmentation, by its name (segment)",
    }


# -- leaks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("segment", "the result of another segmentation, by its name (segment)"),
        ("RFM_score", "the result of another segmentation, by its name (rfm)"),
        ("clusterLabel", "the result of another segmentation, by its name (cluster)"),
        ("persona2", "the result of another segmentation, by its name (persona)"),
        ("lifetime_value", "an estimate made from the features themselves, by its name (lifetime)"),
        ("spend_forecast", "an estimate made from the features themselves, by its name (forecast)"),
        ("predicted_orders", "an estimate made from the features themselves, by its name (predicted)"),
        ("churned", "known only afterwards, by its name (churned)"),
        ("Response", "known only afterwards, by its name (response)"),
        ("spend_next_90_days", "known only afterwards, by its name (next)"),
    ],
)
def test_a_column_made_from_segments_or_from_the_outcome_is_left_out_with_its_reason(name: str, reason: str) -> None:
    frame = pl.DataFrame({name: [1.0, 2.5, 4.0], "recency_days": [3.0, 1.0, 2.0]})
    assert reasons(frame, name, "recency_days") == {name: reason}
    assert reasons(frame.cast({name: pl.String}), categorical=(name,)) == {name: reason}


def test_no_column_of_the_customer_table_is_taken_for_a_leak_or_a_protected_attribute() -> None:
    header = (SQL_ROOT / "features" / "customer_features.sql").read_text(encoding="utf-8")
    names = re.findall(r"^-- column (\w+):", header, re.MULTILINE)
    assert len(names) > 50
    assert [name for name in [*names, "private_label_share"] if leak(name) or is_protected(name)] == []


# -- constants, unknowns, near-duplicates -----------------------------------------------------------------------------


def test_near_duplicates_keep_the_first_and_name_both() -> None:
    rng = np.random.default_rng(1)
    spend = rng.lognormal(3, 1, 400)
    frame = pl.DataFrame(
        {
            "spend": spend,
            "spend_in_dollars": 1.1 * spend,
            "log_left": -np.log(spend) + rng.normal(0, 0.01, 400),
            "orders": rng.poisson(4, 400),
            "like_spend": spend * np.exp(rng.normal(0, 0.5, 400)),  # rank correlation of about .9: its own feature
        }
    )
    found = reasons(frame, *frame.columns)
    assert found["spend_in_dollars"] == "nearly the same as spend, which is kept (rank correlation 1.000)"
    assert found["log_left"] == "nearly the same as spend, which is kept (rank correlation -1.000)"
    assert set(found) == {"spend_in_dollars", "log_left"}
    assert set(reasons(frame, "log_left", "spend", "orders")) == {"spend"}  # the first one named is kept


def test_what_is_itself_left_out_makes_no_duplicate() -> None:
    values = np.random.default_rng(1).lognormal(3, 1, 100)
    frame = pl.DataFrame({"predicted_spend": values, "spend": values})
    assert set(reasons(frame, "predicted_spend", "spend")) == {"predicted_spend"}


def test_a_stand_in_takes_the_place_of_a_refused_feature() -> None:
    rng = np.random.default_rng(1)
    recency = rng.exponential(50, 200)
    frame = pl.DataFrame(
        {
            "customer_id": [f"c{number:03d}" for number in range(200)],
            "recency_days": recency,
            "average_order_amount": 2 * recency,
            "monetary_amount": rng.lognormal(3, 1, 200),
        }
    )
    matrix = build_matrix(frame, None, STAGE)
    assert matrix.layout.numeric == ("recency_days", "monetary_amount")
    assert {item.name: item.reason for item in matrix.left_out}["average_order_amount"] == (
        "nearly the same as recency_days, which is kept (rank correlation 1.000)"
    )


def test_constant_and_mostly_unknown_columns_say_so_with_numbers() -> None:
    frame = pl.DataFrame(
        {"same": [3, 3, 3, 3], "rare": [None, None, None, 1.0], "nowhere": [None] * 4, "text": ["x"] * 4,
         "unsaid": [None, None, None, "y"], "ok": [1, 5, 2, 2]}
    )  # fmt: skip
    assert reasons(frame, "same", "rare", "nowhere", "ok", "absent", categorical=("text", "unsaid")) == {
        "same": "the same (3) for every customer",
        "rare": "known for 1 of 4 customers only; at least half are needed",
        "nowhere": "no value is known for any of 4 customers",
        "absent": "the column is not in the customer table",
        "text": "the same (x) for every customer",
        "unsaid": "unknown for 3 of 4 customers",
    }


def test_infinite_and_missing_numbers_are_unknown_not_a_crash() -> None:
    frame = pl.DataFrame({"wild": [1.0, float("inf"), float("nan"), -float("inf")], "gone": [float("nan")] * 4})
    assert reasons(frame, "wild", "gone") == {
        "wild": "known for 1 of 4 customers only; at least half are needed",
        "gone": "no value is known for any of 4 customers",
    }


def test_no_customers_and_one_customer_are_judged_too() -> None:
    frame = pl.DataFrame({"a": [1.0], "b": ["x"]})
    assert reasons(frame, "a", categorical=("b",)) == {}
    assert reasons(frame.clear(), "a") == {"a": "no value is known for any of 0 customers"}


def test_a_category_of_ten_thousand_levels_becomes_at_most_twenty_columns() -> None:
    rng = np.random.default_rng(1)
    n = 30_000
    skewed = np.minimum(rng.zipf(1.3, n), 10_000)
    frame = pl.DataFrame(
        {
            "customer_id": np.arange(n).astype(str),
            "recency_days": rng.exponential(50, n),
            "postcode": [f"level {number}" for number in skewed],
            "street": [f"level {number}" for number in rng.integers(0, 10_000, n)],
        }
    )
    spec = spec_of("recency_days", categorical=("postcode", "street"))
    matrix = build_matrix(frame, None, spec)
    assert matrix.layout.columns == ("recency_days", "postcode")
    reason = next(item.reason for item in matrix.left_out if item.name == "street")
    assert re.fullmatch(r"none of its \d+ values is held by 1 % of the 30000 customers", reason)
    _, values, names = fit_transform(matrix, spec)
    assert values.shape[1] == len(names) <= 1 + 20 + 1
    assert np.isfinite(values).all()


# -- protected attributes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["gender", "sex", "birth_year", "Year_Birth", "age", "age_group", "customerAge", "marital_status", "date_of_birth"],
)
def test_a_protected_attribute_stops_the_run_with_a_sentence(name: str) -> None:
    with pytest.raises(AxisSpecError) as caught:
        refusals(pl.DataFrame({name: ["a", "b"]}), spec_of(categorical=(name,)))
    assert str(caught.value) == (
        f"Axis stage: {name} is a protected attribute and may describe segments, but never make them. Take this out "
        f"of the features of the axis; a column that only sounds like one needs another name."
    )


def test_columns_that_the_source_flags_are_protected_too() -> None:
    spec = spec_of("height_cm", "recency_days", categorical=("Language",))
    refuse_protected(spec)
    with pytest.raises(AxisSpecError, match="height_cm, Language are protected attributes and may describe"):
        refuse_protected(spec, protected=["height_cm", "language", "unused"])
    customers = pl.DataFrame({"customer_id": ["a", "b"], "height_cm": [1.0, 2.0], "recency_days": [1.0, 2.0]})
    with pytest.raises(AxisSpecError, match="height_cm is a protected attribute"):
        build_matrix(customers, None, spec, protected={"height_cm"})
    amounts = dataclasses.replace(TASTE, share_columns=("wine", "height_cm"))
    with pytest.raises(AxisSpecError, match="Axis taste: height_cm is a protected attribute"):
        refuse_protected(amounts, protected={"height_cm"})


@pytest.mark.parametrize("name", ["account_age_days", "average_order_amount", "page_views", "sextant", "percentage"])
def test_what_only_sounds_like_a_protected_attribute_is_allowed(name: str) -> None:
    assert not is_protected(name)


# -- two axes ---------------------------------------------------------------------------------------------------------


def test_two_axes_with_the_same_features_are_told_apart_from_two_that_share_some() -> None:
    stage = spec_of("recency_days", "order_count")
    twin = dataclasses.replace(TASTE, numeric=stage.numeric[::-1], share_dimensions=())
    assert same_features(stage, twin) == (
        "The axes stage and taste are built from the same features (order_count, recency_days), so their segments say "
        "the same thing twice. Give one of them other features, or switch it off (is_on = false)."
    )
    assert same_features(stage, dataclasses.replace(twin, is_on=False)) is None
    assert same_features(stage, dataclasses.replace(twin, share_dimensions=("category",))) is None
    assert same_features(STAGE, TASTE) is None


def test_the_default_axes_refuse_nothing_on_plain_customers(stage_world: object) -> None:
    customers, _ = stage_world(1, n=300)  # type: ignore[operator]  # a fixture that makes worlds
    buyers = customers.filter(pl.col("is_buyer"))
    assert refusals(buyers, STAGE) == []
    assert hygiene.kept_numeric(STAGE, []) == [
        "recency_days", "order_count", "average_order_amount", "tenure_days", "discount_share", "return_share",
    ]  # fmt: skip
