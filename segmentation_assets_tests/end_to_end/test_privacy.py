"""Addresses, telephone numbers and names are in people.duckdb only; the scanner is first shown to find a canary.

DuckDB compresses texts, so a search through a file's bytes cannot fail: every text value of every table is read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

CANARY = "canary.planted@example.com"


def _texts_of_duckdb(path: Path) -> Iterator[tuple[str, str]]:
    """Every row of every table as one text: nested values, JSON and comments too."""
    with duckdb.connect(str(path), read_only=True) as con:
        con.execute("set threads = 1")
        for schema, name in con.execute(
            "select schema_name, table_name from duckdb_tables() where not internal order by all"
        ).fetchall():
            rows = con.execute(f'select t::varchar from "{schema}"."{name}" as t')
            while chunk := rows.fetchmany(20_000):
                yield f"{path.name}: {schema}.{name}", "\n".join(row[0] for row in chunk)
        comments = con.execute(
            "select comment from duckdb_columns() where comment is not null "
            "union all select comment from duckdb_tables() where comment is not null"
        ).fetchall()
        yield f"{path.name}: comments", "\n".join(row[0] for row in comments)


def _texts_of_sqlite(path: Path) -> Iterator[tuple[str, str]]:
    """Every value of every table; bytes as far as they are text."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as con:
        names = [row[0] for row in con.execute("select name from sqlite_master where type = 'table'")]
        for name in names:
            rows = con.execute(f'select * from "{name}"')
            while chunk := rows.fetchmany(5_000):
                values = (
                    value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
                    for row in chunk
                    for value in row
                    if isinstance(value, str | bytes)
                )
                yield f"{path.name}: {name}", "\n".join(values)


def _texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Every text of every store under a finished run's folder, but people.duckdb and the answer key."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.name == "people.duckdb":
            continue
        head = path.open("rb").read(16)
        if path.suffix == ".duckdb":
            yield from _texts_of_duckdb(path)
        elif head.startswith(b"SQLite format 3"):
            yield from _texts_of_sqlite(path)
        elif path.suffix == ".parquet":
            with duckdb.connect() as con:
                rows = con.execute("select t::varchar from read_parquet(?) as t", [str(path)]).fetchall()
            yield path.name, "\n".join(row[0] for row in rows)
        else:
            yield path.name, path.read_bytes().decode("utf-8", "replace")


HEAD = 6


