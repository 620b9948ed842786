"""LinkedIn, versioned REST API: pages of organizations, and members.

Documentation: https://learn.microsoft.com/en-us/linkedin/marketing/community-management/, read 2026-11-20.
Auth: OAuth 2.0 user token of 60 days, refresh token of 365 days for approved partners only; rw_organization_admin and
    the role ADMINISTRATOR for organizations, r_member_postAnalytics and r_member_profileAnalytics for members.
Rate limit: by day for each app and member, unpublished, reset at midnight UTC; 429 without headers.
Poll interval: by the common tiers; a member's post costs one call a metric.
Cannot supply: dislikes, quotes, views; an organization's saves; figures older than 12 months.

Uncertain, and how it is read here:
- A channel is an organization if its id is an organization's urn or a number, else a member.
- Shares and ugcPosts are asked for in separate lists; a number alone is a share's. Posts known only by their activity
  have no statistics, so their reactions and comments are asked for (`socialMetadata`).
- Posts without activity are left out of the answer, and so are deleted ones: nothing is said of either. Microsoft says
  to read them as 0, which would be wrong outside of the 12 months that the figures cover.
- `likeCount` is every reaction, and can be negative after removals: as the platform said it.
- One foreign urn fails its whole list with `ACCESS_DENIED` and `processing fields [/shares[0]]`, by a place that says
  little once lists are cut: the list is asked again in halves. Any other denial concerns the role or the scope.
- A member's metrics are asked for one by one and add to each other; `metricType` is a text since 202605 and an object
  with one key before. Saves and link clicks exist since 202604.
- Figures of a video come from resources of their own, for posts whose type names a video: plays of members,
  views of 3 s of organizations.
- Days of an organization are UTC days without unique impressions; days of a member are taken for UTC days too.
- `networkSizes` is documented with and without the protocol header; it is sent.
- A day's limit names itself in the message; any other 429 is a matter of pace.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote, unquote

from schemas import metrics
from schemas.events import PlatformRaw, RawKind
from services.platforms import abilities, base, http_reading, json_reading, report_days
from services.platforms._oauth import oauth_call, read_oauth

VERSION = "202606"
BATCH_SIZE = 20
TOKEN_URL = "https://www.linkedin.com"
DAY = 86_400_000
# The days of a channel that are asked for each time: the longest range that is shown.
REPORT_DAYS = 28

# Brackets, commas and colons are the syntax of lists and records; urns in them come escaped.
_RESTLI = "(),:%"

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
_UNIQUE = "uniqueImpressionsCount"
_CHANNEL_STATISTICS: json_reading.FieldMap = (
    ("impressionCount", metrics.CH_IMPRESSIONS),
    ("likeCount", metrics.CH_LIKES),
    ("commentCount", metrics.CH_COMMENTS),
    ("shareCount", metrics.CH_SHARES),
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
_MEMBER_ASKED = ("IMPRESSION", "MEMBERS_REACHED", "REACTION", "COMMENT", "RESHARE", "POST_SAVE", "LINK_CLICKS")
_MEMBER_VIDEO_ASKED = ("VIDEO_PLAY", "VIDEO_WATCH_TIME")
_MEMBER_CHANNEL = {
    "IMPRESSION": metrics.CH_IMPRESSIONS,
    "MEMBERS_REACHED": metrics.CH_REACH,
    "REACTION": metrics.CH_LIKES,
    "COMMENT": metrics.CH_COMMENTS,
    "RESHARE": metrics.CH_SHARES,
}
_MEMBER_CHANNEL_ASKED = ("IMPRESSION", "REACTION", "COMMENT", "RESHARE")
_VIDEO_METRICS = {"VIDEO_VIEW": metrics.VIDEO_VIEWS, "TIME_WATCHED": metrics.WATCH_TIME}

_SHARE_STATISTICS = "organizationalEntityShareStatistics"
_MEMBER_POSTS = "memberCreatorPostAnalytics"
_MEMBER_VIDEOS = "memberCreatorVideoAnalytics"
_RESOURCES: dict[str, frozenset[tuple[str, int]]] = {
    RawKind.POST_METRICS: frozenset(
        {
            (_SHARE_STATISTICS, 1),
            (_MEMBER_POSTS, 1),
            (_MEMBER_VIDEOS, 1),
            ("videoAnalytics", 1),
            ("socialMetadata", 1),
            ("socialMetadata", 2),
        }
    ),
    RawKind.CHANNEL_METRICS: frozenset(
        {
            (_SHARE_STATISTICS, 1),
            (_MEMBER_POSTS, 1),
            ("networkSizes", 2),
            ("organizationPageStatistics", 1),
            ("memberFollowersCount", 1),
        }
    ),
    RawKind.IDENTITY: frozenset({("organizations", 2), ("userinfo", 1), ("me", 1)}),
}
"""The resources of each kind, with how many segments their paths have."""

_OUTCOME_OF_CODE = {
    "EXPIRED_ACCESS_TOKEN": base.Outcome.TOKEN_EXPIRED,
    "INVALID_ACCESS_TOKEN": base.Outcome.TOKEN_EXPIRED,
    "EMPTY_ACCESS_TOKEN": base.Outcome.TOKEN_EXPIRED,
    "REVOKED_ACCESS_TOKEN": base.Outcome.TOKEN_REVOKED,
    "ACCESS_DENIED": base.Outcome.PERMISSION_MISSING,
    "NONEXISTENT_VERSION": base.Outcome.REQUEST_WRONG,
    "RESOURCE_NOT_FOUND": base.Outcome.REQUEST_WRONG,
    "ILLEGAL_ARGUMENT": base.Outcome.REQUEST_WRONG,
    "TOO_MANY_REQUESTS": base.Outcome.RETRY_LATER,
}
_OUTCOME_OF_SERVICE_CODE = {
    65600: base.Outcome.TOKEN_EXPIRED,
    65601: base.Outcome.TOKEN_REVOKED,
    65602: base.Outcome.TOKEN_EXPIRED,
    100: base.Outcome.PERMISSION_MISSING,
    101: base.Outcome.RETRY_LATER,
}
_Speak = Callable[[tuple[int, int] | None, int, int | None], None]
"""Takes one figure of a channel: its range (None: lifetime), its metric and its value."""

_POST_URN = re.compile(r"urn:li:(?:share|ugcPost|activity):[\w-]{1,64}")
_FOREIGN = re.compile(r"processing fields \[/?(?:shares|ugcPosts|entity|ids)\b")


def _urn(external_id: str) -> str:
    """A post's urn: a number alone is a share's."""
    return f"urn:li:share:{external_id}" if external_id.isascii() and external_id.isdigit() else external_id


def _organization(channel: base.Channel) -> str | None:
    """The organization's urn; None for a member."""
    external_id = channel.external_id
    if external_id.isascii() and external_id.isdigit():
        return f"urn:li:organization:{external_id}"
    return external_id if external_id.startswith("urn:li:organization") else None


