"""Native blocks for a protocol version: byte by byte, and for every type that has an end."""

from __future__ import annotations

import pytest

from infra.embedded.clickhouse import native_blocks
from infra.embedded.clickhouse.errors import ServerError
from infra.embedded.clickhouse.native_blocks import Versioned, for_version

INFO = bytes.fromhex("01 00 02 ffffffff 00")


def block(columns: list[tuple[str, str, bytes]], rows: int) -> list[bytes]:
    """A block in pieces: its head, then each column's names and data."""
    pieces = [bytes([len(columns), rows])]
    for name, kind, data in columns:
        pieces += [bytes([len(name)]) + name.encode() + bytes([len(kind)]) + kind.encode(), data]
    return pieces


def u64(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "little") for value in values)


COLUMNS = [
    ("a", "UInt64", u64(1, 2)),
    ("b", "String", b"\x01x" + b"\x80\x01" + b"y" * 128),
    ("c", "Nullable(DateTime64(3, 'UTC'))", b"\0\1" + u64(5, 6)),
    ("d", "Array(Nullable(String))", u64(1, 3) + b"\0\0\1" + b"\x01p\x00\x00"),
    ("e", "LowCardinality(Nullable(String))", u64(1) + u64(0x600, 3) + b"\0\0\x01z" + u64(2) + b"\1\2"),
    ("f", "Map(String, Array(UInt8))", u64(1, 1) + b"\x01k" + u64(2) + b"\7\x08"),
    ("g", "Tuple(x UInt8, `y, z` FixedString(3))", b"\1\2" + b"abcdef"),
    ("h", "Decimal(38, 5)", b"\0" * 32),
    ("i", "Enum8('a, (' = 1, 'b' = 2)", b"\1\2"),
    ("j", "Array(LowCardinality(String))", u64(1) + u64(0, 1) + u64(0x600, 1) + b"\x01q" + u64(1) + b"\0"),
    ("k", "SimpleAggregateFunction(sum, Decimal(9, 2))", b"\0" * 8),
    ("l", "MultiPolygon", u64(0, 0)),
    ("m", "Nested(u UInt8, v String)", u64(0, 1) + b"\x09" + b"\x01w"),
    ("n", "IntervalDay", u64(1, 1)),
]


@pytest.mark.parametrize(("version", "custom"), [(54453, b""), (54454, b"\0"), (54460, b"\0")])
def test_a_block_of_many_types(version: int, custom: bytes) -> None:
    head, *columns = block(COLUMNS, 2)
    plain = head + b"".join(columns)
    names, data = columns[::2], columns[1::2]
    expected = INFO + head + b"".join(name + custom + content for name, content in zip(names, data, strict=True))
    assert for_version(plain, version) == expected
    assert for_version(plain * 3, version) == expected * 3
    assert for_version(plain, 0) == plain


@pytest.mark.parametrize("size", [1, 7, 100])
def test_blocks_that_come_in_pieces(size: int) -> None:
    plain = b"".join(block(COLUMNS, 2)) * 3
    versioned = Versioned(54460)
    made = [versioned.feed(plain[at : at + size]) for at in range(0, len(plain), size)]
    assert b"".join(made) + versioned.finish() == for_version(plain, 54460)
    # Columns are given on while later columns of their block are still on their way.
    assert sum(1 for piece in made if piece) > 6


def test_a_column_without_bound_is_not_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_blocks, "MOST_COLUMN_BYTES", 1000)
    versioned = Versioned(54460)
    assert versioned.feed(b"\1\x7f" + b"\1a\7UInt256" + b"x" * 900) == INFO + b"\1\x7f"
    with pytest.raises(ServerError) as caught:
        versioned.feed(b"x" * 900)
    assert caught.value.code == 396


def test_a_block_without_rows_has_no_data() -> None:
    plain = b"".join(block([("a", "LowCardinality(String)", b""), ("b", "JSON", b"")], 0))
    assert for_version(plain, 54460) == INFO + b"\2\0" + b"\1a\x16LowCardinality(String)\0" + b"\1b\4JSON\0"


@pytest.mark.parametrize(
    "kind", ["JSON", "Dynamic", "Variant(String, UInt8)", "AggregateFunction(uniq, UInt8)", "Tuple()"]
)
def test_a_type_without_a_known_end_is_refused(kind: str) -> None:
    with pytest.raises(ServerError) as caught:
        for_version(b"".join(block([("a", kind, b"\0" * 9)], 1)), 54460)
    assert caught.value.code == 48
