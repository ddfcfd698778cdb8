"""The commands `segmentation edit` and `segmentation ai`: what people write in a writer's place, and who writes.

What belongs here: reading what is published, asking whether a typed text is true, and printing. What does not: the
rules of truth (`language`), keeping an edit (`state.edits`), and running a job, which `ai replay` is handed.
"""

from __future__ import annotations

import asyncio
import calendar
import datetime as dt
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.markup import escape

from segmentation_assets.cli_shared import HomeOption, listed, out, print_table, say_next, sentences, utc_now
from segmentation_assets.language.facts import DeltaUnit, Fact, FactBook, FactKind
from segmentation_assets.language.grounding import Finding
from segmentation_assets.language.task import EMBEDDED, LanguageConfigurationError, OutageError
from segmentation_assets.settings import ENV_PREFIX, Home, SettingsError, find_home, load_settings
from segmentation_assets.state.edits import LONGEST_TEXT, EditError, EditKind, EditRecord
from segmentation_assets.warehouse.connection import connect

if TYPE_CHECKING:
    import duckdb
    import polars as pl

    from segmentation_assets.language.providers.choice import ProviderChoice
    from segmentation_assets.settings import LanguageSettings
    from segmentation_assets.state.ledger import RunTotal
    from segmentation_assets.state.store import StateStore

AxisArgument = Annotated[str, typer.Argument(help="stage or taste.")]
SegmentArgument = Annotated[str, typer.Argument(help="Id of the segment, such as T1.")]
TextArgument = Annotated[str, typer.Argument(help="The text in quotes, or - to read it from standard input.")]

#: How long the server has to say which models it serves.
STATUS_SECONDS = 5.0
#: Refusals that a look at the facts mends.
_FACTS_HELP = frozenset(
    {"unknown_figure", "unknown_fact", "number_word", "direction_without_fact", "rank_without_fact", "wrong_unit"}
)
#: Characters of a text about a segment: the fewest, and the most where its task sets none.
SHORTEST_TEXT, LONGEST_TEXT_ELSEWHERE = 3, 300
SHORTEST_NAME, LONGEST_NAME = 3, 40

_NAME = re.compile(r"(?:[^\W\d_]|[ &'’·,+/.-])+")
_MERGE_FIELD = re.compile(r"\[\[|\]\]")
_LONGEST_SHOWN = 70


# --- edit --------------------------------------------------------------------------------------------------------

edit_app = typer.Typer(
    name="edit",
    help="Write a name or a text yourself: it wins over every writer, survives runs, and is shown as yours.",
    no_args_is_help=True,
)
#: A text may begin with a hyphen: that is no option.
_TEXT = {"ignore_unknown_options": True}


@edit_app.command("name", context_settings=_TEXT)
def edit_name(
    axis: AxisArgument,
    segment: SegmentArgument,
    name: Annotated[str, typer.Argument(help="The new name, in quotes.")],
    home: HomeOption = None,
) -> None:
    """Give a segment another name. It keeps its id; the event is recorded, and no run takes the name back."""
    from segmentation_assets.state.edits import put_edit
    from segmentation_assets.state.store import open_state

    with sentences():
        place = _home_with_state(home)
        name = " ".join(_read_text(name).split())
        _refuse_name(name, load_settings(place).privacy.sensitive_categories)
        with open_state(place.state) as store:
            held = {(row.axis, row.segment_id): row.name for row in store.identities(alive_only=True)}
            before = held.get((axis, segment))
            if before != name:  # the same again: a command that was cut off between the two writes is finished
                store.rename_segment(axis, segment, name)
            item = f"{axis} {segment}"
            kept = put_edit(store, "name", item, "name", template=name, typed=name, edited_at=utc_now())
        out.print(f"Edit {kept.edit_id}: {escape(item)} is called {escape(repr(name))}.")
        say_next(place, "run --job refit", "It is in the tables after")


