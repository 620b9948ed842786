"""Posts of a workspace, and targets of a channel, by the time of their publication, the newest first. Pure.

An entry follows from what the catalog and the figures of one post say, so it is written in the transaction that changes
either. Figures that change and belong to the same targets move no entry.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Set
from typing import Final, NamedTuple

from services.query_api.store import records

UNPUBLISHED: Final = -1
"""The place of a post without a time of publication: behind all others, which have theirs in ms."""

_PLACE = struct.Struct(">Q")
_FIRST_PLACE = (1 << 63) - 1
_POSTS, _TARGETS = b"/p", b"/t"
_OUT, _NOT_OUT = b"+", b"-"


class Placed(NamedTuple):
    """A target, its post, and when it was published, ms; `is_out` says whether its status is published."""

    target_id: str
    post_id: str
    published_at: int
    is_out: bool


Entry = tuple[bytes, bytes]
"""Key and value. Posts that name the same target stand side by side."""


def entries(key: bytes, published: records.Published | None, shown: Collection[str]) -> Set[Entry]:
    """The entries of a post.

    Args:
        key: the message key of the post.
        published: by the catalog; None where the catalog does not hold it.
        shown: the targets that its figures name.
    """
    if published is None:
        return frozenset()
    workspace, _, post_id = key.partition(b"/")
    place = UNPUBLISHED if published[0] is None else published[0]
    found = {(posts_of(workspace) + _place(place) + post_id, _OUT)}
    found.update(_of_targets(workspace, post_id, published, shown) if shown else ())
    return found


def target_entries(key: bytes, published: records.Published | None, shown: Collection[str]) -> Set[Entry]:
    """The entries of some targets of a post; arguments as of `entries`."""
    if published is None or not shown:
        return frozenset()
    workspace, _, post_id = key.partition(b"/")
    return set(_of_targets(workspace, post_id, published, shown))


def _of_targets(
    workspace: bytes, post_id: bytes, published: records.Published, shown: Collection[str]
) -> Iterator[Entry]:
    for target_id, channel_id, at, is_out in published[1]:
        if at is not None and target_id in shown:
            at_key = targets_of(workspace, channel_id.encode()) + _place(at) + target_id.encode()
            yield at_key, (_OUT if is_out else _NOT_OUT) + post_id


def placed(prefix: bytes, key: bytes, value: bytes) -> Placed:
    """A target of its entry."""
    place, target_id = read(prefix, key)
    return Placed(target_id, value[1:].decode(), place, value[:1] == _OUT)


def posts_of(workspace: bytes) -> bytes:
    """What the keys of a workspace's posts begin with."""
    return workspace + _POSTS


def targets_of(workspace: bytes, channel: bytes) -> bytes:
    """What the keys of a channel's targets begin with."""
    return b"%b%b/%b/" % (workspace, _TARGETS, channel)


def from_place(prefix: bytes, place: int, id_: bytes = b"") -> bytes:
    """The first key at a place, or behind it; of the same place, from an id on."""
    return prefix + _place(place) + id_


def read(prefix: bytes, key: bytes) -> tuple[int, str]:
    """Place and id of a key."""
    (inverse,) = _PLACE.unpack_from(key, len(prefix))
    return _FIRST_PLACE - inverse, key[len(prefix) + _PLACE.size :].decode()


def _place(place: int) -> bytes:
    return _PLACE.pack(_FIRST_PLACE - place)
