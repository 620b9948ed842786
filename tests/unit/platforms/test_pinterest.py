"""What is special about Pinterest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from schemas.metrics import AVG_WATCH_TIME, CLICKS, IMPRESSIONS, SAVES, WATCH_TIME
from services.platforms.base import Channel, LimitState, MappingError, Outcome, PostReading, Target
from services.platforms.pinterest import LISTED_FROM, PLATFORM
from tests.unit.platforms import golden

NOW = golden.RECEIVED_AT
CHANNEL = Channel("w", "c", "2783136121146311751")
SINGLE = golden.raw_event("pinterest", golden.response("pinterest", "single_analytics"))
NORMAL = golden.raw_event("pinterest", golden.response("pinterest", "normal"))


def analytics(block: dict[str, Any]) -> tuple[PostReading, ...]:
    return tuple(PLATFORM.read(replace(SINGLE, body=orjson.dumps({"all": block}))).posts)


def pin(metrics: dict[str, Any]) -> PostReading:
    (reading,) = PLATFORM.read(replace(NORMAL, body=orjson.dumps({"pin_metrics": metrics}))).posts
    return reading


def test_only_video_pins_cost_a_second_call() -> None:
    targets = [
        Target("a", "p", "1"),
        Target("b", "p", "2", "pinterest-video"),
        Target("c", "p", "3", "pinterest-image"),
    ]
    calls = PLATFORM.post_calls(CHANNEL, targets, NOW)
    assert [call.path for call in calls] == ["/v5/pins/1", "/v5/pins/2", "/v5/pins/2/analytics", "/v5/pins/3"]
    assert dict(calls[2].query)["start_date"] == "2026-08-24"
    assert {call.limit_group for call in calls} == {"org_read", "org_analytics"}


def test_an_answer_without_an_id_belongs_to_the_pin_of_its_path_or_the_only_target() -> None:
    two = (*SINGLE.targets, SINGLE.targets[0]._replace(target_id="t2", external_id="999"))
    assert [post.position for post in PLATFORM.read(replace(SINGLE, targets=two)).posts] == [0]
    elsewhere = replace(SINGLE, endpoint="/v5/pins/555/analytics")
    assert [post.position for post in PLATFORM.read(elsewhere).posts] == [0]
    assert not PLATFORM.read(replace(elsewhere, targets=two)).posts


def test_a_summary_without_settled_days_says_nothing() -> None:
    summary = {"IMPRESSION": 5}
    assert not analytics({"daily_metrics": [{"data_status": "PROCESSING"}], "summary_metrics": summary})
    assert analytics({"summary_metrics": summary})[0].values[IMPRESSIONS] == 5
    assert analytics({"daily_metrics": [{"data_status": "ESTIMATE"}], "summary_metrics": summary})


def test_a_lifetime_comes_before_ninety_days() -> None:
    reading = pin({"90d": {"impression": 1, "save": 2}, "lifetime_metrics": {"impression": 10}})
    assert (reading.values[IMPRESSIONS], reading.values[SAVES]) == (10, 2)
    assert reading.ranged == 1 << SAVES


def test_both_names_of_outbound_clicks() -> None:
    assert pin({"lifetime_metrics": {"outbound_click": 12}}).values[CLICKS] == 12
    assert pin({"lifetime_metrics": {"clickthrough": 13}}).values[CLICKS] == 13


def test_watch_times_are_rounded_by_their_digits() -> None:
    (reading,) = analytics({"summary_metrics": {"VIDEO_AVG_WATCH_TIME": 2507.5, "VIDEO_V50_WATCH_TIME": 10031.0}})
    assert (reading.values[AVG_WATCH_TIME], reading.values[WATCH_TIME]) == (2508, 10031)
    with pytest.raises(MappingError, match="bad_count"):
        analytics({"summary_metrics": {"VIDEO_V50_WATCH_TIME": 1e18}})


def test_limits() -> None:
    headers = {"x-ratelimit-limit": '1000, 1000;w=60;name="a"', "x-ratelimit-remaining": "7", "x-ratelimit-reset": "41"}
    assert PLATFORM.limits(headers, NOW) == LimitState(1000, 7, NOW + 41_000, longest_seconds=60)
    assert PLATFORM.limits({}, NOW) is None


def test_the_trial_s_day_is_told_by_the_window_of_its_limit() -> None:
    limited = {"x-ratelimit-limit": '1000, 1000;w=86400;name="trial_app_id"', "x-ratelimit-reset": "60"}
    body = b'{"code": 8, "message": "You have exceeded your rate limit."}'
    verdict = PLATFORM.classify(429, limited, body, NOW)
    assert (verdict.outcome, verdict.retry_after_seconds) == (Outcome.QUOTA_EXHAUSTED, 60.0)
    minute = {**limited, "x-ratelimit-limit": '300, 300;w=60;name="org_analytics"'}
    assert PLATFORM.classify(429, minute, body, NOW).outcome is Outcome.RETRY_LATER


def test_code_2_is_a_token_s_with_401_alone() -> None:
    body = b'{"code": 2, "message": "AdAccount not found."}'
    assert PLATFORM.classify(401, {}, body, NOW).outcome is Outcome.TOKEN_EXPIRED
    assert PLATFORM.classify(404, {}, body, NOW).outcome is Outcome.REQUEST_WRONG
    assert PLATFORM.classify(404, {}, b'{"code": 50, "message": "Pin not found."}', NOW).outcome is Outcome.TARGET_GONE
    assert PLATFORM.classify(404, {}, b"<html>", NOW).outcome is Outcome.PLATFORM_DOWN


def test_pins_of_a_page_are_discovered() -> None:
    event = golden.raw_event("pinterest", golden.response("pinterest", "foreign_pin_in_a_list"))
    (found,) = PLATFORM.discovered(replace(event, kind="IDENTITY")).posts
    assert found.external_id == event.targets[0].external_id
    assert found.published_at == 1_779_265_800_000
    assert found.post_type == "pinterest-pin"


def pins(count: int, days: float = 1.0, post_type: str = "") -> list[Target]:
    at = int(NOW - days * 86_400_000)
    return [Target(f"t{number}", "p", str(10**17 + number), post_type, at) for number in range(count)]


def test_young_pins_are_listed_where_that_saves_calls() -> None:
    young, old = pins(LISTED_FROM), pins(6, 8)
    (call,) = PLATFORM.post_calls(CHANNEL, young, NOW)
    assert (call.path, dict(call.query)) == ("/v5/pins", {"page_size": "50", "pin_metrics": "true"})
    assert call.targets == tuple(young)
    for few in (pins(LISTED_FROM - 1), old, [replace(one, published_at=None) for one in young]):
        calls = PLATFORM.post_calls(CHANNEL, few, NOW)
        assert [call.path for call in calls] == [f"/v5/pins/{one.external_id}" for one in few]
    assert len(PLATFORM.post_calls(CHANNEL, young)) == LISTED_FROM
    both = PLATFORM.post_calls(CHANNEL, [*young, *old], NOW)
    assert [len(call.targets) for call in both] == [LISTED_FROM, 1, 1, 1, 1, 1, 1]
    assert {call.shape for call in both} == {"posts"}
    many = PLATFORM.post_calls(CHANNEL, pins(130), NOW)
    assert [(len(call.targets), dict(call.query)["page_size"]) for call in many] == [(100, "200"), (30, "60")]
    videos = PLATFORM.post_calls(CHANNEL, pins(LISTED_FROM, post_type="video"), NOW)
    assert [call.shape for call in videos] == ["posts", *["posts/video"] * LISTED_FROM]


def test_a_list_says_nothing_of_what_it_leaves_out() -> None:
    listed = golden.raw_event("pinterest", golden.response("pinterest", "foreign_pin_in_a_list"))
    other = listed.targets[0]._replace(target_id="t9", external_id="1")
    event = replace(listed, targets=(listed.targets[0], other))
    assert {place: one.outcome for place, one in PLATFORM.verdicts(event, {}, NOW).items()} == {1: Outcome.NOT_LISTED}
    assert not PLATFORM.read(event).gone
    for changed in ({"http_status": 403}, {"body": b'{"code": 2, "message": "no"}'}, {"body": b'{"items": 7}'}):
        assert PLATFORM.verdicts(replace(event, **changed), {}, NOW) == {}
    alone = golden.raw_event("pinterest", golden.response("pinterest", "normal"))
    assert PLATFORM.verdicts(alone, {}, NOW) == {}
