"""Keeps the store's file in memory: of a page that the kernel let go of, a look-up waits for the disk.

In: the file. Out: nothing but its pages in the kernel's cache, from which all processes of the replica read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from services.runtime.logging import get_logger
from services.runtime.memory import room_bytes

log = get_logger(__name__)

# Kernels that take back what nobody touched lately look at minutes: a file that was read once a minute lost some.
_PASS_SECONDS: Final = 30.0
_LEAST_BYTES: Final = 1 << 20
_MOST_PIECES: Final = 512
# The rest is for the processes, and for the files of whatever else runs there.
_SHARE: Final = 0.5


async def keep_resident(
    path: Path, room: Callable[[], int] = room_bytes, pass_seconds: float = _PASS_SECONDS
) -> NoReturn:
    """Read a file over and over, until cancelled, whenever it is at most half of the memory that there is.

    No page is held: the kernel may let go of any that it needs for something else. What can't be read is left to
    whoever needs it.

    Args:
        room: tells the bytes of memory that there are; asked before each pass, since the file grows.
        pass_seconds: that a pass is spread over. The first one is as fast as the disk.
    """
    pause = 0.0
    is_left = False
    while True:
        is_read = False
        try:
            size, most = path.stat().st_size, int(room() * _SHARE)
            was_left, is_left = is_left, size > most
            if is_left and not was_left:
                log.warning("the store is not kept in memory, as it would take more than half", bytes=size, most=most)
            pieces = [] if is_left else _pieces(size)
            for start, length in pieces:
                # In a thread, since disks may be slow.
                await asyncio.to_thread(_read, path, start, length)
                await asyncio.sleep(pause / len(pieces))
                is_read = True
        except OSError:
            # The file is gone, the disk fails, or the machine does not tell its memory.
            is_read = False
        if not pause or not is_read:
            await asyncio.sleep(pass_seconds)
        pause = pass_seconds


def _pieces(size: int) -> list[tuple[int, int]]:
    """Where each piece of a file begins, and its length."""
    length = max(_LEAST_BYTES, -(-size // _MOST_PIECES))
    return [(start, length) for start in range(0, size, length)]


def _read(path: Path, start: int, length: int) -> None:
    """Read a piece and let go of it; a pass whose caller is gone ends with its piece."""
    buffer = bytearray(_LEAST_BYTES)
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        for _ in range(start, start + length, len(buffer)):
            file.readinto(buffer)
