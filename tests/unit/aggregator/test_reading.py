"""Whatever a message is, reading it ends in an event or in the reason why it is none, and a letter always fits."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import codec, schema_text
from schemas.events import PlatformRaw, RawTarget
from schemas.writers import SchemasAway
from services.aggregator import letters, reading
from services.aggregator.errors import InvalidEvent
from services.aggregator.letters import LETTER_MAX_BYTES, SHORTENED_HEADER, dead_letter
from services.aggregator.reading import Message, RawReading, check_message, read_message
from services.runtime.binary_secrets import blank_unreadable
from services.runtime.settings import MESSAGE_MAX_BYTES
from tests.support import properties
from tests.support.hostile.bodies import SECRET_NAMES
from tests.support.poison import Maker, Poison

NOW = 1_795_222_800_000
TEXT = schema_text("platform.raw")
OTHERS = {2: 'syntax = "proto3";', 3: '{"type": "object"}', 4: '"string"', 5: '["null", "int"]'}
RAW = codec("platform.raw", schema_id=1, fetch_schema=lambda wanted: {1: TEXT, **OTHERS}[wanted])
LETTERS = codec(
    "platform.raw.dead-letters", schema_id=9, fetch_schema=lambda _: schema_text("platform.raw.dead-letters")
)


def message(value: bytes | None, **more: Any) -> Message:
    return Message("platform.raw", 0, 1, more.pop("key", b"w"), value, NOW, **more)


def reason_of(given_message: Message) -> str | None:
    """Why a message is refused that is checked and not mapped, as the audit does; None for a valid event."""
    try:
        check_message(RAW, given_message)
    except InvalidEvent as error:
        return error.reason
    return None


def outcome(given_message: Message) -> RawReading | InvalidEvent:
    """Reads as the partition does; what comes can be stored or sent."""
    try:
        read = read_message(RAW, given_message)
    except InvalidEvent as error:
        failure: InvalidEvent | None = error
        result: RawReading | InvalidEvent = error
    else:
        event = read.event
        assert -(2**31) <= event.http_status < 2**31
        assert reading.EARLIEST_CAPTURE <= event.captured_at <= NOW + reading.FUTURE_TOLERANCE_MILLIS
        assert len(event.targets) <= 10_000
        assert RAW.decode(RAW.encode(event)) == event
        failure, result = read.failure, read
    assert reason_of(given_message) == (result.reason if isinstance(result, InvalidEvent) else None)
    if failure is not None:
        letter = dead_letter(RAW, given_message, failure, NOW)
        assert len(LETTERS.encode(letter)) <= MESSAGE_MAX_BYTES - 1024
        assert len(letter.detail) < 3_000
    return result


def _corpus() -> list[Poison]:
    maker = Maker(7, 1, [0, 2, 3, 4, 5, 6, 2**32 - 1], ["w"], NOW)
    return [*maker.fields(), *maker.mutated(500), *maker.schemas(), *maker.headed(), *maker.ghosts(5)]


def test_the_corpus_is_read_to_its_end() -> None:
    seen = set()
    for poison in _corpus():
        headers = tuple((name if isinstance(name, str) else repr(name), value) for name, value in poison.headers)
        found = outcome(message(poison.value, key=poison.key, headers=headers))
        if isinstance(found, InvalidEvent):
            assert found.reason not in {"not_read", "mapping_failed"}, (poison.name, found)
            seen.add(found.reason)
        else:
            assert found.failure is None or found.failure.reason != "mapping_failed", (poison.name, found.failure)
    assert {
        "malformed_event",
        "bad_id",
        "bad_status",
        "captured_in_future",
        "captured_too_early",
        "empty_value",
    } <= seen


GOOD = Maker(1, 1, [], ["w"], NOW).encoded(Maker(1, 1, [], ["w"], NOW).record(1))


@settings(deadline=None, max_examples=properties.of(50))
@given(st.binary(max_size=400), st.integers(0, 9))
def test_any_bytes_are_read_to_something(data: bytes, schema_id: int) -> None:
    outcome(message(data))
    outcome(message(struct.pack(">bI", 0, schema_id) + data))


@settings(deadline=None, max_examples=properties.of(50))
@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=12), st.integers(0, 30))
def test_any_damage_is_read_to_something(at: int, put: bytes, cut: int) -> None:
    outcome(message(GOOD[:at] + put + GOOD[at + cut :]))


texts = st.text(max_size=140)
events = st.builds(
    PlatformRaw, texts, st.just("w"), st.just("c"), st.sampled_from(["x", "bluesky", "tiktok", "y" * 65]),
    st.sampled_from(["POST_METRICS", "CHANNEL_METRICS", "IDENTITY"]), texts, st.dictionaries(texts, texts, max_size=3),
    st.lists(st.builds(RawTarget, texts, texts, texts), max_size=3).map(tuple), st.integers(-(2**31), 2**31 - 1),
    st.binary(max_size=200) | st.recursive(st.none() | st.integers() | texts, lambda held: st.lists(held) |
    st.dictionaries(texts, held), max_leaves=5).map(lambda held: repr(held).encode()),
    st.integers(0, 2**62), st.just("LIVE"),
)  # fmt: skip


@settings(deadline=None, max_examples=properties.of(50))
@given(events)
def test_any_event_is_read_to_something(event: PlatformRaw) -> None:
    try:
        value = RAW.encode(event)
    except (UnicodeEncodeError, ValueError):
        return  # a lone surrogate or a time past the year 9999 can't be written
    outcome(message(value))


@pytest.mark.parametrize("size", [0, 1, MESSAGE_MAX_BYTES - 70_000, MESSAGE_MAX_BYTES - 60_000, MESSAGE_MAX_BYTES])
def test_a_letter_fits_whatever_its_message_holds(size: int) -> None:
    for payload in (bytes(size), b"token=a&" * (size // 8), b"\xff" * size):
        letter = dead_letter(RAW, message(payload), InvalidEvent("malformed_event", "x" * 10_000), NOW)
        assert len(LETTERS.encode(letter)) <= MESSAGE_MAX_BYTES - 1024
        is_whole = SHORTENED_HEADER not in letter.headers
        assert is_whole or "the letter holds the first" in letter.detail
        if not payload.startswith(b"token"):
            assert is_whole == (size <= LETTER_MAX_BYTES)
            assert letter.payload == payload[: None if is_whole else letters.SHORTENED_BYTES]
    huge = message(b"x", key=b"k" * size, headers=(("h", b"v" * size), ("n", None)))
    assert len(LETTERS.encode(dead_letter(RAW, huge, InvalidEvent("bad_id", ""), NOW))) <= MESSAGE_MAX_BYTES - 1024


def test_bytes_in_memory_are_told_from_bytes_on_the_wire() -> None:
    given_message = message(b"value", headers=tuple(("é" * 10, None) for _ in range(100)))
    assert given_message.sent_bytes == len(b"w" + b"value") + 100 * (20 + 8)
    assert given_message.held_bytes > 100 * 150


def test_what_could_not_be_fetched_says_so() -> None:
    found = outcome(message(b"how it begins", unreadable="too_large: 400 MB after decompression"))
    assert isinstance(found, InvalidEvent)
    assert (found.reason, found.detail) == ("too_large", "400 MB after decompression")


def test_a_letter_of_too_many_headers_holds_the_whole_event() -> None:
    value = RAW.encode(replace(RAW.decode(GOOD), body=b" " * 100_000))
    given_message = message(value, unreadable="too_many_headers: the message has 2000 headers; 1000 are allowed")
    found = outcome(given_message)
    assert isinstance(found, InvalidEvent)
    assert found.reason == "too_many_headers"
    letter = dead_letter(RAW, given_message, found, NOW)
    assert (letter.payload, letter.headers) == (value, {})


@pytest.mark.parametrize("is_known", [True, False])
def test_only_what_a_shortened_letter_holds_is_searched_for_secrets(
    monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    searched: list[int] = []

    def counted(payload: bytes) -> bytes:
        searched.append(len(payload))
        return blank_unreadable(payload)

    monkeypatch.setattr(letters, "blank_unreadable", counted)
    padding = b"x" * MESSAGE_MAX_BYTES
    value = RAW.encode(replace(RAW.decode(GOOD), body=padding)) if is_known else b"access_token=s3cret " + padding
    letter = dead_letter(RAW, message(value, headers=(("h", padding),)), InvalidEvent("malformed_event", ""), NOW)
    assert len(letter.payload) == letters.SHORTENED_BYTES
    assert b"s3cret" not in letter.payload
    assert int(letter.headers[SHORTENED_HEADER]) == len(value)
    assert letter.headers[letters.IDENTITY_HEADER] == letters.identity(RAW, value)
    assert "headers of 8388609 bytes are left out" in letter.detail
    assert sum(searched) < 200_000, "neither the whole payload nor the headers"


@pytest.mark.parametrize("name", SECRET_NAMES)
@pytest.mark.parametrize("form", ["%s=%s", '{"%s": "%s"}', "\x18%s\x90\x02%s", "%s\x00\x01\x02%s", "%s\x00%s\x00"])
def test_a_secret_that_the_cut_divides_is_not_shown(monkeypatch: pytest.MonkeyPatch, name: str, form: str) -> None:
    secret = "s3cret" * 20
    monkeypatch.setattr(letters, "_MARGIN_BYTES", 100)
    held = (form % (name, secret)).encode()
    value = b"begins " + held + b" ends " * 100
    whole = blank_unreadable(value)
    for cut in range(1, 220):
        assert letters.clean_payload(RAW, value, cut)[:cut] == whole[:cut]


def test_a_bug_of_ours_is_one_message_and_not_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("the body was: access_token=abc")

    event = RAW.decode(GOOD)
    monkeypatch.setattr(reading, "map_event", broken)
    found = outcome(message(GOOD))
    assert isinstance(found, RawReading)
    assert found.failure is not None
    assert found.failure.reason == "mapping_failed"
    assert "ZeroDivisionError in broken (test_reading.py:" in found.failure.detail
    assert "abc" not in found.failure.detail
    monkeypatch.setattr(reading, "_check", broken)
    failed = outcome(message(RAW.encode(event)))
    assert isinstance(failed, InvalidEvent)
    assert failed.reason == "not_read"


def test_a_lost_registry_is_told_from_a_bad_message() -> None:
    def away(_: int) -> str:
        raise SchemasAway("no answer")

    with pytest.raises(InvalidEvent) as caught:
        read_message(codec("platform.raw", schema_id=1, fetch_schema=away), message(GOOD))
    assert caught.value.reason == "schema_unavailable"


def test_ids_are_measured_before_they_are_remembered() -> None:
    reading._is_id.cache_clear()
    event = RAW.decode(GOOD)
    for number in range(50):
        long = replace(event, targets=(RawTarget("x" * (1000 + number), "p", ""),))
        assert isinstance(outcome(message(RAW.encode(long))), InvalidEvent)
    assert reading._is_id.cache_info().currsize == 0


def test_secrets_of_foreign_events_are_blanked_before_anything_is_stored() -> None:
    event = replace(
        RAW.decode(GOOD),
        endpoint="/v25.0/me?oauth_token=s3cret&fields=id",
        request={"key": "s3cret", "api-key": "s3cret", "fields": "id", "body": '{"accessToken": "s3cret"}'},
        body=b'{"posts": [], "paging": "https://h/?key=s3cret", "headers": "Authorization: Bearer s3cret"}',
    )
    value = RAW.encode(event)
    read = read_message(RAW, message(value))
    assert "s3cret" not in repr(read.event)
    assert read.event.request["fields"] == "id"
    failure = InvalidEvent("body_not_json", "")
    letter = dead_letter(RAW, message(value, key=b"token=s3cret", headers=(("x", b"token=s3cret"),)), failure, NOW)
    assert b"s3cret" not in LETTERS.encode(letter)
    assert RAW.decode(letter.payload).event_id == event.event_id


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_dead_letter_of_what_is_no_event_holds_no_secret(name: str) -> None:
    """A cut event keeps a map's names and values in binary form, and a header says by its name what it holds."""
    event = replace(RAW.decode(GOOD), request={name: "s3cret", "fields": "id"})
    value = RAW.encode(event)
    for cut in range(1, len(value)):
        given = message(value[:-cut], headers=((name, b"s3cret"), (f"X-{name}", b"s3cret"), ("fields", b"id")))
        letter = dead_letter(RAW, given, InvalidEvent("malformed_event", ""), NOW)
        assert b"s3cret" not in LETTERS.encode(letter)
        assert letter.headers == {name: b"***", f"X-{name}": b"***", "fields": b"id"}
        assert letters.identity(RAW, given.value or b"") == letters.identity(RAW, letter.payload)


