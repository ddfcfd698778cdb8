"""What the segments of a finished run tell about the time after a cut-off, and what it costs to know.

`python benchmarks/usefulness.py HOME` reads HOME/warehouse.duckdb and HOME/state.sqlite (read-only) and prints, 90
days before the as-of date: stage segments beside the RFM groups, taste segments beside the favourite category, the
candidates of the spend forecast, and the prospect classifier, with seconds of wall and CPU for each step.
`--threads N` limits the engine. Nothing here writes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from segmentation_assets.defs.axes import axis_spec, model_in_use
from segmentation_assets.lifetime.forecast import HORIZON_DAYS, Window, forecast_spend
from segmentation_assets.lifetime.prospects import classify_prospects, sign_up_features
from segmentation_assets.orchestration.warehouse import Warehouse, source_row
from segmentation_assets.segmentation.assign import assign
from segmentation_assets.segmentation.usefulness import (
    category_usefulness,
    favourite_categories,
    spend_usefulness,
    verdict,
)
from segmentation_assets.settings import Home
from segmentation_assets.warehouse.as_of import FEATURE_MODELS, history_reason, outcome_frame, past_day, read_table
from segmentation_assets.warehouse.connection import Engine, connect

RFM = "value/customer_rfm"


@dataclass(frozen=True)
class Day:
    """The shop as of a day, and what customers did in the 90 days after it (no rows for today)."""

    customers: pl.DataFrame
    shares: pl.DataFrame
    groups: pl.DataFrame
    outcomes: pl.DataFrame


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print the wall and CPU seconds of what is inside."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    print(f"  [{what}: {time.perf_counter() - wall:.2f} s wall, {time.process_time() - cpu:.2f} s CPU]")


def look_at(warehouse: Path, cutoff: date, engine: Engine) -> Day:
    """The shop as of `cutoff`."""
    with past_day(warehouse, cutoff, (*FEATURE_MODELS, RFM), engine=engine) as con:
        return Day(
            read_table(con, "features/customer_features"),
            read_table(con, "features/customer_shares"),
            read_table(con, RFM, ("customer_id", "rfm_group")),
            outcome_frame(con, cutoff, HORIZON_DAYS),
        )


def _show(frame: pl.DataFrame, sentence: str) -> None:
    print(f"  {sentence}")
    for row in frame.iter_rows(named=True):
        print(
            f"    {row['method']:36} {row['metric']:24} {row['estimate']:8.3f}  {row['low']:8.3f} to {row['high']:8.3f}"
        )


def main(arguments: list[str] | None = None) -> int:
    """Read a finished home and print what its segments, its forecast and its prospect classifier are worth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, help="the folder of a finished run")
    parser.add_argument("--threads", type=int, default=0, help="threads of the engine; 0 means all cores")
    given = parser.parse_args(arguments)
    place, engine = Home(given.home), Engine(threads=given.threads)
    if not place.warehouse.exists():
        print(
            f"There is no warehouse in {given.home}: run `segmentation run --home {given.home}` first.", file=sys.stderr
        )
        return 1
    warehouse = Warehouse.at(place)
    with connect(place.warehouse, read_only=True, engine=engine) as con:
        as_of, _ = source_row(con)
        if reason := history_reason(con, as_of, windows=2, days=HORIZON_DAYS):
            print(reason)
            return 0
        signed_up = sign_up_features(con.sql("select * from clean.customers").pl())
    days = {}
    for windows in (2, 1, 0):
        with timed(f"the shop of {windows * HORIZON_DAYS} days before {as_of}"):
            days[windows] = look_at(place.warehouse, as_of - timedelta(days=windows * HORIZON_DAYS), engine)
    assigned: dict[str, dict[int, pl.DataFrame]] = {}
    for axis in ("stage", "taste"):
        frozen, spec = model_in_use(warehouse, axis), axis_spec(warehouse, axis)
        if frozen is None:
            print(f"{axis}: the axis is off.")
            continue
        print(f"{axis.capitalize()} segments, and the {HORIZON_DAYS} days up to {as_of}")
        with timed("assigned"):
            assigned[axis] = {
                windows: assign(frozen, day.customers, day.shares, spec).select("customer_id", "segment_id")
                for windows, day in days.items()
            }
        segments = assigned[axis][1].filter(pl.col("segment_id") != spec.outside_id)
        then = days[1]
        with timed("judged"):
            if axis == "stage":
                buyers = then.customers.filter("is_buyer").select("customer_id")
                found = spend_usefulness(
                    then.outcomes, segments, {"RFM groups": then.groups.join(buyers, on="customer_id")}, spec.seed
                )
            else:
                rules = {"favourite category": favourite_categories(then.shares)}
                found = category_usefulness(then.outcomes, segments, rules, spec.seed)
        _show(found.frame, verdict(found.frame, found.reason).sentence)
        print(f"Prospects by {axis}")
        with timed("learned and judged"):
            prospects = classify_prospects(
                signed_up, assigned[axis][2], assigned[axis][0], axis=axis, outside_id=spec.outside_id, seed=spec.seed,
                cutoff=as_of - timedelta(days=2 * HORIZON_DAYS), age_days=2 * HORIZON_DAYS if axis == "stage" else None,
            )  # fmt: skip
        _show(prospects.evaluation, prospects.sentence)
    print(f"Spend of the next {HORIZON_DAYS} days")
    with timed("candidates and forecast"):
        forecast = forecast_spend(
            *(Window(days[windows].customers, days[windows].outcomes) for windows in (2, 1)), days[0].customers, 1
        )
    print(f"  {forecast.sentence}")
    if not forecast.candidates.is_empty():
        wide = forecast.candidates.filter(~pl.col("method").str.contains(" minus ")).pivot(
            "metric", index="method", values="estimate"
        )
        for row in wide.iter_rows(named=True):
            print(
                "   ",
                ", ".join(f"{name} {value:.3f}" if name != "method" else f"{value:22}" for name, value in row.items()),
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
