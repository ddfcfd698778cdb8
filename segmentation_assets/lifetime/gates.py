"""What the data can support: gates before and after a fit, each with its numbers in a sentence.

A closed gate means no estimate at all; nothing is guessed. The fits themselves are `bg_nbd` and `gamma_gamma`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Below these a fit of buying and stopping is led by a few customers.
LEAST_BUYERS = 200
LEAST_REPEAT_BUYERS = 50
#: Where nearly everyone buys once, the few who come again say nothing of when the others stop.
LEAST_REPEAT_SHARE = 0.05
LEAST_WINDOW_DAYS = 90
#: A limit of the search counts as reached within this share of it, on a log scale.
_AT_LIMIT = 1e-3


@dataclass(frozen=True)
class Gate:
    """Whether a step may be taken, and why: a sentence with the numbers."""

    is_open: bool
    reason: str


def purchase_gate(buyers: int, repeat_buyers: int, window_days: int) -> Gate:
    """Whether purchases can be modelled: enough buyers, enough who bought on a second day, a long enough window.

    `window_days` is from the first purchase to the last observed day.
    """
    share = repeat_buyers / buyers if buyers else 0.0
    failing = []
    if buyers < LEAST_BUYERS:
        failing.append("too few buyers")
    if repeat_buyers < LEAST_REPEAT_BUYERS:
        failing.append("too few repeat buyers")
    if share < LEAST_REPEAT_SHARE:
        failing.append("too small a share of repeat buyers")
    if window_days < LEAST_WINDOW_DAYS:
        failing.append("too short a history")
    numbers = (
        f"{buyers:,} buyers, {repeat_buyers:,} of them ({share:.1%}) bought again on another day, in {window_days:,} "
        f"days (needed: {LEAST_BUYERS}, {LEAST_REPEAT_BUYERS}, {LEAST_REPEAT_SHARE:.0%} and {LEAST_WINDOW_DAYS})"
    )
    if failing:
        return Gate(False, f"No estimate, {', '.join(failing)}: {numbers}.")
    return Gate(True, f"{numbers}.")


def spend_gate(repeat_buyers: int, valued_buyers: int) -> Gate:
    """Whether spend can be modelled: enough repeat buyers whose repeat purchases have money above 0."""
    numbers = (
        f"{valued_buyers:,} of {repeat_buyers:,} repeat buyers have repeat purchases with money above 0 "
        f"(needed: {LEAST_REPEAT_BUYERS})"
    )
    if valued_buyers < LEAST_REPEAT_BUYERS:
        return Gate(False, f"No amounts, too few repeat buyers with money: {numbers}.")
    return Gate(True, f"{numbers}.")


def fit_gate(
    model: str,
    parameters: Mapping[str, float],
    limits: Sequence[tuple[float, float]],
    log_likelihood: float,
    is_converged: bool,
) -> Gate:
    """Whether a fit may be used: finite, converged, and no parameter at a limit of its search.

    `limits` are in the order of `parameters`. A parameter at its limit means that the likelihood grows for ever in
    that direction: the data hold nothing that pins it down.
    """
    told = ", ".join(f"{name} = {value:.4g}" for name, value in parameters.items())
    if not all(math.isfinite(value) for value in (*parameters.values(), log_likelihood)):
        return Gate(False, f"No estimate, the fit of {model} is not finite: {told}.")
    at_limit = [
        f"{name} ran to its limit of {limit:g}"
        for (name, value), ends in zip(parameters.items(), limits, strict=True)
        for limit in ends
        if abs(math.log(value / limit)) < _AT_LIMIT
    ]
    if at_limit:
        return Gate(False, f"No estimate, in the fit of {model} {' and '.join(at_limit)}: {told}.")
    if not is_converged:
        return Gate(False, f"No estimate, the fit of {model} did not converge: {told}.")
    return Gate(True, f"{model}: {told}.")


def mean_gate(q: float) -> Gate:
    """Whether Gamma-Gamma has an expected amount: q above 1; at 1 and below, the mean over customers is infinite."""
    if q <= 1:
        return Gate(False, f"No amounts, q of Gamma-Gamma is {q:.3f} (needed: above 1): the mean would be infinite.")
    return Gate(True, f"q of Gamma-Gamma is {q:.3f} (needed: above 1).")
