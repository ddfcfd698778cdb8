"""Approval: a person's word for exactly this content, these links, this audience and this sender, until a day.

What belongs here: what a person is asked about (`propose`), the gates before it, deciding, and the question whether an
approval still holds (`require_approval`). What does not: putting the campaign together (`freeze`), the rows
(`state.campaigns`), and sending. Times are naive UTC and handed in.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from email import message_from_bytes, policy
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import duckdb
import polars as pl

from segmentation_assets.delivery.campaign import digest, send_id
from segmentation_assets.delivery.freeze import (
    CampaignPlan,
    brief_products,
    freeze_campaign,
    is_local,
    read_audience,
    read_drafts,
    read_facts,
    read_plan,
)
from segmentation_assets.delivery.keys import KEY_BYTES, SecretKey, dkim_signer
from segmentation_assets.delivery.tokens import TokenSigner, message_urls
from segmentation_assets.language.facts import FactBook
from segmentation_assets.messaging.content import CampaignContent, Recipient
from segmentation_assets.messaging.lint import Draft, lint_draft
from segmentation_assets.settings import Settings
from segmentation_assets.state import campaigns
from segmentation_assets.state.campaigns import ApprovalRecord, CampaignRecord, CampaignStateError
from segmentation_assets.state.edits import edits_in_force
from segmentation_assets.state.store import StateStore

#: What of a campaign is bound, and how a reader is told that it changed.
PARTS: Mapping[str, str] = {
    "content": "content (words, products, prices or an edit)",
    "links": "links (where they lead)",
    "audience": "audience (who is written to or left out)",
    "sender": "sender (names, addresses or the service's address)",
}
LONGEST_PERSON = 80
LONGEST_REASON = 500
#: Who voids an approval: no person does.
_SYSTEM = "the approval check"
_MAIL = re.compile(r"[^\s@]+@[^\s@]+")
#: Tokens of messages that are only checked: of the right length, and good for nothing.
_NO_KEY = SecretKey(bytes(KEY_BYTES))
#: Most products that are looked at in a message; their names were made harmless when they were frozen.
MOST_PRODUCTS_SHOWN = 300
#: Warnings of the lint that the links of a trial lead to this machine.
_OF_THIS_MACHINE = frozenset({"local_link", "list_unsubscribe"})
#: When messages that are only checked were written.
_SAMPLE_DATE = dt.datetime(2026, 1, 1, 9, 0)


class ApprovalError(ValueError):
    """A campaign may not be sent, or cannot be decided upon; the message says why and what to do."""


@dataclass(frozen=True)
class Digests:
    """What an approval is bound to."""

    content: str
    links: str
    audience: str
    sender: str

    def as_dict(self) -> dict[str, str]:
        """The digests by part, as they are stored."""
        return asdict(self)

    def changed_from(self, before: Mapping[str, str]) -> list[str]:
        """The parts that are not as they were, in the order of PARTS; a part that was not kept counts as changed."""
        return [part for part, now in asdict(self).items() if before.get(part) != now]


@dataclass(frozen=True)
class GateFinding:
    """One thing wrong with a campaign. An `error` stands in the way of approval, a `warning` is shown."""

    rule: str
    severity: Literal["error", "warning"]
    detail: str

    def __str__(self) -> str:
        """The finding as a line."""
        return f"{self.rule}: {self.detail}"


Check = Callable[[CampaignContent], Sequence[GateFinding]]


@dataclass(frozen=True)
class Proposal:
    """A campaign as a person is asked about it. Approving one approves just this, whatever was published meanwhile.

    `plan` is None where the brief has none; `product_ids` are those the brief offers. `degraded` are the drafts that a
    model was to write and did not; `edits` are the ids of people's edits in force, and `unused_edits` those whose
    words are not in the drafts.
    """

    content: CampaignContent
    digests: Digests
    plan: CampaignPlan | None
    facts: FactBook
    product_ids: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    edits: tuple[int, ...] = ()
    unused_edits: tuple[str, ...] = ()


# --- what is asked -----------------------------------------------------------------------------------------------


def propose(con: duckdb.DuckDBPyConnection, store: StateStore, brief_id: str, settings: Settings) -> Proposal:
    """The campaign of a brief as it stands in the published copy that `con` reads. FreezeError as of `freeze`."""
    content = freeze_campaign(con, brief_id, settings)
    drafts = read_drafts(con, brief_id)
    of_people = edits_in_force(store, "draft")
    edits = [edit for row in drafts for edit in of_people.get(row["draft_id"], {}).values()]
    shown = {row["draft_id"]: set(str(row["edited_fields"] or "").split(",")) for row in drafts}
    newest = {row["draft_id"]: row["edited_at"] for row in drafts}
    ids = tuple(sorted(edit.edit_id for edit in edits))
    return Proposal(
        content=content,
        digests=digests_of(content, read_audience(con, brief_id), ids),
        plan=read_plan(con, brief_id),
        facts=read_facts(con, brief_id),
        product_ids=brief_products(con, brief_id),
        degraded=tuple(row["draft_id"] for row in drafts if row["is_degraded"]),
        edits=ids,
        unused_edits=tuple(
            f"{edit.item}, {edit.field} (edit {edit.edit_id})"
            for edit in sorted(edits, key=lambda edit: edit.edit_id)
            if edit.field not in shown[edit.item] or newest[edit.item] is None or edit.edited_at > newest[edit.item]
        ),
    )


def current_digests(con: duckdb.DuckDBPyConnection, store: StateStore, campaign_id: str, settings: Settings) -> Digests:
    """What the campaign is now, for `require_approval`. FreezeError where it cannot be put together any more."""
    return propose(con, store, campaign_id, settings).digests


def digests_of(content: CampaignContent, audience: pl.DataFrame, edits: Sequence[int] = ()) -> Digests:
    """The digests of a campaign. `audience` is `freeze.read_audience`, `edits` the ids of people's edits in force.

    An edit counts from when it is made, before a run has brought it into the drafts: what a person wrote anew is not
    sent as it was. The recipients' own products are content too. A million customers take some seconds.
    """
    told = content.to_json()
    links, sender = told.pop("links"), told.pop("sender")
    shown = audience.filter((pl.col("decision") == "send") & (pl.col("product_ids").fill_null("") != ""))
    # JSON of each row, so that no id can pretend to be two columns.
    own = shown.sort("customer_id").select(pl.struct("customer_id", "product_ids").struct.json_encode().str.join("\n"))
    return Digests(
        content=digest({"content": told, "edits": sorted(edits), "own_products": own.item() or ""}),
        links=digest(links),
        audience=_audience_digest(audience),
        sender=digest(sender),
    )


def _audience_digest(audience: pl.DataFrame) -> str:
    """The digest that `delivery.plan` publishes as audience_digest; importing that module would load SciPy."""
    ordered = audience.select("customer_id", "decision", "variant").sort("customer_id")
    return digest([list(row) for row in ordered.iter_rows()])


# --- the gates ---------------------------------------------------------------------------------------------------


def findings(
    proposal: Proposal,
    settings: Settings,
    *,
    now: dt.datetime,
    is_aa: bool = False,
    accepts_degraded: bool = False,
    check: Check | None = None,
) -> list[GateFinding]:
    """Everything that stands in the way of approving, or that a person should know before.

    `check` looks at the messages, `message_findings` unless another is handed in.
    """
    found = _plan_findings(proposal, settings, now, is_aa)
    if proposal.degraded:
        found.append(
            GateFinding(
                "degraded",
                "warning" if accepts_degraded else "error",
                f"{', '.join(proposal.degraded)}: a model was to write it, did not answer, and the embedded writer "
                f"did.{'' if accepts_degraded else ' Read it, and approve with --accept-degraded.'}",
            )
        )
    found += [
        GateFinding(
            "unused_edit",
            "warning",
            f"Draft {edit} is not in the text: it was made after the last run, or set aside by it. "
            "`segmentation run --select 'key:\"campaigns/email_drafts\"+'` lays the drafts out anew.",
        )
        for edit in proposal.unused_edits
    ]
    found += _draft_findings(proposal)
    found += layout_findings(settings.sender.layout)
    found += signing_findings(settings)
    if is_local(settings.delivery.public_url):
        found.append(
            GateFinding(
                "local_service",
                "warning",
                "delivery.public_url is an address of this machine: good for a trial, reached by nobody else.",
            )
        )
    if settings.delivery.transport == "smtp" and not settings.delivery.is_production:
        found.append(
            GateFinding(
                "not_production",
                "warning",
                "delivery.is_production is false: only addresses of "
                f"{', '.join(settings.delivery.allowed_domains) or 'no domain'} (delivery.allowed_domains) are written "
                "to. Everybody else is skipped, and a campaign is sent once.",
            )
        )
    found += (check or message_findings)(proposal.content)
    return list(dict.fromkeys(found))


def layout_findings(layout: str) -> list[GateFinding]:
    """What is wrong with the shop's own layout; nothing where it has none."""
    if not layout.strip():
        return []
    from segmentation_assets.messaging.template_check import check_template

    path = Path(layout).expanduser()
    try:
        source = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        return [GateFinding("layout", "error", f"sender.layout: {path.name} cannot be read ({why}).")]
    return [GateFinding(hit.rule, hit.severity, f"sender.layout: {hit.detail}") for hit in check_template(source)]


