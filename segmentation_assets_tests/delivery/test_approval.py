"""Approval: bound to exactly what a person saw, in their name, for some days; any change voids it."""

from __future__ import annotations

import datetime as dt
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st
from sqlalchemy import select

from segmentation_assets.delivery import approval
from segmentation_assets.delivery.approval import (
    ApprovalError,
    Digests,
    GateFinding,
    Proposal,
    approve,
    check_approval,
    digests_of,
    findings,
    propose,
    reject,
    require_approval,
)
from segmentation_assets.delivery.freeze import read_audience
from segmentation_assets.messaging.content import CampaignContent
from segmentation_assets.state import campaigns
from segmentation_assets.state.campaigns import ApprovalRecord
from segmentation_assets.state.edits import edits_in_force, put_edit, undo_edit
from segmentation_assets.state.models import AuditEntry
from segmentation_assets.state.store import StateStore, open_state
from segmentation_assets_tests.delivery.campaign_world import LAPSED, LOYAL, NOW, World, published, settings

DAY = dt.timedelta(days=1)


def no_findings(_: CampaignContent) -> list[GateFinding]:
    return []


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("state") / "state.sqlite"
    with open_state(path):
        pass
    return path


@pytest.fixture
def store(empty: Path, tmp_path: Path) -> Iterator[StateStore]:
    with open_state(Path(shutil.copy(empty, tmp_path))) as opened:
        yield opened


#: Publishing a world takes a while, and without edits its proposal is always the same.
_PROPOSED: dict[str, Proposal] = {}


def proposed(store: StateStore, world: World | None = None, **sections: Any) -> Proposal:
    named = repr((world, sections))
    if edits_in_force(store, "draft") or named not in _PROPOSED:
        with published(world or World()) as con:
            found = propose(con, store, LOYAL, settings(**sections))
        if found.edits:
            return found
        _PROPOSED[named] = found
    return _PROPOSED[named]


def approved(
    store: StateStore, world: World | None = None, *, person: str = "Ada", now: dt.datetime = NOW, **more: Any
) -> ApprovalRecord:
    return approve(
        store, proposed(store, world), settings(), person=person, now=now, check=more.pop("check", no_findings), **more
    )


def current(store: StateStore, world: World | None = None, **sections: Any) -> Digests:
    return proposed(store, world, **sections).digests


def refusal(store: StateStore, now: dt.datetime, digests: Digests) -> str:
    with pytest.raises(ApprovalError) as caught:
        require_approval(store, LOYAL, now, digests)
    return str(caught.value)


def audit(store: StateStore) -> list[tuple[str, str, str]]:
    with store.session() as session:
        rows = session.scalars(select(AuditEntry).order_by(AuditEntry.id))
        return [(row.action, row.subject, row.person) for row in rows]


# --- approving ---------------------------------------------------------------------------------------------------


def test_an_approval_keeps_exactly_what_was_shown_and_holds(store: StateStore) -> None:
    proposal = proposed(store)
    kept = approve(store, proposal, settings(), person="Ada", now=NOW, check=no_findings)
    record = require_approval(store, LOYAL, NOW, current(store))
    assert CampaignContent.from_json(record.content) == proposal.content
    assert record.digests == proposal.digests.as_dict()
    assert (record.status, record.primary_metric, record.window_days) == ("approved", "buyers", 14)
    assert (record.counts["send"], record.counts["control"], record.counts["excluded"]) == (6, 1, 2)
    assert (kept.person, kept.decided_at, kept.expires_at) == ("Ada", NOW, NOW + 7 * DAY)
    assert audit(store) == [("approve_campaign", LOYAL, "Ada")]


def test_what_is_sent_is_the_proposal_that_was_shown_even_if_something_else_was_published_meanwhile(
    store: StateStore,
) -> None:
    shown = proposed(store)
    later = current(store, World(discount_share=0.2))
    approve(store, shown, settings(), person="Ada", now=NOW, check=no_findings)
    assert "changed since" in refusal(store, NOW, later)


