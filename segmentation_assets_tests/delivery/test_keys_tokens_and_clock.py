"""The secret key of a HOME, the tokens made with it, the clock, and the ids and digests of campaigns."""

from __future__ import annotations

import base64
import datetime as dt
import json
import stat
import string
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.delivery.campaign import digest, send_id
from segmentation_assets.delivery.clock import let_time_pass, open_clock
from segmentation_assets.delivery.keys import ENV_KEY, KeyMismatchError, SecretKey, open_key
from segmentation_assets.delivery.tokens import TOKEN_LENGTH, Token, TokenKind, TokenSigner, message_urls
from segmentation_assets.messaging.content import CampaignContent, ProductLine, SenderIdentity, Variant
from segmentation_assets.state.store import StateStore, open_state
from segmentation_assets.state.values import get_value, put_value, put_value_once

ALPHABET = string.ascii_letters + string.digits + "-_"
SEND = send_id("20260630-T1-loyal", "C1")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StateStore]:
    monkeypatch.delenv(ENV_KEY, raising=False)
    with open_state(tmp_path / "state.sqlite") as opened:
        yield opened


@pytest.fixture
def signer() -> TokenSigner:
    return TokenSigner(SecretKey(b"k" * 32))


# -- the key ----------------------------------------------------------------------------------------------------------


def test_a_new_home_gets_a_key_that_only_its_owner_reads_and_keeps_it(tmp_path: Path, store: StateStore) -> None:
    path = tmp_path / "secret.key"
    first = open_key(path, store)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert open_key(path, store).fingerprint == first.fingerprint
    assert [entry.name for entry in tmp_path.glob("secret.key*")] == ["secret.key"]


def test_the_key_shows_itself_nowhere(tmp_path: Path, store: StateStore) -> None:
    path = tmp_path / "secret.key"
    key = open_key(path, store)
    text = path.read_text().strip()
    raw = base64.b64decode(text)
    assert text not in repr(key)
    assert repr(raw)[2:-1] not in repr(key)
    kept = (tmp_path / "state.sqlite").read_bytes() + b"".join(p.read_bytes() for p in tmp_path.glob("state.sqlite-*"))
    assert text.encode() not in kept
    assert raw not in kept
    assert key.fingerprint.encode() in kept


def test_the_key_of_the_environment_wins_and_no_file_is_made(
    tmp_path: Path, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV_KEY, base64.b64encode(b"e" * 32).decode())
    assert open_key(tmp_path / "secret.key", store).fingerprint == SecretKey(b"e" * 32).fingerprint
    assert not (tmp_path / "secret.key").exists()


def test_another_key_than_the_one_begun_with_is_refused(
    tmp_path: Path, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_key(tmp_path / "secret.key", store)
    monkeypatch.setenv(ENV_KEY, base64.b64encode(b"x" * 32).decode())
    with pytest.raises(KeyMismatchError) as told:
        open_key(tmp_path / "secret.key", store)
    assert str(told.value) == (
        "The secret key is not the one this HOME was begun with, so nobody would be recognised who unsubscribed, and "
        "nothing is sent. Bring back the secret.key (or SEGMENTATION_SECRET_KEY) that belongs to this state store."
    )


def test_a_lost_key_is_not_replaced_by_a_new_one(tmp_path: Path, store: StateStore) -> None:
    path = tmp_path / "secret.key"
    open_key(path, store)
    path.unlink()
    with pytest.raises(KeyMismatchError, match=r"^The secret key is gone: secret\.key is not in HOME"):
        open_key(path, store)
    assert not path.exists()


def test_a_key_others_can_read_and_one_that_is_none_are_refused(tmp_path: Path, store: StateStore) -> None:
    path = tmp_path / "secret.key"
    open_key(path, store)
    for mode in (0o644, 0o640, 0o620, 0o604):
        path.chmod(mode)
        with pytest.raises(KeyMismatchError, match=r"^secret\.key in HOME can be read by others on this machine\."):
            open_key(path, store)
    path.chmod(0o600)
    path.write_text("not a key")
    with pytest.raises(KeyMismatchError, match=r"^secret\.key holds no key: 32 bytes in base64 are expected\.$"):
        open_key(path, store)


def _open_in_process(place: str) -> str:
    with open_state(Path(place) / "state.sqlite") as opened:
        return open_key(Path(place) / "secret.key", opened).fingerprint


def test_processes_that_begin_at_once_agree_on_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENV_KEY, raising=False)
    with open_state(tmp_path / "state.sqlite"):
        pass
    with get_context("spawn").Pool(3) as pool:
        assert len(set(pool.map(_open_in_process, [str(tmp_path)] * 6))) == 1


