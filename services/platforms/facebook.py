"""Facebook pages, Graph API.

Documentation: https://developers.facebook.com/docs/graph-api/reference/insights, read 2026-11-20.
Auth: page token without an end, from a user token of 60 days; pages_show_list, pages_read_engagement, read_insights.
Rate limit: 4800 x the page's engaged users in 24 h, and 200 x the app's users an hour, shown as percentages in
    `X-Business-Use-Case-Usage` and `X-App-Usage`; codes 4, 17, 32, 613, 80001.
Poll interval: by the common tiers; most insights are renewed once in 24 h, reactions, comments and shares at once.
Cannot supply: saves, dislikes, quotes; impressions were retired for every version on 2025-11-15.

Uncertain, and how it is read here:
- `shares` is absent where there are none, but also where they may not be seen: absent from an answered post it is
  null, as any count is that was asked for and left out.
- `comments.summary.total_count` counts filtered comments too; it is taken as it is.
- Reactions come as `reactions.summary` and as the insight by type; the summary counts, the insight's sum stands in.
  An insight by type without any type says nothing.
- Insight names retire often, and the refusal (`(#100) The value must be a valid insights metric`) doesn't say which
  of them it means; one that did is left out and the rest asked again.
- One figure can come once for each period: `lifetime` counts; where only days came, the figure is ranged.
- A name asked for in a list of insights that came back with others, but without it, was answered as unknown (null);
  an empty list, as tokens without read_insights get, says nothing.
- `post_clicks` are clicks anywhere on the post. `post_video_views` are views of 3 s, zero on posts without a video.
- Reels have figures of their own on `/video_insights`, which page tokens of posts don't always open; a reel's post
  is asked for like any other.
- `page_follows` of a day is a running total, not a figure of the day: it is kept raw, followers come from the page.
- `published_posts.summary` is documented for posts in general; where it is refused, posts are not counted.
- One id that is gone fails the whole request, with its id in the message; in a batch it fails alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import orjson

from schemas import metrics
from schemas.events import PlatformRaw, RawKind
from services.platforms import _graph, base, http_reading, json_reading, report_days

BATCH_SIZE = 50
# The days of a page that are asked for each time: the longest range that is shown.
REPORT_DAYS = 28

_POST_NAMES = "post_media_view,post_total_media_view_unique,post_clicks,post_video_views,post_video_view_time"
_POST_FIELDS = (
    "reactions.limit(0).summary(total_count),comments.limit(0).summary(total_count),shares,"
    f"insights.metric({_POST_NAMES}).period(lifetime)"
)
_PAGE_NAMES = "page_media_view,page_total_media_view_unique,page_post_engagements,page_views_total"

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
}
_DURATIONS = frozenset({"post_video_view_time", "post_video_avg_time_watched"})
_BY_TYPE = frozenset({"post_reactions_by_type_total"})
# Where a field or a newer name has spoken, these only fill what is unknown.
_SECOND_CHOICE = frozenset({"post_reactions_by_type_total", "post_impressions_unique"})
_PAGE_INSIGHTS = {
    "page_media_view": metrics.CH_VIEWS,
    "page_impressions": metrics.CH_IMPRESSIONS,
    "page_total_media_view_unique": metrics.CH_REACH,
    "page_post_engagements": metrics.CH_ENGAGEMENTS,
    "page_views_total": metrics.CH_PROFILE_VIEWS,
}

_INSIGHT_NAMES = re.compile(r"insights(?:\.\w+\([^()]*\))*\.metric\(([^()]*)\)")
_BRACKETED = re.compile(r"\([^(){}]*\)|\{[^(){}]*\}")
_POST_EDGES = ("", "insights", "posts", "feed", "published_posts")
_CHANNEL_EDGES = ("", "insights", "published_posts")


class _Asked(NamedTuple):
    """Plain fields and names of insights that a request asked for."""

    fields: frozenset[str]
    insights: frozenset[str]


def _split(names: str) -> frozenset[str]:
    return frozenset(name.strip() for name in names.split(","))


@lru_cache(maxsize=1024)
def _asked(fields: str) -> _Asked:
    """What a `fields` parameter asks for."""
    names = _INSIGHT_NAMES.search(fields)
    plain, shorter = fields, _BRACKETED.sub("", fields)
    while shorter != plain:
        plain, shorter = shorter, _BRACKETED.sub("", shorter)
    return _Asked(
        frozenset(field.partition(".")[0].strip() for field in plain.split(",")),
        _split(names[1]) if names else frozenset(),
    )


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


def _held(insight: dict[str, Any], name: str) -> tuple[bool, int | None]:
    """Whether an insight holds a figure, and the figure: the newest of its `values`."""
    values = json_reading.objects(insight.get("values") or [], f"{name}.values")
    if not values or "value" not in values[-1]:
        return False, None
    value = values[-1]["value"]
    if name in _BY_TYPE and value in ({}, []):
        return False, None
    return True, _figure(value, name)


def _read_insights(edge: Any, asked: frozenset[str], values: list[int | None], spoken: int) -> tuple[int, int]:
    """Write a post's insights beside what its fields said; returns the masks of reported and of ranged metrics."""
    answered = json_reading.block(edge, "insights")
    listed = (
        json_reading.objects(answered.get("data"), "insights.data")
        if answered is not None and "data" in answered
        else []
    )
    if not listed:
        return spoken, 0
    ranged = 0
    unanswered = set(asked)
    # Lifetime figures first, then the newer names: whatever comes later only fills.
    known = [insight for insight in listed if isinstance(insight.get("name"), str) and insight["name"] in _INSIGHTS]
    known.sort(key=lambda insight: (insight.get("period") != "lifetime", insight["name"] in _SECOND_CHOICE))
    for insight in known:
        name = insight["name"]
        position = _INSIGHTS[name]
        unanswered.discard(name)
        bit = 1 << position
        if values[position] is not None or (spoken & bit and name not in _SECOND_CHOICE):
            continue
        holds, value = _held(insight, name)
        if holds:
            values[position] = value
            spoken |= bit
            ranged |= 0 if insight.get("period", "lifetime") == "lifetime" else bit
    for name in unanswered & _INSIGHTS.keys():
        spoken |= 1 << _INSIGHTS[name]
    return spoken, ranged


