"""Which records of the topics count, and what the store takes of them. No store, no broker.

In: records. Out: messages as the store keeps them, in the records' order; whatever else was written to the topics is
passed over, and told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from schemas.codec import FetchSchema, MalformedEvent
from schemas.keys import Reason, RefusedRecord, parsed_key, reason_of
from schemas.positional import PositionalCodec
from schemas.writers import SchemasAway
from services.query_api.store import records
from services.query_api.store.layout import TOPICS
from services.runtime.brokers import Record
from services.runtime.kafka import partition_of
from services.runtime.logging import get_logger

log = get_logger(__name__)
_TOPIC_AT = {topic: at for at, topic in enumerate(TOPICS)}


class Decoder(Protocol):
    """Decodes one topic; see `schemas.positional.PositionalCodec`."""

    def decode(self, data: bytes) -> tuple[Any, ...]:
        """The wanted fields of a value."""


class Message(NamedTuple):
    """A message that counts.

    Attributes:
        topic_at: place in `layout.TOPICS`.
        payload: empty where its thing is gone.
        targets: whose post it names.
        published: of a post of the catalog that is there; None in other messages.
    """

    topic_at: int
    key: bytes
    offset: int
    timestamp: int
    payload: bytes
    targets: Sequence[str]
    published: records.Published | None


class Refused(NamedTuple):
    """A record that does not count.

    Attributes:
        reason: of `schemas.keys.Reason`.
        error: what broke its decoder; None where the record itself is at fault.
    """

    topic: str
    partition: int
    offset: int
    reason: str
    error: str | None = None


def decoders(fetch_schema: FetchSchema, list_ids: Callable[[str], Collection[int]] | None = None) -> dict[str, Decoder]:
    """The decoders of all topics.

    Args:
        fetch_schema: see `schemas.codec.RecordCodec`.
        list_ids: likewise, of a topic.
    """
    return {
        topic: PositionalCodec(
            topic, fetch_schema, records.WANTED[topic], None if list_ids is None else partial(list_ids, topic)
        )
        for topic in TOPICS
    }


def messages(
    batch: Iterable[Record], decoders: Mapping[str, Decoder], partitions: int, refuse: Callable[[Refused], None]
) -> list[Message]:
    """The messages that count.

    Args:
        decoders: by topic.
        partitions: of each topic.
        refuse: told each record that does not count.

    Raises:
        SchemasAway: the registry does not answer.
    """
    found: list[Message] = []
    for record in batch:
        try:
            found.append(_message(record, decoders, partitions))
        except SchemasAway:
            raise
        except MalformedEvent as error:
            refuse(Refused(record.topic, record.partition, record.offset, reason_of(error).value))
        except Exception as error:
            # One record must not keep the others from being read, whatever is wrong with it or with its decoder.
            reason = Reason.UNREADABLE_VALUE.value
            refuse(Refused(record.topic, record.partition, record.offset, reason, repr(error)))
    return found


def _message(record: Record, decoders: Mapping[str, Decoder], partitions: int) -> Message:
    topic, key = record.topic, record.key or b""
    parts = parsed_key(topic, key or None)
    if partition_of(parts[0], partitions) != record.partition:
        raise RefusedRecord(Reason.WRONG_PARTITION, f"a message of {topic} is in another workspace's partition")
    payload, targets, published = b"", list[str](), None
    if record.value is not None:
        fields = decoders[topic].decode(record.value)
        if records.told_key(topic, fields) != parts:
            raise RefusedRecord(Reason.KEY_AND_VALUE_DIFFER, f"key and value of a message of {topic} differ")
        records.check(topic, fields)
        if not records.is_deleted(topic, fields):
            payload, targets = records.payload(topic, fields), records.target_ids(topic, fields)
            published = records.publication(topic, fields)
    return Message(_TOPIC_AT[topic], key, record.offset, record.timestamp, payload, targets, published)


def log_refused(refused: Refused) -> None:
    """Note a record that does not count."""
    if refused.error is not None:
        log.error("an entry breaks its decoder", topic=refused.topic, offset=refused.offset, error=refused.error)
    log.error(
        "an entry does not count",
        topic=refused.topic,
        partition=refused.partition,
        offset=refused.offset,
        reason=refused.reason,
    )
