"""States to table rows and topic records. Pure; column order here is the insert's column order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from schemas.events import CatalogChannel, CatalogPost, CatalogTarget, PostStatus
from schemas.metrics import (
    AVG_WATCH_TIME,
    CHANNEL_METRICS,
    CHANNEL_NAMES,
    POST_METRICS,
    POST_NAMES,
    WATCH_TIME,
    WINDOW_METRICS,
    Metric,
    Values,
    engagement_rate,
    post_engagement_rate,
    post_engagements,
    seconds,
    total,
)
from schemas.windows import WindowTotals
from services.aggregator.folds import Register, dump_groups
from services.aggregator.reading import RawReading
from services.aggregator.state import ChannelState, PeriodKey, PostState, TargetState
from services.platforms.base import ChannelReading, PostReading

Row = tuple[Any, ...]


class Version(NamedTuple):
    """What every row of a batch carries.

    Attributes:
        generation: rebuild generation written to.
        partition: Kafka partition.
        number: greater than that of every earlier state of the same keys.
    """

    generation: int
    partition: int
    number: int


def stored(metrics: Sequence[Metric], values: Values) -> Values | Row:
    """Values as columns take them: durations as decimals."""
    if metrics is POST_METRICS and values[WATCH_TIME] is None and values[AVG_WATCH_TIME] is None:
        return values
    return tuple(seconds(value) if metric.is_duration else value for metric, value in zip(metrics, values, strict=True))


RAW_EVENTS = (
    "raw_events_store",
    (
        "workspace_id", "event_id", "channel_id", "platform", "kind", "endpoint", "request", "targets.target_id",
        "targets.post_id", "targets.external_id", "http_status", "body", "captured_at", "origin", "topic", "partition",
        "offset", "ingested_at",
    ),
)  # fmt: skip


def raw_event_row(read: RawReading) -> Row:
    """One row of `raw_events_store`."""
    event, message = read.event, read.message
    return (
        event.workspace_id, event.event_id, event.channel_id, event.platform, event.kind, event.endpoint,
        event.request, [t.target_id for t in event.targets], [t.post_id for t in event.targets],
        [t.external_id for t in event.targets], event.http_status, event.body, event.captured_at, event.origin,
        message.topic, message.partition, message.offset, message.timestamp,
    )  # fmt: skip


POST_SNAPSHOTS = (
    "post_snapshots_store",
    (
        "generation", "workspace_id", "target_id", "post_id", "channel_id", "platform", "event_id", "captured_at",
        "origin", "spoken", "ranged", *POST_NAMES, "version",
    ),
)  # fmt: skip


def post_snapshot_row(version: Version, read: RawReading, target: TargetState, said: PostReading) -> Row:
    """One row of `post_snapshots_store`; the target's post and channel are the catalog's where it holds them."""
    event = read.event
    return (
        version.generation, event.workspace_id, target.target_id, target.post_id, target.channel_id, event.platform,
        event.event_id, event.captured_at, event.origin, said.spoken, said.ranged,
        *stored(POST_METRICS, said.values), version.number,
    )  # fmt: skip


def post_snapshot_record(read: RawReading, target: TargetState, said: PostReading) -> dict[str, Any]:
    """One value of `metrics.post-snapshots`."""
    event, values = read.event, said.values
    record: dict[str, Any] = dict(zip(POST_NAMES, stored(POST_METRICS, values), strict=True))
    record["workspace_id"] = event.workspace_id
    record["target_id"] = target.target_id
    record["post_id"] = target.post_id
    record["channel_id"] = target.channel_id
    record["platform"] = event.platform
    record["event_id"] = event.event_id
    record["captured_at"] = event.captured_at
    record["origin"] = event.origin
    record["spoken"] = said.spoken
    record["ranged"] = said.ranged
    record["engagements"] = post_engagements(values)
    record["engagement_rate"] = post_engagement_rate(values)
    return record


CHANNEL_SNAPSHOTS = (
    "channel_snapshots_store",
    (
        "generation", "workspace_id", "channel_id", "platform", "event_id", "captured_at", "origin", "period",
        "period_start", "period_end", "spoken", *CHANNEL_NAMES, "version",
    ),
)  # fmt: skip


def channel_snapshot_row(version: Version, read: RawReading, said: ChannelReading) -> Row:
    """One row of `channel_snapshots_store`."""
    event = read.event
    return (
        version.generation, event.workspace_id, event.channel_id, event.platform, event.event_id, event.captured_at,
        event.origin, said.period, said.period_start, said.period_end, said.spoken,
        *stored(CHANNEL_METRICS, said.values), version.number,
    )  # fmt: skip


def channel_snapshot_record(read: RawReading, said: ChannelReading) -> dict[str, Any]:
    """One value of `metrics.channel-snapshots`."""
    event = read.event
    record: dict[str, Any] = dict(zip(CHANNEL_NAMES, stored(CHANNEL_METRICS, said.values), strict=True))
    record.update(
        workspace_id=event.workspace_id,
        channel_id=event.channel_id,
        platform=event.platform,
        event_id=event.event_id,
        captured_at=event.captured_at,
        origin=event.origin,
        period=said.period,
        period_start=said.period_start,
        period_end=said.period_end,
        spoken=said.spoken,
        engagement_rate=engagement_rate(record["engagements"], record["impressions"], record["reach"], record["views"]),
    )
    return record


LATEST_POST_METRICS = (
    "latest_post_metrics_store",
    (
        "generation", "workspace_id", "target_id", "post_id", "channel_id", "is_listed", "published_at", "captured_at",
        *POST_NAMES, "registers", "partition", "version",
    ),
)  # fmt: skip


def latest_post_row(version: Version, workspace_id: str, target: TargetState) -> Row:
    """One row of `latest_post_metrics_store`."""
    register = target.register
    return (
        version.generation, workspace_id, target.target_id, target.post_id, target.channel_id, int(target.is_listed),
        target.published_at, register.captured_at, *stored(POST_METRICS, register.values),
        dump_groups(register.groups), version.partition, version.number,
    )  # fmt: skip


LATEST_CHANNEL_METRICS = (
    "latest_channel_metrics_store",
    (
        "generation", "workspace_id", "channel_id", "period", "period_start", "period_end", "captured_at",
        *CHANNEL_NAMES, "registers", "version",
    ),
)  # fmt: skip


def latest_channel_row(
    version: Version, workspace_id: str, channel_id: str, period: PeriodKey, register: Register
) -> Row:
    """One row of `latest_channel_metrics_store`."""
    return (
        version.generation, workspace_id, channel_id, *period, register.captured_at,
        *stored(CHANNEL_METRICS, register.values), dump_groups(register.groups), version.number,
    )  # fmt: skip


CHANNELS = (
    "channels_store",
    (
        "workspace_id", "channel_id", "platform", "external_id", "username", "status", "token_expires_at", "updated_at",
        "is_deleted", "version",
    ),
)  # fmt: skip


def channel_row(version: Version, channel: CatalogChannel) -> Row:
    """One row of `channels_store`."""
    return (
        channel.workspace_id, channel.channel_id, channel.platform, channel.external_id, channel.username,
        channel.status, channel.token_expires_at, channel.updated_at, 0, version.number,
    )  # fmt: skip


def deleted_channel_row(version: Version, workspace_id: str, channel_id: str, deleted_at: int) -> Row:
    """The row of a channel that a tombstone deleted."""
    return (workspace_id, channel_id, "", "", "", "", None, deleted_at, 1, version.number)


POSTS = (
    "posts_store",
    (
        "workspace_id", "post_id", "status", "created_at", "published_at", "updated_at", "targets", "is_deleted",
        "version",
    ),
)  # fmt: skip


def post_row(version: Version, post: CatalogPost) -> Row:
    """One row of `posts_store`."""
    targets = orjson.dumps([_catalog_target(target) for target in post.targets]).decode()
    return (
        post.workspace_id, post.post_id, post.status, post.created_at, post.published_at, post.updated_at, targets,
        int(post.status == PostStatus.DELETED), version.number,
    )  # fmt: skip


def _catalog_target(target: CatalogTarget) -> dict[str, Any]:
    return {
        "target_id": target.target_id,
        "channel_id": target.channel_id,
        "post_type": target.post_type,
        "status": target.status,
        "external_id": target.external_id,
        "permalink": target.permalink,
        "published_at": target.published_at,
        "content": target.content,
        "is_story": target.is_story,
        "parent_target_id": target.parent_target_id,
        "detail": orjson.Fragment(target.detail or "{}"),
    }


def deleted_post_row(version: Version, workspace_id: str, post_id: str, deleted_at: int) -> Row:
    """The row of a post that a tombstone deleted."""
    return (workspace_id, post_id, "", None, None, deleted_at, "[]", 1, version.number)


POST_TOTALS = (
    "post_totals_store",
    (
        "generation", "workspace_id", "post_id", "captured_at", *POST_NAMES, "targets", "is_deleted", "partition",
        "version",
    ),
)  # fmt: skip


class PostPart(NamedTuple):
    """One target of a post, on a channel that the catalog holds."""

    target: TargetState
    channel: ChannelState


def post_totals_row(version: Version, workspace_id: str, post: PostState, parts: Sequence[PostPart]) -> Row:
    """One row of `post_totals_store`; without parts for a post that is not held."""
    targets = orjson.dumps(
        [
            {
                "target_id": part.target.target_id,
                "channel_id": part.target.channel_id,
                "captured_at": part.target.register.captured_at,
                "values": part.target.register.values,
            }
            for part in parts
        ]
    ).decode()
    return (
        version.generation, workspace_id, post.post_id, _freshest(parts),
        *stored(POST_METRICS, total([part.target.register.values for part in parts])),
        targets, int(not post.is_held), version.partition, version.number,
    )  # fmt: skip


def _freshest(parts: Sequence[PostPart]) -> int | None:
    times = [part.target.register.captured_at for part in parts if part.target.register.captured_at is not None]
    return max(times, default=None)


def _figures(parts: Sequence[PostPart]) -> dict[str, Any]:
    values = total([part.target.register.values for part in parts])
    figures: dict[str, Any] = dict(zip(POST_NAMES, stored(POST_METRICS, values), strict=True))
    figures["captured_at"] = _freshest(parts)
    figures["engagements"] = post_engagements(values)
    figures["engagement_rate"] = post_engagement_rate(values)
    return figures


def post_rollup_record(
    version: Version, workspace_id: str, post: PostState, parts: Sequence[PostPart]
) -> dict[str, Any]:
    """One value of `rollups.posts`."""
    by_channel: dict[str, list[PostPart]] = {}
    for part in parts:
        by_channel.setdefault(part.target.channel_id, []).append(part)
    return {
        "workspace_id": workspace_id,
        "post_id": post.post_id,
        "version": version.number,
        **_figures(parts),
        "channels": [
            {"channel_id": channel_id, "platform": group[0].channel.platform, **_figures(group)}
            for channel_id, group in by_channel.items()
        ],
    }


_WINDOW_NAMES = tuple(metric.name for metric in WINDOW_METRICS)
CHANNEL_TOTALS = (
    "channel_totals_store",
    (
        "generation", "workspace_id", "channel_id", "platform", "range", "source", "window_start", "window_end",
        "valid_from", "valid_until", "captured_at", *_WINDOW_NAMES, "engagements", "views_or_impressions",
        "impressions_or_views", "is_deleted", "partition", "version",
    ),
)  # fmt: skip


def channel_totals_row(
    version: Version, workspace_id: str, channel: ChannelState, range_name: str, totals: WindowTotals
) -> Row:
    """One row of `channel_totals_store`."""
    return (
        version.generation, workspace_id, channel.channel_id, channel.platform, range_name, totals.source,
        totals.start, totals.end, totals.valid_from, totals.valid_until, channel.captured_at,
        *stored(WINDOW_METRICS, totals.values), totals.engagements, totals.views_or_impressions,
        totals.impressions_or_views, int(not channel.is_held), version.partition, version.number,
    )  # fmt: skip


def channel_rollup_record(
    version: Version, workspace_id: str, channel: ChannelState, range_name: str, totals: WindowTotals
) -> dict[str, Any]:
    """One value of `rollups.channels`."""
    figures: dict[str, Any] = dict(zip(_WINDOW_NAMES, stored(WINDOW_METRICS, totals.values), strict=True))
    return {
        **figures,
        "workspace_id": workspace_id,
        "channel_id": channel.channel_id,
        "platform": channel.platform,
        "range": range_name,
        "source": totals.source,
        "window_start": totals.start,
        "window_end": totals.end,
        "valid_from": totals.valid_from,
        "valid_until": totals.valid_until,
        "captured_at": channel.captured_at,
        "version": version.number,
        "engagements": totals.engagements,
        "engagement_rate": engagement_rate(
            totals.engagements, figures["impressions"], figures["reach"], figures["views"]
        ),
        "views_or_impressions": totals.views_or_impressions,
        "impressions_or_views": totals.impressions_or_views,
    }
