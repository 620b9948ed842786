"""`request_wrong` counts what is ours to fix: what the account or the post causes has outcomes of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.platforms import all_platforms, platform
from services.platforms.base import Outcome
from tests.unit.platforms.golden import RECEIVED_AT as NOW

ALERTS = Path(__file__).parents[3] / "infra" / "prometheus" / "alerts.yml"


def _meta(code: int, message: str, subcode: int | None = None) -> dict[str, Any]:
    error = {"message": f"(#{code}) {message}", "type": "OAuthException", "code": code}
    return {"error": error if subcode is None else {**error, "error_subcode": subcode}}


def _google(code: int, reason: str, status: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": reason, "errors": [{"reason": reason}], "status": status}}


def _x(kind: str, **more: Any) -> dict[str, Any]:
    return {"errors": [{"type": f"https://api.twitter.com/2/problems/{kind}", "title": kind, **more}]}


_NO_SUCH = "Object with ID '{}' does not exist, cannot be loaded due to missing permissions"
_KIND = "The Media Insights API does not support the {} metric for this media product type."
_BAD_ID = "The `ids` query parameter value [abc] does not match ^[0-9]{1,19}$"
OTHERS = [
    # A figure that this connection may not read, or that this kind of post does not have.
    ("x", 200, _x("not-authorized-for-field", field="non_public_metrics.url_link_clicks"), Outcome.METRIC_FORBIDDEN),
    ("x", 200, _x("not-authorized-for-field", field="organic_metrics"), Outcome.METRIC_FORBIDDEN),
    ("x", 403, _x("not-authorized-for-field"), Outcome.METRIC_FORBIDDEN),
    ("instagram", 400, _meta(100, _KIND.format("saved")), Outcome.METRIC_NOT_OFFERED),
    ("instagram", 400, _meta(100, "Incompatible metrics (follows) for this media"), Outcome.METRIC_NOT_OFFERED),
    ("facebook", 400, _meta(100, _KIND.format("post_clicks")), Outcome.METRIC_NOT_OFFERED),
    ("threads", 400, _meta(100, _KIND.format("reposts")), Outcome.METRIC_NOT_OFFERED),
    # An id of the catalog that is none of the platform's.
    ("x", 400, {"errors": [{"message": _BAD_ID}], "type": "x/invalid-request"}, Outcome.TARGET_REFUSED),
    ("bluesky", 400, {"error": "InvalidRequest", "message": "uris/0 must be a valid at-uri"}, Outcome.TARGET_REFUSED),
    (
        "linkedin", 400, {"code": "ILLEGAL_ARGUMENT", "message": "Invalid urn type in shares: urn:li:ugcPost:7"},
        Outcome.TARGET_REFUSED,
    ),
    # A permission, role or plan that the account lacks.
    ("x", 403, _x("client-forbidden"), Outcome.PERMISSION_MISSING),
    ("linkedin", 403, {"code": "ACCESS_DENIED", "serviceErrorCode": 100}, Outcome.PERMISSION_MISSING),
    ("instagram", 400, _meta(10, "Application does not have permission"), Outcome.PERMISSION_MISSING),
    ("facebook", 400, _meta(200, "Permissions error"), Outcome.PERMISSION_MISSING),
    ("facebook", 400, _meta(10, "Object does not exist, cannot be loaded due to missing"), Outcome.TARGET_GONE),
    ("threads", 400, _meta(10, "Application does not have permission"), Outcome.PERMISSION_MISSING),
    ("tiktok", 401, {"error": {"code": "scope_not_authorized"}}, Outcome.PERMISSION_MISSING),
    ("youtube", 403, _google(403, "insufficientPermissions", "PERMISSION_DENIED"), Outcome.PERMISSION_MISSING),
    ("google_business", 403, _google(403, "forbidden", "PERMISSION_DENIED"), Outcome.PERMISSION_MISSING),
    ("pinterest", 403, {"code": 29, "message": "Not permitted"}, Outcome.PERMISSION_MISSING),
    ("bluesky", 403, {"error": "Forbidden", "message": ""}, Outcome.PERMISSION_MISSING),
    ("reddit", 403, {"error": 403, "message": "Forbidden", "reason": "private"}, Outcome.PERMISSION_MISSING),
    # A post that was deleted.
    ("x", 200, _x("resource-not-found"), Outcome.TARGET_GONE),
    ("instagram", 400, _meta(100, _NO_SUCH.format("17"), 33), Outcome.TARGET_GONE),
    ("facebook", 400, _meta(100, _NO_SUCH.format("1_2"), 33), Outcome.TARGET_GONE),
    ("threads", 400, _meta(100, _NO_SUCH.format("18"), 33), Outcome.TARGET_GONE),
    ("pinterest", 404, {"code": 50, "message": "Pin not found."}, Outcome.TARGET_GONE),
    ("youtube", 404, _google(404, "videoNotFound", "NOT_FOUND"), Outcome.TARGET_GONE),
    ("bluesky", 400, {"error": "InvalidRequest", "message": "Post not found"}, Outcome.TARGET_GONE),
]  # fmt: skip
OURS = [
    ("x", 400, {"errors": [{"message": "The `tweet.fields` query parameter value [likes] is not one of [x]"}]}),
    ("linkedin", 426, {"code": "NONEXISTENT_VERSION", "message": "Requested version 20240101 is not active"}),
    ("instagram", 400, _meta(100, "impressions metric is no longer supported")),
    ("facebook", 400, _meta(100, "The value must be a valid insights metric")),
    ("facebook", 400, _meta(100, "Tried accessing nonexisting field (saves)")),
    ("threads", 400, _meta(100, "metric[5] must be one of the following values: views, likes")),
    ("tiktok", 400, {"error": {"code": "invalid_params", "message": "Invalid fields: favorite_count"}}),
    ("youtube", 400, _google(400, "badRequest", "INVALID_ARGUMENT")),
    # A 404 without the platform's own word of a post.
    ("reddit", 404, {"error": 404, "message": "Not Found"}),
    ("bluesky", 400, {"error": "InvalidRequest", "message": "uris must not have more than 25 elements"}),
]


def _outcome(name: str, status: int, body: dict[str, Any]) -> Outcome:
    return platform(name).classify(status, {}, orjson.dumps(body), NOW).outcome


@pytest.mark.parametrize(("name", "status", "body", "outcome"), OTHERS)
def test_what_the_account_or_the_post_causes_is_not_ours(
    name: str, status: int, body: dict[str, Any], outcome: Outcome
) -> None:
    assert _outcome(name, status, body) is outcome


@pytest.mark.parametrize(("name", "status", "body"), OURS)
def test_what_is_wrong_for_everybody_is_ours(name: str, status: int, body: dict[str, Any]) -> None:
    assert _outcome(name, status, body) is Outcome.REQUEST_WRONG


@pytest.mark.parametrize("name", sorted(all_platforms()))
def test_a_post_withheld_by_law_is_not_ours(name: str) -> None:
    assert platform(name).classify(451, {}, b"<html>", NOW).outcome is Outcome.TARGET_REFUSED


def test_a_refused_post_is_named_so_that_the_others_are_asked_again() -> None:
    body = {"errors": [{"message": _BAD_ID}], "type": "x/invalid-request"}
    assert platform("x").classify(400, {}, orjson.dumps(body), NOW).refused_target == "abc"


def test_the_alert_counts_what_is_ours_or_the_platform_s() -> None:
    rule = ALERTS.read_text(encoding="utf-8").partition("alert: TidemarkPlatformFails")[2]
    left_out = re.search(r'outcome!~"([^"]+)"', rule)
    assert left_out is not None
    counted = {outcome for outcome in Outcome if not re.fullmatch(left_out[1], outcome.value)}
    assert counted == {
        Outcome.REQUEST_WRONG, Outcome.PLATFORM_DOWN, Outcome.RETRY_LATER, Outcome.QUOTA_EXHAUSTED,
    }  # fmt: skip


@pytest.mark.parametrize("name", all_platforms())
@pytest.mark.parametrize("status", [404, 410])
def test_a_bare_404_is_nobodys_end(name: str, status: int) -> None:
    """It speaks of the address where the platform answers in JSON, of the host where something else does."""
    page = b"<!doctype html><html></html>"
    for headers in ({"content-type": "text/html"}, {}):
        assert platform(name).classify(status, headers, page, NOW).outcome is Outcome.PLATFORM_DOWN
    bare = platform(name).classify(status, {"content-type": "application/json"}, b"{}", NOW).outcome
    assert bare in (Outcome.REQUEST_WRONG, Outcome.PLATFORM_DOWN)
