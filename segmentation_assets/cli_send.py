"""The commands `segmentation send`, `segmentation catcher` and `segmentation outbox`.

What belongs here: asking, calling and printing. What does not: whether a campaign may be sent (`delivery.approval`),
and sending it (`delivery.dispatcher`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segmentation_assets.cli_shared import (
    INTERRUPTED,
    HomeOption,
    acting_person,
    at_home,
    err,
    one_campaign,
    out,
    print_table,
    require_published,
    sentences,
)
from segmentation_assets.settings import Home, SettingsError, find_home, load_settings
from segmentation_assets.warehouse.connection import connect

if TYPE_CHECKING:
    import datetime as dt

    from segmentation_assets.delivery.dispatcher import Dispatched
    from segmentation_assets.state.store import StateStore

outbox_app = typer.Typer(
    name="outbox", help="What waits, what was sent, and what a person has to decide.", no_args_is_help=True
)
uncertain_app = typer.Typer(
    name="uncertain", help="Messages of which nobody knows whether they arrived.", no_args_is_help=True
)
outbox_app.add_typer(uncertain_app, name="uncertain")

#: Every status in the order in which totals are told.
STATUSES = ("sent", "failed", "uncertain", "expired", "skipped", "ghost", "pending", "claimed")
#: Why somebody is not written to after all, in words.
REASONS: Mapping[str, str] = {
    "no_contact": "no contact details (any more)",
    "no_consent": "no consent (any more)",
    "unsubscribed": "unsubscribed",
    "no_valid_address": "no valid address",
    "needs_smtputf8": "an address that needs a server for letters beyond ASCII",
    "domain_not_allowed": "a domain that is not in delivery.allowed_domains",
    "opted_out": "does not want to be profiled (any more)",
    "forgotten": "asked to be forgotten",
    "frequency_cap": "as many messages as the cap permits already",
    "duplicate_address": "an address that another customer of the campaign has",
    "suppressed_unsubscribe": "suppressed: unsubscribed",
    "suppressed_complaint": "suppressed: complained",
    "suppressed_hard_bounce": "suppressed: the address does not exist",
    "suppressed_forgotten": "suppressed: asked to be forgotten",
    "suppressed_manual": "suppressed by hand",
    "hard_bounce": "refused: the address does not exist",
    "refused": "refused by the server",
    "deferred": "deferred by the server, tried again later",
    "deferred_too_often": "deferred by the server too often",
    "connection_dropped": "the connection broke, tried again later",
    "connection_dropped_too_often": "the connection broke too often",
    "not_built": "the message could not be built",
    "too_late": "too late",
    "approval_over": "the approval was over",
    "quiet_hours": "quiet hours",
    "no_time_left": "no time left for another try",
    "no_answer": "the server did not say whether it took the message",
    "worker_died": "the sender was killed between sending and noting",
    "machine_restarted": "the machine restarted while it was being sent",
    "journal_damaged": "the sender's journal is damaged",
    "journal_lost": "the sender's journal is gone",
    "journal_not_written": "the outcome could not be noted",
    "marked_sent": "a person said so",
    "marked_failed": "a person said so",
    "marked_retry": "a person asked for another try",
}


class Decision(StrEnum):
    """What a person says of an uncertain message."""

    SENT = "sent"
    FAILED = "failed"
    RETRY = "retry"


def send(
    campaign: Annotated[str, typer.Argument(help="The campaign: its brief's id, or a start that only it has.")],
    live: Annotated[
        bool, typer.Option("--live/--dry-run", help="Send. Without it messages are written as files.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many messages.")] = None,
    home: HomeOption = None,
) -> None:
    """Send an approved campaign (--live), or write its messages as files to look at (the default)."""
    from segmentation_assets.state.store import open_state

    with sentences():
        place = find_home(home)
        require_published(place)
        settings = load_settings(place)
        with open_state(place.state) as store:
            campaign_id = _resolved(place, store, campaign)
            if live:
                done, was_stopped = _send_live(place, settings, store, campaign_id, limit)
            else:
                _write_files(place, settings, store, campaign_id, limit)
                return
            if done.sentence:
                raise typer.Exit(1)
            if was_stopped and not done.is_finished:
                raise typer.Exit(INTERRUPTED)


def _write_files(place: Home, settings: Any, store: StateStore, campaign_id: str, limit: int | None) -> None:
    from segmentation_assets.delivery import outbox
    from segmentation_assets.delivery.freeze import freeze_campaign, read_plan
    from segmentation_assets.delivery.keys import dkim_signer, open_key
    from segmentation_assets.messaging.content import CampaignContent
    from segmentation_assets.state.campaigns import get_campaign

    with connect(place.published, read_only=True) as con:
        clock = outbox.home_clock(store, con)
        told = read_plan(con, campaign_id)
        plan = outbox.read_campaign_plan(con, campaign_id)
        known = get_campaign(store, campaign_id)
        what_next = _what_next(place, settings, store, con, campaign_id, now=clock())
        if known is not None and known.status in ("sending", "sent"):
            content = CampaignContent.from_json(known.content)
        else:
            content = freeze_campaign(con, campaign_id, settings)
    if told is None:
        raise SettingsError(f"Campaign {campaign_id} has no plan. `segmentation run` makes it.")
    key = open_key(place.secret_key, store)
    folder = outbox.outbox_folder(place, campaign_id)
    with _possible_errors():
        done = outbox.dry_run(
            store, campaign_id, plan, folder=folder, gate=outbox.make_gate(settings, key), most=limit,
            build=outbox.message_builder(content, key.for_samples(), clock, dkim_signer(settings)),
            read_contacts=outbox.contact_reader(place, settings),
        )  # fmt: skip
    out.print(
        f"Dry run of campaign {campaign_id} · {content.name}: {told.audience_customers:,} customers in its audience, "
        f"{told.send_customers:,} to be written to.",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    left_out = [reason for reason in told.reasons if reason.decision != "send"]
    if left_out:
        print_table(
            ("customers", "left out", "why"),
            [(f"{reason.customers:,}", reason.decision, reason.sentence) for reason in left_out],
            right=("customers",),
        )
    if done.skipped:
        out.print("Of those to be written to, not written to as things are now:")
        _print_reasons(done.skipped)
    held = sum(done.skipped.values())
    if rest := done.planned - done.written - held:
        out.print(f"{rest:,} more were not looked at (--limit {limit}).")
    out.print(
        f"{done.written:,} messages were written to {folder}; nothing was sent. They hold names and addresses: delete "
        "them when you have looked.",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    out.print(what_next, markup=False, soft_wrap=True)


def _what_next(place: Home, settings: Any, store: StateStore, con: Any, campaign_id: str, *, now: dt.datetime) -> str:
    """What a person does after looking at the files, as far as the campaign has come."""
    from segmentation_assets.delivery.approval import ApprovalError, check_approval, current_digests
    from segmentation_assets.delivery.freeze import FreezeError
    from segmentation_assets.state.campaigns import get_campaign

    known = get_campaign(store, campaign_id)
    live = f"`segmentation send {campaign_id} --live{at_home(place)}`"
    if known is not None and known.status in ("sent", "cancelled"):
        return f"Campaign {campaign_id} was {known.status}, so nothing more of it is sent."
    if known is not None and known.status == "sending":
        return f"It is being sent already: {live} goes on."
    try:
        approved = check_approval(store, campaign_id, now, current_digests(con, store, campaign_id, settings))
    except (ApprovalError, FreezeError):
        return f"Next: `segmentation drafts approve {campaign_id}{at_home(place)}`, then {live}."
    trial = " as an A/A trial, in which nobody is written to" if approved.is_aa else ""
    return f"It is approved{trial}. Next: {live}."


def _send_live(
    place: Home, settings: Any, store: StateStore, campaign_id: str, limit: int | None
) -> tuple[Dispatched, bool]:
    from segmentation_assets.delivery import outbox
    from segmentation_assets.messaging.content import CampaignContent
    from segmentation_assets.state.campaigns import get_campaign

    known = get_campaign(store, campaign_id)
    if known is not None:  # before anything begins: where would it go?
        outbox.live_transport(settings, CampaignContent.from_json(known.content))
    with _possible_errors():
        started, clock = outbox.start_published(place, settings, store, campaign_id)
        if started.filled:
            out.print(f"Campaign {campaign_id} begins: {started.filled:,} customers in the outbox.", markup=False)
        with out.status("connecting") as status:
            dispatcher = outbox.make_dispatcher(
                place, settings, store, started.campaign, clock, most=limit,
                tell=lambda counts: status.update(_told_counts(counts)),
            )  # fmt: skip
            with _stopped_by_signals(dispatcher.stop) as was_stopped:
                done = dispatcher.run()
    _print_totals(place, store, campaign_id, done, was_stopped=was_stopped(), now=clock())
    return done, was_stopped()


@contextmanager
def _possible_errors() -> Iterator[None]:
    """What may go wrong while sending, as sentences."""
    from segmentation_assets.delivery.dispatcher import ContactsBusyError
    from segmentation_assets.delivery.events import FoldError
    from segmentation_assets.delivery.journal import JournalError
    from segmentation_assets.delivery.transports import TransportError

    try:
        yield
    except (JournalError, FoldError, TransportError, ContactsBusyError) as error:
        raise SettingsError(str(error)) from None


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM end sending after the message in flight; yields whether one came."""
    came = threading.Event()

    def end(*_: object) -> None:
        came.set()
        stop()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _told_counts(counts: Mapping[str, int]) -> str:
    return " · ".join(f"{counts[name]:,} {name}" for name in (*STATUSES, "deferred") if counts.get(name)) or "nothing"


