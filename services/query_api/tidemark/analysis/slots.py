"""How many exports run at once: of one key, of one workspace, and of all, which wait for each other in turn. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from services.query_api.errors import TooManyRequests, Unavailable
from services.query_api.fairness import Turns

_RETRY_SECONDS = 5
WAIT_SECONDS = 10.0


class ExportsBusy(Unavailable):
    """All slots are taken, by readers that read."""

    code = "exports_busy"
    message = "Too many exports are running at the moment; see Retry-After."


class Slots:
    """Slots of one process.

    Args:
        most: at once, of all.
        most_per_workspace: at once, of one workspace.
        most_per_key: at once, of one key; more are refused.
        seconds: that a slot is waited for.
    """

    def __init__(self, most: int, most_per_workspace: int, most_per_key: int, *, seconds: float = WAIT_SECONDS) -> None:
        self._turns = Turns(
            most,
            most_per_workspace,
            seconds=seconds,
            busy=partial(ExportsBusy, retry_after_seconds=_RETRY_SECONDS),
        )
        self._most_per_key = most_per_key
        self._of_keys: Counter[tuple[str, str]] = Counter()

    def is_wanted(self, workspace_id: str) -> bool:
        """Whether somebody waits for a slot of this workspace."""
        return self._turns.is_wanted(workspace_id)

    @asynccontextmanager
    async def take(self, workspace_id: str, key_id: str) -> AsyncIterator[None]:
        """Hold a slot.

        Raises:
            TooManyRequests: the key holds as many as it may.
            ExportsBusy: none became free in time.
        """
        key = (workspace_id, key_id)
        if self._of_keys[key] >= self._most_per_key:
            raise TooManyRequests(
                f"At most {self._most_per_key} exports of one key run at a time; see Retry-After.",
                headers=((b"retry-after", b"%d" % _RETRY_SECONDS),),
            )
        self._of_keys[key] += 1
        try:
            async with self._turns.turn(workspace_id):
                yield
        finally:
            self._of_keys[key] -= 1
            if not self._of_keys[key]:
                del self._of_keys[key]
