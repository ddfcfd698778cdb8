"""`segmentation edit` and `segmentation ai`: a person's words are kept where true, and refused with a reason."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import http.server
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from segmentation_assets.cli_language import book_of_rows, edit_app, make_ai_app
from segmentation_assets.language.facts import DeltaUnit, Fact, FactBook, FactKind
from segmentation_assets.language.profile_writer import facts_frame
from segmentation_assets.language.rendering import render, render_fact
from segmentation_assets.language.segment_facts import SegmentFacts
from segmentation_assets.language.task import Call
from segmentation_assets.state.edits import all_edits, edited_drafts, edited_segments, edits_in_force
from segmentation_assets.state.ledger import StateLedger
from segmentation_assets.state.store import IdentityRecord, ModelRecord, open_state

SUBJECT = "taste T1"
BOOK = FactBook(
    (
        Fact("customers", FactKind.COUNT, 1849, SUBJECT, 1849),
        Fact("customer_share", FactKind.SHARE, 0.19, SUBJECT, 1849),
        Fact("spend", FactKind.MONEY, 824.51, SUBJECT, 1849),
        Fact("recency", FactKind.DAYS, 48, SUBJECT, 1849),
        Fact("size_rank", FactKind.RANK, 2, SUBJECT, 1849, of=6),
        Fact("answers_delta", FactKind.DELTA, 0.04, SUBJECT, 1849, DeltaUnit.POINTS),
        Fact("category1", FactKind.NAME, "Coffee", SUBJECT, 1849),
    ),
    "EUR",
)
DRAFT_BOOK = FactBook(
    (
        Fact("product1", FactKind.NAME, "Fjellgut Day Pack"),
        Fact("price1", FactKind.MONEY, 79.2),
        Fact("discount", FactKind.SHARE, 0.1),
        Fact("valid_until", FactKind.DATE, dt.date(2026, 7, 14)),
    ),
    "EUR",
)
BRIEF = "20260630-T1-lapsing"


def segment_of(book: FactBook) -> SegmentFacts:
    return SegmentFacts("taste", "T1", "Coffee", "taste", 1849, 1200, 0.2, book)


def draft_rows(book: FactBook) -> list[tuple[object, ...]]:
    """The facts of a brief as campaigns.draft_facts holds them: without units, ranks and subjects."""
    return [
        (BRIEF, fact.key, fact.kind.value, render_fact(fact, book.currency),
         fact.number if isinstance(fact.value, float) else None, book.currency)
        for fact in book
    ]  # fmt: skip


def identity(segment_id: str, cluster: int, name: str, axis: str) -> IdentityRecord:
    return IdentityRecord(axis=axis, segment_id=segment_id, name=name, cluster_index=cluster, customers=900)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HOME with two segments per axis, their facts and a draft: what a run leaves, as far as edits read it."""
    folder = tmp_path_factory.mktemp("made")
    with open_state(folder / "state.sqlite") as store:
        for axis, names in (("stage", ("Lapsing", "Steady regulars")), ("taste", ("Coffee", "Books"))):
            model = ModelRecord(
                axis=axis, fingerprint="f", algorithm="kmeans", k=2, seed=7, customers_at_fit=30, features=["x"],
                preprocessing={}, centroids=[[0.0], [1.0]], as_of=dt.date(2026, 6, 30), created_by_run="r1",
            )  # fmt: skip
            letter = axis[0].upper()
            store.register_model(model, [identity(f"{letter}{n}", n - 1, names[n - 1], axis) for n in (1, 2)])
    with duckdb.connect(str(folder / "published.duckdb")) as con:
        con.execute("create schema raw; create schema profiles; create schema campaigns")
        con.execute("create table raw.source as select 'EUR' as currency")
        con.execute(f"create table campaigns.email_drafts as select '{BRIEF}-A' as draft_id, '{BRIEF}' as brief_id")
        con.register("facts", facts_frame([segment_of(BOOK)]).to_arrow())
        con.execute("create table profiles.profile_facts as from facts")
        con.execute(
            "create table campaigns.draft_facts (brief_id varchar, key varchar, kind varchar, value varchar, "
            "number double, currency varchar)"
        )
        con.executemany("insert into campaigns.draft_facts values (?, ?, ?, ?, ?, ?)", draft_rows(DRAFT_BOOK))
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "home"))


