"""Names and sample replies of postme's document."""

from __future__ import annotations

from typing import Any

from schemas.windows import RANGES
from services.query_api.serving.shapes import (
    COUNT,
    COUNT_OR_NULL,
    TEXT,
    TIME,
    TIME_OR_NULL,
    each,
    listed,
    one_of,
    shape,
)

DEFAULT_RANGE = "28d"
RANGE_NAMES = tuple(RANGES)

PLATFORM_NAMES = {"instagram": "meta_instagram", "facebook": "meta_facebook", "threads": "meta_threads"}
"""Platforms that postme shows by another name than ours."""

POST_SAMPLE: dict[str, Any] = {
    "post_id": "7d0a8b1c-2e3f-4a5b-9c0d-1e2f3a4b5c6d",
    "totals": {
        "views": 4120,
        "engagements": 318,
        "reach": 3890,
        "impressions": 5012,
        "likes": 271,
        "comments": 22,
        "shares": 14,
        "saves": 11,
        "watch_time_seconds": 8640,
    },
    "channels": [
        {
            "channel_id": "5a1d6e7f-8a9b-4c0d-1e2f-3a4b5c6d7e8f",
            "platform": "meta_instagram",
            "views": 2980,
            "engagements": 240,
            "reach": 2810,
            "likes": 205,
            "comments": 18,
            "shares": 9,
            "saves": 8,
        },
        {
            "channel_id": "6b2e7f8a-9b0c-4d1e-2f3a-4b5c6d7e8f90",
            "platform": "youtube",
            "views": 1140,
            "engagements": 78,
            "reach": 1080,
            "likes": 66,
            "comments": 4,
            "shares": 5,
            "saves": 3,
        },
    ],
    "updated_at": "2026-06-28T09:14:22Z",
}

CHANNEL_SAMPLE: dict[str, Any] = {
    "channel_id": "5a1d6e7f-8a9b-4c0d-1e2f-3a4b5c6d7e8f",
    "platform": "meta_instagram",
    "window": {"range": "7d", "start": "2026-06-21T09:14:22Z", "end": "2026-06-28T09:14:22Z"},
    "totals": {
        "views": 18240,
        "engagements": 1412,
        "reach": 16890,
        "likes": 1180,
        "comments": 96,
        "shares": 71,
        "saves": 65,
        "watch_time_seconds": 41280,
    },
    "source": "channel",
    "followers": 8421,
}

_FIGURES = each(("views", "engagements", "reach", "likes", "comments", "shares", "saves"), COUNT)
POST_SCHEMA = shape(
    "PostmePostInsights",
    {
        "post_id": TEXT,
        "totals": shape("PostmePostTotals", {**_FIGURES, "impressions": COUNT, "watch_time_seconds": COUNT}),
        "channels": listed(shape("PostmePostChannel", {"channel_id": TEXT, "platform": TEXT, **_FIGURES})),
        "updated_at": TIME_OR_NULL,
    },
)
CHANNEL_SCHEMA = shape(
    "PostmeChannelInsights",
    {
        "channel_id": TEXT,
        "platform": TEXT,
        "window": shape("PostmeWindow", {"range": one_of(RANGE_NAMES), "start": TIME, "end": TIME}),
        "totals": shape("PostmeChannelTotals", {**_FIGURES, "watch_time_seconds": COUNT}),
        "source": one_of(("posts", "channel", "none")),
        "followers": COUNT_OR_NULL,
    },
)
