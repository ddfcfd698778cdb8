"""Activity: what customers did before and in each window, the forecast, and the members of audiences in its order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from segmentation_assets.merchandising import activity as activity_module
from segmentation_assets.merchandising.activity import (
    ACTIVITY_FEATURES,
    audience_members,
    expected_products,
    fit_activity,
)
from segmentation_assets.merchandising.plan import TABLE_TYPES
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model
from segmentation_assets.warehouse.tables import create_from_query

AS_OF = date(2024, 6, 30)
GROUPS = pl.DataFrame(
    {"stage_segment_id": ["S0", "S1", "S2"], "name": ["Never bought", "Loyal", "Lapsing"],
     "stage_group": ["never_bought", "loyal", "lapsing"]}
)  # fmt: skip
# customer, order, product, days before the as-of date, sensitive
Line = tuple[str, str, str | None, int, bool]
LINES: list[Line] = [
    ("A", "A1", "P1", 400, False), ("A", "A1", "P2", 400, False), ("A", "A1", None, 400, False),
    ("A", "A2", "P1", 100, False),
    ("A", "A3", "P1", 89, False), ("A", "A3", "P3", 89, False), ("A", "A3", "P9", 89, True),
    ("B", "B1", "P1", 90, False), ("B", "B2", "P2", 0, False),
    ("D", "D1", "P9", 10, True),
]  # fmt: skip


def _shop(lines: list[Line], customers: list[str]) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("create schema features; create schema segments; create schema clean; create schema campaigns")
    con.execute(
        "create table features.order_lines (customer_id varchar, order_id varchar, product_id varchar, "
        "ordered_on date, is_sensitive boolean)"
    )
    rows = [(c, o, p, AS_OF - timedelta(days=days), s) for c, o, p, days, s in lines]
    if rows:
        con.executemany("insert into features.order_lines values (?, ?, ?, ?, ?)", rows)
    con.execute("create table clean.customers (customer_id varchar, signed_up_at timestamp)")
    con.executemany("insert into clean.customers values (?, timestamp '2024-01-15 10:00')", [(c,) for c in customers])
    con.execute(
        "create table segments.customer_segments as "
        "select customer_id, 'S1' as stage_segment_id, if(customer_id = 'A', 'T1', null) as taste_segment_id "
        "from clean.customers"
    )
    con.execute(
        "create table segments.past_segments as "
        "select windows_ago, date '2024-06-30' - cast(90 * windows_ago as integer) as as_of, s.* "
        "from segments.customer_segments s cross join (values (1::bigint), (2::bigint)) w(windows_ago)"
    )
    for name in ("customer_activity", "window_purchases"):
        model = load_model(SQL_ROOT / f"campaigns/{name}.sql")
        create_from_query(con, model.name, model.query, {"as_of": AS_OF})
    return con


@pytest.fixture(scope="module")
def shop() -> Iterator[duckdb.DuckDBPyConnection]:
    con = _shop(LINES, ["A", "B", "C", "D"])
    members = audience_members(
        _table(con, "campaigns.customer_activity").filter(pl.col("windows_ago") == 0),
        pl.DataFrame({"customer_id": ["A", "B", "C", "D"], "is_minor": [False, False, False, True],
                      "is_reachable": [True, False, True, False], "is_adult": [True, True, True, False]}),
        GROUPS, np.array([2.0, 1.5, 0.5, 0.0]),
    )  # fmt: skip
    con.register("members_frame", members.to_arrow())
    con.execute("create table campaigns.audience_members as from members_frame")
    con.execute(
        "create table features.reachability as select * from (values ('A', false, true, true), "
        "('B', false, false, true), ('C', false, true, true), ('D', true, false, false)) "
        "t(customer_id, is_minor, is_reachable, is_adult)"
    )
    yield con
    con.close()


def _table(con: duckdb.DuckDBPyConnection, name: str) -> pl.DataFrame:
    frame = pl.from_arrow(con.sql(f"select * from {name}").to_arrow_table())
    assert isinstance(frame, pl.DataFrame)
    return frame


def _row(con: duckdb.DuckDBPyConnection, customer: str, windows_ago: int) -> dict[str, object]:
    frame = _table(con, "campaigns.customer_activity")
    return frame.row(
        by_predicate=(pl.col("customer_id") == customer) & (pl.col("windows_ago") == windows_ago), named=True
    )


def test_each_window_knows_only_what_was_bought_before_it_began(shop: duckdb.DuckDBPyConnection) -> None:
    today, past = _row(shop, "A", 0), _row(shop, "A", 1)
    assert (today["recency_days"], today["tenure_days"], today["order_count"]) == (89, 400, 3)
    assert (today["product_count"], today["products_last_90_days"], today["products_last_365_days"]) == (3, 2, 2)
    assert (past["recency_days"], past["tenure_days"], past["order_count"]) == (10, 310, 2)
    assert (past["product_count"], past["products_last_90_days"], past["products_last_365_days"]) == (2, 1, 2)
    assert (past["orders_last_90_days"], past["orders_last_365_days"], past["line_count"]) == (1, 2, 4)
    older = _row(shop, "A", 2)
    assert (older["recency_days"], older["order_count"], older["line_count"]) == (220, 1, 3)


def test_the_outcome_is_what_came_after_and_today_has_none(shop: duckdb.DuckDBPyConnection) -> None:
    assert (_row(shop, "A", 1)["products_next"], _row(shop, "A", 1)["first_products_next"]) == (2, 1)
    assert (_row(shop, "A", 2)["products_next"], _row(shop, "A", 2)["first_products_next"]) == (1, 0)
    assert _row(shop, "A", 0)["products_next"] is None
    # The day on which a window begins is before it.
    assert (_row(shop, "B", 1)["recency_days"], _row(shop, "B", 1)["products_next"]) == (0, 1)


def test_who_bought_nothing_has_counts_of_zero_and_no_recency(shop: duckdb.DuckDBPyConnection) -> None:
    for customer in ("C", "D"):  # D bought goods of a sensitive category only
        row = _row(shop, customer, 0)
        assert row["recency_days"] is None and row["tenure_days"] is None and row["order_count"] == 0
        assert _row(shop, customer, 1)["products_next"] == 0
    assert _row(shop, "C", 0)["taste_segment_id"] == "T0"


def test_days_since_sign_up_are_unknown_before_it(shop: duckdb.DuckDBPyConnection) -> None:
    assert [_row(shop, "C", window)["signup_days"] for window in (0, 1, 2)] == [167, 77, None]


def test_window_purchases_count_customers_where_they_stood(shop: duckdb.DuckDBPyConnection) -> None:
    rows = _table(shop, "campaigns.window_purchases").rows()
    assert rows == [
        (1, "P1", "T1", "S1", 1, 0), (1, "P2", "T0", "S1", 1, 1), (1, "P3", "T1", "S1", 1, 1),
        (2, "P1", "T0", "S1", 1, 1), (2, "P1", "T1", "S1", 1, 0),
    ]  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ABC"), st.integers(0, 3), st.sampled_from(["P1", "P2", None]),
                  st.integers(0, 600), st.booleans()),
        max_size=25,
    )
)  # fmt: skip
def test_counts_agree_with_a_plain_count_of_the_lines(drawn: list[tuple[str, int, str | None, int, bool]]) -> None:
    # One order is of one customer and one day.
    days = {(c, o): day for c, o, _, day, _ in drawn}
    lines: list[Line] = [(c, f"{c}{o}", p, days[c, o], s) for c, o, p, _, s in drawn]
    con = _shop(lines, ["A", "B", "C"])
    for row in _table(con, "campaigns.customer_activity").iter_rows(named=True):
        begin = 90 * row["windows_ago"]
        own = [line for line in lines if line[0] == row["customer_id"] and not line[4]]
        before = [line for line in own if line[3] >= begin]
        bought = {line[2] for line in before if line[2]}
        assert row["line_count"] == len(before)
        assert row["order_count"] == len({line[1] for line in before})
        assert row["product_count"] == len(bought)
        assert row["recency_days"] == (min(line[3] for line in before) - begin if before else None)
        assert row["products_last_90_days"] == len({ln[2] for ln in before if ln[2] and ln[3] < begin + 90})
        assert row["orders_last_365_days"] == len({line[1] for line in before if line[3] < begin + 365})
        if begin:
            after = {line[2] for line in own if line[2] and begin - 90 <= line[3] < begin}
            assert (row["products_next"], row["first_products_next"]) == (len(after), len(after - bought))
    assert _offending(con, "window_purchases/purchases_are_accounted_for") == []
    con.close()


def _then(customers: int, seed: int = 3) -> pl.DataFrame:
    """A past window in which the number of products follows a rate that shows in the counts before."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(0.6, 2.0, customers)
    columns = {name: rng.poisson(rate * 3) for name in ACTIVITY_FEATURES}
    columns["recency_days"] = rng.integers(0, 400, customers)
    frame = pl.DataFrame({"customer_id": [f"C{i:05d}" for i in range(customers)], **columns})
    return frame.with_columns(products_next=pl.Series(rng.poisson(rate)))


