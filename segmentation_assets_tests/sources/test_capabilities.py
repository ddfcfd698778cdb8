"""What the data can support, with the numbers that decided it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import duckdb
import pytest

from segmentation_assets.sources.contract import CONTRACT, WAREHOUSE_TABLES
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model

AS_OF = date(2025, 6, 30)
MODEL = load_model(SQL_ROOT / "quality" / "capabilities.sql")


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    made = duckdb.connect()
    made.execute("create schema clean; create schema raw; create schema quality")
    for name in WAREHOUSE_TABLES:
        columns = ", ".join(f"{column.name} {column.sql_type}" for column in CONTRACT[name].columns)
        made.execute(f"create table clean.{name} ({columns})")
    made.execute(
        "create table clean.contact_flags "
        "(customer_id VARCHAR, has_email BOOLEAN, has_valid_email BOOLEAN, is_email_shared BOOLEAN)"
    )
    made.execute("create table raw.source as select 'customers,orders,order_items' as provided_tables")
    yield made
    made.close()


def decide(con: duckdb.DuckDBPyConnection) -> dict[str, tuple[bool, str]]:
    con.execute(f"create or replace table quality.capabilities as {MODEL.query}", {"as_of": AS_OF})
    return {row[0]: (row[1], row[2]) for row in con.execute("from quality.capabilities").fetchall()}


def fill(con: duckdb.DuckDBPyConnection) -> None:
    """300 customers; each bought once, the first 60 twice; two categories."""
    con.execute(
        "insert into clean.customers (customer_id, email_consent) select 'C' || i, i % 2 = 0 from range(300) t(i)"
    )
    con.execute(
        "insert into clean.products (product_id, category, list_price, unit_cost) values ('P1', 'Tea', 5, 2), "
        "('P2', 'Coffee', 9, null)"
    )
    con.execute(
        "insert into clean.orders (order_id, customer_id, ordered_at, status) "
        "select 'O' || i, 'C' || i % 300, timestamp '2025-01-01' + interval (i // 300) day, 'completed' "
        "from range(360) t(i) union all select 'X', 'C1', timestamp '2025-01-01', 'cancelled'"
    )
    con.execute(
        "insert into clean.order_items (order_item_id, order_id, product_id, quantity, unit_price) "
        "select 'L' || i, 'O' || i, 'P' || (i % 2 + 1), 1, 5 from range(360) t(i)"
    )


def test_nothing_given_is_everything_off_with_a_reason(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("update raw.source set provided_tables = 'customers,customer_attributes'")
    found = decide(con)
    assert not any(is_on for is_on, _ in found.values())
    assert all(reason.endswith(".") for _, reason in found.values())
    assert found["orders"][1] == "0 of 0 orders count as sales, from 0 customers. The source gives no orders."


def test_reasons_carry_the_numbers(con: duckdb.DuckDBPyConnection) -> None:
    fill(con)
    found = decide(con)
    assert found["orders"] == (True, "360 of 361 orders count as sales, from 300 customers.")
    assert found["products"] == (True, "2 products in the catalogue; 360 of 360 sold lines name one.")
    assert found["lifetime"] == (
        True, "300 buyers, 60 of them bought again on another day, in 180 days (needed: 200, 50 and 5 % of them, 90)."
    )  # fmt: skip
    assert found["margins"] == (True, "1 of 2 products have a cost and a list price (needed: half).")
    assert found["categories"][0] and found["matching"][0]
    assert (
        found["matching"][1] == "2 products of the catalogue were sold to 300 buyers (needed: 2 products, 50 buyers)."
    )


@pytest.mark.parametrize(
    ("capability", "statement"),
    [
        ("orders", "update clean.orders set status = 'cancelled'"),
        ("categories", "update clean.products set category = 'Tea'"),
        ("categories", "update clean.order_items set product_id = null where order_item_id <> 'L1'"),
        ("products", "update clean.order_items set product_id = null"),
        ("matching", "delete from clean.products where product_id = 'P2'"),
        ("lifetime", "update clean.orders set ordered_at = '2025-01-01'"),
        ("lifetime", "update clean.orders set ordered_at = ordered_at + interval 5 month"),
        ("margins", "update clean.products set unit_cost = null"),
    ],
)
def test_a_capability_is_off_when_its_condition_fails(
    con: duckdb.DuckDBPyConnection, capability: str, statement: str
) -> None:
    fill(con)
    assert decide(con)[capability][0]
    con.execute(statement)
    assert not decide(con)[capability][0]


def test_optional_tables_switch_their_capability_on(con: duckdb.DuckDBPyConnection) -> None:
    fill(con)
    given = {
        "inventory": "insert into clean.inventory (product_id, store_id, stock_quantity) values ('P1', 'S1', 3)",
        "returns": "insert into clean.returns (return_id, order_item_id) values ('R1', 'L1')",
        "discounts": "update clean.orders set coupon_code = 'TEN' where order_id = 'O1'",
        "campaign_responses": "insert into clean.campaign_responses (response_id) values ('1')",
        "events": "insert into clean.product_events (event_id, customer_id) values ('E1', 'C1')",
        "reviews": "insert into clean.reviews (review_id, rating) values ('V1', 5)",
        "demographics": "insert into clean.demographics (customer_id) values ('C1')",
        "preferences": "insert into clean.preferences (customer_id) values ('C1')",
        "loyalty": "insert into clean.loyalty_memberships (customer_id) values ('C1')",
        "attributes": "insert into clean.customer_attributes (customer_id, recency_days) values ('C1', 3)",
    }
    before = decide(con)
    for statement in given.values():
        con.execute(statement)
    after = decide(con)
    for capability in given:
        assert not before[capability][0]
        assert after[capability][0]
    assert after["attributes"][1] == (
        "1 of 300 customers have ready-made attributes, 1 of them recency, orders or money."
    )


def test_campaign_history_needs_fifty_in_each_arm_of_one_campaign(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "insert into clean.campaign_contacts (campaign_id, customer_id, arm) "
        "select 'K1', 'C' || i, case when i < 49 then 'control' else 'treated' end from range(200) t(i)"
    )
    assert decide(con)["campaign_history"] == (
        False, "1 campaigns reached 151 customers and held out 49; 0 have at least 50 in each arm (needed: 1)."
    )  # fmt: skip
    con.execute("insert into clean.campaign_contacts (campaign_id, customer_id, arm) values ('K1', 'C999', 'control')")
    assert decide(con)["campaign_history"][0]


def test_email_needs_a_valid_address_and_consent_of_the_same_customer(con: duckdb.DuckDBPyConnection) -> None:
    fill(con)
    con.execute("insert into clean.contact_flags values ('C1', true, true, false), ('C2', true, false, false)")
    found = decide(con)
    assert found["contacts"] == (True, "2 of 300 customers have contact details.")
    assert found["email"] == (
        False, "1 customers have a valid address (0 of them share it) and 0 of those gave consent."
    )  # fmt: skip
    con.execute("insert into clean.contact_flags values ('C4', true, true, true)")
    assert decide(con)["email"][0]


def test_the_check_of_capabilities_fails_without_a_reason(con: duckdb.DuckDBPyConnection) -> None:
    decide(con)
    check = (SQL_ROOT / "checks" / "quality" / "capabilities" / "says_why.sql").read_text("utf-8")
    assert con.execute(check).fetchall() == []
    con.execute("update quality.capabilities set reason = '' where capability = 'email'")
    assert con.execute(check).fetchall() == [("email", 1)]
