"""Compacted topics held in memory: the newest value of each key, whoever wrote it. No I/O.

A view is fed by `feed` from Kafka, and by `admin` right after a write of its own was confirmed, so that what was
written here holds here at once. Both bring the place of the record, and an older one never replaces a newer.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from services.runtime.kafka import split_key

Event = TypeVar("Event")


class Place(NamedTuple):
    """Where a record is in its topic."""

    partition: int
    offset: int


class TopicView(Generic[Event]):
    """Base of the views; a subclass says what an event changes.

    Guarantee: records may come twice and from both sides in any order; each key ends at its newest.
    """

    topic: str

    def __init__(self) -> None:
        self._read_to: dict[int, int] = {}
        self._ahead: dict[bytes, int] = {}

    def observe(self, message_key: bytes, event: Event | None, place: Place) -> None:
        """Take a record read from the topic; None is a tombstone."""
        self._read_to[place.partition] = place.offset + 1
        ahead = self._ahead.get(message_key)
        if ahead is not None:
            if place.offset < ahead:
                return
            del self._ahead[message_key]
        self.apply(split_key(message_key), event)

    def wrote(self, message_key: bytes, event: Event | None, place: Place) -> None:
        """Take a record that was just written and confirmed."""
        if place.offset < self._read_to.get(place.partition, 0):
            return
        if place.offset < self._ahead.get(message_key, -1):
            return
        self._ahead[message_key] = place.offset
        self.apply(split_key(message_key), event)

    def apply(self, key: tuple[str, str], event: Event | None) -> None:
        """Make `event` the newest of its key (workspace id, id)."""
        raise NotImplementedError
