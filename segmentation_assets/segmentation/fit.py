"""The steps of an axis, each from plain tables: prepare, fit, identify. What calls them only reads and writes.

prepared = prepare(customers, shares, spec)
evidence = gather_evidence(prepared.values, spec)             # evidence.py
choice = choose_k(evidence, spec, prepared.off_reason)        # choose.py
fingerprint = prepared.fingerprint(choice.k)                  # equal to the stored one: nothing to fit
fitted = fit_axis(prepared, choice.k)
identified = identify(fitted, previous=..., ...)
assigned = assign(model, customers, shares, spec)             # assign.py
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from sklearn.pipeline import Pipeline

from segmentation_assets.segmentation import preprocess
from segmentation_assets.segmentation.drivers import segment_drivers
from segmentation_assets.segmentation.evidence import overlap
from segmentation_assets.segmentation.facts import segment_facts
from segmentation_assets.segmentation.fingerprint import fingerprint
from segmentation_assets.segmentation.identity import Event, match_segments
from segmentation_assets.segmentation.kmeans import Array, KMeansFit, fit_kmeans, predict
from segmentation_assets.segmentation.matrix import FeatureMatrix, build_matrix, matrix_for_layout
from segmentation_assets.segmentation.model import FrozenModel, wanted_features
from segmentation_assets.segmentation.naming import name_segments
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
    """A fit on the prepared matrix, before its clusters have ids."""

    prepared: Prepared
    clusters: KMeansFit
    fingerprint: str


@dataclass(frozen=True)
class Segment:
    """One segment of a model: which cluster it is, what it is called, and its customers at the fit."""

    segment_id: str
    cluster_index: int
    name: str
    customers: int


@dataclass(frozen=True)
class IdentifiedAxis:
    """A fit whose clusters have ids and names: what is registered as the next version."""

    model: FrozenModel
    segments: tuple[Segment, ...]
    events: tuple[Event, ...]


def prepare(customers: pl.DataFrame, shares: pl.DataFrame | None, spec: AxisSpec) -> Prepared:
    """Select and transform (see `build_matrix` for the tables); an impossible axis comes back with its reason."""
    matrix = build_matrix(customers, shares, spec)
    if not matrix.is_on:
        return Prepared(spec, matrix, None, np.zeros((0, 0)), ())
    pipeline, values, names = preprocess.fit_transform(matrix, spec)
    return Prepared(spec, matrix, pipeline, values, names)


def fit_axis(prepared: Prepared, k: int) -> FittedAxis:
    """Fit `k` clusters. ValueError when the axis is off or has fewer distinct customers than k."""
    if prepared.pipeline is None:
        raise ValueError(f"Axis {prepared.spec.axis} is off and cannot be fitted: {prepared.off_reason}")
    clusters = fit_kmeans(prepared.values, k, prepared.spec.seed)
    return FittedAxis(prepared, clusters, prepared.fingerprint(k))


def identify(
    fitted: FittedAxis,
    customers: pl.DataFrame,
    shares: pl.DataFrame | None,
    *,
    previous: FrozenModel | None = None,
    names: Mapping[str, str] | None = None,
    ever_used: Collection[str] = (),
    taken_names: Collection[str] = (),
) -> IdentifiedAxis:
    """Ids and names for the clusters of a fit.

    `previous`: the newest frozen model of the axis; its segments are matched on the customers of today, assigned by
    it. `names`: present name by id of its segments. `ever_used`: all ids ever given on the axis, ended ones too.
    `taken_names`: names used on the other axis or by ended segments. New ids are numbered by revenue
    (monetary_amount where it is known, else by customers), the largest first.
    """
    prepared, clusters = fitted.prepared, fitted.clusters
    spec, k = prepared.spec, fitted.clusters.k
    sizes = np.bincount(clusters.labels, minlength=k)
    numbers = [int(used[len(spec.prefix) :]) for used in ever_used]
    old_ids = list(previous.segment_ids) if previous is not None else []
    shared, distances = _against(previous, fitted, customers, shares) if previous is not None else (None, None)
    matching = match_segments(
        spec.prefix,
        _revenue(fitted, customers),
        old_ids=old_ids,
        shared=shared,
        distances=distances,
        highest_number=max(numbers, default=0),
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
    )
    return IdentifiedAxis(model, segments, matching.events)


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


def _against(
    previous: FrozenModel, fitted: FittedAxis, customers: pl.DataFrame, shares: pl.DataFrame | None
) -> tuple[Array, Array]:
    """Customers shared by each old segment and new cluster, and distances of centroids in the old model's space."""
    pipeline, layout = preprocess.import_pipeline(previous.preprocessing)
    old = matrix_for_layout(customers, shares, fitted.prepared.spec, layout)
    both = old.included & fitted.prepared.matrix.included
    values = preprocess.transform(pipeline, old.inputs)[both[old.included]]
    old_labels, _, _ = predict(values, previous.centroid_array)
    new_labels = fitted.clusters.labels[both[fitted.prepared.matrix.included]]
    k = fitted.clusters.k
    shared = overlap(old_labels, new_labels, previous.k, k)
    counts = np.bincount(new_labels, minlength=k)
    centres = np.zeros((k, values.shape[1]))
    for cluster in np.flatnonzero(counts):
        centres[cluster] = values[new_labels == cluster].mean(axis=0)
    distances = np.sqrt(((previous.centroid_array[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2))
    return shared, distances
