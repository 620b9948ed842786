"""Answers as PostFlow's replies. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from schemas.metrics import (
    AVG_WATCH_TIME,
    CLICKS,
    COMMENTS,
    DISLIKES,
    FOLLOWS,
    IMPRESSIONS,
    LIKES,
    OTHER_CLICKS,
    POLL_VOTES,
    PROFILE_CLICKS,
    QUOTES,
    REACH,
    SAVES,
    SHARES,
    VIEWS,
    WATCH_TIME,
    Values,
    bounded,
    post_engagements,
    whole_seconds,
)
from services.query_api.dialects.postflow.models import LINK_PREVIEW_KEYS, PLATFORM_NAMES, STATUS_NUMBERS
from services.query_api.reads.query import (
    NO_SCORES,
    ChannelScores,
    Post,
    PostScores,
    Target,
    latest,
    totals,
    video_views,
    with_fallback,
)
from services.runtime.clock import iso_seconds
from services.runtime.instants import parse_timestamp


class _Shown(NamedTuple):
    """Figures of one target: its own, or the sums over its stories, which then are its parts."""

    values: Values
    video_views: int | None
    captured_at: int | None
    parts: tuple[Values, ...]


def post_metrics(answer: PostScores) -> list[dict[str, Any]]:
    """One element for each target without a parent, in target order, with the target's stories as items.

    A target whose parent was deleted counts as a target without a parent.
    """
    post = answer.post
    held = {target.target_id for target in post.targets}
    stories: dict[str, list[Target]] = {}
    parents: list[Target] = []
    for target in post.targets:
        if target.parent_target_id in held and target.parent_target_id is not None:
            stories.setdefault(target.parent_target_id, []).append(target)
        else:
            parents.append(target)
    return [_element(post, target, stories.get(target.target_id, []), answer.scores) for target in parents]


def _element(
    post: Post, target: Target, stories: Sequence[Target], scores: Mapping[str, ChannelScores]
) -> dict[str, Any]:
    items = [(story, _own(story)) for story in stories]
    shown = _own(target)
    if items and not any(value is not None for value in target.values):
        shown = _sums([figures for _, figures in items], shown)
    return {
        **_metrics(post, target, shown, scores),
        "postDetail": _detail(post, target, stories),
        "items": [_metrics(post, story, figures, scores) for story, figures in items],
    }


def _own(target: Target) -> _Shown:
    views = video_views(target.values, target.platform, target.post_type)
    values = with_fallback(target.values)
    return _Shown(values, views, target.captured_at, (values,))


def _sums(parts: Sequence[_Shown], own: _Shown) -> _Shown:
    """The figures of a parent without own figures: sums over its stories."""
    watched = [part.video_views for part in parts if part.video_views is not None]
    return _Shown(
        totals(part.values for part in parts),
        bounded(sum(watched)) if watched else None,
        latest([own.captured_at, *(part.captured_at for part in parts)]),
        tuple(part.values for part in parts),
    )


def _rate(shown: _Shown, base: int) -> float | None:
    """Engagements divided by a metric, over the targets that have both, so that the rate lies between the stories'."""
    counted = [
        (engagements, shown_to)
        for values in shown.parts
        if (engagements := post_engagements(values)) is not None and (shown_to := values[base] or 0) > 0
    ]
    # Python rounds the quotient of two whole numbers once, as it does a fraction's, in a tenth of the time.
    return sum(pair[0] for pair in counted) / sum(pair[1] for pair in counted) if counted else None


def _shares(shown: _Shown) -> int | None:
    """Shares without quotes, where a target reports quotes, so that shares and quotes can be added up."""
    told = [max(0, shares - (values[QUOTES] or 0)) for values in shown.parts if (shares := values[SHARES]) is not None]
    return bounded(sum(told)) if told else None


def _metrics(post: Post, target: Target, shown: _Shown, scores: Mapping[str, ChannelScores]) -> dict[str, Any]:
    values = shown.values
    engagements = post_engagements(values)
    of_channel = scores.get(target.channel_id, NO_SCORES)
    tenths = of_channel.tenths.get(target.target_id)
    return {
        "id": target.target_id,
        "post_id": post.post_id,
        "post_detail_id": target.target_id,
        "social_account_id": target.channel_id,
        "social_post_id": target.external_id or None,
        "score": None if tenths is None else tenths / 10,
        "views": values[VIEWS],
        "reach": values[REACH],
        "likes": values[LIKES],
        "dislikes": values[DISLIKES],
        "shares": _shares(shown),
        "quotes": values[QUOTES],
        "replies": values[COMMENTS],
        "saves": values[SAVES],
        "follows": values[FOLLOWS],
        "user_profile_clicks": values[PROFILE_CLICKS],
        "post_link_clicks": values[CLICKS],
        "post_other_clicks": values[OTHER_CLICKS],
        "engagements": engagements,
        "engagement_rate_impressions": _rate(shown, IMPRESSIONS),
        "engagement_rate_reach": _rate(shown, REACH),
        "video_views": shown.video_views,
        "video_watch_time_total": whole_seconds(values[WATCH_TIME]),
        "video_watch_time_avg": whole_seconds(values[AVG_WATCH_TIME]),
        **{f"score_{grade}": count for grade, count in enumerate(of_channel.counts, 1)},
        "updated_at": iso_seconds(post.updated_at if shown.captured_at is None else shown.captured_at),
        "published_at": _time(target.published_at),
        "poll_results": target.detail.get("poll_results"),
        "poll_votes": values[POLL_VOTES],
    }


def _detail(post: Post, target: Target, stories: Sequence[Target]) -> dict[str, Any]:
    detail = target.detail
    return {
        "id": target.target_id,
        "social_network": PLATFORM_NAMES.get(target.platform, target.platform),
        "post_type": target.post_type,
        "post_id": post.post_id,
        "social_account_id": target.channel_id,
        "enabled": detail.get("enabled", True),
        "is_customized": detail.get("is_customized", False),
        "status": STATUS_NUMBERS[target.status],
        "stories": [story.target_id for story in stories],
        "is_story": target.is_story,
        "published_at": _time(target.published_at),
        "user_error_message": detail.get("user_error_message"),
        "content": target.content,
        "link_preview": _link_preview(detail.get("link_preview")),
        "post_link": target.permalink,
        "firstComment": _first_comment(detail.get("first_comment")),
    }


def _link_preview(held: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if held is None else {key: held.get(key) for key in LINK_PREVIEW_KEYS}


def _first_comment(held: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if held is None:
        return None
    return {
        "id": held.get("id"),
        "condition_type": held.get("condition_type"),
        "condition_value": held.get("condition_value"),
        "publishing_failed": bool(held.get("publishing_failed")),
        "user_error_message": held.get("user_error_message"),
        "published_at": _time_of_text(held.get("published_at")),
        "created_at": _time_of_text(held.get("created_at")),
    }


def _time(instant: int | None) -> str | None:
    return None if instant is None else iso_seconds(instant)


def _time_of_text(text: str | None) -> str | None:
    """A time from the text that the catalog keeps as it was written."""
    return None if text is None else iso_seconds(parse_timestamp(text))
