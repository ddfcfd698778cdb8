"""What sets each segment apart: feature by feature, and as one short rule, in the units a reader knows.

Differences are measured on the matrix that was clustered and told in original units; rules are found and measured in
original units alone. Names are `naming`, and whether one feature explains all segments is `guard`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segmentation_assets.segmentation.kmeans import Array, Labels
from segmentation_assets.segmentation.matrix import OTHER, FeatureMatrix
from segmentation_assets.segmentation.spec import AxisSpec

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier

DRIVER_SCHEMA: dict[str, type[pl.DataType]] = {
    "axis": pl.String,
    "segment_id": pl.String,
    "rank": pl.Int64,
    "feature": pl.String,
    "segment_mean": pl.Float64,
    "overall_mean": pl.Float64,
    "standardised_difference": pl.Float64,
    "separation_share": pl.Float64,
    "sentence": pl.String,
}

RULE_SCHEMA: dict[str, type[pl.DataType]] = {
    "axis": pl.String,
    "segment_id": pl.String,
    "rule": pl.String,
    "precision": pl.Float64,
    "recall": pl.Float64,
    "faithfulness": pl.Float64,
    "customers": pl.Int64,
}

#: What is said where no condition tells a segment from the others.
NO_RULE = "No short rule tells this segment from the others"
EVERYONE = "Every customer of the axis"

_RULE_ROWS = 20_000
_RULE_DEPTH = 3
#: A further condition has to earn its place in the sentence by this much of the F measure.
_WORTH_A_CONDITION = 0.01
#: Agreement of rule and segment below which the rule says next to nothing (.5 is chance).
_LEAST_AGREEMENT = 0.6
#: Rounding a threshold may move this share of the rows on its smaller side.
_ROUNDING = 0.02
#: One row in so many is held out to measure the rules on.
_HELD_OUT = 3
#: The threshold between none at all and any.
_ANY = float(np.nextafter(0.0, 1.0))


def standardised_differences(values: Array, labels: Labels, k: int) -> Array:
    """(k, d): mean of each column in each segment minus the mean of all, in standard deviations of the column."""
    deviation = values.std(axis=0)
    means = np.zeros((k, values.shape[1]))
    for cluster in range(k):
        means[cluster] = values[labels == cluster].mean(axis=0) if (labels == cluster).any() else values.mean(axis=0)
    difference = means - values.mean(axis=0)
    return np.divide(difference, deviation, out=np.zeros_like(difference), where=deviation > 1e-12)


def separation_shares(values: Array, labels: Labels, k: int) -> Array:
    """(k, d): share of the squared distance from the centre of all rows to each cluster's that each column makes up.

    A row sums to 1: the between-cluster sum of squares of a cluster, split over the columns on the scale that was
    clustered, weights included. Zeros for a cluster that is empty or centred where all rows are.
    """
    squares = np.zeros((k, values.shape[1]))
    for cluster in range(k):
        if (labels == cluster).any():
            squares[cluster] = (values[labels == cluster].mean(axis=0) - values.mean(axis=0)) ** 2
    total = squares.sum(axis=1, keepdims=True)
    return np.divide(squares, total, out=np.zeros_like(squares), where=total > 1e-24)


def segment_drivers(
    matrix: FeatureMatrix, values: Array, names: Sequence[str], segment_ids: pl.Series, spec: AxisSpec
) -> pl.DataFrame:
    """Every feature of every segment, the strongest first (DRIVER_SCHEMA).

    `matrix` and `values` (n, d) with column `names`: the inputs and the matrix that was clustered. `segment_ids`: n
    ids. Means are in original units: of the known values, of shares of lines, or the share of customers for a
    category. `separation_share` is the feature's part in what sets the segment apart (`separation_shares`), 1 in all
    per segment. Sentences quote medians where a mean would speak for the largest customers only.
    """
    found = sorted(segment_ids.unique().to_list(), key=by_number)
    labels = segment_ids.replace_strict(found, list(range(len(found))), return_dtype=pl.Int64).to_numpy()
    differences = standardised_differences(values, labels, len(found))
    separation = separation_shares(values, labels, len(found))
    originals = [original_units(matrix, name, spec, names) for name in names]
    records: list[tuple[object, ...]] = []
    for cluster, segment_id in enumerate(found):
        inside = labels == cluster
        order = sorted(range(len(names)), key=lambda column: (-abs(round(differences[cluster, column], 6)), column))
        for rank, column in enumerate(order, start=1):
            label, unit, raw = originals[column]
            difference = float(differences[cluster, column])
            mean, overall = known_mean(raw[inside]), known_mean(raw)
            here, there = _quoted(raw, inside, unit, difference)
            records.append(
                (
                    spec.axis, segment_id, rank, names[column], rounded(mean), rounded(overall), rounded(difference),
                    rounded(float(separation[cluster, column])), sentence(label, unit, difference, here, there),
                )
            )  # fmt: skip
    return pl.DataFrame(records, schema=DRIVER_SCHEMA, orient="row")


def _quoted(raw: Array, inside: NDArray[np.bool_], unit: str, difference: float) -> tuple[float, float]:
    """The pair of figures a sentence quotes: medians (means for shares), or the others when only they bear it out.

    Differences are measured on the transformed scale, where a mean in original units may point the other way.
    """
    medians = known_median(raw[inside]), known_median(raw)
    means = known_mean(raw[inside]), known_mean(raw)
    first, second = (means, medians) if unit == "share" else (medians, means)
    for here, there in (first, second):
        if (here - there) * difference > 0:
            return here, there
    return first


def segment_rules(
    matrix: FeatureMatrix, values: Array, names: Sequence[str], segment_ids: pl.Series, spec: AxisSpec, *, seed: int
) -> pl.DataFrame:
    """A short rule per segment, in original units, with how well it holds on customers it was not found on.

    `matrix`, `values` (n, d), `names` and `segment_ids` as in `segment_drivers`. Per segment a decision tree of depth
    3 (this segment against the rest; Breiman et al. 1984) is grown on two thirds of at most 20,000 customers drawn by
    `seed`; of its nodes, the one whose conditions best select the segment (F measure) is the rule, a shorter one
    before a slightly better one. Thresholds are rounded to what a reader would say, and everything is measured with
    the rounded ones on the other third: `precision`, the share of the selected customers who are in the segment;
    `recall`, the share of the segment that is selected; `faithfulness`, the agreement of rule and segment, members
    and others weighing alike (.5 is chance). They are null where too few customers are held out. An unknown number
    counts as the median, as in the clustering. Returns RULE_SCHEMA, `customers` being those of the segment.
    """
    if len(segment_ids) != len(values) or matrix.inputs.height != len(values):
        raise ValueError(
            f"Axis {spec.axis}: rules need one segment id per row of the matrix; there are {len(segment_ids)} ids, "
            f"{len(values)} rows of the matrix and {matrix.inputs.height} of its inputs."
        )
    found = sorted(segment_ids.unique().to_list(), key=by_number)
    codes = segment_ids.replace_strict(found, list(range(len(found))), return_dtype=pl.Int64).to_numpy()
    sizes = np.bincount(codes, minlength=len(found))
    rows = _rows_for_rules(codes, seed)
    columns = [_readable(matrix, name, names, spec) for name in names]
    inputs = np.column_stack([column.values for column in columns])[rows] if columns else np.zeros((len(rows), 0))
    codes = codes[rows]
    held_out = _held_out(codes)
    records: list[tuple[object, ...]] = []
    for cluster, segment_id in enumerate(found):
        words = EVERYONE if len(found) == 1 else NO_RULE
        figures: tuple[float | None, ...] = (None, None, None)
        if len(found) > 1 and inputs.shape[1]:
            rule = _best_rule(inputs[~held_out], codes[~held_out] == cluster, columns)
            if rule:
                words = _in_words([_condition(bounds, columns[bounds.column]) for bounds in rule])
                figures = _measured(_selected(inputs[held_out], rule), codes[held_out] == cluster)
        records.append((spec.axis, segment_id, words, *figures, int(sizes[cluster])))
    return pl.DataFrame(records, schema=RULE_SCHEMA, orient="row")


@dataclass(frozen=True)
class _Column:
    """One column as a rule speaks of it: what it is called and its n values in original units, without gaps.

    `is_whole`: all values are whole numbers. `state`: what is said of a column that is true or false ("gold" for
    "Tier is gold"), empty for a number.
    """

    label: str
    unit: str
    values: Array
    is_whole: bool = False
    state: str = ""


@dataclass(frozen=True)
class _Bounds:
    """A condition: at least `low` and below `high` in column number `column`."""

    column: int
    low: float
    high: float


def _readable(matrix: FeatureMatrix, name: str, names: Sequence[str], spec: AxisSpec) -> _Column:
    label, unit, raw = original_units(matrix, name, spec, names)
    if name in matrix.layout.numeric or any(name in block.columns for block in matrix.layout.shares):
        known = raw[~np.isnan(raw)]
        filled = np.where(np.isnan(raw), np.median(known) if len(known) else 0.0, raw)
        return _Column(label, unit, filled, unit != "share" and bool(np.all(filled == np.round(filled))))
    if name.endswith(" is missing"):
        return _Column(spec.label(name.removesuffix(" is missing")), unit, raw, state="unknown")
    column, value = name.split("=", 1)
    return _Column(spec.label(column), unit, raw, state="a rarer one" if value == OTHER else value)


def _rows_for_rules(codes: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """At most 20,000 rows in random order."""
    return np.random.default_rng(np.random.SeedSequence([seed, 14])).permutation(len(codes))[:_RULE_ROWS]


def _held_out(codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Every third row of each segment, in the order of the rows."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    place = np.arange(len(codes)) - np.searchsorted(ordered, ordered, side="left")
    held_out = np.zeros(len(codes), dtype=bool)
    held_out[order] = place % _HELD_OUT == _HELD_OUT - 1
    return held_out


def _best_rule(inputs: Array, is_inside: NDArray[np.bool_], columns: Sequence[_Column]) -> list[_Bounds]:
    """The node of the trees that selects the segment best, as conditions; empty when none tells much.

    One tree counts every customer alike and one gives the segment the weight of all others: the second finds small
    segments, the first keeps the others out.
    """
    from sklearn.tree import DecisionTreeClassifier

    best: list[_Bounds] = []
    reached = 0.0
    if is_inside.all() or not is_inside.any():
        return best
    fewest = max(1, int(is_inside.sum()) // 20)
    candidates: list[tuple[int, float, list[_Bounds]]] = []
    for weight in (None, "balanced"):
        tree = DecisionTreeClassifier(
            max_depth=_RULE_DEPTH, min_samples_leaf=fewest, class_weight=weight, random_state=0
        ).fit(inputs, is_inside)
        nodes = tree.decision_path(inputs)
        selected = np.asarray(nodes.sum(axis=0)).ravel()
        right = np.asarray(nodes[is_inside].sum(axis=0)).ravel()
        inside = is_inside.sum()
        measure = 2 * right / (selected + inside)
        agreement = (right / inside + 1 - (selected - right) / (len(inputs) - inside)) / 2
        candidates += [
            (len(path), float(measure[node]), path)
            for node, path in _paths(tree)
            if path and agreement[node] >= _LEAST_AGREEMENT
        ]
    for _, measure, path in sorted(candidates, key=lambda item: (item[0], -item[1])):
        if measure > reached + _WORTH_A_CONDITION:
            best, reached = path, measure
    return [_said(bounds, inputs[:, bounds.column], columns[bounds.column]) for bounds in best]


def _paths(tree: DecisionTreeClassifier) -> Iterator[tuple[int, list[_Bounds]]]:
    """Each node with the conditions that lead to it, one per column, in the order in which the tree asks."""
    grown = tree.tree_
    waiting: list[tuple[int, dict[int, _Bounds]]] = [(0, {})]
    while waiting:
        node, path = waiting.pop()
        yield node, list(path.values())
        if grown.children_left[node] < 0:
            continue
        column, threshold = int(grown.feature[node]), float(grown.threshold[node])
        so_far = path.get(column, _Bounds(column, -math.inf, math.inf))
        # A threshold lies between two values, so "at most" and "below" select the same rows.
        waiting.append((int(grown.children_left[node]), path | {column: replace(so_far, high=threshold)}))
        waiting.append((int(grown.children_right[node]), path | {column: replace(so_far, low=threshold)}))


def _said(bounds: _Bounds, values: Array, column: _Column) -> _Bounds:
    """The condition with thresholds a reader would say; a state keeps its half."""
    if column.state:
        return bounds
    ordered = np.sort(values)
    low, high = (_round_threshold(edge, ordered, column) for edge in (bounds.low, bounds.high))
    return bounds if low >= high else replace(bounds, low=low, high=high)


def _round_threshold(threshold: float, ordered: Array, column: _Column) -> float:
    """The roundest number that moves few rows to the other side of the threshold."""
    if math.isinf(threshold):
        return threshold
    below = int(np.searchsorted(ordered, threshold, side="right"))
    if column.unit == "share" and ordered[0] >= 0 and ordered[below - 1] == 0:
        return _ANY  # only zeros are below: "none" says it best
    slack = int(_ROUNDING * min(below, len(ordered) - below))
    size = math.floor(math.log10(abs(threshold))) + 1 if threshold else 1
    for power in range(size, size - 7, -1):
        for step in (5 * 10.0**power, 10.0**power):
            if column.is_whole and step < 1:
                return float(math.ceil(threshold))
            edge = round(round(threshold / step) * step, 12)
            moved = int(np.searchsorted(ordered, edge, side="left"))
            if abs(moved - below) <= slack and 0 < moved < len(ordered):
                return edge
    return threshold


def _selected(inputs: Array, rule: Sequence[_Bounds]) -> NDArray[np.bool_]:
    chosen = np.ones(len(inputs), dtype=bool)
    for bounds in rule:
        chosen &= (inputs[:, bounds.column] >= bounds.low) & (inputs[:, bounds.column] < bounds.high)
    return chosen


def _measured(is_selected: NDArray[np.bool_], is_inside: NDArray[np.bool_]) -> tuple[float | None, ...]:
    """Precision, recall and balanced agreement of held-out rows; null where there is nothing to divide by."""
    both, inside, outside = int((is_selected & is_inside).sum()), int(is_inside.sum()), int((~is_inside).sum())
    chosen = int(is_selected.sum())
    precision = round(both / chosen, 6) if chosen else None
    recall = round(both / inside, 6) if inside else None
    if not (inside and outside):
        return precision, recall, None
    return precision, recall, round((both / inside + 1 - (chosen - both) / outside) / 2, 6)


def _condition(bounds: _Bounds, column: _Column) -> str:
    """One condition in words."""
    label, low, high = column.label, bounds.low, bounds.high
    if column.state:
        return f"{label} is {'not ' if math.isinf(low) else ''}{column.state}"
    if high == _ANY:
        return f"no {label[:1].lower() + label[1:]}" if label[1:2].islower() else f"no {label}"
    if column.is_whole:
        first = max(low, float(column.values.min()))
        if min(high, float(column.values.max()) + 1) - first == 1:
            return f"{label} exactly {_edge(first, column.unit)}"
    if math.isinf(low):
        return f"{label} below {_edge(high, column.unit)}"
    at_least = "above 0 %" if low == _ANY else f"at least {_edge(low, column.unit)}"
    if math.isinf(high):
        return f"{label} {at_least}"
    return f"{label} {at_least} and below {_edge(high, column.unit)}"


def _in_words(conditions: Sequence[str]) -> str:
    first, *rest = conditions
    parts = [first[:1].upper() + first[1:]] + [
        text[:1].lower() + text[1:] if text[1:2].islower() else text for text in rest
    ]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _edge(value: float, unit: str) -> str:
    """A threshold as a reader writes it, with no more digits than it has."""
    if unit == "share":
        return f"{_plain(100 * value)} %"
    return f"{_plain(value)} days" if unit == "days" else _plain(value)


def _plain(value: float) -> str:
    text = f"{round(value, 9):,.6f}"
    return text.rstrip("0").rstrip(".")


def original_units(
    matrix: FeatureMatrix, name: str, spec: AxisSpec, names: Sequence[str] = ()
) -> tuple[str, str, Array]:
    """Label, unit and the n values in original units behind one column of the clustered matrix.

    `names` are all its columns: they tell which values of a category its column `(other)` does not stand for.
    """
    inputs = matrix.inputs
    if name in matrix.layout.numeric:
        unit = next((feature.unit for feature in spec.numeric if feature.name == name), "")
        return spec.label(name), unit, inputs[name].fill_null(float("nan")).to_numpy()
    if name.endswith(" is missing"):
        column = name.removesuffix(" is missing")
        return f"{spec.label(column)} unknown", "share", inputs[column].is_null().cast(pl.Float64).to_numpy()
    for block in matrix.layout.shares:
        if name in block.columns:
            counts = inputs.select(block.columns).to_numpy()
            total = counts.sum(axis=1)
            own = inputs[name].to_numpy()
            label = spec.label(name.split("=", 1)[1]) if block.dimension == "amounts" else name.split("=", 1)[1]
            return f"Share of {label}", "share", np.divide(own, total, out=np.zeros(len(own)), where=total > 0)
    column, value = name.split("=", 1)
    has_value = inputs[column] == value
    if value == OTHER:
        has_value = ~inputs[column].is_in([other.split("=", 1)[1] for other in names if other.startswith(f"{column}=")])
        has_value |= inputs[column] == OTHER
    return f"{spec.label(column)}: {value}", "share", has_value.cast(pl.Float64).to_numpy()


def sentence(label: str, unit: str, difference: float, here: float, there: float) -> str:
    """One sentence on one feature of one segment, in original units.

    `difference` in standard deviations decides the words, unless the two figures quoted point the other way.
    """
    size = abs(difference) if (here - there) * difference > 0 else 0.0
    side = "below" if difference < 0 else "above"
    if size >= 1:
        where = f"far {side} the rest"
    elif size >= 0.4:
        where = f"{side} the rest"
    elif size >= 0.15:
        where = f"slightly {side} the rest"
    else:
        where = "like the rest"
    return f"{label} is {where}: {_quantity(here, unit)} against {_quantity(there, unit)} overall."


def _quantity(value: float, unit: str) -> str:
    if np.isnan(value):
        return "unknown"
    if unit == "share":
        return f"{100 * value:.0f} %" if value >= 0.0995 or value == 0 else f"{100 * value:.1f} %"
    if unit == "days":
        return f"{value:,.0f} days"
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:,.2f}"


def by_number(segment_id: str) -> tuple[int, str]:
    """Sort key: S2 before S10."""
    return len(segment_id), segment_id


def known_mean(values: Array) -> float:
    """Mean of the known values, NaN when none is known."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def known_median(values: Array) -> float:
    """Median of the known values, NaN when none is known."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def rounded(value: float) -> float | None:
    """Six digits, null for NaN."""
    return None if np.isnan(value) else round(value, 6)
