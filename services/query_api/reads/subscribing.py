"""What readers of changes have in common: cursors, the end of serving, turns, and pages that several of them wait for.

No I/O.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, NamedTuple, TypeVar, cast

from services.query_api.fairness import Turns
from services.runtime.cursors import CursorText

Made = TypeVar("Made")

# Of pages that readers of one cursor share. A page of a hundred posts has some hundred kilobytes.
_MOST_PAGES = 32
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
