"""How much more a segment buys a product, category, brand or price band than all customers do.

What belongs here: lifts, their shrinkage toward what the data can carry, and their intervals, for both axes. What does
not: counting buyers (`sql/campaigns/segment_purchases.sql`), and what is made of the lifts (`shares`, `matching`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import gammaincinv

from segmentation_assets.merchandising.plan import empty_table, table_schema

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_TABLE = "campaigns/product_affinity"
_DIMENSIONS = ("brand", "category", "price_band", "product")
#: What a product's lift is expected from, the broadest first; each counts for what the ones before left open.
LEVELS = ("category", "brand", "price_band")
#: Standard errors by which a variance is taken to be larger than estimated when it is about uncertainty: 95%, one side.
_CAUTION = 1.645
#: Nothing is held to be less certain than a gamma of shape 0.01.
_LARGEST_RELATIVE_VARIANCE = 100.0
_LOW, _HIGH = 0.05, 0.95
_ROUNDS = 10


@dataclass(frozen=True)
class Lifts:
    """Gamma posteriors of lifts: `mean` and `relative_variance` (variance over squared mean) have one shape.

    `variance` is the estimated variance of true lifts about their prior mean, for a prior mean of 1.
    `relative_variance` counts that this estimate is itself uncertain, so it is above 0 even where `variance` is 0.
    """

    mean: Floats
    relative_variance: Floats
    variance: float

    def interval(self) -> tuple[Floats, Floats]:
        """Ends of the 90% interval: the 5% and 95% quantiles of a gamma with this mean and variance.

        A gamma with most of its mass near 0 has its mean outside; the interval is then widened to hold it.
        """
        shape = 1 / self.relative_variance
        scale = self.mean * self.relative_variance
        low = gammaincinv(shape, _LOW) * scale
        high = gammaincinv(shape, _HIGH) * scale
        return np.minimum(low, self.mean), np.maximum(high, self.mean)


def spread(observed: Floats, expected: Floats, prior: Floats) -> tuple[float, float]:
    """Variance of true lifts beyond chance, and the largest that is still plausible.

    `observed` are Poisson counts with mean `expected` * lift, a lift having mean `prior` and variance v * `prior`.
    The squared Pearson residual z of a count then has mean 1 + v * expected, so v is found by moments, as in Marshall
    (1991, Mapping disease and mortality rates using empirical Bayes estimators). Cells are weighted by what they can
    tell, the inverse of var z = 2 + 1 / (expected * prior) of a Poisson count; with Marshall's equal weights one buyer
    of a product hardly anybody buys would decide. Where `expected` comes from the same counts, z has a mean a little
    below 1 by chance, so the estimate errs toward 0, toward saying nothing.

    The second number adds 1.645 standard errors: an estimate of 0 from 92 customers does not mean that lifts are the
    same, only that so few cannot tell; the same 0 from a million customers does mean it.
    """
    mean = expected * prior
    known = mean > 0
    if not known.any():
        return 0.0, _LARGEST_RELATIVE_VARIANCE
    mean, seen, exposure = mean[known], observed[known], expected[known]
    weight = mean / (2 * mean + 1)
    information = float(np.sum(weight * exposure))
    excess = float(np.sum(weight * ((seen - mean) ** 2 / mean - 1)))
    variance = max(excess / information, 0.0)
    error = float(np.sqrt(np.sum(weight * (1 + exposure * variance) ** 2))) / information
    return variance, min(variance + _CAUTION * error, variance + _LARGEST_RELATIVE_VARIANCE)


def shrunken(
    observed: Floats, expected: Floats, prior: Floats | float = 1.0, prior_relative_variance: Floats | float = 0.0
) -> Lifts:
    """Lifts observed / expected, shrunk toward `prior` by as much as chance can explain.

    All arrays have one shape. With the variance v of `spread`, a lift has the prior Gamma(prior / v, 1 / v) and the
    posterior mean (prior + v * observed) / (1 + v * expected): the prior where nothing is expected, and where v is 0.
    The posterior variance is taken at the largest plausible v and counts how far the mean would move with it, and how
    uncertain the prior mean is: the two parts that plain empirical Bayes leaves out (Kass and Steffey 1989,
    Approximate Bayesian inference in conditionally independent hierarchical models).
    """
    center = np.broadcast_to(np.asarray(prior, dtype=np.float64), expected.shape)
    variance, largest = spread(observed, expected, center)
    mean = (center + variance * observed) / (1 + variance * expected)
    wide = (center + largest * observed) / (1 + largest * expected)
    about = largest * wide / (1 + largest * expected) + (wide - mean) ** 2
    about = about + np.asarray(prior_relative_variance) * (center / (1 + variance * expected)) ** 2
    return Lifts(mean, np.clip(about / mean**2, 1e-12, _LARGEST_RELATIVE_VARIANCE), variance)


def product_lifts(observed: Floats, expected: Floats, groups: Sequence[Indices]) -> Lifts:
    """Lifts of products, shrunk toward what their category, brand and price band let expect.

    `observed` and `expected` are (products, segments) counts of buyers; `groups` holds, for each level, each product's
    group from 0, or -1 where it is not known. The prior mean of a product is a synthetic estimate in the manner of
    Fay and Herriot (1979, Estimates of income for small places), exp(sum of b * log lift of its groups). The lift of a
    group is that of its *other* products, shrunk toward 1 and relative to the levels before it: so no product is its
    own evidence, and the b, fitted by iteratively reweighted least squares with the expected buyers as weights, say
    how well the rest of a group tells a product it has not seen. They are kept within 0 and 1. Groups that cannot be
    told apart count by category alone. Prior means are scaled per segment to keep its buyers, less one pseudo-buyer.
    """
    if not observed.size:
        return Lifts(np.ones_like(observed), np.ones_like(observed), 0.0)
    levels = []
    uncertain = []
    so_far = expected
    for group in groups:
        lift, relative_variance = _lifts_of_others(observed, so_far, group)
        levels.append(np.log(lift))
        uncertain.append(relative_variance)
        so_far = so_far * lift
    weights = _coefficients(observed, expected, levels)
    prior = np.exp(sum((b * level for b, level in zip(weights, levels, strict=True)), np.zeros_like(expected)))
    prior = prior * (observed.sum(axis=0) + 1) / ((expected * prior).sum(axis=0) + 1)
    doubt = sum((b**2 * each for b, each in zip(weights, uncertain, strict=True)), np.zeros_like(expected))
    return shrunken(observed, expected, prior, doubt)


def _lifts_of_others(observed: Floats, expected: Floats, group: Indices) -> tuple[Floats, Floats]:
    """For each product and segment, lift and relative variance of the other products of its group."""
    known = group >= 0
    lift = np.ones_like(expected)
    relative_variance = np.zeros_like(expected)
    if not known.any():
        return lift, relative_variance
    index = group[known]
    seen, exposure = observed[known], expected[known]
    count = int(index.max()) + 1
    group_seen, group_exposure = _sums(seen, index, count), _sums(exposure, index, count)
    variance, largest = spread(group_seen, group_exposure, np.ones_like(group_exposure))
    # Sums less a part of them can fall below 0 by rounding.
    others_seen = np.maximum(group_seen[index] - seen, 0.0)
    others_exposure = np.maximum(group_exposure[index] - exposure, 0.0)
    lift[known] = (1 + variance * others_seen) / (1 + variance * others_exposure)
    wide = (1 + largest * others_seen) / (1 + largest * others_exposure)
    about = largest * wide / (1 + largest * others_exposure) + (wide - lift[known]) ** 2
    relative_variance[known] = about / lift[known] ** 2
    return lift, relative_variance


def _sums(values: Floats, index: Indices, count: int) -> Floats:
    """Sums of rows by group: (rows, segments) to (count, segments)."""
    return np.column_stack([np.bincount(index, weights=column, minlength=count) for column in values.T])


def _coefficients(observed: Floats, expected: Floats, levels: Sequence[Floats]) -> Floats:
    """How much each level's log lift counts, 0 to 1; a level that says nothing counts 0."""
    cells = expected > 0
    speaking = [place for place, level in enumerate(levels) if np.any(level[cells] != 0)]
    weights = np.zeros(len(levels))
    if not speaking:
        return weights
    seen, exposure = observed[cells], expected[cells]
    columns = [levels[place][cells] for place in speaking]
    fitted = np.zeros(len(speaking))
    fitted[0] = 1.0
    for _ in range(_ROUNDS):
        linear = sum((b * column for b, column in zip(fitted, columns, strict=True)), np.zeros_like(exposure))
        mean = exposure * np.exp(linear)
        target = mean * linear + (seen - mean)  # weight times the working response
        # Plain sums: a matrix product may add in another order with another number of threads.
        normal = np.array([[np.sum(mean * first * second) for second in columns] for first in columns])
        if np.linalg.matrix_rank(normal) < len(columns):
            fitted = np.zeros(len(speaking))
            fitted[0] = 1.0
            break
        right = np.array([np.sum(target * column) for column in columns])
        fitted = np.clip(np.linalg.solve(normal, right), 0.0, 1.0)
    weights[speaking] = fitted
    return weights


