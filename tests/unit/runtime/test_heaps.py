"""Heaps: what was freed between what is held goes back to the machine, and another C library changes nothing."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from services.runtime.heaps import give_back, share_heaps

# Blocks too large for Python's own allocator, of which every hundredth is held: no heap's end is free.
_HOLES = """
import psutil
from services.runtime.heaps import give_back, share_heaps
share_heaps()
blocks = [bytes([number % 256]) * 4096 for number in range(25_000)]
held = blocks[::100]
before = psutil.Process().memory_info().rss
del blocks
give_back()
print(before - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_what_is_free_between_what_is_held_is_given_back() -> None:
    told = subprocess.run([sys.executable, "-c", _HOLES], capture_output=True, text=True, check=True, timeout=60)
    assert int(told.stdout) > 80 * 2**20


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    share_heaps()
    give_back()
