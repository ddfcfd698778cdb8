"""The forecast is chosen by the window it has not seen, sees nothing of the future, and yields to the simplest rule."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression

from segmentation_assets.lifetime.forecast import (
    BASELINE,
    CANDIDATE_SCHEMA,
    ENSEMBLE,
    FORECAST_SCHEMA,
    HORIZON_DAYS,
    SpendForecast,
    SpendRegressor,
    Window,
    forecast_spend,
)
from segmentation_assets.segmentation.kmeans import one_thread


def _shop(seed: int, n: int = 1_200) -> tuple[pl.DataFrame, np.ndarray]:
    """Customers with a rate and an amount of their own, seen by noisy features; and the spend that follows."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(0.6, 1.0, n)
    amount = rng.lognormal(3.5, 0.4, n)
    years = 3
    orders = rng.poisson(rate * 4 * years)
    lately, ahead = rng.poisson(rate), rng.poisson(rate)
    customers = pl.DataFrame(
        {
            "customer_id": [f"c{number:05d}" for number in range(n)],
            "recency_days": np.where(orders > 0, rng.exponential(90 / (rate + 0.05)), np.nan).round(),
            "order_count": orders,
            "monetary_amount": orders * amount,
            "average_order_amount": np.where(orders > 0, amount, np.nan),
            "tenure_days": np.full(n, 365.0 * years) - rng.integers(0, 30, n),
            "orders_last_90_days": lately,
            "monetary_last_90_days": lately * amount,
            "favourite_channel": rng.choice(["web", "app"], n),
        }
    ).with_columns(pl.col("recency_days", "average_order_amount").fill_nan(None))
    return customers, ahead * amount


def _window(customers: pl.DataFrame, spend: np.ndarray) -> Window:
    return Window(customers, pl.DataFrame({"customer_id": customers["customer_id"], "next_amount": spend}))


@pytest.fixture(scope="module")
def forecast() -> SpendForecast:
    return forecast_spend(_window(*_shop(1)), _window(*_shop(2)), _shop(3)[0], 1)


def _figure(found: SpendForecast, method: str, metric: str) -> float:
    row = found.candidates.row(by_predicate=(pl.col("method") == method) & (pl.col("metric") == metric), named=True)
    return float(row["estimate"])


def test_a_history_that_tells_the_future_beats_the_last_90_days(forecast: SpendForecast) -> None:
    assert forecast.customers.schema == pl.Schema(FORECAST_SCHEMA)
    assert forecast.candidates.schema == pl.Schema(CANDIDATE_SCHEMA)
    assert forecast.method != BASELINE
    assert _figure(forecast, forecast.method, "capped_rmse") < 0.9 * _figure(forecast, BASELINE, "capped_rmse")
    assert forecast.sentence.startswith(
        f"The {forecast.method} beats 'same as last 90 days': on 1,200 customers of the last 90 days its error "
        f"(capped RMSE) was {_figure(forecast, forecast.method, 'capped_rmse'):,.2f} against "
    )


def test_every_customer_of_today_has_a_forecast_beside_the_baseline_and_the_best_candidate_is_marked(
    forecast: SpendForecast,
) -> None:
    today = _shop(3)[0]
    assert forecast.customers["customer_id"].to_list() == today["customer_id"].to_list()
    assert forecast.customers["horizon_days"].unique().to_list() == [HORIZON_DAYS]
    assert forecast.customers["method"].unique().to_list() == [forecast.method]
    assert forecast.customers["baseline_amount"].to_list() == today["monetary_last_90_days"].round(2).to_list()
    assert forecast.customers["forecast_amount"].min() >= 0
    deciding = forecast.candidates.filter(
        (pl.col("metric") == "capped_rmse") & ~pl.col("method").str.contains(" minus ")
    ).sort("estimate")
    assert deciding["is_chosen"].to_list() == [True, False, False, False, False]
    assert {ENSEMBLE, BASELINE} <= set(deciding["method"])


def test_the_forecast_of_all_is_near_what_all_will_spend(forecast: SpendForecast) -> None:
    assert forecast.customers["forecast_amount"].sum() == pytest.approx(_shop(3)[1].sum(), rel=0.15)


def test_errors_are_those_of_the_window_it_has_not_seen(forecast: SpendForecast) -> None:
    customers, spend = _shop(2)
    error = customers["monetary_last_90_days"].to_numpy() - spend
    assert _figure(forecast, BASELINE, "mae") == pytest.approx(np.abs(error).mean(), abs=1e-5)
    assert _figure(forecast, BASELINE, "rmse") == pytest.approx(np.sqrt((error**2).mean()), abs=1e-5)
    assert _figure(forecast, BASELINE, "total_ratio") == pytest.approx(1 + error.sum() / spend.sum(), abs=1e-5)


