"""The services' log files: one for each service, kept small, so that the line that explains a death is easy to find."""

from __future__ import annotations

import contextlib
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

MAX_BYTES = 16 * 1024 * 1024
TAIL_BYTES = 4096
LAST_LINE_CHARACTERS = 200


class Logs:
    """Log files `<folder>/<service>.log`. The service itself appends; a log that grew too long moves to `.log.1`."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self.folder = folder
        self._max_bytes = max_bytes

    def path(self, service: str) -> Path:
        """The log file of a service."""
        return self.folder / f"{service}.log"

    def announce(self, service: str, text: str) -> None:
        """Write a line of the supervisor's own between those of the service."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        # The service goes on without this line when the disk is full.
        with contextlib.suppress(OSError), self.path(service).open("a", encoding="utf-8") as log:
            log.write(f"--- {now} {text}\n")

    def rotate(self, service: str) -> bool:
        """Move a log that grew too long to `.log.1`; safe while the service writes.

        The service holds the file open for appending. So the log is copied and then emptied, not renamed; lines
        written between these two steps are lost.
        """
        path = self.path(service)
        with contextlib.suppress(OSError):
            if path.stat().st_size > self._max_bytes:
                older = path.with_suffix(".log.1")
                try:
                    shutil.copyfile(path, older)
                except OSError:
                    # No space for the copy: older lines are given up, rather than let the log grow on a full disk.
                    older.unlink(missing_ok=True)
                os.truncate(path, 0)
                return True
        return False

    def last_line(self, service: str) -> str:
        """The last line that the service itself wrote, shortened; empty when it wrote nothing."""
        try:
            with self.path(service).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        own = []
        for line in reversed(lines):
            if line.startswith("--- ") and " started, pid " in line:
                break
            if not line.startswith("--- "):
                own.append(line)
        return own[0][:LAST_LINE_CHARACTERS] if own else ""
