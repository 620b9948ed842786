"""The dead-letter limit: when most events turn bad, the worker pauses instead of draining the topic. Pure.

Events that are bad in every workspace are Tidemark's fault: a schema can't be read any more, or a platform's answers
changed. Going on would put every event into the dead letters, and every number would stand still unnoticed.

Events that are bad in one workspace are its producer's fault, and must not stop other workspaces. One workspace's dead
letters count up to a fixed share of all events, so that only several workspaces together reach the limit. All
workspaces that the catalog does not hold count as one workspace, since anybody can invent such names.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

_SLICES = 30
_REASONS_NAMED = 3
STRANGERS = ""
"""The name under which all workspaces count that the catalog doesn't hold."""


@dataclass(frozen=True, slots=True)
class Breach:
    """Counts of a window in which the dead letters passed the limit.

    Attributes:
        events: number of events in the window.
        dead: number of dead letters among these events.
        counted: number of dead letters that count, without those above their workspace's share.
        workspaces: number of workspaces with a dead letter.
        reasons: the three most frequent reasons, the most frequent first.
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
        ratio: the limit on counting dead letters as a share of all events, 0..1; 1 or more switches the limit off.
        window_millis: length of the window.
        minimum_events: with fewer events in the window there is no limit.
        workspace_share: one workspace's dead letters count up to this share of all events, 0..1; 1 counts all of them.
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
        """Count events that were read.

        Args:
            now: ms; never earlier than in the call before.
            events: number of events, dead letters included.
            dead: (workspace, reason) of each dead letter; `STRANGERS` for workspaces that the catalog does not hold.

        Returns:
            The breach; None while the dead letters stay below the limit.
        """
        current = self._slice(now)
        current.events += events
        self._events += events
        letters = Counter(dead)
        current.dead.update(letters)
        self._dead.update(letters)
        return self._breach(self._events, self._dead) if letters and self._events >= self._minimum else None

    def judge(self, events: int, dead: Iterable[tuple[str, str]]) -> Breach | None:
        """The breach by these events alone, however few; None without one. The window's counts do not change."""
        return self._breach(events, Counter(dead))

    def forget(self) -> None:
        """Forget all events counted so far, so that the window begins anew."""
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
