"""What the answers must say, computed from the sandbox's own record of what it served. Pure.

Written apart from the mapping and the totals of the services on purpose: two roads to one number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

Figures = dict[str, int | None]

# Platform fields behind each common metric; several are added up.
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
}
METRICS = ("views", "impressions", "reach", "likes", "comments", "shares", "saves")
FOLLOWERS = {
    "x": "followers_count",
    "instagram": "followers_count",
    "youtube": "subscriberCount",
    "bluesky": "followersCount",
}


def figures(platform: str, served: Mapping[str, Any]) -> Figures:
    """The common metrics that an answer's fields stand for; None where the platform has no such field."""
    found: Figures = {}
    for metric in METRICS:
        names = _FIELDS[platform].get(metric)
        found[metric] = sum(served[name] for name in names) if names else None
    return found


def shown(of_target: Figures) -> Figures:
    """Views stand in for missing impressions, and the other way round."""
    views, impressions = of_target["views"], of_target["impressions"]
    return {
        **of_target,
        "views": impressions if views is None else views,
        "impressions": views if impressions is None else impressions,
    }


def summed(parts: Iterable[Figures]) -> dict[str, int]:
    """Sums over targets, what is missing as 0, with engagements."""
    held = list(parts)
    sums = {metric: sum(part[metric] or 0 for part in held) for metric in METRICS}
    sums["engagements"] = sums["likes"] + sums["comments"] + sums["shares"] + sums["saves"]
    return sums


def divided(number: int, by: int | None) -> float | None:
    """A rate, None where there is nothing to divide by."""
    return number / by if by else None


def video_views(platform: str, of_target: Figures) -> int | None:
    """What replies show for video views in this scene, where only YouTube's posts are videos."""
    return of_target["views"] if platform == "youtube" else 0


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
