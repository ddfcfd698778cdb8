"""Silhouettes of several labellings at once, exact by blocks, or on a sample of rows with their error.

Only what is computed from the distances of all pairs of rows is here; indices that need one pass over the rows are in
`indices`, and what a silhouette says about a number of clusters is in `evidence`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentation_assets.segmentation.kmeans import (
    Array,
    Floats,
    Labels,
    Mapper,
    in_order,
    middle_and_scale,
    require_finite,
)

#: Rows of a band: each pair of bands is looked at once, and a band's sums are added in the order of the bands.
_BAND_ROWS = 2_048
#: Rows by columns of one table of distances: it stays in the second-level cache.
_TILE_ROWS = 256
_TILE_COLUMNS = 512


def silhouettes(values: Array, labelings: Sequence[Labels], *, threads: int | None = None) -> list[float]:
    """Mean silhouette width (Rousseeuw 1987) of each labelling of the rows of (n, d), in one pass over the distances.

    Exact: squared distances in double precision, their roots in single, which leaves the mean right to 7 digits.
    Memory is one number for each row and cluster, times the bands under way. Each labelling is (n,) integers from 0;
    one with a single cluster has silhouette 0, and so has a row that is alone in its cluster. The result does not
    depend on `threads` (all cores if None). ValueError for labels of another length and for values not finite.
    """
    return [
        float(widths.mean()) if len(widths) else 0.0 for widths in silhouette_widths(values, labelings, threads=threads)
    ]


def sampled_silhouettes(
    values: Array, labelings: Sequence[Labels], rows: int, seed: int, *, threads: int | None = None
) -> tuple[list[float], list[float]]:
    """Mean silhouette width of each labelling and its standard error: exact (error 0) up to `rows` rows.

    Above, `rows` rows are drawn without replacement and stand for all. A row bears on the mean by its own width and
    by being a neighbour of others; the error is taken from both (the influence of each row, Hampel 1974), with the
    correction for a finite population (Cochran 1977). Widths alone would give half the true error.
    """
    n = len(values)
    if n <= rows:
        return silhouettes(values, labelings, threads=threads), [0.0] * len(labelings)
    if rows < 2:
        raise ValueError(f"A silhouette needs at least 2 rows to be sampled; {rows} were asked for.")
    _require_rows(values, labelings)
    rng = np.random.default_rng(np.random.SeedSequence([seed, n, rows]))
    drawn = np.sort(rng.choice(n, rows, replace=False))
    sample, drawn_labelings = values[drawn], [labels[drawn] for labels in labelings]
    if not labelings:
        return [], []
    with in_order(threads) as each:
        sums = _sums_of_distances(sample, [_members(labels) for labels in drawn_labelings], each)
        sides = [_sides(total, labels) for total, labels in zip(sums, drawn_labelings, strict=True)]
        felt = [_weights(side, labels) for side, labels in zip(sides, drawn_labelings, strict=True)]
        echoes = _sums_of_distances(sample, felt, each)
    means, errors = [], []
    for side, weights, echo, labels in zip(sides, felt, echoes, drawn_labelings, strict=True):
        influence = side.widths + _echo(side, weights, echo, labels)
        means.append(float(side.widths.mean()))
        errors.append(float(influence.std(ddof=1) * np.sqrt((1 - rows / n) / rows)))
    return means, errors


def silhouette_widths(values: Array, labelings: Sequence[Labels], *, threads: int | None = None) -> list[Array]:
    """Silhouette width of each row of (n, d) for each labelling, as a list of (n,); see `silhouettes`."""
    _require_rows(values, labelings)
    if len(values) == 0 or not labelings:
        return [np.zeros(len(values)) for _ in labelings]
    with in_order(threads) as each:
        sums = _sums_of_distances(values, [_members(labels) for labels in labelings], each)
    return [_sides(total, labels).widths for total, labels in zip(sums, labelings, strict=True)]


@dataclass(frozen=True)
class _Sides:
    """For each row: mean distance to its own cluster's others and to the nearest other cluster, which one that is."""

    within: Array
    other: Array
    nearest: Labels
    widths: Array
    #: Rows whose width is a ratio of distances, not 0 by convention.
    usable: NDArray[np.bool_]


def _require_rows(values: Array, labelings: Sequence[Labels]) -> None:
    for place, labels in enumerate(labelings):
        if len(labels) != len(values):
            raise ValueError(f"Labelling {place} has {len(labels)} labels for {len(values)} rows.")
    require_finite(values)


def _members(labels: Labels) -> Floats:
    return (labels[:, None] == np.arange(int(labels.max()) + 1)).astype(np.float32)


