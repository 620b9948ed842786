"""Event ids: UUIDv7 text, in the order in which this process makes them."""

from __future__ import annotations

import secrets
import uuid

_COUNTER_BITS = 12
_COUNTER_LIMIT = 1 << _COUNTER_BITS
_RANDOM_BITS = 62


class EventIds:
    """Makes UUIDv7s (RFC 9562, method 1): milliseconds, a counter within the millisecond, random bits."""

    def __init__(self) -> None:
        self._at = 0
        self._counter = 0

    def next(self, now: int) -> str:
        """The next id; `now` in ms. Greater than every id before it, also when the clock stepped back."""
        if now > self._at:
            self._at = now
            self._counter = 0
        else:
            self._counter += 1
            if self._counter == _COUNTER_LIMIT:
                self._at += 1
                self._counter = 0
        value = self._at << 80 | 0x7 << 76 | self._counter << 64 | 0b10 << 62 | secrets.randbits(_RANDOM_BITS)
        return str(uuid.UUID(int=value))
