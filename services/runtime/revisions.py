"""Tells which records of a key count where several processes change it: those whose writer had read the one before.

A change is made of what its writer has read. Two processes that change the same key at once would undo each other, and
Kafka has no write on condition. So each record says in a header up to which offset its writer had read the partition.
A record behind one that its writer had not read does not count. All readers find the same by the log's order, and the
writer, which reads its record back, makes its change again. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

HEADER: Final = "tidemark-read-to"

Headers = Sequence[tuple[str, bytes | None]]


def read_to(offset: int) -> tuple[str, bytes]:
    """The header of a record whose writer has read the partition up to an offset (the next one to be read)."""
    return HEADER, str(offset).encode()


def _read_to(headers: Headers) -> int | None:
    for name, value in headers:
        if name == HEADER and value is not None and value.isdigit():
            return int(value)
    return None


class Revisions:
    """The newest record that counts, of each key of some partitions that are read in order."""

    def __init__(self) -> None:
        self._at: dict[bytes, int] = {}

    def counts(self, message_key: bytes, offset: int, headers: Headers) -> bool:
        """Whether a record counts, tombstones too; one without the header does.

        Records that are read again, and those of a topic that was made anew, are judged as if nothing were known.
        """
        seen, held = _read_to(headers), self._at.get(message_key)
        if seen is not None and held is not None and seen <= held < offset:
            return False
        self._at[message_key] = offset
        return True

    def newest(self, message_key: bytes) -> int:
        """The offset of a key's newest record that counts; -1 before the first."""
        return self._at.get(message_key, -1)
