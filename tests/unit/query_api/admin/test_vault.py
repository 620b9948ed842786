"""What a PUT changes of the tokens held."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.events import ChannelTokens
from services.query_api.admin.models import ChannelPut
from services.query_api.admin.vault import TokenChange, token_change
from services.query_api.errors import NoSecretKeys
from services.runtime.secrets import TokenCipher, TokenPair
from tests.support.query_api import NOW, SECRET_KEY

CIPHER = TokenCipher([SECRET_KEY])


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
    opened = CIPHER.decrypt(tokens.ciphertext)
    return opened.access_token, opened.refresh_token


def refreshed(tokens: ChannelTokens, access: str, refresh: str, expires_at: int) -> ChannelTokens:
    """What the poller writes after a refresh: the fingerprint of the last PUT stays."""
    return replace(
        tokens, ciphertext=CIPHER.encrypt(TokenPair(access, refresh)), origin="refresh", token_expires_at=expires_at
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
    assert rotated.decrypt(written(put(held, "a2", cipher=rotated)).ciphertext).refresh_token == "r1"


@pytest.mark.parametrize("cipher", [None, TokenCipher(["quite-another-secret-key"])])
def test_without_the_right_key_tokens_are_refused(cipher: TokenCipher | None) -> None:
    held = written(put(None, "a1", "r1"))
    with pytest.raises(NoSecretKeys):
        put(held, "a2", cipher=cipher)


def test_tokens_of_a_put_are_not_shown() -> None:
    body = ChannelPut.model_validate({"platform": "x", "external_id": "1", "access_token": "a1"}, strict=False)
    assert "a1" not in repr(body)
