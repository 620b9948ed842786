"""Splits an audit into parts of bounded size. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Rows of snapshots and states that one statement compares; the statement's memory grows with the rows.
ROWS_PER_PART = 1_000_000
_WORKSPACES_PER_PART = 2_000
_SHARES = 1 << 32


@dataclass(frozen=True, slots=True)
class Part:
    """The data that one statement compares: some small workspaces, or one share of a large workspace's keys.

    Attributes:
        rows: number of stored rows in the workspaces or the share.
        part: the share's number, from 0.
        parts: the number of shares of the workspace; 1 for small workspaces.
    """

    workspaces: tuple[str, ...]
    rows: int
    part: int = 0
    parts: int = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """Chooses the parts that are compared.

    Attributes:
        fraction: the fraction of the tenants, and of the shares of large tenants, 0..1.
        seed: another seed chooses other parts, so that hourly samples cover all parts in time.
    """

    fraction: float = 1.0
    seed: int = 0

    def takes(self, *name: str) -> bool:
        """Whether a part of this name is in the sample; the answer is the same at every call."""
        if self.fraction >= 1:
            return True
        text = "\0".join((str(self.seed), *name)).encode()
        return zlib.crc32(text) < self.fraction * _SHARES


def plan(
    rows_by_workspace: Iterable[tuple[str, int]], sample: Sample, rows_per_part: int = ROWS_PER_PART
) -> list[Part]:
    """Split a sample into parts; every key of the sample is in exactly one part.

    Args:
        rows_by_workspace: the number of stored rows of each workspace, in any order.
        rows_per_part: the most rows in a part of small workspaces, and about the rows in a share of a large one.
    """
    small: list[tuple[str, int]] = []
    parts: list[Part] = []
    for workspace_id, rows in sorted(rows_by_workspace):
        if rows <= rows_per_part:
            if sample.takes(workspace_id):
                small.append((workspace_id, rows))
            continue
        shares = -(-rows // rows_per_part)
        parts.extend(
            Part((workspace_id,), rows // shares, share, shares)
            for share in range(shares)
            if sample.takes(workspace_id, str(share))
        )
    return [*_gathered(small, rows_per_part), *parts]


def _gathered(small: Iterable[tuple[str, int]], rows_per_part: int) -> Iterator[Part]:
    names: list[str] = []
    total = 0
    for workspace_id, rows in small:
        if names and (total + rows > rows_per_part or len(names) >= _WORKSPACES_PER_PART):
            yield Part(tuple(names), total)
            names, total = [], 0
        names.append(workspace_id)
        total += rows
    if names:
        yield Part(tuple(names), total)
