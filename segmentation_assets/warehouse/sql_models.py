"""SQL models: one SELECT in one file; its place is its name, its header its description.

A header is the block of `--` lines at the top. Lines of the form `-- key: value` are facts of the model (`grain`,
`severity`, ...); the others, joined, are its description. Parents are read from the FROM clauses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import sqlglot
from sqlglot import exp

#: The folder with every SQL file of the project.
SQL_ROOT = Path(__file__).resolve().parents[2] / "sql"

_FACT = re.compile(r"^(?P<key>[a-z_]+): (?P<value>.+)$")


class SqlModelError(ValueError):
    """A SQL file is not what it must be; the message says file, line and what is expected."""


@dataclass(frozen=True)
class SqlModel:
    """A SELECT read from a file. `name` is `schema/table`; `columns` are descriptions from the header."""

    name: str
    path: Path
    query: str
    description: str
    facts: dict[str, str]
    parents: tuple[str, ...]
    columns: dict[str, str] = field(default_factory=dict)

    @property
    def needs_as_of(self) -> bool:
        """Whether the query uses the parameter `$as_of`."""
        return "$as_of" in self.query


def read_header(text: str) -> tuple[str, dict[str, str], dict[str, str]]:
    """Description, facts and column descriptions (`-- column NAME: text`) from the comment lines at the top."""
    words: list[str] = []
    facts: dict[str, str] = {}
    columns: dict[str, str] = {}
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        content = line[2:].strip()
        if content.startswith("column ") and ": " in content:
            name, _, about = content.removeprefix("column ").partition(": ")
            columns[name.strip()] = about.strip()
        elif found := _FACT.match(content):
            facts[found["key"]] = found["value"]
        elif content:
            words.append(content)
    return " ".join(words), facts, columns


def parse_select(text: str, where: str) -> exp.Query:
    """The one SELECT in `text`. SqlModelError with file and line when it is something else."""
    try:
        statements = [s for s in sqlglot.parse(text, dialect="duckdb") if s is not None]
    except sqlglot.errors.ParseError as error:
        first = error.errors[0] if error.errors else {"line": "?", "description": str(error)}
        raise SqlModelError(f"{where}, line {first['line']}: {first['description']}") from None
    except sqlglot.errors.TokenError as error:
        raise SqlModelError(f"{where}: {error}") from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise SqlModelError(f"{where}: expected exactly one SELECT and found {len(statements)} statement(s).")
    return statements[0]


def parents_of(query: exp.Query) -> tuple[str, ...]:
    """`schema/table` of every table a query reads, sorted; names of its own CTEs are not tables."""
    found = {
        f"{table.db}/{table.name}"
        for table in query.find_all(exp.Table)
        if table.db and isinstance(table.this, exp.Identifier)
    }
    return tuple(sorted(found))


@lru_cache(maxsize=512)
def load_model(path: Path) -> SqlModel:
    """Read one SQL model; the folder and the file name are its name."""
    text = path.read_text(encoding="utf-8")
    description, facts, columns = read_header(text)
    if not description:
        raise SqlModelError(f"{path.name}: the file must open with a `--` comment that says what it is.")
    return SqlModel(
        name=f"{path.parent.name}/{path.stem}",
        path=path,
        query=text.rstrip().rstrip(";"),
        description=description,
        facts=facts,
        parents=parents_of(parse_select(text, path.name)),
        columns=columns,
    )


def load_models(schema: str, root: Path = SQL_ROOT) -> list[SqlModel]:
    """Every model of one folder of `sql/`, by name."""
    return [load_model(path) for path in sorted((root / schema).glob("*.sql"))]
