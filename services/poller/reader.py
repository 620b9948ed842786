"""Reads topics for the poller: some once from a point to their end, others to the end and then for good.

No consumer group and no committed offsets: everything read is folded into memory, from the beginning, whenever
partitions are gained. Of each topic the same partitions are read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from services.poller.errors import Stop
from services.runtime.brokers import Brokers, BrokersUnavailable, Place, Record
from services.runtime.following import Batch, Follower, at_beginning, at_end, at_instants
from services.runtime.kafka_brokers import KafkaBrokers
from services.runtime.logging import get_logger
from services.runtime.registry import RegistryUnavailable
from services.runtime.settings import KafkaSettings
from services.runtime.wording import counted

RETRY_SECONDS = 1.0
_SAY_EVERY = 10
_RECORDS = 500
_log = get_logger(__name__)

Fold = Callable[[str, Record], None]
"""Takes in one message; the topic's name is without prefix. May raise RegistryUnavailable: then it is called again."""


class TopicReader:
    """Reads topics without a group.

    Args:
        brokers: Kafka's of the settings, if none are given.
    """

    def __init__(self, settings: KafkaSettings, brokers: Brokers | None = None) -> None:
        self._settings = settings
        self._brokers = brokers or KafkaBrokers(settings)
        self._missing: str | None = "Kafka"
        self._count = 0
        self._attempts = 0
        # Reads that have not come to their end.
        self._loading: list[Follower] = []

    @property
    def waiting_for(self) -> str | None:
        """What is not there yet or not read to its end, for people; None when everything is."""
        if self._missing is not None or not self._loading:
            return self._missing
        slowest = self._loading[0]
        if not slowest.is_connected:
            return f"Kafka at {self._settings.kafka_bootstrap}"
        return f"the end of {counted(len(slowest.left), 'partition')}, {counted(slowest.read_count, 'message')} read"

    async def partition_count(self, topics: Iterable[str]) -> int:
        """The number of partitions that all the topics have; waits until Kafka answers and all of them exist.

        Args:
            topics: names without prefix.

        Raises:
            Stop: the numbers differ, so a workspace would not meet itself.
        """
        names = list(topics)
        while True:
            counts = await self._counts(names)
            missing = [self._settings.topic(name) for name, count in counts.items() if not count]
            if counts and not missing:
                break
            if counts:
                self._missing = f"topics that don't exist yet: {', '.join(missing)}"
                self._say("topics are missing; run `tidemark topics`", topics=",".join(missing))
            await asyncio.sleep(RETRY_SECONDS)
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{self._settings.topic(name)}: {count}" for name, count in sorted(counts.items()))
            raise Stop(f"the topics differ in their number of partitions ({found}); they must be equal")
        self._missing = None
        self._count = next(iter(counts.values()))
        return self._count

    async def replay(
        self,
        topic: str,
        fold: Fold,
        since: int | Mapping[int, int] | None = None,
        partitions: Iterable[int] | None = None,
    ) -> int:
        """Read one topic to its present end; `partition_count` comes first.

        Args:
            partitions: which of them, None for all.
            since: start at the first message of this time (ms; one for all or one a partition) or later; None from the
                beginning.

        Returns:
            How many messages were read.
        """
        begin = at_beginning if since is None else at_instants(lambda place: _instant(since, place))
        follower = self._follower([topic], fold, partitions, begin=begin)
        with self._load(follower):
            await follower.run(until_caught_up=True)
        return follower.read_count

    async def follow(
        self, topics: Iterable[str], fold: Fold, caught_up: asyncio.Event, partitions: Iterable[int] | None = None
    ) -> None:
        """Read topics from the beginning for as long as the task runs; `caught_up` is set at their present end."""

        def on_current(is_current: bool) -> None:
            if is_current and not caught_up.is_set():
                caught_up.set()
                self._loading.remove(follower)

        follower = self._follower(topics, fold, partitions, on_current=on_current)
        with self._load(follower):
            await follower.run()

    async def tail(
        self,
        topics: Iterable[str],
        fold: Fold,
        partitions: Iterable[int] | None = None,
        standing: asyncio.Event | None = None,
    ) -> None:
        """Read what comes to topics from now on, for as long as the task runs.

        Args:
            standing: set as soon as nothing that comes is missed.
        """

        def on_current(is_current: bool) -> None:
            if is_current and standing is not None:
                standing.set()

        await self._follower(topics, fold, partitions, begin=at_end, on_current=on_current).run()

    def _follower(
        self, topics: Iterable[str], fold: Fold, partitions: Iterable[int] | None, **options: Any
    ) -> Follower:
        async def take(batch: Batch) -> None:
            while batch.records:
                fold(batch.records[0].topic, batch.records[0])
                batch.records.popleft()

        return Follower(
            self._brokers,
            topics,
            range(self._count) if partitions is None else sorted(partitions),
            take,
            retry_on=(RegistryUnavailable,),
            # The poller's own rule is last writer wins, and totals of an aborted transaction are still true.
            is_committed=False,
            most=_RECORDS,
            **options,
        )

    @contextmanager
    def _load(self, follower: Follower) -> Iterator[None]:
        """Show a read as one that is waited for, until it is at its end."""
        self._loading.append(follower)
        try:
            yield
        finally:
            if follower in self._loading:
                self._loading.remove(follower)

    async def _counts(self, names: list[str]) -> dict[str, int]:
        """Partitions by topic, {} while Kafka is away; 0 for a topic that doesn't exist."""
        try:
            return await self._brokers.partition_counts(names)
        except BrokersUnavailable as error:
            address = self._settings.kafka_bootstrap
            self._missing = f"Kafka at {address}"
            self._say("Kafka can't be reached; trying again", address=address, error=str(error))
            return {}

    def _say(self, event: str, **values: str) -> None:
        """Log the first of a row of attempts, and then one in some."""
        if self._attempts % _SAY_EVERY == 0:
            _log.warning(event, **values)
        self._attempts += 1


def _instant(since: int | Mapping[int, int], place: Place) -> int:
    return since if isinstance(since, int) else since[place.partition]
