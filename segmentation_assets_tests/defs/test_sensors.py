"""The sensors read the event log and decide by recorded outcomes; DuckDB is not opened."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import dagster as dg
import pytest

from segmentation_assets.defs.automation import EPISODE_TAG, campaign_start_sensor, customer_growth_sensor


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEGMENTATION_HOME", str(tmp_path))
    return tmp_path


def record(instance: dg.DagsterInstance, key: str, **metadata: object) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(key.split("/"), metadata=metadata))


def grown(instance: dg.DagsterInstance, now: int = 11_500, at_fit: int = 10_000) -> None:
    record(instance, "segments/stage_model", customers_at_fit=at_fit)
    record(instance, "segments/taste_model", customers_at_fit=at_fit)
    record(instance, "clean/customers", **{"dagster/row_count": now})


def tick(instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    result = customer_growth_sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(result, dg.RunRequest | dg.SkipReason)
    return result


def launch(instance: dg.DagsterInstance, request: dg.RunRequest, status: dg.DagsterRunStatus) -> None:
    """What the daemon does with a request: a run with its tags; here it also ends at once."""

    @dg.job(name="recluster")
    def work() -> None:
        pass

    instance.create_run_for_job(work, tags=dict(request.tags), status=status)


def test_growth_from_10000_to_11500_requests_one_reclustering_and_only_one() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        grown(instance)
        request = tick(instance)
        assert isinstance(request, dg.RunRequest)
        launch(instance, request, dg.DagsterRunStatus.STARTING)
        skip = tick(instance)
        assert isinstance(skip, dg.SkipReason)
        assert "is already on it" in str(skip.skip_message)


def test_below_the_threshold_it_skips_with_its_numbers() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        grown(instance, now=10_500)
        skip = tick(instance)
        assert isinstance(skip, dg.SkipReason)
        assert skip.skip_message == (
            "10,500 customers against 10,000 at the last fit (+5.0%); the threshold is +10.0%: no re-clustering."
        )


def test_failed_recluster_is_requested_again_at_most_three_times() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        grown(instance)
        keys = []
        for _ in range(3):
            request = tick(instance)
            assert isinstance(request, dg.RunRequest)
            keys.append(request.run_key)
            launch(instance, request, dg.DagsterRunStatus.FAILURE)
        assert len(set(keys)) == 3
        skip = tick(instance)
        assert isinstance(skip, dg.SkipReason)
        assert "3 requests failed, the last in run" in str(skip.skip_message)


def test_a_recluster_whose_process_was_killed_is_noticed_and_requested_again(home: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        grown(instance)
        request = tick(instance)
        assert isinstance(request, dg.RunRequest)
        launch(instance, request, dg.DagsterRunStatus.STARTED)
        (run,) = instance.get_runs(dg.RunsFilter(tags={EPISODE_TAG: request.tags[EPISODE_TAG]}))
        assert isinstance(tick(instance), dg.SkipReason)  # it has only just started
        (home / "locks").mkdir()
        (home / "locks" / f"{run.run_id}.lock").touch()  # it had its lock, and nobody holds it any more
        again = tick(instance)
        assert isinstance(again, dg.RunRequest)
        assert again.run_key != request.run_key
        dead = instance.get_run_by_id(run.run_id)
        assert dead is not None
        assert dead.status == dg.DagsterRunStatus.FAILURE


def test_a_new_fit_begins_a_new_episode() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        grown(instance)
        request = tick(instance)
        assert isinstance(request, dg.RunRequest)
        launch(instance, request, dg.DagsterRunStatus.SUCCESS)
        grown(instance, now=11_500, at_fit=11_500)
        skip = tick(instance)
        assert isinstance(skip, dg.SkipReason)
        assert "11,500 customers against 11,500" in str(skip.skip_message)


def test_drift_requests_a_reclustering_only_when_the_settings_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Customers differ from those of the fit. Recency has shifted."
    with dg.DagsterInstance.ephemeral() as instance:
        grown(instance, now=10_100)
        record(instance, "segments/drift", has_drifted=True, stage_in_words=said)
        assert isinstance(tick(instance), dg.SkipReason)
        monkeypatch.setenv("SEGMENTATION_AUTOMATION__RECLUSTER_ON_DRIFT", "true")
        request = tick(instance)
        assert isinstance(request, dg.RunRequest)
        launch(instance, request, dg.DagsterRunStatus.SUCCESS)
        grown(instance, now=10_100, at_fit=10_100)  # the new fit: the comparison before it says nothing of it
        assert isinstance(tick(instance), dg.SkipReason)
        record(instance, "segments/drift", has_drifted=False, stage_in_words="Customers are like those of the fit.")
        assert isinstance(tick(instance), dg.SkipReason)


def test_nothing_materialised_is_a_skip_with_a_reason() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        skip = tick(instance)
        assert isinstance(skip, dg.SkipReason)
        assert skip.skip_message == "No customers are materialised yet."


def test_a_campaign_that_starts_within_the_lead_requests_one_refresh() -> None:
    today = dt.datetime.now(dt.UTC).date()
    with dg.DagsterInstance.ephemeral() as instance:
        starts = [["K1", str(today + dt.timedelta(days=3))], ["K2", str(today + dt.timedelta(days=30))]]
        record(instance, "clean/campaigns", starts=starts)
        (request,) = list(campaign_start_sensor(dg.build_sensor_context(instance=instance)))
        assert isinstance(request, dg.RunRequest)
        assert request.run_key == f"campaign-K1-{today + dt.timedelta(days=3)}"


def test_no_campaign_due_says_when_the_next_one_is() -> None:
    today = dt.datetime.now(dt.UTC).date()
    with dg.DagsterInstance.ephemeral() as instance:
        record(instance, "clean/campaigns", starts=[["K2", str(today + dt.timedelta(days=30))]])
        (skip,) = list(campaign_start_sensor(dg.build_sensor_context(instance=instance)))
        assert isinstance(skip, dg.SkipReason)
        assert f"the next starts on {today + dt.timedelta(days=30)}" in str(skip.skip_message)
