"""Pixel, links and the way out, over HTTP in this process."""

from __future__ import annotations

import dataclasses
import random
import secrets
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from starlette.datastructures import Headers

from segmentation_assets.delivery.campaign import send_id
from segmentation_assets.delivery.events import fold_spool, network_hash
from segmentation_assets.delivery.keys import SecretKey
from segmentation_assets.delivery.spool import SpoolError
from segmentation_assets.delivery.tokens import TokenKind, TokenSigner
from segmentation_assets.service import tracking
from segmentation_assets.service.parts import Parts, Service, safe_target
from segmentation_assets.state.events import suppressed_of
from segmentation_assets.state.store import StateStore
from segmentation_assets_tests.service.world import CUSTOMERS, NOW, heard

ONE_CLICK = {"List-Unsubscribe": "One-Click"}
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def test_a_genuine_pixel_is_an_event_with_family_and_network_and_nothing_else_of_who_asked(
    client: TestClient, signer: TokenSigner, send: str, spool_folder: Path
) -> None:
    agent = "Mozilla/5.0 (Windows NT 5.1) via ggpht.com GoogleImageProxy"
    answer = client.get(f"/o/{signer.make(TokenKind.OPEN, send)}.gif", headers={"user-agent": agent})
    assert answer.status_code == 200
    assert len(answer.content) == 43
    assert answer.content[:6] == b"GIF89a"
    assert answer.headers["content-type"] == "image/gif"
    assert "no-store" in answer.headers["cache-control"]
    (event,) = heard(spool_folder)
    assert event.pop("event_id")
    assert event == {
        "send_id": send, "kind": "open", "occurred_at": NOW.isoformat(), "source": "pixel", "link": None,
        "method": "GET", "user_agent": "google_image_proxy", "network": "",
    }  # fmt: skip


def test_a_bad_pixel_token_is_answered_the_same_gif_without_an_event(
    client: TestClient, signer: TokenSigner, send: str, spool_folder: Path
) -> None:
    good = client.get(f"/o/{signer.make(TokenKind.OPEN, send)}.gif")
    for bad in (
        signer.make(TokenKind.CLICK, send), "x", "x" * 5000, signer.make(TokenKind.OPEN, send)[:-1] + "%0d%0a"
    ):  # fmt: skip
        answer = client.get(f"/o/{bad}.gif")
        assert (answer.status_code, answer.content) == (200, good.content)
    assert len(heard(spool_folder)) == 1


def test_a_click_leads_to_the_link_of_the_registry_and_is_an_event(
    client: TestClient, signer: TokenSigner, send: str, spool_folder: Path
) -> None:
    answer = client.get(f"/c/{signer.make(TokenKind.CLICK, send, 1)}")
    assert answer.status_code == 302
    assert answer.headers["location"] == "https://shop.example/products/P1?a=1&b=2"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    (event,) = heard(spool_folder)
    assert (event["kind"], event["link"], event["source"]) == ("click", 1, "link")


def test_a_click_on_a_forged_token_is_a_404_without_an_event(
    client: TestClient, signer: TokenSigner, send: str, spool_folder: Path
) -> None:
    foreign = TokenSigner(SecretKey(b"another key of thirty-two bytes!"))
    genuine = signer.make(TokenKind.CLICK, send, 1)
    twin = (
        genuine[:-1] + ALPHABET[(ALPHABET.index(genuine[-1]) & ~0b1111) | ((ALPHABET.index(genuine[-1]) + 1) & 0b1111)]
    )
    for bad in (
        foreign.make(TokenKind.CLICK, send, 1),
        signer.make(TokenKind.OPEN, send),
        signer.make(TokenKind.UNSUBSCRIBE, send),
        signer.make(TokenKind.CLICK, send, 0)[:26] + genuine[26:],
        twin,
        genuine + "=",
        genuine.lower(),
    ):
        assert client.get(f"/c/{bad}").status_code == 404, bad
    assert heard(spool_folder) == []


def test_a_link_outside_the_registry_or_of_an_unknown_send_is_a_404(
    client: TestClient, signer: TokenSigner, send: str, spool_folder: Path
) -> None:
    assert client.get(f"/c/{signer.make(TokenKind.CLICK, send, 2)}").status_code == 404
    assert client.get(f"/c/{signer.make(TokenKind.CLICK, send_id('summer', 'nobody'), 0)}").status_code == 404
    assert heard(spool_folder) == []