def group_indices(products: pl.DataFrame) -> list[Indices]:
    """For each of LEVELS the group of every product, from 0 in order of name; -1 where it is not known.

    `products` needs the columns category, brand and price_band.
    """
    return [
        products[level].rank("dense").cast(pl.Int64).fill_null(0).to_numpy() - 1  # ranks are from 1
        for level in LEVELS
    ]


def product_affinity(
    purchases: pl.DataFrame, traits: pl.DataFrame, held_out: pl.DataFrame | None = None
) -> pl.DataFrame:
    """`campaigns.product_affinity`: lifts of every product, category, brand and price band in every segment.

    `purchases` is campaigns.segment_purchases, where a missing cell is nobody; `traits` is campaigns.product_traits.
    Products nobody of an axis bought are borrowed rows, sensitive products none at all. Categories, brands and price
    bands are shrunk toward 1, products toward `product_lifts`. A lift's base is all segments of the axis that have a
    row in `purchases`. `held_out` (`shares.held_out_lifts`) is joined to the products' rows of the taste axis.
    """
    if purchases.is_empty():
        return empty_table(_TABLE)
    traits = traits.sort("product_id")
    sensitive = traits.filter(pl.col("is_sensitive"))["product_id"]
    borrowing = traits.filter(~pl.col("is_sensitive")).select(dimension=pl.lit("product"), value="product_id")
    purchases = purchases.filter((pl.col("dimension") != "product") | ~pl.col("value").is_in(sensitive.implode()))
    tables = []
    for axis in purchases["axis"].unique().sort():
        of_axis = purchases.filter(pl.col("axis") == axis)
        segments = of_axis.group_by("segment_id").agg(pl.col("segment_customers").max()).sort("segment_id")
        for dimension in _DIMENSIONS:
            cells = of_axis.filter(pl.col("dimension") == dimension)
            known = cells.select("value")
            if dimension == "product":
                known = pl.concat([known, borrowing.select("value")])
            values = known.unique().sort("value")
            rows = _affinity_rows(values, segments, cells, traits if dimension == "product" else None)
            tables.append(rows.with_columns(dimension=pl.lit(dimension), axis=pl.lit(axis)))
    ordered = ["dimension", "value", "axis", "segment_id"]
    table = pl.concat(tables)
    if held_out is None or held_out.is_empty():
        table = table.with_columns(held_out_lift=pl.lit(None, pl.Float64))
    else:
        of_products = held_out.rename({"product_id": "value"}).with_columns(
            dimension=pl.lit("product"), axis=pl.lit("taste")
        )
        table = table.join(of_products, on=ordered, how="left")
    return table.sort(ordered).select(table_schema(_TABLE).keys())


