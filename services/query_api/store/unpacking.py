"""Takes batches of the topics apart, in a process of its own: the half of a fill that needs neither broker nor store.

In, on standard input: the number of partitions, then batches as the broker stored them. Out, on standard output: the
messages that count, in order, in parts. The process that asks fetches the schemas, and this process ends with it.
`filling` is its other side.
"""

from __future__ import annotations

import gc
import marshal
import os
import signal
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final

from schemas.writers import SchemasAway
from services.query_api.store.marks import Mark, last_marks
from services.query_api.store.messages import Refused, decoders, messages
from services.runtime.brokers import Place, Record
from services.runtime.fetching import unpacked

Batches = tuple[str, int, list[bytes]]
"""Topic, partition, and batches in order."""

JOB, SCHEMA, PART, AWAY, UNKNOWN = range(5)
"""Kinds of what is written: batches to take apart, with whether messages follow them; a schema's id, or its text; some
messages; the registry does not answer; there is no such schema."""

PART_MESSAGES: Final = 5_000
"""Of one part, which is also one transaction of the store."""
PART_BYTES: Final = 16 * 1024 * 1024
"""A part ends behind the record with which its keys and values have this many bytes: 1 MiB of batches may hold a
thousand values of 8 MiB."""

_SIZE = struct.Struct("=I")


def write(stream: IO[bytes], *what: Any) -> None:
    """Write one thing; these are plain values, and both sides are of the same interpreter."""
    data = marshal.dumps(what)
    stream.write(_SIZE.pack(len(data)))
    stream.write(data)
    stream.flush()


def read(stream: IO[bytes]) -> tuple[Any, ...]:
    """Read what `write` wrote.

    Raises:
        EOFError: the other side is gone.
    """
    head = stream.read(_SIZE.size)
    if len(head) < _SIZE.size:
        raise EOFError("the other process is gone")
    size = _SIZE.unpack(head)[0]
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("the other process is gone")
    found: tuple[Any, ...] = marshal.loads(data)  # noqa: S302 - of our own process
    return found


def main() -> None:
    """Take apart what is asked for until standard input ends."""
    # Who asks ends this process; a Ctrl-C reaches both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Millions of tuples are made and none is part of a cycle: to look for cycles among them took a tenth of the time.
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)
    # Whatever is printed must not lie between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        _answer(sys.stdin.buffer, answers)
    except (EOFError, BrokenPipeError):
        # Also the end of the buffered stream would be written to nobody.
        os._exit(0)


def _answer(asked: IO[bytes], answers: IO[bytes]) -> None:
    def fetch_schema(schema_id: int) -> str:
        write(answers, SCHEMA, schema_id)
        kind, text = read(asked)
        if kind == AWAY:
            raise SchemasAway(text)
        if kind == UNKNOWN:
            raise KeyError(text)
        return str(text)

    known = decoders(fetch_schema)
    (partitions,) = read(asked)
    while True:
        _, jobs = read(asked)
        refused: list[Refused] = []
        marks: dict[Place, Mark] = {}
        records = _records(jobs)
        try:
            some = _some(records)
            while True:
                found = messages(some, known, partitions, refused.append)
                marks |= last_marks(some)
                more = _some(records)
                write(answers, PART, [tuple(one) for one in found], [tuple(one) for one in refused],
                      [(*place, *mark) for place, mark in marks.items()], len(some), not more)  # fmt: skip
                if not more:
                    break
                some, refused, marks = more, [], {}
        except SchemasAway as error:
            write(answers, AWAY, str(error) or repr(error))


def _records(jobs: Sequence[Batches]) -> Iterator[Record]:
    for topic, partition, batches in jobs:
        for batch in batches:
            for record in unpacked(batch):
                # Without its headers, which say nothing here and take memory.
                yield Record(topic, partition, record.offset, record.timestamp, record.key, record.value)


def _some(records: Iterator[Record]) -> list[Record]:
    """The records of the next part; [] at the end."""
    some: list[Record] = []
    size = 0
    for record in records:
        some.append(record)
        size += len(record.key or b"") + len(record.value or b"")
        if size >= PART_BYTES or len(some) >= PART_MESSAGES:
            break
    return some


if __name__ == "__main__":
    main()