def _sides(sums: Array, labels: Labels) -> _Sides:
    """The two sides of each row's silhouette from the sums (n, k) of its distances to the members of each cluster."""
    here = np.arange(len(labels))
    size = np.bincount(labels, minlength=sums.shape[1])
    mean = np.divide(sums, size, out=np.full_like(sums, np.inf), where=size > 0)
    mean[here, labels] = np.inf
    nearest = mean.argmin(axis=1)
    other = mean[here, nearest]
    within = sums[here, labels] / np.maximum(size[labels] - 1, 1)
    largest = np.maximum(other, within)
    usable = (size[labels] > 1) & np.isfinite(other) & (largest > 0)
    widths = np.divide(other - within, largest, out=np.zeros(len(labels)), where=usable)
    return _Sides(within, other, nearest, widths, usable)


def _slopes(side: _Sides) -> tuple[Array, Array]:
    """How each row's width changes with its distance to its own cluster, and to the nearest other."""
    a, b = np.where(side.usable, side.within, 1.0), np.where(side.usable, side.other, 1.0)
    inside = a < b
    # The smaller of the two may be 0; it is only ever a numerator.
    by_own = np.where(inside, -1 / np.where(inside, b, 1.0), -b / np.where(inside, 1.0, a) ** 2)
    by_other = np.where(inside, a / np.where(inside, b, 1.0) ** 2, 1 / np.where(inside, 1.0, a))
    return by_own * side.usable, by_other * side.usable


def _weights(side: _Sides, labels: Labels) -> Floats:
    """How each row's width changes with its mean distance to each cluster, as (n, k)."""
    weights = np.zeros((len(labels), int(labels.max()) + 1))
    here = np.arange(len(labels))
    by_own, by_other = _slopes(side)
    weights[here, labels] = by_own
    weights[here, side.nearest] += by_other
    return weights.astype(np.float32)


def _echo(side: _Sides, weights: Floats, echo: Array, labels: Labels) -> Array:
    """What each row does to the widths of others by where it lies, beside the mean of its cluster's rows.

    `echo` (n, k) is the sum, over all rows, of their distance to this one times their weight for each cluster.
    """
    here = np.arange(len(labels))
    size = np.bincount(labels, minlength=weights.shape[1])
    by_own, by_other = _slopes(side)
    expected = np.bincount(labels, weights=by_own * side.within, minlength=weights.shape[1])
    usual = np.where(side.usable, side.other, 0.0)
    expected += np.bincount(side.nearest, weights=by_other * usual, minlength=weights.shape[1])
    return np.asarray((echo[here, labels] - expected[labels]) / size[labels])


def _sums_of_distances(values: Array, groups: Sequence[Floats], each: Mapper) -> list[Array]:
    """For each of `groups`, weights (n, k), each row's distances to all rows times their weights, summed to (n, k).

    Distances are divided by a power of two, the same for all groups: silhouettes are ratios and do not mind.
    """
    n = len(values)
    members = np.hstack(groups)
    middle, scale = middle_and_scale(values)
    points = (values - middle) / scale
    squares = np.einsum("ij,ij->i", points, points)[:, None]
    ones = np.ones_like(squares)
    # With these two, one product of a row and another is their squared distance.
    left, right = np.hstack([-2 * points, squares, ones]), np.hstack([points, ones, squares]).T

    def band(first: int) -> Array:
        """What the pairs of a row of the band and a row at or after the band's start add to either's sums."""
        last = min(first + _BAND_ROWS, n)
        added = np.zeros((n - first, members.shape[1]))
        square = np.empty((_TILE_ROWS, _TILE_COLUMNS))
        root = np.empty((_TILE_ROWS, _TILE_COLUMNS), dtype=np.float32)
        for top in range(first, last, _TILE_ROWS):
            bottom = min(top + _TILE_ROWS, last)
            own = np.zeros((bottom - top, members.shape[1]))
            for start in range(first, n, _TILE_COLUMNS):
                stop = min(start + _TILE_COLUMNS, n)
                squared = square[: bottom - top, : stop - start]
                distances = root[: bottom - top, : stop - start]
                np.matmul(left[top:bottom], right[:, start:stop], out=squared)
                np.maximum(squared, 0.0, out=distances, casting="same_kind")
                np.sqrt(distances, out=distances)
                if start < last:  # a pair within the band comes up twice, once from either row
                    itself = np.arange(max(top, start), min(bottom, stop))
                    distances[itself - top, itself - start] = 0.0
                own += distances @ members[start:stop]
                if stop > last:
                    beyond = max(start, last)
                    added[beyond - first : stop - first] += distances[:, beyond - start :].T @ members[top:bottom]
            added[top - first : bottom - first] += own
        return added

    sums = np.zeros((n, members.shape[1]))
    firsts = range(0, n, _BAND_ROWS)
    for first, added in zip(firsts, each(band, firsts), strict=True):
        sums[first:] += added
    return np.split(sums, np.cumsum([group.shape[1] for group in groups])[:-1], axis=1)
