"""Heaps: threads share two, what was freed goes back to the machine, and another C library changes nothing."""

from __future__ import annotations

import ctypes
import os
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
# Counts heaps while 24 threads hold memory, of this process and of one that it starts.
_THREADS = """
import ctypes, os, subprocess, sys, tempfile, threading
from services.runtime.heaps import share_heaps
share_heaps()
libc = ctypes.CDLL(None)
libc.fopen.restype, libc.fopen.argtypes = ctypes.c_void_p, [ctypes.c_char_p] * 2
libc.malloc_info.argtypes, libc.fclose.argtypes = [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]
done, met = threading.Event(), threading.Barrier(25)
def hold():
    held = [bytes(5000) for _ in range(50)]
    met.wait()
    done.wait()
threads = [threading.Thread(target=hold) for _ in range(24)]
for thread in threads:
    thread.start()
met.wait()
with tempfile.NamedTemporaryFile() as told:
    stream = libc.fopen(told.name.encode(), b"w")
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print(told.read().count(b"<heap nr="), flush=True)
done.set()
if len(sys.argv) > 1:
    subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
"""
_of_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")


@_of_glibc
def test_all_threads_share_two_heaps_here_and_in_processes_that_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    told = subprocess.run(
        [sys.executable, "-c", _THREADS, _THREADS], capture_output=True, text=True, check=True, timeout=60
    )
    assert told.stdout.split() == ["2", "2"]


@_of_glibc
def test_what_an_operator_set_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    told = subprocess.run([sys.executable, "-c", _THREADS], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.split() == ["4"]


@_of_glibc
def test_what_is_free_between_what_is_held_is_given_back() -> None:
    told = subprocess.run([sys.executable, "-c", _HOLES], capture_output=True, text=True, check=True, timeout=60)
    assert int(told.stdout) > 80 * 2**20


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    share_heaps()
    give_back()
