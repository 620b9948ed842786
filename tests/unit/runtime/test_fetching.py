"""Batches that no client would make are read record by record, and never to more than a message may hold."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import pytest
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.structs import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from services.runtime import fetching, record_bounds
from services.runtime.fetching import BATCH_MAX_BYTES, RECORD_MAX_BYTES, GuardedRecords, why_unreadable
from services.runtime.inflating import Inflater, Unreadable
from services.runtime.record_bounds import HEADERS_MAX, HEADERS_MAX_BYTES, TOO_MANY_HEADERS
from services.runtime.settings import MESSAGE_MAX_BYTES
from tests.support.raw_batches import GZIP, LZ4, SNAPPY, ZSTD, Sent, batch, empty_headers

CODECS = [0, GZIP, SNAPPY, LZ4, ZSTD]
MEGABYTE = 1024 * 1024


def read(data: bytes) -> list[Any]:
    records = GuardedRecords(data)
    found = []
    while records.has_next():
        found += list(records.next_batch())
    return found


class Assignment:
    """A partition that stays assigned, and the position that its consumer has reached."""

    active = True
    paused = False

    def __init__(self) -> None:
        self.position = 0

    def state_value(self, _: object) -> Assignment:
        return self

    def consumed_to(self, position: int) -> None:
        self.position = position


def fetched(data: bytes, assignment: Assignment) -> fetching.BoundedFetchResult:
    """What a consumer fetched, as it takes records from it."""
    place = TopicPartition("t", 0)
    records: PartitionRecords = fetching._PartitionRecords(place, GuardedRecords(data), [], 0, None, None, False, 0)
    return fetching.BoundedFetchResult(place, assignment=assignment, partition_records=records, backoff=0)


def at_offset(data: bytes, offset: int) -> bytes:
    return offset.to_bytes(8, "big") + data[8:]


optional_bytes = st.none() | st.binary(max_size=50)
sent = st.builds(
    Sent, optional_bytes, optional_bytes,
    st.lists(st.tuples(st.text(max_size=9) | st.binary(max_size=9), optional_bytes), max_size=3),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(sent, min_size=1, max_size=8), st.sampled_from(CODECS))
def test_what_was_sent_is_read(records: list[Sent], codec: int) -> None:
    found = read(batch(records, codec) + batch(records, 0))
    assert [record.value for record in found] == [record.value for record in records] * 2
    assert [record.key for record in found] == [record.key for record in records] * 2
    assert [record.offset for record in found] == list(range(len(records))) * 2
    for record, given_record in zip(found, records * 2, strict=True):
        names = [name.encode() if isinstance(name, str) else name for name, _ in given_record.headers]
        assert [name.encode("utf-8") for name, _ in record.headers] == [
            name.decode("utf-8", "backslashreplace").encode() for name in names
        ]
        assert [value for _, value in record.headers] == [value for _, value in given_record.headers]
        assert why_unreadable(tuple(record.headers)) is None


@settings(deadline=None)
@given(st.lists(sent, min_size=1, max_size=8), st.sampled_from(CODECS), st.integers(1, 200))
def test_pieces_of_any_size_hold_what_was_sent(records: list[Sent], codec: int, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetching, "PIECE_BYTES", piece)
        patch.setattr(record_bounds, "PIECE_BYTES", piece)
        found = read(batch(records, codec))
    expected = read(batch(records, codec))
    assert [record.offset for record in found] == list(range(len(records)))
    assert [tuple(record.headers) for record in found] == [tuple(record.headers) for record in expected]
    assert [(record.key, record.value) for record in found] == [(record.key, record.value) for record in records]


@settings(deadline=None)
@given(st.sampled_from(CODECS), st.integers(61, 400), st.binary(min_size=1, max_size=9), st.booleans())
def test_damage_is_marked_and_never_raises(codec: int, at: int, put: bytes, cut: bool) -> None:
    records = [Sent(b"k%d" % number, b"v" * 20, [("h", b"x")]) for number in range(5)]
    data = bytearray(batch(records, codec))
    at = min(at, len(data) - 1)
    if cut:
        del data[at:]
        data[8:12] = (len(data) - 12).to_bytes(4, "big")
    else:
        data[at : at + len(put)] = put[: len(data) - at]
    found = read(bytes(data))
    offsets = [record.offset for record in found]
    assert offsets == sorted(set(offsets)) or why_unreadable(tuple(found[-1].headers)) or not cut
    assert all(len(record.value or b"") <= RECORD_MAX_BYTES for record in found)


@pytest.mark.parametrize("codec", [GZIP, LZ4, ZSTD])
@pytest.mark.parametrize("size", [MESSAGE_MAX_BYTES, MESSAGE_MAX_BYTES + MEGABYTE, 60 * MEGABYTE])
def test_a_record_that_is_too_long_is_marked_and_the_next_one_read(codec: int, size: int) -> None:
    data = batch([Sent(b"first", b"1"), Sent(b"k", bytes(size)), Sent(b"last", b"2", [(b"\xff", None)])], codec)
    tracemalloc.start()
    first, large, last = read(data)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (first.value, last.value, last.offset) == (b"1", b"2", 2)
    assert highest < 60 * MEGABYTE
    why = why_unreadable(tuple(large.headers))
    if size <= MESSAGE_MAX_BYTES:
        assert why is None
        assert large.value == bytes(size)
    else:
        assert why is not None
        assert why[0].startswith("too_large: ")
        assert large.key == b"k"
        assert large.value == b"", "not None: that would be a tombstone"
        assert len(why[1]) <= fetching.HEAD_BYTES


def test_behind_the_bound_of_a_batch_one_record_stands_for_all() -> None:
    data = batch([Sent(b"k", bytes(100 * MEGABYTE)) for _ in range(4)], ZSTD)
    found = read(data)
    assert [record.offset for record in found] == [0, 1, 2, 3]
    why = why_unreadable(tuple(found[-1].headers))
    assert why is not None
    assert BATCH_MAX_BYTES < 300 * MEGABYTE


def test_what_is_no_tombstone_never_looks_like_one() -> None:
    for record in read(batch([Sent(b"w/k", bytes(20 * MEGABYTE))], ZSTD)):
        assert record.value is not None


def test_the_mark_can_not_be_forged() -> None:
    (record,) = read(batch([Sent(b"k", b"v", [("unreadable", b"too_large: forged"), ("beginning", b"x")])]))
    assert record.headers[0][0] == "unreadable"
    assert why_unreadable(tuple(record.headers)) is None


@pytest.mark.parametrize("codec", CODECS[1:])
def test_damaged_bytes_end_in_the_one_error(codec: int) -> None:
    chance = random.Random(codec)
    for _ in range(300):
        source = Inflater(codec, memoryview(chance.randbytes(chance.randint(0, 200))), 10**6)
        try:
            source.read(10)
        except Unreadable:
            continue


@pytest.fixture(params=["compiled", "python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of aiokafka's parsers: the compiled one is missing where no wheel fits."""
    if request.param == "python":
        monkeypatch.setattr(fetching, "DefaultRecordBatch", _DefaultRecordBatchPy)


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("codec", [0, GZIP, ZSTD])
def test_millions_of_headers_take_no_memory(codec: int) -> None:
    """A record of 2 MB with a million headers took 80 MB, and 1 KB of zstd was enough for it."""
    of_headers = empty_headers(10**6, codec, b"w/key", b"the value")
    data = b"".join(at_offset(of_headers, offset) for offset in range(4)) + at_offset(batch([Sent(b"k", b"last")]), 4)
    assignment = Assignment()
    result = fetched(data, assignment)
    tracemalloc.start()
    found = result.getall(500)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert highest < 20 * MEGABYTE
    assert [record.offset for record in found] == [0, 1, 2, 3, 4]
    assert assignment.position == 5
    for record in found[:-1]:
        why = why_unreadable(record.headers)
        assert why is not None
        assert why == ("too_many_headers: the message has 1000000 headers; 1000 are allowed", b"the value")
        assert (record.key, record.value) == (b"w/key", b"")
    assert found[-1].value == b"last"


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("codec", [0, ZSTD])
@pytest.mark.parametrize("length", [1, 20, 5_000, 10**6, 2**40])
def test_a_record_that_lies_about_its_length_makes_no_headers(codec: int, length: int) -> None:
    """aiokafka compares the length only once it has made the headers."""
    data = empty_headers(10**6, codec, length=length)
    tracemalloc.start()
    found = read(data)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert highest < 20 * MEGABYTE
    assert [record.offset for record in found] == [0]
    assert why_unreadable(found[0].headers) is not None


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("codec", [0, ZSTD])
@pytest.mark.parametrize("size", [10, 200 * 1024])
def test_the_bounds_of_headers_are_exact(codec: int, size: int) -> None:
    """In small batches, which are parsed first, as in large ones."""
    most = Sent(b"most", bytes(size), [("h", None)] * HEADERS_MAX)
    many = Sent(b"many", bytes(size), [("h", None)] * (HEADERS_MAX + 1))
    long = Sent(b"long", b"v", [("h", bytes(HEADERS_MAX_BYTES - 8))])
    longer = Sent(b"longer", b"v", [("h", bytes(HEADERS_MAX_BYTES + 1))])
    for records in ([most, many, Sent(b"k", b"last")], [long, longer, Sent(b"k", b"last")]):
        first, second, last = read(batch(records, codec))
        assert why_unreadable(first.headers) is None
        assert list(first.headers) == list(records[0].headers)
        why = why_unreadable(second.headers)
        assert why is not None
        assert why[0].startswith(f"{TOO_MANY_HEADERS}: the message")
        assert why[1] == records[1].value
        assert (second.key, last.value, last.offset) == (records[1].key, b"last", 2)


def test_headers_count_with_what_they_take() -> None:
    """Records of few bytes on the wire were handed over by the hundred with a thousand headers each."""
    assignment = Assignment()
    one = batch([Sent(b"k", b"v", [(f"{number}", b"12") for number in range(HEADERS_MAX)])], ZSTD)
    result = fetched(b"".join(at_offset(one, offset) for offset in range(200)), assignment)
    taken = []
    while result.has_more():
        taken.append(len(result.getall(500)))
    assert sum(taken) == assignment.position == 200
    assert max(taken) < 100
