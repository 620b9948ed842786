"""What is special about Reddit."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from services.platforms.abilities import AppClient
from services.platforms.base import Channel, LimitState, Outcome, Target
from services.platforms.reddit import PLATFORM
from tests.unit.platforms import golden

NOW = golden.RECEIVED_AT
NORMAL = golden.raw_event("reddit", golden.response("reddit", "normal"))


def test_posts_are_asked_for_by_fullname() -> None:
    (call,) = PLATFORM.post_calls(Channel("w", "c", "x"), [Target("a", "p", "t3_1"), Target("b", "p", "2")], NOW)
    assert dict(call.query)["id"] == "t3_1,t3_2"


@pytest.mark.parametrize(
    ("external_id", "username", "path"),
    [
        ("t5_2qk00", "r/RockClimbing", "/api/info"),
        ("r/RockClimbing", "", "/r/RockClimbing/about"),
        ("x", "r/RockClimbing", "/r/RockClimbing/about"),
        ("t2_abc", "harvest", "/user/harvest/about"),
        ("harvest", "", "/user/harvest/about"),
        ("u/harvest", "u/harvest", "/user/harvest/about"),
        ("a/../b", "", "/user/a%2F..%2Fb/about"),
    ],
)
def test_a_channel_is_a_subreddit_or_a_profile(external_id: str, username: str, path: str) -> None:
    (call,) = PLATFORM.channel_calls(Channel("w", "c", external_id, username), NOW)
    assert call.path == path


def test_a_vote_of_the_caller_is_no_count() -> None:
    post = {"name": NORMAL.targets[0].external_id, "likes": True, "score": 5}
    body = orjson.dumps({"data": {"children": [{"kind": "t3", "data": post}]}})
    (reading,) = PLATFORM.read(replace(NORMAL, body=body)).posts
    assert reading.values[3] == 5


def test_the_site_s_own_addresses_are_read_too() -> None:
    moved = replace(NORMAL, endpoint="https://www.reddit.com/api/info.json")
    assert PLATFORM.read(moved) == PLATFORM.read(NORMAL)


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (403, {"reason": "quarantined", "message": "Forbidden", "error": 403}, Outcome.PERMISSION_MISSING),
        (403, {"message": "Forbidden", "error": 403}, Outcome.PERMISSION_MISSING),
        (403, {"reason": "suspended", "message": "Forbidden", "error": 403}, Outcome.ACCOUNT_DISABLED),
        (404, {"message": "Not Found", "error": 404}, Outcome.REQUEST_WRONG),
        (200, {"message": "Too Many Requests", "error": 429}, Outcome.RETRY_LATER),
    ],
)
def test_failures(status: int, body: dict[str, object], outcome: Outcome) -> None:
    assert PLATFORM.classify(status, {}, orjson.dumps(body), NOW).outcome is outcome


def test_what_is_left_is_a_decimal_number() -> None:
    headers = {"x-ratelimit-used": "4", "x-ratelimit-remaining": "96.0", "x-ratelimit-reset": "300"}
    assert PLATFORM.limits(headers, NOW) == LimitState(100, 96, NOW + 300_000, longest_seconds=600)


NAMED = "linux:com.example.stats:v1.0 (by /u/example)"


class Pair:
    access_token = "a"
    refresh_token = "r"


def test_the_app_s_own_name_goes_with_every_call_and_refresh() -> None:
    named = PLATFORM.configured({"REDDIT_USER_AGENT": NAMED})
    assert named.authorize("t")["user-agent"] == NAMED
    call = named.refresh_call(Pair(), AppClient("app", "secret"))
    assert call is not None
    assert call.headers["user-agent"] == NAMED
    assert call.headers["authorization"].startswith("Basic ")
    assert "user-agent" not in PLATFORM.authorize("t")
    assert named.authorize(None) == {}


@pytest.mark.parametrize("status", [403, 429])
def test_a_page_that_blocks_us_is_about_the_host(status: int) -> None:
    verdict = PLATFORM.classify(status, {}, b"<html><h1>whoa there, pardner!</h1></html>", NOW)
    assert verdict.outcome is Outcome.PLATFORM_DOWN
    assert "TIDEMARK_REDDIT_USER_AGENT" in verdict.detail


def test_a_bare_404_is_nobody_s_end() -> None:
    assert PLATFORM.classify(404, {}, b"<html>", NOW).outcome is Outcome.PLATFORM_DOWN


@pytest.mark.parametrize(
    ("channel", "path"),
    [
        (Channel("w", "c", "u_name", "name"), "/user/name/submitted"),
        (Channel("w", "c", "r/python"), "/r/python/new"),
        (Channel("w", "c", "t5_2qh0y", "r/python"), "/r/python/new"),
    ],
)
def test_an_account_s_newest_posts_are_listed(channel: Channel, path: str) -> None:
    assert PLATFORM.discovery_call(channel, NOW).path == path


def test_posts_of_a_list_are_discovered_newest_first() -> None:
    event = golden.raw_event("reddit", golden.response("reddit", "foreign_profile_new"))
    found = PLATFORM.discovered(replace(event, kind="IDENTITY")).posts
    assert {one.external_id for one in found} == {target.external_id for target in event.targets[:2]}
    assert found[0].published_at > found[1].published_at
    assert all(one.published_at > 1_100_000_000_000 for one in found)
    assert not PLATFORM.discovered(replace(event, http_status=403)).posts