def signing_findings(settings: Settings) -> list[GateFinding]:
    """What is wrong with the key that is to sign the messages (DKIM); nothing where none is set.

    Sending would refuse too, but then somebody has approved in vain.
    """
    try:
        dkim_signer(settings)
    except ValueError as error:
        return [GateFinding("dkim", "error", str(error))]
    return []


def message_findings(content: CampaignContent) -> list[GateFinding]:
    """What is wrong with the messages of a campaign, built for recipients with hostile names and read as bytes.

    Each finding names its subject arm and comes once, however many recipients it concerns. That links lead to this
    machine is left to `findings`, which says it once.
    """
    from segmentation_assets.messaging.message import HeaderError, MessageBuilder, MessageError
    from segmentation_assets.messaging.message_lint import hostile_recipients, lint_message

    signer = TokenSigner(_NO_KEY)
    recipients = hostile_recipients(tuple(content.products)[:MOST_PRODUCTS_SHOWN])
    found: dict[GateFinding, None] = {}
    for variant in content.variants:
        arm = variant.variant
        try:
            builder = MessageBuilder(content, arm)
            for number, recipient in enumerate(recipients):
                made_up = send_id(content.campaign_id, f"sample {number}")
                urls = message_urls(signer, content.sender.public_url, made_up, len(content.links))
                raw = builder.build(recipient, urls, message_id=_message_id(made_up, content), date=_SAMPLE_DATE)
                for hit in lint_message(raw, content.sender):
                    if not (hit.severity == "warning" and hit.rule in _OF_THIS_MACHINE):
                        found.setdefault(GateFinding(hit.rule, hit.severity, f"arm {arm}: {hit.detail}"))
        except (MessageError, HeaderError) as error:
            found.setdefault(GateFinding("message", "error", f"arm {arm}: {error}"))
    return list(found)


