"""The figures of LinkedIn posts: statistics of shares, single metrics, social metadata. No platform of its own.

Documentation: Microsoft Learn "Organization Share Statistics", "Member Creator Post Statistics", "Video Analytics",
    "Social Metadata API", "Posts API"; read 2026-11-30. What is uncertain is said in `linkedin.py`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from schemas import metrics
from schemas.events import PlatformRaw
from services.platforms import _lists, abilities, base, http_reading, json_reading, report_days
from services.platforms._linkedin_channel import SHARE_STATISTICS, UNIQUE, elements_of, metric_type
from services.platforms._linkedin_urns import POST_URN, address, named_urn, wanted

_STATISTICS: json_reading.FieldMap = (
    ("impressionCount", metrics.IMPRESSIONS),
    ("likeCount", metrics.LIKES),
    ("commentCount", metrics.COMMENTS),
    ("shareCount", metrics.SHARES),
    ("clickCount", metrics.CLICKS),
)
_STATISTICS_BITS = json_reading.bits(
    metrics.IMPRESSIONS, metrics.LIKES, metrics.COMMENTS, metrics.SHARES, metrics.CLICKS
)
_MEMBER_METRICS = {
    "IMPRESSION": metrics.IMPRESSIONS,
    "MEMBERS_REACHED": metrics.REACH,
    "REACTION": metrics.LIKES,
    "COMMENT": metrics.COMMENTS,
    "RESHARE": metrics.SHARES,
    "POST_SAVE": metrics.SAVES,
    "LINK_CLICKS": metrics.CLICKS,
    "FOLLOWER_GAINED_FROM_CONTENT": metrics.FOLLOWS,
    "PROFILE_VIEW_FROM_CONTENT": metrics.PROFILE_CLICKS,
    "VIDEO_PLAY": metrics.VIDEO_VIEWS,
    "VIDEO_WATCH_TIME": metrics.WATCH_TIME,
}
VIDEO_METRICS = {"VIDEO_VIEW": metrics.VIDEO_VIEWS, "TIME_WATCHED": metrics.WATCH_TIME}


def _figure(value: Any, name: str, position: int) -> int | None:
    return json_reading.duration(value, name) if position == metrics.WATCH_TIME else json_reading.count(value, name)


def posted(post: dict[str, Any]) -> abilities.Discovered | str | None:
    """A post of a list; the name of a field that it lacks, None for what is no organic post."""
    urn, at = post.get("id"), post.get("publishedAt")
    spread = post.get("distribution")
    is_dark = isinstance(spread, dict) and spread.get("feedDistribution") == "NONE"
    if post.get("lifecycleState", "PUBLISHED") != "PUBLISHED" or is_dark:
        return None
    if not isinstance(urn, str) or not POST_URN.fullmatch(urn):
        return "id"
    if type(at) is not int or not report_days.EARLIEST < at < report_days.LATEST:
        return "publishedAt"
    content = post.get("content")
    media = content.get("media") if isinstance(content, dict) else None
    is_video = isinstance(media, dict) and _lists.text_of(media.get("id")).startswith("urn:li:video:")
    return abilities.Discovered(
        urn, at, "linkedin-video" if is_video else "linkedin-post", address(urn) or "",
        _lists.text_of(post.get("commentary")),
    )  # fmt: skip


def path_of(event: PlatformRaw) -> tuple[str, ...]:
    """The path that was asked, without the API's name before it."""
    path = http_reading.path_segments(event.endpoint)
    return path[1:] if path[:1] == ("rest",) else path


def shares(event: PlatformRaw, answer: dict[str, Any]) -> base.Reading:
    """One element a post, or a post and day; posts without activity are left out."""
    places = wanted(event)
    found: dict[str, json_reading.Figures] = {}
    for element in elements_of(answer):
        urn = element.get("share", element.get("ugcPost"))
        if not isinstance(urn, str) or urn not in places:
            continue
        figures = json_reading.block(element.get("totalShareStatistics"), "totalShareStatistics")
        if figures is None:
            continue
        values: list[int | None] = list(metrics.NO_POST_VALUES)
        json_reading.fill(values, figures, _STATISTICS)
        spoken, is_ranged = _STATISTICS_BITS, "timeRange" in element
        if UNIQUE in figures or not is_ranged:
            values[metrics.REACH] = json_reading.count(figures.get(UNIQUE), UNIQUE)
            spoken |= json_reading.bits(metrics.REACH)
        found[urn] = (spoken, spoken if is_ranged else 0, tuple(values))
    return base.Reading(json_reading.readings(found, places))


