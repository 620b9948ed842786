"""Progress on the terminal: one line that is rewritten, or plain lines where there is none."""

from __future__ import annotations

import sys
import time

_PLAIN_SECONDS = 10.0


class Progress:
    """One step of a benchmark; a context manager that prints how long it took.

    Args:
        name: what is being done.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._started = self._printed = time.monotonic()
        self._is_terminal = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        self._write("...")
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._write(f"{'failed' if error else 'done'} after {time.monotonic() - self._started:.1f} s", is_last=True)

    def show(self, text: str) -> None:
        """Tell how far it is; on a log only every few seconds."""
        now = time.monotonic()
        if self._is_terminal or now - self._printed >= _PLAIN_SECONDS:
            self._printed = now
            self._write(text)

    def _write(self, text: str, is_last: bool = False) -> None:
        line = f"  {self._name}: {text}"
        if self._is_terminal:
            sys.stderr.write(f"\r\x1b[K{line}" + ("\n" if is_last else ""))
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()
