"""Facebook pages, Graph API.

Documentation: https://developers.facebook.com/docs/graph-api/reference/insights, read 2026-11-30.
Auth: page token without an end, from a user token of 60 days; pages_show_list, pages_read_engagement, read_insights,
    and pages_read_user_content for the counts of reactions and comments themselves.
Rate limit: 4800 x the page's engaged users in 24 h, and 200 x the app's users an hour, shown as percentages in
    `X-Business-Use-Case-Usage` and `X-App-Usage`; codes 4, 17, 32, 613, 80001.
Poll interval: by the common tiers; most insights are renewed once in 24 h, reactions, comments and shares at once.
Cannot supply: saves, dislikes, quotes; impressions were retired for every version on 2025-11-15.

How posts are asked for: one by one (ADR 0025), by the form of the id and the post's type. Publishing a reel, a video, a
photo or a story may return a bare id, without the page's id and an underscore before. The node of such an id has
neither `insights` nor `shares`:
- a reel or video answers at `/video_insights`, asked without names, so that no retired name can fail the request;
- a photo has reactions and comments, a story insights of its own;
- a bare id whose type tells nothing is taken for a video, which most of them are.

Uncertain, and how it is read here:
- `shares` is absent where there are none, but also where they may not be seen: absent from an answered post it is
  null, as any count is that was asked for and left out.
- `comments.summary.total_count` counts filtered comments too; it is taken as it is.
- Without pages_read_user_content the whole request is refused for the fields `reactions` and `comments`. They are named
  as the refused metric; the insights by type and by action, which are asked for at all times, stand in.
- Reactions come as `reactions.summary` and as the insight by type; the summary counts, the insight's sum stands in.
  An insight by type without any type says nothing, nor does one by action of an action that it leaves out.
- Insight names retire often, and the refusal (`(#100) The value must be a valid insights metric`) doesn't say which
  of them it means; one that did is left out and the rest asked again.
- One figure can come once for each period: `lifetime` counts; where only days came, the figure is ranged.
- A name asked for in a list of insights that came back with others, but without it, was answered as unknown (null);
  an empty list, as tokens without read_insights get, says nothing.
- `post_clicks` are clicks anywhere on the post. `post_video_views` are views of 3 s, zero on posts without a video.
  `blue_reels_play_count` are plays, read as views.
- Stories: `story_media_view` and `story_total_media_view_unique`, by the changelog of v25.0 (2026-02-18) and Meta's own
  description of the API (facebook/facebook-business-sdk-codegen, `storiesinsights_metric_enum_param`, 2026-04-15); the
  names `page_story_impressions_by_story_id` and `..._unique` before them are refused with v26.0. Public reports find
  that the figures are 0 for a day or two at first; they are taken as they come.
- `page_follows` of a day is a running total, not a figure of the day: it is kept raw, followers come from the page.
- `published_posts.summary` is documented for posts in general; where it is refused, posts are not counted.
- A user token works for some calls and reads 190/2069032 for others; it is exchanged for the page's once refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import unquote

from schemas import metrics
from schemas.events import PlatformRaw, RawKind
from services.platforms import (
    _facebook_figures,
    _graph,
    _graph_reading,
    abilities,
    base,
    http_reading,
    json_reading,
    report_days,
)
from services.platforms._oauth import read_renewal

# The days of a page that are asked for each time: the longest range that is shown.
REPORT_DAYS = 28

_POST_NAMES = (
    "post_media_view,post_total_media_view_unique,post_clicks,post_video_views,post_video_view_time,"
    "post_reactions_by_type_total,post_activity_by_action_type"
)
_POST_FIELDS = f"{_graph.USER_CONTENT_FIELDS},shares,insights.metric({_POST_NAMES}).period(lifetime)"
_STORY_NAMES = (
    "story_media_view,story_total_media_view_unique,pages_fb_story_thread_lightweight_reactions,"
    "pages_fb_story_replies,pages_fb_story_shares"
)
_PAGE_NAMES = "page_media_view,page_total_media_view_unique,page_post_engagements,page_views_total"
_QUALIFIED_ID = re.compile(r"[0-9]{1,32}_[0-9]{1,32}", re.ASCII)
_LIST_FIELDS = "id,created_time,permalink_url,message,status_type"

_PAGE_INSIGHTS = {
    "page_media_view": metrics.CH_VIEWS,
    "page_impressions": metrics.CH_IMPRESSIONS,
    "page_total_media_view_unique": metrics.CH_REACH,
    "page_post_engagements": metrics.CH_ENGAGEMENTS,
    "page_views_total": metrics.CH_PROFILE_VIEWS,
}

_POST_EDGES = ("", "insights", "video_insights", "posts", "feed", "published_posts")
_CHANNEL_EDGES = ("", "insights", "published_posts")
_PHOTO_WORDS = ("photo", "image", "picture")


class _Shape(NamedTuple):
    """How posts of one kind are asked for: the shape's name, the edge of the node, and the parameters."""

    name: str
    edge: str
    query: tuple[tuple[str, str], ...]


