"""The clustered matrix in two dimensions, for looking at it. A picture, not evidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from segmentation_assets.segmentation.kmeans import Array, one_thread

PROJECTION_POINTS = 4_000
PROJECTION_SCHEMA: dict[str, type[pl.DataType]] = {
    "axis": pl.String,
    "point": pl.Int64,
    "segment_id": pl.String,
    "x": pl.Float64,
    "y": pl.Float64,
}


@dataclass(frozen=True)
class Projection:
    """`points`: PROJECTION_SCHEMA, at most PROJECTION_POINTS rows. `explained`: share of the variance per axis."""

    points: pl.DataFrame
    explained: tuple[float, float]


def project(axis: str, values: Array, segment_ids: pl.Series, seed: int) -> Projection:
    """Two principal components of (n, d), from all rows; a seeded sample of them as points, without customer ids.

    The sign of a component is such that its largest loading is positive. One column gives y = 0.
    """
    n = len(values)
    if n == 0:
        return Projection(pl.DataFrame(schema=PROJECTION_SCHEMA), (0.0, 0.0))
    with one_thread():
        centred = values - values.mean(axis=0)
        variances, axes = np.linalg.eigh(centred.T @ centred / n)
        order = np.argsort(-variances, kind="stable")[:2]
        loadings = axes[:, order]
        loadings *= np.where(loadings[np.abs(loadings).argmax(axis=0), np.arange(loadings.shape[1])] < 0, -1.0, 1.0)
        rng = np.random.default_rng(np.random.SeedSequence([seed, 3]))
        rows = np.sort(rng.permutation(n)[:PROJECTION_POINTS])
        shown = np.round(centred[rows] @ loadings, 6) + 0.0
    if shown.shape[1] == 1:
        shown = np.column_stack([shown, np.zeros(len(shown))])
    total = float(variances.sum())
    explained = [round(float(max(variances[place], 0.0)) / total, 6) if total > 0 else 0.0 for place in order]
    points = pl.DataFrame(
        {
            "axis": [axis] * len(rows),
            "point": np.arange(1, len(rows) + 1),
            "segment_id": segment_ids.gather(rows),
            "x": shown[:, 0],
            "y": shown[:, 1],
        },
        schema=PROJECTION_SCHEMA,
    )
    return Projection(points, (explained[0], explained[1] if len(explained) > 1 else 0.0))
