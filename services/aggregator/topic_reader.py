"""Reads topics between any two offsets, for commands that read and end. Blocking; commits nothing.

Messages are read by the same guarded client as in the aggregator (`services.runtime.fetching`): librdkafka stands still
for ever before a batch that it can't decompress, and fails at a header name that is not UTF-8.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from types import TracebackType
from typing import Self

from anyio.from_thread import BlockingPortal, start_blocking_portal
from confluent_kafka import Consumer, KafkaException, TopicPartition

from services.aggregator.reading import Message
from services.runtime.brokers import Brokers, BrokersUnavailable, Place, Reader, Record
from services.runtime.fetching import whole_or_why
from services.runtime.kafka import confluent_options
from services.runtime.kafka_brokers import KafkaBrokers
from services.runtime.settings import KafkaSettings

_TIMEOUT_SECONDS = 15.0
# A read fails after this time without a message; an open transaction ends after a minute at the latest.
_STALLED_SECONDS = 90.0
_MESSAGES = 2_000
_WAIT_SECONDS = 0.2
# How long a broker holds a fetch at a partition's end. The client asks on there by itself, and sends that broker
# nothing else until it is answered: with half a second, the next partition is waited for as long.
_FETCH_WAIT_SECONDS = 0.02


class TopicUnreadable(RuntimeError):
    """Kafka can't be read; the error's message says why and what to do."""


class TopicReader:
    """A consumer that is no member of a group.

    Args:
        settings: the connection to Kafka.
        is_committed: read only messages of committed transactions, and none behind an open transaction. Raw events are
            read with False: the aggregator counts an event whether or not its transaction was committed, and a
            stranger's open transaction must not block readers.
        on_read: called while `read` goes on, with the offset reached and the offset at which it will end.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        is_committed: bool = True,
        on_read: Callable[[int, int], None] = lambda _, __: None,
    ) -> None:
        self._settings = settings
        self._brokers: Brokers = KafkaBrokers(settings)
        self._is_committed = is_committed
        self._on_read = on_read
        self._asked = Consumer(
            {
                **confluent_options(settings),
                "group.id": f"{settings.topic_prefix}tidemark-reader",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        # Those that ask for the positions of a group, by group.
        self._members: dict[str, Consumer] = {}
        # The guarded client is made when the first message is read, in a thread of its own.
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._reader: Reader | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        for client in (self._asked, *self._members.values()):
            client.close()

    def partitions(self, topic: str) -> list[int]:
        """The partition numbers of a topic (full name), ascending.

        Raises:
            TopicUnreadable: Kafka did not answer, or there is no such topic.
        """
        try:
            found = self._asked.list_topics(topic, timeout=_TIMEOUT_SECONDS).topics[topic]
        except KafkaException as error:
            raise _unreadable(error) from None
        if found.error is not None or not found.partitions:
            raise TopicUnreadable(f"there is no topic {topic}; run `tidemark topics`")
        return sorted(found.partitions)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that the partition holds, and the next offset to be written.

        Raises:
            TopicUnreadable: Kafka did not answer.
        """
        try:
            low, high = self._asked.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT_SECONDS)
        except KafkaException as error:
            raise _unreadable(error) from None
        return int(low), int(high)

    def committed(self, group: str, topic: str, partition: int) -> int:
        """The offset that a group (name without prefix) committed; without one, the first offset held.

        Raises:
            TopicUnreadable: Kafka did not answer.
        """
        found = self.position(group, topic, partition)
        low, high = self.bounds(topic, partition)
        # A committed offset outside of the partition is of an earlier topic of the same name.
        return found if found is not None and low <= found <= high else low

    def position(self, group: str, topic: str, partition: int) -> int | None:
        """The offset that a group (name without prefix) committed, whatever the partition holds; None without one.

        Raises:
            TopicUnreadable: Kafka did not answer.
        """
        if group not in self._members:
            self._members[group] = Consumer(
                {
                    **confluent_options(self._settings),
                    "group.id": f"{self._settings.topic_prefix}{group}",
                    "enable.auto.commit": False,
                    "log_level": 0,
                }
            )
        try:
            asked = [TopicPartition(topic, partition)]
            found = self._members[group].committed(asked, timeout=_TIMEOUT_SECONDS)[0].offset
        except KafkaException as error:
            raise _unreadable(error) from None
        return int(found) if found >= 0 else None

    def left(self, group: str, topic: str, partition: int, end: int) -> int:
        """How many offsets before `end` a group (name without prefix) has not taken; 0 where they hold no message.

        What aborted transactions and markers leave has offsets, but is no message that a group could take. Raw events
        of aborted transactions count (see `is_committed`).

        Raises:
            TopicUnreadable: Kafka did not answer.
        """
        taken = self.committed(group, topic, partition)
        if taken >= end:
            return 0
        try:
            with closing(self.read(topic, partition, taken, end)) as messages:
                return 0 if next(messages, None) is None else end - taken
        except TopicUnreadable:
            # A transaction is open: only its end tells. Brokers that are away are told by the next question.
            return end - taken

    def read(self, topic: str, partition: int, start: int, end: int) -> Generator[Message]:
        """Yield the messages of `[start, end)` in order, except those removed by compaction or retention.

        Only one read may run at a time: a second read moves the position of the first.

        Raises:
            TopicUnreadable: Kafka stopped answering.
        """
        if start >= end:
            return
        portal, reader = self._connected()
        place = Place(topic.removeprefix(self._settings.topic_prefix), partition)
        deadline = time.monotonic() + _STALLED_SECONDS
        try:
            portal.call(reader.stand, {place: start})
            while True:
                records, position = portal.call(_some, reader, place)
                self._on_read(min(position, end), end)
                for record in records:
                    if record.offset >= end:
                        return
                    yield _received(topic, record)
                # Transaction markers hold offsets too, so the end is known by the position, not by a message.
                if position >= end:
                    return
                if records:
                    deadline = time.monotonic() + _STALLED_SECONDS
                elif time.monotonic() > deadline:
                    raise TopicUnreadable(
                        f"{topic} partition {partition} can't be read to offset {end}: no message came for "
                        f"{_STALLED_SECONDS:.0f} s; check the brokers, then run the command again"
                    )
        except BrokersUnavailable as error:
            raise _away(error) from None
        finally:
            portal.call(reader.stand, {})

    def _connected(self) -> tuple[BlockingPortal, Reader]:
        if self._portal is None or self._reader is None:
            portal = self._stack.enter_context(start_blocking_portal())
            try:
                self._reader = portal.call(self._start)
            except BrokersUnavailable as error:
                raise _away(error) from None
            self._stack.callback(portal.call, self._reader.stop)
            self._portal = portal
        return self._portal, self._reader

    async def _start(self) -> Reader:
        reader = self._brokers.reader(is_committed=self._is_committed, wait_seconds=_FETCH_WAIT_SECONDS)
        try:
            await reader.start()
        except BaseException:
            await reader.stop()
            raise
        return reader

    def at(self, topic: str, partition: int, offset: int) -> Message | None:
        """The message at an offset; None when the partition does not hold the message.

        Raises:
            TopicUnreadable: Kafka stopped answering.
        """
        low, high = self.bounds(topic, partition)
        if offset < low or offset >= high:
            return None
        return next((message for message in self.read(topic, partition, offset, offset + 1)), None)

    def since(self, topic: str, partition: int, instant: int) -> int:
        """The first offset whose message is not older than an instant (ms); the end when all messages are older.

        Raises:
            TopicUnreadable: Kafka did not answer.
        """
        try:
            asked = [TopicPartition(topic, partition, instant)]
            found = self._asked.offsets_for_times(asked, timeout=_TIMEOUT_SECONDS)[0].offset
        except KafkaException as error:
            raise _unreadable(error) from None
        return int(found) if found >= 0 else self.bounds(topic, partition)[1]


async def _some(reader: Reader, place: Place) -> tuple[list[Record], int]:
    return await reader.read(_WAIT_SECONDS, _MESSAGES), await reader.position(place)


def _received(topic: str, record: Record) -> Message:
    value, headers, unreadable = whole_or_why(record.value, record.headers)
    return Message(topic, record.partition, record.offset, record.key, value, record.timestamp, headers, unreadable)


def _away(error: Exception) -> TopicUnreadable:
    return TopicUnreadable(f"Kafka can't be read ({error}); check TIDEMARK_KAFKA_BOOTSTRAP")


def _unreadable(error: KafkaException) -> TopicUnreadable:
    return TopicUnreadable(f"Kafka can't be read ({error.args[0].str()}); check TIDEMARK_KAFKA_BOOTSTRAP")
