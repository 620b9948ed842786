"""Which channels' connections are broken, and who has been told; pure.

A channel whose token stopped working is paused and announced once on `accounts.events`, also across restarts: the
topic's newest event of a channel, read at the start, says whether it still stands. Whatever is newer in the catalog (a
token, or the channel put again) is a reason to try again; only a newer token is a reason to announce again.

A channel all of whose posts are said to be gone is announced once, too, but it is not paused.
"""

from __future__ import annotations

from collections.abc import Callable

from schemas.events import AccountEvent
from services.platforms.base import Outcome
from services.poller.keys import ChannelKey

TOKEN_EXPIRED = "account.token_expired"
DISABLED = "account.disabled"
HIDDEN = "account.hidden"
RECOVERED = "account.recovered"

TYPE_OF_OUTCOME = {
    Outcome.TOKEN_EXPIRED: TOKEN_EXPIRED,
    Outcome.TOKEN_REVOKED: TOKEN_EXPIRED,
    Outcome.ACCOUNT_DISABLED: DISABLED,
}
REASON_OF_OUTCOME = {
    Outcome.TOKEN_EXPIRED: "token_expired",
    Outcome.TOKEN_REVOKED: "token_revoked",
    Outcome.ACCOUNT_DISABLED: "account_disabled",
}


class _Trouble:
    __slots__ = ("announced_at", "paused_at")

    def __init__(self, at: int) -> None:
        self.announced_at = at
        self.paused_at: int | None = at


class Accounts:
    """Channels in trouble; the others take no space."""

    def __init__(self) -> None:
        self._troubles: dict[ChannelKey, _Trouble] = {}
        self._hidden: set[ChannelKey] = set()

    def replay(self, event: AccountEvent) -> None:
        """Take in what was announced before this start, oldest first."""
        key = (event.workspace_id, event.channel_id)
        if event.type == RECOVERED:
            self._troubles.pop(key, None)
            self._hidden.discard(key)
        elif event.type == HIDDEN:
            self._hidden.add(key)
        elif event.type in (TOKEN_EXPIRED, DISABLED):
            self._troubles[key] = _Trouble(event.occurred_at)

    def discard(self, belongs: Callable[[str], bool]) -> None:
        """Forget the troubles of workspaces that belong to another process now."""
        for key in [key for key in self._troubles if belongs(key[0])]:
            del self._troubles[key]
        self._hidden = {key for key in self._hidden if not belongs(key[0])}

    def paused(self) -> list[ChannelKey]:
        """Channels that must not be asked."""
        return [key for key, trouble in self._troubles.items() if trouble.paused_at is not None]

    def try_again(self, key: ChannelKey, updated_at: int) -> bool:
        """The catalog has news of `updated_at` (ms) about a channel: whether that ends its pause."""
        trouble = self._troubles.get(key)
        if trouble is None or trouble.paused_at is None or updated_at <= trouble.paused_at:
            return False
        trouble.paused_at = None
        return True

    def broken(
        self,
        key: ChannelKey,
        platform: str,
        outcome: Outcome,
        tokens_updated_at: int | None,
        now: int,
        reason: str | None = None,
    ) -> AccountEvent | None:
        """A channel's connection turned out broken.

        Args:
            tokens_updated_at: when the tokens held were written; None when there are none.
            reason: why, where more is known than the outcome says.

        Returns:
            What to announce; None when that was done before, or there is no token that could have ended.
        """
        trouble = self._troubles.get(key)
        announced = trouble is not None and (tokens_updated_at is None or tokens_updated_at <= trouble.announced_at)
        self._troubles[key] = fresh = _Trouble(now)
        if announced and trouble is not None:
            fresh.announced_at = trouble.announced_at
            return None
        if tokens_updated_at is None:
            fresh.announced_at = 0
            return None
        return AccountEvent(*key, platform, TYPE_OF_OUTCOME[outcome], now, reason or REASON_OF_OUTCOME[outcome])

    def works(self, key: ChannelKey, platform: str, now: int) -> AccountEvent | None:
        """A channel's connection works: what to announce, None when nobody thought otherwise."""
        trouble = self._troubles.pop(key, None)
        if trouble is None or not trouble.announced_at:
            return None
        return AccountEvent(*key, platform, RECOVERED, now)

    def is_hidden(self, key: ChannelKey) -> bool:
        """Whether it was announced that all posts of a channel are said to be gone."""
        return key in self._hidden

    def hidden(self, key: ChannelKey, platform: str, now: int) -> AccountEvent | None:
        """All posts of a channel are said to be gone: what to announce, None when that was done before."""
        if key in self._hidden:
            return None
        self._hidden.add(key)
        return AccountEvent(*key, platform, HIDDEN, now, "posts_hidden")

    def shown(self, key: ChannelKey, platform: str, now: int) -> AccountEvent | None:
        """Posts of a channel are there: what to announce, None when nobody thought otherwise."""
        if key not in self._hidden:
            return None
        self._hidden.discard(key)
        return None if key in self._troubles else AccountEvent(*key, platform, RECOVERED, now)
