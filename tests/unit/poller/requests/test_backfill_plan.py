"""What a backfill asks for, and what answers say is done; no clock, no network."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from schemas.events import BackfillJob, Origin, PlatformRaw, RawKind, RawTarget
from services.platforms import all_platforms
from services.poller.requests.backfill_plan import (
    Done,
    Part,
    account_calls,
    instants,
    key_of,
    parts_of,
    platform_channel,
)
from services.poller.requests.backfill_run import Wanted, chosen_job
from services.runtime.clock import MILLIS_PER_DAY as DAY
from tests.support.manual_clock import START
from tests.unit.poller.builders import channel, post, target

PLATFORMS = all_platforms()
SINCE = START - 100 * DAY
BLUESKY = channel("b", "bluesky")


def event(
    platform: str, kind: RawKind, *targets: str, status: int = 200, body: bytes = b'{"posts": []}'
) -> PlatformRaw:
    asked = tuple(RawTarget(name, "p", f"e-{name}") for name in targets)
    return PlatformRaw(
        "e1", "w1", "b", platform, kind, "/path", {}, asked, status, body, START, Origin.BACKFILL
    )  # fmt: skip


def test_targets_published_or_captured_since_are_wanted_the_newest_first_in_batches() -> None:
    posts = [
        post(target("young", "b"), post_id="p1", published_at=START - DAY),
        post(target("middle", "b"), post_id="p2", published_at=START - 99 * DAY),
        post(target("old", "b"), post_id="p3", published_at=START - 200 * DAY),
        post(target("captured", "b"), post_id="p4", published_at=START - 300 * DAY),
        post(target("failed", "b", status="failed"), post_id="p5", published_at=START),
        post(target("nameless", "b", external_id=""), post_id="p6", published_at=START),
        post(target("elsewhere", "c"), post_id="p7", published_at=START),
        post(target("deleted", "b"), post_id="p8", published_at=START, status="deleted"),
    ]
    parts = parts_of({"b": BLUESKY}, posts, {("p4", "b"): START - DAY}, PLATFORMS, since=SINCE, started_at=START)
    assert [[t.target_id for t in part.targets] for part in parts] == [["young", "middle", "captured"], []]
    assert parts[1].as_of == START
    many = [post(target(f"t{n}", "b"), post_id=f"p{n}", published_at=START) for n in range(60)]
    sizes = [len(part.targets) for part in parts_of({"b": BLUESKY}, many, {}, PLATFORMS, since=SINCE, started_at=START)]
    assert sizes == [25, 25, 10, 0]


def test_a_target_that_two_posts_list_is_asked_for_once() -> None:
    posts = [post(target("t1", "b"), target("t1", "b"), post_id=f"p{n}", published_at=START) for n in range(2)]
    parts = parts_of({"b": BLUESKY}, posts, {}, PLATFORMS, since=SINCE, started_at=START)
    assert [[t.target_id for t in part.targets] for part in parts] == [["t1"], []]


def test_only_active_channels_of_known_platforms_are_asked() -> None:
    channels = {"a": channel("a", "bluesky", status="revoked"), "z": channel("z", "nowhere")}
    assert parts_of(channels, [], {}, PLATFORMS, since=SINCE, started_at=START) == []


@pytest.mark.parametrize("report_days", [1, 2, 28, 36])
def test_the_days_since_then_are_covered_without_a_gap_and_no_further_than_needed(report_days: int) -> None:
    found = instants(report_days, SINCE, START)
    reach = report_days * DAY
    assert found[0] == START
    assert found[-1] - reach <= SINCE < found[-2] - reach
    days = [at // DAY for at in found]
    assert all(later - report_days <= earlier < later for later, earlier in pairwise(days))


def test_without_days_there_is_only_the_present() -> None:
    assert instants(0, SINCE, START) == [START]


@pytest.mark.parametrize("name", sorted(PLATFORMS))
def test_each_platform_tells_days_of_the_past_where_it_says_so(name: str) -> None:
    platform, account = PLATFORMS[name], platform_channel(channel("c", name))
    present = account_calls(platform, account, START, START)
    past = account_calls(platform, account, START - 50 * DAY, START)
    assert present == platform.channel_calls(account, START)
    assert bool(past) == bool(platform.facts.report_days)
    assert not set(map(key_of, past)) & set(map(key_of, present))
    tells_days = any("day" in periods for periods in platform.facts.channel_metrics.values())
    assert tells_days == bool(platform.facts.report_days)


def test_what_was_answered_is_not_asked_again() -> None:
    (part, _) = parts_of(
        {"b": BLUESKY}, [post(target("t1", "b"), target("t2", "b"))], {}, PLATFORMS, since=SINCE, started_at=START
    )
    platform, done = PLATFORMS["bluesky"], Done()
    assert done.left(part, platform, START) == part
    done.replay(event("bluesky", RawKind.POST_METRICS, "t1"), platform)
    left = done.left(part, platform, START)
    assert left is not None
    assert [t.target_id for t in left.targets] == ["t2"]
    done.replay(event("bluesky", RawKind.POST_METRICS, "t2", status=503), platform)
    done.replay(event("bluesky", RawKind.POST_METRICS, "t2", status=429), platform)
    assert done.left(part, platform, START) is not None
    done.replay(event("bluesky", RawKind.POST_METRICS, "t2"), platform)
    assert done.left(part, platform, START) is None


def test_a_target_that_is_gone_is_done_when_it_was_asked_for_alone() -> None:
    platform, done = PLATFORMS["instagram"], Done()
    gone = b'{"error": {"code": 100, "error_subcode": 33, "message": "does not exist"}}'
    done.replay(event("instagram", RawKind.POST_METRICS, "t1", "t2", status=400, body=gone), platform)
    assert done.targets == set()
    done.replay(event("instagram", RawKind.POST_METRICS, "t1", status=400, body=gone), platform)
    assert done.targets == {("b", "t1")}


def test_days_are_done_when_each_of_their_calls_was_answered() -> None:
    platform, done, held = PLATFORMS["threads"], Done(), channel("b", "threads")
    part = Part(held, (), START - 50 * DAY)
    calls = account_calls(platform, platform_channel(held), START - 50 * DAY, START)
    assert len(calls) > 1
    for call in calls:
        assert done.left(part, platform, START) == part
        answer = event("threads", RawKind.CHANNEL_METRICS)
        done.answered(replace(answer, endpoint=call.path, request=call.request_map()))
    assert done.left(part, platform, START) is None


def test_a_job_under_way_is_gone_on_with_as_far_back_as_either_reaches() -> None:
    held = BackfillJob("w1", "", SINCE, START - DAY)
    wanted = Wanted("w1", "", SINCE + DAY)
    assert chosen_job(None, wanted, START, anew=False) == (BackfillJob("w1", "", SINCE + DAY, START), False)
    assert chosen_job(held, wanted, START, anew=False) == (held, True)
    earlier = Wanted("w1", "", SINCE - DAY)
    assert chosen_job(held, earlier, START, anew=False)[0].since == SINCE - DAY
    assert chosen_job(held, wanted, START, anew=True) == (BackfillJob("w1", "", SINCE + DAY, START), False)
    ended = BackfillJob("w1", "", SINCE, START - DAY, START - 1)
    assert not chosen_job(ended, wanted, START, anew=False)[1]