Said = Callable[..., tuple[int, str]]


@pytest.fixture
def edit(place: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    """`segmentation edit ...` on that HOME: exit code and everything said, on one line."""
    _bare_environment(monkeypatch)

    def call(*words: str, stdin: str = "") -> tuple[int, str]:
        return _invoke(edit_app, [*words, "--home", str(place)], stdin)

    return call


@pytest.fixture
def ai(place: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    """`segmentation ai ...` on that HOME; a replay records what it was asked instead of running."""
    _bare_environment(monkeypatch)
    app = make_ai_app(lambda **given_: print("RUN", given_["job"], os.environ["SEGMENTATION_LANGUAGE__PROVIDER"]))  # noqa: T201

    def call(*words: str, **environ: str) -> tuple[int, str]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            return _invoke(app, [*words, "--home", str(place)])

    return call


def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SEGMENTATION_") or name == "OPENAI_API_KEY":
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")


def _invoke(app: typer.Typer, words: list[str], stdin: str = "") -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "300"}).invoke(app, words, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join((result.stdout + " " + result.stderr).split())


def names(place: Path, axis: str = "taste") -> dict[str, str]:
    with open_state(place / "state.sqlite") as store:
        return {row.segment_id: row.name for row in store.identities(axis)}


# --- names -------------------------------------------------------------------------------------------------------


def test_a_name_is_kept_with_its_event_and_its_time(edit: Said, place: Path) -> None:
    before = dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
    code, words = edit("name", "taste", "T1", "  Coffee   people ")
    assert (code, words) == (
        0,
        "Edit 1: taste T1 is called 'Coffee people'. It is in the tables after `segmentation run --job refit "
        f"--home {place}`.",
    )
    assert names(place) == {"T1": "Coffee people", "T2": "Books"}
    with open_state(place / "state.sqlite") as store:
        event = store.events("taste")[-1]
        assert (event.kind, event.detail) == ("rename", {"before": "Coffee", "after": "Coffee people"})
        kept = edits_in_force(store, "name")[SUBJECT]["name"]
        assert kept.typed == "Coffee people"
        assert before <= kept.edited_at <= before + dt.timedelta(minutes=1)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Champions", "the name is reserved for the groups of value.customer_rfm"),
        ("never bought", "the name is reserved for the groups of value.customer_rfm"),
        ("ab", "a name has 3 to 40 characters, this one 2"),
        ("a" * 41, "a name has 3 to 40 characters, this one 41"),
        ("Top 100", "no figures"),
        ("The seven hundred", "a figure in words is a figure too"),
        ("Coffee <b>", "a name is made of words"),
        ("joe@example.com", "a name is made of words"),
        ("{{customers}}", "a name is made of words"),
        ("Married mothers", "describe what people buy, not who they are"),
        ("Casino fans", "sensitive subjects stay out of names and copy"),
        ("Health first", "the name holds a sensitive category (privacy.sensitive_categories)"),
    ],
)
def test_a_name_that_no_segment_may_have_is_refused(edit: Said, place: Path, name: str, told: str) -> None:
    code, words = edit("name", "taste", "T1", name)
    assert code == 2
    assert words.startswith(f"A segment cannot be called {name!r}: ")
    assert told in words
    assert names(place)["T1"] == "Coffee"


def test_a_name_may_compare_for_it_states_no_figure(edit: Said) -> None:
    assert edit("name", "taste", "T1", "Our biggest coffee fans")[0] == 0


def test_a_name_of_another_segment_and_an_unknown_segment_are_refused(edit: Said, place: Path) -> None:
    assert edit("name", "taste", "T1", "lapsing") == (
        2,
        "The name 'lapsing' belongs to segment S1 of axis stage (alive); names are unique and not given twice. Choose "
        "another.",
    )
    assert edit("name", "taste", "T9", "Tea people") == (2, "Axis taste has no living segment T9; there are T1, T2.")
    with open_state(place / "state.sqlite") as store:
        assert all_edits(store) == []


