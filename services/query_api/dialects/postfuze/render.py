"""Answers as PostFuze's replies. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.metrics import (
    CLICKS,
    COMMENTS,
    IMPRESSIONS,
    LIKES,
    REACH,
    SAVES,
    SHARES,
    VIEWS,
    bounded,
    post_engagements,
    round_half_up,
)
from services.query_api.dialects.postfuze.models import NO_METRICS, NOT_PUBLISHED, RATE_STEPS
from services.query_api.errors import NotPublished
from services.query_api.reads.query import (
    PUBLISHED,
    Account,
    AccountFigures,
    AccountHistory,
    AccountSnapshot,
    Health,
    Post,
    Target,
    or_zero,
    rate,
    video_views,
    with_fallback,
)
from services.runtime.clock import iso_millis

_SUMMED = ("impressions", "reach", "likes", "comments", "shares", "saves", "clicks", "video_views")


def post_analytics(post: Post) -> dict[str, Any]:
    """A row for each published target that was ever measured, in target order, and the sums of the rows.

    Raises:
        NotPublished: no target is published.
    """
    published = [target for target in post.targets if target.status == PUBLISHED]
    if not published:
        raise NotPublished(NOT_PUBLISHED)
    rows = [_row(target, target.captured_at) for target in published if target.captured_at is not None]
    return {
        "post_id": post.post_id,
        "metrics_by_account": rows,
        "aggregated_metrics": {f"total_{name}": _sum(rows, name) for name in _SUMMED},
    }


def _row(target: Target, captured_at: int) -> dict[str, Any]:
    values = with_fallback(target.values)
    return {
        "target_id": target.target_id,
        "platform": target.platform,
        "impressions": values[IMPRESSIONS],
        "reach": values[REACH],
        "likes": values[LIKES],
        "comments": values[COMMENTS],
        "shares": values[SHARES],
        "saves": values[SAVES],
        "clicks": values[CLICKS],
        "video_views": video_views(target.values, target.platform, target.post_type),
        "engagement_rate": _engagement_rate(values),
        "captured_at": iso_millis(captured_at),
    }


def _engagement_rate(values: Sequence[int | None]) -> float | None:
    """The rate of the row's figures: engagements over impressions, else reach, else views."""
    engagements = post_engagements(values)
    for base in (values[IMPRESSIONS], values[REACH], values[VIEWS]):
        fraction = rate(engagements, base)
        if fraction is not None:
            return round_half_up(fraction * RATE_STEPS) / RATE_STEPS
    return None


def _sum(rows: Sequence[dict[str, Any]], name: str) -> int:
    return bounded(sum(or_zero(row[name]) for row in rows))


def account_metrics(answer: Account | AccountHistory) -> dict[str, Any]:
    """Figures of an account: the present ones, or a series over a range."""
    if isinstance(answer, AccountHistory):
        return {
            "social_account_id": answer.channel_id,
            "network": answer.platform,
            "data": [_snapshot(snapshot) for snapshot in answer.snapshots],
        }
    if answer.snapshot is None:
        return {"social_account_id": answer.channel_id, "metrics": None, "message": NO_METRICS}
    return {
        "social_account_id": answer.channel_id,
        "network": answer.platform,
        "source": "live" if answer.is_live else "snapshot",
        **_snapshot(answer.snapshot),
    }


def _snapshot(snapshot: AccountSnapshot) -> dict[str, Any]:
    figures: AccountFigures = snapshot.figures
    return {
        "captured_at": iso_millis(snapshot.captured_at),
        "followers": figures.followers,
        "following": figures.following,
        "posts_count": figures.posts_count,
        "impressions": figures.impressions,
        "reach": figures.reach,
        "profile_views": figures.profile_views,
        "raw": snapshot.raw,
    }


def account_health(health: Health) -> dict[str, Any]:
    """Whether an account's connection works."""
    return {
        "id": health.channel_id,
        "network": health.platform,
        "healthy": health.is_healthy,
        "status": health.status,
        "error_code": health.error_code,
        "token_expires_at": None if health.token_expires_at is None else iso_millis(health.token_expires_at),
        "checked_live": health.is_live,
        "checked_at": iso_millis(health.checked_at),
    }
