"""What Meta's platforms share: versions, proofs of tokens, what an error means, usage headers. No platform of its own.

Documentation: https://developers.facebook.com/documentation/graph-api/guides/error-handling, read 2026-11-30.

What changed lately, and how it is met:
- 2026-10-27 (announced 2026-07-29): `GET /?ids=` is refused on every version, code 100 with status 500; new apps never
  have it since 2026-11-04. Objects are asked for one by one; a Graph batch counts each of its parts as a call.
- 2026-06-15: names of insights that end in `_impressions_unique` are refused on every version.
- 2026-11 (v27.0): `total_video_consumption_rate` answers nothing any more; nothing here asks for it.

Uncertain, and how it is read here:
- `(#10) Object does not exist, cannot be loaded ...` is what a deleted post reads; where the sentence goes on to name
  a permission that the endpoint requires, the permission is missing instead.
- `Invalid parameter` without a subcode is a refused metric whose name is not told.
- Code 1 with words about the amount of data, or about a time-out, asks for less; code 1 with other words is an outage.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from services.platforms import abilities, base, http_reading, json_reading, report_days

# The version that calls name, as of 2026-11-30; a newer one is a setting away. Instagram and Facebook pages share it.
DEFAULT_VERSION = "v25.0"
VERSION = abilities.PlatformSetting(
    "META_VERSION", r"v[1-9][0-9]{0,2}\.[0-9]", "a version of the Graph API, such as v25.0", DEFAULT_VERSION
)
# The fields of a page's post that need a scope of their own, as calls write them.
USER_CONTENT_FIELDS = "reactions.limit(0).summary(total_count),comments.limit(0).summary(total_count)"
DAYS_OF_PERIOD = {"day": 1, "week": 7, "days_28": 28}

_LONGEST_PERIOD = 29 * 86_400_000
_LONGEST_DETAIL = 200
_GONE_ID = re.compile(r"ID '([^']{1,128})'")
_MISSING_ALIAS = re.compile(r"do(?:es)? not exist: ([\w.-]{1,128})")
_GONE = re.compile(r"object (?:with id '[^']{0,128}' )?does not exist", re.I)
_SCOPE = re.compile(r"requires? (?:the )?'?(\w{4,60})'? permission", re.I)
# How the API names itself in `www-authenticate`: `OAuth "Facebook Platform" "invalid_token" "..."`.
_REALM = '"Facebook Platform"'
_AN_OBJECT = b"{"
_PROOF = re.compile(r"app ?secret[ _]proof", re.I)
_USER_CONTENT = "pages_read_user_content"
_TOO_MUCH = re.compile(r"reduce the amount of data|timed out|time-?out", re.I)
# The metric is gone for everybody. In each sentence the name stands where the group is.
_REFUSED = re.compile(
    r"^\(#100\) (?!the\b)(\w+) metric\b|\bthe (\w+) metric is no longer supported|\bmetric (\w+) is not supported"
    r"|nonexisting field \((\w+)\)|following metrics? \((\w+)\) should",
    re.I,
)
# The metric exists, but not for posts of this kind.
_NOT_OFFERED = re.compile(
    r"does not support the (\w+) metric|metric (\w+) is not supported for this media|incompatible metrics? \(?(\w+)",
    re.I,
)
# The names that follow the place are those that are valid.
_PLACE = re.compile(r"\bmetric\[(\d{1,3})\]", re.I)
# New wordings appear every year: whatever speaks of metrics refuses one, and halves tell which.
_UNNAMED = re.compile(r"\bmetrics?\b|^(?:\(#100\) )?invalid parameter", re.I)
# Edges, not metrics: a node that lacks one is of another type.
_EDGES = frozenset({"insights", "video_insights"})
_USAGE_HEADERS = ("x-app-usage", "x-business-use-case-usage")
_SHARE_NAMES = ("call_count", "total_time", "total_cputime")


def proof(token: str, client: abilities.AppClient) -> dict[str, str]:
    """`appsecret_proof`, which apps may be set to require; {} where the app has no secret.

    Source: https://developers.facebook.com/docs/graph-api/guides/secure-requests
    """
    if not token or not client.client_secret:
        return {}
    return {"appsecret_proof": hmac.new(client.client_secret.encode(), token.encode(), "sha256").hexdigest()}


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
    """What an answer means, by Meta's code and subcode; the status is 400 for nearly everything.

    A batch answers 200 whatever its parts say: where all of them say the same, it is the batch's meaning, too.
    """
    if 200 <= status < 300 and body[:1] == b"[":
        return _verdict_of_parts(body)
    error = json_reading.try_json_object(body).get("error")
    if isinstance(error, dict):
        return _verdict_of_error(error, status, headers)
    if 200 <= status < 300:
        return base.Verdict(base.Outcome.OK if json_reading.is_object(body) else base.Outcome.PLATFORM_DOWN)
    return _without_error(status, headers, str(status))


def verdict_of_part(element: Any) -> base.Verdict:
    """What one element of a batch's answer means; an element that did not finish in time asks for less."""
    if element is None:
        return base.Verdict(base.Outcome.TOO_MUCH, detail="a part of a batch did not finish")
    if not isinstance(element, dict):
        return base.Verdict(base.Outcome.OK)  # what it is instead is said where it is read
    code, text = element.get("code"), element.get("body")
    listed = element.get("headers")
    headers = {
        json_reading.text(header.get("name")).lower(): json_reading.text(header.get("value"))
        for header in (listed if isinstance(listed, list) else ())
        if isinstance(header, dict)
    }
    status = code if type(code) is int else 500
    body = text.encode() if isinstance(text, str) else b""
    answer = json_reading.try_json_object(body)
    error = answer.get("error")
    if isinstance(error, dict):
        return _verdict_of_error(error, status, headers)
    if 200 <= status < 300:
        return base.Verdict(base.Outcome.OK)
    return _without_error(status, headers, json_reading.text(code))


