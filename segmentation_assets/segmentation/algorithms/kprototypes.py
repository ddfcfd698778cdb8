"""K-Prototypes: clusters of rows that have numbers and categories, in scikit-learn's conventions.

The cost is Huang's (1998): the squared distance of the numbers to the mean of the cluster plus gamma for each category
that is not the most frequent one (the mode) of the cluster. Here: the estimator, several of them over a range of k,
and the search for a low cost. Which columns are clustered and how they are scaled is `matrix` and `preprocess`;
evidence for k is `evidence`.

How it is fast. Scores of all rows are one matrix product; the categories are looked up in tables, one look-up for
several columns at once where their combinations are few. The cost is a squared Euclidean distance (a category is a
corner of a simplex with edges of length sqrt(gamma)), so the triangle inequality holds and rows that cannot have
changed their cluster are not looked at again (Hamerly 2010). Sums and counts follow the rows that moved.

How it finds a low cost. Starts by greedy k-means++ on a sample, then exchanges of one prototype for a row wherever
that lowers the cost (as PAM does, Kaufman and Rousseeuw 1990), then the best on more rows, and the best of those on
all rows; there, up to some size, single rows are moved too (Hartigan 1975). One thread, fixed order, and ties go to
the first cluster: the same answer everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from segmentation_assets.segmentation.kmeans import Array, Labels, distinct_rows, one_thread

Codes = NDArray[np.int64]

#: The layout of `KPrototypes.to_dict`; raised when a reader of the old one could not read the new one.
FORMAT = 1
#: Rows of the sample that is started on, and of the larger one that the best starts are compared on; no sample is
#: drawn from fewer rows than the larger one has: it would save little and cost a little where no kinds lie apart.
_START_ROWS, _SAMPLE_ROWS = 10_000, 20_000
#: Starts that are improved by exchanges (half of them at most), and of those the ones polished on more rows.
_EXCHANGED, _POLISHED = 3, 2
#: Rows offered for an exchange at a time, and offers in a row that may fail before a start counts as done.
_OFFERS, _FAILURES = 12, 2
#: A start only has to show which valley it is in; the polish goes to the bottom of the best ones.
_ROUGH = 1e-3
#: A descent that would not reach its goal in so many more steps as long as the last is given up.
_PATIENCE = 4
#: Rows up to which single rows are moved at the end; beyond, one row hardly moves a mean.
_SETTLED_ROWS = 20_000
_ROUNDS = 5
#: Rows at a time: scores of a block stay in the processor's cache. No power of two: its columns collide there.
_BLOCK_ROWS = 4_000
#: Combinations of several columns that one table may hold.
_TABLE = 4_096
_LARGEST_NUMBER = 1e150
_LARGEST_CODE = 1 << 53  # beyond it a float no longer holds every integer
#: Costs closer than this share of the mean cost around the centre are equal: rounding must not decide a label.
_TIE = 1e-12


@dataclass(frozen=True)
class _Group:
    """Columns that are looked up together.

    `codes` (n,) numbers their combination; `digits` (columns, combinations) takes a combination apart; `levels`
    (combinations, sum of sizes) has a 1 for each level a combination holds, and is None for a single column.
    """

    columns: tuple[int, ...]
    sizes: tuple[int, ...]
    codes: Codes
    digits: Codes
    levels: Array | None

    @classmethod
    def join(cls, columns: Sequence[int], sizes: Sequence[int], codes: Codes) -> _Group:
        """From codes (n, dc) of single columns, those of column j being under `sizes[j]`."""
        own = tuple(int(sizes[column]) for column in columns)
        joint = codes[:, columns[0]].astype(np.int64)
        for column, size in zip(columns[1:], own[1:], strict=True):
            joint *= size
            joint += codes[:, column]
        digits = np.indices(own).reshape(len(own), -1)
        levels = None
        if len(columns) > 1:
            levels = np.hstack([(digit[:, None] == np.arange(size)) for digit, size in zip(digits, own, strict=True)])
            levels = levels.astype(np.float64)
        return cls(tuple(columns), own, joint, digits, levels)

    @property
    def size(self) -> int:
        return self.digits.shape[1]

    def take(self, index: Labels) -> _Group:
        return replace(self, codes=self.codes[index])

    def singles(self, counts: Codes) -> list[Codes]:
        """Counts of combinations (k, combinations) as counts of the levels of each column, (k, size) each."""
        if self.levels is None:
            return [counts]
        return np.split((counts @ self.levels).astype(np.int64), np.cumsum(self.sizes)[:-1], axis=1)


@dataclass(frozen=True)
class _Rows:
    """What the search works on: centred numbers (n, dn), their squared lengths (n,), and grouped categories.

    `scale` is the mean squared length at the fit plus gamma per category: what a difference in cost is small beside.
    """

    numbers: Array
    squares: Array
    groups: tuple[_Group, ...]
    gamma: float
    scale: float

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def categories(self) -> int:
        return sum(len(group.columns) for group in self.groups)

    def take(self, index: Labels) -> _Rows:
        """The rows of `index`, as rows of their own."""
        groups = tuple(group.take(index) for group in self.groups)
        return _Rows(self.numbers[index], self.squares[index], groups, self.gamma, self.scale)

    def categories_of(self, index: Labels) -> Codes:
        """(len(index), dc) codes of single columns."""
        found = np.zeros((len(index), self.categories), dtype=np.int64)
        for group in self.groups:
            found[:, group.columns] = group.digits[:, group.codes[index]].T
        return found

    def blocks(self, index: Labels | None) -> Iterator[slice | Labels]:
        """All rows, or those of `index`, a block at a time."""
        for start in range(0, len(self) if index is None else len(index), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            yield block if index is None else index[block]


@dataclass(frozen=True)
class _Prototypes:
    """Centroids (k, dn) and modes (k, dc); a mode that no row has is past the end of its column."""

    centroids: Array
    modes: Codes

    def __len__(self) -> int:
        return len(self.centroids)

    def take(self, index: Labels) -> _Prototypes:
        return _Prototypes(self.centroids[index], self.modes[index])


def _prepare(
    numbers: Array, codes: Codes, sizes: Sequence[int], *, gamma: float, centre: Array, scale: float | None = None
) -> _Rows:
    """Rows for the search from numbers (n, dn) and codes (n, dc), the codes of column j being under `sizes[j]`."""
    numbers = np.ascontiguousarray(numbers - centre)
    squares = np.einsum("ij,ij->i", numbers, numbers)
    largest = min(_TABLE, max(len(numbers) // 8, 16))  # a table larger than the data would cost more than it saves
    packed: list[list[int]] = []
    for column in sorted(range(len(sizes)), key=lambda j: (sizes[j], j)):
        if packed and np.prod([float(sizes[j]) for j in [*packed[-1], column]]) <= largest:
            packed[-1].append(column)
        else:
            packed.append([column])
    groups = [_Group.join(columns, sizes, codes) for columns in packed]
    if scale is None:
        scale = float(squares.mean()) + gamma * len(sizes)
    return _Rows(numbers, squares, tuple(groups), gamma, scale)


def _tables(rows: _Rows, modes: Codes) -> list[Array]:
    """Per group, what each combination of categories costs in each cluster: (k, combinations)."""
    found = []
    for group in rows.groups:
        misses = [
            modes[:, column, None] != np.arange(size) for column, size in zip(group.columns, group.sizes, strict=True)
        ]
        costs = rows.gamma * np.hstack(misses)
        found.append(costs if group.levels is None else costs @ group.levels.T)
    return found


def _scores(rows: _Rows, block: slice | Labels, prototypes: _Prototypes, tables: list[Array]) -> Array:
    """(k, rows of the block): the cost of each row in each cluster less the squared length of its numbers."""
    numbers = rows.numbers[block] if isinstance(block, slice) else rows.numbers.take(block, axis=0)
    scores = np.dot(-2.0 * prototypes.centroids, numbers.T)
    lengths = np.einsum("ij,ij->i", prototypes.centroids, prototypes.centroids)
    scores += (lengths + _TIE * rows.scale * np.arange(len(prototypes)))[:, None]
    for group, table in zip(rows.groups, tables, strict=True):
        scores += table.take(group.codes[block], axis=1, mode="clip")
    return scores


def _two_nearest(
    rows: _Rows, prototypes: _Prototypes, index: Labels | None = None
) -> Iterator[tuple[slice | Labels, Labels, Array, Array]]:
    """Per block of rows: which, their nearest cluster, the cost in it and in the second nearest (inf if k is 1)."""
    tables = _tables(rows, prototypes.modes)
    for block in rows.blocks(index):
        scores = _scores(rows, block, prototypes, tables)
        labels = np.zeros(scores.shape[1], dtype=np.int64)
        best, second = scores[0], np.full(scores.shape[1], np.inf)
        for cluster in range(1, len(scores)):
            score = scores[cluster]
            np.putmask(labels, score < best, cluster)
            np.minimum(second, np.maximum(best, score), out=second)
            np.minimum(best, score, out=best)
        squares = rows.squares[block]
        yield block, labels, np.maximum(best + squares, 0.0), np.maximum(second + squares, 0.0)


class _Tally:
    """Sizes, sums and category counts of clusters, kept up to date from the rows that move."""

    def __init__(self, rows: _Rows, k: int) -> None:
        self.rows, self.k = rows, k
        self.total = float(rows.squares.sum())
        self.sizes = np.zeros(k)
        self.sums = np.zeros((k, rows.numbers.shape[1]))
        self.counts = [np.zeros((k, group.size), dtype=np.int64) for group in rows.groups]

    def move(self, index: Labels, old: Labels, new: Labels) -> None:
        """Rows of `index` go from their old cluster (-1: from none) to their new one."""
        clusters = np.arange(self.k)[:, None]
        for start in range(0, len(index), _BLOCK_ROWS):
            part = slice(start, start + _BLOCK_ROWS)
            joined = (new[part] == clusters).astype(np.float64)
            joined -= old[part] == clusters
            self.sizes += joined.sum(axis=1)
            self.sums += joined @ self.rows.numbers.take(index[part], axis=0)
        leaving = old >= 0
        for place, group in enumerate(self.rows.groups):
            codes, cells = group.codes.take(index), self.k * group.size
            change = np.bincount(new * group.size + codes, minlength=cells)
            if leaving.any():
                change -= np.bincount(old[leaving] * group.size + codes[leaving], minlength=cells)
            self.counts[place] += change.reshape(self.k, group.size)

    def prototypes(self, before: _Prototypes) -> tuple[_Prototypes, float]:
        """Means and modes, and the cost of the rows beside them; an empty cluster stays where it was."""
        empty = self.sizes == 0
        centroids = self.sums / np.where(empty, 1.0, self.sizes)[:, None]
        modes = before.modes.copy()
        hits = 0
        for group, counts in zip(self.rows.groups, self.counts, strict=True):
            for column, single in zip(group.columns, group.singles(counts), strict=True):
                modes[:, column] = single.argmax(axis=1)  # the first of equals: the smallest code
                hits += int(single.max(axis=1).sum())
        between = float((self.sizes * np.einsum("ij,ij->i", centroids, centroids)).sum())
        misses = len(self.rows) * self.rows.categories - hits
        cost = max(self.total - between, 0.0) + self.rows.gamma * misses
        centroids[empty], modes[empty] = before.centroids[empty], before.modes[empty]
        return _Prototypes(centroids, modes), cost


@dataclass(frozen=True)
class _Descent:
    """Where a descent ended: prototypes, labels of the rows it ran on, and the cost after each iteration."""

    prototypes: _Prototypes
    labels: Labels
    costs: tuple[float, ...] = field(repr=False)

    @property
    def cost(self) -> float:
        return self.costs[-1]


def _descend(rows: _Rows, prototypes: _Prototypes, *, tol: float, max_iter: int, goal: float = np.inf) -> _Descent:
    """Assign rows and move prototypes in turn until no row moves, or the cost falls by no more than `tol` of itself.

    A descent that would not reach the cost `goal` in `_PATIENCE` more steps as long as the last one is given up.

    `gap` is a lower bound on how much nearer a row is to its own prototype than to any other; it shrinks by what the
    prototypes move, and only rows whose gap may have closed are looked at.
    """
    labels, gap = np.full(len(rows), -1, dtype=np.int64), np.empty(len(rows))
    tally = _Tally(rows, len(prototypes))
    costs: list[float] = []
    slack = 1e-6 * float(np.sqrt(rows.scale))
    index: Labels | None = None
    while len(costs) < max_iter:
        looked, found = [], []
        for block, nearest, best, second in _two_nearest(rows, prototypes, index):
            gap[block] = np.sqrt(second) - np.sqrt(best)
            is_new = np.flatnonzero(nearest != labels[block])
            looked.append(is_new + block.start if isinstance(block, slice) else block[is_new])
            found.append(nearest[is_new])
        moved, new = np.concatenate(looked), np.concatenate(found)
        if len(moved) == 0:
            if index is None:
                break
            index = None  # the bounds say that nothing moves; a look at all rows makes sure
            continue
        tally.move(moved, labels[moved], new)
        labels[moved] = new
        before = prototypes
        prototypes, cost = tally.prototypes(before)
        is_refilled = bool((tally.sizes == 0).any())
        if is_refilled:
            prototypes, cost = _fill_empty(rows, tally, prototypes, labels)
        costs.append(cost)
        if len(costs) > 1:
            step = costs[-2] - cost
            if (tol > 0 and step <= tol * cost) or cost - _PATIENCE * step > goal:
                break
        gap -= _steps(before, prototypes, rows.gamma).take(labels, mode="clip")
        active = np.flatnonzero(gap <= slack)
        index = None if is_refilled or not 0 < 2 * len(active) <= len(rows) else active
    return _Descent(prototypes, labels, tuple(costs))


def _steps(before: _Prototypes, after: _Prototypes, gamma: float) -> Array:
    """(k,) by how much the gap of a row of each cluster may have shrunk: its own step and the longest of the others."""
    squares = ((after.centroids - before.centroids) ** 2).sum(axis=1)
    steps = np.sqrt(squares + gamma * (after.modes != before.modes).sum(axis=1))
    longest = int(steps.argmax())
    others = np.full(len(steps), steps[longest])
    others[longest] = np.delete(steps, longest).max(initial=0.0)
    return np.asarray(steps + others)


def _fill_empty(rows: _Rows, tally: _Tally, prototypes: _Prototypes, labels: Labels) -> tuple[_Prototypes, float]:
    """Give each empty cluster the row farthest from its prototype (of equally far ones the smallest row).

    Changes `tally` and `labels`. A row in an empty cluster costs nothing there, so the cost falls.
    """
    cost = np.inf
    for cluster in np.flatnonzero(tally.sizes == 0):
        far = np.concatenate(list(_own_costs(rows, prototypes, labels)))
        # A cluster of one row is no donor: it would be empty in its turn.
        far[tally.sizes[labels] <= 1] = -np.inf
        ties = np.flatnonzero(far >= far.max() - _TIE * rows.scale)
        keys = np.hstack([rows.numbers[ties], rows.categories_of(ties)])
        row = ties[np.lexsort(keys.T[::-1])[:1]]
        tally.move(row, labels[row], np.array([cluster]))
        labels[row] = cluster
        prototypes, cost = tally.prototypes(prototypes)
    return prototypes, cost


def _own_costs(rows: _Rows, prototypes: _Prototypes, labels: Labels) -> Iterator[Array]:
    """Per block: the cost of each row in the cluster of its label, from the differences themselves."""
    tables = _tables(rows, prototypes.modes)
    for block in rows.blocks(None):
        own = labels[block]
        rest = rows.numbers[block] - prototypes.centroids[own]
        costs = np.einsum("ij,ij->i", rest, rest)
        for group, table in zip(rows.groups, tables, strict=True):
            costs += table[own, group.codes[block]]
        yield costs


def _cost(rows: _Rows, prototypes: _Prototypes, labels: Labels) -> float:
    """Huang's cost of labels (n,) beside prototypes."""
    return float(sum(costs.sum() for costs in _own_costs(rows, prototypes, labels)))


