"""Forgets what memory holds of a workspace that was deleted for good, once its rows are gone from ClickHouse.

`tidemark workspace delete` asks for it with a row among the notes of rebuilds, and waits for the answer. Otherwise the
same ids, used again before the aggregator's next start, would have the figures of the deleted posts.

Guarantee: an owner that ends before it has answered held these figures in its memory alone; the next owner answers.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple, Protocol

from services.aggregator import erased
from services.aggregator.rebuild_runs import Store
from services.aggregator.rows import REBUILD_PROGRESS
from services.runtime.kafka import partition_of
from services.runtime.logging import get_logger

log = get_logger(__name__)
CHECK_SECONDS: Final = 2.0


class Memory(Protocol):
    """What a partition's owner holds in memory; `Pipeline` in production."""

    @property
    def epoch(self) -> int:
        """The epoch of the owner's claim."""

    async def settle(self) -> None:
        """Wait until every folded batch is written."""

    def forget(self, workspace_id: str) -> None:
        """Drop the states of a workspace; call `settle` before."""


class Request(NamedTuple):
    """A workspace to forget.

    Attributes:
        asked_at: ms, by the clock of the command that asks.
    """

    workspace_id: str
    asked_at: int


class ForgetWatch:
    """Notices requests; one query for all partitions of a process, each 2 seconds at most."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked_at = float("-inf")
        self._requests: list[Request] = []

    async def waiting(self) -> list[Request]:
        """The requests that are not answered yet, of all partitions."""
        now = asyncio.get_running_loop().time()
        if now - self._asked_at >= CHECK_SECONDS:
            self._asked_at = now
            rows = await self._store.query(erased.REQUESTS)
            self._requests = [Request(erased.requested(row[0]), int(row[1])) for row in rows]
        return self._requests

    def answered(self, request: Request) -> None:
        """Do not name a request again, which an owner has answered."""
        self._requests = [other for other in self._requests if other != request]


class Forgetter:
    """Answers the requests that concern one partition, between two of its owner's batches.

    Args:
        partitions: number of partitions of the topics.
        watch: shared by all partitions of the process.
    """

    def __init__(self, partition: int, partitions: int, store: Store, watch: ForgetWatch, memory: Memory) -> None:
        self._partition = partition
        self._partitions = partitions
        self._store = store
        self._watch = watch
        self._memory = memory

    async def look(self) -> None:
        """Forget the workspaces that are asked for, and store that they are forgotten.

        Raises:
            OwnershipLost: a newer owner has the partition.
        """
        for request in await self._watch.waiting():
            if partition_of(request.workspace_id, self._partitions) != self._partition:
                continue
            await self._memory.settle()
            self._memory.forget(request.workspace_id)
            if not await self._is_newest():
                continue  # the newer owner has a memory of its own, and answers
            answer = erased.request(request.workspace_id, request.asked_at + 1, is_done=True)
            await self._store.insert(REBUILD_PROGRESS, [answer])
            self._watch.answered(request)
            log.info("workspace_forgotten", partition=self._partition, workspace_id=request.workspace_id)

    async def _is_newest(self) -> bool:
        """Whether nobody has claimed the partition since; whoever claims it now finds no rows of the workspace."""
        rows = await self._store.query(
            "SELECT max(epoch) FROM partition_claims WHERE partition = {partition:UInt32}",
            {"partition": self._partition},
        )
        return int(rows[0][0]) <= self._memory.epoch
