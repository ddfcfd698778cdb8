"""Gamma-Gamma: what a customer's purchase is worth on average, from the mean of few.

Fader, Hardie (2013), The Gamma-Gamma model of monetary value. A customer's purchases are gamma around a mean of their
own, the means vary over customers: p, q, v. It assumes that how much does not depend on how often; the correlation
that `lifetime` reports says how far that holds. How often is `bg_nbd`; whether the data allow a fit is `gates`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import digamma, gammaln

from segmentation_assets.lifetime.bg_nbd import is_flat
from segmentation_assets.lifetime.purchases import Floats
from segmentation_assets.segmentation.kmeans import one_thread

NAMES = ("p", "q", "v")
#: Where the search for each parameter ends; v in units of the mean purchase.
LIMITS = ((1e-3, 1e4), (1e-3, 1e4), (1e-6, 1e6))
_STARTS = ((5.0, 4.0, 0.6), (1.0, 2.0, 1.0), (20.0, 3.0, 0.1))
_START_CUSTOMERS = 20_000
_SEED = 2013


@dataclass(frozen=True)
class GammaGamma:
    """The three parameters, v in the source's currency, and the log-likelihood of all repeat buyers at them.

    `mean_amount` is the mean purchase of the customers of the fit, which is the unit v is searched in.
    """

    p: float
    q: float
    v: float
    log_likelihood: float
    mean_amount: float = 1.0
    is_converged: bool = True

    @property
    def parameters(self) -> dict[str, float]:
        """By name."""
        return {name: float(getattr(self, name)) for name in NAMES}


class _Likelihood:
    """Negative mean log-likelihood and its gradient in the logs of the parameters; money in units of `unit`."""

    def __init__(self, x: Floats, amount: Floats, unit: float) -> None:
        self.rows = len(x)
        self.x, self.place = np.unique(x, return_inverse=True)
        self.of_x = np.bincount(self.place)
        self.each_x, self.amount = x, amount / unit
        self.log_amount = np.log(self.amount)
        self.log_mean = float(np.log(amount / x).sum())

    def __call__(self, logs: Floats) -> tuple[float, Floats]:
        p, q, v = np.exp(logs)
        px = p * self.x
        log_whole = np.log(v + self.amount)
        share = self.log_amount - log_whole
        value = (
            (self.of_x * (gammaln(px + q) - gammaln(px))).sum()
            + self.rows * (q * np.log(v) - gammaln(q))
            - q * log_whole.sum()
            + p * (self.each_x * share).sum()
            - self.log_mean
        )
        of_whole = 1 / (v + self.amount)
        slope = np.array(
            [
                (self.of_x * self.x * (digamma(px + q) - digamma(px))).sum() + (self.each_x * share).sum(),
                (self.of_x * digamma(px + q)).sum() + self.rows * (np.log(v) - digamma(q)) - log_whole.sum(),
                self.rows * q / v - q * of_whole.sum() - p * (self.each_x * of_whole).sum(),
            ]
        )
        return -value / self.rows, -slope * np.exp(logs) / self.rows


def _checked(x: ArrayLike, amount: ArrayLike) -> tuple[Floats, Floats]:
    x, amount = np.asarray(x, dtype=np.float64), np.asarray(amount, dtype=np.float64)
    if not len(x) or x.min() < 1 or not np.isfinite(amount).all() or amount.min() <= 0:
        raise ValueError("Gamma-Gamma needs repeat buyers, each with at least one repeat purchase and money above 0.")
    return x, amount


def log_likelihood(x: ArrayLike, amount: ArrayLike, p: float, q: float, v: float) -> float:
    """Log-likelihood of the mean repeat purchases of customers with `x` of them, worth `amount` in all, (n,) each."""
    x, amount = _checked(x, amount)
    return -_Likelihood(x, amount, 1.0)(np.log(np.array([p, q, v])))[0] * len(x)


def fit_gamma_gamma(x: ArrayLike, amount: ArrayLike) -> GammaGamma:
    """Maximum likelihood by L-BFGS-B on the logs of the parameters from several starts.

    `x` (n,): repeat purchases of each repeat buyer; `amount` (n,): their money in all, above 0. ValueError for
    anything else. Whether the fit may be used is for `gates.fit_gate` to say.
    """
    x, amount = _checked(x, amount)
    unit = float((amount / x).mean())
    bounds = [(np.log(low), np.log(high)) for low, high in LIMITS]
    with one_thread():
        whole = few = _Likelihood(x, amount, unit)
        if len(x) > _START_CUSTOMERS:
            rng = np.random.default_rng(np.random.SeedSequence([_SEED, len(x)]))
            drawn = np.sort(rng.choice(len(x), _START_CUSTOMERS, replace=False))
            few = _Likelihood(x[drawn], amount[drawn], unit)
        best = min((_minimise(few, np.log(start), bounds) for start in _STARTS), key=lambda found: float(found.fun))
        if few is not whole:
            best = _minimise(whole, best.x, bounds)
    p, q, v = (float(value) for value in np.exp(best.x))
    return GammaGamma(p, q, v * unit, -float(best.fun) * len(x), unit, is_flat(best))


def _minimise(objective: _Likelihood, start: Floats, bounds: list[tuple[float, float]]) -> Any:
    options = {"maxiter": 500, "ftol": 1e-13, "gtol": 1e-8}
    return minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)


def expected_amount_per_purchase(model: GammaGamma, x: ArrayLike, amount: ArrayLike) -> Floats:
    """Money (n,) expected per purchase of customers with `x` repeat purchases (0 allowed) worth `amount` in all.

    p (v + amount) / (p x + q - 1): between the customer's own mean and that of all, p v / (q - 1), nearer to their
    own the more purchases it is the mean of. Needs q above 1; ValueError otherwise, as the mean is then infinite.
    """
    if model.q <= 1:
        raise ValueError(f"q of Gamma-Gamma is {model.q:.3f}; an expected amount needs it above 1.")
    x, amount = np.asarray(x, dtype=np.float64), np.asarray(amount, dtype=np.float64)
    return np.asarray(model.p * (model.v + amount) / (model.p * x + model.q - 1))
