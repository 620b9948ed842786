"""Makes table rows and topic messages of states. Pure.

Rows and messages are positional, since tens of thousands are made each second. Rows follow the order of the columns
named beside them, and messages the order of their schema's fields. Durations are whole milliseconds in messages and
decimal seconds in rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from schemas.encoder import Shared
from schemas.events import CatalogChannel, CatalogPost, CatalogTarget, PlatformRaw, PostStatus, TargetOrigin
from schemas.metrics import (
    AVG_WATCH_TIME,
    CH_ENGAGEMENTS,
    CH_IMPRESSIONS,
    CH_REACH,
    CH_VIEWS,
    CHANNEL_METRICS,
    CHANNEL_NAMES,
    POST_METRICS,
    POST_NAMES,
    WATCH_TIME,
    WINDOW_METRICS,
    Metric,
    Values,
    engagement_rate,
    seconds,
)
from schemas.registers import Groups, Register, dump_groups
from schemas.values import read_detail
from schemas.windows import WindowTotals
from services.aggregator.figures import PostPart, PostTotals, post_totals
from services.aggregator.reading import RawReading
from services.aggregator.state import ChannelState, PeriodKey, PostState, TargetState
from services.platforms.base import ChannelReading, PostReading

Row = tuple[Any, ...]
Table = tuple[str, tuple[str, ...]]
"""A table's name, and its columns in the order of the row."""


# A number is the owner's epoch, then the number of its batch: 16 million claims of 10^12 batches.
SEQUENCE_BITS = 40
# What a snapshot's number keeps of the epoch; the other 44 bits hold instants past the year 2500.
_EPOCH_BITS = 20
_EPOCH_MAX = (1 << _EPOCH_BITS) - 1


class Version(NamedTuple):
    """The version that every row of a batch carries.

    Attributes:
        generation: the rebuild generation that the row belongs to.
        partition: the Kafka partition of the row's tenant.
        number: greater than the number of every earlier state of the same key.
    """

    generation: int
    partition: int
    number: int

    def of_answer(self, captured_at: int) -> Version:
        """The version of an answer's snapshots: of rows of one event, the row with the greatest `captured_at` counts.

        `raw_events` and the registers keep that answer too, in whatever order the answers come. Among equals the row of
        the newest owner counts.

        Args:
            captured_at: ms.
        """
        number = (max(captured_at, 0) << _EPOCH_BITS) + min(self.number >> SEQUENCE_BITS, _EPOCH_MAX)
        return Version(self.generation, self.partition, number)


def stored(metrics: Sequence[Metric], values: Values) -> Values | Row:
    """Values in the form of the columns: durations as decimal seconds, all others unchanged."""
    if metrics is POST_METRICS and values[WATCH_TIME] is None and values[AVG_WATCH_TIME] is None:
        return values
    return tuple(seconds(value) if metric.is_duration else value for metric, value in zip(metrics, values, strict=True))


# Begins the topic of raw events that `tidemark backup restore` wrote: their offsets are another broker's.
RESTORED_TOPIC = "restored:"
RAW_EVENTS = (
    "raw_events_store",
    (
        "workspace_id", "event_id", "channel_id", "platform", "kind", "endpoint", "request", "targets.target_id",
        "targets.post_id", "targets.external_id", "http_status", "body", "captured_at", "origin", "topic", "partition",
        "offset", "ingested_at",
    ),
)  # fmt: skip
REBUILD_PROGRESS = (
    "rebuild_progress",
    ("generation", "workspace_id", "last_event_id", "is_done", "events", "updated_at"),
)


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


def post_snapshot_row(version: Version, event: PlatformRaw, target: TargetState, said: PostReading) -> Row:
    """One row of `post_snapshots_store`; post and channel come from the catalog, if it holds the target.

    Args:
        version: the answer's; see `Version.of_answer`.
    """
    return (
        version.generation, event.workspace_id, target.target_id, target.post_id, target.channel_id, event.platform,
        event.event_id, event.captured_at, event.origin, said.spoken, said.ranged,
        *stored(POST_METRICS, said.values), version.number,
    )  # fmt: skip


def post_snapshot_message(event: PlatformRaw, target: TargetState, said: PostReading, figures: Shared) -> Row:
    """One value of `metrics.post-snapshots`, fields in the schema's order.

    Args:
        figures: the `figures_of` the answer's values.
    """
    return (
        event.workspace_id, target.target_id, target.post_id, target.channel_id, event.platform, event.event_id,
        event.captured_at, event.origin, said.spoken, said.ranged, figures,
    )  # fmt: skip


CHANNEL_SNAPSHOTS = (
    "channel_snapshots_store",
    (
        "generation", "workspace_id", "channel_id", "platform", "event_id", "captured_at", "origin", "period",
        "period_start", "period_end", "spoken", *CHANNEL_NAMES, "version",
    ),
)  # fmt: skip


def channel_snapshot_row(version: Version, read: RawReading, said: ChannelReading) -> Row:
    """One row of `channel_snapshots_store`.

    Args:
        version: the answer's; see `Version.of_answer`.
    """
    event = read.event
    return (
        version.generation, event.workspace_id, event.channel_id, event.platform, event.event_id, event.captured_at,
        event.origin, said.period, said.period_start, said.period_end, said.spoken,
        *stored(CHANNEL_METRICS, said.values), version.number,
    )  # fmt: skip


