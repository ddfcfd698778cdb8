"""The commands `segmentation drafts` and `segmentation plan`: what would be sent to whom, and a person's yes or no.

What belongs here: reading the published copy, showing, asking and printing. What does not: the gates and decisions
(`delivery.approval`), and sending.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segmentation_assets.cli_shared import (
    HomeOption,
    acting_person,
    one_campaign,
    out,
    print_table,
    require_published,
    say_next,
    sentences,
)
from segmentation_assets.settings import Home, Settings, SettingsError, find_home, load_settings
from segmentation_assets.warehouse.connection import connect

if TYPE_CHECKING:
    import duckdb

    from segmentation_assets.delivery.approval import Digests, GateFinding, Proposal
    from segmentation_assets.delivery.clock import Clock
    from segmentation_assets.delivery.freeze import CampaignPlan
    from segmentation_assets.messaging.content import CampaignContent
    from segmentation_assets.state.campaigns import ApprovalRecord, CampaignRecord
    from segmentation_assets.state.store import StateStore

drafts_app = typer.Typer(
    name="drafts",
    help="Look at the campaigns' e-mails and at who would get them, and approve or reject them.",
    no_args_is_help=True,
)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the brief, or the beginning of it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of tables.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Your name; else that of your account on this machine.")]
AaOption = Annotated[
    bool, typer.Option("--aa", help="A trial in which nobody is written to: two groups that must come out alike.")
]
DegradedOption = Annotated[
    bool, typer.Option("--accept-degraded", help="Also drafts that the model was to write and did not.")
]

#: Campaigns that were begun, and how a person is told: what they are now is what was frozen then.
_BEYOND_APPROVAL = {"sending": "it is being sent", "sent": "it was sent", "cancelled": "it was stopped"}


@dataclass(frozen=True)
class Opened:
    """The stores a command works with: the published copy, the state, the settings and the home's clock."""

    place: Home
    con: duckdb.DuckDBPyConnection
    store: StateStore
    settings: Settings
    clock: Clock
    currency: str


@drafts_app.command("list")
def list_drafts(as_json: JsonOption = False, home: HomeOption = None) -> None:
    """The campaigns there are: those planned now, and those that were decided upon before."""
    with sentences(), _opened(home) as opened:
        rows = _campaign_rows(opened)
        if as_json:
            _print_json(rows)
            return
        if not rows:
            out.print(
                "No campaign is planned. `segmentation run` says why in campaigns.briefs and quality.capabilities."
            )
            return
        print_table(
            ("campaign", "name", "status", "audience", "written to", "expected margin"),
            [
                (
                    row["campaign_id"], row["name"], row["told"], _number(row["audience_customers"]),
                    _number(row["send_customers"]), _money(row["expected_margin_amount"], opened.currency),
                )
                for row in rows
            ],
            right=("audience", "written to", "expected margin"),
        )  # fmt: skip
        out.print("`segmentation drafts show ID` shows one; the beginning of an id is enough.", soft_wrap=True)


@drafts_app.command("show")
def show(
    brief: IdArgument,
    *,
    html: Annotated[Path | None, typer.Option(help="Write the message as HTML to this file.")] = None,
    variant: Annotated[str, typer.Option(help="Subject arm of the HTML file.")] = "A",
    aa: AaOption = False,
    accept_degraded: DegradedOption = False,
    home: HomeOption = None,
) -> None:
    """Everything a person approves: both subject arms, the text, its facts, the audience, what can be learnt, lint."""
    with sentences(), _opened(home) as opened:
        proposal = _propose(opened, brief)
        _show(opened, proposal, is_aa=aa, accepts_degraded=accept_degraded)
        if html is not None:
            _write_preview(proposal.content, variant, html)


