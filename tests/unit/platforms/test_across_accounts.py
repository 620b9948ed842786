"""Answers about posts of several accounts: what one workspace is given of them holds nothing of another's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from schemas.events import Origin, PlatformRaw, RawTarget
from services.platforms import all_platforms
from services.platforms.abilities import AcrossAccounts
from services.platforms.base import Outcome, Platform, Target

NOW = 1_790_000_000_000
SHARING = sorted(name for name, platform in all_platforms().items() if isinstance(platform, AcrossAccounts))

X_ANSWER = {
    "data": [
        {"id": "1", "public_metrics": {"like_count": 1}, "attachments": {"media_keys": ["m1"]}},
        {"id": "2", "public_metrics": {"like_count": 2}, "attachments": {"media_keys": ["m2"]}},
        {"id": "30", "edit_history_tweet_ids": ["3", "30"], "public_metrics": {"like_count": 3}},
    ],
    "includes": {
        "media": [
            {"media_key": "m1", "public_metrics": {"view_count": 10}},
            {"media_key": "m2", "public_metrics": {"view_count": 20}},
        ],
        "tweets": [{"id": "2"}],
    },
    "errors": [
        {"resource_id": "4", "type": "https://api.x.com/2/problems/resource-not-found", "detail": "no tweet 4"},
        {"resource_id": "5", "type": "https://api.x.com/2/problems/resource-not-found", "detail": "no tweet 5"},
        {"title": "Invalid Request", "detail": "of 2 and 5"},
    ],
}
YOUTUBE_ANSWER = {
    "kind": "youtube#videoListResponse",
    "items": [{"id": "1", "statistics": {"viewCount": "1"}}, {"id": "2", "statistics": {"viewCount": "2"}}],
    "pageInfo": {"totalResults": 2, "resultsPerPage": 2},
}
ANSWERS: dict[str, dict[str, Any]] = {"x": X_ANSWER, "youtube": YOUTUBE_ANSWER}


def sharing(name: str) -> Any:
    platform = all_platforms()[name]
    assert isinstance(platform, AcrossAccounts)
    return platform


def event(platform: Platform, body: bytes, *external_ids: str) -> PlatformRaw:
    """What is published of a part."""
    call = sharing(platform.facts.name).app_post_calls([Target("t", "p", name) for name in external_ids])[0]
    targets = tuple(RawTarget(f"t{name}", f"p{name}", name) for name in external_ids)
    return PlatformRaw(
        event_id="e", workspace_id="w", channel_id="c", platform=platform.facts.name, kind=call.kind,
        endpoint=call.path, request=call.request_map(), targets=targets, http_status=200, body=body, captured_at=NOW,
        origin=Origin.SCHEDULE,
    )  # fmt: skip


def test_x_and_youtube_batch_across_accounts() -> None:
    assert SHARING == ["x", "youtube"]


@pytest.mark.parametrize("name", SHARING)
def test_calls_hold_the_largest_batches_and_no_secret(name: str) -> None:
    platform = sharing(name)
    size = platform.facts.post_batch_size
    calls = platform.app_post_calls([Target(f"t{number}", "p", str(number)) for number in range(size + 1)])
    assert [len(call.targets) for call in calls] == [size, 1]
    headers = platform.authorize_app("an-app-token")
    assert any("an-app-token" in value for value in headers.values())
    limits = {limit.group: limit for limit in platform.facts.limits}
    assert limits[calls[0].limit_group].is_app_wide


@pytest.mark.parametrize("name", SHARING)
def test_a_part_reads_as_the_whole_does_for_its_posts(name: str) -> None:
    platform, body = sharing(name), orjson.dumps(ANSWERS[name])
    whole = platform.read(event(platform, body, "1", "2"))
    for position, external_id in enumerate(("1", "2")):
        part = platform.app_part(body, {external_id})
        assert platform.classify(200, {}, part, NOW).outcome is Outcome.OK
        (reading,) = platform.read(event(platform, part, external_id)).posts
        (expected,) = [one for one in whole.posts if one.position == position]
        assert reading._replace(position=position) == expected


def test_a_part_holds_nothing_of_others() -> None:
    part = orjson.loads(sharing("x").app_part(orjson.dumps(X_ANSWER), {"1", "4"}))
    assert [item["id"] for item in part["data"]] == ["1"]
    assert [media["media_key"] for media in part["includes"]["media"]] == ["m1"]
    assert [error.get("resource_id") for error in part["errors"]] == ["4", None]
    assert not any(text in orjson.dumps(part).decode() for text in ("m2", '"2"', "tweet 5", "of 2 and 5"))
    part = orjson.loads(sharing("youtube").app_part(orjson.dumps(YOUTUBE_ANSWER), {"2"}))
    assert [item["id"] for item in part["items"]] == ["2"]
    assert part["pageInfo"]["totalResults"] == 1


def test_an_edited_post_belongs_to_whoever_asked_for_a_version() -> None:
    part = orjson.loads(sharing("x").app_part(orjson.dumps(X_ANSWER), {"3"}))
    assert [item["id"] for item in part["data"]] == ["30"]


def test_posts_that_an_answer_leaves_out_are_gone_in_their_part_too() -> None:
    platform = sharing("youtube")
    part = platform.app_part(orjson.dumps(YOUTUBE_ANSWER), {"7"})
    assert platform.read(event(platform, part, "7")).gone == [0]
    x = sharing("x")
    body = x.app_part(orjson.dumps({**X_ANSWER, "errors": []}), {"7"})
    assert x.classify(200, {}, body, NOW).outcome is Outcome.OK
    assert x.read(event(x, body, "7")).gone == []
    assert x.read(event(x, x.app_part(orjson.dumps(X_ANSWER), {"4"}), "4")).gone == [0]


@pytest.mark.parametrize(
    ("name", "status", "answer"),
    [
        ("youtube", 403, {"error": {"message": "of video 2", "errors": [{"reason": "quotaExceeded", "domain": "d"}]}}),
        ("x", 429, {"title": "UsageCapExceeded", "period": "Monthly", "detail": "of tweet 2", "status": 429}),
    ],
)
def test_a_failure_keeps_its_meaning_without_its_words(name: str, status: int, answer: dict[str, Any]) -> None:
    platform = sharing(name)
    body = orjson.dumps(answer)
    part = platform.app_part(body, {"1"})
    found, whole = platform.classify(status, {}, part, NOW), platform.classify(status, {}, body, NOW)
    assert replace(found, detail="") == replace(whole, detail="")
    assert found.outcome is Outcome.QUOTA_EXHAUSTED
    assert b" 2" not in part


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"data": 7, "items": 7, "error": 7, "errors": 7}'])
def test_what_cant_be_read_has_no_part_of_anybody(name: str, body: bytes) -> None:
    part = sharing(name).app_part(body, {"1"})
    assert part in (b"",) or orjson.loads(part) is not None
    assert b"7" not in part
