"""Reads what surrounds the body of an answer (status, headers, the path asked), and writes ids into paths. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from schemas.events import PlatformRaw
from services.platforms.base import Outcome, Verdict


def succeeded(event: PlatformRaw) -> bool:
    """Whether the status is a 2xx; the body may still report a failure."""
    return 200 <= event.http_status < 300


def by_status(status: int, headers: Mapping[str, str], detail: str, body: bytes | None = None) -> Verdict:
    """What a failure means by its status alone, when its body holds no known code.

    A bare 404 or 410 speaks of the address or of the host, never of a target: of the request where the answer is JSON,
    of the host where it is anything else.

    Args:
        body: as received; without it, the `content-type` tells whether the answer is JSON.
    """
    if status == 401:
        return Verdict(Outcome.TOKEN_EXPIRED, detail=detail)
    if status == 402:
        return Verdict(Outcome.QUOTA_EXHAUSTED, retry_after(headers), detail)
    if status == 403:
        return Verdict(Outcome.PERMISSION_MISSING, detail=detail)
    if status in (404, 410):
        outcome = Outcome.REQUEST_WRONG if _is_json(headers, body) else Outcome.PLATFORM_DOWN
        return Verdict(outcome, retry_after(headers), detail)
    if status == 429:
        return Verdict(Outcome.RETRY_LATER, retry_after(headers), detail)
    if status == 451:
        return Verdict(Outcome.TARGET_REFUSED, detail=detail)
    if 400 <= status < 500 and status not in (408, 425):
        return Verdict(Outcome.REQUEST_WRONG, detail=detail)
    return Verdict(Outcome.PLATFORM_DOWN, retry_after(headers), detail)


def without_code(status: int, headers: Mapping[str, str], detail: str) -> Verdict:
    """What a failure means whose body holds none of the platform's codes: `by_status`, except that nothing is gone.

    A bare 404 or 410 speaks of the host or of the path, never of one post.
    """
    if status in (404, 410):
        return Verdict(Outcome.PLATFORM_DOWN, retry_after(headers), detail)
    return by_status(status, headers, detail)


def _is_json(headers: Mapping[str, str], body: bytes | None) -> bool:
    if body is not None:
        return body.lstrip()[:1] in (b"{", b"[")
    return "json" in headers.get("content-type", "json").lower()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a `retry-after` header; None when it is absent or a date."""
    return seconds_of(headers.get("retry-after"))


def seconds_of(text: str | None) -> float | None:
    """A header's decimal number that is not negative, such as seconds or calls left; None when it is anything else."""
    try:
        number = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return number if 0 <= number < 1e12 else None


def seconds_until(epoch_second: str | None, now: int) -> float | None:
    """Seconds from `now` (ms) to an epoch second of a header, at least 0."""
    at = seconds_of(epoch_second)
    return None if at is None else max(0.0, at - now / 1000)


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
