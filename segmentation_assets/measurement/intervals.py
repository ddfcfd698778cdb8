"""Intervals: one proportion, the difference of two, and the difference of two means of skewed amounts.

What belongs here: formulas over counts and sums, on numbers or arrays of any one shape. What does not: which customers
and which metric (`lift`), what a result means (`decision`).

Three methods, chosen by their measured coverage (`benchmarks/measurement.py`):

- Wilson (1927) for one proportion, and Newcombe's (1998) hybrid of two of them for a difference. Wald's interval covers
  too seldom for small counts and is here only as `wald_difference`, to be shown beside it.
- Hall's (1992) transformation of Student's t for means of skewed amounts with many zeros, such as margin per customer.
  The skewness is that of both groups together, which the larger group knows well, while each group keeps its own
  variance. It needs sums alone, so a million customers cost as much as reading them.
- The percentile-t bootstrap, as a second opinion. It estimates the same correction from the smaller group alone and
  covers less often.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

Floats: TypeAlias = NDArray[np.float64]

#: Amounts drawn at a time by the bootstrap: 32 MB.
_CHUNK = 4_000_000
_BISECTIONS = 60
_LARGEST_Z = 40.0


@dataclass(frozen=True)
class Estimate:
    """The difference treated - control of one metric, with its interval.

    `effect`, `low` and `high` are in the metric's unit, `relative_*` as shares of the control's value (None where that
    is not above 0, or not known well enough for a bound). `p_value` is two-sided and agrees with the interval: below
    .05 exactly when the 95 % interval leaves out 0; `p_greater` is the one-sided one for treated > control.
    """

    effect: float
    low: float
    high: float
    treated_value: float
    control_value: float
    treated_customers: int
    control_customers: int
    relative_effect: float | None
    relative_low: float | None
    relative_high: float | None
    standard_error: float
    p_value: float
    p_greater: float
    method: str


@dataclass(frozen=True)
class AmountSums:
    """What a mean of amounts needs: `customers`, zeros included, `buyers` (amounts other than 0), and power sums.

    Each is a number or an array of the same shape.
    """

    customers: Any
    buyers: Any
    first: Any
    second: Any
    third: Any

    @classmethod
    def of(cls, amounts: ArrayLike, customers: int) -> AmountSums:
        """Sums of the amounts (n,) of a group of `customers`; those who are not in `amounts` count as 0.

        Sorted first: the same customers in another order give the same sums to the last digit.
        Raises ValueError for amounts that are not finite, or more of them than customers.
        """
        values = np.asarray(amounts, dtype=np.float64)
        values = np.sort(values[values != 0])
        if values.size > customers:
            raise ValueError(f"{values.size} amounts of {customers} customers: hand in one amount per customer.")
        if not np.isfinite(values).all():
            raise ValueError("An amount is not a finite number: clean it, or leave the customer at 0.")
        square = values * values
        return cls(customers, values.size, values.sum(), square.sum(), (square * values).sum())

    @property
    def mean(self) -> Any:
        """Amount per customer, those at 0 included."""
        return self.first / self.customers

    @property
    def variance(self) -> Any:
        """Unbiased variance between customers; 0 for a single one."""
        scale = self.customers / np.maximum(self.customers - 1, 1)
        return np.maximum(self.second / self.customers - self.mean**2, 0.0) * scale

    @property
    def skewness(self) -> Any:
        """Third standardised moment between customers; 0 where all are alike."""
        mean, second = self.mean, self.second / self.customers
        variance = second - mean**2
        third = self.third / self.customers - 3 * mean * second + 2 * mean**3
        alike = variance <= 1e-12 * np.maximum(second, 1e-300)
        return np.where(alike, 0.0, third / np.where(alike, 1.0, variance) ** 1.5)


def z_of(confidence: float) -> float:
    """The two-sided normal quantile: 1.96 for .95."""
    if not 0 < confidence < 1:
        raise ValueError(f"The confidence {confidence} must lie between 0 and 1, 0.95 for an interval of 95 %.")
    return float(norm.isf((1 - confidence) / 2))


def wilson(successes: ArrayLike, customers: ArrayLike, z: ArrayLike) -> tuple[Floats, Floats]:
    """Wilson's (1927, JASA 22) score interval of a proportion; inside [0, 1], and of some width even at 0 or n."""
    x, n, z = (np.asarray(value, dtype=np.float64) for value in (successes, customers, z))
    if ((n < 1) | (x < 0) | (x > n)).any():
        raise ValueError("A proportion needs at least one customer, and between none and all of them as successes.")
    square = z * z
    middle = (x + square / 2) / (n + square)
    half = z * np.sqrt(x * (n - x) / n + square / 4) / (n + square)
    low = np.where(x == 0, 0.0, np.minimum(np.maximum(middle - half, 0.0), x / n))
    high = np.where(x == n, 1.0, np.maximum(np.minimum(middle + half, 1.0), x / n))
    return low, high


