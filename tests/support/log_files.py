"""The files of a Kafka partition, cut short while the broker is down, as a crash of a machine may leave them."""

from __future__ import annotations

import struct
from pathlib import Path

_OFFSET_AND_LENGTH = struct.Struct(">qi")


def cut(log: Path, topic: str, partition: int, batches: int) -> int:
    """Take the last batches of a partition away; returns how many offsets these had.

    Args:
        log: the broker's folder of logs.
    """
    folder = log / f"{topic}-{partition}"
    segment = max(folder.glob("*.log"))
    content = segment.read_bytes()
    starts, at = [], 0
    while at + _OFFSET_AND_LENGTH.size <= len(content):
        offset, length = _OFFSET_AND_LENGTH.unpack_from(content, at)
        starts.append((at, offset, length))
        at += _OFFSET_AND_LENGTH.size + length
    assert len(starts) > batches, f"{segment} has {len(starts)} batches"
    place, first, _ = starts[-batches]
    last_delta = struct.unpack_from(">i", content, starts[-1][0] + 23)[0]
    with segment.open("r+b") as file:
        file.truncate(place)
    for ending in ("index", "timeindex", "snapshot"):
        for path in folder.glob(f"*.{ending}"):
            path.unlink()
    # Without this note the broker looks through its logs, as after a crash.
    (log / ".kafka_cleanshutdown").unlink(missing_ok=True)
    return int(starts[-1][1] + last_delta + 1 - first)
