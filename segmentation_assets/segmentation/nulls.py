"""What data without segments would look like: random draws that keep everything about a matrix but its structure.

A silhouette means something only beside that of such a draw, and a null certifies only what it breaks and nothing
else: skewed columns, correlated columns, masses at zero and few purchases per customer all look like segments to a
null that lacks them. How draws are compared with the data is `evidence`; nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata
from sklearn.isotonic import isotonic_regression
from sklearn.pipeline import Pipeline

from segmentation_assets.segmentation.matrix import FeatureMatrix
from segmentation_assets.segmentation.preprocess import Array, ShareColumns

#: A null draw of the clustered matrix for the customers at `rows`: (generator, rows) -> (len(rows), d).
Redraw = Callable[[np.random.Generator, NDArray[np.int64]], Array]

#: A value this frequent is a point mass: the null keeps it with its share.
MASS_SHARE = 0.05
_LEVELS = 2048
_BINS = 48
#: Kernel width of the density of a margin, in bins: enough that sampling noise is not read as modes.
_KERNEL_BINS = 1.5
#: Beyond this share at either end a margin keeps the data's own values; a few far values would stretch the bins.
_TAIL = 0.005
_CALIBRATION_ROWS = 4_000
_CALIBRATION_STEPS = 3
_BASE_ROWS = 5_000


def permuted(values: Array, rng: np.random.Generator) -> Array:
    """(n, d) with each column permuted on its own.

    Keeps every margin exactly, masses and modes too. Breaks everything that joins columns: correlation as well as
    clusters, so on its own it calls any two correlated columns a structure.
    """
    return np.ascontiguousarray(rng.permuted(values, axis=0))


def gaussian(values: Array, rng: np.random.Generator) -> Array:
    """(n, d) normal with the means and covariances of `values`: the reference of the gap statistic.

    Keeps place, spread and linear correlation. Breaks clusters, and with them skew, masses and tails.
    """
    return _gaussian_of(values)(rng, len(values))


def copula(values: Array, rng: np.random.Generator) -> Array:
    """(n, d) drawn by `UnimodalCopula` fitted to `values`; fit once where many draws are needed."""
    return UnimodalCopula(values).draw(rng, len(values))


def _gaussian_of(values: Array) -> Callable[[np.random.Generator, int], Array]:
    centre = values.mean(axis=0)
    lengths, directions = np.linalg.eigh(np.atleast_2d(np.cov(values, rowvar=False)))
    root = directions * np.sqrt(np.maximum(lengths, 0.0))
    return lambda rng, rows: centre + rng.normal(size=(rows, len(centre))) @ root.T


class UnimodalCopula:
    """A Gaussian copula with the data's own margins, made unimodal and smooth, fitted to (n, d).

    Keeps: the correlations (the latent ones are adjusted until draws show those of the data); the skew, spread and
    tails of each margin; the point masses, values held by MASS_SHARE of the rows, with their shares; and the joint
    pattern of columns with at most two values (missing indicators, one-hot columns), whose rows are drawn from the
    data as they are, the other columns following them linearly. So a mass alone is never structure.
    Breaks: the valleys between modes of a margin (replaced by the unimodal density nearest to it in squares), and
    every dependence that is not that of a normal copula. That is where clusters live.
    The price: groups that show in point masses or two-valued columns only are never called structure either.
    """

    def __init__(self, values: Array) -> None:
        values = np.asarray(values, dtype=np.float64)
        spread = values.std(axis=0)
        self._is_kept = np.array([len(np.unique(column)) <= 2 for column in values.T], dtype=bool)
        self._patterns = values[:, self._is_kept]
        free = values[:, ~self._is_kept]
        self._margins = [_unimodal_levels(column) for column in free.T]
        # Columns that differ from row to row only; a constant one says nothing and is carried in the patterns.
        self._heard = self._is_kept & (spread > 0)
        wanted = _correlation(np.column_stack([free, values[:, self._heard]]))
        self._shift, self._slopes, self._root = np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0))
        self._learn(free, wanted)

    def draw(self, rng: np.random.Generator, rows: int) -> Array:
        """(rows, d) draws."""
        out = np.empty((rows, len(self._is_kept)))
        patterns = self._patterns[rng.integers(0, len(self._patterns), rows)]
        out[:, self._is_kept] = patterns
        out[:, ~self._is_kept] = self._free(rng, patterns)
        return out

    def _learn(self, free: Array, wanted: Array) -> None:
        """Latent correlations whose draws have the `wanted` ones (free columns first, then the heard patterns)."""
        count = free.shape[1]
        if not count:
            return
        scores = [ndtri((rankdata(column) - 0.5) / len(column)) for column in free.T]
        heard = self._patterns[:, self._heard[self._is_kept]]
        latent = _correlation(np.column_stack([*scores, heard]))
        self._shift = heard.mean(axis=0)
        self._deviation = heard.std(axis=0)
        for step in range(_CALIBRATION_STEPS + 1):
            among, between, inner = latent[:count, :count], latent[:count, count:], latent[count:, count:]
            self._slopes = (
                between @ np.linalg.pinv(inner, rcond=1e-8, hermitian=True) if inner.size else np.zeros((count, 0))
            )
            rest = among - self._slopes @ between.T
            lengths, directions = np.linalg.eigh((rest + rest.T) / 2)
            self._root = directions * np.sqrt(np.maximum(lengths, 1e-9))
            if step == _CALIBRATION_STEPS:
                break
            rng = np.random.default_rng(np.random.SeedSequence([step, 7]))
            patterns = self._patterns[rng.integers(0, len(self._patterns), _CALIBRATION_ROWS)]
            drawn = np.column_stack([self._free(rng, patterns), patterns[:, self._heard[self._is_kept]]])
            change = wanted - _correlation(drawn)
            change[count:, count:] = 0.0
            changed = np.clip(latent + change, -0.995, 0.995)
            changed[count:, count:] = inner
            np.fill_diagonal(changed, 1.0)
            latent = changed

    def _free(self, rng: np.random.Generator, patterns: Array) -> Array:
        rows, count = len(patterns), len(self._margins)
        if not count:
            return np.zeros((rows, 0))
        heard = (patterns[:, self._heard[self._is_kept]] - self._shift) / self._deviation
        scores = heard @ self._slopes.T + rng.normal(size=(rows, count)) @ self._root.T
        # Ranks, not the normal distribution function: what follows a pattern is a mixture and not normal.
        places = scores.argsort(axis=0).argsort(axis=0)
        positions = np.take_along_axis(np.sort(rng.random((rows, count)), axis=0), places, axis=0)
        levels = (positions * _LEVELS).astype(np.int64)
        return np.column_stack([margin[levels[:, place]] for place, margin in enumerate(self._margins)])


def _correlation(columns: Array) -> Array:
    """Correlations of the columns; 0 with a column that does not vary."""
    centred = columns - columns.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    scaled = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    out: Array = scaled.T @ scaled
    np.fill_diagonal(out, 1.0)
    return out


def _unimodal_levels(column: Array) -> Array:
    """_LEVELS equally likely values of a column, ascending: its masses as they are, the rest made unimodal."""
    found, counts = np.unique(column, return_counts=True)
    is_mass = counts >= MASS_SHARE * len(column)
    masses = np.repeat(found[is_mass], np.round(_LEVELS * counts[is_mass] / len(column)).astype(int))
    rest = column[~np.isin(column, found[is_mass])]
    free = max(_LEVELS - len(masses), 0)
    if free and not len(rest):  # masses only, and rounding left a level over
        masses, free = np.append(masses, np.repeat(masses[-1:], free)), 0
    smooth = _unimodal_quantiles(rest, free) if free else np.zeros(0)
    return np.sort(np.concatenate([masses, smooth]))[:_LEVELS]


def _unimodal_quantiles(values: Array, count: int) -> Array:
    """`count` quantiles of the unimodal density nearest to the smoothed density of `values`."""
    steps = (np.arange(count) + 0.5) / count
    own: Array = np.quantile(values, steps)
    low, high = np.quantile(values, [_TAIL, 1 - _TAIL])
    if len(values) < _BINS or high <= low:
        return own
    heights, edges = np.histogram(values[(values >= low) & (values <= high)], bins=_BINS, range=(low, high))
    reach = np.arange(-4, 5)
    kernel = np.exp(-0.5 * (reach / _KERNEL_BINS) ** 2)
    density = np.convolve(np.pad(heights.astype(float), 4, mode="symmetric"), kernel / kernel.sum(), mode="valid")
    unimodal = _nearest_unimodal(density)
    below = np.concatenate([[0.0], np.cumsum(unimodal)])
    inside = (steps >= _TAIL) & (steps <= 1 - _TAIL)
    share = (steps[inside] - _TAIL) / (1 - 2 * _TAIL)
    out = own.copy()
    out[inside] = np.interp(share * below[-1], below, edges)
    return out


def _nearest_unimodal(density: Array) -> Array:
    """The sequence rising to one mode and falling after it that is nearest in squares: two monotone regressions."""
    best, least = density, np.inf
    inner = np.concatenate([[-np.inf], density, [-np.inf]])
    for mode in np.flatnonzero((inner[1:-1] >= inner[:-2]) & (inner[1:-1] >= inner[2:])):
        rising = isotonic_regression(density[: mode + 1])
        falling = isotonic_regression(density[mode:], increasing=False)
        tried = np.concatenate([rising[:-1], [max(rising[-1], falling[0])], falling[1:]])
        error = float(((tried - density) ** 2).sum())
        if error < least:
            best, least = tried, error
    return best


def count_redraw(matrix: FeatureMatrix, pipeline: Pipeline | None) -> Redraw | None:
    """How to redraw the clustered matrix of `matrix` when all customers share one taste; None without shares.

    Each customer keeps the total of a share block and its counts are drawn anew from the overall shares, then
    transformed by the fitted `pipeline`. Keeps: how few purchases each customer has, the overall shares, and what
    shrinking, roots and scaling make of them. Breaks: every leaning of a customer. Amounts per column are not
    counts: their totals are rounded up to whole units. Columns beside the shares are drawn by `UnimodalCopula`.
    """
    if pipeline is None or not matrix.layout.shares:
        return None
    transformers = [transformer for _, transformer in pipeline.named_steps["columns"].transformer_list]
    totals: dict[int, NDArray[np.int64]] = {}
    others: list[Array] = []
    base = np.arange(matrix.inputs.height)
    if len(base) > _BASE_ROWS:
        base = np.sort(np.random.default_rng(np.random.SeedSequence([11])).choice(base, _BASE_ROWS, replace=False))
    few = matrix.inputs[base]
    for place, transformer in enumerate(transformers):
        if isinstance(transformer, ShareColumns) and transformer.block is not None:
            lines = matrix.inputs.select(pl.sum_horizontal(transformer.block.columns)).to_series().to_numpy()
            totals[place] = np.ceil(np.nan_to_num(lines)).astype(np.int64)
        else:
            others.append(np.asarray(transformer.transform(few), dtype=np.float64))
    beside = UnimodalCopula(np.hstack(others)) if others else None

    def redraw(rng: np.random.Generator, rows: NDArray[np.int64]) -> Array:
        drawn = beside.draw(rng, len(rows)) if beside is not None else np.zeros((len(rows), 0))
        parts, used = [], 0
        for place, transformer in enumerate(transformers):
            if place in totals:
                counts = rng.multinomial(totals[place][rows], transformer.overall_ / transformer.overall_.sum())
                frame = pl.DataFrame(counts.astype(np.float64), schema=list(transformer.block.columns), orient="row")
                parts.append(np.asarray(transformer.transform(frame)))
            else:
                width = len(transformer.get_feature_names_out())
                parts.append(drawn[:, used : used + width])
                used += width
        return np.ascontiguousarray(np.hstack(parts))

    return redraw
