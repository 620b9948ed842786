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

RESIDENCE: Final = "residence of the store"
"""Names the task."""
MEMORY_SHARE: Final = 0.5
"""The rest is for the processes, and for the files of whatever else runs there."""
# Kernels that take back what nobody touched lately look at minutes: a file that was read once a minute lost some.
_PASS_SECONDS: Final = 30.0
_BUFFER_BYTES: Final = 1 << 20
_MOST_PIECES: Final = 512
# Of what it may have, before what was too large is kept again: else a file at the border would come and go.
_AGAIN: Final = 0.9
_TOO_LARGE: Final = "it takes more of the memory than it may"


async def keep_resident(
    path: Path,
    share: float = MEMORY_SHARE,
    room: Callable[[], int] = room_bytes,
    pass_seconds: float = _PASS_SECONDS,
) -> NoReturn:
    """Read a file over and over, until cancelled, while it takes at most a share of the memory that there is.

    No page is held: the kernel may let go of any that it needs for something else. What can't be read is left to
    whoever needs it, and told once.

    Args:
        share: above 0, to 1.
        room: tells the bytes of memory that there are; asked before each pass, since the file grows.
        pass_seconds: that a pass is spread over. The first one is as fast as the disk.
    """
    buffer = bytearray(_BUFFER_BYTES)
    pause, problem = 0.0, ""
    while True:
        found, pieces, told = "", list[tuple[int, int]](), dict[str, object]()
        try:
            # In threads, since disks may be slow.
            size, most = await asyncio.to_thread(_measured, path, share, room)
            if size > most * (_AGAIN if problem == _TOO_LARGE else 1):
                found, told = _TOO_LARGE, {"bytes": size, "most": most}
            else:
                pieces = _pieces(size)
            for start, length in pieces:
                await asyncio.to_thread(_read, path, start, length, buffer)
                await asyncio.sleep(pause / len(pieces))
        except FileNotFoundError:
            # Deleted, or made anew: whoever writes it says so.
            found, pieces = problem, []
        except Exception as error:
            # A mistake must not end it for good either.
            found, pieces = repr(error), []
        if found != problem:
            if found:
                log.warning("the store is not kept in memory", problem=found, **told)
            else:
                log.info("the store is kept in memory again")
        problem = found
        if not pause or not pieces:
            await asyncio.sleep(pass_seconds)
        pause = pass_seconds


def _measured(path: Path, share: float, room: Callable[[], int]) -> tuple[int, int]:
    """How large the file is, and how large it may be."""
    return path.stat().st_size, int(room() * share)


def _pieces(size: int) -> list[tuple[int, int]]:
    """Where each piece of a file begins, and its length: whole buffers."""
    length = _BUFFER_BYTES * max(1, -(-size // (_MOST_PIECES * _BUFFER_BYTES)))
    return [(start, length) for start in range(0, size, length)]


def _read(path: Path, start: int, length: int, buffer: bytearray) -> None:
    """Read a piece and let go of it; a pass whose caller is gone ends with its piece."""
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while length > 0 and (count := file.readinto(buffer)):
            length -= count
