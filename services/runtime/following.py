"""Reads topics without a group, from a point to their end and then for good.

In: where to begin, and a function that takes batches. Out: batches, in the order of each partition. A follower
reconnects by itself at the positions that it has reached. It knows when it has read to the end, and how far it is
behind.

Guarantee: at-least-once. A batch is given again until it counts as taken. A caller that stores its positions in one
transaction with a batch's effects, and begins `at_positions` that it stored, has each message's effect once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

from services.runtime.brokers import Bounds, Brokers, BrokersUnavailable, Place, Reader, Record, last_of_each
from services.runtime.clock import Clock, SystemClock
from services.runtime.ends import Ends
from services.runtime.keeping import CommittedPositions
from services.runtime.lag import Lag, LagMeter
from services.runtime.logging import get_logger

_log = get_logger(__name__)
# Waits between attempts to connect; the last wait repeats.
_BACKOFF_SECONDS = (0.25, 0.5, 1.0)
RETRY_SECONDS = 1.0
"""The wait before a batch that could not be taken is given again."""


@dataclass(slots=True)
class Batch:
    """Messages that were read at once. A batch may be empty: it then tells that no message came.

    Attributes:
        records: in the order of each partition. A caller that takes records one by one removes each taken record;
            after a failure only the records that are left are given again.
        positions: the next offset of every partition that moved, also where it moved past ends of transactions only.
        lost: partitions that no longer have the follower's position: the topic was made anew under the same name, or
            retention removed the message. These partitions begin anew with this batch, as if never read.
    """

    records: deque[Record] = field(default_factory=deque)
    positions: dict[Place, int] = field(default_factory=dict)
    lost: frozenset[Place] = frozenset()


Start = Callable[[Reader, Mapping[Place, Bounds]], Awaitable[Mapping[Place, int]]]
"""Chooses where partitions begin, given their bounds; a partition without the chosen offset begins at its first one."""

Take = Callable[[Batch], Awaitable[None]]
"""Takes one batch; returning means that the batch counts as taken."""


async def at_beginning(_: Reader, bounds: Mapping[Place, Bounds]) -> Mapping[Place, int]:
    """Begin with the first message that the partition still holds."""
    return {place: bound.begin for place, bound in bounds.items()}


async def at_end(_: Reader, bounds: Mapping[Place, Bounds]) -> Mapping[Place, int]:
    """Begin with messages written from now on."""
    return {place: bound.end for place, bound in bounds.items()}


async def at_committed(reader: Reader, bounds: Mapping[Place, Bounds]) -> Mapping[Place, int]:
    """Begin at the offsets that the reader's group committed, and at the first message of other partitions."""
    found = await reader.committed(bounds)
    return {place: bound.begin if (at := found[place]) is None else at for place, bound in bounds.items()}


def at_positions(held: Mapping[Place, int]) -> Start:
    """Begin at offsets that the caller kept, and at the first message of partitions that it does not name.

    Args:
        held: next offset by partition; read at each connection, so the caller may go on changing it.
    """

    async def start(_: Reader, bounds: Mapping[Place, Bounds]) -> Mapping[Place, int]:
        return {place: held.get(place, bound.begin) for place, bound in bounds.items()}

    return start


def at_instants(instants: Callable[[Place], int]) -> Start:
    """Begin with the first message that is not older than the partition's instant (ms); at the end without one."""

    async def start(reader: Reader, bounds: Mapping[Place, Bounds]) -> Mapping[Place, int]:
        found = await reader.offsets_at({place: instants(place) for place in bounds})
        # The end may have moved since the bounds were asked for.
        return {
            place: min(bound.end, bound.end if (at := found[place]) is None else at) for place, bound in bounds.items()
        }

    return start


