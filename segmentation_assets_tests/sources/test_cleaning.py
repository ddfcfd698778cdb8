"""Cleaning: every raw row is in clean or rejected with the rule it broke, every repair is recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation_assets.sources import cleaning
from segmentation_assets.sources.cleaning import TableCounts, clean_warehouse, write_row_accounting
from segmentation_assets.sources.cleaning_rules import RULE_PRIORITY
from segmentation_assets.sources.contract import CONTRACT, WAREHOUSE_TABLES
from segmentation_assets.sources.contract_checks import contract_check_query, reference_check_query
from segmentation_assets.warehouse.connection import transaction
from segmentation_assets.warehouse.sql_models import SQL_ROOT, parse_select

AS_OF = date(2025, 6, 30)
ALL = ",".join(CONTRACT)


class Shop:
    """A warehouse in memory with an empty raw contract, filled by hand."""

    def __init__(self, provided: str = ALL) -> None:
        self.con = duckdb.connect()
        self.con.execute("set threads = 1; set TimeZone = 'UTC'")
        self.con.execute("attach ':memory:' as warehouse; use warehouse; create schema raw")
        for name in WAREHOUSE_TABLES:
            self.con.execute(
                f"create table raw.{name} ({', '.join(f'{c} VARCHAR' for c in CONTRACT[name].column_names)})"
            )
        self.con.execute(
            "create table raw.source as select 'shop' as source, 'A shop' as title, DATE '2025-06-30' as as_of, "
            "'USD' as currency, false as customer_id_is_personal, $provided as provided_tables",
            {"provided": provided},
        )

    def give(self, table: str, *rows: dict[str, object], types: dict[str, str] | None = None) -> Shop:
        """Append rows; with `types` the raw table gets those types first (else everything is text)."""
        for column, sql_type in (types or {}).items():
            known = {row[0] for row in self.con.execute(f"describe raw.{table}").fetchall()}
            if column in known:
                self.con.execute(f'alter table raw.{table} alter "{column}" type {sql_type}')
            else:
                self.con.execute(f'alter table raw.{table} add column "{column}" {sql_type}')
        for row in rows:
            columns = ", ".join(f'"{name}"' for name in row)
            marks = ", ".join("?" for _ in row)
            self.con.execute(f"insert into raw.{table} ({columns}) values ({marks})", list(row.values()))
        return self

    def clean(self) -> dict[str, TableCounts]:
        with transaction(self.con):
            return clean_warehouse(self.con, AS_OF, "USD")

    def rows(self, query: str) -> list[tuple[object, ...]]:
        return self.con.execute(query).fetchall()

    def rejected(self, table: str) -> list[tuple[object, ...]]:
        return self.rows(f"select row_key, rule, detail from quality.rejected_rows where table_name = '{table}'")

    def repairs(self, table: str) -> list[tuple[object, ...]]:
        return self.rows(
            "select row_key, column_name, rule, before, after from quality.repairs "
            f"where table_name = '{table}' order by all"
        )


@pytest.fixture
def shop() -> Iterator[Shop]:
    made = Shop()
    made.give("customers", {"customer_id": "C1"}, {"customer_id": "C2"})
    made.give("products", {"product_id": "P1"}, {"product_id": "P2"})
    yield made
    made.con.close()


def order(order_id: str | None = "O1", **given: object) -> dict[str, object]:
    return {
        "order_id": order_id, "customer_id": "C1", "ordered_at": "2025-01-02 10:00:00", "status": "completed", **given
    }  # fmt: skip


REJECTIONS = [
    ("orders", order(None), "row 1", "missing_key", "order_id is empty, and it is part of the key."),
    ("orders", order("  "), "row 1", "missing_key", "order_id is empty, and it is part of the key."),
    ("orders", order(ordered_at=None), "O1", "missing_required", "ordered_at is empty, and it is required."),
    ("orders", order(status="N/A"), "O1", "missing_required", "status is empty, and it is required."),
    ("orders", order(customer_id=" "), "O1", "missing_required", "customer_id is empty, and it is required."),
    ("campaigns", {"campaign_id": "K1", "starts_on": "soon"}, "K1", "not_a_date",
     "starts_on 'soon' is not a date (expected year-month-day)."),
    ("campaigns", {"campaign_id": "K1", "starts_on": "05-06-2021"}, "K1", "not_a_date",
     "starts_on '05-06-2021' is not a date (expected year-month-day)."),
    ("campaigns", {"campaign_id": "K1", "starts_on": "2021-02-30"}, "K1", "not_a_date",
     "starts_on '2021-02-30' is not a date (expected year-month-day)."),
    ("campaigns", {"campaign_id": "K1", "starts_on": "infinity"}, "K1", "not_a_date",
     "starts_on 'infinity' is not a date (expected year-month-day)."),
    ("orders", order(ordered_at="yesterday"), "O1", "not_a_timestamp",
     "ordered_at 'yesterday' is not a point in time (expected year-month-day hour:minute:second)."),
    ("products", {"product_id": "P9", "list_price": "cheap"}, "P9", "not_a_number",
     "list_price 'cheap' is not a number."),
    ("products", {"product_id": "P9", "list_price": "1,234"}, "P9", "not_a_number",
     "list_price '1,234' is not a number."),
    ("demographics", {"customer_id": "C1", "kids": "1.5"}, "C1", "not_an_integer",
     "kids '1.5' is not a whole number."),
    ("customers", {"customer_id": "C9", "email_consent": "maybe"}, "C9", "not_a_boolean",
     "email_consent 'maybe' is neither true nor false."),
    ("customers", {"customer_id": "C9", "birth_year": "old"}, "C9", "not_a_year", "birth_year 'old' is not a year."),
    ("customers", {"customer_id": "C9", "birth_year": "1893"}, "C9", "out_of_range",
     "birth_year '1893' is outside 1900 to 2100."),
    ("products", {"product_id": "P9", "list_price": "-0.01"}, "P9", "out_of_range",
     "list_price '-0.01' is outside 0 to 10000000."),
    ("products", {"product_id": "P9", "list_price": "nan"}, "P9", "out_of_range",
     "list_price 'nan' is outside 0 to 10000000."),
    ("products", {"product_id": "P9", "list_price": "1e300"}, "P9", "out_of_range",
     "list_price '1e300' is outside 0 to 10000000."),
    ("preferences", {"customer_id": "C1", "luxury_score": "inf"}, "C1", "out_of_range",
     "luxury_score 'inf' is outside 0 to 1."),
    ("orders", order(ordered_at="1850-01-01"), "O1", "before_1900", "ordered_at '1850-01-01' is before 1900."),
    ("orders", order(ordered_at="2025-07-01 00:00:00"), "O1", "after_as_of",
     "ordered_at '2025-07-01 00:00:00' is after 2025-06-30, the as-of date."),
    ("customers", {"customer_id": "C9", "birth_year": "2026"}, "C9", "after_as_of",
     "birth_year '2026' is after 2025, the year of the as-of date."),
    ("orders", order(status="teleported"), "O1", "unknown_value",
     "status 'teleported' is not one of completed, shipped, processing, cancelled, returned."),
    ("orders", order(customer_id="C404"), "O1", "orphan", "customer_id 'C404' is not in customers."),
    ("orders", order(store_id="S404"), "O1", "orphan", "store_id 'S404' is not in stores."),
    ("orders", order(currency="EUR"), "O1", "wrong_currency", "currency 'EUR' is not the source's currency, USD."),
    ("campaigns", {"campaign_id": "K1", "starts_on": "2025-02-02", "ends_on": "2025-02-01"}, "K1",
     "ends_before_start", "ends_on is before starts_on."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "row", "key", "rule", "detail"), REJECTIONS, ids=[f"{r[3]}-{i}" for i, r in enumerate(REJECTIONS)]
)
def test_each_rule_rejects_with_its_name_and_a_sentence(
    table: str, row: dict[str, object], key: str, rule: str, detail: str
) -> None:
    shop = Shop().give("customers", {"customer_id": "C1"})
    if table == "customers":
        shop = Shop()
    counts = shop.give(table, row).clean()
    assert shop.rejected(table) == [(key, rule, detail)]
    assert counts[table] == TableCounts(1, 0, 1, 0)


def test_every_generated_rule_is_shown_failing() -> None:
    elsewhere = {"duplicate_key", "parent_rejected"}
    assert {case[3] for case in REJECTIONS} | elsewhere >= set(RULE_PRIORITY)


def test_the_last_day_of_the_data_is_valid_to_its_end(shop: Shop) -> None:
    shop.give("orders", order(ordered_at="2025-06-30 23:59:59.999")).clean()
    assert shop.rejected("orders") == []


def test_of_rows_with_one_key_the_first_valid_one_is_kept(shop: Shop) -> None:
    shop.give("orders", order("O1", ordered_at="never"), order(" O1", coupon_code="B"), order("O1", coupon_code="C"))
    counts = shop.clean()
    assert shop.rows("select order_id, coupon_code from clean.orders") == [("O1", "B")]
    assert shop.rejected("orders") == [
        ("O1", "not_a_timestamp",
         "ordered_at 'never' is not a point in time (expected year-month-day hour:minute:second)."),
        ("O1", "duplicate_key", "order_id 'O1' was given before; the first valid row is kept."),
    ]  # fmt: skip
    assert counts["orders"] == TableCounts(3, 1, 2, 1)


def test_a_key_of_two_columns_is_named_with_both(shop: Shop) -> None:
    shop.give("stores", {"store_id": "S|1"})
    stock = {"product_id": "P1", "store_id": "S|1", "stock_quantity": "3"}
    shop.give("inventory", stock, stock, {"product_id": "P1"}).clean()
    assert shop.rejected("inventory") == [
        ("P1|S|1", "duplicate_key",
         "product_id 'P1' and store_id 'S|1' were given before; the first valid row is kept."),
        ("row 3", "missing_key", "store_id is empty, and it is part of the key."),
    ]  # fmt: skip


def test_children_of_a_rejected_row_say_parent_rejected_down_the_line(shop: Shop) -> None:
    shop.give("customers", {"customer_id": "C3", "birth_year": "1066"})
    shop.give("orders", order("O1", customer_id="C3"), order("O2"))
    shop.give("order_items", {"order_item_id": "L1", "order_id": "O1", "quantity": "1"})
    shop.give("returns", {"return_id": "R1", "order_item_id": "L1"})
    shop.clean()
    assert shop.rejected("orders") == [
        ("O1", "parent_rejected", "customer_id 'C3' is in customers, but its row there was rejected.")
    ]
    assert shop.rejected("order_items") == [
        ("L1", "parent_rejected", "order_id 'O1' is in orders, but its row there was rejected.")
    ]
    assert shop.rejected("returns") == [
        ("R1", "parent_rejected", "order_item_id 'L1' is in order_items, but its row there was rejected.")
    ]


def test_a_rejected_duplicate_does_not_orphan_the_children_of_the_row_kept(shop: Shop) -> None:
    shop.give("customers", {"customer_id": "C1", "city": "Elsewhere"}).give("orders", order())
    shop.clean()
    assert shop.rejected("orders") == []


def test_several_broken_rules_are_counted_and_the_first_by_priority_is_named(shop: Shop) -> None:
    shop.give("orders", order(customer_id="C404", status="odd", ordered_at="1066-10-14")).clean()
    assert shop.rejected("orders") == [
        ("O1", "before_1900", "ordered_at '1066-10-14' is before 1900. The row breaks 2 other rules.")
    ]


def test_a_rejected_row_keeps_its_raw_values(shop: Shop) -> None:
    shop.give("products", {"product_id": " P9 ", "list_price": float("nan")}, types={"list_price": "DOUBLE"}).clean()
    (kept,) = shop.rows("select row_json from quality.rejected_rows")
    values = json.loads(str(kept[0]))
    assert values["product_id"] == " P9 "
    assert values["list_price"] == "nan"
    assert list(values) == list(CONTRACT["products"].column_names)


def test_an_unknown_but_optional_link_is_an_orphan_and_an_absent_one_is_fine(shop: Shop) -> None:
    shop.give("orders", order())
    line = {"order_id": "O1", "quantity": "1"}
    shop.give(
        "order_items",
        {"order_item_id": "L1", **line},
        {"order_item_id": "L2", "product_id": "P9", **line},
        {"order_item_id": "L3", "product_id": "NULL", **line},
    ).clean()
    assert shop.rejected("order_items") == [("L2", "orphan", "product_id 'P9' is not in products.")]
    assert shop.repairs("order_items") == [("L3", "product_id", "empty_to_null", "NULL", None)]


def test_links_to_a_table_the_source_does_not_give_are_kept() -> None:
    shop = Shop(provided="customers,orders,order_items")
    shop.give("customers", {"customer_id": "C1"}).give("orders", order(store_id="S7")).clean()
    assert shop.rejected("orders") == []
    assert shop.rows("select store_id from clean.orders") == [("S7",)]
    assert shop.rows(str(reference_check_query("orders"))) == []


def test_a_return_before_its_order_or_of_more_than_was_bought_is_rejected(shop: Shop) -> None:
    shop.give("orders", order()).give("order_items", {"order_item_id": "L1", "order_id": "O1", "quantity": "2"})
    shop.give(
        "returns",
        {"return_id": "R1", "order_item_id": "L1", "returned_at": "2025-01-01", "quantity": "1"},
        {"return_id": "R2", "order_item_id": "L1", "returned_at": "2025-01-02", "quantity": "2"},
        {"return_id": "R3", "order_item_id": "L1", "returned_at": None, "quantity": "3"},
    ).clean()
    assert shop.rejected("returns") == [
        ("R1", "returned_before_ordered", "returned_at lies before the day the line was ordered."),
        ("R3", "more_than_bought", "quantity is more than the line's quantity."),
    ]


def test_a_discount_above_the_price_is_rejected_unless_the_line_has_its_own_amount(shop: Shop) -> None:
    shop.give("orders", order())
    line = {"order_id": "O1", "quantity": "2", "unit_price": "5", "discount_amount": "10.02"}
    shop.give(
        "order_items",
        {"order_item_id": "L1", **line},
        {"order_item_id": "L2", **line, "line_amount": "1"},
        {"order_item_id": "L3", **line, "discount_amount": "10.01"},
    ).clean()
    assert shop.rejected("order_items") == [
        ("L1", "discount_above_price", "discount_amount is more than quantity times unit_price.")
    ]


def test_a_line_worth_more_than_any_amount_can_be_is_rejected(shop: Shop) -> None:
    shop.give("orders", order())
    line = {"order_id": "O1", "quantity": "100000", "discount_amount": "1"}
    shop.give(
        "order_items",
        {"order_item_id": "L1", **line, "unit_price": "100.01"},
        {"order_item_id": "L2", **line, "unit_price": "100"},
        {"order_item_id": "L3", **line, "quantity": "99999999999", "unit_price": "9999999999"},
    ).clean()
    assert [rejected[:2] for rejected in shop.rejected("order_items")] == [
        ("L1", "line_too_large"), ("L3", "out_of_range")
    ]  # fmt: skip
    assert shop.rejected("order_items")[0][2] == (
        "quantity times unit_price is more than 10000000, the largest amount there can be."
    )


REPAIRS = [
    ("customers", "city", "\u00a0 Oslo ", "Oslo", "trimmed"),
    ("customers", "city", "New \t York", "New York", "trimmed"),
    ("customers", "city", "  ", None, "empty_to_null"),
    ("customers", "city", "n/a", None, "empty_to_null"),
    ("customers", "gender", "FEMALE", "female", "case"),
    ("customers", "gender", " female", "female", "trimmed"),
    ("customers", "gender", " W ", "female", "synonym"),
    ("customers", "gender", "", "unknown", "synonym"),
    ("demographics", "education", "2n  Cycle", "master", "synonym"),
    ("demographics", "kids", "NA", None, "empty_to_null"),
    ("demographics", "household_income", "58138,50", Decimal("58138.5000"), "decimal_comma"),
    ("demographics", "household_income", "58.138,5", Decimal("58138.5000"), "decimal_comma"),
    ("demographics", "household_income", "58,138.50", Decimal("58138.5000"), "thousands_separator"),
    ("demographics", "household_income", "\u00a058138", Decimal("58138.0000"), "trimmed"),
    ("loyalty_memberships", "joined_on", "31.12.2020", date(2020, 12, 31), "date_format"),
    ("loyalty_memberships", "joined_on", "12/31/2020", date(2020, 12, 31), "date_format"),
    ("loyalty_memberships", "joined_on", "20201231", date(2020, 12, 31), "date_format"),
    ("loyalty_memberships", "joined_on", "none", None, "empty_to_null"),
    ("customers", "signed_up_at", "31-12-2020 08:30", datetime(2020, 12, 31, 8, 30), "date_format"),
    ("customers", "email_consent", "null", None, "empty_to_null"),
    ("products", "name", " Mug", "Mug", "trimmed"),
]


@pytest.mark.parametrize(("table", "column", "before", "after", "rule"), REPAIRS)
def test_each_repair_is_recorded_with_before_and_after(
    table: str, column: str, before: str, after: object, rule: str
) -> None:
    shop = Shop()
    key = CONTRACT[table].key[0]
    if table != "customers":
        shop.give("customers", {"customer_id": "X"})
    counts = shop.give(table, {key: "X", column: before}).clean()
    assert shop.rows(f"select {column} from clean.{table}") == [(after,)]
    ((row_key, name, found_rule, found_before, found_after),) = shop.repairs(table)
    assert (row_key, name, found_rule, found_before) == ("X", column, rule, before)
    assert (found_after is None) == (after is None)
    assert counts[table] == TableCounts(1, 1, 0, 1)


@pytest.mark.parametrize(
    ("table", "column", "before", "after"),
    [
        ("customers", "region", "NA", "NA"),
        ("customers", "city", "none", "none"),
        ("customers", "birth_year", "1980.0", 1980),
        ("customers", "email_consent", "Yes", True),
        ("customers", "signed_up_at", "2020-01-01T12:00:00Z", datetime(2020, 1, 1, 12)),
        ("customers", "signed_up_at", "2020-01-01 12:00:00+02:00", datetime(2020, 1, 1, 10)),
        ("customers", "signed_up_at", "2020-01-01", datetime(2020, 1, 1)),
        ("demographics", "household_income", "666666", Decimal("666666.0000")),
        ("demographics", "household_income", "12.34567", Decimal("12.3457")),
        ("demographics", "marital_status", "YOLO", "YOLO"),
    ],
)
def test_a_value_that_is_only_cast_is_not_a_repair(table: str, column: str, before: str, after: object) -> None:
    shop = Shop()
    if table != "customers":
        shop.give("customers", {"customer_id": "X"})
    shop.give(table, {"customer_id": "X", column: before}).clean()
    assert shop.rows(f"select {column} from clean.{table}") == [(after,)]
    assert shop.repairs(table) == []


def test_spellings_that_differ_by_case_become_the_most_frequent_one(shop: Shop) -> None:
    for number, brand in enumerate(["LEGO", "Lego", "Lego", "lego ", "Haba", "HABA"]):
        shop.give("products", {"product_id": f"B{number}", "brand": brand})
    shop.clean()
    brands = shop.rows("select brand from clean.products where brand is not null order by product_id")
    # A tie goes to the first in code-point order: HABA before Haba.
    assert [brand for (brand,) in brands] == ["Lego", "Lego", "Lego", "Lego", "HABA", "HABA"]
    assert shop.repairs("products") == [
        ("B0", "brand", "case", "LEGO", "Lego"),
        ("B3", "brand", "case", "lego ", "Lego"),
        ("B4", "brand", "case", "Haba", "HABA"),
    ]


def test_repairs_of_rejected_rows_are_not_recorded(shop: Shop) -> None:
    shop.give("orders", order(channel=" web", customer_id="C404")).clean()
    assert shop.repairs("orders") == []


def test_the_source_s_currency_may_be_written_in_small_letters(shop: Shop) -> None:
    shop.give("orders", order(currency="usd"), order("O2")).clean()
    assert shop.rows("select currency from clean.orders order by order_id") == [("USD",), (None,)]


@pytest.mark.parametrize("sql_type", ["BIGINT", "DOUBLE", "DECIMAL(10,2)", "VARCHAR"])
def test_integer_ids_meet_whatever_type_they_come_in(sql_type: str) -> None:
    shop = Shop().give("customers", {"customer_id": 17}, types={"customer_id": "INTEGER"})
    shop.give("orders", order(customer_id=17), types={"customer_id": sql_type}).clean()
    assert shop.rejected("orders") == []
    assert shop.rows("select customer_id from clean.orders") == [("17",)]


def test_typed_raw_columns_are_judged_like_texts(shop: Shop) -> None:
    shop.give("orders", order(ordered_at=datetime(2031, 1, 1)), types={"ordered_at": "TIMESTAMP"})
    shop.give("products", {"product_id": "P3", "list_price": -1}, types={"list_price": "INTEGER"})
    shop.give("demographics", {"customer_id": "C1", "kids": 1.5}, types={"kids": "DOUBLE"})
    shop.give("customers", {"customer_id": "C7", "email_consent": 2}, types={"email_consent": "INTEGER"})
    shop.give(
        "campaigns", {"campaign_id": "K", "starts_on": datetime(2025, 1, 1, 9)}, types={"starts_on": "TIMESTAMPTZ"}
    ).clean()
    found = shop.rows("select table_name, rule from quality.rejected_rows order by all")
    assert found == [
        ("customers", "not_a_boolean"), ("demographics", "not_an_integer"), ("orders", "after_as_of"),
        ("products", "out_of_range"),
    ]  # fmt: skip
    assert shop.rows("select starts_on from clean.campaigns") == [(date(2025, 1, 1),)]


def test_ids_with_quotes_other_scripts_and_300_characters_survive(shop: Shop) -> None:
    ids = ['O\'Brien "x"; drop table--', "客户-№7-é", "long" * 75, "a|b", "row 1", "%s {0} $as_of"]
    for number, customer_id in enumerate(ids):
        shop.give("customers", {"customer_id": customer_id})
        shop.give("orders", order(f"X{number}", customer_id=customer_id))
    shop.give("orders", order("long" * 75, customer_id="nobody" * 50)).clean()
    assert [row[0] for row in shop.rows("select customer_id from clean.orders order by order_id")] == ids
    ((key, rule, detail),) = shop.rejected("orders")
    assert (key, rule) == ("long" * 75, "orphan")
    assert detail == f"customer_id '{('nobody' * 50)[:60]}…' is not in customers."


def test_further_attributes_keep_their_kind_and_nan_means_unknown(shop: Shop) -> None:
    row = {"customer_id": "C1", "visits": 3, "score": float("nan"), "likes_tea": True, "Seg ment": " A "}
    shop.give(
        "customer_attributes",
        row,
        {"customer_id": "C2", "score": float("inf")},
        types={"visits": "INTEGER", "score": "DOUBLE", "likes_tea": "BOOLEAN", "Seg ment": "VARCHAR"},
    ).clean()
    assert shop.rows('select visits, score, likes_tea, "Seg ment" from clean.customer_attributes') == [
        (3.0, None, True, "A")
    ]
    types = dict(
        shop.rows("select column_name, data_type from duckdb_columns() where table_name = 'customer_attributes' "
                  "and schema_name = 'clean'")
    )  # fmt: skip
    assert (types["visits"], types["score"], types["likes_tea"], types["Seg ment"]) == (
        "DOUBLE", "DOUBLE", "BOOLEAN", "VARCHAR"
    )  # fmt: skip
    assert shop.rejected("customer_attributes")[0][:2] == ("C2", "out_of_range")


def test_all_orders_cancelled_is_clean_data(shop: Shop) -> None:
    counts = shop.give("orders", order("O1", status="canceled"), order("O2", status="void")).clean()
    assert counts["orders"] == TableCounts(2, 2, 0, 2)
    assert shop.rows("select distinct status from clean.orders") == [("cancelled",)]


def test_an_empty_source_makes_every_table_empty_with_its_types() -> None:
    shop = Shop(provided="customers")
    counts = shop.clean()
    assert set(counts.values()) == {TableCounts(0, 0, 0, 0)}
    for name in WAREHOUSE_TABLES:
        described = shop.rows(f"select column_name, column_type from (describe clean.{name})")
        assert described == [(column.name, column.sql_type) for column in CONTRACT[name].columns]


def test_ten_thousand_rows_of_dirt_are_all_accounted_for(shop: Shop) -> None:
    shop.con.execute(
        "insert into raw.orders (order_id, customer_id, ordered_at, status, currency, channel) "
        "select case i % 5 when 0 then null else 'O' || i % 700 end, 'C' || i % 9, "
        "case i % 4 when 0 then 'x' when 1 then '1812-01-01' when 2 then '2099-01-01' else '2025-01-01' end, "
        "case i % 3 when 0 then 'Shipped ' else 'what' || i end, case i % 11 when 0 then 'EUR' end, ' dirt' || i "
        "from range(10000) as numbers(i)"
    )
    counts = shop.clean()["orders"]
    assert counts.raw_rows == 10_000 == counts.clean_rows + counts.rejected_rows
    assert counts.rejected_rows > 9_000
    assert shop.rows("select count(*) from quality.rejected_rows where table_name = 'orders'") == [
        (counts.rejected_rows,)
    ]


def test_clean_tables_keep_the_order_of_the_source(shop: Shop) -> None:
    shop.con.execute(
        "insert into raw.customers (customer_id, city) "
        "select 'N' || i + 1000000, case i % 1000 when 7 then ' Oslo' else 'Oslo' end from range(300000) as n(i)"
    )
    shop.con.execute(
        "insert into raw.product_events (event_id, customer_id, occurred_at) select 'E' || (i + 1000000), "
        "case i % 5000 when 3 then 'nobody' else 'N' || (i % 300000 + 1000000) end, '2025-01-01' "
        "from range(300000) as n(i)"
    )
    shop.clean()
    for table, key in (("customers", "customer_id"), ("product_events", "event_id")):
        moved = (
            f"select count(*) from (select {key} as k, lag({key}) over (order by rowid) as before from clean.{table} "
            f"where {key}[1] <> 'C') where k < before"
        )
        assert shop.rows(moved) == [(0,)]


def test_cleaning_again_gives_the_same_and_leaves_nothing_behind(shop: Shop) -> None:
    shop.give("orders", order(), order(), order("O3", channel=" web"))
    first = shop.clean()
    before = shop.rows("select * from quality.rejected_rows")
    assert shop.clean() == first
    assert shop.rows("select * from quality.rejected_rows") == before
    assert shop.rows("select count(*) from duckdb_tables() where database_name = 'temp'") == [(0,)]
    assert shop.rows("select count(*) from duckdb_views() where database_name = 'temp' and not internal") == [(0,)]


def test_a_raw_table_without_a_column_of_the_contract_is_named() -> None:
    shop = Shop()
    shop.con.execute("alter table raw.orders drop coupon_code")
    with pytest.raises(ValueError, match=r"raw\.orders lacks coupon_code: a column the source has not is loaded as"):
        shop.clean()


def test_an_attribute_with_a_reserved_name_is_refused_with_the_way_out(shop: Shop) -> None:
    shop.give("customer_attributes", {"customer_id": "C1", "rowid": 1}, types={"rowid": "INTEGER"})
    with pytest.raises(ValueError, match="reserved name: give it another in the mapping"):
        shop.clean()


def test_row_accounting_has_every_table_and_refuses_rows_that_do_not_add_up(shop: Shop) -> None:
    counts = {**shop.clean(), "contacts": TableCounts(3, 2, 1, 0)}
    assert write_row_accounting(shop.con, counts) == len(CONTRACT)
    assert shop.rows("select * from quality.row_accounting where table_name in ('contacts', 'customers')") == [
        ("customers", 2, 2, 0, 0), ("contacts", 3, 2, 1, 0)
    ]  # fmt: skip
    with pytest.raises(ValueError, match="contacts: 3 raw rows are not 2 clean and 0 rejected"):
        write_row_accounting(shop.con, {**counts, "contacts": TableCounts(3, 2, 0, 0)})
    with pytest.raises(ValueError, match="missing: contacts"):
        write_row_accounting(shop.con, shop.clean())


def test_a_hand_written_rule_without_a_sentence_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clean" / "orders").mkdir(parents=True)
    (tmp_path / "clean" / "orders" / "odd.sql").write_text("-- Odd.\nselect _row_id from temp.orders", "utf-8")
    monkeypatch.setattr(cleaning, "SQL_ROOT", tmp_path)
    with pytest.raises(ValueError, match=r"sql/clean/orders/odd\.sql: the header needs a line"):
        cleaning.hand_written_rules("orders")


TEXTS = st.one_of(
    st.none(),
    st.sampled_from(
        ["", " ", "NA", "null", "nan", "-1", "0", "1", "2", "1.5", "1e400", "12,5", "C1", " C1", "C2", "O1", "P1", "x",
         "2025-01-01", "1850-01-01", "2031-12-31", "31-12-2020", "05-06-2020", "infinity", "completed", "Shipped",
         "treated", "USD", "eur", "true", "'", '"', "a|b", "\u00a0C1", "ß", "SS", "İ", "\x00", "9" * 400]
    ),
    st.text(max_size=6),
)  # fmt: skip


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_raw_rows_are_clean_plus_rejected_whatever_the_source_holds(data: st.DataObject) -> None:
    shop = Shop(provided=data.draw(st.sampled_from([ALL, "customers,orders"])))
    given_tables = ("customers", "products", "campaigns", "orders", "order_items", "returns", "campaign_contacts")
    for table in given_tables:
        columns = st.fixed_dictionaries(dict.fromkeys(CONTRACT[table].column_names, TEXTS))
        likely = data.draw(st.lists(columns, max_size=4))
        shop.give(table, *likely)
    counts = shop.clean()
    for table in WAREHOUSE_TABLES:
        (raw,), (clean,), (rejected,) = (
            shop.rows(f"select count(*) from {source}")[0]
            for source in (f"raw.{table}", f"clean.{table}",
                           f"quality.rejected_rows where table_name = '{table}'")
        )  # fmt: skip
        assert (raw, clean, rejected) == (counts[table].raw_rows, counts[table].clean_rows, counts[table].rejected_rows)
        assert raw == clean + rejected
        query = contract_check_query(table)
        assert shop.con.execute(query, {"as_of": AS_OF} if "$as_of" in query else {}).fetchall() == []
        references = reference_check_query(table)
        assert references is None or shop.rows(references) == []
    assert shop.rows("select 1 from quality.rejected_rows where row_key is null or rule is null or detail is null "
                     "or row_json is null or not json_valid(row_json)") == []  # fmt: skip
    assert shop.rows("select 1 from quality.repairs where before is not distinct from after or rule is null") == []
    repaired = dict(shop.rows("select table_name, count(distinct row_key) from quality.repairs group by all"))
    assert {name: seen.repaired_rows for name, seen in counts.items() if seen.repaired_rows} == repaired


def _run(shop: Shop, path: str) -> list[tuple[object, ...]]:
    text = (SQL_ROOT / "checks" / path).read_text("utf-8")
    parse_select(text, path)
    return shop.rows(text)


def test_contract_checks_find_what_cleaning_would_have_removed(shop: Shop) -> None:
    shop.give("orders", order()).clean()
    shop.con.execute(
        "insert into clean.orders (order_id, customer_id, ordered_at, status) values "
        "('O1', 'C1', '2025-01-01', 'completed'), ('O2', 'C404', '2031-01-01', 'odd'), "
        "('O3', null, '1812-01-01', 'shipped')"
    )
    query = contract_check_query("orders")
    parse_select(query, "contract check")
    assert sorted(shop.con.execute(query, {"as_of": AS_OF}).fetchall()) == [
        ("O1", "duplicate_key"), ("O2", "after_as_of_ordered_at"), ("O2", "unknown_value_status"),
        ("O3", "before_1900_ordered_at"), ("O3", "missing_customer_id"),
    ]  # fmt: skip
    references = str(reference_check_query("orders"))
    parse_select(references, "reference check")
    assert shop.rows(references) == [("O2", "orphan_customer_id")]
    shop.con.execute("insert into clean.preferences (customer_id, luxury_score) values ('C1', 1.5), ('C2', 'nan')")
    assert sorted(shop.rows(contract_check_query("preferences"))) == [
        ("C1", "out_of_range_luxury_score"), ("C2", "out_of_range_luxury_score")
    ]  # fmt: skip


def test_checks_of_the_accounting_fail_when_rows_vanish(shop: Shop) -> None:
    counts = {**shop.give("orders", order("O1"), order("O2", status="odd")).clean(),
              "contacts": TableCounts(0, 0, 0, 0)}  # fmt: skip
    write_row_accounting(shop.con, counts)
    paths = ["row_accounting/adds_up", "row_accounting/one_row_per_table", "row_accounting/most_rows_are_clean",
             "row_accounting/counts_match", "rejected_rows/says_why", "repairs/changes_something"]  # fmt: skip
    assert [_run(shop, f"quality/{path}.sql") for path in paths] == [[]] * len(paths)
    shop.con.execute("update quality.row_accounting set raw_rows = 3 where table_name = 'orders'")
    assert _run(shop, "quality/row_accounting/adds_up.sql") == [("orders", 3, 1, 1)]
    shop.con.execute("update quality.row_accounting set raw_rows = 3, rejected_rows = 2 where table_name = 'orders'")
    assert _run(shop, "quality/row_accounting/most_rows_are_clean.sql") == [("orders", 2, 3)]
    assert _run(shop, "quality/row_accounting/counts_match.sql") == [("orders", 2, 1)]
    shop.con.execute("delete from quality.row_accounting where table_name = 'reviews'")
    assert _run(shop, "quality/row_accounting/one_row_per_table.sql") == [("fewer than 19 tables",)]
    shop.con.execute("update quality.rejected_rows set detail = null")
    assert _run(shop, "quality/rejected_rows/says_why.sql") == [("orders", "O2", "unknown_value")]
    shop.con.execute("insert into quality.repairs values ('orders', 'O1', 'channel', 'trimmed', 'web', 'web')")
    assert _run(shop, "quality/repairs/changes_something.sql") == [("orders", "O1", "channel")]


def test_checks_of_clean_tables_warn_of_what_cannot_be_decided(shop: Shop) -> None:
    shop.give("orders", order(status="cancelled"))
    shop.give("order_items", {"order_item_id": "L1", "order_id": "O1", "quantity": "2", "unit_price": "1"})
    shop.give("returns", {"return_id": "R1", "order_item_id": "L1", "quantity": "2"}).clean()
    paths = ["returns/more_than_bought_in_all", "order_items/has_an_amount"]
    assert [_run(shop, f"clean/{path}.sql") for path in paths] == [[], []]
    assert _run(shop, "clean/orders/has_sales.sql") == [("every order", 1)]
    shop.give("returns", {"return_id": "R2", "order_item_id": "L1", "quantity": "1"})
    shop.give("order_items", {"order_item_id": "L2", "order_id": "O1", "quantity": "2"}).clean()
    assert _run(shop, "clean/returns/more_than_bought_in_all.sql") == [("L1", Decimal("2.000"), Decimal("3.000"))]
    assert _run(shop, "clean/order_items/has_an_amount.sql") == [("L2",)]
