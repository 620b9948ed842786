"""The sandbox answers as the platforms do: their own readers find exactly the curves' numbers in its answers."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import httpx
import pytest

from infra.sandbox.app import ConnectionReset, Sandbox
from infra.sandbox.curves import average_watch_millis, level_value, metric_value, period_value
from infra.sandbox.exchange import TOKEN_FAULTS
from infra.sandbox.ids import BEHAVIOURS, make_id, published_at
from infra.sandbox.routes import all_routes
from infra.sandbox.state import FAULT_KINDS, Clock, State
from schemas.events import Origin, PlatformRaw, RawKind, RawTarget
from schemas.metrics import CHANNEL_NAMES, POST_NAMES
from services.platforms import all_platforms, platform
from services.platforms.abilities import AnswersApart, Discovers
from services.platforms.base import Call, Channel, ChannelReading, LimitState, Outcome, Reading, Target, Verdict

NAMES = sorted(all_platforms())
SEED = 42
NOW = 1_795_222_800_000
HOUR = 3_600_000
# Platforms that are not listed here are asked as all others are; only their figures are not computed a second time.
ACCOUNT = defaultdict(lambda: "1001", x="2244994945", instagram="17841400008460056", youtube="UC_x5XG1OV2P6uZZ5FSM9Ttw")
ACCOUNT["bluesky"] = "did:plc:z72i7hdynmk6r22z27h6tvur"
ACCOUNT["linkedin"] = "urn:li:organization:2414183"
ACCOUNT["facebook"] = "104583221947103"
ACCOUNT["threads"] = "17841401234567890"
ACCOUNT["tiktok"] = "723f24d7-e717-40f8-a2b6-cb8464cd23b4"
ACCOUNT["pinterest"] = "2783136121146311751"
ACCOUNT["google_business"] = "11293847561029384756"
ACCOUNT["reddit"] = "u_sandbox"
# What each common metric is made of, by the platforms' documentation.
MADE_OF: dict[str, dict[str, tuple[str, ...]]] = {
    "x": {
        "impressions": ("impression_count",),
        "likes": ("like_count",),
        "comments": ("reply_count",),
        "shares": ("retweet_count", "quote_count"),
        "quotes": ("quote_count",),
        "saves": ("bookmark_count",),
        "clicks": ("url_link_clicks",),
        "profile_clicks": ("user_profile_clicks",),
        "video_views": ("view_count",),
    },
    "instagram": {
        "views": ("views",),
        "reach": ("reach",),
        "likes": ("like_count",),
        "comments": ("comments_count",),
        "shares": ("shares",),
        "saves": ("saved",),
    },
    "youtube": {"views": ("viewCount",), "likes": ("likeCount",), "comments": ("commentCount",)},
    "bluesky": {
        "likes": ("likeCount",),
        "comments": ("replyCount",),
        "shares": ("repostCount", "quoteCount"),
        "quotes": ("quoteCount",),
        "saves": ("bookmarkCount",),
    },
    "linkedin": {
        "impressions": ("impressionCount",),
        "reach": ("uniqueImpressionsCount",),
        "likes": ("likeCount",),
        "comments": ("commentCount",),
        "shares": ("shareCount",),
        "clicks": ("clickCount",),
    },
    "facebook": {
        "views": ("post_media_view",),
        "reach": ("post_total_media_view_unique",),
        "likes": ("reactions",),
        "comments": ("comments",),
        "shares": ("shares",),
        "clicks": ("post_clicks",),
        "video_views": ("post_video_views",),
    },
    "threads": {
        "views": ("views",),
        "likes": ("likes",),
        "comments": ("replies",),
        "shares": ("reposts", "quotes"),
        "quotes": ("quotes",),
    },
    "tiktok": {
        "views": ("view_count",),
        "likes": ("like_count",),
        "comments": ("comment_count",),
        "shares": ("share_count",),
    },
    "pinterest": {
        "impressions": ("impression",),
        "saves": ("save",),
        "clicks": ("clickthrough",),
        "other_clicks": ("pin_click",),
        "likes": ("reaction",),
        "comments": ("comment",),
    },
    "google_business": {},
    "reddit": {"likes": ("score",), "comments": ("num_comments",), "shares": ("num_crossposts",)},
}
# Where a limit says when it ends in whole minutes, or not at all.
RETRY_AFTER: dict[str, float | None] = {
    "instagram": 60,
    "facebook": 60,
    "threads": None,
    "linkedin": None,
    "tiktok": None,
}
# Platforms whose largest batch is one list in the query.
IN_LISTS = sorted({"x", "youtube", "bluesky", "reddit"} & set(NAMES))
# Google Business Profile has no figures of posts.
WITH_POSTS = [name for name in NAMES if set(platform(name).facts.not_reported) != set(POST_NAMES)]


def raw_event(name: str, call: Call, answer: httpx.Response) -> PlatformRaw:
    """An answer as it is published."""
    return PlatformRaw(
        "e", "w", "c", name, call.kind, call.path, call.request_map(),
        tuple(RawTarget(target.target_id, target.post_id, target.external_id) for target in call.targets),
        answer.status_code, answer.content, NOW, Origin.LIVE,
    )  # fmt: skip


class Bench:
    """A sandbox with its clock stopped, and a client of it."""

    def __init__(self) -> None:
        self.wall = NOW
        self.state = State(SEED, Clock(wall=lambda: self.wall))
        transport = httpx.ASGITransport(app=Sandbox(self.state))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://sandbox")

    async def call(self, name: str, call: Call, token: str = "sandbox-1") -> tuple[httpx.Response, Verdict, Reading]:
        """Make a platform's call; what its answer means, and what it says."""
        subject = platform(name)
        url = f"{call.path}?{call.query_text()}"
        headers = subject.authorize(token)
        answer = await self.client.request(call.method, url, json=call.json, headers=headers)
        event = raw_event(name, call, answer)
        return (
            answer,
            subject.classify(answer.status_code, dict(answer.headers), answer.content, NOW),
            subject.read(event),
        )

    async def control(self, path: str, body: Any = None) -> Any:
        """The control API's answer."""
        url = f"/_sandbox/{path}"
        answer = await (self.client.get(url) if body is None else self.client.post(url, json=body))
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    async with made.client:
        yield made


