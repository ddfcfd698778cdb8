"""Evidence for each number of clusters, on exactly the matrix that is clustered.

What the numbers are is here; what follows from them is `choose`. None of them alone certifies a segmentation:
silhouettes and inertia stand beside those of null draws (`nulls`) that keep everything but the structure, and both
nulls and stability are measured on draws of a fixed size, because with enough rows any cut is repeated.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segmentation_assets.segmentation.guard import one_feature
from segmentation_assets.segmentation.indices import calinski_harabasz, davies_bouldin
from segmentation_assets.segmentation.kmeans import Array, KMeansFit, Labels, distinct_rows, one_thread, sweep
from segmentation_assets.segmentation.nulls import Redraw, UnimodalCopula, gaussian, permuted
from segmentation_assets.segmentation.silhouette import sampled_silhouettes
from segmentation_assets.segmentation.small_kmeans import cluster_many, small_silhouettes
from segmentation_assets.segmentation.spec import AxisSpec

#: Another algorithm than K-means: (values (n, d), k, seed) -> labels (n,) in 0 .. k-1.
Cluster = Callable[[Array, int, int], Labels]

#: Rows on which silhouettes are exact; above, that many rows are drawn (the figure moves by about .002).
SILHOUETTE_ROWS = 5_000
#: Size of a bootstrap draw, and how many. The same for a shop of 1,000 customers as for one of a million: with draws of
#: 2,000 rows one-piece data of 30,000 rows had half a k more that passed .75 than the same data of 1,000 rows, with
#: draws of 1,000 rows not one (benchmarks/structure.py --one-piece).
STABILITY_ROWS = 1_000
STABILITY_DRAWS = 16
#: Rows and number of the draws of each null. More rows only make the null surer of a figure that is there to be
#: beaten by .05; their spread is wider than that of the data's own silhouette, which errs toward caution.
NULL_ROWS = 1_000
NULL_DRAWS = 12
#: Another algorithm than K-means takes tenths of a second for each of hundreds of fits: it gets fewer draws.
OTHER_STABILITY_DRAWS = 6
OTHER_NULL_DRAWS = 6
#: Subsamples of the data that stand beside the null draws in the gap statistic: of their size, or a sample's own
#: overfitting would count as structure.
_GAP_SAMPLES = 4
_BASE_ROWS = 5_000
#: Null draws that agree more closely than this do not make any excess infinitely many deviations wide.
_LEAST_DEVIATION = 1e-3

_LEAST_INERTIA = 1e-9
#: Each use of random numbers has its own stream, so that adding one moves no other.
_STREAMS = {"copula": 1, "permuted": 2, "gaussian": 3, "counts": 4, "data": 5, "bootstrap": 6}

EVIDENCE_SCHEMA: dict[str, type[pl.DataType]] = {
    "k": pl.Int64,
    "inertia": pl.Float64,
    "silhouette": pl.Float64,
    "silhouette_error": pl.Float64,
    "calinski_harabasz": pl.Float64,
    "davies_bouldin": pl.Float64,
    "null_silhouette": pl.Float64,
    "null_name": pl.String,
    "silhouette_z": pl.Float64,
    "gap": pl.Float64,
    "gap_error": pl.Float64,
    "stability": pl.Float64,
    "stability_ari": pl.Float64,
    "smallest_share": pl.Float64,
    "smallest_customers": pl.Int64,
    "is_admissible": pl.Boolean,
    "fails": pl.String,
    "one_feature": pl.String,
    "one_feature_accuracy": pl.Float64,
}


def empty_evidence() -> pl.DataFrame:
    """The evidence of an axis that is off: its columns and no rows."""
    return pl.DataFrame(schema=EVIDENCE_SCHEMA)


def gather_evidence(
    values: Array,
    spec: AxisSpec,
    *,
    names: Sequence[str] = (),
    redraw: Redraw | None = None,
    cluster: Cluster | None = None,
) -> pl.DataFrame:
    """Evidence for k from 1 to `spec.k_max` on the matrix (n, d), one row per k.

    `names` are the columns of the matrix, for the one-feature guard. `redraw` draws count shares anew from one taste
    for all (`nulls.count_redraw`) and takes the place of permuted columns, which know nothing of counts. `cluster`
    is another algorithm than K-means; data, nulls and bootstrap draws are all clustered by it.

    inertia: sum of squared distances of all rows to the centre of their cluster. silhouette: mean silhouette width
    (Rousseeuw 1987), exact up to SILHOUETTE_ROWS rows, beyond that with the standard error `silhouette_error`.
    calinski_harabasz, davies_bouldin: the two indices (1974, 1979). null_silhouette: mean silhouette of NULL_DRAWS
    draws of the null that has the highest, `null_name`; silhouette_z: the smallest, over the nulls, distance of the
    silhouette from the mean of the null in standard deviations of its draws. gap: mean log inertia of Gaussian
    draws minus that of the data, on samples of equal size, and gap_error its s_k (Tibshirani, Walther and Hastie
    2001). stability: the smallest, over clusters, mean bootstrap Jaccard (Hennig 2007) over draws of STABILITY_ROWS;
    stability_ari: mean adjusted Rand index of the same draws. smallest_share: share of the customers in the smallest
    cluster. `fails` says in words what is not admissible. one_feature: the feature that alone reproduces the
    clusters, null when none does, and the accuracy of the best one; looked for where k is admissible, and for every
    k when none is.
    Only inertia and gap are known for k = 1. k stops where the customers do: k times `minimum_customers`, or the
    number of distinct rows. ValueError for values that are not finite.
    """
    n = len(values)
    if n == 0:
        return empty_evidence()
    _refuse_unknown(values, names)
    distinct = distinct_rows(values, spec.k_max + 1)
    largest = max(1, min(spec.k_max, distinct, n // spec.minimum_customers))
    if largest == 1:
        inertia = round(float(((values - values.mean(axis=0)) ** 2).sum()), 6)
        whole = {"k": 1, "inertia": inertia, "smallest_share": 1.0, "smallest_customers": n, "is_admissible": False}
        return _frame([whole | {"fails": _why_no_split(n, distinct, spec)}])
    columns = list(names) or [f"column {place + 1}" for place in range(values.shape[1])]
    return _Evidence(values, spec, columns, redraw, cluster, list(range(1, largest + 1))).frame()


def _refuse_unknown(values: Array, names: Sequence[str]) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        counts = bad.sum(axis=0)
        which = ", ".join(
            f"{names[place] if place < len(names) else f'column {place + 1}'} ({counts[place]})"
            for place in map(int, np.flatnonzero(counts))
        )
        raise ValueError(
            f"{int(counts.sum())} values of the matrix are missing or infinite, in {which}; fill or leave them out "
            f"before clustering."
        )


def _why_no_split(n: int, distinct: int, spec: AxisSpec) -> str:
    """Why there is nothing to divide, or what k = 1 says when there is."""
    if n < 2 * spec.minimum_customers:
        return (
            f"too few customers to divide: {n}, and two segments of at least {spec.minimum_customers} need "
            f"{2 * spec.minimum_customers}"
        )
    if distinct < 2:
        return f"all {n} customers are alike in every feature"
    return "one segment divides nothing"


def _frame(records: Sequence[dict[str, object]]) -> pl.DataFrame:
    rows = [{name: record.get(name) for name in EVIDENCE_SCHEMA} for record in records]
    floats = [name for name, kind in EVIDENCE_SCHEMA.items() if kind is pl.Float64]
    return pl.DataFrame(rows, schema=EVIDENCE_SCHEMA, orient="row").with_columns(pl.col(floats).round(6))


@dataclass(frozen=True)
class _Evidence:
    """One gathering. Its pieces do not depend on each other, so threads take them in any order."""

    values: Array
    spec: AxisSpec
    names: list[str]
    redraw: Redraw | None
    cluster: Cluster | None
    ks: list[int]

    def frame(self) -> pl.DataFrame:
        """The evidence table."""
        fits = self._fits()
        several = [fit.labels for fit in fits[1:]]
        real, errors = sampled_silhouettes(self.values, several, SILHOUETTE_ROWS, self.spec.seed)
        with one_thread(), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            stability = [pool.submit(self._stability, fits, draw) for draw in range(self._draws_of("bootstrap"))]
            nulls = {name: pool.submit(self._compared, name) for name in self._null_names()}
            sample = pool.submit(self._sampled_logs, fits)
            indices = [pool.submit(self._indices, fit) for fit in fits[1:]]
            widths = {name: future.result()[0] for name, future in nulls.items()}
            gap, gap_error = _gap(sample.result(), nulls["gaussian"].result()[1])
            jaccards, agreement = zip(*(future.result() for future in stability), strict=True)
            scores = [future.result() for future in indices]
            stable = [float(np.mean([draw[place] for draw in jaccards], axis=0).min()) for place in range(len(several))]
            floors = [_floors(fit, self.spec, own) for fit, own in zip(fits[1:], stable, strict=True)]
            # Trees cost as much as the rest of a k: where some k are admissible, the others are not asked.
            asked = [place for place, floor in enumerate(floors) if floor["is_admissible"]] or range(len(several))
            guards = {
                place: pool.submit(one_feature, self.values, self.names, several[place], self.spec.seed)
                for place in asked
            }
            found = {place: future.result() for place, future in guards.items()}
        records: list[dict[str, object]] = [
            {
                "k": 1,
                "inertia": fits[0].inertia,
                "gap": gap[0],
                "gap_error": gap_error[0],
                "smallest_share": 1.0,
                "smallest_customers": len(self.values),
                "is_admissible": False,
                "fails": _why_no_split(len(self.values), 2, self.spec),
            }
        ]
        for place, fit in enumerate(fits[1:]):
            null_name, null, z = _worst(real[place], {name: width[:, place] for name, width in widths.items()})
            guard = found.get(place)
            record: dict[str, object] = {
                "k": fit.k,
                "inertia": fit.inertia,
                "silhouette": real[place],
                "silhouette_error": errors[place],
                "calinski_harabasz": scores[place][0],
                "davies_bouldin": scores[place][1],
                "null_silhouette": null,
                "null_name": null_name,
                "silhouette_z": z,
                "gap": gap[place + 1],
                "gap_error": gap_error[place + 1],
                "stability": stable[place],
                "stability_ari": float(np.mean([draw[place] for draw in agreement])),
                "one_feature": guard.feature if guard else None,
                "one_feature_accuracy": guard.accuracy if guard and np.isfinite(guard.accuracy) else None,
            }
            records.append(record | floors[place])
        return _frame(records)

    def _fits(self) -> list[KMeansFit]:
        if self.cluster is None:
            return sweep(self.values, self.ks, self.spec.seed)
        return [self._fit_of(self._labels(self.values, k, self.spec.seed), k) for k in self.ks]

    def _labels(self, values: Array, k: int, seed: int) -> Labels:
        """Labels by the other algorithm."""
        assert self.cluster is not None  # noqa: S101 - asked only where there is one; narrows the type
        if k == 1:
            return np.zeros(len(values), dtype=np.int64)
        labels = np.asarray(self.cluster(values, k, seed), dtype=np.int64)
        if labels.shape != (len(values),) or labels.min() < 0 or labels.max() >= k:
            raise ValueError(
                f"The clustering algorithm gave {labels.shape[0] if labels.ndim else 0} labels from "
                f"{labels.min()} to {labels.max()} for {len(values)} customers and k = {k}; "
                f"it must give each customer one from 0 to {k - 1}."
            )
        return labels

    def _fit_of(self, labels: Labels, k: int) -> KMeansFit:
        centres, inertia = _centres(self.values, labels, k)
        return KMeansFit(centres, labels, inertia)

    def _indices(self, fit: KMeansFit) -> tuple[float, float]:
        return (
            calinski_harabasz(self.values, fit.labels, fit.inertia),
            davies_bouldin(self.values, fit.labels, fit.centroids),
        )

    def _null_names(self) -> tuple[str, ...]:
        # Permuted columns know nothing of counts. The copula stays beside redrawn counts: customers who lean each
        # their own way, without groups, would stand far above draws in which nobody leans at all.
        return ("counts", "copula", "gaussian") if self.redraw is not None else ("copula", "permuted", "gaussian")

    def _draws_of(self, name: str) -> int:
        """How many draws of a null, or of the bootstrap."""
        if name == "bootstrap":
            return STABILITY_DRAWS if self.cluster is None else OTHER_STABILITY_DRAWS
        return NULL_DRAWS if self.cluster is None else OTHER_NULL_DRAWS

    def _draws(self, name: str) -> list[Array]:
        """The draws of one null, each of NULL_ROWS rows or as many as there are."""
        n = len(self.values)
        rows = min(n, NULL_ROWS)
        rngs = [self._rng(_STREAMS[name], draw) for draw in range(self._draws_of(name))]
        if name == "counts":
            assert self.redraw is not None  # noqa: S101 - the name is used only where there is one; narrows the type
            return [self.redraw(rng, np.sort(rng.choice(n, rows, replace=False))) for rng in rngs]
        base = self.values[_drawn_rows(n, _BASE_ROWS, self.spec.seed)]
        if name == "copula":
            null = UnimodalCopula(base)
            return [null.draw(rng, rows) for rng in rngs]
        make = permuted if name == "permuted" else gaussian
        return [make(base, rng)[:rows] for rng in rngs]

    def _compared(self, name: str) -> tuple[Array, Array]:
        """Silhouettes (draws, ks from 2) and log inertia (draws, ks) of the draws of one null."""
        draws = self._draws(name)
        labels, logs = self._cluster_draws(draws, _STREAMS[name])
        widths = [small_silhouettes(draw, labels[1:, place], self.ks[1:]) for place, draw in enumerate(draws)]
        return np.array(widths), logs

    def _sampled_logs(self, fits: Sequence[KMeansFit]) -> Array:
        """Log inertia (samples, ks) of samples of the data of the size of the null draws."""
        n = len(self.values)
        order = self._rng(_STREAMS["data"]).permutation(n)
        count = max(1, min(_GAP_SAMPLES, n // NULL_ROWS))
        samples = [self.values[np.sort(order[place * NULL_ROWS : (place + 1) * NULL_ROWS])] for place in range(count)]
        # Separate clusters are valleys that few starts find: the fits of all rows are a start for each sample.
        return self._cluster_draws(samples, _STREAMS["data"], [fit.centroids for fit in fits])[1]

    def _cluster_draws(
        self, draws: Sequence[Array], stream: int, guesses: Sequence[Array] | None = None
    ) -> tuple[Labels, Array]:
        """Labels (ks, draws, n) and log inertia (draws, ks)."""
        if self.cluster is None:
            labels, inertia = cluster_many(np.stack(draws), self.ks, self._rng(stream, NULL_DRAWS), guesses=guesses)
        else:
            labels = np.array([[self._labels(draw, k, self.spec.seed) for draw in draws] for k in self.ks])
            inertia = np.array(
                [
                    [_centres(draw, own, k)[1] for draw, own in zip(draws, labels[place], strict=True)]
                    for place, k in enumerate(self.ks)
                ]
            )
        # Inertia reaches 0 when every row sits on a centre: a floor keeps its logarithm finite.
        floor = np.maximum(_LEAST_INERTIA * inertia[0], np.finfo(float).tiny)
        return labels, np.log(np.maximum(inertia, floor)).T

    def _stability(self, fits: Sequence[KMeansFit], draw: int) -> tuple[list[Array], list[float]]:
        """Jaccard of each cluster of each fit from k = 2 (Hennig 2007), and the adjusted Rand index, for one draw.

        Rows are drawn with replacement and clustered anew; each old cluster is compared with its most similar new
        one on the distinct rows drawn. A cluster that the draw misses counts 0 for it.
        """
        n = len(self.values)
        rng = self._rng(_STREAMS["bootstrap"], draw)
        rows = np.sort(rng.integers(0, n, min(n, STABILITY_ROWS)))
        _, first = np.unique(rows, return_index=True)
        sample, ks = self.values[rows], self.ks[1:]
        if self.cluster is None:
            again = cluster_many(sample[None], ks, rng)[0][:, 0]
        else:
            again = np.array([self._labels(sample, k, self.spec.seed + 1 + draw) for k in ks])
        counts = [
            overlap(fit.labels[rows[first]], labels[first], fit.k, fit.k)
            for fit, labels in zip(fits[1:], again, strict=True)
        ]
        return [np.asarray(jaccard(shared).max(axis=1)) for shared in counts], [adjusted_rand(s) for s in counts]

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self.spec.seed, *stream]))


def _floors(fit: KMeansFit, spec: AxisSpec, stable: float) -> dict[str, object]:
    n, k = len(fit.labels), fit.k
    smallest = int(np.bincount(fit.labels, minlength=k).min())
    share = smallest / n
    failed = []
    if k < spec.k_min:
        failed.append(f"fewer than the {spec.k_min} segments asked for")
    if share < spec.share_floor:
        failed.append(f"smallest share {share:.3f} is below {spec.share_floor:g}")
    if smallest < spec.minimum_customers:
        failed.append(f"smallest segment has {smallest} customers, fewer than {spec.minimum_customers}")
    if stable < spec.stability_floor:
        failed.append(f"stability {stable:.3f} is below {spec.stability_floor:g}")
    return {
        "smallest_share": share,
        "smallest_customers": smallest,
        "is_admissible": not failed,
        "fails": "; ".join(failed),
    }


def _worst(silhouette: float, nulls: Mapping[str, Array]) -> tuple[str, float, float]:
    """The null with the highest mean silhouette, that mean, and the smallest distance from any null in deviations."""
    means = {name: float(widths.mean()) for name, widths in nulls.items()}
    name = max(means, key=lambda null: means[null])
    deviations = {null: max(float(widths.std(ddof=1)), _LEAST_DEVIATION) for null, widths in nulls.items()}
    return name, means[name], min((silhouette - means[null]) / deviations[null] for null in nulls)


def _gap(data: Array, null: Array) -> tuple[Array, Array]:
    """Gap and s_k for each k, from log inertia of (samples, ks) and of (draws, ks)."""
    gap: Array = null.mean(axis=0) - data.mean(axis=0)
    error: Array = null.std(axis=0) * np.sqrt(1 + 1 / len(null))
    return gap, error


def _centres(values: Array, labels: Labels, k: int) -> tuple[Array, float]:
    """Means (k, d) of clusters, 0 for an empty one, and the sum of squared distances to them."""
    sizes = np.maximum(np.bincount(labels, minlength=k), 1)
    centres = np.column_stack([np.bincount(labels, weights=column, minlength=k) / sizes for column in values.T])
    return centres, float(((values - centres[labels]) ** 2).sum())


def adjusted_rand(counts: Array) -> float:
    """Adjusted Rand index (Hubert and Arabie 1985) of two labellings from their overlap counts; 1 when both are one."""
    pairs = float((counts * (counts - 1)).sum() / 2)
    left = float((counts.sum(axis=1) * (counts.sum(axis=1) - 1)).sum() / 2)
    right = float((counts.sum(axis=0) * (counts.sum(axis=0) - 1)).sum() / 2)
    total = counts.sum()
    expected = left * right / max(float(total * (total - 1) / 2), 1.0)
    most = (left + right) / 2
    return (pairs - expected) / (most - expected) if most > expected else 1.0


def overlap(left: Labels, right: Labels, rows: int, columns: int) -> NDArray[np.float64]:
    """How many items carry label i on the left and j on the right, as (rows, columns)."""
    return np.bincount(left * columns + right, minlength=rows * columns).reshape(rows, columns).astype(float)


def jaccard(counts: Array) -> Array:
    """Jaccard similarity of each row set with each column set from their overlap counts."""
    union = counts.sum(axis=1, keepdims=True) + counts.sum(axis=0, keepdims=True) - counts
    return np.divide(counts, union, out=np.zeros_like(counts), where=union > 0)


def _drawn_rows(n: int, most: int, seed: int) -> NDArray[np.int64]:
    if n <= most:
        return np.arange(n)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 2]))
    return np.sort(rng.choice(n, most, replace=False))
