"""What the sandbox remembers between calls: its clock, what it served, which calls came, rate limits, faults, refusals.

All of it is bounded, in memory, and gone after a restart or `reset`. One event loop owns it, so nothing is locked.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any

# Posts of one account that its lists remember.
_MOST_OWN = 250


class Clock:
    """A clock that can be moved and stopped. All instants are ms since the epoch.

    Args:
        offset: ms added to the machine's clock.
        wall: the machine's clock; rate limits follow it, since a caller waits by it.
    """

    def __init__(self, offset: int = 0, wall: Any = None) -> None:
        self._wall = wall or (lambda: int(time.time() * 1000))
        self.offset = offset
        self.frozen_at: int | None = None

    def wall(self) -> int:
        """The machine's clock, ms."""
        return int(self._wall())

    def now(self) -> int:
        """The clock that figures follow."""
        return self.frozen_at if self.frozen_at is not None else self.wall() + self.offset

    def set(self, at: int) -> None:
        """Show this instant now; a stopped clock stays stopped."""
        if self.frozen_at is not None:
            self.frozen_at = at
        self.offset = at - self.wall()

    def freeze(self, frozen: bool) -> None:
        """Stop, or go on from where it stopped."""
        if frozen:
            self.frozen_at = self.now()
        elif self.frozen_at is not None:
            self.offset = self.frozen_at - self.wall()
            self.frozen_at = None


class ServedLog:
    """What was served of each post and account, the oldest dropped first.

    Args:
        limit: most records kept in all.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self.limit = limit
        self.dropped = 0
        self._order: deque[tuple[str, str]] = deque()
        self._records: dict[tuple[str, str], deque[dict[str, Any]]] = {}

    def add(self, platform: str, external_id: str, wall: int, at: int, fields: dict[str, Any]) -> None:
        """Remember one answer about one thing; `wall` is the caller's clock, `at` the one that figures follow."""
        key = (platform, external_id)
        record = {"served_at": wall, "clock": at, "platform": platform, "external_id": external_id, "fields": fields}
        self._records.setdefault(key, deque()).append(record)
        self._order.append(key)
        if len(self._order) > self.limit:
            oldest = self._order.popleft()
            records = self._records[oldest]
            records.popleft()
            self.dropped += 1
            if not records:
                del self._records[oldest]

    def of(self, platform: str | None, external_id: str | None) -> list[dict[str, Any]]:
        """Records of one thing, of a platform, or all, oldest first."""
        if platform is not None and external_id is not None:
            return list(self._records.get((platform, external_id), ()))
        found = [
            record
            for (of_platform, of_id), records in self._records.items()
            if platform in (None, of_platform) and external_id in (None, of_id)
            for record in records
        ]
        return sorted(found, key=lambda record: int(record["served_at"]))


FAULT_KINDS = (
    "rate_limited", "quota_exhausted", "server_error", "token_expired", "token_revoked", "permission_missing",
    "account_disabled", "slow", "half_body", "reset",
)  # fmt: skip


@dataclass
class Fault:
    """A way to fail, for a share of a platform's calls.

    Attributes:
        platform: whose calls.
        kind: one of FAULT_KINDS.
        share: 0..1; spread evenly: with 0.25 every fourth call fails, always the same ones.
        endpoint: only calls whose endpoint name contains this.
        token: only calls with a token that begins so.
        account: only calls of this account, by what follows a token's `~`, also once the token was renewed.
        until: ms of the machine's clock; None: until removed.
        count: failures left; None: any number.
        delay_seconds: for `slow`.
        retry_after_seconds: for `rate_limited`.
    """

    platform: str
    kind: str
    share: float = 1.0
    endpoint: str = ""
    token: str = ""
    account: str = ""
    until: int | None = None
    count: int | None = None
    delay_seconds: float = 1.0
    retry_after_seconds: int = 1
    seen: int = field(default=0)
    failed: int = field(default=0)

    def strikes(self, platform: str, endpoint: str, token: str, wall: int) -> bool:
        """Whether this call fails; counts it."""
        if platform != self.platform or self.endpoint not in endpoint or not token.startswith(self.token):
            return False
        if self.account and token.partition("~")[2] != self.account:
            return False
        if (self.until is not None and wall >= self.until) or self.count == 0:
            return False
        self.seen += 1
        # In millionths, so that shares such as 0.1 strike evenly in whole numbers.
        millionths = round(self.share * 1_000_000)
        if self.seen * millionths // 1_000_000 == (self.seen - 1) * millionths // 1_000_000:
            return False
        self.failed += 1
        if self.count is not None:
            self.count -= 1
        return True


