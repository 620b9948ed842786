"""Compares channel windows with the latest figures of channels and targets. Pure.

A stored window is exact for every end with `valid_from < end <= valid_until`. The audit computes the window anew for
the first and the last of these ends, and for the end at which the window was emitted.
"""

from __future__ import annotations

from schemas.metric_sql import rated
from schemas.metrics import (
    CHANNEL_METRICS,
    CHANNEL_NAMES,
    INT64_MAX,
    INT64_MIN,
    POST_METRICS,
    POST_NAMES,
    WINDOW_METRICS,
    Metric,
)
from services.aggregator.audit.checks import (
    GENERATION,
    Check,
    Scope,
    bounded_text,
    differing,
    milliseconds,
    no_texts,
    texts,
    total_text,
)

_RANGES = "['24h', '7d', '28d']"
_LENGTHS = "[86400000, 604800000, 2419200000]"
_DAY = 86_400_000
_HOUR = 3_600_000
# The platform's own days count for a window that ends at most this much later.
_NATIVE_MAX_AGE = 72 * _HOUR
# A channel's freshest answer is searched among periods that ended at most this long ago.
_PERIOD_MEMORY = 38 * _DAY
_NAMES = tuple(metric.name for metric in WINDOW_METRICS)
_FIELDS = (
    "source",
    "window",
    "captured_at",
    *_NAMES,
    "engagements",
    "engagement_rate",
    "views_or_impressions",
    "impressions_or_views",
)
_INTERACTIONS = ("likes", "comments", "shares", "saves")

# The place of each of a channel's own figures in `values`; `_SHOWN` are those that a window shows under the same name.
_PLACES = {metric.name: place for place, metric in enumerate(CHANNEL_METRICS, 1)}
_SHOWN = (
    "views",
    "impressions",
    "reach",
    "likes",
    "comments",
    "shares",
    "saves",
    "watch_time_seconds",
    "profile_views",
)
_GAUGES = ("followers", "following", "posts_count")


def _value(metric: Metric) -> str:
    if metric.is_duration:
        return f"toInt128(toDecimal128({metric.name}, 3) * 1000)"
    return f"toInt128({metric.name})"


def _native_text(name: str) -> str:
    """SQL of one figure of a platform's own window, as a text in the form of the stored column."""
    if name in _GAUGES:
        return f"gauges[{_GAUGES.index(name) + 1}]"
    told = "NULL"
    if name in _SHOWN:
        figure = f"native[{_PLACES[name]}]"
        told = f"toString(toDecimal128({figure}, 3) / 1000)" if name.endswith("_seconds") else f"toString({figure})"
    # A figure that the platform does not report is the sum over the posts.
    return told if name not in POST_NAMES else f"ifNull({told}, posts[{POST_NAMES.index(name) + 1}])"


def _native_count(name: str) -> str:
    """SQL of one kind of interactions of a platform's own window, as a number."""
    return f"ifNull(native[{_PLACES[name]}], toInt128OrNull(posts[{POST_NAMES.index(name) + 1}]))"


def _short(rate: str) -> str:
    """SQL of a rate as text, with only as many digits as do not depend on the order of a sum."""
    return f"toString(toFloat32({rate}))"


