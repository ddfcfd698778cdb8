"""From purchases to what the models need of each customer: how often again, when last, for how long, and for how much.

Purchases of one day count as one. What is done with the figures is elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAYS_PER_WEEK = 7.0
#: Money is added in whole ten-thousandths, the precision of the tables, so that sums are exact in any order.
_UNITS = 10_000

PURCHASE_COLUMNS = ("customer_id", "ordered_on", "net_amount")


class PurchasesError(ValueError):
    """The purchases are not what the models can read; the message says which column and how many rows."""


@dataclass(frozen=True)
class Grouped:
    """Sufficient statistics of BG/NBD: `x` repeat purchases, the last of them at `t_x` weeks, `age` weeks observed.

    Arrays (g,), one entry per distinct combination; `customers` is how many customers have it.
    """

    x: Floats
    t_x: Floats
    age: Floats
    customers: Floats


def purchase_days(purchases: pl.DataFrame) -> pl.DataFrame:
    """One row per customer and day, by customer and day: customer_id, ordered_on, amount_units.

    `purchases` needs customer_id, ordered_on (a date) and net_amount (the source's currency, null where unknown), any
    number of rows per day. `amount_units` is the day's known money in ten-thousandths, null when none is known.
    Raises PurchasesError for a missing column, an unknown customer or day, or an amount that is not finite.
    """
    lacking = [name for name in PURCHASE_COLUMNS if name not in purchases.columns]
    if lacking:
        raise PurchasesError(f"Purchases lack {', '.join(lacking)}: one row per purchase needs {PURCHASE_COLUMNS}.")
    if purchases.schema["ordered_on"] != pl.Date:
        raise PurchasesError(f"ordered_on of the purchases is {purchases.schema['ordered_on']}: give dates.")
    for name in ("customer_id", "ordered_on"):
        if unknown := purchases[name].null_count():
            raise PurchasesError(f"{unknown:,} of {purchases.height:,} purchases have no {name}: leave them out.")
    amount = pl.col("net_amount").cast(pl.Float64)
    if wrong := purchases.select((~amount.is_finite()).fill_null(False).sum()).item():
        raise PurchasesError(f"{wrong:,} of {purchases.height:,} purchases have a net_amount that is no finite number.")
    units = (amount * _UNITS).round().cast(pl.Int64)
    return (
        purchases.lazy()
        .select("customer_id", "ordered_on", amount_units=units)
        .group_by("customer_id", "ordered_on")
        .agg(
            amount_units=pl.when(pl.col("amount_units").count() > 0).then(pl.col("amount_units").sum()),
        )
        .sort("customer_id", "ordered_on")
        .collect()
    )


def purchase_history(days: pl.DataFrame, end: date, recent_days: int) -> pl.DataFrame:
    """What is known of each customer on the evening of `end`, by customer_id; later purchases do not exist.

    `days` as of `purchase_days`. Columns: `x` (purchase days after the first), `t_x_days` (first to last purchase day;
    0 when x is 0), `age_days` (first purchase day to `end`), `valued` (repeat purchase days with known money),
    `repeat_amount` (their money in all, the source's currency), `recent_count` and `recent_amount` (repeat purchase
    days, and their money, within the `recent_days` days that end with `end`).
    """
    since = end - timedelta(days=recent_days)
    is_repeat = pl.col("ordered_on") > pl.col("first_on")
    is_recent = is_repeat & (pl.col("ordered_on") > since)
    units = pl.col("amount_units")
    return (
        days.lazy()
        .filter(pl.col("ordered_on") <= end)
        .with_columns(first_on=pl.col("ordered_on").min().over("customer_id"))
        .group_by("customer_id")
        .agg(
            x=pl.len().cast(pl.Int64) - 1,
            t_x_days=(pl.col("ordered_on").max() - pl.col("ordered_on").min()).dt.total_days(),
            age_days=(pl.lit(end) - pl.col("ordered_on").min()).dt.total_days(),
            valued=units.filter(is_repeat).count().cast(pl.Int64),
            repeat_amount=units.filter(is_repeat).sum() / _UNITS,
            recent_count=is_recent.sum().cast(pl.Int64),
            recent_amount=units.filter(is_recent).sum() / _UNITS,
        )
        .sort("customer_id")
        .collect()
    )


def purchases_between(days: pl.DataFrame, after: date, end: date) -> pl.DataFrame:
    """Purchase days after the day `after` up to and including `end`: customer_id, purchases, amount.

    Only customers who have any; `amount` is in the source's currency.
    """
    return (
        days.lazy()
        .filter((pl.col("ordered_on") > after) & (pl.col("ordered_on") <= end))
        .group_by("customer_id")
        .agg(purchases=pl.len().cast(pl.Int64), amount=pl.col("amount_units").sum() / _UNITS)
        .sort("customer_id")
        .collect()
    )


def group_history(history: pl.DataFrame) -> Grouped:
    """Count equal customers of `purchase_history` together: a likelihood over groups is the one over customers."""
    groups = (
        history.lazy()
        .group_by("x", "t_x_days", "age_days")
        .agg(customers=pl.len())
        .sort("x", "t_x_days", "age_days")
        .collect()
    )
    x, t_x, age, customers = (groups[name].to_numpy().astype(np.float64) for name in groups.columns)
    return Grouped(x, t_x / DAYS_PER_WEEK, age / DAYS_PER_WEEK, customers)
