"""Holds channels' tokens as ciphertext, and computes how a PUT changes them. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

from schemas.events import ChannelTokens
from schemas.topic_names import TOKENS
from services.query_api.admin.parameters import ChannelPut
from services.query_api.errors import NoSecretKeys
from services.query_api.views import TopicView
from services.runtime.logging import get_logger
from services.runtime.secrets import Owner, SecretsError, TokenCipher, TokenPair, is_bound

_NOTHING_PUT = "-"
log = get_logger(__name__)


class TokenVault(TopicView[ChannelTokens]):
    """The newest tokens event of each channel."""

    topic = TOKENS

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[tuple[str, str], ChannelTokens] = {}

    def apply(self, key: tuple[str, str], event: ChannelTokens | None) -> None:
        """Add, change or forget the tokens of one channel."""
        held = self._held.get(key)
        if event is None:
            self._held.pop(key, None)
        elif held is not None and is_bound(held.ciphertext) and not is_bound(event.ciphertext):
            log.error("tokens are refused: they are not bound to their channel, those held are", channel=key)
        else:
            self._held[key] = event

    def get(self, workspace_id: str, channel_id: str) -> ChannelTokens | None:
        """The tokens event of a channel; None when the channel has no tokens."""
        return self._held.get((workspace_id, channel_id))


@dataclass(frozen=True, slots=True)
class TokenChange:
    """The change that a PUT makes to a channel's tokens.

    Attributes:
        event: the event to write; None when the PUT brings nothing new.
        token_expires_at: when the access token expires after the change, ms; None when unknown.
    """

    event: ChannelTokens | None
    token_expires_at: int | None


def token_change(
    put: ChannelPut,
    held: ChannelTokens | None,
    *,
    workspace_id: str,
    channel_id: str,
    cipher: TokenCipher | None,
    now: int,
) -> TokenChange:
    """Compute how a PUT of a channel changes the channel's tokens.

    A token that the PUT leaves out keeps the stored token. A PUT that repeats the previous PUT's token changes nothing,
    since a refresh may have replaced the token meanwhile: tokens are compared one by one with the last PUT's
    fingerprints.

    Args:
        cipher: None when the server has no secret keys.
        now: ms.

    Raises:
        NoSecretKeys: there are tokens to store, and no key, or none of the keys opens the stored tokens.
    """
    brought = TokenPair(_plain(put.access_token), _plain(put.refresh_token))
    expires_at = put.token_expires_at
    if not brought.held():
        return TokenChange(None, _kept_expiry(held, expires_at))
    if cipher is None:
        raise NoSecretKeys
    owner = (workspace_id, channel_id)
    was_put = _split(held.put_fingerprint if held is not None else "")
    tokens = (brought.access_token, brought.refresh_token)
    kept = None if held is None else _opened(cipher, held, owner)
    # Stored tokens that no key opens are useless, so repeating the same PUT replaces them.
    if kept is not None and all(
        token is None or cipher.is_fingerprint_of(old, token, owner) for token, old in zip(tokens, was_put, strict=True)
    ):
        return TokenChange(None, _kept_expiry(held, expires_at))
    pair = brought
    if held is not None and None in tokens:
        if kept is None:
            raise NoSecretKeys
        pair = TokenPair(brought.access_token or kept.access_token, brought.refresh_token or kept.refresh_token)
        if brought.access_token is None:
            expires_at = expires_at if expires_at is not None else held.token_expires_at
        if not is_bound(held.ciphertext):
            was_put = tuple(old if old == _NOTHING_PUT else cipher.bind(old, owner) for old in was_put)
    event = ChannelTokens(
        workspace_id=workspace_id,
        channel_id=channel_id,
        ciphertext=cipher.encrypt(pair, owner),
        put_fingerprint=".".join(
            old if token is None else cipher.fingerprint(token, owner)
            for token, old in zip(tokens, was_put, strict=True)
        ),
        token_expires_at=expires_at,
        origin="put",
        updated_at=now,
    )
    return TokenChange(event, expires_at)


def _kept_expiry(held: ChannelTokens | None, put_expires_at: int | None) -> int | None:
    """The expiry of tokens that a PUT leaves alone: a refresh knows the expiry better than the earlier PUT."""
    if held is None:
        return put_expires_at
    if held.origin == "refresh" or put_expires_at is None:
        return held.token_expires_at
    return put_expires_at


def _plain(token: SecretStr | None) -> str | None:
    return (token.get_secret_value() or None) if token is not None else None


def _opened(cipher: TokenCipher, held: ChannelTokens, owner: Owner) -> TokenPair | None:
    try:
        return cipher.decrypt(held.ciphertext, owner)
    except SecretsError:
        return None


def _split(put_fingerprint: str) -> tuple[str, ...]:
    """The fingerprints of the access and the refresh token that were last put."""
    access, _, refresh = put_fingerprint.partition(".")
    return access or _NOTHING_PUT, refresh or _NOTHING_PUT
