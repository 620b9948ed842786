"""The SQL of insights. Values come as server-side parameters, names only from the metric columns. Pure.

See `analysis.sql` for how snapshots are read. `quantileExactInclusive(0.5)` is the median: the middle of an odd number
of values, the mean of the two middle values of an even number.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.tiers import RULES, Rule
from services.query_api.tidemark.analysis.sql import AT, GENERATION, LIVE_CHANNELS, SETTINGS, once, span
from services.query_api.tidemark.insights.measures import Part

_PUBLISHED = "toUnixTimestamp64Milli(assumeNotNull(published_at))"
_MEDIAN = "quantileExactInclusive(0.5)"
_OF_CHANNEL = "(empty({channels:Array(String)}) OR channel_id IN {channels:Array(String)})"


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
    speaks = {part.place: f"bitTest(spoken, {part.place}) AND NOT bitTest(ranged, {part.place})" for part in parts}
    # Value and null apart, since argMax passes over nulls: a count that was hidden last is unknown.
    known = {part.place: f"argMaxIf(isNotNull({part.name}), number_of_answer, {speaks[part.place]})" for part in parts}
    found = [f"argMaxIf(ifNull({part.name}, 0), number_of_answer, {speaks[part.place]})" for part in parts]
    return f"if({' OR '.join(known.values())}, {' + '.join(found)}, NULL)"


def _aged(parts: Sequence[Part]) -> str:
    """SQL of a row for each target and age that it has an answer for: ids, `published`, `number` in {ages}, `figure`.

    An answer counts for one or two of the ages, so that groups stay small however many ages are asked. Answers are
    numbered in the order of (captured_at, event_id): the latest is found by one number instead of a time and a text.
    """
    columns = ", ".join(part.name for part in parts)
    answers = once(
        f"{AT} AS at, spoken, ranged, {columns}",
        f"AND target_id IN (SELECT target_id FROM ({_TARGETS}))",
    )
    return f"""
    SELECT target_id, post_id, channel_id, published, number, figure
    FROM (
        SELECT target_id, number, CAST({_figure(parts)}, 'Nullable(Int64)') AS figure
        FROM (
            SELECT *, row_number() OVER (PARTITION BY target_id ORDER BY at, event_id) AS number_of_answer
            FROM (
                SELECT *, arrayFilter(
                    place -> at <= published + {{ages:Array(Int64)}}[place]
                        AND at > published + {{ages:Array(Int64)}}[place] - {{withins:Array(Int64)}}[place],
                    arrayEnumerate({{ages:Array(Int64)}})
                ) AS numbers
                FROM ({answers}) AS answers
                INNER JOIN (SELECT target_id, published FROM ({_TARGETS})) AS published_targets USING (target_id)
                WHERE at >= {{start:Int64}} AND at <= {{last:Int64}}
            )
            WHERE notEmpty(numbers)
        )
        ARRAY JOIN numbers AS number
        GROUP BY target_id, number
    ) AS aged
    INNER JOIN ({_TARGETS}) AS targets USING (target_id)
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
{SETTINGS}
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
{SETTINGS}
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
{SETTINGS}
"""


def falls(parts: Sequence[Part]) -> str:
    """SQL of (target, post, channel, place of the metric, figure before, figure after, captured_at, event).

    Successive lifetime figures of one target in answers of the span, the latest fall first.
    """
    columns = ", ".join(part.name for part in parts)
    answers = once(
        f"{AT} AS at, spoken, ranged, {columns}",
        # A counter that fell within the span has an answer within the span.
        f"""AND target_id IN (
            SELECT target_id FROM post_snapshots_store
            WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND {span("start")}
        )""",
    )
    known = {
        part.place: f"if(bitTest(spoken, {part.place}) AND NOT bitTest(ranged, {part.place}), {part.name}, NULL)"
        for part in parts
    }
    old = ", ".join(f"anyLast({one}) OVER before AS old_{place}" for place, one in known.items())
    # A figure that is unknown, or the first, is no fall: a comparison with null counts as none. Nearly no answer has a
    # fall, so arrays are made for those that have one alone.
    falls = {place: f"ifNull({one} < old_{place}, 0)" for place, one in known.items()}
    fallen = ", ".join(
        f"(toUInt8({place}), ifNull(old_{place}, 0), ifNull({one}, 0), {falls[place]})" for place, one in known.items()
    )
    return f"""
SELECT target_id, post_id, channel_id, fall.1, fall.2, fall.3, at, event_id
FROM (
    SELECT target_id, at, event_id, arrayJoin(arrayFilter(one -> one.4 > 0, [{fallen}])) AS fall
    FROM (
        SELECT *, {old} FROM ({answers})
        WHERE at >= {{start:Int64}} AND at < {{end:Int64}}
        WINDOW before AS (
            PARTITION BY target_id ORDER BY at, event_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        )
    )
    WHERE {" OR ".join(falls.values())}
) AS fallen
INNER JOIN (
    SELECT target_id, post_id, channel_id FROM latest_post_metrics_store FINAL
    WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND is_listed = 1
        AND {_OF_CHANNEL} AND channel_id IN ({LIVE_CHANNELS})
) AS listed USING (target_id)
ORDER BY at DESC, event_id, target_id, fall.1
LIMIT {{limit:UInt32}}
{SETTINGS}
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
        {{now:Int64}} - ifNull({AT}, {_PUBLISHED}) AS silence
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
{SETTINGS}
"""
