"""The SQL of changes and of growth of figures, by bucket, in one pass over the answers. Pure.

Answers of a target lie in the order of (captured_at, event_id). A window over this order gives each figure the figure
before it, so that no list of a target's answers is built: of two million answers, that took most of the time.

A row of a statement's result begins with the bucket; for each chosen metric follow the sum as text and a count. With
`is_rated` follow the sums behind an engagement rate over several targets: engagements, bases, targets with a rate.
"""

from __future__ import annotations

from schemas.metric_sql import RATE_METRICS, rated
from schemas.metrics import Kind
from services.query_api.tidemark.analysis.figures import Chosen
from services.query_api.tidemark.analysis.sql import (
    AT,
    GENERATION,
    LIVE_CHANNELS,
    SETTINGS,
    WITHIN,
    Scope,
    figure,
    listed,
    once,
    span,
)
from services.runtime.clock import MILLIS_PER_DAY

_BEFORE = "WINDOW before AS (PARTITION BY id ORDER BY at, event_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
_LEAST = f"toInt128('{-(2**127)}')"


def spoken(scope: Scope) -> str:
    """SQL of two bit masks over the metrics: what answers of targets spoke of, and of what as of a range of dates."""
    return f"""
SELECT groupBitOr(spoken), groupBitOr(ranged) FROM post_snapshots_store
WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} {WITHIN[scope]}
{SETTINGS}
"""


def post_changes(chosen: Chosen, scope: Scope, ranged: int, *, is_rated: bool) -> str:
    """SQL of the changes of sums over targets: (bucket, of each metric: amount, change of the known targets, ...).

    Args:
        ranged: the metrics of which any answer holds figures of a range of dates, as a bit mask.
    """
    answers = _post_answers(chosen, ranged, f"AND target_id IN ({listed(scope, 'target_id')})")
    return _changes(chosen, answers, is_rated=is_rated)


def post_growth(chosen: Chosen, scope: Scope, ranged: int, *, is_rated: bool) -> str:
    """SQL of the growth of targets: (bucket, of each metric: amount, number of differences, ...).

    {opens} holds the starts of the windows that the growth is told for: a first figure counts from 0 if the target was
    published in the window of the answer.
    """
    published = listed(scope, "target_id AS id, toUnixTimestamp64Milli(published_at) AS published")
    # A target that grew within the span has an answer within the span.
    grown = f"""AND target_id IN (
            SELECT target_id FROM post_snapshots_store
            WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND {span("start")}
        )"""
    return _growth(chosen, _post_answers(chosen, ranged, grown), published, ranged, is_rated=is_rated)


def channel_changes(chosen: Chosen, scope: Scope) -> str:
    """SQL of the changes of channels' own lifetime figures, in the form of `post_changes`."""
    return _changes(chosen, _channel_answers(chosen, scope), is_rated=False)


def channel_growth(chosen: Chosen, scope: Scope) -> str:
    """SQL of the growth of channels' own lifetime figures, like `post_growth`; a first figure never counts."""
    unpublished = f"SELECT channel_id AS id, CAST(NULL, 'Nullable(Int64)') AS published FROM ({LIVE_CHANNELS})"
    return _growth(chosen, _channel_answers(chosen, scope), unpublished, 0, is_rated=False)


