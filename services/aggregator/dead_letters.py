"""Finds dead letters for the operator's commands. Reads only."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from schemas.codec import Codec, MalformedEvent
from schemas.events import DeadLetter, PlatformRaw
from schemas.topic_names import DEAD_LETTERS, RAW
from services.aggregator.letters import IDENTITY_HEADER, SHORTENED_HEADER, identity
from services.aggregator.topic_reader import TopicReader
from services.runtime.registry import Registry
from services.runtime.settings import KafkaSettings, RegistrySettings

# Header of a message that was sent again: the message's first place, as `topic/partition/offset`.
REDRIVEN_HEADER = "tidemark-redriven-from"


# The reason of a note. A note is not of a failed message: it says that an operator sent the message of `origin` again.
REDRIVEN = "redriven"


class Origin(NamedTuple):
    """A message's place: full name of the topic, partition and offset."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Parse `topic/partition/offset`, the inverse of `str`.

        Raises:
            ValueError: the text has another form.
        """
        parts = text.rsplit("/", 2)
        if len(parts) != 3 or not parts[1].isdecimal() or not parts[2].isdecimal():
            raise ValueError(f"{text!r} is not topic/partition/offset, as `tidemark dead-letters list` shows it")
        return cls(parts[0], int(parts[1]), int(parts[2]))


@dataclass(frozen=True, slots=True)
class Filter:
    """Chooses dead letters; a letter must meet every condition that is given.

    Attributes:
        reasons: the letter has one of these reasons; empty for any reason.
        workspace: the letter is of this workspace; None for any workspace.
        since: the message failed at this instant or later, ms; None for any time.
    """

    reasons: frozenset[str] = frozenset()
    workspace: str | None = None
    since: int | None = None

    def takes(self, letter: DeadLetter) -> bool:
        """Whether the filter chooses a letter; notes of redrives are never chosen."""
        return (
            letter.reason != REDRIVEN
            and (not self.reasons or letter.reason in self.reasons)
            and (self.workspace is None or letter.workspace_id == self.workspace)
            and (self.since is None or letter.failed_at >= self.since)
        )


class Found(NamedTuple):
    """A dead letter, and the letter's own place in the dead-letter topic."""

    letter: DeadLetter
    at: Origin

    @property
    def origin(self) -> Origin:
        """The place where the aggregator read the message."""
        return Origin(self.letter.origin_topic, self.letter.origin_partition, self.letter.origin_offset)

    @property
    def root(self) -> Origin:
        """The message's first place; differs from `origin` for a message that was sent again and failed again."""
        header = self.letter.headers.get(REDRIVEN_HEADER)
        try:
            return Origin.parse(header.decode()) if header else self.origin
        except ValueError:
            return self.origin

    @property
    def is_shortened(self) -> bool:
        """Whether the letter holds only the first bytes of its message."""
        return SHORTENED_HEADER in self.letter.headers

    def identity(self, codec: Codec[PlatformRaw]) -> bytes:
        """Identifies the message: after the topic was created anew, another message in the same place differs."""
        return self.letter.headers.get(IDENTITY_HEADER) or identity(codec, self.letter.payload)

    def without_payload(self) -> Found:
        """The same letter without its payload, so that many fit in memory."""
        letter = self.letter
        return Found(
            DeadLetter(
                letter.workspace_id, letter.reason, letter.detail, letter.origin_topic, letter.origin_partition,
                letter.origin_offset, letter.origin_key, b"", letter.failed_at, letter.headers,
            ),
            self.at,
        )  # fmt: skip


class Listed(NamedTuple):
    """A dead letter, and when its message was sent again (ms); None when nobody sent it after this letter."""

    found: Found
    redriven_at: int | None


