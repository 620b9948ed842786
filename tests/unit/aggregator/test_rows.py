"""Positional rows and messages: each value stands where its column or its schema's field says."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import RecordCodec, codec, schema_text
from schemas.encoder import wire_encoder
from schemas.events import CatalogChannel, CatalogPost, CatalogTarget, PlatformRaw, RawTarget
from schemas.metrics import CHANNEL_METRICS, MILLIS_MAX, POST_METRICS, Metric, seconds
from schemas.registers import merge
from schemas.windows import WindowTarget, window_totals
from services.aggregator import rows
from services.aggregator.figures import FIGURES, PostPart, PostTotals, figures_of, post_totals
from services.aggregator.reading import Message, RawReading, map_event
from services.aggregator.state import NO_CHANNEL_REGISTER, ChannelState, PostState, TargetState
from services.platforms.base import ChannelReading, PostReading, Reading
from tests.support.examples import all_examples, normal

VERSION = rows.Version(generation=3, partition=5, number=77)
NOW = 1_790_000_000_000
EXAMPLES = [example for example in all_examples() if example.topic.startswith("metrics.")]


def _figures(metrics: tuple[Metric, ...]) -> tuple[int | None, ...]:
    """A different figure for each metric, one of them hidden."""
    return (*(1_000 + position for position in range(len(metrics) - 1)), None)


EVENT = PlatformRaw(
    event_id="event", workspace_id="workspace", channel_id="asked-channel", platform="x", kind="POST_METRICS",
    endpoint="/2/tweets", request={"ids": "1"}, targets=(RawTarget("target", "asked-post", "external"),),
    http_status=200, body=b"{}", captured_at=NOW, origin="SCHEDULE",
)  # fmt: skip
POST = PostReading(0, 0b101, 0b100, _figures(POST_METRICS))
DAY = ChannelReading("day", NOW - 86_400_000, NOW, 0b11, _figures(CHANNEL_METRICS))
READ = RawReading(Message("platform.raw", 5, 42, b"key", b"value", NOW + 1), EVENT, b"event", Reading([POST], [DAY]))


def _target() -> TargetState:
    target = TargetState("target", "post", "channel", is_listed=True, published_at=NOW - 1_000)
    target.register = merge(target.register, POST.spoken, POST.ranged, POST.values, NOW, b"event")
    return target


def _channel() -> ChannelState:
    channel = ChannelState("channel", is_held=True, platform="x")
    channel.periods[("day", DAY.period_start, DAY.period_end)] = merge(
        NO_CHANNEL_REGISTER, DAY.spoken, 0, DAY.values, NOW, b"event"
    )
    channel.window["target"] = WindowTarget(NOW - 1_000, POST.values)
    channel.measured_count = 1
    return channel


def _decoded(topic: str, fields: rows.Row) -> dict[str, Any]:
    text = schema_text(topic)
    read = normal(RecordCodec(topic, fetch_schema=lambda _: text).decode(wire_encoder(text, 1, FIGURES)(fields)))
    assert isinstance(read, dict)
    return read


def _metric_fields(metrics: tuple[Metric, ...], values: tuple[int | None, ...]) -> dict[str, Any]:
    return {
        metric.name: seconds(value) if metric.is_duration else value
        for metric, value in zip(metrics, values, strict=True)
    }


def test_a_snapshot_of_a_post_has_each_field_in_its_place() -> None:
    read = _decoded(
        "metrics.post-snapshots", rows.post_snapshot_message(EVENT, _target(), POST, figures_of(POST.values))
    )
    assert {
        "workspace_id": "workspace", "target_id": "target", "post_id": "post", "channel_id": "channel",
        "platform": "x", "event_id": "event", "captured_at": NOW, "origin": "SCHEDULE", "spoken": 0b101,
        "ranged": 0b100, **_metric_fields(POST_METRICS, POST.values),
    }.items() <= read.items()  # fmt: skip


def test_a_snapshot_of_a_channel_has_each_field_in_its_place() -> None:
    read = _decoded("metrics.channel-snapshots", rows.channel_snapshot_message(READ, DAY))
    assert {
        "workspace_id": "workspace", "channel_id": "asked-channel", "platform": "x", "event_id": "event",
        "captured_at": NOW, "origin": "SCHEDULE", "period": "day", "period_start": DAY.period_start,
        "period_end": NOW, "spoken": 0b11, **_metric_fields(CHANNEL_METRICS, DAY.values),
    }.items() <= read.items()  # fmt: skip


def test_a_rollup_of_a_post_has_each_field_in_its_place() -> None:
    target, channel = _target(), _channel()
    parts = [PostPart(target, channel, figures_of(target.register.values))]
    totals = post_totals(parts)
    post = PostState("post", is_held=True, target_ids=("target",))
    read = _decoded("rollups.posts", rows.post_rollup_message(VERSION, "workspace", post, parts, totals))
    figures = _metric_fields(POST_METRICS, target.register.values)
    assert {
        "workspace_id": "workspace", "post_id": "post", "captured_at": NOW, "version": 77, **figures
    }.items() <= read.items()  # fmt: skip
    (of_channel,) = read["channels"]
    assert {"channel_id": "channel", "platform": "x", "captured_at": NOW, **figures}.items() <= of_channel.items()
    assert of_channel["engagements"] == read["engagements"]


def test_a_rollup_of_a_channel_has_each_field_in_its_place() -> None:
    channel = _channel()
    totals = window_totals(channel.window.values(), channel.channel_periods(), 7 * 86_400_000, NOW, is_measured=True)
    read = _decoded("rollups.channels", rows.channel_rollup_message(VERSION, "workspace", channel, "7d", totals))
    assert {
        "workspace_id": "workspace", "channel_id": "channel", "platform": "x", "range": "7d", "captured_at": NOW,
        "version": 77, "window_start": totals.start, "window_end": totals.end, "valid_from": totals.valid_from,
        "valid_until": totals.valid_until, "engagements": totals.engagements,
    }.items() <= read.items()  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.topic}/{example.name}")
def test_the_example_of_an_answer_gives_the_example_of_its_snapshot(example: Any) -> None:
    schema = json.loads(schema_text(example.topic))
    expected = example.record(schema)
    raw = next(event for event in _raw_examples() if event.event_id == expected["event_id"])
    read = RawReading(READ.message, raw, raw.event_id.encode(), map_event(raw))
    if example.topic == "metrics.post-snapshots":
        post = next(
            post for post in read.reading.posts if raw.targets[post.position].target_id == expected["target_id"]
        )
        target = TargetState(expected["target_id"], expected["post_id"], raw.channel_id)
        message = rows.post_snapshot_message(raw, target, post, figures_of(post.values))
    else:
        channel = next(channel for channel in read.reading.channels if channel.period == expected["period"])
        message = rows.channel_snapshot_message(read, channel)
    assert _decoded(example.topic, message) == expected


def _raw_examples() -> list[PlatformRaw]:
    text = schema_text("platform.raw")
    writer = RecordCodec("platform.raw", schema_id=1)
    reader = codec("platform.raw", fetch_schema=lambda _: text)
    return [
        reader.decode(writer.encode(example.record(json.loads(text))))
        for example in all_examples()
        if example.topic == "platform.raw"
    ]


CATALOG_CHANNEL = CatalogChannel("workspace", "channel", "x", "external", "name", "active", 8, 9)
CATALOG_POST = CatalogPost("workspace", "post", "published", 1, 2, (CatalogTarget("target", "channel"),), 3)
ROWS: dict[str, tuple[rows.Table, Callable[[], rows.Row], dict[str, Any]]] = {
    "raw event": (rows.RAW_EVENTS, lambda: rows.raw_event_row(READ), {
        "workspace_id": "workspace", "event_id": "event", "targets.post_id": ["asked-post"], "http_status": 200,
        "captured_at": NOW, "partition": 5, "offset": 42, "ingested_at": NOW + 1,
    }),
    "post snapshot": (rows.POST_SNAPSHOTS, lambda: rows.post_snapshot_row(VERSION, EVENT, _target(), POST), {
        "generation": 3, "target_id": "target", "post_id": "post", "channel_id": "channel", "spoken": 0b101,
        "ranged": 0b100, "version": 77, POST_METRICS[0].name: 1_000, "watch_time_seconds": Decimal("1.014"),
    }),
    "channel snapshot": (rows.CHANNEL_SNAPSHOTS, lambda: rows.channel_snapshot_row(VERSION, READ, DAY), {
        "generation": 3, "channel_id": "asked-channel", "period": "day", "period_end": NOW, "spoken": 0b11,
        "version": 77,
    }),
    "latest post": (rows.LATEST_POST_METRICS, lambda: rows.latest_post_row(VERSION, "workspace", _target()), {
        "generation": 3, "workspace_id": "workspace", "is_listed": 1, "published_at": NOW - 1_000, "captured_at": NOW,
        "partition": 5, "version": 77,
    }),
    "latest channel": (
        rows.LATEST_CHANNEL_METRICS,
        lambda: rows.latest_channel_row(VERSION, "workspace", "channel", ("day", 1, 2), NO_CHANNEL_REGISTER),
        {"generation": 3, "channel_id": "channel", "period_start": 1, "period_end": 2, "captured_at": None},
    ),
    "channel": (
        rows.CHANNELS,
        lambda: rows.channel_row(VERSION, CATALOG_CHANNEL),
        {"external_id": "external", "username": "name", "token_expires_at": 8, "updated_at": 9, "is_deleted": 0},
    ),
    "deleted channel": (rows.CHANNELS, lambda: rows.deleted_channel_row(VERSION, "workspace", "channel", 9), {
        "channel_id": "channel", "status": "", "updated_at": 9, "is_deleted": 1, "version": 77,
    }),
    "post": (rows.POSTS, lambda: rows.post_row(VERSION, CATALOG_POST), {
        "post_id": "post", "status": "published", "created_at": 1, "published_at": 2, "updated_at": 3, "is_deleted": 0,
    }),
    "deleted post": (rows.POSTS, lambda: rows.deleted_post_row(VERSION, "workspace", "post", 9), {
        "post_id": "post", "status": "", "updated_at": 9, "targets": "[]", "is_deleted": 1, "version": 77,
    }),
    "post totals": (
        rows.POST_TOTALS,
        lambda: rows.post_totals_row(
            VERSION, "workspace", PostState("post", is_held=True), [],
            PostTotals(POST.values, NOW, figures_of(POST.values)),
        ),
        {"generation": 3, "post_id": "post", "captured_at": NOW, "targets": "[]", "is_deleted": 0, "partition": 5},
    ),
    "channel totals": (
        rows.CHANNEL_TOTALS,
        lambda: rows.channel_totals_row(
            VERSION, "workspace", _channel(), "7d",
            window_totals([], [], 7 * 86_400_000, NOW, is_measured=True),
        ),
        {"generation": 3, "channel_id": "channel", "range": "7d", "is_deleted": 0, "partition": 5, "version": 77},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_row_has_each_value_under_its_column(name: str) -> None:
    (_, columns), made, expected = ROWS[name]
    row = dict(zip(columns, made(), strict=True))
    assert {column: row[column] for column in expected} == expected


def test_every_table_of_the_module_is_tried() -> None:
    tables = {value for value in vars(rows).values() if isinstance(value, tuple) and str(value[0]).endswith("_store")}
    assert {table for table, _, _ in ROWS.values()} == tables


@given(st.integers(-MILLIS_MAX, MILLIS_MAX))
def test_durations_lose_nothing(millis: int) -> None:
    values = tuple(millis if metric.is_duration else None for metric in POST_METRICS)
    message = rows.post_snapshot_message(EVENT, _target(), PostReading(0, 0, 0, values), figures_of(values))
    assert _decoded("metrics.post-snapshots", message)["watch_time_seconds"] == seconds(millis)


def test_only_a_discovered_target_says_its_origin() -> None:
    found = dataclasses.replace(CATALOG_POST, targets=(CatalogTarget("target", "channel", origin="discovered"),))
    shown = [json.loads(rows.post_row(VERSION, post)[6])[0].get("origin") for post in (CATALOG_POST, found)]
    assert shown == [None, "discovered"]
