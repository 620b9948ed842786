"""The figures of a Facebook post, reel, video, photo or story: fields and insights by name. No platform of its own.

What is uncertain about them is in the header of `facebook.py`.
"""

from __future__ import annotations

from typing import Any

from schemas import metrics
from services.platforms import _graph_reading, json_reading
from services.platforms._graph_reading import Asked

# Fields of a post, each with the object and the key that hold its count.
_FIELDS = {
    "reactions": ("summary", "total_count", metrics.LIKES),
    "comments": ("summary", "total_count", metrics.COMMENTS),
    "shares": ("", "count", metrics.SHARES),
}
_INSIGHTS = {
    "post_media_view": metrics.VIEWS,
    "post_total_media_view_unique": metrics.REACH,
    "post_impressions": metrics.IMPRESSIONS,
    "post_impressions_unique": metrics.REACH,
    "post_clicks": metrics.CLICKS,
    "post_video_views": metrics.VIDEO_VIEWS,
    "post_video_view_time": metrics.WATCH_TIME,
    "post_video_avg_time_watched": metrics.AVG_WATCH_TIME,
    "post_reactions_by_type_total": metrics.LIKES,
    # Of videos and reels, at `/video_insights`.
    "blue_reels_play_count": metrics.VIEWS,
    "fb_reels_total_plays": metrics.VIEWS,
    "total_video_views": metrics.VIDEO_VIEWS,
    "total_video_view_total_time": metrics.WATCH_TIME,
    "total_video_avg_time_watched": metrics.AVG_WATCH_TIME,
    "post_video_likes_by_reaction_type": metrics.LIKES,
    "total_video_reactions_by_type_total": metrics.LIKES,
    # Of stories.
    "story_media_view": metrics.VIEWS,
    "story_total_media_view_unique": metrics.REACH,
    "page_story_impressions_by_story_id_unique": metrics.REACH,
    "pages_fb_story_thread_lightweight_reactions": metrics.LIKES,
    "pages_fb_story_replies": metrics.COMMENTS,
    "pages_fb_story_shares": metrics.SHARES,
}
_DURATIONS = frozenset(
    {
        "post_video_view_time",
        "post_video_avg_time_watched",
        "total_video_view_total_time",
        "total_video_avg_time_watched",
    }
)
_BY_TYPE = frozenset(
    {
        "post_reactions_by_type_total",
        "post_video_likes_by_reaction_type",
        "total_video_reactions_by_type_total",
        "pages_fb_story_thread_lightweight_reactions",
    }
)
# Counts by action: each action is a metric of its own.
_BY_ACTION = frozenset(
    {"post_activity_by_action_type", "post_video_social_actions", "total_video_stories_by_action_type"}
)
_ACTIONS = {"like": metrics.LIKES, "comment": metrics.COMMENTS, "share": metrics.SHARES}
# Where a field or a newer name has spoken, these only fill what is unknown.
_SECOND_CHOICE = _BY_TYPE | {
    "post_impressions_unique",
    "fb_reels_total_plays",
    "page_story_impressions_by_story_id_unique",
}


def _figure(value: Any, name: str) -> int | None:
    """A figure of an insight: a count, a duration, or the sum of counts by type.

    Raises:
        MappingError: `bad_count`.
    """
    if name in _BY_TYPE and isinstance(value, dict):
        known = [
            figure for kind, item in value.items() if (figure := json_reading.count(item, f"{name}.{kind}")) is not None
        ]
        return json_reading.count(sum(known), name) if known else None
    return json_reading.duration(value, name) if name in _DURATIONS else json_reading.count(value, name)


def _held(insight: dict[str, Any], name: str) -> tuple[bool, Any]:
    """Whether an insight holds a value, and the value: the newest of its `values`."""
    values = json_reading.objects(insight.get("values") or [], f"{name}.values")
    if not values or "value" not in values[-1]:
        return False, None
    value = values[-1]["value"]
    is_empty = name in _BY_TYPE | _BY_ACTION and value in ({}, [])
    return (False, None) if is_empty else (True, value)


def _read_insights(
    edge: Any, asked: frozenset[str], values: list[int | None], spoken: int, ranged: int
) -> tuple[int, int]:
    """Write a post's insights beside what its fields said; returns the masks of reported and of ranged metrics."""
    answered = json_reading.block(edge, "insights")
    listed = (
        json_reading.objects(answered.get("data"), "insights.data")
        if answered is not None and "data" in answered
        else []
    )
    if not listed:
        return spoken, ranged
    named = [(insight["name"].lower(), insight) for insight in listed if isinstance(insight.get("name"), str)]
    # Lifetime figures first, then the newer names: whatever comes later only fills.
    known = [(name, insight) for name, insight in named if name in _INSIGHTS]
    known.sort(key=lambda entry: (entry[1].get("period") != "lifetime", entry[0] in _SECOND_CHOICE))
    for name, insight in known:
        position = _INSIGHTS[name]
        bit = 1 << position
        if values[position] is not None or (spoken & bit and name not in _SECOND_CHOICE):
            continue
        holds, value = _held(insight, name)
        if holds:
            values[position] = _figure(value, name)
            spoken |= bit
            ranged |= 0 if insight.get("period", "lifetime") == "lifetime" else bit
    for name, insight in named:
        if name in _BY_ACTION and insight.get("period", "lifetime") == "lifetime":
            spoken |= _read_actions(_held(insight, name)[1], name, values)
    for name in asked.intersection(_INSIGHTS).difference([name for name, _ in named]):
        spoken |= 1 << _INSIGHTS[name]
    return spoken, ranged


def _read_actions(value: Any, name: str, values: list[int | None]) -> int:
    """Write counts by action where nothing better has spoken; returns the mask of those written.

    One number for all actions together, as some videos have, says nothing of any of them.
    """
    spoken = 0
    for action, item in value.items() if isinstance(value, dict) else ():
        position = _ACTIONS.get(action.lower())
        if position is not None and values[position] is None:
            values[position] = json_reading.count(item, f"{name}.{action}")
            spoken |= 1 << position
    return spoken


def post_figures(post: dict[str, Any], asked: Asked) -> tuple[int, int, list[int | None]]:
    """The figures of one post object: masks of reported and of ranged metrics, and values."""
    values: list[int | None] = list(metrics.NO_POST_VALUES)
    if not post or "error" in post:
        return 0, 0, values
    spoken = ranged = 0
    for field, (inner, key, position) in _FIELDS.items():
        if field in post:
            holder = json_reading.block(post[field], field)
            if inner and holder is not None:
                holder = json_reading.block(holder.get(inner), f"{field}.{inner}")
            if holder is not None:
                values[position] = json_reading.count(holder.get(key), f"{field}.{key}")
                spoken |= 1 << position
        elif field in asked.fields:
            spoken |= 1 << position
    for edge in _graph_reading.INSIGHT_EDGES:
        spoken, ranged = _read_insights(post.get(edge), asked.insights, values, spoken, ranged)
    return spoken, ranged, values