@dataclass
class Switch:
    """A refusal of the catalogue (`refusals`) that is switched on.

    Attributes:
        target: only calls that ask for this id.
        account: only calls of this account, by what follows a token's `~`.
        token: only calls with a token that begins so.
        metric: in place of the row's own names: only calls that ask for this one.
        until: ms of the machine's clock; None: until it is switched off.
        refused: calls, and parts of batches, that it met so far.
    """

    platform: str
    refusal: str
    target: str = ""
    account: str = ""
    token: str = ""
    metric: str = ""
    until: int | None = None
    refused: int = field(default=0)


@dataclass
class Window:
    """Calls of one caller in one window of a rate limit."""

    ends_at: int
    used: int = 0


class Limits:
    """Fixed windows, counted by (group, caller), on the machine's clock.

    Args:
        enforced: whether calls over a limit fail; the headers count either way.
    """

    def __init__(self, enforced: bool = True) -> None:
        self.enforced = enforced
        self._windows: dict[tuple[str, str], Window] = {}

    def take(self, group: str, caller: str, limit: int, window_seconds: int, wall: int) -> tuple[bool, int, int]:
        """Count one call.

        Returns:
            Whether it is within the limit, how many are left, and when the window ends (ms).
        """
        window = self._windows.get((group, caller))
        if window is None or wall >= window.ends_at:
            if len(self._windows) > 10_000:
                self._windows = {key: held for key, held in self._windows.items() if wall < held.ends_at}
            window = self._windows[(group, caller)] = Window(wall + window_seconds * 1000)
        within = window.used < limit or not self.enforced
        if within:
            window.used += 1
        return within, max(0, limit - window.used), window.ends_at

    def clear(self) -> None:
        """Begin all windows anew."""
        self._windows.clear()


class State:
    """All of the above, for one sandbox.

    Args:
        seed: chooses the numbers of every post and account.
        clock: see `Clock`.
        enforce_limits: whether calls over a platform's rate limit fail.
        served_limit: most served records kept.
        calls_limit: most recent calls kept.
        own_tokens: whether only tokens that begin with `sandbox-` are answered.
    """

    def __init__(
        self,
        seed: int = 0,
        clock: Clock | None = None,
        enforce_limits: bool = True,
        served_limit: int = 100_000,
        calls_limit: int = 5_000,
        *,
        own_tokens: bool = False,
    ) -> None:
        self.seed = seed
        self.own_tokens = own_tokens
        self.clock = clock or Clock()
        self.limits = Limits(enforce_limits)
        self._served_limit, self._calls_limit = served_limit, calls_limit
        self._offset = self.clock.offset
        self.reset()

    def reset(self) -> None:
        """Forget everything and put the clock back to where it was at the start."""
        self.clock.frozen_at = None
        self.clock.offset = self._offset
        self.limits.clear()
        self.served = ServedLog(self._served_limit)
        self.calls: deque[dict[str, Any]] = deque(maxlen=self._calls_limit)
        self.call_counts: Counter[tuple[str, str, int]] = Counter()
        self.faults: list[Fault] = []
        self.switches: list[Switch] = []
        self.spent_tokens: set[tuple[str, str]] = set()
        self.callers: set[tuple[str, int]] = set()
        self.grants = 0
        self._own: dict[tuple[str, str], dict[str, None]] = {}

    def remember_own(self, platform: str, account_id: str, external_id: str) -> None:
        """A post was asked for with an account's token: from now on the account's list has it."""
        held = self._own.setdefault((platform, account_id), {})
        held[external_id] = None
        if len(held) > _MOST_OWN:
            del held[next(iter(held))]

    def own(self, platform: str, account_id: str) -> list[str]:
        """The posts of an account that were asked for with its token, as far as they are remembered."""
        return list(self._own.get((platform, account_id), ()))

    def strike(self, platform: str, endpoint: str, token: str) -> Fault | None:
        """The fault that a call meets, if any."""
        wall = self.clock.wall()
        return next((fault for fault in self.faults if fault.strikes(platform, endpoint, token, wall)), None)

    def switch_off(self, platform: str | None = None, refusal: str | None = None, target: str | None = None) -> None:
        """Switch refusals off: those of a platform, of a name, of a target, or all."""
        wanted = {"platform": platform, "refusal": refusal, "target": target}
        named = {name: value for name, value in wanted.items() if value is not None}
        self.switches = [
            switch for switch in self.switches if any(getattr(switch, name) != value for name, value in named.items())
        ]

    def switch_list(self) -> list[dict[str, Any]]:
        """The refusals that are switched on, as JSON."""
        return [asdict(switch) for switch in self.switches]

    def fault_list(self) -> list[dict[str, Any]]:
        """The faults as JSON."""
        return [asdict(fault) for fault in self.faults]
