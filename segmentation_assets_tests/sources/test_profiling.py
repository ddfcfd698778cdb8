"""The data profile: figures per column, and silence about what is nobody's business."""

from __future__ import annotations

import json
from collections.abc import Iterator

import duckdb
import polars as pl
import pytest

from segmentation_assets.sources import profiling
from segmentation_assets.sources.contract import CONTRACT
from segmentation_assets.sources.profiling import PROFILE_COLUMNS, PROFILE_TYPES, profile_tables
from segmentation_assets.warehouse.sql_models import SQL_ROOT
from segmentation_assets.warehouse.tables import create_from_frame


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    made = duckdb.connect()
    made.execute("create schema clean")
    for name in ("customers", "demographics", "orders", "reviews"):
        columns = ", ".join(f"{column.name} {column.sql_type}" for column in CONTRACT[name].columns)
        made.execute(f"create table clean.{name} ({columns})")
    made.execute(
        "insert into clean.customers (customer_id, gender, birth_year, city, signed_up_at) select 'C' || i, 'female', "
        "1980, case when i < 60 then 'Oslo' when i < 100 then 'Rome' end, timestamp '2020-01-01' + interval (i) day "
        "from range(120) as numbers(i)"
    )
    made.execute(
        "insert into clean.demographics (customer_id, household_income, kids) "
        "select 'C' || i, case when i = 7 then 666666 else 40000 + 100 * i end, i % 3 from range(101) as numbers(i)"
    )
    yield made
    made.close()


def row(frame: pl.DataFrame, table: str, column: str) -> dict[str, object]:
    found = frame.filter(pl.col("table_name") == f"clean.{table}", pl.col("column_name") == column)
    return found.row(0, named=True)


def test_numbers_get_moments_quantiles_and_outliers(con: duckdb.DuckDBPyConnection) -> None:
    income = row(profile_tables(con, ["clean/demographics"]), "demographics", "household_income")
    assert (income["row_count"], income["null_count"], income["distinct_count"]) == (101, 0, 101)
    assert (income["minimum"], income["maximum"]) == ("40000.0000", "666666.0000")
    assert income["p50"] == 45100.0
    assert income["outlier_count"] == 1
    assert income["mean"] == pytest.approx((sum(40000 + 100 * i for i in range(101)) - 40700 + 666666) / 101, rel=1e-8)


def test_frequent_values_are_named_only_from_fifty_rows_on(con: duckdb.DuckDBPyConnection) -> None:
    frame = profile_tables(con, ["clean/customers"])
    city = row(frame, "customers", "city")
    assert json.loads(str(city["top_values"])) == {"Oslo": 60}
    assert (city["distinct_count"], city["null_count"]) == (2, 20)
    assert city["null_share"] == pytest.approx(20 / 120)


@pytest.mark.parametrize("column", ["customer_id", "gender", "birth_year"])
def test_ids_and_protected_columns_get_counts_only(con: duckdb.DuckDBPyConnection, column: str) -> None:
    found = row(profile_tables(con, ["clean.customers"]), "customers", column)
    told = {key for key, value in found.items() if value is not None}
    assert told == {"table_name", "column_name", "sql_type", "row_count", "null_count", "null_share", "distinct_count"}


def test_free_text_and_undeclared_texts_get_counts_only(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("insert into clean.reviews select 'R' || i, 'C1', 'P1', 5, 'call me on 555', null from range(60) t(i)")
    con.execute(
        "create table clean.customer_attributes as select 'C' || i as customer_id, 'ann@example.com' as note, "
        "i::DOUBLE as visits, true as likes_tea from range(60) t(i)"
    )
    frame = profile_tables(con, ["clean/reviews", "clean/customer_attributes"])
    for table, column in (("reviews", "body"), ("customer_attributes", "note")):
        found = row(frame, table, column)
        assert found["distinct_count"] == 1
        assert (found["minimum"], found["top_values"]) == (None, None)
    assert row(frame, "customer_attributes", "visits")["p50"] == 29.0
    assert json.loads(str(row(frame, "customer_attributes", "likes_tea")["top_values"])) == {"true": 60}


def test_an_empty_table_and_a_column_of_nulls_are_profiled_too(con: duckdb.DuckDBPyConnection) -> None:
    frame = profile_tables(con, ["clean/orders", "clean/customers"])
    assert row(frame, "orders", "status")["row_count"] == 0
    consent_at = row(frame, "customers", "email_consent_at")
    assert (consent_at["null_share"], consent_at["minimum"], consent_at["distinct_count"]) == (1.0, None, 0)


def test_large_tables_give_quantiles_of_every_kth_row(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiling, "EXACT_ROWS", 30)
    income = row(profile_tables(con, ["clean/demographics"]), "demographics", "household_income")
    assert income["p50"] == 44800.0  # rows 0, 4, 8, ... 100
    assert income["maximum"] == "666666.0000"
    assert row(profile_tables(con, ["clean/demographics"]), "demographics", "customer_id")["distinct_count"] == 101


def test_personal_data_is_not_profiled(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(ValueError, match=r"people/contacts holds personal data and is not profiled"):
        profile_tables(con, ["people/contacts"])


def test_the_profile_is_a_table_with_declared_types_that_passes_its_check(con: duckdb.DuckDBPyConnection) -> None:
    frame = profile_tables(con, ["clean/customers", "clean/demographics"])
    create_from_frame(con, "quality/data_profile", frame, PROFILE_TYPES)
    assert set(PROFILE_COLUMNS) <= set(PROFILE_TYPES)
    check = (SQL_ROOT / "checks" / "quality" / "data_profile" / "shares_hold.sql").read_text("utf-8")
    assert con.execute(check).fetchall() == []
    con.execute("update quality.data_profile set null_count = 999 where column_name = 'kids'")
    assert con.execute(check).fetchall() == [("clean.demographics", "kids", 101, 999, 0)]
