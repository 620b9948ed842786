"""Makes changes of webhooks durable, so that no process undoes what another has written.

In: functions from a webhook to what it becomes. Out: records of `catalog.webhooks`. Any process may change any webhook.
Each change is made of what the topics hold at that moment, and its record is read back: one that does not count
(`runtime.revisions`), since another process was faster, is made again.

Guarantee: a change that was confirmed stays, unless a process is killed in the milliseconds between its own record and
the look at what came before that; then compaction may in the end leave the record that does not count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar
from zlib import crc32

from schemas.notices import Webhook
from schemas.topic_names import WEBHOOK_STATES, WEBHOOKS
from services.query_api.errors import ApiError, Invalid, NotFound, WritesUnavailable
from services.query_api.publisher import Publisher, Write
from services.query_api.views import Place
from services.query_api.webhook_views import WebhookBook
from services.runtime import revisions

MOST_WEBHOOKS: Final = 100
"""Webhooks of one workspace."""
_LOCKS: Final = 64
# A change takes milliseconds; a caller that has waited this long gets an error and may repeat it.
_SECONDS: Final = 8.0
# What is written is checked for so long, also where its caller does not wait any more.
_CHECKING_SECONDS: Final = 60.0

Change = Callable[[Webhook | None], Webhook | None]
"""From a webhook to what it becomes; None is one that is not there. May be called again with a newer one."""
_Result = TypeVar("_Result")


class Reads(Protocol):
    """How far this process has read the topics."""

    async def read_present(self, workspace_id: str, topics: Sequence[str]) -> dict[str, int]:
        """Wait until all of a workspace is read that was written before this call; returns up to which offsets."""

    async def reached(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Wait until each of these partitions is read up to its offset."""


class _NoReads:
    async def read_present(self, workspace_id: str, topics: Sequence[str]) -> dict[str, int]:
        raise WritesUnavailable

    async def reached(self, topic: str, offsets: Mapping[int, int]) -> None:
        raise WritesUnavailable


class WebhookChanges:
    """Makes changes.

    Attributes:
        reads: how far the book is read; set once it is.
    """

    def __init__(self, publisher: Publisher, book: WebhookBook) -> None:
        self._publisher = publisher
        self._book = book
        self._locks = [asyncio.Lock() for _ in range(_LOCKS)]
        self._changing: set[asyncio.Task[Any]] = set()
        self.reads: Reads = _NoReads()

    async def make(
        self,
        workspace_id: str,
        webhook_id: str,
        change: Change,
        lock_name: str = "",
        *,
        is_counted: bool = False,
    ) -> Webhook | None:
        """Make a change durable; returns the webhook after it.

        Args:
            lock_name: names changes that are made one after the other; by default those of one webhook are.
            is_counted: whether the workspace may turn out to have too many webhooks with this one.

        Raises:
            ApiError: as `change` raises it; the webhook is then as others left it.
            WritesUnavailable: Kafka did not confirm in time. What is written already is checked all the same.
        """
        begun = asyncio.Event()
        carrying = self._carry_out(
            workspace_id,
            webhook_id,
            change,
            self._lock(workspace_id, lock_name or webhook_id),
            begun,
            is_counted,
        )
        task = asyncio.create_task(carrying)
        self._changing.add(task)
        task.add_done_callback(self._forget)
        try:
            return await self.in_time(asyncio.shield(task))
        finally:
            if not begun.is_set():
                task.cancel()

    async def _carry_out(
        self,
        workspace_id: str,
        webhook_id: str,
        change: Change,
        lock: asyncio.Lock,
        begun: asyncio.Event,
        is_counted: bool,
    ) -> Webhook | None:
        async with lock, asyncio.timeout(_CHECKING_SECONDS):
            while True:
                wanted, failure = None, None
                read_to = (await self.reads.read_present(workspace_id, (WEBHOOKS, WEBHOOK_STATES)))[WEBHOOKS]
                held = self._book.find(workspace_id, webhook_id)
                try:
                    wanted = change(held)
                except ApiError as error:
                    if not begun.is_set():
                        raise
                    # What was written before does not count, and is the key's last record: put right what compaction
                    # would leave.
                    wanted, failure = held, error
                begun.set()
                place = await self._write(workspace_id, webhook_id, wanted, read_to)
                if self._book.is_refused(place):
                    continue
                if failure is not None:
                    raise failure
                if is_counted and self._book.older_than(workspace_id, place.offset) >= MOST_WEBHOOKS:
                    await self._write(workspace_id, webhook_id, None, place.offset + 1)
                    raise too_many()
                return wanted

    async def _write(self, workspace_id: str, webhook_id: str, event: Webhook | None, read_to: int) -> Place:
        """Write a record and read it back; returns its place."""
        write = Write(WEBHOOKS, workspace_id, webhook_id, event, (revisions.read_to(read_to),))
        (place,) = await self._publisher.publish([write])
        await self.reads.reached(WEBHOOKS, {place.partition: place.offset + 1})
        return place

    async def in_time(self, waiting: Awaitable[_Result]) -> _Result:
        """Wait for something of Kafka, as long as a caller waits.

        Raises:
            WritesUnavailable: it takes longer.
        """
        try:
            async with asyncio.timeout(_SECONDS):
                return await waiting
        except TimeoutError:
            raise WritesUnavailable from None

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._changing.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: perhaps nobody waits for it any more

    def _lock(self, workspace_id: str, name: str) -> asyncio.Lock:
        return self._locks[crc32(f"{workspace_id}/{name}".encode()) % _LOCKS]


def there(held: Webhook | None) -> Webhook:
    """The webhook that is to be changed.

    Raises:
        NotFound: the workspace has no such webhook.
    """
    if held is None:
        raise NotFound
    return held


def too_many() -> Invalid:
    """The refusal of one more webhook."""
    return Invalid(f"A workspace has at most {MOST_WEBHOOKS} webhooks; delete one that is not needed.")
