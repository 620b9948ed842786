"""Answers that may be some seconds old, where newer ones would have to be waited for longer than a reader should.

What only ClickHouse tells is asked for anew by each read. While the machine is under strain that takes seconds; then a
reader is given what was read a moment ago, and what it asked for is kept for the next one. No I/O.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Generic, TypeVar

from cachetools import LRUCache

from services.query_api.cache import uses
from services.query_api.observability import STORE

Value = TypeVar("Value")

WAIT_SECONDS = 0.1
"""How long a reader waits for the newest. At rest a query takes a fifth of it, so that nobody is shown anything old."""
OLD_SECONDS = 4.0
"""How long ago what a reader is shown instead may have been asked for; figures are at most 5 s late altogether."""
_ENTRY_BYTES = 500


@dataclass(frozen=True, slots=True)
class _Kept(Generic[Value]):
    value: Value
    asked_at: float
    size_bytes: int


class Patience(Generic[Value]):
    """What was read lately, by key; the one that was used longest ago is forgotten first.

    Args:
        max_bytes: the most memory, roughly; 0 keeps nothing, so that each reader waits for the newest.
        size: the bytes of a value, roughly.
        most_each: how many loads of one owner may go on whose readers were given kept values; 0 for any number. Where
            as many do, readers wait as if nothing were kept: what is being read takes memory.
        now: seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        max_bytes: int,
        size: Callable[[Value], int] = lambda _: 0,
        most_each: int = 0,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._kept: LRUCache[Hashable, _Kept[Value]] = LRUCache(max_bytes, lambda kept: kept.size_bytes)
        self._size = size
        self._most_each = most_each
        self._running_of: Counter[Hashable] = Counter()
        self._now = now
        self._running: dict[tuple[Hashable, ...], asyncio.Task[Mapping[Hashable, Value]]] = {}

    async def get(
        self,
        keys: Sequence[Hashable],
        load: Callable[[], Awaitable[Mapping[Hashable, Value]]],
        owner: Hashable = None,
    ) -> Mapping[Hashable, Value]:
        """The newest values; kept ones where the newest take too long and all are kept.

        Args:
            owner: the workspace.
            load: reads the newest value of each key. It goes on when its reader has been given kept values.

        Raises:
            Exception: the error of the reader's own `load`, within the time that it waits or where not all are kept.
        """
        asked_at = self._now()
        kept = {key: held for key in keys if (held := self._recent(key, asked_at)) is not None}
        loading = self._running.get(tuple(keys))
        is_joined = loading is not None
        is_full = loading is None and 0 < self._most_each <= self._running_of[owner]
        if len(kept) < len(keys) or is_full:
            return self._keep(await load(), asked_at)
        if loading is None:
            loading = self._running[tuple(keys)] = asyncio.create_task(self._load(load, asked_at))
            self._running_of[owner] += 1
            loading.add_done_callback(partial(self._ended, tuple(keys), owner))
        # Of what readers went on without, one load is enough.
        done, _ = await asyncio.wait({loading}, timeout=WAIT_SECONDS)
        if done and not is_joined:
            return loading.result()
        # A load that was joined may have begun before what its reader already knows of: its values are not the newest.
        STORE.labels("late").inc()
        used = {key: self._kept.get(key, held) for key, held in kept.items()}
        uses(min((held.asked_at for held in used.values()), default=asked_at))
        return {key: held.value for key, held in used.items()}

    def _recent(self, key: Hashable, now: float) -> _Kept[Value] | None:
        held = self._kept.get(key)
        return held if held is not None and now - held.asked_at <= OLD_SECONDS else None

    async def _load(
        self, load: Callable[[], Awaitable[Mapping[Hashable, Value]]], asked_at: float
    ) -> Mapping[Hashable, Value]:
        return self._keep(await load(), asked_at)

    def _keep(self, values: Mapping[Hashable, Value], asked_at: float) -> Mapping[Hashable, Value]:
        for key, value in values.items():
            before = self._kept.get(key)
            size = self._size(value) + _ENTRY_BYTES
            if size <= self._kept.maxsize // 8 and (before is None or before.asked_at <= asked_at):
                self._kept[key] = _Kept(value, asked_at, size)
        return values

    def _ended(
        self, keys: tuple[Hashable, ...], owner: Hashable, loading: asyncio.Task[Mapping[Hashable, Value]]
    ) -> None:
        del self._running[keys]
        self._running_of[owner] -= 1
        if not self._running_of[owner]:
            del self._running_of[owner]
        # Its reader may have gone on without it, and then nobody else retrieves the error.
        if not loading.cancelled():
            loading.exception()
