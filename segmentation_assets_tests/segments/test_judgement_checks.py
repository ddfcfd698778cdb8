"""The checks of evidence, drift, moves and judgements: silent on sound tables, each naming what breaks it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from segmentation_assets.warehouse.sql_models import SQL_ROOT, SqlModel, load_model

CHECKS = SQL_ROOT / "checks"
AS_OF = dt.date(2024, 6, 30)
TABLES = (
    "segments/stage_choice", "segments/taste_choice", "segments/stage_usefulness", "segments/taste_usefulness",
    "segments/drift", "segments/segment_drivers", "segments/segment_rules", "segments/segment_moves",
    "segments/past_segments", "segments/prospects", "value/spend_forecast",
)  # fmt: skip

_SOUND = """
create schema segments;
create schema value;
create table segments.stage_evidence as
    select * from (values (3, .8, .2, true, ''), (4, .6, .1, false, 'stability .6 is below .75'))
        as e(k, stability, smallest_share, is_admissible, fails);
create table segments.taste_evidence as from segments.stage_evidence;
create table segments.stage_choice as select 3 as k, 'natural' as verdict, 'Groups.' as sentence,
    null::varchar as one_feature;
create table segments.taste_choice as from segments.stage_choice;
create table segments.stage_usefulness as
    select * from (values ('segments', 'spend_r2', .2, .1, .3), ('segments minus RFM groups', 'spend_r2', -.1, -.2, .1))
        as u(method, metric, estimate, low, high);
create table segments.taste_usefulness as
    select * from (values ('segments minus favourite category', 'category_log_loss', .1, -.1, .2))
        as u(method, metric, estimate, low, high);
create table segments.drift as
    select * from (values ('stage', 'feature', 'recency_days', 0., .1, .3, false))
        as d(axis, kind, name, reference_value, current_value, shift, is_drift);
create table segments.segment_drivers as
    select * from (values ('stage', 'S1', .75), ('stage', 'S1', .25), ('taste', 'T1', 0.), ('taste', 'T1', 0.))
        as d(axis, segment_id, separation_share);
create table segments.segment_rules as
    select * from (values ('stage', 'S1', .9, .8, .85), ('taste', 'T1', null, null, null))
        as r(axis, segment_id, precision, recall, faithfulness);
create table segments.stage_assignments as select 'c' || i as customer_id from range(5) t(i);
create table segments.taste_assignments as from segments.stage_assignments;
create table segments.segment_moves as
    select * from (values ('stage', 1, 1, date '2024-01-01', 'S1', 'S2', 2),
        ('stage', 1, 1, date '2024-01-01', 'S1', 'S1', 3),
        ('stage', 1, 1, date '2024-01-01', 'S1', '(gone)', 1),
        ('taste', 1, 2, date '2024-06-30', 'T1', 'T1', 5))
        as m(axis, from_version, to_version, from_as_of, from_segment_id, to_segment_id, customers);
create table segments.past_segments as
    select * from (values (1, date '2024-04-01', 'a'), (2, date '2024-01-02', 'a'), (1, date '2024-04-01', 'b'))
        as p(windows_ago, as_of, customer_id);
create table segments.stage_model as select 'S1' as segment_id;
create table segments.taste_model as select 'T1' as segment_id;
create table segments.prospects as
    select * from (values ('stage', 'a', 'S1', .4), ('taste', 'a', 'T1', 1.))
        as p(axis, customer_id, segment_id, probability);
create table value.spend_forecast as select 'c' || i as customer_id, 1. as forecast_amount, 0. as baseline_amount
    from range(3) t(i);
"""

# For each check: what is done to the sound tables, and the keys of the rows it must then name.
BROKEN: dict[str, tuple[str, list[tuple[object, ...]]]] = {
    **{
        f"segments/{axis}_choice/verdict_follows_evidence": (
            f"update segments.{axis}_choice set k = 4",
            [(4, "natural")],
        )
        for axis in ("stage", "taste")
    },
    **{
        f"segments/{axis}_choice/not_bands_of_one_feature": (
            f"update segments.{axis}_choice set one_feature = 'average_spend'",
            [("average_spend", 3)],
        )
        for axis in ("stage", "taste")
    },
    "segments/stage_usefulness/segments_tell_more_than_the_rule": (
        "update segments.stage_usefulness set high = -0.05",
        [("segments minus RFM groups", "spend_r2")],
    ),
    "segments/taste_usefulness/segments_tell_more_than_the_rule": (
        "update segments.taste_usefulness set low = 0.05",
        [("segments minus favourite category", "category_log_loss")],
    ),
    "segments/drift/customers_are_like_the_fit": (
        "update segments.drift set is_drift = true",
        [("stage", "feature", "recency_days")],
    ),
    "segments/segment_drivers/separation_adds_up": (
        "update segments.segment_drivers set separation_share = 0.4 where axis = 'stage'",
        [("stage", "S1")],
    ),
    "segments/segment_rules/one_rule_per_segment": (
        "insert into segments.segment_rules values ('stage', 'S1', .9, .8, .85), ('stage', 'S2', -.5, .8, .85)",
        [("stage", "S1"), ("stage", "S2")],
    ),
    "segments/segment_moves/customers_add_up": (
        "update segments.segment_moves set customers = 4 where to_segment_id = 'S1'",
        [("stage", 1, 1)],
    ),
    "segments/past_segments/one_row_per_customer_and_window": (
        "insert into segments.past_segments values (1, '2024-04-01', 'b'), (2, '2024-04-01', 'c')",
        [(1, "b"), (1, "b"), (2, "c")],
    ),
    "segments/prospects/likely_segments_are_possible": (
        "update segments.prospects set segment_id = 'S9' where axis = 'stage'; "
        "update segments.prospects set probability = 1.5 where axis = 'taste'",
        [("stage", "a"), ("taste", "a")],
    ),
    "value/spend_forecast/one_amount_per_customer": (
        "insert into value.spend_forecast values ('c0', 1, 0), ('zoe', -1, 0)",
        [("c0",), ("zoe",)],
    ),
}


@pytest.fixture
def tables() -> Iterator[duckdb.DuckDBPyConnection]:
    """Sound tables, only the columns that the checks read."""
    with duckdb.connect(":memory:", config={"threads": 1}) as con:
        con.execute(_SOUND)
        yield con


def _name(path: Path) -> str:
    return str(path.relative_to(CHECKS).with_suffix(""))


def test_every_check_of_these_tables_is_shown_failing() -> None:
    there = {_name(path) for table in TABLES for path in (CHECKS / table).glob("*.sql")}
    assert set(BROKEN) == there


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_check_is_silent_on_sound_tables_and_names_what_breaks_it(tables: duckdb.DuckDBPyConnection, name: str) -> None:
    check: SqlModel = load_model(CHECKS / f"{name}.sql")
    given = {"as_of": AS_OF} if check.needs_as_of else None
    assert tables.execute(check.query, given).fetchall() == []
    damage, keys = BROKEN[name]
    tables.execute(damage)
    assert sorted(row[: len(keys[0])] for row in tables.execute(check.query, given).fetchall()) == sorted(keys)
    assert check.facts["remedy"]
