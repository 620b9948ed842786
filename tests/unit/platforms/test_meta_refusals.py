"""What Meta's refusals mean, in the words that were recorded of them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from services.platforms import all_platforms, platform
from services.platforms.abilities import Discovers
from services.platforms.base import Channel, Outcome, Target, Verdict
from tests.unit.platforms.golden import RECEIVED_AT as NOW

META = ("facebook", "instagram", "threads")
CHANNEL = Channel("w", "c", "20481632011")
VALID = "impressions, reach, replies, likes, comments, shares, total_interactions, saved, views"


def verdict(name: str, status: int, error: dict[str, Any]) -> Verdict:
    return platform(name).classify(status, {}, orjson.dumps({"error": error}), NOW)


def refused(message: str, name: str = "instagram", code: int = 100, subcode: int | None = None) -> Verdict:
    error = {"message": message, "type": "OAuthException", "code": code}
    return verdict(name, 400, error if subcode is None else {**error, "error_subcode": subcode})


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("facebook", ["20481632011_122160340000000011", "20481632011_122160340000000022", "998877665544332"]),
        ("instagram", ["17896100000000011", "17896100000000022"]),
        ("threads", ["18096100000000011", "18096100000000022"]),
    ],
)
def test_no_call_asks_for_several_ids_at_the_root(name: str, ids: list[str]) -> None:
    calls = platform(name).post_calls(CHANNEL, [Target(f"t{n}", f"p{n}", one) for n, one in enumerate(ids)], NOW)
    assert [call.targets[0].external_id for call in calls] == ids
    assert all(one in call.path for one, call in zip(ids, calls, strict=True))
    assert not any(key == "ids" for call in calls for key, _ in call.query)


def test_several_ids_at_the_root_are_wrong_for_everybody() -> None:
    found = verdict(
        "facebook",
        500,
        {"message": "The ids query parameter is deprecated in v26.0+", "type": "OAuthException", "code": 100},
    )
    assert found.outcome is Outcome.REQUEST_WRONG
    assert found.refused_metric is None


@pytest.mark.parametrize("name", META)
def test_a_metric_that_is_named_by_its_place(name: str) -> None:
    found = refused(f"(#100) metric[3] must be one of the following values: {VALID}", name)
    assert (found.outcome, found.refused_metric, found.refused_position) == (Outcome.REQUEST_WRONG, "", 3)


@pytest.mark.parametrize(
    ("message", "outcome", "metric"),
    [
        (
            "Starting from version v22 and above, the impressions metric is no longer supported for the queried media.",
            Outcome.REQUEST_WRONG, "impressions",
        ),
        ("(#100) The metric plays is not supported any more", Outcome.REQUEST_WRONG, "plays"),
        ("(#100) impressions metric is no longer supported", Outcome.REQUEST_WRONG, "impressions"),
        ("(#100) The metric shares is not supported for this media type", Outcome.METRIC_NOT_OFFERED, "shares"),
        (
            "(#100) The Media Insights API does not support the saved metric for this media product type.",
            Outcome.METRIC_NOT_OFFERED, "saved",
        ),
        ("(#100) Incompatible metrics (follows) for this media", Outcome.METRIC_NOT_OFFERED, "follows"),
        ("Invalid parameter", Outcome.REQUEST_WRONG, ""),
        ("(#100) Invalid parameter", Outcome.REQUEST_WRONG, ""),
        ("(#100) The value must be a valid insights metric", Outcome.REQUEST_WRONG, ""),
        (
            "(#100) The following metrics (views) should be specified with parameter metric_type=total_value",
            Outcome.REQUEST_WRONG, "views",
        ),
        ("(#100) Tried accessing nonexisting field (saves)", Outcome.REQUEST_WRONG, "saves"),
        ("(#100) The parameter ids is required.", Outcome.REQUEST_WRONG, None),
    ],
)  # fmt: skip
def test_recorded_sentences_name_the_metric(message: str, outcome: Outcome, metric: str | None) -> None:
    found = refused(message)
    assert (found.outcome, found.refused_metric, found.refused_position) == (outcome, metric, None)


@pytest.mark.parametrize("edge", ["insights", "video_insights"])
def test_an_edge_that_a_node_lacks_is_no_metric(edge: str) -> None:
    found = refused(f"(#100) Tried accessing nonexisting field ({edge}) on node type (Video)", "facebook")
    assert (found.outcome, found.refused_metric) == (Outcome.REQUEST_WRONG, None)


def test_a_total_in_a_batch_is_a_metric_without_a_name() -> None:
    assert refused("Unsupported in a batch", subcode=2207086).refused_metric == ""


@pytest.mark.parametrize("name", META)
@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (500, 1, "Please reduce the amount of data you're asking for, then retry your request"),
        (500, 2, "Your request timed out. Please try again with less data."),
        (408, 960, "Request aborted. This could happen if a dependent request failed or the entire request timed out."),
    ],
)
def test_a_request_that_is_too_large_is_no_outage(name: str, status: int, code: int, message: str) -> None:
    assert verdict(name, status, {"code": code, "message": message}).outcome is Outcome.TOO_MUCH


def test_other_words_of_the_same_code_are_an_outage() -> None:
    error = {"code": 1, "message": "An unknown error has occurred.", "type": "OAuthException"}
    assert verdict("threads", 500, error).outcome is Outcome.PLATFORM_DOWN


@pytest.mark.parametrize(
    ("message", "outcome", "reason"),
    [
        (
            "(#10) Object does not exist, cannot be loaded due to missing permission or reviewable feature, or does "
            "not support this operation", Outcome.TARGET_GONE, None,
        ),
        (
            "(#10) Object does not exist, cannot be loaded due to missing permission or reviewable feature, or does "
            "not support this operation. This endpoint requires the 'pages_read_engagement' permission",
            Outcome.PERMISSION_MISSING, "pages_read_engagement",
        ),
        (
            "(#10) This endpoint requires the 'pages_read_user_content' permission",
            Outcome.METRIC_FORBIDDEN, "pages_read_user_content",
        ),
        ("(#10) Not enough viewers for the media to show insights", Outcome.TOO_EARLY, None),
        ("(#10) Application does not have permission for this action", Outcome.PERMISSION_MISSING, None),
        (
            "API calls from the server require an appsecret_proof argument",
            Outcome.PERMISSION_MISSING, "appsecret_proof",
        ),
    ],
)  # fmt: skip
def test_code_10_has_several_meanings(message: str, outcome: Outcome, reason: str | None) -> None:
    found = refused(message, "facebook", 10)
    assert (found.outcome, found.reason) == (outcome, reason)


def test_a_user_token_where_a_page_token_is_needed_says_so() -> None:
    found = refused("Invalid OAuth 2.0 Access Token", "facebook", 190, 2069032)
    assert (found.outcome, found.reason) == (Outcome.TOKEN_EXPIRED, "user_token")
    assert "user token" in found.detail
    assert refused("Session has expired", "facebook", 190, 463).reason is None


@pytest.mark.parametrize("name", META)
def test_each_call_has_a_shape_and_posts_can_be_found(name: str) -> None:
    of = all_platforms()[name]
    assert isinstance(of, Discovers)
    calls = [
        *of.post_calls(CHANNEL, [Target("t", "p", "1_1"), Target("u", "p", "1")], NOW),
        *of.channel_calls(CHANNEL, NOW),
        of.identity_call(CHANNEL),
    ]
    listing = of.discovery_call(CHANNEL, NOW)
    assert listing is not None
    calls.append(listing)
    assert all(call.shape for call in calls)
    assert {call.shape.partition("/")[0] for call in calls} == {"posts", "channel", "identity", "discovery"}


@pytest.mark.parametrize(
    "message",
    [
        "(#100) The metric saved has been deprecated",
        "(#100) metrics saved, follows are no longer supported",
        "(#100) This metric is deprecated: saved",
        "(#100) Unsupported metric: saved",
    ],
)
def test_a_wording_that_nobody_recorded_refuses_a_metric_all_the_same(message: str) -> None:
    """Which one is found by what was asked: a word that is no name is not believed, see `decide.refused_metrics`."""
    body = orjson.dumps({"error": {"message": message, "type": "OAuthException", "code": 100}})
    for name in ("facebook", "instagram", "threads"):
        verdict = platform(name).classify(400, {}, body, 0)
        assert verdict.outcome in (Outcome.REQUEST_WRONG, Outcome.METRIC_NOT_OFFERED)
        assert verdict.refused_metric is not None


def test_a_place_counts_in_any_wording() -> None:
    error = {"message": "(#100) metric[3] is not a valid value", "type": "OAuthException", "code": 100}
    verdict = platform("instagram").classify(400, {}, orjson.dumps({"error": error}), 0)
    assert (verdict.outcome, verdict.refused_position) == (Outcome.REQUEST_WRONG, 3)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (283, "(#283) Requires pages_read_user_content permission to manage the object"),
        (200, "(#200) Requires either pages_read_user_content permission or an advanced access"),
        (10, "(#10) This needs 'pages_read_engagement' or 'pages_read_user_content' permission"),
    ],
)
def test_the_scope_of_two_fields_costs_those_fields_alone_in_any_wording(code: int, message: str) -> None:
    error = {"message": message, "type": "OAuthException", "code": code}
    verdict = platform("facebook").classify(403, {}, orjson.dumps({"error": error}), 0)
    assert (verdict.outcome, verdict.reason) == (Outcome.METRIC_FORBIDDEN, "pages_read_user_content")


def test_an_application_s_limit_waits() -> None:
    error = {"message": "Application limit reached", "type": "OAuthException", "code": 341}
    verdict = platform("facebook").classify(403, {}, orjson.dumps({"error": error}), 0)
    assert (verdict.outcome, verdict.is_app_wide) == (Outcome.RETRY_LATER, True)
