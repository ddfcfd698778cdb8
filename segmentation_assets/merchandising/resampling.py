"""Intervals of the back-tests: a percentile bootstrap over customers, in lots.

What belongs here: drawing lots of customers and adding figures up over them. What does not: what the figures are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_RESAMPLES, _LOTS, _ENDS = 1_000, 200, (0.025, 0.975)


@dataclass(frozen=True)
class Resamples:
    """`lot` (customers,) says which lot each customer is in; `times` (resamples, lots) how often each was drawn."""

    lot: Ints
    times: Floats

    @classmethod
    def of(cls, customers: int, seed: int, stream: int) -> Resamples:
        """1,000 draws of 200 random lots of customers; `stream` keeps the chance of one back-test from another's."""
        rng = np.random.default_rng(np.random.SeedSequence([seed, stream]))
        lots = min(customers, _LOTS)
        lot = rng.permutation(customers) % lots
        return cls(lot, rng.multinomial(lots, np.full(lots, 1 / lots), size=_RESAMPLES).astype(np.float64))

    def sums(self, values: Floats, customer: Ints | None = None) -> Floats:
        """Sums (resamples,) of `values` (n,) whose customers are `customer` (n,), or all customers in order.

        Plain sums: a matrix product may add in another order with another number of threads.
        """
        lot = self.lot if customer is None else self.lot[customer]
        return np.asarray((self.times * np.bincount(lot, weights=values, minlength=self.times.shape[1])).sum(axis=1))


def interval(draws: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Ends of the 95% percentile interval (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13)."""
    low, high = np.quantile(draws, _ENDS)
    return float(low), float(high)
