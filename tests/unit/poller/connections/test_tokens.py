"""Tokens in memory: opened once, replaced, and blanked with the app's secrets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.events import ChannelTokens
from services.poller.connections.tokens import TokenStore
from services.runtime.secrets import SecretsError, TokenCipher, TokenPair, is_bound
from tests.support.unbound_tokens import unbound_ciphertext, unbound_fingerprint

SECRET = "0123456789abcdef"
CIPHER = TokenCipher([SECRET])
KEY = ("w1", "c1")


def sealed(pair: TokenPair, cipher: TokenCipher = CIPHER) -> ChannelTokens:
    return ChannelTokens("w1", "c1", cipher.encrypt(pair, KEY), "f", None, "put", 7)


def test_what_is_held_is_opened_and_blanked() -> None:
    store = TokenStore(CIPHER, {"x": ("client-secret",)})
    store.put(KEY, sealed(TokenPair("access-1", "refresh-1")))
    found = store.credentials(KEY, "x")
    assert found.access_token == "access-1"
    assert found.redactor.text("access-1 refresh-1 client-secret w1") == "*** *** *** w1"
    assert store.credentials(KEY, "x") is found
    assert store.updated_at(KEY) == 7


def test_without_tokens_the_app_is_still_blanked() -> None:
    found = TokenStore(CIPHER, {"x": ("client-secret",)}).credentials(KEY, "x")
    assert found.access_token is None
    assert found.redactor.text("client-secret") == "***"


def test_a_ciphertext_of_other_keys() -> None:
    store = TokenStore(CIPHER, {})
    store.put(KEY, sealed(TokenPair("a"), TokenCipher(["another-key-of-some-length"])))
    with pytest.raises(SecretsError):
        store.credentials(KEY, "x")


def unbound(pair: TokenPair, at: int = 7) -> ChannelTokens:
    return ChannelTokens(*KEY, unbound_ciphertext(pair, SECRET), unbound_fingerprint(pair, SECRET), None, "put", at)


def test_tokens_copied_to_another_channel_do_not_open_there() -> None:
    store, other = TokenStore(CIPHER, {}), ("w2", "c1")
    store.put(other, replace(sealed(TokenPair("access-of-w1")), workspace_id="w2"))
    with pytest.raises(SecretsError):
        store.credentials(other, "x")


def test_tokens_are_not_bound_while_an_earlier_version_runs_beside() -> None:
    store = TokenStore(TokenCipher([SECRET], unbound="keep"), {})
    held = unbound(TokenPair("a1", "r1"))
    store.put(KEY, held)
    assert not store.is_unbound(KEY), "nothing is to be done"
    renewed = store.renewed(held, TokenPair("a2", "r2"), None, 9)
    assert not is_bound(renewed.ciphertext)
    assert renewed.put_fingerprint == held.put_fingerprint


def test_tokens_of_the_earlier_version_are_bound_without_changing_what_they_are() -> None:
    store = TokenStore(CIPHER, {})
    store.put(KEY, unbound(TokenPair("a1", "r1")))
    assert store.is_unbound(KEY)
    assert store.credentials(KEY, "x").access_token == "a1"
    bound = store.bound(KEY)
    assert bound is not None
    assert is_bound(bound.ciphertext)
    assert (bound.origin, bound.updated_at) == ("bound", 7)
    store.put(KEY, bound)
    assert not store.is_unbound(KEY)
    assert store.sealed(KEY) is bound
    assert CIPHER.decrypt(bound.ciphertext, KEY) == TokenPair("a1", "r1")


def test_binding_that_meets_a_put_or_a_refresh_loses() -> None:
    overwritten: list[ChannelTokens] = []
    for later in ("put", "refresh"):
        store = TokenStore(CIPHER, {})
        store.put(KEY, unbound(TokenPair("a1", "r1")))
        bound, held = store.bound(KEY), store.sealed(KEY)
        assert bound is not None
        assert held is not None
        if later == "put":
            newer = ChannelTokens(*KEY, CIPHER.encrypt(TokenPair("a9"), KEY), "other.-", None, "put", 9)
        else:
            newer = store.renewed(held, TokenPair("a2", "r2"), None, 9)
        store.put(KEY, newer)
        store.on_overwritten = lambda _, tokens: overwritten.append(tokens)
        store.put(KEY, bound)
        assert store.sealed(KEY) is newer
        assert overwritten.pop() is newer


def test_a_replayed_ciphertext_of_the_earlier_version_replaces_nothing_bound() -> None:
    store = TokenStore(CIPHER, {})
    held = sealed(TokenPair("a1"))
    store.put(KEY, held)
    store.put(KEY, unbound(TokenPair("stolen"), at=99))
    assert store.credentials(KEY, "x").access_token == "a1"
    # So that the topic ends with the bound one again.
    assert store.is_unbound(KEY)
    assert store.bound(KEY) is held


def test_an_upgrade_is_read_from_the_topic_as_it_was_written() -> None:
    store = TokenStore(TokenCipher(["a-newer-key-prepended", SECRET]), {})
    writer = TokenStore(CIPHER, {})
    first = unbound(TokenPair("a1", "r1"))
    writer.put(KEY, first)
    bound = writer.bound(KEY)
    assert bound is not None
    writer.put(KEY, bound)
    refreshed = writer.renewed(bound, TokenPair("a2", "r2"), None, 20)
    for event in (first, bound, refreshed):
        store.put(KEY, event)
    assert store.credentials(KEY, "x").access_token == "a2"
    assert not store.is_unbound(KEY)


def test_a_proof_goes_with_the_token_and_is_blanked() -> None:
    def prove(token: str) -> dict[str, str]:
        return {"appsecret_proof": f"proof-of-{token}"}

    store = TokenStore(CIPHER, {}, {"facebook": prove})
    store.put(KEY, sealed(TokenPair("a1")))
    found = store.credentials(KEY, "facebook")
    assert found.proof == {"appsecret_proof": "proof-of-a1"}
    assert found.redactor.body(b'{"next": "https://x/?appsecret_proof=proof-of-a1"}') == (
        b'{"next": "https://x/?appsecret_proof=***"}'
    )
    assert TokenStore(CIPHER, {}, {"facebook": prove}).credentials(KEY, "facebook").proof == {}
    other = TokenStore(CIPHER, {})
    other.put(KEY, sealed(TokenPair("a1")))
    assert other.credentials(KEY, "facebook").proof == {}
