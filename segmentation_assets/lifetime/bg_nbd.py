"""BG/NBD: how often customers buy while they are active, and when they stop, from how often and how lately they bought.

Fader, Hardie, Lee (2005), "Counting your customers" the easy way, Marketing Science 24. While active a customer buys at
a rate of their own (gamma over customers: r, alpha) and after each repeat purchase stops with a probability of their
own (beta over customers: a, b). Time is in weeks. Spend is `gamma_gamma`; whether the data allow a fit is `gates`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigh_tridiagonal
from scipy.optimize import minimize
from scipy.special import digamma, expit, gammaln

from segmentation_assets.lifetime.purchases import Floats, Grouped
from segmentation_assets.segmentation.kmeans import one_thread

NAMES = ("r", "alpha", "a", "b")
#: Where the search for each parameter ends; a fit that ends there has no maximum inside.
LIMITS = ((1e-3, 1e3), (1e-3, 1e5), (1e-3, 1e3), (1e-3, 1e3))
#: Start values of r, a and b; alpha follows from the mean rate.
_STARTS = ((0.3, 0.7, 2.5), (1.0, 1.0, 5.0), (3.0, 0.3, 10.0), (0.5, 2.0, 2.0))
#: Above this many groups the starts are tried on a draw of them, and the best is polished on all.
_START_GROUPS = 20_000
_SEED = 2005
#: Slope of the mean log-likelihood per log unit of a parameter that counts as none.
_FLAT = 1e-5
#: Enough for nine digits at 13 weeks and at ten years (tested).
_NODES = 64
_BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class BgNbd:
    """The four parameters (weeks), and the log-likelihood of all customers at them."""

    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float
    is_converged: bool = True

    @property
    def parameters(self) -> dict[str, float]:
        """By name."""
        return {name: float(getattr(self, name)) for name in NAMES}


class _Likelihood:
    """Negative mean log-likelihood and its gradient in the logs of the parameters, with what does not change kept.

    Gamma functions are needed once per distinct x and logs once per distinct time; only repeat buyers need a row each.
    """

    def __init__(self, groups: Grouped) -> None:
        weight = groups.customers
        self.total = float(weight.sum())
        self.x, x_place = np.unique(groups.x, return_inverse=True)
        self.of_x = np.bincount(x_place, weight)
        self.age, age_place = np.unique(groups.age, return_inverse=True)
        self.of_age = np.bincount(age_place, weight, len(self.age))
        self.x_of_age = np.bincount(age_place, weight * groups.x, len(self.age))
        again = groups.x > 0
        self.weight, self.again_x, self.again_age = weight[again], groups.x[again], age_place[again]
        self.t_x, self.again_t = np.unique(groups.t_x[again], return_inverse=True)

    def __call__(self, logs: Floats) -> tuple[float, Floats]:
        r, alpha, a, b = np.exp(logs)
        log_age, log_t = np.log(alpha + self.age), np.log(alpha + self.t_x)
        gap = log_age[self.again_age] - log_t[self.again_t]
        rx = r + self.again_x
        # Log odds that the last purchase was where the customer stopped.
        odds = np.log(a) - np.log(b + self.again_x - 1) + rx * gap
        stopped = self.weight * expit(odds)
        value = (
            (self.of_x * (gammaln(r + self.x) + gammaln(b + self.x) - gammaln(a + b + self.x))).sum()
            + self.total * (r * np.log(alpha) - gammaln(r) + gammaln(a + b) - gammaln(b))
            - ((r * self.of_age + self.x_of_age) * log_age).sum()
            + (self.weight * np.logaddexp(0.0, odds)).sum()
        )
        by_ab = self.total * digamma(a + b) - (self.of_x * digamma(a + b + self.x)).sum()
        slope = np.array(
            [
                (self.of_x * digamma(r + self.x)).sum()
                + self.total * (np.log(alpha) - digamma(r))
                - (self.of_age * log_age).sum()
                + (stopped * gap).sum(),
                self.total * r / alpha
                - ((r * self.of_age + self.x_of_age) / (alpha + self.age)).sum()
                + (
                    stopped * rx * (1 / (alpha + self.age)[self.again_age] - 1 / (alpha + self.t_x)[self.again_t])
                ).sum(),
                by_ab + stopped.sum() / a,
                by_ab
                + (self.of_x * digamma(b + self.x)).sum()
                - self.total * digamma(b)
                - (stopped / (b + self.again_x - 1)).sum(),
            ]
        )
        return -value / self.total, -slope * np.exp(logs) / self.total


def log_likelihood(groups: Grouped, r: float, alpha: float, a: float, b: float) -> float:
    """Log-likelihood of all customers, equation 6 of the paper; -inf or NaN never for positive parameters."""
    objective = _Likelihood(groups)
    return -objective(np.log(np.array([r, alpha, a, b])))[0] * objective.total


def fit_bg_nbd(groups: Grouped) -> BgNbd:
    """Maximum likelihood on grouped statistics, by L-BFGS-B on the logs of the parameters from several starts.

    ValueError without a repeat purchase: nothing then tells a customer who stopped from one who is slow. Whether the
    fit may be used is for `gates.fit_gate` to say.
    """
    if not len(groups.x) or groups.x.max() <= 0:
        raise ValueError("BG/NBD needs repeat purchases; there are none.")
    with one_thread():
        whole = _Likelihood(groups)
        few = _Likelihood(_draw(groups)) if len(groups.x) > _START_GROUPS else whole
        rate = (groups.customers * groups.x).sum() / max((groups.customers * groups.age).sum(), 1e-9)
        bounds = [(np.log(low), np.log(high)) for low, high in LIMITS]
        tried = []
        for r, a, b in _STARTS:
            start = np.clip(np.log([r, r / rate, a, b]), *np.array(bounds).T)
            tried.append(_minimise(few, start, bounds))
        best = min(tried, key=lambda found: float(found.fun))
        if few is not whole:
            best = _minimise(whole, best.x, bounds)
    r, alpha, a, b = (float(value) for value in np.exp(best.x))
    return BgNbd(r, alpha, a, b, -float(best.fun) * whole.total, is_flat(best))


def _minimise(objective: _Likelihood, start: Floats, bounds: list[tuple[float, float]]) -> Any:
    options = {"maxiter": 500, "ftol": 1e-13, "gtol": 1e-8}
    return minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)


def is_flat(found: Any) -> bool:
    """Whether a search of a mean log-likelihood ended where it is flat.

    A line search that finds nothing better to the last digit counts as a failure to scipy, and is none here. Whether
    it is flat inside the limits is for `gates.fit_gate`.
    """
    return bool(found.success) or float(np.abs(found.jac).max()) < _FLAT


def _draw(groups: Grouped) -> Grouped:
    rng = np.random.default_rng(np.random.SeedSequence([_SEED, len(groups.x)]))
    drawn = np.sort(rng.choice(len(groups.x), _START_GROUPS, replace=False))
    return Grouped(groups.x[drawn], groups.t_x[drawn], groups.age[drawn], groups.customers[drawn])


def active_probability(model: BgNbd, x: ArrayLike, t_x: ArrayLike, age: ArrayLike) -> Floats:
    """Probability (n,) that a customer is still active, given x, t_x and age in weeks.

    NaN where x is 0: the model lets customers stop only after a repeat purchase and would say 1 for ever.
    """
    x, t_x, age = (np.asarray(values, dtype=np.float64) for values in (x, t_x, age))
    again = np.maximum(x, 1.0)
    odds = np.log(model.a) - np.log(model.b + again - 1) + (model.r + x) * np.log1p((age - t_x) / (model.alpha + t_x))
    return np.where(x > 0, expit(-odds), np.nan)


def expected_purchases(model: BgNbd, x: ArrayLike, t_x: ArrayLike, age: ArrayLike, horizon: float) -> Floats:
    """Purchases (n,) expected in the next `horizon` weeks given x, t_x and age in weeks: equation 10 of the paper.

    The paper's closed form has a Gaussian hypergeometric function, whose terms cancel near a = 1 and overflow for
    large x. It is the mean over the customer's stopping probability p, Beta(a, b + x) while active, of
    (1 - (1 + p horizon / (alpha + age))^-(r + x)) / p; that mean is taken here by Gauss-Jacobi quadrature (Golub and
    Welsch 1969), all of whose terms are positive. Times the probability of being active, which is 1 for x = 0.
    """
    x, t_x, age = (np.atleast_1d(np.asarray(values, dtype=np.float64)) for values in (x, t_x, age))
    if horizon < 0:
        raise ValueError(f"The horizon is {horizon:g} weeks; it must not be negative.")
    while_active = np.zeros(len(x))
    with one_thread():
        order = np.argsort(x, kind="stable")
        counts, begins = np.unique(x[order], return_index=True)
        for count, begin, stop in zip(counts, begins, [*begins[1:], len(x)], strict=True):
            p, weights = _beta_nodes(model.a, model.b + count)
            for block in range(begin, stop, _BLOCK_ROWS):
                rows = order[block : min(block + _BLOCK_ROWS, stop)]
                ages, place = np.unique(age[rows], return_inverse=True)
                bought = -np.expm1(-(model.r + count) * np.log1p(np.outer(horizon / (model.alpha + ages), p))) / p
                while_active[rows] = (bought * weights).sum(axis=1)[place]
    active = active_probability(model, x, t_x, age)
    return while_active * np.where(x > 0, active, 1.0)


def _beta_nodes(a: float, b: float) -> tuple[Floats, Floats]:
    """Nodes and weights, which sum to one, of the Gauss rule for the mean over Beta(a, b)."""
    left, right = b - 1, a - 1  # exponents of 1 - t and 1 + t in the Jacobi weight, with p = (1 + t) / 2
    n = np.arange(1, _NODES, dtype=np.float64)
    both = left + right
    middle = np.empty(_NODES)
    middle[0] = (right - left) / (both + 2)
    middle[1:] = (right**2 - left**2) / ((2 * n + both) * (2 * n + both + 2))
    # At n = 1 the general term is 0/0 for left + right = -1; its factor (n + both) / (2n + both - 1) is 1 there.
    square = 4 * n * (n + left) * (n + right) / ((2 * n + both) ** 2 * (2 * n + both + 1))
    square[1:] *= (n[1:] + both) / (2 * n[1:] + both - 1)
    nodes, vectors = eigh_tridiagonal(middle, np.sqrt(square))
    weights = vectors[0] ** 2
    return np.maximum((1 + nodes) / 2, 1e-300), weights / weights.sum()
