"""Places for tries: which webhook's next try may begin, so that no receiver keeps others' deliveries waiting. Pure.

Receivers that answer quickly, those that take their time and those that fail have places of their own. Which of these a
receiver is shows only while it is tried: a try that lasts gives its quick place back after a second, to whoever waits.
Within a lane workspaces have turns, however many webhooks each has.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from services.notifier.endpoint import Endpoint, Key


class Lane(Enum):
    """Where a webhook's tries are made, by its last try."""

    QUICK = auto()
    SLOW = auto()
    FAILING = auto()


PLACES: Final = {Lane.QUICK: 1_000, Lane.SLOW: 300, Lane.FAILING: 200}
"""Tries at once of each lane, over all webhooks. Tries that turned out to be slow may exceed those of the slow lane."""
SLOW_MILLIS: Final = 1_000
"""A try that lasts this long is slow."""
MOST_AT_ONCE: Final = 3_000
"""Tries at once of all lanes: with so many, slow tries keep their quick places. Each holds a connection."""


class _Line:
    """Webhooks that wait for a place; workspaces have it in turns."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, deque[Endpoint]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._of)

    def add(self, endpoint: Endpoint) -> None:
        self._of.setdefault(endpoint.key[0], deque()).append(endpoint)

    def take(self) -> Endpoint:
        """The first webhook of the workspace whose turn it is."""
        workspace_id, line = next(iter(self._of.items()))
        endpoint = line.popleft()
        if line:
            self._of.move_to_end(workspace_id)
        else:
            del self._of[workspace_id]
        return endpoint


@dataclass(slots=True)
class _Try:
    endpoint: Endpoint
    lane: Lane
    began_at: int


class Lanes:
    """The tries under way, and the webhooks that wait for one."""

    def __init__(self) -> None:
        self._lines = {lane: _Line() for lane in Lane}
        self._counts = dict.fromkeys(Lane, 0)
        self._tries: dict[tuple[Key, str], _Try] = {}
        # Those with quick places, the oldest first.
        self._quick: OrderedDict[tuple[Key, str], _Try] = OrderedDict()

    def line_up(self, endpoint: Endpoint) -> None:
        """Let a webhook wait for a place, if something of it is ready and it may have another try."""
        if endpoint.ready and endpoint.has_room and not endpoint.is_queued:
            endpoint.is_queued = True
            self._lines[_lane_of(endpoint)].add(endpoint)

    def begin(self, now: int) -> Iterator[Endpoint]:
        """Each webhook that has a place now; the caller calls `began` for it, or has nothing ready to try."""
        self._let_go(now)
        while (free := self._free()) is not None:
            endpoint = self._lines[free].take()
            endpoint.is_queued = False
            # Else it failed, recovered or became slow while it stood in line.
            if _lane_of(endpoint) is free:
                yield endpoint
            self.line_up(endpoint)

    def _free(self) -> Lane | None:
        """A lane in which somebody waits and a place is free."""
        return next((lane for lane, line in self._lines.items() if line and self._counts[lane] < PLACES[lane]), None)

    def began(self, endpoint: Endpoint, delivery_id: str, now: int) -> None:
        """Count a try that begins."""
        tried = _Try(endpoint, _lane_of(endpoint), now)
        name = endpoint.key, delivery_id
        self._tries[name] = tried
        self._counts[tried.lane] += 1
        if tried.lane is Lane.QUICK:
            self._quick[name] = tried

    def ended(self, key: Key, delivery_id: str, now: int) -> bool:
        """Give a try's place back; returns whether the try was slow."""
        tried = self._tries.pop((key, delivery_id))
        self._quick.pop((key, delivery_id), None)
        self._counts[tried.lane] -= 1
        return now - tried.began_at >= SLOW_MILLIS

    def frees_at(self) -> int | None:
        """When a try that lasts gives its place to somebody who waits, ms; None when nobody waits for that."""
        if not self._lines[Lane.QUICK] or not self._quick or self._is_full:
            return None
        return next(iter(self._quick.values())).began_at + SLOW_MILLIS

    @property
    def _is_full(self) -> bool:
        return len(self._tries) >= MOST_AT_ONCE

    def _let_go(self, now: int) -> None:
        """Let tries that last go on without their quick places."""
        while self._quick and not self._is_full:
            name, tried = next(iter(self._quick.items()))
            if now - tried.began_at < SLOW_MILLIS:
                return
            del self._quick[name]
            self._counts[Lane.QUICK] -= 1
            tried.lane = Lane.SLOW
            self._counts[Lane.SLOW] += 1
            tried.endpoint.is_slow = True


def _lane_of(endpoint: Endpoint) -> Lane:
    if endpoint.is_failing:
        return Lane.FAILING
    return Lane.SLOW if endpoint.is_slow else Lane.QUICK