def _print_totals(
    place: Home, store: StateStore, campaign_id: str, done: Dispatched, *, was_stopped: bool, now: dt.datetime
) -> None:
    from segmentation_assets.state.outbox import count_reasons

    for note in done.notes:
        out.print(f"! {note}", markup=False, soft_wrap=True, style="yellow")
    if done.sentence:
        err.print(done.sentence, markup=False, style="red")
    elif was_stopped:
        out.print("Ended after the messages in flight.")
    total = sum(done.counts.values())
    parts = " + ".join(f"{done.counts.get(name, 0):,} {name}" for name in STATUSES)
    out.print(f"{total:,} planned = {parts}", soft_wrap=True)
    reasons = {
        f"{status}: {REASONS.get(reason, reason)}": number
        for (status, reason), number in count_reasons(store, campaign_id).items()
        if reason
    }
    if reasons:
        _print_reasons(reasons)
    if done.counts.get("uncertain"):
        out.print(f"A person decides on the uncertain: `segmentation outbox uncertain list{at_home(place)}`.")
    if done.is_finished:
        out.print(f"Campaign {campaign_id} is sent.", markup=False)
        return
    if held := done.counts.get("claimed", 0):  # what a dead one held was given back before
        out.print(f"{held:,} are with another sender that is at work now.")
    if done.next_at is not None:
        until = f", the next until {done.next_at:%Y-%m-%d %H:%M} UTC" if done.next_at > now else ""
        out.print(
            f"{done.counts.get('pending', 0):,} wait{until}: "
            f"`segmentation send {campaign_id} --live{at_home(place)}` goes on.",
            markup=False, soft_wrap=True,
        )  # fmt: skip


