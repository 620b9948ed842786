"""The SQL of posts, targets and channels. Values come as server-side parameters, never as text. Pure.

See `services.query_api.reads.sql` for how tables are read.
"""

from __future__ import annotations

from schemas.metric_sql import rated
from schemas.metrics import CHANNEL_METRICS, INT64_MAX, INT64_MIN, POST_METRICS, POST_NAMES
from services.query_api.reads.sql import GENERATION, figure, millis

_POST_FIGURES = ", ".join(figure(metric) for metric in POST_METRICS)
_CHANNEL_FIGURES = ", ".join(figure(metric) for metric in CHANNEL_METRICS)
_NO_FIGURES = ", ".join("NULL" for _ in POST_METRICS)
_LATEST = f"latest_post_metrics_store FINAL WHERE generation = {GENERATION} AND workspace_id = {{workspace:String}}"
_LISTED = f"{_LATEST} AND is_listed = 1"
_HELD = "posts_store FINAL WHERE workspace_id = {workspace:String} AND is_deleted = 0"
_CHANNELS = "channels_store FINAL WHERE workspace_id = {workspace:String} AND is_deleted = 0"
_IN_PERIOD = (
    f"({millis('published_at')} >= {{from:Int64}} OR {{from:Int64}} = -1)"
    f" AND ({millis('published_at')} < {{to:Int64}} OR {{to:Int64}} = -1)"
)


def _states(posts: str, targets: str) -> str:
    """SQL of the catalog rows (0) of posts, and of the registers (1) of targets with each target's post.

    Args:
        posts: the condition on `post_id`.
        targets: the condition on `target_id`.
    """
    return f"""
SELECT 0, post_id, status, {millis("created_at")}, {millis("published_at")}, {millis("updated_at")}, targets, NULL,
    {_NO_FIGURES}
FROM {_HELD} AND post_id IN {posts}
UNION ALL
SELECT 1, target_id, post_id, NULL, NULL, 0, registers, {millis("captured_at")}, {_POST_FIGURES}
FROM {_LISTED} AND target_id IN {targets}
"""


_IDS = "{ids:Array(String)}"

POSTS = _states(
    _IDS,
    f"(SELECT arrayJoin(JSONExtract(targets, 'Array(Tuple(target_id String))')).1 FROM {_HELD} AND post_id IN {_IDS})",
)
"""Posts by their ids, with the registers of their targets."""

TARGETS = _states(f"(SELECT post_id FROM {_LISTED} AND target_id IN {_IDS})", _IDS)
"""The posts of targets, with the registers of these targets."""

CHANNEL_FIGURES = f"""
SELECT channel_id, period, {millis("period_start")}, {millis("period_end")}, {millis("captured_at")}, registers,
    {_CHANNEL_FIGURES}
FROM latest_channel_metrics_store FINAL
WHERE generation = {GENERATION} AND workspace_id = {{workspace:String}} AND channel_id IN {_IDS}
ORDER BY channel_id, period = 'lifetime' DESC, period_end DESC, period_start DESC
LIMIT {{limit:UInt32}} BY channel_id
"""
"""SQL of channels' latest figures: of their lifetime, and of their latest periods."""

NEWEST_TARGETS = f"""
SELECT channel_id, target_id FROM {_LISTED} AND channel_id IN {{channels:Array(String)}}
    AND {millis("published_at")} >= {{since:Int64}}
ORDER BY published_at DESC, target_id DESC
LIMIT {{newest:UInt32}} BY channel_id
"""
"""The newest targets of each of some channels."""


def _recent_answers(subject: str, kind: str, question: str = "") -> str:
    """SQL of the newest answers about each subject; reads only narrow columns, since it scans all recent events.

    Args:
        question: tells questions apart; the newest answers to each of them are found.
    """
    return f"""
SELECT {subject} AS subject, event_id, http_status, {millis("captured_at")} AS at FROM raw_events_store
PREWHERE workspace_id = {{workspace:String}} AND channel_id IN {{channels:Array(String)}}
    AND captured_at >= fromUnixTimestamp64Milli({{since:Int64}}, 'UTC')
WHERE kind = '{kind}'
ORDER BY at DESC, event_id DESC
LIMIT {{limit:UInt32}} BY subject{question}
"""


