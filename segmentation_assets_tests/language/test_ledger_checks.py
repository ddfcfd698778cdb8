"""The checks of the ledger's tables: silent on sound rows, and naming the row that breaks them."""

from __future__ import annotations

import duckdb
import pytest

from segmentation_assets.orchestration.checks import rules_of
from segmentation_assets.warehouse.sql_models import SQL_ROOT

TABLES = """
create schema language;
create table language.run_spending as select * replace (cost_amount::double as cost_amount) from (values
    ('old', 900, 9, 9.0, null, null, null), ('new', 5, 50, 0.5, 5, 50, 0.5)
) as t(run_id, calls, tokens, cost_amount, calls_limit, tokens_limit, cost_limit_amount);
create table language.model_calls as select 1 as call_id, 'profile' as task, 'taste T1' as item, '' as error,
    'accepted' as status;
"""
FAULTS = {
    "calls": ("run_spending", "update language.run_spending set calls = 6 where run_id = 'new'"),
    "tokens": ("run_spending", "update language.run_spending set tokens = 51 where run_id = 'new'"),
    "money": ("run_spending", "update language.run_spending set cost_amount = 0.51 where run_id = 'new'"),
    "blocked": ("model_calls", "update language.model_calls set status = 'blocked'"),
}


def test_every_check_of_these_tables_is_shown_failing() -> None:
    files = {path.parent.name for path in (SQL_ROOT / "checks" / "language").rglob("*.sql")}
    assert files == {table for table, _ in FAULTS.values()}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_is_silent_on_sound_rows_and_finds_the_fault(fault: str) -> None:
    table, change = FAULTS[fault]
    (rule,) = rules_of(f"language/{table}")
    with duckdb.connect() as con:
        con.execute(TABLES)
        assert con.execute(rule.query).fetchall() == []
        con.execute(change)
        assert len(con.execute(rule.query).fetchall()) == 1
