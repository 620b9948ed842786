"""What is special about Threads."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import orjson
import pytest

from schemas.metrics import CH_SHARES, LIKES, QUOTES, SHARES, VIEWS
from services.platforms.base import NOTHING, Channel, PostReading, Reading, Target
from services.platforms.report_days import pacific_midnight
from services.platforms.threads import PLATFORM
from tests.unit.platforms import golden

NOW = golden.RECEIVED_AT
CHANNEL = Channel("w", "c", "17841401234567890")
NORMAL = golden.raw_event("threads", golden.response("threads", "normal"))
TOTALS = golden.raw_event("threads", golden.response("threads", "channel_totals"))


def insight(name: str, value: Any) -> dict[str, Any]:
    return {"name": name, "period": "lifetime", "values": [{"value": value}]}


def read(data: list[Any], metric: str = "") -> PostReading:
    (reading,) = PLATFORM.read(replace(NORMAL, request={"metric": metric}, body=orjson.dumps({"data": data}))).posts
    return reading


def test_one_post_a_call() -> None:
    calls = PLATFORM.post_calls(CHANNEL, [Target("a", "p", "1"), Target("b", "p", "2")], NOW)
    assert [call.path for call in calls] == ["/v1.0/1/insights", "/v1.0/2/insights"]
    assert [len(call.targets) for call in calls] == [1, 1]


def test_the_newest_posts_that_are_the_account_s_own() -> None:
    call = PLATFORM.discovery_call(CHANNEL, NOW)
    assert (call.kind, call.path) == ("IDENTITY", "/v1.0/17841401234567890/threads")
    items = [
        {"id": "1", "timestamp": "2026-11-01T08:00:00+0000", "media_type": "TEXT_POST", "text": "One"},
        {"id": "2", "timestamp": "2026-11-02T08:00:00+0000", "media_type": "REPOST_FACADE"},
    ]
    event = replace(NORMAL, kind=call.kind, endpoint=call.path, body=orjson.dumps({"data": items}))
    (post,) = PLATFORM.discovered(event).posts
    assert (post.external_id, post.content, post.post_type) == ("1", "One", "threads-post")
    assert PLATFORM.read(event) == NOTHING


def test_a_newer_version_is_a_setting_away() -> None:
    newer = PLATFORM.configured({"THREADS_VERSION": "v2.0"})
    assert newer.post_calls(CHANNEL, [Target("a", "p", "1")], NOW)[0].path == "/v2.0/1/insights"
    assert newer.identity_call(CHANNEL).path == "/v2.0/me"


def test_shares_are_reposts_with_quotes_and_never_the_platform_s_shares() -> None:
    assert read([insight("reposts", 4), insight("quotes", 3), insight("shares", 100)]).values[SHARES] == 7
    assert read([insight("reposts", 4)]).values[SHARES] == 4
    quotes = read([insight("quotes", 3), insight("shares", 100)])
    assert quotes.spoken == 1 << QUOTES
    hidden = read([insight("likes", 1)], "likes,reposts,quotes")
    assert hidden.spoken == 1 << LIKES | 1 << SHARES | 1 << QUOTES
    assert hidden.values[SHARES] is None


def test_an_insight_without_values_says_nothing() -> None:
    reading = read([insight("likes", 1), {"name": "views", "period": "lifetime", "values": []}], "likes,views")
    assert reading.spoken == 1 << LIKES
    assert reading.values[VIEWS] is None


def test_another_post_s_answer_is_nobody_s() -> None:
    assert PLATFORM.read(replace(NORMAL, endpoint="/v1.0/999/insights")) == NOTHING
    assert PLATFORM.part(replace(NORMAL, endpoint="/v1.0/999/insights"), 0) == {}


def test_channel_calls_ask_for_closed_days_and_for_daily_views_once() -> None:
    calls = PLATFORM.channel_calls(CHANNEL, NOW)
    assert dict(calls[0].query) == {"metric": "followers_count"}
    for call, days in zip(calls[1:], (1, 7, 28), strict=True):
        query = dict(call.query)
        since, until = int(query["since"]), int(query["until"])
        assert until * 1000 == pacific_midnight(date(2026, 11, 20))
        assert abs(until - since - days * 86_400) <= 3600
    assert ["views" in dict(call.query)["metric"] for call in calls] == [False, False, False, True]


@pytest.mark.parametrize("request_map", [{}, {"since": "2"}, {"since": "x", "until": "y"}])
def test_totals_of_an_unknown_range_say_nothing(request_map: dict[str, str]) -> None:
    body = orjson.dumps({"data": [{"name": "likes", "period": "day", "total_value": {"value": 5}}]})
    assert PLATFORM.read(replace(TOTALS, request=request_map, body=body)) == Reading((), ())


def test_a_share_part_that_comes_twice_counts_once() -> None:
    part = {"name": "reposts", "period": "day", "total_value": {"value": 5}}
    (reading,) = PLATFORM.read(replace(TOTALS, body=orjson.dumps({"data": [part, part]}))).channels
    assert reading.values[CH_SHARES] == 5
