"""How platforms' tokens are refreshed: what is asked, and what an answer means."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.metrics import PLATFORMS
from services.platforms import all_platforms, platform
from services.platforms.abilities import AppClient, Refreshable, RefreshCall, RefreshFailure, TokenGrant
from services.platforms.base import Outcome
from services.runtime.secrets import TokenPair
from tests.support import properties

CLIENT = AppClient("app-id", "app-secret")
PAIR = TokenPair("old-access", "old-refresh")
FORM = {"grant_type": "refresh_token", "refresh_token": "old-refresh"}
SIGNED = {"client_id": "app-id", "client_secret": "app-secret"}
BASIC = {"authorization": "Basic " + b64encode(b"app-id:app-secret").decode()}

# Method, where, form or query, headers. Facebook's page tokens have no end, and so no refresh.
ASKED: dict[str, tuple[str, str, dict[str, str], dict[str, str]]] = {
    "x": ("POST", "https://api.x.com/2/oauth2/token", FORM, BASIC),
    "linkedin": ("POST", "https://www.linkedin.com/oauth/v2/accessToken", {**FORM, **SIGNED}, {}),
    "instagram": (
        "GET",
        "https://graph.instagram.com/refresh_access_token",
        {"grant_type": "ig_refresh_token", "access_token": "old-access"},
        {},
    ),
    "threads": (
        "GET",
        "https://graph.threads.net/refresh_access_token",
        {"grant_type": "th_refresh_token", "access_token": "old-access"},
        {},
    ),
    "tiktok": (
        "POST",
        "https://open.tiktokapis.com/v2/oauth/token/",
        {**FORM, "client_key": "app-id", "client_secret": "app-secret"},
        {},
    ),
    "bluesky": (
        "POST",
        "https://bsky.social/xrpc/com.atproto.server.refreshSession",
        {},
        {"authorization": "Bearer old-refresh"},
    ),
    "youtube": ("POST", "https://oauth2.googleapis.com/token", {**FORM, **SIGNED}, {}),
    "google_business": ("POST", "https://oauth2.googleapis.com/token", {**FORM, **SIGNED}, {}),
    "pinterest": ("POST", "https://api.pinterest.com/v5/oauth/token", FORM, BASIC),
    "reddit": ("POST", "https://www.reddit.com/api/v1/access_token", FORM, BASIC),
}
NAMES = sorted(ASKED)


def subject(name: str) -> Refreshable:
    found = platform(name)
    assert isinstance(found, Refreshable)
    return found


def call_of(name: str, pair: TokenPair = PAIR, client: AppClient = CLIENT) -> RefreshCall:
    call = subject(name).refresh_call(pair, client)
    assert call is not None
    return call


def read(name: str, status: int, body: Any, **headers: str) -> TokenGrant | RefreshFailure:
    named = {key.replace("_", "-"): text for key, text in headers.items()}
    return subject(name).read_refresh(status, named, body if isinstance(body, bytes) else orjson.dumps(body))


def granted(name: str) -> dict[str, Any]:
    """What a platform answers when all is well."""
    if name == "bluesky":
        return {"accessJwt": "new-access", "refreshJwt": "new-refresh", "did": "did:plc:x", "handle": "h"}
    body: dict[str, Any] = {"access_token": "new-access", "token_type": "bearer", "expires_in": 7200}
    if name not in ("youtube", "google_business", "instagram", "threads"):
        body["refresh_token"] = "new-refresh"
    return body


def test_all_but_pages_are_refreshed() -> None:
    refreshable = {name for name, found in all_platforms().items() if isinstance(found, Refreshable)}
    assert set(PLATFORMS) & refreshable == set(NAMES) == set(PLATFORMS) - {"facebook"}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_asked(name: str) -> None:
    call = call_of(name)
    method, url, fields, headers = ASKED[name]
    assert (call.method, (call.base_url or platform(name).facts.base_url) + call.path) == (method, url)
    assert {**dict(call.query), **dict(call.form)} == fields
    assert call.headers == headers
    assert not (call.query and call.form)


@pytest.mark.parametrize("name", NAMES)
def test_secrets_are_never_shown(name: str) -> None:
    shown = repr(call_of(name)) + repr(CLIENT) + repr(read(name, 200, granted(name)))
    for secret in ("old-access", "old-refresh", "app-secret", "new-access", "new-refresh", BASIC["authorization"]):
        assert secret not in shown


@pytest.mark.parametrize("name", NAMES)
def test_without_the_token_that_it_takes_there_is_no_refresh(name: str) -> None:
    renews_itself = name in ("instagram", "threads")
    lacking = TokenPair(None, "r") if renews_itself else TokenPair("a", None)
    assert subject(name).refresh_call(lacking, CLIENT) is None
    assert subject(name).refresh_call(TokenPair(), CLIENT) is None


@pytest.mark.parametrize("name", NAMES)
def test_an_app_that_is_not_configured_is_left_out(name: str) -> None:
    call = call_of(name, client=AppClient())
    assert "None" not in str(call.form) + str(dict(call.headers))
    assert not {"client_id", "client_key", "client_secret"} & set(dict(call.form))


def test_a_public_app_of_x_names_itself() -> None:
    call = call_of("x", client=AppClient("app-id"))
    assert dict(call.form) == {**FORM, "client_id": "app-id"}
    assert not call.headers


def test_a_token_of_facebook_login_is_not_renewed_by_its_holder() -> None:
    assert subject("instagram").refresh_call(TokenPair("EAAabc"), CLIENT) is None


def test_tokens_that_cant_be_renewed_late_are_renewed_early() -> None:
    assert {name for name in NAMES if call_of(name).ahead_seconds >= 5 * 86_400} == {"instagram", "threads"}


@pytest.mark.parametrize("name", NAMES)
def test_a_grant(name: str) -> None:
    found = read(name, 200, granted(name))
    assert isinstance(found, TokenGrant)
    assert found.access_token == "new-access"
    kept = name in ("youtube", "google_business", "instagram", "threads")
    assert found.refresh_token == (None if kept else "new-refresh")
    assert found.expires_in_seconds == (None if name == "bluesky" else 7200)


def test_a_session_says_its_end_in_its_token() -> None:
    def part(claims: object) -> str:
        return urlsafe_b64encode(orjson.dumps(claims)).decode().rstrip("=")

    token = f"{part({'alg': 'ES256K'})}.{part({'iat': 1_795_000_000, 'exp': 1_795_007_200})}.signature"
    found = read("bluesky", 200, {"accessJwt": token, "refreshJwt": "r"})
    assert isinstance(found, TokenGrant)
    assert found.expires_in_seconds == 7200


META_ENDED = {"error": {"message": "Session has expired", "type": "OAuthException", "code": 190, "error_subcode": 463}}
X_ENDED = {"error": "invalid_request", "error_description": "Value passed for the token was invalid."}


@pytest.mark.parametrize(
    ("name", "status", "body", "outcome"),
    [
        ("x", 400, X_ENDED, Outcome.TOKEN_REVOKED),
        ("x", 400, {"error": "invalid_request", "error_description": "Missing grant type"}, Outcome.REQUEST_WRONG),
        ("x", 401, {"error": "unauthorized_client"}, Outcome.REQUEST_WRONG),
        ("youtube", 400, {"error": "invalid_grant"}, Outcome.TOKEN_REVOKED),
        ("google_business", 401, {"error": "invalid_client"}, Outcome.REQUEST_WRONG),
        ("tiktok", 200, {"error": "invalid_grant", "error_description": "ended"}, Outcome.TOKEN_REVOKED),
        ("pinterest", 400, {"code": 283, "message": "Invalid request body"}, Outcome.TOKEN_EXPIRED),
        ("pinterest", 401, {"code": 2, "message": "Authentication failed."}, Outcome.REQUEST_WRONG),
        ("reddit", 400, {"message": "Bad Request", "error": 400}, Outcome.TOKEN_EXPIRED),
        # As prawcore recorded it.
        ("reddit", 400, {"error": 400}, Outcome.TOKEN_EXPIRED),
        ("reddit", 401, {"message": "Unauthorized", "error": 401}, Outcome.REQUEST_WRONG),
        ("instagram", 400, META_ENDED, Outcome.TOKEN_EXPIRED),
        ("threads", 400, META_ENDED, Outcome.TOKEN_EXPIRED),
        ("bluesky", 400, {"error": "ExpiredToken", "message": "Token has expired"}, Outcome.TOKEN_EXPIRED),
        ("bluesky", 400, {"error": "ExpiredToken", "message": "Token has been revoked"}, Outcome.TOKEN_REVOKED),
        ("bluesky", 401, {"error": "AccountTakedown", "message": "taken down"}, Outcome.ACCOUNT_DISABLED),
    ],
)
def test_failures(name: str, status: int, body: Any, outcome: Outcome) -> None:
    found = read(name, status, body)
    assert isinstance(found, RefreshFailure)
    assert found.outcome is outcome
    final = (Outcome.TOKEN_EXPIRED, Outcome.TOKEN_REVOKED, Outcome.ACCOUNT_DISABLED)
    assert found.is_final == (outcome in final)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"[]", b'{"access_token": ""}', b'{"access_token": 7}'])
def test_answers_that_name_nothing(name: str, body: bytes) -> None:
    for status, expected in ((200, Outcome.PLATFORM_DOWN), (503, Outcome.PLATFORM_DOWN), (429, Outcome.RETRY_LATER)):
        found = read(name, status, body, retry_after="7")
        assert isinstance(found, RefreshFailure)
        assert found.outcome is expected
        assert not found.is_final


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=properties.of(60), deadline=None)
@given(
    status=st.sampled_from([200, 302, 400, 401, 403, 404, 429, 500]),
    body=st.dictionaries(
        st.sampled_from(
            ["access_token", "refresh_token", "expires_in", "error", "error_description", "accessJwt", "refreshJwt"]
        ),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just({"code": 190}),
    ).map(lambda found: orjson.dumps(found, option=orjson.OPT_PASSTHROUGH_SUBCLASS) if _fits(found) else b"{")
    | st.binary(max_size=20),
)
def test_any_answer_is_a_grant_or_a_failure(name: str, status: int, body: bytes) -> None:
    found = subject(name).read_refresh(status, {}, body)
    if isinstance(found, TokenGrant):
        assert 200 <= status < 300
        assert found.access_token
        assert found.expires_in_seconds is None or found.expires_in_seconds > 0
    else:
        assert found.outcome is not Outcome.OK


def _fits(found: dict[str, Any]) -> bool:
    return all(not isinstance(value, int) or abs(value) < 2**63 for value in found.values())
