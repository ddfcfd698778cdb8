"""The shop as it was on an earlier day: SQL models run again for that day, beside the warehouse and never in it.

What belongs here: a scratch database in memory that holds the models as of a cut-off, what customers did after it, and
whether the history is long enough to look back. What does not: judging or forecasting anything with them (the rooms
`segmentation` and `lifetime`), and writing: the warehouse is attached read-only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from graphlib import TopologicalSorter
from pathlib import Path

import duckdb
import polars as pl

from segmentation_assets.warehouse.connection import Engine, connect, quote, quote_name
from segmentation_assets.warehouse.sql_models import SQL_ROOT, SqlModel, load_model
from segmentation_assets.warehouse.tables import columns_of, create_from_query

#: What `past_day` builds unless told otherwise.
FEATURE_MODELS = (
    "features/order_lines", "features/customer_shares", "features/reachability", "features/customer_features",
)  # fmt: skip

OUTCOME_SCHEMA: dict[str, type[pl.DataType]] = {
    "customer_id": pl.String,
    "next_amount": pl.Float64,
    "next_orders": pl.Int64,
    "next_category": pl.String,
}

#: Columns that tell the rows of these tables apart, in the order people look for them.
_KEYS = ("customer_id", "dimension", "value", "order_item_id")
#: Tables outside `clean` that hold no history, so today's rows are those of any day.
_TIMELESS = ("features/product_guards", "features/age_rule", "features/profiling_opt_outs")
#: Figures a source gives ready-made, without a day: on an earlier day they would tell what came after it.
_UNDATED = ("clean/customer_attributes",)


class PastDayError(ValueError):
    """The shop of an earlier day cannot be shown: a table is missing, or a model reads what has no past."""


@contextmanager
def past_day(
    warehouse: Path,
    cutoff: date,
    models: Sequence[str] = FEATURE_MODELS,
    *,
    engine: Engine | None = None,
    sql_root: Path = SQL_ROOT,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection on which `models` (`schema/table`, SQL models of the project) stand as of `cutoff`.

    `features.order_lines` and the others are those of the end of that day; `clean.*` is the warehouse's, whole, and
    the tables of today are reached as `warehouse.SCHEMA.TABLE`. The models may read each other, `clean.*`,
    `features.product_guards`, `features.age_rule` and `features.profiling_opt_outs`; anything else is knowledge of
    today and refused.
    `clean.customer_attributes` is empty here: its figures carry no day. Order status, catalogue prices, loyalty points
    and what customers stated about themselves are the source's of today, for it does not say what they were.

    The tables live compressed in memory and spill beside the warehouse above the engine's memory limit; they are gone
    when the connection closes. PastDayError names what is missing and what to materialise.
    """
    chosen = {name: load_model(sql_root / f"{name}.sql") for name in models}
    with connect(warehouse, read_only=True, engine=engine) as con:
        con.execute("attach ':memory:' as past (compress)")
        con.execute("use past")
        for schema in sorted({name.split("/")[0] for name in (*chosen, *_TIMELESS)} | {"clean"}):
            con.execute(f"create schema {quote(schema)}")
        for source in sorted({parent for model in chosen.values() for parent in model.parents} - set(chosen)):
            _show(con, source, cutoff)
        for model in _in_order(chosen):
            create_from_query(con, model.name, model.query, {"as_of": cutoff} if model.needs_as_of else None)
        yield con


def features_as_of(
    warehouse: Path,
    cutoff: date,
    models: Sequence[str] = FEATURE_MODELS,
    *,
    read: Mapping[str, Sequence[str]] | None = None,
    engine: Engine | None = None,
) -> dict[str, pl.DataFrame]:
    """Tables as of the end of `cutoff`, by name (`schema/table`); see `past_day`.

    `read` names the tables wanted and the columns of each (an empty list means all); without it every model is read
    whole, which for order lines is a row per line sold. Rows are sorted by customer and key.
    """
    wanted = read if read is not None else {name: [] for name in models}
    with past_day(warehouse, cutoff, models, engine=engine) as con:
        return {name: read_table(con, name, columns) for name, columns in wanted.items()}


def read_table(con: duckdb.DuckDBPyConnection, table: str, columns: Sequence[str] = ()) -> pl.DataFrame:
    """`columns` of `table` (all of them when none is named), sorted by as much of its key as it has."""
    has = {name for name, _ in columns_of(con, table)}
    names = ", ".join(quote(column) for column in columns) or "*"
    order = ", ".join(quote(column) for column in _KEYS if column in has) or "all"
    return con.sql(f"select {names} from {quote_name(table)} order by {order}").pl()


