"""What a server says is understood, kept without addresses, and a connection is only trusted when it may be."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.delivery.catcher import CatcherError, start_catcher
from segmentation_assets.delivery.transports import (
    Accepted,
    ConnectError,
    Deferred,
    Dropped,
    EmlTransport,
    Letter,
    Refused,
    Result,
    SmtpServer,
    SmtpTransport,
    TransportError,
    Uncertain,
    clean_reply,
)
from segmentation_assets_tests.delivery.sending_world import MailServer, mail_server

LETTER = Letter("id-1", "news@shop.example", "ann@example.com", b"Subject: Hi\r\n\r\n.a line with a dot\r\n")


@pytest.fixture(scope="module")
def one_server() -> Iterator[MailServer]:
    with mail_server() as started:
        yield started


@pytest.fixture
def server(one_server: MailServer) -> MailServer:
    one_server.forget()
    return one_server


def send(server: SmtpServer, letter: Letter = LETTER) -> Result:
    transport = SmtpTransport(server)
    transport.ready()
    try:
        return transport.send(letter)
    finally:
        transport.close()


def test_a_message_arrives_as_it_was_built(server: MailServer) -> None:
    assert send(server.here()) == Accepted(250, "2.0.0 Taken")
    assert server.accepted == [("ann@example.com", LETTER.content)]


@pytest.mark.parametrize(
    ("stage", "answer", "result"),
    [
        ("rcpt", "450 4.2.0 Later", Deferred(450, "rcpt", "4.2.0 Later")),
        ("mail", "452 4.3.1 Full", Deferred(452, "mail", "4.3.1 Full")),
        ("data", "451 4.3.0 Later", Deferred(451, "data", "4.3.0 Later")),
        ("rcpt", "421 4.3.2 Closing", Deferred(421, "rcpt", "4.3.2 Closing")),
        ("rcpt", "550 5.1.1 No such user", Refused(550, "rcpt", "5.1.1", "5.1.1 No such user")),
        ("data", "554 Spam", Refused(554, "data", "", "Spam")),
        ("data", "hang up before", Dropped("the connection was closed")),
        ("data", "cut", Uncertain("the connection was closed")),
        ("data", "lost", Uncertain("the connection was closed")),
        ("data", "silence", Uncertain("no answer in time")),
        ("data", "299 What?", Accepted(299, "What?")),
        ("data", "399 What?", Uncertain("What?")),
    ],
)
def test_each_answer_is_told_apart(server: MailServer, stage: str, answer: str, result: Result) -> None:
    server.tell("*" if stage == "mail" else "ann@example.com", stage, answer)
    assert send(server.here(final_seconds=0.2)) == result


def test_a_refusal_leaves_the_connection_good_for_the_next(server: MailServer) -> None:
    server.tell("ann@example.com", "rcpt", "550 5.1.1 No such user", "450 4.2.0 Later")
    transport = SmtpTransport(server.here())
    transport.ready()
    codes = [transport.send(LETTER) for _ in range(3)]
    assert [type(one) for one in codes] == [Refused, Deferred, Accepted]
    transport.close()


@pytest.mark.parametrize(
    ("result", "is_hard"),
    [
        (Refused(550, "rcpt", "5.1.1"), True), (Refused(550, "data", "5.1.10"), True),
        (Refused(553, "rcpt", "5.1.3"), True), (Refused(550, "mail", "5.1.1"), False),
        (Refused(550, "rcpt", "5.1.8"), False), (Refused(550, "rcpt", ""), False),
        (Refused(550, "rcpt", "5.7.1"), False), (Refused(552, "rcpt", "5.2.2"), False),
    ],
)  # fmt: skip
def test_only_a_recipients_own_address_is_a_hard_bounce(result: Refused, is_hard: bool) -> None:
    assert result.is_hard_bounce is is_hard


def test_a_server_that_is_not_there_may_come_back() -> None:
    with mail_server() as server:
        here = server.here()
    with pytest.raises(ConnectError, match=rf"127\.0\.0\.1:{here.port} cannot be reached \(connection refused\)"):
        send(here)


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        (b"5.1.1 <ann@example.com>: unknown", "5.1.1 ADDRESS: unknown"),
        (b"No mailbox ann here", "No mailbox ADDRESS here"),
        (b"mail from bob.other@elsewhere.test refused\r\nsee\x00 http://x", "mail from ADDRESS refused see http://x"),
        (b"x" * 999, "x" * 200),
        (b"annual report", "annual report"),
        ("\udcff bad".encode("utf-8", "surrogateescape"), "\ufffd bad"),
    ],
)
def test_a_reply_is_kept_without_addresses_on_one_line(reply: bytes, kept: str) -> None:
    assert clean_reply(reply, "ann@example.com") == kept


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_no_reply_brings_an_address_or_a_line_break(around: bytes) -> None:
    kept = clean_reply(around + b" ann.smith@example.com " + around, "ann.smith@example.com")
    assert "ann.smith" not in kept
    assert kept.isprintable()
    assert len(kept) <= 200


def test_neither_addresses_nor_the_password_show_in_a_representation() -> None:
    shown = repr(LETTER) + repr(SmtpServer("h", 25, password="hunter2"))  # noqa: S106 - a made-up one
    assert "example.com" not in shown
    assert "hunter2" not in shown


# --- TLS and login ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, in one file."""
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def test_starttls_with_a_trusted_certificate_and_a_password_sends(certificate: Path) -> None:
    trusted = ssl.create_default_context(cafile=str(certificate))

    def check(server: object, session: object, envelope: object, mechanism: object, data: object) -> AuthResult:
        is_right = getattr(data, "password", b"") == b"right"
        return AuthResult(success=is_right, handled=is_right)  # where it is not handled, the server answers 535

    with mail_server(
        tls_context=server_context(certificate), authenticator=check, auth_required=True, auth_require_tls=True
    ) as server:
        secured = {"security": "starttls", "user": "shop", "context": trusted}
        here = SmtpServer("127.0.0.1", server.port, password="right", **secured)  # type: ignore[arg-type]  # noqa: S106
        assert send(here) == Accepted(250, "2.0.0 Taken")
        wrong = SmtpServer("127.0.0.1", server.port, password="wrong", **secured)  # type: ignore[arg-type]  # noqa: S106
        with pytest.raises(TransportError) as refused:
            send(wrong)
        assert str(refused.value) == (
            f"The mail server 127.0.0.1:{server.port} refused the user or the password (535). Check "
            "delivery.smtp_user and SEGMENTATION_SMTP_PASSWORD; nothing was sent."
        )


