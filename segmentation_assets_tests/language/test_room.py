"""What the language room may know: it is handed values, and opens nothing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import segmentation_assets.language

ROOM = Path(segmentation_assets.language.__file__).parent
MODULES = sorted(ROOM.rglob("*.py"))
FORBIDDEN = (
    "duckdb", "dagster", "dagster_duckdb", "sqlalchemy", "sqlite3", "adbc_driver_duckdb", "sqlglot",
    "segmentation_assets.warehouse", "segmentation_assets.state", "segmentation_assets.sources",
    "segmentation_assets.settings", "segmentation_assets.defs", "segmentation_assets.orchestration",
    "segmentation_assets.cli", "segmentation_assets.definitions", "segmentation_assets.studio",
)  # fmt: skip
#: A table of the people database, as SQL or as an asset key.
PEOPLE = re.compile(r"\bpeople[./]\w|\bpeople\.duckdb|\b(?:raw_)?contacts\b")


def imported(tree: ast.AST) -> set[str]:
    """Every module that a tree imports, absolute names; `from a import b` gives a and a.b."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"__import__", "importlib.import_module"}:
            names.add(node.args[0].value if isinstance(node.args[0], ast.Constant) else ".computed")
    return names


def broken(source: str) -> list[str]:
    """What in a module's source the room may not have."""
    tree = ast.parse(source)
    found = [
        name
        for name in sorted(imported(tree))
        # A relative import or a computed one could lead anywhere.
        if name.startswith(".") or any(name == root or name.startswith(f"{root}.") for root in FORBIDDEN)
    ]
    return found + [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and PEOPLE.search(node.value)
    ]


@pytest.mark.parametrize(
    "source",
    [
        "import duckdb",
        "import dagster as dg",
        "from segmentation_assets.settings import Settings",
        "from segmentation_assets import warehouse",
        "def late():\n    from segmentation_assets.state.store import StateStore",
        "from ..sources import cleaning",
        "import importlib\nimportlib.import_module('duckdb')",
        "__import__(name)",
        "QUERY = 'select email from people.contacts'",
        "KEY = 'people/raw_contacts'",
    ],
)
def test_a_module_that_reaches_out_would_be_found(source: str) -> None:
    assert broken(source)


@pytest.mark.parametrize("module", MODULES, ids=[str(path.relative_to(ROOM)) for path in MODULES])
def test_no_module_of_language_reaches_a_database_or_another_room_with_one(module: Path) -> None:
    assert broken(module.read_text(encoding="utf-8")) == []


def test_the_room_is_read_whole() -> None:
    names = {path.name for path in MODULES}
    assert {"facts.py", "messages.py", "privacy_wall.py", "task.py", "profile_writer.py"} <= names