class Follower:
    """Follows the same partitions of several topics.

    Pull: `next`, then `took`. Push: `run`, or `start` and `stop`.

    Args:
        topics: names without prefix.
        take: receives the batches of `run`.
        begin: where partitions without a position begin.
        retry_on: errors of `take` after which the batch is given again, however often; other errors end `run`.
        is_committed: whether only messages of committed transactions are read, and none after an open one.
        group: the group of `at_committed` and `commit`; the follower is no member of it. See `keeping`.
        name: the follower's name in the log; by default the names of its topics.
        most: how many records a batch may have.
        wait_seconds: how long to wait for messages before an empty batch is given.
        probe_seconds: how often an idle connection asks Kafka for ends, and how long the answer may take; an idle
            connection does not notice by itself that its brokers are gone. None: no such question.
        in_batches: see `Brokers.reader`.
        on_current: called with True once everything written before the connection was read, and with False when
            this is no longer sure.
        clock: the clock that messages' times are compared with.
        now: seconds of a clock that only goes forward.
        pause: waits for a number of seconds.
    """

    def __init__(
        self,
        brokers: Brokers,
        topics: Iterable[str],
        partitions: Iterable[int],
        take: Take | None = None,
        *,
        begin: Start = at_beginning,
        retry_on: tuple[type[Exception], ...] = (),
        is_committed: bool = True,
        group: str | None = None,
        name: str = "",
        most: int = 2_000,
        wait_seconds: float = 0.5,
        probe_seconds: float | None = None,
        in_batches: bool = False,
        on_current: Callable[[bool], None] = lambda _: None,
        clock: Clock | None = None,
        now: Callable[[], float] = monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        names, numbers = tuple(topics), tuple(partitions)
        self.places = tuple(Place(topic, number) for topic in names for number in numbers)
        self._make_reader = partial(
            brokers.reader, is_committed=is_committed, group=group, wait_seconds=wait_seconds, in_batches=in_batches
        )
        self._take = take
        self._begin = begin
        self._retry_on = retry_on
        self._name = name or ", ".join(names)
        self._most = most
        self._wait_seconds = wait_seconds
        self._probe_seconds = probe_seconds
        self._on_current = on_current
        self._now = now
        self._pause = pause
        self._reader: Reader | None = None
        self._given: Batch | None = None
        self._read_to: dict[Place, int] = {}
        self._positions: dict[Place, int] = {}
        self._meter = LagMeter(self._positions, clock or SystemClock(), now)
        # Of the present connection: the ends at its beginning, and the offsets left until them.
        self._ends: dict[Place, int] = {}
        self._left: set[Place] = set(self.places)
        self._heard_at = self._probed_at = now()
        self._committed = CommittedPositions(self._name, now)
        self._failures = 0
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.is_caught_up = False
        """Whether the follower has once taken everything that was written before it connected; stays true."""
        self.is_current = False
        """Whether the connection stands, and everything that was written before this connection is taken."""
        self.read_count = 0
        """How many messages were read so far."""

    @property
    def positions(self) -> dict[Place, int]:
        """The next offset of each partition; {} before the first connection."""
        return dict(self._positions)

    def position(self, topic: str, partition: int) -> int:
        """One partition's next offset; 0 before the first connection."""
        return self._positions.get(Place(topic, partition), 0)

    @property
    def is_connected(self) -> bool:
        """Whether the follower stands at its positions, so that it misses nothing written from now on."""
        return self._reader is not None

    @property
    def left(self) -> dict[Place, int]:
        """Offsets left until the ends at the time of the connection, by partition.

        Empty before the connection, and empty again once the ends are reached; `is_caught_up` tells the two apart.
        """
        at = {**self._read_to, **self._positions}
        return {place: self._ends[place] - at[place] for place in self._left if place in self._ends}

    @property
    def silent_seconds(self) -> float:
        """For how many seconds it has been unsure whether everything is read; 0 while it is sure."""
        return 0.0 if self.is_current else self._now() - self._heard_at

    def lag(self) -> Lag:
        """How far the follower is behind, by Kafka's last answer."""
        return self._meter.lag(self._left, self.silent_seconds)

    async def caught_up(self) -> None:
        """Wait until everything that was written before the connection is taken."""
        while not self.is_caught_up:
            await self._moved.wait()

    async def reached(self, positions: Mapping[Place, int]) -> None:
        """Wait until the follower's positions have reached or passed all of these offsets."""
        while any(self._positions.get(place, 0) < offset for place, offset in positions.items()):
            await self._moved.wait()

    async def read_written(self, ends: Ends, places: Sequence[Place] = ()) -> None:
        """Wait until everything is taken that was written before this call to these partitions, by default to all.

        Guarantee: what another topic was told later is not looked at before this topic's cause of it. Waits while
        Kafka is away, and ends also where a topic is made anew meanwhile.
        """
        goals: dict[Place, int] = {}
        while True:
            now = await ends.ask(places or self.places)
            goals = {place: min(end, goals.get(place, end)) for place, end in now.items()}
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS):
                    return await self.reached(goals)

    async def next(self) -> Batch:
        """The next batch, or the same batch again until `took` was called. Waits while Kafka is away.

        Guarantee: cancelling this call loses no message.
        """
        while self._given is None:
            try:
                if self._reader is None:
                    self._given = await self._connect()
                else:
                    self._given = await self._read(self._reader)
                    self._failures = 0
            except BrokersUnavailable as error:
                seconds = _BACKOFF_SECONDS[min(self._failures, len(_BACKOFF_SECONDS) - 1)]
                self._failures += 1
                _log.warning("topics can't be read; trying again", reader=self._name, error=str(error))
                await self._disconnect()
                await self._pause(seconds)
            except BaseException:
                # Records that were read and not given yet are read again.
                await self._disconnect()
                raise
        return self._given

    def took(self) -> None:
        """Count the last batch of `next` as taken, and go on after it."""
        batch, self._given = self._given, None
        if batch is None:
            return
        self._positions |= batch.positions
        self._meter.moved(batch.positions)
        self._left = {place for place in self._left if self._positions.get(place, 0) < self._ends.get(place, 1)}
        if not self._left and self._reader is not None and not self.is_current:
            self.is_current = self.is_caught_up = True
            self._on_current(True)
        self._tell()

    async def commit(self, positions: Mapping[Place, int]) -> None:
        """Commit positions for the follower's group.

        Raises:
            BrokersUnavailable: the positions are not committed, so a restart would read some messages again.
        """
        if self._reader is None:
            raise BrokersUnavailable("not connected")
        await self._reader.commit(positions)
        self._committed.note(positions)

    async def run(self, *, until_caught_up: bool = False) -> None:
        """Give batches to `take` until the task is cancelled, or until the follower is caught up.

        Args:
            until_caught_up: whether to return once everything that was written before the connection is taken.

        Raises:
            Exception: any error of `take` that is not among `retry_on`.
        """
        assert self._take is not None, "nothing takes the batches"
        try:
            while not (until_caught_up and self.is_caught_up):
                batch = await self.next()
                try:
                    await self._take(batch)
                except self._retry_on as error:
                    _log.warning("a message waits for its schema", reader=self._name, error=str(error) or repr(error))
                    await self._pause(RETRY_SECONDS)
                    continue
                self.took()
                # Messages that are there already need no waiting: let the process's other tasks run in between.
                await asyncio.sleep(0)
        finally:
            await self.close()

    def start(self) -> None:
        """Run in the background; an unexpected error of `take` is logged, and the batch is given again."""
        self._task = asyncio.create_task(self._run_on())

    async def stop(self) -> None:
        """End what `start` began."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def close(self) -> None:
        """Disconnect; `next` connects again."""
        await self._disconnect()

    async def _run_on(self) -> None:
        while True:
            try:
                await self.run()
            except Exception:
                # An unexpected error must not end the reading for good: log it, and give the batch again.
                _log.exception("taking in what was read failed", reader=self._name)
            await self._pause(RETRY_SECONDS)

    async def _connect(self) -> Batch:
        reader = self._make_reader()
        try:
            await reader.start()
            bounds = await reader.bounds(self.places)
            starts, lost = await self._starts(reader, bounds)
            reader.stand(starts)
        except BaseException:
            await reader.stop()
            raise
        self._reader = reader
        self._committed.forget(lost)
        self._read_to = dict(starts)
        self._ends = {place: bound.end for place, bound in bounds.items()}
        self._left = set(self.places)
        self._heard_at = self._probed_at = self._now()
        self._meter.connected(self._ends)
        return Batch(positions=dict(starts), lost=lost)

    async def _starts(
        self, reader: Reader, bounds: Mapping[Place, Bounds]
    ) -> tuple[dict[Place, int], frozenset[Place]]:
        """Where to stand in each partition, and the partitions whose old position is gone."""
        starts = dict(self._positions)
        unknown = {place: bound for place, bound in bounds.items() if place not in starts}
        if unknown:
            starts |= await self._begin(reader, unknown)
        lost = {place: bound for place, bound in bounds.items() if not bound.has(starts[place])}
        if lost:
            again = await self._begin(reader, lost)
            starts |= {place: again[place] if bound.has(again[place]) else bound.begin for place, bound in lost.items()}
        return starts, frozenset(lost)

    async def _read(self, reader: Reader) -> Batch:
        records = await reader.read(self._wait_seconds, self._most)
        if self._probe_seconds is not None and self._now() - self._probed_at >= self._probe_seconds:
            await self._probe(reader, self._probe_seconds)
            self._probed_at = self._now()
        self._heard_at = self._now()
        await self._committed.keep(reader)
        self.read_count += len(records)
        newest = last_of_each(records)
        self._meter.read({place: record.timestamp for place, record in newest.items()})
        self._meter.wrote({place: reader.written_to(place) or 0 for place in self.places})
        # Ends of transactions and compacted records yield no record; only the reader's own position moves past them.
        # After the first read, partitions without a record are asked for it only when no message comes at all.
        looked_at = set(newest)
        if self._left or not records:
            looked_at |= {place for place in self.places if self._read_to[place] < self._meter.written[place]}
        positions = {place: await reader.position(place) for place in looked_at}
        moved = {place: at for place, at in positions.items() if at > self._read_to[place]}
        self._read_to |= moved
        return Batch(deque(records), moved)

    async def _probe(self, reader: Reader, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                bounds = await reader.bounds(self.places)
        except TimeoutError:
            raise BrokersUnavailable(f"no answer within {seconds:g} s") from None
        self._meter.wrote({place: bound.end for place, bound in bounds.items()})

    async def _disconnect(self) -> None:
        reader, self._reader = self._reader, None
        self._given = None
        if self.is_current:
            self.is_current = False
            self._on_current(False)
        self._tell()
        if reader is not None:
            with contextlib.suppress(Exception):
                await reader.stop()

    def _tell(self) -> None:
        """Wake everybody who waits for the follower's progress."""
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