@pytest.mark.parametrize("link", range(4))
def test_a_registry_that_was_tampered_with_redirects_to_nothing_but_https(
    client: TestClient, signer: TokenSigner, link: int
) -> None:
    token = signer.make(TokenKind.CLICK, send_id("bad", CUSTOMERS[0]), link)
    answer = client.get(f"/c/{token}")
    assert answer.status_code == 404
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    "tail",
    [
        "?url=https://evil.example/", "?next=//evil.example", "%0d%0aLocation:%20https://evil.example/",
        "/../https://evil.example/", "/https://evil.example/", "%00", "@evil.example", "#https://evil.example",
        "\\..\\evil.example", ";https://evil.example",
    ],
)  # fmt: skip
def test_nothing_in_a_request_redirects_elsewhere(
    client: TestClient, signer: TokenSigner, send: str, tail: str
) -> None:
    answer = client.get(
        f"/c/{signer.make(TokenKind.CLICK, send, 0)}{tail}",
        headers={"x-forwarded-host": "evil.example", "host": "evil.example", "referer": "https://evil.example/"},
    )
    assert answer.status_code in (302, 404)
    if answer.status_code == 302:
        assert answer.headers["location"] == "https://shop.example/offers"
    assert "evil" not in str(answer.headers)


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)", "//evil.example", "http://a.example/", "https://", "https://u:p@a.example/",
        "https://a.example/\r\nSet-Cookie: x=1", "https://a.example/\u2028", "https://a b.example/", "data:text/html,x",
        "https://a.example\\@evil.example/", "https://a.example:99999999/", "https://\u0430.example/",
    ],
)  # fmt: skip
def test_a_target_that_is_no_plain_https_address_is_none(url: str) -> None:
    assert safe_target(url) is None


def test_a_target_keeps_its_query_and_encodes_what_is_not_ascii() -> None:
    assert safe_target("https://a.example/Grünspan?x=1&y=%20#z") == "https://a.example/Gr%C3%BCnspan?x=1&y=%20#z"


def test_head_counts_nothing(client: TestClient, signer: TokenSigner, send: str, spool_folder: Path) -> None:
    assert client.head(f"/o/{signer.make(TokenKind.OPEN, send)}.gif").status_code == 200
    assert client.head(f"/c/{signer.make(TokenKind.CLICK, send)}").headers["location"] == "https://shop.example/offers"
    assert client.head(f"/u/{signer.make(TokenKind.UNSUBSCRIBE, send)}").status_code == 200
    assert heard(spool_folder) == []


def test_looking_at_the_way_out_changes_nothing_however_often_a_scanner_does(
    client: TestClient, signer: TokenSigner, send: str, spool_folder: Path
) -> None:
    path = f"/u/{signer.make(TokenKind.UNSUBSCRIBE, send)}"
    for _ in range(20):
        answer = client.get(path, params=ONE_CLICK)
    assert answer.status_code == 200
    assert '<html lang="en">' in answer.text
    assert answer.text.count("<button") == 1
    assert "Shop &lt;b&gt; will not" in answer.text
    assert "<script" not in answer.text
    assert "set-cookie" not in answer.headers
    assert heard(spool_folder) == []


@pytest.mark.parametrize(
    ("body", "kind", "source"),
    [
        ("List-Unsubscribe=One-Click", "application/x-www-form-urlencoded", "one_click"),
        (
            '--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n',
            "multipart/form-data; boundary=b", "one_click",
        ),
        ("unsubscribe=yes", "application/x-www-form-urlencoded", "page"),
    ],
)  # fmt: skip
def test_a_post_unsubscribes_without_cookie_or_redirect(  # noqa: PLR0917 - fixtures
    client: TestClient, signer: TokenSigner, send: str, spool_folder: Path, body: str, kind: str, source: str
) -> None:
    path = f"/u/{signer.make(TokenKind.UNSUBSCRIBE, send)}"
    answer = client.post(path, content=body, headers={"content-type": kind})
    assert answer.status_code == 200
    assert "You are unsubscribed" in answer.text
    assert not {"set-cookie", "location"} & set(answer.headers)
    (event,) = heard(spool_folder)
    assert (event["kind"], event["source"], event["method"]) == ("unsubscribe", source, "POST")


