"""Limits the requests per key and minute, and makes the rate-limit headers of replies. Pure.

A key's minute begins with its first request. Each process counts for itself, so that several workers or replicas
together allow a key several times the limit: a shared count would put a round trip before every read.
"""

from __future__ import annotations

from services.query_api.errors import Header, TooManyRequests

WINDOW_SECONDS = 60
_WINDOW_MILLIS = WINDOW_SECONDS * 1000


class RateLimiter:
    """Counts the requests of each key.

    Args:
        limit: the most requests of a key in a minute, above 0.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._policy: Header = (b"ratelimit-policy", b'"default";q=%d;w=%d' % (limit, WINDOW_SECONDS))
        self._windows: dict[tuple[str, str], tuple[int, int]] = {}

    def take(self, key: tuple[str, str], now: int) -> tuple[Header, ...]:
        """Count one request.

        Args:
            key: workspace and id of the key.
            now: ms.

        Returns:
            Headers for the reply: the number of requests left (`r`), and the seconds until the minute ends (`t`).

        Raises:
            TooManyRequests: no request is left; the error carries the headers and Retry-After.
        """
        start, used = self._windows.get(key, (now, 0))
        # A clock set back must not hold a key for longer than a minute.
        if not 0 <= now - start < _WINDOW_MILLIS:
            start, used = now, 0
        seconds_left = max(1, -(-(start + _WINDOW_MILLIS - now) // 1000))
        if used >= self._limit:
            headers = self._headers(0, seconds_left)
            raise TooManyRequests(headers=(*headers, (b"retry-after", b"%d" % seconds_left)))
        self._windows[key] = (start, used + 1)
        return self._headers(self._limit - used - 1, seconds_left)

    def forget_old(self, now: int) -> None:
        """Drop the counts of minutes that are over at `now` (ms)."""
        over = [key for key, (start, _) in self._windows.items() if not 0 <= now - start < _WINDOW_MILLIS]
        for key in over:
            del self._windows[key]

    def _headers(self, left: int, seconds_left: int) -> tuple[Header, ...]:
        return (b"ratelimit", b'"default";r=%d;t=%d' % (left, seconds_left)), self._policy