def _affinity_rows(
    values: pl.DataFrame, segments: pl.DataFrame, cells: pl.DataFrame, traits: pl.DataFrame | None
) -> pl.DataFrame:
    """All rows of one dimension and axis, every value in every segment; `traits` for products only."""
    shape = (values.height, segments.height)
    rows = values["value"].search_sorted(cells["value"]).to_numpy()
    columns = segments["segment_id"].search_sorted(cells["segment_id"]).to_numpy()

    def grid(column: str) -> Floats:
        filled = np.zeros(shape)
        filled[rows, columns] = cells[column].cast(pl.Float64).to_numpy()
        return filled

    buyers, customers = grid("buyers"), segments["segment_customers"].cast(pl.Float64).to_numpy()
    base = buyers.sum(axis=1) / max(customers.sum(), 1.0)
    expected = np.outer(base, customers)
    recent = grid("recent_buyers")
    recent_expected = np.outer(recent.sum(axis=1) / max(customers.sum(), 1.0), customers)
    if traits is not None:
        known = values.join(traits, left_on="value", right_on="product_id", how="left", maintain_order="left")
        groups = group_indices(known)
        lifts = product_lifts(buyers, expected, groups)
        recent_lifts = product_lifts(recent, recent_expected, groups)
    else:
        lifts, recent_lifts = shrunken(buyers, expected), shrunken(recent, recent_expected)
    low, high = lifts.interval()
    is_bought = np.broadcast_to(base[:, None] > 0, shape)
    safe_base = np.where(base > 0, base, 1.0)[:, None]
    rate = buyers / np.maximum(customers, 1.0)
    purchase_days, repeat_buyers = grid("purchase_days"), grid("repeat_buyers")
    floats = {
        "purchase_rate": rate,
        "base_rate": np.broadcast_to(base[:, None], shape),
        "lift": np.where(is_bought, rate / safe_base, np.nan),
        "shrunken_lift": lifts.mean,
        "low": low,
        "high": high,
        "recent_lift": recent_lifts.mean,
        "repeat_share": np.where(buyers > 0, repeat_buyers / np.maximum(buyers, 1.0), np.nan),
    }
    whole = {
        "buyers": buyers,
        "segment_customers": np.broadcast_to(customers, shape),
        "first_purchases": buyers,
        "repeat_purchases": purchase_days - buyers,
    }
    return pl.DataFrame(
        {
            "value": values["value"].gather(np.repeat(np.arange(shape[0]), shape[1])),
            "segment_id": segments["segment_id"].gather(np.tile(np.arange(shape[1]), shape[0])),
            **{name: each.ravel() for name, each in floats.items()},
            **{name: each.ravel().astype(np.int64) for name, each in whole.items()},
            "is_borrowed": ~is_bought.ravel(),
        }
    ).with_columns(pl.col(*floats).fill_nan(None).round(9))