def test_an_approval_never_outlives_the_offer(store: StateStore) -> None:
    kept = approved(store, now=dt.datetime(2026, 7, 10))
    assert kept.expires_at == dt.datetime(2026, 7, 15)  # the end of 14 July, in UTC


def test_the_offer_ends_at_midnight_of_the_shop(store: StateStore) -> None:
    content = proposed(store).content
    assert approval.offer_ends_at(content, settings(delivery={"timezone": "Europe/Berlin"})) == dt.datetime(
        2026, 7, 14, 22, 0
    )
    with pytest.raises(ApprovalError) as caught:
        approval.offer_ends_at(content, settings(delivery={"timezone": "Mars/Base"}))
    assert str(caught.value) == "delivery.timezone is 'Mars/Base', which is no time zone. One is Europe/Berlin."


def test_an_approval_that_is_over_does_not_hold(store: StateStore) -> None:
    approved(store)
    assert refusal(store, NOW + 7 * DAY, current(store)) == (
        f"The approval of campaign {LOYAL} by Ada held until 2026-07-08 10:00 UTC. Look at it with "
        f"`segmentation drafts show {LOYAL}` and approve it with `segmentation drafts approve {LOYAL}`."
    )
    approved(store, now=NOW + 7 * DAY)
    assert require_approval(store, LOYAL, NOW + 8 * DAY, current(store)).status == "approved"


@pytest.mark.parametrize(
    ("world", "end"),
    [
        (World(not_after=NOW + 3 * DAY), NOW + 3 * DAY),
        (World(valid_until=NOW.date() + DAY, not_after=NOW + 9 * DAY), dt.datetime(2026, 7, 3)),
        (World(), NOW + 7 * DAY),
    ],
)
def test_an_approval_ends_with_the_plan_the_offer_or_its_days_whichever_is_first(
    store: StateStore, world: World, end: dt.datetime
) -> None:
    assert approved(store, world).expires_at == end


def test_a_part_that_an_older_approval_did_not_bind_counts_as_changed(store: StateStore) -> None:
    digests = current(store)
    kept = {name: value for name, value in digests.as_dict().items() if name != "sender"}
    assert digests.changed_from(kept) == ["sender"]


def test_an_approval_that_ends_while_sending_is_not_said_to_be_renewable(store: StateStore) -> None:
    approved(store)
    with store.session(write=True) as session:
        campaigns.change_status(session, LOYAL, "sending")
    assert refusal(store, NOW + 7 * DAY, current(store)) == (
        f"The approval of campaign {LOYAL} by Ada held until 2026-07-08 10:00 UTC. What was not sent by then is not "
        "sent any more."
    )
    with pytest.raises(ApprovalError, match="so it cannot be approved"):
        approved(store, now=NOW + 7 * DAY)


def test_that_a_mail_server_is_set_outside_production_is_said_before_approving(store: StateStore) -> None:
    def rules(**delivery: Any) -> dict[str, str]:
        found = findings(proposed(store), settings(delivery=delivery), now=NOW, check=no_findings)
        return {row.rule: row.detail for row in found if row.severity == "warning"}

    assert rules(transport="smtp")["not_production"] == (
        "delivery.is_production is false: only addresses of example.com, example.org, example.net "
        "(delivery.allowed_domains) are written to. Everybody else is skipped, and a campaign is sent once."
    )
    assert "not_production" not in rules(transport="smtp", is_production=True)
    assert "not_production" not in rules(transport="catcher")


def test_what_nobody_approved_is_not_sent(store: StateStore) -> None:
    assert refusal(store, NOW, current(store)).startswith(f"Nobody has approved campaign {LOYAL}. Look at it with")


