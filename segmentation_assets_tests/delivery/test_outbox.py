"""The outbox: filled once, claimed by one, decided by a person; and how a campaign gets into it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import Engine, event, select

from segmentation_assets.delivery.dispatcher import Contact
from segmentation_assets.delivery.keys import KeyMismatchError, open_key
from segmentation_assets.delivery.outbox import (
    SendAttempt,
    SendRequest,
    decide_sends,
    dry_run,
    live_transport,
    outbox_folder,
    start_campaign,
)
from segmentation_assets.delivery.tables import TABLE_TYPES
from segmentation_assets.settings import Home, Settings, SettingsError
from segmentation_assets.state.campaigns import CampaignRecord, CampaignStateError, get_campaign
from segmentation_assets.state.delivery_tables import read_delivery_tables
from segmentation_assets.state.models import Approval, AuditEntry, Campaign, Forgotten, Send, StateValue, Suppression
from segmentation_assets.state.outbox import (
    Cap,
    OutboxError,
    Outcome,
    admit,
    claim_batch,
    count_reasons,
    count_statuses,
    expire_waiting,
    fill_sends,
    finish_campaign,
    mark_uncertain,
    next_due,
    record_outcomes,
    uncertain_sends,
)
from segmentation_assets.state.rights import set_opt_out
from segmentation_assets.state.store import StateStore, open_state
from segmentation_assets_tests.delivery import sending_world as world
from segmentation_assets_tests.delivery.sending_world import (
    CAMPAIGN,
    GATE,
    NOON,
    address,
    approve,
    begin,
    build,
    customer,
    hashed,
    id_of,
    read_contacts,
    row,
)

WEEK = NOON + dt.timedelta(days=7)


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateStore]:
    with open_state(tmp_path_factory.mktemp("state") / "state.sqlite") as opened:
        yield opened


@pytest.fixture
def store(one_store: StateStore) -> StateStore:
    world.empty(one_store)
    with one_store.session(write=True) as session:
        session.query(StateValue).delete()
    return one_store


def plan(*decisions: str, **changed: Any) -> pl.DataFrame:
    """The rows of delivery/plan of a campaign, and one of a customer who is in none."""
    values: list[dict[str, Any]] = [
        {
            "customer_id": customer(number), "campaign_id": CAMPAIGN, "decision": decision, "reason": decision,
            "variant": "A" if decision == "send" else None, "timezone": "UTC", "not_before": NOON, "not_after": WEEK,
            "product_ids": None,
        } | changed
        for number, decision in enumerate(decisions)
    ]  # fmt: skip
    other = {**values[0], "customer_id": "C99999", "campaign_id": None, "decision": "excluded"} if values else {}
    schema = {name: pl.Datetime("us") if kind == "TIMESTAMP" else pl.String() for name, kind in
              TABLE_TYPES["delivery/plan"].items()}  # fmt: skip
    return pl.DataFrame([*values, other] if values else [], schema=schema)


def start(store: StateStore, home: Path, frame: pl.DataFrame, now: dt.datetime = NOON) -> Any:
    def approved() -> CampaignRecord:
        record = get_campaign(store, CAMPAIGN)
        assert record is not None
        return record

    return start_campaign(store, CAMPAIGN, frame, key_path=home / "secret.key", now=now, approved=approved)


# --- filling and claiming --------------------------------------------------------------------------------------------


def test_filling_twice_changes_nothing(store: StateStore) -> None:
    approve(store)
    rows = [row(0), row(1, "control"), row(2, "hold_out")]
    assert fill_sends(store, CAMPAIGN, rows, now=NOON) == 3
    claim_batch(store, CAMPAIGN, "w", 9, NOON)
    assert fill_sends(store, CAMPAIGN, rows, now=NOON) == 0
    assert count_statuses(store, CAMPAIGN) == {"claimed": 1, "ghost": 2}
    with store.session() as session:
        ghost = session.get_one(Send, id_of(1))
        assert (ghost.finished_at, ghost.variant, ghost.arm) == (NOON, "", "control")


def test_an_outbox_is_filled_whole_or_not_at_all(store: StateStore) -> None:
    approve(store)

    def rows() -> Iterator[Any]:
        yield row(0)
        raise RuntimeError("the plan broke off")

    with pytest.raises(RuntimeError, match="the plan broke off"):
        fill_sends(store, CAMPAIGN, rows(), now=NOON)
    assert count_statuses(store, CAMPAIGN) == {}
    record = get_campaign(store, CAMPAIGN)
    assert record is not None
    assert record.status == "approved"


@pytest.mark.parametrize("status", ["rejected", "voided", "sent", "cancelled"])
def test_a_campaign_that_is_not_approved_is_not_filled(store: StateStore, status: str) -> None:
    approve(store, status=status)
    with pytest.raises(CampaignStateError, match=f"Campaign {CAMPAIGN} .*so it cannot be sent"):
        fill_sends(store, CAMPAIGN, [row(0)], now=NOON)
    assert count_statuses(store, CAMPAIGN) == {}


def test_an_approval_of_other_content_meanwhile_is_not_filled(store: StateStore) -> None:
    approve(store)
    with pytest.raises(CampaignStateError, match="was approved anew meanwhile, with other content"):
        fill_sends(store, CAMPAIGN, [row(0)], now=NOON, digests={"content": "what was checked"})


def test_a_row_is_claimed_once_when_it_is_due_and_not_late(store: StateStore) -> None:
    begin(store, [row(0), row(1, next_try_at=NOON + dt.timedelta(hours=1)), row(2, not_after=NOON)])
    rows, expired = claim_batch(store, CAMPAIGN, "w1", 9, NOON)
    assert ([one.customer_id for one in rows], expired) == ([customer(0)], 1)
    assert rows[0].product_ids == ("P1", "P2")
    assert claim_batch(store, CAMPAIGN, "w2", 9, NOON) == ([], 0)
    assert next_due(store, CAMPAIGN) == NOON + dt.timedelta(hours=1)


def test_rows_that_wait_are_not_all_read_for_each_batch(store: StateStore) -> None:
    begin(store, [row(0), row(1), row(2, next_try_at=NOON + dt.timedelta(minutes=1), not_after=WEEK), row(3)])
    said: list[str] = []

    def listen(*told: Any) -> None:
        said.append(told[2])

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        assert [len(claim_batch(store, CAMPAIGN, "w1", 1, NOON)[0]) for _ in range(3)] == [1, 1, 1]
    finally:
        event.remove(Engine, "before_cursor_execute", listen)
    assert [statement for statement in said if "finished_at=" in statement] == []  # expiring reads them all
    assert claim_batch(store, CAMPAIGN, "w1", 9, WEEK) == ([], 1)
    assert count_reasons(store, CAMPAIGN)["expired", "too_late"] == 1


def test_who_is_left_out_is_never_claimed_whatever_the_rows_status_says(store: StateStore) -> None:
    begin(store, [row(0), row(1, "control"), row(2, "hold_out")])
    with store.session(write=True) as session:  # a person's hand in the store, or a fault
        for sent in session.scalars(select(Send)):
            sent.status = "pending"
    assert [one.customer_id for one in claim_batch(store, CAMPAIGN, "w1", 9, NOON)[0]] == [customer(0)]


def test_behind_late_rows_those_in_time_are_found(store: StateStore) -> None:
    late = [row(n, next_try_at=NOON - dt.timedelta(hours=1), not_after=NOON) for n in range(5)]
    begin(store, [*late, row(5), row(6)])
    rows, expired = claim_batch(store, CAMPAIGN, "w1", 2, NOON)
    assert ([one.customer_id for one in rows], expired) == ([customer(5), customer(6)], 5)


def test_an_outcome_counts_only_from_the_worker_that_holds_the_row(store: StateStore) -> None:
    begin(store, 1)
    claim_batch(store, CAMPAIGN, "w1", 9, NOON)
    sent = Outcome(id_of(0), "sent", 1, finished_at=NOON)
    assert record_outcomes(store, CAMPAIGN, "w2", [sent]) == 0
    assert record_outcomes(store, CAMPAIGN, "w1", [sent]) == 1
    assert record_outcomes(store, CAMPAIGN, "w1", [Outcome(id_of(0), "failed", 1)]) == 0
    assert count_statuses(store, CAMPAIGN) == {"sent": 1}


@pytest.mark.parametrize(
    ("status", "days_ago", "is_capped"),
    [("ghost", 0, True), ("sent", 6, True), ("uncertain", 1, True), ("sent", 7, False), ("failed", 6, True),
     ("failed", 7, False), ("skipped", 6, True), ("skipped", 7, False), ("expired", 6, True), ("expired", 7, False),
     ("pending", 0, False), ("claimed", 0, True)],
)  # fmt: skip
def test_a_place_in_another_campaign_since_the_plan_counts_for_the_cap_whatever_came_of_it(
    store: StateStore, status: str, days_ago: int, is_capped: bool
) -> None:
    then = NOON - dt.timedelta(days=days_ago)
    begin(store, 1)
    (waiting,), _ = claim_batch(store, CAMPAIGN, "w1", 1, NOON)
    other = {
        "send_id": f"other {status} {days_ago}", "campaign_id": f"other {status} {days_ago}",
        "customer_id": waiting.customer_id, "arm": "treated", "variant": "A", "status": status, "reason": "",
        "timezone": "UTC", "product_ids": "", "tries": 1, "next_try_at": then, "not_after": NOON, "claimed_by": "",
        # It expires at its campaign's end, and counts from when it was due.
        "finished_at": NOON if status == "expired" else then, "smtp_code": None, "smtp_reply": "", "address_hash": "x",
    }  # fmt: skip
    with store.session(write=True) as session:
        session.add(Send(**other))
    refused = admit(store, CAMPAIGN, [(waiting, "hash")], NOON, Cap(1, 7))
    assert refused == ({waiting.send_id: "frequency_cap"} if is_capped else {})
    assert admit(store, CAMPAIGN, [(waiting, "hash")], NOON, Cap(2, 7)) == {}
    with store.session(write=True) as session:
        session.delete(session.get(Send, other["send_id"]))


def test_of_two_campaigns_that_send_at_once_one_alone_gets_a_customer(store: StateStore) -> None:
    begin(store, 1)
    (waiting,), _ = claim_batch(store, CAMPAIGN, "w1", 1, NOON)
    with store.session(write=True) as session:
        twin = session.get(Send, waiting.send_id)
        assert twin is not None
        values = {column.name: getattr(twin, column.name) for column in Send.__table__.columns}
        session.add(Send(**values | {"send_id": "twin", "campaign_id": "twin", "claimed_by": "w2"}))
    mine, theirs = waiting, dataclasses.replace(waiting, send_id="twin")
    assert admit(store, CAMPAIGN, [(mine, "hash")], NOON, Cap(1, 7)) == {}
    assert admit(store, "twin", [(theirs, "hash")], NOON, Cap(1, 7)) == {"twin": "frequency_cap"}
    with store.session(write=True) as session:
        session.delete(session.get(Send, "twin"))


def test_who_was_skipped_for_another_campaigns_sake_does_not_stop_that_one(store: StateStore) -> None:
    begin(store, 1)
    (waiting,), _ = claim_batch(store, CAMPAIGN, "w1", 1, NOON)
    with store.session(write=True) as session:
        values = {column.name: getattr(session.get(Send, waiting.send_id), column.name) for column in
                  Send.__table__.columns}  # fmt: skip
        given_way = {"status": "skipped", "reason": "frequency_cap", "finished_at": NOON}
        session.add(Send(**values | given_way | {"send_id": "twin", "campaign_id": "twin"}))
    assert admit(store, CAMPAIGN, [(waiting, "hash")], NOON, Cap(1, 7)) == {}
    with store.session(write=True) as session:
        session.get_one(Send, "twin").reason = "no_contact"
    assert admit(store, CAMPAIGN, [(waiting, "hash")], NOON, Cap(1, 7)) == {waiting.send_id: "frequency_cap"}
    with store.session(write=True) as session:
        session.delete(session.get(Send, "twin"))


def test_what_waits_when_the_approval_is_over_is_ended_and_what_is_held_is_not(store: StateStore) -> None:
    begin(store, [row(0), row(1), row(2, not_after=NOON, next_try_at=NOON + dt.timedelta(hours=1)), row(3, "control")])
    claim_batch(store, CAMPAIGN, "w1", 1, NOON)
    assert expire_waiting(store, CAMPAIGN, NOON) == (1, 1)
    assert count_reasons(store, CAMPAIGN) == {
        ("claimed", ""): 1, ("expired", "approval_over"): 1, ("expired", "too_late"): 1, ("ghost", ""): 1,
    }  # fmt: skip


def test_who_opted_out_of_profiling_since_the_plan_is_not_sent_to(store: StateStore) -> None:
    begin(store, 2)
    rows, _ = claim_batch(store, CAMPAIGN, "w1", 2, NOON)
    set_opt_out(store, rows[0].customer_id, is_active=True, person="clerk", now=NOON)
    refused = admit(store, CAMPAIGN, [(row, f"hash of {row.send_id}") for row in rows], NOON)
    assert refused == {rows[0].send_id: "opted_out"}
    set_opt_out(store, rows[0].customer_id, is_active=False, person="clerk", now=NOON)
    assert admit(store, CAMPAIGN, [(row, f"hash of {row.send_id}") for row in rows], NOON) == {}


def test_of_two_workers_one_alone_gets_an_address(store: StateStore) -> None:
    begin(store, 2)
    first, _ = claim_batch(store, CAMPAIGN, "w1", 1, NOON)
    second, _ = claim_batch(store, CAMPAIGN, "w2", 1, NOON)
    assert admit(store, CAMPAIGN, [(first[0], "same")], NOON) == {}
    assert admit(store, CAMPAIGN, [(second[0], "same")], NOON) == {second[0].send_id: "duplicate_address"}
    assert admit(store, CAMPAIGN, [(first[0], "same")], NOON) == {}  # its own address is no other's


def test_of_two_with_one_address_who_was_tried_before_keeps_it(store: StateStore) -> None:
    begin(store, 2)
    rows, _ = claim_batch(store, CAMPAIGN, "w1", 2, NOON)
    new, tried = rows[0], dataclasses.replace(rows[1], tries=1)
    assert admit(store, CAMPAIGN, [(new, "same"), (tried, "same")], NOON) == {new.send_id: "duplicate_address"}


def test_an_address_that_another_campaign_wrote_to_gets_this_ones_message_too(store: StateStore) -> None:
    begin(store, 1)
    (waiting,), _ = claim_batch(store, CAMPAIGN, "w1", 1, NOON)
    with store.session(write=True) as session:
        values = {column.name: getattr(session.get(Send, waiting.send_id), column.name) for column in
                  Send.__table__.columns}  # fmt: skip
        sent = {"status": "sent", "finished_at": NOON - dt.timedelta(days=30), "address_hash": "same"}
        session.add(Send(**values | sent | {"send_id": "twin", "campaign_id": "twin", "customer_id": "another"}))
    assert admit(store, CAMPAIGN, [(waiting, "same")], NOON, Cap(1, 7)) == {}


def test_a_campaign_is_sent_when_nothing_of_it_waits_or_is_held(store: StateStore) -> None:
    begin(store, 1)
    assert not finish_campaign(store, CAMPAIGN)
    claim_batch(store, CAMPAIGN, "w1", 9, NOON)
    assert not finish_campaign(store, CAMPAIGN)
    record_outcomes(store, CAMPAIGN, "w1", [Outcome(id_of(0), "uncertain", 1, finished_at=NOON)])
    assert finish_campaign(store, CAMPAIGN)


def test_a_campaign_that_was_stopped_is_never_called_sent(store: StateStore) -> None:
    begin(store, 0)
    with store.session(write=True) as session:
        session.get_one(Campaign, CAMPAIGN).status = "cancelled"
    assert not finish_campaign(store, CAMPAIGN)
    record = get_campaign(store, CAMPAIGN)
    assert record is not None
    assert record.status == "cancelled"


# --- a person's decision ---------------------------------------------------------------------------------------------


def uncertain(store: StateStore, number: int = 2) -> None:
    begin(store, number)
    claim_batch(store, CAMPAIGN, "w1", 9, NOON)
    gone = [Outcome(id_of(n), "uncertain", 1, "no_answer", finished_at=NOON) for n in range(number)]
    record_outcomes(store, CAMPAIGN, "w1", gone)
    finish_campaign(store, CAMPAIGN)


@pytest.mark.parametrize(("decision", "status"), [("sent", "sent"), ("failed", "failed"), ("retry", "pending")])
def test_a_person_decides_on_an_uncertain_message_and_it_is_kept_who(
    store: StateStore, decision: Any, status: str
) -> None:
    uncertain(store)
    assert [one.reason for one in uncertain_sends(store)] == ["no_answer", "no_answer"]
    assert mark_uncertain(store, [id_of(0)], decision, person="Ada", now=NOON) == 1
    assert count_reasons(store, CAMPAIGN) == {(status, f"marked_{decision}"): 1, ("uncertain", "no_answer"): 1}
    with store.session() as session:
        audit = session.scalars(select(AuditEntry)).one()
        assert (audit.action, audit.subject, audit.person) == (f"uncertain_marked_{decision}", id_of(0), "Ada")
        expected = "sending" if decision == "retry" else "sent"
        assert session.get_one(Campaign, CAMPAIGN).status == expected
    assert len(claim_batch(store, CAMPAIGN, "w2", 9, NOON)[0]) == (decision == "retry")


def test_what_a_person_calls_sent_was_sent_when_it_was_tried(store: StateStore) -> None:
    uncertain(store, 1)
    mark_uncertain(store, [id_of(0)], "sent", person="Ada", now=NOON + dt.timedelta(days=3))
    with store.session() as session:
        assert session.get_one(Send, id_of(0)).finished_at == NOON


def test_only_what_is_uncertain_can_be_marked_and_all_or_none_is(store: StateStore) -> None:
    uncertain(store)
    mark_uncertain(store, [id_of(0)], "sent", person="Ada", now=NOON)
    with pytest.raises(OutboxError) as refused:
        mark_uncertain(store, [id_of(1), id_of(0), "nothing"], "sent", person="Ada", now=NOON)
    assert str(refused.value) == (
        f"Only uncertain messages can be marked: {id_of(0)} is sent; nothing is not in the outbox. Nothing was changed."
    )
    assert count_statuses(store, CAMPAIGN) == {"sent": 1, "uncertain": 1}


def test_what_is_late_is_not_sent_again(store: StateStore) -> None:
    uncertain(store, 1)
    with pytest.raises(OutboxError, match="was to leave before 2026-07-08 12:00"):
        mark_uncertain(store, [id_of(0)], "retry", person="Ada", now=WEEK)


def test_nothing_is_sent_again_when_the_approval_is_over(store: StateStore) -> None:
    uncertain(store, 1)
    with store.session(write=True) as session:
        session.scalars(select(Approval)).one().expires_at = NOON
    with pytest.raises(OutboxError) as refused:
        mark_uncertain(store, [id_of(0)], "retry", person="Ada", now=NOON)
    assert str(refused.value) == (
        f"The approval of campaign {CAMPAIGN} is over, so nothing of it is sent again. Mark its messages as sent or "
        "failed; nothing was changed."
    )
    assert count_statuses(store, CAMPAIGN) == {"uncertain": 1}
    assert mark_uncertain(store, [id_of(0)], "retry", person="Ada", now=NOON - dt.timedelta(seconds=1)) == 1


def test_nothing_of_a_stopped_campaign_is_sent_again(store: StateStore) -> None:
    uncertain(store, 1)
    with store.session(write=True) as session:
        session.get_one(Campaign, CAMPAIGN).status = "cancelled"
    with pytest.raises(OutboxError) as refused:
        mark_uncertain(store, [id_of(0)], "retry", person="Ada", now=NOON)
    assert str(refused.value) == (
        f"Campaign {CAMPAIGN} was stopped, so nothing of it is sent again. Mark its messages as sent or failed; "
        "nothing was changed."
    )
    assert mark_uncertain(store, [id_of(0)], "failed", person="Ada", now=NOON) == 1


# --- starting --------------------------------------------------------------------------------------------------------


def test_a_campaign_starts_with_the_plans_customers_in_their_arms(store: StateStore, tmp_path: Path) -> None:
    approve(store)
    started = start(store, tmp_path, plan("send", "send", "control", "hold_out", "excluded"))
    assert (started.filled, started.campaign.status) == (4, "sending")
    assert count_statuses(store, CAMPAIGN) == {"pending": 2, "ghost": 2}
    assert start(store, tmp_path, plan("send")).filled == 0  # begun before, so it just goes on


def test_no_message_may_leave_after_the_campaigns_end_whatever_its_row_of_the_plan_says(
    store: StateStore, tmp_path: Path
) -> None:
    approve(store)
    early = plan("send").with_columns(not_after=pl.lit(NOON + dt.timedelta(days=1)))
    late = plan("send", "send").with_columns(not_after=pl.lit(WEEK + dt.timedelta(days=1)))
    unknown = plan("send", "send", "send").with_columns(not_after=pl.lit(None, pl.Datetime("us")))
    start(store, tmp_path, pl.concat([early[:1], late[1:2], unknown[2:3]]))
    with store.session() as session:
        ends = [session.get_one(Send, id_of(number)).not_after for number in range(3)]
    assert ends == [NOON + dt.timedelta(days=1), WEEK, WEEK]


def test_who_was_forgotten_since_the_plan_is_not_put_into_the_outbox(store: StateStore, tmp_path: Path) -> None:
    approve(store)
    key = open_key(tmp_path / "secret.key", store)
    with store.session(write=True) as session:
        session.add(Forgotten(customer_hash=key.hash_customer(customer(0)), address_hash="", forgotten_at=NOON))
    try:
        assert start(store, tmp_path, plan("send", "send", "control")).filled == 2
        with store.session() as session:
            assert session.get(Send, id_of(0)) is None
    finally:
        with store.session(write=True) as session:
            session.query(Forgotten).delete()


def test_everybody_keeps_the_segments_of_the_plan_also_those_who_are_left_out(
    store: StateStore, tmp_path: Path
) -> None:
    approve(store)
    frame = plan("send", "control", "hold_out").with_columns(
        taste_segment_id=pl.lit("T2"),
        stage_segment_id=pl.when(pl.col("decision") != "control").then(pl.lit("S1")),
    )
    start(store, tmp_path, frame)
    sends = read_delivery_tables(store).sends.sort("customer_id")
    assert sends.select("arm", "taste_segment_id", "stage_segment_id").rows() == [
        ("treated", "T2", "S1"), ("control", "T2", ""), ("hold_out", "T2", "S1")
    ]  # fmt: skip


def test_nobody_gets_a_message_in_an_aa_trial(store: StateStore, tmp_path: Path) -> None:
    approve(store, is_aa=True)
    start(store, tmp_path, plan("send", "send", "control"))
    assert count_statuses(store, CAMPAIGN) == {"ghost": 3}
    with store.session() as session:
        assert sorted(session.scalars(select(Send.arm))) == ["control", "treated", "treated"]
    assert claim_batch(store, CAMPAIGN, "w", 9, NOON) == ([], 0)


@pytest.mark.parametrize(
    ("now", "decisions", "message"),
    [
        (WEEK, ["send"], f"Campaign {CAMPAIGN} was to be sent until 2026-07-08 12:00 UTC, and it is 2026-07-08 12:00. "
         "`segmentation run` plans it anew."),
        (NOON - dt.timedelta(hours=1), ["send"], f"Campaign {CAMPAIGN} starts at 2026-07-01 12:00 UTC, and it is "
         "2026-07-01 11:00. Send it then."),
        (NOON, ["control", "excluded"], f"Nobody is to be written to in campaign {CAMPAIGN}, so it was not begun. "
         "`segmentation plan` says why."),
        (NOON, [], f"Nobody is to be written to in campaign {CAMPAIGN}, so it was not begun. `segmentation plan` says "
         "why."),
    ],
)  # fmt: skip
def test_a_campaign_does_not_start_too_late_too_early_or_for_nobody(
    store: StateStore, tmp_path: Path, now: dt.datetime, decisions: list[str], message: str
) -> None:
    approve(store)
    with pytest.raises(OutboxError) as refused:
        start(store, tmp_path, plan(*decisions), now)
    assert str(refused.value) == message
    assert count_statuses(store, CAMPAIGN) == {}


def test_a_restored_backup_with_another_key_sends_nothing(store: StateStore, tmp_path: Path) -> None:
    approve(store)
    open_key(tmp_path / "elsewhere.key", store)
    (tmp_path / "other").mkdir()
    with open_state(tmp_path / "other" / "state.sqlite") as other:
        open_key(tmp_path / "secret.key", other)
    with pytest.raises(KeyMismatchError, match="The secret key is not the one this HOME was begun with"):
        start(store, tmp_path, plan("send"))
    assert count_statuses(store, CAMPAIGN) == {}


def test_a_plan_of_an_older_version_is_told(store: StateStore, tmp_path: Path) -> None:
    approve(store)
    with pytest.raises(OutboxError, match=r"The plan lacks the columns timezone\. `segmentation run` renews it\."):
        start(store, tmp_path, plan("send").drop("timezone"))


# --- the dry run -----------------------------------------------------------------------------------------------------


def run_dry(store: StateStore, folder: Path, frame: pl.DataFrame, **changed: Any) -> Any:
    options = {"folder": folder, "build": build, "read_contacts": read_contacts, "gate": GATE} | changed
    return dry_run(store, CAMPAIGN, frame, **options)


def test_a_dry_run_writes_files_and_changes_no_state(store: StateStore, tmp_path: Path) -> None:
    approve(store)
    before = count_statuses(store, CAMPAIGN)
    with store.session(write=True) as session:
        session.add(
            Suppression(
                address_hash=hashed(address(1)), customer_id="", kind="complaint", source="", campaign_id="",
                created_at=NOON,
            )
        )  # fmt: skip
    contacts = {customer(n): Contact(address(n)) for n in range(4)} | {customer(4): Contact(address(0))}
    done = run_dry(
        store, tmp_path / "out", plan("send", "send", "control", "send", "send", "send"),
        read_contacts=lambda ids: contacts,
    )  # fmt: skip
    assert (done.planned, done.written) == (5, 2)
    assert done.skipped == {"suppressed_complaint": 1, "duplicate_address": 1, "no_contact": 1}
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == sorted([id_of(0), id_of(3)])
    assert count_statuses(store, CAMPAIGN) == before
    record = get_campaign(store, CAMPAIGN)
    assert record is not None
    assert record.status == "approved"


def test_who_opted_out_since_the_plan_is_in_no_dry_run(store: StateStore, tmp_path: Path) -> None:
    approve(store)
    set_opt_out(store, customer(1), is_active=True, person="clerk", now=NOON)
    done = run_dry(store, tmp_path / "out", plan("send", "send"))
    set_opt_out(store, customer(1), is_active=False, person="clerk", now=NOON)
    assert (done.written, done.skipped) == (1, {"opted_out": 1})


def test_a_dry_run_ends_at_its_limit(store: StateStore, tmp_path: Path) -> None:
    assert run_dry(store, tmp_path / "out", plan(*["send"] * 9), most=3).written == 3


def test_a_campaigns_name_cannot_lead_out_of_the_outbox(tmp_path: Path) -> None:
    assert outbox_folder(Home(tmp_path), "../../etc").parent == tmp_path / "outbox"
    assert outbox_folder(Home(tmp_path), "20260701-T1-loyal").name == "20260701-T1-loyal"


def test_live_needs_somewhere_to_send_to(tmp_path: Path) -> None:
    content: Any = type("Content", (), {"sender": type("Sender", (), {"address": "news@shop.example"})})
    with pytest.raises(SettingsError, match=r'delivery\.transport is "file", which writes files and sends nothing'):
        live_transport(Settings(), content)


# --- when to send by itself ------------------------------------------------------------------------------------------


def scheduled(status: str = "approved", **changed: Any) -> tuple[CampaignRecord, int]:
    values: dict[str, Any] = {
        "campaign_id": CAMPAIGN, "name": "Summer", "status": status, "content": {}, "digests": {}, "counts": {},
        "primary_metric": "buyers", "window_days": 14, "control_share": 0.1, "is_aa": False, "is_scheduled": True,
        "starts_at": NOON, "not_after": WEEK, "created_at": NOON,
    } | changed  # fmt: skip
    return CampaignRecord(**values), 7


FAILED = SendAttempt("r", "failed")


@pytest.mark.parametrize(
    ("campaign", "attempts", "due", "attempt", "reason"),
    [
        (scheduled(), [], None, 1, ""),
        (scheduled(starts_at=WEEK), [], None, 0, "due at 2026-07-08 12:00 UTC"),
        (scheduled(not_after=NOON), [], None, 0, "it was to be sent until 2026-07-01 12:00 UTC"),
        (scheduled(), [SendAttempt("r1", "in flight")], None, 0, "run r1 is sending it"),
        (scheduled(), [FAILED], None, 2, ""),
        (scheduled(), [FAILED] * 3, None, 0, "3 requests in a row failed, the last in run r. Mend its cause"),
        (scheduled("sending"), [FAILED, FAILED, SendAttempt("r", "ok"), FAILED], NOON, 5, ""),
        (scheduled("sending"), [SendAttempt("r", "ok")], None, 0, "nothing of it waits"),
        (scheduled("sending"), [SendAttempt("r", "ok")], WEEK, 0, "due at 2026-07-08 12:00 UTC"),
    ],
)
def test_a_scheduled_campaign_is_asked_for_when_it_is_due(
    campaign: tuple[CampaignRecord, int],
    attempts: list[SendAttempt],
    due: dt.datetime | None,
    attempt: int,
    reason: str,
) -> None:
    requests, told = decide_sends([campaign], {(CAMPAIGN, 7): attempts}, {CAMPAIGN: due}, NOON)
    assert requests == ([SendRequest(CAMPAIGN, 7, attempt)] if attempt else [])
    assert told.startswith(f"{len(requests)} of 1 scheduled campaigns to send.")
    assert reason in told
    assert told.endswith("It is 2026-07-01 12:00 UTC.")


@pytest.mark.slow
def test_a_large_plan_fills_the_outbox_whole(tmp_path: Path) -> None:
    with open_state(tmp_path / "state.sqlite") as store:
        approve(store)
        frame = pl.DataFrame(
            {
                "customer_id": [f"C{n:07d}" for n in range(120_000)], "campaign_id": CAMPAIGN, "decision": "send",
                "reason": "send", "variant": "A", "timezone": "UTC", "not_before": NOON, "not_after": WEEK,
                "product_ids": "P1", "taste_segment_id": "T1", "stage_segment_id": "S1",
            }
        )  # fmt: skip
        assert start(store, tmp_path, frame).filled == 120_000
        assert len(claim_batch(store, CAMPAIGN, "w", 500, NOON)[0]) == 500
