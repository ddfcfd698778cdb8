"""From an approved campaign to the outbox, and from the outbox to a dispatcher that can send it.

What belongs here: starting a campaign, the dry run, and putting a dispatcher's parts together from settings and stores
(addresses from `people`, consent from the published copy, messages from the frozen content). What does not: whether a
campaign is approved (`approval`), and sending (`dispatcher`).
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import polars as pl

from segmentation_assets.delivery.campaign import send_id
from segmentation_assets.delivery.clock import Clock, open_clock
from segmentation_assets.delivery.dispatcher import (
    Build,
    Contact,
    ContactsBusyError,
    Dispatcher,
    Gate,
    Limits,
    ReadContacts,
)
from segmentation_assets.delivery.journal import fold_journals
from segmentation_assets.delivery.keys import SecretKey, dkim_signer, open_key
from segmentation_assets.delivery.rights import forgotten_people
from segmentation_assets.delivery.tables import TABLE_TYPES
from segmentation_assets.delivery.tokens import TokenSigner, message_urls
from segmentation_assets.delivery.transports import (
    ENV_PASSWORD,
    EmlTransport,
    Letter,
    SmtpServer,
    SmtpTransport,
    Transport,
)
from segmentation_assets.messaging.content import CampaignContent, Recipient
from segmentation_assets.settings import Home, Settings, SettingsError
from segmentation_assets.state.campaigns import (
    CampaignRecord,
    get_campaign,
    list_campaigns,
    newest_approvals,
    sending_until,
)
from segmentation_assets.state.outbox import (
    NewSend,
    OutboxError,
    QueuedSend,
    expire_waiting,
    fill_sends,
    finish_campaign,
    suppressed_kinds,
)
from segmentation_assets.state.rights import opted_out_among
from segmentation_assets.state.store import StateStore
from segmentation_assets.warehouse.connection import Engine, WarehouseBusyError, WarehouseMissingError, connect

if TYPE_CHECKING:
    from segmentation_assets.messaging.dkim_signing import DkimSigner

_PLAN = "delivery/plan"
_ARMS: Mapping[str, str] = {"send": "treated", "control": "control", "hold_out": "hold_out"}
#: The port of the local catcher, where the settings name that of a mail server.
CATCHER_PORT = 1025
_SUBMISSION_PORT = 587
_DRY_BATCH = 1000
#: A scheduled campaign whose sending failed is asked for again this many times in a row at most.
MOST_FAILURES = 3
#: Reading a batch of contacts needs no more, and leaves the cores to those who work.
_SMALL_ENGINE = 1

#: Campaigns that were begun, one in a line, beside the journals: it outlives a state store that is restored.
_BEGUN = "begun_campaigns"


@dataclass(frozen=True)
class Started:
    """A campaign that may be sent. `filled` counts the rows put into the outbox now; 0 when it was begun before."""

    campaign: CampaignRecord
    filled: int


@dataclass(frozen=True)
class DryRun:
    """What a dry run found: who is to be written to, the files written, and the others by reason."""

    planned: int
    written: int
    skipped: Mapping[str, int] = field(default_factory=dict)


# --- starting ----------------------------------------------------------------------------------------------------


def start_campaign(
    store: StateStore,
    campaign_id: str,
    plan: pl.DataFrame,
    *,
    key_path: Path,
    now: dt.datetime,
    approved: Callable[[], CampaignRecord],
) -> Started:
    """Put an approved campaign into the outbox, once, and mark it as sending; a campaign begun before just goes on.

    `plan` holds rows of `delivery/plan` (those of other campaigns are not looked at); `approved` returns the campaign
    or raises ApprovalError. Customers with the decision send wait for their message, control and hold-out become
    ghosts, and so does everybody in an A/A trial. KeyMismatchError where the key is not this HOME's; OutboxError
    before the start, after the end, and where nobody is to be written to.
    """
    open_key(key_path, store)
    campaign = approved()
    if now >= campaign.not_after:
        raise OutboxError(
            f"Campaign {campaign_id} was to be sent until {campaign.not_after:%Y-%m-%d %H:%M} UTC, and it is "
            f"{now:%Y-%m-%d %H:%M}. `segmentation run` plans it anew."
        )
    if campaign.status == "sending":
        return Started(campaign, 0)
    if now < campaign.starts_at:
        raise OutboxError(
            f"Campaign {campaign_id} starts at {campaign.starts_at:%Y-%m-%d %H:%M} UTC, and it is "
            f"{now:%Y-%m-%d %H:%M}. Send it then."
        )
    rows = _of_campaign(plan, campaign_id)
    forgotten = forgotten_people(store, key_path)
    if forgotten is not None:  # a plan may be older than what they asked for
        rows = rows.filter(~pl.col("customer_id").is_in(forgotten.ids_among(rows["customer_id"].to_list())))
    if not campaign.is_aa and not (rows["decision"] == "send").any():
        raise OutboxError(
            f"Nobody is to be written to in campaign {campaign_id}, so it was not begun. `segmentation plan` says why."
        )
    filled = fill_sends(
        store, campaign_id, _new_sends(rows, campaign), now=now, is_aa=campaign.is_aa, digests=campaign.digests
    )
    return Started(replace(campaign, status="sending"), filled)


def _of_campaign(plan: pl.DataFrame, campaign_id: str) -> pl.DataFrame:
    """The plan's rows of those who are in the campaign, whether written to or left out."""
    if lacking := set(TABLE_TYPES[_PLAN]) - set(plan.columns):
        raise OutboxError(f"The plan lacks the columns {', '.join(sorted(lacking))}. `segmentation run` renews it.")
    return plan.filter((pl.col("campaign_id") == campaign_id) & pl.col("decision").is_in(list(_ARMS)))