def test_who_bought_more_before_is_expected_to_buy_more() -> None:
    then, now = _then(3000), _then(2000, seed=4)
    found = expected_products(fit_activity(then, 1), now)
    bought = now["products_next"].to_numpy()
    most = np.argsort(-found)[:400]
    assert bought[most].mean() > 2.5 * bought.mean()
    assert found.mean() == pytest.approx(bought.mean(), rel=0.1)
    assert (found > 0).all()


def test_the_forecast_depends_neither_on_the_order_of_rows_nor_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity_module, "_LEARNED_CUSTOMERS", 900)  # so that a sample is drawn
    then, now = _then(1500), _then(400, seed=5)
    shuffled = then.sample(fraction=1.0, shuffle=True, seed=9)
    found = []
    for threads, rows in ((1, then), (2, then), (2, shuffled)):
        with threadpool_limits(threads):
            found.append(expected_products(fit_activity(rows, 7), now))
    assert (found[0] == found[1]).all() and (found[0] == found[2]).all()
    assert fit_activity(then, 7).customers == 900
    assert (expected_products(fit_activity(then, 8), now) != found[0]).any()


def test_customers_whose_figures_are_unknown_get_a_forecast() -> None:
    now = _then(300).with_columns(recency_days=pl.lit(None, pl.Int64), tenure_days=pl.lit(None, pl.Int64))
    assert np.isfinite(expected_products(fit_activity(_then(300), 1), now)).all()