@drafts_app.command("approve")
def approve(
    brief: IdArgument,
    *,
    by: ByOption = None,
    aa: AaOption = False,
    schedule: Annotated[bool, typer.Option("--schedule", help="It may start by itself when its time comes.")] = False,
    accept_degraded: DegradedOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask. For scripts; a person should look first.")] = False,
    home: HomeOption = None,
) -> None:
    """Approve a campaign: just what is shown, in your name, for some days. Any change voids it."""
    from segmentation_assets.delivery import approval

    with sentences(), _opened(home) as opened:
        person = acting_person(by, "Who approves")
        if not yes and not sys.stdin.isatty():
            raise SettingsError(
                "Nobody is here to ask: this is no terminal. Approve with --yes after `segmentation drafts show`."
            )
        proposal = _propose(opened, brief)
        content = proposal.content
        approval.refuse_begun(opened.store, content.campaign_id)  # before a person reads three pages of it
        found = _show(opened, proposal, is_aa=aa, accepts_degraded=accept_degraded)
        has_errors = any(finding.severity == "error" for finding in found)
        if not yes and not has_errors and not typer.confirm(f"\nApprove this as {person}?", default=False):
            out.print("Nothing was approved.")
            raise typer.Exit(1)
        # The messages were looked at a moment ago, for the summary, and are the same: frozen in the proposal.
        kept = approval.approve(
            opened.store, proposal, opened.settings, person=person, now=opened.clock(), is_aa=aa, is_scheduled=schedule,
            accepts_degraded=accept_degraded, check=lambda _: found,
        )  # fmt: skip
        until = approval.told(kept.expires_at) if kept.expires_at else "it starts"
        out.print(
            f"\n{kept.person} approved {content.campaign_id} until {until} (approval {kept.approval_id}). Any change "
            "of content, links, audience or sender voids it.",
            soft_wrap=True, markup=False,
        )  # fmt: skip
        if aa:
            out.print("It is an A/A trial: nobody will be written to.")
        if schedule and proposal.plan is not None:
            out.print(f"It may start by itself from {approval.told(proposal.plan.starts_at)}.")
        say_next(opened.place, f"send {content.campaign_id}", "A dry run is")


@drafts_app.command("reject")
def reject(
    brief: IdArgument,
    why: Annotated[str, typer.Option("--why", help="The reason, in words.")],
    by: ByOption = None,
    home: HomeOption = None,
) -> None:
    """Say no to a campaign, with a reason. One that is being sent is stopped; what was sent stays sent."""
    from segmentation_assets.delivery import approval

    with sentences(), _opened(home) as opened:
        person = acting_person(by, "Who rejects")
        known = [row["campaign_id"] for row in _briefs(opened.con)] + _decided_ids(opened.store)
        campaign_id = one_campaign(brief, known)
        kept = approval.reject(opened.store, campaign_id, person=person, reason=why, now=opened.clock())
        out.print(f"{kept.person} rejected {campaign_id}: {kept.reason}", soft_wrap=True, markup=False)


