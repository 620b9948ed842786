"""Merges fresh answers of platforms over stored figures, by the aggregator's own rule. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from schemas.events import PlatformRaw
from schemas.metrics import CHANNEL_METRICS, POST_METRICS
from schemas.registers import Register, empty_register, merge
from services.platforms import platform
from services.platforms.base import MappingError, Reading
from services.query_api.reads.query import Target

PeriodKey = tuple[str, int | None, int | None]
"""Period, start and end, ms."""

_NO_POST = empty_register(len(POST_METRICS))
_NO_CHANNEL = empty_register(len(CHANNEL_METRICS))


def read(events: Iterable[PlatformRaw]) -> Iterator[tuple[PlatformRaw, Reading]]:
    """The readings of answers; an answer that can't be mapped is skipped, and becomes the aggregator's dead letter."""
    for event in events:
        try:
            yield event, platform(event.platform).read(event)
        except (KeyError, MappingError):
            continue


def merge_targets(registers: Mapping[str, Register], events: Iterable[PlatformRaw]) -> dict[str, Register]:
    """Merge fresh answers into the registers of their targets.

    Args:
        registers: stored registers by target id; a target without a register is new.

    Returns:
        the merged registers of the targets in the answers.
    """
    merged: dict[str, Register] = {}
    for event, reading in read(events):
        event_id = event.event_id.encode()
        for said in reading.posts:
            target_id = event.targets[said.position].target_id
            held = merged.get(target_id) or registers.get(target_id, _NO_POST)
            merged[target_id] = merge(held, said.spoken, said.ranged, said.values, event.captured_at, event_id)
    return merged


def merge_channel(registers: dict[PeriodKey, Register], events: Sequence[PlatformRaw]) -> list[PlatformRaw]:
    """Merge fresh answers into a channel's registers, in place; returns the answers that had figures of the channel."""
    spoke: list[PlatformRaw] = []
    for event, reading in read(events):
        event_id = event.event_id.encode()
        for said in reading.channels:
            key = (said.period, said.period_start, said.period_end)
            held = registers.get(key, _NO_CHANNEL)
            registers[key] = merge(held, said.spoken, 0, said.values, event.captured_at, event_id)
        if reading.channels:
            spoke.append(event)
    return spoke


def with_register(target: Target, register: Register) -> Target:
    """A target with other figures."""
    return target._replace(captured_at=register.captured_at, values=register.values)
