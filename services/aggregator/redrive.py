"""Sends the messages of dead letters to `platform.raw` again, once the cause of their failure is fixed.

Guarantee: at least once, in the messages' old order within a partition. Repeating is safe: an event counts once by its
id, however often it comes. A message that fails again becomes a dead letter that names the message's first place, so
that a later redrive sends the message once, and not once for each try.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as Delivered

from schemas.codec import Codec
from schemas.events import PlatformRaw
from schemas.topic_names import RAW
from services.aggregator.dead_letters import REDRIVEN_HEADER, DeadLetters, Filter, Found, Origin
from services.aggregator.letters import identity
from services.aggregator.reading import Message
from services.aggregator.topic_reader import TopicReader, TopicUnreadable
from services.runtime.clock import Clock
from services.runtime.kafka import confluent_options, partition_of
from services.runtime.settings import MESSAGE_MAX_BYTES, KafkaSettings

# Original messages whose offsets are nearer to each other than this are read in one go.
_GAP_OFFSETS = 5_000
_FLUSH_SECONDS = 60.0
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One message to send again.

    Attributes:
        root: the message's first place.
        letter: the place of the message's newest dead letter.
        identity: identifies the message; after the topic was created anew, another message in its place differs.
    """

    root: Origin
    letter: Origin
    workspace_id: str
    reason: str
    identity: bytes


@dataclass(slots=True)
class Redriven:
    """Counts of one redrive.

    Attributes:
        from_originals: number of messages sent as first received.
        from_payloads: number of messages whose original is gone, sent as kept in their dead letters: with everything
            like a token blanked.
        by_reason: number of candidates by reason.
        failures: one text for each message that could not be sent.
    """

    from_originals: int = 0
    from_payloads: int = 0
    by_reason: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def candidates(letters: Iterable[Found], codec: Codec[PlatformRaw]) -> list[Candidate]:
    """The letters' messages, each once, ordered by first place.

    Args:
        letters: in any order, but the letters of one message must come oldest first.
    """
    by_root: dict[Origin, Candidate] = {}
    for found in letters:
        letter = found.letter
        by_root[found.root] = Candidate(found.root, found.at, letter.workspace_id, letter.reason, found.identity(codec))
    return [by_root[root] for root in sorted(by_root)]


