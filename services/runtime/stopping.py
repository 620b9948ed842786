"""How a command ends at a signal: SIGTERM stops a command like Ctrl-C does, so that every `finally` runs.

In: signals. Out: KeyboardInterrupt in the main thread, and the exit code that tells which signal it was: 130 after
SIGINT, 143 after SIGTERM. Services have handlers of their own (`serving`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Of a shell: 128 and the signal's number.
_FIRST_CODE = 128
_ended_by = signal.SIGINT


def exit_code() -> int:
    """The exit code of a command that a KeyboardInterrupt ended: 130, or 143 where SIGTERM raised it."""
    return _FIRST_CODE + _ended_by


@contextmanager
def stoppable() -> Iterator[None]:
    """While the block runs, SIGTERM raises KeyboardInterrupt; a handler that is there already stays."""
    global _ended_by
    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if not is_ours:
        yield
        return
    _ended_by = signal.SIGINT
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is _terminate:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    global _ended_by
    _ended_by = signal.SIGTERM
    interrupt = signal.getsignal(signal.SIGINT)
    if callable(interrupt):
        # While asyncio runs, its own handler stands there, which cancels the task that runs.
        interrupt(number, frame)
        return
    # A shell lets commands in the background ignore SIGINT.
    raise KeyboardInterrupt