def test_the_same_approved_twice_by_one_person_is_one_approval_renewed(store: StateStore) -> None:
    first = approved(store)
    again = approved(store, now=NOW + DAY)
    assert again == replace(first, expires_at=NOW + 8 * DAY)
    assert campaigns.list_approvals(store, LOYAL) == [again]
    assert [action for action, _, _ in audit(store)] == ["approve_campaign", "approve_campaign"]


@pytest.mark.parametrize("more", [{"person": "Ben"}, {"is_aa": True}, {"is_scheduled": True}])
def test_another_persons_approval_or_one_of_another_kind_is_another_approval(
    store: StateStore, more: dict[str, Any]
) -> None:
    first = approved(store)
    second = approved(store, **more)
    assert campaigns.list_approvals(store, LOYAL) == [first, second]
    assert campaigns.newest_approval(store, LOYAL) == second


def test_a_trial_and_a_schedule_are_kept(store: StateStore) -> None:
    approved(store, is_aa=True, is_scheduled=True)
    record = campaigns.get_campaign(store, LOYAL)
    assert record is not None
    assert (record.is_aa, record.is_scheduled) == (True, True)


@pytest.mark.parametrize(
    ("person", "sentence"),
    [
        ("  ", "Who approves is empty: say it in words."),
        ("a" * 81, "Who approves is told in 81 characters; at most 80 are kept."),
        ("ada@example.com", "Who approves holds an e-mail address, and addresses are not kept. Give a name."),
        ("Ada\x1b[31m", "Who approves holds the character U+001B, which cannot be printed."),
        ("Ada\u202e", "Who approves holds the character U+202E, which cannot be printed."),
    ],
)
def test_a_person_has_a_name_that_can_be_kept(store: StateStore, person: str, sentence: str) -> None:
    with pytest.raises(ApprovalError) as caught:
        approved(store, person=person)
    assert str(caught.value) == sentence
    assert campaigns.list_approvals(store, LOYAL) == []


# --- the gates ---------------------------------------------------------------------------------------------------


def errors_of(store: StateStore, world: World | None = None, *, now: dt.datetime = NOW, **more: Any) -> list[str]:
    """The lines of the refusal, without its head; the store is left alone."""
    with pytest.raises(ApprovalError) as caught:
        approved(store, world, now=now, **more)
    head, *lines = str(caught.value).split("\n")
    assert head == f"Campaign {LOYAL} cannot be approved:"
    assert campaigns.get_campaign(store, LOYAL) is None
    assert campaigns.list_approvals(store, LOYAL) == []
    assert audit(store) == []
    return lines


def test_every_error_of_the_messages_blocks_and_is_a_line_and_warnings_do_not(store: StateStore) -> None:
    def check(_: CampaignContent) -> Sequence[GateFinding]:
        return [
            GateFinding("html_size", "error", "too large"),
            GateFinding("contrast", "warning", "pale"),
            GateFinding("link", "error", "javascript"),
        ]

    assert errors_of(store, check=check) == ["- html_size: too large", "- link: javascript"]
    approved(store, check=lambda content: [finding for finding in check(content) if finding.severity == "warning"])


def test_a_campaign_without_a_plan_is_not_approved(store: StateStore) -> None:
    assert errors_of(store, World(has_plan=False)) == [
        f"- no_plan: Campaign {LOYAL} has no plan. `segmentation run` makes it."
    ]


def test_a_campaign_that_reaches_nobody_is_not_approved(store: StateStore) -> None:
    world = World(plan=(("control", None, ""), ("hold_out", None, ""), ("excluded", None, "")))
    assert errors_of(store, world) == [
        "- no_recipients: Nobody would be written to: of 3 customers of the audience, 1 are excluded and 2 left out. "
        "`segmentation plan` says why."
    ]