_OWNER = "transform(id, {ids:Array(String)}, {owners:Array(String)}, '')"
_OF_ITS_CHANNEL = f"arrayJoin(arrayFilter(id -> {_OWNER} = channel_id, `targets.target_id`))"
TARGET_ANSWERS = _recent_answers(_OF_ITS_CHANNEL, "POST_METRICS")
"""The newest answers about each of some targets, asked of its own channel: also where targets of several channels are
read at once."""

TARGET_ANSWERS_BY_QUESTION = _recent_answers(
    _OF_ITS_CHANNEL,
    "POST_METRICS",
    ", arrayMap(value -> replaceRegexpAll(value, '[0-9,]+', '#'), mapValues(request))",
)
"""The same, of each question; questions differ in more than numbers. A seldom one is found behind many others."""

CHANNEL_ANSWERS = _recent_answers("channel_id", "CHANNEL_METRICS")
"""The newest answers about each of some channels."""

REQUESTS = """
SELECT event_id, endpoint, request, `targets.target_id`, `targets.external_id` FROM raw_events_store FINAL
WHERE workspace_id = {workspace:String} AND event_id IN {ids:Array(String)}
ORDER BY captured_at DESC
LIMIT 1 BY event_id
"""
"""SQL of the calls behind answers, by event id."""

PLACES = """
SELECT event_id, topic, partition, offset FROM raw_events_store FINAL
WHERE workspace_id = {workspace:String} AND event_id IN {ids:Array(String)}
ORDER BY captured_at DESC
LIMIT 1 BY event_id
"""
"""SQL of raw events' places in Kafka, by event id."""

_OF_CHANNEL = "(empty({channels:Array(String)}) OR channel_id IN {channels:Array(String)})"
_OF_PLATFORM = (
    f"channel_id IN (SELECT channel_id FROM {_CHANNELS}"
    " AND ({platform:String} = '' OR platform = {platform:String}))"
)
_WITH_EXTERNAL_ID = (
    "{external:String} = '' OR target_id IN ("
    "SELECT arrayJoin(arrayFilter(target -> target.2 = {external:String},"
    " JSONExtract(targets, 'Array(Tuple(target_id String, external_id String))'))).1"
    f" FROM {_HELD} AND position(targets, {{needle:String}}) > 0)"
)

_WITH_TEXT = (
    "{search:String} = '' OR startsWith(post_id, {search:String}) OR arrayExists("
    "target -> positionCaseInsensitiveUTF8(ifNull(target.1, ''), {search:String}) > 0,"
    " JSONExtract(targets, 'Array(Tuple(content Nullable(String)))'))"
)


def _after(place: str, id_column: str) -> str:
    """The SQL condition for rows behind the last row of the page before: by falling place, then by id."""
    behind = f"{place} < {{at:Int64}} OR ({place} = {{at:Int64}} AND {id_column} > {{after:String}})"
    return f"({{is_first:UInt8}} = 1 OR {behind})"


# Before every published thing, whose place is its instant, or its instant turned over.
_UNPUBLISHED = {False: -1, True: -(2**62)}


def _page(id_column: str, source: str, *, is_rising: bool) -> str:
    """SQL of a page of ids: the newest published first, or the oldest; unpublished ones last."""
    published = millis("published_at")
    return f"""
SELECT {id_column}, ifNull({f"-{published}" if is_rising else published}, {_UNPUBLISHED[is_rising]}) AS place
FROM {source} AND {_IN_PERIOD} AND {_after("place", id_column)}
ORDER BY place DESC, {id_column}
LIMIT {{limit:UInt32}}
"""


