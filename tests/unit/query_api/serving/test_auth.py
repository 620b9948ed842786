"""Keys: their look, their storage, and who gets in."""

from __future__ import annotations

import base64
from hashlib import sha256

import pytest

from schemas.events import ApiKey
from services.query_api.errors import Forbidden, Unauthorized
from services.query_api.serving.auth import PREFIXES, AdminKey, KeyRing, key_hash, new_key, presented_key


def ring_with(text: str, scopes: tuple[str, ...] = ("analytics:read",)) -> KeyRing:
    ring = KeyRing()
    ring.apply(("w1", "k1"), ApiKey("w1", "k1", key_hash(text), scopes, "tidemark", 0))
    return ring


@pytest.mark.parametrize(
    ("style", "prefix"),
    [
        ("postme", "pml_live_"),
        ("powerpost", "pp_live_sk_"),
        ("postfuze", "sk_live_"),
        ("postflow", "pf_live_"),
        ("openpost", "op_live_"),
        ("tidemark", "tm_live_"),
    ],
)
def test_a_key_has_its_styles_prefix_and_256_bits(style: str, prefix: str) -> None:
    key = new_key(style)
    assert key.startswith(prefix)
    assert len(base64.urlsafe_b64decode(key.removeprefix(prefix) + "=")) == 32
    assert new_key(style) != key
    assert PREFIXES[style] == prefix


def test_only_a_hash_is_kept() -> None:
    assert key_hash("tm_live_x") == sha256(b"tm_live_x").hexdigest()


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([(b"authorization", b"Bearer k")], b"k"),
        ([(b"authorization", b"BEARER  k ")], b"k"),
        ([(b"x-api-key", b"k")], b"k"),
        ([(b"x-api-key", b"other"), (b"authorization", b"Bearer k")], b"k"),
        ([(b"authorization", b"Basic abc")], None),
        ([], None),
    ],
)
def test_where_a_key_is_looked_for(headers: list[tuple[bytes, bytes]], key: bytes | None) -> None:
    assert presented_key(headers) == key


def test_who_gets_in() -> None:
    ring = ring_with("good")
    assert ring.authenticate([(b"x-api-key", b"good")]).key_id == "k1"
    for headers in ([], [(b"x-api-key", b"")], [(b"x-api-key", b"bad")], [(b"x-api-key", b"good" * 1000)]):
        with pytest.raises(Unauthorized):
            ring.authenticate(headers)
    with pytest.raises(Forbidden):
        ring_with("good", ("posts:read",)).authenticate([(b"x-api-key", b"good")])


def test_a_revoked_or_replaced_key_stops_working() -> None:
    ring = ring_with("good")
    ring.apply(("w1", "k1"), ApiKey("w1", "k1", key_hash("newer"), ("analytics:read",), "tidemark", 0))
    with pytest.raises(Unauthorized):
        ring.authenticate([(b"x-api-key", b"good")])
    ring.apply(("w1", "k1"), None)
    with pytest.raises(Unauthorized):
        ring.authenticate([(b"x-api-key", b"newer")])
    ring.apply(("w1", "never"), None)


@pytest.mark.parametrize("configured", [None, ""])
def test_without_an_admin_key_nobody_is_admin(configured: str | None) -> None:
    for presented in (b"", b"Bearer ", b"Bearer None", b"Bearer x"):
        with pytest.raises(Unauthorized):
            AdminKey(configured).check([(b"authorization", presented)])


def test_the_admin_key_is_a_bearer_token() -> None:
    AdminKey("right").check([(b"authorization", b"Bearer right")])
    for headers in ([(b"x-api-key", b"right")], [(b"authorization", b"Bearer wrong")], []):
        with pytest.raises(Unauthorized):
            AdminKey("right").check(headers)
