"""Tokens at rest: what was encrypted comes back, rotation by prepending, stable fingerprints, bound to
their channel, nothing shown."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from services.runtime.secrets import SecretsError, TokenCipher, TokenPair, is_bound
from tests.support.unbound_tokens import unbound_ciphertext, unbound_fingerprint

OLD = Fernet.generate_key().decode()
NEW = Fernet.generate_key().decode()
A, B = ("w1", "c1"), ("w1", "c2")
tokens = st.none() | st.text(st.characters(codec="utf-8"))
ids = st.text("abz019._:-", min_size=1, max_size=12)
owners = st.tuples(ids, ids)


@settings(deadline=None)
@given(tokens, tokens, owners)
def test_a_pair_comes_back(access: str | None, refresh: str | None, owner: tuple[str, str]) -> None:
    cipher = TokenCipher([OLD])
    pair = TokenPair(access, refresh)
    ciphertext = cipher.encrypt(pair, owner)
    assert is_bound(ciphertext)
    assert cipher.decrypt(ciphertext, owner) == pair


@settings(deadline=None)
@given(owners, owners)
@example(("a", "b:c"), ("a:b", "c"))
@example(("ab", "c"), ("a", "bc"))
def test_a_ciphertext_moved_to_another_channel_does_not_open(mine: tuple[str, str], other: tuple[str, str]) -> None:
    cipher = TokenCipher([NEW, OLD])
    assume(mine != other)
    with pytest.raises(SecretsError, match="none of TIDEMARK_SECRET_KEYS opens"):
        cipher.decrypt(cipher.encrypt(TokenPair("a", "r"), mine), other)


@settings(deadline=None)
@given(st.data())
def test_a_changed_ciphertext_is_refused(data: st.DataObject) -> None:
    cipher = TokenCipher([OLD], unbound=data.draw(st.sampled_from(("accept", "refuse"))))
    ciphertext = bytearray(cipher.encrypt(TokenPair("a", "r"), A))
    cut = data.draw(st.integers(0, len(ciphertext)))
    if cut < len(ciphertext) and data.draw(st.booleans()):
        ciphertext[cut] ^= data.draw(st.integers(1, 255))
    elif cut < len(ciphertext):
        del ciphertext[cut:]
    else:
        ciphertext += data.draw(st.binary(min_size=1, max_size=20))
    with pytest.raises(SecretsError):
        cipher.decrypt(bytes(ciphertext), A)


@pytest.mark.parametrize("key", [OLD, "correct horse battery staple"], ids=["fernet", "text"])
def test_a_ciphertext_of_the_earlier_version_is_read_until_it_is_refused(key: str) -> None:
    pair = TokenPair("a", "r")
    old = unbound_ciphertext(pair, key)
    assert not is_bound(old)
    assert TokenCipher([NEW, key]).decrypt(old, A) == pair
    with pytest.raises(SecretsError, match="TIDEMARK_UNBOUND_TOKENS=refuse"):
        TokenCipher([NEW, key], unbound="refuse").decrypt(old, A)


def test_while_both_versions_run_ciphertexts_are_those_that_the_earlier_one_opens() -> None:
    pair = TokenPair("a", "r")
    cipher = TokenCipher([NEW, OLD], unbound="keep")
    kept = cipher.encrypt(pair, A)
    assert not is_bound(kept)
    assert cipher.decrypt(kept, A) == TokenCipher([NEW]).decrypt(kept, A) == pair
    # What was bound before is opened as ever.
    assert cipher.decrypt(TokenCipher([OLD]).encrypt(pair, A), A) == pair


def test_a_prepended_key_keeps_ciphertexts_and_fingerprints() -> None:
    pair = TokenPair("a", "r")
    before, after = TokenCipher([OLD]), TokenCipher([NEW, OLD])
    assert after.decrypt(before.encrypt(pair, A), A) == pair
    assert after.is_fingerprint_of(before.fingerprint("a", A), "a", A)
    with pytest.raises(SecretsError, match="none of TIDEMARK_SECRET_KEYS"):
        before.decrypt(after.encrypt(pair, A), A)


def test_what_was_written_with_the_new_key_outlives_the_old_one() -> None:
    both, new = TokenCipher([NEW, OLD]), TokenCipher([NEW])
    assert new.decrypt(both.encrypt(TokenPair("a"), A), A) == TokenPair("a")
    assert new.is_fingerprint_of(both.fingerprint("a", A), "a", A)


@settings(deadline=None)
@given(st.text(), st.text(), owners, owners)
def test_a_fingerprint_tells_tokens_and_channels_apart(
    one: str, other: str, mine: tuple[str, str], theirs: tuple[str, str]
) -> None:
    cipher = TokenCipher([NEW, OLD])
    found = cipher.fingerprint(one, mine)
    assert len(found) == 64
    assert cipher.is_fingerprint_of(found, one, mine)
    assert cipher.is_fingerprint_of(found, other, mine) == (one == other)
    assert (cipher.fingerprint(one, theirs) == found) == (mine == theirs)
    assert not TokenCipher(["another-key-of-some-length"]).is_fingerprint_of(found, one, mine)


@pytest.mark.parametrize("oldest", [OLD, NEW], ids=["old", "new"])
def test_a_fingerprint_of_the_earlier_version_is_known_and_can_be_bound(oldest: str) -> None:
    old = unbound_fingerprint(TokenPair("a"), oldest).partition(".")[0]
    cipher = TokenCipher([NEW, OLD])
    assert cipher.is_fingerprint_of(old, "a", A)
    assert not cipher.is_fingerprint_of(old, "b", A)
    bound = cipher.bind(old, A)
    assert bound != cipher.bind(old, B)
    assert cipher.is_fingerprint_of(bound, "a", A)
    assert not cipher.is_fingerprint_of(bound, "a", B)
    assert TokenCipher(["a-third-key-prepended", NEW, OLD]).is_bound_form(bound, old, A)


def test_any_long_text_is_a_key() -> None:
    cipher = TokenCipher(["correct horse battery staple"])
    assert cipher.decrypt(cipher.encrypt(TokenPair("a"), A), A) == TokenPair("a")


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
        TokenCipher([OLD]).decrypt(b"nonsense", A)
    with pytest.raises(SecretsError, match="no token pair"):
        TokenCipher([OLD]).decrypt(Fernet(OLD).encrypt(b"[1]"), A)