def test_rows_in_another_order_and_columns_that_must_not_be_seen_change_nothing(forecast: SpendForecast) -> None:
    def disguise(customers: pl.DataFrame, spend: np.ndarray) -> pl.DataFrame:
        leak = pl.Series("next_spend", spend)
        return customers.with_columns(leak, loyalty_points=leak * 2, birth_year=leak.cast(pl.Int64)).sample(
            fraction=1.0, shuffle=True, seed=4
        )

    windows = [Window(disguise(*_shop(seed)), _window(*_shop(seed)).outcomes) for seed in (1, 2)]
    again = forecast_spend(*windows, disguise(*_shop(3)), 1)
    assert again.candidates.equals(forecast.candidates)
    assert again.customers.equals(forecast.customers)


def test_when_no_candidate_beats_the_last_90_days_they_are_published_and_it_is_said() -> None:
    def same_again(seed: int) -> tuple[pl.DataFrame, np.ndarray]:
        customers, _ = _shop(seed, 400)
        return customers, customers["monetary_last_90_days"].to_numpy()

    found = forecast_spend(_window(*same_again(1)), _window(*same_again(2)), same_again(3)[0], 1)
    assert found.method == BASELINE
    assert found.customers["forecast_amount"].to_list() == found.customers["baseline_amount"].to_list()
    assert found.sentence.startswith(
        "No candidate beats 'same as last 90 days', which is published: on 400 customers of the last 90 days its error "
        "(capped RMSE) was 0.00, that of the best candidate ("
    )


def test_nobody_spent_one_customer_and_no_customer_are_refused_with_the_numbers() -> None:
    customers, spend = _shop(1, 300)
    silent = forecast_spend(_window(customers, spend), _window(customers, 0 * spend), customers, 1)
    assert silent.customers.is_empty() and silent.candidates.is_empty() and silent.method == ""
    assert silent.customers.schema == pl.Schema(FORECAST_SCHEMA)
    assert silent.sentence == (
        "No forecast: of 300 customers known before the second window of 90 days, 0 spent something in it; at least "
        "100 and 30 are needed."
    )
    one = forecast_spend(_window(customers[:1], spend[:1]), _window(customers, spend), customers, 1)
    assert one.sentence.startswith("No forecast: of 1 customers known before the first window of 90 days, ")
    nobody = forecast_spend(_window(customers[:0], spend[:0]), _window(customers, spend), customers, 1)
    assert nobody.sentence.startswith("No forecast: of 0 customers known before the first window")


def test_customers_who_all_look_alike_cannot_be_forecast() -> None:
    customers, spend = _shop(1, 300)
    alike = customers.select("customer_id", monetary_last_90_days=pl.lit(5.0))
    found = forecast_spend(_window(alike, spend), _window(alike, spend), alike, 1)
    assert found.sentence == "No forecast: every feature is the same for all customers, or unknown."


def test_a_table_without_the_baseline_is_refused_by_name() -> None:
    customers, spend = _shop(1, 300)
    with pytest.raises(ValueError, match="The customers of today have no column monetary_last_90_days"):
        forecast_spend(_window(customers, spend), _window(customers, spend), customers.select("customer_id"), 1)


def test_a_customer_known_today_only_by_name_still_has_a_forecast() -> None:
    customers, spend = _shop(1, 400)
    stranger = customers[:1].select(
        pl.when(pl.col(name).is_null()).then(pl.col(name)).alias(name)
        if name != "customer_id"
        else pl.lit("z").alias(name)
        for name in customers.columns
    )
    today = pl.concat([customers, stranger.cast(customers.schema)])  # type: ignore[arg-type]
    found = forecast_spend(_window(customers, spend), _window(customers, spend), today, 1)
    assert found.customers["customer_id"][-1] == "z"
    assert np.isfinite(found.customers["forecast_amount"].to_numpy()).all()


@pytest.mark.parametrize("on_roots", [True, False])
def test_amounts_add_up_to_what_was_learned_from_and_are_never_negative(on_roots: bool) -> None:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(500, 2))
    y = np.maximum(30 * X[:, 0] + rng.normal(size=500), 0.0)
    with one_thread():
        fitted = clone(SpendRegressor(LinearRegression(), on_roots=on_roots, rows=200, seed=3)).fit(X, y)
        amounts = fitted.predict(X)
        assert amounts.sum() == pytest.approx(y.sum())
        assert amounts.min() >= 0
        # A customer far outside of what was seen is not expected to spend more than anybody did, bar the factor.
        assert fitted.predict(np.array([[1e6, 0.0]]))[0] == pytest.approx(y.max() * fitted.factor_)


def test_a_regressor_that_expects_nothing_forecasts_nothing() -> None:
    fitted = SpendRegressor(DummyRegressor(strategy="constant", constant=-1.0)).fit(np.zeros((5, 1)), np.ones(5))
    assert fitted.predict(np.zeros((2, 1))).tolist() == [0.0, 0.0]