def _windows(scope: Scope) -> str:
    ends = f"""
        SELECT workspace_id, channel_id, range_name, length, source, starts, ends, own_captured_at, told,
            arrayJoin(arrayDistinct(arrayFilter(
                end -> end IS NOT NULL AND end > ifNull(valid_from_ms, 0) AND (valid_until_ms IS NULL
                    OR end <= valid_until_ms),
                [valid_from_ms + 1, valid_until_ms, if(source = 'channel', NULL, ends),
                    if(valid_until_ms IS NULL, greatest({{now:Int64}}, ends), NULL)]))) AS instant
        FROM (
            SELECT workspace_id, channel_id, `range` AS range_name, transform(`range`, {_RANGES}, {_LENGTHS}, 0)
                AS length, source, {milliseconds("window_start")} AS starts, {milliseconds("window_end")} AS ends,
                {milliseconds("valid_from")} AS valid_from_ms, {milliseconds("valid_until")} AS valid_until_ms,
                captured_at AS own_captured_at,
                arrayConcat({texts(WINDOW_METRICS)}, [toString(engagements), {_short("engagement_rate")},
                    toString(views_or_impressions), toString(impressions_or_views)]) AS told
            FROM channel_totals_store FINAL
            WHERE {GENERATION} AND {scope.where("channel_id")} AND is_deleted = 0
        )"""
    targets = f"""
        SELECT workspace_id, channel_id, {milliseconds("published_at")} AS at, {", ".join(m.name for m in POST_METRICS)}
        FROM latest_post_metrics_store FINAL
        WHERE {GENERATION} AND {scope.where("channel_id")} AND is_listed AND published_at IS NOT NULL"""
    sums = ", ".join(total_text(metric, "1") for metric in POST_METRICS)
    interactions = " + ".join(f"sum(toInt128(ifNull({name}, 0)))" for name in _INTERACTIONS)
    any_interaction = " OR ".join(f"count({name}) > 0" for name in _INTERACTIONS)
    engaged, base = rated()
    rate = f"if(sum({base}) = 0, NULL, toFloat64(sumIf({engaged}, {base} > 0)) / toFloat64(sum({base})))"
    measured = f"""
        SELECT workspace_id, channel_id, count() AS targets_measured FROM latest_post_metrics_store FINAL
        WHERE {GENERATION} AND {scope.where("channel_id")} AND is_listed AND captured_at IS NOT NULL
        GROUP BY workspace_id, channel_id"""
    values = ", ".join(_value(metric) for metric in CHANNEL_METRICS)
    own = f"""
        SELECT workspace_id, channel_id,
            groupArrayIf((begins, finishes, values), period = 'day' AND has_views) AS days,
            groupArrayIf((begins, finishes, values), period = 'window') AS wholes,
            groupArray((finishes, captured_at)) AS answers,
            anyIf([{", ".join(f"toString({name})" for name in _GAUGES)}], period = 'lifetime') AS lifetime
        FROM (
            SELECT workspace_id, channel_id, period, ifNull({milliseconds("period_start")}, 0) AS begins,
                ifNull({milliseconds("period_end")}, 0) AS finishes, [{values}] AS values,
                views IS NOT NULL OR impressions IS NOT NULL AS has_views, captured_at,
                {", ".join(_GAUGES)}
            FROM latest_channel_metrics_store FINAL WHERE {GENERATION} AND {scope.where("channel_id")}
        ) GROUP BY workspace_id, channel_id"""
    view, impression, reach = _PLACES["views"], _PLACES["impressions"], _PLACES["reach"]
    counts = [_native_count(name) for name in _INTERACTIONS]
    all_null = " AND ".join(f"{figure} IS NULL" for figure in counts)
    added = " + ".join(f"ifNull({figure}, 0)" for figure in counts)
    own_engagements = f"native[{_PLACES['engagements']}]"
    engagements = (
        f"if({own_engagements} IS NULL, if({all_null}, NULL, {bounded_text(added)}), toString({own_engagements}))"
    )
    # Of the platform's figures alone: it reports every interaction that is known.
    told = [f"native[{_PLACES[name]}] IS NOT NULL" for name in _INTERACTIONS]
    is_told = " AND ".join(f"({own} OR {figure} IS NULL)" for own, figure in zip(told, counts, strict=True))
    is_own = f"({' OR '.join(told)}) AND {is_told}"
    bases = ", ".join(
        f"ifNull(native[{place}], 0) > 0, toFloat64(native[{place}])" for place in (impression, reach, view)
    )
    within = f"least(greatest({added}, toInt128('{INT64_MIN}')), toInt128('{INT64_MAX}'))"
    own_rate = f"toFloat64(ifNull({own_engagements}, {within})) / multiIf({bases}, NULL)"
    native_rate = _short(f"if({own_engagements} IS NOT NULL OR ({is_own}), {own_rate}, toFloat64OrNull(posts_rate))")
    # `walk` goes back from the last day. The day before a day is the one that ends where that day begins; without such
    # a day, the last one that ends within an hour of that instant.
    before = f"""if(indexOf(known_ends, walk.1) > 0, indexOf(known_ends, walk.1),
                    arrayFirstIndex(e -> abs(e - walk.1) <= {_HOUR}, known_ends))"""
    judged = f"""
        WITH
            arrayReverseSort(p -> (p.2, p.1), arrayFilter(p -> p.2 <= instant AND instant - p.2 <= {_NATIVE_MAX_AGE}
                AND abs(p.2 - p.1 - length) <= {_HOUR} AND (p.3[{view}] IS NOT NULL OR p.3[{impression}] IS NOT NULL),
                wholes)) AS fitting,
            arrayReverseSort(p -> p.2, arrayFilter(p -> p.2 <= instant, days)) AS known,
            arrayMap(p -> p.2, known) AS known_ends,
            arrayMax(known_ends) AS last,
            arrayFold((walk, step) -> if(walk.2 = 0 OR {before} = 0,
                (walk.1, toUInt8(0), walk.3),
                (known[{before}].1, toUInt8(1), arrayPushBack(walk.3, toUInt64({before})))),
                range(toUInt32(intDiv(length, {_DAY}))), (last, toUInt8(1), CAST([], 'Array(UInt64)'))) AS walked,
            notEmpty(known) AND instant - last <= {_NATIVE_MAX_AGE} AND walked.2 AS has_days,
            arrayMap(i -> known[i].3, walked.3) AS covered,
            arrayFilter(p -> p.1 = walked.1 AND p.2 = last, wholes) AS exact,
            multiIf(notEmpty(exact), exact[1].3[{reach}], length = {_DAY}, covered[1][{reach}], NULL) AS days_reach,
            arrayMap(m -> if(m = {reach}, days_reach, if(arrayAll(v -> v[m] IS NULL, covered), NULL,
                least(greatest(arraySum(arrayMap(v -> ifNull(v[m], 0), covered)), toInt128('{INT64_MIN}')),
                    toInt128('{INT64_MAX}')))), range(1, {len(CHANNEL_NAMES) + 1})) AS summed_days,
            notEmpty(fitting) OR has_days AS is_native,
            if(notEmpty(fitting), fitting[1].3, summed_days) AS native
        SELECT workspace_id, channel_id, range_name, length, source, starts, ends, own_captured_at, told, instant,
            answers, lifetime, is_native, native,
            multiIf(notEmpty(fitting), fitting[1].1, has_days, walked.1, instant - length) AS sum_start,
            multiIf(notEmpty(fitting), fitting[1].2, has_days, last, instant) AS sum_end
        FROM ({ends}) AS base LEFT JOIN ({own}) AS own USING (workspace_id, channel_id)"""
    inside = f"""
        SELECT judged.workspace_id AS workspace_id, judged.channel_id AS channel_id, range_name, instant, [{sums},
            if({any_interaction}, {bounded_text(interactions)}, NULL), toString({rate}),
            {bounded_text("sum(toInt128(ifNull(views, impressions)))")},
            {bounded_text("sum(toInt128(ifNull(impressions, views)))")}] AS sums
        FROM ({judged}) AS judged INNER JOIN ({targets}) AS targets
            ON judged.workspace_id = targets.workspace_id AND judged.channel_id = targets.channel_id
        WHERE at < sum_end AND at >= sum_start
        GROUP BY workspace_id, channel_id, range_name, instant"""
    rows = f"""
        WITH
            if(empty(lifetime), {no_texts(len(_GAUGES))}, lifetime) AS gauges,
            if(empty(sums), {no_texts(len(POST_METRICS) + 4)}, sums) AS posts,
            posts[{len(POST_METRICS) + 2}] AS posts_rate,
            source != 'channel' AND instant = ends AS is_told_end
        SELECT workspace_id, channel_id AS key,
            concat(channel_id, ' ', range_name, ' at ', toString(fromUnixTimestamp64Milli(instant, 'UTC')))
                AS label,
            arrayConcat([source, if(source = 'channel', concat(toString(starts), '..', toString(ends)),
                toString(ends - starts)), if(is_told_end, toString(own_captured_at), '')], told) AS stored,
            arrayConcat(
                [multiIf(is_native, 'channel', targets_measured > 0, 'posts', 'none'),
                    if(is_native, concat(toString(sum_start), '..', toString(sum_end)), toString(length)),
                    if(is_told_end, if(arrayExists(a -> a.1 = 0 OR a.1 >= instant - {_PERIOD_MEMORY}, answers),
                        toString(arrayMax(arrayMap(a -> a.2,
                            arrayFilter(a -> a.1 = 0 OR a.1 >= instant - {_PERIOD_MEMORY}, answers)))), NULL), '')],
                if(is_native, [{", ".join(_native_text(name) for name in _NAMES)}, {engagements},
                        {native_rate}, toString(ifNull(native[{view}], native[{impression}])),
                        toString(ifNull(native[{impression}], native[{view}]))],
                    arrayConcat(arraySlice(posts, 1, {len(POST_METRICS)}), gauges, [NULL],
                        [posts[{len(POST_METRICS) + 1}], {_short("toFloat64OrNull(posts_rate)")}],
                        arraySlice(posts, {len(POST_METRICS) + 3}, 2)))) AS recomputed
        FROM ({judged}) AS judged
        LEFT JOIN ({inside}) AS inside USING (workspace_id, channel_id, range_name, instant)
        LEFT JOIN ({measured}) AS measured USING (workspace_id, channel_id)"""
    return differing(len(_FIELDS), rows)