def channel_of(name: str) -> Channel:
    return Channel("w", "c", ACCOUNT[name])


def target(name: str, number: int = 1, peculiar: str = "", age: int = 5 * HOUR, post_type: str = "") -> Target:
    external_id = make_id(name, NOW - age - number * 60_000, number, peculiar)
    return Target(f"t{number}{peculiar}", f"p{number}", external_id, post_type, published_at(name, external_id))


def shown(reading: Reading, position: int = 0) -> dict[str, int | None]:
    """The metrics that an answer speaks of."""
    post = next(post for post in reading.posts if post.position == position)
    return {name: post.values[at] for at, name in enumerate(POST_NAMES) if post.spoken >> at & 1}


def curve(name: str, external_id: str, metric: str, at: int = NOW) -> int:
    return metric_value(SEED, name, external_id, metric, published_at(name, external_id), at)


def test_every_platform_has_routes() -> None:
    assert {routes.platform for routes in all_routes()} == set(NAMES) >= set(BEHAVIOURS) == set(MADE_OF)


def left_out(name: str, call: Call, answer: httpx.Response) -> list[Target]:
    """The targets that a list doesn't hold."""
    known = platform(name)
    told = known.verdicts(raw_event(name, call, answer), {}, NOW) if isinstance(known, AnswersApart) else {}
    return [call.targets[place] for place, verdict in told.items() if verdict.outcome is Outcome.NOT_LISTED]


@pytest.mark.parametrize("name", WITH_POSTS)
async def test_post_calls_read_exactly_the_curves(bench: Bench, name: str) -> None:
    targets = [target(name, number) for number in range(1, 120)]
    read = 0
    calls = deque(platform(name).post_calls(channel_of(name), targets, NOW))
    while calls:
        call = calls.popleft()
        answer, verdict, reading = await bench.call(name, call)
        assert verdict.outcome is Outcome.OK
        unlisted = left_out(name, call, answer)
        calls.extend(one for lone in unlisted for one in platform(name).post_calls(channel_of(name), [lone], NOW))
        for position, asked in enumerate(call.targets):
            if asked in unlisted:
                continue
            found = shown(reading, position)
            for metric, parts in MADE_OF.get(name, {}).items():
                if metric == "video_views" and metric not in found:
                    continue
                assert found[metric] == sum(curve(name, asked.external_id, part) for part in parts), metric
            read += 1
    assert read == len(targets)