def test_few_customers_or_no_purchases_give_everyone_the_mean() -> None:
    few = _then(100)
    model = fit_activity(few, 1)
    assert model.learned == "mean"
    assert set(expected_products(model, few)) == {round(float(few["products_next"].mean()), 9)}  # type: ignore[arg-type]
    nothing = fit_activity(_then(500).with_columns(products_next=pl.lit(0)), 1)
    assert nothing.learned == "mean" and (expected_products(nothing, few) == 0).all()


def test_without_a_past_window_the_recent_past_stands_in() -> None:
    now = _then(50)
    model = fit_activity(_then(50).clear(), 1)
    assert model.learned == "recent"
    assert (expected_products(model, now) == now["products_last_90_days"].to_numpy() + 0.05).all()


def test_activity_cannot_be_learned_from_a_window_without_an_outcome() -> None:
    with pytest.raises(ValueError, match="learned on a past window only"):
        fit_activity(_then(50).with_columns(products_next=pl.lit(None, pl.Int64)), 1)


def _members(**changes: object) -> pl.DataFrame:
    now = pl.DataFrame(
        {
            "customer_id": ["C1", "C2", "C3", "C4", "C5", "C6"],
            "taste_segment_id": ["T1"] * 6,
            "stage_segment_id": ["S1", "S1", "S1", "S1", "S1", "S9"],
            "orders_last_90_days": [1, 2, 2, 9, 0, 0],
        }
    )
    reachability = pl.DataFrame(
        {
            "customer_id": ["C1", "C2", "C3", "C4", "C5"],
            "is_minor": [False, False, False, True, False],
            "is_reachable": [True, True, True, False, False],
            "is_adult": [True, True, True, False, True],
            **changes,
        }
    )
    return audience_members(now, reachability, GROUPS, np.array([1.0, 1.0, 1.0, 9.0, 5.0, 0.5]))


