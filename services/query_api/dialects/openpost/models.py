"""Limits, names and sample replies of OpenPost's document."""

from __future__ import annotations

from typing import Any

DEFAULT_DAYS = 30
MAX_DAYS = 365
MAX_ROWS = 500

PLATFORM_NAMES = {"x": "twitter"}
"""Platforms that OpenPost shows by another name than ours."""

LIST_SAMPLE: dict[str, Any] = {
    "data": [
        {
            "id": "...",
            "post_target_id": "...",
            "integration_id": "...",
            "impressions": 3281,
            "likes": 142,
            "comments": 12,
            "shares": 4,
            "platform_data": {},
            "captured_at": "2026-04-16T10:00:00Z",
        }
    ]
}

POST_SAMPLE: dict[str, Any] = {
    "data": {
        "post_id": "3a6f...",
        "totals": {"impressions": 14832, "likes": 412, "comments": 23, "shares": 8},
        "targets": [
            {
                "target_id": "...",
                "platform": "twitter",
                "username": "openpost",
                "status": "published",
                "post_url": "https://x.com/openpost/status/...",
                "impressions": 9120,
                "likes": 201,
                "comments": 15,
                "shares": 6,
                "snapshots": [],
            }
        ],
    }
}
