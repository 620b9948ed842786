"""Reddit, the OAuth API.

Documentation: https://www.reddit.com/dev/api and the "Data API wiki"; shapes as recorded by praw-dev/praw
    `tests/integration/cassettes`; read 2026-11-30.
Auth: OAuth 2.0, access token of 1 h (newer apps 24 h), permanent refresh token; scopes read, identity and, to discover
    posts, history. Access is by approval since November 2025. A `User-Agent` of the app itself
    (`<platform>:<app id>:<version> (by /u/<user>)`) is needed: a generic one is answered 429 or 403.
Rate limit: 100 queries a minute a client, averaged over 10 minutes; `x-ratelimit-*` headers, reset in seconds.
Poll interval: by the common tiers; figures are current, the score is fuzzed.
Cannot supply: views, reach, saves, clicks, watch time; impressions only where `view_count` is told.

Changed since 2026-11-20, when these pages were read before: nothing.

Uncertain, and how it is read here:
- `score` is net votes (`ups` repeats it, `likes` is the caller's own vote) and is read as likes; it may be negative.
  While `hide_score` is true it is a placeholder: likes are then hidden (null).
- `view_count` is null in nearly every answer; an integer is read as impressions.
- Old answers lack `num_crossposts`; it then reads as null.
- Posts are found by fullname (`t3_...`); one that was registered by its bare id is asked for, and found, by both.
- A post left out of an answer about ids is unknown to Reddit, and counts as gone. A removed or deleted post still
  answers, with `removed_by_category`; its figures are read.
- A channel is a subreddit when its external id is a `t5_` fullname or begins with `r/`, or its username with `r/`;
  else the profile of its username, whose followers are the subscribers of its `u_` subreddit. A profile that does
  not show them says nothing.
- 403 has many kinds: `private`, `quarantined`, `gated` subreddits and a missing scope all lack a permission.
- A page in HTML is never about a post. "whoa there, pardner" is what Reddit shows to a User-Agent or an address that it
  blocks: the host is left alone for a while. The same page about "too many requests" is a matter of pace.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from schemas import metrics
from schemas.events import PlatformRaw, RawKind
from services.platforms import _lists, abilities, base, http_reading, json_reading
from services.platforms._oauth import oauth_call, read_oauth

BATCH_SIZE = 100
TOKEN_URL = "https://www.reddit.com"

_POST = (("score", metrics.LIKES), ("num_comments", metrics.COMMENTS), ("num_crossposts", metrics.SHARES))
# The end of the year 9999.
_LAST_SECOND = 253_402_300_800
# The limit is averaged over ten minutes.
_WINDOW_SECONDS = 600
_POST_KEYS = frozenset(key for key, _ in _POST)
_POST_BITS = json_reading.bits(metrics.LIKES, metrics.COMMENTS, metrics.SHARES, metrics.IMPRESSIONS)
# A form in which the person's own app is named; any one word would do for Reddit, and be limited with all others' word.
USER_AGENT = abilities.PlatformSetting(
    "REDDIT_USER_AGENT",
    r"[!-~][ -~]{8,255}",
    "a name of your app, such as linux:com.example.stats:v1.0 (by /u/example)",
    is_required=True,
)
_BLOCKED = (b"whoa there, pardner", b"blocked due to a network policy", b"blocked by network security")

# The same page about a pace that is too fast, which passes.
_TOO_MANY = b"too many requests"

_LISTINGS = frozenset({"new", "hot", "top", "rising", "controversial", "submitted", "overview"})
_DISABLED_REASONS = frozenset({"suspended", "user_suspended", "account_suspended", "shadowbanned"})
_PRIVATE_REASONS = frozenset({"private", "quarantined", "gated", "gold_only"})
_GONE_REASONS = frozenset({"banned", "deleted"})
_BARE_ID = re.compile(r"[0-9a-z]{1,16}", re.ASCII)


def _fullname(external_id: str) -> str:
    """A post's id with its kind in front."""
    return external_id if external_id.startswith("t3_") else f"t3_{external_id}"


