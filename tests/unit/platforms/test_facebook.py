"""What is special about Facebook pages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from schemas.events import PlatformRaw, RawTarget
from schemas.metrics import CLICKS, LIKES, REACH, SHARES, VIEWS
from services.platforms.base import Channel, LimitState, MappingError, Outcome, PostReading
from services.platforms.facebook import PLATFORM
from tests.unit.platforms import golden

NOW = golden.RECEIVED_AT
NORMAL = golden.raw_event("facebook", golden.response("facebook", "normal"))
BATCH = golden.raw_event("facebook", golden.response("facebook", "graph_batch"))
ID = NORMAL.targets[0].external_id


def insight(name: str, value: Any, period: str = "lifetime") -> dict[str, Any]:
    return {"name": name, "period": period, "values": [{"value": value}]}


def read(post: dict[str, Any], fields: str = "") -> PostReading:
    event = replace(NORMAL, request={"ids": ID, "fields": fields}, body=orjson.dumps({ID: post}))
    (reading,) = PLATFORM.read(event).posts
    return reading


def insights(*listed: dict[str, Any]) -> dict[str, Any]:
    return {"insights": {"data": list(listed)}}


def test_lifetime_counts_whatever_the_order() -> None:
    for listed in (
        [insight("post_clicks", 1, "day"), insight("post_clicks", 9)],
        [insight("post_clicks", 9), insight("post_clicks", 1, "day")],
    ):
        reading = read(insights(*listed))
        assert reading.values[CLICKS] == 9
        assert reading.ranged == 0


def test_reactions_by_type_add_up_and_stand_behind_the_summary() -> None:
    by_type = insight("post_reactions_by_type_total", {"like": 3, "love": 4, "anger": -1})
    assert read(insights(by_type)).values[LIKES] == 6
    summary = {"reactions": {"summary": {"total_count": 10}}}
    assert read({**summary, **insights(by_type)}).values[LIKES] == 10
    hidden = read(insights(by_type), "reactions.summary(total_count),shares")
    assert hidden.values[LIKES] == 6
    assert hidden.spoken == 1 << LIKES | 1 << SHARES


@pytest.mark.parametrize("nothing", [{}, []])
def test_reactions_of_no_type_say_nothing(nothing: Any) -> None:
    reading = read(insights(insight("post_reactions_by_type_total", nothing), insight("post_clicks", 1)))
    assert reading.spoken == 1 << CLICKS


def test_reactions_by_type_have_to_be_counts() -> None:
    with pytest.raises(MappingError, match="bad_count"):
        read(insights(insight("post_reactions_by_type_total", {"like": "many"})))
    with pytest.raises(MappingError, match="bad_count"):
        read(insights(insight("post_reactions_by_type_total", {"like": 2**63 - 1, "love": 1})))


def test_retired_names_of_old_answers_are_read_behind_the_new_ones() -> None:
    old = [insight("post_impressions_unique", 5), insight("post_total_media_view_unique", 7)]
    assert read(insights(*old)).values[REACH] == 7
    assert read(insights(old[0])).values[REACH] == 5


def test_a_post_without_its_own_error_or_fields_says_nothing() -> None:
    event = replace(NORMAL, body=orjson.dumps({ID: {"error": {"code": 100}}}))
    assert not PLATFORM.read(event).posts
    event = replace(NORMAL, request={}, body=orjson.dumps({ID: {"id": ID}}))
    assert not PLATFORM.read(event).posts


def test_nested_fields_are_not_the_post_s_own() -> None:
    fields = "comments.summary(true).limit(0){shares,from{name}},attachments{reactions}"
    assert read({"comments": {"summary": {"total_count": 1}}}, fields).spoken.bit_count() == 1


def batch(event: PlatformRaw, *elements: Any, urls: list[str] | None = None) -> PlatformRaw:
    request = {"body": orjson.dumps({"batch": [{"relative_url": url} for url in urls or []]}).decode()}
    return replace(event, request=request, body=orjson.dumps(list(elements)))


def test_elements_of_a_batch_without_their_requests_are_told_by_their_ids() -> None:
    first = {"code": 200, "body": orjson.dumps({"id": ID, "shares": {"count": 3}}).decode()}
    dead = {"code": 400, "body": orjson.dumps({"error": {"code": 100, "error_subcode": 33}}).decode()}
    reading = PLATFORM.read(batch(NORMAL, first, None, dead))
    (post,) = reading.posts
    assert post.values[SHARES] == 3
    assert not reading.gone


def test_later_elements_add_to_a_post_and_a_failure_takes_nothing_away() -> None:
    urls = [f"{ID}/insights?metric=post_media_view&period=lifetime", f"v25.0/{ID}?fields=shares", ID]
    views = {"code": 200, "body": orjson.dumps({"data": [insight("post_media_view", 9)]}).decode()}
    shares = {"code": 200, "body": orjson.dumps({"id": ID, "shares": {"count": 3}}).decode()}
    limited = {"code": 400, "body": orjson.dumps({"error": {"code": 4}}).decode()}
    event = batch(NORMAL, views, shares, limited, urls=urls)
    (post,) = PLATFORM.read(event).posts
    assert (post.values[VIEWS], post.values[SHARES]) == (9, 3)
    assert set(PLATFORM.part(event, 0)) == {"insights", "id", "shares"}


@pytest.mark.parametrize("element", [1, {"code": 200}, {"code": 200, "body": 5}, {"code": 200, "body": "<html>"}])
def test_elements_that_are_no_answers(element: Any) -> None:
    event = batch(NORMAL, element)
    with pytest.raises(MappingError):
        PLATFORM.read(event)
    assert PLATFORM.part(event, 0) == {}


def test_a_batch_s_dead_post_is_gone_for_every_target_of_it() -> None:
    dead = BATCH.targets[1]
    twice = replace(BATCH, targets=(*BATCH.targets, RawTarget("t9", "p9", dead.external_id)))
    assert list(PLATFORM.read(twice).gone) == [1, 3]


def test_a_refused_metric_that_is_not_named() -> None:
    answer = golden.response("facebook", "wrong_metric")
    verdict = PLATFORM.classify(400, {}, golden.body_of(answer), NOW)
    assert verdict.outcome is Outcome.REQUEST_WRONG
    assert verdict.refused_metric == ""


def test_channel_calls() -> None:
    page, posts, days = PLATFORM.channel_calls(Channel("w", "c", "104583221947103"), NOW)
    assert page.path == "/v25.0/104583221947103"
    assert posts.path == "/v25.0/104583221947103/published_posts"
    query = dict(days.query)
    assert query["period"] == "day"
    assert int(query["until"]) - int(query["since"]) in (28 * 86_400, 28 * 86_400 + 3600)


def test_limits_are_what_is_left_of_the_fullest_budget() -> None:
    assert PLATFORM.limits(golden.response("facebook", "normal")["headers"], NOW) == LimitState(100, 69, None)
    limits = PLATFORM.limits(golden.response("facebook", "rate_limited")["headers"], NOW)
    assert limits == LimitState(100, 0, NOW + 19 * 60_000)