def newcombe(
    treated_successes: ArrayLike,
    treated: ArrayLike,
    control_successes: ArrayLike,
    control: ArrayLike,
    z: ArrayLike = 1.959963984540054,
) -> tuple[Floats, Floats]:
    """Newcombe's (1998, Statistics in Medicine 17:873) method 10: the hybrid score interval of p1 - p0."""
    one, zero, below_one, above_one, below_zero, above_zero = _distances(
        treated_successes, treated, control_successes, control, z
    )
    difference = one - zero
    return difference - np.hypot(below_one, above_zero), difference + np.hypot(above_one, below_zero)


def wald_difference(
    treated_successes: ArrayLike,
    treated: ArrayLike,
    control_successes: ArrayLike,
    control: ArrayLike,
    z: float = 1.959963984540054,
) -> tuple[Floats, Floats]:
    """The textbook interval of p1 - p0. It covers too seldom where few convert; only for showing that."""
    n, m = np.asarray(treated, dtype=np.float64), np.asarray(control, dtype=np.float64)
    p, q = np.asarray(treated_successes) / n, np.asarray(control_successes) / m
    half = z * np.sqrt(p * (1 - p) / n + q * (1 - q) / m)
    return p - q - half, p - q + half


def newcombe_p_greater(
    treated_successes: ArrayLike, treated: ArrayLike, control_successes: ArrayLike, control: ArrayLike
) -> Floats:
    """One-sided p-values for treated > control that agree with `newcombe`: the z at which a bound meets 0."""
    arguments = [
        np.asarray(value, dtype=np.float64) for value in (treated_successes, treated, control_successes, control)
    ]
    difference = np.asarray(arguments[0] / arguments[1] - arguments[2] / arguments[3])
    least, most = np.zeros_like(difference), np.full_like(difference, _LARGEST_Z)
    for _ in range(_BISECTIONS):
        z = (least + most) / 2
        low, high = newcombe(arguments[0], arguments[1], arguments[2], arguments[3], z)
        leaves_out = np.where(difference > 0, low > 0, high < 0)
        least, most = np.where(leaves_out, z, least), np.where(leaves_out, most, z)
    return np.asarray(norm.sf(np.sign(difference) * least), dtype=np.float64)


def difference_of_proportions(
    treated_successes: int, treated: int, control_successes: int, control: int, *, z: float | None = None
) -> Estimate:
    """Newcombe's interval of p1 - p0, and of p1 / p0 - 1 by the same hybrid (Donner and Zou 2012, SMMR 21:347).

    Both leave out "no difference" together. The standard error, for pooling and planning, is that of the rate of both
    groups together with half a buyer and half a non-buyer added, so that no effect changes its own weight.
    `z` is 1.96 for 95 % when None.
    """
    z = z_of(0.95) if z is None else z
    low, high = newcombe(treated_successes, treated, control_successes, control, z)
    one, zero, below_one, above_one, below_zero, above_zero = (
        float(value) for value in _distances(treated_successes, treated, control_successes, control, z)
    )
    rate = (treated_successes + control_successes + 0.5) / (treated + control + 1)
    greater = float(newcombe_p_greater(treated_successes, treated, control_successes, control))
    ratio = _ratio(one, zero, (below_one, above_zero), (above_one, below_zero))
    return Estimate(
        one - zero, float(low), float(high), one, zero, treated, control, *ratio,
        math.sqrt(rate * (1 - rate) * (1 / treated + 1 / control)),
        min(1.0, 2 * min(greater, 1 - greater)), greater, "Newcombe hybrid score interval",
    )  # fmt: skip


