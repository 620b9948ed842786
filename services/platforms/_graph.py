"""What Meta's platforms share: error codes, usage headers, instants and periods of insights. No platform of its own.

Documentation: https://developers.facebook.com/documentation/graph-api/guides/error-handling, read 2026-11-20.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from services.platforms import abilities, base, http_reading, json_reading, report_days

# The version that calls name, as of 2026-11-30; a newer one is a setting away. Instagram and Facebook pages share it.
DEFAULT_VERSION = "v25.0"
VERSION = abilities.PlatformSetting(
    "META_VERSION", r"v[1-9][0-9]{0,2}\.[0-9]", "a version of the Graph API, such as v25.0", DEFAULT_VERSION
)

DAYS_OF_PERIOD = {"day": 1, "week": 7, "days_28": 28}

_LONGEST_PERIOD = 29 * 86_400_000
_GONE_ID = re.compile(r"ID '([^']{1,128})'")
_MISSING_ALIAS = re.compile(r"do(?:es)? not exist: ([\w.-]{1,128})")
_REFUSED = re.compile(
    r"^\(#100\) (\w+) metric|nonexisting field \((\w+)\)",
    re.I,
)
# The metric exists, but not for posts of this kind.
_NOT_OFFERED = re.compile(r"does not support the (\w+) metric|incompatible metrics? \(?(\w+)", re.I)
_UNNAMED = re.compile(r"must be a valid insights metric|invalid metric", re.I)
_USAGE_HEADERS = ("x-app-usage", "x-business-use-case-usage")
_SHARE_NAMES = ("call_count", "total_time", "total_cputime")


def instant(text: Any) -> int | None:
    """An instant of Meta's (`2026-01-11T08:00:00+0000`, an ISO date, unix seconds) in ms; None when it is none."""
    if isinstance(text, int):
        text = str(text)
    if not isinstance(text, str):
        return None
    try:
        if text.isascii() and text.isdigit() and len(text) <= 11:
            at = int(text) * 1000
        else:
            moment = datetime.fromisoformat(text)
            at = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * 1000
    except (ValueError, OverflowError):
        return None
    return at if report_days.EARLIEST + _LONGEST_PERIOD <= at < report_days.LATEST else None


def days_before(end: int, days: int) -> int:
    """The instant some Pacific days before one: exact where the end is a midnight, across clock changes too."""
    day = report_days.pacific_day(end)
    if report_days.pacific_midnight(day) == end:
        return report_days.pacific_midnight(day - timedelta(days=days))
    return end - days * 86_400_000


def period_of(start: int, end: int) -> str:
    """`day` for exactly one Pacific day, else `window`."""
    return "day" if start == days_before(end, 1) else "window"