def test_an_event_whose_schema_is_away_stays_one_in_its_dead_letter() -> None:
    def away(_: int) -> str:
        raise SchemasAway("no answer")

    event = replace(RAW.decode(GOOD), request={"access_token": "s3cret", "fields": "id"}, body=b'{"token": "s3cret"}')
    value = RAW.encode(event)
    reader = codec("platform.raw", schema_id=1, fetch_schema=away)
    letter = dead_letter(reader, message(value), InvalidEvent("schema_unavailable", ""), NOW)
    kept = RAW.decode(letter.payload)
    assert kept == replace(event, request={"access_token": "******", "fields": "id"}, body=b'{"token": "******"}')


def test_random_bytes_after_an_event_are_part_of_no_event() -> None:
    chance = random.Random(3)
    for _ in range(20):
        outcome(message(GOOD + chance.randbytes(50)))


def event_of(targets: Iterable[tuple[str, str]] = (), **more: Any) -> PlatformRaw:
    """An event with targets of these ids and external ids."""
    named = tuple(RawTarget(target_id, "p", external_id) for target_id, external_id in targets)
    whole: dict[str, Any] = {
        "event_id": "e", "workspace_id": "w", "channel_id": "c", "platform": "tiktok", "kind": "POST_METRICS",
        "endpoint": "/v2/video/query/", "request": {"fields": "id,view_count"}, "targets": named, "http_status": 200,
        "body": b'{"data":{"videos":[]},"error":{"code":"ok"}}', "captured_at": NOW, "origin": "SCHEDULE", **more,
    }  # fmt: skip
    return PlatformRaw(**whole)