def _new_sends(rows: pl.DataFrame, campaign: CampaignRecord) -> Iterator[NewSend]:
    columns = (
        rows.select(
            "customer_id", "decision", pl.col("variant", "timezone", "product_ids").fill_null(""),
            pl.col("not_before").fill_null(campaign.starts_at),
            pl.min_horizontal(pl.col("not_after").fill_null(campaign.not_after), pl.lit(campaign.not_after)),
            pl.col("taste_segment_id", "stage_segment_id").fill_null(""),
        )
    )  # fmt: skip
    for customer_id, decision, variant, timezone, product_ids, *times_and_segments in columns.iter_rows():
        yield NewSend(
            send_id(campaign.campaign_id, customer_id), customer_id, _ARMS[decision], variant, timezone, product_ids,
            *times_and_segments,
        )  # fmt: skip


def read_campaign_plan(con: duckdb.DuckDBPyConnection, campaign_id: str) -> pl.DataFrame:
    """The plan's rows of one campaign, sorted by customer, from the published copy."""
    columns = ", ".join(TABLE_TYPES[_PLAN])
    return con.sql(
        f"select {columns} from delivery.plan where campaign_id = ? order by customer_id", params=[campaign_id]
    ).pl()


def home_clock(store: StateStore, con: duckdb.DuckDBPyConnection) -> Clock:
    """The clock of the HOME whose published copy `con` reads."""
    source, as_of = con.execute("select source, as_of from raw.source").fetchall()[0]
    return open_clock(store, source, as_of)


def start_published(place: Home, settings: Settings, store: StateStore, campaign_id: str) -> tuple[Started, Clock]:
    """`start_campaign` with the plan, the approval and the clock of a HOME.

    Where a campaign's approval ended while nobody was sending it, what waits of it is ended before ApprovalError.
    """
    from segmentation_assets.delivery.approval import ApprovalError, Digests, current_digests, require_approval

    with connect(place.published, read_only=True) as con:
        clock = home_clock(store, con)
        now = clock()
        known = get_campaign(store, campaign_id)
        is_begun = known is not None and known.status == "sending"
        if is_begun:  # what was frozen is sent; what is published now may be of another day
            current, plan = Digests("", "", "", ""), pl.DataFrame()
        else:
            if known is None or known.status not in ("sent", "cancelled"):
                refuse_forgotten_start(place.journal, campaign_id)
            current, plan = current_digests(con, store, campaign_id, settings), read_campaign_plan(con, campaign_id)
    try:
        started = start_campaign(
            store, campaign_id, plan, key_path=place.secret_key, now=now,
            approved=lambda: require_approval(store, campaign_id, now, current),
        )  # fmt: skip
    except ApprovalError:
        if is_begun:
            _end_unapproved(place, store, campaign_id, now)
        raise
    remember_start(place.journal, campaign_id)
    return started, clock


