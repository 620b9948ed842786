"""Secrets that come from files: `NAME_FILE` names the file that holds NAME.

In: a path. Out: the secret, or one error that says what to mend. A file that everybody on this machine may read is
refused, except on a read-only file system in memory: there Kubernetes and systemd put a service's secrets (mode 0644 by
default in Kubernetes), and nobody outside the service's own container or unit sees that file system.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

# `NAME_FILE` names a file that holds NAME.
FILE_SUFFIX = "_FILE"
_MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


class SettingsError(ValueError):
    """A setting is missing or wrong; the message names it and the allowed values."""


def read_secret(name: str, path: str) -> str:
    """Read the file that `NAME_FILE` names; a line end is removed.

    Raises:
        SettingsError: the file can't be read, is empty, or everybody on this machine may read it.
    """
    try:
        value = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SettingsError(f"{name}{FILE_SUFFIX}: {path} can't be read ({reason})") from None
    if not value:
        raise SettingsError(f"{name}{FILE_SUFFIX}: {path} is empty")
    refuse_open(path, name)
    return value


def refuse_open(path: str, name: str) -> None:
    """Refuse a file of secrets that everybody on this machine may read.

    Args:
        name: of the setting that the file holds.

    Raises:
        SettingsError: others may read the file, by its own mode and those of all folders above it.
    """
    try:
        found = Path(path).resolve(strict=True)
        is_open = bool(found.stat().st_mode & stat.S_IROTH) and all(
            folder.stat().st_mode & stat.S_IXOTH for folder in found.parents
        )
    except OSError:
        return
    if is_open and not _is_given_to_this_service(found):
        raise SettingsError(
            f"everybody on this machine may read {path}, which holds {name}: `chmod 600 {path}`, or 640 with a group "
            "for this service alone"
        )


def _is_given_to_this_service(path: Path) -> bool:
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return is_private_mount(path, lines)


def is_private_mount(path: Path, mounts: Iterable[str]) -> bool:
    """Whether a file lies on a read-only file system in memory.

    Args:
        path: absolute, without links.
        mounts: lines of `/proc/self/mountinfo`.
    """
    best, is_private = -1, False
    for line in mounts:
        fields, _, after = line.partition(" - ")
        parts, kind = fields.split(), after.split(" ", 1)[0]
        if len(parts) < 6:
            continue
        point = Path(parts[4].replace("\\040", " "))
        depth = len(point.parts)
        # Of several mounts at one place the last one counts.
        if path.is_relative_to(point) and depth >= best:
            best, is_private = depth, kind in _IN_MEMORY and "ro" in parts[5].split(",")
    return is_private