def _distinct(rows: _Rows, at_most: int) -> int:
    """Number of distinct rows, counted no further than `at_most`; most often the first thousand say enough."""
    found = 0
    for count in sorted({min(len(rows), 1000), len(rows)}):
        index = np.arange(count)
        found = distinct_rows(np.hstack([rows.numbers[index], rows.categories_of(index)]), at_most)
        if found >= at_most:
            break
    return found


def _at_rows(rows: _Rows, index: Labels) -> _Prototypes:
    """Prototypes that are the rows of `index`."""
    return _Prototypes(rows.numbers[index], rows.categories_of(index))


def _to_prototypes(rows: _Rows, prototypes: _Prototypes) -> Array:
    """(k, n) cost of every row in every cluster."""
    tables = _tables(rows, prototypes.modes)
    found = [_scores(rows, block, prototypes, tables) + rows.squares[block] for block in rows.blocks(None)]
    return np.maximum(np.hstack(found), 0.0)


def _draw(weights: Array, count: int, rng: np.random.Generator) -> Labels:
    """`count` places drawn by weight; evenly when all weights are zero."""
    sums = np.cumsum(weights)
    if sums[-1] <= 0:
        return rng.integers(0, len(weights), count)
    return np.minimum(np.searchsorted(sums, rng.random(count) * sums[-1], side="right"), len(weights) - 1)


