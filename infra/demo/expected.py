"""Computes the expected answers from the sandbox's own record of the figures that it served. Pure.

Shares no code with the services' mapping and totals on purpose, so that a mistake of theirs is not repeated here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

Figures = dict[str, int | None]

# Platform fields behind each common metric; several fields are added up.
_FIELDS: dict[str, dict[str, tuple[str, ...]]] = {
    "x": {
        "impressions": ("impression_count",),
        "likes": ("like_count",),
        "comments": ("reply_count",),
        "shares": ("retweet_count", "quote_count"),
        "saves": ("bookmark_count",),
    },
    "instagram": {
        "views": ("views",),
        "reach": ("reach",),
        "likes": ("like_count",),
        "comments": ("comments_count",),
        "shares": ("shares",),
        "saves": ("saved",),
    },
    "youtube": {"views": ("viewCount",), "likes": ("likeCount",), "comments": ("commentCount",)},
    "bluesky": {
        "likes": ("likeCount",),
        "comments": ("replyCount",),
        "shares": ("repostCount", "quoteCount"),
        "saves": ("bookmarkCount",),
    },
    "linkedin": {
        "impressions": ("impressionCount",),
        "reach": ("uniqueImpressionsCount",),
        "likes": ("likeCount",),
        "comments": ("commentCount",),
        "shares": ("shareCount",),
    },
    "facebook": {
        "views": ("post_media_view",),
        "reach": ("post_total_media_view_unique",),
        "likes": ("reactions",),
        "comments": ("comments",),
        "shares": ("shares",),
    },
    "threads": {
        "views": ("views",),
        "likes": ("likes",),
        "comments": ("replies",),
        "shares": ("reposts", "quotes"),
    },
    "tiktok": {
        "views": ("view_count",),
        "likes": ("like_count",),
        "comments": ("comment_count",),
        "shares": ("share_count",),
    },
    "pinterest": {
        "impressions": ("impression",),
        "saves": ("save",),
        "likes": ("reaction",),
        "comments": ("comment",),
    },
    "reddit": {"likes": ("score",), "comments": ("num_comments",), "shares": ("num_crossposts",)},
}
# Fields of a report that comes apart, once a day, and so may not be there yet.
_REPORTED = {"youtube": {"shares": "shares"}}
# The field with the quotes among the shares, for platforms that report quotes.
_QUOTES = {"x": "quote_count", "bluesky": "quoteCount", "threads": "quotes"}
_VIDEO_VIEWS = {"x": "view_count", "facebook": "post_video_views"}
_LOCATION_VIEWS = tuple(
    f"BUSINESS_IMPRESSIONS_{device}_{surface}" for device in ("DESKTOP", "MOBILE") for surface in ("MAPS", "SEARCH")
)
METRICS = ("views", "impressions", "reach", "likes", "comments", "shares", "saves")
FOLLOWERS = {
    "x": "followers_count",
    "instagram": "followers_count",
    "youtube": "subscriberCount",
    "bluesky": "followersCount",
    "linkedin": "firstDegreeSize",
    "facebook": "followers_count",
    "threads": "followers_count",
    "tiktok": "follower_count",
    "pinterest": "follower_count",
    "reddit": "subscribers",
}


def figures(platform: str, served: Mapping[str, Any]) -> Figures:
    """The common metrics computed from an answer's fields; None where the platform has no such field."""
    found: Figures = {}
    for metric in METRICS:
        names = _FIELDS[platform].get(metric)
        found[metric] = sum(served[name] for name in names) if names else None
    report: Mapping[str, Any] = served.get("report", {})
    found.update({metric: report.get(name) for metric, name in _REPORTED.get(platform, {}).items()})
    found["quotes"] = served.get(_QUOTES.get(platform, ""))
    # Platforms report video views of videos only.
    found["video_views"] = served.get(_VIDEO_VIEWS.get(platform, ""))
    return found


def location_views(served: Mapping[str, Any], first: str, last: str) -> int:
    """Views of a location on the days from `first` up to, but not including, `last` (ISO dates)."""
    return sum(value for name in _LOCATION_VIEWS for day, value in served[name].items() if first <= day < last)


def shown(of_target: Figures) -> Figures:
    """Figures with views in place of missing impressions, and impressions in place of missing views."""
    views, impressions = of_target["views"], of_target["impressions"]
    return {
        **of_target,
        "views": impressions if views is None else views,
        "impressions": views if impressions is None else impressions,
    }


def summed(parts: Iterable[Figures]) -> dict[str, int]:
    """Sums over targets, the engagements included; missing figures count as 0."""
    held = list(parts)
    sums = {metric: sum(part[metric] or 0 for part in held) for metric in METRICS}
    sums["engagements"] = sums["likes"] + sums["comments"] + sums["shares"] + sums["saves"]
    return sums


def divided(number: int, by: int | None) -> float | None:
    """A quotient; None where the divisor is missing or 0."""
    return number / by if by else None


def video_views(platform: str, of_target: Figures) -> int | None:
    """The video views that replies show in this scene, where YouTube's and TikTok's posts are videos."""
    if of_target["video_views"] is not None:
        return of_target["video_views"]
    return of_target["views"] if platform in ("youtube", "tiktok") else 0


def scores(of_channel: Mapping[str, Figures]) -> dict[str, float]:
    """Each target's score among a channel's, from 0 to 10."""
    sums = {name: summed([shown(part)]) for name, part in of_channel.items()}

    def place(name: str, metric: str) -> Fraction:
        mine = sums[name][metric]
        below = sum(1 for other in sums.values() if other[metric] < mine)
        same = sum(1 for other in sums.values() if other[metric] == mine)
        return Fraction(2 * below + same, 2 * len(sums))

    found = {}
    for name in sums:
        score = 6 * place(name, "engagements") + 4 * place(name, "impressions")
        found[name] = math.floor(score * 10 + Fraction(1, 2)) / 10
    return found
