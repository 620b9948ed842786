"""Sample replies, and the schemas of replies, made from the common columns and the renderers themselves. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.events import CatalogChannel, TargetOrigin
from schemas.metrics import CHANNEL_METRICS, CHANNEL_NAMES, POST_METRICS, POST_NAMES, WINDOW_METRICS, Metric, mask_of
from schemas.registers import Register, Stamp
from schemas.tiers import MILLIS_PER_DAY, MILLIS_PER_HOUR
from schemas.topic_names import RAW
from services.query_api.serving.shapes import or_null
from services.query_api.tidemark.resources import render
from services.query_api.tidemark.resources.reasons import ENGAGEMENT_RATE, ENGAGEMENTS, Reason
from services.query_api.tidemark.resources.states import ChannelState, PeriodState, PostState, TargetState

Schema = dict[str, Any]

_NOW = 1_782_638_062_000
_PUBLISHED = _NOW - 5 * MILLIS_PER_HOUR
_CAPTURED = _NOW - 12 * 60_000
_EVENT = "019f1d4e-6a10-7000-8000-000000000001"


def _register(names: Sequence[str], **figures: int) -> Register:
    values = tuple(figures.get(name) for name in names)
    return Register(((Stamp(1, _CAPTURED, _EVENT.encode()), mask_of(values)),), values, _CAPTURED)


_CHANNEL = CatalogChannel("acme", "ch-ig", "instagram", "17841400000000001", "acme", "active", None, _PUBLISHED)
_TARGET = TargetState(
    target_id="target-1",
    post_id="post-1",
    channel=_CHANNEL,
    post_type="instagram-reel",
    status="published",
    external_id="18000000000000001",
    permalink="https://www.instagram.com/reel/abc/",
    content="Low tide at six",
    published_at=_PUBLISHED,
    is_story=False,
    parent_target_id=None,
    updated_at=_PUBLISHED,
    register=_register(
        POST_NAMES,
        views=18220,
        reach=14890,
        likes=1894,
        comments=132,
        shares=410,
        saves=765,
        watch_time_seconds=91_822_500,
    ),
)
_ACCOUNT = ChannelState(
    _CHANNEL,
    (
        PeriodState("lifetime", None, None, _register(CHANNEL_NAMES, followers=8421, following=318, posts_count=204)),
        PeriodState("day", _NOW - MILLIS_PER_DAY, _NOW, _register(CHANNEL_NAMES, reach=2210, profile_views=96)),
    ),
)

TARGET = render.target(_TARGET, _NOW, 1.0)
POST = render.post(PostState("post-1", "published", _PUBLISHED, _PUBLISHED, _PUBLISHED, (_TARGET,)), _NOW, 1.0)
CHANNEL = render.channel(_ACCOUNT, _NOW, 1.0)
CAPABILITY = {
    "platform": "instagram",
    "subject": "post",
    "metric": "dislikes",
    "supported": False,
    "kinds": [],
    "lag": None,
    "not_supported_because": "not in the API",
    "condition": None,
}
DISCOVERY = {"platform": "linkedin", "supported": True, "condition": "of organizations, with r_organization_social"}
EXPLANATION = {
    "metric": "likes",
    "value": 1894,
    "rule": "for each target the latest answer with this figure, lifetime figures before figures of a range of dates; "
    "summed over targets",
    "parts": [
        {
            "target_id": "target-1",
            "metric": "likes",
            "value": 1894,
            "hidden": False,
            "reason": None,
            "figure_of": "lifetime",
            "event": {
                "event_id": _EVENT,
                "captured_at": "2026-06-28T09:02:22.000Z",
                "is_held": True,
                "topic": RAW,
                "partition": 2,
                "offset": 48211,
                "endpoint": "/v25.0/",
                "http_status": 200,
                "origin": "SCHEDULE",
            },
            "answer": {"id": "18000000000000001", "like_count": 1894},
            "mapping": {
                "module": "services.platforms.instagram",
                "documentation": "https://developers.facebook.com/documentation/instagram-platform",
                "read_on": "2026-11-20",
            },
        }
    ],
}


def listed(sample: Any) -> Schema:
    """A sample page that holds one row."""
    return {"data": [sample], "missing": [], "next_cursor": None}


def _object(name: str, properties: Schema) -> Schema:
    return {"title": name, "type": "object", "required": list(properties), "properties": properties}


def _nullable(kind: str) -> Schema:
    return {"type": [kind, "null"]}


_TEXT: Schema = {"type": "string"}
_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}


def _metrics(name: str, metrics: Sequence[Metric], derived: Schema) -> Schema:
    figures = {
        metric.name: {**_nullable("number" if metric.is_duration else "integer"), "description": metric.comment}
        for metric in metrics
    }
    return _object(name, {**figures, **derived})


_POST_METRICS = _metrics(
    "PostFigures", POST_METRICS, {ENGAGEMENTS: _nullable("integer"), ENGAGEMENT_RATE: _nullable("number")}
)
_CHANNEL_METRICS = _metrics("ChannelFigures", CHANNEL_METRICS, {})
_REASONS = {
    "type": "object",
    "description": "The reason for every null among the metrics.",
    "additionalProperties": {"title": "Reason", "type": "string", "enum": [reason.value for reason in Reason]},
}
_POLLED = {
    "captured_at": {**_TIME, "description": "When the freshest answer among the figures came."},
    "age_seconds": {**_nullable("integer"), "description": "Seconds since captured_at."},
    "tier": {
        **_nullable("string"),
        "description": "The interval between polls, such as 30m, 6h or 1d; null when there is no regular poll.",
    },
    "next_poll_at": {**_TIME, "description": "When the next poll is due; in the past when the poll is late."},
}

TARGET_SCHEMA = _object(
    "Target",
    {
        "id": _TEXT,
        "post_id": _TEXT,
        "channel_id": _TEXT,
        "platform": _TEXT,
        "post_type": _TEXT,
        "status": _TEXT,
        "external_id": _nullable("string"),
        "permalink": _nullable("string"),
        "content": _nullable("string"),
        "published_at": _TIME,
        "is_story": {"type": "boolean"},
        "parent_target_id": _nullable("string"),
        "origin": {
            "type": "string",
            "enum": [origin.value for origin in TargetOrigin],
            "description": "product: written by you; discovered: found in the account's own list.",
        },
        **_POLLED,
        "metrics": _POST_METRICS,
        "reasons": _REASONS,
    },
)
POST_SCHEMA = _object(
    "Post",
    {
        "id": _TEXT,
        "status": _TEXT,
        "created_at": _TIME,
        "published_at": _TIME,
        "updated_at": _TIME,
        **_POLLED,
        "metrics": _POST_METRICS,
        "reasons": _REASONS,
        "targets": {"type": "array", "items": TARGET_SCHEMA},
    },
)
CHANNEL_SCHEMA = _object(
    "Channel",
    {
        "id": _TEXT,
        "platform": _TEXT,
        "external_id": _TEXT,
        "username": _TEXT,
        "status": _TEXT,
        "updated_at": _TIME,
        **_POLLED,
        "metrics": _CHANNEL_METRICS,
        "reasons": _REASONS,
        "periods": {
            "type": "array",
            "items": _object(
                "ChannelPeriod",
                {
                    "period": {"type": "string", "enum": ["lifetime", "day", "window"]},
                    "period_start": _TIME,
                    "period_end": _TIME,
                    "captured_at": _TIME,
                    "metrics": _CHANNEL_METRICS,
                },
            ),
        },
    },
)
CAPABILITY_SCHEMA = _object(
    "Capability",
    {
        "platform": _TEXT,
        "subject": {"type": "string", "enum": ["post", "channel"]},
        "metric": _TEXT,
        "supported": {"type": "boolean"},
        "kinds": {"type": "array", "items": {"type": "string", "enum": ["lifetime", "range", "day", "window"]}},
        "lag": _nullable("string"),
        "not_supported_because": _nullable("string"),
        "condition": _nullable("string"),
    },
)
DISCOVERY_SCHEMA = _object(
    "DiscoveryCapability",
    {"platform": _TEXT, "supported": {"type": "boolean"}, "condition": _nullable("string")},
)
_EVENT_SCHEMA = {
    "title": "ExplanationEvent",
    "type": "object",
    "required": ["event_id", "captured_at", "is_held"],
    "properties": {
        "event_id": _TEXT,
        "captured_at": _TIME,
        "is_held": {"type": "boolean", "description": "False once the raw event was deleted by its retention."},
        "topic": _TEXT,
        "partition": {"type": "integer"},
        "offset": {"type": "integer"},
        "endpoint": _TEXT,
        "http_status": {"type": "integer"},
        "origin": _TEXT,
    },
}
EXPLANATION_SCHEMA = _object(
    "Explanation",
    {
        "metric": _TEXT,
        "value": _nullable("number"),
        "rule": _TEXT,
        "parts": {
            "type": "array",
            "items": _object(
                "ExplanationPart",
                {
                    "target_id": _TEXT,
                    "metric": _TEXT,
                    "value": _nullable("number"),
                    "hidden": {"type": "boolean", "description": "True when the answer named the figure as null."},
                    "reason": _nullable("string"),
                    "figure_of": {"type": ["string", "null"], "enum": ["lifetime", "range", None]},
                    "event": or_null(_EVENT_SCHEMA),
                    "answer": {"description": "The target's own part of the payload."},
                    "mapping": _object(
                        "ExplanationMapping",
                        {
                            "module": _nullable("string"),
                            "documentation": _nullable("string"),
                            "read_on": _nullable("string"),
                        },
                    ),
                },
            ),
        },
    },
)


def listed_schema(items: Schema) -> Schema:
    """The schema of a page: its items, the ids that are missing, and the cursor of the next page."""
    return _object(
        f"{items['title']}Page",
        {
            "data": {"type": "array", "items": items},
            "missing": {"type": "array", "items": _TEXT, "description": "The ids of the request that don't exist."},
            "next_cursor": {**_nullable("string"), "description": "The cursor of the next page; null at the end."},
        },
    )


_NUMBER = {"type": ["number", "null"]}
_WINDOW_NAMES = (*(metric.name for metric in WINDOW_METRICS), ENGAGEMENTS, ENGAGEMENT_RATE)
SUMMED_NAMES = (*POST_NAMES, ENGAGEMENTS, ENGAGEMENT_RATE)
"""The figures of a window whose source is shown: the platform's own window, or a sum over posts."""

