"""The published copy is whole, swapped in at once, readable while it is replaced, and holds no free text."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from segmentation_assets.warehouse.connection import connect
from segmentation_assets.warehouse.publish import publish


def make(path: Path, value: int) -> None:
    with connect(path) as con:
        con.execute("create schema if not exists raw; create schema if not exists quality")
        con.execute(f"create or replace table raw.reviews as select {value} as review_id, 'Ann was rude' as body")
        con.execute(
            "create or replace table quality.rejected_rows as select 'reviews' as table_name, "
            """'{"review_id": "1", "body": "Ann was rude"}' as row_json"""
        )


def test_a_reader_keeps_its_copy_and_a_new_reader_sees_the_new_one(tmp_path: Path) -> None:
    warehouse, published = tmp_path / "w.duckdb", tmp_path / "p.duckdb"
    make(warehouse, 1)
    publish(warehouse, published)
    with connect(published, read_only=True) as old:
        make(warehouse, 2)
        publish(warehouse, published)
        assert old.execute("select review_id from raw.reviews").fetchall() == [(1,)]
    with connect(published, read_only=True) as new:
        assert new.execute("select review_id from raw.reviews").fetchall() == [(2,)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.duckdb", "w.duckdb"]


def test_free_text_stays_out_of_the_copy_and_in_the_warehouse(tmp_path: Path) -> None:
    warehouse, published = tmp_path / "w.duckdb", tmp_path / "p.duckdb"
    make(warehouse, 1)
    publish(
        warehouse,
        published,
        hidden_columns={"raw/reviews": ["body"], "raw/none": ["x"]},
        hidden_json={"reviews": ["body"]},
    )
    with connect(published, read_only=True) as con:
        assert con.execute("from raw.reviews").fetchall() == [(1,)]
        assert con.execute("select row_json from quality.rejected_rows").fetchall() == [('{"review_id":"1"}',)]
    with connect(warehouse, read_only=True) as con:
        assert con.execute("select body from raw.reviews").fetchall() == [("Ann was rude",)]


LIMITED = """
import resource, signal, sys
from pathlib import Path
from segmentation_assets.warehouse.publish import PublishError, publish
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    publish(Path(sys.argv[1]), Path(sys.argv[2]))
except PublishError as error:
    print(error)
"""


def test_a_copy_that_does_not_fit_leaves_the_one_before(tmp_path: Path) -> None:
    warehouse, published = tmp_path / "w.duckdb", tmp_path / "p.duckdb"
    make(warehouse, 1)
    publish(warehouse, published)
    before = published.read_bytes()
    make(warehouse, 2)
    with connect(warehouse) as con:
        con.execute("checkpoint warehouse")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(warehouse), str(published)], capture_output=True, text=True, check=True
    )
    assert "The copy to p.duckdb failed (OSError" in done.stdout
    assert "The one before is as it was." in done.stdout
    assert published.read_bytes() == before
    assert not (tmp_path / "p.tmp").exists()
