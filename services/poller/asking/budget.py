"""What may be asked when: documented limits, the windows that headers tell of, and waits that platforms ordered; pure.

Instants are ms since the epoch. A window belongs to one of a platform's limit groups and to an owner: one token, or ""
for our whole app. A call needs room in its own window and in its app's. What answers' headers say is the truth, and
calls in flight are counted against it until their answers say more.

Documented limits are kept by pace: a part of the calls at once, the others evenly over the window. So a day's quota
lasts for the day, and no stretch of time as long as the window holds more calls than allowed, however it lies.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from services.platforms.base import Limit, LimitState
from services.poller.asking.circuit import (
    BACKOFF_CAP,
    CIRCUIT_CAP,
    CIRCUIT_FAILURES,
    Circuit,
    TokenCircuits,
    Uniform,
    backoff,
    patience,
)
from services.poller.asking.waits import LONGEST_OF_ALL_SECONDS, latest_reset, obeyed_state
from services.runtime.clock import MILLIS_PER_HOUR, MILLIS_PER_SECOND

__all__ = [
    "APP", "BACKOFF_CAP", "CIRCUIT_CAP", "CIRCUIT_FAILURES", "EMPTY_WAIT", "QUOTA_WAIT", "Budget", "Circuit",
    "TokenCircuits", "Uniform", "WindowKey", "backoff",
]  # fmt: skip

APP = ""
"""The owner of a window that all calls of our app share."""

# A platform that says "used up" without saying until when: Meta counts over a sliding hour, X caps by the month.
QUOTA_WAIT = MILLIS_PER_HOUR
# A budget that is empty by its headers, which don't say when it turns.
EMPTY_WAIT = 60 * MILLIS_PER_SECOND
# The part of a limit that may be used at once; the others come evenly.
BURST_SHARE = 0.05
# The part of what may be begun at once, and of a window that headers tell of, that backfills leave to scheduled polls.
KEPT_SHARE = 0.5
# The part of a longer window's limit, such as a day's, that may be used early; the rest is spread over the window.
EARLY_SHARE = 0.1
# From this length on a window that headers tell of is spread so.
_SPREAD_SECONDS = 6 * 3600
_LONGEST_PACE_SECONDS = 3600
_FORGET_ABOVE = 10_000
# A shorter wait that a platform tells is none: its clock is behind ours, or it tells when the last window ended.
_SHORTEST_TOLD = MILLIS_PER_SECOND


class WindowKey(NamedTuple):
    """Whose limit: a platform, the channel whose token is used (APP without one), the platform's limit group."""

    platform: str
    owner: str
    limit_group: str

    @property
    def app(self) -> WindowKey:
        """The window of our whole app that the same calls count against."""
        return WindowKey(self.platform, APP, self.limit_group)


class Pace:
    """A limit of some calls in a window, kept by the generic cell rate algorithm.

    In any window of its length at most `calls` begin: a burst of B, and then one each window / (calls - B).

    Source: ITU-T I.371, annex A (GCRA), as virtual scheduling.

    Args:
        share: the part (above 0, up to 1) of the limit that this process may use.
    """

    __slots__ = ("_interval", "_next", "_tolerance")

    def __init__(self, limit: Limit, share: float = 1.0) -> None:
        self._next = 0.0
        self._set(limit, share)

    def _set(self, limit: Limit, share: float) -> None:
        calls = limit.calls * share
        burst = max(1.0, float(int(calls * BURST_SHARE)))
        # Below one call a window the pace is the limit; with few calls the first of them counts as the burst.
        steady = calls - burst if calls - burst >= 1.0 else calls / 2
        self._interval = limit.window_seconds * MILLIS_PER_SECOND / steady
        self._tolerance = (burst - 1.0) * self._interval

    def change(self, limit: Limit, share: float) -> None:
        """Another limit or share from now on; what was used stays used."""
        self._set(limit, share)

    def wait_until(self, now: int) -> int:
        """When a call may begin: 0 for now."""
        allowed_at = self._next - self._tolerance
        return 0 if allowed_at <= now else int(allowed_at) + 1

    def has_to_spare(self, now: int) -> bool:
        """Whether a call may begin that leaves `KEPT_SHARE` of the burst."""
        return self._next - self._tolerance * (1 - KEPT_SHARE) <= now

    def left(self, now: int) -> int:
        """How many calls may begin at once."""
        free = now - (max(self._next, float(now)) - self._tolerance)
        return 0 if free < 0 else int(free / self._interval) + 1

    def take(self, now: int) -> None:
        """Count a call that begins now."""
        self._next = max(self._next, float(now)) + self._interval

    def clock_set_back(self, by: int) -> None:
        """The clock was set back by so many ms."""
        self._next -= by

    def is_idle(self, now: int) -> bool:
        """Whether it is as if nothing had been taken."""
        return self._next <= now


