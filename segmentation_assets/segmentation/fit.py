"""The steps of an axis, each from plain tables: prepare, fit, identify. What calls them only reads and writes.

prepared = prepare(customers, shares, spec)
evidence = evidence_of(prepared)
choice = choose_k(evidence, spec, prepared.off_reason)        # choose.py
fingerprint = prepared.fingerprint(choice.k)                  # equal to the stored one: nothing to fit
fitted = fit_axis(prepared, choice.k)
identified = identify(fitted, previous=..., ...)
assigned = assign(model, customers, shares, spec)             # assign.py
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from segmentation_assets.segmentation import preprocess
from segmentation_assets.segmentation.algorithms.embedding import EmbeddedKMeans
from segmentation_assets.segmentation.algorithms.registry import make_clusterer
from segmentation_assets.segmentation.assign import apply_model
from segmentation_assets.segmentation.drift import reference_of
from segmentation_assets.segmentation.drivers import by_number, segment_drivers
from segmentation_assets.segmentation.evidence import empty_evidence, gather_evidence, overlap
from segmentation_assets.segmentation.facts import segment_facts
from segmentation_assets.segmentation.fingerprint import fingerprint
from segmentation_assets.segmentation.identity import (
    Cut,
    Event,
    match_segments,
    means_by_label,
    refit_or_keep,
    rename_events,
)
from segmentation_assets.segmentation.kmeans import Array, KMeansFit, Labels, distinct_rows, fit_kmeans
from segmentation_assets.segmentation.matrix import FeatureMatrix, build_matrix, matrix_for_layout
from segmentation_assets.segmentation.model import FrozenModel, wanted_features
from segmentation_assets.segmentation.naming import name_segments
from segmentation_assets.segmentation.nulls import count_redraw
from segmentation_assets.segmentation.spec import AxisSpec

MODEL_SCHEMA: dict[str, type[pl.DataType]] = {
    "version": pl.Int64,
    "segment_id": pl.String,
    "name": pl.String,
    "customers_at_fit": pl.Int64,
    "segment_customers": pl.Int64,
    "algorithm": pl.String,
    "k": pl.Int64,
    "features": pl.String,
    "seed": pl.Int64,
    "fingerprint": pl.String,
}


@dataclass(frozen=True)
class Prepared:
    """The matrix that is clustered: `values` (n, d) with column `names`, and the pipeline that made it.

    `pipeline` is None, and n is 0, when the axis is off.
    """

    spec: AxisSpec
    matrix: FeatureMatrix
    pipeline: Pipeline | None
    values: Array
    names: tuple[str, ...]

    @property
    def off_reason(self) -> str | None:
        """Why the axis cannot be built, None when it can."""
        return self.matrix.off_reason

    def fingerprint(self, k: int) -> str:
        """The fingerprint of a model with `k` segments on this matrix."""
        return fingerprint(self.values, self.names, self.spec, k)


@dataclass(frozen=True)
class FittedAxis:
    """A fit on the prepared matrix, before its clusters have ids.

    `clusters` has the mean of each cluster, whatever found it. `clusterer` is the frozen form of the algorithm where
    the nearest mean is not its answer, None for K-means; `remark` says what it did for size.
    """

    prepared: Prepared
    clusters: KMeansFit
    fingerprint: str
    clusterer: dict[str, Any] | None = None
    remark: str = ""


@dataclass(frozen=True)
class Segment:
    """One segment of a model: which cluster it is, what it is called, and its customers at the fit."""

    segment_id: str
    cluster_index: int
    name: str
    customers: int


@dataclass(frozen=True)
class IdentifiedAxis:
    """A fit whose clusters have ids and names: what is registered as the next version.

    `cut`: whether the segments of the version before stayed where they were (see `identity.Refit`). `agreement`: the
    share of today's customers who keep their segment id, None for a first fit. `drivers` and `facts` (as of
    `segment_drivers` and `segment_facts`) are what the segments were named from; `new_ids` had no name before.
    """

    model: FrozenModel
    segments: tuple[Segment, ...]
    events: tuple[Event, ...]
    cut: Cut
    agreement: float | None
    drivers: pl.DataFrame
    facts: pl.DataFrame
    new_ids: tuple[str, ...]

    def named(self, names: Mapping[str, str]) -> IdentifiedAxis:
        """With other names for new ids; ValueError for an id that had a name before, which only a person changes."""
        if kept := sorted(set(names) - set(self.new_ids)):
            raise ValueError(f"{', '.join(kept)} had a name before; a name is changed by a declared rename only.")
        segments = tuple(replace(found, name=names.get(found.segment_id, found.name)) for found in self.segments)
        return replace(self, segments=segments)


def prepare(customers: pl.DataFrame, shares: pl.DataFrame | None, spec: AxisSpec) -> Prepared:
    """Select and transform (see `build_matrix` for the tables); an impossible axis comes back with its reason."""
    matrix = build_matrix(customers, shares, spec)
    if not matrix.is_on:
        return Prepared(spec, matrix, None, np.zeros((0, 0)), ())
    pipeline, values, names = preprocess.fit_transform(matrix, spec)
    return Prepared(spec, matrix, pipeline, values, names)


def evidence_of(prepared: Prepared) -> pl.DataFrame:
    """Evidence for each number of clusters by the axis's own algorithm (see `gather_evidence`); no rows when off.

    An algorithm that clusters an embedding is judged on the embedding, for that is the matrix it clusters.
    """
    if prepared.pipeline is None:
        return empty_evidence()
    spec, values = prepared.spec, prepared.values
    redraw = count_redraw(prepared.matrix, prepared.pipeline)
    if spec.algorithm == "kmeans":
        return gather_evidence(values, spec, names=prepared.names, redraw=redraw)
    clusterer = make_clusterer(spec.algorithm, 2, spec.seed, columns=prepared.names)
    if isinstance(clusterer, EmbeddedKMeans) and distinct_rows(values, 2) == 2:
        learned = clusterer.fit(values)
        embedding = learned.embed(values)
        components = [f"component {place + 1}" for place in range(embedding.shape[1])]

        def embedded(rng: np.random.Generator, rows: NDArray[np.int64]) -> Array:
            assert redraw is not None  # noqa: S101 - asked only where there is one; narrows the type
            return learned.embed(redraw(rng, rows))

        return gather_evidence(embedding, spec, names=components, redraw=None if redraw is None else embedded)

    def cluster(rows: Array, k: int, seed: int) -> Labels:
        found = make_clusterer(spec.algorithm, k, seed, columns=prepared.names).fit(rows)
        # An algorithm that finds another number of clusters does not divide the customers into k.
        return found.labels_ if found.n_clusters_ == k else np.zeros(len(rows), dtype=np.int64)

    return gather_evidence(values, spec, names=prepared.names, redraw=redraw, cluster=cluster)


def fit_axis(prepared: Prepared, k: int) -> FittedAxis:
    """Fit `k` clusters by the axis's algorithm; HDBSCAN may find another number.

    ValueError when the axis is off or has fewer distinct customers than k.
    """
    spec = prepared.spec
    if prepared.pipeline is None:
        raise ValueError(f"Axis {spec.axis} is off and cannot be fitted: {prepared.off_reason}")
    if spec.algorithm == "kmeans":
        return FittedAxis(prepared, fit_kmeans(prepared.values, k, spec.seed), prepared.fingerprint(k))
    clusterer = make_clusterer(spec.algorithm, k, spec.seed, columns=prepared.names).fit(prepared.values)
    centres, labels = clusterer.cluster_centers_, clusterer.labels_
    inertia = float(((prepared.values - centres[labels]) ** 2).sum())
    clusters = KMeansFit(centres, labels, inertia)
    return FittedAxis(prepared, clusters, prepared.fingerprint(k), clusterer.to_dict(), clusterer.remark_)


def identify(
    fitted: FittedAxis,
    customers: pl.DataFrame,
    shares: pl.DataFrame | None,
    *,
    previous: FrozenModel | None = None,
    earlier: FrozenModel | None = None,
    keep_cut: bool = True,
    last: pl.DataFrame | None = None,
    names: Mapping[str, str] | None = None,
    ever_used: Collection[str] = (),
    taken_names: Collection[str] = (),
) -> IdentifiedAxis:
    """Ids and names for the clusters of a fit.

    `previous`: the newest frozen model of the axis; its segments are matched on the customers of today, assigned by
    it. `earlier`: the version before `previous`, which decides what that leaves open. With `keep_cut` the segments of
    `previous` stay where they are when the new fit explains no better (`refit_or_keep`; K-means with the same number
    of segments only). `last`: customer_id and segment_id as they were last assigned, which tells of splits and merges
    that moved their customers. `names`: present name by id of its segments. `ever_used`: all ids ever given on the
    axis, ended ones too. `taken_names`: names used on the other axis or by ended segments. New ids are numbered by
    revenue (monetary_amount where it is known, else by customers), the largest first.
    """
    cut: Cut = "new"
    if previous is not None and keep_cut and previous.clusterer is None and fitted.prepared.spec.algorithm == "kmeans":
        refit = refit_or_keep(
            fitted.prepared.values, fitted.clusters, _frozen_centroids(previous, fitted, customers, shares)
        )
        fitted, cut = replace(fitted, clusters=refit.clusters), refit.cut
    prepared, clusters = fitted.prepared, fitted.clusters
    spec, k = prepared.spec, fitted.clusters.k
    sizes = np.bincount(clusters.labels, minlength=k)
    numbers = [int(used[len(spec.prefix) :]) for used in ever_used]
    old_ids = list(previous.segment_ids) if previous is not None else []
    shared, distances = _against(previous, fitted, customers, shares) if previous is not None else (None, None)
    earlier_shared = _against(earlier, fitted, customers, shares)[0] if earlier is not None else None
    matching = match_segments(
        spec.prefix,
        _revenue(fitted, customers),
        old_ids=old_ids,
        shared=shared,
        distances=distances,
        highest_number=max(numbers, default=0),
        earlier_ids=earlier.segment_ids if earlier is not None else (),
        earlier_shared=earlier_shared,
        moved=_moved(last, old_ids, fitted) if last is not None else None,
    )
    ids = pl.Series("segment_id", list(matching.segment_ids)).gather(clusters.labels)
    drivers = segment_drivers(prepared.matrix, prepared.values, prepared.names, ids, spec)
    facts = segment_facts(prepared.matrix, ids, spec)
    kept = {i: name for i, name in (names or {}).items() if i in matching.survivors}
    gone = [name for i, name in (names or {}).items() if i not in matching.survivors]
    given = name_segments(spec, drivers, facts, keep=kept, taken=[*taken_names, *gone])
    segments = tuple(
        Segment(segment_id, cluster, given[segment_id], int(sizes[cluster]))
        for cluster, segment_id in enumerate(matching.segment_ids)
    )
    assert prepared.pipeline is not None  # noqa: S101 - a fitted axis has one; narrows the type
    frozen = preprocess.export_pipeline(prepared.pipeline, prepared.matrix.layout)
    frozen["wanted"] = wanted_features(spec)
    model = FrozenModel(
        axis=spec.axis,
        version=0,
        fingerprint=fitted.fingerprint,
        algorithm=spec.algorithm,
        k=k,
        seed=spec.seed,
        customers_at_fit=len(prepared.values),
        features=prepared.matrix.layout.features,
        preprocessing=frozen,
        centroids=clusters.centroids.tolist(),
        segment_ids=matching.segment_ids,
        clusterer=fitted.clusterer,
        reference=reference_of(
            prepared.values,
            prepared.names,
            ids,
            np.sqrt(((prepared.values - clusters.centroids[clusters.labels]) ** 2).sum(axis=1)),
        ),
    )
    events = (*matching.events, *rename_events(kept, given))
    new_ids = tuple(sorted((i for i in given if i not in kept), key=by_number))
    return IdentifiedAxis(model, segments, events, cut, matching.agreement, drivers, facts, new_ids)


def with_version(model: FrozenModel, version: int) -> FrozenModel:
    """The model under the number it was registered with."""
    return replace(model, version=version)


def model_frame(model: FrozenModel | None, segments: Collection[Segment] = ()) -> pl.DataFrame:
    """The rows of the model table (MODEL_SCHEMA), by segment; none for an axis that is off."""
    if model is None:
        return pl.DataFrame(schema=MODEL_SCHEMA)
    rows = [
        (
            model.version, segment.segment_id, segment.name, model.customers_at_fit, segment.customers,
            model.algorithm, model.k, ", ".join(model.features), model.seed, model.fingerprint,
        )
        for segment in sorted(segments, key=lambda item: (len(item.segment_id), item.segment_id))
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=MODEL_SCHEMA, orient="row")


def _revenue(fitted: FittedAxis, customers: pl.DataFrame) -> Array:
    """Revenue per cluster, to the cent; customers per cluster when no money is known."""
    k, labels = fitted.clusters.k, fitted.clusters.labels
    sizes = np.bincount(labels, minlength=k).astype(float)
    if "monetary_amount" not in customers.columns:
        return sizes
    ids = pl.DataFrame({"customer_id": fitted.prepared.matrix.included_ids})
    money = customers.select(
        pl.col("customer_id").cast(pl.String), pl.col("monetary_amount").cast(pl.Float64, strict=False)
    )
    amounts = ids.join(money, on="customer_id", how="left", maintain_order="left")["monetary_amount"].fill_null(0)
    revenue: Array = np.round(np.bincount(labels, weights=amounts.to_numpy(), minlength=k), 2)
    return revenue if revenue.any() else sizes


def _old_labels(
    model: FrozenModel, fitted: FittedAxis, customers: pl.DataFrame, shares: pl.DataFrame | None
) -> tuple[Array, Labels, NDArray[np.bool_]]:
    """The customers that both models cluster, as an older model sees them.

    Its matrix of them, its labels, and which rows of the new matrix they are.
    """
    pipeline, layout = preprocess.import_pipeline(model.preprocessing)
    old, new = matrix_for_layout(customers, shares, fitted.prepared.spec, layout), fitted.prepared.matrix
    both = old.included & new.included
    values = preprocess.transform(pipeline, old.inputs)[both[old.included]]
    return values, apply_model(model, values)[0], both[new.included]


def _frozen_centroids(
    previous: FrozenModel, fitted: FittedAxis, customers: pl.DataFrame, shares: pl.DataFrame | None
) -> Array:
    """Where the segments of the previous model lie in the space of the new matrix.

    With the same columns: the same places, by the mean and deviation of each column in both matrices; scaling is all
    that tells them apart, and means of today's customers would let the cut creep a little with every fit. Otherwise
    those means.
    """
    old, labels, rows = _old_labels(previous, fitted, customers, shares)
    new = fitted.prepared.values[rows]
    pipeline, _ = preprocess.import_pipeline(previous.preprocessing)
    if preprocess.column_names(pipeline) != fitted.prepared.names or not len(new):
        return means_by_label(new, labels, previous.k)
    deviation = old.std(axis=0)
    stretch = np.divide(new.std(axis=0), deviation, out=np.ones_like(deviation), where=deviation > 0)
    places: Array = (previous.centroid_array - old.mean(axis=0)) * stretch + new.mean(axis=0)
    return places


def _against(
    previous: FrozenModel, fitted: FittedAxis, customers: pl.DataFrame, shares: pl.DataFrame | None
) -> tuple[Array, Array]:
    """Customers shared by each old segment and new cluster, and distances of centroids in the old model's space."""
    values, old_labels, rows = _old_labels(previous, fitted, customers, shares)
    new_labels, k = fitted.clusters.labels[rows], fitted.clusters.k
    shared = overlap(old_labels, new_labels, previous.k, k)
    centres = np.nan_to_num(means_by_label(values, new_labels, k))
    distances = np.sqrt(((previous.centroid_array[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2))
    return shared, distances


def _moved(last: pl.DataFrame, old_ids: Sequence[str], fitted: FittedAxis) -> Array:
    """Customers by the old id they were last assigned and their new cluster; without those of no old id."""
    rows = {segment_id: row for row, segment_id in enumerate(old_ids)}
    was = last.select(pl.col("customer_id").cast(pl.String), pl.col("segment_id").cast(pl.String))
    now = pl.DataFrame({"customer_id": fitted.prepared.matrix.included_ids, "cluster": fitted.clusters.labels})
    both = now.join(was, on="customer_id").with_columns(
        row=pl.col("segment_id").replace_strict(rows, default=None, return_dtype=pl.Int64)
    )
    known = both.drop_nulls("row")
    return overlap(known["row"].to_numpy(), known["cluster"].to_numpy(), len(old_ids), fitted.clusters.k)
