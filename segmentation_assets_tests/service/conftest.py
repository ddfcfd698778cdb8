"""A small state store with two campaigns, a published copy, and the service over them, in this process."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from fastapi.testclient import TestClient

from segmentation_assets.delivery.campaign import send_id
from segmentation_assets.delivery.keys import SecretKey
from segmentation_assets.delivery.spool import SpoolWriter
from segmentation_assets.delivery.tokens import TokenSigner
from segmentation_assets.segmentation.spec import DEFAULT_SPECS
from segmentation_assets.service.app import make_app
from segmentation_assets.service.parts import Parts, ServiceSecrets
from segmentation_assets.service.published import PublishedReader
from segmentation_assets.state.store import StateStore, open_state
from segmentation_assets_tests.service.world import API_KEY, CUSTOMERS, KEY, NOW, add_campaign, empty_state


@pytest.fixture
def store(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateStore]:
    empty_state(tmp_path_factory, tmp_path / "state.sqlite")
    with open_state(tmp_path / "state.sqlite") as opened:
        add_campaign(opened, "summer", ("https://shop.example/offers", "https://shop.example/products/P1?a=1&b=2"))
        add_campaign(
            opened, "bad", ("javascript:alert(1)", "//evil.example/", "http://shop.example/", "https://a@b.c/")
        )
        yield opened


@pytest.fixture
def key() -> SecretKey:
    return SecretKey(KEY)


@pytest.fixture
def signer(key: SecretKey) -> TokenSigner:
    return TokenSigner(key)


@pytest.fixture
def send() -> str:
    return send_id("summer", CUSTOMERS[0])


@pytest.fixture
def spool_folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "published.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("create schema raw; create schema segments; create schema results")
        con.execute("create table raw.source as select date '2026-06-30' as as_of, 'EUR' as currency")
        con.execute(
            "create table segments.segment_summary as select 'taste' as axis, 'T' || i as segment_id, "
            "'Taste ' || i as name, 100 as customers, 0.25 as customer_share, 50 as reachable_customers, "
            "12.5::decimal(18,4) as revenue_amount, 'NaN'::double as revenue_share from range(4) as t(i)"
        )
        con.execute(
            "create table segments.customer_segments as select 'C1' as customer_id, 'S1' as stage_segment_id, "
            "'T1' as taste_segment_id, 'Steady' as stage_name, 'Coffee' as taste_name, 'Steady · Coffee' as label"
        )
    return path


@pytest.fixture
def parts(store: StateStore, key: SecretKey, spool_folder: Path, published: Path) -> Iterator[Parts]:
    spool, reader = SpoolWriter(spool_folder), PublishedReader(published)
    yield Parts(
        store=store, key=key, spool=spool, clock=lambda: NOW, published=reader, specs=DEFAULT_SPECS,
        shop_name="Shop <b>", secrets=ServiceSecrets((API_KEY,)), machine=lambda: dt.datetime(2026, 11, 22, 12),
    )  # fmt: skip
    reader.close()
    spool.close()


@pytest.fixture
def client(parts: Parts) -> Iterator[TestClient]:
    with TestClient(make_app(parts), follow_redirects=False) as opened:
        yield opened