def _seeds(rows: _Rows, k: int, rng: np.random.Generator, given: _Prototypes | None = None) -> _Prototypes:
    """Greedy k-means++ (Arthur and Vassilvitskii 2007): k prototypes on rows, the first m of which do for m clusters.

    `given` prototypes come first and are kept.
    """
    found = _at_rows(rows, rng.integers(len(rows), size=1)) if given is None else given
    best = _to_prototypes(rows, found).min(axis=0)
    while len(found) < k:
        offered = _draw(best, 2 + int(np.log(k)), rng)
        costs = np.minimum(_to_prototypes(rows, _at_rows(rows, offered)), best)
        winner = int(costs.sum(axis=1).argmin())
        row = _at_rows(rows, offered[winner : winner + 1])
        found = _Prototypes(np.vstack([found.centroids, row.centroids]), np.vstack([found.modes, row.modes]))
        best = costs[winner]
    return found


def _exchange(rows: _Rows, start: _Descent, rng: np.random.Generator, max_iter: int) -> _Descent:
    """Put one prototype on another row and descend again, as long as that lowers the cost.

    Rows are offered by their cost. For each pair of a cluster to give up and a row to start one from, the cost before
    the descent is known from the two nearest prototypes of every row; the best pair is tried.
    """
    best, failures, k = start, 0, len(start.prototypes)
    while failures < _FAILURES and k > 1:
        near = np.empty((2, len(rows)))
        labels = np.empty(len(rows), dtype=np.int64)
        for block, nearest, first, second in _two_nearest(rows, best.prototypes):
            labels[block], near[0, block], near[1, block] = nearest, first, second
        while failures < _FAILURES:
            offered = _draw(near[0], _OFFERS, rng)
            costs = _to_prototypes(rows, _at_rows(rows, offered))
            kept = np.minimum(costs, near[0])
            lost = np.minimum(costs, near[1]) - kept
            given_up = lost @ (labels[:, None] == np.arange(k)).astype(np.float64)
            offer, cluster = np.unravel_index((kept.sum(axis=1)[:, None] + given_up).argmin(), given_up.shape)
            row = _at_rows(rows, offered[offer : offer + 1])
            centroids, modes = best.prototypes.centroids.copy(), best.prototypes.modes.copy()
            centroids[cluster], modes[cluster] = row.centroids[0], row.modes[0]
            tried = _descend(rows, _Prototypes(centroids, modes), tol=_ROUGH, max_iter=max_iter, goal=best.cost)
            if tried.cost < best.cost * (1 - _TIE):
                best, failures = tried, 0
                break
            failures += 1
    return best


