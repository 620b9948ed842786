"""Makes of stored totals' rows the messages that the compacted topics must hold. Pure.

A message is a tuple of fields in the order of the topic's schema; times and durations are whole milliseconds. Sums over
a channel's targets, and rates, are computed here anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from schemas.conversions import instant
from schemas.metrics import INT64_MAX, INT64_MIN, MILLIS_MAX, POST_METRICS, POST_NAMES, WINDOW_METRICS, Metric, millis

Fields = tuple[Any, ...]
Platforms = Mapping[tuple[str, str], str]
_VIEWS, _IMPRESSIONS, _REACH = (POST_NAMES.index(name) for name in ("views", "impressions", "reach"))
_INTERACTIONS = tuple(POST_NAMES.index(name) for name in ("likes", "comments", "shares", "saves"))
# For each figure: whether it is summed over targets, and the bounds of its column.
_TOTALS = tuple(
    (metric.summable, *((-MILLIS_MAX, MILLIS_MAX) if metric.is_duration else (INT64_MIN, INT64_MAX)))
    for metric in POST_METRICS
)


def _integers(metrics: Sequence[Metric]) -> str:
    parts = (f"toInt64(toDecimal128({m.name}, 3) * 1000)" if m.is_duration else m.name for m in metrics)
    return "[" + ", ".join(parts) + "]"


def _at(column: str) -> str:
    return f"toUnixTimestamp64Milli({column})"


POST_COLUMNS = f"post_id, {_at('captured_at')}, {_integers(POST_METRICS)}, targets"


def post_fields(row: Sequence[Any], platforms: Platforms) -> Fields:
    """The message of a row (version, workspace, key, POST_COLUMNS)."""
    version, workspace_id, _, post_id, captured_at, values, targets = row
    by_channel: dict[str, list[Any]] = {}
    held = _parts(targets)
    for target in held:
        by_channel.setdefault(target["channel_id"], []).append(target)
    channels = []
    for channel_id, parts in by_channel.items():
        times = [part["captured_at"] for part in parts if part["captured_at"] is not None]
        summed = parts[0]["values"] if len(parts) == 1 else _summed([part["values"] for part in parts])
        platform = platforms.get((workspace_id, channel_id), "")
        channels.append((channel_id, platform, max(times, default=None), *summed, *_derived(summed, parts)))
    of_targets = _targets(workspace_id, held, platforms)
    return (workspace_id, post_id, captured_at, version, *values, *_derived(values, held), tuple(channels), of_targets)


def _targets(workspace_id: str, parts: Sequence[Mapping[str, Any]], platforms: Platforms) -> Fields | None:
    """The figures of each target; None of a row from before rows said which answer each figure is from."""
    if any("answers" not in part for part in parts):
        return None
    return tuple(
        (
            part["target_id"],
            part["channel_id"],
            platforms.get((workspace_id, part["channel_id"]), ""),
            part["captured_at"],
            *part["values"],
            *_derived(part["values"], [part]),
            tuple((event_id, at, bool(is_lifetime), mask) for is_lifetime, at, event_id, mask in part["answers"]),
        )
        for part in parts
    )


def _parts(targets: str) -> list[Any]:
    """The parts in a JSON text; [] for a damaged text, so that its message differs and is reported."""
    try:
        parts: list[Any] = orjson.loads(targets)
    except orjson.JSONDecodeError:
        return []
    return parts


def _derived(values: Sequence[int | None], parts: Sequence[Mapping[str, Any]]) -> tuple[int | None, float | None]:
    """The engagements of a total, and the engagement rate over its parts; None for either when it can't be computed."""
    engaged = shown = 0
    for part in parts:
        figures = part["values"]
        bases = (figures[_IMPRESSIONS], figures[_REACH], figures[_VIEWS])
        base = next((value for value in bases if value is not None and value > 0), None)
        interactions = _engagements(figures)
        if interactions is not None and base is not None:
            engaged, shown = engaged + interactions, shown + base
    return _engagements(values), engaged / shown if shown else None


def _engagements(values: Sequence[int | None]) -> int | None:
    known = [value for place in _INTERACTIONS if (value := values[place]) is not None]
    return min(max(sum(known), INT64_MIN), INT64_MAX) if known else None


def _summed(parts: Sequence[Sequence[int | None]]) -> list[int | None]:
    """Totals over targets: a sum for each figure; for a mean, the value if exactly one target has one, else None."""
    summed: list[int | None] = []
    for column, (is_summed, low, high) in zip(zip(*parts, strict=True), _TOTALS, strict=True):
        known = [value for value in column if value is not None]
        summed.append(min(max(sum(known), low), high) if known and (is_summed or len(known) == 1) else None)
    return summed


CHANNEL_COLUMNS = ", ".join(
    [
        "channel_id, platform, `range`, source",
        *(_at(name) for name in ("window_start", "window_end", "valid_from", "valid_until", "captured_at")),
        _integers(WINDOW_METRICS),
        "engagements, engagement_rate, views_or_impressions, impressions_or_views",
    ]
)


def channel_fields(row: Sequence[Any], _: Platforms) -> Fields:
    """The message of a row (version, workspace, key, CHANNEL_COLUMNS)."""
    version, workspace_id, _key, *window, values, interactions, rate, views_or, impressions_or = row
    return (workspace_id, *window, version, *values, interactions, rate, views_or, impressions_or)


def record_fields(record: Mapping[str, Any]) -> Fields:
    """The fields of a decoded value, in the order of its schema."""
    return tuple(_plain(value) for value in record.values())


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, Decimal):
        return millis(value)
    if isinstance(value, list):
        return tuple(record_fields(part) for part in value)
    return value
