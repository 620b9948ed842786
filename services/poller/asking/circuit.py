"""Leaving alone what fails: backoff, and circuits of platforms and of single tokens; pure. Instants are ms."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable

from services.runtime.clock import MILLIS_PER_HOUR, MILLIS_PER_SECOND

Uniform = Callable[[float, float], float]

BACKOFF_BASE = MILLIS_PER_SECOND
BACKOFF_CAP = 5 * 60 * MILLIS_PER_SECOND
CIRCUIT_FAILURES = 5
CIRCUIT_BASE = 2 * MILLIS_PER_SECOND
CIRCUIT_CAP = 60 * MILLIS_PER_SECOND
# Fewer than a platform's, so that one broken account is left alone before its whole platform is.
TOKEN_FAILURES = 3
# Waits where nobody says for how long: an hour of failures costs less than 20 calls, and what is due every half hour is
# still asked for in time afterwards.
PATIENCE_BASE = 2 * MILLIS_PER_SECOND
PATIENCE_FACTOR = 3
PATIENCE_CAP = 9 * 60 * MILLIS_PER_SECOND
# The same once it has failed for six hours: a whole day costs some 100 calls, and what is due every half hour is still
# asked for in time afterwards.
PATIENCE_CAP_LATER = 27 * 60 * MILLIS_PER_SECOND
PATIENCE_LATER = 6 * MILLIS_PER_HOUR
# What a try may take at most, while nothing else is asked with a token that failed.
_TRIAL = 60 * MILLIS_PER_SECOND


def backoff(attempt: int, uniform: Uniform, base: int = BACKOFF_BASE, cap: int = BACKOFF_CAP) -> int:
    """Full-jitter exponential backoff: ms to wait before trying again after the `attempt`-th failure (from 1).

    Source: AWS Architecture Blog, "Exponential Backoff and Jitter".
    """
    return int(uniform(0.0, float(min(cap, base * 2 ** min(attempt - 1, 32)))))


def patience(attempt: int, uniform: Uniform, cap: int = PATIENCE_CAP) -> int:
    """Backoff with half of it jitter: ms to wait before trying again after the `attempt`-th failure (from 1)."""
    wait: int = min(cap, PATIENCE_BASE * PATIENCE_FACTOR ** min(attempt - 1, 16))
    return wait // 2 + int(uniform(0.0, wait / 2))


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

    def clock_set_back(self, by: int) -> None:
        """The clock was set back by so many ms."""
        if self.is_open:
            self._open_until = max(1, self._open_until - by)

    def admit(self) -> None:
        """A round of work begins, after `wait_until` said 0."""
        self._probing = self.is_open

    def release(self) -> None:
        """A round of work is over, whatever came of it."""
        self._probing = False

    def success(self) -> None:
        """Note that the platform answered: the circuit closes."""
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


class TokenCircuits:
    """A circuit for each token that fails; holds only those.

    A token whose circuit is open says nothing about its platform: its failures are its own.

    Args:
        uniform: random number between two bounds.
    """

    def __init__(self, uniform: Uniform = random.uniform) -> None:
        self._uniform = uniform
        self._failing: dict[Hashable, _Failing] = {}

    def __len__(self) -> int:
        return len(self._failing)

    def wait_until(self, token: Hashable, now: int) -> int:
        """When a token may be used: 0 for now."""
        failing = self._failing.get(token)
        return 0 if failing is None or failing.until <= now else failing.until

    def is_open(self, token: Hashable) -> bool:
        """Whether a token failed too often to be trusted; it may be due for another try."""
        failing = self._failing.get(token)
        return failing is not None and failing.count >= TOKEN_FAILURES

    def admit(self, token: Hashable, now: int) -> None:
        """A call is made with a token: while it is one that failed, no other call is, until the answer comes."""
        failing = self._failing.get(token)
        if failing is not None and failing.count >= TOKEN_FAILURES:
            failing.until = now + _TRIAL

    def failure(self, token: Hashable, now: int) -> int:
        """No answer came with this token; returns when (ms) to try again."""
        failing = self._failing.setdefault(token, _Failing(now))
        failing.count += 1
        cap = PATIENCE_CAP_LATER if now - failing.since >= PATIENCE_LATER else PATIENCE_CAP
        wait = patience(failing.count, self._uniform, cap)
        if failing.count >= TOKEN_FAILURES:
            failing.until = now + wait
        return now + wait

    def clock_set_back(self, by: int) -> None:
        """The clock was set back by so many ms."""
        for failing in self._failing.values():
            failing.until -= by
            failing.since -= by

    def success(self, token: Hashable) -> None:
        """Note that an answer came with this token: its circuit closes."""
        self._failing.pop(token, None)


class _Failing:
    __slots__ = ("count", "since", "until")

    def __init__(self, now: int) -> None:
        self.count = 0
        self.since = now
        self.until = 0
