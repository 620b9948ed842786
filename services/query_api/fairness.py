"""Turns at a shared resource: a bounded number at once, fewer for one workspace, and waiting workspaces in rotation.

A turn is held while its holder computes or queries, and never while it waits for its caller to read. No I/O.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from services.query_api.errors import ReadsUnavailable, TooManyRequests

Made = TypeVar("Made")

WAIT_SECONDS = 5.0
LARGE_WAIT_SECONDS = 20.0
"""The wait for a turn at work that takes seconds itself."""
MOST_WAITING = 200
_RETRY_SECONDS = 1


class TooManyAtOnce(TooManyRequests):
    """Too many requests of one workspace wait already."""

    code = "too_many_at_once"
    message = "Too many requests of this workspace wait already; see Retry-After."

    def __init__(self) -> None:
        super().__init__(headers=((b"retry-after", b"%d" % _RETRY_SECONDS),))


class Turns:
    """Turns at one resource.

    Args:
        most: how many turns there are at once.
        most_each: how many of them one workspace may hold.
        most_waiting: how many requests of one workspace may wait; more are refused.
        seconds: how long a request may wait for a turn.
        busy: makes the error for a request that got no turn in time.
    """

    def __init__(
        self,
        most: int,
        most_each: int,
        *,
        most_waiting: int = MOST_WAITING,
        seconds: float = WAIT_SECONDS,
        busy: Callable[[], Exception] = ReadsUnavailable,
    ) -> None:
        self._most = most
        self._most_each = most_each
        self._most_waiting = most_waiting
        self._seconds = seconds
        self._busy = busy
        self._taken: Counter[Hashable] = Counter()
        self._total = 0
        # In the order in which workspaces are served next: the workspace served last stands last.
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many requests of all workspaces wait for a turn."""
        return sum(map(len, self._waiting.values()))

    def is_wanted(self, owner: Hashable) -> bool:
        """Whether some waiting request could go on if this owner gave a turn back."""
        return owner in self._waiting or (
            self._total >= self._most and any(self._taken[other] < self._most_each for other in self._waiting)
        )

    @asynccontextmanager
    async def turn(self, owner: Hashable) -> AsyncIterator[None]:
        """Hold a turn.

        Args:
            owner: the workspace.

        Raises:
            TooManyAtOnce: too many requests of the owner wait already.
            Exception: the error made by `busy`: no turn came in time.
        """
        await self.take(owner)
        try:
            yield
        finally:
            self.give_back(owner)

    async def take(self, owner: Hashable) -> None:
        """Wait for a turn and hold it until `give_back`; raises as `turn` does."""
        if self._total < self._most and self._taken[owner] < self._most_each:
            # A free turn means that no waiting request could use it: all were checked when it was given back.
            self._hold(owner)
            return
        queue = self._waiting.setdefault(owner, deque())
        if len(queue) >= self._most_waiting:
            raise TooManyAtOnce
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(future)
        try:
            async with asyncio.timeout(self._seconds):
                await future
        except BaseException as error:
            if future.done() and not future.cancelled():
                self.give_back(owner)
            elif owner in self._waiting and future in self._waiting[owner]:
                self._waiting[owner].remove(future)
                if not self._waiting[owner]:
                    del self._waiting[owner]
            if isinstance(error, TimeoutError):
                raise self._busy() from None
            raise

    def give_back(self, owner: Hashable) -> None:
        """Give a turn back, and let the next waiting request go on."""
        self._total -= 1
        self._taken[owner] -= 1
        if not self._taken[owner]:
            del self._taken[owner]
        self._go_on()

    def _hold(self, owner: Hashable) -> None:
        self._total += 1
        self._taken[owner] += 1

    def _go_on(self) -> None:
        while self._total < self._most:
            owner = next((owner for owner in self._waiting if self._taken[owner] < self._most_each), None)
            if owner is None:
                return
            queue = self._waiting[owner]
            future = queue.popleft()
            if queue:
                self._waiting.move_to_end(owner)
            else:
                del self._waiting[owner]
            if not future.done():
                self._hold(owner)
                future.set_result(None)


def answer_turns() -> Turns:
    """Turns at answers of some megabytes. Such an answer takes about 50 MB while it is made, and is held until sent."""
    return Turns(8, 2, seconds=LARGE_WAIT_SECONDS)


class Desk:
    """Threads, used by turns, for work that would block the event loop: parsing, rendering, packing large answers."""

    def __init__(self, threads: int = 2) -> None:
        self._turns = Turns(threads, max(1, threads // 2), seconds=LARGE_WAIT_SECONDS)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="desk")

    async def run(self, owner: Hashable, work: Callable[..., Made], *arguments: object) -> Made:
        """Run work in a thread and return its result; raises as `Turns.turn` does, or the work's own error."""
        async with self._turns.turn(owner):
            return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)
