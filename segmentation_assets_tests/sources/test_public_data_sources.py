"""The mappings that come with the project give the published figures of the public files, to the cent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from segmentation_assets.sources.contract import WAREHOUSE_TABLES
from segmentation_assets.sources.description import SourceDescription, find_source
from segmentation_assets.sources.loading import load_raw
from segmentation_assets.sources.mapped import stage_mapped
from segmentation_assets.warehouse.connection import connect
from segmentation_assets.warehouse.sql_models import SQL_ROOT

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the public data files are not in {DATA}"),
]


DIALECTS = ("marketing_campaign_semicolon_bom_iso.csv", "marketing_campaign_tab_leading_blank.csv")


class Loaded(NamedTuple):
    """One source, loaded into a home of its own."""

    home: Path
    description: SourceDescription
    counts: dict[str, int]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Loaded]:
    """Loads a source by name, each once for the whole module; tests only read it."""

    @cache
    def load(name: str, campaign: str = "") -> Loaded:
        home = tmp_path_factory.mktemp(name)
        inputs = {"campaign": campaign} if campaign else {}
        described = stage_mapped(find_source(name, SQL_ROOT), DATA, home / "staging", inputs=inputs)
        counts = load_raw(home / "staging", described, home / "warehouse.duckdb", home / "people.duckdb")
        return Loaded(home, described, counts)

    return load


def rows(home: Path, query: str) -> list[tuple]:
    with connect(home / "warehouse.duckdb", people=home / "people.duckdb") as con:
        return con.execute(query).fetchall()


def test_sales_data_sample_has_its_lines_orders_customers_and_money(source: Callable[..., Loaded]) -> None:
    home, described, counts = source("sales_data_sample")
    assert (counts["order_items"], counts["orders"], counts["customers"]) == (2823, 307, 92)
    assert described.as_of == date(2005, 5, 31)
    money = "select count(*), count(distinct order_id), sum(line_amount::decimal(18, 4)) from raw.order_items"
    assert rows(home, money) == [(2823, 307, Decimal("10032628.85"))]
    sold = f"{money} join raw.orders using (order_id) where status <> 'cancelled'"
    assert rows(home, sold) == [(2763, 303, Decimal("9838141.37"))]
    assert rows(home, "select max(ordered_at::date), min(ordered_at::date) from raw.orders") == [
        (date(2005, 5, 31), date(2003, 1, 6))
    ]


def test_sales_data_sample_keeps_the_territory_na(source: Callable[..., Loaded]) -> None:
    home = source("sales_data_sample").home
    assert rows(home, "select region, count(*) from raw.customers group by all order by 2") == [
        ("Japan", 4), ("APAC", 6), ("NA", 38), ("EMEA", 44),
    ]  # fmt: skip


def test_sales_data_sample_gives_each_status_its_meaning(source: Callable[..., Loaded]) -> None:
    home = source("sales_data_sample").home
    lines = "select status, count(*) from raw.order_items join raw.orders using (order_id) group by all order by 2"
    assert rows(home, lines) == [("completed", 47), ("cancelled", 60), ("processing", 99), ("shipped", 2617)]


def test_sales_data_sample_keeps_the_customers_names_out_of_the_warehouse(source: Callable[..., Loaded]) -> None:
    home = source("sales_data_sample").home
    known = rows(home, "from people.customer_ids order by customer_id")
    assert len(known) == 92
    assert [row[1] for row in known] == sorted(row[1] for row in known)
    with connect(home / "warehouse.duckdb", people=home / "people.duckdb") as con:
        for table in WAREHOUSE_TABLES:
            query = f"""select count(*) from raw.{table} as t
                join people.customer_ids as k on contains(t::varchar, k.source_id)"""
            assert con.execute(query).fetchall() == [(0,)]
    person = "select first_name, last_name, phone, postal_code from people.raw_contacts where last_name = 'Da Cunha'"
    assert rows(home, person) == [("Daniel", "Da Cunha", "+33 1 46 62 7555", "75508")]


def test_both_dialects_of_marketing_campaign_give_the_same_warehouse(source: Callable[..., Loaded]) -> None:
    contents = []
    for dialect in DIALECTS:
        with connect(source("marketing_campaign", dialect).home / "warehouse.duckdb", read_only=True) as con:
            contents.append(
                {
                    table: (
                        con.execute(f"describe raw.{table}").fetchall(),
                        con.execute(f"from raw.{table} order by rowid").fetchall(),
                    )
                    for table in (*WAREHOUSE_TABLES, "source")
                }
            )
    assert contents[0] == contents[1]
    assert len(contents[0]["customers"][1]) == 2240


def test_marketing_campaign_has_its_published_figures(source: Callable[..., Loaded]) -> None:
    home, described, counts = source("marketing_campaign", DIALECTS[0])
    assert described.as_of == date(2014, 6, 29)
    assert counts["customers"] == counts["demographics"] == counts["customer_attributes"] == 2240
    facts = """select count(*) filter (household_income is null), max(household_income::bigint),
        count(*) filter (marital_status in ('Absurd', 'YOLO', 'Alone')) from raw.demographics"""
    assert rows(home, facts) == [(24, 666666, 7)]
    oldest = "select birth_year from raw.customers where birth_year < '1901' order by 1"
    assert rows(home, oldest) == [("1893",), ("1899",), ("1900",)]
    shares = """select round(100 * avg(response), 2), count(distinct z_cost_contact), min(z_revenue), min(tenure_days)
        from raw.customer_attributes"""
    assert rows(home, shares) == [(14.91, 1, 11, 0)]
    money = "select monetary_amount, order_count, recency_days from raw.customer_attributes where customer_id = '5524'"
    assert rows(home, money) == [(Decimal("1617"), 22.0, 58.0)]
    parts = """select count(*) from raw.customer_attributes where monetary_amount <> wine + fruit
        + meat + fish + sweets + gold_products"""
    assert rows(home, parts) == [(0,)]
    assert set(described.axes["taste"]["share_columns"]) <= {
        row[0] for row in rows(home, "describe raw.customer_attributes")
    }


def test_cdnow_has_every_transaction_and_keeps_two_of_one_day_apart(source: Callable[..., Loaded]) -> None:
    home, described, counts = source("cdnow")
    assert (counts["orders"], counts["order_items"], counts["customers"], counts["products"]) == (6919, 6919, 2357, 0)
    assert described.as_of == date(1998, 6, 30)
    assert rows(home, "select sum(line_amount::decimal(18, 4)) from raw.order_items") == [(Decimal("244091.94"),)]
    one_to_one = "select count(*), count(distinct order_id) from raw.orders join raw.order_items using (order_id)"
    assert rows(home, one_to_one) == [(6919, 6919)]
    same_day = """select count(*) > 0
        from (select 1 from raw.orders group by customer_id, ordered_at having count(*) > 1)"""
    assert rows(home, same_day) == [(True,)]
    first = (
        "select ordered_at::date, quantity, line_amount from raw.orders join raw.order_items using (order_id) limit 1"
    )
    assert rows(home, first) == [(date(1997, 1, 1), "2", "29.33")]


def test_thelook_segments_gives_three_features_and_the_published_segment(source: Callable[..., Loaded]) -> None:
    home, described, counts = source("thelook_segments")
    assert counts["customers"] == counts["customer_attributes"] == 50490
    assert described.axes["taste"]["is_on"] is False
    query = """select order_count, monetary_amount, average_order_amount, return_share, published_segment
        from raw.customer_attributes where customer_id = '8'"""
    assert rows(home, query) == [(4.0, Decimal("204"), Decimal("51"), 1.0, "4")]
