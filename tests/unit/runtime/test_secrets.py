"""Tokens at rest: what was encrypted comes back, rotation by prepending, stable fingerprints, nothing shown."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.secrets import SecretsError, TokenCipher, TokenPair

OLD = Fernet.generate_key().decode()
NEW = Fernet.generate_key().decode()
tokens = st.none() | st.text(st.characters(codec="utf-8"))


@given(tokens, tokens)
def test_a_pair_comes_back(access: str | None, refresh: str | None) -> None:
    cipher = TokenCipher([OLD])
    pair = TokenPair(access, refresh)
    assert cipher.decrypt(cipher.encrypt(pair)) == pair


def test_a_prepended_key_keeps_ciphertexts_and_fingerprints() -> None:
    pair = TokenPair("a", "r")
    before, after = TokenCipher([OLD]), TokenCipher([NEW, OLD])
    assert after.decrypt(before.encrypt(pair)) == pair
    assert after.fingerprint(pair) == before.fingerprint(pair)
    with pytest.raises(SecretsError, match="none of TIDEMARK_SECRET_KEYS"):
        before.decrypt(after.encrypt(pair))


def test_fingerprints_tell_pairs_apart() -> None:
    cipher = TokenCipher([OLD])
    pairs = [
        TokenPair("a", "b"),
        TokenPair("ab", None),
        TokenPair("ab", ""),
        TokenPair(None, "ab"),
        TokenPair("b", "a"),
    ]
    assert len({cipher.fingerprint(pair) for pair in pairs}) == len(pairs)
    assert cipher.fingerprint(pairs[0]) != TokenCipher([NEW]).fingerprint(pairs[0])


def test_any_long_text_is_a_key() -> None:
    cipher = TokenCipher(["correct horse battery staple"])
    assert cipher.decrypt(cipher.encrypt(TokenPair("a"))) == TokenPair("a")


@pytest.mark.parametrize(("keys", "message"), [([], "is not set"), ([OLD, "too-short"], "key 2 has 9 characters")])
def test_unusable_keys_are_named_without_being_shown(keys: list[str], message: str) -> None:
    with pytest.raises(SecretsError, match=message) as raised:
        TokenCipher(keys)
    assert "too-short" not in str(raised.value)


def test_printing_a_pair_shows_nothing() -> None:
    assert "hunter2" not in repr(TokenPair("hunter2", "hunter2"))
    assert TokenPair("a", None).held() == ("a",)


def test_bytes_that_are_no_ciphertext_are_refused() -> None:
    with pytest.raises(SecretsError):
        TokenCipher([OLD]).decrypt(b"nonsense")
    with pytest.raises(SecretsError, match="no token pair"):
        TokenCipher([OLD]).decrypt(Fernet(OLD).encrypt(b"[1]"))