def hall_difference(treated: AmountSums, control: AmountSums, z: ArrayLike) -> tuple[Any, Any, Any, Any]:
    """Ends of the interval of a difference of means, its standard error, and p_greater: numbers or arrays.

    Hall (1992, JRSS B 54:221) transforms t by g(t) = t + A t^2 / 3 + A^2 t^3 / 27 + A / 6, which takes the skewness
    out of it; Zhou and Dinh (2005, Biostatistics 6:187) do so for two groups. A is the skewness of the difference. Here
    it is that of one customer, the same in both groups, times (1/n1^2 - 1/n0^2) / (1/n1 + 1/n0)^1.5: groups of the same
    size need no correction, and do not suffer from the noise of one.
    """
    error = np.sqrt(treated.variance / treated.customers + control.variance / control.customers)
    adjustment = _adjustment(treated, control)
    difference = treated.mean - control.mean
    low = np.minimum(difference - error * _back(z, adjustment), difference)
    high = np.maximum(difference - error * _back(-np.asarray(z), adjustment), difference)
    t = difference / np.where(error > 0, error, 1.0)
    moved = t + adjustment * t**2 / 3 + adjustment**2 * t**3 / 27 + adjustment / 6
    greater = np.where(error > 0, norm.sf(moved), np.where(difference > 0, 0.0, np.where(difference < 0, 1.0, 0.5)))
    return low, high, error, greater


def difference_of_means(treated: AmountSums, control: AmountSums, *, z: float | None = None) -> Estimate:
    """Hall's interval of a difference of means per customer; the relative one solves the same equation (Fieller)."""
    z = z_of(0.95) if z is None else z
    low, high, error, greater = (float(value) for value in hall_difference(treated, control, z))
    one, zero = float(treated.mean), float(control.mean)
    spread_one = math.sqrt(float(treated.variance) / treated.customers)
    spread_zero = math.sqrt(float(control.variance) / control.customers)
    adjustment = float(_adjustment(treated, control))
    below, above = max(float(_back(z, adjustment)), 0.0), max(-float(_back(-z, adjustment)), 0.0)
    ratio = _ratio(one, zero, (below * spread_one, below * spread_zero), (above * spread_one, above * spread_zero))
    return Estimate(
        one - zero, low, high, one, zero, treated.customers, control.customers, *ratio, error,
        min(1.0, 2 * min(greater, 1 - greater)), greater, "Hall's skewness-corrected t interval",
    )  # fmt: skip