@pytest.mark.parametrize("name", WITH_POSTS)
async def test_served_tells_what_was_answered_when(bench: Bench, name: str) -> None:
    asked = target(name)
    (call,) = platform(name).post_calls(channel_of(name), [asked], NOW)
    await bench.call(name, call)
    bench.wall += 90_000
    await bench.call(name, call)
    served = (await bench.control(f"served?platform={name}&external_id={asked.external_id}"))["served"]
    assert [record["served_at"] for record in served] == [NOW, NOW + 90_000]
    for record in served:
        for metric, value in record["fields"].items():
            assert value == curve(name, asked.external_id, metric, record["clock"])
    metric = next(iter(served[0]["fields"]))
    (only,) = (await bench.control(f"served?platform={name}&metric={metric}&since={NOW + 1}"))["served"]
    assert list(only["fields"]) == [metric]
    value = await bench.control(f"value?platform={name}&external_id={asked.external_id}&metric={metric}&at={NOW}")
    assert value["value"] == served[0]["fields"][metric]


async def test_reels_have_watch_times(bench: Bench) -> None:
    asked = target("instagram", post_type="instagram-reel")
    (call,) = platform("instagram").post_calls(channel_of("instagram"), [asked], NOW)
    _, _, reading = await bench.call("instagram", call)
    average = average_watch_millis(SEED, "instagram", asked.external_id)
    found = shown(reading)
    assert found["avg_watch_time_seconds"] == average
    assert found["watch_time_seconds"] == average * curve("instagram", asked.external_id, "views")


def _check_location(days: list[ChannelReading]) -> None:
    """Every day but the last three, with the sum of the four kinds of impressions."""
    kinds = [
        f"BUSINESS_IMPRESSIONS_{device}_{where}" for device in ("DESKTOP", "MOBILE") for where in ("MAPS", "SEARCH")
    ]
    assert len(days) >= 28
    assert all(first.period_end == second.period_start for first, second in pairwise(days))
    for day in days:
        assert day.period_start is not None
        assert day.period_end is not None
        parts = [
            period_value(SEED, "google_business", ACCOUNT["google_business"], kind, day.period_start, day.period_end)
            for kind in kinds
        ]
        assert day.values[CHANNEL_NAMES.index("impressions")] == sum(parts) > 0


@pytest.mark.parametrize("name", NAMES)
async def test_channel_calls(bench: Bench, name: str) -> None:
    channels: list[ChannelReading] = []
    for call in platform(name).channel_calls(channel_of(name), NOW):
        _, verdict, reading = await bench.call(name, call, f"sandbox-1~{ACCOUNT[name]}")
        assert verdict.outcome is Outcome.OK
        channels += reading.channels
    now = channels[0]
    if name == "google_business":
        _check_location(channels)
        return
    assert now.period == "lifetime"
    if name not in MADE_OF:
        return
    followers = level_value(SEED, name, ACCOUNT[name], "followers", NOW)
    if name == "youtube":  # three significant figures
        followers = followers // 10 ** (len(str(followers)) - 3) * 10 ** (len(str(followers)) - 3)
    assert now.values[CHANNEL_NAMES.index("followers")] == followers
    if now.spoken >> CHANNEL_NAMES.index("posts_count") & 1:
        assert now.values[CHANNEL_NAMES.index("posts_count")] == level_value(SEED, name, ACCOUNT[name], "posts", NOW)
    views = CHANNEL_NAMES.index("views")
    if name == "instagram":
        assert [channel.period for channel in channels] == ["lifetime", "day", "window", "window"]
        for channel in channels[1:]:
            assert channel.period_start is not None
            assert channel.period_end is not None
            expected = period_value(SEED, name, ACCOUNT[name], "views", channel.period_start, channel.period_end)
            assert channel.values[views] == expected
    if name in ("youtube", "pinterest"):
        days = channels[1:]
        assert len(days) >= 28
        assert all(first.period_end == second.period_start for first, second in pairwise(days))


@pytest.mark.parametrize("name", NAMES)
async def test_identity(bench: Bench, name: str) -> None:
    call = platform(name).identity_call(channel_of(name))
    _, verdict, _ = await bench.call(name, call)
    assert verdict.outcome is Outcome.OK
    _, verdict, _ = await bench.call(name, call, "expired-1")
    assert verdict.outcome is (Outcome.TOKEN_EXPIRED)
    answer, _, _ = await bench.call(name, call, "sandbox-1~4711")
    assert name == "instagram" or name not in MADE_OF or b"4711" in answer.content