_POSTS = (
    f"{_HELD} AND ({_WITH_TEXT}) AND ((empty({{channels:Array(String)}}) AND {{platform:String}} = '')"
    f" OR post_id IN (SELECT post_id FROM {_LISTED} AND {_OF_CHANNEL} AND {_OF_PLATFORM}))"
)
_TARGETS = f"{_LISTED} AND {_OF_CHANNEL} AND {_OF_PLATFORM} AND ({_WITH_EXTERNAL_ID})"

POSTS_PAGES = {is_rising: _page("post_id", _POSTS, is_rising=is_rising) for is_rising in (False, True)}
"""SQL of ids of a workspace's posts, by whether the oldest come first."""

TARGETS_PAGES = {is_rising: _page("target_id", _TARGETS, is_rising=is_rising) for is_rising in (False, True)}
"""SQL of ids of a workspace's targets, likewise."""

CHANNELS_PAGE = f"""
SELECT channel_id FROM {_CHANNELS} AND ({{platform:String}} = '' OR platform = {{platform:String}})
    AND ({{external:String}} = '' OR external_id = {{external:String}}) AND channel_id > {{after:String}}
ORDER BY channel_id
LIMIT {{limit:UInt32}}
"""
"""Ids of a workspace's channels, by id."""

_INTERACTIONS = ("likes", "comments", "shares", "saves")


def _bounded(summed: str) -> str:
    """SQL of a sum limited to 64 bits, as by `schemas.metrics.bounded`."""
    return f"toInt64(least(greatest({summed}, toInt128({INT64_MIN})), toInt128({INT64_MAX})))"


def _sum(figures: str) -> str:
    """SQL of the sum of figures over a post's targets; null when no target has the figure."""
    return f"if(count({figures}) = 0, NULL, {_bounded(f'sum(toInt128({figures}))')})"


def _ordered(number: str) -> str:
    """SQL of an integer with the order of a float: the float's bits, inverted except the sign for negative floats."""
    bits = f"reinterpretAsInt64(toFloat64({number}))"
    return f"if({bits} >= 0, {bits}, bitXor({bits}, {INT64_MAX}))"


def _ranked(metric: str) -> str:
    """SQL of the integer by which posts are ranked; null for posts that are not listed."""
    if metric == "engagements":
        parts = [f"ifNull(toInt128({_sum(name)}), 0)" for name in _INTERACTIONS]
        known = " + ".join(f"count({name})" for name in _INTERACTIONS)
        return f"if({known} = 0, NULL, {_bounded(' + '.join(parts))})"
    if metric == "engagement_rate":
        # Only targets that have a rate count, as in `schemas.metrics.total_engagement_rate`.
        engaged, base = rated()
        rate = f"toFloat64(sumIf({engaged}, {base} > 0)) / toFloat64(sum({base}))"
        return f"if(sum({base}) = 0, NULL, {_ordered(rate)})"
    column = POST_METRICS[POST_NAMES.index(metric)]
    if not column.summable:
        return f"if(count({metric}) = 1, any({figure(column)}), NULL)"
    return _sum(figure(column))


def top_posts(metric: str, *, is_rising: bool) -> str:
    """The SQL that ranks posts by a metric; a post's figure is the sum over its targets on the channels asked for.

    Args:
        metric: a common post column, `engagements` or `engagement_rate`; must be checked, since it becomes SQL.
        is_rising: the least first.
    """
    # The bits turned over: the same integers in the other order, and none of them out of range.
    ranked = f"bitNot({_ranked(metric)})" if is_rising else _ranked(metric)
    return f"""
SELECT post_id, ranked FROM (
    SELECT post_id, {ranked} AS ranked FROM {_LISTED} AND captured_at IS NOT NULL
        AND {_OF_CHANNEL} AND {_OF_PLATFORM}
        AND post_id IN (SELECT post_id FROM {_HELD} AND {_IN_PERIOD} AND ({_WITH_TEXT}))
    GROUP BY post_id
)
WHERE ranked IS NOT NULL AND {_after("ranked", "post_id")}
ORDER BY ranked DESC, post_id
LIMIT {{limit:UInt32}}
"""
