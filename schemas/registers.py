"""Registers: the latest value of each metric of a target, or of a channel's period. Pure.

For each metric a register keeps the value with the greatest stamp (lifetime before date range, `captured_at`,
`event_id`). Merging is commutative, associative and idempotent, so duplicates, replays and reordering end in the same
state. All metrics of one answer share a stamp, so a register is its values and a short list of (stamp, mask) groups;
nearly every target has one group.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import orjson

from schemas.metrics import Values


class Stamp(NamedTuple):
    """Orders answers: of two answers the one with the greater stamp counts; compared field by field.

    Attributes:
        is_lifetime: 1 for lifetime figures, 0 for a range of dates.
        captured_at: ms.
        event_id: UTF-8 bytes, compared as bytes.
    """

    is_lifetime: int
    captured_at: int
    event_id: bytes


Groups = tuple[tuple[Stamp, int], ...]
"""Disjoint masks of metrics, each with the stamp of the answer that reported them."""


class Register(NamedTuple):
    """The latest figures of a target or of a channel's period.

    Attributes:
        groups: the answer that each figure is from.
        values: one for each metric; None where no answer reported the metric yet, or where its count is hidden.
        captured_at: when the newest answer with any figure was captured, ms; None before the first answer.
    """

    groups: Groups
    values: Values
    captured_at: int | None


def empty_register(metrics_count: int) -> Register:
    """A register before its first answer, with this many metrics."""
    return Register((), (None,) * metrics_count, None)


def merge(held: Register, spoken: int, ranged: int, values: Values, captured_at: int, event_id: bytes) -> Register:
    """Fold one answer into a register; the order of calls doesn't matter.

    Args:
        held: the register so far.
        spoken: bit mask of the metrics that the answer reported.
        ranged: bit mask of the metrics whose figures are for a range of dates.
        values: the answer's figures; None outside `spoken`.
        captured_at: ms.
        event_id: UTF-8 bytes.

    Returns:
        The new register; `held` itself when the answer changes nothing.
    """
    if not spoken:
        return held
    if not ranged and _covers(held, spoken, captured_at):
        return Register(_group(captured_at, event_id, spoken), values, captured_at)
    freshest = captured_at if held.captured_at is None or captured_at > held.captured_at else held.captured_at
    lifetime, dated = spoken & ~ranged, spoken & ranged
    groups, merged = held.groups, held.values
    if lifetime:
        groups, merged = _merge_group(groups, merged, Stamp(1, captured_at, event_id), lifetime, values)
    if dated:
        groups, merged = _merge_group(groups, merged, Stamp(0, captured_at, event_id), dated, values)
    if groups is held.groups and merged is held.values and freshest == held.captured_at:
        return held
    return Register(groups, merged, freshest)


def _covers(held: Register, spoken: int, captured_at: int) -> bool:
    """Whether an answer replaces a whole register: the first answer, or a newer one with at least the same metrics."""
    if not held.groups:
        return True
    return (
        len(held.groups) == 1
        and held.captured_at is not None
        and captured_at > held.captured_at
        and held.groups[0][1] | spoken == spoken
    )


@lru_cache(maxsize=4096)
def _group(captured_at: int, event_id: bytes, mask: int) -> Groups:
    """The groups of a whole answer, kept so that all targets of the answer share one object and one stored form."""
    return ((Stamp(1, captured_at, event_id), mask),)


def _merge_group(groups: Groups, held: Values, stamp: Stamp, mask: int, values: Values) -> tuple[Groups, Values]:
    won = 0
    kept: list[tuple[Stamp, int]] = []
    undecided = mask
    for held_stamp, held_mask in groups:
        both = held_mask & mask
        undecided &= ~held_mask
        if both and stamp > held_stamp:
            won |= both
            held_mask &= ~both
        elif both and stamp == held_stamp:
            # Two different answers with one id: the greater value counts, whichever answer came first.
            won |= _greater(held, both, values)
        if held_mask:
            kept.append((held_stamp, held_mask))
    won |= undecided
    if not won:
        return groups, held
    return _with_group(kept, stamp, won), _taken(held, won, values)


def _with_group(kept: list[tuple[Stamp, int]], stamp: Stamp, mask: int) -> Groups:
    for index, (held_stamp, held_mask) in enumerate(kept):
        if held_stamp == stamp:
            kept[index] = (stamp, held_mask | mask)
            return tuple(kept)
    kept.append((stamp, mask))
    # Sorted, so that registers with equal contents compare equal whatever the order of answers was.
    kept.sort()
    return tuple(kept)


def _greater(held: Values, mask: int, values: Values) -> int:
    won = 0
    for index in range(len(held)):
        if mask >> index & 1:
            new, old = values[index], held[index]
            if new is not None and (old is None or new > old):
                won |= 1 << index
    return won


def _taken(held: Values, mask: int, values: Values) -> Values:
    return tuple([values[index] if mask >> index & 1 else held[index] for index in range(len(held))])


@lru_cache(maxsize=4096)
def dump_groups(groups: Groups) -> str:
    """Groups as stored: JSON `[[is_lifetime, captured_at, event_id, mask], ...]`."""
    return orjson.dumps(
        [[stamp.is_lifetime, stamp.captured_at, stamp.event_id.decode(), mask] for stamp, mask in groups]
    ).decode()


def load_groups(text: str) -> Groups:
    """The inverse of `dump_groups`."""
    if not text or text == "[]":
        return ()
    return tuple(
        (Stamp(is_lifetime, captured_at, event_id.encode()), mask)
        for is_lifetime, captured_at, event_id, mask in orjson.loads(text)
    )
