"""Opening the state store, and the few typed reads and writes that the graph needs.

`open_state(path)` migrates up and hands out a `StateStore`. Each public method is one transaction: a process killed
in the middle leaves what was there before. Writers take SQLite's write lock when they begin, so that two processes
that read and then write never deadlock; they wait for each other up to `BUSY_SECONDS`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import Connection, Engine, Inspector, create_engine, event, func, inspect, select, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from segmentation_assets.state.models import (
    IdentityEvent,
    RunSnapshot,
    SegmentIdentity,
    SegmentModel,
    SegmentVersion,
)

#: Revisions this version of the package knows, oldest first. A store at any other revision is from a newer one.
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")
BUSY_SECONDS = 30.0
_MIGRATIONS = Path(__file__).parent / "migrations"


class NewerStateError(RuntimeError):
    """The store was written by a newer version of this package."""


@dataclass(frozen=True)
class ModelRecord:
    """A frozen model as it is stored: JSON-able values only, no pickles.

    `clusterer`: how to assign where that is not the nearest centroid. `reference`: what the customers of the fit
    looked like. Both are None in models stored before they were kept. `version` is 0 for a model that is not stored
    yet; `StateStore.register_model` gives it its number.
    """

    axis: str
    fingerprint: str
    algorithm: str
    k: int
    seed: int
    customers_at_fit: int
    features: list[str]
    preprocessing: dict[str, Any]
    centroids: list[list[float]]
    as_of: dt.date
    created_by_run: str
    version: int = 0
    clusterer: dict[str, Any] | None = None
    reference: dict[str, Any] | None = None


@dataclass(frozen=True)
class IdentityRecord:
    """A segment id with its name; `cluster_index` and `customers` are those of the version it is registered with."""

    axis: str
    segment_id: str
    name: str
    status: str = "alive"
    first_version: int = 0
    last_version: int = 0
    cluster_index: int | None = None
    customers: int | None = None


@dataclass(frozen=True)
class EventRecord:
    """One identity event (`birth`, `death`, `split`, `merge`, `rename`) with its numbers."""

    axis: str
    kind: str
    segment_id: str
    detail: dict[str, Any]
    version: int = 0


@dataclass(frozen=True)
class SnapshotRecord:
    """Size and worth of one segment after a run."""

    axis: str
    segment_id: str
    name: str
    customers: int
    reachable_customers: int
    revenue_amount: Decimal


@dataclass(frozen=True)
class Snapshot:
    """All segments as one run left them."""

    run_key: str
    as_of: dt.date
    source_fingerprint: str
    segments: tuple[SnapshotRecord, ...]


class StateStore:
    """The open store. Safe to use from many processes and threads: each call opens its own connection."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self.path = path

    @contextmanager
    def session(self, *, write: bool = False) -> Iterator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises.

        With `write`, SQLite's write lock is taken at the start (waiting up to `BUSY_SECONDS`).
        """
        with self._engine.connect() as opened:
            connection = opened.execution_options(takes_write_lock=write)
            with connection.begin(), Session(bind=connection, expire_on_commit=False) as session:
                yield session
                session.flush()

    # -- models ---------------------------------------------------------------------------------------------------

    def latest_model(self, axis: str) -> ModelRecord | None:
        """The newest frozen model of `axis`, None when there is none."""
        with self.session() as session:
            return _latest(session, axis)

    def model(self, axis: str, version: int) -> ModelRecord | None:
        """One version of the model of `axis`."""
        with self.session() as session:
            row = session.scalar(select(SegmentModel).where(SegmentModel.axis == axis, SegmentModel.version == version))
            return _model_record(row) if row else None

    def next_version(self, axis: str) -> int:
        """The number the next model of `axis` would take (1 for the first)."""
        with self.session() as session:
            return _next_version(session, axis)

    def register_model(
        self, model: ModelRecord, segments: Sequence[IdentityRecord], events: Sequence[EventRecord] = ()
    ) -> ModelRecord:
        """Store `model` as the next version with its segments and events, all or nothing; returns it numbered.

        `segments` are the living ones, with `cluster_index` and `customers`. Identities that are alive in the store
        and not among them end. When the newest model has the same fingerprint nothing is written and that model is
        returned, so a second process that fitted the same thing at the same time makes no second version. A changed
        name of a living id without a `rename` event, or an id that has ended, is refused with ValueError.
        """
        with self.session(write=True) as session:
            latest = _latest(session, model.axis)
            if latest is not None and latest.fingerprint == model.fingerprint:
                return latest
            version = _next_version(session, model.axis)
            _write_model(session, model, version)
            session.flush()
            _write_identities(session, model.axis, version, segments, events)
            session.flush()
            for segment in segments:
                session.add(
                    SegmentVersion(
                        axis=model.axis, version=version, segment_id=segment.segment_id,
                        cluster_index=segment.cluster_index, customers=segment.customers,
                    )
                )  # fmt: skip
            for occurrence in events:
                session.add(
                    IdentityEvent(
                        axis=model.axis, version=version, kind=occurrence.kind,
                        segment_id=occurrence.segment_id, detail=occurrence.detail,
                    )
                )  # fmt: skip
            session.flush()
            stored = _latest(session, model.axis)
            assert stored is not None  # noqa: S101 - just written in this transaction; narrows the type
            return stored

    # -- identities -----------------------------------------------------------------------------------------------

    def identities(self, axis: str | None = None, *, alive_only: bool = False) -> list[IdentityRecord]:
        """Segment ids ever used (of one axis, or of all), in order of axis and number.

        Living ones carry the cluster index and the customers of the version they were last registered with.
        """
        with self.session() as session:
            query = (
                select(SegmentIdentity, SegmentVersion.cluster_index, SegmentVersion.customers)
                .outerjoin(
                    SegmentVersion,
                    (SegmentVersion.axis == SegmentIdentity.axis)
                    & (SegmentVersion.segment_id == SegmentIdentity.segment_id)
                    & (SegmentVersion.version == SegmentIdentity.last_version),
                )
                .order_by(SegmentIdentity.axis, SegmentIdentity.id)
            )
            if axis is not None:
                query = query.where(SegmentIdentity.axis == axis)
            if alive_only:
                query = query.where(SegmentIdentity.status == "alive")
            found = [
                IdentityRecord(
                    axis=row.axis, segment_id=row.segment_id, name=row.name, status=row.status,
                    first_version=row.first_version, last_version=row.last_version,
                    cluster_index=cluster_index, customers=customers,
                )
                for row, cluster_index, customers in session.execute(query)
            ]  # fmt: skip
            return sorted(found, key=lambda row: (row.axis, len(row.segment_id), row.segment_id))

    def segments_of(self, axis: str, version: int) -> list[IdentityRecord]:
        """The segments of one model version in the order of its clusters, with their present names."""
        with self.session() as session:
            rows = session.execute(
                select(SegmentVersion, SegmentIdentity)
                .join(
                    SegmentIdentity,
                    (SegmentVersion.axis == SegmentIdentity.axis)
                    & (SegmentVersion.segment_id == SegmentIdentity.segment_id),
                )
                .where(SegmentVersion.axis == axis, SegmentVersion.version == version)
                .order_by(SegmentVersion.cluster_index)
            )
            return [
                IdentityRecord(
                    axis=axis, segment_id=identity.segment_id, name=identity.name, status=identity.status,
                    first_version=identity.first_version, last_version=identity.last_version,
                    cluster_index=row.cluster_index, customers=row.customers,
                )
                for row, identity in rows
            ]  # fmt: skip

    def events(self, axis: str, version: int | None = None) -> list[EventRecord]:
        """Identity events of `axis` (of one version, or all), in the order they were recorded."""
        with self.session() as session:
            query = select(IdentityEvent).where(IdentityEvent.axis == axis).order_by(IdentityEvent.id)
            if version is not None:
                query = query.where(IdentityEvent.version == version)
            return [
                EventRecord(
                    axis=row.axis, version=row.version, kind=row.kind, segment_id=row.segment_id, detail=row.detail
                )
                for row in session.scalars(query)
            ]

    def rename_segment(self, axis: str, segment_id: str, name: str) -> EventRecord:
        """Give a living segment another name, with its `rename` event at the newest version; returns the event.

        ValueError for an id that is unknown or has ended, an empty name, or a name that any segment has or had.
        """
        name = name.strip()
        with self.session(write=True) as session:
            rows = list(session.scalars(select(SegmentIdentity)))
            row = next((found for found in rows if (found.axis, found.segment_id) == (axis, segment_id)), None)
            if row is None or row.status == "ended":
                living = [found.segment_id for found in rows if found.axis == axis and found.status == "alive"]
                raise ValueError(
                    f"Axis {axis} has no living segment {segment_id}; there are "
                    f"{', '.join(sorted(living, key=lambda i: (len(i), i))) or 'none'}."
                )
            if not name:
                raise ValueError(f"Segment {segment_id} of axis {axis} needs a name; the one given is empty.")
            holder = next((found for found in rows if found.name.casefold() == name.casefold()), None)
            if holder is not None and (holder is not row or holder.name == name):
                raise ValueError(
                    f"The name {name!r} belongs to segment {holder.segment_id} of axis {holder.axis} "
                    f"({holder.status}); names are unique and not given twice. Choose another."
                )
            version = _next_version(session, axis) - 1
            detail = {"before": row.name, "after": name}
            row.name = name
            session.add(IdentityEvent(axis=axis, version=version, kind="rename", segment_id=segment_id, detail=detail))
            return EventRecord(axis=axis, version=version, kind="rename", segment_id=segment_id, detail=detail)

    # -- snapshots ------------------------------------------------------------------------------------------------

    def save_snapshot(
        self, run_key: str, as_of: dt.date, source_fingerprint: str, segments: Sequence[SnapshotRecord]
    ) -> None:
        """Record the segments as run `run_key` left them. Saving the same run again replaces its figures."""
        with self.session(write=True) as session:
            for row in session.scalars(select(RunSnapshot).where(RunSnapshot.run_key == run_key)):
                session.delete(row)
            session.flush()
            for segment in segments:
                session.add(
                    RunSnapshot(
                        run_key=run_key, as_of=as_of, source_fingerprint=source_fingerprint, axis=segment.axis,
                        segment_id=segment.segment_id, name=segment.name, customers=segment.customers,
                        reachable_customers=segment.reachable_customers,
                        revenue_amount=str(segment.revenue_amount),
                    )
                )  # fmt: skip

    def last_snapshot(
        self, *, other_than_run: str | None = None, other_than_source: str | None = None
    ) -> Snapshot | None:
        """The newest recorded snapshot, None when there is none.

        Leave out the run that asks (`other_than_run`), and with `other_than_source` every snapshot of the same data,
        so that "what moved" compares with the last data that differed and a repeated run does not answer "nothing".
        """
        with self.session() as session:
            query = select(RunSnapshot).order_by(RunSnapshot.id.desc()).limit(1)
            if other_than_run is not None:
                query = query.where(RunSnapshot.run_key != other_than_run)
            if other_than_source is not None:
                query = query.where(RunSnapshot.source_fingerprint != other_than_source)
            newest = session.scalar(query)
            if newest is None:
                return None
            rows = session.scalars(
                select(RunSnapshot).where(RunSnapshot.run_key == newest.run_key).order_by(RunSnapshot.id)
            ).all()
            return Snapshot(
                run_key=newest.run_key,
                as_of=newest.as_of,
                source_fingerprint=newest.source_fingerprint,
                segments=tuple(
                    SnapshotRecord(
                        axis=row.axis, segment_id=row.segment_id, name=row.name, customers=row.customers,
                        reachable_customers=row.reachable_customers, revenue_amount=Decimal(row.revenue_amount),
                    )
                    for row in rows
                ),
            )  # fmt: skip


@contextmanager
def open_state(path: Path) -> Iterator[StateStore]:
    """Open the state store at `path`, making or migrating it first; the connections are closed at the end.

    Raises NewerStateError when the store is of a later revision than this package knows; nothing is changed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = _engine(path)
    try:
        revision = _revision(engine, path)
        if revision != REVISIONS[-1]:
            with FileLock(path.with_name(path.name + ".migrate.lock"), timeout=120):
                if _revision(engine, path) != REVISIONS[-1]:  # another process may have migrated meanwhile
                    _migrate(engine)
        yield StateStore(engine, path)
    finally:
        engine.dispose()


