"""The straight reader of raw events and the general one say the same, of good bytes and of bad ones."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import HEADER_BYTES, Codec, MalformedEvent, RawCodec, codec, schema_text
from schemas.conversions import raw_from
from schemas.events import PlatformRaw, RawTarget
from schemas.raw_decoder import layout_of, read_ids
from schemas.writers import SchemasAway

TEXT = schema_text("platform.raw")
straight = codec("platform.raw", schema_id=1, fetch_schema=lambda _: TEXT)
general: Codec[PlatformRaw] = Codec("platform.raw", lambda event: {}, raw_from, fetch_schema=lambda _: TEXT)


def _away(_: int) -> str:
    raise SchemasAway("the registry does not answer")


# Another schema with the id 2: the same fields in another order.
_REORDERED = json.dumps({**json.loads(TEXT), "fields": json.loads(TEXT)["fields"][::-1]})
raw = RawCodec(schema_id=1, fetch_schema=lambda number: TEXT if number == 1 else _REORDERED)
away = RawCodec(schema_id=1, fetch_schema=_away)
text = st.text(max_size=90)
events = st.builds(
    PlatformRaw,
    event_id=text,
    workspace_id=text,
    channel_id=text,
    platform=text,
    kind=st.sampled_from(["POST_METRICS", "CHANNEL_METRICS", "IDENTITY"]),
    endpoint=text,
    request=st.dictionaries(text, text, max_size=3),
    targets=st.lists(st.builds(RawTarget, text, text, text), max_size=70).map(tuple),
    http_status=st.integers(-(2**31), 2**31 - 1),
    body=st.binary(max_size=300),
    captured_at=st.integers(0, 4 * 10**12),
    origin=st.sampled_from(["SCHEDULE", "LIVE", "BACKFILL"]),
)


@given(events)
def test_both_read_what_was_written(event: PlatformRaw) -> None:
    data = straight.encode(event)
    assert straight.decode(data) == event == general.decode(data)


@given(events, st.integers(0, 400))
def test_the_ids_are_read_without_the_rest(event: PlatformRaw, size: int) -> None:
    ids = (event.event_id.encode(), event.workspace_id.encode())
    data = straight.encode(event)
    assert read_ids(data, HEADER_BYTES) == ids
    # Of bytes that end early either both ids are whole, or there are none.
    assert read_ids(data[:size], HEADER_BYTES) in (ids, None)
    assert read_ids(data[:HEADER_BYTES], HEADER_BYTES) is None
    assert raw.ids(data) == ids
    # Other schemas may have other fields in front, and a registry that is away knows none.
    assert away.ids(data) is None
    assert raw.ids(b"\x00\x00\x00\x00\x02" + data[HEADER_BYTES:]) is None
    assert raw.ids(b"\x01" + data[1:]) is None
    assert raw.ids(data[:4]) is None


@given(events, st.integers(0, 2000), st.integers(0, 255), st.booleans())
def test_damaged_bytes_raise_the_one_error_or_read_as_something(
    event: PlatformRaw, at: int, byte: int, cut: bool
) -> None:
    data = bytearray(straight.encode(event))
    at = 5 + at % max(1, len(data) - 5)
    damaged = bytes(data[:at]) if cut else bytes(data[:at]) + bytes((byte,)) + bytes(data[at + 1 :])
    try:
        read = straight.decode(damaged)
    except MalformedEvent:
        return
    assert isinstance(read, PlatformRaw)
    # What it reads, the general reader reads too, and the same.
    assert general.decode(damaged) == read


def test_another_layout_goes_to_the_general_reader() -> None:
    newer = json.loads(TEXT)
    newer["fields"].append({"name": "region", "type": "string", "default": ""})
    assert layout_of(json.dumps(newer)) is None
    assert layout_of(TEXT) is not None
    assert isinstance(straight, RawCodec)
