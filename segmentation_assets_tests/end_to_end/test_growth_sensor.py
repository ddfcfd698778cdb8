"""The growth sensor on a real HOME: it asks once for the re-clustering that growth calls for, then is content."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from segmentation_assets.definitions import defs
from segmentation_assets.defs.automation import campaign_start_sensor, customer_growth_sensor
from segmentation_assets.orchestration.execution import execute_job
from segmentation_assets.settings import Home


def _tick(home: Path, monkeypatch: pytest.MonkeyPatch) -> dg.RunRequest | dg.SkipReason:
    monkeypatch.setenv("SEGMENTATION_HOME", str(home))
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    with dg.DagsterInstance.get() as instance:
        result = customer_growth_sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(result, dg.RunRequest | dg.SkipReason)
    return result


def test_without_growth_it_skips_with_its_numbers(home: Path, monkeypatch: pytest.MonkeyPatch, read: Any) -> None:
    skip = _tick(home, monkeypatch)
    assert isinstance(skip, dg.SkipReason)
    count = read.one(home / "warehouse.duckdb", "select count(*) from clean.customers")
    assert skip.skip_message == (
        f"{count} customers against {count} at the last fit (+0.0%); the threshold is +10.0%: no re-clustering."
    )


@pytest.mark.slow
def test_growth_requests_one_reclustering_which_is_done_and_then_it_skips(
    grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any
) -> None:
    home = Path(shutil.copytree(grown / "home", tmp_path / "home"))
    first, second = _tick(home, monkeypatch), _tick(home, monkeypatch)
    assert isinstance(first, dg.RunRequest)
    assert isinstance(second, dg.RunRequest)
    assert first.run_key == second.run_key  # one run, however often it is asked for before that begins
    outcome = execute_job(Home(home), "recluster", defs, tags=first.tags)
    assert outcome.is_ok, outcome.failures
    skip = _tick(home, monkeypatch)
    assert isinstance(skip, dg.SkipReason)
    count = read.one(home / "warehouse.duckdb", "select count(*) from clean.customers")
    assert f"{count} customers against {count} at the last fit" in str(skip.skip_message)
    assert read.one(home / "warehouse.duckdb", "select max(customers_at_fit) from segments.stage_model") == count


def test_the_campaign_sensor_knows_the_calendar_from_the_event_log(
    home: Path, monkeypatch: pytest.MonkeyPatch, read: Any
) -> None:
    monkeypatch.setenv("SEGMENTATION_HOME", str(home))
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    with dg.DagsterInstance.get() as instance:
        (skip,) = list(campaign_start_sensor(dg.build_sensor_context(instance=instance)))
    assert isinstance(skip, dg.SkipReason)
    count = read.one(home / "warehouse.duckdb", "select count(*) from clean.campaigns")
    assert f"None of {count} campaigns starts within 7 days" in str(skip.skip_message)
