"""What changed in a workspace since a cursor, in an order that every replica has. Pure but for the snapshot it reads.

A cursor is made of offsets, which all replicas share: of each topic the next one to be read, and how far whatever was
read so far may have been ahead. It remembers of which types it is: offsets of the others are passed over, so whoever
wants these later is told all of them. Decision: docs/decisions/0025-a-store-of-our-own.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final, NamedTuple, Protocol

from services.query_api.store import layout
from services.query_api.store.layout import ACCOUNT_AT, CHANNEL_AT, FIGURES_AT, POST_AT, TOPICS, WINDOW_AT

POST: Final = "post"
CHANNEL: Final = "channel"
ACCOUNT: Final = "account"
TYPES: Final = (POST, CHANNEL, ACCOUNT)

# The types of what a message of each topic changes.
_TOLD: Final[Mapping[int, frozenset[str]]] = {
    CHANNEL_AT: frozenset({CHANNEL, ACCOUNT}),
    ACCOUNT_AT: frozenset({ACCOUNT}),
    WINDOW_AT: frozenset({CHANNEL}),
    POST_AT: frozenset({POST}),
    FIGURES_AT: frozenset({POST}),
}
_ALONE: Final = {ACCOUNT_AT: [ACCOUNT], WINDOW_AT: [CHANNEL], FIGURES_AT: [POST]}
# Of entries that nobody asked for, or that come again, in one page: others are served meanwhile.
_SCANNED = 20_000
_AT_ONCE = 200

NEVER: Final = 1
"""In place of the day since when a type is not read: it never was. Nobody holds anything of it by this cursor."""
ALL_READ: Final = (0,) * len(TYPES)

Offsets = tuple[int, ...]
"""One a topic, in the order of `layout.TOPICS`, of the workspace's partition."""


class Behind(Exception):
    """This replica has not read as far as what the cursor's owner has seen: wait, or ask another."""


class Cursor(NamedTuple):
    """A place in a workspace's order of changes.

    Attributes:
        at: the next offset to be read of each topic.
        seen: offsets that states read so far may hold; a replica that is behind one of them could show something older.
        left: of each of `TYPES` since which day (since 1970) it is not read any more; 0 where it is read, or `NEVER`.
    """

    at: Offsets
    seen: Offsets
    left: tuple[int, ...] = ALL_READ

    @property
    def is_whole(self) -> bool:
        """Whether it has an offset for each topic that there is, and knows each type."""
        return len(self.at) == len(self.seen) == len(TOPICS) and len(self.left) == len(TYPES)

    def left_since(self, types: Collection[str]) -> int:
        """The first day since when some of these types were read once and are not any more; 0 where there is none."""
        days = [since for type_, since in zip(TYPES, self.left, strict=True) if type_ in types and since > NEVER]
        return min(days, default=0)

    def reading(self, types: Collection[str], day: int = NEVER) -> Cursor:
        """This place for whoever reads these types from here.

        A type that was not read so far is read from the beginning: what changed of it meanwhile was passed over. What
        shares a topic with it comes again.

        Args:
            day: when the types that are read no longer were read last.
        """
        left = tuple([0 if type_ in types else since or day for type_, since in zip(TYPES, self.left, strict=True)])
        if left == self.left:
            return self
        anew = {type_ for type_, since in zip(TYPES, self.left, strict=True) if since and type_ in types}
        at = tuple([0 if _TOLD[topic_at] & anew else offset for topic_at, offset in enumerate(self.at)])
        return Cursor(at, self.seen, left)


# Tuples' own constructors take half the time of the classes', and hundreds of thousands are read.
_new_cursor: Callable[[tuple[Offsets, Offsets, tuple[int, ...]]], Cursor] = partial(tuple.__new__, Cursor)


class Changed(NamedTuple):
    """Something whose present state differs from what it was, or may."""

    type: str
    id: str


_new_changed: Callable[[tuple[str, str]], Changed] = partial(tuple.__new__, Changed)


class Changes(NamedTuple):
    """Some of what changed.

    Attributes:
        entries: each thing once; its state has to be read in the same snapshot, or something older may follow.
        cursors: behind each of them: whoever was told it and those before goes on there, and misses nothing.
        cursor: behind all of them.
        has_more: whether there are further ones now.
    """

    entries: tuple[Changed, ...]
    cursors: tuple[Cursor, ...]
    cursor: Cursor
    has_more: bool


class Ordered(Protocol):
    """A snapshot of the store, as far as the order of changes goes."""

    def offsets(self, workspace_id: str) -> Offsets:
        """How far the topics of a workspace's partition were read."""

    def held(self, topic_at: int, key: bytes) -> layout.Held | None:
        """What a message key holds; None where there never was any."""

    def offset(self, topic_at: int, key: bytes) -> int | None:
        """The offset of what a message key holds; None where there never was any."""

    def next_changes(self, workspace: bytes, topic_at: int, offset: int, most: int) -> list[tuple[int, bytes]]:
        """Offsets and keys (without workspace) of messages from an offset on, in their order."""