EXPECTED_OF_FAULT = {
    "token_expired": Outcome.TOKEN_EXPIRED,
    "token_revoked": Outcome.TOKEN_REVOKED,
    "permission_missing": Outcome.PERMISSION_MISSING,
    "rate_limited": Outcome.RETRY_LATER,
    "account_disabled": Outcome.ACCOUNT_DISABLED,
    "server_error": Outcome.PLATFORM_DOWN,
    "quota_exhausted": Outcome.QUOTA_EXHAUSTED,
}
# What a platform doesn't tell apart.
SAME = {
    ("x", "token_revoked"): Outcome.TOKEN_EXPIRED,
    ("instagram", "quota_exhausted"): Outcome.RETRY_LATER,
    ("bluesky", "quota_exhausted"): Outcome.RETRY_LATER,
    ("facebook", "quota_exhausted"): Outcome.RETRY_LATER,
    ("threads", "quota_exhausted"): Outcome.RETRY_LATER,
    ("tiktok", "quota_exhausted"): Outcome.RETRY_LATER,
    ("tiktok", "token_revoked"): Outcome.TOKEN_EXPIRED,
    ("tiktok", "account_disabled"): Outcome.TOKEN_EXPIRED,
    ("linkedin", "account_disabled"): Outcome.TOKEN_REVOKED,
    ("pinterest", "quota_exhausted"): Outcome.RETRY_LATER,
    ("pinterest", "token_revoked"): Outcome.TOKEN_EXPIRED,
    ("pinterest", "account_disabled"): Outcome.TOKEN_EXPIRED,
    ("reddit", "quota_exhausted"): Outcome.RETRY_LATER,
    ("reddit", "token_revoked"): Outcome.TOKEN_EXPIRED,
}


def outcome_of(name: str, kind: str, found: Outcome) -> Outcome:
    """What a fault must be read as; of a platform that is not listed, anything but success."""
    if name not in MADE_OF and found is not Outcome.OK:
        return found
    return SAME.get((name, kind), EXPECTED_OF_FAULT[kind])


def a_call(name: str) -> Call:
    """A call that brings figures: of a post, where the platform has them."""
    calls = platform(name).post_calls(channel_of(name), [target(name)], NOW)
    return calls[0] if calls else platform(name).channel_calls(channel_of(name), NOW)[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("word", "kind"), TOKEN_FAULTS.items())
@pytest.mark.parametrize("prefix", ["", "sandbox-"])
async def test_tokens_that_fail(bench: Bench, name: str, word: str, kind: str, prefix: str) -> None:
    answer, verdict, reading = await bench.call(name, a_call(name), f"{prefix}{word}-abc")
    assert answer.status_code >= 400
    assert verdict.outcome is outcome_of(name, kind, verdict.outcome)
    assert reading == Reading()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", sorted(EXPECTED_OF_FAULT))
async def test_faults_fail_as_the_platform_does(bench: Bench, name: str, kind: str) -> None:
    await bench.control("faults", {"platform": name, "kind": kind, "count": 1, "retry_after_seconds": 7})
    call = a_call(name)
    _, verdict, _ = await bench.call(name, call)
    assert verdict.outcome is outcome_of(name, kind, verdict.outcome)
    if verdict.outcome is Outcome.RETRY_LATER and name in MADE_OF:
        assert verdict.retry_after_seconds == RETRY_AFTER.get(name, 7)
    _, verdict, _ = await bench.call(name, call)
    assert verdict.outcome is Outcome.OK
    counts = (await bench.control(f"calls?platform={name}"))["counts"]
    assert sum(count["count"] for count in counts) == 2


async def test_a_share_of_calls_fails_evenly_and_for_a_span(bench: Bench) -> None:
    await bench.control("faults", {"platform": "x", "kind": "server_error", "share": 0.25, "for_seconds": 10})
    (call,) = platform("x").post_calls(channel_of("x"), [target("x")], NOW)
    statuses = [(await bench.call("x", call))[0].status_code for _ in range(12)]
    assert statuses == [200, 200, 200, 503] * 3
    bench.wall += 10_000
    assert [(await bench.call("x", call))[0].status_code for _ in range(8)] == [200] * 8


