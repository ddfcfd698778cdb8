"""Folding the spool into the state store: once each, at any time, whoever is killed."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select

from segmentation_assets.delivery import events
from segmentation_assets.delivery.campaign import send_id
from segmentation_assets.delivery.events import (
    UNMATCHED,
    USER_AGENT_FAMILIES,
    FoldReport,
    event_id_of,
    fold_spool,
    network_hash,
    new_event_id,
    refusal,
    user_agent_family,
)
from segmentation_assets.delivery.keys import SecretKey
from segmentation_assets.delivery.spool import SpoolWriter
from segmentation_assets.state.events import MessageEvent, record_events, suppress, suppressed_of
from segmentation_assets.state.models import SendEvent, Suppression
from segmentation_assets.state.store import StateStore, open_state
from segmentation_assets_tests.service.world import CUSTOMERS, NOW, add_campaign, empty_state

SEND = send_id("summer", "C1")


@pytest.fixture
def store(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateStore]:
    empty_state(tmp_path_factory, tmp_path / "state.sqlite")
    with open_state(tmp_path / "state.sqlite") as opened:
        add_campaign(opened, "summer", ("https://shop.example/",))
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def click(send: str = SEND) -> MessageEvent:
    return MessageEvent(new_event_id(), send, "click", NOW, "link", 0, "GET", "browser_desktop", "n")


def told(*events: MessageEvent) -> list[dict[str, object]]:
    return [event.to_json() for event in events]


def stored(store: StateStore) -> list[SendEvent]:
    with store.session() as session:
        return list(session.scalars(select(SendEvent)))


def test_an_event_gets_campaign_and_customer_of_its_send(store: StateStore, folder: Path) -> None:
    writer = SpoolWriter(folder)
    event = click()
    writer.append(told(event))
    assert fold_spool(folder, store).inserted == 1
    (row,) = stored(store)
    assert (row.event_id, row.campaign_id, row.customer_id) == (event.event_id, "summer", "C1")
    assert (row.kind, row.link, row.occurred_at, row.user_agent) == ("click", 0, NOW, "browser_desktop")
    writer.close()


def test_folding_again_while_the_writer_lives_reads_only_what_is_new(store: StateStore, folder: Path) -> None:
    writer = SpoolWriter(folder)
    writer.append(told(click(), click()))
    assert fold_spool(folder, store) == FoldReport(files=1, lines=2, inserted=2)
    assert fold_spool(folder, store) == FoldReport(files=1)
    writer.append(told(click()))
    assert fold_spool(folder, store) == FoldReport(files=1, lines=1, inserted=1)
    writer.close()
    last = fold_spool(folder, store)
    assert last == FoldReport(files=1, removed=1, lines=3, repeated=3)
    assert [path.name for path in folder.iterdir()] == ["fold.lock"]
    assert len(stored(store)) == 3


@pytest.mark.parametrize("offset", ["7", "999999", "-1", "x", ""])
def test_a_wrong_note_of_where_to_begin_loses_nothing(store: StateStore, folder: Path, offset: str) -> None:
    writer = SpoolWriter(folder)
    writer.append(told(click(), click()))
    (path,) = folder.glob("*.jsonl")
    path.with_suffix(".offset").write_text(offset)
    fold_spool(folder, store)
    writer.close()
    fold_spool(folder, store)
    assert len(stored(store)) == 2


def test_what_is_new_begins_where_the_last_folding_ended_and_a_note_within_a_line_is_not_believed(
    store: StateStore, folder: Path
) -> None:
    writer = SpoolWriter(folder)
    for _ in range(3):  # each reads its own event alone
        writer.append(told(click()))
        assert fold_spool(folder, store).lines == 1
    (note,) = folder.glob("*.offset")
    note.write_text("7", "ascii")
    writer.append(told(refusal(SEND, NOW, "page")))
    report = fold_spool(folder, store)
    assert (report.lines, report.inserted, report.suppressed) == (4, 1, 1)
    writer.close()


def test_a_note_of_a_store_that_was_restored_since_loses_nothing(store: StateStore, folder: Path) -> None:
    writer = SpoolWriter(folder)
    writer.append(told(click()))
    fold_spool(folder, store)
    with store.session(write=True) as session:  # the backup is from before the folding
        session.query(SendEvent).delete()
    assert fold_spool(folder, store).inserted == 0
    writer.close()
    assert fold_spool(folder, store).inserted == 1


def test_an_unfinished_last_line_of_a_dead_writer_is_ignored_and_counted(store: StateStore, folder: Path) -> None:
    writer = SpoolWriter(folder)
    writer.append(told(click()))
    writer.close()
    (path,) = folder.glob("*.jsonl")
    with path.open("ab") as file:
        file.write(b'{"crc":"0123')
    report = fold_spool(folder, store)
    assert report == FoldReport(files=1, removed=1, lines=1, inserted=1, torn=1)
    assert report.sentence == (
        "1 events in 1 files of the spool: 1 new, 0 known before, 0 of unknown sends; 0 new suppressions; 1 files "
        "done. 1 last lines of killed writers were unfinished and never answered."
    )


def test_a_damaged_line_in_the_middle_is_reported_and_its_file_set_aside(store: StateStore, folder: Path) -> None:
    writer = SpoolWriter(folder)
    writer.append(told(click()))
    writer.append(told(click()))
    writer.close()
    (path,) = folder.glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"click"', b'"clack"', 1))
    report = fold_spool(folder, store)
    assert report.damaged == (f"{path.name} line 1",)
    assert report.inserted == 1
    assert path.with_suffix(".torn").exists()
    assert fold_spool(folder, store) == FoldReport()


def test_an_event_of_a_later_version_is_reported_and_kept(store: StateStore, folder: Path) -> None:
    writer = SpoolWriter(folder)
    writer.append([click().to_json() | {"kind": "forwarded"}, click().to_json() | {"new": 1}, *told(click())])
    writer.close()
    report = fold_spool(folder, store)
    assert report.inserted == 1
    assert report.damaged[0].endswith(": 2 lines of an unknown kind")
    assert len(list(folder.glob("*.torn"))) == 1


def test_a_refusal_of_a_send_that_a_restored_backup_does_not_know_waits_until_it_does(
    store: StateStore, folder: Path
) -> None:
    late = send_id("autumn", "C3")
    writer = SpoolWriter(folder)
    writer.append(told(refusal(late, NOW, "one_click"), click(late)))
    writer.close()
    assert fold_spool(folder, store) == FoldReport(files=1, removed=1, lines=2, unknown=2)
    assert (folder / UNMATCHED).exists()
    assert fold_spool(folder, store).unknown == 1
    assert suppressed_of(store, ["C3"]).customers == set()
    add_campaign(store, "autumn", ("https://shop.example/",))
    report = fold_spool(folder, store)
    assert (report.inserted, report.suppressed) == (1, 1)
    assert suppressed_of(store, ["C3"]).customers == {"C3"}
    assert not (folder / UNMATCHED).exists()


def test_a_fold_that_breaks_off_after_a_file_is_gone_has_kept_its_refusals(store: StateStore, folder: Path) -> None:
    late = send_id("autumn", "C3")
    writer = SpoolWriter(folder)
    writer.append(told(refusal(late, NOW, "one_click")))
    writer.close()
    stumble = folder / "z.jsonl"  # comes after the writer's file, and cannot be read
    stumble.mkdir()
    with pytest.raises(IsADirectoryError):
        fold_spool(folder, store)
    stumble.rmdir()
    assert list(folder.glob("*.jsonl")) == []
    add_campaign(store, "autumn", ("https://shop.example/",))
    assert fold_spool(folder, store).suppressed == 1


def test_refusals_of_unknown_sends_are_kept_up_to_a_number_bounces_going_first(
    store: StateStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_UNMATCHED", 3)
    sends = [send_id("autumn", f"C{number}") for number in range(1, 6)]
    bounced = [MessageEvent(event_id_of("b", one), one, "hard_bounce", NOW, "mailgun") for one in sends[:2]]
    refused = [refusal(one, NOW - dt.timedelta(days=9 - place), "page") for place, one in enumerate(sends[2:], start=1)]
    writer = SpoolWriter(folder)
    writer.append(told(*refused, *bounced))
    writer.close()
    report = fold_spool(folder, store)
    assert (report.unknown, report.let_go) == (5, 2)
    assert report.sentence.endswith(" The 2 oldest refusals of unknown sends are not kept any longer.")
    add_campaign(store, "autumn", ("https://shop.example/",), customers=("C1", "C2", "C3", "C4", "C5"))
    assert fold_spool(folder, store).inserted == 3
    assert suppressed_of(store, ["C1", "C2", "C3", "C4", "C5"]).customers == {"C3", "C4", "C5"}


def test_a_fold_that_is_killed_after_its_commit_counts_nothing_twice(
    store: StateStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SpoolWriter(folder)
    writer.append(told(click(), refusal(SEND, NOW, "page")))
    writer.close()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            fold_spool(folder, store)
    report = fold_spool(folder, store)
    assert (report.inserted, report.repeated, report.suppressed) == (0, 2, 0)


def test_two_folders_and_a_writer_at_once_neither_lose_nor_double(store: StateStore, folder: Path) -> None:
    writer = SpoolWriter(folder, rotate_bytes=4_000)
    events = [click(send_id("summer", CUSTOMERS[number % 40])) for number in range(300)]
    with ThreadPoolExecutor(3) as pool:
        writing = pool.submit(lambda: [writer.append(told(event)) for event in events])
        folds = [pool.submit(fold_spool, folder, store) for _ in range(12)]
        writing.result()
        reports = [fold.result() for fold in folds]
    writer.close()
    reports.append(fold_spool(folder, store))
    assert sum(report.inserted for report in reports) == 300
    assert {row.event_id for row in stored(store)} == {event.event_id for event in events}
    assert not list(folder.glob("*.jsonl"))


def test_a_file_of_a_living_writer_is_never_removed(store: StateStore, folder: Path) -> None:
    writer = SpoolWriter(folder)
    for _ in range(3):
        fold_spool(folder, store)
    writer.append(told(click()))
    assert fold_spool(folder, store).inserted == 1
    assert len(list(folder.glob("*.jsonl"))) == 1
    writer.close()


@pytest.mark.parametrize("kind", ["unsubscribe", "complaint", "hard_bounce"])
def test_a_refusal_suppresses_customer_and_address_and_keeps_the_first_time(store: StateStore, kind: str) -> None:
    event = dataclasses.replace(refusal(SEND, NOW, "page"), kind=kind)
    later = dataclasses.replace(event, event_id="another", occurred_at=NOW + dt.timedelta(days=1))
    assert record_events(store, [event]).suppressed == 1
    assert record_events(store, [later]).suppressed == 0
    with store.session() as session:
        (row,) = session.scalars(select(Suppression))
    assert (row.customer_id, row.address_hash, row.kind, row.campaign_id) == ("C1", "hash of C1", kind, "summer")
    assert row.created_at == NOW


@pytest.mark.parametrize("kind", ["open", "click", "delivered", "soft_bounce"])
def test_other_events_suppress_nobody(store: StateStore, kind: str) -> None:
    assert record_events(store, [dataclasses.replace(click(), kind=kind)]).suppressed == 0


def test_suppressing_by_hand_names_a_customer_or_an_address(store: StateStore) -> None:
    assert suppress(store, "manual", at=NOW, source="command", customer_id="C9")
    assert not suppress(store, "manual", at=NOW, source="command", customer_id="C9")
    assert suppress(store, "forgotten", at=NOW, source="command", address_hash="h")
    found = suppressed_of(store, [*map(str, range(2000)), "C9", ""], ["h", ""])
    assert (found.customers, found.addresses) == ({"C9"}, {"h"})
    with pytest.raises(ValueError, match=r"^A suppression names a customer or the hash of an address; neither"):
        suppress(store, "manual", at=NOW, source="command")
    with pytest.raises(ValueError, match=r"^'tired' is no kind of suppression; there are unsubscribe, complaint"):
        suppress(store, "tired", at=NOW, source="command", customer_id="C1")  # type: ignore[arg-type]


def test_more_events_than_fit_one_transaction_are_folded(store: StateStore, folder: Path) -> None:
    writer = SpoolWriter(folder)
    writer.append(told(*(click(send_id("summer", CUSTOMERS[number % 40])) for number in range(6_000))))
    writer.close()
    assert fold_spool(folder, store).inserted == 6_000


def test_no_spool_is_nothing_to_fold(store: StateStore, folder: Path) -> None:
    assert fold_spool(folder, store).sentence == "No event waits in the spool."
    assert not folder.exists()


@pytest.mark.parametrize(
    ("agent", "family"),
    [
        ("", "none"),
        ("Mozilla/5.0", "apple_mail_proxy"),
        ("Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko (via ggpht.com GoogleImageProxy)", "google_image_proxy"),
        ("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html", "yahoo_proxy"),
        ("Mozilla/5.0 (Windows NT 6.1) AppleWebKit/534 (KHTML, like Gecko) BingPreview/1.0b", "outlook_scanner"),
        ("Mozilla/4.0 (compatible; ms-office; MSOffice 16)", "mail_client"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148", "browser_mobile"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36", "browser_desktop"),
        ("python-requests/2.32", "script"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1)", "script"),
        ("Barracuda Sentinel (EE)", "security_scanner"),
        ("\x00\xff" * 5000, "unknown"),
    ],
)  # fmt: skip
def test_the_family_of_a_user_agent(agent: str, family: str) -> None:
    assert user_agent_family(agent) == family
    assert family in USER_AGENT_FAMILIES


def test_a_network_is_a_keyed_hash_of_a_24_or_a_48() -> None:
    key, other = SecretKey(bytes(32)), SecretKey(bytes(31) + b"1")
    assert (
        network_hash(key, "203.0.113.7")
        == network_hash(key, "203.0.113.250")
        == network_hash(key, "::ffff:203.0.113.7")
    )
    assert network_hash(key, "203.0.113.7") != network_hash(key, "203.0.114.7")
    assert network_hash(key, "203.0.113.7") != network_hash(other, "203.0.113.7")
    assert (
        network_hash(key, "2001:db8:1:2::1")
        == network_hash(key, "2001:db8:1:ffff::9")
        != network_hash(key, "2001:db8:2::1")
    )
    assert len(network_hash(key, "fe80::1%eth0")) == 32
    assert network_hash(key, "testclient") == network_hash(key, "") == ""


def test_the_id_of_a_repeated_event_is_made_of_all_its_parts() -> None:
    assert event_id_of("a", "b") == event_id_of("a", "b") != event_id_of("ab", "")
    assert refusal(SEND, NOW, "page").event_id == refusal(SEND, NOW + dt.timedelta(1), "one_click").event_id
