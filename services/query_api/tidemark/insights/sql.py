"""The SQL of insights. Values come as server-side parameters, names only from the metric columns. Pure.

See `analysis.sql` for how snapshots are read. `quantileExactInclusive(0.5)` is the median: the middle of an odd number
of values, the mean of the two middle values of an even number.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.tiers import RULES, Rule
from services.query_api.tidemark.analysis.sql import GENERATION, LIVE_CHANNELS
from services.query_api.tidemark.insights.measures import Part

_SETTINGS = "SETTINGS do_not_merge_across_partitions_select_final = 0, max_threads = 2"
_AT = "toUnixTimestamp64Milli(captured_at)"
_PUBLISHED = "toUnixTimestamp64Milli(assumeNotNull(published_at))"
_MEDIAN = "quantileExactInclusive(0.5)"
_OF_CHANNEL = "({channel:String} = '' OR channel_id = {channel:String})"


def _instant(name: str) -> str:
    return f"fromUnixTimestamp64Milli({{{name}:Int64}}, 'UTC')"


# Targets that were published within the span, on channels that the catalog holds.
_TARGETS = f"""
    SELECT target_id, post_id, channel_id, {_PUBLISHED} AS published FROM latest_post_metrics_store FINAL
    WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND is_listed = 1
        AND published_at >= {_instant("start")} AND published_at < {_instant("end")}
        AND {_OF_CHANNEL} AND channel_id IN ({LIVE_CHANNELS})
"""


def _figure(parts: Sequence[Part]) -> str:
    """The latest figure of a group of answers, as Nullable(Int64); a sum takes unknown parts as 0, unless all are."""
    found = [
        # In a tuple, since argMax passes over nulls: a count that was hidden last is unknown.
        f"argMaxIf(tuple({part.name}), (at, event_id), bitTest(spoken, {part.place})"
        f" AND NOT bitTest(ranged, {part.place})).1"
        for part in parts
    ]
    if len(found) == 1:
        return found[0]
    total = ", ".join(f"ifNull({one}, 0)" for one in found)
    unknown = " AND ".join(f"isNull({one})" for one in found)
    return f"arraySum([{total}]) + if({unknown}, NULL, 0)"


def _aged(parts: Sequence[Part]) -> str:
    """SQL of a row for each target and age that it has an answer for: ids, `published`, `number` in {ages}, `figure`.

    An answer counts for one or two of the ages, so that groups stay small however many ages are asked.
    """
    columns = ", ".join(part.name for part in parts)
    return f"""
    SELECT target_id, post_id, channel_id, published, number,
        CAST({_figure(parts)}, 'Nullable(Int64)') AS figure
    FROM (
        SELECT target_id, event_id, {_AT} AS at, spoken, ranged, {columns} FROM post_snapshots_store FINAL
        WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION}
            AND captured_at >= {_instant("start")} AND captured_at <= {_instant("last")}
    ) AS answers
    INNER JOIN ({_TARGETS}) AS targets USING (target_id)
    ARRAY JOIN arrayFilter(
        place -> at <= published + {{ages:Array(Int64)}}[place]
            AND at > published + {{ages:Array(Int64)}}[place] - {{withins:Array(Int64)}}[place],
        arrayEnumerate({{ages:Array(Int64)}})
    ) AS number
    GROUP BY target_id, post_id, channel_id, published, number
"""


def best_times(parts: Sequence[Part]) -> str:
    """SQL of (cell, posts, targets, median of figure against usual).

    {ages} holds one age. {edges} holds the instants at which the hours of the span begin, and {cells} the cell of each.
    """
    return f"""
SELECT transform(roundDown(published, {{edges:Array(Int64)}}), {{edges:Array(Int64)}}, {{cells:Array(Int64)}}, -1)
        AS cell, uniqExact(post_id), count(), {_MEDIAN}(figure / usual)
FROM (
    SELECT post_id, published, figure,
        {_MEDIAN}(figure) OVER (PARTITION BY channel_id) AS usual,
        count(figure) OVER (PARTITION BY channel_id) AS counted
    FROM ({_aged(parts)})
    WHERE figure IS NOT NULL
)
WHERE counted >= {{least:UInt32}} AND usual > 0
GROUP BY cell
{_SETTINGS}
"""


def decay(parts: Sequence[Part]) -> str:
    """SQL of (number of the age in {ages}, posts, targets, median share of the figure at the last age)."""
    return f"""
