"""Jobs, the schedule and the sensors. What they decide is decided in `segmentation.recluster`."""

import datetime as dt
import json
from collections.abc import Iterator

import dagster as dg

from segmentation_assets.orchestration.run_lock import fail_killed_runs
from segmentation_assets.segmentation.recluster import Attempt, campaigns_to_prepare, decide_recluster
from segmentation_assets.settings import find_home, load_settings

AXES = ("stage", "taste")
#: On every run the growth sensor requests: which fit it is to replace.
EPISODE_TAG = "segmentation/fit_to_replace"

#: What was sent and what came of it: read from the state store, so that plans and results are of now, and profiles and
#: copy know how the last messages were answered.
_SENT = dg.AssetSelection.groups("delivery", "results") | dg.AssetSelection.assets(
    dg.AssetKey(["features", "engagement"])
)
_MODEL_KEYS = [dg.AssetKey(["segments", f"{axis}_{part}"]) for axis in AXES for part in ("evidence", "choice", "model")]
_SEARCH = dg.AssetSelection.assets(*_MODEL_KEYS)

full_refresh = dg.define_asset_job(
    "full_refresh",
    selection=dg.AssetSelection.all(),
    description="Everything: load the source, clean, search for k, fit, assign, profile, match, draft, publish.",
)
recluster = dg.define_asset_job(
    "recluster",
    selection=_SEARCH.downstream() | _SENT,
    description="A new search for k on the tables that are loaded, and everything that follows from it.",
)
_FIT = dg.AssetSelection.assets(*(dg.AssetKey(["segments", f"{axis}_model"]) for axis in AXES))
refit = dg.define_asset_job(
    "refit",
    selection=_FIT.downstream() | _SENT,
    description="The models fitted again with the number of segments chosen before, and everything that follows.",
)
assign = dg.define_asset_job(
    "assign",
    selection=dg.AssetSelection.all() - _SEARCH,
    description="Load the source and assign its customers with the frozen models, without fitting.",
)
campaigns = dg.define_asset_job(
    "campaigns",
    selection=dg.AssetSelection.assets(dg.AssetKey(["campaigns", "product_choices"])).downstream() | _SENT,
    description="Matches, offers, campaigns and drafts again, for the products a marketer has chosen since, the plan "
    "of who is written to, and what was sent before has earned.",
)


_ENDINGS = {
    dg.DagsterRunStatus.SUCCESS: "ok",
    dg.DagsterRunStatus.FAILURE: "failed",
    dg.DagsterRunStatus.CANCELED: "failed",
}


def _number(instance: dg.DagsterInstance, key: dg.AssetKey, name: str) -> tuple[int | None, str]:
    """A number from the metadata of the newest materialisation of an asset, and what tells that one from others."""
    event = instance.get_latest_materialization_event(key)
    if event is None or event.asset_materialization is None:
        return None, ""
    value = event.asset_materialization.metadata.get(name)
    return (int(value.value) if value is not None else None), f"{event.timestamp:.3f}"  # type: ignore[arg-type]


def _drift(instance: dg.DagsterInstance, fit: str) -> str:
    """Why today's customers are unlike those of the fit, from the metadata of a comparison made since; or nothing."""
    event = instance.get_latest_materialization_event(dg.AssetKey(["segments", "drift"]))
    if event is None or event.asset_materialization is None or not fit or event.timestamp < float(fit):
        return ""
    told = event.asset_materialization.metadata
    if not told.get("has_drifted") or not told["has_drifted"].value:
        return ""
    return " ".join(str(told[name].value) for axis in AXES if (name := f"{axis}_in_words") in told)


@dg.sensor(
    job=recluster,
    minimum_interval_seconds=60,
    description="Requests the re-clustering when the customer count has grown by the threshold since the last fit, "
    "and by setting when customers have drifted away from those of the fit.",
)
def customer_growth_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Compare newest and fitted customer counts in the event log; DuckDB is not opened."""
    home = find_home()
    fail_killed_runs(context.instance, home)
    now, _ = _number(context.instance, dg.AssetKey(["clean", "customers"]), "dagster/row_count")
    found = [_number(context.instance, dg.AssetKey(["segments", f"{axis}_model"]), "customers_at_fit") for axis in AXES]
    fitted = [number for number in found if number[0]]
    at_fit, fit = min(fitted) if fitted else (None, "")
    earlier = context.instance.get_runs(dg.RunsFilter(tags={EPISODE_TAG: fit})) if fit else []
    attempts = [Attempt(run.run_id, _ENDINGS.get(run.status, "in flight")) for run in reversed(list(earlier))]
    wanted = load_settings(home).automation
    drift = _drift(context.instance, fit) if wanted.recluster_on_drift else ""
    decision = decide_recluster(now, at_fit, wanted.growth_threshold, attempts, drift=drift)
    if not decision.is_requested:
        return dg.SkipReason(decision.reason)
    context.log.info(decision.reason)
    return dg.RunRequest(run_key=f"growth-{fit}-{decision.attempt}", tags={EPISODE_TAG: fit})


@dg.sensor(
    job=full_refresh,
    minimum_interval_seconds=3600,
    description="Requests a refresh a set number of days before a campaign of the shop's calendar starts.",
)
def campaign_start_sensor(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """The one place that asks the clock: a run is due by the calendar; what it computes is not."""
    lead = load_settings(find_home()).automation.campaign_lead_days
    event = context.instance.get_latest_materialization_event(dg.AssetKey(["clean", "campaigns"]))
    stored = event.asset_materialization.metadata.get("starts") if event and event.asset_materialization else None
    if stored is None:
        yield dg.SkipReason("No campaigns are materialised yet.")
        return
    starts = [(name, dt.date.fromisoformat(day)) for name, day in json.loads(json.dumps(stored.value))]
    today = dt.datetime.now(dt.UTC).date()
    due = campaigns_to_prepare(starts, today, lead)
    if not due:
        coming = sorted(day for _, day in starts if day > today)
        after = f"the next starts on {coming[0]}" if coming else "none is to come"
        yield dg.SkipReason(f"None of {len(starts)} campaigns starts within {lead} days from {today}; {after}.")
    for name, day in due:
        yield dg.RunRequest(run_key=f"campaign-{name}-{day}", tags={"segmentation/campaign": name})


@dg.run_failure_sensor(description="Writes one line for each failed run; put a message to your team here.")
def failed_run_line(context: dg.RunFailureSensorContext) -> None:
    """A log line by default."""
    context.log.error(f"Run {context.dagster_run.run_id} of {context.dagster_run.job_name} failed.")


@dg.definitions
def automation() -> dg.Definitions:
    """All of them; a function, because the schedule's time is a setting and none is read when a module is imported."""
    daily_assign = dg.ScheduleDefinition(
        name="daily_assign",
        job=assign,
        cron_schedule=load_settings(find_home()).automation.assign_cron,
        execution_timezone="UTC",
        description="New customers get their segment every day; segments themselves stay as they are.",
    )
    return dg.Definitions(
        jobs=[full_refresh, recluster, refit, assign, campaigns],
        schedules=[daily_assign],
        sensors=[customer_growth_sensor, campaign_start_sensor, failed_run_line],
    )
