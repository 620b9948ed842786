"""Messages, limits and sample replies of PostFuze's document."""

from __future__ import annotations

from typing import Any

from services.query_api.serving.shapes import (
    ANYTHING,
    COUNT,
    COUNT_OR_NULL,
    FLAG,
    NOTHING,
    NUMBER_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    TIME,
    TIME_OR_NULL,
    each,
    listed,
    one_of,
    shape,
)

NOT_PUBLISHED = "Analytics are only available after a post is published"
NO_METRICS = "No metrics have been collected for this account yet."
RATE_STEPS = 1000
"""Rates have 3 decimals."""
DEFAULT_RANGE_DAYS = 30

POST_SAMPLE: dict[str, Any] = {
    "post_id": "p1a2b3c4-0000-4a9f-9b1c-2e7d6f0a1234",
    "metrics_by_account": [
        {
            "target_id": "t_0001",
            "platform": "x",
            "impressions": 12480,
            "reach": 9820,
            "likes": 421,
            "comments": 38,
            "shares": 57,
            "saves": None,
            "clicks": 304,
            "video_views": 0,
            "engagement_rate": 0.041,
            "captured_at": "2026-06-10T18:00:00.000Z",
        },
        {
            "target_id": "t_0002",
            "platform": "instagram",
            "impressions": 30410,
            "reach": 24890,
            "likes": 1894,
            "comments": 132,
            "shares": 410,
            "saves": 765,
            "clicks": 0,
            "video_views": 18220,
            # The document has 0.102, which its own figures don't give.
            "engagement_rate": 0.105,
            "captured_at": "2026-06-10T18:00:00.000Z",
        },
    ],
    "aggregated_metrics": {
        "total_impressions": 42890,
        "total_reach": 34710,
        "total_likes": 2315,
        "total_comments": 170,
        "total_shares": 467,
        "total_saves": 765,
        "total_clicks": 304,
        "total_video_views": 18220,
    },
}

ACCOUNT_SAMPLE: dict[str, Any] = {
    "social_account_id": "a1b2c3d4-0000-4a9f-9b1c-2e7d6f0a1234",
    "network": "instagram",
    "source": "live",
    "captured_at": "2026-06-14T12:10:00.000Z",
    "followers": 48210,
    "following": 312,
    "posts_count": 1893,
    "impressions": None,
    "reach": None,
    "profile_views": None,
    "raw": {"period": "day"},
}

NO_METRICS_SAMPLE: dict[str, Any] = {
    "social_account_id": "a1b2c3d4-0000-4a9f-9b1c-2e7d6f0a1234",
    "metrics": None,
    "message": NO_METRICS,
}

HEALTH_SAMPLE: dict[str, Any] = {
    "id": "a1b2c3d4-0000-4a9f-9b1c-2e7d6f0a1234",
    "network": "instagram",
    "healthy": True,
    "status": "active",
    "error_code": None,
    "token_expires_at": "2026-08-08T06:00:00.000Z",
    "checked_live": True,
    "checked_at": "2026-06-14T12:30:00.000Z",
}

_COUNTS = ("impressions", "reach", "likes", "comments", "shares", "saves", "clicks", "video_views")
POST_SCHEMA = shape(
    "PostfuzePostAnalytics",
    {
        "post_id": TEXT,
        "metrics_by_account": listed(
            shape(
                "PostfuzeTargetMetrics",
                {
                    "target_id": TEXT,
                    "platform": TEXT,
                    **each(_COUNTS, COUNT_OR_NULL),
                    "engagement_rate": NUMBER_OR_NULL,
                    "captured_at": TIME,
                },
            )
        ),
        "aggregated_metrics": shape("PostfuzeTotals", each((f"total_{name}" for name in _COUNTS), COUNT)),
    },
)
_SNAPSHOT = {
    "captured_at": TIME,
    **each(("followers", "following", "posts_count", "impressions", "reach", "profile_views"), COUNT_OR_NULL),
    "raw": ANYTHING,
}
_ACCOUNT = {"social_account_id": TEXT, "network": TEXT}
ACCOUNT_SCHEMA = {
    "title": "PostfuzeAccountMetricsReply",
    "anyOf": [
        shape("PostfuzeAccountMetrics", {**_ACCOUNT, "source": one_of(("live", "snapshot")), **_SNAPSHOT}),
        shape("PostfuzeNoMetrics", {"social_account_id": TEXT, "metrics": NOTHING, "message": TEXT}),
        shape("PostfuzeAccountHistory", {**_ACCOUNT, "data": listed(shape("PostfuzeAccountSnapshot", _SNAPSHOT))}),
    ],
}
HEALTH_SCHEMA = shape(
    "PostfuzeAccountHealth",
    {
        "id": TEXT,
        "network": TEXT,
        "healthy": FLAG,
        "status": TEXT,
        "error_code": TEXT_OR_NULL,
        "token_expires_at": TIME_OR_NULL,
        "checked_live": FLAG,
        "checked_at": TIME,
    },
)