SELECT number, uniqExact(post_id), count(), {_MEDIAN}(figure / whole)
FROM (
    SELECT post_id, number, figure,
        maxIf(figure, number = length({{ages:Array(Int64)}})) OVER (PARTITION BY target_id) AS whole
    FROM ({_aged(parts)})
)
WHERE whole > 0 AND figure IS NOT NULL
GROUP BY number
ORDER BY number
{_SETTINGS}
"""


def unusual_posts(parts: Sequence[Part]) -> str:
    """SQL of (target, post, channel, published, number of the age, figure, usual, targets behind the usual).

    A target is compared at the greatest of {ages} that it has reached, the farthest from the usual first.
    """
    return f"""
SELECT target_id, post_id, channel_id, published, number, figure, usual, counted
FROM (
    SELECT target_id, post_id, channel_id, published, number, figure,
        arrayCount(age -> published + age <= {{now:Int64}}, {{ages:Array(Int64)}}) AS reached,
        {_MEDIAN}(figure) OVER (PARTITION BY channel_id, number) AS usual,
        count(figure) OVER (PARTITION BY channel_id, number) AS counted
    FROM ({_aged(parts)})
    WHERE figure IS NOT NULL AND published + {{ages:Array(Int64)}}[number] <= {{now:Int64}}
)
WHERE number = reached AND counted >= {{least:UInt32}} AND usual > 0
    AND greatest(toFloat64(figure), usual) >= {{floor:Int64}}
    AND (figure >= usual * {{factor:Float64}} OR figure * {{factor:Float64}} <= usual)
ORDER BY if(figure > 0, abs(log(figure / usual)), inf) DESC, target_id
LIMIT {{limit:UInt32}}
{_SETTINGS}
"""


def falls(parts: Sequence[Part]) -> str:
    """SQL of (target, post, channel, place of the metric, figure before, figure after, captured_at, event).

    Successive lifetime figures of one target in answers of the span, the latest fall first.
    """
    said = ", ".join(f"(toUInt8({part.place}), {part.name})" for part in parts)
    return f"""
SELECT target_id, post_id, channel_id, place, fall.1, fall.2, fall.3, fall.4
FROM (
    SELECT target_id, place, arraySort(groupArray((at, event_id, value))) AS sorted,
        arrayJoin(arrayFilter(pair -> pair.2 < pair.1, arrayMap(
            (old, new) -> (old.3, new.3, new.1, new.2), arrayPopBack(sorted), arrayPopFront(sorted)
        ))) AS fall
    FROM (
        SELECT target_id, {_AT} AS at, event_id, said.1 AS place, assumeNotNull(said.2) AS value
        FROM post_snapshots_store FINAL
        ARRAY JOIN arrayFilter(
            entry -> bitTest(spoken, entry.1) AND NOT bitTest(ranged, entry.1) AND isNotNull(entry.2), [{said}]
        ) AS said
        WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION}
            AND captured_at >= {_instant("start")} AND captured_at < {_instant("end")}
    )
    GROUP BY target_id, place
) AS fallen
INNER JOIN (
    SELECT target_id, post_id, channel_id FROM latest_post_metrics_store FINAL
    WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND is_listed = 1
        AND {_OF_CHANNEL} AND channel_id IN ({LIVE_CHANNELS})
) AS listed USING (target_id)
ORDER BY fall.3 DESC, fall.4, target_id, place
LIMIT {{limit:UInt32}}
{_SETTINGS}
"""


def _quiet(rule: Rule) -> str:
    """SQL: the target's last answer is older than the interval of its age; an age without polls is never late."""
    tiers = ", ".join(
        f"age < {until}, silence > toInt64({interval} / {{speed:Float64}})" for until, interval in rule.tiers
    )
    return f"multiIf({tiers}, 0)"


def quiet_targets(common: Rule) -> str:
    """SQL of the ids of targets whose last answer is older than their interval, the longest silence first."""
    rules = ", ".join(f"platform = '{name}', {_quiet(rule)}" for name, rule in sorted(RULES.items()))
    return f"""
SELECT target_id
FROM (
    SELECT target_id, channel_id, {{now:Int64}} - {_PUBLISHED} AS age,
        {{now:Int64}} - ifNull({_AT}, {_PUBLISHED}) AS silence
    FROM latest_post_metrics_store FINAL
    WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND is_listed = 1
        AND published_at IS NOT NULL AND {_OF_CHANNEL}
) AS targets
INNER JOIN (
    SELECT channel_id, platform FROM channels_store FINAL
    WHERE workspace_id = {{workspace:String}} AND is_deleted = 0 AND status = 'active'
) AS channels USING (channel_id)
WHERE multiIf({rules}, {_quiet(common)})
ORDER BY silence DESC, target_id
LIMIT {{limit:UInt32}}
{_SETTINGS}
"""
