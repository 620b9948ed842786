"""What readers of changes have in common: cursors, the end of serving, turns, and pages that several of them wait for.

No I/O.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, NamedTuple, TypeVar, cast

from services.query_api.fairness import Turns
from services.runtime.cursors import CursorText

Made = TypeVar("Made")

# Of pages that readers of one cursor share. A page of a hundred posts has some hundred kilobytes.
_MOST_PAGES = 32
# Nobody may have asked for a page that is made ahead: a large one has some ten megabytes while it is held.
_MOST_AHEAD = 8
_AHEAD_SECONDS = 2.0
# A reader that catches up holds a page while it is made and sent: so many pages are in memory at once.
_TURNS = 64
_TURNS_EACH = 32
_MOST_WAITING = 4_000
_TURN_SECONDS = 60.0


class _Page(NamedTuple):
    began_at: float
    made: asyncio.Task[Any]


class SharedPages:
    """Pages that were asked for by several readers at about the same time, made once.

    A page may be given to a reader only if making it began after the reader came to its cursor, and after the change
    that woke the reader: a page that was made before could show something older than what the reader was shown on the
    way to the cursor, or not show the change at all.
    """

    def __init__(self) -> None:
        self._pages: OrderedDict[Hashable, _Page] = OrderedDict()

    async def page(self, key: Hashable, since: float, make: Callable[[], Awaitable[Made]]) -> Made:
        """A page, made now or for somebody else since an instant; raises whatever making it raises.

        Args:
            key: the workspace, the cursor, and the form of the page.
            since: when the reader came to the cursor or was woken, seconds of `monotonic`.
        """
        held = self._pages.get(key)
        if held is None or held.began_at < since:
            held = _Page(monotonic(), asyncio.ensure_future(make()))
            self._pages[key] = held
            self._pages.move_to_end(key)
            while len(self._pages) > _MOST_PAGES:
                self._pages.popitem(last=False)
        try:
            # A reader that leaves must not take the page from the others.
            return cast("Made", await asyncio.shield(held.made))
        except BaseException:
            if held.made.done() and self._pages.get(key) is held:
                del self._pages[key]
            raise


class PagesAhead:
    """Pages that are made before their reader asks for them: who reads many in a row waits less for each.

    Each is given once, and while it is young. Few are in memory at once, and of each owner a single one.
    """

    def __init__(self, seconds: float = _AHEAD_SECONDS, most: int = _MOST_AHEAD) -> None:
        self._seconds = seconds
        self._most = most
        self._pages: OrderedDict[Hashable, tuple[Hashable, _Page]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pages)

    def begin(self, owner: Hashable, key: Hashable, make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Make a page, unless there are as many as there may be.

        Args:
            owner: the workspace.
            key: the cursor and the form of the page.
            make: gives None where there is no such page.
        """
        self._forget_old()
        if (
            key in self._pages
            or len(self._pages) >= self._most
            or any(held == owner for held, _ in self._pages.values())
        ):
            return
        task = asyncio.create_task(make())
        task.add_done_callback(_retrieve)
        self._pages[key] = owner, _Page(monotonic(), task)
        asyncio.get_running_loop().call_later(self._seconds, self._forget_old)

    async def take(self, key: Hashable) -> Any:
        """A page that is made or being made; None where there is none, and where making it failed."""
        self._forget_old()
        _, held = self._pages.pop(key, (None, None))
        if held is None:
            return None
        try:
            return await held.made
        except Exception:  # whoever wants the page makes it, and is told the error
            return None

    def _forget_old(self) -> None:
        until = monotonic() - self._seconds
        while self._pages:
            key, (_, page) = next(iter(self._pages.items()))
            if page.began_at > until:
                return
            del self._pages[key]
            page.made.cancel()


def _retrieve(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


class Subscriptions:
    """What readers of changes have in common.

    Args:
        cursors: writes and reads cursors; None without secret keys.
        opens: whether a workspace's key, by its id, still opens reads.
    """

    def __init__(
        self, cursors: CursorText | None = None, opens: Callable[[str, str], bool] = lambda _, __: True
    ) -> None:
        self.cursors = cursors
        self.opens = opens
        self.pages = SharedPages()
        self.ahead = PagesAhead()
        self.turns = Turns(_TURNS, _TURNS_EACH, most_waiting=_MOST_WAITING, seconds=_TURN_SECONDS)
        self.is_closing = False
        self._waiting: set[asyncio.Event] = set()

    @contextmanager
    def woken(self, event: asyncio.Event) -> Iterator[None]:
        """Let an event that a reader waits for be set when the server ends as well."""
        self._waiting.add(event)
        try:
            yield
        finally:
            self._waiting.discard(event)

    def close(self) -> None:
        """The server ends: readers get what they have, and resume at another replica or after the restart."""
        self.is_closing = True
        for event in self._waiting:
            event.set()