def _print_reasons(counts: Mapping[str, int]) -> None:
    rows = [(f"{number:,}", REASONS.get(reason, reason)) for reason, number in sorted(counts.items())]
    print_table(("customers", "why"), rows, right=("customers",))


def catcher(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port on 127.0.0.1.")] = 1025,
    home: HomeOption = None,
) -> None:
    """Listen on 127.0.0.1 as a mail server that keeps every message as a file in HOME/inbox and forwards none."""
    from segmentation_assets.delivery.catcher import start_catcher

    with sentences():
        place = find_home(home).ensure()
        inbox = place.inbox
        ended = threading.Event()
        controller, kept = start_catcher(inbox, port=port)
        out.print(
            f"Catching mail on 127.0.0.1:{port}; messages are kept in {inbox}. Ctrl-C ends it.",
            markup=False, soft_wrap=True,
        )  # fmt: skip
        try:
            with _stopped_by_signals(ended.set), out.status("0 messages") as status:
                while not ended.wait(1.0):
                    status.update(f"{kept.count:,} messages")
        finally:
            controller.stop()
        out.print(f"{kept.count:,} messages were kept in {inbox}.", markup=False, soft_wrap=True)


@outbox_app.command("status")
def outbox_status(home: HomeOption = None) -> None:
    """How far each campaign is."""
    from segmentation_assets.state.campaigns import list_campaigns
    from segmentation_assets.state.outbox import count_statuses, next_due

    with sentences(), _opened(home) as (place, store, now):
        _fold(place, store, now)
        begun = [record for record in list_campaigns(store) if record.status in ("sending", "sent", "cancelled")]
        if not begun:
            out.print("No campaign was begun yet. `segmentation send CAMPAIGN` shows what one would send.")
            return
        rows = []
        for record in begun:
            counts = count_statuses(store, record.campaign_id)
            due = next_due(store, record.campaign_id)
            rows.append(
                (
                    record.campaign_id, record.status, f"{sum(counts.values()):,}",
                    *(f"{counts.get(name, 0):,}" for name in STATUSES),
                    f"{due:%Y-%m-%d %H:%M}" if due else "",
                )
            )  # fmt: skip
        print_table(("campaign", "is", "planned", *STATUSES, "next due (UTC)"), rows, right=("planned", *STATUSES))