@edit_app.command("profile", context_settings=_TEXT)
def edit_profile(
    axis: AxisArgument,
    segment: SegmentArgument,
    field: Annotated[str, typer.Argument(help="A text column of profiles.segment_profiles, such as who.")],
    text: TextArgument,
    home: HomeOption = None,
) -> None:
    """Write a text of a segment's profile. Figures must be the segment's own facts; they move with the numbers."""
    from segmentation_assets.language.profile_writer import ProfileAnswer

    fields = (*ProfileAnswer.model_fields, "best_offer")
    _edit_segment("profile", axis, segment, _field(field, fields), text=text, home=home)


@edit_app.command("strategy", context_settings=_TEXT)
def edit_strategy(
    axis: AxisArgument,
    segment: SegmentArgument,
    field: Annotated[str, typer.Argument(help="A text column of profiles.strategies, such as goal.")],
    text: TextArgument,
    home: HomeOption = None,
) -> None:
    """Write a text of a segment's strategy, by the rules of a profile."""
    from segmentation_assets.language.strategy_writer import OfferStance, StrategyAnswer

    field = _field(field, tuple(StrategyAnswer.model_fields))
    if field == "offer_stance":
        with sentences():
            text = _read_text(text)
            if text not in get_args(OfferStance):
                raise EditError(f"offer_stance is one of: {', '.join(get_args(OfferStance))}.")
    _edit_segment("strategy", axis, segment, field, text=text, home=home)


@edit_app.command("draft", context_settings=_TEXT)
def edit_draft(
    draft: Annotated[str, typer.Argument(help="Id of the draft, as in campaigns.email_drafts.")],
    field: Annotated[str, typer.Argument(help="subject, preheader, opening, offer, closing or call_to_action.")],
    text: TextArgument,
    home: HomeOption = None,
) -> None:
    """Write a part of an e-mail draft. Prices, discounts and dates must be the brief's own facts."""
    from segmentation_assets.messaging.copy_task import LENGTHS

    field = _field(field, tuple(LENGTHS))
    with sentences():
        place = _home_with_state(home)
        typed = " ".join(_read_text(text).split())
        with connect(place.published, read_only=True) as con:
            drafts = {row["draft_id"]: row for row in _rows(con, "campaigns", "email_drafts")}
            if draft not in drafts:
                raise EditError(f"There is no draft {draft!r}; there are {listed(drafts)}.")
            brief_id = drafts[draft]["brief_id"]
            book = book_of_rows(
                [row for row in _rows(con, "campaigns", "draft_facts") if row["brief_id"] == brief_id], _currency(con)
            )
        _keep(place, TypedText("draft", draft, field, typed, book, None, LENGTHS[field]))
        say_next(place, "run --select 'key:\"campaigns/email_drafts\"+'", "It is laid out and checked as a whole by")


def _edit_segment(kind: EditKind, axis: str, segment: str, field: str, *, text: str, home: Path | None) -> None:
    from segmentation_assets.language.tasks import profile, strategy

    longest = (profile if kind == "profile" else strategy).LONGEST.get(field, LONGEST_TEXT_ELSEWHERE)
    table = "segment_profiles" if kind == "profile" else "strategies"
    with sentences():
        place = _home_with_state(home)
        typed = _read_text(text)
        with connect(place.published, read_only=True) as con:
            found: dict[str, list[dict[str, Any]]] = {}
            for row in _rows(con, "profiles", "profile_facts"):
                found.setdefault(f"{row['axis']} {row['segment_id']}", []).append(row)
            item = f"{axis} {segment}"
            if item not in found:
                raise EditError(f"There is no segment {item!r}; there are {listed(found)}.")
            book = book_of_rows(found[item], _currency(con))
        _keep(place, TypedText(kind, item, field, typed, book, item, (SHORTEST_TEXT, longest)))
        say_next(place, f"run --select 'key:\"profiles/{table}\"+'", f"It is in profiles.{table} after")


