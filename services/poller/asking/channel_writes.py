"""Writes channels that this process changes (their status, the end of their token); a customer's write always wins.

The poller and the admin API write to one topic, and the poller reads it a moment later. So a PUT or a DELETE may stand
on the topic before an event of the poller that was made without knowledge of it. The poller therefore looks for each of
its events on the topic. Where a customer's write stands before such an event, and was not known, it is written again
after it, so that the topic ends with what the customer wrote.

Guarantee: at-least-once; writing the same state twice changes nothing. A process that is killed between its own write
and the one after it leaves its own; both take some milliseconds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from schemas.events import CatalogChannel
from schemas.topic_names import CHANNELS
from services.poller.catalog import Catalog
from services.poller.keys import ChannelKey
from services.poller.partitions.ownership import Ownership
from services.poller.timing import Time


class Publisher(Protocol):
    """Where channels go; see `services.poller.publisher.KafkaPublisher`."""

    async def write(self, topic: str, event: CatalogChannel) -> None:
        """Make a catalog event durable; returns when it is."""

    async def erase(self, topic: str, key: ChannelKey) -> None:
        """Make a tombstone durable; returns when it is."""


class _Own:
    """An event of this process on its way through the topic.

    Attributes:
        is_stale: the topic brought a customer's write that this event was made without knowledge of.
        is_read: the topic brought it back.
    """

    __slots__ = ("event", "is_read", "is_stale")

    def __init__(self, event: CatalogChannel | None) -> None:
        self.event = event
        self.is_stale = False
        self.is_read = False


class ChannelWrites:
    """Writes channels, and lets the customer's writes win.

    Args:
        ownership: whose channels are this process's; of another's nothing is written again.
    """

    def __init__(self, publisher: Publisher, catalog: Catalog, time: Time, ownership: Ownership) -> None:
        self._publisher = publisher
        self._catalog = catalog
        self._time = time
        self._ownership = ownership
        # Own events that the topic has not brought back yet, in the order of the topic.
        self._unread: dict[ChannelKey, deque[_Own]] = {}
        # The customer's newest write among them; None for a deletion.
        self._overtaken: dict[ChannelKey, CatalogChannel | None] = {}
        self._writing: set[asyncio.Task[None]] = set()
        catalog.is_news = self.read

    async def put(self, key: ChannelKey, event: CatalogChannel) -> bool:
        """Make an event durable, then let this process know it.

        Returns:
            Whether the channel is now as the event says; False where the customer wrote it meanwhile.
        """
        own = self._begin(key, event)
        await self._publisher.write(CHANNELS, event)
        if not self._ownership.is_active(key[0]):
            # Forgotten here, not deleted: the channel is another process's by now.
            self._forget(key)
            return False
        if own.is_stale:
            await self._write_again(key)
        elif not own.is_read:
            self._catalog.put_channel(key, event, self._time.now())
        return self._catalog.channels.get(key) == event

    def read(self, key: ChannelKey, event: CatalogChannel | None) -> bool:
        """The topic brings an event of a channel (None: its deletion): whether it is to be taken in."""
        unread = self._unread.get(key)
        if not unread:
            return True
        if not _holds(unread, event):
            for own in unread:
                own.is_stale = True
            self._overtaken[key] = event
            return True
        while (own := unread.popleft()).event != event:
            pass  # sent again after an outage, and so behind what was sent later
        own.is_read = True
        if own.is_stale and self._ownership.is_active(key[0]):
            again = asyncio.create_task(self._write_again(key))
            self._writing.add(again)
            again.add_done_callback(self._writing.discard)
            return False
        if not unread:
            self._forget(key)
        return not unread  # else something newer of this process follows

    def under_way(self) -> list[asyncio.Task[None]]:
        """Writes that were begun here and are to be waited for."""
        return list(self._writing)

    def _begin(self, key: ChannelKey, event: CatalogChannel | None) -> _Own:
        own = _Own(event)
        self._unread.setdefault(key, deque()).append(own)
        return own

    def _forget(self, key: ChannelKey) -> None:
        self._unread.pop(key, None)
        self._overtaken.pop(key, None)

    async def _write_again(self, key: ChannelKey) -> None:
        """Let the topic end with the customer's newest write, unless something made with knowledge of it follows."""
        if key not in self._overtaken or any(not own.is_stale for own in self._unread.get(key, ())):
            return
        event = self._overtaken[key]
        self._begin(key, event)
        if event is None:
            await self._publisher.erase(CHANNELS, key)
        else:
            await self._publisher.write(CHANNELS, event)


def _holds(unread: deque[_Own], event: CatalogChannel | None) -> bool:
    """Whether an event is one of these; a deletion, which looks like any other, only when it is the next.

    So a customer's second deletion, within the milliseconds in which one of this process is on its way, is not seen.
    """
    if event is None:
        return unread[0].event is None
    return any(own.event == event for own in unread)
