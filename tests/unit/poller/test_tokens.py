"""Tokens in memory: opened once, replaced, and blanked with the app's secrets."""

from __future__ import annotations

import pytest

from schemas.events import ChannelTokens
from services.poller.tokens import TokenStore
from services.runtime.secrets import SecretsError, TokenCipher, TokenPair

CIPHER = TokenCipher(["0123456789abcdef"])
KEY = ("w1", "c1")


def sealed(pair: TokenPair, cipher: TokenCipher = CIPHER) -> ChannelTokens:
    return ChannelTokens("w1", "c1", cipher.encrypt(pair), "f", None, "put", 7)


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
