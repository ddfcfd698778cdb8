"""What a killed sender leaves behind is told right: nothing is sent twice, nothing is silently lost."""

from __future__ import annotations

import datetime as dt
import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.delivery import journal as module
from segmentation_assets.delivery.journal import Journal, JournalError, fold_journals, open_journal
from segmentation_assets.state.models import Send
from segmentation_assets.state.outbox import Claim, Outcome, claim_batch, count_reasons, count_statuses
from segmentation_assets.state.store import StateStore, open_state
from segmentation_assets_tests.delivery import sending_world as world
from segmentation_assets_tests.delivery.sending_world import CAMPAIGN, NOON, begin, id_of

LATER = NOON + dt.timedelta(hours=1)


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateStore]:
    with open_state(tmp_path_factory.mktemp("state") / "state.sqlite") as opened:
        yield opened


@pytest.fixture
def store(one_store: StateStore) -> StateStore:
    world.empty(one_store)
    return one_store


def claimed(store: StateStore, customers: int, worker: str = "w1") -> None:
    begin(store, customers)
    rows, _ = claim_batch(store, CAMPAIGN, worker, customers, NOON)
    assert len(rows) == customers


def sent(number: int, tries: int = 1) -> Outcome:
    return Outcome(id_of(number), "sent", tries, finished_at=NOON, smtp_code=250, smtp_reply="2.0.0 OK")


def leave(folder: Path, worker: str = "w1") -> Path:
    """A journal with one concluded and one intended message, whose worker is gone; message 2 was never begun."""
    with open_journal(folder, worker, CAMPAIGN) as journal:
        journal.intend(id_of(0), 1, NOON)
        journal.conclude(sent(0))
        journal.intend(id_of(1), 1, NOON)
    return folder / f"{worker}.jsonl"


def statuses(store: StateStore) -> dict[int, tuple[str, str]]:
    with store.session() as session:
        rows = {row.send_id: (row.status, row.reason) for row in session.query(Send)}
    return {number: rows[id_of(number)] for number in range(len(rows))}


def test_folding_tells_concluded_intended_and_never_begun_apart(store: StateStore, tmp_path: Path) -> None:
    claimed(store, 3)
    path = leave(tmp_path)
    report = fold_journals(tmp_path, store, CAMPAIGN, LATER)
    assert statuses(store) == {0: ("sent", ""), 1: ("uncertain", "worker_died"), 2: ("pending", "")}
    assert (report.files, report.rows, report.problems) == (1, {"sent": 1, "uncertain": 1, "pending": 1}, ())
    assert not path.exists()
    with store.session() as session:
        uncertain = session.get_one(Send, id_of(1))
        assert (uncertain.tries, uncertain.finished_at, uncertain.claimed_by) == (1, NOON, "")


