"""Renders states as replies. Pure.

Figures are the common columns as stored: counts are integers, and watch times are seconds with up to three decimals. An
unknown figure is null, with the reason under `reasons`. Views and impressions never stand in for each other here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from orjson import Fragment

from schemas.metrics import (
    AVG_WATCH_TIME,
    CHANNEL_METRICS,
    IMPRESSIONS,
    NO_CHANNEL_VALUES,
    POST_METRICS,
    POST_NAMES,
    REACH,
    VIEWS,
    WATCH_TIME,
    Metric,
    Values,
    engagement_rate,
    post_engagements,
    total,
    total_engagement_rate,
)
from services.query_api.tidemark.resources.due import NEVER, Due, channel_due, target_due
from services.query_api.tidemark.resources.reasons import (
    ENGAGEMENT_RATE,
    ENGAGEMENTS,
    Reason,
    Reasons,
    channel_reasons,
    post_reasons,
    rated_target_reasons,
    target_reasons,
)
from services.query_api.tidemark.resources.states import ChannelState, PeriodState, PostState, TargetState
from services.runtime.clock import iso_seconds


def post(state: PostState, now: int, speed: float | None, *, is_written: bool = False) -> dict[str, Any]:
    """A post with its totals and its targets.

    Args:
        now: ms.
        speed: poll intervals are divided by this number. None leaves out whatever moves with the clock alone: the age,
            the tier and the next poll.
        is_written: whether reasons, which most posts share, are given as the JSON that they were written as before.
    """
    parts: list[Values] = []
    reasons: list[Reasons] = []
    dues: list[Due | None] = []
    targets: list[dict[str, Any]] = []
    captured_at: int | None = None
    for target in state.targets:
        _, values, at = target.register
        figures = post_metrics(values)
        of_target = rated_target_reasons(target, now, is_rated=figures[ENGAGEMENT_RATE] is not None)
        due = None if speed is None else target_due(target, now, speed)
        parts.append(values)
        reasons.append(of_target)
        dues.append(due)
        targets.append(_target(target, figures, of_target.written if is_written else of_target, due, now))
        if at is not None and (captured_at is None or at > captured_at):
            captured_at = at
    values = total(parts)
    metrics = targets[0]["metrics"] if len(targets) == 1 else total_metrics(parts, values)
    of_post = post_reasons(values, metrics[ENGAGEMENT_RATE], reasons)
    return {
        "id": state.post_id,
        "status": state.status,
        "created_at": time(state.created_at),
        "published_at": time(state.published_at),
        "updated_at": time(state.updated_at),
        **_polled(captured_at, None if speed is None else _next(dues), now),
        "metrics": metrics,
        "reasons": of_post.written if is_written else of_post,
        "targets": targets,
    }


def target(state: TargetState, now: int, speed: float | None) -> dict[str, Any]:
    """One target: a post on one channel; arguments as for `post`."""
    due = None if speed is None else target_due(state, now, speed)
    return _target(state, post_metrics(state.register.values), target_reasons(state, now), due, now)


def channel(state: ChannelState, now: int, speed: float | None) -> dict[str, Any]:
    """A connected account with its latest figures, in all and by period; arguments as for `post`."""
    held = state.channel
    values = channel_values(state.periods)
    captured = [p.register.captured_at for p in state.periods if p.register.captured_at is not None]
    return {
        "id": held.channel_id,
        "platform": held.platform,
        "external_id": held.external_id,
        "username": held.username,
        "status": held.status,
        "updated_at": time(held.updated_at),
        **_polled(max(captured, default=None), None if speed is None else channel_due(state, speed), now),
        "metrics": _figures(CHANNEL_METRICS, values),
        "reasons": channel_reasons(state, values),
        "periods": [_period(period) for period in _shown(state.periods)],
    }


def _target(
    state: TargetState, metrics: Mapping[str, Any], reasons: Mapping[str, Reason] | Fragment, due: Due | None, now: int
) -> dict[str, Any]:
    return {
        "id": state.target_id,
        "post_id": state.post_id,
        "channel_id": state.channel.channel_id,
        "platform": state.channel.platform,
        "post_type": state.post_type,
        "status": state.status,
        "external_id": state.external_id or None,
        "permalink": state.permalink,
        "content": state.content,
        "published_at": time(state.published_at),
        "is_story": state.is_story,
        "parent_target_id": state.parent_target_id,
        "origin": state.origin,
        **_polled(state.register.captured_at, due, now),
        "metrics": metrics,
        "reasons": reasons,
    }


def _polled(captured_at: int | None, due: Due | None, now: int) -> dict[str, Any]:
    if due is None:
        return {"captured_at": time(captured_at)}
    return {
        "captured_at": time(captured_at),
        "age_seconds": None if captured_at is None else max(0, (now - captured_at) // 1000),
        "tier": due.tier,
        "next_poll_at": time(due.next_at),
    }


def _next(dues: Sequence[Due | None]) -> Due:
    """The earliest of several targets' next polls."""
    coming = [due for due in dues if due is not None and due.next_at is not None]
    return min(coming, key=lambda due: due.next_at or 0, default=NEVER)


