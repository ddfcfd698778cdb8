"""Reading a result more than once: what a look before the window has ended costs.

What belongs here: how much wider an interval is, and how it is labelled. A result that is read daily and acted on when
it first looks good is wrong far more often than one time in twenty; the boundary here holds for all looks together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.stats import norm

from segmentation_assets.measurement.intervals import z_of


@dataclass(frozen=True)
class Look:
    """When a result is read: `early_looks` so far, this one included, at `elapsed_share` of the window (1: ended).

    `Look()` is the plain case: read once, when the window had ended.
    """

    early_looks: int = 0
    elapsed_share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.elapsed_share <= 1:
            raise ValueError(
                f"The window is elapsed to a share of {self.elapsed_share}; it must be above 0, at most 1."
            )
        if self.early_looks < 0 or (self.is_early and self.early_looks < 1):
            raise ValueError("A look before the window has ended is early look 1 or later.")

    @property
    def is_early(self) -> bool:
        """Whether the window has not ended."""
        return self.elapsed_share < 1

    def z(self, confidence: float = 0.95) -> float:
        """Standard errors on either side of the estimate.

        1.96 for one reading at the end. With early looks, O'Brien and Fleming's (1979, Biometrics 35:549) boundary for
        any number of looks: Brownian motion on [0, 1] leaves +-c with a chance of at most 4 (1 - Phi(c)) (reflection
        principle), so c / sqrt(t) at share t holds for all t at once; c = 2.24 for 95 %. No plan of the looks is
        needed. What accrues is taken as even over the window.
        """
        if not self.is_early and self.early_looks == 0:
            return z_of(confidence)
        return float(norm.isf((1 - confidence) / 4)) / math.sqrt(self.elapsed_share)

    @property
    def label(self) -> str:
        """What a reader is told; empty for the plain case."""
        if self.is_early:
            return (
                f"Early look {self.early_looks}, at {self.elapsed_share:.0%} of the window: the interval is widened "
                "(O'Brien-Fleming) so that it holds however often one looks."
            )
        if self.early_looks:
            times = "once" if self.early_looks == 1 else f"{self.early_looks} times"
            return f"Read {times} before the window ended: the interval is widened for it (O'Brien-Fleming)."
        return ""