def test_a_journal_that_another_process_folded_meanwhile_is_passed_by(
    store: StateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed(store, 3)
    path = leave(tmp_path)
    kept = path.read_bytes()
    fold_journals(tmp_path, store, CAMPAIGN, LATER)
    path.write_bytes(kept)
    lock = fcntl.flock

    def other_was_faster(file: int, operation: int) -> None:
        lock(file, operation)
        path.unlink()

    monkeypatch.setattr(fcntl, "flock", other_was_faster)
    assert fold_journals(tmp_path, store, CAMPAIGN, LATER).files == 0


def test_folding_twice_is_the_same_as_once(store: StateStore, tmp_path: Path) -> None:
    claimed(store, 3)
    path = leave(tmp_path)
    content = path.read_bytes()
    fold_journals(tmp_path, store, CAMPAIGN, LATER)
    once = statuses(store)
    path.write_bytes(content)  # as if the process had died between recording and removing
    report = fold_journals(tmp_path, store, CAMPAIGN, LATER)
    assert statuses(store) == once
    assert (report.files, report.rows) == (1, {})
    assert not path.exists()


def test_the_journal_of_a_living_worker_is_left_alone(store: StateStore, tmp_path: Path) -> None:
    claimed(store, 2)
    with open_journal(tmp_path, "w1", CAMPAIGN) as journal:
        journal.intend(id_of(0), 1, NOON)
        assert fold_journals(tmp_path, store, CAMPAIGN, LATER).files == 0
        assert count_statuses(store, CAMPAIGN) == {"claimed": 2}
        assert journal.path.exists()
    assert fold_journals(tmp_path, store, CAMPAIGN, LATER).rows == {"uncertain": 1, "pending": 1}


def test_after_a_restart_of_the_machine_what_was_not_noted_is_uncertain(
    store: StateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed(store, 3)
    leave(tmp_path)
    monkeypatch.setattr(module, "boot_id", lambda: "another start of the machine")
    fold_journals(tmp_path, store, CAMPAIGN, LATER)
    assert statuses(store) == {0: ("sent", ""), 1: ("uncertain", "worker_died"), 2: ("uncertain", "machine_restarted")}


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_counts_as_never_written(store: StateStore, tmp_path: Path, cut: int) -> None:
    claimed(store, 3)
    path = leave(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    report = fold_journals(tmp_path, store, CAMPAIGN, LATER)
    assert statuses(store) == {0: ("sent", ""), 1: ("pending", ""), 2: ("pending", "")}
    assert report.problems == ()


def test_a_torn_line_in_the_middle_is_told_and_its_message_is_uncertain(store: StateStore, tmp_path: Path) -> None:
    claimed(store, 3)
    path = leave(tmp_path)
    header, intent, outcome, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(header + intent + outcome[:70] + b"\n" + last)
    report = fold_journals(tmp_path, store, CAMPAIGN, LATER)
    assert statuses(store) == {0: ("uncertain", "journal_damaged"), 1: ("uncertain", "worker_died"), 2: ("pending", "")}
    assert report.problems == (
        "The journal w1.jsonl is damaged in line 3: 1 message it may be about are uncertain now "
        "(`segmentation outbox uncertain list`). The file is kept as w1.damaged.",
    )
    assert path.with_suffix(".damaged").exists()
    assert fold_journals(tmp_path, store, CAMPAIGN, LATER).files == 0


def test_a_damaged_line_about_nobody_makes_everything_unconcluded_uncertain(store: StateStore, tmp_path: Path) -> None:
    claimed(store, 3)
    path = leave(tmp_path)
    header, *lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(header + b"\0\0\0\n" + b"".join(lines))
    fold_journals(tmp_path, store, CAMPAIGN, LATER)
    assert statuses(store) == {
        0: ("sent", ""), 1: ("uncertain", "journal_damaged"), 2: ("uncertain", "journal_damaged"),
    }  # fmt: skip


def test_a_journal_that_is_gone_makes_what_its_worker_held_uncertain(store: StateStore, tmp_path: Path) -> None:
    claimed(store, 2)
    leave(tmp_path).unlink()
    report = fold_journals(tmp_path, store, CAMPAIGN, LATER)
    assert count_reasons(store, CAMPAIGN) == {("uncertain", "journal_lost"): 2}
    assert report.problems == (
        "A sender's journal is gone, so 2 messages it held are uncertain now (`segmentation outbox uncertain list`).",
    )


def test_an_earlier_try_in_the_journal_says_nothing_about_the_next(store: StateStore, tmp_path: Path) -> None:
    begin(store, 1)
    with open_journal(tmp_path, "w1", CAMPAIGN) as journal:
        claim_batch(store, CAMPAIGN, "w1", 1, NOON)
        journal.intend(id_of(0), 1, NOON)
        deferred = Outcome(id_of(0), "pending", 1, "deferred", next_try_at=NOON)
        journal.conclude(deferred)
        module.record_outcomes(store, CAMPAIGN, "w1", [deferred])
        claim_batch(store, CAMPAIGN, "w1", 1, NOON)
    fold_journals(tmp_path, store, CAMPAIGN, LATER)
    with store.session() as session:
        row = session.get_one(Send, id_of(0))
        assert (row.status, row.tries) == ("pending", 1)


def test_a_checkpoint_empties_a_journal_that_has_grown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: StateStore
) -> None:
    monkeypatch.setattr(module, "_CHECKPOINT_BYTES", 500)
    claimed(store, 2)
    with open_journal(tmp_path, "w1", CAMPAIGN) as journal:
        header = journal.path.stat().st_size
        journal.intend(id_of(0), 1, NOON)
        journal.checkpoint()
        assert journal.path.stat().st_size > header  # small, so it only grows
        journal.conclude(sent(0))
        journal.intend(id_of(0), 2, NOON)
        journal.checkpoint()
        assert journal.path.stat().st_size == header
        journal.intend(id_of(1), 1, NOON)
    assert fold_journals(tmp_path, store, CAMPAIGN, LATER).rows == {"pending": 1, "uncertain": 1}


def test_a_line_that_was_half_written_is_taken_back(tmp_path: Path) -> None:
    def half(descriptor: int, content: bytes) -> int:
        import os

        return os.write(descriptor, content[: len(content) // 2] if b"intent" in content else content)

    with open_journal(tmp_path, "w1", CAMPAIGN, write=half) as journal:
        before = journal.path.read_bytes()
        with pytest.raises(JournalError, match=r"cannot be written \(No space left on device\), so sending stopped"):
            journal.intend(id_of(0), 1, NOON)
        assert journal.path.read_bytes() == before


def test_a_real_full_disk_is_told_in_a_sentence(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this machine has no /dev/full")
    import os

    descriptor = os.open(full, os.O_WRONLY)
    with pytest.raises(JournalError, match="No space left on device"):
        Journal(tmp_path / "w1.jsonl", descriptor, "w1", os.write).intend(id_of(0), 1, NOON)
    os.close(descriptor)


def test_the_journal_is_its_owners_to_read_and_holds_no_address(store: StateStore, tmp_path: Path) -> None:
    claimed(store, 3)
    path = leave(tmp_path)
    assert path.stat().st_mode & 0o077 == 0
    assert "@" not in path.read_text("ascii")


def journal_of_two() -> bytes:
    """Message 0 is concluded, 1 is intended, 2 was never begun."""
    records: list[dict[str, object]] = [
        {"kind": "header", "worker": "w1", "campaign_id": CAMPAIGN, "boot": module.boot_id()},
        {"kind": "intent", "send_id": id_of(0), "try": 1, "at": NOON.isoformat()},
        {"kind": "outcome", "send_id": id_of(0), "try": 1, "status": "sent", "finished_at": NOON.isoformat()},
        {"kind": "intent", "send_id": id_of(1), "try": 1, "at": NOON.isoformat()},
    ]
    return b"".join(module._line(record) for record in records)


WHOLE = journal_of_two()


def judged(content: bytes) -> dict[int, str]:
    claims = [Claim(id_of(number), 0) for number in range(3)]
    outcomes, _ = module._judge(module._read(content, "w1"), claims, LATER)
    found = {outcome.send_id: outcome.status for outcome in outcomes}
    return {number: found[id_of(number)] for number in range(3)}


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.integers(0, len(WHOLE) - 2), st.integers(0, 255), max_size=4))
def test_however_whole_lines_are_damaged_nothing_that_was_begun_is_sent_again(damage: dict[int, int]) -> None:
    content = bytearray(WHOLE)
    for place, value in damage.items():
        content[place] = value
    found = judged(bytes(content))
    assert found[0] in ("sent", "uncertain")
    assert found[1] == "uncertain"


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(WHOLE)))
def test_wherever_a_journal_ends_only_whole_lines_count(end: int) -> None:
    found = judged(WHOLE[:end])
    lines = WHOLE[:end].count(b"\n")
    assert found == {
        0: {0: "uncertain", 1: "pending", 2: "uncertain"}.get(lines, "sent"),
        1: {0: "uncertain", 4: "uncertain"}.get(lines, "pending"),
        2: "uncertain" if lines == 0 else "pending",
    }