def test_a_trial_needs_a_control_and_a_campaign_without_one_is_warned_of(store: StateStore) -> None:
    world = World(plan=(("send", "A", ""), ("send", "B", "")))
    assert errors_of(store, world, is_aa=True) == [
        "- no_control: An A/A trial compares two groups that get nothing, and this plan has no control."
    ]
    warned = findings(proposed(store, world), settings(), now=NOW, check=no_findings)
    assert (
        GateFinding(
            "no_control",
            "warning",
            "Nobody is left out, so nobody will know what the campaign caused (campaigns.control_share).",
        )
        in warned
    )
    approved(store, world)


def test_an_offer_that_is_over_is_not_approved(store: StateStore) -> None:
    assert errors_of(store, now=dt.datetime(2026, 7, 15)) == [
        "- offer_over: The offer ended on 2026-07-14. `segmentation run` plans another.",
        "- too_late: It was to be sent until 2026-07-15 00:00 UTC. `segmentation run` plans it anew.",
    ]


def test_a_degraded_draft_needs_a_word_more(store: StateStore) -> None:
    world = World(is_degraded=True)
    assert errors_of(store, world) == [
        f"- degraded: {LOYAL}-A, {LOYAL}-B: a model was to write it, did not answer, and the embedded writer did. "
        "Read it, and approve with --accept-degraded."
    ]
    approved(store, world, accepts_degraded=True)


def test_a_draft_that_says_what_is_not_a_fact_is_not_approved(store: StateStore) -> None:
    lines = errors_of(store, World(subjects={f"{LOYAL}-A": "Now 77% off everything, guaranteed"}))
    assert all(line.split(": ")[1] == f"draft {LOYAL}-A" for line in lines)
    assert any("77" in line for line in lines)


def test_an_edit_that_is_not_in_the_text_yet_is_pointed_out(store: StateStore) -> None:
    edit = put_edit(store, "draft", f"{LOYAL}-A", "subject", template="Hello", typed="Hello", edited_at=NOW)
    shown = [str(row) for row in findings(proposed(store), settings(), now=NOW, check=no_findings)]
    assert (
        f"unused_edit: Draft {LOYAL}-A, subject (edit {edit.edit_id}) is not in the text: it was made after the last "
        "run, or set aside by it. `segmentation run --select 'key:\"campaigns/email_drafts\"+'` lays the drafts out "
        "anew."
    ) in shown
    in_text = World(edits={f"{LOYAL}-A": {"subject": ("Hello", NOW)}})
    rules = [row.rule for row in findings(proposed(store, in_text), settings(), now=NOW, check=no_findings)]
    assert "unused_edit" not in rules


def test_a_layout_of_the_shops_own_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    assert approval.layout_findings("") == []
    found = approval.layout_findings(str(tmp_path / "missing.j2"))
    assert [str(row) for row in found] == [
        "layout: sender.layout: missing.j2 cannot be read (No such file or directory)."
    ]


def test_a_layout_that_is_a_bomb_blocks(store: StateStore, tmp_path: Path) -> None:
    layout = tmp_path / "own.j2"
    layout.write_text("{{ 'a' * 10 ** 9 }}")
    found = findings(proposed(store), settings(sender={"layout": str(layout)}), now=NOW, check=no_findings)
    assert [row.rule for row in found if row.severity == "error"] == ["template"] * len(
        [row for row in found if row.severity == "error"]
    )
    assert any(row.detail.startswith("sender.layout: Line 1: ") for row in found)


def test_real_messages_are_built_for_hostile_recipients_and_only_the_flawed_arm_is_found(
    store: StateStore, content: CampaignContent
) -> None:
    arm = content.variants[0]
    script = replace(arm, body_html=arm.body_html.replace("</body>", '<a href="javascript:alert(1)">x</a></body>'))
    found = approval.message_findings(replace(content, variants=(script, content.variants[1])))
    assert (
        GateFinding("link", "error", "arm A: <a href> is a link of the kind javascript:; only https may be used.")
        in found
    )
    assert {row.detail[:6] for row in found} == {"arm A:"}  # B, which is sound, has no finding
    assert len(found) == len(set(found))
    with pytest.raises(ApprovalError, match="- link: arm A: <a href> is a link of the kind javascript:"):
        approve(store, proposed(store), settings(), person="Ada", now=NOW, check=lambda _: found)


