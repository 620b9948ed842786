"""The heaps that the C library keeps for a process: how many, and what is free in them."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import Final

# The number of glibc's mallopt parameter for the most arenas.
_M_ARENA_MAX: Final = -8
_HEAPS: Final = 2
_VARIABLE: Final = "MALLOC_ARENA_MAX"


def share_heaps() -> None:
    """Let all threads share two heaps, here and in processes that are started from now on.

    To be called before anything starts threads: heaps that there are stay, and with more than eight of them glibc
    settles on a number of its own. Memory that one thread frees in its own heap can't serve other threads. With two
    heaps an aggregator held a fifth less after half a million snapshots. Only glibc has this setting; where its own
    variable is set, that stands.
    """
    if _VARIABLE in os.environ:
        return
    os.environ[_VARIABLE] = str(_HEAPS)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _HEAPS)


def give_back() -> None:
    """Return what is free within the heaps to the machine; to be called after work that took much more than is held.

    The C library by itself gives back only what is free at a heap's end. Takes milliseconds. Only glibc can.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
