"""The progress of a long download: bytes, speed and time left, as a bar on a terminal, elsewhere a line now and then.

Comes in: byte counts from any number of threads. Goes out: text on stderr. Never touches a file.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from infra.embedded.console import say

PLAIN_INTERVAL_SECONDS = 2.0
MEBIBYTE = 1024 * 1024


class TransferCancelled(Exception):
    """Raised inside a download thread once another download failed or the user pressed Ctrl-C."""


class Transfer:
    """Shows the progress of one download of known size; a context manager.

    Args:
        title: a few words that name the files.
        total_bytes: the size of all files together.
    """

    def __init__(self, title: str, total_bytes: int) -> None:
        self._title = title
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._cancelled = False
        self._started_at = time.monotonic()
        self._console = Console(stderr=True)
        self._ticker: threading.Thread | None = None
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        self._started_at = time.monotonic()
        if self._console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._progress.add_task(self._title, total=self._total_bytes)
            self._progress.start()
        else:
            size = self._total_bytes / MEBIBYTE
            say(f"{self._title}: {size:.0f} MB to fetch, once")
            self._ticker = threading.Thread(target=self._print_lines, daemon=True)
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        if self._progress is not None:
            self._progress.stop()
        if self._ticker is not None:
            self._ticker.join()
        if error is None:
            elapsed = time.monotonic() - self._started_at
            size = self._done_bytes / MEBIBYTE
            say(f"{self._title}: {size:.0f} MB in {elapsed:.1f} s")

    def add(self, byte_count: int) -> None:
        """Count bytes that arrived; a negative count takes back a failed attempt, whose bytes are fetched again.

        Raises:
            TransferCancelled: the transfer was given up; the caller should stop at once.
        """
        if self._cancelled:
            raise TransferCancelled(self._title)
        with self._lock:
            self._done_bytes += byte_count
            if self._progress is not None:
                self._progress.update(self._progress.task_ids[0], completed=self._done_bytes)

    def cancel(self) -> None:
        """Make every later `add` raise, so that the download threads end soon."""
        self._cancelled = True

    def _print_lines(self) -> None:
        while not self._closed.wait(PLAIN_INTERVAL_SECONDS):
            say(self._line())

    def _line(self) -> str:
        done, total = self._done_bytes, self._total_bytes
        speed = done / max(time.monotonic() - self._started_at, 0.001)
        left = f"{(total - done) / speed:.0f} s left" if speed > 0 else "waiting for the first bytes"
        return f"{self._title}: {done / MEBIBYTE:.0f} of {total / MEBIBYTE:.0f} MB, {speed / MEBIBYTE:.1f} MB/s, {left}"
