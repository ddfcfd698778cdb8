"""The front door: loads `defs/` and adds the resources, nothing else."""

from pathlib import Path

import dagster as dg

from segmentation_assets.orchestration.warehouse import Warehouse
from segmentation_assets.settings import find_home


@dg.definitions
def defs() -> dg.Definitions:
    """Every asset, check, job, schedule and sensor, on the HOME that the environment names."""
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
        dg.Definitions(
            resources={"warehouse": Warehouse.at(find_home())},
            # One process: DuckDB, polars and scikit-learn use all cores inside a step, and a process per step would
            # pay seconds of imports each.
            executor=dg.in_process_executor,
        ),
    )
