"""How far today's customers have moved from those a model was fitted on.

The reference is taken at the fit and frozen with the model: how each column of the clustered matrix was distributed,
how large each segment was, how far out its customers lay. Comparing says what shifted, in words, and whether chance
alone would show as much; what to do about it is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from segmentation_assets.segmentation.kmeans import Array

#: The rule of thumb for the population stability index (Siddiqi 2006): below the first nothing happened, above the
#: second the population is another one.
SHIFTING = 0.1
SHIFTED = 0.25
#: A customer further out than this quantile of the segment's customers at the fit fits none of the segments well.
MISFIT_QUANTILE = 0.99
#: The chance, over all rows of a comparison together, of calling a shift real where nothing changed.
CHANCE = 0.01
_BINS = 10
_POINT_MASS = 2 / _BINS
_DIGITS = 9
#: Means nearer than this, in units of the matrix (about standard deviations), are the same to a reader.
_SAME_MEAN = 0.01

DRIFT_SCHEMA: dict[str, type[pl.DataType]] = {
    "kind": pl.String,
    "name": pl.String,
    "reference_value": pl.Float64,
    "current_value": pl.Float64,
    "shift": pl.Float64,
    "is_beyond_chance": pl.Boolean,
    "statement": pl.String,
}


@dataclass(frozen=True)
class DriftThresholds:
    """From which shift on a row of `drift` is a reason to act.

    `feature`: population stability index. `segment`: change of a segment's share of the customers, either way.
    `misfit`: how far the share of misfits lies above the expected one.
    """

    feature: float = SHIFTED
    segment: float = 0.05
    misfit: float = 0.02

    def of(self, kind: str) -> float:
        """The threshold for rows of `kind`."""
        return {"feature": self.feature, "segment": self.segment, "misfit": self.misfit}[kind]


@dataclass(frozen=True)
class _Row:
    kind: str
    name: str
    reference_value: float
    current_value: float
    shift: float
    is_beyond_chance: bool
    statement: str


def reference_of(
    values: Array, names: Sequence[str], segment_ids: pl.Series | Sequence[str], distances: Array
) -> dict[str, Any]:
    """What the customers of a fit look like, as JSON-able values.

    `values` (n, d): the clustered matrix with column `names`. `segment_ids` (n), `distances` (n): the segment of each
    customer and the distance to its centroid. Per column: mean, up to nine cuts between ten bins of equal shares
    (fewer where many customers share one value, which then has a bin of its own), and the shares. Per segment:
    customers and the distance that 1 % of further customers of the same kind are expected to exceed. ValueError
    when lengths differ or a value is not finite.
    """
    segments = _checked(values, names, segment_ids, distances)
    features = []
    for column, name in zip(values.T, names, strict=True):
        cuts = _cuts(column)
        shares = np.bincount(np.searchsorted(cuts, column, side="left"), minlength=len(cuts) + 1) / len(column)
        features.append(
            {
                "name": name,
                "mean": round(float(column.mean()), 6) + 0.0,  # no -0.0
                "cuts": [float(cut) for cut in cuts],
                "shares": [round(float(share), 9) for share in shares],
            }
        )
    found = {}
    for segment_id in _in_order(segments.unique().to_list()):
        own = distances[(segments == segment_id).to_numpy()]
        # Plotting positions r / (n + 1) make the expected share of further customers beyond it exactly 1 %.
        limit = float(np.quantile(np.round(own, 6), MISFIT_QUANTILE, method="weibull"))
        found[segment_id] = {"customers": len(own), "distance_limit": round(limit, 6)}
    return {"customers": len(values), "features": features, "segments": found}


def misfits(reference: Mapping[str, Any], segment_ids: pl.Series, distances: Array) -> pl.Series:
    """Whether each customer lies beyond the limit of its segment; null where the reference does not know the segment.

    `segment_ids` (n), `distances` (n) to the own centroid, compared to six digits.
    """
    limits = {name: float(part["distance_limit"]) for name, part in reference.get("segments", {}).items()}
    limit = segment_ids.replace_strict(limits, default=None, return_dtype=pl.Float64)
    return (pl.Series(np.round(distances, 6), dtype=pl.Float64) > limit).alias("is_misfit")


def drift(
    reference: Mapping[str, Any],
    values: Array,
    names: Sequence[str],
    segment_ids: pl.Series | Sequence[str],
    distances: Array,
) -> pl.DataFrame:
    """Today's customers beside those of the fit (DRIFT_SCHEMA); arguments as of `reference_of`, by the frozen model.

    One row per column of the matrix (`feature`: means then and now in the units of the matrix; the shift is the
    population stability index), per segment (`segment`: shares then and now, and the difference) and one `misfit`
    (share expected and found beyond the limits of the fit). Empty when the model has no reference or nobody is
    clustered today.

    The index is the sum over bins of (now - then) ln(now / then) (Siddiqi 2006; the divergence of Jeffreys 1946),
    with half a customer added to each bin. Of two samples of n and m customers from one population it is about
    (1/n + 1/m) times a chi-square with one degree of freedom less than there are bins (Yurdakul 2018): the expected
    value of that is taken off, so that few customers are no drift. `is_beyond_chance` says whether the row is larger
    than chance alone would show with probability CHANCE over all rows. ValueError when the columns are not those of
    the reference.
    """
    segments = _checked(values, names, segment_ids, distances)
    if not reference or not len(values):
        return pl.DataFrame(schema=DRIFT_SCHEMA)
    then = [feature["name"] for feature in reference["features"]]
    if list(names) != then:
        raise ValueError(
            f"The matrix has the columns {', '.join(names)}; the model was fitted on {', '.join(then)}. "
            "Compare customers transformed by the frozen model's own preprocessing."
        )
    known = reference["segments"]
    ids = _in_order({*known, *segments.unique().to_list()})
    chance = CHANCE / (len(then) + len(ids) + 1)
    n, m = len(values), int(reference["customers"])
    rows = [
        _feature_row(feature, column, n, m, chance)
        for feature, column in zip(reference["features"], values.T, strict=True)
    ]
    sizes = dict(segments.value_counts().iter_rows())
    rows += [
        _segment_row(
            name, int(known.get(name, {"customers": 0})["customers"]), sizes.get(name, 0), n=n, m=m, chance=chance
        )
        for name in ids
    ]
    rows.append(_misfit_row(reference, segments, distances, sizes, chance))
    records = [tuple(vars(row).values()) for row in rows]
    return pl.DataFrame(records, schema=DRIFT_SCHEMA, orient="row")


def flagged(frame: pl.DataFrame, thresholds: DriftThresholds) -> pl.DataFrame:
    """The rows of `drift` with `is_drift`: beyond chance, and at least the threshold of the row's kind.

    A segment's share counts either way; fewer misfits than expected are no drift.
    """
    limit = pl.col("kind").replace_strict(
        {kind: float(thresholds.of(kind)) for kind in ("feature", "segment", "misfit")}, return_dtype=pl.Float64
    )
    size = pl.when(pl.col("kind") == "misfit").then(pl.col("shift")).otherwise(pl.col("shift").abs())
    return frame.with_columns(is_drift=pl.col("is_beyond_chance") & (size >= limit))


def has_drifted(frame: pl.DataFrame, thresholds: DriftThresholds | None = None) -> tuple[bool, str]:
    """Whether any row of `drift` is `flagged`, and a sentence with the numbers either way."""
    thresholds = thresholds or DriftThresholds()
    if frame.is_empty():
        return False, "There is nothing to compare: nobody is clustered, or the model keeps no picture of its fit."
    reached = list(flagged(frame, thresholds).filter("is_drift").iter_rows(named=True))
    if reached:
        ranked = sorted(reached, key=lambda row: -abs(row["shift"]) / max(thresholds.of(row["kind"]), 1e-9))
        more = f" And {len(ranked) - 3} more." if len(ranked) > 3 else ""
        return True, "Customers differ from those of the fit. " + " ".join(r["statement"] for r in ranked[:3]) + more
    largest = {
        kind: max((abs(row["shift"]) for row in frame.iter_rows(named=True) if row["kind"] == kind), default=0.0)
        for kind in ("feature", "segment")
    }
    misfit = frame.filter(pl.col("kind") == "misfit")["current_value"][0]
    return False, (
        f"Customers are like those of the fit: the largest stability index is {largest['feature']:.2f} (limit "
        f"{thresholds.feature:g}), the largest change of a segment's share {100 * largest['segment']:.1f} points "
        f"(limit {100 * thresholds.segment:g}), and {misfit:.1%} are misfits."
    )


def _checked(
    values: Array, names: Sequence[str], segment_ids: pl.Series | Sequence[str], distances: Array
) -> pl.Series:
    segments = pl.Series("segment_id", segment_ids, dtype=pl.String)
    if not (len(values) == len(segments) == len(distances)) or values.shape[1] != len(names):
        raise ValueError(
            f"The matrix is {values.shape[0]} by {values.shape[1]}, with {len(names)} names, {len(segments)} segment "
            f"ids and {len(distances)} distances; give one name per column and one id and distance per row."
        )
    wrong = [name for column, name in zip(values.T, names, strict=True) if not np.isfinite(column).all()]
    if wrong or not np.isfinite(distances).all():
        raise ValueError(
            f"{', '.join(wrong) or 'The distances'} contain values that are not finite numbers; "
            "compare customers transformed by the model's own preprocessing, which fills unknown values."
        )
    return segments


def _in_order(ids: Sequence[str] | set[str]) -> list[str]:
    return sorted(ids, key=lambda segment_id: (len(segment_id), segment_id))


def _cuts(column: Array) -> NDArray[np.float64]:
    """Cuts between bins of about a tenth of the rows each, half-way between two values that occur.

    Half-way, so that the last bits of a float never decide the bin of a value that many customers share.
    """
    found, counts = np.unique(np.round(column, _DIGITS), return_counts=True)
    if len(found) <= _BINS:
        after = np.arange(len(found) - 1)
    else:
        reached = np.cumsum(counts) / len(column)
        tenths = np.searchsorted(reached, np.arange(1, _BINS) / _BINS - 1e-12)
        crowded = tenths[counts[tenths] >= _POINT_MASS * len(column)]
        after = np.unique(np.concatenate([tenths, crowded - 1]))
        after = after[(after >= 0) & (after < len(found) - 1)]
    cuts: NDArray[np.float64] = (found[after] + found[after + 1]) / 2
    return cuts


def _stability_index(then: Array, now: Array, n: int, m: int) -> float:
    """The index on counts per bin, half a customer added to each, less what two samples of n and m show by chance."""
    bins = len(then)
    old, new = (then + 0.5) / (m + 0.5 * bins), (now + 0.5) / (n + 0.5 * bins)
    plain = float(((new - old) * np.log(new / old)).sum())
    return max(0.0, plain - (bins - 1) * (1 / n + 1 / m))


def _feature_row(feature: Mapping[str, Any], column: Array, n: int, m: int, chance: float) -> _Row:
    cuts = np.array(feature["cuts"])
    now = np.bincount(np.searchsorted(cuts, column, side="left"), minlength=len(cuts) + 1).astype(np.float64)
    index = _stability_index(np.array(feature["shares"]) * m, now, n, m)
    freedom = len(cuts)
    noise = (stats.chi2.isf(chance, freedom) - freedom) * (1 / n + 1 / m) if freedom else np.inf
    is_real = bool(index > noise)
    mean, change = float(column.mean()), float(column.mean()) - feature["mean"]
    where = "higher on average than" if change > 0 else "lower on average than"
    if abs(change) < _SAME_MEAN:
        where = "about the same on average as"
    if index < SHIFTING or not is_real:
        words = "is stable" if index < SHIFTING else "is stable as far as so few customers can show"
        statement = f"{feature['name']} {words}: population stability index {index:.2f}."
    else:
        words = "has shifted" if index > SHIFTED else "is shifting"
        statement = f"{feature['name']} {words}: population stability index {index:.2f}, {where} at the fit."
    return _Row("feature", feature["name"], feature["mean"], round(mean, 6) + 0.0, round(index, 6), is_real, statement)


def _segment_row(name: str, customers_then: int, customers_now: int, *, n: int, m: int, chance: float) -> _Row:
    then, now = customers_then / m, customers_now / n
    pooled = (customers_then + customers_now + 1) / (n + m + 2)
    error = float(np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m)))
    is_real = abs(now - then) > stats.norm.isf(chance / 2) * error
    return _Row(
        "segment", name, round(then, 6), round(now, 6), round(now - then, 6), bool(is_real),
        f"{name} holds {now:.1%} of the customers, {then:.1%} at the fit.",
    )  # fmt: skip


def _misfit_row(
    reference: Mapping[str, Any], segments: pl.Series, distances: Array, sizes: Mapping[str, int], chance: float
) -> _Row:
    n, m = len(segments), int(reference["customers"])
    known = reference["segments"]
    found = int(misfits(reference, segments, distances).sum() or 0)
    # With fewer than 99 customers the limit is the furthest of them, which one in (customers + 1) exceeds.
    expected = sum(
        size * max(1 - MISFIT_QUANTILE, 1 / (known[name]["customers"] + 1))
        for name, size in sizes.items()
        if name in known
    ) / n  # fmt: skip
    rate = found / n
    # The limit itself comes from a sample: the share beyond it is a beta variable about the expected one.
    beyond = stats.betabinom.sf(found - 1, n, expected * (m + 1), (1 - expected) * (m + 1)) if expected else 1.0
    return _Row(
        "misfit", "all segments", round(expected, 6), round(rate, 6), round(rate - expected, 6), bool(beyond < chance),
        f"{rate:.1%} of the customers lie further out than 99 % of their segment did at the fit; "
        f"{expected:.1%} is expected.",
    )  # fmt: skip
