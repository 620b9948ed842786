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
    total,
    whole_seconds,
)
from services.query_api.dialects.postme.models import PLATFORM_NAMES
from services.query_api.reads.query import (
    PUBLISHED,
    ChannelWindow,
    Post,
    latest,
    or_zero,
    with_fallback,
)
from services.runtime.clock import iso_seconds


def post_insights(post: Post) -> dict[str, Any]:
    """Totals of a post, and a block for each channel with a published target, in target order.

    By the product's document totals are the sum across channels, so both count published targets only.
    """
    published = [target for target in post.targets if target.status == PUBLISHED]
    figures: list[Values] = []
    by_channel: dict[str, tuple[str, list[Values]]] = {}
    for target in published:
        values = with_fallback(target.values)
        figures.append(values)
        held = by_channel.get(target.channel_id)
        if held is None:
            by_channel[target.channel_id] = (target.platform, [values])
        else:
            held[1].append(values)
    sums = total(figures)
    updated_at = latest([target.captured_at for target in published])
    return {
        "post_id": post.post_id,
        "totals": {
            "views": sums[VIEWS] or 0,
            "engagements": post_engagements(sums) or 0,
            "reach": sums[REACH] or 0,
            "impressions": sums[IMPRESSIONS] or 0,
            **_interactions(sums),
            "watch_time_seconds": whole_seconds(sums[WATCH_TIME]) or 0,
        },
        "channels": [
            _channel_block(channel_id, platform, total(parts)) for channel_id, (platform, parts) in by_channel.items()
        ],
        "updated_at": None if updated_at is None else iso_seconds(updated_at),
    }


def _channel_block(channel_id: str, platform: str, sums: Values) -> dict[str, Any]:
    return {
        "channel_id": channel_id,
        "platform": platform_name(platform),
        "views": sums[VIEWS] or 0,
        "engagements": post_engagements(sums) or 0,
        "reach": sums[REACH] or 0,
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
        "likes": values[LIKES] or 0,
        "comments": values[COMMENTS] or 0,
        "shares": values[SHARES] or 0,
        "saves": values[SAVES] or 0,
    }


def platform_name(platform: str) -> str:
    """The name that postme shows for a platform."""
    return PLATFORM_NAMES.get(platform, platform)
