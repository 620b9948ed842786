"""Fills a new store from its topics on all cores, up to where they end: one message after the other takes too long.

This process fetches whole batches and writes; processes of `unpacking` take the batches apart meanwhile. In: batches of
a follower. Out: calls of `write`, in the order of each partition, with the positions behind what each one writes.

Guarantee: whatever was given to `write` is what one process would have written there.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

from schemas.writers import SchemasAway
from services.query_api.store import unpacking
from services.query_api.store.layout import TOPICS
from services.query_api.store.marks import Mark
from services.query_api.store.messages import Message, Refused
from services.query_api.store.unpacking import AWAY, JOB, PART, SCHEMA, UNKNOWN, Batches
from services.runtime.brokers import Brokers, Place
from services.runtime.following import RETRY_SECONDS, Batch, Follower, at_positions
from services.runtime.logging import get_logger

log = get_logger(__name__)
Result = TypeVar("Result")

MANY_MESSAGES = 20_000
"""With fewer offsets than these, other processes take longer to start than they save."""

# Where a process more has no core to run on, or the one that writes is the slowest.
_MOST_PROCESSES = 3
# Compressed, as fetched: some thousand messages.
_JOB_BYTES = 1 << 20
# Records that are read at once, each of some whole batches.
_MOST_BATCHES = 100
_WAIT_SECONDS = 0.2
_PROBE_SECONDS = 2.0
_END_SECONDS = 5.0

Write = Callable[[Sequence[Message], Mapping[Place, int], Mapping[Place, Mark], int], Awaitable[None]]
"""Writes messages with positions and marks; the number is of all records that were read, also of those that don't
count."""


class Lost(Exception):
    """The topics no longer have the place up to which they were read."""


class UnpackingFailed(Exception):
    """A process that takes batches apart could not be started, or ended."""


class Part(NamedTuple):
    """What some records came to.

    Attributes:
        marks: of each partition's last record.
        read_count: how many records were read for it.
        is_last: of the batches that were given together.
    """

    messages: list[Message]
    refused: list[Refused]
    marks: dict[Place, Mark]
    read_count: int
    is_last: bool


class Unpacker:
    """A process of `unpacking`. Its calls block, each in the unpacker's own thread; one at a time.

    Args:
        fetch_schema: see `schemas.codec.RecordCodec`; asked in that thread.

    Raises:
        UnpackingFailed: it can't be started.
    """

    def __init__(self, partitions: int, fetch_schema: Callable[[int], str]) -> None:
        self._fetch_schema = fetch_schema
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="unpacker")
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter and a module beside this one
                [sys.executable, "-m", unpacking.__name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        except OSError as error:
            raise UnpackingFailed(str(error)) from None
        try:
            self._write(partitions)
        except UnpackingFailed:
            self.close()
            raise

    async def ask(self, batches: Sequence[Batches]) -> Part:
        """Give batches; returns their first part.

        Raises:
            SchemasAway: the registry does not answer: give them again.
            UnpackingFailed: the process ended.
        """
        return await self._call(self._ask, batches)

    async def part(self) -> Part:
        """The next part of what was given; raises as `ask` does."""
        return await self._call(self._part)

    async def _call(self, call: Callable[..., Part], *arguments: Any) -> Part:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    def _ask(self, batches: Sequence[Batches]) -> Part:
        self._write(JOB, list(batches))
        return self._part()

    def _part(self) -> Part:
        assert self._process.stdout is not None
        while True:
            try:
                kind, *told = unpacking.read(self._process.stdout)
            except (EOFError, OSError) as error:
                raise UnpackingFailed(str(error)) from None
            if kind == PART:
                messages, refused, marks, read_count, is_last = told
                return Part(
                    list(map(Message._make, messages)),
                    list(map(Refused._make, refused)),
                    {Place(topic, partition): Mark(*mark) for topic, partition, *mark in marks},
                    read_count,
                    is_last,
                )
            if kind == AWAY:
                raise SchemasAway(told[0])
            assert kind == SCHEMA
            self._write(*self._schema(told[0]))

    def _schema(self, schema_id: int) -> tuple[int, str]:
        try:
            return SCHEMA, self._fetch_schema(schema_id)
        except SchemasAway as error:
            return AWAY, str(error) or repr(error)
        except Exception as error:
            return UNKNOWN, str(error.args[0]) if error.args else repr(error)

    def _write(self, *what: Any) -> None:
        assert self._process.stdin is not None
        try:
            unpacking.write(self._process.stdin, *what)
        except OSError as error:
            raise UnpackingFailed(str(error)) from None

    def close(self) -> None:
        """End the process, whatever it is at; a call that is under way fails."""
        self._process.kill()
        self._process.wait(_END_SECONDS)
        self._thread.shutdown(wait=True)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                # What was not sent yet is of no use any more.
                try:
                    stream.close()
                except OSError:
                    pass


class _Job(NamedTuple):
    """Batches that are taken apart together, the positions behind them, and their first part."""

    batches: list[Batches]
    positions: dict[Place, int]
    first: asyncio.Task[tuple[Unpacker, Part]] | None


def jobs_of(batch: Batch, most_bytes: int = _JOB_BYTES) -> Iterator[tuple[list[Batches], dict[Place, int]]]:
    """What a follower gave, in pieces of about so many bytes: batches, and the positions behind each piece."""
    batches: list[Batches] = []
    positions: dict[Place, int] = {}
    size = 0
    for record in batch.records:
        if not batches or batches[-1][:2] != (record.topic, record.partition):
            batches.append((record.topic, record.partition, []))
        batches[-1][2].append(record.value or b"")
        positions[record.place] = record.offset + 1
        size += len(record.value or b"")
        if size >= most_bytes:
            yield batches, positions
            batches, positions, size = [], {}, 0
    # Behind the last records of a partition may lie ends of transactions.
    yield batches, {**positions, **batch.positions}


class Filling:
    """One fill, from positions on to the ends of the topics as they are when it begins.

    Args:
        held: positions to begin at; of other partitions, at their beginning.
        fetch_schema: see `schemas.codec.RecordCodec`; asked in threads.
        refuse: told each record that does not count.
        many: with fewer offsets than these, `run` returns at once.
    """

    def __init__(
        self,
        brokers: Brokers,
        partitions: int,
        held: Mapping[Place, int],
        fetch_schema: Callable[[int], str],
        write: Write,
        refuse: Callable[[Refused], None],
        many: int = MANY_MESSAGES,
    ) -> None:
        self._partitions = partitions
        self._fetch_schema = fetch_schema
        self._write = write
        self._refuse = refuse
        self._many = many
        self._idle: asyncio.Queue[Unpacker] = asyncio.Queue()
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue(_MOST_PROCESSES - 1)
        self._asked: set[asyncio.Task[Any]] = set()
        self.follower = Follower(
            brokers,
            TOPICS,
            range(partitions),
            begin=at_positions(held),
            name="what a new store is filled with",
            most=_MOST_BATCHES,
            wait_seconds=_WAIT_SECONDS,
            probe_seconds=_PROBE_SECONDS,
            in_batches=True,
        )

    async def run(self) -> None:
        """Fill; waits while Kafka or the registry is away.

        Raises:
            Lost: the fill has to begin anew.
            UnpackingFailed: what was written stands, and the rest can be read in another way.
            Exception: of `write`.
        """
        unpackers: list[Unpacker] = []
        try:
            await self.follower.next()
            self.follower.took()
            if sum(self.follower.left.values()) < self._many:
                return
            for _ in range(min(_MOST_PROCESSES, _cores())):
                unpackers.append(await asyncio.to_thread(Unpacker, self._partitions, self._fetch_schema))
                self._idle.put_nowait(unpackers[-1])
            async with asyncio.TaskGroup() as both:
                both.create_task(self._read())
                both.create_task(self._write_jobs())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            await self.follower.close()
            for asked in self._asked:
                asked.cancel()
            for unpacker in unpackers:
                await asyncio.to_thread(unpacker.close)
            await asyncio.gather(*self._asked, return_exceptions=True)

    async def _read(self) -> None:
        while not self.follower.is_caught_up:
            batch = await self.follower.next()
            if batch.lost:
                raise Lost
            for batches, positions in jobs_of(batch):
                first = self._started(self._first(batches)) if batches else None
                await self._jobs.put(_Job(batches, positions, first))
            self.follower.took()
        await self._jobs.put(None)

    async def _first(self, batches: Sequence[Batches]) -> tuple[Unpacker, Part]:
        """Have batches taken apart by the next process that is free; they come to their turn in order."""
        unpacker = await self._idle.get()
        return unpacker, await self._part(unpacker, batches, partial(unpacker.ask, batches))

    async def _part(self, unpacker: Unpacker, batches: Sequence[Batches], ask: Callable[[], Awaitable[Part]]) -> Part:
        """A part; where the registry is away the first one, once it is back: what was written is written again."""
        while True:
            try:
                part = await ask()
            except SchemasAway as error:
                log.warning("a message waits for its schema", reader="a new store", error=str(error) or repr(error))
                await asyncio.sleep(RETRY_SECONDS)
                ask = partial(unpacker.ask, batches)
            else:
                if part.is_last:
                    self._idle.put_nowait(unpacker)
                return part

    async def _write_jobs(self) -> None:
        while (job := await self._jobs.get()) is not None:
            if job.first is None:
                await self._write([], job.positions, {}, 0)
                continue
            unpacker, part = await job.first
            while not part.is_last:
                following = self._started(self._part(unpacker, job.batches, unpacker.part))
                await self._tell(part, {})
                part = await following
            await self._tell(part, job.positions)

    async def _tell(self, part: Part, positions: Mapping[Place, int]) -> None:
        for refused in part.refused:
            self._refuse(refused)
        await self._write(part.messages, positions, part.marks, part.read_count)

    def _started(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.create_task(work)
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)
        return task


def _cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
