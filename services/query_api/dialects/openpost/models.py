"""Limits, names and sample replies of OpenPost's document."""

from __future__ import annotations

from typing import Any

from services.query_api.serving.shapes import ANYTHING, COUNT, TEXT, TEXT_OR_NULL, TIME, each, listed, shape

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

_FIGURES = each(("impressions", "likes", "comments", "shares"), COUNT)
_ROW = shape(
    "OpenpostSnapshot",
    {
        **each(("id", "post_target_id", "integration_id"), TEXT),
        **_FIGURES,
        "platform_data": ANYTHING,
        "captured_at": TIME,
    },
)
LIST_SCHEMA = shape("OpenpostSnapshots", {"data": {**listed(_ROW), "maxItems": MAX_ROWS}})
POST_SCHEMA = shape(
    "OpenpostPostMetricsReply",
    {
        "data": shape(
            "OpenpostPostMetrics",
            {
                "post_id": TEXT,
                "totals": shape("OpenpostTotals", _FIGURES),
                "targets": listed(
                    shape(
                        "OpenpostTarget",
                        {
                            **each(("target_id", "platform", "username", "status"), TEXT),
                            "post_url": TEXT_OR_NULL,
                            **_FIGURES,
                            "snapshots": listed(_ROW),
                        },
                    )
                ),
            },
        )
    },
)
