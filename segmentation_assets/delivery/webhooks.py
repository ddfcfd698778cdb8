"""Reports of mail providers: is the call genuine, and which events of ours does it tell of?

What belongs here: the signatures and shapes of SendGrid, Postmark, SES (through SNS) and Mailgun. What does not: HTTP
(`service`), and keeping events (`spool`). Nothing is fetched here, least of all an address that a call names.

Reports name addresses; none of them is read. A report counts when it names a send of ours: the send id travels as
SendGrid's custom argument, Postmark's metadata, SES's message tag or Mailgun's variable `send_id`, or as the
Message-ID, where that is made of it.

Sources: docs.sendgrid.com (Event Webhook security), postmarkapp.com/developer/webhooks,
docs.aws.amazon.com/sns (verifying message signatures), documentation.mailgun.com (securing webhooks).
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import json
import re
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from segmentation_assets.delivery.events import event_id_of, network_hash, user_agent_family
from segmentation_assets.delivery.keys import SecretKey
from segmentation_assets.delivery.transports import enhanced_status, is_dead_address
from segmentation_assets.state.events import SUPPRESSING, EventKind, MessageEvent

Provider = Literal["sendgrid", "postmark", "ses", "mailgun"]
#: Where each provider's secret is, and the one name for it in sentences.
SECRET_NAMES: Mapping[Provider, str] = {
    "sendgrid": "SEGMENTATION_SENDGRID_KEY",
    "postmark": "SEGMENTATION_POSTMARK_SECRET",
    "ses": "SEGMENTATION_SES_TOPIC",
    "mailgun": "SEGMENTATION_MAILGUN_KEY",
}
#: How old Mailgun's timestamp may be, and how far ahead of our clock.
REPLAY_SECONDS = 15 * 60
_AHEAD_SECONDS = 5 * 60
_MOST_TOKENS = 100_000
_SNS_HOST = re.compile(r"sns\.[a-z]{2}(-[a-z]+)+-\d\.amazonaws\.com(\.cn)?")
_SNS_CERTIFICATE = re.compile(r"/SimpleNotificationService-[0-9A-Za-z]{1,64}\.pem")
_MESSAGE_ID = re.compile(r"<?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})@", re.IGNORECASE)

#: Hands out the PEM of a certificate by its checked https address at Amazon, None where it has none.
CertificateLoader = Callable[[str], bytes | None]
Headers = Mapping[str, str]


class WebhookRefusedError(ValueError):
    """The call is not proven to be the provider's."""


class WebhookReplayedError(WebhookRefusedError):
    """The call is genuine and was made before."""


class WebhookMalformedError(ValueError):
    """The call cannot be read."""


class CertificateMissingError(RuntimeError):
    """A signature cannot be checked before a person has laid down the certificate."""


@dataclass(frozen=True)
class Subscription:
    """SNS asks whether it may send; a person opens the address, this program never does."""

    topic: str
    url: str


@dataclass(frozen=True)
class Report:
    """What a genuine call tells: events of our sends, how many entries were of no use, and SNS's question, if any."""

    events: tuple[MessageEvent, ...] = ()
    ignored: int = 0
    subscription: Subscription | None = None


