"""Implements `brokers` on Kafka by aiokafka; no other module uses aiokafka's consumers and producers.

aiokafka's errors do not leave this module. Messages that could end a reader are guarded against (`fetching`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from services.runtime.brokers import Bounds, BrokersUnavailable, MessageTooLarge, Place, Record, Sent
from services.runtime.fetching import FETCH_MAX_BYTES, in_batches
from services.runtime.kafka import aiokafka_options, aiokafka_producer_options, stop_clients
from services.runtime.settings import MESSAGE_MAX_BYTES, KafkaSettings

# Of all partitions together: whoever reads in batches reads a great deal, and holds some answers at once.
_IN_BATCHES: dict[str, Any] = {"value_deserializer": in_batches, "fetch_max_bytes": FETCH_MAX_BYTES}
# A tuple's own constructor takes half the time of the class's, and records are read by the ten thousand a second.
_new_record: Callable[[tuple[Any, ...]], Record] = partial(tuple.__new__, Record)


class KafkaBrokers:
    """Makes readers and writers of Kafka by aiokafka; its methods are documented in `brokers.Brokers`."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    def reader(
        self, *, is_committed: bool, group: str | None = None, wait_seconds: float = 0.5, in_batches: bool = False
    ) -> KafkaReader:
        """Make a reader as `brokers.Brokers` says; the group's name is without prefix."""
        return KafkaReader(
            self._settings, is_committed=is_committed, group=group, wait_seconds=wait_seconds, in_batches=in_batches
        )

    def writer(self, *, is_durable: bool = True, linger_seconds: float = 0.0, batch_bytes: int = 16_384) -> KafkaWriter:
        if is_durable:
            options = aiokafka_producer_options(self._settings)
        else:
            options = {**aiokafka_options(self._settings), "acks": 1, "max_request_size": MESSAGE_MAX_BYTES}
        options |= {"linger_ms": round(linger_seconds * 1000), "max_batch_size": batch_bytes}
        return KafkaWriter(self._settings, options)

    async def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        names = {self._settings.topic(topic): topic for topic in topics}
        admin = AIOKafkaAdminClient(**aiokafka_options(self._settings))
        try:
            with _told():
                await admin.start()
                described = await admin.describe_topics(list(names))
            counts = {found["topic"]: len(found["partitions"]) for found in described}
            return {topic: counts.get(name, 0) for name, topic in names.items()}
        finally:
            await admin.close()


class KafkaReader:
    """Reads partitions of Kafka by aiokafka; its methods are documented in `brokers.Reader`."""

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        is_committed: bool,
        group: str | None = None,
        wait_seconds: float = 0.5,
        in_batches: bool = False,
    ) -> None:
        self._settings = settings
        self._prefix = len(settings.topic_prefix)
        self._known: dict[Place, TopicPartition] = {}
        self._consumer = AIOKafkaConsumer(
            **aiokafka_options(settings),
            group_id=None if group is None else f"{settings.topic_prefix}{group}",
            enable_auto_commit=False,
            # The follower decides where to go on when an offset is gone, not the client.
            auto_offset_reset="none",
            isolation_level="read_committed" if is_committed else "read_uncommitted",
            fetch_max_wait_ms=round(wait_seconds * 1000),
            max_partition_fetch_bytes=MESSAGE_MAX_BYTES,
            **(_IN_BATCHES if in_batches else {}),
        )

    async def start(self) -> None:
        with _told():
            await self._consumer.start()

    async def bounds(self, places: Iterable[Place]) -> dict[Place, Bounds]:
        asked = {self._asked(place): place for place in places}
        with _told():
            begins = await self._consumer.beginning_offsets(list(asked))
            ends = await self._consumer.end_offsets(list(asked))
        return {place: Bounds(begins[tp], ends[tp]) for tp, place in asked.items()}

    async def offsets_at(self, instants: Mapping[Place, int]) -> dict[Place, int | None]:
        with _told():
            found = await self._consumer.offsets_for_times({self._asked(place): at for place, at in instants.items()})
        offsets = {tp: None if at is None else at.offset for tp, at in found.items()}
        return {place: offsets.get(self._asked(place)) for place in instants}

    def stand(self, positions: Mapping[Place, int]) -> None:
        if not positions:
            self._consumer.unsubscribe()
            return
        self._consumer.assign([self._asked(place) for place in positions])
        for place, offset in positions.items():
            self._consumer.seek(self._asked(place), offset)

    async def read(self, seconds: float, most: int) -> list[Record]:
        with _told():
            found = await self._consumer.getmany(timeout_ms=round(seconds * 1000), max_records=most)
        prefix = self._prefix
        return [
            _new_record(
                (topic, tp.partition, record.offset, record.timestamp, record.key, record.value, record.headers)
            )
            for tp, records in found.items()
            for topic in (tp.topic[prefix:],)
            for record in records
        ]

    async def position(self, place: Place) -> int:
        with _told():
            return int(await self._consumer.position(self._asked(place)))

    def written_to(self, place: Place) -> int | None:
        offset: int | None = self._consumer.highwater(self._asked(place))
        return offset

    async def committed(self, places: Iterable[Place]) -> dict[Place, int | None]:
        with _told():
            return {place: await self._consumer.committed(self._asked(place)) for place in places}

    async def commit(self, positions: Mapping[Place, int]) -> None:
        with _told():
            await self._consumer.commit({self._asked(place): offset for place, offset in positions.items()})

    async def stop(self) -> None:
        await stop_clients(self._consumer)

    def _asked(self, place: Place) -> TopicPartition:
        found = self._known.get(place)
        if found is None:
            found = self._known[place] = TopicPartition(self._settings.topic(place.topic), place.partition)
        return found


class KafkaWriter:
    """Writes to Kafka by aiokafka; its methods are documented in `brokers.Writer`."""

    def __init__(self, settings: KafkaSettings, options: Mapping[str, Any]) -> None:
        self._settings = settings
        self._producer = AIOKafkaProducer(**options)

    async def start(self) -> None:
        with _told():
            await self._producer.start()

    async def send(
        self,
        topic: str,
        partition: int,
        message_key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> asyncio.Future[Sent]:
        # aiokafka takes headers as a list alone.
        listed = list(headers) or None
        with _told():
            sent = await self._producer.send(
                self._settings.topic(topic), value, key=message_key, partition=partition, headers=listed
            )
        told: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
        sent.add_done_callback(lambda done: _pass_on(done, told))
        return told

    async def stop(self) -> None:
        await stop_clients(self._producer)


@contextmanager
def _told() -> Iterator[None]:
    """Turn aiokafka's errors into those of `brokers`."""
    try:
        yield
    except MessageSizeTooLargeError as error:
        raise MessageTooLarge(str(error)) from error
    except (KafkaError, OSError) as error:
        raise BrokersUnavailable(repr(error)) from error


def _pass_on(done: asyncio.Future[Any], told: asyncio.Future[Sent]) -> None:
    """Pass a message's outcome to the caller's future, unless the caller has cancelled it."""
    error = asyncio.CancelledError() if done.cancelled() else done.exception()
    if told.done():
        return
    if error is None:
        record = done.result()
        told.set_result(Sent(record.partition, record.offset))
    else:
        told.set_exception(BrokersUnavailable(repr(error)))
