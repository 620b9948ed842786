"""Compares post totals with the latest figures of the posts' targets and with the catalog. Pure."""

from __future__ import annotations

from schemas.metrics import POST_METRICS, POST_NAMES
from services.aggregator.audit.checks import GENERATION, Check, Scope, differing, milliseconds, total_text

_STORED_TARGET = (
    "Array(Tuple(target_id String, channel_id String, captured_at Nullable(Int64), values Array(Nullable(Int64))))"
)
_METRICS = ", ".join(POST_NAMES)
_NO_METRICS = ", ".join(["NULL"] * len(POST_NAMES))
# The figures in the form of column `targets` of post_totals_store: durations in whole milliseconds.
_VALUES = ", ".join(
    f"toInt64(toDecimal128({metric.name}, 3) * 1000)" if metric.is_duration else metric.name for metric in POST_METRICS
)
_NO_TARGET = "CAST(('', '', NULL, []), 'Tuple(String, String, Nullable(Int64), Array(Nullable(Int64)))')"


def _posts(scope: Scope) -> str:
    held_channels = (
        f"SELECT workspace_id, channel_id FROM channels_store FINAL WHERE {scope.workspaces} AND is_deleted = 0"
    )
    stored = f"""
        SELECT workspace_id, post_id, 0 AS side, captured_at, {_METRICS}, {_NO_TARGET} AS part,
            toString(arraySort(JSONExtract(targets, '{_STORED_TARGET}'))) AS parts
        FROM post_totals_store FINAL WHERE {GENERATION} AND {scope.where("post_id")} AND is_deleted = 0"""
    parts = f"""
        SELECT workspace_id, post_id, 1, captured_at, {_METRICS},
            (target_id, channel_id, {milliseconds("captured_at")}, [{_VALUES}]), ''
        FROM latest_post_metrics_store FINAL
        WHERE {GENERATION} AND {scope.where("post_id")} AND is_listed
            AND (workspace_id, channel_id) IN ({held_channels})"""
    held = f"""
        SELECT workspace_id, post_id, 2, NULL, {_NO_METRICS}, {_NO_TARGET}, ''
        FROM posts_store FINAL WHERE {scope.where("post_id")} AND is_deleted = 0"""
    sums = ", ".join(total_text(metric, "side = 1") for metric in POST_METRICS)
    seen = ", ".join(f"toString(maxIf({metric.name}, side = 0))" for metric in POST_METRICS)
    rows = f"""
        SELECT workspace_id, post_id AS key, post_id AS label,
            [if(countIf(side = 0) > 0, 'present', 'absent'), toString(maxIf(captured_at, side = 0)), {seen},
                if(countIf(side = 0) > 0, anyIf(parts, side = 0), '[]')] AS stored,
            [if(countIf(side = 2) > 0, 'present', 'absent'), toString(maxIf(captured_at, side = 1)), {sums},
                toString(arraySort(groupArrayIf(part, side = 1)))] AS recomputed
        FROM ({stored} UNION ALL {parts} UNION ALL {held})
        GROUP BY workspace_id, post_id"""
    return differing(len(POSTS.fields), rows)


POSTS = Check("post_totals", ("row", "captured_at", *POST_NAMES, "targets"), _posts)
