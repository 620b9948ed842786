"""Reads messages into batches, and makes dead letters of messages that fail at any step: reading, folding or storing.

No message makes this module raise. An unexpected error is a bug: the message becomes a dead letter that names the
bug's place in the code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from schemas.codec import Codec
from schemas.events import DeadLetter, PlatformRaw
from schemas.topic_names import DEAD_LETTERS, RAW
from services.aggregator import metrics
from services.aggregator.batch import Batch
from services.aggregator.errors import InvalidEvent
from services.aggregator.letters import LETTER_MAX_BYTES, dead_letter
from services.aggregator.publisher import Encoded
from services.aggregator.reading import Message, RawReading, describe_bug, read_message
from services.aggregator.rows import Row
from services.aggregator.settings import AggregatorSettings
from services.runtime.clock import Clock
from services.runtime.kafka import partition_of
from services.runtime.logging import get_logger
from services.runtime.tracing import UNTRACED, Tracer

log = get_logger(__name__)
_PROCESS = f"process {RAW}"
# Reasons of dead letters that a bug may cause.
_BUGS = frozenset({"not_read", "mapping_failed", "not_folded", "not_stored"})


class BatchReader:
    """Reads messages of one partition.

    Args:
        partition: the partition's number.
        raw: the codec of the events.
        letters: the codec of the dead letters.
        tracer: traces the reading of each message, in the trace that the message's headers carry.
    """

    def __init__(
        self,
        partition: int,
        settings: AggregatorSettings,
        raw: Codec[PlatformRaw],
        letters: Codec[DeadLetter],
        clock: Clock,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._partition = partition
        self._tracer = tracer
        self._settings = settings
        self._raw = raw
        self._letters = letters
        self._clock = clock

    def read(self, messages: Sequence[Message]) -> Batch:
        """Read messages into a batch of usable events, misplaced messages, and dead letters of unusable messages."""
        batch = Batch()
        now = self._clock.now()
        for message in messages:
            try:
                read = self._read_traced(message) if self._tracer.is_on else read_message(self._raw, message)
            except InvalidEvent as error:
                self._set_aside(batch, message, error, now)
                continue
            home = partition_of(read.event.workspace_id, self._settings.topic_partitions)
            if home != self._partition:
                size = message.sent_bytes
                if size > LETTER_MAX_BYTES:
                    # Kafka would refuse the copy: with Kafka's overhead it is longer than a message may be.
                    detail = f"an event of {size} bytes stands in another tenant's partition and can't be moved"
                    self._set_aside(batch, message, InvalidEvent("misplaced", detail, read.event.workspace_id), now)
                else:
                    batch.misplaced.append((message, home))
                continue
            if read.failure is not None:
                self._set_aside(batch, message, read.failure, now)
            batch.raw.append(read)
        return batch

    def _read_traced(self, message: Message) -> RawReading:
        """Read a message within a span.

        Raises:
            InvalidEvent: as `read_message`; the span holds its reason alone.
        """
        span = self._tracer.received(_PROCESS, message.headers)
        if not span.is_recorded:
            return read_message(self._raw, message)
        span.note(
            {
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.destination.name": message.topic,
                "messaging.destination.partition.id": str(message.partition),
                "messaging.kafka.offset": message.offset,
            }
        )
        try:
            read = read_message(self._raw, message)
        except InvalidEvent as error:
            span.fail(error.reason)
            raise
        else:
            span.note({"tidemark.workspace_id": read.event.workspace_id, "tidemark.channel_id": read.event.channel_id})
            if read.failure is None:
                # The name of a platform that Tidemark knows.
                span.note({"tidemark.platform": read.event.platform})
            else:
                span.fail(read.failure.reason)
            return replace(read, trace=span)
        finally:
            span.end()

    def _set_aside(self, batch: Batch, message: Message, error: InvalidEvent, now: int) -> None:
        """Make the dead letter of a message; never raises."""
        if error.reason in _BUGS:
            log.error(
                "event_failed", reason=error.reason, bug=error.detail, partition=self._partition, at=message.offset
            )
        try:
            letter = dead_letter(self._raw, message, error, now)
            # Encoded here to find out whether the letter's strings can be encoded.
            self._letters.encode(letter)
        except Exception as bug:
            log.error("dead_letter_failed", bug=describe_bug(bug), partition=self._partition, at=message.offset)
            letter = DeadLetter(
                "", error.reason, "the message can't be shown", message.topic, message.partition, message.offset, None,
                b"", now,
            )  # fmt: skip
        batch.dead.append(letter)

    def encoded(self, dead: DeadLetter) -> Encoded:
        """A letter ready to send: to its workspace's partition, or to this partition if it names no workspace."""
        home = self._partition
        if dead.workspace_id:
            home = partition_of(dead.workspace_id, self._settings.topic_partitions)
        topic = self._settings.topic(DEAD_LETTERS)
        return Encoded(topic, home, dead.workspace_id.encode(), self._letters.encode(dead))

    def not_moved(self, batch: Batch | None, raw_topic: str, refused: Sequence[Encoded]) -> list[Encoded]:
        """Dead letters of the misplaced events among messages that Kafka refused.

        Args:
            batch: the batch with the misplaced events; None for messages without a batch.
            refused: the refused messages; messages of other topics are ignored.
        """
        letters = Batch()
        for encoded in refused:
            for message, _ in batch.misplaced if batch is not None and encoded.topic == raw_topic else ():
                if message.value is encoded.value:
                    failure = InvalidEvent("misplaced", "it stands in another tenant's partition and can't be moved")
                    self._set_aside(letters, message, failure, self._clock.now())
        return [self.encoded(letter) for letter in letters.dead]

    def not_stored(self, batch: Batch, refused: Sequence[tuple[Row, str]]) -> list[Encoded]:
        """Dead letters of events whose rows ClickHouse refused; the letters are also added to the batch.

        Args:
            refused: refused rows of raw events, each with the reason.
        """
        by_id = {(read.event.workspace_id, read.event.event_id): read for read in batch.raw}
        letters = Batch()
        for row, why in refused:
            read = by_id.get((row[0], row[1]))
            if read is not None:
                failure = InvalidEvent("not_stored", why, read.event.workspace_id)
                self._set_aside(letters, read.message, failure, self._clock.now())
        batch.dead += letters.dead
        return [self.encoded(letter) for letter in letters.dead]

    def without_culprit(self, batch: Batch, error: Exception) -> Batch:
        """Turn a batch of one event, write or key that can't be applied into a batch with the event's dead letter.

        A catalog write or a key gets no dead letter, and is logged instead.
        """
        bug = describe_bug(error)
        now = self._clock.now()
        left = Batch(dead=batch.dead, misplaced=batch.misplaced)
        for read in batch.raw:
            failure = InvalidEvent("not_folded", bug, read.event.workspace_id)
            self._set_aside(left, read.message, failure, now)
        for write in batch.catalog:
            metrics.SKIPPED_WRITES.inc()
            log.error("catalog_write_failed", workspace=write.workspace_id, id=write.id, bug=bug)
        if batch.expired or batch.reemitted:
            log.error("totals_failed", keys=[*batch.expired, *batch.reemitted], bug=bug)
        return left


def key_of(letter: DeadLetter) -> str:
    """The message's key as text: it names the workspace of an event that does not, since producers key by workspace."""
    return (letter.origin_key or b"").decode(errors="replace")
