"""Google's errors, as its APIs share them: reasons, details, quotas of a day and of a minute. No platform.

Documentation: https://google.aip.dev/193, https://cloud.google.com/docs/quotas/troubleshoot,
    https://developers.google.com/youtube/v3/docs/errors; read 2026-11-30.

Uncertain, and how it is read here:
- The same refusal comes in an older form (`errors[].reason`), in a newer one (`details[].reason`), or in both.
- A day's quota that is used up also comes as 429 `rateLimitExceeded`, as a minute's does. Only the limit's name
  (`...PerDay...`), its unit (`1/d/{project}`) or the sentence ("limit 'Queries per day'") tells the day's.
- A limit of "0" was never granted: a matter of the form for access, not of pace.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from services.platforms import base, http_reading, json_reading, report_days

# How Google's APIs name themselves in `www-authenticate`.
# The day on which clocks in California are set back.
_LONGEST_DAY_SECONDS = 25 * 3600.0
_REALM = 'realm="https://accounts.google.com/"'
_PER_DAY = re.compile(r"\blimit '[^']*\bper day\b|\bper day\b[^.]{0,40} of service", re.IGNORECASE)


# Of Google's statuses those that pass, and what they say of an account: the same in every API.
_OUTCOME_OF_STATUS = {
    "ABORTED": base.Outcome.PLATFORM_DOWN,
    "CANCELLED": base.Outcome.PLATFORM_DOWN,
    "DEADLINE_EXCEEDED": base.Outcome.PLATFORM_DOWN,
    "INTERNAL": base.Outcome.PLATFORM_DOWN,
    "UNAVAILABLE": base.Outcome.PLATFORM_DOWN,
    "ACCOUNT_STATE_INVALID": base.Outcome.ACCOUNT_DISABLED,
    "USER_BLOCKED_BY_ADMIN": base.Outcome.ACCOUNT_DISABLED,
}


class GoogleError(NamedTuple):
    """What an error's body says.

    Attributes:
        reasons: the codes of its details and its list, then Google's status.
        code: the HTTP status that it repeats; None where it repeats none.
        is_daily: whether a quota of a day is named.
        is_never_granted: whether the limit that is named is 0.
        is_own: whether it has the form of Google's errors: the status as a number, beside a list of reasons or a status
            in words.
    """

    reasons: tuple[str, ...]
    message: str
    code: int | None
    is_daily: bool
    is_never_granted: bool
    is_own: bool = False


def read_error(body: bytes) -> GoogleError | None:
    """The error in a body; None when it holds none."""
    found = json_reading.try_json_object(body).get("error")
    if isinstance(found, str):
        return GoogleError((found,), "", None, False, False)
    if not isinstance(found, dict):
        return None
    items = [
        item
        for listed in (found.get("details"), found.get("errors"))
        for item in (listed if isinstance(listed, list) else ())
        if isinstance(item, dict)
    ]
    reasons = [reason for item in items if isinstance(reason := item.get("reason"), str)]
    if isinstance(found.get("status"), str):
        reasons.append(found["status"])
    message, code = json_reading.text(found.get("message", "")), found.get("code")
    metadata = [held for item in items if isinstance(held := item.get("metadata"), dict)]
    return GoogleError(
        tuple(reasons),
        message,
        code if type(code) is int and 400 <= code < 600 else None,
        bool(_PER_DAY.search(message)) or any(map(_is_daily, metadata)),
        any(json_reading.text(held.get("quota_limit_value")) == "0" for held in (*metadata, found)),
        type(code) is int and (isinstance(found.get("status"), str) or isinstance(found.get("errors"), list)),
    )


def _is_daily(metadata: Mapping[str, Any]) -> bool:
    limit, unit = (json_reading.text(metadata.get(name, "")) for name in ("quota_limit", "quota_unit"))
    return "perday" in limit.lower().replace(" ", "") or unit.startswith("1/d/")


def classify(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    now: int,
    outcomes: Mapping[str, base.Outcome],
) -> base.Verdict:
    """What a failed answer means: the first reason that is known, else the status.

    Args:
        now: ms.
        outcomes: by reason.
    """
    error = read_error(body) or GoogleError((), "", None, False, False)
    detail = f"{status} {' '.join(error.reasons)}"[:200]
    if error.is_never_granted:
        return base.Verdict(base.Outcome.PERMISSION_MISSING, detail=detail)
    known = {**_OUTCOME_OF_STATUS, **outcomes}
    outcome = next((known[reason] for reason in error.reasons if reason in known), None)
    if status == 404 and error.message.startswith("Method not found"):
        outcome = base.Outcome.REQUEST_WRONG  # there is no such path, whatever it names
    if outcome is None:
        failed = status if status >= 400 else (error.is_own and error.code) or 500
        if failed == 401 and http_reading.is_challenged(headers, _REALM):
            return base.Verdict(base.Outcome.TOKEN_EXPIRED, detail=f"{detail} challenged")
        if error.is_own:
            verdict = http_reading.by_status(failed, headers, detail, body)
        else:
            verdict = http_reading.without_code(failed, headers, detail)
        if verdict.outcome is not base.Outcome.RETRY_LATER or not error.is_daily:
            return verdict
        outcome = verdict.outcome
    if outcome is base.Outcome.REQUEST_WRONG and error.message.lower().startswith("quota exceeded"):
        outcome = base.Outcome.RETRY_LATER
    if outcome is base.Outcome.QUOTA_EXHAUSTED or (outcome is base.Outcome.RETRY_LATER and error.is_daily):
        wait = until_pacific_midnight(now)
        return base.Verdict(base.Outcome.QUOTA_EXHAUSTED, wait, detail, longest_seconds=_LONGEST_DAY_SECONDS)
    if outcome is base.Outcome.TOKEN_EXPIRED and "revoked" in error.message.lower():
        outcome = base.Outcome.TOKEN_REVOKED
    waits = outcome in (base.Outcome.RETRY_LATER, base.Outcome.PLATFORM_DOWN)
    return base.Verdict(outcome, http_reading.retry_after(headers) if waits else None, detail)


def until_pacific_midnight(now: int) -> float:
    """Seconds until Google's quotas of a day begin anew; `now` in ms."""
    turns = report_days.pacific_midnight(report_days.pacific_day(now) + timedelta(days=1))
    return (turns - now) / 1000
