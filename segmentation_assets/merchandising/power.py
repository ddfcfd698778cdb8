"""What a campaign of a given size can show: the smallest detectable effect between two proportions.

What belongs here: planning before sending. What does not: estimating an effect after it (`measurement`).
"""

from __future__ import annotations

import math

from scipy.stats import norm


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
    z = float(norm.ppf(1 - significance / 2) + norm.ppf(power))
    effect = z * math.sqrt(base_rate * (1 - base_rate) * (1 / treated + 1 / control))
    return round(effect, 9) if base_rate + effect <= 1 else None
