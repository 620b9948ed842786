"""Prints on standard error what a command waits for, so that no command is silent for long."""

# ruff: noqa: T201 - a command line prints

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FIRST_SECONDS = 2.0
"""How long a person is told nothing at first."""
SILENT_SECONDS = 4.0
"""How long between two words."""


@contextmanager
def waiting_for(what: str, *, every_seconds: float = SILENT_SECONDS) -> Iterator[None]:
    """While the block runs, print what it waits for: after two seconds, then every few. A short one prints nothing."""
    with saying(lambda: f"tidemark: waiting for {what}", every_seconds=every_seconds):
        yield


@contextmanager
def saying(line: Callable[[], str], *, every_seconds: float = SILENT_SECONDS) -> Iterator[None]:
    """While the block runs, print a line after two seconds and then every few, also while the block itself is stuck.

    Args:
        line: returns the line; called in another thread. The time that the block has run is appended.
    """
    began = time.monotonic()
    ended = threading.Event()

    def speak() -> None:
        pause = min(FIRST_SECONDS, every_seconds)
        while not ended.wait(pause):
            pause = every_seconds
            print(f"{line()} ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
