"""Publishes a partition's messages in transactions.

Guarantee: all messages of one call become visible together, once the call returns; a call that raises makes no message
visible. The transactional id belongs to the partition, so that a newer owner fences an older owner that still writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from services.aggregator.errors import MessagesRefused, OwnershipLost, SinkUnavailable
from services.runtime.kafka import confluent_options
from services.runtime.settings import MESSAGE_MAX_BYTES, KafkaSettings

_FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
# Errors that another try can't change: the message is too large, or the broker finds the message invalid.
_REFUSED = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError._INVALID_ARG,
    }
)
# The broker aborts a dead owner's open transaction after this time; a newer owner aborts it at once.
_TRANSACTION_TIMEOUT_SECONDS = 60
_CALL_TIMEOUT_SECONDS = 30.0


Delivered = Callable[[KafkaError | None, Message], None]


class Encoded(NamedTuple):
    """One message ready to send; `topic` is the topic's full name, and a value of None makes a tombstone."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class PartitionPublisher:
    """The transactional producer of one owned partition. Blocking: call it from a thread.

    Args:
        settings: the connection to Kafka.
        group: the aggregator's consumer group; group and partition make the transactional id.
        partition: the partition's number.
    """

    def __init__(self, settings: KafkaSettings, group: str, partition: int) -> None:
        self._options = {
            **confluent_options(settings),
            "transactional.id": f"{settings.topic_prefix}{group}-{partition}",
            "transaction.timeout.ms": _TRANSACTION_TIMEOUT_SECONDS * 1000,
            "message.max.bytes": MESSAGE_MAX_BYTES,
            # Not every subscriber's client has LZ4, Snappy or Zstandard, and gzip costs a tenth of the pipeline (0020).
            "compression.type": "none",
            "linger.ms": 5,
            "batch.size": 1024 * 1024,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 256 * 1024,
            "log_level": 0,
        }
        self._producer: Producer | None = None
        # After a failure every message gets a delivery report, which shows whether a message was the cause.
        self._is_suspicious = False

    def start(self) -> None:
        """Take the transactional id: every older producer of this partition is fenced from now on.

        Raises:
            SinkUnavailable: Kafka does not answer; try again.
            OwnershipLost: a newer owner took the partition.
        """
        producer = Producer(self._options)
        try:
            producer.init_transactions(_CALL_TIMEOUT_SECONDS)
        except KafkaException as error:
            raise _translated(error) from None
        self._producer = producer

    def publish(self, messages: Sequence[Encoded]) -> None:
        """Send messages as one transaction and wait until it is committed.

        Raises:
            SinkUnavailable: the transaction is not committed, and readers of committed messages see none of the
                messages. Try again.
            MessagesRefused: Kafka will never accept some of the messages, and none is visible. Send the others.
            OwnershipLost: a newer owner took the partition.
        """
        if not messages:
            return
        if self._producer is None:
            self.start()
        producer = self._producer
        if producer is None:
            raise SinkUnavailable("the producer is not started")
        refused: dict[int, str] = {}
        try:
            producer.begin_transaction()
            self._produce(producer, messages, refused)
            if self._is_suspicious:
                producer.flush(_CALL_TIMEOUT_SECONDS)
            if not refused:
                producer.commit_transaction(_CALL_TIMEOUT_SECONDS)
                self._is_suspicious = False
                return
        except KafkaException as error:
            self._is_suspicious = True
            self._recover(producer, error)
            if not refused:
                raise _translated(error) from None
        else:
            self._abort(producer)
        raise MessagesRefused(refused)

    def _produce(self, producer: Producer, messages: Sequence[Encoded], refused: dict[int, str]) -> None:
        # This runs for every snapshot: positional arguments and no clock halve its processor time.
        produce = producer.produce
        is_suspicious = self._is_suspicious
        for number, message in enumerate(messages):
            topic, partition, key, value, headers = message
            try:
                if is_suspicious:
                    self._produce_when_room(producer, message, _follow(number, refused))
                elif headers:
                    produce(topic, value, key, partition, headers=list(headers))
                else:
                    produce(topic, value, key, partition)
            except BufferError:
                self._produce_when_room(producer, message, None)
            except (KafkaException, TypeError, ValueError) as error:
                # The client refused the message before sending it; invalid headers raise `ValueError` and `TypeError`.
                if isinstance(error, KafkaException) and error.args[0].code() not in _REFUSED:
                    raise
                refused[number] = str(error)

    def _produce_when_room(self, producer: Producer, message: Encoded, on_delivery: Delivered | None) -> None:
        deadline = time.monotonic() + _CALL_TIMEOUT_SECONDS
        followed: dict[str, Any] = {} if on_delivery is None else {"on_delivery": on_delivery}
        while True:
            try:
                producer.produce(
                    message.topic,
                    value=message.value,
                    key=message.key,
                    partition=message.partition,
                    headers=list(message.headers) or None,
                    **followed,
                )
                return
            except BufferError:
                producer.poll(0.1)
                if time.monotonic() > deadline:
                    raise KafkaException(KafkaError(KafkaError._QUEUE_FULL, "the broker accepts no messages")) from None

    def _recover(self, producer: Producer, error: KafkaException) -> None:
        """Abort the transaction so that the next call can begin one, or drop the producer for a new one."""
        details = error.args[0]
        try:
            if not details.fatal():
                producer.abort_transaction(_CALL_TIMEOUT_SECONDS)
                return
        except KafkaException:
            pass  # the new producer's init_transactions aborts what is still open
        self._producer = None

    def _abort(self, producer: Producer) -> None:
        try:
            producer.abort_transaction(_CALL_TIMEOUT_SECONDS)
        except KafkaException:
            self._producer = None  # the new producer's init_transactions aborts what is still open

    def close(self) -> None:
        """Abort an open transaction and close the producer; never raises a Kafka error."""
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                producer.abort_transaction(2.0)
            except KafkaException:
                pass  # nothing was open, or the broker is away: the transaction times out there
            producer.purge()


def _follow(number: int, refused: dict[int, str]) -> Delivered:
    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None and error.code() in _REFUSED:
            refused[number] = error.str()

    return delivered


def _translated(error: KafkaException) -> Exception:
    details = error.args[0]
    if details.code() in _FENCED:
        return OwnershipLost(details.str())
    return SinkUnavailable(f"Kafka: {details.str()}")