def _engine(path: Path) -> Engine:
    # NullPool: a connection lives for one transaction, so nothing is shared across threads or forks.
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=NullPool,
        connect_args={"timeout": BUSY_SECONDS},
        hide_parameters=True,  # an error's text would name customers and hashes of addresses
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # transactions are begun below, not guessed by the driver
        cursor = connection.cursor()
        cursor.execute(f"pragma busy_timeout = {int(BUSY_SECONDS * 1000)}")
        cursor.execute("pragma journal_mode = wal")
        cursor.execute("pragma synchronous = full")  # a commit that was reported survives a power cut
        cursor.execute("pragma foreign_keys = on")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        takes_lock = connection.get_execution_options().get("takes_write_lock", False)
        connection.exec_driver_sql("begin immediate" if takes_lock else "begin")

    return engine


def _revision(engine: Engine, path: Path) -> str | None:
    """The revision the store is at, None when it is new; refuses one this package does not know."""
    with engine.connect() as connection:
        inspector: Inspector = inspect(connection)
        if not inspector.has_table("alembic_version"):
            return None
        revision = connection.scalar(text("select version_num from alembic_version"))
    if revision is not None and revision not in REVISIONS:
        raise NewerStateError(
            f"The state store {path} is at revision {revision}; this version of segmentation_assets knows up to "
            f"{REVISIONS[-1]}. Install the version that wrote it (or a newer one), or use another home with --home; "
            f"nothing was changed."
        )
    return str(revision) if revision is not None else None


