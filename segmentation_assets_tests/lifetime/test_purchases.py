"""What is known of each customer on a day: purchases of one day are one, and nothing later is known."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation_assets.lifetime.purchases import (
    PurchasesError,
    group_history,
    purchase_days,
    purchase_history,
    purchases_between,
)

END = date(2026, 6, 30)
_SCHEMA = {"customer_id": pl.String, "ordered_on": pl.Date, "net_amount": pl.Float64}


def _purchases(*rows: tuple[object, ...]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def test_history_is_reckoned_by_day_with_the_first_purchase_apart() -> None:
    days = purchase_days(
        _purchases(
            ("anna", date(2026, 6, 1), 10.0),
            ("anna", date(2026, 6, 1), 5.5),  # the same day: one purchase
            ("anna", date(2026, 6, 8), 20.0),
            ("anna", date(2026, 6, 29), 30.0),
            ("anna", date(2026, 7, 1), 99.0),  # not yet
            ("ben", date(2026, 6, 30), 7.0),
            ("cara", date(2026, 7, 2), 7.0),  # not yet known
        )
    )
    assert purchase_history(days, END, 7).rows(named=True) == [
        {"customer_id": "anna", "x": 2, "t_x_days": 28, "age_days": 29, "valued": 2, "repeat_amount": 50.0,
         "recent_count": 1, "recent_amount": 30.0},
        {"customer_id": "ben", "x": 0, "t_x_days": 0, "age_days": 0, "valued": 0, "repeat_amount": 0.0,
         "recent_count": 0, "recent_amount": 0.0},
    ]  # fmt: skip
    assert purchases_between(days, END, date(2026, 7, 1)).rows() == [("anna", 1, 99.0)]


def test_a_purchase_without_known_money_counts_and_is_not_valued() -> None:
    days = purchase_days(
        _purchases(("a", date(2026, 1, 1), 1.0), ("a", date(2026, 2, 1), None), ("a", date(2026, 3, 1), 4.0))
    )
    row = purchase_history(days, END, 90).row(0, named=True)
    assert (row["x"], row["valued"], row["repeat_amount"]) == (2, 1, 4.0)


def test_money_is_added_exactly_in_any_order() -> None:
    rows = [("a", date(2026, 1, 1) + timedelta(days=n % 40), 0.1 * (n % 7)) for n in range(200)]
    found = purchase_history(purchase_days(_purchases(*rows)), END, 90)
    assert found.equals(purchase_history(purchase_days(_purchases(*reversed(rows))), END, 90))
    later = sum(round(10 * row[2]) for row in rows if row[1] > date(2026, 1, 1))
    assert found["repeat_amount"].to_list() == [later / 10]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            pl.DataFrame({"customer_id": ["a"]}),
            "Purchases lack ordered_on, net_amount: one row per purchase needs ('customer_id', 'ordered_on', "
            "'net_amount').",
        ),
        (
            pl.DataFrame({"customer_id": ["a"], "ordered_on": ["2026-01-01"], "net_amount": [1.0]}),
            "ordered_on of the purchases is String: give dates.",
        ),
        (_purchases((None, END, 1.0), ("a", END, 1.0)), "1 of 2 purchases have no customer_id: leave them out."),
        (_purchases(("a", None, 1.0)), "1 of 1 purchases have no ordered_on: leave them out."),
        (
            _purchases(("a", END, float("inf")), ("b", END, float("nan")), ("c", END, None)),
            "2 of 3 purchases have a net_amount that is no finite number.",
        ),
    ],
)
def test_purchases_that_cannot_be_read_are_refused_by_name_and_number(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(PurchasesError) as caught:
        purchase_days(frame)
    assert str(caught.value) == message


_ROWS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.dates(date(2025, 1, 1), date(2026, 12, 31)), st.integers(0, 10**6)),
    max_size=40,
)


@given(rows=_ROWS)
def test_every_purchase_day_is_accounted_for_before_or_after(rows: list[tuple[str, date, int]]) -> None:
    days = purchase_days(_purchases(*((who, day, cents / 100) for who, day, cents in rows)))
    history, later = purchase_history(days, END, 90), purchases_between(days, END, date(2026, 12, 31))
    assert int((history["x"] + 1).sum()) + int(later["purchases"].sum()) == days.height
    assert history.filter(
        (pl.col("t_x_days") > pl.col("age_days"))
        | ((pl.col("x") == 0) != (pl.col("t_x_days") == 0))
        | (pl.col("recent_count") > pl.col("x"))
    ).is_empty()
    groups = group_history(history)
    assert groups.customers.sum() == history.height
    assert (groups.customers * groups.x).sum() == history["x"].sum()
