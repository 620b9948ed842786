"""Which dead letters a command means, and each message once however often it failed."""

from __future__ import annotations

import pytest

from schemas.codec import codec, schema_text
from schemas.events import DeadLetter
from services.aggregator.dead_letters import REDRIVEN_HEADER, Filter, Found, Origin
from services.aggregator.errors import InvalidEvent
from services.aggregator.letters import dead_letter, identity
from services.aggregator.reading import Message
from services.aggregator.redrive import candidates
from services.runtime.since import parse_since
from tests.support.backend import bluesky_event

RAW = codec("platform.raw", schema_id=1, fetch_schema=lambda _: schema_text("platform.raw"))
NOW = 1_780_000_000_000


def letter(offset: int, at: int, *, partition: int = 0, payload: bytes = b"x", **fields: object) -> Found:
    values: dict[str, object] = {
        "workspace_id": "w", "reason": "bad_id", "detail": "", "origin_topic": "platform.raw",
        "origin_partition": partition, "origin_offset": offset, "origin_key": b"w", "payload": payload,
        "failed_at": NOW, **fields,
    }  # fmt: skip
    return Found(DeadLetter(**values), Origin("dead", partition, at))  # type: ignore[arg-type]  # fields of the dataclass


def test_origins_are_written_as_they_are_read() -> None:
    origin = Origin("t1.platform.raw", 3, 15)
    assert Origin.parse(str(origin)) == origin
    for text in ("", "platform.raw", "platform.raw/1", "platform.raw/x/1", "platform.raw/1/-1"):
        with pytest.raises(ValueError, match="topic/partition/offset"):
            Origin.parse(text)


def test_a_filter_takes_what_fits_in_every_way() -> None:
    one = letter(1, 1).letter
    assert Filter().takes(one)
    assert Filter(frozenset({"bad_id", "other"}), "w", NOW).takes(one)
    assert not Filter(frozenset({"other"})).takes(one)
    assert not Filter(workspace="v").takes(one)
    assert not Filter(since=NOW + 1).takes(one)


def test_candidates_come_in_their_old_order_each_once() -> None:
    again = letter(90, 7, headers={REDRIVEN_HEADER: b"platform.raw/0/5"})
    found = [letter(5, 1), letter(3, 2), letter(3, 3), letter(4, 4, partition=1), again]
    chosen = candidates(found, RAW)
    assert [(entry.root.partition, entry.root.offset) for entry in chosen] == [(0, 3), (0, 5), (1, 4)]
    assert [entry.letter.offset for entry in chosen] == [3, 7, 4], "the newest letter of each"


def test_a_header_that_is_no_origin_is_ignored() -> None:
    assert letter(5, 1, headers={REDRIVEN_HEADER: b"\xff"}).root == Origin("platform.raw", 0, 5)
    assert letter(5, 1, headers={REDRIVEN_HEADER: b"nonsense"}).root == Origin("platform.raw", 0, 5)


def test_a_blanked_payload_is_still_the_event_it_was() -> None:
    event = bluesky_event("w", "c", "e1", {"t": {}}, body=b'{"access_token": "abc123"} access_token=abc123')
    value = RAW.encode(event)
    message = Message("platform.raw", 0, 1, b"w", value, NOW)
    kept = dead_letter(RAW, message, InvalidEvent("body_not_json", "", "w"), NOW)
    assert b"abc123" not in kept.payload
    read = RAW.decode(kept.payload)
    assert read.body == b'{"access_token": "***"} access_token=***'
    assert (read.event_id, read.captured_at, read.targets) == (event.event_id, event.captured_at, event.targets)
    assert identity(RAW, value) == identity(RAW, kept.payload) == b"w/e1"


def test_what_is_no_event_is_told_by_its_bytes() -> None:
    assert identity(RAW, b"token=abc") == identity(RAW, b"token=abc")
    assert identity(RAW, b"access_token=abc") == identity(RAW, b"access_token=***")
    assert identity(RAW, b"one") != identity(RAW, b"two")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW - 90_000),
        ("15m", NOW - 900_000),
        ("2h", NOW - 7_200_000),
        ("3d", NOW - 259_200_000),
        ("1970-01-02", 86_400_000),
        ("1970-01-02T00:00:00+01:00", 82_800_000),
        ("1970-01-01T00:00:01Z", 1000),
    ],
)
def test_since_is_ago_or_an_instant(text: str, expected: int) -> None:
    assert parse_since(text, NOW) == expected


def test_since_that_is_neither_is_named() -> None:
    with pytest.raises(ValueError, match="--since 'soon'"):
        parse_since("soon", NOW)
