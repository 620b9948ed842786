"""What may be asked when: rate windows, waits that platforms ordered, backoff, and a circuit a platform; pure.

Instants are ms since the epoch. A window belongs to one token (or, for calls without one, to the whole platform) and
one of the platform's limit groups; what its answers' headers say is the truth, and calls in flight are counted
against it until their answers say more.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from services.platforms.base import LimitState
from services.runtime.clock import MILLIS_PER_HOUR, MILLIS_PER_SECOND

Uniform = Callable[[float, float], float]

BACKOFF_BASE = MILLIS_PER_SECOND
BACKOFF_CAP = 5 * 60 * MILLIS_PER_SECOND
# A platform that says "used up" without saying until when: Meta counts over a sliding hour, X caps by the month.
QUOTA_WAIT = MILLIS_PER_HOUR
# A budget that is empty by its headers, which don't say when it turns.
EMPTY_WAIT = 60 * MILLIS_PER_SECOND
CIRCUIT_FAILURES = 5
CIRCUIT_BASE = 2 * MILLIS_PER_SECOND
CIRCUIT_CAP = 60 * MILLIS_PER_SECOND
_FORGET_ABOVE = 10_000


def backoff(attempt: int, uniform: Uniform, base: int = BACKOFF_BASE, cap: int = BACKOFF_CAP) -> int:
    """Full-jitter exponential backoff: ms to wait before trying again after the `attempt`-th failure (from 1).

    Source: AWS Architecture Blog, "Exponential Backoff and Jitter".
    """
    return int(uniform(0.0, float(min(cap, base * 2 ** min(attempt - 1, 32)))))


class WindowKey(NamedTuple):
    """Whose limit: a platform, the channel whose token is used ("" without one), the platform's limit group."""

    platform: str
    owner: str
    limit_group: str


class _Window:
    __slots__ = ("failures", "held_until", "in_flight", "remaining", "reset_at")

    def __init__(self) -> None:
        self.remaining: int | None = None
        self.reset_at: int | None = None
        self.held_until = 0
        self.in_flight = 0
        self.failures = 0

    def wait_until(self, now: int) -> int:
        if self.held_until > now:
            return self.held_until
        if self.reset_at is not None and self.reset_at <= now:
            self.remaining = self.reset_at = None
        if self.remaining is not None and self.remaining - self.in_flight <= 0:
            # With calls in flight their answers may still say more, so look again soon.
            return self.reset_at or now + (MILLIS_PER_SECOND if self.in_flight else EMPTY_WAIT)
        return 0

    def idle(self, now: int) -> bool:
        return not self.in_flight and self.held_until <= now and (self.reset_at or 0) <= now


class Budget:
    """Windows of all platforms."""

    def __init__(self, uniform: Uniform = random.uniform) -> None:
        self._windows: dict[WindowKey, _Window] = {}
        self._uniform = uniform
        self._forget_above = _FORGET_ABOVE

    def wait_until(self, key: WindowKey, now: int) -> int:
        """When a call may be made: 0 for now."""
        window = self._windows.get(key)
        return 0 if window is None else window.wait_until(now)

    def begin(self, key: WindowKey, now: int) -> None:
        """A call is being made; `end` must follow."""
        self._window(key, now).in_flight += 1

    def end(self, key: WindowKey) -> None:
        """The call is over."""
        self._windows[key].in_flight -= 1

    def observe(self, key: WindowKey, state: LimitState | None, now: int) -> None:
        """What the headers of an answer say; None leaves everything as it was.

        Its own call is counted in `remaining`, so call this after `end`. The platform may have counted some of the
        calls in flight too; counting them twice errs on the safe side.
        """
        if state is None or state.remaining is None:
            return
        window = self._window(key, now)
        window.remaining = state.remaining
        window.reset_at = state.reset_at
        if state.reset_at is None and state.remaining <= 0:
            window.held_until = max(window.held_until, now + EMPTY_WAIT)
            window.remaining = None

    def hold(self, key: WindowKey, seconds: float | None, now: int, *, exhausted: bool) -> int:
        """The platform refused for the limit's sake; returns when it may be asked again, to the second it said.

        Args:
            seconds: what it said, None when nothing.
            exhausted: a quota of a day or month, not the pace.
        """
        window = self._window(key, now)
        window.failures += 1
        if seconds is not None:
            wait = int(seconds * MILLIS_PER_SECOND) + 1
        elif exhausted:
            wait = QUOTA_WAIT
        elif window.reset_at is not None and window.reset_at > now:
            wait = window.reset_at - now
        else:
            wait = MILLIS_PER_SECOND + backoff(window.failures, self._uniform)
        window.held_until = max(window.held_until, now + wait)
        return window.held_until

    def served(self, key: WindowKey) -> None:
        """An answer came that was not about limits."""
        window = self._windows.get(key)
        if window is not None:
            window.failures = 0

    def _window(self, key: WindowKey, now: int) -> _Window:
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= self._forget_above:
                self._forget(now)
            window = self._windows[key] = _Window()
        return window

    def _forget(self, now: int) -> None:
        self._windows = {key: window for key, window in self._windows.items() if not window.idle(now)}
        self._forget_above = max(_FORGET_ABOVE, 2 * len(self._windows))


class Circuit:
    """Stops asking a platform that fails again and again, then lets one call through to see.

    Args:
        uniform: random number between two bounds.
    """

    def __init__(self, uniform: Uniform = random.uniform) -> None:
        self._uniform = uniform
        self._failures = 0
        self._opened = 0
        self._open_until = 0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether calls are being held back."""
        return self._open_until > 0

    def wait_until(self, now: int) -> int | None:
        """When a call may be made: 0 for now, None when the outcome of the one let through is awaited."""
        if not self.is_open:
            return 0
        if self._probing:
            return None
        return self._open_until if self._open_until > now else 0

    def admit(self) -> None:
        """A round of work begins, after `wait_until` said 0."""
        self._probing = self.is_open

    def release(self) -> None:
        """A round of work is over, whatever came of it."""
        self._probing = False

    def success(self) -> None:
        """The platform answered."""
        self._failures = self._opened = self._open_until = 0
        self._probing = False

    def failure(self, now: int) -> None:
        """The platform did not answer, or said that it is down."""
        self._failures += 1
        if self._failures < CIRCUIT_FAILURES or self._open_until > now:
            return
        self._opened += 1
        wait = backoff(self._opened, self._uniform, CIRCUIT_BASE, CIRCUIT_CAP)
        self._open_until = now + max(MILLIS_PER_SECOND, wait)
        self._probing = False
