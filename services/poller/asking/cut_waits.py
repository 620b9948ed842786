"""Bounds what an answer tells of waits (`waits.py`), and logs a wait that is cut.

A line holds numbers only, and comes once an hour for each platform and kind, however many answers tell such waits.
"""

from __future__ import annotations

from services.platforms.abilities import RefreshFailure
from services.platforms.base import LimitState, Verdict
from services.poller.asking.waits import obeyed, obeyed_failure, obeyed_state
from services.runtime.clock import MILLIS_PER_HOUR, MILLIS_PER_SECOND
from services.runtime.logging import get_logger

# A platform's clock may differ from ours: what is cut by less is no news.
CLOCKS_SECONDS = 60.0
LOG_AGAIN = MILLIS_PER_HOUR
_log = get_logger(__name__)


class CutWaits:
    """Remembers what was logged; instants are ms."""

    def __init__(self) -> None:
        self._logged: dict[tuple[str, str], int] = {}

    def verdict(self, name: str, told: Verdict, now: int) -> Verdict:
        """See `obeyed`."""
        bounded = obeyed(told)
        self._note(name, told.outcome.value, told.retry_after_seconds, bounded.retry_after_seconds, now)
        return bounded

    def failure(self, name: str, told: RefreshFailure, now: int) -> RefreshFailure:
        """See `obeyed_failure`."""
        bounded = obeyed_failure(told)
        self._note(name, "refresh", told.retry_after_seconds, bounded.retry_after_seconds, now)
        return bounded

    def state(self, name: str, told: LimitState, now: int) -> LimitState:
        """See `obeyed_state`."""
        bounded = obeyed_state(told, now)
        if told.reset_at is not None and bounded.reset_at is not None:
            ends, kept = told.reset_at - now, bounded.reset_at - now
            self._note(name, "reset", ends / MILLIS_PER_SECOND, kept / MILLIS_PER_SECOND, now)
        return bounded

    def _note(self, name: str, kind: str, told: float | None, kept: float | None, now: int) -> None:
        if told is None or kept is None or told - kept <= CLOCKS_SECONDS:
            return
        logged_at = self._logged.get((name, kind))
        if logged_at is None or not 0 <= now - logged_at < LOG_AGAIN:
            self._logged[name, kind] = now
            _log.warning(
                "a platform tells a longer wait than its limits have; it is cut", platform=name, kind=kind,
                told_seconds=told, obeyed_seconds=kept,
            )  # fmt: skip
