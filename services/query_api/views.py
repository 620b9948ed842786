"""Holds compacted topics in memory: the newest value of each key, whoever wrote the value. No I/O.

`feed` brings records from Kafka, and `admin` brings its own writes as soon as they are confirmed, so that a write here
counts here at once. Both give the record's place, and an older record never replaces a newer one.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from services.runtime.kafka import split_key
from services.runtime.revisions import Headers

Event = TypeVar("Event")


class Place(NamedTuple):
    """A record's partition and offset in its topic."""

    partition: int
    offset: int


class TopicView(Generic[Event]):
    """Base of the views; a subclass applies events.

    Guarantee: records may come twice, and from the feed and from `admin` in any order; each key ends at its newest
    record.
    """

    topic: str

    def __init__(self) -> None:
        self._read_to: dict[int, int] = {}
        self._ahead: dict[bytes, int] = {}

    def observe(self, message_key: bytes, event: Event | None, place: Place, headers: Headers = ()) -> None:
        """Apply a record that was read from the topic; an event of None is a tombstone."""
        self._read_to[place.partition] = place.offset + 1
        ahead = self._ahead.get(message_key)
        if ahead is not None:
            if place.offset < ahead:
                return
            del self._ahead[message_key]
        self.apply(split_key(message_key), event)

    def wrote(self, message_key: bytes, event: Event | None, place: Place) -> None:
        """Apply a record that this process wrote and Kafka confirmed; an event of None is a tombstone."""
        if place.offset < self._read_to.get(place.partition, 0):
            return
        if place.offset < self._ahead.get(message_key, -1):
            return
        self._ahead[message_key] = place.offset
        self.apply(split_key(message_key), event)

    def apply(self, key: tuple[str, str], event: Event | None) -> None:
        """Make `event` the newest value of the key (workspace id, id); None deletes the key."""
        raise NotImplementedError
