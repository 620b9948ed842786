"""One process for each data directory: an advisory lock, which the kernel releases however the process ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from infra.embedded.clickhouse.errors import StartError


class DirectoryLock:
    """Holds a data directory until the process ends."""

    def __init__(self, path: Path) -> None:
        """Create the directory where needed and lock it.

        Raises:
            StartError: the directory cannot be written, or another process holds the lock.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(
                f"cannot write to the data directory {path}: {error.strerror}; give a writable one with --path"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(self._file, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise StartError(
                f"the data directory {path} is in use by process {owner}; stop it or give another with --path"
            ) from error
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())
