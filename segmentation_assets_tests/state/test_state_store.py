"""The state store keeps identities and models through crashes, races and versions."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from segmentation_assets.state import (
    EventRecord,
    IdentityRecord,
    ModelRecord,
    NewerStateError,
    SnapshotRecord,
    open_state,
)
from segmentation_assets.state import store as store_module
from segmentation_assets.state.models import Base


def model(fingerprint: str = "f1", axis: str = "stage") -> ModelRecord:
    return ModelRecord(
        axis=axis, fingerprint=fingerprint, algorithm="kmeans", k=2, seed=7, customers_at_fit=30,
        features=["recency_days"], preprocessing={"shift": [0.1 + 0.2]}, centroids=[[1 / 3], [-2.5]],
        as_of=dt.date(2026, 1, 31), created_by_run="r1",
    )  # fmt: skip


def segment(segment_id: str, cluster: int, name: str | None = None, axis: str = "stage") -> IdentityRecord:
    return IdentityRecord(
        axis=axis, segment_id=segment_id, name=name or f"Name {segment_id}", cluster_index=cluster, customers=15
    )


def test_a_model_comes_back_with_exactly_the_same_floats(tmp_path: Path) -> None:
    with open_state(tmp_path / "state.sqlite") as state:
        assert state.latest_model("stage") is None
        assert state.next_version("stage") == 1
        stored = state.register_model(model(), [segment("S1", 0), segment("S2", 1)])
        assert stored.version == 1
    with open_state(tmp_path / "state.sqlite") as state:
        read = state.latest_model("stage")
        assert read == stored
        assert read is not None
        assert read.centroids == [[1 / 3], [-2.5]]
        assert [row.segment_id for row in state.segments_of("stage", 1)] == ["S1", "S2"]
        assert state.next_version("taste") == 1


def test_the_same_fingerprint_makes_no_new_version(tmp_path: Path) -> None:
    with open_state(tmp_path / "state.sqlite") as state:
        first = state.register_model(model(), [segment("S1", 0), segment("S2", 1)])
        again = state.register_model(model(), [segment("S1", 0), segment("S2", 1)])
        other = state.register_model(model("f2"), [segment("S1", 1), segment("S2", 0)])
    assert (first.version, again.version, other.version) == (1, 1, 2)


def test_a_segment_left_out_ends_and_its_id_is_never_given_again(tmp_path: Path) -> None:
    with open_state(tmp_path / "state.sqlite") as state:
        state.register_model(model(), [segment("S1", 0), segment("S2", 1)])
        state.register_model(
            model("f2"), [segment("S1", 0), segment("S3", 1)],
            [EventRecord(axis="stage", kind="death", segment_id="S2", detail={"customers": 15})],
        )  # fmt: skip
        by_id = {row.segment_id: row for row in state.identities("stage")}
        assert by_id["S2"].status == "ended"
        assert by_id["S2"].last_version == 1
        assert by_id["S3"].first_version == 2
        assert [row.segment_id for row in state.identities("stage", alive_only=True)] == ["S1", "S3"]
        assert state.events("stage", 2)[0].detail == {"customers": 15}
        with pytest.raises(ValueError, match="never given twice"):
            state.register_model(model("f3"), [segment("S1", 0), segment("S2", 1)])
        latest = state.latest_model("stage")
        assert latest is not None
        assert latest.version == 2  # the refused registration left nothing behind


def test_a_rename_needs_its_event(tmp_path: Path) -> None:
    with open_state(tmp_path / "state.sqlite") as state:
        state.register_model(model(), [segment("S1", 0), segment("S2", 1)])
        with pytest.raises(ValueError, match="without a rename event"):
            state.register_model(model("f2"), [segment("S1", 0, "Another"), segment("S2", 1)])
        state.register_model(
            model("f2"), [segment("S1", 0, "Another"), segment("S2", 1)],
            [EventRecord(axis="stage", kind="rename", segment_id="S1", detail={"before": "Name S1"})],
        )  # fmt: skip
        assert state.identities("stage")[0].name == "Another"


def test_the_last_snapshot_is_the_last_of_other_data(tmp_path: Path) -> None:
    def of(customers: int) -> list[SnapshotRecord]:
        return [SnapshotRecord("stage", "S1", "Lapsing", customers, 5, Decimal("1234567.1234"))]

    with open_state(tmp_path / "state.sqlite") as state:
        assert state.last_snapshot() is None
        state.save_snapshot("r1", dt.date(2026, 1, 1), "a", of(10))
        state.save_snapshot("r2", dt.date(2026, 2, 1), "b", of(20))
        state.save_snapshot("r3", dt.date(2026, 2, 1), "b", of(20))
        state.save_snapshot("r3", dt.date(2026, 2, 1), "b", of(21))  # a retried step replaces its own figures
        last = state.last_snapshot(other_than_run="r3")
        assert last is not None
        assert last.run_key == "r2"
        other = state.last_snapshot(other_than_run="r3", other_than_source="b")
        assert other is not None
        assert other.segments == tuple(of(10))
        newest = state.last_snapshot()
        assert newest is not None
        assert newest.segments[0].customers == 21


def test_a_store_from_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    with open_state(path) as state:
        state.register_model(model(), [segment("S1", 0), segment("S2", 1)])
    with sqlite3.connect(path) as con:
        con.execute("update alembic_version set version_num = '9999'")
    con.close()
    with pytest.raises(NewerStateError, match=r"revision 9999.*Install the version"), open_state(path):
        pass
    con = sqlite3.connect(path)
    assert con.execute("select count(*) from segment_models").fetchone() == (1,)
    con.close()


def test_migrations_lead_to_exactly_the_declared_tables(tmp_path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(store_module._MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [store_module.REVISIONS[-1]]
    with open_state(tmp_path / "state.sqlite") as state, state._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_the_store_waits_for_writers_and_checks_references(tmp_path: Path) -> None:
    from sqlalchemy import text
    from sqlalchemy.exc import IntegrityError

    with open_state(tmp_path / "state.sqlite") as state:
        with state.session() as session:
            assert session.scalar(text("pragma journal_mode")) == "wal"
            assert session.scalar(text("pragma busy_timeout")) == 30_000
        with pytest.raises(IntegrityError), state.session(write=True) as session:
            session.execute(
                text(
                    "insert into identity_events (axis, version, kind, segment_id, detail) "
                    "values ('stage', 99, 'birth', 'S1', '{}')"
                )
            )


def register_from_a_process(path: Path, number: int) -> None:
    with open_state(path) as state:
        for step in range(5):
            state.register_model(model(f"f{number}-{step}"), [segment("S1", 0), segment("S2", 1)])


def test_processes_that_open_and_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=register_from_a_process, args=(path, number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with open_state(path) as state:
        assert state.next_version("stage") == 16


def test_a_write_that_fails_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    with open_state(tmp_path / "state.sqlite") as state:
        state.register_model(model(), [segment("S1", 0), segment("S2", 1)])
        with pytest.raises(ValueError), state.session(write=True) as session:
            store_module._write_model(session, model("f2"), 2)
            session.flush()
            raise ValueError("killed")
        assert state.next_version("stage") == 2