class _Longer:
    """A limit of a longer window, as headers told of it: what is left is spread over the time until it turns."""

    __slots__ = ("latest_at", "limit", "remaining", "reset_at", "window")

    def __init__(self, state: LimitState, window_seconds: int, now: int) -> None:
        self.window = window_seconds * MILLIS_PER_SECOND
        self.limit = state.limit
        self.remaining = state.remaining or 0
        self.reset_at = state.reset_at if state.reset_at is not None else now + EMPTY_WAIT
        self.latest_at = latest_reset(state, now)

    def clock_set_back(self, by: int) -> None:
        """The clock was set back by so many ms: the reset is no further away than it could be when it was told."""
        self.latest_at -= by
        self.reset_at = min(self.reset_at, self.latest_at)

    def wait_until(self, in_flight: int, now: int) -> int:
        """When a call may begin: 0 for now."""
        if self.reset_at <= now:
            return 0
        left = self.remaining - in_flight
        if left <= 0:
            return self.reset_at
        if self.limit is None or self.limit <= 0:
            return 0
        # Less is left than would be by now of the part that comes evenly: wait until that is as much.
        at = self.reset_at - int(left / (self.limit * (1 - EARLY_SHARE)) * self.window)
        return at if at > now else 0


class _Window:
    __slots__ = (
        "failed_at", "failures", "held_until", "in_flight", "latest_at", "limit", "longer", "pace", "remaining",
        "reset_at", "trying",
    )  # fmt: skip

    def __init__(self, pace: Pace | None) -> None:
        self.limit: int | None = None
        self.remaining: int | None = None
        self.reset_at: int | None = None
        # No reset that was told can be later.
        self.latest_at = 0
        self.held_until = 0
        self.in_flight = 0
        self.failures = 0
        self.failed_at = 0
        # Calls under way that began after the limit was met, and before anything was answered since.
        self.trying = 0
        self.pace = pace
        self.longer: dict[int, _Longer] = {}

    def clock_set_back(self, by: int) -> None:
        self.held_until = max(0, self.held_until - by)
        self.failed_at -= by
        self.latest_at -= by
        if self.reset_at is not None:
            self.reset_at = min(self.reset_at, self.latest_at)
        if self.pace is not None:
            self.pace.clock_set_back(by)
        for one in self.longer.values():
            one.clock_set_back(by)

    def wait_until(self, now: int) -> int:
        if self.held_until > now:
            return self.held_until
        if self.failures and self.trying:
            # One call shows whether the platform takes others again.
            return now + MILLIS_PER_SECOND
        own = self._own_wait_until(now)
        return (
            max([own, *(one.wait_until(self.in_flight, now) for one in self.longer.values())]) if self.longer else own
        )

    def _own_wait_until(self, now: int) -> int:
        if self.reset_at is not None and self.reset_at <= now:
            self.remaining = self.reset_at = None
        if self.remaining is not None and self.remaining - self.in_flight <= 0:
            # With calls in flight their answers may still say more, so look again soon.
            return self.reset_at or now + (MILLIS_PER_SECOND if self.in_flight else EMPTY_WAIT)
        return 0 if self.pace is None else self.pace.wait_until(now)

    def fail(self, now: int) -> int:
        """The limit was met; returns how often in a row. What calls met that were under way together counts once."""
        if not self.failures or now >= max(self.held_until, self.failed_at + MILLIS_PER_SECOND):
            self.failures += 1
            self.failed_at = now
        return self.failures

    def has_to_spare(self, now: int) -> bool:
        if self.wait_until(now) > now:
            return False
        kept = None if self.limit is None else self.limit * KEPT_SHARE
        if self.remaining is not None and kept is not None and self.remaining - self.in_flight <= kept:
            return False
        return self.pace is None or self.pace.has_to_spare(now)

    def left(self, now: int) -> int | None:
        """Calls that may begin at once, None where nothing is known of it."""
        if self.held_until > now:
            return 0
        known = [self.pace.left(now)] if self.pace is not None else []
        if self.remaining is not None and (self.reset_at is None or self.reset_at > now):
            known.append(max(0, self.remaining - self.in_flight))
        known += [
            0 if one.wait_until(self.in_flight, now) > now else max(0, one.remaining - self.in_flight)
            for one in self.longer.values()
            if one.reset_at > now
        ]
        return min(known) if known else None

    def idle(self, now: int) -> bool:
        return (
            not self.in_flight
            and self.held_until <= now
            and (self.reset_at or 0) <= now
            and all(one.reset_at <= now for one in self.longer.values())
            and (self.pace is None or self.pace.is_idle(now))
        )


