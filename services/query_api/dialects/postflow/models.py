"""Names and the sample reply of PostFlow's document."""

from __future__ import annotations

from typing import Any

from services.query_api.serving.shapes import (
    COUNT,
    COUNT_OR_NULL,
    FLAG,
    NUMBER_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    TIME,
    TIME_OR_NULL,
    each,
    listed,
    or_null,
    shape,
)

PLATFORM_NAMES = {"x": "twitter"}
"""Platforms that PostFlow shows by another name than ours."""

STATUS_NUMBERS = {"draft": 0, "scheduled": 1, "publishing": 2, "published": 3, "failed": 4}
"""PostFlow's number of each of our statuses."""

LINK_PREVIEW_KEYS = ("url", "host", "title", "description", "image_url")

SAMPLE: list[dict[str, Any]] = [
    {
        "id": "<string>",
        "post_id": "<string>",
        "post_detail_id": "<string>",
        "social_account_id": "<string>",
        "social_post_id": "<string>",
        "score": 123,
        "views": 123,
        "reach": 123,
        "likes": 123,
        "dislikes": 123,
        "shares": 123,
        "quotes": 123,
        "replies": 123,
        "saves": 123,
        "follows": 123,
        "user_profile_clicks": 123,
        "post_link_clicks": 123,
        "post_other_clicks": 123,
        "engagements": 123,
        "engagement_rate_impressions": 123,
        "engagement_rate_reach": 123,
        "video_views": 123,
        "video_watch_time_total": 123,
        "video_watch_time_avg": 123,
        "score_1": 123,
        "score_2": 123,
        "score_3": 123,
        "score_4": 123,
        "score_5": 123,
        "score_6": 123,
        "score_7": 123,
        "score_8": 123,
        "score_9": 123,
        "score_10": 123,
        "updated_at": "2023-11-07T05:31:56Z",
        "published_at": "2023-11-07T05:31:56Z",
        "poll_results": ["<string>"],
        "poll_votes": 123,
        "postDetail": {
            "id": "<string>",
            "social_network": "twitter",
            "post_type": "text",
            "post_id": "<string>",
            "social_account_id": "<string>",
            "enabled": True,
            "is_customized": True,
            "status": 1,
            "stories": ["<string>"],
            "is_story": True,
            "published_at": "2023-11-07T05:31:56Z",
            "user_error_message": "<string>",
            "content": "<string>",
            "link_preview": {
                "url": "<string>",
                "host": "<string>",
                "title": "<string>",
                "description": "<string>",
                "image_url": "<string>",
            },
            "post_link": "<string>",
            "firstComment": {
                "id": "<string>",
                "condition_type": 1,
                "condition_value": 123,
                "publishing_failed": True,
                "user_error_message": "<string>",
                "published_at": "2023-11-07T05:31:56Z",
                "created_at": "2023-11-07T05:31:56Z",
            },
        },
        "items": [],
    }
]

_METRICS = {
    **each(("id", "post_id", "post_detail_id", "social_account_id"), TEXT),
    "social_post_id": TEXT_OR_NULL,
    "score": NUMBER_OR_NULL,
    **each(
        (
            "views", "reach", "likes", "dislikes", "shares", "quotes", "replies", "saves", "follows",
            "user_profile_clicks", "post_link_clicks", "post_other_clicks", "engagements",
        ),
        COUNT_OR_NULL,
    ),
    **each(("engagement_rate_impressions", "engagement_rate_reach"), NUMBER_OR_NULL),
    **each(("video_views", "video_watch_time_total", "video_watch_time_avg"), COUNT_OR_NULL),
    **each((f"score_{grade}" for grade in range(1, 11)), COUNT),
    "updated_at": TIME,
    "published_at": TIME_OR_NULL,
    "poll_results": or_null(listed(TEXT)),
    "poll_votes": COUNT_OR_NULL,
}  # fmt: skip
_FIRST_COMMENT = {
    "id": TEXT_OR_NULL,
    "condition_type": COUNT_OR_NULL,
    "condition_value": NUMBER_OR_NULL,
    "publishing_failed": FLAG,
    "user_error_message": TEXT_OR_NULL,
    "published_at": TIME_OR_NULL,
    "created_at": TIME_OR_NULL,
}
_DETAIL = {
    **each(("id", "social_network", "post_type", "post_id", "social_account_id"), TEXT),
    "enabled": FLAG,
    "is_customized": FLAG,
    "status": {"type": "integer", "enum": list(STATUS_NUMBERS.values())},
    "stories": listed(TEXT),
    "is_story": FLAG,
    "published_at": TIME_OR_NULL,
    "user_error_message": TEXT_OR_NULL,
    "content": TEXT_OR_NULL,
    "link_preview": or_null(shape("PostflowLinkPreview", each(LINK_PREVIEW_KEYS, TEXT_OR_NULL))),
    "post_link": TEXT_OR_NULL,
    "firstComment": or_null(shape("PostflowFirstComment", _FIRST_COMMENT)),
}
SCHEMA = listed(
    shape(
        "PostflowPostMetrics",
        {
            **_METRICS,
            "postDetail": shape("PostflowPostDetail", _DETAIL),
            "items": listed(shape("PostflowItemMetrics", _METRICS)),
        },
    )
)
