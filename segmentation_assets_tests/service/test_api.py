"""The data API: keys, limits, pages of the published copy, and the frozen model applied."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient

from segmentation_assets.segmentation.assign import assign
from segmentation_assets.segmentation.fit import fit_axis, identify, prepare
from segmentation_assets.segmentation.model import FrozenModel
from segmentation_assets.segmentation.spec import DEFAULT_SPECS
from segmentation_assets.service.app import make_app
from segmentation_assets.service.parts import Parts, RateLimits, ServiceConfigError, ServiceSecrets
from segmentation_assets.state.store import IdentityRecord, ModelRecord, StateStore
from segmentation_assets_tests.service.world import API_KEY, NOW

AUTH = {"authorization": f"Bearer {API_KEY}"}
STAGE = ["recency_days", "order_count", "average_order_amount", "tenure_days", "discount_share", "return_share"]


def test_without_a_key_nothing_is_shown(client: TestClient) -> None:
    for offered in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {API_KEY}"}):
        answer = client.get("/api/v1/segments", headers=offered)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.json() == {"detail": "A key is needed: Authorization: Bearer KEY."}


def test_with_no_key_set_the_api_is_off(parts: Parts) -> None:
    client = TestClient(make_app(dataclasses.replace(parts, secrets=ServiceSecrets())))
    answer = client.get("/api/v1/segments", headers=AUTH)
    assert answer.status_code == 503
    assert answer.json() == {"detail": "The data API is off: no key is set in SEGMENTATION_API_KEYS."}


def test_a_key_that_could_be_guessed_is_refused_at_the_start() -> None:
    with pytest.raises(ServiceConfigError, match=r"^SEGMENTATION_API_KEYS holds a key of fewer than 20 characters\."):
        ServiceSecrets.from_environment({"SEGMENTATION_API_KEYS": f"{API_KEY},short"})
    found = ServiceSecrets.from_environment({"SEGMENTATION_API_KEYS": f" {API_KEY} ,", "SEGMENTATION_MAILGUN_KEY": "m"})
    assert (found.api_keys, found.providers) == ((API_KEY,), {"mailgun": "m"})
    assert API_KEY not in repr(found)


def test_each_key_has_its_own_limit_and_is_told_when_to_come_back(parts: Parts) -> None:
    other = "another-key-of-the-tests-1234"
    secrets = ServiceSecrets((API_KEY, other))
    client = TestClient(make_app(dataclasses.replace(parts, secrets=secrets, api_rate=0.1, api_burst=2)))
    answers = [client.get("/api/v1/segments", headers=AUTH) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "10"
    assert answers[2].json() == {"detail": "Too many requests with this key. Try again in 10 s."}
    assert client.get("/api/v1/segments", headers={"authorization": f"Bearer {other}"}).status_code == 200


def test_a_bucket_fills_with_time_and_never_over_its_brim() -> None:
    now = [0.0]
    limits = RateLimits(2.0, 3, lambda: now[0])
    assert [limits.wait(1) for _ in range(4)] == [0, 0, 0, 0.5]
    now[0] = 0.5
    assert [limits.wait(1), limits.wait(1)] == [0, 0.5]
    now[0] = 1000
    assert sum(limits.wait(1) == 0 for _ in range(10)) == 3


def test_segments_come_in_pages_with_the_day_of_the_data(client: TestClient) -> None:
    answer = client.get("/api/v1/segments", headers=AUTH, params={"axis": "taste", "limit": 2, "offset": 1})
    told = answer.json()
    assert [row["segment_id"] for row in told["items"]] == ["T1", "T2"]
    assert {name: told[name] for name in ("total", "limit", "offset", "as_of")} == {
        "total": 4, "limit": 2, "offset": 1, "as_of": "2026-06-30"
    }  # fmt: skip
    assert told["items"][0] == {
        "axis": "taste", "segment_id": "T1", "name": "Taste 1", "customers": 100, "customer_share": 0.25,
        "reachable_customers": 50, "revenue_amount": "12.5000", "revenue_share": None,
    }  # fmt: skip
    assert client.get("/api/v1/segments?axis=stage", headers=AUTH).json()["items"] == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("axis=luck", "query.axis: Input should be 'stage' or 'taste'."),
        ("limit=1001", "query.limit: Input should be less than or equal to 1000."),
        ("offset=-1", "query.offset: Input should be greater than or equal to 0."),
    ],
)
def test_a_wrong_question_is_answered_in_a_sentence_that_repeats_nothing(
    client: TestClient, query: str, words: str
) -> None:
    answer = client.get(f"/api/v1/segments?{query}", headers=AUTH)
    assert (answer.status_code, answer.json()) == (422, {"detail": words})


def test_a_customer_has_one_label(client: TestClient) -> None:
    assert client.get("/api/v1/customers/C1/segment", headers=AUTH).json()["label"] == "Steady · Coffee"
    answer = client.get("/api/v1/customers/x'; drop table t --/segment", headers=AUTH)
    assert answer.status_code == 404
    assert answer.json() == {"detail": "There is no customer with this id in the published copy."}


def test_a_table_that_was_not_made_yet_is_a_sentence(client: TestClient) -> None:
    answer = client.get("/api/v1/campaigns/results", headers=AUTH)
    assert answer.status_code == 503
    assert answer.json() == {
        "detail": "The published copy has no results.campaign_results yet. `segmentation run` makes it."
    }


def test_a_new_copy_is_noticed_when_it_is_swapped_in(client: TestClient, published: Path, tmp_path: Path) -> None:
    assert client.get("/api/v1/segments", headers=AUTH).json()["total"] == 4
    fresh = tmp_path / "published.tmp"
    shutil.copy(published, fresh)
    with duckdb.connect(str(fresh)) as con:
        con.execute("delete from segments.segment_summary where segment_id = 'T3'")
    fresh.replace(published)
    assert client.get("/api/v1/segments", headers=AUTH).json()["total"] == 3


def test_no_copy_or_a_broken_one_is_a_503_with_a_sentence(client: TestClient, published: Path) -> None:
    published.unlink()
    answer = client.get("/api/v1/segments", headers=AUTH)
    assert (answer.status_code, answer.json()["detail"]) == (
        503, "Nothing is published yet. `segmentation run` makes it."
    )  # fmt: skip
    published.write_bytes(b"no database" * 1000)
    answer = client.get("/api/v1/segments", headers=AUTH)
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("The published copy cannot be opened now.")


def test_the_description_is_good_enough_to_work_with(client: TestClient) -> None:
    told = client.get("/api/v1/openapi.json").json()
    paths = {path for path in told["paths"] if path.startswith("/api/v1")}
    assert paths == {
        "/api/v1/segments", "/api/v1/profiles", "/api/v1/customers/{customer_id}/segment", "/api/v1/matches",
        "/api/v1/drafts", "/api/v1/campaigns/results", "/api/v1/assign",
    }  # fmt: skip
    for path in paths:
        for method in told["paths"][path].values():
            assert method["summary"]
            assert method["description"]
            assert "$ref" in json.dumps(method["responses"]["200"])
            assert {"401", "429", "503"} <= set(method["responses"])
    page = client.get("/api/docs")
    assert page.status_code == 200
    assert "/api/v1/assign" in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text


# -- the frozen model ------------------------------------------------------------------------------------------------


@pytest.fixture
def customers() -> pl.DataFrame:
    draw = np.random.default_rng(3)
    count = 400
    return pl.DataFrame(
        {
            "customer_id": [f"C{number:04}" for number in range(count)],
            "recency_days": draw.integers(0, 700, count).astype(float),
            "order_count": draw.integers(0, 12, count),
            "average_order_amount": draw.lognormal(3, 1, count),
            "tenure_days": draw.integers(1, 1500, count).astype(float),
            "discount_share": draw.uniform(0, 1, count),
            "return_share": draw.uniform(0, 0.4, count),
            "monetary_amount": draw.lognormal(4, 1, count),
        }
    )


@pytest.fixture
def model(store: StateStore, customers: pl.DataFrame) -> FrozenModel:
    spec = DEFAULT_SPECS["stage"]
    found = identify(fit_axis(prepare(customers, None, spec), 4), customers, None)
    stored = store.register_model(
        ModelRecord(**found.model.as_dict(), as_of=NOW.date(), created_by_run="test"),
        [
            IdentityRecord(
                "stage", part.segment_id, part.name, cluster_index=part.cluster_index, customers=part.customers
            )
            for part in found.segments
        ],
    )  # fmt: skip
    return FrozenModel.from_dict(dataclasses.asdict(stored), found.model.segment_ids)


def asked(customers: pl.DataFrame) -> dict[str, Any]:
    rows = [
        {"customer_id": row["customer_id"], "features": {name: row[name] for name in STAGE}}
        for row in customers.iter_rows(named=True)
    ]
    return {"axis": "stage", "customers": rows}


def test_customers_get_the_very_segments_that_the_run_gave_them(
    client: TestClient, customers: pl.DataFrame, model: FrozenModel
) -> None:
    answer = client.post("/api/v1/assign", json=asked(customers), headers=AUTH)
    assert answer.status_code == 200
    told = answer.json()
    wanted = assign(model, customers, None, DEFAULT_SPECS["stage"])
    assert told["version"] == 1
    assert [row["customer_id"] for row in told["assignments"]] == customers["customer_id"].to_list()
    assert [row["segment_id"] for row in told["assignments"]] == wanted["segment_id"].to_list()
    assert [row["distance"] for row in told["assignments"]] == wanted["distance"].to_list()
    assert {row["name"] for row in told["assignments"] if row["segment_id"] == "S0"} == {"Never bought"}


def test_what_is_unknown_is_null_and_still_gets_a_segment(
    client: TestClient, customers: pl.DataFrame, model: FrozenModel
) -> None:
    body = {"axis": "stage", "customers": [{"customer_id": "new", "features": dict.fromkeys(STAGE)}]}
    (row,) = client.post("/api/v1/assign", json=body, headers=AUTH).json()["assignments"]
    assert row["segment_id"] in model.segment_ids


def test_only_visitors_are_all_outside(client: TestClient, customers: pl.DataFrame, model: FrozenModel) -> None:
    body = asked(customers.head(3).with_columns(order_count=0))
    rows = client.post("/api/v1/assign", json=body, headers=AUTH).json()["assignments"]
    assert [(row["segment_id"], row["distance"]) for row in rows] == [("S0", None)] * 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"recency_days": ...},
            "customers.0.features lacks 'recency_days', which the model of the stage axis uses. Give null for what is "
            "not known.",
        ),
        (
            {"shoe_size": 41},
            "customers.0.features has 'shoe_size', which the model of the stage axis does not use. It uses "
            f"{', '.join(STAGE)}.",
        ),
        ({"recency_days": "long"}, "customers.0.features.recency_days must be a finite number or null."),
        ({"recency_days": 1e300}, "customers.0.features.recency_days must be a finite number or null."),
    ],
)
def test_features_that_do_not_fit_the_model_are_a_sentence(
    client: TestClient, customers: pl.DataFrame, model: FrozenModel, change: dict[str, Any], words: str
) -> None:
    body = asked(customers.head(1))
    features = body["customers"][0]["features"] | change
    body["customers"][0]["features"] = {name: value for name, value in features.items() if value is not ...}
    answer = client.post("/api/v1/assign", json=body, headers=AUTH)
    assert (answer.status_code, answer.json()) == (422, {"detail": words})


def test_numbers_that_are_none_are_refused(client: TestClient, customers: pl.DataFrame, model: FrozenModel) -> None:
    body = json.dumps(asked(customers.head(1))).replace('"order_count": ', '"order_count": NaN, "tenure_days": ')
    answer = client.post("/api/v1/assign", content=body, headers=AUTH | {"content-type": "application/json"})
    assert answer.status_code == 422


def test_a_customer_twice_or_too_many_are_refused(
    client: TestClient, customers: pl.DataFrame, model: FrozenModel
) -> None:
    twice = asked(customers.head(1))
    twice["customers"] *= 2
    answer = client.post("/api/v1/assign", json=twice, headers=AUTH)
    assert answer.json() == {"detail": "A customer is given twice. Give each customer_id once."}
    many = {"axis": "stage", "customers": [{"customer_id": str(number)} for number in range(1001)]}
    answer = client.post("/api/v1/assign", json=many, headers=AUTH)
    assert answer.json() == {"detail": "customers: List should have at most 1000 items after validation, not 1001."}
    answer = client.post("/api/v1/assign", content=b" " * 1_100_000, headers=AUTH)
    assert (answer.status_code, answer.json()) == (
        413, {"detail": "The request is larger than 1,024 kB, the most taken here."}
    )  # fmt: skip


def test_an_axis_without_a_model_is_said_to_have_none(client: TestClient) -> None:
    body = {"axis": "taste", "customers": [{"customer_id": "new"}]}
    answer = client.post("/api/v1/assign", json=body, headers=AUTH)
    assert answer.status_code == 409
    assert answer.json() == {
        "detail": "The taste axis has no model: it is off, a rule takes its place, or nothing was run yet."
    }