def test_a_certificate_nobody_trusts_stops_before_anything_is_said(certificate: Path) -> None:
    with mail_server(tls_context=server_context(certificate)) as server:
        with pytest.raises(TransportError) as refused:
            send(SmtpServer("127.0.0.1", server.port, "starttls"))
        assert str(refused.value) == (
            f"The certificate of the mail server 127.0.0.1:{server.port} cannot be trusted (self-signed certificate), "
            "so nothing was sent."
        )


def test_a_certificate_of_another_name_stops(certificate: Path) -> None:
    trusted = ssl.create_default_context(cafile=str(certificate))
    with (
        mail_server(tls_context=server_context(certificate)) as server,
        pytest.raises(TransportError, match="cannot be trusted"),
    ):
        send(SmtpServer("localhost", server.port, "starttls", context=trusted))


def test_a_server_without_starttls_gets_nothing(server: MailServer) -> None:
    with pytest.raises(TransportError) as refused:
        send(SmtpServer("127.0.0.1", server.port, "starttls"))
    assert str(refused.value) == (
        f"The mail server 127.0.0.1:{server.port} does not offer STARTTLS, so nothing was sent. Set "
        'delivery.smtp_security to "tls" if it listens with TLS there.'
    )


def test_a_password_never_goes_over_a_bare_connection(server: MailServer) -> None:
    bare = SmtpServer("127.0.0.1", server.port, "none", "shop", "right")
    with pytest.raises(TransportError, match="A password is never sent over a connection that is not secured"):
        send(bare)


# --- files and the catcher -------------------------------------------------------------------------------------------


def test_a_file_has_the_name_of_the_send_and_is_its_owners_alone(tmp_path: Path) -> None:
    transport = EmlTransport(tmp_path / "outbox")
    transport.ready()
    assert transport.send(LETTER) == Accepted()
    (kept,) = (tmp_path / "outbox").iterdir()
    assert (kept.name, kept.read_bytes(), kept.stat().st_mode & 0o077) == ("id-1.eml", LETTER.content, 0)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("a file in its place")
    with pytest.raises(TransportError, match=r"The folder .*outbox cannot be written \(File exists\)"):
        EmlTransport(tmp_path / "outbox").ready()


def test_the_catcher_keeps_what_it_gets(tmp_path: Path) -> None:
    from segmentation_assets_tests.delivery.sending_world import free_port

    controller, kept = start_catcher(tmp_path / "inbox", port=free_port())
    try:
        assert isinstance(send(SmtpServer("127.0.0.1", controller.port, "none")), Accepted)
        with pytest.raises(CatcherError, match=rf"cannot listen on 127\.0\.0\.1:{controller.port} "):
            start_catcher(tmp_path / "inbox", port=controller.port)
    finally:
        controller.stop()
    (file,) = (tmp_path / "inbox").iterdir()
    assert kept.count == 1
    assert file.read_bytes() == (
        b"X-Envelope-From: news@shop.example\r\nX-Envelope-To: ann@example.com\r\n" + LETTER.content
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "mail.example.com"])  # noqa: S104 - it is refused
def test_the_catcher_listens_on_the_loopback_alone(tmp_path: Path, host: str) -> None:
    with pytest.raises(CatcherError) as refused:
        start_catcher(tmp_path, host)
    assert str(refused.value) == f"The catcher listens on this machine alone, and {host} is not of it. Use 127.0.0.1."


def test_a_content_without_a_last_line_break_is_ended_all_the_same(server: MailServer) -> None:
    transport = SmtpTransport(server.here(final_seconds=1.0))
    transport.ready()
    letter = Letter("id-1", "news@shop.example", "ann@example.com", b"Subject: Hi\r\n\r\nno line break")
    assert isinstance(transport.send(letter), Accepted)
    assert server.accepted[0][1] == b"Subject: Hi\r\n\r\nno line break\r\n"
    transport.close()
