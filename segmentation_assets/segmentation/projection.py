"""The clustered matrix, or an embedding of it, in two and three dimensions, for looking at it. A picture, not evidence.

What belongs here: coordinates of a sample of customers and how much of the variance they show. What does not: drawing
them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from segmentation_assets.segmentation.kmeans import Array, one_thread

PROJECTION_POINTS = 4_000
COMPONENTS = 3
PROJECTION_SCHEMA: dict[str, type[pl.DataType]] = {
    "axis": pl.String,
    "point": pl.Int64,
    "segment_id": pl.String,
    "x": pl.Float64,
    "y": pl.Float64,
    "z": pl.Float64,
}


@dataclass(frozen=True)
class Projection:
    """`points`: PROJECTION_SCHEMA, at most PROJECTION_POINTS rows. `explained`: share of the variance along x, y, z.

    With an embedding the shares are of its variance, not of the matrix it was made from.
    """

    points: pl.DataFrame
    explained: tuple[float, float, float]


def project(
    axis: str, values: Array, segment_ids: pl.Series, seed: int, *, embedding: Array | None = None
) -> Projection:
    """Three principal components of (n, d), from all rows; a seeded sample of them as points, without customer ids.

    `segment_ids`: n ids. `embedding`: (n, m) is shown in place of `values`; the sample stays the same, so the two
    pictures show the same customers. The first two components are the picture in two dimensions. The sign of a
    component is such that its largest loading is positive; components beyond the columns are 0. ValueError when the
    rows do not belong together.
    """
    n = len(values)
    shown_of = values if embedding is None else embedding
    if len(shown_of) != n or len(segment_ids) != n:
        raise ValueError(
            f"Axis {axis}: a projection needs one segment id and one embedded row per row of the matrix; there are "
            f"{n} rows, {len(segment_ids)} ids and {len(shown_of)} rows to show."
        )
    if n == 0 or shown_of.shape[1] == 0:
        return Projection(pl.DataFrame(schema=PROJECTION_SCHEMA), (0.0, 0.0, 0.0))
    with one_thread():
        centred = shown_of - shown_of.mean(axis=0)
        variances, axes = np.linalg.eigh(centred.T @ centred / n)
        order = np.argsort(-variances, kind="stable")[:COMPONENTS]
        loadings = axes[:, order]
        loadings *= np.where(loadings[np.abs(loadings).argmax(axis=0), np.arange(loadings.shape[1])] < 0, -1.0, 1.0)
        rng = np.random.default_rng(np.random.SeedSequence([seed, 3]))
        rows = np.sort(rng.permutation(n)[:PROJECTION_POINTS])
        shown = np.zeros((len(rows), COMPONENTS))
        shown[:, : loadings.shape[1]] = np.round(centred[rows] @ loadings, 6) + 0.0
    total = float(variances.sum())
    shares = [round(float(max(variances[place], 0.0)) / total, 6) if total > 0 else 0.0 for place in order]
    first, second, third = (*shares, 0.0, 0.0)[:COMPONENTS]
    points = pl.DataFrame(
        {
            "axis": [axis] * len(rows),
            "point": np.arange(1, len(rows) + 1),
            "segment_id": segment_ids.gather(rows),
            "x": shown[:, 0],
            "y": shown[:, 1],
            "z": shown[:, 2],
        },
        schema=PROJECTION_SCHEMA,
    )
    return Projection(points, (first, second, third))