def test_a_draft_that_cannot_be_built_is_a_finding(content: CampaignContent) -> None:
    arm = replace(content.variants[1], body_text=content.variants[1].body_text + "[[password]]")
    assert approval.message_findings(replace(content, variants=(arm,))) == [
        GateFinding("message", "error", "arm B: The body_text holds [[password]], which is no merge field.")
    ]


@pytest.mark.slow
def test_html_that_mail_programs_would_cut_blocks(content: CampaignContent) -> None:
    arm = content.variants[0]
    large = replace(arm, body_html=arm.body_html.replace("</body>", f"<!--{'x' * 102_000}--></body>"))
    found = approval.message_findings(replace(content, variants=(large,)))
    assert {(row.rule, row.severity) for row in found} == {("html_size", "error")}


# --- what voids --------------------------------------------------------------------------------------------------

_PLAN = World().plan


def _sixth(decision: str, arm: str | None) -> World:
    return World(plan=(*_PLAN[:5], (decision, arm, ""), *_PLAN[6:]))


#: What is changed after the approval: the part that is told, the world, and settings.
CHANGED: dict[str, tuple[str, World, dict[str, Any]]] = {
    "another discount": ("content", World(discount_share=0.2), {}),
    "another subject": ("content", World(subjects={f"{LOYAL}-B": "Something else"}), {}),
    "another price": ("content", World(products=(("P1", "House Espresso", 21.0, False), *World().products[1:])), {}),
    "another product for a recipient": ("content", World(plan=(("send", "A", "P4,P3"), *_PLAN[1:])), {}),
    "another page": ("links", World(), {"sender": {"campaign_url": "https://shop.example/other"}}),
    "another shop": ("links", World(), {"sender": {"product_url": "https://other.example/{product_id}"}}),
    "one customer in": ("audience", World(plan=(*_PLAN, ("send", "A", ""))), {}),
    "one customer out": ("audience", World(plan=_PLAN[:-1]), {}),
    "one customer to control": ("audience", _sixth("control", None), {}),
    "one customer to the other arm": ("audience", _sixth("send", "A"), {}),
    "another sender": ("sender", World(), {"sender": {"address": "offers@shop.example"}}),
    "another name": ("sender", World(), {"sender": {"shop_name": "Sudlys"}}),
    "another service": ("sender", World(), {"delivery": {"public_url": "https://mail.shop.example"}}),
}


@pytest.mark.parametrize("change", CHANGED)
def test_any_change_after_approval_voids_it_and_says_what_changed(store: StateStore, change: str) -> None:
    part, world, sections = CHANGED[change]
    approved(store)
    changed = current(store, world, **sections)
    assert changed.changed_from(current(store).as_dict()) == [part]
    assert refusal(store, NOW + DAY, changed) == (
        f"Campaign {LOYAL} is not what Ada on 2026-07-01 10:00 UTC approved: changed since is its "
        f"{approval.PARTS[part]}. Nothing is sent. Look at it with `segmentation drafts show {LOYAL}` and approve it "
        f"with `segmentation drafts approve {LOYAL}`."
    )
    record = campaigns.get_campaign(store, LOYAL)
    assert record is not None
    assert record.status == "voided"
    newest = campaigns.newest_approval(store, LOYAL)
    assert newest is not None
    assert (newest.decision, newest.reason) == (
        "voided", f"Changed since Ada on 2026-07-01 10:00 UTC approved it: {approval.PARTS[part]}.",
    )  # fmt: skip
    assert audit(store)[-1] == ("void_campaign", LOYAL, "the approval check")


