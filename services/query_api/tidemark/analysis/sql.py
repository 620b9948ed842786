"""The SQL of series and totals. Values come as server-side parameters, names only from the metric columns. Pure.

Every statement reads one workspace: it is the first thing that rows are found by. Snapshots lie in months, and an
event that was told twice with two times in two of them, so that FINAL merges over months here; the generation is part
of every sorting key, so that no other generation is merged with the active one.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from schemas.metrics import POST_METRICS, Kind, Metric
from services.query_api.tidemark.analysis.figures import Chosen
from services.runtime.clock import MILLIS_PER_DAY

GENERATION = "(SELECT argMax(generation, version) FROM active_generations)"
# One thread for look-ups, a few here: these read much, and few of them run at once.
_SETTINGS = (
    "SETTINGS do_not_merge_across_partitions_select_final = 0, optimize_aggregation_in_order = 1, max_threads = 2"
)
_AT = "toUnixTimestamp64Milli(captured_at)"


class Scope(Enum):
    """Whose figures."""

    TARGETS = "targets"  # of the targets in {targets:Array(String)}
    CHANNEL = "channel"  # of the channel in {channel:String}
    WORKSPACE = "workspace"


def figure(metric: Metric) -> str:
    """A column as an integer: durations in milliseconds."""
    # Wider first: the largest duration times 1000 leaves 64 bits.
    return f"toInt64(toDecimal128({metric.name}, 3) * 1000)" if metric.is_duration else metric.name


LIVE_CHANNELS = """
    SELECT channel_id FROM channels_store FINAL WHERE workspace_id = {workspace:String} AND is_deleted = 0
"""


def listed(scope: Scope, columns: str) -> str:
    """The targets that the catalog holds on channels that it holds."""
    within = {
        Scope.TARGETS: "AND target_id IN {targets:Array(String)}",
        Scope.CHANNEL: "AND channel_id = {channel:String}",
        Scope.WORKSPACE: "",
    }[scope]
    return f"""
    SELECT {columns} FROM latest_post_metrics_store FINAL
    WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND is_listed = 1 {within}
        AND channel_id IN ({LIVE_CHANNELS})
"""


def _span(start: str) -> str:
    return (
        f"captured_at >= fromUnixTimestamp64Milli({{{start}:Int64}}, 'UTC')"
        " AND captured_at < fromUnixTimestamp64Milli({end:Int64}, 'UTC')"
    )


def _post_answers(chosen: Chosen, scope: Scope, *, is_growth: bool) -> str:
    """What was said of each target up to the end: by metric an array of (at, event, ranged, figure)."""
    # What grew within the span was answered within it.
    grown = (
        f"""AND target_id IN (
        SELECT target_id FROM post_snapshots_store
        WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND {_span("start")}
    )"""
        if is_growth
        else ""
    )
    return f"""
    SELECT target_id AS id, {_seen(chosen, "bitTest(ranged, {})")}
    FROM post_snapshots_store FINAL
    WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION}
        AND captured_at < fromUnixTimestamp64Milli({{end:Int64}}, 'UTC')
        AND target_id IN ({listed(scope, "target_id")}) {grown}
    GROUP BY generation, workspace_id, target_id
"""


def _channel_answers(chosen: Chosen, scope: Scope) -> str:
    """As `_post_answers`, of channels' own lifetime figures."""
    within = "AND channel_id = {channel:String}" if scope is Scope.CHANNEL else ""
    return f"""
    SELECT channel_id AS id, {_seen(chosen, "0")}
    FROM channel_snapshots_store FINAL
    WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND period = 'lifetime' {within}
        AND captured_at < fromUnixTimestamp64Milli({{end:Int64}}, 'UTC') AND channel_id IN ({LIVE_CHANNELS})
    GROUP BY generation, workspace_id, channel_id
"""


def _seen(chosen: Chosen, ranged: str) -> str:
    return ", ".join(
        f"groupArrayIf(({_AT}, event_id, toUInt8({ranged.format(place)}), {figure(metric)}), bitTest(spoken, {place}))"
        f" AS seen_{place}"
        for place, metric in chosen.metrics
    )


def _stood(place: int) -> str:
    """A target's figures in the order in which they came to count: past the first lifetime one, no ranged ones."""
    return (
        f"arraySort(x -> (x.1, x.2), seen_{place}) AS sorted_{place},"
        f" arrayFirstIndex(x -> x.3 = 0, sorted_{place}) AS lifetime_{place},"
        f" arrayFilter((x, n) -> lifetime_{place} = 0 OR n < lifetime_{place} OR x.3 = 0,"
        f" sorted_{place}, arrayEnumerate(sorted_{place})) AS stood_{place}"
    )


