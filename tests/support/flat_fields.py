"""Messages' fields with every run of fields in its place, as readers and general writers want them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.encoder import Shared


def flat(fields: Iterable[Any]) -> tuple[Any, ...]:
    """The fields of a message, and those of the records in its lists."""
    found: list[Any] = []
    for value in fields:
        if isinstance(value, Shared):
            found += value.values
        else:
            found.append([flat(item) for item in value] if isinstance(value, list) else value)
    return tuple(found)
