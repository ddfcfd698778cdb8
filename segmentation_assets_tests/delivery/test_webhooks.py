"""Reports of the four providers, with signatures made as the providers make them."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.delivery import webhooks
from segmentation_assets.delivery.campaign import send_id
from segmentation_assets.delivery.keys import SecretKey
from segmentation_assets.delivery.webhooks import (
    CertificateMissingError,
    Provider,
    Report,
    TokenMemory,
    WebhookMalformedError,
    WebhookReader,
    WebhookRefusedError,
    WebhookReplayedError,
)

NOW = dt.datetime(2026, 11, 22, 12)
STAMP = int(NOW.replace(tzinfo=dt.UTC).timestamp())
SEND, OTHER = send_id("summer", "C1"), send_id("summer", "C2")
TOPIC = "arn:aws:sns:eu-west-1:123456789012:mail"
CERTIFICATE = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
TOKEN = {"Token": "x"}
SENDGRID = ec.generate_private_key(ec.SECP256R1())
SNS = rsa.generate_private_key(65537, 2048)
SENDGRID_PUBLIC = base64.b64encode(
    SENDGRID.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()


def pem(begin: dt.datetime = NOW - dt.timedelta(days=1)) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(SNS.public_key())
    made = made.serial_number(1).not_valid_before(begin).not_valid_after(begin + dt.timedelta(days=90))
    return made.sign(SNS, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.fixture
def reader() -> WebhookReader:
    secrets: dict[Provider, str] = {
        "sendgrid": SENDGRID_PUBLIC, "postmark": "mail:a long secret", "ses": TOPIC, "mailgun": "signing-key",
    }  # fmt: skip
    known = {CERTIFICATE: pem()}
    return WebhookReader(secrets, SecretKey(bytes(32)), lambda: NOW, known.get)


# -- the providers' side ----------------------------------------------------------------------------------------------


def sendgrid(events: list[dict[str, Any]]) -> tuple[dict[str, str], bytes]:
    body = json.dumps(events).encode() + b"\r\n"
    signature = base64.b64encode(SENDGRID.sign(str(STAMP).encode() + body, ec.ECDSA(hashes.SHA256()))).decode()
    return {
        "x-twilio-email-event-webhook-signature": signature, "x-twilio-email-event-webhook-timestamp": str(STAMP)
    }, body  # fmt: skip


def postmark(told: dict[str, Any]) -> tuple[dict[str, str], bytes]:
    return {"authorization": "Basic " + base64.b64encode(b"mail:a long secret").decode()}, json.dumps(told).encode()


def sns(told: dict[str, Any] | str, version: str = "2", **changed: str) -> tuple[dict[str, str], bytes]:
    envelope = {
        "Type": "Notification", "MessageId": "m-1", "TopicArn": TOPIC, "Timestamp": "2026-11-22T12:00:00.000Z",
        "Message": told if isinstance(told, str) else json.dumps(told), "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE, **changed,
    }  # fmt: skip
    names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    if envelope["Type"] != "Notification":
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{name}\n{envelope[name]}\n" for name in names if name in envelope)
    algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303 - version 1 is SHA-1
    envelope["Signature"] = base64.b64encode(SNS.sign(text.encode(), padding.PKCS1v15(), algorithm)).decode()
    return {}, json.dumps(envelope).encode()


def mailgun(told: dict[str, Any], once: str = "t-1", stamp: int = STAMP) -> tuple[dict[str, str], bytes]:
    signature = hmac.new(b"signing-key", f"{stamp}{once}".encode(), hashlib.sha256).hexdigest()
    signed = {"timestamp": str(stamp), "token": once, "signature": signature}
    return {}, json.dumps({"signature": signed, "event-data": told}).encode()


def ses(kind: str, detail: dict[str, Any] | None = None, **mail: Any) -> dict[str, Any]:
    return {
        "eventType": kind,
        "mail": {"timestamp": "2026-11-22T11:59:00.000Z", "tags": {"send_id": [SEND]}, **mail},
        kind.lower(): {"timestamp": "2026-11-22T12:00:00.000Z", **(detail or {})},
    }


def mg(event: str, **more: Any) -> dict[str, Any]:
    return {"event": event, "id": "e-1", "timestamp": STAMP + 0.5, "user-variables": {"send_id": SEND}, **more}


def sg(event: str, **more: Any) -> dict[str, Any]:
    return {"event": event, "sg_event_id": "e-1", "timestamp": STAMP, "send_id": SEND, "email": "a@example.com", **more}


def pm(kind: str, **more: Any) -> dict[str, Any]:
    return {
        "RecordType": kind, "MessageID": "m-1", "Metadata": {"send_id": SEND}, "Recipient": "a@example.com",
        "ReceivedAt": "2026-11-22T12:00:00.1234567Z", **more,
    }  # fmt: skip


# -- kinds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "call", "kind"),
    [
        ("sendgrid", sendgrid([sg("delivered")]), "delivered"),
        ("sendgrid", sendgrid([sg("open")]), "open"),
        ("sendgrid", sendgrid([sg("click")]), "click"),
        ("sendgrid", sendgrid([sg("bounce", type="bounce")]), "hard_bounce"),
        ("sendgrid", sendgrid([sg("bounce", type="blocked")]), "soft_bounce"),
        ("sendgrid", sendgrid([sg("bounce", type="bounce", status="5.1.1")]), "hard_bounce"),
        ("sendgrid", sendgrid([sg("bounce", type="bounce", status="5.0.0")]), "hard_bounce"),
        ("sendgrid", sendgrid([sg("bounce", type="bounce", status="5.7.1")]), "soft_bounce"),
        ("sendgrid", sendgrid([sg("dropped", reason="Bounced Address")]), "hard_bounce"),
        ("sendgrid", sendgrid([sg("dropped", reason="Spam Reporting Address")]), "complaint"),
        ("sendgrid", sendgrid([sg("dropped", reason="Unsubscribed Address")]), "unsubscribe"),
        ("sendgrid", sendgrid([sg("dropped", reason="Over quota")]), "soft_bounce"),
        ("sendgrid", sendgrid([sg("spamreport")]), "complaint"),
        ("sendgrid", sendgrid([sg("group_unsubscribe")]), "unsubscribe"),
        ("postmark", postmark(pm("Delivery")), "delivered"),
        ("postmark", postmark(pm("Open")), "open"),
        ("postmark", postmark(pm("Click")), "click"),
        ("postmark", postmark(pm("Bounce", ID=4, Type="HardBounce", BouncedAt="2026-11-22T12:00:00Z")), "hard_bounce"),
        ("postmark", postmark(pm("Bounce", ID=4, Type="Transient")), "soft_bounce"),
        ("postmark", postmark(pm("SpamComplaint", ID=5)), "complaint"),
        ("postmark", postmark(pm("SubscriptionChange", SuppressSending=True)), "unsubscribe"),
        ("ses", sns(ses("Delivery")), "delivered"),
        ("ses", sns(ses("Open")), "open"),
        ("ses", sns(ses("Click"), version="1"), "click"),
        ("ses", sns(ses("Bounce", {"bounceType": "Permanent", "feedbackId": "f"}), Subject="s"), "hard_bounce"),
        ("ses", sns(ses("Bounce", {"bounceType": "Transient"})), "soft_bounce"),
        ("ses", sns(ses("Complaint", {"complaintFeedbackType": "abuse"})), "complaint"),
        ("ses", sns(ses("Subscription")), "unsubscribe"),
        ("mailgun", mailgun(mg("delivered")), "delivered"),
        ("mailgun", mailgun(mg("opened")), "open"),
        ("mailgun", mailgun(mg("clicked")), "click"),
        ("mailgun", mailgun(mg("failed", severity="temporary")), "soft_bounce"),
        ("mailgun", mailgun(mg("complained")), "complaint"),
        ("mailgun", mailgun(mg("unsubscribed")), "unsubscribe"),
    ],
)  # fmt: skip
def test_a_genuine_report_is_an_event_of_our_send_without_its_address(
    reader: WebhookReader, provider: Provider, call: tuple[dict[str, str], bytes], kind: str
) -> None:
    (event,) = reader.read(provider, *call).events
    assert (event.send_id, event.kind, event.source) == (SEND, kind, provider)
    assert event.occurred_at.replace(microsecond=0) == NOW
    assert "example.com" not in json.dumps(event.to_json())
    assert reader.read(provider, *call).events == (event,)  # a replay is the same event


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"delivery-status": {"code": 550, "enhanced-code": "5.1.1", "message": "No such user"}}, "hard_bounce"),
        ({"delivery-status": {"code": 550, "message": "5.1.1 No such user"}}, "hard_bounce"),
        ({"delivery-status": {"code": 550, "enhanced-code": "5.7.1", "message": "Looks like spam"}}, "soft_bounce"),
        ({"delivery-status": {"code": 550, "message": "5.7.1 Blocked", "bounce-type": "hard"}}, "soft_bounce"),
        ({"delivery-status": {"code": 552, "enhanced-code": "5.2.2"}}, "soft_bounce"),
        ({"delivery-status": {"code": 550, "enhanced-code": "5.1.8"}}, "soft_bounce"),  # about the sender
        ({"delivery-status": {"code": 550, "message": "Relay Not Permitted"}, "reason": "bounce"}, "soft_bounce"),
        ({"delivery-status": {"code": 550, "message": "No", "bounce-type": "hard"}}, "hard_bounce"),
        ({"delivery-status": {"code": 550, "enhanced-code": "5.0.0", "bounce-type": "hard"}}, "hard_bounce"),
        ({"delivery-status": {"code": 550, "message": "No", "bounce-type": "soft"}}, "soft_bounce"),
        ({"delivery-status": {"code": 605}, "reason": "suppress-bounce"}, "hard_bounce"),
        ({"delivery-status": {"code": 605}}, "hard_bounce"),
        ({"delivery-status": {"code": 606}, "reason": "suppress-unsubscribe"}, "unsubscribe"),
        ({"delivery-status": {"code": 607}, "reason": "suppress-complaint"}, "complaint"),
        ({}, "soft_bounce"),
        ({"severity": "temporary", "delivery-status": {"code": 450, "enhanced-code": "5.1.1"}}, "soft_bounce"),
    ],
)  # fmt: skip
def test_mailguns_permanent_failure_is_a_dead_address_only_where_somebody_says_so(
    reader: WebhookReader, told: dict[str, Any], kind: str
) -> None:
    (event,) = reader.read("mailgun", *mailgun(mg("failed", severity="permanent") | told)).events
    assert event.kind == kind


@pytest.mark.parametrize(
    ("provider", "call"),
    [
        ("sendgrid", sendgrid([sg("processed")])),
        ("sendgrid", sendgrid([sg("open") | {"send_id": "someone else's"}])),
        ("sendgrid", sendgrid([sg("open") | {"timestamp": "yesterday"}])),
        ("sendgrid", sendgrid([sg("open") | {"sg_event_id": None}])),
        ("postmark", postmark(pm("Open") | {"ReceivedAt": "0001-01-01T00:00:00+14:00"})),  # before there is any time
        ("postmark", postmark(pm("Inbound"))),
        ("postmark", postmark(pm("SubscriptionChange", SuppressSending=False))),
        ("postmark", postmark(pm("Open") | {"Metadata": None})),
        ("ses", sns(ses("Complaint", {"complaintFeedbackType": "not-spam"}))),
        ("ses", sns(ses("Send"))),
        ("ses", sns("Successfully validated SNS topic.")),
        ("mailgun", mailgun(mg("stored"))),
        ("mailgun", mailgun([])),  # type: ignore[arg-type]
    ],
)
def test_what_is_of_no_use_is_ignored_and_counted(
    reader: WebhookReader, provider: Provider, call: tuple[dict[str, str], bytes]
) -> None:
    assert reader.read(provider, *call) == Report(ignored=1)


@pytest.mark.parametrize(("event", "kind"), [("unsubscribe", "unsubscribe"), ("spamreport", "complaint")])
def test_a_refusal_without_an_id_counts_and_counts_once(reader: WebhookReader, event: str, kind: str) -> None:
    call = sendgrid([sg(event) | {"sg_event_id": None}])
    (told,) = reader.read("sendgrid", *call).events
    assert (told.send_id, told.kind) == (SEND, kind)
    assert reader.read("sendgrid", *call).events == (told,)


def test_refusals_of_two_people_in_one_moment_are_two(reader: WebhookReader) -> None:
    told = [sg("unsubscribe") | {"send_id": send, "sg_event_id": None} for send in (SEND, OTHER)]
    found = reader.read("sendgrid", *sendgrid([*told, {**told[0], "event": "spamreport"}])).events
    assert len({event.event_id for event in found}) == 3


@pytest.mark.parametrize("at", ["2026-11-22T14:00:00+02:00", "2026-11-22T12:00:00Z", "2026-11-22T12:00:00"])
def test_a_time_of_any_zone_is_kept_as_utc(reader: WebhookReader, at: str) -> None:
    (event,) = reader.read("postmark", *postmark(pm("Open") | {"ReceivedAt": at})).events
    assert event.occurred_at == NOW


def test_a_bounce_of_which_ses_does_not_know_the_cause_suppresses_nobody(reader: WebhookReader) -> None:
    (event,) = reader.read("ses", *sns(ses("Bounce", {"bounceType": "Undetermined"}))).events
    assert event.kind == "soft_bounce"


def test_one_call_may_tell_of_many_recipients(reader: WebhookReader) -> None:
    told = [sg("delivered") | {"send_id": send, "sg_event_id": f"e-{send}"} for send in (SEND, OTHER)]
    report = reader.read("sendgrid", *sendgrid([*told, sg("processed")]))
    assert [event.send_id for event in report.events] == [SEND, OTHER]
    assert report.ignored == 1


@pytest.mark.parametrize(
    ("provider", "call"),
    [
        ("sendgrid", sendgrid([{**sg("open"), "send_id": None, "smtp-id": f"<{SEND}@shop.example>"}])),
        ("ses", sns(ses("Open", tags={}, headers=[{"name": "Message-ID", "value": f"<{SEND}@shop.example>"}]))),
        ("mailgun", mailgun(mg("opened") | {
            "user-variables": {}, "message": {"headers": {"message-id": f"{SEND}@shop.example"}}
        })),
    ],
)  # fmt: skip
def test_the_message_id_tells_the_send_where_nothing_else_does(
    reader: WebhookReader, provider: Provider, call: tuple[dict[str, str], bytes]
) -> None:
    assert [event.send_id for event in reader.read(provider, *call).events] == [SEND]


def test_of_an_open_only_family_and_network_are_kept(reader: WebhookReader) -> None:
    call = sendgrid([sg("open", useragent="Mozilla/5.0", ip="203.0.113.7")])
    (event,) = reader.read("sendgrid", *call).events
    assert event.user_agent == "apple_mail_proxy"
    assert len(event.network) == 32
    assert "203.0.113" not in json.dumps(event.to_json())


# -- signatures -------------------------------------------------------------------------------------------------------


def _changed(call: tuple[dict[str, str], bytes], old: bytes, new: bytes) -> tuple[dict[str, str], bytes]:
    assert old in call[1]
    return call[0], call[1].replace(old, new)


@pytest.mark.parametrize(
    ("provider", "call", "words"),
    [
        ("sendgrid", _changed(sendgrid([sg("open")]), b"e-1", b"e-2"), "The signature is not SendGrid's."),
        ("sendgrid", ({}, sendgrid([sg("open")])[1]), "The signature is not SendGrid's."),
        (
            "sendgrid",
            ({**sendgrid([])[0], "x-twilio-email-event-webhook-timestamp": str(STAMP + 1)}, b"[]\r\n"),
            "The signature is not SendGrid's.",
        ),
        ("postmark", ({}, b"{}"), "The call does not carry the secret that was agreed with Postmark."),
        (
            "postmark", ({"authorization": "Basic %%%"}, b"{}"),
            "The call does not carry the secret that was agreed with Postmark.",
        ),
        (
            "postmark", ({"authorization": "Bearer mail:a long secret"}, b"{}"),
            "The call does not carry the secret that was agreed with Postmark.",
        ),
        ("ses", _changed(sns(ses("Open")), b"m-1", b"m-2"), "The signature is not SNS's."),
        ("ses", _changed(sns(ses("Open")), b'ersion": "2"', b'ersion": "1"'), "The signature is not SNS's."),
        ("ses", sns(ses("Open"), SignatureVersion="3"), "The signature is of a version that is not known."),
        ("ses", sns(ses("Open"), TopicArn=TOPIC + "x"), "The call is not of the topic in SEGMENTATION_SES_TOPIC."),
        ("mailgun", _changed(mailgun(mg("opened")), b'"t-1"', b'"t-2"'), "The signature is not Mailgun's."),
        ("mailgun", ({}, b"{}"), "The signature is not Mailgun's."),
        (
            "mailgun", mailgun(mg("opened"), stamp=STAMP - 901),
            "The call was signed more than 15 minutes ago, or in the future. Check the clock of this machine.",
        ),
        (
            "mailgun", mailgun(mg("opened"), stamp=STAMP + 400),
            "The call was signed more than 15 minutes ago, or in the future. Check the clock of this machine.",
        ),
    ],
)  # fmt: skip
def test_a_call_that_is_not_proven_genuine_is_refused(
    reader: WebhookReader, provider: Provider, call: tuple[dict[str, str], bytes], words: str
) -> None:
    with pytest.raises(WebhookRefusedError) as refused:
        reader.read(provider, *call)
    assert str(refused.value) == words


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("mailgun", rb'{"signature": {"timestamp": "1", "token": "\ud800", "signature": "x"}}'),
        ("ses", rb'{"TopicArn": "\ud800"}'),
    ],
)
def test_half_a_surrogate_pair_in_a_forged_call_is_refused(
    reader: WebhookReader, provider: Provider, body: bytes
) -> None:
    with pytest.raises(WebhookRefusedError):
        reader.read(provider, {}, body)


def test_half_a_surrogate_pair_in_a_genuine_call_is_no_accident(reader: WebhookReader) -> None:
    (event,) = reader.read("sendgrid", *sendgrid([sg("spamreport") | {"sg_event_id": "\ud800"}])).events
    assert event.kind == "complaint"


@pytest.mark.parametrize(
    "url",
    [
        "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-0.pem",
        "https://evil.example/SimpleNotificationService-0.pem",
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem",
        "https://user@sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com:444/SimpleNotificationService-0.pem",
        "https://bucket.s3.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com\\@evil.example/SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com/../SimpleNotificationService-0.pem",
        "https://sns.eu-west-1.amazonaws.com/other.pem",
        "",
    ],
)
def test_a_certificate_from_elsewhere_is_never_asked_for(reader: WebhookReader, url: str) -> None:
    asked: list[str] = []

    def loader(where: str) -> bytes | None:
        asked.append(where)
        return pem()

    with pytest.raises(WebhookRefusedError, match=r"^The (address of the certificate is not at Amazon|certificate's)"):
        dataclasses.replace(reader, certificate=loader).read("ses", *sns(ses("Open"), SigningCertURL=url))
    assert asked == []


def test_a_certificate_that_is_not_here_yet_is_said_to_be_missing(reader: WebhookReader) -> None:
    with pytest.raises(CertificateMissingError, match=r"lay it into HOME/certificates; SNS tries again\.$"):
        dataclasses.replace(reader, certificate=lambda _: None).read("ses", *sns(ses("Open")))


@pytest.mark.parametrize("begin", [NOW + dt.timedelta(days=1), NOW - dt.timedelta(days=91)])
def test_a_certificate_that_is_not_valid_today_is_refused(reader: WebhookReader, begin: dt.datetime) -> None:
    with pytest.raises(WebhookRefusedError, match=r"^The certificate of the signature is not valid today\.$"):
        dataclasses.replace(reader, certificate=lambda _: pem(begin)).read("ses", *sns(ses("Open")))


def test_the_question_of_sns_is_handed_to_a_person_and_nothing_is_fetched(reader: WebhookReader) -> None:
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=x"
    call = sns("You have chosen to subscribe", Type="SubscriptionConfirmation", SubscribeURL=url, **TOKEN)
    report = reader.read("ses", *call)
    assert report.subscription is not None
    assert (report.subscription.topic, report.subscription.url) == (TOPIC, url)
    with pytest.raises(WebhookRefusedError, match=r"^The address of the subscription is not at Amazon\.$"):
        elsewhere = "https://evil.example/?Token=x"
        reader.read("ses", *sns("s", Type="SubscriptionConfirmation", SubscribeURL=elsewhere, **TOKEN))


def test_a_header_may_carry_postmarks_secret(reader: WebhookReader) -> None:
    assert reader.read("postmark", {"x-postmark-secret": "mail:a long secret"}, b"{}") == Report(ignored=1)


def test_a_token_of_mailgun_is_good_until_it_was_answered(reader: WebhookReader) -> None:
    call = mailgun(mg("opened"))
    assert reader.read("mailgun", *call).events == reader.read("mailgun", *call).events
    reader.answered("mailgun", call[1])
    with pytest.raises(WebhookReplayedError, match=r"^This very call was made and answered before\.$"):
        reader.read("mailgun", *call)


def test_the_memory_of_tokens_forgets_what_is_past_the_window() -> None:
    memory = TokenMemory()
    memory.remember("old", 0)
    memory.remember("new", 10_000)
    assert (memory.knows("old"), memory.knows("new")) == (False, True)


def test_a_token_is_remembered_for_the_whole_window_and_of_too_many_the_oldest_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = TokenMemory()
    for number, at in enumerate((0, 1, 900, 1800)):  # twice the fifteen minutes that a call may be old
        memory.remember(f"t{number}", at)
    assert [memory.knows(f"t{number}") for number in range(4)] == [True] * 4
    monkeypatch.setattr(webhooks, "_MOST_TOKENS", 3)
    memory.remember("t4", 1800)
    assert [memory.knows(f"t{number}") for number in range(5)] == [False, False, True, True, True]


def test_where_a_provider_reports_from_is_no_network_of_the_recipient(reader: WebhookReader) -> None:
    told = [sg(kind, ip="192.0.2.1") | {"sg_event_id": kind} for kind in ("delivered", "spamreport", "open")]
    found = {event.kind: event.network for event in reader.read("sendgrid", *sendgrid(told)).events}
    assert {kind: bool(network) for kind, network in found.items()} == {
        "delivered": False, "complaint": False, "open": True,
    }  # fmt: skip


def test_the_memory_of_tokens_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmentation_assets.delivery.webhooks._MOST_TOKENS", 2)
    memory = TokenMemory()
    for token in ("a", "b", "c"):
        memory.remember(token, 0)
    assert [memory.knows(token) for token in ("a", "b", "c")] == [False, True, True]


def test_a_wrong_key_of_sendgrid_is_said_to_be_wrong(reader: WebhookReader) -> None:
    with pytest.raises(WebhookRefusedError, match=r"^SEGMENTATION_SENDGRID_KEY is no public key in base64; copy it"):
        dataclasses.replace(reader, secrets={"sendgrid": "MFkw"}).read("sendgrid", *sendgrid([]))
    other = base64.b64encode(SNS.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    with pytest.raises(WebhookRefusedError, match=r"^SEGMENTATION_SENDGRID_KEY is not the key of an elliptic curve; "):
        dataclasses.replace(reader, secrets={"sendgrid": other}).read("sendgrid", *sendgrid([]))


def test_a_call_of_mailgun_without_a_token_could_be_told_again_for_ever(reader: WebhookReader) -> None:
    with pytest.raises(WebhookRefusedError, match=r"^The signature is not Mailgun's\.$"):
        reader.read("mailgun", *mailgun(mg("opened"), once=""))


def test_secrets_are_not_shown(reader: WebhookReader) -> None:
    assert "signing-key" not in repr(reader)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([sendgrid, postmark, sns, mailgun]), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([
        "event", "eventType", "mail", "tags", "send_id", "Metadata", "timestamp", "headers", "open", "RecordType"
    ]), inner, max_size=4), max_leaves=12,
))  # fmt: skip
def test_a_genuine_call_of_any_shape_is_read_without_an_accident(sign: Callable[..., Any], told: Any) -> None:
    known: dict[Provider, str] = {
        "sendgrid": SENDGRID_PUBLIC, "postmark": "mail:a long secret", "ses": TOPIC, "mailgun": "signing-key",
    }  # fmt: skip
    reader = WebhookReader(known, SecretKey(bytes(32)), lambda: NOW, lambda _: pem())
    provider: Provider = {"sendgrid": "sendgrid", "postmark": "postmark", "sns": "ses", "mailgun": "mailgun"}[
        sign.__name__
    ]  # type: ignore[assignment]
    headers, body = sign(json.dumps(told) if sign is sns else told)
    assert isinstance(reader.read(provider, headers, body), Report)


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000, b"{"])
def test_a_body_that_is_no_json_is_said_to_be_none(reader: WebhookReader, body: bytes) -> None:
    headers, _ = postmark({})
    with pytest.raises(WebhookMalformedError, match=r"^The body is no JSON\.$"):
        reader.read("postmark", headers, body)
