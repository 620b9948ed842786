"""Messages of the embedded engines to the person at the terminal: whole lines on stderr."""

from __future__ import annotations

import contextlib
import sys


def say(line: str) -> None:
    """Write one line to stderr at once; stdout stays free for a command's results."""
    # stderr may be a file on a full disk, or a pipe that nobody reads: the services go on without the line.
    with contextlib.suppress(OSError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
