"""The SQL of every question. Values come as server-side parameters, never as text. Pure.

Tables are read with FINAL and, for lookups, equality on the sorting key; FINAL merges within a partition only (see
`clickhouse`), so what may lie in two months is told apart by `LIMIT 1 BY`. Instants come as milliseconds and durations
as whole milliseconds, so that every column is an integer or a string.
"""

from __future__ import annotations

from schemas.metrics import CHANNEL_METRICS, POST_METRICS, Metric

GENERATION = "(SELECT argMax(generation, version) FROM active_generations)"
"""The rebuild generation that is read."""


def millis(column: str) -> str:
    """A column of time as milliseconds."""
    return f"toUnixTimestamp64Milli({column})"


def figure(metric: Metric) -> str:
    """A metric's column as an integer, durations as milliseconds."""
    # Wider first: the largest duration times 1000 leaves 64 bits, and would fail the whole batch.
    return f"toInt64(toDecimal128({metric.name}, 3) * 1000)" if metric.is_duration else metric.name


_POST_FIGURES = ", ".join(figure(metric) for metric in POST_METRICS)
_CHANNEL_FIGURES = ", ".join(figure(metric) for metric in CHANNEL_METRICS)

POSTS = f"""
SELECT 0, workspace_id, post_id, status, {millis("created_at")}, {millis("published_at")}, {millis("updated_at")},
    targets
FROM posts_store FINAL
WHERE (workspace_id, post_id) IN {{keys:Array(Tuple(String, String))}} AND is_deleted = 0
UNION ALL
SELECT 1, workspace_id, post_id, '', NULL, NULL, 0, targets
FROM post_totals_store FINAL
WHERE generation = {GENERATION}
    AND (workspace_id, post_id) IN {{keys:Array(Tuple(String, String))}} AND is_deleted = 0
"""
"""Catalog (0) and figures (1) of posts by (workspace, post)."""

CHANNEL_WINDOWS = f"""
SELECT workspace_id, channel_id, `range`, source, {millis("window_start")}, {millis("window_end")},
    {millis("valid_from")}, {millis("valid_until")}, engagements, views_or_impressions, impressions_or_views,
    followers,
    {_POST_FIGURES}
FROM channel_totals_store FINAL
WHERE generation = {GENERATION}
    AND (workspace_id, channel_id, `range`) IN {{keys:Array(Tuple(String, String, String))}} AND is_deleted = 0
"""
"""Stored window totals by (workspace, channel, range)."""

WINDOW_TARGETS = f"""
SELECT {millis("published_at")}, {_POST_FIGURES}
FROM latest_post_metrics_store FINAL
WHERE generation = {GENERATION} AND workspace_id = {{workspace:String}} AND channel_id = {{channel:String}}
    AND is_listed = 1 AND {millis("published_at")} >= {{start:Int64}} AND {millis("published_at")} < {{end:Int64}}
"""
"""Figures of a channel's targets published in a window."""

CHANNEL_MEASURED = f"""
SELECT 1 FROM latest_post_metrics_store FINAL
WHERE generation = {GENERATION} AND workspace_id = {{workspace:String}} AND channel_id = {{channel:String}}
    AND is_listed = 1 AND captured_at IS NOT NULL
LIMIT 1
"""
"""One row when any target of a channel was ever measured."""

CHANNEL_PERIODS = f"""
SELECT period, {millis("period_start")}, {millis("period_end")}, {_CHANNEL_FIGURES}
FROM latest_channel_metrics_store FINAL
WHERE generation = {GENERATION} AND workspace_id = {{workspace:String}} AND channel_id = {{channel:String}}
    AND (period = 'lifetime' OR {millis("period_end")} >= {{oldest:Int64}})
"""
"""A channel's latest figures of each period that can matter for a window."""

# All figures as they stood at a row: of the answers up to it that spoke of a metric, lifetime ones first, the newest.
# The engine takes longer to analyse a statement than to run it, so this is one window over arrays and not one for each
# metric. Answers are compared by their place in the target's order, a number, which is quicker than by time and id.
# Figures are wrapped in tuples because argMax skips nulls, and a hidden count is one.
_METRICS = f"range({len(POST_METRICS)})"
_AS_THEY_STOOD = f"""arrayMap(held -> held.1, argMaxIfForEach(
            arrayMap(value -> tuple(value), [{_POST_FIGURES}]),
            arrayMap(index -> place + if(bitTest(ranged, index), 0, 4294967296), {_METRICS}),
            arrayMap(index -> bitTest(spoken, index), {_METRICS})
        ) OVER upto)"""