@edit_app.command("list")
def list_edits(
    home: HomeOption = None,
    all_: Annotated[bool, typer.Option("--all", help="Also those that were undone or written anew.")] = False,
) -> None:
    """The edits in force, newest last."""
    from segmentation_assets.state.edits import KINDS, all_edits, edits_in_force
    from segmentation_assets.state.store import open_state

    with sentences():
        place = _home_with_state(home)
        with open_state(place.state) as store:
            edits = all_edits(store)
            in_force = {
                record.edit_id
                for kind in KINDS
                for fields in edits_in_force(store, kind).values()
                for record in fields.values()
            }
        shown = [edit for edit in edits if all_ or edit.edit_id in in_force]
        if not shown:
            out.print("Nobody has edited anything here. `segmentation edit --help` says how.")
            return
        rows = [(*_told(edit), _standing(edit, in_force)) for edit in shown]
        print_table(("edit", "at (UTC)", "what", "field", "text", "is"), rows)


@edit_app.command("undo")
def undo(
    edit_id: Annotated[int, typer.Argument(metavar="ID", help="Number of the edit, from `segmentation edit list`.")],
    home: HomeOption = None,
) -> None:
    """Take an edit back: the one before it is in force again, else what the writer wrote."""
    from segmentation_assets.state.edits import undo_edit
    from segmentation_assets.state.store import open_state

    with sentences():
        place = _home_with_state(home)
        with open_state(place.state) as store:
            back = _name_to_give_back(store, edit_id)
            if back is not None:
                store.rename_segment(*back)
            undone, left = undo_edit(store, edit_id)
        what = f"{undone.kind} {undone.item}, {undone.field}"
        if back is not None:
            now = f"it is called {back[2]!r} again"
        elif left is not None:
            now = f"edit {left.edit_id} is in force"
        else:
            now = "the name stays as it is" if undone.kind == "name" else "the writer's own text is in force"
        out.print(f"Edit {edit_id} ({escape(what)}) is undone: {escape(now)}.")
        say_next(place, _REWRITTEN_BY[undone.kind], "It is in the tables after")


_REWRITTEN_BY: Mapping[str, str] = {
    "name": "run --job refit",
    "profile": "run --select 'key:\"profiles/segment_profiles\"+'",
    "strategy": "run --select 'key:\"profiles/strategies\"+'",
    "draft": "run --select 'key:\"campaigns/email_drafts\"+'",
}


def _name_to_give_back(store: StateStore, edit_id: int) -> tuple[str, str, str] | None:
    """Axis, segment and the name to return to when this edit gave the segment its present name, else None."""
    from segmentation_assets.state.edits import all_edits

    edits = [edit for edit in all_edits(store) if edit.kind == "name"]
    undone = next((edit for edit in edits if edit.edit_id == edit_id and edit.is_active), None)
    if undone is None:
        return None
    axis, _, segment_id = undone.item.partition(" ")
    living = {(row.axis, row.segment_id): row.name for row in store.identities(axis, alive_only=True)}
    if living.get((axis, segment_id)) != undone.template:
        return None
    older = [edit for edit in edits if edit.item == undone.item and edit.is_active and edit.edit_id < edit_id]
    if older:
        return axis, segment_id, older[-1].template
    # The name from before people wrote any: back through the events, over names that people gave.
    theirs = {edit.template for edit in edits if edit.item == undone.item}
    name = undone.template
    for event in reversed(store.events(axis)):
        if event.kind == "rename" and event.segment_id == segment_id and event.detail.get("after") == name:
            name = str(event.detail["before"])
        if name not in theirs:
            return axis, segment_id, name
    return None


def _home_with_state(home: Path | None) -> Home:
    place = find_home(home)
    if not place.state.exists():
        raise SettingsError(f"Nothing was run in {place.path} yet. `segmentation run` makes what can be edited.")
    return place


def _field(field: str, fields: Sequence[str]) -> str:
    with sentences():
        if field not in fields:
            raise EditError(f"{field!r} is no text that can be edited here; there are {', '.join(fields)}.")
    return field


def _read_text(text: str) -> str:
    """The text given, or standard input for "-"; EditError when it is empty or too long."""
    if text == "-":
        text = sys.stdin.read(LONGEST_TEXT + 2)  # one for the line's end, and one to see that there is more
        if len(text) > LONGEST_TEXT + 1:
            raise EditError(f"The text is longer than {LONGEST_TEXT:,} characters.")
    text = text.strip()
    if not text:
        raise EditError("The text is empty. `segmentation edit undo` takes an edit back.")
    if len(text) > LONGEST_TEXT:
        raise EditError(f"The text is longer than {LONGEST_TEXT:,} characters.")
    return text


