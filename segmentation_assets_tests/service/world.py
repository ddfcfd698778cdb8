"""What the tests of the service share: a key, a time, customers, and a campaign sent to them."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from segmentation_assets.delivery.campaign import send_id
from segmentation_assets.delivery.spool import read_lines
from segmentation_assets.state.models import Campaign, Send
from segmentation_assets.state.store import StateStore, open_state

KEY = bytes(range(32))
NOW = dt.datetime(2026, 7, 1, 9, 30)
API_KEY = "a-key-of-the-tests-0123456789"
CUSTOMERS = tuple(f"C{number}" for number in range(1, 41))


@lru_cache(maxsize=1)
def _migrated(folder: Path) -> Path:
    path = folder / "empty_state.sqlite"
    with open_state(path):
        return path


def empty_state(factory: pytest.TempPathFactory, path: Path) -> None:
    """A migrated state store at `path`; migrating one for every test would take longer than the tests."""
    shutil.copy(_migrated(factory.getbasetemp()), path)


def add_campaign(
    store: StateStore, campaign_id: str, links: Sequence[str], customers: Sequence[str] = CUSTOMERS
) -> None:
    """An approved campaign with these links, sent to everybody."""
    with store.session(write=True) as session:
        session.add(
            Campaign(
                campaign_id=campaign_id, name=campaign_id, status="sent", content={"links": list(links)}, digests={},
                counts={}, primary_metric="buyers", window_days=14, control_share=0.1, is_aa=False, is_scheduled=False,
                starts_at=NOW, not_after=NOW, created_at=NOW,
            )
        )  # fmt: skip
        session.add_all(
            Send(
                send_id=send_id(campaign_id, customer), campaign_id=campaign_id, customer_id=customer, arm="treated",
                variant="A", status="sent", reason="", timezone="UTC", product_ids="", tries=1, next_try_at=NOW,
                not_after=NOW, claimed_by="", finished_at=NOW, smtp_code=250, smtp_reply="",
                address_hash=f"hash of {customer}",
            )
            for customer in customers
        )  # fmt: skip


def heard(folder: Path) -> list[Mapping[str, Any]]:
    """Every event of a spool, in the order it was written."""
    return [event for path in sorted(folder.glob("*.jsonl")) for event in read_lines(path.read_bytes()).events]