@pytest.mark.parametrize(
    "body",
    [
        '--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nNo\r\n--b--\r\n',
        '--b\r\nContent-Disposition: form-data; name="List-Unsubscribed"\r\n\r\nOne-Click\r\n--b--\r\n',
        '--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nOne-Click\r\n--b--\r\n',
        '--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click',
        '--b\r\n\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n',
    ],
)
def test_a_form_that_does_not_say_one_click_changes_nothing(
    client: TestClient, signer: TokenSigner, send: str, spool_folder: Path, body: str
) -> None:
    path = f"/u/{signer.make(TokenKind.UNSUBSCRIBE, send)}"
    answer = client.post(path, content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 400
    assert heard(spool_folder) == []


def test_no_form_keeps_the_service_busy(
    client: TestClient, signer: TokenSigner, send: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counted:
        """The pattern, with what it was asked to look at: a pattern over the whole body took minutes for 64 kB."""

        def __init__(self) -> None:
            self.seen: list[bytes] = []

        def match(self, line: bytes) -> object:
            self.seen.append(line)
            return pattern.match(line)

    pattern, counted = tracking._FIELD, Counted()
    monkeypatch.setattr(tracking, "_FIELD", counted)
    path = f"/u/{signer.make(TokenKind.UNSUBSCRIBE, send)}"
    lines = ["--b", "content-disposition: " * 150 + ";name=List-Unsubscribe" * 150, *["x: y"] * 3000, "", "value"]
    body = "\r\n".join(lines)
    assert client.post(path, content=body, headers={"content-type": "multipart/form-data"}).status_code == 400
    assert len(counted.seen) == 3001
    assert sum(map(len, counted.seen)) <= len(body)


def test_unsubscribing_ten_times_is_one_event_and_one_suppression(
    client: TestClient, signer: TokenSigner, send: str, spool_folder: Path, store: StateStore
) -> None:
    path = f"/u/{signer.make(TokenKind.UNSUBSCRIBE, send)}"
    assert {client.post(path, data=ONE_CLICK).status_code for _ in range(10)} == {200}
    report = fold_spool(spool_folder, store)
    assert (report.lines, report.inserted, report.repeated, report.suppressed) == (10, 1, 9, 1)
    found = suppressed_of(store, ["C1", "C2"], ["hash of C1"])
    assert (found.customers, found.addresses) == ({"C1"}, {"hash of C1"})


@pytest.mark.parametrize("body", ["", "List-Unsubscribe=No", "x=" + "1" * 100, "\xff\xfe", "&".join(["a=1"] * 50)])
def test_a_post_that_asks_for_nothing_changes_nothing(
    client: TestClient, signer: TokenSigner, send: str, spool_folder: Path, body: str
) -> None:
    path = f"/u/{signer.make(TokenKind.UNSUBSCRIBE, send)}"
    answer = client.post(
        path, content=body.encode("latin-1"), headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert (answer.status_code, answer.text) == (
        400,
        "Nothing was changed, because the request does not say that it unsubscribes. Open the address in a browser and "
        "press the button.\n",
    )
    assert heard(spool_folder) == []


def test_a_bad_token_unsubscribes_nobody(
    client: TestClient, signer: TokenSigner, send: str, spool_folder: Path
) -> None:
    for kind in (TokenKind.OPEN, TokenKind.CLICK):
        assert client.post(f"/u/{signer.make(kind, send)}", data=ONE_CLICK).status_code == 404
    assert heard(spool_folder) == []


def test_a_full_disk_answers_503_to_who_unsubscribes_and_still_serves_readers(
    client: TestClient, parts: Parts, signer: TokenSigner, send: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise SpoolError("An event could not be kept, because HOME/spool cannot be written (No space left on device).")

    monkeypatch.setattr(parts.spool, "append", full)
    answer = client.post(f"/u/{signer.make(TokenKind.UNSUBSCRIBE, send)}", data=ONE_CLICK)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
    assert answer.text == "This could not be kept just now. Try again in a minute.\n"
    assert client.get(f"/c/{signer.make(TokenKind.CLICK, send)}").status_code == 302
    assert client.get(f"/o/{signer.make(TokenKind.OPEN, send)}.gif").status_code == 200
    assert client.get("/healthz").status_code == 503


def test_a_burst_on_one_link_is_kept_whole_and_raw(
    client: TestClient, signer: TokenSigner, send: str, spool_folder: Path
) -> None:
    for _ in range(50):
        assert client.get(f"/c/{signer.make(TokenKind.CLICK, send, 1)}").status_code == 302
    events = heard(spool_folder)
    assert len(events) == 50
    assert len({event["event_id"] for event in events}) == 50


def test_three_hundred_forged_tokens_are_refused_over_http(
    client: TestClient, signer: TokenSigner, send: str, spool_folder: Path
) -> None:
    genuine = signer.make(TokenKind.CLICK, send, 1)
    for number in range(300):
        forged = (
            "".join(secrets.choice(ALPHABET) for _ in range(42))
            if number % 2
            else genuine[:28] + secrets.token_urlsafe(11)[:14]
        )
        assert client.get(f"/c/{forged}").status_code == 404
    assert heard(spool_folder) == []


def test_a_hundred_thousand_forged_tokens_are_refused(signer: TokenSigner, send: str) -> None:
    genuine = signer.make(TokenKind.CLICK, send, 1)
    draw = random.Random(7)
    for number in range(100_000):
        if number % 2:  # the body of a genuine one, with another signature
            forged = genuine[:26] + "".join(draw.choices(ALPHABET, k=16))
        else:  # a genuine one with one character changed
            place = draw.randrange(42)
            forged = genuine[:place] + draw.choice(ALPHABET) + genuine[place + 1 :]
        assert forged == genuine or signer.read(forged, TokenKind.CLICK) is None


def test_an_unknown_path_is_answered_in_a_sentence(client: TestClient) -> None:
    answer = client.get("/wp-admin/setup.php")
    assert answer.status_code == 404
    assert answer.text == (
        "There is nothing at this address. If a link in a message led here, it was not copied whole.\n"
    )
    assert client.delete("/healthz").text == "This address does not answer to such a request.\n"


def test_every_answer_carries_the_security_headers_and_no_banner(client: TestClient, signer: TokenSigner) -> None:
    for path in (
        "/",
        "/healthz",
        f"/u/{signer.make(TokenKind.UNSUBSCRIBE, send_id('summer', 'C1'))}",
        "/api/v1/segments",
    ):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers


def test_a_body_over_64_kb_is_refused_also_when_its_length_is_not_told(
    client: TestClient, signer: TokenSigner, send: str
) -> None:
    path = f"/u/{signer.make(TokenKind.UNSUBSCRIBE, send)}"
    words = "The request is larger than 64 kB, the most taken here.\n"
    assert (answer := client.post(path, content=b"x" * 65_537)).status_code == 413
    assert answer.text == words
    assert client.post(path, content=(b"x" * 1000 for _ in range(100))).text == words


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "used"),
    [
        ("203.0.113.9", "", (), "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", (), "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", ("10.0.0.0/8",), "198.51.100.1"),
        ("10.0.0.1", "192.0.2.66, 198.51.100.1, 10.0.0.2", ("10.0.0.0/8",), "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", ("10.0.0.0/8",), "10.0.0.3"),
        ("10.0.0.1", "forged", ("10.0.0.0/8",), "forged"),
    ],
)
def test_x_forwarded_for_is_believed_from_trusted_proxies_alone(
    parts: Parts, peer: str, forwarded: str, trusted: tuple[str, ...], used: str
) -> None:
    service = Service(dataclasses.replace(parts, trusted_proxies=trusted))
    _, network = service.who(peer, Headers({"x-forwarded-for": forwarded}))
    assert network == network_hash(parts.key, used)
    assert (network == "") == (used == "forged")
    assert urlsplit(f"//{used}").hostname not in network


def test_a_header_that_the_client_wrote_is_not_believed_before_the_proxys_own(parts: Parts) -> None:
    # Some proxies add a line of their own instead of writing into the client's.
    service = Service(dataclasses.replace(parts, trusted_proxies=("10.0.0.0/8",)))
    lines = Headers(raw=[(b"x-forwarded-for", b"192.0.2.66"), (b"x-forwarded-for", b"198.51.100.1")])
    _, network = service.who("10.0.0.1", lines)
    assert network == network_hash(parts.key, "198.51.100.1")
