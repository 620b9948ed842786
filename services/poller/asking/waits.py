"""Bounds the waits that platforms tell, for all that obey them; pure.

A header may hold any number, whoever wrote it: the platform, a proxy before it, or the server of an account's own. A
wait closes a platform for a token or for all tenants, so none is obeyed for longer than a limit of its kind can last.

Nothing of this is written down: waits live in the memory of the process, so that a restart knows none of them.
"""

from __future__ import annotations

from dataclasses import replace

from services.platforms.abilities import RefreshFailure
from services.platforms.base import LimitState, Verdict
from services.runtime.clock import MILLIS_PER_SECOND

# A limit of which nothing more is known: the longest window that platforms document, but for quotas of a month.
LONGEST_SECONDS = 86_400.0
# A quota of a month lasts 31 days, and a day more in another time zone; nothing that is told is obeyed for longer.
LONGEST_OF_ALL_SECONDS = 32 * 86_400.0


def longest(known_seconds: float | None) -> float:
    """For how many seconds a wait is obeyed at most.

    Args:
        known_seconds: length of the limit's window, where it is known.
    """
    return LONGEST_SECONDS if known_seconds is None else min(known_seconds, LONGEST_OF_ALL_SECONDS)


def obeyed_seconds(told: float | None, known_seconds: float | None = None) -> float | None:
    """A wait as it is obeyed; None where none was told, or what was told is no span of time."""
    return min(told, longest(known_seconds)) if told is not None and told >= 0 else None


def obeyed(verdict: Verdict) -> Verdict:
    """A verdict with the wait that is obeyed."""
    seconds = obeyed_seconds(verdict.retry_after_seconds, verdict.longest_seconds)
    return verdict if seconds == verdict.retry_after_seconds else replace(verdict, retry_after_seconds=seconds)


def obeyed_failure(failure: RefreshFailure) -> RefreshFailure:
    """Why a refresh brought no tokens, with the wait that is obeyed."""
    seconds = obeyed_seconds(failure.retry_after_seconds)
    return failure if seconds == failure.retry_after_seconds else replace(failure, retry_after_seconds=seconds)


def obeyed_state(state: LimitState, now: int) -> LimitState:
    """The state of a limit with the reset that is obeyed; `now` in ms."""
    latest = latest_reset(state, now)
    return state if state.reset_at is None or state.reset_at <= latest else state._replace(reset_at=latest)


def latest_reset(state: LimitState, now: int) -> int:
    """The latest instant (ms) that is obeyed as the reset of a limit whose state was told at `now`."""
    known = state.window_seconds if state.longest_seconds is None else state.longest_seconds
    return now + int(longest(known) * MILLIS_PER_SECOND)
