"""Stage segments: evidence, choice, model and assignments of each axis, then the tables people read."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import polars as pl

from segmentation_assets.defs.axes import AXES, model_in_use, read_inputs, register, segments_of, stored_model
from segmentation_assets.orchestration import plots
from segmentation_assets.orchestration.table_steps import Computed, TableDeclaration, computed_tables, sql_table
from segmentation_assets.orchestration.warehouse import Warehouse
from segmentation_assets.segmentation.assign import assign, assign_outside, model_matrix
from segmentation_assets.segmentation.choose import choose_k
from segmentation_assets.segmentation.drivers import DRIVER_SCHEMA, segment_drivers
from segmentation_assets.segmentation.evidence import gather_evidence
from segmentation_assets.segmentation.fit import fit_axis, identify, model_frame, prepare
from segmentation_assets.segmentation.preprocess import column_names, import_pipeline, transform
from segmentation_assets.segmentation.projection import PROJECTION_SCHEMA, project
from segmentation_assets.state.store import open_state

_INPUTS = ("features/customer_features", "features/customer_shares", "clean/customer_attributes", "raw/source")
_TEXTS = {
    "k": "Number of segments.",
    "inertia": "Sum of squared distances of all customers to the centre of their segment.",
    "silhouette": "Mean silhouette width, -1 to 1 (Rousseeuw 1987).",
    "null_silhouette": "The same for columns permuted independently: what data without joint structure would show.",
    "stability": "Smallest mean bootstrap Jaccard of any segment over subsamples of fixed size (Hennig 2007).",
    "smallest_share": "Share of the customers in the smallest segment.",
    "smallest_customers": "Customers of the smallest segment.",
    "is_admissible": "Whether every floor is kept.",
    "fails": "Which floor is not kept, in words.",
    "verdict": "How much the choice claims: reproducible, constructive (a useful cut, not a structure), or off.",
    "reason": "Why, with the numbers.",
    "chosen_by": "rule, or who else chose.",
    "version": "Version of the axis's model; 0 when the axis is off.",
    "segment_id": "Segment; the same id in every table, kept over re-fits.",
    "name": "Name of the segment.",
    "customers_at_fit": "Customers known when the model was fitted.",
    "segment_customers": "Customers of the segment at the fit.",
    "algorithm": "Clustering algorithm.",
    "features": "Features the model was fitted on.",
    "seed": "Seed of the fit.",
    "fingerprint": "Hash of matrix, settings and k: equal fingerprints are the same fit.",
    "distance": "Distance to the centre of the segment, in the units of the clustered matrix.",
    "margin": "How much further the second nearest centre is; small margins are customers between two segments.",
    "axis": "stage or taste.",
    "rank": "1 is the feature that sets the segment apart most.",
    "feature": "Feature of the clustered matrix.",
    "segment_mean": "Mean in the segment, in original units.",
    "overall_mean": "Mean of all clustered customers.",
    "standardised_difference": "Segment mean minus overall mean, in standard deviations of the clustered column.",
    "sentence": "The difference in words.",
    "point": "Number of the point; no customer can be told from it.",
    "x": "First principal component.",
    "y": "Second principal component.",
}
_PYTHON = frozenset({"duckdb", "python", "scikitlearn"})


def _declare(key: str, description: str, types: Mapping[str, str], deps: tuple[str, ...]) -> TableDeclaration:
    return TableDeclaration(key, description, types=types, texts=_TEXTS, deps=deps, kinds=_PYTHON)


def _evidence_of(axis: str) -> dg.AssetsDefinition:
    @computed_tables(
        "segments",
        _declare(
            f"segments/{axis}_evidence",
            f"Evidence for the number of {axis} segments, on exactly the matrix that is clustered.\n\nGrain: k",
            {"k": "BIGINT", "inertia": "DOUBLE", "silhouette": "DOUBLE", "null_silhouette": "DOUBLE",
             "stability": "DOUBLE", "smallest_share": "DOUBLE",
             "smallest_customers": "BIGINT", "is_admissible": "BOOLEAN", "fails": "VARCHAR"},
            _INPUTS,
        ),
    )  # fmt: skip
    def evidence(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
        inputs = read_inputs(warehouse, axis)
        prepared = prepare(inputs.customers, inputs.shares, inputs.spec)
        for left_out in prepared.matrix.left_out:
            context.log.info(f"{axis}: {left_out.name} is left out: {left_out.reason}.")
        frame = gather_evidence(prepared.values, inputs.spec)
        left_out_rows = "".join(f"\n- {item.name}: {item.reason}" for item in prepared.matrix.left_out) or "\n- none"
        return Computed(
            frame,
            {
                "columns_clustered": dg.MetadataValue.md(", ".join(prepared.names) or "none"),
                "features_left_out": dg.MetadataValue.md(left_out_rows),
                "customers_clustered": len(prepared.values),
                **({"plot": _evidence_plot(frame)} if frame.height > 1 else {}),
            },
        )

    return evidence


def _evidence_plot(frame: pl.DataFrame) -> dg.MarkdownMetadataValue:
    return plots.lines(
        frame["k"].to_list(),
        [
            ("Inertia", [("inertia", frame["inertia"].to_list())]),
            ("Silhouette", [("data", frame["silhouette"].to_list()), ("null", frame["null_silhouette"].to_list())]),
            ("Stability (Jaccard)", [("least stable segment", frame["stability"].to_list())]),
        ],
        x_label="number of segments k",
        caption="Evidence for k. A silhouette counts by how far it stands above its null; stability from .75 on.",
    )


def _choice_of(axis: str) -> dg.AssetsDefinition:
    @computed_tables(
        "segments",
        _declare(
            f"segments/{axis}_choice",
            f"The number of {axis} segments, how much it claims, and why.\n\nGrain: one row",
            {"k": "BIGINT", "verdict": "VARCHAR", "reason": "VARCHAR", "chosen_by": "VARCHAR"},
            (f"segments/{axis}_evidence",),
        ),
    )
    def choice(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
        inputs = read_inputs(warehouse, axis)
        with warehouse.get_connection(read_only=True) as con:
            evidence = con.sql(f"from segments.{axis}_evidence order by k").pl()
        off_reason = None
        if evidence.is_empty():
            off_reason = prepare(inputs.customers, inputs.shares, inputs.spec).off_reason
        chosen = choose_k(evidence, inputs.spec, off_reason)
        return Computed(chosen.frame(), {"k": chosen.k, "verdict": chosen.verdict, "reason": chosen.reason})

    return choice


def _model_of(axis: str) -> dg.AssetsDefinition:
    @computed_tables(
        "segments",
        _declare(
            f"segments/{axis}_model",
            f"The {axis} segments as fitted: one row per segment of the newest version, frozen in the state store. "
            "An unchanged fit makes no new version.\n\nGrain: segment_id",
            {"version": "BIGINT", "segment_id": "VARCHAR", "name": "VARCHAR", "customers_at_fit": "BIGINT",
             "segment_customers": "BIGINT", "algorithm": "VARCHAR", "k": "BIGINT", "features": "VARCHAR",
             "seed": "BIGINT", "fingerprint": "VARCHAR"},
            (f"segments/{axis}_choice", *_INPUTS),
        ),
    )  # fmt: skip
    def model(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
        inputs = read_inputs(warehouse, axis)
        with warehouse.get_connection(read_only=True) as con:
            k = int(con.execute(f"select k from segments.{axis}_choice").fetchall()[0][0])
        customers = inputs.customers.height
        if k == 0:
            return Computed(model_frame(None), {"customers_at_fit": customers, "events": "The axis is off."})
        prepared = prepare(inputs.customers, inputs.shares, inputs.spec)
        with open_state(warehouse.place.state) as state:
            newest = stored_model(state, axis)
            if newest is not None and newest.fingerprint == prepared.fingerprint(k):
                frozen, words = newest, [f"Nothing changed: version {newest.version} stays."]
            else:
                identities = state.identities()
                identified = identify(
                    fit_axis(prepared, k),
                    inputs.customers,
                    inputs.shares,
                    previous=newest,
                    names={i.segment_id: i.name for i in identities if i.axis == axis and i.status == "alive"},
                    ever_used=[i.segment_id for i in identities if i.axis == axis],
                    taken_names=[i.name for i in identities if i.axis != axis or i.status == "ended"],
                )
                frozen = register(state, warehouse, identified, customers, context.run_id)
                words = [f"{event.kind} {event.segment_id} {dict(event.detail)}" for event in identified.events]
            frame = model_frame(frozen, segments_of(state, frozen))
        return Computed(
            frame,
            {
                "customers_at_fit": frozen.customers_at_fit,
                "version": frozen.version,
                "events": dg.MetadataValue.md("\n".join(f"- {line}" for line in words) or "- none"),
            },
        )

    return model


def _assignments_of(axis: str) -> dg.AssetsDefinition:
    @computed_tables(
        "segments",
        _declare(
            f"segments/{axis}_assignments",
            f"The {axis} segment of every customer, by the frozen model; nothing is fitted here.\n\nGrain: customer_id",
            {"customer_id": "VARCHAR", "segment_id": "VARCHAR", "distance": "DOUBLE", "margin": "DOUBLE",
             "version": "BIGINT"},
            (f"segments/{axis}_model", *_INPUTS),
        ),
    )  # fmt: skip
    def assignments(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
        inputs = read_inputs(warehouse, axis)
        frozen = model_in_use(warehouse, axis)
        if frozen is None:
            return Computed(assign_outside(inputs.customers["customer_id"], inputs.spec))
        frame = assign(frozen, inputs.customers, inputs.shares, inputs.spec)
        sizes = frame.group_by("segment_id").len().sort("segment_id")
        return Computed(
            frame,
            {
                "version": frozen.version,
                "plot": plots.bars(
                    sizes["segment_id"].to_list(),
                    [size / frame.height for size in sizes["len"].to_list()],
                    title=f"Customers by {axis} segment",
                    unit="share of customers",
                    caption=f"{frame.height:,} customers by {axis} segment.",
                    is_share=True,
                ),
            },
        )

    return assignments


stage_evidence, taste_evidence = (_evidence_of(axis) for axis in AXES)
stage_choice, taste_choice = (_choice_of(axis) for axis in AXES)
stage_model, taste_model = (_model_of(axis) for axis in AXES)
stage_assignments, taste_assignments = (_assignments_of(axis) for axis in AXES)


@computed_tables(
    "segments",
    _declare(
        "segments/segment_drivers",
        "What sets each segment apart, feature by feature, strongest first.\n\nGrain: axis, segment_id, feature",
        {"axis": "VARCHAR", "segment_id": "VARCHAR", "rank": "BIGINT", "feature": "VARCHAR", "segment_mean": "DOUBLE",
         "overall_mean": "DOUBLE", "standardised_difference": "DOUBLE", "sentence": "VARCHAR"},
        ("segments/stage_assignments", "segments/taste_assignments", *_INPUTS),
    ),
    _declare(
        "segments/projection",
        "A sample of customers of each axis on the two first principal components; a picture, not evidence.\n\n"
        "Grain: axis, point",
        {"axis": "VARCHAR", "point": "BIGINT", "segment_id": "VARCHAR", "x": "DOUBLE", "y": "DOUBLE"},
        ("segments/stage_assignments", "segments/taste_assignments", *_INPUTS),
    ),
    name="segments__drivers_and_projection",
)  # fmt: skip
def drivers_and_projection(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Mapping[str, Computed]:
    """One pass over the clustered matrix of each axis."""
    drivers, points = [pl.DataFrame(schema=DRIVER_SCHEMA)], [pl.DataFrame(schema=PROJECTION_SCHEMA)]
    driver_plots: dict[str, Any] = {}
    point_plots: dict[str, Any] = {}
    for axis in AXES:
        frozen = model_in_use(warehouse, axis)
        if frozen is None:
            continue
        inputs = read_inputs(warehouse, axis)
        with warehouse.get_connection(read_only=True) as con:
            assigned = con.sql(f"select customer_id, segment_id from segments.{axis}_assignments").pl()
            names = dict(con.execute(f"select segment_id, name from segments.{axis}_model").fetchall())
        matrix = model_matrix(frozen, inputs.customers, inputs.shares, inputs.spec)
        pipeline, _ = import_pipeline(frozen.preprocessing)
        values = transform(pipeline, matrix.inputs)
        ids = matrix.included_ids.to_frame("customer_id").join(assigned, on="customer_id", maintain_order="left")
        found = segment_drivers(matrix, values, column_names(pipeline), ids["segment_id"], inputs.spec)
        projected = project(axis, values, ids["segment_id"], inputs.spec.seed)
        drivers.append(found)
        points.append(projected.points)
        driver_plots[f"{axis}_plot"] = _driver_plot(axis, found, names)
        labels = [f"{i} {names.get(i, '')}" for i in projected.points["segment_id"].to_list()]
        first, second = projected.explained
        point_plots[f"{axis}_plot"] = plots.scatter(
            projected.points["x"].to_numpy(),
            projected.points["y"].to_numpy(),
            labels,
            title=f"{axis.capitalize()} segments on two principal components",
            x_label=f"first component ({first:.0%} of variance)",
            y_label=f"second component ({second:.0%})",
            caption="A sample of customers. A picture, not evidence.",
        )
    return {
        "segments/segment_drivers": Computed(pl.concat(drivers), driver_plots),
        "segments/projection": Computed(pl.concat(points), point_plots),
    }


def _driver_plot(axis: str, found: pl.DataFrame, names: Mapping[str, str]) -> dg.MarkdownMetadataValue:
    features = found["feature"].unique(maintain_order=True).to_list()
    segments = sorted(names, key=lambda segment: (len(segment), segment))
    grid = np.full((len(features), len(segments)), np.nan)
    for row in found.iter_rows(named=True):
        if row["segment_id"] in names:
            grid[features.index(row["feature"]), segments.index(row["segment_id"])] = row["standardised_difference"]
    return plots.heat_map(
        grid,
        [name.partition("=")[2] or name for name in features],
        [f"{segment} {names[segment]}" for segment in segments],
        title=f"What sets {axis} segments apart",
        caption="Segment mean minus overall mean, in standard deviations of the clustered column.",
        limit=2.0,
    )


def _size_plot(con: duckdb.DuckDBPyConnection) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for axis in AXES:
        rows = con.execute(
            "select segment_id || ' ' || name, customer_share, revenue_share from segments.segment_summary "
            "where axis = $axis and customers > 0 order by customers desc, segment_id",
            {"axis": axis},
        ).fetchall()
        if rows:
            found[f"{axis}_plot"] = plots.bars(
                [f"{name} ({(revenue or 0):.0%} of revenue)" for name, _, revenue in rows],
                [share for _, share, _ in rows],
                title=f"{axis.capitalize()} segments by size",
                unit="share of customers",
                caption="Share of customers; in brackets, share of revenue.",
                is_share=True,
            )
    return found


customer_segments = sql_table("segments/customer_segments", "segments")
segment_summary = sql_table("segments/segment_summary", "segments", describe=_size_plot)
segment_grid = sql_table("segments/segment_grid", "segments")
segment_metrics = sql_table("segments/segment_metrics", "segments")