def _post_answers(chosen: Chosen, ranged: int, where: str) -> str:
    """SQL of answers up to the span's end: `stands`, a mask of the figures that count, and a column for each metric.

    After the first lifetime figure, figures of a range of dates count no more.
    """
    columns = ", ".join(f"{figure(metric)} AS figure_{place}" for place, metric in chosen.metrics)
    answers = f"""
    SELECT target_id AS id, event_id, at, spoken, ranged, {_names(chosen)}
    FROM ({once(f"{AT} AS at, spoken, ranged, {columns}", where)})
    WHERE at < {{end:Int64}}
"""
    if not _mask(chosen) & ranged:
        return f"SELECT id, event_id, at, spoken AS stands, toUInt32(0) AS lifetimes, {_names(chosen)} FROM ({answers})"
    known = " + ".join(f"bitShiftLeft(toUInt32(isNotNull(figure_{place})), {place})" for place, _ in chosen.metrics)
    return f"""
    SELECT id, event_id, at, bitAnd(spoken, bitNot(bitAnd(ranged, held))) AS stands,
        bitAnd(bitAnd(spoken, bitNot(ranged)), {known}) AS lifetimes, {_names(chosen)}
    FROM (
        SELECT *, groupBitOr(bitAnd(spoken, bitNot(ranged))) OVER before AS held FROM ({answers}) {_BEFORE}
    )
"""


def _channel_answers(chosen: Chosen, scope: Scope) -> str:
    """SQL of channels' own lifetime figures, in the form of `_post_answers`."""
    # Targets have no figures of a channel.
    within = WITHIN[scope] if scope is not Scope.TARGETS else ""
    columns = ", ".join(f"{figure(metric)} AS figure_{place}" for place, metric in chosen.metrics)
    return f"""
    SELECT channel_id AS id, event_id, {AT} AS at, spoken AS stands, toUInt32(0) AS lifetimes, {columns}
    FROM channel_snapshots_store FINAL
    WHERE workspace_id = {{workspace:String}} AND generation = {GENERATION} AND period = 'lifetime' {within}
        AND captured_at < fromUnixTimestamp64Milli({{end:Int64}}, 'UTC') AND channel_id IN ({LIVE_CHANNELS})
"""


def _changes(chosen: Chosen, answers: str, *, is_rated: bool) -> str:
    """SQL of the changes of the figure that counts, and of the number of targets with such a figure."""
    places = [place for place, _ in chosen.metrics]
    old = ", ".join(
        f"anyLast(if(bitTest(stands, {place}), ifNull(figure_{place}, 0), NULL)) OVER before AS old_{place},"
        f" anyLast(if(bitTest(stands, {place}), isNotNull(figure_{place}), NULL)) OVER before AS was_{place}"
        for place in places
    )
    steps = ", ".join(
        f"if(bitTest(stands, {place}), toInt128(ifNull(figure_{place}, 0)) - ifNull(old_{place}, 0), 0)"
        f" AS amount_{place},"
        f" if(bitTest(stands, {place}), toInt64(isNotNull(figure_{place})) - ifNull(was_{place}, 0), 0)"
        f" AS count_{place}"
        for place in places
    )
    return _by_bucket(
        chosen,
        f"""
    SELECT id, if(at < {{start:Int64}}, {{start:Int64}} - 1, roundDown(at, {{edges:Array(Int64)}})) AS bucket, {steps}
    FROM (SELECT *, {old} FROM ({answers}) {_BEFORE})
""",
        _rates_of_changes(chosen) if is_rated else None,
    )


def _growth(chosen: Chosen, answers: str, published: str, ranged: int, *, is_rated: bool) -> str:
    """SQL of the growth of each figure against the one before, the first against 0, and of its known differences."""
    old = ", ".join(
        f"anyLast(if(bitTest(stands, {place}), figure_{place}, NULL)) OVER before AS old_{place}"
        for place, _ in chosen.metrics
    )
    lived = "groupBitOr(lifetimes) OVER before AS lived, " if _mask(chosen) & ranged else ""
    steps = ", ".join(
        # A lifetime figure is not compared with one of a range of dates.
        f"isNotNull(figure_{place}) AND bitTest(stands, {place}) AND if(isNull(old_{place}), is_young,"
        f" {f'bitTest(lifetimes, {place}) = bitTest(lived, {place})' if ranged >> place & 1 else '1'})"
        f" AS count_{place},"
        f" if(count_{place}, greatest(toInt128(ifNull(figure_{place}, 0)) - ifNull(old_{place}, 0),"
        f" {_LEAST if metric.kind is Kind.GAUGE else '0'}), 0) AS amount_{place}"
        for place, metric in chosen.metrics
    )
    return _by_bucket(
        chosen,
        f"""
    SELECT id, roundDown(at, {{edges:Array(Int64)}}) AS bucket,
        ifNull(published >= roundDown(at, {{opens:Array(Int64)}}) OR at - published <= {MILLIS_PER_DAY}, 0) AS is_young,
        {steps}
    FROM (SELECT *, {lived}{old} FROM ({answers}) {_BEFORE}) AS answered
    INNER JOIN ({published}) AS held USING (id)
    WHERE at >= {{start:Int64}}
""",
        _rates_of_growth(chosen) if is_rated else None,
    )


