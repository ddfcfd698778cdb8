"""The one-feature guard: whether one feature alone reproduces the segments, so that they are bands of it.

What belongs here: naming that feature, with the accuracy it reaches on customers it was not fitted on. What does not:
the verdict that follows (`choose`), and what sets single segments apart (`drivers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentation_assets.segmentation.kmeans import Array, Labels, one_thread, predict

#: A tree on one feature that puts this share of unseen customers into their segment has reproduced the segments.
ACCURACY_FLOOR = 0.95
#: Where one segment holds nearly everybody, always naming that one is right nearly always: the tree must make at most
#: this share of the errors of doing so (proportional reduction of error, Goodman and Kruskal 1954).
MOST_ERRORS_LEFT = 0.25
#: Where the segments stand so well apart that the other features place this share of the customers without it, the one
#: feature shows a structure of several and is no binning.
REST_FLOOR = 0.9
#: Columns that say the same as the one feature (absolute correlation) are not "the other features".
SAME_COLUMN = 0.98
#: Leaves per segment: twice as many, so that a segment may lie on both sides of another.
LEAVES_PER_SEGMENT = 2
_ROWS = 3_000
_FOLDS = 5
#: Bands of equal size that the screen cuts a feature into. A tree with two leaves per segment cuts at most 23 of them
#: in two up to a dozen segments, and gains half a band at each cut: less than the slack below.
_BANDS = 128
#: Features whose bands are less pure than this cannot reach the floor, and no tree is grown for them.
_PURITY_FLOOR = ACCURACY_FLOOR - 0.1
_TRIED = 3


@dataclass(frozen=True)
class Guard:
    """What the guard found.

    `feature`: the one feature that reproduces the segments, None when none does (`is_binning` says the same).
    `nearest`: the feature that comes closest, binning or not, None when there is nothing to reproduce.
    `accuracy`: the share of held-out customers that a tree on `nearest` with at most `leaves` leaves puts into their
    segment; NaN when there is nothing to reproduce.
    """

    feature: str | None
    accuracy: float
    is_binning: bool
    nearest: str | None = None
    leaves: int = 0

    def sentence(self, label: str) -> str:
        """The finding for a reader, who knows the feature as `label`."""
        if self.nearest is None:
            return "There are no two segments, or no feature that varies, so nothing could be reproduced."
        tree = f"a tree on it with at most {self.leaves} leaves puts {_percent(self.accuracy)} of held-out customers"
        if self.is_binning:
            return f"{label} alone reproduces the segments: {tree} into their segment. They are bands of {label}."
        return f"No feature alone reproduces the segments; {label} comes closest: {tree} into their segment."


def one_feature(values: Array, names: Sequence[str], labels: Labels, seed: int) -> Guard:
    """Whether one feature alone reproduces the clusters `labels` (n,) of the matrix `values` (n, d).

    `names`: d column names as of `preprocess.column_names`. The one-hot columns of a category, and a number with its
    missing-value indicator, are one feature; every share of a dimension is one of its own. Features are screened by
    how pure bands of equal size are; the best few get a decision tree with at most two leaves per cluster,
    cross-validated in five folds spread evenly over the clusters, on at most 3,000 rows drawn by `seed`. A feature
    reproduces the clusters when its tree reaches ACCURACY_FLOOR, leaves at most MOST_ERRORS_LEFT of the errors of
    always naming the largest cluster, and the other features cannot do without it (REST_FLOOR).
    ValueError when names, labels and values do not belong together.
    """
    if values.ndim != 2 or len(names) != values.shape[1] or len(labels) != len(values):
        raise ValueError(
            f"The guard needs a name per column and a label per row: values are {values.shape}, "
            f"with {len(names)} names and {len(labels)} labels."
        )
    if len(values) > _ROWS:
        rows = np.sort(np.random.default_rng(np.random.SeedSequence([seed, 11])).choice(len(values), _ROWS, False))
        values, labels = values[rows], labels[rows]
    found, codes = np.unique(labels, return_inverse=True)
    k = len(found)
    if k < 2:
        return Guard(None, float("nan"), False)
    varies = np.ptp(values, axis=0) > 0
    features = {name: columns for name, columns in _features(values, names).items() if varies[columns].any()}
    if not features:
        return Guard(None, float("nan"), False)
    fold = _folds(codes, seed)
    purity = {name: _purity(values[:, columns], codes, k) for name, columns in features.items()}
    ranked = sorted(features, key=lambda name: (-purity[name], features[name][0]))
    tried = ranked[:1] + [name for name in ranked[1:_TRIED] if purity[name] >= _PURITY_FLOOR]
    leaves = LEAVES_PER_SEGMENT * k
    accuracy = {name: _accuracy(values[:, features[name]], codes, fold, leaves) for name in tried}
    nearest = max(tried, key=lambda name: accuracy[name])
    best = accuracy[nearest]
    chance = 1 - float(np.bincount(codes).max()) / len(codes)
    is_binning = (
        best >= ACCURACY_FLOOR
        and 1 - best <= MOST_ERRORS_LEFT * chance
        and _accuracy_of_others(values, features[nearest], codes, fold, k) < REST_FLOOR
    )
    return Guard(nearest if is_binning else None, round(best, 6), is_binning, nearest, leaves)


def _features(values: Array, names: Sequence[str]) -> dict[str, list[int]]:
    """Columns by feature: a number with its indicator, the one-hot columns of a category, each share by itself."""
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        own = name.partition("=")[0] if "=" in name else name.removesuffix(" is missing")
        groups.setdefault(own, []).append(place)
    features: dict[str, list[int]] = {}
    for own, columns in groups.items():
        if "=" not in names[columns[0]] or _is_one_hot(values[:, columns]):
            features[own] = columns
        else:
            features |= {names[place]: [place] for place in columns}
    return features


def _is_one_hot(block: Array) -> bool:
    """Whether each row has exactly one column at its upper value, and no column has a third value."""
    high, low = block.max(axis=0), block.min(axis=0)
    at_high = (block == high) & (high > low)
    if not np.all(at_high | (block == low)):
        return False
    # A value that every row has is constant in the sample and cannot be told from one that no row has.
    return bool(np.all(at_high.sum(axis=1) <= 1))


def _folds(codes: Labels, seed: int) -> NDArray[np.int64]:
    """The fold of each row: the rows of a cluster are dealt out in turn, so that each fold has its part of each."""
    order = np.random.default_rng(np.random.SeedSequence([seed, 12])).permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    fold = np.empty(len(codes), dtype=np.int64)
    fold[order] = np.arange(len(codes)) % _FOLDS
    return fold


def _purity(block: Array, codes: Labels, k: int) -> float:
    """Share of the rows in the most frequent cluster of their band: close to what a tree on the feature can reach."""
    is_one_hot = block.shape[1] > 1 and _is_one_hot(block)
    # With an indicator, the value that fills the unknown is one of the number's own bands already.
    band = (block == block.max(axis=0)).argmax(axis=1) if is_one_hot else _bands(block[:, 0])
    counts = np.bincount(band * k + codes, minlength=(int(band.max()) + 1) * k).reshape(-1, k)
    return float(counts.max(axis=1).sum()) / len(codes)


def _bands(column: Array) -> NDArray[np.int64]:
    """Bands of about equal size; equal values share a band."""
    ordered = np.sort(column)
    edges = np.unique(ordered[(np.arange(1, _BANDS) * len(ordered)) // _BANDS])
    return np.searchsorted(edges, column, side="right")


def _accuracy(block: Array, codes: Labels, fold: NDArray[np.int64], leaves: int) -> float:
    """Share of rows that a tree grown on the other folds puts into their cluster."""
    from sklearn.tree import DecisionTreeClassifier

    right = 0
    for number in range(_FOLDS):
        held_out = fold == number
        if not held_out.any() or held_out.all():
            continue
        tree = DecisionTreeClassifier(max_leaf_nodes=leaves, random_state=0)
        tree.fit(block[~held_out], codes[~held_out])
        right += int((tree.predict(block[held_out]) == codes[held_out]).sum())
    return right / len(codes)


def _accuracy_of_others(values: Array, columns: Sequence[int], codes: Labels, fold: NDArray[np.int64], k: int) -> float:
    """Share of rows nearest to the centre of their own cluster, with centres of the other folds, without `columns`."""
    centred = values - values.mean(axis=0)
    lengths = np.sqrt((centred**2).sum(axis=0))
    with one_thread():
        products = np.abs(centred.T @ centred[:, list(columns)])
    same = (products >= SAME_COLUMN * lengths[:, None] * lengths[list(columns)]).any(axis=1)
    others = values[:, ~same]
    if not others.shape[1]:
        return 0.0
    right = 0
    for number in range(_FOLDS):
        held_out = fold == number
        sizes = np.bincount(codes[~held_out], minlength=k)
        with one_thread():
            sums = np.eye(k)[codes[~held_out]].T @ others[~held_out]
        centres = np.divide(sums, sizes[:, None], out=np.full_like(sums, np.inf), where=sizes[:, None] > 0)
        known = np.flatnonzero(sizes)
        nearest = known[predict(others[held_out], centres[known])[0]] if len(known) else codes[held_out]
        right += int((nearest == codes[held_out]).sum())
    return right / len(codes)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share < 0.995 else f"{100 * share:.1f} %"
