"""What a campaign of a given size can show, and how many customers it takes to show an effect.

What belongs here: planning before sending, and how many more customers an open question needs. What does not:
estimating an effect (`lift`), and the decision about it (`decision`).
"""

from __future__ import annotations

import math

from scipy.stats import norm

#: More customers than any list has: beyond this the answer is "no list is long enough".
_MOST_CUSTOMERS = 10_000_000_000


def smallest_detectable_effect(
    customers: int,
    base_rate: float,
    control_share: float = 0.10,
    power: float = 0.80,
    significance: float = 0.05,
) -> float | None:
    """The smallest difference of `base_rate` (absolute, a share) that `customers` with a control group can show.

    (z_a + z_b) * sqrt(p (1 - p) (1 / treated + 1 / control)), two-sided: the minimum detectable effect of Bloom
    (1995, Minimum Detectable Effects, Evaluation Review 19) for a proportion p. The variance is that of the base
    rate in both groups, so an effect several times the base rate needs somewhat more people than this says. None
    when a group would be empty, the base rate is 0 or 1, or not even every customer buying would be enough.
    """
    control = customers * control_share
    treated = customers - control
    if control < 1 or treated < 1 or not 0 < base_rate < 1:
        return None
    effect = power_multiplier(power, significance) * math.sqrt(
        base_rate * (1 - base_rate) * (1 / treated + 1 / control)
    )
    return round(effect, 9) if base_rate + effect <= 1 else None


def smallest_detectable_lift(
    customers: int,
    base_rate: float,
    control_share: float = 0.10,
    power: float = 0.80,
    significance: float = 0.05,
) -> float | None:
    """The same relative to the base rate: 0.2 is a lift of 20 %. None where the difference is None."""
    effect = smallest_detectable_effect(customers, base_rate, control_share, power, significance)
    return None if effect is None else round(effect / base_rate, 9)


def smallest_detectable_difference(
    treated: int, control: int, standard_deviation: float, power: float = 0.80, significance: float = 0.05
) -> float | None:
    """The smallest difference of two means, in their unit (Bloom 1995). None when a group is empty."""
    if treated < 1 or control < 1 or standard_deviation <= 0:
        return None
    return power_multiplier(power, significance) * standard_deviation * math.sqrt(1 / treated + 1 / control)


def power_of(
    customers: int, base_rate: float, effect: float, control_share: float = 0.10, significance: float = 0.05
) -> float:
    """The chance that a true difference `effect` (absolute) comes out significant and in the right direction.

    Normal approximation with the variance of each group's own rate (Fleiss, Levin and Paik 2003, Statistical Methods
    for Rates and Proportions, section 4.3, without continuity correction); two-sided test.

    Raises ValueError when a rate or the share is outside (0, 1), or the effect is 0.
    """
    pooled, own = _deviations(base_rate, effect, control_share)
    z = float(norm.isf(significance / 2))
    return float(norm.cdf((abs(effect) * math.sqrt(customers) - z * pooled) / own))


def needed_customers(
    effect: float,
    base_rate: float,
    control_share: float = 0.10,
    power: float = 0.80,
    significance: float = 0.05,
) -> int | None:
    """Customers, treated and control together, that show a true difference `effect` with this power.

    Solves `power_of` for the customers. None when that is more than ten thousand million.

    Raises ValueError when a rate or the share is outside (0, 1), or the effect is 0.
    """
    pooled, own = _deviations(base_rate, effect, control_share)
    z_a, z_b = float(norm.isf(significance / 2)), float(norm.ppf(power))
    needed = math.ceil(((z_a * pooled + z_b * own) / effect) ** 2)
    return needed if needed <= _MOST_CUSTOMERS else None


def needed_for_precision(
    customers: int, standard_error: float, effect: float, power: float = 0.80, significance: float = 0.05
) -> int | None:
    """Customers in all that show `effect`, judged by what `customers` gave: a standard error shrinks with sqrt(n).

    Holds for any metric. None when the effect is 0 or that is more than ten thousand million.
    """
    if effect == 0 or not math.isfinite(standard_error) or standard_error <= 0:
        return None
    needed = customers * (power_multiplier(power, significance) * standard_error / effect) ** 2
    return math.ceil(needed) if needed <= _MOST_CUSTOMERS else None


def power_multiplier(power: float = 0.80, significance: float = 0.05) -> float:
    """Standard errors that an effect must measure to be found with this power, two-sided: 2.80 for 80 % and 5 %."""
    return float(norm.ppf(1 - significance / 2) + norm.ppf(power))


def _deviations(base_rate: float, effect: float, control_share: float) -> tuple[float, float]:
    """Standard deviations per square root of a customer: under no effect, and under this one."""
    rate = base_rate + effect
    if not (0 < base_rate < 1 and 0 < rate < 1 and 0 < control_share < 1) or effect == 0:
        raise ValueError(
            f"base rate {base_rate}, rate with the effect {rate} and control share {control_share} must lie between "
            "0 and 1, and the effect must not be 0: hand in rates as shares, 0.02 for 2 %."
        )
    mean = control_share * base_rate + (1 - control_share) * rate
    pooled = math.sqrt(mean * (1 - mean) / (control_share * (1 - control_share)))
    own = math.sqrt(base_rate * (1 - base_rate) / control_share + rate * (1 - rate) / (1 - control_share))
    return pooled, own
