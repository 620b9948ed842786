"""Threads, Meta's API of its own host.

Documentation: https://developers.facebook.com/documentation/threads/insights, read 2026-11-30.
Auth: long-lived token of 60 days, renewed in place when at least a day old; scopes threads_basic and
    threads_manage_insights.
Rate limit: 4800 x the account's impressions of the last 24 h (at least 10 of them); codes 4, 17, 32, 613, 80002.
Poll interval: by the common tiers; one post a request, so a large account spends its calls quickly.
Cannot supply: reach, saves, clicks on posts, watch time, dislikes.

Uncertain, and how it is read here:
- `views` is marked as in development and may be absent from an answered list: then it is null.
- `shares` counts sends to other people, a third figure beside reposts and quotes; it is kept raw, not mapped. Quotes
  without reposts are no shares, since they would be too little.
- `replies` of a post are all of its replies by one page of the documentation, the direct ones by another.
- A post of somebody else that the account reposted has an empty list, which says nothing.
- `views` of an account are views of its profile, one value a day that closes at `end_time`; likes and the like are
  one total of the range asked for, which carries no times of its own: the request's are taken.
- `period` reads `day` on every figure of an account and means nothing there.
- A name of the account's insights asked of a post (`clicks`) reads code 1, "An unknown error has occurred", as an
  outage does: only names of posts are asked of posts.
- Usage headers are not documented for this host; Meta's are read where they come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

from schemas import metrics
from schemas.events import PlatformRaw, RawKind
from services.platforms import _graph, _graph_reading, abilities, base, http_reading, json_reading, report_days
from services.platforms._oauth import read_renewal, renewal_call

# As of 2026-11-30 the only one; a newer one is a setting away.
DEFAULT_VERSION = "v1.0"
VERSION = abilities.PlatformSetting(
    "THREADS_VERSION", r"v[1-9][0-9]{0,2}\.[0-9]", "a version of the Threads API, such as v1.0", DEFAULT_VERSION
)
WINDOW_DAYS = (1, 7, 28)

_POST_METRICS = "views,likes,replies,reposts,quotes,shares"
_POST = {"views": metrics.VIEWS, "likes": metrics.LIKES, "replies": metrics.COMMENTS, "quotes": metrics.QUOTES}
_TOTALS = {"likes": metrics.CH_LIKES, "replies": metrics.CH_COMMENTS}
_SHARE_PARTS = ("reposts", "quotes")
_EDGES: dict[str, tuple[str, ...]] = {
    RawKind.POST_METRICS: ("insights",),
    RawKind.CHANNEL_METRICS: ("threads_insights",),
    RawKind.IDENTITY: (),
}
_LIST_FIELDS = "id,timestamp,media_type,permalink,text"
# A post of somebody else that the account reposted: it has no figures.
_REPOST = "REPOST_FACADE"
_TOTAL_METRICS = "likes,replies,reposts,quotes"


def _value(insight: dict[str, Any], name: str) -> tuple[bool, int | None]:
    """Whether an insight holds a figure, and the figure: the first of `values`, or `total_value`."""
    if "values" in insight:
        values = json_reading.objects(insight["values"], f"{name}.values")
        if values and values[0]:
            return True, json_reading.count(values[0].get("value"), name)
    total = json_reading.block(insight.get("total_value"), f"{name}.total_value")
    return (False, None) if total is None else (True, json_reading.count(total.get("value"), name))


def _named(answer: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The insights of an answer by name."""
    listed = json_reading.objects(answer.get("data"), "data")
    return [(insight["name"], insight) for insight in listed if isinstance(insight.get("name"), str)]


class _Periods:
    """Figures of an account, gathered by the range that they cover; None stands for its lifetime."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int] | None, tuple[int, list[int | None]]] = {}

    def speak(self, covered: tuple[int, int] | None, position: int, value: int | None) -> None:
        """Write one insight's figure into its position."""
        spoken, values = self._found.get(covered) or (0, list(metrics.NO_CHANNEL_VALUES))
        values[position] = value
        self._found[covered] = (spoken | 1 << position, values)

    def readings(self) -> tuple[base.ChannelReading, ...]:
        """One reading a range."""
        readings = []
        for covered, (spoken, values) in self._found.items():
            start, end = covered or (None, None)
            period = "lifetime" if start is None or end is None else _graph.period_of(start, end)
            readings.append(base.ChannelReading(period, start, end, spoken, tuple(values)))
        return tuple(readings)