def _escaped(urn: str) -> str:
    return quote(urn, safe="")


def _list(urns: Sequence[str]) -> str:
    return f"List({','.join(map(_escaped, urns))})"


def _entity(urn: str) -> str:
    """A post as a member's resources name it."""
    return f"({'ugc' if urn.startswith('urn:li:ugcPost:') else 'share'}:{_escaped(urn)})"


def _wanted(event: PlatformRaw) -> dict[str, list[int]]:
    """Where in the event's targets each post's urn stands."""
    found: dict[str, list[int]] = {}
    for external_id, indexes in json_reading.positions(event).items():
        found.setdefault(_urn(external_id), []).extend(indexes)
    return found


def _elements(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return json_reading.objects(answer.get("elements"), "elements")


def _named_urn(text: Any) -> str | None:
    """The post's urn in a parameter or an entity, escaped or not; None when there is none."""
    found = _POST_URN.search(unquote(text)) if isinstance(text, str) else None
    return found[0] if found else None


def _metric_type(element: dict[str, Any], otherwise: str) -> str:
    """Which metric an element is: a text, or an object with the text under its one key."""
    named = element.get("metricType")
    if isinstance(named, dict):
        named = next(iter(named.values()), None)
    return named if isinstance(named, str) else otherwise


def _figure(value: Any, name: str, position: int) -> int | None:
    return json_reading.duration(value, name) if position == metrics.WATCH_TIME else json_reading.count(value, name)


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


class LinkedIn:
    """LinkedIn: pure reading and describing, see the module's header."""

    facts = base.Facts(
        name="linkedin",
        base_url="https://api.linkedin.com",
        documentation="https://learn.microsoft.com/en-us/linkedin/marketing/community-management/",
        read_on="2026-11-20",
        auth="OAuth 2.0 user token (Bearer) with rw_organization_admin or r_member_postAnalytics",
        rate_limit="unpublished, by day for each app and member",
        post_batch_size=BATCH_SIZE,
        report_days=REPORT_DAYS,
        channel_metrics={
            "followers": ("lifetime",),
            "profile_views": ("day",),
            "impressions": ("day",),
            "likes": ("day",),
            "comments": ("day",),
            "shares": ("day",),
        },
        ranged_metrics=("impressions", "reach", "likes", "comments", "shares", "clicks"),
        channel_lag="not documented",
        not_reported={
            "views": "the API counts impressions, and plays of videos apart",
            "dislikes": "not on the platform",
            "quotes": "not apart from reshares",
            "other_clicks": "clicks are any clicks on an organization's post",
            "avg_watch_time_seconds": "not in the API",
            "poll_votes": "polls are not asked for with the figures",
        },
    )

    def authorize(self, token: str | None) -> dict[str, str]:
        """Bearer token, and the version of API and protocol that every call names."""
        if not token:
            return {}
        return {
            "authorization": f"Bearer {token}",
            "linkedin-version": VERSION,
            "x-restli-protocol-version": "2.0.0",
        }

    def post_calls(
        self, channel: base.Channel, targets: Sequence[base.Target], now: int | None = None
    ) -> list[base.Call]:
        """An organization's posts in lists of 20 by their kind; a member's one by one, a call for each metric."""
        organization = _organization(channel)
        if organization is None:
            return [call for target in targets for call in self._member_calls(target)]
        kinds: dict[str, list[base.Target]] = {}
        for target in targets:
            urn = _urn(target.external_id)
            kind = "ugcPosts" if urn.startswith("urn:li:ugcPost:") else "ids" if ":activity:" in urn else "shares"
            kinds.setdefault(kind, []).append(target)
        calls: list[base.Call] = []
        for kind, group in kinds.items():
            for start in range(0, len(group), BATCH_SIZE):
                part = tuple(group[start : start + BATCH_SIZE])
                listed = (kind, _list([_urn(target.external_id) for target in part]))
                calls.append(
                    self._posts("socialMetadata", (listed,), part)
                    if kind == "ids"
                    else self._posts(
                        _SHARE_STATISTICS,
                        (("q", "organizationalEntity"), ("organizationalEntity", _escaped(organization)), listed),
                        part,
                    )
                )
        calls.extend(call for target in kinds.get("ugcPosts", ()) for call in self._video_calls(target))
        return calls

    def _posts(self, resource: str, query: tuple[tuple[str, str], ...], targets: tuple[base.Target, ...]) -> base.Call:
        path = f"/rest/{resource}"
        return base.Call(RawKind.POST_METRICS, "GET", path, query, None, targets, resource, literal=_RESTLI)

    def _member_calls(self, target: base.Target) -> Iterator[base.Call]:
        entity = _entity(_urn(target.external_id))
        resources: list[tuple[str, tuple[str, ...]]] = [(_MEMBER_POSTS, _MEMBER_ASKED)]
        if "video" in target.post_type.lower():
            resources.append((_MEMBER_VIDEOS, _MEMBER_VIDEO_ASKED))
        for resource, names in resources:
            for name in names:
                query = (("q", "entity"), ("entity", entity), ("queryType", name), ("aggregation", "TOTAL"))
                yield self._posts(resource, query, (target,))

    def _video_calls(self, target: base.Target) -> Iterator[base.Call]:
        if "video" in target.post_type.lower():
            for name in _VIDEO_METRICS:
                entity = _escaped(_urn(target.external_id))
                query = (("q", "entity"), ("entity", entity), ("type", name), ("aggregation", "ALL"))
                yield self._posts("videoAnalytics", query, (target,))

    def channel_calls(self, channel: base.Channel, now: int) -> list[base.Call]:
        """Followers now, and the last 28 closed UTC days: of posts and page for organizations, of posts for members."""
        organization = _organization(channel)
        today = now // DAY * DAY
        start = today - REPORT_DAYS * DAY
        if organization is None:
            first, last = (datetime.fromtimestamp(at / 1000, UTC).date() for at in (start, today))
            bounds = ",".join(
                f"{name}:(year:{day.year},month:{day.month},day:{day.day})"
                for name, day in (("start", first), ("end", last))
            )
            asked = [
                (
                    _MEMBER_POSTS,
                    (("q", "me"), ("queryType", name), ("aggregation", "DAILY"), ("dateRange", f"({bounds})")),
                )
                for name in _MEMBER_CHANNEL_ASKED
            ]
            return [self._channel("memberFollowersCount", (("q", "me"),)), *(self._channel(*call) for call in asked)]
        days = ("timeIntervals", f"(timeRange:(start:{start},end:{today}),timeGranularityType:DAY)")
        urn = _escaped(organization)
        return [
            self._channel(
                f"networkSizes/{http_reading.path_part(organization)}", (("edgeType", "COMPANY_FOLLOWED_BY_MEMBER"),)
            ),
            self._channel(_SHARE_STATISTICS, (("q", "organizationalEntity"), ("organizationalEntity", urn), days)),
            self._channel("organizationPageStatistics", (("q", "organization"), ("organization", urn), days)),
        ]

    def _channel(self, resource: str, query: tuple[tuple[str, str], ...]) -> base.Call:
        group = resource.partition("/")[0]
        return base.Call(RawKind.CHANNEL_METRICS, "GET", f"/rest/{resource}", query, limit_group=group, literal=_RESTLI)

    def identity_call(self, channel: base.Channel) -> base.Call:
        """The organization, which only its administrators read in full; a member's own profile."""
        organization = _organization(channel)
        if organization is None:
            return base.Call(RawKind.IDENTITY, "GET", "/v2/userinfo", limit_group="userinfo")
        path = f"/rest/organizations/{http_reading.path_part(organization.rpartition(':')[2])}"
        return base.Call(RawKind.IDENTITY, "GET", path, limit_group="organizations")

    def refresh_call(self, tokens: abilities.HeldTokens, client: abilities.AppClient) -> abilities.RefreshCall | None:
        """`/oauth/v2/accessToken`; the refresh token stays, and so does its end."""
        return oauth_call("/oauth/v2/accessToken", tokens, client, base_url=TOKEN_URL, ahead_seconds=86_400.0)

    def read_refresh(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> abilities.TokenGrant | abilities.RefreshFailure:
        """Reads the answer by the common rules of OAuth 2."""
        return read_oauth(status, headers, body)

    def read(self, event: PlatformRaw) -> base.Reading:
        """Statistics of shares, members' posts and videos, social metadata; followers, days of posts and page."""
        if not http_reading.succeeded(event):
            return base.NOTHING
        path = http_reading.path_segments(event.endpoint)
        if path[:1] == ("rest",):
            path = path[1:]
        if not path or (path[0], len(path)) not in _RESOURCES.get(event.kind, ()):
            raise base.MappingError("unknown_endpoint", f"LinkedIn has no {event.kind} at {event.endpoint[:200]!r}")
        answer = json_reading.json_object(event.body)
        if event.kind == RawKind.IDENTITY or "serviceErrorCode" in answer:
            return base.NOTHING
        if event.kind == RawKind.CHANNEL_METRICS:
            return base.Reading((), self._read_channel(event, path[0], answer))
        if path[0] == "socialMetadata":
            return self._metadata(event, path, answer)
        if path[0] == _SHARE_STATISTICS:
            return self._shares(event, answer)
        return self._single(event, path[0], answer)

    def _shares(self, event: PlatformRaw, answer: dict[str, Any]) -> base.Reading:
        """One element a post, or a post and day; posts without activity are left out."""
        wanted = _wanted(event)
        readings: dict[int, base.PostReading] = {}
        for element in _elements(answer):
            urn = element.get("share", element.get("ugcPost"))
            indexes = wanted.get(urn, ()) if isinstance(urn, str) else ()
            figures = (
                json_reading.block(element.get("totalShareStatistics"), "totalShareStatistics") if indexes else None
            )
            if figures is None:
                continue
            values: list[int | None] = list(metrics.NO_POST_VALUES)
            json_reading.fill(values, figures, _STATISTICS)
            spoken, is_ranged = _STATISTICS_BITS, "timeRange" in element
            if _UNIQUE in figures or not is_ranged:
                values[metrics.REACH] = json_reading.count(figures.get(_UNIQUE), _UNIQUE)
                spoken |= json_reading.bits(metrics.REACH)
            for index in indexes:
                readings[index] = base.PostReading(index, spoken, spoken if is_ranged else 0, tuple(values))
        return base.Reading(list(readings.values()))

    def _single(self, event: PlatformRaw, resource: str, answer: dict[str, Any]) -> base.Reading:
        """One metric of one post: of a member, or of an organization's video."""
        request = event.request
        if request.get("q") == "me":
            return base.NOTHING  # totals of all posts together
        urn = _named_urn(request.get("entity"))
        wanted = _wanted(event)
        asked = wanted.get(urn, []) if urn is not None else next(iter(wanted.values())) if len(wanted) == 1 else []
        is_video = resource == "videoAnalytics"
        names = _VIDEO_METRICS if is_video else _MEMBER_METRICS
        ranged_call = request.get("aggregation") in ("DAILY", "DAY", "WEEK") or bool(
            {"dateRange", "timeRange"} & request.keys()
        )
        values: list[int | None] = list(metrics.NO_POST_VALUES)
        spoken = ranged = 0
        for element in _elements(answer):
            if is_video:
                said = element.get("statisticsType", element.get("type"))
                name, key = said if isinstance(said, str) else request.get("type", ""), "value"
            else:
                name, key = _metric_type(element, request.get("queryType", "")), "count"
            position = names.get(name)
            if position is None or key not in element:
                continue
            values[position] = _figure(element[key], name, position)
            spoken |= 1 << position
            if ranged_call or "dateRange" in element:
                ranged |= 1 << position
        whole = tuple(values)
        return base.Reading([base.PostReading(index, spoken, ranged, whole) for index in asked] if spoken else ())

    def _metadata_of(self, event: PlatformRaw, path: tuple[str, ...], answer: dict[str, Any]) -> dict[str, Any]:
        """Social metadata by urn: of several, or of one."""
        if len(path) == 2:
            return {unquote(path[1]): answer}
        results = json_reading.block(answer.get("results"), "results") or {}
        return {unquote(urn): part for urn, part in results.items()}

    def _metadata(self, event: PlatformRaw, path: tuple[str, ...], answer: dict[str, Any]) -> base.Reading:
        readings: list[base.PostReading] = []
        wanted = _wanted(event)
        for urn, part in self._metadata_of(event, path, answer).items():
            indexes = wanted.get(urn, ())
            metadata = json_reading.block(part, "a result") if indexes else None
            if metadata is None:
                continue
            values: list[int | None] = list(metrics.NO_POST_VALUES)
            spoken = 0
            reactions = json_reading.block(metadata.get("reactionSummaries"), "reactionSummaries")
            if reactions is not None:
                counts = [
                    json_reading.count(
                        json_reading.block(each, f"reactionSummaries.{kind}") and each.get("count"), "count"
                    )
                    for kind, each in reactions.items()
                ]
                known = [each for each in counts if each is not None]
                values[metrics.LIKES] = json_reading.count(sum(known), "reactions") if known else None
                spoken |= json_reading.bits(metrics.LIKES)
            comments = json_reading.block(metadata.get("commentSummary"), "commentSummary")
            if comments is not None:
                values[metrics.COMMENTS] = json_reading.count(comments.get("count"), "commentSummary.count")
                spoken |= json_reading.bits(metrics.COMMENTS)
            if spoken:
                readings.extend(base.PostReading(index, spoken, 0, tuple(values)) for index in indexes)
        errors = answer.get("errors")
        gone = [
            index
            for urn, error in (errors.items() if isinstance(errors, dict) and len(path) == 1 else ())
            if isinstance(error, dict) and error.get("status") == 404
            for index in wanted.get(unquote(urn), ())
        ]
        answered = {reading.position for reading in readings}
        return base.Reading(readings, (), [index for index in gone if index not in answered])

    def _read_channel(
        self, event: PlatformRaw, resource: str, answer: dict[str, Any]
    ) -> tuple[base.ChannelReading, ...]:
        found: dict[tuple[int, int] | None, tuple[int, list[int | None]]] = {}

        def speak(covered: tuple[int, int] | None, position: int, value: int | None) -> None:
            spoken, values = found.get(covered) or (0, list(metrics.NO_CHANNEL_VALUES))
            values[position] = value
            found[covered] = (spoken | 1 << position, values)

        if resource == "networkSizes":
            if "firstDegreeSize" in answer:
                speak(None, metrics.CH_FOLLOWERS, json_reading.count(answer["firstDegreeSize"], "firstDegreeSize"))
        elif resource == "memberFollowersCount":
            for element in _elements(answer):
                if "memberFollowersCount" in element and "dateRange" not in element:
                    speak(
                        None,
                        metrics.CH_FOLLOWERS,
                        json_reading.count(element["memberFollowersCount"], "memberFollowersCount"),
                    )
        elif resource == _MEMBER_POSTS:
            for element in _elements(answer):
                covered = _days(element)
                position = _MEMBER_CHANNEL.get(_metric_type(element, event.request.get("queryType", "")))
                if covered is not None and position is not None and "count" in element:
                    speak(covered, position, json_reading.count(element["count"], "count"))
        else:
            for element in _elements(answer):
                covered = _range(element)
                if covered is None and "timeRange" in element:
                    continue
                if resource == _SHARE_STATISTICS:
                    self._speak_statistics(speak, covered, element)
                else:
                    self._speak_page(speak, covered, element)
        return tuple(
            base.ChannelReading(*_period(covered), spoken, tuple(values)) for covered, (spoken, values) in found.items()
        )

    def _speak_statistics(self, speak: _Speak, covered: tuple[int, int] | None, element: dict[str, Any]) -> None:
        """All posts of an organization together; an element about one post is not the channel's."""
        figures = json_reading.block(element.get("totalShareStatistics"), "totalShareStatistics")
        if figures is None or "share" in element or "ugcPost" in element:
            return
        for key, position in _CHANNEL_STATISTICS:
            speak(covered, position, json_reading.count(figures.get(key), key))
        if _UNIQUE in figures:
            speak(covered, metrics.CH_REACH, json_reading.count(figures[_UNIQUE], _UNIQUE))

    def _speak_page(self, speak: _Speak, covered: tuple[int, int] | None, element: dict[str, Any]) -> None:
        """Views of an organization's page."""
        views: Any = element
        for name in ("totalPageStatistics", "views", "allPageViews"):
            views = json_reading.block(views.get(name), name)
            if views is None:
                return
        speak(covered, metrics.CH_PROFILE_VIEWS, json_reading.count(views.get("pageViews"), "pageViews"))

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """The target's element, or its social metadata."""
        answer = json_reading.try_json_object(event.body)
        if not 0 <= target_index < len(event.targets):
            return {}
        urn = _urn(event.targets[target_index].external_id)
        path = http_reading.path_segments(event.endpoint)
        if path[:1] == ("rest",):
            path = path[1:]
        try:
            if path[:1] == ("socialMetadata",):
                found = self._metadata_of(event, path, answer).get(urn)
                return found if isinstance(found, dict) else {}
            for element in _elements(answer):
                if urn in (element.get("share"), element.get("ugcPost")):
                    return element
                if path[:1] != (_SHARE_STATISTICS,) and _named_urn(event.request.get("entity")) == urn:
                    return element
        except base.MappingError:
            pass  # an answer that can't be read holds no part of the target
        return {}

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> base.Verdict:
        """LinkedIn's code, or its service's; the status where there is none."""
        answer = json_reading.try_json_object(body)
        code, service_code, message = (
            answer.get("code"),
            answer.get("serviceErrorCode"),
            json_reading.text(answer.get("message", "")),
        )
        if 200 <= status < 300 and service_code is None:
            return (
                base.Verdict(base.Outcome.OK)
                if answer
                else base.Verdict(base.Outcome.PLATFORM_DOWN, detail=f"{status} no JSON")
            )
        detail = f"{status} {json_reading.text(service_code)} {json_reading.text(code)}"[:200]
        outcome = _OUTCOME_OF_CODE.get(code) if isinstance(code, str) else None
        if outcome is None and type(service_code) is int:
            outcome = _OUTCOME_OF_SERVICE_CODE.get(service_code)
        named = _POST_URN.search(message)
        if outcome is base.Outcome.PERMISSION_MISSING and (named or _FOREIGN.search(message)):
            outcome = base.Outcome.TARGET_GONE  # one post of another author
        if outcome is None:
            verdict = http_reading.by_status(status if status >= 400 else 500, headers, detail)
            outcome = verdict.outcome
        if outcome is base.Outcome.REQUEST_WRONG and named:
            outcome = base.Outcome.TARGET_REFUSED  # the request is right but for the id of one post
        if outcome is base.Outcome.RETRY_LATER and " DAY " in message:
            is_app_wide = " APPLICATION " in message
            return base.Verdict(base.Outcome.QUOTA_EXHAUSTED, (DAY - now % DAY) / 1000, detail, is_app_wide=is_app_wide)
        wait = http_reading.retry_after(headers) if outcome in _WAITING else None
        refused = named[0] if named and outcome in (base.Outcome.TARGET_GONE, base.Outcome.TARGET_REFUSED) else None
        return base.Verdict(outcome, wait, detail, refused_target=refused)

    def limits(self, headers: Mapping[str, str], now: int) -> base.LimitState | None:
        """LinkedIn sends no headers about its limits."""
        return None


_WAITING = frozenset({base.Outcome.RETRY_LATER, base.Outcome.PLATFORM_DOWN, base.Outcome.QUOTA_EXHAUSTED})

PLATFORM = LinkedIn()