def sample_html(content: CampaignContent, variant: str) -> str:
    """The HTML of a message as a plainly made-up recipient would get it; its links lead nowhere."""
    from segmentation_assets.messaging.message import MessageBuilder

    # Their own products are the campaign's last: rarely the brief's.
    recipient = Recipient("sample@example.com", "Alex", content.language, tuple(content.products)[-3:])
    made_up = send_id(content.campaign_id, "sample")
    urls = message_urls(TokenSigner(_NO_KEY), content.sender.public_url, made_up, len(content.links))
    raw = MessageBuilder(content, variant).build(
        recipient, urls, message_id=_message_id(made_up, content), date=_SAMPLE_DATE
    )
    part = message_from_bytes(raw, policy=policy.default).get_body(("html",))
    if part is None:
        raise ApprovalError(f"The message of campaign {content.campaign_id}, arm {variant}, has no HTML part.")
    return str(part.get_content())


def _message_id(made_up: str, content: CampaignContent) -> str:
    return f"<{made_up}@{content.sender.address.rpartition('@')[2]}>"


def _draft_findings(proposal: Proposal) -> list[GateFinding]:
    """What `messaging.lint` says of the drafts against the facts they may state."""
    content = proposal.content
    return [
        GateFinding(hit.rule, "error", f"draft {variant.draft_id}: {hit.detail}")
        for variant in content.variants
        for hit in lint_draft(
            Draft(
                variant.subject, variant.preheader, variant.body_text, variant.body_html, variant.call_to_action,
                variant.draft_id, content.campaign_id, variant.variant, content.valid_until,
            ),
            proposal.facts,
        )
    ]  # fmt: skip


