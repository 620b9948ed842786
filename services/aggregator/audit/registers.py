"""Compares latest figures with snapshots and catalog: a register for each target and each channel's period. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.metrics import CHANNEL_METRICS, CHANNEL_NAMES, POST_METRICS, POST_NAMES, Metric
from services.aggregator.audit.checks import GENERATION, Check, Scope, differing, no_texts, texts
from services.aggregator.rows import CATALOG_TARGET_TYPE

# An answer's rank, as one text that sorts by time and then by the bytes of the event's id; texts compare much faster
# than tuples. If an answer has two rows that are not merged yet, the newer row counts, as for every reader.
_STAMP = (
    "concat(leftPad(hex(toUnixTimestamp64Milli(snapshots.captured_at)), 16, '0'), event_id, '\\0', "
    "leftPad(hex(version), 16, '0'))"
)


def _latest(metrics: Sequence[Metric], ranged: str) -> str:
    """SQL of the texts of each metric's latest figure, over rows (spoken, `ranged`, stamp, figures).

    Figures for a range of dates never replace lifetime figures. Among equals, the figure of the answer with the
    greatest time and event id counts.
    """
    return ", ".join(
        f"nullIf(argMaxIf(ifNull(toString(figures.{index + 1}), ''), "
        f"concat(if(bitTest({ranged}, {index}), '0', '1'), stamp), bitTest(spoken, {index})), '')"
        for index in range(len(metrics))
    )


# The mask of a register's figures that can't be recomputed any more: snapshots may be kept for a limited time, and
# these figures come from answers before `{forgotten:Int64}` (ms).
_FORGOTTEN = (
    "arrayReduce('groupBitOr', arrayMap(g -> if(g.2 < {forgotten:Int64}, g.4, toUInt32(0)), "
    "JSONExtract(registers, 'Array(Tuple(UInt8, Int64, String, UInt32))')))"
)


def _unless_forgotten(held: str, said: str) -> str:
    return f"toString(if(toUnixTimestamp64Milli({held}) < {{forgotten:Int64}}, {held}, {said}))"


def _figures_unless_forgotten(count: int) -> str:
    said = f"if(empty(said_figures), {no_texts(count)}, said_figures)"
    held = f"if(empty(held_figures), {no_texts(count)}, held_figures)"
    return (
        f"arrayMap((said, held, place) -> if(bitTest(held_forgotten, place), held, said), {said}, {held}, "
        f"range(toUInt8({count})))"
    )


def _figures(metrics: Sequence[Metric]) -> str:
    return "tuple(" + ", ".join(metric.name for metric in metrics) + ")"


def _targets(scope: Scope) -> str:
    count = len(POST_METRICS)
    # Among answers that hold the same metrics the newest decides all of them, so only the newest is kept first.
    recomputed = f"""
        SELECT workspace_id, target_id, 1 AS side, max(captured_at) AS captured_at, [{_latest(POST_METRICS, "ranged")}]
            AS figures, '' AS post_id, '' AS channel_id, 0 AS is_listed,
            CAST(NULL, 'Nullable(DateTime64(3, \\'UTC\\'))') AS published_at, toInt64(0) AS updated_at,
            toUInt32(0) AS forgotten
        FROM (
            SELECT workspace_id, target_id, spoken, ranged, max({_STAMP}) AS stamp,
                argMax({_figures(POST_METRICS)}, {_STAMP}) AS figures, max(snapshots.captured_at) AS captured_at
            FROM post_snapshots_store AS snapshots WHERE {GENERATION} AND {scope.where("target_id")} AND spoken != 0
            GROUP BY workspace_id, target_id, spoken, ranged
        ) GROUP BY workspace_id, target_id"""
    held = f"""
        SELECT workspace_id, target_id, 0, captured_at, {texts(POST_METRICS)}, post_id, channel_id, is_listed,
            published_at, toInt64(0), {_FORGOTTEN}
        FROM latest_post_metrics_store FINAL WHERE {GENERATION} AND {scope.where("target_id")}"""
    listed = f"""
        SELECT workspace_id, entry.target_id AS target_id, 2, NULL, CAST([], 'Array(Nullable(String))'), post_id,
            entry.channel_id, 1, if(entry.published_at IS NULL, published_at,
                fromUnixTimestamp64Milli(assumeNotNull(entry.published_at), 'UTC')),
            toUnixTimestamp64Milli(updated_at), 0
        FROM (
            SELECT workspace_id, post_id, published_at, updated_at,
                arrayJoin(JSONExtract(targets, 'Array({CATALOG_TARGET_TYPE})')) AS entry
            FROM posts_store FINAL WHERE {scope.workspaces} AND is_deleted = 0
        ) WHERE {scope.where("target_id")} AND entry.status != 'deleted'"""
    # Several posts may list a target: the target belongs to the post that was written last.
    rows = f"""
        SELECT workspace_id, target_id AS key, target_id AS label,
            arraySort(entry -> (entry.1, entry.2), entries)[-1] AS newest, notEmpty(entries) AS is_expected,
            arrayConcat(
                [toString(held_is_listed), if(held_is_listed, held_post_id, ''),
                    if(held_is_listed, held_channel_id, ''), if(held_is_listed, toString(held_published_at), ''),
                    toString(held_captured_at)],
                if(empty(held_figures), {no_texts(count)}, held_figures)) AS stored,
            arrayConcat(
                [toString(is_expected), if(is_expected, newest.2, ''), if(is_expected, newest.3, ''),
                    if(is_expected, toString(newest.4), ''),
                    {_unless_forgotten("held_captured_at", "said_captured_at")}],
                {_figures_unless_forgotten(count)}) AS recomputed
        FROM (
            SELECT workspace_id, target_id,
                anyIf(figures, side = 0) AS held_figures, anyIf(figures, side = 1) AS said_figures,
                maxIf(captured_at, side = 0) AS held_captured_at, maxIf(captured_at, side = 1) AS said_captured_at,
                maxIf(forgotten, side = 0) AS held_forgotten,
                anyIf(post_id, side = 0) AS held_post_id, anyIf(channel_id, side = 0) AS held_channel_id,
                toUInt8(anyIf(is_listed, side = 0)) AS held_is_listed,
                maxIf(published_at, side = 0) AS held_published_at,
                groupArrayIf((updated_at, post_id, channel_id, published_at), side = 2) AS entries
            FROM ({recomputed} UNION ALL {held} UNION ALL {listed})
            GROUP BY workspace_id, target_id
        )"""
    return differing(len(TARGETS.fields), rows)


TARGETS = Check(
    "latest_post_metrics",
    ("is_listed", "post_id", "channel_id", "published_at", "captured_at", *POST_NAMES),
    _targets,
)


def _channels(scope: Scope) -> str:
    count = len(CHANNEL_METRICS)
    recomputed = f"""
        SELECT workspace_id, channel_id, period, period_start, period_end, 1 AS side, max(captured_at) AS captured_at,
            [{_latest(CHANNEL_METRICS, "toUInt32(0)")}] AS figures, toUInt32(0) AS forgotten
        FROM (
            SELECT workspace_id, channel_id, period, period_start, period_end, spoken,
                max({_STAMP}) AS stamp, argMax({_figures(CHANNEL_METRICS)}, {_STAMP}) AS figures,
                max(snapshots.captured_at) AS captured_at
            FROM channel_snapshots_store AS snapshots WHERE {GENERATION} AND {scope.where("channel_id")} AND spoken != 0
            GROUP BY workspace_id, channel_id, period, period_start, period_end, spoken
        ) GROUP BY workspace_id, channel_id, period, period_start, period_end"""
    held = f"""
        SELECT workspace_id, channel_id, period, period_start, period_end, 0, captured_at, {texts(CHANNEL_METRICS)},
            {_FORGOTTEN}
        FROM latest_channel_metrics_store FINAL WHERE {GENERATION} AND {scope.where("channel_id")}"""
    rows = f"""
        SELECT workspace_id, channel_id AS key, label,
            arrayConcat([toString(held_captured_at)],
                if(empty(held_figures), {no_texts(count)}, held_figures)) AS stored,
            arrayConcat([{_unless_forgotten("held_captured_at", "said_captured_at")}],
                {_figures_unless_forgotten(count)}) AS recomputed
        FROM (
            SELECT workspace_id, channel_id,
                concatWithSeparator(' ', channel_id, period, ifNull(toString(period_start), ''),
                    ifNull(toString(period_end), '')) AS label,
                anyIf(figures, side = 0) AS held_figures, anyIf(figures, side = 1) AS said_figures,
                maxIf(forgotten, side = 0) AS held_forgotten,
                if(countIf(side = 0) = 0, NULL, maxIf(captured_at, side = 0)) AS held_captured_at,
                if(countIf(side = 1) = 0, NULL, maxIf(captured_at, side = 1)) AS said_captured_at
            FROM ({recomputed} UNION ALL {held})
            GROUP BY workspace_id, channel_id, period, period_start, period_end
        )"""
    return differing(len(CHANNELS.fields), rows)


CHANNELS = Check("latest_channel_metrics", ("captured_at", *CHANNEL_NAMES), _channels)
