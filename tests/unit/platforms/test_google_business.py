"""What is special about Google Business Profile."""

from __future__ import annotations

import pytest

from schemas.metrics import POST_NAMES
from services.platforms.base import Channel, Outcome, Target
from services.platforms.google_business import PLATFORM
from tests.unit.platforms import golden

NOW = golden.RECEIVED_AT


@pytest.mark.parametrize("external_id", ["112938", "locations/112938", "accounts/7/locations/112938"])
def test_a_location_is_asked_for_by_its_last_part(external_id: str) -> None:
    (call,) = PLATFORM.channel_calls(Channel("w", "c", external_id), NOW)
    assert call.path == "/v1/locations/112938:fetchMultiDailyMetricsTimeSeries"
    asked = call.request_map()
    assert "BUSINESS_IMPRESSIONS_MOBILE_MAPS" in asked["dailyMetrics"].split(",")
    assert [asked[f"dailyRange.end_date.{part}"] for part in ("year", "month", "day")] == ["2026", "11", "21"]
    assert PLATFORM.identity_call(Channel("w", "c", external_id)).path == "/v1/locations/112938"


def test_posts_have_no_figures() -> None:
    assert PLATFORM.post_calls(Channel("w", "c", "1"), [Target("t", "p", "1")], NOW) == []
    assert set(PLATFORM.facts.not_reported) == set(POST_NAMES)


def test_an_account_s_own_path_to_a_location_is_read() -> None:
    answer = golden.response("google_business", "normal")
    longer = {**answer, "endpoint": answer["endpoint"].replace("/v1/", "/v1/accounts/7/")}
    read = PLATFORM.read
    assert read(golden.raw_event("google_business", longer)) == read(golden.raw_event("google_business", answer))


def test_what_is_retired_is_not_asked_for() -> None:
    (call,) = PLATFORM.channel_calls(Channel("w", "c", "1"), NOW)
    assert "BUSINESS_CONVERSATIONS" not in call.request_map()["dailyMetrics"]


def test_a_refused_metric_is_named_or_said_to_be_one_of_them() -> None:
    named = golden.body_of(golden.response("google_business", "foreign_unknown_metric"))
    assert PLATFORM.classify(400, {}, named, NOW).refused_metric == "BUSINESS_CONVERSATIONS"
    unnamed = b'{"error": {"message": "Request contains an invalid argument.", "status": "INVALID_ARGUMENT"}}'
    assert PLATFORM.classify(400, {}, unnamed, NOW).refused_metric == ""


def test_a_bare_404_says_nothing_of_the_location() -> None:
    assert PLATFORM.classify(404, {}, b"<html>", NOW).outcome is Outcome.PLATFORM_DOWN
