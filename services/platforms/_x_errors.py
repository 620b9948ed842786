"""What X's errors and limit headers mean: problems by type, title or code, then the status. Pure.

Documentation: https://docs.x.com/x-api/fundamentals/response-codes-and-errors, read 2026-11-30.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.platforms import base, http_reading, json_reading

POST_ID = re.compile(r"[0-9]{1,19}", re.ASCII)
"""What an id of a post looks like."""

MILLIS_PER_DAY = 24 * 3600 * 1000
_DAY_SECONDS = 24 * 3600
_WINDOW_SECONDS = 15 * 60
# A billing period is a month, wherever it begins.
_PERIOD_SECONDS = 32 * _DAY_SECONDS
# Headers of each limit: how they begin, the length of its window, and whether it is our whole app's.
_WINDOWS = (
    ("x-rate-limit", None, False),
    ("x-user-limit-24hour", _DAY_SECONDS, False),
    ("x-app-limit-24hour", _DAY_SECONDS, True),
)

_BAD_ID = re.compile(r"`?ids?`? (?:query|path) parameter value \[(.{1,512}?)\] (?:is not valid|does not match)")
_NOT_VALID = "] is not valid"
_BAD_VALUE = re.compile(r"query parameter value \[([\w.]+)\] is not one of")
# Figures that only the author may read.
PRIVATE_FIELDS = ("non_public_metrics", "organic_metrics")
# One field is refused, of one post or of all: with the newer name X says so of no post in particular.
_OF_FIELDS = frozenset({"not-authorized-for-field", "field-unauthorized"})
_OUTCOME_OF_TYPE = {
    "usage-capped": base.Outcome.QUOTA_EXHAUSTED,
    "credits": base.Outcome.QUOTA_EXHAUSTED,
    "credits-depleted": base.Outcome.QUOTA_EXHAUSTED,
    "rate-limit-exceeded": base.Outcome.RETRY_LATER,
    "client-forbidden": base.Outcome.PERMISSION_MISSING,
    "unsupported-authentication": base.Outcome.PERMISSION_MISSING,
    "resource-not-found": base.Outcome.TARGET_GONE,
    "not-authorized-for-resource": base.Outcome.TARGET_GONE,
    "resource-unavailable": base.Outcome.TARGET_REFUSED,
    "disallowed-resource": base.Outcome.TARGET_REFUSED,
    "invalid-request": base.Outcome.REQUEST_WRONG,
    "field-hydration-failure": base.Outcome.PLATFORM_DOWN,
    "internal-error": base.Outcome.PLATFORM_DOWN,
}
# Codes of the older error form, which v2 paths still answer now and then.
_OUTCOME_OF_CODE = {
    32: base.Outcome.TOKEN_EXPIRED,
    64: base.Outcome.ACCOUNT_DISABLED,
    88: base.Outcome.RETRY_LATER,
    89: base.Outcome.TOKEN_EXPIRED,
    130: base.Outcome.PLATFORM_DOWN,
    131: base.Outcome.PLATFORM_DOWN,
    144: base.Outcome.TARGET_GONE,
    326: base.Outcome.ACCOUNT_DISABLED,
}


def _bad_id(problem: dict[str, Any]) -> str | None:
    """The id that X calls malformed: as its message quotes it, else the one among the parameter's values."""
    for error in (problem, *errors_of(problem)):
        quoted = _BAD_ID.search(json_reading.text(error.get("message", "")))
        if quoted is not None:
            return quoted[1]
    for error in (problem, *errors_of(problem)):
        parameters = error.get("parameters")
        values = parameters.get("ids", parameters.get("id")) if isinstance(parameters, dict) else None
        if isinstance(values, list):
            asked = [part for value in values if isinstance(value, str) for part in value.split(",")]
            bad = [part for part in asked if not POST_ID.fullmatch(part)]
            if len(bad) == 1:
                return bad[0]
    return None


