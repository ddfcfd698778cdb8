"""The shop of an earlier day is what it was that evening, nothing is written, and what came after it adds up."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.sources.contract import CONTRACT, WAREHOUSE_TABLES
from segmentation_assets.warehouse.as_of import (
    FEATURE_MODELS,
    PastDayError,
    features_as_of,
    history_reason,
    outcome_frame,
    past_day,
    read_table,
)
from segmentation_assets.warehouse.connection import Engine, connect, quote
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model
from segmentation_assets.warehouse.tables import create_from_query

AS_OF = date(2024, 12, 31)
ONE_THREAD = Engine(threads=1)

#: 60 customers and 300 orders over two years, spread by a fixed hash.
_SHOP = """
create macro pick(i, salt, n) as cast(hash(i * 31 + salt) % n as integer);
insert into clean.customers (customer_id, signed_up_at, email_consent)
    select 'c' || i, timestamp '2023-01-01' + interval (pick(i, 2, 500)) day, true from range(60) t(i);
insert into clean.contact_flags select customer_id, true, true, false from clean.customers;
insert into clean.products (product_id, category, brand, list_price)
    select 'p' || i, 'category ' || i % 4, 'brand ' || i % 3, 5 + i from range(12) t(i);
insert into features.product_guards select product_id, category = 'category 3', false from clean.products;
insert into clean.orders (order_id, customer_id, channel, ordered_at, status)
    select 'o' || i, 'c' || pick(i, 4, 50), 'web', timestamp '2023-01-01 08:00' + interval (pick(i, 6, 730)) day,
        ['completed', 'shipped', 'cancelled'][1 + pick(i, 7, 3)]
    from range(300) t(i);
insert into clean.order_items (order_item_id, order_id, product_id, quantity, unit_price)
    select 'l' || i, 'o' || i % 300, 'p' || pick(i, 9, 12), 1 + pick(i, 10, 3), 4 + pick(i, 11, 40)
    from range(600) t(i);
drop macro pick;
"""

#: Five customers whose outcomes are reckoned by hand; the cut-off of the tests is 31 March 2024.
_BY_HAND = """
insert into clean.customers (customer_id, signed_up_at) values
    ('anna', timestamp '2023-01-01'), ('ben', timestamp '2023-01-01'), ('cara', timestamp '2023-01-01'),
    ('dan', timestamp '2023-01-01'), ('eve', timestamp '2024-05-01');
insert into clean.contact_flags select customer_id, true, true, false from clean.customers;
insert into clean.products (product_id, category) values
    ('P1', 'Coffee'), ('P2', 'Tea'), ('P3', 'Health'), ('P4', null);
insert into features.product_guards values ('P1', false, false), ('P2', false, false), ('P3', true, false);
insert into clean.orders (order_id, customer_id, ordered_at, status) values
    ('O0', 'anna', timestamp '2024-01-05 09:00', 'completed'),
    ('O1', 'anna', timestamp '2024-03-31 23:59', 'completed'),
    ('O2', 'anna', timestamp '2024-04-01 00:00', 'completed'),
    ('O3', 'anna', timestamp '2024-06-29 23:59', 'shipped'),
    ('O4', 'anna', timestamp '2024-06-30 00:00', 'completed'),
    ('O5', 'ben', timestamp '2024-05-01 09:00', 'cancelled'),
    ('O6', 'cara', timestamp '2024-04-02 09:00', 'completed'),
    ('O7', 'cara', timestamp '2024-04-20 09:00', 'completed'),
    ('O8', 'dan', timestamp '2024-04-02 09:00', 'completed'),
    ('O9', 'eve', timestamp '2024-05-02 09:00', 'completed');
insert into clean.order_items (order_item_id, order_id, product_id, quantity, unit_price, discount_amount) values
    ('L0', 'O0', 'P1', 1, 9, null), ('L1', 'O1', 'P1', 1, 100, null),
    ('L2', 'O2', 'P1', 2, 3, 1), ('L3', 'O2', 'P2', 1, 4, null), ('L4', 'O3', 'P2', 1, 50, null),
    ('L5', 'O4', 'P2', 1, 900, null), ('L6', 'O5', 'P1', 1, 10, null),
    ('L7', 'O6', 'P3', 1, 10, null), ('L8', 'O7', 'P1', 1, 10, null),
    ('L9', 'O8', 'P2', 1, 5, null), ('L10', 'O8', 'P1', 1, 5, null), ('L11', 'O8', 'P4', 1, 99, null),
    ('L12', 'O9', 'P1', 1, 7, null);
