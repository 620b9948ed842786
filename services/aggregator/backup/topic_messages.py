"""Messages of a topic as lines of JSON, and back into a topic of another installation.

A line is `{"k": key, "v": value or null, "t": ms}` with key and value in base64; `"own": true` says that the value has
this installation's schema id already. Of a compacted topic only each key's last message is kept. A value keeps the
registry's id of its schema in its first five bytes: the ids of another registry are put in their place as the message
is written.

Guarantee: at least once. Writing a compacted topic's lines again gives the same last message of each key.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from schemas.topic_specs import TopicSpec
from services.aggregator.backup.archive import BackupError
from services.aggregator.mending import LastMessages
from services.aggregator.topic_reader import TopicReader
from services.runtime.kafka import confluent_options, partition_of, split_key
from services.runtime.settings import MESSAGE_MAX_BYTES, KafkaSettings

# A value of the Confluent wire format: a zero byte and the schema's id, four bytes.
_HEAD_BYTES = 5
_FLUSH_SECONDS = 60.0
_TIMEOUT_SECONDS = 15.0
# Messages under way at once.
_UNCONFIRMED = 2_000


def line_of(key: bytes, value: bytes | None, at: int, *, is_own: bool = False) -> bytes:
    """A message as a line, without its end.

    Args:
        at: the message's time, ms.
        is_own: whether the value has this installation's schema id already.
    """
    encoded = None if value is None else base64.b64encode(value).decode()
    line = {"k": base64.b64encode(key).decode(), "v": encoded, "t": at}
    return orjson.dumps({**line, "own": True} if is_own else line)


class TopicLines:
    """The messages of one topic, as lines.

    Attributes:
        schema_ids: the ids of the schemas of the values that were passed on so far.
    """

    def __init__(self, reader: TopicReader, settings: KafkaSettings, spec: TopicSpec) -> None:
        self._reader = reader
        self._topic = settings.topic(spec.name)
        self._is_compacted = spec.is_compacted
        self.schema_ids: set[int] = set()

    def chunks(self) -> Iterator[tuple[bytes, int]]:
        """Yield each line, with the number of messages that it holds: one.

        A message that no service reads is left out: its key is no UTF-8 text, or it is not in its workspace's
        partition.

        Raises:
            TopicUnreadable: Kafka can't be read.
        """
        partitions = self._reader.partitions(self._topic)
        for partition in partitions:
            for key, value, at in self._messages(partition):
                if not _is_in_place(key, partition, len(partitions)):
                    continue
                if value is not None and len(value) >= _HEAD_BYTES and value[0] == 0:
                    self.schema_ids.add(int.from_bytes(value[1:_HEAD_BYTES], "big"))
                yield line_of(key, value, at) + b"\n", 1

    def _messages(self, partition: int) -> Iterator[tuple[bytes, bytes | None, int]]:
        if self._is_compacted:
            for page in LastMessages(self._reader, self._topic, partition).pages():
                yield from page
            return
        for message in self._reader.read(self._topic, partition, *self._reader.bounds(self._topic, partition)):
            if message.key is not None:
                yield message.key, message.intact, message.timestamp


def _is_in_place(key: bytes, partition: int, count: int) -> bool:
    try:
        return partition_of(split_key(key)[0], count) == partition
    except UnicodeDecodeError:
        return False


class TopicWriter:
    """Writes lines into a topic, with the schema ids of this installation's registry.

    Args:
        ids: this registry's id by the id in the backup.
    """

    def __init__(self, settings: KafkaSettings, topic: str, ids: Mapping[int, int]) -> None:
        self._topic = settings.topic(topic)
        self._partitions = settings.topic_partitions
        self._ids = ids
        self._failed: KafkaError | None = None
        self._producer = Producer(
            {
                **confluent_options(settings),
                "enable.idempotence": True,
                "acks": "all",
                "message.max.bytes": MESSAGE_MAX_BYTES,
                "compression.type": "gzip",
                "linger.ms": 20,
                "log_level": 0,
            }
        )

    def write(self, lines: Iterable[bytes]) -> int:
        """Write every line and wait until Kafka confirmed them; returns their number.

        Raises:
            BackupError: Kafka refuses a message, or does not answer.
        """
        count = 0
        for line in lines:
            entry = orjson.loads(line)
            key = base64.b64decode(entry["k"])
            value = None if entry["v"] is None else base64.b64decode(entry["v"])
            if value is not None and not entry.get("own"):
                value = self._with_own_id(value)
            partition = partition_of(split_key(key)[0], self._partitions)
            while len(self._producer) >= _UNCONFIRMED and self._failed is None:
                self._producer.poll(0.1)
            self._producer.produce(
                self._topic, value, key, partition, timestamp=entry["t"], on_delivery=self._delivered
            )
            self._producer.poll(0)
            if self._failed is not None:
                break
            count += 1
        try:
            unconfirmed = self._producer.flush(_FLUSH_SECONDS)
        except KafkaException as error:
            raise BackupError(f"{self._topic} can't be written: {error.args[0].str()}") from None
        if self._failed is not None:
            raise BackupError(f"{self._topic} can't be written: {self._failed.str()}")
        if unconfirmed:
            raise BackupError(f"{self._topic}: Kafka did not confirm {unconfirmed} messages; restore again to go on")
        return count

    def _with_own_id(self, value: bytes) -> bytes:
        if len(value) < _HEAD_BYTES or value[0] != 0:
            return value
        own = self._ids.get(int.from_bytes(value[1:_HEAD_BYTES], "big"))
        # A value whose schema no registry knew stays as unreadable as it was.
        return value if own is None else b"\0" + own.to_bytes(4, "big") + value[_HEAD_BYTES:]

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None and self._failed is None:
            self._failed = error


def commit(settings: KafkaSettings, group: str, positions: Mapping[tuple[str, int], int]) -> None:
    """Commit offsets for a group (name without prefix) that has no members.

    Args:
        positions: the next offset by topic (full name) and partition.

    Raises:
        BackupError: Kafka refuses them, or does not answer.
    """
    consumer = Consumer(
        {
            **confluent_options(settings),
            "group.id": f"{settings.topic_prefix}{group}",
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    try:
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in positions.items()]
        consumer.commit(offsets=offsets, asynchronous=False)
    except KafkaException as error:
        raise BackupError(f"positions of {group} can't be committed: {error.args[0].str()}") from None
    finally:
        consumer.close()


def kept_millis(settings: KafkaSettings, topics: Sequence[str]) -> dict[str, int]:
    """For how long, at most, topics (full names) keep a message: whole segments go once all of theirs are too old.

    Raises:
        BackupError: Kafka does not answer.
    """
    admin = AdminClient({**confluent_options(settings), "socket.timeout.ms": 10_000, "log_level": 0})
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
    try:
        told = {one.name: found.result(_TIMEOUT_SECONDS) for one, found in admin.describe_configs(resources).items()}
    except KafkaException as error:
        raise BackupError(f"the retention of topics can't be read: {error.args[0].str()}") from None
    return {name: int(held["retention.ms"].value) + int(held["segment.ms"].value) for name, held in told.items()}
