"""From a customer's wish to the published copy, on the synthetic world: forgotten, and kept out of profiling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer
from typer.testing import CliRunner

from segmentation_assets import cli_rights


def command(*words: object) -> str:
    """A command of people's rights, in this process; what it printed."""
    app = typer.Typer()
    cli_rights.add_commands(app)
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


def tables_naming(path: Path, customer: str) -> dict[str, int]:
    """Rows of each table that name a customer in any column."""
    with duckdb.connect(str(path), read_only=True) as con:
        names = con.execute("select schema_name, table_name from duckdb_tables()").fetchall()
        counts = {
            f"{schema}.{name}": con.execute(
                f'select count(*) from "{schema}"."{name}" as t where regexp_matches(t::varchar, $who)',
                {"who": rf"\b{customer}\b"},
            ).fetchall()[0][0]
            for schema, name in names
        }
    return {name: rows for name, rows in counts.items() if rows}


def one(path: Path, query: str) -> object:
    with duckdb.connect(str(path), read_only=True) as con:
        return con.execute(query).fetchall()[0][0]


@pytest.mark.slow
def test_a_forgotten_and_an_opted_out_customer_in_the_next_published_copy(home: Path, quick: Any) -> None:
    published = home / "published.duckdb"
    chosen = (
        "select r.customer_id from features.reachability as r "
        "inner join features.customer_features as f on f.customer_id = r.customer_id "
        "where r.is_reachable and f.order_count > 2 order by r.customer_id limit 1 offset {}"
    )
    gone, private = (str(one(published, chosen.format(place))) for place in (0, 1))
    sold = one(published, "select sum(net_amount) from features.spend_by_value where dimension = 'channel'")
    theirs = one(published, f"select sum(net_amount) from features.order_lines where customer_id = '{gone}'")
    with duckdb.connect(str(home / "people.duckdb"), read_only=True) as con:
        address = con.execute("select email from contacts where customer_id = $gone", {"gone": gone}).fetchall()[0][0]
    assert address.encode() in (home / "people.duckdb").read_bytes()

    command("forget", gone, "--yes", "--home", home)
    command("opt-out", private, "--home", home)
    assert address.encode() not in (home / "people.duckdb").read_bytes()
    # Every step but the search for k, whose tables hold no customers: what they hold of one would be found below.
    ended = quick("run", "--job", "assign", "--home", home)
    assert ended.code == 0, ended.words

    assert tables_naming(published, gone) == {}
    assert tables_naming(home / "people.duckdb", gone) == {}
    assert (
        one(published, "select count(*) from quality.row_accounting where raw_rows <> clean_rows + rejected_rows") == 0
    )
    assert one(published, "select sum(net_amount) from features.spend_by_value where dimension = 'channel'") == (
        sold - theirs  # type: ignore[operator]
    ), "the shop keeps what the one who opted out bought"
    named = set(tables_naming(published, private))
    assert {"clean.customers", "clean.orders", "features.order_lines", "features.profiling_opt_outs"} <= named
    profiled = ("segments.", "profiles.", "value.", "campaigns.", "features.customer_")
    assert not [name for name in named if name.startswith(profiled)]
    assert one(published, f"select decision from delivery.plan where customer_id = '{private}'") == "excluded"

    command("opt-out", private, "--undo", "--home", home)
    names = ("stage_assignments", "taste_assignments", "customer_segments")
    back = " or ".join(["group:features", "group:value", *(f'key:"segments/{name}"' for name in names)])
    ended = quick("run", "--home", home, "--select", f'{back} or key:"published"')
    assert ended.code == 0, ended.words
    assert "segments.customer_segments" in tables_naming(published, private)
    assert tables_naming(published, gone) == {}