def test_a_voided_approval_does_not_come_back_when_the_change_is_taken_back(store: StateStore) -> None:
    approved(store)
    refusal(store, NOW, current(store, World(discount_share=0.2)))
    assert refusal(store, NOW, current(store)).startswith(
        f"The approval of campaign {LOYAL} is void since 2026-07-01 10:00 UTC. Changed since Ada on"
    )
    approved(store)
    assert require_approval(store, LOYAL, NOW, current(store)).status == "approved"


def test_approving_again_after_a_change_approves_the_change(store: StateStore) -> None:
    approved(store)
    world = World(discount_share=0.2)
    approved(store, world, person="Ben")
    assert require_approval(store, LOYAL, NOW, current(store, world)).content["products"]["P1"]["price"] == "€16.00"
    assert "content" in refusal(store, NOW, current(store))


def test_an_edit_after_approval_is_refused_at_sending_before_any_run(store: StateStore) -> None:
    approved(store)
    edit = put_edit(store, "draft", f"{LOYAL}-A", "subject", template="Hello", typed="Hello", edited_at=NOW + DAY)
    assert "changed since is its content" in refusal(store, NOW + DAY, current(store))
    approved(store, now=NOW + DAY)
    undo_edit(store, edit.edit_id)
    assert "changed since is its content" in refusal(store, NOW + DAY, current(store))


def test_an_edit_of_another_campaigns_draft_changes_nothing(store: StateStore) -> None:
    approved(store)
    put_edit(store, "draft", f"{LAPSED}-A", "subject", template="Hello", typed="Hello", edited_at=NOW)
    assert require_approval(store, LOYAL, NOW, current(store)).status == "approved"


def test_a_look_refuses_a_change_without_voiding(store: StateStore) -> None:
    approved(store)
    with pytest.raises(ApprovalError, match="changed since is its content"):
        check_approval(store, LOYAL, NOW, current(store, World(discount_share=0.2)))
    assert check_approval(store, LOYAL, NOW, current(store)).status == "approved"


PEOPLE = st.lists(
    st.tuples(
        st.sampled_from(["send", "control", "hold_out", "excluded"]), st.sampled_from(["A", "B"]),
        st.sampled_from(["", "P3", "P3,P4"]),
    ),
    min_size=1, max_size=8,
)  # fmt: skip


def audience_of(people: Sequence[tuple[str, str, str]]) -> pl.DataFrame:
    rows = [
        (f"C{number}", decision, arm if decision == "send" else None, own if decision == "send" else "")
        for number, (decision, arm, own) in enumerate(people)
    ]
    return pl.DataFrame(
        rows, schema=dict.fromkeys(("customer_id", "decision", "variant", "product_ids"), pl.String), orient="row"
    )


@pytest.fixture(scope="module")
def content(empty: Path) -> CampaignContent:
    with open_state(empty) as opened:
        return proposed(opened).content


