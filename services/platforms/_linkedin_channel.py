"""The figures of a LinkedIn channel: an organization's followers, posts and page, and a member's.

No platform of its own.

Documentation: Microsoft Learn "Organization Share Statistics", "Organization Page Statistics", "Member Creator Post
    Statistics", "Member Followers Statistics"; read 2026-11-30.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from schemas import metrics
from schemas.events import PlatformRaw
from services.platforms import base, json_reading, report_days

SHARE_STATISTICS = "organizationalEntityShareStatistics"
MEMBER_POSTS = "memberCreatorPostAnalytics"
UNIQUE = "uniqueImpressionsCount"
DAY = 86_400_000

_CHANNEL_STATISTICS: json_reading.FieldMap = (
    ("impressionCount", metrics.CH_IMPRESSIONS),
    ("likeCount", metrics.CH_LIKES),
    ("commentCount", metrics.CH_COMMENTS),
    ("shareCount", metrics.CH_SHARES),
)

_MEMBER_CHANNEL = {
    "IMPRESSION": metrics.CH_IMPRESSIONS,
    "MEMBERS_REACHED": metrics.CH_REACH,
    "REACTION": metrics.CH_LIKES,
    "COMMENT": metrics.CH_COMMENTS,
    "RESHARE": metrics.CH_SHARES,
}
_Speak = Callable[[tuple[int, int] | None, int, int | None], None]
"""Takes one figure of a channel: its range (None: lifetime), its metric and its value."""


def elements_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The elements of an answer.

    Raises:
        MappingError: `unexpected_shape`.
    """
    return json_reading.objects(answer.get("elements"), "elements")


def metric_type(element: dict[str, Any], otherwise: str) -> str:
    """Which metric an element is: a text, or an object with the text under its one key."""
    named = element.get("metricType")
    if isinstance(named, dict):
        named = next(iter(named.values()), None)
    return named if isinstance(named, str) else otherwise


def _range(element: dict[str, Any]) -> tuple[int, int] | None:
    """The range of ms that an element covers, its end exclusive; None when it names none, or no sound one."""
    named = element.get("timeRange")
    if not isinstance(named, dict):
        return None
    start, end = named.get("start"), named.get("end")
    if type(start) is int and type(end) is int and report_days.EARLIEST <= start < end < report_days.LATEST:
        return start, end
    return None


def _midnight(named: Any) -> int | None:
    """The instant at which a day (`{"year", "month", "day"}`) begins; None when it is none."""
    if not isinstance(named, dict):
        return None
    try:
        day = date(named["year"], named["month"], named["day"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    at = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
    return at if report_days.EARLIEST <= at < report_days.LATEST - DAY else None


def _days(element: dict[str, Any]) -> tuple[int, int] | None:
    """The range of ms of an element's `dateRange`: a day, where its end is not after its start."""
    named = element.get("dateRange")
    if not isinstance(named, dict):
        return None
    start, end = _midnight(named.get("start")), _midnight(named.get("end"))
    if start is None:
        return None
    return start, end if end is not None and end > start else start + DAY


def _period(covered: tuple[int, int] | None) -> tuple[str, int | None, int | None]:
    if covered is None:
        return "lifetime", None, None
    return "day" if covered[1] - covered[0] == DAY else "window", *covered


def read_channel(event: PlatformRaw, resource: str, answer: dict[str, Any]) -> tuple[base.ChannelReading, ...]:
    """The figures of an answer of one of the channel's resources, one item a period.

    Raises:
        MappingError: `unexpected_shape`, `bad_count`.
    """
    found: dict[tuple[int, int] | None, tuple[int, list[int | None]]] = {}

    def speak(covered: tuple[int, int] | None, position: int, value: int | None) -> None:
        spoken, values = found.get(covered) or (0, list(metrics.NO_CHANNEL_VALUES))
        values[position] = value
        found[covered] = (spoken | 1 << position, values)

    if resource == "networkSizes":
        if "firstDegreeSize" in answer:
            speak(None, metrics.CH_FOLLOWERS, json_reading.count(answer["firstDegreeSize"], "firstDegreeSize"))
    elif resource == "memberFollowersCount":
        for element in elements_of(answer):
            if "memberFollowersCount" in element and not element.get("dateRange"):
                speak(
                    None,
                    metrics.CH_FOLLOWERS,
                    json_reading.count(element["memberFollowersCount"], "memberFollowersCount"),
                )
    elif resource == MEMBER_POSTS:
        for element in elements_of(answer):
            covered = _days(element)
            position = _MEMBER_CHANNEL.get(metric_type(element, event.request.get("queryType", "")))
            if covered is not None and position is not None and "count" in element:
                speak(covered, position, json_reading.count(element["count"], "count"))
    else:
        for element in elements_of(answer):
            covered = _range(element)
            if covered is None and "timeRange" in element:
                continue
            if resource == SHARE_STATISTICS:
                _speak_statistics(speak, covered, element)
            else:
                _speak_page(speak, covered, element)
    return tuple(
        base.ChannelReading(*_period(covered), spoken, tuple(values)) for covered, (spoken, values) in found.items()
    )


def _speak_statistics(speak: _Speak, covered: tuple[int, int] | None, element: dict[str, Any]) -> None:
    """All posts of an organization together; an element about one post is not the channel's."""
    figures = json_reading.block(element.get("totalShareStatistics"), "totalShareStatistics")
    if figures is None or "share" in element or "ugcPost" in element:
        return
    for key, position in _CHANNEL_STATISTICS:
        speak(covered, position, json_reading.count(figures.get(key), key))
    if UNIQUE in figures:
        speak(covered, metrics.CH_REACH, json_reading.count(figures[UNIQUE], UNIQUE))


def _speak_page(speak: _Speak, covered: tuple[int, int] | None, element: dict[str, Any]) -> None:
    """Views of an organization's page."""
    views: Any = element
    for name in ("totalPageStatistics", "views", "allPageViews"):
        views = json_reading.block(views.get(name), name)
        if views is None:
            return
    speak(covered, metrics.CH_PROFILE_VIEWS, json_reading.count(views.get("pageViews"), "pageViews"))
