"""Reads what surrounds the body of an answer (status, headers, the path asked), and writes ids into paths. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from schemas.events import PlatformRaw
from services.platforms.base import Outcome, Verdict

_OF_THE_HOST = frozenset({401, 403, 404, 407, 410})


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
