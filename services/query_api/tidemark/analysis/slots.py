"""How many exports run at once, of one key and of all. No I/O: whoever exports takes a slot for as long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from services.query_api.errors import TooManyRequests, Unavailable

_RETRY_SECONDS = 5


class ExportsBusy(Unavailable):
    """All slots are taken, by several keys."""

    code = "exports_busy"
    message = "Too many exports are running at the moment; see Retry-After."


class Slots:
    """Slots of one process.

    Args:
        most: at once, of all keys.
        most_per_key: at once, of one key.
    """

    def __init__(self, most: int, most_per_key: int) -> None:
        self._most = most
        self._most_per_key = most_per_key
        self._taken: Counter[Hashable] = Counter()

    @contextmanager
    def take(self, key: Hashable) -> Iterator[None]:
        """Hold a slot.

        Raises:
            TooManyRequests: the key holds as many as it may.
            ExportsBusy: there is none left.
        """
        if self._taken[key] >= self._most_per_key:
            raise TooManyRequests(
                f"At most {self._most_per_key} exports of one key run at a time; see Retry-After.",
                headers=((b"retry-after", b"%d" % _RETRY_SECONDS),),
            )
        if self._taken.total() >= self._most:
            raise ExportsBusy(retry_after_seconds=_RETRY_SECONDS)
        self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]
