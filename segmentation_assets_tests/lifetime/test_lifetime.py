"""From purchases to both tables: gates first, a holdout beside the rule to beat, nulls where nothing can be said."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

from segmentation_assets.lifetime.lifetime import (
    BOTH_MODELS,
    CUSTOMER_SCHEMA,
    MODEL_SCHEMA,
    NO_MODEL,
    NO_PURCHASE,
    ORDERS_ONLY,
    Lifetime,
    estimate_lifetime,
    holdout_cutoff,
    judge_holdout,
)
from segmentation_assets.lifetime.purchases import purchase_days

AS_OF = date(2026, 6, 30)
_NEEDED = "(needed: 200, 50, 5% and 90)"

Draw = Callable[..., pl.DataFrame]


@pytest.fixture(scope="module")
def purchases(draw: Draw) -> pl.DataFrame:
    return draw(3_000, 5)


@pytest.fixture(scope="module")
def found(purchases: pl.DataFrame) -> Lifetime:
    return estimate_lifetime(purchases, _ids(3_001), AS_OF)


def _ids(customers: int) -> pl.Series:
    return pl.Series("customer_id", [f"c{number}" for number in range(customers)])


def _once(customers: int, again: int, days: int = 700) -> pl.DataFrame:
    """Customers who bought once, the first `again` of them a second time a month later."""
    first = [(f"c{n}", AS_OF - timedelta(days=days - n % (days // 2)), 20.0) for n in range(customers)]
    second = [(who, day + timedelta(days=30), 20.0 + n) for n, (who, day, _) in enumerate(first[:again])]
    return pl.DataFrame(
        first + second, schema={"customer_id": pl.String, "ordered_on": pl.Date, "net_amount": pl.Float64}, orient="row"
    )


def _values(found: Lifetime) -> dict[str, float | None]:
    return dict(found.model.select("parameter", "value").iter_rows())


def _texts(found: Lifetime) -> dict[str, str]:
    return dict(found.model.select("parameter", "text").iter_rows())


@pytest.mark.data
def test_cdnow_holdout_stands_beside_the_same_count_as_before(cdnow: pl.DataFrame) -> None:
    holdout, gate = judge_holdout(purchase_days(cdnow), date(1997, 9, 30), date(1998, 6, 30))
    assert gate.is_open
    assert holdout is not None
    assert (holdout.customers, holdout.days, holdout.actual) == (2357, 273, 1882)
    assert holdout.predicted == pytest.approx(1653.4, abs=0.5)
    assert (holdout.error, holdout.heuristic_error) == pytest.approx((0.7855, 0.8973), abs=5e-5)
    assert holdout.rank_correlation == pytest.approx(0.449, abs=5e-4)
    assert holdout.heuristic_rank_correlation == pytest.approx(0.488, abs=5e-4)
    assert holdout.verdict() == (
        "Of 2,357 customers held out for 273 days the model expected 1,653.4 purchases and 1,882 came; the same count "
        "as before would be 2,457. Mean error per customer: model 0.7855, same count 0.8973: the model is nearer. Root "
        "mean squared error: model 1.6080, same count 1.9710: the model is nearer. Rank correlation: model 0.449, same "
        "count 0.488: the same count as before orders customers better."
    )


@pytest.mark.data
def test_cdnow_is_fitted_again_on_everything_after_the_holdout(cdnow: pl.DataFrame) -> None:
    found = estimate_lifetime(cdnow, cdnow["customer_id"].unique(), date(1998, 6, 30))
    values = _values(found)
    assert (values["buyers"], values["window_days"], values["holdout_days"]) == (2357, 545, 181)
    assert values["r"] != values["calibration_r"]
    assert found.customers["expected_orders"].null_count() == 0


def test_every_customer_has_a_row_and_who_never_bought_has_no_estimate(found: Lifetime) -> None:
    assert found.customers.schema == pl.Schema(CUSTOMER_SCHEMA)
    assert found.customers["customer_id"].is_sorted()
    assert found.customers.height == 3_001
    never = found.customers.row(by_predicate=pl.col("customer_id") == "c3000", named=True)
    assert never == {
        "customer_id": "c3000", "horizon_days": 90, "expected_orders": None, "expected_amount": None,
        "active_probability": None, "heuristic_orders": None, "heuristic_amount": None, "method": NO_MODEL,
        "reason": NO_PURCHASE,
    }  # fmt: skip
    others = found.customers.filter(pl.col("customer_id") != "c3000")
    assert others["method"].unique().to_list() == [BOTH_MODELS]
    assert others["reason"].null_count() == 3_000
    assert others.select(pl.min_horizontal("expected_orders", "expected_amount").min()).item() > 0


def test_probability_of_being_active_is_null_exactly_where_one_purchase_says_nothing(
    found: Lifetime, purchases: pl.DataFrame
) -> None:
    bought = purchases.group_by("customer_id").agg(days=pl.col("ordered_on").n_unique())
    both = found.customers.join(bought, on="customer_id")
    assert both.filter(pl.col("active_probability").is_null() != (pl.col("days") == 1)).is_empty()
    assert both["active_probability"].drop_nulls().is_between(0, 1).all()


def test_heuristic_is_the_count_and_money_of_repeat_purchases_in_the_horizon_before(
    found: Lifetime, purchases: pl.DataFrame
) -> None:
    recent = (
        purchases.with_columns(first=pl.col("ordered_on").min().over("customer_id"))
        .filter((pl.col("ordered_on") > AS_OF - timedelta(days=90)) & (pl.col("ordered_on") > pl.col("first")))
        .group_by("customer_id")
        .agg(days=pl.col("ordered_on").n_unique(), money=pl.col("net_amount").sum())
    )
    both = found.customers.join(recent, on="customer_id", how="left").filter(pl.col("method") == BOTH_MODELS)
    assert both["heuristic_orders"].sum() == recent["days"].sum()
    assert (both["heuristic_orders"] == both["days"].fill_null(0)).all()
    assert both["heuristic_amount"].to_list() == pytest.approx(both["money"].fill_null(0.0).to_list())


def test_model_table_has_parameters_window_and_holdout_each_once(found: Lifetime) -> None:
    assert found.model.schema == pl.Schema(MODEL_SCHEMA)
    assert found.model["parameter"].is_unique().all()
    values = _values(found)
    assert {"r", "alpha", "a", "b", "log_likelihood", "p", "q", "v", "window_days"} <= set(values)
    assert values["horizon_days"] == 90
    for figure in ("error", "squared_error", "rank_correlation", "amount_error", "purchases", "amount"):
        assert values[f"holdout_{figure}_model"] is not None
        assert values[f"holdout_{figure}_heuristic"] is not None
    assert (found.is_on, values["orders_gate"], values["spend_gate"], values["holdout_gate"]) == (True, 1, 1, 1)
    assert found.reason == _texts(found)["orders_gate"]
    assert found.model["text"].null_count() == 0


def test_holdout_of_drawn_customers_is_near_what_came(found: Lifetime) -> None:
    values = _values(found)
    assert values["holdout_purchases_model"] == pytest.approx(values["holdout_purchases_actual"], rel=0.1)
    assert values["holdout_amount_model"] == pytest.approx(values["holdout_amount_actual"], rel=0.15)


def test_where_97_of_100_buy_once_there_is_no_estimate_and_the_numbers_say_why() -> None:
    refused = estimate_lifetime(_once(10_000, 300), _ids(10_000), AS_OF)
    reason = (
        "No estimate, too small a share of repeat buyers: 10,000 buyers, 300 of them (3.0%) bought again on another "
        f"day, in 700 days {_NEEDED}."
    )
    assert (refused.is_on, refused.reason) == (False, reason)
    estimates = ["expected_orders", "expected_amount", "active_probability"]
    assert refused.customers.select(pl.col(estimates).null_count().sum()).row(0) == (10_000,) * 3
    assert refused.customers.select("method", "reason").unique().rows() == [(NO_MODEL, reason)]
    # The rule is no model: it is there all the same.
    assert refused.customers["heuristic_orders"].null_count() == 0
    values = _values(refused)
    assert {values[name] for name in ("r", "alpha", "a", "b", "log_likelihood", "p", "q", "v")} == {None}
    assert (values["orders_gate"], values["holdout_gate"], values["repeat_buyers"]) == (0, 0, 300)
    assert _texts(refused)["holdout_gate"] == reason


@pytest.mark.parametrize(
    ("again", "failing", "share"),
    [(0, "too few repeat buyers, too small a share of repeat buyers", "0.0%"), (40, "too few repeat buyers", "8.0%")],
)
def test_one_purchase_each_is_refused(again: int, failing: str, share: str) -> None:
    refused = estimate_lifetime(_once(500, again), _ids(500), AS_OF)
    assert (refused.is_on, refused.reason) == (
        False,
        f"No estimate, {failing}: 500 buyers, {again} of them ({share}) bought again on another day, in 700 days "
        f"{_NEEDED}.",
    )


def test_without_any_purchase_the_tables_keep_their_columns_and_say_so() -> None:
    nothing = pl.DataFrame(schema={"customer_id": pl.String, "ordered_on": pl.Date, "net_amount": pl.Float64})
    for ids, rows in ((_ids(2), 2), (_ids(0), 0)):
        refused = estimate_lifetime(nothing, ids.cast(pl.String), AS_OF)
        assert refused.customers.schema == pl.Schema(CUSTOMER_SCHEMA)
        assert refused.customers.height == rows
        assert refused.reason == (
            "No estimate, too few buyers, too few repeat buyers, too small a share of repeat buyers, too short a "
            f"history: 0 buyers, 0 of them (0.0%) bought again on another day, in 0 days {_NEEDED}."
        )


def test_customers_who_never_stop_are_refused_because_nothing_pins_stopping_down() -> None:
    rng = np.random.default_rng(7)
    rows = [
        (f"c{n}", AS_OF - timedelta(days=int(day)), 10.0 + n)
        for n in range(400)
        for day in np.arange(7 + rng.integers(14), 400, 7 + rng.integers(7))[:60]
    ]
    regular = pl.DataFrame(rows, schema=["customer_id", "ordered_on", "net_amount"], orient="row")
    refused = estimate_lifetime(regular, _ids(400), AS_OF)
    assert refused.reason.startswith("No estimate, in the fit of BG/NBD ")
    assert " ran to its limit of " in refused.reason
    assert refused.customers["expected_orders"].null_count() == 400


def test_equal_amounts_for_everyone_leave_orders_without_money(purchases: pl.DataFrame) -> None:
    found = estimate_lifetime(purchases.with_columns(net_amount=pl.lit(9.99)), _ids(3_000), AS_OF)
    assert found.is_on
    assert found.reason.startswith("No estimate, in the fit of Gamma-Gamma ")
    assert found.customers.select("method", "reason").unique().rows() == [(ORDERS_ONLY, found.reason)]
    assert found.customers["expected_orders"].null_count() == 0
    assert found.customers["expected_amount"].null_count() == 3_000
    assert _values(found)["holdout_amount_model"] is None


def test_unknown_and_free_purchases_leave_orders_without_money(purchases: pl.DataFrame) -> None:
    for amount in (None, 0.0, -5.0):
        lost = purchases.with_columns(net_amount=pl.lit(amount, dtype=pl.Float64))
        found = estimate_lifetime(lost, _ids(3_000), AS_OF)
        repeat = int(_values(found)["repeat_buyers"] or 0)
        assert found.is_on
        assert found.reason == (
            f"No amounts, too few repeat buyers with money: 0 of {repeat:,} repeat buyers have repeat purchases with "
            "money above 0 (needed: 50)."
        )


def test_history_too_short_to_hold_anything_out_is_said(draw: Draw) -> None:
    purchases = draw(2_000, 6, weeks=20, planted={"alpha": 2.0})
    found = estimate_lifetime(purchases, _ids(2_000), AS_OF)
    assert found.is_on
    assert _texts(found)["holdout_gate"] == (
        "No holdout: 139 days of history (needed: 168, half to fit on and half to judge by), so nobody has checked "
        "these estimates."
    )


def test_calibration_that_fails_is_said_and_the_estimates_stay(draw: Draw) -> None:
    early = _once(100, 0, 200).with_columns(customer_id="early " + pl.col("customer_id"))
    found = estimate_lifetime(pl.concat([early, draw(3_000, 6, weeks=12, planted={"alpha": 1.0})]), _ids(3_000), AS_OF)
    assert found.is_on
    assert _texts(found)["holdout_gate"] == (
        "No holdout, the calibration up to 2026-04-07 failed: No estimate, too few buyers, too few repeat buyers, too "
        "small a share of repeat buyers: 100 buyers, 0 of them (0.0%) bought again on another day, in 116 days "
        f"{_NEEDED}."
    )


def test_holdout_is_the_last_third_within_twelve_and_thirty_nine_weeks() -> None:
    held = {window: holdout_cutoff(window, AS_OF) for window in (0, 167, 168, 251, 300, 819, 1460)}
    lengths = {window: None if day is None else (AS_OF - day).days for window, day in held.items()}
    assert lengths == {0: None, 167: None, 168: 84, 251: 84, 300: 100, 819: 273, 1460: 273}


def test_purchases_after_the_day_change_nothing(found: Lifetime, purchases: pl.DataFrame) -> None:
    later = purchases.with_columns(pl.col("ordered_on") + timedelta(days=800)).filter(pl.col("ordered_on") > AS_OF)
    assert later.height > 100
    again = estimate_lifetime(pl.concat([purchases, later]), _ids(3_001), AS_OF)
    assert again.customers.equals(found.customers)
    assert again.model.equals(found.model)


def test_order_of_rows_changes_nothing(found: Lifetime, purchases: pl.DataFrame) -> None:
    shuffled = purchases.sample(fraction=1.0, shuffle=True, seed=1)
    again = estimate_lifetime(shuffled, _ids(3_001).reverse(), AS_OF)
    assert again.customers.equals(found.customers)
    assert again.model.equals(found.model)


def test_a_longer_horizon_expects_more(purchases: pl.DataFrame, found: Lifetime) -> None:
    longer = estimate_lifetime(purchases, _ids(3_001), AS_OF, 365)
    assert longer.customers["horizon_days"].unique().to_list() == [365]
    known = found.customers["expected_orders"].is_not_null()
    more = longer.customers.filter(known)["expected_orders"] > found.customers.filter(known)["expected_orders"]
    assert more.all()
    with pytest.raises(ValueError, match=r"^horizon_days is 0; give at least one day\.$"):
        estimate_lifetime(purchases, _ids(1), AS_OF, 0)


@pytest.mark.slow
def test_a_hundred_thousand_customers_recover_the_planted_parameters(draw: Draw, benchmark: ModuleType) -> None:
    values = _values(estimate_lifetime(draw(100_000, 8), _ids(100_000), AS_OF))
    # Purchases of one day are merged, which takes a little from frequent buyers.
    for name in ("r", "alpha", "a", "b", "p", "q", "v"):
        assert values[name] == pytest.approx(benchmark.PLANTED[name], rel=0.1), name


def test_benchmark_prints_planted_beside_fitted_and_says_which_file_is_missing(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["lifetime.py", "--customers", "600", "--data", str(tmp_path)])
    benchmark.main()
    printed = capsys.readouterr().out
    assert f"CDNOW: {tmp_path / 'cdnow_sample.txt'} is not there." in printed
    assert "| alpha | 9.000 | " in printed
    assert "held out for" in printed