_ROW_ID = "concat(event_id, ':', target_id)"


def _snapshots(targets: str, limit: str) -> str:
    """Snapshots of some targets as they stood, newest first; the figures are an array, in the order of the metrics.

    Args:
        targets: an array of target ids, or a subquery of them in brackets.
        limit: the LIMIT clause.
    """
    return f"""
SELECT event_id, target_id, {millis("captured_at")}, stood
FROM (
    SELECT event_id, target_id, captured_at,
        {_AS_THEY_STOOD} AS stood
    FROM (
        SELECT *, row_number() OVER (PARTITION BY target_id ORDER BY captured_at, event_id) AS place
        FROM (
            SELECT * FROM post_snapshots_store
            WHERE generation = {GENERATION} AND workspace_id = {{workspace:String}} AND target_id IN {targets}
            ORDER BY version DESC LIMIT 1 BY target_id, event_id
        )
    )
    WINDOW upto AS (
        PARTITION BY target_id ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    )
)
WHERE {millis("captured_at")} >= {{since:Int64}}
ORDER BY captured_at DESC, target_id, {_ROW_ID}
{limit}
"""


_LISTED = f"""
SELECT target_id FROM latest_post_metrics_store FINAL
WHERE generation = {GENERATION} AND workspace_id = {{workspace:String}} AND is_listed = 1
    AND channel_id IN (
        SELECT channel_id FROM channels_store FINAL WHERE workspace_id = {{workspace:String}} AND is_deleted = 0
    )
    AND ({{channel:String}} = '' OR channel_id = {{channel:String}})
"""
# Only targets with a row among the newest need their whole history.
_NEWEST = f"""
SELECT target_id FROM (
    SELECT target_id, captured_at, event_id
    FROM (
        SELECT target_id, captured_at, event_id FROM post_snapshots_store
        WHERE generation = {GENERATION} AND workspace_id = {{workspace:String}}
            AND captured_at >= fromUnixTimestamp64Milli({{since:Int64}}, 'UTC') AND target_id IN ({_LISTED})
        ORDER BY version DESC LIMIT 1 BY target_id, event_id
    )
    ORDER BY captured_at DESC, target_id, {_ROW_ID}
    LIMIT {{limit:UInt32}}
)
"""

WORKSPACE_SNAPSHOTS = _snapshots(f"({_NEWEST})", "LIMIT {limit:UInt32}")
"""The newest snapshots of a workspace's targets, or of one channel's."""

TARGET_SNAPSHOTS = _snapshots("{targets:Array(String)}", "LIMIT {limit:UInt32} BY target_id")
"""The newest snapshots of given targets, each with its own limit."""

TARGET_CHANNELS = f"""
SELECT target_id, channel_id FROM latest_post_metrics_store FINAL
WHERE generation = {GENERATION} AND workspace_id = {{workspace:String}} AND target_id IN {{targets:Array(String)}}
    AND is_listed = 1
"""
"""The channel of each target, by the catalog."""

RAW_EVENTS = f"""
SELECT event_id, channel_id, platform, kind, endpoint, request, `targets.target_id`, `targets.post_id`,
    `targets.external_id`, http_status, base64Encode(body), {millis("captured_at")}, origin
FROM raw_events_store FINAL
WHERE workspace_id = {{workspace:String}} AND event_id IN {{events:Array(String)}}
ORDER BY captured_at DESC
LIMIT 1 BY event_id
"""
"""Answers as received, by event id."""

RAW_SIZES = """
SELECT event_id, max(length(body)) FROM raw_events_store
WHERE workspace_id = {workspace:String} AND event_id IN {events:Array(String)}
GROUP BY event_id
"""
"""How long payloads are, in bytes, by event id."""

TARGET_REGISTERS = f"""
SELECT target_id, registers, {millis("captured_at")}, {_POST_FIGURES}
FROM latest_post_metrics_store FINAL
WHERE generation = {GENERATION} AND workspace_id = {{workspace:String}} AND target_id IN {{targets:Array(String)}}
"""
"""The latest figures of targets, each with the answer that it is from."""

TARGET_POSTS = f"""
SELECT workspace_id, target_id, post_id FROM latest_post_metrics_store FINAL
WHERE generation = {GENERATION} AND is_listed = 1
    AND (workspace_id, target_id) IN {{keys:Array(Tuple(String, String))}}
"""
"""The post of each target by (workspace, target), by the catalog."""