class Redrive:
    """One run of the command.

    Args:
        reader: reads original messages, by another connection than that of `letters`, since both are read by turns;
            the caller closes it.
    """

    def __init__(self, kafka: KafkaSettings, letters: DeadLetters, reader: TopicReader, clock: Clock) -> None:
        self._kafka = kafka
        self._clock = clock
        self._sent: list[Candidate] = []
        self._raw = kafka.topic(RAW)
        self._letters = letters
        self._reader = reader

    def run(self, wanted: Filter, *, is_dry: bool, progress: Progress) -> Redriven:
        """Send the chosen messages again and wait until Kafka confirmed them.

        Args:
            is_dry: count without sending.

        Raises:
            TopicUnreadable: Kafka can't be read.
        """
        done = Redriven()
        progress("looking for dead letters", 0, 0)
        chosen = candidates(self._letters.all(wanted), self._letters.raw_codec)
        for candidate in chosen:
            done.by_reason[candidate.reason] = done.by_reason.get(candidate.reason, 0) + 1
        if is_dry or not chosen:
            return done
        partitions = len(self._reader.partitions(self._raw))
        producer = Producer(
            {
                **confluent_options(self._kafka),
                "enable.idempotence": True,
                "message.max.bytes": MESSAGE_MAX_BYTES,
                "compression.type": "gzip",
                "compression.level": 1,
                "log_level": 0,
            }
        )
        sent = 0
        for _, group in groupby(chosen, attrgetter("root.topic", "root.partition")):
            some = list(group)
            for candidate, original in self._with_originals(some):
                self._send(producer, candidate, original, partitions, done)
                sent += 1
                progress(f"partition {candidate.root.partition}", sent, len(chosen))
        if not producer.flush(_FLUSH_SECONDS):
            self._note(producer, done)
        if len(producer):
            done.failures.append("Kafka did not confirm all messages in time; run the command again, repeating is safe")
        return done

    def _note(self, producer: Producer, done: Redriven) -> None:
        """Write notes beside the letters whose messages were sent again, once Kafka has confirmed the messages."""
        now = self._clock.now()
        for candidate in self._sent:
            note = self._letters.note_redriven(candidate.root, candidate.workspace_id, None, now)
            key = candidate.workspace_id.encode() or None
            self._produce(producer, candidate.letter.topic, candidate.letter.partition, key, note, {}, done)
        producer.flush(_FLUSH_SECONDS)

    def _with_originals(self, chosen: Sequence[Candidate]) -> Iterator[tuple[Candidate, Message | None]]:
        """Yield one partition's candidates in order, each with its original message; None where that is gone."""
        topic, partition, _ = chosen[0].root
        if topic != self._raw:
            yield from ((candidate, None) for candidate in chosen)
            return
        low, high = self._reader.bounds(topic, partition)
        for cluster in _clusters(chosen):
            first, last = cluster[0].root.offset, cluster[-1].root.offset
            waiting = deque(cluster)
            for message in self._reader.read(topic, partition, max(first, low), min(last + 1, high)):
                while waiting and waiting[0].root.offset < message.offset:
                    yield waiting.popleft(), None
                if waiting and waiting[0].root.offset == message.offset:
                    candidate = waiting.popleft()
                    yield candidate, message if self._is_same(message, candidate) else None
            yield from ((candidate, None) for candidate in waiting)

    def _is_same(self, message: Message, candidate: Candidate) -> bool:
        value = message.intact
        return value is not None and identity(self._letters.raw_codec, value) == candidate.identity

    def _send(
        self, producer: Producer, candidate: Candidate, original: Message | None, partitions: int, done: Redriven
    ) -> None:
        if original is not None:
            key, value = original.key, original.value
            # Sent without its headers, which say nothing about the event: the client fails at a name that is not UTF-8.
            headers: dict[str, bytes] = {}
            done.from_originals += 1
        else:
            found = next(self._letters.at([candidate.letter]), None)
            if found is None:
                done.failures.append(f"{candidate.root}: neither the message nor its dead letter is stored any more")
                return
            if found.is_shortened:
                done.failures.append(
                    f"{candidate.root}: the message is gone, and its dead letter holds only the message's first bytes"
                )
                return
            key, value, headers = found.letter.origin_key, found.letter.payload, dict(found.letter.headers)
            done.from_payloads += 1
        headers[REDRIVEN_HEADER] = str(candidate.root).encode()
        workspace_id = candidate.workspace_id
        home = partition_of(workspace_id, partitions) if workspace_id else candidate.root.partition % partitions
        self._produce(producer, self._raw, home, key, value, headers, done, candidate)

    def _produce(
        self,
        producer: Producer,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: dict[str, bytes],
        done: Redriven,
        candidate: Candidate | None = None,
    ) -> None:
        def delivered(error: KafkaError | None, message: Delivered) -> None:
            if error is not None:
                done.failures.append(f"{candidate.root if candidate else 'a note'}: {error.str()}")
            elif candidate is not None:
                self._sent.append(candidate)

        while True:
            try:
                producer.produce(
                    topic,
                    value=value,
                    key=key,
                    partition=partition,
                    headers=list(headers.items()),
                    on_delivery=delivered,
                )
                producer.poll(0)
                return
            except BufferError:
                producer.poll(0.2)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    # With the header that names its first place, the message is longer than a message may be.
                    done.failures.append(f"{headers[REDRIVEN_HEADER].decode()}: {error.args[0].str()}")
                    return
                raise TopicUnreadable(f"Kafka can't be written ({error.args[0].str()})") from None


def _clusters(chosen: Sequence[Candidate]) -> Iterator[list[Candidate]]:
    cluster: list[Candidate] = []
    for candidate in chosen:
        if cluster and candidate.root.offset - cluster[-1].root.offset > _GAP_OFFSETS:
            yield cluster
            cluster = []
        cluster.append(candidate)
    if cluster:
        yield cluster
