"""Commits positions again that stand still, since Kafka forgets those of a group without members.

It forgets a position 7 days after its last commit (`offsets.retention.minutes`), however little there is to read. A
process that begins after that would read everything again that its topics hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from services.runtime.brokers import BrokersUnavailable, Place, Reader
from services.runtime.logging import get_logger

_log = get_logger(__name__)
KEEP_SECONDS = 6 * 3600.0
"""How often positions are committed again."""
_AGAIN_SECONDS = 60.0


class CommittedPositions:
    """What a follower committed.

    Args:
        name: the follower's, for the log.
        now: seconds of a clock that only goes forward.
    """

    def __init__(self, name: str, now: Callable[[], float]) -> None:
        self._name = name
        self._now = now
        self._held: dict[Place, int] = {}
        self._due_at = 0.0

    def note(self, positions: Mapping[Place, int]) -> None:
        """Note what was committed just now."""
        if not self._held:
            self._due_at = self._now() + KEEP_SECONDS
        self._held |= positions

    def forget(self, lost: Iterable[Place]) -> None:
        """Forget partitions that no longer have their position."""
        for place in lost:
            self._held.pop(place, None)

    async def keep(self, reader: Reader) -> None:
        """Commit all again, if it is time to; a failure delays nothing, and is made good soon."""
        if not self._held or self._now() < self._due_at:
            return
        kept = dict(self._held)
        try:
            await reader.commit(kept)
        except BrokersUnavailable as error:
            _log.warning("positions can't be committed again; trying again", reader=self._name, error=str(error))
            self._due_at = self._now() + _AGAIN_SECONDS
        else:
            # Where a newer position was committed meanwhile, the older one may have come last.
            if kept == self._held:
                self._due_at = self._now() + KEEP_SECONDS