class TokenMemory:
    """Mailgun's tokens of the replay window: each is good for one call that was answered with success."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._guard = threading.Lock()

    def knows(self, token: str) -> bool:
        """Whether a call with this token was answered."""
        with self._guard:
            return token in self._seen

    def remember(self, token: str, now: float) -> None:
        """Keep the token for the window; the oldest go when there are too many."""
        with self._guard:
            self._seen[token] = now
            while self._seen and (
                len(self._seen) > _MOST_TOKENS or next(iter(self._seen.values())) < now - 2 * REPLAY_SECONDS
            ):
                self._seen.popitem(last=False)


@dataclass(frozen=True)
class WebhookReader:
    """Checks calls and reads them.

    `secrets`: what each provider's calls are checked with; a provider without one is not configured.
    `key`: hashes the networks that opens and clicks came from. `machine`: the machine's time, naive UTC, even where
    the shop's world has a clock of its own: signatures are of the providers' time. `certificate`: SNS's certificates.
    """

    secrets: Mapping[Provider, str] = field(repr=False)
    key: SecretKey
    machine: Callable[[], dt.datetime]
    certificate: CertificateLoader = lambda _: None
    tokens: TokenMemory = field(default_factory=TokenMemory)

    def read(self, provider: Provider, headers: Headers, body: bytes) -> Report:
        """What the call tells. `headers` by lower-case name.

        WebhookRefusedError where it is not proven genuine, WebhookMalformedError where it cannot be read,
        CertificateMissingError where SNS's certificate is not here yet. KeyError where it is not configured.
        """
        secret = self.secrets[provider]
        if provider == "sendgrid":
            verify_sendgrid(secret, headers, body)
            return self._report(map(self._sendgrid, _entries(_parsed(body))))
        if provider == "postmark":
            verify_postmark(secret, headers)
            return self._report([self._postmark(_mapping(_parsed(body)))])
        if provider == "ses":
            envelope = _mapping(_parsed(body))
            verify_sns(secret, envelope, self.certificate, self.machine())
            return self._sns(envelope)
        told = _mapping(_parsed(body))
        self._verify_mailgun(secret, _mapping(told.get("signature")))
        return self._report([self._mailgun(_mapping(told.get("event-data")))])

    def answered(self, provider: Provider, body: bytes) -> None:
        """The call was kept and is about to be answered with success: from now on it is a replay (Mailgun)."""
        if provider == "mailgun":
            token = _text(_mapping(_mapping(_parsed(body)).get("signature")).get("token"))
            self.tokens.remember(token, _seconds(self.machine()))

    def _report(self, found: Iterable[MessageEvent | None]) -> Report:
        events = list(found)
        kept = tuple(event for event in events if event is not None)
        return Report(kept, len(events) - len(kept))

    # -- SendGrid -----------------------------------------------------------------------------------------------------

    def _sendgrid(self, entry: Mapping[str, Any]) -> MessageEvent | None:
        kinds: dict[str, EventKind] = {
            "delivered": "delivered", "open": "open", "click": "click", "unsubscribe": "unsubscribe",
            "group_unsubscribe": "unsubscribe", "spamreport": "complaint",
        }  # fmt: skip
        name = _text(entry.get("event"))
        kind = kinds.get(name)
        if name == "bounce":  # `blocked` is a refusal for now, as by a full mailbox or a poor reputation
            status = enhanced_status(_text(entry.get("status")))
            is_other = bool(status) and not status.endswith(".0.0") and not is_dead_address(status)
            kind = "soft_bounce" if entry.get("type") == "blocked" or is_other else "hard_bounce"
        elif name == "dropped":
            reasons: dict[str, EventKind] = {
                "bounced address": "hard_bounce", "unsubscribed address": "unsubscribe",
                "spam reporting address": "complaint",
            }  # fmt: skip
            kind = reasons.get(_text(entry.get("reason")).lower(), "soft_bounce")
        send = _send_id(entry.get("send_id"), entry.get("smtp-id"))
        return self._event(
            "sendgrid", kind, send, _text(entry.get("sg_event_id")), _time(entry.get("timestamp")),
            _text(entry.get("useragent")), _text(entry.get("ip")),
        )  # fmt: skip

    # -- Postmark -----------------------------------------------------------------------------------------------------

    def _postmark(self, told: Mapping[str, Any]) -> MessageEvent | None:
        name = _text(told.get("RecordType"))
        kinds: dict[str, EventKind] = {
            "Delivery": "delivered", "Open": "open", "Click": "click", "SpamComplaint": "complaint",
        }  # fmt: skip
        kind = kinds.get(name)
        if name == "Bounce":
            bounces: dict[str, EventKind] = {
                "HardBounce": "hard_bounce", "BadEmailAddress": "hard_bounce", "SpamComplaint": "complaint",
                "Unsubscribe": "unsubscribe",
            }  # fmt: skip
            kind = bounces.get(_text(told.get("Type")), "soft_bounce")
        elif name == "SubscriptionChange" and told.get("SuppressSending") is True:
            reasons: dict[str, EventKind] = {"HardBounce": "hard_bounce", "SpamComplaint": "complaint"}
            kind = reasons.get(_text(told.get("SuppressionReason")), "unsubscribe")
        at = next((told[k] for k in ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt") if told.get(k)), None)
        # Opens and clicks have no id of their own: message, kind and moment stand for it.
        own = _text(told.get("ID")) or f"{_text(told.get('MessageID'))} {name} {_text(at)}"
        send = _send_id(_mapping(told.get("Metadata")).get("send_id"))
        where = _text(_mapping(told.get("Geo")).get("IP"))
        return self._event("postmark", kind, send, own, _time(at), _text(told.get("UserAgent")), where)

    # -- SES ----------------------------------------------------------------------------------------------------------

    def _sns(self, envelope: Mapping[str, Any]) -> Report:
        if envelope.get("Type") == "SubscriptionConfirmation":
            return Report(subscription=Subscription(_text(envelope["TopicArn"]), _text(envelope["SubscribeURL"])))
        if envelope.get("Type") != "Notification":
            return Report(ignored=1)
        try:
            told = _mapping(json.loads(_text(envelope.get("Message"))))
        except ValueError:  # SNS's own test messages are plain words
            return Report(ignored=1)
        return self._report([self._ses(told, _text(envelope.get("MessageId")))])

    def _ses(self, told: Mapping[str, Any], message_id: str) -> MessageEvent | None:
        name = _text(told.get("eventType") or told.get("notificationType"))
        kinds: dict[str, EventKind] = {
            "Delivery": "delivered", "Open": "open", "Click": "click", "Complaint": "complaint",
            "Bounce": "soft_bounce", "Subscription": "unsubscribe",
        }  # fmt: skip
        kind = kinds.get(name)
        detail = _mapping(told.get(name.lower()))
        if name == "Bounce" and detail.get("bounceType") == "Permanent":
            kind = "hard_bounce"
        if name == "Complaint" and detail.get("complaintFeedbackType") == "not-spam":
            kind = None  # somebody took the message out of the spam folder
        mail = _mapping(told.get("mail"))
        tag = _mapping(mail.get("tags")).get("send_id")
        named = [row.get("value") for row in _entries(mail.get("headers")) if row.get("name") == "Message-ID"]
        send = _send_id(tag[0] if isinstance(tag, list) and tag else tag, *named)
        own = _text(detail.get("feedbackId")) or message_id
        at = _time(detail.get("timestamp") or mail.get("timestamp"))
        return self._event(
            "ses", kind, send, own, at, _text(detail.get("userAgent")), _text(detail.get("ipAddress"))
        )  # fmt: skip

    # -- Mailgun ------------------------------------------------------------------------------------------------------

    def _verify_mailgun(self, secret: str, signature: Mapping[str, Any]) -> None:
        stamp, token, given = (_text(signature.get(name)) for name in ("timestamp", "token", "signature"))
        wanted = hmac.new(secret.encode(), f"{stamp}{token}".encode(), hashlib.sha256).hexdigest()
        if not token or not hmac.compare_digest(wanted.encode(), given.encode("utf-8", "replace")):
            raise WebhookRefusedError("The signature is not Mailgun's.")
        age = _seconds(self.machine()) - (int(stamp) if stamp.isascii() and stamp.isdigit() else 0)
        if not -_AHEAD_SECONDS <= age <= REPLAY_SECONDS:
            raise WebhookRefusedError(
                f"The call was signed more than {REPLAY_SECONDS // 60} minutes ago, or in the future. "
                "Check the clock of this machine."
            )
        if self.tokens.knows(token):
            raise WebhookReplayedError("This very call was made and answered before.")

    def _mailgun(self, told: Mapping[str, Any]) -> MessageEvent | None:
        kinds: dict[str, EventKind] = {
            "delivered": "delivered", "opened": "open", "clicked": "click", "unsubscribed": "unsubscribe",
            "complained": "complaint",
        }  # fmt: skip
        name = _text(told.get("event"))
        kind = kinds.get(name)
        if name == "failed":
            kind = _mailgun_failure(told)
        named = _mapping(_mapping(told.get("message")).get("headers")).get("message-id")
        send = _send_id(_mapping(told.get("user-variables")).get("send_id"), named)
        agent = _text(_mapping(told.get("client-info")).get("user-agent"))
        return self._event(
            "mailgun", kind, send, _text(told.get("id")), _time(told.get("timestamp")), agent, _text(told.get("ip"))
        )  # fmt: skip

    def _event(  # noqa: PLR0917 - four providers' fields in one order
        self, provider: Provider, kind: EventKind | None, send_id: str | None, own_id: str, at: dt.datetime | None,
        user_agent: str, address: str,
    ) -> MessageEvent | None:  # fmt: skip
        """The event; None for a kind that is not kept, a send that is not ours, or without an id or a time.

        A refusal needs no id: SendGrid leaves it out of unsubscribes at times, and its moment tells it as well.
        """
        if kind is None or send_id is None or at is None:
            return None
        own_id = own_id or (at.isoformat() if kind in SUPPRESSING else "")
        if not own_id:
            return None
        is_human = kind in ("open", "click", "unsubscribe")
        return MessageEvent(
            event_id_of(provider, own_id, send_id, kind), send_id, kind, at, provider,
            user_agent=user_agent_family(user_agent) if is_human and user_agent else "",
            network=network_hash(self.key, address) if is_human else "",
        )  # fmt: skip


def _mailgun_failure(told: Mapping[str, Any]) -> EventKind:
    """What a failed message says of its address. Permanent is this message's end alone: a spam filter refuses for good.

    An address is dead where the receiving server says so (5.1.x), where Mailgun calls the bounce hard and no status
    speaks against it, and where Mailgun has it on its own list of bounces.
    """
    status = _mapping(told.get("delivery-status"))
    # What Mailgun held back by itself it tells by a reason, and by codes of its own.
    own: dict[str, EventKind] = {
        "suppress-bounce": "hard_bounce", "suppress-unsubscribe": "unsubscribe", "suppress-complaint": "complaint",
        "605": "hard_bounce", "606": "unsubscribe", "607": "complaint",
    }  # fmt: skip
    for name in (_text(told.get("reason")), _text(status.get("code"))):
        if name in own:
            return own[name]
    if told.get("severity") != "permanent":
        return "soft_bounce"
    enhanced = enhanced_status(_text(status.get("enhanced-code"))) or enhanced_status(_text(status.get("message")))
    if enhanced and not enhanced.endswith(".0.0"):
        return "hard_bounce" if is_dead_address(enhanced) else "soft_bounce"
    return "hard_bounce" if status.get("bounce-type") == "hard" else "soft_bounce"


def verify_sendgrid(public_key: str, headers: Headers, body: bytes) -> None:
    """ECDSA (P-256, SHA-256) over timestamp and body. `public_key`: base64 of its DER, as SendGrid shows it."""
    try:
        key = load_der_public_key(base64.b64decode(public_key, validate=True))
    except (binascii.Error, ValueError):
        raise WebhookRefusedError("SEGMENTATION_SENDGRID_KEY is no public key in base64; copy it anew.") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise WebhookRefusedError("SEGMENTATION_SENDGRID_KEY is not the key of an elliptic curve; copy it anew.")
    stamp = headers.get("x-twilio-email-event-webhook-timestamp", "")
    try:
        given = base64.b64decode(headers.get("x-twilio-email-event-webhook-signature", ""), validate=True)
        key.verify(given, stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    except (binascii.Error, ValueError, InvalidSignature):
        raise WebhookRefusedError("The signature is not SendGrid's.") from None


def verify_postmark(secret: str, headers: Headers) -> None:
    """Postmark signs nothing: `secret` is the user:password of its basic authentication, or the value of a header."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    offered = headers.get("x-postmark-secret", "")
    if scheme.lower() == "basic":
        try:
            offered = base64.b64decode(given, validate=True).decode()
        except (binascii.Error, ValueError):
            offered = ""
    if not hmac.compare_digest(offered.encode("utf-8", "surrogateescape"), secret.encode()):
        raise WebhookRefusedError("The call does not carry the secret that was agreed with Postmark.")