@pytest.mark.parametrize(
    ("targets", "is_refused"),
    [
        ([("t1", "1"), ("t1", "2")], True),
        ([("t1", "1"), ("t2", "1")], False),
        ([(f"t{number}", "1") for number in range(100)], False),
        ([(f"t{number}", "1") for number in range(101)], True),
        ([(f"t{number}", str(number % 100)) for number in range(10_000)], False),
        ([(f"t{number}", str(number % 99)) for number in range(10_000)], True),
    ],
)
def test_an_event_names_each_target_once_and_each_post_for_no_more_channels_than_a_workspace_has(
    targets: list[tuple[str, str]], is_refused: bool
) -> None:
    found = outcome(message(RAW.encode(event_of(targets))))
    assert (isinstance(found, InvalidEvent) and found.reason == "repeated_target") == is_refused
    assert not is_refused or (isinstance(found, InvalidEvent) and found.workspace_id == "w")


def page_days(count: int, end: int, *, period: str = "day", step_seconds: int = 1) -> RawReading | InvalidEvent:
    """The reading of a page's insights: so many periods, the last of which ends at an instant (ms)."""
    ends = [end // 1000 - number * step_seconds for number in range(count)]
    values = [{"end_time": at, "value": 1} for at in ends]
    body = orjson.dumps({"data": [{"name": "page_media_view", "period": period, "values": values}]})
    kind = "CHANNEL_METRICS"
    made = event_of(platform="facebook", kind=kind, endpoint="/v25.0/1/insights", request={}, body=body)
    return outcome(message(RAW.encode(made)))


@pytest.mark.parametrize("count", [1, 1_100, 1_101, 20_000])
def test_an_answer_with_more_periods_than_are_asked_for_is_kept_and_not_read(count: int) -> None:
    found = page_days(count, NOW)
    assert isinstance(found, RawReading)
    assert len(found.reading.channels) == (count if count <= 1_100 else 0)
    assert (found.failure is None) == (count <= 1_100)
    assert found.failure is None or found.failure.reason == "unexpected_shape"


@pytest.mark.parametrize(
    ("period", "ahead_days", "is_read"),
    [
        ("day", 0, True),
        ("day", 2, True),
        ("day", 4, False),
        ("week", 7, True),
        ("days_28", 28, True),
        ("week", 33, False),
    ],
)
def test_a_period_ends_soon_after_its_answer(period: str, ahead_days: int, is_read: bool) -> None:
    # A day of Meta's is one of Pacific time, so a midnight there.
    found = page_days(1, NOW // 86_400_000 * 86_400_000 + 8 * 3_600_000 + ahead_days * 86_400_000, period=period)
    assert isinstance(found, RawReading)
    assert (found.failure is None) == bool(found.reading.channels) == is_read