def _keys(scope: Scope) -> str:
    return f"""
        SELECT DISTINCT workspace_id, channel_id FROM channel_totals_store
        WHERE {GENERATION} AND {scope.where("channel_id")}"""


# Each row holds several arrays with every figure of a month's days: half a megabyte, and a channel has some ten rows.
WINDOWS = Check("channel_totals", _FIELDS, _windows, keys_per_statement=48, keys=_keys)


def _held(scope: Scope) -> str:
    rows = f"""
        SELECT workspace_id, channel_id AS key, concat(channel_id, ' ', range_name) AS label,
            [if(countIf(side = 0) > 0, 'present', 'absent'), anyIf(platform, side = 0)] AS stored,
            [if(countIf(side = 1) > 0, 'present', 'absent'), anyIf(platform, side = 1)] AS recomputed
        FROM (
            SELECT workspace_id, channel_id, `range` AS range_name, 0 AS side, toString(platform) AS platform
            FROM channel_totals_store FINAL
            WHERE {GENERATION} AND {scope.where("channel_id")} AND is_deleted = 0
            UNION ALL
            SELECT workspace_id, channel_id, arrayJoin({_RANGES}), 1, toString(platform)
            FROM channels_store FINAL WHERE {scope.where("channel_id")} AND is_deleted = 0
        ) GROUP BY workspace_id, channel_id, range_name"""
    return differing(len(HELD.fields), rows)


HELD = Check("channel_totals", ("row", "platform"), _held)