def _refuse_name(name: str, sensitive_categories: Sequence[str]) -> None:
    """EditError with every reason why a segment cannot be called this."""
    from segmentation_assets.language.grounding import mentions_of_people, ungrounded_rendered
    from segmentation_assets.language.segment_facts import is_sensitive
    from segmentation_assets.segmentation.naming import RESERVED_NAMES

    found = []
    if not SHORTEST_NAME <= len(name) <= LONGEST_NAME:
        found.append(f"a name has {SHORTEST_NAME} to {LONGEST_NAME} characters, this one {len(name)}")
    if not _NAME.fullmatch(name):
        found.append("a name is made of words: letters, spaces and & - ' , . / + only, no figures")
    if name.casefold() in RESERVED_NAMES:
        found.append("the name is reserved for the groups of value.customer_rfm")
    # Whether a name compares ("Our biggest fans") is for a person to decide; a figure would soon be another.
    if any(finding.rule == "number_word" for finding in ungrounded_rendered(name, FactBook())):
        found.append("a figure in words is a figure too")
    people = mentions_of_people(name)
    found += [finding.detail.rstrip(".") for finding in people]
    if is_sensitive(name, sensitive_categories) and not people:
        found.append("the name holds a sensitive category (privacy.sensitive_categories)")
    if found:
        raise EditError(f"A segment cannot be called {name!r}: {'; '.join(dict.fromkeys(found))}.")


def book_of_rows(rows: Sequence[Mapping[str, Any]], currency: str) -> FactBook:
    """The facts of rows of profiles.profile_facts or campaigns.draft_facts, as their writer had them.

    Needed of each row: key, kind, value (as rendered plainly), number (null for names, texts and dates), unit (of a
    delta), of (of a rank) and subject. `currency` where the rows have no column of that name.
    """
    facts = []
    for row in rows:
        kind = FactKind(row["kind"])
        if kind is FactKind.DATE:
            value: Any = _day(str(row["value"]))
        elif kind in {FactKind.NAME, FactKind.TEXT}:
            value = row["value"]
        else:
            value = int(row["number"]) if kind is FactKind.RANK else float(row["number"])
        more: dict[str, Any] = {}
        if row.get("unit"):
            more["unit"] = DeltaUnit(row["unit"])
        if row.get("of") is not None:
            more["of"] = int(row["of"])
        if row.get("subject"):
            more["subject"] = row["subject"]
        facts.append(Fact(row["key"], kind, value, **more))
    return FactBook(tuple(facts), next((row["currency"] for row in rows if row.get("currency")), currency))


def _day(written: str) -> dt.date:
    """A date as `rendering.day` writes it (14 July 2024), or as ISO does."""
    words = written.split()
    if len(words) == 3 and words[1] in calendar.month_name:
        return dt.date(int(words[2]), list(calendar.month_name).index(words[1]), int(words[0]))
    return dt.date.fromisoformat(written)


@dataclass(frozen=True)
class TypedText:
    """What a person typed for one field of one item, the facts it may use, and its fewest and most characters.

    `subject` is whom the facts must be about, None for a draft.
    """

    kind: EditKind
    item: str
    field: str
    typed: str
    book: FactBook
    subject: str | None
    lengths: tuple[int, int]