def test_members_rank_who_can_be_reached_first_then_by_activity_then_by_recent_orders_then_by_id() -> None:
    members = _members()
    assert members.columns == list(TABLE_TYPES["campaigns/audience_members"])
    loyal = members.filter(pl.col("stage_group") == "loyal").sort("activity_rank")
    assert loyal["customer_id"].to_list() == ["C2", "C3", "C1", "C5"]
    assert loyal["activity_rank"].to_list() == [0, 1, 2, 3]


def test_known_minors_are_no_members_and_who_is_not_known_is_neither_reachable_nor_adult() -> None:
    members = _members()
    assert "C4" not in members["customer_id"].to_list()
    stranger = members.row(by_predicate=pl.col("customer_id") == "C6", named=True)
    assert (stranger["stage_group"], stranger["is_reachable"], stranger["is_adult"]) == ("unknown", False, False)


def test_members_need_one_forecast_each() -> None:
    with pytest.raises(ValueError, match="2 forecasts for 1 customers"):
        audience_members(_then(1), pl.DataFrame(), GROUPS, np.array([1.0, 2.0]))


_ACTIVITY, _MEMBERS_TABLE = "update campaigns.customer_activity set", "update campaigns.audience_members set"
FAULTS: dict[str, list[str]] = {
    "customer_activity/one_row_per_customer_and_window": [
        "insert into campaigns.customer_activity from campaigns.customer_activity limit 1",
        "delete from campaigns.customer_activity where windows_ago = 0 and customer_id = 'B'",
        "update campaigns.customer_activity set windows_ago = 3 where windows_ago = 2",
        "delete from segments.customer_segments where customer_id = 'B'",
    ],
    "customer_activity/counts_are_consistent": [
        f"{_ACTIVITY} orders_last_90_days = orders_last_365_days + 1",
        f"{_ACTIVITY} orders_last_365_days = order_count + 1",
        f"{_ACTIVITY} order_count = line_count + 1 where order_count > 0",
        f"{_ACTIVITY} products_last_90_days = products_last_365_days + 1",
        f"{_ACTIVITY} products_last_365_days = product_count + 1",
        f"{_ACTIVITY} product_count = line_count + 1",
        f"{_ACTIVITY} recency_days = -1 where recency_days is not null",
        f"{_ACTIVITY} recency_days = tenure_days + 1",
        f"{_ACTIVITY} signup_days = -1",
        f"{_ACTIVITY} recency_days = null",
        f"{_ACTIVITY} tenure_days = null",
        f"{_ACTIVITY} products_next = null where windows_ago = 1",
        f"{_ACTIVITY} products_next = 0 where windows_ago = 0",
        f"{_ACTIVITY} first_products_next = null where windows_ago = 1",
        f"{_ACTIVITY} first_products_next = 0 where windows_ago = 0",
        f"{_ACTIVITY} first_products_next = products_next + 1 where windows_ago = 1",
    ],
    "window_purchases/one_row_per_product_and_cell": [
        "insert into campaigns.window_purchases from campaigns.window_purchases limit 1",
        "update campaigns.window_purchases set first_buyers = buyers + 1",
        "update campaigns.window_purchases set buyers = 0, first_buyers = 0",
        "update campaigns.window_purchases set windows_ago = 0",
    ],
    "window_purchases/purchases_are_accounted_for": [
        "delete from campaigns.window_purchases where product_id = 'P3'",
        "delete from campaigns.window_purchases where windows_ago = 2",
        "update campaigns.window_purchases set first_buyers = 0",
        "delete from campaigns.customer_activity where windows_ago = 1",
    ],
    "audience_members/one_row_per_customer": [
        "insert into campaigns.audience_members from campaigns.audience_members limit 1",
        f"{_MEMBERS_TABLE} expected_products = 'nan'",
        f"{_MEMBERS_TABLE} expected_products = null",
        f"{_MEMBERS_TABLE} taste_segment_id = 'T9'",
        "delete from campaigns.customer_activity where windows_ago = 0",
    ],
    "audience_members/no_minors": [
        "update features.reachability set is_minor = true where customer_id = 'A'",
        f"{_MEMBERS_TABLE} is_adult = false",
        f"{_MEMBERS_TABLE} is_reachable = true",
    ],
    "audience_members/ranks_without_gaps": [
        f"{_MEMBERS_TABLE} activity_rank = activity_rank + 1",
        f"{_MEMBERS_TABLE} activity_rank = 0",
        f"{_MEMBERS_TABLE} is_reachable = true",  # B, the second, is more active than C
        f"{_MEMBERS_TABLE} is_reachable = customer_id = 'B'",
    ],
}


