"""What is special about Instagram."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import orjson
import pytest

from schemas.events import PlatformRaw
from schemas.metrics import COMMENTS, LIKES, REACH, VIEWS, WATCH_TIME
from services.platforms.abilities import AppClient
from services.platforms.base import Channel, LimitState, MappingError, PostReading, Target
from services.platforms.instagram import PLATFORM
from services.platforms.report_days import pacific_midnight
from tests.unit.platforms import golden

NOW = golden.RECEIVED_AT
CHANNEL = Channel("w", "c", "17841400008460056")
NORMAL = golden.raw_event("instagram", golden.response("instagram", "normal"))
ID = NORMAL.targets[0].external_id
# HMAC-SHA256 of `EAAGabcdef`, keyed with `app-secret`.
PROOF = "7c0fa9624967ce83e0a76b2a7f569d9947dd8ebc3b4011a5210f5239e81d52f7"


def insight(name: str, value: Any, period: str = "lifetime") -> dict[str, Any]:
    return {"name": name, "period": period, "values": [{"value": value}]}


def read(media: dict[str, Any], fields: str) -> PostReading:
    event = replace(NORMAL, request={"ids": ID, "fields": fields}, body=orjson.dumps({ID: media}))
    (reading,) = PLATFORM.read(event).posts
    return reading


def test_each_media_is_asked_for_alone_with_the_names_of_its_kind() -> None:
    types = {"a": "instagram-reel", "b": "instagram-story", "c": "instagram-carousel", "d": "", "e": "instagram-reel"}
    targets = [Target(external_id, "p", external_id, post_type) for external_id, post_type in types.items()]
    targets.append(Target("f", "p", "f", "", is_story=True))
    calls = PLATFORM.post_calls(CHANNEL, targets, NOW)
    assert [call.path for call in calls] == [f"/v25.0/{name}" for name in "abcdef"]
    assert [call.shape for call in calls] == [
        "posts/reel", "posts/story", "posts/feed", "posts/other", "posts/reel", "posts/story",
    ]  # fmt: skip
    fields = [dict(call.query)["fields"] for call in calls]
    assert "ig_reels_avg_watch_time" in fields[0]
    assert "replies" in fields[1]
    assert "comments_count" not in fields[1]
    assert "profile_visits" in fields[2]
    assert fields[3] == "like_count,comments_count,insights.metric(views,reach,shares,saved)"
    assert not any("ids" in dict(call.query) for call in calls)


@pytest.mark.parametrize(
    ("token", "origin"),
    [
        ("IGAAabcdef", "https://graph.instagram.com"),
        ("EAAGabcdef", None),
        ("sandbox-1~17841400008460056", None),
        (None, None),
    ],
)
def test_the_host_goes_with_the_login(token: str | None, origin: str | None) -> None:
    assert PLATFORM.origin_of(token) == origin


def test_tokens_of_facebook_login_are_proven() -> None:
    client = AppClient("1", "app-secret")
    ((name, proven),) = PLATFORM.proof("EAAGabcdef", client).items()
    assert name == "appsecret_proof"
    assert proven == PROOF
    assert PLATFORM.proof("EAAGabcdef", AppClient("1")) == {}
    # Instagram Login signs with a secret of its own.
    assert PLATFORM.proof("IGAAabcdef", client) == {}


def test_a_newer_version_is_a_setting_away() -> None:
    newer = PLATFORM.configured({"META_VERSION": "v27.0"})
    (call,) = newer.post_calls(CHANNEL, [Target("a", "p", "1")], NOW)
    assert call.path == "/v27.0/1"


def test_the_newest_media_with_their_kinds() -> None:
    call = PLATFORM.discovery_call(CHANNEL, NOW)
    assert (call.kind, call.path) == ("IDENTITY", "/v25.0/17841400008460056/media")
    found = PLATFORM.discovered(golden.raw_event("instagram", golden.response("instagram", "foreign_list"))).posts
    assert [post.external_id for post in found] == ["17895731045244887", "17896622936197745"]
    assert found[0].published_at == 1_628_843_128_000
    assert found[0].permalink == "https://www.instagram.com/p/CSgf9BChwVq/"
    items = [
        {"id": "1", "timestamp": "2026-11-01T08:00:00+0000", "media_product_type": "REELS", "media_type": "VIDEO"},
        {
            "id": "2",
            "timestamp": "2026-11-02T08:00:00+0000",
            "media_product_type": "FEED",
            "media_type": "CAROUSEL_ALBUM",
        },
        {"id": "3", "media_product_type": "FEED"},
    ]
    event = replace(NORMAL, kind=call.kind, endpoint=call.path, body=orjson.dumps({"data": items}))
    assert [(post.external_id, post.post_type) for post in PLATFORM.discovered(event).posts] == [
        ("2", "instagram-carousel"), ("1", "instagram-reel"),
    ]  # fmt: skip
    assert not PLATFORM.discovered(replace(event, http_status=400)).posts
    assert not PLATFORM.read(event).posts


def test_the_field_counts_and_the_insight_stands_in() -> None:
    both = {"like_count": 10, "insights": {"data": [insight("likes", 8)]}}
    assert read(both, "like_count,insights.metric(likes)").values[LIKES] == 10
    hidden = {"insights": {"data": [insight("likes", 8)]}}
    assert read(hidden, "like_count,insights.metric(likes)").values[LIKES] == 8
    no_field = {"id": ID, "insights": {"data": [insight("comments", 4)]}}
    assert read(no_field, "insights.metric(comments)").values[COMMENTS] == 4


def test_fields_that_nobody_asked_for_and_that_are_absent_stay_unspoken() -> None:
    reading = read({"comments_count": 1}, "comments_count")
    assert reading.spoken == 1 << COMMENTS
    assert read({"id": ID}, "like_count").spoken == 1 << LIKES


def test_nested_fields_are_not_the_media_s_own() -> None:
    reading = read({"comments_count": 1, "children": {"data": []}}, "comments_count,children{like_count,media_type}")
    assert reading.spoken == 1 << COMMENTS


def test_an_insight_of_days_is_ranged() -> None:
    reading = read({"insights": {"data": [insight("views", 5, "day"), insight("reach", 4)]}}, "")
    assert reading.ranged == 1 << VIEWS
    assert reading.values[REACH] == 4


def test_an_error_in_place_of_one_media_says_nothing_of_it() -> None:
    event = replace(NORMAL, body=orjson.dumps({ID: {"error": {"code": 100}}}))
    assert not PLATFORM.read(event).posts


def test_watch_times_must_fit_their_column() -> None:
    with pytest.raises(MappingError, match="bad_count"):
        read({"insights": {"data": [insight("ig_reels_video_view_total_time", 10**18)]}}, "")
    reading = read({"insights": {"data": [insight("ig_reels_video_view_total_time", 10**18 - 1)]}}, "")
    assert reading.values[WATCH_TIME] == 10**18 - 1


def channel_event(request: dict[str, str], data: list[Any]) -> PlatformRaw:
    event = golden.raw_event("instagram", golden.response("instagram", "channel_totals"))
    return replace(event, request=request, body=orjson.dumps({"data": data}))


def test_totals_of_one_pacific_day_are_that_day_s() -> None:
    start, end = pacific_midnight(date(2026, 11, 1)), pacific_midnight(date(2026, 11, 2))
    request = {"since": str(start // 1000), "until": str(end // 1000)}
    event = channel_event(request, [{"name": "views", "period": "day", "total_value": {"value": 5}}])
    (channel,) = PLATFORM.read(event).channels
    assert channel[:3] == ("day", start, end)
    assert end - start == 25 * 3_600_000  # the day that the clocks go back


@pytest.mark.parametrize(
    "request_map", [{}, {"since": "2"}, {"since": "x", "until": "y"}, {"since": "9", "until": "9"}]
)
def test_totals_of_an_unknown_range_say_nothing(request_map: dict[str, str]) -> None:
    event = channel_event(request_map, [{"name": "views", "period": "day", "total_value": {"value": 5}}])
    assert not PLATFORM.read(event).channels


@pytest.mark.parametrize(("period", "days"), [("week", 7), ("days_28", 28)])
def test_rolling_periods_are_windows(period: str, days: int) -> None:
    values = [{"value": 5, "end_time": "2026-09-30T07:00:00+0000"}]
    (channel,) = PLATFORM.read(channel_event({}, [{"name": "reach", "period": period, "values": values}])).channels
    assert channel.period == "window"
    assert channel.period_end is not None
    assert channel.period_start == channel.period_end - days * 86_400_000


def test_channel_calls_ask_for_closed_days() -> None:
    calls = PLATFORM.channel_calls(CHANNEL, NOW)
    assert [call.path for call in calls] == ["/v25.0/17841400008460056", *["/v25.0/17841400008460056/insights"] * 3]
    for call, days in zip(calls[1:], (1, 7, 28), strict=True):
        query = dict(call.query)
        since, until = int(query["since"]), int(query["until"])
        assert until * 1000 == pacific_midnight(date(2026, 11, 20))
        assert abs(until - since - days * 86_400) <= 3600
        assert query["metric_type"] == "total_value"


def test_limits_are_what_is_left_of_the_fullest_budget() -> None:
    limits = PLATFORM.limits(golden.response("instagram", "normal")["headers"], NOW)
    assert limits == LimitState(100, 69, None)
    limits = PLATFORM.limits(golden.response("instagram", "rate_limited")["headers"], NOW)
    assert limits == LimitState(100, 0, NOW + 19 * 60_000)