def template_of(text: TypedText, hint: str = "") -> tuple[str, list[Finding], list[Finding]]:
    """The typed text with its figures put back as `{{key}}`, everything in it that cannot stand, and what to know.

    `hint` is the template in force before, which decides between facts that are written alike. Where nothing decides,
    the one that was taken is to know: the person may type `{{key}}` for another.
    """
    from segmentation_assets.language.grounding import text_findings
    from segmentation_assets.language.retemplate import to_template

    template, told = to_template(text.typed, text.book, hint)
    notes = [finding for finding in told if finding.rule == "ambiguous_figure"]
    refused = [finding for finding in told if finding.rule != "ambiguous_figure"]
    # What was said of the typed words is not said again of the template they became.
    said = {rule for finding in refused for rule in _SAID_ALREADY.get(finding.rule, ())}
    shortest, longest = text.lengths
    found = text_findings(text.field, template, text.book, text.subject, shortest=shortest, longest=longest)
    refused += [finding for finding in found if finding.rule not in said]
    if _MERGE_FIELD.search(text.typed):
        refused.append(Finding("merge_field", f"{text.field}: [[ ]] is set by the layout; write the words alone."))
    return template, refused, notes


_SAID_ALREADY: Mapping[str, Collection[str]] = {
    "unknown_figure": ("digit", "number_word"), "unknown_fact": ("unknown_fact",)
}  # fmt: skip


def _keep(place: Home, text: TypedText) -> None:
    """Keep the text as an edit and print it as it will stand; EditError with every reason why it cannot."""
    from segmentation_assets.language.rendering import render, render_fact
    from segmentation_assets.state.edits import edits_in_force, put_edit
    from segmentation_assets.state.store import open_state

    book = text.book
    with open_state(place.state) as store:
        held = edits_in_force(store, text.kind).get(text.item, {}).get(text.field)
        template, refused, notes = template_of(text, held.template if held else "")
        if refused:
            reasons = dict.fromkeys(finding.detail for finding in refused)
            told = ""
            if _FACTS_HELP & {finding.rule for finding in refused}:
                facts = "\n".join(f"  {fact.key}: {render_fact(fact, book.currency)}" for fact in book)
                told = f"\nThe facts there are:\n{facts or '  none'}"
            raise EditError(
                f"The text of {text.field} of {text.item} cannot stand; nothing was changed.\n"
                + "\n".join(f"- {reason}" for reason in reasons)
                + told
            )
        kept = put_edit(
            store, text.kind, text.item, text.field, template=template, typed=text.typed, edited_at=utc_now()
        )
    out.print(f"Edit {kept.edit_id}: {escape(text.field)} of {escape(text.item)} is", soft_wrap=True)
    out.print(f"  {escape(render(kept.template, book))}", soft_wrap=True)
    if kept.template != text.typed:
        out.print("Its figures move with the numbers:", soft_wrap=True)
        out.print(f"  {escape(kept.template)}", soft_wrap=True)
    for note in notes:
        out.print(f"[yellow]! {escape(note.detail)}[/yellow] Type another in its place if it is meant.", soft_wrap=True)


def _rows(con: duckdb.DuckDBPyConnection, schema: str, table: str) -> list[dict[str, Any]]:
    """All rows of a published table as dicts; EditError when it was never made."""
    is_there = con.execute(
        "select count(*) from duckdb_tables() where schema_name = ? and table_name = ?", [schema, table]
    ).fetchall()[0][0]
    if not is_there:
        raise EditError(f"The published copy has no table {schema}.{table} yet. `segmentation run` makes it.")
    found = con.execute(f'select * from "{schema}"."{table}"')
    names = [str(column[0]) for column in found.description or []]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _currency(con: duckdb.DuckDBPyConnection) -> str:
    return str(con.execute("select currency from raw.source").fetchall()[0][0])


def _told(edit: EditRecord) -> tuple[str, str, str, str, str]:
    text = " ".join(edit.typed.split())
    if len(text) > _LONGEST_SHOWN:
        text = text[: _LONGEST_SHOWN - 1] + "…"
    return str(edit.edit_id), f"{edit.edited_at:%Y-%m-%d %H:%M}", f"{edit.kind} {edit.item}", edit.field, text


def _standing(edit: EditRecord, in_force: Collection[int]) -> str:
    if edit.edit_id in in_force:
        return "in force"
    return "written anew" if edit.is_active else "undone"


# --- ai ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reached:
    """Whether the server answered, how long it took and which models it serves; `problem` is a sentence."""

    models: tuple[str, ...] = ()
    seconds: float = 0.0
    problem: str = ""


