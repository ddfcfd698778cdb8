"""Stage raw: the source's tables as it gave them, contacts apart."""

from collections.abc import Iterator

import dagster as dg

from segmentation_assets.orchestration.table_steps import OWNER, table_metadata
from segmentation_assets.orchestration.warehouse import Warehouse
from segmentation_assets.settings import refuse_other_source
from segmentation_assets.sources.choice import stage_source
from segmentation_assets.sources.contract import CONTRACT, WAREHOUSE_TABLES
from segmentation_assets.sources.loading import load_raw

_KEYS = {name: dg.AssetKey(["raw", name]) for name in WAREHOUSE_TABLES} | {
    "contacts": dg.AssetKey(["people", "raw_contacts"]),
    "source": dg.AssetKey(["raw", "source"]),
}


def _spec(name: str) -> dg.AssetSpec:
    if name == "source":
        about = "The source itself, one row: title, as-of date (today, for every figure) and currency."
    else:
        about = f"{CONTRACT[name].description} Raw: as the source gave it, faults and all."
    return dg.AssetSpec(
        _KEYS[name],
        group_name="raw",
        description=about,
        owners=[OWNER],
        kinds={"duckdb", "python"},
        tags={"stage": "raw", **({"personal": ""} if name == "contacts" else {})},
        metadata={"dagster/table_name": ".".join(_KEYS[name].path)},
    )


@dg.multi_asset(name="raw", specs=[_spec(name) for name in _KEYS], can_subset=True)
def raw(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[dg.MaterializeResult]:
    """Stage the source, then swap all its tables in at once: one snapshot, whichever of them was asked for."""
    refuse_other_source(warehouse.place, warehouse.settings)
    description = stage_source(warehouse.settings, warehouse.place)
    load_raw(
        warehouse.place.staging,
        description,
        warehouse.place.warehouse,
        warehouse.place.people,
        warehouse.settings.engine_limits(),
    )
    with warehouse.get_connection(read_only=True, with_people=True) as con:
        for key in sorted(context.selected_asset_keys):
            yield dg.MaterializeResult(asset_key=key, metadata=table_metadata(con, "/".join(key.path)))
