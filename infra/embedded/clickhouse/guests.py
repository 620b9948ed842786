"""A guest's statements beside the product's: judged on a thread of their own, few at a time, and for a bounded time.

In: a guest's call. Out: the call as it may run, a slot to run it in, and a reply with a time limit. Never talks to the
engine itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

from infra.embedded.clickhouse.access import Grammar, User, Users
from infra.embedded.clickhouse.engine import Call
from infra.embedded.clickhouse.errors import TOO_MANY_SIMULTANEOUS_QUERIES, refusal
from infra.embedded.clickhouse.limits import Limits
from infra.embedded.clickhouse.reply import Reply
from infra.embedded.clickhouse.statements import Statement

# How many clients may wait for each slot: a waiting client holds a connection and a body.
_WAITING_PER_SLOT = 8


class Guests:
    """Slots for the statements of one guest.

    Args:
        grammar: used on a thread of its own, for which the product's statements never wait.
    """

    def __init__(self, name: str, users: Users, grammar: Grammar, limits: Limits) -> None:
        self._name = name
        self._users = users
        self._grammar = grammar
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.slots)
        self._here = 0
        self._judge = ThreadPoolExecutor(1, thread_name_prefix="judge")

    async def permit(self, user: User, call: Call, statement: Statement) -> tuple[Call, Statement]:
        """The statement, judged and written anew; see `Users.permit`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._judge, self._users.permit, user, call, statement, self._grammar)

    async def in_thread(self, read: Callable[[], Statement]) -> Statement:
        """Read a long statement where the guest's statements are judged, one at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._judge, read)

    @contextlib.asynccontextmanager
    async def turn(self, reply: Reply) -> AsyncIterator[None]:
        """A slot for one statement. Its reply is cut off when the client leaves it unread, or when it takes too long.

        Raises:
            ServerError: TOO_MANY_SIMULTANEOUS_QUERIES when no slot became free in time.
        """
        limits = self._limits
        if self._here >= limits.slots * (1 + _WAITING_PER_SLOT):
            raise self._busy()
        self._here += 1
        try:
            try:
                async with asyncio.timeout(limits.waiting_seconds):
                    await self._slots.acquire()
            except TimeoutError:
                raise self._busy() from None
            try:
                reply.bound(idle_seconds=limits.idle_seconds, seconds=limits.seconds + limits.idle_seconds)
                yield
            finally:
                self._slots.release()
        finally:
            self._here -= 1

    def _busy(self) -> Exception:
        return refusal(
            TOO_MANY_SIMULTANEOUS_QUERIES,
            f"{self._name}: Too many simultaneous queries. {self._limits.slots} statements of {self._name} are running,"
            " the most that may run at once; send this one again when another has ended",
        )

    def close(self) -> None:
        """Ends the judging thread."""
        self._judge.shutdown(wait=False)
