"""Which features say the same thing: rank correlations of numeric columns. What follows from them is elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.stats import rankdata

from segmentation_assets.segmentation.kmeans import one_thread

#: Below this many customers who have both features a correlation says nothing.
FEWEST_CUSTOMERS = 10

CORRELATION_SCHEMA: dict[str, type[pl.DataType]] = {
    "feature_a": pl.String,
    "feature_b": pl.String,
    "correlation": pl.Float64,
    "customers": pl.Int64,
}


def rank_correlations(frame: pl.DataFrame, features: Sequence[str]) -> pl.DataFrame:
    """Spearman's rank correlation of each pair of `features`, columns of `frame` (n rows, nulls allowed).

    Pearson's formula on ranks, ties given their mean rank. Ranks are taken over the rows that have the feature, a
    pair is computed over those that have both. Pairs with fewer than FEWEST_CUSTOMERS such rows and features that
    never vary have no row. Returns CORRELATION_SCHEMA, by feature_a, feature_b (each pair once, a before b).
    """
    names = sorted(features)
    values = frame.select(pl.col(name).cast(pl.Float64) for name in names).to_numpy()
    # Twice the mean rank is a whole number, so the sums below are exact whatever the order of the rows.
    ranks = 2 * rankdata(values, axis=0, nan_policy="omit") if len(values) else values
    has = np.isfinite(ranks).astype(float)
    ranks = np.nan_to_num(ranks)
    with one_thread():
        both = has.T @ has
        sums, squares = ranks.T @ has, (ranks**2).T @ has  # [a, b]: of a, over the rows that have a and b
        products = ranks.T @ ranks
    spread = both * squares - sums**2
    together = both * products - sums * sums.T
    rows = []
    for a, name in enumerate(names):
        for b in range(a + 1, len(names)):
            if both[a, b] >= FEWEST_CUSTOMERS and spread[a, b] > 0 and spread[b, a] > 0:
                correlation = together[a, b] / (np.sqrt(spread[a, b]) * np.sqrt(spread[b, a]))
                rows.append((name, names[b], round(float(correlation), 6), int(both[a, b])))
    return pl.DataFrame(rows, schema=CORRELATION_SCHEMA, orient="row")