async def test_broken_connections(bench: Bench) -> None:
    (call,) = platform("x").post_calls(channel_of("x"), [target("x")], NOW)
    for kind in ("half_body", "reset"):
        await bench.control("faults", {"platform": "x", "kind": kind, "count": 1})
        with pytest.raises(ConnectionReset):
            await bench.call("x", call)
    assert {"half_body", "reset", "slow"} < set(FAULT_KINDS)


async def test_a_fault_of_one_account_stays_with_it_when_its_token_is_renewed(bench: Bench) -> None:
    call = platform("x").identity_call(channel_of("x"))
    await bench.control("faults", {"platform": "x", "kind": "server_error", "account": "4711"})
    outcomes = [(await bench.call("x", call, token))[1].outcome for token in ("a~4711", "fresh-1~4711", "a~12", "a")]
    assert outcomes == [Outcome.PLATFORM_DOWN, Outcome.PLATFORM_DOWN, Outcome.OK, Outcome.OK]


@pytest.mark.parametrize("name", ["x", "instagram", "youtube"])
async def test_a_token_is_needed(bench: Bench, name: str) -> None:
    (call,) = platform(name).post_calls(channel_of(name), [target(name)], NOW)
    answer, verdict, _ = await bench.call(name, call, "")
    assert answer.status_code in (400, 401)
    assert verdict.outcome is not Outcome.OK


@pytest.mark.parametrize("name", ["x", "youtube", "bluesky", "reddit"])
async def test_gone_posts_cost_the_others_nothing(bench: Bench, name: str) -> None:
    targets = [target(name, 1), target(name, 2, "gone"), target(name, 3)]
    (call,) = platform(name).post_calls(channel_of(name), targets, NOW)
    _, verdict, reading = await bench.call(name, call)
    assert verdict.outcome is Outcome.OK
    assert sorted(post.position for post in reading.posts) == [0, 2]
    assert list(reading.gone) == [1]


@pytest.mark.parametrize(
    ("peculiar", "outcome"),
    [
        ("gone", Outcome.TARGET_GONE),
        ("before_business", Outcome.NO_DATA_EVER),
        ("few_viewers", Outcome.TOO_EARLY),
    ],
)
async def test_one_media_fails_alone(bench: Bench, peculiar: str, outcome: Outcome) -> None:
    targets = [target("instagram", 1), target("instagram", 2, peculiar)]
    healthy, refused = platform("instagram").post_calls(channel_of("instagram"), targets, NOW)
    _, verdict, reading = await bench.call("instagram", refused)
    assert verdict.outcome is outcome
    assert not reading.posts
    if outcome is Outcome.TARGET_GONE:
        assert verdict.refused_target == targets[1].external_id
    assert not (await bench.control("served"))["served"]
    _, verdict, reading = await bench.call("instagram", healthy)
    assert verdict.outcome is Outcome.OK
    assert shown(reading)["views"] is not None


@pytest.mark.parametrize("name", ["instagram", "facebook"])
async def test_several_ids_at_the_root_are_refused(bench: Bench, name: str) -> None:
    ids = ",".join(target(name, number).external_id for number in (1, 2))
    call = Call(RawKind.POST_METRICS, "GET", "/v25.0/", (("ids", ids), ("fields", "id")), None, (target(name),))
    answer, verdict, reading = await bench.call(name, call)
    assert answer.status_code == 500
    assert verdict.outcome is Outcome.REQUEST_WRONG
    assert not reading.posts


@pytest.mark.parametrize("name", ["instagram", "facebook", "threads"])
async def test_an_account_s_newest_posts_are_listed(bench: Bench, name: str) -> None:
    finds = platform(name)
    assert isinstance(finds, Discovers)
    call = finds.discovery_call(channel_of(name), NOW)
    assert call is not None
    answer, verdict, _ = await bench.call(name, call)
    assert verdict.outcome is Outcome.OK
    event = PlatformRaw(
        "e", "w", "c", name, call.kind, call.path, call.request_map(), (), 200, answer.content, NOW, Origin.LIVE
    )
    found = finds.discovered(event).posts
    assert len(found) >= 20
    for post in found:
        assert post.published_at == published_at(name, post.external_id) // 1000 * 1000 <= NOW
    (asked, *_) = finds.post_calls(channel_of(name), [Target("t", "p", found[0].external_id, found[0].post_type)], NOW)
    _, verdict, reading = await bench.call(name, asked)
    assert verdict.outcome is Outcome.OK
    assert reading.posts