def _plan_findings(proposal: Proposal, settings: Settings, now: dt.datetime, is_aa: bool) -> list[GateFinding]:
    plan, content = proposal.plan, proposal.content
    found = []

    def wrong(rule: str, detail: str, severity: Literal["error", "warning"] = "error") -> None:
        found.append(GateFinding(rule, severity, detail))

    ends_at = offer_ends_at(content, settings)
    if ends_at is not None and ends_at <= now:
        wrong("offer_over", f"The offer ended on {content.valid_until}. `segmentation run` plans another.")
    if plan is None:
        wrong("no_plan", f"Campaign {content.campaign_id} has no plan. `segmentation run` makes it.")
        return found
    if plan.not_after <= now:
        wrong("too_late", f"It was to be sent until {told(plan.not_after)}. `segmentation run` plans it anew.")
    if not plan.send_customers:
        wrong(
            "no_recipients",
            f"Nobody would be written to: of {plan.audience_customers:,} customers of the audience, "
            f"{plan.excluded_customers:,} are excluded and {plan.control_customers + plan.hold_out_customers:,} left "
            "out. `segmentation plan` says why.",
        )
    if not plan.control_customers:
        if is_aa:
            wrong("no_control", "An A/A trial compares two groups that get nothing, and this plan has no control.")
        elif plan.send_customers:
            wrong(
                "no_control",
                "Nobody is left out, so nobody will know what the campaign caused (campaigns.control_share).",
                "warning",
            )
    return found


# --- deciding ----------------------------------------------------------------------------------------------------


def approve(
    store: StateStore,
    proposal: Proposal,
    settings: Settings,
    *,
    person: str,
    now: dt.datetime,
    is_aa: bool = False,
    is_scheduled: bool = False,
    accepts_degraded: bool = False,
    check: Check | None = None,
) -> ApprovalRecord:
    """Approve just this proposal in a person's name; returns the approval, in force until its `expires_at`.

    The same person approving the same again renews the approval there is. Another approval, or one of changed content,
    takes its place; all stay on record. `is_aa`: a trial in which nobody is written to. `is_scheduled`: it may start
    by itself at its time. ApprovalError with every error of `findings` as a line, and for a campaign that began to be
    sent; nothing is changed then.
    """
    person = checked_text(person, "Who approves", LONGEST_PERSON)
    content, plan = proposal.content, proposal.plan
    errors = [
        finding
        for finding in findings(
            proposal, settings, now=now, is_aa=is_aa, accepts_degraded=accepts_degraded, check=check
        )
        if finding.severity == "error"
    ]
    if errors or plan is None:
        lines = "\n".join(f"- {finding}" for finding in errors)
        raise ApprovalError(f"Campaign {content.campaign_id} cannot be approved:\n{lines}")
    expires_at = min(
        end
        for end in (
            now + dt.timedelta(days=settings.delivery.approval_days),
            plan.not_after,
            offer_ends_at(content, settings),
        )
        if end is not None
    )
    wanted = CampaignRecord(
        campaign_id=content.campaign_id,
        name=content.name,
        status="approved",
        content=content.to_json(),
        digests=proposal.digests.as_dict(),
        counts={**plan.counts(), "product_ids": list(proposal.product_ids)},
        primary_metric=settings.measurement.primary_metric,
        window_days=settings.measurement.window_days,
        control_share=plan.control_share,
        is_aa=is_aa,
        is_scheduled=is_scheduled,
        starts_at=plan.starts_at,
        not_after=plan.not_after,
        created_at=now,
    )
    with store.session(write=True) as session:
        before = campaigns.read_campaign(session, content.campaign_id)
        newest = campaigns.read_newest_approval(session, content.campaign_id)
        try:
            campaigns.put_campaign(session, wanted)
        except CampaignStateError as error:
            raise ApprovalError(str(error)) from None
        is_same = (
            before is not None
            and newest is not None
            and newest.decision == "approved"
            and newest.person == person
            and newest.expires_at is not None
            and newest.expires_at > now
            and _bound(before) == _bound(wanted)
        )
        if is_same and newest is not None:
            approval = campaigns.renew_approval(session, newest.approval_id, expires_at)
        else:
            approval = campaigns.add_approval(
                session, content.campaign_id, "approved", person=person, digests=wanted.digests, decided_at=now,
                expires_at=expires_at,
            )  # fmt: skip
        detail = {
            "approval_id": approval.approval_id, "is_renewed": is_same, "expires_at": expires_at.isoformat(),
            "digests": dict(wanted.digests), "send": plan.send_customers, "control": plan.control_customers,
            "is_aa": is_aa, "is_scheduled": is_scheduled,
        }  # fmt: skip
        campaigns.add_audit(
            session, "approve_campaign", content.campaign_id, person=person, detail=detail, happened_at=now
        )
    return approval


