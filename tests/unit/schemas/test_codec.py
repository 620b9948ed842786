"""Bytes to events and back: every typed event survives the trip, and nothing else gets through."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Codec, MalformedEvent, RecordCodec, codec, newest_version, schema_text
from schemas.conversions import TYPED, instant
from schemas.events import (
    AccountEvent,
    ApiKey,
    BackfillJob,
    CatalogChannel,
    CatalogPost,
    CatalogTarget,
    ChannelStatus,
    ChannelTokens,
    DeadLetter,
    Origin,
    PlatformRaw,
    PollerReply,
    PollerRequest,
    PollerSpending,
    PostStatus,
    PullKind,
    PullTarget,
    RawKind,
    RawTarget,
    ReplyKind,
)
from schemas.metrics import INT64_MAX, PLATFORMS
from schemas.notices import Webhook, WebhookDelivery, WebhookRequest, WebhookRule, WebhookState

texts = st.text(st.characters(codec="utf-8"), max_size=40)
ids = st.text("abcXYZ019._:-", min_size=1, max_size=128)
# Whole milliseconds from 1900 to 2299: what DateTime64(3) holds.
instants = st.integers(-2_208_988_800_000, 10_413_791_999_999)
maybe_instants = st.none() | instants
origins = st.sampled_from([origin.value for origin in Origin])
platforms = st.sampled_from(PLATFORMS)
statuses = st.sampled_from([status.value for status in PostStatus])
blobs = st.binary(max_size=200)


targets = st.builds(RawTarget, ids, ids, texts)
catalog_targets = st.builds(
    CatalogTarget, ids, ids, texts, statuses, texts, st.none() | texts, maybe_instants, st.none() | texts,
    st.booleans(), st.none() | ids, texts,
)  # fmt: skip
pull_targets = st.builds(PullTarget, ids, ids, ids, texts, texts, maybe_instants, st.booleans())
masks = st.integers(0, 2**32 - 1)
EVENTS: dict[str, st.SearchStrategy[Any]] = {
    "platform.raw": st.builds(
        PlatformRaw, ids, ids, ids, platforms, st.sampled_from([kind.value for kind in RawKind]), texts,
        st.dictionaries(texts, texts, max_size=4), st.lists(targets, max_size=5).map(tuple), st.integers(100, 599),
        blobs, instants, origins,
    ),
    "catalog.channels": st.builds(
        CatalogChannel, ids, ids, platforms, texts, texts, st.sampled_from([s.value for s in ChannelStatus]),
        maybe_instants, instants,
    ),
    "catalog.posts": st.builds(
        CatalogPost, ids, ids, statuses, maybe_instants, maybe_instants,
        st.lists(catalog_targets, max_size=4).map(tuple), instants,
    ),
    "catalog.api-keys": st.builds(ApiKey, ids, ids, texts, st.lists(texts, max_size=3).map(tuple), texts, instants),
    "catalog.tokens": st.builds(ChannelTokens, ids, ids, blobs, texts, maybe_instants, texts, instants),
    "accounts.events": st.builds(AccountEvent, ids, ids, platforms, texts, instants, st.none() | texts),
    "platform.raw.dead-letters": st.builds(
        DeadLetter, texts, texts, texts, texts, st.integers(0, 4095), st.integers(0, INT64_MAX), st.none() | blobs,
        blobs, instants, st.dictionaries(texts, blobs, max_size=3),
    ),
    "poller.requests": st.builds(
        PollerRequest, ids, ids, ids, st.sampled_from([kind.value for kind in PullKind]), texts,
        st.lists(pull_targets, max_size=3).map(tuple), instants, instants,
        st.sampled_from([origin.value for origin in Origin]), maybe_instants,
    ),
    "poller.backfills": st.builds(BackfillJob, ids, texts, instants, instants, maybe_instants),
    "poller.spending": st.builds(
        PollerSpending, ids, platforms, texts, st.lists(st.integers(0, INT64_MAX), max_size=31).map(tuple),
        st.dictionaries(texts, st.integers(0, INT64_MAX), max_size=3), st.none() | st.integers(0, INT64_MAX), texts,
        instants,
    ),
    "poller.replies": st.builds(
        PollerReply, ids, ids, st.sampled_from([kind.value for kind in ReplyKind]), st.none() | blobs, st.booleans(),
        st.none() | texts, st.none() | texts, maybe_instants,
    ),
    "catalog.webhooks": st.builds(
        Webhook, ids, ids, texts, st.lists(texts, max_size=3).map(tuple),
        st.lists(st.builds(WebhookRule, texts, st.integers(0, INT64_MAX)), max_size=3).map(tuple), texts, blobs,
        maybe_instants, st.booleans(), instants, instants, instants,
    ),
    "notifier.deliveries": st.builds(
        WebhookDelivery, ids, ids, ids, texts, instants, texts, texts, st.integers(0, 100), instants, maybe_instants,
        maybe_instants, st.none() | st.integers(100, 599), texts, texts,
    ),
    "notifier.endpoints": st.builds(WebhookState, ids, ids, maybe_instants, maybe_instants, texts),
    "notifier.requests": st.builds(WebhookRequest, ids, ids, ids, texts, instants, texts, instants, instants),
}  # fmt: skip


def made(topic: str, schema_id: int = 7) -> Codec[Any]:
    return codec(topic, schema_id=schema_id, fetch_schema={schema_id: schema_text(topic)}.__getitem__)


@pytest.mark.parametrize("topic", sorted(EVENTS))
@given(data=st.data())
def test_an_event_comes_back_equal(topic: str, data: st.DataObject) -> None:
    event = data.draw(EVENTS[topic])
    assert made(topic).decode(made(topic).encode(event)) == event


def test_every_typed_topic_is_tried() -> None:
    assert set(EVENTS) == set(TYPED)


def test_the_wire_format_is_confluents() -> None:
    event = AccountEvent("w", "c", "x", "account.recovered", 0)
    assert struct.unpack_from(">bI", made("accounts.events", 4711).encode(event)) == (0, 4711)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_event_are_malformed(data: bytes) -> None:
    for value in (data, b"\x00\x00\x00\x00\x07" + data):
        try:
            made("platform.raw").decode(value)
        except MalformedEvent:
            pass


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x01\x00\x00\x00\x07abc", b"\x00\x00\x00\x00\x08abc", b'{"a":1}'])
def test_known_bad_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedEvent, match=r"platform\.raw"):
        made("platform.raw").decode(data)


def test_a_truncated_event_is_refused() -> None:
    event = AccountEvent("workspace", "channel", "x", "account.recovered", 1_000, "reason")
    whole = made("accounts.events").encode(event)
    with pytest.raises(MalformedEvent):
        made("accounts.events").decode(whole[:-3])


def test_an_event_of_a_newer_schema_with_an_added_field_is_read() -> None:
    newer = json.loads(schema_text("accounts.events"))
    newer["fields"].append({"name": "severity", "type": "string", "default": "info", "doc": "How bad."})
    newer["fields"].insert(0, {"name": "trace", "type": ["null", "string"], "default": None, "doc": "Where from."})
    writer = RecordCodec("accounts.events", schema_id=8, fetch_schema=lambda _: json.dumps(newer))
    # Encoded by hand with the newer schema, as another producer's serializer would.
    import io

    import fastavro

    out = io.BytesIO(b"")
    record = {
        "trace": "t", "workspace_id": "w", "channel_id": "c", "platform": "x", "type": "account.recovered",
        "occurred_at": 1_000, "reason": None, "severity": "high",
    }  # fmt: skip
    fastavro.schemaless_writer(out, fastavro.parse_schema(newer), record)
    data = struct.pack(">bI", 0, 8) + out.getvalue()
    assert writer.decode(data)["workspace_id"] == "w"
    typed = codec("accounts.events", schema_id=7, fetch_schema=lambda _: json.dumps(newer))
    assert typed.decode(data) == AccountEvent("w", "c", "x", "account.recovered", 1_000)


def test_a_value_of_another_topics_schema_is_refused() -> None:
    other = made("accounts.events").encode(AccountEvent("w", "c", "x", "account.recovered", 0))
    reader = codec("platform.raw", schema_id=1, fetch_schema=lambda _: schema_text("accounts.events"))
    with pytest.raises(MalformedEvent):
        reader.decode(other)


def test_a_codec_says_what_it_was_made_without() -> None:
    with pytest.raises(ValueError, match="without a schema id"):
        codec("accounts.events").encode(AccountEvent("w", "c", "x", "t", 0))
    with pytest.raises(ValueError, match="without fetch_schema"):
        codec("accounts.events").decode(b"\x00\x00\x00\x00\x07")
    with pytest.raises(KeyError, match="no schema file"):
        newest_version("no.such-topic")


@given(instants)
def test_instants_lose_nothing(moment: int) -> None:
    event = AccountEvent("w", "c", "x", "t", moment)
    record = RecordCodec("accounts.events", fetch_schema=lambda _: schema_text("accounts.events")).decode(
        made("accounts.events").encode(event)
    )
    assert instant(record["occurred_at"]) == moment
