"""Inserts rows of several partitions in shared blocks, so that the number of blocks adapts to ClickHouse's pace.

A block costs ClickHouse some 20 ms, whether it has ten rows or a thousand (decision 0017).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from services.aggregator.errors import SinkUnavailable
from services.aggregator.refusals import answer, insert_in_parts
from services.aggregator.rows import Row, Table

# A block waits this long for rows of other partitions: partitions that begin together insert within this time.
_MEET_SECONDS = 0.05
# A block with this many rows does not wait for further rows.
_LARGE_BLOCK = 5_000


class _Pending:
    """Rows that wait for the next block of their table."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        # The waiting callers, each with the number of its rows, in the order of the rows.
        self.waiters: list[tuple[asyncio.Future[None], int]] = []
        self.is_running = False


class SharedBlocks:
    """Gathers rows into blocks for any number of tables, and inserts one block of a table at a time.

    Args:
        insert_block: stores the rows of one block; waits while ClickHouse is away, and raises an error that trying
            again would not help.
    """

    def __init__(self, insert_block: Callable[[Table, Sequence[Row]], Awaitable[None]]) -> None:
        self._insert_block = insert_block
        self._pending: dict[Table, _Pending] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Add rows to the next block of a table and wait until that block is stored.

        Raises:
            RowsRefused: ClickHouse will never take some of these rows; the others are stored.
        """
        pending = self._pending.setdefault(table, _Pending())
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pending.rows.extend(rows)
        pending.waiters.append((waiter, len(rows)))
        if not pending.is_running:
            pending.is_running = True
            task = asyncio.create_task(self._drain(table, pending))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await waiter

    async def _drain(self, table: Table, pending: _Pending) -> None:
        try:
            while pending.rows:
                if len(pending.rows) < _LARGE_BLOCK:
                    await asyncio.sleep(_MEET_SECONDS)
                rows, waiters = pending.rows, pending.waiters
                pending.rows, pending.waiters = [], []
                try:
                    refused = await insert_in_parts(lambda part: self._insert_block(table, part), table[0], rows)
                except BaseException as error:
                    for waiter, _ in waiters:
                        if not waiter.done():
                            waiter.set_exception(error if isinstance(error, Exception) else SinkUnavailable("stopped"))
                    if not isinstance(error, Exception):
                        raise
                else:
                    answer(waiters, rows, refused)
        finally:
            pending.is_running = False
