"""Avro bytes of a raw event, each field mutated by its type in the schema. Pure."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from schemas.codec import schema_text

FIELDS: list[dict[str, Any]] = json.loads(schema_text("platform.raw"))["fields"]

Parts = dict[str, bytes]


def number(value: int) -> bytes:
    """A zigzag varint of any size, also past 64 bits."""
    encoded = value << 1 if value >= 0 else ((-value) << 1) - 1
    out = bytearray()
    while encoded > 0x7F:
        out.append(encoded & 0x7F | 0x80)
        encoded >>= 7
    out.append(encoded)
    return bytes(out)


def text(content: bytes) -> bytes:
    """A string or bytes: length and content."""
    return number(len(content)) + content


def string_map(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A map of strings, in one block."""
    block = b"".join(text(name) + text(value) for name, value in entries)
    return (number(len(entries)) + block if entries else b"") + number(0)


def targets(entries: Sequence[tuple[bytes, bytes, bytes]]) -> bytes:
    """The targets, in one block."""
    block = b"".join(text(part) for entry in entries for part in entry)
    return (number(len(entries)) + block if entries else b"") + number(0)


def parts_of(event: Mapping[str, Any]) -> Parts:
    """A valid event by its fields; keys as in the schema, texts as bytes or str."""
    made: Parts = {}
    for field in FIELDS:
        name, value = field["name"], event[field["name"]]
        kind = _kind(field)
        if kind == "enum":
            made[name] = number(field["type"]["symbols"].index(value))
        elif kind in ("int", "long"):
            made[name] = number(value)
        elif kind == "map":
            made[name] = string_map([(_bytes(key), _bytes(held)) for key, held in value.items()])
        elif kind == "array":
            made[name] = targets([(_bytes(one), _bytes(two), _bytes(three)) for one, two, three in value])
        else:
            made[name] = text(_bytes(value))
    return made


def joined(parts: Parts) -> bytes:
    """The record."""
    return b"".join(parts[field["name"]] for field in FIELDS)


def mutations(chance: random.Random) -> Iterator[tuple[str, str, bytes]]:
    """For ever: a field, what is wrong, and the bytes to put in its place; every field and fault comes around."""
    while True:
        every = [(field["name"], *fault) for field in FIELDS for fault in faults(_kind(field), chance)]
        chance.shuffle(every)
        yield from every


def faults(kind: str, chance: random.Random) -> list[tuple[str, bytes]]:
    """What can be wrong with a field of this type."""
    if kind in ("int", "long", "enum"):
        edges = (-1, 99, 2**31 - 1, 2**31, -(2**31) - 1, 2**62, 2**63 - 1, 2**63, -(2**63), 2**64, 2**200)
        found = [(f"number {edge}", number(edge)) for edge in edges]
        return [*found, ("endless varint", b"\xff" * chance.randrange(10, 300)), ("cut varint", b"\x80")]
    length = chance.choice((2**31, 2**40, 2**62, 10**7))
    if kind in ("map", "array"):
        entry = text(b"k") + text(b"v") + (text(b"e") if kind == "array" else b"")
        return [
            ("huge block count", number(length) + entry),
            ("negative block count", number(-3) + number(10**6) + entry),
            ("huge negative block count", number(-(2**62)) + number(2**62)),
            ("block without an end", number(1) + entry),
            ("empty entries", number(20_000) + b"\x00" * 20_000 * (3 if kind == "array" else 2) + number(0)),
            ("many entries", number(12_000) + entry * 12_000 + number(0)),
            ("same entry", number(50) + entry * 50 + number(0)),
            ("negative length inside", number(1) + number(-7) + b"abc" + number(0)),
            ("invalid UTF-8 inside", number(1) + text(b"\xff\xfe") * (3 if kind == "array" else 2) + number(0)),
        ]
    return [
        ("negative length", number(-5) + b"abc"),
        ("huge length", number(length) + b"abc"),
        ("length past the end", number(200_000) + b"abc"),
        ("invalid UTF-8", text(b"caf\xe9\xff\xfe")),
        ("lone surrogate", text(b"\xed\xa0\x80")),
        ("overlong UTF-8", text(b"\xc0\xaf\xc0\xae")),
        ("NUL", text(b"a\x00b")),
        ("empty", text(b"")),
        ("path", text(b"../../../etc/passwd")),
        ("quotes", text(b"'; DROP TABLE post_totals; -- \" \\ ` ${jndi:x}")),
        ("control characters", text(bytes(range(1, 32)))),
        ("right to left", text("\u202eabc\u2066\ufeff".encode())),
        ("100 KB", text(b"A" * 100_000)),
        ("past an id's length", text(b"i" * 129)),
    ]


def _kind(field: Mapping[str, Any]) -> str:
    kind = field["type"]
    return str(kind["type"] if isinstance(kind, dict) else kind)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
