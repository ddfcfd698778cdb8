"""The feature tables of the hand-made shop, figure by figure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation_assets.sources.contract import CONTRACT
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model, load_models
from segmentation_assets.warehouse.tables import describe

AS_OF = date(2024, 6, 30)
Builder = Callable[..., None]


def _one(con: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    (row,) = con.execute(query).fetchall()
    return row


def _customer(con: duckdb.DuckDBPyConnection, customer: str, *columns: str) -> tuple[Any, ...]:
    return _one(con, f"select {', '.join(columns)} from features.customer_features where customer_id = '{customer}'")


def test_order_lines_are_the_lines_of_sales_up_to_the_as_of_date(shop: duckdb.DuckDBPyConnection) -> None:
    rows = shop.execute(
        "select order_item_id, gross_amount, discount_amount, net_amount, unit_price from features.order_lines "
        "order by 1"
    ).fetchall()
    assert rows == [
        ("L1", Decimal(20), Decimal(2), Decimal(18), Decimal(10)),
        ("L2", Decimal(5), Decimal(0), Decimal(5), Decimal(5)),
        ("L3", Decimal("9.99"), Decimal(0), Decimal("9.99"), Decimal("9.99")),  # the line amount wins
        ("L4", Decimal(18), Decimal(0), Decimal(18), Decimal(6)),
        ("L5", Decimal(7), Decimal(0), Decimal(7), Decimal(7)),  # 23:59 of the as-of date is in
        ("L7", Decimal(4), Decimal(0), Decimal(4), Decimal(4)),
    ]


def test_season_week_and_weekend_follow_the_calendar(shop: duckdb.DuckDBPyConnection) -> None:
    rows = shop.execute(
        "select distinct order_id, season, month, week_of_month, is_weekend from features.order_lines order by 1"
    ).fetchall()
    assert rows == [
        ("O1", "spring", 3, 1, False),  # Monday
        ("O2", "summer", 6, 3, True),  # Saturday, the 15th
        ("O3", "summer", 6, 5, True),  # Sunday, the 30th
        ("O5", "winter", 12, 2, True),  # Sunday, the 10th
    ]


def test_an_order_in_several_campaigns_takes_the_latest_contact_and_keeps_its_lines(
    shop: duckdb.DuckDBPyConnection,
) -> None:
    rows = shop.execute(
        "select order_item_id, campaign_id, is_campaign from features.order_lines where order_id in ('O1', 'O2') "
        "order by 1"
    ).fetchall()
    assert rows == [("L1", "K2", True), ("L2", "K2", True), ("L3", None, False), ("L4", None, False)]


def test_returns_count_from_the_day_they_came_back_and_never_beyond_the_sale(
    shop: duckdb.DuckDBPyConnection,
) -> None:
    rows = shop.execute(
        "select order_item_id, returned_quantity, returned_amount from features.order_lines "
        "where returned_quantity > 0 order by 1"
    ).fetchall()
    assert rows == [("L4", Decimal(1), Decimal(6)), ("L7", Decimal(1), Decimal(4))]


def test_price_level_is_the_price_over_the_typical_price_of_the_category(shop: duckdb.DuckDBPyConnection) -> None:
    rows = shop.execute("select order_item_id, price_level from features.order_lines order by 1").fetchall()
    assert rows == [
        ("L1", 0.666667),  # the median list price of the two coffees sold is 15
        ("L2", 1.0),  # tea has no list price: the price paid
        ("L3", 0.666),
        ("L4", 0.4),
        ("L5", 1.272727),  # unknown category: 7 and 4 were paid
        ("L7", 0.727273),
    ]


def test_customers_are_those_known_by_the_as_of_date(shop: duckdb.DuckDBPyConnection) -> None:
    found = shop.execute("select customer_id from features.customer_features order by 1").fetchall()
    assert [row[0] for row in found] == ["anna", "ben", "cara", "eve", "fay"]  # dan signed up later


def test_worth_and_life_cycle_of_a_buyer(shop: duckdb.DuckDBPyConnection) -> None:
    assert _customer(
        shop, "anna", "is_buyer", "recency_days", "order_count", "line_count", "monetary_amount",
        "average_order_amount", "tenure_days", "first_order_on", "last_order_on",
    ) == (True, 0.0, 3, 5, Decimal("57.99"), Decimal("19.33"), 546.0, date(2024, 3, 4), date(2024, 6, 30))  # fmt: skip
    assert _customer(
        shop, "anna", "days_between_orders", "days_between_orders_deviation", "return_share", "discount_share",
        "coupon_order_share", "campaign_order_count", "campaign_order_share", "price_level",
        "orders_last_90_days", "monetary_last_90_days", "never_bought",
    ) == (59.0, 62.225397, 0.125, 0.033339, 0.333333, 1, 0.333333, 0.801079, 2, Decimal("34.99"), False)  # fmt: skip


def test_taste_and_timing_of_a_buyer(shop: duckdb.DuckDBPyConnection) -> None:
    assert _customer(
        shop, "anna", "category_count", "favourite_category", "favourite_category_share", "favourite_brand",
        "favourite_brand_share", "favourite_channel", "favourite_channel_share",
    ) == (2, "Coffee", 0.6, "Alba", 0.6, "web", 0.6)  # fmt: skip
    (categories, brands, channels) = _customer(shop, "anna", "category_shares", "brand_shares", "channel_shares")
    assert list(categories.items()) == [("Coffee", 0.6), ("unknown", 0.2), ("Tea", 0.2)]  # 7.00 before 5.00
    assert list(brands.items()) == [("Alba", 0.6), ("Borg", 0.2), ("unknown", 0.2)]
    assert list(channels.items()) == [("web", 0.6), ("app", 0.4)]
    assert _customer(
        shop, "anna", "spring_share", "summer_share", "autumn_share", "winter_share", "favourite_month",
        "week_of_month_1_share", "week_of_month_3_share", "week_of_month_5_share", "weekend_share",
    ) == (0.4, 0.6, 0.0, 0.0, 6, 0.4, 0.4, 0.2, 0.6)  # fmt: skip


def test_a_single_order_says_nothing_of_rhythm_and_an_unknown_category_is_no_favourite(
    shop: duckdb.DuckDBPyConnection,
) -> None:
    assert _customer(
        shop, "ben", "order_count", "days_between_orders", "days_between_orders_deviation", "return_share",
        "favourite_category", "favourite_category_share", "favourite_channel", "category_count", "loyalty_tier",
    ) == (1, None, None, 1.0, "Tea", None, "unknown", 0, "none")  # fmt: skip
    (categories,) = _customer(shop, "ben", "category_shares")
    assert categories == {"unknown": 1.0}


def test_who_never_bought_has_counts_of_nought_and_unknown_shares(shop: duckdb.DuckDBPyConnection) -> None:
    assert _customer(
        shop, "cara", "is_buyer", "never_bought", "order_count", "monetary_amount", "recency_days", "return_share",
        "favourite_category", "category_shares", "spring_share", "event_count", "view_count", "add_to_cart_count",
        "search_count", "events_last_90_days", "days_since_event", "education", "education_rank",
    ) == (
        False, True, 0, Decimal(0), None, None, "unknown", {}, None, 3, 1, 1, 1, 2, 1.0, "master", 4,
    )  # fmt: skip
    assert _customer(shop, "fay", "never_bought", "order_count") == (True, 0)  # a cancelled order is no sale


def test_attributes_stand_in_where_there_are_no_orders_and_only_there(shop: duckdb.DuckDBPyConnection) -> None:
    columns = ("is_buyer", "recency_days", "order_count", "monetary_amount", "return_share", "tenure_days")
    assert _customer(shop, "eve", *columns) == (True, 12.0, 3, Decimal(90), 0.25, 400.0)
    assert _customer(shop, "eve", "average_order_amount", "line_count") == (Decimal(30), 0)  # from the two given
    assert _customer(shop, "anna", *columns)[:4] == (True, 0.0, 3, Decimal("57.99"))


def test_a_campaign_counts_once_and_a_control_customer_did_not_respond(shop: duckdb.DuckDBPyConnection) -> None:
    columns = (
        "campaigns_received", "campaign_open_count", "campaign_click_count", "campaign_conversion_count",
        "campaign_response_share",
    )  # fmt: skip
    assert _customer(shop, "anna", *columns) == (2, 2, 1, 0, 1.0)
    assert _customer(shop, "ben", *columns) == (1, 0, 0, 0, 0.0)
    assert _customer(shop, "cara", *columns) == (1, 0, 0, 0, 0.0)
    assert _customer(shop, "eve", *columns) == (0, 0, 0, 0, None)


def test_reachable_needs_consent_in_force_an_address_of_ones_own_and_no_minor(
    shop: duckdb.DuckDBPyConnection,
) -> None:
    rows = shop.execute(
        "select customer_id, has_consent, has_valid_email, is_minor, is_age_known, is_adult, is_reachable "
        "from features.reachability order by 1"
    ).fetchall()
    assert rows == [
        ("anna", True, True, False, True, True, True),
        ("ben", True, True, False, False, False, False),  # another customer has the address
        ("cara", True, True, True, True, False, False),  # 17 by birth year
        ("eve", False, True, False, True, True, False),  # consent came after the as-of date
        ("fay", False, True, False, True, True, False),  # unsubscribed
    ]


@pytest.mark.parametrize("is_minor", [False, True])
def test_what_an_unknown_age_counts_as_is_a_setting(shop: duckdb.DuckDBPyConnection, is_minor: bool) -> None:
    shop.execute("update clean.customers set birth_year = null where customer_id = 'anna'")
    shop.execute("update features.age_rule set unknown_age_is_minor = ?", [is_minor])
    model = load_model(SQL_ROOT / "features" / "reachability.sql")
    row = shop.execute(
        f"select is_minor, is_adult, is_reachable from ({model.query}) where customer_id = 'anna'", {"as_of": AS_OF}
    ).fetchall()
    assert row == [(is_minor, False, not is_minor)]


@pytest.mark.parametrize(("birth_year", "is_minor"), [(2005, False), (2006, True), (2010, True)])
def test_a_minor_by_birth_year_is_eighteen_or_less(
    shop: duckdb.DuckDBPyConnection, birth_year: int, is_minor: bool
) -> None:
    shop.execute("update clean.customers set birth_year = ? where customer_id = 'anna'", [birth_year])
    model = load_model(SQL_ROOT / "features" / "reachability.sql")
    row = shop.execute(
        f"select is_minor, is_reachable from ({model.query}) where customer_id = 'anna'", {"as_of": AS_OF}
    ).fetchall()
    assert row == [(is_minor, not is_minor)]


def test_spend_by_value_counts_an_order_once_per_category(shop: duckdb.DuckDBPyConnection) -> None:
    assert shop.execute("select * from features.spend_by_value").fetchall() == [
        ("category", "Coffee", 1, 2, 3, Decimal(6), Decimal("45.99"), 0.741894),
        ("category", "unknown", 2, 2, 2, Decimal(2), Decimal(11), 0.177448),
        ("category", "Tea", 1, 1, 1, Decimal(1), Decimal(5), 0.080658),
        ("channel", "web", 1, 2, 3, Decimal(4), Decimal(30), 0.483949),
        ("channel", "app", 1, 1, 2, Decimal(4), Decimal("27.99"), 0.451524),
        ("channel", "unknown", 1, 1, 1, Decimal(1), Decimal(4), 0.064527),
    ]


def test_every_column_has_a_description_and_no_text_describes_a_column_that_is_gone(
    shop: duckdb.DuckDBPyConnection,
) -> None:
    known = {column.name for table in CONTRACT.values() for column in table.columns}
    for model in load_models("features"):
        columns = {column.name for column in describe(shop, model.name)}
        assert columns - known - set(model.columns) == set(), model.name
        assert set(model.columns) - columns == set(), model.name
        assert {part.strip() for part in model.facts["grain"].split(",")} <= columns, model.name


def test_the_same_tables_come_from_any_order_of_rows(
    clean_tables: Builder, features_of: Builder, shop: duckdb.DuckDBPyConnection
) -> None:
    features_of(shop)
    queries = {
        model.name: f"select * from {model.name.replace('/', '.')} order by all" for model in load_models("features")
    }
    before = {name: shop.execute(query).fetchall() for name, query in queries.items()}
    for table in ("order_items", "orders", "campaign_contacts", "product_events", "customers", "products"):
        shop.execute(f"create or replace table clean.{table} as select * from clean.{table} order by rowid desc")
    features_of(shop)
    assert {name: shop.execute(query).fetchall() for name, query in queries.items()} == before


def test_empty_tables_give_empty_features_with_all_their_columns(
    clean_tables: Builder, features_of: Builder, shop: duckdb.DuckDBPyConnection
) -> None:
    columns = [(column.name, column.sql_type) for column in describe(shop, "features/customer_features")]
    with duckdb.connect(":memory:") as con:
        clean_tables(con)
        features_of(con, AS_OF)
        for model in load_models("features"):
            assert _one(con, f"select count(*) from {model.name.replace('/', '.')}") == (0,), model.name
        assert [(c.name, c.sql_type) for c in describe(con, "features/customer_features")] == columns


_MONEY = st.decimals(min_value=0, max_value=9999, places=4)
_LINE = st.tuples(
    st.integers(0, 4),  # order
    st.decimals(min_value=Decimal("0.001"), max_value=500, places=3),
    _MONEY,
    st.none() | _MONEY,
    st.none() | _MONEY,
)


@given(
    lines=st.lists(_LINE, max_size=12),
    statuses=st.lists(
        st.sampled_from(["completed", "shipped", "processing", "cancelled", "returned"]), min_size=5, max_size=5
    ),
    late=st.lists(st.booleans(), min_size=5, max_size=5),
)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_money_is_the_sum_of_sold_lines_whatever_their_amounts(
    clean_tables: Builder,
    features_of: Builder,
    lines: list[tuple[int, Decimal, Decimal, Decimal | None, Decimal | None]],
    statuses: list[str],
    late: list[bool],
) -> None:
    with duckdb.connect(":memory:", config={"threads": 1}) as con:
        clean_tables(con)
        con.execute("insert into clean.customers (customer_id) values ('a'), ('b')")
        con.executemany(
            "insert into clean.orders (order_id, customer_id, ordered_at, status) values (?, ?, ?, ?)",
            [
                (str(i), "ab"[i % 2], "2024-07-01" if late[i] else "2024-06-30 12:00", status)
                for i, status in enumerate(statuses)
            ],
        )
        for i, (order, quantity, price, discount, amount) in enumerate(lines):
            con.execute(
                "insert into clean.order_items values (?, ?, null, ?, ?, ?, ?)",
                [str(i), str(order), quantity, price, discount, amount],
            )
        features_of(con, AS_OF)
        cent = Decimal("0.0001")
        expected = sum(
            (
                amount
                if amount is not None
                # Exact: at most seven decimals, rounded half away from nought as the engine does.
                else (quantity * price - (discount or 0)).quantize(cent, rounding="ROUND_HALF_UP")
            )
            for order, quantity, price, discount, amount in lines
            if statuses[order] in ("completed", "shipped", "processing") and not late[order]
        )
        assert _one(con, "select coalesce(sum(net_amount), 0) from features.order_lines") == (expected,)
        assert _one(con, "select sum(monetary_amount) from features.customer_features") == (expected,)
        assert _one(
            con, "select coalesce(sum(net_amount), 0) from features.spend_by_value where dimension = 'category'"
        ) == (expected,)


def test_sensitive_goods_are_sales_but_no_taste(
    clean_tables: Callable[..., None], features_of: Callable[..., None]
) -> None:
    with duckdb.connect(":memory:") as con:
        clean_tables(con)
        con.execute("insert into clean.customers (customer_id) values ('c')")
        con.execute(
            "insert into clean.products (product_id, category, brand) values ('p', 'Tests', 'A'), ('q', 'Tea', 'B')"
        )
        con.execute("insert into features.product_guards values ('p', true, false), ('q', false, false)")
        con.execute("insert into clean.preferences (customer_id, favourite_category) values ('c', 'Tests')")
        con.execute(
            "insert into clean.orders (order_id, customer_id, ordered_at, status) "
            "values ('o', 'c', '2024-01-01', 'completed')"
        )
        con.execute(
            "insert into clean.order_items (order_item_id, order_id, product_id, quantity, line_amount) "
            "values ('1', 'o', 'p', 1, 90), ('2', 'o', 'p', 1, 5), ('3', 'o', 'q', 1, 5)"
        )
        features_of(con)
        shares = con.execute(
            "select value, line_count, product_count from features.customer_shares "
            "where dimension = 'category' order by 1"
        ).fetchall()
        assert shares == [("Tea", 1, 1), ("unknown", 2, 1)]
        assert con.execute("select monetary_amount, favourite_category from features.customer_features").fetchall() == [
            (100, "Tea")
        ]
        con.execute("delete from clean.order_items")
        features_of(con)
        assert con.execute("select favourite_category from features.customer_features").fetchall() == [("unknown",)]
