"""A message leaves at most once, to whom it may, when it may; whatever the server, the disk or the process does."""

from __future__ import annotations

import datetime as dt
import errno
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from sqlalchemy import select

from segmentation_assets.delivery.dispatcher import Contact, ContactsBusyError, Gate
from segmentation_assets.delivery.journal import Journal, JournalError
from segmentation_assets.delivery.transports import SmtpTransport
from segmentation_assets.messaging.content import Recipient
from segmentation_assets.state.models import Approval, Campaign, Send, SendEvent, Suppression
from segmentation_assets.state.outbox import QueuedSend, count_reasons, count_statuses
from segmentation_assets.state.store import StateStore, open_state
from segmentation_assets_tests.delivery import sending_world as world
from segmentation_assets_tests.delivery.sending_world import (
    CAMPAIGN,
    NOON,
    FakeClock,
    MailServer,
    address,
    begin,
    customer,
    dispatcher,
    hashed,
    id_of,
    mail_server,
    read_contacts,
    row,
)


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateStore]:
    with open_state(tmp_path_factory.mktemp("state") / "state.sqlite") as opened:
        yield opened


@pytest.fixture
def store(one_store: StateStore) -> StateStore:
    world.empty(one_store)
    return one_store


@pytest.fixture(scope="module")
def one_server() -> Iterator[MailServer]:
    with mail_server() as started:
        yield started


@pytest.fixture
def server(one_server: MailServer) -> MailServer:
    one_server.forget()
    return one_server


def send_of(store: StateStore, number: int) -> Send:
    with store.session() as session:
        found = session.get(Send, id_of(number))
        assert found is not None
        return found


