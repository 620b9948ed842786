"""Keeps what answers said of single targets, in bounded memory. No I/O.

An answer never changes once it was received, and lists show the same answers again and again, with a few new ones. So
of a list that is read anew only the new answers need be fetched and parsed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from cachetools import TTLCache

NOTHING = b"{}"
"""What is shown of a target of which an answer has no part."""

# An answer that retention has deleted is shown for so much longer.
_KEPT_SECONDS = 600
# The memory of an entry, and of a part, besides its bytes.
_ENTRY_BYTES = 400
_PART_BYTES = 150


class Answer(NamedTuple):
    """What one answer said of some targets.

    Attributes:
        size_bytes: of the whole payload.
        parts: JSON by target id, `NOTHING` where there is none; None where it was left out, since there was no room.
    """

    size_bytes: int
    parts: Mapping[str, bytes | None]

    @property
    def held_bytes(self) -> int:
        """The bytes of the parts alone."""
        return sum(len(part) for part in self.parts.values() if part is not None)


class KeptParts:
    """Answers by workspace and event id; the one that was asked for longest ago is forgotten first.

    Args:
        max_bytes: the most memory, roughly; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._answers: TTLCache[tuple[str, str], Answer] = TTLCache(max_bytes, _KEPT_SECONDS, getsizeof=_size)

    def get(self, workspace_id: str, event_id: str, targets: Iterable[str]) -> Answer | None:
        """An answer that is kept with all of these targets' parts; else None."""
        answer = self._answers.get((workspace_id, event_id))
        return answer if answer is not None and all(target in answer.parts for target in targets) else None

    def put(self, workspace_id: str, event_id: str, answer: Answer) -> None:
        """Keep an answer, unless a part of it was left out; what was kept of it before stays."""
        if None in answer.parts.values() or _size(answer) > self._answers.maxsize // 8:
            return
        before = self._answers.get((workspace_id, event_id))
        merged = answer if before is None else answer._replace(parts={**before.parts, **answer.parts})
        self._answers[workspace_id, event_id] = merged if _size(merged) <= self._answers.maxsize // 8 else answer


def until_full(
    order: Iterable[str], answers: Mapping[str, Answer], read_bytes: int, held_bytes: int
) -> Iterator[tuple[str, Answer]]:
    """Answers in an order, as long as there is room; whether they were kept or fetched makes no difference.

    Args:
        read_bytes: of whole payloads; the first one may be longer.
        held_bytes: of parts; the last one may go beyond.
    """
    read = held = 0
    for event_id in order:
        answer = answers.get(event_id)
        if answer is None or (read and read + answer.size_bytes > read_bytes) or held > held_bytes:
            return
        read += answer.size_bytes
        held += answer.held_bytes
        yield event_id, answer


def _size(answer: Answer) -> int:
    return _ENTRY_BYTES + answer.held_bytes + _PART_BYTES * len(answer.parts)