WINDOW: dict[str, Any] = {
    "channel_id": "ch-facebook",
    "range": "7d",
    "source": "channel",
    "window_start": "2026-06-21T07:00:00Z",
    "window_end": "2026-06-28T07:00:00Z",
    "metrics": {
        **dict.fromkeys(_WINDOW_NAMES),
        "views": 18240,
        "likes": 271,
        ENGAGEMENTS: 1965,
        ENGAGEMENT_RATE: 0.1077,
    },
    "sources": {"views": "channel", "likes": "posts", ENGAGEMENTS: "channel", ENGAGEMENT_RATE: "channel"},
}
WINDOW_SCHEMA: dict[str, Any] = {
    "title": "ChannelWindow",
    "type": "object",
    "required": list(WINDOW),
    "additionalProperties": False,
    "properties": {
        "channel_id": {"type": "string"},
        "range": {"type": "string", "enum": ["24h", "7d", "28d"]},
        "source": {"type": "string", "enum": ["channel", "posts", "none"]},
        "window_start": {"type": "string", "format": "date-time"},
        "window_end": {"type": "string", "format": "date-time"},
        "metrics": {
            "title": "WindowFigures",
            "type": "object",
            "required": list(_WINDOW_NAMES),
            "additionalProperties": False,
            "properties": dict.fromkeys(_WINDOW_NAMES, _NUMBER),
        },
        "sources": {
            "title": "WindowSources",
            "type": "object",
            "additionalProperties": False,
            "properties": {name: {"type": "string", "enum": ["channel", "posts", "mixed"]} for name in SUMMED_NAMES},
        },
    },
}

EVENTS: dict[str, Any] = {
    "channel_id": "ch-ig",
    "data": [
        {"type": "account.recovered", "occurred_at": "2026-06-28T08:12:40Z", "reason": None},
        {"type": "account.token_expired", "occurred_at": "2026-06-27T21:03:05Z", "reason": "token_revoked"},
    ],
}
EVENTS_SCHEMA: Schema = _object(
    "ChannelEvents",
    {
        "channel_id": _TEXT,
        "data": {
            "type": "array",
            "items": _object(
                "ChannelEvent",
                {
                    "type": {
                        **_TEXT,
                        "description": "account.token_expired, account.disabled, account.hidden or account.recovered.",
                    },
                    "occurred_at": {"type": "string", "format": "date-time"},
                    "reason": _nullable("string"),
                },
            ),
        },
    },
)
