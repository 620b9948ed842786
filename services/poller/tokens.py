"""The tokens of channels, in the clear and in memory only, each with what has to be blanked in its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas.events import ChannelTokens
from services.poller.redact import Redactor
from services.poller.schedule import ChannelKey
from services.runtime.secrets import TokenCipher, TokenPair


class Credentials:
    """What a channel's calls are authorized with."""

    __slots__ = ("pair", "redactor")

    def __init__(self, pair: TokenPair, app_secrets: Sequence[str]) -> None:
        self.pair = pair
        self.redactor = Redactor((*pair.held(), *app_secrets))

    @property
    def access_token(self) -> str | None:
        """The token to send, None when there is none."""
        return self.pair.access_token or None


class TokenStore:
    """Tokens by channel; decrypted when they are first needed.

    Args:
        app_secrets: secrets of our own app at each platform, by platform.
    """

    def __init__(self, cipher: TokenCipher, app_secrets: Mapping[str, Sequence[str]]) -> None:
        self._cipher = cipher
        self._app_secrets = app_secrets
        self._sealed: dict[ChannelKey, ChannelTokens] = {}
        self._opened: dict[ChannelKey, Credentials] = {}

    def put(self, key: ChannelKey, tokens: ChannelTokens | None) -> None:
        """Replace a channel's tokens; None forgets them."""
        self._opened.pop(key, None)
        if tokens is None:
            self._sealed.pop(key, None)
        else:
            self._sealed[key] = tokens

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
            pair = TokenPair() if tokens is None else self._cipher.decrypt(tokens.ciphertext)
            found = self._opened[key] = Credentials(pair, self._app_secrets.get(platform, ()))
        return found
