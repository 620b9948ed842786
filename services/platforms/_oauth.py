"""Refreshing tokens, as several platforms do it: OAuth 2 requests, Meta's renewals, and their answers. No platform.

Documentation: RFC 6749, sections 5.2 and 6; Meta "Refresh a long-lived token"; read 2026-11-20.

Uncertain, and how it is read here:
- X and LinkedIn call a refresh token that is used up or ended `invalid_request`, with a description that speaks of the
  token; another `invalid_request` is a mistake of ours.
- A failure of a token endpoint's own form that names nothing known is taken for the token's, except where the app signs
  with HTTP Basic and 401 means that the app was refused. Whatever has no such form (a page in HTML, an empty body, JSON
  of something else) speaks of the host: a proxy's or a firewall's 401 must not end a connection.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

from services.platforms import abilities, base, http_reading, json_reading

# Meta renews a token that is at least a day old and not yet ended: so a week before its end.
RENEW_AHEAD_SECONDS = 7 * 86_400.0
_LONGEST_LIFE_SECONDS = 10 * 366 * 86_400

_OUTCOME_OF_ERROR = {
    "invalid_grant": base.Outcome.TOKEN_REVOKED,
    "invalid_token": base.Outcome.TOKEN_REVOKED,
    "access_denied": base.Outcome.TOKEN_REVOKED,
    "expired_token": base.Outcome.TOKEN_EXPIRED,
    "invalid_client": base.Outcome.REQUEST_WRONG,
    "unauthorized_client": base.Outcome.REQUEST_WRONG,
    "unsupported_grant_type": base.Outcome.REQUEST_WRONG,
    "invalid_scope": base.Outcome.REQUEST_WRONG,
    "invalid_request": base.Outcome.REQUEST_WRONG,
    "rate_limit_exceeded": base.Outcome.RETRY_LATER,
    "slow_down": base.Outcome.RETRY_LATER,
    "temporarily_unavailable": base.Outcome.PLATFORM_DOWN,
    "server_error": base.Outcome.PLATFORM_DOWN,
    "internal_error": base.Outcome.PLATFORM_DOWN,
    "internal_failure": base.Outcome.PLATFORM_DOWN,
}
_OUTCOME_OF_STATUS = {408: base.Outcome.PLATFORM_DOWN, 425: base.Outcome.PLATFORM_DOWN, 429: base.Outcome.RETRY_LATER}
# A code is shown in logs, so nothing that could be a token may pass for one.
_CODE = re.compile(r"[A-Za-z_]{1,40}")


def oauth_call(
    path: str,
    tokens: abilities.HeldTokens,
    client: abilities.AppClient,
    *,
    base_url: str | None = None,
    id_name: str = "client_id",
    basic: bool = False,
    ahead_seconds: float = 300.0,
) -> abilities.RefreshCall | None:
    """OAuth 2's `grant_type=refresh_token`; None without a refresh token.

    Args:
        id_name: what the platform calls the app's id.
        basic: the app signs with HTTP Basic instead of form fields.
    """
    if not tokens.refresh_token:
        return None
    form = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh_token)]
    headers: dict[str, str] = {}
    if basic and client.client_id is not None:
        signed = b64encode(f"{client.client_id}:{client.client_secret or ''}".encode()).decode()
        headers["authorization"] = f"Basic {signed}"
    elif not basic:
        app = ((id_name, client.client_id), ("client_secret", client.client_secret))
        form += [(name, value) for name, value in app if value is not None]
    return abilities.RefreshCall("POST", path, (), tuple(form), headers, base_url, ahead_seconds)


def renewal_call(grant_type: str, tokens: abilities.HeldTokens, base_url: str) -> abilities.RefreshCall | None:
    """Meta's renewal of a long-lived token, which is its own refresh token; None without one."""
    if not tokens.access_token:
        return None
    query = (("grant_type", grant_type), ("access_token", tokens.access_token))
    path = "/refresh_access_token"
    return abilities.RefreshCall("GET", path, query, base_url=base_url, ahead_seconds=RENEW_AHEAD_SECONDS)