def _migrate(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with engine.connect() as opened:
        connection = opened.execution_options(takes_write_lock=True)
        with connection.begin():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _model_record(row: SegmentModel) -> ModelRecord:
    return ModelRecord(
        axis=row.axis, version=row.version, fingerprint=row.fingerprint, algorithm=row.algorithm, k=row.k,
        seed=row.seed, customers_at_fit=row.customers_at_fit, features=row.features,
        preprocessing=row.preprocessing, centroids=row.centroids, as_of=row.as_of,
        created_by_run=row.created_by_run, clusterer=row.clusterer, reference=row.reference,
    )  # fmt: skip


def _latest(session: Session, axis: str) -> ModelRecord | None:
    row = session.scalar(
        select(SegmentModel).where(SegmentModel.axis == axis).order_by(SegmentModel.version.desc()).limit(1)
    )
    return _model_record(row) if row else None


def _next_version(session: Session, axis: str) -> int:
    return int(session.scalar(select(func.max(SegmentModel.version)).where(SegmentModel.axis == axis)) or 0) + 1


def _write_model(session: Session, model: ModelRecord, version: int) -> None:
    session.add(
        SegmentModel(
            axis=model.axis, version=version, fingerprint=model.fingerprint, algorithm=model.algorithm, k=model.k,
            seed=model.seed, customers_at_fit=model.customers_at_fit, features=model.features,
            preprocessing=model.preprocessing, centroids=model.centroids, as_of=model.as_of,
            created_by_run=model.created_by_run, clusterer=model.clusterer, reference=model.reference,
        )
    )  # fmt: skip


def _write_identities(
    session: Session, axis: str, version: int, segments: Sequence[IdentityRecord], events: Sequence[EventRecord]
) -> None:
    known: Mapping[str, SegmentIdentity] = {
        row.segment_id: row for row in session.scalars(select(SegmentIdentity).where(SegmentIdentity.axis == axis))
    }
    renamed = {occurrence.segment_id for occurrence in events if occurrence.kind == "rename"}
    for segment in segments:
        row = known.get(segment.segment_id)
        if row is None:
            session.add(
                SegmentIdentity(
                    axis=axis, segment_id=segment.segment_id, name=segment.name, first_version=version,
                    last_version=version, status="alive",
                )
            )  # fmt: skip
            continue
        if row.status == "ended":
            raise ValueError(
                f"Segment {segment.segment_id} of axis {axis} ended with version {row.last_version}; "
                f"an id is never given twice. Use the next free number."
            )
        if row.name != segment.name and segment.segment_id not in renamed:
            raise ValueError(
                f"Segment {segment.segment_id} of axis {axis} is called {row.name!r} and would become "
                f"{segment.name!r} without a rename event; declare the event or keep the name."
            )
        row.name, row.last_version = segment.name, version
    living = {segment.segment_id for segment in segments}
    for segment_id, row in known.items():
        if segment_id not in living:
            row.status = "ended"
