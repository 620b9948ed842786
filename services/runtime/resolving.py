"""Looks names up in threads of its own, so that a name whose servers are silent delays its owner's look-ups alone.

The event loop's own way is a pool that everybody shares: four threads under uvloop. A look-up can't be cancelled, and
one that hangs keeps its thread for tens of seconds, whatever became of the call that wanted the address. So each
look-up has a thread, an owner has a few threads at most, and a thread counts until it really ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Final

MOST: Final = 256
"""Look-ups at once, of all owners."""
MOST_EACH: Final = 4
"""Look-ups at once of one owner."""

LookUp = Callable[[str], list[str]]
"""From a name to its addresses, however long that takes; raises OSError or UnicodeError."""


class NameUnknown(Exception):
    """The name has no address."""


class NameUnanswered(Exception):
    """The addresses did not come in time, or no look-up could begin in time."""


def system_look_up(host: str) -> list[str]:
    """The addresses of a host by the system's resolver, the preferred ones first, each once."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Resolver:
    """Resolves names within one event loop.

    A look-up under way is joined by whoever asks for the same name. Owners that wait for a thread have it in turns.

    Args:
        look_up: the look-up itself, called in a thread.
        most: look-ups at once, of all owners.
        most_each: look-ups at once of one owner.
    """

    def __init__(self, look_up: LookUp = system_look_up, *, most: int = MOST, most_each: int = MOST_EACH) -> None:
        self._look_up = look_up
        self._most = most
        self._most_each = most_each
        self._running: dict[str, asyncio.Future[list[str]]] = {}
        self._threads: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def threads(self) -> int:
        """Look-ups under way, also those that nobody waits for any more."""
        return self._threads.total()

    async def addresses(self, host: str, owner: str, seconds: float | None) -> list[str]:
        """The addresses of a host; of an address, the address itself.

        Args:
            owner: whose look-up it is; look-ups of the same owner may delay each other.
            seconds: the longest wait; None waits as long as the look-up takes.

        Raises:
            NameUnknown: the name has no address.
            NameUnanswered: nothing came in time.
        """
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(host)
            return [host]
        try:
            async with asyncio.timeout(seconds):
                had_turn = False
                while (running := self._running.get(host)) is None:
                    if self._has_room(owner):
                        running = self._begin(host, owner)
                        had_turn = False
                        break
                    await self._turn(owner)
                    had_turn = True
                if had_turn:
                    self._give_turns()  # somebody else looks the name up meanwhile: the next one has this turn
                # Others may have joined: whoever gives up leaves the look-up to them.
                return list(await asyncio.shield(running))
        except TimeoutError:
            raise NameUnanswered(f"{host} was not resolved in time") from None
        except (OSError, UnicodeError) as error:
            raise NameUnknown(f"{host} can't be resolved: {error}") from None

    def _has_room(self, owner: str) -> bool:
        return self._threads[owner] < self._most_each and self.threads < self._most

    async def _turn(self, owner: str) -> None:
        """Wait until this owner may have room."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._waiting.setdefault(owner, deque())
        line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_turns()  # it came too late for this one: the next has it
            raise
        finally:
            with contextlib.suppress(ValueError):
                line.remove(turn)
            if not line and self._waiting.get(owner) is line:
                del self._waiting[owner]

    def _give_turns(self) -> None:
        """Wake as many as there is room for, one owner after the other."""
        room = self._most - self.threads
        for owner in list(self._waiting):
            if room <= 0:
                return
            line = self._waiting[owner]
            each = self._most_each - self._threads[owner]
            turn = next((turn for turn in line if not turn.done()), None)
            if turn is not None and each > 0:
                turn.set_result(None)
                room -= 1
                self._waiting.move_to_end(owner)

    def _begin(self, host: str, owner: str) -> asyncio.Future[list[str]]:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()

        def ended(addresses: list[str] | None, error: Exception | None) -> None:
            del self._running[host]
            self._threads[owner] -= 1
            if not self._threads[owner]:
                del self._threads[owner]
            if error is None:
                found.set_result(addresses or [])
            else:
                found.set_exception(error)
                found.exception()  # looked at: perhaps nobody waits for it any more
            self._give_turns()

        def look_up() -> None:
            addresses, problem = None, None
            try:
                addresses = self._look_up(host)
            except Exception as error:
                problem = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(ended, addresses, problem)

        # A daemon: a name that hangs must not keep the process from ending, as a pool's thread would.
        thread = threading.Thread(target=look_up, name=f"look-up of {host}"[:60], daemon=True)
        thread.start()
        self._running[host] = found
        self._threads[owner] += 1
        return found
