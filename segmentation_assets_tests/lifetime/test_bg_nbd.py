"""BG/NBD: published parameters come out, the likelihood is the paper's, and expectations are right at the edges."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from types import ModuleType

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import approx_fprime
from scipy.special import gammaln, hyp2f1
from scipy.stats import beta

from segmentation_assets.lifetime import bg_nbd
from segmentation_assets.lifetime.bg_nbd import (
    BgNbd,
    _Likelihood,
    active_probability,
    expected_purchases,
    fit_bg_nbd,
    log_likelihood,
)
from segmentation_assets.lifetime.purchases import Floats, Grouped, group_history, purchase_days, purchase_history

CALIBRATION_END = date(1997, 9, 30)
CDNOW = BgNbd(0.2426, 4.4136, 0.7929, 2.4259, -9582.43)

_PARAMETER = st.floats(0.05, 30)
_CUSTOMERS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 400), st.integers(0, 400), st.integers(1, 50)), min_size=1, max_size=12
)


def _groups(rows: list[tuple[int, int, int, int]]) -> Grouped:
    """Groups of x, last purchase, further days observed, customers."""
    x, last, more, customers = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    t_x = np.where(x > 0, last, 0) / 7
    return Grouped(x, t_x, t_x + more / 7, customers)


@pytest.mark.data
def test_cdnow_gives_the_published_parameters_and_likelihood(cdnow: pl.DataFrame) -> None:
    history = purchase_history(purchase_days(cdnow), CALIBRATION_END, 273)
    groups = group_history(history)
    assert (history.height, int((history["x"] > 0).sum()), len(groups.x)) == (2357, 946, 1016)
    fit = fit_bg_nbd(groups)
    for name, published in (("r", 0.2426), ("alpha", 4.4136), ("a", 0.7929), ("b", 2.4259)):
        assert fit.parameters[name] == pytest.approx(published, rel=1e-3), name
    assert fit.log_likelihood == pytest.approx(-9582.43, abs=0.05)
    assert fit.is_converged


@given(rows=_CUSTOMERS, r=_PARAMETER, alpha=_PARAMETER, a=_PARAMETER, b=_PARAMETER)
@settings(max_examples=60, deadline=None)
def test_likelihood_over_groups_is_the_papers_over_customers(
    rows: list[tuple[int, int, int, int]], r: float, alpha: float, a: float, b: float
) -> None:
    groups = _groups(rows)
    each: list[float] = []
    for x, t_x, age, customers in zip(groups.x, groups.t_x, groups.age, groups.customers, strict=True):
        alive = gammaln(b + x) - gammaln(b) - (r + x) * np.log(alpha + age)
        gone = -np.inf
        if x > 0:
            gone = np.log(a) + gammaln(b + x - 1) - gammaln(b) - (r + x) * np.log(alpha + t_x)
        common = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + gammaln(a + b) - gammaln(a + b + x)
        each += [common + np.logaddexp(alive, gone)] * int(customers)
    assert log_likelihood(groups, r, alpha, a, b) == pytest.approx(sum(each), rel=1e-9)


@given(rows=_CUSTOMERS, r=_PARAMETER, alpha=_PARAMETER, a=_PARAMETER, b=_PARAMETER)
@settings(max_examples=40, deadline=None)
def test_gradient_is_the_slope_of_the_likelihood(
    rows: list[tuple[int, int, int, int]], r: float, alpha: float, a: float, b: float
) -> None:
    objective = _Likelihood(_groups(rows))
    logs = np.log([r, alpha, a, b])
    measured = approx_fprime(logs, lambda at: objective(at)[0], 1e-6)
    assert objective(logs)[1] == pytest.approx(measured, rel=2e-3, abs=2e-4)


def test_planted_parameters_are_recovered(draw: Callable[..., pl.DataFrame], benchmark: ModuleType) -> None:
    days = purchase_days(draw(20_000, 3))
    fit = fit_bg_nbd(group_history(purchase_history(days, benchmark.AS_OF, 90)))
    for name, value in fit.parameters.items():
        assert value == pytest.approx(benchmark.PLANTED[name], rel=0.08), name


def test_starting_on_a_draw_of_the_groups_ends_where_all_of_them_do(
    draw: Callable[..., pl.DataFrame], benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = group_history(purchase_history(purchase_days(draw(5_000, 4)), benchmark.AS_OF, 90))
    on_all = fit_bg_nbd(groups)
    monkeypatch.setattr(bg_nbd, "_START_GROUPS", 500)
    assert fit_bg_nbd(groups).parameters == pytest.approx(on_all.parameters, rel=1e-4)


def test_fit_without_a_repeat_purchase_is_refused() -> None:
    for x in (np.zeros(3), np.zeros(0)):
        with pytest.raises(ValueError, match=r"^BG/NBD needs repeat purchases; there are none\.$"):
            fit_bg_nbd(Grouped(x, x, x + 5, x + 1))


def _closed_form(model: BgNbd, x: Floats, t_x: Floats, age: Floats, horizon: float) -> Floats:
    """Equation 10 of the paper as it is printed."""
    r, alpha, a, b = model.r, model.alpha, model.a, model.b
    series = hyp2f1(r + x, b + x, a + b + x - 1, horizon / (alpha + age + horizon))
    above = (a + b + x - 1) / (a - 1) * (1 - ((alpha + age) / (alpha + age + horizon)) ** (r + x) * series)
    below = 1 + (x > 0) * a / (b + np.maximum(x, 1) - 1) * ((alpha + age) / (alpha + t_x)) ** (r + x)
    return np.asarray(above / below)


@given(
    rows=_CUSTOMERS,
    r=st.floats(0.1, 3),
    alpha=st.floats(1, 30),
    stopping=st.tuples(st.floats(0.2, 0.9) | st.floats(1.1, 4), st.floats(0.5, 8)),
    horizon=st.sampled_from([1.0, 90 / 7, 39.0, 520.0]),
)
@settings(max_examples=60, deadline=None)
def test_expected_purchases_are_the_papers_closed_form(
    rows: list[tuple[int, int, int, int]], r: float, alpha: float, stopping: tuple[float, float], horizon: float
) -> None:
    assume(abs(sum(stopping) - 1) > 1e-3)  # there the form is 0 times infinity for who never bought again
    model, groups = BgNbd(r, alpha, *stopping, 0.0), _groups(rows)
    found = expected_purchases(model, groups.x, groups.t_x, groups.age, horizon)
    assert found == pytest.approx(_closed_form(model, groups.x, groups.t_x, groups.age, horizon), rel=1e-6)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (BgNbd(0.25, 4.4, 1.0, 2.4, 0.0), 3),  # the closed form is 0/0 at a = 1
        (BgNbd(0.25, 4.4, 1.0 + 1e-12, 2.4, 0.0), 0),
        (BgNbd(0.25, 4.4, 0.8, 2.4, 0.0), 5_000),  # its terms overflow for a wholesaler
        (BgNbd(60.0, 300.0, 0.4, 2.0, 0.0), 0),  # its terms cancel where all buy at nearly one rate
    ],
)
def test_expected_purchases_hold_where_the_closed_form_breaks_down(model: BgNbd, x: int) -> None:
    horizon, t_x, age = 13.0, 99.0 if x else 0.0, 100.0

    def at(p: float) -> float:
        bought = -np.expm1(-(model.r + x) * np.log1p(p * horizon / (model.alpha + age))) / p
        return float(bought * beta.pdf(p, model.a, model.b + x))

    # The density is unbounded at 0 for a below 1; substituting p = u^k smooths it.
    power = 8
    mean = quad(
        lambda u: at(u**power) * power * u ** (power - 1), 0, 1, limit=500, points=[(1 / (x + 1)) ** (1 / power)]
    )[0]
    active = 1.0 if x == 0 else float(active_probability(model, [x], [t_x], [age])[0])
    assert expected_purchases(model, [x], [t_x], [age], horizon)[0] == pytest.approx(mean * active, rel=1e-6)


def test_expectation_grows_with_the_horizon_from_nothing() -> None:
    grown = [expected_purchases(CDNOW, [0, 2, 26], [0, 30, 38], [38, 38, 38], weeks) for weeks in (0, 1, 13, 39, 520)]
    assert grown[0].tolist() == [0.0, 0.0, 0.0]
    assert (np.diff(np.array(grown), axis=0) > 0).all()
    with pytest.raises(ValueError, match=r"^The horizon is -1 weeks; it must not be negative\.$"):
        expected_purchases(CDNOW, [0], [0], [1], -1)


def test_probability_of_being_active_is_unknown_after_one_purchase_and_falls_with_silence() -> None:
    found = active_probability(CDNOW, [0, 0, 1, 5, 5, 5], [0, 0, 10, 30, 30, 30], [1, 500, 10, 30, 60, 500])
    assert np.isnan(found[:2]).all()
    # No silence: the odds of having stopped are those of the last purchase alone, a to b + x - 1.
    assert found[2] == pytest.approx(CDNOW.b / (CDNOW.a + CDNOW.b))
    assert found[3] > found[4] > found[5] > 0
