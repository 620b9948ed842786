"""What is special about LinkedIn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from schemas.metrics import CHANNEL_NAMES, IMPRESSIONS, LIKES, REACH
from services.platforms.base import NOTHING, Call, Channel, MappingError, Outcome, Target
from services.platforms.linkedin import PLATFORM
from tests.unit.platforms import golden

NOW = golden.RECEIVED_AT
PAGE = Channel("w", "c", "urn:li:organization:2414183")
MEMBER = Channel("w", "c", "urn:li:person:a1B2c3")
NORMAL = golden.raw_event("linkedin", golden.response("linkedin", "normal"))
MEMBER_METRIC = golden.raw_event("linkedin", golden.response("linkedin", "missing_metric"))
SHARE = NORMAL.targets[0].external_id


def target(urn: str, post_type: str = "") -> Target:
    return Target(urn, "p", urn, post_type)


def test_every_call_names_its_versions() -> None:
    headers = PLATFORM.authorize("secret")
    assert headers["linkedin-version"].isdigit()
    assert len(headers["linkedin-version"]) == 6
    assert headers["x-restli-protocol-version"] == "2.0.0"
    assert PLATFORM.authorize(None) == {}


def test_kinds_of_urns_travel_in_lists_of_their_own() -> None:
    urns = ["urn:li:share:1", "urn:li:ugcPost:2", "3", "urn:li:activity:4"]
    shares, ugc, activities = PLATFORM.post_calls(PAGE, [target(urn) for urn in urns], NOW)
    assert dict(shares.query)["shares"] == "List(urn%3Ali%3Ashare%3A1,urn%3Ali%3Ashare%3A3)"
    assert dict(ugc.query)["ugcPosts"] == "List(urn%3Ali%3AugcPost%3A2)"
    assert activities.path == "/rest/socialMetadata"
    assert [one.external_id for one in shares.targets] == ["urn:li:share:1", "3"]


def test_lists_and_records_are_bare_and_urns_in_them_escaped() -> None:
    (call,) = PLATFORM.post_calls(PAGE, [target("urn:li:share:1")], NOW)
    assert call.query_text() == (
        "q=organizationalEntity&organizationalEntity=urn%3Ali%3Aorganization%3A2414183&shares=List(urn%3Ali%3Ashare%3A1)"
    )
    assert call.request_map()["shares"] == "List(urn:li:share:1)"
    member = PLATFORM.post_calls(MEMBER, [target("urn:li:ugcPost:1")], NOW)[0]
    assert "entity=(ugc:urn%3Ali%3AugcPost%3A1)&" in member.query_text()
    days = PLATFORM.channel_calls(PAGE, NOW)[1]
    assert days.query_text().endswith(
        "timeIntervals=(timeRange:(start:1792800000000,end:1795219200000),timeGranularityType:DAY)"
    )


def test_lists_hold_twenty() -> None:
    calls = PLATFORM.post_calls(PAGE, [target(f"urn:li:share:{n}") for n in range(41)], NOW)
    assert [len(call.targets) for call in calls] == [20, 20, 1]


def names(calls: list[Call]) -> list[str]:
    return [dict(call.query).get("queryType") or dict(call.query).get("type", "") for call in calls]


def test_a_member_s_post_costs_one_call_a_metric() -> None:
    calls = PLATFORM.post_calls(MEMBER, [target("urn:li:share:1")])
    assert names(calls) == [
        *("IMPRESSION", "REACTION", "COMMENT", "MEMBERS_REACHED", "RESHARE", "POST_SAVE", "LINK_CLICKS"),
    ]
    assert all(len(call.targets) == 1 for call in calls)
    video = PLATFORM.post_calls(MEMBER, [target("urn:li:ugcPost:1", "linkedin-video")], NOW)
    assert names(video)[-2:] == ["VIDEO_PLAY", "VIDEO_WATCH_TIME"]


def test_videos_of_an_organization_are_asked_for_apart() -> None:
    calls = PLATFORM.post_calls(PAGE, [target("urn:li:ugcPost:1", "linkedin-video"), target("urn:li:ugcPost:2")], NOW)
    assert [len(call.targets) for call in calls] == [2, 1, 1]
    assert names(calls)[1:] == ["VIDEO_VIEW", "TIME_WATCHED"]


@pytest.mark.parametrize("external_id", ["2414183", "urn:li:organization:2414183"])
def test_organizations_by_number_or_urn(external_id: str) -> None:
    channel = Channel("w", "c", external_id)
    assert PLATFORM.identity_call(channel).path == "/rest/organizations/2414183"
    followers = PLATFORM.channel_calls(channel, NOW)[0]
    assert followers.path == "/rest/networkSizes/urn%3Ali%3Aorganization%3A2414183"


def test_members() -> None:
    # The sign-in product, which `/v2/userinfo` needs, is not open to an app that reads members' figures.
    assert PLATFORM.identity_call(MEMBER).path == "/rest/memberFollowersCount"
    followers, *days = PLATFORM.channel_calls(MEMBER, NOW)
    assert followers.path == "/rest/memberFollowersCount"
    assert names(days) == ["IMPRESSION", "REACTION", "COMMENT", "RESHARE"]
    dates = "(start:(year:2026,month:10,day:24),end:(year:2026,month:11,day:21))"
    assert all(dict(call.query)["dateRange"] == dates for call in days)


def member(elements: list[Any], **request: str) -> Any:
    asked = {**MEMBER_METRIC.request, **request}
    return PLATFORM.read(replace(MEMBER_METRIC, request=asked, body=orjson.dumps({"elements": elements}))).posts


def test_a_member_s_metric_is_the_element_s_own_else_the_one_asked_for() -> None:
    (reading,) = member([{"count": 5, "metricType": "REACTION"}])
    assert reading.spoken == 1 << LIKES
    (reading,) = member([{"count": 5, "metricType": {"any.name": "MEMBERS_REACHED"}}])
    assert reading.spoken == 1 << REACH
    (reading,) = member([{"count": 5}])
    assert reading.values[IMPRESSIONS] == 5
    assert not member([{"count": 5, "metricType": "POST_SEND"}])


def test_a_member_s_totals_of_all_posts_are_no_post_s() -> None:
    assert not member([{"count": 5, "metricType": "REACTION"}], q="me")
    assert not member([{"count": 5, "metricType": "REACTION"}], entity="(share:urn:li:share:999)")


def test_an_escaped_entity_is_the_same_entity() -> None:
    escaped = MEMBER_METRIC.request["entity"].replace(":urn", "~urn").replace(":", "%3A").replace("~", ":")
    (reading,) = member([{"count": 5}], entity=escaped)
    assert reading.values[IMPRESSIONS] == 5


def test_totals_of_the_whole_organization_are_no_post_s() -> None:
    body = orjson.loads(NORMAL.body)
    del body["elements"][0]["share"]
    assert not PLATFORM.read(replace(NORMAL, body=orjson.dumps(body))).posts


def test_statistics_of_one_post_are_not_the_channel_s() -> None:
    event = golden.raw_event("linkedin", golden.response("linkedin", "channel_days"))
    body = orjson.loads(event.body)
    body["elements"][0]["share"] = SHARE
    (reading,) = PLATFORM.read(replace(event, body=orjson.dumps(body))).channels
    assert reading.values[CHANNEL_NAMES.index("impressions")] == 900


def test_ranges_that_make_no_sense_say_nothing() -> None:
    event = golden.raw_event("linkedin", golden.response("linkedin", "channel_days"))
    for covered in ({}, {"start": 5, "end": 5}, {"start": "1", "end": "2"}, {"start": 1, "end": 2**62}, 7):
        element = {**orjson.loads(event.body)["elements"][0], "timeRange": covered}
        assert not PLATFORM.read(replace(event, body=orjson.dumps({"elements": [element]}))).channels


@pytest.mark.parametrize("day", [{}, {"year": 2026, "month": 2, "day": 30}, {"year": "a", "month": 1, "day": 1}, 5])
def test_days_that_are_none_say_nothing(day: Any) -> None:
    event = golden.raw_event("linkedin", golden.response("linkedin", "channel_member_days"))
    element = {"count": 5, "metricType": "IMPRESSION", "dateRange": {"start": day}}
    assert not PLATFORM.read(replace(event, body=orjson.dumps({"elements": [element]}))).channels


def test_social_metadata_of_strange_shape() -> None:
    event = golden.raw_event("linkedin", golden.response("linkedin", "social_metadata"))
    with pytest.raises(MappingError, match="unexpected_shape"):
        PLATFORM.read(replace(event, body=orjson.dumps({"results": [1]})))
    assert not PLATFORM.read(replace(event, body=orjson.dumps({"results": {}}))).posts


@pytest.mark.parametrize(
    ("body", "outcome", "refused"),
    [
        ({"serviceErrorCode": 65601}, Outcome.TOKEN_REVOKED, None),
        ({"serviceErrorCode": 65602}, Outcome.TOKEN_EXPIRED, None),
        (
            {"serviceErrorCode": 100, "message": "Not enough permissions to access: me.GET"},
            Outcome.PERMISSION_MISSING,
            None,
        ),
        (
            {"code": "ACCESS_DENIED", "message": "No access to urn:li:share:5 for this member"},
            Outcome.TARGET_GONE,
            "urn:li:share:5",
        ),
        ({"code": "TOO_MANY_REQUESTS", "message": "MEMBER DAY limit is reached"}, Outcome.QUOTA_EXHAUSTED, None),
        ({"code": "TOO_MANY_REQUESTS", "message": "slow down"}, Outcome.RETRY_LATER, None),
    ],
)
def test_codes_weigh_more_than_the_status(body: dict[str, Any], outcome: Outcome, refused: str | None) -> None:
    verdict = PLATFORM.classify(400, {}, orjson.dumps(body), NOW)
    assert verdict.outcome is outcome
    assert verdict.refused_target == refused


def test_an_error_in_a_successful_answer_says_nothing() -> None:
    event = replace(NORMAL, body=orjson.dumps({"serviceErrorCode": 100, "status": 403}))
    assert PLATFORM.read(event) == NOTHING
    assert PLATFORM.classify(200, {}, event.body, NOW).outcome is Outcome.PERMISSION_MISSING


HALF_HOUR = 1_800_000
MEMBER_NAMES = {"IMPRESSION", "REACTION", "COMMENT", "MEMBERS_REACHED", "RESHARE", "POST_SAVE", "LINK_CLICKS"}


def test_one_metric_of_all_posts_comes_before_the_next() -> None:
    calls = PLATFORM.post_calls(MEMBER, [target("urn:li:share:1"), target("urn:li:share:2")])
    assert names(calls)[:4] == ["IMPRESSION", "IMPRESSION", "REACTION", "REACTION"]


@pytest.mark.parametrize("interval", [HALF_HOUR, 12 * HALF_HOUR, 48 * HALF_HOUR])
def test_where_two_calls_are_allowed_each_metric_has_its_turn_and_the_dearest_most(interval: int) -> None:
    polls = [names(PLATFORM.post_calls(MEMBER, [target("urn:li:share:1")], NOW + n * interval)) for n in range(84)]
    assert all(set(asked) == MEMBER_NAMES for asked in polls)
    first = [name for asked in polls for name in asked[:2]]
    assert set(first) == MEMBER_NAMES
    dearest = sum(name in ("IMPRESSION", "REACTION", "COMMENT") for name in first)
    assert len(first) * 3 // 4 < dearest < len(first)


def test_the_development_tier_has_limits_and_another_has_none() -> None:
    groups = {(limit.group, limit.calls, limit.is_app_wide) for limit in PLATFORM.facts.limits}
    assert {("memberCreatorPostAnalytics", 100, False), ("memberCreatorPostAnalytics", 500, True)} < groups
    assert PLATFORM.configured({"LINKEDIN_TIER": "standard"}).facts.limits == ()


def test_a_version_that_is_retired_says_which_setting_names_another() -> None:
    answer = golden.response("linkedin", "version_retired")
    verdict = PLATFORM.classify(426, {}, golden.body_of(answer), NOW)
    assert verdict.outcome is Outcome.REQUEST_WRONG
    assert "TIDEMARK_LINKEDIN_VERSION" in verdict.detail


def test_a_total_with_an_empty_range_is_a_total() -> None:
    (reading,) = member([{"count": 2, "dateRange": {}, "metricType": "COMMENT"}])
    assert not reading.ranged
    event = golden.raw_event("linkedin", golden.response("linkedin", "channel_member"))
    body = orjson.dumps({"elements": [{"memberFollowersCount": 7, "dateRange": {}}]})
    assert PLATFORM.read(replace(event, body=body)).channels[0].period == "lifetime"


@pytest.mark.parametrize("status", [413, 414])
def test_a_request_that_is_too_long_asks_for_less(status: int) -> None:
    assert PLATFORM.classify(status, {}, b"<html>", NOW).outcome is Outcome.TOO_MUCH


def test_a_batch_tells_of_each_post_apart() -> None:
    event = golden.raw_event("linkedin", golden.response("linkedin", "social_metadata"))
    urns = [one.external_id for one in event.targets]
    errors = {urns[-1]: {"status": 403, "code": "ACCESS_DENIED", "message": "no", "serviceErrorCode": 100}}
    body = orjson.dumps({"results": {}, "errors": {**errors, "urn:li:share:999": {"status": 500}, urns[0]: "x"}})
    verdicts = PLATFORM.verdicts(replace(event, body=body), {}, NOW)
    assert {at: verdict.outcome for at, verdict in verdicts.items()} == {len(urns) - 1: Outcome.PERMISSION_MISSING}
    assert PLATFORM.verdicts(replace(event, body=body, http_status=500), {}, NOW) == {}


def test_an_organization_s_posts_are_discovered_and_a_member_s_are_not() -> None:
    """The element is the one of Microsoft Learn, Posts API, Find Posts by Authors."""
    assert PLATFORM.discovery_call(MEMBER, NOW) is None
    call = PLATFORM.discovery_call(PAGE, NOW)
    assert call is not None
    assert call.query_text().startswith("author=urn%3Ali%3Aorganization%3A2414183&q=author&count=50")
    published = {
        "isReshareDisabledByAuthor": False, "createdAt": 1634790968774, "lifecycleState": "PUBLISHED",
        "lastModifiedAt": 1634790968774, "visibility": "PUBLIC", "publishedAt": 1634790968774,
        "author": "urn:li:organization:2414183", "id": "urn:li:share:6844785523593134080",
        "distribution": {"feedDistribution": "MAIN_FEED", "targetEntities": [], "thirdPartyDistributionChannels": []},
        "content": {"media": {"title": "title of the video", "id": "urn:li:video:C5F10AQGKQg_6y2a4sQ"}},
        "commentary": "Sample text Post",
    }  # fmt: skip
    draft = {**published, "id": "urn:li:share:1", "lifecycleState": "DRAFT"}
    dark = {**published, "id": "urn:li:share:2", "distribution": {"feedDistribution": "NONE"}}
    text = {**published, "id": "urn:li:ugcPost:3", "content": {}, "publishedAt": 1634790968775}
    event = golden.raw_event(
        "linkedin", {**golden.response("linkedin", "normal"), "kind": call.kind, "endpoint": call.path}
    )
    event = replace(event, targets=(), body=orjson.dumps({"elements": [published, draft, dark, text]}))
    newest, video = PLATFORM.discovered(event).posts
    assert (newest.external_id, newest.post_type) == ("urn:li:ugcPost:3", "linkedin-post")
    assert video == (
        "urn:li:share:6844785523593134080", 1634790968774, "linkedin-video",
        "https://www.linkedin.com/feed/update/urn:li:share:6844785523593134080/", "Sample text Post", (),
    )  # fmt: skip
    assert PLATFORM.read(event) == NOTHING
    assert not PLATFORM.discovered(replace(event, http_status=403)).posts
