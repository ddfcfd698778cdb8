"""The sensor that folds what the service heard."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from segmentation_assets.defs.events import spool_sensor
from segmentation_assets.delivery.campaign import send_id
from segmentation_assets.delivery.events import refusal
from segmentation_assets.delivery.spool import SpoolWriter
from segmentation_assets.state.events import suppressed_of
from segmentation_assets.state.store import StateStore
from segmentation_assets_tests.service.world import NOW


def said() -> str:
    with dg.instance_for_test() as instance, dg.build_sensor_context(instance=instance) as context:
        result = spool_sensor(context)
    assert isinstance(result, dg.SkipReason)
    return str(result.skip_message)


def test_it_folds_and_says_how_many(store: StateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMENTATION_HOME", str(tmp_path))
    assert said() == "The service has not heard anything yet: HOME has no spool."
    writer = SpoolWriter(tmp_path / "spool")
    writer.append([refusal(send_id("summer", "C1"), NOW, "page").to_json()])
    writer.close()
    assert said() == (
        "1 events in 1 files of the spool: 1 new, 0 known before, 0 of unknown sends; 1 new suppressions; 1 files done."
    )
    assert said() == "No event waits in the spool."
    assert suppressed_of(store, ["C1"]).customers == {"C1"}