_PAGE_POST = _Shape("posts/page-post", "", (("fields", _POST_FIELDS),))
_REEL = _Shape("posts/bare-reel", "/video_insights", ())
_VIDEO = _Shape("posts/bare-video", "/video_insights", ())
_PHOTO = _Shape("posts/bare-photo", "", (("fields", _graph.USER_CONTENT_FIELDS),))
_STORY = _Shape("posts/bare-story", "/insights", (("metric", _STORY_NAMES),))


def _shape_of(target: base.Target) -> _Shape:
    """How a target is asked for: as a page's post, or where its id is a bare number, as what its type tells."""
    if not (target.external_id.isascii() and target.external_id.isdigit()):
        return _PAGE_POST
    post_type = target.post_type.lower()
    if target.is_story or "story" in post_type or "stories" in post_type:
        return _STORY
    if "reel" in post_type:
        return _REEL
    return _PHOTO if any(word in post_type for word in _PHOTO_WORDS) else _VIDEO


class Facebook:
    """Facebook pages: pure reading and describing, see the module's header."""

    facts = base.Facts(
        name="facebook",
        base_url="https://graph.facebook.com",
        documentation="https://developers.facebook.com/docs/graph-api/reference/insights",
        read_on="2026-11-30",
        auth="page token (Bearer) with pages_show_list, pages_read_engagement and read_insights, and "
        "pages_read_user_content for reactions and comments as they stand (without it the insights' counts, up to 24 "
        "hours late); a user token is exchanged for the page's; `appsecret_proof` where a client secret is set",
        rate_limit="4800 x the page's engaged users in 24 hours",
        post_batch_size=1,
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
        channel_not_asked={"impressions": ("day",)},
        ranged_metrics=("video_views",),
        lag="insights up to 24 hours; reactions, comments and shares none",
        channel_lag="up to 24 hours after the day",
        discovery="with pages_read_engagement",
        not_reported={
            "impressions": "retired for every version on 2025-11-15 in favour of views",
            "dislikes": "not on the platform",
            "quotes": "not on the platform",
            "saves": "not in the API",
            "other_clicks": "clicks are any clicks on the post",
            "profile_clicks": "not in the API",
            "follows": "not reported for posts",
            "poll_votes": "not in the API",
        },
        remedies=(
            base.Remedy(
                base.Outcome.TOKEN_EXPIRED,
                "give the page's own token (GET /me/accounts lists it), not the person's",
                reason="user_token",
            ),
            base.Remedy(
                base.Outcome.PERMISSION_MISSING,
                "set TIDEMARK_FACEBOOK_CLIENT_SECRET: the app requires appsecret_proof",
                reason="appsecret_proof",
            ),
            base.Remedy(
                base.Outcome.METRIC_FORBIDDEN,
                "scope pages_read_user_content; without it reactions and comments come from their metrics",
            ),
            base.Remedy(base.Outcome.PERMISSION_MISSING, "scope read_insights", r"insights"),
            base.Remedy(
                base.Outcome.PERMISSION_MISSING, "scopes pages_show_list, pages_read_engagement, read_insights"
            ),
            base.Remedy(base.Outcome.OK, "scope read_insights"),
        ),
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

    def proof(self, token: str, client: abilities.AppClient) -> Mapping[str, str]:
        """`appsecret_proof`, where a client secret is set."""
        return _graph.proof(token, client)

    def post_calls(
        self, channel: base.Channel, targets: Sequence[base.Target], now: int | None = None
    ) -> list[base.Call]:
        """One post a call."""
        calls = []
        for target in targets:
            shape = _shape_of(target)
            path = f"/{self._version}/{http_reading.path_part(target.external_id)}{shape.edge}"
            calls.append(
                base.Call(RawKind.POST_METRICS, "GET", path, shape.query, None, (target,), "graph", shape=shape.name)
            )
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
            base.Call(RawKind.CHANNEL_METRICS, "GET", path, query, limit_group="graph", shape=shape)
            for shape, path, query in (
                ("channel/page", page, (("fields", "followers_count,fan_count"),)),
                ("channel/posts", f"{page}/published_posts", counted),
                ("channel/days", f"{page}/insights", days),
            )
        ]

    def identity_call(self, channel: base.Channel) -> base.Call:
        """The page of the page token."""
        path, query = f"/{self._version}/me", (("fields", "id,name"),)
        return base.Call(RawKind.IDENTITY, "GET", path, query, limit_group="graph", shape="identity")

    def discovery_call(self, channel: base.Channel, now: int) -> base.Call:
        """The page's own newest posts."""
        path = f"/{self._version}/{http_reading.path_part(channel.external_id)}/posts"
        query = (("fields", _LIST_FIELDS), ("limit", str(_graph_reading.DISCOVERED)))
        return base.Call(RawKind.IDENTITY, "GET", path, query, limit_group="graph", shape="discovery")

    def discovered(self, event: PlatformRaw) -> abilities.Listed:
        """The posts in the list; all of them have page-qualified ids, whatever they hold."""
        return _graph_reading.discovered(
            event,
            "posts",
            lambda item: _graph_reading.listed_post(item, "created_time", "permalink_url", "message", "facebook-post"),
        )

    def post_address(self, external_id: str) -> str | None:
        """The page-qualified id leads to the post; of a number alone it is not certain what it names."""
        return f"https://www.facebook.com/{external_id}" if _QUALIFIED_ID.fullmatch(external_id) else None

    def exchange_call(
        self, channel: base.Channel, tokens: abilities.HeldTokens, client: abilities.AppClient
    ) -> abilities.RefreshCall | None:
        """The page's token, asked for with the token of a user who manages the page."""
        if not tokens.access_token:
            return None
        return abilities.RefreshCall(
            "GET",
            f"/{self._version}/{http_reading.path_part(channel.external_id)}",
            (("fields", "access_token"), *self.proof(tokens.access_token, client).items()),
            headers=self.authorize(tokens.access_token),
        )

    def read_exchange(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> abilities.TokenGrant | abilities.RefreshFailure:
        """A page token, or why there is none: an answer without one is of a user who doesn't manage the page."""
        if 200 <= status < 300 and not json_reading.try_json_object(body).get("access_token"):
            return abilities.RefreshFailure(base.Outcome.TOKEN_EXPIRED, detail=f"{status} no page token")
        return read_renewal(status, headers, body, self.classify)

    def read(self, event: PlatformRaw) -> base.Reading:
        """`/{post}` and its edges, a batch, `/?ids=`, `/{page}/posts`; `/{page}` and its edges."""
        if not http_reading.succeeded(event):
            return base.NOTHING
        path = http_reading.path_segments(event.endpoint)
        edge = path[1] if len(path) == 2 else ""
        is_posts = event.kind == RawKind.POST_METRICS
        edges = _POST_EDGES if is_posts else _CHANNEL_EDGES if event.kind == RawKind.CHANNEL_METRICS else ("", "posts")
        if len(path) > 2 or edge not in edges or (not path and not is_posts):
            raise base.MappingError("unknown_endpoint", f"Facebook has no {event.kind} at {event.endpoint[:200]!r}")
        if is_posts and _graph_reading.is_batch(event):
            return _graph_reading.batch_reading(event, _facebook_figures.post_figures)
        answer = json_reading.json_object(event.body)
        if "error" in answer or event.kind == RawKind.IDENTITY:
            return base.NOTHING
        if is_posts:
            wanted = _graph_reading.asked_of(edge, event.request)
            return _graph_reading.nodes_reading(
                event, self._nodes(path, edge, answer), wanted, _facebook_figures.post_figures
            )
        if edge == "insights":
            return base.Reading((), self._periods(answer))
        return base.Reading((), self._page(event, edge, answer))

    def _nodes(self, path: tuple[str, ...], edge: str, answer: dict[str, Any]) -> dict[str, Any]:
        """Post objects by id: of several asked for, of a page's list, or of one."""
        if not path:
            return answer
        if edge in _graph_reading.INSIGHT_EDGES:
            return {unquote(path[0]): {edge: answer}}
        if edge:
            return {
                json_reading.text(item.get("id")): item for item in json_reading.objects(answer.get("data"), "data")
            }
        own = answer.get("id")
        return {unquote(path[0]): answer, **({own: answer} if isinstance(own, str) else {})}

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
            asked = "followers_count" in _graph_reading.asked(event.request.get("fields", "")).fields
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
        try:
            own = json_reading.made_once(event, self._parts).get(event.targets[target_index].external_id)
        except base.MappingError:
            return {}
        return own if isinstance(own, dict) else {}

    def _parts(self, event: PlatformRaw) -> dict[str, Any]:
        """What an answer holds of each post, by its id."""
        if _graph_reading.is_batch(event):
            return dict(_graph_reading.batch_nodes(event))
        path, answer = http_reading.path_segments(event.endpoint), json_reading.try_json_object(event.body)
        return {} if "error" in answer else self._nodes(path, path[1] if len(path) == 2 else "", answer)

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> base.Verdict:
        """Meta's code and subcode; the status is 400 for nearly everything."""
        return _graph.verdict_of(status, headers, body)

    def verdicts(self, event: PlatformRaw, headers: Mapping[str, str], now: int) -> Mapping[int, base.Verdict]:
        """What the parts of a batch mean, and errors in place of posts."""
        return _graph_reading.verdicts(event)

    def limits(self, headers: Mapping[str, str], now: int) -> base.LimitState | None:
        """Percent left of the fullest of the budgets that the usage headers name."""
        return _graph.limits_of(headers, now)


PLATFORM = Facebook()