def _place(channel: base.Channel) -> tuple[str, str]:
    """What a channel is, and its name: `t5` with a fullname, `r` with a subreddit's name, `u` with a profile's."""
    external_id, username = channel.external_id.strip("/"), channel.username.strip("/")
    if external_id.startswith("t5_"):
        return "t5", external_id
    if external_id.startswith("r/") or username.startswith("r/"):
        return "r", (external_id if external_id.startswith("r/") else username)[2:]
    return "u", username.removeprefix("u/") or external_id.removeprefix("u/")


def _children(answer: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind and data of each thing of a listing.

    Raises:
        MappingError: `unexpected_shape`.
    """
    data = answer.get("data")
    if not isinstance(data, dict):
        raise base.MappingError("unexpected_shape", f"data is a JSON {type(data).__name__}, expected an object")
    for child in json_reading.objects(data.get("children"), "children"):
        thing = child.get("data")
        if not isinstance(thing, dict):
            raise base.MappingError("unexpected_shape", f"a child's data is a JSON {type(thing).__name__}")
        yield json_reading.text(child.get("kind")), thing


def _posted(child: dict[str, Any]) -> abilities.Discovered | str | None:
    """A post of a list; the name of a field that it lacks, None for a comment and the like."""
    post = child.get("data")
    if child.get("kind") != "t3" or not isinstance(post, dict):
        return None if child.get("kind") != "t3" else "data"
    name, created = post.get("name"), post.get("created_utc")
    if not isinstance(name, str):
        return "name"
    if not isinstance(created, int | float) or not 0 < created < _LAST_SECOND:
        return "created_utc"
    link = post.get("permalink")
    permalink = f"https://www.reddit.com{link}" if isinstance(link, str) else ""
    return abilities.Discovered(name, int(created * 1000), "reddit-post", permalink, _lists.text_of(post.get("title")))


def _match(answer: dict[str, Any], wanted: Collection[str]) -> dict[str, dict[str, Any]]:
    """The post of each external id that is wanted; of a repeated one, the first."""
    matched: dict[str, dict[str, Any]] = {}
    for kind, post in _children(answer):
        if kind != "t3":
            continue
        name, bare = post.get("name"), post.get("id")
        if not isinstance(name, str):
            if not isinstance(bare, str):
                raise base.MappingError("unexpected_shape", "a post has no text `name`")
            name = f"t3_{bare}"
        for external_id in (name, name.removeprefix("t3_")):
            if external_id in wanted:
                matched.setdefault(external_id, post)
    return matched


def _by_id(event: PlatformRaw) -> dict[str, dict[str, Any]]:
    return _match(json_reading.try_json_object(event.body), json_reading.positions(event))


def _post(post: dict[str, Any]) -> metrics.Values:
    """The figures of a post, in the order of POST_METRICS."""
    values: list[int | None] = list(metrics.NO_POST_VALUES)
    json_reading.fill(values, post, _POST)
    views = post.get("view_count")
    values[metrics.IMPRESSIONS] = json_reading.count(views, "view_count") if type(views) in (int, str) else None
    if post.get("hide_score") is True:
        values[metrics.LIKES] = None
    return tuple(values)


def _segments(endpoint: str) -> tuple[str, ...]:
    """The path without the `.json` that the site's own addresses end in."""
    path = http_reading.path_segments(endpoint)
    return (*path[:-1], path[-1].removesuffix(".json")) if path else path


def _is_ids(path: tuple[str, ...]) -> bool:
    """Answers about ids that were asked for, where one left out is gone."""
    match path:
        case ("api", "info") | ("by_id", _):
            return True
    return False


def _is_posts(path: tuple[str, ...]) -> bool:
    """Posts by their ids, or a list of a subreddit's or an account's."""
    match path:
        case ("r" | "user", _, kind):
            return kind in _LISTINGS
    return _is_ids(path)


def _is_channel(path: tuple[str, ...]) -> bool:
    match path:
        case ("r" | "user", _, "about") | ("api", "info") | ("api", "v1", "me"):
            return True
    return False


class Reddit:
    """Reddit: pure reading and describing, see the module's header.

    Args:
        user_agent: what our app calls itself; None for what every poller calls itself.
    """

    def __init__(self, user_agent: str | None = None) -> None:
        self._named = {"user-agent": user_agent} if user_agent else {}

    facts = base.Facts(
        name="reddit",
        base_url="https://oauth.reddit.com",
        documentation="https://www.reddit.com/dev/api",
        read_on="2026-11-30",
        auth="OAuth 2.0 user token (Bearer) with read, and the app's own User-Agent (TIDEMARK_REDDIT_USER_AGENT)",
        rate_limit="100 queries a minute a client, averaged over 10 minutes",
        post_batch_size=BATCH_SIZE,
        post_group="api",
        limits=(base.Limit("api", 1000, _WINDOW_SECONDS),),
        channel_metrics={"followers": ("lifetime",)},
        channel_conditions={"followers": "not of a profile that does not show them, nor of a private subreddit"},
        lag="none; scores are fuzzed",
        conditions={
            "likes": "net votes; not while the score is hidden, which a subreddit may do for some hours",
            "impressions": "only where `view_count` is told, which is nearly nowhere",
            "shares": "crossposts; not of very old posts",
        },
        discovery="with read; of profiles and subreddits that are not private",
        not_reported={
            "views": "`view_count`, where it is told, is read as impressions",
            "reach": "the API has no unique viewers",
            "dislikes": "the score is net, and its parts are not told",
            "quotes": "not on the platform",
            "saves": "only whether the caller saved the post",
            "clicks": "not in the API",
            "other_clicks": "not in the API",
            "profile_clicks": "not in the API",
            "follows": "not told by post",
            "video_views": "not in the API",
            "watch_time_seconds": "not in the API",
            "avg_watch_time_seconds": "not in the API",
            "poll_votes": "polls are not asked for with the figures",
        },
        remedies=(
            base.Remedy(base.Outcome.PERMISSION_MISSING, "scope identity", r"/me$"),
            base.Remedy(
                base.Outcome.PERMISSION_MISSING,
                "scope read, access approved by Reddit, and a profile that is not private",
            ),
            base.Remedy(
                base.Outcome.PLATFORM_DOWN,
                "set TIDEMARK_REDDIT_USER_AGENT to a name of the app's own, or try again later",
            ),
        ),
    )

    def authorize(self, token: str | None) -> dict[str, str]:
        """The user's token in a bearer header, and the app's name; no header without a token."""
        return {"authorization": f"Bearer {token}", **self._named} if token else {}

    @property
    def settings(self) -> Sequence[abilities.PlatformSetting]:
        """`TIDEMARK_REDDIT_USER_AGENT`."""
        return (USER_AGENT,)

    def configured(self, values: Mapping[str, str]) -> Reddit:
        """The platform with our app's own name."""
        return Reddit(values.get(USER_AGENT.name))

    def post_calls(
        self, channel: base.Channel, targets: Sequence[base.Target], now: int | None = None
    ) -> list[base.Call]:
        """Batches of 100 fullnames."""
        calls: list[base.Call] = []
        for start in range(0, len(targets), BATCH_SIZE):
            part = tuple(targets[start : start + BATCH_SIZE])
            ids = ",".join(_fullname(target.external_id) for target in part)
            query = (("id", ids), ("raw_json", "1"))
            calls.append(base.Call(RawKind.POST_METRICS, "GET", "/api/info", query, None, part, "api", shape="posts"))
        return calls

    def channel_calls(self, channel: base.Channel, now: int) -> list[base.Call]:
        """The subreddit or the profile as it is now; Reddit has no history of it."""
        raw: tuple[tuple[str, str], ...] = (("raw_json", "1"),)
        kind, name = _place(channel)
        if kind == "t5":
            path, raw = "/api/info", (("id", name), *raw)
        else:
            path = f"/{'user' if kind == 'u' else 'r'}/{http_reading.path_part(name)}/about"
        return [base.Call(RawKind.CHANNEL_METRICS, "GET", path, raw, limit_group="api", shape="channel")]

    def identity_call(self, channel: base.Channel) -> base.Call:
        """The token's own account."""
        return base.Call(
            RawKind.IDENTITY, "GET", "/api/v1/me", (("raw_json", "1"),), limit_group="api", shape="identity"
        )

    def discovery_call(self, channel: base.Channel, now: int) -> base.Call:
        """The newest 100 posts of the profile, or of the subreddit."""
        query = (("limit", str(BATCH_SIZE)), ("sort", "new"), ("raw_json", "1"))
        kind, name = _place(channel)
        if kind == "t5":
            # Lists go by the name.
            name = channel.username.strip("/").removeprefix("r/") or name
        part = http_reading.path_part(name)
        path = f"/user/{part}/submitted" if kind == "u" else f"/r/{part}/new"
        return base.Call(RawKind.IDENTITY, "GET", path, query, limit_group="api", shape="discovery")

    def discovered(self, event: PlatformRaw) -> abilities.Listed:
        """The posts of a list; comments and the like in it are passed over."""
        answer = json_reading.json_object(event.body) if http_reading.succeeded(event) else {}
        if not http_reading.succeeded(event) or "error" in answer:
            return abilities.Listed()
        data = json_reading.block(answer.get("data"), "data") or {}
        return _lists.listed(data.get("children"), "children", _posted)

    def post_address(self, external_id: str) -> str | None:
        """`/comments/{id}`, which leads to the post of whatever subreddit."""
        bare = external_id.removeprefix("t3_")
        return f"https://www.reddit.com/comments/{bare}" if _BARE_ID.fullmatch(bare) else None

    def refresh_call(self, tokens: abilities.HeldTokens, client: abilities.AppClient) -> abilities.RefreshCall | None:
        """`/api/v1/access_token` of the site itself, signed by the app; the refresh token stays."""
        call = oauth_call("/api/v1/access_token", tokens, client, base_url=TOKEN_URL, basic=True)
        return call and replace(call, headers={**call.headers, **self._named})

    def read_refresh(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> abilities.TokenGrant | abilities.RefreshFailure:
        """As OAuth 2; 401 means that the app was refused."""
        return read_oauth(status, headers, body, unauthorized=base.Outcome.REQUEST_WRONG)

    def read(self, event: PlatformRaw) -> base.Reading:
        """`/api/info`, `/by_id/{names}`, lists of posts; `/r/{name}/about`, `/user/{name}/about`, `/api/v1/me`."""
        if not http_reading.succeeded(event):
            return base.NOTHING
        path = _segments(event.endpoint)
        of_posts = event.kind == RawKind.POST_METRICS
        is_known = _is_posts(path) if of_posts else _is_channel(path)
        if not is_known and not (event.kind == RawKind.IDENTITY and _is_posts(path)):
            raise base.MappingError("unknown_endpoint", f"Reddit has no {event.kind} at {event.endpoint[:200]!r}")
        answer = json_reading.json_object(event.body)
        if "error" in answer or event.kind == RawKind.IDENTITY:
            return base.NOTHING
        if of_posts:
            return self._posts(event, answer, all_asked=_is_ids(path))
        return self._channel(path, answer)

    def _posts(self, event: PlatformRaw, answer: dict[str, Any], *, all_asked: bool) -> base.Reading:
        wanted = json_reading.positions(event)
        matched = _match(answer, wanted)
        found: dict[str, json_reading.Figures] = {
            external_id: (_POST_BITS, 0, _post(post))
            for external_id, post in matched.items()
            if not _POST_KEYS.isdisjoint(post)
        }
        gone = json_reading.left_out(event, matched) if all_asked else []
        return base.Reading(json_reading.readings(found, wanted), (), gone)

    def _channel(self, path: tuple[str, ...], answer: dict[str, Any]) -> base.Reading:
        if path == ("api", "info"):
            of_kind = [thing for kind, thing in _children(answer) if kind == "t5"]
            subreddit = of_kind[0] if of_kind else None
        elif path == ("api", "v1", "me"):
            subreddit = json_reading.block(answer.get("subreddit"), "subreddit")
        else:
            thing = json_reading.block(answer.get("data"), "data")
            is_profile = answer.get("kind") == "t2" or path[0] == "user"
            subreddit = json_reading.block(thing.get("subreddit"), "subreddit") if thing and is_profile else thing
        if not subreddit or "subscribers" not in subreddit:
            return base.NOTHING
        values: list[int | None] = list(metrics.NO_CHANNEL_VALUES)
        values[metrics.CH_FOLLOWERS] = json_reading.count(subreddit["subscribers"], "subscribers")
        return base.Reading(
            (), (base.ChannelReading("lifetime", None, None, json_reading.bits(metrics.CH_FOLLOWERS), tuple(values)),)
        )

    def part(self, event: PlatformRaw, target_index: int) -> Any:
        """The post object with the target's id."""
        if not 0 <= target_index < len(event.targets):
            return {}
        try:
            return json_reading.made_once(event, _by_id).get(event.targets[target_index].external_id, {})
        except base.MappingError:
            return {}

    def classify(self, status: int, headers: Mapping[str, str], body: bytes, now: int) -> base.Verdict:
        """The body's `reason` or `error` name, then what `www-authenticate` says, then the status."""
        answer = json_reading.try_json_object(body)
        error, reason = answer.get("error"), answer.get("reason")
        failed = status
        if 200 <= status < 300:
            if not answer:
                return base.Verdict(base.Outcome.PLATFORM_DOWN, detail=f"{status} no JSON")
            data = answer.get("data")
            if isinstance(data, dict) and data.get("is_suspended") is True:
                return base.Verdict(base.Outcome.ACCOUNT_DISABLED, detail=f"{status} is_suspended")
            if "error" not in answer:
                return base.Verdict(base.Outcome.OK)
            failed = error if type(error) is int and 400 <= error < 600 else 500
        words = reason if isinstance(reason, str) else error if isinstance(error, str) else ""
        challenge = headers.get("www-authenticate", "")
        detail = f"{status} {words}"[:200]
        if words.lower() in _DISABLED_REASONS:
            return base.Verdict(base.Outcome.ACCOUNT_DISABLED, detail=detail)
        if failed == 404 and words.lower() in _GONE_REASONS:
            return base.Verdict(base.Outcome.TARGET_GONE, detail=detail)
        if "insufficient_scope" in challenge or words == "insufficient_scope":
            return base.Verdict(base.Outcome.PERMISSION_MISSING, detail=detail)
        if not answer and any(said in body for said in _BLOCKED) and _TOO_MANY not in body:
            wait = http_reading.retry_after(headers)
            return base.Verdict(base.Outcome.PLATFORM_DOWN, wait, f"{status} blocked: see TIDEMARK_REDDIT_USER_AGENT")
        if failed in (404, 410) and answer:
            # Unknown posts are left out of a list; this speaks of the address, of an account or a subreddit at most.
            return base.Verdict(base.Outcome.REQUEST_WRONG, detail=detail)
        if failed == 401 and 'realm="reddit"' in challenge:
            return base.Verdict(base.Outcome.TOKEN_EXPIRED, detail=detail)
        # Reddit's own errors repeat the status, or have a reason beside their message.
        is_reasoned = isinstance(reason, str) and "message" in answer
        if type(error) is int or is_reasoned or words.lower() in _PRIVATE_REASONS:
            verdict = http_reading.by_status(failed, headers, detail, body)
        else:
            verdict = http_reading.without_code(failed, headers, detail)
        if verdict.outcome is base.Outcome.RETRY_LATER:
            wait = http_reading.retry_after(headers)
            if wait is not None:
                return base.Verdict(verdict.outcome, wait, detail)
            wait = http_reading.seconds_of(headers.get("x-ratelimit-reset"))
            return base.Verdict(verdict.outcome, wait, detail, longest_seconds=_WINDOW_SECONDS)
        return verdict

    def limits(self, headers: Mapping[str, str], now: int) -> base.LimitState | None:
        """`x-ratelimit-*`: what is left is a decimal number, the reset is in seconds from now."""
        used = http_reading.seconds_of(headers.get("x-ratelimit-used"))
        remaining = http_reading.seconds_of(headers.get("x-ratelimit-remaining"))
        reset = http_reading.seconds_of(headers.get("x-ratelimit-reset"))
        if remaining is None:
            return None
        return base.LimitState(
            None if used is None else int(used + remaining),
            int(remaining),
            None if reset is None else now + int(reset * 1000),
            longest_seconds=_WINDOW_SECONDS,
        )


PLATFORM = Reddit()