def _without_error(status: int, headers: Mapping[str, str], detail: str) -> base.Verdict:
    """What a failure means that holds no error of Meta's: only Meta's own challenge speaks of the token."""
    if status == 401 and http_reading.is_challenged(headers, "OAuth", _REALM):
        return base.Verdict(base.Outcome.TOKEN_EXPIRED, detail=f"{detail} challenged")
    return http_reading.without_code(status, headers, detail)


def _verdict_of_parts(body: bytes) -> base.Verdict:
    try:
        elements = json_reading.json_value(body)
    except base.MappingError:
        return base.Verdict(base.Outcome.OK)  # cut off: said where it is read
    verdicts = [verdict_of_part(element) for element in elements]
    if len({verdict.outcome for verdict in verdicts}) != 1 or verdicts[0].outcome is base.Outcome.OK:
        return base.Verdict(base.Outcome.OK)
    waits = [verdict.retry_after_seconds for verdict in verdicts if verdict.retry_after_seconds is not None]
    metrics = {(verdict.refused_metric, verdict.refused_position) for verdict in verdicts}
    first = replace(verdicts[0], retry_after_seconds=max(waits, default=None))
    if len(metrics) > 1:
        first = replace(first, refused_metric=None, refused_position=None)
    return first if len(verdicts) == 1 else replace(first, refused_target=None)


def _verdict_of_error(error: Mapping[str, Any], status: int, headers: Mapping[str, str]) -> base.Verdict:
    code, subcode, message = error.get("code"), error.get("error_subcode"), json_reading.text(error.get("message", ""))
    user_message = json_reading.text(error.get("error_user_msg", ""))
    detail = f"{status} {json_reading.text(error.get('type'))} {json_reading.text(code)}/{json_reading.text(subcode)}"
    detail = detail[:_LONGEST_DETAIL]
    match code, subcode:
        case 190, 458 | 460:
            return base.Verdict(base.Outcome.TOKEN_REVOKED, detail=detail)
        case 190, 459 | 464:
            return base.Verdict(base.Outcome.ACCOUNT_DISABLED, detail=detail)
        case 190, _ if subcode == 2069032 or "page access token" in message.lower():
            wanted = f"{detail}: a user token where a page token is needed"
            return base.Verdict(base.Outcome.TOKEN_EXPIRED, detail=wanted, reason="user_token")
        case ((190 | 102), _):
            return base.Verdict(base.Outcome.TOKEN_EXPIRED, detail=detail)
        case ((104 | 2500), _) if "access token" in message.lower():
            return base.Verdict(base.Outcome.TOKEN_EXPIRED, detail=detail)
        case ((4 | 341), _):
            return base.Verdict(base.Outcome.RETRY_LATER, regain_seconds(headers), detail, is_app_wide=True)
        case ((17 | 32 | 368 | 613), _):
            return base.Verdict(base.Outcome.RETRY_LATER, regain_seconds(headers), detail)
        case int(), _ if 80000 <= code <= 80014:
            return base.Verdict(base.Outcome.RETRY_LATER, regain_seconds(headers), detail)
        case int(), _ if (known := _refused_access(code, message, user_message, subcode, detail)) is not None:
            return known
        case 100, _:
            return _refused_request(message, subcode, detail)
        case 803, _:
            gone = _MISSING_ALIAS.search(message)
            return base.Verdict(base.Outcome.TARGET_GONE, detail=detail, refused_target=gone[1] if gone else None)
        case 24, _:  # "The requested resource does not exist", of a media that is named in words for persons
            return base.Verdict(base.Outcome.TARGET_GONE, detail=detail)
        case 12, _:  # "singular statuses API is deprecated": the id lacks the part that names its page
            return base.Verdict(base.Outcome.TARGET_REFUSED, detail=detail)
        case ((3 | 10), _):
            return base.Verdict(base.Outcome.PERMISSION_MISSING, detail=detail)
        case int(), _ if 200 <= code <= 299:
            return base.Verdict(base.Outcome.PERMISSION_MISSING, detail=detail)
        case 960, _:  # "Request aborted. This could happen if ... the entire request timed out."
            return base.Verdict(base.Outcome.TOO_MUCH, detail=detail)
        case ((1 | 2 | -2 | -3), _) if _TOO_MUCH.search(message):
            return base.Verdict(base.Outcome.TOO_MUCH, detail=detail)
        case ((1 | 2), _):
            return base.Verdict(base.Outcome.PLATFORM_DOWN, http_reading.retry_after(headers), detail)
    if error.get("is_transient") is True or status < 400:
        return base.Verdict(base.Outcome.PLATFORM_DOWN, http_reading.retry_after(headers), detail)
    if not isinstance(error.get("type"), str) and "fbtrace_id" not in error:
        return _without_error(status, headers, detail)
    return http_reading.by_status(status, headers, detail, _AN_OBJECT)


