"""Which source the settings name, what it says of itself, and staging it.

The one place that tells the synthetic world from mapped files; everything after staging treats them alike.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from segmentation_assets.settings import Home, Settings, axis_settings
from segmentation_assets.sources.description import SourceDescription, SourceError, find_source, read_description
from segmentation_assets.sources.loading import prepare_staging
from segmentation_assets.sources.mapped import stage_mapped
from segmentation_assets.sources.synthetic.continuation import (
    ContinuationError,
    SimulatedWorld,
    later_as_of,
    stage_later_days,
)
from segmentation_assets.sources.synthetic.settings import WorldSettings
from segmentation_assets.sources.synthetic.world import stage_world
from segmentation_assets.warehouse.sql_models import SQL_ROOT

SYNTHETIC = "synthetic"


def world_settings(settings: Settings) -> WorldSettings:
    """The synthetic world that the settings ask for."""
    return WorldSettings(
        customers=settings.synthetic.customers,
        seed=settings.seed,
        as_of=settings.synthetic.as_of,
        dirt_share=settings.synthetic.dirt_share,
        lines_per_customer=settings.synthetic.lines_per_customer,
        has_taste=settings.synthetic.has_taste,
    )


def describe_source(settings: Settings) -> SourceDescription:
    """What the chosen source says of itself, without reading its data.

    Raises SourceError, and SettingsError where its wishes for the axes are none the settings know.
    """
    if settings.source.name == SYNTHETIC:
        world = world_settings(settings)
        title = f"A synthetic shop with {world.customers:,} customers"
        return SourceDescription(SYNTHETIC, title, world.currency, world.as_of)
    description = read_description(find_source(settings.source.name, SQL_ROOT))
    for axis, wishes in description.axes.items():
        axis_settings(settings, axis, wishes)
    return description


def stage_source(settings: Settings, home: Home) -> SourceDescription:
    """Stage the chosen source's tables in `home.staging`. Raises what `describe_source` does; nothing changed then."""
    description = describe_source(settings)
    if settings.source.name == SYNTHETIC:
        world = world_settings(settings)
        try:
            later_as_of(world, home.simulated)  # refuses another world's days before anything is made
        except ContinuationError as error:
            raise SourceError(str(error)) from None
        prepare_staging(home.staging)
        stage_world(world, home.staging, home.answer_key)
        return replace(description, as_of=stage_later_days(world, home.simulated, home.staging))
    return stage_mapped(
        find_source(settings.source.name, SQL_ROOT),
        Path(settings.source.data) if settings.source.data else None,
        home.staging,
        inputs=settings.source.inputs,
        engine=settings.engine_limits(),
    )


def simulated_world(settings: Settings, home: Home) -> SimulatedWorld:
    """The synthetic world as its simulated audience knows it.

    Raises ContinuationError where another world's days are in HOME.
    """
    return SimulatedWorld(world_settings(settings), home.simulated, home.answer_key)
