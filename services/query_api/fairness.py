"""Shared resources by turns: so many at once, fewer of one workspace, and workspaces that wait are served in rotation.

Whoever holds a turn holds it for as long as it computes or queries, never while it waits for its caller to read.
No I/O.
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
"""For what takes seconds itself."""
MOST_WAITING = 200
_RETRY_SECONDS = 1


class TooManyAtOnce(TooManyRequests):
    """One workspace waits for more than it may."""

    code = "too_many_at_once"
    message = "Too many requests of this workspace wait already; see Retry-After."

    def __init__(self) -> None:
        super().__init__(headers=((b"retry-after", b"%d" % _RETRY_SECONDS),))


class Turns:
    """Turns at one resource.

    Args:
        most: at once.
        most_each: at once of one workspace.
        most_waiting: of one workspace; more are refused.
        seconds: that a turn is waited for.
        busy: makes the error of who waited in vain.
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
        # The workspace that was served last is the last.
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many askers wait for a turn, of all workspaces."""
        return sum(map(len, self._waiting.values()))

    def is_wanted(self, owner: Hashable) -> bool:
        """Whether somebody waits who could go on if this owner gave a turn back."""
        return owner in self._waiting or (
            self._total >= self._most and any(self._taken[other] < self._most_each for other in self._waiting)
        )

    @asynccontextmanager
    async def turn(self, owner: Hashable) -> AsyncIterator[None]:
        """Hold a turn.

        Args:
            owner: the workspace.

        Raises:
            TooManyAtOnce: too many of the owner wait.
            Exception: `busy`, when there was no turn in time.
        """
        await self.take(owner)
        try:
            yield
        finally:
            self.give_back(owner)

    async def take(self, owner: Hashable) -> None:
        """Wait for a turn and hold it until `give_back`; errors as of `turn`."""
        if self._total < self._most and self._taken[owner] < self._most_each:
            # Nobody who waits could go on: each was looked at when the last turn was given back.
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
        """Let the next one go on."""
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
    """Turns at answers of up to some megabytes, each held in memory until it is sent: about 50 MB while it is made."""
    return Turns(8, 2, seconds=LARGE_WAIT_SECONDS)


class Desk:
    """Threads for what is too long for the event loop: parsing, rendering and packing of large answers, by turns."""

    def __init__(self, threads: int = 2) -> None:
        self._turns = Turns(threads, max(1, threads // 2), seconds=LARGE_WAIT_SECONDS)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="desk")

    async def run(self, owner: Hashable, work: Callable[..., Made], *arguments: object) -> Made:
        """Do it beside the loop; errors as of `Turns.turn`, or the work's own."""
        async with self._turns.turn(owner):
            return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)
