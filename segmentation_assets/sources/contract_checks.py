"""Checks of clean tables that the contract already says, as queries that return the offending rows.

Cleaning removes what these queries look for; they prove it on the tables that were written. Here belongs only what
follows from the contract; other rules are files in `sql/checks/`. Each query returns (row_key, rule), no rows = pass.
A query with a column that may not lie after the data's as-of date takes the parameter `$as_of`, the others none.
"""

from __future__ import annotations

from segmentation_assets.sources.contract import CONTRACT, Column, Kind, Table
from segmentation_assets.warehouse.connection import literal, quote


def checked_table(table: str) -> str:
    """Where the cleaned rows of a contract table are: `clean.orders`, but `people.contacts`."""
    return f"people.{table}" if CONTRACT[table].is_personal else f"clean.{table}"


def contract_check_query(table: str) -> str:
    """Rows of a cleaned contract table that break its own columns' rules or repeat a key (its grain)."""
    contract = CONTRACT[table]
    cases = [
        f"case when {predicate} then {literal(rule)} end"
        for column in contract.columns
        for rule, predicate in _predicates(column)
    ]
    keys = ", ".join(f"t.{quote(name)}" for name in contract.key)
    place = checked_table(table)
    return (
        f"select row_key, rule from (select {_key(contract)} as row_key, unnest([{', '.join(cases)}]) as rule "
        f"from {place} as t) as judged where rule is not null "
        # Hashes are grouped first: far cheaper than grouping text, and equal ones are looked at again.
        f"union all select {_key(contract)} as row_key, 'duplicate_key' as rule from {place} as t "
        f"where hash({keys}) in (select hash({keys}) from {place} as t group by 1 having count(*) > 1) "
        f"group by {keys} having count(*) > 1"
    )


def reference_check_query(table: str) -> str | None:
    """Rows of a cleaned contract table that name a parent that is not there; None when it names no other table.

    A parent the source does not give at all is not asked for.
    """
    contract = CONTRACT[table]
    parts = []
    for column in contract.columns:
        if column.references:
            parent = CONTRACT[column.references]
            own, key = f"t.{quote(column.name)}", f"p.{quote(parent.key[0])}"
            provided = f"',' || replace(s.provided_tables, ' ', '') || ',', {literal(f',{parent.name},')}"
            parts.append(
                f"select {_key(contract)} as row_key, {literal('orphan_' + column.name)} as rule "
                f"from {checked_table(table)} as t where {own} is not null "
                f"and not exists (select 1 from clean.{parent.name} as p where {key} = {own}) "
                f"and (exists (select 1 from clean.{parent.name}) "
                f"or exists (select 1 from raw.source as s where contains({provided})))"
            )
    return " union all ".join(parts) or None


def _key(table: Table) -> str:
    return " || '|' || ".join(f"t.{quote(name)}" for name in table.key)


def _predicates(column: Column) -> list[tuple[str, str]]:
    """(rule, predicate on `t`) for one column."""
    value = f"t.{quote(column.name)}"
    found = []
    if column.is_key or column.is_required:
        found.append((f"missing_{column.name}", f"{value} is null"))
    limits = []
    if column.minimum is not None:
        limits.append(f"{value} < {column.minimum:.15g}")
    if column.maximum is not None:
        limits.append(f"{value} > {column.maximum:.15g}")
    if column.sql_type == "DOUBLE":
        limits.append(f"not isfinite({value})")
    if limits:
        found.append((f"out_of_range_{column.name}", " or ".join(limits)))
    if column.kind in (Kind.DATE, Kind.TIMESTAMP):
        found.append((f"before_1900_{column.name}", f"{value} < DATE '1900-01-01'"))
    if column.not_after_as_of:
        day = f"{value} > year($as_of)" if column.kind is Kind.YEAR else f"{value}::DATE > $as_of"
        found.append((f"after_as_of_{column.name}", day))
    if column.one_of:
        allowed = ", ".join(literal(word) for word in column.one_of)
        found.append((f"unknown_value_{column.name}", f"{value} not in ({allowed})"))
    return found
