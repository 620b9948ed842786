"""What is special about the sandbox's Facebook."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from infra.sandbox.curves import average_watch_millis, level_value, period_value
from schemas.events import RawKind
from schemas.metrics import CHANNEL_NAMES
from services.platforms import platform
from services.platforms.abilities import AppClient, ExchangesTokens, RefreshFailure, TokenGrant
from services.platforms.base import Call, ChannelReading, Outcome, Target
from services.runtime.secrets import TokenPair
from tests.unit.infra.test_sandbox_routes import (
    ACCOUNT,
    NOW,
    SEED,
    Bench,
    bench,
    channel_of,
    curve,
    shown,
    target,
)

__all__ = ["bench"]
NAME = "facebook"


@pytest.mark.parametrize("peculiar", ["gone", "alias", "deleted"])
async def test_one_post_fails_alone(bench: Bench, peculiar: str) -> None:
    targets = [target(NAME, 1), target(NAME, 2, peculiar)]
    healthy, refused = platform(NAME).post_calls(channel_of(NAME), targets, NOW)
    _, verdict, reading = await bench.call(NAME, refused)
    assert verdict.outcome is Outcome.TARGET_GONE
    assert verdict.refused_target in (None, targets[1].external_id)
    assert not reading.posts
    assert not (await bench.control("served"))["served"]
    _, verdict, reading = await bench.call(NAME, healthy)
    assert verdict.outcome is Outcome.OK
    assert shown(reading)["views"] is not None


async def test_posts_without_insights_and_without_shares(bench: Bench) -> None:
    targets = [target(NAME, 1, "no_insights"), target(NAME, 2, "unshared")]
    first, second = platform(NAME).post_calls(channel_of(NAME), targets, NOW)
    _, _, reading = await bench.call(NAME, first)
    assert set(shown(reading)) == {"likes", "comments", "shares"}
    _, _, reading = await bench.call(NAME, second)
    # The insight by action has it, which is one day late.
    assert shown(reading)["shares"] is not None
    assert shown(reading)["views"] is not None


def bare(number: int, peculiar: str = "", post_type: str = "facebook-reel") -> Target:
    """A target that is known by its bare id."""
    asked = target(NAME, number, peculiar)
    return replace(asked, external_id=asked.external_id.partition("_")[2], post_type=post_type)


@pytest.mark.parametrize("post_type", ["facebook-reel", "facebook-video", "facebook-post"])
async def test_a_bare_video_has_figures(bench: Bench, post_type: str) -> None:
    asked = bare(1, post_type=post_type)
    (call,) = platform(NAME).post_calls(channel_of(NAME), [asked], NOW)
    _, verdict, reading = await bench.call(NAME, call)
    assert verdict.outcome is Outcome.OK
    found = shown(reading)
    plays, average = (
        curve(NAME, asked.external_id, "blue_reels_play_count"),
        average_watch_millis(SEED, NAME, asked.external_id),
    )
    assert found == {
        "views": plays,
        "likes": curve(NAME, asked.external_id, "reactions"),
        "comments": curve(NAME, asked.external_id, "comments"),
        "shares": curve(NAME, asked.external_id, "shares"),
        "watch_time_seconds": plays * average,
        "avg_watch_time_seconds": average,
    }


@pytest.mark.parametrize(
    ("peculiar", "post_type", "metrics"),
    [
        ("photo", "facebook-photo", {"likes", "comments"}),
        ("story", "facebook-story", {"views", "reach", "likes", "comments", "shares"}),
    ],
)
async def test_bare_photos_and_stories(bench: Bench, peculiar: str, post_type: str, metrics: set[str]) -> None:
    (call,) = platform(NAME).post_calls(channel_of(NAME), [bare(1, peculiar, post_type)], NOW)
    _, verdict, reading = await bench.call(NAME, call)
    assert verdict.outcome is Outcome.OK
    assert set(shown(reading)) == metrics


async def test_a_bare_node_has_neither_insights_nor_shares(bench: Bench) -> None:
    asked = bare(1)
    for fields in (
        "reactions.summary(total_count),shares",
        "comments.summary(total_count),insights.metric(post_clicks)",
    ):
        call = Call(RawKind.POST_METRICS, "GET", f"/v25.0/{asked.external_id}", (("fields", fields),), None, (asked,))
        _, verdict, _ = await bench.call(NAME, call)
        assert verdict.outcome is Outcome.REQUEST_WRONG
    photo = bare(2, "photo", "facebook-post")
    (call,) = platform(NAME).post_calls(channel_of(NAME), [photo], NOW)
    _, verdict, _ = await bench.call(NAME, call)
    assert (verdict.outcome, verdict.refused_metric) == (Outcome.REQUEST_WRONG, None)


async def test_a_token_without_user_content_still_gets_insights(bench: Bench) -> None:
    asked, token = target(NAME), "sandbox-narrow-1~104583221947103"
    (call,) = platform(NAME).post_calls(channel_of(NAME), [asked], NOW)
    _, verdict, _ = await bench.call(NAME, call, token)
    assert (verdict.outcome, verdict.reason) == (Outcome.METRIC_FORBIDDEN, "pages_read_user_content")
    fields = dict(call.query)["fields"].removeprefix(f"{verdict.refused_metric},")
    smaller = replace(call, query=(("fields", fields),))
    assert smaller != call
    _, verdict, reading = await bench.call(NAME, smaller, token)
    assert verdict.outcome is Outcome.OK
    found = shown(reading)
    assert found["likes"] == curve(NAME, asked.external_id, "reactions")
    assert found["comments"] == curve(NAME, asked.external_id, "comments")
    assert found["views"] == curve(NAME, asked.external_id, "post_media_view")


async def test_a_user_token_is_exchanged(bench: Bench) -> None:
    page, days = channel_of(NAME), platform(NAME).channel_calls(channel_of(NAME), NOW)[-1]
    token = f"sandbox-user-1~{page.external_id}"
    _, verdict, _ = await bench.call(NAME, days, token)
    assert (verdict.outcome, verdict.reason) == (Outcome.TOKEN_EXPIRED, "user_token")
    exchanges = platform(NAME)
    assert isinstance(exchanges, ExchangesTokens)
    call = exchanges.exchange_call(page, TokenPair(token), AppClient())
    assert call is not None
    answer = await bench.client.get(call.path, params=dict(call.query), headers=dict(call.headers))
    grant = exchanges.read_exchange(answer.status_code, {}, answer.content)
    assert isinstance(grant, TokenGrant)
    _, verdict, _ = await bench.call(NAME, days, grant.access_token)
    assert verdict.outcome is Outcome.OK
    other = exchanges.exchange_call(replace(page, external_id="999"), TokenPair(token), AppClient())
    assert other is not None
    answer = await bench.client.get(other.path, params=dict(other.query), headers=dict(other.headers))
    assert isinstance(exchanges.read_exchange(answer.status_code, {}, answer.content), RefreshFailure)


async def test_watch_time(bench: Bench) -> None:
    asked = target(NAME)
    (call,) = platform(NAME).post_calls(channel_of(NAME), [asked], NOW)
    _, _, reading = await bench.call(NAME, call)
    average = average_watch_millis(SEED, NAME, asked.external_id)
    assert shown(reading)["watch_time_seconds"] == average * curve(NAME, asked.external_id, "post_video_views")


async def test_a_retired_name_fails_the_request_without_being_named(bench: Bench) -> None:
    asked = target(NAME)
    query = (("metric", "post_media_view,post_impressions"), ("period", "lifetime"))
    path = f"/v25.0/{asked.external_id}/insights"
    _, verdict, _ = await bench.call(NAME, Call(RawKind.POST_METRICS, "GET", path, query, None, (asked,)))
    assert verdict.outcome is Outcome.REQUEST_WRONG
    assert verdict.refused_metric == ""


async def test_single_posts_in_every_period(bench: Bench) -> None:
    asked = target(NAME)
    path = f"/v25.0/{asked.external_id}"
    metric = (("metric", "post_media_view,post_reactions_by_type_total"),)
    _, _, reading = await bench.call(
        NAME, Call(RawKind.POST_METRICS, "GET", f"{path}/insights", metric, None, (asked,))
    )
    found = shown(reading)
    assert found == {
        "views": curve(NAME, asked.external_id, "post_media_view"),
        "likes": curve(NAME, asked.external_id, "reactions"),
    }
    fields = (("fields", "shares,created_time"),)
    _, _, reading = await bench.call(NAME, Call(RawKind.POST_METRICS, "GET", path, fields, None, (asked,)))
    assert shown(reading) == {"shares": curve(NAME, asked.external_id, "shares")}


async def test_a_batch_of_requests(bench: Bench) -> None:
    asked, dead = target(NAME, 1), target(NAME, 2, "gone")
    urls = [
        f"v25.0/{asked.external_id}?fields=shares",
        f"v25.0/{asked.external_id}/insights?metric=post_clicks&period=lifetime",
        f"v25.0/{dead.external_id}?fields=shares",
        "nowhere/at/all",
    ]
    body = {"batch": [{"method": "GET", "relative_url": url} for url in urls]}
    answer, verdict, reading = await bench.call(
        NAME, Call(RawKind.POST_METRICS, "POST", "/v25.0/", (), body, (asked, dead))
    )
    assert verdict.outcome is Outcome.OK
    assert [element["code"] for element in orjson.loads(answer.content)] == [200, 200, 400, 400]
    assert set(shown(reading)) == {"shares", "clicks"}
    assert list(reading.gone) == [1]


async def test_days_of_a_page(bench: Bench) -> None:
    channels: list[ChannelReading] = []
    for call in platform(NAME).channel_calls(channel_of(NAME), NOW):
        _, _, reading = await bench.call(NAME, call)
        channels += reading.channels
    assert [channel.period for channel in channels] == ["lifetime", "lifetime", *["day"] * 28]
    posts = CHANNEL_NAMES.index("posts_count")
    assert channels[1].values[posts] == level_value(SEED, NAME, ACCOUNT[NAME], "posts", NOW)
    for channel in channels[2:]:
        assert channel.period_start is not None
        assert channel.period_end is not None
        expected = period_value(SEED, NAME, ACCOUNT[NAME], "page_media_view", channel.period_start, channel.period_end)
        assert channel.values[CHANNEL_NAMES.index("views")] == expected


async def test_instagram_keeps_its_own_paths(bench: Bench) -> None:
    for call in (
        *platform("instagram").post_calls(channel_of("instagram"), [target("instagram")], NOW),
        *platform("instagram").channel_calls(channel_of("instagram"), NOW),
    ):
        _, verdict, _ = await bench.call("instagram", call)
        assert verdict.outcome is Outcome.OK
    counts = (await bench.control("calls?platform=facebook"))["counts"]
    assert not counts