def test_everybody_gets_one_message_and_the_campaign_is_sent(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    begin(store, 30)
    done = dispatcher(store, tmp_path, server, limits={"connections": 2, "batch": 7}).run()
    assert server.recipients == sorted(address(n) for n in range(30))
    assert done.counts == {"sent": 30}
    assert done.is_finished
    assert done.sentence == ""
    sent = send_of(store, 3)
    assert (sent.tries, sent.smtp_code, sent.finished_at is not None, sent.claimed_by) == (1, 250, True, "")
    assert sent.address_hash == hashed(address(3))
    assert list((tmp_path / "journal").iterdir()) == []
    with store.session() as session:
        assert session.get_one(Campaign, CAMPAIGN).status == "sent"


def test_nobody_in_the_outbox_is_no_error(store: StateStore, server: MailServer, tmp_path: Path) -> None:
    begin(store, 0)
    done = dispatcher(store, tmp_path, server).run()
    assert (done.counts, done.is_finished, server.accepted) == ({}, True, [])


def test_controls_and_hold_outs_are_never_built(store: StateStore, server: MailServer, tmp_path: Path) -> None:
    begin(store, [row(0), row(1, "control"), row(2, "hold_out")])
    built: list[str] = []

    def build(queued: QueuedSend, recipient: Recipient) -> object:
        built.append(queued.customer_id)
        return world.build(queued, recipient)

    done = dispatcher(store, tmp_path, server, build=build).run()
    assert built == [customer(0)]
    assert done.counts == {"sent": 1, "ghost": 2}


@pytest.mark.parametrize("answer", ["450 4.2.0 Greylisted", "451 4.3.0 Later", "452 4.2.2 Over quota"])
def test_a_greylisted_message_waits_and_is_then_taken(
    store: StateStore, server: MailServer, tmp_path: Path, answer: str
) -> None:
    server.tell(address(1), "rcpt", answer, answer)
    begin(store, 3)
    clock = FakeClock()
    done = dispatcher(store, tmp_path, server, clock).run()
    assert done.counts == {"sent": 3}
    assert send_of(store, 1).tries == 3
    # A minute and then four, each by up to a quarter more or less.
    assert dt.timedelta(minutes=0.75 + 3) <= clock.now - NOON <= dt.timedelta(minutes=1.25 + 5.1)


def test_a_message_that_is_deferred_five_times_has_failed(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    server.tell(address(0), "rcpt", *["450 4.2.0 Not yet"] * 9)
    begin(store, 1)
    done = dispatcher(store, tmp_path, server, limits={"patience_seconds": 1e6}).run()
    assert count_reasons(store, CAMPAIGN) == {("failed", "deferred_too_often"): 1}
    assert send_of(store, 0).tries == 5
    assert done.is_finished
    with store.session() as session:
        assert session.scalars(select(Suppression)).all() == []


def test_a_deferred_message_beyond_the_patience_waits_for_the_next_run(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    server.tell(address(0), "rcpt", "450 4.2.0 Not yet")
    begin(store, 2)
    done = dispatcher(store, tmp_path, server, limits={"patience_seconds": 10.0}).run()
    assert done.counts == {"sent": 1, "pending": 1}
    assert not done.is_finished
    assert done.next_at is not None
    again = dispatcher(store, tmp_path, server, FakeClock(done.next_at)).run()
    assert again.counts == {"sent": 2}
    assert again.is_finished


def test_421_drops_the_connection_and_the_message_is_tried_again(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    server.tell(address(1), "rcpt", "421 4.3.2 Shutting down")
    begin(store, 4)
    done = dispatcher(store, tmp_path, server).run()
    assert done.counts == {"sent": 4}
    assert send_of(store, 1).tries == 2
    assert server.recipients == sorted(address(n) for n in range(4))


def test_an_unknown_mailbox_fails_and_is_suppressed(store: StateStore, server: MailServer, tmp_path: Path) -> None:
    server.tell(address(0), "rcpt", f"550 5.1.1 <{address(0)}>: customer0 is unknown")
    begin(store, 2)
    done = dispatcher(store, tmp_path, server).run()
    assert done.counts == {"failed": 1, "sent": 1}
    failed = send_of(store, 0)
    assert (failed.reason, failed.smtp_code) == ("hard_bounce", 550)
    assert failed.smtp_reply == "5.1.1 ADDRESS: ADDRESS is unknown"
    with store.session() as session:
        kept = session.scalars(select(Suppression)).one()
        assert (kept.kind, kept.customer_id, kept.address_hash) == ("hard_bounce", customer(0), hashed(address(0)))
        event = session.scalars(select(SendEvent)).one()
        assert (event.kind, event.send_id, event.source) == ("hard_bounce", id_of(0), "smtp")


@pytest.mark.parametrize(
    ("stage", "answer"),
    [
        ("rcpt", "550 5.7.1 Policy"), ("rcpt", "552 5.2.2 Mailbox full"), ("rcpt", "550 No such luck"),
        ("rcpt", "550 5.1.8 Bad sender"), ("mail", "553 5.1.1 Sender unknown"), ("data", "554 5.6.0 Looks like spam"),
    ],
)  # fmt: skip
def test_other_refusals_fail_without_suppressing(
    store: StateStore, server: MailServer, tmp_path: Path, stage: str, answer: str
) -> None:
    server.tell("*" if stage == "mail" else address(0), stage, answer)
    begin(store, 1)
    done = dispatcher(store, tmp_path, server).run()
    assert count_reasons(store, CAMPAIGN) == {("failed", "refused"): 1}
    assert done.is_finished
    with store.session() as session:
        assert session.scalars(select(Suppression)).all() == []


@pytest.mark.parametrize("action", ["cut", "lost", "silence"])
def test_a_break_after_data_began_is_uncertain_and_never_retried_by_itself(
    store: StateStore, server: MailServer, tmp_path: Path, action: str
) -> None:
    server.tell(address(1), "data", action)
    begin(store, 4)
    quick = server.here(final_seconds=0.2)
    done = dispatcher(store, tmp_path, server, transport=lambda: SmtpTransport(quick)).run()
    assert done.counts == {"sent": 3, "uncertain": 1}
    assert send_of(store, 1).reason == "no_answer"
    assert done.is_finished
    later = FakeClock(NOON + dt.timedelta(days=1))
    again = dispatcher(store, tmp_path, server, later).run()
    assert again.counts == {"sent": 3, "uncertain": 1}
    assert Counter(server.recipients)[address(1)] == (1 if action == "lost" else 0)


def test_a_connection_lost_before_the_content_is_tried_again(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    server.tell(address(1), "data", "hang up before")
    begin(store, 3)
    done = dispatcher(store, tmp_path, server).run()
    assert done.counts == {"sent": 3}
    assert send_of(store, 1).tries == 2


def test_a_server_that_is_down_stops_sending_with_a_sentence_and_nothing_is_lost(
    store: StateStore, tmp_path: Path
) -> None:
    with mail_server() as server:
        gone = server.here()
    begin(store, 5)
    clock = FakeClock()
    done = dispatcher(
        store, tmp_path, server, clock, transport=lambda: SmtpTransport(gone), limits={"breaker_failures": 4}
    ).run()
    assert done.sentence == (
        f"Sending stopped after 4 failures in a row; the last: 127.0.0.1:{gone.port} cannot be reached (connection "
        "refused). Look at the mail server, then send again: what was sent is not sent twice."
    )
    assert done.counts == {"pending": 5}
    assert send_of(store, 0).tries == 0
    assert clock.slept == [0.5, 1.0, 2.0]


def test_a_server_that_refuses_everything_stops_sending(store: StateStore, server: MailServer, tmp_path: Path) -> None:
    server.tell("*", "mail", *["554 5.7.1 You are blocked"] * 99)
    begin(store, 50)
    done = dispatcher(store, tmp_path, server, limits={"breaker_failures": 10}).run()
    assert done.sentence.startswith("Sending stopped after 10 failures in a row; the last: 554 5.7.1 You are blocked.")
    assert done.counts == {"failed": 10, "pending": 40}


def test_ten_greylisted_recipients_in_a_row_do_not_stop_sending(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    for number in range(12):
        server.tell(address(number), "rcpt", "450 4.2.0 Greylisted")
    begin(store, 12)
    done = dispatcher(store, tmp_path, server, limits={"breaker_failures": 10}).run()
    assert done.counts == {"sent": 12}


def test_the_rate_holds_over_all_connections(store: StateStore, server: MailServer, tmp_path: Path) -> None:
    begin(store, 21)
    clock = FakeClock()
    dispatcher(store, tmp_path, server, clock, limits={"messages_per_second": 4.0, "connections": 2}).run()
    # A sleep moves this clock for both connections, so it can run at most twice as fast as the bucket asks.
    assert clock.now - NOON >= dt.timedelta(seconds=20 / 4 / 2)


def test_refusals_by_policy_stop_sending_and_a_success_between_them_does_not(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    for number in range(0, 12, 2):
        server.tell(address(number), "rcpt", "550 5.7.1 Policy")
    for number in range(12, 20):
        server.tell(address(number), "rcpt", "550 5.7.1 Blocked")
    begin(store, [row(n, next_try_at=NOON - dt.timedelta(seconds=20 - n)) for n in range(20)])
    done = dispatcher(store, tmp_path, server, limits={"breaker_failures": 4, "batch": 1}).run()
    assert done.counts == {"sent": 6, "failed": 10, "pending": 4}
    assert done.sentence.startswith("Sending stopped after 4 failures in a row; the last: 550 5.7.1 Blocked.")


def test_what_the_rate_makes_late_is_expired_at_the_moment_of_sending(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    begin(store, [row(n, not_after=NOON + dt.timedelta(seconds=4)) for n in range(4)])
    dispatcher(store, tmp_path, server, limits={"messages_per_second": 0.5}).run()
    # At 0, 2, 4 and 6 seconds; the end itself is too late.
    assert count_reasons(store, CAMPAIGN) == {("sent", ""): 2, ("expired", "too_late"): 2}
    assert len(server.accepted) == 2


# --- while a batch lasts ---------------------------------------------------------------------------------------------


def until(store: StateStore, end: dt.datetime) -> None:
    with store.session(write=True) as session:
        session.scalars(select(Approval)).one().expires_at = end


def test_an_approval_that_ends_while_sending_ends_what_waits(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    begin(store, 20)
    until(store, NOON + dt.timedelta(seconds=6))
    done = dispatcher(store, tmp_path, server, limits={"messages_per_second": 0.5, "batch": 10}).run()
    # At 0, 2 and 4 seconds; the end itself is too late.
    assert len(server.accepted) == 3
    assert count_reasons(store, CAMPAIGN) == {("sent", ""): 3, ("expired", "approval_over"): 17}
    assert done.here["expired"] == 17
    assert done.is_finished
    assert done.sentence == (
        f"The approval of campaign {CAMPAIGN} held until 2026-07-01 12:00 UTC, so 17 messages that waited are not "
        "sent any more."
    )


def test_what_is_late_when_the_approval_ends_is_late_and_nothing_is_said(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    begin(store, [row(0, not_after=NOON)])
    until(store, NOON)
    done = dispatcher(store, tmp_path, server).run()
    assert (done.sentence, done.is_finished) == ("", True)
    assert count_reasons(store, CAMPAIGN) == {("expired", "too_late"): 1}


def test_without_an_approval_nothing_is_sent(store: StateStore, server: MailServer, tmp_path: Path) -> None:
    begin(store, 3)
    with store.session(write=True) as session:
        session.scalars(select(Approval)).one().decision = "rejected"
    assert dispatcher(store, tmp_path, server).run().counts == {"pending": 3}
    assert server.accepted == []


@pytest.mark.parametrize("connections", [1, 3])
def test_who_refuses_while_a_slow_batch_lasts_is_not_written_to(
    store: StateStore, server: MailServer, tmp_path: Path, connections: int
) -> None:
    begin(store, 12)
    in_spool: list[str] = []
    built: list[str] = []

    def build(queued: QueuedSend, recipient: Recipient) -> object:
        built.append(queued.customer_id)
        if len(built) == 2:  # by now everybody of the batch was looked at, and two are being written to
            in_spool.extend({customer(n) for n in range(12)} - set(built) - {customer(5)})
        return world.build(queued, recipient)

    def fold() -> None:
        with store.session(write=True) as session:
            for one in in_spool:
                values = {"address_hash": "", "customer_id": one, "kind": "unsubscribe", "source": "page"}
                session.add(Suppression(**values, campaign_id="", created_at=NOON))
        in_spool.clear()

    slow = {"messages_per_second": 0.05, "connections": connections, "batch": 12}
    done = dispatcher(store, tmp_path, server, build=build, refresh=fold, limits=slow).run()
    assert len(server.accepted) == len(built) <= 2 + connections
    assert done.counts == {"sent": len(built), "skipped": 12 - len(built)}
    assert done.is_finished


def test_a_slow_batch_with_several_connections_writes_to_everybody_once(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    begin(store, 30)
    slow = {"messages_per_second": 0.05, "connections": 3, "batch": 30}
    assert dispatcher(store, tmp_path, server, limits=slow).run().counts == {"sent": 30}
    assert server.recipients == sorted(address(n) for n in range(30))


def test_a_campaign_that_is_stopped_while_a_slow_batch_lasts_goes_no_further(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    begin(store, 10)

    def cancel() -> None:
        with store.session(write=True) as session:
            session.get_one(Campaign, CAMPAIGN).status = "cancelled"

    counting = world.after(3, cancel)

    def build(queued: QueuedSend, recipient: Recipient) -> object:
        counting()
        return world.build(queued, recipient)

    done = dispatcher(store, tmp_path, server, build=build, limits={"messages_per_second": 0.05}).run()
    assert done.counts == {"sent": 3, "pending": 7}
    assert not done.is_finished


def test_a_quick_batch_is_looked_up_once(store: StateStore, server: MailServer, tmp_path: Path) -> None:
    begin(store, 10)
    asked: list[int] = []

    def read(ids: Sequence[str]) -> Mapping[str, Contact]:
        asked.append(len(ids))
        return read_contacts(ids)

    dispatcher(store, tmp_path, server, read_contacts=read, limits={"messages_per_second": 1.0, "batch": 10}).run()
    assert asked == [10]
    world.empty(store)
    begin(store, 10)
    dispatcher(store, tmp_path, server, read_contacts=read, limits={"messages_per_second": 0.1, "batch": 10}).run()
    # Every ten seconds one: at 20 seconds what is left of the batch is too old, at 40 again, and so on.
    assert asked[1:] == [10, 8, 6, 4, 2]


def test_what_is_late_is_expired(store: StateStore, server: MailServer, tmp_path: Path) -> None:
    begin(store, [row(0), row(1, not_after=NOON), row(2, not_after=NOON + dt.timedelta(seconds=30))])
    server.tell(address(2), "rcpt", "450 4.2.0 Later")
    done = dispatcher(store, tmp_path, server).run()
    assert count_reasons(store, CAMPAIGN) == {
        ("expired", "no_time_left"): 1, ("expired", "too_late"): 1, ("sent", ""): 1,
    }  # fmt: skip
    assert done.is_finished


def test_quiet_hours_are_kept_by_the_recipients_clock_at_the_moment_of_sending(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    # 12:00 UTC is 21:00 in Tokyo.
    begin(store, [row(0), row(1, timezone="Asia/Tokyo")])
    quiet = {"quiet_from_hour": 21, "quiet_to_hour": 8}
    done = dispatcher(store, tmp_path, server, limits=quiet).run()
    assert count_reasons(store, CAMPAIGN) == {("pending", "quiet_hours"): 1, ("sent", ""): 1}
    assert done.next_at == dt.datetime(2026, 7, 1, 23, 0)  # 8:00 in Tokyo
    again = dispatcher(store, tmp_path, server, FakeClock(done.next_at), limits=quiet).run()
    assert again.counts == {"sent": 2}


def test_quiet_until_the_end_is_expired(store: StateStore, server: MailServer, tmp_path: Path) -> None:
    begin(store, [row(0, timezone="Asia/Tokyo", not_after=NOON + dt.timedelta(hours=2))])
    dispatcher(store, tmp_path, server, limits={"quiet_from_hour": 21, "quiet_to_hour": 8}).run()
    assert count_reasons(store, CAMPAIGN) == {("expired", "quiet_hours"): 1}
    assert server.accepted == []


def test_an_unsubscribe_between_plan_and_send_is_honoured(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    begin(store, 4)

    def suppress(kind: str, customer_id: str = "", address_hash: str = "") -> None:
        with store.session(write=True) as session:
            session.add(
                Suppression(
                    address_hash=address_hash, customer_id=customer_id, kind=kind, source="page", campaign_id="",
                    created_at=NOON,
                )
            )  # fmt: skip

    suppress("unsubscribe", customer_id=customer(0))
    suppress("complaint", address_hash=hashed(address(1)))
    # The third lies in the spool until it is folded, which `refresh` does before each batch.
    refresh = world.after(1, lambda: suppress("unsubscribe", customer_id=customer(2)))
    dispatcher(store, tmp_path, server, refresh=refresh).run()
    assert server.recipients == [address(3)]
    assert count_reasons(store, CAMPAIGN) == {
        ("sent", ""): 1, ("skipped", "suppressed_complaint"): 1, ("skipped", "suppressed_unsubscribe"): 2,
    }  # fmt: skip


def test_who_may_not_be_written_to_now_is_skipped_with_the_reason(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    begin(store, 9)

    class NeedsError(ValueError):
        reason = "needs_smtputf8"

    def normalise(text: str) -> str:
        if not text.isascii():
            raise NeedsError("letters beyond ASCII")
        if "@" not in text:
            raise ValueError("no address")
        return text

    found = {
        customer(0): Contact(address(0)),
        customer(2): Contact(address(2), has_consent=False),
        customer(3): Contact(address(3), has_unsubscribed=True),
        customer(4): Contact("jürgen@example.com"),
        customer(5): Contact("nobody"),
        customer(6): Contact("real.person@elsewhere.test"),
        customer(7): Contact(address(0)),
        customer(8): Contact(None),
    }
    gate = Gate(normalise, hashed, frozenset({"example.com"}))
    dispatcher(store, tmp_path, server, read_contacts=lambda ids: found, gate=gate).run()
    assert count_reasons(store, CAMPAIGN) == {
        ("sent", ""): 1, ("skipped", "domain_not_allowed"): 1, ("skipped", "duplicate_address"): 1,
        ("skipped", "needs_smtputf8"): 1, ("skipped", "no_consent"): 1, ("skipped", "no_contact"): 1,
        ("skipped", "no_valid_address"): 2, ("skipped", "unsubscribed"): 1,
    }  # fmt: skip
    assert len(server.accepted) == 1


def test_a_domain_is_allowed_in_whatever_case_it_is_written(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    begin(store, 1)
    dispatcher(store, tmp_path, server, read_contacts=lambda ids: {customer(0): Contact("Ann@EXAMPLE.com")}).run()
    assert server.recipients == ["Ann@EXAMPLE.com"]


def test_in_production_every_domain_may_be_written_to(store: StateStore, server: MailServer, tmp_path: Path) -> None:
    begin(store, 1)
    contact = {customer(0): Contact("somebody@elsewhere.test")}
    dispatcher(store, tmp_path, server, read_contacts=lambda ids: contact, gate=Gate(str, hashed, None)).run()
    assert server.recipients == ["somebody@elsewhere.test"]


def test_one_address_gets_one_message_also_across_batches(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    begin(store, 6)
    shared = {customer(n): Contact(address(n % 2)) for n in range(6)}
    dispatcher(store, tmp_path, server, read_contacts=lambda ids: shared, limits={"batch": 2}).run()
    assert server.recipients == [address(0), address(1)]
    assert count_statuses(store, CAMPAIGN) == {"sent": 2, "skipped": 4}


def test_a_message_that_cannot_be_built_fails_alone(store: StateStore, server: MailServer, tmp_path: Path) -> None:
    begin(store, 2)

    def build(queued: QueuedSend, recipient: Recipient) -> object:
        if queued.customer_id == customer(0):
            raise ValueError(f"a name of {recipient.address} is hostile")
        return world.build(queued, recipient)

    dispatcher(store, tmp_path, server, build=build).run()
    assert count_reasons(store, CAMPAIGN) == {("failed", "not_built"): 1, ("sent", ""): 1}
    assert address(0) not in send_of(store, 0).smtp_reply


def test_contact_details_that_a_run_holds_are_waited_for(store: StateStore, server: MailServer, tmp_path: Path) -> None:
    begin(store, 2)
    busy = iter([True, True, False])

    def read(ids: Sequence[str]) -> Mapping[str, Contact]:
        if next(busy):
            raise ContactsBusyError("people.duckdb is held")
        return read_contacts(ids)

    assert dispatcher(store, tmp_path, server, read_contacts=read).run().counts == {"sent": 2}


def test_contact_details_that_stay_held_end_sending_and_give_the_rows_back(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    begin(store, 2)

    def read(ids: Sequence[str]) -> Mapping[str, Contact]:
        raise ContactsBusyError("people.duckdb is held")

    with pytest.raises(ContactsBusyError, match=r"people\.duckdb is held"):
        dispatcher(store, tmp_path, server, read_contacts=read).run()
    assert count_statuses(store, CAMPAIGN) == {"pending": 2}


def test_stopping_ends_after_the_message_in_flight(store: StateStore, server: MailServer, tmp_path: Path) -> None:
    begin(store, 20)
    ours = dispatcher(store, tmp_path, server)
    counting = world.after(5, ours.stop)

    def build(queued: QueuedSend, recipient: Recipient) -> object:
        counting()
        return world.build(queued, recipient)

    ours._build = build  # type: ignore[assignment]
    done = ours.run()
    assert done.counts == {"sent": 5, "pending": 15}
    assert len(server.accepted) == 5


def test_a_limit_ends_after_so_many_messages(store: StateStore, server: MailServer, tmp_path: Path) -> None:
    begin(store, 20)
    done = dispatcher(store, tmp_path, server, most=6, limits={"batch": 4}).run()
    assert done.counts == {"sent": 6, "pending": 14}


def test_a_campaign_that_a_person_stopped_goes_no_further(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    begin(store, 20)

    def cancel() -> None:
        with store.session(write=True) as session:
            session.get_one(Campaign, CAMPAIGN).status = "cancelled"

    done = dispatcher(store, tmp_path, server, limits={"batch": 5}, refresh=world.after(3, cancel)).run()
    assert done.counts == {"sent": 10, "pending": 10}
    assert not done.is_finished


def test_two_dispatchers_share_the_work_without_a_duplicate(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    import threading

    begin(store, 60)
    both = [dispatcher(store, tmp_path, server, limits={"batch": 5, "connections": 2}) for _ in range(2)]
    threads = [threading.Thread(target=one.run) for one in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.recipients == sorted(address(n) for n in range(60))
    assert count_statuses(store, CAMPAIGN) == {"sent": 60}
    assert all(one._here["sent"] > 0 for one in both)


# --- the disk --------------------------------------------------------------------------------------------------------


def full_from(calls: int) -> object:
    """Writes to a journal that find the disk full from the given one on; the header is the first."""
    made = iter(range(1, 1_000_000))

    def write(descriptor: int, content: bytes) -> int:
        if next(made) >= calls:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(descriptor, content)

    return write


def test_a_full_disk_at_the_intent_stops_before_sending(store: StateStore, server: MailServer, tmp_path: Path) -> None:
    begin(store, 5)
    # Header, intent, outcome, and then no more.
    done = dispatcher(store, tmp_path, server, write=full_from(4)).run()
    assert done.sentence.endswith(
        "in HOME cannot be written (No space left on device), so sending stopped. Free some space and send again: "
        "what was sent is not sent twice."
    )
    assert done.counts == {"sent": 1, "pending": 4}
    assert len(server.accepted) == 1


def test_a_full_disk_at_the_outcome_leaves_the_message_uncertain(
    store: StateStore, server: MailServer, tmp_path: Path
) -> None:
    begin(store, 5)
    done = dispatcher(store, tmp_path, server, write=full_from(3)).run()
    assert "No space left on device" in done.sentence
    assert done.counts == {"uncertain": 1, "pending": 4}
    assert count_reasons(store, CAMPAIGN)["uncertain", "journal_not_written"] == 1


def test_a_full_disk_at_the_start_sends_nothing(store: StateStore, server: MailServer, tmp_path: Path) -> None:
    begin(store, 5)
    with pytest.raises(JournalError, match=r"cannot be begun \(No space left on device\), so nothing was sent"):
        dispatcher(store, tmp_path, server, write=full_from(1)).run()
    assert count_statuses(store, CAMPAIGN) == {"pending": 5}
    assert server.accepted == []
    assert list((tmp_path / "journal").iterdir()) == []


def test_an_outbox_that_cannot_be_written_leaves_the_journal_to_the_next(
    store: StateStore, server: MailServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(store, 5)
    from segmentation_assets.delivery import dispatcher as module

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "the disk is broken")

    with monkeypatch.context() as patched:
        patched.setattr(module, "record_outcomes", fail)
        with pytest.raises(OSError, match="the disk is broken"):
            dispatcher(store, tmp_path, server).run()
    assert count_statuses(store, CAMPAIGN) == {"claimed": 5}
    done = dispatcher(store, tmp_path, server).run()
    assert done.counts == {"sent": 5}
    assert len(server.accepted) == 5


def test_a_connection_that_fails_in_its_own_code_leaves_its_message_uncertain(
    store: StateStore, server: MailServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(store, 5)
    kept = Journal.conclude
    steps = world.after(2, lambda: (_ for _ in ()).throw(RuntimeError("a fault of our own")))

    def conclude(self: Journal, outcome: object) -> None:
        steps()
        kept(self, outcome)  # type: ignore[arg-type]

    monkeypatch.setattr(Journal, "conclude", conclude)
    with pytest.raises(RuntimeError, match="a fault of our own"):
        dispatcher(store, tmp_path, server).run()
    monkeypatch.undo()
    done = dispatcher(store, tmp_path, server).run()
    assert done.counts == {"sent": 4, "uncertain": 1}
    assert len(server.accepted) == 5