class DeadLetters:
    """Reads the dead-letter topic; each call reads the topic's content of that moment.

    Args:
        reader: the connection to Kafka; the caller closes it.

    Raises:
        RegistryUnavailable: the registry can't be reached or lacks a schema.
    """

    def __init__(self, kafka: KafkaSettings, registry: RegistrySettings, reader: TopicReader) -> None:
        self._topic = kafka.topic(DEAD_LETTERS)
        schemas = Registry(registry, kafka)
        self._codec: Codec[DeadLetter] = schemas.codec(DEAD_LETTERS)
        self.raw_codec: Codec[PlatformRaw] = schemas.codec(RAW)
        self._reader = reader

    def newest(self, wanted: Filter, limit: int) -> list[Listed]:
        """The newest letters, oldest first, without payloads.

        Raises:
            TopicUnreadable: Kafka can't be read.
        """
        redriven: dict[Origin, int] = {}

        def light() -> Iterator[tuple[int, int, Found]]:
            read = self._everything(wanted.since, limit if wanted == Filter() else None)
            for number, found in enumerate(read):
                if found.letter.reason == REDRIVEN:
                    redriven[found.origin] = max(found.letter.failed_at, redriven.get(found.origin, 0))
                elif wanted.takes(found.letter):
                    yield found.letter.failed_at, number, found.without_payload()

        newest = [found for _, _, found in sorted(heapq.nlargest(limit, light()))]
        notes = [redriven.get(found.root) for found in newest]
        return [
            Listed(found, at if at is not None and at >= found.letter.failed_at else None)
            for found, at in zip(newest, notes, strict=True)
        ]

    def reasons(self, wanted: Filter) -> dict[str, int]:
        """The number of letters by reason; of `wanted` every condition counts except the reasons.

        Raises:
            TopicUnreadable: Kafka can't be read.
        """
        return dict(Counter(found.letter.reason for found in self.all(replace(wanted, reasons=frozenset()))))

    def one(self, origin: Origin) -> Found | None:
        """The last letter of the message that was read at `origin`; None when there is no such letter.

        Raises:
            TopicUnreadable: Kafka can't be read.
        """
        last = None
        for found in self.all(Filter()):
            if found.origin == origin:
                last = found
        return last

    def all(self, wanted: Filter) -> Iterator[Found]:
        """Yield the wanted letters partition by partition, oldest first within a partition.

        Raises:
            TopicUnreadable: Kafka can't be read.
        """
        return (found for found in self._everything(wanted.since, None) if wanted.takes(found.letter))

    def _everything(self, since: int | None, newest: int | None) -> Iterator[Found]:
        """Yield letters and notes; with `newest`, only about the last `newest` of each partition."""
        for partition in self._reader.partitions(self._topic):
            low, high = self._reader.bounds(self._topic, partition)
            start = low if newest is None else max(low, high - 2 * newest)  # half of the offsets may be markers
            if since is not None:
                start = max(start, self._reader.since(self._topic, partition, since))
            yield from self._read(partition, start, high)

    def at(self, places: Iterable[Origin]) -> Iterator[Found]:
        """Yield the letters that stand at these places of the dead-letter topic, by partition and offset.

        Raises:
            TopicUnreadable: Kafka can't be read.
        """
        for place in sorted(places):
            yield from self._read(place.partition, place.offset, place.offset + 1)

    def _read(self, partition: int, start: int, end: int) -> Iterator[Found]:
        for message in self._reader.read(self._topic, partition, start, end):
            value = message.intact
            if value is None:
                continue
            try:
                letter = self._codec.decode(value)
            except MalformedEvent:
                continue  # the aggregator did not write this message, so there is nothing to send again
            yield Found(letter, Origin(self._topic, partition, message.offset))

    def note_redriven(self, root: Origin, workspace_id: str, key: bytes | None, now: int) -> bytes:
        """Encode a note for the dead-letter topic: the message of `root` was sent again at `now` (ms)."""
        return self._codec.encode(
            DeadLetter(
                workspace_id, REDRIVEN, "sent again by an operator", root.topic, root.partition, root.offset, key, b"",
                now, {},
            )
        )  # fmt: skip
