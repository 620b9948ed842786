"""What is special about the sandbox's Facebook."""

from __future__ import annotations

import orjson
import pytest

from infra.sandbox.curves import average_watch_millis, level_value, period_value
from schemas.events import RawKind
from schemas.metrics import CHANNEL_NAMES
from services.platforms import platform
from services.platforms.base import Call, ChannelReading, Outcome
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


@pytest.mark.parametrize("peculiar", ["gone", "alias"])
async def test_one_post_fails_the_request(bench: Bench, peculiar: str) -> None:
    targets = [target(NAME, 1), target(NAME, 2, peculiar)]
    (call,) = platform(NAME).post_calls(channel_of(NAME), targets, NOW)
    _, verdict, reading = await bench.call(NAME, call)
    assert verdict.outcome is Outcome.TARGET_GONE
    assert verdict.refused_target == targets[1].external_id
    assert not reading.posts
    assert not (await bench.control("served"))["served"]


async def test_posts_without_insights_and_without_shares(bench: Bench) -> None:
    targets = [target(NAME, 1, "no_insights"), target(NAME, 2, "unshared")]
    (call,) = platform(NAME).post_calls(channel_of(NAME), targets, NOW)
    _, _, reading = await bench.call(NAME, call)
    assert set(shown(reading, 0)) == {"likes", "comments", "shares"}
    assert shown(reading, 1)["shares"] is None
    assert shown(reading, 1)["views"] is not None


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