def refuse_begun(store: StateStore, campaign_id: str) -> None:
    """ApprovalError where the campaign was begun, sent or stopped, so that nobody can approve it any more."""
    record = campaigns.get_campaign(store, campaign_id)
    if record is None or "approved" in campaigns.TRANSITIONS[record.status]:
        return
    try:
        campaigns.refuse_transition(campaign_id, record.status, "approved")
    except CampaignStateError as error:
        raise ApprovalError(str(error)) from None


def _bound(record: CampaignRecord) -> tuple[object, ...]:
    """What makes an approval of a campaign the same one; the digests stand for its content."""
    return (
        record.status, dict(record.digests), record.primary_metric, record.window_days, record.control_share,
        record.is_aa, record.is_scheduled, record.starts_at, record.not_after,
    )  # fmt: skip


def reject(store: StateStore, campaign_id: str, *, person: str, reason: str, now: dt.datetime) -> ApprovalRecord:
    """Say no to a campaign, or stop one that is being sent: what was not sent by now is not. Returns the decision.

    A rejected campaign can be approved later; a stopped one cannot. ApprovalError without a reason, and for a campaign
    that was sent or stopped.
    """
    person = checked_text(person, "Who rejects", LONGEST_PERSON)
    reason = checked_text(reason, "Why it is rejected", LONGEST_REASON)
    with store.session(write=True) as session:
        before = campaigns.read_campaign(session, campaign_id)
        digests: Mapping[str, str] = {}
        if before is not None:
            digests = before.digests
            try:
                campaigns.change_status(session, campaign_id, "cancelled" if before.status == "sending" else "rejected")
            except CampaignStateError as error:
                raise ApprovalError(str(error)) from None
        decision = campaigns.add_approval(
            session, campaign_id, "rejected", person=person, reason=reason, digests=digests, decided_at=now
        )
        campaigns.add_audit(
            session,
            "reject_campaign",
            campaign_id,
            person=person,
            detail={"approval_id": decision.approval_id, "reason": reason, "before": before and before.status},
            happened_at=now,
        )
    return decision


# --- asking ------------------------------------------------------------------------------------------------------


def require_approval(store: StateStore, campaign_id: str, now: dt.datetime, current: Digests) -> CampaignRecord:
    """The campaign as it was approved, when its approval holds for what it is now (`current_digests`).

    ApprovalError says what is in the way: nobody approved it, somebody rejected it, the approval is over, or what
    changed since. A change voids the approval for good: it does not come back when the change is taken back. Once
    sending began, what was frozen is sent, so changes do not count any more; an end and a rejection do.

    Start with `state.campaigns.change_status(session, campaign_id, "sending", digests=record.digests)`: it refuses
    when another decision came in between.
    """
    with store.session(write=True) as session:
        campaign = campaigns.read_campaign(session, campaign_id)
        newest = campaigns.read_newest_approval(session, campaign_id)
        problem, changed = _refusal(campaign_id, campaign, newest, now, current)
        if changed:
            reason = f"Changed since {_who(newest)} approved it: {_parts(changed)}."
            campaigns.change_status(session, campaign_id, "voided")
            campaigns.add_approval(
                session, campaign_id, "voided", person=_SYSTEM, reason=reason, digests=current.as_dict(),
                decided_at=now,
            )  # fmt: skip
            campaigns.add_audit(
                session, "void_campaign", campaign_id, person=_SYSTEM, detail={"changed": changed}, happened_at=now
            )
    if problem or campaign is None:
        raise ApprovalError(problem)
    return campaign


