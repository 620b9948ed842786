"""Moves the clock of every Python process that has this folder on its path, from its first moment on.

`PYTHON_TEST_CLOCK_MOVED_MS` says by how much; services of `tidemark up` are given variables that begin so. The clocks
that are never set, such as `time.monotonic`, stay as they are.
"""

from __future__ import annotations

import os
import time

_MOVED_MS = int(os.environ.get("PYTHON_TEST_CLOCK_MOVED_MS", "0"))

if _MOVED_MS:
    _time_ns, _time = time.time_ns, time.time

    def _moved_ns() -> int:
        return _time_ns() + _MOVED_MS * 1_000_000

    def _moved() -> float:
        return _time() + _MOVED_MS / 1000

    time.time_ns, time.time = _moved_ns, _moved
