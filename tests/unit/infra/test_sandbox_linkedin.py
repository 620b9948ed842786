"""What is special about the sandbox's LinkedIn."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from infra.sandbox.curves import average_watch_millis, level_value, period_value
from schemas.metrics import CHANNEL_NAMES, POST_NAMES
from services.platforms import platform
from services.platforms.base import Channel, ChannelReading, Outcome, Target
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
NAME = "linkedin"
MEMBER = Channel("w", "c", "urn:li:person:a1B2c3")
UGC = 4  # numbers that make ugcPosts


async def test_both_kinds_of_posts(bench: Bench) -> None:
    targets = [target(NAME, number) for number in range(1, 11)]
    calls = platform(NAME).post_calls(channel_of(NAME), targets, NOW)
    assert [len(call.targets) for call in calls] == [8, 2]
    for call in calls:
        _, verdict, reading = await bench.call(NAME, call)
        assert verdict.outcome is Outcome.OK
        assert len(reading.posts) == len(call.targets)


async def test_a_list_has_to_be_bare_and_its_urns_escaped(bench: Bench) -> None:
    (call,) = platform(NAME).post_calls(channel_of(NAME), [target(NAME)], NOW)
    for wrong in (replace(call, literal="%"), replace(call, literal=",:%")):
        _, verdict, _ = await bench.call(NAME, wrong)
        assert verdict.outcome is Outcome.REQUEST_WRONG
    headers = {"authorization": "Bearer sandbox-1"}
    answer = await bench.client.get(f"{call.path}?{call.query_text()}", headers=headers)
    assert answer.json()["code"] == "VERSION_MISSING"
    headers |= {"linkedin-version": "202401", "x-restli-protocol-version": "2.0.0"}
    assert (await bench.client.get(f"{call.path}?{call.query_text()}", headers=headers)).status_code == 426


async def test_quiet_and_gone_posts_are_left_out_and_nothing_is_said_of_them(bench: Bench) -> None:
    targets = [target(NAME, 1), target(NAME, 2, "quiet"), target(NAME, 3, "gone"), target(NAME, 5, "negative")]
    (call,) = platform(NAME).post_calls(channel_of(NAME), targets, NOW)
    _, _, reading = await bench.call(NAME, call)
    assert sorted(post.position for post in reading.posts) == [0, 3]
    assert not reading.gone
    assert shown(reading, 3)["likes"] == -1


async def test_a_foreign_post_fails_its_list_without_being_named(bench: Bench) -> None:
    targets = [target(NAME, 1), target(NAME, 2, "foreign")]
    (call,) = platform(NAME).post_calls(channel_of(NAME), targets, NOW)
    _, verdict, reading = await bench.call(NAME, call)
    assert verdict.outcome is Outcome.TARGET_GONE
    assert verdict.refused_target is None
    assert not reading.posts
    assert not (await bench.control("served"))["served"]


@pytest.mark.parametrize("number", [1, UGC])
async def test_a_member_s_metrics_add_to_each_other(bench: Bench, number: int) -> None:
    asked = replace(target(NAME, number), post_type="linkedin-video")
    found: dict[str, int | None] = {}
    for call in platform(NAME).post_calls(MEMBER, [asked], NOW):
        _, verdict, reading = await bench.call(NAME, call)
        assert verdict.outcome is Outcome.OK
        found |= shown(reading)
    external_id = asked.external_id
    watched = curve(NAME, external_id, "VIDEO_PLAY") * average_watch_millis(SEED, NAME, external_id)
    assert found == {
        "impressions": curve(NAME, external_id, "IMPRESSION"),
        "reach": curve(NAME, external_id, "MEMBERS_REACHED"),
        "likes": curve(NAME, external_id, "REACTION"),
        "comments": curve(NAME, external_id, "COMMENT"),
        "shares": curve(NAME, external_id, "RESHARE"),
        "saves": curve(NAME, external_id, "POST_SAVE"),
        "clicks": curve(NAME, external_id, "LINK_CLICKS"),
        "video_views": curve(NAME, external_id, "VIDEO_PLAY"),
        "watch_time_seconds": watched,
    }
    assert set(found) <= set(POST_NAMES)


@pytest.mark.parametrize(
    ("peculiar", "outcome"),
    [("gone", Outcome.TARGET_GONE), ("foreign", Outcome.TARGET_GONE), ("quiet", Outcome.OK)],
)
async def test_a_member_s_peculiar_posts(bench: Bench, peculiar: str, outcome: Outcome) -> None:
    call = platform(NAME).post_calls(MEMBER, [target(NAME, 1, peculiar)], NOW)[0]
    _, verdict, reading = await bench.call(NAME, call)
    assert verdict.outcome is outcome
    assert not reading.posts


async def test_videos_of_an_organization(bench: Bench) -> None:
    asked = replace(target(NAME, UGC), post_type="linkedin-video")
    _, *videos = platform(NAME).post_calls(channel_of(NAME), [asked], NOW)
    found: dict[str, int | None] = {}
    for call in videos:
        _, verdict, reading = await bench.call(NAME, call)
        assert verdict.outcome is Outcome.OK
        found |= shown(reading)
    assert found["video_views"] == curve(NAME, asked.external_id, "VIDEO_VIEW")
    assert found["watch_time_seconds"]


async def test_posts_known_by_their_activity(bench: Bench) -> None:
    urns = ["urn:li:activity:7000000000000000001", "urn:li:activity:7000000000000040404"]
    (call,) = platform(NAME).post_calls(channel_of(NAME), [Target(urn, "p", urn) for urn in urns], NOW)
    _, _, reading = await bench.call(NAME, call)
    assert shown(reading) == {
        "likes": curve(NAME, urns[0], "likeCount"),
        "comments": curve(NAME, urns[0], "commentCount"),
    }
    assert list(reading.gone) == [1]


async def readings(bench: Bench, channel: Channel, token: str) -> list[ChannelReading]:
    found: list[ChannelReading] = []
    for call in platform(NAME).channel_calls(channel, NOW):
        _, verdict, reading = await bench.call(NAME, call, token)
        assert verdict.outcome is Outcome.OK
        found += reading.channels
    return found


async def test_days_of_an_organization(bench: Bench) -> None:
    followers, *days = await readings(bench, channel_of(NAME), "sandbox-1")
    assert followers.period == "lifetime"
    assert len(days) == 56
    for half, metric, curve_name in (
        (days[:28], "impressions", "impressionCount"),
        (days[28:], "profile_views", "allPageViews"),
    ):
        assert all(first.period_end == second.period_start for first, second in pairwise(half))
        for day in half:
            assert day.period == "day"
            assert day.period_start is not None
            assert day.period_end is not None
            expected = period_value(SEED, NAME, ACCOUNT[NAME], curve_name, day.period_start, day.period_end)
            assert day.values[CHANNEL_NAMES.index(metric)] == expected


async def test_days_of_a_member(bench: Bench) -> None:
    followers, *days = await readings(bench, MEMBER, "sandbox-1~a1B2c3")
    assert followers.values[0] == level_value(SEED, NAME, "a1B2c3", "followers", NOW)
    assert len(days) == 4 * 28
    assert {day.period for day in days} == {"day"}
    call = platform(NAME).identity_call(MEMBER)
    answer, verdict, _ = await bench.call(NAME, call, "sandbox-1~a1B2c3")
    assert verdict.outcome is Outcome.OK
    assert answer.json()["elements"][0]["memberFollowersCount"] == followers.values[0]