def reach(choice: ProviderChoice, environ: Mapping[str, str], seconds: float = STATUS_SECONDS) -> Reached:
    """Ask the server for the models it serves; nothing else is sent. The key goes to its own server only."""
    from segmentation_assets.language.providers.probe import models_of

    key = environ.get(choice.key_variable, "").strip() if choice.key_variable else ""
    began = time.perf_counter()
    try:
        models = asyncio.run(models_of(choice.base_url, key, key_variable=choice.key_variable, seconds=seconds))
    except (OutageError, LanguageConfigurationError) as error:
        return Reached(seconds=time.perf_counter() - began, problem=str(error))
    return Reached(tuple(models), time.perf_counter() - began)


def make_ai_app(run: Callable[..., None]) -> typer.Typer:
    """The commands of `segmentation ai`. `run` is that of `segmentation run`: it takes `home` and `job`."""
    ai_app = typer.Typer(
        name="ai", help="Who chooses and writes, what it has cost, and the same run again for nothing.",
        no_args_is_help=True,
    )  # fmt: skip

    @ai_app.command()
    def status(home: HomeOption = None) -> None:
        """The provider in force and why, whether its server answers, and what was spent. Exit code 1 when it does not.

        The server is asked for the list of its models, and for nothing else.
        """
        with sentences():
            is_reachable = _print_status(find_home(home), os.environ)
        if not is_reachable:
            raise typer.Exit(1)

    @ai_app.command()
    def replay(
        job: Annotated[str, typer.Option(help="full_refresh, recluster, refit or assign.")] = "full_refresh",
        home: HomeOption = None,
    ) -> None:
        """Run a job again with the answers of the ledger: no connection is made, and nothing is paid."""
        with sentences():
            place = find_home(home)
            out.print(_what_is_repeated(place), soft_wrap=True, markup=False)
        # The environment wins over what is recorded and over segmentation.toml, and is not recorded itself.
        variable = f"{ENV_PREFIX}LANGUAGE__PROVIDER"
        before = os.environ.get(variable)
        os.environ[variable] = "replay"
        try:
            run(home=place.path, job=job)
        finally:
            if before is None:
                os.environ.pop(variable, None)
            else:
                os.environ[variable] = before

    @ai_app.command()
    def calls(
        last: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 20, home: HomeOption = None
    ) -> None:
        """The newest calls of the ledger: task, item, how each ended, tokens, cost and seconds."""
        with sentences():
            frame = _ledger(find_home(home))[0]
            if frame.is_empty():
                out.print("No model was called here yet.")
                return
            print_table(
                ("call", "run", "task", "item", "turn", "try", "status", "tokens", "US $", "seconds"),
                [_call_told(row) for row in frame.tail(last).to_dicts()],
                right=("call", "turn", "try", "tokens", "US $", "seconds"),
            )
            out.print('Everything, with what was sent and answered: `segmentation sql "from language.model_calls"`.')

    return ai_app


def _ledger(place: Home) -> tuple[pl.DataFrame, list[RunTotal]]:
    """The calls of this HOME and what each run used; empty where nothing was run."""
    import polars as pl

    from segmentation_assets.state.ledger import MODEL_CALL_SCHEMA, calls_frame, run_totals
    from segmentation_assets.state.store import open_state

    if not place.state.exists():
        return pl.DataFrame(schema=MODEL_CALL_SCHEMA), []
    with open_state(place.state) as store:
        return calls_frame(store), run_totals(store)


