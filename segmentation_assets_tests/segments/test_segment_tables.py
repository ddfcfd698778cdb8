"""The segment tables people read, on 200 customers whose figures are reckoned by hand, and their checks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from segmentation_assets.sources.contract import CONTRACT, WAREHOUSE_TABLES
from segmentation_assets.warehouse.connection import quote
from segmentation_assets.warehouse.sql_models import SQL_ROOT, SqlModel, load_model
from segmentation_assets.warehouse.tables import create_from_query, describe

AS_OF = date(2024, 6, 30)
CHECKS = SQL_ROOT / "checks" / "segments"
TABLES = ("customer_segments", "segment_grid", "segment_summary", "segment_metrics")
CHECKED = (*TABLES, "stage_assignments", "taste_assignments")

# 20 never bought. Of the 180 buyers, customer i spent i in i orders; the first 110 are S1 (taste T1 up to 100, T0 for
# ten more), the other 70 are S2 (T1 up to 140, T2 up to 180). S3 has no customer. Every second one can be reached.
_PEOPLE = """
insert into features.customer_features by name
    select 'c' || i as customer_id, i as order_count, i as monetary_amount, 1 as average_order_amount,
        i as recency_days, true as is_buyer, false as never_bought, i % 2 = 0 as is_reachable
    from range(1, 181) t(i);
insert into features.customer_features by name
    select 'n' || i as customer_id, 0 as order_count, 0 as monetary_amount, false as is_buyer,
        true as never_bought, i % 2 = 0 as is_reachable
    from range(1, 21) t(i);
create table segments.stage_assignments as
    select customer_id,
        case when never_bought then 'S0' when order_count <= 110 then 'S1' else 'S2' end as segment_id,
        0.5 as distance, 0.1 as margin, 'v1' as version
    from features.customer_features;
create table segments.taste_assignments as
    select customer_id,
        case when never_bought then 'T0' when order_count <= 100 then 'T1' when order_count <= 110 then 'T0'
            when order_count <= 140 then 'T1' else 'T2' end as segment_id,
        0.5 as distance, 0.1 as margin, 'v1' as version
    from features.customer_features;