def test_hashes_are_of_the_key_and_of_one_purpose(signer: TokenSigner) -> None:
    key, other = SecretKey(b"a" * 32), SecretKey(b"b" * 32)
    assert key.hash_address("a@example.com") == key.hash_address("a@example.com")
    assert key.hash_address("a@example.com") != other.hash_address("a@example.com")
    assert key.hash_address("C1") != key.hash_customer("C1")
    assert [len(hashed) for hashed in key.hashed("draw", ["", "\ud800", "é"])] == [32, 32, 32]


# -- tokens -----------------------------------------------------------------------------------------------------------


@given(kind=st.sampled_from(TokenKind), link=st.integers(0, 0xFFFF), customer=st.text(max_size=20))
@settings(max_examples=50, deadline=None)
def test_a_token_reads_back_for_its_own_purpose_alone(kind: TokenKind, link: int, customer: str) -> None:
    signer = TokenSigner(SecretKey(b"k" * 32))
    sent = send_id("K", customer)
    text = signer.make(kind, sent, link)
    assert len(text) == TOKEN_LENGTH
    assert signer.read(text, kind) == Token(kind, sent, link)
    assert [signer.read(text, other) for other in TokenKind if other != kind] == [None, None]
    assert TokenSigner(SecretKey(b"f" * 32)).read(text, kind) is None


def test_a_token_with_any_one_character_changed_is_forged(signer: TokenSigner) -> None:
    text = signer.make(TokenKind.CLICK, SEND, 3)
    forged = [text[:at] + other + text[at + 1 :] for at in range(len(text)) for other in ALPHABET if other != text[at]]
    assert len(forged) == TOKEN_LENGTH * 63
    assert not [one for one in forged if signer.read(one, TokenKind.CLICK) is not None]


def test_no_token_can_be_made_into_one_of_another_kind(signer: TokenSigner) -> None:
    # Whoever has the pixel of a message must not be able to unsubscribe with it: the signature is of the kind as well.
    for kind in TokenKind:
        raw = base64.urlsafe_b64decode(signer.make(kind, send_id("summer", "C1")) + "==")
        for other in set(TokenKind) - {kind}:
            turned = base64.urlsafe_b64encode(bytes([other]) + raw[1:]).rstrip(b"=").decode()
            assert signer.read(turned, other) is None


@pytest.mark.parametrize(
    "text", ["", "a", "é" * 42, "=" * 42, "A" * 41, "A" * 43, "A" * 42, " " + "A" * 41, "A" * 41 + "\n"]
)
def test_what_is_no_token_is_read_as_none(signer: TokenSigner, text: str) -> None:
    assert signer.read(text, TokenKind.OPEN) is None


def test_a_link_number_beyond_two_bytes_is_refused(signer: TokenSigner) -> None:
    with pytest.raises(ValueError, match="A link has a number of 0 to 65535; this one is 65536"):
        signer.make(TokenKind.CLICK, SEND, 65_536)


def test_the_addresses_of_a_message_hold_tokens_for_what_they_do(signer: TokenSigner) -> None:
    urls = message_urls(signer, "https://mail.shop.example/", SEND, 2)
    assert urls.pixel.startswith("https://mail.shop.example/o/")
    assert signer.read(urls.pixel.rpartition("/")[2].removesuffix(".gif"), TokenKind.OPEN) == Token(
        TokenKind.OPEN, SEND
    )
    assert [signer.read(url.rpartition("/")[2], TokenKind.CLICK) for url in urls.links] == [
        Token(TokenKind.CLICK, SEND, 0), Token(TokenKind.CLICK, SEND, 1),
    ]  # fmt: skip
    assert signer.read(urls.unsubscribe.rpartition("/")[2], TokenKind.UNSUBSCRIBE) is not None


