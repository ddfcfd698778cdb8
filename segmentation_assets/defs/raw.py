"""Stage raw: the source's tables as it gave them, contacts apart."""

from collections.abc import Iterator

import dagster as dg

from segmentation_assets.delivery.keys import KeyMismatchError
from segmentation_assets.delivery.rights import forgotten_people
from segmentation_assets.orchestration.table_steps import OWNER, table_metadata
from segmentation_assets.orchestration.warehouse import Warehouse
from segmentation_assets.settings import refuse_other_source
from segmentation_assets.sources.choice import stage_source
from segmentation_assets.sources.contract import CONTRACT, WAREHOUSE_TABLES
from segmentation_assets.sources.forgotten import ForgottenPeople
from segmentation_assets.sources.loading import load_raw
from segmentation_assets.state.store import open_state

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


def _forgotten(warehouse: Warehouse) -> ForgottenPeople | None:
    """Whose rows are not loaded. Asked before anything is staged: without the key nobody could be left out."""
    with open_state(warehouse.place.state) as store:
        try:
            return forgotten_people(store, warehouse.place.secret_key)
        except KeyMismatchError as error:
            raise dg.Failure(
                f"Customers of this HOME asked to be forgotten, and they are recognised with the key alone, so nothing "
                f"was loaded. {error}",
                allow_retries=False,
            ) from None


@dg.multi_asset(name="raw", specs=[_spec(name) for name in _KEYS], can_subset=True)
def raw(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[dg.MaterializeResult]:
    """Stage the source, then swap all its tables in at once: one snapshot, whichever of them was asked for."""
    refuse_other_source(warehouse.place, warehouse.settings)
    forgotten = _forgotten(warehouse)
    description = stage_source(warehouse.settings, warehouse.place)
    load_raw(
        warehouse.place.staging,
        description,
        warehouse.place.warehouse,
        warehouse.place.people,
        warehouse.settings.engine_limits(),
        forgotten=forgotten,
    )
    with warehouse.get_connection(read_only=True, with_people=True) as con:
        for key in sorted(context.selected_asset_keys):
            yield dg.MaterializeResult(asset_key=key, metadata=table_metadata(con, "/".join(key.path)))
