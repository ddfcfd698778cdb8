"""Campaigns in the state store: kept as they were approved, and only ever moved to a status that may follow."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from segmentation_assets.state import campaigns
from segmentation_assets.state.campaigns import TRANSITIONS, CampaignRecord, CampaignStateError, Status
from segmentation_assets.state.store import StateStore, open_state

NOW = dt.datetime(2026, 7, 1, 10, 0)
RECORD = CampaignRecord(
    campaign_id="C1", name="Early access", status="approved", content={"links": ["https://shop.example"]},
    digests={"content": "a", "links": "b"}, counts={"send": 6}, primary_metric="buyers", window_days=14,
    control_share=0.1, is_aa=False, is_scheduled=True, starts_at=NOW, not_after=NOW + dt.timedelta(days=14),
    created_at=NOW,
)  # fmt: skip


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


def put(store: StateStore, record: CampaignRecord) -> None:
    with store.session(write=True) as session:
        campaigns.put_campaign(session, record)


def walk(store: StateStore, status: Status) -> None:
    """Bring a new campaign to a status by the way there."""
    put(store, RECORD)
    ways: dict[Status, tuple[Status, ...]] = {"sent": ("sending", "sent"), "cancelled": ("sending", "cancelled")}
    for step in ways.get(status, (status,)):
        campaigns.set_status(store, "C1", step)


def test_a_campaign_comes_back_as_it_was_kept(store: StateStore) -> None:
    put(store, RECORD)
    assert campaigns.get_campaign(store, "C1") == RECORD
    assert campaigns.get_campaign(store, "C2") is None


def test_campaigns_are_listed_by_id_and_by_status(store: StateStore) -> None:
    for name in ("C2", "C10", "C1"):
        put(store, replace(RECORD, campaign_id=name))
    campaigns.set_status(store, "C10", "sending")
    assert [row.campaign_id for row in campaigns.list_campaigns(store)] == ["C1", "C10", "C2"]
    assert [row.campaign_id for row in campaigns.list_campaigns(store, "approved")] == ["C1", "C2"]
    assert campaigns.list_campaigns(store, "sent") == []


@pytest.mark.parametrize("before", TRANSITIONS)
def test_a_status_follows_only_where_it_may(store: StateStore, before: Status) -> None:
    walk(store, before)
    for after in TRANSITIONS:
        with store.session(write=True) as session:
            if after in TRANSITIONS[before]:
                assert campaigns.change_status(session, "C1", after).status == after
            else:
                with pytest.raises(CampaignStateError, match=r"Campaign C1 .*, so it cannot be "):
                    campaigns.change_status(session, "C1", after)
                assert campaigns.read_campaign(session, "C1") == replace(RECORD, status=before)
            session.rollback()  # the next one begins from the same status


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("sent", "approved", "Campaign C1 was sent, so it cannot be approved. A new brief is needed: "
         "`segmentation run` plans it."),
        ("sending", "approved", "Campaign C1 is being sent, so it cannot be approved. "
         "`segmentation drafts reject C1 --why ...` stops it."),
        ("rejected", "sending", "Campaign C1 was rejected, so it cannot be sent."),
        ("voided", "sending", "Campaign C1 lost its approval, because it changed, so it cannot be sent."),
        ("cancelled", "sending", "Campaign C1 was cancelled, so it cannot be sent. A new brief is needed: "
         "`segmentation run` plans it."),
    ],
)  # fmt: skip
def test_a_refusal_says_what_is_and_what_to_do(store: StateStore, before: Status, after: Status, sentence: str) -> None:
    walk(store, before)
    with pytest.raises(CampaignStateError) as caught:
        campaigns.set_status(store, "C1", after)
    assert str(caught.value) == sentence


def test_a_campaign_that_is_being_sent_cannot_be_put_anew(store: StateStore) -> None:
    walk(store, "sending")
    with pytest.raises(CampaignStateError, match="Campaign C1 is being sent, so it cannot be approved"):
        put(store, replace(RECORD, content={"links": []}))
    kept = campaigns.get_campaign(store, "C1")
    assert kept is not None
    assert kept.content == RECORD.content


def test_an_unknown_campaign_has_no_status_to_change(store: StateStore) -> None:
    with pytest.raises(CampaignStateError) as caught:
        campaigns.set_status(store, "C9", "sending")
    assert str(caught.value) == (
        "There is no campaign C9: nobody approved it. `segmentation drafts list` shows what there is."
    )


def test_sending_does_not_begin_with_other_content_than_was_checked(store: StateStore) -> None:
    put(store, RECORD)
    put(store, replace(RECORD, digests={"content": "other", "links": "b"}))
    with pytest.raises(CampaignStateError) as caught:
        campaigns.set_status(store, "C1", "sending", digests=RECORD.digests)
    assert str(caught.value) == "Campaign C1 was approved anew meanwhile, with other content. Begin again."
    assert campaigns.set_status(store, "C1", "sending", digests={"content": "other", "links": "b"}).status == "sending"


def test_the_newest_decision_is_in_force_and_all_are_on_record(store: StateStore) -> None:
    with store.session(write=True) as session:
        for person, decision in (("Ada", "approved"), ("Ben", "rejected"), ("Cleo", "approved")):
            campaigns.add_approval(
                session, "C1", "approved" if decision == "approved" else "rejected", person=person, digests={},
                decided_at=NOW,
            )  # fmt: skip
        campaigns.add_approval(session, "C2", "rejected", person="Ben", reason="no", digests={}, decided_at=NOW)
    newest = campaigns.newest_approval(store, "C1")
    assert newest is not None
    assert newest.person == "Cleo"
    assert [row.person for row in campaigns.list_approvals(store, "C1")] == ["Ada", "Ben", "Cleo"]
    assert {name: row.person for name, row in campaigns.newest_approvals(store).items()} == {"C1": "Cleo", "C2": "Ben"}
    assert campaigns.newest_approval(store, "C3") is None


def test_a_renewed_approval_is_the_same_approval(store: StateStore) -> None:
    with store.session(write=True) as session:
        first = campaigns.add_approval(session, "C1", "approved", person="Ada", digests={}, decided_at=NOW)
        again = campaigns.renew_approval(session, first.approval_id, NOW + dt.timedelta(days=1))
        with pytest.raises(CampaignStateError, match=r"There is no approval 99\."):
            campaigns.renew_approval(session, 99, NOW)
    assert again == replace(first, expires_at=NOW + dt.timedelta(days=1))
    assert campaigns.list_approvals(store, "C1") == [again]


def test_a_transaction_that_fails_leaves_everything_as_it_was(store: StateStore) -> None:
    put(store, RECORD)
    with pytest.raises(RuntimeError), store.session(write=True) as session:
        campaigns.change_status(session, "C1", "sending")
        raise RuntimeError
    assert campaigns.get_campaign(store, "C1") == RECORD
