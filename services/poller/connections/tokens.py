"""The tokens of channels, in the clear and in memory only, each with what has to be blanked in its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from schemas.events import ChannelTokens
from services.poller.connections.redact import Redactor
from services.poller.keys import ChannelKey
from services.runtime.logging import get_logger
from services.runtime.secrets import SecretsError, TokenCipher, TokenPair, is_bound

PUT = "put"
REFRESH = "refresh"
# What a PUT brought, encrypted anew by the poller.
BOUND = "bound"
_log = get_logger(__name__)


Prove = Callable[[str], Mapping[str, str]]
"""From an access token to the parameters that prove that it was given to our app; see `abilities.ProvesTokens`."""


class Credentials:
    """What a channel's calls are authorized with; `proof` goes with each call, and is blanked in answers."""

    __slots__ = ("pair", "proof", "redactor")

    def __init__(self, pair: TokenPair, app_secrets: Sequence[str], prove: Prove | None = None) -> None:
        self.pair = pair
        self.proof = prove(pair.access_token) if prove is not None and pair.access_token else {}
        self.redactor = Redactor((*pair.held(), *app_secrets, *self.proof.values()))

    @property
    def access_token(self) -> str | None:
        """The token to send, None when there is none."""
        return self.pair.access_token or None


class TokenStore:
    """Tokens by channel; decrypted when they are first needed.

    Args:
        app_secrets: secrets of our own app at each platform, by platform.
        provers: by platform, of those that take a proof.

    Attributes:
        on_overwritten: called with the tokens held when the topic brings older ones after them, and so ends with those.
    """

    def __init__(
        self,
        cipher: TokenCipher,
        app_secrets: Mapping[str, Sequence[str]],
        provers: Mapping[str, Prove] | None = None,
    ) -> None:
        self._cipher = cipher
        self._provers = provers if provers is not None else {}
        self._app_secrets = app_secrets
        self._sealed: dict[ChannelKey, ChannelTokens] = {}
        self._opened: dict[ChannelKey, Credentials] = {}
        # Whose newest event on the topic is not bound.
        self._unbound: set[ChannelKey] = set()
        self.on_overwritten: Callable[[ChannelKey, ChannelTokens], None] = _nothing

    def put(self, key: ChannelKey, tokens: ChannelTokens | None) -> None:
        """Replace a channel's tokens; None forgets them.

        A refresh replaces only the pair that it came from: one that began before a PUT and ended after it is passed
        over, and so is what comes back from the topic after something newer of the same pair was taken in. Tokens that
        are not bound to their channel never replace bound ones: they are of an earlier version, or replayed.
        """
        held = self._sealed.get(key)
        if tokens is None or is_bound(tokens.ciphertext):
            self._unbound.discard(key)
        else:
            self._unbound.add(key)
            if held is not None and is_bound(held.ciphertext):
                _log.error("tokens are refused: they are not bound to their channel, those held are", channel=key)
                return
        if tokens is not None and held is not None and self._is_overtaken(key, tokens, held):
            if tokens.origin != held.origin or tokens.put_fingerprint != held.put_fingerprint:
                self.on_overwritten(key, held)
            return
        self._opened.pop(key, None)
        if tokens is None:
            self._sealed.pop(key, None)
        else:
            self._sealed[key] = tokens

    def open_anew(self) -> None:
        """Forget the tokens in the clear and what is blanked with them; each is opened when it is next needed."""
        self._opened.clear()

    def discard(self, belongs: Callable[[str], bool]) -> None:
        """Forget the tokens of workspaces that belong to another process now."""
        for key in [key for key in self._sealed if belongs(key[0])]:
            del self._sealed[key]
            self._opened.pop(key, None)
            self._unbound.discard(key)

    def sealed(self, key: ChannelKey) -> ChannelTokens | None:
        """The event held, None when there is none; the same object until the tokens change."""
        return self._sealed.get(key)

    def is_unbound(self, key: ChannelKey) -> bool:
        """Whether the newest event of a channel's tokens on the topic is to be bound to the channel."""
        return key in self._unbound and not self._cipher.writes_unbound

    def bound(self, key: ChannelKey) -> ChannelTokens | None:
        """The event that binds a channel's tokens to it; None when they can't be opened, or there are none."""
        held = self._sealed.get(key)
        if held is None or is_bound(held.ciphertext):
            return held
        try:
            pair = self._cipher.decrypt(held.ciphertext, key)
        except SecretsError:
            return None  # said where the channel is asked
        return replace(
            held,
            ciphertext=self._cipher.encrypt(pair, key),
            put_fingerprint=self._bound_fingerprint(key, held),
            origin=BOUND if held.origin == PUT else held.origin,
        )

    def renewed(self, held: ChannelTokens, pair: TokenPair, expires_at: int | None, now: int) -> ChannelTokens:
        """The event of a refreshed pair; it keeps what was put, so that the same PUT again doesn't undo it."""
        key = (held.workspace_id, held.channel_id)
        return replace(
            held,
            ciphertext=self._cipher.encrypt(pair, key),
            put_fingerprint=self._bound_fingerprint(key, held),
            token_expires_at=expires_at,
            origin=REFRESH,
            updated_at=max(now, held.updated_at),
        )

    def updated_at(self, key: ChannelKey) -> int | None:
        """When the tokens held were written (ms), None when there are none."""
        tokens = self._sealed.get(key)
        return None if tokens is None else tokens.updated_at

    def credentials(self, key: ChannelKey, platform: str) -> Credentials:
        """What to authorize a channel's calls with; without tokens, credentials that hold none.

        Raises:
            SecretsError: the ciphertext can't be opened; nothing can be asked until a newer one comes.
        """
        found = self._opened.get(key)
        if found is None:
            tokens = self._sealed.get(key)
            pair = TokenPair() if tokens is None else self._cipher.decrypt(tokens.ciphertext, key)
            found = self._opened[key] = Credentials(
                pair, self._app_secrets.get(platform, ()), self._provers.get(platform)
            )
        return found

    def _is_overtaken(self, key: ChannelKey, tokens: ChannelTokens, held: ChannelTokens) -> bool:
        """Whether an event that follows the one held is older in truth, or the same."""
        if not self._is_same_put(key, tokens, held):
            return tokens.origin != PUT
        return held.origin != PUT and (tokens == held or tokens.updated_at < held.updated_at)

    def _is_same_put(self, key: ChannelKey, tokens: ChannelTokens, held: ChannelTokens) -> bool:
        """Whether two events come from the same PUT; the one held may be from before fingerprints were bound."""
        if tokens.put_fingerprint == held.put_fingerprint:
            return True
        if is_bound(held.ciphertext) or not is_bound(tokens.ciphertext):
            return False
        new, old = tokens.put_fingerprint.split("."), held.put_fingerprint.split(".")
        return len(new) == len(old) and all(
            one == other or self._cipher.is_bound_form(one, other, key) for one, other in zip(new, old, strict=True)
        )

    def _bound_fingerprint(self, key: ChannelKey, held: ChannelTokens) -> str:
        if is_bound(held.ciphertext) or self._cipher.writes_unbound:
            return held.put_fingerprint
        parts = held.put_fingerprint.split(".")
        return ".".join(part if part in ("", "-") else self._cipher.bind(part, key) for part in parts)


def _nothing(key: ChannelKey, tokens: ChannelTokens) -> None:
    """Until somebody writes tokens here, nobody can be overtaken."""
