"""The commands `segmentation forget`, `opt-out`, `export` and `audit`: people's rights, and a list for another sender.

What belongs here: asking, calling and printing. What does not: what is done (`delivery.rights`,
`delivery.recipient_list`) and kept (`state.rights`). No name or address is printed, and an id by `audit` alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from segmentation_assets.cli_shared import (
    HomeOption,
    acting_person,
    at_home,
    out,
    print_table,
    say_next,
    sentences,
    utc_now,
)
from segmentation_assets.settings import Home, SettingsError, find_home, load_settings

ByOption = Annotated[
    str | None, typer.Option("--by", help="Who does it, for the audit; else the name you log in with.")
]
CustomerArgument = Annotated[
    str, typer.Argument(metavar="CUSTOMER", help="Id of the customer; where a source's ids are personal, either id.")
]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for name, command in (("forget", forget), ("opt-out", opt_out), ("export", export), ("audit", audit)):
        app.command(name)(command)


def forget(
    customer: CustomerArgument,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    by: ByOption = None,
    home: HomeOption = None,
) -> None:
    """Forget a customer: contact details go at once, and every later load leaves out all rows that lead to them.

    Only a keyed hash is kept. It cannot be taken back. Waits for a run that is working; interrupted, it is finished by
    calling it again.
    """
    from segmentation_assets.delivery import rights
    from segmentation_assets.state.store import open_state

    with sentences():
        place = _place(home)
        settings = load_settings(place)
        person = acting_person(by, "Who asks for it")
        if not yes:
            if not sys.stdin.isatty():
                raise SettingsError("Forgetting cannot be taken back. Say --yes where nobody can be asked.")
            if not typer.confirm("Forget this customer? It cannot be taken back.", default=False):
                raise typer.Exit(1)
        with _alone(place), open_state(place.state) as store:
            report = rights.forget(
                place, store, customer, person=person, now=utc_now(), engine=settings.engine_limits()
            )
        out.print(report.sentence, soft_wrap=True, markup=False)
        say_next(place, "run", "The tables and the published copy hold rows under the id until")
        out.print(
            "Lists that were exported, backups, and messages that arrived are not reached from here.", soft_wrap=True
        )


def opt_out(
    customer: CustomerArgument,
    *,
    undo: Annotated[bool, typer.Option("--undo", help="The customer may be profiled again.")] = False,
    by: ByOption = None,
    home: HomeOption = None,
) -> None:
    """Keep a customer out of profiling: in no features, segment, audience or suggestion, and in no campaign."""
    from segmentation_assets.delivery import rights
    from segmentation_assets.state.store import open_state

    with sentences():
        place = _place(home)
        engine = load_settings(place).engine_limits()
        person = acting_person(by, "Who asks for it")
        with open_state(place.state) as store:
            told = rights.opt_out(
                place, store, customer, person=person, now=utc_now(), undo=undo, engine=engine
            )  # fmt: skip
        out.print(told, soft_wrap=True, markup=False)
        say_next(place, "run", "The tables follow with")


def export(
    audience: Annotated[str, typer.Argument(metavar="AUDIENCE", help="Id of a brief, or of a segment: T3, S2.")],
    *,
    file: Annotated[Path, typer.Option("--file", help="The list; PATH.excluded.csv says who is not on it and why.")],
    include_addresses: Annotated[
        bool, typer.Option("--include-addresses", help="With e-mail and first name, for who may see them.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the files.")] = False,
    by: ByOption = None,
    home: HomeOption = None,
) -> None:
    """Write a recipient list for another sender: those of an audience who may be written to.

    Files are readable by you alone. A cell that begins with = + - or @ is written with an apostrophe before it, so that
    no spreadsheet runs it.
    """
    from segmentation_assets.delivery.recipient_list import decide_recipients, write_list
    from segmentation_assets.state.rights import add_audit_entry
    from segmentation_assets.state.store import open_state

    with sentences():
        place = _place(home)
        engine = load_settings(place).engine_limits()
        person = acting_person(by, "Who asks for it")
        with open_state(place.state) as store:
            found = decide_recipients(place, store, audience, include_addresses=include_addresses, engine=engine)

            def keep(digest: str) -> None:
                add_audit_entry(
                    store, "export", audience, person=person, now=utc_now(),
                    detail={
                        "recipients": found.recipients.height, "excluded": found.excluded.height,
                        "has_addresses": include_addresses, "sha256": digest,
                    },
                )  # fmt: skip

            written = write_list(found, file.expanduser().absolute(), force=force, before_names=keep)
        total = found.recipients.height + found.excluded.height
        out.print(
            f"{found.recipients.height:,} of {total:,} customers of {audience} may be written to: {written.path}",
            soft_wrap=True, markup=False,
        )  # fmt: skip
        reasons = found.excluded.group_by("reason").len().sort(["len", "reason"], descending=[True, False])
        for reason, customers in reasons.iter_rows():
            out.print(f"- {customers:,} not: {reason}", soft_wrap=True, markup=False)
        out.print(f"Who is not on it and why: {written.excluded_path}", soft_wrap=True, markup=False)
        if include_addresses:
            out.print("The list holds addresses: delete it when it was handed over.")


def audit(
    most: Annotated[int, typer.Option("--most", min=1, help="How many, the newest first.")] = 20,
    home: HomeOption = None,
) -> None:
    """What was done where people's rights and sending are concerned: by whom, and when (UTC)."""
    from segmentation_assets.state.rights import audit_entries
    from segmentation_assets.state.store import open_state

    with sentences():
        place = _place(home)
        with open_state(place.state) as store:
            entries = audit_entries(store, most)
        if not entries:
            out.print("Nothing is on record yet.")
            return
        rows = [
            (
                f"{entry.happened_at:%Y-%m-%d %H:%M}", entry.person, entry.action, entry.subject,
                ", ".join(f"{name} {value}" for name, value in entry.detail.items()),
            )
            for entry in entries
        ]  # fmt: skip
        print_table(("when", "who", "what", "of", "detail"), rows)


@contextmanager
def _alone(place: Home) -> Iterator[None]:
    """Hold the lock of runs, telling for whom it waits."""
    from segmentation_assets.orchestration.run_lock import RunLockError, hold_run_lock

    def say(words: str) -> None:
        out.print(words, soft_wrap=True, markup=False)

    try:
        with hold_run_lock(place, f"forget-{os.getpid()}", say):
            yield
    except RunLockError as error:
        raise SettingsError(str(error)) from None


def _place(home: Path | None) -> Home:
    place = find_home(home)
    if not place.warehouse.exists():
        raise SettingsError(f"Nothing was run in {place.path} yet. `segmentation run{at_home(place)}` comes first.")
    return place