class Threads:
    """Threads: pure reading and describing, see the module's header."""

    facts = base.Facts(
        name="threads",
        base_url="https://graph.threads.net",
        documentation="https://developers.facebook.com/documentation/threads/insights",
        read_on="2026-11-30",
        auth="long-lived user token (Bearer) with threads_basic and threads_manage_insights",
        rate_limit="4800 x the account's impressions in 24 hours",
        post_batch_size=1,
        post_group="threads",
        limits=(base.Limit("threads", 48_000, 24 * 3600, is_app_wide=False),),
        report_days=min(WINDOW_DAYS),
        channel_metrics={
            "followers": ("lifetime",),
            "profile_views": ("day",),
            "likes": ("day", "window"),
            "comments": ("day", "window"),
            "shares": ("day", "window"),
        },
        channel_lag="not documented",
        discovery="with threads_basic; without reposts",
        not_reported={
            "impressions": "views are the platform's impressions",
            "reach": "not in the API",
            "dislikes": "not on the platform",
            "saves": "not in the API",
            "clicks": "not reported for posts, only for the account",
            "other_clicks": "not in the API",
            "profile_clicks": "not in the API",
            "follows": "not in the API",
            "video_views": "not apart from views",
            "watch_time_seconds": "not in the API",
            "avg_watch_time_seconds": "not in the API",
            "poll_votes": "polls are not asked for with the figures",
        },
        remedies=(
            base.Remedy(base.Outcome.PERMISSION_MISSING, "scope threads_manage_insights", r"insights"),
            base.Remedy(base.Outcome.PERMISSION_MISSING, "scope threads_basic"),
        ),
    )

    settings = (VERSION,)

    def __init__(self, version: str = DEFAULT_VERSION) -> None:
        self._version = version

    def configured(self, values: Mapping[str, str]) -> Threads:
        """The platform with another version of its API."""
        return Threads(values.get(VERSION.name, self._version))

    def authorize(self, token: str | None) -> dict[str, str]:
        """Bearer token: taken as a header as well as in the query, where logs would keep it."""
        return {"authorization": f"Bearer {token}"} if token else {}

    def post_calls(
        self, channel: base.Channel, targets: Sequence[base.Target], now: int | None = None
    ) -> list[base.Call]:
        """One post a call."""
        query = (("metric", _POST_METRICS),)
        return [
            base.Call(
                RawKind.POST_METRICS,
                "GET",
                f"/{self._version}/{http_reading.path_part(target.external_id)}/insights",
                query,
                None,
                (target,),
                "threads",
                shape="posts/insights",
            )
            for target in targets
        ]

    def channel_calls(self, channel: base.Channel, now: int) -> list[base.Call]:
        """Followers now, and the last 1, 7 and 28 closed Pacific days; the longest with the daily profile views."""
        path = f"/{self._version}/{http_reading.path_part(channel.external_id)}/threads_insights"
        calls = [
            base.Call(
                RawKind.CHANNEL_METRICS,
                "GET",
                path,
                (("metric", "followers_count"),),
                limit_group="threads",
                shape="channel/followers",
            ),
        ]
        today = report_days.pacific_day(now)
        for days in WINDOW_DAYS:
            names = f"views,{_TOTAL_METRICS}" if days == max(WINDOW_DAYS) else _TOTAL_METRICS
            query = (
                ("metric", names),
                ("since", str(report_days.pacific_midnight(today - timedelta(days=days)) // 1000)),
                ("until", str(report_days.pacific_midnight(today) // 1000)),
            )
            shape = "channel/day" if days == 1 else "channel/window"
            calls.append(base.Call(RawKind.CHANNEL_METRICS, "GET", path, query, limit_group="threads", shape=shape))
        return calls

    def identity_call(self, channel: base.Channel) -> base.Call:
        """The token's own account."""
        path, query = f"/{self._version}/me", (("fields", "id,username"),)
        return base.Call(RawKind.IDENTITY, "GET", path, query, limit_group="threads", shape="identity")

    def discovery_call(self, channel: base.Channel, now: int) -> base.Call:
        """The account's newest posts."""
        path = f"/{self._version}/{http_reading.path_part(channel.external_id)}/threads"
        query = (("fields", _LIST_FIELDS), ("limit", str(_graph_reading.DISCOVERED)))
        return base.Call(RawKind.IDENTITY, "GET", path, query, limit_group="threads", shape="discovery")

    def discovered(self, event: PlatformRaw) -> abilities.Listed:
        """The posts in the list that are the account's own."""

        def post_of(item: dict[str, Any]) -> abilities.Discovered | str | None:
            if item.get("media_type") == _REPOST:
                return None
            return _graph_reading.listed_post(item, "timestamp", "permalink", "text", "threads-post")

        return _graph_reading.discovered(event, "threads", post_of)

    def refresh_call(self, tokens: abilities.HeldTokens, client: abilities.AppClient) -> abilities.RefreshCall | None:
        """`th_refresh_token`: the token is its own refresh token, until it has ended."""
        return renewal_call("th_refresh_token", tokens, self.facts.base_url)

    def read_refresh(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> abilities.TokenGrant | abilities.RefreshFailure:
        """As any other answer of Meta's."""
        return read_renewal(status, headers, body, self.classify)

    def read(self, event: PlatformRaw) -> base.Reading:
        """Reads answers of `/{media}/insights`, `/{user}/threads_insights` and `/{user}`."""
        if not http_reading.succeeded(event):
            return base.NOTHING
        path = http_reading.path_segments(event.endpoint)
        is_list = event.kind == RawKind.IDENTITY and path[1:] == ("threads",)
        if not path or (path[1:] != _EDGES.get(event.kind) and not is_list):
            raise base.MappingError("unknown_endpoint", f"Threads has no {event.kind} at {event.endpoint[:200]!r}")
        answer = json_reading.json_object(event.body)
        if "error" in answer or event.kind == RawKind.IDENTITY:
            return base.NOTHING
        if event.kind == RawKind.CHANNEL_METRICS:
            return base.Reading((), self._periods(event, answer))
        return self._post(event, unquote(path[0]), answer)

    def _post(self, event: PlatformRaw, external_id: str, answer: dict[str, Any]) -> base.Reading:
        named = _named(answer)
        indexes = json_reading.positions(event).get(external_id, ())
        if not named or not indexes:
            return base.NOTHING
        values: list[int | None] = list(metrics.NO_POST_VALUES)
        spoken = 0
        reposts: int | None = None
        unanswered = {name.strip() for name in event.request.get("metric", "").split(",")}
        for name, insight in named:
            unanswered.discard(name)
            holds, value = _value(insight, name) if name in _POST or name == "reposts" else (False, None)
            if not holds:
                continue
            if name == "reposts":
                reposts, spoken = value, spoken | json_reading.bits(metrics.SHARES)
            else:
                values[_POST[name]] = value
                spoken |= 1 << _POST[name]
        for name in unanswered:
            spoken |= (
                json_reading.bits(metrics.SHARES) if name == "reposts" else 1 << _POST[name] if name in _POST else 0
            )
        if spoken & json_reading.bits(metrics.SHARES):
            values[metrics.SHARES] = json_reading.added(reposts, values[metrics.QUOTES], "shares")
        whole = tuple(values)
        return base.Reading([base.PostReading(index, spoken, 0, whole) for index in indexes] if spoken else ())

    def _periods(self, event: PlatformRaw, answer: dict[str, Any]) -> tuple[base.ChannelReading, ...]:
        since, until = _graph.instant(event.request.get("since")), _graph.instant(event.request.get("until"))
        asked = (since, until) if since is not None and until is not None and since < until else None
        periods = _Periods()
        shares: dict[str, int | None] = {}
        for name, insight in _named(answer):
            if name == "followers_count":
                holds, value = _value(insight, name)
                if holds:
                    periods.speak(None, metrics.CH_FOLLOWERS, value)
            elif name == "views":
                for day in json_reading.objects(insight.get("values") or [], "views.values"):
                    end = _graph.instant(day.get("end_time"))
                    if end is not None:
                        periods.speak(
                            (_graph.days_before(end, 1), end),
                            metrics.CH_PROFILE_VIEWS,
                            json_reading.count(day.get("value"), name),
                        )
            elif asked is not None and (name in _TOTALS or name in _SHARE_PARTS):
                total = json_reading.block(insight.get("total_value"), f"{name}.total_value")
                if total is None:
                    continue
                value = json_reading.count(total.get("value"), name)
                if name in _TOTALS:
                    periods.speak(asked, _TOTALS[name], value)
                else:
                    shares[name] = value
        if "reposts" in shares:
            periods.speak(
                asked, metrics.CH_SHARES, json_reading.added(shares["reposts"], shares.get("quotes"), "shares")
            )
        return periods.readings()

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """The whole answer: it is about one post."""
        answer = json_reading.try_json_object(event.body)
        path = http_reading.path_segments(event.endpoint)
        if not 0 <= target_index < len(event.targets) or "error" in answer or not path:
            return {}
        return answer if unquote(path[0]) == event.targets[target_index].external_id else {}

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> base.Verdict:
        """Meta's code and subcode; the status is 400 for nearly everything."""
        return _graph.verdict_of(status, headers, body)

    def limits(self, headers: Mapping[str, str], now: int) -> base.LimitState | None:
        """What is left by Meta's usage headers, where they come."""
        return _graph.limits_of(headers, now)


PLATFORM = Threads()
