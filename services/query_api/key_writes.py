"""Notes how far the workers of one origin have written API keys, so that each worker can tell whether it is behind.

A key that one worker made has to work at the next request, which may reach another worker. Each worker reads the topic
and is only milliseconds behind, so it waits until it has read the written keys. A key that nobody made costs one look
at shared memory.
"""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

_OFFSET: Final = struct.Struct("=q")
# A healthy follower is milliseconds behind; the contract gives other origins 2 s.
CATCH_UP_SECONDS = 2.0


class KeyWrites:
    """For each partition, the offset after the last key written at this origin; in a file that all workers have mapped.

    Args:
        path: the file, which `make` has made.
    """

    def __init__(self, path: Path, partitions: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._held = mmap.mmap(self._file, partitions * _OFFSET.size)
        self._partitions = partitions

    @staticmethod
    def make(path: Path, partitions: int) -> None:
        """Make the file, with no key written yet."""
        path.write_bytes(bytes(partitions * _OFFSET.size))

    def wrote(self, partition: int, offset: int) -> None:
        """Note a key's record; called before the key is given to anybody."""
        # The kernel gives the lock back if this process is killed with it.
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            if offset >= self.next_offset(partition):
                _OFFSET.pack_into(self._held, partition * _OFFSET.size, offset + 1)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def next_offset(self, partition: int) -> int:
        """The offset after a partition's last key; 0 while no key was written at this origin."""
        offset: int = _OFFSET.unpack_from(self._held, partition * _OFFSET.size)[0]
        return offset

    def behind(self, read_to: Callable[[int], int]) -> dict[int, int]:
        """The partitions that are not read far enough, each with the offset to reach."""
        wanted = {number: self.next_offset(number) for number in range(self._partitions)}
        return {number: offset for number, offset in wanted.items() if read_to(number) < offset}

    def close(self) -> None:
        """Close the shared file; no other call may follow."""
        self._held.close()
        os.close(self._file)


class KeyReads(Protocol):
    """How far this worker has read the topic of the keys."""

    def read_to(self, topic: str, partition: int) -> int:
        """The offset up to which a partition is read."""

    async def reached(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Wait until each of these partitions is read up to its offset."""


class CatchUp:
    """Waits until a worker has read all keys that were written before the call.

    Args:
        topic: the keys' topic, name without prefix.
        seconds: the longest wait; offsets that were not reached in this time are not waited for again.
    """

    def __init__(self, writes: KeyWrites, reads: KeyReads, topic: str, *, seconds: float = CATCH_UP_SECONDS) -> None:
        self._writes = writes
        self._reads = reads
        self._topic = topic
        self._seconds = seconds
        self._given_up: dict[int, int] = {}

    async def __call__(self) -> bool:
        """Wait, and return whether there was anything to wait for."""
        wanted = self._missing(self._writes.behind(lambda partition: self._reads.read_to(self._topic, partition)))
        if not wanted:
            return False
        try:
            async with asyncio.timeout(self._seconds):
                await self._reads.reached(self._topic, wanted)
        except TimeoutError:
            self._given_up |= wanted
        return True

    def _missing(self, behind: dict[int, int]) -> dict[int, int]:
        return {number: offset for number, offset in behind.items() if offset > self._given_up.get(number, -1)}
