"""Which columns may not enter a clustering, refused by name and with the figures that say why.

What belongs here: the rules for a single column (absent, unknown, constant, an id, made from an outcome or from another
segmentation), for pairs (near-duplicates), for protected attributes, and for two axes that would say the same. What
does not: selecting customers and building the inputs (`matrix`), transforming them (`preprocess`), and segments that
one feature reproduces (`guard`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segmentation_assets.segmentation.correlations import rank_correlations
from segmentation_assets.segmentation.spec import AxisSpec, AxisSpecError, NumericFeature

#: A line whose category nobody knows says nothing about taste.
UNKNOWN = "unknown"
#: A column known for fewer customers than this is mostly its own filling.
KNOWN_FLOOR = 0.5
#: Two features whose ranks agree this closely say one thing twice, and it would count double in every distance.
DUPLICATE_CORRELATION = 0.98
#: Values of a category held by fewer customers than this share the column `(other)`.
RAREST_CATEGORY = 0.01

#: Below so many customers even measurements may all differ, and only the name tells an id.
_FEWEST_FOR_IDS = 50
_DISTINCT_NUMBERS = 0.99
_DISTINCT_TEXTS = 0.9
#: Where chance would have this many pairs of customers share a value, ids show themselves by (nearly) none doing so.
_EXPECTED_PAIRS = 20.0
_PAIRS_LEFT = 0.1
#: Nothing measured of a customer is spread evenly over as many whole numbers as this; hashes are.
_LONG_RANGE = 1e9
_DUPLICATE_ROWS = 20_000

#: Words of a name that say: a person's protected attribute.
_PROTECTED_WORDS = frozenset(
    {
        "gender", "sex", "age", "ages", "birth", "birthday", "birthdate", "birthyear", "dob", "born", "marital",
        "married", "ethnicity", "ethnic", "race", "religion", "religious", "disability", "disabled", "sexuality",
        "pregnant", "pregnancy",
    }
)  # fmt: skip
#: The age of these is not a person's.
_AGED_THINGS = frozenset({"account", "basket", "cart", "device", "item", "membership", "order", "product", "session"})

#: Words of a name that say: made from another segmentation, or from what happened afterwards.
_LEAKING_WORDS = {
    **dict.fromkeys(
        ("segment", "segments", "segmentation", "cluster", "clusters", "persona", "personas", "label", "labels", "rfm"),
        "the result of another segmentation",
    ),
    **dict.fromkeys(
        ("lifetime", "clv", "cltv", "ltv", "forecast", "forecasts", "forecasted", "predicted", "prediction",
         "predictions", "propensity"),
        "an estimate made from the features themselves",
    ),
    **dict.fromkeys(
        ("churn", "churned", "future", "outcome", "outcomes", "target", "next", "response", "responded"),
        "known only afterwards",
    ),
}  # fmt: skip
#: Names that hold such a word and mean something known at the time.
_HARMLESS = frozenset({("private", "label"), ("own", "label"), ("campaign", "response"), ("email", "response")})


@dataclass(frozen=True)
class LeftOut:
    """A feature of the axis that this source cannot carry, with the reason."""

    name: str
    reason: str


def refusals(frame: pl.DataFrame, spec: AxisSpec, protected: Collection[str] = ()) -> list[LeftOut]:
    """The numeric and categorical features of `spec` that may not be clustered, in the order of the spec.

    `frame`: the customers who are clustered, one row each, with the columns of the spec that the source has.
    `protected`: columns the source flags as protected. A feature that stands in only `unless` another one is used is
    judged when it is needed. Of near-duplicates the one named first is kept. AxisSpecError when the spec itself asks
    for a protected attribute, see `refuse_protected`.
    """
    refuse_protected(spec, protected)
    reasons = {feature.name: _numeric_reason(frame, feature) for feature in spec.numeric}
    close = _near_duplicates(frame, [name for name, reason in reasons.items() if reason is None], spec.seed)
    out: list[LeftOut] = []
    kept: list[str] = []
    for feature in spec.numeric:
        if feature.unless in kept:
            continue
        reason = reasons[feature.name]
        like = next((other for other in kept if (other, feature.name) in close), None)
        if reason is None and like is not None:
            reason = f"nearly the same as {like}, which is kept (rank correlation {close[like, feature.name]:.3f})"
        if reason is None:
            kept.append(feature.name)
        else:
            out.append(LeftOut(feature.name, reason))
    for name in spec.categorical:
        reason = _categorical_reason(frame, name)
        if reason:
            out.append(LeftOut(name, reason))
    return out


def kept_numeric(spec: AxisSpec, refused: Iterable[str]) -> list[str]:
    """The numeric features that enter, in order: not refused, and no stand-in for one that entered."""
    out = set(refused)
    kept: list[str] = []
    for feature in spec.numeric:
        if feature.name not in out and feature.unless not in kept:
            kept.append(feature.name)
    return kept


def refuse_protected(spec: AxisSpec, protected: Collection[str] = ()) -> None:
    """AxisSpecError when an axis asks for a protected attribute, by its name or because the source flags it.

    Protected attributes may describe a segment but never steer which segment a customer is in.
    """
    flagged = {name.lower() for name in protected}
    wanted = [*(feature.name for feature in spec.numeric), *spec.categorical, *spec.share_columns]
    found = [name for name in (*wanted, *spec.share_dimensions) if name.lower() in flagged or is_protected(name)]
    if found:
        attributes = "is a protected attribute" if len(found) == 1 else "are protected attributes"
        raise AxisSpecError(
            f"Axis {spec.axis}: {', '.join(found)} {attributes} and may describe segments, but never make "
            f"them. Take this out of the features of the axis; a column that only sounds like one needs another name."
        )


def is_protected(name: str) -> bool:
    """Whether a column's name says that it holds a protected attribute of a person (gender, age, marital status...)."""
    words = set(_words(name))
    found = words & _PROTECTED_WORDS
    return bool(found) and not (found <= {"age", "ages"} and words & _AGED_THINGS)