def test_a_rename_that_was_cut_off_between_its_two_writes_is_finished_by_asking_again(edit: Said, place: Path) -> None:
    with open_state(place / "state.sqlite") as store:
        store.rename_segment("taste", "T1", "Coffee people")
    assert edit("name", "taste", "T1", "Coffee people")[0] == 0
    with open_state(place / "state.sqlite") as store:
        assert edits_in_force(store, "name")[SUBJECT]["name"].typed == "Coffee people"
        assert len([event for event in store.events("taste") if event.kind == "rename"]) == 1


def test_undoing_names_goes_back_name_by_name_to_the_first(edit: Said, place: Path) -> None:
    edit("name", "taste", "T1", "Coffee people")
    edit("name", "taste", "T1", "Bean people")
    assert edit("undo", "2")[1].startswith(
        "Edit 2 (name taste T1, name) is undone: it is called 'Coffee people' again."
    )
    assert edit("undo", "1")[1].startswith("Edit 1 (name taste T1, name) is undone: it is called 'Coffee' again.")
    assert names(place)["T1"] == "Coffee"


def test_undoing_an_older_name_first_changes_nothing_yet(edit: Said, place: Path) -> None:
    edit("name", "taste", "T1", "Coffee people")
    edit("name", "taste", "T1", "Bean people")
    assert edit("undo", "1")[0] == 0
    assert names(place)["T1"] == "Bean people"
    edit("undo", "2")
    assert names(place)["T1"] == "Coffee"


# --- texts -------------------------------------------------------------------------------------------------------


def test_figures_of_a_text_are_kept_as_references_to_facts(edit: Said, place: Path) -> None:
    code, words = edit("profile", "taste", "T1", "who", "1,849 people who spent €824.51 and last bought 48 days ago.")
    assert code == 0, words
    assert "It is in profiles.segment_profiles after `segmentation run --select" in words
    with open_state(place / "state.sqlite") as store:
        template, _ = edited_segments(store, "profile")["taste", "T1"]["who"]
    assert template == "{{customers}} people who spent {{spend}} and last bought {{recency}} ago."
    assert render(template, BOOK) == "1,849 people who spent €824.51 and last bought 48 days ago."


def test_facts_may_be_typed_by_their_keys_and_settle_what_figures_leave_open(edit: Said, place: Path) -> None:
    with duckdb.connect(str(place / "published.duckdb")) as con:
        con.execute(
            "insert into profiles.profile_facts by name select * replace ('returns' as key, 0.192 as number) "
            "from profiles.profile_facts where key = 'customer_share'"
        )
    code, words = edit("profile", "taste", "T1", "who", "Remember the figure 19% here.")
    assert code == 0, words
    assert "! '19%' can be {{customer_share}}, {{returns}}; {{customer_share}} was taken. Type another" in words
    code, words = edit("profile", "taste", "T1", "who", "Remember the figure {{returns}} here.")
    assert code == 0, words
    assert "!" not in words
    assert edit("profile", "taste", "T1", "who", "Remember that figure of 19% here.")[0] == 0
    with open_state(place / "state.sqlite") as store:
        assert [record.template for record in all_edits(store)] == [
            "Remember the figure {{customer_share}} here.",
            "Remember the figure {{returns}} here.",
            "Remember that figure of {{returns}} here.",
        ]


def test_a_text_without_figures_is_kept_as_it_is(edit: Said, place: Path) -> None:
    assert edit("profile", "taste", "T1", "message", "Tell them what is new at the roastery.")[0] == 0
    with open_state(place / "state.sqlite") as store:
        template, _ = edited_segments(store, "profile")["taste", "T1"]["message"]
    assert template == "Tell them what is new at the roastery."


def test_a_text_may_come_from_standard_input(edit: Said, place: Path) -> None:
    assert edit("profile", "taste", "T1", "how", "-", stdin="Write seldom.\nWrite well.\n")[0] == 0
    with open_state(place / "state.sqlite") as store:
        assert all_edits(store)[0].typed == "Write seldom.\nWrite well."


