"""No asset reads the answer key: only the world writes it, and only benchmarks and tests open it."""

from __future__ import annotations

import re
from pathlib import Path

import segmentation_assets

PACKAGE = Path(segmentation_assets.__file__).parent
ROOT = PACKAGE.parent
#: Outside sources/synthetic: where HOME's paths are declared, and where a source is told where to write.
MAY_NAME_IT = {"settings.py", "sources/choice.py"}
_NAMED = re.compile(r"answer[_ -]?key|read_answer|campaign_effects|taste_parameters|tastes\.parquet|personas\.parquet")


def _mentions(root: Path, pattern: str) -> set[str]:
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob(pattern)
        if _NAMED.search(path.read_text(encoding="utf-8")) and "__pycache__" not in path.parts
    }


def test_no_module_outside_the_synthetic_world_names_the_answer_key() -> None:
    named = {path for path in _mentions(PACKAGE, "*.py") if not path.startswith("sources/synthetic/")}
    assert named <= MAY_NAME_IT
    assert any(path.startswith("sources/synthetic/") for path in _mentions(PACKAGE, "*.py"))  # the search can find


def test_those_that_may_name_it_read_no_file_of_it() -> None:
    reads = re.compile(r"answer_key[^\n]*(read|scan|open)|(read|scan|open)\w*\([^\n]*answer_key")
    for path in MAY_NAME_IT & _mentions(PACKAGE, "*.py"):
        assert not reads.search((PACKAGE / path).read_text(encoding="utf-8")), path


def test_no_query_names_the_answer_key() -> None:
    assert _mentions(ROOT / "sql", "*.sql") == set()


def test_the_rooms_that_learn_do_not_import_the_synthetic_world() -> None:
    imports = re.compile(r"^\s*(from|import) segmentation_assets\.sources\.synthetic", re.MULTILINE)
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if imports.search(path.read_text(encoding="utf-8"))
    }
    assert {user for user in users if not user.startswith("sources/")} == set()
