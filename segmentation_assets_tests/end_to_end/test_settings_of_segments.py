"""Settings of the segments take effect in the graph: another algorithm, and a rule in the clusters' place."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from segmentation_assets.lifetime.rfm import RFM_GROUPS

SETTINGS = """
[segments]
stage_by = "rfm"

[segments.taste]
algorithm = "mixture"
"""


@pytest.mark.slow
def test_another_algorithm_is_a_new_version_with_its_moves_and_a_rule_takes_the_clusters_place(
    quick: Any, home: Path, tmp_path: Path, read: Any
) -> None:
    warehouse = home / "warehouse.duckdb"
    before = dict(read(warehouse, "select segment_id, name from segments.taste_model"))
    settings = tmp_path / "rules.toml"
    settings.write_text(SETTINGS, encoding="utf-8")
    ended = quick("run", "--job", "recluster", "--home", home, env={"SEGMENTATION_SETTINGS": str(settings)})
    assert ended.code == 0, ended.words

    # The mixture is another fit: a new version, every id kept with its name or declared ended, and the moves between.
    assert read(warehouse, "select distinct version, algorithm from segments.taste_model") == [(2, "mixture")]
    after = dict(read(warehouse, "select segment_id, name from segments.taste_model"))
    assert {i: name for i, name in after.items() if i in before} == {i: before[i] for i in after if i in before}
    with sqlite3.connect(home / "state.sqlite") as state:
        ended_ids = {row[0] for row in state.execute("select segment_id from identity_events where kind = 'death'")}
    assert set(before) == (set(after) & set(before)) | ended_ids
    moves = "from segments.segment_moves where axis = 'taste' and from_version = 1 and to_version = 2"
    assert read.one(warehouse, f"select sum(customers) {moves}") == read.one(
        warehouse, "select count(*) from clean.customers"
    )
    assert {to for (to,) in read(warehouse, f"select distinct to_segment_id {moves}")} == {"T0", *after}

    # The rule: its groups under its own ids in every table people read, and no model of it in the store.
    names = {str(name) for (name,) in read(warehouse, "select name from segments.stage_model")}
    assert names <= set(RFM_GROUPS)
    assert read(warehouse, "select distinct version, algorithm from segments.stage_model") == [(0, "rfm")]
    assert read(warehouse, "select k, chosen_by from segments.stage_choice") == [(len(names), "settings")]
    assert read.one(warehouse, "select count(*) from profiles.segment_profiles where axis = 'stage'") == len(names) + 1
    assert (
        read.one(
            warehouse,
            "select count(*) from value.customer_rfm as r join segments.customer_segments as s using (customer_id) "
            "where r.rfm_group <> s.stage_name",
        )
        == 0
    )
