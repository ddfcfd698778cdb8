"""Built as of a day, the features know nothing of what came after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date

import duckdb
import pytest

from segmentation_assets.warehouse.sql_models import load_models

Builder = Callable[..., None]

# A shop of 80 customers over two years, spread by a fixed hash so that every table has rows before and after each day.
_RANDOM_SHOP = """
create macro pick(i, salt, n) as cast(hash(i * 31 + salt) % n as integer);
insert into clean.customers (customer_id, birth_year, signed_up_at, email_consent, email_consent_at)
    select 'c' || i, 1960 + pick(i, 1, 50), timestamp '2023-01-01' + interval (pick(i, 2, 500)) day, true,
        timestamp '2023-01-01' + interval (pick(i, 3, 700)) day
    from range(80) t(i);
insert into clean.contact_flags select customer_id, true, true, false from clean.customers;
insert into clean.products (product_id, category, brand, list_price)
    select 'p' || i, 'category ' || i % 4, 'brand ' || i % 13, case when i % 3 > 0 then 5 + i end
    from range(30) t(i);
insert into clean.orders (order_id, customer_id, channel, ordered_at, status, coupon_code)
    select 'o' || i, 'c' || pick(i, 4, 60), ['web', 'app', 'store'][1 + pick(i, 5, 3)],
        timestamp '2023-01-01 08:00' + interval (pick(i, 6, 720)) day,
        ['completed', 'completed', 'shipped', 'cancelled'][1 + pick(i, 7, 4)],
        case when pick(i, 8, 4) = 0 then 'SAVE' end
    from range(400) t(i);
insert into clean.order_items (order_item_id, order_id, product_id, quantity, unit_price, discount_amount)
    select 'l' || i, 'o' || i % 400, 'p' || pick(i, 9, 30), 1 + pick(i, 10, 3), 4 + pick(i, 11, 40), pick(i, 12, 3)
    from range(900) t(i);
insert into clean.returns (return_id, order_item_id, returned_at, quantity)
    select 'r' || i, 'l' || i, o.ordered_at + interval (pick(i, 13, 120)) day, 1
    from range(0, 900, 7) t(i)
    join clean.order_items l on l.order_item_id = 'l' || i join clean.orders o on o.order_id = l.order_id;
insert into clean.campaigns (campaign_id, starts_on, ends_on)
    select 'k' || i, date '2023-02-01' + cast(i * 75 as integer), date '2023-02-21' + cast(i * 75 as integer)
    from range(9) t(i);
insert into clean.campaign_contacts (campaign_id, customer_id, arm, contacted_at)
    select k.campaign_id, 'c' || i, case when pick(i, 14, 5) = 0 then 'control' else 'treated' end,
        case when pick(i, 14, 5) > 0 then k.starts_on + interval (pick(i, 15, 3)) day end
    from clean.campaigns k, range(80) t(i);
insert into clean.campaign_responses (response_id, campaign_id, customer_id, kind, occurred_at)
    select 'a' || row_number() over (), campaign_id, customer_id,
        ['open', 'click', 'conversion', 'unsubscribe'][1 + cast(hash(customer_id || campaign_id) % 4 as integer)],
        contacted_at + interval 5 day
    from clean.campaign_contacts where contacted_at is not null and hash(campaign_id || customer_id) % 5 < 2;
insert into clean.product_events (event_id, customer_id, occurred_at, action)
    select 'e' || i, 'c' || pick(i, 16, 80), timestamp '2023-01-01' + interval (pick(i, 17, 720)) day,
        ['view', 'search', 'add_to_cart', 'wishlist'][1 + pick(i, 18, 4)]
    from range(600) t(i);
insert into clean.loyalty_memberships (customer_id, tier, points, joined_on)
    select 'c' || i, 'gold', i, date '2023-01-01' + pick(i, 19, 720) from range(0, 80, 2) t(i);
"""

# Forgets everything that happened after a day: what the shop would have held that evening.
_FORGET = """
delete from clean.orders where cast(ordered_at as date) > {day};
delete from clean.order_items where order_id not in (select order_id from clean.orders);
delete from clean.returns where cast(returned_at as date) > {day}
    or order_item_id not in (select order_item_id from clean.order_items);
delete from clean.campaign_responses where cast(occurred_at as date) > {day};
delete from clean.campaign_contacts where coalesce(cast(contacted_at as date), date '2023-01-01') > {day};
delete from clean.campaign_contacts where contacted_at is null
    and campaign_id in (select campaign_id from clean.campaigns where starts_on > {day});
delete from clean.campaigns where starts_on > {day};
delete from clean.product_events where cast(occurred_at as date) > {day};
delete from clean.loyalty_memberships where joined_on > {day};
update clean.customers set email_consent = false, email_consent_at = null
    where cast(email_consent_at as date) > {day};
delete from clean.customers where cast(signed_up_at as date) > {day} and customer_id not in
    (select customer_id from clean.orders where status in ('completed', 'shipped', 'processing'));
"""


@pytest.fixture(scope="module")
def busy_shop(clean_tables: Builder) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:", config={"threads": 1}) as con:
        clean_tables(con)
        con.execute(_RANDOM_SHOP)
        yield con


def _tables(con: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[object, ...]]]:
    return {
        model.name: con.execute(f"select * from {model.name.replace('/', '.')} order by all").fetchall()
        for model in load_models("features")
    }


@pytest.mark.parametrize("as_of", [date(2023, 4, 1), date(2024, 1, 15), date(2024, 11, 30)])
def test_features_as_of_a_day_equal_those_of_a_shop_that_knows_no_later_day(
    busy_shop: duckdb.DuckDBPyConnection, features_of: Builder, as_of: date
) -> None:
    features_of(busy_shop, as_of)
    with_the_future = _tables(busy_shop)
    busy_shop.execute("begin")
    try:
        rows = busy_shop.execute("select count(*) from clean.product_events").fetchall()
        busy_shop.execute(_FORGET.format(day=f"date '{as_of}'"))
        assert busy_shop.execute("select count(*) from clean.product_events").fetchall() != rows
        features_of(busy_shop, as_of)
        without_it = _tables(busy_shop)
    finally:
        busy_shop.execute("rollback")
    for name, found in with_the_future.items():
        assert found == without_it[name], name
    assert len(with_the_future["features/order_lines"]) > 50


def test_a_later_day_knows_more(busy_shop: duckdb.DuckDBPyConnection, features_of: Builder) -> None:
    features_of(busy_shop, date(2023, 6, 1))
    early = _tables(busy_shop)
    features_of(busy_shop, date(2024, 6, 1))
    late = _tables(busy_shop)
    for name in ("features/order_lines", "features/reachability", "features/customer_features"):
        assert len(early[name]) < len(late[name])
