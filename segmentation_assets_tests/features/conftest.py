"""A shop small enough to reckon by hand: contract tables with a few rows each, and the features built from them.

Every expected figure in this folder follows from the rows below. The as-of date is Sunday, 30 June 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date

import duckdb
import pytest

from segmentation_assets.delivery.tables import TABLE_TYPES
from segmentation_assets.sources.contract import CONTRACT, WAREHOUSE_TABLES
from segmentation_assets.warehouse.connection import quote
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model
from segmentation_assets.warehouse.tables import create_from_query

AS_OF = date(2024, 6, 30)

FEATURE_TABLES = (
    "order_lines", "customer_shares", "reachability", "customer_features", "spend_by_value", "engagement",
)  # fmt: skip

# Rows of the clean tables as SQL values, with the columns they fill; the others are null.
_ROWS: dict[str, tuple[str, str]] = {
    "customers": (
        "customer_id, gender, birth_year, country, region, signed_up_at, acquisition_channel, email_consent, "
        "email_consent_at",
        """
        ('anna', 'female', 1980, 'Germany', 'NA', timestamp '2023-01-01 09:00', 'search', true,
            timestamp '2023-01-01 09:00'),
        ('ben', 'male', null, 'Germany', null, null, null, true, null),
        ('cara', 'female', 2007, null, null, timestamp '2024-01-01 10:00', null, true, null),
        ('dan', 'male', 1990, null, null, timestamp '2024-07-15 10:00', null, true, null),
        ('eve', 'female', 1970, null, null, null, null, true, timestamp '2024-07-01 08:00'),
        ('fay', 'unknown', 1975, null, null, timestamp '2024-02-01 10:00', null, true,
            timestamp '2024-02-01 10:00')
        """,
    ),
    "products": (
        "product_id, name, category, subcategory, brand, list_price",
        """
        ('P1', 'House blend', 'Coffee', 'Beans', 'Alba', 10),
        ('P2', 'Grand cru', 'Coffee', 'Beans', 'Borg', 20),
        ('P3', 'Assam', 'Tea', null, 'Alba', null),
        ('P4', 'Thing', null, null, null, null)
        """,
    ),
    "orders": (
        "order_id, customer_id, channel, ordered_at, status, currency, coupon_code",
        """
        ('O1', 'anna', 'web', timestamp '2024-03-04 12:00', 'completed', 'EUR', 'SPRING'),
        ('O2', 'anna', 'app', timestamp '2024-06-15 12:00', 'shipped', 'EUR', null),
        ('O3', 'anna', 'web', timestamp '2024-06-30 23:59', 'processing', 'EUR', null),
        ('O4', 'anna', 'web', timestamp '2024-07-02 12:00', 'completed', 'EUR', null),
        ('O5', 'ben', null, timestamp '2023-12-10 12:00', 'completed', 'EUR', null),
        ('O6', 'fay', 'web', timestamp '2024-05-01 12:00', 'cancelled', 'EUR', null),
        ('O7', 'ben', 'web', timestamp '2023-11-30 12:00', 'returned', 'EUR', null)
        """,
    ),
    "order_items": (
        "order_item_id, order_id, product_id, quantity, unit_price, discount_amount, line_amount",
        """
        ('L1', 'O1', 'P1', 2, 10, 2, null),
        ('L2', 'O1', 'P3', 1, 5, 0, null),
        ('L3', 'O2', 'P1', 1, 10, null, 9.99),
        ('L4', 'O2', 'P2', 3, 6, null, null),
        ('L5', 'O3', null, 1, 7, null, null),
        ('L6', 'O4', 'P1', 1, 10, null, null),
        ('L7', 'O5', 'P4', 1, 4, null, null),
        ('L8', 'O6', 'P1', 1, 10, null, null),
        ('L9', 'O7', 'P1', 1, 10, null, null)
        """,
    ),
    "returns": (
        "return_id, order_item_id, returned_at, quantity",
        """
        ('R1', 'L4', timestamp '2024-06-20 12:00', 1),
        ('R2', 'L4', timestamp '2024-07-05 12:00', 1),
        ('R3', 'L7', null, null),
        ('R4', 'L7', null, 5)
        """,
    ),
    "campaigns": (
        "campaign_id, name, channel, starts_on, ends_on",
        """
        ('K1', 'Spring', 'e-mail', date '2024-03-01', date '2024-03-10'),
        ('K2', 'Coffee month', 'e-mail', date '2024-03-03', null),
        ('K3', 'Summer', 'e-mail', date '2024-06-10', date '2024-06-20')
        """,
    ),
    "campaign_contacts": (
        "campaign_id, customer_id, arm, contacted_at",
        """
        ('K1', 'anna', 'treated', timestamp '2024-03-01 08:00'),
        ('K2', 'anna', 'treated', timestamp '2024-03-03 08:00'),
        ('K3', 'anna', 'control', null),
        ('K3', 'ben', 'treated', timestamp '2024-06-10 08:00'),
        ('K1', 'cara', 'treated', null)
        """,
    ),
    "campaign_responses": (
        "response_id, campaign_id, customer_id, kind, occurred_at",
        """
        ('A1', 'K1', 'anna', 'open', timestamp '2024-03-01 09:00'),
        ('A2', 'K1', 'anna', 'open', timestamp '2024-03-02 09:00'),
        ('A3', 'K2', 'anna', 'open', timestamp '2024-03-03 09:00'),
        ('A4', 'K2', 'anna', 'click', timestamp '2024-03-03 09:01'),
        ('A5', 'K3', 'anna', 'conversion', timestamp '2024-06-15 12:00'),
        ('A6', 'K1', 'anna', 'conversion', timestamp '2024-07-03 09:00'),
        ('A7', 'K1', 'fay', 'unsubscribe', timestamp '2024-03-05 09:00')
        """,
    ),
    "product_events": (
        "event_id, customer_id, occurred_at, action",
        """
        ('E1', 'cara', timestamp '2024-01-01 11:00', 'add_to_cart'),
        ('E2', 'cara', timestamp '2024-06-01 11:00', 'view'),
        ('E3', 'cara', timestamp '2024-06-29 11:00', 'search'),
        ('E4', 'cara', timestamp '2024-07-01 11:00', 'view')
        """,
    ),
    "demographics": (
        "customer_id, education, marital_status, household_income",
        "('cara', 'master', 'single', 30000)",
    ),
    "preferences": (
        "customer_id, favourite_category, price_tier",
        "('anna', 'Tea', 'premium'), ('ben', 'Tea', null)",
    ),
    "loyalty_memberships": (
        "customer_id, tier, points, joined_on",
        "('anna', 'gold', 120, date '2024-01-01'), ('ben', 'silver', 50, date '2024-07-01')",
    ),
    "customer_attributes": (
        "customer_id, recency_days, order_count, monetary_amount, return_share, tenure_days",
        "('eve', 12, 3, 90, 0.25, 400), ('anna', 999, 99, 9999, 0.9, 999)",
    ),
}


def make_clean_tables(con: duckdb.DuckDBPyConnection) -> None:
    """Empty clean tables of the whole contract, with their declared types."""
    con.execute("create schema if not exists clean; create schema if not exists features")
    for name in WAREHOUSE_TABLES:
        columns = ", ".join(f"{quote(column.name)} {column.sql_type}" for column in CONTRACT[name].columns)
        con.execute(f"create or replace table clean.{name} ({columns})")
    con.execute(
        "create or replace table features.product_guards "
        "(product_id VARCHAR, is_sensitive BOOLEAN, is_age_restricted BOOLEAN)"
    )
    con.execute("create schema if not exists delivery")
    for name in ("sends", "events", "send_rules"):
        columns = ", ".join(f"{column} {kind}" for column, kind in TABLE_TYPES[f"delivery/{name}"].items())
        con.execute(f"create or replace table delivery.{name} ({columns})")
    con.execute(
        "create or replace table delivery.labelled_events as "
        "select *, false as is_robot, '' as robot_rule from delivery.events"
    )
    con.execute("insert into delivery.send_rules (rest_after_messages, rest_days) values (8, 90)")
    con.execute("create or replace table features.age_rule as select false as unknown_age_is_minor")
    con.execute("create or replace table features.profiling_opt_outs (customer_id VARCHAR, opted_out_at TIMESTAMP)")
    con.execute(
        "create or replace table features.feature_correlations "
        "(feature_a VARCHAR, feature_b VARCHAR, correlation DOUBLE, customers BIGINT)"
    )
    con.execute(
        "create or replace table clean.contact_flags "
        "(customer_id VARCHAR, has_email BOOLEAN, has_valid_email BOOLEAN, is_email_shared BOOLEAN)"
    )


def fill_by_hand(con: duckdb.DuckDBPyConnection) -> None:
    """The rows of the hand-made shop."""
    for name, (columns, rows) in _ROWS.items():
        con.execute(f"insert into clean.{name} ({columns}) values {rows}")
    con.execute(
        "insert into clean.contact_flags values ('anna', true, true, false), ('ben', true, true, true), "
        "('cara', true, true, false), ('eve', true, true, false), ('fay', true, true, false)"
    )


def build_features(con: duckdb.DuckDBPyConnection, as_of: date = AS_OF) -> None:
    """Every table of `sql/features`, in the order of their parents."""
    for name in FEATURE_TABLES:
        model = load_model(SQL_ROOT / "features" / f"{name}.sql")
        create_from_query(con, model.name, model.query, {"as_of": as_of} if model.needs_as_of else None)


Builder = Callable[..., None]


@pytest.fixture(scope="session")
def clean_tables() -> Builder:
    """Makes the empty clean tables on a connection."""
    return make_clean_tables


@pytest.fixture(scope="session")
def features_of() -> Builder:
    """Builds every feature table on a connection, as of a date."""
    return build_features


@pytest.fixture(scope="session")
def _built_shop() -> Iterator[duckdb.DuckDBPyConnection]:
    con = duckdb.connect(":memory:", config={"threads": 1})
    make_clean_tables(con)
    fill_by_hand(con)
    build_features(con)
    yield con
    con.close()


@pytest.fixture
def shop(_built_shop: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """The hand-made shop with its features; whatever a test changes is rolled back."""
    _built_shop.execute("begin")
    yield _built_shop
    _built_shop.execute("rollback")