def _stood_changes(place: int) -> str:
    """(metric, at, by how much the figure that counts changed, by how much the targets that have one)."""
    return f"""({_stood(place)},
            arrayMap(
                (x, old) -> (toUInt8({place}), x.1, toInt128(ifNull(x.4, 0)) - ifNull(old, 0),
                    toInt64(isNotNull(x.4)) - isNotNull(old)),
                stood_{place}, arrayPopBack(arrayPushFront(arrayMap(x -> x.4, stood_{place}), NULL))
            )).4"""


def _differences(place: int, metric: Metric) -> str:
    """(metric, at, growth, 1) of every difference within the span."""
    # A lifetime figure is not compared with one of a range of dates.
    is_known = "if(n > 1, old.3 = x.3, counts_from_zero)"
    amount = "toInt128(assumeNotNull(x.4)) - if(n > 1, assumeNotNull(old.4), 0)"
    if metric.kind is Kind.GAUGE:
        is_known = "n > 1"
    else:
        amount = f"greatest({amount}, 0)"
    is_known = is_known.replace(
        "counts_from_zero",
        f"ifNull(published_at >= {{start:Int64}} OR x.1 - published_at <= {MILLIS_PER_DAY}, 0)",
    )
    return f"""({_stood(place)},
            arrayFilter(x -> isNotNull(x.4), stood_{place}) AS known_{place},
            arrayMap(
                (x, old, n) -> (toUInt8({place}), x.1, {amount}, toInt64({is_known})),
                known_{place}, arrayPopBack(arrayPushFront(known_{place}, known_{place}[1])),
                arrayEnumerate(known_{place})
            )).5"""


def _by_bucket(parts: Iterable[str], answers: str, where: str = "") -> str:
    return f"""
SELECT step.1, if(step.2 < {{start:Int64}}, {{start:Int64}} - 1, roundDown(step.2, {{edges:Array(Int64)}})) AS bucket,
    toString(sum(step.3)), sum(step.4)
FROM (
    SELECT arrayJoin(arrayConcat(
        {", ".join(parts)}
    )) AS step
    FROM ({answers}) AS answers
)
{where}
GROUP BY step.1, bucket
{_SETTINGS}
"""


def post_changes(chosen: Chosen, scope: Scope) -> str:
    """How the sum over targets of the figures that count changed: (place of the metric, bucket, amount, count)."""
    return _by_bucket(
        (_stood_changes(place) for place, _ in chosen.metrics), _post_answers(chosen, scope, is_growth=False)
    )


def post_growth(chosen: Chosen, scope: Scope) -> str:
    """What targets grew by: (place of the metric, bucket, amount, differences)."""
    answers = f"""
        SELECT seen.*, toUnixTimestamp64Milli(published_at) AS published_at
        FROM ({_post_answers(chosen, scope, is_growth=True)}) AS seen
        INNER JOIN ({listed(scope, "target_id AS id, published_at")}) AS listed USING (id)
    """
    return _growth(chosen, answers)


def channel_changes(chosen: Chosen, scope: Scope) -> str:
    """As `post_changes`, of channels' own lifetime figures."""
    return _by_bucket((_stood_changes(place) for place, _ in chosen.metrics), _channel_answers(chosen, scope))


def channel_growth(chosen: Chosen, scope: Scope) -> str:
    """As `post_growth`, of channels' own lifetime figures; the first says nothing of growth."""
    answers = f"SELECT *, CAST(NULL, 'Nullable(Int64)') AS published_at FROM ({_channel_answers(chosen, scope)})"
    return _growth(chosen, answers)


def _growth(chosen: Chosen, answers: str) -> str:
    parts = (_differences(place, metric) for place, metric in chosen.metrics)
    return _by_bucket(parts, answers, "WHERE step.2 >= {start:Int64} AND step.4 > 0")


def published_totals(scope: Scope) -> str:
    """Sums of the latest figures of what was published in a span, and of the one before it that ends where it begins.

    Rows: whether it is the span itself, then of each metric its sum as text and how many targets have it.
    """
    sums = ", ".join(f"toString(sum(toInt128({figure(metric)}))), count({metric.name})" for metric in POST_METRICS)
    columns = ", ".join(("published_at", *(metric.name for metric in POST_METRICS)))
    return f"""
SELECT toUnixTimestamp64Milli(published_at) >= {{start:Int64}} AS is_current, {sums}
FROM ({listed(scope, columns)}
    AND published_at >= fromUnixTimestamp64Milli({{before:Int64}}, 'UTC')
    AND published_at < fromUnixTimestamp64Milli({{end:Int64}}, 'UTC')
)
GROUP BY is_current
{_SETTINGS}
"""