def _by_bucket(chosen: Chosen, steps: str, rates: tuple[str, str, str] | None) -> str:
    """SQL of sums by bucket.

    Args:
        steps: SQL of (id, bucket, of each metric: `amount_<place>`, `count_<place>`).
        rates: of the sums of each target in a bucket: the columns to compute, these in another form, and their sums.
    """
    sums = ", ".join(f"toString(sum(amount_{place})), sum(count_{place})" for place, _ in chosen.metrics)
    if rates is None:
        return f"SELECT bucket, {sums} FROM ({steps}) GROUP BY bucket\n{SETTINGS}\n"
    of_target = ", ".join(
        f"sum(amount_{place}) AS amount_{place}, sum(count_{place}) AS count_{place}" for place, _ in chosen.metrics
    )
    computed, changed, added = rates
    return f"""
SELECT bucket, {sums}, {added}
FROM (
    SELECT *, {changed} FROM (
        SELECT *, {computed} FROM (SELECT id, bucket, {of_target} FROM ({steps}) AS stepped GROUP BY id, bucket)
    )
)
GROUP BY bucket
{SETTINGS}
"""


def _rates_of_growth(chosen: Chosen) -> tuple[str, str, str]:
    engaged, base = _rated(chosen, "amount", "count")
    return (
        f"{base} AS base, if(base > 0, {engaged}, toInt128(0)) AS engaged",
        "toInt64(base > 0) AS is_rated",
        "toString(sum(engaged)), toString(sum(base)), sum(is_rated)",
    )


def _rates_of_changes(chosen: Chosen) -> tuple[str, str, str]:
    """A target's figures are read together: each answer may change which figure is the base, and if there is a base."""
    until = "(PARTITION BY id ORDER BY bucket ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    stood = ", ".join(
        f"sum(amount_{place}) OVER {until} AS stood_{place}, sum(count_{place}) OVER {until} AS known_{place}"
        for place, metric in chosen.metrics
        if metric.name in RATE_METRICS
    )
    engaged, base = _rated(chosen, "stood", "known")
    before = "(PARTITION BY id ORDER BY bucket ROWS BETWEEN 1 PRECEDING AND 1 PRECEDING)"
    return (
        f"{stood + ', ' if stood else ''}{base} AS base, if(base > 0, {engaged}, toInt128(0)) AS engaged",
        ", ".join(
            f"{figure} - ifNull(any({figure}) OVER {before}, 0) AS {name}"
            for figure, name in (("engaged", "engaged_by"), ("base", "base_by"), ("toInt64(base > 0)", "is_rated"))
        ),
        "toString(sum(engaged_by)), toString(sum(base_by)), sum(is_rated)",
    )


def _rated(chosen: Chosen, amount: str, count: str) -> tuple[str, str]:
    places = {metric.name: place for place, metric in chosen.metrics}
    return rated(
        lambda name: f"if({count}_{places[name]} > 0, {amount}_{places[name]}, NULL)" if name in places else "NULL"
    )


def _names(chosen: Chosen) -> str:
    return ", ".join(f"figure_{place}" for place, _ in chosen.metrics)


def _mask(chosen: Chosen) -> int:
    return sum(1 << place for place, _ in chosen.metrics)