def _end_unapproved(place: Home, store: StateStore, campaign_id: str, now: dt.datetime) -> None:
    """Conclude a begun campaign whose approval is over; one that is not begun, or approved still, is left alone."""
    until = sending_until(store, campaign_id)
    if until is None or now < until:
        return
    fold_journals(place.journal, store, campaign_id, now)
    expire_waiting(store, campaign_id, now)
    finish_campaign(store, campaign_id)


def remember_start(folder: Path, campaign_id: str) -> None:
    """Keep outside the state store that a campaign was begun, so that an older copy of the store is noticed."""
    file = folder / _BEGUN
    if campaign_id in _begun(file):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as handle:
        handle.write(f"{campaign_id}\n")
        handle.flush()
        os.fsync(handle.fileno())


def refuse_forgotten_start(folder: Path, campaign_id: str) -> None:
    """OutboxError where a campaign was begun here and the state store does not know it."""
    if campaign_id in _begun(folder / _BEGUN):
        raise OutboxError(
            f"Campaign {campaign_id} was begun in this HOME before, and the state store does not know it: the store is "
            "an older copy. Sending would write to people twice. Bring back the newer state.sqlite. Only when you are "
            f"sure that nobody was written to, take its line out of {folder.name}/{_BEGUN} in HOME."
        )


def _begun(file: Path) -> set[str]:
    return set(file.read_text(encoding="utf-8").split("\n")) - {""} if file.exists() else set()


# --- the parts of a dispatcher -----------------------------------------------------------------------------------


def make_dispatcher(
    place: Home,
    settings: Settings,
    store: StateStore,
    campaign: CampaignRecord,
    clock: Clock,
    *,
    tell: Callable[[Mapping[str, int]], None] | None = None,
    most: int | None = None,
    limits: Limits | None = None,
) -> Dispatcher:
    """The dispatcher of a campaign that was started, as the settings say. SettingsError where they cannot send."""
    from segmentation_assets.delivery.events import fold_spool
    from segmentation_assets.delivery.quiet_hours import is_zone

    if not is_zone(settings.delivery.timezone):  # it may have been changed since the plan was made
        raise SettingsError(
            f"delivery.timezone is {settings.delivery.timezone!r}, which is no time zone, so nothing was sent. Write "
            "one like Europe/Berlin or UTC."
        )
    key = open_key(place.secret_key, store)
    content = CampaignContent.from_json(campaign.content)
    return Dispatcher(
        store,
        campaign.campaign_id,
        place.journal,
        transport=live_transport(settings, content),
        build=message_builder(content, key, clock, dkim_signer(settings)),
        read_contacts=contact_reader(place, settings),
        gate=make_gate(settings, key),
        limits=limits or Limits.of(settings.delivery),
        clock=clock,
        refresh=lambda: fold_spool(place.spool, store),
        tell=tell,
        most=most,
    )


def make_gate(settings: Settings, key: SecretKey) -> Gate:
    """The last look at an address, as the settings say."""
    from segmentation_assets.messaging.address import ascii_address

    allowed = None
    if not settings.delivery.is_production:
        allowed = frozenset(domain.lower() for domain in settings.delivery.allowed_domains)
    return Gate(ascii_address, lambda address: key.hash_address(address.lower()), allowed)


def live_transport(settings: Settings, content: CampaignContent) -> Callable[[], Transport]:
    """What makes a connection to the mail server or the catcher. SettingsError where the settings name neither."""
    delivery = settings.delivery
    ehlo_name = content.sender.address.rpartition("@")[2] or "localhost"
    if delivery.transport == "file":
        raise SettingsError(
            'delivery.transport is "file", which writes files and sends nothing: that is what --dry-run does. Set it '
            'to "catcher" (and start `segmentation catcher`) or to "smtp" to send.'
        )
    if delivery.transport == "catcher":
        port = CATCHER_PORT if delivery.smtp_port == _SUBMISSION_PORT else delivery.smtp_port
        server = SmtpServer("127.0.0.1", port, "none", ehlo_name=ehlo_name)
    else:
        server = SmtpServer(
            delivery.smtp_host, delivery.smtp_port, delivery.smtp_security, delivery.smtp_user,
            os.environ.get(ENV_PASSWORD, ""), ehlo_name,
        )  # fmt: skip
    return lambda: SmtpTransport(server)