def test_a_text_may_begin_with_a_hyphen(edit: Said, place: Path) -> None:
    code, words = edit("profile", "taste", "T1", "do_not", "-- Leave them in peace.")
    assert code == 0, words


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("They spent €999.99 in all.", "'999.99' is no fact here; the nearest facts are {{spend}} = €824.51"),
        ("There are 1,850 of them.", "1,850"),
        ("They ordered twelve times.", "twelve"),
        ("Hurry, time is running out for them.", "say until when instead"),
        ("We guarantee the lowest prices to them.", "nobody can keep this promise"),
        ("Young mothers who drink coffee.", "describe what people buy, not who they are"),
        ("Read more at https://example.com about them.", "link"),
        ("Write to joe@example.com about it.", "addresses"),
        ("They are <b>bold</b>, they say.", "angle brackets"),
        ("They buy more often than the others do.", "a direction needs a delta fact"),
        ("The largest group of the shop, all the same.", "a rank needs a rank fact"),
        ("They name {{nothing_like_it}} as a fact.", "nothing_like_it"),
        ("Hello [[first_name|there]], it is time.", "[[ ]] is set by the layout; write the words alone."),
        ("x", "who"),
        ("word " * 300, "who"),
    ],
)
def test_a_text_that_cannot_stand_is_refused_with_the_facts_there_are_where_they_help(
    edit: Said, place: Path, text: str, told: str
) -> None:
    code, words = edit("profile", "taste", "T1", "who", text)
    assert code == 2, words
    assert words.startswith("The text of who of taste T1 cannot stand; nothing was changed. - ")
    assert told in words
    facts = (
        "The facts there are: customers: 1,849 customer_share: 19% spend: €824.51 recency: 48 days size_rank: 2nd of 6 "
        "answers_delta: +4 percentage points category1: Coffee"
    )
    is_about_facts = any(
        word in text for word in ("999.99", "1,850", "twelve", "more often", "largest", "lowest", "nothing_like")
    )
    assert words.endswith(facts) == is_about_facts
    with open_state(place / "state.sqlite") as store:
        assert all_edits(store) == []


def test_fields_that_no_person_writes_are_refused(edit: Said) -> None:
    assert edit("profile", "taste", "T1", "confidence_sentence", "Trust it.") == (
        2,
        "'confidence_sentence' is no text that can be edited here; there are who, what, how, objective, message, "
        "channel, resonance, do_not, best_offer.",
    )
    assert edit("strategy", "taste", "T1", "who", "x")[1].startswith("'who' is no text that can be edited here; ")
    assert edit("draft", f"{BRIEF}-A", "body_html", "x") == (
        2,
        "'body_html' is no text that can be edited here; there are subject, preheader, opening, offer, closing, "
        "call_to_action.",
    )


def test_a_stance_is_one_of_those_there_are(edit: Said, place: Path) -> None:
    code, words = edit("strategy", "taste", "T1", "offer_stance", "Give it away.")
    assert code == 2
    assert words.startswith("offer_stance is one of: ")
    stance = words.removeprefix("offer_stance is one of: ").removesuffix(".").split(", ")[0]
    assert edit("strategy", "taste", "T1", "offer_stance", stance)[0] == 0
    with open_state(place / "state.sqlite") as store:
        assert edited_segments(store, "strategy")["taste", "T1"]["offer_stance"][0] == stance


def test_an_unknown_segment_and_an_unknown_draft_are_told_with_those_there_are(edit: Said) -> None:
    assert edit("profile", "taste", "T7", "who", "Coffee people.") == (
        2, "There is no segment 'taste T7'; there are taste T1."
    )  # fmt: skip
    assert edit("draft", "x-A", "subject", "A new day pack") == (
        2, f"There is no draft 'x-A'; there are {BRIEF}-A."
    )  # fmt: skip


def test_a_draft_may_state_its_own_prices_and_dates_only(edit: Said, place: Path) -> None:
    code, words = edit("draft", f"{BRIEF}-A", "offer", "Fjellgut Day Pack for €79.20 until 14 July 2026.")
    assert code == 0, words
    assert "It is laid out and checked as a whole by `segmentation run --select" in words
    with open_state(place / "state.sqlite") as store:
        template, _ = edited_drafts(store)[f"{BRIEF}-A"]["offer"]
    assert template == "{{product1}} for {{price1}} until {{valid_until}}."
    code, words = edit("draft", f"{BRIEF}-A", "offer", "Fjellgut Day Pack for €69.20 until 14 July 2026.")
    assert code == 2
    assert "'69.20' is no fact here; the nearest facts are {{price1}} = €79.20" in words
    assert words.count("69.20") == 1
    code, words = edit("draft", f"{BRIEF}-A", "subject", "Word " * 20)
    assert code == 2
    assert "subject" in words


