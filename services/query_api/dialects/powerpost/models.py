"""Names and the sample reply of PowerPost's document."""

from __future__ import annotations

from typing import Any

from services.query_api.serving.shapes import COUNT, TEXT, TIME, each, one_of, or_null, shape

STATUS_NAMES = {
    "draft": "draft",
    "scheduled": "draft",
    "publishing": "posting",
    "published": "posted",
    "failed": "failed",
}
"""PowerPost's name of each of our statuses."""

SAMPLE: dict[str, Any] = {
    "post_item_id": "550e8400-e29b-41d4-a716-446655440000",
    "post_type": "instagram-reel",
    "platform": "instagram",
    "status": "posted",
    "metrics": {"views": 12450, "likes": 890, "comments": 42, "fetched_at": "2026-04-15T09:00:00Z"},
}

SCHEMA = shape(
    "PowerpostItemAnalytics",
    {
        **each(("post_item_id", "post_type", "platform"), TEXT),
        "status": one_of(dict.fromkeys(STATUS_NAMES.values())),
        "metrics": or_null(
            shape("PowerpostItemMetrics", {**each(("views", "likes", "comments"), COUNT), "fetched_at": TIME})
        ),
    },
)
