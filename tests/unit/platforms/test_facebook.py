"""What is special about Facebook pages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from schemas.events import PlatformRaw, RawTarget
from schemas.metrics import CLICKS, COMMENTS, LIKES, REACH, SHARES, VIEWS
from services.platforms.abilities import AppClient, RefreshFailure, TokenGrant
from services.platforms.base import NOTHING, Call, Channel, LimitState, MappingError, Outcome, PostReading, Target
from services.platforms.facebook import PLATFORM
from services.runtime.secrets import TokenPair
from tests.unit.platforms import golden

NOW = golden.RECEIVED_AT
NORMAL = golden.raw_event("facebook", golden.response("facebook", "normal"))
BATCH = golden.raw_event("facebook", golden.response("facebook", "graph_batch"))
ID = NORMAL.targets[0].external_id
PAGE = Channel("w", "c", "104583221947103")


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


def shape_of(external_id: str, post_type: str = "", *, is_story: bool = False) -> Call:
    (call,) = PLATFORM.post_calls(PAGE, [Target("t", "p", external_id, post_type, is_story=is_story)], NOW)
    return call


@pytest.mark.parametrize(
    ("external_id", "post_type", "shape", "path"),
    [
        ("104583221947103_1", "facebook-post", "posts/page-post", "/v25.0/104583221947103_1"),
        ("104583221947103_1", "facebook-reel", "posts/page-post", "/v25.0/104583221947103_1"),
        ("998877665544332", "facebook-reel", "posts/bare-reel", "/v25.0/998877665544332/video_insights"),
        ("998877665544332", "facebook-video", "posts/bare-video", "/v25.0/998877665544332/video_insights"),
        ("998877665544332", "", "posts/bare-video", "/v25.0/998877665544332/video_insights"),
        ("998877665544332", "facebook-photo", "posts/bare-photo", "/v25.0/998877665544332"),
        ("998877665544332", "facebook-story", "posts/bare-story", "/v25.0/998877665544332/insights"),
    ],
)
def test_posts_are_asked_for_by_the_form_of_their_id_and_by_their_type(
    external_id: str, post_type: str, shape: str, path: str
) -> None:
    call = shape_of(external_id, post_type)
    assert (call.shape, call.path) == (shape, path)
    fields = dict(call.query).get("fields", "")
    # No node of a bare id has these two.
    assert ("shares" in fields and "insights.metric(" in fields) == (shape == "posts/page-post")


def test_a_story_s_bare_id_is_told_by_the_target() -> None:
    assert shape_of("998877665544332", is_story=True).shape == "posts/bare-story"


def test_without_a_scope_the_figures_come_from_insights_in_one_call_more() -> None:
    refused = golden.body_of(golden.response("facebook", "user_content_missing"))
    verdict = PLATFORM.classify(400, {}, refused, NOW)
    assert verdict.outcome is Outcome.METRIC_FORBIDDEN
    assert verdict.refused_metric is not None
    # Named as the two fields stand in the call, so that both go at once.
    asked = dict(shape_of("104583221947103_1").query)["fields"]
    assert asked.startswith(f"{verdict.refused_metric},")
    fields = asked.removeprefix(f"{verdict.refused_metric},")
    assert fields.startswith("shares,insights.metric(")
    assert "post_reactions_by_type_total,post_activity_by_action_type" in fields
    # Of a photo nothing is left: it is all that was asked for.
    assert verdict.refused_metric == dict(shape_of("998877665544332", "facebook-photo").query)["fields"]


def test_the_counts_of_a_field_stand_before_those_by_action() -> None:
    by_action = insight("post_activity_by_action_type", {"like": 9, "comment": 4, "share": 2})
    counted = {"comments": {"summary": {"total_count": 6}}}
    reading = read({**counted, **insights(by_action)}, "comments.summary(total_count)")
    assert (reading.values[COMMENTS], reading.values[SHARES], reading.values[LIKES]) == (6, 2, 9)


def test_one_number_for_all_actions_says_nothing() -> None:
    reading = read(insights(insight("post_video_social_actions", 7), insight("post_clicks", 1)))
    assert reading.spoken == 1 << CLICKS


def test_parts_of_a_batch_are_told_apart() -> None:
    urls = [f"{page}?fields=shares" for page in ("1_1", "1_2", "1_3", "1_4", "1_5")]
    targets = tuple(RawTarget(f"t{n}", f"p{n}", f"1_{n}") for n in range(1, 6))
    bodies: list[Any] = [
        {"id": "1_1", "shares": {"count": 3}},
        {"error": {"code": 190, "error_subcode": 463, "message": ""}},
        {"error": {"code": 100, "message": "(#100) The value must be a valid insights metric"}},
        {"error": {"code": 100, "error_subcode": 33, "message": "Object with ID '1_4' does not exist"}},
    ]
    elements = [{"code": 200 if "id" in body else 400, "body": orjson.dumps(body).decode()} for body in bodies]
    event = batch(replace(BATCH, targets=targets), *elements, None, urls=urls)
    found = PLATFORM.verdicts(event, {}, NOW)
    assert [found[position].outcome for position in range(5)] == [
        Outcome.OK, Outcome.TOKEN_EXPIRED, Outcome.REQUEST_WRONG, Outcome.TARGET_GONE, Outcome.TOO_MUCH,
    ]  # fmt: skip
    assert PLATFORM.classify(200, {}, event.body, NOW).outcome is Outcome.OK
    assert list(PLATFORM.read(event).gone) == [3]


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ({"error": {"code": 190, "error_subcode": 463}}, Outcome.TOKEN_EXPIRED),
        ({"error": {"code": 4}}, Outcome.RETRY_LATER),
        ({"error": {"code": 32}}, Outcome.RETRY_LATER),
        ({"error": {"code": 200, "message": "Permissions error"}}, Outcome.PERMISSION_MISSING),
        (
            {"error": {"code": 100, "message": "(#100) The value must be a valid insights metric"}},
            Outcome.REQUEST_WRONG,
        ),
        ({"error": {"code": 100, "error_subcode": 33}}, Outcome.TARGET_GONE),
        (None, Outcome.TOO_MUCH),
    ],
)
def test_where_all_parts_of_a_batch_say_the_same_it_is_the_batch_s_meaning(body: Any, outcome: Outcome) -> None:
    element = None if body is None else {"code": 400, "body": orjson.dumps(body).decode()}
    assert PLATFORM.classify(200, {}, orjson.dumps([element] * 50), NOW).outcome is outcome


def test_the_wait_of_a_batch_is_its_parts_longest() -> None:
    answer = golden.response("facebook", "graph_batch_limited")
    verdict = PLATFORM.classify(200, {}, golden.body_of(answer), NOW)
    assert verdict.retry_after_seconds == 19 * 60


def test_an_error_in_place_of_a_post_is_that_post_s() -> None:
    error = {"error": {"code": 100, "error_subcode": 33, "message": "no such object"}}
    event = replace(NORMAL, body=orjson.dumps({ID: error, "other": error}))
    assert {position: verdict.outcome for position, verdict in PLATFORM.verdicts(event, {}, NOW).items()} == {
        0: Outcome.TARGET_GONE
    }


def test_a_user_token_is_exchanged_for_the_page_s() -> None:
    tokens, client = TokenPair("EAAuser"), AppClient("1", "app-secret")
    call = PLATFORM.exchange_call(PAGE, tokens, client)
    assert call is not None
    assert call.path == "/v25.0/104583221947103"
    assert [name for name, _ in call.query] == ["fields", "appsecret_proof"]
    assert call.headers == {"authorization": "Bearer EAAuser"}
    assert PLATFORM.exchange_call(PAGE, TokenPair(), client) is None
    grant = PLATFORM.read_exchange(200, {}, b'{"access_token": "EAApage", "id": "104583221947103"}')
    assert isinstance(grant, TokenGrant)
    assert (grant.access_token, grant.expires_in_seconds) == ("EAApage", None)
    for status, body in ((200, b'{"id": "104583221947103"}'), (400, b'{"error": {"code": 190}}')):
        failure = PLATFORM.read_exchange(status, {}, body)
        assert isinstance(failure, RefreshFailure)
        assert failure.is_final


def test_the_page_s_newest_posts() -> None:
    call = PLATFORM.discovery_call(PAGE, NOW)
    assert (call.kind, call.path) == ("IDENTITY", "/v25.0/104583221947103/posts")
    items = [
        {"id": "1_1", "created_time": "2026-11-01T08:00:00+0000", "message": "One"},
        {
            "id": "1_2",
            "created_time": "2026-11-02T08:00:00+0000",
            "permalink_url": "https://www.facebook.com/1/posts/2",
        },
    ]
    event = replace(NORMAL, kind=call.kind, endpoint=call.path, body=orjson.dumps({"data": items}))
    newest, older = PLATFORM.discovered(event).posts
    assert (newest.external_id, newest.permalink, older.content) == ("1_2", "https://www.facebook.com/1/posts/2", "One")
    assert PLATFORM.read(event) == NOTHING
    assert not PLATFORM.discovered(replace(event, body=b'{"error": {"code": 190}}')).posts


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
