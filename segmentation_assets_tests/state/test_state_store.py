"""The state store keeps identities and models through crashes, races and versions."""

from __future__ import annotations

import dataclasses
import datetime as dt
import multiprocessing
import re
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, text
from sqlalchemy.exc import SQLAlchemyError

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


def migrate_to(path: Path, revision: str) -> None:
    """A store as the package made it when `revision` was the newest."""
    engine = store_module._engine(path)
    config = Config()
    config.set_main_option("script_location", str(store_module._MIGRATIONS))
    with engine.connect() as opened:
        connection = opened.execution_options(takes_write_lock=True)
        with connection.begin():
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    engine.dispose()


def fill_first_store(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """A store of revision 0001 with a row in every table; returns all rows by table."""
    migrate_to(path, "0001")
    con = sqlite3.connect(path)
    con.executescript(
        """
        insert into segment_models values (1, 'stage', 1, 'f1', 'kmeans', 2, 7, 30, '["recency_days"]',
            '{"shift": [0.30000000000000004]}', '[[0.3333333333333333], [-2.5]]', '2026-01-31', 'r1');
        insert into segment_identities values (1, 'stage', 'S1', 'Lapsing', 1, 1, 'alive'),
            (2, 'stage', 'S2', 'Long gone', 1, 1, 'alive');
        insert into segment_versions values (1, 'stage', 1, 'S1', 0, 20), (2, 'stage', 1, 'S2', 1, 10);
        insert into identity_events values (1, 'stage', 1, 'birth', 'S1', '{"customers_from": {}}');
        insert into run_snapshots values
            (1, 'r1', '2026-01-31', 'a', 'stage', 'S1', 'Lapsing', 20, 5, '1234567.1234');
        """
    )
    rows = rows_by_table(con)
    con.close()
    return rows


def rows_by_table(con: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    tables = ("segment_models", "segment_identities", "segment_versions", "identity_events", "run_snapshots")
    return {table: con.execute(f"select * from {table} order by id").fetchall() for table in tables}


def test_a_store_of_the_first_revision_is_migrated_in_place_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    before = fill_first_store(path)
    assert all(before.values())
    with open_state(path) as state:
        stored = state.model("stage", 1)
        assert stored == dataclasses.replace(model(), version=1)
        assert [row.name for row in state.segments_of("stage", 1)] == ["Lapsing", "Long gone"]
        later = dataclasses.replace(model("f2"), clusterer={"algorithm": "mixture"}, reference={"customers": 30})
        second = state.register_model(later, [segment("S1", 1, "Lapsing"), segment("S2", 0, "Long gone")])
        assert (second.version, second.clusterer, second.reference) == (2, later.clusterer, later.reference)
        assert state.model("stage", 1) == stored
    con = sqlite3.connect(path)
    after = rows_by_table(con)
    assert con.execute("select version_num from alembic_version").fetchall() == [("0006",)]
    con.close()
    assert after["segment_models"][0] == (*before["segment_models"][0], None, None)  # null, not the text 'null'
    assert after["segment_versions"][:2] == before["segment_versions"]
    assert after["identity_events"] == before["identity_events"]
    assert after["run_snapshots"] == before["run_snapshots"]
    assert [row[:4] for row in after["segment_identities"]] == [row[:4] for row in before["segment_identities"]]


def test_a_migration_that_is_killed_half_way_leaves_the_old_store_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.sqlite"
    before = fill_first_store(path)
    add = Operations.add_column

    def killed(self: Operations, table: str, column: Column) -> None:
        if column.name == "reference":
            raise KeyboardInterrupt
        add(self, table, column)

    with monkeypatch.context() as patched:
        # The module-level `op` of a migration calls its proxy, which calls the class.
        patched.setattr(Operations, "add_column", killed)
        with pytest.raises(KeyboardInterrupt), open_state(path):
            pass
    con = sqlite3.connect(path)
    assert con.execute("select version_num from alembic_version").fetchall() == [("0001",)]
    assert rows_by_table(con) == before
    con.close()
    with open_state(path) as state:
        assert state.next_version("stage") == 2


def test_a_person_renames_a_living_segment_and_the_event_is_kept(tmp_path: Path) -> None:
    with open_state(tmp_path / "state.sqlite") as state:
        state.register_model(model(), [segment("S1", 0, "Lapsing"), segment("S2", 1)])
        event = state.rename_segment("stage", "S1", " Drifting away ")
        assert (event.kind, event.version) == ("rename", 1)
        assert event.detail == {"before": "Lapsing", "after": "Drifting away"}
        assert state.events("stage") == [event]
        assert state.segments_of("stage", 1)[0].name == "Drifting away"
        state.rename_segment("stage", "S1", "drifting away")  # its own name, written differently
        for segment_id, name, reason in (
            ("S9", "Other", "Axis stage has no living segment S9; there are S1, S2."),
            ("S1", "  ", "Segment S1 of axis stage needs a name; the one given is empty."),
            ("S1", "name s2", "The name 'name s2' belongs to segment S2 of axis stage (alive)"),
            ("S1", "drifting away", "belongs to segment S1 of axis stage (alive); names are unique"),
        ):
            with pytest.raises(ValueError, match=re.escape(reason)):
                state.rename_segment("stage", segment_id, name)
        state.register_model(model("f2"), [segment("S2", 0)])
        with pytest.raises(ValueError, match="no living segment S1; there are S2"):
            state.rename_segment("stage", "S1", "Back")
        assert len(state.events("stage")) == 2


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


def test_an_error_of_the_store_names_no_values(tmp_path: Path) -> None:
    with (
        open_state(tmp_path / "state.sqlite") as store,
        pytest.raises(SQLAlchemyError) as failed,
        store.session() as session,
    ):
        session.execute(text("select * from nothing where customer_id = :who"), {"who": "C-secret"})
    assert "C-secret" not in str(failed.value)