def _offending(con: duckdb.DuckDBPyConnection, check: str) -> list[tuple[object, ...]]:
    return con.execute(load_model(SQL_ROOT / "checks" / "campaigns" / f"{check}.sql").query).fetchall()


def test_every_check_of_these_tables_is_shown_failing() -> None:
    tables = ("customer_activity", "window_purchases", "audience_members")
    checks = {
        f"{path.parent.name}/{path.stem}"
        for table in tables
        for path in (SQL_ROOT / "checks" / "campaigns" / table).glob("*.sql")
    }
    assert checks == set(FAULTS)


@pytest.mark.parametrize("check", sorted(FAULTS))
def test_good_tables_pass(shop: duckdb.DuckDBPyConnection, check: str) -> None:
    assert _offending(shop, check) == []


@pytest.mark.parametrize(("check", "fault"), [(check, fault) for check, faults in FAULTS.items() for fault in faults])
def test_a_fault_is_found(shop: duckdb.DuckDBPyConnection, check: str, fault: str) -> None:
    shop.execute("begin")
    try:
        shop.execute(fault)
        assert _offending(shop, check), fault
    finally:
        shop.execute("rollback")


def test_each_window_begins_and_ends_on_its_very_day() -> None:
    # One customer and product for every day next to an edge of a window or of its year.
    edges = [0, 89, 90, 91, 179, 180, 181, 269, 270, 271, 364, 365, 366, 454, 455, 456, 544, 545, 546]
    con = _shop([(f"C{day}", f"O{day}", "P1", day, False) for day in [-1, *edges]], [f"C{day}" for day in [-1, *edges]])
    for row in _table(con, "campaigns.customer_activity").iter_rows(named=True):
        day, begin = int(row["customer_id"][1:]), 90 * row["windows_ago"]
        known = day >= begin
        for days in (90, 365):
            assert (
                row[f"orders_last_{days}_days"] == row[f"products_last_{days}_days"] == int(begin <= day < begin + days)
            )
        assert row["recency_days"] == row["tenure_days"] == (day - begin if known else None)
        assert row["order_count"] == row["line_count"] == row["product_count"] == int(known)
        bought = int(max(begin - 90, 0) <= day < begin)
        assert (row["products_next"], row["first_products_next"]) == ((bought, bought) if begin else (None, None))
    windows = _table(con, "campaigns.window_purchases")
    assert windows.group_by("windows_ago").agg(pl.col("buyers", "first_buyers").sum()).sort("windows_ago").rows() == [
        (1, 2, 2), (2, 3, 3),
    ]  # fmt: skip
    con.close()


@pytest.mark.parametrize(("before", "is_first"), [(90, False), (89, True)])
def test_a_purchase_on_the_day_the_window_begins_is_of_the_past(before: int, is_first: bool) -> None:
    for ago in (1, 2):
        shift = 90 * (ago - 1)
        con = _shop([("A", "O1", "P1", before + shift, False), ("A", "O2", "P1", 50 + shift, False)], ["A"])
        row = _table(con, "campaigns.window_purchases").row(by_predicate=pl.col("windows_ago") == ago, named=True)
        activity = _row(con, "A", ago)
        assert (row["buyers"], row["first_buyers"]) == (1, int(is_first))
        assert (activity["products_next"], activity["first_products_next"]) == (1, int(is_first))
        con.close()