@pytest.mark.parametrize("name", ["instagram", "facebook"])
async def test_a_heavy_post_is_too_much(bench: Bench, name: str) -> None:
    (call,) = platform(name).post_calls(channel_of(name), [target(name, 1, "heavy")], NOW)
    _, verdict, _ = await bench.call(name, call)
    assert verdict.outcome is Outcome.TOO_MUCH


async def test_an_image_without_shares(bench: Bench) -> None:
    (call,) = platform("instagram").post_calls(channel_of("instagram"), [target("instagram", 1, "image")], NOW)
    _, verdict, _ = await bench.call("instagram", call)
    assert (verdict.outcome, verdict.refused_metric) == (Outcome.METRIC_NOT_OFFERED, "shares")


async def test_a_name_of_another_kind_fails_the_request(bench: Bench) -> None:
    wrong = target("instagram", 1, "story", post_type="instagram-reel")
    (call,) = platform("instagram").post_calls(channel_of("instagram"), [wrong], NOW)
    _, verdict, _ = await bench.call("instagram", call)
    assert verdict.outcome is Outcome.METRIC_NOT_OFFERED
    assert verdict.refused_metric == "saved"


@pytest.mark.parametrize(
    ("name", "peculiar", "metric"),
    [
        ("instagram", "hidden_likes", "likes"),
        ("youtube", "hidden_likes", "likes"),
        ("youtube", "comments_off", "comments"),
        ("bluesky", "old", "saves"),
        ("x", "old", "saves"),
        ("pinterest", "hidden_likes", "likes"),
        ("reddit", "hidden_likes", "likes"),
        ("reddit", "old", "shares"),
    ],
)
async def test_hidden_counts_are_spoken_of_as_null(bench: Bench, name: str, peculiar: str, metric: str) -> None:
    (call,) = platform(name).post_calls(channel_of(name), [target(name, 1, peculiar)], NOW)
    _, _, reading = await bench.call(name, call)
    found = shown(reading)
    assert metric in found
    assert found[metric] is None
    assert any(value is not None for value in found.values())


@pytest.mark.parametrize(("name", "peculiar"), [("youtube", "no_statistics"), ("instagram", "no_insights")])
async def test_empty_blocks_say_nothing(bench: Bench, name: str, peculiar: str) -> None:
    (call,) = platform(name).post_calls(channel_of(name), [target(name, 1, peculiar)], NOW)
    _, verdict, reading = await bench.call(name, call)
    assert verdict.outcome is Outcome.OK
    assert not reading.posts or set(shown(reading)) == {"likes", "comments"}


async def test_video_pins_have_watch_times(bench: Bench) -> None:
    asked = target("pinterest", 1, age=20 * 24 * HOUR, post_type="pinterest-video")
    lifetime, dated = platform("pinterest").post_calls(channel_of("pinterest"), [asked], NOW)
    _, _, reading = await bench.call("pinterest", dated)
    (post,) = reading.posts
    found = shown(reading)
    average = average_watch_millis(SEED, "pinterest", asked.external_id)
    assert found["avg_watch_time_seconds"] == average
    assert found["watch_time_seconds"] == average * (found["video_views"] or 0) > 0
    assert found["likes"] == curve("pinterest", asked.external_id, "reaction")
    dates = {name for at, name in enumerate(POST_NAMES) if post.ranged >> at & 1}
    assert dates == {"video_views", "watch_time_seconds", "avg_watch_time_seconds"}
    assert not (await bench.call("pinterest", lifetime))[2].posts[0].ranged


@pytest.mark.parametrize(
    ("peculiar", "outcome"), [("gone", Outcome.TARGET_GONE), ("foreign", Outcome.PERMISSION_MISSING)]
)
async def test_pins_that_cant_be_seen(bench: Bench, peculiar: str, outcome: Outcome) -> None:
    (call,) = platform("pinterest").post_calls(channel_of("pinterest"), [target("pinterest", 1, peculiar)], NOW)
    assert (await bench.call("pinterest", call))[1].outcome is outcome


async def test_old_pins_have_ninety_days_only(bench: Bench) -> None:
    (call,) = platform("pinterest").post_calls(channel_of("pinterest"), [target("pinterest", 1, "old")], NOW)
    _, _, reading = await bench.call("pinterest", call)
    assert reading.posts[0].ranged == reading.posts[0].spoken
    assert set(shown(reading)) == {"impressions", "saves", "clicks", "other_clicks"}