def verdict_of(status: int, headers: Mapping[str, str], body: bytes) -> base.Verdict:
    """What an answer means, by Meta's code and subcode; the status is 400 for nearly everything."""
    error = json_reading.try_json_object(body).get("error")
    if not isinstance(error, dict):
        if 200 <= status < 300:
            return (
                base.Verdict(base.Outcome.OK) if body[:1] in (b"{", b"[") else base.Verdict(base.Outcome.PLATFORM_DOWN)
            )
        return http_reading.by_status(status, headers, str(status))
    code, subcode, message = error.get("code"), error.get("error_subcode"), json_reading.text(error.get("message", ""))
    detail = f"{status} {json_reading.text(error.get('type'))} {json_reading.text(code)}/{json_reading.text(subcode)}"[
        :200
    ]
    match code, subcode:
        case 190, 458 | 460:
            return base.Verdict(base.Outcome.TOKEN_REVOKED, detail=detail)
        case 190, 459 | 464:
            return base.Verdict(base.Outcome.ACCOUNT_DISABLED, detail=detail)
        case ((190 | 102), _):
            return base.Verdict(base.Outcome.TOKEN_EXPIRED, detail=detail)
        case 4, _:
            return base.Verdict(base.Outcome.RETRY_LATER, regain_seconds(headers), detail, is_app_wide=True)
        case ((17 | 32 | 368 | 613), _):
            return base.Verdict(base.Outcome.RETRY_LATER, regain_seconds(headers), detail)
        case int(), _ if 80000 <= code <= 80014:
            return base.Verdict(base.Outcome.RETRY_LATER, regain_seconds(headers), detail)
        case 10, _ if "not enough viewers" in message.lower():
            return base.Verdict(base.Outcome.TOO_EARLY, detail=detail)
        case 100, 33:
            gone = _GONE_ID.search(message)
            return base.Verdict(base.Outcome.TARGET_GONE, detail=detail, refused_target=gone[1] if gone else None)
        case 803, _:
            gone = _MISSING_ALIAS.search(message)
            return base.Verdict(base.Outcome.TARGET_GONE, detail=detail, refused_target=gone[1] if gone else None)
        case 100, 2108006:
            return base.Verdict(base.Outcome.NO_DATA_EVER, detail=detail)
        case 100, _ if (not_offered := _NOT_OFFERED.search(message)) is not None:
            metric = next(filter(None, not_offered.groups()), None)
            return base.Verdict(base.Outcome.METRIC_NOT_OFFERED, detail=detail, refused_metric=metric)
        case 100, _:
            return base.Verdict(base.Outcome.REQUEST_WRONG, detail=detail, refused_metric=_refused_metric(message))
        case ((3 | 10), _):
            return base.Verdict(base.Outcome.PERMISSION_MISSING, detail=detail)
        case int(), _ if 200 <= code <= 299:
            return base.Verdict(base.Outcome.PERMISSION_MISSING, detail=detail)
        case ((1 | 2), _):
            return base.Verdict(base.Outcome.PLATFORM_DOWN, http_reading.retry_after(headers), detail)
    if error.get("is_transient") is True or status < 400:
        return base.Verdict(base.Outcome.PLATFORM_DOWN, http_reading.retry_after(headers), detail)
    return http_reading.by_status(status, headers, detail)


def _refused_metric(message: str) -> str | None:
    """The refused metric in an error's message; empty where one was refused without being named, None otherwise."""
    refused = _REFUSED.search(message)
    if refused is not None:
        return next(filter(None, refused.groups()), None)
    return "" if _UNNAMED.search(message) else None


def limits_of(headers: Mapping[str, str], now: int) -> base.LimitState | None:
    """Percent left of the fullest of the budgets that the usage headers name; `now` in ms."""
    used = [share for name in _USAGE_HEADERS for share in _shares(headers.get(name))]
    if not used:
        return None
    wait = regain_seconds(headers)
    return base.LimitState(100, max(0, 100 - max(used)), now + int(wait * 1000) if wait else None)


def regain_seconds(headers: Mapping[str, str]) -> float | None:
    """The wait that the headers name: `retry-after`, or Meta's estimate in minutes."""
    waits = [
        usage.get("estimated_time_to_regain_access") for usage in _usages(headers.get("x-business-use-case-usage"))
    ]
    minutes = [wait for wait in waits if isinstance(wait, int | float) and 0 < wait < 1e6]
    said = http_reading.retry_after(headers)
    return said if said is not None else (max(minutes) * 60.0 if minutes else None)


def _usages(header: str | None) -> list[dict[str, Any]]:
    """The usage objects of a header: one of the app, or a list for each business."""
    try:
        parsed = orjson.loads(header) if header else None
    except orjson.JSONDecodeError:
        return []
    if not isinstance(parsed, dict):
        return []
    listed = [usage for part in parsed.values() if isinstance(part, list) for usage in part if isinstance(usage, dict)]
    return listed or [parsed]


def _shares(header: str | None) -> list[int]:
    """Percentages used, up to the next whole number."""
    shares = (usage.get(name) for usage in _usages(header) for name in _SHARE_NAMES)
    return [-int(-share // 1) for share in shares if isinstance(share, int | float) and abs(share) < 1e6]
