"""How much memory a process may count on: the machine's, or less where a control group says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import psutil

_GROUPS: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")


class _Files(NamedTuple):
    """Names of a group's files, and of the lines of its `memory.stat` that count pages of files."""

    limits: tuple[str, ...]
    used: str
    of_files: tuple[bytes, ...]


_VERSION_2: Final = _Files(("memory.max", "memory.high"), "memory.current", (b"active_file", b"inactive_file"))
_VERSION_1: Final = _Files(
    ("memory.limit_in_bytes",), "memory.usage_in_bytes", (b"total_active_file", b"total_inactive_file")
)


def room_bytes(groups: Path = _GROUPS, own: Path = _OWN) -> int:
    """The bytes that are free for this process and its files.

    That is what is available on the machine, or less where one of the process's control groups has less left of its
    limit (Linux; version 1 and 2). Pages of files that the kernel could drop count as free.

    Raises:
        OSError: the machine does not tell its memory.
    """
    available: int = psutil.virtual_memory().available
    return max(0, min([available, *_rooms(groups, own)]))


def _rooms(groups: Path, own: Path) -> Iterator[int]:
    try:
        # A path, which may be any bytes.
        lines = own.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        # `0::/path` of version 2, `4:memory:/path` of version 1.
        controllers, _, path = line.partition(":")[2].partition(":")
        if not controllers:
            root, files = groups, _VERSION_2
        elif "memory" in controllers.split(","):
            root, files = groups / "memory", _VERSION_1
        else:
            continue
        group = root / path.lstrip("/")
        # Within a container the path may be one of the machine, which is not mounted; then the root is the container's.
        for folder in (group, *group.parents):
            limits = [limit for name in files.limits if (limit := _number(folder / name)) is not None]
            if limits:
                yield min(limits) - _held(folder, files)
            if folder == root:
                break


def _held(group: Path, files: _Files) -> int:
    """What a group holds without pages of files; 0 where it does not tell."""
    used = _number(group / files.used)
    try:
        words = (group / "memory.stat").read_bytes().split()
        counts = dict(zip(words[::2], words[1::2], strict=False))
        return 0 if used is None else max(0, used - sum(int(counts[name]) for name in files.of_files))
    except (OSError, ValueError, KeyError):
        return 0


def _number(path: Path) -> int | None:
    """The number in a file; None without one, as of `max`, which is no limit."""
    try:
        return int(path.read_bytes())
    except (OSError, ValueError):
        return None
