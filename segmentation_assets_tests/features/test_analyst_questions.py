"""The questions in `sql/analyst` run on the published tables and give the columns and rows their headers promise."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model
from segmentation_assets.warehouse.tables import create_from_query

QUESTIONS = sorted((SQL_ROOT / "analyst").glob("*.sql"))

# Tables of other stages that the questions read, as small as they can be: anna is Loyal · Coffee, eve and ben are
# Occasional (ben's taste is unknown), cara and fay never bought.
_OTHER_STAGES = """
create schema segments; create schema quality; create schema campaigns; create schema results;
create table segments.stage_assignments as select customer_id,
    case customer_id when 'anna' then 'S1' when 'ben' then 'S2' when 'eve' then 'S2' else 'S0' end as segment_id
    from features.customer_features;
create table segments.taste_assignments as select customer_id,
    case customer_id when 'anna' then 'T1' when 'eve' then 'T1' else 'T0' end as segment_id
    from features.customer_features;
create table segments.stage_model as
    select * from (values ('S1', 'Loyal'), ('S2', 'Occasional')) t(segment_id, name);
create table segments.taste_model as select 'T1' as segment_id, 'Coffee' as name;
create table quality.rejected_rows as
    select * from (values
        ('orders', '17', 'unknown_status', 'status is "lost"', '{}'),
        ('orders', '4', 'unknown_status', 'status is "gone"', '{}'),
        ('orders', '9', 'parent_rejected', 'its customer was rejected', '{}'),
        ('customers', 'z', 'duplicate_key', 'the customer is there twice', '{}')
    ) t(table_name, row_key, rule, detail, row_json);
create table quality.row_accounting as
    select * from (values ('orders', 10, 7, 3, 0), ('customers', 6, 5, 1, 0), ('returns', 4, 4, 0, 0))
    t(table_name, raw_rows, clean_rows, rejected_rows, repaired_rows);
create table campaigns.promotable_products as
    select * from (values
        ('P1', 'House blend', 'Coffee', 10.0, 5.4, true), ('P2', 'Grand cru', 'Coffee', 18.0, 9.0, true),
        ('P3', 'Assam', 'Tea', 4.5, 4.05, false)
    ) t(product_id, name, category, list_price, unit_cost, is_promotable);
create table campaigns.product_segment_matches as
    select * from (values
        ('P1', 'T1', 'lapsing', 'S2', 0.5, 0.1, 2, 1, 0.4, 0.2, 0.8, 1.4, true),
        ('P1', 'T1', 'loyal', 'S1', 2.5, 0.0, 1, 1, 0.3, 0.1, 0.6, 1.2, true),
        ('P2', 'T1', 'loyal', 'S1', 2.0, 0.0, 1, 1, 0.3, 0.1, 0.6, 2.7, false),
        ('P3', 'T1', 'loyal', 'S1', 2.0, 0.0, 1, 1, 0.3, 0.1, 0.6, 9.9, true)
    ) t(product_id, taste_segment_id, stage_group, stage_segment_ids, activity_floor, discount_share,
        audience_customers, reachable_customers, expected_buyers, low, high, expected_margin_amount, beats_baseline);
create table results.campaign_verdicts as
    select 'K1' as campaign_id, 'Spring' as name, 'past' as origin, timestamp '2024-03-01' as started_at,
        900 as treated_customers, 100 as control_customers, true as is_experiment, false as is_early_look,
        'repeat' as decision, 'Repeat it.' as sentence;
create table results.campaign_results as
    select * from (values ('K1', 'treated', 'buyers', 0.2, 0.1, 0.1, 0.03, 0.15),
        ('K1', 'treated', 'clicks', 0.05, null, null, 0.04, 0.06))
    t(campaign_id, arm, metric, treated_value, control_value, effect, low, high);
