"""Sending in Dagster: the job that sends one approved campaign, and the sensor that asks for it when its time comes.

What is decided is decided in `delivery.outbox`; a person decided before (approval with a schedule).
"""

import dataclasses

import dagster as dg
from filelock import FileLock

from segmentation_assets.delivery.clock import open_clock
from segmentation_assets.delivery.dispatcher import ContactsBusyError, Limits
from segmentation_assets.delivery.events import FoldError
from segmentation_assets.delivery.journal import JournalError
from segmentation_assets.delivery.outbox import (
    SendAttempt,
    decide_sends,
    make_dispatcher,
    scheduled_campaigns,
    start_published,
)
from segmentation_assets.orchestration.run_lock import fail_killed_runs
from segmentation_assets.settings import find_home, load_settings
from segmentation_assets.state.outbox import next_due
from segmentation_assets.state.store import open_state
from segmentation_assets.warehouse.connection import WarehouseBusyError, WarehouseMissingError

#: On every run the sensor requests: which campaign under which approval.
SEND_TAG = "segmentation/send"
#: A run waits this long for what is due later (deferred, quiet hours), then the sensor asks for another.
_PATIENCE_SECONDS = 120.0
_ENDINGS = {
    dg.DagsterRunStatus.SUCCESS: "ok",
    dg.DagsterRunStatus.FAILURE: "failed",
    dg.DagsterRunStatus.CANCELED: "failed",
}


class SendConfig(dg.Config):
    """Which campaign to send; its id is that of its brief."""

    campaign_id: str


@dg.op(description="Sends what is due of an approved campaign; what cannot be sent yet waits in the outbox.")
def send_due_messages(context: dg.OpExecutionContext, config: SendConfig) -> None:
    """Neither this op nor its job asks for the warehouse, so the run lock stays free for those who write tables."""
    place = find_home()
    settings = load_settings(place)
    own_lock = place.path / "locks" / f"{context.run_id}.lock"  # says that this run is alive (orchestration.run_lock)
    own_lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(own_lock, timeout=0):
        try:
            with open_state(place.state) as store:
                started, clock = start_published(place, settings, store, config.campaign_id)
                limits = dataclasses.replace(Limits.of(settings.delivery), patience_seconds=_PATIENCE_SECONDS)
                dispatcher = make_dispatcher(
                    place, settings, store, started.campaign, clock, limits=limits,
                    tell=lambda counts: context.log.info(f"{config.campaign_id}: {dict(counts)}"),
                )  # fmt: skip
                done = dispatcher.run()
        except (
            ValueError,
            JournalError,
            FoldError,
            ContactsBusyError,
            WarehouseBusyError,
            WarehouseMissingError,
        ) as error:
            raise dg.Failure(str(error), allow_retries=False) from None
    own_lock.unlink(missing_ok=True)
    for note in done.notes:
        context.log.warning(note)
    context.add_output_metadata({**done.counts, "put_into_the_outbox": started.filled, "is_finished": done.is_finished})
    if done.sentence:
        raise dg.Failure(done.sentence, metadata={**done.counts}, allow_retries=False)


@dg.job(description="Sends one approved campaign: `campaign_id` in the configuration of send_due_messages.")
def send_campaign() -> None:
    """One step."""
    send_due_messages()


@dg.sensor(
    job=send_campaign,
    minimum_interval_seconds=60,
    description="Requests the sending of campaigns that a person approved with a schedule, when their start has come, "
    "and again while messages of them are due.",
)
def approved_campaigns_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Read the state store and this instance's runs; DuckDB is not opened."""
    place = find_home()
    if not place.state.exists():
        return dg.SkipReason(f"Nothing was run in {place.path} yet.")
    fail_killed_runs(context.instance, place)
    settings = load_settings(place)
    if settings.delivery.transport == "file":
        return dg.SkipReason('delivery.transport is "file": nothing is sent by itself. Set it to "smtp".')
    with open_state(place.state) as store:
        scheduled = scheduled_campaigns(store)
        if not scheduled:
            return dg.SkipReason("No campaign is approved to be sent by itself.")
        clock = open_clock(store, settings.source.name, settings.synthetic.as_of)
        due = {campaign.campaign_id: next_due(store, campaign.campaign_id) for campaign, _ in scheduled}
        now = clock()
    attempts = {}
    for campaign, approval_id in scheduled:
        runs = context.instance.get_runs(dg.RunsFilter(tags={SEND_TAG: f"{campaign.campaign_id}/{approval_id}"}))
        attempts[campaign.campaign_id, approval_id] = [
            SendAttempt(run.run_id, _ENDINGS.get(run.status, "in flight")) for run in reversed(list(runs))
        ]
    requests, reason = decide_sends(scheduled, attempts, due, now)
    if not requests:
        return dg.SkipReason(reason)
    context.log.info(reason)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=f"send-{one.campaign_id}-{one.approval_id}-{one.attempt}",
                run_config={"ops": {"send_due_messages": {"config": {"campaign_id": one.campaign_id}}}},
                tags={SEND_TAG: f"{one.campaign_id}/{one.approval_id}"},
            )
            for one in requests
        ]
    )


@dg.definitions
def sending() -> dg.Definitions:
    """The job and its sensor."""
    return dg.Definitions(jobs=[send_campaign], sensors=[approved_campaigns_sensor])
