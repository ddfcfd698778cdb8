"""Stage segments: evidence, choice, model and assignments of each axis, then the tables people read."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import polars as pl

from segmentation_assets.defs.axes import (
    AXES,
    axis_spec,
    model_in_use,
    read_inputs,
    register,
    rule_groups,
    segments_of,
    stored_model,
)
from segmentation_assets.defs.language import open_desk, told
from segmentation_assets.language.rendering import render
from segmentation_assets.language.task import EMBEDDED
from segmentation_assets.language.tasks.choose_k import choice_facts, choose_k_task
from segmentation_assets.language.tasks.names import gather_naming_facts, names_task
from segmentation_assets.orchestration import plots
from segmentation_assets.orchestration.table_steps import Computed, TableDeclaration, computed_tables, sql_table
from segmentation_assets.orchestration.warehouse import Warehouse, source_row
from segmentation_assets.segmentation.algorithms.embedding import EmbeddedKMeans
from segmentation_assets.segmentation.algorithms.registry import thaw
from segmentation_assets.segmentation.assign import (
    ASSIGNMENT_SCHEMA,
    apply_model,
    assign,
    assign_outside,
    model_matrix,
)
from segmentation_assets.segmentation.choose import CHOICE_SCHEMA, Choice, choose_k, choose_other
from segmentation_assets.segmentation.comparison import COMPARISON_SCHEMA, compare_algorithms
from segmentation_assets.segmentation.drift import DRIFT_SCHEMA, DriftThresholds, drift, flagged, has_drifted
from segmentation_assets.segmentation.drivers import DRIVER_SCHEMA, RULE_SCHEMA, segment_drivers, segment_rules
from segmentation_assets.segmentation.evidence import EVIDENCE_SCHEMA
from segmentation_assets.segmentation.fit import (
    MODEL_SCHEMA,
    IdentifiedAxis,
    evidence_of,
    fit_axis,
    identify,
    model_frame,
    prepare,
)
from segmentation_assets.segmentation.naming import RESERVED_NAMES
from segmentation_assets.segmentation.preprocess import column_names, import_pipeline, transform
from segmentation_assets.segmentation.projection import PROJECTION_SCHEMA, Projection, project
from segmentation_assets.segmentation.rule import assign_rule, choose_rule, rule_model_frame
from segmentation_assets.state.store import open_state
from segmentation_assets.studio.projection_page import projection_page
from segmentation_assets.warehouse.tables import has_table

_INPUTS = ("features/customer_features", "features/customer_shares", "clean/customer_attributes", "raw/source")
_TEXTS = {
    "k": "Number of segments.",
    "inertia": "Sum of squared distances of all customers to the centre of their segment.",
    "silhouette": "Mean silhouette width, -1 to 1 (Rousseeuw 1987).",
    "silhouette_error": "Its standard error where it is taken from a sample; 0 where it is exact.",
    "calinski_harabasz": "Variance between over within segments, per degree of freedom (1974); higher is better.",
    "davies_bouldin": "Mean likeness of each segment to its most similar one (1979); lower is better.",
    "null_silhouette": "Mean silhouette of draws that keep all but the structure; of the null that comes nearest.",
    "null_name": "Which null that is.",
    "silhouette_z": "How far the silhouette stands above every null, in standard deviations of its draws.",
    "gap": "Log inertia of Gaussian draws minus that of the data (Tibshirani, Walther and Hastie 2001).",
    "gap_error": "Standard error of the gap.",
    "stability": "Smallest mean bootstrap Jaccard of any segment over subsamples of fixed size (Hennig 2007).",
    "stability_ari": "Mean adjusted Rand index of the same subsamples.",
    "one_feature": "The feature that alone reproduces the segments; null when none does.",
    "one_feature_accuracy": "How often the best single feature tells the segment, cross-validated.",
    "smallest_share": "Share of the customers in the smallest segment.",
    "smallest_customers": "Customers of the smallest segment.",
    "is_admissible": "Whether every floor is kept.",
    "fails": "Which floor is not kept, in words.",
    "verdict": "How much the choice claims: natural (groups that stand apart), reproducible (a cut that comes back), "
    "constructive (a useful cut, not a structure), or off.",
    "rule_k": "Number of segments that the rule chose.",
    "reason": "Why, with the numbers.",
    "chosen_by": "rule, or who else chose.",
    "version": "Version of the axis's model; 0 when the axis is off, or a rule takes the clusters' place.",
    "segment_id": "Segment; the same id in every table, kept over re-fits.",
    "name": "Name of the segment.",
    "customers_at_fit": "Customers known when the model was fitted.",
    "segment_customers": "Customers of the segment at the fit.",
    "algorithm": "Clustering algorithm.",
    "features": "Features the model was fitted on.",
    "seed": "Seed of the fit.",
    "fingerprint": "Hash of matrix, settings and k: equal fingerprints are the same fit.",
    "distance": "Distance to the centre of the segment, in the units of the clustered matrix.",
    "margin": "How much further the nearest other centre is; small margins are customers between two segments. Below 0 "
    "only where an algorithm does not assign by the nearest centre.",
    "is_misfit": "Further from the centre than 99 % of the segment's customers were at the fit.",
    "axis": "stage or taste.",
    "rank": "1 is the feature that sets the segment apart most.",
    "feature": "Feature of the clustered matrix.",
    "segment_mean": "Mean in the segment, in original units.",
    "overall_mean": "Mean of all clustered customers.",
    "standardised_difference": "Segment mean minus overall mean, in standard deviations of the clustered column.",
    "separation_share": "Share of what separates the segment from the rest that this feature carries; 1 in all.",
    "sentence": "The same in words.",
    "rule": "A short rule in original units that tells the segment from the rest, by a shallow decision tree.",
    "precision": "Share of those the rule selects who are in the segment, on held-out customers.",
    "recall": "Share of the segment that the rule selects, on held-out customers.",
    "faithfulness": "Balanced agreement of rule and segment on held-out customers; .5 is chance.",
    "customers": "Customers of the segment among those the rule was made from.",
    "kind": "feature, segment or misfit.",
    "reference_value": "Mean of the column, share of the segment or rate of misfits at the fit.",
    "current_value": "The same today.",
    "shift": "Population stability index of a feature; change of a share or of a rate.",
    "is_beyond_chance": "Larger than chance alone would show.",
    "is_drift": "Beyond chance and beyond the threshold of the settings.",
    "statement": "The same in words.",
    "k_asked": "Number of clusters asked for.",
    "k_found": "Number of clusters found.",
    "agreement": "Adjusted Rand index with the segments in use.",
    "remark": "On how many customers it was fitted, or why it could not run.",
    "point": "Number of the point; no customer can be told from it.",
    "x": "First principal component.",
    "y": "Second principal component.",
    "z": "Third principal component.",
}
#: What an axis reads where the settings put a rule in the place of its clusters.
_RULE = {"stage": ("value/customer_rfm",), "taste": ()}
_DRIFT: dict[str, type[pl.DataType]] = {**DRIFT_SCHEMA, "is_drift": pl.Boolean}
_PYTHON = frozenset({"duckdb", "python", "scikitlearn"})


_SQL_TYPES: dict[Any, str] = {pl.String: "VARCHAR", pl.Float64: "DOUBLE", pl.Int64: "BIGINT", pl.Boolean: "BOOLEAN"}


def _declare(
    key: str,
    description: str,
    schema: Mapping[str, Any],
    deps: tuple[str, ...],
    texts: Mapping[str, str] | None = None,
) -> TableDeclaration:
    types = {name: _SQL_TYPES[kind] for name, kind in schema.items()}
    return TableDeclaration(key, description, types=types, texts={**_TEXTS, **(texts or {})}, deps=deps, kinds=_PYTHON)


def _evidence_of(axis: str) -> dg.AssetsDefinition:
    @computed_tables(
        "segments",
        _declare(
            f"segments/{axis}_evidence",
            f"Evidence for the number of {axis} segments, on exactly the matrix that is clustered.\n\nGrain: k",
            EVIDENCE_SCHEMA,
            _INPUTS,
        ),
    )
    def evidence(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
        inputs = read_inputs(warehouse, axis)
        prepared = prepare(inputs.customers, inputs.shares, inputs.spec)
        for left_out in prepared.matrix.left_out:
            context.log.info(f"{axis}: {left_out.name} is left out: {left_out.reason}.")
        frame = evidence_of(prepared)
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
            ("Gap", [("gap", frame["gap"].to_list())]),
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
            CHOICE_SCHEMA,
            (f"segments/{axis}_evidence", *_RULE[axis]),
            {"sentence": "The verdict in a sentence for a reader without the numbers."},
        ),
    )
    def choice(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
        inputs = read_inputs(warehouse, axis)
        with warehouse.get_connection(read_only=True) as con:
            evidence = con.sql(f"from segments.{axis}_evidence order by k").pl()
        off_reason = None
        if evidence.is_empty():
            off_reason = prepare(inputs.customers, inputs.shares, inputs.spec).off_reason
        if (rule := rule_groups(warehouse, axis)) is not None:
            chosen, asked = choose_rule(evidence, inputs.spec, rule), dict[str, Any]()
        else:
            chosen, asked = _ask_for_k(context, warehouse, evidence, choose_k(evidence, inputs.spec, off_reason), axis)
        told_of_it = {"k": chosen.k, "verdict": chosen.verdict, "in_words": chosen.sentence, "reason": chosen.reason}
        return Computed(chosen.frame(), {**told_of_it, **asked})

    return choice


def _ask_for_k(
    context: dg.AssetExecutionContext, warehouse: Warehouse, evidence: pl.DataFrame, by_rule: Choice, axis: str
) -> tuple[Choice, dict[str, Any]]:
    """A model's choice among the admissible k, where there is a model and more than one to choose from."""
    admissible = evidence.filter("is_admissible").to_dicts()
    if len(admissible) < 2:
        return by_rule, {}
    spec = axis_spec(warehouse, axis)
    with open_desk(context, warehouse, "choose_k") as desk:
        (outcome,) = desk.ask([choose_k_task(f"{spec.title} segments", admissible, by_rule.k)])
    if outcome.written_by == EMBEDDED:
        return by_rule, told([outcome]) if outcome.is_degraded else {}
    k = outcome.answer.k
    reason = render(outcome.answer.reason, choice_facts(admissible)[k])
    return choose_other(evidence, spec, k, outcome.written_by, reason), told([outcome])


