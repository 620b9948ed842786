"""What is special about Instagram."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import orjson
import pytest

from schemas.events import PlatformRaw
from schemas.metrics import COMMENTS, LIKES, REACH, VIEWS, WATCH_TIME
from services.platforms.base import Channel, LimitState, MappingError, PostReading, Target
from services.platforms.instagram import PLATFORM
from services.platforms.report_days import pacific_midnight
from tests.unit.platforms import golden

NOW = golden.RECEIVED_AT
CHANNEL = Channel("w", "c", "17841400008460056")
NORMAL = golden.raw_event("instagram", golden.response("instagram", "normal"))
ID = NORMAL.targets[0].external_id


def insight(name: str, value: Any, period: str = "lifetime") -> dict[str, Any]:
    return {"name": name, "period": period, "values": [{"value": value}]}


def read(media: dict[str, Any], fields: str) -> PostReading:
    event = replace(NORMAL, request={"ids": ID, "fields": fields}, body=orjson.dumps({ID: media}))
    (reading,) = PLATFORM.read(event).posts
    return reading


def test_calls_are_grouped_by_kind() -> None:
    types = {"a": "instagram-reel", "b": "instagram-story", "c": "instagram-carousel", "d": "", "e": "instagram-reel"}
    targets = [Target(external_id, "p", external_id, post_type) for external_id, post_type in types.items()]
    targets.append(Target("f", "p", "f", "", is_story=True))
    calls = PLATFORM.post_calls(CHANNEL, targets, NOW)
    asked = {dict(call.query)["ids"]: dict(call.query)["fields"] for call in calls}
    assert set(asked) == {"a,e", "b,f", "c", "d"}
    assert "ig_reels_avg_watch_time" in asked["a,e"]
    assert "replies" in asked["b,f"]
    assert "comments_count" not in asked["b,f"]
    assert "profile_visits" in asked["c"]
    assert asked["d"] == "like_count,comments_count,insights.metric(views,reach,shares,saved)"


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
