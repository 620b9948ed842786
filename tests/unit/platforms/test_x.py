"""What is special about X."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from schemas.events import PlatformRaw
from schemas.metrics import CLICKS, IMPRESSIONS, QUOTES, SHARES, VIDEO_VIEWS
from services.platforms.base import Channel, MappingError, Outcome, Target
from services.platforms.x import PLATFORM
from tests.unit.platforms import golden

NOW = golden.RECEIVED_AT
DAY = 86_400_000
CHANNEL = Channel("w", "c", "1")
NORMAL = golden.raw_event("x", golden.response("x", "normal"))
ID = NORMAL.targets[0].external_id


def answered_list(event: PlatformRaw, data: list[Any]) -> PlatformRaw:
    return replace(event, body=orjson.dumps({"data": data}))


def answered(body: dict[str, Any]) -> PlatformRaw:
    return replace(NORMAL, body=orjson.dumps(body))


def test_old_posts_are_asked_without_private_figures() -> None:
    young = Target("t1", "p", "1", published_at=NOW - 2 * DAY)
    old = Target("t2", "p", "2", published_at=NOW - 31 * DAY)
    calls = PLATFORM.post_calls(CHANNEL, [old, young], NOW)
    fields = {call.targets[0].target_id: dict(call.query)["tweet.fields"] for call in calls}
    assert fields == {"t1": "public_metrics,non_public_metrics,organic_metrics", "t2": "public_metrics"}
    assert len(PLATFORM.post_calls(CHANNEL, [old, young])) == 1


def test_an_edited_post_answers_under_its_old_id() -> None:
    item = {"id": "9", "edit_history_tweet_ids": [ID, "9"], "public_metrics": {"impression_count": 5}}
    (reading,) = PLATFORM.read(answered({"data": [item]})).posts
    assert reading.values[IMPRESSIONS] == 5


def test_a_version_s_own_figures_come_before_the_newest_version_s() -> None:
    newest = {"id": "9", "edit_history_tweet_ids": [ID, "9"], "public_metrics": {"impression_count": 5}}
    own = {"id": ID, "edit_history_tweet_ids": [ID, "9"], "public_metrics": {"impression_count": 3}}
    (reading,) = PLATFORM.read(answered({"data": [newest, own]})).posts
    assert reading.values[IMPRESSIONS] == 3


@pytest.mark.parametrize(
    ("public", "shares", "quotes"),
    [
        ({"retweet_count": 2, "quote_count": 3}, 5, 3),
        ({"retweet_count": 2}, 2, None),
        ({"quote_count": 3}, 3, 3),
        ({"retweet_count": None, "quote_count": None}, None, None),
    ],
)
def test_shares_are_reposts_and_quotes(public: dict[str, Any], shares: int | None, quotes: int | None) -> None:
    (reading,) = PLATFORM.read(answered({"data": [{"id": ID, "public_metrics": public}]})).posts
    assert (reading.values[SHARES], reading.values[QUOTES]) == (shares, quotes)
    assert reading.spoken >> SHARES & 1


def test_shares_beyond_64_bits_are_refused() -> None:
    public = {"retweet_count": 2**63 - 1, "quote_count": 1}
    with pytest.raises(MappingError, match="bad_count"):
        PLATFORM.read(answered({"data": [{"id": ID, "public_metrics": public}]}))


@pytest.mark.parametrize(
    ("media", "speaks", "views"),
    [
        ([{"media_key": "a", "public_metrics": {"view_count": 1}}], False, None),
        ([{"media_key": "a"}, {"media_key": "b"}], False, None),
        ([{"media_key": "a", "public_metrics": {"view_count": 1}}, {"media_key": "b"}], True, 1),
        (
            [
                {"media_key": "a", "public_metrics": {"view_count": 1}},
                {"media_key": "b", "public_metrics": {"view_count": 4}},
            ],
            True,
            5,
        ),
        (
            [
                {"media_key": "a", "public_metrics": {"view_count": 1}},
                {"media_key": "b", "public_metrics": {"view_count": None}},
            ],
            True,
            None,
        ),
    ],
)
def test_video_views_need_every_media_of_the_post(media: list[Any], speaks: bool, views: int | None) -> None:
    item = {"id": ID, "public_metrics": {"like_count": 1}, "attachments": {"media_keys": ["a", "b"]}}
    (reading,) = PLATFORM.read(answered({"data": [item], "includes": {"media": media}})).posts
    assert bool(reading.spoken >> VIDEO_VIEWS & 1) is speaks
    assert reading.values[VIDEO_VIEWS] == views


def test_private_figures_alone_leave_the_public_ones_unspoken() -> None:
    item = {"id": ID, "non_public_metrics": {"url_link_clicks": 3, "impression_count": 8}}
    (reading,) = PLATFORM.read(answered({"data": [item]})).posts
    assert reading.values[CLICKS] == 3
    assert not reading.spoken >> IMPRESSIONS & 1


def test_a_problem_document_with_200_says_nothing() -> None:
    event = answered({"title": "Service Unavailable", "status": 503, "type": "about:blank", "detail": ""})
    assert not PLATFORM.read(event).posts
    assert PLATFORM.classify(200, {}, event.body, NOW).outcome is Outcome.PLATFORM_DOWN


def test_a_wrong_field_is_named() -> None:
    message = "The `tweet.fields` query parameter value [hug_metrics] is not one of [public_metrics]"
    body = {"errors": [{"parameters": {}, "message": message}], "title": "Invalid Request", "type": "x/invalid-request"}
    verdict = PLATFORM.classify(400, {}, orjson.dumps(body), NOW)
    assert verdict.outcome is Outcome.REQUEST_WRONG
    assert verdict.refused_metric == "hug_metrics"


def test_part_holds_the_post_s_media() -> None:
    part = PLATFORM.part(NORMAL, 0)
    assert part["id"] == ID
    assert [media["media_key"] for media in part["media"]] == ["13_9876543210"]


def test_of_several_users_the_one_asked_for_counts() -> None:
    event = golden.raw_event("x", golden.response("x", "channel"))
    users = [{"id": "7", "public_metrics": {"followers_count": 1}}, *orjson.loads(event.body)["data"]]
    (channel,) = PLATFORM.read(replace(event, body=orjson.dumps({"data": users}))).channels
    assert channel.values[0] == 507902


BAD_IDS = [
    ("The `ids` query parameter value [status/3] is not valid", "status/3"),
    ("The `ids` query parameter value [abc] does not match ^[0-9]{1,19}$", "abc"),
    ("The `id` query parameter value [:id] is not valid", ":id"),
    ("The `ids` query parameter value [a]b] is not valid", "a]b"),
    ("The `ids` path parameter value [12345678901234567890] does not match ^[0-9]{1,19}$", "12345678901234567890"),
    # Of a wording that is not known, the parameter's values tell: one of them can't be an id.
    ("Something about the identifiers is not right", "x y"),
]


@pytest.mark.parametrize(("message", "bad"), BAD_IDS)
def test_a_malformed_id_is_found_by_what_the_body_says(message: str, bad: str) -> None:
    errors = [{"parameters": {"ids": [f"1,{bad},2"]}, "message": message}]
    body = {"errors": errors, "title": "Invalid Request", "type": "https://api.x.com/2/problems/invalid-request"}
    verdict = PLATFORM.classify(400, {}, orjson.dumps(body), NOW)
    # "is not valid" speaks of the request, and names the id all the same.
    outcome = Outcome.REQUEST_WRONG if message.endswith("is not valid") else Outcome.TARGET_REFUSED
    assert (verdict.outcome, verdict.refused_target) == (outcome, bad)


def test_of_several_malformed_values_none_is_blamed() -> None:
    body = {"errors": [{"parameters": {"ids": ["a,b,3"]}, "message": "?"}], "type": "x/invalid-request"}
    verdict = PLATFORM.classify(400, {}, orjson.dumps(body), NOW)
    assert (verdict.outcome, verdict.refused_target) == (Outcome.REQUEST_WRONG, None)


@pytest.mark.parametrize("bad", ["status/3", "", "1" * 20, "12a", "\uff11\uff12", " 1", "-1"])
def test_what_can_be_no_id_goes_apart_and_silences_nobody(bad: str) -> None:
    targets = [Target("t1", "p", "1"), Target("t2", "p", bad), Target("t3", "p", "2")]
    for calls in (PLATFORM.post_calls(CHANNEL, targets, NOW), PLATFORM.app_post_calls(targets)):
        assert [[target.target_id for target in call.targets] for call in calls] == [["t1", "t3"], ["t2"]]
        assert calls[1].shape == calls[0].shape
        assert "expansions" not in dict(calls[1].query)


@pytest.mark.parametrize(
    ("post_type", "may"),
    [("", True), ("x-video", True), ("post", True), ("thread", True), ("carousel", True), ("x-image", False),
     ("text", False), ("Photo", False), ("poll", False), ("link_post", False)],
)  # fmt: skip
def test_media_are_asked_for_only_where_a_video_may_be(post_type: str, may: bool) -> None:
    (call,) = PLATFORM.post_calls(CHANNEL, [Target("t", "p", "1", post_type)], NOW)
    assert ("expansions" in dict(call.query)) is may
    assert call.shape == "posts/owner"


def test_posts_with_and_without_a_video_go_in_calls_of_their_own() -> None:
    targets = [Target(f"t{n}", "p", str(n), "video" if n % 2 else "text") for n in range(10)]
    plain, videos = PLATFORM.app_post_calls(targets)
    assert [target.external_id for target in plain.targets] == ["0", "2", "4", "6", "8"]
    assert "expansions" in dict(videos.query)


def test_the_owner_s_figures_are_asked_for_young_posts_alone_and_without_media() -> None:
    young, old = Target("t1", "p", "1", published_at=NOW - DAY), Target("t2", "p", "2", published_at=NOW - 31 * DAY)
    (call,) = PLATFORM.owner_calls(CHANNEL, [young, old], NOW)
    assert [target.target_id for target in call.targets] == ["t1"]
    assert "non_public_metrics" in dict(call.query)["tweet.fields"]
    assert "expansions" not in dict(call.query)
    assert PLATFORM.owner_calls(CHANNEL, [old], NOW) == []


def test_limits_of_a_day_stand_beside_those_of_a_quarter_of_an_hour() -> None:
    headers = golden.response("x", "foreign_user_day_limit")["headers"]
    states = PLATFORM.all_limits(headers, NOW)
    assert [(state.remaining, state.window_seconds, state.is_app_wide) for state in states] == [
        (898, None, False),
        (0, 86_400, False),
        (1500, 86_400, True),
    ]
    assert PLATFORM.limits(headers, NOW) == states[0]
    assert PLATFORM.all_limits({}, NOW) == []


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (404, b"", Outcome.PLATFORM_DOWN),
        (404, b"<html><body>404</body></html>", Outcome.PLATFORM_DOWN),
        (410, b"{}", Outcome.PLATFORM_DOWN),
        (404, b'{"title": "Not Found Error", "type": "x/resource-not-found"}', Outcome.TARGET_GONE),
        (403, b'{"title": "SpendCapReached", "detail": "billing cycle spend cap"}', Outcome.QUOTA_EXHAUSTED),
        (403, b'{"type": "x/client-forbidden", "reason": "official-client-forbidden"}', Outcome.PERMISSION_MISSING),
        (402, b"", Outcome.QUOTA_EXHAUSTED),
    ],
)  # fmt: skip
def test_only_x_s_own_problem_speaks_of_a_post(status: int, body: bytes, outcome: Outcome) -> None:
    assert PLATFORM.classify(status, {}, body, NOW).outcome is outcome


def test_a_daily_cap_waits_for_the_utc_midnight() -> None:
    body = orjson.dumps({"title": "UsageCapExceeded", "period": "Daily", "type": "x/usage-capped"})
    verdict = PLATFORM.classify(429, {}, body, NOW)
    assert verdict.retry_after_seconds == 23 * 3600.0
    assert verdict.is_app_wide


def test_what_is_billed_is_what_came() -> None:
    assert set(PLATFORM.billed(NORMAL)) == {("post", ID), ("media", f"{ID}/1")}
    failed = replace(NORMAL, http_status=503)
    assert PLATFORM.billed(failed) == []
    channel = golden.raw_event("x", golden.response("x", "channel"))
    assert PLATFORM.billed(channel) == [("user", "2244994945")]
    (call,) = PLATFORM.channel_calls(CHANNEL, NOW)
    assert PLATFORM.may_read(call) == [("user", "1")]


def test_a_video_that_two_posts_share_is_billed_once() -> None:
    media = [{"media_key": "m"}]
    items = [{"id": name, "attachments": {"media_keys": ["m"]}} for name in ("1", "2")]
    billed = PLATFORM.billed(answered({"data": items, "includes": {"media": media}}))
    assert sorted(billed) == [("media", "1/1"), ("post", "1"), ("post", "2")]


def test_an_account_s_list_names_its_newest_posts() -> None:
    call = PLATFORM.discovery_call(CHANNEL, NOW)
    assert (call.kind, call.path) == ("IDENTITY", "/2/users/1/tweets")
    data = [
        {"id": "8", "text": "older", "created_at": "2026-11-01T10:00:00.000Z"},
        {"id": "9", "text": "newer", "created_at": "2026-11-02T10:00:00.000Z"},
    ]
    event = replace(answered({"data": data}), kind=call.kind, endpoint=call.path, targets=())
    first, second = PLATFORM.discovered(event).posts
    assert (first.external_id, first.content, first.permalink) == ("9", "newer", "https://x.com/i/status/9")
    assert (second.published_at, PLATFORM.read(event).posts) == (1_793_527_200_000, ())
    assert sorted(PLATFORM.billed(event)) == [("post", "8"), ("post", "9")]
    assert not PLATFORM.discovered(replace(event, http_status=429)).posts
    assert not PLATFORM.discovered(replace(event, body=b'{"meta": {"result_count": 0}}')).posts
    assert "edit_history_tweet_ids" in dict(call.query)["tweet.fields"]
    edited = {**data[1], "edit_history_tweet_ids": ["7", "9"]}
    (post,) = PLATFORM.discovered(answered_list(event, [edited])).posts
    assert (post.external_id, post.other_ids) == ("9", ("7",))
