"""The SQL of series and totals. Values come as server-side parameters, names only from the metric columns. Pure.

Every statement reads one workspace: it is the first thing that rows are found by. Snapshots lie in months, and an
event that was told twice with two times in two of them, so that FINAL merges over months here; the generation is part
of every sorting key, so that no other generation is merged with the active one.
"""

from __future__ import annotations

from enum import Enum

from schemas.metric_sql import RATE_METRICS, rated
from schemas.metrics import POST_METRICS, Kind, Metric
from services.query_api.tidemark.analysis.figures import Chosen
from services.runtime.clock import MILLIS_PER_DAY

GENERATION = "(SELECT argMax(generation, version) FROM active_generations)"
# These queries get more threads than look-ups: they read many rows, and few of them run at once.
_SETTINGS = (
    "SETTINGS do_not_merge_across_partitions_select_final = 0, optimize_aggregation_in_order = 1, max_threads = 2"
)
_AT = "toUnixTimestamp64Milli(captured_at)"


class Scope(Enum):
    """The targets whose figures a statement reads."""

    TARGETS = "targets"  # of the targets in {targets:Array(String)}
    CHANNEL = "channel"  # of the channel in {channel:String}
    WORKSPACE = "workspace"


def figure(metric: Metric) -> str:
    """A column as an integer: durations in milliseconds."""
    # Made wider first: the largest duration times 1000 needs more than 64 bits.
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
    """SQL of the figures in answers up to the span's end: a row for each target, metric and answer."""
    # A target that grew within the span has an answer within the span.
    grown = (
        f"""AND target_id IN (
        SELECT target_id FROM post_snapshots_store
        WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND {_span("start")}
    )"""
        if is_growth
        else ""
    )
    return f"""
    SELECT target_id AS id, {_AT} AS at, event_id, bitTest(ranged, said.1) AS is_ranged, {_said(chosen)}
    FROM post_snapshots_store FINAL
    WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION}
        AND captured_at < fromUnixTimestamp64Milli({{end:Int64}}, 'UTC')
        AND target_id IN ({listed(scope, "target_id")}) {grown}
"""


def _channel_answers(chosen: Chosen, scope: Scope) -> str:
    """SQL of channels' own lifetime figures, in the form of `_post_answers`."""
    within = "AND channel_id = {channel:String}" if scope is Scope.CHANNEL else ""
    return f"""
    SELECT channel_id AS id, {_AT} AS at, event_id, toUInt8(0) AS is_ranged, {_said(chosen)}
    FROM channel_snapshots_store FINAL
    WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND period = 'lifetime' {within}
        AND captured_at < fromUnixTimestamp64Milli({{end:Int64}}, 'UTC') AND channel_id IN ({LIVE_CHANNELS})
"""


def _said(chosen: Chosen) -> str:
    """SQL of (place of the metric, figure) for each metric that an answer holds, each on a row of its own.

    One expression serves all metrics: with an expression for each metric, parsing took longer than reading the rows.
    """
    entries = ", ".join(f"(toUInt8({place}), {figure(metric)})" for place, metric in chosen.metrics)
    return f"arrayJoin(arrayFilter(entry -> bitTest(spoken, entry.1), [{entries}])) AS said"


# The figures that count, in order: after the first lifetime figure, figures of a range of dates count no more.
_STOOD = """arraySort(entry -> (entry.1, entry.2), groupArray((at, event_id, is_ranged, said.2))) AS sorted,
        arrayFirstIndex(entry -> entry.3 = 0, sorted) AS lifetime,
        arrayFilter(
            (entry, number) -> lifetime = 0 OR number < lifetime OR entry.3 = 0, sorted, arrayEnumerate(sorted)
        ) AS stood"""

# (at, change of the figure that counts, change of the number of targets with such a figure).
_CHANGES = """arrayMap(
            (entry, old) -> (
                entry.1,
                toInt128(ifNull(entry.4, 0)) - ifNull(old, 0),
                toInt64(isNotNull(entry.4)) - isNotNull(old)
            ),
            stood,
            arrayPopBack(arrayPushFront(arrayMap(entry -> entry.4, stood), NULL))
        )"""


def _differences(chosen: Chosen) -> str:
    """SQL of (at, growth, whether the growth is known) for each figure against the one before, the first against 0."""
    gauges = [place for place, metric in chosen.metrics if metric.kind is Kind.GAUGE]
    return f"""arrayMap(
            (entry, old, number) -> (
                entry.1,
                greatest(
                    toInt128(assumeNotNull(entry.4)) - if(number > 1, assumeNotNull(old.4), 0),
                    if(has({gauges}::Array(UInt8), place), toInt128('{-(2**127)}'), 0)
                ),
                toInt64(
                    if(
                        number > 1,
                        -- A lifetime figure is not compared with one of a range of dates.
                        old.3 = entry.3,
                        ifNull(published >= {{start:Int64}} OR entry.1 - published <= {MILLIS_PER_DAY}, 0)
                    )
                )
            ),
            arrayFilter(entry -> isNotNull(entry.4), stood) AS known,
            arrayPopBack(arrayPushFront(known, known[1])),
            arrayEnumerate(known)
        )"""


_BUCKET = "if(step.1 < {start:Int64}, {start:Int64} - 1, roundDown(step.1, {edges:Array(Int64)}))"


