"""Bounds of one record's headers, and what a record takes in memory. Pure.

A header without name and value is 2 bytes on the wire and about 100 bytes in memory, and compression makes millions of
them out of a few hundred bytes. Headers are therefore counted before anything is made of them, and wherever messages
are bounded by bytes a header counts with what it takes in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized

from services.runtime.inflating import Unreadable

HEADERS_MAX = 1_000
"""Headers of one record. No client of ours writes more than two."""
HEADERS_MAX_BYTES = 1024 * 1024
"""Names and values of one record's headers together."""
TOO_MANY_HEADERS = "too_many_headers"
"""Begins the reason of a record with more headers; its value is whole, other than that of a damaged record."""

PIECE_BYTES = 64 * 1024
"""Records that a parser is given without a look at them: they have 32,000 headers at most, which take 5 MB."""

# Measured: tuple, text, bytes and the place in a list take 146 bytes, the entry in Faust's dict of headers takes 26.
_HEADER_COST_BYTES = 200


def held_bytes(key: Sized | None, value: Sized | None, headers: Iterable[tuple[str, Sized | None]]) -> int:
    """About how many bytes of memory a record's key, value and headers take."""
    size = (len(key) if key else 0) + (len(value) if value else 0)
    if headers:
        size += headers_bytes(headers)
    return size


def headers_bytes(headers: Iterable[tuple[str, Sized | None]]) -> int:
    """About how many bytes of memory headers take."""
    size = 0
    for name, value in headers:
        size += len(name) + _HEADER_COST_BYTES
        if value:
            size += len(value)
    return size


def why_too_many(count: int, size: int) -> str | None:
    """Why a record's headers are not read; None where they are within the bounds.

    Args:
        size: of names and values, with their lengths.
    """
    if count > HEADERS_MAX:
        return f"{TOO_MANY_HEADERS}: the message has {count} headers; {HEADERS_MAX} are allowed"
    if size > HEADERS_MAX_BYTES:
        return f"{TOO_MANY_HEADERS}: the message's headers have {size} bytes; {HEADERS_MAX_BYTES} are allowed"
    return None


def pieces(records: bytes | memoryview, count: int) -> Iterator[tuple[int, int, int]]:
    """Split records into pieces of at most `PIECE_BYTES`; a longer record is a piece of its own.

    A parser that is given one piece can't read on behind it, whatever the records say about their lengths.

    Args:
        records: in the current format, one after the other.
        count: how many records there are.

    Returns:
        begin, end and number of records of each piece.

    Raises:
        Unreadable: the records do not end where their lengths say.
    """
    begin = at = first = 0
    try:
        for number in range(count):
            # This runs for every record: lengths of one and two bytes are read here, since a call takes as long again.
            start, size = at, records[at]
            if size < 0x80:
                at += 1
            elif (more := records[at + 1]) < 0x80:
                size += (more << 7) - 0x80
                at += 2
            else:
                size, at = _unsigned(records, at)
            at += size >> 1
            if at - begin > PIECE_BYTES and start > begin:
                yield begin, start, number - first
                begin, first = start, number
    except IndexError:
        raise Unreadable("the records end early") from None
    if at != len(records):
        raise Unreadable("the records have another length than they say")
    yield begin, at, count - first


def has_bounded_headers(record: bytes | memoryview) -> bool:
    """Whether a parser that is given one record makes no more headers than the bounds allow.

    Returns:
        False also where the record has a form that no producer writes.
    """
    try:
        _, at = varint(record, 0)
        attributes, at = record[at], at + 1
        _, at = varint(record, at)
        _, at = varint(record, at)
        for _ in ("key", "value"):
            size, at = varint(record, at)
            if size < -1:
                return False
            at += max(0, size)
        count, at = varint(record, at)
    except (IndexError, Unreadable):
        return False
    # Parsers differ in whether the attributes are one byte or an integer; below 128 that is the same.
    return attributes < 0x80 and count >= 0 and why_too_many(count, len(record) - at) is None


def varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """A zigzag integer of at most 64 bits at a place, and the place behind it.

    Raises:
        IndexError: the data ends before the integer does.
        Unreadable: the integer is longer.
    """
    number, at = _unsigned(data, at)
    return (number >> 1) ^ -(number & 1), at


def _unsigned(data: bytes | memoryview, at: int) -> tuple[int, int]:
    shift = number = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > 63:
            raise Unreadable("an integer is longer than 64 bits")