def _print_status(place: Home, environ: Mapping[str, str]) -> bool:
    """Print what is in force; whether the provider can be reached (one without a server always can)."""
    from segmentation_assets.language.providers.choice import choose_provider, is_this_machine, shown_url

    settings = load_settings(place).language
    choice = choose_provider(settings.provider, settings.model, settings.base_url, settings.key_variable, environ)
    lines = [("provider", f"{choice.name} ({choice.reason.rstrip('.')})")]
    reached = Reached()
    if choice.base_url:
        reached = reach(choice, environ)
        where = "this machine" if is_this_machine(choice.base_url) else "another machine: facts are sent to it"
        key = f"the key of {choice.key_variable}" if choice.key_variable else "no key"
        lines += [
            ("model", choice.model or "the only one served"),
            ("server", f"{shown_url(choice.base_url)}, {where}, {key}"),
            ("reachable", _reached_told(reached, choice.model)),
            ("can do", _capabilities_told(place, choice, reached)),
            ("tasks", ", ".join(settings.tasks) or "none: the embedded writer does all"),
            ("limits", _limits_told(settings)),
        ]
    elif choice.name == EMBEDDED:
        lines.append(("model", "none: fixed rules write, and no connection is made"))
    totals = _ledger(place)[1]
    spent = [("last run", _total_told(totals[-1:])), ("in all", _total_told(totals))]
    for label, words in lines + (spent if totals else [("spent", "nothing: no model was called here")]):
        out.print(f"[bold]{label:<10}[/bold] {escape(words)}", soft_wrap=True)
    return not reached.problem


def _reached_told(reached: Reached, model: str) -> str:
    if reached.problem:
        return f"no. {reached.problem}"
    words = f"yes, in {reached.seconds:.2f} s; it serves {listed(reached.models)}"
    if model and reached.models and model not in reached.models:
        words += f"; {model} is not among them by that name"
    return words


def _capabilities_told(place: Home, choice: ProviderChoice, reached: Reached) -> str:
    from segmentation_assets.state.ledger import StateLedger
    from segmentation_assets.state.store import open_state

    model = choice.model or (reached.models[0] if len(reached.models) == 1 else "")
    known = None
    if model and place.state.exists():
        with open_state(place.state) as store:
            known = StateLedger(store).capabilities(choice.base_url, model)
    if known is None:
        return "not tried yet: the first run finds out and remembers"
    return ", ".join(f"{name}: {_plain(value)}" for name, value in known.items())


def _plain(value: object) -> str:
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _limits_told(settings: LanguageSettings) -> str:
    money = "no limit of money" if settings.cost_per_run is None else f"US ${settings.cost_per_run}"
    return f"{settings.calls_per_run:,} calls, {settings.tokens_per_run:,} tokens and {money} per run"


def _total_told(totals: Sequence[RunTotal]) -> str:
    calls, tokens = sum(total.calls for total in totals), sum(total.tokens for total in totals)
    cost = sum(total.cost_amount for total in totals)
    which = f"run {totals[0].run_id[:8]}" if len(totals) == 1 else f"{len(totals):,} runs"
    return f"{calls:,} calls, {tokens:,} tokens, US ${cost:.4f} ({which})"


def _what_is_repeated(place: Home) -> str:
    """Whose answers a replay uses; SettingsError where no model was ever asked."""
    asked = _ledger(place)[0].rows(named=True)
    asked = [row for row in asked if not row["is_cache_hit"]]
    if not asked:
        raise SettingsError(
            f"No model was called in {place.path}, so there is nothing to repeat. `segmentation run` with a provider "
            "first; `segmentation ai status` says which is in force."
        )
    last = asked[-1]
    count = sum((row["provider"], row["model_asked"]) == (last["provider"], last["model_asked"]) for row in asked)
    return (
        f"The answers of {last['provider']} {last['model_asked']} come from the ledger, {count:,} calls, the last of "
        f"run {last['run_id'][:8]} at {last['called_at']:%Y-%m-%d %H:%M} UTC; no connection is made, and nothing is "
        "paid."
    )


def _call_told(row: Mapping[str, Any]) -> tuple[str, ...]:
    tokens = row["input_tokens"] + row["output_tokens"]
    cost = row["cost_amount"]
    return (
        str(row["call_id"]),
        row["run_id"][:8],
        row["task"],
        row["item"],
        str(row["turn"]),
        str(row["attempt"]),
        f"{row['status']} (from the ledger)" if row["is_cache_hit"] else row["status"],
        f"{'about ' if row['is_estimated'] else ''}{tokens:,}",
        "" if cost is None else f"{cost:.4f}",
        f"{row['latency_seconds']:.1f}",
    )