def channel_values(periods: Sequence[PeriodState]) -> Values:
    """A channel's figures: a lifetime figure if the platform reports one, else that of the latest period with it.

    Args:
        periods: the lifetime period first, then the others, the latest first.
    """
    return tuple(
        next((period.register.values[metric] for period in periods if period.register.values[metric] is not None), None)
        for metric in range(len(NO_CHANNEL_VALUES))
    )


def _shown(periods: Sequence[PeriodState]) -> list[PeriodState]:
    """The latest period of each kind and length."""
    found: dict[tuple[str, int | None], PeriodState] = {}
    for period in periods:
        length = None if period.start is None or period.end is None else period.end - period.start
        found.setdefault((period.period, length), period)
    return list(found.values())


def _period(state: PeriodState) -> dict[str, Any]:
    return {
        "period": state.period,
        "period_start": time(state.start),
        "period_end": time(state.end),
        "captured_at": time(state.register.captured_at),
        "metrics": _figures(CHANNEL_METRICS, state.register.values),
    }


def post_metrics(values: Values) -> dict[str, Any]:
    """Post figures by column, with engagements and engagement rate."""
    figures: dict[str, Any] = dict(zip(POST_NAMES, values, strict=True))
    # Most posts have no durations.
    if values[WATCH_TIME] is not None or values[AVG_WATCH_TIME] is not None:
        figures = _figures(POST_METRICS, values)
    engaged = figures[ENGAGEMENTS] = post_engagements(values)
    figures[ENGAGEMENT_RATE] = engagement_rate(engaged, values[IMPRESSIONS], values[REACH], values[VIEWS])
    return figures


def total_metrics(parts: Sequence[Values], values: Values | None = None) -> dict[str, Any]:
    """Totals over targets by column, with engagements and engagement rate.

    Args:
        values: their sums, where somebody has them.
    """
    figures = post_metrics(total(parts) if values is None else values)
    figures[ENGAGEMENT_RATE] = total_engagement_rate(parts)
    return figures


def _figures(metrics: Sequence[Metric], values: Values) -> dict[str, Any]:
    # By name at once: readers of changes are shown hundreds of thousands of these.
    names, durations = _NAMES[metrics is CHANNEL_METRICS]
    figures: dict[str, Any] = dict(zip(names, values, strict=True))
    for name in durations:
        value = figures[name]
        if value is not None:
            figures[name] = value / 1000
    return figures


_NAMES = [
    (tuple(metric.name for metric in metrics), tuple(metric.name for metric in metrics if metric.is_duration))
    for metrics in (POST_METRICS, CHANNEL_METRICS)
]


def figure(metric: Metric, value: int | None) -> int | float | None:
    """A figure in the unit of its column: durations in seconds, other figures unchanged."""
    return value / 1000 if metric.is_duration and value is not None else value


def time(instant: int | None) -> str | None:
    """An instant (ms) as ISO 8601 text in UTC with whole seconds; None stays None."""
    return None if instant is None else _iso(instant)


# A post and its targets have few different times.
_iso = lru_cache(maxsize=1024)(iso_seconds)


def without_age(value: Any) -> Any:
    """A reply without ages, for its ETag: ages change although the data does not."""
    if isinstance(value, dict):
        return {name: without_age(part) for name, part in value.items() if name != "age_seconds"}
    return [without_age(part) for part in value] if isinstance(value, list) else value