"""

CUTOFF = date(2024, 3, 31)


def _make(path: Path, rows: str, as_of: date = AS_OF) -> Path:
    """A warehouse with the clean tables, filled, and the features of `as_of`."""
    with connect(path, engine=ONE_THREAD) as con:
        con.execute("create schema clean; create schema features")
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
        con.execute(rows)
        for name in FEATURE_MODELS:
            model = load_model(SQL_ROOT / f"{name}.sql")
            create_from_query(con, name, model.query, {"as_of": as_of} if model.needs_as_of else None)
    return path


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make(tmp_path_factory.mktemp("as_of") / "warehouse.duckdb", _SHOP)


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make(tmp_path_factory.mktemp("as_of") / "warehouse.duckdb", _BY_HAND)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make(tmp_path_factory.mktemp("as_of") / "warehouse.duckdb", "")


def test_tables_of_a_past_day_equal_those_of_a_shop_that_never_knew_what_came_after(shop: Path, tmp_path: Path) -> None:
    cutoff = date(2024, 2, 10)
    forget = (
        f"{_SHOP} delete from clean.orders where cast(ordered_at as date) > date '{cutoff}'; "
        "delete from clean.order_items where order_id not in (select order_id from clean.orders);"
    )
    ignorant = _make(tmp_path / "warehouse.duckdb", forget, cutoff)
    found = features_as_of(shop, cutoff, engine=ONE_THREAD)
    with connect(ignorant, read_only=True, engine=ONE_THREAD) as con:
        for name, frame in found.items():
            assert frame.equals(read_table(con, name)), name
    assert found["features/order_lines"].height > 100
    assert found["features/customer_features"]["order_count"].sum() > 50


def test_nothing_is_written_to_the_warehouse(shop: Path) -> None:
    before = hashlib.sha256(shop.read_bytes()).hexdigest(), sorted(shop.parent.iterdir())
    features_as_of(shop, date(2024, 2, 10), engine=ONE_THREAD)
    assert (hashlib.sha256(shop.read_bytes()).hexdigest(), sorted(shop.parent.iterdir())) == before


def test_figures_without_a_day_do_not_enter_the_past(tmp_path: Path) -> None:
    today = (
        f"{_BY_HAND} insert into clean.customer_attributes (customer_id, recency_days, order_count, monetary_amount) "
        "values ('ben', 3, 40, 4000);"
    )
    path = _make(tmp_path / "warehouse.duckdb", today)
    with connect(path, read_only=True, engine=ONE_THREAD) as con:
        assert con.execute(
            "select order_count from features.customer_features where customer_id = 'ben'"
        ).fetchall() == [(40,)]
    past = features_as_of(
        path, CUTOFF, read={"features/customer_features": ["customer_id", "order_count", "is_buyer"]}, engine=ONE_THREAD
    )["features/customer_features"]
    assert past.columns == ["customer_id", "order_count", "is_buyer"]
    assert past.filter(pl.col("customer_id") == "ben").row(0) == ("ben", 0, False)


def test_outcomes_count_from_the_day_after_the_cutoff_to_the_last_day_of_the_window(by_hand: Path) -> None:
    with past_day(by_hand, CUTOFF, engine=ONE_THREAD) as con:
        found = outcome_frame(con, CUTOFF, 90)
    # eve signed up later and is not known yet; ben's order was cancelled; the first goods of cara are sensitive, so no
    # later day speaks for them; dan spent the same on two categories and most on goods without one.
    assert found.rows() == [
        ("anna", 5.0 + 4.0 + 50.0, 2, "Coffee"),
        ("ben", 0.0, 0, None),
        ("cara", 20.0, 2, None),
        ("dan", 109.0, 1, "Coffee"),
    ]


@settings(max_examples=6, deadline=None, derandomize=True)
@given(cutoff=st.dates(date(2022, 12, 1), AS_OF))
def test_money_before_the_cutoff_and_after_it_is_all_the_money_of_who_was_known(shop: Path, cutoff: date) -> None:
    with past_day(shop, cutoff, engine=ONE_THREAD) as con:
        known = read_table(con, "features/customer_features", ["customer_id", "monetary_amount"])
        after = outcome_frame(con, cutoff, (AS_OF - cutoff).days)
        everything = con.sql(
            "select customer_id, sum(net_amount)::double as amount from warehouse.features.order_lines group by all"
        ).pl()
    both = known.join(after, on="customer_id").join(everything, on="customer_id", how="left")
    assert both.height == known.height
    assert (both["monetary_amount"].cast(pl.Float64) + both["next_amount"]).to_list() == pytest.approx(
        both["amount"].fill_null(0.0).to_list()
    )


def test_a_cutoff_before_the_first_order_shows_customers_who_bought_nothing_yet(by_hand: Path) -> None:
    with past_day(by_hand, date(2023, 6, 1), engine=ONE_THREAD) as con:
        customers = read_table(con, "features/customer_features")
        assert customers["is_buyer"].to_list() == [False] * 4
        assert read_table(con, "features/customer_shares").is_empty()
        assert outcome_frame(con, date(2023, 6, 1), 90)["next_amount"].to_list() == [0.0] * 4


def test_models_are_built_in_the_order_they_need_whatever_the_order_they_are_named_in(shop: Path) -> None:
    cutoff = date(2024, 2, 10)
    backwards = features_as_of(shop, cutoff, FEATURE_MODELS[::-1], engine=ONE_THREAD)
    assert list(backwards) == list(FEATURE_MODELS[::-1])
    assert all(frame.equals(backwards[name]) for name, frame in features_as_of(shop, cutoff, engine=ONE_THREAD).items())


def test_the_number_of_threads_changes_nothing(shop: Path) -> None:
    one, two = (features_as_of(shop, date(2024, 2, 10), engine=Engine(threads=threads)) for threads in (1, 2))
    assert all(frame.equals(two[name]) for name, frame in one.items())


def test_a_model_that_reads_what_is_known_today_is_refused(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "value").mkdir()
    (tmp_path / "value" / "worth.sql").write_text("-- Worth.\nselect * from segments.customer_segments\n", "utf-8")
    with (
        pytest.raises(PastDayError) as refused,
        past_day(shop, CUTOFF, ["value/worth"], engine=ONE_THREAD, sql_root=tmp_path),
    ):
        pass
    assert str(refused.value) == (
        "The shop of 2024-03-31 cannot have segments/customer_segments: it is knowledge of today. Name "
        "segments/customer_segments among the models to build as of that day, or leave out the model that reads it."
    )


def test_a_missing_table_is_named_with_what_makes_it(tmp_path: Path) -> None:
    with connect(tmp_path / "warehouse.duckdb") as con:
        con.execute("create schema clean")
    with (
        pytest.raises(PastDayError) as missing,
        past_day(tmp_path / "warehouse.duckdb", CUTOFF, ["features/order_lines"], engine=ONE_THREAD),
    ):
        pass
    assert str(missing.value) == (
        "The shop of 2024-03-31 needs clean.campaign_contacts, which is not in the warehouse. Materialise "
        "clean/campaign_contacts (`segmentation run` makes everything)."
    )


_TWO_DATES = """
insert into clean.customers (customer_id) values ('a');
insert into clean.orders (order_id, customer_id, ordered_at, status) values
    ('O1', 'a', timestamp '2024-12-01', 'completed'), ('O2', 'a', timestamp '2024-12-20', 'completed');
