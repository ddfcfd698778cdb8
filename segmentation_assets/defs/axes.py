"""Between stores and the segmentation room: its inputs read from the warehouse, its models kept in the state store."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import duckdb
import polars as pl

from segmentation_assets.lifetime.rfm import RFM_GROUPS
from segmentation_assets.orchestration.warehouse import Warehouse, source_row
from segmentation_assets.segmentation.fit import IdentifiedAxis, Segment
from segmentation_assets.segmentation.hygiene import refuse_protected, same_features
from segmentation_assets.segmentation.model import FrozenModel
from segmentation_assets.segmentation.spec import AxisSpec, AxisSpecError, spec_from_settings
from segmentation_assets.settings import SettingsError, axis_settings
from segmentation_assets.sources.choice import describe_source
from segmentation_assets.sources.description import nearest
from segmentation_assets.state.store import EventRecord, IdentityRecord, ModelRecord, StateStore, open_state
from segmentation_assets.warehouse import tables
from segmentation_assets.warehouse.connection import quote

AXES = ("stage", "taste")

#: What an axis is called in the settings, and in the room.
_SPEC_KEYS = {"features": "numeric", "categories": "categorical", "shares": "share_dimensions"}


@dataclass(frozen=True)
class AxisInputs:
    """Spec and tables of one axis: `customers` one row each, `shares` one row per customer, dimension and value."""

    spec: AxisSpec
    customers: pl.DataFrame
    shares: pl.DataFrame | None


def axis_spec(warehouse: Warehouse, axis: str) -> AxisSpec:
    """The spec of an axis: defaults, the source's wishes, the settings'.

    Raises AxisSpecError when it would be made of protected attributes, or of the same features as the other axis.
    """
    specs = {name: _spec_of(warehouse, name) for name in AXES}
    refuse_protected(specs[axis], describe_source(warehouse.settings).protected)
    if twice := same_features(*specs.values()):
        raise AxisSpecError(twice)
    return specs[axis]


def _spec_of(warehouse: Warehouse, axis: str) -> AxisSpec:
    settings = warehouse.settings
    wishes = axis_settings(settings, axis, describe_source(settings).axes.get(axis, {}))
    given = {_SPEC_KEYS.get(name, name): value for name, value in wishes.items()}
    if "share_columns" in given and "share_dimensions" not in given:
        given["share_dimensions"] = []  # amounts per category instead of order lines
    given |= {
        "share_floor": settings.segments.share_floor,
        "minimum_customers": settings.segments.minimum_customers,
        "stability_floor": settings.segments.stability_floor,
        "seed": settings.seed,
    }
    return spec_from_settings(axis, given)


def read_inputs(warehouse: Warehouse, axis: str) -> AxisInputs:
    """The tables an axis is built from, only the columns it names; attributes of the source beside the features."""
    spec = axis_spec(warehouse, axis)
    wanted = [feature.name for feature in spec.numeric] + [*spec.categorical, *spec.share_columns]
    with warehouse.get_connection(read_only=True) as con:
        features = _names(con, "features/customer_features")
        attributes = [name for name in _names(con, "clean/customer_attributes") if name not in features]
        unknown = [name for name in wanted if name not in features and name not in attributes]
        if unknown:
            hints = " ".join(
                f"{name}:{nearest(name, [*features, *attributes]) or ' nothing near it.'}" for name in unknown
            )
            raise SettingsError(
                f"The {axis} axis asks for columns that neither features.customer_features nor "
                f"clean.customer_attributes has. {hints}"
            )
        always = ["customer_id", "is_buyer", "order_count", "monetary_amount"]
        own = [f"f.{quote(name)}" for name in dict.fromkeys([*always, *wanted]) if name in features]
        extra = [f"a.{quote(name)}" for name in dict.fromkeys(wanted) if name in attributes]
        joined = "left join clean.customer_attributes a using (customer_id)" if extra else ""
        customers = con.sql(
            f"select {', '.join(own + extra)} from features.customer_features f {joined} order by customer_id"
        ).pl()
        shares = None
        if spec.share_dimensions:
            shares = con.sql(
                "select customer_id, dimension, value, line_count, product_count from features.customer_shares "
                f"where dimension in ({', '.join(repr(str(d)) for d in spec.share_dimensions)}) "
                "order by customer_id, dimension, value"
            ).pl()
    return AxisInputs(spec, customers, shares)


def rule_groups(warehouse: Warehouse, axis: str) -> pl.DataFrame | None:
    """The RFM group of each customer (null for none) where the settings put the rule in the clusters' place."""
    if axis != "stage" or warehouse.settings.segments.stage_by != "rfm":
        return None
    with warehouse.get_connection(read_only=True) as con:
        found = con.sql("select customer_id, rfm_group from value.customer_rfm order by customer_id").pl()
    return found.with_columns(pl.when(pl.col("rfm_group").is_in(RFM_GROUPS)).then(pl.col("rfm_group")))


def _names(con: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    return [facts.name for facts in tables.describe(con, table)]


def stored_model(state: StateStore, axis: str, version: int | None = None) -> FrozenModel | None:
    """The newest frozen model of an axis, or one version of it."""
    record = state.latest_model(axis) if version is None else state.model(axis, version)
    if record is None:
        return None
    ids = tuple(segment.segment_id for segment in state.segments_of(axis, record.version))
    return FrozenModel.from_dict(dataclasses.asdict(record), ids)


def model_in_use(warehouse: Warehouse, axis: str) -> FrozenModel | None:
    """The frozen model that segments.AXIS_model names; it and the state store may differ after a crash."""
    with warehouse.get_connection(read_only=True) as con:
        versions = con.execute(f"select distinct version from segments.{axis}_model").fetchall()
    if not versions:
        return None
    with open_state(warehouse.place.state) as state:
        return stored_model(state, axis, versions[0][0])


def segments_of(state: StateStore, model: FrozenModel) -> list[Segment]:
    """The segments of a stored model, with their present names."""
    return [
        Segment(found.segment_id, found.cluster_index or 0, found.name, found.customers or 0)
        for found in state.segments_of(model.axis, model.version)
    ]


def register(
    state: StateStore, warehouse: Warehouse, identified: IdentifiedAxis, customers: int, run_id: str
) -> FrozenModel:
    """Store a fit as the next version, with its segments and what happened to them."""
    with warehouse.get_connection(read_only=True) as con:
        as_of = source_row(con)[0]
    model = identified.model
    stored = state.register_model(
        ModelRecord(**(model.as_dict() | {"customers_at_fit": customers}), as_of=as_of, created_by_run=run_id),
        [
            IdentityRecord(
                model.axis, segment.segment_id, segment.name,
                cluster_index=segment.cluster_index, customers=segment.customers,
            )
            for segment in identified.segments
        ],
        [EventRecord(model.axis, event.kind, event.segment_id, event.detail) for event in identified.events],
    )  # fmt: skip
    return FrozenModel.from_dict(dataclasses.asdict(stored), model.segment_ids)