def outcome_frame(con: duckdb.DuckDBPyConnection, cutoff: date, days: int) -> pl.DataFrame:
    """What each customer known by `cutoff` did in the `days` days after it (OUTCOME_SCHEMA), sorted by customer_id.

    `con` comes from `past_day`: who is known is read from its `features.customer_features`, what followed from the
    warehouse's own `features.order_lines`, which must reach the last of those days. next_amount: money of the sold
    lines after discounts, before returns; 0 for who bought nothing. next_orders: sold orders. next_category: of the
    first day with an order, the known category that is not sensitive and took the most money (then by name); null
    when nothing was bought or nothing of that kind.
    """
    window = {"cutoff": cutoff, "last": cutoff + timedelta(days=days)}
    return (
        con.sql(
            """
            with lines as (
                select customer_id, order_id, ordered_on, category, is_sensitive, net_amount
                from warehouse.features.order_lines
                where ordered_on > $cutoff and ordered_on <= $last
            ),

            totals as (
                select
                    customer_id,
                    sum(net_amount) as amount,
                    count(distinct order_id) as orders,
                    min(ordered_on) as first_on
                from lines
                group by customer_id
            ),

            categories as (
                select l.customer_id, l.category, sum(l.net_amount) as amount
                from lines as l
                inner join totals as t on t.customer_id = l.customer_id and t.first_on = l.ordered_on
                where l.category <> 'unknown' and not l.is_sensitive
                group by l.customer_id, l.category
            ),

            first_categories as (
                select
                    customer_id,
                    category,
                    row_number() over (partition by customer_id order by amount desc, category) as place
                from categories
            )

            select
                c.customer_id,
                cast(coalesce(t.amount, 0) as double) as next_amount,
                coalesce(t.orders, 0) as next_orders,
                f.category as next_category
            from past.features.customer_features as c
            left join totals as t on t.customer_id = c.customer_id
            left join first_categories as f on f.customer_id = c.customer_id and f.place = 1
            order by c.customer_id
            """,
            params=window,
        )
        .pl()
        .cast(OUTCOME_SCHEMA)
    )


def history_reason(con: duckdb.DuckDBPyConnection, as_of: date, *, windows: int, days: int = 90) -> str:
    """Why sold orders cannot be looked back on over `windows` windows of `days` days; empty when they can.

    The windows end with `as_of`; before the first of them another `days` days of orders must lie, or there is nothing
    to know the customers by. `con` sees the warehouse's `features.order_lines`, itself or through `past_day`.
    """
    table = "warehouse.features.order_lines"
    first, last, dates = con.execute(
        f"select min(ordered_on), max(ordered_on), count(distinct ordered_on) from {table} where ordered_on <= $as_of",
        {"as_of": as_of},
    ).fetchall()[0]
    needed = (windows + 1) * days
    asked = f"at least {needed} are needed: {days} to know the customers by, then {windows} x {days} to see what came"
    if first is None:
        return f"There is no sold order up to {as_of}; {needed} days of them are needed."
    found = (as_of - first).days + 1
    if found < needed:
        return (
            f"Sold orders go back {found} days, from {first} to the as-of date {as_of} "
            f"({dates:,} {'day' if dates == 1 else 'days'} with orders); {asked}."
        )
    quiet = _quiet_windows(con, table, as_of, windows=windows, days=days)
    if quiet:
        return (
            f"No order was sold {' and none '.join(quiet)} (the last one is of {last}): there is nothing to judge by."
        )
    return ""


def _quiet_windows(con: duckdb.DuckDBPyConnection, table: str, as_of: date, *, windows: int, days: int) -> list[str]:
    """The windows without a sold order, in words."""
    quiet = []
    for number in range(windows, 0, -1):
        start = as_of - timedelta(days=number * days)
        end = start + timedelta(days=days)
        sold = con.execute(
            f"select count(*) from {table} where ordered_on > $start and ordered_on <= $end",
            {"start": start, "end": end},
        ).fetchall()
        if not sold[0][0]:
            quiet.append(f"from {start + timedelta(days=1)} to {end}")
    return quiet


def _show(con: duckdb.DuckDBPyConnection, source: str, cutoff: date) -> None:
    """Make a table of the warehouse visible in the past under its own name."""
    if not source.startswith("clean/") and source not in _TIMELESS:
        raise PastDayError(
            f"The shop of {cutoff} cannot have {source}: it is knowledge of today. Name {source} among the models to "
            f"build as of that day, or leave out the model that reads it."
        )
    schema, name = source.split("/")
    if not con.execute(
        "select 1 from duckdb_tables() where database_name = 'warehouse' and schema_name = $schema "
        "and table_name = $name",
        {"schema": schema, "name": name},
    ).fetchall():
        raise PastDayError(
            f"The shop of {cutoff} needs {schema}.{name}, which is not in the warehouse. Materialise {source} "
            f"(`segmentation run` makes everything)."
        )
    none = " where false" if source in _UNDATED else ""
    con.execute(f"create view {quote_name(source)} as select * from warehouse.{quote_name(source)}{none}")


def _in_order(chosen: Mapping[str, SqlModel]) -> list[SqlModel]:
    """The models, each after those it reads."""
    graph = {name: set(model.parents) & set(chosen) for name, model in sorted(chosen.items())}
    return [chosen[name] for name in TopologicalSorter(graph).static_order()]