def _refused_access(code: int, message: str, user_message: str, subcode: Any, detail: str) -> base.Verdict | None:
    """What a sentence about access means, whose code is the same for several meanings; None for other sentences."""
    if code not in (10, 100) and not 200 <= code <= 299:
        return None
    if "not enough viewers" in message.lower():
        return base.Verdict(base.Outcome.TOO_EARLY, detail=detail)
    if subcode == 33:
        gone = _GONE_ID.search(message) or _GONE_ID.search(user_message)
        return base.Verdict(base.Outcome.TARGET_GONE, detail=detail, refused_target=gone[1] if gone else None)
    scope = _SCOPE.search(message)
    if _USER_CONTENT in message:
        # Only two fields of the call need it: the rest is answered without them.
        return base.Verdict(
            base.Outcome.METRIC_FORBIDDEN, detail=detail, refused_metric=USER_CONTENT_FIELDS, reason=_USER_CONTENT
        )
    if scope is not None:
        return base.Verdict(base.Outcome.PERMISSION_MISSING, detail=detail, reason=scope[1])
    if _PROOF.search(message):
        return base.Verdict(base.Outcome.PERMISSION_MISSING, detail=detail, reason="appsecret_proof")
    if _GONE.search(message):
        gone = _GONE_ID.search(message)
        return base.Verdict(base.Outcome.TARGET_GONE, detail=detail, refused_target=gone[1] if gone else None)
    return None


def _refused_request(message: str, subcode: Any, detail: str) -> base.Verdict:
    """What code 100 means: a metric that is refused, by its name or its place or neither, or another parameter."""
    if subcode == 2108006:
        return base.Verdict(base.Outcome.NO_DATA_EVER, detail=detail)
    place = _PLACE.search(message)
    if place is not None:
        return base.Verdict(
            base.Outcome.REQUEST_WRONG, detail=detail, refused_metric="", refused_position=int(place[1])
        )
    not_offered = _named(_NOT_OFFERED, message)
    if not_offered is not None:
        return base.Verdict(base.Outcome.METRIC_NOT_OFFERED, detail=detail, refused_metric=not_offered)
    refused = _named(_REFUSED, message)
    if refused in _EDGES:
        return base.Verdict(base.Outcome.REQUEST_WRONG, detail=detail)
    # Subcode 2207086: a `total_*` name in a batch; the body doesn't say which.
    if refused is None and (subcode == 2207086 or _UNNAMED.search(message)):
        refused = ""
    return base.Verdict(base.Outcome.REQUEST_WRONG, detail=detail, refused_metric=refused)


def _named(sentences: re.Pattern[str], message: str) -> str | None:
    found = sentences.search(message)
    return None if found is None else next(filter(None, found.groups()), None)


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
    minutes = [wait for wait in waits if isinstance(wait, int | float) and wait is not True and 0 < wait < 1e6]
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