def _by_bucket(answers: str, steps: str, where: str = "", join: str = "") -> str:
    return f"""
SELECT place, {_BUCKET} AS bucket, toString(sum(step.2)), sum(step.3)
{_steps(answers, steps, where, join)}
GROUP BY place, bucket
{_SETTINGS}
"""


def _steps(answers: str, steps: str, where: str = "", join: str = "") -> str:
    """SQL of a FROM clause with a row for each step: its target (`id`), its metric (`place`), and `step` itself."""
    return f"""
FROM (
    SELECT id, place, arrayJoin({steps}) AS step
    FROM (
        SELECT id, said.1 AS place, {_STOOD}
        FROM ({answers})
        GROUP BY id, place
    ) AS answered
    {join}
)
{where}
"""


def _rated_by_bucket(chosen: Chosen, steps: str, *, is_growth: bool) -> str:
    """SQL of the changes of the sums behind a rate over several targets: (bucket, engagements, base, targets).

    A target's figures are read together, since every answer may change which figure is the base, and whether there is
    a base.
    """
    names = {metric.name: place for place, metric in chosen.metrics if metric.name in RATE_METRICS}
    within = (
        "" if is_growth else "OVER (PARTITION BY id ORDER BY bucket ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    )
    of_bucket = ", ".join(
        f"sumIf(step.2, place = {place}) AS amount_{name}, sumIf(step.3, place = {place}) AS known_{name}"
        for name, place in names.items()
    )
    stood = ", ".join(
        f"amount_{name} AS stood_{name}, known_{name} AS count_{name}"
        if is_growth
        else f"sum(amount_{name}) {within} AS stood_{name}, sum(known_{name}) {within} AS count_{name}"
        for name in names
    )
    engaged, base = rated(lambda name: f"if(count_{name} > 0, stood_{name}, NULL)" if name in names else "NULL")
    before = "(PARTITION BY id ORDER BY bucket ROWS BETWEEN 1 PRECEDING AND 1 PRECEDING)"
    change = (
        "engaged, base, toInt64(base > 0) AS is_rated"
        if is_growth
        else ", ".join(
            f"{figure} - ifNull(any({figure}) OVER {before}, 0) AS {name}"
            for figure, name in (("engaged", "engaged_by"), ("base", "base_by"), ("toInt64(base > 0)", "is_rated"))
        )
    )
    added = ("engaged", "base") if is_growth else ("engaged_by", "base_by")
    return f"""
SELECT bucket, toString(sum({added[0]})), toString(sum({added[1]})), sum(is_rated)
FROM (
    SELECT bucket, {change}
    FROM (
        SELECT id, bucket, {base} AS base, if(base > 0, {engaged}, toInt128(0)) AS engaged
        FROM (
            SELECT id, bucket, {stood}
            FROM (
                SELECT id, {_BUCKET} AS bucket, {of_bucket}
                {steps}
                GROUP BY id, bucket
            )
        )
    )
)
GROUP BY bucket
{_SETTINGS}
"""


def post_rates(chosen: Chosen, scope: Scope) -> str:
    """SQL of the changes of the sums behind the engagement rate of several targets, by bucket."""
    return _rated_by_bucket(chosen, _steps(_post_answers(chosen, scope, is_growth=False), _CHANGES), is_growth=False)


def post_rate_growth(chosen: Chosen, scope: Scope) -> str:
    """SQL of the sums behind the engagement rate of several targets' growth, by bucket."""
    published = listed(scope, "target_id AS id, toUnixTimestamp64Milli(published_at) AS published")
    steps = _growth_steps(chosen, _post_answers(chosen, scope, is_growth=True), published)
    return _rated_by_bucket(chosen, steps, is_growth=True)


def post_changes(chosen: Chosen, scope: Scope) -> str:
    """SQL of the changes of sums over targets: (place of the metric, bucket, amount, change of the known targets)."""
    return _by_bucket(_post_answers(chosen, scope, is_growth=False), _CHANGES)


def post_growth(chosen: Chosen, scope: Scope) -> str:
    """SQL of the growth of targets: (place of the metric, bucket, amount, number of differences)."""
    published = listed(scope, "target_id AS id, toUnixTimestamp64Milli(published_at) AS published")
    return _growth(chosen, _post_answers(chosen, scope, is_growth=True), published)


def channel_changes(chosen: Chosen, scope: Scope) -> str:
    """SQL of the changes of channels' own lifetime figures, in the form of `post_changes`."""
    return _by_bucket(_channel_answers(chosen, scope), _CHANGES)


def channel_growth(chosen: Chosen, scope: Scope) -> str:
    """SQL of the growth of channels' own lifetime figures, like `post_growth`; a first figure never counts."""
    unpublished = f"SELECT channel_id AS id, CAST(NULL, 'Nullable(Int64)') AS published FROM ({LIVE_CHANNELS})"
    return _growth(chosen, _channel_answers(chosen, scope), unpublished)


def _growth(chosen: Chosen, answers: str, published: str) -> str:
    return f"""
SELECT place, {_BUCKET} AS bucket, toString(sum(step.2)), sum(step.3)
{_growth_steps(chosen, answers, published)}
GROUP BY place, bucket
{_SETTINGS}
"""


def _growth_steps(chosen: Chosen, answers: str, published: str) -> str:
    return _steps(
        answers,
        _differences(chosen),
        "WHERE step.1 >= {start:Int64} AND step.3 > 0",
        f"INNER JOIN ({published}) AS held USING (id)",
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
{_SETTINGS}
"""
