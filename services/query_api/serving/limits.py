"""Requests per key and minute, and the headers that tell of it. Pure but for the clock it is given.

A key's minute begins with its first request. Each process counts for itself, so several workers or replicas allow a key
up to their number times the limit: a shared count would put a round trip before every read.
"""

from __future__ import annotations

from services.query_api.errors import Header, TooManyRequests

WINDOW_SECONDS = 60
_WINDOW_MILLIS = WINDOW_SECONDS * 1000


class RateLimiter:
    """Counts the requests of each key.

    Args:
        limit: requests a key and minute, above 0.
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
            Headers for the reply: what is left (`r`) and in how many seconds the minute turns (`t`).

        Raises:
            TooManyRequests: none was left; carries the headers and Retry-After.
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
        """Drop the counts of minutes that are over."""
        over = [key for key, (start, _) in self._windows.items() if not 0 <= now - start < _WINDOW_MILLIS]
        for key in over:
            del self._windows[key]

    def _headers(self, left: int, seconds_left: int) -> tuple[Header, ...]:
        return (b"ratelimit", b'"default";r=%d;t=%d' % (left, seconds_left)), self._policy
