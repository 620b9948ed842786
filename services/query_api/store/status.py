"""What the process that fills the store says to the others of its replica, in a file that all have mapped."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple

_NAME: Final = "status"
_LAYOUT: Final = struct.Struct("=dqqqq")
_BEAT_AND_PHASE: Final = struct.Struct("=dq")
# A writer beats several times a second; a longer silence than this, and it hangs or is gone.
DEAD_SECONDS: Final = 5.0


class Phase(IntEnum):
    """What the process that fills the store is at."""

    NOBODY = 0
    WAITING = 1
    CHECKING = 2
    FILLING = 3
    FOLLOWING = 4
    BROKEN = 5


_FOLLOWING: Final = int(Phase.FOLLOWING)


class Told(NamedTuple):
    """What was told last.

    Attributes:
        beat: monotonic seconds of this machine.
        left: messages until the end, while filling.
        taken: messages taken in since the process began.
        current_at: ms since the epoch, when everything written was last known to be read; 0 for never.
    """

    beat: float
    phase: int
    left: int
    taken: int
    current_at: int


class Status:
    """The file, mapped. Numbers of eight bytes are written and read whole."""

    def __init__(self, root: Path, now: Callable[[], float] = monotonic) -> None:
        self._path = root / _NAME
        self._now = now
        self._file, self._held = self._opened(b"")

    def _opened(self, before: bytes) -> tuple[int, mmap.mmap]:
        """The file of the folder, mapped; `before` is what a new one says."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        is_new = os.fstat(file).st_size < _LAYOUT.size
        if is_new:
            os.ftruncate(file, _LAYOUT.size)
        held = mmap.mmap(file, _LAYOUT.size)
        if is_new and before:
            held[:] = before
        return file, held

    def follow(self) -> None:
        """Go on with the file that the folder has now: the folder may be deleted at any time, and whoever opens it
        later has another file than those that had it open.

        Raises:
            OSError: the file can't be made.
        """
        try:
            if os.path.samestat(os.stat(self._path), os.fstat(self._file)):
                return
        except FileNotFoundError:
            pass
        opened = self._opened(self._held[:])
        self.close()
        self._file, self._held = opened

    def tell(self, phase: Phase, *, left: int = 0, taken: int = 0, current_at: int = 0) -> None:
        """Say how things are; what was current stays so where nothing newer is known."""
        before = Told._make(_LAYOUT.unpack_from(self._held))
        _LAYOUT.pack_into(self._held, 0, self._now(), phase, left, taken, max(current_at, before.current_at))

    @property
    def is_following(self) -> bool:
        """Whether the store is as new as the topics; what `told` says, for each read."""
        beat, phase = _BEAT_AND_PHASE.unpack_from(self._held)
        return bool(phase == _FOLLOWING and self._is_alive(beat))

    def told(self) -> Told:
        """What was told last; that nobody fills the store where it was too long ago."""
        found = Told._make(_LAYOUT.unpack_from(self._held))
        return found if self._is_alive(found.beat) else found._replace(phase=Phase.NOBODY)

    def _is_alive(self, beat: float) -> bool:
        # A beat of the future is of before this machine began anew.
        return 0 <= self._now() - beat <= DEAD_SECONDS

    def close(self) -> None:
        """Let go of the file."""
        self._held.close()
        os.close(self._file)
