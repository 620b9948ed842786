"""Keeps what is known of single answers of platforms, in bounded memory. No I/O.

What was asked and what an answer means never changes once it was received; the newest answers about a target are looked
at again and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Generic, Protocol, TypeVar

from cachetools import TTLCache


class Held(Protocol):
    """A fact."""

    @property
    def held_bytes(self) -> int:
        """The memory that it takes, roughly."""


Fact = TypeVar("Fact", bound=Held)

# An answer that retention has deleted is known for so much longer.
_KEPT_SECONDS = 600
_ENTRY_BYTES = 400


class Facts(Generic[Fact]):
    """Facts by workspace and event id; the one that was looked at longest ago is forgotten first.

    Args:
        max_bytes: the most memory, roughly; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._kept: TTLCache[tuple[str, str], Fact] = TTLCache(max_bytes, _KEPT_SECONDS, getsizeof=_entry_bytes)

    def known(self, workspace_id: str, event_ids: Iterable[str]) -> dict[str, Fact]:
        """What is known of some answers, by event id."""
        found = ((event_id, self._kept.get((workspace_id, event_id))) for event_id in event_ids)
        return {event_id: fact for event_id, fact in found if fact is not None}

    def put(self, workspace_id: str, facts: Mapping[str, Fact]) -> None:
        """Keep facts, unless one would take the room of many."""
        for event_id, fact in facts.items():
            if _entry_bytes(fact) <= self._kept.maxsize // 64:
                self._kept[workspace_id, event_id] = fact


def _entry_bytes(fact: Held) -> int:
    return _ENTRY_BYTES + fact.held_bytes
