"""What platforms share of refreshing tokens: OAuth 2 requests, Meta's renewals, and reading what comes. No platform.

Documentation: RFC 6749, sections 5.2 and 6; Meta "Refresh a long-lived token"; read 2026-11-20.

Uncertain, and how it is read here:
- X and LinkedIn call a refresh token that is used up or ended `invalid_request`, with a description that speaks of the
  token; another `invalid_request` is a mistake of ours.
- A failure that names nothing known is taken for the token's, except where the app signs with HTTP Basic and 401
  means that the app was refused.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

from services.platforms.base import (
    AppClient,
    HeldTokens,
    Outcome,
    RefreshCall,
    RefreshFailure,
    TokenGrant,
    Verdict,
    retry_after,
    seconds_of,
    text,
    try_json_object,
)

# Meta renews a token that is at least a day old and not yet ended: so a week before its end.
RENEW_AHEAD_SECONDS = 7 * 86_400.0
_LONGEST_LIFE_SECONDS = 10 * 366 * 86_400

_OUTCOME_OF_ERROR = {
    "invalid_grant": Outcome.TOKEN_REVOKED,
    "invalid_token": Outcome.TOKEN_REVOKED,
    "access_denied": Outcome.TOKEN_REVOKED,
    "expired_token": Outcome.TOKEN_EXPIRED,
    "invalid_client": Outcome.REQUEST_WRONG,
    "unauthorized_client": Outcome.REQUEST_WRONG,
    "unsupported_grant_type": Outcome.REQUEST_WRONG,
    "invalid_scope": Outcome.REQUEST_WRONG,
    "invalid_request": Outcome.REQUEST_WRONG,
    "rate_limit_exceeded": Outcome.RETRY_LATER,
    "slow_down": Outcome.RETRY_LATER,
    "temporarily_unavailable": Outcome.PLATFORM_DOWN,
    "server_error": Outcome.PLATFORM_DOWN,
    "internal_error": Outcome.PLATFORM_DOWN,
    "internal_failure": Outcome.PLATFORM_DOWN,
}
_OUTCOME_OF_STATUS = {408: Outcome.PLATFORM_DOWN, 425: Outcome.PLATFORM_DOWN, 429: Outcome.RETRY_LATER}
# A code is shown in logs, so nothing that could be a token may pass for one.
_CODE = re.compile(r"[A-Za-z_]{1,40}")


def oauth_call(
    path: str,
    tokens: HeldTokens,
    client: AppClient,
    *,
    base_url: str | None = None,
    id_name: str = "client_id",
    basic: bool = False,
    ahead_seconds: float = 300.0,
) -> RefreshCall | None:
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
    return RefreshCall("POST", path, (), tuple(form), headers, base_url, ahead_seconds)


def renewal_call(grant_type: str, tokens: HeldTokens, base_url: str) -> RefreshCall | None:
    """Meta's renewal of a long-lived token, which is its own refresh token; None without one."""
    if not tokens.access_token:
        return None
    query = (("grant_type", grant_type), ("access_token", tokens.access_token))
    path = "/refresh_access_token"
    return RefreshCall("GET", path, query, base_url=base_url, ahead_seconds=RENEW_AHEAD_SECONDS)


def read_oauth(
    status: int, headers: Mapping[str, str], body: bytes, *, unauthorized: Outcome = Outcome.TOKEN_EXPIRED
) -> TokenGrant | RefreshFailure:
    """What an OAuth 2 token endpoint answered; a failure may come with status 200.

    Args:
        unauthorized: what 401 means when the body names nothing known.
    """
    answer = try_json_object(body)
    granted = _grant(answer) if 200 <= status < 300 else None
    if granted is not None:
        return granted
    error = answer.get("error")
    code = error if isinstance(error, str) and _CODE.fullmatch(error) else ""
    detail = f"{status} {code}".strip()
    outcome = _OUTCOME_OF_ERROR.get(code)
    if code == "invalid_request" and "token" in text(answer.get("error_description", "")).lower():
        outcome = Outcome.TOKEN_REVOKED
    if outcome is None:
        outcome = unauthorized if status == 401 else _by_status(status)
    return RefreshFailure(outcome, _wait(outcome, headers), detail)


def read_renewal(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    classify: Callable[[int, Mapping[str, str], bytes, int], Verdict],
) -> TokenGrant | RefreshFailure:
    """What Meta's renewal answered; its failures are those of any other call."""
    granted = _grant(try_json_object(body)) if 200 <= status < 300 else None
    if granted is not None:
        return granted
    verdict = classify(status, headers, body, 0)
    outcome = Outcome.PLATFORM_DOWN if verdict.outcome is Outcome.OK else verdict.outcome
    return RefreshFailure(outcome, verdict.retry_after_seconds, str(status))


def _grant(answer: Mapping[str, Any]) -> TokenGrant | None:
    access_token, refresh_token = answer.get("access_token"), answer.get("refresh_token")
    if not isinstance(access_token, str) or not access_token:
        return None
    return TokenGrant(
        access_token,
        refresh_token if isinstance(refresh_token, str) and refresh_token else None,
        life_seconds(answer.get("expires_in")),
    )


def life_seconds(value: Any) -> float | None:
    """A token's life as a platform said it; None when it is no span of time."""
    if type(value) is str:
        value = seconds_of(value)
    if type(value) not in (int, float) or not 0 < value <= _LONGEST_LIFE_SECONDS:
        return None
    return float(value)


def _by_status(status: int) -> Outcome:
    if 400 <= status < 500:
        return _OUTCOME_OF_STATUS.get(
            status, Outcome.TOKEN_EXPIRED if status in (400, 401, 403) else Outcome.REQUEST_WRONG
        )
    return Outcome.PLATFORM_DOWN


def _wait(outcome: Outcome, headers: Mapping[str, str]) -> float | None:
    return retry_after(headers) if outcome in (Outcome.RETRY_LATER, Outcome.PLATFORM_DOWN) else None
