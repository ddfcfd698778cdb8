"""The warehouse as a Dagster resource: one HOME, its settings, its lock, its connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource
from pydantic import PrivateAttr

from segmentation_assets.orchestration.run_lock import fail_killed_runs, hold_run_lock
from segmentation_assets.settings import Home, Settings, load_settings
from segmentation_assets.warehouse import connection


class Warehouse(DuckDBResource):
    """dagster-duckdb's resource with a bounded wait, read-only connections, and one run at a time.

    The parent leaks its connection when a step raises, always opens read-write and waits up to 102 s for a lock;
    here a connection is closed whatever happens and a busy file ends in a sentence that names who holds it.
    """

    home: str
    _settings: Settings | None = PrivateAttr(default=None)

    @classmethod
    def at(cls, home: Home) -> Warehouse:
        """The warehouse of `home`."""
        return cls(home=str(home.path), database=str(home.warehouse))

    @property
    def place(self) -> Home:
        """Where things are."""
        return Home(Path(self.home))

    @property
    def settings(self) -> Settings:
        """The settings in force, read once per run."""
        if self._settings is None:
            self._settings = load_settings(self.place)
        return self._settings

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Warehouse]:
        """Hold the run lock for as long as the run lives; a killed predecessor is marked as failed."""
        self.place.ensure()
        if context.run is None:  # a direct invocation in a test, outside any run
            yield self
            return
        run_id = context.run.run_id
        log = context.log or dg.get_dagster_logger()
        with hold_run_lock(self.place, run_id, log.info):
            if context.instance is not None:
                for killed in fail_killed_runs(context.instance, self.place, run_id):
                    log.warning(f"Run {killed[:8]} was killed; it is now recorded as failed.")
            yield self

    @contextmanager
    def get_connection(
        self, *, read_only: bool = False, with_people: bool = False
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection to the warehouse; `with_people` also attaches the personal data, for the steps that may."""
        with connection.connect(
            self.place.warehouse,
            read_only=read_only,
            people=self.place.people if with_people else None,
            engine=self.settings.engine_limits(),
        ) as con:
            yield con


def source_row(con: duckdb.DuckDBPyConnection) -> tuple[date, str]:
    """As-of date and currency of the loaded source; a sentence when nothing is loaded yet."""
    try:
        as_of, currency = con.execute("select as_of, currency from raw.source").fetchall()[0]
    except duckdb.CatalogException:
        raise dg.Failure(
            "No source is loaded: materialise the raw tables first (group raw, or `segmentation run`).",
            allow_retries=False,
        ) from None
    return as_of, currency
