"""Reads Avro's integers: zigzag, seven bits a byte, of at most 64 bits. Pure."""

from __future__ import annotations


class IntegerTooLong(ValueError):
    """The bytes hold an integer of more than 64 bits, which no schema has."""


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """The integer at a position, from -2^63 to 2^63 - 1, and the position behind it.

    Raises:
        IntegerTooLong: it has more than ten bytes, or more than one bit in the tenth.
        IndexError: the bytes end early.
    """
    shift = number = 0
    while shift <= 63:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number >> 64:
                break
            return (number >> 1) ^ -(number & 1), at
        shift += 7
    raise IntegerTooLong("an integer is longer than 64 bits")
