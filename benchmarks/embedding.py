"""Does an autoencoder keep apart what principal components fold together?

`python benchmarks/embedding.py` plants groups on curved shapes, turns them into ten columns and clusters them with
plain K-means, on principal components, and on the code of a plain and of a variational autoencoder, all three
embeddings of the same width. It needs the extra `autoencoder` (PyTorch). It makes its own data and writes nothing.

The cases, 3,000 rows each, scaled to unit variance per column:
- rings: two rings of radius 1 and 2.5 around one centre, in a plane; a code of 2.
- moons: two half circles that reach into each other, in a plane; a code of 2.
- roll: a strip rolled up one and a half times, four groups along it with gaps between them; a code of 2.
- sheet: the same strip, unrolled and bent into six further directions (sines and squares of its length); a code of 2.
The first three are turned into ten columns by a random rotation, with noise of .05 on each.

The figures, as means over seeds. ARI: agreement of the clusters with the planted groups. Separation: the variance
between the planted groups as a share of all variance in the embedding. CPU: seconds for one fit.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from segmentation_assets.segmentation.algorithms.base import AlgorithmUnavailableError, Clusterer, cluster_means
from segmentation_assets.segmentation.algorithms.centroids import KMeansClusterer
from segmentation_assets.segmentation.algorithms.embedding import (
    AutoencoderClusterer,
    ComponentsClusterer,
    EmbeddedKMeans,
)

ROWS, COLUMNS, CODE = 3_000, 10, 2
_NOISE = 0.05
#: Differences in separation this small are called none.
_SAME = 0.01

Floats = NDArray[np.float64]
Planted = tuple[Floats, NDArray[np.int64]]


def rings(rng: np.random.Generator) -> Planted:
    """Two rings around one centre."""
    group = rng.integers(0, 2, ROWS)
    angle, radius = rng.uniform(0, 2 * np.pi, ROWS), np.where(group == 0, 1.0, 2.5)
    return _lifted(np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]), rng), group


def moons(rng: np.random.Generator) -> Planted:
    """Two half circles that reach into each other."""
    group, angle = rng.integers(0, 2, ROWS), rng.uniform(0, np.pi, ROWS)
    across = np.where(group == 0, np.cos(angle), 1 - np.cos(angle))
    up = np.where(group == 0, np.sin(angle), 0.5 - np.sin(angle))
    return _lifted(np.column_stack([across, up]), rng), group


def roll(rng: np.random.Generator) -> Planted:
    """A strip rolled up one and a half times, in four groups along its length."""
    group, length, width = _strip(rng)
    angle = 1.5 * np.pi * (1 + 2 * length)
    return _lifted(np.column_stack([angle * np.cos(angle), angle * np.sin(angle), 10 * width]) / 5, rng), group


def sheet(rng: np.random.Generator) -> Planted:
    """The same strip, bent by sines and squares into ten columns."""
    group, length, width = _strip(rng)
    waves = [np.sin(2 * np.pi * step * length + step) for step in (0.5, 1.0, 1.5, 2.0, 2.5)]
    columns = [length, width, *waves, (length - 0.5) ** 2, length * width, width**2]
    return _scaled(np.column_stack(columns) + rng.normal(0, _NOISE, (ROWS, COLUMNS))), group


CASES: dict[str, tuple[Callable[[np.random.Generator], Planted], int]] = {
    "rings": (rings, 2),
    "moons": (moons, 2),
    "roll": (roll, 4),
    "sheet": (sheet, 4),
}
METHODS: dict[str, Callable[[int, int], Clusterer]] = {
    "plain K-means": lambda k, seed: KMeansClusterer(k, random_state=seed),
    "principal components": lambda k, seed: ComponentsClusterer(k, random_state=seed, n_components=CODE),
    "autoencoder": lambda k, seed: AutoencoderClusterer(k, random_state=seed, n_components=CODE),
    "variational": lambda k, seed: AutoencoderClusterer(k, random_state=seed, n_components=CODE, variational=True),
}


def separation(embedded: Floats, group: NDArray[np.int64]) -> float:
    """Variance between the groups as a share of all variance of the rows (n, m)."""
    means, counts = cluster_means(embedded, group, int(group.max()) + 1)
    centred = means - embedded.mean(axis=0)
    return float((counts[:, None] * centred**2).sum() / (len(embedded) * embedded.var(axis=0).sum()))


def measured(case: str, method: str, seed: int) -> tuple[float, float, float]:
    """ARI, separation and CPU seconds of one method on one draw of a case."""
    make, k = CASES[case]
    values, group = make(np.random.default_rng(np.random.SeedSequence([seed, list(CASES).index(case)])))
    started = time.process_time()
    model = METHODS[method](k, seed).fit(values)
    seconds = time.process_time() - started
    embedded = model.embed(values) if isinstance(model, EmbeddedKMeans) else values
    return adjusted_rand_score(group, model.labels_), separation(embedded, group), seconds


def _strip(rng: np.random.Generator) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Group, length and width, both in [0, 1]; the groups are quarters of the length with a gap between them."""
    group = rng.integers(0, 4, ROWS)
    return group, (group + rng.uniform(0.1, 0.9, ROWS)) / 4, rng.uniform(0, 1, ROWS)


def _lifted(shape: Floats, rng: np.random.Generator) -> Floats:
    turned = np.linalg.qr(rng.normal(size=(COLUMNS, COLUMNS)))[0][: shape.shape[1]]
    return _scaled(shape @ turned + rng.normal(0, _NOISE, (ROWS, COLUMNS)))


def _scaled(values: Floats) -> Floats:
    return np.asarray((values - values.mean(axis=0)) / values.std(axis=0))


def verdict(method: str, gains: dict[str, float]) -> str:
    """In words: where `method` separates more than principal components, as much, and less."""
    sides = {
        "more": [case for case, gain in gains.items() if gain > _SAME],
        f"as much (within {_SAME})": [case for case, gain in gains.items() if abs(gain) <= _SAME],
        "less": [case for case, gain in gains.items() if gain < -_SAME],
    }
    told = "; ".join(f"{words} in {', '.join(cases)}" for words, cases in sides.items() if cases)
    return f"{method}: separation beside principal components of the same width: {told}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="draws and trainings per case (default 3)")
    seeds = parser.parse_args().seeds
    print(f"{'case':8}{'method':24}{'ARI':>8}{'separation':>12}{'CPU, s':>8}")
    apart: dict[tuple[str, str], float] = {}
    for case in CASES:
        for method in METHODS:
            try:
                figures = np.mean([measured(case, method, seed) for seed in range(seeds)], axis=0)
            except AlgorithmUnavailableError as reason:
                raise SystemExit(str(reason)) from reason
            apart[case, method] = float(figures[1])
            print(f"{case:8}{method:24}{figures[0]:8.3f}{figures[1]:12.3f}{figures[2]:8.2f}")
    for method in ("autoencoder", "variational"):
        print(verdict(method, {case: apart[case, method] - apart[case, "principal components"] for case in CASES}))


if __name__ == "__main__":
    main()
