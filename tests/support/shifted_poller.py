"""A poller whose clock is wrong by as much as a file says: `python -m tests.support.shifted_poller`.

The clock that is never set stays as it is, as when the machine's clock is set.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from services.poller.__main__ import main
from services.runtime.clock import SystemClock

VARIABLE = "TEST_CLOCK_SHIFT_FILE"
NOTICED_SECONDS = 0.1


def shift(path: Path, by_ms: int) -> None:
    """Let the clock of the poller that watches a file be wrong by so many ms, from now on."""
    written = path.with_suffix(".new")
    written.write_text(str(by_ms))
    written.replace(path)


class _Shifted:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._looked_at = 0.0
        self._by_ms = 0

    def now(self) -> int:
        """The machine's clock, shifted."""
        if time.monotonic() - self._looked_at >= NOTICED_SECONDS / 2:
            self._looked_at = time.monotonic()
            self._by_ms = int(self._path.read_text()) if self._path.exists() else 0
        return time.time_ns() // 1_000_000 + self._by_ms


if __name__ == "__main__":
    shifted = _Shifted(Path(os.environ[VARIABLE]))

    def shifted_now(self: SystemClock) -> int:
        """In place of `SystemClock.now`."""
        return shifted.now()

    SystemClock.now = shifted_now  # type: ignore[method-assign]
    main()
