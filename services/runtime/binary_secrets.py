r"""Blanks secrets in bytes that no schema can read: a cut or broken event, another schema's message, rubbish. Pure.

Text has signs between a name and its value. Avro, Protobuf and MessagePack write a length before the name and another
one before the value instead. A secret's value is replaced by as many bytes as it has, so that an event whose schema is
missing only for a while stays readable, without its secrets.

    Avro         \x18access_token \x1e<value>          lengths are doubled
    Protobuf     \x0a\x0caccess_token \x12\x0f<value>
    MessagePack  \xacaccess_token \xaf<value>
    BSON, C      access_token\x00 <length><value>
"""

from __future__ import annotations

import re

from services.runtime.redaction import MARKS, blank_secret_bytes, has_mark, is_secret_name, replace_spans

# No real message holds so many words of secrets' names; after this many, the rest of the message is blanked.
_PLACES_MAX = 2_000
_SHORTEST_NAME, _LONGEST_NAME = 3, 40
_PLACE = re.compile(b"|".join(MARKS))
_NAME_CHARS = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-")
_NAME_AROUND = re.compile(rb"[a-z0-9_-]{0,40}+")
# Lengths, tags and types before a value, some of which look like letters.
_TAGS = re.compile(rb".{0,7}[^\x21-\x7e]", re.DOTALL)
_PRINTABLE = re.compile(rb"[\x21-\x7e]*+")
_TEXT = frozenset(range(0x20, 0x7F)) | frozenset(b"\t\r\n")
_VARINT_MOST_BYTES = 5


def blank_unreadable(payload: bytes) -> bytes:
    """Blank the values after secrets' names, in text and in binary form, each by as many `*` as the value has bytes.

    Returns:
        the same object when there is no secret; values blanked before stay as they are.
    """
    blanked = blank_secret_bytes(payload, _stars)
    lowered = blanked.lower()
    if not has_mark(lowered):
        return blanked
    return replace_spans(blanked, iter(sorted(_values(blanked, lowered))), _stars)


def _stars(size: int) -> bytes:
    return b"*" * size


def _values(payload: bytes, lowered: bytes) -> set[tuple[int, int]]:
    """The spans of secrets' values: (begin, end)."""
    found: set[tuple[int, int]] = set()
    runs = _Runs(payload)
    for number, place in enumerate(_PLACE.finditer(lowered)):
        if number >= _PLACES_MAX:
            found.add((place.start(), len(lowered)))
            break
        found |= _values_at(runs, lowered, place.start(), place.end())
    return found


class _Runs:
    """Finds the ends of printable runs, and reads each byte of a payload once for all names together.

    The values of thousands of names may end with the same run of megabytes. The run that reaches furthest is
    remembered: a search inside of this run ends at once, and a search before this run stops at the run's beginning.
    Names come in the order of their places, so a search never begins far before the remembered run.
    """

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self._begin = self._end = 0

    def end(self, at: int) -> int:
        """Where the run of printable bytes from `at` on ends; `at` itself where there is none."""
        if at >= self._end:
            end = self._searched(at, len(self.payload))
            if end > at:
                self._begin, self._end = at, end
            return end
        if at < self._begin:
            end = self._searched(at, self._begin)
            if end < self._begin:
                return end
            self._begin = at
        return self._end

    def _searched(self, at: int, to: int) -> int:
        found = _PRINTABLE.match(self.payload, at, to)
        return at if found is None else found.end()


def _values_at(runs: _Runs, lowered: bytes, at: int, past: int) -> set[tuple[int, int]]:
    """Values after every name that a word may belong to: a length before a name may look like the name's letter."""
    found: set[tuple[int, int]] = set()
    payload = runs.payload
    start = at
    for start in range(at, max(0, at - _LONGEST_NAME), -1):
        length = payload[start - 1]
        for size in {length // 2 if length % 2 == 0 else 0, length, length - 0xA0}:
            end = start + size
            if not _SHORTEST_NAME <= size <= _LONGEST_NAME or end < past:
                continue
            if is_secret_name(lowered[start:end].decode("latin-1")):
                found.add(_avro_value(runs, end) if size * 2 == length else _value(runs, end))
        if lowered[start - 1] not in _NAME_CHARS:
            break
    else:
        start = max(0, at - _LONGEST_NAME)
    if found:
        return found
    around = _NAME_AROUND.match(lowered, start)
    end = around.end() if around is not None else past
    if end < len(lowered) and lowered[end] not in _TEXT and is_secret_name(lowered[start:end].decode()):
        found.add(_value(runs, end))
    return found


def _value(runs: _Runs, at: int) -> tuple[int, int]:
    """The span of a value that ends where a printable byte is followed by an unprintable one."""
    tags = _TAGS.match(runs.payload, at)
    return at, runs.end(at if tags is None else tags.end())


def _avro_value(runs: _Runs, at: int) -> tuple[int, int]:
    """The span of a value by its length, cut at the message's end."""
    payload = runs.payload
    size = 0
    for place in range(at, min(at + _VARINT_MOST_BYTES, len(payload))):
        byte = payload[place]
        size |= (byte & 0x7F) << 7 * (place - at)
        if byte < 0x80:
            return (place + 1, min(len(payload), place + 1 + (size >> 1))) if size & 1 == 0 else _value(runs, at)
    return _value(runs, at) if at + _VARINT_MOST_BYTES <= len(payload) else (at, at)