def leak(name: str) -> str | None:
    """What a column's name says it is made from, when that is an outcome or another segmentation; else None."""
    words = _words(name)
    for place, word in enumerate(words):
        if word in _LEAKING_WORDS and (words[place - 1] if place else "", word) not in _HARMLESS:
            return f"{_LEAKING_WORDS[word]}, by its name ({word})"
    return None


def same_features(first: AxisSpec, second: AxisSpec) -> str | None:
    """The sentence for two axes that are built from the same features, None when they are not (or one is off)."""
    if not (first.is_on and second.is_on):
        return None
    features = _wanted(first)
    if not features or features != _wanted(second):
        return None
    return (
        f"The axes {first.axis} and {second.axis} are built from the same features ({', '.join(sorted(features))}), so "
        f"their segments say the same thing twice. Give one of them other features, or switch it off (is_on = false)."
    )


def as_float(frame: pl.DataFrame, name: str) -> pl.Series:
    """The column as Float64; what is not finite is unknown."""
    values = frame[name].cast(pl.Float64, strict=False)
    return pl.DataFrame({name: values}).select(pl.when(pl.col(name).is_finite()).then(pl.col(name)))[name].rename(name)


def as_text(frame: pl.DataFrame, name: str) -> pl.Series:
    """The column as text, unknown named so."""
    return frame[name].cast(pl.String).fill_null(UNKNOWN)


def _wanted(spec: AxisSpec) -> set[str]:
    numeric = [feature.name for feature in spec.numeric]
    return {*numeric, *spec.categorical, *spec.share_columns, *(f"{name} shares" for name in spec.share_dimensions)}


def _numeric_reason(frame: pl.DataFrame, feature: NumericFeature) -> str | None:
    if feature.name not in frame.columns:
        return "the column is not in the customer table"
    made_from = leak(feature.name)
    if made_from:
        return made_from
    if _is_id_name(feature.name):
        return "an id, by its name"
    values = as_float(frame, feature.name)
    known = values.drop_nulls().to_numpy()
    if not len(known):
        return f"no value is known for any of {len(values)} customers"
    if len(known) < KNOWN_FLOOR * len(values):
        return f"known for {len(known)} of {len(values)} customers only; at least half are needed"
    if len(values) > 1 and known.min() == known.max():
        return f"the same ({known[0]:g}) for every customer"
    if feature.transform == "log" and known.min() < 0:
        return f"has negative values (lowest {known.min():g}), which a log cannot take; use asinh"
    return _id_reason(known)


