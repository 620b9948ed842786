"""Applies the batches of one partition one after the other: fills the states that a batch touches, folds, writes.

While one batch is written, the next batch is filled and folded. Batches are written in the order of their versions, one
at a time, and states are read from ClickHouse only while no batch is being written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.aggregator.batch import Batch, halves
from services.aggregator.batch_trace import trace_of
from services.aggregator.filling import SettledReader, StateReader, fill
from services.aggregator.fold import fold_batch
from services.aggregator.rows import SEQUENCE_BITS, Version
from services.aggregator.set_aside import BatchReader
from services.aggregator.state import PartitionState
from services.aggregator.writing import Acknowledge, BatchWriter
from services.runtime.clock import Clock
from services.runtime.tracing import UNTRACED, Tracer

# What a row raises that is not as its reader wants it. An engine that is away and a partition that is lost raise other
# errors, which say nothing of a batch.
_OF_DATA = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)


async def _acknowledge_nothing() -> None:
    """The acknowledgement of batches that were not made of messages."""


class Pipeline:
    """Folds and writes batches; the only holder of a partition's states.

    Args:
        cache_targets: the most targets held in memory, and as many posts.
        on_written: called each time that writing a batch ended, with or without success.
        tracer: traces batches that hold a sampled event.

    Attributes:
        state: every state in memory.
        generation: the rebuild generation that rows are written to.
    """

    def __init__(
        self,
        partition: int,
        states: StateReader,
        writer: BatchWriter,
        batches: BatchReader,
        clock: Clock,
        cache_targets: int,
        on_written: Callable[[], None],
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._tracer = tracer
        self._partition = partition
        self._reader = SettledReader(states, self.settle)
        self._writer = writer
        self._batches = batches
        self._clock = clock
        self._cache_targets = cache_targets
        self._on_written = on_written
        self._writing: asyncio.Task[None] | None = None
        self._epoch = 0
        self._sequence = 0
        self.state = PartitionState.empty(cache_targets)
        self.generation = 0

    def begin(self, epoch: int, generation: int) -> None:
        """Start as the owner with this epoch; call it before the first batch."""
        self._epoch = epoch
        self.generation = generation

    def move_to(self, generation: int) -> None:
        """Write to another generation from now on, starting without states in memory; call `settle` before."""
        self.generation = generation
        self._forget_states()

    def forget(self, workspace_id: str) -> None:
        """Drop what memory holds of a workspace; call `settle` before."""
        self.state.forget(workspace_id)

    @property
    def epoch(self) -> int:
        """The epoch of this owner's claim."""
        return self._epoch

    @property
    def last_number(self) -> int:
        """The version of the batch that was folded last."""
        return (self._epoch << SEQUENCE_BITS) + self._sequence

    def next_number(self) -> int:
        """A version greater than all earlier versions of this owner and of older owners."""
        self._sequence += 1
        return self.last_number

    @property
    def is_writing(self) -> bool:
        """Whether a batch is being written to ClickHouse and Kafka."""
        return self._writing is not None and not self._writing.done()

    @property
    def is_unsettled(self) -> bool:
        """Whether writing a batch has ended, with or without success, and `settle` was not called since."""
        return self._writing is not None and self._writing.done()

    async def apply(self, batch: Batch, acknowledge: Acknowledge = _acknowledge_nothing) -> None:
        """Fold a batch, wait until the batch before is written, and begin to write the folded batch.

        Args:
            acknowledge: called once every row and message of the batch is written.

        Raises:
            OwnershipLost: a newer owner has the partition.
        """
        started = asyncio.get_running_loop().time()
        trace = trace_of(self._tracer, self._partition, batch)
        try:
            with trace.step("fill batch"):
                related = await fill(self.state, batch, self._reader, self.generation, self._clock.now())
        except _OF_DATA as error:  # a stored row that can't be read: find what it belongs to, and apply the rest
            trace.fail(error)
            await self._apply_apart(batch, acknowledge, error)
            return
        version = Version(self.generation, self._partition, self.next_number())
        now = self._clock.now()
        try:
            with trace.step("fold batch"):
                effects = await asyncio.to_thread(fold_batch, self.state, batch, related, version, now)
        except Exception as error:  # a bug: find the event that causes it, and apply the rest of the batch
            trace.fail(error)
            await self._apply_apart(batch, acknowledge, error)
            return
        self.state.trim()
        await self.settle()
        self._writing = asyncio.create_task(self._writer.write(batch, effects, started, acknowledge, trace))
        self._writing.add_done_callback(lambda _: self._on_written())

    async def _apply_apart(self, batch: Batch, acknowledge: Acknowledge, error: Exception) -> None:
        """Apply a batch in ever smaller halves, and set aside the event that can't be filled or folded."""
        await self.settle()
        self._forget_states()  # memory may hold half of the batch; the stored states are whole
        parts = halves(batch)
        if not parts:
            batch = self._batches.without_culprit(batch, error)
            parts = [batch] if batch.dead or batch.misplaced else []
        for part in parts:
            await self.apply(part)
            await self.settle()
        await acknowledge()

    def _forget_states(self) -> None:
        self.state = PartitionState.empty(self._cache_targets)

    async def settle(self) -> None:
        """Wait until every folded batch is written and acknowledged.

        Raises:
            OwnershipLost: a newer owner took the partition meanwhile; end the task.
        """
        if self._writing is not None:
            await self._writing
            self._writing = None

    async def stop(self) -> None:
        """Stop writing the present batch, without acknowledging it."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