def test_a_text_over_the_bound_is_refused_before_anything_is_read(edit: Said) -> None:
    told = (2, "The text is longer than 4,000 characters.")
    assert edit("profile", "taste", "T1", "who", "-", stdin="word " * 900) == told
    assert edit("profile", "taste", "T1", "who", "word " * 900) == told
    assert edit("profile", "taste", "T1", "who", "-", stdin=" \n") == (
        2, "The text is empty. `segmentation edit undo` takes an edit back."
    )  # fmt: skip


def test_a_home_without_a_run_and_a_copy_of_another_version_are_told(
    edit: Said, place: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with duckdb.connect(str(place / "published.duckdb")) as con:
        con.execute("drop table profiles.profile_facts")
    assert edit("profile", "taste", "T1", "who", "Coffee people.") == (
        2, "The published copy has no table profiles.profile_facts yet. `segmentation run` makes it."
    )  # fmt: skip
    empty = tmp_path_factory.mktemp("empty")
    assert _invoke(edit_app, ["list", "--home", str(empty)]) == (
        2, f"Nothing was run in {empty} yet. `segmentation run` makes what can be edited."
    )  # fmt: skip
    assert list(empty.iterdir()) == []


def test_the_list_shows_what_is_in_force_and_all_of_it_on_demand(edit: Said) -> None:
    assert edit("list") == (0, "Nobody has edited anything here. `segmentation edit --help` says how.")
    edit("profile", "taste", "T1", "message", "Tell them about the roastery.")
    edit("profile", "taste", "T1", "message", "Tell them [bold]everything[/bold].")
    shown = edit("list")[1]
    assert "Tell them [bold]everything[/bold]." in shown
    assert "in force" in shown
    assert "roastery" not in shown
    edit("undo", "2")
    shown = edit("list", "--all")[1]
    assert "1 " in shown
    assert "undone" in shown
    assert edit("undo", "2") == (2, "Edit 2 (profile taste T1, message) was undone before.")
    assert edit("undo", "1")[1].startswith(
        "Edit 1 (profile taste T1, message) is undone: the writer's own text is in force."
    )


_KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
_NUMBERS = st.floats(-1e6, 1e6).map(lambda value: round(value, 6))
_FACTS = st.one_of(
    st.builds(Fact, _KEYS, st.sampled_from([FactKind.MONEY, FactKind.SHARE, FactKind.DAYS, FactKind.COUNT]), _NUMBERS),
    st.builds(lambda key, value, unit: Fact(key, FactKind.DELTA, value, unit=unit), _KEYS, _NUMBERS,
              st.sampled_from(list(DeltaUnit))),
    st.builds(lambda key, at, more: Fact(key, FactKind.RANK, at, of=at + more), _KEYS, st.integers(1, 40),
              st.integers(0, 9)),
    st.builds(lambda key, day: Fact(key, FactKind.DATE, day), _KEYS, st.dates(dt.date(1900, 1, 1))),
    st.builds(lambda key, words: Fact(key, FactKind.NAME, words), _KEYS, st.text(min_size=1).filter(str.strip)),
)  # fmt: skip


@given(st.lists(_FACTS, min_size=1, max_size=4, unique_by=lambda fact: fact.key))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_facts_that_were_written_as_rows_come_back_as_the_facts_they_were(facts: list[Fact]) -> None:
    book = FactBook(tuple(facts), "GBP")
    back = book_of_rows(facts_frame([segment_of(book)]).to_dicts(), "EUR")
    assert [render_fact(fact, "GBP") for fact in back] == [render_fact(fact, "GBP") for fact in book]
    assert back == book


# --- ai ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def server(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[str]]]:
    """A real HTTP server; yields its address and what it was asked: method, path and key of each request."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path} {self.headers.get('Authorization')}")
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                answer(self)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            return

    opened = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=opened.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{opened.server_port}/v1", asked
    finally:
        opened.shutdown()
        opened.server_close()


def models(*served: str) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        body = json.dumps({"object": "list", "data": [{"id": name, "object": "model"} for name in served]}).encode()
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def compatible(address: str, **more: str) -> dict[str, str]:
    return {
        "SEGMENTATION_LANGUAGE__PROVIDER": "openai_compatible", "SEGMENTATION_LANGUAGE__BASE_URL": address, **more
    }  # fmt: skip


def record_calls(place: Path) -> None:
    """A run of two calls and a run that the ledger answered."""

    def call(run_id: str, status: str, **more: Any) -> Call:
        return Call(
            request_key="k", run_id=run_id, task="profile", item=SUBJECT, prompt_version="1", answer_version="1",
            provider="openai", model_asked="gpt-5-mini", turn=0, attempt=1, status=status, **more,
        )  # type: ignore[arg-type]  # fmt: skip

    with open_state(place / "state.sqlite") as store:
        ledger = StateLedger(store, now=lambda: dt.datetime(2026, 6, 30, 8, 0))
        spent = {"input_tokens": 1000, "output_tokens": 200, "cost_amount": Decimal("0.0150"), "latency_seconds": 1.24}
        ledger.open_call(call("aaaaaaaa-first", "rejected", **spent))
        ledger.open_call(call("aaaaaaaa-first", "accepted", **spent))
        ledger.open_call(call("bbbbbbbb-second", "accepted", is_cache_hit=True))


def test_status_without_a_key_says_that_no_model_is_asked_and_why(ai: Said) -> None:
    assert ai("status") == (
        0,
        "provider embedded (auto: OPENAI_API_KEY is not set) model none: fixed rules write, and no connection is made "
        "spent nothing: no model was called here",
    )


def test_status_of_a_home_that_is_not_there_makes_none(ai: Said, tmp_path: Path) -> None:
    assert _invoke(make_ai_app(print), ["status", "--home", str(tmp_path / "none")])[0] == 0
    assert not (tmp_path / "none").exists()


def test_status_of_a_server_asks_for_its_models_and_for_nothing_else(ai: Said, place: Path) -> None:
    record_calls(place)
    with server(models("smollm2")) as (address, asked):
        code, words = ai("status", **compatible(address))
        assert asked == ["GET /v1/models None"]
        assert code == 0
        assert 'provider openai_compatible (language.provider is "openai_compatible", without a key)' in words
        assert f"server {address}, this machine, no key" in words
        assert "; it serves smollm2" in words
        assert "can do not tried yet: the first run finds out and remembers" in words
        assert "limits 400 calls, 600,000 tokens and US $2 per run" in words
        assert "last run 0 calls, 0 tokens, US $0.0000 (run bbbbbbbb)" in words
        assert "in all 2 calls, 2,400 tokens, US $0.0300 (2 runs)" in words
        with open_state(place / "state.sqlite") as store:
            StateLedger(store).remember_capabilities(
                address, "smollm2", {"mode": "json_schema", "takes_temperature": True}
            )
        assert "can do mode: json_schema, takes_temperature: yes" in ai("status", **compatible(address))[1]


def test_status_sends_a_key_to_its_own_server_and_never_prints_it(ai: Said) -> None:
    with server(models("a", "b")) as (address, asked):
        code, words = ai(
            "status", **compatible(address, SEGMENTATION_LANGUAGE__KEY_VARIABLE="VLLM_KEY", VLLM_KEY="secret-77",
                                   OPENAI_API_KEY="sk-88", SEGMENTATION_LANGUAGE__MODEL="c")
        )  # fmt: skip
    assert asked == ["GET /v1/models Bearer secret-77"]
    assert code == 0
    assert "the key of VLLM_KEY" in words
    assert "it serves a, b; c is not among them by that name" in words
    assert "secret-77" not in words
    assert "sk-88" not in words


def test_status_of_a_server_that_is_not_there_is_exit_code_1(ai: Said) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        code, words = ai("status", **compatible(f"http://127.0.0.1:{taken.getsockname()[1]}/v1"))
    assert code == 1
    assert "reachable no. " in words


def test_status_of_a_server_that_answers_something_else_is_exit_code_1(ai: Said) -> None:
    def page(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(b"<html>Welcome</html>")

    with server(page) as (address, _):
        code, words = ai("status", **compatible(address))
    assert code == 1
    assert "reachable no. " in words


def test_status_is_cut_at_its_deadline_when_the_server_drips(ai: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def drip(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100000")
        request.end_headers()
        while not ended.wait(0.05):
            request.wfile.write(b" ")
            request.wfile.flush()

    monkeypatch.setattr("segmentation_assets.cli_language.reach.__defaults__", (0.4,))
    with server(drip) as (address, _):
        began = asyncio.new_event_loop().time()
        code, words = ai("status", **compatible(address))
        took = asyncio.new_event_loop().time() - began
        ended.set()
    assert code == 1
    assert "reachable no. " in words
    assert took < 3


def test_a_provider_that_cannot_work_is_told_with_the_setting(ai: Said) -> None:
    assert ai("status", SEGMENTATION_LANGUAGE__PROVIDER="openai")[1].startswith(
        'language.provider is "openai", and OPENAI_API_KEY is not set.'
    )
    code, words = ai("status", **compatible("https://joe:secret-77@models.example/v1"))
    assert code == 2
    assert "language.base_url holds a user name or a password" in words
    assert "secret-77" not in words


def test_calls_are_listed_newest_last(ai: Said, place: Path) -> None:
    assert ai("calls") == (0, "No model was called here yet.")
    record_calls(place)
    words = ai("calls", "--last", "2")[1]
    assert "2 aaaaaaaa profile taste T1 0 1 accepted 1,200 0.0150 1.2" in words
    assert "3 bbbbbbbb profile taste T1 0 1 accepted (from the ledger) 0 0.0" in words
    assert "rejected" not in words
    assert 'segmentation sql "from language.model_calls"' in words


def test_a_replay_says_what_it_repeats_and_runs_with_that_provider_only(ai: Said, place: Path) -> None:
    assert ai("replay") == (
        2,
        f"No model was called in {place}, so there is nothing to repeat. `segmentation run` with a provider first; "
        "`segmentation ai status` says which is in force.",
    )
    record_calls(place)
    code, words = ai("replay", "--job", "assign", SEGMENTATION_LANGUAGE__PROVIDER="openai")
    assert code == 0
    assert words == (
        "The answers of openai gpt-5-mini come from the ledger, 2 calls, the last of run aaaaaaaa at 2026-06-30 08:00 "
        "UTC; no connection is made, and nothing is paid. RUN assign replay"
    )
    assert "SEGMENTATION_LANGUAGE__PROVIDER" not in os.environ


# --- with a run --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_names_and_texts_of_a_person_win_survive_the_next_run_and_state_the_figures_of_the_day(
    quick: Any, home: Path, read: Any
) -> None:
    published = home / "published.duckdb"
    (size,) = read(published, "select customers from segments.segment_summary where segment_id = 'S1'")[0]
    for words in (
        ["name", "taste", "T1", "What Ada calls them"],
        ["profile", "stage", "S1", "who", f"Our friends: {size:,} customers."],
    ):
        code, told = _invoke(edit_app, [*words, "--home", str(home)])
        assert code == 0, told
    named = "select name from segments.segment_summary where axis = 'taste' and segment_id = 'T1'"
    written = (
        "select who, written_by, edited_fields, edited_at is not null from profiles.segment_profiles "
        "where segment_id = 'S1'"
    )
    ended = quick("run", "--job", "refit", "--home", home)
    assert ended.code == 0, ended.words
    assert read.one(published, named) == "What Ada calls them"
    assert read(published, written) == [(f"Our friends: {size:,} customers.", "embedded", "who", True)]
    # The next run is on more customers: the name stays, and the text has the new figure.
    ended = quick("run", "--job", "assign", "--customers", 460, "--home", home)
    assert ended.code == 0, ended.words
    assert read.one(published, named) == "What Ada calls them"
    (now,) = read(published, "select customers from segments.segment_summary where segment_id = 'S1'")[0]
    assert now != size
    assert read(published, written) == [(f"Our friends: {now:,} customers.", "embedded", "who", True)]