def read_oauth(
    status: int, headers: Mapping[str, str], body: bytes, *, unauthorized: base.Outcome = base.Outcome.TOKEN_EXPIRED
) -> abilities.TokenGrant | abilities.RefreshFailure:
    """Reads an answer of an OAuth 2 token endpoint; a failure may come with status 200.

    Args:
        unauthorized: what 401 means when the body names nothing known.
    """
    answer = json_reading.try_json_object(body)
    granted = _grant(answer) if 200 <= status < 300 else None
    if granted is not None:
        return granted
    error = answer.get("error")
    code = error if isinstance(error, str) and _CODE.fullmatch(error) else ""
    detail = f"{status} {code}".strip()
    outcome = _OUTCOME_OF_ERROR.get(code)
    if code == "invalid_request" and "token" in json_reading.text(answer.get("error_description", "")).lower():
        outcome = base.Outcome.TOKEN_REVOKED
    if outcome is None and not _is_own(answer, status):
        outcome = _OUTCOME_OF_STATUS.get(status, base.Outcome.PLATFORM_DOWN)
    if outcome is None:
        outcome = unauthorized if status == 401 else _by_status(status)
    return abilities.RefreshFailure(outcome, _wait(outcome, headers), detail)


def _is_own(answer: Mapping[str, Any], status: int) -> bool:
    """Whether an unknown failure has a form of token endpoints: OAuth's, or that of an API's own numbered errors."""
    error = answer.get("error")
    if isinstance(error, dict):
        return isinstance(error.get("code"), str)
    if isinstance(error, str):
        return "error_description" in answer
    if type(error) is int and error == status:
        return True
    return "message" in answer and any(
        type(number) is int for number in (error, answer.get("code"), answer.get("status"))
    )


def read_renewal(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    classify: Callable[[int, Mapping[str, str], bytes, int], base.Verdict],
) -> abilities.TokenGrant | abilities.RefreshFailure:
    """Reads an answer of Meta's renewal; it fails as any other call does."""
    granted = _grant(json_reading.try_json_object(body)) if 200 <= status < 300 else None
    if granted is not None:
        return granted
    verdict = classify(status, headers, body, 0)
    outcome = base.Outcome.PLATFORM_DOWN if verdict.outcome is base.Outcome.OK else verdict.outcome
    return abilities.RefreshFailure(outcome, verdict.retry_after_seconds, str(status))


def _grant(answer: Mapping[str, Any]) -> abilities.TokenGrant | None:
    access_token, refresh_token = answer.get("access_token"), answer.get("refresh_token")
    if not isinstance(access_token, str) or not access_token:
        return None
    return abilities.TokenGrant(
        access_token,
        refresh_token if isinstance(refresh_token, str) and refresh_token else None,
        life_seconds(answer.get("expires_in")),
    )


def life_seconds(value: Any) -> float | None:
    """A token's life in seconds as a platform sent it; None when it is no span of time."""
    if type(value) is str:
        value = http_reading.seconds_of(value)
    if type(value) not in (int, float) or not 0 < value <= _LONGEST_LIFE_SECONDS:
        return None
    return float(value)


def _by_status(status: int) -> base.Outcome:
    if 400 <= status < 500:
        return _OUTCOME_OF_STATUS.get(
            status, base.Outcome.TOKEN_EXPIRED if status in (400, 401, 403) else base.Outcome.REQUEST_WRONG
        )
    return base.Outcome.PLATFORM_DOWN


def _wait(outcome: base.Outcome, headers: Mapping[str, str]) -> float | None:
    return (
        http_reading.retry_after(headers) if outcome in (base.Outcome.RETRY_LATER, base.Outcome.PLATFORM_DOWN) else None
    )
