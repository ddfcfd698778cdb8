"""What is read of purchases: where each window begins and ends, what is first, what came back, and what is left out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import duckdb
import pytest

from segmentation_assets.defs.purchases import bought_in, events_of, history_of, sent_back_whole

AS_OF = dt.date(2024, 6, 30)


@pytest.fixture
def shop() -> Iterator[duckdb.DuckDBPyConnection]:
    """A bought on both sides of each window; P9 is sensitive; L3 came back 95 days ago, L4 50 days ago."""
    con = duckdb.connect()
    con.execute("""
        create schema features; create schema campaigns; create schema clean;
        create table features.order_lines as select i as order_item_id, c as customer_id, p as product_id,
            date '2024-06-30' - cast(d as integer) as ordered_on
        from (values ('L0', 'A', 'P0', 181), ('L1', 'A', 'P1', 180), ('L2', 'A', 'P2', 179), ('L3', 'A', 'P3', 100),
            ('L4', 'A', 'P5', 90), ('L5', 'A', 'P5', 89), ('L6', 'A', 'P4', 0), ('L7', 'A', 'P9', 10),
            ('L8', 'N', 'P0', 5), ('L9', 'A', 'P1', 90)) t(i, c, p, d);
        create table campaigns.customer_activity as select w as windows_ago, c as customer_id, 'T1' as taste_segment_id
            from (values (0, 'A'), (1, 'A'), (2, 'A'), (0, 'N')) t(w, c);
        create table campaigns.product_traits as select 'P' || i as product_id, 'K' as category, i = 9 as is_sensitive
            from (values (0), (1), (2), (3), (4), (5), (9)) t(i);
        create table clean.returns as select i as order_item_id, timestamp '2024-06-30' - to_days(d) as returned_at
            from (values ('L3', 95), ('L4', 50)) t(i, d);
        create table clean.orders as select 'O1' as order_id, 'A' as customer_id, 'returned' as status,
            timestamp '2024-06-01 10:00' as ordered_at union all select 'O2', 'A', 'cancelled', timestamp '2024-06-01';
        create table clean.order_items as select 'O1' as order_id, 'P2' as product_id union all select 'O2', 'P3';
    """)
    yield con
    con.close()


@pytest.mark.parametrize(("ago", "bought"), [(1, [4, 5]), (2, [1, 2, 3, 5])])
def test_a_window_ends_on_its_last_day_and_leaves_the_day_before_it_to_the_past(
    shop: duckdb.DuckDBPyConnection, ago: int, bought: list[int]
) -> None:
    # 90 days ago is the last day of window 2, 180 days ago is before it; a customer unknown then is in none.
    customer, product = bought_in(shop, AS_OF, ago)
    assert customer.tolist() == [0] * len(bought) and product.tolist() == bought


@pytest.mark.parametrize(
    ("ago", "products", "age", "returned"),
    [
        (0, [0, 1, 2, 3, 4, 5], [181, 90, 179, 100, 0, 89], [False, False, False, True, False, True]),
        (1, [0, 1, 2, 3, 5], [91, 0, 89, 10, 0], [False, False, False, True, False]),
        (2, [0, 1], [1, 0], [False, False]),
    ],
)
def test_a_history_ends_where_its_window_begins_and_knows_no_later_return(
    shop: duckdb.DuckDBPyConnection, ago: int, products: list[int], age: list[int], returned: list[bool]
) -> None:
    history = history_of(shop, AS_OF, ago).history
    own = history.customer == 0
    assert history.product[own].tolist() == products
    assert (history.age_days[own].tolist(), history.returned[own].tolist()) == (age, returned)


def test_a_purchase_is_first_when_the_customer_had_not_bought_the_product_before_the_window(
    shop: duckdb.DuckDBPyConnection,
) -> None:
    assert events_of(shop, AS_OF).rows() == [("A", "P4", True), ("A", "P5", False)]


def test_only_orders_that_came_back_whole_are_sent_back_whole(shop: duckdb.DuckDBPyConnection) -> None:
    customer, product = sent_back_whole(shop, AS_OF)
    assert (customer.tolist(), product.tolist()) == ([0], [2])
