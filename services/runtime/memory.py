"""How much memory a process may count on: the machine's, or less where a control group says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

_GROUPS: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")
# Files of a group of version 2, and of its memory's hierarchy of version 1.
_LIMITS: Final = ("memory.max", "memory.high", "memory.limit_in_bytes")


def room_bytes(groups: Path = _GROUPS, own: Path = _OWN) -> int:
    """The bytes that this process may use, and the kernel may keep files in for it.

    What the machine has available, without the pages of files that it could let go of being taken off; at most the
    lowest limit of the control groups that the process is in (Linux; version 1 and 2).
    """
    available: int = psutil.virtual_memory().available
    return min([available, *_limits(groups, own)])


def _limits(groups: Path, own: Path) -> Iterator[int]:
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        # `0::/path` of version 2, `4:memory:/path` of version 1.
        controllers, _, path = line.partition(":")[2].partition(":")
        if not controllers:
            root = groups
        elif "memory" in controllers.split(","):
            root = groups / "memory"
        else:
            continue
        group = root / path.lstrip("/")
        # Within a container the path may be one of the machine, which is not mounted; then the root is the container's.
        for folder in (group, *group.parents):
            for name in _LIMITS:
                # `max` is no limit.
                with suppress(OSError, ValueError):
                    yield int((folder / name).read_text(encoding="ascii"))
            if folder == root:
                break