class BudgetState(NamedTuple):
    """What is left of the budgets.

    Attributes:
        left: calls that our app may begin at once, by platform and limit group, where that is known.
        closed: for how long (ms) our app may make none of a group.
        waiting: how many tokens have to wait, by platform.
    """

    left: dict[tuple[str, str], int]
    closed: dict[tuple[str, str], int]
    waiting: dict[str, int]


class Budget:
    """Windows of all platforms.

    Args:
        limits: documented or configured limits by platform.
    """

    def __init__(self, uniform: Uniform = random.uniform, limits: Mapping[str, Iterable[Limit]] | None = None) -> None:
        self._windows: dict[WindowKey, _Window] = {}
        self._uniform = uniform
        self._forget_above = _FORGET_ABOVE
        self._share = 1.0
        # By platform, group and whether of the whole app.
        self._limits = {
            (platform, limit.group, limit.is_app_wide): limit
            for platform, listed in (limits or {}).items()
            for limit in listed
        }

    def set_share(self, share: float) -> None:
        """The part (0..1) of the app's limits that this process may use, beside others that poll for the same app."""
        # A process that owns nothing still answers probes of what it is about to own.
        share = max(share, 0.001)
        if share == self._share:
            return
        self._share = share
        for key, window in self._windows.items():
            limit = self._limits.get((key.platform, key.limit_group, True))
            if key.owner == APP and limit is not None and window.pace is not None:
                window.pace.change(limit, self._share)

    def clock_set_back(self, by: int) -> None:
        """The clock was set back by so many ms.

        A window's end that a platform told is of its own clock and stays, but for what no window is as long as.
        """
        for window in self._windows.values():
            window.clock_set_back(by)

    def is_app_wide(self, platform: str, group: str) -> bool:
        """Whether a limit of the whole app is known for a group."""
        return (platform, group, True) in self._limits

    def wait_until(self, key: WindowKey, now: int) -> int:
        """When a call may be made: 0 for now."""
        window = self._windows.get(key)
        own = 0 if window is None else window.wait_until(now)
        return own if key.owner == APP else max(own, self.app_wait_until(key, now))

    def app_wait_until(self, key: WindowKey, now: int) -> int:
        """When the whole app may make a call of this group: 0 for now."""
        window = self._windows.get(key if key.owner == APP else key.app)
        return 0 if window is None else window.wait_until(now)

    def has_to_spare(self, key: WindowKey, now: int) -> bool:
        """Whether a call may be made that leaves enough to others that are more urgent."""
        windows = [self._windows.get(known) for known in {key, key.app}]
        return all(window is None or window.has_to_spare(now) for window in windows)

    def state(self, now: int) -> BudgetState:
        """What is left, for operators."""
        left: dict[tuple[str, str], int] = {}
        closed: dict[tuple[str, str], int] = {}
        waiting: dict[str, int] = {}
        for key, window in self._windows.items():
            if key.owner != APP:
                waiting[key.platform] = waiting.get(key.platform, 0) + (window.wait_until(now) > now)
                continue
            calls = window.left(now)
            if calls is not None:
                left[key.platform, key.limit_group] = calls
            closed[key.platform, key.limit_group] = max(0, window.wait_until(now) - now)
        for platform, group, is_app_wide in self._limits:
            if is_app_wide and (platform, group) not in left:
                pace = self._pace(WindowKey(platform, APP, group))
                if pace is not None:
                    left[platform, group] = pace.left(now)
        return BudgetState(left, closed, waiting)

    def begin(self, key: WindowKey, now: int) -> None:
        """A call is being made; `end` must follow."""
        window = self._window(key, now)
        window.in_flight += 1
        for one in self._held_of(key):
            one.trying += bool(one.failures)
        if window.pace is not None:
            window.pace.take(now)
        if key.owner != APP and self.is_app_wide(key.platform, key.limit_group):
            pace = self._window(key.app, now).pace
            if pace is not None:
                pace.take(now)

    def end(self, key: WindowKey) -> None:
        """A call that `reserve` allowed is over, with or without an answer: its place is free for another."""
        self._windows[key].in_flight -= 1
        for one in self._held_of(key):
            one.trying -= bool(one.trying)

    def observe(self, key: WindowKey, state: LimitState | None, now: int) -> None:
        """What the headers of an answer say; None leaves everything as it was.

        Its own call is counted in `remaining`, so call this after `end`. The platform may have counted some of the
        calls in flight too; counting them twice errs on the safe side.
        """
        if state is None or state.remaining is None:
            return
        window = self._window(key.app if state.is_app_wide else key, now)
        remaining, reset_at = state.remaining, obeyed_state(state, now).reset_at
        if state.window_seconds is not None and state.window_seconds >= _SPREAD_SECONDS:
            window.longer[state.window_seconds] = _Longer(state._replace(reset_at=reset_at), state.window_seconds, now)
            return
        window.remaining = remaining
        window.limit = state.limit
        window.reset_at = reset_at
        window.latest_at = latest_reset(state, now)
        if reset_at is None and remaining <= 0:
            window.held_until = max(window.held_until, now + EMPTY_WAIT)
            window.remaining = None

    def hold(self, key: WindowKey, seconds: float | None, now: int, *, exhausted: bool, app_wide: bool = False) -> int:
        """The platform refused for the limit's sake; returns when it may be asked again, to the second it said.

        Where it refuses again at the time that it said, or says no time that is to come, waits widen all the same.

        Args:
            seconds: what it said, as far as its verdict is obeyed (`waits.py`); None when nothing.
            exhausted: a quota of a day or month, not the pace.
            app_wide: the answer says that the limit is our whole app's; so no call of the group is made until then.
        """
        limit = self._limits.get((key.platform, key.limit_group, True))
        if limit is not None:
            # A pace is the app's where its limit is; where the app's limit is a day's quota, the pace is a token's.
            app_wide = app_wide or exhausted or limit.window_seconds <= _LONGEST_PACE_SECONDS
        window = self._window(key.app if app_wide else key, now)
        failures = window.fail(now)
        if seconds is not None:
            told = int(min(seconds, LONGEST_OF_ALL_SECONDS) * MILLIS_PER_SECOND) + 1
        elif exhausted:
            told = QUOTA_WAIT
        elif window.reset_at is not None and window.reset_at > now:
            told = window.reset_at - now
        else:
            told = 0
        # A time that was told is believed once.
        unproven = failures if told < _SHORTEST_TOLD else failures - 1
        wait = max(told, patience(unproven, self._uniform)) if unproven else told
        window.held_until = max(window.held_until, now + wait)
        return window.held_until

    def served(self, key: WindowKey) -> None:
        """An answer came that was not about limits."""
        for window in self._held_of(key):
            window.failures = window.trying = 0

    def _held_of(self, key: WindowKey) -> list[_Window]:
        """What is known of a window, and of the same one of our whole app."""
        return [window for known in {key, key.app} if (window := self._windows.get(known)) is not None]

    def _window(self, key: WindowKey, now: int) -> _Window:
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= self._forget_above:
                self._forget(now)
            window = self._windows[key] = _Window(self._pace(key))
        return window

    def _pace(self, key: WindowKey) -> Pace | None:
        is_app = key.owner == APP
        limit = self._limits.get((key.platform, key.limit_group, is_app))
        return None if limit is None else Pace(limit, self._share if is_app else 1.0)

    def _forget(self, now: int) -> None:
        self._windows = {key: window for key, window in self._windows.items() if not window.idle(now)}
        self._forget_above = max(_FORGET_ABOVE, 2 * len(self._windows))
