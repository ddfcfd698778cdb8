"""Moves between segments add up, in customers and to the last digit of the money."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.segmentation.moves import GONE_ID, MOVES_SCHEMA, NEW_ID, segment_moves

WHEN: dict[str, Any] = {
    "from_version": 1, "to_version": 2, "from_as_of": dt.date(2026, 1, 31), "to_as_of": dt.date(2026, 4, 30),
}  # fmt: skip


def side(segments: dict[str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        {"customer_id": list(segments), "segment_id": list(segments.values())},
        schema={"customer_id": pl.String, "segment_id": pl.String},
    )


def money(amounts: dict[str, Decimal | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {"customer_id": list(amounts), "monetary_amount": list(amounts.values())},
        schema={"customer_id": pl.String, "monetary_amount": pl.Decimal(18, 4)},
    )


def test_each_pair_of_segments_is_a_row_with_its_customers_and_money() -> None:
    moves = segment_moves(
        "stage",
        side({"a": "S1", "b": "S1", "c": "S2", "d": "S10", "gone": "S1"}),
        side({"a": "S1", "b": "S2", "c": "S2", "d": "S2", "new": "S2"}),
        money({"a": Decimal("10.1000"), "b": Decimal("0.0001"), "c": None, "new": Decimal("5.5000"), "x": Decimal(99)}),
        **WHEN,
    )
    assert dict(moves.schema) == MOVES_SCHEMA
    assert moves.select("from_segment_id", "to_segment_id", "customers", "revenue_amount", "customer_share").rows() == [
        ("S1", "S1", 1, Decimal("10.1000"), 0.333333),
        ("S1", "S2", 1, Decimal("0.0001"), 0.333333),
        ("S1", GONE_ID, 1, Decimal(0), 0.333333),
        ("S2", "S2", 1, Decimal(0), 1.0),
        ("S10", "S2", 1, Decimal(0), 1.0),
        (NEW_ID, "S2", 1, Decimal("5.5000"), 1.0),
    ]
    assert moves.row(0)[:5] == ("stage", 1, 2, dt.date(2026, 1, 31), dt.date(2026, 4, 30))


ASSIGNED = st.dictionaries(st.sampled_from([f"C{n}" for n in range(40)]), st.sampled_from(["S0", "S1", "S2", "S10"]))
AMOUNTS = st.decimals(0, 10**12, places=4) | st.none()


@settings(max_examples=40, deadline=None)
@given(ASSIGNED, ASSIGNED, st.dictionaries(st.sampled_from([f"C{n}" for n in range(50)]), AMOUNTS))
def test_customers_and_money_add_up_to_both_sides(
    left: dict[str, str], right: dict[str, str], amounts: dict[str, Decimal | None]
) -> None:
    moves = segment_moves("taste", side(left), side(right), money(amounts), **WHEN)
    for column, outside, assigned in (("from_segment_id", NEW_ID, left), ("to_segment_id", GONE_ID, right)):
        found = {
            row[0]: (row[1], row[2])
            for row in moves.filter(pl.col(column) != outside)
            .group_by(column)
            .agg(pl.col("customers").sum(), pl.col("revenue_amount").sum())
            .rows()
        }
        expected = {
            segment: (
                sum(held == segment for held in assigned.values()),
                sum((amounts.get(c) or Decimal(0) for c, held in assigned.items() if held == segment), Decimal(0)),
            )
            for segment in set(assigned.values())
        }
        assert found == expected
    assert moves["customers"].sum() == len(left.keys() | right.keys())
    shares = moves.group_by("from_segment_id").agg(pl.col("customer_share").sum())["customer_share"]
    assert all(share == pytest.approx(1, abs=1e-5) for share in shares)
    assert moves.equals(segment_moves("taste", side(left).reverse(), side(right), money(amounts), **WHEN))


def test_a_customer_twice_or_without_a_segment_is_refused() -> None:
    fine, none = side({"a": "S1"}), money({})
    with pytest.raises(
        ValueError,
        match="Axis stage: the assignments before must have one row per customer_id, none of them null; "
        "1 rows are repeated and 0 have no id",
    ):
        segment_moves("stage", pl.concat([fine, fine]), fine, none, **WHEN)
    with pytest.raises(ValueError, match="1 customers of the assignments after have no segment_id"):
        segment_moves("stage", fine, fine.with_columns(segment_id=pl.lit(None, dtype=pl.String)), none, **WHEN)
    twice = pl.concat([money({"a": Decimal(1)}), money({"a": Decimal(2)})])
    with pytest.raises(ValueError, match="Axis stage: the money must have one row per customer_id"):
        segment_moves("stage", fine, fine, twice, **WHEN)