def _hashes(data: bytes) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """A hash of the bytes from each place on, `HEAD` of them."""
    signs = np.frombuffer(data, dtype=np.uint8)
    window = np.zeros(max(0, len(signs) - HEAD + 1), dtype=np.uint64)
    for offset in range(HEAD):
        window = (window << np.uint64(8)) | signs[offset : offset + len(window)]
    return (window * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(42)


def found_in(texts: Iterable[tuple[str, str]], secrets: set[str]) -> dict[str, list[str]]:
    """Secrets by place where they occur, whatever their case and inside whatever other text.

    Every place of a text is looked up by a hash of its next bytes; where that is a secret's, the rest is compared.
    """
    by_head: dict[bytes, list[bytes]] = {}
    short = {secret for secret in secrets if len(secret.lower().encode()) < HEAD}
    for secret in secrets - short:
        data = secret.lower().encode()
        by_head.setdefault(data[:HEAD], []).append(data)
    is_wanted = np.zeros(1 << 22, dtype=bool)
    is_wanted[[int(_hashes(head)[0]) for head in by_head]] = True
    found: dict[str, list[str]] = {}
    for place, text in texts:
        lower = text.lower()
        data = lower.encode("utf-8", "replace")
        hits = {secret for secret in short if secret.lower() in lower}
        for start in np.flatnonzero(is_wanted[_hashes(data)]).tolist():
            hits |= {s.decode() for s in by_head.get(data[start : start + HEAD], ()) if data.startswith(s, start)}
        if hits:
            found.setdefault(place, []).extend(sorted(hits))
    return found


def _planted(home: Path, read: Any) -> set[str]:
    """E-mails, telephone numbers, full names and streets with a house number, as planted and as cleaned."""
    people = home / "people.duckdb"
    secrets: set[str] = set()
    for table in ("raw_contacts", "contacts"):
        rows = read(people, f"select email, phone, first_name, last_name, street from {table}")
        for email, phone, first, last, street in rows:
            secrets |= {value.strip() for value in (email, phone, street) if value and len(value.strip()) >= 7}
            if first and last:
                secrets |= {f"{first.strip()} {last.strip()}", f"{last.strip()}, {first.strip()}"}
    return {secret for secret in secrets if secret}


def test_the_scanner_finds_a_canary_in_each_kind_of_store(home: Path) -> None:
    plants = home.parent / "plants"
    plants.mkdir()
    with duckdb.connect(str(plants / "nested.duckdb")) as con:
        con.execute("create table deep as select map {'a': [{'b': ?}]} as m, 1 as n", [f"x {CANARY} y"])
    with duckdb.connect(str(plants / "comment.duckdb")) as con:
        con.execute("create table t (a integer)")
        con.execute(f"comment on column t.a is 'of {CANARY}'")
    with sqlite3.connect(plants / "events.db") as db:
        db.execute("create table event_logs (event text, blob blob)")
        db.execute("insert into event_logs values (?, ?)", ("{}", f'{{"row": "{CANARY.upper()}"}}'.encode()))
    with duckdb.connect() as con:
        con.execute(f"copy (select '{CANARY}' as a) to '{plants / 'part.parquet'}' (format parquet)")
    (plants / "run.log").write_text(f"failed at {CANARY}", encoding="utf-8")
    (plants / "brief.html").write_text(f"<p>{CANARY}</p>", encoding="utf-8")
    with duckdb.connect(str(home / "published.duckdb")) as con:
        con.execute("update profiles.segment_profiles set message = ?", [CANARY])
    assert set(found_in(_texts(plants), {CANARY})) == {
        "nested.duckdb: main.deep",
        "comment.duckdb: comments",
        "events.db: event_logs",
        "part.parquet",
        "run.log",
        "brief.html",
    }
    assert set(found_in(_texts_of_duckdb(home / "published.duckdb"), {CANARY})) == {
        "published.duckdb: profiles.segment_profiles"
    }


def test_what_was_planted_is_in_people_and_nowhere_else(finished: Path, read: Any) -> None:
    secrets = _planted(finished / "home", read)
    assert len([secret for secret in secrets if "@" in secret]) > 300
    assert len(secrets) > 1_200
    scanned = list(_texts(finished))
    places = {place for place, _ in scanned}
    assert {"warehouse.duckdb: clean.customers", "published.duckdb: profiles.segment_profiles"} <= places
    assert {"state.sqlite: segment_models", "runs.db: runs", "brief.html", "stdout.txt", "stderr.txt"} <= places
    assert any(place.endswith(": event_logs") for place in places)
    assert found_in(scanned, secrets) == {}


def test_a_run_that_fails_in_the_middle_names_nobody_in_its_logs(
    quick: Any, home: Path, read: Any, tmp_path: Path
) -> None:
    """What a failing step puts on record comes from the engine's messages, which may quote values."""
    hold = duckdb.connect(str(home / "people.duckdb"))
    try:
        ended = quick(
            "run",
            "--select",
            "group:clean",
            "--home",
            home,
            env={"SEGMENTATION_ENGINE__WAIT_SECONDS": "0.2"},
        )
    finally:
        hold.close()
    (home / "printed.txt").write_text(ended.out + ended.err, encoding="utf-8")
    assert ended.code == 1
    assert found_in(_texts(home), _planted(home, read)) == {}
    assert not (home / "staging").exists()


def test_where_an_unknown_age_counts_as_a_minor_only_known_adults_are_reachable(
    quick: Any, home: Path, read: Any
) -> None:
    warehouse = home / "warehouse.duckdb"
    reachable = "select customer_id, is_adult from features.reachability where is_reachable order by all"
    before = read(warehouse, reachable)
    adults = [row for row in before if row[1]]
    assert 0 < len(adults) < len(before)
    ended = quick(
        "run", "--home", home, "--select", 'key:"features/age_rule" or key:"features/reachability"',
        env={"SEGMENTATION_PRIVACY__UNKNOWN_AGE_IS_MINOR": "true"},
    )  # fmt: skip
    assert ended.code == 0, ended.words
    assert read(warehouse, "select unknown_age_is_minor from features.age_rule") == [(True,)]
    assert read(warehouse, reachable) == adults


def test_only_its_owner_may_read_the_people_database(finished: Path) -> None:
    assert (finished / "home" / "people.duckdb").stat().st_mode & 0o077 == 0


@pytest.mark.slow
@pytest.mark.data
def test_customer_names_that_are_ids_are_in_people_only(public: Any, read: Any) -> None:
    folder = public("sales_data_sample")
    people = folder / "home" / "people.duckdb"
    names = {name for (name,) in read(people, "select source_id from customer_ids")}
    persons = {
        f"{first} {last}"
        for first, last in read(people, "select first_name, last_name from raw_contacts")
        if first and last
    }
    phones = {phone for (phone,) in read(people, "select phone from raw_contacts") if phone and len(phone) >= 7}
    assert len(names) == 92
    assert found_in(_texts(folder), names | persons | phones) == {}
