"""The one way that the embedded engines speak to the person at the terminal: whole lines on stderr."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """Write one line at once; stdout stays free for what a command was asked to print."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