insert into clean.order_items (order_item_id, order_id, quantity, unit_price) values
    ('L1', 'O1', 1, 5), ('L2', 'O2', 1, 5);
"""


def _reason(path: Path, windows: int) -> str:
    with connect(path, read_only=True, engine=ONE_THREAD) as con:
        return history_reason(con, AS_OF, windows=windows)


def test_a_history_of_two_years_is_long_enough_and_too_short_for_more_windows_than_it_has(shop: Path) -> None:
    assert _reason(shop, 1) == ""
    assert _reason(shop, 2) == ""
    assert _reason(shop, 8).endswith(
        "at least 810 are needed: 90 to know the customers by, then 8 x 90 to see what came."
    )


def test_no_orders_and_two_dates_of_orders_are_refused_with_the_numbers(empty: Path, tmp_path: Path) -> None:
    assert _reason(empty, 1) == "There is no sold order up to 2024-12-31; 180 days of them are needed."
    assert _reason(_make(tmp_path / "warehouse.duckdb", _TWO_DATES), 1) == (
        "Sold orders go back 31 days, from 2024-12-01 to the as-of date 2024-12-31 (2 days with orders); at least 180 "
        "are needed: 90 to know the customers by, then 1 x 90 to see what came."
    )


def test_a_window_without_an_order_is_named(by_hand: Path) -> None:
    assert _reason(by_hand, 2) == (
        "No order was sold from 2024-07-05 to 2024-10-02 and none from 2024-10-03 to 2024-12-31 (the last one is of "
        "2024-06-30): there is nothing to judge by."
    )


def test_an_empty_shop_has_an_empty_past(empty: Path) -> None:

    assert all(frame.is_empty() for frame in features_as_of(empty, CUTOFF, engine=ONE_THREAD).values())
    with past_day(empty, CUTOFF, engine=ONE_THREAD) as con:
        assert outcome_frame(con, CUTOFF, 90).columns == ["customer_id", "next_amount", "next_orders", "next_category"]