def _settle(rows: _Rows, start: _Descent, max_iter: int) -> _Descent:
    """Move single rows where that lowers the cost though another prototype is nearer, and descend again.

    A mean follows its rows, so leaving a cluster of s rows saves s / (s - 1) of the squared distance and joining one
    costs s / (s + 1) of it (Hartigan 1975). Rows move together as long as the cost falls, else the better half does.
    """
    best = start
    for _ in range(_ROUNDS):
        k = len(best.prototypes)
        tally = _Tally(rows, k)
        tally.move(np.arange(len(rows)), np.full(len(rows), -1), best.labels)
        prototypes, cost = tally.prototypes(best.prototypes)
        numeric = _Prototypes(prototypes.centroids, prototypes.modes[:, :0])
        squares = _to_prototypes(replace(rows, groups=()), numeric)
        misses = _to_prototypes(rows, prototypes) - squares
        joined = squares * (tally.sizes / (tally.sizes + 1))[:, None] + misses
        everyone = np.arange(len(rows))
        own = squares[best.labels, everyone], misses[best.labels, everyone]
        sizes = tally.sizes[best.labels]
        saved = np.where(sizes > 1, own[0] * sizes / np.maximum(sizes - 1, 1) + own[1], 0.0)
        joined[best.labels, everyone] = np.inf
        target = joined.argmin(axis=0)
        gain = saved - joined[target, everyone]
        movers = np.flatnonzero(gain > 1e3 * _TIE * rows.scale)
        movers = movers[np.argsort(-gain[movers], kind="stable")]
        while len(movers):
            tally.move(movers, best.labels[movers], target[movers])
            moved, after = tally.prototypes(prototypes)
            if after < cost and (tally.sizes > 0).all():
                prototypes = moved
                break
            tally.move(movers, target[movers], best.labels[movers])
            movers = movers[: len(movers) // 2]
        if not len(movers):
            break
        tried = _descend(rows, prototypes, tol=0.0, max_iter=max_iter)
        if tried.cost >= best.cost:
            break
        best = replace(tried, costs=best.costs + tried.costs)
    return best


@dataclass(frozen=True)
class _Samples:
    """All rows, a sample to start on and a larger one to choose between the best starts."""

    few: _Rows
    many: _Rows
    rows: _Rows

    @classmethod
    def draw(cls, rows: _Rows, k: int, rng: np.random.Generator) -> _Samples:
        """Without replacement, the small sample within the larger one; all rows where there are few.

        All rows as well when the small sample has fewer than k distinct ones: a rare kind of row was not drawn.
        """
        if len(rows) <= _SAMPLE_ROWS:
            return cls(rows, rows, rows)
        order = rng.permutation(len(rows))
        few = rows.take(np.sort(order[:_START_ROWS]))
        if _distinct(few, k) < k:
            return cls(rows, rows, rows)
        return cls(few, rows.take(np.sort(order[:_SAMPLE_ROWS])), rows)


def _sorted(prototypes: _Prototypes) -> _Prototypes:
    """The same prototypes by centroid, then by mode, so that equal clusters have equal numbers."""
    keys = np.hstack([np.round(prototypes.centroids, 9), prototypes.modes])
    return prototypes.take(np.lexsort(keys.T[::-1])) if keys.shape[1] else prototypes


def _search(
    samples: _Samples, starts: Sequence[_Prototypes], rng: np.random.Generator, *, max_iter: int, tol: float
) -> _Descent:
    """From starts to the best descent on all rows: rough on few, exchanged, polished on many, then on all."""
    tried = [_descend(samples.few, start, tol=_ROUGH, max_iter=max_iter) for start in starts]
    tried = sorted(tried, key=lambda descent: descent.cost)[: min(_EXCHANGED, (len(starts) + 1) // 2)]
    tried = [_exchange(samples.few, descent, rng, max_iter) for descent in tried]
    tried = sorted(tried, key=lambda descent: descent.cost)[:_POLISHED]
    if samples.rows is not samples.many:
        tried = [_descend(samples.many, descent.prototypes, tol=0.0, max_iter=max_iter) for descent in tried]
        tried = [min(tried, key=lambda descent: descent.cost)]
    ends = [_descend(samples.rows, _sorted(descent.prototypes), tol=tol, max_iter=max_iter) for descent in tried]
    if len(samples.rows) <= _SETTLED_ROWS:
        ends = [_settle(samples.rows, end, max_iter) for end in ends]
    return min(ends, key=lambda descent: descent.cost)


@dataclass(frozen=True)
class _Columns:
    """Which columns are categories, their names if the rows came as a frame, and the levels of coded text.

    `vocabulary`: per categorical column the levels in order; empty when the rows came as an array of codes.
    """

    categorical: tuple[int, ...]
    names: tuple[str, ...] = ()
    vocabulary: tuple[tuple[str, ...], ...] = ()


class KPrototypes(ClusterMixin, BaseEstimator):
    """K-Prototypes (Huang 1998): K-means on numbers and k-modes on categories, together.

    Parameters
    - `n_clusters`: k, 1 or more.
    - `categorical_features`: for an array the places of columns with category codes (whole numbers from 0), None or
      empty for none. For a frame also names; None takes the text, categorical and boolean columns. Frame columns
      that are categories are coded inside: levels are compared as text, null is a level of its own.
    - `gamma`: what a category that is not the mode costs, in units of a squared distance; above 0. "auto" is half the
      mean (population) standard deviation of the numeric columns, after Huang (1997), who ties gamma to the average
      deviation of the numbers: .5 for columns of unit variance. 1 when there are no numbers or all are constant.
    - `n_init`: starts on a sample; the best are improved, and the best of those ends on all rows.
    - `max_iter`: iterations of one descent at most. `tol`: the relative fall of the cost at which the descent on all
      rows ends; 0 goes on until no row moves.
    - `random_state`: an integer, RandomState or None. The same integer gives the same result.
    - `init`: prototypes to descend from instead of starts: centroids (k, numbers) and modes (k, categories), as
      `cluster_centroids_` and `cluster_modes_`. Clusters keep their order.

    Learned: `cluster_centroids_` (k, numbers), `cluster_modes_` (k, categories) of codes (for a frame, places in
    `vocabulary_`), `labels_` (n,), `cost_`, `costs_` (after each iteration on all rows), `n_iter_`, `gamma_`,
    `categorical_features_` (places), `n_features_in_`, and for a frame `vocabulary_` (null as None). Of equally
    frequent categories the smallest code is the mode. A cluster that empties takes the row farthest from its own.

    References: Z. Huang, Clustering large data sets with mixed numeric and categorical values (1997), and Extensions
    to the k-means algorithm for clustering large data sets with categorical values, Data Mining and Knowledge
    Discovery 2 (1998).
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        categorical_features: Sequence[int] | Sequence[str] | None = None,
        gamma: float | str = "auto",
        n_init: int = 10,
        max_iter: int = 100,
        tol: float = 0.0,
        random_state: int | np.random.RandomState | None = None,
        init: tuple[Any, Any] | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.categorical_features = categorical_features
        self.gamma = gamma
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.init = init

    def fit(self, X: Any, y: object = None) -> Self:
        """Find prototypes for X: (n, d) numbers and codes, or a polars or pandas frame.

        ValueError: a parameter out of range, NaN, infinity or null among the numbers, a code that is negative or not
        whole, or fewer distinct rows than clusters.
        """
        return _fit_each([self], X)[0]

    def predict(self, X: Any) -> Labels:
        """(n,) the nearest prototype of each row. A category that the fit did not see is no prototype's mode."""
        return self.measure(X)[0]

    def measure(self, X: Any) -> tuple[Labels, Array, Array]:
        """Per row of X: the nearest prototype, the distance to it (the root of the cost of the row), and the margin.

        The margin is the distance to the second nearest prototype minus that, NaN with one cluster.
        """
        check_is_fitted(self, "cluster_centroids_")
        numbers, codes = self._split(X, is_fit=False)
        labels = np.zeros(len(numbers), dtype=np.int64)
        distance, margin = np.zeros(len(numbers)), np.zeros(len(numbers))
        # Only whether a category is a mode matters here: all others are one level, the last.
        levels = [np.unique(column) for column in self.cluster_modes_.T]
        centre = self.cluster_centroids_.mean(axis=0)
        prototypes = _Prototypes(self.cluster_centroids_ - centre, _dense(self.cluster_modes_, levels))
        with one_thread():
            sizes = [len(level) + 1 for level in levels]
            rows = _prepare(numbers, _dense(codes, levels), sizes, gamma=self.gamma_, centre=centre, scale=self._scale)
            for block, nearest, _, second in _two_nearest(rows, prototypes):
                labels[block] = nearest
                margin[block] = np.sqrt(second)
            for block, own in zip(rows.blocks(None), _own_costs(rows, prototypes, labels), strict=True):
                distance[block] = np.sqrt(own)
        margin = np.maximum(margin - distance, 0.0) if len(prototypes) > 1 else np.full(len(numbers), np.nan)
        return labels, distance, margin

    def to_dict(self) -> dict[str, Any]:
        """All that `predict` needs, as JSON-able values; Python's JSON keeps every bit of a float."""
        check_is_fitted(self, "cluster_centroids_")
        return {
            "format": FORMAT,
            "n_features": self.n_features_in_,
            "categorical": list(self._columns.categorical),
            "names": list(self._columns.names),
            "vocabulary": [list(levels) for levels in self._columns.vocabulary],
            "centroids": self.cluster_centroids_.tolist(),
            "modes": self.cluster_modes_.tolist(),
            "gamma": self.gamma_,
            "scale": self._scale,
            "cost": self.cost_,
            "n_iter": self.n_iter_,
        }

    @classmethod
    def from_dict(cls, frozen: Mapping[str, Any]) -> Self:
        """The fitted estimator, without `labels_` and `costs_`, from what `to_dict` wrote.

        ValueError for another format.
        """
        if frozen.get("format") != FORMAT:
            raise ValueError(
                f"The frozen prototypes have format {frozen.get('format')!r}, this version reads {FORMAT}; "
                f"fit the model again."
            )
        categorical = tuple(frozen["categorical"])
        k, numbers = len(frozen["modes"]), frozen["n_features"] - len(categorical)
        model = cls(k, categorical_features=list(categorical), gamma=frozen["gamma"])
        model._columns = _Columns(categorical, tuple(frozen["names"]), tuple(map(tuple, frozen["vocabulary"])))
        model.n_features_in_ = frozen["n_features"]
        model.categorical_features_, model.vocabulary_ = model._columns.categorical, model._columns.vocabulary
        if model._columns.names:
            model.feature_names_in_ = np.array(model._columns.names, dtype=object)
        model.cluster_centroids_ = np.array(frozen["centroids"], dtype=np.float64).reshape(k, numbers)
        model.cluster_modes_ = np.array(frozen["modes"], dtype=np.int64).reshape(k, len(categorical))
        model.gamma_, model._scale = frozen["gamma"], frozen["scale"]
        model.cost_, model.n_iter_ = frozen["cost"], frozen["n_iter"]
        return model

    def _split(self, X: Any, *, is_fit: bool) -> tuple[Array, Codes]:
        """Numbers (n, dn) and codes (n, dc) of X; learns columns and vocabulary in a fit."""
        if isinstance(X, pl.DataFrame) or hasattr(X, "iloc"):
            validate_data(self, X, reset=is_fit, skip_check_array=True)
            frame = X if isinstance(X, pl.DataFrame) else pl.from_pandas(X)
            if is_fit:
                self._columns = _frame_columns(frame, self.categorical_features)
            elif not self._columns.names:
                raise ValueError("The prototypes were fitted on an array of codes; give an array with the same codes.")
            numbers, codes = _split_frame(frame, self._columns)
        else:
            X = validate_data(
                self, X, reset=is_fit, dtype=np.float64, ensure_all_finite=False, ensure_min_samples=int(is_fit)
            )
            if is_fit:
                self._columns = _Columns(_places_of(self.categorical_features, X.shape[1], ()))
            elif self._columns.vocabulary:
                raise ValueError("The prototypes were fitted on a frame; give a frame with the same columns.")
            numbers, codes = _split_array(X, self._columns)
        if is_fit:
            self.categorical_features_ = self._columns.categorical
            self.vocabulary_ = self._columns.vocabulary
        return numbers, codes

    def _check(self) -> None:
        """ValueError for a parameter out of range, naming it."""
        for name in ("n_clusters", "n_init", "max_iter"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} is {value!r}; it must be a whole number of 1 or more.")
        if not isinstance(self.tol, Real) or not self.tol >= 0:
            raise ValueError(f"tol is {self.tol!r}; it must be a number of 0 or more.")
        if self.gamma != "auto" and not (isinstance(self.gamma, Real) and 0 < self.gamma < np.inf):
            raise ValueError(f"gamma is {self.gamma!r}; it must be 'auto' or a number above 0.")

    def _initial(self, levels: Sequence[Codes], centre: Array) -> _Prototypes:
        """The prototypes of `init`, in the space of the search."""
        if self.init is None:
            raise ValueError("init is None; there are no prototypes to start from.")
        shapes = ((self.n_clusters, len(centre)), (self.n_clusters, len(levels)))
        centroids, modes = (np.asarray(part, dtype=np.float64) for part in self.init)
        if (centroids.shape, modes.shape) != shapes:
            raise ValueError(
                f"init has centroids of shape {centroids.shape} and modes of shape {modes.shape}; "
                f"{self.n_clusters} clusters of these columns need {shapes[0]} and {shapes[1]}."
            )
        return _Prototypes(centroids - centre, _dense(modes.astype(np.int64), levels))


def sweep(
    X: Any,
    ks: Iterable[int],
    *,
    categorical_features: Sequence[int] | Sequence[str] | None = None,
    gamma: float | str = "auto",
    n_init: int = 10,
    max_iter: int = 100,
    tol: float = 0.0,
    random_state: int | np.random.RandomState | None = None,
) -> list[KPrototypes]:
    """A fitted KPrototypes for each k of `ks`, in their order; parameters and errors as there.

    Encoding, samples and seeds are shared, and the prototypes of one k with one more are a further start for the next.
    """
    wanted = list(ks)
    if not wanted:
        return []
    found = {
        k: KPrototypes(
            k,
            categorical_features=categorical_features,
            gamma=gamma,
            n_init=n_init,
            max_iter=max_iter,
            tol=tol,
            random_state=random_state,
        )
        for k in wanted
    }
    _fit_each(list(found.values()), X)
    return [found[k] for k in wanted]


def _fit_each(models: list[KPrototypes], X: Any) -> list[KPrototypes]:
    """Fit models that differ in `n_clusters` only on the same rows."""
    for model in models:
        model._check()
    models = sorted(models, key=lambda model: model.n_clusters)
    first, largest = models[0], models[-1].n_clusters
    numbers, codes = first._split(X, is_fit=True)
    with one_thread():
        gamma = _gamma(first.gamma, numbers)
        levels = [_levels(column) for column in codes.T]
        centre = numbers.mean(axis=0)
        rows = _prepare(numbers, _dense(codes, levels), [len(level) for level in levels], gamma=gamma, centre=centre)
        distinct = _distinct(rows, largest)
        if distinct < largest:
            raise ValueError(
                f"{largest} clusters need {largest} distinct rows; there are {distinct} among {len(rows)} rows "
                f"(n_samples={len(rows)}). Ask for fewer clusters."
            )
        seed = int(check_random_state(first.random_state).randint(2**31 - 1))
        rng = np.random.default_rng(np.random.SeedSequence([seed, largest]))
        seeds: list[_Prototypes] = []
        last: _Prototypes | None = None
        samples: _Samples | None = None
        for model in models:
            if model.init is not None:
                given = model._initial(levels, centre)
                best = _descend(rows, given, max_iter=model.max_iter, tol=float(model.tol))
            else:
                if samples is None:
                    samples = _Samples.draw(rows, largest, rng)
                    seeds = [_seeds(samples.few, largest, rng) for _ in range(model.n_init if largest > 1 else 1)]
                starts = [start.take(np.arange(model.n_clusters)) for start in seeds]
                if last is not None:
                    starts.append(_seeds(samples.few, model.n_clusters, rng, last))
                best = _search(samples, starts, rng, max_iter=model.max_iter, tol=float(model.tol))
            last = best.prototypes
            model._columns, model.n_features_in_ = first._columns, first.n_features_in_
            model.categorical_features_, model.vocabulary_ = first.categorical_features_, first.vocabulary_
            if hasattr(first, "feature_names_in_"):
                model.feature_names_in_ = first.feature_names_in_
            model._scale, model.gamma_ = rows.scale, gamma
            model.labels_ = np.empty(len(rows), dtype=np.int64)
            for block, nearest, _, _ in _two_nearest(rows, last):
                model.labels_[block] = nearest
            model.cluster_centroids_ = last.centroids + centre
            model.cluster_modes_ = np.array(
                [level[mode] for level, mode in zip(levels, last.modes.T, strict=True)], dtype=np.int64
            ).T.reshape(len(last), len(levels))
            model.costs_, model.n_iter_ = best.costs, len(best.costs)
            model.cost_ = _cost(rows, last, model.labels_)
    return models


def cost_of(numbers: Array, codes: Codes, labels: Labels, gamma: float) -> float:
    """Huang's cost of any division: labels (n,) of numbers (n, dn) and codes (n, dc), beside its own means and modes.

    For comparisons: it depends on the labels alone, whoever found them.
    """
    total = 0.0
    for label in np.unique(labels):
        inside = labels == label
        part = numbers[inside]
        total += float(((part - part.mean(axis=0)) ** 2).sum())
        for column in codes[inside].T:
            total += gamma * float(len(column) - np.unique(column, return_counts=True)[1].max())
    return total


def _gamma(wanted: float | str, numbers: Array) -> float:
    if not isinstance(wanted, str):
        return float(wanted)
    deviations = numbers.std(axis=0)
    return float(deviations.mean()) / 2 if deviations.any() else 1.0


def _levels(codes: Codes) -> Codes:
    """The codes that occur, ascending."""
    if codes.max(initial=0) < max(4 * len(codes), 1 << 16):  # counting is several times faster than sorting
        return np.flatnonzero(np.bincount(codes))
    return np.unique(codes)


def _dense(codes: Codes, levels: Sequence[Codes]) -> Codes:
    """(n, dc) the place of each code among the levels of its column; past the end where it is none of them."""
    found = np.empty(codes.shape, dtype=np.int64, order="F")
    for column, (own, level) in enumerate(zip(codes.T, levels, strict=True)):
        place = np.minimum(np.searchsorted(level, own), len(level) - 1)
        found[:, column] = np.where(level[place] == own, place, len(level))
    return found


def _places_of(wanted: Sequence[int] | Sequence[str] | None, count: int, names: Sequence[str]) -> tuple[int, ...]:
    """Places of the categorical columns, ascending. ValueError for one that does not exist or is named twice."""
    found = []
    for item in [] if wanted is None else wanted:
        if isinstance(item, str) and item in names:
            found.append(list(names).index(item))
        elif isinstance(item, Integral) and 0 <= item < count:
            found.append(int(item))
        else:
            known = f"columns {', '.join(names)}" if names else f"columns 0 to {count - 1}"
            raise ValueError(f"categorical_features has {item!r}, which is no column; there are {known}.")
    if len(set(found)) < len(found):
        raise ValueError(f"categorical_features names a column twice: {list(wanted or ())}.")
    return tuple(sorted(found))


def _split_array(values: Array, columns: _Columns) -> tuple[Array, Codes]:
    numeric = [place for place in range(values.shape[1]) if place not in columns.categorical]
    numbers = values[:, numeric]
    _check_numbers(numbers, [f"number {place}" for place in numeric])
    codes = np.empty((len(values), len(columns.categorical)), dtype=np.int64, order="F")
    for place, column in enumerate(columns.categorical):
        own = values[:, column]
        good = (own >= 0) & (own < _LARGEST_CODE)
        good &= own == np.floor(own)
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            raise ValueError(
                f"Column number {column} is a category and holds {own[row]:g} in row {row + 1}; "
                f"codes are whole numbers from 0. Give every level a code, unknown too."
            )
        codes[:, place] = own
    return numbers, codes


def _frame_columns(frame: pl.DataFrame, wanted: Sequence[int] | Sequence[str] | None) -> _Columns:
    text = (pl.String, pl.Categorical, pl.Enum, pl.Boolean)
    categorical = (
        tuple(place for place, kind in enumerate(frame.dtypes) if isinstance(kind, text))
        if wanted is None
        else _places_of(wanted, frame.width, frame.columns)
    )
    vocabulary = []
    for place in categorical:
        levels = _text(frame.to_series(place)).unique()
        vocabulary.append((*levels.drop_nulls().sort().to_list(), *([None] if levels.has_nulls() else [])))
    return _Columns(categorical, tuple(frame.columns), tuple(vocabulary))


def _text(column: pl.Series) -> pl.Series:
    return column.cast(pl.String)


def _split_frame(frame: pl.DataFrame, columns: _Columns) -> tuple[Array, Codes]:
    names = [name for place, name in enumerate(columns.names) if place not in columns.categorical]
    for name in names:
        if not frame[name].dtype.is_numeric():
            raise ValueError(
                f"Column {name!r} holds {frame[name].dtype}, which is no number; name it among categorical_features "
                f"or leave it out."
            )
    numbers = np.empty((frame.height, len(names)))
    for place, name in enumerate(names):
        numbers[:, place] = frame[name].cast(pl.Float64).to_numpy()
    _check_numbers(numbers, [repr(name) for name in names])
    codes = np.empty((frame.height, len(columns.categorical)), dtype=np.int64, order="F")
    for place, (column, levels) in enumerate(zip(columns.categorical, columns.vocabulary, strict=True)):
        own = _text(frame[columns.names[column]])
        known = [level for level in levels if level is not None]
        # A level the fit did not see is past the end of the vocabulary; unknown is its own level only if it was seen.
        unseen, null = len(levels), len(known)
        coded = own.replace_strict(known, list(range(len(known))), default=unseen, return_dtype=pl.Int64)
        codes[:, place] = np.where(own.is_null().to_numpy(), null, coded.to_numpy())
    return numbers, codes


def _check_numbers(numbers: Array, names: Sequence[str]) -> None:
    finite = np.isfinite(numbers)
    if not finite.all():
        place = int(np.flatnonzero(~finite.all(axis=0))[0])
        bad = np.flatnonzero(~finite[:, place])
        raise ValueError(
            f"Column {names[place]} holds {len(bad)} values that are NaN, null or inf, the first in row {bad[0] + 1}; "
            f"fill them before clustering."
        )
    large = np.abs(numbers).max(axis=0, initial=0.0) > _LARGEST_NUMBER
    if large.any():
        raise ValueError(
            f"Column {names[int(large.argmax())]} holds numbers beyond {_LARGEST_NUMBER:g}, whose squares are too "
            f"large; scale the columns before clustering."
        )