"""


@pytest.fixture
def published(shop: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """The hand-made shop with the tables of the later stages."""
    shop.execute(_OTHER_STAGES)
    for name in ("customer_segments", "segment_summary"):
        model = load_model(SQL_ROOT / "segments" / f"{name}.sql")
        create_from_query(shop, model.name, model.query)
    return shop


def _ask(con: duckdb.DuckDBPyConnection, question: str) -> list[tuple[Any, ...]]:
    return con.execute(load_model(SQL_ROOT / "analyst" / f"{question}.sql").query).fetchall()


def test_there_are_seven_questions() -> None:
    assert len(QUESTIONS) == 7


@pytest.mark.parametrize("path", QUESTIONS, ids=lambda path: path.stem)
def test_the_header_asks_the_question_and_names_the_columns_of_the_answer(
    published: duckdb.DuckDBPyConnection, path: Path
) -> None:
    model = load_model(path)
    assert "?" in path.read_text(encoding="utf-8").splitlines()[0]
    assert not model.needs_as_of, "an analyst has no parameter to give"
    assert set(model.facts) == {"grain"}
    answer = published.execute(model.query)
    assert answer.description is not None
    columns = [column[0] for column in answer.description]
    assert columns == list(model.columns)
    rows = answer.fetchall()
    key = [columns.index(part.strip()) for part in model.facts["grain"].split(",")]
    assert len({tuple(row[i] for i in key) for row in rows}) == len(rows)


@pytest.mark.parametrize("path", QUESTIONS, ids=lambda path: path.stem)
def test_questions_read_published_tables_only(path: Path) -> None:
    schemas = {parent.split("/")[0] for parent in load_model(path).parents}
    assert schemas <= {"features", "segments", "profiles", "campaigns", "quality", "results"}


def test_the_best_segments_come_first(published: duckdb.DuckDBPyConnection) -> None:
    rows = [row for row in _ask(published, "best_segments") if row[0] == "stage"]
    assert [(row[1], row[3], row[4], row[5], row[6], row[8]) for row in rows] == [
        ("S2", 2, 0, 0.0, Decimal(94), 47.0),  # eve's 90 and ben's 4
        ("S1", 1, 1, 1.0, Decimal("57.99"), 57.99),
        ("S0", 2, 0, 0.0, Decimal(0), 0.0),
    ]


def test_growth_sets_ninety_days_beside_the_ninety_before(published: duckdb.DuckDBPyConnection) -> None:
    assert _ask(published, "growing_tastes") == [
        # anna: 34.99 after 1 April, 23 in the 90 days before; ben's order is too old for either
        ("T1", "Coffee", 2, 1, 1, Decimal("34.99"), Decimal(23), 0.5213),
        ("T0", "Unknown", 3, 0, 0, Decimal(0), Decimal(0), None),
    ]


def test_valuable_customers_who_went_quiet_are_named_by_id(published: duckdb.DuckDBPyConnection) -> None:
    assert _ask(published, "lapsed_valuable_customers") == []
    published.execute("update features.customer_features set recency_days = 90 where customer_id = 'eve'")
    published.execute("update features.customer_features set recency_days = 100 where customer_id = 'ben'")
    rows = _ask(published, "lapsed_valuable_customers")
    assert [(row[0], row[1], row[2], row[5]) for row in rows] == [("eve", "Occasional · Coffee", 90.0, Decimal(90))]


def test_spend_by_stage_stands_beside_the_shop(published: duckdb.DuckDBPyConnection) -> None:
    assert _ask(published, "category_spend_by_stage") == [
        ("S1", "Loyal", "Coffee", 1, Decimal("45.99"), 0.7931, 0.7419, 1.07),
        ("S1", "Loyal", "unknown", 1, Decimal(7), 0.1207, 0.1774, 0.68),
        ("S1", "Loyal", "Tea", 1, Decimal(5), 0.0862, 0.0807, 1.07),
        ("S2", "Occasional", "unknown", 1, Decimal(4), 1.0, 0.1774, 5.64),
    ]


def test_rejections_are_counted_by_rule(published: duckdb.DuckDBPyConnection) -> None:
    assert _ask(published, "rejected_rows") == [
        ("orders", "unknown_status", 2, 10, 0.2, "17", 'status is "lost"'),
        ("customers", "duplicate_key", 1, 6, 0.166667, "z", "the customer is there twice"),
        ("orders", "parent_rejected", 1, 10, 0.1, "9", "its customer was rejected"),
    ]


def test_products_for_a_segment_come_by_margin_and_only_when_promotable(
    published: duckdb.DuckDBPyConnection,
) -> None:
    rows = _ask(published, "products_for_segments")
    assert [(row[0], row[1], row[2], row[5], row[6], float(row[14]), row[15]) for row in rows] == [
        ("T1", "Coffee", "loyal", "P2", "Grand cru", 2.7, False),
        ("T1", "Coffee", "lapsing", "P1", "House blend", 1.4, True),
        ("T1", "Coffee", "loyal", "P1", "House blend", 1.2, True),
    ]


def test_price_and_margin_are_those_at_the_discount_of_the_stages(published: duckdb.DuckDBPyConnection) -> None:
    rows = {(row[5], row[2]): row for row in _ask(published, "products_for_segments")}
    assert [float(rows["P1", group][8]) for group in ("loyal", "lapsing")] == [10.0, 9.0]
    assert [float(rows["P1", group][9]) for group in ("loyal", "lapsing")] == [0.46, 0.4]
    assert rows["P1", "lapsing"][4] == 0.5
