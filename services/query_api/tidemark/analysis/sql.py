"""The SQL that series, totals and insights share. Values come as parameters, names from the metric columns. Pure.

Every statement reads one workspace: it is the first thing that rows are found by. Snapshots lie in months, and an
event that was told twice with two times in two of them. So rows of one event count once over all months (`once`, or
FINAL); the generation is part of every sorting key, so that no other generation is merged with the active one.
"""

from __future__ import annotations

from enum import Enum

from schemas.metric_sql import rated
from schemas.metrics import POST_METRICS, Metric

GENERATION = "(SELECT argMax(generation, version) FROM active_generations)"
# These queries get more threads than look-ups: they read many rows, and few of them run at once.
SETTINGS = "SETTINGS do_not_merge_across_partitions_select_final = 0, max_threads = 2"
AT = "toUnixTimestamp64Milli(captured_at)"


class Scope(Enum):
    """The targets whose figures a statement reads."""

    TARGETS = "targets"  # of the targets in {targets:Array(String)}
    CHANNEL = "channel"  # of the channel in {channel:String}
    CHANNELS = "channels"  # of the channels in {channels:Array(String)}
    WORKSPACE = "workspace"


def figure(metric: Metric) -> str:
    """A column as an integer: durations in milliseconds."""
    # Made wider first: the largest duration times 1000 needs more than 64 bits.
    return f"toInt64(toDecimal128({metric.name}, 3) * 1000)" if metric.is_duration else metric.name


LIVE_CHANNELS = """
    SELECT channel_id FROM channels_store FINAL WHERE workspace_id = {workspace:String} AND is_deleted = 0
"""


WITHIN = {
    Scope.TARGETS: "AND target_id IN {targets:Array(String)}",
    Scope.CHANNEL: "AND channel_id = {channel:String}",
    Scope.CHANNELS: "AND channel_id IN {channels:Array(String)}",
    Scope.WORKSPACE: "",
}
"""SQL: a row of a target is within a scope."""


def listed(scope: Scope, columns: str) -> str:
    """The targets that the catalog holds on channels that it holds."""
    return f"""
    SELECT {columns} FROM latest_post_metrics_store FINAL
    WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND is_listed = 1 {WITHIN[scope]}
        AND channel_id IN ({LIVE_CHANNELS})
"""


def once(columns: str, where: str) -> str:
    """SQL of the snapshots of targets, each event once, in the form of its newest version.

    FINAL merges all rows of the workspace by texts before it filters; numbering the rows that are left costs half.

    Args:
        columns: what to select, beside `target_id` and `event_id`.
        where: further conditions, which may depend on the target only.
    """
    return f"""
    SELECT * EXCEPT (telling) FROM (
        SELECT target_id, event_id, {columns},
            row_number() OVER (PARTITION BY target_id, event_id ORDER BY version DESC) AS telling
        FROM post_snapshots_store
        WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} {where}
    )
    WHERE telling = 1
"""


def span(start: str) -> str:
    """SQL: an answer lies between a parameter and {end}."""
    return (
        f"captured_at >= fromUnixTimestamp64Milli({{{start}:Int64}}, 'UTC')"
        " AND captured_at < fromUnixTimestamp64Milli({end:Int64}, 'UTC')"
    )


def published_totals(scope: Scope) -> str:
    """SQL of sums of the latest figures of targets published in a span, and of those published in the span before.

    A row begins with whether it is of the span itself. Then follow, as texts, the sums of engagements and of bases over
    the targets that have an engagement rate; then for each metric its sum as text and the number of targets with it.
    """
    engaged, base = rated()
    sums = ", ".join(f"toString(sum(toInt128({figure(metric)}))), count({metric.name})" for metric in POST_METRICS)
    columns = ", ".join(("published_at", *(metric.name for metric in POST_METRICS)))
    return f"""
SELECT toUnixTimestamp64Milli(published_at) >= {{start:Int64}} AS is_current,
    toString(sumIf({engaged}, {base} > 0)), toString(sum({base})), {sums}
FROM ({listed(scope, columns)}
    AND published_at >= fromUnixTimestamp64Milli({{before:Int64}}, 'UTC')
    AND published_at < fromUnixTimestamp64Milli({{end:Int64}}, 'UTC')
)
GROUP BY is_current
{SETTINGS}
"""