def bootstrap_difference(
    treated: ArrayLike,
    treated_customers: int,
    control: ArrayLike,
    control_customers: int,
    *,
    seed: int,
    resamples: int = 2_000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile-t bootstrap interval of a difference of means (Efron and Tibshirani 1993, chapter 12.5).

    `treated` and `control` are the amounts of buyers; the other customers of each group are at 0. A resample of all
    customers draws how many buyers it has (binomial) and then which, so the zeros cost nothing. Amounts are drawn in
    chunks: memory does not grow with the customers.
    """
    rng = np.random.default_rng(seed)
    groups = ((np.asarray(treated, float), treated_customers), (np.asarray(control, float), control_customers))
    one, zero = (AmountSums.of(values, customers) for values, customers in groups)
    difference = float(one.mean - zero.mean)
    error = math.sqrt(one.variance / one.customers + zero.variance / zero.customers)
    (mean_one, variance_one), (mean_zero, variance_zero) = (
        _resampled(values, customers, resamples, rng) for values, customers in groups
    )
    errors = np.sqrt(variance_one + variance_zero)
    held = errors > 0
    if error == 0 or not held.any():
        return difference, difference
    t = (mean_one - mean_zero - difference)[held] / errors[held]
    upper, lower = np.quantile(t, [(1 + confidence) / 2, (1 - confidence) / 2])
    return difference - float(upper) * error, difference - float(lower) * error


def _distances(
    treated_successes: ArrayLike, treated: ArrayLike, control_successes: ArrayLike, control: ArrayLike, z: ArrayLike
) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    """Both proportions, and how far Wilson's bounds lie below and above each."""
    low_one, high_one = wilson(treated_successes, treated, z)
    low_zero, high_zero = wilson(control_successes, control, z)
    one = np.asarray(treated_successes, dtype=np.float64) / np.asarray(treated, dtype=np.float64)
    zero = np.asarray(control_successes, dtype=np.float64) / np.asarray(control, dtype=np.float64)
    return one, zero, one - low_one, high_one - one, zero - low_zero, high_zero - zero


def _ratio(
    one: float, zero: float, below: tuple[float, float], above: tuple[float, float]
) -> tuple[float | None, float | None, float | None]:
    """one / zero - 1 with its bounds: the R with (one - R zero)^2 = a^2 + R^2 b^2, for (a, b) `below` and `above`."""
    if zero <= 0:
        return None, None, None
    bounds: list[float | None] = []
    for is_low, (a, b) in ((True, below), (False, above)):
        numerator, denominator = (one - a) * (one + a), (zero - b) * (zero + b)
        root = (one * zero) ** 2 - numerator * denominator
        sum_ = one * zero + math.sqrt(max(root, 0.0))
        if root < 0 or (not is_low and denominator <= 0):
            bounds.append(None)
        elif is_low:
            bounds.append(numerator / sum_ - 1 if sum_ > 0 else -1.0)
        else:
            bounds.append(sum_ / denominator - 1)
    return one / zero - 1, bounds[0], bounds[1]


def _adjustment(treated: AmountSums, control: AmountSums) -> Any:
    """Skewness of the difference, from that of a customer of either group, weighted by the buyers who show it."""
    buyers = np.maximum(treated.buyers + control.buyers, 1)
    skewness = (treated.buyers * treated.skewness + control.buyers * control.skewness) / buyers
    one, zero = 1 / np.asarray(treated.customers, float), 1 / np.asarray(control.customers, float)
    return skewness * (one**2 - zero**2) / (one + zero) ** 1.5


def _back(z: ArrayLike, adjustment: Any) -> Any:
    """The t whose transform is z: the inverse of Hall's cubic."""
    safe = np.where(np.abs(adjustment) < 1e-9, 1.0, adjustment)
    moved = 3 / safe * (np.cbrt(1 + safe * (np.asarray(z) - safe / 6)) - 1)
    return np.where(np.abs(adjustment) < 1e-9, z, moved)


def _resampled(values: Floats, customers: int, resamples: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Means of resamples of all customers, and the variances of those means."""
    values = np.sort(values[values != 0])
    buyers = rng.binomial(customers, values.size / customers, size=resamples)
    first, second = np.zeros(resamples), np.zeros(resamples)
    start = 0
    while start < resamples and values.size:
        stop = start + max(1, int(np.searchsorted(np.cumsum(buyers[start:]), _CHUNK)))
        ends = np.cumsum(buyers[start:stop])
        drawn = values[rng.integers(0, values.size, size=int(ends[-1]))]
        for sums, amounts in ((first, drawn), (second, drawn * drawn)):
            total = np.concatenate(([0.0], np.cumsum(amounts)))
            sums[start:stop] = total[ends] - total[ends - buyers[start:stop]]
        start = stop
    mean = first / customers
    return mean, np.maximum(second / customers - mean**2, 0.0) / max(customers - 1, 1)
