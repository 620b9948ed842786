"""Lets requests that arrive together share one query: keys in, one load for a batch, each asker's value out. No I/O.

Keys of several workspaces share a load. When more keys wait than a load may have, each workspace gets its share of the
next load, so that a workspace with thousands of keys delays only itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from typing import Generic, TypeVar

from services.query_api.errors import ReadsUnavailable

Key = TypeVar("Key")
Value = TypeVar("Value")

# Long enough for requests from different sockets to meet in one turn of the loop, and short beside a look-up (5 ms).
LINGER_SECONDS = 0.001
# What a row raises that is not as its reader wants it; an engine that is away raises other errors.
_OF_DATA = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)


class Batcher(Generic[Key, Value]):
    """Collects keys for a moment and loads them together; equal keys are loaded once.

    While loads run, further keys wait and so form larger batches: the slower the store, the fewer and larger the
    queries.

    Args:
        load: from distinct keys to the values found; keys without a value may be left out.
        max_keys: the most keys in one load.
        max_loads: the most loads at once. Beside a running load another one begins only once half a batch waits: two
            loads of few keys cost ClickHouse more than one load of all (64 callers of look-ups on 2 busy cores: 343
            and 458 reads a second with two loads of any size, 512 and 685 with one).
        max_waiting: the most keys that wait for a load; more are refused, so that a slow store can't fill the memory.
        max_waiting_each: the most keys of one workspace that wait.
        max_loads_each: the most loads of one workspace at once, where `max_keys` is 1.
        owner: returns a key's workspace.
        linger_seconds: how long the first key of a batch waits for others.
    """

    def __init__(
        self,
        load: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value]]],
        *,
        max_keys: int = 256,
        max_loads: int = 2,
        max_waiting: int = 20_000,
        max_waiting_each: int = 5_000,
        max_loads_each: int | None = None,
        owner: Callable[[Key], Hashable] = lambda _: None,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._load = load
        self._max_keys = max_keys
        self._max_loads = max_loads
        self._max_waiting = max_waiting
        self._max_waiting_each = max_waiting_each
        self._max_loads_each = max_loads_each
        self._owner = owner
        self._linger_seconds = linger_seconds
        self._waiting: dict[Key, asyncio.Future[Value | None]] = {}
        # Waiting keys by workspace; the workspace that was served last stands last.
        self._queues: OrderedDict[Hashable, dict[Key, None]] = OrderedDict()
        self._loads: set[asyncio.Task[None]] = set()
        self._loading: Counter[Hashable] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    async def get(self, key: Key) -> Value | None:
        """The value of a key; None when there is none.

        Raises:
            ReadsUnavailable: too many keys wait already.
            Exception: the error of the load; where a row is at fault, of the load of its key alone.
        """
        future = self._waiting.get(key)
        if future is None:
            owner = self._owner(key)
            queue = self._queues.get(owner)
            if len(self._waiting) >= self._max_waiting or len(queue or ()) >= self._max_waiting_each:
                raise ReadsUnavailable
            if queue is None:
                queue = self._queues[owner] = {}
            queue[key] = None
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
            self._schedule()
        # Shielded, so that an asker that gives up does not cancel the value for the others.
        return await asyncio.shield(future)

    def _has_room(self) -> bool:
        """Whether a load of the waiting keys may begin, now or after lingering."""
        return not self._loads or (
            len(self._loads) < self._max_loads and len(self._waiting) >= (self._max_keys + 1) // 2
        )

    def _schedule(self) -> None:
        if not self._has_room():
            return
        if len(self._waiting) >= self._max_keys:
            self._start()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._linger_seconds, self._start)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self._has_room():
            keys = list(self._next_keys())
            if not keys:
                return
            batch = {key: self._waiting.pop(key) for key in keys}
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._loads.add(task)
            if self._max_loads_each is not None:
                owner = self._owner(keys[0])
                self._loading[owner] += 1
                task.add_done_callback(partial(self._loaded, owner))
            task.add_done_callback(self._finish)

    def _next_keys(self) -> Iterator[Key]:
        """Take the next load's keys out of the queues, one from each workspace in turn."""
        if len(self._waiting) <= self._max_keys and self._max_loads_each is None:
            for queue in self._queues.values():
                yield from queue
            self._queues.clear()
            return
        room = self._max_keys
        while room:
            owner = next((owner for owner in self._queues if self._may_load(owner)), None)
            if owner is None:
                return
            queue = self._queues[owner]
            key = next(iter(queue))
            del queue[key]
            if queue:
                self._queues.move_to_end(owner)
            else:
                del self._queues[owner]
            room -= 1
            yield key

    def _may_load(self, owner: Hashable) -> bool:
        return self._max_loads_each is None or self._loading[owner] < self._max_loads_each

    def _loaded(self, owner: Hashable, _: asyncio.Task[None]) -> None:
        self._loading[owner] -= 1
        if not self._loading[owner]:
            del self._loading[owner]

    async def _run(self, batch: dict[Key, asyncio.Future[Value | None]]) -> None:
        try:
            values = await self._load(list(batch))
        except _OF_DATA as error:
            if len(batch) > 1:
                # One key's row breaks its reader: the keys of others are loaded without it.
                entries = list(batch.items())
                middle = len(entries) // 2
                for half in (entries[:middle], entries[middle:]):
                    await self._run(dict(half))
                return
            self._fail(batch, error)
        except BaseException as error:
            self._fail(batch, error if isinstance(error, Exception) else ReadsUnavailable())
            if not isinstance(error, Exception):
                raise
        else:
            for key, future in batch.items():
                if not future.done():
                    future.set_result(values.get(key))

    def _fail(self, batch: Mapping[Key, asyncio.Future[Value | None]], error: Exception) -> None:
        for future in batch.values():
            if not future.done():
                future.set_exception(error)
                future.exception()  # the asker may have gone, and then nobody retrieves the error

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._loads.discard(task)
        if self._waiting:
            self._start()