async def test_a_view_count_of_reddit_is_its_impressions(bench: Bench) -> None:
    asked = target("reddit", 1, "viewed")
    (call,) = platform("reddit").post_calls(channel_of("reddit"), [asked], NOW)
    _, _, reading = await bench.call("reddit", call)
    assert shown(reading)["impressions"] == curve("reddit", asked.external_id, "view_count")


async def test_quoted_posts_do_not_count(bench: Bench) -> None:
    asked = target("bluesky", 1, "quoting")
    (call,) = platform("bluesky").post_calls(channel_of("bluesky"), [asked], NOW)
    answer, _, reading = await bench.call("bluesky", call)
    assert b"999999" in answer.content
    assert shown(reading)["likes"] == curve("bluesky", asked.external_id, "likeCount")


async def test_private_figures_of_x(bench: Bench) -> None:
    edited, old, foreign = target("x", 1, "edited"), target("x", 2, age=40 * 24 * HOUR), target("x", 3, "foreign")
    recent, aged = platform("x").post_calls(channel_of("x"), [edited, old, foreign], NOW)
    _, _, reading = await bench.call("x", recent)
    newest = str(int(edited.external_id) + 1)
    assert [post.position for post in reading.posts] == [0]
    assert shown(reading)["likes"] == curve("x", newest, "like_count")
    _, _, reading = await bench.call("x", aged)
    assert "clicks" not in shown(reading)
    answer, verdict, _ = await bench.call("x", recent, "app-1")
    assert answer.status_code == 200
    assert verdict.refused_metric == "non_public_metrics"


@pytest.mark.parametrize("name", IN_LISTS)
async def test_batches_over_the_limit_are_refused(bench: Bench, name: str) -> None:
    size = platform(name).facts.post_batch_size
    targets = [target(name, number) for number in range(size + 1)]
    first, second = platform(name).post_calls(channel_of(name), targets, NOW)
    extra = second.targets[0].external_id
    if name == "bluesky":
        query = [*first.query, ("uris", extra)]
    else:
        query = [(key, f"{value},{extra}" if key in ("ids", "id") else value) for key, value in first.query]
    answer = await bench.client.get(
        first.path, params=httpx.QueryParams(tuple(query)), headers=platform(name).authorize("sandbox-1")
    )
    assert answer.status_code == 400
    verdict = platform(name).classify(400, dict(answer.headers), answer.content, NOW)
    assert verdict.outcome is Outcome.REQUEST_WRONG


async def test_rate_limits_count_and_turn(bench: Bench) -> None:
    call = platform("x").identity_call(channel_of("x"))
    for left in range(74, -1, -1):
        answer, _, _ = await bench.call("x", call)
        state = platform("x").limits(dict(answer.headers), NOW)
        assert state == LimitState(75, left, NOW + 900_000, longest_seconds=900)
    _, verdict, _ = await bench.call("x", call)
    assert verdict.outcome is Outcome.RETRY_LATER
    assert verdict.retry_after_seconds == 900
    assert (await bench.call("x", call, "sandbox-2"))[1].outcome is Outcome.OK
    await bench.control("limits", {"enforced": False})
    assert (await bench.call("x", call))[1].outcome is Outcome.OK
    await bench.control("limits", {"enforced": True})
    bench.wall += 900_000
    assert (await bench.call("x", call))[1].outcome is Outcome.OK


async def test_clock(bench: Bench) -> None:
    asked = target("youtube")
    (call,) = platform("youtube").post_calls(channel_of("youtube"), [asked], NOW)
    await bench.control("clock", {"advance_seconds": 3600, "freeze": True})
    bench.wall += 5_000
    _, _, reading = await bench.call("youtube", call)
    assert shown(reading)["views"] == curve("youtube", asked.external_id, "viewCount", NOW + HOUR)
    shown_clock = await bench.control("clock", {"freeze": False})
    assert shown_clock["now"] == NOW + HOUR
    bench.wall += 1_000
    assert (await bench.control("clock"))["now"] == NOW + HOUR + 1_000
    assert (await bench.control("clock", {"at": NOW}))["now"] == NOW
    await bench.control("reset", {})
    assert await bench.control("clock") == {"now": bench.wall, "wall": bench.wall, "offset_ms": 0, "frozen": False}


