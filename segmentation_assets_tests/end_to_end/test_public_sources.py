"""Public data through the command line: published figures to the cent, every row accounted for."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.data, pytest.mark.slow]

SALES = Decimal("9838141.37")


@pytest.fixture(scope="module")
def cars(public: Any) -> Path:
    return Path(public("sales_data_sample")) / "home"


@pytest.fixture(scope="module")
def records(public: Any) -> Path:
    return Path(public("cdnow")) / "home"


@pytest.fixture(scope="module")
def look(public: Any) -> Path:
    return Path(public("thelook_segments")) / "home"


def _campaign(public: Any, dialect: str) -> Path:
    """A whole run on the one file; on the other, which is the same table, until all of it is loaded and cleaned."""
    words = {
        "semicolon": ("campaign=marketing_campaign_semicolon_bom_iso.csv",),
        "tab": ("campaign=marketing_campaign_tab_leading_blank.csv", "--select", "group:raw or group:clean"),
    }
    return Path(public("marketing_campaign", "--input", *words[dialect], name=dialect)) / "home"


def test_sales_data_sample_has_its_raw_figures(cars: Path, read: Any) -> None:
    warehouse = cars / "warehouse.duckdb"
    assert read(warehouse, "select count(*), sum(line_amount::decimal(18,4)) from raw.order_items") == [
        (2_823, Decimal("10032628.85"))
    ]
    assert read.one(warehouse, "select count(*) from raw.orders") == 307
    assert read.one(warehouse, "select count(*) from raw.customers") == 92


@pytest.mark.parametrize("database", ["warehouse.duckdb", "published.duckdb"])
def test_sales_data_sample_keeps_its_money_to_the_cent_in_every_table_downstream(
    database: str, cars: Path, read: Any
) -> None:
    path = cars / database
    assert read(path, "select count(*), count(distinct order_id), sum(net_amount) from features.order_lines") == [
        (2_763, 303, SALES)
    ]
    assert read(
        path, "select sum(monetary_amount), sum(order_count), sum(line_count) from features.customer_features"
    ) == [(SALES, 303, 2_763)]
    for dimension in ("category", "channel"):
        money = f"select sum(net_amount) from features.spend_by_value where dimension = '{dimension}'"
        assert read.one(path, money) == SALES
    assert read(
        path,
        "select axis, sum(revenue_amount), sum(customers) from segments.segment_summary group by axis order by axis",
    ) == [("stage", SALES, 92), ("taste", SALES, 92)]
    assert read(path, "select sum(revenue_amount), sum(customers) from segments.segment_grid") == [(SALES, 92)]


def test_sales_data_sample_keeps_the_territory_na(cars: Path, read: Any) -> None:
    assert read.one(cars / "published.duckdb", "select count(*) from clean.customers where region = 'NA'") > 0
    assert (
        read.one(cars / "published.duckdb", "select count(*) from features.customer_features where region = 'NA'") > 0
    )


def test_both_dialects_of_marketing_campaign_give_the_same_tables(public: Any, read: Any) -> None:
    """The raw and the clean ones, of which all others are made: the same tables give the same again."""
    for name in ("warehouse.duckdb", "people.duckdb"):
        mine, theirs = (read.fingerprints(_campaign(public, dialect) / name) for dialect in ("semicolon", "tab"))
        read_from_files = {table for table in mine if table.split(".")[0] in ("raw", "clean", "people", "main")}
        assert read_from_files <= set(theirs) <= set(mine)
        assert [table for table in theirs if mine[table] != theirs[table]] == []
        if name == "warehouse.duckdb":
            assert theirs["raw.customers"][0] == 2_240


def test_cdnow_has_every_transaction_to_the_cent_and_says_why_nothing_is_matched(records: Path, read: Any) -> None:
    published = records / "published.duckdb"
    assert read.one(published, "select count(*) from raw.order_items") == 6_919
    assert read.one(published, "select count(*) from raw.customers") == 2_357
    raw, sold = (
        read.one(published, query)
        for query in (
            "select sum(line_amount::decimal(18,4)) from raw.order_items",
            "select sum(net_amount) from features.order_lines",
        )
    )
    assert raw == sold
    assert read.one(published, "select count(*) from campaigns.product_segment_matches") == 0
    assert read.one(published, "select count(*) from campaigns.email_drafts") == 0
    ((reason,),) = read(
        published, "select reason from quality.capabilities where capability = 'matching' and not is_on"
    )
    assert any(character.isdigit() for character in reason)


def test_thelook_segments_runs_from_attributes_alone(look: Path, read: Any) -> None:
    published = look / "published.duckdb"
    assert read.one(published, "select count(*) from raw.orders") == 0
    customers = read.one(published, "select count(*) from clean.customers")
    assert customers > 50_000
    assert read.one(published, "select count(*) from segments.customer_segments") == customers
    assert read.one(published, "select k from segments.stage_choice") >= 2


@pytest.mark.parametrize("source", ["cars", "records", "look", "semicolon", "tab"])
def test_every_row_of_every_table_is_accounted_for(source: str, request: Any, public: Any, read: Any) -> None:
    home = _campaign(public, source) if source in ("semicolon", "tab") else request.getfixturevalue(source)
    warehouse = home / "warehouse.duckdb"
    rows = read(warehouse, "select table_name, raw_rows, clean_rows, rejected_rows from quality.row_accounting")
    assert len(rows) == 19
    for table, raw, clean, rejected in rows:
        if table == "contacts":
            counted = [
                read.one(home / "people.duckdb", f"select count(*) from {name}")
                for name in ("raw_contacts", "contacts", "rejected_contacts")
            ]
        else:
            counted = [
                read.one(warehouse, f"select count(*) from raw.{table}"),
                read.one(warehouse, f"select count(*) from clean.{table}"),
                read.one(warehouse, f"select count(*) from quality.rejected_rows where table_name = '{table}'"),
            ]
        assert raw == clean + rejected, table
        assert counted == [raw, clean, rejected], table


@pytest.mark.parametrize("source", ["cars", "records", "look", "semicolon"])
def test_each_ends_with_a_summary_and_a_brief(source: str, request: Any, public: Any) -> None:
    home = _campaign(public, source) if source == "semicolon" else request.getfixturevalue(source)
    printed = " ".join((home.parent / "stdout.txt").read_text(encoding="utf-8").split())
    assert "Done in " in printed
    assert "Monday brief" in printed
    assert (home / "brief.html").stat().st_size > 2_000
    assert (home.parent / "stderr.txt").read_text(encoding="utf-8") == ""
