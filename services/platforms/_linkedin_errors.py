"""What LinkedIn's failures mean. No platform of its own.

Documentation: Microsoft Learn "API error handling", "Rate limits", "Versioning"; read 2026-11-30.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from services.platforms import base, http_reading, json_reading
from services.platforms._linkedin_channel import DAY
from services.platforms._linkedin_urns import POST_URN

_OUTCOME_OF_CODE = {
    "EXPIRED_ACCESS_TOKEN": base.Outcome.TOKEN_EXPIRED,
    "INVALID_ACCESS_TOKEN": base.Outcome.TOKEN_EXPIRED,
    "EMPTY_ACCESS_TOKEN": base.Outcome.TOKEN_EXPIRED,
    "REVOKED_ACCESS_TOKEN": base.Outcome.TOKEN_REVOKED,
    "ACCESS_DENIED": base.Outcome.PERMISSION_MISSING,
    "NONEXISTENT_VERSION": base.Outcome.REQUEST_WRONG,
    "VERSION_MISSING": base.Outcome.REQUEST_WRONG,
    "NOT_FOUND": base.Outcome.TARGET_GONE,
    "RESOURCE_NOT_FOUND": base.Outcome.REQUEST_WRONG,
    "ILLEGAL_ARGUMENT": base.Outcome.REQUEST_WRONG,
    "TOO_MANY_REQUESTS": base.Outcome.RETRY_LATER,
}
_OUTCOME_OF_SERVICE_CODE = {
    65600: base.Outcome.TOKEN_EXPIRED,
    65601: base.Outcome.TOKEN_REVOKED,
    65602: base.Outcome.TOKEN_EXPIRED,
    100: base.Outcome.PERMISSION_MISSING,
    101: base.Outcome.RETRY_LATER,
}
_FOREIGN = re.compile(r"processing fields \[/?(?:shares|ugcPosts|entity|ids)\b")


_WAITING = frozenset({base.Outcome.RETRY_LATER, base.Outcome.PLATFORM_DOWN, base.Outcome.QUOTA_EXHAUSTED})


def classify(status: int, headers: Mapping[str, str], body: bytes, now: int) -> base.Verdict:
    """LinkedIn's code, or its service's; the status where there is none. `now` in ms."""
    answer = json_reading.try_json_object(body)
    code, service_code, message = (
        answer.get("code"),
        answer.get("serviceErrorCode"),
        json_reading.text(answer.get("message", "")),
    )
    if 200 <= status < 300 and service_code is None:
        return (
            base.Verdict(base.Outcome.OK)
            if answer
            else base.Verdict(base.Outcome.PLATFORM_DOWN, detail=f"{status} no JSON")
        )
    detail = f"{status} {json_reading.text(service_code)} {json_reading.text(code)}"[:200]
    outcome = _OUTCOME_OF_CODE.get(code) if isinstance(code, str) else None
    if outcome is None and type(service_code) is int:
        outcome = _OUTCOME_OF_SERVICE_CODE.get(service_code)
    named = POST_URN.search(message)
    if outcome is base.Outcome.PERMISSION_MISSING and (named or _FOREIGN.search(message)):
        outcome = base.Outcome.TARGET_GONE  # one post of another author
    if code == "NONEXISTENT_VERSION":
        detail = f"{detail}: {message[:100]}; TIDEMARK_LINKEDIN_VERSION names another"
    if outcome is None:
        # An error of the API's own repeats the status beside its message; a 404 of it is of something in the call, and
        # any other 404 of some host.
        is_own = "message" in answer and type(answer.get("status")) is int
        failed = status if status >= 400 else 500
        if is_own:
            outcome = http_reading.by_status(failed, headers, detail, body).outcome
        else:
            outcome = http_reading.without_code(failed, headers, detail).outcome
    if outcome is base.Outcome.REQUEST_WRONG and named:
        outcome = base.Outcome.TARGET_REFUSED  # the request is right but for the id of one post
    if outcome is base.Outcome.RETRY_LATER and " DAY " in message:
        is_app_wide = " APPLICATION " in message
        return base.Verdict(base.Outcome.QUOTA_EXHAUSTED, (DAY - now % DAY) / 1000, detail, is_app_wide=is_app_wide)
    wait = http_reading.retry_after(headers) if outcome in _WAITING else None
    refused = named[0] if named and outcome in (base.Outcome.TARGET_GONE, base.Outcome.TARGET_REFUSED) else None
    return base.Verdict(outcome, wait, detail, refused_target=refused)
