"""Tables are written whole with declared types and comments; a SQL file that is not a SELECT is named with its line."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from segmentation_assets.warehouse import tables
from segmentation_assets.warehouse.connection import connect
from segmentation_assets.warehouse.sql_models import SQL_ROOT, SqlModelError, load_model, parents_of, parse_select


def test_a_frame_is_cast_to_the_declared_types_in_their_order(tmp_path: Path) -> None:
    frame = pl.DataFrame({"b": [None, None], "a": ["1", "2"]})
    with connect(tmp_path / "w.duckdb") as con:
        assert tables.create_from_frame(con, "x/t", frame, {"a": "BIGINT", "b": "DOUBLE"}) == 2
        assert [(c.name, c.sql_type) for c in tables.describe(con, "x/t")] == [("a", "BIGINT"), ("b", "DOUBLE")]


def test_a_frame_with_other_columns_is_refused_and_the_table_stays(tmp_path: Path) -> None:
    with connect(tmp_path / "w.duckdb") as con:
        tables.create_from_frame(con, "x/t", pl.DataFrame({"a": [1]}), {"a": "BIGINT"})
        with pytest.raises(ValueError, match=r"x/t: the frame lacks \['a'\] and has undeclared \['c'\]"):
            tables.create_from_frame(con, "x/t", pl.DataFrame({"c": [1]}), {"a": "BIGINT"})
        assert tables.count_rows(con, "x/t") == 1


def test_comments_reach_the_analyst(tmp_path: Path) -> None:
    with connect(tmp_path / "w.duckdb") as con:
        tables.create_from_query(con, "x/t", "select 1 as a, 2 as b")
        tables.comment(con, "x/t", "What it's about.", {"a": "The 'a'.", "z": "not there"})
        assert con.execute("select comment from duckdb_tables()").fetchall() == [("What it's about.",)]
        assert [(c.name, c.comment) for c in tables.describe(con, "x/t")] == [("a", "The 'a'."), ("b", "")]


def test_every_sql_model_is_one_select_with_a_description() -> None:
    files = [
        p for p in SQL_ROOT.rglob("*.sql") if p.relative_to(SQL_ROOT).parts[0] not in ("sources", "clean", "checks")
    ]
    assert len(files) > 10
    for path in files:
        assert load_model(path).description, path


def test_a_syntax_error_is_named_with_its_line(tmp_path: Path) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    (folder / "broken.sql").write_text("-- What.\nselect a,\nfrom where x\n", encoding="utf-8")
    with pytest.raises(SqlModelError, match=r"broken.sql, line \d"):
        load_model(folder / "broken.sql")


def test_a_file_that_changes_data_is_refused() -> None:
    with pytest.raises(SqlModelError, match="expected exactly one SELECT"):
        parse_select("drop table x", "it.sql")
    with pytest.raises(SqlModelError, match=r"found 2 statement"):
        parse_select("select 1; select 2", "it.sql")


def test_parents_are_tables_and_not_ctes() -> None:
    query = parse_select("with a as (from clean.orders) select * from a join features.order_lines using (x)", "it.sql")
    assert parents_of(query) == ("clean/orders", "features/order_lines")
