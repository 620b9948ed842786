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


# Tells targets apart while rows are sorted, at half of what their ids cost.
_NUMBER = "cityHash64(target_id)"
_ANSWERS = f"FROM post_snapshots_store WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION}"


def _figure(parts: Sequence[Part]) -> str:
    """The latest figure of a group of answers, as Nullable(Int64); a sum takes unknown parts as 0, unless all are."""
    # 0 is unknown, and a figure of 0 or more is one more: argMax passes over nulls, yet a count that was hidden last is
    # unknown.
    latest = {
        part.place: f"argMaxIf(ifNull({part.name} + ({part.name} >= 0), 0), turn,"
        f" bitTest(spoken, {part.place}) AND NOT bitTest(ranged, {part.place}))"
        for part in parts
    }
    known = " OR ".join(f"{one} != 0" for one in latest.values())
    return f"if({known}, {' + '.join(f'{one} - ({one} > 0)' for one in latest.values())}, NULL)"


def _answers(parts: Sequence[Part]) -> str:
    """SQL of the answers about the span's targets, each event once: `target_id`, `at`, `turn`, bit masks and columns.

    Turns are in the order of (captured_at, event_id). One order of rows, which is nearly the table's own, gives both:
    the newest version of each event comes first, and the place of an event among the target's events decides between
    answers of one millisecond.
    """
    columns = ", ".join(part.name for part in parts)
    return f"""
        SELECT target_id, at, at * 1048576 + place AS turn, spoken, ranged, {columns}
        FROM (
            SELECT target_id, {AT} AS at, spoken, ranged, {columns}, event_id,
                row_number() OVER stored AS place, lagInFrame(event_id) OVER stored AS event_before
            {_ANSWERS} AND target_id IN (SELECT target_id FROM ({_TARGETS}))
            WINDOW stored AS (
                PARTITION BY target_id ORDER BY event_id, version DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            )
        )
        WHERE (place = 1 OR event_id != event_before) AND at >= {{start:Int64}} AND at <= {{last:Int64}}
    """


def _aged(parts: Sequence[Part]) -> str:
    """SQL of a row for each target and age that it has an answer for: ids, `published`, `number` in {ages}, `figure`.

    An answer counts for the first age that it did not come after, if it came late enough, and perhaps for the next age.
    So groups stay small however many ages are asked.
    """
    columns = ", ".join(part.name for part in parts)
    soon = [
        f"at > published + {{ages:Array(Int64)}}[{place}] - {{withins:Array(Int64)}}[{place}]"
        for place in ("first", "first + 1")
    ]
    return f"""
    SELECT target_id, post_id, channel_id, published, number, figure
    FROM (
        SELECT target_id, number, CAST({_figure(parts)}, 'Nullable(Int64)') AS figure
        FROM (
            SELECT target_id, turn, spoken, ranged, {columns}, published,
                arrayFirstIndex(age -> published + age >= at, {{ages:Array(Int64)}}) AS first,
                {soon[0]} AS counts, first < length({{ages:Array(Int64)}}) AND {soon[1]} AS counts_next
            FROM ({_answers(parts)}) AS answers
            INNER JOIN (SELECT target_id, published FROM ({_TARGETS})) AS published_targets USING (target_id)
            WHERE first > 0 AND (counts OR counts_next)
        )
        ARRAY JOIN arrayFilter(place -> place > 0, [first * counts, (first + 1) * counts_next]) AS number
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
SELECT target.1, target.2, channel_id, target.3, number, target.4 AS figure, usual, counted
FROM (
    SELECT channel_id, number, {_MEDIAN}(figure) AS usual, count() AS counted,
        groupArrayIf((target_id, post_id, published, assumeNotNull(figure)), number = arrayCount(
            age -> published + age <= {{now:Int64}}, {{ages:Array(Int64)}}
        )) AS targets
    FROM ({_aged(parts)})
    WHERE figure IS NOT NULL AND published + {{ages:Array(Int64)}}[number] <= {{now:Int64}}
    GROUP BY channel_id, number
    HAVING counted >= {{least:UInt32}} AND usual > 0
)
ARRAY JOIN targets AS target
WHERE greatest(toFloat64(figure), usual) >= {{floor:Int64}}
    AND (figure >= usual * {{factor:Float64}} OR figure * {{factor:Float64}} <= usual)
ORDER BY if(figure > 0, abs(log(figure / usual)), inf) DESC, target.1
LIMIT {{limit:UInt32}}
{SETTINGS}
"""


def falls(parts: Sequence[Part]) -> str:
    """SQL of (target, post, channel, place of the metric, figure before, figure after, captured_at, event).

    Successive lifetime figures of one target in answers of the span, the latest fall first.
    """
    columns = ", ".join(part.name for part in parts)
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
    before = "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
    # Nearly no target has a fall. All rows of the span are read in the order of their times to find those that may:
    # between a figure and a smaller one that came later, some row falls, whatever further rows of old versions lie
    # between. Rows of one time have no order of their own.
    suspects = f"""
        SELECT target FROM (
            SELECT *, anyLast(at) OVER before AS old_at, {old}
            FROM (SELECT {_NUMBER} AS target, {AT} AS at, spoken, ranged, {columns} {_ANSWERS} AND {span("start")})
            WINDOW before AS (PARTITION BY target ORDER BY at {before})
        )
        WHERE at = old_at OR {" OR ".join(falls.values())}
    """
    listed = f"""
        SELECT target_id, post_id, channel_id FROM latest_post_metrics_store FINAL
        WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND is_listed = 1
            AND {_OF_CHANNEL} AND channel_id IN ({LIVE_CHANNELS})
    """
    answers = once(
        f"{AT} AS at, spoken, ranged, {columns}",
        f"AND target_id IN (SELECT target_id FROM ({listed}) WHERE {_NUMBER} IN ({suspects}))",
    )
    return f"""
SELECT target_id, post_id, channel_id, fall.1, fall.2, fall.3, at, event_id
FROM (
    SELECT target_id, at, event_id, arrayJoin(arrayFilter(one -> one.4 > 0, [{fallen}])) AS fall
    FROM (
        SELECT *, {old} FROM ({answers})
        WHERE at >= {{start:Int64}} AND at < {{end:Int64}}
        WINDOW before AS (PARTITION BY target_id ORDER BY at, event_id {before})
    )
    WHERE {" OR ".join(falls.values())}
) AS fallen
INNER JOIN ({listed}) AS listed USING (target_id)
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
