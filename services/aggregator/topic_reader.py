"""Reads topics from any place to what is their end, for commands that look and end. Blocking; commits nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from services.aggregator import reading
from services.runtime.kafka import confluent_options
from services.runtime.settings import MESSAGE_MAX_BYTES, KafkaSettings

_TIMEOUT_SECONDS = 15.0
# Without a message for this long a read is given up. An open transaction ends after a minute at the latest.
_STALLED_SECONDS = 90.0
_MESSAGES = 2_000
_WAIT_SECONDS = 0.2


class TopicUnreadable(RuntimeError):
    """Kafka can't be read; the message says why and what to do."""


class TopicReader:
    """A consumer without a place in any group.

    Args:
        settings: connection.
        is_committed: only messages of committed transactions are seen, and none behind one that is open. Raw events are
            read without: the aggregator counts them whatever became of their transaction, and a stranger's open
            transaction must not hold anybody up.
    """

    def __init__(self, settings: KafkaSettings, *, is_committed: bool = True) -> None:
        self._consumer = Consumer(
            {
                **confluent_options(settings),
                "group.id": f"{settings.topic_prefix}tidemark-reader",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "isolation.level": "read_committed" if is_committed else "read_uncommitted",
                "fetch.max.bytes": 4 * MESSAGE_MAX_BYTES,
                "queued.max.messages.kbytes": 32 * 1024,
                "log_level": 0,
            }
        )
        self._settings = settings

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def partitions(self, topic: str) -> list[int]:
        """Partition numbers of a topic, ascending.

        Raises:
            TopicUnreadable: no answer, or there is no such topic.
        """
        try:
            found = self._consumer.list_topics(topic, timeout=_TIMEOUT_SECONDS).topics[topic]
        except KafkaException as error:
            raise _unreadable(error) from None
        if found.error is not None or not found.partitions:
            raise TopicUnreadable(f"there is no topic {topic}; run `tidemark topics`")
        return sorted(found.partitions)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset held, and the next to be written.

        Raises:
            TopicUnreadable: no answer.
        """
        try:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT_SECONDS)
        except KafkaException as error:
            raise _unreadable(error) from None
        return int(low), int(high)

    def committed(self, group: str, topic: str, partition: int) -> int:
        """The offset that a group (name without prefix) committed; the first one held where it committed none.

        Raises:
            TopicUnreadable: no answer.
        """
        member = Consumer(
            {
                **confluent_options(self._settings),
                "group.id": f"{self._settings.topic_prefix}{group}",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        try:
            found = member.committed([TopicPartition(topic, partition)], timeout=_TIMEOUT_SECONDS)[0].offset
        except KafkaException as error:
            raise _unreadable(error) from None
        finally:
            member.close()
        low, high = self.bounds(topic, partition)
        # A position that the topic doesn't have is of another topic of the same name.
        return int(found) if low <= found <= high else low

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[Message]:
        """Messages of `[start, end)`, in order; fewer where compaction or retention took some.

        Raises:
            TopicUnreadable: Kafka stopped answering.
        """
        if start >= end:
            return
        place = TopicPartition(topic, partition, start)
        try:
            self._consumer.assign([place])
            deadline = time.monotonic() + _STALLED_SECONDS
            while True:
                for message in self._consume():
                    if message.error() is not None:
                        continue
                    if (message.offset() or 0) >= end:
                        return
                    deadline = time.monotonic() + _STALLED_SECONDS
                    yield message
                # Transaction markers hold offsets too, so the end is known by the position, not by a message.
                if self._consumer.position([TopicPartition(topic, partition)])[0].offset >= end:
                    return
                if time.monotonic() > deadline:
                    raise TopicUnreadable(f"{topic} partition {partition} can't be read to offset {end}")
        except KafkaException as error:
            raise _unreadable(error) from None
        finally:
            self._consumer.unassign()

    def _consume(self) -> list[Message]:
        """The messages that are there. Waits for the first one alone: `consume` would wait until it has all it may."""
        first = self._consumer.poll(_WAIT_SECONDS)
        return [] if first is None else [first, *self._consumer.consume(_MESSAGES, 0.0)]

    def at(self, topic: str, partition: int, offset: int) -> Message | None:
        """The one message of an offset; None when it is not held any more.

        Raises:
            TopicUnreadable: Kafka stopped answering.
        """
        low, high = self.bounds(topic, partition)
        if offset < low or offset >= high:
            return None
        return next((message for message in self.read(topic, partition, offset, offset + 1)), None)

    def since(self, topic: str, partition: int, instant: int) -> int:
        """The first offset whose message is not older than an instant (ms), or the end.

        Raises:
            TopicUnreadable: no answer.
        """
        try:
            asked = [TopicPartition(topic, partition, instant)]
            found = self._consumer.offsets_for_times(asked, timeout=_TIMEOUT_SECONDS)[0].offset
        except KafkaException as error:
            raise _unreadable(error) from None
        return int(found) if found >= 0 else self.bounds(topic, partition)[1]


def received(message: Message) -> reading.Message:
    """A message as the aggregator would have received it, but for its headers.

    Headers are left alone: the client breaks off, at times with the whole process, at a name that is not UTF-8.
    """
    return reading.Message(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.key(),
        message.value(),
        message.timestamp()[1],
    )


def _unreadable(error: KafkaException) -> TopicUnreadable:
    return TopicUnreadable(f"Kafka can't be read ({error.args[0].str()}); check TIDEMARK_KAFKA_BOOTSTRAP")
