"""Reports of providers over HTTP; their signatures are the matter of delivery/test_webhooks.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from segmentation_assets.delivery.events import fold_spool
from segmentation_assets.service.app import make_app
from segmentation_assets.service.hooks import SUBSCRIPTION
from segmentation_assets.service.parts import Parts, ServiceSecrets
from segmentation_assets.state.events import suppressed_of
from segmentation_assets.state.store import StateStore
from segmentation_assets.state.values import get_value
from segmentation_assets_tests.delivery.test_webhooks import (
    SENDGRID_PUBLIC,
    TOKEN,
    TOPIC,
    mailgun,
    mg,
    pem,
    sendgrid,
    sg,
    sns,
)
from segmentation_assets_tests.service.world import heard


@pytest.fixture
def hooked(parts: Parts) -> Iterator[TestClient]:
    providers = {"sendgrid": SENDGRID_PUBLIC, "ses": TOPIC, "mailgun": "signing-key"}
    told = dataclasses.replace(parts, secrets=ServiceSecrets((), providers), certificate=lambda _: pem())  # type: ignore[arg-type]
    with TestClient(make_app(told)) as opened:
        yield opened


def test_a_provider_without_a_secret_is_not_there(hooked: TestClient) -> None:
    for path in ("/webhooks/postmark", "/webhooks/other"):
        answer = hooked.post(path, json={})
        assert (answer.status_code, answer.json()) == (
            404, {"detail": "No reports are expected here: this provider's secret is not set."}
        )  # fmt: skip


def test_a_report_told_twice_counts_once(hooked: TestClient, spool_folder: Path, store: StateStore) -> None:
    headers, body = sendgrid([sg("spamreport"), sg("processed")])
    for _ in range(3):
        answer = hooked.post("/webhooks/sendgrid", content=body, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"recorded": 1, "ignored": 1})
    report = fold_spool(spool_folder, store)
    assert (report.inserted, report.repeated, report.suppressed) == (1, 2, 1)
    assert suppressed_of(store, ["C1"]).customers == {"C1"}


def test_a_forged_report_is_a_401_without_an_event(hooked: TestClient, spool_folder: Path) -> None:
    headers, body = sendgrid([sg("spamreport")])
    answer = hooked.post("/webhooks/sendgrid", content=body.replace(b"e-1", b"e-2"), headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"detail": "The signature is not SendGrid's."})
    assert heard(spool_folder) == []


def test_a_replayed_call_of_mailgun_is_told_not_to_come_back(hooked: TestClient, spool_folder: Path) -> None:
    _, body = mailgun(mg("opened"))
    assert hooked.post("/webhooks/mailgun", content=body).status_code == 200
    answer = hooked.post("/webhooks/mailgun", content=body)
    assert (answer.status_code, answer.json()) == (406, {"detail": "This very call was made and answered before."})
    assert len(heard(spool_folder)) == 1


def test_a_call_that_could_not_be_kept_may_come_again(
    hooked: TestClient, parts: Parts, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segmentation_assets.delivery.spool import SpoolError

    def full(_: object) -> None:
        raise SpoolError("full")

    _, body = mailgun(mg("opened"))
    with monkeypatch.context() as patched:
        patched.setattr(parts.spool, "append", full)
        answer = hooked.post("/webhooks/mailgun", content=body)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
    assert hooked.post("/webhooks/mailgun", content=body).status_code == 200
    assert len(heard(spool_folder)) == 1


def test_the_question_of_sns_is_kept_for_a_person(hooked: TestClient, store: StateStore, spool_folder: Path) -> None:
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=x"
    _, body = sns("You have chosen", Type="SubscriptionConfirmation", SubscribeURL=url, **TOKEN)
    assert hooked.post("/webhooks/ses", content=body, headers={"content-type": "text/plain"}).status_code == 200
    assert get_value(store, SUBSCRIPTION) == {"topic": TOPIC, "url": url, "asked_at": "2026-11-22T12:00:00Z"}
    assert heard(spool_folder) == []


def test_a_report_over_a_megabyte_is_refused(hooked: TestClient) -> None:
    answer = hooked.post("/webhooks/sendgrid", content=b"x" * 1_048_577)
    assert (answer.status_code, answer.json()) == (
        413, {"detail": "The request is larger than 1,024 kB, the most taken here."}
    )  # fmt: skip