# -- ids, digests, content --------------------------------------------------------------------------------------------


def test_a_send_has_the_same_id_whenever_it_is_planned_and_no_two_share_one() -> None:
    assert send_id("20260630-T1-loyal", "C1") == "c9fbe5f4-dd2f-531e-8add-9cb2722b14ae"
    assert send_id("a", "b1") != send_id("ab", "1")
    assert len({send_id(f"K{i}", f"C{j}") for i in range(20) for j in range(50)}) == 1000


def test_a_digest_does_not_depend_on_the_order_of_keys_and_does_on_everything_else() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})
    assert digest([1, 2]) != digest([2, 1])


def test_content_survives_storing() -> None:
    content = CampaignContent(
        campaign_id="K1", name="Früh", language="en",
        sender=SenderIdentity("Shop", "Shop", "n@shop.example", "", "", "1 Street", "http://127.0.0.1:1"),
        variants=(Variant("A", "K1-A", "Subject", "Pre", "Text", "<p>", "Look"),),
        links=("https://shop.example/offers", "https://shop.example/products/P1"),
        products={"P1": ProductLine("P1", "Cup", "€10.00", 1)}, valid_until=dt.date(2026, 7, 14),
    )  # fmt: skip
    assert CampaignContent.from_json(json.loads(json.dumps(content.to_json()))) == content


# -- values and the clock ---------------------------------------------------------------------------------------------


def test_a_value_kept_once_stays_and_one_put_is_replaced(store: StateStore) -> None:
    assert get_value(store, "x") is None
    assert [put_value_once(store, "x", {"a": 1}), put_value_once(store, "x", 2)] == [{"a": 1}, {"a": 1}]
    put_value(store, "x", 3)
    assert get_value(store, "x") == 3


def test_the_demonstration_world_has_a_clock_that_begins_on_the_next_morning_and_goes_on(store: StateStore) -> None:
    times = [dt.datetime(2030, 1, 1, 12, 0)]
    clock = open_clock(store, "synthetic", dt.date(2026, 6, 30), lambda: times[0])
    assert clock() == dt.datetime(2026, 7, 1, 9, 0)
    times[0] += dt.timedelta(hours=2)
    assert open_clock(store, "synthetic", dt.date(2026, 7, 14), lambda: times[0])() == dt.datetime(2026, 7, 1, 11, 0)
    let_time_pass(store, dt.timedelta(days=14))
    assert open_clock(store, "synthetic", dt.date(2026, 6, 30), lambda: times[0])() == dt.datetime(2026, 7, 15, 11, 0)
    assert open_clock(store, "thelook", dt.date(2026, 6, 30), lambda: times[0])() == times[0]


def test_time_goes_forward_only_and_only_once_it_was_read(store: StateStore) -> None:
    told = "The clock of the demonstration world goes forward only, and only once it was started."
    with pytest.raises(ValueError, match=told):
        let_time_pass(store, dt.timedelta(days=1))
    open_clock(store, "synthetic", dt.date(2026, 6, 30))
    with pytest.raises(ValueError, match=told):
        let_time_pass(store, dt.timedelta(days=-1))


def test_a_key_of_another_length_is_none(tmp_path: Path, store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_KEY, base64.b64encode(b"a" * 16).decode())
    with pytest.raises(KeyMismatchError, match=rf"^{ENV_KEY} holds no key: 32 bytes in base64 are expected\.$"):
        open_key(tmp_path / "secret.key", store)


def test_the_tokens_of_a_sample_are_good_for_nothing() -> None:
    key, one = SecretKey(bytes(32)), send_id("summer", "C1")
    sample = TokenSigner(key.for_samples()).make(TokenKind.UNSUBSCRIBE, one)
    assert TokenSigner(key).read(sample, TokenKind.UNSUBSCRIBE) is None
