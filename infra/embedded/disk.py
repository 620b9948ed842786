"""How full the disk of the data folder is: a line to the operator, and an excuse for services that a full disk ends."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from infra.embedded.console import say

MEBIBYTE = 1024 * 1024
# Below this the embedded ClickHouse writes nothing; Kafka and the registry go on to the last byte.
FULL_BYTES = 256 * MEBIBYTE
LINE_SECONDS = 10.0
# A service may die of a full disk some time after there is space again.
EXCUSE_SECONDS = 60.0


class Disk:
    """The disk of a folder, measured several times a second.

    Args:
        free_bytes: measures the disk; raises OSError when it can't.
    """

    def __init__(
        self,
        folder: Path,
        *,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
        tell: Callable[[str], None] = say,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._free_bytes = free_bytes
        self._tell = tell
        self._clock = clock
        self._told_at: float | None = None
        self._full_at: float | None = None
        self.is_full = False

    def look(self) -> None:
        """Measure the free space; prints a full disk at most every ten seconds, and once when there is space again."""
        try:
            free = self._free_bytes(self._folder)
        except OSError:
            return
        now = self._clock()
        self.is_full = free < FULL_BYTES
        if self.is_full:
            self._full_at = now
            if self._told_at is None or now - self._told_at >= LINE_SECONDS:
                self._told_at = now
                self._tell(
                    f"tidemark: only {free // MEBIBYTE} MB are free on the disk of {self._folder}: free at least "
                    f"{FULL_BYTES // MEBIBYTE} MB; events wait meanwhile, and services that stop are started again"
                )
        elif self._told_at is not None:
            self._told_at = None
            self._tell(f"tidemark: the disk of {self._folder} has space again ({free // MEBIBYTE} MB)")

    @property
    def excuses(self) -> bool:
        """Whether a service that dies now may have died of the full disk."""
        return self._full_at is not None and self._clock() - self._full_at < EXCUSE_SECONDS