def _ask_for_names(
    context: dg.AssetExecutionContext, warehouse: Warehouse, identified: IdentifiedAxis, taken: list[str]
) -> IdentifiedAxis:
    """A model's names for new segments, where there is a model; the rule's stand for small ones and without a model."""
    axis = identified.model.axis
    by_rule = {
        segment.segment_id: segment.name for segment in identified.segments if segment.segment_id in identified.new_ids
    }
    spec, privacy = axis_spec(warehouse, axis), warehouse.settings.privacy
    with warehouse.get_connection(read_only=True) as con:
        currency = source_row(con)[1]
    facts = gather_naming_facts(
        axis, identified.facts, by_rule,
        labels=spec.titles, currency=currency, minimum_cell=privacy.minimum_cell,
        sensitive_categories=privacy.sensitive_categories,
    )  # fmt: skip
    if not facts:
        return identified
    goods = identified.facts.filter(pl.col("fact").str.starts_with("share_of_lines "))["fact"].unique().sort()
    asked = {found.segment_id for found in facts}
    in_use = [*taken, *(found.name for found in identified.segments if found.segment_id not in asked)]
    with open_desk(context, warehouse, "names") as desk:
        (outcome,) = desk.ask(
            [
                names_task(
                    f"{spec.title} segments",
                    facts,
                    in_use,
                    sorted(RESERVED_NAMES),
                    vocabulary=[spec.label(fact.removeprefix("share_of_lines ")) for fact in goods],
                )
            ]
        )
    return identified.named({item.segment_id: item.name for item in outcome.answer.names})