def _post(post: dict[str, Any], asked: _Asked) -> tuple[int, int, list[int | None]]:
    """The figures of one post object: masks of reported and of ranged metrics, and values."""
    values: list[int | None] = list(metrics.NO_POST_VALUES)
    if not post or "error" in post:
        return 0, 0, values
    spoken = 0
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
    spoken, ranged = _read_insights(post.get("insights"), asked.insights, values, spoken)
    return spoken, ranged, values


def _requests(event: PlatformRaw) -> list[dict[str, Any]]:
    """The requests of a batch, from the body that was sent; [] where it isn't known."""
    sent: Any = event.request.get("batch")
    try:
        if sent is None:
            body = orjson.loads(event.request.get("body", "null"))
            sent = body.get("batch") if isinstance(body, dict) else None
        batch = orjson.loads(sent) if isinstance(sent, str) else sent
    except orjson.JSONDecodeError:
        return []
    return [request for request in batch if isinstance(request, dict)] if isinstance(batch, list) else []


class _Answered(NamedTuple):
    """One element of a batch: whose it is, what was asked, and what came (None: its post is gone)."""

    external_id: str
    asked: _Asked
    post: dict[str, Any] | None


def _batch(event: PlatformRaw) -> Iterator[_Answered]:
    """The posts in a batch's answer, by the request of each element, else by the id in it.

    Raises:
        MappingError: `body_not_json` or `unexpected_shape`.
    """
    elements = json_reading.json_value(event.body)
    if not isinstance(elements, list):
        raise base.MappingError("unexpected_shape", f"a batch's answer is a JSON {type(elements).__name__}")
    requests = _requests(event)
    for index, element in enumerate(elements):
        if element is None:
            continue  # did not finish in time: nothing is known
        if not isinstance(element, dict):
            raise base.MappingError("unexpected_shape", f"an element of a batch is a JSON {type(element).__name__}")
        url = requests[index].get("relative_url") if index < len(requests) else None
        path_text, _, query_text = url.partition("?") if isinstance(url, str) else ("", "", "")
        path, query = http_reading.path_segments("/" + path_text.lstrip("/")), dict(parse_qsl(query_text))
        text = element.get("body")
        if not isinstance(text, str):
            raise base.MappingError("unexpected_shape", f"the body of an element is a JSON {type(text).__name__}")
        code = element.get("code")
        if type(code) is not int or not 200 <= code < 300:
            status = code if type(code) is int else 500
            if path and _graph.verdict_of(status, {}, text.encode()).outcome is base.Outcome.TARGET_GONE:
                yield _Answered(path[0], _asked(""), None)
            continue
        answer = json_reading.json_object(text.encode())
        own = answer.get("id")
        external_id = path[0] if path else own if isinstance(own, str) else ""
        if path[1:] == ("insights",):
            yield _Answered(external_id, _Asked(frozenset(), _split(query.get("metric", ""))), {"insights": answer})
        else:
            yield _Answered(external_id, _asked(query.get("fields", "")), answer)


