"""Reads what surrounds the body of an answer (status, headers, the path asked), and writes ids into paths. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from schemas.events import PlatformRaw
from services.platforms.base import Outcome, Verdict

_OF_THE_HOST = frozenset({401, 403, 404, 407, 410})
_DECIMAL = re.compile(r"[0-9]{1,18}(?:\.[0-9]{0,18})?")
_POLICY_WINDOW = re.compile(r";\s*w=([0-9]{1,9})\b")
# Seconds of more than 30,000 years are none, and no count of calls is that large.
_NO_SPAN = 1e12
# From here on an epoch second would be past the year 5000.
_NO_SECOND = 1e11
_LONGEST_DATE = 64
_LONGEST_POLICY = 86_400.0


def succeeded(event: PlatformRaw) -> bool:
    """Whether the status is a 2xx; the body may still report a failure."""
    return 200 <= event.http_status < 300


def by_status(status: int, headers: Mapping[str, str], detail: str, body: bytes | None = None) -> Verdict:
    """What a failure means by its status alone, when its body is the platform's own and holds no known code.

    Whatever is no JSON is a page of a proxy, a firewall or another host, and so speaks of no token and of no permission
    (`without_code`). A bare 404 or 410 speaks of the address, never of a target.

    Args:
        body: as received; without it, the `content-type` tells whether the answer is JSON.
    """
    if not _is_json(headers, body):
        return without_code(status, headers, detail)
    if status == 401:
        return Verdict(Outcome.TOKEN_EXPIRED, detail=detail)
    if status == 403:
        return Verdict(Outcome.PERMISSION_MISSING, detail=detail)
    if status in (404, 410):
        return Verdict(Outcome.REQUEST_WRONG, detail=detail)
    return without_code(status, headers, detail)


def without_code(status: int, headers: Mapping[str, str], detail: str) -> Verdict:
    """What a failure means whose body is none of the platform's own: empty, a page in HTML, JSON of another form.

    Who answers so stands between us and the platform, or in its place: a token is not refused by it, nothing is gone.
    Of 401, 403, 404, 407 and 410 it speaks of the host. Other statuses mean the same whoever sends them.
    """
    if status in _OF_THE_HOST:
        return Verdict(Outcome.PLATFORM_DOWN, retry_after(headers), detail)
    if status == 402:
        return Verdict(Outcome.QUOTA_EXHAUSTED, retry_after(headers), detail)
    if status in (413, 414):
        return Verdict(Outcome.TOO_MUCH, detail=detail)
    if status == 429:
        return Verdict(Outcome.RETRY_LATER, retry_after(headers), detail)
    if status == 451:
        return Verdict(Outcome.TARGET_REFUSED, detail=detail)
    if 400 <= status < 500 and status not in (408, 425):
        return Verdict(Outcome.REQUEST_WRONG, detail=detail)
    return Verdict(Outcome.PLATFORM_DOWN, retry_after(headers), detail)


def is_challenged(headers: Mapping[str, str], *words: str) -> bool:
    """Whether `www-authenticate` has all of these words, which are the platform's own: such as its realm."""
    challenge = headers.get("www-authenticate", "")
    return all(word in challenge for word in words)


def _is_json(headers: Mapping[str, str], body: bytes | None) -> bool:
    if body is not None:
        return body.lstrip()[:1] in (b"{", b"[")
    return "json" in headers.get("content-type", "json").lower()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a `retry-after` header, at least 0; None when it is absent or neither a number nor a date.

    A date counts from the answer's own `date`, so that it does not matter how far the platform's clock is off.

    Source: RFC 9110, section 10.2.3.
    """
    told = headers.get("retry-after")
    seconds = seconds_of(told)
    if seconds is not None:
        return seconds
    until, now = _date(told), answered_at(headers)
    return None if until is None or now is None else max(0.0, (until - now) / 1000)


def answered_at(headers: Mapping[str, str]) -> int | None:
    """The ms of an answer's `date` header; None when it has none."""
    return _date(headers.get("date"))


def _date(text: str | None) -> int | None:
    if text is None or len(text) > _LONGEST_DATE:
        return None
    try:
        at = parsedate_to_datetime(text)
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def seconds_of(text: str | None) -> float | None:
    """A header's decimal number that is not negative, such as seconds or calls left; None when it is anything else."""
    number = _number(text)
    return None if number is None or number >= _NO_SPAN else number


def epoch_millis(epoch_second: str | None) -> int | None:
    """The ms of an epoch second of a header; a number that can only be ms (a second beyond the year 5000) is ms."""
    number = _number(epoch_second)
    return None if number is None else int(number if number >= _NO_SECOND else number * 1000)


def _number(text: str | None) -> float | None:
    found = _DECIMAL.fullmatch(text.strip(" \t")) if text is not None else None
    return None if found is None else float(found[0])


def seconds_until(epoch_second: str | None, now: int) -> float | None:
    """Seconds from `now` (ms) to an epoch second of a header, at least 0; see `epoch_millis`."""
    at = epoch_millis(epoch_second)
    return None if at is None else max(0.0, (at - now) / 1000)


def policy_seconds(policy: str | None) -> float | None:
    """The window of a limit's policy (`3000;w=300`), the longest of several, a day at most; None where it names none.

    Source: draft-ietf-httpapi-ratelimit-headers, as of its version 6.
    """
    windows = [min(float(found), _LONGEST_POLICY) for found in _POLICY_WINDOW.findall(policy or "")]
    return max(windows, default=None)


def path_part(external_id: str) -> str:
    """A platform's id as one segment of a path, whatever it holds; every id in a path goes through here.

    `.` and `..` are resolved also where they are escaped, so they are escaped twice: they name nothing then, as they
    should.
    """
    if external_id in (".", ".."):
        return external_id.replace(".", "%252E")
    return quote(external_id, safe="", errors="replace")


def path_segments(endpoint: str) -> tuple[str, ...]:
    """The path's segments without scheme, host, query and leading version (`https://h/v2/reports?a=1` -> `reports`)."""
    path = endpoint.partition("?")[0]
    if "://" in path and not path.startswith("/"):
        path = "/" + path.partition("://")[2].partition("/")[2]
    return tuple(segment for segment in path_without_version(path).split("/") if segment)


def path_without_version(endpoint: str) -> str:
    """The path without a leading version segment (`/v25.0/1_2/insights` -> `/1_2/insights`)."""
    head, _, rest = endpoint.lstrip("/").partition("/")
    if head[:1] == "v" and head[1:].replace(".", "", 1).isdigit():
        return "/" + rest
    return "/" + head + ("/" + rest if rest else "")
