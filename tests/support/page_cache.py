"""Which pages of a file the kernel holds, and how to make it let go of them."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from pathlib import Path

import pytest


def resident_bytes(path: Path) -> int:
    """The part of a file that is in memory."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapping:
        start = ctypes.c_char.from_buffer(mapping)
        pages = (ctypes.c_ubyte * (-(-len(mapping) // mmap.PAGESIZE)))()
        libc = ctypes.CDLL(None, use_errno=True)
        failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(len(mapping)), pages)
        # What shows the mapping's memory keeps it from being closed.
        del start
        if failed:
            raise OSError(ctypes.get_errno(), "mincore")
        return sum(page & 1 for page in pages) * mmap.PAGESIZE


def let_go(path: Path) -> None:
    """Make the kernel let go of a file that nobody has mapped; skips the test where it can't be made to."""
    if sys.platform != "linux":
        pytest.skip("only Linux can be asked to let go of a file's pages")
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident_bytes(path):
        pytest.skip("this file system keeps its files in memory")