def errors_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    errors = answer.get("errors")
    return [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []


def type_of(problem: dict[str, Any]) -> str:
    """The last part of a problem's type address: both `api.x.com` and `api.twitter.com` are seen before it."""
    kind = problem.get("type")
    return kind.rpartition("/")[2] if isinstance(kind, str) else ""


def _by_status(problem: dict[str, Any], status: int, headers: Mapping[str, str], detail: str) -> base.Outcome:
    """What a failure without a known type or code means. A problem with status 200 names its status itself."""
    said = problem.get("status")
    if status < 400 and type(said) is int and 400 <= said < 600:
        status = said
    if status < 400:
        return base.Outcome.REQUEST_WRONG if status < 300 else base.Outcome.PLATFORM_DOWN
    if status in (404, 410):
        # Of a post X says so by the problem's type.
        return base.Outcome.PLATFORM_DOWN
    if _is_own(problem):
        return http_reading.by_status(status, headers, detail, b"{").outcome
    return http_reading.without_code(status, headers, detail).outcome


def _is_own(problem: dict[str, Any]) -> bool:
    """Whether a problem has one of X's forms: a problem document, or an error with a code in numbers."""
    if isinstance(problem.get("message"), str) and type(problem.get("code")) is int:
        return True
    return isinstance(problem.get("title"), str) and not {"type", "detail", "status"}.isdisjoint(problem)


def _with_wait(
    outcome: base.Outcome, detail: str, problem: dict[str, Any], headers: Mapping[str, str], now: int
) -> base.Verdict:
    """The verdict, with until when a limit holds."""
    if outcome is base.Outcome.QUOTA_EXHAUSTED:
        wait = http_reading.retry_after(headers)
        if problem.get("period") == "Daily":
            wait = (MILLIS_PER_DAY - now % MILLIS_PER_DAY) / 1000 if wait is None else wait
            return base.Verdict(outcome, wait, detail, is_app_wide=True)
        # A bare 402 is anybody's; X's own words speak of the billing period.
        period = _PERIOD_SECONDS if _is_own(problem) else None
        return base.Verdict(outcome, wait, detail, is_app_wide=True, longest_seconds=period)
    wait = None
    if outcome in (base.Outcome.RETRY_LATER, base.Outcome.PLATFORM_DOWN):
        wait = http_reading.retry_after(headers)
    if outcome is base.Outcome.RETRY_LATER:
        # Of several limits, the call has to wait for the longest that is used up.
        spent = [state for state in limits_of(headers) if state.remaining == 0 and state.reset_at is not None]
        day = [state for state in spent if state.window_seconds == _DAY_SECONDS]
        if day:
            ends = max(state.reset_at or 0 for state in day)
            is_app_wide = any(state.is_app_wide for state in day)
            return base.Verdict(
                base.Outcome.QUOTA_EXHAUSTED, max(0.0, (ends - now) / 1000), detail, is_app_wide=is_app_wide
            )
        if wait is None:
            wait = http_reading.seconds_until(headers.get("x-rate-limit-reset"), now)
            return base.Verdict(outcome, wait, detail, longest_seconds=_WINDOW_SECONDS)
    return base.Verdict(outcome, wait, detail)


def limits_of(headers: Mapping[str, str]) -> list[base.LimitState]:
    """The states of the limits that headers tell of, of the shortest window first."""
    found = []
    for prefix, seconds, is_app_wide in _WINDOWS:
        limit = http_reading.seconds_of(headers.get(f"{prefix}-limit"))
        remaining = http_reading.seconds_of(headers.get(f"{prefix}-remaining"))
        reset_at = http_reading.epoch_millis(headers.get(f"{prefix}-reset"))
        if limit is not None or remaining is not None:
            found.append(
                base.LimitState(
                    None if limit is None else int(limit),
                    None if remaining is None else int(remaining),
                    reset_at,
                    seconds,
                    is_app_wide,
                    _WINDOW_SECONDS if seconds is None else None,
                )
            )
    return found


def _groups_of(problems: Sequence[dict[str, Any]]) -> str | None:
    """The fields that hold the refused ones, as a call lists them; None where no name is told.

    X refuses `non_public_metrics.url_link_clicks` where `non_public_metrics` is asked. Whoever may not read one group
    of private figures may not read the other.
    """
    names = [name.partition(".")[0] for problem in problems if isinstance(name := problem.get("field"), str)]
    groups = dict.fromkeys(PRIVATE_FIELDS if not set(names).isdisjoint(PRIVATE_FIELDS) else ())
    return ",".join({**groups, **dict.fromkeys(names)}) or None


def is_of_field(error: dict[str, Any]) -> bool:
    """Whether an error refuses a field rather than a post."""
    return type_of(error) in _OF_FIELDS


def resource_of(error: dict[str, Any]) -> str | None:
    """The id of the post or user that an error names; None where it names none."""
    named = error.get("resource_id", error.get("value"))
    return named if isinstance(named, str) else None


def verdict_of_errors(
    errors: Sequence[dict[str, Any]], status: int, headers: Mapping[str, str], now: int
) -> base.Verdict:
    """What several errors mean that are about the same: the first that refuses more than fields, else all fields.

    Args:
        errors: at least one.
        now: ms.
    """
    first = next((error for error in errors if not is_of_field(error)), None)
    verdict = verdict_of(errors[0] if first is None else first, status, headers, now)
    return verdict if first is not None else replace(verdict, refused_metric=_groups_of(errors))


def verdict_of(problem: dict[str, Any], status: int, headers: Mapping[str, str], now: int) -> base.Verdict:
    """What one problem means; `headers` with lower-case names, `now` in ms."""
    kind, title = type_of(problem), problem.get("title")
    detail = f"{status} {json_reading.text(problem.get('reason') or problem.get('code') or title or kind)}"[:200]
    if title in ("UsageCapExceeded", "CreditsDepleted", "SpendCapReached"):
        kind = "usage-capped"
    elif title == "Too Many Requests":
        kind = "rate-limit-exceeded"
    if is_of_field(problem):
        name = problem.get("field")
        refused = name.partition(".")[0] if isinstance(name, str) else None
        return base.Verdict(base.Outcome.METRIC_FORBIDDEN, detail=detail, refused_metric=refused)
    code = problem.get("code")
    outcome = _OUTCOME_OF_TYPE.get(kind) or (_OUTCOME_OF_CODE.get(code) if isinstance(code, int) else None)
    if outcome in (None, base.Outcome.REQUEST_WRONG):
        bad_id = _bad_id(problem)
        if bad_id is not None:
            # "is not valid" speaks of the request as a whole, "does not match" of an id.
            is_request = any(_NOT_VALID in json_reading.text(one.get("message", "")) for one in errors_of(problem))
            wrong = base.Outcome.REQUEST_WRONG if is_request else base.Outcome.TARGET_REFUSED
            return base.Verdict(wrong, detail=detail, refused_target=bad_id)
        for error in (problem, *errors_of(problem)):
            bad = _BAD_VALUE.search(json_reading.text(error.get("message", "")))
            if bad is not None:
                return base.Verdict(base.Outcome.REQUEST_WRONG, detail=detail, refused_metric=bad[1])
    if outcome is None:
        outcome = _by_status(problem, status, headers, detail)
    return _with_wait(outcome, detail, problem, headers, now)
