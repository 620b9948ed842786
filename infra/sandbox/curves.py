"""What a figure is at an instant: pure, of the seed, the platform, the id and the clock.

Numbers never shrink, are the same within one whole second, and use whole-number arithmetic only, so that every
machine computes the same ones. Nothing here knows how a platform wraps them.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

DAY_SECONDS = 86_400
# All accounts are of this instant, 2015-01-01T00:00:00Z.
ACCOUNT_CREATED_AT = 1_420_070_400_000

# Share of a post's audience that a figure reaches, in thousandths: lowest and highest. The audience itself is 1000.
_SHARES: dict[str, tuple[int, int]] = {
    # Everybody who saw it.
    "impression_count": (1000, 1000),
    "views": (1000, 1000),
    "viewCount": (1000, 1000),
    "reach": (600, 900),
    "view_count": (200, 500),
    # Reactions.
    "like_count": (20, 90),
    "likeCount": (20, 90),
    "likes": (20, 90),
    "reply_count": (2, 12),
    "replyCount": (2, 12),
    "comments_count": (2, 12),
    "comments": (2, 12),
    "commentCount": (2, 12),
    "replies": (2, 12),
    "retweet_count": (3, 20),
    "repostCount": (3, 20),
    "quote_count": (1, 6),
    "quoteCount": (1, 6),
    "shares": (3, 20),
    "bookmark_count": (1, 15),
    "bookmarkCount": (1, 15),
    "saved": (1, 15),
    "saves": (1, 15),
    "url_link_clicks": (5, 40),
    "user_profile_clicks": (3, 25),
    "engagements": (40, 160),
    "follows": (1, 5),
    "subscribersGained": (1, 5),
    "profile_visits": (3, 25),
    "total_interactions": (40, 160),
    # LinkedIn.
    "impressionCount": (1000, 1000),
    "uniqueImpressionsCount": (600, 900),
    "shareCount": (3, 20),
    "clickCount": (5, 40),
    "IMPRESSION": (1000, 1000),
    "MEMBERS_REACHED": (600, 900),
    "REACTION": (20, 90),
    "COMMENT": (2, 12),
    "RESHARE": (3, 20),
    "allPageViews": (100, 300),
    # Facebook.
    "post_media_view": (1000, 1000),
    "post_total_media_view_unique": (600, 900),
    "post_video_views": (200, 500),
    "post_clicks": (5, 40),
    "reactions": (20, 90),
    "page_media_view": (1000, 1000),
    "page_total_media_view_unique": (600, 900),
    "page_post_engagements": (40, 160),
    "page_views_total": (50, 150),
    # TikTok.
    "comment_count": (2, 12),
    "share_count": (3, 20),
    "videoThumbnailImpressions": (1500, 4000),
    # Pins, posts of Reddit, locations of Google.
    "impression": (1000, 1000),
    "reaction": (20, 90),
    "comment": (2, 12),
    "save": (1, 15),
    "clickthrough": (5, 40),
    "pin_click": (20, 90),
    "score": (20, 90),
    "num_comments": (2, 12),
    "num_crossposts": (1, 6),
    "BUSINESS_IMPRESSIONS_DESKTOP_MAPS": (20, 90),
    "BUSINESS_IMPRESSIONS_DESKTOP_SEARCH": (60, 250),
    "BUSINESS_IMPRESSIONS_MOBILE_MAPS": (60, 250),
    "BUSINESS_IMPRESSIONS_MOBILE_SEARCH": (200, 600),
}
_OTHER_SHARE = (1, 30)

# Figures of accounts: the level on the first day, and what a day adds: lowest and highest.
_LEVELS: dict[str, tuple[int, int, int, int]] = {
    "followers": (500, 50_000, 1, 60),
    "following": (50, 900, 0, 1),
    "posts": (10, 300, 1, 4),
}


@lru_cache(maxsize=1 << 14)
def _number(seed: int, platform: str, external_id: str, name: str) -> int:
    """A number below 2^64 that is always the same for the same words."""
    words = f"{seed}\n{platform}\n{external_id}\n{name}".encode()
    return int.from_bytes(blake2b(words, digest_size=8).digest(), "big")


def _between(number: int, low: int, high: int) -> int:
    return low + number % (high - low + 1)


@lru_cache(maxsize=1 << 17)
def _size(seed: int, platform: str, external_id: str, metric: str) -> tuple[int, int]:
    """The size that a figure grows to, in thousandths, and the seconds after which half of it is there."""
    trait = _number(seed, platform, external_id, "")
    audience = _between(trait, 2_000, 200_000)
    half_seconds = _between(trait >> 32, 2 * 3600, 24 * 3600)
    low, high = _SHARES.get(metric, _OTHER_SHARE)
    share = low if low == high else _between(_number(seed, platform, external_id, metric), low, high)
    return audience * share, half_seconds


def metric_value(seed: int, platform: str, external_id: str, metric: str, published_at: int, at: int) -> int:
    """A post's cumulative figure at an instant.

    Args:
        metric: the platform's own name, such as `like_count`.
        published_at: ms; before it everything is 0.
        at: ms; only its whole second counts.

    Returns:
        A count that rises fast at first, reaches half of its final size after some hours, and keeps rising.
    """
    elapsed = at // 1000 - published_at // 1000
    if elapsed <= 0:
        return 0
    size, half_seconds = _size(seed, platform, external_id, metric)
    return (size * elapsed // (elapsed + half_seconds) + size * elapsed // (1000 * DAY_SECONDS)) // 1000


def average_watch_millis(seed: int, platform: str, external_id: str) -> int:
    """How long a view lasts on average: always the same for a post."""
    return _between(_number(seed, platform, external_id, "average_watch_millis"), 2_000, 40_000)


def level_value(seed: int, platform: str, account_id: str, level: str, at: int) -> int:
    """A level of an account at an instant (ms): `followers`, `following` or `posts`."""
    low, high, slow, fast = _LEVELS[level]
    number = _number(seed, platform, account_id, level)
    days = (at - ACCOUNT_CREATED_AT) // 1000
    return _between(number, low, high) + max(0, days) * _between(number >> 32, slow, fast) // DAY_SECONDS


def period_value(seed: int, platform: str, account_id: str, metric: str, start: int, end: int) -> int:
    """An account's figure for a range `[start, end)` of ms; ranges that meet add up exactly."""
    low, high = _SHARES.get(metric, _OTHER_SHARE)
    daily = _between(_number(seed, platform, account_id, "daily"), 500, 20_000)
    daily_size = daily * _between(_number(seed, platform, account_id, metric), low, high)

    def until(at: int) -> int:
        return daily_size * max(0, (at - ACCOUNT_CREATED_AT) // 1000) // (1000 * DAY_SECONDS)

    return max(0, until(end) - until(start))