def message_builder(content: CampaignContent, key: SecretKey, clock: Clock, signer: DkimSigner | None = None) -> Build:
    """What builds a row's message of the frozen content. ValueError where the row's subject arm is not in it."""
    from segmentation_assets.messaging.message import MessageBuilder

    tokens = TokenSigner(key)
    builders = {one.variant: MessageBuilder(content, one.variant, signer) for one in content.variants}
    sender, public_url, links = content.sender.bounce_address, content.sender.public_url, len(content.links)
    domain = content.sender.address.rpartition("@")[2]

    def build(row: QueuedSend, recipient: Recipient) -> Letter:
        builder = builders.get(row.variant)
        if builder is None:
            raise ValueError(f"Subject arm {row.variant!r} is not in campaign {content.campaign_id}.")
        raw = builder.build(
            recipient, message_urls(tokens, public_url, row.send_id, links),
            message_id=f"<{row.send_id}@{domain}>", date=clock(),
        )  # fmt: skip
        return Letter(row.send_id, sender, recipient.address, raw)

    return build


def contact_reader(place: Home, settings: Settings) -> ReadContacts:
    """What reads contact details from `people` and consent from the published copy, opened briefly for each batch.

    A customer who is in neither, or in one alone, is gone. ContactsBusyError while a run holds the personal data.
    """
    engine = Engine(_SMALL_ENGINE, settings.engine.memory_limit, settings.engine.wait_seconds)

    def read(customer_ids: Sequence[str]) -> Mapping[str, Contact]:
        if not place.people.exists():
            raise WarehouseMissingError(f"There are no contact details in {place.path}. `segmentation run` loads them.")
        try:
            with connect(place.published, read_only=True, people=place.people, engine=engine) as con:
                rows = con.execute(
                    "select c.customer_id, c.email, c.first_name, c.language, coalesce(r.has_consent, false), "
                    "coalesce(r.has_unsubscribed, false) "
                    "from people.contacts as c join features.reachability as r on r.customer_id = c.customer_id "
                    "where c.customer_id in (select unnest(?::varchar[]))",
                    [list(customer_ids)],
                ).fetchall()
        except WarehouseBusyError as error:
            raise ContactsBusyError(str(error)) from None
        return {
            customer_id: Contact(email, first_name, language, has_consent, has_unsubscribed)
            for customer_id, email, first_name, language, has_consent, has_unsubscribed in rows
        }

    return read


# --- sending without a person at the keyboard -------------------------------------------------------------------


@dataclass(frozen=True)
class SendAttempt:
    """An earlier request to send: its run and how it ended (`ok`, `failed` or `in flight`)."""

    run_id: str
    outcome: str


@dataclass(frozen=True)
class SendRequest:
    """A campaign to send now; `attempt` counts the requests under its approval from 1."""

    campaign_id: str
    approval_id: int
    attempt: int


def scheduled_campaigns(store: StateStore) -> list[tuple[CampaignRecord, int]]:
    """Campaigns that a person approved to be sent when their time comes, with the approval, that are not done."""
    approvals = newest_approvals(store)
    return [
        (campaign, approvals[campaign.campaign_id].approval_id)
        for campaign in list_campaigns(store)
        if campaign.is_scheduled and campaign.status in ("approved", "sending") and campaign.campaign_id in approvals
    ]