class Facebook:
    """Facebook pages: pure reading and describing, see the module's header."""

    facts = base.Facts(
        name="facebook",
        base_url="https://graph.facebook.com",
        documentation="https://developers.facebook.com/docs/graph-api/reference/insights",
        read_on="2026-11-20",
        auth="page token (Bearer) with pages_read_engagement and read_insights",
        rate_limit="4800 x the page's engaged users in 24 hours",
        post_batch_size=BATCH_SIZE,
        post_group="graph",
        report_days=REPORT_DAYS,
        channel_metrics={
            "followers": ("lifetime",),
            "posts_count": ("lifetime",),
            "views": ("day",),
            "impressions": ("day",),
            "reach": ("day",),
            "profile_views": ("day",),
            "engagements": ("day",),
        },
        ranged_metrics=("video_views",),
        lag="insights up to 24 hours; reactions, comments and shares none",
        channel_lag="up to 24 hours after the day",
        not_reported={
            "impressions": "retired for every version on 2025-11-15 in favour of views",
            "dislikes": "not on the platform",
            "quotes": "not on the platform",
            "saves": "not in the API",
            "other_clicks": "clicks are any clicks on the post",
            "profile_clicks": "not in the API",
            "follows": "not reported for posts",
            "avg_watch_time_seconds": "only on the edge of videos",
            "poll_votes": "not in the API",
        },
    )

    settings = (_graph.VERSION,)

    def __init__(self, version: str = _graph.DEFAULT_VERSION) -> None:
        self._version = version

    def configured(self, values: Mapping[str, str]) -> Facebook:
        """The platform with another version of the Graph API."""
        return Facebook(values.get(_graph.VERSION.name, self._version))

    def authorize(self, token: str | None) -> dict[str, str]:
        """Bearer token: the Graph API takes it as a header as well as in the query, where logs would keep it."""
        return {"authorization": f"Bearer {token}"} if token else {}

    def post_calls(
        self, channel: base.Channel, targets: Sequence[base.Target], now: int | None = None
    ) -> list[base.Call]:
        """Batches of 50 posts."""
        calls: list[base.Call] = []
        for start in range(0, len(targets), BATCH_SIZE):
            part = tuple(targets[start : start + BATCH_SIZE])
            query = (("ids", ",".join(target.external_id for target in part)), ("fields", _POST_FIELDS))
            calls.append(base.Call(RawKind.POST_METRICS, "GET", f"/{self._version}/", query, None, part, "graph"))
        return calls

    def channel_calls(self, channel: base.Channel, now: int) -> list[base.Call]:
        """The page as it is now, how many posts it has, and its last 28 closed Pacific days."""
        page = f"/{self._version}/{http_reading.path_part(channel.external_id)}"
        today = report_days.pacific_day(now)
        days = (
            ("metric", _PAGE_NAMES),
            ("period", "day"),
            ("since", str(report_days.pacific_midnight(today - timedelta(days=REPORT_DAYS)) // 1000)),
            ("until", str(report_days.pacific_midnight(today) // 1000)),
        )
        counted = (("summary", "total_count"), ("limit", "1"), ("fields", "id"))
        return [
            base.Call(RawKind.CHANNEL_METRICS, "GET", path, query, limit_group="graph")
            for path, query in (
                (page, (("fields", "followers_count,fan_count"),)),
                (f"{page}/published_posts", counted),
                (f"{page}/insights", days),
            )
        ]

    def identity_call(self, channel: base.Channel) -> base.Call:
        """The page of the page token."""
        return base.Call(RawKind.IDENTITY, "GET", f"/{self._version}/me", (("fields", "id,name"),), limit_group="graph")

    def read(self, event: PlatformRaw) -> base.Reading:
        """`/?ids=`, `/{post}`, `/{post}/insights`, `/{page}/posts`, a batch; `/{page}` and its edges."""
        if not http_reading.succeeded(event):
            return base.NOTHING
        path = http_reading.path_segments(event.endpoint)
        edge = path[1] if len(path) == 2 else ""
        is_posts = event.kind == RawKind.POST_METRICS
        edges = _POST_EDGES if is_posts else _CHANNEL_EDGES
        if len(path) > 2 or edge not in edges or (not path and not is_posts):
            raise base.MappingError("unknown_endpoint", f"Facebook has no {event.kind} at {event.endpoint[:200]!r}")
        if is_posts and not path and ("batch" in event.request or "body" in event.request):
            return self._batched(event)
        answer = json_reading.json_object(event.body)
        if "error" in answer or event.kind == RawKind.IDENTITY:
            return base.NOTHING
        if is_posts:
            return self._posts(event, path, edge, answer)
        if edge == "insights":
            return base.Reading((), self._periods(answer))
        return base.Reading((), self._page(event, edge, answer))

    def _batched(self, event: PlatformRaw) -> base.Reading:
        """Elements about one post add to each other: its fields and its insights can be two."""
        wanted = json_reading.positions(event)
        found: dict[int, base.PostReading] = {}
        gone: dict[int, None] = {}
        for answered in _batch(event):
            indexes = wanted.get(answered.external_id, ())
            if answered.post is None:
                gone.update(dict.fromkeys(indexes))
                continue
            spoken, ranged, values = _post(answered.post, answered.asked)
            for index in indexes if spoken else ():
                held = found.get(index)
                if held is not None:
                    merged = tuple(
                        value if spoken >> position & 1 else held.values[position]
                        for position, value in enumerate(values)
                    )
                    kept = held.ranged & ~spoken
                    found[index] = base.PostReading(index, held.spoken | spoken, kept | ranged, merged)
                else:
                    found[index] = base.PostReading(index, spoken, ranged, tuple(values))
        return base.Reading(list(found.values()), (), [index for index in gone if index not in found])

    def _parts(self, path: tuple[str, ...], edge: str, answer: dict[str, Any]) -> dict[str, Any]:
        """Post objects by id: of several asked for, of a page's list, or of one."""
        if not path:
            return answer
        if edge == "insights":
            return {unquote(path[0]): {"insights": answer}}
        if edge:
            return {
                json_reading.text(item.get("id")): item for item in json_reading.objects(answer.get("data"), "data")
            }
        own = answer.get("id")
        return {unquote(path[0]): answer, **({own: answer} if isinstance(own, str) else {})}

    def _posts(self, event: PlatformRaw, path: tuple[str, ...], edge: str, answer: dict[str, Any]) -> base.Reading:
        asked = _asked(event.request.get("fields", ""))
        if edge == "insights":
            asked = _Asked(frozenset(), _split(event.request.get("metric", "")))
        parts = self._parts(path, edge, answer)
        readings: list[base.PostReading] = []
        for external_id, indexes in json_reading.positions(event).items():
            if external_id not in parts:
                continue
            part = parts[external_id]
            if not isinstance(part, dict):
                raise base.MappingError(
                    "unexpected_shape", f"a post is a JSON {type(part).__name__}, expected an object"
                )
            spoken, ranged, values = _post(part, asked)
            if spoken:
                whole = tuple(values)
                readings.extend(base.PostReading(index, spoken, ranged, whole) for index in indexes)
        return base.Reading(readings)

    def _page(self, event: PlatformRaw, edge: str, answer: dict[str, Any]) -> tuple[base.ChannelReading, ...]:
        """Followers from the page itself, the number of posts from the summary of its posts."""
        values: list[int | None] = list(metrics.NO_CHANNEL_VALUES)
        if edge:
            summary = json_reading.block(answer.get("summary"), "summary")
            if summary is None:
                return ()
            position, values[metrics.CH_POSTS_COUNT] = (
                metrics.CH_POSTS_COUNT,
                json_reading.count(summary.get("total_count"), "total_count"),
            )
        else:
            asked = "followers_count" in _asked(event.request.get("fields", "")).fields
            if not answer or not (asked or "followers_count" in answer):
                return ()
            position, values[metrics.CH_FOLLOWERS] = (
                metrics.CH_FOLLOWERS,
                json_reading.count(answer.get("followers_count"), "followers_count"),
            )
        return (base.ChannelReading("lifetime", None, None, 1 << position, tuple(values)),)

    def _periods(self, answer: dict[str, Any]) -> tuple[base.ChannelReading, ...]:
        """Insights of a page: one reading a day, week or 28 days, closed at `end_time`."""
        found: dict[tuple[int, int], tuple[int, list[int | None]]] = {}
        for insight in json_reading.objects(answer.get("data"), "data"):
            name, period = insight.get("name"), insight.get("period")
            position = _PAGE_INSIGHTS.get(name) if isinstance(name, str) else None
            days = _graph.DAYS_OF_PERIOD.get(period) if isinstance(period, str) else None
            if position is None or days is None:
                continue
            for value in json_reading.objects(insight.get("values") or [], f"{name}.values"):
                end = _graph.instant(value.get("end_time"))
                if end is None or "value" not in value:
                    continue
                covered = (_graph.days_before(end, days), end)
                spoken, values = found.get(covered) or (0, list(metrics.NO_CHANNEL_VALUES))
                values[position] = json_reading.count(value["value"], str(name))
                found[covered] = (spoken | 1 << position, values)
        return tuple(
            base.ChannelReading(_graph.period_of(start, end), start, end, spoken, tuple(values))
            for (start, end), (spoken, values) in found.items()
        )

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """The target's post object, or its insights where only these were asked for."""
        if not 0 <= target_index < len(event.targets):
            return {}
        external_id = event.targets[target_index].external_id
        path = http_reading.path_segments(event.endpoint)
        own: Any = None
        try:
            if not path and ("batch" in event.request or "body" in event.request):
                parts = [found.post for found in _batch(event) if found.external_id == external_id and found.post]
                own = {key: value for part in parts for key, value in part.items()}
            else:
                answer = json_reading.try_json_object(event.body)
                if "error" not in answer:
                    own = self._parts(path, path[1] if len(path) == 2 else "", answer).get(external_id)
        except base.MappingError:
            return {}
        return own if isinstance(own, dict) else {}

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> base.Verdict:
        """Meta's code and subcode; the status is 400 for nearly everything."""
        return _graph.verdict_of(status, headers, body)

    def limits(self, headers: Mapping[str, str], now: int) -> base.LimitState | None:
        """Percent left of the fullest of the budgets that the usage headers name."""
        return _graph.limits_of(headers, now)


PLATFORM = Facebook()
