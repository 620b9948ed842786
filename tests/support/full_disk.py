"""A small file system of a test's own, that can be filled to the last byte and emptied again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SmallDisk:
    """A mounted file system.

    Attributes:
        folder: its root.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    @property
    def free_bytes(self) -> int:
        """What anybody may still write."""
        held = os.statvfs(self.folder)
        return held.f_bavail * held.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Take all space but for `leave` bytes; again and again takes what became free meanwhile."""
        with self._filler.open("ab") as filler:
            wanted = self.free_bytes - leave
            if wanted > 0:
                # Somebody else may take some of it in between.
                try:
                    os.posix_fallocate(filler.fileno(), filler.seek(0, os.SEEK_END), wanted)
                except OSError:
                    return

    def empty(self) -> None:
        """Give the space back."""
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[SmallDisk | None]:
    """A tmpfs on a folder, unmounted afterwards; None where mounting is not permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0700", "tidemark-test", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mount.returncode != 0:
        yield None
        return
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)