def check_approval(store: StateStore, campaign_id: str, now: dt.datetime, current: Digests) -> CampaignRecord:
    """The same question, for showing: nothing is written, so a changed campaign is refused and not voided."""
    with store.session() as session:
        campaign = campaigns.read_campaign(session, campaign_id)
        newest = campaigns.read_newest_approval(session, campaign_id)
    problem, _ = _refusal(campaign_id, campaign, newest, now, current)
    if problem or campaign is None:
        raise ApprovalError(problem)
    return campaign


def _refusal(
    campaign_id: str,
    campaign: CampaignRecord | None,
    newest: ApprovalRecord | None,
    now: dt.datetime,
    current: Digests,
) -> tuple[str, list[str]]:
    """Why the campaign may not be sent, empty when it may; and what changed, when that is the reason."""
    again = (
        f"Look at it with `segmentation drafts show {campaign_id}` and approve it with "
        f"`segmentation drafts approve {campaign_id}`."
    )
    if newest is None:
        return f"Nobody has approved campaign {campaign_id}. {again}", []
    if campaign is not None and campaign.status in ("sent", "cancelled"):
        return f"Campaign {campaign_id} was {campaign.status}, so nothing more of it is sent.", []
    if newest.decision == "rejected" or campaign is None:
        return (
            f"{newest.person} rejected campaign {campaign_id} on {told(newest.decided_at)}: {newest.reason} {again}",
            [],
        )
    if newest.decision == "voided":
        return (
            f"The approval of campaign {campaign_id} is void since {told(newest.decided_at)}. {newest.reason} {again}",
            [],
        )
    if newest.expires_at is None or newest.expires_at <= now:
        until = told(newest.expires_at) if newest.expires_at else "the start"
        if campaign.status == "sending":  # which cannot be approved again
            again = "What was not sent by then is not sent any more."
        return f"The approval of campaign {campaign_id} by {newest.person} held until {until}. {again}", []
    if campaign.status != "sending" and (changed := current.changed_from(newest.digests)):
        return (
            f"Campaign {campaign_id} is not what {_who(newest)} approved: changed since is its {_parts(changed)}. "
            f"Nothing is sent. {again}",
            changed,
        )
    return "", []


def _who(approval: ApprovalRecord | None) -> str:
    return "nobody" if approval is None else f"{approval.person} on {told(approval.decided_at)}"


def _parts(changed: Sequence[str]) -> str:
    return ", ".join(PARTS[part] for part in changed)


# --- times and texts ---------------------------------------------------------------------------------------------


def offer_ends_at(content: CampaignContent, settings: Settings) -> dt.datetime | None:
    """When the offer's last day ends in the shop's time zone, naive UTC; None where it has no end.

    ApprovalError for a time zone that is none.
    """
    if content.valid_until is None:
        return None
    try:
        zone = ZoneInfo(settings.delivery.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ApprovalError(
            f"delivery.timezone is {settings.delivery.timezone!r}, which is no time zone. One is Europe/Berlin."
        ) from None
    end = dt.datetime.combine(content.valid_until + dt.timedelta(days=1), dt.time(), zone)
    return end.astimezone(dt.UTC).replace(tzinfo=None)


def told(moment: dt.datetime) -> str:
    """A time as it is said: to the minute, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def checked_text(text: str, what: str, longest: int) -> str:
    """What a person typed, on one line. ApprovalError when it is empty, too long, cannot be printed or is an address.

    Addresses are not stored, those of colleagues neither.
    """
    for character in text:
        if unicodedata.category(character) in {"Cc", "Cs", "Cf", "Zl", "Zp"} and character not in "\n\t":
            raise ApprovalError(f"{what} holds the character U+{ord(character):04X}, which cannot be printed.")
    text = " ".join(text.split())
    if not text:
        raise ApprovalError(f"{what} is empty: say it in words.")
    if len(text) > longest:
        raise ApprovalError(f"{what} is told in {len(text):,} characters; at most {longest:,} are kept.")
    if _MAIL.search(text):
        raise ApprovalError(f"{what} holds an e-mail address, and addresses are not kept. Give a name.")
    return text
