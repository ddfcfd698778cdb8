"""What customers bought, as arrays: read from the warehouse for the room merchandising, which opens no file."""

import datetime as dt
from dataclasses import dataclass

import duckdb
import numpy as np
import polars as pl

from segmentation_assets.merchandising.next_best import History
from segmentation_assets.merchandising.plan import RATE_DAYS, UNKNOWN_TASTE

#: Customers and goods by their place in the sorted ids: of a window, and those that may be offered at all.
_CODES = """
people as (
    select customer_id, cast(row_number() over (order by customer_id) - 1 as integer) as customer
    from campaigns.customer_activity
    where windows_ago = $windows_ago
),
goods as (
    select product_id, cast(row_number() over (order by product_id) - 1 as integer) as product
    from campaigns.product_traits
    where not is_sensitive
)
"""


@dataclass(frozen=True)
class Coded:
    """A history with the ids its codes stand for, both sorted."""

    history: History
    customer_ids: pl.Series
    product_ids: pl.Series


def history_of(con: duckdb.DuckDBPyConnection, as_of: dt.date, windows_ago: int) -> Coded:
    """What the customers of campaigns.customer_activity had bought when that window began; 0 is today."""
    people = con.sql(
        "select customer_id, taste_segment_id from campaigns.customer_activity where windows_ago = $windows_ago "
        "order by customer_id",
        params={"windows_ago": windows_ago},
    ).pl()
    goods = con.sql(
        "select product_id, category from campaigns.product_traits where not is_sensitive order by product_id"
    ).pl()
    day = as_of - dt.timedelta(days=RATE_DAYS * windows_ago)
    pairs = con.sql(
        f"""
        with {_CODES},
        returns as (
            select distinct order_item_id
            from clean.returns
            where returned_at is null or cast(returned_at as date) <= $day
        )
        select
            people.customer, goods.product,
            cast(count(distinct lines.ordered_on) as integer) as days,
            cast(date_diff('day', max(lines.ordered_on), $day) as integer) as age_days,
            bool_or(returns.order_item_id is not null) as returned
        from features.order_lines as lines
        inner join people on people.customer_id = lines.customer_id
        inner join goods on goods.product_id = lines.product_id
        left join returns on returns.order_item_id = lines.order_item_id
        where lines.ordered_on <= $day
        group by people.customer, goods.product
        order by people.customer, goods.product
        """,
        params={"windows_ago": windows_ago, "day": day},
    ).fetchnumpy()
    tastes = [UNKNOWN_TASTE, *sorted(set(people["taste_segment_id"].to_list()) - {UNKNOWN_TASTE})]
    categories = goods["category"].drop_nulls().unique().sort().to_list()
    history = History(
        customers=people.height,
        products=goods.height,
        customer=np.asarray(pairs["customer"]),
        product=np.asarray(pairs["product"]),
        days=np.asarray(pairs["days"]),
        age_days=np.asarray(pairs["age_days"]),
        returned=np.asarray(pairs["returned"], dtype=bool),
        taste=_codes(people["taste_segment_id"], tastes),
        category=_codes(goods["category"], categories),
    )
    return Coded(history, people["customer_id"], goods["product_id"])


def _codes(values: pl.Series, known: list[str]) -> np.ndarray:
    """The place of each value among `known`; -1 for what is not there."""
    return values.replace_strict(known, range(len(known)), default=-1, return_dtype=pl.Int32).fill_null(-1).to_numpy()


def bought_in(con: duckdb.DuckDBPyConnection, as_of: dt.date, windows_ago: int) -> tuple[np.ndarray, np.ndarray]:
    """The (customer, product) pairs bought in a window, as codes of `history_of`, each once and sorted."""
    start = as_of - dt.timedelta(days=RATE_DAYS * windows_ago)
    pairs = con.sql(
        f"""
        with {_CODES}
        select distinct people.customer, goods.product
        from features.order_lines as lines
        inner join people on people.customer_id = lines.customer_id
        inner join goods on goods.product_id = lines.product_id
        where lines.ordered_on > $start and lines.ordered_on <= $end
        order by 1, 2
        """,
        params={"windows_ago": windows_ago, "start": start, "end": start + dt.timedelta(days=RATE_DAYS)},
    ).fetchnumpy()
    return np.asarray(pairs["customer"]), np.asarray(pairs["product"])


def sent_back_whole(con: duckdb.DuckDBPyConnection, as_of: dt.date) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of orders that came back whole, which are no sales and in no history; codes of today's `history_of`."""
    pairs = con.sql(
        f"""
        with {_CODES}
        select distinct people.customer, goods.product
        from clean.orders as orders
        inner join clean.order_items as items on items.order_id = orders.order_id
        inner join people on people.customer_id = orders.customer_id
        inner join goods on goods.product_id = items.product_id
        where orders.status = 'returned' and cast(orders.ordered_at as date) <= $day
        order by 1, 2
        """,
        params={"windows_ago": 0, "day": as_of},
    ).fetchnumpy()
    return np.asarray(pairs["customer"]), np.asarray(pairs["product"])


def events_of(con: duckdb.DuckDBPyConnection, as_of: dt.date) -> pl.DataFrame:
    """Every purchase of the last window by a customer known at its begin: customer_id, product_id, is_first; sorted."""
    start = as_of - dt.timedelta(days=RATE_DAYS)
    return con.sql(
        """
        select lines.customer_id, lines.product_id, min(lines.ordered_on) > $start as is_first
        from features.order_lines as lines
        inner join campaigns.customer_activity as people
            on people.customer_id = lines.customer_id and people.windows_ago = 1
        inner join campaigns.product_traits as goods on goods.product_id = lines.product_id and not goods.is_sensitive
        group by lines.customer_id, lines.product_id
        having max(lines.ordered_on) > $start
        order by lines.customer_id, lines.product_id
        """,
        params={"start": start},
    ).pl()
