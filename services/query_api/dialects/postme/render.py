"""Answers as postme's replies. Pure."""

from __future__ import annotations

from typing import Any

from schemas.metrics import (
    COMMENTS,
    IMPRESSIONS,
    LIKES,
    REACH,
    SAVES,
    SHARES,
    VIEWS,
    WATCH_TIME,
    Values,
    post_engagements,
    whole_seconds,
)
from services.query_api.dialects.postme.models import PLATFORM_NAMES
from services.query_api.reads.query import (
    PUBLISHED,
    ChannelWindow,
    Post,
    Target,
    latest,
    or_zero,
    totals,
)
from services.runtime.clock import iso_seconds


def post_insights(post: Post) -> dict[str, Any]:
    """Totals of a post, and a block for each channel with a published target, in target order.

    By the product's document totals are the sum across channels, so both count published targets only.
    """
    published = [target for target in post.targets if target.status == PUBLISHED]
    by_channel: dict[str, list[Target]] = {}
    for target in published:
        by_channel.setdefault(target.channel_id, []).append(target)
    sums = totals(target.values for target in published)
    updated_at = latest(target.captured_at for target in published)
    return {
        "post_id": post.post_id,
        "totals": {
            "views": or_zero(sums[VIEWS]),
            "engagements": or_zero(post_engagements(sums)),
            "reach": or_zero(sums[REACH]),
            "impressions": or_zero(sums[IMPRESSIONS]),
            **_interactions(sums),
            "watch_time_seconds": or_zero(whole_seconds(sums[WATCH_TIME])),
        },
        "channels": [_channel_block(targets) for targets in by_channel.values()],
        "updated_at": None if updated_at is None else iso_seconds(updated_at),
    }


def _channel_block(targets: list[Target]) -> dict[str, Any]:
    sums = totals(target.values for target in targets)
    return {
        "channel_id": targets[0].channel_id,
        "platform": platform_name(targets[0].platform),
        "views": or_zero(sums[VIEWS]),
        "engagements": or_zero(post_engagements(sums)),
        "reach": or_zero(sums[REACH]),
        **_interactions(sums),
    }


def channel_insights(window: ChannelWindow) -> dict[str, Any]:
    """Totals of a channel over a window, and its followers."""
    return {
        "channel_id": window.channel_id,
        "platform": platform_name(window.platform),
        "window": {"range": window.range, "start": iso_seconds(window.start), "end": iso_seconds(window.end)},
        "totals": {
            "views": or_zero(window.views_or_impressions),
            "engagements": or_zero(window.engagements),
            "reach": or_zero(window.values[REACH]),
            **_interactions(window.values),
            "watch_time_seconds": or_zero(whole_seconds(window.values[WATCH_TIME])),
        },
        "source": window.source,
        "followers": window.followers,
    }


def without_window_bounds(reply: dict[str, Any]) -> dict[str, Any]:
    """A channel's reply without the window's bounds, which change every second; its ETag is made of the rest."""
    return {**reply, "window": reply["window"]["range"]}


def _interactions(values: Values) -> dict[str, int]:
    return {
        "likes": or_zero(values[LIKES]),
        "comments": or_zero(values[COMMENTS]),
        "shares": or_zero(values[SHARES]),
        "saves": or_zero(values[SAVES]),
    }


def platform_name(platform: str) -> str:
    """The name that postme shows for a platform."""
    return PLATFORM_NAMES.get(platform, platform)