async def test_tokens_are_masked_in_the_list_of_calls(bench: Bench) -> None:
    await bench.client.get("/v25.0/?ids=12345&fields=like_count&access_token=sandbox-secret")
    calls = await bench.control("calls")
    assert "secret" not in str(calls)
    (call,) = calls["recent"]
    assert call["token"] == "sandbox-***"
    assert ["access_token", "***"] in call["query"]


async def test_control_refuses_nonsense(bench: Bench) -> None:
    for path, body in (
        ("faults", {"platform": "x"}),
        ("faults", {"platform": "x", "kind": "flood"}),
        ("faults", {"platform": "myspace", "kind": "slow"}),
        ("faults", [1]),
        ("clock", {"fly": True}),
        ("limits", {}),
    ):
        answer = await bench.client.post(f"/_sandbox/{path}", json=body)
        assert answer.status_code == 422
        assert answer.json()["error"]
    assert (await bench.client.get("/_sandbox/value?platform=myspace")).status_code == 422
    assert (await bench.client.get("/_sandbox/served?limit=x")).status_code == 422


async def test_control_makes_ids(bench: Bench) -> None:
    for name in NAMES:
        made = await bench.control(f"id?platform={name}&published_at={NOW}&number=3")
        assert made["external_id"] == make_id(name, NOW, 3)
        assert made["published_at"] == NOW
    assert (await bench.control("healthz"))["status"] == "ok"


async def test_the_served_record_is_bounded() -> None:
    state = State(SEED, Clock(wall=lambda: NOW), served_limit=10)
    for number in range(25):
        state.served.add("x", str(number % 4), NOW + number, NOW, {"like_count": number})
    assert len(state.served.of(None, None)) == 10
    assert state.served.dropped == 15
    assert [record["fields"]["like_count"] for record in state.served.of("x", "3")] == [15, 19, 23]


async def test_unknown_paths_belong_to_no_platform(bench: Bench) -> None:
    for path in ("/2/tweets/search/recent", "/xrpc/app.bsky.feed.nothing", "/favicon.ico", "/v2/video"):
        assert (await bench.client.get(path)).status_code == 404
    assert (await bench.client.post("/2/tweets")).status_code == 405


@pytest.mark.parametrize("name", ["x", "bluesky"])
async def test_accounts_own_lists_are_read_as_posts_that_can_be_asked_for(name: str, bench: Bench) -> None:
    subject: Any = platform(name)
    channel = Channel("w", "c", ACCOUNT[name])
    call = subject.discovery_call(channel, NOW)
    answer = await bench.client.get(f"{call.path}?{call.query_text()}", headers=subject.authorize("sandbox-1"))
    event = PlatformRaw(
        "e", "w", "c", name, call.kind, call.path, call.request_map(), (), answer.status_code, answer.content, NOW,
        Origin.SCHEDULE,
    )  # fmt: skip
    posts = subject.discovered(event).posts
    assert len(posts) >= 10
    assert [post.published_at for post in posts] == sorted((post.published_at for post in posts), reverse=True)
    assert all(abs(published_at(name, post.external_id) - post.published_at) < 1000 for post in posts)
    targets = [Target(f"t{place}", "p", post.external_id) for place, post in enumerate(posts)]
    for asked in subject.post_calls(channel, targets, NOW):
        _, verdict, reading = await bench.call(name, asked)
        assert verdict.outcome is Outcome.OK
        assert len(reading.posts) == len(asked.targets)


async def test_bluesky_s_directories(bench: Bench) -> None:
    subject: Any = platform("bluesky")
    for handle, expected in (("alice.example", "did:plc:"), ("gone.example", None)):
        call = subject.lookup_call(handle)
        answer = await bench.client.get(f"{call.path}?{call.query_text()}")
        did = subject.looked_up(handle, answer.status_code, answer.content)
        assert (did is None) is (expected is None)
        if did is not None:
            document = await bench.client.get(subject.lookup_call(did).path)
            assert subject.looked_up(did, document.status_code, document.content) == "https://pds.sandbox.test"
    by_handle = Target("t", "p", "at://alice.example/app.bsky.feed.post/3kaaaaaaaaa2a")
    (asked,) = subject.post_calls(Channel("w", "c", "did:plc:a"), [by_handle])
    _, verdict, reading = await bench.call("bluesky", asked)
    assert (verdict.outcome, list(reading.posts), list(reading.gone)) == (Outcome.OK, [], [])