@trying(max_examples=60, deadline=None)
@given(people=PEOPLE, data=st.data())
def test_any_single_change_changes_the_digest_of_its_part_alone_and_no_change_none(
    content: CampaignContent, people: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    before = digests_of(content, audience_of(people))
    shuffled = audience_of(people).sample(fraction=1.0, shuffle=True, seed=data.draw(st.integers(0, 99)))
    stored = CampaignContent.from_json(content.to_json())
    assert digests_of(stored, shuffled) == before  # neither the order of rows nor being stored is a change

    place = data.draw(st.integers(0, len(people) - 1))
    other = data.draw(PEOPLE.map(lambda drawn: drawn[0]))
    changed = audience_of([*people[:place], other, *people[place + 1 :]])
    row, new = audience_of(people).row(place), changed.row(place)
    expected = {"audience": row[:3] != new[:3], "content": row[3] != new[3]}
    assert digests_of(content, changed).changed_from(before.as_dict()) == [
        part for part in ("content", "audience") if expected[part]
    ]
    out = digests_of(content, audience_of(people[:-1])).changed_from(before.as_dict())
    assert "audience" in out

    text = data.draw(st.text(min_size=1, max_size=5))
    field = data.draw(st.sampled_from(["subject", "preheader", "body_text", "body_html", "call_to_action"]))
    arm = replace(content.variants[1], **{field: getattr(content.variants[1], field) + text})
    words = replace(content, variants=(content.variants[0], arm))
    assert digests_of(words, audience_of(people)).changed_from(before.as_dict()) == ["content"]
    name = data.draw(st.sampled_from(list(vars(content.sender))))
    sender = replace(content, sender=replace(content.sender, **{name: getattr(content.sender, name) + text}))
    assert digests_of(sender, audience_of(people)).changed_from(before.as_dict()) == ["sender"]
    link = data.draw(st.integers(0, len(content.links) - 1))
    links = replace(content, links=(*content.links[:link], content.links[link] + text, *content.links[link + 1 :]))
    assert digests_of(links, audience_of(people)).changed_from(before.as_dict()) == ["links"]


def test_ids_that_run_into_each_other_are_still_told_apart(content: CampaignContent) -> None:
    one = pl.DataFrame({"customer_id": ["C1", "C2"], "decision": "send", "variant": "A", "product_ids": ["P1", "P2"]})
    two = pl.DataFrame(
        {"customer_id": ['C1","product_ids":"P1"}\n{"customer_id":"C2'], "decision": "send", "variant": "A",
         "product_ids": ["P2"]}
    )  # fmt: skip
    assert digests_of(content, one).changed_from(digests_of(content, two).as_dict()) == ["content", "audience"]


def test_the_digest_of_the_audience_is_the_published_one(store: StateStore) -> None:
    with published() as con:
        told = con.execute("select audience_digest from delivery.campaign_plans").fetchall()[0][0]
        assert propose(con, store, LOYAL, settings()).digests.audience == told
        assert read_audience(con, LOYAL).height == 10


# --- rejecting ---------------------------------------------------------------------------------------------------


def test_a_rejected_campaign_is_not_sent_and_says_who_and_why(store: StateStore) -> None:
    approved(store)
    reject(store, LOYAL, person="Ben", reason="The price of the espresso is last year's.", now=NOW + DAY)
    assert refusal(store, NOW + DAY, current(store)).startswith(
        f"Ben rejected campaign {LOYAL} on 2026-07-02 10:00 UTC: The price of the espresso is last year's. Look at it"
    )
    assert audit(store)[-1] == ("reject_campaign", LOYAL, "Ben")
    approved(store, now=NOW + DAY)
    assert require_approval(store, LOYAL, NOW + DAY, current(store)).status == "approved"


def test_a_draft_that_nobody_approved_can_be_rejected(store: StateStore) -> None:
    reject(store, LOYAL, person="Ben", reason="No.", now=NOW)
    assert refusal(store, NOW, current(store)).startswith(f"Ben rejected campaign {LOYAL} on")
    approved(store)
    assert require_approval(store, LOYAL, NOW, current(store)).status == "approved"


def test_a_rejection_needs_a_reason(store: StateStore) -> None:
    with pytest.raises(ApprovalError) as caught:
        reject(store, LOYAL, person="Ben", reason=" ", now=NOW)
    assert str(caught.value) == "Why it is rejected is empty: say it in words."


def test_a_campaign_that_is_being_sent_is_stopped_and_never_approved_again(store: StateStore) -> None:
    approved(store)
    campaigns.set_status(store, LOYAL, "sending")
    reject(store, LOYAL, person="Ben", reason="Wrong price.", now=NOW)
    assert refusal(store, NOW, current(store)) == (f"Campaign {LOYAL} was cancelled, so nothing more of it is sent.")
    with pytest.raises(ApprovalError) as caught:
        approved(store)
    assert str(caught.value) == (
        f"Campaign {LOYAL} was cancelled, so it cannot be approved. A new brief is needed: `segmentation run` plans it."
    )


def test_a_campaign_that_was_sent_is_neither_approved_nor_rejected_nor_sent_again(store: StateStore) -> None:
    approved(store)
    campaigns.set_status(store, LOYAL, "sending")
    campaigns.set_status(store, LOYAL, "sent")
    with pytest.raises(ApprovalError, match="was sent, so it cannot be approved"):
        approved(store)
    with pytest.raises(ApprovalError, match="was sent, so it cannot be rejected"):
        reject(store, LOYAL, person="Ben", reason="Too late.", now=NOW)
    assert refusal(store, NOW, current(store)) == f"Campaign {LOYAL} was sent, so nothing more of it is sent."
    assert len(campaigns.list_approvals(store, LOYAL)) == 1


def test_once_sending_began_the_frozen_content_goes_on_and_the_approvals_end_counts(store: StateStore) -> None:
    approved(store)
    campaigns.set_status(store, LOYAL, "sending")
    changed = current(store, World(plan=World().plan[:-1]))  # those written to are capped in the next plan
    assert require_approval(store, LOYAL, NOW, changed).status == "sending"
    assert "held until 2026-07-08 10:00 UTC" in refusal(store, NOW + 7 * DAY, changed)
    record = campaigns.get_campaign(store, LOYAL)
    assert record is not None
    assert record.status == "sending"


# --- races -------------------------------------------------------------------------------------------------------


def at_once(*actions: Callable[[], Any]) -> None:
    gate = threading.Barrier(len(actions))
    failed: list[BaseException] = []

    def run(action: Callable[[], Any]) -> None:
        gate.wait()
        try:
            action()
        except ValueError as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_two_people_who_approve_at_once_leave_one_approval_in_force_and_both_on_record(store: StateStore) -> None:
    proposal = proposed(store)
    at_once(
        *(
            lambda person=person: approve(store, proposal, settings(), person=person, now=NOW, check=no_findings)
            for person in ("Ada", "Ben")
        )
    )
    on_record = campaigns.list_approvals(store, LOYAL)
    assert sorted(row.person for row in on_record) == ["Ada", "Ben"]
    assert campaigns.newest_approval(store, LOYAL) == on_record[-1]
    assert len(campaigns.list_campaigns(store)) == 1
    assert require_approval(store, LOYAL, NOW, proposal.digests).status == "approved"


def test_one_person_who_approves_twice_at_once_leaves_one_approval(store: StateStore) -> None:
    proposal = proposed(store)
    action = lambda: approve(store, proposal, settings(), person="Ada", now=NOW, check=no_findings)  # noqa: E731
    at_once(action, action, action)
    assert len(campaigns.list_approvals(store, LOYAL)) == 1


def test_of_an_approval_and_a_rejection_at_once_the_last_is_in_force_and_both_are_on_record(store: StateStore) -> None:
    proposal = proposed(store)
    at_once(
        lambda: approve(store, proposal, settings(), person="Ada", now=NOW, check=no_findings),
        lambda: reject(store, LOYAL, person="Ben", reason="No.", now=NOW),
    )
    on_record = campaigns.list_approvals(store, LOYAL)
    assert sorted(row.decision for row in on_record) == ["approved", "rejected"]
    if on_record[-1].decision == "approved":
        assert require_approval(store, LOYAL, NOW, proposal.digests).status == "approved"
    else:
        assert "Ben rejected" in refusal(store, NOW, proposal.digests)


def test_sending_does_not_begin_when_somebody_rejects_after_the_check(store: StateStore) -> None:
    approved(store)
    record = require_approval(store, LOYAL, NOW, current(store))
    reject(store, LOYAL, person="Ben", reason="No.", now=NOW)
    with pytest.raises(campaigns.CampaignStateError, match="was rejected, so it cannot be sent"):
        campaigns.set_status(store, LOYAL, "sending", digests=record.digests)
