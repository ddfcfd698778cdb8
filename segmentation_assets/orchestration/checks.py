"""SQL checks: files of `sql/checks/SCHEMA/TABLE/`, grouped into at most three asset checks per table.

A rule's query returns the rows that break it; zero rows pass. Rules are evaluated by the step that writes the table,
inside its transaction, so that a blocking failure leaves the old table in place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import dagster as dg
import duckdb

from segmentation_assets.warehouse.sql_models import SQL_ROOT, SqlModelError, parents_of, parse_select, read_header

GROUPS = ("contract", "references", "business")
_SAMPLE = 5


@dataclass(frozen=True)
class Rule:
    """One rule of one table. `query` returns offending rows, their key columns first."""

    name: str
    group: str
    description: str
    query: str
    is_error: bool = True
    is_blocking: bool = False
    remedy: str = ""


@dataclass(frozen=True)
class RuleOutcome:
    """How many rows broke a rule, and a few of them."""

    rule: Rule
    broken: int
    sample: tuple[str, ...]


@lru_cache(maxsize=256)
def rules_of(table: str) -> tuple[Rule, ...]:
    """The rules in `sql/checks/` for `schema/table`, by name. SqlModelError names what is wrong with a file."""
    rules = []
    for path in sorted((SQL_ROOT / "checks" / table).glob("*.sql")):
        text = path.read_text(encoding="utf-8")
        where = f"sql/checks/{table}/{path.name}"
        parse_select(text, where)
        description, facts, _ = read_header(text)
        group, severity, blocking = facts.get("group"), facts.get("severity"), facts.get("blocking")
        if group not in GROUPS or severity not in ("error", "warning") or blocking not in ("yes", "no"):
            raise SqlModelError(
                f"{where}: the header needs `group: {'|'.join(GROUPS)}`, `severity: error|warning` and "
                f"`blocking: yes|no`; found {facts}."
            )
        if blocking == "yes" and severity != "error":
            raise SqlModelError(f"{where}: only an error can block.")
        rules.append(
            Rule(
                path.stem,
                group,
                description,
                text.rstrip().rstrip(";"),
                severity == "error",
                blocking == "yes",
                facts.get("remedy", ""),
            )
        )
    return tuple(rules)


def parents_of_rules(table: str) -> set[str]:
    """Tables that the rules of `schema/table` read beside it: they must be there before it is checked."""
    found = {parent for rule in rules_of(table) for parent in parents_of(parse_select(rule.query, rule.name))}
    return found - {table}


def check_specs(table: str, rules: Sequence[Rule]) -> list[dg.AssetCheckSpec]:
    """One check spec for each group that has rules."""
    specs = []
    for group in GROUPS:
        of_group = [rule for rule in rules if rule.group == group]
        if of_group:
            specs.append(
                dg.AssetCheckSpec(
                    name=group,
                    asset=dg.AssetKey(table.split("/")),
                    description="\n".join(f"- {rule.name}: {rule.description}" for rule in of_group),
                    blocking=any(rule.is_blocking for rule in of_group),
                )
            )
    return specs


def evaluate(con: duckdb.DuckDBPyConnection, rules: Iterable[Rule], as_of: date | None) -> list[RuleOutcome]:
    """Run each rule on this connection."""
    outcomes = []
    for rule in rules:
        parameters = {"as_of": as_of} if "$as_of" in rule.query else {}
        cursor = con.execute(
            f"with broken as ({rule.query}\n) select count(*), (select list(b) from "
            f"(select broken as b from broken limit {_SAMPLE}) as few) from broken",
            parameters,
        )
        count, sample = cursor.fetchall()[0]
        shown = tuple(json.dumps(row, default=str, ensure_ascii=False) for row in sample or ())
        outcomes.append(RuleOutcome(rule, int(count), shown))
    return outcomes


def results(table: str, outcomes: Sequence[RuleOutcome]) -> list[dg.AssetCheckResult]:
    """One check result for each group, with every rule's count, sample and remedy."""
    found = []
    for group in GROUPS:
        of_group = [outcome for outcome in outcomes if outcome.rule.group == group]
        if not of_group:
            continue
        broken = [outcome for outcome in of_group if outcome.broken]
        # Dagster blocks on any error of a blocking check: beside a blocking rule the others can only warn.
        can_block = any(outcome.rule.is_blocking for outcome in of_group)
        is_error = any(o.rule.is_blocking if can_block else o.rule.is_error for o in broken)
        lines = ["| rule | rows that break it | for example | what to do |", "|---|---|---|---|"]
        lines += [
            f"| {o.rule.name} | {o.broken:,} | {'; '.join(o.sample).replace('|', '/')} | {o.rule.remedy} |"
            for o in of_group
        ]
        found.append(
            dg.AssetCheckResult(
                asset_key=dg.AssetKey(table.split("/")),
                check_name=group,
                passed=not broken,
                severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
                description=" ".join(
                    f"{o.rule.name}: {o.broken:,}. {o.rule.description} {o.rule.remedy}".rstrip() for o in broken
                )
                or "All rules hold.",
                metadata={
                    "rules": dg.MetadataValue.md("\n".join(lines)),
                    "rows_that_break_a_rule": sum(outcome.broken for outcome in broken),
                },
            )
        )
    return found


def blocking_sentence(table: str, outcomes: Sequence[RuleOutcome]) -> str | None:
    """Why the table may not be written, or None."""
    blocked = [o for o in outcomes if o.broken and o.rule.is_blocking]
    if not blocked:
        return None
    parts = [
        f"{o.rule.name} ({o.broken:,} rows, for example {'; '.join(o.sample[:2])}). {o.rule.remedy}".strip()
        for o in blocked
    ]
    return f"{table.replace('/', '.')} was not replaced, because rows break a blocking rule: " + " ".join(parts)