def verify_sns(topic: str, envelope: Mapping[str, Any], certificate: CertificateLoader, now: dt.datetime) -> None:
    """SNS's signature, version 1 (SHA-1) or 2 (SHA-256) with RSA, by a certificate at Amazon, for our topic alone."""
    if not hmac.compare_digest(_text(envelope.get("TopicArn")).encode(), topic.encode()):
        raise WebhookRefusedError("The call is not of the topic in SEGMENTATION_SES_TOPIC.")
    where = _text(envelope.get("SigningCertURL"))
    _require_amazon(where, "certificate")
    if not _SNS_CERTIFICATE.fullmatch(urlsplit(where).path):
        raise WebhookRefusedError("The certificate's address is not one of SNS's.")
    names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    if envelope.get("Type") in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
        _require_amazon(_text(envelope.get("SubscribeURL")), "subscription")
    signed = "".join(f"{name}\n{_text(envelope[name])}\n" for name in names if envelope.get(name) is not None)
    algorithm = {"1": hashes.SHA1(), "2": hashes.SHA256()}.get(_text(envelope.get("SignatureVersion")))  # noqa: S303 - version 1 is SNS's default
    if algorithm is None:
        raise WebhookRefusedError("The signature is of a version that is not known.")
    pem = certificate(where)
    if pem is None:
        raise CertificateMissingError(
            f"The certificate {urlsplit(where).path.lstrip('/')} of SNS is not here yet, and this program fetches "
            f"none. Fetch {where} and lay it into HOME/certificates; SNS tries again."
        )
    try:
        found = x509.load_pem_x509_certificate(pem)
        key = found.public_key()
        given = base64.b64decode(_text(envelope.get("Signature")), validate=True)
    except (binascii.Error, ValueError):
        raise WebhookRefusedError("The signature or its certificate cannot be read.") from None
    aware = now.replace(tzinfo=dt.UTC)
    if not found.not_valid_before_utc <= aware <= found.not_valid_after_utc:
        raise WebhookRefusedError("The certificate of the signature is not valid today.")
    if not isinstance(key, rsa.RSAPublicKey):
        raise WebhookRefusedError("The certificate holds no RSA key.")
    try:
        key.verify(given, signed.encode(), padding.PKCS1v15(), algorithm)
    except InvalidSignature:
        raise WebhookRefusedError("The signature is not SNS's.") from None


