"""What a record's headers may be: no parser makes more of them than the check before it allows."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.util import decode_varint
from hypothesis import given, settings
from hypothesis import strategies as st

from services.runtime import record_bounds
from services.runtime.inflating import Unreadable
from services.runtime.record_bounds import has_bounded_headers, held_bytes, pieces, why_too_many
from tests.support.raw_batches import Sent, batch

_HEADER_BYTES = 61
# Of one record: length, attributes, time, offset, lengths of key and value, number of headers.
_COUNT_AT = 6
optional_bytes = st.none() | st.binary(max_size=20)
sent = st.builds(
    Sent, optional_bytes, optional_bytes, st.lists(st.tuples(st.text(max_size=3), optional_bytes), max_size=5)
)


def _count_of_parser(record: bytes) -> int:
    """How many headers aiokafka's parser would make of a record; 0 where it fails before them."""
    parser: Any = _DefaultRecordBatchPy(batch([Sent(b"k", b"v")])[:_HEADER_BYTES] + record)
    told: list[int] = []

    def noted(data: bytearray, at: int) -> tuple[int, int]:
        found: tuple[int, int] = decode_varint(data, at)
        told.append(found[0])
        return found

    try:
        parser._read_msg(noted)
    except Exception:
        pass  # only what was read so far counts
    return told[_COUNT_AT] if len(told) > _COUNT_AT else 0


@settings(deadline=None)
@given(sent, st.integers(0, 60), st.binary(max_size=4), st.integers(0, 4))
def test_whatever_the_bytes_are_the_parser_makes_few_headers(record: Sent, at: int, put: bytes, cut: int) -> None:
    data = batch([record])[_HEADER_BYTES:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_bounds, "HEADERS_MAX", 3)
        assert has_bounded_headers(data) == (len(record.headers) <= 3)
        damaged = data[:at] + put + data[at + cut :]
        if has_bounded_headers(damaged):
            assert _count_of_parser(damaged) <= 3


@settings(deadline=None)
@given(st.lists(sent, min_size=1, max_size=12), st.integers(1, 100))
def test_pieces_are_whole_records_in_order(records: list[Sent], size: int) -> None:
    data = batch(records)[_HEADER_BYTES:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_bounds, "PIECE_BYTES", size)
        found = list(pieces(data, len(records)))
    assert b"".join(data[begin:end] for begin, end, _ in found) == data
    assert sum(count for _, _, count in found) == len(records)
    assert all(end - begin <= size or count == 1 for begin, end, count in found)


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(-1, 9))
def test_any_bytes_are_split_or_refused(data: bytes, count: int) -> None:
    try:
        found = list(pieces(data, count))
    except Unreadable:
        return
    assert b"".join(data[begin:end] for begin, end, _ in found) == data


@pytest.mark.parametrize(("name_chars", "value_bytes"), [(0, 0), (3, 3), (12, 55), (300, 1000)])
def test_what_headers_take_is_no_guess(name_chars: int, value_bytes: int) -> None:
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    headers = tuple(
        (str(number).rjust(name_chars)[:name_chars], bytes(bytearray(value_bytes))) for number in range(5_000)
    )
    of_faust = dict(headers)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert of_faust
    assert held * 0.8 < held_bytes(b"", b"", headers)
    assert held_bytes(b"key", None, ()) == 3


def test_the_reason_names_what_is_too_much() -> None:
    assert why_too_many(1_000, 2**20) is None
    assert why_too_many(1_001, 0) == "too_many_headers: the message has 1001 headers; 1000 are allowed"
    assert why_too_many(1, 2**20 + 1) == (
        "too_many_headers: the message's headers have 1048577 bytes; 1048576 are allowed"
    )