BEGINNING: Final = Cursor((0,) * len(TOPICS), (0,) * len(TOPICS), (NEVER,) * len(TYPES))
"""Before everything that exists."""


def changes_since(
    view: Ordered, workspace_id: str, cursor: Cursor, limit: int, types: Collection[str] = TYPES
) -> Changes:
    """What changed since a cursor.

    Args:
        limit: at most this many things.
        types: of things that are wanted; see `Cursor.reading`.

    Raises:
        Behind: this replica can't say yet.
    """
    cursor = cursor.reading(types)
    now = view.offsets(workspace_id)
    if any(seen > here for seen, here in zip(cursor.seen, now, strict=True)):
        raise Behind
    page = _Page(view, workspace_id.encode(), cursor.at, limit, types)
    has_more = any(page.read(topic_at, now[topic_at]) for topic_at in range(len(TOPICS)))
    cursors = tuple([_new_cursor((at, now, cursor.left)) for at in page.found.values()])
    return Changes(tuple(page.found), cursors, Cursor(tuple(page.at), now, cursor.left), has_more)


def end_of(view: Ordered, workspace_id: str) -> Cursor:
    """The cursor behind everything that is visible now."""
    now = view.offsets(workspace_id)
    return Cursor(now, now)


class _Page:
    def __init__(self, view: Ordered, workspace: bytes, at: Offsets, limit: int, types: Collection[str]) -> None:
        self.at = list(at)
        self.found: dict[Changed, Offsets] = {}
        self._view = view
        self._workspace = workspace
        self._limit = limit
        self._types = types
        self._left = _SCANNED

    def read(self, topic_at: int, end: int) -> bool:
        """Read one topic as far as there is room; tells whether something is left."""
        if not _TOLD[topic_at].intersection(self._types):
            self.at[topic_at] = max(self.at[topic_at], end)
            return False
        while True:
            # As many as there is room for; where few of them are new, still some at a time.
            most = min(self._left, max(self._limit - len(self.found), min(2 * self._limit, _AT_ONCE))) + 1
            some = self._view.next_changes(self._workspace, topic_at, self.at[topic_at], most)
            for offset, rest in some:
                things = self._things(topic_at, rest)
                new = [thing for thing in things if thing not in self.found]
                if not self.found and len(new) > self._limit:
                    new = self._one_of(new, rest)
                if self._left <= 0 or len(self.found) + len(new) > self._limit:
                    return True
                self._left -= 1
                if len(new) == 2:
                    # Behind the first of two things that one message changed, the message is still to be read.
                    self.found[new[0]] = tuple(self.at)
                self.at[topic_at] = offset + 1
                if new:
                    self.found[new[-1]] = tuple(self.at)
            if len(some) < most:
                # Of the others nothing of this workspace lies before the end of what was read.
                self.at[topic_at] = max(self.at[topic_at], end)
                return False

    def _one_of(self, new: list[Changed], rest: bytes) -> list[Changed]:
        """The channel of a message that changed its account as well, where there is room for one: accounts are read
        again from this one on."""
        account = self._view.offset(ACCOUNT_AT, self._key(rest))
        if account is not None:
            self.at[ACCOUNT_AT] = min(self.at[ACCOUNT_AT], account)
        return new[:1]

    def _things(self, topic_at: int, rest: bytes) -> list[Changed]:
        """What a message changed, but for what a further message of this cursor's future tells anyway."""
        id_ = rest.partition(b"/")[0]
        if topic_at == CHANNEL_AT:
            # A deleted channel takes its account with it, and one that is there again brings it back.
            account = self._view.offset(ACCOUNT_AT, self._key(id_))
            told = [] if self._comes(WINDOW_AT, self._window(id_)) else [CHANNEL]
            if account is not None and account < self.at[ACCOUNT_AT]:
                told.append(ACCOUNT)
        elif topic_at == POST_AT:
            told = [] if self._comes(FIGURES_AT, self._key(id_)) or self._is_unread(id_) else [POST]
        else:
            told = _ALONE[topic_at]
        if not told:
            return []
        return [_new_changed((type_, id_.decode())) for type_ in told if type_ in self._types]

    def _comes(self, topic_at: int, key: bytes) -> bool:
        offset = self._view.offset(topic_at, key)
        return offset is not None and offset >= self.at[topic_at]

    def _is_unread(self, id_: bytes) -> bool:
        """Whether a post has no figures yet: it is not there before it has, and is told then."""
        catalog, figures = (self._view.held(at, self._key(id_)) for at in (POST_AT, FIGURES_AT))
        return catalog is not None and bool(catalog.payload) and (figures is None or not figures.payload)

    def _key(self, id_: bytes) -> bytes:
        return b"%b/%b" % (self._workspace, id_)

    def _window(self, id_: bytes) -> bytes:
        return b"%b/%b/%b" % (self._workspace, id_, layout.LONGEST_RANGE.encode())
