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
    CHANNEL_METRICS,
    CHANNEL_NAMES,
    IMPRESSIONS,
    NO_CHANNEL_VALUES,
    REACH,
    VIEWS,
    Metric,
    Values,
    engagement_rate,
    post_engagements,
    rated,
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
    engaged_in_all = shown_in_all = 0
    for target in state.targets:
        _, values, at = target.register
        pair = rated(values)
        if pair is None:
            figures = _post_metrics(values, post_engagements(values), None)
        else:
            engaged, base = pair
            figures = _post_metrics(values, engaged, engaged / base)
            engaged_in_all += engaged
            shown_in_all += base
        of_target = rated_target_reasons(target, now, is_rated=pair is not None)
        due = None if speed is None else target_due(target, now, speed)
        parts.append(values)
        reasons.append(of_target)
        dues.append(due)
        targets.append(_target(target, figures, of_target.written if is_written else of_target, due, now))
        if at is not None and (captured_at is None or at > captured_at):
            captured_at = at
    values = total(parts)
    if len(targets) == 1:
        metrics = targets[0]["metrics"]
    else:
        # As `total_engagement_rate` has it.
        rate = engaged_in_all / shown_in_all if shown_in_all else None
        metrics = _post_metrics(values, post_engagements(values), rate)
    of_post = post_reasons(values, metrics[ENGAGEMENT_RATE], reasons)
    shown: dict[str, Any] = {
        "id": state.post_id,
        "status": state.status,
        "created_at": time(state.created_at),
        "published_at": time(state.published_at),
        "updated_at": time(state.updated_at),
        "captured_at": time(captured_at),
    }
    if speed is not None:
        shown.update(_polled(captured_at, _next(dues), now))
    shown["metrics"] = metrics
    shown["reasons"] = of_post.written if is_written else of_post
    shown["targets"] = targets
    return shown


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
        "metrics": _channel_metrics(values),
        "reasons": channel_reasons(state, values),
        "periods": [_period(period) for period in _shown(state.periods)],
    }


def _target(
    state: TargetState, metrics: Mapping[str, Any], reasons: Mapping[str, Reason] | Fragment, due: Due | None, now: int
) -> dict[str, Any]:
    (
        target_id, post_id, channel, post_type, status, external_id, permalink, published_at, is_story,
        parent_target_id, _, (_, _, captured_at), content, origin, _, _,
    ) = state  # fmt: skip
    shown: dict[str, Any] = {
        "id": target_id,
        "post_id": post_id,
        "channel_id": channel.channel_id,
        "platform": channel.platform,
        "post_type": post_type,
        "status": status,
        "external_id": external_id or None,
        "permalink": permalink,
        "content": content,
        "published_at": time(published_at),
        "is_story": is_story,
        "parent_target_id": parent_target_id,
        "origin": origin,
        "captured_at": time(captured_at),
    }
    if due is not None:
        shown.update(_polled(captured_at, due, now))
    shown["metrics"] = metrics
    shown["reasons"] = reasons
    return shown


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
        "metrics": _channel_metrics(state.register.values),
    }


def post_metrics(values: Values) -> dict[str, Any]:
    """Post figures by column, with engagements and engagement rate."""
    engaged = post_engagements(values)
    rate = engagement_rate(engaged, values[IMPRESSIONS], values[REACH], values[VIEWS])
    return _post_metrics(values, engaged, rate)


def total_metrics(parts: Sequence[Values]) -> dict[str, Any]:
    """Totals over targets by column, with engagements and engagement rate."""
    values = total(parts)
    return _post_metrics(values, post_engagements(values), total_engagement_rate(parts))


def _post_metrics(values: Values, engaged: int | None, rate: float | None) -> dict[str, Any]:
    # The names of POST_METRICS, written out: readers of changes are shown hundreds of thousands of these, and to put
    # names and figures together takes three times as long.
    (
        views, impressions, reach, likes, dislikes, comments, shares, quotes, saves, clicks, other_clicks,
        profile_clicks, follows, video_views, watch_time, avg_watch_time, poll_votes,
    ) = values  # fmt: skip
    return {
        "views": views,
        "impressions": impressions,
        "reach": reach,
        "likes": likes,
        "dislikes": dislikes,
        "comments": comments,
        "shares": shares,
        "quotes": quotes,
        "saves": saves,
        "clicks": clicks,
        "other_clicks": other_clicks,
        "profile_clicks": profile_clicks,
        "follows": follows,
        "video_views": video_views,
        "watch_time_seconds": None if watch_time is None else watch_time / 1000,
        "avg_watch_time_seconds": None if avg_watch_time is None else avg_watch_time / 1000,
        "poll_votes": poll_votes,
        ENGAGEMENTS: engaged,
        ENGAGEMENT_RATE: rate,
    }


def _channel_metrics(values: Values) -> dict[str, Any]:
    figures: dict[str, Any] = dict(zip(CHANNEL_NAMES, values, strict=True))
    for name in _CHANNEL_DURATIONS:
        value = figures[name]
        if value is not None:
            figures[name] = value / 1000
    return figures


_CHANNEL_DURATIONS = tuple(metric.name for metric in CHANNEL_METRICS if metric.is_duration)


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
