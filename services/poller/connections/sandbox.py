"""Which channels must not be asked for: those that are none of the sandbox's, and those of a platform that refuses us.

`tidemark up` points platforms at its sandbox unless told otherwise. The sandbox makes its figures up, so the channel of
a real account must neither get such figures nor show its token there. A platform may also take no calls at all without
a setting, such as the name of our app.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from services.poller.connections.tokens import TokenStore
from services.poller.keys import ChannelKey

PREFIX = "sandbox-"
"""How access tokens of the sandbox's channels begin."""

UNAVAILABLE = "platform_unavailable"
WHY = (
    "the channel is not asked for: the built-in sandbox answers only for access tokens that begin with sandbox-; start "
    "tidemark up with --no-sandbox to ask the platform itself, or take a channel from tidemark sandbox channel"
)

UNNAMED = "the channel is not asked for: {variable} is not set, and its platform refuses calls without it"


class SandboxGuard:
    """Tells which channels stay unasked.

    Args:
        platforms: those that the sandbox stands in for.
        unnamed: by platform, the setting that is missing and without which it takes no calls.
    """

    def __init__(
        self, tokens: TokenStore, platforms: Iterable[str] = (), unnamed: Mapping[str, str] | None = None
    ) -> None:
        self._tokens = tokens
        self._platforms = frozenset(platforms)
        self._unnamed = dict(unnamed or {})

    def why(self, name: str) -> str:
        """Why a platform's refused channels are not asked for, for a person."""
        variable = self._unnamed.get(name)
        return WHY if variable is None else UNNAMED.format(variable=variable)

    def refuses(self, name: str, key: ChannelKey) -> bool:
        """Whether a channel must not be asked for: its platform takes no calls, or its tokens are not the sandbox's.

        Raises:
            SecretsError: its tokens can't be opened.
        """
        if name in self._unnamed:
            return True
        if name not in self._platforms:
            return False
        pair = self._tokens.credentials(key, name).pair
        shown = pair.access_token or pair.refresh_token
        return bool(shown) and not (shown or "").startswith(PREFIX)
