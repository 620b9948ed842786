"""What a running installation shows to others on its machine: modes of files, and sockets that listen."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from tests.support.live_files import below

LOOPBACK = ("127.0.0.1", "::ffff:127.0.0.1")


def open_to_others(folder: Path) -> tuple[int, list[tuple[str, str]]]:
    """How many files and folders there are, and those that anybody but their owner may read, with their modes."""
    found, seen = [], 0
    for path in (folder, *below(folder)):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue  # the engines remove some of theirs
        seen += 1
        if not stat.S_ISLNK(mode) and stat.S_IMODE(mode) != (0o700 if stat.S_ISDIR(mode) else 0o600):
            found.append((oct(mode), str(path.relative_to(folder))))
    return seen, found


def listening(pids: Mapping[str, int] | Iterable[tuple[str, int]]) -> dict[int, tuple[str, str]]:
    """By TCP port that a process or a child of it listens on: the process's name and the address."""
    found = {}
    for name, pid in dict(pids).items():
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found[connection.laddr.port] = (name, connection.laddr.ip)
    return found
