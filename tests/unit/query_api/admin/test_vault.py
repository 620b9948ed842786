"""What a PUT changes of the tokens held."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.events import ChannelTokens
from services.poller.connections.tokens import TokenStore
from services.query_api.admin.parameters import ChannelPut
from services.query_api.admin.vault import TokenChange, TokenVault, token_change
from services.query_api.errors import NoSecretKeys
from services.runtime.secrets import TokenCipher, TokenPair, is_bound
from tests.support.query_api import NOW, SECRET_KEY
from tests.support.unbound_tokens import unbound_ciphertext, unbound_fingerprint

CIPHER = TokenCipher([SECRET_KEY])
OWNER = ("w1", "c1")


def put(
    held: ChannelTokens | None,
    access: str | None,
    refresh: str | None = None,
    expires: str | None = None,
    cipher: TokenCipher | None = CIPHER,
) -> TokenChange:
    body = {
        "platform": "x",
        "external_id": "1",
        "access_token": access,
        "refresh_token": refresh,
        "token_expires_at": expires,
    }
    model = ChannelPut.model_validate(body, strict=False)
    return token_change(model, held, workspace_id="w1", channel_id="c1", cipher=cipher, now=NOW)


def written(change: TokenChange) -> ChannelTokens:
    assert change.event is not None
    return change.event


def pair(tokens: ChannelTokens) -> tuple[str | None, str | None]:
    opened = CIPHER.decrypt(tokens.ciphertext, OWNER)
    return opened.access_token, opened.refresh_token


def refreshed(tokens: ChannelTokens, access: str, refresh: str, expires_at: int) -> ChannelTokens:
    """What the poller writes after a refresh: the fingerprint of the last PUT stays."""
    return replace(
        tokens,
        ciphertext=CIPHER.encrypt(TokenPair(access, refresh), OWNER),
        origin="refresh",
        token_expires_at=expires_at,
    )


def test_a_repeated_put_does_not_undo_a_refresh() -> None:
    held = refreshed(written(put(None, "a1", "r1", "2026-07-01T00:00:00Z")), "a2", "r2", NOW + 5)
    for access, refresh in (("a1", "r1"), ("a1", None), (None, "r1"), (None, None)):
        change = put(held, access, refresh, "2026-07-01T00:00:00Z")
        assert change.event is None
        assert change.token_expires_at == NOW + 5


def test_a_new_pair_replaces_a_refreshed_one() -> None:
    held = refreshed(written(put(None, "a1", "r1")), "a2", "r2", NOW)
    tokens = written(put(held, "a3", "r3"))
    assert (pair(tokens), tokens.origin, tokens.updated_at) == (("a3", "r3"), "put", NOW)
    assert put(tokens, "a3", "r3").event is None
    assert pair(written(put(tokens, "a1", "r1"))) == ("a1", "r1")


def test_one_new_token_keeps_the_other_one() -> None:
    held = refreshed(written(put(None, "a1", "r1")), "a2", "r2", NOW)
    tokens = written(put(held, "a3"))
    assert pair(tokens) == ("a3", "r2")
    assert put(tokens, "a3", "r1").event is None
    assert pair(written(put(held, None, "r3"))) == ("a2", "r3")


def test_the_expiry_is_the_puts_for_new_tokens_and_the_known_one_for_kept_tokens() -> None:
    held = written(put(None, "a1", None, "2026-07-01T00:00:00Z"))
    assert put(held, "a1").token_expires_at == held.token_expires_at == 1_782_864_000_000
    assert put(held, "a1", None, "2026-07-02T00:00:00Z").token_expires_at == 1_782_950_400_000
    assert put(held, "a2").token_expires_at is None
    assert put(None, None, None, "2026-07-01T00:00:00Z").token_expires_at == 1_782_864_000_000


def test_a_rotated_key_neither_changes_fingerprints_nor_loses_tokens() -> None:
    held = written(put(None, "a1", "r1"))
    rotated = TokenCipher(["a-newer-secret-key", SECRET_KEY])
    assert put(held, "a1", "r1", cipher=rotated).event is None
    assert rotated.decrypt(written(put(held, "a2", cipher=rotated)).ciphertext, OWNER).refresh_token == "r1"


def unbound(access: str, refresh: str, key: str = SECRET_KEY) -> ChannelTokens:
    """What a PUT to the earlier version wrote."""
    pair = TokenPair(access, refresh)
    return ChannelTokens(*OWNER, unbound_ciphertext(pair, key), unbound_fingerprint(pair, key), None, "put", NOW - 1)


def test_a_put_repeated_after_an_upgrade_does_not_undo_a_refresh() -> None:
    before = unbound("a1", "r1")
    refreshed_before = replace(
        before, ciphertext=unbound_ciphertext(TokenPair("a2", "r2"), SECRET_KEY), origin="refresh"
    )
    store = TokenStore(CIPHER, {})
    refreshed_since = store.renewed(before, TokenPair("a2", "r2"), None, NOW)
    store.put(OWNER, before)
    bound = store.bound(OWNER)
    assert bound is not None
    for held in (before, refreshed_before, refreshed_since, bound):
        for access, refresh in (("a1", "r1"), ("a1", None), (None, "r1")):
            assert put(held, access, refresh).event is None
            rotated = TokenCipher(["a-newer-secret-key", SECRET_KEY])
            assert put(held, access, refresh, cipher=rotated).event is None
        assert put(held, "a9").event is not None


def test_a_token_kept_from_the_earlier_version_is_bound_with_the_new_one() -> None:
    tokens = written(put(unbound("a1", "r1"), "a2"))
    assert is_bound(tokens.ciphertext)
    assert pair(tokens) == ("a2", "r1")
    assert unbound("a1", "r1").put_fingerprint.partition(".")[2] not in tokens.put_fingerprint
    assert put(tokens, "a2", "r1").event is None
    assert put(tokens, None, "r1").event is None


def test_equal_tokens_of_two_channels_show_nothing_in_common() -> None:
    model = ChannelPut.model_validate({"platform": "x", "external_id": "1", "access_token": "a", "refresh_token": "r"})
    shown: set[str] = set()
    for workspace, channel in (("w1", "c1"), ("w1", "c2"), ("w2", "c1")):
        change = token_change(model, None, workspace_id=workspace, channel_id=channel, cipher=CIPHER, now=NOW)
        shown.update(written(change).put_fingerprint.split("."))
    assert len(shown) == 6


def test_the_same_put_again_mends_tokens_that_do_not_open() -> None:
    held = written(put(None, "a1", "r1"))
    moved = replace(held, ciphertext=CIPHER.encrypt(TokenPair("stolen"), ("w2", "c9")))
    assert pair(written(put(moved, "a1", "r1"))) == ("a1", "r1")
    with pytest.raises(NoSecretKeys):
        put(moved, "a1")


def test_unbound_tokens_never_replace_bound_ones() -> None:
    vault, held = TokenVault(), written(put(None, "a1", "r1"))
    vault.apply(OWNER, unbound("a0", "r0"))
    vault.apply(OWNER, held)
    vault.apply(OWNER, unbound("stolen", "stolen"))
    assert vault.get(*OWNER) is held
    vault.apply(OWNER, None)
    assert vault.get(*OWNER) is None


@pytest.mark.parametrize("cipher", [None, TokenCipher(["quite-another-secret-key"])])
def test_without_the_right_key_tokens_are_refused(cipher: TokenCipher | None) -> None:
    held = written(put(None, "a1", "r1"))
    with pytest.raises(NoSecretKeys):
        put(held, "a2", cipher=cipher)


def test_tokens_of_a_put_are_not_shown() -> None:
    body = ChannelPut.model_validate({"platform": "x", "external_id": "1", "access_token": "a1"}, strict=False)
    assert "a1" not in repr(body)