_CUTS = {
    "kept": "The new fit explains no better: the segments stay where they were.",
    "warm": "The segments moved as far as the data asked for, from where they were.",
    "new": "The segments were drawn anew and matched to those before.",
}


def _last_assignments(warehouse: Warehouse, axis: str) -> pl.DataFrame | None:
    """Who was in which segment after the run before: it tells of splits and merges that moved their customers."""
    with warehouse.get_connection(read_only=True) as con:
        if not has_table(con, f"segments/{axis}_assignments"):
            return None
        return con.sql(f"select customer_id, segment_id from segments.{axis}_assignments order by customer_id").pl()


def _model_of(axis: str) -> dg.AssetsDefinition:
    @computed_tables(
        "segments",
        _declare(
            f"segments/{axis}_model",
            f"The {axis} segments as fitted: one row per segment of the newest version, frozen in the state store. "
            "An unchanged fit makes no new version.\n\nGrain: segment_id",
            MODEL_SCHEMA,
            (f"segments/{axis}_choice", *_RULE[axis], *_INPUTS),
        ),
    )
    def model(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
        inputs = read_inputs(warehouse, axis)
        with warehouse.get_connection(read_only=True) as con:
            k = int(con.execute(f"select k from segments.{axis}_choice").fetchall()[0][0])
        customers = inputs.customers.height
        if k == 0:
            return Computed(model_frame(None), {"customers_at_fit": customers, "events": "The axis is off."})
        if (rule := rule_groups(warehouse, axis)) is not None:
            return Computed(rule_model_frame(rule, inputs.spec), {"customers_at_fit": customers, "events": "A rule."})
        prepared = prepare(inputs.customers, inputs.shares, inputs.spec)
        with open_state(warehouse.place.state) as state:
            newest = stored_model(state, axis)
            if newest is not None and newest.fingerprint == prepared.fingerprint(k):
                frozen, words = newest, [f"Nothing changed: version {newest.version} stays."]
            else:
                identities = state.identities()
                taken = [i.name for i in identities if i.axis != axis or i.status == "ended"]
                identified = identify(
                    fit_axis(prepared, k),
                    inputs.customers,
                    inputs.shares,
                    previous=newest,
                    earlier=stored_model(state, axis, newest.version - 1) if newest and newest.version > 1 else None,
                    last=_last_assignments(warehouse, axis),
                    names={i.segment_id: i.name for i in identities if i.axis == axis and i.status == "alive"},
                    ever_used=[i.segment_id for i in identities if i.axis == axis],
                    taken_names=taken,
                )
                gone = [i.name for i in identities if i.axis == axis and i.status == "alive"]
                identified = _ask_for_names(context, warehouse, identified, [*taken, *gone])
                frozen = register(state, warehouse, identified, customers, context.run.run_id)
                words = [f"{event.kind} {event.segment_id} {dict(event.detail)}" for event in identified.events]
                words += [_CUTS[identified.cut]] if newest is not None else []
                if identified.agreement is not None:
                    words.append(f"{identified.agreement:.1%} of today's customers keep their segment.")
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
            ASSIGNMENT_SCHEMA,
            (f"segments/{axis}_model", *_RULE[axis], *_INPUTS),
        ),
    )
    def assignments(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
        inputs = read_inputs(warehouse, axis)
        frozen = model_in_use(warehouse, axis)
        if (rule := rule_groups(warehouse, axis)) is not None:
            return Computed(assign_rule(rule, inputs.customers["customer_id"], inputs.spec))
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


_ASSIGNED = ("segments/stage_assignments", "segments/taste_assignments")


@computed_tables(
    "segments",
    _declare(
        "segments/segment_drivers",
        "What sets each segment apart, feature by feature, strongest first.\n\nGrain: axis, segment_id, feature",
        DRIVER_SCHEMA,
        (*_ASSIGNED, *_INPUTS),
    ),
    _declare(
        "segments/segment_rules",
        "Each segment as a short rule in original units, and how faithful that rule is.\n\nGrain: axis, segment_id",
        RULE_SCHEMA,
        (*_ASSIGNED, *_INPUTS),
    ),
    _declare(
        "segments/drift",
        "Today's customers beside those of the fit: features, segment shares and misfits.\n\nGrain: axis, kind, name",
        {"axis": pl.String, **_DRIFT},
        (*_ASSIGNED, *_INPUTS),
        {"name": "Column of the clustered matrix, segment, or misfits."},
    ),
    _declare(
        "segments/projection",
        "A sample of customers of each axis on the three first principal components; a picture, not evidence.\n\n"
        "Grain: axis, point",
        PROJECTION_SCHEMA,
        (*_ASSIGNED, *_INPUTS),
    ),
    name="segments__explained",
)
def explained(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Mapping[str, Computed]:
    """One pass over the clustered matrix of each axis."""
    drivers, rules = [pl.DataFrame(schema=DRIVER_SCHEMA)], [pl.DataFrame(schema=RULE_SCHEMA)]
    points = [pl.DataFrame(schema=PROJECTION_SCHEMA)]
    drifts = [pl.DataFrame(schema={"axis": pl.String, **_DRIFT})]
    driver_facts: dict[str, Any] = {}
    point_facts: dict[str, Any] = {}
    drift_facts: dict[str, Any] = {}
    has_moved = False
    thresholds = _thresholds(warehouse)
    for axis in AXES:
        frozen = model_in_use(warehouse, axis)
        if frozen is None:
            continue
        inputs = read_inputs(warehouse, axis)
        with warehouse.get_connection(read_only=True) as con:
            assigned = con.sql(f"select customer_id, segment_id, distance from segments.{axis}_assignments").pl()
            names = dict(con.execute(f"select segment_id, name from segments.{axis}_model").fetchall())
        matrix = model_matrix(frozen, inputs.customers, inputs.shares, inputs.spec)
        pipeline, _ = import_pipeline(frozen.preprocessing)
        values, columns = transform(pipeline, matrix.inputs), column_names(pipeline)
        placed = matrix.included_ids.to_frame("customer_id").join(assigned, on="customer_id", maintain_order="left")
        ids = placed["segment_id"]
        found = segment_drivers(matrix, values, columns, ids, inputs.spec)
        drivers.append(found)
        rules.append(segment_rules(matrix, values, columns, ids, inputs.spec, seed=inputs.spec.seed))
        driver_facts[f"{axis}_plot"] = _driver_plot(axis, found, names)
        moved = drift(frozen.reference, values, columns, ids, placed["distance"].to_numpy())
        is_moved, sentence = has_drifted(moved, thresholds)
        has_moved = has_moved or is_moved
        drift_facts[f"{axis}_in_words"] = sentence
        drifts.append(flagged(moved, thresholds).select(pl.lit(axis).alias("axis"), *_DRIFT))
        embedding = None
        if frozen.clusterer is not None:
            clusterer = thaw(frozen.clusterer)
            embedding = clusterer.embed(values) if isinstance(clusterer, EmbeddedKMeans) else None
        projected = project(axis, values, ids, inputs.spec.seed, embedding=embedding)
        points.append(projected.points)
        point_facts |= _projection_facts(warehouse, axis, projected, names)
    return {
        "segments/segment_drivers": Computed(pl.concat(drivers), driver_facts),
        "segments/segment_rules": Computed(pl.concat(rules)),
        "segments/drift": Computed(pl.concat(drifts), {**drift_facts, "has_drifted": has_moved}),
        "segments/projection": Computed(pl.concat(points), point_facts),
    }


def _thresholds(warehouse: Warehouse) -> DriftThresholds:
    wanted = warehouse.settings.segments
    return DriftThresholds(feature=wanted.drift_index, segment=wanted.drift_share, misfit=wanted.drift_misfits)


def _projection_facts(
    warehouse: Warehouse, axis: str, projected: Projection, names: Mapping[str, str]
) -> dict[str, Any]:
    """The picture in two dimensions, and the page in three, written beside the stores."""
    labels = [f"{i} {names.get(i, '')}" for i in projected.points["segment_id"].to_list()]
    first, second, _ = projected.explained
    title = f"{axis.capitalize()} segments"
    page = warehouse.place.projection(axis)
    scratch = page.with_name(page.name + ".tmp")
    scratch.write_text(projection_page(projected.points, projected.explained, names, title), encoding="utf-8")
    scratch.replace(page)
    return {
        f"{axis}_in_three_dimensions": dg.MetadataValue.url(page.as_uri()),
        f"{axis}_plot": plots.scatter(
            projected.points["x"].to_numpy(),
            projected.points["y"].to_numpy(),
            labels,
            title=f"{title} on two principal components",
            x_label=f"first component ({first:.0%} of variance)",
            y_label=f"second component ({second:.0%})",
            caption="A sample of customers. A picture, not evidence.",
        ),
    }


@computed_tables(
    "segments",
    _declare(
        "segments/algorithm_comparison",
        "Every algorithm with as many segments as are in use, side by side on the same matrix. None is chosen here: "
        "`algorithm` in the settings does that.\n\nGrain: axis, algorithm",
        {"axis": pl.String, **COMPARISON_SCHEMA},
        (*_ASSIGNED, *_INPUTS),
        {"stability": "Mean Jaccard of its segments over a few draws of half the customers."},
    ),
)
def algorithm_comparison(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Computed:
    """All algorithms on the matrix of each axis."""
    found = [pl.DataFrame(schema={"axis": pl.String, **COMPARISON_SCHEMA})]
    for axis in AXES:
        frozen = model_in_use(warehouse, axis)
        if frozen is None or frozen.k < 2:
            continue
        inputs = read_inputs(warehouse, axis)
        matrix = model_matrix(frozen, inputs.customers, inputs.shares, inputs.spec)
        pipeline, _ = import_pipeline(frozen.preprocessing)
        values = transform(pipeline, matrix.inputs)
        labels, _, _ = apply_model(frozen, values)
        compared = compare_algorithms(values, column_names(pipeline), frozen.k, inputs.spec.seed, present=labels)
        found.append(compared.select(pl.lit(axis).alias("axis"), *COMPARISON_SCHEMA))
    return Computed(pl.concat(found))


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
