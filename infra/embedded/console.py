"""Messages of the embedded engines to the person at the terminal: whole lines on stderr."""

from __future__ import annotations

import contextlib
import sys


def say(line: str) -> None:
    """Write one line at once; stdout stays free for what a command was asked to print."""
    # Where stderr is a file on a full disk, or a pipe that nobody reads, the services matter more than the line.
    with contextlib.suppress(OSError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
