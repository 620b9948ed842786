"""Which channels the built-in sandbox may be asked for: those whose access token says so, and no others.

`tidemark up` points platforms at its sandbox unless told otherwise. The sandbox makes its figures up, so the channel of
a real account must neither get such figures nor show its token there.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.poller.connections.tokens import TokenStore
from services.poller.keys import ChannelKey

PREFIX = "sandbox-"
"""How access tokens of the sandbox's channels begin."""

UNAVAILABLE = "platform_unavailable"
WHY = (
    "the channel is not asked for: the built-in sandbox answers only for access tokens that begin with sandbox-; start "
    "tidemark up with --no-sandbox to ask the platform itself, or take a channel from tidemark sandbox channel"
)


class SandboxGuard:
    """Tells which channels stay unasked.

    Args:
        platforms: those that the sandbox stands in for.
    """

    def __init__(self, tokens: TokenStore, platforms: Iterable[str] = ()) -> None:
        self._tokens = tokens
        self._platforms = frozenset(platforms)

    def refuses(self, name: str, key: ChannelKey) -> bool:
        """Whether a channel's platform is the sandbox, and its tokens are none of the sandbox's.

        Raises:
            SecretsError: its tokens can't be opened.
        """
        if name not in self._platforms:
            return False
        pair = self._tokens.credentials(key, name).pair
        shown = pair.access_token or pair.refresh_token
        return bool(shown) and not (shown or "").startswith(PREFIX)
