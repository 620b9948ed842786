"""Posts to be read, made where they are read from: the SQL for ClickHouse and for PostgreSQL, values of
topics. Pure.

Every post has two targets on two of its workspace's channels. Post `n` belongs to workspace `n % WORKSPACES`.
"""

from __future__ import annotations

from typing import Any

from schemas.events import TargetOrigin
from schemas.metrics import (
    POST_NAMES,
    mask_of,
    post_engagement_rate,
    post_engagements,
    total,
    total_engagement_rate,
)

WORKSPACES = 10
CHANNELS = 20
"""A workspace's channels: post `n` is on `n / WORKSPACES % CHANNELS` and the one after it."""

ANSWERS = 4
"""Stored snapshots a target in PostgreSQL; a real one has about a hundred and thirty after ninety days."""

# wrk numbers posts in the same way.
POST_PATH = "/api/v1/posts/post-%07d/insights"
SPOKEN = ("impressions", "reach", "likes", "comments", "shares", "saves", "views", "clicks")


def workspace(number: int) -> str:
    """The tenant of a post or channel."""
    return f"reads-{number % WORKSPACES}"


def channel(number: int) -> str:
    """A channel's id."""
    return f"channel-{number}"


def _figure(name: str) -> str:
    """A figure of a post and target in SQL that both engines understand; `number` and `target` are columns."""
    place = SPOKEN.index(name)
    return f"(number * {7 + place} + target * {3 + place}) % 9973 + {place}"


_VALUES = ", ".join(_figure(name) if name in SPOKEN else "NULL" for name in POST_NAMES)
_SUMS = ", ".join(
    "(" + " + ".join(f"({_figure(name).replace('target', str(target))})" for target in (0, 1)) + ")" for name in SPOKEN
)


def _target_json(target: int) -> str:
    """A target as `posts_store` holds it, as a SQL expression."""
    return (
        f'\'{{"target_id":"target-\', leftPad(toString(number), 7, \'0\'), \'-{target}","channel_id":"channel-\', '
        f"toString((intDiv(number, {WORKSPACES}) + {target}) % {CHANNELS}), "
        '\'","post_type":"x-post","status":"published","external_id":"\', '
        f"toString(1900000000000000000 + number * 2 + {target}), "
        '\'","permalink":null,"published_at":null,"content":"A post that was published a while ago",'
        '"is_story":false,"parent_target_id":null,"detail":{}}\''
    )


def _figures_json(target: int) -> str:
    """A target as `post_totals_store` holds it, as a SQL expression."""
    values = ", ',', ".join(
        f"toString({_figure(name).replace('target', str(target))})" if name in SPOKEN else "'null'"
        for name in POST_NAMES
    )
    return (
        f'\'{{"target_id":"target-\', leftPad(toString(number), 7, \'0\'), \'-{target}","channel_id":"channel-\', '
        f"toString((intDiv(number, {WORKSPACES}) + {target}) % {CHANNELS}), "
        '\'","captured_at":\', toString({now:Int64}), \',"values":[\', ' + values + ", ']}'"
    )


def _figures(number: int, target: int) -> tuple[int | None, ...]:
    """A target's figures in the order of POST_METRICS."""
    told = {name: (number * (7 + at) + target * (3 + at)) % 9973 + at for at, name in enumerate(SPOKEN)}
    return tuple(told.get(name) for name in POST_NAMES)


def _channel_of(number: int, target: int) -> str:
    return channel((number // WORKSPACES + target) % CHANNELS)


def catalog_post(number: int, now: int) -> tuple[Any, ...]:
    """A post as `catalog.posts` has it, fields in the schema's order; the same as INSERT_POSTS makes."""
    targets = [
        (
            f"target-{number:07d}-{target}", _channel_of(number, target), "x-post", "published",
            str(1900000000000000000 + number * 2 + target), None, None, "A post that was published a while ago",
            False, None, "{}", TargetOrigin.PRODUCT.value,
        )
        for target in (0, 1)
    ]  # fmt: skip
    return workspace(number), f"post-{number:07d}", "published", now, now, targets, now


def post_rollup(number: int, now: int) -> tuple[Any, ...]:
    """A post as `rollups.posts` has it, fields in the schema's order; the same as INSERT_TOTALS makes."""
    parts = [_figures(number, target) for target in (0, 1)]
    channels, targets = [], []
    for target, values in enumerate(parts):
        derived = (post_engagements(values), post_engagement_rate(values))
        channels.append((_channel_of(number, target), "x", now, *values, *derived))
        source = (f"event-{now}-{number // 50:08d}", now, True, mask_of(values))
        targets.append(
            (f"target-{number:07d}-{target}", _channel_of(number, target), "x", now, *values, *derived, [source])
        )
    totals = total(parts)
    derived = (post_engagements(totals), total_engagement_rate(parts))
    return workspace(number), f"post-{number:07d}", now, 1, *totals, *derived, channels, targets


_NUMBERS = "FROM numbers({first:UInt64}, {count:UInt64})"
_POST_ID = "concat('post-', leftPad(toString(number), 7, '0'))"
_NOW = "fromUnixTimestamp64Milli({now:Int64}, 'UTC')"

INSERT_POSTS = f"""
INSERT INTO posts_store (workspace_id, post_id, status, created_at, published_at, updated_at, targets, is_deleted,
    version)
SELECT concat('reads-', toString(number % {WORKSPACES})), {_POST_ID}, 'published', {_NOW}, {_NOW}, {_NOW},
    concat('[', {_target_json(0)}, ',', {_target_json(1)}, ']'), 0, 1
{_NUMBERS}
"""
INSERT_TOTALS = f"""
INSERT INTO post_totals_store (generation, workspace_id, post_id, captured_at, {", ".join(SPOKEN)}, targets, is_deleted,
    partition, version)
SELECT 0, concat('reads-', toString(number % {WORKSPACES})), {_POST_ID}, {_NOW}, {_SUMS},
    concat('[', {_figures_json(0)}, ',', {_figures_json(1)}, ']'), 0, 0, 1
{_NUMBERS}
"""

CREATE_SNAPSHOTS = f"""
CREATE TABLE post_analytics (
    workspace_id text NOT NULL, post_id text NOT NULL, target_id text NOT NULL, channel_id text NOT NULL,
    captured_at timestamptz NOT NULL, {", ".join(f"{name} bigint" for name in POST_NAMES)}
)
"""
INSERT_SNAPSHOTS = f"""
INSERT INTO post_analytics
SELECT 'reads-' || number % {WORKSPACES}, 'post-' || lpad(number::text, 7, '0'),
    'target-' || lpad(number::text, 7, '0') || '-' || target,
    'channel-' || (number / {WORKSPACES} + target) % {CHANNELS},
    now() - answer * interval '6 hours', {_VALUES}
FROM generate_series(0, {ANSWERS - 1}) AS answer, generate_series(0, $1::bigint - 1) AS number,
    generate_series(0, 1) AS target
"""
INDEX_SNAPSHOTS = "CREATE INDEX ON post_analytics (post_id, captured_at)"
LATEST_SNAPSHOTS = f"""
SELECT DISTINCT ON (target_id) target_id, channel_id, captured_at, {", ".join(POST_NAMES)}
FROM post_analytics WHERE post_id = $1 AND workspace_id = $2
ORDER BY target_id, captured_at DESC
"""
"""The seeds' own question: the latest snapshot of each target of a post."""
