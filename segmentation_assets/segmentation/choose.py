"""One rule from the evidence to a number of segments, with the reason in words.

The rule reads the evidence table and the floors only; it sees no customer. Verdicts say how much the choice claims
(after Dolnicar and Leisch 2010): `natural`, groups that stand apart from each other; `reproducible`, a cut through
customers who shade into one another that comes back in other samples; `constructive`, a useful cut that would not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from segmentation_assets.segmentation.evidence import EVIDENCE_SCHEMA
from segmentation_assets.segmentation.spec import AxisSpec

Verdict = Literal["natural", "reproducible", "constructive", "off"]

#: How far the silhouette must stand above every null for `natural`, in standard deviations of its draws, and in
#: silhouette above the worst one. A z above 2 against permuted and Gaussian columns alone calls most skewed one-piece
#: data natural; with many rows z is large for any difference, hence the excess; with few the excess is chance, hence
#: z. With the copula among the nulls, 280 draws without structure (benchmarks/structure.py) gave no natural verdict, 80
#: with planted clusters of one size gave 80, and 40 with a cluster of 5 % gave 39.
NATURAL_Z = 4.0
NATURAL_EXCESS = 0.05
#: A k whose silhouette stands this near to the best one above its null is as good as the best.
NEAR_BEST = 0.85

CHOICE_SCHEMA: dict[str, type[pl.DataType]] = {
    "k": pl.Int64,
    "verdict": pl.String,
    "reason": pl.String,
    "chosen_by": pl.String,
    "sentence": pl.String,
    "one_feature": pl.String,
    "rule_k": pl.Int64,
}


@dataclass(frozen=True)
class Choice:
    """The number of segments, how much it claims, why, and by whom.

    `k` is 0 for an axis that is off. `reason` has the numbers, `sentence` is the same for a reader without them.
    `one_feature` is the feature that alone reproduces the segments, None when none does. `rule_k` is what the rule
    chose, which `k` is too unless somebody else (`chosen_by`) took another admissible k.
    """

    k: int
    verdict: Verdict
    reason: str
    chosen_by: str = "rule"
    sentence: str = ""
    one_feature: str | None = None
    rule_k: int = 0

    def frame(self) -> pl.DataFrame:
        """The one row of the choice table."""
        row = (self.k, self.verdict, self.reason, self.chosen_by, self.sentence, self.one_feature, self.rule_k)
        return pl.DataFrame([row], schema=CHOICE_SCHEMA, orient="row")


def choose_k(evidence: pl.DataFrame, spec: AxisSpec, off_reason: str | None = None) -> Choice:
    """The number of segments of an axis, by one rule.

    1. The gap rule names a k (`gap_choice`). When that k is admissible it is taken. It finds planted clusters of like
       size nearly always, and on data in one piece it names 1, or ends at the last k tried, which is no answer.
    2. Otherwise, among the admissible k, those whose silhouette above the worst null is at least NEAR_BEST of the best
       such excess are as good as each other; of these the one nearest to the elbow of the inertia is taken, the
       larger of two equally near. The elbow is where log inertia falls furthest below the straight line over log k
       from the first to the last k: data without structure follow that line (inertia falls as a power of k).
    3. Without an admissible k, the one whose least stable cluster is most stable is taken, among those that keep the
       floors of size if there are any, and the verdict is `constructive`, naming what failed.

    With nothing to divide, k is 1. Zero rows of evidence mean that the axis is off: k is 0 and the reason is
    `off_reason`. An admissible k is `natural` when its silhouette stands NATURAL_Z deviations above every null and
    NATURAL_EXCESS above the worst, else `reproducible`.
    """
    if evidence.is_empty():
        reason = off_reason or "The axis is off: there is no evidence to choose from."
        return Choice(0, "off", reason, sentence=f"There are no {spec.title.lower()} segments. {reason}")
    evidence = evidence.select(list(EVIDENCE_SCHEMA)).sort("k")
    several = evidence.filter(pl.col("k") > 1)
    if several.is_empty():
        why = evidence["fails"][0]
        return Choice(
            1, "constructive", f"One segment: {why}.", sentence=f"All customers are one segment: {why}.", rule_k=1
        )
    admissible = several.filter(pl.col("is_admissible"))
    if admissible.is_empty():
        return _least_bad(several, spec)
    named, last = gap_choice(evidence), int(evidence["k"][-1])
    if named in admissible["k"].to_list() and named < last:
        return _choice(
            _row(admissible, named), spec, f"the gap to data without structure stops growing at {named}", named
        )
    elbow = elbow_of(evidence["k"].to_numpy(), evidence["inertia"].to_numpy())
    excess = (admissible["silhouette"] - admissible["null_silhouette"]).to_numpy()
    best = float(excess.max())
    near = admissible["k"].to_numpy()[excess >= (NEAR_BEST * best if best > 0 else best)]
    k = int(min(near, key=lambda candidate: (abs(int(candidate) - elbow), -int(candidate))))
    others = ", ".join(str(other) for other in near if other != k)
    gap_says = (
        "the gap to data without structure is still growing at the last k"
        if named == last
        else f"the gap to data without structure names {named}, which keeps not every floor"
        if named > 1
        else "the gap to data without structure names no division"
    )
    why = (
        f"{gap_says}; by silhouette above chance "
        + (f"{k} is as good as {others}" if others else f"{k} leads")
        + f", and the inertia bends at {elbow}"
    )
    return _choice(_row(admissible, k), spec, why, k)


def choose_other(evidence: pl.DataFrame, spec: AxisSpec, k: int, chosen_by: str, reason: str) -> Choice:
    """The choice of another admissible k by somebody else, who gives the reason; the rule's own k stays beside it.

    ValueError when `k` is not admissible.
    """
    rule = choose_k(evidence, spec)
    allowed = evidence.filter(pl.col("is_admissible"))["k"].sort().to_list() if evidence.height else []
    if k not in allowed:
        raise ValueError(
            f"{k} {spec.title.lower()} segments cannot be chosen: admissible are "
            f"{', '.join(map(str, allowed)) or 'none'}; choose one of them."
        )
    own = _choice(_row(evidence, k), spec, reason.rstrip("."), rule.k)
    return Choice(k, own.verdict, own.reason, chosen_by, own.sentence, own.one_feature, rule.k)


def gap_choice(evidence: pl.DataFrame) -> int:
    """The smallest k whose gap is at least that of k + 1 less one standard error; the last k when there is none.

    Tibshirani, Walther and Hastie (2001), with Gaussian draws as the reference.
    """
    ks, gap, error = (evidence[name].to_numpy() for name in ("k", "gap", "gap_error"))
    stops = np.flatnonzero(gap[:-1] >= gap[1:] - error[1:])
    return int(ks[stops[0]] if len(stops) else ks[-1])


def elbow_of(ks: np.ndarray, inertia: np.ndarray) -> int:
    """The k where log inertia is furthest below its chord over log k; the first k > 1 when there is no bend."""
    if len(ks) < 3 or inertia.max() <= 0:
        return int(ks[-1])
    # Inertia may reach 0 when every customer sits on a centroid: a floor keeps its logarithm finite.
    heights = np.log(np.maximum(inertia, 1e-9 * inertia.max()))
    steps = np.log(ks)
    chord = heights[0] + (heights[-1] - heights[0]) * (steps - steps[0]) / (steps[-1] - steps[0])
    return int(ks[1:][np.argmax((chord - heights)[1:])])


def _row(frame: pl.DataFrame, k: int) -> dict[str, Any]:
    return frame.row(by_predicate=pl.col("k") == k, named=True)


def verdict_of(row: dict[str, Any]) -> Verdict:
    """How much the evidence of one k (a row of the evidence table, k > 1) lets it claim."""
    if not row["is_admissible"]:
        return "constructive"
    is_apart = row["silhouette_z"] > NATURAL_Z and row["silhouette"] - row["null_silhouette"] >= NATURAL_EXCESS
    return "natural" if is_apart else "reproducible"


def _choice(row: dict[str, Any], spec: AxisSpec, why: str, rule_k: int) -> Choice:
    verdict = verdict_of(row)
    reason = (
        f"{row['k']} segments: {why}. Silhouette {row['silhouette']:.3f} against {row['null_silhouette']:.3f} without "
        f"structure ({row['null_name']}, z {row['silhouette_z']:.1f}); the least stable segment comes back with "
        f"Jaccard {row['stability']:.2f} (floor {spec.stability_floor:g}) and the smallest holds "
        f"{100 * row['smallest_share']:.1f} % of customers."
    )
    return Choice(int(row["k"]), verdict, reason, "rule", _sentence(row, spec, verdict), row["one_feature"], rule_k)


def _sentence(row: dict[str, Any], spec: AxisSpec, verdict: Verdict) -> str:
    k = row["k"]
    if row["one_feature"] is not None:
        label = spec.label(row["one_feature"])
        bands = f"These segments are bands of {label} alone: {label} by itself tells which segment a customer is in."
        again = "" if verdict == "constructive" else " Another sample would draw the lines in nearly the same places."
        return bands + (f" {_doubt(row, spec)}" if verdict == "constructive" else again)
    if verdict == "natural":
        return (
            f"The customers really fall into {k} groups: they stand apart more clearly than chance could make them, "
            f"and other samples show the same groups."
        )
    if verdict == "reproducible":
        return (
            f"These {k} segments are a dependable way to divide the customers, and another sample would give nearly "
            f"the same ones; but customers shade into one another, and those near a border could be on either side."
        )
    return f"These {k} segments are a useful way to divide the customers, not groups that exist. {_doubt(row, spec)}"


def _doubt(row: dict[str, Any], spec: AxisSpec) -> str:
    """Why a constructive cut is no more than that, in plain words."""
    if row["smallest_customers"] < spec.minimum_customers or row["smallest_share"] < spec.share_floor:
        return f"The smallest of them holds {row['smallest_customers']} customers only."
    if row["stability"] < spec.stability_floor:
        return "Another sample of customers would draw some of the lines elsewhere."
    return f"At least {spec.k_min} segments were asked for, and the data do not carry that many."


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
    k = int(row["k"])
    return Choice(
        k,
        "constructive",
        f"{k} segments, though no number of segments keeps every floor; for {k}: {row['fails']}. "
        f"A useful cut, not a structure: another sample would draw some lines elsewhere.",
        "rule",
        _sentence(row, spec, "constructive"),
        row["one_feature"],
        k,
    )