def _require_amazon(url: str, what: str) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    is_plain = url.isascii() and url.isprintable() and "\\" not in url
    if not is_plain or parts.scheme != "https" or port is not None or not _SNS_HOST.fullmatch(parts.netloc):
        raise WebhookRefusedError(f"The address of the {what} is not at Amazon.")


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise WebhookMalformedError("The body is no JSON.") from None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _entries(value: Any) -> list[Mapping[str, Any]]:
    return [_mapping(entry) for entry in value] if isinstance(value, list) else [_mapping(value)]


def _text(value: Any) -> str:
    """A text or number as text. JSON may hold half a surrogate pair, which is no text and cannot be hashed."""
    return str(value).encode("utf-8", "replace").decode() if isinstance(value, (str, int)) else ""


def _send_id(*candidates: Any) -> str | None:
    """The first candidate that is a uuid, or a Message-ID made of one."""
    for candidate in map(_text, candidates):
        found = _MESSAGE_ID.match(candidate)
        try:
            return str(uuid.UUID(found[1] if found else candidate))
        except ValueError:
            continue
    return None


def _time(value: Any) -> dt.datetime | None:
    """Seconds since 1970 or an ISO time as naive UTC; None for anything else."""
    try:
        if isinstance(value, (int, float)):
            return dt.datetime.fromtimestamp(value, dt.UTC).replace(tzinfo=None)
        told = dt.datetime.fromisoformat(_text(value))
        return told if told.tzinfo is None else told.astimezone(dt.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):
        return None


def _seconds(moment: dt.datetime) -> float:
    return moment.replace(tzinfo=dt.UTC).timestamp()