def channel_snapshot_message(read: RawReading, said: ChannelReading) -> Row:
    """One value of `metrics.channel-snapshots`, fields in the schema's order."""
    event, values = read.event, said.values
    return (
        event.workspace_id, event.channel_id, event.platform, event.event_id, event.captured_at, event.origin,
        said.period, said.period_start, said.period_end, said.spoken, *values,
        engagement_rate(values[CH_ENGAGEMENTS], values[CH_IMPRESSIONS], values[CH_REACH], values[CH_VIEWS]),
    )  # fmt: skip


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


CATALOG_TARGET_TYPE = "Tuple(target_id String, channel_id String, status String, published_at Nullable(Int64))"
"""ClickHouse's type for the fields that queries read of each entry of `targets`."""


def post_row(version: Version, post: CatalogPost) -> Row:
    """One row of `posts_store`."""
    targets = orjson.dumps([_catalog_target(target) for target in post.targets]).decode()
    return (
        post.workspace_id, post.post_id, post.status, post.created_at, post.published_at, post.updated_at, targets,
        int(post.status == PostStatus.DELETED), version.number,
    )  # fmt: skip


def _catalog_target(target: CatalogTarget) -> dict[str, Any]:
    # Left out where it is the product's, as in all rows from before there was another.
    origin = {} if target.origin == TargetOrigin.PRODUCT else {"origin": target.origin}
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
        "detail": read_detail(target.detail),
        **origin,
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


def post_totals_row(
    version: Version, workspace_id: str, post: PostState, parts: Sequence[PostPart], totals: PostTotals
) -> Row:
    """One row of `post_totals_store`; a post that the catalog does not hold has no parts."""
    targets = orjson.dumps(
        [
            {
                "target_id": part.target.target_id,
                "channel_id": part.target.channel_id,
                "captured_at": part.target.register.captured_at,
                "values": part.target.register.values,
                "answers": orjson.Fragment(dump_groups(part.target.register.groups)),
            }
            for part in parts
        ]
    ).decode()
    return (
        version.generation, workspace_id, post.post_id, totals.captured_at, *stored(POST_METRICS, totals.values),
        targets, int(not post.is_held), version.partition, version.number,
    )  # fmt: skip


def post_rollup_message(
    version: Version, workspace_id: str, post: PostState, parts: Sequence[PostPart], totals: PostTotals
) -> Row:
    """One value of `rollups.posts`, fields in the schema's order."""
    if len(parts) == 1:
        target, channel, figures = parts[0]
        channels: list[Row] = [(target.channel_id, channel.platform, totals.captured_at, figures)]
    else:
        by_channel: dict[str, list[PostPart]] = {}
        for part in parts:
            by_channel.setdefault(part.target.channel_id, []).append(part)
        channels = []
        for channel_id, group in by_channel.items():
            of_channel = post_totals(group)
            channels.append((channel_id, group[0].channel.platform, of_channel.captured_at, of_channel.figures))
    targets = [
        (
            target.target_id, target.channel_id, channel.platform, target.register.captured_at, figures,
            _sources(target.register.groups),
        )
        for target, channel, figures in parts
    ]  # fmt: skip
    return (workspace_id, post.post_id, totals.captured_at, version.number, totals.figures, channels, targets)


@lru_cache(maxsize=4096)
def _sources(groups: Groups) -> tuple[Row, ...]:
    """The answers that figures are from, for messages; the targets of one answer share them."""
    return tuple((stamp.event_id.decode(), stamp.captured_at, bool(stamp.is_lifetime), mask) for stamp, mask in groups)


_WINDOW_NAMES = tuple(metric.name for metric in WINDOW_METRICS)
CHANNEL_TOTALS = (
    "channel_totals_store",
    (
        "generation", "workspace_id", "channel_id", "platform", "range", "source", "window_start", "window_end",
        "valid_from", "valid_until", "captured_at", *_WINDOW_NAMES, "engagements", "engagement_rate",
        "views_or_impressions", "impressions_or_views", "is_deleted", "partition", "version",
    ),
)  # fmt: skip


def channel_totals_row(
    version: Version, workspace_id: str, channel: ChannelState, range_name: str, totals: WindowTotals
) -> Row:
    """One row of `channel_totals_store`."""
    return (
        version.generation, workspace_id, channel.channel_id, channel.platform, range_name, totals.source,
        totals.start, totals.end, totals.valid_from, totals.valid_until, channel.captured_at,
        *stored(WINDOW_METRICS, totals.values), totals.engagements, totals.engagement_rate,
        totals.views_or_impressions, totals.impressions_or_views, int(not channel.is_held), version.partition,
        version.number,
    )  # fmt: skip


def channel_rollup_message(
    version: Version, workspace_id: str, channel: ChannelState, range_name: str, totals: WindowTotals
) -> Row:
    """One value of `rollups.channels`, fields in the schema's order."""
    values = totals.values
    return (
        workspace_id, channel.channel_id, channel.platform, range_name, totals.source, totals.start, totals.end,
        totals.valid_from, totals.valid_until, channel.captured_at, version.number, *values, totals.engagements,
        totals.engagement_rate, totals.views_or_impressions, totals.impressions_or_views,
    )  # fmt: skip
