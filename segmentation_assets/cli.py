"""The command line: `segmentation run | status | sql | ui`. It asks, calls and prints; nothing is decided here."""

from __future__ import annotations

import csv
import json
import math
import os
import sys
import warnings
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from segmentation_assets.cli_drafts import drafts_app, plan
from segmentation_assets.cli_language import edit_app, make_ai_app
from segmentation_assets.cli_products import products_app
from segmentation_assets.cli_results import results
from segmentation_assets.cli_rights import add_commands as add_rights
from segmentation_assets.cli_send import catcher, outbox_app, send
from segmentation_assets.cli_serve import serve
from segmentation_assets.cli_shared import (
    HomeOption,
    at_home,
    err,
    out,
    require_published,
    sentences,
    wide_console,
)
from segmentation_assets.cli_simulate import simulate
from segmentation_assets.language.providers.choice import choose_provider, shown_url
from segmentation_assets.settings import (
    Home,
    SettingsError,
    find_home,
    load_settings,
    record_flags,
    refuse_other_source,
)
from segmentation_assets.warehouse.connection import connect
from segmentation_assets.warehouse.tables import has_table

if TYPE_CHECKING:
    import duckdb

    from segmentation_assets.orchestration.execution import RunOutcome

app = typer.Typer(
    name="segmentation",
    help="Customer segments you can trust, and e-mail campaigns you can approve.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@app.command()
def run(
    source: Annotated[
        str | None, typer.Option(help="synthetic, a name in sql/sources, or a path to a folder with a source.toml.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder with the files the source reads.")] = None,
    input_: Annotated[
        list[str] | None, typer.Option("--input", help="ALIAS=FILE for a source that lets you choose its files.")
    ] = None,
    customers: Annotated[int | None, typer.Option(help="Customers in the synthetic world.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    home: HomeOption = None,
    select: Annotated[
        str | None, typer.Option(help="Only these assets, in Dagster's selection syntax, e.g. group:campaigns.")
    ] = None,
    job: Annotated[str, typer.Option(help="full_refresh, recluster, refit, assign or campaigns.")] = "full_refresh",
) -> None:
    """Materialise the graph: raw tables in; segments, profiles, matches, drafts and the Monday brief out."""
    from segmentation_assets.sources.choice import describe_source

    with sentences():
        place = find_home(home)
        flags = _flags(source, data, input_, customers, seed)
        settings = load_settings(place, flags)
        refuse_other_source(place, settings)
        describe_source(settings)  # a source that is not there is not recorded as this HOME's
        place.ensure()
        record_flags(place, {**flags, "source": {**flags["source"], "name": settings.source.name}})
        what = settings.source.name
        if what == "synthetic":
            what = f"the synthetic world, {settings.synthetic.customers:,} customers, seed {settings.seed}"
        out.print(f"[bold]segmentation[/bold] · {escape(what)} · home {escape(str(place.path))}", soft_wrap=True)
        wanted = settings.language
        who = choose_provider(wanted.provider, wanted.model, wanted.base_url, wanted.key_variable, os.environ)
        if who.base_url:  # a model is never asked silently
            words = (
                f"A language model writes: {who.model or 'the one served'} at {shown_url(who.base_url)}. {who.reason}"
            )
            out.print(escape(words), soft_wrap=True)
        outcome = _execute(place, job, select)
    if not outcome.is_ok:
        for where, sentence in outcome.failures:
            err.print(f"[red]✗ {escape(where)}[/red]: {escape(sentence)}")
        err.print(
            f"The run failed after {outcome.seconds:.1f} s; tables it did not finish and the published copy are as "
            f"they were. Details: `segmentation ui`, run {outcome.run_id[:8]}."
        )
        raise typer.Exit(1)
    for where, sentence in outcome.warnings + outcome.failures:  # a failed check that does not block is no failed run
        out.print(f"[yellow]! {escape(where)}[/yellow]: {escape(sentence)}")
    out.print(f"[green]Done in {outcome.seconds:.1f} s.[/green]")
    if "published" not in outcome.seconds_by_step:
        held = "is as it was" if place.published.exists() else "is not there yet"
        out.print(
            f"The published copy {held}: this selection does not reach it. `segmentation run` renews everything, "
            "`--select 'key:\"published\"'` the copy alone.",
            soft_wrap=True,
        )
        return
    with sentences():
        _print_summary(place)


def _flags(
    source: str | None, data: Path | None, inputs: list[str] | None, customers: int | None, seed: int | None
) -> dict[str, Any]:
    """The flags of `run`, nested like the settings; folders made absolute, as a later run starts elsewhere."""
    if source is not None and (Path(source).expanduser() / "source.toml").is_file():
        source = str(Path(source).expanduser().resolve())
    pairs: dict[str, str] = {}
    for given in inputs or []:
        alias, equals, file = given.partition("=")
        if not (alias and equals and file):
            raise SettingsError(f"--input {given!r} is not ALIAS=FILE, for example --input campaign=mine.csv.")
        pairs[alias] = file
    return {
        "seed": seed,
        "source": {
            "name": source,
            "data": str(data.expanduser().resolve()) if data is not None else None,
            "inputs": pairs or None,
        },
        "synthetic": {"customers": customers},
    }


def _execute(place: Home, job: str, select: str | None) -> RunOutcome:
    """Run the job with a line for each finished step. Dagster is imported here: `segmentation sql` needs none."""
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    warnings.filterwarnings("ignore", module="dagster", category=FutureWarning)
    from segmentation_assets.definitions import defs
    from segmentation_assets.orchestration.execution import StepProgress, execute_job

    if job not in JOBS:
        raise SettingsError(f"There is no job {job!r}. Jobs: {', '.join(JOBS)}.")
    with out.status("starting") as status:

        def tell(progress: StepProgress) -> None:
            if progress.message:
                out.print(escape(progress.message), soft_wrap=True)
                return
            name = progress.step.replace("__", "/")
            if progress.seconds is None:
                status.update(name)
                return
            counted = [count for count in progress.tables.values() if count >= 0]
            rows = f"{sum(counted):,} rows" if counted else ""
            more = f" in {len(progress.tables)} tables" if len(progress.tables) > 1 else ""
            sign = "[green]✓[/green]" if progress.is_ok else "[red]✗[/red]"
            out.print(f"{sign} {escape(name):<38} {progress.seconds:6.1f} s  {escape(rows + more)}")

        return execute_job(place, job, defs, select=select, on_progress=tell)


JOBS = ("full_refresh", "recluster", "refit", "assign", "campaigns")


@app.command()
def status(home: HomeOption = None) -> None:
    """What this HOME holds, how the last run went, and what to do next."""
    with sentences():
        place = find_home(home)
        if not place.published.exists():
            err.print(f"Nothing is published in {escape(str(place.path))} yet. `segmentation run` makes it.")
            raise typer.Exit(1)
        _print_last_run(place)
        _print_summary(place)


def _print_last_run(place: Home) -> None:
    from segmentation_assets.orchestration.execution import last_run

    words = last_run(place)
    if words:
        out.print(words)


# A query may begin with a comment, `--`, as the files in sql/analyst do: that is no option.
@app.command(context_settings={"ignore_unknown_options": True})
def sql(
    query: Annotated[str, typer.Argument(help="A SELECT on the published copy.")],
    format_: Annotated[Format, typer.Option("--format", help="How rows are printed.")] = Format.TABLE,
    home: HomeOption = None,
) -> None:
    """Run a query on the published copy; works at any time, also while a run is writing."""
    import duckdb

    with sentences():
        place = find_home(home)
        require_published(place)
        try:
            with connect(place.published, read_only=True) as con:
                con.execute("set python_enable_replacements = false")  # FROM x must not find a Python variable x
                if not con.extract_statements(query):
                    raise SettingsError('The query is empty. For example: "select * from segments.segment_summary".')
                con.execute(query)
                _print_rows(con, format_)
        except duckdb.Error as error:
            raise SettingsError(str(error).strip()) from None


def _print_rows(con: duckdb.DuckDBPyConnection, format_: Format) -> None:
    """The result as a table, as CSV (nested values as JSON text) or as a JSON list of objects."""
    names = [str(column[0]) for column in con.description or []]
    if format_ is Format.TABLE:
        rows = con.fetchall()
        table = Table(*(escape(name) for name in names), header_style="bold", expand=False)
        for row in rows:
            table.add_row(*("" if value is None else escape(str(value)) for value in row))
        wide_console().print(table)
        out.print(f"{len(rows):,} rows")
    elif format_ is Format.JSON:
        keys = [name if name not in names[:n] else f"{name}_{n}" for n, name in enumerate(names)]
        found = [dict(zip(keys, map(_plain, row), strict=True)) for row in con.fetchall()]
        sys.stdout.write(json.dumps(found, default=str, ensure_ascii=False, indent=1) + "\n")
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        while chunk := con.fetchmany(10_000):
            writer.writerows([_cell(value) for value in row] for row in chunk)


def _plain(value: Any) -> Any:
    """A value as JSON can hold it: what is no number is null, bytes are hexadecimal."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.hex() if isinstance(value, bytes) else value


def _cell(value: Any) -> Any:
    """A value as CSV can hold it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(_plain(value), default=str, ensure_ascii=False)
    return value.hex() if isinstance(value, bytes) else value


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000,
    home: HomeOption = None,
) -> None:
    """Open the Dagster UI on this HOME: assets, lineage, checks, plots, schedules and sensors."""
    from segmentation_assets.orchestration.execution import prepare_home
    from segmentation_assets.settings import PROJECT_ROOT

    with sentences():
        place = find_home(home)
        load_settings(place)
        prepare_home(place)
    dg_command = Path(sys.executable).with_name("dg")
    out.print(
        f"The UI will be on http://127.0.0.1:{port} soon · home {escape(str(place.path))} · Ctrl-C ends it.",
        soft_wrap=True,
    )
    # dg warns when the active environment is not its own; the one beside this interpreter is meant.
    environment = {**os.environ, "VIRTUAL_ENV": sys.prefix}
    command = [str(dg_command), "dev", "--host", "127.0.0.1", "--port", str(port)]
    os.execve(  # noqa: S606 - our own console script beside this interpreter
        str(dg_command), [*command, "--target-path", str(PROJECT_ROOT)], environment
    )


def _print_summary(place: Home) -> None:
    """What a person wants to know after a run, from the published copy."""
    with connect(place.published, read_only=True) as con:
        title, as_of, currency = con.execute("select title, as_of, currency from raw.source").fetchall()[0]
        raw, clean, rejected, repaired = con.execute(
            "select sum(raw_rows), sum(clean_rows), sum(rejected_rows), sum(repaired_rows) from quality.row_accounting"
        ).fetchall()[0]
        segments = con.execute(
            "select axis, segment_id, name, customers, revenue_share, reachable_customers "
            "from segments.segment_summary where customers > 0 order by axis, segment_id"
        ).fetchall()
        best = None
        if has_table(con, "campaigns/briefs"):  # a selection of assets may not have come so far
            best = con.execute(
                "select brief_id from campaigns.briefs "
                "order by expected_margin_amount desc nulls last, brief_id limit 1"
            ).fetchone()
    out.print(f"\n[bold]{escape(title)}[/bold], data up to {as_of}, money in {currency}")
    out.print(
        f"Rows: {raw:,} raw = {clean:,} clean + {rejected:,} rejected; {repaired:,} repaired. "
        "Why: select * from quality.rejected_rows"
    )
    table = Table("segment", "name", "customers", "of revenue", "reachable", header_style="bold", box=None)
    for _, segment_id, name, count, share, reachable in segments:
        shown = "" if share is None else f"{share:.1%}"
        table.add_row(segment_id, escape(str(name)), f"{count:,}", shown, f"{reachable:,}")
    for column in table.columns[2:]:
        column.justify = "right"
    out.print(table)
    words = place.brief_text
    if words.exists():
        out.print("\n" + escape(words.read_text(encoding="utf-8").rstrip()))
    out.print(f"\nThe brief, to read and print: {escape(str(place.brief))}", soft_wrap=True)
    out.print(f"For SQL, at any time:         {escape(str(place.published))}", soft_wrap=True)
    at = at_home(place)
    # Without a campaign there is no draft to look at; why there is none is in the brief above.
    look = f"`segmentation drafts show {best[0]}{at}`, " if best else ""
    out.print(
        f"Next: {look}`segmentation ui{at}`, or your own tables with `segmentation run --source FOLDER --home FOLDER`.",
        markup=False,
        soft_wrap=True,
    )


app.add_typer(edit_app, name="edit")
app.add_typer(products_app, name="products")
app.add_typer(drafts_app, name="drafts")
app.command()(plan)
app.command()(send)
app.add_typer(outbox_app, name="outbox")
app.command()(catcher)
app.command()(serve)
app.command()(simulate)
app.command()(results)
add_rights(app)
app.add_typer(make_ai_app(run), name="ai")


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