def _categorical_reason(frame: pl.DataFrame, name: str) -> str | None:
    if name not in frame.columns:
        return "the column is not in the customer table"
    made_from = leak(name)
    if made_from:
        return made_from
    if _is_id_name(name):
        return "an id, by its name"
    values = as_text(frame, name)
    total = len(values)
    if values.n_unique() == 1 and total > 1:
        return f"the same ({values[0]}) for every customer"
    unknown = int((values == UNKNOWN).sum())
    if unknown > (1 - KNOWN_FLOOR) * total:
        return f"unknown for {unknown} of {total} customers"
    known = values.filter(values != UNKNOWN)
    levels = known.n_unique()
    if len(known) >= _FEWEST_FOR_IDS and levels >= _DISTINCT_TEXTS * len(known):
        return f"an id: {levels} different values for {len(known)} customers"
    most = int(known.value_counts()["count"].max() or 0)  # type: ignore[arg-type]  # a count is a whole number
    if most < RAREST_CATEGORY * total and unknown < RAREST_CATEGORY * total:
        return f"none of its {levels} values is held by {100 * RAREST_CATEGORY:.0f} % of the {total} customers"
    return None


def _near_duplicates(frame: pl.DataFrame, names: list[str], seed: int) -> dict[tuple[str, str], float]:
    """The rank correlation of each pair of columns that say the same, in both orders.

    Looked for in at most 20,000 customers: what is the same for them is the same.
    """
    rows = np.arange(frame.height)
    if frame.height > _DUPLICATE_ROWS:
        drawn = np.random.default_rng(np.random.SeedSequence([seed, 13])).choice(frame.height, _DUPLICATE_ROWS, False)
        rows = np.sort(drawn)
    if len(names) < 2:
        return {}
    pairs = rank_correlations(pl.DataFrame({name: as_float(frame, name)[rows] for name in names}), names)
    close = pairs.filter(pl.col("correlation").abs() >= DUPLICATE_CORRELATION)
    found: dict[tuple[str, str], float] = {}
    for first, second, correlation in close.select("feature_a", "feature_b", "correlation").iter_rows():
        found[first, second] = found[second, first] = correlation
    return found


def _id_reason(known: NDArray[np.float64]) -> str | None:
    """Whether known numbers (n) are ids: whole numbers that are not shared though chance would have some shared,
    whole numbers spread evenly over a very long range, or any numbers at one and the same distance.

    A continuous amount is all distinct too; it is neither whole nor even.
    """
    ordered = np.unique(known)
    n, distinct = len(known), len(ordered)
    if n < _FEWEST_FOR_IDS or distinct < _DISTINCT_NUMBERS * n:
        return None
    gaps = np.diff(ordered)
    figures = f"{distinct} different values for {n} customers"
    if distinct == n and np.ptp(gaps) <= 1e-9 * max(abs(ordered[0]), abs(ordered[-1])):
        return f"an id: {figures}, evenly spaced"
    if not np.all(ordered == np.round(ordered)):
        return None
    span = ordered[-1] - ordered[0] + 1
    # Of n draws from `span` whole numbers about n(n-1)/2 span pairs are equal, and more if the draw is uneven.
    pairs = n * (n - 1) / (2 * span)
    if pairs >= _EXPECTED_PAIRS and n - distinct <= _PAIRS_LEFT * pairs:
        return f"an id: {figures}, whole numbers between {ordered[0]:.0f} and {ordered[-1]:.0f}"
    position = (np.arange(distinct) + 0.5) / distinct
    distance = float(np.abs((ordered - ordered[0]) / span - position).max())
    # 1.36 over the root of n is the 5 % point of Kolmogorov's test of evenness.
    if span >= _LONG_RANGE and distance <= 1.36 / np.sqrt(distinct):
        return f"an id: {figures}, whole numbers spread evenly between {ordered[0]:.0f} and {ordered[-1]:.0f}"
    return None


def _is_id_name(name: str) -> bool:
    words = _words(name)
    return bool(words) and words[-1] in {"id", "ids", "uuid", "guid"}


def _words(name: str) -> list[str]:
    """The words of a column name: `birthYear`, `birth_year` and `Birth year` are the same two."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return [word.lower() for word in re.split(r"[^A-Za-z]+", spaced) if word]
