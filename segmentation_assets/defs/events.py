"""Folding the spool: what the service heard gets into the state store every minute, without a run."""

import dagster as dg

from segmentation_assets.delivery.events import FoldError, fold_spool
from segmentation_assets.settings import find_home
from segmentation_assets.state.store import open_state


@dg.sensor(
    minimum_interval_seconds=60,
    description="Moves opens, clicks, refusals and reports that the service heard from HOME/spool into the state "
    "store. Needs no run; the assets delivery/events and delivery/suppressions show them after the next one.",
)
def spool_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Fold, and say how many."""
    home = find_home()
    if not home.spool.is_dir():
        return dg.SkipReason("The service has not heard anything yet: HOME has no spool.")
    try:
        with open_state(home.state) as store:
            report = fold_spool(home.spool, store)
    except FoldError as error:
        return dg.SkipReason(str(error))
    if report.damaged:
        context.log.warning(report.sentence)
    elif report.inserted:
        context.log.info(report.sentence)
    return dg.SkipReason(report.sentence)