def single(event: PlatformRaw, resource: str, answer: dict[str, Any]) -> base.Reading:
    """One metric of one post: of a member, or of an organization's video."""
    request = event.request
    if request.get("q") == "me":
        return base.NOTHING  # totals of all posts together
    urn = named_urn(request.get("entity"))
    places = wanted(event)
    asked = places.get(urn, []) if urn is not None else next(iter(places.values())) if len(places) == 1 else []
    is_video = resource == "videoAnalytics"
    names = VIDEO_METRICS if is_video else _MEMBER_METRICS
    ranged_call = request.get("aggregation") in ("DAILY", "DAY", "WEEK") or bool(
        {"dateRange", "timeRange"} & request.keys()
    )
    values: list[int | None] = list(metrics.NO_POST_VALUES)
    spoken = ranged = 0
    for element in elements_of(answer):
        if is_video:
            said = element.get("statisticsType", element.get("type"))
            name, key = said if isinstance(said, str) else request.get("type", ""), "value"
        else:
            name, key = metric_type(element, request.get("queryType", "")), "count"
        position = names.get(name)
        if position is None or key not in element:
            continue
        values[position] = _figure(element[key], name, position)
        spoken |= 1 << position
        if ranged_call or element.get("dateRange"):
            ranged |= 1 << position
    whole = tuple(values)
    return base.Reading([base.PostReading(index, spoken, ranged, whole) for index in asked] if spoken else ())


def metadata_of(path: tuple[str, ...], answer: dict[str, Any]) -> dict[str, Any]:
    """Social metadata by urn: of several, or of one."""
    if len(path) == 2:
        return {unquote(path[1]): answer}
    results = json_reading.block(answer.get("results"), "results") or {}
    return {unquote(urn): part for urn, part in results.items()}


def metadata(event: PlatformRaw, path: tuple[str, ...], answer: dict[str, Any]) -> base.Reading:
    """Reactions and comments of several posts or of one, and which of them are gone by their own errors."""
    figures: dict[str, json_reading.Figures] = {}
    places = wanted(event)
    for urn, part in metadata_of(path, answer).items():
        found = json_reading.block(part, "a result") if urn in places else None
        if found is None:
            continue
        values: list[int | None] = list(metrics.NO_POST_VALUES)
        spoken = 0
        reactions = json_reading.block(found.get("reactionSummaries"), "reactionSummaries")
        if reactions is not None:
            counts = [
                json_reading.count(json_reading.block(each, f"reactionSummaries.{kind}") and each.get("count"), "count")
                for kind, each in reactions.items()
            ]
            known = [each for each in counts if each is not None]
            values[metrics.LIKES] = json_reading.count(sum(known), "reactions") if known else None
            spoken |= json_reading.bits(metrics.LIKES)
        comments = json_reading.block(found.get("commentSummary"), "commentSummary")
        if comments is not None:
            values[metrics.COMMENTS] = json_reading.count(comments.get("count"), "commentSummary.count")
            spoken |= json_reading.bits(metrics.COMMENTS)
        if spoken:
            figures[urn] = (spoken, 0, tuple(values))
    errors = answer.get("errors")
    # A urn may be written in several ways.
    gone = dict.fromkeys(
        unquote(urn)
        for urn, error in (errors.items() if isinstance(errors, dict) and len(path) == 1 else ())
        if isinstance(error, dict) and error.get("status") == 404
    )
    return base.Reading(
        json_reading.readings(figures, places),
        (),
        [index for urn in gone if urn not in figures for index in places.get(urn, ())],
    )


def parts(event: PlatformRaw) -> dict[str, dict[str, Any]]:
    """What an answer holds of each post, by its urn: social metadata, or its first element.

    Raises:
        MappingError: `unexpected_shape`.
    """
    answer, path = json_reading.try_json_object(event.body), path_of(event)
    if path[:1] == ("socialMetadata",):
        return {urn: part for urn, part in metadata_of(path, answer).items() if isinstance(part, dict)}
    found: dict[str, dict[str, Any]] = {}
    entity = named_urn(event.request.get("entity")) if path[:1] != (SHARE_STATISTICS,) else None
    for element in elements_of(answer):
        for urn in (element.get("share"), element.get("ugcPost"), entity):
            if isinstance(urn, str):
                found.setdefault(urn, element)
    return found
