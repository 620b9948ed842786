"""Says on standard error what a command waits for, so that no command is silent for long."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SILENT_SECONDS = 4.0


@contextmanager
def waiting_for(what: str, *, every_seconds: float = SILENT_SECONDS) -> Iterator[None]:
    """While the block runs, print one line every few seconds; nothing when it ends before the first."""
    with saying(lambda: f"tidemark: waiting for {what}", every_seconds=every_seconds):
        yield


@contextmanager
def saying(line: Callable[[], str], *, every_seconds: float = SILENT_SECONDS) -> Iterator[None]:
    """While the block runs, print what it does every few seconds, also where nothing of it advances.

    Args:
        line: asked in another thread; how long the block has run is added to it.
    """
    began = time.monotonic()
    ended = threading.Event()

    def speak() -> None:
        while not ended.wait(every_seconds):
            print(f"{line()} ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
