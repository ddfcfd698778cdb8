"""Gamma-Gamma: published parameters come out, in any currency, and few purchases are drawn towards the mean of all."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from scipy.special import betaln

from segmentation_assets.lifetime import gamma_gamma
from segmentation_assets.lifetime.gamma_gamma import (
    GammaGamma,
    _Likelihood,
    expected_amount_per_purchase,
    fit_gamma_gamma,
    log_likelihood,
)
from segmentation_assets.lifetime.purchases import Floats, purchase_days, purchase_history

_PARAMETER = st.floats(0.1, 30)
_CUSTOMERS = st.lists(st.tuples(st.integers(1, 40), st.floats(0.01, 1e4)), min_size=1, max_size=12)


def _drawn(customers: int, seed: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    x = rng.geometric(0.3, customers).astype(float)
    return x, rng.gamma(5.0 * x) / rng.gamma(4.0, 1 / 20.0, customers)


@pytest.mark.data
def test_cdnow_gives_the_published_parameters(cdnow: pl.DataFrame) -> None:
    history = purchase_history(purchase_days(cdnow), date(1997, 9, 30), 273).filter(pl.col("x") > 0)
    assert history.height == 946
    fit = fit_gamma_gamma(history["valued"].to_numpy(), history["repeat_amount"].to_numpy())
    for name, published in (("p", 6.250), ("q", 3.744), ("v", 15.444)):
        assert fit.parameters[name] == pytest.approx(published, rel=2e-3), name


@given(rows=_CUSTOMERS, p=_PARAMETER, q=_PARAMETER, v=_PARAMETER)
@settings(max_examples=60, deadline=None)
def test_likelihood_is_the_papers(rows: list[tuple[int, float]], p: float, q: float, v: float) -> None:
    x, mean = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    share = x * mean / (v + x * mean)
    printed = (q * np.log1p(-share) + p * x * np.log(share) - np.log(mean) - betaln(p * x, q)).sum()
    assert log_likelihood(x, x * mean, p, q, v) == pytest.approx(printed, rel=1e-6, abs=1e-6)


@given(rows=_CUSTOMERS, p=_PARAMETER, q=_PARAMETER, v=_PARAMETER)
@settings(max_examples=40, deadline=None)
def test_gradient_is_the_slope_of_the_likelihood(rows: list[tuple[int, float]], p: float, q: float, v: float) -> None:
    x, amount = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    objective = _Likelihood(x, amount, 7.0)
    logs = np.log([p, q, v])
    measured = approx_fprime(logs, lambda at: objective(at)[0], 1e-6)
    assert objective(logs)[1] == pytest.approx(measured, rel=2e-3, abs=1e-3)


def test_planted_parameters_are_recovered_in_any_currency() -> None:
    x, amount = _drawn(20_000, 1)
    fit, in_yen = fit_gamma_gamma(x, amount), fit_gamma_gamma(x, amount * 160)
    assert (fit.p, fit.q, fit.v) == pytest.approx((5.0, 4.0, 20.0), rel=0.05)
    assert (in_yen.p, in_yen.q, in_yen.v / 160) == pytest.approx((fit.p, fit.q, fit.v), rel=1e-4)
    for found, money in ((fit, amount), (in_yen, amount * 160)):
        assert found.log_likelihood == pytest.approx(log_likelihood(x, money, found.p, found.q, found.v))


def test_starting_on_a_draw_of_the_customers_ends_where_all_of_them_do(monkeypatch: pytest.MonkeyPatch) -> None:
    x, amount = _drawn(4_000, 2)
    on_all = fit_gamma_gamma(x, amount)
    monkeypatch.setattr(gamma_gamma, "_START_CUSTOMERS", 500)
    assert fit_gamma_gamma(x, amount).parameters == pytest.approx(on_all.parameters, rel=1e-4)


def test_expected_amount_lies_between_the_customers_own_mean_and_that_of_all() -> None:
    model = GammaGamma(6.25, 3.744, 15.444, 0.0)
    of_all = 6.25 * 15.444 / (3.744 - 1)
    found = expected_amount_per_purchase(model, [0, 1, 10, 10_000], [0, 80, 800, 800_000])
    assert found[0] == pytest.approx(of_all)
    assert of_all < found[1] < found[2] < found[3] < 80
    assert found[3] == pytest.approx(80, rel=1e-3)


def test_an_infinite_mean_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^q of Gamma-Gamma is 0\.900; an expected amount needs it above 1\.$"):
        expected_amount_per_purchase(GammaGamma(6.0, 0.9, 15.0, 0.0), [1], [10])


@pytest.mark.parametrize(
    ("x", "amount"),
    [([], []), ([0, 1], [5, 5]), ([1, 1], [5, 0]), ([1, 1], [5, -3]), ([1, 1], [5, np.nan]), ([1, 1], [5, np.inf])],
)
def test_customers_the_model_is_not_about_are_refused(x: list[float], amount: list[float]) -> None:
    with pytest.raises(
        ValueError,
        match=r"^Gamma-Gamma needs repeat buyers, each with at least one repeat purchase and money above 0\.$",
    ):
        fit_gamma_gamma(x, amount)
