"""One rule from the evidence to a number of segments, with the reason in words.

The rule reads the evidence table and the floors only; it sees no customer. Verdicts say how much the choice claims
(after Dolnicar and Leisch 2010): `natural` is not given yet, because the null in the evidence keeps too little to
certify it; `reproducible` is a cut that comes back in other samples; `constructive` a useful cut, not a structure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from segmentation_assets.segmentation.evidence import EVIDENCE_SCHEMA
from segmentation_assets.segmentation.spec import AxisSpec

Verdict = Literal["natural", "reproducible", "constructive", "off"]

#: A k whose silhouette stands this near to the best one above its null is as good as the best.
NEAR_BEST = 0.85

CHOICE_SCHEMA: dict[str, type[pl.DataType]] = {
    "k": pl.Int64,
    "verdict": pl.String,
    "reason": pl.String,
    "chosen_by": pl.String,
}


@dataclass(frozen=True)
class Choice:
    """The number of segments, how much it claims, why, and by whom (`rule`). k is 0 for an axis that is off."""

    k: int
    verdict: Verdict
    reason: str
    chosen_by: str = "rule"

    def frame(self) -> pl.DataFrame:
        """The one row of the choice table."""
        return pl.DataFrame([(self.k, self.verdict, self.reason, self.chosen_by)], schema=CHOICE_SCHEMA, orient="row")


def choose_k(evidence: pl.DataFrame, spec: AxisSpec, off_reason: str | None = None) -> Choice:
    """The number of segments of an axis.

    Among the admissible k, those whose silhouette above its null is at least NEAR_BEST of the best such excess are
    as good as each other; of these the one nearest to the elbow of the inertia is taken, the larger of two equally
    near. The elbow is where log inertia falls furthest below the straight line over log k from the first to the
    last k: structureless data follow that line (inertia falls as a power of k). Without an admissible k, the one
    whose least stable cluster is most stable is taken, among those that keep the floors of size if there are any, and
    the verdict is `constructive`, naming what failed. With nothing to divide, k is 1. Zero rows of evidence mean
    that the axis is off: k is 0 and the reason is `off_reason`.
    """
    if evidence.is_empty():
        return Choice(0, "off", off_reason or "The axis is off: there is no evidence to choose from.")
    evidence = evidence.select(list(EVIDENCE_SCHEMA)).sort("k")
    several = evidence.filter(pl.col("k") > 1)
    if several.is_empty():
        why = evidence["fails"][0]
        return Choice(1, "constructive", f"One segment: {why}.")
    admissible = several.filter(pl.col("is_admissible"))
    if admissible.is_empty():
        return _least_bad(several, spec)
    elbow = elbow_of(evidence["k"].to_numpy(), evidence["inertia"].to_numpy())
    excess = (admissible["silhouette"] - admissible["null_silhouette"]).to_numpy()
    best = float(excess.max())
    near = admissible["k"].to_numpy()[excess >= (NEAR_BEST * best if best > 0 else best)]
    k = int(min(near, key=lambda candidate: (abs(int(candidate) - elbow), -int(candidate))))
    row = admissible.row(by_predicate=pl.col("k") == k, named=True)
    others = ", ".join(str(other) for other in near if other != k)
    return Choice(
        k,
        "reproducible",
        f"{k} segments: silhouette {row['silhouette']:.3f} against {row['null_silhouette']:.3f} without structure"
        + (f", as good as {others}" if others else ", the most of all admissible")
        + f"; the inertia bends at {elbow}; the least stable segment comes back with Jaccard {row['stability']:.2f} "
        f"(floor {spec.stability_floor:g}) and the smallest holds {100 * row['smallest_share']:.1f} % of customers.",
    )


def elbow_of(ks: np.ndarray, inertia: np.ndarray) -> int:
    """The k where log inertia is furthest below its chord over log k; the first k > 1 when there is no bend."""
    if len(ks) < 3 or inertia.max() <= 0:
        return int(ks[-1])
    # Inertia may reach 0 when every customer sits on a centroid: a floor keeps its logarithm finite.
    heights = np.log(np.maximum(inertia, 1e-9 * inertia.max()))
    steps = np.log(ks)
    chord = heights[0] + (heights[-1] - heights[0]) * (steps - steps[0]) / (steps[-1] - steps[0])
    return int(ks[1:][np.argmax((chord - heights)[1:])])


def _least_bad(several: pl.DataFrame, spec: AxisSpec) -> Choice:
    pool = several
    for condition in (
        pl.col("smallest_customers") >= spec.minimum_customers,
        pl.col("smallest_share") >= spec.share_floor,
        pl.col("k") >= spec.k_min,
    ):
        kept = pool.filter(condition)
        pool = kept if kept.height else pool
    row = pool.sort(["stability", "k"], descending=[True, False]).row(0, named=True)
    return Choice(
        int(row["k"]),
        "constructive",
        f"{row['k']} segments, though no number of segments keeps every floor; for {row['k']}: {row['fails']}. "
        f"A useful cut, not a structure: another sample would draw some lines elsewhere.",
    )
