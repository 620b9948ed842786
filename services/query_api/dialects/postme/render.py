"""Answers as postme's replies. Pure."""

from __future__ import annotations

from typing import Any

from schemas.metrics import (
    COMMENTS,
    INT64_MAX,
    LIKES,
    MILLIS_MAX,
    REACH,
    SAVES,
    SHARES,
    WATCH_TIME,
    bounded,
    whole_seconds,
)
from services.query_api.dialects.postme.models import PLATFORM_NAMES
from services.query_api.reads.query import PUBLISHED, ChannelWindow, Post, or_zero
from services.runtime.clock import iso_seconds

_COUNTS = ("views", "reach", "likes", "comments", "shares", "saves")


def post_insights(post: Post) -> dict[str, Any]:
    """Totals of a post, and a block for each channel with a published target, in target order.

    By the product's document totals are the sum across channels, so both count published targets only. Sums are those
    of `schemas.metrics.total` with nulls as 0, added up here, since every read of a post pays for them.
    """
    blocks: dict[str, dict[str, Any]] = {}
    several: list[str] = []
    all_views = all_reach = all_impressions = all_likes = all_comments = all_shares = all_saves = all_watched = 0
    updated_at: int | None = None
    for target in post.targets:
        if target.status != PUBLISHED:
            continue
        views, impressions, reach, likes, _, comments, shares, _, saves, _, _, _, _, _, watched, _, _ = target.values
        # The fallback, as `with_fallback` has it.
        all_impressions += (views if impressions is None else impressions) or 0
        all_views += (views := (impressions if views is None else views) or 0)
        all_reach += (reach := reach or 0)
        all_likes += (likes := likes or 0)
        all_comments += (comments := comments or 0)
        all_shares += (shares := shares or 0)
        all_saves += (saves := saves or 0)
        all_watched += watched or 0
        channel_id = target.channel_id
        block: dict[str, Any] = {
            "channel_id": channel_id,
            "platform": PLATFORM_NAMES.get(platform := target.platform, platform),
            "views": views,
            "engagements": bounded(likes + comments + shares + saves),
            "reach": reach,
            "likes": likes,
            "comments": comments,
            "shares": shares,
            "saves": saves,
        }
        if channel_id in blocks:
            several.append(channel_id)
            before = blocks[channel_id]
            before.update({name: before[name] + block[name] for name in _COUNTS})
        else:
            blocks[channel_id] = block
        at = target.captured_at
        if at is not None and (updated_at is None or at > updated_at):
            updated_at = at
    for channel_id in several:
        _bound(blocks[channel_id])
    all_engagements = all_likes + all_comments + all_shares + all_saves
    totals: dict[str, Any] = {
        "views": all_views,
        "engagements": all_engagements,
        "reach": all_reach,
        "impressions": all_impressions,
        "likes": all_likes,
        "comments": all_comments,
        "shares": all_shares,
        "saves": all_saves,
        # A single duration is within the column's range anyway.
        "watch_time_seconds": whole_seconds(max(-MILLIS_MAX, min(MILLIS_MAX, all_watched))),
    }
    # One look at all sums: a sign, or a bit beyond the bound, shows in their bits together.
    bits = all_views | all_engagements | all_reach | all_impressions | all_likes | all_comments | all_shares | all_saves
    if not 0 <= bits <= INT64_MAX:
        _bound(totals)
        totals["impressions"] = bounded(all_impressions)
    return {
        "post_id": post.post_id,
        "totals": totals,
        "channels": list(blocks.values()),
        "updated_at": None if updated_at is None else iso_seconds(updated_at),
    }


def _bound(sums: dict[str, Any]) -> None:
    """Keep what was added up within 64 bits; engagements are those of the figures that are shown."""
    sums.update({name: bounded(sums[name]) for name in _COUNTS})
    sums["engagements"] = bounded(sums["likes"] + sums["comments"] + sums["shares"] + sums["saves"])


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
            "likes": or_zero(window.values[LIKES]),
            "comments": or_zero(window.values[COMMENTS]),
            "shares": or_zero(window.values[SHARES]),
            "saves": or_zero(window.values[SAVES]),
            "watch_time_seconds": or_zero(whole_seconds(window.values[WATCH_TIME])),
        },
        "source": window.source,
        "followers": window.followers,
    }


def without_window_bounds(reply: dict[str, Any]) -> dict[str, Any]:
    """A channel's reply without the window's bounds, which change every second; its ETag is made of the rest."""
    return {**reply, "window": reply["window"]["range"]}


def platform_name(platform: str) -> str:
    """The name that postme shows for a platform."""
    return PLATFORM_NAMES.get(platform, platform)