@uncertain_app.command("list")
def list_uncertain(
    campaign: Annotated[str | None, typer.Argument(help="Only this campaign's.")] = None, home: HomeOption = None
) -> None:
    """Messages of which nobody knows whether they arrived: the customer, when, and why."""
    from segmentation_assets.state.outbox import uncertain_sends

    with sentences(), _opened(home) as (place, store, now):
        _fold(place, store, now)
        found = uncertain_sends(store, campaign and _resolved(place, store, campaign))
        if not found:
            out.print("No message is uncertain.")
            return
        print_table(
            ("send", "campaign", "customer", "at (UTC)", "why", "answer"),
            [
                (
                    one.send_id, one.campaign_id, one.customer_id,
                    f"{one.finished_at:%Y-%m-%d %H:%M:%S}" if one.finished_at else "",
                    REASONS.get(one.reason, one.reason), f"{one.smtp_code or ''} {one.smtp_reply}".strip(),
                )
                for one in found
            ],
        )  # fmt: skip
        out.print(
            "Look in the mail server's log for the send id (it begins the Message-ID), then "
            f"`segmentation outbox uncertain mark sent|failed|retry SEND...{at_home(place)}`. A retry may be a second "
            "message.",
            markup=False, soft_wrap=True,
        )  # fmt: skip


@uncertain_app.command("mark")
def mark(
    decision: Annotated[Decision, typer.Argument(help="sent, failed, or retry: send it again.")],
    sends: Annotated[list[str] | None, typer.Argument(metavar="[SEND]...", help="Send ids.")] = None,
    campaign: Annotated[str | None, typer.Option(help="All uncertain messages of this campaign.")] = None,
    by: Annotated[str | None, typer.Option(help="Who decides; the user of this machine, when not given.")] = None,
    home: HomeOption = None,
) -> None:
    """Decide what uncertain messages count as, or send them again; kept with your name."""
    from segmentation_assets.state.outbox import mark_uncertain, uncertain_sends

    with sentences(), _opened(home) as (place, store, now):
        person = acting_person(by, "Who decides")
        ids = list(sends or ())
        if bool(ids) == bool(campaign):
            raise SettingsError("Name the sends, or --campaign for all uncertain ones of a campaign.")
        if campaign:
            campaign_id = _resolved(place, store, campaign)
            ids = [one.send_id for one in uncertain_sends(store, campaign_id, limit=1_000_000)]
            if not ids:
                out.print(f"No message of campaign {campaign_id} is uncertain, so nothing was changed.", markup=False)
                return
        number = mark_uncertain(store, ids, decision.value, person=person, now=now)
        words = {"sent": "count as sent", "failed": "count as failed", "retry": "are sent again"}[decision.value]
        out.print(f"{number:,} uncertain {'message' if number == 1 else 'messages'} {words} now, says {person}.")


@contextmanager
def _opened(home: Any) -> Iterator[tuple[Home, StateStore, dt.datetime]]:
    """The HOME, its state store and what time it is there."""
    from segmentation_assets.delivery.clock import open_clock
    from segmentation_assets.state.store import open_state

    place = find_home(home)
    if not place.state.exists():
        raise SettingsError(f"Nothing was run in {place.path} yet, so nothing was sent.")
    settings = load_settings(place)
    with open_state(place.state) as store:
        yield place, store, open_clock(store, settings.source.name, settings.synthetic.as_of)()


def _fold(place: Home, store: StateStore, now: dt.datetime) -> None:
    """What killed senders left behind, into the outbox, so that figures are as they are."""
    from segmentation_assets.delivery.journal import fold_journals
    from segmentation_assets.state.campaigns import list_campaigns

    for record in list_campaigns(store):
        if record.status in ("sending", "cancelled"):
            for problem in fold_journals(place.journal, store, record.campaign_id, now).problems:
                out.print(f"! {problem}", markup=False, soft_wrap=True, style="yellow")


def _resolved(place: Home, store: StateStore, given: str) -> str:
    """The campaign whose id is `given`, or that alone begins so. SettingsError where none or several do."""
    from segmentation_assets.delivery.freeze import read_plans
    from segmentation_assets.state.campaigns import list_campaigns

    known = {record.campaign_id for record in list_campaigns(store)}
    if place.published.exists():
        with connect(place.published, read_only=True) as con:
            known |= {plan.campaign_id for plan in read_plans(con)}
    return one_campaign(given, known)
