"""Who does not want to be profiled is in no features and no shares, is not reached, and the shop's totals stay."""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import pytest

Builder = Callable[..., None]
PROFILED = ("customer_features", "customer_shares")
OF_THE_SHOP = ("order_lines", "spend_by_value")


def _rows(con: duckdb.DuckDBPyConnection, table: str, but: str = "") -> list[tuple[object, ...]]:
    where = f" where customer_id <> '{but}'" if but else ""
    return con.execute(f"select * from features.{table}{where} order by all").fetchall()


@pytest.mark.parametrize("customer", ["anna", "ben", "cara"])
def test_opting_out_takes_out_one_customer_and_changes_nothing_else(
    shop: duckdb.DuckDBPyConnection, features_of: Builder, customer: str
) -> None:
    others = {table: _rows(shop, table, but=customer) for table in PROFILED}
    totals = {table: _rows(shop, table) for table in OF_THE_SHOP}
    reached = shop.execute("select * exclude (is_opted_out) from features.reachability order by all").fetchall()
    shop.execute("insert into features.profiling_opt_outs values (?, timestamp '2024-06-30 09:00')", [customer])
    features_of(shop)
    for table in PROFILED:
        assert _rows(shop, table) == others[table]
    for table in OF_THE_SHOP:
        assert _rows(shop, table) == totals[table]
    assert shop.execute(
        "select is_opted_out, is_reachable from features.reachability where customer_id = ?", [customer]
    ).fetchall() == [(True, False)]
    after = shop.execute("select * exclude (is_opted_out) from features.reachability order by all").fetchall()
    assert [row for row in after if row[0] != customer] == [row for row in reached if row[0] != customer]
    assert len(after) == len(reached)
