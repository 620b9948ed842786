"""What stands in a platform's place is not taken for the platform: pages of proxies, empty bodies, JSON of other APIs.

A token is refused, and a permission missing, only in the platform's own words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import orjson
import pytest

from services.platforms import all_platforms, platform
from services.platforms.abilities import ExchangesTokens, Refreshable, RefreshFailure
from services.platforms.base import Outcome
from tests.unit.platforms import golden

NAMES = sorted(all_platforms())
NOW = golden.RECEIVED_AT
PAGE = b"<!DOCTYPE html>\n<html><head><title>Access denied</title></head><body>Sign in to the network</body></html>"
FOREIGN = {
    "page": PAGE,
    "empty": b"",
    "blank": b" \r\n",
    "text": b"Unauthorized",
    "no JSON": b'{"error": ',
    "list": b"[]",
    "null": b"null",
    "empty object": b"{}",
    "gateway": b'{"message": "Unauthorized"}',
    "gateway in capitals": b'{"Message": "User is not authorized to access this resource with an explicit deny"}',
    "framework": b'{"detail": "Authentication credentials were not provided."}',
    "one word": b'{"error": "Unauthorized"}',
    "words": b'{"error": "request_denied", "request_id": "7"}',
    "rpc": b'{"jsonrpc": "2.0", "error": {"code": -32001, "message": "Unauthorized"}, "id": null}',
    "status alone": b'{"status": 403}',
    "proxy": b'{"error": {"code": 403, "message": "blocked by policy"}}',
    "firewall": b'{"success": false, "errors": [{"reason": "blocked"}], "incident_id": "7-1"}',
}
# Whose errors have the same form.
FAMILIES = (
    {"facebook", "instagram", "threads"},
    {"youtube", "google_business"},
)
# What says more about a token than its body: the platform's own challenge.
CHALLENGES = {
    "reddit": 'Bearer realm="reddit", error="invalid_token"',
    "youtube": 'Bearer realm="https://accounts.google.com/", error="invalid_token"',
    "google_business": 'Bearer realm="https://accounts.google.com/", error="invalid_token"',
    "facebook": 'OAuth "Facebook Platform" "invalid_token" "Invalid OAuth access token."',
    "instagram": 'OAuth "Facebook Platform" "invalid_token" "Invalid OAuth access token."',
    "threads": 'OAuth "Facebook Platform" "invalid_token" "Invalid OAuth access token."',
}
OF_ACCOUNTS = (Outcome.TOKEN_EXPIRED, Outcome.TOKEN_REVOKED, Outcome.ACCOUNT_DISABLED, Outcome.PERMISSION_MISSING)


def _family(name: str) -> set[str]:
    return next((family for family in FAMILIES if name in family), {name})


def _foreign_of(name: str) -> Iterator[tuple[str, bytes]]:
    """Bodies that are none of a platform's: of nobody, and every other platform's own refusals."""
    yield from FOREIGN.items()
    for other, case in golden.cases():
        answer = golden.response(other, case)
        if other in all_platforms() and other not in _family(name) and answer["http_status"] in (401, 403):
            yield f"{other} {case}", golden.body_of(answer)


def _outcome(name: str, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Outcome:
    return platform(name).classify(status, headers or {}, body, NOW).outcome


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("status", [401, 403, 407])
def test_what_is_not_the_platforms_refuses_no_token(name: str, status: int) -> None:
    for headers in ({}, {"content-type": "application/json"}, {"www-authenticate": 'Basic realm="proxy"'}):
        told = {kind: _outcome(name, status, body, headers) for kind, body in _foreign_of(name)}
        assert {kind: outcome for kind, outcome in told.items() if outcome in OF_ACCOUNTS} == {}
        assert {told[kind] for kind in FOREIGN} == {Outcome.PLATFORM_DOWN}


@pytest.mark.parametrize("name", NAMES)
def test_the_platforms_own_words_do(name: str) -> None:
    told = set()
    for case in (case for of, case in golden.cases() if of == name):
        answer = golden.response(name, case)
        if answer["http_status"] in (401, 403):
            told.add(_outcome(name, answer["http_status"], golden.body_of(answer), answer["headers"]))
    assert told & set(OF_ACCOUNTS)


@pytest.mark.parametrize("name", sorted(CHALLENGES))
def test_a_challenge_of_the_platforms_own_refuses_the_token(name: str) -> None:
    for body in (b"", PAGE):
        assert _outcome(name, 401, body, {"www-authenticate": CHALLENGES[name]}) is Outcome.TOKEN_EXPIRED
        assert _outcome(name, 403, body, {"www-authenticate": CHALLENGES[name]}) is Outcome.PLATFORM_DOWN


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["page", "empty", "gateway"])
def test_too_many_requests_mean_a_short_wait_whoever_says_so(name: str, kind: str) -> None:
    verdict = platform(name).classify(429, {}, FOREIGN[kind], NOW)
    assert (verdict.outcome, verdict.retry_after_seconds) == (Outcome.RETRY_LATER, None)
    assert not verdict.is_app_wide


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["page", "empty", "blank", "text", "no JSON", "null"])
@pytest.mark.parametrize("status", [200, 203, 204, 302, 511])
def test_a_page_in_place_of_an_answer_is_none(name: str, kind: str, status: int) -> None:
    assert _outcome(name, status, FOREIGN[kind]) is Outcome.PLATFORM_DOWN


@pytest.mark.parametrize("name", NAMES)
def test_no_page_ends_a_connection(name: str) -> None:
    known = platform(name)
    for status in (400, 401, 403, 404, 407):
        for body in FOREIGN.values():
            found = []
            if isinstance(known, Refreshable):
                found.append(known.read_refresh(status, {}, body))
            if isinstance(known, ExchangesTokens):
                found.append(known.read_exchange(status, {}, body))
            for failure in found:
                assert isinstance(failure, RefreshFailure)
                assert not failure.is_final, (status, body, failure)


@pytest.mark.parametrize("name", NAMES)
def test_errors_in_place_of_an_answer_are_read_where_they_are_the_platforms(name: str) -> None:
    """With status 200 only the platform's own errors mean what they say."""
    for kind, body in FOREIGN.items():
        assert _outcome(name, 200, orjson.dumps(orjson.loads(body)) if _is_json(body) else body) not in OF_ACCOUNTS, (
            kind
        )


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True
