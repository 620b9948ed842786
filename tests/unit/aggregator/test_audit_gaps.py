"""Which offsets of a topic are read again: all that no row has, and few others; and which of them have a row."""

from __future__ import annotations

import random
import zlib
from itertools import pairwise

from schemas.codec import codec, schema_text
from services.aggregator.audit.raw_events import StoredIds, gaps
from services.aggregator.reading import Message
from tests.support.backend import bluesky_event

RAW = codec("platform.raw", schema_id=1, fetch_schema=lambda _: schema_text("platform.raw"))


def test_every_offset_without_a_row_is_in_one_gap_and_gaps_lie_apart() -> None:
    chance = random.Random(7)
    for _ in range(200):
        start = chance.randrange(10_000)
        stop = start + chance.randrange(3_000)
        stored = sorted(chance.sample(range(start, stop), chance.randint(0, stop - start)))
        if chance.random() < 0.5:
            stored = [offset for offset in stored if not start + 500 < offset < start + 900]
        found = gaps(iter(stored), start, stop)
        read = [offset for first, last in found for offset in range(first, last)]
        assert len(read) == len(set(read))
        assert set(range(start, stop)) - set(stored) <= set(read)
        assert all(start <= first < last <= stop for first, last in found)
        assert all(after[0] - before[1] >= 200 for before, after in pairwise(found))
    assert gaps(iter(range(5, 9)), 5, 9) == []
    assert gaps(iter(()), 5, 9) == [(5, 9)]


def _message(offset: int, value: bytes | None, unreadable: str | None = None) -> Message:
    return Message("platform.raw", 0, offset, b"w", value, 0, (), unreadable)


def _value(workspace_id: str, event_id: str) -> bytes:
    return RAW.encode(bluesky_event(workspace_id, "c1", event_id, {"t1": {"likeCount": 1}}))


def test_a_message_has_a_row_only_where_the_row_of_its_offset_has_its_ids() -> None:
    long_id = "é" * 120  # its length takes two bytes
    rows = StoredIds(1_000, 1_010)
    for offset, event_id, workspace_id in ((1_001, "e1", "w1"), (1_004, long_id, "w2"), (1_009, "e3", "w1")):
        rows.note(offset, zlib.crc32(f"{event_id}\0{workspace_id}".encode()))
    assert list(rows.offsets()) == [1_001, 1_004, 1_009]
    assert rows.has(_message(1_001, _value("w1", "e1")))
    assert rows.has(_message(1_004, _value("w2", long_id)))
    without = (
        _message(1_001, _value("w1", "e2")),
        _message(1_001, _value("w2", "e1")),
        # The same letters in a row, divided at another place.
        _message(1_001, _value("1", "e1w")),
        _message(1_002, _value("w1", "e1")),
        _message(1_009, _value("w1", "e1")),
        _message(1_001, None),
        _message(1_001, b""),
        _message(1_001, _value("w1", "e1")[:9]),
        _message(1_001, _value("w1", "e1"), "too_large: the message has 9000000 bytes"),
    )
    assert [message for message in without if rows.has(message)] == []