_SCORED = f"""
FROM latest_post_metrics_store FINAL
WHERE generation = {GENERATION} AND workspace_id = {{workspace:String}} AND channel_id = {{channel:String}}
    AND is_listed = 1 AND captured_at IS NOT NULL
    AND {millis("published_at")} >= {{start:Int64}} AND {millis("published_at")} < {{end:Int64}}
"""

SCORED_TARGETS = f"""
SELECT target_id, views, impressions, likes, comments, shares, saves
{_SCORED}
    AND target_id IN (
        SELECT arrayJoin(
            arrayFilter(
                target -> target.2 = 'published',
                JSONExtract(targets, 'Array(Tuple(target_id String, status String))')
            )
        ).1
        FROM posts_store FINAL
        WHERE workspace_id = {{workspace:String}} AND is_deleted = 0 AND post_id IN (SELECT post_id {_SCORED})
    )
"""
"""What a channel's scores are made of: its published, measured targets of a span."""

CHANNEL_FIGURES = f"""
SELECT period, {millis("period_start")}, {millis("period_end")}, {millis("captured_at")}, registers,
    {_CHANNEL_FIGURES}
FROM latest_channel_metrics_store FINAL
WHERE generation = {GENERATION} AND workspace_id = {{workspace:String}} AND channel_id = {{channel:String}}
ORDER BY period = 'lifetime' DESC, period_end DESC, period_start DESC
LIMIT {{limit:UInt32}}
"""
"""A channel's latest figures: of its lifetime, and of its latest periods."""

_CHANNEL_STOOD = ",\n    ".join(
    f"(argMaxIf(tuple({figure(metric)}), (captured_at, event_id), bitTest(spoken, {index}))).1"
    for index, metric in enumerate(CHANNEL_METRICS)
)

_CHANNEL_SAID = ", ".join(
    f"argMaxIf(event_id, (captured_at, event_id), bitTest(spoken, {index}))" for index in range(len(CHANNEL_METRICS))
)

CHANNEL_BEFORE = f"""
SELECT period, {millis("period_start")}, {millis("period_end")}, [{_CHANNEL_SAID}],
    {_CHANNEL_STOOD}
FROM (
    SELECT * FROM channel_snapshots_store
    WHERE generation = {GENERATION} AND workspace_id = {{workspace:String}} AND channel_id = {{channel:String}}
        AND {millis("captured_at")} < {{since:Int64}}
    ORDER BY version DESC LIMIT 1 BY event_id, period, period_start, period_end
)
GROUP BY period, period_start, period_end
ORDER BY period = 'lifetime' DESC, period_end DESC, period_start DESC
LIMIT {{limit:UInt32}}
"""
"""A channel's figures as they stood before an instant, and the answer of each: of its lifetime, and of its latest
periods."""

CHANNEL_SNAPSHOTS = f"""
SELECT event_id, {millis("captured_at")}, period, {millis("period_start")}, {millis("period_end")}, spoken,
    {_CHANNEL_FIGURES}
FROM (
    SELECT * FROM channel_snapshots_store
    WHERE generation = {GENERATION} AND workspace_id = {{workspace:String}} AND channel_id = {{channel:String}}
        AND {millis("captured_at")} >= {{since:Int64}} AND {millis("captured_at")} < {{until:Int64}}
        AND ({millis("captured_at")}, event_id) > ({{after_at:Int64}}, {{after_event:String}})
    ORDER BY version DESC LIMIT 1 BY event_id, period, period_start, period_end
)
ORDER BY captured_at, event_id
LIMIT {{limit:UInt32}}
"""
"""What each answer of a span said of a channel, oldest first; of a page, after the last event of the one before."""

NEWEST_CHANNEL_EVENTS = f"""
SELECT DISTINCT event_id, {millis("captured_at")} AS at FROM channel_snapshots_store
WHERE generation = {GENERATION} AND workspace_id = {{workspace:String}} AND channel_id = {{channel:String}}
ORDER BY at DESC, event_id DESC
LIMIT {{limit:UInt32}}
"""
"""The newest answers that spoke of a channel."""

RAW_ANSWERS = f"""
SELECT event_id, {millis("captured_at")} AS at, origin, endpoint, request FROM raw_events_store FINAL
WHERE workspace_id = {{workspace:String}} AND event_id IN {{events:Array(String)}}
ORDER BY captured_at DESC
LIMIT 1 BY event_id
"""
"""What was asked, and why, by event id."""

RAW_BODIES = """
SELECT event_id, base64Encode(body) FROM raw_events_store FINAL
WHERE workspace_id = {workspace:String} AND event_id IN {events:Array(String)}
ORDER BY captured_at DESC
LIMIT 1 BY event_id
"""
"""Payloads as received, by event id."""
