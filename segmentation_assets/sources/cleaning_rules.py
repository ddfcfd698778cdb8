"""How a raw value is read and which rules it can break, as SQL text generated from the contract.

Here belong the expressions: one `Reading` per column (the value in its declared type, what is repaired on the way,
what cannot be read) and the list of `Rule`s of a table in their order of priority. Nothing here touches a database;
`cleaning.py` runs what is made here.

In every expression `r` is the raw table. Repairs and casts:

- Text and ids lose white space at both ends (no-break and zero-width spaces too); an empty text is null.
- Categories also lose runs of inner white space, and spellings that differ by case only become the most frequent
  one. Columns with a fixed list of values are compared in lower case and through their synonyms.
- Numbers, dates and booleans are cast. Rounding to the declared number of decimals is a cast, not a repair. Texts
  that stand for nothing (`NOTHING`), a decimal comma, separators of thousands and day-first or month-first dates are
  repaired only where a single reading is possible: `05-06-2021` is ambiguous and rejects the row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from segmentation_assets.sources.contract import Column, Kind, Table
from segmentation_assets.warehouse.connection import literal, quote

#: Rules in their order of priority: a row that breaks several is rejected for the first of them. The files of
#: `sql/clean/TABLE/` come last, by name.
RULE_PRIORITY: tuple[str, ...] = (
    "missing_key", "duplicate_key", "missing_required",
    "not_a_date", "not_a_timestamp", "not_a_number", "not_an_integer", "not_a_boolean", "not_a_year",
    "out_of_range", "before_1900", "after_as_of", "unknown_value", "orphan", "parent_rejected", "wrong_currency",
)  # fmt: skip

#: Texts that mean "nothing" in a column of numbers, dates or booleans. In categories `NA` and `none` are values.
NOTHING = ("", "null", "none", "n/a", "na", "\\n")
NOTHING_IN_CATEGORIES = ("", "null", "n/a", "\\n")

#: The source's row number in a relation of readings (0-based, the rowid of the raw table).
ROW = "_row_id"

_SPACE = r"[\s\p{Z}\x{200B}\x{FEFF}]"
_EDGE = f"^{_SPACE}+|{_SPACE}+$"
_FIRST_YEAR = 1900
_SHOWN_LENGTH = 60

_UNREADABLE: dict[Kind, tuple[str, str]] = {
    Kind.DATE: ("not_a_date", "is not a date (expected year-month-day)"),
    Kind.TIMESTAMP: ("not_a_timestamp", "is not a point in time (expected year-month-day hour:minute:second)"),
    Kind.NUMBER: ("not_a_number", "is not a number"),
    Kind.QUANTITY: ("not_a_number", "is not a number"),
    Kind.MONEY: ("not_a_number", "is not a number"),
    Kind.SHARE: ("not_a_number", "is not a number"),
    Kind.INTEGER: ("not_an_integer", "is not a whole number"),
    Kind.YEAR: ("not_a_year", "is not a year"),
    Kind.BOOLEAN: ("not_a_boolean", "is neither true nor false"),
}
_FLOATS = ("FLOAT", "DOUBLE")
_WHOLE = (
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """How one column of a raw table is read.

    `value` has the declared type and is null where the raw value is absent or cannot be read. The predicates are
    null or false where they do not apply. `plain` is the same as `value` for a column in which nothing is repaired.
    `steps` are named expressions the others are made of, level by level: each level may use the ones before.
    """

    column: Column
    text: str
    value: str
    plain: str
    unreadable: str | None = None
    beyond: str | None = None
    unknown: str | None = None
    is_repaired: str | None = None
    repaired_text: str = ""
    repair_rule: str = ""
    steps: tuple[tuple[tuple[str, str], ...], ...] = ()

    def without_repairs(self) -> Reading:
        """The cheaper reading for a column whose every value is fine as it is."""
        return replace(self, value=self.plain, is_repaired=None)


@dataclass(frozen=True)
class Rule:
    """One rule on one column of a table; `broken` is a predicate on `r`, `detail` a SQL text expression."""

    name: str
    column: str
    broken: str
    detail: str


def is_numeric(sql_type: str) -> bool:
    """Whether a DuckDB type is one of numbers."""
    return sql_type in _WHOLE or sql_type in _FLOATS or sql_type.startswith("DECIMAL")


def trimmed(text: str) -> str:
    """`text` without white space of any kind at its ends."""
    return f"regexp_replace({text}, '{_EDGE}', '', 'g')"


def collapsed(text: str) -> str:
    """`text` trimmed, inner runs of white space made one space."""
    return f"trim(regexp_replace({text}, '{_SPACE}+', ' ', 'g'))"


def _is_in(text: str, values: Sequence[str]) -> str:
    # Not `text in (...)`: a longer list becomes a join, which is slower and gives up the order of the rows.
    return f"regexp_full_match({text}, {literal('|'.join(re.escape(value) for value in values))})"


def _finite(value: str, sql_type: str) -> str:
    return f"isfinite({value})" if sql_type in _FLOATS else "true"


def read_column(
    column: Column, raw_type: str, spelling: str | None = None, *, is_declared: bool = True, slot: int = 0
) -> Reading:
    """How `column` is read from a raw column of `raw_type`.

    `spelling` is the alias of a joined table (before, after, rule) with the values of a category that change.
    `slot` is a number of the column's own, used in the names of its steps.
    In a further attribute (not `is_declared`) NaN is how many tools write "unknown": it becomes null.
    """
    x = f"r.{quote(column.name)}"
    if not is_declared and raw_type in _FLOATS:
        value = f"case when not isnan({x}) then {x}::DOUBLE end"
        return Reading(
            column,
            f"{x}::VARCHAR",
            value,
            plain=f"{x}::DOUBLE",
            beyond=f"isinf({x})",
            is_repaired=f"isnan({x})",
            repaired_text="null::VARCHAR",
            repair_rule="'empty_to_null'",
        )
    text = x if raw_type == "VARCHAR" else f"{x}::VARCHAR"
    if column.kind is Kind.CATEGORY:
        return _read_category(column, text, spelling)
    if column.is_personal and column.name == "email":
        return _read_email(column, text, slot)
    if column.kind in (Kind.ID, Kind.TEXT):
        return _read_text(column, x, raw_type)
    if column.kind in (Kind.DATE, Kind.TIMESTAMP):
        return _read_time(column, x, raw_type, slot)
    if column.kind is Kind.BOOLEAN:
        return _read_boolean(column, x, raw_type)
    return _read_number(column, x, raw_type, slot)


def _read_category(column: Column, text: str, spelling: str | None) -> Reading:
    if spelling is None:
        return Reading(column, text, text, text)
    changed = f"{spelling}.rule is not null"
    unknown = f"{spelling}.rule = 'unknown_value'"
    return Reading(
        column,
        text,
        value=f"case when {changed} then {spelling}.after else {text} end",
        plain=text,
        unknown=unknown,
        is_repaired=f"{changed} and not ({unknown})",
        repaired_text=f"{spelling}.after",
        repair_rule=f"{spelling}.rule",
    )


def _read_text(column: Column, x: str, raw_type: str) -> Reading:
    if raw_type != "VARCHAR":
        # An integer id that passed through a float ("17.0") must meet its other half in the next table.
        if column.kind is Kind.ID and (raw_type in _FLOATS or raw_type.startswith("DECIMAL")):
            whole = f"case when {_finite(x, raw_type)} and {x} = trunc({x}) then try_cast({x} as HUGEINT)::VARCHAR"
            value = f"{whole} when {_finite(x, raw_type)} then {x}::VARCHAR end"
            return Reading(column, f"{x}::VARCHAR", value, value)
        return Reading(column, f"{x}::VARCHAR", f"{x}::VARCHAR", f"{x}::VARCHAR")
    clean = trimmed(x)
    # A missing link is often written as text; a key or a required link written so is looked up as it stands.
    is_loose_link = bool(column.references) and not column.is_required
    nothing = ("", "null", "none", "n/a", "\\n") if is_loose_link else ("",)
    is_nothing = _is_in(f"lower({clean})", nothing)
    hint = f"regexp_matches({x}, '{_EDGE}') or {_is_in(f'lower({x})', nothing)}"
    value = f"case when {hint} then case when {is_nothing} then null else {clean} end else {x} end"
    return Reading(
        column,
        text=x,
        value=value,
        plain=x,
        is_repaired=hint,
        repaired_text=value,
        repair_rule=f"case when {is_nothing} then 'empty_to_null' else 'trimmed' end",
    )


#: Dot-separated ASCII words, then labels of letters (of any script), digits and inner hyphens, the last of letters or
#: in Punycode. No counted repetitions: with them the same match takes a hundred times as long.
_WORD = "[a-z0-9!#$%&''*+/=?^_`{|}~-]+"
_LABEL = r"[\p{L}\p{N}]+(-+[\p{L}\p{N}]+)*"
_ADDRESS = rf"{_WORD}(\.{_WORD})*@({_LABEL}\.)+(\p{{L}}\p{{L}}+|xn--[a-z0-9-]+)"
_LONG_LABEL = r"@([^@]*\.)?[^.@]{64}"


def _read_email(column: Column, x: str, slot: int) -> Reading:
    """An address in lower case, null when it is malformed.

    Conservative: the words of RFC 5321 without quoting, at most 64 characters before the @, 63 in a label of
    the domain and 254 in all; names before the @ in other scripts are taken for malformed, since most servers cannot
    deliver to them.
    """
    t, address = (f"r.{quote(f'_{slot}_{part}')}" for part in ("trimmed", "address"))
    is_address = (
        f"length({t}) <= 254 and position('@' in {t}) <= 65 and regexp_full_match(lower({t}), '{_ADDRESS}') "
        f"and case when length({t}) <= 64 then true else not regexp_matches({t}, '{_LONG_LABEL}') end"
    )
    return Reading(
        column,
        text=x,
        value=address,
        plain=x,
        is_repaired=f"{x} is not null and {address} is distinct from {x}",
        repaired_text=address,
        repair_rule=(
            f"case when {t} = '' then 'empty_to_null' when {address} is null then 'malformed_email' "
            f"when {address} = {t} then 'trimmed' else 'case' end"
        ),
        steps=(
            ((f"_{slot}_trimmed", trimmed(x)),),
            ((f"_{slot}_address", f"case when {is_address} then lower({t}) end"),),
        ),
    )


def _read_number(column: Column, x: str, raw_type: str, slot: int) -> Reading:
    to = column.sql_type
    is_whole = column.kind in (Kind.INTEGER, Kind.YEAR)
    if raw_type == "BOOLEAN":
        x, raw_type = f"{x}::INTEGER", "INTEGER"
    if is_numeric(raw_type):
        cast = x if raw_type == to else f"try_cast({x} as {to})"
        text = f"{x}::VARCHAR"
        if is_whole and raw_type not in _WHOLE:
            value = f"case when {x} = trunc({x}) then {cast} end"
            broken = f"{_finite(x, raw_type)} and {x} <> trunc({x})"
            beyond = f"{x} is not null and not ({broken}) and ({value}) is null"
            return Reading(column, text, value, value, unreadable=broken, beyond=beyond)
        lost = f"{x} is not null and {cast} is null"
        beyond = f"{lost} or not isfinite({cast})" if to in _FLOATS else lost
        if to in _FLOATS and raw_type not in _FLOATS:
            beyond = lost
        return Reading(column, text, cast, cast, beyond=None if raw_type == to and to not in _FLOATS else beyond)
    text = x if raw_type == "VARCHAR" else f"{x}::VARCHAR"
    first, t, nothing, written, second = (f"r.{quote(f'_{slot}_{part}')}" for part in _PARTS)
    comma, points, commas = (
        f"regexp_full_match({t}, '[+-]?{digits}')"
        for digits in (r"\d+,\d{1,2}", r"\d{1,3}(\.\d{3})+,\d{1,2}", r"\d{1,3}(,\d{3})+\.\d+")
    )
    rewritten = (
        f"case when {comma} then replace({t}, ',', '.') when {points} then replace(replace({t}, '.', ''), ',', '.') "
        f"when {commas} then replace({t}, ',', '') else {t} end"
    )
    read = f"coalesce({first}, {second})"
    final = f"coalesce(try_cast({text} as {to}), try_cast({written} as {to}))"
    if is_whole:
        value = f"case when {read} = trunc({read}) then {final} end"
        unreadable = (
            f"{text} is not null and not coalesce({nothing}, false) and coalesce({read} <> trunc({read}), true)"
        )
        beyond = f"{read} = trunc({read}) and ({value}) is null"
    else:
        value = final
        unreadable = f"{text} is not null and not coalesce({nothing}, false) and {read} is null"
        finite = f" or not isfinite({value})" if to in _FLOATS else ""
        beyond = f"{read} is not null and ({value} is null{finite})"
    return Reading(
        column,
        text,
        value,
        plain=f"try_cast({text} as {to})",
        unreadable=unreadable,
        beyond=beyond,
        is_repaired=f"{text} is not null and {first} is null and ({nothing} or {second} is not null)",
        repaired_text=f"case when not {nothing} then {written} end",
        repair_rule=(
            f"case when {nothing} then 'empty_to_null' when {commas} then 'thousands_separator' "
            f"when contains({t}, ',') then 'decimal_comma' else 'trimmed' end"
        ),
        steps=_steps(slot, text, f"try_cast({text} as DOUBLE)", rewritten, f"try_cast({written} as DOUBLE)"),
    )


_PARTS = ("first", "trimmed", "nothing", "written", "second")


def _steps(slot: int, text: str, first: str, rewritten: str, second: str) -> tuple[tuple[tuple[str, str], ...], ...]:
    """The text read as it is; only where that fails trimmed, compared with `NOTHING`, rewritten and read again."""
    name = {part: f"_{slot}_{part}" for part in _PARTS}
    t = f"r.{quote(name['trimmed'])}"
    return (
        ((name["first"], first),),
        ((name["trimmed"], f"case when r.{quote(name['first'])} is null then {trimmed(text)} end"),),
        ((name["nothing"], _is_in(f"lower({t})", NOTHING)), (name["written"], rewritten)),
        ((name["second"], second),),
    )


def reads_directly(column: Column, raw_type: str) -> str | None:
    """A predicate on `r`: the text of this column is absent or needs a cast only. None where no text is cast."""
    if column.kind in (Kind.ID, Kind.TEXT, Kind.CATEGORY, Kind.BOOLEAN) or is_numeric(raw_type):
        return None
    if raw_type in ("BOOLEAN", "DATE") or raw_type.startswith("TIMESTAMP"):
        return None
    x = f"r.{quote(column.name)}"
    text = x if raw_type == "VARCHAR" else f"{x}::VARCHAR"
    if column.kind in (Kind.DATE, Kind.TIMESTAMP):
        return f"{text} is null or ({_as_time(text, column.sql_type)}) is not null"
    cast, double = f"try_cast({text} as {column.sql_type})", f"try_cast({text} as DOUBLE)"
    if column.kind in (Kind.INTEGER, Kind.YEAR):
        return f"{text} is null or ({cast} is not null and {double} = trunc({double}))"
    if column.sql_type in _FLOATS:
        return f"{text} is null or isfinite({cast})"
    return f"{text} is null or {cast} is not null"


def read_directly(column: Column, raw_type: str) -> Reading:
    """The reading of a column for which `reads_directly` holds in every row."""
    x = f"r.{quote(column.name)}"
    text = x if raw_type == "VARCHAR" else f"{x}::VARCHAR"
    is_time = column.kind in (Kind.DATE, Kind.TIMESTAMP)
    cast = _as_time(text, column.sql_type) if is_time else f"try_cast({text} as {column.sql_type})"
    return Reading(column, text, cast, cast)


def read_nothing(column: Column) -> Reading:
    """The reading of a column that is null in every row."""
    null = f"null::{column.sql_type}"
    return Reading(column, "null::VARCHAR", null, null)


def _read_boolean(column: Column, x: str, raw_type: str) -> Reading:
    if raw_type == "BOOLEAN":
        return Reading(column, f"{x}::VARCHAR", x, x)
    text = x if raw_type == "VARCHAR" else f"{x}::VARCHAR"
    word = f"lower({trimmed(text)})"
    value = (
        f"case when {_is_in(word, ('true', 't', 'yes', 'y', '1', '1.0'))} then true "
        f"when {_is_in(word, ('false', 'f', 'no', 'n', '0', '0.0'))} then false end"
    )
    if is_numeric(raw_type):
        value = f"case {x} when 1 then true when 0 then false end"
    is_nothing = _is_in(word, NOTHING)
    return Reading(
        column,
        text,
        value,
        value,
        unreadable=f"{text} is not null and ({value}) is null and not ({is_nothing})",
        is_repaired=is_nothing,
        repaired_text="null::VARCHAR",
        repair_rule="'empty_to_null'",
    )


def _as_time(text: str, to: str) -> str:
    """`text` as a date or a naive UTC timestamp; an offset from UTC is honoured (a plain cast would drop it)."""
    if to == "DATE":
        cast = f"try_cast({text} as DATE)"
        return f"case when isfinite({cast}) then {cast} end"
    plain = f"try_cast({text} as TIMESTAMP)"
    shifted = f"timezone('UTC', try_cast({text} as TIMESTAMPTZ))"
    cast = (
        f"case when regexp_matches({text}, ':\\d\\d(\\.\\d+)? ?([+-]\\d|[A-Za-z]+/)') then {shifted} else {plain} end"
    )
    return f"case when isfinite({plain}) then {cast} end"


def _read_time(column: Column, x: str, raw_type: str, slot: int) -> Reading:
    to = column.sql_type
    text = x if raw_type == "VARCHAR" else f"{x}::VARCHAR"
    if raw_type == "DATE" or raw_type.startswith("TIMESTAMP"):
        # Finiteness is asked of the raw value: infinity survives every cast.
        inner = f"timezone('UTC', {x})" if raw_type == "TIMESTAMP WITH TIME ZONE" else x
        cast = inner if raw_type == to else f"try_cast({inner} as {to})"
        unreadable = f"{x} is not null and ({cast} is null or not isfinite({cast}))"
        return Reading(column, text, cast, cast, unreadable=unreadable)
    first, t, nothing, written, second = (f"r.{quote(f'_{slot}_{part}')}" for part in _PARTS)
    parts = r"^(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})([T ].*)?$"
    a, b, year, rest = (f"regexp_extract({t}, '{parts}', {group})" for group in (1, 2, 3, 4))

    def iso(month: str, day: str) -> str:
        return f"{year} || '-' || lpad({month}, 2, '0') || '-' || lpad({day}, 2, '0') || {rest}"

    rewritten = (
        f"case when regexp_matches({t}, '{parts}') then "
        f"case when {a}::INTEGER > 12 or {a} = {b} then {iso(month=b, day=a)} "
        f"when {b}::INTEGER > 12 then {iso(month=a, day=b)} end "
        f"when regexp_full_match({t}, '(19|20)\\d{{6}}') "
        f"then {t}[1:4] || '-' || {t}[5:6] || '-' || {t}[7:8] else {t} end"
    )
    direct = _as_time(text, to)
    value = f"coalesce({first}, case when not {nothing} then {second} end)"
    return Reading(
        column,
        text,
        value,
        plain=direct,
        unreadable=f"{text} is not null and ({value}) is null and not coalesce({nothing}, false)",
        is_repaired=f"{text} is not null and {first} is null and ({nothing} or {second} is not null)",
        repaired_text=f"case when not {nothing} then {written} end",
        repair_rule=(
            f"case when {nothing} then 'empty_to_null' when {written} <> {t} then 'date_format' else 'trimmed' end"
        ),
        steps=_steps(slot, text, direct, rewritten, _as_time(written, to)),
    )


def spelling_query(column: Column, raw: str, raw_type: str, currency: str | None = None) -> str:
    """The distinct values of a category that are not kept as they are: (before, after, rule).

    `rule` is the repair (`synonym`, `case`, `trimmed`, `empty_to_null`) or `unknown_value`. With `currency` that code
    is the only value. Without a fixed list the most frequent spelling wins, the first in code-point order on a tie.
    """
    x = f"r.{quote(column.name)}"
    text = x if raw_type == "VARCHAR" else f"{x}::VARCHAR"
    counted = (
        f"select {text} as before, {collapsed(text)} as tidy, lower({collapsed(text)}) as folded, count(*) as n "
        f"from {raw} r where {x} is not null group by all"
    )
    if column.one_of or currency is not None:
        allowed = {value.lower(): value for value in ((currency,) if currency is not None else column.one_of)}
        known = {**{word.lower(): after for word, after in column.synonyms.items()}, **allowed}
        nothing = {word: None for word in NOTHING if word not in known}
        entries = ", ".join(
            f"({literal(word)}, {'null' if after is None else literal(after)})"
            for word, after in {**known, **nothing}.items()
        )
        return (
            f"with counted as ({counted}), known(folded, after) as (values {entries}) "
            "select before, known.after, "
            "case when known.folded is null then 'unknown_value' when known.after is null then 'empty_to_null' "
            "when tidy = known.after then 'trimmed' when folded = lower(known.after) then 'case' "
            "else 'synonym' end as rule "
            "from counted left join known using (folded) where before is distinct from known.after"
        )
    is_nothing = _is_in("folded", NOTHING_IN_CATEGORIES)
    return (
        f"with counted as ({counted}), "
        "spelled as (select folded, tidy, sum(n) as n from counted group by folded, tidy), "
        "best as (select folded, first(tidy order by n desc, tidy) as after from spelled group by folded) "
        f"select before, case when {is_nothing} then null else best.after end as after, "
        f"case when {is_nothing} then 'empty_to_null' "
        "when tidy = best.after then 'trimmed' else 'case' end as rule "
        "from counted join best using (folded) "
        f"where before <> best.after or {is_nothing}"
    )


def shown(text: str) -> str:
    """A raw text in quotes for a sentence, cut where it is very long."""
    cut = f"left({text}, {_SHOWN_LENGTH}) || '…'"
    return f"'''' || case when length({text}) > {_SHOWN_LENGTH} then {cut} else {text} end || ''''"


def _says(column: str, text: str, rest: str) -> str:
    return f"{literal(column + ' ')} || {shown(text)} || {literal(' ' + rest + '.')}"


def _plain_number(value: float) -> str:
    return f"{value:.15g}" if value != int(value) else str(int(value))


def column_rules(table: Table, readings: Sequence[Reading], as_of: date, currency: str | None = None) -> list[Rule]:
    """Every rule that a row can be judged by alone, in order of priority (then column order)."""
    found: list[Rule] = []
    for reading in readings:
        column, name, value = reading.column, reading.column.name, reading.value
        absent = f"({value}) is null"
        for other in (reading.unreadable, reading.beyond, reading.unknown):
            if other is not None:
                absent += f" and not coalesce({other}, false)"
        if column.is_key:
            said = literal(f"{name} is empty, and it is part of the key.")
            found.append(Rule("missing_key", name, absent, said))
        elif column.is_required:
            found.append(Rule("missing_required", name, absent, literal(f"{name} is empty, and it is required.")))
        if reading.unreadable is not None:
            rule, words = _UNREADABLE[column.kind]
            found.append(Rule(rule, name, reading.unreadable, _says(name, reading.text, words)))
        found += _range_rules(reading)
        if column.kind in (Kind.DATE, Kind.TIMESTAMP):
            first = f"({value}) < DATE '{_FIRST_YEAR}-01-01' and isfinite({value})"
            found.append(Rule("before_1900", name, first, _says(name, reading.text, f"is before {_FIRST_YEAR}")))
        if column.not_after_as_of:
            found.append(_after_as_of(reading, as_of))
        if reading.unknown is not None:
            if currency is not None and (table.name, name) == ("orders", "currency"):
                words = f"is not the source's currency, {currency}"
                found.append(Rule("wrong_currency", name, reading.unknown, _says(name, reading.text, words)))
            else:
                words = "is not one of " + ", ".join(column.one_of)
                found.append(Rule("unknown_value", name, reading.unknown, _says(name, reading.text, words)))
    return sorted(found, key=lambda rule: RULE_PRIORITY.index(rule.name))


def _range_rules(reading: Reading) -> list[Rule]:
    column, value = reading.column, reading.value
    limits = []
    if reading.beyond is not None:
        limits.append(f"({reading.beyond})")
    low = None if column.minimum is None else _plain_number(column.minimum)
    high = None if column.maximum is None else _plain_number(column.maximum)
    if low is not None:
        limits.append(f"({value}) < {low}")
    if high is not None:
        limits.append(f"({value}) > {high}")
    if not limits:
        return []
    if low is not None and high is not None:
        words = f"is outside {low} to {high}"
    elif low is not None:
        words = f"is below {low} or not finite"
    else:
        words = "is not a finite number that fits the column"
    return [Rule("out_of_range", column.name, " or ".join(limits), _says(column.name, reading.text, words))]


def _after_as_of(reading: Reading, as_of: date) -> Rule:
    column, value = reading.column, reading.value
    if column.kind is Kind.YEAR:
        broken, words = f"({value}) > {as_of.year}", f"is after {as_of.year}, the year of the as-of date"
    else:
        compared = f"({value})::DATE" if column.kind is Kind.TIMESTAMP else f"({value})"
        broken = f"isfinite({value}) and {compared} > DATE '{as_of.isoformat()}'"
        words = f"is after {as_of.isoformat()}, the as-of date"
    return Rule("after_as_of", column.name, broken, _says(column.name, reading.text, words))


def key_text(table: Table, alias: str) -> str:
    """The key of a row of `alias` as text, parts joined by `|`."""
    return " || '|' || ".join(f"{alias}.{quote(name)}" for name in table.key)


def all_columns(table: Table, raw_columns: Sequence[tuple[str, str]]) -> tuple[Column, ...]:
    """The contract's columns of `table` and, for the open table, the source's further ones (name, DuckDB type).

    Further numbers become DOUBLE, booleans stay, everything else is a category.
    """
    if not table.is_open:
        return table.columns
    further = []
    for name, sql_type in raw_columns:
        if name not in table.column_names:
            kind = Kind.BOOLEAN if sql_type == "BOOLEAN" else Kind.NUMBER if is_numeric(sql_type) else Kind.CATEGORY
            further.append(Column(name, kind, "Further attribute given by the source."))
    return table.columns + tuple(further)
