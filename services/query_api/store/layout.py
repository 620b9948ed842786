"""What lies where in the store: tables, keys, and values that show when they are damaged. Pure.

A table holds one topic: the newest value of each message key. `changes` holds, for each workspace, the offset of every
table's newest values, so that what changed since an offset is one range; a key's older offset leaves it as the newer
one comes, as compaction would have it. Keys are the messages' own (`workspace_id/id`, ASCII), values are checksum,
offset and payload; no payload is a tombstone, which stays for as long as cursors are good.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple
from zlib import crc32

from schemas.topic_names import TOPICS_OF_CHANGES
from schemas.windows import RANGES

FORMAT: Final = 3
"""Changes with anything of what this package writes: a store of another format is made anew."""

TOPICS: Final = TOPICS_OF_CHANGES
"""What the store holds, in the order in which changes are read. A topic's place stands for it in keys and in
cursors."""

CHANNEL_AT, ACCOUNT_AT, WINDOW_AT, POST_AT, FIGURES_AT = range(len(TOPICS))

TABLES: Final = tuple(topic.encode() for topic in TOPICS)
CHANGES: Final = b"changes"
"""`workspace/` topic offset -> the rest of the message key."""
TARGETS: Final = b"targets"
"""`workspace/target` -> its post, by the figures of posts."""
ORDER: Final = b"order"
"""By time, the newest first: the posts of a workspace, and the targets of a channel, each with its posts (LMDB's sorted
duplicates); see `ordering`."""
POSITIONS: Final = b"positions"
"""Topic and partition -> the next offset."""
RECENT: Final = b"recent"
"""Number -> the message keys that one transaction wrote; the last transactions only."""
GONE: Final = b"gone"
"""Instant and message key of each tombstone, so that old ones are found."""
META: Final = b"meta"
MARKED: Final = b"marked/"
"""Begins the key in `meta` of the last message that was taken of a partition."""

LONGEST_RANGE: Final = max(RANGES, key=lambda name: RANGES[name])
"""Of a channel's three windows, which are always told together, this one stands in `changes`."""

TOMBSTONE_MILLIS: Final = 90 * 86_400_000
"""How long tombstones are kept: as long as the topics keep theirs, and cursors are good."""

# Checksum and offset.
_HEAD_BYTES: Final = 12
_checksum: Final = struct.Struct(">I").unpack_from
_OFFSET: Final = struct.Struct(">Q")
_PLACE: Final = struct.Struct(">BI")
_INSTANT: Final = struct.Struct(">QB")


class Damaged(Exception):
    """The store holds something that it was not given; it has to be made anew."""


class Held(NamedTuple):
    """A value of a table.

    Attributes:
        offset: of the message that wrote it.
        payload: empty for a tombstone.
    """

    offset: int
    payload: bytes


def pack(key: bytes, offset: int, payload: bytes) -> bytes:
    """A value as it is stored under a key."""
    rest = _OFFSET.pack(offset) + payload
    return crc32(rest, crc32(key)).to_bytes(4, "big") + rest


def unpack(key: bytes, value: bytes) -> Held:
    """The inverse of `pack`.

    Raises:
        Damaged: it is not what was stored under this key.
    """
    payload = checked_payload(crc32(key), value)
    return Held(offset_of(value), payload)


def payload_of(key: bytes, value: bytes | None) -> bytes:
    """The payload of what lies under a key; empty for nothing, as for a tombstone.

    Raises:
        Damaged: it is not what was stored under this key.
    """
    return b"" if value is None else checked_payload(crc32(key), value)


def checked_payload(key_checksum: int, value: bytes) -> bytes:
    """The payload of a stored value.

    Args:
        key_checksum: `crc32` of the key; a post's two values have the same key.

    Raises:
        Damaged: it is not what was stored under this key.
    """
    if len(value) < _HEAD_BYTES or crc32(value[4:], key_checksum) != _checksum(value)[0]:
        raise Damaged(f"a value of {len(value)} bytes is not what was stored under its key")
    return value[_HEAD_BYTES:]


def offset_of(value: bytes) -> int:
    """The offset of a stored value, unchecked."""
    offset: int = _OFFSET.unpack_from(value, 4)[0]
    return offset


def item_key(workspace_id: str, *parts: str) -> bytes:
    """The key of a thing in a table: its message key."""
    return "/".join((workspace_id, *parts)).encode()


def change_key(workspace: bytes, topic_at: int, offset: int) -> bytes:
    """The key in `changes` of what a workspace's message at an offset wrote."""
    return b"%b/%c%b" % (workspace, topic_at, _OFFSET.pack(offset))


def changes_of(workspace: bytes, topic_at: int) -> bytes:
    """What the keys of one topic's changes of a workspace begin with."""
    return b"%b/%c" % (workspace, topic_at)


def change_offset(key: bytes) -> int:
    """The offset in a key of `changes`."""
    offset: int = _OFFSET.unpack_from(key, len(key) - _OFFSET.size)[0]
    return offset


def place_key(topic_at: int, partition: int) -> bytes:
    """The key of a partition's position."""
    return _PLACE.pack(topic_at, partition)


def place_of(key: bytes) -> tuple[int, int]:
    """Topic and partition of a position's key."""
    topic_at, partition = _PLACE.unpack(key)
    return topic_at, partition


def number(value: int) -> bytes:
    """A number as keys and values hold it: in the order of the numbers."""
    return _OFFSET.pack(value)


def number_of(value: bytes) -> int:
    """The inverse of `number`."""
    found: int = _OFFSET.unpack(value)[0]
    return found


def gone_key(instant: int, topic_at: int, key: bytes) -> bytes:
    """The key in `gone` of a tombstone that was written at an instant, ms."""
    return _INSTANT.pack(instant, topic_at) + key


def gone_at(key: bytes) -> tuple[int, int, bytes]:
    """Instant, topic and message key of a key in `gone`."""
    instant, topic_at = _INSTANT.unpack_from(key)
    return instant, topic_at, key[_INSTANT.size :]
