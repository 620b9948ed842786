"""Keeps answers in bounded memory: found by key, and dropped by the tags of the things they were made of. No I/O.

A change of a thing is told by the thing's tag (`drop`); answers with that tag are no longer shown. A change may become
known here while an answer is being made, or a little before all changed rows can be read (the aggregator stores the
catalog's mirror right after it publishes the consequences). So an answer is kept only if none of its things changed
since `SETTLE_SECONDS` before its making began.

A dropped answer is still held as the last known, for times when the store does not answer, unless its thing is gone.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

Value = TypeVar("Value")

SETTLE_SECONDS = 1.0
LONGEST_MAKING_SECONDS = 10.0
"""An answer that took longer to make is not kept, since changes that long ago are forgotten."""

LONGEST_SECONDS = 60.0
"""How long an answer is kept at most; an aggregator that dies between publishing and storing reports no change."""

# An answer larger than this part of the cache is not kept: a few such answers would push out everybody else's.
_LARGEST_PART = 32
_SMALL_BYTES = 64 * 1024
# The memory of an entry besides its value: the key, the tags and their places in the tables.
_ENTRY_BYTES = 1_000
_MOST_RECENT = 200_000
# Places for hashes of keys that were asked for lately, a power of two. A key is forgotten when another takes its place.
_ASKED_PLACES = 1 << 15


@dataclass(slots=True)
class Entry(Generic[Value]):
    """One kept answer.

    Attributes:
        made_at: when the answer was made, seconds of the cache's clock.
        expires_at: when the answer expires, seconds of the cache's clock.
        is_current: whether none of the answer's things has changed since it was made.
    """

    value: Value
    tags: tuple[bytes, ...]
    size_bytes: int
    made_at: float
    expires_at: float
    is_current: bool = True


@dataclass(slots=True)
class Making:
    """An answer that is being made.

    Attributes:
        began_at: when the oldest of what the answer is made of was asked for, seconds of `monotonic`.
    """

    began_at: float


_making: ContextVar[Making | None] = ContextVar("making", default=None)


@contextmanager
def making(began_at: float) -> Iterator[Making]:
    """Within the block one answer is made, of what is asked for from an instant on, and of what `uses` tells."""
    made = Making(began_at)
    token = _making.set(made)
    try:
        yield made
    finally:
        _making.reset(token)


def uses(asked_at: float) -> None:
    """The answer that is being made uses what was asked for at an instant, seconds of `monotonic`."""
    made = _making.get()
    if made is not None:
        made.began_at = min(made.began_at, asked_at)


class AnswerCache(Generic[Value]):
    """Kept answers; the least recently used answer is forgotten first.

    Args:
        max_bytes: the most memory for all values with their overhead, roughly.
        now: seconds of a clock that only goes forward.
    """

    def __init__(self, max_bytes: int, now: Callable[[], float] = monotonic) -> None:
        self.now = now
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[Hashable, Entry[Value]] = OrderedDict()
        self._by_tag: dict[bytes, set[Hashable]] = {}
        self._dropped_at: OrderedDict[bytes, float] = OrderedDict()
        self._forgotten_until = float("-inf")
        # No hash is -1.
        self._asked = array("q", [-1]) * _ASKED_PLACES
        self.is_fed = True
        """Whether changes reach this cache; while they don't, no kept answer counts as current."""

    @property
    def size_bytes(self) -> int:
        """The memory that the cache holds, roughly."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> Entry[Value] | None:
        """The kept answer if it is current; None otherwise."""
        entry = self._entries.get(key)
        if entry is None or not entry.is_current or not self.is_fed or self.now() >= entry.expires_at:
            return None
        self._entries.move_to_end(key)
        return entry

    def last_known(self, key: Hashable) -> Entry[Value] | None:
        """The last held answer, current or not, for when no new answer can be had; None when there is none."""
        return self._entries.get(key)

    def put(
        self, key: Hashable, value: Value, *, tags: Iterable[bytes], size_bytes: int, began_at: float, seconds: float
    ) -> None:
        """Keep an answer, unless one of its things changed meanwhile.

        Args:
            tags: the things that the answer is made of.
            began_at: when the answer's making began (`Making.began_at`), seconds of `now`.
            seconds: how long the answer holds when nothing changes, from `began_at` on.
        """
        made_of = tuple(tags)
        if self.now() - began_at > LONGEST_MAKING_SECONDS or self._changed_since(made_of, began_at - SETTLE_SECONDS):
            return
        self._remove(key)
        if size_bytes > max(self._max_bytes // _LARGEST_PART, _SMALL_BYTES):
            return
        entry = Entry(value, made_of, size_bytes + _ENTRY_BYTES, began_at, began_at + min(seconds, LONGEST_SECONDS))
        self._entries[key] = entry
        self._bytes += entry.size_bytes
        for tag in made_of:
            self._by_tag.setdefault(tag, set()).add(key)
        while self._bytes > self._max_bytes and self._entries:
            self._remove(next(iter(self._entries)))

    def drop(self, tag: bytes, *, is_gone: bool = False) -> None:
        """Note a change of one thing; see `drop_all`."""
        self.drop_all({tag: is_gone})

    def drop_all(self, changed: Mapping[bytes, bool]) -> None:
        """Note changes of things: no answer with one of their tags is current any more.

        Args:
            changed: by tag, whether the thing no longer exists, so that no answer with its tag may be shown at all.
        """
        now, dropped_at, entries = self.now(), self._dropped_at, self._entries
        for tag, is_gone in changed.items():
            dropped_at[tag] = now
            dropped_at.move_to_end(tag)
            keys = self._by_tag.get(tag)
            if not keys:
                continue
            if is_gone:
                for key in list(keys):
                    self._remove(key)
            else:
                for key in keys:
                    entries[key].is_current = False
        self._forget_old_drops(now)

    def is_asked_again(self, key: Hashable) -> bool:
        """Whether a key was asked for lately, and note that it is: what is asked for once need not be kept."""
        # Hashes alone, at places of their own: keys take more memory, and a set that grows takes more time. Where two
        # keys share a hash, one is kept a read too early; where they share a place, a key is kept once it comes twice
        # in a row.
        asked = hash(key)
        place = asked & (_ASKED_PLACES - 1)
        if self._asked[place] == asked:
            return True
        self._asked[place] = asked
        return False

    def distrust(self) -> None:
        """What is being made now may be old: keep none of it."""
        self._forgotten_until = self.now()

    def clear(self) -> None:
        """Forget everything, including answers being made: changes were missed, so no answer can be trusted."""
        self._entries.clear()
        self._by_tag.clear()
        self._dropped_at.clear()
        self._bytes = 0
        self._forgotten_until = self.now()

    def _changed_since(self, tags: Iterable[bytes], at: float) -> bool:
        if self._forgotten_until >= at:
            return True
        return any(self._dropped_at.get(tag, float("-inf")) >= at for tag in tags)

    def _forget_old_drops(self, now: float) -> None:
        until = now - LONGEST_MAKING_SECONDS - SETTLE_SECONDS
        while self._dropped_at:
            tag, at = next(iter(self._dropped_at.items()))
            if at >= until:
                if len(self._dropped_at) <= _MOST_RECENT:
                    return
                # Too many changes to remember: answers whose making began before this one are not kept.
                self._forgotten_until = max(self._forgotten_until, at)
            del self._dropped_at[tag]

    def _remove(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._bytes -= entry.size_bytes
        for tag in entry.tags:
            keys = self._by_tag.get(tag, set())  # an answer may name a tag twice
            keys.discard(key)
            if not keys:
                self._by_tag.pop(tag, None)


def post_tag(workspace_id: str, post_id: str) -> bytes:
    """The tag of a post: its catalog entry and its targets' figures."""
    return b"p/" + f"{workspace_id}/{post_id}".encode()


def posts_tag(workspace_id: str) -> bytes:
    """The tag of all posts of a workspace."""
    return b"w/" + workspace_id.encode()


def channel_tag(workspace_id: str, channel_id: str) -> bytes:
    """The tag of a channel's windows."""
    return b"n/" + f"{workspace_id}/{channel_id}".encode()


def channels_tag(workspace_id: str) -> bytes:
    """The tag of a workspace's list of channels, with their names."""
    return b"c/" + workspace_id.encode()
