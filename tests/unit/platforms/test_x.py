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
