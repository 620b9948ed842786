"""The store as one process reads it: which environment, whether it may be shown, and what changed since a moment ago.

Every worker has one, also the one that fills the store (`feeding`). It never writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import NamedTuple

import orjson

from services.query_api.store import layout
from services.query_api.store.files import Environment, Folder, Identity, StoreError, Transaction
from services.query_api.store.layout import Damaged
from services.query_api.store.reading import View
from services.query_api.store.status import Phase, Status
from services.runtime.clock import Clock
from services.runtime.logging import get_logger

log = get_logger(__name__)

# Between looks at whether anything was written: what is kept is current but for this long.
_LOOK_SECONDS = 0.01
# Looks between those at whether another environment is read.
_LOOKS_A_CHECK = 20
_RECENT_MAX = 1_000


class StoreUnavailable(Exception):
    """There is no store that may be read now: ask ClickHouse."""


class Touched(NamedTuple):
    """A message key that was written.

    Attributes:
        topic_at: place in `layout.TOPICS`.
        parts: of the key: the workspace, the id, a window's range.
        is_gone: the thing is not there any more.
    """

    topic_at: int
    parts: tuple[str, ...]
    is_gone: bool


class Viewing:
    """A `with` block that reads one snapshot; written out, since a generator would cost more than a look-up."""

    __slots__ = ("_is_current", "_store", "_txn")

    def __init__(self, store: Store, is_current: bool) -> None:
        self._store = store
        self._is_current = is_current

    def __enter__(self) -> View:
        self._txn, view = self._store.begin(self._is_current)
        return view

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._txn.abort()
        if isinstance(error, Damaged | StoreError):
            self._store.damaged(str(error))
            raise StoreUnavailable from None


class Store:
    """One process's way to the store of its replica.

    Args:
        root: the folder of the settings.
        partitions: of each topic.
    """

    def __init__(self, root: Path, partitions: int, clock: Clock) -> None:
        self.folder = Folder(root)
        self.status = Status(root)
        self._partitions = partitions
        self._clock = clock
        self._environment: Environment | None = None
        self.identity: Identity | None = None
        """What a store has to be of to be read; None until Kafka said."""
        self._version: tuple[int, int] = (-1, -1)
        self._transaction = -1
        self._number = 0
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._changed_at: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None
        self._broken: str | None = None
        self.on_change: Callable[[Sequence[Touched]], None] = lambda _: None
        """Told what was written, once it can be read."""
        self.on_loss: Callable[[], None] = lambda: None
        """Told when anything may have changed."""
        self.on_current: Callable[[bool], None] = lambda _: None
        """Told when the store becomes, or is no longer, as new as the topics."""
        self._was_current = False
        self._is_awaited = True
        self._turn: tuple[Transaction, View] | None = None
        self.on_damage: Callable[[str], None] = lambda _: None
        """Told that the environment which is read is damaged, and is not read any more."""

    # The environment: LMDB takes one handle a process, so whoever fills the store shares this one.

    @property
    def environment(self) -> Environment | None:
        """The environment that is read."""
        return self._environment

    def use(self, environment: Environment | None) -> None:
        """Read this environment from now on; the one before is closed."""
        self.end_turn()
        before, self._environment = self._environment, environment
        self._version = self.folder.version()
        self._transaction, self._number, self._broken = -1, 0, None
        if before is not None and before is not environment:
            before.close()
        self.on_loss()
        self.look()

    def reopen(self) -> None:
        """Read what the folder says now, if that is another environment than before."""
        is_same = self._version == self.folder.version()
        # The folder may be deleted at any time, also in part.
        is_there = self._environment is None or self._environment.path.is_dir()
        if is_same and is_there:
            return
        path = self.folder.current()
        if path is not None and self._environment is not None and self._environment.path == path:
            self._version = self.folder.version()
            return
        if path is None and self._environment is not None and self._environment.is_writable:
            # Whoever writes it lets go of it first.
            self.damaged("its files were deleted")
            return
        if path is None or self.identity is None:
            self.use(None)
            if path is not None:
                # Not read before it is known to be of this cluster: look again.
                self._version = (-1, -1)
            return
        environment = None
        try:
            environment = Environment(path, is_writable=False)
            environment.check_identity(self.identity)
        except Damaged as error:
            log.error("the store can't be read", problem=str(error))
            if environment is not None:
                environment.close()
            self.use(None)
            # Topics that were made anew have another identity, for this process as well.
            self.identity = None
            self._version = (-1, -1)
        else:
            self.use(environment)

    def damaged(self, reason: str) -> None:
        """Stop reading the environment: it holds something that it was not given."""
        self.end_turn()
        if self._broken is None:
            self._broken = reason
            log.error("the store is damaged, and made anew", problem=reason)
            self.on_loss()
            self.on_damage(reason)

    # Reading.

    @property
    def is_current(self) -> bool:
        """Whether what is read is as new as the topics, as far as Kafka has told."""
        return self._environment is not None and self._broken is None and self.status.is_following

    @property
    def silent_seconds(self) -> float:
        """For how long the store may have been behind the topics; 0 while it is current."""
        told = self.status.told()
        if told.phase == Phase.FOLLOWING and self._environment is not None:
            return 0.0
        return max(0.0, (self._clock.now() - told.current_at) / 1000)

    @property
    def is_readable(self) -> bool:
        """Whether something can be read at all, be it old."""
        return self._environment is not None and self._broken is None

    @property
    def awaited(self) -> str | None:
        """`missing` until it was current once; after that, and where it can't be written, nobody waits for it."""
        return self.missing if self._is_awaited else None

    @property
    def missing(self) -> str | None:
        """What the store waits for, as one line; None while it is current."""
        told = self.status.told()
        match told.phase:
            case Phase.FOLLOWING:
                return None if self._environment is not None else "the store is being opened"
            case Phase.FILLING:
                done = told.taken + told.left
                part = f" ({100 * told.taken // done} %)" if done else ""
                return f"the store lacks {told.left} messages of its topics{part}"
            case Phase.CHECKING:
                return "the store is being checked"
            case Phase.WAITING:
                return "the store waits for Kafka"
            case Phase.BROKEN:
                return "the store can't be written: see the log"
            case _:
                return "nobody fills the store yet"

    def view(self, *, is_current: bool = True) -> Viewing:
        """A snapshot for the length of a `with` block; nothing may be awaited within.

        Args:
            is_current: whether only a store that is as new as the topics will do.

        Raises:
            StoreUnavailable: at the block's beginning, there is none; at its end, it turned out to be damaged.
        """
        return Viewing(self, is_current)

    def of_turn(self) -> View:
        """The one snapshot of whatever reads in this turn of the event loop; good until something is awaited.

        Nobody sees anything older than what there was when its request came: whoever runs in this turn was ready
        before the snapshot began, and whoever becomes ready later runs after its end
        (docs/decisions/0042-one-snapshot-a-turn.md). Whoever finds what it reads damaged calls `damaged`.

        Raises:
            StoreUnavailable: there is no store that is as new as the topics.
        """
        turn = self._turn
        if turn is None:
            self._turn = turn = self.begin(is_current=True)
            asyncio.get_running_loop().call_soon(self.end_turn)
        return turn[1]

    def end_turn(self) -> None:
        """Let go of the turn's snapshot, if there is one: whoever reads next begins another."""
        turn, self._turn = self._turn, None
        if turn is not None:
            turn[0].abort()

    def begin(self, is_current: bool) -> tuple[Transaction, View]:
        """A transaction and what it shows; for `Viewing`.

        Raises:
            StoreUnavailable: there is none.
        """
        # What begins may need another map, which no other snapshot may be read by.
        self.end_turn()
        environment = self._environment
        if environment is None or self._broken is not None or (is_current and not self.status.is_following):
            raise StoreUnavailable
        try:
            txn = environment.begin()
        except (Damaged, StoreError) as error:
            self.damaged(str(error))
            raise StoreUnavailable from None
        return txn, View(environment, txn, self._partitions)

    # Changes.

    def start(self) -> None:
        """Begin to look what is written."""
        self._task = asyncio.create_task(self._look_on())

    async def stop(self) -> None:
        """Stop looking, and let go of the files."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.end_turn()
        if self._environment is not None:
            self._environment.close()
            self._environment = None
        self.status.close()

    async def changed(self, workspace_id: str, seconds: float) -> bool:
        """Wait until something of a workspace is written, or the time is over; tells which.

        To miss nothing, begin to wait before looking, with `watch`.
        """
        with self.watch(workspace_id) as event:
            return await _in_time(event, seconds)

    @contextmanager
    def watch(self, workspace_id: str) -> Iterator[asyncio.Event]:
        """An event that is set once something of a workspace was written."""
        event = asyncio.Event()
        self._waiting.setdefault(workspace_id, set()).add(event)
        try:
            yield event
        finally:
            waiting = self._waiting[workspace_id]
            waiting.discard(event)
            if not waiting:
                del self._waiting[workspace_id]
                self._changed_at.pop(workspace_id, None)

    def changed_at(self, workspace_id: str) -> float:
        """Since when what last woke a workspace's watchers can be read, seconds of `monotonic`; -inf without any."""
        return self._changed_at.get(workspace_id, float("-inf"))

    async def _look_on(self) -> None:
        number = 0
        while True:
            try:
                if number % _LOOKS_A_CHECK == 0:
                    with suppress(OSError):
                        self.status.follow()
                    self.reopen()
                    self._tell_current()
                self.look()
            except Exception:
                # A mistake must not end the looking for good.
                log.exception("looking at the store failed")
            number += 1
            await asyncio.sleep(_LOOK_SECONDS)

    def _tell_current(self) -> None:
        is_current = self.is_current
        # Where it can't be written it may never be: then nobody waits for it any more.
        self._is_awaited = self._is_awaited and not is_current and self.status.told().phase != Phase.BROKEN
        if is_current != self._was_current:
            self._was_current = is_current
            self.on_current(is_current)

    def look(self) -> None:
        """See what was written since the last look, and tell it."""
        environment = self._environment
        if environment is None or self._broken is not None:
            return
        last = environment.last_transaction
        if last == self._transaction:
            return
        # Whoever is told of it, and asks within this turn, has to see it.
        self.end_turn()
        # Unless everybody can be told, the next look tells a loss.
        is_first, self._transaction = self._transaction == -1, -1
        try:
            touched, number, is_gap = _recent(environment, self._number)
        except (Damaged, StoreError) as error:
            self.damaged(str(error))
            return
        self._number = number
        if is_first or is_gap:
            self.on_loss()
            self._wake(None)
        elif touched:
            self.on_change(touched)
            self._wake({entry.parts[0] for entry in touched})
        self._transaction = last

    def _wake(self, workspaces: set[str] | None) -> None:
        """Wake whoever waits for one of these workspaces; None for any."""
        now = monotonic()
        for workspace_id in list(self._waiting) if workspaces is None else workspaces & self._waiting.keys():
            self._changed_at[workspace_id] = now
            for event in self._waiting[workspace_id]:
                event.set()


def _recent(environment: Environment, number: int) -> tuple[list[Touched], int, bool]:
    """What was written after a number, the last number, and whether some of it is not known any more."""
    touched: list[Touched] = []
    last, is_gap = number, False
    with environment.reading() as txn, txn.cursor(db=environment.databases[layout.RECENT]) as cursor:
        if not cursor.set_range(layout.number(number + 1)):
            # Nothing newer; and if what was there is gone as well, another writer has begun.
            return touched, number, bool(number) and not cursor.last()
        for key, value in cursor:
            found = layout.number_of(key)
            is_gap = is_gap or found != last + 1 or len(touched) > _RECENT_MAX * 100
            last = found
            if not is_gap:
                touched += [
                    Touched(topic_at, tuple(text.split("/")), is_gone)
                    for topic_at, text, is_gone in orjson.loads(value)
                ]
    return touched, last, is_gap


async def _in_time(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
