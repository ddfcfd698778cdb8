"""Full runs against a model server over HTTP: what is accepted, what leaves, what it costs, what a replay repeats."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from segmentation_assets_tests.end_to_end.model_server import MODEL, ModelServer, model_server

pytestmark = pytest.mark.slow


def _environment(server: ModelServer, **limits: object) -> dict[str, str]:
    given = {
        "provider": "openai_compatible", "base_url": server.base_url, "model": MODEL, **limits,
    }  # fmt: skip
    return {f"SEGMENTATION_LANGUAGE__{name.upper()}": str(value) for name, value in given.items()}


COSTS = {"prices": f'{{"{MODEL}": {{"input": 1.0, "output": 2.0, "as_of": "2026-01-01"}}}}', "cost_per_run": 50}
#: The steps that write, on a warehouse that is there.
WRITING = "group:profiles or group:campaigns or group:language or group:publish"


@pytest.fixture(scope="session")
def modelled(once: Any, quick_once: Any) -> Path:
    """The folder of a finished run with a model; the server is gone, what it received is in received.txt."""

    def fill(folder: Path) -> None:
        with model_server() as server:
            env = _environment(server, **COSTS)
            quick_once("--customers", 1_600, env=env)(folder)
            (folder / "received.txt").write_bytes(b"\n\n".join(server.received))
            (folder / "asked.txt").write_text(str(len(server.asked())))

    return Path(once("modelled", fill))


def test_a_model_names_chooses_and_writes_and_every_figure_is_the_warehouse_s(modelled: Path, read: Any) -> None:
    published = modelled / "home" / "published.duckdb"
    writers = dict(read(published, "select written_by, count(*) from profiles.segment_profiles group by 1"))
    assert writers.get(MODEL, 0) >= 5
    assert set(writers) <= {MODEL, "embedded"}
    assert read.one(published, "select chosen_by from segments.taste_choice") == MODEL
    assert read.one(published, "select count(*) from campaigns.email_drafts where written_by <> 'embedded'") > 0
    assert read.one(published, "select count(*) from campaigns.match_choices where chosen_by <> 'embedded'") > 0
    names = {name for (name,) in read(published, "select name from segments.taste_model")}
    assert names & {"Long table", "Open yard", "Round hall", "Green hill", "Warm evening", "Tall tower"}
    who = [text for (text,) in read(published, "select who from profiles.segment_profiles where axis = 'taste'")]
    sizes = [size for (size,) in read(published, "select customers from segments.segment_summary where axis = 'taste'")]
    assert any(f"These are {size:,} customers" in text for text in who for size in sizes)
    assert not [text for text in who if "{{" in text]
    assert f"A language model writes: {MODEL} at http://127.0.0.1:" in (modelled / "stdout.txt").read_text()
    brief = (modelled / "home" / "brief.html").read_text(encoding="utf-8")
    assert "calls to a language model, " in brief


def test_the_ledger_adds_up_to_what_was_asked_and_what_it_cost(modelled: Path, read: Any) -> None:
    published = modelled / "home" / "published.duckdb"
    asked = int((modelled / "asked.txt").read_text())
    assert read.one(published, "select count(*) from language.model_calls where not is_cache_hit") == asked
    cost = read.one(published, "select sum(cost_amount) from language.model_calls")
    assert cost > Decimal(0)
    assert read.one(published, "select sum(cost_amount) from language.run_spending") == cost
    by_tokens = read.one(
        published,
        "select sum(ceil((input_tokens * 1.0 + output_tokens * 2.0) * 1.0) / 1000000) from language.model_calls",
    )
    assert float(cost) == pytest.approx(float(str(by_tokens)), rel=0.01)


def test_nothing_about_a_person_left_and_the_search_would_have_found_it(modelled: Path) -> None:
    sent = (modelled / "received.txt").read_text(encoding="utf-8").casefold()
    with duckdb.connect(str(modelled / "home" / "warehouse.duckdb"), read_only=True) as con:
        said = con.execute("select distinct lower(body) from clean.reviews where length(body) > 20").fetchall()
    with duckdb.connect(str(modelled / "home" / "people.duckdb"), read_only=True) as con:
        rows = con.execute(
            "select lower(email), lower(first_name || ' ' || last_name), phone, lower(street) from people.raw_contacts"
        ).fetchall()
    values = {str(value).strip() for row in [*rows, *said] for value in row if value and len(str(value).strip()) > 6}
    assert len(values) > 5_000
    assert not [value for value in values if value in sent]
    planted = sent + " write to " + sorted(values)[100]
    assert [value for value in values if value in planted]


def test_a_replay_is_a_second_run_that_makes_no_connection_no_new_version_and_the_same_tables(
    quick: Any, modelled: Path, tmp_path: Path, read: Any
) -> None:
    home = Path(shutil.copytree(modelled / "home", tmp_path / "home"))
    names = ("warehouse.duckdb", "published.duckdb", "people.duckdb")
    before = {name: read.fingerprints(home / name) for name in names}
    with model_server() as server:
        env = _environment(server, **COSTS)
    ended = quick("ai", "replay", "--home", home, env=env)  # nobody listens there: a connection would fail
    assert ended.code == 0, ended.words
    for name in names:
        after = read.fingerprints(home / name)
        assert [table for table in before[name] if before[name][table] != after.get(table)] == []
        assert list(after) == list(before[name])
    with sqlite3.connect(home / "state.sqlite") as state:
        runs = state.execute("select count(distinct run_id) from model_calls").fetchall()[0][0]
        versions = state.execute("select axis, version from segment_models order by 1, 2").fetchall()
    assert runs == 1
    assert versions == [("stage", 1), ("taste", 1)]


def test_the_same_again_asks_nobody_costs_nothing_and_a_person_s_words_win(
    quick: Any, modelled: Path, tmp_path: Path, read: Any
) -> None:
    home = Path(shutil.copytree(modelled / "home", tmp_path / "home"))
    draft = str(read.one(home / "published.duckdb", "select min(draft_id) from campaigns.email_drafts"))
    ended = quick("edit", "draft", draft, "subject", "A note from us", "--home", home)
    assert ended.code == 0, ended.words
    with model_server() as server:
        with sqlite3.connect(home / "state.sqlite") as state:  # the server has another port now
            state.execute("update language_servers set base_url = ?", (server.base_url,))
        ended = quick("run", "--select", WRITING, "--home", home, env=_environment(server))
        assert ended.code == 0, ended.words
        assert server.asked() == []
    assert read.one(home / "published.duckdb", "select count(*) from language.model_calls where is_cache_hit") > 20
    query = f"select subject, written_by, edited_fields from campaigns.email_drafts where draft_id = '{draft}'"
    assert read(home / "published.duckdb", query) == [("A note from us", MODEL, "subject")]


def test_a_budget_stops_before_the_call_that_would_exceed_it(quick: Any, home: Path, read: Any) -> None:
    with model_server() as server:
        env = _environment(server, calls_per_run=7, tasks='["profile", "strategy"]')
        ended = quick("run", "--select", WRITING, "--home", home, env=env)
        assert ended.code == 0, ended.words
        assert len(server.asked()) == 7
    published = home / "published.duckdb"
    assert read.one(published, "select count(*) from language.model_calls where status = 'over_budget'") > 0
    assert read.one(published, "select count(*) from profiles.strategies where is_degraded") > 0
    assert "A strategy that a model was to write and the embedded writer wrote is marked" in ended.words


def test_a_server_that_is_down_leaves_every_text_to_the_embedded_writer_and_says_so(
    quick: Any, home: Path, read: Any
) -> None:
    with model_server() as server:
        env = _environment(server, longest_wait_seconds=0.1, retries=1)
    started = time.monotonic()
    ended = quick("run", "--select", WRITING, "--home", home, env=env)
    assert ended.code == 0, ended.words
    assert time.monotonic() - started < 240
    published = home / "published.duckdb"
    assert read.one(published, "select bool_and(is_degraded) from profiles.segment_profiles where customers >= 50")
    statuses = {status for (status,) in read(published, "select distinct status from language.model_calls")}
    assert statuses <= {"unreachable", "given_up"}
    assert "unreachable" in statuses


def test_a_killed_run_does_not_pay_again_for_answers_it_has(cli: Any, quick: Any, home: Path, wait_for: Any) -> None:
    with model_server() as server:
        process = cli.start("run", "--select", WRITING, "--home", home, env=_environment(server))
        wait_for(lambda: len(server.asked()) >= 8, "eight requests", 240)
        process.kill()
        process.wait()
        first = list(server.asked())
        ended = quick("run", "--select", WRITING, "--home", home, env=_environment(server))
        assert ended.code == 0, ended.words
        again = server.asked()[len(first) :]
    with sqlite3.connect(home / "state.sqlite") as state:
        lost = state.execute("select count(*) from model_calls where status = 'sent'").fetchall()[0][0]
    twice = [body for body in again if body["messages"] in [earlier["messages"] for earlier in first]]
    assert len(twice) <= lost  # only what was in flight when the process ended


def test_a_wrong_key_fails_at_once_and_says_what_to_set(quick: Any, home: Path) -> None:
    def refuse(handler: Any, body: Mapping[str, Any]) -> bool:
        payload = b'{"error": {"message": "Incorrect API key provided: sk-secret", "code": "invalid_api_key"}}'
        handler.send_response(401)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(payload)))
        handler.end_headers()
        handler.wfile.write(payload)
        return True

    with model_server(refuse) as server:
        env = {**_environment(server, key_variable="SHOP_KEY"), "SHOP_KEY": "sk-secret-value-1"}
        ended = quick("run", "--select", 'key:"profiles/segment_profiles"', "--home", home, env=env)
    assert ended.code == 1
    assert "SHOP_KEY" in ended.words
    assert "sk-secret" not in ended.words
    for path in home.rglob("*"):
        if path.is_file():
            assert b"sk-secret-value-1" not in path.read_bytes(), path