def plan(
    campaign: Annotated[str | None, typer.Argument(metavar="[ID]", help="One campaign; all without it.")] = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Who would be written to, who not and why, the smallest effect that could be found, and what the control costs."""
    from segmentation_assets.delivery.freeze import read_plans, read_unplanned

    with sentences(), _opened(home) as opened:
        plans, others = read_plans(opened.con), read_unplanned(opened.con)
        if campaign is not None:
            chosen = one_campaign(campaign, [row.campaign_id for row in plans])
            plans, others = [row for row in plans if row.campaign_id == chosen], []
        if as_json:
            reasons = [{"campaign_id": row.campaign_id, **vars(reason)} for row in plans for reason in row.reasons] + [
                {"campaign_id": None, **vars(reason)} for reason in others
            ]
            told = [{key: value for key, value in vars(row).items() if key != "reasons"} for row in plans]
            _print_json({"campaigns": told, "reasons": reasons})
            return
        if not plans:
            out.print("No campaign is planned, so nobody would be written to.")
        for row in plans:
            _show_plan(row, opened.currency)
            out.print("")
        if others:
            out.print("In no campaign:", style="bold")
            _show_reasons(others)


# --- opening and finding -----------------------------------------------------------------------------------------


@contextmanager
def _opened(home: Path | None) -> Iterator[Opened]:
    """The stores of HOME. SettingsError where nothing was run, FreezeError where the copy has no plan of sending."""
    from segmentation_assets.delivery.clock import open_clock
    from segmentation_assets.delivery.freeze import require_tables
    from segmentation_assets.state.store import open_state

    place = find_home(home)
    require_published(place)
    if not place.state.exists():
        raise SettingsError(f"The state store is gone: {place.state.name} is not in {place.path}. Bring it back.")
    settings = load_settings(place)
    with (
        connect(place.published, read_only=True, engine=settings.engine_limits()) as con,
        open_state(place.state) as store,
    ):
        require_tables(con)
        source, as_of, currency = con.execute("select source, as_of, currency from raw.source").fetchall()[0]

        def clock() -> dt.datetime:  # a look at the list does not start the clock of the demonstration world
            return open_clock(store, source, as_of)()

        yield Opened(place, con, store, settings, clock, str(currency))


def _propose(opened: Opened, brief: str) -> Proposal:
    from segmentation_assets.delivery.approval import propose

    brief_id = one_campaign(brief, [row["campaign_id"] for row in _briefs(opened.con)])
    return propose(opened.con, opened.store, brief_id, opened.settings)


def _briefs(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    return (
        con.sql(
            "select b.brief_id as campaign_id, b.name, b.audience_customers, p.send_customers, p.control_customers, "
            "b.expected_margin_amount, b.valid_until from campaigns.briefs as b "
            "left join delivery.campaign_plans as p on p.campaign_id = b.brief_id order by b.brief_id"
        )
        .pl()
        .to_dicts()
    )


def _decided_ids(store: StateStore) -> list[str]:
    from segmentation_assets.state.campaigns import newest_approvals

    return list(newest_approvals(store))


# --- the list ----------------------------------------------------------------------------------------------------


def _campaign_rows(opened: Opened) -> list[dict[str, Any]]:
    """A row for every campaign that is planned now or was decided upon, sorted by id."""
    from segmentation_assets.delivery.approval import current_digests
    from segmentation_assets.delivery.freeze import FreezeError
    from segmentation_assets.state.campaigns import list_campaigns, newest_approvals

    records = {record.campaign_id: record for record in list_campaigns(opened.store)}
    decisions = newest_approvals(opened.store)
    rows = {row["campaign_id"]: {**row, "is_planned": True} for row in _briefs(opened.con)}
    for campaign_id in sorted({*records, *decisions} - set(rows)):
        record = records.get(campaign_id)
        rows[campaign_id] = {
            "campaign_id": campaign_id, "name": record.name if record else "",
            "audience_customers": record.counts.get("audience") if record else None,
            "send_customers": record.counts.get("send") if record else None,
            "control_customers": record.counts.get("control") if record else None,
            "expected_margin_amount": None, "valid_until": None, "is_planned": False,
        }  # fmt: skip
    for campaign_id, row in rows.items():
        record, newest = records.get(campaign_id), decisions.get(campaign_id)
        current: Digests | None = None
        if row["is_planned"] and record is not None and record.status == "approved":
            try:
                current = current_digests(opened.con, opened.store, campaign_id, opened.settings)
            except FreezeError:  # it cannot be put together any more: that is a change too
                current = None
        now = opened.clock() if newest is not None else None
        row["status"], row["told"] = _status(record, newest, current, now)
        row["person"] = newest.person if newest else None
        row["expires_at"] = newest.expires_at if newest else None
    return [rows[campaign_id] for campaign_id in sorted(rows)]


def _status(
    record: CampaignRecord | None,
    newest: ApprovalRecord | None,
    current: Digests | None,
    now: dt.datetime | None,
) -> tuple[str, str]:
    """Status of a campaign in a word, and as a reader is told."""
    from segmentation_assets.delivery.approval import told

    if newest is None or now is None:
        return "draft", "draft"
    if record is None or record.status == "rejected":
        return "rejected", f"rejected by {newest.person}: {newest.reason}"
    if record.status == "voided":
        return "changed", f"changed, not approved any more: {newest.reason}"
    if record.status != "approved":
        trial = " (A/A trial)" if record.is_aa else ""
        return record.status, f"{record.status}{trial}"
    if newest.expires_at is None or newest.expires_at <= now:
        return "expired", f"approval expired {told(newest.expires_at)}" if newest.expires_at else "approval expired"
    if current is None or current.changed_from(newest.digests):
        return "changed", f"changed since {newest.person} approved it"
    kind = ", A/A trial" if record.is_aa else ", starts by itself" if record.is_scheduled else ""
    return "approved", f"approved until {told(newest.expires_at)} by {newest.person}{kind}"


# --- showing -----------------------------------------------------------------------------------------------------


def _show(opened: Opened, proposal: Proposal, *, is_aa: bool, accepts_degraded: bool) -> list[GateFinding]:
    """Print the proposal; returns the findings of its gates."""
    from segmentation_assets.delivery.approval import findings
    from segmentation_assets.language.rendering import render_fact
    from segmentation_assets.state.campaigns import get_campaign, newest_approval

    content, sender = proposal.content, proposal.content.sender
    record, newest = get_campaign(opened.store, content.campaign_id), newest_approval(opened.store, content.campaign_id)
    now = opened.clock()
    _, status = _status(record, newest, proposal.digests, now if newest else None)
    _say(f"{content.campaign_id} · {content.name}", "bold")
    _say(f"Status: {status}")
    _say(f"From: {sender.from_name} <{sender.address}>, answers to {sender.reply_to}")
    _say(f"Postal address: {sender.postal_address}")
    if content.valid_until is not None:
        _say(f"Valid until: {content.valid_until}")
    for variant in content.variants:
        mark = (
            " (the model did not answer: the embedded writer's words)" if variant.draft_id in proposal.degraded else ""
        )
        _say(f"\nSubject arm {variant.variant}{mark}", "bold")
        _say(f"Subject: {variant.subject}\nPreheader: {variant.preheader}\nButton: {variant.call_to_action}\n")
        _say(variant.body_text.rstrip())
    _say("\nFacts the text may state", "bold")
    print_table(("fact", "value"), [(fact.key, render_fact(fact, proposal.facts.currency)) for fact in proposal.facts])
    _say("\nLinks", "bold")
    names = {line.link: line.name for line in content.products.values()}
    shown = [(str(place), names.get(place, "the offer"), url) for place, url in enumerate(content.links)]
    print_table(("link", "leads to", "address"), shown[:12], right=("link",))
    if len(shown) > 12:
        _say(f"... and {len(shown) - 12:,} more products, which recipients are shown as their own.")
    if proposal.plan is not None:
        _say("")
        _show_plan(proposal.plan, opened.currency)
    found = findings(proposal, opened.settings, now=now, is_aa=is_aa, accepts_degraded=accepts_degraded)
    _say("\nChecks", "bold")
    errors = [finding for finding in found if finding.severity == "error"]
    for finding in errors:
        _say(f"- must be mended: {finding}", "red")
    for finding in found:
        if finding.severity == "warning":
            _say(f"- {finding}", "yellow")
    if record is not None and record.status in _BEYOND_APPROVAL:
        _say(f"It cannot be approved any more: {_BEYOND_APPROVAL[record.status]}.")
    elif not errors:
        _say("Nothing stands in the way of approving it.")
    return found


def _show_plan(row: CampaignPlan, currency: str) -> None:
    from segmentation_assets.delivery.approval import told

    _say(f"Audience of {row.campaign_id}", "bold")
    _say(
        f"{row.audience_customers:,} customers: {row.send_customers:,} are written to, {row.control_customers:,} are "
        f"left out at random (control), {row.hold_out_customers:,} are left out of all campaigns, "
        f"{row.excluded_customers:,} may not or should not be written to."
    )
    if row.elsewhere_customers:
        _say(f"{row.elsewhere_customers:,} more would fit, and are in another campaign's audience: one message each.")
    _show_reasons(row.reasons)
    _say(f"May leave from {told(row.starts_at)} to {told(row.not_after)}, outside the recipients' quiet hours.")
    if row.sentence:
        _say(row.sentence)
    if row.control_cost_amount is not None:
        _say(f"The control group costs at most {_money(row.control_cost_amount, currency)} of expected margin.")


def _show_reasons(reasons: Sequence[Any]) -> None:
    print_table(
        ("decision", "reason", "customers", ""),
        [(row.decision, row.reason or "", f"{row.customers:,}", row.sentence or "") for row in reasons],
        right=("customers",),
    )


def _write_preview(content: CampaignContent, variant: str, path: Path) -> None:
    """Write the HTML part of the message for a made-up recipient."""
    from segmentation_assets.delivery.approval import sample_html

    arms = [arm.variant for arm in content.variants]
    if variant not in arms:
        raise SettingsError(f"There is no subject arm {variant!r}; there are {', '.join(arms)}.")
    try:
        path.write_text(sample_html(content, variant), encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path} cannot be written ({error.strerror}). Give another file with --html.") from None
    _say(f"\nArm {variant} for a made-up recipient is in {path}.")


def _say(text: str, style: str = "") -> None:
    out.print(text, style=style, markup=False, soft_wrap=True)


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _money(value: Decimal | None, currency: str) -> str:
    from segmentation_assets.language.rendering import money

    return "" if value is None else money(float(value), currency)


def _print_json(told: Any) -> None:
    sys.stdout.write(json.dumps(told, ensure_ascii=False, indent=1, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dt.date | dt.datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} has no JSON.")