def decide_sends(
    scheduled: Sequence[tuple[CampaignRecord, int]],
    attempts: Mapping[tuple[str, int], Sequence[SendAttempt]],
    next_due: Mapping[str, dt.datetime | None],
    now: dt.datetime,
) -> tuple[list[SendRequest], str]:
    """Which campaigns to send now, and why the others are not.

    `attempts` are the requests made so far by campaign and approval, oldest first; `next_due` is when the next row of
    a campaign that is being sent is due. A campaign is asked for when its start has come, and again while rows of it
    are due; after three requests in a row that failed a person has to look.
    """
    requests: list[SendRequest] = []
    reasons: list[str] = []
    for campaign, approval_id in scheduled:
        name = campaign.campaign_id
        made = attempts.get((name, approval_id), ())
        due = campaign.starts_at if campaign.status == "approved" else next_due.get(name)
        running = [attempt.run_id for attempt in made if attempt.outcome == "in flight"]
        failed = 0
        for attempt in reversed(made):
            if attempt.outcome != "failed":
                break
            failed += 1
        if running:
            reasons.append(f"{name}: run {running[-1]} is sending it.")
        elif now >= campaign.not_after and campaign.status == "approved":
            reasons.append(f"{name}: it was to be sent until {campaign.not_after:%Y-%m-%d %H:%M} UTC.")
        elif due is None:
            reasons.append(f"{name}: nothing of it waits.")
        elif due > now:
            reasons.append(f"{name}: due at {due:%Y-%m-%d %H:%M} UTC.")
        elif failed >= MOST_FAILURES:
            reasons.append(
                f"{name}: {failed} requests in a row failed, the last in run {made[-1].run_id}. Mend its cause, then "
                f"`segmentation send {name} --live`."
            )
        else:
            requests.append(SendRequest(name, approval_id, len(made) + 1))
    words = " ".join((f"{len(requests)} of {len(scheduled)} scheduled campaigns to send.", *reasons))
    return requests, f"{words} It is {now:%Y-%m-%d %H:%M} UTC."


# --- the dry run -------------------------------------------------------------------------------------------------


def dry_run(
    store: StateStore,
    campaign_id: str,
    plan: pl.DataFrame,
    *,
    folder: Path,
    build: Build,
    read_contacts: ReadContacts,
    gate: Gate,
    most: int | None = None,
) -> DryRun:
    """Write the messages a campaign would send as FOLDER/SEND_ID.eml; nothing is sent and no state is changed.

    The same looks as before sending: consent, address, suppression, profiling, one message for an address. Quiet hours,
    the cap and the end do not count. `most` ends after that many files.
    """
    rows = _of_campaign(plan, campaign_id).filter(pl.col("decision") == "send").sort("customer_id")
    transport = EmlTransport(folder)
    transport.ready()
    skipped: Counter[str] = Counter()
    used: set[str] = set()
    written = 0
    for batch in rows.iter_slices(_DRY_BATCH):
        contacts = read_contacts(batch["customer_id"].to_list())
        found = [(row, *gate.address(contacts.get(row["customer_id"]))) for row in batch.iter_rows(named=True)]
        hashes = {row["customer_id"]: gate.hash_address(address) for row, address, reason in found if not reason}
        with store.session() as session:
            kinds = suppressed_kinds(session, list(hashes), list(hashes.values()))
            opted_out = opted_out_among(session, list(hashes))
        for row, address, why in found:
            customer_id = row["customer_id"]
            address_hash = hashes.get(customer_id, "")
            kind = kinds.get(("customer", customer_id)) or kinds.get(("address", address_hash))
            reason = why
            if not reason and kind:
                reason = f"suppressed_{kind}"
            elif not reason and customer_id in opted_out:
                reason = "opted_out"
            elif not reason and address_hash in used:
                reason = "duplicate_address"
            if reason:
                skipped[reason] += 1
                continue
            if most is not None and written >= most:
                return DryRun(rows.height, written, dict(skipped))
            used.add(address_hash)
            queued = QueuedSend(
                send_id(campaign_id, customer_id), customer_id, row["variant"] or "", row["timezone"] or "",
                tuple(filter(None, (row["product_ids"] or "").split(","))), 0, row["not_after"],
            )  # fmt: skip
            contact = contacts[customer_id]
            try:
                letter = build(queued, Recipient(address, contact.first_name, contact.language, queued.product_ids))
            except ValueError:
                skipped["not_built"] += 1
                continue
            transport.send(letter)
            written += 1
    return DryRun(rows.height, written, dict(skipped))


def outbox_folder(place: Home, campaign_id: str) -> Path:
    """Where a dry run writes the messages of a campaign."""
    return place.outbox / re.sub(r"[^\w.-]", "_", campaign_id).lstrip(".")
