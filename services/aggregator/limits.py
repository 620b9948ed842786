"""The dead-letter limit: when most events turn bad, the worker pauses instead of draining the topic. Pure.

What is bad everywhere is our fault, or the deploy's: a schema that nobody reads any more, a platform whose answers
changed. Going on would put every event into the dead letters and every number would stand still without a word. What
is bad in one workspace is that producer's fault, and must not stop the others: a workspace counts for a fixed share of
all events at most, so that only several together reach the limit. Everything of workspaces that the catalog doesn't
hold counts as one: anybody can invent as many as wanted.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

_SLICES = 30
_REASONS_NAMED = 3
STRANGERS = ""
"""Stands for all workspaces that the catalog doesn't hold."""


@dataclass(frozen=True, slots=True)
class Breach:
    """The limit was passed.

    Attributes:
        events: in the window.
        dead: of them, those that could not be used.
        counted: of those, with no workspace above its share.
        workspaces: that had any.
        reasons: the most frequent reasons.
    """

    events: int
    dead: int
    counted: int
    workspaces: int
    reasons: tuple[str, ...]


@dataclass(slots=True)
class _Slice:
    began: int
    events: int = 0
    dead: Counter[tuple[str, str]] = field(default_factory=Counter)


class DeadLetterLimit:
    """Counts events and dead letters of one worker over a sliding window.

    Args:
        ratio: of all events; 1 or more is no limit, since it would take every event of every workspace.
        window_millis: looked back.
        minimum_events: fewer in the window say nothing.
        workspace_share: of all events, as much as one workspace's dead letters count at most; 1 counts all of them.
    """

    def __init__(self, ratio: float, window_millis: int, minimum_events: int, workspace_share: float) -> None:
        self._ratio = ratio
        self.window_millis = window_millis
        self._minimum = minimum_events
        self._share = workspace_share
        self._slices: deque[_Slice] = deque()
        self._events = 0
        self._dead: Counter[tuple[str, str]] = Counter()

    def note(self, now: int, events: int, dead: Iterable[tuple[str, str]]) -> Breach | None:
        """Count what was read.

        Args:
            now: ms; never goes back.
            events: all of them, the dead ones included.
            dead: (workspace, reason) of each dead one; `STRANGERS` for those of no workspace of the catalog's.

        Returns:
            None while all is well.
        """
        current = self._slice(now)
        current.events += events
        self._events += events
        letters = Counter(dead)
        current.dead.update(letters)
        self._dead.update(letters)
        return self._breach(self._events, self._dead) if letters and self._events >= self._minimum else None

    def judge(self, events: int, dead: Iterable[tuple[str, str]]) -> Breach | None:
        """What `note` would say of these events alone, however few; nothing is counted."""
        return self._breach(events, Counter(dead))

    def forget(self) -> None:
        """Begin with an empty window."""
        self._slices.clear()
        self._events = 0
        self._dead.clear()

    def _slice(self, now: int) -> _Slice:
        while self._slices and self._slices[0].began <= now - self.window_millis:
            gone = self._slices.popleft()
            self._events -= gone.events
            self._dead -= gone.dead  # drops what comes to zero
        if not self._slices or now - self._slices[-1].began >= self.window_millis // _SLICES:
            self._slices.append(_Slice(now))
        return self._slices[-1]

    def _breach(self, events: int, letters: Counter[tuple[str, str]]) -> Breach | None:
        if self._ratio >= 1:
            return None
        dead = letters.total()
        if dead <= self._ratio * events:
            return None
        by_workspace: Counter[str] = Counter()
        by_reason: Counter[str] = Counter()
        for (workspace_id, reason), count in letters.items():
            by_workspace[workspace_id] += count
            by_reason[reason] += count
        most = self._share * events
        counted = sum(min(count, most) for count in by_workspace.values())
        if counted <= self._ratio * events:
            return None
        reasons = tuple(reason for reason, _ in by_reason.most_common(_REASONS_NAMED))
        return Breach(events, dead, int(counted), len(by_workspace), reasons)
