"""Limits the exports that run at once: of one key, of one workspace, and in all; workspaces take turns. No I/O."""

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
    """All slots are taken by exports whose readers keep reading."""

    code = "exports_busy"
    message = "Too many exports are running at the moment; see Retry-After."


class Slots:
    """The slots for exports of one process.

    Args:
        most: the most exports at once.
        most_per_workspace: the most exports of one workspace at once; further ones wait.
        most_per_key: the most exports of one key at once; further ones are refused.
        seconds: how long to wait for a slot.
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
        """Whether another export waits for a slot that this workspace holds."""
        return self._turns.is_wanted(workspace_id)

    @asynccontextmanager
    async def take(self, workspace_id: str, key_id: str) -> AsyncIterator[None]:
        """Hold a slot within the `with` block.

        Raises:
            TooManyRequests: the key runs as many exports as it may.
            ExportsBusy: no slot became free in time.
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