"""

_MODEL = (
    "create or replace table segments.{axis}_model (version VARCHAR, segment_id VARCHAR, name VARCHAR, "
    "customers_at_fit BIGINT, segment_customers BIGINT, algorithm VARCHAR, k BIGINT, features VARCHAR, seed BIGINT, "
    "fingerprint VARCHAR)"
)


def _build(con: duckdb.DuckDBPyConnection) -> None:
    for name in TABLES:
        model = load_model(SQL_ROOT / "segments" / f"{name}.sql")
        create_from_query(con, model.name, model.query)


@pytest.fixture(scope="module")
def _segmented_shop() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:", config={"threads": 1}) as con:
        con.execute("create schema clean; create schema features; create schema segments")
        for name in WAREHOUSE_TABLES:
            columns = ", ".join(f"{quote(column.name)} {column.sql_type}" for column in CONTRACT[name].columns)
            con.execute(f"create table clean.{name} ({columns})")
        con.execute(
            "create table clean.contact_flags "
            "(customer_id VARCHAR, has_email BOOLEAN, has_valid_email BOOLEAN, is_email_shared BOOLEAN)"
        )
        con.execute(
            "create table features.product_guards (product_id VARCHAR, is_sensitive BOOLEAN, is_age_restricted BOOLEAN)"
        )
        con.execute("create table features.age_rule as select false as unknown_age_is_minor")
        con.execute("create table features.profiling_opt_outs (customer_id VARCHAR, opted_out_at TIMESTAMP)")
        # The feature tables without rows, for their columns and types.
        for name in ("order_lines", "customer_shares", "reachability", "customer_features"):
            model = load_model(SQL_ROOT / "features" / f"{name}.sql")
            create_from_query(con, model.name, model.query, {"as_of": AS_OF} if model.needs_as_of else None)
        con.execute(_PEOPLE)
        for axis, names in (("stage", ("Occasional", "Regulars", "Long gone")), ("taste", ("Coffee", "Tea"))):
            con.execute(_MODEL.format(axis=axis))
            for number, name in enumerate(names, start=1):
                con.execute(
                    f"insert into segments.{axis}_model (version, segment_id, name) values ('v1', ?, ?)",
                    [f"{axis[0].upper()}{number}", name],
                )
        _build(con)
        yield con


@pytest.fixture
def shop(_segmented_shop: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """The segmented shop; whatever a test changes is rolled back."""
    _segmented_shop.execute("begin")
    yield _segmented_shop
    _segmented_shop.execute("rollback")


def test_a_person_has_one_label_of_stage_and_taste(shop: duckdb.DuckDBPyConnection) -> None:
    rows = shop.execute(
        "select customer_id, stage_segment_id, taste_segment_id, label from segments.customer_segments "
        "where customer_id in ('c1', 'c105', 'c180', 'n1') order by customer_id"
    ).fetchall()
    assert rows == [
        ("c1", "S1", "T1", "Occasional · Coffee"),
        ("c105", "S1", "T0", "Occasional"),  # nothing is known of the taste
        ("c180", "S2", "T2", "Regulars · Tea"),
        ("n1", "S0", "T0", "Never bought"),
    ]


def test_grid_merges_cells_under_fifty_per_taste(shop: duckdb.DuckDBPyConnection) -> None:
    assert shop.execute("select * from segments.segment_grid").fetchall() == [
        # T0: 20 who never bought and ten of S1, who spent 101 to 110
        ("other", "T0", "Other stages", "Unknown", 30, 15, Decimal(1055), True),
        ("S1", "T1", "Occasional", "Coffee", 100, 50, Decimal(5050), False),
        ("other", "T1", "Other stages", "Coffee", 30, 15, Decimal(3765), True),
        ("other", "T2", "Other stages", "Tea", 40, 20, Decimal(6420), True),
    ]


def test_summary_has_every_segment_also_the_empty_ones(shop: duckdb.DuckDBPyConnection) -> None:
    rows = shop.execute(
        "select axis, segment_id, name, customers, customer_share, reachable_customers, revenue_amount, "
        "round(revenue_share, 4) from segments.segment_summary"
    ).fetchall()
    assert rows == [
        ("stage", "S0", "Never bought", 20, 0.1, 10, Decimal(0), 0.0),
        ("stage", "S1", "Occasional", 110, 0.55, 55, Decimal(6105), 0.3748),
        ("stage", "S2", "Regulars", 70, 0.35, 35, Decimal(10185), 0.6252),
        ("stage", "S3", "Long gone", 0, 0.0, 0, Decimal(0), 0.0),
        ("taste", "T0", "Unknown", 30, 0.15, 15, Decimal(1055), 0.0648),
        ("taste", "T1", "Coffee", 130, 0.65, 65, Decimal(8815), 0.5411),
        ("taste", "T2", "Tea", 40, 0.2, 20, Decimal(6420), 0.3941),
    ]
    medians = shop.execute(
        "select median_recency_days, median_order_count, median_monetary_amount, mean_average_order_amount "
        "from segments.segment_summary where segment_id in ('S0', 'S1') order by segment_id"
    ).fetchall()
    assert medians == [
        (None, 0.0, Decimal(0), None),
        (55.5, 55.5, Decimal("55.5"), Decimal(1)),
    ]


def test_metrics_stand_beside_the_whole_shop(shop: duckdb.DuckDBPyConnection) -> None:
    rows = shop.execute(
        "select segment_id, mean, median, overall_mean, overall_median from segments.segment_metrics "
        "where metric = 'order_count' order by all"
    ).fetchall()
    assert rows == [
        ("S0", 0.0, 0.0, 81.45, 80.5),
        ("S1", 55.5, 55.5, 81.45, 80.5),
        ("S2", 145.5, 145.5, 81.45, 80.5),
        ("T0", 35.166667, 0.0, 81.45, 80.5),
        ("T1", 67.807692, 65.5, 81.45, 80.5),
        ("T2", 160.5, 160.5, 81.45, 80.5),
    ]
    # Who never bought has no recency, and nobody has an income: neither is a nought.
    metrics = {
        (segment, metric)
        for segment, metric in shop.execute("select segment_id, metric from segments.segment_metrics").fetchall()
    }
    assert ("S0", "recency_days") not in metrics
    assert ("S1", "recency_days") in metrics
    assert not any(metric == "household_income" for _, metric in metrics)


def test_taste_off_leaves_everyone_unknown_and_shows_the_stage_alone(shop: duckdb.DuckDBPyConnection) -> None:
    shop.execute("delete from segments.taste_model; update segments.taste_assignments set segment_id = 'T0'")
    _build(shop)
    labels = "select distinct taste_segment_id, taste_name, label from segments.customer_segments order by 3"
    assert shop.execute(labels).fetchall() == [
        ("T0", "Unknown", "Never bought"),
        ("T0", "Unknown", "Occasional"),
        ("T0", "Unknown", "Regulars"),
    ]
    tastes = "select segment_id, customers from segments.segment_summary where axis = 'taste'"
    assert shop.execute(tastes).fetchall() == [("T0", 200)]


def test_stage_off_does_not_say_that_buyers_never_bought(shop: duckdb.DuckDBPyConnection) -> None:
    shop.execute("delete from segments.stage_model; delete from segments.stage_assignments")
    _build(shop)
    labels = "select distinct stage_segment_id, stage_name, label from segments.customer_segments order by 3"
    assert shop.execute(labels).fetchall() == [
        ("S0", "All customers", "All customers"),
        ("S0", "All customers", "Coffee"),
        ("S0", "All customers", "Tea"),
    ]
    assert shop.execute("select name, customers from segments.segment_summary where axis = 'stage'").fetchall() == [
        ("All customers", 200)
    ]


def test_no_customers_leave_the_two_outside_segments_with_noughts(shop: duckdb.DuckDBPyConnection) -> None:
    for table in ("features.customer_features", "segments.stage_assignments", "segments.taste_assignments"):
        shop.execute(f"delete from {table}")
    for axis in ("stage", "taste"):
        shop.execute(f"delete from segments.{axis}_model")
    _build(shop)
    rows = shop.execute(
        "select segment_id, name, customers, customer_share, revenue_share from segments.segment_summary"
    )
    assert rows.fetchall() == [("S0", "Never bought", 0, 0.0, 0.0), ("T0", "Unknown", 0, 0.0, 0.0)]
    for path in sorted(CHECKS.rglob("*.sql")):
        if path.parent.name in CHECKED:
            assert _broken_rows(shop, load_model(path)) == [], path.name


def test_every_segment_column_has_a_description(shop: duckdb.DuckDBPyConnection) -> None:
    for name in TABLES:
        model = load_model(SQL_ROOT / "segments" / f"{name}.sql")
        assert {column.name for column in describe(shop, model.name)} - {"customer_id"} == set(model.columns), name


# For each check: what is done to the sound shop, and the keys of the rows it must then name.
BROKEN: dict[str, tuple[str, list[tuple[str, ...]]]] = {
    **{
        f"{axis}_assignments/one_row_per_customer": (
            f"insert into segments.{axis}_assignments select * from segments.{axis}_assignments "
            f"where customer_id = 'c7'; delete from segments.{axis}_assignments where customer_id = 'n3'; "
            f"insert into segments.{axis}_assignments values ('zoe', '{axis[0].upper()}1', 0, 0, 'v1')",
            [("c7",), ("n3",), ("zoe",)],
        )
        for axis in ("stage", "taste")
    },
    **{
        f"{axis}_assignments/segments_of_the_model": (
            f"update segments.{axis}_assignments set segment_id = '{axis[0].upper()}9' where customer_id = 'c7'; "
            f"update segments.{axis}_assignments set version = 'v0' where customer_id = 'c8'",
            [("c7",), ("c8",)],
        )
        for axis in ("stage", "taste")
    },
    "customer_segments/one_segment_per_axis": (
        "insert into segments.customer_segments select * from segments.customer_segments where customer_id = 'c7'; "
        "update segments.customer_segments set taste_segment_id = null where customer_id = 'c8'; "
        "delete from segments.customer_segments where customer_id = 'c9'",
        [("c7",), ("c8",), ("c9",)],
    ),
    "customer_segments/segments_of_the_models": (
        "update segments.customer_segments set stage_segment_id = 'S3' where customer_id = 'c7'; "
        "delete from segments.taste_model where segment_id = 'T2'; "
        "delete from segments.customer_segments where taste_segment_id = 'T2' and customer_id <> 'c180'",
        [("c180",), ("c7",)],
    ),
    "customer_segments/names_are_known": (
        "update segments.customer_segments set taste_name = 'Regulars' where taste_segment_id = 'T2'; "
        "update segments.customer_segments set stage_name = '' where stage_segment_id = 'S1'",
        [("S1", ""), ("S2", "Regulars"), ("T2", "Regulars")],
    ),
    "segment_summary/every_segment_once": (
        "delete from segments.segment_summary where segment_id = 'S0'; "
        "insert into segments.segment_summary select * from segments.segment_summary where segment_id = 'T1'",
        [("stage", "S0"), ("taste", "T1")],
    ),
    "segment_summary/customers_add_up": (
        "update segments.segment_summary set customers = customers + 1 where segment_id = 'S2'",
        [("stage", "S2")],
    ),
    "segment_summary/shares_sum_to_one": (
        "update segments.segment_summary set revenue_share = 0 where segment_id = 'T2'",
        [("taste",)],
    ),
    "segment_summary/revenue_conserved": (
        "update segments.segment_summary set revenue_amount = revenue_amount + 0.0001 where segment_id = 'S3'",
        [("stage",)],
    ),
    "segment_grid/cells_add_up": (
        "delete from segments.segment_grid where taste_segment_id = 'T1' and is_merged",
        [("T1",)],
    ),
    "segment_grid/small_cells_are_merged": (
        "insert into segments.segment_grid values ('S2', 'T2', 'Regulars', 'Tea', 49, 1, 1, false)",
        [("S2", "T2")],
    ),
    "segment_metrics/each_metric_once": (
        "update segments.segment_metrics set segment_id = 'S3' where segment_id = 'S1' and metric = 'order_count'; "
        "update segments.segment_metrics set mean = null where segment_id = 'T2' and metric = 'recency_days'",
        [("stage", "S3", "order_count"), ("taste", "T2", "recency_days")],
    ),
}


def _broken_rows(con: duckdb.DuckDBPyConnection, check: SqlModel) -> list[tuple[object, ...]]:
    return con.execute(check.query, {"as_of": AS_OF} if check.needs_as_of else None).fetchall()


def _name(path: Path) -> str:
    return str(path.relative_to(CHECKS).with_suffix(""))


def test_the_checks_of_these_tables_are_shown_failing() -> None:
    assert sorted(BROKEN) == sorted(_name(path) for path in CHECKS.rglob("*.sql") if path.parent.name in CHECKED)


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_segment_check_names_exactly_the_rows_that_break_it(shop: duckdb.DuckDBPyConnection, name: str) -> None:
    check = load_model(CHECKS / f"{name}.sql")
    assert _broken_rows(shop, check) == []
    damage, keys = BROKEN[name]
    shop.execute(damage)
    assert [row[: len(keys[0])] for row in _broken_rows(shop, check)] == keys
