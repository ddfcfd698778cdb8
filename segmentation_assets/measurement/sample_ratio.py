"""Sample-ratio check: did as many customers land in each group as were meant to?

What belongs here: the test of the counts alone. A mismatch means that who was left out was not a matter of chance, and
then no lift is read, whatever it says (Fabijan et al. 2019, KDD: Diagnosing Sample Ratio Mismatch).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scipy.stats import binomtest, chi2

#: Alarms below this: with a fair assignment one campaign in a thousand.
ALARM_BELOW = 0.001
#: Chi-square is off where a group is expected to be smaller than this; two groups are then counted exactly.
_EXACT_BELOW = 20.0


@dataclass(frozen=True)
class SampleRatio:
    """Counts and expected counts by group, and whether they can be chance."""

    counts: Mapping[str, int]
    expected: Mapping[str, float]
    chi_square: float
    p_value: float
    is_alarm: bool
    sentence: str


def sample_ratio(counts: Mapping[str, int], shares: Mapping[str, float]) -> SampleRatio:
    """Pearson's chi-square of the counts against the planned shares (any positive weights, of the same groups).

    Two groups of which one is expected to have under 20 customers are tested by the exact binomial instead.
    One group alone, or nobody, is no alarm.

    Raises ValueError when the groups differ or a share is not above 0.
    """
    if set(counts) != set(shares) or not counts or min(shares.values()) <= 0:
        raise ValueError(
            f"Counts are of {sorted(counts)}, shares of {sorted(shares)}: give each group a share above 0."
        )
    total, weight = sum(counts.values()), sum(shares.values())
    expected = {group: total * share / weight for group, share in shares.items()}
    if total == 0 or len(counts) == 1:
        return SampleRatio(
            dict(counts),
            expected,
            0.0,
            1.0,
            False,
            "There is nothing to check: no customers, or no second group with a planned share.",
        )
    chi_square = sum((counts[group] - expected[group]) ** 2 / expected[group] for group in counts)
    p_value = float(chi2.sf(chi_square, len(counts) - 1))
    if len(counts) == 2 and min(expected.values()) < _EXACT_BELOW:
        group = min(counts)
        p_value = float(binomtest(counts[group], total, shares[group] / weight).pvalue)
    is_alarm = p_value < ALARM_BELOW
    found = ", ".join(f"{counts[group]:,} {group} ({expected[group]:,.0f} expected)" for group in sorted(counts))
    sentence = f"Customers per group: {found}; p = {p_value:.2g}."
    if is_alarm:
        sentence += (
            " That is not chance: the groups were not made as planned, so no lift is read. Check the assignment."
        )
    return SampleRatio(dict(counts), expected, chi_square, p_value, is_alarm, sentence)
