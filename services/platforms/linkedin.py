"""LinkedIn, versioned REST API: pages of organizations, and members.

Documentation: https://learn.microsoft.com/en-us/linkedin/marketing/community-management/, read 2026-11-30.
Auth: OAuth 2.0 user token of 60 days, refresh token of 365 days for approved partners only; rw_organization_admin and
    the role ADMINISTRATOR for organizations (r_organization_social for reactions of activities and figures of videos);
    r_member_postAnalytics and r_member_profileAnalytics for members.
Rate limit: by day for each resource, app and member, reset at midnight UTC; 429 without headers. The development tier
    has 100 calls a member and 500 an app; what a standard app has is unpublished (shown in the developer portal).
Poll interval: by the common tiers; a member's post costs one call a metric, so in the development tier its metrics
    take turns.
Cannot supply: dislikes, quotes, views; an organization's saves; figures older than 12 months.

Changed since 2026-11-20, when these pages were read before: the development tier's numbers; `/v2/userinfo` needs the
sign-in product, which an app of these APIs usually can't have.

Uncertain, and how it is read here:
- A channel is an organization if its id is an organization's urn or a number, else a member.
- Shares and ugcPosts are asked for in separate lists; a number alone is a share's. Posts known only by their activity
  have no statistics, so their reactions and comments are asked for (`socialMetadata`).
- Posts without activity are left out of the answer, and so are deleted ones: nothing is said of either. Microsoft says
  to read them as 0, which would be wrong outside of the 12 months that the figures cover.
- `likeCount` is every reaction, and can be negative after removals: as the platform said it.
- One foreign urn fails its whole list with `ACCESS_DENIED`: with `processing fields [/shares[0]]`, by a place that says
  little once lists are cut, or in the words of a missing role. The list is asked again in halves.
- A member's metrics are asked for one by one and add to each other; `metricType` is a text since 202605 and an object
  with one key before. Saves and link clicks exist since 202604. A total comes with an empty `dateRange`, or without.
- Figures of a video come from resources of their own, for posts whose type names a video: plays of members,
  views of 3 s of organizations.
- Days of an organization are UTC days without unique impressions; days of a member are taken for UTC days too.
- `networkSizes` is documented with and without the protocol header; it is sent.
- Posts of an organization are listed for whoever has r_organization_social, which comes with the Community Management
  API. A member's would take r_member_social, which LinkedIn gives to nobody new: members' posts are not looked for. A
  list's item has one urn; the urn of the post's activity, which its link on the site may name, is told nowhere.
- A day's limit names itself in the message; any other 429 is a matter of pace.
- A version that is not active any more is refused for everybody (426): `TIDEMARK_LINKEDIN_VERSION` names another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import orjson

from schemas.events import PlatformRaw, RawKind
from services.platforms import (
    _linkedin_channel,
    _linkedin_errors,
    _linkedin_posts,
    _linkedin_urns,
    _lists,
    abilities,
    base,
    http_reading,
    json_reading,
)
from services.platforms._linkedin_channel import DAY, MEMBER_POSTS, SHARE_STATISTICS
from services.platforms._oauth import oauth_call, read_oauth

# Of June 2026, retired about June 2027: a version lives about a year.
VERSION = abilities.PlatformSetting(
    "LINKEDIN_VERSION", r"20[2-9]\d(?:0[1-9]|1[0-2])", "a year and month, such as 202606", "202606"
)
TIER = abilities.PlatformSetting("LINKEDIN_TIER", "development|standard", "development or standard", "development")
BATCH_SIZE = 20
DISCOVERY_SIZE = 50
TOKEN_URL = "https://www.linkedin.com"
# The days of a channel that are asked for each time: the longest range that is shown.
REPORT_DAYS = 28

# The dearest first: where calls are short, these are asked and the others wait for their turn.
_MEMBER_DEAREST = ("IMPRESSION", "REACTION", "COMMENT")
_MEMBER_OTHERS = ("MEMBERS_REACHED", "RESHARE", "POST_SAVE", "LINK_CLICKS")
# How long a metric stays first (ms).
_TURN = 1_800_000
_MEMBER_VIDEO_ASKED = ("VIDEO_PLAY", "VIDEO_WATCH_TIME")
_MEMBER_CHANNEL_ASKED = ("IMPRESSION", "REACTION", "COMMENT", "RESHARE")

_MEMBER_VIDEOS = "memberCreatorVideoAnalytics"
_RESOURCES: dict[str, frozenset[tuple[str, int]]] = {
    RawKind.POST_METRICS: frozenset(
        {
            (SHARE_STATISTICS, 1),
            (MEMBER_POSTS, 1),
            (_MEMBER_VIDEOS, 1),
            ("videoAnalytics", 1),
            ("socialMetadata", 1),
            ("socialMetadata", 2),
        }
    ),
    RawKind.CHANNEL_METRICS: frozenset(
        {
            (SHARE_STATISTICS, 1),
            (MEMBER_POSTS, 1),
            ("networkSizes", 2),
            ("organizationPageStatistics", 1),
            ("memberFollowersCount", 1),
        }
    ),
    RawKind.IDENTITY: frozenset(
        {("organizations", 2), ("memberFollowersCount", 1), ("userinfo", 1), ("me", 1), ("posts", 1)}
    ),
}
"""The resources of each kind, with how many segments their paths have."""

_POSTS_LIMIT = (100, 500)
"""Calls of one resource that the development tier has in a day: of a member, of an app."""
_DEVELOPMENT = tuple(
    base.Limit(group, calls, 86_400, is_app_wide)
    for group in (MEMBER_POSTS, _MEMBER_VIDEOS)
    for calls, is_app_wide in zip(_POSTS_LIMIT, (False, True), strict=True)
)
_OF_MEMBERS = "of members alone, with r_member_postAnalytics"
_FACTS = base.Facts(
    name="linkedin",
    base_url="https://api.linkedin.com",
    documentation="https://learn.microsoft.com/en-us/linkedin/marketing/community-management/",
    read_on="2026-11-30",
    auth="OAuth 2.0 user token (Bearer) with rw_organization_admin or r_member_postAnalytics",
    rate_limit="by day for each resource: 100 calls a member and 500 an app in the development tier, else unpublished",
    post_batch_size=BATCH_SIZE,
    report_days=REPORT_DAYS,
    unlisted_ids="urn:li:activity:",
    channel_metrics={
        "followers": ("lifetime",),
        "profile_views": ("day",),
        "impressions": ("day",),
        "likes": ("day",),
        "comments": ("day",),
        "shares": ("day",),
    },
    channel_conditions={
        "followers": "of members with r_member_profileAnalytics",
        "profile_views": "of organizations alone",
    },
    discovery="of organizations, with r_organization_social; r_member_social, which a member's list takes, is given to "
    "nobody new",
    ranged_metrics=("impressions", "reach", "likes", "comments", "shares", "clicks"),
    lag="not documented; a member's metrics take turns in the development tier, the dearest first",
    channel_lag="not documented",
    not_asked={
        "follows": "a call a post more than a member's quota of a day bears",
        "profile_clicks": "a call a post more than a member's quota of a day bears",
    },
    conditions={
        "impressions": "not of posts of organizations that are known by their activity alone",
        "reach": "not of posts of organizations that are known by their activity alone",
        "likes": "of an organization's activities with r_organization_social",
        "comments": "of an organization's activities with r_organization_social",
        "shares": "not of posts of organizations that are known by their activity alone",
        "clicks": "of organizations any click on the post, of members clicks on its link",
        "saves": _OF_MEMBERS,
        "video_views": "of videos; of an organization's with r_organization_social",
        "watch_time_seconds": "of videos; of an organization's with r_organization_social",
    },
    not_reported={
        "views": "the API counts impressions, and plays of videos apart",
        "dislikes": "not on the platform",
        "quotes": "not apart from reshares",
        "other_clicks": "clicks are any clicks on an organization's post",
        "avg_watch_time_seconds": "not in the API",
        "poll_votes": "polls are not asked for with the figures",
    },
    remedies=(
        base.Remedy(
            base.Outcome.PERMISSION_MISSING, "scope r_organization_social", r"videoAnalytics|socialMetadata|/posts$"
        ),
        base.Remedy(
            base.Outcome.PERMISSION_MISSING, "scope r_member_postAnalytics", r"memberCreator(Post|Video)Analytics"
        ),
        base.Remedy(
            base.Outcome.PERMISSION_MISSING, "scope r_member_profileAnalytics, or r_basicprofile", r"memberFollowers"
        ),
        base.Remedy(
            base.Outcome.PERMISSION_MISSING, "scope rw_organization_admin, and the role ADMINISTRATOR of the page"
        ),
        base.Remedy(base.Outcome.REQUEST_WRONG, "set TIDEMARK_LINKEDIN_VERSION to a version that is alive"),
    ),
)


def _is_video(target: base.Target) -> bool:
    return "video" in target.post_type.lower()


def _in_turn(now: int | None) -> list[str]:
    """A member's metrics, those first that a poll at an instant (ms) is to bring where calls are short.

    Among the dearest each comes first in its turn; of seven turns one begins with the others, so that none of them
    waits for ever. A day has one turn less than half hours, so that posts that are polled once a day meet all of them.
    """
    turn = 0 if now is None else now // _TURN - now // DAY

    def turned(names: tuple[str, ...]) -> list[str]:
        first = turn % len(names)
        return [*names[first:], *names[:first]]

    dearest, others = turned(_MEMBER_DEAREST), turned(_MEMBER_OTHERS)
    return others + dearest if turn % 7 == 6 else dearest + others


class LinkedIn:
    """LinkedIn: pure reading and describing, see the module's header.

    Args:
        version: of the API, a year and month.
        tier: of our app: `development`, which has documented limits, or `standard`.
    """

    def __init__(self, version: str = VERSION.default or "", tier: str = TIER.default or "") -> None:
        self._version = version
        self.facts = replace(_FACTS, limits=_DEVELOPMENT if tier == TIER.default else ())

    @property
    def settings(self) -> Sequence[abilities.PlatformSetting]:
        """`TIDEMARK_LINKEDIN_VERSION` and `TIDEMARK_LINKEDIN_TIER`."""
        return VERSION, TIER

    def configured(self, values: Mapping[str, str]) -> LinkedIn:
        """The platform in another version, or with the limits of another tier."""
        return LinkedIn(values.get(VERSION.name, VERSION.default or ""), values.get(TIER.name, TIER.default or ""))

    def authorize(self, token: str | None) -> dict[str, str]:
        """Bearer token, and the version of API and protocol that every call names."""
        if not token:
            return {}
        return {
            "authorization": f"Bearer {token}",
            "linkedin-version": self._version,
            "x-restli-protocol-version": "2.0.0",
        }

    def post_calls(
        self, channel: base.Channel, targets: Sequence[base.Target], now: int | None = None
    ) -> list[base.Call]:
        """An organization's posts in lists of 20 by their kind; a member's one by one, a call for each metric."""
        organization = _linkedin_urns.organization_of(channel)
        if organization is None:
            return list(self._member_calls(targets, now))
        kinds: dict[str, list[base.Target]] = {}
        for target in targets:
            urn = _linkedin_urns.urn_of(target.external_id)
            kind = "ugcPosts" if urn.startswith("urn:li:ugcPost:") else "ids" if ":activity:" in urn else "shares"
            kinds.setdefault(kind, []).append(target)
        calls: list[base.Call] = []
        for kind, group in kinds.items():
            for start in range(0, len(group), BATCH_SIZE):
                part = tuple(group[start : start + BATCH_SIZE])
                listed = (kind, _linkedin_urns.listed([_linkedin_urns.urn_of(target.external_id) for target in part]))
                if kind == "ids":
                    calls.append(self._posts("socialMetadata", (listed,), part, "posts/activities"))
                else:
                    of = (("q", "organizationalEntity"), ("organizationalEntity", _linkedin_urns.escaped(organization)))
                    calls.append(self._posts(SHARE_STATISTICS, (*of, listed), part, f"posts/{kind}"))
        calls.extend(call for target in kinds.get("ugcPosts", ()) for call in self._video_calls(target))
        return calls

    def _posts(
        self, resource: str, query: tuple[tuple[str, str], ...], targets: tuple[base.Target, ...], shape: str
    ) -> base.Call:
        return base.Call(
            RawKind.POST_METRICS, "GET", f"/rest/{resource}", query, None, targets, resource,
            literal=_linkedin_urns.RESTLI, shape=shape,
        )  # fmt: skip

    def _member_calls(self, targets: Sequence[base.Target], now: int | None) -> Iterator[base.Call]:
        """One metric of all posts after the other, so that the first calls are the dearest of each post."""
        videos = [target for target in targets if _is_video(target)]
        asked = [(MEMBER_POSTS, name, targets) for name in _in_turn(now)]
        asked += [(_MEMBER_VIDEOS, name, videos) for name in _MEMBER_VIDEO_ASKED]
        for resource, name, of in asked:
            for target in of:
                entity = _linkedin_urns.entity_of(_linkedin_urns.urn_of(target.external_id))
                query = (("q", "entity"), ("entity", entity), ("queryType", name), ("aggregation", "TOTAL"))
                yield self._posts(resource, query, (target,), f"posts/member/{name.lower()}")

    def _video_calls(self, target: base.Target) -> Iterator[base.Call]:
        if _is_video(target):
            for name in _linkedin_posts.VIDEO_METRICS:
                entity = _linkedin_urns.escaped(_linkedin_urns.urn_of(target.external_id))
                query = (("q", "entity"), ("entity", entity), ("type", name), ("aggregation", "ALL"))
                yield self._posts("videoAnalytics", query, (target,), f"posts/video/{name.lower()}")

    def channel_calls(self, channel: base.Channel, now: int) -> list[base.Call]:
        """Followers now, and the last 28 closed UTC days: of posts and page for organizations, of posts for members."""
        organization = _linkedin_urns.organization_of(channel)
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
                    MEMBER_POSTS,
                    (("q", "me"), ("queryType", name), ("aggregation", "DAILY"), ("dateRange", f"({bounds})")),
                )
                for name in _MEMBER_CHANNEL_ASKED
            ]
            followers = self._channel("memberFollowersCount", (("q", "me"),), "channel/followers")
            return [followers, *(self._channel(*call, "channel/member") for call in asked)]
        days = ("timeIntervals", f"(timeRange:(start:{start},end:{today}),timeGranularityType:DAY)")
        urn = _linkedin_urns.escaped(organization)
        size = f"networkSizes/{http_reading.path_part(organization)}"
        posts = (("q", "organizationalEntity"), ("organizationalEntity", urn), days)
        return [
            self._channel(size, (("edgeType", "COMPANY_FOLLOWED_BY_MEMBER"),), "channel/followers"),
            self._channel(SHARE_STATISTICS, posts, "channel/posts"),
            self._channel(
                "organizationPageStatistics", (("q", "organization"), ("organization", urn), days), "channel/page"
            ),
        ]

    def _channel(self, resource: str, query: tuple[tuple[str, str], ...], shape: str) -> base.Call:
        group = resource.partition("/")[0]
        return base.Call(
            RawKind.CHANNEL_METRICS, "GET", f"/rest/{resource}", query, limit_group=group,
            literal=_linkedin_urns.RESTLI, shape=shape,
        )  # fmt: skip

    def identity_call(self, channel: base.Channel) -> base.Call:
        """The organization, which only its administrators read in full; a member's own count of followers.

        `/v2/userinfo` would need the sign-in product, which an app that reads members' figures usually can't have.
        """
        organization = _linkedin_urns.organization_of(channel)
        if organization is None:
            path, query = "/rest/memberFollowersCount", (("q", "me"),)
            return base.Call(
                RawKind.IDENTITY, "GET", path, query, limit_group="memberFollowersCount", shape="identity/member"
            )
        path = f"/rest/organizations/{http_reading.path_part(organization.rpartition(':')[2])}"
        return base.Call(RawKind.IDENTITY, "GET", path, limit_group="organizations", shape="identity/organization")

    def discovery_call(self, channel: base.Channel, now: int) -> base.Call | None:
        """An organization's newest posts; a member's may be listed by no app that is new."""
        organization = _linkedin_urns.organization_of(channel)
        if organization is None:
            return None
        query = (
            ("author", _linkedin_urns.escaped(organization)),
            ("q", "author"),
            ("count", str(DISCOVERY_SIZE)),
            ("sortBy", "LAST_MODIFIED"),
        )
        return base.Call(
            RawKind.IDENTITY, "GET", "/rest/posts", query, limit_group="posts", literal=_linkedin_urns.RESTLI,
            shape="discovery",
        )  # fmt: skip

    def discovered(self, event: PlatformRaw) -> abilities.Listed:
        """The organization's own posts: drafts, and posts that are shown as advertisements alone, are passed over."""
        if not http_reading.succeeded(event):
            return abilities.Listed()
        answer = json_reading.json_object(event.body)
        if "serviceErrorCode" in answer:
            return abilities.Listed()
        return _lists.listed(answer.get("elements"), "elements", _linkedin_posts.posted)

    def post_address(self, external_id: str) -> str | None:
        """The post's page by its urn, a number alone being a share's."""
        return _linkedin_urns.address(_linkedin_urns.urn_of(external_id))

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
        path = _linkedin_posts.path_of(event)
        if not path or (path[0], len(path)) not in _RESOURCES.get(event.kind, ()):
            raise base.MappingError("unknown_endpoint", f"LinkedIn has no {event.kind} at {event.endpoint[:200]!r}")
        answer = json_reading.json_object(event.body)
        if event.kind == RawKind.IDENTITY or "serviceErrorCode" in answer:
            return base.NOTHING
        if event.kind == RawKind.CHANNEL_METRICS:
            return base.Reading((), _linkedin_channel.read_channel(event, path[0], answer))
        if path[0] == "socialMetadata":
            return _linkedin_posts.metadata(event, path, answer)
        if path[0] == SHARE_STATISTICS:
            return _linkedin_posts.shares(event, answer)
        return _linkedin_posts.single(event, path[0], answer)

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """The target's element, or its social metadata."""
        if not 0 <= target_index < len(event.targets):
            return {}
        urn = _linkedin_urns.urn_of(event.targets[target_index].external_id)
        try:
            return json_reading.made_once(event, _linkedin_posts.parts).get(urn, {})
        except base.MappingError:
            return {}

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> base.Verdict:
        """LinkedIn's code, or its service's; the status where there is none."""
        return _linkedin_errors.classify(status, headers, body, now)

    def verdicts(self, event: PlatformRaw, headers: Mapping[str, str], now: int) -> Mapping[int, base.Verdict]:
        """Those posts of a batch of social metadata that its `errors` name, each by its own error."""
        errors = json_reading.try_json_object(event.body).get("errors")
        if not http_reading.succeeded(event) or not isinstance(errors, dict):
            return {}
        told: dict[str, base.Verdict] = {}
        wanted = _linkedin_urns.wanted(event)
        for urn, error in errors.items():
            status = error.get("status") if isinstance(error, dict) else None
            if type(status) is int and 400 <= status < 600 and unquote(urn) in wanted:
                told[unquote(urn)] = self.classify(status, headers, orjson.dumps(error), now)
        return {index: verdict for urn, verdict in told.items() for index in wanted[urn]}

    def limits(self, headers: Mapping[str, str], now: int) -> base.LimitState | None:
        """LinkedIn sends no headers about its limits."""
        return None


PLATFORM = LinkedIn()
